package rawip

// Sending: packets go to the kernel as they are, many at a time.

import (
	"encoding/binary"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/ipsocket"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

const (
	txMessages = driver.BatchSize
	none       = -1
)

// sender is the sending half of a queue.
type sender struct {
	ipsocket.Sender
	q     *queue
	mu    sync.Mutex
	batch *sockets.Batch

	lengths  [txMessages]int // of the messages
	outgoing ipsocket.Outgoing
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
	if q.d.base.Closed() {
		return net.ErrClosed
	}
	s.Begin()
	for rest := batch; len(rest) > 0; {
		n := s.fill(rest)
		rest = rest[n:]
		s.flush()
	}
	for i := range txMessages {
		s.batch.Clear(i)
	}
	return s.Err()
}

// fill makes messages of packets, as many as there is room for, and returns how many entries of the batch it has looked at.
func (s *sender) fill(batch []*packet.Buffer) int {
	o := &s.outgoing
	*o = ipsocket.Outgoing{}
	for i, b := range batch {
		if o.To == txMessages {
			return i
		}
		if b == nil {
			continue
		}
		p, err := whole(b)
		if err != nil {
			s.Fail(err)
			s.Counts.Errors.Add(1)
			continue
		}
		s.batch.Set(o.To, p)
		name := s.batch.Name(o.To)
		name.Family, name.Addr = unix.AF_INET, [4]byte(p[16:])
		s.lengths[o.To] = b.Len()
		o.To++
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
func (s *sender) write(fd uintptr) bool { return s.outgoing.Send(s.batch, fd) }

// flush sends the messages.
func (s *sender) flush() {
	o, retried := &s.outgoing, none
	for o.From < o.To {
		before := o.From
		o.Errno = 0
		ok, err := s.Write(s.q.rx.Conn)
		s.sent(before, o.From)
		switch {
		case err != nil:
			s.Fail(err)
			o.From = o.To
		case !ok:
			s.Lose(o.To-o.From, unix.EAGAIN)
			o.From = o.To
		case o.Errno == 0:
		case retried != o.From: // the error may be about something sent before, as ICMP had it
			retried = o.From
			s.q.rx.faulty.Store(true)
			s.q.rx.Interrupt()
		default:
			s.Fail(o.Errno)
			s.Lose(1, o.Errno)
			o.From++
		}
	}
}

// sent counts the messages from to to as sent.
func (s *sender) sent(from, to int) {
	bytes := 0
	for _, n := range s.lengths[from:to] {
		bytes += n
	}
	s.Counts.Pass(to-from, bytes)
}

// wait returns when no Send is under way.
func (s *sender) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
}
