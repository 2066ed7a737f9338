package fdb_test

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/fdb"
)

// untouched is in places that LookupAll has no business with.
const untouched fdb.Place = 1<<63 | 1

// compareLookups asks the table for all keys at once, and for each alone.
func compareLookups(t testing.TB, table *fdb.Table, keys []fdb.Key) {
	t.Helper()
	places := slices.Repeat([]fdb.Place{untouched}, len(keys)+2)
	table.LookupAll(keys, places)
	for i, k := range keys {
		if want := table.Lookup(k); places[i] != want {
			t.Fatalf("%v, which is number %d of %d: %#x, want %#x", k, i, len(keys), uint64(places[i]), uint64(want))
		}
	}
	for _, p := range places[len(keys):] {
		require.Equal(t, untouched, p)
	}
}

// TestLookupAllAgainstLookup draws keys of stations that are there, that were there and that never were, in several domains, some of
// them twice, beside group addresses, everybody else, and the zero Key, while the table grows and gets empty.
func TestLookupAllAgainstLookup(t *testing.T) {
	const seed = 41
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	table := newTable(t, fdb.Config{})
	const stations = 3000
	station := func() fdb.Key { return fdb.Key(rnd.Uint64N(3))<<48 | 0x02_0000_000000 | fdb.Key(rnd.Uint64N(stations)) }
	special := []fdb.Key{0, everybody | 7<<48, group, broadcast, podA, podB}
	dests := func(n uint32) []fdb.Dest {
		return []fdb.Dest{fdb.ToPort(n), fdb.ToVTEP4(n + 1), fdb.ToRemotes(remote("2001:db8::1"))}
	}
	check := func() {
		for _, size := range []int{0, 1, 63, 64, 65, 200} {
			keys := make([]fdb.Key, size)
			for i := range keys {
				switch keys[i] = station(); rnd.IntN(4) {
				case 0:
					keys[i] = special[rnd.IntN(len(special))]
				case 1:
					keys[i] = keys[rnd.IntN(i+1)]
				}
			}
			compareLookups(t, table, keys)
		}
		compareLookups(t, table, special)
	}
	check()
	for _, k := range []fdb.Key{everybody, everybody | 7<<48, group, broadcast} {
		require.NoError(t, table.Add(k, fdb.ToRemotes(remote("192.0.2.1"), remote("192.0.2.2")), 0, 0))
	}
	require.NoError(t, table.Add(podA, fdb.ToPort(3), fdb.Local, 0))
	for i := range uint32(20_000) {
		k := station()
		if gone := i > 10_000 || rnd.IntN(4) == 0; gone {
			_ = table.Delete(k) // or it is not there
		} else {
			require.NoError(t, table.Replace(k, dests(i)[rnd.IntN(3)], fdb.Flags(rnd.IntN(2)), 0))
		}
		if i%50 == 0 {
			check()
		}
	}
	table.Remove(nil)
	require.Zero(t, table.Len())
	check()
}

// TestLookupAllBesideWriters lets readers look up few and many stations while one writer replaces and removes these and another
// fills the table with strangers and flushes them, so that the map grows, shrinks and is rebuilt. The port of a station, odd, says how
// often it has changed, so what was found is held against what there was from the call's begin to its end.
func TestLookupAllBesideWriters(t *testing.T) {
	const stations, staying = 256, 64 // the latter are moved and never removed
	// With more threads than cores, the system stops readers in the midst of a call.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4 * runtime.NumCPU()))
	table := newTable(t, fdb.Config{})
	keyOf := func(n int) fdb.Key { return fdb.Key(n%3)<<48 | 0x02_0000_000000 | fdb.Key(n) }
	var begun, ended [stations]atomic.Uint32 // states: with an entry if odd
	become := func(n int, state uint32) {
		begun[n].Store(state)
		if state%2 == 1 {
			require.NoError(t, table.Replace(keyOf(n), fdb.ToPort(state), fdb.Static, 0))
		} else {
			require.NoError(t, table.Delete(keyOf(n)))
		}
		ended[n].Store(state)
	}
	for n := range staying {
		become(n, 1)
	}
	var stop atomic.Bool
	var workers sync.WaitGroup
	for w, size := range []int{1, 3, 63, 64, 150} {
		workers.Go(func() {
			rnd := rand.New(rand.NewPCG(3, uint64(w)))
			asked, first := make([]int, size), make([]uint32, size)
			keys, places := make([]fdb.Key, size), make([]fdb.Place, size)
			for !stop.Load() {
				for i := range asked {
					n := rnd.IntN(stations)
					if size < 10 {
						n = rnd.IntN(staying) // so that all are there
					}
					asked[i], keys[i], first[i] = n, keyOf(n), ended[n].Load()
				}
				table.LookupAll(keys, places)
				for i, n := range asked {
					port, ok := places[i].Port()
					last := begun[n].Load()
					switch {
					case !ok:
						ok = places[i] == 0 && n >= staying && (first[i]%2 == 0 || first[i] < last)
					default:
						ok = port%2 == 1 && first[i] <= port && port <= last && places[i].Flags() == fdb.Static
					}
					if !ok {
						t.Errorf("%v, one of %d: %#x, in state %d to %d", keys[i], size, uint64(places[i]), first[i], last)
						return
					}
				}
			}
		})
	}
	rounds := 300_000
	if raceEnabled {
		rounds /= 10
	}
	var writers sync.WaitGroup
	writers.Go(func() {
		rnd := rand.New(rand.NewPCG(4, 0))
		for range rounds {
			n := rnd.IntN(stations)
			next := ended[n].Load() + 1
			if n < staying {
				next++
			}
			become(n, next)
		}
	})
	writers.Go(func() {
		for i := range rounds {
			table.Learn(0x06_0000_000000|fdb.Key(i), fdb.ToPort(2), 0)
			if i%1000 == 999 {
				table.Flush(fdb.OnPort(2))
			}
		}
	})
	writers.Wait()
	stop.Store(true)
	workers.Wait()
}

// TestNobodyHasTheZeroKey asks for it over and over while stations come and go. In the map it stands for a free slot, into which a
// writer may just be putting somebody's place.
func TestNobodyHasTheZeroKey(t *testing.T) {
	table := newTable(t, fdb.Config{})
	var stop atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		places := make([]fdb.Place, 1)
		for !stop.Load() {
			if table.LookupAll([]fdb.Key{0}, places); places[0] != 0 {
				t.Errorf("it is at %#x", uint64(places[0]))
				return
			}
		}
	})
	rounds := 600_000
	if raceEnabled {
		rounds /= 20
	}
	for i := range rounds {
		table.Learn(0x06_0000_000000|fdb.Key(i), fdb.ToPort(2), 0)
		_ = table.Delete(0x06_0000_000000 | fdb.Key(i-8)) // or it is not there
	}
	stop.Store(true)
	reader.Wait()
}

// TestIsFrom holds it to what Learn does: what is from there is known to Learn, which does not even write.
func TestIsFrom(t *testing.T) {
	const heard = 100 * time.Second
	table := newTable(t, fdb.Config{})
	station := key(0, "02:00:00:00:00:01")
	ipv6 := fdb.ToRemotes(remote("2001:db8::1"))
	for _, c := range []struct {
		name  string
		at    fdb.Dest
		flags fdb.Flags
		from  fdb.Dest
		now   time.Duration
		want  bool
		out   fdb.Outcome
	}{
		{"port", fdb.ToPort(3), 0, fdb.ToPort(3), heard, true, fdb.Known},
		{"port 0", fdb.ToPort(0), 0, fdb.ToPort(0), heard, true, fdb.Known},
		{"VTEP", fdb.ToVTEP4(0xc0000202), 0, fdb.ToVTEP4(0xc0000202), heard, true, fdb.Known},
		{"VTEP by its remote", fdb.ToVTEP4(0xc0000202), 0, fdb.ToRemotes(remote("192.0.2.2")), heard, true, fdb.Known},
		{"static", fdb.ToPort(3), fdb.Static, fdb.ToPort(3), heard, true, fdb.Known},
		{"sticky", fdb.ToPort(3), fdb.Sticky, fdb.ToPort(3), heard, true, fdb.Known},
		{"static and sticky", fdb.ToPort(3), fdb.Static | fdb.Sticky, fdb.ToPort(3), heard, true, fdb.Known},
		{"a stamp less than a second old", fdb.ToPort(3), 0, fdb.ToPort(3), heard + time.Second - 1, true, fdb.Known},
		{"a second", fdb.ToPort(3), 0, fdb.ToPort(3), heard + time.Second, false, fdb.Known},
		{"a week", fdb.ToPort(3), 0, fdb.ToPort(3), heard + 7*24*time.Hour, false, fdb.Known},
		{"a clock behind", fdb.ToPort(3), 0, fdb.ToPort(3), heard - time.Second, false, fdb.Known},
		{"another port", fdb.ToPort(3), 0, fdb.ToPort(4), heard, false, fdb.Moved},
		{"another VTEP", fdb.ToVTEP4(1), 0, fdb.ToVTEP4(2), heard, false, fdb.Moved},
		{"a VTEP with the port's number", fdb.ToPort(3), 0, fdb.ToVTEP4(3), heard, false, fdb.Moved},
		{"a port with the VTEP's number", fdb.ToVTEP4(3), 0, fdb.ToPort(3), heard, false, fdb.Moved},
		{"pinned elsewhere", fdb.ToPort(3), fdb.Sticky, fdb.ToPort(4), heard, false, fdb.Pinned},
		{"the device's own address", fdb.ToPort(3), fdb.Local, fdb.ToPort(3), heard, false, fdb.Own},
		{"a list, which a word does not tell", ipv6, 0, ipv6, heard, false, fdb.Known},
		{"from nowhere", fdb.ToPort(3), 0, fdb.Dest{}, heard, false, fdb.BadDest},
		{"from 0.0.0.0", fdb.ToPort(0), 0, fdb.ToVTEP4(0), heard, false, fdb.BadDest},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, table.Replace(station, c.at, c.flags, heard))
			before := table.Lookup(station)
			assert.Equal(t, c.want, before.IsFrom(c.from, fdb.StampOf(c.now)))
			assert.Equal(t, c.out, table.Learn(station, c.from, c.now))
			if c.want {
				assert.Equal(t, before, table.Lookup(station), "Learn had something to write")
			}
			assert.False(t, fdb.Place(0).IsFrom(c.from, fdb.StampOf(c.now)), "no entry")
		})
	}
	assert.False(t, fdb.Place(0).IsFrom(fdb.Dest{}, 0), "no entry, from nowhere, at the start")
}
