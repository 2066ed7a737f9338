package arp

// The timers: a binary heap of records by deadline. Equal deadlines run in the order of their keys, so that the order depends on
// nothing else.

import "time"

// timers is the heap. A record knows its place, 0 if it has no timer; the heap's element 0 is not used.
type timers []*record

func (h timers) len() int { return max(len(h)-1, 0) }

// first returns the record whose timer runs out next; there is one.
func (h timers) first() *record { return h[1] }

func (h timers) less(i, j int) bool {
	a, b := h[i], h[j]
	return a.deadline < b.deadline || a.deadline == b.deadline && a.key < b.key
}

func (h timers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timer, h[j].timer = i, j
}

// set starts r's timer, or changes when it runs out.
func (h *timers) set(r *record, deadline time.Duration) {
	r.deadline = deadline
	if r.timer == 0 {
		if len(*h) == 0 {
			*h = append(*h, nil)
		}
		r.timer = len(*h)
		*h = append(*h, r)
	}
	if !h.up(r.timer) {
		h.down(r.timer)
	}
}

// stop ends r's timer, if it has one.
func (h *timers) stop(r *record) {
	i := r.timer
	if i == 0 {
		return
	}
	last := len(*h) - 1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	r.timer = 0
	if i < last && !h.up(i) {
		h.down(i)
	}
}

// up moves element i towards the front and reports whether it moved.
func (h timers) up(i int) bool {
	start := i
	for i > 1 && h.less(i, i/2) {
		h.swap(i, i/2)
		i /= 2
	}
	return i != start
}

func (h timers) down(i int) {
	for {
		child := 2 * i
		if child+1 < len(h) && h.less(child+1, child) {
			child++
		}
		if child >= len(h) || !h.less(child, i) {
			return
		}
		h.swap(i, child)
		i = child
	}
}
