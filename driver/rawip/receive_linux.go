package rawip

// Receiving: packets as they are, and the socket's error queue (IP_RECVERR in ip(7)), whose entries become the ICMP packets again that
// they were.

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver/internal/inner"
	"github.com/culvert-net/culvert/driver/internal/ipsocket"
	"github.com/culvert-net/culvert/driver/internal/ring"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// receiver is the receiving half of a queue.
type receiver struct {
	ipsocket.Receiver
	q      *queue
	errs   ipsocket.ErrorQueue
	faulty atomic.Bool // the error queue may have something
}

// open makes the receiver of a socket, which it owns from then on.
func (r *receiver) open(q *queue, fd int) error {
	r.q = q
	r.errs.Init(icmp.MaxQuote, r.takeError)
	return r.Open(q.d.base, fd, ring.Config{Share: q.d.config.Queues}, r, q.tx.write)
}

// Receive implements [driver.Queue].
func (q *queue) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	return q.rx.Receive(batch, wait)
}

// Wait implements [driver.Queue].
func (q *queue) Wait(d time.Duration) error { return q.rx.Wait(d) }

// Fails implements [ipsocket.Unpacker]. The error may be an ICMP error's, which is in the queue.
func (r *receiver) Fails(errno unix.Errno) bool {
	r.faulty.Store(true)
	return errno == unix.ENOMEM || errno == unix.ENOBUFS || errno == unix.ENETDOWN
}

// Others implements [ipsocket.Unpacker].
func (r *receiver) Others() {
	if r.faulty.Swap(false) {
		r.errs.Drain(r.Conn)
	}
}

// Unpack implements [ipsocket.Unpacker].
func (r *receiver) Unpack(i int) {
	size, flags := r.Ring.Received(i)
	b := r.Ring.Buffer(i)
	switch {
	case b == nil:
		r.Counts.Dropped.Add(1)
	case flags&unix.MSG_TRUNC != 0, size < ipv4.HeaderLen:
		r.Counts.Errors.Add(1)
	case size > b.Len():
		if large := r.Long(i, size); large != nil {
			r.AddLong(large, r.mark(large))
		}
	default:
		b = r.Ring.Take(i)
		_ = b.Truncate(size) // it holds as much
		r.mark(b)
		r.Add(b)
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
	return in.Mark(b, header, r.q.d.base.InnerMTU(), 0)
}

// takeError makes an ICMP packet of an error.
func (r *receiver) takeError(why *ipsocket.SendError) {
	if why.Origin != ipsocket.OriginICMP || len(why.Quote) < ipv4.HeaderLen {
		return
	}
	f, ok := icmpOf(why)
	if !ok {
		return
	}
	b := r.q.d.base.Pool.Get()
	if b == nil {
		r.Counts.Dropped.Add(1)
		return
	}
	if !report(b, f, why.Offender, why.Quote) {
		b.Free()
		r.Counts.Dropped.Add(1)
		return
	}
	r.Add(b)
}

// icmpOf returns the header of the ICMP message that was the error.
func icmpOf(why *ipsocket.SendError) (icmp.Fields, bool) {
	switch why.Type {
	case icmp.TypeUnreachable:
		if why.Code == icmp.CodeFragmentationNeeded {
			return icmp.FragmentationNeeded(uint16(min(why.Info, ipsocket.MaxPacket))), true
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
