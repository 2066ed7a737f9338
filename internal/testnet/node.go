package testnet

// Nodes: an engine, its ports' wires, and a small host stack on top that sends and receives.

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/simnet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/udp"
)

// Node is an engine with a host stack of a few lines, which listens to ICMP and to what Listen says.
type Node struct {
	*simnet.Node
	Name string

	// Received is what the node itself got: ICMP, and what Listen asked for. Echo requests, which the engine answers, are not.
	Received []Packet

	// Lent is how many buffers the test itself has taken from Pool and not given back.
	Lent int

	net       *Net
	listening map[socket]bool
	pings     uint16 // sent
}

// socket is what the stack listens on; port 0 is any.
type socket struct {
	protocol uint8
	port     uint16
}

// Packet is an IPv4 packet that a node received for itself.
type Packet struct {
	At       time.Duration
	Device   string
	Src, Dst netip.Addr
	Protocol uint8
	TTL, TOS uint8
	ID       uint16
	DF       bool
	Payload  []byte
	Bytes    []byte // all of it
}

// String describes the packet in a line: see [Brief].
func (p Packet) String() string { return Brief(p.Bytes, true) }

// local is the host stack: it keeps a copy of what it listens to.
func (n *Node) local(_ *engine.Worker, d engine.Delivery) bool {
	p := Packet{
		At: n.Now(), Device: n.E.Name(d.Device), Src: netip.AddrFrom4(d.Header.Src()), Dst: netip.AddrFrom4(d.Header.Dst()),
		Protocol: d.Header.Protocol(), TTL: d.Header.TTL(), TOS: d.Header.TOS(), ID: d.Header.ID(), DF: d.Header.DF(),
		Payload: bytes.Clone(d.Payload), Bytes: bytes.Clone(d.Buffer.Bytes()),
	}
	if !n.listens(p) {
		return false
	}
	n.Received = append(n.Received, p)
	d.Buffer.Free()
	return true
}

func (n *Node) listens(p Packet) bool {
	if p.Protocol == icmp.Protocol || n.listening[socket{protocol: p.Protocol}] {
		return true
	}
	if len(p.Payload) < 4 {
		return false
	}
	port := uint16(p.Payload[2])<<8 | uint16(p.Payload[3]) // the same place in UDP and TCP
	return n.listening[socket{p.Protocol, port}]
}

// Listen makes the node take packets of a protocol for a port; port 0 is all of the protocol. For others it says that nobody
// listens.
func (n *Node) Listen(protocol uint8, port uint16) { n.listening[socket{protocol, port}] = true }

// ---- configuration

// Link returns a link that is up; mac may be "" for a random address.
func Link(name, mac string) engine.Link {
	l := engine.Link{Name: name, Up: true}
	if mac != "" {
		l.MAC = ethernet.MustParseMAC(mac)
	}
	return l
}

// Do fails the test if any of the engine's control calls returned an error.
func (n *Node) Do(errs ...error) {
	n.net.tb.Helper()
	if err := errors.Join(errs...); err != nil {
		n.net.tb.Fatalf("testnet: %s: %v", n.Name, err)
	}
}

// Add adds a device, one of engine's Port, Pair, Bridge, VXLAN and IPIP, gives it addresses ("10.0.0.1/24", or with a peer
// "10.0.0.1 peer 10.0.1.1/32"), and makes name/device stand for its MAC address.
func (n *Node) Add(device any, addrs ...string) {
	n.net.tb.Helper()
	var err error
	var links []engine.Link
	switch d := device.(type) {
	case engine.Port:
		_, err = n.E.AddPort(d)
		links = append(links, d.Link)
	case engine.Pair:
		_, _, err = n.E.AddPair(d)
		links = append(links, d.Link, d.Peer)
	case engine.Bridge:
		_, err = n.E.AddBridge(d)
		links = append(links, d.Link)
	case engine.VXLAN:
		_, err = n.E.AddVXLAN(d)
		links = append(links, d.Link)
	case engine.IPIP:
		_, err = n.E.AddIPIP(d)
		links = append(links, d.Link)
	default:
		err = fmt.Errorf("Add of %T", device)
	}
	n.Do(err)
	for _, l := range links {
		info, _ := n.E.Link(l.Name)
		n.net.Let(n.Name+"/"+l.Name, info.MAC.String())
	}
	for _, a := range addrs {
		n.Addr(links[0].Name, a)
	}
}

// Addr gives a device an address, written as for Add.
func (n *Node) Addr(dev, addr string) {
	n.net.tb.Helper()
	a, err := ParseAddr(addr)
	n.Do(err, n.E.AddAddr(dev, a))
}

// ParseAddr reads "10.0.0.1/24" or "10.0.0.1 peer 10.0.1.1/32".
func ParseAddr(text string) (a engine.Addr, err error) {
	local, peer, hasPeer := strings.Cut(text, " peer ")
	if !hasPeer {
		a.Prefix, err = netip.ParsePrefix(local)
		return a, err
	}
	addr, err := netip.ParseAddr(local)
	if err != nil {
		return a, err
	}
	a.Prefix = netip.PrefixFrom(addr, addr.BitLen())
	a.Peer, err = netip.ParsePrefix(peer)
	return a, err
}

// Route adds a route, in the words of ip route: see [ParseRoute].
func (n *Node) Route(text string) {
	n.net.tb.Helper()
	r, err := ParseRoute(text)
	n.Do(err, n.E.AddRoute(r))
}

// ParseRoute reads the common forms of ip route: "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink", "default via 10.1.1.1",
// "blackhole 10.65.0.0/26"; also src, metric, mtu and scope link.
func ParseRoute(text string) (r engine.Route, err error) {
	words := strings.Fields(text)
	if len(words) > 0 {
		if t, err := route.ParseType(words[0]); err == nil {
			r.Type, words = t, words[1:]
		}
	}
	if len(words) == 0 {
		return r, fmt.Errorf("route %q: no prefix", text)
	}
	if r.Prefix, err = parsePrefix(words[0]); err != nil {
		return r, fmt.Errorf("route %q: %w", text, err)
	}
	for words = words[1:]; len(words) > 0; words = words[1:] {
		if words[0] == "onlink" {
			r.Onlink = true
			continue
		}
		if len(words) < 2 {
			return r, fmt.Errorf("route %q: %s of what?", text, words[0])
		}
		if err := routeWord(&r, words[0], words[1]); err != nil {
			return r, fmt.Errorf("route %q: %w", text, err)
		}
		words = words[1:]
	}
	return r, nil
}

// routeWord reads one pair of words.
func routeWord(r *engine.Route, word, value string) (err error) {
	number := func() uint32 {
		var v uint64
		v, err = strconv.ParseUint(value, 10, 32)
		return uint32(v)
	}
	switch word {
	case "via":
		r.Via, err = netip.ParseAddr(value)
	case "dev":
		r.Dev = value
	case "src":
		r.Source, err = netip.ParseAddr(value)
	case "metric":
		r.Metric = number()
	case "mtu":
		r.MTU = number()
	case "scope":
		if value != "link" {
			return fmt.Errorf("scope %s is not known here", value)
		}
		r.Scope = route.ScopeLink
	default:
		err = fmt.Errorf("%s is not known here", word)
	}
	return err
}

// parsePrefix reads a prefix, an address or "default".
func parsePrefix(text string) (netip.Prefix, error) {
	if text == "default" {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	}
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		return netip.PrefixFrom(a, a.BitLen()), err
	}
	return netip.ParsePrefix(text)
}

// ---- sending

// UDP sends a datagram with its checksum. A From without address takes what the engine chooses.
func (n *Node) UDP(from, to netip.AddrPort, data []byte) error {
	src := from.Addr()
	if !src.IsValid() {
		a, err := n.E.GetRoute(to.Addr(), engine.RouteQuery{})
		if err != nil {
			return err
		}
		src = a.Source
	}
	b, err := udp.Fields{SrcPort: from.Port(), DstPort: to.Port()}.Append(nil, len(data))
	if err != nil {
		return err
	}
	b = append(b, data...)
	h, payload, err := udp.Parse(b)
	if err != nil {
		return err
	}
	h.FixChecksum(src.As4(), to.Addr().As4(), payload)
	return n.Send(engine.Send{Dst: to.Addr(), Src: from.Addr(), Protocol: udp.Protocol, DF: true}, b)
}

// Echo is an echo request to be sent; the zero values are ping's, and it sets DF as ping does.
type Echo struct {
	Src       netip.Addr
	Size      int // bytes of data; 0: 56, which makes a packet of 84 bytes
	TTL, TOS  uint8
	Fragment  bool // DF clear ('ping -M dont')
	Device    string
	Broadcast bool
	Wait      time.Duration // for the answer; 0: 1 s
}

// Answer is what came of an echo request.
type Answer struct {
	OK         bool // an echo reply came
	From       netip.Addr
	Type, Code uint8         // of the ICMP message; echo reply is type 0
	MTU        uint16        // of 'fragmentation needed'
	TTL        uint8         // with which it arrived
	After      time.Duration // the request
	Err        error         // Send's, or ErrNoAnswer
}

// ErrNoAnswer says that no answer came in time.
var ErrNoAnswer = errors.New("testnet: no answer")

// pingSize is how much data ping sends unless told otherwise.
const pingSize = 56

// Ping sends an echo request and lets the network live until there is an answer, an error included, or a second is over.
func (n *Node) Ping(to string) Answer {
	n.net.tb.Helper()
	return n.PingWith(to, Echo{})
}

// PingWith is Ping with another request.
func (n *Node) PingWith(to string, e Echo) Answer {
	n.net.tb.Helper()
	sent, seq := n.Now(), n.pings+1
	before := len(n.Received)
	if err := n.PingStart(to, e); err != nil {
		return Answer{Err: err}
	}
	wait := e.Wait
	if wait == 0 {
		wait = time.Second
	}
	for {
		for _, p := range n.Received[before:] {
			if a, ok := n.answer(p, seq); ok {
				a.After = p.At - sent
				n.net.Settle()
				return a
			}
		}
		before = len(n.Received)
		if !n.net.step(sent + wait) {
			n.net.sim.MoveTo(sent + wait)
			return Answer{Err: ErrNoAnswer}
		}
	}
}

// PingStart sends an echo request and waits for nothing.
func (n *Node) PingStart(to string, e Echo) error {
	n.net.tb.Helper()
	dst, err := netip.ParseAddr(to)
	n.Do(err)
	if e.Size == 0 {
		e.Size = pingSize
	}
	data := make([]byte, e.Size)
	for i := range data {
		data[i] = byte(i)
	}
	n.pings++
	return n.Send(engine.Send{
		Dst: dst, Src: e.Src, Protocol: icmp.Protocol, TTL: e.TTL, TOS: e.TOS, DF: !e.Fragment, Device: e.Device, Broadcast: e.Broadcast,
	}, icmp.Echo(n.pingID(), n.pings).Append(nil, data))
}

// pingID tells the echo requests of one node from those of another.
func (n *Node) pingID() uint16 {
	for i, node := range n.net.nodes {
		if node == n {
			return uint16(i + 1)
		}
	}
	return 0
}

// answer reads an answer to the echo request with a sequence number.
func (n *Node) answer(p Packet, seq uint16) (Answer, bool) {
	if p.Protocol != icmp.Protocol {
		return Answer{}, false
	}
	h, body, err := icmp.Parse(p.Payload)
	if err != nil || !h.ChecksumOK(body) {
		return Answer{}, false
	}
	a := Answer{From: p.Src, Type: h.Type(), Code: h.Code(), MTU: h.NextHopMTU(), TTL: p.TTL}
	if h.Type() == icmp.TypeEchoReply {
		a.OK = true
		return a, h.ID() == n.pingID() && h.Seq() == seq
	}
	_, quoted, err := ipv4.Parse(h.Quote(body))
	if err != nil && !errors.Is(err, ipv4.ErrTruncated) {
		return Answer{}, false
	}
	q, _, err := icmp.Parse(quoted)
	return a, err == nil && q.Type() == icmp.TypeEcho && q.ID() == n.pingID() && q.Seq() == seq
}
