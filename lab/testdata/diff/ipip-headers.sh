# The outer header of IPIP: ttl, tos, DF, and what they take from the inner packet.
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
ip -n n2 tunnel add tun mode ipip local 192.168.0.2 remote 192.168.0.1
ip -n n2 link set tun up
capture n2 eth0
capture n2 tun
sleep 3
tunnel() { # the options of the device
  ip -n n1 tunnel add tun mode ipip local 192.168.0.1 remote 192.168.0.2 $1 || return
  echo "# $1"
  ip -n n1 tunnel show tun
  ip -n n1 link set tun up
  ip -n n1 route add 10.2.0.0/24 dev tun
  ip netns exec h1 ping -q -c 1 -W 0.1 -M dont 10.2.0.2 >/dev/null
  ip netns exec h1 ping -q -c 1 -W 0.1 -M do -t 9 -Q 0xb8 10.2.0.2 >/dev/null
  ip netns exec h1 ping -q -c 1 -W 0.1 -M do -Q 3 10.2.0.2 >/dev/null
  ip -n n1 tunnel del tun
}
tunnel ""
tunnel "ttl 7"
tunnel "ttl inherit nopmtudisc"
tunnel "tos 0x10"
tunnel "tos inherit"
tunnel "pmtudisc"
tunnel "nopmtudisc"
tunnel "ttl 7 nopmtudisc"
sleep 3
kill %1 %2
wait
