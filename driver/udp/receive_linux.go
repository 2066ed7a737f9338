package udp

// Receiving: many datagrams in one system call, each into a buffer of the pool, behind room for the headers that the kernel took off.
// What does not fit the buffer, as of datagrams that the kernel has merged, goes into a stage of the queue's own, and is copied.

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/inner"
	"github.com/culvert-net/culvert/driver/internal/ring"
	"github.com/culvert-net/culvert/gso"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	udpheader "github.com/culvert-net/culvert/udp"
)

const (
	headers    = ipv4.HeaderLen + udpheader.HeaderLen
	maxPacket  = 1<<16 - 1
	maxPayload = maxPacket - headers // bytes of a datagram, merged ones included

	rxControl  = 128 // bytes of control messages: addresses, TTL, TOS, segment size, 104 with their headers
	maxReports = 16  // ICMP errors that nobody has fetched yet

	gsoLimit = 64 // datagrams in a merged one; UDP_MAX_SEGMENTS of include/linux/udp.h, 128 since Linux 6.9
)

// receiver is the receiving half of a queue.
type receiver struct {
	d    *Driver
	mu   sync.Mutex // of whoever receives, and of close
	conn *sockets.Conn
	gro  bool

	ring    *ring.Ring
	errno   unix.Errno
	ready   []*packet.Buffer // packets of a merged datagram that the last batch had no room for
	scratch *packet.Buffer   // to cut a superframe in
	reports chan *packet.Buffer

	packets, bytes, dropped, errors atomic.Uint64
	overflow                        sockets.Drops
}

func (r *receiver) open(d *Driver) error {
	options := append(sockets.ReceiveBuffer(d.config.ReceiveBuffer),
		sockets.Option{Level: unix.IPPROTO_IP, Name: unix.IP_PKTINFO, Value: 1, Text: "IP_PKTINFO"},
		sockets.Option{Level: unix.IPPROTO_IP, Name: unix.IP_RECVTTL, Value: 1, Text: "IP_RECVTTL"},
		sockets.Option{Level: unix.IPPROTO_IP, Name: unix.IP_RECVTOS, Value: 1, Text: "IP_RECVTOS"})
	if d.config.Queues > 1 {
		options = append(options, sockets.Option{Level: unix.SOL_SOCKET, Name: unix.SO_REUSEPORT, Value: 1, Text: "Config.Queues: SO_REUSEPORT"})
	}
	fd, err := d.socket(d.config.Port, options)
	if err != nil {
		return err
	}
	r.d = d
	r.gro = !d.config.NoGRO && unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil // Linux 5.0
	r.ring = ring.New(ring.Config{Pool: d.pool, Share: d.config.Queues, Front: headers, Names: true, Control: rxControl})
	r.ready = make([]*packet.Buffer, 0, 2*gsoLimit)
	r.scratch = packet.New(gso.LargeSize)
	r.reports = make(chan *packet.Buffer, maxReports)
	r.conn, err = sockets.New(fd, "udp", r.read, nil)
	if err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	return nil
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
	if r.d.closed.Load() {
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
		ok, err := r.conn.Read(wait)
		if err != nil {
			return 0, err
		}
		if ok && r.errno != 0 {
			return 0, fmt.Errorf("udp: %w", os.NewSyscallError("recvmmsg", r.errno))
		}
		if n := r.take(batch); n > 0 || !ok {
			return n, nil
		}
		if wait > 0 { // all that came was unusable
			wait = max(0, time.Until(end))
		}
	}
}

// take fills batch with packets that have been received, and returns how many there are.
func (r *receiver) take(batch []*packet.Buffer) int {
	n := 0
	for n < len(batch) && len(r.reports) > 0 {
		batch[n] = <-r.reports
		n++
	}
	for n < len(batch) {
		if len(r.ready) == 0 {
			i, ok := r.ring.Next()
			if !ok {
				break
			}
			r.unpack(i)
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
	r.packets.Add(uint64(n))
	r.bytes.Add(uint64(bytes))
	return n
}

// unpack makes the packets that message i has, and puts them where the next batch finds them.
func (r *receiver) unpack(i int) {
	size, flags := r.ring.Received(i)
	var h header
	h.from(r.ring.Name(i), r.ring.Control(i), r.d)
	b := r.ring.Buffer(i)
	if b == nil {
		r.dropped.Add(h.segments(size))
		return
	}
	first := b.Bytes()[headers:]
	in := inner.VXLAN(first[:min(size, len(first))])
	inside := h.segment != 0 && in.Start+in.Length > h.segment // a superframe in the tunnel, not datagrams that were merged
	switch {
	case flags&unix.MSG_TRUNC != 0, h.segment > len(first) && !inside:
		r.errors.Add(h.segments(size))
	case h.segment != 0 && h.segment < size && !inside:
		r.split(b, &h, size, i)
	case size > len(first):
		r.long(b, &h, in, size, i)
	default:
		r.ready = append(r.ready, r.ring.Take(i))
		if !inside {
			h.segment = 0
		}
		r.finish(b, &h, in, size)
	}
}

// finish makes a packet of a buffer that holds size bytes of payload, or more, behind room for the headers.
func (r *receiver) finish(b *packet.Buffer, h *header, in inner.Packet, size int) bool {
	_ = b.Truncate(headers + size) // it holds as much
	h.put((*[headers]byte)(b.Bytes()), size)
	b.SetChecksumVerified() // or absent: the kernel has seen to it
	return in.Mark(b, headers, int(r.d.inner.Load()), h.segment)
}

// long makes a packet of a datagram that is too long for a buffer of the pool: in one for superframes, or if there is none, cut.
func (r *receiver) long(b *packet.Buffer, h *header, in inner.Packet, size, i int) {
	large := r.d.superframes.Get()
	scratch := large == nil
	if scratch {
		large = r.scratch
		large.Reset()
	}
	p, err := large.Extend(headers + size)
	if err != nil {
		r.errors.Add(1)
		large.Free()
		return
	}
	copy(p[headers+copy(p[headers:], b.Bytes()[headers:]):], r.ring.Stage(i))
	switch {
	case !r.finish(large, h, in, size):
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
	b := r.d.pool.Get()
	n := len(r.ready)
	var err error
	if b != nil {
		r.ready, err = gso.Segmenter{Pool: r.d.pool}.Cut(large, gso.Options{Raw: true, Partial: true}, r.ready)
	}
	if b == nil || err != nil || b.CopyFrom(large) != nil {
		packet.FreeBatch(r.ready[n:])
		r.ready = r.ready[:n]
		r.dropped.Add(1)
		if b != nil {
			b.Free()
		}
		return
	}
	r.ready[n] = b // instead of large, which is the queue's own
}

// split makes a packet of each segment of the merged datagram i: the first in b, where it is, the others in buffers of their own.
func (r *receiver) split(b *packet.Buffer, h *header, size, i int) {
	first, rest := b.Bytes()[headers:], r.ring.Stage(i)
	segment := h.segment
	h.segment = 0
	r.ready = append(r.ready, r.ring.Take(i))
	for at := segment; at < size; at += segment {
		n := min(segment, size-at)
		c := r.d.pool.Get()
		if c == nil {
			r.dropped.Add(uint64((size - at + segment - 1) / segment))
			break
		}
		p, err := c.Extend(headers + n)
		if err != nil { // the pool's buffers are of different sizes
			c.Free()
			r.errors.Add(1)
			continue
		}
		p = p[headers:]
		if at < len(first) {
			m := copy(p, first[at:])
			copy(p[m:], rest)
		} else {
			copy(p, rest[at-len(first):])
		}
		r.finish(c, h, inner.VXLAN(p), n)
		r.ready = append(r.ready, c)
	}
	r.finish(b, h, inner.VXLAN(first[:segment]), segment) // only now, as it held what was to be copied
}

// header is what the kernel says of a datagram beside its bytes.
type header struct {
	src, dst [4]byte
	port     uint16 // of the source
	toPort   uint16
	ttl, tos uint8
	segment  int // payload bytes of each of the datagrams that this one was merged of; 0 if it was not
}

// segments returns how many datagrams one with size bytes of payload stands for.
func (h *header) segments(size int) uint64 {
	if h.segment == 0 {
		return 1
	}
	return uint64(max((size+h.segment-1)/h.segment, 1))
}

// from reads the addresses and control messages of a datagram.
func (h *header) from(name *unix.RawSockaddrInet4, control []byte, d *Driver) {
	*h = header{src: name.Addr, dst: d.local, port: order(name.Port), toPort: d.config.Port, ttl: ipv4.DefaultTTL}
	for {
		c, data, rest := sockets.NextControl(control)
		if c == nil {
			return
		}
		control = rest
		switch {
		case c.Level == unix.IPPROTO_IP && c.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			h.dst = [4]byte(data[8:12]) // ipi_addr: the header's destination
		case c.Level == unix.IPPROTO_IP && c.Type == unix.IP_TTL && len(data) >= 4:
			h.ttl = uint8(binary.NativeEndian.Uint32(data))
		case c.Level == unix.IPPROTO_IP && c.Type == unix.IP_TOS && len(data) >= 1:
			h.tos = data[0]
		case c.Level == unix.IPPROTO_UDP && c.Type == unix.UDP_GRO && len(data) >= 4:
			h.segment = int(binary.NativeEndian.Uint32(data))
		}
	}
}

// put writes the headers of a datagram with size bytes of payload.
func (h *header) put(p *[headers]byte, size int) {
	const (
		versionIHL = 0x45
		dontFrag   = uint16(ipv4.DontFragment) << 13 // an atomic datagram, whose identification of 0 means nothing (RFC 6864)
	)
	p[0], p[1] = versionIHL, h.tos
	binary.BigEndian.PutUint16(p[2:], uint16(headers+size))
	binary.BigEndian.PutUint16(p[4:], 0)
	binary.BigEndian.PutUint16(p[6:], dontFrag)
	p[8], p[9] = h.ttl, ipv4.ProtocolUDP
	binary.BigEndian.PutUint16(p[10:], 0)
	copy(p[12:16], h.src[:])
	copy(p[16:20], h.dst[:])
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum20((*[ipv4.HeaderLen]byte)(p[:])))
	binary.BigEndian.PutUint16(p[20:], h.port)
	binary.BigEndian.PutUint16(p[22:], h.toPort)
	binary.BigEndian.PutUint16(p[24:], uint16(udpheader.HeaderLen+size))
	binary.BigEndian.PutUint16(p[26:], 0)
}

// order turns a port between the machine's and the network's byte order.
func order(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// report hands a packet that the driver made to whoever receives; it is dropped if too many wait.
func (r *receiver) report(b *packet.Buffer) {
	select {
	case r.reports <- b:
		r.conn.Interrupt()
	default:
		b.Free()
		r.dropped.Add(1)
	}
}

// addTo adds the counters.
func (r *receiver) addTo(s *driver.Stats) {
	s.RxPackets += r.packets.Load()
	s.RxBytes += r.bytes.Load()
	s.RxErrors += r.errors.Load()
	s.RxDropped += r.dropped.Load() + r.overflow.Count(r.conn)
}

// close ends what waits, and gives back the buffers.
func (r *receiver) close() error {
	if r.conn == nil {
		return nil
	}
	r.overflow.Count(r.conn)
	err := r.conn.Close()
	r.mu.Lock() // of a Receive that waited
	defer r.mu.Unlock()
	r.ring.Free()
	packet.FreeBatch(r.ready)
	r.ready = r.ready[:0]
	for len(r.reports) > 0 {
		(<-r.reports).Free()
	}
	return err
}
