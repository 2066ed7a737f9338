package icmplimit

// The destinations remembered: a hash table of fixed size, and a list from the least to the most recently limited one. It is
// no Go map, because that allocates at times when keys come and go.

import (
	"math/bits"
	"math/rand/v2"
	"time"
)

// none is the slot that no destination has; it is where the list begins and ends.
const none = 0

// slot holds a destination's bucket. Of one that fills steadily a time says all: what is missing is the time until then.
type slot struct {
	full  time.Duration // when the bucket is full again
	addr  uint32
	next  int32 // slot with the same hash
	newer int32
	older int32
}

type destinations struct {
	slots     []slot  // as many as there may be, and none
	heads     []int32 // for each hash the first slot; a power of two of them
	seed      uint64  // odd
	used      int
	forgotten time.Duration // when the last of all forgotten buckets is full again
}

// resized returns d with room for so many, the most recently limited ones.
func (d *destinations) resized(capacity int) destinations {
	r := destinations{
		slots:     make([]slot, capacity+1),
		heads:     make([]int32, 1<<bits.Len(uint(capacity-1))),
		seed:      rand.Uint64() | 1,
		forgotten: d.forgotten,
	}
	if d.used > 0 {
		for i := d.slots[none].newer; i != none; i = d.slots[i].newer {
			r.add(d.slots[i].addr, d.slots[i].full)
		}
	}
	return r
}

// head returns where the slots with addr's hash begin: the upper bits of a product with a secret number.
func (d *destinations) head(addr uint32) *int32 {
	width := bits.Len(uint(len(d.heads) - 1))
	return &d.heads[uint64(addr)*d.seed>>1>>(63-width)]
}

// find returns addr's slot and when its bucket is full: for one that is not remembered, none, and the time by which it is
// full if it ever was.
func (d *destinations) find(addr uint32) (i int32, full time.Duration) {
	for i = *d.head(addr); i != none; i = d.slots[i].next {
		if d.slots[i].addr == addr {
			return i, d.slots[i].full
		}
	}
	return none, d.forgotten
}

// add remembers addr, which is not yet, in a free slot or in that of the least recently limited destination.
func (d *destinations) add(addr uint32, full time.Duration) {
	var i int32
	if d.used < len(d.slots)-1 {
		d.used++
		i = int32(d.used)
	} else {
		i = d.slots[none].newer
		d.forgotten = max(d.forgotten, d.slots[i].full)
		d.unhash(i)
		d.unlink(i)
	}
	head := d.head(addr)
	d.slots[i] = slot{addr: addr, full: full, next: *head}
	*head = i
	d.link(i)
}

// touch makes i the most recently limited one, and full at another time.
func (d *destinations) touch(i int32, full time.Duration) {
	d.slots[i].full = full
	d.unlink(i)
	d.link(i)
}

func (d *destinations) link(i int32) {
	last := d.slots[none].older
	d.slots[i].older, d.slots[i].newer = last, none
	d.slots[last].newer, d.slots[none].older = i, i
}

func (d *destinations) unlink(i int32) {
	s := &d.slots[i]
	d.slots[s.older].newer, d.slots[s.newer].older = s.newer, s.older
}

// unhash takes slot i out of the chain of its hash.
func (d *destinations) unhash(i int32) {
	p := d.head(d.slots[i].addr)
	for *p != i {
		p = &d.slots[*p].next
	}
	*p = d.slots[i].next
}
