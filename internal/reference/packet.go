package reference

// Packets as plain structs: taken apart into copies, put together from scratch.

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/culvert-net/culvert/ethernet"
)

// What stands for a value that is the node's to choose. Traffic should not use these values.
const (
	AnyID   uint16 = 0x5afe // of an IPv4 header that the node made: any but 0
	AnyPort uint16 = 1      // of a tunnel's outer UDP header: any of the range, the same for all packets of the inner flow
)

// EtherTypes and protocols (IANA).
const (
	typeIPv4 uint16 = 0x0800
	typeARP  uint16 = 0x0806
	typeVLAN uint16 = 0x8100
	typeQinQ uint16 = 0x88a8

	protocolICMP uint8 = 1
	protocolIPIP uint8 = 4
	protocolTCP  uint8 = 6
	protocolUDP  uint8 = 17
)

const (
	etherLen = 14
	ipLen    = 20
	udpLen   = 8
	vxlanLen = 8
	arpLen   = 28
	icmpLen  = 8
)

// frame is an Ethernet frame.
type frame struct {
	dst, src ethernet.MAC
	kind     uint16 // EtherType
	payload  []byte
}

func parseFrame(b []byte) (f frame, ok bool) {
	if len(b) < etherLen {
		return f, false
	}
	copy(f.dst[:], b)
	copy(f.src[:], b[6:])
	f.kind = binary.BigEndian.Uint16(b[12:])
	f.payload = slices.Clone(b[etherLen:])
	return f, true
}

func (f frame) bytes() []byte {
	b := slices.Concat(f.dst[:], f.src[:])
	b = binary.BigEndian.AppendUint16(b, f.kind)
	return append(b, f.payload...)
}

func isGroup(m ethernet.MAC) bool { return m[0]&1 != 0 }

// ipPacket is an IPv4 packet. Padding is not part of it.
type ipPacket struct {
	tos           uint8
	id            uint16
	reserved      bool
	df, mf        bool
	offset        int // of a fragment, in bytes
	ttl, protocol uint8
	src, dst      netip.Addr
	options       []byte
	payload       []byte

	recorded []byte // of options: the address that record route was given last

	// Of an answer: where in options its source and the time belong; 0: nowhere.
	senderAt []int
	stampAt  int
}

// parseIP returns the packet, or every reason for which it may be dropped (ip_rcv_core of net/ipv4/ip_input.c; RFC 1122
// section 3.2.1).
func parseIP(b []byte) (p ipPacket, faults []string) {
	if len(b) < ipLen {
		return p, []string{"IPShort"}
	}
	header := int(b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || header < ipLen {
		faults = append(faults, "IPHeader")
	}
	if len(b) < header {
		return p, append(faults, "IPShort", "IPTruncated", "IPHeader") // the header itself is cut
	}
	if header >= ipLen && checksum(b[:header]) != 0 {
		faults = append(faults, "IPChecksum")
	}
	if total < header {
		faults = append(faults, "IPHeader")
	}
	if total > len(b) {
		faults = append(faults, "IPTruncated")
	}
	if faults != nil {
		return p, faults
	}
	flags := binary.BigEndian.Uint16(b[6:])
	return ipPacket{
		tos: b[1], id: binary.BigEndian.Uint16(b[4:]),
		reserved: flags&0x8000 != 0, df: flags&0x4000 != 0, mf: flags&0x2000 != 0, offset: int(flags&0x1fff) * 8,
		ttl: b[8], protocol: b[9],
		src: netip.AddrFrom4([4]byte(b[12:16])), dst: netip.AddrFrom4([4]byte(b[16:20])),
		options: slices.Clone(b[ipLen:header]), payload: slices.Clone(b[header:total]),
	}, nil
}

func (p ipPacket) headerLen() int { return ipLen + len(p.options) }

func (p ipPacket) len() int { return p.headerLen() + len(p.payload) }

func (p ipPacket) isFragment() bool { return p.mf || p.offset != 0 }

func (p ipPacket) bytes() []byte {
	b := make([]byte, ipLen, p.len())
	b[0] = 4<<4 | uint8(p.headerLen()/4)
	b[1] = p.tos
	binary.BigEndian.PutUint16(b[2:], uint16(p.len()))
	binary.BigEndian.PutUint16(b[4:], p.id)
	flags := uint16(p.offset / 8)
	for _, f := range []struct {
		on  bool
		bit uint16
	}{{p.reserved, 0x8000}, {p.df, 0x4000}, {p.mf, 0x2000}} {
		if f.on {
			flags |= f.bit
		}
	}
	binary.BigEndian.PutUint16(b[6:], flags)
	b[8], b[9] = p.ttl, p.protocol
	src, dst := p.src.As4(), p.dst.As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	b = append(b, p.options...)
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, p.payload...)
}

// checksum is that of RFC 1071, word by word.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// transportChecksum is checksum with the pseudo-header in front (RFC 768).
func transportChecksum(src, dst netip.Addr, protocol uint8, segment []byte) uint16 {
	s, d := src.As4(), dst.As4()
	b := slices.Concat(s[:], d[:], []byte{0, protocol})
	b = binary.BigEndian.AppendUint16(b, uint16(len(segment)))
	return checksum(append(b, segment...))
}

// udpPacket puts a UDP header in front of payload, with a checksum or without.
func udpPacket(src, dst netip.Addr, srcPort, dstPort uint16, payload []byte, sum bool) []byte {
	b := binary.BigEndian.AppendUint16(nil, srcPort)
	b = binary.BigEndian.AppendUint16(b, dstPort)
	b = binary.BigEndian.AppendUint16(b, uint16(udpLen+len(payload)))
	b = append(b, 0, 0)
	b = append(b, payload...)
	if sum {
		c := transportChecksum(src, dst, protocolUDP, b)
		if c == 0 {
			c = 0xffff
		}
		binary.BigEndian.PutUint16(b[6:], c)
	}
	return b
}

// arpPacket is an ARP packet for IPv4 over Ethernet (RFC 826).
type arpPacket struct {
	op                 uint16
	senderMAC          ethernet.MAC
	senderIP, targetIP netip.Addr
	targetMAC          ethernet.MAC
}

const (
	arpRequest uint16 = 1
	arpReply   uint16 = 2
)

var arpHead = []byte{0, 1, 8, 0, 6, 4} // Ethernet, IPv4, and the lengths of their addresses

func parseARP(b []byte) (p arpPacket, ok bool) {
	if len(b) < arpLen || !slices.Equal(b[:6], arpHead) {
		return p, false
	}
	p.op = binary.BigEndian.Uint16(b[6:])
	copy(p.senderMAC[:], b[8:])
	p.senderIP = netip.AddrFrom4([4]byte(b[14:18]))
	copy(p.targetMAC[:], b[18:])
	p.targetIP = netip.AddrFrom4([4]byte(b[24:28]))
	return p, true
}

func (p arpPacket) bytes() []byte {
	b := slices.Clone(arpHead)
	b = binary.BigEndian.AppendUint16(b, p.op)
	s, t := p.senderIP.As4(), p.targetIP.As4()
	return slices.Concat(b, p.senderMAC[:], s[:], p.targetMAC[:], t[:])
}
