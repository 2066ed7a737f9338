package udp

// Sending: packets lose their headers, are sorted by the socket that their source port falls to, and go to the kernel many at a
// time, those that are alike merged into one datagram that the kernel cuts again (udp(7), UDP_SEGMENT).

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/ipsocket"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	udpheader "github.com/culvert-net/culvert/udp"
)

const (
	txBuffers  = 256 // sent at a time: a datagram in the smallest usual fragments (576 bytes) has 118
	txMessages = 64
	txPieces   = 128 // of a datagram: fragments, or what is merged
	txControl  = 128 // bytes of control messages: TTL, TOS, source address, segment size, 104 with their headers

	none = -1
)

// sender is the sending half of a queue.
type sender struct {
	ipsocket.Sender
	d       *Driver
	q       *queue
	mu      sync.Mutex
	sources []source
	batch   *sockets.Batch

	// Of what is in hand, up to txBuffers buffers of a batch that was given to Send.
	buffers   []*packet.Buffer
	payloads  [txBuffers][]byte
	datagrams [txBuffers]datagram
	messages  [txMessages]message
	faults    faults
	unmerged  int // datagrams that were too long to be merged since the limit was lowered
}

// source is a socket that sends from a port of its own.
type source struct {
	s    *sender
	conn *sockets.Conn
	port uint16
	errs errorQueue

	head, tail int // of its datagrams in hand; head is none if there are none

	mode     mode // as the socket is
	want     mode // as the messages that are to be sent want it
	outgoing ipsocket.Outgoing
}

// mode is what holds for all that a socket sends until it is changed.
type mode uint8

const (
	modeDF       mode = 1 << iota // set DF, and send nothing longer than the path's MTU
	modeUnsummed                  // no UDP checksum
	modeUnknown
)

// datagram is one that is to be sent, from one buffer or the fragments in several, or a superframe of some.
type datagram struct {
	first, buffers int // in the batch
	size           int // payload bytes
	segment        int // payload bytes of each datagram of a superframe; else size
	dst, src       [4]byte
	port, source   uint16
	ttl, tos       uint8
	mode           mode
	next           int // of the same source, or none
}

// alike reports whether two datagrams differ in nothing but their payload.
func (d *datagram) alike(e *datagram) bool {
	return d.dst == e.dst && d.port == e.port && d.src == e.src && d.ttl == e.ttl && d.tos == e.tos && (d.mode^e.mode)&modeDF == 0
}

// place is where in the datagrams of a source a message begins.
type place struct{ datagram, offset int }

// message is one of what sendmmsg is told to send.
type message struct {
	start   place
	packets int // that are sent whole with it
	bytes   int
	segment int // if it is merged of several datagrams; else 0
}

func (s *sender) open(d *Driver, q *queue) error {
	s.d, s.q = d, q
	s.batch = sockets.NewGather(txMessages, txPieces, true, txControl)
	s.sources = make([]source, d.config.SourcePorts)
	for i := range s.sources {
		if err := s.sources[i].open(s); err != nil {
			return err
		}
	}
	return nil
}

func (o *source) open(s *sender) error {
	const (
		least   = 1 // the kernel makes its own least of it
		anyPort = 0
	)
	fd, err := s.d.socket(anyPort, append(sockets.SendBuffer(s.d.config.SendBuffer),
		sockets.Option{Level: unix.SOL_SOCKET, Name: unix.SO_RCVBUF, Value: least, Optional: true},
		sockets.Option{Level: unix.IPPROTO_IP, Name: unix.IP_RECVERR, Value: 1, Text: "IP_RECVERR"},
		sockets.Option{Level: unix.IPPROTO_IP, Name: unix.IP_PKTINFO, Value: 1, Text: "IP_PKTINFO"}, // of ICMP errors
		sockets.Option{Level: unix.IPPROTO_IP, Name: unix.IP_TTL, Value: ipv4.DefaultTTL, Text: "IP_TTL"}))
	if err != nil {
		return err
	}
	o.s, o.mode, o.head = s, modeUnknown, none
	if name, err := unix.Getsockname(fd); err == nil {
		o.port = uint16(name.(*unix.SockaddrInet4).Port)
	}
	deaf := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}} // accept 0 bytes: nobody receives here
	_ = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &deaf[0]})
	if _, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT); err != nil { // Linux 4.18
		s.d.gso.Store(false)
	}
	o.errs.open(o)
	if o.conn, err = sockets.New(fd, "udp", nil, o.write); err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	return nil
}

// Send implements [driver.Queue].
func (q *queue) Send(batch []*packet.Buffer) error {
	s := &q.tx
	s.mu.Lock()
	defer s.mu.Unlock()
	defer packet.FreeBatch(batch)
	if s.d.base.Closed() {
		return net.ErrClosed
	}
	s.Begin()
	for rest := batch; len(rest) > 0; {
		n := s.sort(rest)
		rest = rest[n:]
		for i := range s.sources {
			if s.sources[i].head != none {
				s.sources[i].send()
			}
		}
	}
	clear(s.payloads[:])
	s.buffers = nil
	return s.Err()
}

// sort gives datagrams to the sources that their source port falls to, as many as there is room for, and returns how many buffers
// they are in.
func (s *sender) sort(batch []*packet.Buffer) (n int) {
	s.buffers = batch[:min(len(batch), txBuffers)]
	for n < len(s.buffers) {
		d := &s.datagrams[n]
		*d = datagram{first: n, buffers: 1, next: none}
		if s.buffers[n] == nil {
			n++
			continue
		}
		err := s.parse(d)
		if n > 0 && len(batch) > len(s.buffers) && errors.Is(err, errCut) {
			return n // there may be more of it behind
		}
		if err != nil {
			s.Fail(err)
			s.Counts.Errors.Add(uint64(d.buffers))
		} else {
			s.sources[int(d.source)%len(s.sources)].add(n)
		}
		n += d.buffers
	}
	return n
}

// add appends a datagram to those of the source.
func (o *source) add(i int) {
	if o.head == none {
		o.head = i
	} else {
		o.s.datagrams[o.tail].next = i
	}
	o.tail = i
}

// errCut is [ErrFragment] where the batch ends before the datagram does.
var errCut = fmt.Errorf("%w: the last is missing", ErrFragment)

// parse reads the headers of the datagram that begins in the buffer d.first.
func (s *sender) parse(d *datagram) error {
	b := s.buffers[d.first]
	p, word, err := ip(b)
	if err != nil {
		return err
	}
	const more, offset = 0x2000, 0x1fff // of the word of flags and fragment offset
	if word&offset != 0 {
		return ErrFragment
	}
	size := int(binary.BigEndian.Uint16(p[24:])) - udpheader.HeaderLen
	if len(p) < headers || size < 0 || word&more == 0 && headers+size > len(p) {
		return ErrNotUDP
	}
	d.size, d.segment = size, size
	d.tos, d.ttl, d.src, d.dst = p[1], p[8], [4]byte(p[12:]), [4]byte(p[16:])
	d.source, d.port = binary.BigEndian.Uint16(p[20:]), binary.BigEndian.Uint16(p[22:])
	if word&(uint16(ipv4.DontFragment)<<13) != 0 {
		d.mode |= modeDF
	}
	if binary.BigEndian.Uint16(p[26:]) == 0 {
		d.mode |= modeUnsummed
	}
	if word&more != 0 {
		return s.gather(d, p)
	}
	s.payloads[d.first] = p[headers:][:size]
	return s.metadata(d, b)
}

// ip returns the IPv4 packet in a buffer, which is UDP without options, and the word of its flags and fragment offset.
func ip(b *packet.Buffer) (p []byte, word uint16, err error) {
	const (
		versionIHL = 0x45
		least      = headers // of fragments as well, whose lengths are multiples of 8
	)
	if b == nil {
		return nil, 0, ErrFragment
	}
	p = b.Bytes()
	if len(p) < ipv4.HeaderLen || p[0] != versionIHL || p[9] != ipv4.ProtocolUDP {
		return nil, 0, ErrNotUDP
	}
	total := int(binary.BigEndian.Uint16(p[2:]))
	word = binary.BigEndian.Uint16(p[6:])
	if total > len(p) || total < ipv4.HeaderLen || total < least && word&0x1fff == 0 {
		return nil, 0, ErrNotUDP
	}
	return p[:total], word, nil
}

// metadata takes what travels beside the bytes: the kernel computes the datagram's own checksum, and cuts superframes of datagrams.
func (s *sender) metadata(d *datagram, b *packet.Buffer) error {
	if b.HasVLAN() {
		return driver.ErrMetadata
	}
	start, _, partial := b.PartialChecksum()
	gso, segment := b.GSO()
	if partial {
		d.mode &^= modeUnsummed
	}
	switch inner := partial && start != ipv4.HeaderLen; {
	case gso == packet.GSONone && inner:
		return b.CompleteChecksum()
	case gso == packet.GSONone:
	case gso != packet.GSOUDP4, inner, segment == 0:
		return driver.ErrMetadata
	default:
		d.segment = min(int(segment), d.size)
	}
	return nil
}

// gather takes the fragments behind the first, whose bytes are p, to the datagram.
func (s *sender) gather(d *datagram, p []byte) error {
	first := (*[ipv4.HeaderLen]byte)(p)
	s.payloads[d.first] = p[headers:]
	at := len(p) - ipv4.HeaderLen // bytes of the IPv4 payload so far
	for {
		i := d.first + d.buffers
		switch {
		case i >= len(s.buffers):
			return errCut
		case d.buffers == txPieces:
			return ErrFragment
		}
		q, word, err := ip(s.buffers[i])
		const more, offset = 0x2000, 0x1fff
		if err != nil || [8]byte(q[12:20]) != [8]byte(first[12:20]) || [2]byte(q[4:6]) != [2]byte(first[4:6]) ||
			int(word&offset)*8 != at {
			return ErrFragment
		}
		d.buffers++
		s.payloads[i] = q[ipv4.HeaderLen:]
		at += len(q) - ipv4.HeaderLen
		if word&more == 0 {
			break
		}
	}
	if at != d.size+udpheader.HeaderLen {
		return ErrNotUDP
	}
	return nil
}

// send sends the datagrams of a source.
func (o *source) send() {
	s := o.s
	at := place{o.head, 0}
	o.head = none
	suspect := unix.Errno(0) // for which a merged message was refused, that is now tried unmerged
	for at.datagram != none {
		next := o.build(at, s.d.gso.Load() && suspect == 0)
		at = o.flush(next, &suspect)
	}
}

// flush sends the messages that were built and returns where to go on: next, or where a merged message begins that was refused.
func (o *source) flush(next place, suspect *unix.Errno) place {
	s, retried := o.s, none
	for o.outgoing.From < o.outgoing.To {
		before := o.outgoing.From
		o.outgoing.Errno = 0
		ok, err := s.Write(o.conn)
		s.sent(before, o.outgoing.From)
		if o.outgoing.From > before && (*suspect == unix.EIO || *suspect == unix.EINVAL) {
			s.d.gso.Store(false) // what was refused merged is accepted otherwise
			s.faults.count(faultGSO)
		}
		if o.outgoing.From > before {
			*suspect = 0
		}
		switch m := &s.messages[min(o.outgoing.From, txMessages-1)]; {
		case err != nil:
			s.Fail(err)
			o.outgoing.From = o.outgoing.To
		case !ok:
			for ; o.outgoing.From < o.outgoing.To; o.outgoing.From++ {
				s.lose(o.outgoing.From, unix.EAGAIN)
			}
		case o.outgoing.Errno == 0:
		case m.segment != 0 && isRefusal(o.outgoing.Errno):
			if o.outgoing.Errno == unix.EMSGSIZE {
				s.d.longest.Store(uint32(m.segment - 1))
			}
			*suspect = o.outgoing.Errno
			return m.start
		case retried != o.outgoing.From: // the error may be about something sent before, as ICMP had it
			retried = o.outgoing.From
			o.errs.drain(true)
		default:
			o.errs.drain(false) // the kernel has noted this one, too
			s.Fail(o.outgoing.Errno)
			s.lose(o.outgoing.From, o.outgoing.Errno)
			o.outgoing.From++
			*suspect = 0
		}
	}
	return next
}

// isRefusal reports whether a merged datagram may have been refused for being merged (udp_send_skb): EIO is for lack of checksum
// offload, EINVAL for a kernel without it, EMSGSIZE, which was EINVAL once, for datagrams that need fragments.
func isRefusal(errno unix.Errno) bool {
	switch errno {
	case unix.EIO, unix.EINVAL, unix.EMSGSIZE, unix.EOPNOTSUPP:
		return true
	}
	return false
}

// write is what the connection calls when there is room for something.
func (o *source) write(fd uintptr) bool {
	o.setMode(int(fd))
	return o.outgoing.Send(o.s.batch, fd)
}

// setMode makes the socket as the messages want it. That does not fail for a UDP socket.
func (o *source) setMode(fd int) {
	changed := o.mode ^ o.want
	if o.mode&modeUnknown != 0 {
		changed = modeDF | modeUnsummed
	}
	if changed&modeDF != 0 {
		discover := unix.IP_PMTUDISC_DONT
		if o.want&modeDF != 0 {
			discover = unix.IP_PMTUDISC_DO
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, discover)
	}
	if changed&modeUnsummed != 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, int(o.want&modeUnsummed))
	}
	o.mode = o.want
}

// build makes messages of the datagrams from a place on, and returns where those begin that are left.
func (o *source) build(at place, merge bool) place {
	s := o.s
	n := 0
	for n < txMessages && at.datagram != none {
		d := &s.datagrams[at.datagram]
		next := s.fill(n, at, merge)
		want := d.mode
		if s.messages[n].segment != 0 {
			want &^= modeUnsummed // the kernel refuses to cut what has no checksum
		}
		switch {
		case n == 0:
			o.want = want
		case (o.want^want)&modeDF != 0, o.want&^want&modeUnsummed != 0: // a checksum more does no harm
			o.outgoing = ipsocket.Outgoing{To: n}
			return at
		}
		s.address(n, d)
		at = next
		n++
	}
	o.outgoing = ipsocket.Outgoing{To: n}
	return at
}

// fill gives message i its payload: that of one datagram, or of as many as can be merged. It returns where the next begins.
func (s *sender) fill(i int, at place, merge bool) place {
	m, d := &s.messages[i], &s.datagrams[at.datagram]
	*m = message{start: at}
	s.batch.Clear(i)
	switch {
	case d.buffers > 1:
		for _, p := range s.payloads[d.first:][:d.buffers] {
			s.batch.Append(i, p)
		}
		return s.advance(m, at, d.size)
	case merge && d.segment > 0 && s.mayMerge(d.segment):
		return s.merge(i, at)
	}
	n := min(d.segment, d.size-at.offset)
	s.batch.Append(i, s.payloads[d.first][at.offset:][:n])
	return s.advance(m, at, n)
}

// merge gives message i the payload of datagrams that are alike and of equal size; the last may be shorter.
func (s *sender) merge(i int, at place) place {
	m, d := &s.messages[i], &s.datagrams[at.datagram]
	segment := d.segment
	room := min(gsoLimit, maxPayload/segment) * segment
	total := 0
	for {
		n := min(d.size-at.offset, room)
		s.batch.Append(i, s.payloads[d.first][at.offset:][:n])
		room -= n
		total += n
		at = s.advance(m, at, n)
		if n%segment != 0 || room == 0 || at.datagram == none {
			break
		}
		e := &s.datagrams[at.datagram]
		if e.segment != segment && (e.segment != e.size || e.size > segment || e.size == 0) || e.buffers > 1 || !d.alike(e) {
			break
		}
		d = e
	}
	if total > segment {
		m.segment = segment
	}
	return at
}

// mayMerge reports whether datagrams with so many bytes of payload may be merged. Now and then it forgets that they were refused, as
// paths get better, too.
func (s *sender) mayMerge(segment int) bool {
	const often = 1 << 12
	if segment <= int(s.d.longest.Load()) {
		return true
	}
	if s.unmerged++; s.unmerged%often == 0 {
		s.d.fit(s.d.base.MTU())
	}
	return false
}

// advance goes on by n bytes of payload, which message m has, and counts the packets that are whole with them.
func (s *sender) advance(m *message, at place, n int) place {
	d := &s.datagrams[at.datagram]
	at.offset += n
	if at.offset < d.size {
		return at
	}
	m.packets += d.buffers
	for _, b := range s.buffers[d.first:][:d.buffers] {
		m.bytes += b.Len()
	}
	return place{d.next, 0}
}

// address says where message i goes, and with what in its headers.
func (s *sender) address(i int, d *datagram) {
	name := s.batch.Name(i)
	name.Family, name.Addr, name.Port = unix.AF_INET, d.dst, order(d.port)
	room := s.batch.ControlRoom(i)
	rest := room
	var data []byte
	if d.ttl != ipv4.DefaultTTL {
		data, rest = sockets.PutControl(rest, unix.IPPROTO_IP, unix.IP_TTL, 4)
		binary.NativeEndian.PutUint32(data, uint32(d.ttl))
	}
	if d.tos != 0 {
		data, rest = sockets.PutControl(rest, unix.IPPROTO_IP, unix.IP_TOS, 4)
		binary.NativeEndian.PutUint32(data, uint32(d.tos))
	}
	if d.src != s.d.base.Local {
		data, rest = sockets.PutControl(rest, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		copy(data[4:8], d.src[:]) // ipi_spec_dst: the address to send from
	}
	if m := &s.messages[i]; m.segment != 0 {
		data, rest = sockets.PutControl(rest, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
		binary.NativeEndian.PutUint16(data, uint16(m.segment))
	}
	s.batch.SetControl(i, len(room)-len(rest))
}

// sent counts the messages from to to as sent.
func (s *sender) sent(from, to int) {
	packets, bytes := 0, 0
	for _, m := range s.messages[from:to] {
		packets += m.packets
		bytes += m.bytes
	}
	s.Counts.Pass(packets, bytes)
}

// lose counts message i as not sent.
func (s *sender) lose(i int, errno unix.Errno) {
	s.faults.count(faultOf(errno))
	s.Lose(s.messages[i].packets, errno)
}

// close ends what waits; no Send is under way when it returns.
func (s *sender) close() error {
	var errs []error
	for i := range s.sources {
		if c := s.sources[i].conn; c != nil {
			errs = append(errs, c.Close())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(errs...)
}
