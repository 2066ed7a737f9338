package fdb

// Ageing: sweeps through the table in slices of work.

import (
	"time"

	"github.com/culvert-net/culvert/internal/wordmap"
)

// sweepPause lies between the starts of two sweeps of a table too big for one slice of work, so that a million entries of all
// ages cost one core half a percent of its time.
const sweepPause = time.Second

// sweep is a walk through the table that looks for what has expired.
type sweep struct {
	underWay bool
	cursor   wordmap.Cursor
	slices   int
	began    time.Duration
	next     time.Duration // when the first of the entries that stay will expire
}

// Deadline returns when [Table.Expire] has something to do; [Never] if nothing will expire. It is in the past if there is
// something to tidy up. It changes with each entry that is learned, so ask again after learning.
func (t *Table) Deadline() time.Duration { return time.Duration(t.deadline.Load()) }

// wakeToTidy sees to it that a rebuilding of the map, which slows lookups down, is not left half done when nothing more
// is learned.
func (t *Table) wakeToTidy() {
	if t.entries.Rebuilding() {
		t.deadline.Store(0)
	}
}

// tidy goes on with the rebuilding, for one slice of work.
func (t *Table) tidy() {
	for n := 0; n < walkBuckets && t.entries.Rebuilding(); n++ {
		t.entries.Tidy()
	}
}

// heard sees to it that the deadline is not later than a dynamic entry that was heard now asks for; an earlier one costs a
// sweep.
func (t *Table) heard(now time.Duration) {
	if due := now.Truncate(stampUnit) + t.ageing; t.ageing > 0 && due < t.Deadline() {
		t.deadline.Store(int64(due))
	}
}

// Expire removes dynamic entries that were not heard for Config.Ageing, and returns how many. One call does one slice of work,
// some ten microseconds; the deadline is then now, or earlier, if there is more to do. It must be called at least once
// in ten days, or old entries begin to look young.
func (t *Table) Expire(now time.Duration) int {
	if now < t.Deadline() {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tidy()
	s := &t.sweep
	if !s.underWay {
		*s = sweep{underWay: true, began: now, next: Never}
	}
	at, aged := stamp(now), 0
	s.slices++
	done := t.entries.Walk(&s.cursor, walkBuckets, func(k, word uint64) bool {
		switch due := now.Truncate(stampUnit) - age(word, at) + t.ageing; {
		case isFixed(word) || t.ageing < 0:
		case due <= now:
			t.drop(Key(k), t.Get(Key(k)), ByAge)
			aged++
		default:
			s.next = min(s.next, due)
		}
		return true
	})
	switch {
	case !done:
		t.deadline.Store(int64(now))
		return aged
	case t.ageing < 0 || t.dynamic == 0:
		s.next = Never
	default:
		// What came while the sweep was under way, the walk may have missed.
		s.next = min(s.next, s.began.Truncate(stampUnit)+t.ageing)
	}
	if s.slices > 1 {
		s.next = max(s.next, s.began+sweepPause)
	}
	s.underWay = false
	t.deadline.Store(int64(s.next))
	t.wakeToTidy()
	return aged
}
