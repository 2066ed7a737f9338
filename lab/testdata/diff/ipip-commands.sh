# ip tunnel: add, show, change, del, and their errors; the same by ip link.
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
node n1; node n2
wire n1 eth0 02:00:00:00:00:01 n2 eth0 02:00:00:00:00:02
ip -n n1 addr add 192.168.0.1/24 dev eth0
run tunnel add tun1 mode ipip local 192.168.0.1 remote 192.168.0.2
run tunnel add tun1 mode ipip local 192.168.0.1 remote 192.168.0.3
run tunnel add tun2 mode ipip local 192.168.0.1 remote 192.168.0.2
run tunnel add tun2 mode ipip local 192.168.0.1 remote 192.168.0.3 ttl 5 tos 0x10 dev eth0
run tunnel add tun3 mode ipip local any remote any ttl inherit nopmtudisc
run tunnel add tun4 mode ipip ttl 5 nopmtudisc local 192.168.0.1 remote 192.168.0.4
run tunnel add tun5 mode nonsense
run tunnel add tun5 mode ipip local 192.168.0.1 remote 192.168.0.5 dev eth9
run tunnel add tun5 mode ipip local 192.168.0.300
run tunnel show tun1
run tunnel show tun2
run tunnel show tun3
run tunnel show tun9
run link show tun1
ip -d -n n1 link show tun2 | grep -o 'ipip ipip .* pmtudisc'
run link set tun1 up
run addr add 10.10.100.10 peer 10.10.200.10 dev tun1
run addr show tun1
run link show tun1
run tunnel change tun2 mode ipip local 192.168.0.1 remote 192.168.0.3 ttl 9
run tunnel show tun2
run tunnel del tun2
run tunnel del tun9
run link add tun6 type ipip local 192.168.0.1 remote 192.168.0.6 ttl 3 dev eth0
run link show tun6
run link add tun7 type ipip remote 192.168.0.6 local 192.168.0.1
run link del tun6
run route show
