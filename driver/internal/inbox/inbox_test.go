package inbox_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver/internal/inbox"
	"github.com/culvert-net/culvert/packet"
)

const forever = -1

// some returns n buffers.
func some(n int) []*packet.Buffer {
	all := make([]*packet.Buffer, n)
	for i := range all {
		all[i] = packet.New(0)
	}
	return all
}

// call is a Receive in virtual time.
type call struct {
	n    int
	err  error
	took time.Duration
}

func receive(q *inbox.Queue, batch []*packet.Buffer, wait time.Duration) call {
	start := time.Now()
	n, err := q.Receive(batch, wait)
	return call{n, err, time.Since(start)}
}

func TestReceive(t *testing.T) {
	errBroken := errors.New("broken")
	for _, c := range []struct {
		name string
		wait time.Duration
		do   func(q *inbox.Queue) // a second after Receive was called
		want call
	}{
		{"nothing, polled", 0, nil, call{}},
		{"nothing, waited for", 3 * time.Second, nil, call{took: 3 * time.Second}},
		{"something comes", 3 * time.Second, func(q *inbox.Queue) { q.Put(some(2)) }, call{n: 2, took: time.Second}},
		{"something comes at last", forever, func(q *inbox.Queue) { q.Put(some(1)) }, call{n: 1, took: time.Second}},
		{"interrupted", forever, func(q *inbox.Queue) { q.Interrupt() }, call{took: time.Second}},
		{"interrupted twice", 9 * time.Second, func(q *inbox.Queue) { q.Interrupt(); q.Interrupt() }, call{took: time.Second}},
		{"closed", forever, func(q *inbox.Queue) { q.Close() }, call{err: net.ErrClosed, took: time.Second}},
		{"ended", forever, func(q *inbox.Queue) { q.End(nil, io.EOF) }, call{err: io.EOF, took: time.Second}},
		{"broken", forever, func(q *inbox.Queue) { q.End(errBroken, io.EOF) }, call{err: errBroken, took: time.Second}},
		{"closed after the end", forever, func(q *inbox.Queue) { q.End(errBroken, io.EOF); q.Close() }, call{err: net.ErrClosed, took: time.Second}},
		{"nothing was put", 3 * time.Second, func(q *inbox.Queue) { q.Put(nil) }, call{took: 3 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := inbox.New(4)
				if c.do != nil {
					time.AfterFunc(time.Second, func() { c.do(q) })
				}
				assert.Equal(t, c.want, receive(q, make([]*packet.Buffer, 8), c.wait))
			})
		})
	}
}

// TestStaleWake has somebody wake a Receive whose time is over at that moment: the next one must wait as long as it is told.
func TestStaleWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := inbox.New(4)
		batch := make([]*packet.Buffer, 4)
		for range 20 {
			time.AfterFunc(time.Second, func() { q.Interrupt() })
			receive(q, batch, time.Second)
			synctest.Wait()
			receive(q, batch, time.Nanosecond) // takes the interrupt, if it came too late for the first
			assert.Equal(t, call{took: time.Second}, receive(q, batch, time.Second))
		}
	})
}

func TestEnd(t *testing.T) {
	errBroken := errors.New("broken")
	q := inbox.New(4)
	require.Equal(t, 3, q.Put(some(3)))
	q.End(errBroken, io.EOF)
	batch := make([]*packet.Buffer, 2)
	assert.Equal(t, 2, receive(q, batch, forever).n)
	assert.Equal(t, 1, receive(q, batch, forever).n)
	assert.Equal(t, errBroken, receive(q, batch, forever).err)
	for range 3 {
		assert.Equal(t, io.EOF, receive(q, batch, forever).err)
	}
}

// TestRing goes round the ring with every fill, and checks the order.
func TestRing(t *testing.T) {
	const depth = 5
	q := inbox.New(depth)
	var in, out []*packet.Buffer
	batch := make([]*packet.Buffer, depth-1)
	for i := range 100 {
		put := some(i % 8)
		kept := append([]*packet.Buffer(nil), put...)
		n := q.Put(put)
		in = append(in, kept[:n]...)
		for j := range put {
			assert.Equal(t, j < n, put[j] == nil, "entries that were taken are nil")
		}
		n, err := q.Receive(batch, 0)
		require.NoError(t, err)
		out = append(out, batch[:n]...)
	}
	require.LessOrEqual(t, len(in)-len(out), depth)
	for i := range out {
		require.Same(t, in[i], out[i])
	}
}

func TestPutWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := inbox.New(2)
		put := make(chan int, 1)
		go func() { put <- q.PutWait(some(5)) }()
		batch := make([]*packet.Buffer, 1)
		for range 5 {
			synctest.Wait()
			assert.Equal(t, 1, receive(q, batch, 0).n)
		}
		assert.Equal(t, 5, <-put)

		go func() { put <- q.PutWait(some(5)) }()
		synctest.Wait()
		q.Close()
		assert.Equal(t, 2, <-put, "those that Close frees")
		assert.Zero(t, q.PutWait(some(1)))
		assert.Zero(t, q.Put(some(1)))
	})
}
