// Package route is a routing table: longest prefix match over routes with the types, metrics and weighted next hops that Linux
// has, made for looking up a destination for each packet.
//
//	             ┌──────────────────── Table ─────────────────────┐
//	Add, Delete ─┤▶ every route, by prefix ──▶ the best of each ──├─▶ Lookup(destination) ─▶ *Path ─▶ Hop(flow hash)
//	Swap, Get    │  (a bart.Table)             (a multibit trie)  │
//	             └────────────────────────────────────────────────┘
//
// The trie has strides of 16, 8 and 8 bits, or of 24 and 8 with [Config.Flat]: a lookup of an IPv4 address is two or three
// memory accesses, and a few more for the result. IPv6 routes are kept and looked up by bart, which is slower.
//
// # Concurrency
//
// All methods of a [Table] may be called by any goroutine at any time. [Table.Lookup], [Table.LookupAll] and [Table.LookupAddr] take
// no lock, wait for nobody and allocate nothing. While routes change they return, for each destination, what was right at some moment of
// the call: a replaced route leaves no hole, and [Table.Swap] replaces all of them at one moment. A [Path] does not
// change and may be kept. Methods that change routes take turns by a lock inside.
package route

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Faults of a change to the table, wrapped with what it was about.
var (
	ErrExists   = errors.New("route exists")
	ErrNotFound = errors.New("no such route")
	ErrFull     = errors.New("routing table is full")
	ErrRoute    = errors.New("not a valid route")
)

// Type is what becomes of packets that a route matches; the numbers are Linux's (rtnetlink(7)).
type Type uint8

// The types, with the words of 'ip route'.
const (
	Unicast     Type = 1 // sent to a next hop
	Local       Type = 2 // the node's own address
	Broadcast   Type = 3 // sent as a link broadcast
	Blackhole   Type = 6 // dropped silently
	Unreachable Type = 7 // dropped, the sender is told 'host unreachable'
	Prohibit    Type = 8 // dropped, the sender is told 'administratively prohibited'
)

var typeNames = map[Type]string{
	Unicast: "unicast", Local: "local", Broadcast: "broadcast",
	Blackhole: "blackhole", Unreachable: "unreachable", Prohibit: "prohibit",
}

// String returns the type's word.
func (t Type) String() string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return "type " + strconv.Itoa(int(t))
}

// ParseType returns the type of a word of 'ip route'.
func ParseType(s string) (Type, error) {
	for t, name := range typeNames {
		if name == s {
			return t, nil
		}
	}
	return 0, fmt.Errorf("%w: type %q is none of unicast, local, broadcast, blackhole, unreachable, prohibit", ErrRoute, s)
}

// drops reports whether packets of the type go nowhere, so that there is no next hop.
func (t Type) drops() bool { return t >= Blackhole }

// Numbers of Linux's tables, those that it looks into unless told otherwise. A Table holds both together as the kernel does: of
// two routes with the same prefix the local one counts. Further tables, chosen by rules, are Tables of their own.
const (
	TableMain  uint32 = 254
	TableLocal uint32 = 255
)

// Scope is how far the destinations of a route are (rtnetlink(7)).
type Scope uint8

// The scopes.
const (
	ScopeGlobal Scope = 0   // behind a gateway
	ScopeLink   Scope = 253 // on the link
	ScopeHost   Scope = 254 // this node
)

// String returns the scope's word.
func (s Scope) String() string {
	switch s {
	case ScopeGlobal:
		return "global"
	case ScopeLink:
		return "link"
	case ScopeHost:
		return "host"
	}
	return strconv.Itoa(int(s))
}

// protocolBoot is the protocol of routes made by 'ip route' itself, which does not mention it.
const protocolBoot = 3

// protocolNames are those of /etc/iproute2/rt_protos that a node with containers is likely to have.
var protocolNames = map[uint8]string{1: "redirect", 2: "kernel", 4: "static", 9: "ra", 12: "bird", 16: "dhcp", 186: "bgp"}

func (r Route) protocol() string {
	if name, ok := protocolNames[r.Protocol]; ok {
		return name
	}
	return strconv.Itoa(int(r.Protocol))
}

// NextHop is one way that packets of a route may take.
type NextHop struct {
	Gateway netip.Addr // the router on the link; the zero Addr if destinations are on the link themselves
	Device  uint32     // index of the device to leave by, of the caller's choosing
	Weight  uint16     // share of flows among several next hops, 1 to 256; 0: 1
	Onlink  bool       // the gateway is on the link although no address of the device says so
	Tag     uint32     // the caller's own, such as the index of a resolved adjacency; the table only carries it
}

// is reports whether h and o are the same way, for telling which flows have to move.
func (h NextHop) is(o NextHop) bool { return h.Device == o.Device && h.Gateway == o.Gateway }

func (h NextHop) weight() int { return max(1, int(h.Weight)) }

// Route is one route. Two routes may have the same prefix if they differ in table or metric, or were appended.
type Route struct {
	Prefix   netip.Prefix
	Type     Type       // 0: Unicast
	Table    uint32     // 0: TableMain
	Metric   uint32     // of several routes with a prefix, the one with the least counts
	Source   netip.Addr // the address that the node's own packets bear; the zero Addr if it has none
	Scope    Scope
	Protocol uint8  // who made the route, by the numbers of /etc/iproute2/rt_protos
	MTU      uint32 // bytes; 0: the device's
	NextHops []NextHop
}

// MaxNextHops is how many next hops a route may have.
const MaxNextHops = 256

const maxWeight = 256

// normal returns r with defaults filled in, or all that is wrong with it.
func (r Route) normal() (Route, error) {
	if r.Type == 0 {
		r.Type = Unicast
	}
	if r.Table == 0 {
		r.Table = TableMain
	}
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	switch {
	case !r.Prefix.IsValid():
		fault("Prefix is missing")
	case r.Prefix.Addr().Is4In6():
		fault("Prefix %v is IPv4 in IPv6: use %v", r.Prefix, r.Prefix.Addr().Unmap())
	case r.Prefix != r.Prefix.Masked():
		fault("Prefix %v has bits behind its length: use %v", r.Prefix, r.Prefix.Masked())
	}
	if _, known := typeNames[r.Type]; !known {
		fault("Type %d is unknown", r.Type)
	}
	if r.Table != TableMain && r.Table != TableLocal {
		fault("Table %d is neither TableMain nor TableLocal: it takes a Table of its own", r.Table)
	}
	switch n := len(r.NextHops); {
	case r.Type.drops() && n > 0:
		fault("NextHops: a %v route has none", r.Type)
	case !r.Type.drops() && n == 0:
		fault("NextHops: a %v route needs one", r.Type)
	case n > MaxNextHops:
		fault("NextHops: %d are more than %d", n, MaxNextHops)
	}
	is4 := r.Prefix.Addr().Is4()
	if r.Source.IsValid() && (r.Source.Is4() != is4 || r.Source.Is4In6() || r.Source.Zone() != "") {
		fault("Source %v is of another family than the prefix, or has a zone", r.Source)
	}
	for i, h := range r.NextHops[:min(len(r.NextHops), MaxNextHops)] {
		switch {
		case h.Gateway.IsValid() && (h.Gateway.Is4() != is4 || h.Gateway.Is4In6()):
			fault("NextHops[%d].Gateway %v is of another family than the prefix", i, h.Gateway)
		case h.Gateway.IsValid() && (h.Gateway.IsUnspecified() || h.Gateway.IsMulticast()):
			fault("NextHops[%d].Gateway %v is no router's address", i, h.Gateway)
		case h.Gateway.Zone() != "":
			fault("NextHops[%d].Gateway %v has a zone: Device says the link", i, h.Gateway)
		case h.Onlink && !h.Gateway.IsValid():
			fault("NextHops[%d].Onlink says of a Gateway where it is, and there is none", i)
		}
		if h.Weight > maxWeight {
			fault("NextHops[%d].Weight %d is more than %d", i, h.Weight, maxWeight)
		}
		for j, o := range r.NextHops[:i] {
			if h.is(o) {
				fault("NextHops[%d] is the same way as NextHops[%d]: use Weight", i, j)
				break
			}
		}
	}
	if len(faults) > 0 {
		return r, fmt.Errorf("%w: %s", ErrRoute, strings.Join(faults, "; "))
	}
	return r, nil
}

// String returns r as 'ip route show' does (iproute2 6.1, ip/iproute.c), with the numbers of devices: "10.244.1.0/24 via 10.244.1.0 dev 5 onlink".
func (r Route) String() string { return r.Format(nil) }

// Format is [Route.String] with names of devices.
func (r Route) Format(device func(index uint32) string) string {
	if device == nil {
		device = func(index uint32) string { return strconv.FormatUint(uint64(index), 10) }
	}
	var b strings.Builder
	if r.Type != Unicast && r.Type != 0 {
		b.WriteString(r.Type.String() + " ")
	}
	switch {
	case !r.Prefix.IsValid():
		b.WriteString("invalid")
	case r.Prefix.Bits() == 0:
		b.WriteString("default")
	case r.Prefix.IsSingleIP():
		b.WriteString(r.Prefix.Addr().String())
	default:
		b.WriteString(r.Prefix.String())
	}
	if len(r.NextHops) == 1 {
		b.WriteString(r.NextHops[0].format(device))
	}
	if r.Protocol != 0 && r.Protocol != protocolBoot {
		b.WriteString(" proto " + r.protocol())
	}
	if r.Scope != ScopeGlobal {
		b.WriteString(" scope " + r.Scope.String())
	}
	if r.Source.IsValid() {
		b.WriteString(" src " + r.Source.String())
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if len(r.NextHops) == 1 && r.NextHops[0].Onlink {
		b.WriteString(" onlink")
	}
	if r.MTU != 0 {
		fmt.Fprintf(&b, " mtu %d", r.MTU)
	}
	if len(r.NextHops) > 1 {
		for _, h := range r.NextHops {
			b.WriteString("\n\tnexthop" + h.format(device) + fmt.Sprintf(" weight %d", h.weight()))
			if h.Onlink {
				b.WriteString(" onlink")
			}
		}
	}
	return b.String()
}

func (h NextHop) format(device func(uint32) string) string {
	s := ""
	if h.Gateway.IsValid() {
		s = " via " + h.Gateway.String()
	}
	return s + " dev " + device(h.Device)
}
