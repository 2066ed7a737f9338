# The old tools: route and ifconfig.
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
run() { echo "\$ $*"; ip netns exec h1 "$@" || echo "exit $?"; }
node h1; node h2
wire h1 eth0 02:00:00:00:01:01 h2 eth0 02:00:00:00:01:02
ip -n h1 addr add 10.1.1.1/24 brd + dev eth0
run route -n
run route add -net 10.2.0.0 netmask 255.255.0.0 gw 10.1.1.2
run route add -net 10.3.0.0/16 gw 10.1.1.3 metric 5
run route add -host 10.4.0.1 gw 10.1.1.4
run route add -net 10.5.0.0/16 dev eth0
run route add default gw 10.1.1.2
run route add -net 10.2.0.0 netmask 255.255.0.0 gw 10.1.1.2
run route add -net 10.6.0.0/16 gw 10.99.0.1
run route add -net 10.6.0.1/16 gw 10.1.1.2
run route -n
run ip route show
run route del -net 10.2.0.0 netmask 255.255.0.0
run route del default
run route del -net 10.8.0.0/16
run route -n
run ifconfig eth0
run ifconfig lo
run ifconfig eth9
run hostname -I
