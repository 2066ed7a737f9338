#!/bin/bash
# A node routes between two subnets; TTL, and the errors of routers.
#
#     h1 10.1.1.2 eth0 --- v1_r 10.1.1.1 node 10.1.2.1 v2_r --- eth0 10.1.2.2 h2
#
# On Linux, as root; clean up with: ip netns del h1; ip netns del node; ip netns del h2

set -e
for n in h1 node h2; do
	ip netns add $n
	ip netns exec $n sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip link add eth0 netns h1 address 02:00:00:01:01:02 type veth peer name v1_r address 02:00:00:01:01:01 netns node
ip link add eth0 netns h2 address 02:00:00:01:02:02 type veth peer name v2_r address 02:00:00:01:02:01 netns node
ip -n h1 addr add 10.1.1.2/24 dev eth0
ip -n h2 addr add 10.1.2.2/24 dev eth0
ip -n node addr add 10.1.1.1/24 dev v1_r
ip -n node addr add 10.1.2.1/24 dev v2_r
ip -n h1 link set eth0 up
ip -n h2 link set eth0 up
ip -n node link set v1_r up
ip -n node link set v2_r up
ip -n h1 route add 10.1.2.0/24 via 10.1.1.1
ip -n h2 route add default via 10.1.2.1
ip netns exec node sysctl -q -w net.ipv4.ip_forward=1

T=$(mktemp -d)
ip netns exec node tcpdump -tne -i v1_r 'arp or icmp' > $T/v1_r 2> /dev/null & P=$!
sleep 1
ip netns exec h1 ping -c 1 10.1.2.2
sleep 10
kill $P
wait
echo "== on v1_r; about 5 s after the ping the node makes sure of h1, and h1 of the node, by unicast requests"
cat $T/v1_r
echo "== TTL 1 ends at the node"
ip netns exec h1 ping -c 1 -t 1 10.1.2.2 || true
echo "== no route, no host"
ip netns exec h2 ping -c 1 -W 1 192.0.2.1 || true
ip netns exec h1 ping -c 1 -W 5 10.1.2.99 || true
rm -r $T
