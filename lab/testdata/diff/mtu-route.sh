# A route's MTU at a sender.
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
node h1; node h2
wire h1 eth0 02:00:00:00:01:01 h2 eth0 02:00:00:00:01:02
ip -n h1 addr add 10.1.1.1/24 dev eth0
ip -n h2 addr add 10.1.1.2/24 dev eth0
ip -n h2 addr add 10.2.0.1/32 dev lo
ip -n h1 route add 10.2.0.0/16 via 10.1.1.2 mtu 1300
capture h2 eth0
sleep 1.5
for to in 10.2.0.1; do
  ip netns exec h1 ping -c 1 -W 1 -M do -s 1272 $to
  ip netns exec h1 ping -c 1 -W 1 -M do -s 1273 $to
  echo "exit $?"
  ip netns exec h1 ping -c 1 -W 1 -M dont -s 1273 $to
  ip -n h1 route get $to
done
ip -n h1 route show
sleep 1.5
kill %1
wait
