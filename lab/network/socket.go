package network

// Sockets of a node's host: UDP, ICMP echo, and raw IP protocols.

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/udp"
)

// Faults of sockets.
var (
	ErrInUse      = errors.New("network: address already in use")
	ErrNoBuffers  = errors.New("network: no buffer space available")
	ErrNoTransmit = errors.New("network: operation not supported")
)

// Range of ports that a socket without one gets (net.ipv4.ip_local_port_range).
const (
	firstEphemeral = 32768
	lastEphemeral  = 60999
)

// maxQueue is how many messages wait in a socket that nobody reads.
const maxQueue = 4096

// Message is what a socket received.
type Message struct {
	At               time.Duration
	Device           string
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16 // of UDP
	Protocol         uint8
	TTL, TOS         uint8
	ID               uint16
	DF               bool
	Data             []byte     // of UDP: behind its header; else behind the IPv4 header
	Packet           []byte     // all of it, from the IPv4 header
	Error            *ICMPError // it is an ICMP error about something that the node sent; nil: it is not
}

// ICMPError is an ICMP error, and what it quotes.
type ICMPError struct {
	Type, Code       uint8
	MTU              int        // of 'fragmentation needed'
	From             netip.Addr // who complains
	Src, Dst         netip.Addr // of the packet that it is about
	Protocol         uint8
	SrcPort, DstPort uint16 // of UDP
	EchoID, EchoSeq  uint16 // of ICMP echo requests
	Data             []byte // behind the quoted IPv4 header
}

// Socket receives messages. Closing it is the opener's task.
type Socket struct {
	// OnReceive is called when there is a message to read, by whoever lets the network run; may be nil. Processes that wait use
	// [proc.Recv].
	OnReceive func()

	node   *Node
	filter func(*Message) bool
	queue  []Message
	local  netip.AddrPort
	peer   netip.AddrPort // see Connect
	echoID uint16
	lost   int
}

// open adds a socket.
func (n *Node) open(s *Socket, filter func(*Message) bool) *Socket {
	s.node, s.filter = n, filter
	n.socketsMu.Lock()
	defer n.socketsMu.Unlock()
	n.sockets = append(n.sockets, s)
	return s
}

// ListenUDP opens a UDP socket. Its address may be missing or unspecified for any, its port 0 for a free one. It takes datagrams
// for its port, and ICMP errors about those that it sent.
func (n *Node) ListenUDP(local netip.AddrPort) (*Socket, error) {
	if local.Port() == 0 {
		local = netip.AddrPortFrom(local.Addr(), n.freePort())
	} else if n.portUsed(local) {
		return nil, fmt.Errorf("network: %s: UDP %s: %w", n.Name, local, ErrInUse)
	}
	s := &Socket{local: local}
	return n.open(s, func(m *Message) bool {
		if m.Protocol == icmp.Protocol {
			return m.Error != nil && m.Error.Protocol == udp.Protocol && m.Error.SrcPort == local.Port() &&
				(!s.peer.IsValid() || s.peer == netip.AddrPortFrom(m.Error.Dst, m.Error.DstPort))
		}
		return m.Protocol == udp.Protocol && m.DstPort == local.Port() && s.bound(m.Dst) &&
			(!s.peer.IsValid() || s.peer == netip.AddrPortFrom(m.Src, m.SrcPort))
	}), nil
}

// Connect makes a UDP socket take datagrams from one sender alone. What has arrived already stays.
func (s *Socket) Connect(peer netip.AddrPort) {
	s.node.socketsMu.Lock()
	defer s.node.socketsMu.Unlock()
	s.peer = peer
}

// bound reports whether the socket takes what is for an address.
func (s *Socket) bound(dst netip.Addr) bool {
	a := s.local.Addr()
	return !a.IsValid() || a.IsUnspecified() || a == dst
}

func (n *Node) portUsed(local netip.AddrPort) bool {
	return slices.ContainsFunc(n.sockets, func(s *Socket) bool {
		if s.local.Port() != local.Port() {
			return false
		}
		return !s.local.Addr().IsValid() || !local.Addr().IsValid() || s.local.Addr() == local.Addr() ||
			s.local.Addr().IsUnspecified() || local.Addr().IsUnspecified()
	})
}

// freePort returns an ephemeral port that no socket has: each the next one, so that sockets that follow each other can be told apart.
func (n *Node) freePort() uint16 {
	for range lastEphemeral - firstEphemeral + 1 {
		if n.port++; n.port < firstEphemeral || n.port > lastEphemeral {
			n.port = firstEphemeral
		}
		if !slices.ContainsFunc(n.sockets, func(s *Socket) bool { return s.local.Port() == n.port }) {
			break
		}
	}
	return n.port
}

// ListenEcho opens a socket for echo replies to an id that no other has, or had of late, and for ICMP errors about such echo
// requests. See EchoID.
func (n *Node) ListenEcho() *Socket {
	id := &n.net.echoID // of the network, so that two nodes with one address are told apart in captures
	*id++
	for *id == 0 || n.echoIDs[*id] {
		*id++
	}
	return n.ListenEchoID(*id)
}

// ListenEchoID is ListenEcho for a certain id.
func (n *Node) ListenEchoID(id uint16) *Socket {
	n.echoIDs[id] = true
	return n.open(&Socket{echoID: id}, func(m *Message) bool {
		if m.Protocol != icmp.Protocol {
			return false
		}
		if m.Error != nil {
			return m.Error.Protocol == icmp.Protocol && m.Error.EchoID == id
		}
		h, body, err := icmp.Parse(m.Data)
		return err == nil && h.ChecksumOK(body) && h.Type() == icmp.TypeEchoReply && h.ID() == id
	})
}

// ListenRaw opens a socket for all packets of an IP protocol that come for the node. What others take of them they still get.
func (n *Node) ListenRaw(protocol uint8) *Socket {
	return n.open(&Socket{}, func(m *Message) bool { return m.Protocol == protocol })
}

// EchoID returns the identifier of an echo socket's requests.
func (s *Socket) EchoID() uint16 { return s.echoID }

// Local returns the address and port of a UDP socket.
func (s *Socket) Local() netip.AddrPort { return s.local }

// Node returns the socket's node.
func (s *Socket) Node() *Node { return s.node }

func (s *Socket) wants(m *Message) bool { return s.filter(m) }

func (s *Socket) deliver(m Message) {
	if len(s.queue) >= maxQueue {
		s.lost++
		return
	}
	s.queue = append(s.queue, m)
	if s.OnReceive != nil {
		s.OnReceive()
	}
}

// Read returns the next message, and false if there is none.
func (s *Socket) Read() (Message, bool) {
	if len(s.queue) == 0 {
		return Message{}, false
	}
	m := s.queue[0]
	s.queue = s.queue[1:]
	return m, true
}

// Close ends the socket.
func (s *Socket) Close() {
	s.node.socketsMu.Lock()
	defer s.node.socketsMu.Unlock()
	s.node.sockets = slices.DeleteFunc(s.node.sockets, func(other *Socket) bool { return other == s })
	if s.echoID != 0 {
		delete(s.node.echoIDs, s.echoID)
	}
}

// SendUDP sends a datagram from a UDP socket. s's Protocol is filled in, and Src by the socket's address or, if it has none, by
// the route.
func (s *Socket) SendUDP(to netip.AddrPort, how engine.Send, data []byte) error {
	how.Dst, how.Protocol = to.Addr(), udp.Protocol
	if !how.Src.IsValid() && s.local.Addr().IsValid() && !s.local.Addr().IsUnspecified() {
		how.Src = s.local.Addr()
	}
	src := how.Src
	if !src.IsValid() {
		a, err := s.node.E.GetRoute(to.Addr(), engine.RouteQuery{Device: how.Device})
		if err != nil {
			return err
		}
		src = a.Source
	}
	b, err := udp.Fields{SrcPort: s.local.Port(), DstPort: to.Port()}.Append(nil, len(data))
	if err != nil {
		return err
	}
	b = append(b, data...)
	h, payload, err := udp.Parse(b)
	if err != nil {
		return err
	}
	h.FixChecksum(src.As4(), to.Addr().As4(), payload)
	return s.node.Send(how, b)
}
