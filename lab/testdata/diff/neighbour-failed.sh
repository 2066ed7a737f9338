# A neighbour that never answers: three requests, then host unreachable for every packet that waits, to a sender behind the
# router as to one on the node.
#
#	h1 10.1.1.2/24 ─── 10.1.1.1 r 10.1.2.1 ─── h2 (no address)
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
ip -n h1 route add default via 10.1.1.1
ip netns exec r sysctl -qw net.ipv4.ip_forward=1
capture h1 eth0
capture h2 eth0
sleep 1.5
echo "# three packets wait"
ip netns exec h1 ping -c 3 -i 0.2 -W 4 10.1.2.9
echo "exit $?"
ip -n r neigh show dev right
echo "# from the node itself"
ip netns exec r ping -c 1 -W 4 10.1.2.10
echo "exit $?"
ip -n r neigh show dev right | sort
sleep 1.5
kill %1 %2
wait
echo "# seconds between the requests"
ip netns exec h2 tcpdump -n -r h2-eth0.pcap 2>/dev/null | awk -F '[: ]' '{ s = $1 * 3600 + $2 * 60 + $3; if (NR > 1) printf "%.0f\n", s - last; last = s }'
