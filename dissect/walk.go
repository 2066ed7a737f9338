package dissect

// The walk: one function a layer, in the order in which a packet nests them.

import (
	"errors"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// Ethernet walks an Ethernet frame into s.
//
// It returns nil at the end of what culvert reads: a payload that is no protocol of its, a fragment, or nothing. Otherwise it
// returns an [*Error] that lies in s: valid until the next walk, to be copied by whoever keeps it.
func (w *Walker) Ethernet(s *Stack, frame []byte) error {
	s.n = 0
	return w.ethernet(s, frame, position{})
}

// IPv4 walks a packet that starts with its IPv4 header into s; otherwise it is [Walker.Ethernet].
func (w *Walker) IPv4(s *Stack, packet []byte) error {
	s.n = 0
	return w.ipv4(s, s.push(), packet, position{})
}

// position is where a walk is.
type position struct {
	at  int  // offset in the frame
	cut bool // bytes are missing at the end, so a header that ends early is no fault of the frame
}

// push starts a new level; the caller has checked that there is room.
func (s *Stack) push() *Level {
	l := &s.levels[s.n]
	*l = Level{}
	s.n++
	return l
}

// stop ends the walk at a header that is wrong.
func (s *Stack) stop(layer Layer, pos position, err error) error {
	s.err = Error{Level: s.n - 1, Layer: layer, Offset: pos.at, Err: err}
	return &s.err
}

// short ends the walk at a header that cannot be read: without an error if that is because bytes are missing.
func (s *Stack) short(l *Level, layer Layer, pos position, err error, short error) error {
	if pos.cut && errors.Is(err, short) {
		l.Cut = true
		return nil
	}
	return s.stop(layer, pos, err)
}

// readsOn decides about a header that was read but promises more bytes than there are.
func (w *Walker) readsOn(l *Level, pos *position) bool {
	if !w.partial && !pos.cut {
		return false
	}
	l.Cut, pos.cut = true, true
	return true
}

// ethernet reads a level that starts with an Ethernet header.
func (w *Walker) ethernet(s *Stack, frame []byte, pos position) error {
	l := s.push()
	h, payload, err := ethernet.Parse(frame)
	if err != nil {
		if !h.IsValid() {
			return s.short(l, Ethernet, pos, err, ethernet.ErrShort)
		}
		if !w.readsOn(l, &pos) {
			return s.stop(Ethernet, pos, err)
		}
	}
	l.Ethernet, l.Payload = h, payload
	pos.at += h.Len()
	switch h.EtherType() {
	case ethernet.TypeIPv4:
		return w.ipv4(s, l, payload, pos)
	case ethernet.TypeARP:
		if l.ARP, err = arp.Parse(payload); err != nil {
			return s.short(l, ARP, pos, err, arp.ErrShort)
		}
		l.Payload = nil
	}
	return nil
}

// ipv4 reads a level from its IPv4 header on.
func (w *Walker) ipv4(s *Stack, l *Level, packet []byte, pos position) error {
	h, payload, err := ipv4.Parse(packet)
	if err != nil {
		if !h.IsValid() {
			return s.short(l, IPv4, pos, err, ipv4.ErrShort)
		}
		if !w.readsOn(l, &pos) {
			return s.stop(IPv4, pos, err)
		}
	}
	l.IPv4, l.Payload = h, payload
	pos.at += h.Len()
	if h.IsFragment() {
		if h.FragmentOffset() != 0 {
			return nil
		}
		pos.cut = true // the rest is in the other fragments
	}
	switch h.Protocol() {
	case udp.Protocol:
		return w.udp(s, l, payload, pos)
	case tcp.Protocol:
		t, data, err := tcp.Parse(payload)
		if err != nil {
			return s.short(l, TCP, pos, err, tcp.ErrShort)
		}
		l.TCP, l.Payload = t, data
	case icmp.Protocol:
		m, body, err := icmp.Parse(payload)
		if err != nil {
			return s.short(l, ICMP, pos, err, icmp.ErrShort)
		}
		l.ICMP, l.Payload = m, body
	case ipv4.ProtocolIPIP:
		switch {
		case h.IsFragment():
			return nil
		case s.n == w.levels:
			return s.stop(IPv4, pos, ErrDepth)
		}
		return w.ipv4(s, s.push(), payload, pos)
	}
	return nil
}

// udp reads a level from its UDP header on.
func (w *Walker) udp(s *Stack, l *Level, datagram []byte, pos position) error {
	h, payload, err := udp.Parse(datagram)
	if err != nil {
		if !h.IsValid() {
			return s.short(l, UDP, pos, err, udp.ErrShort)
		}
		if !w.readsOn(l, &pos) {
			return s.stop(UDP, pos, err)
		}
	}
	l.UDP, l.Payload = h, payload
	port := h.DstPort()
	if w.vxlan[port/64]>>(port%64)&1 == 0 || l.IPv4.IsFragment() {
		return nil
	}
	pos.at += udp.HeaderLen
	v, frame, err := vxlan.Parse(payload)
	if err != nil {
		return s.short(l, VXLAN, pos, err, vxlan.ErrShort)
	}
	l.VXLAN, l.Payload, l.datagram = v, frame, payload
	pos.at += vxlan.HeaderLen
	if s.n == w.levels {
		return s.stop(Ethernet, pos, ErrDepth)
	}
	return w.ethernet(s, frame, pos)
}
