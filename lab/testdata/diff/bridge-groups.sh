# Group addresses through a bridge: 01:80:c2:00:00:0X, of which only :00 passes while no spanning tree runs; others flood.
#
#	h1 10.1.1.1 ─── port1 ┐
#	h2 10.1.1.2 ─── port2 ┼ br0 (sw)
#	h3 10.1.1.3 ─── port3 ┘
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
# ip_packet TOS ID FRAG TTL PROTO SRC DST [PAYLOAD] prints an IPv4 packet, send NODE DEVICE FRAME sends one; all in hexadecimal
# digits but ttl and addresses.
ip_packet() {
  local h sum=0 i
  h=$(printf '45%s%04x%s%s%02x%s0000%02x%02x%02x%02x%02x%02x%02x%02x' $1 $((20 + ${#8} / 2)) $2 $3 $4 $5 ${6//./ } ${7//./ })
  for ((i = 0; i < 40; i += 4)); do sum=$((sum + 0x${h:i:4})); done
  while ((sum > 0xffff)); do sum=$(((sum >> 16) + (sum & 0xffff))); done
  printf '%s%04x%s%s' ${h:0:20} $((sum ^ 0xffff)) ${h:24} $8
}
send() {
  local n=$((${#3} / 2)) len
  len=$(printf '%02x%02x0000' $((n & 255)) $((n >> 8)))
  printf "$(sed 's/../\\x&/g' <<<"d4c3b2a1020004000000000000000000ffff000001000000""0000000000000000$len$len$3")" >frame.tmp
  ip netns exec $1 tcpreplay -q -i $2 frame.tmp >/dev/null 2>&1
}
node sw
ip -n sw link add br0 address 02:00:00:00:00:01 type bridge
ip -n sw link set br0 up
for i in 1 2 3; do
  node h$i
  wire h$i eth0 02:00:00:00:01:0$i sw port$i 02:00:00:00:00:1$i
  ip -n sw link set port$i master br0
  ip -n h$i addr add 10.1.1.$i/24 dev eth0
done
capture h2 eth0
sleep 1.5
for x in 0 1 2 3 7 a e f; do send h1 eth0 0180c200000${x}020000000101""88b5$(printf '%092d' 0); done
send h1 eth0 0180c2000010020000000101""88b5$(printf '%092d' 0)
send h1 eth0 01005e7f0001020000000101""0800$(ip_packet 00 0001 0000 1 11 10.1.1.1 239.127.0.1 03e80009000c000000112233)
send h1 eth0 01000ccccccc020000000101""88b5$(printf '%092d' 0)
sleep 2
kill %1
wait
