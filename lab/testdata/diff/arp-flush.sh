# neigh flush: what goes, by device, state and address; permanent entries stay.
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
fill() {
  ip -n h1 neigh replace 10.1.1.11 lladdr 02:00:00:00:00:11 dev eth0 nud permanent
  ip -n h1 neigh replace 10.1.1.12 lladdr 02:00:00:00:00:12 dev eth0 nud noarp
  ip -n h1 neigh replace 10.1.1.13 lladdr 02:00:00:00:00:13 dev eth0 nud stale
  ip -n h1 neigh replace 10.1.1.14 lladdr 02:00:00:00:00:14 dev eth0 nud reachable
}
show() { echo "# $1"; ip -n h1 neigh show nud all | sort; }
fill
show "all states"
ip -n h1 neigh show | sort
ip -n h1 neigh show nud permanent
ip -n h1 neigh flush dev eth0
show "dev eth0"
fill
ip -n h1 neigh flush nud stale
show "nud stale"
fill
ip -n h1 neigh flush 10.1.1.14
show "one address"
fill
ip -n h1 neigh flush dev eth0 nud permanent
show "nud permanent"
fill
ip -n h1 -s neigh flush all | sed 's/in .*//'
show "all"
fill
ip -n h1 link set eth0 down
show "device down"
ip -n h1 link set eth0 up
show "device up"
