# VXLAN and MTU: the device's limit with an underlay device, DF inside, and one without an underlay device, whose packets
# leave in outer fragments until the size is known.
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
for i in 1 2; do
  ip -n n$i addr add 192.168.0.$i/24 dev eth0
  ip -n n$i neigh replace 192.168.0.$((3 - i)) lladdr 02:00:00:00:00:0$((3 - i)) dev eth0
  ip -n n$i link add vx address 02:00:00:00:0f:0$i type vxlan id 1 local 192.168.0.$i remote 192.168.0.$((3 - i)) dev eth0 dstport 4789
  ip -n n$i addr add 10.1.1.$i/24 dev vx
  ip -n n$i link set vx up
  ip -n n$i neigh add 10.1.1.$((3 - i)) lladdr 02:00:00:00:0f:0$((3 - i)) dev vx
done
ip netns exec n1 sysctl -qw net.ipv4.ip_forward=1
ip -n n2 route add 10.9.0.0/24 via 10.1.1.1
ip -n n1 link show vx
ip -n n1 link set vx mtu 1451
echo "exit $?"
ip -n n1 link set vx mtu 1400
ip -n n1 link set vx mtu 1450
capture n2 eth0
capture h eth0
sleep 1.5
echo "# with dev"
ip netns exec n1 ping -q -c 1 -W 1 -M do -s 1422 10.1.1.2
ip netns exec n1 ping -c 1 -W 1 -M do -s 1423 10.1.1.2
ip netns exec h ping -c 1 -W 1 -M do -s 1423 10.1.1.2
ip netns exec h ping -c 1 -W 1 -M dont -s 1423 10.1.1.2
echo "# without"
ip -n n1 link del vx
ip -n n1 link add vx address 02:00:00:00:0f:01 type vxlan id 1 local 192.168.0.1 remote 192.168.0.2 dstport 4789
ip -n n1 link show vx
ip -n n1 addr add 10.1.1.1/24 dev vx
ip -n n1 link set vx up
ip -n n1 neigh add 10.1.1.2 lladdr 02:00:00:00:0f:02 dev vx
ip -n n2 link set vx mtu 1400
for i in 1 2; do ip netns exec n1 ping -c 1 -W 1 -M do -s 1472 10.1.1.2; done
ip -n n1 route get 10.1.1.2
ip -n h route flush cache
ip netns exec h ping -c 1 -W 1 -M do -s 1472 10.1.1.2
sleep 1.5
kill %1 %2
wait
