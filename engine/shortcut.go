package engine

// Adjacencies of routes that lead into tunnels by way of a gateway: neighbour, FDB entry, VTEP and underlay route resolved in
// advance, as the inner MAC address and the outer headers. A route's next hop has the adjacency's number, so a packet goes from the
// routing table to the wire without asking another table. output does the same step by step, and is what remains when there is no
// adjacency; traced packets always take it.

import (
	"slices"
	"sync/atomic"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/vxlan"
)

// adjacency is a gateway on a tunnel device.
type adjacency struct {
	resolved atomic.Pointer[resolved]
	device   uint32
	gateway  uint32

	// Guarded by tunnelEnds.mu.
	changes   uint64
	neighbour bool   // entered in adjacentTo
	mac       uint64 // the resolved one depends on this FDB entry
	end       *end   // and on this end
}

// resolved is what packets need of an adjacency. It does not change.
type resolved struct {
	mac   uint64 // of the far VTEP
	out   uint32
	raw   bool
	vxlan vxlan.Encapsulator
	fits  int // greatest packet that leaves whole, in bytes; here, so that the warm-up pass touches both ends of vxlan
	ipip  ipip.Encapsulator
}

// tag returns the number of the adjacency for a gateway, from 1; 0 if there is none, as for devices that are no tunnels.
func (t *tunnelEnds) tag(d *device, gateway uint32) uint32 {
	if gateway == 0 || d.vxlan == nil && (d.ipip == nil || d.ipip.remote != 0) {
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
	all = append(all, &adjacency{device: d.index, gateway: gateway}) // readers of the old header do not look behind its end
	t.adjacencies.Store(&all)
	t.tags[key] = uint32(len(all))
	t.count.Add(1)
	return uint32(len(all))
}

// shortcut sends a packet by an adjacency, and reports whether it did: not if something about the packet or the way is out of the
// ordinary.
func (w *Worker) shortcut(od *device, tag uint32, b *packet.Buffer) bool {
	a := (*w.e.ends.adjacencies.Load())[tag-1]
	r := a.resolved.Load()
	if r == nil {
		if r = w.e.ends.resolveAdjacency(w, od, a); r == nil {
			return false
		}
	}
	out := w.st.device(r.out)
	if w.trace != nil || w.dry != nil || b.Len() > r.fits || out == nil || od.tap != nil || !od.running || b.Hash() == 0 && b.HasVLAN() {
		return false
	}
	n, bytes := w.count(od), uint64(b.Len())
	if r.raw {
		if r.ipip.Encapsulate(b, w.nextID()) != nil {
			return false
		}
	} else {
		p, err := b.Prepend(ethernet.HeaderLen)
		if err != nil {
			return false
		}
		putEthernet((*[ethernet.HeaderLen]byte)(p), r.mac, od.mac)
		if r.vxlan.Encapsulate(b, w.nextID()) != nil {
			_ = b.TrimFront(ethernet.HeaderLen)
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
	if key := endKey(a.device, a.gateway); !a.neighbour && d.vxlan != nil {
		a.neighbour = true
		t.adjacentTo[key] = append(t.adjacentTo[key], a)
	}
	t.mu.Unlock()

	remote, mac := a.gateway, uint64(0)
	if d.vxlan != nil {
		n := w.neighbour(a.device, a.gateway)
		if !n.Ready() {
			return nil
		}
		mac = n.MACBits()
		t.dependOnMAC(a, mac) // before the FDB is asked, which tells of changes
		vtep, ok := d.vxlan.table.Lookup(fdb.Key(mac)).VTEP4()
		if !ok {
			return nil
		}
		remote = vtep
	}
	y := w.to(d, remote)
	i := t.index.Load(endKey(d.index, remote))
	if i == 0 || y.why != 0 || y.local || y.path != nil || !y.whole || y.expires != Never {
		return nil
	}
	r := &resolved{mac: mac, out: y.out, raw: d.ipip != nil}
	if r.raw {
		r.ipip, r.fits = y.ipip, min(y.mtu-ipip.OverheadIP, d.mtu)
	} else {
		r.vxlan, r.fits = y.vxlan, y.mtu-vxlan.Overhead
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := (*t.list.Load())[i-1]
	if a.changes != changes || n.way.Load() != y {
		return nil
	}
	a.end = n
	n.adjacent = append(n.adjacent, a)
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
