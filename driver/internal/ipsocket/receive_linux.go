package ipsocket

// Receiving: many messages in one system call, each into a buffer of the pool. What does not fit the buffer goes into a stage of the
// ring's, and is copied.

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/count"
	"github.com/culvert-net/culvert/driver/internal/ring"
	"github.com/culvert-net/culvert/gso"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/packet"
)

// Unpacker is what a driver does with messages. The [Receiver] calls it, one call at a time, and its Add takes the packets.
type Unpacker interface {
	// Unpack makes packets of message i of the ring, or counts it.
	Unpack(i int)

	// Others adds packets that do not come in messages, such as ICMP errors.
	Others()

	// Fails reports whether an error of recvmmsg is for Receive to return; else it goes on.
	Fails(errno unix.Errno) bool
}

// Receiver is the receiving half of a queue. Ring and Add are for the Unpacker, while it is called.
type Receiver struct {
	Conn   *sockets.Conn // nil until Open
	Ring   *ring.Ring
	Counts count.Packets

	base     *Base
	unpacker Unpacker
	front    int
	mu       sync.Mutex // of whoever receives, and of Close
	errno    unix.Errno
	ready    []*packet.Buffer // packets that the last batch had no room for
	scratch  *packet.Buffer   // to cut a superframe in
	overflow sockets.Drops
}

// Open makes the receiver of a socket, which it owns from then on, even if there is an error. write is what the connection calls when
// there is room for what is to be sent; nil if nothing is. The ring's pool is the base's.
func (r *Receiver) Open(b *Base, fd int, c ring.Config, u Unpacker, write func(fd uintptr) bool) (err error) {
	c.Pool = b.Pool
	r.base, r.unpacker, r.front = b, u, c.Front
	r.Ring = ring.New(c)
	r.ready = make([]*packet.Buffer, 0, 2*driver.BatchSize)
	r.scratch = packet.New(gso.LargeSize)
	if r.Conn, err = sockets.New(fd, b.config.Driver, r.read, write); err != nil {
		return fmt.Errorf("%s: %w", b.config.Driver, err)
	}
	return nil
}

// read is what the connection calls when there may be something to read.
func (r *Receiver) read(fd uintptr) bool {
	r.errno = r.Ring.Receive(fd)
	return r.errno != unix.EAGAIN
}

// Receive is as driver.Queue has it.
func (r *Receiver) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	n, err := r.receive(batch)
	if n > 0 || err != nil || wait == 0 || len(batch) == 0 {
		return n, err
	}
	var end time.Time
	if wait > 0 {
		end = time.Now().Add(wait)
	}
	for more := true; more && n == 0 && err == nil; {
		if more, err = r.Conn.Wait(wait); err != nil {
			return 0, err
		}
		n, err = r.receive(batch)
		if wait > 0 { // all that comes may be unusable
			wait = max(0, time.Until(end))
			more = more && wait > 0
		}
	}
	return n, err
}

// receive is Receive with no wait.
func (r *Receiver) receive(batch []*packet.Buffer) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.base.Closed() {
		return 0, net.ErrClosed
	}
	if n := r.take(batch); n > 0 || len(batch) == 0 {
		return n, nil
	}
	r.Ring.Prepare(len(batch))
	ok, err := r.Conn.Read(0)
	if err != nil {
		return 0, err
	}
	if ok && r.errno != 0 && r.unpacker.Fails(r.errno) {
		return 0, fmt.Errorf("%s: %w", r.base.config.Driver, os.NewSyscallError("recvmmsg", r.errno))
	}
	return r.take(batch), nil
}

// Wait is as driver.Queue has it.
func (r *Receiver) Wait(d time.Duration) error {
	if r.base.Closed() {
		return net.ErrClosed
	}
	if d == 0 || r.pending() {
		return nil
	}
	_, err := r.Conn.Wait(d)
	return err
}

// pending reports whether there are packets that the last batch had no room for.
func (r *Receiver) pending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ready) > 0 || r.Ring.Pending()
}

// take fills batch with packets that have been received, and returns how many there are.
func (r *Receiver) take(batch []*packet.Buffer) int {
	if len(r.ready) == 0 {
		r.unpacker.Others()
	}
	n := 0
	for n < len(batch) {
		if len(r.ready) == 0 {
			i, ok := r.Ring.Next()
			if !ok {
				break
			}
			r.unpacker.Unpack(i)
			continue
		}
		m := copy(batch[n:], r.ready)
		n += m
		r.ready = r.ready[:copy(r.ready, r.ready[m:])]
	}
	bytes := 0
	for _, b := range batch[:n] {
		bytes += b.Len()
	}
	r.Counts.Pass(n, bytes)
	return n
}

// Add puts a packet where the next batch finds it, and owns it from then on.
func (r *Receiver) Add(b *packet.Buffer) { r.ready = append(r.ready, b) }

// Long returns a copy of message i, which has size bytes and is too long for its buffer, behind the ring's Front: in a buffer for
// superframes, or if there is none, in one of the receiver's own. It is for AddLong to take. If it returns nil, that is counted.
func (r *Receiver) Long(i, size int) *packet.Buffer {
	large := r.base.Superframes.Get()
	if large == nil {
		large = r.scratch
		large.Reset()
	}
	p, err := large.Extend(r.front + size)
	if err != nil {
		r.Counts.Errors.Add(1)
		large.Free()
		return nil
	}
	p = p[r.front:]
	copy(p[copy(p, r.Ring.Buffer(i).Bytes()[r.front:]):], r.Ring.Stage(i))
	return large
}

// AddLong adds what Long returned, cut into segments if it is not in a buffer to give away. It is counted as an error if it is not ok.
func (r *Receiver) AddLong(large *packet.Buffer, ok bool) {
	switch {
	case !ok:
		r.Counts.Errors.Add(1)
		large.Free()
	case large == r.scratch:
		r.cut(large)
	default:
		r.Add(large)
	}
}

// cut puts the segments of a superframe into buffers of the pool.
func (r *Receiver) cut(large *packet.Buffer) {
	if !large.IsSuperframe() {
		r.Counts.Errors.Add(1) // there is no buffer that holds it
		return
	}
	b := r.base.Pool.Get()
	if b == nil {
		r.Counts.Dropped.Add(1)
		return
	}
	n := len(r.ready)
	var err error
	r.ready, err = gso.Segmenter{Pool: r.base.Pool}.Cut(large, gso.Options{Raw: true, Partial: true}, r.ready)
	if err != nil || b.CopyFrom(large) != nil {
		packet.FreeBatch(r.ready[n:])
		r.ready = r.ready[:n]
		r.Counts.Dropped.Add(1)
		b.Free()
		return
	}
	r.ready[n] = b // instead of large, which is the receiver's own
}

// Interrupt is as driver.Queue has it.
func (r *Receiver) Interrupt() { r.Conn.Interrupt() }

// AddTo adds what was counted, and what the socket had no room for.
func (r *Receiver) AddTo(s *driver.Stats) {
	r.Counts.AddReceived(s)
	s.RxDropped += r.overflow.Count(r.Conn)
}

// Close ends a Receive that waits, and gives back the buffers. The base is closed before.
func (r *Receiver) Close() error {
	if r.Conn == nil {
		return nil
	}
	r.overflow.Count(r.Conn)
	err := r.Conn.Close()
	r.mu.Lock() // of a Receive that waited
	defer r.mu.Unlock()
	r.Ring.Free()
	packet.FreeBatch(r.ready)
	r.ready = r.ready[:0]
	return err
}
