# Many commands at once: ip -batch, bridge -batch, from a file and from standard input, and what an error in the middle does.
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
ip -n n1 -batch - <<END
link add eth0 address 02:00:00:00:00:01 type veth peer name eth0 netns n2
link set eth0 up
# a comment

addr add 10.1.1.1/24 dev eth0
link add br0 address 02:00:00:00:00:02 type bridge
link set br0 up
link set eth0 master br0
END
echo "exit $?"
printf 'fdb add 02:00:00:00:00:a%d dev eth0 master static\n' 1 2 3 >fdb.txt
ip netns exec n1 bridge -batch fdb.txt
echo "exit $?"
ip netns exec n1 bridge fdb show br br0 | grep ^02 | sort
printf 'route add 10.2.0.0/16 via 10.1.1.2\nroute add 10.2.0.0/16 via 10.1.1.2\nroute add 10.3.0.0/16 via 10.1.1.2\n' >routes.txt
ip -n n1 -batch routes.txt
echo "exit $?"
ip -n n1 route show
ip -n n1 -force -batch routes.txt
echo "exit $?"
ip -n n1 route show
ip -n n1 -batch no-such-file
echo "exit $?"
