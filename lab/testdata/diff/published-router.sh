# As published: two subnets and the node between them as router, with the old route command.
ip netns add ns1
ip netns add ns2
ip link add v1 type veth peer name v1_r
ip link add v2 type veth peer name v2_r
ip link set v1 netns ns1
ip link set v2 netns ns2
ip addr add 10.1.1.1/24 dev v1_r
ip addr add 10.1.2.1/24 dev v2_r
ip link set v1_r up
ip link set v2_r up
ip netns exec ns1 ip addr add 10.1.1.2/24 dev v1
ip netns exec ns1 ip link set v1 up
ip netns exec ns2 ip addr add 10.1.2.2/24 dev v2
ip netns exec ns2 ip link set v2 up
ip netns exec ns1 route add -net 10.1.2.0 netmask 255.255.255.0 gw 10.1.1.1
ip netns exec ns2 route add -net 10.1.1.0 netmask 255.255.255.0 gw 10.1.2.1
echo 1 > /proc/sys/net/ipv4/ip_forward
cat /proc/sys/net/ipv4/ip_forward
ip netns exec ns1 route -n
sleep 1.5
ip netns exec ns1 tcpdump -pne -i v1 -w v1.pcap 2>/dev/null &
sleep 1
ip netns exec ns1 ping -c 2 -i 0.3 10.1.2.2
sleep 1.5
kill %1
wait
