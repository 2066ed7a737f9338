// Package tunnel holds the rules that VXLAN and IPIP share: how congestion marks cross a tunnel's ends, what the outer
// header inherits from the inner one, which source port a flow gets, and whom to follow where Linux and the RFCs differ.
package tunnel

import (
	"encoding/binary"
	"errors"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ipv4"
)

// IPv6HeaderLen is the length in bytes of the fixed IPv6 header (RFC 8200 section 3), which tunnels carry and mark
// without reading further.
const IPv6HeaderLen = 40

// Profile chooses whom to follow where Linux and the RFCs differ. Each place that asks says what the difference is.
type Profile uint8

// The profiles.
const (
	Linux Profile = iota // what a current Linux kernel does: what Flannel and Calico are used with
	RFC                  // what RFC 7348 (VXLAN), RFC 2003 (IPIP) and RFC 6040 (ECN) say
)

// String returns the profile's name.
func (p Profile) String() string {
	switch p {
	case Linux:
		return "Linux"
	case RFC:
		return "RFC"
	}
	return "unknown"
}

// DF says what the don't-fragment flag of the outer header is.
type DF uint8

// The values, named as in 'ip link add … type vxlan df'.
const (
	DFUnset   DF = iota
	DFSet        // set
	DFInherit    // as in the inner header; set for IPv6, which routers never fragment
)

// ErrECN reports a packet whose outer header says 'congestion experienced' while the inner one says that the transport
// would not understand: it must be dropped (RFC 6040 section 4.2).
var ErrECN = errors.New("tunnel: congestion experienced on the way, but the inner packet is not ECN-capable")

// EncapECN returns the congestion mark of the outer header for an inner one. RFC 6040 (normal mode) copies it. Linux
// does not copy CE but sends ECT(0), so that congestion inside the tunnel can be told apart (INET_ECN_encapsulate).
func (p Profile) EncapECN(inner ipv4.ECN) ipv4.ECN {
	if inner == ipv4.CE && p == Linux {
		return ipv4.ECT0
	}
	return inner
}

// DecapECN returns the congestion mark of the inner header after decapsulation, or [ErrECN] if the packet must be
// dropped (RFC 6040 section 4.2, figure 4; Linux's INET_ECN_decapsulate does the same).
func DecapECN(outer, inner ipv4.ECN) (ipv4.ECN, error) {
	switch {
	case inner == ipv4.NotECT:
		if outer == ipv4.CE {
			return inner, ErrECN
		}
		return ipv4.NotECT, nil
	case outer == ipv4.CE:
		return ipv4.CE, nil
	case outer == ipv4.ECT1 && inner == ipv4.ECT0:
		return ipv4.ECT1, nil
	}
	return inner, nil
}

// MarkIPv4 sets the congestion mark of an inner IPv4 header after decapsulation, with its checksum in step. It returns
// [ErrECN], and changes nothing, if the packet must be dropped. The header need not be validated.
func MarkIPv4(h *[ipv4.HeaderLen]byte, outer ipv4.ECN) error {
	inner := ipv4.ECN(h[1] & 3)
	mark, err := DecapECN(outer, inner)
	if err != nil || mark == inner {
		return err
	}
	old := binary.BigEndian.Uint16(h[0:])
	h[1] = h[1]&^3 | uint8(mark)
	check := checksum.Update(binary.BigEndian.Uint16(h[10:]), old, binary.BigEndian.Uint16(h[0:]))
	binary.BigEndian.PutUint16(h[10:], check)
	return nil
}

// MarkIPv6 is [MarkIPv4] for an inner IPv6 header, which has no checksum.
func MarkIPv6(h *[IPv6HeaderLen]byte, outer ipv4.ECN) error {
	const shift = 20 - 16 // of the ECN bits in the header's first 16 bits
	word := binary.BigEndian.Uint16(h[0:])
	inner := ipv4.ECN(word >> shift & 3)
	mark, err := DecapECN(outer, inner)
	if err != nil || mark == inner {
		return err
	}
	binary.BigEndian.PutUint16(h[0:], word&^(3<<shift)|uint16(mark)<<shift)
	return nil
}

// Ports is a range of UDP source ports, Max excluded. In a configuration the zero range stands for [DefaultPorts]; whoever reads
// one calls [Ports.OrDefault] first.
type Ports struct {
	Min, Max uint16
}

// DefaultPorts is Linux's range (net.ipv4.ip_local_port_range).
var DefaultPorts = Ports{Min: 32768, Max: 60999}

// ErrPorts reports an empty range.
var ErrPorts = errors.New("tunnel: source port range is empty: want Min < Max")

// OrDefault returns r, or [DefaultPorts] if r is zero; and [ErrPorts] if r is empty.
func (r Ports) OrDefault() (Ports, error) {
	if r == (Ports{}) {
		return DefaultPorts, nil
	}
	if r.Min >= r.Max {
		return r, ErrPorts
	}
	return r, nil
}

// Port maps a flow hash to a port of the range as Linux does (udp_flow_src_port). The lower half of the hash is mixed
// into the upper one first, because only the upper bits count.
func (r Ports) Port(hash uint32) uint16 {
	hash ^= hash << 16
	return r.Min + uint16(uint64(hash)*uint64(r.Max-r.Min)>>32)
}
