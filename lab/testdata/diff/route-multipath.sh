# Several next hops: how they are shown, that all are used, and what becomes of one whose device goes down.
#
#	h1 10.1.1.1 ─── 10.1.1.2 h2      h1 10.1.2.1 ─── 10.1.2.2 h3      10.9.0.1 is at h2 and h3
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
node h1; node h2; node h3
wire h1 eth0 02:00:00:00:01:01 h2 eth0 02:00:00:00:01:02
wire h1 eth1 02:00:00:00:02:01 h3 eth0 02:00:00:00:02:02
ip -n h1 addr add 10.1.1.1/24 dev eth0
ip -n h1 addr add 10.1.2.1/24 dev eth1
ip -n h1 addr add 10.8.0.1/32 dev lo
ip -n h2 addr add 10.1.1.2/24 dev eth0
ip -n h3 addr add 10.1.2.2/24 dev eth0
ip -n h2 route add 10.8.0.1 via 10.1.1.1
ip -n h3 route add 10.8.0.1 via 10.1.2.1
for h in h2 h3; do ip -n $h route add local 10.9.0.0/16 dev lo; done
sleep 1.5
ip -n h1 route add 10.9.0.0/16 nexthop via 10.1.1.2 dev eth0 weight 1 nexthop via 10.1.2.2 dev eth1 weight 3
ip -n h1 route show
# Every destination sticks to its next hop; with 40 of them both are used.
used() {
  for i in $(seq 40); do ip -n h1 route get 10.9.0.$i from 10.8.0.1; done | grep -o 'via [0-9.]* dev [a-z0-9]*' | sort | uniq | sed "s/^/$1: /"
}
used "all up"
for i in 1 2 3; do ip netns exec h1 ping -q -c 1 -W 1 -I 10.8.0.1 10.9.0.$i | grep transmitted; done
ip -n h1 link set eth1 down
used "eth1 down"
ip -n h1 route show
for i in 1 2 3; do ip netns exec h1 ping -q -c 1 -W 1 -I 10.8.0.1 10.9.0.$i | grep transmitted; done
ip -n h1 link set eth1 up
sleep 0.5
used "eth1 up"
ip -n h1 route show
ip -n h1 route replace 10.9.0.0/16 nexthop via 10.1.1.2 nexthop via 10.1.2.2
ip -n h1 route show
ip -n h1 route add 10.10.0.0/16 nexthop via 10.1.1.2 nexthop via 10.77.0.1
echo "exit $?"
