package engine

// Adjacencies of routes by way of a gateway: what a packet needs to get from the routing table to the wire without asking another
// table. For a gateway on Ethernet that is its MAC address; for one in a tunnel neighbour, FDB entry, VTEP and underlay route, as
// the inner MAC address and the outer headers. A route's next hop has the adjacency's number. output does the same step by step, and
// is what remains when there is no adjacency; traced packets always take it.

import (
	"math"
	"slices"
	"sync/atomic"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/vxlan"
)

// adjacency is a gateway on a device.
type adjacency struct {
	resolved *atomic.Pointer[resolved]
	device   uint32
	gateway  uint32

	// Guarded by tunnelEnds.mu.
	changes   uint64
	neighbour bool   // entered in adjacentTo
	mac       uint64 // the resolved one depends on this FDB entry
	end       *end   // and on this end
}

// A resolvedChunk is resolved adjacencies by the lower bits of their number, as a wayChunk is ways.
type resolvedChunk [1 << chunkBits]atomic.Pointer[resolved]

// resolved is what packets need of an adjacency. It does not change. With what it points to, which lies behind it, it takes one
// cache line, or two for VXLAN.
type resolved struct {
	mac   uint64 // of the gateway, or of the far VTEP
	out   uint16 // device that the packet leaves by: bridges send it on
	by    uint16 // the adjacency's own: a tunnel, or out again
	fits  uint16 // greatest packet that leaves whole, in bytes
	kind  adjacent
	ipip  *resolvedIPIP
	vxlan *resolvedVXLAN
}

type resolvedIPIP struct {
	resolved
	encap ipip.Encapsulator
}

type resolvedVXLAN struct {
	resolved
	encap vxlan.Encapsulator
	last  uint32 // of 128 bytes: who loads it has the second line
}

// adjacent is the kind of an adjacency.
type adjacent uint8

const (
	onLink adjacent = iota // on an Ethernet device
	byVXLAN
	byIPIP
)

// tag returns the number of the adjacency for a gateway, from 1; 0 if there is none, as for tunnels with one remote end.
func (t *tunnelEnds) tag(d *device, gateway uint32) uint32 {
	if gateway == 0 || d.ipip != nil && d.ipip.remote != 0 || d.ipip == nil && d.noARP {
		return 0
	}
	key := endKey(d.index, gateway)
	t.mu.Lock()
	defer t.mu.Unlock()
	if tag, ok := t.tags[key]; ok {
		return tag
	}
	all := *t.adjacencies.Load()
	if len(all) >= t.e.config.MaxAdjacencies {
		return 0
	}
	chunks := *t.resolved.Load()
	if len(all)>>chunkBits == len(chunks) {
		chunks = append(chunks, new(resolvedChunk)) // readers of the old header do not look behind its end
		t.resolved.Store(&chunks)
	}
	all = append(all, &adjacency{ // likewise
		device: d.index, gateway: gateway, resolved: &chunks[len(all)>>chunkBits][len(all)&(1<<chunkBits-1)],
	})
	t.adjacencies.Store(&all)
	t.tags[key] = uint32(len(all))
	t.count.Add(1)
	return uint32(len(all))
}

// find returns what an adjacency was resolved to, nil if it is not.
func (c resolvedChunks) find(tag uint32) *resolved {
	i := tag - 1
	return c[i>>chunkBits][i&(1<<chunkBits-1)].Load()
}

type resolvedChunks []*resolvedChunk

// shortcut sends a packet by an adjacency, and reports whether it did: not if something about the packet or the way is out of the
// ordinary.
func (w *Worker) shortcut(od *device, tag uint32, b *packet.Buffer) bool {
	t := &w.e.ends
	r := t.resolved.Load().find(tag)
	if r == nil {
		if r = t.resolveAdjacency(w, od, (*t.adjacencies.Load())[tag-1]); r == nil {
			return false
		}
	}
	out := w.st.device(uint32(r.out))
	if r.kind == onLink || w.trace != nil || w.dry != nil || b.Len() > int(r.fits) || out == nil || od.tap != nil || !od.running || b.Hash() == 0 && b.HasVLAN() {
		return false
	}
	n, bytes, ids := w.count(od), uint64(b.Len()), w.ids
	if r.kind == byIPIP {
		if r.ipip.encap.Encapsulate(b, w.nextID()) != nil {
			w.ids = ids
			return false
		}
	} else {
		p, err := b.Prepend(ethernet.HeaderLen)
		if err != nil {
			return false
		}
		putEthernet((*[ethernet.HeaderLen]byte)(p), r.mac, od.mac)
		if r.vxlan.encap.Encapsulate(b, w.nextID()) != nil {
			_ = b.TrimFront(ethernet.HeaderLen)
			w.ids = ids
			return false
		}
	}
	n.TxPackets++
	n.TxBytes += bytes
	w.total.Counters[IPOutRequests]++
	w.encaps++
	w.transmit(out, b)
	w.encaps--
	return true
}

// resolveAdjacency resolves an adjacency, if all that it needs is known and ordinary, and keeps the result unless something
// changed meanwhile.
func (t *tunnelEnds) resolveAdjacency(w *Worker, d *device, a *adjacency) *resolved {
	if w.trace != nil || w.dry != nil || d.index != a.device {
		return nil
	}
	t.mu.Lock()
	changes := a.changes
	if key := endKey(a.device, a.gateway); !a.neighbour && d.ipip == nil {
		a.neighbour = true
		t.adjacentTo[key] = append(t.adjacentTo[key], a)
	}
	t.mu.Unlock()

	remote, mac := a.gateway, uint64(0)
	if d.ipip == nil {
		n := w.neighbour(a.device, a.gateway)
		if !n.Ready() {
			return nil
		}
		mac = n.MACBits()
	}
	if d.vxlan == nil && d.ipip == nil {
		return t.keep(w, a, changes, nil, nil, &resolved{mac: mac, out: uint16(d.index), by: uint16(d.index), fits: packetLen(d.mtu)})
	}
	if d.vxlan != nil {
		t.dependOnMAC(a, mac) // before the FDB is asked, which tells of changes
		vtep, ok := d.vxlan.table.Lookup(fdb.Key(mac)).VTEP4()
		if !ok {
			return nil
		}
		remote = vtep
	}
	y := w.to(d, remote)
	i := t.index.Load(endKey(d.index, remote))
	if i == 0 {
		return nil
	}
	var r *resolved
	if y.why != 0 || y.local || y.path != nil || !y.whole || y.expires != Never {
		r = &resolved{} // nothing fits, so that nobody tries again before the way changes
	} else if d.ipip != nil {
		x := &resolvedIPIP{encap: y.ipip}
		r, x.kind, x.ipip, x.fits = &x.resolved, byIPIP, x, packetLen(min(y.mtu-ipip.OverheadIP, d.mtu))
	} else {
		x := &resolvedVXLAN{encap: y.vxlan}
		r, x.kind, x.vxlan, x.fits = &x.resolved, byVXLAN, x, packetLen(min(y.mtu-vxlan.Overhead, d.mtu))
	}
	r.mac, r.out, r.by = mac, uint16(y.out), uint16(d.index)
	return t.keep(w, a, changes, (*t.list.Load())[i-1], y, r)
}

// packetLen returns n as the length of an IPv4 packet.
func packetLen(n int) uint16 { return uint16(min(max(n, 0), math.MaxUint16)) }

// keep stores what an adjacency is resolved to, by way of y to n if it leads into a tunnel, unless something changed since changes
// was read, as for resolve: then it returns nil.
func (t *tunnelEnds) keep(w *Worker, a *adjacency, changes uint64, n *end, y *way, r *resolved) *resolved {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.changes != changes || !w.isCurrent() || n != nil && n.way.Load() != y {
		return nil
	}
	if n != nil {
		a.end = n
		n.adjacent = append(n.adjacent, a)
	}
	a.resolved.Store(r)
	return r
}

// unresolve makes an adjacency be resolved anew; mu is held.
func (a *adjacency) unresolve() {
	a.changes++
	a.resolved.Store(nil)
	if n := a.end; n != nil {
		n.adjacent = slices.DeleteFunc(n.adjacent, func(o *adjacency) bool { return o == a })
		a.end = nil
	}
}

// dependOnMAC notes that an adjacency depends on the FDB entry of a MAC address, and on no other.
func (t *tunnelEnds) dependOnMAC(a *adjacency, mac uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.mac == mac {
		return
	}
	if others := slices.DeleteFunc(t.byMAC[a.mac], func(o *adjacency) bool { return o == a }); len(others) == 0 {
		delete(t.byMAC, a.mac)
	} else {
		t.byMAC[a.mac] = others
	}
	a.mac = mac
	t.byMAC[mac] = append(t.byMAC[mac], a)
}

// fdbEntryChanged is told by the table of a VXLAN device.
func (t *tunnelEnds) fdbEntryChanged(device uint32, mac uint64) {
	if t.count.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.byMAC[mac] {
		if a.device == device {
			a.unresolve()
		}
	}
}
