package gso

// Cutting: each segment gets a copy of the headers, with lengths, identifications, sequence number, flags and checksums of its own.

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
)

// Segmenter cuts superframes. The zero Segmenter has no buffers to cut into. It does not change and is safe for concurrent use.
type Segmenter struct {
	Pool  *packet.Pool // of segments: its buffers should hold a packet of the greatest MTU
	Large *packet.Pool // of what Bundle makes, and of segments too long for Pool; see [LargeSize]. nil: none
}

// Options say how to cut.
type Options struct {
	Raw     bool // packets start with their IP header, not an Ethernet header
	Partial bool // leave the segments' transport checksums partial, for a device that computes them
}

// Cut cuts the superframe in b and appends its segments to segs in their order. b becomes the first one, the others come from Pool,
// or from Large if
// Pool's buffers are too small, all with the flow hash and VLAN tag of b. A packet that is no superframe is appended as it is.
//
// IPv4 identifications rise by one from segment to segment at each level, lengths and checksums are each segment's own; an outer
// UDP checksum that is 0 stays so. FIN and PSH are in the last segment only, CWR in the first. What lies behind the packet's
// declared length is cut off. Transport checksums come out right whatever was in the superframe's: who made it has checked it.
//
// It returns [ErrHeaders], [ErrSize], [ErrNoBuffer], or [packet.ErrTailroom] if the pool's buffers are too small; then b and segs
// are as they were. It allocates nothing, unless segs has to grow.
func (s Segmenter) Cut(b *packet.Buffer, o Options, segs []*packet.Buffer) ([]*packet.Buffer, error) {
	if !b.IsSuperframe() {
		return append(segs, b), nil
	}
	var x shape
	if err := x.find(b, o.Raw); err != nil {
		return segs, err
	}
	was, n := len(segs), x.segments()
	segs, err := take(s.Pool, append(segs, b), n-1, x.payload+x.size)
	if errors.Is(err, packet.ErrTailroom) && s.Large != nil {
		segs, err = take(s.Large, segs, n-1, x.payload+x.size)
	}
	if err != nil {
		segs[was] = nil
		return segs[:was], err
	}
	p := b.Bytes()
	for i := 1; i < n; i++ {
		x.fill(segs[was+i], b, p, i, o)
	}
	_ = b.Truncate(min(x.payload+x.size, x.end)) // it has them: find checked
	b.SetGSO(packet.GSONone, 0)
	x.patch(b.Bytes(), 0, 0, o.Partial)
	x.mark(b, o.Partial)
	return segs, nil
}

// take appends n empty buffers of a pool that have room for size bytes. On error it leaves what it returns as long as list was.
func take(pool *packet.Pool, list []*packet.Buffer, n, size int) ([]*packet.Buffer, error) {
	if n == 0 {
		return list, nil
	}
	if pool == nil || n > pool.Len() {
		return list, ErrNoBuffer
	}
	was := len(list)
	list = slices.Grow(list, n)[:was+n]
	got := pool.GetBatch(list[was:])
	err := error(nil)
	if got < n {
		err = ErrNoBuffer
	} else if list[was].Tailroom() < size {
		err = packet.ErrTailroom
	}
	if err != nil {
		packet.FreeBatch(list[was : was+got])
		return list[:was], err
	}
	return list, nil
}

// fill makes q the i-th segment of the superframe p in b.
func (x *shape) fill(q, b *packet.Buffer, p []byte, i int, o Options) {
	from := x.payload + i*x.size
	to := min(from+x.size, x.end)
	room, err := q.Extend(x.payload + to - from)
	if err != nil {
		return // cannot be: take has seen to that
	}
	copy(room, p[:x.payload])
	copy(room[x.payload:], p[from:to])
	x.patch(room, i, 0, o.Partial)
	q.SetHash(b.Hash())
	q.SetVLAN(b.VLAN())
	x.mark(q, o.Partial)
}

// mark says in a segment's metadata what its transport checksum is.
func (x *shape) mark(q *packet.Buffer, partial bool) {
	if !partial || x.absent {
		q.SetChecksumVerified()
		return
	}
	field := atTCPCheck
	if x.gso == packet.GSOUDP4 {
		field = atUDPCheck
	}
	_ = q.SetChecksumPartial(x.l4, field) // cannot be: the headers of 16 levels are shorter than metadata can say
}

// patch makes the headers of q, copied from the superframe, those of its i-th segment, but for what is in front of a level.
func (x *shape) patch(q []byte, i, level int, partial bool) {
	x.patchIP(q, i, level)
	sum := checksum.Add(x.pseudo, uint16(len(q)-x.l4))
	if x.gso == packet.GSOUDP4 {
		sum = x.patchUDP(q, sum, partial)
	} else {
		sum = x.patchTCP(q, i, sum, partial)
	}
	x.patchTunnels(q, level, sum)
}

// patchIP sets lengths, identifications and header checksums.
func (x *shape) patchIP(q []byte, i, level int) {
	for l := level; l < x.n; l++ {
		v := &x.levels[l]
		h := q[v.ip:]
		if l == x.n-1 && x.isTCP6() {
			binary.BigEndian.PutUint16(h[v6Length:], uint16(len(h)-tunnel.IPv6HeaderLen))
			return
		}
		x.putIPv4(h, v, uint16(len(h)), v.id+uint16(i))
	}
}

// putIPv4 sets the total length and identification of a header, and its checksum.
func (x *shape) putIPv4(h []byte, v *level, total, id uint16) {
	binary.BigEndian.PutUint16(h[2:], total)
	binary.BigEndian.PutUint16(h[4:], id)
	binary.BigEndian.PutUint16(h[10:], ^checksum.Add(checksum.Add(v.sum, total), id))
}

// patchTCP sets sequence number, flags and checksum of a TCP header; pseudo is the sum of the pseudo-header. It returns the sum of all
// from the TCP header on, as it will be.
func (x *shape) patchTCP(q []byte, i int, pseudo uint16, partial bool) uint16 {
	h := q[x.l4:]
	binary.BigEndian.PutUint32(h[atTCPSeq:], x.seq+uint32(i)*uint32(x.size))
	if i > 0 {
		h[atTCPFlags] &^= uint8(tcp.CWR)
	}
	if i < x.segments()-1 {
		h[atTCPFlags] &^= uint8(tcp.FIN | tcp.PSH)
	}
	binary.BigEndian.PutUint16(h[atTCPCheck:], pseudo)
	if !partial {
		binary.BigEndian.PutUint16(h[atTCPCheck:], ^checksum.Sum(h)) // with the pseudo-header's sum in the field
	}
	return ^pseudo // as sum and pseudo-header make 0xffff
}

// patchUDP is patchTCP for the length and checksum of UDP.
func (x *shape) patchUDP(q []byte, pseudo uint16, partial bool) uint16 {
	h := q[x.l4:]
	binary.BigEndian.PutUint16(h[atUDPLength:], uint16(len(h)))
	if x.absent {
		return checksum.Sum(h)
	}
	binary.BigEndian.PutUint16(h[atUDPCheck:], pseudo)
	if !partial {
		binary.BigEndian.PutUint16(h[atUDPCheck:], udp.NotZero(^checksum.Sum(h)))
	}
	return ^pseudo
}

// patchTunnels sets lengths and checksums of the UDP headers of tunnels, from the innermost on; sum is that of all from the
// transport header on. The payload need not be read again (Linux's 'local checksum offload').
func (x *shape) patchTunnels(q []byte, level int, sum uint16) {
	for l := x.n - 2; l >= level; l-- {
		v := &x.levels[l]
		if v.udp == 0 {
			continue
		}
		h := q[v.udp:x.l4]
		length := uint16(len(q) - v.udp)
		binary.BigEndian.PutUint16(h[atUDPLength:], length)
		if !v.summed {
			continue
		}
		binary.BigEndian.PutUint16(h[atUDPCheck:], 0)
		all := checksum.Add(checksum.Add(v.pseudo, length), checksum.Add(checksum.Sum(h), sum))
		binary.BigEndian.PutUint16(h[atUDPCheck:], udp.NotZero(^all))
	}
}

// Fit makes of the packet in b what a device can take that has the offloads of takes, and appends it to out: b itself, or what b
// was cut into, in order. VLAN tags are inserted, partial checksums completed, superframes cut or made UDP superframes where the
// device lacks what it takes; superframes that stay have a partial checksum. b is the caller's no more, or is in out.
//
// On error, which is one of [Segmenter.Cut] or of [packet.Buffer], nothing is appended and b is still the caller's, but not as it
// was. It allocates nothing, unless out has to grow.
func (s Segmenter) Fit(b *packet.Buffer, raw bool, takes packet.Offloads, out []*packet.Buffer) ([]*packet.Buffer, error) {
	if b.HasVLAN() && raw {
		b.SetVLAN(noTag)
	}
	if !takes.Has(packet.OffloadVLAN) {
		if err := b.InsertVLAN(); err != nil {
			return out, err
		}
	}
	sums := takes.Has(packet.OffloadChecksum)
	if !b.IsSuperframe() {
		if !sums {
			if err := b.CompleteChecksum(); err != nil {
				return out, err
			}
		}
		return append(out, b), nil
	}
	if sums {
		var x shape
		if err := x.find(b, raw); err != nil {
			return out, err
		}
		switch need := x.needs(); {
		case need != 0 && takes.Has(need) && x.segments() > 1:
			x.whole(b)
			return append(out, b), nil
		case takes.Has(packet.OffloadUDP4):
			if bundles, err := s.Bundle(b, raw, out); err == nil {
				return bundles, nil
			}
		}
	}
	return s.Cut(b, Options{Raw: raw, Partial: sums}, out)
}

// needs returns what a device must be able to do to cut the superframe; 0 if none can.
func (x *shape) needs() packet.Offloads {
	switch {
	case x.n == 1 && x.gso == packet.GSOTCP4:
		return packet.OffloadTCP4
	case x.n == 1 && x.gso == packet.GSOTCP6:
		return packet.OffloadTCP6
	case x.n == 1 && x.gso == packet.GSOUDP4:
		return packet.OffloadUDP4
	case x.n == 2 && x.levels[0].udp != 0 && x.gso == packet.GSOTCP4:
		return packet.OffloadTunnelTCP4
	}
	return 0
}

// whole brings a superframe into the form in which devices take it: with a partial checksum, nothing behind it, and the outer UDP
// checksum of a tunnel, if it has one, the sum of its pseudo-header (udp_set_csum in net/ipv4/udp.c).
func (x *shape) whole(b *packet.Buffer) {
	_ = b.Truncate(x.end)
	p := b.Bytes()
	if v := &x.levels[0]; x.n > 1 && v.summed {
		binary.BigEndian.PutUint16(p[v.udp+atUDPCheck:], checksum.Add(v.pseudo, uint16(len(p)-v.udp)))
	}
	if x.partial {
		return
	}
	field := atTCPCheck
	if x.gso == packet.GSOUDP4 {
		field = atUDPCheck
	}
	binary.BigEndian.PutUint16(p[x.l4+field:], checksum.Add(x.pseudo, uint16(len(p)-x.l4)))
	x.absent = false
	x.mark(b, true)
}
