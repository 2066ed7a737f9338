# ip route: add, replace, change, append, del, their errors, metrics, types, scopes, sources, tables.
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
run() { echo "\$ ip route $*"; ip -n h1 route "$@" || echo "exit $?"; }
node h1; node h2
wire h1 eth0 02:00:00:00:01:01 h2 eth0 02:00:00:00:01:02
ip -n h1 addr add 10.1.1.1/24 dev eth0
ip -n h1 addr add 10.1.1.7/24 dev eth0
run add 10.2.0.0/16 via 10.1.1.2
run add 10.2.0.0/16 via 10.1.1.3
run add 10.2.0.0/16 via 10.1.1.3 metric 100
run add 10.2.0.0/16 via 10.1.1.4 metric 50
run append 10.2.0.0/16 via 10.1.1.5
run replace 10.2.0.0/16 via 10.1.1.6 metric 100
run change 10.2.0.0/16 via 10.1.1.8 metric 50
run change 10.9.0.0/16 via 10.1.1.8
run show
run show 10.2.0.0/16
run del 10.2.0.0/16
run del 10.2.0.0/16 metric 100
run show
run del 10.8.0.0/16
run add 10.3.0.1 via 10.1.1.2 src 10.1.1.7
run add 10.4.0.0/16 dev eth0
run add 10.5.0.0/16 dev eth0 scope link src 10.1.1.1
run add 10.6.0.0/16 via 10.1.1.2 mtu 1300
run add default via 10.1.1.2
run add 0.0.0.0/0 via 10.1.1.2 metric 10
run add blackhole 10.7.0.0/16
run add unreachable 10.8.0.0/16 metric 5
run add prohibit default metric 9999
run add local 10.9.0.0/16 dev lo
run add 10.10.0.0/16 via 10.250.0.1
run add 10.10.0.0/16 via 10.250.0.1 dev eth0
run add 10.10.0.0/16 via 10.250.0.1 dev eth0 onlink
run add 10.11.0.1/16 dev eth0
run add 10.11.0.0/16 dev eth9
run add 10.11.0.0/16 via 10.1.1.1
run add 10.11.0.0/16 via 10.1.1.2 src 10.77.0.1
run add 10.11.0.0/16
run add 10.12.0.0/16 nexthop via 10.1.1.2 dev eth0 weight 2 nexthop via 10.1.1.3 dev eth0
run show
run show table local
run show type blackhole
run show dev eth0 scope link
run show 10.12.0.0/16
run show to root 10.0.0.0/13
run show match 10.3.0.1
run del 10.12.0.0/16
run del default
run flush 10.6.0.0/16
run flush proto boot
run show
