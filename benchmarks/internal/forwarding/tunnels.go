package forwarding

// The nodes with tunnels.

import (
	"fmt"
	"iter"
	"net/netip"
	"testing"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/ipv4"
)

// uplinkMAC is whom frames on the wire come from: a router that is in front of all nodes.
var uplinkMAC = routers.at(8).mac

// DefaultVTEPs is how many remote VTEPs stations are behind.
const DefaultVTEPs = 16

// NewVXLAN returns a learning VTEP: a bridge over local ports and a VXLAN device, in whose tables are that many stations behind
// remote VTEPs. Frames go to random ones of them, or come from them.
func NewVXLAN(s Scale, remotes int, encap bool) (*Work, error) {
	n := build(limits(max(s.Entries, remotes)))
	ports := n.ends()
	n.neighbours("wire", nodes, remotes)
	n.do(func(e *engine.Engine) error {
		_, err := e.AddVXLAN(engine.VXLAN{
			Link: engine.Link{Name: "vx0", Up: true}, VNI: vni, Local: addr(wireAddr.ip), Device: "wire", MaxAddress: s.Entries + 1,
		})
		return err
	})
	n.bridge(engine.Bridge{Link: engine.Link{Name: "br0"}, MaxLearned: s.Entries + 3*fewLocals}, "in0", "in1", "vx0")
	for lane := range 2 {
		n.teach(ports.in[lane], fewLocals, stationsTo(everybody, locals, localOf(lane, 0).ip-locals.base, 1))
	}
	behind := func(b []byte, station uint32, lane int, local uint32, size, flow int) []byte {
		src, dst, node := farOnes.at(station), localOf(lane, local), nodes.at(station%uint32(remotes))
		o := outer{
			dst: wireAddr.mac, src: uplinkMAC, dstIP: wireAddr.ip, srcIP: node.ip, ttl: tunnelTTL, srcPort: 32768 + uint16(flow)%16384,
		}
		f := inner{dst: dst.mac, src: src.mac, dstIP: locals.base, srcIP: farOnes.base, ttl: innerTTL, size: size}
		return f.append(o.vxlan(b, size))
	}
	n.teach(ports.wire, s.Entries, func(b []byte, i uint32) []byte { return behind(b, i, 0, 0, 64, 0) })
	station := func(lane int) []uint32 { return draws(s.Packets, s.Entries, uint64(50+lane)) }
	local := func(lane int) []uint32 { return draws(s.Packets, fewLocals, uint64(60+lane)) }
	if !encap {
		n.in = [2][]uint32{{ports.wire}, {ports.wire}}
		n.offered = func(lane, size int) (*Traffic, error) {
			from, to := station(lane), local(lane)
			const at = 50 // inner frame
			t, err := newTraffic(s.Packets, func(b []byte, i int) []byte {
				return behind(b, from[i], lane, to[i], size, i)
			}, patchIP, at)
			if err == nil {
				t.want = func(i int) (uint32, []byte) { return ports.in[lane], behind(nil, from[i], lane, to[i], size, i)[at:] }
			}
			return t, err
		}
		return n.done()
	}
	n.in = [2][]uint32{{ports.in[0]}, {ports.in[1]}}
	n.offered = func(lane, size int) (*Traffic, error) {
		from, to := local(lane), station(lane)
		frame := func(b []byte, i int) []byte {
			src, dst := localOf(lane, from[i]), farOnes.at(to[i])
			f := inner{dst: dst.mac, src: src.mac, dstIP: dst.ip, srcIP: src.ip, ttl: innerTTL, flow: uint16(i), size: size}
			return f.append(b)
		}
		t, err := newTraffic(s.Packets, frame, patchMAC, patchIP)
		if err == nil {
			t.free, t.want = freeVXLAN, func(i int) (uint32, []byte) {
				node := nodes.at(to[i] % uint32(remotes))
				o := outer{dst: node.mac, src: wireAddr.mac, dstIP: node.ip, srcIP: wireAddr.ip, ttl: tunnelTTL}
				return ports.wire, frame(o.vxlan(nil, size), i)
			}
		}
		return t, err
	}
	return n.done()
}

// tunnel adds an IPIP device that takes packets of all nodes.
func (n *builder) tunnel(count int) {
	peers := make([]netip.Addr, count)
	for i := range peers {
		peers[i] = addr(nodes.at(uint32(i)).ip)
	}
	n.do(func(e *engine.Engine) error {
		_, err := e.AddIPIP(engine.IPIP{Link: engine.Link{Name: "tunl0", Up: true}, Local: addr(wireAddr.ip), Peers: peers})
		return err
	})
}

// perNode returns a route to the pod network of each node.
func perNode(count int, via func(i uint32) engine.Route) iter.Seq[engine.Route] {
	return func(yield func(engine.Route) bool) {
		for i := range uint32(count) {
			r := via(i)
			r.Prefix = subnet(i)
			if !yield(r) {
				return
			}
		}
	}
}

// NewIPIPEncap returns a node with a tunnel to each of as many nodes, its neighbours on the wire, and a route to the network
// behind each.
func NewIPIPEncap(s Scale) (*Work, error) {
	n := build(limits(s.Entries))
	ports := n.ends()
	n.routed()
	n.neighbours("wire", nodes, s.Entries)
	n.tunnel(1)
	n.routes(perNode(s.Entries, func(i uint32) engine.Route {
		return engine.Route{Via: addr(nodes.at(i).ip), Dev: "tunl0", Onlink: true}
	}))
	n.in = [2][]uint32{{ports.in[0]}, {ports.in[1]}}
	n.offered = func(lane, size int) (*Traffic, error) {
		return podTraffic(s, lane, size, inMAC(lane), freeIPIP, func(node uint32, frame []byte) (uint32, []byte) {
			to := nodes.at(node)
			o := outer{
				dst: to.mac, src: wireAddr.mac, dstIP: to.ip, srcIP: wireAddr.ip, ttl: innerTTL - 1, flags: ipv4.DontFragment,
			}
			packet := routedFrame(frame, to.mac, wireAddr.mac)[ethernet.HeaderLen:]
			return ports.wire, append(o.ipip(nil, len(packet)), packet...)
		})
	}
	return n.done()
}

// podTraffic is packets from a lane's pods to random addresses in random nodes' networks; sent returns what becomes of one.
func podTraffic(
	s Scale, lane, size int, gateway ethernet.MAC, free []int, sent func(node uint32, frame []byte) (uint32, []byte),
) (*Traffic, error) {
	node, pod := draws(s.Packets, s.Entries, uint64(70+lane)), draws(s.Packets, fewLocals, uint64(80+lane))
	frame := func(b []byte, i int) []byte {
		src := localOf(lane, pod[i])
		f := inner{
			dst: gateway, src: src.mac, dstIP: farIP(node[i], i), srcIP: src.ip, ttl: innerTTL, flow: uint16(i), size: size,
		}
		return f.append(b)
	}
	t, err := newTraffic(s.Packets, frame, patchMAC, patchIP)
	if err == nil {
		t.free, t.want = free, func(i int) (uint32, []byte) { return sent(node[i], frame(nil, i)) }
	}
	return t, err
}

// NewIPIPDecap returns a node that takes tunnelled packets of as many nodes, and routes to as many networks by 16 gateways.
func NewIPIPDecap(s Scale) (*Work, error) {
	n := build(limits(s.Entries))
	ports := n.ends()
	n.routed()
	n.tunnel(s.Entries)
	n.addr("in0", gates.base-1, 16)
	n.neighbours("in0", gates, fewGates)
	net := newInternet(s.Entries)
	n.routes(net.routes(func(gate uint32) engine.Route { return engine.Route{Via: addr(gates.at(gate).ip), Dev: "in0"} }))
	n.in = [2][]uint32{{ports.wire}, {ports.wire}}
	n.offered = func(lane, size int) (*Traffic, error) {
		from, to := draws(s.Packets, s.Entries, uint64(90+lane)), net.draw(s.Packets, lane)
		const at = ethernet.HeaderLen + ipv4.HeaderLen // inner packet
		frame := func(b []byte, i int) []byte {
			node := nodes.at(from[i])
			o := outer{
				dst: wireAddr.mac, src: uplinkMAC, dstIP: wireAddr.ip, srcIP: node.ip, ttl: innerTTL, flags: ipv4.DontFragment,
			}
			f := inner{dstIP: to[i], srcIP: farIP(from[i], i), ttl: innerTTL, size: size, withoutFraming: true}
			return f.append(o.ipip(b, size-ethernet.HeaderLen))
		}
		t, err := newTraffic(s.Packets, frame, patchIP, at+8)
		if err == nil {
			t.want = func(i int) (uint32, []byte) {
				return ports.in[0], routedFrame(frame(nil, i)[ipv4.HeaderLen:], net.gateway(to[i]).mac, inMAC(0))
			}
		}
		return t, err
	}
	return n.done()
}

// flannel makes a Flannel node with as many others: the bridge cni0 over pod ports, flannel.1, and for each other node what
// flanneld programs: a neighbour, an FDB entry and a route.
func (n *builder) flannel(count int, podPorts ...string) {
	n.neighbours("wire", nodes, count)
	n.bridge(engine.Bridge{Link: engine.Link{Name: "cni0", MAC: cniMAC}, MaxLearned: Huge.Entries + 3*fewLocals}, podPorts...)
	n.vtep(count)
	for i := range uint32(count) {
		p := peer(i)
		n.neighbour(p.Dev, host{p.MAC, vteps.base + i<<8})
		n.do(func(e *engine.Engine) error {
			return e.AddFDB(engine.FDBEntry{MAC: p.MAC, Dev: p.Dev, Flags: fdb.Static, Dst: p.Node})
		})
	}
	n.routes(perNode(count, func(i uint32) engine.Route {
		p := peer(i)
		return engine.Route{Via: p.Gateway, Dev: p.Dev, Onlink: true}
	}))
	n.do(func(e *engine.Engine) error { e.SetForwarding(true); return nil })
}

// vtep adds the device flannel.1, for as many other nodes.
func (n *builder) vtep(count int) {
	n.do(func(e *engine.Engine) error {
		_, err := e.AddVXLAN(engine.VXLAN{
			Link: engine.Link{Name: "flannel.1", MAC: vtepMAC, Up: true}, VNI: vni, Local: addr(wireAddr.ip), Device: "wire",
			NoLearning: true, MaxAddress: count + 1,
		})
		return err
	})
	n.addr("flannel.1", locals.base-1, 32)
}

// peer returns node i of a Flannel network.
func peer(i uint32) engine.Peer {
	return engine.Peer{
		Name: fmt.Sprintf("node%d", i), Subnets: []netip.Prefix{subnet(i)}, Node: addr(nodes.at(i).ip),
		Dev: "flannel.1", Gateway: subnet(i).Addr(), MAC: vteps.at(i).mac,
	}
}

// BenchPeer sets and deletes one more node on a Flannel node with as many others.
func BenchPeer(b *testing.B, others int) {
	n := build(limits(others))
	n.ends()
	n.vtep(others + 1)
	for i := range uint32(others) {
		n.do(func(e *engine.Engine) error { return e.SetPeer(peer(i)) })
	}
	w, err := n.done()
	if err != nil {
		b.Fatal(err)
	}
	more := peer(uint32(others))
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Engine.SetPeer(more); err != nil {
			b.Fatal(err)
		}
		if err := w.Engine.DeletePeer(more.Name); err != nil {
			b.Fatal(err)
		}
	}
	if got := len(w.Engine.Peers()); got != others {
		b.Fatalf("%d peers are left of %d", got, others)
	}
}

var (
	cniMAC  = routers.at(10).mac
	vtepMAC = routers.at(11).mac
)

// NewPodToWire returns a Flannel node with as many peers. Packets go from the node's pods to random pods of random peers.
func NewPodToWire(s Scale) (*Work, error) {
	n := build(limits(s.Entries))
	ports := n.ends()
	n.flannel(s.Entries, "in0", "in1")
	n.addr("cni0", locals.base-2, 12)
	for lane := range 2 {
		n.teach(ports.in[lane], fewLocals, stationsTo(everybody, locals, localOf(lane, 0).ip-locals.base, 1))
	}
	n.in = [2][]uint32{{ports.in[0]}, {ports.in[1]}}
	n.offered = func(lane, size int) (*Traffic, error) {
		return podTraffic(s, lane, size, cniMAC, freeVXLAN, func(node uint32, frame []byte) (uint32, []byte) {
			to := nodes.at(node)
			o := outer{dst: to.mac, src: wireAddr.mac, dstIP: to.ip, srcIP: wireAddr.ip, ttl: tunnelTTL}
			frame = routedFrame(frame, vteps.at(node).mac, vtepMAC)
			return ports.wire, append(o.vxlan(nil, len(frame)), frame...)
		})
	}
	return n.done()
}

// NewWireToPod returns a Flannel node with as many pods behind a port, and few peers. Packets come from random pods of random
// peers.
func NewWireToPod(s Scale) (*Work, error) {
	n := build(limits(s.Entries))
	ports := n.ends()
	n.flannel(fewLocals, "in0", "in1")
	n.addr("cni0", farOnes.base-1, 9)
	n.neighbours("cni0", farOnes, s.Entries)
	n.teach(ports.in[0], s.Entries, stationsTo(farOnes.at(0), farOnes, 0, 1))
	n.in = [2][]uint32{{ports.wire}, {ports.wire}}
	n.offered = func(lane, size int) (*Traffic, error) {
		from, to := draws(s.Packets, fewLocals, uint64(100+lane)), draws(s.Packets, s.Entries, uint64(110+lane))
		const at = 50 // inner frame
		frame := func(b []byte, i int) []byte {
			node := nodes.at(from[i])
			o := outer{
				dst: wireAddr.mac, src: uplinkMAC, dstIP: wireAddr.ip, srcIP: node.ip, ttl: tunnelTTL, srcPort: 32768 + uint16(i)%16384,
			}
			f := inner{
				dst: vtepMAC, src: vteps.at(from[i]).mac, dstIP: farOnes.at(to[i]).ip, srcIP: farIP(from[i], i), ttl: innerTTL - 1, size: size,
			}
			return f.append(o.vxlan(b, size))
		}
		t, err := newTraffic(s.Packets, frame, patchIP, at, at+patchIP)
		if err == nil {
			t.want = func(i int) (uint32, []byte) {
				return ports.in[0], routedFrame(frame(nil, i)[at:], farOnes.at(to[i]).mac, cniMAC)
			}
		}
		return t, err
	}
	return n.done()
}
