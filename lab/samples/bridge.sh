#!/bin/bash
# Two pods on one node, through a learning bridge.
#
#       pod7 10.244.1.7      pod10 10.244.1.10
#           eth0                  eth0
#     +-------|---------------------|---------+
#     |     veth7                 veth10      |
#     |       |                     |         |
#     |       cni0 10.244.1.1/24 (bridge)     |
#     +---------------------------------------+ node
#
# On Linux, as root; clean up with: ip netns del node; ip netns del pod7; ip netns del pod10

set -e
for n in node pod7 pod10; do
	ip netns add $n
	ip netns exec $n sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip -n node link add cni0 address 02:00:00:00:01:01 type bridge ageing_time 3000
ip -n node addr add 10.244.1.1/24 dev cni0
ip -n node link set cni0 up

ip link add veth7 netns node type veth peer name eth0 address 9a:16:45:30:3a:c6 netns pod7
ip link add veth10 netns node type veth peer name eth0 address ee:6f:75:01:ed:bb netns pod10
ip -n node link set veth7 master cni0
ip -n node link set veth10 master cni0
ip -n node link set veth7 up
ip -n node link set veth10 up
ip -n pod7 addr add 10.244.1.7/24 dev eth0
ip -n pod10 addr add 10.244.1.10/24 dev eth0
ip -n pod7 link set eth0 up
ip -n pod10 link set eth0 up

T=$(mktemp -d)
ip netns exec pod10 tcpdump -tne -i eth0 -c 4 'arp or icmp' > $T/pod10 2> /dev/null &
sleep 1
ip netns exec pod7 ping -c 1 10.244.1.10
wait
echo "== at pod10"
cat $T/pod10
echo "== the node's own port is one of the bridge's"
ip netns exec pod10 ping -q -c 1 10.244.1.1
# Linux keeps stations for 300 s unless told otherwise, as the bridge above is, in hundredths of a second.
echo "== what the bridge has learned; after 30 s without use it is gone"
bridge -n node fdb show br cni0 dynamic
sleep 60
bridge -n node fdb show br cni0 dynamic | wc -l
rm -r $T
