package engine

// Slots, sets and turns by themselves.

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slotOwner is who has a number, and slotValue what is resolved for him.
type slotOwner struct{ number uint32 }

type slotValue struct{ of *slotOwner }

// slotReader is a packet that is somewhere between loading the version and looking into a slot.
type slotReader struct {
	step    int
	version *version[slotValue]
	still   version[slotValue]
	owner   *slotOwner
}

// read does a reader's next step.
func (x *slotReader) read(t *testing.T, s *slots[slotOwner, slotValue], owners []*slotOwner, r *rand.Rand) {
	t.Helper()
	switch x.step {
	case 0:
		x.version = s.now.Load()
	case 1: // the index knows it
		if len(owners) == 0 {
			return
		}
		x.owner = owners[r.IntN(len(owners))]
	case 2:
		x.still = s.still(x.version)
	case 3:
		// An owner's number stays that of his struct when he is gone, as in the hands of a reader.
		if got := x.still.find(x.owner.number); got != nil {
			require.Same(t, x.owner, got.of, "number %d", x.owner.number)
		}
		*x = slotReader{}
		return
	}
	x.step++
}

// TestSlotsReaders lets readers be overtaken by any number of changes between any two steps.
func TestSlotsReaders(t *testing.T) {
	const seed, most, readers = 5, 6, 40
	r := rand.New(rand.NewPCG(seed, seed))
	var s slots[slotOwner, slotValue]
	s.init()
	var owners []*slotOwner
	all := make([]slotReader, readers)
	hits, versions := 0, map[*version[slotValue]]bool{}
	for range 400000 {
		versions[s.now.Load()] = true
		switch k := r.IntN(1000); {
		case k < 120 && len(owners) < most:
			o := &slotOwner{}
			o.number = s.take(o)
			owners = append(owners, o)
		case k < 240 && len(owners) > 0:
			i := r.IntN(len(owners))
			s.leave(owners[i].number)
			owners = slices.Delete(owners, i, i+1)
		case k < 400 && len(owners) > 0:
			o := owners[r.IntN(len(owners))]
			s.store(o.number, &slotValue{o})
		case k == 400:
			s.empty()
			for _, o := range owners {
				require.Nil(t, s.load(o.number))
			}
		default:
			x := &all[r.IntN(readers)]
			if x.step == 3 && x.still.find(x.owner.number) != nil {
				hits++
			}
			x.read(t, &s, owners, r)
		}
		for _, o := range owners {
			require.Same(t, o, s.owner(uint64(o.number)))
		}
	}
	assert.Positive(t, hits, "readers that found something")
	assert.Greater(t, len(versions), 100)
	assert.LessOrEqual(t, len(s.owners), most+most/usedForASpent+2*fewSpent, "numbers")
}

// TestSlotsGrow has slots in several chunks.
func TestSlotsGrow(t *testing.T) {
	var s slots[slotOwner, slotValue]
	s.init()
	var owners []*slotOwner
	early := s.now.Load()
	for range 5000 {
		o := &slotOwner{}
		o.number = s.take(o)
		s.store(o.number, &slotValue{o})
		owners = append(owners, o)
	}
	full := s.now.Load()
	for _, o := range owners {
		require.Same(t, o, s.load(o.number).of)
		require.Nil(t, early.find(o.number), "behind the end of an old version")
	}
	s.empty()
	for _, o := range owners {
		require.Nil(t, s.load(o.number))
	}
	assert.Nil(t, s.still(full).find(1))
	assert.Nil(t, s.load(0))
	assert.Nil(t, s.owner(0))
	assert.Nil(t, s.load(1<<31))
	now := s.now.Load()
	s.empty()
	assert.Same(t, now, s.now.Load(), "there was nothing to forget")
}

// TestSets holds sets against maps.
func TestSets(t *testing.T) {
	const seed, keys, size = 6, 4, 12
	r := rand.New(rand.NewPCG(seed, seed))
	s, in := sets[int, int]{}, map[int]int{}
	var all [size]member[int]
	for i := range all {
		all[i].of = i
	}
	for range 20000 {
		i := r.IntN(size)
		if key, ok := in[i]; ok {
			s.remove(key, &all[i])
			delete(in, i)
		} else {
			key := r.IntN(keys)
			s.remove(key, &all[i]) // is not in it
			s.add(key, &all[i])
			in[i] = key
		}
		want := map[int][]int{}
		for i := range size {
			if key, ok := in[i]; ok {
				want[key] = append(want[key], i)
			}
		}
		require.Len(t, s, len(want), "sets that nobody is in are gone")
		for key := range keys {
			got := slices.Sorted(s.all(key))
			require.Equal(t, want[key], got)
		}
	}
	for key := range keys {
		for i := range s.all(key) {
			s.remove(key, &all[i])
			delete(in, i)
		}
	}
	assert.Empty(t, s)
	assert.Empty(t, in)
}

// TestTurns has many packets ask for turns whenever the clock ticks: their number is what the time allows, and those who come last in
// each tick have their share. When they are gone, a single one does not wait for long.
func TestTurns(t *testing.T) {
	const perTick, late = 2000, 200
	for _, tick := range []time.Duration{10 * time.Microsecond, time.Millisecond, 20 * time.Millisecond} {
		t.Run(tick.String(), func(t *testing.T) {
			var s turns
			drawn, now := uint64(1), time.Hour
			ask := func() bool {
				drawn = mix(drawn)
				return s.asks(drawn, now) && s.take(drawn, now)
			}
			all, ofLate, locked := 0, 0, 0
			end := now + 10*time.Second
			packets := perTick
			if tick < time.Millisecond {
				packets /= 100
			}
			for ; now < end; now += tick {
				for i := range packets {
					drawn = mix(drawn)
					if !s.asks(drawn, now) {
						continue
					}
					if locked++; s.take(drawn, now) {
						all++
						if i >= packets-packets*late/perTick {
							ofLate++
						}
					}
				}
			}
			most := int(10 * time.Second / turnEvery)
			if tick > turnPeriod { // what nobody took in time is gone
				most = int(10 * time.Second / tick * (turnsAtOnce + 1))
			}
			assert.LessOrEqual(t, all, most+turnsAtOnce+1)
			assert.Greater(t, all, most/3)
			assert.InDelta(t, float64(all)*late/perTick, float64(ofLate), float64(all)/20, "of %d turns", all)
			assert.Less(t, locked, 3*all+2000, "how often somebody asks with the lock held")
			now += time.Second
			asked := 1
			for ; !ask(); asked++ {
				now += time.Millisecond
			}
			assert.LessOrEqual(t, asked, 2)
		})
	}
}
