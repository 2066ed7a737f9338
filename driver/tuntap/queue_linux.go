package tuntap

// Queues: packets through a descriptor. A descriptor is good for one life of its device; when the device was deleted and made again,
// the queue has another.

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/count"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/internal/vnethdr"
	"github.com/culvert-net/culvert/packet"
)

// sendPatience is how long Send waits for a device that is full, all packets together.
const sendPatience = 2 * time.Millisecond

// Faults with what the system says in such a case, made in advance as they may come for each packet.
var (
	errDown    = fmt.Errorf("tuntap: %w: %w", driver.ErrDown, unix.EIO)
	errFull    = fmt.Errorf("tuntap: %w: %w", driver.ErrFull, unix.EAGAIN)
	errGone    = fmt.Errorf("%w (%w)", ErrGone, unix.EBADFD)
	errRefused = fmt.Errorf("tuntap: the device refuses the packet: %w", unix.EINVAL)
)

// queue implements driver.Queue.
type queue struct {
	d    *Driver
	port atomic.Pointer[port]
	lost atomic.Pointer[port] // whose end Receive has reported
	wake chan struct{}        // interrupts the wait for another port

	received, sent count.Packets
}

// port is a descriptor with all that belongs to one system call on it.
type port struct {
	q        *queue
	conn     *sockets.Conn
	features features
	format   vnethdr.Format

	// Of the goroutine that receives.
	rx struct {
		batch   []*packet.Buffer
		n       int
		err     error
		bytes   int
		header  [vnethdr.LenTunnel]byte
		iov     [3]unix.Iovec // the header; a buffer; for a packet that is longer, a buffer for superframes behind where that part goes
		small   *packet.Buffer
		big     *packet.Buffer
		room    []byte // all of small
		bigRoom []byte // all of big
		scratch []byte // for packets that there is no buffer for
	}

	// Of the one that sends.
	mu sync.Mutex
	tx struct {
		batch  []*packet.Buffer
		at     int
		err    error
		header [vnethdr.LenTunnel]byte
		iov    [2]unix.Iovec
	}
}

// newPort makes a descriptor the port of a queue, and owns it from then on.
func newPort(q *queue, fd int, name string, f features) (*port, error) {
	p := &port{q: q, features: f, format: vnethdr.Format{LittleEndian: true, Raw: q.d.config.Kind == TUN}}
	p.rx.scratch = make([]byte, superframeLen)
	setIovec(&p.rx.iov[0], p.rx.header[:f.headerLen])
	setIovec(&p.tx.iov[0], p.tx.header[:f.headerLen])
	var err error
	p.conn, err = sockets.New(fd, name, p.read, p.write)
	return p, err
}

func setIovec(v *unix.Iovec, b []byte) {
	v.Base = unsafe.SliceData(b)
	v.SetLen(len(b))
}

// Receive implements [driver.Queue].
func (q *queue) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	n, err := q.receive(batch)
	if n > 0 || err != nil || wait == 0 || len(batch) == 0 {
		return n, err
	}
	var end time.Time
	if wait > 0 {
		end = time.Now().Add(wait)
	}
	for more := true; more && n == 0 && err == nil; {
		if more, err = q.wait(wait); err != nil {
			return 0, err
		}
		n, err = q.receive(batch)
		if wait > 0 { // all that comes may be unusable
			wait = max(0, time.Until(end))
			more = more && wait > 0
		}
	}
	return n, err
}

// receive is Receive with no wait.
func (q *queue) receive(batch []*packet.Buffer) (int, error) {
	if len(batch) == 0 {
		return 0, nil
	}
	p := q.port.Load()
	if p == q.lost.Load() {
		return 0, closedIf(q.d.closed.Load())
	}
	n, err := p.receive(batch)
	switch {
	case n > 0:
		return n, nil
	case q.d.closed.Load():
		return 0, net.ErrClosed
	case errors.Is(err, net.ErrClosed): // there is another port
		return 0, nil
	case errors.Is(err, ErrGone):
		q.lost.Store(p)
	}
	return 0, err
}

func closedIf(closed bool) error {
	if closed {
		return net.ErrClosed
	}
	return nil
}

// Wait implements [driver.Queue].
func (q *queue) Wait(d time.Duration) error {
	_, err := q.wait(d)
	return err
}

// wait waits until there may be something to receive, and reports false if the time is over or it was interrupted. The error is
// net.ErrClosed.
func (q *queue) wait(d time.Duration) (bool, error) {
	if d == 0 {
		return false, closedIf(q.d.closed.Load())
	}
	p := q.port.Load()
	if p == q.lost.Load() {
		return q.waitForPort(p, d)
	}
	more, err := p.conn.Wait(d)
	// Of an error the runtime's poller says no more than that waiting is of no use; whoever receives will learn why.
	return more || err != nil, closedIf(q.d.closed.Load())
}

// waitForPort is wait when the device of a port is gone: it waits for another one.
func (q *queue) waitForPort(old *port, d time.Duration) (bool, error) {
	var timeout <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		timeout = timer.C
	}
	for {
		changed := q.d.portsChanged()
		if q.port.Load() != old {
			return true, nil
		}
		select {
		case <-changed:
		case <-timeout:
			return false, nil
		case <-q.wake:
			return false, nil
		case <-q.d.done:
			return false, net.ErrClosed
		}
	}
}

// Interrupt implements [driver.Queue].
func (q *queue) Interrupt() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
	q.port.Load().conn.Interrupt()
}

// receive is Receive, with no wait, for one port. ErrGone says that its device is gone, net.ErrClosed that it has been replaced or the
// driver closed.
func (p *port) receive(batch []*packet.Buffer) (int, error) {
	r := &p.rx
	r.batch, r.n, r.err, r.bytes = batch, 0, nil, 0
	_, err := p.conn.Read(0)
	r.batch = nil
	if r.n > 0 {
		p.q.received.Pass(r.n, r.bytes)
		return r.n, nil
	}
	if r.err != nil {
		err = r.err
	}
	return 0, err
}

// read fills the batch with what there is, and looks at twice as many packets at most.
func (p *port) read(fd uintptr) bool {
	r := &p.rx
	defer p.release()
	for looked := 0; r.n < len(r.batch) && looked < 2*len(r.batch); looked++ {
		p.prepare()
		n, _, errno := unix.RawSyscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(&r.iov)), uintptr(len(r.iov)))
		switch errno {
		case 0:
			p.take(int(n))
		case unix.EINTR:
		case unix.EAGAIN:
			return r.n > 0
		case unix.EBADFD:
			r.err = errGone
			return true
		default:
			r.err = os.NewSyscallError("readv", errno)
			return true
		}
		if p.q.d.closed.Load() {
			return true
		}
	}
	return true
}

// prepare sets up memory for one packet.
func (p *port) prepare() {
	r, c := &p.rx, &p.q.d.config
	if r.small == nil {
		if r.small = c.Pool.Get(); r.small != nil {
			r.room = allOf(r.small)
			setIovec(&r.iov[1], r.room)
		} else {
			r.room = nil
			setIovec(&r.iov[1], nil)
		}
	}
	if r.big == nil {
		if r.big = c.Superframes.Get(); r.big != nil {
			r.bigRoom = allOf(r.big)
		} else {
			r.bigRoom = nil
		}
	}
	rest := r.scratch
	if len(r.bigRoom) > len(r.room) {
		rest = r.bigRoom[len(r.room):]
	}
	setIovec(&r.iov[2], rest)
}

// allOf extends an empty buffer to all of its memory and returns that.
func allOf(b *packet.Buffer) []byte {
	room, err := b.Extend(b.Tailroom())
	if err != nil {
		return nil
	}
	return room
}

// release gives back what no packet was read into.
func (p *port) release() {
	r := &p.rx
	for _, b := range []**packet.Buffer{&r.small, &r.big} {
		if *b != nil {
			(*b).Free()
			*b = nil
		}
	}
}

// take puts a packet that was read, header included, into the batch.
func (p *port) take(n int) {
	r := &p.rx
	n -= p.features.headerLen
	var b *packet.Buffer
	switch {
	case n <= 0:
		p.q.received.Errors.Add(1)
		return
	case n <= len(r.room):
		b, r.small = r.small, nil
	case r.small == nil || r.big == nil:
		p.q.received.Dropped.Add(1)
		return
	case n < len(r.bigRoom): // one that fills the buffer may have been cut off
		copy(r.bigRoom, r.room)
		b, r.big = r.big, nil
	default:
		p.q.received.Errors.Add(1)
		return
	}
	if b.Truncate(n) != nil || !p.accept(b) {
		p.q.received.Errors.Add(1)
		b.Free()
		return
	}
	r.batch[r.n] = b
	r.n++
	r.bytes += n
}

// accept reads what the header says about a packet, and reports whether it is one for us.
func (p *port) accept(b *packet.Buffer) bool {
	if p.format.Raw && b.Bytes()[0]>>4 != 4 {
		return false
	}
	return p.features.headerLen == 0 || p.format.Read(p.rx.header[:p.features.headerLen], b) == nil
}

// Send implements [driver.Queue].
func (q *queue) Send(batch []*packet.Buffer) error {
	if q.d.closed.Load() {
		packet.FreeBatch(batch)
		return net.ErrClosed
	}
	return q.port.Load().send(batch)
}

// send is Send for one port.
func (p *port) send(batch []*packet.Buffer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &p.tx
	t.batch, t.at, t.err = batch, 0, nil
	for wait := sendPatience; t.at < len(batch); wait = 0 {
		ok, err := p.conn.Write(wait)
		if err != nil {
			p.abandon(err)
			break
		}
		if !ok {
			p.sent(unix.EAGAIN)
		}
	}
	t.batch = nil
	return t.err
}

// abandon drops what is left of the batch, as nothing more can be sent: the driver was closed, or its device replaced.
func (p *port) abandon(err error) {
	if !p.q.d.closed.Load() {
		err = errGone
	}
	t := &p.tx
	if t.err == nil || errors.Is(err, net.ErrClosed) {
		t.err = err
	}
	for ; t.at < len(t.batch); t.at++ {
		if t.batch[t.at] != nil {
			p.q.sent.Dropped.Add(1)
		}
	}
	packet.FreeBatch(t.batch)
}

// write sends what is left of the batch, and reports false if the device is full.
func (p *port) write(fd uintptr) bool {
	t := &p.tx
	for t.at < len(t.batch) {
		b := t.batch[t.at]
		if b == nil {
			t.at++
			continue
		}
		if err := p.describe(b); err != nil {
			p.refuse(err)
			continue
		}
		setIovec(&t.iov[1], b.Bytes())
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&t.iov)), uintptr(len(t.iov)))
		switch errno {
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
			return false
		default:
			p.sent(errno)
		}
	}
	return true
}

// describe writes the header of a packet.
func (p *port) describe(b *packet.Buffer) error {
	if b.HasVLAN() {
		if !p.features.offloads.Has(packet.OffloadVLAN) {
			return driver.ErrMetadata
		}
		if err := b.InsertVLAN(); err != nil {
			return err
		}
	}
	if p.features.headerLen == 0 {
		if b.IsSuperframe() || b.Checksum() == packet.ChecksumPartial {
			return driver.ErrMetadata
		}
		return nil
	}
	err := p.format.Put(p.tx.header[:p.features.headerLen], b, p.features.offloads)
	if errors.Is(err, vnethdr.ErrOffload) {
		return driver.ErrMetadata
	}
	return err
}

// refuse is done with a packet that is not even tried.
func (p *port) refuse(err error) {
	p.q.sent.Errors.Add(1)
	p.next(err)
}

// sent is done with a packet, as the system says.
func (p *port) sent(errno unix.Errno) {
	var err error
	switch errno {
	case 0:
		p.q.sent.Pass(1, p.tx.batch[p.tx.at].Len())
	case unix.EIO:
		err = errDown
	case unix.EBADFD:
		err = errGone
	case unix.EAGAIN:
		err = errFull
	case unix.EINVAL:
		p.refuse(errRefused)
		return
	default:
		p.refuse(errno)
		return
	}
	if err != nil {
		p.q.sent.Dropped.Add(1)
	}
	p.next(err)
}

// next frees the packet and goes on to the next one.
func (p *port) next(err error) {
	t := &p.tx
	if t.err == nil {
		t.err = err
	}
	t.batch[t.at].Free()
	t.batch[t.at] = nil
	t.at++
}
