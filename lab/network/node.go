package network

// Nodes: a namespace is an engine and a small host, whose sockets the tools use.

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/simnet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/udp"
)

const hostScope = route.ScopeHost

// Node is a namespace.
type Node struct {
	Name string
	E    *engine.Engine

	net     *Network
	sim     *simnet.Node
	devices map[string]*Device
	attrs   map[string]*Attrs
	ids     map[*Node]int // see ID
	live    *live         // nil: the network's goroutine is the only one that runs the engine

	socketsMu sync.Mutex // whoever runs the engine asks which socket takes a packet
	sockets   []*Socket

	listeners []*Tap
	taps      map[string]*deviceTap

	echoIDs map[uint16]bool // in use by ICMP sockets
	port    uint16          // the last ephemeral port given out
	refused *Device         // the veth end whose last frame the other end did not take; nil: there was none
	missed  []func(engine.Miss)

	kept map[any]any // see Value

	birthsMu sync.Mutex
	births   map[station]Birth
	serial   uint64
}

// Network returns the network that the node is in.
func (n *Node) Network() *Network { return n.net }

// Now returns the network's time.
func (n *Node) Now() time.Duration { return n.net.Now() }

// Send sends a packet of the node's own with this payload, as engine.Send. The error may be [ErrNoBuffers].
func (n *Node) Send(s engine.Send, payload []byte) error {
	n.refused = nil
	if err := n.sim.Send(s, payload); err != nil {
		return err
	}
	return n.taken(s.Dst, s.Device)
}

// SendPacket sends a whole IPv4 packet of the node's own, as engine.SendPacket. The error may be [ErrNoBuffers].
func (n *Node) SendPacket(packet []byte) error {
	n.refused = nil
	if err := n.sim.SendPacket(packet); err != nil {
		return err
	}
	h, _, err := ipv4.Parse(packet)
	if err != nil {
		return err
	}
	return n.taken(netip.AddrFrom4(h.Dst()), "")
}

// taken returns [ErrNoBuffers] if a packet to dst, which was sent just now, leaves by a veth end that did not get rid of it. Bridges
// and tunnels tell nobody.
func (n *Node) taken(dst netip.Addr, dev string) error {
	if n.refused == nil {
		return nil
	}
	if a, err := n.E.GetRoute(dst, engine.RouteQuery{Device: dev}); err == nil && a.Dev == n.refused.Name {
		return ErrNoBuffers
	}
	return nil
}

// Transmit sends a whole frame by a device, past routes and neighbours, as engine.SendFrame. The error may be [ErrNoBuffers], or
// [ErrNoTransmit] for devices without Ethernet, lo among them.
func (n *Node) Transmit(dev string, frame []byte) error {
	l, ok := n.E.Link(dev)
	if !ok || l.Raw || l.Kind == engine.KindIPIP || l.Kind == engine.KindLoopback {
		return ErrNoTransmit
	}
	n.refused = nil
	if err := n.sim.SendFrame(l.Index, frame); err != nil {
		return err
	}
	if n.refused != nil && n.refused.Name == dev {
		return ErrNoBuffers
	}
	return nil
}

// onMiss tells all who asked for it what the engine misses.
func (n *Node) onMiss(m engine.Miss) {
	if !n.room() {
		return
	}
	n.later(func() {
		for _, f := range n.missed {
			f(m)
		}
	})
}

// OnMiss lets f be told what the engine asks its agent for: see engine.Miss.
func (n *Node) OnMiss(f func(engine.Miss)) { n.missed = append(n.missed, f) }

// local is the engine's Config.Local: it gives what came for the node to the sockets that want it.
func (n *Node) local(_ *engine.Worker, d engine.Delivery) bool {
	m := Message{
		At: n.net.Now(), Device: n.E.Name(d.Device), Src: netip.AddrFrom4(d.Header.Src()), Dst: netip.AddrFrom4(d.Header.Dst()),
		Protocol: d.Header.Protocol(), TTL: d.Header.TTL(), TOS: d.Header.TOS(), ID: d.Header.ID(), DF: d.Header.DF(),
		Data: d.Payload, Packet: d.Buffer.Bytes(),
	}
	m.parse()
	taken := n.wanted(&m)
	if taken && n.room() {
		m.Packet = bytes.Clone(m.Packet)
		m.Data = m.Packet[d.Header.Len():][:len(d.Payload)]
		m.parse() // of what is kept
		n.later(func() { n.deliver(m) })
	}
	if taken = taken || m.Protocol == icmp.Protocol; taken { // what nobody waits for is ignored, not refused
		d.Buffer.Free()
	}
	return taken
}

// wanted reports whether a socket takes a message.
func (n *Node) wanted(m *Message) bool {
	n.socketsMu.Lock()
	defer n.socketsMu.Unlock()
	return slices.ContainsFunc(n.sockets, func(s *Socket) bool { return s.wants(m) })
}

// deliver gives a message to the sockets that want it.
func (n *Node) deliver(m Message) {
	n.socketsMu.Lock()
	takers := slices.DeleteFunc(slices.Clone(n.sockets), func(s *Socket) bool { return !s.wants(&m) })
	n.socketsMu.Unlock()
	for _, s := range takers {
		s.deliver(m)
	}
}

// parse fills in what depends on the protocol.
func (m *Message) parse() {
	switch m.Protocol {
	case udp.Protocol:
		if h, data, err := udp.Parse(m.Data); err == nil {
			m.SrcPort, m.DstPort, m.Data = h.SrcPort(), h.DstPort(), data
		}
	case icmp.Protocol:
		h, body, err := icmp.Parse(m.Data)
		if err != nil || !h.IsError() {
			return
		}
		m.parseError(h, body)
	}
}

// parseError reads the packet that an ICMP error quotes.
func (m *Message) parseError(h icmp.Header, body []byte) {
	quote, rest, err := ipv4.Parse(h.Quote(body))
	if err != nil && !errors.Is(err, ipv4.ErrTruncated) {
		return
	}
	e := &ICMPError{
		Type: h.Type(), Code: h.Code(), MTU: int(h.NextHopMTU()), From: m.Src,
		Src: netip.AddrFrom4(quote.Src()), Dst: netip.AddrFrom4(quote.Dst()), Protocol: quote.Protocol(), Data: rest,
	}
	if e.Protocol == udp.Protocol && len(rest) >= 4 {
		e.SrcPort, e.DstPort = uint16(rest[0])<<8|uint16(rest[1]), uint16(rest[2])<<8|uint16(rest[3])
	}
	if q, _, err := icmp.Parse(rest); e.Protocol == icmp.Protocol && err == nil && q.Type() == icmp.TypeEcho {
		e.EchoID, e.EchoSeq = q.ID(), q.Seq()
	}
	m.Error = e
}
