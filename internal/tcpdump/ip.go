package tcpdump

// ARP and IPv4: header, options, and the transports that are printed in a few words.

import (
	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// arp prints an ARP packet; length is that of the frame's payload, padding included.
func (p *printer) arp(a arp.Packet, length int) {
	if p.opt.NoLink {
		p.text("ARP, ")
	}
	if !p.opt.Terse {
		p.text("Ethernet (len 6), IPv4 (len 4), ")
	}
	switch a.Op() {
	case arp.Request:
		p.text("Request who-has ")
		p.ip(a.TargetIP())
		if m := a.TargetMAC(); !m.IsZero() {
			p.text(" (")
			p.mac(m)
			p.text(")")
		}
		p.text(" tell ")
		p.ip(a.SenderIP())
	case arp.Reply:
		p.text("Reply ")
		p.ip(a.SenderIP())
		p.text(" is-at ")
		p.mac(a.SenderMAC())
	case arp.ReverseRequest:
		p.text("Reverse Request who-is ")
		p.mac(a.TargetMAC())
		p.text(" tell ")
		p.mac(a.SenderMAC())
	case arp.ReverseReply:
		p.text("Reverse Reply ")
		p.mac(a.TargetMAC())
		p.text(" at ")
		p.ip(a.TargetIP())
	default:
		p.text("Unknown (")
		p.dec(int(a.Op()))
		p.text(")")
		return
	}
	p.text(", length ")
	p.dec(length)
}

// ipv4 prints a level from its IPv4 header on; length is that of the packet on the wire.
func (p *printer) ipv4(l *dissect.Level, length int) {
	if p.opt.NoLink {
		p.text("IP ")
	}
	h := l.IPv4
	if missing := int(h.TotalLen()) - length; missing > 0 {
		p.text("truncated-ip - ")
		p.dec(missing)
		p.text(" bytes missing! ")
	}
	p.packet(l)
}

// packet prints a level as ipv4 does, without asking how much of it there is.
func (p *printer) packet(l *dissect.Level) {
	h := l.IPv4
	if !p.opt.Terse {
		p.header(h)
		p.newline()
		p.text("    ")
	}
	if h.FragmentOffset() != 0 {
		p.endpoints(h.Src(), h.Dst())
		p.text("ip-proto-")
		p.dec(int(h.Protocol()))
		return
	}
	switch h.Protocol() {
	case ipv4.ProtocolUDP:
		p.udp(l)
	case ipv4.ProtocolTCP:
		p.tcp(l)
	case ipv4.ProtocolICMP:
		p.icmp(l)
	case ipv4.ProtocolIPv6:
		p.endpoints(h.Src(), h.Dst())
		p.ipv6(l.Payload)
	default:
		p.endpoints(h.Src(), h.Dst())
		if h.Protocol() == ipv4.ProtocolIPIP && !h.IsFragment() {
			return // the next level follows on the same line
		}
		p.text(" ip-proto-")
		p.dec(int(h.Protocol()))
		p.text(" ")
		p.dec(declared(l))
	}
}

// declared returns the length in bytes that the IPv4 header gives its payload; what there is if it gives none.
func declared(l *dissect.Level) int {
	if n := int(l.IPv4.TotalLen()) - l.IPv4.Len(); n >= 0 {
		return n
	}
	n := l.TCP.Len() + len(l.Payload)
	if l.UDP.IsValid() {
		n += udp.HeaderLen
	}
	if l.ICMP.IsValid() {
		n += icmp.HeaderLen
	}
	return n
}

// header prints the parenthesis that -v adds.
func (p *printer) header(h ipv4.Header) {
	p.text("(tos 0x")
	p.hex(uint16(h.TOS()))
	p.text([...]string{"", ",ECT(1)", ",ECT(0)", ",CE"}[h.ECN()&3])
	if h.TTL() != 0 { // tcpdump's way of showing a 0
		p.text(", ttl ")
		p.dec(int(h.TTL()))
	}
	p.text(", id ")
	p.dec(int(h.ID()))
	p.text(", offset ")
	p.dec(int(h.FragmentOffset()))
	p.text(", flags [", flagNames[h.Flags()&7], "], proto ", protocolName(h.Protocol()), " (")
	p.dec(int(h.Protocol()))
	p.text("), length ")
	p.dec(int(h.TotalLen()))
	p.options(h.Options())
	if !h.ChecksumOK() {
		p.text(", bad cksum ")
		p.hex(h.Checksum())
		p.text(" (->")
		p.hex(right(checksum.Sum(h.Bytes()), h.Checksum()))
		p.text(")!")
	}
	p.text(")")
}

// right returns the checksum that would be right where sum, which includes the wrong one, is the sum of all bytes.
func right(sum, wrong uint16) uint16 { return ^checksum.Add(sum, ^wrong) }

// flagNames are the words for the values of the 3-bit flag field.
var flagNames = [...]string{"none", "+", "DF", "+, DF", "rsvd", "+, rsvd", "DF, rsvd", "+, DF, rsvd"}

func (p *printer) endpoints(src, dst [4]byte) {
	p.ip(src)
	p.text(" > ")
	p.ip(dst)
	p.text(": ")
}

func (p *printer) ports(l *dissect.Level) {
	k := l.Flow()
	if !l.UDP.IsValid() && !l.TCP.IsValid() && len(l.Payload) < 4 {
		p.endpoints(k.Src, k.Dst)
		return
	}
	p.ip(k.Src)
	p.text(".")
	p.dec(int(k.SrcPort))
	p.text(" > ")
	p.ip(k.Dst)
	p.text(".")
	p.dec(int(k.DstPort))
	p.text(": ")
}

// whole reports whether all bytes that a transport checksum covers are there.
func whole(l *dissect.Level) bool { return !l.Cut && !l.IPv4.IsFragment() }

// udp prints a UDP header and, if it follows, a VXLAN header.
func (p *printer) udp(l *dissect.Level) {
	p.ports(l)
	if !l.UDP.IsValid() {
		p.missing("", " [|udp]")
		return
	}
	if !p.opt.Terse && !p.opt.Brief {
		p.udpChecksum(l)
	}
	if l.VXLAN.IsValid() && !p.opt.Quick {
		p.vxlan(l)
		return
	}
	p.text("UDP, length ")
	p.dec(max(0, int(l.UDP.Length())-udp.HeaderLen))
}

func (p *printer) vxlan(l *dissect.Level) {
	v := l.VXLAN
	if p.opt.OTV && (l.UDP.DstPort() == vxlan.PortLinux || l.UDP.SrcPort() == vxlan.PortLinux) {
		p.text("OTV, flags [I] (0x")
		p.hexPadded(uint32(v.Flags()), 2)
		p.text("), overlay ")
		b := v.Bytes()
		p.dec32(uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])) // reserved in VXLAN
		p.text(", instance ")
		p.dec32(v.VNI())
		return
	}
	p.text("VXLAN, flags [I] (0x")
	p.hexPadded(uint32(v.Flags()), 2)
	p.text("), vni ")
	p.dec32(v.VNI())
}

func (p *printer) udpChecksum(l *dissect.Level) {
	field := l.UDP.Checksum()
	switch {
	case l.IPv4.IsFragment():
	case field == 0:
		p.text("[no cksum] ")
	case !whole(l):
	case l.WrongTransportChecksum() == nil:
		p.text("[udp sum ok] ")
	default:
		sum := checksum.PseudoHeader(l.IPv4.Src(), l.IPv4.Dst(), udp.Protocol, l.UDP.Length())
		sum = checksum.Add(sum, checksum.Sum(l.UDP.Bytes()))
		if l.VXLAN.IsValid() {
			sum = checksum.Add(sum, checksum.Sum(l.VXLAN.Bytes()))
		}
		sum = checksum.Add(sum, checksum.Sum(l.Payload))
		p.text("[bad udp cksum 0x")
		p.hexPadded(uint32(field), 4)
		p.text(" -> 0x")
		p.hexPadded(uint32(right(sum, field)), 4)
		p.text("!] ")
	}
}

// options prints the option list of an IPv4 header.
func (p *printer) options(o ipv4.Options) {
	if len(o) == 0 {
		return
	}
	p.text(", options (")
	for i := 0; len(o) > 0; i++ {
		if i > 0 {
			p.text(",")
		}
		list := o
		opt, rest, err := list.Next()
		p.option(opt)
		if err != nil {
			if len(list) > 1 {
				p.text(" [bad length ")
				p.dec(int(list[1]))
				p.text("]")
			}
			break
		}
		o = rest
	}
	p.text(")")
}

func (p *printer) option(o ipv4.Option) {
	switch o.Type {
	case ipv4.OptionEnd:
		p.text("EOL")
	case ipv4.OptionNop:
		p.text("NOP")
	case ipv4.OptionRecordRoute:
		p.text("RR")
		p.route(o.Data)
	case ipv4.OptionLooseRoute:
		p.text("LSRR")
		p.route(o.Data)
	case ipv4.OptionStrictRoute:
		p.text("SSRR")
		p.route(o.Data)
	case ipv4.OptionTimestamp:
		p.text("timestamp")
	case ipv4.OptionSecurity:
		p.text("security")
	case ipv4.OptionRouterAlert:
		p.text("RA")
	default:
		p.text("unknown ")
		p.dec(int(o.Type))
	}
}

// route prints the addresses of a route option, those in front of its pointer, where the packet was, with a comma.
func (p *printer) route(data []byte) {
	if len(data) == 0 {
		return
	}
	const fixed = 3 // octets of type, length and pointer, from which the pointer counts
	pointer, addrs := int(data[0]), data[1:]
	for i := 0; i+4 <= len(addrs); i += 4 {
		p.text(" ")
		p.ip([4]byte(addrs[i:]))
		if fixed+i+4 < pointer {
			p.text(",")
		}
	}
}
