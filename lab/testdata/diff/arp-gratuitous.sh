# Announcements: they change an entry that is there, and make none, unless arp_accept says so.
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
announce() { ip netns exec h2 arping -q -c 1 -w 1 $1 -i eth0 -S 10.1.1.2 10.1.1.2; }
node h1; node h2
wire h1 eth0 02:00:00:00:01:01 h2 eth0 02:00:00:00:01:02
ip -n h1 addr add 10.1.1.1/24 dev eth0
ip -n h2 addr add 10.1.1.2/24 dev eth0
capture h1 eth0
sleep 1.5
echo "# unknown before: nothing is learned"
announce -U
announce "-U -P"
ip -n h1 neigh show
echo "# known before: it changes, though the last change is less than a second ago"
ip netns exec h1 ping -q -c 1 -W 1 10.1.1.2 >/dev/null
ip -n h1 neigh show
ip -n h2 link set eth0 address 02:00:00:00:01:99
announce -U
ip -n h1 neigh show
ip netns exec h1 ping -c 1 -W 1 10.1.1.2
echo "# arping's reply is to everybody and so no announcement to Linux: it counts when the last change is a second ago"
ip -n h2 link set eth0 address 02:00:00:00:01:98
announce "-U -P"
ip -n h1 neigh show
echo "# a permanent entry does not"
ip -n h1 neigh replace 10.1.1.2 lladdr 02:00:00:00:00:77 dev eth0 nud permanent
announce -U
ip -n h1 neigh show
sleep 1.5
kill %1
wait
