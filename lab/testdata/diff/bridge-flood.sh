# flood off: unknown unicast does not leave by the port; mcast_flood and bcast_flood off: nor do groups and broadcast.
#
#	h1 10.1.1.1 ─── port1 ┐
#	h2 10.1.1.2 ─── port2 ┼ br0 (sw)
#	h3 10.1.1.3 ─── port3 ┘
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
try() {
  echo "# $1"
  ip -n h1 neigh replace 10.1.1.9 lladdr 02:00:00:00:01:09 dev eth0
  ip netns exec h1 ping -q -c 1 -W 0.2 10.1.1.9 >/dev/null
  ip netns exec h1 arping -q -c 1 -w 1 -i eth0 -S 10.1.1.1 10.1.1.8
  ip netns exec h1 ping -q -c 1 -W 0.2 -t 2 239.1.1.1 >/dev/null
}
node sw
ip -n sw link add br0 address 02:00:00:00:00:01 type bridge
ip -n sw link set br0 up
for i in 1 2 3; do
  node h$i
  wire h$i eth0 02:00:00:00:01:0$i sw port$i 02:00:00:00:00:1$i
  ip -n sw link set port$i master br0
  ip -n h$i addr add 10.1.1.$i/24 dev eth0
done
ip -n h1 route add 239.0.0.0/8 dev eth0
capture h2 eth0
capture h3 eth0
sleep 1.5
try "all flood"
ip netns exec sw bridge link set dev port3 flood off
try "port3 flood off"
ip netns exec sw bridge link set dev port3 flood on mcast_flood off
try "port3 mcast_flood off"
ip netns exec sw bridge link set dev port3 mcast_flood on bcast_flood off
try "port3 bcast_flood off"
ip netns exec sw bridge link set dev port3 bcast_flood on
try "all flood"
ip netns exec sw bridge link show | sort
sleep 3
kill %1 %2
wait
