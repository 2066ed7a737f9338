package engine

// Runs that go through a bridge: to its ports, or by its VXLAN device to VTEPs.

import (
	"time"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/vxlan"
)

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

// lessons are what the tables are to be told of the stations that frames are from.
type lessons struct {
	hears bool   // the tunnel learns
	news  uint64 // a bit for each packet that there is something to learn from
	by    fdb.Dest
	now   fdb.Stamp
}

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

// has reports whether there is something to learn from packet i.
func (l *lessons) has(i int) bool { return l.news>>(i&(burstSize-1))&1 != 0 }

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
	for done < n && !w.changed {
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
	for done < n && !w.changed {
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
	c := w.work(out)
	c.TxPackets += uint64(sent)
	c.TxBytes += uint64(bytes)
	w.total.Counters[IPOutRequests] += uint64(sent)
	return done
}

// takes reports whether a frame of size bytes can be sent this way; y may be nil.
func (y *way) takes(size int, now time.Duration) bool {
	return y != nil && y.why == 0 && y.whole && now < y.expires && size+vxlan.OverheadIP <= y.mtu
}
