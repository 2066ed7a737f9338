# Whole frames that a host sends by devices other than the end of a wire: a bridge floods them, a VXLAN device puts them in a
# tunnel. One too long for the device is refused.
#
#	a 10.1.1.2 ─── portA ┐
#	b 10.1.1.3 ─── portB ┴ BR 10.1.1.1 (n1) 192.168.0.1 ═══ 192.168.0.2 (n2)    VX 10.2.2.1 and 10.2.2.2
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
# frame FILE LENGTH makes a capture of one broadcast frame.
frame() {
  local n=$2 len
  len=$(printf '%02x%02x0000' $((n & 255)) $((n >> 8)))
  printf "$(sed 's/../\\x&/g' <<<"d4c3b2a1020004000000000000000000ffff000001000000""0000000000000000$len$len""ffffffffffff02000000099988b5$(printf "%0$((2 * (n - 14)))d" 0)")" >$1
}
replay() { echo "$ tcpreplay $1, $2"; ip netns exec n1 tcpreplay -i $1 $2 | grep packets: ; }
node a; node b; node n1; node n2
ip -n n1 link add BR address 02:00:00:00:00:01 type bridge
ip -n n1 link set BR up
wire a eth0 02:00:00:00:01:02 n1 portA 02:00:00:00:00:12
wire b eth0 02:00:00:00:01:03 n1 portB 02:00:00:00:00:13
ip -n n1 link set portA master BR
ip -n n1 link set portB master BR
ip -n n1 addr add 10.1.1.1/24 dev BR
ip -n a addr add 10.1.1.2/24 dev eth0
ip -n b addr add 10.1.1.3/24 dev eth0
wire n1 eth0 02:00:00:00:02:01 n2 eth0 02:00:00:00:02:02
for i in 1 2; do
  ip -n n$i addr add 192.168.0.$i/24 dev eth0
  ip -n n$i neigh replace 192.168.0.$((3 - i)) lladdr 02:00:00:00:02:0$((3 - i)) dev eth0
  ip -n n$i link add VX address 02:00:00:00:0f:0$i type vxlan id 1 local 192.168.0.$i remote 192.168.0.$((3 - i)) dev eth0 dstport 4789
  ip -n n$i addr add 10.2.2.$i/24 dev VX
  ip -n n$i link set VX up
done
ip -n n1 link add off type bridge
capture a eth0; capture b eth0; capture n2 eth0
sleep 1.5
echo "# ARP by a bridge, a VXLAN device"
ip netns exec n1 arping -q -c 1 -w 1 -i BR 10.1.1.2
echo "exit $?"
sleep 0.2
ip netns exec n1 arping -q -c 1 -w 1 -i BR 10.1.1.3
echo "exit $?"
sleep 0.2
ip netns exec n1 arping -c 1 -w 1 -i VX 10.2.2.2
echo "exit $?"
ip netns exec n1 bridge fdb show br BR | grep ^02:00:00:00:01 | sort
echo "# a frame from elsewhere, one as long as it may be, one that is too long"
frame small 60; frame long 1514; frame longer 1519
for d in portA BR VX off; do
  replay $d small
  sleep 0.2
done
for d in portA BR; do
  replay $d long
  sleep 0.2
  replay $d longer
  sleep 0.2
done
echo "# the other end takes less, which the bridge tells nobody"
dropped() { ip -n n1 -s link show portA | awk '/TX:/ { getline; print $4, "dropped" }'; }
ip -n a link set eth0 mtu 1000
dropped
replay BR long
sleep 0.2
dropped
sleep 1
kill %1 %2 %3
wait
