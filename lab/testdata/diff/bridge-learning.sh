# A bridge that learns: flooding first, then the one port; the table in every tool; a port that does not learn.
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
fdb() { echo "# fdb"; ip netns exec sw bridge fdb show br br0 | grep -v -e ^33:33 -e ^01:00:5e | sort; }
node sw
ip -n sw link add br0 address 02:00:00:00:00:01 type bridge
ip -n sw link set br0 up
for i in 1 2 3; do
  node h$i
  wire h$i eth0 02:00:00:00:01:0$i sw port$i 02:00:00:00:00:1$i
  ip -n sw link set port$i master br0
  ip -n h$i addr add 10.1.1.$i/24 dev eth0
done
capture h3 eth0
sleep 1.5
fdb
ip netns exec h1 ping -q -c 2 -i 0.2 -W 1 10.1.1.2
fdb
ip netns exec sw brctl showmacs br0 | sort
ip netns exec sw brctl show
echo "# port1 no longer learns"
ip netns exec sw bridge link set dev port1 learning off
ip netns exec sw bridge fdb del 02:00:00:00:01:01 dev port1 master
ip -n h1 neigh flush dev eth0
ip netns exec h1 ping -q -c 2 -i 0.2 -W 1 10.1.1.2
fdb
echo "# a port that goes down, or leaves, takes its entries with it"
ip -n sw link set port2 down
fdb
ip -n sw link set port1 nomaster
fdb
sleep 1.5
kill %1
wait
