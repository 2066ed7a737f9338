package engine

// Tunnel ends, resolved in advance: for each remote end of a tunnel that packets have gone to, the outer headers as ready bytes,
// the device that they leave by, and what may be sent. Packets look the way up and do not ask routes and neighbours again; a
// change of one of these makes those ways be found anew that depend on it, and no others.
//
// There is room for Config.MaxAdjacencies ends. When it is taken, an end that packets come for takes the place of another, chosen at
// random: that asks nothing of the packets on the usual way, not even to leave a mark, and nobody who keeps ends of his own fresh, with
// addresses of VTEPs that he made up, keeps others out. Those that packets often go to are mostly there: one is put out at the same
// rate as all others, and is back the sooner the more packets ask for it. That holds as well if only some of the packets get it a
// place, so places change hands at a limited rate, see turns. The others, which may go to another end each, use a way of the worker's own
// for the moment, and nothing is allocated for them.

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
	count atomic.Int64 // of ends and adjacencies
	index *wordmap.Map // device and remote address → number; written with mu held
	ways  slots[end, way]
	full  atomic.Bool
	turns turns // to get the place of another: 65,536 change hands in ten seconds, for a few megabytes a second

	mu          sync.Mutex
	variants    map[variant]*end // those that are not in the index
	live        []*end
	byDevice    sets[uint32, *end]
	byRemote    sets[uint32, *end] // by the upper 24 bits of the remote address
	byNeighbour sets[uint64, *end] // by device and next hop in the underlay

	// See shortcut.go.
	tags       *wordmap.Map // device and gateway → number; written with mu held
	resolved   slots[adjacency, resolved]
	handed     []*adjacency             // to a control call, for routes that it is about to make
	adjacentTo sets[uint64, *adjacency] // by neighbour
	byMAC      sets[uint64, *adjacency] // by MAC address of the far VTEP
	byEnd      sets[*end, *adjacency]
}

// end is one remote end of one tunnel device. All but the first two fields are guarded by tunnelEnds.mu.
type end struct {
	variant variant
	number  uint32

	at      int    // in tunnelEnds.live
	changes uint64 // how often what the way depends on has changed
	depends []*dependency
	device  member[*end]
	remote  member[*end]
}

// dependency is that of an end on a neighbour.
type dependency struct {
	key    uint64
	member member[*end]
}

// variant names an end, with what an FDB entry may say in place of the device's own.
type variant struct {
	device, remote uint32
	vni            uint32
	port           uint16
	via            uint32
}

// way is how to get to a remote end. It does not change, but for those that are the worker's own.
type way struct {
	why     Reason // there is none; 0: there is
	out     uint32 // device that outer packets leave by
	next    uint32 // next hop on it
	src     uint32
	mtu     int           // of outer packets
	expires time.Duration // when mtu, a path's, is no longer right
	local   bool          // the remote end is the node itself
	whole   bool          // the outer headers include an Ethernet header: the frame is sent as it is; not if local, nor if there is a path
	own     bool          // it is the worker's, see giveBack

	vxlan vxlan.Encapsulator
	ipip  ipip.Encapsulator
	vni   uint32
	port  uint16 // UDP destination

	path  *route.Path // of several next hops
	among []way

	_ [7]uint64 // to 256 bytes, so that the allocator puts it where what packets need of it is in two cache lines
}

func (t *tunnelEnds) init(e *Engine) {
	t.e, t.index, t.tags = e, wordmap.New(0), wordmap.New(0)
	t.ways.init()
	t.resolved.init()
	t.variants = map[variant]*end{}
	t.byDevice, t.byRemote, t.byNeighbour = sets[uint32, *end]{}, sets[uint32, *end]{}, sets[uint64, *end]{}
	t.adjacentTo, t.byMAC, t.byEnd = sets[uint64, *adjacency]{}, sets[uint64, *adjacency]{}, sets[*end, *adjacency]{}
}

func endKey(device, addr uint32) uint64 { return uint64(device)<<32 | uint64(addr) }

// to returns the way to a remote end, which is to be given back.
func (w *Worker) to(d *device, remote uint32) *way {
	t := &w.e.ends
	version := t.ways.now.Load()
	number := t.index.Load(endKey(d.index, remote))
	if y := t.ways.still(version).find(uint32(number)); y != nil && w.now < y.expires {
		return y
	}
	return t.resolve(w, variant{device: d.index, remote: remote}, number != 0)
}

// toVariant is to for an FDB entry with a VNI, port or device of its own.
func (w *Worker) toVariant(v variant) *way {
	t := &w.e.ends
	t.mu.Lock()
	n, y := t.variants[v], (*way)(nil)
	if n != nil {
		y = t.ways.load(n.number)
	}
	t.mu.Unlock()
	if y != nil && w.now < y.expires {
		return y
	}
	return t.resolve(w, v, n != nil)
}

// spareWay returns a way of the worker's own, of which each packet that it is putting into a tunnel may have one.
func (w *Worker) spareWay() *way {
	if last := len(w.spareWays) - 1; last >= 0 {
		y := w.spareWays[last]
		w.spareWays = w.spareWays[:last]
		return y
	}
	return &way{own: true}
}

// giveBack takes back what to or toVariant has returned.
func (w *Worker) giveBack(y *way) {
	if y.own {
		y.path = nil // so that it goes when its routes do
		w.spareWays = append(w.spareWays, y)
	}
}

// resolve finds the way to an end, known or not, and keeps it unless there is no room, something changed meanwhile, or the worker does
// not know of a change of devices yet.
func (t *tunnelEnds) resolve(w *Worker, v variant, known bool) *way {
	var n *end
	var changes uint64
	if w.dry == nil && (known || w.mayPlace()) {
		var y *way
		if n, y, changes = t.begin(w, v); y != nil {
			return y
		}
	}
	found := w.spareWay()
	w.findWay(found, v, n)
	if n == nil {
		return found
	}
	y := t.keep(w, n, changes, found)
	if y == nil {
		return found
	}
	w.giveBack(found)
	return y
}

// mayPlace reports whether a new end may get a place for the packet in hand.
func (w *Worker) mayPlace() bool {
	t := &w.e.ends
	if !t.full.Load() {
		return true
	}
	w.drawn = mix(w.drawn)
	return t.turns.asks(w.drawn, w.now)
}

// begin begins to find the way to an end: it returns the end and how often it has changed. It returns the way instead if another
// worker was faster, and nothing if there is no place for the end.
func (t *tunnelEnds) begin(w *Worker, v variant) (n *end, y *way, changes uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n = t.known(v); n == nil {
		if n = t.add(w, v); n == nil {
			return nil, nil, 0
		}
	}
	if y := t.ways.load(n.number); y != nil && w.now < y.expires {
		return nil, y, 0
	}
	t.forget(n) // what it depended on, too
	return n, nil, n.changes
}

// known returns an end that has a place, nil if it has none; mu is held.
func (t *tunnelEnds) known(v variant) *end {
	if v.plain() {
		return t.ways.owner(t.index.Load(endKey(v.device, v.remote)))
	}
	return t.variants[v]
}

// add gives an end a place, another's if need be and if it is time; mu is held. It returns nil if there is none.
func (t *tunnelEnds) add(w *Worker, v variant) *end {
	if !w.isCurrent() { // its device may be gone
		return nil
	}
	if len(t.live) >= t.e.config.MaxAdjacencies {
		if !t.turns.take(w.drawn, w.now) {
			return nil
		}
		t.drop(t.live[(w.drawn>>32)%uint64(len(t.live))]) // by other bits than those that let it ask
	}
	n := &end{variant: v, at: len(t.live)}
	n.number = t.ways.take(n)
	if v.plain() {
		t.index.Store(endKey(v.device, v.remote), uint64(n.number))
	} else {
		t.variants[v] = n
	}
	n.device.of, n.remote.of = n, n
	t.byDevice.add(v.device, &n.device)
	t.byRemote.add(v.remote>>8, &n.remote)
	t.live = append(t.live, n)
	t.full.Store(len(t.live) >= t.e.config.MaxAdjacencies)
	t.count.Add(1)
	return n
}

// drop takes an end's place from it; mu is held.
func (t *tunnelEnds) drop(n *end) {
	t.forget(n)
	v := n.variant
	if v.plain() {
		t.index.Delete(endKey(v.device, v.remote))
	} else {
		delete(t.variants, v)
	}
	t.byDevice.remove(v.device, &n.device)
	t.byRemote.remove(v.remote>>8, &n.remote)
	last := len(t.live) - 1
	t.live[n.at] = t.live[last]
	t.live[n.at].at = n.at
	t.live[last] = nil
	t.live = t.live[:last]
	t.ways.leave(n.number)
	t.full.Store(false)
	t.count.Add(-1)
}

// deviceGone drops the ends of a device.
func (t *tunnelEnds) deviceGone(device uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range t.byDevice.all(device) {
		t.drop(n)
	}
}

// keep keeps the way that was found to an end, and returns it as it is kept; nil if it may be wrong.
func (t *tunnelEnds) keep(w *Worker, n *end, changes uint64, found *way) *way {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.changes != changes || !w.isCurrent() {
		return nil
	}
	y := new(way)
	*y = *found
	y.own, y.among = false, slices.Clone(found.among)
	t.ways.store(n.number, y)
	return y
}

// isCurrent reports whether the state that the worker goes by is the engine's. With tunnelEnds.mu held, what was resolved by it may
// be kept if so: publishState forgets it afterwards.
func (w *Worker) isCurrent() bool { return w.st == w.e.state.Load() }

// dependOn notes that the way which is being found to an end depends on a neighbour, before the neighbour is looked up.
func (t *tunnelEnds) dependOn(n *end, device, addr uint32) {
	key := endKey(device, addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ways.owner(uint64(n.number)) != n || slices.ContainsFunc(n.depends, func(d *dependency) bool { return d.key == key }) {
		return
	}
	d := &dependency{key: key, member: member[*end]{of: n}}
	n.depends = append(n.depends, d)
	t.byNeighbour.add(key, &d.member)
}

// forget makes the way to an end be found anew; mu is held.
func (t *tunnelEnds) forget(n *end) {
	n.changes++
	t.ways.store(n.number, nil)
	for _, d := range n.depends {
		t.byNeighbour.remove(d.key, &d.member)
	}
	n.depends = nil
	for a := range t.byEnd.all(n) {
		t.unresolve(a)
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
	for n := range t.byNeighbour.all(key) {
		t.forget(n)
	}
	for a := range t.adjacentTo.all(key) {
		t.unresolve(a)
	}
}

// routeChanged is told by the routing table.
func (t *tunnelEnds) routeChanged(c route.Change) {
	if t.count.Load() == 0 {
		return
	}
	t.routed(&c)
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
		for n := range t.byRemote.all(number(p.Addr()) >> 8) {
			t.forgetIn(p, n)
		}
		return
	}
	for _, n := range t.live {
		t.forgetIn(p, n)
	}
}

func (t *tunnelEnds) forgetIn(p netip.Prefix, n *end) {
	if p.Contains(AddrOf(n.variant.remote)) {
		t.forget(n)
	}
}

// forgetAll makes all ways be found anew, as when devices have changed. How many there are does not matter.
func (t *tunnelEnds) forgetAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ways.empty()
	t.resolved.empty()
}

// findWay finds the way to an end: the route to it, the source, the device, and the neighbour's MAC address if that is known. n is the
// end if the way is to be kept, nil if not.
func (w *Worker) findWay(y *way, v variant, n *end) {
	*y = way{own: y.own, among: y.among[:0], expires: Never}
	d := w.st.device(v.device)
	if d == nil {
		y.why = DropDeviceGone
		return
	}
	under := v.via
	if under == 0 {
		under = d.under()
	}
	path, hop, err := w.st.route(w.e, v.remote, under, 0)
	if err != nil {
		y.why = DropTunnelRoute
		return
	}
	if path == nil || len(path.NextHops()) < 2 {
		w.findWayBy(y, v, n, d, path, hop)
		return
	}
	y.path = path
	for i, hop := range path.NextHops() {
		y.among = append(y.among, way{expires: Never})
		w.findWayBy(&y.among[i], v, n, d, path, hop)
		y.expires = min(y.expires, y.among[i].expires)
	}
}

// under returns the underlay device that a tunnel is bound to, 0 for none.
func (d *device) under() uint32 {
	if d.vxlan != nil {
		return d.vxlan.under
	}
	return d.ipip.under
}

// findWayBy finds the way by one next hop.
func (w *Worker) findWayBy(y *way, v variant, n *end, d *device, path *route.Path, hop route.NextHop) {
	y.out, y.next = hop.Device, nextHop(&hop, v.remote)
	if path != nil && path.Type() == route.Local {
		y.local, y.out = true, loopback
	}
	od := w.st.device(y.out)
	switch od {
	case nil:
		y.why = DropTunnelRoute
		return
	case d:
		y.why = DropTunnelLoop
		return
	}
	if y.src = d.localAddr(); y.src == 0 {
		y.src = w.st.sourceOf(path, hop, od, v.remote)
	}
	if y.src == 0 {
		y.why = DropTunnelRoute
		return
	}
	w.setMTU(y, path, od, v.remote)
	dst, whole := w.linkAddr(n, od, y.next)
	y.whole = whole && !y.local
	if err := y.encapsulator(w.e, d, v, od.hw, dst); err != nil {
		y.why = DropTunnelRoute
	}
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
	if n != nil {
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
			return &y.among[i]
		}
	}
	return &y.among[0]
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
