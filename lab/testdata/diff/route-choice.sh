# Which route is taken: the longest prefix, then the smallest metric; what is left when a device goes down and comes back.
#
#	h1 10.1.1.1 ─── 10.1.1.2 h2      h1 10.1.2.1 ─── 10.1.2.2 h3      10.9.0.1 is at h2 and h3
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
node h1; node h2; node h3
wire h1 eth0 02:00:00:00:01:01 h2 eth0 02:00:00:00:01:02
wire h1 eth1 02:00:00:00:02:01 h3 eth0 02:00:00:00:02:02
ip -n h1 addr add 10.1.1.1/24 dev eth0
ip -n h1 addr add 10.1.2.1/24 dev eth1
ip -n h2 addr add 10.1.1.2/24 dev eth0
ip -n h3 addr add 10.1.2.2/24 dev eth0
for h in h2 h3; do ip -n $h addr add 10.9.0.1/32 dev lo; done
ip -n h3 route add 10.1.1.0/24 via 10.1.2.1
capture h2 eth0
capture h3 eth0
sleep 1.5
try() { echo "# $1"; ip -n h1 route show root 10.9.0.0/16; ip -n h1 route get 10.9.0.1 | head -n 1; ip netns exec h1 ping -q -c 1 -W 1 10.9.0.1 | grep transmitted; }
ip -n h1 route add 10.9.0.0/16 via 10.1.1.2 metric 20
try "one"
ip -n h1 route add 10.9.0.0/16 via 10.1.2.2 metric 10
try "a smaller metric"
ip -n h1 route add 10.9.0.0/24 via 10.1.1.2 metric 100
try "a longer prefix"
ip -n h1 route add unreachable 10.9.0.1
try "the longest"
ip -n h1 route del unreachable 10.9.0.1
ip -n h1 link set eth0 down
try "eth0 down"
ip -n h1 link set eth0 up
sleep 1.5
try "eth0 up again: its routes are gone, but for the connected one"
ip -n h1 route show
ip -n h2 link set eth0 down
sleep 1.5
try "no carrier"
ip -n h1 route show
sleep 1.5
kill %1 %2
wait
