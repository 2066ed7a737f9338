package udp

// Receiving: each datagram goes behind room for the headers that the kernel took off, and those that the kernel has merged are split.

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/driver/internal/inner"
	"github.com/culvert-net/culvert/driver/internal/ipsocket"
	"github.com/culvert-net/culvert/driver/internal/ring"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	udpheader "github.com/culvert-net/culvert/udp"
)

const (
	headers    = ipv4.HeaderLen + udpheader.HeaderLen
	maxPayload = ipsocket.MaxPacket - headers // bytes of a datagram, merged ones included

	rxControl  = 128 // bytes of control messages: addresses, TTL, TOS, segment size, 104 with their headers
	maxReports = 16  // ICMP errors that nobody has fetched yet

	gsoLimit = 64 // datagrams in a merged one; UDP_MAX_SEGMENTS of include/linux/udp.h, 128 since Linux 6.9
)

// receiver is the receiving half of a queue.
type receiver struct {
	ipsocket.Receiver
	d       *Driver
	gro     bool
	reports chan *packet.Buffer // packets that the driver made itself
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
	r.reports = make(chan *packet.Buffer, maxReports)
	return r.Open(d.base, fd, ring.Config{Share: d.config.Queues, Front: headers, Names: true, Control: rxControl}, r, nil)
}

// Receive implements [driver.Queue].
func (q *queue) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	return q.rx.Receive(batch, wait)
}

// Wait implements [driver.Queue].
func (q *queue) Wait(d time.Duration) error { return q.rx.Wait(d) }

// Fails implements [ipsocket.Unpacker].
func (r *receiver) Fails(unix.Errno) bool { return true }

// Others implements [ipsocket.Unpacker].
func (r *receiver) Others() {
	for len(r.reports) > 0 {
		r.Add(<-r.reports)
	}
}

// Unpack implements [ipsocket.Unpacker].
func (r *receiver) Unpack(i int) {
	size, flags := r.Ring.Received(i)
	var h header
	h.from(r.Ring.Name(i), r.Ring.Control(i), r.d)
	b := r.Ring.Buffer(i)
	if b == nil {
		r.Counts.Dropped.Add(h.segments(size))
		return
	}
	first := b.Bytes()[headers:]
	in := inner.VXLAN(first[:min(size, len(first))])
	inside := h.segment != 0 && in.Start+in.Length > h.segment // a superframe in the tunnel, not datagrams that were merged
	switch {
	case flags&unix.MSG_TRUNC != 0, h.segment > len(first) && !inside:
		r.Counts.Errors.Add(h.segments(size))
	case h.segment != 0 && h.segment < size && !inside:
		r.split(b, &h, size, i)
	case size > len(first):
		if large := r.Long(i, size); large != nil {
			r.AddLong(large, r.finish(large, &h, in, size))
		}
	default:
		r.Add(r.Ring.Take(i))
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
	return in.Mark(b, headers, r.d.base.InnerMTU(), h.segment)
}

// split makes a packet of each segment of the merged datagram i: the first in b, where it is, the others in buffers of their own.
func (r *receiver) split(b *packet.Buffer, h *header, size, i int) {
	first, rest := b.Bytes()[headers:], r.Ring.Stage(i)
	segment := h.segment
	h.segment = 0
	r.Add(r.Ring.Take(i))
	for at := segment; at < size; at += segment {
		n := min(segment, size-at)
		c := r.d.base.Pool.Get()
		if c == nil {
			r.Counts.Dropped.Add(uint64((size - at + segment - 1) / segment))
			break
		}
		p, err := c.Extend(headers + n)
		if err != nil { // the pool's buffers are of different sizes
			c.Free()
			r.Counts.Errors.Add(1)
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
		r.Add(c)
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
	*h = header{src: name.Addr, dst: d.base.Local, port: order(name.Port), toPort: d.config.Port, ttl: ipv4.DefaultTTL}
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
		r.Conn.Interrupt()
	default:
		b.Free()
		r.Counts.Dropped.Add(1)
	}
}

// close gives back the buffers; nobody reports any more.
func (r *receiver) close() error {
	err := r.Close()
	for len(r.reports) > 0 {
		(<-r.reports).Free()
	}
	return err
}
