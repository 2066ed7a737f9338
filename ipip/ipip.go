// Package ipip carries IPv4 packets in IPv4 packets (RFC 2003, protocol 4): the encapsulation of Linux's ipip devices,
// of Flannel's ipip backend and of Calico's tunl0.
//
//	+-----------------------------+-----------------------------+---------+
//	| outer IPv4 header, 20 bytes | inner IPv4 header           | payload |
//	| protocol 4                  | as it was                   |         |
//	+-----------------------------+-----------------------------+---------+
//
// There is no header between the two. [Parse] reads such a packet; [Encapsulator] and [Decapsulator] do the whole outer
// stack at once, for a few nanoseconds a packet.
package ipip

import (
	"errors"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
)

// Protocol is the number that an IPv4 header gives for an IPv4 packet inside.
const Protocol = 4

// Sizes in bytes.
const (
	// OverheadIP is what encapsulation adds to a packet for a raw IPv4 underlay, and how much less the MTU of the
	// tunnel is than that of its underlay; Overhead is the same with an untagged outer Ethernet header.
	OverheadIP = ipv4.HeaderLen
	Overhead   = ethernet.HeaderLen + OverheadIP
)

// Faults of a packet.
var (
	ErrNotIPIP  = errors.New("ipip: outer packet is not IPv4 with IPv4 inside")
	ErrFragment = errors.New("ipip: outer packet is a fragment: reassemble it first")
	ErrLocal    = errors.New("ipip: outer destination is not the tunnel's address")
	ErrPeer     = errors.New("ipip: outer source is not one of the tunnel's peers")
	ErrInner    = errors.New("ipip: what is to be encapsulated is not an IPv4 packet")
	ErrTTL      = errors.New("ipip: inner time to live is 0")
	ErrLoop     = errors.New("ipip: inner source is the tunnel's own entry or exit")
	ErrTooLong  = errors.New("ipip: outer packet would exceed 65535 bytes")
)

// Parse returns the inner packet's header and its payload, given the outer header and its payload as [ipv4.Parse]
// returned them. It returns [ErrNotIPIP], [ErrFragment], or what [ipv4.Parse] says of the inner packet.
func Parse(outer ipv4.Header, payload []byte) (ipv4.Header, []byte, error) {
	if outer.Protocol() != Protocol {
		return ipv4.Header{}, nil, ErrNotIPIP
	}
	if outer.IsFragment() {
		return ipv4.Header{}, nil, ErrFragment
	}
	return ipv4.Parse(payload)
}
