#!/usr/bin/env bash
# Two nodes and the kernel in one VXLAN, and two nodes in one IPIP tunnel: builds everything, pings through everything, and leaves
# nothing behind, since it all lives in namespaces that end with this script. It needs root, or a machine that lets users have
# user namespaces; and ip, ping and go.
#
#	examples/node/namespaces.sh          does that
#	examples/node/namespaces.sh shell    and then gives you a shell there; its first lines say what can be tried
#
#	 namespace left                   namespace right                  namespace kernel
#	┌───────────────────────────┐    ┌───────────────────────────┐    ┌───────────────────────┐
#	│ tap0 10.42.0.1            │    │ tun0 10.43.0.1            │    │                       │
#	├─┼──────── node ───────────┤    ├─┼──────── node ───────────┤    │                       │
#	│ tap0 ─ br0 ─ vx42         │    │ tun0 ┄┄ vx42 10.42.0.2    │    │ vx42 10.42.0.3        │
#	│               │           │    │          │                │    │  │  Linux's own       │
#	│ tunnel        │           │    │ tunnel   │                │    │  │                    │
#	│ 10.44.0.1     │           │    │ 10.44.0.2│                │    │  │                    │
#	│ raw0 .11    eth0 .1       │    │ raw0 .12 wire .2          │    │  │                    │
#	├─┼ rawip ──────┼ afpacket ─┤    ├─┼ rawip ─┼ udp ───────────┤    │  │                    │
#	│ └──── wire ───┘ .11       │    │ └─ wire ─┘ .2 .12         │    │ switch 192.168.99.3   │
#	└────────┼──────────────────┘    └─────┼─────────────────────┘    └─┬─┬───────────────────┘
#	         └─────────────────────────────┼────────────────────────────┘ │
#	                                       └──────────────────────────────┘
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1:-}" != inside ]; then
  node=$(mktemp -d)
  trap 'rm -rf "$node"' EXIT
  (cd "$here" && go build -o "$node/node" .)
  user=
  [ "$(id -u)" = 0 ] || user=-Ur
  unshare $user --net --mount --pid --fork --kill-child "$0" inside "$node" "${1:-}"
  exit
fi
tmp=$2
node=$tmp/node

mount -t tmpfs none /run # where ip netns has its names
mount -t proc none /proc
mkdir /run/netns
for ns in left right kernel; do
  ip netns add $ns
  ip -n $ns link set lo up
done
on() { # NAMESPACE COMMAND…
  local ns=$1
  shift
  ip netns exec "$ns" "$@"
}

ip -n kernel link add switch type bridge
ip -n kernel addr add 192.168.99.3/24 dev switch
ip -n kernel link set switch up
for ns in left right; do
  ip -n kernel link add $ns type veth peer name wire netns $ns
  ip -n kernel link set $ns master switch up
  ip -n $ns link set wire up
done
ip -n left addr add 192.168.99.11/24 dev wire
ip -n right addr add 192.168.99.2/24 dev wire
ip -n right addr add 192.168.99.12/24 dev wire
ip -n kernel link add vx42 type vxlan id 42 local 192.168.99.3 dstport 4789
on kernel bridge fdb append 00:00:00:00:00:00 dev vx42 dst 192.168.99.1
on kernel bridge fdb append 00:00:00:00:00:00 dev vx42 dst 192.168.99.2
ip -n kernel addr add 10.42.0.3/24 dev vx42
ip -n kernel link set vx42 up
ip -n kernel route add 10.43.0.0/24 via 10.42.0.2

cat >"$tmp/left.sh" <<'END'
set -e
# A machine of its own on the wire: its own MAC and IP address, beside those that the kernel has there.
ip link add eth0 address 02:00:00:00:99:01 up type afpacket dev wire
ip addr add 192.168.99.1/24 dev eth0

# A segment of a VXLAN, to which the tap device belongs.
ip link add vx42 mtu 1450 type vxlan id 42 local 192.168.99.1 dstport 4789
bridge fdb append 00:00:00:00:00:00 dev vx42 dst 192.168.99.2
bridge fdb append 00:00:00:00:00:00 dev vx42 dst 192.168.99.3
ip link add br0 up type bridge
ip link add tap0 mtu 1450 up type tap
ip link set tap0 master br0
ip link set vx42 master br0 up

# IPIP by raw sockets, from the kernel's own address.
ip link add raw0 up type rawip local 192.168.99.11
ip addr add 192.168.99.11/32 dev raw0
ip route add 192.168.99.12/32 dev raw0 src 192.168.99.11
ip link add tunnel type ipip local 192.168.99.11 remote 192.168.99.12
ip addr add 10.44.0.1/24 dev tunnel
ip link set tunnel up
END

cat >"$tmp/right.sh" <<'END'
set -e
# VXLAN by UDP sockets: the kernel makes the outer headers, and no privilege is needed.
ip link add wire up type udp local 192.168.99.2 port 4789
ip addr add 192.168.99.2/32 dev wire
ip route add 192.168.99.0/24 dev wire src 192.168.99.2
ip link add vx42 mtu 1450 up type vxlan id 42 local 192.168.99.2 dstport 4789
bridge fdb append 00:00:00:00:00:00 dev vx42 dst 192.168.99.1
bridge fdb append 00:00:00:00:00:00 dev vx42 dst 192.168.99.3
ip addr add 10.42.0.2/24 dev vx42

# A router between the VXLAN and the tun device.
sysctl -q -w net.ipv4.ip_forward=1
ip link add tun0 mtu 1450 up type tun
ip addr add 10.43.0.2/24 dev tun0

# IPIP by raw sockets, likewise.
ip link add raw0 up type rawip local 192.168.99.12
ip addr add 192.168.99.12/32 dev raw0
ip route add 192.168.99.11/32 dev raw0 src 192.168.99.12
ip link add tunnel type ipip local 192.168.99.12 remote 192.168.99.11
ip addr add 10.44.0.2/24 dev tunnel
ip link set tunnel up
END

# start runs a node; its standard input is a pipe: whoever opens that types. It is up when its last device is.
start() { # NAMESPACE KERNEL-DEVICE ADDRESS
  mkfifo "$tmp/$1.in"
  on "$1" "$node" "$tmp/$1.sh" <>"$tmp/$1.in" >"$tmp/$1.log" 2>&1 &
  echo 'echo READY' >"$tmp/$1.in"
  until grep -q READY "$tmp/$1.log"; do
    kill -0 $! 2>/dev/null || { cat "$tmp/$1.log"; exit 1; }
    sleep 0.1
  done
  ip -n "$1" addr add "$3" dev "$2"
  ip -n "$1" link set "$2" up
}
start left tap0 10.42.0.1/24
start right tun0 10.43.0.1/24
ip -n left route add 10.43.0.0/24 via 10.42.0.2
ip -n right route add 10.42.0.0/24 dev tun0

reach() { # FROM ADDRESS WHAT
  if on "$1" ping -q -c 3 -i 0.2 -W 2 "$2" >"$tmp/ping"; then
    printf '%-6s reaches %-10s %s\n' "$1" "$2" "$3"
  else
    printf '%-6s DOES NOT REACH %s %s\n' "$1" "$2" "$3"
    cat "$tmp"/*.log
    exit 1
  fi
}
reach left 10.42.0.3 'tap, VXLAN over packet sockets, the kernel'
reach left 10.42.0.2 'tap, VXLAN over packet sockets, UDP sockets, the other node itself'
reach left 10.43.0.1 'tap, VXLAN over packet sockets, UDP sockets, tun'
reach kernel 10.42.0.1 'the kernel, VXLAN over packet sockets, tap'
reach kernel 10.43.0.1 'the kernel, VXLAN over UDP sockets, tun'
reach right 10.42.0.3 'tun, VXLAN over UDP sockets, the kernel'

echo 'ping -c 3 -i 0.2 -W 2 10.44.0.2 && echo IPIP WORKS || echo IPIP FAILS' >"$tmp/left.in"
until grep -q '^IPIP' "$tmp/left.log"; do sleep 0.1; done
grep -q '^IPIP WORKS' "$tmp/left.log" || { cat "$tmp"/*.log; exit 1; }
echo 'left   reaches 10.44.0.2  raw sockets, IPIP, raw sockets: node to node'

if [ "${3:-}" = shell ]; then
  echo
  echo "This shell is in namespace left. Its node reads $tmp/left.in and writes $tmp/left.log:"
  echo "    tail -f $tmp/left.log &"
  echo "    echo 'show; bridge fdb show dev vx42; trace -i tap0 icmp &' >$tmp/left.in"
  echo "    ping -c 1 10.42.0.3"
  echo "    ip netns exec kernel tcpdump -ni switch udp port 4789 &"
  on left bash || true
fi

for ns in left right; do
  echo 'show; exit' >"$tmp/$ns.in"
done
wait
for ns in left right; do
  printf '\nThe node in %s, at its end:\n' "$ns"
  sed '/^READY$/d' "$tmp/$ns.log"
done
