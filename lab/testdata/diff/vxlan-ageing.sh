# A learned VXLAN entry goes after its time, one in use stays.
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
fdb() { echo "# $1"; ip netns exec n1 bridge fdb show dev vx | sort; }
node n1; node n2
wire n1 eth0 02:00:00:00:00:01 n2 eth0 02:00:00:00:00:02
ip -n n1 addr add 192.168.0.1/24 dev eth0
ip -n n2 addr add 192.168.0.2/24 dev eth0
ip -n n1 link add vx address 02:00:00:00:0f:01 type vxlan id 1 local 192.168.0.1 remote 192.168.0.2 dev eth0 dstport 4789 ageing 3
ip -n n2 link add vx address 02:00:00:00:0f:02 type vxlan id 1 local 192.168.0.2 remote 192.168.0.1 dev eth0 dstport 4789
for i in 1 2; do ip -n n$i addr add 10.1.1.$i/24 dev vx; ip -n n$i link set vx up; done
sleep 1.5
fdb "nothing yet"
ip netns exec n1 ping -q -c 5 -i 1 -W 1 10.1.1.2
fdb "in use"
sleep 14
fdb "out of use"
