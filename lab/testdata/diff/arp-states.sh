# The life of an entry with short timers (reachable for 1.2 to 3.6 seconds): reachable, stale, delay, probe by unicast, reachable again; then the neighbour is
# gone: probes, failure, requests by broadcast.
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
ip netns exec h1 sysctl -qw net.ipv4.neigh.eth0.base_reachable_time_ms=2400 net.ipv4.neigh.eth0.delay_first_probe_time=1 net.ipv4.neigh.eth0.retrans_time_ms=300
capture h2 eth0
sleep 1.5
ip netns exec h1 ping -q -c 1 -W 1 10.1.1.2 >/dev/null
ip -n h1 neigh show
sleep 4
ip -n h1 neigh show
echo "# used again: delay, then a unicast request"
ip netns exec h1 ping -q -c 1 -W 1 10.1.1.2 >/dev/null
ip -n h1 neigh show
sleep 1.4
ip -n h1 neigh show
sleep 4
echo "# gone"
ip -n h2 addr del 10.1.1.2/24 dev eth0
ip netns exec h1 ping -q -c 1 -W 1.3 10.1.1.2
ip -n h1 neigh show
sleep 1.5
ip -n h1 neigh show
ip netns exec h1 ping -c 1 -W 2 10.1.1.2
ip -n h1 neigh show
sleep 1.5
kill %1
wait
