package gso

// Putting together: consecutive TCP segments or UDP datagrams of a flow become a superframe (tcp_gro_receive in
// net/ipv4/tcp_offload.c, udp_gro_receive_segment in udp_offload.c, inet_gro_receive in af_inet.c).

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
)

const (
	// maxFlows is how many flows are put together at a time (MAX_GRO_SKBS, of each of Linux's hash buckets).
	maxFlows = 8
	// maxMerged is how long a superframe becomes, in bytes from its IP header on: what Linux's TCP makes of its own
	// (sk_gso_max_size, which leaves MAX_TCP_HEADER), so that tunnel headers still fit in front.
	maxMerged = ipv4.MaxLen - 320
)

// Coalescer puts segments together. The zero Coalescer does so only where the first buffer of a flow has room behind its packet.
// It is not safe for concurrent use; it keeps nothing from one call to the next but memory.
type Coalescer struct {
	// Large is where a superframe is made for which the first segment's buffer has no room: its buffers should have LargeSize bytes
	// behind their headroom. nil, or none left: the segments stay as they are.
	Large *packet.Pool

	flows [maxFlows]merged
	next  int // flow to be given up for another
	freed []*packet.Buffer
}

// merged is a superframe in the making, of one segment at first.
type merged struct {
	segment
	b     *packet.Buffer // nil: none
	place int            // in the batch
	count int            // segments
	size  int            // payload of the first
	fixed bool           // all have the same identification
	ended bool           // a segment was the last one that fits: a short one, or with PSH or FIN
}

// segment is a packet that may be part of a superframe.
type segment struct {
	ip, l4, payload, end int // where they are in the packet
	v6, udp              bool
	absent               bool   // UDP without a checksum
	key                  uint64 // ports, and a hash of addresses and protocol, to tell flows apart fast
	seq                  uint32
	id                   uint16
	flags                tcp.Flags
}

// verdict is what a packet means to superframes in the making.
type verdict uint8

const (
	other     verdict = iota // nothing: it is no TCP
	solitary                 // it is of its flow, but must stay alone; what follows must not overtake it
	mergeable                // it may be the first or a further segment
	unknown                  // it may be of any flow
)

// Merge puts together what belongs together in batch and returns what is then in it, at its front; segments that became part of
// another's superframe are freed. Packets start with an Ethernet header, or with their IP header if raw. takes says of what kinds
// there may be superframes: [packet.OffloadTCP4], [packet.OffloadTCP6] and [packet.OffloadUDP4].
//
// A superframe is at the place of its first segment, and no packet of a flow overtakes another of it. Segments are merged if they
// differ in nothing but length, sequence number, PSH and FIN, checksums and IPv4 identification, which rises by one or, with DF,
// stays; TCP options included. They have payload, as much as the first one has or, the last one, less; no IP options, no fragments, no
// flags but ACK, PSH, FIN and ECE, and a checksum that is right, or partial; of UDP it may be absent, and a partial one further in, of
// a packet in a tunnel, is completed. A superframe has a partial checksum.
//
// [Segmenter.Cut] makes the same segments of it, but that identifications that stay the same rise then, which DF makes unimportant
// (RFC 6864 section 4), and that absent checksums are there then. It allocates nothing in the long run.
func (c *Coalescer) Merge(batch []*packet.Buffer, raw bool, takes packet.Offloads) []*packet.Buffer {
	n := 0
	for _, b := range batch {
		var s segment
		merge := false
		switch s.classify(b, raw, takes) {
		case mergeable:
			merge = c.add(batch, b, &s, n)
		case solitary:
			c.close(c.find(&s))
		case unknown:
			c.closeAll()
		}
		if !merge {
			batch[n] = b
			n++
		}
	}
	c.closeAll()
	clear(batch[n:])
	packet.FreeBatch(c.freed)
	c.freed = c.freed[:0]
	return batch[:n]
}

// classify looks at a packet.
func (s *segment) classify(b *packet.Buffer, raw bool, takes packet.Offloads) verdict {
	p := b.Bytes()
	etherType := ethernet.TypeIPv4
	if raw {
		if len(p) > 0 && p[0]>>4 == 6 {
			etherType = ethernet.TypeIPv6
		}
	} else if s.ip, etherType = flow.Network(p); s.ip == 0 {
		return other
	}
	v := other
	switch {
	case etherType == ethernet.TypeIPv4:
		v = s.ipv4(p, takes)
	case etherType == ethernet.TypeIPv6 && takes.Has(packet.OffloadTCP6):
		v = s.ipv6(p)
	}
	switch {
	case v != mergeable:
		return v
	case s.udp:
		return s.datagram(b, p)
	}
	return s.tcp(b, p)
}

// ipv4 takes the network header.
func (s *segment) ipv4(p []byte, takes packet.Offloads) verdict {
	if len(p)-s.ip < ipv4.HeaderLen {
		return other
	}
	h := (*[ipv4.HeaderLen]byte)(p[s.ip:])
	switch {
	case h[9] == tcp.Protocol && takes.Has(packet.OffloadTCP4):
	case h[9] == udp.Protocol && takes.Has(packet.OffloadUDP4):
		s.udp = true
	default:
		return other
	}
	switch {
	case h[0] != 0x45 || binary.BigEndian.Uint16(h[6:])&^0x4000 != 0: // options, a fragment, or the evil bit
		return unknown
	}
	s.l4, s.end = s.ip+ipv4.HeaderLen, s.ip+int(binary.BigEndian.Uint16(h[2:]))
	s.id = binary.BigEndian.Uint16(h[4:])
	s.key = uint64(binary.BigEndian.Uint32(h[12:])^binary.BigEndian.Uint32(h[16:])^uint32(h[9])) << 32
	return mergeable
}

// ipv6 likewise.
func (s *segment) ipv6(p []byte) verdict {
	if len(p)-s.ip < tunnel.IPv6HeaderLen {
		return other
	}
	h := (*[tunnel.IPv6HeaderLen]byte)(p[s.ip:])
	switch next := h[v6Next]; {
	case h[0]>>4 != 6:
		return other
	case next != tcp.Protocol:
		if next == 0 || next == 43 || next == 44 || next == 60 { // extension headers, which may be in front of TCP (RFC 8200 section 4)
			return unknown
		}
		return other
	}
	s.v6 = true
	s.l4 = s.ip + tunnel.IPv6HeaderLen
	s.end = s.l4 + int(binary.BigEndian.Uint16(h[v6Length:]))
	s.key = uint64(binary.BigEndian.Uint32(h[20:])^binary.BigEndian.Uint32(h[36:])) << 32
	return mergeable
}

// mergeFlags are the flags that a segment of a superframe may have, which has ACK.
const mergeFlags = tcp.ACK | tcp.PSH | tcp.FIN | tcp.ECE

// tcp takes the transport header.
func (s *segment) tcp(b *packet.Buffer, p []byte) verdict {
	if len(p)-s.l4 < tcp.HeaderLen {
		return other
	}
	h := (*[tcp.HeaderLen]byte)(p[s.l4:])
	s.key |= uint64(binary.BigEndian.Uint32(h[0:]))
	s.payload = s.l4 + int(h[atTCPOffset]>>4)*4
	s.seq, s.flags = binary.BigEndian.Uint32(h[atTCPSeq:]), tcp.Flags(h[atTCPFlags])
	switch {
	case b.IsSuperframe(), s.flags&tcp.ACK == 0, s.flags&^mergeFlags != 0:
		return solitary
	case s.end != len(p), s.payload < s.l4+tcp.HeaderLen, s.payload >= s.end: // padding, malformed, or no payload
		return solitary
	case !s.sound(b, p):
		return solitary
	}
	return mergeable
}

// datagram takes the transport header of UDP.
func (s *segment) datagram(b *packet.Buffer, p []byte) verdict {
	if len(p)-s.l4 < udp.HeaderLen {
		return other
	}
	h := (*[udp.HeaderLen]byte)(p[s.l4:])
	s.key |= uint64(binary.BigEndian.Uint32(h[0:]))
	s.payload = s.l4 + udp.HeaderLen
	s.absent = h[atUDPCheck] == 0 && h[atUDPCheck+1] == 0
	if start, _, ok := b.PartialChecksum(); ok && start > s.l4 && !b.IsSuperframe() {
		_ = b.CompleteChecksum() // else it is no less partial, and not sound
	}
	switch {
	case b.IsSuperframe(), s.end != len(p), s.payload >= s.end, int(binary.BigEndian.Uint16(h[atUDPLength:])) != s.end-s.l4:
		return solitary
	case !s.sound(b, p):
		return solitary
	}
	return mergeable
}

// sound reports whether a segment's checksums are right, and such as cutting would make.
func (s *segment) sound(b *packet.Buffer, p []byte) bool {
	if !s.v6 && checksum.Sum20((*[ipv4.HeaderLen]byte)(p[s.ip:])) != 0xffff {
		return false
	}
	switch b.Checksum() {
	case packet.ChecksumPartial:
		start, field, _ := b.PartialChecksum()
		return start == s.l4 && field == s.checkAt()
	case packet.ChecksumUnknown:
		if s.absent {
			return true
		}
		if checksum.Add(s.pseudo(p), checksum.Sum(p[s.l4:s.end])) != 0xffff {
			return false
		}
	}
	return s.udp || binary.BigEndian.Uint16(p[s.l4+atTCPCheck:]) != 0xffff // right where 0 is, too, but not what a sum comes to
}

// checkAt returns where the checksum is in the transport header.
func (s *segment) checkAt() int {
	if s.udp {
		return atUDPCheck
	}
	return atTCPCheck
}

// pseudo returns the sum of the pseudo-header.
func (s *segment) pseudo(p []byte) uint16 {
	addrs := p[s.ip+12 : s.ip+20]
	if s.v6 {
		addrs = p[s.ip+8 : s.l4]
	}
	protocol := uint16(tcp.Protocol)
	if s.udp {
		protocol = udp.Protocol
	}
	return checksum.Add(checksum.Sum(addrs), checksum.Add(protocol, uint16(s.end-s.l4)))
}

// find returns the superframe in the making that may be of a segment's flow, or nil.
func (c *Coalescer) find(s *segment) *merged {
	for i := range c.flows {
		if f := &c.flows[i]; f.b != nil && f.key == s.key {
			return f
		}
	}
	return nil
}

// add makes a segment part of a superframe, and reports whether it did; else of one of its own, at a place in batch.
func (c *Coalescer) add(batch []*packet.Buffer, b *packet.Buffer, s *segment, place int) bool {
	f := c.find(s)
	if f != nil && f.takes(b, s) && c.room(batch, f, s.end-s.payload) {
		f.append(b, s)
		c.freed = append(c.freed, b)
		if f.ended {
			c.close(f)
		}
		return true
	}
	c.close(f)
	if s.flags&(tcp.PSH|tcp.FIN) != 0 {
		return false // nothing may follow
	}
	if f == nil {
		f = c.free()
	}
	*f = merged{segment: *s, b: b, place: place, count: 1, size: s.end - s.payload}
	return false
}

// free returns a flow that is free: of those in use the oldest is closed.
func (c *Coalescer) free() *merged {
	for i := range c.flows {
		if f := &c.flows[i]; f.b == nil {
			return f
		}
	}
	f := &c.flows[c.next%maxFlows]
	c.next++
	c.close(f)
	return f
}

// takes reports whether a segment is the next one of a superframe.
func (f *merged) takes(b *packet.Buffer, s *segment) bool {
	n := s.end - s.payload
	if s.payload != f.payload || n > f.size || f.end-f.ip+n > maxMerged || b.VLAN() != f.b.VLAN() {
		return false
	}
	p, q := f.b.Bytes(), b.Bytes()
	if !same(p[:f.ip], q[:f.ip]) { // Ethernet
		return false
	}
	h, o := p[f.ip:f.l4], q[f.ip:f.l4]
	if f.v6 {
		if !same(h[:v6Length], o[:v6Length]) || !same(h[v6Next:], o[v6Next:]) {
			return false
		}
	} else if !same(h[:2], o[:2]) || !same(h[6:10], o[6:10]) || !same(h[12:], o[12:]) || !f.follows(s, o[6]&0x40 != 0) {
		return false
	}
	h, o = p[f.l4:f.payload], q[f.l4:f.payload]
	if f.udp {
		return f.count < maxDatagrams && f.absent == s.absent // ports are in the key
	}
	return s.seq == f.seq+uint32(f.end-f.payload) && same(h[8:atTCPFlags], o[8:atTCPFlags]) && f.flags&tcp.ECE == s.flags&tcp.ECE &&
		same(h[14:atTCPCheck], o[14:atTCPCheck]) && same(h[atTCPCheck+2:], o[atTCPCheck+2:])
}

// follows reports whether a segment's identification is the next one: the same one is too if DF is set, once the second has it.
func (f *merged) follows(s *segment, df bool) bool {
	if f.count == 1 {
		f.fixed = df && s.id == f.id
	}
	if f.fixed {
		return s.id == f.id
	}
	return s.id == f.id+uint16(f.count)
}

// room sees to it that n bytes fit behind a superframe, in another buffer if need be, and reports whether they do.
func (c *Coalescer) room(batch []*packet.Buffer, f *merged, n int) bool {
	if f.b.Tailroom() >= n {
		return true
	}
	if c.Large == nil {
		return false
	}
	q := c.Large.Get()
	if q == nil {
		return false
	}
	if q.Tailroom() < f.b.Len()+n || q.CopyFrom(f.b) != nil {
		q.Free()
		return false
	}
	c.freed = append(c.freed, f.b)
	f.b, batch[f.place] = q, q
	return true
}

// append puts a segment's payload behind a superframe.
func (f *merged) append(b *packet.Buffer, s *segment) {
	data := b.Bytes()[s.payload:s.end]
	room, err := f.b.Extend(len(data))
	if err != nil {
		return // cannot be: room has seen to that
	}
	copy(room, data)
	f.end += len(data)
	f.count++
	f.flags |= s.flags
	f.ended = len(data) < f.size || s.flags&(tcp.PSH|tcp.FIN) != 0
}

// closeAll ends all superframes in the making.
func (c *Coalescer) closeAll() {
	for i := range c.flows {
		c.close(&c.flows[i])
	}
	c.next = 0
}

// close ends a superframe in the making: one of several segments gets its headers. f may be nil.
func (c *Coalescer) close(f *merged) {
	if f == nil || f.b == nil {
		return
	}
	b := f.b
	f.b = nil
	if f.count == 1 {
		return
	}
	p := b.Bytes()
	h, kind := p[f.ip:f.l4], packet.GSOTCP4
	if f.v6 {
		kind = packet.GSOTCP6
		binary.BigEndian.PutUint16(h[v6Length:], uint16(f.end-f.l4))
	} else {
		binary.BigEndian.PutUint16(h[2:], uint16(f.end-f.ip))
		binary.BigEndian.PutUint16(h[10:], 0)
		binary.BigEndian.PutUint16(h[10:], checksum.Of(h))
	}
	t := p[f.l4:]
	if f.udp {
		kind = packet.GSOUDP4
		binary.BigEndian.PutUint16(t[atUDPLength:], uint16(len(t)))
	} else {
		t[atTCPFlags] |= uint8(f.flags & (tcp.PSH | tcp.FIN))
	}
	binary.BigEndian.PutUint16(t[f.checkAt():], f.pseudo(p))
	b.SetGSO(kind, uint16(f.size))
	_ = b.SetChecksumPartial(f.l4, f.checkAt()) // within reach but for absurd headroom; the type then says enough
}

func same(a, b []byte) bool { return string(a) == string(b) }
