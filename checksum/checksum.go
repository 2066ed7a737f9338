// Package checksum computes the Internet checksum (RFC 1071) and updates it in place (RFC 1624).
//
// A sum here is the ones'-complement sum of big-endian 16-bit words, folded to 16 bits and not yet inverted; a
// checksum is its complement, the value that a header carries. Sums of parts of even length add up with [Add], so a
// header, a pseudo-header and a payload can be summed apart and joined.
//
// All functions are pure, allocate nothing and may be called concurrently.
package checksum

import (
	"encoding/binary"
	"math/bits"
)

// Of returns the Internet checksum of b: what a header field must hold, when it was zero while b was summed. Over
// bytes that already include a right checksum it returns 0.
func Of(b []byte) uint16 { return ^Sum(b) }

// Add joins two sums. It is associative and commutative; 0 is neutral.
func Add(a, b uint16) uint16 {
	s := uint32(a) + uint32(b)
	return uint16(s + s>>16)
}

// Update returns the checksum after one 16-bit word of the summed bytes went from old to new: RFC 1624, equation 3,
// HC' = ~(~HC + ~m + m').
func Update(check, old, new uint16) uint16 {
	s := uint32(^check) + uint32(^old) + uint32(new)
	s = s&0xffff + s>>16
	return ^uint16(s + s>>16)
}

// Update32 is [Update] for a 32-bit field at an even offset, such as an IPv4 address.
func Update32(check uint16, old, new uint32) uint16 {
	old = ^old
	s := uint32(^check) + old>>16 + old&0xffff + new>>16 + new&0xffff
	s = s&0xffff + s>>16
	return ^uint16(s + s>>16)
}

// PseudoHeader returns the sum of the IPv4 pseudo-header that TCP and UDP checksums cover (RFC 768, RFC 9293 section
// 3.1). length is that of the transport header and payload in bytes. With partial checksum offload this sum, not
// inverted, is what the transport's checksum field holds.
func PseudoHeader(src, dst [4]byte, protocol uint8, length uint16) uint16 {
	s := binary.BigEndian.Uint32(src[:])
	d := binary.BigEndian.Uint32(dst[:])
	sum := uint64(s) + uint64(d) + uint64(protocol) + uint64(length)
	return fold64(sum)
}

// Sum20 is [Sum] for the 20 bytes of an IPv4 header without options.
func Sum20(b *[20]byte) uint16 {
	s := binary.LittleEndian.Uint64(b[0:8])
	s, c := bits.Add64(s, binary.LittleEndian.Uint64(b[8:16]), 0)
	s, c = bits.Add64(s, uint64(binary.LittleEndian.Uint32(b[16:20])), c)
	return bits.ReverseBytes16(fold64carry(s, c))
}

// OK20 reports whether the 20 bytes of an IPv4 header without options sum up to 0xffff, given as the numbers that its first
// and second eight and its last four bytes make in network byte order: for callers who have loaded them anyway.
func OK20(w0, w1 uint64, w2 uint32) bool {
	s, c := bits.Add64(w0, w1, 0)
	s, c = bits.Add64(s, uint64(w2), c)
	s += c // no carry: the sum of three numbers below 2^64 minus one, of which one is below 2^32
	s += bits.RotateLeft64(s, 32)
	h := uint32(s >> 32)
	h += bits.RotateLeft32(h, 16)
	return h>>16 == 0xffff
}

// Sum returns the ones'-complement sum of b. An odd last byte counts as the high byte of a word whose low byte is
// zero, so only the last of several summed parts may be of odd length.
func Sum(b []byte) uint16 {
	// Words are added as little-endian and the result swapped once: the sum does not depend on byte order (RFC 1071
	// section 2 (B)). Two carry chains a step keep two adders busy; chains short enough for the registers and
	// carries that are added up apart, instead of fed into the next step, measured fastest.
	var s0, s1, carries uint64
	for len(b) >= 64 {
		p := (*[64]byte)(b)
		var c uint64
		s0, c = bits.Add64(s0, binary.LittleEndian.Uint64(p[0:]), 0)
		s0, c = bits.Add64(s0, binary.LittleEndian.Uint64(p[8:]), c)
		s0, c = bits.Add64(s0, binary.LittleEndian.Uint64(p[16:]), c)
		s0, c = bits.Add64(s0, binary.LittleEndian.Uint64(p[24:]), c)
		carries += c
		s1, c = bits.Add64(s1, binary.LittleEndian.Uint64(p[32:]), 0)
		s1, c = bits.Add64(s1, binary.LittleEndian.Uint64(p[40:]), c)
		s1, c = bits.Add64(s1, binary.LittleEndian.Uint64(p[48:]), c)
		s1, c = bits.Add64(s1, binary.LittleEndian.Uint64(p[56:]), c)
		carries += c
		b = b[64:]
	}
	s, c := bits.Add64(s0, s1, 0)
	s, c = bits.Add64(s, carries, c)
	if len(b) >= 32 {
		p := (*[32]byte)(b)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(p[0:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(p[8:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(p[16:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(p[24:]), c)
		b = b[32:]
	}
	for len(b) >= 8 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b), c)
		b = b[8:]
	}
	var tail uint64 // at most 7 bytes, so the carries below cannot be lost
	if len(b) >= 4 {
		tail = uint64(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		tail += uint64(binary.LittleEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		tail += uint64(b[0])
	}
	s, c = bits.Add64(s, tail, c)
	return bits.ReverseBytes16(fold64carry(s, c))
}

// fold64carry folds s plus the carry c that fell out of it.
func fold64carry(s, c uint64) uint16 {
	return fold64(s>>32 + s&0xffffffff + c)
}

// fold64 folds a sum of 16-bit words of less than 2^48 to 16 bits.
func fold64(s uint64) uint16 {
	s = s>>32 + s>>16&0xffff + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s + s>>16)
}
