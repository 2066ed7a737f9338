# A router that sends a packet back out of the device by which it came tells the sender of the better way.
#
#	h1 10.1.1.2 ─┐
#	r  10.1.1.1 ─┼─ br0 (sw)      h1 sends to 10.9.0.1 by r, which sends it by r2
#	r2 10.1.1.3 ─┘
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
node h1; node r; node r2; node sw
ip -n sw link add br0 address 02:00:00:00:00:01 type bridge
ip -n sw link set br0 up
wire h1 eth0 02:00:00:00:01:02 sw port1 02:00:00:00:00:11
wire r eth0 02:00:00:00:01:01 sw port2 02:00:00:00:00:12
wire r2 eth0 02:00:00:00:01:03 sw port3 02:00:00:00:00:13
for port in port1 port2 port3; do ip -n sw link set $port master br0; done
ip -n h1 addr add 10.1.1.2/24 dev eth0
ip -n r addr add 10.1.1.1/24 dev eth0
ip -n r2 addr add 10.1.1.3/24 dev eth0
ip -n r2 addr add 10.9.0.1/32 dev lo
ip netns exec r sysctl -qw net.ipv4.ip_forward=1
ip -n h1 route add 10.9.0.0/16 via 10.1.1.1
ip -n r route add 10.9.0.0/16 via 10.1.1.3
capture h1 eth0
sleep 1.5
ip netns exec h1 ping -c 2 -i 0.3 -W 1 10.9.0.1
ip -n h1 route get 10.9.0.1
sleep 1.5
kill %1
wait
