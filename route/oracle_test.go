package route_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/route"
)

// oracle is a routing table without a care for speed: a list that is searched from end to end.
type oracle struct{ routes []route.Route }

func before(a, b route.Route) bool {
	if a.Table != b.Table {
		return a.Table > b.Table
	}
	return a.Metric < b.Metric
}

// all returns the routes in the order of All.
func (o *oracle) all() []route.Route {
	sorted := slices.Clone(o.routes)
	slices.SortStableFunc(sorted, func(a, b route.Route) int {
		if c := cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), a.Prefix.Bits()-b.Prefix.Bits()); c != 0 {
			return c
		}
		switch {
		case before(a, b):
			return -1
		case before(b, a):
			return 1
		}
		return 0
	})
	return sorted
}

// lookup returns the routes of the longest prefix that has addr in it; the first of them counts.
func (o *oracle) lookup(addr netip.Addr) []route.Route {
	var best []route.Route
	for _, r := range o.all() {
		if !r.Prefix.Contains(addr) {
			continue
		}
		if len(best) > 0 && best[0].Prefix.Bits() < r.Prefix.Bits() {
			best = best[:0]
		}
		if len(best) == 0 || best[0].Prefix == r.Prefix {
			best = append(best, r)
		}
	}
	return best
}

func (o *oracle) index(r route.Route) int {
	return slices.IndexFunc(o.routes, func(x route.Route) bool {
		return x.Prefix == r.Prefix && x.Table == r.Table && x.Metric == r.Metric
	})
}

// twin returns the index of the route that says the same as r.
func (o *oracle) twin(r route.Route) int {
	return slices.IndexFunc(o.routes, func(x route.Route) bool { return text(x) == text(r) })
}

// prefixesOf draws prefixes that crowd together, so that most are inside others and their ends meet.
type drawer struct {
	rnd *rand.Rand
	v6  bool
}

func (d drawer) addr() netip.Addr {
	r := d.rnd
	parts := [4]byte{10, byte(r.IntN(3)), byte(r.IntN(4) * 85), byte(r.IntN(256))}
	if r.IntN(8) == 0 {
		parts[0] = byte(r.IntN(256))
	}
	if r.IntN(8) == 0 {
		parts[2] = byte(r.IntN(256))
	}
	if !d.v6 {
		return netip.AddrFrom4(parts)
	}
	a := [16]byte{0: 0x20, 1: 0x01, 7: parts[1], 11: parts[2], 15: parts[3]}
	return netip.AddrFrom16(a)
}

func (d drawer) prefix() netip.Prefix {
	lengths := []int{0, 1, 7, 8, 9, 12, 15, 16, 17, 18, 20, 22, 23, 24, 24, 24, 25, 26, 28, 30, 31, 32, 32, 32}
	a := d.addr()
	bits := lengths[d.rnd.IntN(len(lengths))]
	if d.v6 {
		bits *= 4
	}
	p, err := a.Prefix(bits)
	if err != nil {
		panic(err)
	}
	return p
}

func (d drawer) route() route.Route {
	r := d.rnd
	out := route.Route{
		Prefix: d.prefix(), Type: route.Unicast, Table: route.TableMain,
		Metric: uint32(r.IntN(3) * 10), MTU: uint32(r.IntN(2) * 1400),
		Protocol: uint8(r.IntN(2)), Scope: route.Scope(r.IntN(2) * int(route.ScopeLink)),
	}
	if r.IntN(3) == 0 {
		out.Source = netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + r.IntN(2))})
		if d.v6 {
			out.Source = netip.AddrFrom16([16]byte{0: 0x20, 15: byte(100 + r.IntN(2))})
		}
	}
	switch r.IntN(8) {
	case 0:
		out.Type = []route.Type{route.Blackhole, route.Unreachable, route.Prohibit}[r.IntN(3)]
		return out
	case 1:
		out.Type, out.Table, out.Scope = route.Local, route.TableLocal, route.ScopeHost
	}
	for range 1 + r.IntN(3)/2*r.IntN(4) {
		h := route.NextHop{Device: uint32(1 + r.IntN(4)), Weight: uint16(r.IntN(4)), Tag: uint32(r.IntN(3))}
		if r.IntN(2) == 0 && out.Prefix.Addr().Is4() {
			h.Gateway, h.Onlink = netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + r.IntN(6))}), r.IntN(2) == 0
		}
		if !slices.ContainsFunc(out.NextHops, func(o route.NextHop) bool { return o.Device == h.Device && o.Gateway == h.Gateway }) {
			out.NextHops = append(out.NextHops, h)
		}
	}
	return out
}

func word(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// edges returns addresses around the ends of a prefix.
func edges(p netip.Prefix) []netip.Addr {
	first := p.Addr()
	bytes := first.AsSlice()
	for i := p.Bits(); i < first.BitLen(); i++ {
		bytes[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	out := []netip.Addr{first, last}
	for _, a := range []netip.Addr{first.Prev(), last.Next()} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// text is a route in full, which its String is not: that leaves out tags and more.
func text(r route.Route) string {
	type plain route.Route
	return fmt.Sprintf("%+v", plain(r))
}

func texts(routes []route.Route) string {
	var lines []string
	for _, r := range routes {
		lines = append(lines, text(r))
	}
	return strings.Join(lines, "\n")
}

// TestAgainstOracle does random changes and lookups, around the ends of prefixes and anywhere, on the table and on a list.
func TestAgainstOracle(t *testing.T) {
	operations := 15_000
	if raceEnabled { // which has nothing to find in one goroutine
		operations /= 10
	}
	for name, c := range map[string]struct {
		flat, v6 bool
		routes   int // about how many there are at a time
	}{
		"trie":       {false, false, 60},
		"trie small": {false, false, 12},
		"flat":       {true, false, 30},
		"IPv6":       {false, true, 40},
	} {
		n := operations
		if c.flat {
			n /= 6 // routes shorter than /8 are in millions of its slots
		}
		t.Run(name, func(t *testing.T) { againstOracle(t, n, c.routes, c.flat, c.v6) })
	}
}

func againstOracle(t *testing.T, operations, about int, flat, v6 bool) {
	const seed = 5
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, uint64(about)))
	d := drawer{rnd, v6}
	var told []route.Change
	table, err := route.New(route.Config{Flat: flat, OnChange: func(c route.Change) { told = append(told, c) }})
	require.NoError(t, err)
	want := &oracle{}
	check := func(a netip.Addr) {
		best := want.lookup(a)
		p := table.LookupAddr(a)
		if (p == nil) != (len(best) == 0) {
			t.Fatalf("%v: %v, want %v", a, p, best)
		}
		if p != nil && text(p.Route(best[0].Prefix)) != text(best[0]) {
			t.Fatalf("%v: %v, want %v", a, text(p.Route(best[0].Prefix)), text(best[0]))
		}
		if a.Is4() && table.Lookup(word(a)) != p {
			t.Fatalf("%v: Lookup and LookupAddr differ", a)
		}
	}
	for op := range operations {
		told = told[:0]
		r := d.route()
		if n := len(want.routes); n > 0 && rnd.IntN(3) > 0 { // one that is there
			have := want.routes[rnd.IntN(n)]
			r.Prefix, r.Metric = have.Prefix, have.Metric
			if v6 != r.Prefix.Addr().Is6() {
				t.Fatal("families are mixed up")
			}
		}
		i := want.index(r)
		var change route.Change
		switch what := rnd.IntN(max(70, 100+2*(len(want.routes)-about))); {
		case what < 30:
			err := table.Add(r)
			if i >= 0 {
				require.ErrorIs(t, err, route.ErrExists)
				break
			}
			require.NoError(t, err)
			want.routes, change.New = append(want.routes, r), r
		case what < 40:
			err := table.Append(r)
			if want.twin(r) >= 0 {
				require.ErrorIs(t, err, route.ErrExists)
				break
			}
			require.NoError(t, err)
			want.routes, change.New = append(want.routes, r), r
		case what < 60:
			do, notThere := table.Replace, error(nil)
			if what%2 == 0 {
				do, notThere = table.Change, route.ErrNotFound
			}
			err := do(r)
			if i < 0 && notThere != nil {
				require.ErrorIs(t, err, notThere)
				break
			}
			if j := want.twin(r); j >= 0 && j != i {
				require.ErrorIs(t, err, route.ErrExists)
				break
			}
			require.NoError(t, err)
			change.New = r
			if i < 0 {
				want.routes = append(want.routes, r)
				break
			}
			change.Old = want.routes[i]
			want.routes[i] = r
		case what == 60:
			device := uint32(1 + rnd.IntN(4))
			has := func(r route.Route) bool {
				return slices.ContainsFunc(r.NextHops, func(h route.NextHop) bool { return h.Device == device })
			}
			n := len(want.routes)
			want.routes = slices.DeleteFunc(want.routes, has)
			require.Equal(t, n-len(want.routes), table.Remove(route.ByDevice(device)))
			require.Len(t, told, n-len(want.routes))
			told = told[:0]
		default:
			m := route.Match{Prefix: r.Prefix, Table: r.Table}
			if rnd.IntN(2) == 0 {
				m.Metric = r.Metric
			}
			var fits []route.Route
			for _, x := range want.all() {
				if x.Prefix == m.Prefix && x.Table == m.Table && (m.Metric == 0 || x.Metric == m.Metric) {
					fits = append(fits, x)
				}
			}
			gone, err := table.Delete(m)
			if len(fits) == 0 {
				require.ErrorIs(t, err, route.ErrNotFound)
				break
			}
			require.NoError(t, err)
			require.Equal(t, text(fits[0]), text(gone))
			j := slices.IndexFunc(want.routes, func(x route.Route) bool { return text(x) == text(fits[0]) })
			want.routes = slices.Delete(want.routes, j, j+1)
			change.Old = gone
		}
		if change.Old.Prefix.IsValid() || change.New.Prefix.IsValid() {
			require.Len(t, told, 1)
			require.Equal(t, text(change.Old)+text(change.New), text(told[0].Old)+text(told[0].New))
		} else {
			require.Empty(t, told)
		}
		for _, a := range edges(r.Prefix) {
			check(a)
		}
		for range 3 {
			check(d.addr())
		}
		if op%500 == 0 {
			compare(t, table, want)
		}
		if op%5000 == 0 {
			require.NoError(t, table.Swap(table.All()))
			want.routes = want.all()
			compare(t, table, want)
		}
	}
	t.Logf("%+v", table.Stats())
	table.Remove(nil)
	want.routes = nil
	compare(t, table, want)
	check(d.addr())
}

func compare(t *testing.T, table *route.Table, want *oracle) {
	require.Equal(t, texts(want.all()), texts(slices.Collect(table.All())))
	require.Equal(t, len(want.routes), table.Len())
	s := table.Stats()
	require.Equal(t, len(want.routes), s.Routes)
	for _, r := range want.routes {
		best := want.lookup(r.Prefix.Addr())
		e, err := table.Get(r.Prefix.Addr(), 1<<31)
		require.NoError(t, err)
		require.Equal(t, texts(best), texts(e.Candidates))
		require.Equal(t, text(best[0]), text(e.Route))
		if len(best[0].NextHops) > 0 {
			require.Equal(t, *table.LookupAddr(r.Prefix.Addr()).Hop(1 << 31), e.Hop)
			require.Equal(t, e.Hop, best[0].NextHops[e.HopIndex])
		}
	}
}
