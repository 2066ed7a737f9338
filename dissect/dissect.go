// Package dissect walks a frame through all its layers, from the outer Ethernet header through tunnels to the innermost
// packet, in one call and without allocating: what a traffic mirror's collector or a flow exporter needs.
//
//	frame ─▶ Ethernet, VLAN tags ─┬─▶ ARP
//	                              └─▶ IPv4 ─┬─▶ TCP, ICMP
//	                                 ▲      ├─▶ UDP ─▶ VXLAN ─▶ next level: Ethernet …
//	packet (no Ethernet header) ─────┘      └─▶ IPv4 (IPIP)  ─▶ next level: IPv4 …
//
// Each tunnel starts a new [Level]; the levels of a [Stack] lie side by side, so outer and inner headers are at hand
// together. Everything that a level holds was validated by its codec, and aliases the frame.
package dissect

import (
	"errors"
	"fmt"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// MaxLevels is the largest number of levels that a [Stack] has room for: an outermost packet and seven tunnels.
const MaxLevels = 8

// ErrDepth reports more tunnels inside each other than [Config.Levels] allows.
var ErrDepth = errors.New("dissect: too many tunnels inside each other")

// Layer names a kind of header.
type Layer uint8

// The layers.
const (
	Ethernet Layer = iota
	ARP
	IPv4
	TCP
	UDP
	ICMP
	VXLAN
)

// String returns the name of the layer.
func (l Layer) String() string {
	names := [...]string{"ethernet", "arp", "ipv4", "tcp", "udp", "icmp", "vxlan"}
	if int(l) < len(names) {
		return names[l]
	}
	return "unknown"
}

// Level is one packet of the stack: the frame itself, or what a tunnel carries. Views of headers that it does not have are
// zero; their IsValid reports false.
type Level struct {
	Ethernet ethernet.Header // not valid behind IPIP, and for raw IP packets
	ARP      arp.Packet
	IPv4     ipv4.Header
	TCP      tcp.Header // of a TCP packet, like UDP and ICMP; not valid in a fragment but the first
	UDP      udp.Header
	ICMP     icmp.Header
	VXLAN    vxlan.Header // the UDP payload is VXLAN: the next level is its inner frame

	// Payload is what follows the level's last header, cut to the declared lengths: for a tunnel, the next level.
	Payload []byte

	datagram []byte // the payload of UDP that carries VXLAN, from the VXLAN header on

	// Cut says that a length field promises more bytes than there are, or none at all, and Payload is what there is:
	// in a first fragment, and where Config.Partial asks to read on.
	Cut bool
}

// Flow returns the level's five-tuple; the zero Key if it is no IPv4 packet.
func (l *Level) Flow() flow.Key {
	if !l.IPv4.IsValid() {
		return flow.Key{}
	}
	switch {
	case l.UDP.IsValid():
		return flow.KeyOf(l.IPv4, l.UDP.Bytes())
	case l.TCP.IsValid():
		return flow.KeyOf(l.IPv4, l.TCP.Bytes())
	}
	return flow.KeyOf(l.IPv4, l.Payload)
}

// IsFragment reports whether the level is an IPv4 fragment, the first one included.
func (l *Level) IsFragment() bool { return l.IPv4.IsValid() && l.IPv4.IsFragment() }

// WrongChecksum returns the error of the codec whose checksum is wrong, the IPv4 header's before the transport's, or nil.
// Absent checksums, and transport checksums that cover bytes which are not there, are not wrong. A capture made at the sender
// holds partial checksums, which look wrong.
//
// A level whose payload is a tunnel is summed to its end, all inner levels included.
func (l *Level) WrongChecksum() error {
	switch {
	case !l.IPv4.IsValid():
		return nil
	case !l.IPv4.ChecksumOK():
		return ipv4.ErrChecksum
	}
	return l.WrongTransportChecksum()
}

// WrongTransportChecksum is [Level.WrongChecksum] without the IPv4 header's.
func (l *Level) WrongTransportChecksum() error {
	if !l.IPv4.IsValid() || l.Cut || l.IPv4.IsFragment() {
		return nil
	}
	src, dst := l.IPv4.Src(), l.IPv4.Dst()
	payload := l.Payload
	if l.VXLAN.IsValid() {
		payload = l.datagram
	}
	switch {
	case l.UDP.IsValid() && !l.UDP.ChecksumOK(src, dst, payload):
		return udp.ErrChecksum
	case l.TCP.IsValid() && !l.TCP.ChecksumOK(src, dst, payload):
		return tcp.ErrChecksum
	case l.ICMP.IsValid() && !l.ICMP.ChecksumOK(payload):
		return icmp.ErrChecksum
	}
	return nil
}

// Stack is what a walk finds. It is meant to be kept and reused: nothing that a walk finds is left for the next one to see,
// though the memory of earlier frames stays referenced until as deep a frame comes by. The zero Stack is empty. A Stack is not
// safe for concurrent use.
type Stack struct {
	n      int
	levels [MaxLevels]Level
	err    Error
}

// Levels returns the levels found, the outermost first. At an error, the last one holds what was read before it.
func (s *Stack) Levels() []Level { return s.levels[:s.n] }

// Outer returns the outermost level.
func (s *Stack) Outer() *Level { return &s.levels[0] }

// Inner returns the innermost level, which is the outermost one if there is no tunnel.
func (s *Stack) Inner() *Level { return &s.levels[max(s.n, 1)-1] }

// Error says where a walk stopped and why.
type Error struct {
	Level  int   // index of the level, 0 the outermost
	Layer  Layer // the header that is wrong
	Offset int   // where it starts, in bytes from the start of the frame
	Err    error // a sentinel of the layer's package, or ErrDepth
}

// Error returns what is wrong and where.
func (e *Error) Error() string {
	return fmt.Sprintf("%v (%v header at byte %d)", e.Err, e.Layer, e.Offset)
}

// Unwrap returns the sentinel, so that errors.Is finds it.
func (e *Error) Unwrap() error { return e.Err }

// Config says how to walk. The zero value is what most callers want.
type Config struct {
	// VXLANPorts are the UDP destination ports whose payload is read as VXLAN; nil means 4789 and 8472, an empty slice
	// none. A payload on them that is no VXLAN ends the walk with an error.
	VXLANPorts []uint16

	// Levels bounds the number of levels, 1 to MaxLevels; 0 means MaxLevels. A tunnel inside the last one is an error.
	Levels int

	// Partial reads on where a length field promises more bytes than there are, as in captures cut by a snap length, or
	// is zero, as segmentation offload leaves it at a sender: the level is then marked as Cut. A frame that ends inside its
	// first header, or inside ARP, promises nothing and is an error all the same.
	Partial bool
}

// Walker walks frames. It does not change after [New] and is safe for concurrent use, each goroutine with its own [Stack].
type Walker struct {
	levels  int
	partial bool
	vxlan   [1 << 16 / 64]uint64 // a bit for each port
}

// New returns a walker. It reports every field of c that is wrong.
func New(c Config) (*Walker, error) {
	if c.Levels < 0 || c.Levels > MaxLevels {
		return nil, fmt.Errorf("dissect: Config.Levels is %d: want 1 to %d, or 0 for %d", c.Levels, MaxLevels, MaxLevels)
	}
	w := &Walker{levels: c.Levels, partial: c.Partial}
	if w.levels == 0 {
		w.levels = MaxLevels
	}
	ports := c.VXLANPorts
	if ports == nil {
		ports = []uint16{vxlan.Port, vxlan.PortLinux}
	}
	for _, p := range ports {
		w.vxlan[p/64] |= 1 << (p % 64)
	}
	return w, nil
}
