# A bridge splits nothing: what is larger than a port's MTU, and a VLAN tag, is gone. The bridge's own MTU follows the smallest port.
#
#	h1 10.1.1.1 ─── port1 br0 port2 (mtu 1400) ─── h2 10.1.1.2
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
node h1; node h2; node sw
# br_netfilter, where it is loaded, is stricter: it leaves no room for a VLAN tag, and drops malformed IP packets.
ip netns exec sw sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null
ip -n sw link add br0 address 02:00:00:00:00:01 type bridge
wire h1 eth0 02:00:00:00:01:01 sw port1 02:00:00:00:00:11
wire h2 eth0 02:00:00:00:01:02 sw port2 02:00:00:00:00:12
ip -n sw link set br0 up
ip -n sw link set port1 master br0
ip -n sw link set port2 mtu 1400
ip -n sw link show br0
ip -n sw link set port2 master br0
ip -n sw link show br0
ip -n h1 addr add 10.1.1.1/24 dev eth0
ip -n h2 addr add 10.1.1.2/24 dev eth0
capture h1 eth0
capture h2 eth0
sleep 1.5
ip netns exec h1 ping -c 1 -W 1 -M do -s 1372 10.1.1.2
ip netns exec h1 ping -c 1 -W 1 -M do -s 1376 10.1.1.2
ip netns exec h1 ping -c 1 -W 1 -M do -s 1377 10.1.1.2
echo "exit $?"
echo "# the bridge's own packets"
ip -n sw addr add 10.1.1.3/24 dev br0
ip netns exec sw ping -c 1 -W 1 -M do -s 1373 10.1.1.2
echo "exit $?"
ip netns exec sw ping -c 1 -W 1 -M dont -s 1373 10.1.1.1
ip -n sw link set br0 mtu 1300
ip -n sw link show br0
sleep 1.5
kill %1 %2
wait
