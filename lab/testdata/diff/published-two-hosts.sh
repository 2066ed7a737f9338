# As published: two namespaces and a veth pair, in iproute2's shortest words.
ip netns add ns1
ip netns add ns2
ip l a veth0 type veth peer name veth1
ip l s veth0 netns ns1
ip l s veth1 netns ns2
ip netns exec ns1 ip a a 10.1.1.2/24 dev veth0
ip netns exec ns1 ip l s veth0 up
ip netns exec ns2 ip a a 10.1.1.3/24 dev veth1
ip netns exec ns2 ip l s veth1 up
sleep 1.5
ip netns exec ns2 tcpdump -pne -i veth1 -w veth1.pcap 2>/dev/null &
sleep 1
ip netns exec ns1 ping -c 1 10.1.1.3
ip netns exec ns1 ip r
ip netns exec ns1 ip n | sed 's/STALE\|DELAY/REACHABLE/'
ip netns exec ns1 ethtool -S veth0 | head -n 2
sleep 1.5
kill %1
wait
