// Package flow names and hashes the flow that a packet belongs to.
//
// A [Key] is the five-tuple, for tables and reports. A [Hasher] gives the 32-bit hash that spreads flows over tunnel
// source ports and equal-cost paths: the same for all packets that the network must not reorder, hard to steer for
// somebody who does not know the key.
//
// Fragments are hashed without ports, the first one too, so that all fragments of a datagram take one path; their flow's
// whole packets may take another. Reading ports where only the first fragment has them is what splits datagrams in other
// implementations.
package flow

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"strconv"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
)

// Key is the five-tuple of an IPv4 flow in one direction. It is comparable and a map key.
type Key struct {
	Src, Dst         [4]byte
	SrcPort, DstPort uint16 // 0 where the protocol has none, or the packet is a fragment but the first
	Protocol         uint8
}

// KeyOf returns the flow of the packet with header h and the given payload.
func KeyOf(h ipv4.Header, payload []byte) Key {
	k := Key{Src: h.Src(), Dst: h.Dst(), Protocol: h.Protocol()}
	if hasPorts(k.Protocol) && h.FragmentOffset() == 0 && len(payload) >= 4 {
		k.SrcPort = binary.BigEndian.Uint16(payload[0:])
		k.DstPort = binary.BigEndian.Uint16(payload[2:])
	}
	return k
}

// Reverse returns the key of the flow's other direction.
func (k Key) Reverse() Key {
	return Key{Src: k.Dst, Dst: k.Src, SrcPort: k.DstPort, DstPort: k.SrcPort, Protocol: k.Protocol}
}

// String returns k as "10.244.1.12:40000 > 10.244.2.14:80 proto 6", without ports where the protocol has none.
func (k Key) String() string {
	src, dst := netip.AddrFrom4(k.Src), netip.AddrFrom4(k.Dst)
	suffix := " proto " + strconv.Itoa(int(k.Protocol))
	if !hasPorts(k.Protocol) {
		return src.String() + " > " + dst.String() + suffix
	}
	return netip.AddrPortFrom(src, k.SrcPort).String() + " > " + netip.AddrPortFrom(dst, k.DstPort).String() + suffix
}

// withPorts has a bit for each protocol number whose payload starts with source and destination port, or with a value
// that serves as well to tell flows apart: TCP, UDP, DCCP, ESP (its SPI), SCTP, UDP-Lite.
var withPorts = [4]uint64{
	0: 1<<6 | 1<<17 | 1<<33 | 1<<50,
	2: 1<<(132-128) | 1<<(136-128),
}

func hasPorts(protocol uint8) bool { return withPorts[protocol>>6]>>(protocol&63)&1 != 0 }

// Hasher hashes flows under a secret key. The zero Hasher works and has a publicly known key; [NewHasher] and
// [RandomHasher] make others. It is a small value, safe for concurrent use.
type Hasher struct {
	k0, k1 uint64
}

// Odd constants with about half of their bits set, so that the zero key hashes well too: the fractional parts of √2
// and √3.
const (
	c0 = 0x6a09e667f3bcc909
	c1 = 0xbb67ae8584caa73b
)

// NewHasher returns the hasher of a seed: equal seeds, equal hashes, in every process and version of this package
// that keeps its tests.
func NewHasher(seed uint64) Hasher {
	// The seed is spread over both keys by multiplication with different constants, so that no seed leaves one of
	// them alone.
	hi, lo := bits.Mul64(seed^c0, c1)
	return Hasher{k0: hi ^ lo ^ seed, k1: bits.RotateLeft64(lo, 32) ^ hi}
}

// RandomHasher returns a hasher with a key that nobody knows.
func RandomHasher() Hasher { return Hasher{k0: rand.Uint64(), k1: rand.Uint64()} }

// IsZero reports whether h is the zero Hasher.
func (h Hasher) IsZero() bool { return h == Hasher{} }

// mix is the whole hash: two keyed words multiplied to 128 bits and folded, twice over. Once is faster by a nanosecond and not
// enough: bits at the upper end of a word then reach too few bits of the result.
func (h Hasher) mix(a, b uint64) uint32 {
	hi, lo := bits.Mul64(a^h.k0, b^h.k1^c1)
	hi, lo = bits.Mul64(hi^lo, c0)
	return uint32(hi ^ lo)
}

// mix64 is the first half of [Hasher.mix], for words that do not fit two.
func (h Hasher) mix64(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^h.k0, b^h.k1^c1)
	return hi ^ lo
}

// Words hashes an IPv4 packet without options as [Hasher.IPv4] does, given as the numbers that its first three times eight
// bytes make in network byte order: for callers who have loaded them anyway.
func (h Hasher) Words(w0, w1, w2 uint64) uint32 {
	const moreOrOffset = 0x3fff // the MF flag and the fragment offset
	ports := w2 & 0xffffffff
	if w0&moreOrOffset != 0 || withPorts[w1>>54&3]>>(w1>>48&63)&1 == 0 { // the protocol is in bits 48 to 55
		ports = 0
	}
	return h.mix(w1<<32|w2>>32, ports)
}

// IPv4 hashes an IPv4 packet by addresses, and by ports if it has them and is no fragment. The packet need
// not be validated; one shorter than its header hashes like any bytes.
func (h Hasher) IPv4(packet []byte) uint32 {
	if len(packet) < ipv4.HeaderLen {
		return h.short(packet)
	}
	p := (*[ipv4.HeaderLen]byte)(packet)
	n := ipv4.HeaderLen
	if p[0] != plainIPv4 {
		n = max(n, int(p[0]&0xf)*4)
	}
	w2 := uint64(binary.BigEndian.Uint32(p[16:])) << 32
	if len(packet) >= n+4 {
		w2 |= uint64(binary.BigEndian.Uint32(packet[n:]))
	}
	return h.Words(binary.BigEndian.Uint64(p[0:]), binary.BigEndian.Uint64(p[8:]), w2)
}

// plainIPv4 is the first byte of an IPv4 header without options.
const plainIPv4 = 4<<4 | ipv4.HeaderLen/4

// IPv6 hashes an IPv6 packet by addresses and next header, and by flow label (RFC 6437) or, if that is zero, by ports
// where the transport header follows at once. The packet need not be validated.
func (h Hasher) IPv6(packet []byte) uint32 {
	const headerLen = 40
	if len(packet) < headerLen {
		return h.short(packet)
	}
	p := (*[headerLen]byte)(packet)
	last := uint64(binary.BigEndian.Uint32(p[0:]) & 0xfffff) // flow label
	if last == 0 && hasPorts(p[6]) && len(packet) >= headerLen+4 {
		last = uint64(binary.BigEndian.Uint32(packet[headerLen:]))
	}
	prefixes := h.mix64(binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint64(p[24:]))
	hosts := h.mix64(binary.BigEndian.Uint64(p[16:])^prefixes, binary.BigEndian.Uint64(p[32:]))
	return h.mix(hosts, last|uint64(p[6])<<32)
}

// Frame hashes an Ethernet frame: by the IP packet in it, behind VLAN tags, or else by addresses and EtherType.
func (h Hasher) Frame(frame []byte) uint32 {
	const ip = ethernet.HeaderLen
	if len(frame) >= ip+24 {
		p := (*[ip + 24]byte)(frame)
		if binary.BigEndian.Uint16(p[ip-2:]) == ethernet.TypeIPv4 && p[ip] == plainIPv4 { // nearly every frame
			return h.Words(binary.BigEndian.Uint64(p[ip:]), binary.BigEndian.Uint64(p[ip+8:]), binary.BigEndian.Uint64(p[ip+16:]))
		}
	}
	return h.anyFrame(frame)
}

// anyFrame is [Hasher.Frame] for frames of every kind.
func (h Hasher) anyFrame(frame []byte) uint32 {
	at, etherType := Network(frame)
	switch {
	case etherType == ethernet.TypeIPv4 && len(frame) >= at+ipv4.HeaderLen:
		return h.IPv4(frame[at:])
	case etherType == ethernet.TypeIPv6:
		return h.IPv6(frame[at:])
	}
	return h.short(frame)
}

// short hashes what there is of the first 14 bytes of b: an Ethernet header, or the start of something broken.
func (h Hasher) short(b []byte) uint32 {
	var w [16]byte
	copy(w[:ethernet.HeaderLen], b)
	return h.mix(binary.BigEndian.Uint64(w[0:]), binary.BigEndian.Uint64(w[8:]))
}

// Network returns where in an Ethernet frame the network header starts, behind VLAN tags, and the EtherType in front of
// it; 0 for both if the frame ends before.
func Network(frame []byte) (at int, etherType uint16) {
	if len(frame) < ethernet.HeaderLen {
		return 0, 0
	}
	at, etherType = ethernet.HeaderLen, binary.BigEndian.Uint16(frame[ethernet.HeaderLen-2:])
	for etherType == ethernet.TypeVLAN || etherType == ethernet.TypeQinQ {
		if at += ethernet.TagLen; at > len(frame) {
			return 0, 0
		}
		etherType = binary.BigEndian.Uint16(frame[at-2:])
	}
	return at, etherType
}
