package engine

// Tunnel ends, resolved in advance: for each remote end of a tunnel that packets have gone to, the outer headers as ready bytes,
// the device that they leave by, and what may be sent. Packets look the way up and do not ask routes and neighbours again; a
// change of one of these makes those ways be found anew that depend on it, and no others.

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/internal/wordmap"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/vxlan"
)

// tunnelEnds are the ends of an engine.
type tunnelEnds struct {
	e     *Engine
	index *wordmap.Map                // device and remote address → number, from 1; written with mu held
	ways  atomic.Pointer[[]*wayChunk] // by number; grows; written with mu held
	list  atomic.Pointer[[]*end]      // likewise
	count atomic.Int64

	mu          sync.Mutex
	byRemote    map[uint32][]*end // by the upper 24 bits of the remote address
	byNeighbour map[uint64][]*end // by device and next hop in the underlay
	variants    map[variant]*end

	// See shortcut.go.
	adjacencies atomic.Pointer[[]*adjacency]   // grows; written with mu held
	resolved    atomic.Pointer[resolvedChunks] // by number of the adjacency; likewise
	tags        map[uint64]uint32              // by device and gateway
	adjacentTo  map[uint64][]*adjacency        // by neighbour
	byMAC       map[uint64][]*adjacency        // by MAC address of the far VTEP
}

// A wayChunk is ways by the lower bits of their number: a packet gets from the index to its way in two steps.
type wayChunk [1 << chunkBits]atomic.Pointer[way]

const chunkBits = 10

// end is one remote end of one tunnel device.
type end struct {
	way     *atomic.Pointer[way]
	variant variant

	// Guarded by tunnelEnds.mu.
	kept     bool     // it is in the index, or in variants
	changes  uint64   // how often what the way depends on has changed
	depends  []uint64 // neighbours
	adjacent []*adjacency
}

// variant names an end, with what an FDB entry may say in place of the device's own.
type variant struct {
	device, remote uint32
	vni            uint32
	port           uint16
	via            uint32
}

// way is how to get to a remote end. It does not change.
type way struct {
	why     Reason // there is none; 0: there is
	out     uint32 // device that outer packets leave by
	next    uint32 // next hop on it
	src     uint32
	mtu     int           // of outer packets
	expires time.Duration // when mtu, a path's, is no longer right
	local   bool          // the remote end is the node itself
	whole   bool          // the outer headers include an Ethernet header: the frame is sent as it is; not if local, nor if there is a path

	vxlan vxlan.Encapsulator
	ipip  ipip.Encapsulator
	vni   uint32
	port  uint16 // UDP destination

	path  *route.Path // of several next hops
	among []*way
}

func (t *tunnelEnds) init(e *Engine) {
	t.e, t.index = e, wordmap.New(0)
	t.list.Store(&[]*end{})
	t.ways.Store(&[]*wayChunk{})
	t.adjacencies.Store(&[]*adjacency{})
	t.resolved.Store(&resolvedChunks{})
	t.tags, t.adjacentTo, t.byMAC = map[uint64]uint32{}, map[uint64][]*adjacency{}, map[uint64][]*adjacency{}
	t.byRemote, t.byNeighbour, t.variants = map[uint32][]*end{}, map[uint64][]*end{}, map[variant]*end{}
}

func endKey(device, addr uint32) uint64 { return uint64(device)<<32 | uint64(addr) }

// to returns the way to a remote end.
func (w *Worker) to(d *device, remote uint32) *way {
	t := &w.e.ends
	if i := t.index.Load(endKey(d.index, remote)); i != 0 {
		if y := t.way(i); y != nil && w.now < y.expires {
			return y
		}
		return t.resolve(w, (*t.list.Load())[i-1])
	}
	return t.first(w, variant{device: d.index, remote: remote})
}

// way returns the way to the end with a number, nil if it is to be found.
func (t *tunnelEnds) way(number uint64) *way {
	return t.slot(number).Load()
}

// slot returns where the way to the end with a number is.
func (t *tunnelEnds) slot(number uint64) *atomic.Pointer[way] {
	i := number - 1
	return &(*t.ways.Load())[i>>chunkBits][i&(1<<chunkBits-1)]
}

// toVariant is to for an FDB entry with a VNI, port or device of its own.
func (w *Worker) toVariant(v variant) *way {
	t := &w.e.ends
	t.mu.Lock()
	n := t.variants[v]
	t.mu.Unlock()
	if n == nil {
		return t.first(w, v)
	}
	if way := n.way.Load(); way != nil && w.now < way.expires {
		return way
	}
	return t.resolve(w, n)
}

// first makes an end, and finds the way to it. Without room for another the way is found for this packet alone.
func (t *tunnelEnds) first(w *Worker, v variant) *way {
	n := &end{variant: v, way: new(atomic.Pointer[way])}
	if w.dry == nil {
		n = t.add(n)
	}
	return t.resolve(w, n)
}

func (t *tunnelEnds) add(n *end) *end {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := n.variant
	list := *t.list.Load()
	plain := v == variant{device: v.device, remote: v.remote}
	if plain {
		if i := t.index.Load(endKey(v.device, v.remote)); i != 0 {
			return list[i-1] // another worker was faster
		}
	} else if old := t.variants[v]; old != nil {
		return old
	}
	if len(list)+len(t.variants) >= t.e.config.MaxAdjacencies {
		return n
	}
	n.kept = true
	if plain {
		ways := *t.ways.Load()
		if len(list)>>chunkBits == len(ways) {
			ways = append(ways, new(wayChunk)) // readers of the old header do not look behind its end
			t.ways.Store(&ways)
		}
		n.way = &ways[len(list)>>chunkBits][len(list)&(1<<chunkBits-1)]
		grown := append(list, n)
		t.list.Store(&grown)
		t.index.Store(endKey(v.device, v.remote), uint64(len(grown)))
	} else {
		t.variants[v] = n
	}
	t.byRemote[v.remote>>8] = append(t.byRemote[v.remote>>8], n)
	t.count.Add(1)
	return n
}

// resolve finds the way to an end, and keeps it unless something changed meanwhile, or the worker does not know of a change of
// devices yet.
func (t *tunnelEnds) resolve(w *Worker, n *end) *way {
	t.mu.Lock()
	changes := n.changes
	t.mu.Unlock()
	found := w.findWay(n)
	if w.dry != nil {
		return found
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.changes == changes && w.isCurrent() {
		n.way.Store(found)
		for _, a := range slices.Clone(n.adjacent) { // they could not use the way before
			a.unresolve()
		}
	}
	return found
}

// isCurrent reports whether the state that the worker goes by is the engine's. With tunnelEnds.mu held, what was resolved by it may
// be kept if so: publishState forgets it afterwards.
func (w *Worker) isCurrent() bool { return w.st == w.e.state.Load() }

// dependOn notes that an end's way depends on a neighbour, before the neighbour is looked up.
func (t *tunnelEnds) dependOn(n *end, device, addr uint32) {
	key := endKey(device, addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.kept && !slices.Contains(n.depends, key) {
		n.depends = append(n.depends, key)
		t.byNeighbour[key] = append(t.byNeighbour[key], n)
	}
}

// forget makes the way to an end be found anew; mu is held.
func (t *tunnelEnds) forget(n *end) {
	n.changes++
	n.way.Store(nil)
	for _, key := range n.depends {
		others := slices.DeleteFunc(t.byNeighbour[key], func(o *end) bool { return o == n })
		if len(others) == 0 {
			delete(t.byNeighbour, key)
		} else {
			t.byNeighbour[key] = others
		}
	}
	n.depends = n.depends[:0]
	for _, a := range slices.Clone(n.adjacent) {
		a.unresolve()
	}
}

// neighbourChanged is told by the neighbour table.
func (t *tunnelEnds) neighbourChanged(c arp.Change) {
	if t.count.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := endKey(c.Device, c.Addr)
	for _, n := range slices.Clone(t.byNeighbour[key]) {
		t.forget(n)
	}
	for _, a := range t.adjacentTo[key] {
		a.unresolve()
	}
}

// routeChanged is told by the routing table.
func (t *tunnelEnds) routeChanged(c route.Change) {
	if t.count.Load() == 0 {
		return
	}
	for _, p := range [...]netip.Prefix{c.Old.Prefix, c.New.Prefix} {
		switch {
		case p.IsValid() && p.Addr().Is4():
			t.within(p)
		case !c.Old.Prefix.IsValid() && !c.New.Prefix.IsValid():
			t.forgetAll()
			return
		}
	}
}

// remoteChanged makes the ways to a remote address be found anew.
func (t *tunnelEnds) remoteChanged(addr uint32) { t.within(netip.PrefixFrom(AddrOf(addr), 32)) }

// within makes the ways to all remote addresses of a prefix be found anew.
func (t *tunnelEnds) within(p netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.Bits() >= 24 {
		t.forgetIn(t.byRemote[number(p.Addr())>>8], p)
		return
	}
	for _, ends := range t.byRemote {
		t.forgetIn(ends, p)
	}
}

func (t *tunnelEnds) forgetIn(ends []*end, p netip.Prefix) {
	for _, n := range ends {
		if p.Contains(AddrOf(n.variant.remote)) {
			t.forget(n)
		}
	}
}

// forgetAll makes all ways be found anew, as when devices have changed.
func (t *tunnelEnds) forgetAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ends := range t.byRemote {
		for _, n := range ends {
			t.forget(n)
		}
	}
	for _, a := range *t.adjacencies.Load() {
		a.unresolve()
	}
}

// findWay finds the way to an end: the route to it, the source, the device, and the neighbour's MAC address if that is known.
func (w *Worker) findWay(n *end) *way {
	v := n.variant
	d := w.st.device(v.device)
	if d == nil {
		return &way{why: DropDeviceGone, expires: Never}
	}
	under := v.via
	if under == 0 {
		under = d.under()
	}
	path, hop, err := w.st.route(w.e, v.remote, under, 0)
	if err != nil {
		return &way{why: DropTunnelRoute, expires: Never}
	}
	if path == nil || len(path.NextHops()) < 2 {
		return w.wayBy(n, d, path, hop)
	}
	several := &way{path: path, expires: Never}
	for _, hop := range path.NextHops() {
		one := w.wayBy(n, d, path, hop)
		several.among = append(several.among, one)
		several.expires = min(several.expires, one.expires)
	}
	return several
}

// under returns the underlay device that a tunnel is bound to, 0 for none.
func (d *device) under() uint32 {
	if d.vxlan != nil {
		return d.vxlan.under
	}
	return d.ipip.under
}

// wayBy finds the way by one next hop.
func (w *Worker) wayBy(n *end, d *device, path *route.Path, hop route.NextHop) *way {
	remote := n.variant.remote
	found := &way{out: hop.Device, next: nextHop(&hop, remote), expires: Never}
	if path != nil && path.Type() == route.Local {
		found.local, found.out = true, loopback
	}
	od := w.st.device(found.out)
	switch od {
	case nil:
		found.why = DropTunnelRoute
		return found
	case d:
		found.why = DropTunnelLoop
		return found
	}
	if found.src = d.localAddr(); found.src == 0 {
		found.src = w.st.sourceOf(path, hop, od, remote)
	}
	if found.src == 0 {
		found.why = DropTunnelRoute
		return found
	}
	w.setMTU(found, path, od, remote)
	dst, whole := w.linkAddr(n, od, found.next)
	found.whole = whole && !found.local
	if err := found.encapsulator(w.e, d, n.variant, od.hw, dst); err != nil {
		found.why = DropTunnelRoute
	}
	return found
}

// localAddr returns the address that a tunnel sends from, 0 for any.
func (d *device) localAddr() uint32 {
	if d.vxlan != nil {
		return d.vxlan.local
	}
	return d.ipip.local
}

// setMTU sets how long outer packets may be.
func (w *Worker) setMTU(found *way, path *route.Path, od *device, remote uint32) {
	found.mtu = od.mtu
	if path != nil && path.MTU() != 0 {
		found.mtu = int(path.MTU())
	}
	if w.e.pmtus.Empty() {
		return
	}
	if m, until := w.e.pmtus.LookupUntil(remote, w.now); m != 0 && m < found.mtu {
		found.mtu, found.expires = m, until
	}
}

// linkAddr returns the MAC address of the next hop, and whether it is known and the device takes Ethernet frames at all.
func (w *Worker) linkAddr(n *end, od *device, next uint32) (ethernet.MAC, bool) {
	if od.noARP || od.raw {
		return ethernet.MAC{}, false
	}
	if isMulticast(next) {
		return MACOf(0x01005e000000 | uint64(next&0x7fffff)), true
	}
	if w.dry == nil {
		w.e.ends.dependOn(n, od.index, next)
	}
	nb := w.neighbour(od.index, next)
	return nb.MAC(), nb.Ready()
}

// neighbour looks a neighbour up for a way that will be used without asking again. One that is known but not ready wants to hear
// that it is used: the table starts to check it, if it has to be.
func (w *Worker) neighbour(device, addr uint32) arp.Neighbour {
	nb := w.e.neighs.Lookup(device, addr)
	if nb.Ready() || !nb.IsValid() || w.dry != nil {
		return nb
	}
	w.act(w.e.neighs.Output(device, addr, nil, 0, w.now, w.actionList()))
	return w.e.neighs.Lookup(device, addr)
}

// encapsulator prepares the outer headers.
func (y *way) encapsulator(e *Engine, d *device, v variant, src, dst ethernet.MAC) error {
	if !y.whole {
		src, dst = ethernet.MAC{}, ethernet.MAC{}
	}
	if d.ipip != nil {
		c := &d.ipip.made
		made, err := ipip.NewEncapsulator(ipip.EncapConfig{
			Src: AddrOf(y.src), Dst: AddrOf(v.remote), SrcMAC: src, DstMAC: dst, Raw: !y.whole,
			TTL: c.TTL, TOS: c.TOS, InheritTOS: c.InheritTOS, NoPMTUDisc: c.NoPMTUDisc, Profile: e.config.Profile,
		})
		if err == nil {
			y.ipip = *made
		}
		return err
	}
	c := &d.vxlan.made
	vni, port := c.VNI, d.vxlan.dstPort
	if v.vni != 0 {
		vni = v.vni
	}
	if v.port != 0 {
		port = v.port
	}
	ttl := c.TTL
	if ttl == 0 && isMulticast(v.remote) { // vxlan_xmit_one
		ttl = 1
	}
	y.vni, y.port = vni, port
	made, err := vxlan.NewEncapsulator(vxlan.EncapConfig{
		VNI: vni, Src: AddrOf(y.src), Dst: AddrOf(v.remote), SrcMAC: src, DstMAC: dst, Raw: !y.whole,
		DstPort: port, SrcPorts: c.Ports, Hasher: e.hasher, TTL: ttl, InheritTTL: c.InheritTTL, TOS: c.TOS,
		InheritTOS: c.InheritTOS, DF: c.DF, UDPChecksum: c.UDPChecksum, Profile: e.config.Profile,
	})
	if err == nil {
		y.vxlan = *made
	}
	return err
}

// by returns the way of a flow.
func (y *way) by(hash uint32) *way {
	if y.path == nil {
		return y
	}
	hop, hops := y.path.Hop(hash), y.path.NextHops()
	for i := range hops {
		if &hops[i] == hop {
			return y.among[i]
		}
	}
	return y.among[0]
}

// variantOf returns the end that an FDB entry means.
func variantOf(d *device, r fdb.Remote) variant {
	v := variant{device: d.index, remote: number(r.Addr), via: r.Via}
	if r.VNI != d.vxlan.made.VNI {
		v.vni = r.VNI
	}
	if r.Port != d.vxlan.dstPort {
		v.port = r.Port
	}
	return v
}

// plain reports whether a variant is the device's own way to the remote.
func (v variant) plain() bool { return v.vni == 0 && v.port == 0 && v.via == 0 }

// outerDF reports whether the outer packet in p must not be fragmented.
func outerDF(p []byte) bool {
	return binary.BigEndian.Uint16(p[6:])&(uint16(ipv4.DontFragment)<<13) != 0
}
