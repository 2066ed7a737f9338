package route_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/fulltable"
	"github.com/culvert-net/culvert/route"
)

// untouched is in places that LookupAll has no business with.
var untouched = new(route.Path)

// compareLookups asks the table for all destinations at once, and for each alone.
func compareLookups(t testing.TB, table *route.Table, dst []uint32) {
	t.Helper()
	paths := slices.Repeat([]*route.Path{untouched}, len(dst)+2)
	table.LookupAll(dst, paths)
	for i, d := range dst {
		if want := table.Lookup(d); paths[i] != want {
			t.Fatalf("%v, which is number %d of %d: %v, want %v", fulltable.Addr(d), i, len(dst), paths[i], want)
		}
	}
	for _, p := range paths[len(dst):] {
		require.Same(t, untouched, p)
	}
	const untouchedTag = 1<<32 - 1
	tags := slices.Repeat([]uint32{untouchedTag}, len(dst)+2)
	table.LookupTags(dst, tags)
	for i := range dst {
		want := uint32(0)
		if paths[i] != nil {
			want = paths[i].Tag()
		}
		if tags[i] != want {
			t.Fatalf("%v, which is number %d of %d: tag %d, want %d", fulltable.Addr(dst[i]), i, len(dst), tags[i], want)
		}
	}
	require.Equal(t, []uint32{untouchedTag, untouchedTag}, tags[len(dst):])
}

// contents are routes of a table for tests of lookups: so many with a path of their own each, which fill the first indexes of paths,
// and then some with prefixes of all lengths, within each other.
type contents struct {
	paths          int
	flat           bool
	dfault, longer bool // with a default route; with prefixes longer than /24
}

func (c contents) String() string {
	return fmt.Sprintf("%d paths, flat %v, default route %v, longer than /24 %v", c.paths, c.flat, c.dfault, c.longer)
}

// everyContents is all of them. The numbers of paths are those from which on an index is not found at once, and does not fit 16 bits.
func everyContents() (all []contents) {
	for _, paths := range []int{0, 2000, 1<<16 + 500} {
		for i := range 4 {
			all = append(all, contents{paths, false, i&1 != 0, i&2 != 0})
		}
		all = append(all, contents{paths, true, true, true})
	}
	return all
}

// tagged returns the route to the first bits of an address by way of a path of its own.
func tagged(addr uint32, bits int, tag uint32) route.Route {
	p := netip.PrefixFrom(fulltable.Addr(addr), bits).Masked()
	return route.Route{Prefix: p, NextHops: []route.NextHop{{Device: 1 + tag%7, Tag: tag}}}
}

// table returns the table with its routes.
func (c contents) table(t testing.TB, rnd *rand.Rand) *route.Table {
	var all []route.Route // in the lower half of all addresses
	for i := range uint32(c.paths) {
		all = append(all, tagged(20<<24|i<<8, 24, i))
	}
	least, most := 1, 24
	if c.longer {
		most = 32
	}
	if c.flat { // where shorter ones are in millions of slots
		least = 8
	}
	seen := map[netip.Prefix]bool{}
	for i := range uint32(400) {
		r := tagged(crowded(rnd), least+rnd.IntN(most-least+1), 1<<30|i)
		if r.Prefix.Bits() > 24 {
			r.Prefix = tagged(crowded(rnd)&^0xfe, r.Prefix.Bits(), 0).Prefix // in few blocks of 256 addresses, as there are
		}
		if !seen[r.Prefix] {
			seen[r.Prefix] = true
			all = append(all, r)
		}
	}
	if c.dfault {
		all = append(all, tagged(0, 0, 1<<31))
	}
	table := newTable(t, route.Config{Flat: c.flat})
	require.NoError(t, table.Swap(slices.Values(all)))
	return table
}

// crowded returns an address out of few, most of which have one prefix or the other.
func crowded(rnd *rand.Rand) uint32 {
	return 10<<24 | rnd.Uint32N(3)<<16 | rnd.Uint32N(4)*85<<8 | rnd.Uint32N(256)
}

// TestLookupAllAgainstLookup looks up bursts that are mixed of what a table has, in full and in part, some addresses twice.
func TestLookupAllAgainstLookup(t *testing.T) {
	const seed = 61
	t.Logf("seed %d", seed)
	for _, c := range everyContents() {
		t.Run(c.String(), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			table := c.table(t, rnd)
			mixed := func() uint32 { // one of them is seldom enough for bursts without it
				switch rnd.IntN(100) {
				case 0:
					return rnd.Uint32()
				case 1, 2:
					return 10<<24 | rnd.Uint32N(1<<18)
				}
				return crowded(rnd)
			}
			known := func() uint32 { return 20<<24 | rnd.Uint32N(uint32(max(c.paths, 1)))<<8 | rnd.Uint32N(256) }
			for _, draw := range []func() uint32{mixed, known, crowded3(rnd), rnd.Uint32, func() uint32 {
				return []func() uint32{mixed, known, rnd.Uint32}[rnd.IntN(3)]()
			}} {
				for _, size := range []int{0, 1, 2, 63, 64, 65, 128, 200} {
					for range 20 {
						dst := make([]uint32, size)
						for i := range dst {
							if dst[i] = draw(); rnd.IntN(8) == 0 {
								dst[i] = dst[rnd.IntN(i+1)]
							}
						}
						compareLookups(t, table, dst)
					}
				}
			}
			table.Remove(nil)
			compareLookups(t, table, []uint32{0, 10 << 24, 20 << 24, 1<<32 - 1})
		})
	}
}

// crowded3 returns a function that draws of three addresses only, so that all of a burst go the same ways.
func crowded3(rnd *rand.Rand) func() uint32 {
	three := [3]uint32{crowded(rnd), crowded(rnd), crowded(rnd)}
	return func() uint32 { return three[rnd.IntN(3)] }
}

// TestLookupAllWithTooFewPaths: it does not write behind the end of a slice, whatever room there is.
func TestLookupAllWithTooFewPaths(t *testing.T) {
	table := newTable(t, route.Config{})
	paths := []*route.Path{untouched, untouched, untouched}
	assert.Panics(t, func() { table.LookupAll([]uint32{1, 2, 3}, paths[:2]) })
	assert.Panics(t, func() { table.LookupTags([]uint32{1, 2, 3}, make([]uint32, 3)[:2]) })
	assert.Same(t, untouched, paths[2])
}

// destinations are addresses of two regions, with what a table must say of them after each change: the tag of their route, 0 if there
// is none.
type destinations struct {
	addrs   [4]uint32
	tags    [2][33]uint32 // of the routes that there are, by region and length
	history [4][]uint32
	// The change that is being made, and the last that is done.
	begun, ended atomic.Int64
}

func newDestinations(changes int) *destinations {
	d := &destinations{}
	for region := range uint32(2) {
		a := (200+region)<<24 | 0x010203
		d.addrs[2*region], d.addrs[2*region+1] = a, a^0x100 // of which the latter has no prefix longer than /16
	}
	for i := range d.history {
		d.history[i] = make([]uint32, changes+1)
	}
	return d
}

// lengths are of the prefixes that come and go. Those of length 0 are of both regions.
var lengths = [...]int{0, 8, 16, 24, 26, 32}

// change makes one change to the table.
func (d *destinations) change(t testing.TB, table *route.Table, number, region, length int, remove bool) {
	tag := uint32(number)
	if remove {
		tag = 0
	}
	d.tags[region][length] = tag
	if length == 0 {
		d.tags[1-region][length] = tag
	}
	for i := range d.addrs {
		best := uint32(0)
		for _, l := range lengths {
			if there := d.tags[i/2][l]; there != 0 && (i%2 == 0 || l <= 16) {
				best = there
			}
		}
		d.history[i][number] = best
	}
	r := tagged(d.addrs[2*region], length, tag)
	d.begun.Store(int64(number))
	if remove {
		_, _ = table.Delete(route.Match{Prefix: r.Prefix}) // or it is not there
	} else {
		require.NoError(t, table.Replace(r))
	}
	d.ended.Store(int64(number))
}

// read looks destinations up in bursts of a size, some among others, until it is told to stop, and holds what it finds against what
// there was from the call's begin to its end.
func (d *destinations) read(t testing.TB, table *route.Table, rnd *rand.Rand, size int, stop *atomic.Bool) {
	which, dst, paths, tags := make([]int, size), make([]uint32, size), make([]*route.Path, size), make([]uint32, size)
	for round := 0; !stop.Load(); round++ {
		for i := range dst {
			if which[i] = rnd.IntN(len(d.addrs)); i%3 > 0 {
				which[i] = -1
				dst[i] = 20<<24 | rnd.Uint32N(1<<24)
				continue
			}
			dst[i] = d.addrs[which[i]]
		}
		first := d.ended.Load()
		if round%2 == 0 {
			table.LookupAll(dst, paths)
		} else {
			table.LookupTags(dst, tags)
		}
		last := d.begun.Load()
		for i, w := range which {
			if w < 0 {
				continue
			}
			tag := tags[i]
			if round%2 == 0 {
				if tag = 0; paths[i] != nil {
					tag = paths[i].Hop(0).Tag
				}
			}
			if there := d.history[w][first : last+1]; !slices.Contains(there, tag) {
				t.Errorf("%v, one of %d: %d, want one of %d", fulltable.Addr(dst[i]), size, tag, there[:min(len(there), 20)])
				return
			}
		}
	}
}

// TestLookupAllBesideAWriter lets readers look up bursts while routes come and go, each with a path of its own, so that nodes and
// indexes of paths are used again all the time, and nodes are replaced by larger copies and by others.
func TestLookupAllBesideAWriter(t *testing.T) {
	for _, c := range []struct {
		contents
		rounds, swaps int
	}{
		{contents{paths: 0}, 60_000, 30},
		{contents{paths: 2000}, 30_000, 10},
		{contents{paths: 1<<16 + 500}, 30_000, 0},
		{contents{paths: 2000, flat: true}, 10_000, 0},
	} {
		t.Run(c.String(), func(t *testing.T) {
			if raceEnabled {
				c.rounds /= 16
			}
			lookupAllBesideAWriter(t, c.contents, c.rounds, c.swaps)
		})
	}
}

func lookupAllBesideAWriter(t *testing.T, c contents, rounds, swaps int) {
	const seed = 62
	t.Logf("seed %d", seed)
	// With more threads than cores, the system stops readers in the midst of a burst.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4 * runtime.NumCPU()))
	rnd := rand.New(rand.NewPCG(seed, 0))
	table := c.table(t, rnd)
	d := newDestinations(rounds)
	var stop atomic.Bool
	var readers sync.WaitGroup
	for r := range 4*runtime.NumCPU() - 1 {
		readers.Go(func() { d.read(t, table, rand.New(rand.NewPCG(seed, uint64(1+r))), []int{1, 7, 64, 100}[r%4], &stop) })
	}
	more := uint32(0) // blocks of 256 addresses elsewhere, with nodes of their own
	for i := 1; i <= rounds; i++ {
		length := lengths[1+rnd.IntN(len(lengths)-1)]
		switch {
		case i%16 == 0:
			length = 0
		case length == 8 && c.flat && i%64 > 0: // which is in 65,536 slots
			length = 24
		}
		d.change(t, table, i, rnd.IntN(2), length, rnd.IntN(2) == 0)
		if i%100 == 0 {
			require.NoError(t, table.Replace(tagged(100<<24|more<<16, 26, 7)))
			more++
		}
		if swaps > 0 && i%(rounds/swaps) == 0 { // without the blocks: there will be fewer nodes, and then more again
			require.NoError(t, table.Swap(func(yield func(route.Route) bool) {
				for r := range table.All() {
					if (r.Prefix.Bits() != 26 || r.NextHops[0].Tag != 7) && !yield(r) {
						return
					}
				}
			}))
			more = 0
		}
	}
	stop.Store(true)
	readers.Wait()
	t.Logf("%+v", table.Stats())
}
