# Head-end replication: broadcast goes to every remote of the all-zero entry, never back to where it came from.
#
#	n1 192.168.0.1 ─┐
#	n2 192.168.0.2 ─┼─ br0 (sw)     each: vx (VNI 7) with 10.1.1.x/24
#	n3 192.168.0.3 ─┘
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
node sw
ip -n sw link add br0 address 02:00:00:00:00:01 type bridge
ip -n sw link set br0 up
for i in 1 2 3; do
  node n$i
  wire n$i eth0 02:00:00:00:01:0$i sw port$i 02:00:00:00:00:1$i
  ip -n sw link set port$i master br0
  ip -n n$i addr add 192.168.0.$i/24 dev eth0
  ip -n n$i link add vx address 02:00:00:00:0f:0$i type vxlan id 7 local 192.168.0.$i dstport 4789 dev eth0
  ip -n n$i addr add 10.1.1.$i/24 dev vx
  ip -n n$i link set vx up
  for j in 1 2 3; do
    [ $i = $j ] && continue
    ip netns exec n$i bridge fdb append 00:00:00:00:00:00 dev vx dst 192.168.0.$j
    ip -n n$i neigh replace 192.168.0.$j lladdr 02:00:00:00:01:0$j dev eth0
  done
done
ip netns exec n1 bridge fdb show dev vx
capture n1 eth0
capture n3 vx
sleep 1.5
ip netns exec n1 ping -c 1 -W 1 10.1.1.2
ip netns exec n1 bridge fdb show dev vx | sort
ip netns exec n3 bridge fdb show dev vx | sort
echo "# one remote less"
ip netns exec n1 bridge fdb del 00:00:00:00:00:00 dev vx dst 192.168.0.3
ip netns exec n1 bridge fdb show dev vx | sort
ip netns exec n1 ping -q -c 1 -W 0.5 10.1.1.9
sleep 4
kill %1 %2
wait
