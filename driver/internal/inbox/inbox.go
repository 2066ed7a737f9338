// Package inbox is the receiving half of drivers whose packets come from within the program: a bounded ring of buffers that any
// goroutine puts into and one takes from, waiting as driver.Queue's Receive does.
package inbox

import (
	"net"
	"sync"
	"time"

	"github.com/culvert-net/culvert/packet"
)

// Queue is a ring of buffers. Buffers in it are its own. Receive is for one goroutine at a time, everything else for any.
type Queue struct {
	wake  chan struct{} // has an element if Receive is to look again
	timer *time.Timer   // of the one who receives; made when it first waits

	mu          sync.Mutex
	room        sync.Cond // for those who wait in PutWait
	putters     int       // how many those are
	ring        []*packet.Buffer
	first, n    int
	waiting     bool // Receive waits for wake
	interrupted bool
	closed      bool
	fault, end  error // what Receive returns when the ring is empty: fault once, then end for good
}

// New returns a queue for depth buffers, at least one.
func New(depth int) *Queue {
	q := &Queue{ring: make([]*packet.Buffer, max(depth, 1)), wake: make(chan struct{}, 1)}
	q.room.L = &q.mu
	return q
}

// Receive is as driver.Queue has it.
func (q *Queue) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	for {
		n, over, err := q.take(batch, wait == 0)
		if over {
			return n, err
		}
		if !q.sleep(wait) {
			wait = 0 // one look more, which also says that nobody waits
		}
	}
}

// take takes what there is, and reports whether that ends Receive. If not, whoever adds to the queue wakes the caller.
func (q *Queue) take(batch []*packet.Buffer, last bool) (n int, over bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = false
	switch {
	case q.closed:
		return 0, true, net.ErrClosed
	case q.n == 0 && q.end != nil:
		return 0, true, q.ending()
	case q.n == 0 && !q.interrupted && !last && len(batch) > 0:
		q.waiting = true
		return 0, false, nil
	}
	q.interrupted = false
	n = min(len(batch), q.n)
	for i := range batch[:n] {
		batch[i], q.ring[q.first] = q.ring[q.first], nil
		if q.first++; q.first == len(q.ring) {
			q.first = 0
		}
	}
	q.n -= n
	if q.putters > 0 && n > 0 {
		q.room.Broadcast()
	}
	return n, true, nil
}

// ending returns the error of an empty queue that has ended.
func (q *Queue) ending() error {
	err := q.end
	if q.fault != nil {
		err, q.fault = q.fault, nil
	}
	return err
}

// sleep waits to be woken, forever if wait is negative, and reports false if the time is over.
func (q *Queue) sleep(wait time.Duration) bool {
	if wait < 0 {
		<-q.wake
		return true
	}
	if q.timer == nil {
		q.timer = time.NewTimer(wait)
	} else {
		q.timer.Reset(wait)
	}
	select {
	case <-q.wake:
		q.timer.Stop()
		return true
	case <-q.timer.C:
		return false
	}
}

// Interrupt is as driver.Queue has it.
func (q *Queue) Interrupt() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.interrupted = true
	q.signal()
}

// signal wakes the one who waits. It is called with mu held. An element that is left over, since a time was over in that moment, makes
// the next Receive look once more in vain, at its start.
func (q *Queue) signal() {
	if !q.waiting {
		return
	}
	q.waiting = false
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Put appends buffers, sets their entries to nil, and returns how many there was room for.
func (q *Queue) Put(batch []*packet.Buffer) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.put(batch)
}

func (q *Queue) put(batch []*packet.Buffer) int {
	if q.closed {
		return 0
	}
	n := min(len(batch), len(q.ring)-q.n)
	last := q.first + q.n
	for i := range batch[:n] {
		if last >= len(q.ring) {
			last -= len(q.ring)
		}
		q.ring[last], batch[i] = batch[i], nil
		last++
	}
	q.n += n
	if n > 0 {
		q.signal()
	}
	return n
}

// PutWait is Put that waits for room. It returns less than all if the queue is closed.
func (q *Queue) PutWait(batch []*packet.Buffer) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n += q.put(batch); n < len(batch) && !q.closed; n += q.put(batch[n:]) {
		q.putters++
		q.room.Wait()
		q.putters--
	}
	return n
}

// End says that nothing more will be put: when the queue is empty, Receive returns fault once if there is one, and then end.
func (q *Queue) End(fault, end error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fault, q.end = fault, end
	q.signal()
}

// Close frees what is in the queue. Receive returns net.ErrClosed from then on.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	packet.FreeBatch(q.ring)
	q.n = 0
	q.signal()
	q.room.Broadcast()
}
