# Flannel's VXLAN backend as it makes it: nolearning, permanent neighbour and FDB entries, onlink routes.
#
#	pod1 10.244.1.12 ─ cni0 n1 172.16.100.101 ─── 172.16.100.102 n2 cni0 ─ 10.244.2.14 pod2
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
node n1; node n2; node pod1; node pod2
wire n1 eth0 02:00:00:00:01:01 n2 eth0 02:00:00:00:01:02
wire pod1 eth0 02:00:00:00:0a:01 n1 veth1 02:00:00:00:0c:01
wire pod2 eth0 02:00:00:00:0a:02 n2 veth1 02:00:00:00:0c:02
for i in 1 2; do
  ip -n n$i addr add 172.16.100.10$i/24 dev eth0
  ip -n n$i link add cni0 address 02:00:00:00:0b:0$i mtu 1450 type bridge
  ip -n n$i addr add 10.244.$i.1/24 dev cni0
  ip -n n$i link set cni0 up
  ip -n n$i link set veth1 mtu 1450
  ip -n n$i link set veth1 master cni0
  ip netns exec n$i bridge link set dev veth1 hairpin on
  ip netns exec n$i sysctl -qw net.ipv4.ip_forward=1
  ip -n n$i link add flannel.1 address 02:00:00:00:0f:0$i mtu 1450 type vxlan id 1 local 172.16.100.10$i dev eth0 dstport 8472 nolearning
  ip -n n$i addr add 10.244.$i.0/32 dev flannel.1
  ip -n n$i link set flannel.1 up
  ip -n pod$i link set eth0 mtu 1450
done
ip -n pod1 addr add 10.244.1.12/24 dev eth0
ip -n pod2 addr add 10.244.2.14/24 dev eth0
ip -n pod1 route add default via 10.244.1.1
ip -n pod2 route add default via 10.244.2.1
for i in 1 2; do
  j=$((3 - i))
  ip -n n$i neigh replace 10.244.$j.0 lladdr 02:00:00:00:0f:0$j dev flannel.1 nud permanent
  ip netns exec n$i bridge fdb append 02:00:00:00:0f:0$j dev flannel.1 dst 172.16.100.10$j
  ip -n n$i route add 10.244.$j.0/24 via 10.244.$j.0 dev flannel.1 onlink
done
ip -n n1 route show
ip -n n1 neigh show
ip netns exec n1 bridge fdb show dev flannel.1
capture pod1 eth0
capture n1 flannel.1
capture n1 eth0
capture pod2 eth0
sleep 1.5
ip netns exec pod1 ping -c 2 -i 0.3 -W 1 10.244.2.14
ip netns exec pod1 ping -c 1 -W 1 -M do -s 1423 10.244.2.14
echo "exit $?"
ip netns exec n1 ping -c 1 -W 1 10.244.2.14
ip netns exec pod1 traceroute -n -I -q 1 -N 1 10.244.2.14
ip netns exec n1 bridge fdb show dev flannel.1
sleep 1.5
kill %1 %2 %3 %4
wait
