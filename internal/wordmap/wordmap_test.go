package wordmap_test

import (
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/wordmap"
)

// contents walks m in steps of so many buckets.
func contents(t testing.TB, m *wordmap.Map, step int) map[uint64]uint64 {
	got := map[uint64]uint64{}
	var c wordmap.Cursor
	for done := false; !done; {
		done = m.Walk(&c, step, func(key, value uint64) bool {
			if _, twice := got[key]; twice {
				t.Fatalf("key %#x is visited twice", key)
			}
			got[key] = value
			return true
		})
	}
	return got
}

// equal is require.Equal for a loop of millions.
func equal(t testing.TB, want, got uint64) {
	if want != got {
		t.Helper()
		t.Fatalf("want %#x, got %#x", want, got)
	}
}

// TestAgainstMap does a million random operations on the map and on Go's, with phases that let the number of entries grow,
// stay and shrink.
func TestAgainstMap(t *testing.T) {
	const seed = 20261121
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	m, want := wordmap.New(0), map[uint64]uint64{}
	keyOf := func(n uint64) uint64 { return (n + 1) << (n % 3 * 16) } // sequences at several places of the word
	for op := range 1_000_000 {
		phase := op / 50_000 % 4
		keys := []uint64{200_000, 1000, 50, 200_000}[phase]
		key, value := keyOf(rnd.Uint64N(keys)), 1+rnd.Uint64N(wordmap.MaxValue)
		removals := []uint64{10, 50, 50, 95}[phase] // percent
		switch what := rnd.Uint64N(100); {
		case what < removals:
			equal(t, want[key], m.Delete(key))
			delete(want, key)
		case what%5 == 0:
			old := want[key]
			if swapped := old != 0 && m.CompareAndSwap(key, old, value); swapped {
				want[key] = value
			}
			if m.CompareAndSwap(key, value^1, 1) && want[key] != value^1 {
				t.Fatal("swapped although the value is another")
			}
		default:
			equal(t, want[key], m.Store(key, value))
			want[key] = value
		}
		equal(t, want[key], m.Load(key))
		other := keyOf(rnd.Uint64N(keys))
		equal(t, want[other], m.Load(other))
		if op%50_000 == 0 || op%10_007 == 0 && len(want) < 1000 {
			require.Len(t, want, m.Len())
			require.True(t, maps.Equal(want, contents(t, m, 1+op%100)), "entries differ after %d operations", op)
		}
	}
}

// TestWalkWhileItChanges holds Walk to its promise: entries that stay are visited once, whatever else happens.
func TestWalkWhileItChanges(t *testing.T) {
	const staying = 1000
	for _, churn := range []int{0, 1, 10, 1000} {
		m := wordmap.New(0)
		for key := uint64(1); key <= staying; key++ {
			m.Store(key, key)
		}
		var c wordmap.Cursor
		got, fresh := map[uint64]int{}, uint64(1<<40)
		for done := false; !done; {
			done = m.Walk(&c, 2, func(key, _ uint64) bool { got[key]++; return true })
			for range churn {
				m.Store(fresh, 1)
				m.Delete(fresh - 500)
				fresh++
			}
			for key := uint64(1); key <= staying; key += 7 {
				m.Store(key, fresh)
			}
		}
		for key := uint64(1); key <= staying; key++ {
			require.Equal(t, 1, got[key], "visits of key %d with churn %d", key, churn)
		}
		for key, n := range got {
			require.Equal(t, 1, n, "visits of key %#x", key)
		}
	}
}

// TestWalkAtEveryMoment walks a map that grows after each addition, in the midst of each rebuilding.
func TestWalkAtEveryMoment(t *testing.T) {
	m := wordmap.New(0)
	for key := uint64(1); key <= 2000; key++ {
		m.Store(key, key)
		require.Len(t, contents(t, m, 5), int(key))
	}
}

func TestWalkStopsEarlyAndStartsAgain(t *testing.T) {
	m := wordmap.New(0)
	for key := uint64(1); key <= 100; key++ {
		m.Store(key, key)
	}
	var c wordmap.Cursor
	n := 0
	require.True(t, m.Walk(&c, 1000, func(uint64, uint64) bool { n++; return n < 10 }))
	assert.Equal(t, 10, n)
	assert.Equal(t, wordmap.Cursor{}, c)
	assert.Len(t, contents(t, m, 3), 100)
}

// TestReadersBesideWriter lets readers look up and swap while a writer makes the map grow, shrink and rebuild itself. Counted
// entries take part in no removal, so that each successful swap of any goroutine must be found in them at the end;
// the value of any other entry tells its key, and never gets smaller.
func TestReadersBesideWriter(t *testing.T) {
	const (
		counted  = 64
		versions = 1 << 20
	)
	m := wordmap.New(0)
	for key := uint64(1); key <= counted; key++ {
		m.Store(key, 1)
	}
	var swaps [counted + 1]atomic.Uint64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for r := range max(3, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(r), 1))
			seen := map[uint64]uint64{}
			for !stop.Load() {
				key := 1 + rnd.Uint64N(counted)
				n := m.Load(key)
				if n == 0 {
					t.Errorf("key %d is gone", key)
					return
				}
				if m.CompareAndSwap(key, n, n+1) {
					swaps[key].Add(1)
				}
				key = counted + 1 + rnd.Uint64N(4000)
				if value := m.Load(key); value != 0 {
					if value/versions != key || value%versions < seen[key] {
						t.Errorf("key %d has value %#x, another's or one older than version %d", key, value, seen[key])
						return
					}
					seen[key] = value % versions
				}
			}
		})
	}
	var overwritten [counted + 1]uint64
	rnd := rand.New(rand.NewPCG(1, 2))
	for version := uint64(1); version < 300_000; version++ {
		key := counted + 1 + rnd.Uint64N(4000>>(version/20_000%5*2))
		if version%2 == 0 {
			m.Delete(key)
		} else {
			m.Store(key, key*versions+version)
		}
		if version%64 == 0 { // a value written over those of concurrent swaps, which Store must report
			key := 1 + rnd.Uint64N(counted)
			n := m.Load(key)
			overwritten[key] += m.Store(key, n) - n
		}
	}
	stop.Store(true)
	wg.Wait()
	total := uint64(0)
	for key := uint64(1); key <= counted; key++ {
		assert.Equal(t, 1+swaps[key].Load()-overwritten[key], m.Load(key), "key %d", key)
		total += swaps[key].Load()
	}
	t.Logf("%d swaps by readers", total)
	assert.NotZero(t, total)
}

// TestMemoryIsGivenBack fills the map and empties it: what stays is small, and endless replacing of entries does not let
// it grow.
func TestMemoryIsGivenBack(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	before := heap()
	m := wordmap.New(0)
	for key := uint64(1); key <= 100_000; key++ {
		m.Store(key, key)
	}
	full := heap() - before
	assert.Less(t, full, int64(9<<20), "bytes with 100,000 entries")
	for key := uint64(100_001); key <= 400_000; key++ { // as many at any time, none for long
		m.Delete(key - 100_000)
		m.Store(key, key)
	}
	assert.Less(t, heap()-before, int64(9<<20), "bytes with 100,000 entries that were replaced three times")
	for key := uint64(300_001); key <= 400_000; key++ {
		m.Delete(key)
	}
	for range 200_000 {
		m.Delete(1)
	}
	assert.Zero(t, m.Len())
	assert.Less(t, heap()-before, int64(64<<10), "bytes of the emptied map")
	runtime.KeepAlive(m)
}

func TestNothingAllocatedForReading(t *testing.T) {
	m := wordmap.New(100)
	for key := uint64(1); key <= 100; key++ {
		m.Store(key, 1)
	}
	keys, values := []uint64{50, 5000, 51}, make([]uint64, 3)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		m.Load(50)
		wordmap.LoadAll(m, keys, values)
		m.Load(5000)
		m.CompareAndSwap(50, 1, 1)
		m.Store(50, 1)
		m.Delete(5000)
	}))
}

func FuzzMap(f *testing.F) {
	f.Add([]byte("a few operations of each kind: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		m, want := wordmap.New(0), map[uint64]uint64{}
		var c wordmap.Cursor
		for i, op := range ops {
			key, value := uint64(op>>2)+1, uint64(i+1)
			switch op & 3 {
			case 0:
				require.Equal(t, want[key], m.Delete(key))
				delete(want, key)
			case 1:
				m.Walk(&c, int(key), func(key, value uint64) bool {
					require.Equal(t, want[key], value)
					return true
				})
			default:
				require.Equal(t, want[key], m.Store(key, value))
				want[key] = value
			}
			require.Equal(t, len(want), m.Len())
		}
		require.Equal(t, want, contents(t, m, 7))
	})
}
