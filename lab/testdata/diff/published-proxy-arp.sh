# As published: pods as Calico connects them, with proxy ARP and host routes.
HOST_IP=192.168.30.211
ip link add ens33 type veth peer name wire
ip addr add $HOST_IP/24 dev ens33
ip link set ens33 up
ip link set wire up
ip route add default via 192.168.30.1
HOST_IP=$(hostname -I | awk '{print $1}')
echo "host $HOST_IP"
for i in 1 2; do
  ip netns add pod$i
  ip link add eth0-p$i address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns pod$i
  ip link set eth0-p$i up
  ip netns exec pod$i ip addr add 10.96.30.1$i/24 dev eth0
  ip netns exec pod$i ip link set eth0 up
  ip netns exec pod$i ip route add 169.254.1.1 dev eth0 scope link
  ip netns exec pod$i ip route add default via 169.254.1.1
  ip route add 10.96.30.1$i/32 dev eth0-p$i
  echo 1 > /proc/sys/net/ipv4/conf/eth0-p$i/proxy_arp
  echo 0 > /proc/sys/net/ipv4/neigh/eth0-p$i/proxy_delay
done
echo 1 > /proc/sys/net/ipv4/ip_forward
sleep 1.5
ip netns exec pod1 tcpdump -pne -i eth0 -w pod1.pcap 2>/dev/null &
tcpdump -pne -i eth0-p2 -w host.pcap 2>/dev/null &
sleep 1
ip netns exec pod1 ping -c 1 10.96.30.12
ip netns exec pod1 ping -c 1 $HOST_IP
ip netns exec pod1 ip route
ip netns exec pod1 ip neigh | sort
ip route
sleep 1.5
kill %1 %2
wait
