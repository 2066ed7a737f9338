package gso

// What a superframe is made of: where its headers are, from the outermost to the one that its type names.

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
	"github.com/culvert-net/culvert/vxlan"
)

// maxLevels is how many IP headers a superframe may have.
const maxLevels = 16

// Where things are in headers, in bytes.
const (
	atTCPSeq    = 4
	atTCPOffset = 12
	atTCPFlags  = 13
	atTCPCheck  = 16
	atUDPLength = 4
	atUDPCheck  = 6

	v6Length = 4
	v6Next   = 6
)

const vxlanFlagI = 0x08 // RFC 7348 section 5

// level is one IP header and what it carries: a tunnel, or the transport header.
type level struct {
	ip  int    // where the IP header is
	udp int    // where the UDP header of a tunnel behind it is; 0 if there is none
	id  uint16 // IPv4 identification
	sum uint16 // of the IPv4 header with total length, identification and checksum zero
	// Of a tunnel's UDP header:
	pseudo uint16 // sum of the pseudo-header without the length
	summed bool   // it has a checksum
}

// shape is a superframe's headers.
type shape struct {
	levels [maxLevels]level
	n      int // levels in use; the last is that of the transport header

	gso     packet.GSOType
	size    int // bytes of payload of each segment but the last
	l4      int // where the transport header is
	payload int // where what is to be cut starts
	end     int // where it ends

	seq     uint32 // of TCP
	pseudo  uint16 // sum of the transport's pseudo-header without the length
	absent  bool   // UDP without a checksum
	partial bool   // the buffer says that the transport checksum is partial
}

// find looks at the superframe in b. A packet that is none, but has a transport checksum of its own, is taken for one of its own
// size.
func (x *shape) find(b *packet.Buffer, raw bool) error {
	p := b.Bytes()
	var size uint16
	x.gso, size = b.GSO()
	x.size, x.n = int(size), 0
	if x.size == 0 {
		return ErrSize
	}
	target := -1
	if start, field, ok := b.PartialChecksum(); ok {
		if want := atTCPCheck; x.gso == packet.GSOUDP4 && field != atUDPCheck || x.gso != packet.GSOUDP4 && field != want {
			return ErrHeaders
		}
		target, x.partial = start, true
	} else {
		x.partial = false
	}
	at, etherType := 0, ethernet.TypeIPv4
	if !raw {
		if at, etherType = flow.Network(p); at == 0 {
			return ErrHeaders
		}
	}
	return x.walk(p, at, len(p), etherType, target)
}

// walk goes through the headers from the network header at p[at:end], until the transport header that starts at target, or is the
// first of its kind if that is negative.
func (x *shape) walk(p []byte, at, end int, etherType uint16, target int) error {
	for ; x.n < maxLevels; x.n++ {
		if etherType == ethernet.TypeIPv6 {
			return x.findIPv6(p, at, end, target)
		}
		if etherType != ethernet.TypeIPv4 {
			return ErrHeaders
		}
		h, body, err := ipv4.Parse(p[at:end])
		if err != nil || h.IsFragment() {
			return ErrHeaders
		}
		next := at + h.Len()
		end = next + len(body)
		v := &x.levels[x.n]
		*v = level{ip: at, id: h.ID(), sum: sumWithout(h)}
		switch protocol := h.Protocol(); {
		case protocol == tcp.Protocol:
			return x.transport(p, next, end, target, packet.GSOTCP4, checksum.PseudoHeader(h.Src(), h.Dst(), protocol, 0))
		case protocol == udp.Protocol && x.gso == packet.GSOUDP4 && (target < 0 || target == next):
			return x.transport(p, next, end, target, packet.GSOUDP4, checksum.PseudoHeader(h.Src(), h.Dst(), protocol, 0))
		case protocol == udp.Protocol:
			if len(body) < udp.HeaderLen+vxlan.HeaderLen+ethernet.HeaderLen || body[udp.HeaderLen]&vxlanFlagI == 0 {
				return ErrHeaders
			}
			v.udp, v.summed = next, binary.BigEndian.Uint16(body[atUDPCheck:]) != 0
			v.pseudo = checksum.PseudoHeader(h.Src(), h.Dst(), protocol, 0)
			frame := next + udp.HeaderLen + vxlan.HeaderLen
			n, t := flow.Network(p[frame:end])
			if n == 0 {
				return ErrHeaders
			}
			at, etherType = frame+n, t
		case protocol == ipv4.ProtocolIPIP:
			at = next
		default:
			return ErrHeaders
		}
	}
	return ErrHeaders
}

// sumWithout returns the sum of an IPv4 header with total length, identification and checksum zero.
func sumWithout(h ipv4.Header) uint16 {
	sum := checksum.Sum(h.Bytes())
	for _, v := range [...]uint16{h.TotalLen(), h.ID(), h.Checksum()} {
		sum = checksum.Add(sum, ^v)
	}
	return sum
}

// findIPv6 takes the last level, if that is IPv6.
func (x *shape) findIPv6(p []byte, at, end, target int) error {
	if end-at < tunnel.IPv6HeaderLen || p[at]>>4 != 6 || p[at+v6Next] != tcp.Protocol {
		return ErrHeaders
	}
	next := at + tunnel.IPv6HeaderLen
	n := int(binary.BigEndian.Uint16(p[at+v6Length:]))
	if n > end-next {
		return ErrHeaders
	}
	x.levels[x.n] = level{ip: at}
	pseudo := checksum.Add(checksum.Sum(p[at+8:next]), tcp.Protocol) // RFC 8200 section 8.1
	return x.transport(p, next, next+n, target, packet.GSOTCP6, pseudo)
}

// transport takes the transport header.
func (x *shape) transport(p []byte, at, end, target int, t packet.GSOType, pseudo uint16) error {
	if t != x.gso || target >= 0 && target != at {
		return ErrHeaders
	}
	x.n++
	x.l4, x.end, x.pseudo, x.absent = at, end, pseudo, false
	if t == packet.GSOUDP4 {
		if end-at < udp.HeaderLen {
			return ErrHeaders
		}
		x.payload = at + udp.HeaderLen
		x.absent = !x.partial && binary.BigEndian.Uint16(p[at+atUDPCheck:]) == 0
		return nil
	}
	if end-at < tcp.HeaderLen {
		return ErrHeaders
	}
	n := int(p[at+atTCPOffset]>>4) * 4
	if n < tcp.HeaderLen || n > end-at {
		return ErrHeaders
	}
	x.payload, x.seq = at+n, binary.BigEndian.Uint32(p[at+atTCPSeq:])
	return nil
}

// segments returns how many there are.
func (x *shape) segments() int { return max(1, (x.end-x.payload+x.size-1)/x.size) }

// isTCP6 reports whether the last level is IPv6.
func (x *shape) isTCP6() bool { return x.gso == packet.GSOTCP6 }

// SegmentLen returns the length in bytes of the longest segment of the packet in b, from the front of the buffer on, whatever header
// starts there; for a packet that is no superframe, its own length. It is this that an MTU limits.
func SegmentLen(b *packet.Buffer, raw bool) int {
	n := b.Len()
	t, size := b.GSO()
	if t == packet.GSONone {
		return n
	}
	if start, _, ok := b.PartialChecksum(); ok {
		p := b.Bytes()
		switch {
		case start < 0 || start+udp.HeaderLen > n:
			return n
		case t == packet.GSOUDP4:
			return min(n, start+udp.HeaderLen+int(size))
		case start+tcp.HeaderLen > n:
			return n
		}
		return min(n, start+int(p[start+atTCPOffset]>>4)*4+int(size))
	}
	var x shape
	if x.find(b, raw) != nil {
		return n
	}
	return min(n, x.payload+x.size)
}
