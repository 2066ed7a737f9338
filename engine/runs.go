package engine

// Runs: packets of one kind that follow each other in a burst, as most do. Where resolve.go finds out for each packet what kind it
// is, and makes lists of those that are at the same stage, a run needs neither: it is cut off in front of the first packet that
// differs, and its packets go through the same few loops. The last one rewrites them in order, so nothing has to be kept for each
// in between. What is behind the run goes the way of the others.
//
//	frames ──┬─▶ bridge ─┬▶ port
//	         │           ├▶ VTEP
//	VXLAN  ──┤           └▶ up ─┐
//	         └────────────┐     │
//	packets ──────────────┴─────┴▶ route ─┬▶ adjacency
//	IPIP  ────────────────┘               └▶ neighbour behind a bridge

import (
	"encoding/binary"
	"time"

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

// leastRun is how many packets a run has at least: to begin one costs as much as a packet or two.
const leastRun = 8

// run is packets of one kind, and what they have in common.
type run struct {
	batch  []*packet.Buffer
	port   *device // that received them
	tunnel *device // that they came out of, nil if none
	in     *device // bridge's port that they are received by: one of the two
	up     *device // bridge that hands them to the IP stack, nil if none does
	own    uint32  // the node's address that they were sent to, if they were tunnelled
	start  int     // where in what was received the frame to be forwarded is; of a packet in IPIP, with room for an Ethernet header
}

// run lets packets from the front of a burst go their way, as long as they are of one kind, and returns how many.
func (w *Worker) run(x *burst, d *device, batch []*packet.Buffer) int {
	if len(batch) < leastRun || batch[0].Len() < len(headers{}) {
		return 0
	}
	w.changed = false
	r := run{batch: batch, port: d, in: d}
	h := (*headers)(batch[0].Bytes())
	if d.master != 0 {
		br := w.st.device(d.master)
		if !r.learnsFor(br) {
			return 0
		}
		if dst, _ := h.macs(); dst == br.mac {
			r.up = br
			return w.runRouted(x, &r, w.headPackets(x, &r, br))
		}
		return w.runBridged(x, &r, headFrames(x, &r, br))
	}
	if r.own = h.dst(); !w.st.own.has(r.own) {
		return w.runRouted(x, &r, w.headPackets(x, &r, d))
	}
	if d.conf.RPFilter != 0 || !w.delivers(r.own) {
		return 0
	}
	switch h[ethernet.HeaderLen+9] {
	case ipv4.ProtocolIPIP:
		return w.runRouted(x, &r, w.headIPIP(x, &r))
	case ipv4.ProtocolUDP:
		return w.runOpened(x, &r, w.headVXLAN(x, &r))
	}
	return 0
}

// runOpened lets frames go their way that a VXLAN device has received.
func (w *Worker) runOpened(x *burst, r *run, n int) int {
	if n < leastRun {
		return 0
	}
	if r.tunnel.master == 0 {
		return w.runRouted(x, r, w.headInner(x, r, n))
	}
	br := w.st.device(r.tunnel.master)
	if !r.learnsFor(br) {
		return 0
	}
	return w.runBridged(x, r, headStations(x, r, br, n))
}

// The functions below are told how many packets from the front are of the run, and return how many they found to be.

// learnsFor reports whether a bridge, of whose port the run's frames come, treats them in the usual way; br may be nil.
func (r *run) learnsFor(br *device) bool {
	return br != nil && br.plain && !br.promisc && !r.in.port.Locked && !r.in.port.NoLearning
}

// headPackets takes packets to be forwarded that d hands to the IP stack, and notes where to, and from whom if d is a bridge.
func (w *Worker) headPackets(x *burst, r *run, d *device) int {
	if !d.forwards {
		return 0
	}
	const ip = ethernet.HeaderLen
	own, mac := &w.st.own, d.mac
	for i, b := range r.batch {
		p := b.Bytes()
		if len(p) < len(headers{}) || b.HasOffloads() {
			return i
		}
		h := (*headers)(p)
		w0, w1, dst := binary.BigEndian.Uint64(h[ip:]), binary.BigEndian.Uint64(h[ip+8:]), h.dst()
		src, total := uint32(w1), int(uint16(w0>>32))
		if !h.isTo(mac) || w0>>56 != 0x45 || total < ipv4.HeaderLen || total > len(p)-ip || w1>>56 <= 1 || !checksum.OK20(w0, w1, dst) ||
			isSpecial(src) || isSpecial(dst) || own.may(src) && own.has(src) || own.may(dst) && own.has(dst) {
			return i
		}
		x.addrs[i&(burstSize-1)] = dst
		if r.up != nil && !x.stations(i, h) {
			return i
		}
	}
	return len(r.batch)
}

// isTo reports whether a frame is to a MAC address and has an IPv4 packet.
func (h *headers) isTo(mac uint64) bool {
	return binary.BigEndian.Uint64(h[0:])>>16^mac|uint64(h.etherType()^ethernet.TypeIPv4) == 0
}

// fits reports whether the packet in a frame of size bytes is no longer than there is room.
func (h *headers) fits(size int) bool {
	total := int(h.total())
	return total >= ipv4.HeaderLen && total <= size-ethernet.HeaderLen
}

// total returns the length of the packet in a frame.
func (h *headers) total() uint16 { return binary.BigEndian.Uint16(h[ethernet.HeaderLen+2:]) }

// headIPIP takes packets in packets to the node itself, of one tunnel, and notes where those in them go.
func (w *Worker) headIPIP(x *burst, r *run) int {
	const (
		inner = ethernet.HeaderLen + ipv4.HeaderLen
		least = inner + ipv4.HeaderLen
	)
	r.start = inner - ethernet.HeaderLen
	own, mac, only := &w.st.own, r.port.mac, w.st.ipips.only
	for i, b := range r.batch {
		p := b.Bytes()
		if len(p) < least || b.HasOffloads() {
			return i
		}
		h := (*[least]byte)(p)
		outer := (*headers)(h[:])
		src := outer.src()
		if !outer.isTo(mac) || outer.dst() != r.own || isSpecial(src) || own.may(src) && own.has(src) {
			return i
		}
		if r.tunnel == nil || r.tunnel != only || only.ipip.remote != 0 {
			if t := w.st.ipips.between(w.st, r.own, src); t == nil || t != r.tunnel && !r.opens(t) {
				return i
			}
		}
		if _, usual := w.e.ipips.Inner(p[ethernet.HeaderLen:]); !usual {
			return i
		}
		w0, w1, dst := binary.BigEndian.Uint64(h[inner:]), binary.BigEndian.Uint64(h[inner+8:]), binary.BigEndian.Uint32(h[inner+16:])
		from := uint32(w1)
		if w1>>56 <= 1 || !checksum.OK20(w0, w1, dst) || isSpecial(from) || isSpecial(dst) || own.may(from) && own.has(from) {
			return i
		}
		x.words[i&(burstSize-1)], x.addrs[i&(burstSize-1)] = addrKey(src), dst
	}
	return len(r.batch)
}

// opens makes t the tunnel of the run, and reports whether it can be.
func (r *run) opens(t *device) bool {
	if r.tunnel != nil || !t.plain || t.ipip != nil && !t.forwards {
		return false
	}
	r.tunnel, r.in = t, t
	return true
}

// peers ends a run of packets in packets in front of the first one that the tunnel does not take.
func (x *burst) peers(r *run, n int) int {
	if r.tunnel == nil || r.tunnel.ipip == nil || r.tunnel.ipip.peers == nil {
		return n
	}
	wordmap.LoadAll(r.tunnel.ipip.peers.words, x.words[:n], x.numbers[:])
	for i, is := range x.numbers[:n] {
		if is == 0 {
			return i
		}
	}
	return n
}

// runRouted forwards packets by adjacencies, as long as they have one.
func (w *Worker) runRouted(x *burst, r *run, n int) int {
	if n = x.peers(r, n); n < leastRun {
		return 0
	}
	var l lessons
	if r.up != nil {
		r.up.bridge.table.LookupAll(x.sources[:n], x.from[:])
		l = w.lessons(x, r, n)
	}
	version := w.e.ends.resolved.now.Load() // before the routes are asked for tags
	w.e.routes.LookupAll(x.addrs[:n], x.paths[:])
	if path := x.paths[0]; path != nil && path.Tag() == 0 && r.up == nil {
		return w.runDown(x, r, path, n)
	}
	chunks := w.e.ends.resolved.still(version)
	var all [burstSize]*resolved
	for i, path := range x.paths[:n] {
		if path == nil || path.Tag() == 0 {
			n = i
			break
		}
		all[i&(burstSize-1)] = chunks.find(path.Tag())
	}
	var s sums
	var out, by exit
	done := 0
	for ; done < n && !w.interrupted(); done++ {
		to, b := all[done&(burstSize-1)], r.batch[done]
		if to == nil || !out.is(uint32(to.out)) && (!out.turn(w, uint32(to.out)) || out.d.kind != KindPort) {
			break
		}
		p := b.Bytes()
		h := (*headers)(p[r.start:])
		total := h.total()
		if total > to.fits || to.kind != onLink && !by.is(uint32(to.by)) && !by.turn(w, uint32(to.by)) {
			break
		}
		s.received += len(p)
		if l.has(done) && !w.learnFrom(x, r, &l, done, b, &s) {
			s.refused++
			continue
		}
		s.inside += r.inside(p, int(total))
		r.cut(b, int(total))
		decrementTTL((*[ipv4.HeaderLen]byte)(h[ethernet.HeaderLen:]))
		if to.kind == onLink {
			putEthernet((*[ethernet.HeaderLen]byte)(h[:]), to.mac, out.d.mac)
		} else if err := w.runInto(to, by.d, h, b); err != nil {
			w.tunnelFault(by.d, b, encapReason(err))
			continue
		} else {
			by.n.TxPackets++
			by.n.TxBytes += uint64(total) // without an Ethernet header, as Linux counts them
			w.total.Counters[IPOutRequests]++
		}
		out.n.send(w, out.d, b)
	}
	w.arrived(r, done, s)
	w.total.Counters[IPInReceives] += uint64(done - s.refused)
	w.total.Counters[IPForwDatagrams] += uint64(done - s.refused)
	return done
}

// sums are bytes of packets: as they were received, and of those for the IP stack in them.
type sums struct {
	received, inside int
	refused          int // packets that the tunnel did not take
}

// inside returns how many bytes the device has received that handed a packet of total bytes to the IP stack, without Ethernet headers,
// as Linux counts them; p is all that came in.
func (r *run) inside(p []byte, total int) int {
	if r.tunnel != nil && r.tunnel.ipip != nil {
		return total
	}
	return r.size(p) - ethernet.HeaderLen
}

// cut leaves the frame of a packet of total bytes of what came in: without tunnel headers, and Ethernet's padding.
func (r *run) cut(b *packet.Buffer, total int) {
	if r.tunnel == nil {
		_ = b.Truncate(ethernet.HeaderLen + total)
	} else {
		_ = b.Strip(r.start, r.start+ethernet.HeaderLen+total)
	}
}

// runDown forwards packets to neighbours behind a bridge: those by path, which leads to a link of it.
func (w *Worker) runDown(x *burst, r *run, path *route.Path, n int) int {
	hop, ok := path.Only()
	br := w.st.device(hop.Device)
	if !ok || hop.Gateway != 0 || path.Type() != route.Unicast || path.MTU() != 0 || br == nil || br.bridge == nil || !br.plain {
		return 0
	}
	for i, p := range x.paths[:n] {
		if p != path {
			n = i
			break
		}
	}
	w.e.neighs.LookupAll(br.index, x.addrs[:n], x.near[:])
	for i, near := range x.near[:n] {
		if !near.Ready() {
			n = i
			break
		}
		x.keys[i&(burstSize-1)] = fdb.Key(near.MACBits())
	}
	br.bridge.table.LookupAll(x.keys[:n], x.places[:])
	var s sums
	var out exit
	done, bytes := 0, 0
	for ; done < n; done++ {
		place, b := x.places[done&(burstSize-1)], r.batch[done]
		port, ok := place.Port()
		if !ok || place.IsLocal() || !out.is(port) && (!out.turn(w, port) || out.d.kind != KindPort || out.d.master != br.index) {
			break
		}
		p := b.Bytes()
		h := (*headers)(p[r.start:])
		total := int(h.total())
		if total > min(br.mtu, out.d.mtu+ethernet.TagLen) {
			break
		}
		s.received += len(p)
		s.inside += r.inside(p, total)
		bytes += total
		r.cut(b, total)
		decrementTTL((*[ipv4.HeaderLen]byte)(h[ethernet.HeaderLen:]))
		putEthernet((*[ethernet.HeaderLen]byte)(h[:]), uint64(x.keys[done&(burstSize-1)]), br.mac)
		out.n.send(w, out.d, b)
	}
	w.arrived(r, done, s)
	c := w.count(br)
	c.TxPackets += uint64(done)
	c.TxBytes += uint64(bytes + done*ethernet.HeaderLen)
	w.total.Counters[IPInReceives] += uint64(done)
	w.total.Counters[IPForwDatagrams] += uint64(done)
	return done
}

// exit is a device that packets leave by, and the worker's part of it: what follows is mostly for the same.
type exit struct {
	d *device
	n *devWork
}

func (e *exit) is(index uint32) bool { return e.d != nil && e.d.index == index }

// turn makes it another device, and reports whether packets may leave by that without more ado.
func (e *exit) turn(w *Worker, index uint32) bool {
	e.d = w.st.device(index)
	if e.d == nil || !e.d.plain {
		return false
	}
	e.n = w.work(e.d)
	return true
}

// runInto puts a routed packet, of a frame with headers h, into a tunnel.
func (w *Worker) runInto(to *resolved, by *device, h *headers, b *packet.Buffer) error {
	if to.kind == byVXLAN {
		putEthernet((*[ethernet.HeaderLen]byte)(h[:]), to.mac, by.mac)
		return to.vxlan.encap.Encapsulate(b, w.nextID())
	}
	_ = b.TrimFront(ethernet.HeaderLen)
	return to.ipip.encap.Encapsulate(b, w.nextID())
}

// arrived counts what the packets of a run were received by.
func (w *Worker) arrived(r *run, n int, s sums) {
	rx := w.work(r.port)
	rx.RxPackets += uint64(n)
	rx.RxBytes += uint64(s.received)
	clear(r.batch[:n])
	by := r.up
	if r.tunnel != nil {
		by = r.tunnel
		w.total.Counters[IPInReceives] += uint64(n)
		w.total.Counters[IPInDelivers] += uint64(n)
	}
	if by != nil {
		rx = w.work(by)
		rx.RxPackets += uint64(n - s.refused)
		rx.RxBytes += uint64(s.inside)
	}
}

// send queues a packet of a port for Output.
func (n *devWork) send(w *Worker, to *device, b *packet.Buffer) {
	if len(n.queue) == 0 {
		w.ready = append(w.ready, to.index)
	}
	n.queue = append(n.queue, b)
	n.TxPackets++
	n.TxBytes += uint64(b.Len())
}

// headFrames takes frames that a port of bridge br has received, and notes from whom and to whom.
func headFrames(x *burst, r *run, br *device) int {
	for i, b := range r.batch {
		p := b.Bytes()
		if len(p) < len(headers{}) || len(p) > maxFrame || b.HasOffloads() || !x.stations(i, (*headers)(p)) || uint64(x.keys[i&(burstSize-1)]) == br.mac {
			return i
		}
	}
	return len(r.batch)
}

// stations notes the stations that a frame is from and to. It reports false if one of them is none.
func (x *burst) stations(i int, h *headers) bool {
	dst, src := h.macs()
	x.keys[i&(burstSize-1)], x.sources[i&(burstSize-1)] = fdb.Key(dst), fdb.Key(src)
	return (src|dst)&macGroup == 0 && src != 0 && src != dst
}

// headVXLAN takes frames in VXLAN to the node itself, of one device, and notes which VTEPs they come from.
func (w *Worker) headVXLAN(x *burst, r *run) int {
	const (
		inner = ethernet.HeaderLen + ipv4.HeaderLen
		frame = ethernet.HeaderLen + vxlan.OverheadIP
		least = frame + len(headers{})
	)
	r.start = frame
	p := r.batch[0].Bytes()
	if len(p) < least {
		return 0
	}
	vni := binary.BigEndian.Uint32(p[frame-4:])
	t := w.st.vxlans.find(w.st, binary.BigEndian.Uint16(p[inner+2:]), vni>>8)
	if t == nil || !r.opens(t) {
		return 0
	}
	own, mac, d := &w.st.own, r.port.mac, t.vxlan.decap
	for i, b := range r.batch {
		p := b.Bytes()
		if len(p) < least || b.HasOffloads() {
			return i
		}
		outer := (*headers)(p)
		src := outer.src()
		if !outer.isTo(mac) || outer.dst() != r.own || isSpecial(src) || own.may(src) && own.has(src) ||
			binary.BigEndian.Uint32(p[frame-4:]) != vni {
			return i
		}
		if _, usual := d.Inner(p[ethernet.HeaderLen:]); !usual || t.vxlan.vteps != nil && !t.accepts(src) {
			return i
		}
		x.addrs[i&(burstSize-1)] = src
	}
	return len(r.batch)
}

// headStations is headFrames for what a VXLAN device has received.
func headStations(x *burst, r *run, br *device, n int) int {
	for i, b := range r.batch[:n] {
		if !x.stations(i, (*headers)(b.Bytes()[r.start:])) || uint64(x.keys[i&(burstSize-1)]) == br.mac {
			return i
		}
	}
	return n
}

// headInner takes the packets in what a VXLAN device has received and hands to the IP stack, and notes where to.
func (w *Worker) headInner(x *burst, r *run, n int) int {
	const ip = ethernet.HeaderLen
	t, own := r.tunnel, &w.st.own
	if n < leastRun || !t.forwards || !t.vxlan.made.NoLearning {
		return 0
	}
	for i, b := range r.batch[:n] {
		h := (*headers)(b.Bytes()[r.start:])
		w0, w1, dst := binary.BigEndian.Uint64(h[ip:]), binary.BigEndian.Uint64(h[ip+8:]), h.dst()
		src := uint32(w1)
		if !h.isTo(t.mac) || w0>>56 != 0x45 || !h.fits(r.size(b.Bytes())) || w1>>56 <= 1 || !checksum.OK20(w0, w1, dst) ||
			isSpecial(src) || isSpecial(dst) || own.may(src) && own.has(src) {
			return i
		}
		x.addrs[i&(burstSize-1)] = dst
	}
	return n
}

// runBridged lets frames go through a bridge, as long as they leave by devices of the same kind.
func (w *Worker) runBridged(x *burst, r *run, n int) int {
	if n < leastRun {
		return 0
	}
	br := w.st.device(r.in.master)
	br.bridge.table.LookupAll(x.sources[:n], x.from[:])
	br.bridge.table.LookupAll(x.keys[:n], x.places[:])
	if port, ok := x.places[0].Port(); ok {
		if to := w.st.device(port); to != nil && to.kind == KindVXLAN {
			return w.runRemote(x, r, to, n)
		}
	}
	return w.runPorts(x, r, n)
}

// reaches reports whether a run's frames may leave the bridge by a device; to may be nil.
func (r *run) reaches(to *device) bool {
	return to != nil && to != r.in && to.master == r.in.master && to.plain && (!to.port.Isolated || !r.in.port.Isolated)
}

// size returns the length of the frame to be forwarded in what was received, which is not IPIP.
func (r *run) size(p []byte) int {
	if r.tunnel == nil {
		return len(p)
	}
	const at = ethernet.HeaderLen + ipv4.HeaderLen + 4 // UDP length
	return int(binary.BigEndian.Uint16(p[at:])) - udp.HeaderLen - vxlan.HeaderLen
}

// lessons are what the tables are to be told of the stations that frames are from.
type lessons struct {
	hears bool   // the tunnel learns
	news  uint64 // a bit for each packet that there is something to learn from
	by    fdb.Dest
	now   fdb.Stamp
}

// has reports whether there is something to learn from packet i.
func (l *lessons) has(i int) bool { return l.news>>(i&(burstSize-1))&1 != 0 }

// interrupted reports whether something that a packet did has to be seen to before the next one: tables have changed, by which
// others were resolved, or packets are on their way inside.
func (w *Worker) interrupted() bool { return w.changed || len(w.inside) > 0 }

// lessons finds out from which packets there is something to learn.
func (w *Worker) lessons(x *burst, r *run, n int) lessons {
	l := lessons{by: fdb.ToPort(r.in.index), now: fdb.StampOf(w.now)}
	for i, place := range x.from[:n] {
		if !place.IsFrom(l.by, l.now) {
			l.news |= 1 << (i & (burstSize - 1))
		}
	}
	if r.tunnel == nil || r.tunnel.vxlan.made.NoLearning {
		return l
	}
	l.hears = true
	r.tunnel.vxlan.table.LookupAll(x.sources[:n], x.told[:])
	for i, place := range x.told[:n] {
		if !place.IsFrom(fdb.ToVTEP4(x.addrs[i&(burstSize-1)]), l.now) {
			l.news |= 1 << (i & (burstSize - 1))
		}
	}
	return l
}

// learnFrom has the tables learn from packet i, and reports whether it goes on.
func (w *Worker) learnFrom(x *burst, r *run, l *lessons, i int, b *packet.Buffer, s *sums) bool {
	i &= burstSize - 1
	if l.hears && !x.told[i].IsFrom(fdb.ToVTEP4(x.addrs[i]), l.now) && !w.vxlanLearn(r.tunnel, b, x.addrs[i]) {
		s.refused++
		s.inside -= b.Len() - ethernet.HeaderLen
		return false
	}
	if !x.from[i].IsFrom(l.by, l.now) && w.learn(w.st.device(r.in.master), uint64(x.sources[i]), r.in) == fdb.Own {
		w.dropRx(r.in, b, DropSourceMAC)
		return false
	}
	return true
}

// runPorts lets frames leave by ports of the bridge.
func (w *Worker) runPorts(x *burst, r *run, n int) int {
	var s sums
	var tx account
	var to *device
	l := w.lessons(x, r, n)
	done := 0
	for done < n && !w.interrupted() {
		place, b := x.places[done&(burstSize-1)], r.batch[done]
		port, ok := place.Port()
		if !ok || place.IsLocal() {
			break
		}
		if to == nil || to.index != port {
			if to = w.st.device(port); !r.reaches(to) || to.kind != KindPort {
				break
			}
		}
		p := b.Bytes()
		size := r.size(p)
		if size > to.mtu+ethernet.HeaderLen+ethernet.TagLen {
			break
		}
		s.received += len(p)
		s.inside += size - ethernet.HeaderLen
		if r.tunnel != nil {
			_ = b.Strip(r.start, r.start+size)
		}
		done++
		if l.has(done-1) && !w.learnFrom(x, r, &l, done-1, b, &s) {
			continue
		}
		tx.of(w, to).send(w, to, b)
	}
	w.arrived(r, done, s)
	return done
}

// runRemote lets frames leave by a VXLAN device of the bridge, to whatever VTEPs.
func (w *Worker) runRemote(x *burst, r *run, out *device, n int) int {
	if !r.reaches(out) || out.vxlan.made.Proxy {
		return 0
	}
	for i, place := range x.places[:n] {
		if port, ok := place.Port(); !ok || port != out.index || place.IsLocal() {
			n = i
			break
		}
	}
	out.vxlan.table.LookupAll(x.keys[:n], x.places[:])
	x.recent.start(&w.e.ends)
	for i, place := range x.places[:n] {
		vtep, ok := place.VTEP4()
		if !ok {
			n = i
			break
		}
		x.ways[i&(burstSize-1)] = x.recent.to(&w.e.ends, endKey(out.index, vtep))
	}
	var s sums
	var tx account
	l := w.lessons(x, r, n)
	done, sent, bytes := 0, 0, 0
	for done < n && !w.interrupted() {
		y, b := x.ways[done&(burstSize-1)], r.batch[done]
		p := b.Bytes()
		size := r.size(p)
		if !y.takes(size, w.now) || size > out.mtu+ethernet.HeaderLen+ethernet.TagLen {
			break
		}
		to := w.st.device(y.out)
		if !to.sends() {
			break
		}
		s.received += len(p)
		s.inside += size - ethernet.HeaderLen
		if r.tunnel != nil {
			_ = b.Strip(r.start, r.start+size)
		}
		done++
		if l.has(done-1) && !w.learnFrom(x, r, &l, done-1, b, &s) {
			continue
		}
		if err := y.vxlan.Encapsulate(b, w.nextID()); err != nil {
			w.tunnelFault(out, b, encapReason(err))
			continue
		}
		sent++
		bytes += size - ethernet.HeaderLen
		tx.of(w, to).send(w, to, b)
	}
	w.arrived(r, done, s)
	c := w.count(out)
	c.TxPackets += uint64(sent)
	c.TxBytes += uint64(bytes)
	w.total.Counters[IPOutRequests] += uint64(sent)
	return done
}

// takes reports whether a frame of size bytes can be sent this way; y may be nil.
func (y *way) takes(size int, now time.Duration) bool {
	return y != nil && y.why == 0 && y.whole && now < y.expires && size+vxlan.OverheadIP <= y.mtu
}
