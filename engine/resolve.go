package engine

// What the packets of a burst ask the tables, stage by stage. Nothing is changed here. A packet that some stage cannot place stays
// undecided. Where a stage asks a device's table, it does so for one device at a time.

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/internal/wordmap"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// resolveAll finds for each packet of a burst where it goes.
func (w *Worker) resolveAll(x *burst, d *device, batch []*packet.Buffer) {
	x.datagrams.n, x.packets.n, x.claimed.n, x.heard.n, x.bridged.n, x.routed.n, x.next.n, x.down.n, x.remote.n = 0, 0, 0, 0, 0, 0, 0, 0, 0
	x.batch, x.own = batch, 0
	if d.master != 0 {
		w.resolveFrames(x, d)
	} else {
		w.resolvePackets(x, d)
	}
	if x.datagrams.n > 0 {
		w.resolveVXLAN(x)
	}
	if x.packets.n > 0 {
		w.resolveIPIP(x)
	}
	for x.claimed.n > 0 {
		t, these := x.claimed.take(x, tunnelOf)
		w.resolveClaimed(x, t, these)
	}
	for x.heard.n > 0 {
		t, these := x.heard.take(x, tunnelOf)
		w.resolveHeard(x, t, these)
	}
	for x.bridged.n > 0 {
		in, these := x.bridged.take(x, tunnelOf)
		w.resolveBridged(x, in, these)
	}
	if x.routed.n > 0 {
		w.resolveRouted(x)
	}
	for x.next.n > 0 {
		out, these := x.next.take(x, outOf)
		w.resolveNext(x, out, these)
	}
	for x.down.n > 0 {
		br, these := x.down.take(x, outOf)
		w.resolveDown(x, br, these)
	}
	for x.remote.n > 0 {
		out, these := x.remote.take(x, outOf)
		w.resolveRemote(x, out, these)
	}
}

// ordinary returns the headers and the length of a frame, if it has nothing that the short way does not know of, else nil.
// Packets with too little room in front fail as they do otherwise.
func ordinary(b *packet.Buffer) (h *headers, size uint16) {
	p := b.Bytes()
	if len(p) < len(headers{}) || len(p) > maxFrame || b.HasVLAN() || b.IsSuperframe() {
		return nil, 0
	}
	return (*headers)(p), uint16(len(p))
}

// resolveFrames is the entry of a bridge's port.
func (w *Worker) resolveFrames(x *burst, d *device) {
	x.bridged.first, x.bridged.mixed = d, false
	for i, b := range x.batch {
		f := &x.flights[i&(burstSize-1)]
		f.fate = fate{}
		if h, size := ordinary(b); h != nil {
			f.frame, f.start, f.size = h, 0, size
			x.bridged.push(i)
		}
	}
}

// macs returns the addresses of a frame.
func (h *headers) macs() (dst, src uint64) {
	return binary.BigEndian.Uint64(h[0:]) >> 16, binary.BigEndian.Uint64(h[4:]) & macBroadcast
}

func (h *headers) etherType() uint16 { return binary.BigEndian.Uint16(h[2*ethernet.MACLen:]) }

// src and dst are the addresses of the packet in a frame.
func (h *headers) src() uint32 { return binary.BigEndian.Uint32(h[ethernet.HeaderLen+12:]) }
func (h *headers) dst() uint32 { return binary.BigEndian.Uint32(h[ethernet.HeaderLen+16:]) }

// resolvePackets is the entry of other ports: packets to be routed, and those that a tunnel's end of the node's own is to open.
func (w *Worker) resolvePackets(x *burst, d *device) {
	own, filters := &w.st.own, d.conf.RPFilter != 0
	for i, b := range x.batch {
		f := &x.flights[i&(burstSize-1)]
		f.fate = fate{}
		h, size := ordinary(b)
		if h == nil || binary.BigEndian.Uint64(h[0:])>>16 != d.mac || h.etherType() != ethernet.TypeIPv4 {
			continue
		}
		f.frame, f.start, f.size = h, 0, size
		src, dst := h.src(), h.dst()
		if !own.may(dst) || dst != x.own && !own.has(dst) {
			if d.forwards || w.forwards(d, src) {
				x.routed.push(i)
			}
			continue
		}
		if h[ethernet.HeaderLen] != 0x45 || isSpecial(src) || own.has(src) ||
			filters && !w.comesBack(d, src) || dst != x.own && !w.delivers(dst) {
			continue
		}
		x.own, f.vtep = dst, src
		switch h[ethernet.HeaderLen+9] {
		case ipv4.ProtocolUDP:
			x.datagrams.push(i)
		case ipv4.ProtocolIPIP:
			x.packets.push(i)
		}
	}
}

// forwards reports whether a device lets a packet from src be forwarded.
func (w *Worker) forwards(d *device, src uint32) bool {
	return d.conf.Forwarding && !d.conf.SendRedirects && w.comesBack(d, src)
}

// delivers reports whether packets to an address of the node's are routed to it.
func (w *Worker) delivers(dst uint32) bool {
	path := w.e.routes.Lookup(dst)
	return path != nil && path.Type() == route.Local
}

// resolveIPIP takes packets in packets for the node itself.
func (w *Worker) resolveIPIP(x *burst) {
	const (
		ip    = ethernet.HeaderLen
		inner = ip + ipv4.HeaderLen
		least = inner + ipv4.HeaderLen
		start = inner - ethernet.HeaderLen
	)
	for _, i := range x.packets.of[:x.packets.n] {
		f, p := &x.flights[i&(burstSize-1)], x.batch[i].Bytes()
		if len(p) < least {
			continue
		}
		h := (*[least]byte)(p)
		total, size := int(binary.BigEndian.Uint16(h[ip+2:])), int(binary.BigEndian.Uint16(h[inner+2:]))
		t := w.st.ipips.between(w.st, f.frame.dst(), f.vtep)
		if t == nil || !t.plain || total > len(p)-ip || size > total-ipv4.HeaderLen {
			continue
		}
		_, usual := w.e.ipips.Inner(p[ip:])
		f.tunnelled, f.arrives, f.odd, f.tunnel, f.frame = true, true, !usual, t, (*headers)(h[start:])
		f.start, f.size = start, uint16(size+ethernet.HeaderLen)
		x.claimed.add(int(i), t)
	}
}

// resolveClaimed checks whether an IPIP tunnel takes packets from those who sent them.
func (w *Worker) resolveClaimed(x *burst, t *device, these []uint8) {
	peers := t.ipip.peers
	if peers != nil {
		for n, i := range these {
			x.words[n&(burstSize-1)] = addrKey(x.flights[i&(burstSize-1)].vtep)
		}
		wordmap.LoadAll(peers.words, x.words[:len(these)], x.numbers[:])
	}
	for n, i := range these {
		if (peers == nil || x.numbers[n&(burstSize-1)] != 0) && (t.forwards || w.forwards(t, x.flights[i&(burstSize-1)].frame.src())) {
			x.routed.push(int(i))
		}
	}
}

// resolveVXLAN takes UDP datagrams for the node itself.
func (w *Worker) resolveVXLAN(x *burst) {
	const (
		ip    = ethernet.HeaderLen
		inner = ip + ipv4.HeaderLen
		frame = inner + udp.HeaderLen + vxlan.HeaderLen
		least = frame + len(headers{})
	)
	var t *device // of the last one
	var port uint16
	var vni uint32
	for _, i := range x.datagrams.of[:x.datagrams.n] {
		f, p := &x.flights[i&(burstSize-1)], x.batch[i].Bytes()
		if len(p) < least {
			continue
		}
		h := (*[least]byte)(p)
		end := inner + int(binary.BigEndian.Uint16(h[inner+4:]))
		if end > len(p) || end < least {
			continue
		}
		if p, v := binary.BigEndian.Uint16(h[inner+2:]), binary.BigEndian.Uint32(h[frame-4:])>>8; p != port || v != vni {
			port, vni, t = p, v, w.st.vxlans.find(w.st, p, v)
		}
		if t == nil || !t.plain || t.vxlan.vteps != nil && !t.accepts(f.vtep) {
			continue
		}
		_, usual := t.vxlan.decap.Inner(p[ip:])
		f.tunnelled, f.arrives, f.odd, f.tunnel, f.frame = true, true, !usual, t, (*headers)(h[frame:])
		f.start, f.size = frame, uint16(end-frame)
		w.resolveInner(x, int(i), t, f)
	}
}

// resolveInner takes what a VXLAN device has received.
func (w *Worker) resolveInner(x *burst, i int, t *device, f *flight) {
	dst, src := f.frame.macs()
	if !t.vxlan.made.NoLearning {
		f.src = src
		x.heard.add(i, t)
	}
	if t.master != 0 {
		x.bridged.add(i, t)
	} else if dst == t.mac && f.frame.etherType() == ethernet.TypeIPv4 && (t.forwards || w.forwards(t, f.frame.src())) {
		x.routed.push(i)
	}
}

// resolveHeard finds out which stations a VXLAN device has to learn.
func (w *Worker) resolveHeard(x *burst, t *device, these []uint8) {
	for n, i := range these {
		x.sources[n&(burstSize-1)] = fdb.Key(x.flights[i&(burstSize-1)].src)
	}
	t.vxlan.table.LookupAll(x.sources[:len(these)], x.from[:])
	now := fdb.StampOf(w.now)
	for n, i := range these {
		f := &x.flights[i&(burstSize-1)]
		f.hears = !x.from[n&(burstSize-1)].IsFrom(fdb.ToVTEP4(f.vtep), now) || f.src&macGroup != 0
	}
}

// resolveBridged finds the way of frames that a port of a bridge has received. Those from the bridge's own address are found out
// when it is to learn them.
func (w *Worker) resolveBridged(x *burst, in *device, these []uint8) {
	br := w.st.device(in.master)
	if br == nil || !br.plain || br.promisc || in.port.Locked || in.port.NoLearning {
		return
	}
	n, through := 0, 0
	for _, i := range these {
		f := &x.flights[i&(burstSize-1)]
		f.dst, f.src = f.frame.macs()
		if (f.src|f.dst)&macGroup != 0 || f.src == 0 || f.src == f.dst {
			continue
		}
		these[n], x.sources[n&(burstSize-1)] = i, fdb.Key(f.src)
		n++
		if f.dst != br.mac {
			x.keys[through&(burstSize-1)] = fdb.Key(f.dst)
			through++
		}
	}
	table, from, now := br.bridge.table, fdb.ToPort(in.index), fdb.StampOf(w.now)
	table.LookupAll(x.sources[:n], x.from[:])
	table.LookupAll(x.keys[:through], x.places[:])
	through = 0
	for n, i := range these[:n] {
		f := &x.flights[i&(burstSize-1)]
		if !x.from[n&(burstSize-1)].IsFrom(from, now) {
			f.teaches, f.arrives, f.in = true, true, in
		}
		if f.dst == br.mac {
			if f.frame.etherType() == ethernet.TypeIPv4 && (br.forwards || w.forwards(br, f.frame.src())) {
				f.up, f.bridge = true, br
				x.routed.push(int(i))
			}
			continue
		}
		place := x.places[through&(burstSize-1)]
		through++
		port, ok := place.Port()
		if !ok || place.IsLocal() {
			continue
		}
		to := w.st.device(port)
		if to == nil || to == in || to.master != br.index || !to.plain || to.port.Isolated && in.port.Isolated ||
			int(f.size) > to.mtu+ethernet.HeaderLen+ethernet.TagLen {
			continue
		}
		switch to.kind {
		case KindPort:
			f.to, f.verdict = to, toPort
		case KindVXLAN:
			f.out = to
			x.remote.add(int(i), to)
		}
	}
}

// checkHeaders takes those of the packets that are to be routed that may be forwarded, and notes where to. The others stay
// undecided.
func (w *Worker) checkHeaders(x *burst) (these []uint8) {
	const ip = ethernet.HeaderLen
	own, n := &w.st.own, 0
	for _, i := range x.routed.of[:x.routed.n] {
		f := &x.flights[i&(burstSize-1)]
		w0, w1, dst := binary.BigEndian.Uint64(f.frame[ip:]), binary.BigEndian.Uint64(f.frame[ip+8:]), f.frame.dst()
		src, total := uint32(w1), uint16(w0>>32)
		if w0>>56 != 0x45 || total < ipv4.HeaderLen || int(total) > int(f.size)-ethernet.HeaderLen || w1>>56 <= 1 ||
			!checksum.OK20(w0, w1, dst) || isSpecial(src) || isSpecial(dst) || own.may(src) && own.has(src) {
			continue
		}
		f.total = total
		x.addrs[n&(burstSize-1)], x.routed.of[n&(burstSize-1)] = dst, i
		n++
	}
	return x.routed.of[:n]
}

// resolveRouted finds the way of packets that devices give to the IP stack, if it is to forward them.
func (w *Worker) resolveRouted(x *burst) {
	these := w.checkHeaders(x)
	version := w.e.ends.resolved.now.Load() // before the routes are asked for tags
	w.e.routes.LookupAll(x.addrs[:len(these)], x.paths[:])
	chunks := w.e.ends.resolved.still(version)
	if len(chunks) > 1 {
		x.touch(chunks, len(these))
	}
	for n, i := range these {
		f, path := &x.flights[i&(burstSize-1)], x.paths[n&(burstSize-1)]
		if path == nil {
			continue
		}
		tag := path.Tag()
		if tag == 0 {
			if tag = w.resolvePath(x, n, int(i), path); tag == 0 {
				continue
			}
		}
		r := chunks.find(tag)
		if r == nil || f.total > r.fits {
			continue
		}
		f.routed, f.resolved = true, r
		to := w.st.device(uint32(r.out))
		switch {
		case to == nil:
		case r.kind == onLink && to.kind == KindPort && to.plain:
			f.to, f.out, f.dst, f.verdict = to, to, r.mac, toNeighbour
		case r.kind == onLink:
			w.resolveLink(x, int(i), to, r.mac)
		case to.kind == KindPort && to.plain:
			by := w.st.device(uint32(r.by))
			if by != nil && by.plain && (!f.hears || r.mac != f.src) {
				f.to, f.out, f.dst, f.verdict = to, by, r.mac, toTunnel
			}
		}
	}
}

// touch loads what adjacencies are resolved to, for all paths before any is asked for: where there are many, the cache does not have
// them, and they are waited for together.
func (x *burst) touch(chunks version[resolved], n int) {
	for _, path := range x.paths[:n] {
		if path != nil {
			x.touched += path.Tag()
		}
	}
	var all [burstSize]*resolved
	for k, path := range x.paths[:n] {
		if path != nil && path.Tag() != 0 {
			all[k&(burstSize-1)] = chunks.find(path.Tag())
		}
	}
	x.touchAll(all[:n])
}

func (x *burst) touchAll(all []*resolved) {
	for _, r := range all {
		if r != nil && r.vxlan != nil {
			x.touched += r.vxlan.last
		}
	}
}

// resolvePath looks at a path that is more than an adjacency. It returns the tag of one if there is one after all.
func (w *Worker) resolvePath(x *burst, n, i int, path *route.Path) (tag uint32) {
	f := &x.flights[i&(burstSize-1)]
	if path.Type() != route.Unicast || path.MTU() != 0 && uint32(f.total) > path.MTU() {
		return 0
	}
	hop, ok := path.Only()
	if !ok {
		if f.tunnelled {
			return 0 // the hash that the buffer has is not that of what is inside
		}
		hop = path.Hop(w.hashAt(f, x.batch[i])).Next()
	}
	out := w.st.device(hop.Device)
	if hop.Tag != 0 || out == nil || int(f.total) > out.mtu {
		return hop.Tag
	}
	if f.addr = hop.Gateway; f.addr == 0 {
		f.addr = x.addrs[n&(burstSize-1)]
	}
	f.routed, f.out = true, out
	x.next.add(i, out)
	return 0
}

// hashAt returns the flow hash of the packet in b that is to be routed.
func (w *Worker) hashAt(f *flight, b *packet.Buffer) uint32 {
	if b.Hash() == 0 {
		b.SetHash(w.e.hasher.IPv4(b.Bytes()[f.start+ethernet.HeaderLen:][:f.total]))
	}
	return b.Hash()
}

// resolveLink sends a packet to a neighbour on an Ethernet device.
func (w *Worker) resolveLink(x *burst, i int, out *device, mac uint64) {
	f := &x.flights[i&(burstSize-1)]
	switch {
	case out.sends():
		f.to, f.out, f.dst, f.verdict = out, out, mac, toNeighbour
	case out != nil && out.bridge != nil && (!f.teaches || mac != f.src):
		f.out, f.dst = out, mac
		x.down.add(i, out)
	}
}

// sends reports whether frames may leave by a device without more ado; d may be nil.
func (d *device) sends() bool { return d != nil && d.kind == KindPort && d.plain }

// resolveNext asks for neighbours on a device.
func (w *Worker) resolveNext(x *burst, out *device, these []uint8) {
	for n, i := range these {
		x.addrs[n&(burstSize-1)] = x.flights[i&(burstSize-1)].addr
	}
	w.e.neighs.LookupAll(out.index, x.addrs[:len(these)], x.near[:])
	for n, i := range these {
		if near := x.near[n&(burstSize-1)]; near.Ready() {
			w.resolveLink(x, int(i), out, near.MACBits())
		}
	}
}

// resolveDown finds the ports of a bridge that its own neighbours are behind.
func (w *Worker) resolveDown(x *burst, br *device, these []uint8) {
	if !br.plain {
		return
	}
	for n, i := range these {
		x.keys[n&(burstSize-1)] = fdb.Key(x.flights[i&(burstSize-1)].dst)
	}
	br.bridge.table.LookupAll(x.keys[:len(these)], x.places[:])
	for n, i := range these {
		f, place := &x.flights[i&(burstSize-1)], x.places[n&(burstSize-1)]
		port, ok := place.Port()
		if !ok || place.IsLocal() {
			continue
		}
		if to := w.st.device(port); to.sends() && to.master == br.index && int(f.total) <= min(br.mtu, to.mtu+ethernet.TagLen) {
			f.to, f.verdict = to, toStation
		}
	}
}

// resolveRemote finds the VTEPs that stations are behind, and the ways to them.
func (w *Worker) resolveRemote(x *burst, out *device, these []uint8) {
	if out.vxlan.made.Proxy {
		return
	}
	for n, i := range these {
		x.keys[n&(burstSize-1)] = fdb.Key(x.flights[i&(burstSize-1)].dst)
	}
	out.vxlan.table.LookupAll(x.keys[:len(these)], x.places[:])
	x.recent.start(&w.e.ends)
	n := 0
	for k, i := range these {
		if vtep, ok := x.places[k&(burstSize-1)].VTEP4(); ok {
			x.flights[i&(burstSize-1)].way = x.recent.to(&w.e.ends, endKey(out.index, vtep))
			these[n] = i
			n++
		}
	}
	for _, i := range these[:n] {
		f := &x.flights[i&(burstSize-1)]
		y := f.way
		if y == nil || y.why != 0 || !y.whole || w.now >= y.expires || int(f.size)+vxlan.OverheadIP > y.mtu {
			continue
		}
		if f.to = w.st.device(y.out); f.to.sends() {
			f.verdict = toVTEP
		}
	}
}

// recentWays is where the ways are kept to the remote ends that packets last went to, by the lower bits of their keys, in one version
// of the slots.
type recentWays struct {
	version *version[way]
	of      [1 << 8]struct {
		key uint64
		way *atomic.Pointer[way]
	}
}

// start forgets them if they are of another version.
func (r *recentWays) start(t *tunnelEnds) {
	if v := t.ways.now.Load(); v != r.version {
		*r = recentWays{version: v}
	}
}

// to returns the way to a remote end, nil if it is to be found.
func (r *recentWays) to(t *tunnelEnds, key uint64) *way {
	if at := &r.of[uint8(key)]; at.key == key {
		if y := at.way.Load(); y != nil {
			return y
		}
	}
	return r.look(t, key)
}

// look is to for an end that is not remembered.
func (r *recentWays) look(t *tunnelEnds, key uint64) *way {
	number := t.index.Load(key)
	v := t.ways.still(r.version)
	if number == 0 || v == nil {
		return nil
	}
	at := &r.of[uint8(key)]
	at.key, at.way = key, v.slot(uint32(number))
	return at.way.Load()
}
