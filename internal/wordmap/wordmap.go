// Package wordmap is the hash map under culvert's tables: from a 64-bit key to a 63-bit value, with readers that never
// lock, wait or allocate beside one writer at a time.
//
// A bucket is one cache line of four keys and four values, so a hit touches one line, and a miss one as well unless the
// bucket is full; then the search goes on with the next. Keys and values are atomic words: a value is whole by nature.
//
// What makes reading without a lock right is that a slot belongs to one key for ever: the value is written before the key, and
// a removed entry keeps its slot with value 0. A slot is had back when the map is rebuilt, which happens when slots run
// short: a few buckets with each write, so that no write waits for all of them. Until it is done there are two arrays, and:
//
//   - readers look into the new one first. What they find there counts, an entry removed there too;
//   - a writer that takes an entry to the new array marks the old slot as moved before it writes the new one. Who
//     misses in the new array and then finds the old slot sees the value that held when it began. CompareAndSwap refuses
//     marked slots, so no update is lost in an array that nobody reads any more;
//   - a removal empties the new slot if there is one, else the old: the one in which readers who begin now find the key. They would
//     otherwise see it gone, there, and gone again.
package wordmap

import (
	"math/rand/v2"
	"sync/atomic"
)

// MaxValue is the largest value; the bit above it is the map's own.
const MaxValue = moved - 1

const (
	moved      = 1 << 63 // in a value: the entry has a slot in the new array, and this one is history
	slots      = 4       // of a bucket: 64 bytes, a cache line
	minBuckets = 4
	thin       = 32 // an array with less than one entry in so many slots is made smaller

	perBucket = 2 // entries, on average, in a full array: with two in four slots, one search in twenty goes on

	// moveBuckets is how many buckets a write moves while the map is rebuilt. A new array of n buckets keeps a quarter of its
	// room, n/2 slots, for what comes meanwhile; the old one has 4n buckets at most, so it takes n/2 writes at most.
	moveBuckets = 8

	// An array is also rebuilt, with another seed, when searches go on by more than a bucket in farther, and some: one seed in forty
	// puts keys that follow each other, as addresses do, into few of the buckets. With others it is a bucket in ten searches.
	farther = 2
	someFar = 16

	farBuckets = 1 << 13 // from which on an array, of 512 KiB, is not in the nearest caches

	hintBuckets = 1 << 15 // from which on an array, of 2 MiB, has hints
	atOnce      = 256     // buckets that one write moves, in some microseconds, rather than leave a small map in two arrays
)

// bucket is a cache line. Slots are taken in order: if the last is free, some slot is.
type bucket struct {
	keys   [slots]atomic.Uint64 // 0: free
	values [slots]atomic.Uint64 // 0: removed
}

// view is what a reader works with; its fields do not change once it is published.
type view struct {
	buckets []bucket        // a power of two of them
	passed  []atomic.Uint64 // a bit for each bucket: a key that should be in it is farther on
	hints   []atomic.Uint32 // of big arrays: for each bucket, one of 32 bits for each key that should be in it
	seed    uint64          // odd
	shift   uint            // 64 - log2(len(buckets))
	old     *view           // the array that is being emptied into this one, nil if none is
}

// Map is the map. Load, CompareAndSwap, Len and Walk may be called by anybody at any time, Store, Delete and Tidy
// by one goroutine at a time. Keys are not 0. Use [New].
type Map struct {
	view atomic.Pointer[view]
	live atomic.Int64 // entries; written by the writer only

	// The writer's own.
	least int // buckets
	used  int // slots taken in the array of view, removed entries included
	far   int // buckets that searches for their keys go on by, in all
	moved int // buckets of view.old that are done
}

// New returns an empty map with room for capacity entries; it grows beyond, and never shrinks below.
func New(capacity int) *Map {
	m := &Map{least: bucketsFor(capacity)}
	m.view.Store(newView(m.least, nil))
	return m
}

// bucketsFor returns how many buckets have room for n entries.
func bucketsFor(n int) int {
	buckets := minBuckets
	for room(buckets) < n {
		buckets *= 2
	}
	return buckets
}

// room returns how many slots of an array may be taken.
func room(buckets int) int { return buckets * perBucket }

func newView(buckets int, old *view) *view {
	v := &view{
		buckets: make([]bucket, buckets),
		passed:  make([]atomic.Uint64, (buckets+63)/64),
		seed:    rand.Uint64() | 1,
		shift:   64,
		old:     old,
	}
	for n := buckets; n > 1; n /= 2 {
		v.shift--
	}
	if buckets >= hintBuckets {
		v.hints = make([]atomic.Uint32, buckets)
	}
	return v
}

// home returns the bucket that the search for key starts with: the upper bits of a product with a secret number, which
// all bits of the key reach.
func (v *view) home(key uint64) uint64 { return key * v.seed >> (v.shift & 63) }

// match returns which slot of b has key, or the first if none has. It has no jump (these are conditional moves): one for each slot
// would be mispredicted in three lookups of four. It is inlined.
func (b *bucket) match(key uint64) (slot uint64) {
	if b.keys[1].Load() == key {
		slot = 1
	}
	if b.keys[2].Load() == key {
		slot = 2
	}
	if b.keys[3].Load() == key {
		slot = 3
	}
	return slot
}

// Load returns the value of key, 0 if it has none.
func (m *Map) Load(key uint64) uint64 {
	v := m.view.Load()
	product := key * v.seed
	home := product >> (v.shift & 63)
	if v.hints != nil && v.hints[home].Load()>>(product>>32&31)&1 == 0 && v.old == nil {
		return 0 // without a look at the bucket, which in a big array comes from memory; hints are sixteen times smaller
	}
	b := &v.buckets[home]
	i := b.match(key) & (slots - 1)
	if b.keys[i].Load() == key {
		return b.values[i].Load() &^ moved
	}
	if !v.goesOn(home) && v.old == nil {
		return 0
	}
	return v.load(key)
}

// LoadAll sets values[i] to the value of keys[i], for all keys, as [Map.Load] does. It does as little as can be for each, so that the
// processor has many of these lookups under way at once, and entries that come from far away cost each a fraction of the wait;
// it does without hints for that reason. There are as many values as keys, or more.
func LoadAll[K, V ~uint64](m *Map, keys []K, values []V) {
	v := m.view.Load()
	values = values[:len(keys):len(values)]
	buckets, seed, shift := v.buckets, v.seed, v.shift&63
	first := &buckets[0]
	if len(buckets) >= farBuckets { // a loop of loads alone has twice as many of them under way as the one below
		for _, k := range keys {
			if at := uint64(k) * seed >> shift; at < uint64(len(buckets)) {
				buckets[at].keys[0].Load()
			}
		}
	}
	missed := 0
	for i, k := range keys {
		key, b := uint64(k), first
		if at := key * seed >> shift; at < uint64(len(buckets)) { // as always; b is kept in a register then
			b = &buckets[at]
		}
		j := b.match(key) & (slots - 1)
		has := b.keys[j].Load() // before the value, which is there once the key is
		value := b.values[j].Load() &^ moved
		if has != key {
			value = 0
			missed++
		}
		values[i] = V(value)
	}
	if missed == 0 { // in the first bucket of their search
		return
	}
	for i, k := range keys {
		if key := uint64(k); values[i] == 0 && (v.goesOn(key*seed>>shift) || v.old != nil) {
			values[i] = V(v.load(key))
		}
	}
}

// goesOn reports whether a search that did not find its key in bucket i has to look into the next. The bucket's own keys
// would tell as well, if the last is free; but a big table's buckets come from memory, these bits from the cache, and a
// branch that waits for memory and was then guessed wrong costs more than the rest of the search.
func (v *view) goesOn(i uint64) bool { return v.passed[i/64].Load()>>(i%64)&1 != 0 }

// load is Load where the first bucket does not tell.
func (v *view) load(key uint64) uint64 {
	for ; v != nil; v = v.old {
		if s := v.find(key); s != nil {
			return s.Load() &^ moved
		}
	}
	return 0
}

// find returns the value of key's slot in v's array, nil if key has none there.
func (v *view) find(key uint64) *atomic.Uint64 {
	last := uint64(len(v.buckets) - 1)
	for i := v.home(key) & last; ; i = (i + 1) & last {
		b := &v.buckets[i]
		if j := b.match(key) & (slots - 1); b.keys[j].Load() == key {
			return &b.values[j]
		}
		if !v.goesOn(i) {
			return nil
		}
	}
}

// add takes a slot for key, which has none yet; there is always a free one. The hint and the value are written before the key.
func (m *Map) add(v *view, key, value uint64) {
	last := uint64(len(v.buckets) - 1)
	if v.hints != nil {
		v.hints[v.home(key)].Or(1 << (key * v.seed >> 32 & 31))
	}
	for i := v.home(key) & last; ; i = (i + 1) & last {
		b := &v.buckets[i]
		for j := range b.keys {
			if b.keys[j].Load() == 0 {
				b.values[j].Store(value)
				b.keys[j].Store(key)
				m.used++
				return
			}
		}
		v.passed[i/64].Or(1 << (i % 64))
		m.far++
	}
}

// CompareAndSwap replaces key's value by new if it is old, and reports whether it did. Neither is 0. While the map is being
// rebuilt it may refuse although the value is old; the writer can [Map.Store] then.
func (m *Map) CompareAndSwap(key, old, new uint64) bool {
	for v := m.view.Load(); v != nil; v = v.old {
		if s := v.find(key); s != nil {
			return s.CompareAndSwap(old, new)
		}
	}
	return false
}

// Store gives key a value, which is not 0, and returns the one before, 0 if there was none. No value that a concurrent
// CompareAndSwap wrote is lost: it is either returned, or the swap fails.
func (m *Map) Store(key, value uint64) (before uint64) {
	v := m.view.Load()
	s := v.find(key)
	if s == nil {
		if v.old != nil {
			if o := v.old.find(key); o != nil {
				before = retire(o)
			}
		}
		m.add(v, key, value)
	} else {
		before = s.Swap(value)
	}
	if before == 0 {
		m.live.Add(1)
	}
	m.Tidy()
	return before
}

// retire marks a slot of the old array as moved and returns the value that it had, 0 if that was moved before. An
// emptied slot stays so.
func retire(s *atomic.Uint64) uint64 {
	for {
		value := s.Load()
		if value == 0 || value&moved != 0 {
			return 0
		}
		if s.CompareAndSwap(value, value|moved) {
			return value
		}
	}
}

// Delete removes key and returns the value that it had, 0 if none.
func (m *Map) Delete(key uint64) (before uint64) {
	for v := m.view.Load(); v != nil; v = v.old {
		if s := v.find(key); s != nil {
			before = s.Swap(0)
			break
		}
	}
	if before != 0 {
		m.live.Add(-1)
	}
	m.Tidy()
	return before
}

// Tidy is what each write does for the rebuilding of the map: to begin it when slots run short or most of them are
// empty, or to go on with it. The writer may call it when there is time; lookups are fastest when it is done.
func (m *Map) Tidy() {
	v, live := m.view.Load(), int(m.live.Load())
	switch {
	case v.old != nil:
		m.move(v, moveBuckets)
	case m.used >= room(len(v.buckets)), len(v.buckets) > m.least && live < len(v.buckets)*slots/thin:
		m.rebuild(v, max(wanted(live), len(v.buckets)/4, m.least))
	case m.far > m.used/farther+someFar && wanted(live) <= len(v.buckets):
		m.rebuild(v, len(v.buckets))
	}
}

// wanted returns how many buckets a new array for so many entries has at least: room for a third more than there are.
func wanted(live int) int { return bucketsFor(live + live/3 + 1) }

// rebuild begins with an array of so many buckets: not less than a quarter of the old one's, see moveBuckets.
func (m *Map) rebuild(v *view, buckets int) {
	next := newView(buckets, v)
	m.used, m.far, m.moved = 0, 0, 0
	m.view.Store(next)
	if len(v.buckets) <= atOnce {
		m.move(next, atOnce)
	}
}

// move takes so many buckets of the old array to the new one, and drops the old one after the last.
func (m *Map) move(v *view, buckets int) {
	end := min(m.moved+buckets, len(v.old.buckets))
	for ; m.moved < end; m.moved++ {
		b := &v.old.buckets[m.moved]
		for i := range b.keys {
			if value := retire(&b.values[i]); value != 0 {
				m.add(v, b.keys[i].Load(), value)
			}
		}
	}
	if m.moved == len(v.old.buckets) {
		m.view.Store(&view{buckets: v.buckets, passed: v.passed, hints: v.hints, seed: v.seed, shift: v.shift})
	}
}

// Rebuilding reports whether there is something for [Map.Tidy] to go on with.
func (m *Map) Rebuilding() bool { return m.view.Load().old != nil }

// Len returns the number of entries.
func (m *Map) Len() int { return int(m.live.Load()) }

// Cursor is how far a [Map.Walk] has come. The zero Cursor is at the start.
type Cursor struct {
	view   *view
	bucket int // counted through the old array, then through the new one
}

// Walk calls visit for the entries of the next so many buckets, with their values of the moment, and reports whether
// those were the last; the cursor is then at the start again. It stops early, and reports true, if visit returns
// false. Between and during calls the map may change, by visit as well: an entry that is there from the first call to the
// last is visited once, one that comes or goes meanwhile at most once.
func (m *Map) Walk(c *Cursor, buckets int, visit func(key, value uint64) bool) (done bool) {
	if c.view == nil {
		*c = Cursor{view: m.view.Load()}
	}
	v, olds := c.view, 0
	if v.old != nil {
		olds = len(v.old.buckets)
	}
	for ; buckets > 0 && c.bucket < olds+len(v.buckets); buckets-- {
		var b *bucket
		if c.bucket < olds {
			b = &v.old.buckets[c.bucket]
		} else {
			b = &v.buckets[c.bucket-olds]
		}
		c.bucket++
		for i := range b.keys {
			key := b.keys[i].Load()
			if key == 0 {
				break
			}
			if c.bucket > olds && olds > 0 && v.old.find(key) != nil {
				continue // visited with the old array
			}
			if value := m.Load(key); value != 0 && !visit(key, value) {
				*c = Cursor{}
				return true
			}
		}
	}
	if c.bucket < olds+len(v.buckets) {
		return false
	}
	*c = Cursor{}
	return true
}
