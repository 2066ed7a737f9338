package engine

// From a device into the engine, and out of it: where frames meet a bridge, ARP or the IP stack.

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// receive takes what a device has received: a port from outside, a tunnel what it carried, one end of a pair what the other
// sent. The packet comes to rest here: sent, delivered, held or dropped.
func (w *Worker) receive(d *device, b *packet.Buffer) {
	if !d.running {
		w.dropRx(d, b, DropDown)
		return
	}
	n := w.count(d)
	n.RxPackets++
	n.RxBytes += uint64(max(b.Len()-int(d.uncounted), 0))
	if d.tap != nil {
		w.show(d, false, b)
	}
	if w.trace != nil {
		w.notePacket(StageReceive, d, b)
	}
	switch {
	case d.raw:
		w.group = false
		w.ipReceive(d, b)
	case b.Len() < ethernet.HeaderLen:
		n.RxErrors++
		w.drop(d, b, DropShortFrame)
	case d.master != 0:
		w.bridgeReceive(d, b)
	default:
		w.host(d, b)
	}
}

// host takes a frame for the IP stack, if it is one: the device is no bridge's port.
func (w *Worker) host(d *device, b *packet.Buffer) {
	p := (*[ethernet.HeaderLen]byte)(b.Bytes())
	dst := binary.BigEndian.Uint64(p[0:]) >> 16
	w.group = dst&macGroup != 0
	if dst != d.mac && !w.group {
		w.drop(d, b, DropOtherHost)
		return
	}
	if w.group {
		w.count(d).Multicast++
	}
	switch etherType := binary.BigEndian.Uint16(p[12:]); {
	case b.HasVLAN():
		w.untag(d, b)
	case etherType == ethernet.TypeIPv4:
		_ = b.TrimFront(ethernet.HeaderLen) // has them: checked by receive
		w.ipReceive(d, b)
	case etherType == ethernet.TypeARP:
		w.arpReceive(d, b)
	case etherType == ethernet.TypeVLAN || etherType == ethernet.TypeQinQ:
		w.untag(d, b)
	default:
		w.dropRx(d, b, DropProtocol)
	}
}

// untag takes priority tags off a frame: those of VLAN 0, which is no VLAN. There are no VLAN devices, so other frames are
// dropped.
func (w *Worker) untag(d *device, b *packet.Buffer) {
	h, _, err := ethernet.Parse(b.Bytes())
	if err != nil || b.VLAN().TCI.VLAN() != 0 {
		w.dropRx(d, b, DropTagged)
		return
	}
	for i := range h.Tags() {
		if h.Tag(i).TCI.VLAN() != 0 {
			w.dropRx(d, b, DropTagged)
			return
		}
	}
	b.SetVLAN(ethernet.Tag{})
	_ = b.TrimFront(h.Len()) // Parse found them
	switch h.EtherType() {
	case ethernet.TypeIPv4:
		w.ipReceive(d, b)
	case ethernet.TypeARP:
		if p, err := b.Prepend(ethernet.HeaderLen); err == nil { // where the tags were
			_, _ = ethernet.Fields{Dst: h.Dst(), Src: h.Src(), EtherType: ethernet.TypeARP}.Put(p)
		}
		w.arpReceive(d, b)
	default:
		w.dropRx(d, b, DropProtocol)
	}
}

// transmit sends a frame by a device; raw devices send IPv4 packets.
func (w *Worker) transmit(d *device, b *packet.Buffer) {
	if !d.running {
		w.count(d).TxCarrier++
		w.dropTx(d, b, DropDown)
		return
	}
	if d.kind == KindPort && b.HasOffloads() {
		w.sendFit(d, b)
		return
	}
	w.watch(d, b)
	switch d.kind {
	case KindPort:
		w.enqueue(d, b)
	case KindVXLAN:
		w.vxlanSend(d, b)
	case KindBridge:
		w.sent(d, b)
		w.bridgeSend(d, b)
	case KindPair:
		w.cross(d, b)
	case KindLoopback:
		w.sent(d, b)
		w.inside = append(w.inside, crossing{b: b, device: d.index, trace: w.trace})
	default:
		w.dropTx(d, b, DropProtocol)
	}
}

// watch shows a packet that a device sends to those who watch.
func (w *Worker) watch(d *device, b *packet.Buffer) {
	if d.tap != nil {
		w.show(d, true, b)
	}
	if w.trace != nil {
		w.notePacket(StageTransmit, d, b)
	}
}

// show lets a device's tap see a packet.
func (w *Worker) show(d *device, out bool, b *packet.Buffer) {
	if w.dry == nil {
		w.changed, w.heard = true, 0 // by whatever the tap does
		d.tap(d.index, out, b.Bytes(), w.now)
	}
}

// sent counts what a device has sent.
func (w *Worker) sent(d *device, b *packet.Buffer) {
	n := w.count(d)
	n.TxPackets++
	n.TxBytes += uint64(b.Len())
}

// cross sends a frame to the other end of a pair.
func (w *Worker) cross(d *device, b *packet.Buffer) {
	if peer := w.st.device(d.peer); peer == nil || !peer.running {
		w.dropTx(d, b, DropDown)
		return
	} else if !fits(peer, b) { // veth_xmit asks is_skb_forwardable
		w.dropTx(d, b, DropFrameTooBig)
		return
	}
	w.sent(d, b)
	b.SetHash(0)
	w.inside = append(w.inside, crossing{b: b, device: d.peer, trace: w.trace})
}

// putEthernet writes the header of a frame with an IPv4 packet; addresses are numbers of 48 bits.
func putEthernet(p *[ethernet.HeaderLen]byte, dst, src uint64) {
	binary.BigEndian.PutUint64(p[0:], dst<<16)
	binary.BigEndian.PutUint64(p[6:], src<<16|uint64(ethernet.TypeIPv4))
}

func be32(b [4]byte) uint32 { return binary.BigEndian.Uint32(b[:]) }
