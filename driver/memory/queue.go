package memory

// A queue: a ring of packets that one goroutine takes from and any put into, and how that one waits.

import (
	"net"
	"sync"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/packet"
)

type queue struct {
	driver *Driver
	wake   chan struct{} // has an element if Receive is to look again
	timer  *time.Timer   // of the one who receives; made when it first waits

	mu          sync.Mutex
	ring        []*packet.Buffer
	first, n    int
	waiting     bool // Receive waits for wake
	interrupted bool
	closed      bool
}

func newQueue(d *Driver, depth int) *queue {
	return &queue{driver: d, ring: make([]*packet.Buffer, depth), wake: make(chan struct{}, 1)}
}

// Receive implements [driver.Queue].
func (q *queue) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	var end time.Time
	for waited := false; ; waited = true {
		n, over, err := q.take(batch, wait == 0)
		if n > 0 {
			q.count(batch[:n])
		}
		if over {
			return n, err
		}
		if wait > 0 {
			if !waited {
				end = time.Now().Add(wait)
			} else if wait = time.Until(end); wait <= 0 {
				wait = 0
				continue
			}
		}
		if !q.sleep(wait) {
			wait = 0 // one look more, which also says that nobody waits
		}
	}
}

// take takes what there is, and reports whether that ends Receive. If not, whoever adds to the queue wakes the caller.
func (q *queue) take(batch []*packet.Buffer, last bool) (n int, over bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = false
	switch {
	case q.closed:
		return 0, true, net.ErrClosed
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
	return n, true, nil
}

func (q *queue) count(batch []*packet.Buffer) {
	bytes := 0
	for _, b := range batch {
		bytes += b.Len()
	}
	q.driver.stats.rxPackets.Add(uint64(len(batch)))
	q.driver.stats.rxBytes.Add(uint64(bytes))
}

// sleep waits to be woken, forever if wait is negative, and reports false if the time is over.
func (q *queue) sleep(wait time.Duration) bool {
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

// Interrupt implements [driver.Queue].
func (q *queue) Interrupt() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.interrupted = true
	q.signal()
}

// signal wakes the one who waits. It is called with mu held. An element that is left over makes Receive look once in vain.
func (q *queue) signal() {
	if !q.waiting {
		return
	}
	q.waiting = false
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	packet.FreeBatch(q.ring)
	q.n = 0
	q.signal()
}

// put appends packets, sets their entries to nil, and returns how many there was room for.
func (q *queue) put(batch []*packet.Buffer) int {
	q.mu.Lock()
	defer q.mu.Unlock()
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

// Send implements [driver.Queue]. It never waits.
func (q *queue) Send(batch []*packet.Buffer) error {
	var first error
	for len(batch) > 0 {
		n := min(len(batch), driver.BatchSize)
		if err := q.driver.send(batch[:n]); err != nil && first == nil {
			first = err
		}
		batch = batch[n:]
	}
	return first
}
