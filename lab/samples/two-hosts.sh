#!/bin/bash
# Two hosts on one wire: ARP request, ARP reply, echo request, echo reply.
#
#     a 10.1.1.2/24 eth0 ------ eth0 10.1.1.3/24 b
#
# On Linux, as root; clean up with: ip netns del a; ip netns del b

set -e
for n in a b; do
	ip netns add $n
	ip netns exec $n sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip link add eth0 netns a address 02:00:00:00:01:02 type veth peer name eth0 address 02:00:00:00:01:03 netns b
ip -n a addr add 10.1.1.2/24 dev eth0
ip -n b addr add 10.1.1.3/24 dev eth0
ip -n a link set eth0 up
ip -n b link set eth0 up

T=$(mktemp -d)
ip netns exec b tcpdump -tne -i eth0 -c 4 'arp or icmp' > $T/wire 2> /dev/null &
sleep 1
ip netns exec a ping -c 1 10.1.1.3
wait

echo "== on the wire"
cat $T/wire
echo "== what a has learned"
ip -n a neigh show
rm -r $T
