# ip link add … type vxlan: what it takes, what it refuses, how it is shown.
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
run() { echo "\$ ip $*"; ip -n n1 "$@" || echo "exit $?"; }
shown() { ip -d -n n1 link show $1 | grep -o 'vxlan id .*' | sed 's/ udp.*//; s/ addrgenmode.*//'; }
node n1; node n2
wire n1 eth0 02:00:00:00:00:01 n2 eth0 02:00:00:00:00:02
ip -n n1 addr add 192.168.0.1/24 dev eth0
run link add vx1 type vxlan id 1 local 192.168.0.1 dev eth0 dstport 4789
shown vx1
run link add vx2 type vxlan id 1 local 192.168.0.1 dev eth0 dstport 4789
run link add vx2 type vxlan vni 2 remote 192.168.0.2 dstport 4789 ttl 5 tos 0x10
shown vx2
run link add vx3 type vxlan id 3 group 239.1.1.1 dev eth0 dstport 4789 ageing 100 maxaddress 50
shown vx3
run link add vx4 type vxlan id 4 dstport 4789 proxy l2miss l3miss nolearning ttl inherit tos inherit df inherit srcport 1000 2000
shown vx4
run link add vx5 type vxlan id 16777216 dstport 4789
run link add vx5 type vxlan local 192.168.0.1 dstport 4789
run link add vx5 type vxlan id 5 group 239.1.1.1 dstport 4789
run link add vx5 type vxlan id 5 dstport 4789 dev eth9
run link add vx5 type vxlan id 5 dstport 4789 ttl 256
run link add vx5 type vxlan id 5 dstport 4789 df nonsense
run link add vx5 type vxlan id 5 dstport 4789 nonsense 2>&1 | head -n 2
run link add vx5 address 02:00:00:00:0f:05 mtu 1451 type vxlan id 5 dev eth0 dstport 4789
run link add vx6 address 02:00:00:00:0f:06 type vxlan id 6 dev eth0 dstport 4789
run link set vx6 mtu 1451
run link show vx6
run link set vx6 up
run link show vx6
run link set eth0 mtu 1400
run link show vx6
run link del eth0
run link show vx6
