package route

// Why a packet goes where it goes.

import (
	"fmt"
	"net/netip"
	"strings"
)

// Explanation is the answer to 'where would this go, and why?'.
type Explanation struct {
	Addr       netip.Addr
	Route      Route   // the one that counts; its Prefix is the longest that matches
	Hop        NextHop // the next hop of a flow with the given hash; zero if the route drops
	HopIndex   int     // its place in Route.NextHops, -1 if the route drops
	Bucket     int     // of several next hops: which slice of the hash space the flow is in
	OutOf      int     // of how many slices
	Candidates []Route // all routes to that prefix, in the order in which they count
	Shorter    []Route // the routes that would count if that prefix had none, each prefix's best, longest first
}

// Exact returns the routes to a prefix itself, in the order in which they count: nil if it has none.
func (t *Table) Exact(prefix netip.Prefix) []Route {
	if !prefix.IsValid() {
		return nil
	}
	prefix = prefix.Masked()
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Route
	if ref, ok := t.rib.prefixes.Get(prefix); ok {
		for _, id := range t.rib.list(ref) {
			all = append(all, t.rib.fib.path(id).Route(prefix))
		}
	}
	return all
}

// Get explains where packets of a flow with a certain hash go that are for addr. It returns [ErrNotFound] if there is
// no route. Other than Lookup it takes the table's lock.
func (t *Table) Get(addr netip.Addr, hash uint32) (Explanation, error) {
	addr = addr.Unmap().WithZone("")
	e := Explanation{Addr: addr, HopIndex: -1}
	if !addr.IsValid() {
		return e, fmt.Errorf("route: get: %w: the address is missing", ErrRoute)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rib
	for prefix, ref := range r.prefixes.Supernets(netip.PrefixFrom(addr, addr.BitLen())) {
		list := r.list(ref)
		if len(e.Candidates) > 0 {
			e.Shorter = append(e.Shorter, r.fib.path(list[0]).Route(prefix))
			continue
		}
		for _, id := range list {
			e.Candidates = append(e.Candidates, r.fib.path(id).Route(prefix))
		}
		p := r.fib.path(list[0])
		e.Route = e.Candidates[0]
		if hop := p.Hop(hash); hop != nil {
			e.Hop = *hop
			for i := range p.route.NextHops {
				if p.route.NextHops[i].is(*hop) {
					e.HopIndex = i
				}
			}
		}
		if p.buckets != nil {
			e.Bucket, e.OutOf = int(hash>>(32-bucketBits)), bucketCount
		}
	}
	if len(e.Candidates) == 0 {
		return e, fmt.Errorf("route: get %v: %w", addr, ErrNotFound)
	}
	return e, nil
}

// String returns e as text of a few lines.
func (e Explanation) String() string { return e.Format(nil) }

// Format is [Explanation.String] with names of devices.
func (e Explanation) Format(device func(index uint32) string) string {
	if len(e.Candidates) == 0 {
		return fmt.Sprintf("%v: no route", e.Addr)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%v: %s", e.Addr, indent(e.Route.Format(device)))
	if len(e.Shorter) == 0 {
		fmt.Fprintf(&b, "\n  %v is the only prefix that matches", e.Route.Prefix)
	} else {
		fmt.Fprintf(&b, "\n  %v is the longest of %d prefixes that match", e.Route.Prefix, 1+len(e.Shorter))
	}
	if len(e.Candidates) > 1 {
		other := e.Candidates[1]
		switch {
		case other.Table != e.Route.Table:
			fmt.Fprintf(&b, "\n  table %d comes before table %d", e.Route.Table, other.Table)
		case other.Metric != e.Route.Metric:
			fmt.Fprintf(&b, "\n  metric %d is the least of %d routes to it", e.Route.Metric, len(e.Candidates))
		default:
			fmt.Fprintf(&b, "\n  it was there first, of %d routes to it", len(e.Candidates))
		}
	}
	if e.OutOf > 0 {
		fmt.Fprintf(&b, "\n  the flow is in slice %d of %d and takes next hop %d", e.Bucket, e.OutOf, e.HopIndex)
	}
	for _, r := range e.Shorter {
		fmt.Fprintf(&b, "\n  without it: %s", indent(r.Format(device)))
	}
	return b.String()
}

func indent(s string) string { return strings.ReplaceAll(s, "\n", "\n   ") }
