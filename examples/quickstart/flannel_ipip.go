package main

// Flannel's ipip backend: one tunnel to any number of peers. The route's gateway is the tunnel's far end, so neither
// neighbours nor an FDB are needed.

import (
	"errors"
	"net/netip"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
)

func ipipNode1() *node {
	return &node{
		name: "k8s-1",
		nic:  "ens33", mac: ethernet.MustParseMAC("00:0c:29:bd:fb:4a"), addr: netip.MustParsePrefix("172.12.1.11/24"),
		cni0: ethernet.MustParseMAC("0a:58:0a:f4:00:01"), gateway: netip.MustParsePrefix("10.244.0.1/24"), mtu: 1480, veth: "veth-a",
		tunnel: netip.MustParseAddr("10.244.0.0"),
		pod:    pod{name: "pod A", mac: ethernet.MustParseMAC("26:32:89:a6:66:6e"), addr: netip.MustParsePrefix("10.244.0.3/24")},
	}
}

func ipipNode2() *node {
	return &node{
		name: "k8s-2",
		nic:  "ens33", mac: ethernet.MustParseMAC("00:0c:29:e2:bf:86"), addr: netip.MustParsePrefix("172.12.1.12/24"),
		cni0: ethernet.MustParseMAC("0a:58:0a:f4:01:01"), gateway: netip.MustParsePrefix("10.244.1.1/24"), mtu: 1480, veth: "veth-b",
		tunnel: netip.MustParseAddr("10.244.1.0"),
		pod:    pod{name: "pod B", mac: ethernet.MustParseMAC("f2:22:7c:58:d4:db"), addr: netip.MustParsePrefix("10.244.1.7/24")},
	}
}

// setUpIPIP makes flannel.ipip and the way through it to a peer.
func (n *node) setUpIPIP(e *engine.Engine, peer *node) error {
	const dev = "flannel.ipip"
	return errors.Join(
		// ip tunnel add flannel.ipip mode ipip local 172.12.1.11 remote any ttl inherit nopmtudisc; ip link set flannel.ipip up
		added(e.AddIPIP(engine.IPIP{
			Link:  engine.Link{Name: dev, MTU: n.mtu, Up: true},
			Local: n.addr.Addr(), NoPMTUDisc: true,
			// Linux would accept packets from anybody (CVE-2020-10136).
			Peers: []netip.Addr{peer.addr.Addr()},
		})),
		// ip addr add 10.244.0.0/32 dev flannel.ipip
		e.AddAddr(dev, engine.Addr{Prefix: netip.PrefixFrom(n.tunnel, 32)}),

		// ip route add 10.244.1.0/24 via 172.12.1.12 dev flannel.ipip onlink
		e.AddRoute(engine.Route{Prefix: peer.subnet(), Via: peer.addr.Addr(), Dev: dev, Onlink: true}),
	)
}
