package arp

// The control side: what 'ip neigh' and a device's events do to the table, and what there is to be seen of it.

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/wordmap"
)

// mode is what a control call asks for: the flags of a netlink request.
type mode uint8

const (
	mayCreate  mode = 1 << iota // NLM_F_CREATE
	mayReplace                  // NLM_F_REPLACE
)

// Add makes an entry: 'ip neigh add'. StateNone stands for permanent, as there. It returns [ErrExists], [ErrFull], [ErrState],
// [ErrMAC], [ErrAddress] or [ErrDevice], wrapped.
func (t *Table) Add(k Key, mac ethernet.MAC, s State, now time.Duration, actions []Action) ([]Action, error) {
	return t.set(k, mac, s, mayCreate, now, actions)
}

// Replace makes an entry or changes the one there is: 'ip neigh replace'. The zero MAC address leaves it as it is. It returns the
// errors of [Table.Add] but for ErrExists.
func (t *Table) Replace(k Key, mac ethernet.MAC, s State, now time.Duration, actions []Action) ([]Action, error) {
	return t.set(k, mac, s, mayCreate|mayReplace, now, actions)
}

// Change changes an entry: 'ip neigh change'. It returns the errors of [Table.Replace], and [ErrNotFound].
func (t *Table) Change(k Key, mac ethernet.MAC, s State, now time.Duration, actions []Action) ([]Action, error) {
	return t.set(k, mac, s, mayReplace, now, actions)
}

// set is neigh_add().
func (t *Table) set(k Key, mac ethernet.MAC, to State, m mode, now time.Duration, actions []Action) ([]Action, error) {
	key, err := k.word()
	if err != nil {
		return actions, fmt.Errorf("arp: %v: %w", k, err)
	}
	if to == StateNone {
		to = StatePermanent
	}
	if !to.in(valid) && to != StateFailed {
		return actions, fmt.Errorf("arp: %v: state %v: %w", k, to, ErrState)
	}
	t.mu.Lock()
	defer t.unlock()
	t.advance(now)
	r := t.records[key]
	if err := t.admit(r, mac, to, m); err != nil {
		return actions, fmt.Errorf("arp: %v: %w", k, err)
	}
	if r == nil {
		r = t.create(key)
	}
	if to == StateFailed {
		return t.fail(r, actions), nil
	}
	bits := bitsOf(mac)
	if bits == 0 {
		bits = r.mac
	}
	return t.update(r, bits, to, authority{override: true, admin: true}, actions), nil
}

// admit checks a control call against the entry r, nil if there is none, and makes room for what it asks for.
func (t *Table) admit(r *record, mac ethernet.MAC, to State, m mode) error {
	state := StateNone
	switch {
	case r == nil && m&mayCreate == 0:
		return ErrNotFound
	case r != nil && m&mayReplace == 0:
		return ErrExists
	case r != nil:
		state = r.state
	}
	if mac.IsZero() && to.in(valid) && !state.in(valid) {
		return ErrMAC
	}
	if to.in(configured) {
		if !state.in(configured) && t.configured >= t.config.MaxConfigured {
			return fmt.Errorf("%w: it has TableConfig.MaxConfigured, %d, configured entries", ErrFull, t.configured)
		}
		return nil
	}
	if (r == nil || state.in(configured)) && !t.makeRoom() {
		return fmt.Errorf("%w: it has TableConfig.GCThresh3, %d, other entries", ErrFull, t.learned())
	}
	return nil
}

// Delete removes an entry, of whatever state: 'ip neigh del'. It returns [ErrNotFound], [ErrAddress] or [ErrDevice], wrapped.
func (t *Table) Delete(k Key, now time.Duration, actions []Action) ([]Action, error) {
	key, err := k.word()
	if err != nil {
		return actions, fmt.Errorf("arp: %v: %w", k, err)
	}
	t.mu.Lock()
	defer t.unlock()
	t.advance(now)
	r := t.records[key]
	if r == nil {
		return actions, fmt.Errorf("arp: %v: %w", k, ErrNotFound)
	}
	return t.erase(r, actions), nil
}

// erase is neigh_delete(): the entry fails, and goes.
func (t *Table) erase(r *record, actions []Action) []Action {
	actions = t.fail(r, actions)
	t.remove(r)
	return actions
}

// Filter chooses entries.
type Filter struct {
	Device uint32  // 0: any
	States []State // none: all but permanent and NOARP, as 'ip neigh flush' has it
}

// Flush removes the entries that f chooses, as [Table.Delete] does, and returns how many.
func (t *Table) Flush(f Filter, now time.Duration, actions []Action) (left []Action, removed int) {
	wanted := ^configured
	if len(f.States) > 0 {
		wanted = setOf(f.States...)
	}
	t.sweep(now, func(r *record) {
		if (f.Device == 0 || deviceOf(r.key) == f.Device) && r.state.in(wanted) {
			actions = t.erase(r, actions)
			removed++
		}
	})
	return actions, removed
}

// DeviceEvent is something that makes a device's entries worthless.
type DeviceEvent uint8

// The events, and what they leave.
const (
	DeviceDown    DeviceEvent = iota // set down, or removed: nothing (neigh_ifdown)
	DeviceCarrier                    // lost its carrier: permanent entries and proxy entries (neigh_carrier_down)
	DeviceAddress                    // has another MAC address: proxy entries (neigh_changeaddr)
)

// FlushDevice removes the entries of a device that an event made worthless. What waited for them is dropped.
func (t *Table) FlushDevice(device uint32, event DeviceEvent, now time.Duration, actions []Action) []Action {
	t.sweep(now, func(r *record) {
		if deviceOf(r.key) != device || event == DeviceCarrier && r.state == StatePermanent {
			return
		}
		actions = t.dropAll(r, DropFlushed, actions)
		t.remove(r)
	})
	if event == DeviceDown {
		t.flushProxies(device)
	}
	return actions
}

// sweep calls visit for every entry, holding the lock for a slice of them at a time.
func (t *Table) sweep(now time.Duration, visit func(*record)) {
	var c cursor
	t.mu.Lock()
	t.openCursor(&c)
	t.unlock()
	for done := false; !done; {
		t.mu.Lock()
		t.advance(now)
		for range tickWork {
			r := c.step()
			if r == nil {
				t.closeCursor(&c)
				done = true
				break
			}
			visit(r)
		}
		t.unlock()
	}
}

// Len returns the number of entries.
func (t *Table) Len() int { return t.words.Len() }

// Get returns an entry, and false if there is none.
func (t *Table) Get(k Key) (Entry, bool) {
	key, err := k.word()
	if err != nil {
		return Entry{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.records[key]
	if r == nil {
		return Entry{}, false
	}
	return r.entry(), true
}

func (r *record) entry() Entry {
	return Entry{
		MAC: Neighbour(r.published).MAC(), State: r.state, Used: r.used, Confirmed: r.confirmed, Updated: r.updated,
		Probes: r.probes, Waiting: r.queue.packets,
	}
}

// All returns the entries in the order of their creation: those that are there from the beginning of the loop until they are
// their turn, as they are then. The loop's body may change the table.
func (t *Table) All() iter.Seq2[Key, Entry] {
	return func(yield func(Key, Entry) bool) {
		var c cursor
		t.mu.Lock()
		t.openCursor(&c)
		t.mu.Unlock()
		defer func() {
			t.mu.Lock()
			t.closeCursor(&c)
			t.mu.Unlock()
		}()
		keys, entries := make([]Key, 0, tickWork), make([]Entry, 0, tickWork)
		for {
			keys, entries = t.nextEntries(&c, keys[:0], entries[:0])
			for i, k := range keys {
				if !yield(k, entries[i]) {
					return
				}
			}
			if len(keys) < tickWork {
				return
			}
		}
	}
}

// nextEntries fills keys and entries, up to their capacity, with what comes next.
func (t *Table) nextEntries(c *cursor, keys []Key, entries []Entry) ([]Key, []Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(keys) < cap(keys) {
		r := c.step()
		if r == nil {
			break
		}
		keys, entries = append(keys, publicKey(r.key)), append(entries, r.entry())
	}
	return keys, entries
}

// AddProxy makes requests on a device, 0 for any, for an address be answered on behalf of another host: 'ip neigh add proxy'. It
// may be there already. It returns [ErrFull] or [ErrAddress], wrapped.
func (t *Table) AddProxy(k Key) error {
	key, err := k.proxyWord()
	if err != nil {
		return fmt.Errorf("arp: proxy entry %v: %w", k, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.proxies.Load(key) == 0 && t.proxies.Len() >= t.config.MaxProxies {
		return fmt.Errorf("arp: proxy entry %v: %w: it has TableConfig.MaxProxies, %d", k, ErrFull, t.config.MaxProxies)
	}
	t.proxies.Store(key, 1)
	return nil
}

// DeleteProxy undoes [Table.AddProxy]: 'ip neigh del proxy'. It returns [ErrNotFound] or [ErrAddress], wrapped.
func (t *Table) DeleteProxy(k Key) error {
	key, err := k.proxyWord()
	if err != nil {
		return fmt.Errorf("arp: proxy entry %v: %w", k, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.proxies.Delete(key) == 0 {
		return fmt.Errorf("arp: proxy entry %v: %w", k, ErrNotFound)
	}
	return nil
}

// proxyWord is word, with device 0 allowed.
func (k Key) proxyWord() (uint64, error) {
	device := k.Device
	k.Device = 1
	key, err := k.word()
	return keyOf(device, addrOf(key)), err
}

// IsProxy reports whether there is a proxy entry for addr, big-endian, on a device.
func (t *Table) IsProxy(device, addr uint32) bool {
	if t.proxies.Len() == 0 || addr == 0 {
		return false
	}
	return t.proxies.Load(keyOf(device, addr)) != 0 || t.proxies.Load(keyOf(0, addr)) != 0
}

// Proxies returns the proxy entries, by device and address.
func (t *Table) Proxies() iter.Seq[Key] {
	return func(yield func(Key) bool) {
		t.mu.Lock()
		keys := t.proxyKeys()
		t.mu.Unlock()
		for _, key := range keys {
			if !yield(publicKey(key)) {
				return
			}
		}
	}
}

func (t *Table) proxyKeys() []uint64 {
	var keys []uint64
	var c wordmap.Cursor
	t.proxies.Walk(&c, maxEntries, func(key, _ uint64) bool {
		keys = append(keys, key)
		return true
	})
	slices.SortFunc(keys, cmp.Compare[uint64])
	return keys
}

// flushProxies removes those of a device.
func (t *Table) flushProxies(device uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range t.proxyKeys() {
		if deviceOf(key) == device {
			t.proxies.Delete(key)
		}
	}
}

// TableStats are the counters of a table: entries and packets now, and what happened since it was made. The first group is what
// Linux counts in /proc/net/stat/arp_cache.
type TableStats struct {
	Allocs, Destroys   uint64 // entries made and removed
	ResFailed          uint64 // resolutions and checks without an answer
	UnresolvedDiscards uint64 // packets dropped as DropQueueFull
	TableFulls         uint64 // times that there was no room for an entry
	PeriodicGCRuns     uint64 // passes over the entries
	ForcedGCRuns       uint64 // searches for room

	Entries    int // in all
	Configured int // of these, permanent and NOARP ones
	Waiting    int // packets

	Solicits uint64 // requests and misses asked for
	Changes  uint64 // of a state or MAC address
	Learned  uint64 // entries made by Input
	Moved    uint64 // entries that got another MAC address

	// Packets given to Output: those that came back, by kind of action, and, however they ended, those that waited.
	Delivered, Unreachable, Dropped, Held uint64
	WaitingFull                           uint64 // of those dropped, DropWaitingFull

	// ARP packets that Input did not believe, by reason.
	RefusedUnsolicited uint64 // of somebody unknown, unasked
	RefusedConfigured  uint64 // another MAC address for a permanent or NOARP entry
	RefusedLocked      uint64 // another MAC address within LockTime
	RefusedMAC         uint64 // from a multicast or zero MAC address
	RefusedAddress     uint64 // from or for no host's address; probes among them
	RefusedOp          uint64 // neither request nor reply
}

// Stats returns the counters.
func (t *Table) Stats() TableStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Entries, s.Configured, s.Waiting = len(t.records), t.configured, t.room.packets
	s.RefusedUnsolicited = t.unsolicited.Load()
	s.RefusedConfigured = t.pinned.Load()
	s.RefusedMAC = t.badMAC.Load()
	s.RefusedAddress = t.badAddress.Load()
	s.RefusedOp = t.badOp.Load()
	return s
}
