# What a VTEP does with frames that are not as they should be: flags, VNI, lengths, sums, source addresses.
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
node n1; node n2
wire n1 eth0 02:00:00:00:00:01 n2 eth0 02:00:00:00:00:02
ip -n n2 addr add 192.168.0.2/24 dev eth0
ip -n n2 link add vx address 02:00:00:00:0f:02 type vxlan id 1 local 192.168.0.2 dev eth0 dstport 4789
ip -n n2 addr add 10.1.1.2/24 dev vx
ip -n n2 link set vx up
ip -n n2 neigh replace 192.168.0.1 lladdr 02:00:00:00:00:01 dev eth0
capture n2 vx
capture n1 eth0
sleep 1.5
eth=0200000000020200000000010800
inner=02000000""0f0202000000""0f010800
packet() { ip_packet 00 0001 0000 64 01 10.1.1.1 10.1.1.2 0000ffff0000$1; } # an echo reply; its number says which case it was
vxlan() { # SOURCE CHECKSUM VXLAN-HEADER INNER [SHORTER]: an outer packet
  local length=$(printf %04x $((16 + ${#4} / 2 - ${5-0})))
  send n1 eth0 $eth$(ip_packet 00 0001 0000 64 11 $1 192.168.0.2 900012b5$length$2$3$4)
}
ok=0800000000000100
vxlan 192.168.0.1 0000 $ok $inner$(packet 0001)                # right
vxlan 192.168.0.9 0000 $ok $inner$(packet 0002)                # from an unknown VTEP
vxlan 192.168.0.1 0000 0000000000000100 $inner$(packet 0003)   # I flag clear
vxlan 192.168.0.1 0000 0800000000000200 $inner$(packet 0004)   # unknown VNI
vxlan 192.168.0.1 0000 0800000000000101 $inner$(packet 0005)   # reserved byte behind the VNI
vxlan 192.168.0.1 0000 0900000000000100 $inner$(packet 0006)   # reserved flag
vxlan 192.168.0.1 0000 8800000000000100 $inner$(packet 0007)   # group policy flag
vxlan 192.168.0.1 0000 $ok 0200000000                          # inner frame too short
vxlan 192.168.0.1 0000 $ok ""                                  # no inner frame
vxlan 192.168.0.1 1234 $ok $inner$(packet 0008)                # wrong checksum
vxlan 192.168.0.1 0000 $ok 02000000""0f0202000000""0f020800$(packet 0009) # inner source is the VTEP's own
vxlan 192.168.0.1 0000 $ok 02000000""0f02000000000000""0800$(packet 000a) # inner source zero
vxlan 192.168.0.1 0000 $ok 02000000""0f02030000000001""0800$(packet 000b) # inner source a group
vxlan 192.168.0.1 0000 $ok ffffffffffff02000000""0f010800$(packet 000c)   # inner broadcast
vxlan 192.168.0.1 0000 $ok 02000000""0fff02000000""0f010800$(packet 000d) # inner destination is another
vxlan 192.168.0.1 0000 $ok $inner$(packet 000e) 20             # UDP length shorter than the payload
vxlan 192.168.0.1 0000 $ok 02000000""0f0202000000""0f03""81000005""0800$(packet 000f) # inner VLAN tag
send n1 eth0 $eth$(ip_packet 00 0001 0000 64 11 192.168.0.1 192.168.0.2 900012b5000c000008000000) # half a VXLAN header
ip netns exec n2 bridge fdb show dev vx | sort
sleep 1.5
kill %1 %2
wait
