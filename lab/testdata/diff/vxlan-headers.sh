# The outer header: ttl, tos and df of the device, and what they take from the inner packet.
#
#	h 10.9.0.2 ─── 10.9.0.1 n1 192.168.0.1 ─── 192.168.0.2 n2, vx 10.1.1.1 and 10.1.1.2
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
node h; node n1; node n2
wire h eth0 02:00:00:00:09:02 n1 pod 02:00:00:00:09:01
wire n1 eth0 02:00:00:00:00:01 n2 eth0 02:00:00:00:00:02
ip -n h addr add 10.9.0.2/24 dev eth0
ip -n h route add default via 10.9.0.1
ip -n n1 addr add 10.9.0.1/24 dev pod
ip -n n1 addr add 192.168.0.1/24 dev eth0
ip -n n2 addr add 192.168.0.2/24 dev eth0
ip -n n2 link add sink type vxlan id 1 local 192.168.0.2 dev eth0 dstport 8472
ip -n n2 link set sink up
ip netns exec n1 sysctl -qw net.ipv4.ip_forward=1
ip -n n1 neigh replace 192.168.0.2 lladdr 02:00:00:00:00:02 dev eth0
capture n2 eth0
sleep 1.5
vx() { # the options of the device
  ip -n n1 link add vx address 02:00:00:00:0f:01 mtu 1450 type vxlan id 1 local 192.168.0.1 dev eth0 dstport 8472 nolearning $1 || return
  echo "# $1"
  ip -d -n n1 link show vx | grep -o 'vxlan id .*' | sed 's/ addrgenmode.*//; s/ udpcsum.*//; s/ udp_zero.*//'
  ip -n n1 addr add 10.1.1.1/24 dev vx
  ip -n n1 link set vx up
  ip -n n1 neigh add 10.1.1.2 lladdr 02:00:00:00:0f:02 dev vx
  ip netns exec n1 bridge fdb append 02:00:00:00:0f:02 dev vx dst 192.168.0.2
  ip netns exec h ping -q -c 1 -W 0.1 -M dont 10.1.1.2 >/dev/null
  ip netns exec h ping -q -c 1 -W 0.1 -M do -t 9 -Q 0xb8 10.1.1.2 >/dev/null
  ip -n n1 link del vx
}
vx ""
vx "ttl 7"
vx "ttl inherit"
vx "ttl auto"
vx "tos 0x10"
vx "tos inherit"
vx "df set"
vx "df inherit"
vx "df unset"
vx "noudpcsum"
vx "udpcsum"
vx "srcport 40000 40001"
sleep 1.5
kill %1
wait
