package arp

// Limits and garbage collection: when there are too many entries, and which go.

import (
	"slices"
	"time"
)

// forcedAge is how long a stale entry must be unchanged to be removed when room is short, and how long a table above its second
// threshold waits before it looks for room again (neigh_forced_gc, neigh_alloc).
const forcedAge = 5 * time.Second

// The lists that a record may be in: one of all, one of those that garbage collection may take.
const (
	byCreation = iota
	byUpdate
)

// links are a record's neighbours in a list.
type links struct{ prev, next *record }

// list is a list of records through their links.
type list struct {
	head, tail *record
	by         int
}

func (l *list) push(r *record) {
	r.links[l.by] = links{prev: l.tail}
	if l.tail == nil {
		l.head = r
	} else {
		l.tail.links[l.by].next = r
	}
	l.tail = r
}

func (l *list) remove(r *record) {
	at := r.links[l.by]
	if at.prev == nil {
		l.head = at.next
	} else {
		at.prev.links[l.by].next = at.next
	}
	if at.next == nil {
		l.tail = at.prev
	} else {
		at.next.links[l.by].prev = at.prev
	}
	r.links[l.by] = links{}
}

// cursor goes through all entries that there were when it was made, in the order of their creation, while others are added and
// removed. Between uses it is registered with the table.
type cursor struct {
	next *record
	last uint64 // created
}

func (t *Table) openCursor(c *cursor) {
	*c = cursor{next: t.all.head, last: t.created}
	t.cursors = append(t.cursors, c)
}

func (t *Table) closeCursor(c *cursor) {
	t.cursors = slices.DeleteFunc(t.cursors, func(other *cursor) bool { return other == c })
	*c = cursor{}
}

// step returns the next entry, nil after the last.
func (c *cursor) step() *record {
	r := c.next
	if r == nil || r.created > c.last {
		c.next = nil
		return nil
	}
	c.next = r.links[byCreation].next
	return r
}

// remove forgets an entry, for which nothing waits any more.
func (t *Table) remove(r *record) {
	t.timers.stop(r)
	for _, c := range t.cursors {
		if c.next == r {
			c.next = r.links[byCreation].next
		}
	}
	old := Neighbour(r.published).shown()
	t.all.remove(r)
	r.state = StateNone
	t.file(r, old.State())
	delete(t.records, r.key)
	t.words.Delete(r.key)
	t.stats.Destroys++
	t.tell(r.key, old, 0)
	if t.spares < t.config.GCThresh3 {
		*r = record{links: [2]links{byCreation: {next: t.spare}}}
		t.spare = r
		t.spares++
	}
}

// learned returns the number of entries that GCThresh2 and 3 limit.
func (t *Table) learned() int { return len(t.records) - t.configured }

// makeRoom is the beginning of neigh_alloc(): it reports whether there is room for one more learned entry, and removes some if
// that is due.
func (t *Table) makeRoom() bool {
	entries := t.learned()
	full := entries >= t.config.GCThresh3
	if !full && (entries < t.config.GCThresh2 || t.now <= t.lastForced+forcedAge) {
		return true
	}
	if t.forceCollection(entries+1-t.config.GCThresh2) == 0 && full {
		t.stats.TableFulls++
		return false
	}
	return true
}

// forceCollection is neigh_forced_gc(): it removes up to so many entries and returns how many it found.
func (t *Table) forceCollection(most int) (removed int) {
	t.stats.ForcedGCRuns++
	t.lastForced = t.now
	for ; removed < most && t.failed.head != nil; removed++ {
		t.remove(t.failed.head)
	}
	for ; removed < most && t.stale.head != nil && t.now > t.stale.head.updated+forcedAge; removed++ {
		t.remove(t.stale.head)
	}
	return removed
}

// collection is neigh_periodic_work(): a pass over all entries, in slices, at every interval.
type collection struct {
	due     time.Duration
	cursor  cursor
	running bool
}

// interval returns the time between passes.
func (t *Table) interval() time.Duration {
	if t.config.GCInterval > 0 {
		return max(t.config.GCInterval, minTimer)
	}
	return max(t.defaults.BaseReachable/2, minTimer)
}

// enough reports whether there are so many entries that they are looked at.
func (c *collection) enough(t *Table) bool {
	return len(t.records) > 0 && len(t.records) >= t.config.GCThresh1
}

// resume is called when there begin to be enough entries: the passes that were not worth it are skipped.
func (c *collection) resume(t *Table) {
	if late := t.now - c.due; late >= 0 && !c.running {
		interval := t.interval()
		c.due += (late/interval + 1) * interval
	}
}

// deadline returns when to run.
func (c *collection) deadline(t *Table) time.Duration {
	switch {
	case c.running:
		return t.now
	case c.enough(t):
		return c.due
	}
	return Never
}

// run begins a pass if one is due, and looks at the next so many entries of it.
func (c *collection) run(t *Table, entries int) {
	if !c.running {
		if t.now < c.due || !c.enough(t) {
			return
		}
		c.resume(t)
		c.running = true
		t.openCursor(&c.cursor)
		t.stats.PeriodicGCRuns++
	}
	for range entries {
		r := c.cursor.step()
		if r == nil {
			t.closeCursor(&c.cursor)
			c.running = false
			return
		}
		t.collect(r)
	}
}

// collect removes r if it is of no use any more.
func (t *Table) collect(r *record) {
	if r.state.in(configured | timed) {
		return
	}
	r.used = max(r.used, r.confirmed)
	if r.state == StateFailed || t.now >= r.used+t.params(deviceOf(r.key)).StaleTime {
		t.remove(r)
	}
}
