package main

// Flannel's vxlan backend. Addresses, and the ping's bytes, are those of a real cluster whose capture is in testdata
// (flannel_vxlan_echo_request.pcap); made up is what the capture does not show: node2's cni0, pod B's MAC address.

import (
	"errors"
	"net/netip"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/vxlan"
)

const vni = 1 // Flannel's

func vxlanNode1() *node {
	return &node{
		name: "node1",
		nic:  "ens192", mac: ethernet.MustParseMAC("00:50:56:93:6a:3a"), addr: netip.MustParsePrefix("172.16.100.101/24"),
		cni0: ethernet.MustParseMAC("0a:58:0a:f4:01:01"), gateway: netip.MustParsePrefix("10.244.1.1/24"), mtu: 1450, veth: "veth-a",
		tunnel: netip.MustParseAddr("10.244.1.0"), tunnelMAC: ethernet.MustParseMAC("fe:90:c4:18:69:a7"),
		pod: pod{name: "pod A", mac: ethernet.MustParseMAC("d6:10:b7:91:f0:ac"), addr: netip.MustParsePrefix("10.244.1.12/24")},
	}
}

func vxlanNode2() *node {
	return &node{
		name: "node2",
		nic:  "ens192", mac: ethernet.MustParseMAC("00:50:56:93:63:3b"), addr: netip.MustParsePrefix("172.16.100.102/24"),
		cni0: ethernet.MustParseMAC("0a:58:0a:f4:02:01"), gateway: netip.MustParsePrefix("10.244.2.1/24"), mtu: 1450, veth: "veth-b",
		tunnel: netip.MustParseAddr("10.244.2.0"), tunnelMAC: ethernet.MustParseMAC("b6:72:ae:36:7b:6c"),
		pod: pod{name: "pod B", mac: ethernet.MustParseMAC("0a:58:0a:f4:02:0e"), addr: netip.MustParsePrefix("10.244.2.14/24")},
	}
}

// setUpVXLAN makes flannel.1 and the way through it to a peer: route, neighbour and FDB entry, as flanneld keeps them for
// every other node. The engine's SetPeer does the three in one call.
func (n *node) setUpVXLAN(e *engine.Engine, peer *node) error {
	const dev = "flannel.1"
	return errors.Join(
		// ip link add flannel.1 address fe:90:c4:18:69:a7 type vxlan id 1 local 172.16.100.101 dev ens192 dstport 8472 nolearning
		added(e.AddVXLAN(engine.VXLAN{
			Link: engine.Link{Name: dev, MAC: n.tunnelMAC, MTU: n.mtu, Up: true},
			VNI:  vni, Local: n.addr.Addr(), Device: n.nic, DstPort: vxlan.PortLinux, NoLearning: true,
		})),
		// ip addr add 10.244.1.0/32 dev flannel.1
		e.AddAddr(dev, engine.Addr{Prefix: netip.PrefixFrom(n.tunnel, 32)}),

		// ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink
		e.AddRoute(engine.Route{Prefix: peer.subnet(), Via: peer.tunnel, Dev: dev, Onlink: true}),
		// ip neigh add 10.244.2.0 dev flannel.1 lladdr b6:72:ae:36:7b:6c nud permanent
		e.AddNeigh(engine.Neigh{Addr: peer.tunnel, Dev: dev, MAC: peer.tunnelMAC}),
		// bridge fdb add b6:72:ae:36:7b:6c dev flannel.1 dst 172.16.100.102 self permanent
		e.AddFDB(engine.FDBEntry{MAC: peer.tunnelMAC, Dev: dev, Dst: peer.addr.Addr()}),
	)
}
