// Package arp reads and writes ARP packets for IPv4 over Ethernet (RFC 826, RFC 5227), and keeps neighbours.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Hardware type 1           |     Protocol type 0x0800      |
//	+---------------+---------------+-------------------------------+
//	| HW length 6   | Proto length 4|           Operation           |
//	+---------------+---------------+-------------------------------+
//	|                          Sender MAC                           |
//	+                               +-------------------------------+
//	|                               |           Sender IPv4         |
//	+-------------------------------+-------------------------------+
//	|           Sender IPv4         |           Target MAC          |
//	+-------------------------------+                               +
//	|                                                               |
//	+---------------------------------------------------------------+
//	|                          Target IPv4                          |
//	+---------------------------------------------------------------+
//
// A [Packet] is a view of the caller's bytes: it is valid as long as they are, and not safe for concurrent use with
// their writers.
//
// Beside the packets stands what is done with them, each part usable alone:
//
//   - [Table] keeps neighbours as Linux does: it says when to ask whom, and which packets may go now;
//   - [Responder] answers requests, for addresses of one's own and by proxy;
//   - [Claim] finds out if an address is free, announces it and defends it (RFC 5227).
//
// None of them sends, or reads a clock: the time is an argument, what is to be sent a result.
package arp

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/culvert-net/culvert/ethernet"
)

// Sizes in bytes.
const (
	Len      = 28                       // of an ARP packet for IPv4 over Ethernet
	FrameLen = ethernet.HeaderLen + Len // of one in an untagged Ethernet frame, before padding
)

// Op is the operation of a packet. RARP uses operations of its own (RFC 903).
type Op uint16

// The operations.
const (
	Request        Op = 1
	Reply          Op = 2
	ReverseRequest Op = 3
	ReverseReply   Op = 4
)

// fixedFields are the first six bytes of every packet read and written here: Ethernet, IPv4 and the lengths of
// their addresses.
const fixedFields uint64 = 0x0001_0800_06_04 << 16

// Faults of a packet, and of the memory for one to be built.
var (
	ErrShort    = errors.New("arp: packet shorter than 28 bytes")
	ErrHardware = errors.New("arp: hardware type is not Ethernet with 6-byte addresses")
	ErrProtocol = errors.New("arp: protocol type is not IPv4 with 4-byte addresses")
	ErrSpace    = errors.New("arp: buffer too small for the packet")
)

// Packet is a validated view of a packet. The zero Packet is not valid, see [Packet.IsValid]; only [Parse] makes
// others.
type Packet struct {
	p *[Len]byte
}

// Parse checks payload, that of an Ethernet frame, and returns the packet in it; padding behind it is ignored. It
// returns [ErrShort], [ErrHardware] or [ErrProtocol].
func Parse(payload []byte) (Packet, error) {
	if len(payload) < Len {
		return Packet{}, ErrShort
	}
	p := (*[Len]byte)(payload)
	if binary.BigEndian.Uint64(p[0:])&^0xffff != fixedFields {
		if binary.BigEndian.Uint16(p[0:]) != 1 || p[4] != ethernet.MACLen {
			return Packet{}, ErrHardware
		}
		return Packet{}, ErrProtocol
	}
	return Packet{p}, nil
}

// IsValid reports whether p comes from a successful [Parse].
func (p Packet) IsValid() bool { return p.p != nil }

// Bytes returns the packet's 28 bytes, which alias the frame.
func (p Packet) Bytes() []byte { return p.p[:] }

// Op returns the operation.
func (p Packet) Op() Op { return Op(binary.BigEndian.Uint16(p.p[6:])) }

// SenderMAC returns the hardware address of the sender.
func (p Packet) SenderMAC() ethernet.MAC { return ethernet.MAC(p.p[8:14]) }

// SenderIP returns the IPv4 address of the sender; 0.0.0.0 in a probe.
func (p Packet) SenderIP() [4]byte { return [4]byte(p.p[14:18]) }

// TargetMAC returns the hardware address of the target; it means nothing in a request.
func (p Packet) TargetMAC() ethernet.MAC { return ethernet.MAC(p.p[18:24]) }

// TargetIP returns the IPv4 address of the target: in a request, the one asked for.
func (p Packet) TargetIP() [4]byte { return [4]byte(p.p[24:28]) }

// IsProbe reports whether p asks if anybody uses an address, without claiming one (RFC 5227 section 1.1).
func (p Packet) IsProbe() bool { return p.Op() == Request && p.SenderIP() == [4]byte{} }

// IsAnnouncement reports whether p tells everybody the sender's own address, as a request or as a reply (a gratuitous
// ARP).
func (p Packet) IsAnnouncement() bool {
	return p.SenderIP() == p.TargetIP() && p.SenderIP() != [4]byte{} && (p.Op() == Request || p.Op() == Reply)
}

// Fields are the values of a packet to be built. The functions below make the usual ones.
type Fields struct {
	Op        Op
	SenderMAC ethernet.MAC
	SenderIP  [4]byte
	TargetMAC ethernet.MAC
	TargetIP  [4]byte
}

// FieldsOf returns the values of p.
func FieldsOf(p Packet) Fields {
	return Fields{
		Op: p.Op(), SenderMAC: p.SenderMAC(), SenderIP: p.SenderIP(), TargetMAC: p.TargetMAC(), TargetIP: p.TargetIP(),
	}
}

// WhoHas returns the request of mac, whose address is ip, for the MAC address of target.
func WhoHas(target [4]byte, mac ethernet.MAC, ip [4]byte) Fields {
	return Fields{Op: Request, SenderMAC: mac, SenderIP: ip, TargetIP: target}
}

// Announcement returns the announcement that ip is at mac (RFC 5227 section 2.3).
func Announcement(mac ethernet.MAC, ip [4]byte) Fields { return WhoHas(ip, mac, ip) }

// Probe returns the question of mac if anybody uses ip (RFC 5227 section 2.1.1).
func Probe(mac ethernet.MAC, ip [4]byte) Fields { return WhoHas(ip, mac, [4]byte{}) }

// ReplyTo returns the answer to request: the address asked for is at mac.
func ReplyTo(request Packet, mac ethernet.MAC) Fields {
	return Fields{
		Op:        Reply,
		SenderMAC: mac,
		SenderIP:  request.TargetIP(),
		TargetMAC: request.SenderMAC(),
		TargetIP:  request.SenderIP(),
	}
}

// Put writes the packet at the start of b and returns the view of it. It returns [ErrSpace] and writes nothing if b is
// too small.
func (f Fields) Put(b []byte) (Packet, error) {
	if len(b) < Len {
		return Packet{}, ErrSpace
	}
	p := (*[Len]byte)(b)
	f.put(p)
	return Packet{p}, nil
}

func (f *Fields) put(p *[Len]byte) {
	binary.BigEndian.PutUint64(p[0:], fixedFields|uint64(f.Op))
	copy(p[8:14], f.SenderMAC[:])
	copy(p[14:18], f.SenderIP[:])
	copy(p[18:24], f.TargetMAC[:])
	copy(p[24:28], f.TargetIP[:])
}

// Append appends the packet to b, which grows only if its capacity is too small.
func (f Fields) Append(b []byte) []byte {
	at := len(b)
	b = slices.Grow(b, Len)[:at+Len]
	f.put((*[Len]byte)(b[at:]))
	return b
}

// AppendFrame appends the packet in an untagged Ethernet frame of [FrameLen] bytes to b, which grows only if its
// capacity is too small. The frame goes from the sender's MAC address to dst: [ethernet.Broadcast] for requests, the
// asker's address for replies.
func (f Fields) AppendFrame(b []byte, dst ethernet.MAC) []byte {
	at := len(b)
	b = slices.Grow(b, FrameLen)[:at+FrameLen]
	p := (*[FrameLen]byte)(b[at:])
	copy(p[0:6], dst[:])
	copy(p[6:12], f.SenderMAC[:])
	binary.BigEndian.PutUint16(p[12:], ethernet.TypeARP)
	f.put((*[Len]byte)(p[ethernet.HeaderLen:]))
	return b
}
