package pmtu_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/pmtu"
)

const (
	ms     = time.Millisecond
	minute = time.Minute

	dst = 192<<24 | 168<<16 | 56<<8 | 12 // 192.168.56.12
)

func newTable(t testing.TB, c pmtu.Config) *pmtu.Table {
	table, err := pmtu.New(c)
	require.NoError(t, err)
	return table
}

func entries(t *pmtu.Table) map[uint32]pmtu.Entry { return maps.Collect(t.All()) }

// heard is an error, and what comes of it.
type heard struct {
	at      time.Duration
	mtu     int
	holds   int
	changed bool
}

// TestTranscripts tells one destination's story, error by error. After the last one the entry is checked.
func TestTranscripts(t *testing.T) {
	for name, c := range map[string]struct {
		config pmtu.Config
		errors []heard
		want   pmtu.Entry
	}{
		"the first is believed": {
			errors: []heard{{0, 1450, 1450, true}},
			want:   pmtu.Entry{MTU: 1450, Expires: 10 * minute},
		},
		"smaller ones lower it, and make it live on": {
			errors: []heard{{0, 1450, 1450, true}, {1 * minute, 1400, 1400, true}, {2 * minute, 600, 600, true}},
			want:   pmtu.Entry{MTU: 600, Expires: 12 * minute},
		},
		"a larger one does not raise it, nor make it live on": {
			errors: []heard{{0, 1400, 1400, true}, {9 * minute, 1401, 1400, false}, {9 * minute, 9000, 1400, false}},
			want:   pmtu.Entry{MTU: 1400, Expires: 10 * minute},
		},
		"a larger one is believed when it has expired": {
			errors: []heard{{0, 1400, 1400, true}, {10*minute - 1, 1450, 1400, false}, {10 * minute, 1450, 1450, true}},
			want:   pmtu.Entry{MTU: 1450, Expires: 20 * minute},
		},
		"the same in the first half of its life changes nothing": {
			errors: []heard{{0, 1450, 1450, true}, {0, 1450, 1450, false}, {5*minute - 1, 1450, 1450, false}},
			want:   pmtu.Entry{MTU: 1450, Expires: 10 * minute},
		},
		"the same in the second half makes it live on": {
			errors: []heard{{0, 1450, 1450, true}, {5 * minute, 1450, 1450, true}, {10*minute - 1, 1450, 1450, false}},
			want:   pmtu.Entry{MTU: 1450, Expires: 15 * minute},
		},
		"the least accepted one is not locked": {
			errors: []heard{{0, 552, 552, true}},
			want:   pmtu.Entry{MTU: 552, Expires: 10 * minute},
		},
		"a smaller one counts as the least accepted, and locks": {
			errors: []heard{{0, 551, 552, true}, {1 * minute, 300, 552, false}, {9 * minute, 552, 552, false}},
			want:   pmtu.Entry{MTU: 552, Expires: 10 * minute, Locked: true},
		},
		"a router older than RFC 1191 says 0": {
			errors: []heard{{0, 1450, 1450, true}, {1 * minute, 0, 552, true}},
			want:   pmtu.Entry{MTU: 552, Expires: 11 * minute, Locked: true},
		},
		"a negative one is none": {
			errors: []heard{{0, math.MinInt, 552, true}},
			want:   pmtu.Entry{MTU: 552, Expires: 10 * minute, Locked: true},
		},
		"the least accepted one is locked by a smaller one": {
			errors: []heard{{0, 552, 552, true}, {1 * minute, 500, 552, true}},
			want:   pmtu.Entry{MTU: 552, Expires: 11 * minute, Locked: true},
		},
		"the lock goes when it expires": {
			errors: []heard{{0, 300, 552, true}, {10 * minute, 1450, 1450, true}},
			want:   pmtu.Entry{MTU: 1450, Expires: 20 * minute},
		},
		"another least accepted one": {
			config: pmtu.Config{Min: 1280},
			errors: []heard{{0, 1300, 1300, true}, {0, 1279, 1280, true}, {0, 1280, 1280, false}},
			want:   pmtu.Entry{MTU: 1280, Expires: 10 * minute, Locked: true},
		},
		"the longest IPv4 packet": {
			errors: []heard{{0, 65535, 65535, true}},
			want:   pmtu.Entry{MTU: 65535, Expires: 10 * minute},
		},
		"longer than any IPv4 packet tells nothing": {
			errors: []heard{{0, 65536, 0, false}, {0, math.MaxInt, 0, false}, {0, 9000, 9000, true}, {0, 65536, 9000, false}},
			want:   pmtu.Entry{MTU: 9000, Expires: 10 * minute},
		},
		"times count in milliseconds, upward": {
			config: pmtu.Config{Expires: 1},
			errors: []heard{{0, 1450, 1450, true}, {1*ms - 1, 1460, 1450, false}},
			want:   pmtu.Entry{MTU: 1450, Expires: 1 * ms},
		},
		"at the end of time": {
			errors: []heard{{math.MaxInt64 - 10*minute, 1450, 1450, true}},
			want:   pmtu.Entry{MTU: 1450, Expires: pmtu.Never.Truncate(ms)},
		},
		"for ever, nearly": {
			config: pmtu.Config{Expires: math.MaxInt64},
			errors: []heard{{time.Hour, 1450, 1450, true}},
			want:   pmtu.Entry{MTU: 1450, Expires: pmtu.Never.Truncate(ms)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := newTable(t, c.config)
			for i, h := range c.errors {
				mtu, changed := table.Learn(dst, h.mtu, h.at)
				require.Equal(t, h, heard{h.at, h.mtu, mtu, changed}, "error %d", i)
				require.Equal(t, h.holds, table.Lookup(dst, h.at), "error %d", i)
			}
			assert.Equal(t, map[uint32]pmtu.Entry{dst: c.want}, entries(table))
			assert.Equal(t, c.want.MTU, table.Lookup(dst, c.want.Expires-1))
			assert.Zero(t, table.Lookup(dst, c.want.Expires))
			mtu, until := table.LookupUntil(dst, c.want.Expires-1)
			assert.Equal(t, c.want.MTU, mtu)
			assert.Equal(t, c.want.Expires, until)
			_, until = table.LookupUntil(dst, c.want.Expires)
			assert.Equal(t, pmtu.Never, until)
			assert.Equal(t, c.want.Expires, table.Next())
			assert.Zero(t, table.Lookup(dst+1, 0))
		})
	}
}

func TestZeroAndBroadcastAddressesAreKeysToo(t *testing.T) {
	table := newTable(t, pmtu.Config{})
	table.Learn(0, 1000, 0)
	table.Learn(math.MaxUint32, 1001, 0)
	assert.Equal(t, 1000, table.Lookup(0, 0))
	assert.Equal(t, 1001, table.Lookup(math.MaxUint32, 0))
}

func TestTimeBeforeTheEpoch(t *testing.T) {
	table := newTable(t, pmtu.Config{})
	assert.Zero(t, table.Lookup(dst, math.MinInt64))
	table.Learn(dst, 1450, math.MinInt64)
	assert.Equal(t, 1450, table.Lookup(dst, -1))
	assert.Equal(t, pmtu.Entry{MTU: 1450, Expires: 10 * minute}, entries(table)[dst])
}

func TestEmptyForgetFlush(t *testing.T) {
	table := newTable(t, pmtu.Config{})
	assert.True(t, table.Empty())
	assert.False(t, table.Forget(1))
	assert.Zero(t, table.Flush())
	for n := range uint32(100) {
		table.Learn(n, 1450, time.Duration(n)*minute/100)
	}
	assert.False(t, table.Empty())
	assert.True(t, table.Forget(50))
	assert.False(t, table.Forget(50))
	assert.Zero(t, table.Lookup(50, minute))
	assert.Equal(t, 1450, table.Lookup(51, minute))
	assert.Equal(t, 99, table.Flush())
	assert.True(t, table.Empty())
	assert.Equal(t, pmtu.Never, table.Next())
	assert.Zero(t, table.Lookup(51, minute))
	assert.Equal(t, pmtu.Stats{Learned: 100, Removed: 100}, table.Stats())
}

func TestTick(t *testing.T) {
	table := newTable(t, pmtu.Config{})
	assert.Equal(t, pmtu.Never, table.Next())
	table.Learn(1, 1450, 0)
	table.Learn(2, 1450, 1*minute)
	table.Learn(3, 1450, 2*minute)
	table.Learn(1, 1450, 5*minute) // now the last
	assert.Equal(t, 11*minute, table.Next())
	table.Tick(11*minute - 1)
	assert.Len(t, entries(table), 3)
	table.Tick(11 * minute)
	assert.Equal(t, 12*minute, table.Next())
	table.Tick(14 * minute)
	assert.Equal(t, map[uint32]pmtu.Entry{1: {MTU: 1450, Expires: 15 * minute}}, entries(table))
	table.Tick(15 * minute)
	assert.True(t, table.Empty())
	assert.Equal(t, pmtu.Never, table.Next())
	assert.Equal(t, pmtu.Stats{Learned: 3, Renewed: 1, Expired: 3}, table.Stats())
}

// TestTickIsBounded: what expires all at once goes a few at a time, and lookups do not wait for that.
func TestTickIsBounded(t *testing.T) {
	const n = 10_000
	table := newTable(t, pmtu.Config{})
	rebuilding := false
	for d := range uint32(n) {
		table.Learn(d, 1450, 0)
		for table.Next() == 0 { // the map of the readers grows, and wants time
			rebuilding = true
			table.Tick(0)
		}
		require.Equal(t, 10*minute, table.Next())
	}
	assert.True(t, rebuilding)
	ticks := 0
	for left := n; table.Next() <= 10*minute; ticks++ {
		table.Tick(10 * minute)
		now := table.Stats().Entries
		require.LessOrEqual(t, left-now, 64)
		require.Zero(t, table.Lookup(uint32(ticks), 10*minute))
		left = now
	}
	assert.True(t, table.Empty())
	assert.Less(t, ticks, 2*n/64, "Tick makes progress, and Next tells when there is nothing left")
	assert.Equal(t, pmtu.Never, table.Next())
}

func TestFullTable(t *testing.T) {
	table := newTable(t, pmtu.Config{MaxEntries: 3})
	for n := range uint32(3) {
		table.Learn(n, 1450, time.Duration(n)*minute)
	}
	table.Learn(0, 1400, 3*minute) // now 1 is the least recently learned
	table.Learn(1, 1450, 4*minute) // ignored, in the first half of its life
	table.Learn(9, 1450, 5*minute)
	assert.Equal(t, []uint32{0, 2, 9}, keys(table))
	table.Learn(2, 1400, 6*minute) // a known one pushes nobody out
	assert.Equal(t, []uint32{0, 2, 9}, keys(table))
	table.Learn(8, 1450, 13*minute) // 0 goes although its time is over
	assert.Equal(t, []uint32{2, 8, 9}, keys(table))
	assert.Equal(t, pmtu.Stats{Entries: 3, Learned: 5, Lowered: 2, Ignored: 1, Displaced: 2}, table.Stats())
}

func TestSetConfig(t *testing.T) {
	t.Run("entries keep what they are", func(t *testing.T) {
		table := newTable(t, pmtu.Config{})
		table.Learn(1, 600, 0)
		require.NoError(t, table.SetConfig(pmtu.Config{Expires: minute, Min: 1000}))
		assert.Equal(t, pmtu.Entry{MTU: 600, Expires: 10 * minute}, entries(table)[1])
		mtu, changed := table.Learn(1, 700, 0)
		assert.Equal(t, 600, mtu)
		assert.False(t, changed)
		// Linux: the smaller of what holds and what is least accepted.
		mtu, changed = table.Learn(1, 590, 2*minute)
		assert.Equal(t, 600, mtu)
		assert.True(t, changed)
		assert.Equal(t, pmtu.Entry{MTU: 600, Expires: 3 * minute, Locked: true}, entries(table)[1])
	})
	t.Run("what there is no room for goes", func(t *testing.T) {
		table := newTable(t, pmtu.Config{})
		for n := range uint32(100) {
			table.Learn(n, 1450, time.Duration(100-n)*ms)
		}
		require.NoError(t, table.SetConfig(pmtu.Config{MaxEntries: 7}))
		assert.Equal(t, []uint32{0, 1, 2, 3, 4, 5, 6}, keys(table))
		assert.EqualValues(t, 93, table.Stats().Displaced)
	})
	t.Run("a faulty one changes nothing", func(t *testing.T) {
		table := newTable(t, pmtu.Config{})
		require.Error(t, table.SetConfig(pmtu.Config{MaxEntries: 1, Min: 67}))
		table.Learn(1, 1450, 0)
		table.Learn(2, 1450, 0)
		assert.Len(t, entries(table), 2)
	})
}

func TestConfigFaults(t *testing.T) {
	_, err := pmtu.New(pmtu.Config{Expires: -1, Min: 67, MaxEntries: -5})
	assert.EqualError(t, err, "pmtu: Config.Expires is -1ns, want a positive time, or 0 for 10m0s\n"+
		"pmtu: Config.Min is 67, want 68 to 65535, or 0 for 552\n"+
		"pmtu: Config.MaxEntries is -5, want 1 to 1048576, or 0 for 16384")
}

// keys returns the destinations in the order of All.
func keys(t *pmtu.Table) (k []uint32) {
	for d := range t.All() {
		k = append(k, d)
	}
	return k
}

func TestAll(t *testing.T) {
	table := newTable(t, pmtu.Config{})
	for _, d := range []uint32{7, 1 << 31, 3, 0, 5} {
		table.Learn(d, 1450, 0)
	}
	assert.Equal(t, []uint32{0, 3, 5, 7, 1 << 31}, keys(table))
	var seen []uint32
	for d := range table.All() {
		table.Flush() // the loop goes on with what there was
		if seen = append(seen, d); len(seen) == 3 {
			break
		}
	}
	assert.Equal(t, []uint32{0, 3, 5}, seen)
	assert.Empty(t, keys(table))
}

// oracle is a table in a map, which searches for what expires first.
type oracle struct {
	config  pmtu.Config
	entries map[uint32]pmtu.Entry
	stats   pmtu.Stats
}

func (o *oracle) first() uint32 {
	return slices.MinFunc(slices.Collect(maps.Keys(o.entries)), func(a, b uint32) int {
		return cmp.Or(cmp.Compare(o.entries[a].Expires, o.entries[b].Expires), cmp.Compare(a, b))
	})
}

func (o *oracle) lookup(d uint32, now time.Duration) int {
	if e, ok := o.entries[d]; ok && now < e.Expires {
		return e.MTU
	}
	return 0
}

func (o *oracle) tick(now time.Duration) {
	for n := 0; n < 64 && len(o.entries) > 0 && o.entries[o.first()].Expires <= now; n++ {
		delete(o.entries, o.first())
		o.stats.Expired++
	}
}

func (o *oracle) learn(d uint32, mtu int, now time.Duration) (int, bool) {
	old := o.lookup(d, now)
	if e, ok := o.entries[d]; ok && old == 0 {
		delete(o.entries, d)
		o.stats.Expired++
	} else if e.Locked {
		o.stats.Ignored++
		return old, false
	}
	device := 65535 // the MTU that holds without an entry
	if old != 0 {
		device = old
	}
	if mtu > device {
		o.stats.Ignored++
		return old, false
	}
	lock := false
	if mtu < o.config.Min {
		lock = true
		if mtu = o.config.Min; mtu > device {
			mtu = device
		}
	}
	if mtu == old && !lock && now < o.entries[d].Expires-o.config.Expires/2 {
		o.stats.Ignored++
		return old, false
	}
	switch {
	case old == 0:
		if len(o.entries) == o.config.MaxEntries {
			delete(o.entries, o.first())
			o.stats.Displaced++
		}
		o.stats.Learned++
	case mtu < old || lock:
		o.stats.Lowered++
	default:
		o.stats.Renewed++
	}
	o.entries[d] = pmtu.Entry{MTU: mtu, Expires: (now + o.config.Expires + ms - 1) / ms * ms, Locked: lock}
	return mtu, true
}

func TestAgainstOracle(t *testing.T) {
	const seed = 20270115
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var total pmtu.Stats
	for range 20 {
		o := &oracle{entries: map[uint32]pmtu.Entry{}, config: pmtu.Config{
			Expires:    1 + time.Duration(rnd.Int64N(int64(10*time.Second))),
			Min:        68 + rnd.IntN(1000),
			MaxEntries: 1 + rnd.IntN(40),
		}}
		table := newTable(t, o.config)
		pool := 1 + rnd.Uint32N(60)
		now := time.Duration(0)
		for i := range 10_000 {
			now += time.Duration(rnd.Int64N(int64(100 * ms)))
			d := rnd.Uint32N(pool) * 0x9e3779b1
			switch what := rnd.IntN(100); {
			case what < 60:
				mtu := rnd.IntN(3000)
				if rnd.IntN(2) == 0 {
					mtu = 1400 + rnd.IntN(3) // often the same
				}
				wantMTU, wantChanged := o.learn(d, mtu, now)
				mtu, changed := table.Learn(d, mtu, now)
				require.Equal(t, wantMTU, mtu, "call %d", i)
				require.Equal(t, wantChanged, changed, "call %d", i)
			case what < 70:
				o.tick(now)
				table.Tick(now)
			case what < 72:
				_, want := o.entries[d]
				if want {
					o.stats.Removed++
				}
				delete(o.entries, d)
				require.Equal(t, want, table.Forget(d), "call %d", i)
			case what == 72 && rnd.IntN(10) == 0:
				require.Equal(t, len(o.entries), table.Flush(), "call %d", i)
				o.stats.Removed += uint64(len(o.entries))
				clear(o.entries)
			case what == 73:
				o.config.Min, o.config.Expires = 68+rnd.IntN(1000), 1+time.Duration(rnd.Int64N(int64(10*time.Second)))
				require.NoError(t, table.SetConfig(o.config))
			}
			require.Equal(t, o.lookup(d, now), table.Lookup(d, now), "call %d", i)
			require.Equal(t, len(o.entries) == 0, table.Empty(), "call %d", i)
			if i%100 == 0 {
				require.Equal(t, o.entries, entries(table), "call %d", i)
				want := pmtu.Never
				if len(o.entries) > 0 {
					want = o.entries[o.first()].Expires
				}
				if next := table.Next(); next != 0 { // 0: the map is being rebuilt
					require.Equal(t, want, next, "call %d", i)
				}
			}
		}
		got := table.Stats()
		o.stats.Entries = len(o.entries)
		require.Equal(t, o.stats, got)
		total.Renewed += got.Renewed
		total.Displaced += got.Displaced
		total.Expired += got.Expired
		total.Lowered += got.Lowered
	}
	t.Logf("%+v", total)
	assert.True(t, total.Renewed > 500 && total.Displaced > 1000 && total.Expired > 1000 && total.Lowered > 1000)
}

// TestBounded: forged errors for many destinations leave as many entries as there may be, the latest.
func TestBounded(t *testing.T) {
	const limit, forged = 1000, 200_000
	table := newTable(t, pmtu.Config{MaxEntries: limit})
	for n := range uint32(forged) {
		table.Learn(n, 1450, time.Duration(n)*time.Microsecond)
		if n%1000 == 0 {
			require.LessOrEqual(t, table.Stats().Entries, limit)
		}
	}
	// Times are counted in milliseconds, and equal ones go by address.
	k := keys(table)
	assert.Len(t, k, limit)
	assert.Equal(t, uint32(forged-1), k[limit-1])
	assert.Equal(t, uint32(forged-limit), k[0])
	assert.Equal(t, pmtu.Stats{Entries: limit, Learned: forged, Displaced: forged - limit}, table.Stats())
}

// TestReadersBesideWriters: an entry's MTU tells its destination, so that a mixed one would be found out; permanent ones are seen
// at any time.
func TestReadersBesideWriters(t *testing.T) {
	const destinations, limit, permanent, rounds = 4096, 1000, 64, 10_000
	table := newTable(t, pmtu.Config{Expires: time.Hour, MaxEntries: limit})
	mtuOf := func(d uint32) int { return 1000 + int(d) }
	for d := range uint32(permanent) {
		table.Learn(d, mtuOf(d), 365*24*time.Hour)
	}
	var clock atomic.Int64
	var stop atomic.Bool
	var readers, writers sync.WaitGroup
	for r := range 3 {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(r)))
			for !stop.Load() {
				d, now := rnd.Uint32N(2*destinations), time.Duration(clock.Load())
				got := table.Lookup(d, now)
				if got != mtuOf(d) && (got != 0 || d < permanent) || table.Empty() {
					t.Errorf("destination %d has %d", d, got)
					return
				}
				_ = table.Next()
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			rnd := rand.New(rand.NewPCG(2, uint64(w)))
			for range rounds {
				d, now := permanent+rnd.Uint32N(2*destinations-permanent), time.Duration(clock.Add(int64(time.Second)))
				switch what := rnd.IntN(1000); {
				case what < 600:
					table.Learn(d, mtuOf(d), now)
				case what < 800:
					table.Forget(d)
				case what < 998:
					table.Tick(now)
				default:
					for d, e := range table.All() {
						if e.MTU != mtuOf(d) {
							t.Errorf("destination %d has %+v", d, e)
						}
					}
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	s := table.Stats()
	assert.LessOrEqual(t, s.Entries, limit)
	assert.NotZero(t, s.Displaced)
	assert.EqualValues(t, s.Entries, s.Learned-s.Expired-s.Displaced-s.Removed)
	t.Logf("%+v", s)
}

func TestNoAllocations(t *testing.T) {
	table := newTable(t, pmtu.Config{})
	d := uint32(0)
	lookup := func() { d++; table.Lookup(d, 0); _ = table.Empty() }
	assert.Zero(t, testing.AllocsPerRun(1000, lookup), "empty")
	for n := range uint32(500) {
		table.Learn(n, 1450, 0)
	}
	d = 0
	assert.Zero(t, testing.AllocsPerRun(1000, lookup), "hit and miss")
	assert.Zero(t, testing.AllocsPerRun(1000, func() { table.Lookup(1, time.Hour) }), "expired")
	now, mtu := time.Duration(0), 65000
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		now += minute
		mtu--
		table.Learn(9, mtu, now)
		table.Learn(9, mtu, now)
		table.Learn(9, mtu+1, now)
	}), "known destination")
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []uint32{0, 1, 16384} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := newTable(b, pmtu.Config{})
			for d := range n {
				table.Learn(d*0x9e3779b1, 1450, 0)
			}
			d := uint32(0)
			b.ReportAllocs()
			for b.Loop() {
				table.Lookup(d&(16384-1)*0x9e3779b1, 0)
				d++
			}
		})
	}
}

func BenchmarkLearn(b *testing.B) {
	for name, pool := range map[string]uint32{"same": 1, "forged": math.MaxUint32} {
		b.Run(name, func(b *testing.B) {
			table := newTable(b, pmtu.Config{})
			d := uint32(0)
			b.ReportAllocs()
			for b.Loop() {
				d++
				table.Learn(d%pool*0x9e3779b1, 1450, time.Duration(d))
			}
		})
	}
}

func Example() {
	table, err := pmtu.New(pmtu.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	const vtep = 192<<24 | 168<<16 | 56<<8 | 12 // 192.168.56.12
	fmt.Println(table.Lookup(vtep, 0))
	fmt.Println(table.Learn(vtep, 1400, 0))
	fmt.Println(table.Learn(vtep, 1480, time.Minute)) // does not get larger
	fmt.Println(table.Lookup(vtep, 2*time.Minute))
	fmt.Println(table.Next())
	table.Tick(10 * time.Minute)
	fmt.Println(table.Empty())
	// Output:
	// 0
	// 1400 true
	// 1400 false
	// 1400
	// 10m0s
	// true
}
