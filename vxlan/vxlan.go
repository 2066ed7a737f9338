// Package vxlan reads and writes VXLAN headers (RFC 7348) with the group policy extension, and encapsulates and
// decapsulates whole frames over IPv4.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|G|R|R|R|I|R|R|R|R|D|R|R|A|R|R|R|        Group Policy Id        |
//	+-----------------------------------------------+---------------+
//	|          VXLAN Network Identifier (VNI)       |   Reserved    |
//	+-----------------------------------------------+---------------+
//
// I says that the VNI is valid and must be set. G says that D (don't learn), A (policy applied) and the group policy id
// mean something (draft-smith-vxlan-group-policy-05); without G they are reserved, like R.
//
// RFC 7348 tells receivers to ignore reserved bits; Linux drops packets that have any. [Parse] is lenient and shows
// them; [Decapsulator] follows its profile.
//
// [Encapsulator] and [Decapsulator] do the whole outer stack at once, for a few nanoseconds a packet. Views, as [Header],
// are valid as long as the caller's bytes, and not safe for concurrent use with their writers.
package vxlan

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
)

// Sizes in bytes.
const (
	HeaderLen = 8

	// OverheadIP is what encapsulation adds to a frame for a raw IPv4 underlay, and Overhead for an untagged Ethernet
	// one. The MTU of a VXLAN device is also Overhead less than that of its underlay, because the inner Ethernet
	// header takes the place of the outer one.
	OverheadIP = ipv4.HeaderLen + udp.HeaderLen + HeaderLen
	Overhead   = ethernet.HeaderLen + OverheadIP
)

// UDP destination ports.
const (
	Port      uint16 = 4789 // assigned by IANA
	PortLinux uint16 = 8472 // Linux's default, from before the assignment; Flannel's
)

// MaxVNI is the largest VXLAN network identifier.
const MaxVNI = 1<<24 - 1

// Bits of the header, read as one 64-bit number.
const (
	bitG      uint64 = 1 << 63
	bitI      uint64 = 1 << 59
	bitD      uint64 = 1 << 54
	bitA      uint64 = 1 << 51
	maskGroup uint64 = 0xffff << 32
	maskVNI   uint64 = MaxVNI << 8
	maskGBP          = bitG | bitD | bitA | maskGroup
)

// Faults of a packet, and of a header to be built.
var (
	ErrShort      = errors.New("vxlan: packet shorter than its header")
	ErrNoVNI      = errors.New("vxlan: I flag is not set, so there is no VNI")
	ErrReserved   = errors.New("vxlan: reserved bits are set")
	ErrVNI        = errors.New("vxlan: VNI above 16777215")
	ErrSpace      = errors.New("vxlan: buffer too small for the header")
	ErrTooLong    = errors.New("vxlan: outer packet would exceed 65535 bytes")
	ErrInnerShort = errors.New("vxlan: inner frame shorter than its headers")
	ErrNotUDP     = errors.New("vxlan: outer packet is not IPv4 with UDP")
	ErrFragment   = errors.New("vxlan: outer packet is a fragment: reassemble it first")
	ErrPort       = errors.New("vxlan: UDP destination port is not the tunnel's")
	ErrLocal      = errors.New("vxlan: outer destination is not the tunnel's address")
	ErrPeer       = errors.New("vxlan: outer source is not one of the tunnel's peers")
	ErrUnknownVNI = errors.New("vxlan: VNI is not one of the tunnel's")
	ErrOwnMAC     = errors.New("vxlan: inner source MAC address is the tunnel's own")
)

// GBP is the group policy that a header carries.
type GBP struct {
	Set       bool   // the G flag; the other fields count only if it is set
	Group     uint16 // group policy id
	DontLearn bool   // the receiver must not learn the inner source address
	Applied   bool   // the policy was applied already
}

// bits returns g as bits of the header, 0 if it is not set.
func (g GBP) bits() uint64 {
	if !g.Set {
		return 0
	}
	b := bitG | uint64(g.Group)<<32
	if g.DontLearn {
		b |= bitD
	}
	if g.Applied {
		b |= bitA
	}
	return b
}

// gbpOf returns the group policy in a header.
func gbpOf(word uint64) GBP {
	if word&bitG == 0 {
		return GBP{}
	}
	return GBP{Set: true, Group: uint16(word >> 32), DontLearn: word&bitD != 0, Applied: word&bitA != 0}
}

// Header is a validated view of a header. The zero Header is not valid, see [Header.IsValid]; only [Parse] makes
// others.
type Header struct {
	p *[HeaderLen]byte
}

// Parse checks payload, that of a UDP datagram, and returns the header and the inner Ethernet frame. It returns
// [ErrShort] or [ErrNoVNI] and nothing else. Reserved bits are no error here.
func Parse(payload []byte) (Header, []byte, error) {
	if len(payload) < HeaderLen {
		return Header{}, nil, ErrShort
	}
	h := Header{(*[HeaderLen]byte)(payload)}
	if h.word()&bitI == 0 {
		return Header{}, nil, ErrNoVNI
	}
	return h, payload[HeaderLen:], nil
}

func (h Header) word() uint64 { return binary.BigEndian.Uint64(h.p[:]) }

// IsValid reports whether h comes from a successful [Parse].
func (h Header) IsValid() bool { return h.p != nil }

// Bytes returns the header's bytes, which alias the packet.
func (h Header) Bytes() []byte { return h.p[:] }

// Flags returns the first byte: 0x08 has only I set, 0x88 G and I.
func (h Header) Flags() uint8 { return h.p[0] }

// VNI returns the network identifier, 0 to [MaxVNI].
func (h Header) VNI() uint32 { return binary.BigEndian.Uint32(h.p[4:]) >> 8 }

// GBP returns the group policy.
func (h Header) GBP() GBP { return gbpOf(h.word()) }

// Reserved returns the reserved bits that are set, at their place in the header read as one 64-bit big-endian number.
// Those of the group policy count as reserved if G is not set.
func (h Header) Reserved() uint64 { return reserved(h.word()) }

func reserved(word uint64) uint64 {
	if word&bitG != 0 {
		word &^= maskGBP
	}
	return word &^ (bitI | maskVNI)
}

// Fields are the values of a header to be built.
type Fields struct {
	VNI      uint32
	GBP      GBP
	Reserved uint64 // reserved bits to be set, as Header.Reserved returns them; for tests of other implementations
}

// FieldsOf returns the values of h.
func FieldsOf(h Header) Fields { return Fields{VNI: h.VNI(), GBP: h.GBP(), Reserved: h.Reserved()} }

// Put writes the header at the start of b and returns the view of it. It returns [ErrVNI] or [ErrSpace], and writes
// nothing, if the VNI is too large or b too small.
func (f Fields) Put(b []byte) (Header, error) {
	if f.VNI > MaxVNI {
		return Header{}, ErrVNI
	}
	if len(b) < HeaderLen {
		return Header{}, ErrSpace
	}
	p := (*[HeaderLen]byte)(b)
	binary.BigEndian.PutUint64(p[:], bitI|uint64(f.VNI)<<8|f.GBP.bits()|f.Reserved)
	return Header{p}, nil
}

// Append appends the header to b, which grows only if its capacity is too small. On error it returns b as it was, and
// what [Fields.Put] returns.
func (f Fields) Append(b []byte) ([]byte, error) {
	grown := slices.Grow(b, HeaderLen)[:len(b)+HeaderLen]
	if _, err := f.Put(grown[len(b):]); err != nil {
		return b, err
	}
	return grown, nil
}
