package engine

import "iter"

// sets are sets of T by key, as the tunnels' ends whose way depends on a neighbour. One leaves its set in no time, however many
// there are, and a set that nobody is in takes no memory.
type sets[K comparable, T any] map[K]*member[T]

// member is one's place in a set.
type member[T any] struct {
	of         T
	next, last *member[T]
}

func (s sets[K, T]) add(key K, m *member[T]) {
	if m.next = s[key]; m.next != nil {
		m.next.last = m
	}
	s[key] = m
}

// remove takes m out of a set, if it is in it.
func (s sets[K, T]) remove(key K, m *member[T]) {
	switch {
	case m.last != nil:
		m.last.next = m.next
	case s[key] != m:
		return
	case m.next == nil:
		delete(s, key)
	default:
		s[key] = m.next
	}
	if m.next != nil {
		m.next.last = m.last
	}
	m.next, m.last = nil, nil
}

// all returns the members of a set. The one in hand may leave it, others must not.
func (s sets[K, T]) all(key K) iter.Seq[T] {
	return func(yield func(T) bool) {
		for m := s[key]; m != nil; {
			next := m.next
			if !yield(m.of) {
				return
			}
			m = next
		}
	}
}
