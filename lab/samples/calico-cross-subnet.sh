#!/bin/bash
# Calico's CrossSubnet: pods of hosts in the same subnet are routed directly, those of others through VXLAN.
#
#     h1 192.168.1.11, h2 192.168.1.12 on switch; h3 192.168.2.13 beyond router 192.168.1.1 / 192.168.2.1
#     pod blocks 10.65.1.0/26, 10.65.2.0/26, 10.65.3.0/26; vxlan.calico has VNI 4096 and port 4789
#
# On Linux, as root; clean up with: for n in h1 h2 h3 pod1 pod2 pod3 router; do ip netns del $n; done

set -e
for n in h1 h2 h3 pod1 pod2 pod3 router; do
	ip netns add $n
	ip netns exec $n sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip -n router link add br0 address 02:00:00:00:01:01 type bridge
ip -n router addr add 192.168.1.1/24 dev br0
ip -n router link set br0 up
ip netns exec router sysctl -q -w net.ipv4.ip_forward=1

for n in 1 2 3; do
	ip link add eth0 netns h$n address 02:00:00:00:00:1$n type veth peer name to$n netns router
	ip -n router link set to$n up
	ip -n h$n link set eth0 up
	ip netns exec h$n sysctl -q -w net.ipv4.ip_forward=1
done
ip -n router link set to1 master br0
ip -n router link set to2 master br0
ip -n router addr add 192.168.2.1/24 dev to3
ip -n h1 addr add 192.168.1.11/24 dev eth0
ip -n h2 addr add 192.168.1.12/24 dev eth0
ip -n h3 addr add 192.168.2.13/24 dev eth0
ip -n h1 route add default via 192.168.1.1
ip -n h2 route add default via 192.168.1.1
ip -n h3 route add default via 192.168.2.1

ADDR=(- 192.168.1.11 192.168.1.12 192.168.2.13)
for n in 1 2 3; do
	ip -n h$n link add vxlan.calico address 66:00:00:00:00:0$n mtu 1450 type vxlan id 4096 local ${ADDR[$n]} dev eth0 dstport 4789 nolearning
	ip -n h$n addr add 10.65.$n.0/32 dev vxlan.calico
	ip -n h$n link set vxlan.calico up
	ip -n h$n route add blackhole 10.65.$n.0/26

	ip link add eth0 netns pod$n mtu 1450 type veth peer name cali$n address ee:ee:ee:ee:ee:ee mtu 1450 netns h$n
	ip -n pod$n addr add 10.65.$n.5/32 dev eth0
	ip -n pod$n link set eth0 up
	ip -n pod$n route add 169.254.1.1 dev eth0
	ip -n pod$n route add default via 169.254.1.1
	ip -n h$n link set cali$n up
	ip -n h$n route add 10.65.$n.5/32 dev cali$n
	ip netns exec h$n sysctl -q -w net.ipv4.conf.cali$n.proxy_arp=1
	ip netns exec h$n sysctl -q -w net.ipv4.neigh.cali$n.proxy_delay=0
done

# tunnel FROM TO: the entries for a host in another subnet; direct FROM TO: the route to one in the same
tunnel() {
	ip -n h$1 neigh add 10.65.$2.0 lladdr 66:00:00:00:00:0$2 dev vxlan.calico nud permanent
	bridge -n h$1 fdb add 66:00:00:00:00:0$2 dev vxlan.calico dst ${ADDR[$2]} self permanent
	ip -n h$1 route add 10.65.$2.0/26 via 10.65.$2.0 dev vxlan.calico onlink
}
direct() { ip -n h$1 route add 10.65.$2.0/26 via ${ADDR[$2]} dev eth0; }
direct 1 2
direct 2 1
tunnel 1 3
tunnel 3 1
tunnel 2 3
tunnel 3 2

T=$(mktemp -d)
ip netns exec h1 tcpdump -tne -i eth0 -c 4 'icmp or udp' > $T/wire 2> /dev/null &
sleep 1
ip netns exec pod1 ping -c 1 10.65.2.5
ip netns exec pod1 ping -c 1 10.65.3.5
wait
echo "== eth0 of h1: first direct, then in VXLAN"
cat $T/wire
echo "== an address of the own block that no pod has"
ip netns exec pod1 ping -c 1 -W 1 10.65.1.9 || true
echo "== routes of h1"
ip -n h1 route show
rm -r $T
