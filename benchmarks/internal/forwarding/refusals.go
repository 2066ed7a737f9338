package forwarding

// Packets that are not forwarded: dropped in silence, reported to their sender, or copied to many.

import (
	"fmt"
	"math"
	"testing"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/route"
)

// Refusal is packets that a node drops, and why.
type Refusal struct {
	Name string
	Why  engine.Reason
	// Reported says that each one's sender is told.
	Reported bool

	limited bool // errors are limited as they are by default
	wire    bool // it comes in there
	packet  func(b []byte) []byte
}

// Refusals are all that are measured.
var Refusals = []Refusal{
	{Name: "same-port", Why: engine.DropSamePort, packet: func(b []byte) []byte {
		return stationsTo(farOnes.at(1), farOnes, 2, 0)(b, 0)
	}},
	{Name: "other-host", Why: engine.DropOtherHost, wire: true, packet: fromWire(routed, func(f *inner) {
		f.dst = nodes.at(1).mac
	})},
	{Name: "checksum", Why: engine.DropIPChecksum, wire: true, packet: func(b []byte) []byte {
		b = fromWire(routed, nil)(b)
		b[ethernet.HeaderLen+10] ^= 1
		return b
	}},
	{Name: "blackhole", Why: engine.DropBlackhole, wire: true, packet: fromWire(blackholed, nil)},
	{Name: "unknown-vni", Why: engine.DropTunnelVNI, wire: true, packet: func(b []byte) []byte {
		b = vxlanFromWire(nodes.at(1))(b)
		b[48]++ // the VNI's last byte
		return b
	}},
	{Name: "unknown-peer", Why: engine.DropTunnelPeer, wire: true, packet: func(b []byte) []byte {
		node := nodes.at(1000)
		o := outer{dst: wireAddr.mac, src: node.mac, dstIP: wireAddr.ip, srcIP: node.ip, ttl: innerTTL, flags: ipv4.DontFragment}
		f := inner{dstIP: routed, srcIP: farIP(0, 0), ttl: innerTTL, size: 64, withoutFraming: true}
		return f.append(o.ipip(b, 64-ethernet.HeaderLen))
	}},
	{Name: "ttl-limited", Why: engine.DropTTL, limited: true, wire: true, packet: fromWire(routed, expiring)},
	{Name: "ttl-reported", Why: engine.DropTTL, Reported: true, wire: true, packet: fromWire(routed, expiring)},
	{Name: "no-route-reported", Why: engine.DropNoRoute, Reported: true, wire: true, packet: fromWire(unrouted, nil)},
	{Name: "too-big-reported", Why: engine.DropTooBig, Reported: true, wire: true, packet: func(b []byte) []byte {
		b = fromWire(routed, func(f *inner) { f.size = 1450 })(b)
		h, _, err := ipv4.Parse(b[ethernet.HeaderLen:])
		if err != nil {
			panic(err)
		}
		if err := h.SetFragment(ipv4.DontFragment, 0); err != nil {
			panic(err)
		}
		return b
	}},
}

// Where packets go to.
var routed, blackholed, unrouted = ip("11.0.0.1"), ip("12.0.0.1"), ip("13.0.0.1")

func expiring(f *inner) { f.ttl = 1 }

// fromWire returns a builder of packets from a node on the wire that are to be routed.
func fromWire(to uint32, change func(f *inner)) func(b []byte) []byte {
	return func(b []byte) []byte {
		node := nodes.at(1)
		f := inner{dst: wireAddr.mac, src: node.mac, dstIP: to, srcIP: node.ip, ttl: innerTTL, size: 64}
		if change != nil {
			change(&f)
		}
		return f.append(b)
	}
}

// vxlanFromWire returns a builder of frames in VXLAN from a node.
func vxlanFromWire(node host) func(b []byte) []byte {
	return func(b []byte) []byte {
		o := outer{dst: wireAddr.mac, src: node.mac, dstIP: wireAddr.ip, srcIP: node.ip, ttl: tunnelTTL}
		f := inner{dst: locals.at(0).mac, src: farOnes.at(0).mac, dstIP: locals.base, srcIP: farOnes.base, ttl: innerTTL, size: 64}
		return f.append(o.vxlan(b, 64))
	}
}

// New returns a node that refuses them: it bridges, routes, and has tunnels.
func (r Refusal) New() (*Work, error) {
	n := build(limits(Hot.Entries))
	ports := n.ends()
	n.do(func(e *engine.Engine) error { e.SetForwarding(true); return nil })
	n.neighbours("wire", nodes, Hot.Entries)
	n.do(func(e *engine.Engine) error {
		_, err := e.AddVXLAN(engine.VXLAN{
			Link: engine.Link{Name: "vx0", Up: true}, VNI: vni, Local: addr(wireAddr.ip), Device: "wire",
		})
		return err
	})
	n.bridge(engine.Bridge{Link: engine.Link{Name: "br0"}}, "in0", "in1", "vx0")
	n.teach(ports.in[0], fewLocals, stationsTo(farOnes.at(0), farOnes, 0, 1))
	n.tunnel(Hot.Entries)
	n.do(func(e *engine.Engine) error {
		err := e.AddRoute(engine.Route{Prefix: must(addr(blackholed).Prefix(8)), Type: route.Blackhole})
		if err != nil {
			return err
		}
		return e.AddRoute(engine.Route{
			Prefix: must(addr(routed).Prefix(8)), Via: addr(nodes.at(2).ip), Dev: "wire", MTU: 1300,
		})
	})
	if !r.limited {
		n.do(func(e *engine.Engine) error {
			g := e.Global()
			g.ICMPMsgsPerSec, g.ICMPMsgsBurst, g.ICMPRateLimit = math.MaxInt32, math.MaxInt32, -1
			return e.SetGlobal(g)
		})
	}
	n.in = [2][]uint32{{ports.in[0]}}
	if r.wire {
		n.in = [2][]uint32{{ports.wire}}
	}
	n.offered = func(int, int) (*Traffic, error) {
		return newTraffic(1, func(b []byte, _ int) []byte { return r.packet(b) }, patchMAC)
	}
	return n.done()
}

// Bench offers packets, which all have to be dropped for the right reason, and their senders told or not.
func (r Refusal) Bench(b *testing.B, w *Work) {
	t, err := w.Traffic(0, 0)
	if err != nil {
		b.Fatal(err)
	}
	before, sent := w.Engine.Stats(), w.sent()
	if r.limited { // what there may be at once, there has been
		err = w.one(t, 4*Burst)
		before, sent = w.Engine.Stats(), w.sent()
	}
	b.ReportAllocs()
	b.ResetTimer()
	if err == nil {
		err = w.one(t, b.N)
	}
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
	after := w.Engine.Stats()
	if err := r.check(int(after.Drops[r.Why]-before.Drops[r.Why]), w.sent()-sent, b.N); err != nil {
		b.Fatal(err, w.none(-1))
	}
	if err := after.Check(); err != nil {
		b.Fatal(err)
	}
}

func (r Refusal) check(dropped, reports, offered int) error {
	want := 0
	if r.Reported {
		want = offered
	}
	// One error a second gets through a limit.
	if dropped == offered && (reports == want || r.limited && reports <= offered/100+1) {
		return nil
	}
	return fmt.Errorf("of %d packets %d were dropped as %v, %d of which were reported", offered, dropped, r.Why, reports)
}

// NewFlood returns a bridge with 8 ports and no station.
func NewFlood() (*Work, error) {
	const ports = 8
	n := build(limits(Hot.Entries))
	names := make([]string, ports)
	for p := range names {
		names[p] = fmt.Sprintf("p%d", p)
		n.port(names[p], routers.at(uint32(p)))
	}
	n.bridge(engine.Bridge{Link: engine.Link{Name: "br0"}}, names...)
	n.in = [2][]uint32{{n.Ports[0].Index}}
	n.offered = func(_, size int) (*Traffic, error) {
		return newTraffic(1, func(b []byte, _ int) []byte {
			src, dst := farOnes.at(0), farOnes.at(1)
			return inner{dst: dst.mac, src: src.mac, dstIP: dst.ip, srcIP: src.ip, ttl: innerTTL, size: size}.append(b)
		}, patchMAC)
	}
	return n.done()
}

// BenchFlood offers frames that leave by all ports but one.
func (w *Work) BenchFlood(b *testing.B, size int) {
	t, err := w.Traffic(0, size)
	if err != nil {
		b.Fatal(err)
	}
	before := w.sent()
	b.ReportAllocs()
	b.ResetTimer()
	err = w.one(t, b.N)
	b.StopTimer()
	if copies := len(w.Ports) - 1; err != nil || w.sent()-before != copies*b.N {
		b.Fatal(err, w.none(w.sent()-before-copies*b.N))
	}
}
