package wordmap_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/internal/wordmap"
)

// untouched is in places that LoadAll has no business with.
const untouched = 1<<64 - 1

// compareLoads asks m for all keys at once, and for each alone.
func compareLoads(t testing.TB, m *wordmap.Map, keys []uint64) {
	t.Helper()
	values := make([]uint64, len(keys)+2)
	for i := range values {
		values[i] = untouched
	}
	wordmap.LoadAll(m, keys, values)
	for i, key := range keys {
		if want := m.Load(key); values[i] != want {
			t.Fatalf("key %#x, which is number %d of %d: %#x, want %#x", key, i, len(keys), values[i], want)
		}
	}
	for _, v := range values[len(keys):] {
		equal(t, untouched, v)
	}
}

// TestLoadAllAgainstLoad draws keys that are there, that were there, and that never were, some of them twice, and 0, which nobody has.
func TestLoadAllAgainstLoad(t *testing.T) {
	const seed = 20261122
	t.Logf("seed %d", seed)
	rebuilding := 0
	for name, entries := range map[string]uint64{"empty": 0, "one bucket": 3, "small": 100, "1,000": 1000, "with hints": 100_000} {
		t.Run(name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, entries))
			m := wordmap.New(0)
			check := func() {
				if m.Rebuilding() {
					rebuilding++
				}
				for _, size := range []int{0, 1, 2, 63, 64, 65, 200} {
					keys := make([]uint64, size)
					for i := range keys {
						switch keys[i] = 1 + rnd.Uint64N(2*entries+1); rnd.IntN(8) {
						case 0:
							keys[i] = 0
						case 1:
							keys[i] = rnd.Uint64()
						case 2:
							keys[i] = keys[rnd.IntN(i+1)]
						case 3:
							keys[i] = 3 // all present but for the first few, and removed in the end
						}
					}
					compareLoads(t, m, keys)
				}
				if entries > 5 { // all of them there: nothing to be looked for again
					compareLoads(t, m, []uint64{4, 4, 4})
				}
			}
			for key := uint64(1); key <= entries; key++ {
				m.Store(key, key<<8)
				if entries <= 1000 || m.Rebuilding() && key%64 == 0 || key%9973 == 0 {
					check()
				}
			}
			for key := uint64(5); key <= entries; key++ {
				if key%3 > 0 {
					m.Delete(key)
				}
				if entries <= 1000 || m.Rebuilding() && key%64 == 0 || key%9973 == 0 {
					check()
				}
			}
			m.Delete(3)
			check()
		})
	}
	assert.Greater(t, rebuilding, 100, "checks of a map in two arrays")
}

// TestLoadAllWithTooFewValues: it does not write behind the end of a slice, whatever room there is.
func TestLoadAllWithTooFewValues(t *testing.T) {
	m := wordmap.New(0)
	values := []uint64{untouched, untouched, untouched}
	assert.Panics(t, func() { wordmap.LoadAll(m, []uint64{1, 2, 3}, values[:2]) })
	assert.Equal(t, []uint64{untouched, untouched, untouched}, values)
}

// history says what has become of a key: it has a value in odd states, which is the state's number, and none in even ones. A
// writer moves begun before he does it and ended thereafter.
type history struct{ begun, ended atomic.Uint64 }

// state returns in which state, from first to last, a key had the value; the earliest if there are several. It returns false if
// there is none.
func state(value, first, last uint64) (uint64, bool) {
	if value == 0 {
		value = first + first%2
	} else if value%2 == 0 {
		return 0, false
	}
	return value, first <= value && value <= last
}

// TestLoadAllBesideWriter lets readers ask for few and for many keys while a writer gives and takes values, and makes the map grow,
// shrink and rebuild itself. Each value must have been there at some moment of the call, and no reader may see a key go back
// to a state before one that he has seen.
func TestLoadAllBesideWriter(t *testing.T) {
	const (
		keys    = 500
		staying = 100 // of these, which are replaced and never removed
		crowd   = 1 << 40
	)
	// With more threads than cores, the system stops readers in the midst of a call.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4 * runtime.NumCPU()))
	m := wordmap.New(0)
	histories := make([]history, keys+1)
	become := func(key, state uint64) {
		histories[key].begun.Store(state)
		if state%2 == 1 {
			m.Store(key, state)
		} else {
			m.Delete(key)
		}
		histories[key].ended.Store(state)
	}
	for key := uint64(1); key <= staying; key++ {
		become(key, 1)
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	for r, c := range []struct {
		size int
		of   uint64
	}{{1, staying}, {1, staying}, {4, staying}, {1, keys}, {64, keys}, {100, keys}} {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(r), 7))
			asked, values, first := make([]uint64, c.size), make([]uint64, c.size), make([]uint64, c.size)
			seen := make([]uint64, keys+1) // the state that a key was in, or a later one
			for !stop.Load() {
				for i := range asked {
					asked[i] = 1 + rnd.Uint64N(c.of)
					first[i] = max(histories[asked[i]].ended.Load(), seen[asked[i]])
				}
				wordmap.LoadAll(m, asked, values)
				for i, key := range asked {
					last := histories[key].begun.Load()
					was, ok := state(values[i], first[i], last)
					if !ok || values[i] == 0 && key <= staying {
						t.Errorf("key %d, one of %d, has %d, in state %d to %d", key, c.size, values[i], first[i], last)
						return
					}
					seen[key] = max(seen[key], was)
				}
			}
		})
	}
	const seed = 20261123
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	rounds := uint64(1_500_000)
	if raceEnabled {
		rounds /= 15
	}
	oldest, newest := uint64(crowd), uint64(crowd) // others, which come and go, more of them and less, to have the map rebuilt
	for round := range rounds {
		if rnd.IntN(8) > 0 {
			newest++
			m.Store(newest, 1)
			for most := uint64(8) << (round * 30 / rounds % 10); newest-oldest > most; {
				oldest++
				m.Delete(oldest)
			}
			continue
		}
		key := 1 + rnd.Uint64N(keys)
		now := histories[key].ended.Load()
		if key <= staying {
			now++
		}
		become(key, now+1)
	}
	stop.Store(true)
	readers.Wait()
	t.Logf("%d entries in the end", m.Len())
}
