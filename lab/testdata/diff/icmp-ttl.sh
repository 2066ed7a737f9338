# TTL: time exceeded from each router, by ping and by traceroute.
#
#	h1 10.1.1.2 ─── .1 r1 10.1.2.1 ─── .2 r2 10.1.3.1 ─── .2 h2
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
node h1; node r1; node r2; node h2
wire h1 eth0 02:00:00:00:01:02 r1 left 02:00:00:00:01:01
wire r1 right 02:00:00:00:02:01 r2 left 02:00:00:00:02:02
wire r2 right 02:00:00:00:03:01 h2 eth0 02:00:00:00:03:02
ip -n h1 addr add 10.1.1.2/24 dev eth0
ip -n r1 addr add 10.1.1.1/24 dev left
ip -n r1 addr add 10.1.2.1/24 dev right
ip -n r2 addr add 10.1.2.2/24 dev left
ip -n r2 addr add 10.1.3.1/24 dev right
ip -n h2 addr add 10.1.3.2/24 dev eth0
ip -n h1 route add default via 10.1.1.1
ip -n r1 route add 10.1.3.0/24 via 10.1.2.2
ip -n r2 route add 10.1.1.0/24 via 10.1.2.1
ip -n h2 route add default via 10.1.3.1
for r in r1 r2; do ip netns exec $r sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0; done
ip netns exec h2 sysctl -qw net.ipv4.icmp_ratelimit=0
capture h1 eth0
capture h2 eth0
sleep 1.5
for ttl in 1 2 3; do
  ip netns exec h1 ping -c 1 -W 1 -t $ttl 10.1.3.2
  echo "exit $?"
done
ip netns exec h1 traceroute -n -I -q 1 -N 1 10.1.3.2
ip netns exec h1 traceroute -n -U -q 1 -N 1 10.1.3.2
sleep 1.5
kill %1 %2
wait
