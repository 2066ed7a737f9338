package engine

// What the packets of a burst ask the tables, stage by stage. Nothing is changed here. A packet that some stage cannot place stays
// undecided. Where a stage asks a device's table, it does so for one device at a time.

import (
	"encoding/binary"

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
	x.claimed.n, x.heard.n, x.bridged.n, x.routed.n, x.adjacent.n, x.next.n, x.down.n, x.remote.n = 0, 0, 0, 0, 0, 0, 0, 0
	x.batch, x.own, x.isLocal = batch, 0, false
	if d.master != 0 {
		w.resolveFrames(x, d)
	} else {
		w.resolvePackets(x, d)
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
		in, these := x.bridged.take(x, inOf)
		w.resolveBridged(x, in, these)
	}
	if x.routed.n > 0 {
		w.resolveRouted(x)
	}
	if x.adjacent.n > 0 {
		w.resolveAdjacent(x)
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

// ordinary reports whether a buffer has nothing that the short way does not know of. Packets with too little room in front fail as they do otherwise.
func ordinary(b *packet.Buffer) bool {
	return uint(b.Len()-ethernet.HeaderLen-ipv4.HeaderLen) <= maxFrame-ethernet.HeaderLen-ipv4.HeaderLen && !b.HasVLAN() && !b.IsSuperframe()
}

// resolveFrames is the entry of a bridge's port.
func (w *Worker) resolveFrames(x *burst, d *device) {
	for i, b := range x.batch {
		f := &x.flights[i&(burstSize-1)]
		f.fate = fate{}
		if ordinary(b) {
			f.at, f.end, f.in = 0, uint16(b.Len()), d
			f.macs((*[ethernet.HeaderLen]byte)(b.Bytes()))
			x.bridged.add(i, d)
		}
	}
}

// macs notes the addresses of a frame.
func (f *flight) macs(h *[ethernet.HeaderLen]byte) {
	f.dst, f.src = binary.BigEndian.Uint64(h[0:])>>16, binary.BigEndian.Uint64(h[4:])&macBroadcast
}

// resolvePackets is the entry of other ports.
func (w *Worker) resolvePackets(x *burst, d *device) {
	for i, b := range x.batch {
		f := &x.flights[i&(burstSize-1)]
		f.fate = fate{}
		if !ordinary(b) {
			continue
		}
		h := (*[ethernet.HeaderLen + ipv4.HeaderLen]byte)(b.Bytes())
		if binary.BigEndian.Uint64(h[0:])>>16 != d.mac || binary.BigEndian.Uint16(h[12:]) != ethernet.TypeIPv4 {
			continue
		}
		if dst := binary.BigEndian.Uint32(h[ethernet.HeaderLen+16:]); dst == x.own || w.st.own.has(dst) {
			w.resolveOpen(x, i, d, dst)
			continue
		}
		f.at = ethernet.HeaderLen
		w.resolveIP(x, i, d, (*[ipv4.HeaderLen]byte)(h[ethernet.HeaderLen:]), b.Len()-ethernet.HeaderLen)
	}
}

// resolveOpen takes a packet for the node itself: one that a tunnel's end opens. The decapsulator checks it when its turn comes.
func (w *Worker) resolveOpen(x *burst, i int, d *device, dst uint32) {
	const (
		ip    = ethernet.HeaderLen
		inner = ip + ipv4.HeaderLen // what IPIP carries, or UDP
		least = inner + ipv4.HeaderLen
	)
	if dst != x.own || !x.isLocal {
		path := w.e.routes.Lookup(dst)
		x.own, x.isLocal = dst, path != nil && path.Type() == route.Local
	}
	p := x.batch[i].Bytes()
	if !x.isLocal || len(p) < least {
		return
	}
	h := (*[least]byte)(p)
	src := binary.BigEndian.Uint32(h[ip+12:])
	if h[ip] != 0x45 || isSpecial(src) || w.st.own.has(src) || d.conf.RPFilter != 0 && !w.comesBack(d, src) {
		return
	}
	f := &x.flights[i&(burstSize-1)]
	f.vtep = src
	switch h[ip+9] {
	case ipv4.ProtocolUDP:
		w.resolveVXLAN(x, i, p)
	case ipv4.ProtocolIPIP:
		total := int(binary.BigEndian.Uint16(h[ip+2:]))
		t := w.st.ipips.between(w.st, dst, src)
		if total < 2*ipv4.HeaderLen || total > len(p)-ip || t == nil || t.tap != nil {
			return
		}
		f.tunnelled, f.raw, f.tunnel, f.at, f.end = true, true, t, inner, uint16(ip+total)
		x.claimed.add(i, t)
	}
}

// resolveClaimed checks whether an IPIP tunnel takes packets from those who sent them.
func (w *Worker) resolveClaimed(x *burst, t *device, these []uint8) {
	if peers := t.ipip.peers; peers != nil {
		for n, i := range these {
			x.words[n&(burstSize-1)] = addrKey(x.flights[i&(burstSize-1)].vtep)
		}
		wordmap.LoadAll(peers.words, x.words[:len(these)], x.numbers[:])
	}
	for n, i := range these {
		if t.ipip.peers == nil || x.numbers[n&(burstSize-1)] != 0 {
			f := &x.flights[i&(burstSize-1)]
			p := x.batch[i].Bytes()[f.at:f.end]
			w.resolveIP(x, int(i), t, (*[ipv4.HeaderLen]byte)(p), len(p))
		}
	}
}

// resolveVXLAN takes a UDP datagram for the node itself.
func (w *Worker) resolveVXLAN(x *burst, i int, p []byte) {
	const (
		ip    = ethernet.HeaderLen
		inner = ip + ipv4.HeaderLen
		frame = inner + udp.HeaderLen + vxlan.HeaderLen
		least = frame + ethernet.HeaderLen + ipv4.HeaderLen
	)
	if len(p) < least {
		return
	}
	h := (*[least]byte)(p)
	port, end := binary.BigEndian.Uint16(h[inner+2:]), inner+int(binary.BigEndian.Uint16(h[inner+4:]))
	if end > len(p) || end < least {
		return
	}
	f := &x.flights[i&(burstSize-1)]
	t := w.st.vxlans.find(w.st, port, binary.BigEndian.Uint32(h[frame-4:])>>8)
	if t == nil || !t.running || t.tap != nil || !t.accepts(f.vtep) {
		return
	}
	f.tunnelled, f.tunnel, f.at, f.end = true, t, frame, uint16(end)
	f.macs((*[ethernet.HeaderLen]byte)(h[frame:]))
	if !t.vxlan.made.NoLearning {
		x.heard.add(i, t)
	}
	if t.master != 0 {
		f.in = t
		x.bridged.add(i, t)
		return
	}
	if f.dst == t.mac && binary.BigEndian.Uint16(h[frame+12:]) == ethernet.TypeIPv4 {
		w.resolveIP(x, i, t, (*[ipv4.HeaderLen]byte)(h[frame+ethernet.HeaderLen:]), end-frame-ethernet.HeaderLen)
	}
}

// resolveHeard finds out which stations a VXLAN device has to learn.
func (w *Worker) resolveHeard(x *burst, t *device, these []uint8) {
	for n, i := range these {
		x.sources[n&(burstSize-1)] = fdb.Key(x.flights[i&(burstSize-1)].src)
	}
	t.vxlan.table.LookupAll(x.sources[:len(these)], x.from[:])
	for n, i := range these {
		f := &x.flights[i&(burstSize-1)]
		f.hears = !x.from[n&(burstSize-1)].IsFrom(fdb.ToVTEP4(f.vtep), w.now) || f.src&macGroup != 0
	}
}

// resolveBridged finds the way of frames that a port of a bridge has received. Those from the bridge's own address are found out
// when it is to learn them.
func (w *Worker) resolveBridged(x *burst, in *device, these []uint8) {
	br := w.st.device(in.master)
	if br == nil || !br.running || br.tap != nil || br.promisc || in.port.Locked || in.port.NoLearning {
		return
	}
	n, through := 0, 0
	for _, i := range these {
		f := &x.flights[i&(burstSize-1)]
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
	table, from := br.bridge.table, fdb.ToPort(in.index)
	table.LookupAll(x.sources[:n], x.from[:])
	table.LookupAll(x.keys[:through], x.places[:])
	through = 0
	for n, i := range these[:n] {
		f := &x.flights[i&(burstSize-1)]
		f.bridged, f.bridge, f.teaches = true, br, !x.from[n&(burstSize-1)].IsFrom(from, w.now)
		if f.dst == br.mac {
			w.resolveUp(x, int(i), br)
			continue
		}
		place := x.places[through&(burstSize-1)]
		through++
		port, ok := place.Port()
		if !ok || place.IsLocal() {
			continue
		}
		to := w.st.device(port)
		if to == nil || to == in || to.master != br.index || !to.running || to.tap != nil || to.port.Isolated && in.port.Isolated ||
			int(f.end-f.at) > to.mtu+ethernet.HeaderLen+ethernet.TagLen {
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

// resolveUp takes a frame for a bridge's own address.
func (w *Worker) resolveUp(x *burst, i int, br *device) {
	f := &x.flights[i&(burstSize-1)]
	p := x.batch[i].Bytes()[f.at:f.end]
	h := (*[ethernet.HeaderLen + ipv4.HeaderLen]byte)(p) // by ordinary, or resolveVXLAN
	if binary.BigEndian.Uint16(h[12:]) != ethernet.TypeIPv4 {
		return
	}
	f.at += ethernet.HeaderLen
	f.up = true
	w.resolveIP(x, i, br, (*[ipv4.HeaderLen]byte)(h[ethernet.HeaderLen:]), len(p)-ethernet.HeaderLen)
}

// resolveIP takes a packet that a device gives to the IP stack, in a frame that has room for size bytes, if it is to be forwarded.
func (w *Worker) resolveIP(x *burst, i int, host *device, h *[ipv4.HeaderLen]byte, size int) {
	w0, w1, dst := binary.BigEndian.Uint64(h[0:]), binary.BigEndian.Uint64(h[8:]), binary.BigEndian.Uint32(h[16:])
	src, total := uint32(w1), int(uint16(w0>>32))
	if w0>>56 != 0x45 || total < ipv4.HeaderLen || total > size || !checksum.OK20(w0, w1, dst) || w1>>56 <= 1 ||
		isSpecial(src) || isSpecial(dst) || w.st.own.has(src) || !host.conf.Forwarding || host.conf.SendRedirects ||
		host.conf.RPFilter != 0 && !w.comesBack(host, src) {
		return
	}
	x.flights[i&(burstSize-1)].total = uint16(total)
	n := x.routed.n & (burstSize - 1)
	x.addrs[n], x.routed.of[n] = dst, uint8(i)
	x.routed.n++
}

// resolveRouted asks the routing table.
func (w *Worker) resolveRouted(x *burst) {
	these := x.routed.of[:x.routed.n]
	w.e.routes.LookupAll(x.addrs[:len(these)], x.paths[:])
	for _, path := range x.paths[:len(these)] {
		if path != nil {
			x.touched += path.MTU()
		}
	}
	for n, i := range these {
		f, path := &x.flights[i&(burstSize-1)], x.paths[n&(burstSize-1)]
		if path == nil || path.Type() != route.Unicast || path.MTU() != 0 && uint32(f.total) > path.MTU() {
			continue
		}
		hop, ok := path.Only()
		if !ok {
			if f.tunnelled {
				continue // the hash that the buffer has is not that of what is inside
			}
			hop = path.Hop(w.hashAt(f, x.batch[i])).Next()
		}
		f.routed = true
		if hop.Tag != 0 {
			n := x.adjacent.n & (burstSize - 1)
			x.tags[n], x.adjacent.of[n] = hop.Tag, i
			x.adjacent.n++
			continue
		}
		out := w.st.device(hop.Device)
		if out == nil || int(f.total) > out.mtu {
			continue
		}
		if f.addr = hop.Gateway; f.addr == 0 {
			f.addr = x.addrs[n&(burstSize-1)]
		}
		f.out = out
		x.next.add(int(i), out)
	}
}

// hashAt returns the flow hash of the packet in b that is to be routed.
func (w *Worker) hashAt(f *flight, b *packet.Buffer) uint32 {
	if b.Hash() == 0 {
		b.SetHash(w.e.hasher.IPv4(b.Bytes()[f.at:][:f.total]))
	}
	return b.Hash()
}

// resolveAdjacent looks at what adjacencies lead to.
func (w *Worker) resolveAdjacent(x *burst) {
	these := x.adjacent.of[:x.adjacent.n]
	chunks := *w.e.ends.resolved.Load()
	for n, i := range these {
		x.flights[i&(burstSize-1)].resolved = chunks.find(x.tags[n&(burstSize-1)])
	}
	for _, i := range these {
		if r := x.flights[i&(burstSize-1)].resolved; r != nil && r.vxlan != nil {
			x.touched += r.vxlan.last
		}
	}
	for _, i := range these {
		f := &x.flights[i&(burstSize-1)]
		r := f.resolved
		if r == nil || f.total > r.fits {
			continue
		}
		to := w.st.device(uint32(r.out))
		if r.kind == onLink {
			w.resolveLink(x, int(i), to, r.mac)
			continue
		}
		by := w.st.device(uint32(r.by))
		if to.sends() && by != nil && by.running && by.tap == nil && (!f.hears || r.mac != f.src) {
			f.to, f.out, f.dst, f.verdict = to, by, r.mac, toTunnel
		}
	}
}

// resolveLink sends a packet to a neighbour on an Ethernet device.
func (w *Worker) resolveLink(x *burst, i int, out *device, mac uint64) {
	f := &x.flights[i&(burstSize-1)]
	switch {
	case out.sends():
		f.to, f.dst, f.verdict = out, mac, toNeighbour
	case out != nil && out.bridge != nil && (!f.teaches || mac != f.src):
		f.out, f.dst = out, mac
		x.down.add(i, out)
	}
}

// sends reports whether frames may leave by a device without more ado; d may be nil.
func (d *device) sends() bool { return d != nil && d.kind == KindPort && d.running && d.tap == nil }

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
	if !br.running || br.tap != nil {
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
	n := 0
	for k, i := range these {
		if vtep, ok := x.places[k&(burstSize-1)].VTEP4(); ok {
			these[n], x.words[n&(burstSize-1)] = i, endKey(out.index, vtep)
			n++
		}
	}
	t := &w.e.ends
	wordmap.LoadAll(t.index, x.words[:n], x.numbers[:])
	for n, i := range these[:n] {
		f := &x.flights[i&(burstSize-1)]
		if f.way = nil; x.numbers[n&(burstSize-1)] != 0 {
			f.way = t.way(x.numbers[n&(burstSize-1)])
		}
	}
	for _, i := range these[:n] {
		f := &x.flights[i&(burstSize-1)]
		y := f.way
		if y == nil || y.why != 0 || !y.whole || w.now >= y.expires || int(f.end-f.at)+vxlan.OverheadIP > y.mtu {
			continue
		}
		if f.to = w.st.device(y.out); f.to.sends() {
			f.verdict = toVTEP
		}
	}
}
