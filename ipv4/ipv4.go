// Package ipv4 reads, edits and writes IPv4 headers (RFC 791), options and fragments included.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|Version|  IHL  |    DSCP   |ECN|         Total Length          |
//	+-------------------------------+-+-+-+-------------------------+
//	|        Identification         |R|D|M|  Fragment Offset / 8    |
//	+---------------+---------------+-+-+-+-------------------------+
//	| Time to Live  |   Protocol    |        Header Checksum        |
//	+---------------+---------------+-------------------------------+
//	|                        Source Address                         |
//	+---------------------------------------------------------------+
//	|                     Destination Address                       |
//	+---------------------------------------------------------------+
//	|                  Options, 0 to 40 bytes                       |
//	+---------------------------------------------------------------+
//
// [Parse] checks every length once; accessors after it cannot panic. Setters edit in place and keep the header
// checksum in step incrementally (RFC 1624), so a right checksum stays right and a wrong one stays wrong. A [Header]
// is a view of the caller's bytes: it is valid as long as they are, and not safe for concurrent use with their writers.
package ipv4

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/culvert-net/culvert/checksum"
)

// Sizes in bytes.
const (
	HeaderLen    = 20 // of a header without options
	MaxHeaderLen = 60 // of a header with all the options that IHL can announce
	MaxLen       = 65535
)

// Protocol numbers (IANA) that culvert knows by name.
const (
	ProtocolICMP uint8 = 1
	ProtocolIPIP uint8 = 4
	ProtocolTCP  uint8 = 6
	ProtocolUDP  uint8 = 17
	ProtocolIPv6 uint8 = 41
)

// DefaultTTL is the time to live of packets that a host sends (RFC 1700, Linux's net.ipv4.ip_default_ttl).
const DefaultTTL = 64

// Offsets of the fields in the header.
const (
	offTOS      = 1
	offTotalLen = 2
	offID       = 4
	offFragment = 6
	offTTL      = 8
	offProtocol = 9
	offChecksum = 10
	offSrc      = 12
	offDst      = 16
)

// Faults of a packet, and of the fields of one to be built.
var (
	ErrShort     = errors.New("ipv4: packet shorter than its header")
	ErrVersion   = errors.New("ipv4: version is not 4")
	ErrHeaderLen = errors.New("ipv4: header length below 20 bytes")
	ErrTotalLen  = errors.New("ipv4: total length below the header length")
	ErrNoLength  = errors.New("ipv4: total length is 0, as left by segmentation offload")
	ErrTruncated = errors.New("ipv4: total length beyond the end of the packet")
	ErrChecksum  = errors.New("ipv4: wrong header checksum")
	ErrOption    = errors.New("ipv4: option length below 2 or beyond the header")
	ErrOptions   = errors.New("ipv4: options are not 0 to 40 bytes in steps of 4")
	ErrFragment  = errors.New("ipv4: fragment offset is not a multiple of 8 below 65536")
	ErrTooLong   = errors.New("ipv4: header and payload exceed 65535 bytes")
	ErrSpace     = errors.New("ipv4: buffer too small for the header")
)

// Flags are the three flag bits beside the fragment offset.
type Flags uint8

// The flags, as values of the 3-bit field.
const (
	MoreFragments Flags = 1
	DontFragment  Flags = 2
	ReservedFlag  Flags = 4 // must be zero (RFC 791)
)

// ECN is the explicit congestion notification codepoint, the two low bits of TOS (RFC 3168 section 5).
type ECN uint8

// The codepoints.
const (
	NotECT ECN = 0b00
	ECT1   ECN = 0b01
	ECT0   ECN = 0b10
	CE     ECN = 0b11
)

// Header is a validated view of a header, options included. The zero Header is not valid, see [Header.IsValid]; only
// [Parse] makes others.
type Header struct {
	b []byte // the header's bytes, exactly; 20 to 60
}

// Parse checks packet and returns its header, and its payload cut to the total length. It does not verify the header
// checksum ([Header.ChecksumOK] does) and does not look into options ([Options.Next] does).
//
// It returns [ErrShort], [ErrVersion], [ErrHeaderLen] or [ErrTotalLen] and nothing else, or, together with the
// header and as much of the payload as there is, [ErrTruncated] (as in the quote of an ICMP error, or a capture with
// a snap length) or [ErrNoLength] (as in a sender's capture with segmentation offload).
func Parse(packet []byte) (Header, []byte, error) {
	if len(packet) < HeaderLen {
		return Header{}, nil, ErrShort
	}
	p := (*[HeaderLen]byte)(packet)
	n := HeaderLen
	if p[0] != 4<<4|HeaderLen/4 {
		if p[0]>>4 != 4 {
			return Header{}, nil, ErrVersion
		}
		if n = int(p[0]&0xf) * 4; n < HeaderLen {
			return Header{}, nil, ErrHeaderLen
		}
		if n > len(packet) {
			return Header{}, nil, ErrShort
		}
	}
	total := int(binary.BigEndian.Uint16(p[offTotalLen:]))
	if uint(total-n) > uint(len(packet)-n) { // total < n or total > len(packet)
		return parseOddLength(packet, n, total)
	}
	return Header{packet[:n:n]}, packet[n:total:total], nil
}

// parseOddLength names what is wrong with a total length that does not lie within the packet.
func parseOddLength(packet []byte, n, total int) (Header, []byte, error) {
	switch {
	case total == 0:
		return Header{packet[:n:n]}, packet[n:], ErrNoLength
	case total < n:
		return Header{}, nil, ErrTotalLen
	}
	return Header{packet[:n:n]}, packet[n:], ErrTruncated
}

// fixed returns the part that every header has; one bounds check covers all its fields.
func (h Header) fixed() *[HeaderLen]byte { return (*[HeaderLen]byte)(h.b) }

// IsValid reports whether h comes from [Parse].
func (h Header) IsValid() bool { return len(h.b) != 0 }

// Len returns the length of the header in bytes, options included.
func (h Header) Len() int { return len(h.b) }

// Bytes returns the header's bytes, which alias the packet.
func (h Header) Bytes() []byte { return h.b }

// TOS returns the type-of-service byte: DSCP in the upper six bits, ECN in the lower two.
func (h Header) TOS() uint8 { return h.fixed()[offTOS] }

// DSCP returns the differentiated services codepoint, 0 to 63 (RFC 2474).
func (h Header) DSCP() uint8 { return h.TOS() >> 2 }

// ECN returns the congestion notification codepoint.
func (h Header) ECN() ECN { return ECN(h.TOS() & 3) }

// TotalLen returns the length of header and payload in bytes, as the header has it.
func (h Header) TotalLen() uint16 { return binary.BigEndian.Uint16(h.fixed()[offTotalLen:]) }

// ID returns the identification that the fragments of a datagram share.
func (h Header) ID() uint16 { return binary.BigEndian.Uint16(h.fixed()[offID:]) }

// Flags returns the three flag bits.
func (h Header) Flags() Flags { return Flags(h.fixed()[offFragment] >> 5) }

// DF reports whether the packet must not be fragmented.
func (h Header) DF() bool { return h.Flags()&DontFragment != 0 }

// MF reports whether more fragments follow.
func (h Header) MF() bool { return h.Flags()&MoreFragments != 0 }

// FragmentOffset returns where in its datagram the payload belongs, in bytes.
func (h Header) FragmentOffset() uint16 { return h.fragmentWord() << 3 }

// IsFragment reports whether the packet is a fragment, the first one included.
func (h Header) IsFragment() bool { return h.fragmentWord()&^(6<<13) != 0 }

func (h Header) fragmentWord() uint16 { return binary.BigEndian.Uint16(h.fixed()[offFragment:]) }

// TTL returns the time to live, in hops.
func (h Header) TTL() uint8 { return h.fixed()[offTTL] }

// Protocol returns the protocol number of the payload.
func (h Header) Protocol() uint8 { return h.fixed()[offProtocol] }

// Checksum returns the header checksum as the header has it.
func (h Header) Checksum() uint16 { return binary.BigEndian.Uint16(h.fixed()[offChecksum:]) }

// Src returns the source address.
func (h Header) Src() [4]byte { return [4]byte(h.fixed()[offSrc:offDst]) }

// Dst returns the destination address.
func (h Header) Dst() [4]byte { return [4]byte(h.fixed()[offDst:]) }

// ChecksumOK reports whether the header checksum is right.
func (h Header) ChecksumOK() bool {
	if len(h.b) == HeaderLen {
		return checksum.Sum20(h.fixed()) == 0xffff
	}
	return checksum.Sum(h.b) == 0xffff
}

// FixChecksum computes the header checksum anew.
func (h Header) FixChecksum() {
	p := h.fixed()
	binary.BigEndian.PutUint16(p[offChecksum:], 0)
	binary.BigEndian.PutUint16(p[offChecksum:], checksum.Of(h.b))
}

// set16 overwrites the 16-bit word at offset at and brings the checksum in step.
func (h Header) set16(at int, v uint16) {
	p := h.fixed()
	old := binary.BigEndian.Uint16(p[at:])
	binary.BigEndian.PutUint16(p[at:], v)
	binary.BigEndian.PutUint16(p[offChecksum:], checksum.Update(h.Checksum(), old, v))
}

// SetTOS overwrites the type-of-service byte.
func (h Header) SetTOS(v uint8) { h.set16(0, uint16(h.b[0])<<8|uint16(v)) }

// SetECN overwrites the congestion notification codepoint.
func (h Header) SetECN(e ECN) { h.SetTOS(h.TOS()&^3 | uint8(e)&3) }

// SetID overwrites the identification.
func (h Header) SetID(v uint16) { h.set16(offID, v) }

// SetTTL overwrites the time to live.
func (h Header) SetTTL(v uint8) { h.set16(offTTL, uint16(v)<<8|uint16(h.Protocol())) }

// SetFragment overwrites flags and fragment offset; offset is in bytes. It returns [ErrFragment], and changes
// nothing, if the offset is not a multiple of 8.
func (h Header) SetFragment(f Flags, offset uint16) error {
	if offset%8 != 0 {
		return ErrFragment
	}
	h.set16(offFragment, uint16(f&7)<<13|offset>>3)
	return nil
}

// SetTotalLen overwrites the length of header and payload in bytes. It returns [ErrTotalLen], and changes nothing,
// if the header would not fit.
func (h Header) SetTotalLen(v uint16) error {
	if int(v) < len(h.b) {
		return ErrTotalLen
	}
	h.set16(offTotalLen, v)
	return nil
}

// SetSrc overwrites the source address. The checksum of a TCP or UDP payload covers the address too and is the
// caller's to update.
func (h Header) SetSrc(a [4]byte) { h.set32(offSrc, a) }

// SetDst overwrites the destination address. The checksum of a TCP or UDP payload covers the address too and is the
// caller's to update.
func (h Header) SetDst(a [4]byte) { h.set32(offDst, a) }

func (h Header) set32(at int, a [4]byte) {
	p := h.fixed()
	old := binary.BigEndian.Uint32(p[at:])
	copy(p[at:at+4], a[:])
	binary.BigEndian.PutUint16(p[offChecksum:], checksum.Update32(h.Checksum(), old, binary.BigEndian.Uint32(a[:])))
}

// Fields are the values of a header to be built. Version, lengths and checksum follow from them.
type Fields struct {
	TOS            uint8
	ID             uint16
	Flags          Flags
	FragmentOffset uint16 // in bytes, a multiple of 8
	TTL            uint8
	Protocol       uint8
	Src, Dst       [4]byte
	Options        []byte // 0 to 40 bytes, a multiple of 4 (pad with zeros); only read
}

// FieldsOf returns the values of h; its options alias the packet.
func FieldsOf(h Header) Fields {
	return Fields{
		TOS: h.TOS(), ID: h.ID(), Flags: h.Flags(), FragmentOffset: h.FragmentOffset(),
		TTL: h.TTL(), Protocol: h.Protocol(), Src: h.Src(), Dst: h.Dst(), Options: h.Options(),
	}
}

// Len returns the length in bytes of the header that f describes.
func (f Fields) Len() int { return HeaderLen + len(f.Options) }

// Put writes the header for a payload of payloadLen bytes at the start of b, checksum included, and returns
// the view of it. It returns [ErrOptions], [ErrFragment], [ErrTooLong] or [ErrSpace], and writes nothing, if f does
// not make a header or b is too small.
func (f Fields) Put(b []byte, payloadLen int) (Header, error) {
	n := f.Len()
	switch {
	case len(f.Options)%4 != 0 || n > MaxHeaderLen:
		return Header{}, ErrOptions
	case f.FragmentOffset%8 != 0:
		return Header{}, ErrFragment
	case payloadLen < 0 || payloadLen > MaxLen-n:
		return Header{}, ErrTooLong
	case len(b) < n:
		return Header{}, ErrSpace
	}
	copy(b[HeaderLen:], f.Options) // first, because they may be those of a header in b
	b[0] = 4<<4 | uint8(n/4)
	b[offTOS] = f.TOS
	binary.BigEndian.PutUint16(b[offTotalLen:], uint16(n+payloadLen))
	binary.BigEndian.PutUint16(b[offID:], f.ID)
	binary.BigEndian.PutUint16(b[offFragment:], uint16(f.Flags&7)<<13|f.FragmentOffset>>3)
	b[offTTL] = f.TTL
	b[offProtocol] = f.Protocol
	copy(b[offSrc:], f.Src[:])
	copy(b[offDst:], f.Dst[:])
	h := Header{b[:n:n]}
	h.FixChecksum()
	return h, nil
}

// Append appends the header for a payload of payloadLen bytes to b, which grows only if its capacity is too small.
// On error it returns b as it was, and what [Fields.Put] returns.
func (f Fields) Append(b []byte, payloadLen int) ([]byte, error) {
	grown := slices.Grow(b, f.Len())[:len(b)+f.Len()]
	if _, err := f.Put(grown[len(b):], payloadLen); err != nil {
		return b, err
	}
	return grown, nil
}
