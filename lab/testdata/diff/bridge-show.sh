# What the tools say about a bridge and its ports.
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
node sw; node h1
ip -n sw link add br0 address 02:00:00:00:00:01 type bridge
wire sw port1 02:00:00:00:00:11 h1 eth0 02:00:00:00:01:01
wire sw port2 02:00:00:00:00:12 h1 eth1 02:00:00:00:01:02
ip -n sw link show br0
ip -n sw link set br0 up
sleep 1.5
ip -n sw link show br0
ip -n sw link set port1 master br0
ip -n sw link set port2 master br0
sleep 1.5
ip -n sw link show
ip -n sw link show master br0
ip -n sw link show type bridge
ip -n sw addr add 10.1.1.254/24 dev br0
ip -n sw addr show br0
ip netns exec sw bridge link show
ip netns exec sw bridge link show dev port1
ip netns exec sw bridge -d link show dev port2 | grep -o -e 'hairpin [onf]*' -e ' learning [onf]*' -e ' flood [onf]*' -e 'isolated [onf]*' -e 'mcast_flood [onf]*' -e 'bcast_flood [onf]*'
ip netns exec sw brctl show
ip netns exec sw brctl show br0
ip netns exec sw brctl showmacs br0 | sort
ip netns exec sw bridge fdb show br br0 | grep ^02 | sort
ip -n sw link set port2 down
ip netns exec sw bridge link show dev port2
ip -n sw link set port2 nomaster
ip netns exec sw brctl show
ip -n sw link del br0
ip -n sw link show port1
ip netns exec sw brctl show br0
