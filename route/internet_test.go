package route_test

import (
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/gaissmai/bart"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/fulltable"
	"github.com/culvert-net/culvert/route"
)

func heap() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

func newTable(t testing.TB, c route.Config) *route.Table {
	table, err := route.New(c)
	require.NoError(t, err)
	return table
}

// routeBy returns the route to prefix by way of a neighbour.
func routeBy(prefix netip.Prefix, hop int) route.Route {
	gateway := fulltable.Addr(192<<24 | 2<<8 | uint32(hop+1))
	return route.Route{Prefix: prefix, NextHops: []route.NextHop{{Gateway: gateway, Device: uint32(hop%8 + 1), Tag: uint32(hop)}}}
}

// TestInternetTable loads a full table, compares it with bart's, and holds it to its size.
func TestInternetTable(t *testing.T) {
	const seed = 11
	t.Logf("seed %d", seed)
	n := fulltable.Full
	if raceEnabled { // which makes all bigger
		n /= 20
	}
	before := heap()
	empty := newTable(t, route.Config{})
	assert.LessOrEqual(t, heap()-before, int64(512<<10), "bytes of an empty table")
	runtime.KeepAlive(empty)

	prefixes := fulltable.Prefixes(n, seed)
	all := make([]route.Route, n)
	for i, hop := range fulltable.ByHop(n, seed) {
		all[i] = routeBy(prefixes[i], hop)
	}
	var want bart.Table[uint32]
	for _, r := range all {
		want.Insert(r.Prefix, r.NextHops[0].Tag)
	}
	check := func(table *route.Table) {
		for i, a := range fulltable.Addresses(1_000_000, prefixes, seed) {
			if i%4 == 0 {
				a ^= 0x80000000 // mostly a miss, or a shorter prefix
			}
			p := table.Lookup(a)
			tag, ok := want.Lookup(fulltable.Addr(a))
			if (p != nil) != ok || ok && p.Hop(0).Tag != tag {
				t.Fatalf("%v: %v, want tag %d, %v", fulltable.Addr(a), p, tag, ok)
			}
		}
	}
	before = heap()
	table := newTable(t, route.Config{})
	for _, r := range all {
		require.NoError(t, table.Add(r))
	}
	used := heap() - before
	s := table.Stats()
	t.Logf("%d MiB, %+v", used>>20, s)
	assert.Equal(t, n, s.Routes)
	if !raceEnabled {
		assert.LessOrEqual(t, used, int64(128<<20), "bytes")
	}
	check(table)

	flat := newTable(t, route.Config{Flat: true})
	require.NoError(t, flat.Swap(slices.Values(all)))
	check(flat)

	// A third of the routes go, a third get another next hop.
	for i, r := range all {
		switch i % 3 {
		case 0:
			_, err := table.Delete(route.Match{Prefix: r.Prefix})
			require.NoError(t, err)
			_, err = flat.Delete(route.Match{Prefix: r.Prefix})
			require.NoError(t, err)
			want.Delete(r.Prefix)
		case 1:
			r.NextHops = all[(i+5)%n].NextHops
			require.NoError(t, table.Replace(r))
			require.NoError(t, flat.Replace(r))
			want.Insert(r.Prefix, r.NextHops[0].Tag)
		}
	}
	check(table)
	check(flat)
	table.Remove(nil)
	assert.Zero(t, table.Len())
	for _, a := range fulltable.Addresses(100_000, prefixes, seed) {
		require.Nil(t, table.Lookup(a))
	}
}
