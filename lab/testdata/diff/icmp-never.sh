# About what no error is ever sent: errors, fragments behind the first, broadcast and multicast, senders that are none.
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
ip netns exec r sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
capture h1 eth0
sleep 1.5
to_r=0200000001010200000001020800
all=ffffffffffff0200000001020800
udp=03e80009000c000000112233
# This one is answered, so that the silence means something.
send h1 eth0 $to_r$(ip_packet 00 0001 0000 64 11 10.1.1.2 10.9.0.1 $udp)
send h1 eth0 $to_r$(ip_packet 00 0002 0000 64 01 10.1.1.2 10.9.0.1 0301fcfe00000000)         # an ICMP error
send h1 eth0 $to_r$(ip_packet 00 0003 0001 64 11 10.1.1.2 10.9.0.1 $udp)                     # second fragment
send h1 eth0 $to_r$(ip_packet 00 0004 2000 64 11 10.1.1.2 10.9.0.1 03e80009001c000000112233aabbccdd) # first fragment: answered
send h1 eth0 $all$(ip_packet 00 0005 0000 64 11 10.1.1.2 10.9.0.1 $udp)                      # link-layer broadcast
send h1 eth0 $to_r$(ip_packet 00 0006 0000 64 11 10.1.1.2 10.1.1.255 $udp)                   # broadcast address
send h1 eth0 $to_r$(ip_packet 00 0007 0000 64 11 10.1.1.2 224.0.0.1 $udp)                    # multicast address
send h1 eth0 $to_r$(ip_packet 00 0008 0000 64 11 0.0.0.0 10.9.0.1 $udp)                      # nobody
send h1 eth0 $to_r$(ip_packet 00 0009 0000 64 11 127.0.0.1 10.9.0.1 $udp)                    # loopback
send h1 eth0 $to_r$(ip_packet 00 000a 0000 64 11 224.0.0.9 10.9.0.1 $udp)                    # a group as sender
send h1 eth0 $to_r$(ip_packet 00 000b 0000 1 01 10.1.1.2 10.9.0.1 0301fcfe00000000)          # TTL 1, an ICMP error
send h1 eth0 $to_r$(ip_packet 00 000c 0000 64 63 10.1.1.2 10.1.1.1 00112233)                 # unknown protocol: answered
send h1 eth0 $to_r$(ip_packet 00 000d 0000 64 11 10.1.1.2 10.1.1.1 $udp)                     # closed port: answered
send h1 eth0 $all$(ip_packet 00 000e 0000 64 11 10.1.1.2 10.1.1.1 $udp)                      # closed port, broadcast frame
sleep 2
kill %1
wait
