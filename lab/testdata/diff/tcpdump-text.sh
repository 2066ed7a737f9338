# What tcpdump prints of ARP, ICMP, UDP, fragments and VXLAN, plain, with -e and with -v.
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
node n1; node n2
wire n1 eth0 02:00:00:00:00:01 n2 eth0 02:00:00:00:00:02
for i in 1 2; do
  ip -n n$i addr add 192.168.0.$i/24 dev eth0
  ip -n n$i link add vx address 02:00:00:00:0f:0$i type vxlan id 42 local 192.168.0.$i remote 192.168.0.$((3 - i)) dev eth0 dstport 4789
  ip -n n$i addr add 10.1.1.$i/24 dev vx
  ip -n n$i link set vx up
done
capture n1 eth0
sleep 1.5
ip netns exec n1 ping -q -c 1 -W 1 192.168.0.2 >/dev/null
ip netns exec n1 ping -q -c 1 -W 1 -s 2000 192.168.0.2 >/dev/null
ip netns exec n1 ping -q -c 1 -W 1 -t 3 -Q 0x10 10.1.1.2 >/dev/null
echo hello | ip netns exec n1 nc -u -w 1 192.168.0.2 9
sleep 1.5
kill %1
wait
read_it() { echo "# tcpdump $*"; tcpdump "$@" -r n1-eth0.pcap 2>/dev/null; }
read_it -n
read_it -n -e
read_it -n -t arp
read_it -n -t -v icmp
read_it -n -t -c 2 udp port 4789
read_it -n -t 'icmp[icmptype] == icmp-echo and host 192.168.0.2'
read_it -pne -t 'ether broadcast'
read_it -n 'nonsense and'
echo "exit $?"
