package engine

// Bursts. What a driver hands in is mostly of a few kinds: frames between stations that a bridge knows, packets to be routed to
// known neighbours, and both of these into and out of tunnels. For these the tables are asked for all packets of a burst
// together, stage by stage (resolve), which keeps many lookups under way at once where one packet's would wait for each other;
// then each packet in turn is rewritten and sent (rewrite). Whatever is out of the ordinary, and a packet's whole way if
// somebody watches it, goes through the stages of receive.go, bridge.go, forward.go and so on, which know all cases; they are
// what resolve and rewrite are held against.
//
//	frames ─┬──────────────────────▶ bridge ─┬──────────────▶ port
//	        └▶ host ─┬▶ tunnel opened ┬▲     ├▶ VTEP ────────▶ port
//	                 │                │└─────┼▶ up ─┐
//	                 └────────────────┴──────┴──────┴▶ route ─┬▶ shortcut ──▶ port
//	                                                          └▶ neighbour ─▶ port, or bridge ▶ port

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/arp"
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

const (
	burstSize = 64 // packets that are resolved together
	// maxResolves is how often what is left of a burst is resolved anew after a packet that changed tables.
	maxResolves = 4
	// needRoom is the headroom that packets must have so that nothing that is put in front of them can fail.
	needRoom = vxlan.Overhead + ethernet.HeaderLen
	maxFrame = 1<<16 - 1 // bytes
)

// verdict is how a packet ends.
type verdict uint8

const (
	undecided   verdict = iota // its stages are gone through one by one
	toPort                     // it leaves as it is
	toVTEP                     // by a VXLAN device
	toNeighbour                // routed to a neighbour
	toTunnel                   // routed by a shortcut
)

// flight is a packet of a burst, and what was found for it. Fields that the verdict does not ask for have what an earlier packet left
// there.
type flight struct {
	b       *packet.Buffer
	verdict verdict
	teaches bool   // the bridge is to learn its source
	hears   bool   // the VXLAN device is to learn its source
	at, end uint16 // where the frame is in the buffer, or the IPv4 packet that is to be routed
	total   uint16 // length of that packet
	addr    uint32 // its destination, then the next hop
	vtep    uint32 // that it came from

	tunnel *device // that it came out of, nil if of none
	host   *device // that gave it to the IP stack, nil if it is not routed
	out    *device // bridge or tunnel that it leaves by, nil if by neither
	in     *device // bridge's port that it came in by, if it is bridged
	bridge *device // of in
	to     *device // port that it leaves by

	src, dst uint64 // MAC addresses of the frame to be bridged; dst is the next hop's once it is routed
	way      *way
	resolved *resolved
}

// begin makes f a packet of which nothing is known.
func (f *flight) begin(b *packet.Buffer) {
	f.b, f.verdict, f.teaches, f.hears, f.end = b, undecided, false, false, uint16(b.Len())
	f.tunnel, f.host, f.out, f.bridge = nil, nil, nil, nil
}

// burst is the packets of a burst, and lists of those that are at the same stage.
type burst struct {
	flights [burstSize]flight
	heard   list // out of a VXLAN device that learns
	bridged list
	routed  list
	next    list // to neighbours
	remote  list // to VTEPs
	down    list // to neighbours behind a bridge
	short   list // with an adjacency

	keys    [burstSize]fdb.Key
	sources [burstSize]fdb.Key
	places  [burstSize]fdb.Place
	from    [burstSize]fdb.Place
	addrs   [burstSize]uint32
	paths   [burstSize]*route.Path
	near    [burstSize]arp.Neighbour
	words   [burstSize]uint64
	numbers [burstSize]uint64
	tags    [burstSize]uint32

	touched uint32 // sum of what was loaded for no other reason than that it is needed soon

	own     uint32 // address that was last found to be the node's, or not
	isLocal bool
}

// list is flights by number, each with a device whose table is to be asked.
type list struct {
	n     int
	first *device
	mixed bool // the devices are not all the same
	of    [burstSize]uint8
}

func (l *list) add(i int, d *device) {
	if l.n == 0 {
		l.first, l.mixed = d, false
	} else if d != l.first {
		l.mixed = true
	}
	l.of[l.n&(burstSize-1)] = uint8(i)
	l.n++
}

// take removes the flights that have the device of the first one, and returns both; device tells which one a flight has.
func (l *list) take(x *burst, device func(f *flight) *device) (*device, []uint8) {
	d, n := l.first, l.n
	if !l.mixed {
		l.n = 0
		return d, l.of[:n]
	}
	same, others := list{}, list{}
	for _, i := range l.of[:n] {
		if at := device(&x.flights[i]); at == d {
			same.add(int(i), at)
		} else {
			others.add(int(i), at)
		}
	}
	*l = others
	copy(l.of[others.n:], same.of[:same.n]) // behind its end, where nobody adds before the caller is done
	return d, l.of[others.n:n]
}

func tunnelOf(f *flight) *device { return f.tunnel }
func inOf(f *flight) *device     { return f.in }
func outOf(f *flight) *device    { return f.out }

// plain reports whether frames that a port receives may go the short way: nobody watches.
func (w *Worker) plain(d *device) bool {
	return d != nil && d.kind == KindPort && d.running && d.tap == nil && !d.raw && w.dry == nil && len(w.st.traces) == 0
}

// burst takes what a port has received.
func (w *Worker) burst(d *device, batch []*packet.Buffer) {
	for len(batch) > 0 {
		n := min(len(batch), burstSize)
		w.fly(d, batch[:n])
		batch = batch[n:]
	}
}

// fly resolves and rewrites up to burstSize packets. After a packet that changed what others may have been resolved by, those left
// are resolved anew.
func (w *Worker) fly(d *device, batch []*packet.Buffer) {
	x := w.flights
	if x == nil {
		x = new(burst)
		w.flights = x
	}
	for range maxResolves {
		w.resolveAll(x, d, batch)
		w.changed = false
		rx := w.count(d)
		for i := 0; i < len(batch); i++ {
			b := batch[i]
			batch[i] = nil
			if f := &x.flights[i]; f.verdict == undecided || !w.rewrite(rx, f) {
				w.crossed = 0
				w.enter(d, b)
			}
			if len(w.inside) > 0 {
				w.drain()
			}
			if w.changed {
				batch = batch[i+1:]
				break
			}
		}
		if !w.changed {
			return
		}
	}
	w.oneByOne(d, batch)
}

// resolveAll finds for each packet of a burst where it goes. It reads tables and changes nothing.
func (w *Worker) resolveAll(x *burst, d *device, batch []*packet.Buffer) {
	x.heard.n, x.bridged.n, x.routed.n, x.short.n, x.next.n, x.down.n, x.remote.n = 0, 0, 0, 0, 0, 0, 0
	x.own, x.isLocal = 0, false
	if d.master != 0 {
		w.resolveFrames(x, d, batch)
	} else {
		w.resolvePackets(x, d, batch)
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
	if x.short.n > 0 {
		w.resolveShort(x)
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

// ordinary reports whether a buffer has nothing that the short way does not know of.
func ordinary(b *packet.Buffer) bool {
	return b.Len() >= ethernet.HeaderLen+ipv4.HeaderLen && b.Len() <= maxFrame && b.Headroom() >= needRoom && !b.HasVLAN() && !b.IsSuperframe()
}

// resolveFrames is the entry of a bridge's port.
func (w *Worker) resolveFrames(x *burst, d *device, batch []*packet.Buffer) {
	for i, b := range batch {
		f := &x.flights[i&(burstSize-1)]
		f.begin(b)
		if ordinary(b) {
			f.in, f.at = d, 0
			f.macs(b.Bytes())
			x.bridged.add(i, d)
		}
	}
}

// macs notes the addresses of a frame.
func (f *flight) macs(p []byte) {
	h := (*[ethernet.HeaderLen]byte)(p)
	f.dst, f.src = binary.BigEndian.Uint64(h[0:])>>16, binary.BigEndian.Uint64(h[4:])&macBroadcast
}

// resolvePackets is the entry of other ports.
func (w *Worker) resolvePackets(x *burst, d *device, batch []*packet.Buffer) {
	for i, b := range batch {
		f := &x.flights[i&(burstSize-1)]
		f.begin(b)
		if !ordinary(b) {
			continue
		}
		h := (*[ethernet.HeaderLen + ipv4.HeaderLen]byte)(b.Bytes())
		if binary.BigEndian.Uint64(h[0:])>>16 != d.mac || binary.BigEndian.Uint16(h[12:]) != ethernet.TypeIPv4 {
			continue
		}
		f.at = ethernet.HeaderLen
		if dst := binary.BigEndian.Uint32(h[ethernet.HeaderLen+16:]); w.st.own.has(dst) {
			w.resolveOpen(x, i, d, dst)
			continue
		}
		w.resolveIP(x, i, d)
	}
}

// resolveOpen takes a packet for the node itself: one that a tunnel's end opens. The decapsulator checks it when its turn comes.
func (w *Worker) resolveOpen(x *burst, i int, d *device, dst uint32) {
	const (
		ip    = ethernet.HeaderLen
		inner = ip + ipv4.HeaderLen
		frame = inner + udp.HeaderLen + vxlan.HeaderLen
	)
	f := &x.flights[i]
	if dst != x.own || !x.isLocal {
		path := w.e.routes.Lookup(dst)
		x.own, x.isLocal = dst, path != nil && path.Type() == route.Local
	}
	p := f.b.Bytes()
	src := binary.BigEndian.Uint32(p[ip+12:])
	if !x.isLocal || len(p) < inner+ipv4.HeaderLen || p[ip] != 0x45 || binary.BigEndian.Uint16(p[ip+6:])&0x3fff != 0 || isSpecial(src) ||
		w.st.own.has(src) || d.conf.RPFilter != 0 && !w.comesBack(d, src) {
		return
	}
	f.vtep = src
	switch p[ip+9] {
	case ipv4.ProtocolIPIP:
		t := w.st.ipips.between(w.st, dst, src)
		if t != nil && t.running && t.tap == nil && t.ipip.accepts(src) {
			if total := binary.BigEndian.Uint16(p[ip+2:]); int(total) <= len(p)-ip {
				f.end = ip + total
			}
			f.tunnel, f.at = t, inner
			w.resolveIP(x, i, t)
		}
	case ipv4.ProtocolUDP:
		port := binary.BigEndian.Uint16(p[inner+2:])
		if len(p) < frame+ethernet.HeaderLen+ipv4.HeaderLen || !w.st.vxlans.isPort(port) {
			return
		}
		end := inner + int(binary.BigEndian.Uint16(p[inner+4:]))
		if end > len(p) || end < frame+ethernet.HeaderLen {
			return
		}
		t := w.st.vxlans.find(w.st, port, binary.BigEndian.Uint32(p[frame-4:])>>8)
		if t == nil || !t.running || t.tap != nil || !t.accepts(src) {
			return
		}
		f.tunnel, f.at, f.end = t, frame, uint16(end)
		f.macs(p[frame:])
		if !t.vxlan.made.NoLearning {
			x.heard.add(i, t)
		}
		if t.master != 0 {
			f.in = t
			x.bridged.add(i, t)
		} else if f.dst == t.mac && binary.BigEndian.Uint16(p[frame+12:]) == ethernet.TypeIPv4 {
			f.at = frame + ethernet.HeaderLen
			w.resolveIP(x, i, t)
		}
	}
}

// resolveHeard finds out which stations a VXLAN device has to learn.
func (w *Worker) resolveHeard(x *burst, t *device, these []uint8) {
	for n, i := range these {
		x.sources[n] = fdb.Key(x.flights[i].src)
	}
	t.vxlan.table.LookupAll(x.sources[:len(these)], x.from[:])
	for n, i := range these {
		f := &x.flights[i]
		f.hears = !x.from[n].IsFrom(fdb.ToVTEP4(f.vtep), w.now) || f.src&macGroup != 0
	}
}

// resolveBridged finds the way of frames that a port of a bridge has received.
func (w *Worker) resolveBridged(x *burst, in *device, these []uint8) {
	br := w.st.device(in.master)
	if br == nil || !br.running || br.tap != nil || br.promisc || in.port.Locked || in.port.NoLearning {
		return
	}
	n := 0
	for _, i := range these {
		f := &x.flights[i]
		if (f.src|f.dst)&macGroup != 0 || f.src == 0 || f.dst == 0 || f.src == br.mac || f.src == f.dst {
			continue
		}
		these[n], x.sources[n], x.keys[n] = i, fdb.Key(f.src), fdb.Key(f.dst)
		n++
	}
	table, from := br.bridge.table, fdb.ToPort(in.index)
	table.LookupAll(x.sources[:n], x.from[:])
	table.LookupAll(x.keys[:n], x.places[:])
	for n, i := range these[:n] {
		f := &x.flights[i]
		f.bridge, f.teaches = br, !x.from[n].IsFrom(from, w.now)
		if f.dst == br.mac {
			w.resolveUp(x, int(i), br)
			continue
		}
		port, ok := x.places[n].Port()
		if !ok || x.places[n].IsLocal() {
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
	f := &x.flights[i]
	if binary.BigEndian.Uint16(f.b.Bytes()[f.at+12:]) != ethernet.TypeIPv4 {
		return
	}
	f.at += ethernet.HeaderLen
	w.resolveIP(x, i, br)
}

// resolveIP takes a packet that a device gives to the IP stack, if it is to be forwarded.
func (w *Worker) resolveIP(x *burst, i int, host *device) {
	f := &x.flights[i]
	p := f.b.Bytes()[f.at:f.end]
	if len(p) < ipv4.HeaderLen {
		return
	}
	h := (*[ipv4.HeaderLen]byte)(p)
	w0, w1, dst := binary.BigEndian.Uint64(h[0:]), binary.BigEndian.Uint64(h[8:]), binary.BigEndian.Uint32(h[16:])
	src, total := uint32(w1), int(uint16(w0>>32))
	if w0>>56 != 0x45 || total < ipv4.HeaderLen || total > len(p) || !checksum.OK20(w0, w1, dst) || w1>>56 <= 1 ||
		isSpecial(src) || isSpecial(dst) || w.st.own.has(src) || !host.conf.Forwarding ||
		host.conf.RPFilter != 0 && !w.comesBack(host, src) {
		return
	}
	f.host, f.total, f.addr = host, uint16(total), dst
	x.addrs[x.routed.n] = dst
	x.routed.add(i, host)
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
		f, path := &x.flights[i], x.paths[n]
		if path == nil || path.Type() != route.Unicast {
			continue
		}
		hop, ok := path.Only()
		if !ok {
			if f.tunnel != nil || f.host.raw {
				continue // where the flow's hash is that of what is inside
			}
			hop = path.Hop(w.hashAt(f)).Next()
		}
		out := w.st.device(hop.Device)
		if out == nil || !out.running || out.tap != nil || out == f.host && out.conf.SendRedirects {
			continue
		}
		mtu := int(path.MTU())
		if mtu == 0 {
			mtu = out.mtu
		}
		if int(f.total) > mtu {
			continue
		}
		if hop.Gateway != 0 {
			f.addr = hop.Gateway
		}
		f.out = out
		switch {
		case hop.Tag != 0 && (out.vxlan != nil || out.ipip != nil || out.sends() || out.bridge != nil):
			x.tags[x.short.n] = hop.Tag
			x.short.add(int(i), out)
		case out.kind == KindPort && !out.noARP, out.kind == KindBridge:
			x.next.add(int(i), out)
		}
	}
}

// hashAt returns the flow hash of the packet that is to be routed.
func (w *Worker) hashAt(f *flight) uint32 {
	if f.b.Hash() == 0 {
		f.b.SetHash(w.e.hasher.IPv4(f.b.Bytes()[f.at:]))
	}
	return f.b.Hash()
}

// resolveNext asks for neighbours on a device.
func (w *Worker) resolveNext(x *burst, out *device, these []uint8) {
	for n, i := range these {
		x.addrs[n] = x.flights[i].addr
	}
	w.e.neighs.LookupAll(out.index, x.addrs[:len(these)], x.near[:])
	for n, i := range these {
		if x.near[n].Ready() {
			w.resolveLink(x, int(i), out, x.near[n].MACBits())
		}
	}
}

// resolveDown finds the ports of a bridge that neighbours of its own are behind.
func (w *Worker) resolveDown(x *burst, br *device, these []uint8) {
	for n, i := range these {
		x.keys[n] = fdb.Key(x.flights[i].dst)
	}
	br.bridge.table.LookupAll(x.keys[:len(these)], x.places[:])
	for n, i := range these {
		port, ok := x.places[n].Port()
		if !ok || x.places[n].IsLocal() || br.promisc {
			continue
		}
		f := &x.flights[i]
		if to := w.st.device(port); to != nil && to.kind == KindPort && to.master == br.index && to.running && to.tap == nil &&
			int(f.total) <= to.mtu+ethernet.TagLen {
			f.to, f.verdict = to, toNeighbour
		}
	}
}

// resolveRemote finds the VTEPs that stations are behind, and the ways to them.
func (w *Worker) resolveRemote(x *burst, out *device, these []uint8) {
	for n, i := range these {
		x.keys[n] = fdb.Key(x.flights[i].dst)
	}
	out.vxlan.table.LookupAll(x.keys[:len(these)], x.places[:])
	n := 0
	for k, i := range these {
		vtep, ok := x.places[k].VTEP4()
		if !ok || out.vxlan.made.Proxy {
			continue
		}
		these[n], x.words[n] = i, endKey(out.index, vtep)
		n++
	}
	t := &w.e.ends
	wordmap.LoadAll(t.index, x.words[:n], x.numbers[:])
	for n, i := range these[:n] {
		f := &x.flights[i]
		if f.way = nil; x.numbers[n] != 0 {
			f.way = t.way(x.numbers[n])
		}
	}
	for _, i := range these[:n] {
		f := &x.flights[i]
		y := f.way
		if y == nil || y.why != 0 || y.path != nil || y.local || !y.whole || w.now >= y.expires ||
			int(f.end-f.at)+vxlan.OverheadIP > y.mtu {
			continue
		}
		if f.to = w.st.device(y.out); f.to.sends() {
			f.verdict = toVTEP
		}
	}
}

// sends reports whether frames may leave by a device without more ado; d may be nil.
func (d *device) sends() bool { return d != nil && d.kind == KindPort && d.running && d.tap == nil }

// resolveShort finds what shortcuts lead to.
func (w *Worker) resolveShort(x *burst) {
	these := x.short.of[:x.short.n]
	chunks := *w.e.ends.resolved.Load()
	for n, i := range these {
		x.flights[i].resolved = chunks.find(x.tags[n])
	}
	for _, i := range these {
		if r := x.flights[i].resolved; r != nil && r.vxlan != nil {
			x.touched += uint32(r.vxlan.last)
		}
	}
	for _, i := range these {
		f := &x.flights[i]
		r := f.resolved
		if r == nil || f.total > r.fits {
			continue
		}
		if r.kind == onLink {
			w.resolveLink(x, int(i), f.out, r.mac)
			continue
		}
		if f.to = w.st.device(r.out); f.to.sends() && !(f.hears && r.mac == f.src) {
			f.verdict = toTunnel
		}
	}
}

// resolveLink sends a packet to a neighbour on an Ethernet device.
func (w *Worker) resolveLink(x *burst, i int, out *device, mac uint64) {
	f := &x.flights[i]
	f.dst = mac
	if out.bridge == nil {
		f.to, f.out, f.verdict = out, nil, toNeighbour
	} else if mac != 0 && mac != out.mac && mac&macGroup == 0 && !(f.teaches && mac == f.src) {
		x.down.add(i, out)
	}
}

// rewrite does with a packet what was found for it; rx counts what the port receives. It reports false, and has changed nothing, if
// that cannot be.
func (w *Worker) rewrite(rx *LinkStats, f *flight) bool {
	b := f.b
	bytes := uint64(b.Len())
	if f.tunnel != nil && w.open(f) != nil {
		return false
	}
	rx.RxPackets++
	rx.RxBytes += bytes
	if f.tunnel != nil && !w.opened(f) {
		return true
	}
	if f.teaches && w.learn(f.bridge, f.src, f.in) == fdb.Own {
		w.dropRx(f.in, b, DropSourceMAC)
		return true
	}
	if f.host != nil {
		w.routed(f)
	}
	switch f.verdict {
	case toVTEP:
		if err := f.way.vxlan.Encapsulate(b, w.nextID()); err != nil {
			w.tunnelFault(f.out, b, encapReason(err))
			return true
		}
		w.tunnelled(f.out, uint64(b.Len()-vxlan.Overhead-ethernet.HeaderLen))
	case toTunnel:
		if err := w.enclose(f); err != nil {
			w.tunnelFault(f.out, b, encapReason(err))
			return true
		}
		w.tunnelled(f.out, uint64(f.total))
	}
	w.send(f.to, b)
	return true
}

// open takes a packet out of its tunnel. On error it is as it was.
func (w *Worker) open(f *flight) (err error) {
	_ = f.b.TrimFront(ethernet.HeaderLen) // resolvePackets found it
	if f.tunnel.vxlan != nil {
		_, err = f.tunnel.vxlan.decap.Decapsulate(f.b)
	} else {
		_, err = w.e.ipips.Decapsulate(f.b)
	}
	if err != nil {
		_, _ = f.b.Prepend(ethernet.HeaderLen)
	}
	return err
}

// opened counts what came out of a tunnel, and learns from it. It reports whether the packet goes on.
func (w *Worker) opened(f *flight) bool {
	w.total.Counters[IPInReceives]++
	w.total.Counters[IPInDelivers]++
	n := w.count(f.tunnel)
	n.RxPackets++
	n.RxBytes += uint64(f.b.Len() - f.tunnel.uncounted)
	return !f.hears || w.vxlanLearn(f.tunnel, f.b, f.vtep)
}

// routed does what the IP stack does with a packet that it forwards: what is left has the Ethernet header that it leaves with, or
// none if it is for a tunnel that carries none.
func (w *Worker) routed(f *flight) {
	b := f.b
	if f.host == f.bridge {
		n := w.count(f.host)
		n.RxPackets++
		n.RxBytes += uint64(b.Len() - f.host.uncounted)
	}
	w.total.Counters[IPInReceives]++
	w.total.Counters[IPForwDatagrams]++
	if f.host.raw {
		_, _ = b.Prepend(ethernet.HeaderLen) // where the outer header was
	}
	if n := int(f.total) + ethernet.HeaderLen; n != b.Len() {
		_ = b.Truncate(n) // Ethernet's padding
	}
	h := (*[ethernet.HeaderLen + ipv4.HeaderLen]byte)(b.Bytes())
	decrementTTL((*[ipv4.HeaderLen]byte)(h[ethernet.HeaderLen:]))
	if f.verdict != toNeighbour {
		return
	}
	from := f.to
	if f.out != nil {
		from = f.out
		n := w.count(from)
		n.TxPackets++
		n.TxBytes += uint64(f.total) + ethernet.HeaderLen
	}
	putEthernet((*[ethernet.HeaderLen]byte)(h[:]), f.dst, from.mac)
}

// enclose puts a routed packet into the tunnel of its shortcut.
func (w *Worker) enclose(f *flight) error {
	r := f.resolved
	if r.kind == byIPIP {
		_ = f.b.TrimFront(ethernet.HeaderLen)
		return r.ipip.encap.Encapsulate(f.b, w.nextID())
	}
	putEthernet((*[ethernet.HeaderLen]byte)(f.b.Bytes()), r.mac, f.out.mac)
	return r.vxlan.encap.Encapsulate(f.b, w.nextID())
}

// tunnelled counts a packet that a tunnel has sent.
func (w *Worker) tunnelled(d *device, bytes uint64) {
	n := w.count(d)
	n.TxPackets++
	n.TxBytes += bytes
	w.total.Counters[IPOutRequests]++
}
