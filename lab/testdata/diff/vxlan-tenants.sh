# Two tenants with the same addresses on the same VTEPs never meet; a VNI that nobody has is dropped.
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
for i in 1 2; do node n$i; done
wire n1 eth0 02:00:00:00:00:01 n2 eth0 02:00:00:00:00:02
for i in 1 2; do
  ip -n n$i addr add 192.168.0.$i/24 dev eth0
  ip -n n$i neigh replace 192.168.0.$((3 - i)) lladdr 02:00:00:00:00:0$((3 - i)) dev eth0
  for vni in 10 20; do
    node t$vni-$i
    ip -n n$i link add vx$vni address 02:00:00:00:$vni:0$i type vxlan id $vni local 192.168.0.$i remote 192.168.0.$((3 - i)) dstport 4789 dev eth0
    ip -n n$i link add br$vni type bridge
    wire t$vni-$i eth0 02:00:00:01:$vni:0$i n$i veth$vni 02:00:00:02:$vni:0$i
    for d in vx$vni veth$vni; do ip -n n$i link set $d master br$vni; ip -n n$i link set $d up; done
    ip -n n$i link set br$vni up
    ip -n t$vni-$i addr add 10.1.1.$i/24 dev eth0
  done
done
ip -n n1 link add vx30 address 02:00:00:00:30:01 type vxlan id 30 local 192.168.0.1 remote 192.168.0.2 dstport 4789 dev eth0
ip -n n1 link set vx30 up
ip -n n1 addr add 10.3.0.1/24 dev vx30
capture n2 eth0
capture t10-2 eth0
capture t20-2 eth0
sleep 1.5
ip netns exec t10-1 ping -c 1 -W 1 10.1.1.2
ip -n t10-1 neigh show
ip netns exec t20-1 ping -c 2 -i 0.2 -W 1 10.1.1.2
ip -n t20-1 neigh show
echo "# VNI 30 is n1's alone"
ip netns exec n1 ping -q -c 1 -W 0.5 10.3.0.2
for vni in 10 20; do ip netns exec n1 bridge fdb show dev vx$vni | grep -e ^00 -e ^02:00:00:01 | sort; done
sleep 4
kill %1 %2 %3
wait
