# bridge fdb: add, append, replace, del with every flag, and their errors.
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
fdb() { echo "\$ bridge fdb $*"; ip netns exec sw bridge fdb "$@" || echo "exit $?"; }
show() { ip netns exec sw bridge fdb show br br0 | grep ^02 | sort; }
node sw; node h1
ip -n sw link add br0 address 02:00:00:00:00:01 type bridge
ip -n sw link set br0 up
wire sw port1 02:00:00:00:00:11 h1 eth0 02:00:00:00:01:01
wire sw port2 02:00:00:00:00:12 h1 eth1 02:00:00:00:01:02
ip -n sw link set port1 master br0
ip -n sw link set port2 master br0
show
fdb add 02:00:00:00:00:a1 dev port1 master
fdb add 02:00:00:00:00:a2 dev port1 master static
fdb add 02:00:00:00:00:a3 dev port1 master dynamic
fdb add 02:00:00:00:00:a4 dev port1 master permanent
fdb add 02:00:00:00:00:a5 dev port1 master local
fdb add 02:00:00:00:00:a6 dev port1 master static sticky
fdb add 02:00:00:00:00:a7 dev port1
fdb add 02:00:00:00:00:a8 dev port1 self
fdb add 02:00:00:00:00:a9 dev br0 self local
fdb add 02:00:00:00:00:aa dev br0 master
show
fdb add 02:00:00:00:00:a2 dev port2 master static
fdb append 02:00:00:00:00:a2 dev port2 master static
fdb replace 02:00:00:00:00:a2 dev port2 master static
fdb replace 02:00:00:00:00:ab dev port2 master dynamic
fdb replace 02:00:00:00:00:a3 dev port1 master static
show
fdb del 02:00:00:00:00:a2 dev port1 master
fdb del 02:00:00:00:00:a2 dev port2 master
fdb del 02:00:00:00:00:a4 dev port1 master
fdb del 02:00:00:00:00:a7 dev port1
fdb del 02:00:00:00:00:a8 dev port1 self
fdb del 02:00:00:00:00:a9 dev br0 self
fdb del 02:00:00:00:00:ff dev port1 master
fdb add 02:00:00:00:00:b1 dev port9 master
fdb add 02:00:00:00:b1 dev port1 master
fdb add 00:00:00:00:00:00 dev port1 master
fdb add 02:00:00:00:00:b2 dev port1 master static dynamic
fdb add 02:00:00:00:00:b3 dev port1 master nonsense
fdb add 02:00:00:00:00:b4 master
fdb get 02:00:00:00:00:a6 br br0
fdb get 02:00:00:00:00:ff br br0
show
echo "# by port"
ip netns exec sw bridge fdb show brport port2 | grep ^02 | sort
ip netns exec sw bridge fdb show dev port1 | grep ^02 | sort
