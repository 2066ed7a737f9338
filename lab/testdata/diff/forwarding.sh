# Forwarding: off, on, per device; reverse path filter; packets for a broadcast MAC; the way there and back.
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
ip -n h1 addr add 10.7.0.1/32 dev lo
ip -n r addr add 10.1.1.1/24 dev left
ip -n r addr add 10.1.2.1/24 dev right
ip -n h2 addr add 10.1.2.2/24 dev eth0
ip -n h1 route add default via 10.1.1.1
ip -n h2 route add default via 10.1.2.1
capture h2 eth0
sleep 1.5
try() { echo "# $1"; ip netns exec h1 ping -q -c 1 -W 0.5 -I ${2-10.1.1.2} 10.1.2.2 | grep transmitted; }
try "off"
ip netns exec r sysctl -w net.ipv4.ip_forward=1
try "on"
ip netns exec r sysctl -w net.ipv4.conf.left.forwarding=0
try "off where it comes in"
ip netns exec r sysctl -w net.ipv4.conf.left.forwarding=1
try "on where it comes in"
ip netns exec r sysctl net.ipv4.conf.all.forwarding net.ipv4.conf.right.forwarding net.ipv4.ip_forward
echo "# reverse path filter: a sender to which no route leads"
for filter in 0 1 2; do
  ip netns exec r sysctl -w net.ipv4.conf.left.rp_filter=$filter
  try "a sender without a route" 10.7.0.1
done
ip -n r route add 10.7.0.1 via 10.1.2.2
for filter in 0 1 2; do
  ip netns exec r sysctl -w net.ipv4.conf.left.rp_filter=$filter
  try "a sender that lives elsewhere" 10.7.0.1
done
ip netns exec r sysctl -qw net.ipv4.conf.nonsense.forwarding=1
echo "exit $?"
ip netns exec r sysctl -qw net.ipv4.ip_forwarding=1
echo "exit $?"
sleep 1.5
kill %1
wait
