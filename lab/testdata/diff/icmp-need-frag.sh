# DF and a smaller MTU behind the router: fragmentation needed, then the sender knows.
#
#	h1 10.1.1.2/24 ─── 10.1.1.1 r 10.1.2.1 ─(mtu 1400)─ 10.1.2.2/24 h2
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
ip netns exec r sysctl -qw net.ipv4.ip_forward=1
ip -n r link set right mtu 1400
ip -n h2 link set eth0 mtu 1400
capture h1 eth0
capture h2 eth0
sleep 1.5
echo "# the largest that passes"
ip netns exec h1 ping -c 1 -W 1 -M do -s 1372 10.1.2.2
echo "# one byte more: told by the router, then by the node"
ip netns exec h1 ping -c 3 -i 0.3 -W 1 -M do -s 1373 10.1.2.2
echo "exit $?"
ip -n h1 route get 10.1.2.2
echo "# without DF it is split by whoever has to"
ip netns exec h1 ping -c 1 -W 1 -M dont -s 1472 10.1.2.2
echo "exit $?"
ip -n h1 route flush cache
ip netns exec h1 ping -c 1 -W 1 -M dont -s 1472 10.1.2.2
echo "exit $?"
sleep 1.5
kill %1 %2
wait
