package memory

// A queue: an inbox, counted for.

import (
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/inbox"
	"github.com/culvert-net/culvert/packet"
)

type queue struct {
	*inbox.Queue
	driver *Driver
}

// Receive implements [driver.Queue].
func (q *queue) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	n, err := q.Queue.Receive(batch, wait)
	if n > 0 {
		bytes := 0
		for _, b := range batch[:n] {
			bytes += b.Len()
		}
		q.driver.stats.rxPackets.Add(uint64(n))
		q.driver.stats.rxBytes.Add(uint64(bytes))
	}
	return n, err
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
