# ip netns and the ways into a namespace.
exec 2>&1
ip netns list
ip netns add red
ip netns add blue
ip netns exec red sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip netns add red
echo "exit $?"
ip netns list | sort
ip netns exec red ip link show
ip -n red link show
ip netns exec green ip link show
echo "exit $?"
ip -n green link show
echo "exit $?"
ip netns exec red false
echo "exit $?"
ip netns exec red no-such-command
echo "exit $?"
ip link add left type veth peer name right
ip link set left netns red
ip link set right netns blue
ip link show left
echo "exit $?"
ip -n red link set left address 02:00:00:00:00:01
ip -n red link show left
ip -n blue link set right up
ip netns exec red bash -c 'ip addr add 10.0.0.1/24 dev left; ip link set left up; sleep 1.5; ip addr show left'
ip netns del red
sleep 1
ip netns del red
echo "exit $?"
ip -n blue link show right
echo "exit $?"
ip netns list
