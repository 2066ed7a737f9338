package engine

// The warm-up pass: what the packets of a burst will ask the tables for is looked up for all of them first, step by step, and the
// results thrown away. The loads of one step overlap in the memory system then, while those of packets in turn would wait for each
// other. Nothing depends on it; it pays only where tables do not fit the processor's caches.

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// Sizes from which on WarmAuto warms up: entries of a table, and remote ends of tunnels, whose outer headers lie far apart. At
// 100,000 stations or plain routes the pass costs more than it wins (BenchmarkEngineWarm).
const (
	warmStations = 1 << 19
	warmRoutes   = 1 << 19
	warmEnds     = 1 << 14
)

// measureEvery is after how many bursts a worker looks at the sizes of the tables, beside Tick.
const measureEvery = 1 << 10

// warms reports whether bursts are warmed up.
func (w *Worker) warms() bool {
	if w.bursts++; w.bursts%measureEvery == 0 {
		w.e.measure(w.st)
	}
	return w.e.large.Load()
}

// warmth is how far the lookups of a packet have come.
type warmth struct {
	at   *device // that the frame is at; nil: no more lookups
	next warmStep
	mac  uint64 // destination
	addr uint32 // destination
	peer uint32 // VTEP, or remote end

	path      *route.Path
	adjacency *adjacency
	resolved  *resolved
}

type warmStep uint8

const (
	warmBridge warmStep = iota // the bridge's entry of mac has been touched
	warmFDB                    // the VXLAN device's entry of mac
	warmRoute                  // the route to addr: its path is found
	warmPath                   // the path
	warmSlot                   // the adjacency
	warmNext                   // the neighbour addr
	warmEnd                    // the end of peer
)

// warmSteps is how many lookups depend on each other at most behind the first: path, adjacency, what it resolved to; or path,
// neighbour, bridge; or bridge, FDB, end.
const warmSteps = 4

// warmUp touches the tables for a burst that a port has received.
func (w *Worker) warmUp(d *device, batch []*packet.Buffer) {
	if cap(w.warming) < len(batch) {
		w.warming = make([]warmth, len(batch))
	}
	burst := w.warming[:len(batch)]
	for i, b := range batch {
		burst[i] = w.warmFirst(d, b.Bytes())
	}
	for range warmSteps {
		left := false
		for i := range burst {
			if burst[i].at != nil {
				w.warmOn(&burst[i])
				left = true
			}
		}
		w.touch(burst)
		if !left {
			return
		}
	}
}

// touch loads what the lookups have led to. It does nothing else, so that the loads of many packets are under way at once.
func (w *Worker) touch(burst []warmth) {
	sum := uint64(0)
	for i := range burst {
		x := &burst[i]
		switch {
		case x.resolved != nil:
			sum += x.resolved.mac + uint64(x.resolved.fits)
		case x.adjacency != nil:
			sum += uint64(x.adjacency.device)
		case x.path != nil:
			sum += uint64(x.path.Type())
		}
	}
	w.warmed += sum
}

// warmFirst makes the first lookup of a packet.
func (w *Worker) warmFirst(d *device, p []byte) warmth {
	const (
		ip    = ethernet.HeaderLen
		inner = ip + ipv4.HeaderLen // what a tunnel carries
		frame = inner + udp.HeaderLen + vxlan.HeaderLen
	)
	if d.raw || len(p) < inner {
		return warmth{}
	}
	dst := binary.BigEndian.Uint64(p) >> 16
	if d.master != 0 {
		return w.warmStation(d, p)
	}
	if dst != d.mac {
		return warmth{}
	}
	switch proto := p[ip+9]; {
	case proto == ipv4.ProtocolUDP && len(p) >= frame+inner && w.st.vxlans.isPort(binary.BigEndian.Uint16(p[inner+2:])):
		vni := binary.BigEndian.Uint32(p[inner+12:]) >> 8
		if to := w.st.vxlans.find(w.st, binary.BigEndian.Uint16(p[inner+2:]), vni); to != nil {
			return w.warmStation(to, p[frame:])
		}
		return warmth{}
	case proto == ipv4.ProtocolIPIP && len(p) >= inner+ipv4.HeaderLen:
		src := binary.BigEndian.Uint32(p[ip+12:])
		if t := w.st.ipips.between(w.st, binary.BigEndian.Uint32(p[ip+16:]), src); t != nil {
			_ = t.ipip.accepts(src)
		}
		return w.warmRoute(d, binary.BigEndian.Uint32(p[inner+16:]))
	}
	return w.warmRoute(d, binary.BigEndian.Uint32(p[ip+16:]))
}

// warmStation begins with a frame that an Ethernet device has received.
func (w *Worker) warmStation(d *device, p []byte) warmth {
	dst, src := binary.BigEndian.Uint64(p)>>16, binary.BigEndian.Uint64(p[4:])&macBroadcast
	if d.vxlan != nil && !d.vxlan.made.NoLearning {
		_ = d.vxlan.table.Lookup(fdb.Key(src))
	}
	if br := w.st.device(d.master); br != nil {
		_ = br.bridge.table.Lookup(fdb.Key(src))
		if dst != br.mac {
			_ = br.bridge.table.Lookup(fdb.Key(dst))
			return warmth{at: br, mac: dst, next: warmBridge}
		}
		d = br
	}
	if dst != d.mac {
		return warmth{}
	}
	return w.warmRoute(d, binary.BigEndian.Uint32(p[ethernet.HeaderLen+16:]))
}

func (w *Worker) warmRoute(d *device, addr uint32) warmth {
	_ = w.e.routes.Lookup(addr)
	return warmth{at: d, addr: addr, next: warmRoute}
}

// warmOn takes the result of the last lookup, which is in the cache by now, and makes the next.
func (w *Worker) warmOn(x *warmth) {
	d := x.at
	x.at = nil
	switch x.next {
	case warmBridge:
		if port, ok := d.bridge.table.Lookup(fdb.Key(x.mac)).Port(); ok {
			if to := w.st.device(port); to != nil && to.vxlan != nil {
				_ = to.vxlan.table.Lookup(fdb.Key(x.mac))
				x.at, x.next = to, warmFDB
			}
		}
	case warmFDB:
		if vtep, ok := d.vxlan.table.Lookup(fdb.Key(x.mac)).VTEP4(); ok {
			w.warmTo(x, d, vtep)
		}
	case warmRoute:
		if x.path = w.e.routes.Lookup(x.addr); x.path != nil {
			x.at, x.next = d, warmPath
		}
	case warmPath:
		w.warmHop(x)
	case warmSlot:
		x.resolved = x.adjacency.resolved.Load()
	case warmNext:
		n := w.e.neighs.Lookup(d.index, x.addr)
		switch {
		case !n.IsValid():
		case d.bridge != nil:
			_ = d.bridge.table.Lookup(fdb.Key(n.MACBits()))
		case d.vxlan != nil:
			x.at, x.mac, x.next = d, n.MACBits(), warmFDB
			_ = d.vxlan.table.Lookup(fdb.Key(x.mac))
		}
	case warmEnd:
		t := &w.e.ends
		if i := t.index.Load(endKey(d.index, x.peer)); i != 0 {
			if y := t.way(i); y != nil {
				w.warmed += uint64(y.why)
			}
		}
	}
}

// warmHop goes on from a route.
func (w *Worker) warmHop(x *warmth) {
	hop, ok := x.path.Only()
	to := w.st.device(hop.Device)
	if !ok || to == nil {
		return
	}
	if hop.Tag != 0 {
		x.adjacency = (*w.e.ends.adjacencies.Load())[hop.Tag-1]
		x.at, x.next = to, warmSlot
		return
	}
	if hop.Gateway != 0 {
		x.addr = hop.Gateway
	}
	if to.ipip != nil {
		w.warmTo(x, to, x.addr)
		return
	}
	if !to.noARP {
		_ = w.e.neighs.Lookup(to.index, x.addr)
		x.at, x.next = to, warmNext
	}
}

func (w *Worker) warmTo(x *warmth, d *device, peer uint32) {
	_ = w.e.ends.index.Load(endKey(d.index, peer))
	x.at, x.peer, x.next = d, peer, warmEnd
}
