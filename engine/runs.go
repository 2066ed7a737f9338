package engine

// Runs: packets of one kind that follow each other in a burst, as most do. Where resolve.go finds out for each packet what kind it
// is, and makes lists of those that are at the same stage, a run needs neither: it is cut off in front of the first packet that
// differs, and its packets go through the same few loops. The last one rewrites them in order, so nothing has to be kept for each
// in between. What is behind the run goes the way of the others.
//
//	frames ──┬─▶ bridge ─┬▶ port                  packets ──┬─▶ route ─▶ adjacency
//	VXLAN  ──┘           └▶ VTEP                  IPIP    ──┘

import (
	"encoding/binary"
	"time"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/internal/wordmap"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
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
	own    uint32  // the node's address that they were sent to, if they were tunnelled
	start  int     // where in what was received the frame to be forwarded is; of a packet in IPIP, with room for an Ethernet header
}

// run lets packets from the front of a burst go their way, as long as they are of one kind, and returns how many.
func (w *Worker) run(x *burst, d *device, batch []*packet.Buffer) int {
	if len(batch) < leastRun || batch[0].Len() < len(headers{}) {
		return 0
	}
	r := run{batch: batch, port: d, in: d}
	if d.master != 0 {
		return w.runBridged(x, &r, w.headFrames(x, &r))
	}
	h := (*headers)(batch[0].Bytes())
	if r.own = h.dst(); !w.st.own.has(r.own) {
		return w.runRouted(x, &r, w.headPackets(x, &r))
	}
	if d.conf.RPFilter != 0 || !w.delivers(r.own) {
		return 0
	}
	switch h[ethernet.HeaderLen+9] {
	case ipv4.ProtocolIPIP:
		return w.runRouted(x, &r, w.headIPIP(x, &r))
	case ipv4.ProtocolUDP:
		return w.runBridged(x, &r, w.headVXLAN(x, &r))
	}
	return 0
}

// The functions below are told how many packets from the front are of the run, and return how many they found to be.

// headPackets takes packets to be forwarded, and notes where to.
func (w *Worker) headPackets(x *burst, r *run) int {
	if !r.port.forwards {
		return 0
	}
	own, mac := &w.st.own, r.port.mac
	for i, b := range r.batch {
		p := b.Bytes()
		if len(p) < len(headers{}) || b.HasOffloads() {
			return i
		}
		h := (*headers)(p)
		src, dst := h.src(), h.dst()
		if !h.isTo(mac) || !h.isUsual() || !h.fits(len(p)) || isSpecial(src) || isSpecial(dst) ||
			own.may(src) && own.has(src) || own.may(dst) && own.has(dst) {
			return i
		}
		x.addrs[i&(burstSize-1)] = dst
	}
	return len(r.batch)
}

// isTo reports whether a frame is to a MAC address and has an IPv4 packet.
func (h *headers) isTo(mac uint64) bool {
	return binary.BigEndian.Uint64(h[0:])>>16^mac|uint64(h.etherType()^ethernet.TypeIPv4) == 0
}

// isUsual reports whether the packet in a frame has a header without options and with a right checksum, and time to live left if it is
// forwarded.
func (h *headers) isUsual() bool {
	const ip = ethernet.HeaderLen
	w0, w1 := binary.BigEndian.Uint64(h[ip:]), binary.BigEndian.Uint64(h[ip+8:])
	return w0>>56 == 0x45 && w1>>56 > 1 && checksum.OK20(w0, w1, h.dst())
}

// fits reports whether the packet in a frame is no longer than a frame of size bytes has room for.
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
	own, mac := &w.st.own, r.port.mac
	for i, b := range r.batch {
		p := b.Bytes()
		if len(p) < least || b.HasOffloads() {
			return i
		}
		h, in := (*headers)(p), (*headers)(p[inner-ethernet.HeaderLen:])
		src := h.src()
		if !h.isTo(mac) || h.dst() != r.own || isSpecial(src) || own.may(src) && own.has(src) {
			return i
		}
		t := w.st.ipips.between(w.st, r.own, src)
		if t == nil || t != r.tunnel && !r.opens(t) {
			return i
		}
		from, dst := in.src(), in.dst()
		if _, usual := w.e.ipips.Inner(p[ethernet.HeaderLen:]); !usual || !in.isUsual() || isSpecial(from) || isSpecial(dst) ||
			own.may(from) && own.has(from) {
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
	if r.tunnel == nil || r.tunnel.ipip.peers == nil {
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
	w.e.routes.LookupAll(x.addrs[:n], x.paths[:])
	chunks := *w.e.ends.resolved.Load()
	if len(chunks) > 1 {
		x.touch(chunks, n)
	}
	var s sums
	var tx, via account
	done := 0
	for ; done < n; done++ {
		path, b := x.paths[done&(burstSize-1)], r.batch[done]
		if path == nil || path.Tag() == 0 {
			break
		}
		to := chunks.find(path.Tag())
		if to == nil {
			break
		}
		h := (*headers)(b.Bytes()[r.start:])
		total, out := h.total(), w.st.device(uint32(to.out))
		if total > to.fits || !out.sends() {
			break
		}
		s.received += b.Len()
		s.inside += int(total)
		by := out
		if to.kind != onLink {
			if by = w.st.device(uint32(to.by)); by == nil || !by.plain {
				break
			}
		}
		if r.tunnel == nil {
			_ = b.Truncate(int(total) + ethernet.HeaderLen) // Ethernet's padding
		} else {
			_ = b.Strip(r.start, r.start+int(total)+ethernet.HeaderLen)
		}
		decrementTTL((*[ipv4.HeaderLen]byte)(h[ethernet.HeaderLen:]))
		putEthernet((*[ethernet.HeaderLen]byte)(h[:]), to.mac, by.mac)
		if to.kind != onLink && !w.runInto(to, by, b, via.of(w, by)) {
			continue
		}
		tx.of(w, out).send(w, out, b)
	}
	w.arrived(r, done, s)
	w.total.Counters[IPInReceives] += uint64(done)
	w.total.Counters[IPForwDatagrams] += uint64(done)
	return done
}

// sums are bytes of packets: as they were received, and of those for the IP stack in them.
type sums struct {
	received, inside int
	refused          int // packets that the tunnel did not take
}

// runInto puts a routed packet into a tunnel, and reports whether that could be.
func (w *Worker) runInto(to *resolved, by *device, b *packet.Buffer, n *devWork) bool {
	bytes := uint64(b.Len() - ethernet.HeaderLen) // without the header, as Linux counts them
	var err error
	if to.kind == byVXLAN {
		err = to.vxlan.encap.Encapsulate(b, w.nextID())
	} else {
		_ = b.TrimFront(ethernet.HeaderLen)
		err = to.ipip.encap.Encapsulate(b, w.nextID())
	}
	if err != nil {
		w.tunnelFault(by, b, encapReason(err))
		return false
	}
	n.TxPackets++
	n.TxBytes += bytes
	w.total.Counters[IPOutRequests]++
	return true
}

// arrived counts what the packets of a run were received by.
func (w *Worker) arrived(r *run, n int, s sums) {
	rx := w.work(r.port)
	rx.RxPackets += uint64(n)
	rx.RxBytes += uint64(s.received)
	clear(r.batch[:n])
	if r.tunnel == nil {
		return
	}
	w.total.Counters[IPInReceives] += uint64(n)
	w.total.Counters[IPInDelivers] += uint64(n)
	rx = w.work(r.tunnel)
	rx.RxPackets += uint64(n - s.refused)
	rx.RxBytes += uint64(s.inside)
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

// headFrames takes frames that a bridge's port has received, and notes from whom and to whom.
func (w *Worker) headFrames(x *burst, r *run) int {
	br := w.st.device(r.in.master)
	if br == nil || !br.plain || br.promisc || r.in.port.Locked || r.in.port.NoLearning {
		return 0
	}
	for i, b := range r.batch {
		p := b.Bytes()
		if len(p) < len(headers{}) || len(p) > maxFrame || b.HasOffloads() || !x.stations(i, (*headers)(p), br.mac) {
			return i
		}
	}
	return len(r.batch)
}

// stations notes the stations that a frame is from and to; own is the bridge's address. It reports false if one of them is none.
func (x *burst) stations(i int, h *headers, own uint64) bool {
	dst, src := h.macs()
	x.keys[i&(burstSize-1)], x.sources[i&(burstSize-1)] = fdb.Key(dst), fdb.Key(src)
	return (src|dst)&macGroup == 0 && src != 0 && src != dst && dst != own
}

// headVXLAN takes frames in VXLAN to the node itself, of one device that is a bridge's port, as headFrames does.
func (w *Worker) headVXLAN(x *burst, r *run) int {
	const (
		inner = ethernet.HeaderLen + ipv4.HeaderLen
		least = ethernet.HeaderLen + vxlan.OverheadIP + len(headers{})
	)
	r.start = ethernet.HeaderLen + vxlan.OverheadIP
	p := r.batch[0].Bytes()
	if len(p) < least {
		return 0
	}
	vni := binary.BigEndian.Uint32(p[r.start-4:])
	t := w.st.vxlans.find(w.st, binary.BigEndian.Uint16(p[inner+2:]), vni>>8)
	if t == nil || !r.opens(t) {
		return 0
	}
	br := w.st.device(t.master)
	if br == nil || !br.plain || br.promisc || t.port.Locked || t.port.NoLearning {
		return 0
	}
	own, mac, d := &w.st.own, r.port.mac, t.vxlan.decap
	for i, b := range r.batch {
		p := b.Bytes()
		if len(p) < least || b.HasOffloads() {
			return i
		}
		h := (*[least]byte)(p)
		outer := (*headers)(h[:])
		src := outer.src()
		if !outer.isTo(mac) || outer.dst() != r.own || isSpecial(src) || own.may(src) && own.has(src) ||
			binary.BigEndian.Uint32(h[least-len(headers{})-4:]) != vni {
			return i
		}
		if _, usual := d.Inner(p[ethernet.HeaderLen:]); !usual || t.vxlan.vteps != nil && !t.accepts(src) {
			return i
		}
		x.addrs[i&(burstSize-1)] = src
		if !x.stations(i, (*headers)(h[least-len(headers{}):]), br.mac) {
			return i
		}
	}
	return len(r.batch)
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
	return to != nil && to != r.in && to.master == r.in.master && to.plain && !(to.port.Isolated && r.in.port.Isolated)
}

// size returns the length of the frame to be forwarded in what was received.
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

// lessons finds out from which packets there is something to learn.
func (w *Worker) lessons(x *burst, r *run, n int) lessons {
	w.changed = false
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
	for done < n && !w.changed && len(w.inside) == 0 {
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
		if l.news>>((done-1)&(burstSize-1))&1 != 0 && !w.learnFrom(x, r, &l, done-1, b, &s) {
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
	for done < n && !w.changed && len(w.inside) == 0 {
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
		if l.news>>((done-1)&(burstSize-1))&1 != 0 && !w.learnFrom(x, r, &l, done-1, b, &s) {
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
