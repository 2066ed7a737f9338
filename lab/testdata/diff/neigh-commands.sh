# ip neigh: add, replace, change, del, their errors, and every state one can set.
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
neigh() { echo "\$ ip neigh $*"; ip -n h1 neigh "$@" || echo "exit $?"; }
node h1; node h2
wire h1 eth0 02:00:00:00:01:01 h2 eth0 02:00:00:00:01:02
ip -n h1 addr add 10.1.1.1/24 dev eth0
neigh add 10.1.1.2 lladdr 02:00:00:00:00:02 dev eth0
neigh show
neigh add 10.1.1.2 lladdr 02:00:00:00:00:03 dev eth0
neigh change 10.1.1.2 lladdr 02:00:00:00:00:03 dev eth0 nud reachable
neigh show
neigh change 10.1.1.3 lladdr 02:00:00:00:00:03 dev eth0
neigh replace 10.1.1.3 lladdr 02:00:00:00:00:03 dev eth0 nud stale
neigh replace 10.1.1.3 lladdr 02:00:00:00:00:04 dev eth0 nud noarp
neigh show nud noarp
neigh show 10.1.1.3
neigh get 10.1.1.2 dev eth0
neigh del 10.1.1.2 dev eth0
neigh del 10.1.1.2 dev eth0
neigh del 10.1.1.9 dev eth0
neigh add 10.1.1.5 lladdr 02:00:00:00:00:05 dev eth9
neigh add 10.1.1.5 lladdr 02:00:00:00:05 dev eth0
neigh add 10.1.1.5 lladdr 02:00:00:00:00:05
neigh add 10.1.1.5 dev eth0
neigh add 10.1.1.6 lladdr 02:00:00:00:00:06 dev eth0 nud nonsense
neigh add proxy 10.1.1.7 dev eth0
neigh show proxy
neigh del proxy 10.1.1.7 dev eth0
neigh show proxy
neigh show
