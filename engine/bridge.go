package engine

// The bridge: learning, forwarding, flooding (net/bridge/br_input.c, br_forward.c).

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/packet"
)

// linkLocal are the 16 group addresses that bridges keep on their link (IEEE 802.1Q table 8-1), but for the last four bits.
const linkLocal = 0x0180c2000000

// pause is the last bits of the one whose frames do not even tell where their station is (IEEE 802.3 annex 31B).
const pause = 1

// bridgeReceive takes a frame that a bridge's port has received.
func (w *Worker) bridgeReceive(d *device, b *packet.Buffer) {
	br := w.st.device(d.master)
	if br == nil || !br.running {
		w.dropRx(d, b, DropDown)
		return
	}
	p := (*[ethernet.HeaderLen]byte)(b.Bytes())
	dst, src := binary.BigEndian.Uint64(p[0:])>>16, binary.BigEndian.Uint64(p[4:])&macBroadcast
	switch {
	case src&macGroup != 0 || src == 0 || src == br.mac:
		w.dropRx(d, b, DropSourceMAC)
		return
	case dst == linkLocal|pause:
		w.dropRx(d, b, DropLinkLocal)
		return
	case d.port.Locked && !w.known(br, src, d):
		w.dropRx(d, b, DropLocked)
		return
	case d.port.NoLearning && w.place(br.bridge.table, fdb.Key(src)).IsLocal(), !d.port.NoLearning && w.learn(br, src, d) == fdb.Own:
		w.dropRx(d, b, DropSourceMAC)
		return
	case dst&^0xf == linkLocal && dst != linkLocal: // that of spanning tree is forwarded, as none runs here
		w.dropRx(d, b, DropLinkLocal)
		return
	}
	w.bridgeForward(br, d, dst, b)
}

// known reports whether a station has an entry on a port.
func (w *Worker) known(br *device, mac uint64, d *device) bool {
	port, ok := w.place(br.bridge.table, fdb.Key(mac)).Port()
	return ok && port == d.index
}

// learn notes which port a station is behind.
func (w *Worker) learn(br *device, mac uint64, d *device) fdb.Outcome {
	if mac == w.heard && d.index == w.heardBy { // in this burst
		return fdb.Known
	}
	out := w.teach(br.bridge.table, fdb.Key(mac), fdb.ToPort(d.index))
	if w.trace != nil && out != fdb.Known {
		w.note(Step{Stage: StageLearn, Device: br.name, MAC: MACOf(mac), Via: d.name, Text: out.String()})
	}
	if !out.Refused() {
		w.heard, w.heardBy = mac, d.index
	}
	return out
}

// bridgeForward finds the way of a frame through a bridge; from is the port that it came in by, or nil if the bridge itself sends
// it.
func (w *Worker) bridgeForward(br, from *device, dst uint64, b *packet.Buffer) {
	if dst == br.mac && from != nil && w.trace == nil { // its entry is always there
		w.receive(br, b)
		return
	}
	if dst&macGroup != 0 {
		w.flood(br, from, b, groupClass(dst))
		return
	}
	if br.promisc && from != nil {
		w.overhear(br, b)
	}
	place := w.place(br.bridge.table, fdb.Key(dst))
	if w.trace != nil {
		w.noteBridge(br, dst, place)
	}
	port, ok := place.Port()
	switch {
	case !ok:
		w.flood(br, from, b, unknownUnicast)
	case place.IsLocal() && from == nil:
		w.dropTx(br, b, DropSelf)
	case place.IsLocal():
		w.receive(br, b)
	default:
		w.bridgeOut(br, from, port, b)
	}
}

// bridgeOut sends a frame by the port that its station is behind.
func (w *Worker) bridgeOut(br, from *device, port uint32, b *packet.Buffer) {
	to := w.st.device(port)
	switch {
	case to == nil || to.master != br.index || !to.running:
		w.drop(br, b, DropNoPort)
	case to == from && !to.port.Hairpin:
		w.drop(br, b, DropSamePort)
	case from != nil && from.port.Isolated && to.port.Isolated:
		w.drop(br, b, DropNoPort)
	case !fits(to, b):
		w.dropTx(to, b, DropFrameTooBig)
	default:
		w.transmit(to, b)
	}
}

// fits reports whether a frame, or each segment of it, is within a device's MTU; a VLAN tag does not count (is_skb_forwardable, which
// lets superframes pass whatever their segments are).
func fits(d *device, b *packet.Buffer) bool {
	most := d.mtu + ethernet.HeaderLen + ethernet.TagLen
	return b.Len() <= most || segmentLen(b, false) <= most
}

// overhear counts and shows a frame to a bridge that listens to everything.
func (w *Worker) overhear(br *device, b *packet.Buffer) {
	if br.tap != nil {
		w.show(br, false, b)
	}
}

// class says which switch of a port lets flooded frames out.
type class uint8

const (
	unknownUnicast class = iota
	broadcast
	multicast
)

func groupClass(dst uint64) class {
	if dst == macBroadcast {
		return broadcast
	}
	return multicast
}

// lets reports whether a port takes flooded frames of a class.
func (p *BridgePort) lets(c class) bool {
	switch c {
	case broadcast:
		return !p.NoBroadcast
	case multicast:
		return !p.NoMulticast
	default:
		return !p.NoFlood
	}
}

// flood sends a frame by all ports that take it, and to the bridge itself if it is for a group.
func (w *Worker) flood(br, from *device, b *packet.Buffer, c class) {
	if w.trace != nil {
		w.note(Step{Stage: StageFlood, Device: br.name})
	}
	if b.IsSuperframe() && w.floodSegments(br, from, b, c) {
		return
	}
	var last *device
	for _, i := range br.bridge.ports {
		to := w.st.device(i)
		if !w.takes(from, to, b, c) {
			continue
		}
		if last != nil {
			w.copyTo(last, b)
		}
		last = to
	}
	up := c != unknownUnicast && from != nil
	switch {
	case last != nil && up:
		w.copyTo(last, b)
		w.receive(br, b)
	case last != nil:
		w.transmit(last, b)
	case up:
		w.receive(br, b)
	default:
		w.drop(br, b, DropNoPort)
	}
}

// floodSegments floods the segments of a superframe, if copies have to be made, for which the pool's buffers are too small. It
// reports whether it did.
func (w *Worker) floodSegments(br, from *device, b *packet.Buffer, c class) bool {
	n := 0
	for _, i := range br.bridge.ports {
		if w.takes(from, w.st.device(i), b, c) {
			n++
		}
	}
	if c != unknownUnicast && from != nil {
		n++
	}
	if n < 2 {
		return false
	}
	segments := w.apart(br, b, false)
	for _, s := range segments {
		w.flood(br, from, s, c)
	}
	w.unlist(segments)
	return true
}

// takes reports whether a flooded frame leaves by a port.
func (w *Worker) takes(from, to *device, b *packet.Buffer, c class) bool {
	switch {
	case to == nil || !to.running || !to.port.lets(c):
		return false
	case from == nil:
	case to == from && !to.port.Hairpin, from.port.Isolated && to.port.Isolated:
		return false
	}
	return fits(to, b)
}

// copyTo sends a copy of a frame.
func (w *Worker) copyTo(to *device, b *packet.Buffer) {
	if c := w.copy(b); c != nil {
		w.transmit(to, c)
		return
	}
	w.count(to).TxDropped++
}

// copy returns a copy of a packet, or nil, which is counted, if there is no buffer for it.
func (w *Worker) copy(b *packet.Buffer) *packet.Buffer {
	c := w.alloc()
	if c == nil {
		w.lack()
		return nil
	}
	if c.CopyFrom(b) != nil {
		w.drop(nil, c, DropNoBuffer)
		return nil
	}
	return c
}

// lack counts a packet that could not be made for want of a buffer: made and dropped at once.
func (w *Worker) lack() {
	w.total.Made++
	w.total.Drops[DropNoBuffer]++
	if w.trace != nil {
		w.note(Step{Stage: StageDrop, Reason: DropNoBuffer})
	}
}

// bridgeSend takes what the node sends by the bridge's own port.
func (w *Worker) bridgeSend(br *device, b *packet.Buffer) {
	dst := binary.BigEndian.Uint64(b.Bytes()) >> 16
	w.bridgeForward(br, nil, dst, b)
}
