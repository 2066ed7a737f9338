package fdb

// When an entry was last heard, as it is kept in 24 bits of its word.

import (
	"math"
	"time"
)

const (
	stampUnit  = time.Second / 8
	stampBits  = 24
	stampSpan  = stampUnit << stampBits // after which stamps repeat: 24 days
	freshUnits = 8                      // of age that a stamp may have before it is written again: a second

	// MaxAgeing is the longest time that entries may be kept, so that an old stamp is told from a future one.
	MaxAgeing = 10 * 24 * time.Hour
)

// Never is the deadline of a table in which nothing will expire.
const Never time.Duration = math.MaxInt64

// Stamp is a moment as entries keep it, for [Place.IsFrom]: a burst of packets has one.
type Stamp uint64

// StampOf returns the stamp of now.
func StampOf(now time.Duration) Stamp { return Stamp(stamp(now)) }

// stamp returns the bits of an entry that was heard now.
func stamp(now time.Duration) uint64 {
	return uint64(now) / uint64(stampUnit) << stampShift & stampMask
}

// unitsSince returns how old the stamp of an entry is, modulo 2^24: a stamp from the future is very old.
func unitsSince(word, stampNow uint64) uint64 {
	return (stampNow - word&stampMask) & stampMask >> stampShift
}

// age returns how old the stamp of an entry is; a stamp from the future, as one that another worker with a later
// clock wrote, has no age.
func age(word, stampNow uint64) time.Duration {
	units := unitsSince(word, stampNow)
	if units >= 1<<(stampBits-1) {
		return 0
	}
	return time.Duration(units) * stampUnit
}

// Age returns how long ago the station was heard, to within a second or so; 0 for entries that are not aged.
func (p Place) Age(now time.Duration) time.Duration {
	if isFixed(uint64(p)) {
		return 0
	}
	return age(uint64(p), stamp(now))
}

// isFixed reports whether an entry is not aged.
func isFixed(word uint64) bool { return word&(uint64(Static|Local)<<flagShift) != 0 }
