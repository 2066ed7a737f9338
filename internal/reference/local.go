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

	codeNet        uint8 = 0
	codeHost       uint8 = 1
	codeProtocol   uint8 = 2
	codePort       uint8 = 3
	codeTooBig     uint8 = 4
	codeProhibited uint8 = 13

	tosInternetControl = 0xc0 // of ICMP errors: precedence 6, RFC 1812 section 4.3.2.5

	maxQuote = 576 - ipLen - icmpLen // RFC 1812 section 4.3.2.3
)

// deliver takes a packet for the node itself.
func (n *Node) deliver(d *Device, p ipPacket, to kindOfDestination, kind RouteType) {
	if p.isFragment() {
		n.result.Unknown = true
		return
	}
	switch p.protocol {
	case protocolICMP:
		n.inputICMP(d, p, kind)
	case protocolIPIP:
		n.decapIPIP(p)
	case protocolUDP:
		n.inputUDP(d, p, to, kind)
	default:
		n.toLocal(d, p, to, kind, codeProtocol)
	}
}

// toLocal gives a packet to whoever takes those for the node; its sender is told if nobody does.
func (n *Node) toLocal(d *Device, p ipPacket, to kindOfDestination, kind RouteType, code uint8) {
	if n.Deliver {
		n.result.Delivered = append(n.result.Delivered, p.bytes())
		return
	}
	n.drop("NoSocket")
	if kind == Local {
		n.sendError(d, p, to, icmpUnreachable, code, 0)
	}
}

func (n *Node) inputUDP(d *Device, p ipPacket, to kindOfDestination, kind RouteType) {
	if len(p.payload) < udpLen {
		n.drop("UDP")
		return
	}
	length := int(binary.BigEndian.Uint16(p.payload[4:]))
	if length < udpLen || length > len(p.payload) {
		n.drop("UDP")
		return
	}
	datagram := p.payload[:length]
	if binary.BigEndian.Uint16(datagram[6:]) != 0 && transportChecksum(p.src, p.dst, protocolUDP, datagram) != 0 {
		n.drop("UDP")
		return
	}
	if n.isTunnelPort(binary.BigEndian.Uint16(datagram[2:])) && kind == Local {
		n.decapVXLAN(p, datagram)
		return
	}
	n.toLocal(d, p, to, kind, codePort)
}

func (n *Node) isTunnelPort(port uint16) bool {
	return slices.ContainsFunc(n.Devices, func(d *Device) bool { return d.Kind == VXLAN && d.Tunnel.Port == port })
}

// inputICMP is icmp_rcv: an echo request is answered, all else is not for the node's stack. It knows no errors about the node's
// own tunnels.
func (n *Node) inputICMP(d *Device, p ipPacket, kind RouteType) {
	if len(p.payload) < icmpLen || checksum(p.payload) != 0 {
		n.drop("ICMP")
		return
	}
	if p.payload[0] != icmpEcho {
		n.toLocal(d, p, toHost, Broadcast, 0)
		return
	}
	if kind != Local { // icmp_echo_ignore_broadcasts
		n.drop("ICMP")
		return
	}
	body := slices.Clone(p.payload)
	body[0], body[2], body[3] = icmpEchoReply, 0, 0
	binary.BigEndian.PutUint16(body[2:], checksum(body))
	n.send(ipPacket{tos: p.tos, id: AnyID, ttl: n.DefaultTTL, protocol: protocolICMP, src: p.dst, dst: p.src, payload: body})
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
	case 0, 8, 9, 10, 13, 14, 15, 16, 17, 18:
		return false
	}
	return true
}

// sendError sends an ICMP error about a packet that came in by d, nil if it was the node's own (icmp_send; RFC 1812 section
// 4.3.2). MTU is for codeTooBig.
func (n *Node) sendError(d *Device, p ipPacket, to kindOfDestination, kind, code uint8, mtu int) {
	switch {
	case d == nil, to != toHost, p.offset != 0, isICMPError(p):
		return
	case p.src.IsUnspecified(), p.src.IsLoopback(), p.src.IsMulticast(), p.src == everybody:
		return
	case p.dst.IsMulticast(), p.dst == everybody:
		return
	}
	back := n.lookup(p.src)
	if back == nil || back.Type != Unicast {
		return
	}
	var source netip.Addr
	if n.isLocal(p.dst) {
		source = p.dst
	}
	if !n.mayReport(p.src, kind, code) {
		return
	}
	b := []byte{kind, code, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(b[6:], uint16(mtu))
	quote := p.bytes()
	b = append(b, quote[:min(len(quote), maxQuote)]...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	n.send(ipPacket{
		tos: tosInternetControl, id: AnyID, ttl: n.DefaultTTL, protocol: protocolICMP, src: source, dst: p.src, payload: b,
	})
}

// bucket is a token bucket.
type bucket struct {
	tokens time.Duration // each as long as the interval of its refilling
	last   time.Duration
	used   bool
}

// Bursts of a destination's bucket (XRLIM_BURST_FACTOR of net/ipv4/icmp.c).
const errorBurstFactor = 6

// mayReport is icmpv4_global_allow and icmpv4_xrlim_allow: so many in all, and so many to each destination, but for those that
// path MTU discovery needs.
func (n *Node) mayReport(dst netip.Addr, kind, code uint8) bool {
	if kind == icmpUnreachable && code == codeTooBig {
		return true
	}
	each := time.Second / time.Duration(max(n.ErrorsPerSecond, 1))
	full := each * time.Duration(n.ErrorBurst)
	if !n.global.used {
		n.global = bucket{tokens: full, last: n.now, used: true}
	}
	n.global.tokens = min(full, n.global.tokens+n.now-n.global.last)
	n.global.last = n.now
	if n.global.tokens < each {
		return false
	}
	if n.ErrorInterval > 0 {
		b := n.buckets[dst]
		if b == nil {
			b = &bucket{tokens: errorBurstFactor * n.ErrorInterval, last: n.now}
			n.buckets[dst] = b
		}
		b.tokens = min(errorBurstFactor*n.ErrorInterval, b.tokens+n.now-b.last)
		b.last = n.now
		if b.tokens < n.ErrorInterval {
			return false
		}
		b.tokens -= n.ErrorInterval
	}
	n.global.tokens -= each
	return true
}
