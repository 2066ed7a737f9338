# ip route get: which route is taken, for a packet of the node's own and for one that comes in.
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
get() { echo "\$ ip route get $*"; ip -n r route get "$@" || echo "exit $?"; }
node h1; node r; node h2
wire h1 eth0 02:00:00:00:01:02 r left 02:00:00:00:01:01
wire h2 eth0 02:00:00:00:02:02 r right 02:00:00:00:02:01
ip -n r addr add 10.1.1.1/24 dev left
ip -n r addr add 10.1.2.1/24 dev right
ip netns exec r sysctl -qw net.ipv4.ip_forward=1
ip -n r route add 10.3.0.0/16 via 10.1.2.2 src 10.1.1.1
ip -n r route add 10.3.4.0/24 via 10.1.1.2 metric 50
ip -n r route add 10.3.4.0/24 via 10.1.2.2 metric 10
ip -n r route add unreachable 10.4.0.0/16
ip -n r route add blackhole 10.5.0.0/16
ip -n r route add 10.6.0.0/16 via 10.77.0.1 dev right onlink
ip -n r route add 10.7.0.0/16 via 10.1.2.2 mtu 1300
get 10.1.1.2
get 10.1.1.1
get 127.0.0.1
get 10.1.1.255
get 10.3.1.1
get 10.3.4.1
get 10.3.4.1 from 10.1.1.1
get 10.3.4.1 from 10.1.1.2 iif left
get 10.1.1.1 from 10.1.1.2 iif left
get 10.1.1.2 from 10.1.2.2 iif left
get 10.4.0.1
get 10.4.0.1 from 10.1.1.2 iif left
get 10.5.0.1
get 10.5.0.1 from 10.1.1.2 iif left
get 10.6.0.1
get 10.7.0.1
get 10.9.0.1
get 10.9.0.1 from 10.1.1.2 iif left
get 10.1.1.2 oif right
get 10.1.1.2 dev left
get 224.0.0.1
get 255.255.255.255
get 0.0.0.0
get 10.3.1.1 from 10.99.0.1
