package fdb

// Configured entries, in the semantics of 'bridge fdb add|replace|append|del|flush', and what else is set by hand.

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-net/culvert/internal/wordmap"
)

// Add makes an entry. It returns [ErrExists] if there is one already, learned or configured, [ErrFull] if there is no room
// because all other entries are configured too, and [ErrKey], [ErrDest] or [ErrFlags] for what cannot be. The entries of
// everybody else are always Static; they and those of group addresses may have several remotes, a station only one.
func (t *Table) Add(key Key, to Dest, flags Flags, now time.Duration) error {
	return t.change("add", key, to, flags, now, func(old Entry, to Dest, flags Flags) (Dest, Flags, error) {
		if old.IsValid() {
			return to, flags, fmt.Errorf("%w: %v; Replace overwrites it", ErrExists, old)
		}
		return to, flags, nil
	})
}

// Replace makes an entry or overwrites the one that there is; lookups see the old or the new one. Errors are those of
// [Table.Add] except [ErrExists].
func (t *Table) Replace(key Key, to Dest, flags Flags, now time.Duration) error {
	return t.change("replace", key, to, flags, now, func(_ Entry, to Dest, flags Flags) (Dest, Flags, error) {
		return to, flags, nil
	})
}

// Append adds remotes to the entry of a group address or of everybody else, or makes the entry; remotes that it has already
// are left out. To the entry of a station nothing is added, and that is no error, as with 'bridge fdb append'. Errors are
// those of [Table.Add] except [ErrExists].
func (t *Table) Append(key Key, to Dest, flags Flags, now time.Duration) error {
	return t.change("append", key, to, flags, now, func(old Entry, to Dest, flags Flags) (Dest, Flags, error) {
		if !old.IsValid() {
			return to, flags, nil
		}
		if key.isStation() || uint64(old.Place)&kindMask != kindList || to.where&kindMask != kindList {
			return to, flags, errUnchanged
		}
		// Readers of the old list do not see what is written behind its end.
		had := old.Dest().remotes()
		all := had
		for _, r := range to.Remotes() {
			if !slices.Contains(all, r) {
				all = append(all, r)
			}
		}
		switch {
		case len(all) == len(had):
			return to, flags, errUnchanged
		case len(all) > t.config.MaxRemotes:
			return to, flags, fmt.Errorf("%w: %d remotes are more than Config.MaxRemotes, %d", ErrFull, len(all), t.config.MaxRemotes)
		}
		return Dest{where: kindList, list: &list{remotes: all}}, old.Flags(), nil
	})
}

// errUnchanged is what there is to say of an entry that stays as it is.
var errUnchanged = errors.New("unchanged")

// change is what Add, Replace and Append have in common: decide says what is to be there, given what is.
func (t *Table) change(
	what string, key Key, to Dest, flags Flags, now time.Duration, decide func(Entry, Dest, Flags) (Dest, Flags, error),
) error {
	if err := t.validate(key, to, flags); err != nil {
		return fmt.Errorf("fdb: %s %v: %w", what, key, err)
	}
	to = to.forKey(key)
	if key.isEverybody() {
		flags |= Static
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.Get(key)
	to, flags, err := decide(old, to, flags)
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err == nil && !old.IsValid() && t.Len() >= t.config.MaxEntries && !t.displace() {
		err = fmt.Errorf("%w: %d, Config.MaxEntries", ErrFull, t.Len())
	}
	if err != nil {
		return fmt.Errorf("fdb: %s %v: %w", what, key, err)
	}
	if old.IsValid() && old.Flags() == flags && old.Dest().Equal(to) {
		t.confirm(key, old, now)
		return nil
	}
	t.put(key, old, to, flags, stamp(now), ByControl)
	if flags&(Static|Local) == 0 {
		t.heard(now)
	}
	return nil
}

// confirm notes that an entry which stays as it is was confirmed by hand.
func (t *Table) confirm(key Key, e Entry, now time.Duration) {
	m, word := t.mapOf(key)
	m.Store(word, uint64(e.Place)&^stampMask|stamp(now))
}

func (t *Table) validate(key Key, to Dest, flags Flags) error {
	if err := flags.validate(); err != nil {
		return err
	}
	switch {
	case !to.IsValid():
		return fmt.Errorf("%w: it is nowhere; ToPort, ToVTEP4 and ToRemotes make one", ErrDest)
	case flags&Local != 0 && !key.isStation():
		return fmt.Errorf("%w: a device's own address is that of one station", ErrKey)
	case key.isEverybody() && flags&(Local|Sticky) != 0:
		return fmt.Errorf("%w: everybody else is neither local nor sticky", ErrFlags)
	}
	if to.where&kindMask == kindPort {
		return nil
	}
	remotes := to.remotes()
	switch {
	case len(remotes) == 0:
		return fmt.Errorf("%w: no remotes", ErrDest)
	case len(remotes) > 1 && key.isStation():
		return fmt.Errorf("%w: a station is behind one VTEP, got %d", ErrDest, len(remotes))
	case len(remotes) > t.config.MaxRemotes:
		return fmt.Errorf("%w: %d remotes are more than Config.MaxRemotes, %d", ErrFull, len(remotes), t.config.MaxRemotes)
	}
	seen := make(map[Remote]bool, len(remotes))
	for _, r := range remotes {
		if err := r.validate(); err != nil {
			return err
		}
		if seen[r] {
			return fmt.Errorf("%w: %v is there twice", ErrDest, r)
		}
		seen[r] = true
	}
	return nil
}

// displace removes one dynamic entry to make room, and reports whether it found any.
func (t *Table) displace() bool {
	for range 2 { // the rest of the table first, and then from its start, once
		found := false
		for done := false; !done && !found && t.dynamic > 0; {
			done = t.entries.Walk(&t.victims, walkBuckets, func(k, word uint64) bool {
				if isFixed(word) {
					return true
				}
				t.drop(Key(k), t.Get(Key(k)), Displacement)
				found = true
				return false
			})
		}
		if found {
			return true
		}
	}
	return false
}

// Delete removes the entry of key, whatever its kind. It returns [ErrNotFound] if there is none.
func (t *Table) Delete(key Key) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.Get(key)
	if !old.IsValid() {
		return fmt.Errorf("fdb: delete %v: %w", key, ErrNotFound)
	}
	t.drop(key, old, ByControl)
	return nil
}

// DeleteRemote removes one remote from the entry of key, and the entry if that was its only one. It returns
// [ErrNotFound] if the entry does not have that remote.
func (t *Table) DeleteRemote(key Key, r Remote) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.Get(key)
	remotes := old.Dest().Remotes()
	i := slices.Index(remotes, r)
	if i < 0 {
		return fmt.Errorf("fdb: delete %v %v: %w: entry is %v", key, r, ErrNotFound, old)
	}
	t.without(key, old, func(other Remote) bool { return other == r })
	return nil
}

// without removes some remotes of an entry, and the entry if those are all. It reports whether there were any.
func (t *Table) without(key Key, old Entry, is func(Remote) bool) bool {
	remotes := old.Dest().Remotes()
	rest := slices.DeleteFunc(slices.Clone(remotes), is)
	switch {
	case len(rest) == len(remotes):
		return false
	case len(rest) == 0:
		t.drop(key, old, ByControl)
	default:
		t.put(key, old, ToRemotes(rest...).forKey(key), old.Flags(), uint64(old.Place)&stampMask, ByControl)
	}
	return true
}

// RemoveRemote removes a VTEP from everywhere, as when its node has left: entries that have no other remote, and its place
// in the lists of others. It returns how many entries that changed.
func (t *Table) RemoveRemote(addr netip.Addr) int {
	return t.each(func(key Key, e Entry) bool {
		return t.without(key, e, func(r Remote) bool { return r.Addr == addr })
	}, t.everyone, t.entries)
}

// Flush removes the dynamic entries for which match is true, all of them if match is nil, and returns how many. Configured
// entries stay. Match must not call methods of the table; see [OnPort], [InDomain] and [AtRemote].
func (t *Table) Flush(match func(Key, Entry) bool) int {
	return t.each(func(key Key, e Entry) bool {
		if isFixed(uint64(e.Place)) || match != nil && !match(key, e) {
			return false
		}
		t.drop(key, e, ByFlush)
		return true
	}, t.entries)
}

// Remove removes entries for which match is true, configured ones too, all of them if match is nil, and returns how many: as
// when a port or a domain goes away. Match must not call methods of the table.
func (t *Table) Remove(match func(Key, Entry) bool) int {
	return t.each(func(key Key, e Entry) bool {
		if match != nil && !match(key, e) {
			return false
		}
		t.drop(key, e, ByControl)
		return true
	}, t.everyone, t.entries)
}

// OnPort matches the entries of a port.
func OnPort(port uint32) func(Key, Entry) bool {
	return func(_ Key, e Entry) bool {
		p, ok := e.Port()
		return ok && p == port
	}
}

// InDomain matches the entries of a domain.
func InDomain(domain uint16) func(Key, Entry) bool {
	return func(key Key, _ Entry) bool { return key.Domain() == domain }
}

// AtRemote matches entries that have a remote VTEP with this address.
func AtRemote(addr netip.Addr) func(Key, Entry) bool {
	return func(_ Key, e Entry) bool { return e.Dest().hasRemote(addr) }
}

// each calls do for the entries of the maps, behind the lock but for pauses, and returns how often it said yes.
func (t *Table) each(do func(Key, Entry) bool, maps ...*wordmap.Map) (n int) {
	for _, m := range maps {
		var c wordmap.Cursor
		for done := false; !done; {
			t.mu.Lock()
			done = m.Walk(&c, walkBuckets, func(k, _ uint64) bool {
				key := Key(k)
				if m == t.everyone {
					key = Key(k-1) << macBits
				}
				if e := t.Get(key); e.IsValid() && do(key, e) {
					n++
				}
				return true
			})
			t.mu.Unlock()
		}
	}
	return n
}

// SetPortLimit sets how many dynamic entries a port may have; 0 is Config.MaxPerPort again. Those that it has stay.
func (t *Table) SetPortLimit(index uint32, limit int) error {
	if limit < 0 || limit > LimitMaxEntries {
		return fmt.Errorf("fdb: limit of port %d is %d, want 0 to %d", index, limit, LimitMaxEntries)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.ports[index]
	if p == nil {
		p = &port{}
		t.ports[index] = p
	}
	p.limit = limit
	if *p == (port{}) {
		delete(t.ports, index)
	}
	return nil
}

// SetAgeing changes how long dynamic entries are kept, for those that there are as well; 0 is DefaultAgeing, negative for ever.
func (t *Table) SetAgeing(d time.Duration) error {
	if err := validateAgeing(d); err != nil {
		return fmt.Errorf("fdb: ageing: %w", err)
	}
	if d == 0 {
		d = DefaultAgeing
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ageing = d
	t.sweep = sweep{}
	t.deadline.Store(int64(Never))
	if t.dynamic > 0 && d > 0 {
		t.deadline.Store(0) // the next sweep finds out
	}
	return nil
}
