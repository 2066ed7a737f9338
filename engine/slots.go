package engine

// Numbered slots: where packets find what was resolved for the number that an index or a route gave them. Numbers are used again,
// and packets look without a lock or a mark of their own, so a slot must never show them what belongs to a later owner of the number.

import "sync/atomic"

// slots are pointers to T by the numbers of their owners, from 1. There is a current version of them, and within a version a number
// has one owner at most: when he goes, the slot is emptied, and the number is used again in a later version. Hence the rule for
// readers: load the version, then ask an index or a route for the number, then see by [slots.still] that the version is current. What
// the slot has is then the owner's whom the number was asked for, or nothing.
//
// Writers hold the lock of whom the slots belong to.
type slots[O, T any] struct {
	now    atomic.Pointer[version[T]]
	none   *chunk[T] // of all versions, where nothing is stored yet; it stays empty
	filled bool      // the current version has had something in it
	owners []*O      // by number, less one
	free   []uint32
	spent  []uint32 // free with the next version
}

// A version is slots in chunks by the lower bits of their number, so that they grow without being copied.
type version[T any] []atomic.Pointer[chunk[T]]

type chunk[T any] [1 << chunkBits]atomic.Pointer[T]

const (
	chunkBits = 10

	// A new version, which copies what is in the slots, is made when there is no free number, and so many spent ones: a few, and one
	// for four in use, so that a number costs a few words of copying.
	fewSpent      = 64
	usedForASpent = 4
)

func (s *slots[O, T]) init() {
	s.none = new(chunk[T])
	s.now.Store(&version[T]{})
}

// still returns a version that was loaded before a number was asked for, or one with nothing if it is no longer current.
func (s *slots[O, T]) still(v *version[T]) version[T] {
	if s.now.Load() != v {
		return nil
	}
	return *v
}

// find returns what the slot with a number has, nil if nothing.
func (v version[T]) find(number uint32) *T {
	i := number - 1
	if at := int(i >> chunkBits); at < len(v) {
		return v[at].Load()[i&(1<<chunkBits-1)].Load()
	}
	return nil
}

// slot returns the slot with a number, which must be the version's. It remains the owner's as long as the version is current, or empty.
func (v version[T]) slot(number uint32) *atomic.Pointer[T] {
	i := number - 1
	return &v[i>>chunkBits].Load()[i&(1<<chunkBits-1)]
}

// load is find in the current version, for writers.
func (s *slots[O, T]) load(number uint32) *T { return s.now.Load().find(number) }

// owner returns whose a number is, nil if nobody's.
func (s *slots[O, T]) owner(number uint64) *O {
	if number == 0 {
		return nil
	}
	return s.owners[number-1]
}

// take gives a number to an owner.
func (s *slots[O, T]) take(owner *O) uint32 {
	if used := len(s.owners) - len(s.free) - len(s.spent); len(s.free) == 0 && len(s.spent) > fewSpent+used/usedForASpent {
		s.renew(true)
	}
	if last := len(s.free) - 1; last >= 0 {
		number := s.free[last]
		s.free, s.owners[number-1] = s.free[:last], owner
		return number
	}
	if v := *s.now.Load(); len(s.owners)>>chunkBits == len(v) {
		s.replace(v, len(v)+1, func(c *chunk[T]) *chunk[T] { return c })
	}
	s.owners = append(s.owners, owner)
	return uint32(len(s.owners))
}

// leave takes a number from its owner.
func (s *slots[O, T]) leave(number uint32) {
	s.store(number, nil)
	s.owners[number-1] = nil
	s.spent = append(s.spent, number)
}

// store puts something into a slot, or empties it.
func (s *slots[O, T]) store(number uint32, p *T) {
	at := &(*s.now.Load())[(number-1)>>chunkBits]
	c := at.Load()
	switch {
	case c != s.none:
		c[(number-1)&(1<<chunkBits-1)].Store(p)
	case p != nil:
		s.filled, c = true, new(chunk[T])
		c[(number-1)&(1<<chunkBits-1)].Store(p)
		at.Store(c)
	}
}

// empty makes a version in which all slots are.
func (s *slots[O, T]) empty() {
	if s.filled {
		s.renew(false)
	}
}

// renew makes the next version, with what is in the slots or without.
func (s *slots[O, T]) renew(full bool) {
	v := *s.now.Load()
	s.filled = s.filled && full
	s.free, s.spent = append(s.free, s.spent...), s.spent[:0]
	s.replace(v, len(v), func(c *chunk[T]) *chunk[T] {
		if c == s.none || !full {
			return s.none
		}
		next := new(chunk[T])
		for i := range c {
			if p := c[i].Load(); p != nil {
				next[i].Store(p)
			}
		}
		return next
	})
}

// replace makes something else of the chunks of v, and so many of them, current.
func (s *slots[O, T]) replace(v version[T], chunks int, next func(*chunk[T]) *chunk[T]) {
	grown := make(version[T], chunks)
	for i := range grown {
		if i < len(v) {
			grown[i].Store(next(v[i].Load()))
		} else {
			grown[i].Store(s.none)
		}
	}
	s.now.Store(&grown)
}
