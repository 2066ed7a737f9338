#!/bin/bash
# A point-to-point IPIP tunnel across a router.
#
#     ns1 v1 10.10.10.2 --- r1 10.10.10.1 router 10.10.20.1 r2 --- v2 10.10.20.2 ns2
#     tunl1 10.10.100.10 ======================================== tunl2 10.10.200.10
#
# On Linux, as root, with the module ipip; clean up with: ip netns del ns1; ip netns del router; ip netns del ns2

set -e
for n in ns1 router ns2; do
	ip netns add $n
	ip netns exec $n sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip link add v1 netns ns1 address 02:00:0a:0a:0a:02 type veth peer name r1 address 02:00:0a:0a:0a:01 netns router
ip link add v2 netns ns2 address 02:00:0a:0a:14:02 type veth peer name r2 address 02:00:0a:0a:14:01 netns router
ip -n ns1 addr add 10.10.10.2/24 dev v1
ip -n ns2 addr add 10.10.20.2/24 dev v2
ip -n router addr add 10.10.10.1/24 dev r1
ip -n router addr add 10.10.20.1/24 dev r2
ip -n ns1 link set v1 up
ip -n ns2 link set v2 up
ip -n router link set r1 up
ip -n router link set r2 up
ip -n ns1 route add 10.10.20.0/24 via 10.10.10.1 dev v1
ip -n ns2 route add 10.10.10.0/24 via 10.10.20.1 dev v2
ip netns exec router sysctl -q -w net.ipv4.ip_forward=1

ip -n ns1 tunnel add tunl1 mode ipip remote 10.10.20.2 local 10.10.10.2
ip -n ns1 link set tunl1 up
ip -n ns1 addr add 10.10.100.10 peer 10.10.200.10 dev tunl1
ip -n ns2 tunnel add tunl2 mode ipip remote 10.10.10.2 local 10.10.20.2
ip -n ns2 link set tunl2 up
ip -n ns2 addr add 10.10.200.10 peer 10.10.100.10 dev tunl2

T=$(mktemp -d)
ip netns exec ns1 tcpdump -tnv -i tunl1 -c 2 > $T/tunl1 2> /dev/null &
ip netns exec ns1 tcpdump -tnev -i v1 -c 2 ip proto 4 > $T/v1 2> /dev/null &
sleep 1
ip netns exec ns1 ping -c 1 10.10.200.10
wait
echo "== in the tunnel: 84 bytes, no Ethernet"
cat $T/tunl1
echo "== on v1: 118 bytes, addressed to the router's port"
cat $T/v1
echo "== routes of ns1"
ip -n ns1 route show
rm -r $T
