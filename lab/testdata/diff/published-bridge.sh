# As published: pods on one node by a bridge, with brctl.
ip link add br0 type bridge
ip link set br0 up
ip addr add 10.244.1.1/24 dev br0
for i in 2 3; do
  ip netns add pod$i
  ip link add veth$i type veth peer name eth0 netns pod$i
  brctl addif br0 veth$i
  ip link set veth$i up
  ip netns exec pod$i ip addr add 10.244.1.$i/24 dev eth0
  ip netns exec pod$i ip link set eth0 up
  ip netns exec pod$i ip route add default via 10.244.1.1
done
sleep 1.5
ip netns exec pod2 ping -c 1 10.244.1.3
ip netns exec pod2 ping -c 1 10.244.1.1
brctl showmacs br0 | awk '{ print $1, $3 }' | sort
brctl show | awk '{ print $1, $NF }'
