// Package pmtu keeps the path MTUs that a node learns from ICMP errors (type 3, code 4: RFC 1191 section 3, RFC 792), as soft
// state: what is not heard again is forgotten. The rules are those of Linux 6.18, __ip_rt_update_pmtu and ipv4_mtu in
// net/ipv4/route.c:
//
//   - a path's MTU only gets smaller, until it expires;
//   - an MTU below the least accepted one counts as that one, and locks the entry: whatever is heard, it stays as it is until
//     it expires. An error that says 0, from a router older than RFC 1191, is such a one;
//   - hearing the same again makes the entry live on, but not in the first half of its life, so that a flood of errors
//     changes nothing.
//
// The kernel also holds an MTU against that of the device that the route leads through. Here that is the caller's part: not to
// learn what exceeds it, and to use the smaller of the two, which may change at any time.
//
// Readers, the packet workers, take no lock. Changes are made under one, by anybody. Since errors can be forged, there
// are never more than Config.MaxEntries entries: in a full table the one that expires first makes room, which is the one least
// recently learned. If its path is still narrow, the next error will tell. What a table does depends on nothing but the
// calls; it knows no time but theirs.
package pmtu

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/internal/wordmap"
)

// The defaults of [Config].
const (
	DefaultExpires    = 10 * time.Minute // DEFAULT_MTU_EXPIRES; RFC 1191 section 6.3 wants the same
	DefaultMin        = 512 + 20 + 20    // bytes, DEFAULT_MIN_PMTU: 512 of data, the headers of IP and TCP
	DefaultMaxEntries = 16384
)

// Limits of MTUs, and of a table.
const (
	LeastMin        = 68        // bytes: what every link takes whole (RFC 791 section 3.2), the least min_pmtu of Linux
	MaxMTU          = 1<<16 - 1 // bytes: the longest IPv4 packet
	LimitMaxEntries = 1 << 20   // of Config.MaxEntries; an entry takes about 150 bytes
)

// Never is the deadline of a table with nothing to do.
const Never = time.Duration(math.MaxInt64)

// tickWork is how many entries a Tick removes at most, in some tens of microseconds.
const tickWork = 64

// Config says what is accepted and for how long. The zero Config is Linux's default.
type Config struct {
	Expires    time.Duration // how long an MTU holds (mtu_expires), in steps of 1 ms; 0: DefaultExpires
	Min        int           // the least MTU accepted, in bytes (min_pmtu); 0: DefaultMin
	MaxEntries int           // how many destinations; 0: DefaultMaxEntries
}

// complete puts defaults in place of zeros. The error names every field that is wrong.
func (c Config) complete() (Config, error) {
	var errs []error
	between := func(field string, v *int, least, limit, fallback int) {
		if *v == 0 {
			*v = fallback
		}
		if *v < least || *v > limit {
			errs = append(errs, fmt.Errorf("pmtu: Config.%s is %d, want %d to %d, or 0 for %d", field, *v, least, limit, fallback))
		}
	}
	if c.Expires == 0 {
		c.Expires = DefaultExpires
	}
	if c.Expires < 0 {
		errs = append(errs, fmt.Errorf("pmtu: Config.Expires is %v, want a positive time, or 0 for %v", c.Expires, DefaultExpires))
	}
	between("Min", &c.Min, LeastMin, MaxMTU, DefaultMin)
	between("MaxEntries", &c.MaxEntries, 1, LimitMaxEntries, DefaultMaxEntries)
	return c, errors.Join(errs...)
}

// Entry is what is known of the path to a destination.
type Entry struct {
	MTU     int           // bytes, with the IP header
	Expires time.Duration // the time, since the caller's epoch, from which on it no longer holds
	Locked  bool          // the path takes even less, but less is not accepted
}

// A word is an entry as readers find it: the MTU in 16 bits, a bit for Locked, then Expires in milliseconds, 44 bits of them for
// all that fits a time.Duration.
const (
	lockBit   = 1 << 16
	timeShift = 17
	timeUnit  = time.Millisecond
)

func (e Entry) word() uint64 {
	w := uint64(e.Expires/timeUnit)<<timeShift | uint64(e.MTU)
	if e.Locked {
		w |= lockBit
	}
	return w
}

// wordExpires returns the word's Expires, wordMTU its MTU.
func wordExpires(w uint64) time.Duration { return time.Duration(w>>timeShift) * timeUnit }
func wordMTU(w uint64) int               { return int(w & MaxMTU) }

// keyOf returns dst's key, which is not 0.
func keyOf(dst uint32) uint64 { return 1<<32 | uint64(dst) }

// record is an entry as writers find it.
type record struct {
	Entry
	dst   uint32
	place int // in the heap
}

// Stats counts what Learn did, and why entries are no more.
type Stats struct {
	Entries int // now, those included whose time is over and that Tick has not come to

	Learned   uint64 // entries made
	Lowered   uint64 // entries whose MTU became smaller, or locked
	Renewed   uint64 // entries that heard the same MTU again, and live on
	Ignored   uint64 // calls that changed nothing
	Expired   uint64
	Displaced uint64 // to make room for another
	Removed   uint64 // by Forget and Flush
}

// Table is the path MTUs. Lookup, Next and Empty take no lock; all methods may be called by several goroutines. Use [New].
type Table struct {
	words *wordmap.Map // what readers see of records
	next  atomic.Int64

	mu      sync.Mutex
	config  Config
	stats   Stats
	records map[uint32]*record
	expiry  expiry
}

// New returns an empty table. The error names every field of c that is wrong.
func New(c Config) (*Table, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	t := &Table{config: c, words: wordmap.New(0), records: map[uint32]*record{}}
	t.next.Store(int64(Never))
	return t, nil
}

// SetConfig changes the limits. Entries keep their MTU and the time that they expire; those that there is no room for any
// more go. If the error, which is as that of [New], is not nil, nothing has changed.
func (t *Table) SetConfig(c Config) error {
	c, err := c.complete()
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.unlock()
	t.config = c
	for len(t.records) > c.MaxEntries {
		t.remove(t.expiry[0], &t.stats.Displaced)
	}
	return nil
}

// unlock publishes when there is something to do, and unlocks.
func (t *Table) unlock() {
	next := Never
	switch {
	case t.words.Rebuilding(): // which slows lookups down
		next = 0
	case len(t.expiry) > 0:
		next = t.expiry[0].Expires
	}
	t.next.Store(int64(next))
	t.mu.Unlock()
}

// Lookup returns the path MTU to dst, an IPv4 address as a number, in bytes, 0 if none is known. It neither locks nor allocates.
func (t *Table) Lookup(dst uint32, now time.Duration) int {
	mtu, _ := t.LookupUntil(dst, now)
	return mtu
}

// LookupUntil is Lookup, and tells until when the path MTU holds if nothing else is heard: [Never] if none is known.
func (t *Table) LookupUntil(dst uint32, now time.Duration) (mtu int, until time.Duration) {
	if t.words.Len() == 0 {
		return 0, Never
	}
	w := t.words.Load(keyOf(dst))
	if now >= wordExpires(w) {
		return 0, Never
	}
	return wordMTU(w), wordExpires(w)
}

// Empty reports whether the table has no entries.
func (t *Table) Empty() bool { return t.words.Len() == 0 }

// Learn takes note of an error at time now, which says that the path to dst takes packets of mtu bytes. It returns the path MTU
// that now holds, 0 if none, and whether anything changed: the MTU, or the time that it holds. What exceeds [MaxMTU] tells
// nothing.
func (t *Table) Learn(dst uint32, mtu int, now time.Duration) (int, bool) {
	t.mu.Lock()
	defer t.unlock()
	r := t.records[dst]
	if r != nil && now >= r.Expires {
		t.remove(r, &t.stats.Expired)
		r = nil
	}
	var before Entry
	if r != nil {
		before = r.Entry
	}
	after := t.config.after(before, mtu, now)
	switch {
	case after == before:
		t.stats.Ignored++
		return before.MTU, false
	case r == nil:
		t.add(dst, after)
		t.stats.Learned++
	case after.MTU < before.MTU || after.Locked:
		t.replace(r, after)
		t.stats.Lowered++
	default:
		t.replace(r, after)
		t.stats.Renewed++
	}
	return after.MTU, true
}

// after returns what an error makes of e, the zero Entry if nothing is known.
func (c Config) after(e Entry, mtu int, now time.Duration) Entry {
	held := e.MTU
	if held == 0 {
		held = MaxMTU
	}
	if e.Locked || mtu > held {
		return e
	}
	locks := mtu < c.Min
	if locks {
		mtu = min(held, c.Min)
	}
	if mtu == e.MTU && !locks && now < e.Expires-c.Expires/2 {
		return e
	}
	return Entry{MTU: mtu, Expires: c.deadline(now), Locked: locks}
}

// deadline returns when that expires which is learned now.
func (c Config) deadline(now time.Duration) time.Duration {
	now = max(now, 0)
	if now > Never-timeUnit-c.Expires {
		return Never.Truncate(timeUnit)
	}
	return (now + c.Expires + timeUnit - 1).Truncate(timeUnit)
}

// add makes an entry, and room for it.
func (t *Table) add(dst uint32, e Entry) {
	if len(t.records) == t.config.MaxEntries {
		t.remove(t.expiry[0], &t.stats.Displaced)
	}
	r := &record{Entry: e, dst: dst}
	t.records[dst] = r
	heap.Push(&t.expiry, r)
	t.words.Store(keyOf(dst), e.word())
}

func (t *Table) replace(r *record, e Entry) {
	r.Entry = e
	heap.Fix(&t.expiry, r.place)
	t.words.Store(keyOf(r.dst), e.word())
}

// remove removes an entry, and counts it.
func (t *Table) remove(r *record, cause *uint64) {
	delete(t.records, r.dst)
	heap.Remove(&t.expiry, r.place)
	t.words.Delete(keyOf(r.dst))
	*cause++
}

// Forget removes what is known of the path to dst, and reports whether there was anything.
func (t *Table) Forget(dst uint32) bool {
	t.mu.Lock()
	defer t.unlock()
	r := t.records[dst]
	if r != nil {
		t.remove(r, &t.stats.Removed)
	}
	return r != nil
}

// Flush removes all entries and returns how many there were ('ip route flush cache').
func (t *Table) Flush() int {
	t.mu.Lock()
	defer t.unlock()
	n := len(t.records)
	for len(t.expiry) > 0 {
		t.remove(t.expiry[len(t.expiry)-1], &t.stats.Removed) // from the end: then the heap has nothing to move
	}
	return n
}

// Tick removes entries whose time is over, some at a time, so that packets need not wait: if there are more, Next is not
// after now.
func (t *Table) Tick(now time.Duration) {
	t.mu.Lock()
	defer t.unlock()
	for n := 0; n < tickWork && len(t.expiry) > 0 && t.expiry[0].Expires <= now; n++ {
		t.remove(t.expiry[0], &t.stats.Expired)
	}
	for n := 0; n < tickWork && t.words.Rebuilding(); n++ {
		t.words.Tidy()
	}
}

// Next returns when [Table.Tick] has to be called next, [Never] if there is nothing to wait for. Any change may change it.
func (t *Table) Next() time.Duration { return time.Duration(t.next.Load()) }

// All returns the entries of the moment when the iteration begins, ordered by destination; those whose time is over are among
// them until Tick comes to them. The loop's body may call any method.
func (t *Table) All() iter.Seq2[uint32, Entry] {
	return func(yield func(uint32, Entry) bool) {
		t.mu.Lock()
		all := make([]record, 0, len(t.expiry))
		for _, r := range t.expiry {
			all = append(all, *r)
		}
		t.mu.Unlock()
		slices.SortFunc(all, func(a, b record) int { return cmp.Compare(a.dst, b.dst) })
		for _, r := range all {
			if !yield(r.dst, r.Entry) {
				return
			}
		}
	}
}

// Stats returns the counters.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Entries = len(t.records)
	return s
}

// expiry is a heap of the records by when they expire; equal ones by destination, so that the order depends on nothing else.
type expiry []*record

func (h expiry) Len() int { return len(h) }

func (h expiry) Less(i, j int) bool {
	a, b := h[i], h[j]
	return a.Expires < b.Expires || a.Expires == b.Expires && a.dst < b.dst
}

func (h expiry) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *expiry) Push(x any) {
	r := x.(*record)
	r.place = len(*h)
	*h = append(*h, r)
}

func (h *expiry) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return r
}
