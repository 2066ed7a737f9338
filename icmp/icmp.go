// Package icmp reads, edits and writes ICMP messages for IPv4 (RFC 792): echo, and errors with the packet that they
// quote, the next-hop MTU (RFC 1191) and extensions (RFC 4884).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |     Code      |           Checksum            |
//	+---------------+---------------+-------------------------------+
//	|     Identifier, or unused     |    Sequence, or next-hop MTU  |  of the type
//	+-------------------------------+-------------------------------+
//	| body: echo data, or the quoted IPv4 packet …
//	+-------------------------------+
//
// A [Header] is a view of the caller's bytes: it is valid as long as they are, and not safe for concurrent use with
// their writers.
package icmp

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/culvert-net/culvert/checksum"
)

// HeaderLen is the length of the header in bytes.
const HeaderLen = 8

// Protocol is the number that an IPv4 header gives for ICMP.
const Protocol = 1

// MaxQuote is how much of a packet an error quotes at most, in bytes: as much as keeps the error within the 576 bytes
// that every host accepts (RFC 1812 section 4.3.2.3).
const MaxQuote = 576 - 20 - HeaderLen

// minExtQuote is the shortest quote, zero-padded, behind which extensions may follow (RFC 4884 section 4).
const minExtQuote = 128

// Message types (IANA) that culvert knows by name.
const (
	TypeEchoReply        uint8 = 0
	TypeUnreachable      uint8 = 3
	TypeSourceQuench     uint8 = 4
	TypeRedirect         uint8 = 5
	TypeEcho             uint8 = 8
	TypeTimeExceeded     uint8 = 11
	TypeParameterProblem uint8 = 12
)

// Codes of [TypeUnreachable] (RFC 792, RFC 1812 section 5.2.7.1).
const (
	CodeNetUnreachable      uint8 = 0
	CodeHostUnreachable     uint8 = 1
	CodeProtocolUnreachable uint8 = 2
	CodePortUnreachable     uint8 = 3
	CodeFragmentationNeeded uint8 = 4
	CodeAdminProhibited     uint8 = 13
)

// Codes of [TypeTimeExceeded].
const (
	CodeTTLExceeded        uint8 = 0
	CodeReassemblyExceeded uint8 = 1
)

// Faults of a message, and of one to be built.
var (
	ErrShort    = errors.New("icmp: message shorter than 8 bytes")
	ErrChecksum = errors.New("icmp: wrong checksum")
	ErrSpace    = errors.New("icmp: buffer too small for the message")
)

// Header is a validated view of a message's header. The zero Header is not valid, see [Header.IsValid]; only [Parse]
// makes others.
type Header struct {
	p *[HeaderLen]byte
}

// Parse checks message, the payload of an IPv4 packet, and returns its header and body. It returns [ErrShort] and
// nothing else. It does not verify the checksum; [Header.ChecksumOK] does.
func Parse(message []byte) (Header, []byte, error) {
	if len(message) < HeaderLen {
		return Header{}, nil, ErrShort
	}
	return Header{(*[HeaderLen]byte)(message)}, message[HeaderLen:], nil
}

// IsValid reports whether h comes from a successful [Parse].
func (h Header) IsValid() bool { return h.p != nil }

// Bytes returns the header's bytes, which alias the message.
func (h Header) Bytes() []byte { return h.p[:] }

// Type returns the message type.
func (h Header) Type() uint8 { return h.p[0] }

// Code returns the code, whose meaning depends on the type.
func (h Header) Code() uint8 { return h.p[1] }

// Checksum returns the checksum as the header has it.
func (h Header) Checksum() uint16 { return binary.BigEndian.Uint16(h.p[2:]) }

// Rest returns the second word of the header, whose meaning depends on the type.
func (h Header) Rest() [4]byte { return [4]byte(h.p[4:]) }

// IsEcho reports whether the message is an echo request or reply.
func (h Header) IsEcho() bool { return h.Type() == TypeEcho || h.Type() == TypeEchoReply }

// IsError reports whether the message reports an error and quotes the packet that caused it. No error is ever sent
// about an error (RFC 1122 section 3.2.2).
func (h Header) IsError() bool {
	switch h.Type() {
	case TypeUnreachable, TypeSourceQuench, TypeRedirect, TypeTimeExceeded, TypeParameterProblem:
		return true
	}
	return false
}

// ID returns the identifier of an echo message.
func (h Header) ID() uint16 { return binary.BigEndian.Uint16(h.p[4:]) }

// Seq returns the sequence number of an echo message.
func (h Header) Seq() uint16 { return binary.BigEndian.Uint16(h.p[6:]) }

// NextHopMTU returns the MTU in bytes that a 'fragmentation needed' error reports; 0 if the router gave none
// (RFC 1191 section 4), or the message is no such error.
func (h Header) NextHopMTU() uint16 {
	if h.Type() != TypeUnreachable || h.Code() != CodeFragmentationNeeded {
		return 0
	}
	return binary.BigEndian.Uint16(h.p[6:])
}

// Quote returns the packet that an error quotes, without extensions, nil if the message is no error. It is cut short
// more often than not, so parsing it gives ipv4.ErrTruncated and a header. body is what [Parse] returned.
func (h Header) Quote(body []byte) []byte {
	if !h.IsError() {
		return nil
	}
	n := h.quoteLen(body)
	return body[:n:n]
}

// Extensions returns what follows the quote of an error that says where its quote ends (RFC 4884 section 4), from the
// extension header on, or nil. body is what [Parse] returned.
func (h Header) Extensions(body []byte) []byte {
	if n := h.quoteLen(body); n < len(body) {
		return body[n:]
	}
	return nil
}

// quoteLen returns the length of the quote: all of body, unless the type has a length field that is used.
func (h Header) quoteLen(body []byte) int {
	switch h.Type() {
	case TypeUnreachable, TypeTimeExceeded, TypeParameterProblem:
		if n := int(h.p[5]) * 4; n >= minExtQuote && n < len(body) {
			return n
		}
	}
	return len(body)
}

// ChecksumOK reports whether the checksum is right; body is the whole body, which a fragment has not.
func (h Header) ChecksumOK(body []byte) bool { return h.sum(body) == 0xffff }

// FixChecksum computes the checksum anew; body is the whole body.
func (h Header) FixChecksum(body []byte) {
	binary.BigEndian.PutUint16(h.p[2:], 0)
	binary.BigEndian.PutUint16(h.p[2:], ^h.sum(body))
}

func (h Header) sum(body []byte) uint16 {
	return checksum.Add(checksum.Sum(h.p[:]), checksum.Sum(body))
}

// SetType overwrites the type and brings the checksum in step: SetType([TypeEchoReply]) makes the answer to an echo
// request in place.
func (h Header) SetType(t uint8) {
	old := binary.BigEndian.Uint16(h.p[0:])
	h.p[0] = t
	check := checksum.Update(h.Checksum(), old, binary.BigEndian.Uint16(h.p[0:]))
	if check == 0 {
		check = 0xffff // right in every message, and the only right one in a message of zeros, which 'Update' cannot see
	}
	binary.BigEndian.PutUint16(h.p[2:], check)
}

// Fields are the values of a message's header to be built. The functions below make those of each type.
type Fields struct {
	Type, Code uint8
	Rest       [4]byte // the second word of the header
}

// FieldsOf returns the values of h.
func FieldsOf(h Header) Fields { return Fields{Type: h.Type(), Code: h.Code(), Rest: h.Rest()} }

// Echo returns the fields of an echo request.
func Echo(id, seq uint16) Fields {
	return Fields{Type: TypeEcho, Rest: [4]byte{byte(id >> 8), byte(id), byte(seq >> 8), byte(seq)}}
}

// EchoReply returns the fields of an echo reply.
func EchoReply(id, seq uint16) Fields {
	f := Echo(id, seq)
	f.Type = TypeEchoReply
	return f
}

// Unreachable returns the fields of a 'destination unreachable' error; for [CodeFragmentationNeeded] see
// [FragmentationNeeded].
func Unreachable(code uint8) Fields { return Fields{Type: TypeUnreachable, Code: code} }

// FragmentationNeeded returns the fields of the error that reports the MTU, in bytes, of the hop that a packet with
// DF set could not take (RFC 1191).
func FragmentationNeeded(mtu uint16) Fields {
	return Fields{Type: TypeUnreachable, Code: CodeFragmentationNeeded, Rest: [4]byte{2: byte(mtu >> 8), 3: byte(mtu)}}
}

// TimeExceeded returns the fields of a 'time exceeded' error.
func TimeExceeded(code uint8) Fields { return Fields{Type: TypeTimeExceeded, Code: code} }

// ParameterProblem returns the fields of the error about the byte of the header at offset pointer.
func ParameterProblem(pointer uint8) Fields {
	return Fields{Type: TypeParameterProblem, Rest: [4]byte{pointer}}
}

// Redirect returns the fields of a redirect for a host (code 1) to gateway.
func Redirect(gateway [4]byte) Fields { return Fields{Type: TypeRedirect, Code: 1, Rest: gateway} }

// Put writes the header of a message with the given body at the start of b, checksum included, and returns the view
// of it; the body itself is the caller's to place. It returns [ErrSpace] and writes nothing if b is too small.
func (f Fields) Put(b, body []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, ErrSpace
	}
	p := (*[HeaderLen]byte)(b)
	p[0], p[1] = f.Type, f.Code
	copy(p[4:], f.Rest[:])
	h := Header{p}
	h.FixChecksum(body)
	return h, nil
}

// Append appends the message with the given body to b, which grows only if its capacity is too small. The body may overlap
// the memory that is appended to.
func (f Fields) Append(b, body []byte) []byte {
	at := len(b)
	b = slices.Grow(b, HeaderLen+len(body))[:at+HeaderLen+len(body)]
	copy(b[at+HeaderLen:], body)
	h := Header{(*[HeaderLen]byte)(b[at:])}
	h.p[0], h.p[1] = f.Type, f.Code
	copy(h.p[4:], f.Rest[:])
	h.FixChecksum(b[at+HeaderLen:])
	return b
}

// AppendError appends the error about packet, an IPv4 packet of which [MaxQuote] bytes are quoted at most, to b, which
// grows only if its capacity is too small. The two may overlap.
func (f Fields) AppendError(b, packet []byte) []byte {
	return f.Append(b, packet[:min(len(packet), MaxQuote)])
}
