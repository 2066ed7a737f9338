# Two hosts on one wire: ARP, then an echo and its answer.
#
#	h1 eth0 10.1.1.2/24 ─── eth0 10.1.1.3/24 h2
exec 2>&1
for node in h1 h2; do
  ip netns add $node
  ip netns exec $node sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip -n h1 link add eth0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns h2
ip -n h1 addr add 10.1.1.2/24 dev eth0
ip -n h2 addr add 10.1.1.3/24 dev eth0
ip -n h1 link set eth0 up
ip -n h2 link set eth0 up

ip netns exec h1 tcpdump -i eth0 -w h1.pcap 2>/dev/null &
ip netns exec h2 tcpdump -i eth0 -w h2.pcap 2>/dev/null &
sleep 1
ip netns exec h1 ping -c 2 -i 0.2 10.1.1.3
ip -n h1 neigh show
ip -n h2 neigh show
ip netns exec h1 ethtool -S eth0
sleep 1.5
kill %1 %2
wait
ip netns exec h1 tcpdump -n -e -r h1.pcap 2>/dev/null
