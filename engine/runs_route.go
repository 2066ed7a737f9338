package engine

// Runs that the IP stack forwards: by adjacencies, or to neighbours behind a bridge.

import (
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/route"
)

// runRouted forwards packets: where the first one goes, as long as the others do.
func (w *Worker) runRouted(x *burst, r *run, n int) int {
	if n = x.peers(r, n); n < leastRun {
		return 0
	}
	version := w.e.ends.resolved.now.Load() // before the routes are asked for tags
	w.e.routes.LookupTags(x.addrs[:n], x.tags[:])
	if x.tags[0] == 0 {
		return w.runDown(x, r, n)
	}
	var all [burstSize]*resolved
	x.adjacencies(w.e.ends.resolved.still(version), all[:n])
	return w.runOut(x, r, &all, n)
}

// adjacencies finds what the packets' adjacencies are resolved to: nil for one that is not, and for a packet that has none.
func (x *burst) adjacencies(chunks version[resolved], all []*resolved) {
	for i, tag := range x.tags[:len(all)] {
		all[i] = chunks.find(tag)
	}
	if len(chunks) > 1 {
		x.touchAll(all)
	}
}

// runOut forwards packets by adjacencies.
func (w *Worker) runOut(x *burst, r *run, all *[burstSize]*resolved, n int) int {
	var l lessons
	if r.up != nil {
		r.up.bridge.table.LookupAll(x.sources[:n], x.from[:])
		l = w.lessons(x, r, n)
	}
	var s sums
	var out, by exit
	done := 0
	for ; done < n; done++ {
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
		if r.tunnel == nil {
			_ = b.Truncate(ethernet.HeaderLen + int(total)) // Ethernet's padding
		} else {
			_ = b.Strip(r.start, r.start+ethernet.HeaderLen+int(total))
		}
		decrementTTL((*[ipv4.HeaderLen]byte)(h[ethernet.HeaderLen:]))
		var err error
		switch to.kind {
		case onLink:
			putEthernet((*[ethernet.HeaderLen]byte)(h[:]), to.mac, out.d.mac)
			out.n.send(w, out.d, b)
			continue
		case byVXLAN:
			putEthernet((*[ethernet.HeaderLen]byte)(h[:]), to.mac, by.d.mac)
			err = to.vxlan.encap.Encapsulate(b, w.nextID())
		case byIPIP:
			_ = b.TrimFront(ethernet.HeaderLen)
			err = to.ipip.encap.Encapsulate(b, w.nextID())
		}
		if err != nil {
			w.tunnelFault(by.d, b, encapReason(err))
			continue
		}
		by.n.TxPackets++
		by.n.TxBytes += uint64(total) // without an Ethernet header, as Linux counts them
		w.total.Counters[IPOutRequests]++
		out.n.send(w, out.d, b)
	}
	w.arrived(r, done, s)
	w.total.Counters[IPInReceives] += uint64(done - s.refused)
	w.total.Counters[IPForwDatagrams] += uint64(done - s.refused)
	return done
}

// runDown forwards packets to neighbours behind a bridge: those by one path, which leads to a link of it.
func (w *Worker) runDown(x *burst, r *run, n int) int {
	w.e.routes.LookupAll(x.addrs[:n], x.paths[:])
	path := x.paths[0]
	if r.up != nil || path == nil || path.Type() != route.Unicast || path.MTU() != 0 {
		return 0
	}
	hop, ok := path.Only()
	br := w.st.device(hop.Device)
	if !ok || hop.Gateway != 0 || br == nil || br.bridge == nil || !br.plain {
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
		if r.tunnel == nil {
			_ = b.Truncate(ethernet.HeaderLen + total)
		} else {
			_ = b.Strip(r.start, r.start+ethernet.HeaderLen+total)
		}
		decrementTTL((*[ipv4.HeaderLen]byte)(h[ethernet.HeaderLen:]))
		putEthernet((*[ethernet.HeaderLen]byte)(h[:]), uint64(x.keys[done&(burstSize-1)]), br.mac)
		out.n.send(w, out.d, b)
	}
	w.arrived(r, done, s)
	c := w.work(br)
	c.TxPackets += uint64(done)
	c.TxBytes += uint64(bytes + done*ethernet.HeaderLen)
	w.total.Counters[IPInReceives] += uint64(done)
	w.total.Counters[IPForwDatagrams] += uint64(done)
	return done
}
