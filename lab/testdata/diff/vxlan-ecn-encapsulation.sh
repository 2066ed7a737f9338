# ECN on the way in: the inner codepoint, the outer one, with and without tos inherit.
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
ip -n n1 addr add 192.168.0.1/24 dev eth0
ip -n n2 addr add 192.168.0.2/24 dev eth0
ip -n n2 link add sink type vxlan id 1 local 192.168.0.2 dev eth0 dstport 4789
ip -n n2 link set sink up
ip -n n1 neigh replace 192.168.0.2 lladdr 02:00:00:00:00:02 dev eth0
capture n2 eth0
sleep 1.5
for tos in 0 0x20 inherit; do
  ip -n n1 link add vx address 02:00:00:00:0f:01 type vxlan id 1 local 192.168.0.1 remote 192.168.0.2 dev eth0 dstport 4789 tos $tos
  ip -n n1 addr add 10.1.1.1/24 dev vx
  ip -n n1 link set vx up
  ip -n n1 neigh add 10.1.1.2 lladdr 02:00:00:00:0f:02 dev vx
  for inner in 0 1 2 3 0x29 0x2b; do ip netns exec n1 ping -q -c 1 -W 0.1 -Q $inner 10.1.1.2 >/dev/null; done
  ip -n n1 link del vx
done
sleep 1.5
kill %1
wait
ip netns exec n2 tcpdump -n -v -r n2-eth0.pcap udp port 4789 2>/dev/null | grep -o 'tos 0x[0-9a-f]*\(,ECT([01])\|,CE\)\?' | paste - - 
