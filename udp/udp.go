// Package udp reads, edits and writes UDP headers over IPv4 (RFC 768), with checksums that are absent, whole or left
// for later by an offload.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Source Port          |       Destination Port        |
//	+-------------------------------+-------------------------------+
//	|            Length             |           Checksum            |
//	+-------------------------------+-------------------------------+
//
// A checksum of 0 means 'not computed', and a computed 0 is sent as 0xffff. With partial offload, as between the two
// ends of a veth, the field holds only the sum of the pseudo-header, and whoever puts the datagram on a wire completes
// it: such a datagram must not be verified. Whether that is so, only the driver knows.
//
// A [Header] is a view of the caller's bytes: it is valid as long as they are, and not safe for concurrent use with
// their writers.
package udp

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/culvert-net/culvert/checksum"
)

// HeaderLen is the length of the header in bytes.
const HeaderLen = 8

// Protocol is the number that an IPv4 header gives for UDP.
const Protocol = 17

// Offsets of the fields in the header.
const (
	offSrcPort  = 0
	offDstPort  = 2
	offLength   = 4
	offChecksum = 6
)

// maxLen is the largest value of the length field.
const maxLen = 65535

// Faults of a datagram, and of one to be built.
var (
	ErrShort     = errors.New("udp: datagram shorter than its header")
	ErrLength    = errors.New("udp: length below the header length")
	ErrNoLength  = errors.New("udp: length is 0, as left by segmentation offload")
	ErrTruncated = errors.New("udp: length beyond the end of the datagram")
	ErrChecksum  = errors.New("udp: wrong checksum")
	ErrTooLong   = errors.New("udp: header and payload exceed 65535 bytes")
	ErrSpace     = errors.New("udp: buffer too small for the header")
)

// Header is a validated view of a header. The zero Header is not valid, see [Header.IsValid]; only [Parse] makes
// others.
type Header struct {
	p *[HeaderLen]byte
}

// Parse checks datagram, the payload of an IPv4 packet, and returns its header, and its payload cut to the length
// field. It does not verify the checksum; [Header.ChecksumOK] does.
//
// It returns [ErrShort] or [ErrLength] and nothing else, or, together with the header and as much of the payload as
// there is, [ErrTruncated] (as in a first fragment or the quote of an ICMP error) or [ErrNoLength].
func Parse(datagram []byte) (Header, []byte, error) {
	if len(datagram) < HeaderLen {
		return Header{}, nil, ErrShort
	}
	p := (*[HeaderLen]byte)(datagram)
	length := int(binary.BigEndian.Uint16(p[offLength:]))
	if uint(length-HeaderLen) > uint(len(datagram)-HeaderLen) { // below 8 or beyond the end
		switch {
		case length == 0:
			return Header{p}, datagram[HeaderLen:], ErrNoLength
		case length < HeaderLen:
			return Header{}, nil, ErrLength
		}
		return Header{p}, datagram[HeaderLen:], ErrTruncated
	}
	return Header{p}, datagram[HeaderLen:length:length], nil
}

// IsValid reports whether h comes from [Parse].
func (h Header) IsValid() bool { return h.p != nil }

// Bytes returns the header's bytes, which alias the datagram.
func (h Header) Bytes() []byte { return h.p[:] }

// SrcPort returns the source port.
func (h Header) SrcPort() uint16 { return binary.BigEndian.Uint16(h.p[offSrcPort:]) }

// DstPort returns the destination port.
func (h Header) DstPort() uint16 { return binary.BigEndian.Uint16(h.p[offDstPort:]) }

// Length returns the length of header and payload in bytes, as the header has it.
func (h Header) Length() uint16 { return binary.BigEndian.Uint16(h.p[offLength:]) }

// SetLength overwrites the length of header and payload in bytes, as for a segment of a superframe. It is summed twice, here and in
// the pseudo-header: the checksum is the caller's to compute anew.
func (h Header) SetLength(v uint16) { binary.BigEndian.PutUint16(h.p[offLength:], v) }

// Checksum returns the checksum as the header has it; 0 means that there is none.
func (h Header) Checksum() uint16 { return binary.BigEndian.Uint16(h.p[offChecksum:]) }

// SetChecksum overwrites the checksum; 0 means that there is none.
func (h Header) SetChecksum(v uint16) { binary.BigEndian.PutUint16(h.p[offChecksum:], v) }

// ChecksumOK reports whether the checksum is right, or absent. payload is the whole payload, which a fragment has not.
func (h Header) ChecksumOK(src, dst [4]byte, payload []byte) bool {
	return h.Checksum() == 0 || h.sum(src, dst, payload) == 0xffff
}

// FixChecksum computes the checksum anew; payload is the whole payload.
func (h Header) FixChecksum(src, dst [4]byte, payload []byte) {
	h.SetChecksum(0)
	h.SetChecksum(NotZero(^h.sum(src, dst, payload)))
}

// SetPartialChecksum writes what a partial checksum offload expects: the sum of the pseudo-header, not inverted.
func (h Header) SetPartialChecksum(src, dst [4]byte) {
	h.SetChecksum(checksum.PseudoHeader(src, dst, Protocol, h.Length()))
}

// sum returns the sum of pseudo-header, header and payload.
func (h Header) sum(src, dst [4]byte, payload []byte) uint16 {
	s := checksum.Add(checksum.PseudoHeader(src, dst, Protocol, h.Length()), checksum.Sum(h.p[:]))
	return checksum.Add(s, checksum.Sum(payload))
}

// NotZero returns a computed checksum as it is sent: 0xffff for 0, which would mean 'none' (RFC 768).
func NotZero(check uint16) uint16 {
	if check == 0 {
		return 0xffff
	}
	return check
}

// SetSrcPort overwrites the source port and brings the checksum in step; an absent one stays absent.
func (h Header) SetSrcPort(v uint16) { h.setPort(offSrcPort, v) }

// SetDstPort overwrites the destination port and brings the checksum in step; an absent one stays absent.
func (h Header) SetDstPort(v uint16) { h.setPort(offDstPort, v) }

func (h Header) setPort(at int, v uint16) {
	old := binary.BigEndian.Uint16(h.p[at:])
	binary.BigEndian.PutUint16(h.p[at:], v)
	if c := h.Checksum(); c != 0 {
		h.SetChecksum(NotZero(checksum.Update(c, old, v)))
	}
}

// UpdateAddr brings the checksum in step with an address of the IPv4 header that went from old to new; an absent one
// stays absent.
func (h Header) UpdateAddr(old, new [4]byte) {
	if c := h.Checksum(); c != 0 {
		c = checksum.Update32(c, binary.BigEndian.Uint32(old[:]), binary.BigEndian.Uint32(new[:]))
		h.SetChecksum(NotZero(c))
	}
}

// Fields are the values of a header to be built. The length follows from the payload.
type Fields struct {
	SrcPort, DstPort uint16
	Checksum         uint16 // 0 for none; Header.FixChecksum computes one
}

// FieldsOf returns the values of h.
func FieldsOf(h Header) Fields {
	return Fields{SrcPort: h.SrcPort(), DstPort: h.DstPort(), Checksum: h.Checksum()}
}

// Put writes the header for a payload of payloadLen bytes at the start of b and returns the view of it. It returns
// [ErrTooLong] or [ErrSpace], and writes nothing, if the payload is too long or b too small.
func (f Fields) Put(b []byte, payloadLen int) (Header, error) {
	if payloadLen < 0 || payloadLen > maxLen-HeaderLen {
		return Header{}, ErrTooLong
	}
	if len(b) < HeaderLen {
		return Header{}, ErrSpace
	}
	p := (*[HeaderLen]byte)(b)
	binary.BigEndian.PutUint16(p[offSrcPort:], f.SrcPort)
	binary.BigEndian.PutUint16(p[offDstPort:], f.DstPort)
	binary.BigEndian.PutUint16(p[offLength:], uint16(HeaderLen+payloadLen))
	binary.BigEndian.PutUint16(p[offChecksum:], f.Checksum)
	return Header{p}, nil
}

// Append appends the header for a payload of payloadLen bytes to b, which grows only if its capacity is too small. On
// error it returns b as it was, and what [Fields.Put] returns.
func (f Fields) Append(b []byte, payloadLen int) ([]byte, error) {
	grown := slices.Grow(b, HeaderLen)[:len(b)+HeaderLen]
	if _, err := f.Put(grown[len(b):], payloadLen); err != nil {
		return b, err
	}
	return grown, nil
}
