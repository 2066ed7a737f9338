package draw

// Tunnels: from a device to that of the node which has the remote address.

import (
	"net/netip"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
)

// maxTunnels is how many tunnels a picture shows: in a full mesh of many nodes they would cover all else.
const maxTunnels = 200

// tunnels finds which tunnel devices lead to which.
func (p *picture) tunnels() {
	owners := map[netip.Addr]*box{}
	for _, b := range p.boxes {
		for _, l := range b.node.E.Links() {
			for _, a := range b.node.E.Addrs(l.Name) {
				if !a.Prefix.Addr().IsLoopback() {
					owners[a.Prefix.Addr()] = b
				}
			}
		}
	}
	type ends struct {
		from, to *box
		a, b     int
	}
	seen := map[ends]bool{}
	for _, from := range p.boxes {
		for i, r := range from.rows {
			l, _ := from.node.E.Link(r.dev)
			for _, remote := range remotes(from.node, l) {
				to := owners[remote]
				if to == nil || to == from {
					continue
				}
				j := matching(to, l)
				if j < 0 || seen[ends{from, to, i, j}] || seen[ends{to, from, j, i}] || len(seen) >= maxTunnels {
					continue
				}
				seen[ends{from, to, i, j}] = true
				p.lines = append(p.lines, line{from: from, to: to, a: i, b: j, tunnel: true})
			}
		}
	}
}

// remotes returns the remote addresses of a tunnel: those of the device, of its FDB, and the gateways of routes by it.
func remotes(n *network.Node, l engine.LinkInfo) []netip.Addr {
	var all []netip.Addr
	switch {
	case l.VXLAN != nil:
		all = append(all, l.VXLAN.Remote)
		for f := range n.E.FDB(l.Name) {
			all = append(all, f.Dst)
		}
	case l.IPIP != nil:
		all = append(all, l.IPIP.Remote)
		for r := range n.E.Routes() {
			if r.Dev == l.Name {
				all = append(all, r.Via)
			}
		}
	}
	return all
}

// matching returns the row of the device in which a tunnel ends, -1 if there is none.
func matching(b *box, l engine.LinkInfo) int {
	for i, r := range b.rows {
		other, _ := b.node.E.Link(r.dev)
		if l.VXLAN != nil && other.VXLAN != nil && l.VXLAN.VNI == other.VXLAN.VNI || l.IPIP != nil && other.IPIP != nil {
			return i
		}
	}
	return -1
}
