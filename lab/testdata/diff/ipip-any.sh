# An IPIP device with remote any, as Flannel and Calico use it: the route's gateway is the far end.
#
#	h1 10.1.0.2 ─ 10.1.0.1 n1 192.168.0.1 ─── 192.168.0.2 n2 10.2.0.1 ─ 10.2.0.2 h2
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
node h1; node n1; node n2; node h2
wire h1 eth0 02:00:00:00:01:02 n1 pod 02:00:00:00:01:01
wire n1 eth0 02:00:00:00:00:01 n2 eth0 02:00:00:00:00:02
wire h2 eth0 02:00:00:00:02:02 n2 pod 02:00:00:00:02:01
for i in 1 2; do
  ip -n h$i addr add 10.$i.0.2/24 dev eth0
  ip -n h$i route add default via 10.$i.0.1
  ip -n n$i addr add 10.$i.0.1/24 dev pod
  ip -n n$i addr add 192.168.0.$i/24 dev eth0
  ip -n n$i neigh replace 192.168.0.$((3 - i)) lladdr 02:00:00:00:00:0$((3 - i)) dev eth0
  ip netns exec n$i sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0
done
for i in 1 2; do
  j=$((3 - i))
  ip -n n$i tunnel add flannel.ipip mode ipip local 192.168.0.$i remote any ttl inherit nopmtudisc dev eth0
  ip -n n$i addr add 10.$i.0.0/32 dev flannel.ipip
  ip -n n$i link set flannel.ipip up
  ip -n n$i route add 10.$j.0.0/24 via 192.168.0.$j dev flannel.ipip onlink
done
ip -n n1 link show flannel.ipip
ip -n n1 tunnel show flannel.ipip
ip -n n1 route show
capture h1 eth0
capture n1 flannel.ipip
capture n1 eth0
capture h2 eth0
sleep 3
ip netns exec h1 ping -c 2 -i 0.3 -W 1 10.2.0.2
ip netns exec h1 ping -c 1 -W 1 -t 2 10.2.0.2
ip netns exec h1 ping -c 1 -W 1 -Q 0x11 10.2.0.2
ip netns exec n1 ping -c 1 -W 1 10.2.0.2
ip netns exec h1 ping -c 1 -W 1 -M do -s 1453 10.2.0.2
ip netns exec h1 ping -c 1 -W 1 -M dont -s 1472 10.2.0.2
echo "# no route inside the tunnel, and none at all"
ip -n n1 route add 10.9.0.0/24 dev flannel.ipip
ip netns exec h1 ping -c 1 -W 1 10.9.0.1
ip netns exec h1 ping -c 1 -W 1 10.2.9.9
sleep 4
kill %1 %2 %3 %4
wait
