# A full VXLAN mesh: mesh.sh NODES PINGS. Each node is one hop from a router, has a VXLAN device with all others as remotes of
# broadcasts, and learns from them. Then nodes chosen at random ping each other in the overlay.
set -e
n=$1 pings=$2
ip netns add spine
ip netns exec spine sysctl -q -w net.ipv4.ip_forward=1
for ((i = 1; i <= n; i++)); do
	low=$((i / 256)).$((i % 256))
	ip netns add n$i
	ip -n n$i link add eth0 type veth peer name p$i netns spine
	ip -n spine addr add 169.254.1.1/32 dev p$i
	ip -n spine link set p$i up
	ip -n spine route add 172.16.$low dev p$i
	ip -n n$i addr add 172.16.$low/32 dev eth0
	ip -n n$i link set eth0 up
	ip -n n$i route add 169.254.1.1 dev eth0
	ip -n n$i route add default via 169.254.1.1
	ip -n n$i link add vx0 type vxlan id 1 local 172.16.$low dstport 4789
	ip -n n$i addr add 10.0.$low/16 dev vx0
	ip -n n$i link set vx0 up
	awk -v n=$n -v i=$i 'BEGIN { for (j = 1; j <= n; j++) if (j != i)
		printf "fdb append 00:00:00:00:00:00 dev vx0 dst 172.16.%d.%d\n", j / 256, j % 256 }' | bridge -n n$i -batch -
done
echo "built: $n nodes"
answered=0
for ((k = 0; k < pings; k++)); do
	from=$((RANDOM % n + 1))
	to=$(((from + RANDOM % (n - 1)) % n + 1)) # another one
	if ip netns exec n$from ping -q -c 1 10.0.$((to / 256)).$((to % 256)) > /dev/null; then answered=$((answered + 1)); fi
done
echo "answered: $answered of $pings"
