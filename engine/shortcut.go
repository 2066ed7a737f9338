package engine

// Adjacencies of routes by way of a gateway: what a packet needs to get from the routing table to the wire without asking another
// table. For a gateway on Ethernet that is its MAC address; for one in a tunnel neighbour, FDB entry, VTEP and underlay route, as
// the inner MAC address and the outer headers. A route's next hop has the adjacency's number, as its tag. output does the same step by
// step, and is what remains when there is no adjacency; traced packets always take it.
//
// There are Config.MaxAdjacencies of them at most, each as long as a route in the table has its tag; its number is then used again.
// Routes that are made when there is no more room do without.

import (
	"math"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/vxlan"
)

// adjacency is a gateway on a device.
type adjacency struct {
	device  uint32
	gateway uint32
	number  uint32

	// Guarded by tunnelEnds.mu.
	changes uint64
	routes  int    // next hops of routes that have the number
	handed  bool   // it is in tunnelEnds.handed
	mac     uint64 // the resolved one depends on this FDB entry
	end     *end   // and on this end
	near    member[*adjacency]
	behind  member[*adjacency] // mac
	over    member[*adjacency] // end
}

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

// tagged gives the next hops of a route that is about to be made the numbers of their adjacencies. When it is made, or could not be, the
// caller calls settle. For one of a swap, after which there will be no others, other adjacencies take no room.
func (e *Engine) tagged(r *route.Route, swap bool) {
	for i := range r.NextHops {
		h := &r.NextHops[i]
		h.Tag = 0
		if d := e.state.Load().device(h.Device); d != nil {
			h.Tag = e.ends.tag(d, gatewayOf(r, h), swap)
		}
	}
}

// gatewayOf returns the neighbour that all packets by a route's next hop are sent to: the gateway, or the destination if the route is to
// one host, as those to Calico's pods are; 0 if there is no such neighbour.
func gatewayOf(r *route.Route, h *route.NextHop) uint32 {
	switch {
	case h.Gateway.Is4():
		return number(h.Gateway)
	case r.Type == route.Unicast && r.Prefix.IsSingleIP():
		return number(r.Prefix.Addr())
	}
	return 0
}

// tag returns the number of the adjacency for a gateway; 0 if there is none, as for tunnels with one remote end.
func (t *tunnelEnds) tag(d *device, gateway uint32, swap bool) uint32 {
	if gateway == 0 || d.ipip != nil && d.ipip.remote != 0 || d.ipip == nil && d.noARP {
		return 0
	}
	key := endKey(d.index, gateway)
	t.mu.Lock()
	defer t.mu.Unlock()
	a, count := t.resolved.owner(t.tags.Load(key)), t.tags.Len()
	if swap {
		count = len(t.handed)
	}
	switch {
	case (a == nil || swap && !a.handed) && count >= t.e.config.MaxAdjacencies:
		return 0
	case a == nil:
		a = &adjacency{device: d.index, gateway: gateway}
		a.number = t.resolved.take(a)
		a.near.of, a.behind.of, a.over.of = a, a, a
		t.tags.Store(key, uint64(a.number))
		t.count.Add(1)
		if d.ipip == nil {
			t.adjacentTo.add(key, &a.near)
		}
	}
	if !a.handed {
		a.handed = true
		t.handed = append(t.handed, a)
	}
	return a.number
}

// settle frees those of the adjacencies handed out that no route came to have.
func (t *tunnelEnds) settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.handed {
		a.handed = false
		t.freeUnused(a)
	}
	clear(t.handed)
	t.handed = t.handed[:0]
}

// freeUnused frees an adjacency that no route has; mu is held.
func (t *tunnelEnds) freeUnused(a *adjacency) {
	if a.routes > 0 || a.handed {
		return
	}
	t.unresolve(a)
	key := endKey(a.device, a.gateway)
	t.adjacentTo.remove(key, &a.near)
	t.byMAC.remove(a.mac, &a.behind)
	t.tags.Delete(key)
	t.resolved.leave(a.number)
	t.count.Add(-1)
}

// routed counts the routes that have adjacencies.
func (t *tunnelEnds) routed(c *route.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.countHops(c.New.NextHops)
	for i := range c.Old.NextHops {
		if a := t.resolved.owner(uint64(c.Old.NextHops[i].Tag)); a != nil {
			a.routes--
			t.freeUnused(a)
		}
	}
}

func (t *tunnelEnds) countHops(hops []route.NextHop) {
	for i := range hops {
		if a := t.resolved.owner(uint64(hops[i].Tag)); a != nil {
			a.routes++
		}
	}
}

// swapped counts the routes of a table that has no others.
func (t *tunnelEnds) swapped(all []route.Route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.resolved.owners {
		if a != nil {
			a.routes = 0
		}
	}
	for i := range all {
		t.countHops(all[i].NextHops)
	}
	for _, a := range t.resolved.owners {
		if a != nil {
			t.freeUnused(a)
		}
	}
}

// shortcut sends a packet by the adjacency for a gateway, and reports whether it did: not if something about the packet or the way is
// out of the ordinary.
func (w *Worker) shortcut(od *device, gateway uint32, b *packet.Buffer) bool {
	t := &w.e.ends
	version := t.resolved.now.Load()
	number := t.tags.Load(endKey(od.index, gateway)) // the route's tag may have another owner meanwhile
	r := t.resolved.still(version).find(uint32(number))
	if r == nil {
		if r = t.resolveAdjacency(w, od, gateway); r == nil {
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

// resolveAdjacency resolves the adjacency for a gateway, if there is one, and all that it needs is known and ordinary. It keeps the
// result unless something changed meanwhile.
func (t *tunnelEnds) resolveAdjacency(w *Worker, d *device, gateway uint32) *resolved {
	if w.trace != nil || w.dry != nil {
		return nil
	}
	t.mu.Lock()
	a := t.resolved.owner(t.tags.Load(endKey(d.index, gateway)))
	if a == nil {
		t.mu.Unlock()
		return nil
	}
	changes := a.changes
	t.mu.Unlock()

	if d.ipip != nil {
		return t.resolveTunnel(w, d, a, changes, 0, gateway)
	}
	n := w.neighbour(d.index, gateway)
	if !n.Ready() {
		return nil
	}
	mac := n.MACBits()
	if d.vxlan == nil {
		return t.keepAdjacency(w, a, changes, nil, 0, &resolved{mac: mac, out: uint16(d.index), by: uint16(d.index), fits: packetLen(d.mtu)})
	}
	t.dependOnMAC(a, mac) // before the FDB is asked, which tells of changes
	vtep, ok := d.vxlan.table.Lookup(fdb.Key(mac)).VTEP4()
	if !ok {
		return nil
	}
	return t.resolveTunnel(w, d, a, changes, mac, vtep)
}

// resolveTunnel is resolveAdjacency for a tunnel: to mac behind a remote end.
func (t *tunnelEnds) resolveTunnel(w *Worker, d *device, a *adjacency, changes, mac uint64, remote uint32) *resolved {
	if t.index.Load(endKey(d.index, remote)) == 0 && !w.mayPlace() {
		return nil // what depends on the way would not be told of changes
	}
	y := t.resolve(w, variant{device: d.index, remote: remote}, true)
	defer w.giveBack(y)
	if y.own {
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
	return t.keepAdjacency(w, a, changes, y, remote, r)
}

// packetLen returns n as the length of an IPv4 packet.
func packetLen(n int) uint16 { return uint16(min(max(n, 0), math.MaxUint16)) }

// keepAdjacency stores what an adjacency is resolved to, by way of y to a remote end if it leads into a tunnel, unless something changed
// since changes was read, as for resolve: then it returns nil.
func (t *tunnelEnds) keepAdjacency(w *Worker, a *adjacency, changes uint64, y *way, remote uint32, r *resolved) *resolved {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.changes != changes || !w.isCurrent() {
		return nil
	}
	t.unresolve(a) // another worker's
	if y != nil {
		n := t.known(variant{device: a.device, remote: remote})
		if n == nil || t.ways.load(n.number) != y {
			return nil
		}
		a.end = n
		t.byEnd.add(n, &a.over)
	}
	t.resolved.store(a.number, r)
	return r
}

// unresolve makes an adjacency be resolved anew; mu is held.
func (t *tunnelEnds) unresolve(a *adjacency) {
	a.changes++
	t.resolved.store(a.number, nil)
	t.byEnd.remove(a.end, &a.over)
	a.end = nil
}

// dependOnMAC notes that an adjacency depends on the FDB entry of a MAC address, and on no other.
func (t *tunnelEnds) dependOnMAC(a *adjacency, mac uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.mac == mac || t.resolved.owner(uint64(a.number)) != a {
		return
	}
	t.byMAC.remove(a.mac, &a.behind)
	a.mac = mac
	t.byMAC.add(mac, &a.behind)
}

// fdbEntryChanged is told by the table of a VXLAN device.
func (t *tunnelEnds) fdbEntryChanged(device uint32, mac uint64) {
	if t.count.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for a := range t.byMAC.all(mac) {
		if a.device == device {
			t.unresolve(a)
		}
	}
}
