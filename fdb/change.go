package fdb

// What the table tells of itself: changes, one by one, and counters.

import "fmt"

// Cause is why an entry changed.
type Cause uint8

// The causes.
const (
	ByLearning   Cause = iota + 1 // a frame came from the station
	ByControl                     // Add, Replace, Append, Delete, DeleteRemote, Remove
	ByAge                         // not heard for Config.Ageing
	ByFlush                       // Flush
	Displacement                  // a configured entry needed the room
)

// String returns c as a word.
func (c Cause) String() string {
	switch c {
	case ByLearning:
		return "learning"
	case ByControl:
		return "control"
	case ByAge:
		return "age"
	case ByFlush:
		return "flush"
	case Displacement:
		return "displacement"
	}
	return "unknown cause"
}

// Change is one change of where a station is. An entry that is new has no valid Old, one that is gone no valid New.
type Change struct {
	Key      Key
	Old, New Entry
	Cause    Cause
}

// String returns c as "0a:58:0a:f4:01:07: port 3 dynamic -> port 4 dynamic (learning)".
func (c Change) String() string {
	return fmt.Sprintf("%v: %v -> %v (%v)", c.Key, c.Old, c.New, c.Cause)
}

// Stats are the counters of a table: entries now, and what has happened since it was made.
type Stats struct {
	Entries int // in all
	Dynamic int // of these, entries that are aged

	Learned   uint64 // entries made by learning
	Moved     uint64 // entries that followed their station
	Aged      uint64 // entries that were not heard for too long
	Flushed   uint64 // entries removed by Flush
	Displaced uint64 // learned entries that made room for configured ones

	// What was not learned, by reason; see [Outcome].
	RefusedNotStation, RefusedOwn, RefusedPinned, RefusedFull, RefusedPortFull, RefusedBadDest uint64
}

// Stats returns the counters.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Entries, s.Dynamic = t.Len(), t.dynamic
	s.RefusedNotStation = t.refused[NotStation].Load()
	s.RefusedOwn = t.refused[Own].Load()
	s.RefusedPinned = t.refused[Pinned].Load()
	s.RefusedFull = t.refused[Full].Load()
	s.RefusedPortFull = t.refused[PortFull].Load()
	s.RefusedBadDest = t.refused[BadDest].Load()
	return s
}

// tell counts a change and passes it on.
func (t *Table) tell(c Change) {
	switch {
	case c.Cause == ByLearning && c.Old.IsValid():
		t.stats.Moved++
	case c.Cause == ByLearning:
		t.stats.Learned++
	case c.Cause == ByAge:
		t.stats.Aged++
	case c.Cause == ByFlush:
		t.stats.Flushed++
	case c.Cause == Displacement:
		t.stats.Displaced++
	}
	if t.config.OnChange != nil {
		t.config.OnChange(c)
	}
}
