// Package tcp reads and writes TCP headers over IPv4 (RFC 9293): what flow tables, address translation and printing need,
// and what refuses a connection. It knows no connections: culvert carries TCP, it does not speak it.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Source Port          |       Destination Port        |
//	+-------------------------------+-------------------------------+
//	|                        Sequence Number                        |
//	+---------------------------------------------------------------+
//	|                    Acknowledgment Number                      |
//	+-------+-------+---------------+-------------------------------+
//	|Offset | Rsrvd |     Flags     |            Window             |
//	+-------+-------+---------------+-------------------------------+
//	|           Checksum            |         Urgent Pointer        |
//	+-------------------------------+-------------------------------+
//	|                    Options, 0 to 40 bytes                     |
//	+---------------------------------------------------------------+
//
// A [Header] is a view of the caller's bytes: it is valid as long as they are, and not safe for concurrent use with
// their writers.
package tcp

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/culvert-net/culvert/checksum"
)

// Sizes in bytes.
const (
	HeaderLen    = 20 // of a header without options
	MaxHeaderLen = 60 // of a header with all the options that the data offset can announce
	maxSegment   = 65535 - 20
)

// Protocol is the number that an IPv4 header gives for TCP.
const Protocol = 6

// Faults of a segment.
var (
	ErrShort      = errors.New("tcp: segment shorter than its header")
	ErrDataOffset = errors.New("tcp: data offset below 20 bytes")
	ErrChecksum   = errors.New("tcp: wrong checksum")
)

// Faults of a header that is to be built.
var (
	ErrOptions = errors.New("tcp: options are not 0 to 40 bytes in steps of 4")
	ErrTooLong = errors.New("tcp: header and data exceed the 65515 bytes that an IPv4 packet can carry")
	ErrSpace   = errors.New("tcp: buffer too small for the header")
)

// Flags are the control bits.
type Flags uint8

// The control bits (RFC 9293 section 3.1, RFC 3168 section 6.1).
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Header is a validated view of a header, options included. The zero Header is not valid, see [Header.IsValid]; only
// [Parse] makes others.
type Header struct {
	b []byte // the header's bytes, exactly; 20 to 60
}

// Parse checks segment, the payload of an IPv4 packet, and returns its header and data. It returns [ErrShort] or
// [ErrDataOffset] and nothing else. It does not verify the checksum; [Header.ChecksumOK] does.
func Parse(segment []byte) (Header, []byte, error) {
	if len(segment) < HeaderLen {
		return Header{}, nil, ErrShort
	}
	n := int(segment[12]>>4) * 4
	if n < HeaderLen {
		return Header{}, nil, ErrDataOffset
	}
	if n > len(segment) {
		return Header{}, nil, ErrShort
	}
	return Header{segment[:n:n]}, segment[n:], nil
}

// fixed returns the part that every header has; one bounds check covers all its fields.
func (h Header) fixed() *[HeaderLen]byte { return (*[HeaderLen]byte)(h.b) }

// IsValid reports whether h comes from a successful [Parse].
func (h Header) IsValid() bool { return len(h.b) != 0 }

// Len returns the length of the header in bytes, options included.
func (h Header) Len() int { return len(h.b) }

// Bytes returns the header's bytes, which alias the segment.
func (h Header) Bytes() []byte { return h.b }

// SrcPort returns the source port.
func (h Header) SrcPort() uint16 { return binary.BigEndian.Uint16(h.fixed()[0:]) }

// DstPort returns the destination port.
func (h Header) DstPort() uint16 { return binary.BigEndian.Uint16(h.fixed()[2:]) }

// Seq returns the sequence number.
func (h Header) Seq() uint32 { return binary.BigEndian.Uint32(h.fixed()[4:]) }

// Ack returns the acknowledgment number; it counts only if [ACK] is set.
func (h Header) Ack() uint32 { return binary.BigEndian.Uint32(h.fixed()[8:]) }

// Flags returns the control bits.
func (h Header) Flags() Flags { return Flags(h.fixed()[13]) }

// Window returns the receive window as the header has it, not scaled.
func (h Header) Window() uint16 { return binary.BigEndian.Uint16(h.fixed()[14:]) }

// Checksum returns the checksum as the header has it.
func (h Header) Checksum() uint16 { return binary.BigEndian.Uint16(h.fixed()[16:]) }

// Urgent returns the urgent pointer; it counts only if [URG] is set.
func (h Header) Urgent() uint16 { return binary.BigEndian.Uint16(h.fixed()[18:]) }

// Options returns the raw option list, which aliases the segment.
func (h Header) Options() []byte { return h.b[HeaderLen:] }

// ChecksumOK reports whether the checksum is right; data is all that follows the header, which a fragment has not.
func (h Header) ChecksumOK(src, dst [4]byte, data []byte) bool {
	return h.sum(src, dst, data) == 0xffff
}

// FixChecksum computes the checksum anew; data is all that follows the header.
func (h Header) FixChecksum(src, dst [4]byte, data []byte) {
	p := h.fixed()
	binary.BigEndian.PutUint16(p[16:], 0)
	binary.BigEndian.PutUint16(p[16:], ^h.sum(src, dst, data))
}

// sum returns the sum of pseudo-header, header and data.
func (h Header) sum(src, dst [4]byte, data []byte) uint16 {
	s := checksum.PseudoHeader(src, dst, Protocol, uint16(len(h.b)+len(data)))
	s = checksum.Add(s, checksum.Sum(h.b))
	return checksum.Add(s, checksum.Sum(data))
}

// Fields are the values of a header to be built. Data offset and checksum follow from them; reserved bits are zero.
type Fields struct {
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            Flags
	Window           uint16
	Urgent           uint16
	Options          []byte // 0 to 40 bytes, a multiple of 4 (pad with zeros); only read
}

// FieldsOf returns the values of h; its options alias the segment.
func FieldsOf(h Header) Fields {
	return Fields{
		SrcPort: h.SrcPort(), DstPort: h.DstPort(), Seq: h.Seq(), Ack: h.Ack(),
		Flags: h.Flags(), Window: h.Window(), Urgent: h.Urgent(), Options: h.Options(),
	}
}

// Len returns the length in bytes of the header that f describes.
func (f Fields) Len() int { return HeaderLen + len(f.Options) }

// Put writes the header of a segment between two addresses, with data behind it, at the start of b, checksum included, and
// returns the view of it; data is only read. It returns [ErrOptions], [ErrTooLong] or [ErrSpace], and writes nothing, if f
// and data make no segment or b is too small.
func (f Fields) Put(b []byte, src, dst [4]byte, data []byte) (Header, error) {
	n := f.Len()
	switch {
	case len(f.Options)%4 != 0 || n > MaxHeaderLen:
		return Header{}, ErrOptions
	case len(data) > maxSegment-n:
		return Header{}, ErrTooLong
	case len(b) < n:
		return Header{}, ErrSpace
	}
	copy(b[HeaderLen:], f.Options) // first, because they may be those of a header in b
	p := (*[HeaderLen]byte)(b)
	binary.BigEndian.PutUint16(p[0:], f.SrcPort)
	binary.BigEndian.PutUint16(p[2:], f.DstPort)
	binary.BigEndian.PutUint32(p[4:], f.Seq)
	binary.BigEndian.PutUint32(p[8:], f.Ack)
	p[12], p[13] = uint8(n/4)<<4, uint8(f.Flags)
	binary.BigEndian.PutUint16(p[14:], f.Window)
	binary.BigEndian.PutUint16(p[18:], f.Urgent)
	h := Header{b[:n:n]}
	h.FixChecksum(src, dst, data)
	return h, nil
}

// Append appends the header to b, which grows only if its capacity is too small. On error it returns b as it was, and what
// [Fields.Put] returns.
func (f Fields) Append(b []byte, src, dst [4]byte, data []byte) ([]byte, error) {
	grown := slices.Grow(b, f.Len())[:len(b)+f.Len()]
	if _, err := f.Put(grown[len(b):], src, dst, data); err != nil {
		return b, err
	}
	return grown, nil
}

// Reset returns the segment that refuses one that belongs to no connection, whose header is h and which has dataLen bytes of data
// (RFC 9293 section 3.5.2). It reports whether there is one: a reset is not answered.
func Reset(h Header, dataLen int) (Fields, bool) {
	f := Fields{SrcPort: h.DstPort(), DstPort: h.SrcPort(), Flags: RST}
	switch flags := h.Flags(); {
	case flags&RST != 0:
		return Fields{}, false
	case flags&ACK != 0:
		f.Seq = h.Ack()
	default:
		f.Flags |= ACK
		f.Ack = h.Seq() + uint32(dataLen)
		if flags&SYN != 0 { // SYN and FIN take a sequence number each
			f.Ack++
		}
		if flags&FIN != 0 {
			f.Ack++
		}
	}
	return f, true
}
