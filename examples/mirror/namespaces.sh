#!/bin/bash
# A traffic mirror in network namespaces: what crosses the web server's device is copied into VXLAN, and collected.
#
#	client ── 10.9.0.1 ──── 10.9.0.2 ── server ── 10.9.1.2 ════ VXLAN, port 4789 ════ 10.9.1.1 ── collector
#	                            └── tc mirred, both directions ──▶ vxlan9 (VNI 9)
#
#	sudo ./namespaces.sh                  pings for five seconds and shows what the collector says
#	unshare -Urnm ./namespaces.sh         the same without root
#
# It makes namespaces mirror-client, mirror-server and mirror-collector, and removes them in the end. Needs iproute2, ping, Go.
set -eu
cd "$(dirname "$0")"
if [ ! -w /run ]; then mount -t tmpfs tmpfs /run; fi # for ip netns, in a user namespace

work=$(mktemp -d)
cleanup() {
  for n in client server collector; do ip netns del "mirror-$n" 2>/dev/null || :; done
  rm -rf "$work"
}
trap cleanup EXIT
go build -o "$work/mirror" .

for n in client server collector; do
  ip netns add "mirror-$n"
  ip -n "mirror-$n" link set lo up
done
on() { ip netns exec "mirror-$1" "${@:2}"; }

ip -n mirror-client link add eth0 type veth peer name web0 netns mirror-server
ip -n mirror-server link add eth1 type veth peer name eth1 netns mirror-collector
for x in "client eth0 10.9.0.1" "server web0 10.9.0.2" "server eth1 10.9.1.2" "collector eth1 10.9.1.1"; do
  read -r n dev addr <<<"$x"
  ip -n "mirror-$n" addr add "$addr/24" dev "$dev"
  ip -n "mirror-$n" link set "$dev" up
done
ip -n mirror-server link add vxlan9 type vxlan id 9 remote 10.9.1.1 dstport 4789 dev eth1
ip -n mirror-server link set vxlan9 up
on server tc qdisc add dev web0 clsact
for way in ingress egress; do
  on server tc filter add dev web0 "$way" protocol all u32 match u32 0 0 action mirred egress mirror dev vxlan9
done

ip netns exec mirror-collector "$work/mirror" "$@" &
collector=$!
on client ping -q -i 0.2 -c 20 10.9.0.2
kill "$collector"
wait "$collector"
