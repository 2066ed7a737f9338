# As published: a point-to-point IPIP tunnel between two namespaces with a router between them.
ip netns add ns1
ip netns add ns2
ip link add v1 type veth peer name v1_r
ip link add v2 type veth peer name v2_r
ip link set v1 netns ns1
ip link set v2 netns ns2
ip a a 10.10.10.1/24 dev v1_r
ip l s v1_r up
ip a a 10.10.20.1/24 dev v2_r
ip l s v2_r up
ip netns exec ns1 ip a a 10.10.10.2/24 dev v1
ip netns exec ns1 ip l s v1 up
ip netns exec ns2 ip a a 10.10.20.2/24 dev v2
ip netns exec ns2 ip l s v2 up
echo 1 > /proc/sys/net/ipv4/ip_forward
ip netns exec ns1 ip r add 10.10.20.0/24 via 10.10.10.1 dev v1
ip netns exec ns2 ip r add 10.10.10.0/24 via 10.10.20.1 dev v2
ip netns exec ns1 ip tunnel add tunl1 mode ipip remote 10.10.20.2 local 10.10.10.2
ip netns exec ns1 ip l s tunl1 up
ip netns exec ns1 ip a a 10.10.100.10 peer 10.10.200.10 dev tunl1
ip netns exec ns2 ip tunnel add tunl2 mode ipip remote 10.10.10.2 local 10.10.20.2
ip netns exec ns2 ip l s tunl2 up
ip netns exec ns2 ip a a 10.10.200.10 peer 10.10.100.10 dev tunl2
sleep 1.5
ip netns exec ns1 tcpdump -pne -i tunl1 -w tunl1.pcap 2>/dev/null &
ip netns exec ns1 tcpdump -pne -i v1 -w v1.pcap 2>/dev/null &
sleep 3
ip netns exec ns1 ping -c 2 -i 0.3 10.10.200.10
ip netns exec ns1 ip r
ip netns exec ns1 ip tunnel show tunl1
sleep 1.5
kill %1 %2
wait
