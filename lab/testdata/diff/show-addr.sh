# ip addr: add, del, flush, secondary addresses, peers, broadcast, errors, and every way to show them.
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
run() { echo "\$ ip $*"; ip -n h1 "$@" || echo "exit $?"; }
node h1; node h2
wire h1 eth0 02:00:00:00:01:01 h2 eth0 02:00:00:00:01:02
run addr show eth0
run addr add 10.1.1.1/24 dev eth0
run addr add 10.1.1.1/24 dev eth0
run addr add 10.1.1.2/24 brd + dev eth0
run addr add 10.1.2.1/24 broadcast 10.1.2.255 dev eth0
run addr add 10.3.0.1 peer 10.4.0.1 dev eth0
run addr add 10.5.0.1/32 dev lo
run addr add 192.168.1.1/16 dev eth0 scope link
run addr show dev eth0
run -br addr show
run -o addr show
run addr show up
run addr show to 10.1.0.0/16
run route show
run route show table local
run addr del 10.1.1.1/24 dev eth0
run addr show dev eth0
run route show
run addr del 10.9.9.9/24 dev eth0
run addr add 10.1.1.300/24 dev eth0
run addr add 10.1.1.3/33 dev eth0
run addr add 10.1.1.3/24 dev eth9
run addr add 10.1.1.3/24
run addr show dev eth9
run addr flush dev eth0
run addr show dev eth0
run route show
