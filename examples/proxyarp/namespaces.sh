#!/bin/bash
# A pod whose gateway is an address that nobody has, as Calico's pods have it, and a host that answers for it.
#
#	proxyarp-pod                        proxyarp-host                           proxyarp-web
#	eth0 10.96.30.11/32 ─────────────── cali0 (no address) ── forwards ── eth1 ───────────── eth0 10.97.0.2/24
#	default via 169.254.1.1 onlink      proxyarp -dev cali0 169.254.1.1   10.97.0.1/24
#
#	sudo examples/proxyarp/namespaces.sh            pings from the pod to the web server: without proxyarp, then with it
#	unshare -Urnm examples/proxyarp/namespaces.sh   the same without root
#
# It removes its namespaces in the end. Needs iproute2, ping, Go.
set -eu
cd "$(dirname "$0")"
if [ ! -w /run ]; then mount -t tmpfs tmpfs /run; fi # for ip netns, in a user namespace

work=$(mktemp -d)
cleanup() {
  for n in pod host web; do ip netns del "proxyarp-$n" 2>/dev/null || :; done
  rm -rf "$work"
}
trap cleanup EXIT
go build -o "$work/proxyarp" .

for n in pod host web; do ip netns add "proxyarp-$n"; done
on() { ip netns exec "proxyarp-$1" "${@:2}"; }
ip -n proxyarp-pod link add eth0 type veth peer name cali0 netns proxyarp-host
ip -n proxyarp-web link add eth0 type veth peer name eth1 netns proxyarp-host
ip -n proxyarp-pod link set eth0 up
ip -n proxyarp-pod addr add 10.96.30.11/32 dev eth0
ip -n proxyarp-pod route add default via 169.254.1.1 dev eth0 onlink
ip -n proxyarp-host link set cali0 up
ip -n proxyarp-host link set eth1 up
ip -n proxyarp-host addr add 10.97.0.1/24 dev eth1
ip -n proxyarp-host route add 10.96.30.11 dev cali0 src 10.97.0.1
on host sysctl -qw net.ipv4.ip_forward=1
ip -n proxyarp-web link set eth0 up
ip -n proxyarp-web addr add 10.97.0.2/24 dev eth0
ip -n proxyarp-web route add default via 10.97.0.1

echo "== nobody answers for 169.254.1.1"
if on pod ping -q -c 1 -W 1 10.97.0.2; then exit 1; fi
echo "== proxyarp does"
ip netns exec proxyarp-host "$work/proxyarp" -v -dev cali0 169.254.1.1 &
agent=$!
on pod ping -q -c 3 -i 0.2 -W 5 10.97.0.2
ip -n proxyarp-pod neigh show
kill "$agent"
wait "$agent"
