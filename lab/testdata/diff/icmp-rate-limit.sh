# How often errors go to one host. Time exceeded: a bucket of six, then one a second. Where a route says unreachable, the
# route's own limit (a bucket of five) takes from the same tokens, so that two errors are all.
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
node h1; node r
wire h1 eth0 02:00:00:00:01:02 r eth0 02:00:00:00:01:01
for i in 2 3 4; do ip -n h1 addr add 10.1.1.$i/24 dev eth0; done
ip -n r addr add 10.1.1.1/24 dev eth0
ip -n h1 route add default via 10.1.1.1
ip netns exec r sysctl -qw net.ipv4.ip_forward=1
ip -n r route add unreachable 10.2.0.0/16
ip -n r route add 10.3.0.0/16 via 10.1.1.9
sleep 1.5
echo "# time exceeded"
ip netns exec h1 ping -c 10 -i 0.2 -W 1 -t 1 -I 10.1.1.2 10.3.0.1
echo "exit $?"
echo "# unreachable"
ip netns exec h1 ping -c 10 -i 0.2 -W 1 -I 10.1.1.3 10.2.0.1
echo "exit $?"
echo "# time exceeded without a limit"
ip netns exec r sysctl -qw net.ipv4.icmp_ratelimit=0
ip netns exec h1 ping -q -c 10 -i 0.1 -W 1 -t 1 -I 10.1.1.4 10.3.0.1
echo "exit $?"
