// Package inbox is the receiving half of drivers whose packets come from within the program: a bounded ring of buffers that any
// goroutine puts into and one takes from, waiting as driver.Queue's Receive does; or one takes while another one waits.
package inbox

import (
	"net"
	"sync"
	"time"

	"github.com/culvert-net/culvert/packet"
)

// Queue is a ring of buffers. Buffers in it are its own. Receive and Wait are each for one goroutine at a time, and only one of them may
// wait; everything else is for any.
type Queue struct {
	wake  chan struct{} // has an element if who waits is to look again
	timer *time.Timer   // of the one who waits; made when it first does

	mu          sync.Mutex
	room        sync.Cond // for those who wait in PutWait
	putters     int       // how many those are
	ring        []*packet.Buffer
	first, n    int
	waiting     bool // somebody waits for wake
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
	n, over, err := q.take(batch)
	if over || wait == 0 {
		return n, err
	}
	var end time.Time
	if wait > 0 {
		end = time.Now().Add(wait)
	}
	for more := true; more; {
		more = q.wait(wait)
		if n, over, err = q.take(batch); over {
			break
		}
		if wait > 0 { // it may have been woken for nothing
			wait = max(0, time.Until(end))
			more = more && wait > 0
		}
	}
	return n, err
}

// take takes what there is, and reports whether that ends Receive, however long it is to wait.
func (q *Queue) take(batch []*packet.Buffer) (n int, over bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return 0, true, net.ErrClosed
	case q.n == 0 && q.end != nil:
		return 0, true, q.ending()
	}
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
	return n, n > 0 || len(batch) == 0, nil
}

// Wait is as driver.Queue has it.
func (q *Queue) Wait(d time.Duration) error {
	q.wait(d)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return net.ErrClosed
	}
	return nil
}

// wait waits until there is something for take, and reports false if the time is over or it was interrupted.
func (q *Queue) wait(d time.Duration) bool {
	if d == 0 {
		return false
	}
	if done, interrupted := q.arm(); done {
		return !interrupted
	}
	woken := q.sleep(d)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = false
	woken = woken && !q.interrupted
	q.interrupted = false
	return woken
}

// arm has whoever adds to the queue wake the caller, unless there is no need to wait.
func (q *Queue) arm() (done, interrupted bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n > 0 || q.closed || q.end != nil || q.interrupted {
		interrupted, q.interrupted = q.interrupted, false
		return true, interrupted
	}
	q.waiting = true
	return false, false
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
// the next wait look once more in vain, at its start.
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
