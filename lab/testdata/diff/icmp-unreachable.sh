# ICMP destination unreachable by its codes, each got by a host behind a router.
#
#	h1 10.1.1.2/24 ─── 10.1.1.1 r 10.1.2.1 ─── 10.1.2.2/24 h2
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
node h1; node r; node h2
wire h1 eth0 02:00:00:00:01:02 r left 02:00:00:00:01:01
wire h2 eth0 02:00:00:00:02:02 r right 02:00:00:00:02:01
ip -n h1 addr add 10.1.1.2/24 dev eth0
ip -n r addr add 10.1.1.1/24 dev left
ip -n r addr add 10.1.2.1/24 dev right
ip -n h2 addr add 10.1.2.2/24 dev eth0
ip -n h1 route add default via 10.1.1.1
ip -n h2 route add default via 10.1.2.1
ip netns exec r sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0
ip netns exec h2 sysctl -qw net.ipv4.icmp_ratelimit=0
ip -n r route add unreachable 10.2.0.0/16
ip -n r route add prohibit 10.3.0.0/16
ip -n r route add blackhole 10.4.0.0/16
capture h1 eth0
sleep 1.5
echo "# 3/3: nobody listens"
echo hello | ip netns exec h1 nc -u -w 1 10.1.2.2 9
echo "# 3/0: no route"
ip netns exec h1 ping -c 1 -W 1 10.9.0.1
echo "exit $?"
echo "# 3/1: unreachable"
ip netns exec h1 ping -c 1 -W 1 10.2.0.1
echo "exit $?"
echo "# 3/13: prohibit"
ip netns exec h1 ping -c 1 -W 1 10.3.0.1
echo "exit $?"
echo "# blackhole: silence"
ip netns exec h1 ping -c 1 -W 1 10.4.0.1
echo "exit $?"
sleep 1.5
kill %1
wait
