# A learning VXLAN: the all-zero entry floods, then both ends know the other's stations.
#
#	a 10.1.1.1 ─ veth ─ br0 ─ vx ── 192.168.0.1 n1 ─── n2 192.168.0.2 ── vx ─ br0 ─ veth ─ 10.1.1.2 b
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
fdb() { echo "# $1 fdb"; ip netns exec $1 bridge fdb show dev vx | grep -e ^00 -e ^02:00:00:00:01 | sort; }
for i in 1 2; do node n$i; done
wire n1 eth0 02:00:00:00:00:01 n2 eth0 02:00:00:00:00:02
ip -n n1 addr add 192.168.0.1/24 dev eth0
ip -n n2 addr add 192.168.0.2/24 dev eth0
ip -n n1 neigh replace 192.168.0.2 lladdr 02:00:00:00:00:02 dev eth0
ip -n n2 neigh replace 192.168.0.1 lladdr 02:00:00:00:00:01 dev eth0
node a; node b
for i in 1 2; do
  ip -n n$i link add vx address 02:00:00:00:0f:0$i type vxlan id 100 local 192.168.0.$i dstport 4789 dev eth0
  ip -n n$i link add br0 address 02:00:00:00:0b:0$i type bridge
  ip -n n$i link set vx master br0
  ip -n n$i link set vx up
  ip -n n$i link set br0 up
done
wire a eth0 02:00:00:00:01:01 n1 veth 02:00:00:00:0e:01
wire b eth0 02:00:00:00:01:02 n2 veth 02:00:00:00:0e:02
ip -n n1 link set veth master br0
ip -n n2 link set veth master br0
ip -n a addr add 10.1.1.1/24 dev eth0
ip -n b addr add 10.1.1.2/24 dev eth0
ip -n a link set eth0 mtu 1450
ip -n b link set eth0 mtu 1450
ip netns exec n1 bridge fdb append 00:00:00:00:00:00 dev vx dst 192.168.0.2
ip netns exec n2 bridge fdb append 00:00:00:00:00:00 dev vx dst 192.168.0.1
capture n1 eth0
capture b eth0
sleep 1.5
ip netns exec a ping -c 2 -i 0.2 -W 1 10.1.1.2
fdb n1
fdb n2
ip netns exec n1 bridge fdb show br br0 | grep ^02:00:00:00:01 | sort
sleep 1.5
kill %1 %2
wait
ip netns exec n1 tcpdump -n -t -r n1-eth0.pcap udp port 4789 2>/dev/null | grep -c -e ARP -e ICMP
