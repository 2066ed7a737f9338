# Which requests a host answers: arp_ignore, rp_filter, and the address that its own requests bear: arp_announce.
#
#	h1 10.1.1.2/24 ─── 10.1.1.1/24 r 10.1.2.1/24 ─── h2
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
ask() { ip netns exec h1 arping -q -c 1 -w 1 -i eth0 -S $1 $2 && echo "$2 answers $1" || echo "$2 does not answer $1"; }
node h1; node r; node h2
wire h1 eth0 02:00:00:00:01:02 r left 02:00:00:00:01:01
wire h2 eth0 02:00:00:00:02:02 r right 02:00:00:00:02:01
ip -n h1 addr add 10.1.1.2/24 dev eth0
ip -n r addr add 10.1.1.1/24 dev left
ip -n r addr add 10.1.2.1/24 dev right
ip -n r addr add 10.1.1.9/32 dev lo
sleep 1.5
for ignore in 0 1 2 3 8; do
  ip netns exec r sysctl -w net.ipv4.conf.all.arp_ignore=$ignore
  for to in 10.1.1.1 10.1.2.1 10.1.1.9; do ask 10.1.1.2 $to; done
done
ask 10.7.0.1 10.1.1.1
ip netns exec r sysctl -qw net.ipv4.conf.all.arp_ignore=2
ask 10.7.0.1 10.1.1.1
ip netns exec r sysctl -qw net.ipv4.conf.all.arp_ignore=0
for filter in 0 1 2; do
  ip netns exec r sysctl -w net.ipv4.conf.all.rp_filter=$filter
  for from in 10.1.1.50 10.1.2.77 10.99.0.7; do ask $from 10.1.1.1; done
done
