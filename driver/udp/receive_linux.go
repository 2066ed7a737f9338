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

	rxMessages = driver.BatchSize
	rxControl  = 128     // bytes of control messages: addresses, TTL, TOS, segment size, 104 with their headers
	stageSize  = 1 << 16 // of each message, in memory only where a long datagram came
	maxReports = 16      // ICMP errors that nobody has fetched yet

	gsoLimit = 64 // datagrams in a merged one; UDP_MAX_SEGMENTS of include/linux/udp.h, 128 since Linux 6.9
)

// receiver is the receiving half of a queue.
type receiver struct {
	d    *Driver
	mu   sync.Mutex // of whoever receives, and of close
	conn *sockets.Conn
	gro  bool
	most int // messages at a time: queues that wait keep as many buffers

	batch   *sockets.Batch
	stage   []byte
	buffers [rxMessages]*packet.Buffer // message i begins in it
	spare   [rxMessages]*packet.Buffer

	want, got, next int // messages: asked for, received, the first that is not taken
	errno           unix.Errno
	ready           []*packet.Buffer // packets of a merged datagram that the last batch had no room for
	scratch         *packet.Buffer   // to cut a superframe in
	reports         chan *packet.Buffer

	packets, bytes, dropped, errors atomic.Uint64
	overflow                        overflow
}

// overflow counts what the socket dropped: the kernel's number has 32 bits.
type overflow struct {
	mu    sync.Mutex
	last  uint32
	total uint64
}

func (r *receiver) open(d *Driver) error {
	options := append(bufferOptions(unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, d.config.ReceiveBuffer),
		option{unix.IPPROTO_IP, unix.IP_PKTINFO, 1, "IP_PKTINFO", false},
		option{unix.IPPROTO_IP, unix.IP_RECVTTL, 1, "IP_RECVTTL", false},
		option{unix.IPPROTO_IP, unix.IP_RECVTOS, 1, "IP_RECVTOS", false})
	if d.config.Queues > 1 {
		options = append(options, option{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, "Config.Queues: SO_REUSEPORT", false})
	}
	fd, err := d.socket(d.config.Port, options)
	if err != nil {
		return err
	}
	r.d = d
	r.most = min(max(d.pool.Len()/(2*d.config.Queues), 1), rxMessages)                          // half of the pool is for who holds packets
	r.gro = !d.config.NoGRO && unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil // Linux 5.0
	r.batch = sockets.NewGather(rxMessages, 2, true, rxControl)
	r.stage = make([]byte, rxMessages*stageSize)
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
	r.got, r.errno = r.batch.Receive(fd, r.want)
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
		r.prepare(len(batch))
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

// prepare sets the memory for up to n messages. When there is no buffer one is received all the same, and dropped, as otherwise nobody
// could wait for the next.
func (r *receiver) prepare(n int) {
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
	spare := r.spare[:r.d.pool.GetBatch(r.spare[:missing])]
	last := rxMessages - 1
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
		r.batch.Set(0, r.stageOf(0))
	}
}

// place has message i received into a buffer, whose bytes are all of its room.
func (r *receiver) place(i int, b *packet.Buffer) {
	r.buffers[i] = b
	r.batch.Set(i, b.Bytes()[headers:]) // so much there is: Config.Pool was checked
	r.batch.Append(i, r.stageOf(i))
}

func (r *receiver) stageOf(i int) []byte { return r.stage[i*stageSize:][:stageSize] }

// take fills batch with packets that have been received, and returns how many there are.
func (r *receiver) take(batch []*packet.Buffer) int {
	n := 0
	for n < len(batch) && len(r.reports) > 0 {
		batch[n] = <-r.reports
		n++
	}
	for n < len(batch) {
		if len(r.ready) == 0 {
			if r.next >= r.got {
				break
			}
			r.unpack(r.next)
			r.next++
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
	size, flags := r.batch.Received(i)
	var h header
	h.from(r.batch.Name(i), r.batch.Control(i), r.d)
	b := r.buffers[i]
	if b == nil {
		r.dropped.Add(h.segments(size))
		return
	}
	first := b.Bytes()[headers:]
	in := innerOf(first[:min(size, len(first))])
	inside := h.segment != 0 && in.start+in.length > h.segment // a superframe in the tunnel, not datagrams that were merged
	switch {
	case flags&unix.MSG_TRUNC != 0, h.segment > len(first) && !inside:
		r.errors.Add(h.segments(size))
	case h.segment != 0 && h.segment < size && !inside:
		r.split(b, &h, size, i)
	case size > len(first):
		r.long(b, &h, in, size, i)
	default:
		r.buffers[i] = nil
		r.ready = append(r.ready, b)
		if !inside {
			h.segment = 0
		}
		r.finish(b, &h, in, size)
	}
}

// finish makes a packet of a buffer that holds size bytes of payload, or more, behind room for the headers.
func (r *receiver) finish(b *packet.Buffer, h *header, in inner, size int) bool {
	_ = b.Truncate(headers + size) // it holds as much
	h.put((*[headers]byte)(b.Bytes()), size)
	b.SetChecksumVerified() // or absent: the kernel has seen to it
	return mark(b, in, int(r.d.inner.Load()), h.segment)
}

// long makes a packet of a datagram that is too long for a buffer of the pool: in one for superframes, or if there is none, cut.
func (r *receiver) long(b *packet.Buffer, h *header, in inner, size, i int) {
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
	copy(p[headers+copy(p[headers:], b.Bytes()[headers:]):], r.stageOf(i))
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
	first, rest := b.Bytes()[headers:], r.stageOf(i)
	segment := h.segment
	h.segment = 0
	r.ready = append(r.ready, b)
	r.buffers[i] = nil
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
		r.finish(c, h, innerOf(p), n)
		r.ready = append(r.ready, c)
	}
	r.finish(b, h, innerOf(first[:segment]), segment) // only now, as it held what was to be copied
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
	s.RxDropped += r.dropped.Load() + r.overflow.count(r.conn)
}

// count returns how many datagrams the socket had no room for.
func (o *overflow) count(c *sockets.Conn) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = c.Control(func(fd int) error { // when it is closed, the number stays
		now, err := socketDrops(fd)
		if err == nil {
			o.total += uint64(now - o.last)
			o.last = now
		}
		return err
	})
	return o.total
}

// close ends what waits, and gives back the buffers.
func (r *receiver) close() error {
	if r.conn == nil {
		return nil
	}
	r.overflow.count(r.conn)
	err := r.conn.Close()
	r.mu.Lock() // of a Receive that waited
	defer r.mu.Unlock()
	packet.FreeBatch(r.buffers[:])
	packet.FreeBatch(r.ready)
	r.ready = r.ready[:0]
	for len(r.reports) > 0 {
		(<-r.reports).Free()
	}
	return err
}
