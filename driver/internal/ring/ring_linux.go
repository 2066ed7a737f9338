// Package ring is the memory that sockets receive into: a buffer of a pool for each message, and behind it a stage of the ring's own for
// what is longer, such as what the kernel has merged.
package ring

import (
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/packet"
)

const (
	messages  = driver.BatchSize
	stageSize = 1 << 16 // of each message, in memory only where a long one came
)

// Config says what a ring is for.
type Config struct {
	Pool    *packet.Pool
	Share   int  // of how many rings on the pool this is one
	Front   int  // bytes to leave free in front of what is received, for headers
	Names   bool // take addresses
	Control int  // bytes of control messages
}

// Ring receives messages. One goroutine at a time may use it.
type Ring struct {
	*sockets.Batch // of the messages received last

	pool    *packet.Pool
	front   int
	most    int
	stage   []byte
	buffers [messages]*packet.Buffer // message i begins in it
	spare   [messages]*packet.Buffer

	want, got, next int // messages: asked for, received, the first that [Ring.Next] has not returned
}

// New returns a ring. It keeps up to messages buffers of the pool while it waits, but no more than its share of half of them, as the
// others are for who holds packets.
func New(c Config) *Ring {
	return &Ring{
		Batch: sockets.NewGather(messages, 2, c.Names, c.Control), pool: c.Pool, front: c.Front,
		most: min(max(c.Pool.Len()/(2*c.Share), 1), messages), stage: make([]byte, messages*stageSize),
	}
}

// Prepare sets the memory for up to n messages. When there is no buffer one is received all the same, without, as otherwise nobody could
// wait for the next.
func (r *Ring) Prepare(n int) {
	r.want, r.got, r.next = min(n, r.most), 0, 0
	missing := 0
	for _, b := range r.buffers[:r.want] {
		if b == nil {
			missing++
		}
	}
	if missing == 0 {
		return
	}
	spare := r.spare[:r.pool.GetBatch(r.spare[:missing])]
	last := messages - 1
	for i := range r.want {
		if r.buffers[i] != nil {
			continue
		}
		if len(spare) > 0 {
			_, _ = spare[0].Extend(spare[0].Tailroom())
			r.place(i, spare[0])
			spare = spare[1:]
			continue
		}
		for last > i && r.buffers[last] == nil {
			last--
		}
		if last <= i {
			r.want = i
			break
		}
		r.place(i, r.buffers[last])
		r.buffers[last] = nil
	}
	if r.want == 0 {
		r.want = 1
		r.Set(0, r.Stage(0))
	}
}

// place has message i received into a buffer, whose bytes are all of its room.
func (r *Ring) place(i int, b *packet.Buffer) {
	r.buffers[i] = b
	r.Set(i, b.Bytes()[min(r.front, b.Len()):])
	r.Append(i, r.Stage(i))
}

// Receive receives what Prepare has made room for, without waiting.
func (r *Ring) Receive(fd uintptr) (errno unix.Errno) {
	r.got, errno = r.Batch.Receive(fd, r.want)
	return errno
}

// Next returns the next message that was received, and false if there is none.
func (r *Ring) Next() (i int, ok bool) {
	i = r.next
	if i >= r.got {
		return 0, false
	}
	r.next++
	return i, true
}

// Pending reports whether there is another message for [Ring.Next].
func (r *Ring) Pending() bool { return r.next < r.got }

// Buffer returns the buffer that message i begins in, all of whose room are its bytes; nil if there was none. It is the ring's unless it
// is taken.
func (r *Ring) Buffer(i int) *packet.Buffer { return r.buffers[i] }

// Take gives the buffer of message i to the caller.
func (r *Ring) Take(i int) *packet.Buffer {
	b := r.buffers[i]
	r.buffers[i] = nil
	return b
}

// Stage returns the memory for what the buffer of message i had no room for.
func (r *Ring) Stage(i int) []byte { return r.stage[i*stageSize:][:stageSize] }

// Free gives all buffers back.
func (r *Ring) Free() { packet.FreeBatch(r.buffers[:]) }
