# Two hosts with one address: the answer that comes first holds for the second of locktime; arping -d sees both.
#
#	h1 10.1.1.1 ─┐
#	h2 10.1.1.2 ─┼─ br0 (sw)
#	h3 10.1.1.2 ─┘
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
node h1; node h2; node h3; node sw
ip -n sw link add br0 address 02:00:00:00:00:01 type bridge
ip -n sw link set br0 up
for i in 1 2 3; do
  wire h$i eth0 02:00:00:00:01:0$i sw port$i 02:00:00:00:00:1$i
  ip -n sw link set port$i master br0
done
ip -n h1 addr add 10.1.1.1/24 dev eth0
ip -n h2 addr add 10.1.1.2/24 dev eth0
ip -n h3 addr add 10.1.1.2/24 dev eth0
sleep 1.5
ip netns exec h1 arping -d -c 1 -w 1 -i eth0 -S 10.1.1.1 10.1.1.2 | sort
ip netns exec h1 arping -d -q -c 1 -w 1 -i eth0 -S 10.1.1.1 10.1.1.2
echo "exit $?"
ip -n h3 addr del 10.1.1.2/24 dev eth0
ip netns exec h1 arping -d -q -c 1 -w 1 -i eth0 -S 10.1.1.1 10.1.1.2
echo "exit $?"
ip -n h3 addr add 10.1.1.2/24 dev eth0
ip netns exec h1 ping -q -c 1 -W 1 10.1.1.2 >/dev/null
sleep 0.3
ip -n h1 neigh show | wc -l
sleep 1.2
echo "# one of them is asked for by its MAC address, the other announces itself"
ip -n h1 neigh replace 10.1.1.2 lladdr 02:00:00:00:01:02 dev eth0 nud reachable
sleep 1.2
ip netns exec h3 arping -q -c 1 -w 1 -U -i eth0 -S 10.1.1.2 10.1.1.2
ip -n h1 neigh show
ip netns exec h2 arping -q -c 1 -w 1 -U -i eth0 -S 10.1.1.2 10.1.1.2
ip -n h1 neigh show
