# Proxy ARP: for whom a router answers with its own MAC address, and for whom not.
#
#	h1 10.1.0.2/16 ─── 10.1.0.1/24 r 10.1.2.1/24 ─── 10.1.2.2/24 h2
exec 2>&1
node() {
  ip netns add $1
  ip netns exec $1 sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
  ip -n $1 link set lo up
}
wire() { # NODE DEVICE MAC NODE DEVICE MAC; entries in use are not confirmed after the usual 5 seconds
  ip -n $1 link add $2 address $3 type veth peer name $5 address $6 netns $4
  ip netns exec $1 sysctl -qw net.ipv4.neigh.$2.delay_first_probe_time=60
  ip netns exec $4 sysctl -qw net.ipv4.neigh.$5.delay_first_probe_time=60
  ip -n $1 link set $2 up
  ip -n $4 link set $5 up
}
capture() { ip netns exec $1 tcpdump -i $2 -w $1-$2.pcap 2>/dev/null & }
ask() { echo "# $1"; ip netns exec h1 arping -c 1 -w 1 -i eth0 ${3--S 10.1.0.2} $2; }
node h1; node r; node h2
wire h1 eth0 02:00:00:00:01:02 r left 02:00:00:00:01:01
wire h2 eth0 02:00:00:00:02:02 r right 02:00:00:00:02:01
ip -n h1 addr add 10.1.0.2/16 dev eth0
ip -n r addr add 10.1.0.1/24 dev left
ip -n r addr add 10.1.2.1/24 dev right
ip -n h2 addr add 10.1.2.2/24 dev eth0
ip -n h2 route add default via 10.1.2.1
ip -n r route add blackhole 10.1.3.0/24
ip netns exec r sysctl -qw net.ipv4.ip_forward=1 net.ipv4.neigh.left.proxy_delay=0
capture h1 eth0
sleep 1.5
ask "off" 10.1.2.2
ip netns exec r sysctl -w net.ipv4.conf.left.proxy_arp=1
ask "the route leaves by another device" 10.1.2.2
ask "its own address" 10.1.2.1
ask "the route leaves by the same device" 10.1.0.9
ask "a blackhole" 10.1.3.1
ask "no route" 10.9.0.1
ask "a probe" 10.1.2.2 -0
ask "a probe for its own address" 10.1.0.1 -0
ip netns exec h1 ping -c 1 -W 1 10.1.2.2
ip -n h1 neigh show
echo "# single addresses"
ip netns exec r sysctl -w net.ipv4.conf.left.proxy_arp=0
ip -n r neigh add proxy 10.1.2.7 dev left
ip -n r neigh show proxy
ask "one of them" 10.1.2.7
ask "not one of them" 10.1.2.8
ip -n r neigh del proxy 10.1.2.7 dev left
ask "no longer" 10.1.2.7
sleep 1.5
kill %1
wait
