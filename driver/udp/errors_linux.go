package udp

// What goes wrong with what is sent: counted by kind, and what routers say about the path's MTU handed to the engine, from the error
// queues of the sockets (IP_RECVERR in ip(7)).

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver/internal/ipsocket"
	"github.com/culvert-net/culvert/icmp"
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

// quoted is how many payload bytes are read of what an error is about: the engine looks at the VXLAN header.
const quoted = 64

// errorQueue is that of a source's socket.
type errorQueue struct {
	ipsocket.ErrorQueue
	o    *source
	tell bool // the engine
}

func (e *errorQueue) open(o *source) {
	e.o = o
	e.Init(quoted, e.take)
}

// drain reads all errors. If tell is set, the engine is told of path MTUs.
func (e *errorQueue) drain(tell bool) {
	e.tell = tell
	e.Drain(e.o.conn)
}

// take counts an error, and tells the engine.
func (e *errorQueue) take(why *ipsocket.SendError) {
	s := e.o.s
	if why.Origin == ipsocket.OriginICMP {
		s.faults.count(faultICMP)
	}
	if !e.tell || why.Errno != uint32(unix.EMSGSIZE) {
		return
	}
	switch why.Origin {
	case ipsocket.OriginICMP:
		local := s.d.base.Local
		if local == [4]byte{} {
			local = why.Local
		}
		e.report(local, why.To.Addr, why.To.Port, why.Quote, why.Info)
	case ipsocket.OriginLocal: // about the message in hand
		d := &s.datagrams[s.messages[e.o.outgoing.From].start.datagram]
		p := s.payloads[d.first]
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
