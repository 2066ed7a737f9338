package udp

// What goes wrong with what is sent: counted by kind, and what routers say about the path's MTU handed to the engine, from the error
// queues of the sockets (IP_RECVERR in ip(7)).

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver/internal/ipsocket"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/ipv4"
)

// Faults counts what happened to packets that were sent, by kind. Several packets may be behind one.
type Faults struct {
	Full        uint64 // the socket, or the device's queue, was full for too long (EAGAIN, ENOBUFS)
	TooLong     uint64 // longer than the path's MTU, with DF (EMSGSIZE)
	Forbidden   uint64 // by a firewall (EPERM, EACCES)
	Unreachable uint64 // no route, or the device is down (ENETUNREACH, EHOSTUNREACH, ENETDOWN, ENODEV)
	Other       uint64 // such as a source address that is not the machine's (EINVAL)
	ICMP        uint64 // errors that the network sent back
	GSO         uint64 // times that merging was given up, since the kernel refuses what it takes unmerged
}

type fault uint8

const (
	faultFull fault = iota
	faultTooLong
	faultForbidden
	faultUnreachable
	faultOther
	faultICMP
	faultGSO
	numFaults
)

type faults [numFaults]atomic.Uint64

func (f *faults) count(k fault) { f[k].Add(1) }

func faultOf(errno unix.Errno) fault {
	switch errno {
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return faultFull
	case unix.EMSGSIZE:
		return faultTooLong
	case unix.EPERM, unix.EACCES:
		return faultForbidden
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENODEV, unix.ENXIO:
		return faultUnreachable
	}
	return faultOther
}

// Faults returns what went wrong so far.
func (d *Driver) Faults() Faults {
	var f Faults
	for _, q := range d.own {
		c := &q.tx.faults
		f.Full += c[faultFull].Load()
		f.TooLong += c[faultTooLong].Load()
		f.Forbidden += c[faultForbidden].Load()
		f.Unreachable += c[faultUnreachable].Load()
		f.Other += c[faultOther].Load()
		f.ICMP += c[faultICMP].Load()
		f.GSO += c[faultGSO].Load()
	}
	return f
}

// errorQueue reads the error queue of a source's socket.
type errorQueue struct {
	o      *source
	batch  *sockets.Batch
	quote  []byte
	tell   bool // the engine
	readFD func(fd int) error
}

const (
	quoted       = 64  // payload bytes of what an error is about that are read: the engine looks at the VXLAN header
	errorControl = 160 // bytes: the error with who sent it, and addresses, 16+16+16 and 16+12 with padding
)

func (e *errorQueue) open(o *source) {
	e.o, e.quote = o, make([]byte, quoted)
	e.batch = sockets.NewBatch(1, true, errorControl)
	e.batch.Set(0, e.quote)
	e.readFD = e.read
}

// drain reads all errors. If tell is set, the engine is told of path MTUs.
func (e *errorQueue) drain(tell bool) {
	e.tell = tell
	_ = e.o.conn.Control(e.readFD) // closed: nothing to read
}

func (e *errorQueue) read(fd int) error {
	for {
		if _, errno := e.batch.ReceiveErrors(uintptr(fd), 1); errno != 0 {
			return nil
		}
		e.take()
	}
}

// take takes the error that was read.
func (e *errorQueue) take() {
	var why *unix.SockExtendedErr
	local := e.o.s.d.base.Local
	for control := e.batch.Control(0); ; {
		h, data, rest := sockets.NextControl(control)
		if h == nil {
			break
		}
		control = rest
		switch {
		case h.Level != unix.IPPROTO_IP:
		case h.Type == unix.IP_RECVERR && len(data) >= int(unsafe.Sizeof(unix.SockExtendedErr{})):
			why = (*unix.SockExtendedErr)(unsafe.Pointer(unsafe.SliceData(data)))
		case h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo && local == [4]byte{}:
			local = [4]byte(data[8:12])
		}
	}
	const originLocal, originICMP = 1, 2 // SO_EE_ORIGIN_* of include/uapi/linux/errqueue.h
	if why == nil {
		return
	}
	if why.Origin == originICMP {
		e.o.s.faults.count(faultICMP)
	}
	if !e.tell || why.Errno != uint32(unix.EMSGSIZE) {
		return
	}
	n, _ := e.batch.Received(0)
	name := e.batch.Name(0)
	switch why.Origin {
	case originICMP:
		e.report(local, name.Addr, name.Port, e.quote[:min(n, quoted)], why.Info)
	case originLocal: // about the message in hand, as the kernel quotes nothing then
		m := &e.o.s.messages[e.o.outgoing.From]
		d := &e.o.s.datagrams[m.start.datagram]
		p := e.o.s.payloads[d.first]
		e.report(d.src, d.dst, order(d.port), p[:min(len(p), quoted)], why.Info)
	}
}

// report tells the engine that the path from src to dst takes packets of mtu bytes, as if a router had said so. The quoted datagram
// has a port in network byte order.
func (e *errorQueue) report(src, dst [4]byte, port uint16, payload []byte, mtu uint32) {
	s := e.o.s
	b := s.d.base.Pool.Get()
	if b == nil {
		return
	}
	const front = ipv4.HeaderLen + icmp.HeaderLen
	p, err := b.Extend(front + headers + len(payload))
	if err != nil {
		b.Free()
		return
	}
	quote := p[front:]
	copy(quote[headers:], payload)
	h := header{src: src, dst: dst, port: e.o.port, toPort: order(port), ttl: ipv4.DefaultTTL}
	h.put((*[headers]byte)(quote), int(min(mtu, ipsocket.MaxPacket))-headers+1) // how long it was is not told: longer than that
	f := ipv4.Fields{TTL: ipv4.DefaultTTL, Protocol: ipv4.ProtocolICMP, Src: dst, Dst: src, Flags: ipv4.DontFragment}
	_, _ = f.Put(p, icmp.HeaderLen+len(quote)) // sized for it
	icmp.FragmentationNeeded(uint16(min(mtu, ipsocket.MaxPacket))).AppendError(p[:ipv4.HeaderLen], quote)
	s.q.rx.report(b)
}
