package rawip

// Sending: packets go to the kernel as they are, many at a time.

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

const (
	txMessages = driver.BatchSize
	patience   = 2 * time.Millisecond // how long a Send waits in all for a socket that is full
	none       = -1
)

// sender is the sending half of a queue.
type sender struct {
	q     *queue
	mu    sync.Mutex
	batch *sockets.Batch

	lengths  [txMessages]int // of the messages
	from, to int             // those that are to be sent
	errno    unix.Errno
	patience time.Duration
	first    error // what Send returns

	packets, bytes, dropped, errors atomic.Uint64
}

func (s *sender) init(q *queue) {
	s.q = q
	s.batch = sockets.NewBatch(txMessages, true, 0)
}

// Send implements [driver.Queue].
func (q *queue) Send(batch []*packet.Buffer) error {
	s := &q.tx
	s.mu.Lock()
	defer s.mu.Unlock()
	defer packet.FreeBatch(batch)
	if q.d.closed.Load() {
		return net.ErrClosed
	}
	s.patience, s.first = patience, nil
	for rest := batch; len(rest) > 0; {
		n := s.fill(rest)
		rest = rest[n:]
		s.flush()
	}
	for i := range txMessages {
		s.batch.Clear(i)
	}
	return s.first
}

// fail keeps the first error for Send to return.
func (s *sender) fail(err error) {
	if s.first == nil {
		s.first = err
	}
}

// fill makes messages of packets, as many as there is room for, and returns how many entries of the batch it has looked at.
func (s *sender) fill(batch []*packet.Buffer) int {
	s.from, s.to = 0, 0
	for i, b := range batch {
		if s.to == txMessages {
			return i
		}
		if b == nil {
			continue
		}
		p, err := whole(b)
		if err != nil {
			s.fail(err)
			s.errors.Add(1)
			continue
		}
		s.batch.Set(s.to, p)
		name := s.batch.Name(s.to)
		name.Family, name.Addr = unix.AF_INET, [4]byte(p[16:])
		s.lengths[s.to] = b.Len()
		s.to++
	}
	return len(batch)
}

// whole returns the IPv4 packet in a buffer.
func whole(b *packet.Buffer) ([]byte, error) {
	p := b.Bytes()
	if b.HasVLAN() || b.IsSuperframe() || b.Checksum() == packet.ChecksumPartial {
		return nil, driver.ErrMetadata
	}
	if len(p) < ipv4.HeaderLen || p[0]>>4 != 4 {
		return nil, ErrNotIPv4
	}
	header, total := int(p[0]&0xf)*4, int(binary.BigEndian.Uint16(p[2:]))
	if header < ipv4.HeaderLen || total < header || total > len(p) {
		return nil, ErrNotIPv4
	}
	return p[:total], nil
}

// write is what the connection calls when there is room for something.
func (s *sender) write(fd uintptr) bool {
	for s.from < s.to {
		n, errno := s.batch.Send(fd, s.from, s.to)
		if errno == unix.EAGAIN {
			return false
		}
		if errno != 0 {
			s.errno = errno
			return true
		}
		s.from += n
	}
	return true
}

// flush sends the messages.
func (s *sender) flush() {
	retried := none
	for s.from < s.to {
		before := s.from
		s.errno = 0
		ok, err := s.q.conn.Write(s.patience)
		s.sent(before, s.from)
		switch {
		case err != nil:
			s.fail(err)
			s.from = s.to
		case !ok:
			s.patience = 0
			s.fail(driver.ErrFull)
			s.dropped.Add(uint64(s.to - s.from))
			s.from = s.to
		case s.errno == 0:
		case retried != s.from: // the error may be about something sent before, as ICMP had it
			retried = s.from
			s.q.rx.faulty.Store(true)
			s.q.conn.Interrupt()
		default:
			s.fail(s.errno)
			s.lose(s.errno)
			s.from++
		}
	}
}

// sent counts the messages from to to as sent.
func (s *sender) sent(from, to int) {
	bytes := 0
	for _, n := range s.lengths[from:to] {
		bytes += n
	}
	s.packets.Add(uint64(to - from))
	s.bytes.Add(uint64(bytes))
}

// lose counts a packet as not sent: for lack of room or of a way, or since there is something wrong with it.
func (s *sender) lose(errno unix.Errno) {
	switch errno {
	case unix.ENOBUFS, unix.ENOMEM, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENODEV, unix.ENXIO:
		s.dropped.Add(1)
	default:
		s.errors.Add(1)
	}
}

// addTo adds the counters.
func (s *sender) addTo(t *driver.Stats) {
	t.TxPackets += s.packets.Load()
	t.TxBytes += s.bytes.Load()
	t.TxDropped += s.dropped.Load()
	t.TxErrors += s.errors.Load()
}
