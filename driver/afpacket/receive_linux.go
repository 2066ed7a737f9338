package afpacket

// Receiving: frames are copied from the ring into buffers. The ring is the kernel's and ours by turns, slot by slot.

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/count"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/internal/vnethdr"
	"github.com/culvert-net/culvert/packet"
)

// queue is a socket to receive by and one to send by. It implements [driver.Queue].
type queue struct {
	d    *Driver
	bell bell
	in   input
	out  output

	interrupted atomic.Bool

	life sync.Mutex // who closes a socket holds it, and who uses one beside Receive
	next *rx        // takes the place of the input's socket
	news atomic.Bool

	received, sent count.Packets
}

// input is what Receive works with; its lock is held by the one that runs, not while he waits.
type input struct {
	mu   sync.Mutex
	rx   *rx
	long *sockets.Batch
	vnet [vnethdr.Len]byte
	pace pace
	rung atomic.Bool // the bell may have rung, and is to be disarmed
}

// newQueue opens the sockets of a queue.
func newQueue(d *Driver, mtu int) (*queue, error) {
	q := &queue{d: d}
	q.in.long = sockets.NewGather(1, 2, false, 0)
	if err := q.bell.open(); err != nil {
		return nil, err
	}
	var err error
	if q.in.rx, err = openRX(d.conf.Slots, mtu, d.filter); err != nil {
		q.bell.close()
		return nil, err
	}
	if err := errors.Join(q.bell.add(q.in.rx.fd), q.out.open()); err != nil {
		q.bell.close()
		q.in.rx.close()
		return nil, err
	}
	return q, nil
}

// with calls f with the socket that frames come by, or will as soon as Receive looks.
func (q *queue) with(f func(r *rx) error) error {
	q.life.Lock()
	defer q.life.Unlock()
	if q.next != nil {
		return f(q.next)
	}
	return f(q.in.rx)
}

// bind binds the queue's sockets to a device.
func (q *queue) bind(index int, promisc bool) error {
	return errors.Join(
		q.with(func(r *rx) error { return r.bind(index, promisc) }),
		q.out.bind(index))
}

// join adds the queue to a group, see [rx.join].
func (q *queue) join(group int) (int, error) {
	err := q.with(func(r *rx) (err error) {
		group, err = r.join(group)
		return err
	})
	return group, err
}

// attach sets the filter.
func (q *queue) attach(program []bpf.RawInstruction) error {
	return q.with(func(r *rx) error { return attach(r.fd, program) })
}

// replace opens a new socket to receive by, and has Receive go over to it.
func (q *queue) replace(mtu int) error {
	return q.d.space.do(func() error {
		r, err := openRX(q.d.conf.Slots, mtu, q.d.filter)
		if err != nil {
			return err
		}
		if err := q.bell.add(r.fd); err != nil {
			r.close()
			return err
		}
		q.life.Lock()
		defer q.life.Unlock()
		if q.next != nil {
			q.next.close()
		}
		q.next = r
		q.news.Store(true)
		q.bell.ring()
		return nil
	})
}

// Interrupt implements [driver.Queue].
func (q *queue) Interrupt() {
	q.interrupted.Store(true)
	q.bell.ring()
}

// close ends the queue when the driver is marked as closed.
func (q *queue) close() {
	q.out.close()
	q.in.mu.Lock()
	defer q.in.mu.Unlock()
	q.bell.close()
	q.adopt()
	q.life.Lock()
	defer q.life.Unlock()
	q.received.Dropped.Add(q.in.rx.drops())
	q.in.rx.close()
	q.in.rx = nil
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
	for n == 0 && err == nil && !q.interrupted.Swap(false) {
		left := wait
		if wait > 0 {
			if left = time.Until(end); left <= 0 {
				break
			}
		}
		if err = q.await(left); err == nil {
			n, err = q.receive(batch)
		}
	}
	return n, err
}

// receive is Receive with no wait.
func (q *queue) receive(batch []*packet.Buffer) (int, error) {
	q.in.mu.Lock()
	defer q.in.mu.Unlock()
	if q.d.closed.Load() {
		return 0, net.ErrClosed
	}
	q.adopt()
	fault := q.in.rung.Load() && q.in.rung.Swap(false) && q.bell.disarm(q.in.rx.fd)
	n := q.take(batch)
	q.in.pace.count(n)
	if fault && n == 0 {
		return 0, q.fault()
	}
	return n, nil
}

// Wait implements [driver.Queue].
func (q *queue) Wait(d time.Duration) error {
	if q.d.closed.Load() {
		return net.ErrClosed
	}
	if d == 0 || q.interrupted.Swap(false) {
		return nil
	}
	err := q.await(d)
	q.interrupted.Store(false)
	return err
}

// adopt goes over to another socket if there is one.
func (q *queue) adopt() {
	if !q.news.Load() {
		return
	}
	q.life.Lock()
	defer q.life.Unlock()
	q.received.Dropped.Add(q.in.rx.drops())
	q.in.rx.close()
	q.in.rx, q.next = q.next, nil
	q.news.Store(false)
}

// take fills batch with frames that are there.
func (q *queue) take(batch []*packet.Buffer) int {
	r := q.in.rx
	ready := r.ready(len(batch))
	if ready == 0 {
		return 0
	}
	batch = batch[:ready]
	got := q.d.pool.GetBatch(batch)
	if got == 0 { // what waits is old by the time there are buffers again
		for range ready {
			q.discard()
		}
		return 0
	}
	n, bytes := 0, 0
	for range got {
		if q.copy(batch[n]) {
			bytes += batch[n].Len()
			n++
		}
	}
	packet.FreeBatch(batch[n:got])
	q.received.Pass(n, bytes)
	return n
}

// ready returns how many frames are in the ring, up to most.
func (r *rx) ready(most int) int {
	n := 0
	for n < most && n <= r.mask && atomic.LoadUint32(&r.header(r.at+n).Status)&unix.TP_STATUS_USER != 0 {
		n++
	}
	return n
}

// header returns the header of a slot. Its other fields are ours to read when its status, read atomically, says so.
func (r *rx) header(i int) *unix.Tpacket2Hdr {
	return (*unix.Tpacket2Hdr)(unsafe.Pointer(&r.ring[(i&r.mask)*r.slot]))
}

// give gives the next slot back to the kernel.
func (r *rx) give() {
	atomic.StoreUint32(&r.header(r.at).Status, unix.TP_STATUS_KERNEL)
	r.at++
}

// discard drops the next frame, for lack of a buffer.
func (q *queue) discard() {
	r := q.in.rx
	if r.header(r.at).Status&unix.TP_STATUS_COPY != 0 {
		q.in.long.Set(0, q.in.vnet[:])
		_, _ = q.in.long.Receive(uintptr(r.fd), 1)
	}
	r.give()
	q.received.Dropped.Add(1)
}

// copy copies the next frame and what is known about it into b, which is empty and stays so if it reports false.
func (q *queue) copy(b *packet.Buffer) bool {
	r := q.in.rx
	h := r.header(r.at)
	defer r.give()
	fault := &q.received.Errors
	ok := false
	vnet := q.in.vnet[:]
	switch {
	case h.Status&unix.TP_STATUS_COPY != 0:
		ok = q.copyLong(b)
	case h.Snaplen < h.Len: // longer than a slot, and the socket was full
		fault = &q.received.Dropped
	default:
		at := (r.at&r.mask)*r.slot + int(h.Mac)
		vnet = r.ring[at-vnethdr.Len : at]
		ok = b.SetBytes(r.ring[at:at+int(h.Snaplen)]) == nil
	}
	if ok && (vnethdr.Format{}).Read(vnet, b) != nil {
		ok = false
	}
	if !ok {
		b.Reset()
		fault.Add(1)
		return false
	}
	if h.Status&unix.TP_STATUS_VLAN_VALID != 0 {
		b.SetVLAN(tagOf(h))
	}
	return true
}

// copyLong copies a frame that is longer than a slot, with its virtio-net header, from the socket.
func (q *queue) copyLong(b *packet.Buffer) bool {
	room, err := b.Extend(b.Tailroom())
	if err != nil {
		return false
	}
	q.in.long.Set(0, q.in.vnet[:])
	q.in.long.Append(0, room)
	if n, _ := q.in.long.Receive(uintptr(q.in.rx.fd), 1); n != 1 {
		return false
	}
	n, flags := q.in.long.Received(0)
	return flags&unix.MSG_TRUNC == 0 && n >= vnethdr.Len && b.Truncate(n-vnethdr.Len) == nil
}

// tagOf returns the VLAN tag that the kernel took out of a frame.
func tagOf(h *unix.Tpacket2Hdr) ethernet.Tag {
	t := ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: ethernet.TCI(h.Vlan_tci)}
	if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		t.TPID = h.Vlan_tpid
	}
	return t
}

// await waits until there may be frames, or something else has happened, or the time is over.
func (q *queue) await(wait time.Duration) error {
	ready, hasty, err := q.prepare()
	switch {
	case ready || err != nil:
		return err
	case hasty:
		return doze(wait)
	}
	err = q.bell.wait(wait)
	q.in.rung.Store(true)
	return err
}

// prepare has the bell ring for the next frame. It reports ready if there is one already, and hasty if they come too fast to ring for
// each.
func (q *queue) prepare() (ready, hasty bool, err error) {
	q.in.mu.Lock()
	defer q.in.mu.Unlock()
	if q.d.closed.Load() {
		return false, false, net.ErrClosed
	}
	q.adopt()
	if q.in.rx.ready(1) > 0 {
		return true, false, nil
	}
	if q.in.pace.fast(time.Now()) {
		return false, true, nil
	}
	return false, false, q.bell.arm(q.in.rx.fd)
}

// fault returns what has gone wrong with the socket.
func (q *queue) fault() error {
	errno, err := unix.GetsockoptInt(q.in.rx.fd, unix.SOL_SOCKET, unix.SO_ERROR) // which clears it
	switch {
	case err != nil:
		return err
	case unix.Errno(errno) == unix.ENETDOWN:
		if q.d.device.Load().Up { // it was down, while nobody looked
			return nil
		}
		return errDown
	case errno != 0:
		return unix.Errno(errno)
	}
	return nil
}

// doze waits for a moment.
func doze(wait time.Duration) error {
	if wait < 0 || wait > nap {
		wait = nap
	}
	return poll(nil, wait)
}

// poll is ppoll(2).
func poll(fds []unix.PollFd, wait time.Duration) error {
	limit := unix.NsecToTimespec(int64(wait))
	_, err := unix.Ppoll(fds, &limit, nil)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

// pace says whether frames come so fast that waiting for each costs more than it gains: where the ring is emptied faster than it fills,
// each frame wakes the receiver up, for a microsecond or two of the sender's time. Then one does not wait for frames but for a moment,
// which is too short to fill a ring.
type pace struct {
	frames int
	start  time.Time
	is     bool
}

const (
	nap       = 30 * time.Microsecond // the kernel makes about 80 of that
	window    = time.Millisecond      // to measure the rate over
	fastFrame = 20 * time.Microsecond // less than that between frames is fast
)

func (p *pace) count(n int) { p.frames += n }

// fast is called before each wait.
func (p *pace) fast(now time.Time) bool {
	if passed := now.Sub(p.start); passed >= window {
		p.is = p.frames > int(passed/fastFrame)
		p.frames, p.start = 0, now
	}
	return p.is
}

// addStats adds the queue's counters.
func (q *queue) addStats(s *driver.Stats) {
	q.life.Lock()
	if q.in.rx != nil {
		q.received.Dropped.Add(q.in.rx.drops())
	}
	q.life.Unlock()
	q.received.AddReceived(s)
	q.sent.AddSent(s)
}
