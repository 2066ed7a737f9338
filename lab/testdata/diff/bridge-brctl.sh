# brctl from the first word to the last, its errors too.
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
run() { echo "\$ $*"; ip netns exec sw "$@" || echo "exit $?"; }
node sw; node h1
wire sw port1 02:00:00:00:00:11 h1 eth0 02:00:00:00:01:01
wire sw port2 02:00:00:00:00:12 h1 eth1 02:00:00:00:01:02
run brctl show
run brctl addbr br0
run brctl addbr br0
run brctl addif br0 port1
run brctl addif br0 port1
run brctl addif br0 port9
run brctl addif br9 port1
run brctl addif br0 port2
run ip link set br0 address 02:00:00:00:00:01
run ip link set br0 up
sleep 0.5
run brctl show
run brctl setageing br0 30
run brctl setageing br9 30
run brctl showmacs br9
run brctl hairpin br0 port1 on
run brctl delif br0 port2
run brctl delif br0 port2
run brctl show br0
run brctl delbr br0
run ip link set br0 down
run brctl delbr br0
run brctl delbr br0
run brctl show
run brctl nonsense
