#!/bin/bash
# Flannel's IPIP backend: one tunnel for all nodes ('remote any'), whose far end is the route's gateway.
#
#     pod3 10.244.0.3                                          pod7 10.244.1.7
#        | veth3                                                  | veth7
#     cni0 10.244.0.1 (bridge)                                 cni0 10.244.1.1 (bridge)
#     flannel.ipip 10.244.0.0 ============================= flannel.ipip 10.244.1.0
#     k8s-1 eth0 172.12.1.11 ---------------------------------- eth0 172.12.1.12 k8s-2
#
# On Linux, as root, with the module ipip; clean up with: for n in k8s-1 k8s-2 pod3 pod7; do ip netns del $n; done

set -e
for n in k8s-1 k8s-2 pod3 pod7; do
	ip netns add $n
	ip netns exec $n sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip link add eth0 netns k8s-1 address 00:0c:29:bd:fb:4a type veth peer name eth0 address 00:0c:29:e2:bf:86 netns k8s-2

# node NAME UNDERLAY SUBNET POD MAC-OF-POD REMOTE REMOTE-SUBNET
node() {
	local node=$1 underlay=$2 subnet=$3 pod=$4 mac=$5 remote=$6 far=$7
	ip -n $node addr add $underlay/24 dev eth0
	ip -n $node link set eth0 up
	ip netns exec $node sysctl -q -w net.ipv4.ip_forward=1

	ip -n $node link add cni0 mtu 1480 type bridge
	ip -n $node addr add $subnet.1/24 dev cni0
	ip -n $node link set cni0 up
	ip link add veth$pod netns $node mtu 1480 type veth peer name eth0 address $mac mtu 1480 netns pod$pod
	ip -n $node link set veth$pod master cni0
	ip -n $node link set veth$pod up
	ip -n pod$pod addr add $subnet.$pod/24 dev eth0
	ip -n pod$pod link set eth0 up
	ip -n pod$pod route add default via $subnet.1

	ip -n $node tunnel add flannel.ipip mode ipip local $underlay ttl inherit nopmtudisc
	ip -n $node addr add $subnet.0/32 dev flannel.ipip
	ip -n $node link set flannel.ipip up
	ip -n $node route add $far.0/24 via $remote dev flannel.ipip onlink
}
node k8s-1 172.12.1.11 10.244.0 3 26:32:89:a6:66:6e 172.12.1.12 10.244.1
node k8s-2 172.12.1.12 10.244.1 7 f2:22:7c:58:d4:db 172.12.1.11 10.244.0

T=$(mktemp -d)
ip netns exec k8s-1 tcpdump -tnev -i veth3 -c 2 icmp > $T/1 2> /dev/null &
ip netns exec k8s-1 tcpdump -tnv -i flannel.ipip -c 2 > $T/2 2> /dev/null &
ip netns exec k8s-1 tcpdump -tnev -i eth0 -c 2 ip proto 4 > $T/3 2> /dev/null &
ip netns exec pod7 tcpdump -tnev -i eth0 -c 2 icmp > $T/4 2> /dev/null &
sleep 1
ip netns exec pod3 ping -c 1 10.244.1.7
wait
echo "== veth3 of k8s-1: ttl 64"; cat $T/1
echo "== flannel.ipip of k8s-1: ttl 63"; cat $T/2
echo "== eth0 of k8s-1: 172.12.1.11 > 172.12.1.12"; cat $T/3
echo "== eth0 of pod7: ttl 62"; cat $T/4
rm -r $T
