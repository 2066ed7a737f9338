# Which tunnel takes a packet: the one of both addresses, of the remote one, of the local one, or any; and who gets an error
# when there is none. ECN on the way out.
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
ip -n n1 addr add 192.168.0.1/24 dev eth0
ip -n n2 addr add 192.168.0.2/24 dev eth0
ip -n n2 addr add 192.168.0.22/32 dev lo
ip -n n2 neigh replace 192.168.0.1 lladdr 02:00:00:00:00:01 dev eth0
ip netns exec n2 sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
capture n1 eth0
sleep 3
reply=0000ffff00000000
tunneled() { # OUTER-TOS SOURCE DESTINATION INNER-TOS INNER-SOURCE
  send n1 eth0 0200000000020200000000010800$(ip_packet $1 0001 0000 64 04 $2 $3 $(ip_packet $4 0002 0000 64 01 $5 10.1.1.2 $reply))
}
tunneled 00 192.168.0.1 192.168.0.2 00 10.1.1.1
ip -n n2 tunnel add both mode ipip local 192.168.0.2 remote 192.168.0.1
ip -n n2 tunnel add local0 mode ipip local 192.168.0.2 remote any
ip -n n2 tunnel add remote0 mode ipip local any remote 192.168.0.1
for t in both local0 remote0 tunl0; do ip -n n2 link set $t up; capture n2 $t; done
sleep 3
tunneled 00 192.168.0.1 192.168.0.2 00 10.1.1.1
tunneled 00 192.168.0.7 192.168.0.2 00 10.1.1.2
tunneled 00 192.168.0.1 192.168.0.22 00 10.1.1.3
tunneled 00 192.168.0.7 192.168.0.22 00 10.1.1.4
for outer in 00 01 02 03; do for inner in 00 01 02 03; do tunneled $outer 192.168.0.1 192.168.0.2 $inner 10.1.1.1; done; done
sleep 3
kill %1 %2 %3 %4 %5
wait
