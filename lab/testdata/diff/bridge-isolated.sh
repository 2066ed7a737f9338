# Isolated ports reach the others, and the bridge itself, but not each other.
#
#	h1 10.1.1.1 ─── port1 ┐
#	h2 10.1.1.2 ─── port2 ┼ br0 (sw)
#	h3 10.1.1.3 ─── port3 ┘
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
try() {
  for pair in "h1 10.1.1.2" "h1 10.1.1.3" "h2 10.1.1.3" "h3 10.1.1.1" "h1 10.1.1.254"; do
    set -- $pair
    ip netns exec $1 ping -q -c 1 -W 0.4 $2 >/dev/null && echo "$1 reaches $2" || echo "$1 does not reach $2"
  done
}
node sw
ip -n sw link add br0 address 02:00:00:00:00:01 type bridge
ip -n sw link set br0 up
for i in 1 2 3; do
  node h$i
  wire h$i eth0 02:00:00:00:01:0$i sw port$i 02:00:00:00:00:1$i
  ip -n sw link set port$i master br0
  ip -n h$i addr add 10.1.1.$i/24 dev eth0
done
ip -n sw addr add 10.1.1.254/24 dev br0
sleep 1.5
try
ip netns exec sw bridge link set dev port1 isolated on
echo "# port1 isolated"
try
ip netns exec sw bridge link set dev port2 isolated on
echo "# port1 and port2 isolated"
for n in h1 h2 h3; do ip -n $n neigh flush dev eth0; done
try
ip netns exec sw bridge -d link show dev port1 | grep -o 'isolated [a-z]*'
