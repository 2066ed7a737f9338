# Fragments in any order, twice, with holes and overlaps; the first one alone makes an error when its time is over.
#
#	h1 10.1.1.2/24 ─── 10.1.1.1 r
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
node h1; node r
wire h1 eth0 02:00:00:00:01:02 r eth0 02:00:00:00:01:01
ip -n h1 addr add 10.1.1.2/24 dev eth0
ip -n r addr add 10.1.1.1/24 dev eth0
ip -n r neigh add 10.1.1.2 lladdr 02:00:00:00:01:02 dev eth0
ip netns exec r sysctl -qw net.ipv4.ipfrag_time=1 net.ipv4.icmp_ratelimit=0
capture h1 eth0
sleep 1.5
# piece ID FRAG DATA: a fragment of an echo request of 24 bytes, whose checksum is right
piece() { send h1 eth0 0200000001010200000001020800$(ip_packet 00 $1 $2 64 01 10.1.1.2 10.1.1.1 $3); }
a=0800979500010001 b=0102030405060708 c=1112131415161718
piece 0001 2000 $a; piece 0001 2001 $b; piece 0001 0002 $c               # in order
piece 0002 0002 $c; piece 0002 2001 $b; piece 0002 2000 $a               # backwards
piece 0003 2000 $a; piece 0003 2000 $a; piece 0003 2001 $b; piece 0003 0002 $c # the first one twice
piece 0004 2000 $a$b; piece 0004 2001 $b; piece 0004 0002 $c             # overlap inside
piece 0005 2000 $a$b; piece 0005 0001 $b$c                               # overlap at the end
piece 0006 2000 ${a}0102; piece 0006 0001 $b$c                           # a length that is no multiple of 8, with more to come
piece 0007 0002 $c                                                       # the last one alone: no error
piece 0008 2000 $a; piece 0008 0002 $c                                   # a hole: time exceeded, code 1
sleep 2.5
kill %1
wait
