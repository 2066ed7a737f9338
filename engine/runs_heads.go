package engine

// Which packets from the front of a burst are of a run, and what the tables are to be asked about them. The functions are told how many
// packets may be of it, and return how many they found to be.

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/internal/wordmap"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/vxlan"
)

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
			isSpecial(src) || isSpecial(dst) || own.may(src) && own.has(src) { // a destination of its own has a route that says so
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

// learnsFor reports whether a bridge, of whose port the run's frames come, treats them in the usual way; br may be nil.
func (r *run) learnsFor(br *device) bool {
	return br != nil && br.plain && !br.promisc && !r.in.port.Locked && !r.in.port.NoLearning
}

// headFrames takes frames that a port of bridge br has received, and notes from whom and to whom.
func headFrames(x *burst, r *run, br *device) int {
	for i, b := range r.batch {
		p := b.Bytes()
		if len(p) < len(headers{}) || b.HasOffloads() || !x.stations(i, (*headers)(p)) || uint64(x.keys[i&(burstSize-1)]) == br.mac {
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
	if !t.forwards || !t.vxlan.made.NoLearning {
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
