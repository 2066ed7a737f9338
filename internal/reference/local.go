package reference

// What is for the node itself: ICMP (RFC 792, RFC 1122 section 3.2.2; net/ipv4/icmp.c), tunnels' ends, and the rest.

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

const (
	icmpEchoReply    uint8 = 0
	icmpUnreachable  uint8 = 3
	icmpEcho         uint8 = 8
	icmpTimeExceeded uint8 = 11

	icmpParameterProblem uint8 = 12

	codeNet        uint8 = 0
	codeHost       uint8 = 1
	codeProtocol   uint8 = 2
	codePort       uint8 = 3
	codeTooBig     uint8 = 4
	codeProhibited uint8 = 13

	tosInternetControl = 0xc0 // of ICMP errors: precedence 6, RFC 1812 section 4.3.2.5
	tosBits            = 0x1e // that they take over from the packet, as Linux has it (RT_TOS)

	maxQuote = 576 - ipLen - icmpLen // RFC 1812 section 4.3.2.3
)

// deliver takes a packet for the node itself.
func (n *Node) deliver(p ipPacket, to kindOfDestination, kind RouteType) {
	if p.isFragment() {
		n.result.Unknown = true
		return
	}
	switch p.protocol {
	case protocolICMP:
		n.inputICMP(p, kind)
	case protocolIPIP:
		n.decapIPIP(p, to, kind)
	case protocolUDP:
		n.inputUDP(p, to, kind)
	default:
		n.toLocal(p, to, kind, codeProtocol)
	}
}

// toLocal gives a packet to whoever takes those for the node; its sender is told if nobody does.
func (n *Node) toLocal(p ipPacket, to kindOfDestination, kind RouteType, code uint8) {
	if n.Deliver {
		n.result.Delivered = append(n.result.Delivered, p.bytes())
		return
	}
	if p.protocol == protocolTCP {
		n.refuseTCP(p, to, kind)
		return
	}
	n.drop("NoSocket")
	if kind == Local {
		n.sendError(p, to, icmpError{kind: icmpUnreachable, code: code})
	}
}

func (n *Node) inputUDP(p ipPacket, to kindOfDestination, kind RouteType) {
	if len(p.payload) < udpLen {
		n.drop("UDP")
		return
	}
	length := int(binary.BigEndian.Uint16(p.payload[4:]))
	if length < udpLen || length > len(p.payload) {
		faults := []string{"UDP"}
		if n.isTunnelPort(binary.BigEndian.Uint16(p.payload[2:])) {
			faults = append(faults, "TunnelVNI", "TunnelPeer", "TunnelReserved", "TunnelHeader", "Down") // may be looked at first
		}
		n.drop(faults...)
		return
	}
	datagram := p.payload[:length]
	var faults []string
	if binary.BigEndian.Uint16(datagram[6:]) != 0 && transportChecksum(p.src, p.dst, protocolUDP, datagram) != 0 {
		faults = []string{"UDP"}
	}
	if n.isTunnelPort(binary.BigEndian.Uint16(datagram[2:])) && kind == Local {
		n.decapVXLAN(p, datagram, faults)
		return
	}
	if faults != nil {
		n.drop(faults...)
		return
	}
	n.toLocal(p, to, kind, codePort)
}

func (n *Node) isTunnelPort(port uint16) bool {
	return slices.ContainsFunc(n.Devices, func(d *Device) bool { return d.Kind == VXLAN && d.Tunnel.Port == port })
}

// inputICMP is icmp_rcv: an echo request is answered, all else is not for the node's stack, but errors about
// its tunnels are heeded.
func (n *Node) inputICMP(p ipPacket, kind RouteType) {
	if len(p.payload) < icmpLen || checksum(p.payload) != 0 {
		n.drop("ICMP")
		return
	}
	if p.payload[0] != icmpEcho {
		if !n.heed(p.payload) && n.Deliver {
			n.result.Delivered = append(n.result.Delivered, p.bytes())
		}
		return
	}
	if kind != Local { // icmp_echo_ignore_broadcasts
		n.drop("ICMP")
		return
	}
	body := slices.Clone(p.payload)
	body[0], body[2], body[3] = icmpEchoReply, 0, 0
	binary.BigEndian.PutUint16(body[2:], checksum(body))
	answer := ipPacket{tos: p.tos, id: AnyID, ttl: n.DefaultTTL, protocol: protocolICMP, src: p.dst, dst: p.src, payload: body}
	if !n.takeBack(&answer, p, len(p.options)) {
		n.drop("IPOptions")
		return
	}
	n.send(answer)
}

// isICMPError reports whether p is an ICMP message that no error is sent about: an error, one of unknown type, or one too short
// to tell (icmp_send).
func isICMPError(p ipPacket) bool {
	if p.protocol != protocolICMP {
		return false
	}
	if len(p.payload) == 0 {
		return true
	}
	switch p.payload[0] {
	case 0, 8, 13, 14, 15, 16, 17, 18: // router advertisement and solicitation, 9 and 10, count as errors (icmp_pointers)
		return false
	}
	return true
}

// icmpError is what an error says.
type icmpError struct {
	kind, code uint8
	mtu        int   // of codeTooBig
	pointer    uint8 // of icmpParameterProblem
	unroutable bool  // about a packet that routes lead nowhere
}

// sendError sends an ICMP error about a packet that came in by d, nil if it was the node's own (icmp_send; RFC 1812 section
// 4.3.2).
func (n *Node) sendError(p ipPacket, to kindOfDestination, e icmpError) {
	switch {
	case to != toHost, p.offset != 0, isICMPError(p):
		return
	case thisNetwork.Contains(p.src), p.src.IsLoopback() && !n.isLocal(p.src), p.src.IsMulticast(), p.src == everybody:
		return
	case p.dst.IsMulticast(), p.dst == everybody, n.isBroadcast(p.src), n.isBroadcast(p.dst):
		return
	}
	answer := ipPacket{tos: p.tos&tosBits | tosInternetControl, id: AnyID, ttl: n.DefaultTTL, protocol: protocolICMP, dst: p.src}
	limit := len(p.options)
	if e.kind == icmpParameterProblem {
		limit = int(e.pointer) - ipLen // before the fault
	}
	if !n.takeBack(&answer, p, limit) || !n.mayReport(p.src, e) {
		return
	}
	if n.isLocal(p.dst) {
		answer.src = p.dst
	}
	b := []byte{e.kind, e.code, 0, 0, e.pointer, 0, 0, 0}
	binary.BigEndian.PutUint16(b[6:], uint16(e.mtu))
	quote := p.bytes()
	b = append(b, quote[:min(len(quote), maxQuote-len(answer.options))]...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	answer.payload = b
	n.send(answer)
}

func (n *Node) isBroadcast(addr netip.Addr) bool {
	r := n.lookup(addr)
	return r != nil && r.Type == Broadcast
}

// limits are those of ICMP errors: a credit for all of them, and a bucket for each destination, filled by the time that passes.
type limits struct {
	credit  int
	filled  time.Duration // when the credit was filled last
	used    bool
	buckets map[netip.Addr]*bucket
}

type bucket struct {
	tokens time.Duration
	last   time.Duration
}

// fill puts into a bucket what the time since the last look is worth.
func (b *bucket) fill(now, most time.Duration) {
	b.tokens = min(b.tokens+now-b.last, most)
	b.last = now
}

const (
	errorBurst        = 6                     // XRLIM_BURST_FACTOR of net/ipv4/inetpeer.c
	unroutableBurst   = 5                     // ip_rt_error_burst, in seconds, of net/ipv4/route.c
	creditInterval    = 20 * time.Millisecond // HZ/50 in icmp_global_allow
	creditAtOnce      = time.Second           // what a filling is worth at most
	longAgo           = time.Minute           // the first look at a bucket finds as much as that
	unroutableCost    = time.Second           // ip_rt_error_cost
	defaultErrorEvery = time.Second
)

// mayReport is icmpv4_global_allow and icmpv4_xrlim_allow: so many in all, and so many to each destination, but for what path MTU
// discovery needs. Errors about packets without a way pay twice from the same bucket, as ip_error has a limit of its own.
func (n *Node) mayReport(dst netip.Addr, e icmpError) bool {
	if e.kind == icmpUnreachable && e.code == codeTooBig {
		return true
	}
	if n.isLocal(dst) { // has no bucket
		if !n.hasCredit() {
			return false
		}
		n.limits.credit--
		return true
	}
	b := n.limits.buckets[dst]
	if b == nil {
		b = &bucket{tokens: longAgo, last: n.now}
		n.limits.buckets[dst] = b
	}
	if e.unroutable {
		b.fill(n.now, unroutableBurst*time.Second)
		if b.tokens < unroutableCost {
			return false
		}
		b.tokens -= unroutableCost
	}
	if !n.hasCredit() {
		return false
	}
	b.fill(n.now, errorBurst*defaultErrorEvery)
	if b.tokens < defaultErrorEvery {
		return false
	}
	b.tokens -= defaultErrorEvery
	n.limits.credit--
	return true
}

// hasCredit is icmp_global_allow: the credit is filled only when there is none left.
func (n *Node) hasCredit() bool {
	l := &n.limits
	if !l.used {
		l.credit, l.filled, l.used = n.ErrorBurst, n.now, true
	}
	if l.credit > 0 {
		return true
	}
	passed := min(n.now-l.filled, creditAtOnce)
	if passed < creditInterval {
		return false
	}
	l.credit = min(l.credit+int(time.Duration(n.ErrorsPerSecond)*passed/time.Second), n.ErrorBurst)
	l.filled = n.now
	return l.credit > 0
}
