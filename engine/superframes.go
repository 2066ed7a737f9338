package engine

// Superframes and other things that a driver tells of a packet beside its bytes. They stay as they are on the whole way; here they
// are put into the bytes where a port cannot take them, and segments put together to superframes where a port wants them.

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/gso"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/udp"
)

// DefaultLargeBuffers is how many buffers for superframes there are in a pool of the engine's own: a little more than 4 MiB.
const DefaultLargeBuffers = 64

// offloads is what a port takes, and wants.
type offloads struct {
	takes    packet.Offloads
	tcp, udp bool // to be put together
}

// merges returns of what kinds superframes are to be made.
func (o offloads) merges() (kinds packet.Offloads) {
	if o.tcp {
		kinds = o.takes & (packet.OffloadTCP4 | packet.OffloadTCP6)
	}
	if o.udp {
		kinds |= packet.OffloadUDP4
	}
	return kinds
}

// takesAsIs reports whether the port takes a packet without anything being done to it.
func (o offloads) takesAsIs(b *packet.Buffer) bool {
	return !b.IsSuperframe() && (!b.HasVLAN() || o.takes.Has(packet.OffloadVLAN)) &&
		(b.Checksum() != packet.ChecksumPartial || o.takes.Has(packet.OffloadChecksum))
}

// check reports what is wrong with it.
func (o offloads) check(name string, raw bool) error {
	const (
		all   = packet.OffloadVLAN | packet.OffloadChecksum | segments
		known = "VLAN, checksum, TCP4, UDP4, TunnelTCP4 and TCP6"
	)
	var errs []error
	if o.takes&^all != 0 {
		errs = append(errs, fmt.Errorf("engine: port %s: Offloads are %v: want some of %s: %w", name, o.takes, known, ErrInvalid))
	}
	if raw && o.takes.Has(packet.OffloadVLAN) {
		errs = append(errs, fmt.Errorf("engine: port %s: Offloads are %v, but raw ports have no vlan: %w", name, o.takes, ErrInvalid))
	}
	if o.takes&segments != 0 && !o.takes.Has(packet.OffloadChecksum) {
		errs = append(errs, fmt.Errorf("engine: port %s: Offloads are %v: superframes need checksum too: %w", name, o.takes, ErrInvalid))
	}
	if o.tcp && !o.takes.Has(packet.OffloadTCP4) {
		errs = append(errs, fmt.Errorf("engine: port %s: Coalesce needs Offloads to have tcp4, but they are %v: %w", name, o.takes, ErrInvalid))
	}
	if o.udp && !o.takes.Has(packet.OffloadUDP4) {
		errs = append(errs, fmt.Errorf("engine: port %s: CoalesceUDP needs Offloads to have udp4, but they are %v: %w", name, o.takes, ErrInvalid))
	}
	return errors.Join(errs...)
}

// with returns it with a change made.
func (o offloads) with(c LinkChange) offloads {
	if c.Offloads != nil {
		o.takes = *c.Offloads
	}
	if c.Coalesce != nil {
		o.tcp = *c.Coalesce
	}
	if c.CoalesceUDP != nil {
		o.udp = *c.CoalesceUDP
	}
	return o
}

// segments are the offloads that are about superframes.
const segments = packet.OffloadTCP4 | packet.OffloadUDP4 | packet.OffloadTunnelTCP4 | packet.OffloadTCP6

// makeLarge makes a pool for superframes if the port is the first that has use for one, if only for segments that are too long for the
// ordinary one; e.mu is held.
func (e *Engine) makeLarge(o offloads, mtu int) error {
	fits := mtu+ethernet.HeaderLen+2*ethernet.TagLen <= e.pool.Outside().Tailroom()
	if e.large.Load() != nil || !o.tcp && !o.takes.Has(packet.OffloadUDP4) && fits {
		return nil
	}
	pool := e.config.LargePool
	if pool == nil {
		var err error
		pool, err = packet.NewPool(packet.PoolConfig{Buffers: DefaultLargeBuffers, Size: packet.DefaultHeadroom + gso.LargeSize})
		if err != nil {
			return fmt.Errorf("engine: large buffers: %w", err)
		}
	}
	e.large.Store(pool)
	return nil
}

// segmenter cuts superframes with the engine's buffers.
func (w *Worker) segmenter() gso.Segmenter {
	return gso.Segmenter{Pool: w.e.pool, Large: w.e.large.Load()}
}

// segmentLen returns how long the segments of a packet are that has an Ethernet header, or has none if raw: what MTUs limit.
func segmentLen(b *packet.Buffer, raw bool) int {
	if !b.IsSuperframe() {
		return b.Len()
	}
	return gso.SegmentLen(b, raw)
}

// sendFit sends a packet by a port in the form that the port takes.
func (w *Worker) sendFit(d *device, b *packet.Buffer) {
	if w.dry != nil || d.offloads.takesAsIs(b) {
		w.watch(d, b)
		w.enqueue(d, b)
		return
	}
	super := b.IsSuperframe()
	list, err := w.segmenter().Fit(b, d.raw, d.offloads.takes, w.list())
	if err != nil {
		w.unlist(list)
		w.dropTx(d, b, fitReason(err))
		return
	}
	w.noteCut(d, super, len(list))
	for _, s := range list {
		w.watch(d, s)
		w.enqueue(d, s)
	}
	w.unlist(list)
}

// apart cuts a superframe into segments; unlist takes the list back. One that cannot be cut is dropped, as what was to leave by d,
// and the list empty.
func (w *Worker) apart(d *device, b *packet.Buffer, raw bool) []*packet.Buffer {
	list, err := w.segmenter().Cut(b, gso.Options{Raw: raw, Partial: true}, w.list())
	if err != nil {
		w.dropTx(d, b, fitReason(err))
		return list
	}
	w.noteCut(d, true, len(list))
	return list
}

// noteCut counts what became of a packet at a device: n packets.
func (w *Worker) noteCut(d *device, super bool, n int) {
	w.total.Made += uint64(n - 1)
	if super && n > 1 && w.trace != nil {
		w.note(Step{Stage: StageSegment, Device: d.label(), Text: fmt.Sprintf("%d packets", n)})
	}
}

// fitReason is the reason for an error of a segmenter.
func fitReason(err error) Reason {
	switch {
	case errors.Is(err, gso.ErrNoBuffer), errors.Is(err, packet.ErrTailroom):
		return DropNoBuffer
	case errors.Is(err, packet.ErrHeadroom):
		return DropNoHeadroom
	}
	return DropMetadata
}

// list returns an empty list; unlist takes it back.
func (w *Worker) list() []*packet.Buffer {
	if n := len(w.spareLists); n > 0 {
		list := w.spareLists[n-1]
		w.spareLists = w.spareLists[:n-1]
		return list
	}
	return nil
}

func (w *Worker) unlist(list []*packet.Buffer) {
	clear(list)
	w.spareLists = append(w.spareLists, list[:0])
}

// coalesce puts together what is to leave by a port, and counts what became part of something else.
func (w *Worker) coalesce(d *device, queue []*packet.Buffer) []*packet.Buffer {
	w.merger.Large = w.e.large.Load()
	merged := w.merger.Merge(queue, d.raw, d.offloads.merges())
	w.total.Absorbed += uint64(len(queue) - len(merged))
	return merged
}

// staysWhole reports whether a superframe for the node itself need not be cut: one in a tunnel that ends here, and one of TCP that
// nobody but the node's refusal waits for.
func (w *Worker) staysWhole(b *packet.Buffer) bool {
	p := b.Bytes()
	at := int(p[0]&0xf) * 4
	kind, _ := b.GSO()
	switch p[9] {
	case ipv4.ProtocolIPIP:
		return true
	case ipv4.ProtocolTCP:
		return w.e.config.Local == nil && kind == packet.GSOTCP4
	case ipv4.ProtocolUDP:
		start, _, partial := b.PartialChecksum()
		own := kind == packet.GSOUDP4 && (!partial || start == at) // its segments are the tunnel's datagrams
		return !own && len(p) >= at+udp.HeaderLen && w.st.vxlans.isPort(binary.BigEndian.Uint16(p[at+2:]))
	}
	return false
}

// localSegments takes a superframe for the node itself that is to be cut: sockets, and the ends of tunnels, get one datagram or segment
// at a time.
func (w *Worker) localSegments(d *device, b *packet.Buffer, toAll bool) {
	list, err := w.segmenter().Cut(b, gso.Options{Raw: true, Partial: true}, w.list())
	if err != nil {
		w.dropRx(d, b, fitReason(err))
	} else {
		w.noteCut(d, true, len(list))
	}
	for _, s := range list {
		w.ipLocal(d, s, toAll)
	}
	w.unlist(list)
}
