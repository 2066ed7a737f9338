package memory

// Sending: what is refused, how packets come into buffers of the receiver, and which queue they go to.

import (
	"net"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/packet"
)

// send sends up to driver.BatchSize packets.
func (d *Driver) send(batch []*packet.Buffer) error {
	out, n, first := [driver.BatchSize]*packet.Buffer{}, 0, error(nil)
	bytes := 0
	for i, b := range batch {
		batch[i] = nil
		if b == nil {
			continue
		}
		if err := d.refuse(b); err != nil {
			if first == nil {
				first = err
			}
			b.Free()
			continue
		}
		bytes += b.Len()
		out[n] = b
		n++
	}
	d.stats.txPackets.Add(uint64(n))
	d.stats.txBytes.Add(uint64(bytes))
	d.far.deliver(out[:n])
	return first
}

// refuse returns why a packet cannot be sent, and counts that.
func (d *Driver) refuse(b *packet.Buffer) error {
	if !d.up.Load() {
		d.stats.txDropped.Add(1)
		if d.isClosed() {
			return net.ErrClosed
		}
		return driver.ErrDown
	}
	err := d.fault(b)
	if err != nil {
		d.stats.txErrors.Add(1)
	}
	return err
}

func (d *Driver) isClosed() bool {
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	return d.closed
}

// fault returns what is wrong with a packet.
func (d *Driver) fault(b *packet.Buffer) error {
	need := d.needs(b)
	switch {
	case need != 0 && !d.end.Offloads.Has(need):
		return driver.ErrMetadata
	case b.Len() < d.header():
		return driver.ErrShort
	case d.tooLong(b):
		return driver.ErrTooLong
	}
	return nil
}

// header is the length of what every packet starts with, in bytes.
func (d *Driver) header() int {
	if d.raw {
		return 1 // the IP version; the rest is for whoever parses
	}
	return ethernet.HeaderLen
}

// tooLong reports whether a packet is longer than the MTU, not counting Ethernet's header and one VLAN tag, as Linux does
// (is_skb_forwardable in net/core/dev.c). A superframe is longer rightly.
func (d *Driver) tooLong(b *packet.Buffer) bool {
	mtu := int(d.mtu.Load())
	if mtu == noMTU || b.IsSuperframe() {
		return false
	}
	if !d.raw {
		mtu += ethernet.HeaderLen + ethernet.TagLen
	}
	return b.Len() > mtu
}

// unknown is what no set of offloads has.
const unknown packet.Offloads = 1 << 7

// needs returns the offloads that a packet's metadata ask for.
func (d *Driver) needs(b *packet.Buffer) packet.Offloads {
	var need packet.Offloads
	if b.HasVLAN() {
		need |= packet.OffloadVLAN
	}
	start, _, isPartial := b.PartialChecksum()
	if isPartial {
		need |= packet.OffloadChecksum
		if start < 0 {
			return unknown
		}
	}
	if kind, _ := b.GSO(); kind != packet.GSONone {
		need |= superframe(kind, isPartial && d.tunnelled(b, start))
	}
	return need
}

func superframe(kind packet.GSOType, tunnelled bool) packet.Offloads {
	switch {
	case kind == packet.GSOTCP4 && tunnelled:
		return packet.OffloadTunnelTCP4
	case tunnelled:
		return unknown
	case kind == packet.GSOTCP4:
		return packet.OffloadTCP4
	case kind == packet.GSOUDP4:
		return packet.OffloadUDP4
	case kind == packet.GSOTCP6:
		return packet.OffloadTCP6
	}
	return unknown
}

// tunnelled reports whether the transport header at start is not that of the outermost network header.
func (d *Driver) tunnelled(b *packet.Buffer, start int) bool {
	p, at, etherType := b.Bytes(), 0, ethernet.TypeIPv4
	if !d.raw {
		at, etherType = flow.Network(p)
	}
	if etherType == ethernet.TypeIPv4 && at < len(p) {
		return start != at+int(p[at]&0xf)*4 // the header length is in words (RFC 791)
	}
	return start != at+ipv6HeaderLen
}

const ipv6HeaderLen = 40 // RFC 8200 section 3

// deliver puts what the other end sends into the queues.
func (d *Driver) deliver(batch []*packet.Buffer) {
	n := 0
	for _, b := range batch {
		if d.tooLong(b) {
			d.stats.rxErrors.Add(1)
			b.Free()
			continue
		}
		batch[n] = b
		n++
	}
	batch = d.own(batch[:n])
	for len(batch) > 0 {
		q, run := d.run(batch)
		put := q.Put(batch[:run])
		d.stats.rxDropped.Add(uint64(run - put))
		packet.FreeBatch(batch[put:run])
		batch = batch[run:]
	}
}

// run returns the queue of the first packet, and how many from there on are for it.
func (d *Driver) run(batch []*packet.Buffer) (*queue, int) {
	if len(d.queues) == 1 {
		return d.queues[0], len(batch)
	}
	q := d.queue(batch[0])
	for i, b := range batch[1:] {
		if d.queue(b) != q {
			return q, i + 1
		}
	}
	return q, len(batch)
}

// queue returns the queue of a packet's flow.
func (d *Driver) queue(b *packet.Buffer) *queue {
	var hash uint32
	if d.raw {
		hash = d.hash.IPv4(b.Bytes())
	} else {
		hash = d.hash.Frame(b.Bytes())
	}
	return d.queues[uint64(hash)*uint64(len(d.queues))>>32]
}

// own makes the packets those of this end, handed over or copied, and returns them without those that there is no buffer for, or that
// are too long for one.
func (d *Driver) own(batch []*packet.Buffer) []*packet.Buffer {
	if !d.share {
		return d.copyAll(batch)
	}
	n := 0
	for i, b := range batch {
		if b.Headroom() >= d.room {
			batch[n] = b
			n++
			continue
		}
		n += copy(batch[n:], d.copyAll(batch[i:i+1]))
	}
	return batch[:n]
}

// copyAll copies packets into buffers of the pool, and frees the originals.
func (d *Driver) copyAll(batch []*packet.Buffer) []*packet.Buffer {
	var spare [driver.BatchSize]*packet.Buffer // copies, and then what is to be freed
	have := d.end.Pool.GetBatch(spare[:len(batch)])
	n := 0
	for i, b := range batch[:have] {
		if spare[i].CopyFrom(b) != nil {
			d.stats.rxErrors.Add(1)
			b.Free()
			continue
		}
		batch[n], spare[i] = spare[i], b
		n++
	}
	d.stats.rxDropped.Add(uint64(len(batch) - have))
	packet.FreeBatch(batch[have:])
	packet.FreeBatch(spare[:have])
	return batch[:n]
}
