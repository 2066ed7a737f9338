# bridge fdb on a VXLAN device: remotes, ports, VNIs, append, replace, del, and their errors.
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
fdb() { echo "\$ bridge fdb $*"; ip netns exec n1 bridge fdb "$@" || echo "exit $?"; }
show() { ip netns exec n1 bridge fdb show dev vx | sort; }
node n1; node n2
wire n1 eth0 02:00:00:00:00:01 n2 eth0 02:00:00:00:00:02
ip -n n1 addr add 192.168.0.1/24 dev eth0
ip -n n1 link add vx address 02:00:00:00:0f:01 type vxlan id 1 local 192.168.0.1 dev eth0 dstport 4789
ip -n n1 link set vx up
fdb add 02:00:00:00:00:a1 dev vx dst 192.168.0.2
fdb add 02:00:00:00:00:a1 dev vx dst 192.168.0.3
fdb append 02:00:00:00:00:a1 dev vx dst 192.168.0.3
show
fdb replace 02:00:00:00:00:a1 dev vx dst 192.168.0.4
show
fdb append 00:00:00:00:00:00 dev vx dst 192.168.0.2
fdb append 00:00:00:00:00:00 dev vx dst 192.168.0.3
fdb append 00:00:00:00:00:00 dev vx dst 192.168.0.3
fdb add 00:00:00:00:00:00 dev vx dst 192.168.0.4
fdb append 00:00:00:00:00:00 dev vx dst 192.168.0.4 vni 9 port 8472
show
fdb replace 00:00:00:00:00:00 dev vx dst 192.168.0.5
fdb del 00:00:00:00:00:00 dev vx dst 192.168.0.3
fdb del 00:00:00:00:00:00 dev vx dst 192.168.0.3
fdb add 02:00:00:00:00:a2 dev vx dst 192.168.0.2 static
fdb add 02:00:00:00:00:a3 dev vx dst 192.168.0.2 dynamic
fdb add 02:00:00:00:00:a4 dev vx dst 192.168.0.2 permanent
fdb add 02:00:00:00:00:a5 dev vx dst 192.168.0.2 local
fdb add 02:00:00:00:00:a6 dev vx dst 192.168.0.2 self
fdb add 02:00:00:00:00:a7 dev vx dst 192.168.0.2 master
fdb add 02:00:00:00:00:a8 dev vx dst 239.1.1.1
fdb add 02:00:00:00:00:a9 dev vx
fdb add 02:00:00:00:00:aa dev vx dst 192.168.0.2 via eth0
fdb add 02:00:00:00:00:ab dev vx dst 192.168.0.300
fdb add 02:00:00:00:00:ac dev vx dst 192.168.0.2 vni 16777216
fdb add 01:00:5e:00:00:01 dev vx dst 192.168.0.2
show
fdb del 02:00:00:00:00:a2 dev vx dst 192.168.0.2
fdb del 02:00:00:00:00:a4 dev vx
fdb del 02:00:00:00:00:ff dev vx
show
