#!/bin/bash
# Routed pods on two hosts without a tunnel: plain routing, ttl 62 at the far pod.
#
#     p11 10.96.30.11, p12 10.96.30.12 on h1 192.168.30.211 ens33 --- ens33 192.168.30.212 h2 with p13 10.96.30.13, p14 10.96.30.14
#
# On Linux, as root; clean up with: for n in h1 h2 p11 p12 p13 p14; do ip netns del $n; done

set -e
for n in h1 h2 p11 p12 p13 p14; do
	ip netns add $n
	ip netns exec $n sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip link add ens33 netns h1 address 02:00:c0:a8:1e:d3 type veth peer name ens33 address 02:00:c0:a8:1e:d4 netns h2
for n in 1 2; do
	ip -n h$n addr add 192.168.30.21$n/24 dev ens33
	ip -n h$n link set ens33 up
	ip -n h$n route add default via 192.168.30.1 dev ens33 # proxy ARP answers for what has a route
	ip netns exec h$n sysctl -q -w net.ipv4.ip_forward=1
done

# pod HOST OTHER-HOST'S-ADDRESS OTHER-HOST NUMBER
pod() {
	ip link add eth0 netns p$4 mtu 1500 type veth peer name cali$4 address ee:ee:ee:ee:ee:ee netns $1
	ip -n p$4 addr add 10.96.30.$4/32 dev eth0
	ip -n p$4 link set eth0 up
	ip -n p$4 route add 169.254.1.1 dev eth0
	ip -n p$4 route add default via 169.254.1.1
	ip -n $1 link set cali$4 up
	ip -n $1 route add 10.96.30.$4/32 dev cali$4
	ip netns exec $1 sysctl -q -w net.ipv4.conf.cali$4.proxy_arp=1
	ip netns exec $1 sysctl -q -w net.ipv4.neigh.cali$4.proxy_delay=0
	ip -n $3 route add 10.96.30.$4/32 via $2 dev ens33
}
pod h1 192.168.30.211 h2 11
pod h1 192.168.30.211 h2 12
pod h2 192.168.30.212 h1 13
pod h2 192.168.30.212 h1 14

T=$(mktemp -d)
ip netns exec h1 tcpdump -tnev -i ens33 -c 2 icmp > $T/1 2> /dev/null &
ip netns exec p13 tcpdump -tnev -i eth0 -c 2 icmp > $T/2 2> /dev/null &
sleep 1
ip netns exec p11 ping -c 1 10.96.30.13
wait
echo "== ens33 of h1"; cat $T/1
echo "== eth0 of p13"; cat $T/2
echo "== and on one host"
ip netns exec p11 ping -c 1 10.96.30.12
echo "== routes of h1"
ip -n h1 route show
rm -r $T
