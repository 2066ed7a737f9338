package main

// Probes: what is sent to a target, and what counts as an answer.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
)

// target is what is to be probed.
type target struct {
	text     string
	tunnel   string // ipip or vxlan
	backend  netip.Addr
	protocol uint8
	addr     netip.AddrPort // of the service; ICMP has no port

	device string // the tunnel's
	up     bool
}

// parseTarget reads TUNNEL:BACKEND/CHECK:ADDRESS[:PORT].
func parseTarget(text string) (*target, error) {
	t := &target{text: text}
	way, check, _ := strings.Cut(text, "/")
	kind, addr, _ := strings.Cut(check, ":")
	var backend string
	t.tunnel, backend, _ = strings.Cut(way, ":")
	var err, errAddr error
	t.backend, err = netip.ParseAddr(backend)
	switch kind {
	case "icmp":
		t.protocol = icmp.Protocol
		addr += ":0"
	case "tcp":
		t.protocol = tcp.Protocol
	case "udp":
		t.protocol = udp.Protocol
	}
	t.addr, errAddr = netip.ParseAddrPort(addr)
	if err != nil || errAddr != nil || t.protocol == 0 || t.tunnel != "ipip" && t.tunnel != "vxlan" ||
		!t.backend.Is4() || !t.addr.Addr().Is4() {
		return nil, fmt.Errorf("%s: want ipip:BACKEND/ or vxlan:BACKEND/, then icmp:ADDRESS, tcp:ADDRESS:PORT or udp:ADDRESS:PORT", text)
	}
	return t, nil
}

// key is what an answer is known by: whom it comes from, and the port or identifier that the probe had.
type key struct {
	protocol uint8
	addr     netip.AddrPort
	id       uint16
}

// probe is one that waits for its answer.
type probe struct {
	target *target
	answer chan<- error
}

// Results of a probe.
var (
	errNoAnswer = errors.New("no answer")
	errRefused  = errors.New("the connection is refused (RST)")
	errPort     = errors.New("nobody listens there (ICMP port unreachable)")
	errWay      = errors.New("not reachable (ICMP)")
)

// firstID is the least port or identifier of probes.
const firstID = 1 << 15

// probe sends a probe and waits for the answer.
func (s *station) probe(ctx context.Context, t *target, timeout time.Duration) (time.Duration, error) {
	answer := make(chan error, 1)
	s.mu.Lock()
	s.last++
	k := key{t.protocol, t.addr, firstID | s.last}
	s.pending[k] = probe{t, answer}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pending, k)
	}()
	began := time.Now()
	if err := s.send(t, k.id); err != nil {
		return 0, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case err := <-answer:
		return time.Since(began), err
	case <-timer.C:
		return 0, fmt.Errorf("%w within %v", errNoAnswer, timeout)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// send sends a probe by the target's tunnel.
func (s *station) send(t *target, id uint16) error {
	dst := t.addr.Addr()
	var b []byte
	switch t.protocol {
	case icmp.Protocol:
		b = icmp.Echo(id, 1).Append(b, []byte("culvert healthcheck"))
	default:
		route, err := s.e.GetRoute(dst, engine.RouteQuery{Device: t.device})
		if err != nil {
			return err
		}
		if b, err = t.segment(route.Source.As4(), id, tcp.Fields{Flags: tcp.SYN, Seq: rand.Uint32(), Window: 1 << 14}); err != nil {
			return err
		}
	}
	buf := s.pool.Get()
	if buf == nil {
		return engine.ErrNoRoom
	}
	if err := buf.SetBytes(b); err != nil {
		buf.Free()
		return err
	}
	return s.r.Send(buf, engine.Send{Dst: dst, Protocol: t.protocol, Device: t.device})
}

// segment makes what follows the IPv4 header of a TCP or UDP probe.
func (t *target) segment(src [4]byte, id uint16, f tcp.Fields) ([]byte, error) {
	if t.protocol == tcp.Protocol {
		f.SrcPort, f.DstPort = id, t.addr.Port()
		return f.Append(nil, src, t.addr.Addr().As4(), nil)
	}
	data := []byte("culvert healthcheck\n")
	b, err := udp.Fields{SrcPort: id, DstPort: t.addr.Port()}.Append(nil, len(data))
	if err != nil {
		return nil, err
	}
	b = append(b, data...)
	h, data, err := udp.Parse(b)
	if err == nil {
		h.FixChecksum(src, t.addr.Addr().As4(), data)
	}
	return b, err
}

// receive is the engine's Config.Local: it takes what answers a probe. The rest the engine refuses, as any host does.
func (s *station) receive(w *engine.Worker, d engine.Delivery) bool {
	from := netip.AddrFrom4(d.Header.Src())
	switch d.Header.Protocol() {
	case tcp.Protocol:
		h, _, err := tcp.Parse(d.Payload)
		if err != nil || !whole(d.Buffer, h.ChecksumOK(d.Header.Src(), d.Header.Dst(), d.Payload[h.Len():])) {
			return false
		}
		t := s.answer(key{tcp.Protocol, netip.AddrPortFrom(from, h.SrcPort()), h.DstPort()}, verdict(h.Flags()))
		if t == nil {
			return false
		}
		s.reset(w, t, h, d)
	case udp.Protocol:
		h, data, err := udp.Parse(d.Payload)
		if err != nil || !whole(d.Buffer, h.ChecksumOK(d.Header.Src(), d.Header.Dst(), data)) ||
			s.answer(key{udp.Protocol, netip.AddrPortFrom(from, h.SrcPort()), h.DstPort()}, nil) == nil {
			return false
		}
	case icmp.Protocol:
		s.receiveICMP(from, d.Payload)
	default:
		return false
	}
	d.Buffer.Free()
	return true
}

// reset lets the backend forget the connection that a probe has begun. It goes by the target's tunnel, as the probe did.
func (s *station) reset(w *engine.Worker, t *target, h tcp.Header, d engine.Delivery) {
	f, ok := tcp.Reset(h, len(d.Payload)-h.Len())
	if !ok {
		return
	}
	buf := s.pool.Get()
	if buf == nil {
		return
	}
	b, err := f.Append(nil, d.Header.Dst(), d.Header.Src(), nil)
	if err == nil {
		err = buf.SetBytes(b)
	}
	if err != nil {
		buf.Free()
		return
	}
	_ = w.Send(buf, engine.Send{Dst: t.addr.Addr(), Protocol: tcp.Protocol, Device: t.device}, s.r.Now()) // lost, the backend waits a while
}

// whole reports whether a checksum is right, or need not be yet: between processes of one machine nobody computes it.
func whole(b *packet.Buffer, right bool) bool {
	_, _, partial := b.PartialChecksum()
	return right || partial
}

// verdict is what a TCP segment says of the service.
func verdict(f tcp.Flags) error {
	switch {
	case f&tcp.RST != 0:
		return errRefused
	case f&(tcp.SYN|tcp.ACK) == tcp.SYN|tcp.ACK:
		return nil
	}
	return errNoAnswer
}

// receiveICMP takes echo replies, and errors about probes.
func (s *station) receiveICMP(from netip.Addr, message []byte) {
	h, body, err := icmp.Parse(message)
	switch {
	case err != nil || !h.ChecksumOK(body):
	case h.Type() == icmp.TypeEchoReply:
		s.answer(key{icmp.Protocol, netip.AddrPortFrom(from, 0), h.ID()}, nil)
	case h.IsError():
		s.refused(h, h.Quote(body), from)
	}
}

// refused takes an ICMP error, which quotes a probe.
func (s *station) refused(h icmp.Header, quote []byte, from netip.Addr) {
	q, data, err := ipv4.Parse(quote)
	if err != nil && !errors.Is(err, ipv4.ErrTruncated) || len(data) < icmp.HeaderLen {
		return
	}
	port := func(at int) uint16 { return uint16(data[at])<<8 | uint16(data[at+1]) }
	k := key{q.Protocol(), netip.AddrPortFrom(netip.AddrFrom4(q.Dst()), port(2)), port(0)}
	if k.protocol == icmp.Protocol {
		k.addr, k.id = netip.AddrPortFrom(k.addr.Addr(), 0), port(4) // the identifier, behind type, code and checksum
	}
	why := errWay
	if h.Type() == icmp.TypeUnreachable && h.Code() == icmp.CodePortUnreachable {
		why = errPort
	}
	s.answer(k, fmt.Errorf("%v says: %w", from, why))
}

// answer hands a result to the probe that waits for it, and returns its target; nil if there is none.
func (s *station) answer(k key, result error) *target {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.pending[k]
	if !ok {
		return nil
	}
	select {
	case p.answer <- result:
	default: // it has one
	}
	return p.target
}
