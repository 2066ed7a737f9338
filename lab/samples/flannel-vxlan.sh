#!/bin/bash
# Flannel's VXLAN backend: one VXLAN device for all nodes; routes, neighbours and FDB entries come from the cluster's store.
#
#     pod4 10.244.1.4                                          pod3 10.244.2.3
#        | veth4                                                  | veth3
#     cni0 10.244.1.1 (bridge)                                 cni0 10.244.2.1 (bridge)
#     flannel.1 10.244.1.0 ================================= flannel.1 10.244.2.0
#     node1 eth0 172.12.1.11 ---------------------------------- eth0 172.12.1.12 node2
#
# On Linux, as root; clean up with: for n in node1 node2 pod4 pod3; do ip netns del $n; done

set -e
for n in node1 node2 pod4 pod3; do
	ip netns add $n
	ip netns exec $n sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip link add eth0 netns node1 address 02:00:ac:0c:01:0b type veth peer name eth0 address 02:00:ac:0c:01:0c netns node2

# node NAME UNDERLAY SUBNET POD VTEP-MAC
node() {
	local node=$1 underlay=$2 subnet=$3 pod=$4 mac=$5
	ip -n $node addr add $underlay/24 dev eth0
	ip -n $node link set eth0 up
	ip netns exec $node sysctl -q -w net.ipv4.ip_forward=1

	ip -n $node link add cni0 mtu 1450 type bridge
	ip -n $node addr add $subnet.1/24 dev cni0
	ip -n $node link set cni0 up
	ip link add veth$pod netns $node mtu 1450 type veth peer name eth0 mtu 1450 netns pod$pod
	ip -n $node link set veth$pod master cni0
	ip -n $node link set veth$pod up
	ip -n pod$pod addr add $subnet.$pod/24 dev eth0
	ip -n pod$pod link set eth0 up
	ip -n pod$pod route add default via $subnet.1

	ip -n $node link add flannel.1 address $mac type vxlan id 1 local $underlay dev eth0 dstport 8472 nolearning
	ip -n $node addr add $subnet.0/32 dev flannel.1
	ip -n $node link set flannel.1 up
}
node node1 172.12.1.11 10.244.1 4 de:ad:be:ef:00:01
node node2 172.12.1.12 10.244.2 3 de:ad:be:ef:00:02

# peer NODE REMOTE SUBNET VTEP-MAC: the three entries that flanneld makes for each other node, in its order
peer() {
	ip -n $1 neigh replace $3.0 lladdr $4 dev flannel.1 nud permanent
	bridge -n $1 fdb replace $4 dev flannel.1 dst $2 self permanent
	ip -n $1 route replace $3.0/24 via $3.0 dev flannel.1 onlink
}
peer node1 172.12.1.12 10.244.2 de:ad:be:ef:00:02
peer node2 172.12.1.11 10.244.1 de:ad:be:ef:00:01

T=$(mktemp -d)
ip netns exec node1 tcpdump -tnev -i veth4 -c 2 icmp > $T/1 2> /dev/null &
ip netns exec node1 tcpdump -tnev -i flannel.1 -c 2 icmp > $T/2 2> /dev/null &
ip netns exec node1 tcpdump -tne -i eth0 -c 2 udp > $T/3 2> /dev/null &
ip netns exec pod3 tcpdump -tnev -i eth0 -c 2 icmp > $T/4 2> /dev/null &
sleep 1
ip netns exec pod4 ping -c 1 10.244.2.3
wait
echo "== veth4 of node1: ttl 64, to cni0"; cat $T/1
echo "== flannel.1 of node1: ttl 63, to the far flannel.1"; cat $T/2
echo "== eth0 of node1: UDP 8472, VNI 1"; cat $T/3
echo "== eth0 of pod3: ttl 62"; cat $T/4
echo "== nothing was learned from the wire"
bridge -n node1 fdb show dev flannel.1
rm -r $T
