#!/bin/bash
# Routed pods with proxy ARP on one host, as Calico has them: no bridge, a /32 route for each pod.
#
#     p1 10.96.30.11/24 eth0 --- eth0-p1 host eth0-p2 --- eth0 10.96.30.12/24 p2
#
# On Linux, as root; clean up with: ip netns del p1; ip netns del p2; ip netns del host

set -e
for n in p1 p2 host; do
	ip netns add $n
	ip netns exec $n sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip netns exec host sysctl -q -w net.ipv4.ip_forward=1
for n in 1 2; do
	ip link add eth0 netns p$n address 02:00:00:00:00:1$n type veth peer name eth0-p$n address ee:ee:ee:ee:ee:ee netns host
	ip -n p$n addr add 10.96.30.1$n/24 dev eth0
	ip -n p$n link set eth0 up
	ip -n p$n route add 169.254.1.1 dev eth0
	ip -n p$n route add default via 169.254.1.1
	ip -n host link set eth0-p$n up
	ip -n host route add 10.96.30.1$n/32 dev eth0-p$n
	ip netns exec host bash -c "echo 1 > /proc/sys/net/ipv4/conf/eth0-p$n/proxy_arp"
	ip netns exec host bash -c "echo 0 > /proc/sys/net/ipv4/neigh/eth0-p$n/proxy_delay"
done
ip -n host link set lo up
ip -n host addr add 192.168.30.211/32 dev lo

T=$(mktemp -d)
ip netns exec host tcpdump -tne -i eth0-p1 -c 4 'arp or icmp' > $T/1 2> /dev/null &
ip netns exec host tcpdump -tne -i eth0-p2 -c 4 'arp or icmp' > $T/2 2> /dev/null &
sleep 1
ip netns exec p1 ping -c 1 10.96.30.12
wait
echo "== eth0-p1: the host answers for p2, with its own MAC address"
cat $T/1
echo "== eth0-p2: the host asks for p2 with its own address, and forwards with ttl 63"
cat $T/2
echo "== never for the asker's own address, nor for what has no route"
ip netns exec p1 arping -c 1 -I eth0 10.96.30.11 || true
ip netns exec p1 arping -c 1 -I eth0 192.0.2.1 || true
rm -r $T
