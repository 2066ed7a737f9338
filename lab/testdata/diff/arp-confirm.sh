# An entry that was learned from a request and then used is confirmed five seconds later, by a unicast request, at both ends.
exec 2>&1
node() {
  ip netns add $1
  ip netns exec $1 sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
  ip -n $1 link set lo up
}
wire() { # NODE DEVICE MAC NODE DEVICE MAC
  ip -n $1 link add $2 address $3 type veth peer name $5 address $6 netns $4
  ip -n $1 link set $2 up
  ip -n $4 link set $5 up
}
capture() { ip netns exec $1 tcpdump -i $2 -w $1-$2.pcap 2>/dev/null & }
node h1; node h2
wire h1 eth0 02:00:00:00:01:01 h2 eth0 02:00:00:00:01:02
ip -n h1 addr add 10.1.1.1/24 dev eth0
ip -n h2 addr add 10.1.1.2/24 dev eth0
capture h1 eth0
sleep 1.5
ip netns exec h1 ping -q -c 1 -W 1 10.1.1.2 >/dev/null
ip -n h2 neigh show
sleep 6
ip -n h2 neigh show
sleep 1.5
kill %1
wait
ip netns exec h1 tcpdump -n -r h1-eth0.pcap arp 2>/dev/null | awk -F '[: ]' '{ s = $1 * 3600 + $2 * 60 + $3; if (NR > 1) printf "%.0f\n", s - last; last = s }'
