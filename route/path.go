package route

// What a lookup gives: a path, and the next hop of it that a flow takes.

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Path is all that a route says but its prefix. It is immutable; routes that say the same have one Path.
type Path struct {
	// What packets need, in a cache line of its own.
	first   *NextHop           // of one next hop; nil if there is none, or are several
	buckets *[bucketCount]byte // of several next hops: which one each slice of the hash space takes
	only    Next               // first in numbers
	mtu     uint32
	tag     uint32 // of only, if there is nothing else to know
	kind    Type

	route *Route // without a prefix
	_     [16]byte
}

// Next is a next hop in numbers, for the packet path.
type Next struct {
	Device  uint32
	Gateway uint32 // IPv4 address, first byte the most significant; 0: the destination itself
	Tag     uint32
}

// Next returns the next hop in numbers.
func (h *NextHop) Next() Next {
	n := Next{Device: h.Device, Tag: h.Tag}
	if h.Gateway.Is4() {
		b := h.Gateway.As4()
		n.Gateway = binary.BigEndian.Uint32(b[:])
	}
	return n
}

// Only returns the next hop of a path that has one, and reports false for one that has none or several.
func (p *Path) Only() (Next, bool) { return p.only, p.first != nil }

// Tag returns the tag of the only next hop of a unicast path without an MTU; 0 for other paths.
func (p *Path) Tag() uint32 { return p.tag }

// bucketCount is in how many slices the hash space is cut for routes with several next hops; a next hop's share is right to
// within one of them.
const (
	bucketBits  = 10
	bucketCount = 1 << bucketBits
)

// Type returns what becomes of the packets.
func (p *Path) Type() Type { return p.kind }

// MTU returns the greatest packet in bytes, 0 if the device's MTU decides.
func (p *Path) MTU() uint32 { return p.mtu }

// Source returns the address for the node's own packets; it is not valid if the route names none.
func (p *Path) Source() netip.Addr { return p.route.Source }

// Scope returns how far the destinations are.
func (p *Path) Scope() Scope { return p.route.Scope }

// NextHops returns the next hops, which the caller must not change; nil for a path that drops.
func (p *Path) NextHops() []NextHop { return p.route.NextHops }

// Route returns the route to prefix that says what p does.
func (p *Path) Route(prefix netip.Prefix) Route {
	r := *p.route
	r.Prefix = prefix
	r.NextHops = slices.Clone(r.NextHops)
	return r
}

// Hop returns the next hop that the flow with this hash takes, see package flow; nil if p drops. Flows keep to their next hop
// as long as the route has it: when others leave the route, their flows alone move; when others join it, they get
// their share and no more.
func (p *Path) Hop(hash uint32) *NextHop {
	if p.buckets == nil {
		return p.first
	}
	return &p.route.NextHops[p.buckets[hash>>(32-bucketBits)]]
}

// newPath returns the path of a route with the buckets that [fillBuckets] made, if it has several next hops.
func newPath(r Route, buckets *[bucketCount]byte) *Path {
	r.Prefix = netip.Prefix{}
	r.NextHops = slices.Clone(r.NextHops)
	p := &Path{route: &r, buckets: buckets, kind: r.Type, mtu: r.MTU}
	if len(r.NextHops) == 1 {
		p.first = &r.NextHops[0]
		p.only = p.first.Next()
		if p.kind == Unicast && p.mtu == 0 {
			p.tag = p.only.Tag
		}
	}
	return p
}

// fillBuckets gives each next hop its share of the buckets: those that it had, as far as they are not more than its
// share, and then of the others.
func fillBuckets(hops []NextHop, old *Path) *[bucketCount]byte {
	owner, kept := owners(hops, old)
	left := quotas(hops, kept)
	buckets := new([bucketCount]byte)
	for b, i := range owner {
		if i == nobody || left[i] == 0 {
			owner[b] = nobody
			continue
		}
		buckets[b] = byte(i)
		left[i]--
	}
	i := 0
	for b := range owner {
		if owner[b] != nobody {
			continue
		}
		for left[i] == 0 {
			i++
		}
		buckets[b] = byte(i)
		left[i]--
	}
	return buckets
}

// nobody is instead of the index of a next hop that a bucket belongs to.
const nobody = -1

// owners returns which of the next hops each bucket belonged to in the old path, which may be nil, and how many each had.
func owners(hops []NextHop, old *Path) (owner [bucketCount]int16, kept []int) {
	kept = make([]int, len(hops))
	if old == nil || len(old.route.NextHops) == 0 {
		for b := range owner {
			owner[b] = nobody
		}
		return owner, kept
	}
	now := make([]int16, len(old.route.NextHops)) // index of an old next hop among the new
	for i, h := range old.route.NextHops {
		now[i] = int16(slices.IndexFunc(hops, h.is))
	}
	for b := range owner {
		i := now[0]
		if old.buckets != nil {
			i = now[old.buckets[b]]
		}
		if owner[b] = i; i != nobody {
			kept[i]++
		}
	}
	return owner, kept
}

// quotas returns how many buckets each next hop gets: its share by weight, rounded down or up. Up for those that would
// have to give up a bucket otherwise, so that nothing moves when others leave; then for those with the greatest
// fractions.
func quotas(hops []NextHop, had []int) []int {
	total := 0
	for _, h := range hops {
		total += h.weight()
	}
	quota, order, rest := make([]int, len(hops)), make([]int, len(hops)), bucketCount
	for i, h := range hops {
		quota[i] = bucketCount * h.weight() / total
		order[i] = i
		rest -= quota[i]
	}
	rank := func(i int) int {
		fraction := bucketCount * hops[i].weight() % total
		if fraction > 0 && had[i] > quota[i] {
			fraction += total
		}
		return fraction
	}
	slices.SortStableFunc(order, func(i, j int) int { return rank(j) - rank(i) })
	for _, i := range order[:rest] {
		quota[i]++
	}
	return quota
}

// appendKey appends what tells the path of a route from others.
func appendKey(b []byte, r *Route, buckets *[bucketCount]byte) []byte {
	b = append(b, byte(r.Type), byte(r.Scope), r.Protocol)
	b = binary.BigEndian.AppendUint32(b, r.Table)
	b = binary.BigEndian.AppendUint32(b, r.Metric)
	b = binary.BigEndian.AppendUint32(b, r.MTU)
	b = appendAddr(b, r.Source)
	for i := range r.NextHops {
		h := &r.NextHops[i]
		onlink := byte(0)
		if h.Onlink {
			onlink = 1
		}
		b = append(appendAddr(b, h.Gateway), onlink)
		b = binary.BigEndian.AppendUint32(b, h.Device)
		b = binary.BigEndian.AppendUint32(b, h.Tag)
		b = binary.BigEndian.AppendUint16(b, h.Weight)
	}
	if buckets != nil {
		b = append(b, buckets[:]...)
	}
	return b
}

// appendAddr appends an address without zone, its length in front.
func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		v := a.As4()
		return append(append(b, 4), v[:]...)
	case a.Is6():
		v := a.As16()
		return append(append(b, 16), v[:]...)
	}
	return append(b, 0)
}
