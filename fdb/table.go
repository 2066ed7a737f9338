package fdb

// The table: what the packet path asks of it, and learning.

import (
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/internal/wordmap"
)

// Defaults and limits of a Config.
const (
	DefaultMaxEntries = 1 << 16
	LimitMaxEntries   = 1 << 26
	DefaultMaxRemotes = 1 << 14
	DefaultAgeing     = 300 * time.Second // IEEE 802.1D-2004 table 7-5, Linux's default
)

// Config is how a table is to be; the zero Config is good for a node's bridge.
type Config struct {
	// MaxEntries is how many entries there may be in all; 0: DefaultMaxEntries. An entry takes about 40 bytes of
	// memory, and at times twice that while the table grows.
	MaxEntries int
	// MaxLearned is how many dynamic entries there may be, configured ones not counted ('fdb_max_learned'); 0: as many as fit.
	MaxLearned int
	// MaxPerPort is how many learned entries a port may have, unless it has a limit of its own by
	// [Table.SetPortLimit]; 0: as many as fit.
	MaxPerPort int
	// MaxRemotes is how many remotes a group address, or everybody else, may have; 0: DefaultMaxRemotes.
	MaxRemotes int
	// Ageing is how long a dynamic entry is kept after its station was last heard; 0: DefaultAgeing, negative: for ever.
	Ageing time.Duration
	// OnChange, if set, is told of each change of where a station is, in the order of the changes, by whoever makes it
	// and before he goes on. It must not call methods of the table other than Lookup, LookupAll, Get and Remotes.
	OnChange func(Change)
}

func (c Config) withDefaults() (Config, error) {
	var errs []error
	positive := func(field string, v *int, fallback int) {
		if *v == 0 {
			*v = fallback
		}
		if *v < 0 || *v > LimitMaxEntries {
			errs = append(errs, fmt.Errorf("fdb: Config.%s is %d, want 1 to %d, or 0 for %d", field, *v, LimitMaxEntries, fallback))
		}
	}
	positive("MaxEntries", &c.MaxEntries, DefaultMaxEntries)
	positive("MaxLearned", &c.MaxLearned, LimitMaxEntries)
	positive("MaxPerPort", &c.MaxPerPort, LimitMaxEntries)
	positive("MaxRemotes", &c.MaxRemotes, DefaultMaxRemotes)
	if c.Ageing == 0 {
		c.Ageing = DefaultAgeing
	}
	if err := validateAgeing(c.Ageing); err != nil {
		errs = append(errs, fmt.Errorf("fdb: Config.Ageing: %w", err))
	}
	return c, errors.Join(errs...)
}

func validateAgeing(d time.Duration) error {
	if d > MaxAgeing {
		return fmt.Errorf("%v is longer than %v; a negative value means for ever", d, MaxAgeing)
	}
	return nil
}

// Table is a forwarding database. Use [New]; see the package documentation for who may call what.
type Table struct {
	config   Config
	entries  *wordmap.Map // by Key
	everyone *wordmap.Map // entries of all-zero addresses, by domain + 1
	lists    atomic.Pointer[[]atomic.Pointer[list]]
	deadline atomic.Int64 // time.Duration, see Deadline
	refused  [outcomes]atomic.Uint64

	mu        sync.Mutex
	freeLists []uint32 // indexes of lists that nobody uses
	dynamic   int      // entries that are aged
	ports     map[uint32]*port
	ageing    time.Duration
	sweep     sweep
	victims   wordmap.Cursor // where the search for an entry to be displaced goes on
	stats     Stats
}

// port is what is kept of a port that has dynamic entries, or a limit of its own.
type port struct {
	dynamic int
	limit   int // 0: Config.MaxPerPort
}

// New returns an empty table. It reports all faults of the configuration by the names of their fields.
func New(config Config) (*Table, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	t := &Table{
		config:   config,
		entries:  wordmap.New(0),
		everyone: wordmap.New(0),
		ports:    map[uint32]*port{},
		ageing:   config.Ageing,
	}
	t.lists.Store(&[]atomic.Pointer[list]{})
	t.deadline.Store(int64(Never))
	return t, nil
}

// Lookup returns where the station of key is; a Place that is not valid if it has no entry. It neither knows nor cares how old
// that is. For a packet path that sends what has no entry to everybody else, [Table.Remotes] or the bridge's ports are
// next; for everybody else itself, Lookup finds nothing.
func (t *Table) Lookup(key Key) Place {
	if key == 0 { // the map's mark of a free slot
		return 0
	}
	return Place(t.entries.Load(uint64(key)))
}

// LookupAll sets places[i] to what Lookup returns for keys[i], for all keys. It is for bursts: entries that are not in the
// processor's cache are waited for together. There are as many places as keys, or more.
func (t *Table) LookupAll(keys []Key, places []Place) {
	wordmap.LoadAll(t.entries, keys, places)
	for i, key := range keys {
		if key == 0 { // the map's mark of a free slot
			places[i] = 0
		}
	}
}

// Get returns the entry of key; one that is not valid if there is none.
func (t *Table) Get(key Key) Entry {
	m, word := t.mapOf(key)
	place := Place(m.Load(word))
	if place.IsList() {
		return t.getList(m, key, word)
	}
	return Entry{Place: place}
}

// Remotes returns to which remote VTEPs frames go that are for everybody in domain, or for a station without an entry: the
// list of the domain's all-zero address. The caller must not change its elements.
func (t *Table) Remotes(domain uint16) []Remote {
	return t.Get(Key(domain) << macBits).Dest().Remotes()
}

// everyoneWord returns the word by which the map of all-zero addresses knows key.
func everyoneWord(key Key) uint64 { return uint64(key.Domain()) + 1 }

// getList is Get of an entry with a list. Its index may be given to another entry between the two loads; the key in the
// list tells, and then the word is another one by now.
func (t *Table) getList(in *wordmap.Map, key Key, mapKey uint64) Entry {
	for {
		place := Place(in.Load(mapKey))
		if !place.IsList() {
			return Entry{Place: place}
		}
		lists := *t.lists.Load()
		if i := uint32(place); uint64(i) < uint64(len(lists)) {
			if l := lists[i].Load(); l != nil && l.key == key {
				return Entry{place, l}
			}
		}
	}
}

// Outcome is what became of a frame's source address.
type Outcome uint8

// The outcomes of learning. From NotStation on the table refused, and did not change.
const (
	Known      Outcome = iota // the station is where it was
	Learned                   // it was unknown, and has an entry now
	Moved                     // it was elsewhere, and its entry follows it
	NotStation                // a source of all zeros or a group address: no station sends from there
	Own                       // the device's own address: a loop, or an impostor
	Pinned                    // the station has a sticky entry elsewhere
	Full                      // there is no room for another entry
	PortFull                  // the port has as many entries as it may
	BadDest                   // no single port or VTEP

	outcomes = iota
)

// Refused reports whether the table did not take what it was told.
func (o Outcome) Refused() bool { return o >= NotStation }

// String returns o as a few words.
func (o Outcome) String() string {
	if int(o) >= outcomes {
		return "unknown outcome"
	}
	return [outcomes]string{
		"known", "learned", "moved", "source is no station", "source is the device's own address",
		"source has a sticky entry elsewhere", "table is full", "port has its limit of entries", "not a place to learn",
	}[o]
}

// Learn notes that a frame came from the station of key by way of from: a port, or one remote VTEP. A dynamic entry is made or
// refreshed, or follows the station. A static entry follows it and stays static; sticky and local ones stay where
// they are. Whether a refused frame is to be dropped is the caller's matter: a bridge drops those from its own address,
// a VTEP those that claim a station pinned elsewhere.
func (t *Table) Learn(key Key, from Dest, now time.Duration) Outcome {
	if Place(t.entries.Load(uint64(key))).IsFrom(from, StampOf(now)) && key.isStation() {
		return Known
	}
	return t.learn(key, from, now)
}

// learn is Learn with something to be written, or to be refused.
func (t *Table) learn(key Key, from Dest, now time.Duration) Outcome {
	if !key.isStation() {
		return t.refuse(NotStation)
	}
	if !from.isOne() {
		return t.refuse(BadDest)
	}
	entry := t.Get(key)
	switch {
	case !entry.IsValid() && t.Len() >= t.config.MaxEntries:
		return t.refuse(Full)
	case entry.IsLocal():
		return t.refuse(Own)
	case entry.IsValid() && entry.Dest().Equal(from):
		t.refresh(key, uint64(entry.Place), stamp(now))
		return Known
	case entry.Flags()&Sticky != 0:
		return t.refuse(Pinned)
	}
	return t.learnLocked(key, from, now)
}

// refresh writes the stamp of an entry, which still has the given word, if it is old; if it has another word by now,
// somebody else was here.
func (t *Table) refresh(key Key, word, at uint64) {
	if units := unitsSince(word, at); units < freshUnits || units >= 1<<(stampBits-1) {
		return
	}
	fresh := word&^stampMask | at
	if t.entries.CompareAndSwap(uint64(key), word, fresh) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries.Load(uint64(key)) == word { // the map is being rebuilt
		t.entries.Store(uint64(key), fresh)
	}
}

// learnLocked is learn where an entry is made or moved, and everything is looked at again behind the lock.
func (t *Table) learnLocked(key Key, from Dest, now time.Duration) Outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	entry := t.Get(key)
	out := t.judge(entry, from)
	switch {
	case out.Refused():
		return t.refuse(out)
	case out == Known:
		return Known
	}
	t.put(key, entry, from, entry.Flags(), stamp(now), ByLearning)
	if !isFixed(uint64(entry.Place)) {
		t.heard(now)
	}
	return out
}

// judge returns what becomes of a station that has an entry, or none, and was heard from; mu is held.
func (t *Table) judge(entry Entry, from Dest) Outcome {
	switch {
	case !entry.IsValid() && (t.Len() >= t.config.MaxEntries || t.dynamic >= t.config.MaxLearned):
		return Full
	case entry.IsLocal():
		return Own
	case entry.IsValid() && entry.Dest().Equal(from):
		return Known
	case entry.Flags()&Sticky != 0:
		return Pinned
	case !isFixed(uint64(entry.Place)) && !t.hasRoom(from):
		return PortFull
	case from.list != nil && from.list.remotes[0].validate() != nil:
		return BadDest
	case entry.IsValid():
		return Moved
	}
	return Learned
}

// WouldLearn returns what [Table.Learn] would, and changes nothing, not even what is counted.
func (t *Table) WouldLearn(key Key, from Dest) Outcome {
	switch {
	case !key.isStation():
		return NotStation
	case !from.isOne():
		return BadDest
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.judge(t.Get(key), from)
}

func (t *Table) refuse(o Outcome) Outcome {
	t.refused[o].Add(1)
	return o
}

// hasRoom reports whether the place may have another dynamic entry.
func (t *Table) hasRoom(d Dest) bool {
	index, ok := d.Port()
	if !ok {
		return true
	}
	p := t.ports[index]
	if p == nil {
		return true
	}
	limit := p.limit
	if limit == 0 {
		limit = t.config.MaxPerPort
	}
	return p.dynamic < limit
}

// count notes that the place of a dynamic entry has one more, or one less.
func (t *Table) count(word uint64, n int) {
	if word == 0 || isFixed(word) {
		return
	}
	t.dynamic += n
	if word&kindMask != kindPort {
		return
	}
	index := uint32(word)
	p := t.ports[index]
	if p == nil {
		p = &port{}
		t.ports[index] = p
	}
	p.dynamic += n
	if *p == (port{}) {
		delete(t.ports, index)
	}
}

// mapOf returns the map that has key, and by which word.
func (t *Table) mapOf(key Key) (*wordmap.Map, uint64) {
	if key.isEverybody() {
		return t.everyone, everyoneWord(key)
	}
	return t.entries, uint64(key)
}

// put writes an entry in place of the old one, if that is valid, and tells of it.
func (t *Table) put(key Key, old Entry, to Dest, flags Flags, at uint64, cause Cause) {
	entry := Entry{Place: Place(to.where | uint64(flags)<<flagShift | at)}
	if to.where&kindMask == kindList {
		entry.list = &list{key: key, remotes: to.list.remotes}
		entry.Place = entry.Place&^indexMask | Place(t.keepList(entry.list))
	}
	m, word := t.mapOf(key)
	m.Store(word, uint64(entry.Place))
	t.wakeToTidy()
	t.count(uint64(old.Place), -1)
	t.count(uint64(entry.Place), 1)
	t.freeList(old)
	t.tell(Change{Key: key, Old: old, New: entry, Cause: cause})
}

// drop removes an entry and tells of it.
func (t *Table) drop(key Key, old Entry, cause Cause) {
	m, word := t.mapOf(key)
	m.Delete(word)
	t.wakeToTidy()
	t.count(uint64(old.Place), -1)
	t.freeList(old)
	t.tell(Change{Key: key, Old: old, Cause: cause})
}

// keepList gives l an index.
func (t *Table) keepList(l *list) uint32 {
	if n := len(t.freeLists); n > 0 {
		i := t.freeLists[n-1]
		t.freeLists = t.freeLists[:n-1]
		(*t.lists.Load())[i].Store(l)
		return i
	}
	lists := *t.lists.Load()
	n := len(lists)
	grown := make([]atomic.Pointer[list], max(4, 2*n))
	for i := range lists {
		grown[i].Store(lists[i].Load())
	}
	grown[n].Store(l)
	for i := len(grown) - 1; i > n; i-- {
		t.freeLists = append(t.freeLists, uint32(i))
	}
	t.lists.Store(&grown)
	return uint32(n)
}

// freeList gives back the index of an entry's list; readers who still have the entry have the list, too.
func (t *Table) freeList(e Entry) {
	if e.list == nil {
		return
	}
	i := uint32(e.Place)
	(*t.lists.Load())[i].Store(nil)
	t.freeLists = append(t.freeLists, i)
}

// Len returns the number of entries.
func (t *Table) Len() int { return t.entries.Len() + t.everyone.Len() }

// walkBuckets is how much of the table one slice of work looks at: some ten microseconds.
const walkBuckets = 1024

// All returns the entries, in no particular order. The table may change meanwhile: an entry that is there all the time is
// returned once, any other at most once.
func (t *Table) All() iter.Seq2[Key, Entry] {
	return func(yield func(Key, Entry) bool) {
		var c wordmap.Cursor
		more := true
		visit := func(key Key) bool {
			if e := t.Get(key); e.IsValid() {
				more = yield(key, e)
			}
			return more
		}
		for !t.everyone.Walk(&c, walkBuckets, func(k, _ uint64) bool { return visit(Key(k-1) << macBits) }) {
		}
		for more && !t.entries.Walk(&c, walkBuckets, func(k, _ uint64) bool { return visit(Key(k)) }) {
		}
	}
}
