# ip link: add, set, del, their errors, and every way to show devices.
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
run link show
run link add eth0 address 02:00:00:00:01:01 mtu 1400 type veth peer name eth1 address 02:00:00:00:01:02
run link show
run link add eth0 type veth peer name eth2
run link add eth3 type nonsense
run link add type veth
run link del veth0
run link set eth0 up
run link show eth0
run link set eth1 up
sleep 0.5
run link show eth0
run -br link show
run -o link show eth1
run link set dev eth1 netns h2
run link show eth0
ip -n h2 link show eth1
run link set eth1 netns h9
run link set eth0 netns h9
run link set eth0 name port0
run link set eth0 up
run link set port0 down
run link set port0 name port1
run link show port1
run link set port1 address 02:00:00:00:01:77
run link set port1 address 01:00:00:00:01:77
run link set port1 mtu 1300
run link set port1 promisc on
run link show port1
run link set port1 nonsense
run link show port9
run link set port1 master br9
ip -n h2 link del eth1
run link show
run link del lo
