# Parameter problem: what a router says about malformed IPv4 options, and which options it passes on.
#
#	h1 10.1.1.2/24 ─── 10.1.1.1 r 10.1.2.1 ─── 10.1.2.2/24 h2
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
optioned() { # OPTIONS (4 or 8 bytes): a UDP packet from h1 to h2 with them
  local words=$((5 + ${#1} / 8)) h sum=0 i
  h=4${words}00$(printf %04x $((words * 4 + 12)))00010000401100000a0101020a010202$1
  for ((i = 0; i < ${#h}; i += 4)); do sum=$((sum + 0x${h:i:4})); done
  while ((sum > 0xffff)); do sum=$(((sum >> 16) + (sum & 0xffff))); done
  send h1 eth0 0200000001010200000001020800${h:0:20}$(printf %04x $((sum ^ 0xffff)))${h:24}03e80009000c000000112233
}
node h1; node r; node h2
wire h1 eth0 02:00:00:00:01:02 r left 02:00:00:00:01:01
wire h2 eth0 02:00:00:00:02:02 r right 02:00:00:00:02:01
ip -n h1 addr add 10.1.1.2/24 dev eth0
ip -n r addr add 10.1.1.1/24 dev left
ip -n r addr add 10.1.2.1/24 dev right
ip -n h2 addr add 10.1.2.2/24 dev eth0
ip -n h1 route add default via 10.1.1.1
ip -n h2 route add default via 10.1.2.1
ip -n r neigh add 10.1.1.2 lladdr 02:00:00:00:01:02 dev left
ip -n r neigh add 10.1.2.2 lladdr 02:00:00:00:02:02 dev right
ip -n h2 neigh add 10.1.2.1 lladdr 02:00:00:00:02:01 dev eth0
for n in r h2; do ip netns exec $n sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0; done
capture h1 eth0
capture h2 eth0
sleep 1.5
optioned 07010400         # record route of length 1
optioned 01070104         # the same behind a no-operation
optioned 01019901         # unknown, length 1
optioned 01010107         # type without length
optioned 07270400         # longer than the header
optioned 0707030000000000 # pointer below 4
optioned 0707040000000000 # record route with room for one
optioned 0707080000000000 # full
optioned 9904aabb         # unknown, well-formed
optioned 94040000         # router alert
optioned 8307040a01020200 # loose source route
sleep 2
kill %1 %2
wait
