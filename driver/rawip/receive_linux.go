package rawip

// Receiving: many packets in one system call, each into a buffer of the pool, and the socket's error queue (IP_RECVERR in ip(7)), whose
// entries become the ICMP packets again that they were.

import (
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/inner"
	"github.com/culvert-net/culvert/driver/internal/ring"
	"github.com/culvert-net/culvert/gso"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

const (
	maxPacket = 1<<16 - 1

	errorControl = 128 // bytes: the error with who sent it, 16+16+16 with its header
)

// receiver is the receiving half of a queue.
type receiver struct {
	q    *queue
	mu   sync.Mutex // of whoever receives, and of close
	ring *ring.Ring

	errno   unix.Errno
	ready   []*packet.Buffer // that the last batch had no room for
	scratch *packet.Buffer   // to cut a superframe in

	errs    *sockets.Batch
	quote   []byte
	readErr func(fd int) error
	faulty  atomic.Bool // the error queue may have something

	packets, bytes, dropped, errors atomic.Uint64
	overflow                        sockets.Drops
}

func (r *receiver) init(q *queue) {
	r.q = q
	r.ring = ring.New(ring.Config{Pool: q.d.pool, Share: q.d.config.Queues})
	r.ready = make([]*packet.Buffer, 0, 2*driver.BatchSize)
	r.scratch = packet.New(gso.LargeSize)
	r.errs = sockets.NewBatch(1, true, errorControl)
	r.quote = make([]byte, icmp.MaxQuote)
	r.errs.Set(0, r.quote)
	r.readErr = r.readErrors
}

// read is what the connection calls when there may be something to read.
func (r *receiver) read(fd uintptr) bool {
	r.errno = r.ring.Receive(fd)
	return r.errno != unix.EAGAIN
}

// Receive implements [driver.Queue].
func (q *queue) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	r := &q.rx
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.d.closed.Load() {
		return 0, net.ErrClosed
	}
	if n := r.take(batch); n > 0 || len(batch) == 0 {
		return n, nil
	}
	var end time.Time
	if wait > 0 {
		end = time.Now().Add(wait)
	}
	for {
		r.ring.Prepare(len(batch))
		ok, err := q.conn.Read(wait)
		if err != nil {
			return 0, err
		}
		if ok && r.errno != 0 {
			r.faulty.Store(true) // it may be an ICMP error's, which is in the queue
		}
		n := r.take(batch)
		switch {
		case n > 0 || !ok:
			return n, nil
		case r.errno == unix.ENOMEM || r.errno == unix.ENOBUFS || r.errno == unix.ENETDOWN:
			return 0, fmt.Errorf("rawip: %w", os.NewSyscallError("recvmmsg", r.errno))
		case wait > 0: // all that came was unusable
			wait = max(0, time.Until(end))
		}
	}
}

// take fills batch with packets that have been received, and returns how many there are.
func (r *receiver) take(batch []*packet.Buffer) int {
	if r.faulty.Swap(false) {
		_ = r.q.conn.Control(r.readErr) // closed: nothing to read
	}
	n := 0
	for n < len(batch) {
		if len(r.ready) > 0 {
			m := copy(batch[n:], r.ready)
			n += m
			r.ready = r.ready[:copy(r.ready, r.ready[m:])]
			continue
		}
		i, ok := r.ring.Next()
		if !ok {
			break
		}
		r.unpack(i)
	}
	bytes := 0
	for _, b := range batch[:n] {
		bytes += b.Len()
	}
	r.packets.Add(uint64(n))
	r.bytes.Add(uint64(bytes))
	return n
}

// unpack makes the packet of message i, and puts it where the next batch finds it.
func (r *receiver) unpack(i int) {
	size, flags := r.ring.Received(i)
	b := r.ring.Buffer(i)
	switch {
	case b == nil:
		r.dropped.Add(1)
	case flags&unix.MSG_TRUNC != 0, size < ipv4.HeaderLen:
		r.errors.Add(1)
	case size > b.Len():
		r.long(b, size, i)
	default:
		b = r.ring.Take(i)
		_ = b.Truncate(size) // it holds as much
		r.mark(b)
		r.ready = append(r.ready, b)
	}
}

// mark puts into the metadata what the kernel does not say of a tunnelled packet, and reports whether there is a way to say it.
func (r *receiver) mark(b *packet.Buffer) bool {
	p := b.Bytes()
	header := int(p[0]&0xf) * 4
	if p[9] != ipip.Protocol || len(p) < header+ipv4.HeaderLen {
		return true
	}
	in := inner.IPIP(p[header:])
	return in.Mark(b, header, int(r.q.d.inner.Load()), 0)
}

// long makes a packet of one that is too long for a buffer of the pool: in one for superframes, or if there is none, cut.
func (r *receiver) long(b *packet.Buffer, size, i int) {
	large := r.q.d.superframes.Get()
	scratch := large == nil
	if scratch {
		large = r.scratch
		large.Reset()
	}
	p, err := large.Extend(size)
	if err != nil {
		r.errors.Add(1)
		large.Free()
		return
	}
	copy(p[copy(p, b.Bytes()):], r.ring.Stage(i))
	switch {
	case !r.mark(large):
		r.errors.Add(1)
		large.Free()
	case scratch:
		r.cut(large)
	default:
		r.ready = append(r.ready, large)
	}
}

// cut puts the segments of a superframe into buffers of the pool.
func (r *receiver) cut(large *packet.Buffer) {
	if !large.IsSuperframe() {
		r.errors.Add(1) // there is no buffer that holds it
		return
	}
	n := len(r.ready)
	b := r.q.d.pool.Get()
	if b == nil {
		r.dropped.Add(1)
		return
	}
	var err error
	r.ready, err = gso.Segmenter{Pool: r.q.d.pool}.Cut(large, gso.Options{Raw: true, Partial: true}, r.ready)
	if err != nil || b.CopyFrom(large) != nil {
		packet.FreeBatch(r.ready[n:])
		r.ready = r.ready[:n]
		r.dropped.Add(1)
		b.Free()
		return
	}
	r.ready[n] = b // instead of large, which is the queue's own
}

// readErrors reads the error queue.
func (r *receiver) readErrors(fd int) error {
	for {
		if _, errno := r.errs.ReceiveErrors(uintptr(fd), 1); errno != 0 {
			return nil
		}
		r.takeError()
	}
}

// takeError makes an ICMP packet of the error that was read.
func (r *receiver) takeError() {
	var why *unix.SockExtendedErr
	var from [4]byte
	const (
		errorLen   = int(unsafe.Sizeof(unix.SockExtendedErr{}))
		addrAt     = errorLen + 4 // sin_addr of the struct sockaddr_in behind it (SO_EE_OFFENDER)
		originICMP = 2            // SO_EE_ORIGIN_ICMP of include/uapi/linux/errqueue.h
	)
	for control := r.errs.Control(0); ; {
		h, data, rest := sockets.NextControl(control)
		if h == nil {
			break
		}
		control = rest
		if h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR && len(data) >= addrAt+4 {
			why = (*unix.SockExtendedErr)(unsafe.Pointer(unsafe.SliceData(data)))
			from = [4]byte(data[addrAt:])
		}
	}
	n, _ := r.errs.Received(0)
	n = min(n, len(r.quote))
	if why == nil || why.Origin != originICMP || n < ipv4.HeaderLen {
		return
	}
	f, ok := icmpOf(why)
	if !ok {
		return
	}
	b := r.q.d.pool.Get()
	if b == nil {
		r.dropped.Add(1)
		return
	}
	if !report(b, f, from, r.quote[:n]) {
		b.Free()
		r.dropped.Add(1)
		return
	}
	r.ready = append(r.ready, b)
}

// icmpOf returns the header of the ICMP message that was the error.
func icmpOf(why *unix.SockExtendedErr) (icmp.Fields, bool) {
	switch why.Type {
	case icmp.TypeUnreachable:
		if why.Code == icmp.CodeFragmentationNeeded {
			return icmp.FragmentationNeeded(uint16(min(why.Info, maxPacket))), true
		}
		return icmp.Unreachable(why.Code), true
	case icmp.TypeTimeExceeded:
		return icmp.TimeExceeded(why.Code), true
	case icmp.TypeParameterProblem:
		return icmp.ParameterProblem(uint8(why.Info)), true
	}
	return icmp.Fields{}, false
}

// report writes an ICMP error about a packet into an empty buffer.
func report(b *packet.Buffer, f icmp.Fields, from [4]byte, quote []byte) bool {
	p, err := b.Extend(ipv4.HeaderLen + icmp.HeaderLen + len(quote))
	if err != nil {
		return false
	}
	ip := ipv4.Fields{TTL: ipv4.DefaultTTL, Protocol: ipv4.ProtocolICMP, Src: from, Dst: [4]byte(quote[12:]), Flags: ipv4.DontFragment}
	if _, err := ip.Put(p, icmp.HeaderLen+len(quote)); err != nil {
		return false
	}
	f.AppendError(p[:ipv4.HeaderLen], quote)
	return true
}

// addTo adds the counters.
func (r *receiver) addTo(s *driver.Stats) {
	s.RxPackets += r.packets.Load()
	s.RxBytes += r.bytes.Load()
	s.RxErrors += r.errors.Load()
	s.RxDropped += r.dropped.Load() + r.overflow.Count(r.q.conn)
}
