#!/bin/bash
# VXLAN as a network of many tenants (RFC 7348): VTEPs learn from each other, broadcasts are copied to all, tenants never meet.
#
#     vtep1 172.16.0.1, vtep2 172.16.0.2, vtep3 172.16.0.3 on one switch;
#     on each a bridge br100 and a bridge br200 with a VXLAN device of that VNI and one host: h1-100, h1-200, h2-100 …
#
# Hosts of both tenants have the same addresses 10.0.0.1, .2 and .3.
# On Linux, as root; clean up with: for n in switch vtep{1,2,3} h{1,2,3}-{1,2}00; do ip netns del $n; done

set -e
for n in switch vtep1 vtep2 vtep3 h1-100 h2-100 h3-100 h1-200 h2-200 h3-200; do
	ip netns add $n
	ip netns exec $n sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip -n switch link add br0 type bridge
ip -n switch link set br0 up

for n in 1 2 3; do
	ip link add eth0 netns vtep$n type veth peer name port$n netns switch
	ip -n switch link set port$n master br0
	ip -n switch link set port$n up
	ip -n vtep$n addr add 172.16.0.$n/24 dev eth0
	ip -n vtep$n link set eth0 up
	for vni in 100 200; do
		ip -n vtep$n link add br$vni type bridge
		ip -n vtep$n link add vx$vni type vxlan id $vni local 172.16.0.$n dstport 4789
		ip -n vtep$n link set vx$vni master br$vni
		for other in 1 2 3; do
			[ $other = $n ] || bridge -n vtep$n fdb append 00:00:00:00:00:00 dev vx$vni dst 172.16.0.$other
		done
		ip link add h$vni netns vtep$n type veth peer name eth0 address 02:00:00:00:0$n:${vni:0:1}0 mtu 1450 netns h$n-$vni
		ip -n vtep$n link set h$vni master br$vni
		for dev in br$vni vx$vni h$vni; do ip -n vtep$n link set $dev up; done
		ip -n h$n-$vni addr add 10.0.0.$n/24 dev eth0
		ip -n h$n-$vni link set eth0 up
	done
done

T=$(mktemp -d)
ip netns exec h3-200 tcpdump -tn -i eth0 'arp or icmp' > $T/other 2> /dev/null & P=$!
sleep 1
echo "== tenant 100"
ip netns exec h1-100 ping -c 2 10.0.0.2
ip netns exec h1-100 ping -q -c 1 10.0.0.3
kill $P
wait
echo "== tenant 200 has seen $(grep -c IP $T/other) packets of it"
echo "== what vtep1 has learned of VNI 100"
bridge -n vtep1 fdb show dev vx100 | grep 02:00:00:00 | sort
echo "== nobody answers in tenant 200 while the other end of the wire is down"
ip -n vtep2 link set vx200 down
ip netns exec h1-200 ping -q -c 1 -W 1 10.0.0.2 || true
rm -r $T
