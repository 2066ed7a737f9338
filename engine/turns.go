package engine

import (
	"sync/atomic"
	"time"
)

// turns let something be done for packets at a limited rate, and choose them at random. If it were simply the next one when it is time,
// who sends just then would have all the turns: clocks of drivers tick coarsely. So a packet asks with a chance that is adapted until
// about as many ask as there are turns.
type turns struct {
	mask    atomic.Uint64 // those ask who draw a number without these bits
	next    atomic.Int64  // when there is a turn again
	until   atomic.Int64  // when the chance is to be adapted
	refused atomic.Bool   // one asked in vain since it was
	taken   int           // turns since it was; guarded by the lock of who takes them
}

const (
	turnEvery   = 100 * time.Microsecond
	turnsAtOnce = 64                      // that many may be taken after a while
	turnPeriod  = turnsAtOnce * turnEvery // between adaptions
	turnsForget = 64 * turnPeriod         // after so long without anybody who asks, all may
	leastChance = 1<<16 - 1
)

// asks reports whether the packet that has drawn a number is to ask for a turn.
func (s *turns) asks(drawn uint64, now time.Duration) bool {
	switch {
	case int64(now) >= s.until.Load():
		return true // to adapt the chance
	case drawn&s.mask.Load() != 0:
		return false
	case int64(now) < s.next.Load():
		if !s.refused.Load() {
			s.refused.Store(true)
		}
		return false
	}
	return true
}

// take takes a turn, and reports false if there is none. Its caller holds a lock.
func (s *turns) take(drawn uint64, now time.Duration) bool {
	if at := time.Duration(s.until.Load()); now >= at {
		mask := s.mask.Load()
		switch {
		case now-at >= turnsForget:
			mask = 0
		case s.refused.Load():
			mask = min(mask<<1|1, leastChance)
		case s.taken < turnsAtOnce/2:
			mask >>= 1
		}
		s.mask.Store(mask)
		s.refused.Store(false)
		s.taken = 0
		s.until.Store(int64(now + turnPeriod))
		if drawn&mask != 0 {
			return false
		}
	}
	next := time.Duration(s.next.Load())
	if now < next {
		s.refused.Store(true)
		return false
	}
	s.next.Store(int64(max(next, now-turnPeriod) + turnEvery))
	s.taken++
	return true
}
