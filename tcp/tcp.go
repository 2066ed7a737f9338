// Package tcp reads TCP headers over IPv4 (RFC 9293): what flow tables, address translation and printing need. It
// builds none: culvert carries TCP, it does not speak it.
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

	"github.com/culvert-net/culvert/checksum"
)

// HeaderLen is the length in bytes of a header without options.
const HeaderLen = 20

// Protocol is the number that an IPv4 header gives for TCP.
const Protocol = 6

// Faults of a segment.
var (
	ErrShort      = errors.New("tcp: segment shorter than its header")
	ErrDataOffset = errors.New("tcp: data offset below 20 bytes")
	ErrChecksum   = errors.New("tcp: wrong checksum")
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
	s := checksum.PseudoHeader(src, dst, Protocol, uint16(len(h.b)+len(data)))
	s = checksum.Add(s, checksum.Sum(h.b))
	return checksum.Add(s, checksum.Sum(data)) == 0xffff
}
