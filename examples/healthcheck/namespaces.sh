#!/usr/bin/env bash
# Two backends behind tunnels, a health check that sees them up, and what it says when they break. All lives in namespaces that end
# with this script. It needs root, or a machine that lets users have user namespaces; and ip, python3 and go.
#
#	 namespace lb            namespace switch         namespace web                     namespace dns
#	┌──────────────────┐    ┌─────────────────┐    ┌────────────────────────────┐    ┌────────────────────────┐
#	│ healthcheck .9   │    │  192.168.99.0/24│    │ TCP 80 on 203.0.113.10,    │    │ UDP 53 on 10.42.0.3    │
#	│  │               │    │                 │    │ the virtual address: tun0  │    │ vx42, Linux's own      │
#	│  │ IPIP, VXLAN   │    │                 │    │  │ examples/node: IPIP off │    │  │                     │
#	│ wire ────────────┼────┼── a bridge ─────┼────┼─ wire .2, answers by .12   ├────┼─ wire .3               │
#	└──────────────────┘    └─────────────────┘    └────────────────────────────┘    └────────────────────────┘
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1:-}" != inside ]; then
  bin=$(mktemp -d)
  trap 'rm -rf "$bin"' EXIT
  (cd "$here" && go build -o "$bin/healthcheck" .)
  (cd "$here/../node" && go build -o "$bin/node" .)
  user=
  [ "$(id -u)" = 0 ] || user=-Ur
  unshare $user --net --mount --pid --fork --kill-child "$0" inside "$bin"
  exit
fi
bin=$2

mount -t tmpfs none /run # where ip netns has its names
mount -t proc none /proc
mkdir /run/netns
on() { # NAMESPACE COMMAND…
  local ns=$1
  shift
  ip netns exec "$ns" "$@"
}
ip netns add switch
ip -n switch link add br0 up type bridge
for ns in lb web dns; do
  ip netns add $ns
  ip -n $ns link set lo up
  ip -n switch link add $ns type veth peer name wire netns $ns
  ip -n switch link set $ns master br0 up
  ip -n $ns link set wire up
done
ip -n dns addr add 192.168.99.3/24 dev wire
ip -n dns link add vx42 type vxlan id 42 local 192.168.99.3 remote 192.168.99.9 dstport 4789
ip -n dns addr add 10.42.0.3/24 dev vx42
ip -n dns link set vx42 up

cat >"$bin/web.sh" <<'END'
set -e
ip link add eth0 address 02:00:00:00:99:02 up type afpacket dev wire
ip addr add 192.168.99.2/24 dev eth0
ip link add tunnel type ipip local 192.168.99.2 remote any
ip link set tunnel up
ip link add tun0 up type tun
ip route add 203.0.113.10/32 dev tun0
sysctl -q -w net.ipv4.ip_forward=1
echo READY
END
ip -n web addr add 192.168.99.12/24 dev wire
on web "$bin/node" "$bin/web.sh" </dev/null >"$bin/web.log" 2>&1 &
until grep -q READY "$bin/web.log"; do
  kill -0 $! || { cat "$bin/web.log"; exit 1; }
  sleep 0.1
done
on web sh -c 'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done' # the way in is not the way out
ip -n web addr add 203.0.113.10/32 dev tun0
ip -n web link set tun0 up

cat >"$bin/serve.py" <<'END'
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET, kind)
s.bind((sys.argv[2], int(sys.argv[3])))
if kind == socket.SOCK_STREAM:
    s.listen()
print("READY", flush=True)
while True:
    if kind == socket.SOCK_STREAM:
        s.accept()[0].close()
    else:
        s.sendto(*s.recvfrom(2048))
END
serve() { # NAMESPACE tcp|udp ADDRESS PORT
  ip netns exec "$1" python3 "$bin/serve.py" "$2" "$3" "$4" >"$bin/$1.serve" &
  server=$!
  until grep -q READY "$bin/$1.serve"; do
    kill -0 $server
    sleep 0.1
  done
}
serve web tcp 203.0.113.10 80
web=$server
serve dns udp 10.42.0.3 53
dns=$server

check() { # ROUNDS
  on lb "$bin/healthcheck" -dev wire -addr 192.168.99.9/24 -overlay 42=10.42.0.9/24 -interval 200ms -n "$1" \
    ipip:192.168.99.2/icmp:203.0.113.10 ipip:192.168.99.2/tcp:203.0.113.10:80 \
    vxlan:192.168.99.3/icmp:10.42.0.3 vxlan:192.168.99.3/udp:10.42.0.3:53
}
echo "all is well:"
check 3
echo "exit status $?"

echo
echo "both servers have died:"
kill "$web" "$dns"
wait "$web" "$dns" 2>/dev/null || true
check 3 || echo "exit status $?"

echo
echo "web has lost its virtual address, dns its VXLAN device:"
ip -n web addr del 203.0.113.10/32 dev tun0
ip -n dns link set vx42 down
check 3 || echo "exit status $?"
