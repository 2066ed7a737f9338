#!/bin/bash
# Two containers of one pod talk over lo: nothing leaves the node.
#
#     pod 10.244.1.7 (eth0) ------ node
#
# On Linux, as root; clean up with: ip netns del pod; ip netns del node

set -e
for n in pod node; do
	ip netns add $n
	ip netns exec $n sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip link add eth0 netns pod type veth peer name veth7 netns node
ip -n pod link set lo up
ip -n pod link set eth0 up
ip -n node link set veth7 up
ip -n pod addr add 10.244.1.7/24 dev eth0

T=$(mktemp -d)
ip netns exec pod tcpdump -tn -i eth0 icmp > $T/eth0 2> /dev/null &
ip netns exec pod tcpdump -tn -i lo -c 8 icmp > $T/lo 2> /dev/null &
sleep 1

echo "== one container calls the other by 127.0.0.1, and by the pod's own address"
ip netns exec pod ping -q -c 2 127.0.0.1
ip netns exec pod ping -q -c 2 10.244.1.7
sleep 1
kill %1 %2 2> /dev/null || true
wait

echo "== addresses of the node are local routes on lo"
ip -n pod route show table local
ip -n pod route get 10.244.1.7
echo "== on lo"
cat $T/lo
echo "== on eth0: $(grep -c IP $T/eth0) packets"
rm -r $T
