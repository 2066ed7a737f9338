package testnet

// One line for a frame, with everything that a test wants to be sure of and nothing that depends on a seed.

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
)

// Brief describes a frame, or a packet if it is raw, in one line:
//
//	SRC > DST arp 42: who-has 10.0.0.2 tell 10.0.0.1
//	SRC > DST arp 42: 10.0.0.2 is-at MAC
//	SRC > DST ip 98: 10.0.0.1 > 10.0.0.2 ttl 64 DF echo request 1
//	SRC > DST ip 148: 172.16.0.1 > 172.16.0.2 ttl 64 udp * > 8472 nocsum vxlan 1 | SRC > DST ip 98: …
//	SRC > DST ip 118: 172.16.0.1 > 172.16.0.2 ttl 63 DF ipip | 84: 10.0.0.1 > 10.0.0.2 ttl 63 …
//	SRC > DST ip 590: 10.0.0.1 > 10.0.0.9 ttl 64 tos 0xc0 time exceeded (10.0.0.9 > 10.0.1.9 ttl 1)
//
// The number is the length in bytes of the frame, or of the packet where there is no Ethernet header. IP identifications and the
// source ports of tunnels are left out. Checksums are verified: a wrong one adds BAD and which.
func Brief(frame []byte, raw bool) string {
	walker, err := dissect.New(dissect.Config{})
	if err != nil {
		return err.Error()
	}
	var s dissect.Stack
	walk := walker.Ethernet
	if raw {
		walk = walker.IPv4
	}
	err = walk(&s, frame)
	var b strings.Builder
	levels := s.Levels()
	rest := frame
	for i := range levels {
		if i > 0 {
			b.WriteString(" | ")
		}
		level(&b, &levels[i], len(rest), i < len(levels)-1)
		rest = levels[i].Payload
	}
	if err != nil {
		fmt.Fprintf(&b, " BAD %v", err)
	}
	return b.String()
}

// level describes a level of length bytes; tunnel says that another one follows.
func level(b *strings.Builder, l *dissect.Level, length int, tunnel bool) {
	if h := l.Ethernet; h.IsValid() {
		fmt.Fprintf(b, "%v > %v ", h.Src(), h.Dst())
		for i := range h.Tags() {
			fmt.Fprintf(b, "vlan %d ", h.Tag(i).TCI.VLAN())
		}
		fmt.Fprintf(b, "%s %d: ", typeName(h), length)
	} else {
		fmt.Fprintf(b, "%d: ", length)
	}
	switch {
	case l.ARP.IsValid():
		arpWords(b, l.ARP)
	case l.IPv4.IsValid():
		ipWords(b, l, tunnel)
	default:
		fmt.Fprintf(b, "%d bytes", len(l.Payload))
	}
	if err := l.WrongChecksum(); err != nil {
		fmt.Fprintf(b, " BAD %v", err)
	}
}

func typeName(h ethernet.Header) string {
	switch t := h.EtherType(); t {
	case ethernet.TypeARP:
		return "arp"
	case ethernet.TypeIPv4:
		return "ip"
	default:
		return fmt.Sprintf("%#04x", t)
	}
}

func arpWords(b *strings.Builder, p arp.Packet) {
	sender, target := netip.AddrFrom4(p.SenderIP()), netip.AddrFrom4(p.TargetIP())
	switch p.Op() {
	case arp.Request:
		fmt.Fprintf(b, "who-has %v tell %v", target, sender)
	case arp.Reply:
		fmt.Fprintf(b, "%v is-at %v", sender, p.SenderMAC())
	default:
		fmt.Fprintf(b, "operation %d", p.Op())
	}
}

func ipWords(b *strings.Builder, l *dissect.Level, tunnel bool) {
	h := l.IPv4
	fmt.Fprintf(b, "%v > %v ttl %d ", netip.AddrFrom4(h.Src()), netip.AddrFrom4(h.Dst()), h.TTL())
	if h.TOS() != 0 {
		fmt.Fprintf(b, "tos %#02x ", h.TOS())
	}
	if h.DF() {
		b.WriteString("DF ")
	}
	if h.IsFragment() {
		fmt.Fprintf(b, "frag %d", h.FragmentOffset())
		if h.Flags()&ipv4.MoreFragments != 0 {
			b.WriteString("+")
		}
		b.WriteString(" ")
	}
	switch {
	case l.VXLAN.IsValid():
		fmt.Fprintf(b, "udp * > %d ", l.UDP.DstPort())
		if l.UDP.Checksum() == 0 {
			b.WriteString("nocsum ")
		}
		fmt.Fprintf(b, "vxlan %d", l.VXLAN.VNI())
	case tunnel:
		b.WriteString("ipip")
	case l.UDP.IsValid():
		fmt.Fprintf(b, "udp %d > %d len %d", l.UDP.SrcPort(), l.UDP.DstPort(), len(l.Payload))
	case l.TCP.IsValid():
		tcpWords(b, l)
	case l.ICMP.IsValid():
		icmpWords(b, l.ICMP, l.Payload)
	default:
		fmt.Fprintf(b, "protocol %d len %d", h.Protocol(), len(l.Payload))
	}
}

func tcpWords(b *strings.Builder, l *dissect.Level) {
	h := l.TCP
	fmt.Fprintf(b, "tcp %d > %d ", h.SrcPort(), h.DstPort())
	for _, f := range []struct {
		name string
		flag tcp.Flags
	}{{"S", tcp.SYN}, {"F", tcp.FIN}, {"R", tcp.RST}, {"P", tcp.PSH}, {".", tcp.ACK}} {
		if h.Flags()&f.flag != 0 {
			b.WriteString(f.name)
		}
	}
	fmt.Fprintf(b, " len %d", len(l.Payload))
}

// unreachableCodes are words for the codes of 'destination unreachable'.
var unreachableCodes = map[uint8]string{
	icmp.CodeNetUnreachable: "net", icmp.CodeHostUnreachable: "host", icmp.CodeProtocolUnreachable: "protocol",
	icmp.CodePortUnreachable: "port", icmp.CodeFragmentationNeeded: "too big", icmp.CodeAdminProhibited: "prohibited",
}

func icmpWords(b *strings.Builder, h icmp.Header, body []byte) {
	switch {
	case h.Type() == icmp.TypeEcho:
		fmt.Fprintf(b, "echo request %d", h.Seq())
	case h.Type() == icmp.TypeEchoReply:
		fmt.Fprintf(b, "echo reply %d", h.Seq())
	case h.Type() == icmp.TypeUnreachable && h.Code() == icmp.CodeFragmentationNeeded:
		fmt.Fprintf(b, "unreachable too big mtu %d", h.NextHopMTU())
	case h.Type() == icmp.TypeUnreachable && unreachableCodes[h.Code()] != "":
		b.WriteString("unreachable " + unreachableCodes[h.Code()])
	case h.Type() == icmp.TypeTimeExceeded && h.Code() == icmp.CodeTTLExceeded:
		b.WriteString("time exceeded")
	default:
		fmt.Fprintf(b, "icmp %d/%d", h.Type(), h.Code())
	}
	if q, _, err := ipv4.Parse(h.Quote(body)); h.IsError() && (err == nil || errors.Is(err, ipv4.ErrTruncated)) {
		fmt.Fprintf(b, " (%v > %v ttl %d)", netip.AddrFrom4(q.Src()), netip.AddrFrom4(q.Dst()), q.TTL())
	}
}
