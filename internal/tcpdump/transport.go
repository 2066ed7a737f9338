package tcpdump

// TCP, with its options, and ICMP, with the packet that an error quotes.

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
)

// tcp prints a TCP header.
func (p *printer) tcp(l *dissect.Level) {
	p.ports(l)
	h := l.TCP
	if !h.IsValid() {
		p.missing("", []string{"[|tcp]", " [|tcp]"}[min(len(l.Payload)/4, 1)])
		return
	}
	length := max(0, declared(l)-h.Len())
	if p.opt.Quick {
		p.text("tcp ")
		p.dec(length)
		return
	}
	seq, ack, sack := h.Seq(), h.Ack(), uint32(0)
	if p.opt.TCP != nil {
		seq, ack, sack = p.opt.TCP.relative(l.Flow(), h)
	}
	p.text("Flags [")
	p.tcpFlags(h.Flags())
	p.text("]")
	if !p.opt.Terse && whole(l) {
		p.tcpChecksum(l)
	}
	if length > 0 || !p.opt.Terse && !p.opt.Brief || h.Flags()&(tcp.SYN|tcp.FIN|tcp.RST) != 0 {
		p.text(", seq ")
		p.dec32(seq)
		if length > 0 {
			p.text(":")
			p.dec32(seq + uint32(length))
		}
	}
	if h.Flags()&tcp.ACK != 0 {
		p.text(", ack ")
		p.dec32(ack)
	}
	p.text(", win ")
	p.dec(int(h.Window()))
	if h.Flags()&tcp.URG != 0 {
		p.text(", urg ")
		p.dec(int(h.Urgent()))
	}
	p.tcpOptions(h.Options(), sack)
	p.text(", length ")
	p.dec(length)
}

// tcpFlags prints the control bits in the order of their values, with tcpdump's dot for ACK.
func (p *printer) tcpFlags(f tcp.Flags) {
	if f == 0 {
		p.text("none")
		return
	}
	const letters = "FSRP.UEW"
	for i := range len(letters) {
		if f>>i&1 != 0 {
			p.b = append(p.b, letters[i])
		}
	}
}

func (p *printer) tcpChecksum(l *dissect.Level) {
	field := l.TCP.Checksum()
	p.text(", cksum 0x")
	p.hexPadded(uint32(field), 4)
	if l.WrongTransportChecksum() == nil {
		p.text(" (correct)")
		return
	}
	n := l.TCP.Len() + len(l.Payload)
	sum := checksum.PseudoHeader(l.IPv4.Src(), l.IPv4.Dst(), tcp.Protocol, uint16(n))
	sum = checksum.Add(checksum.Add(sum, checksum.Sum(l.TCP.Bytes())), checksum.Sum(l.Payload))
	p.text(" (incorrect -> 0x")
	p.hexPadded(uint32(right(sum, field)), 4)
	p.text(")")
}

// Kinds of TCP options (IANA) that have a word of their own here.
const (
	tcpEnd, tcpNop             = 0, 1
	tcpMSS, tcpWindowScale     = 2, 3 // RFC 9293, RFC 7323
	tcpSACKPermitted, tcpSACK  = 4, 5 // RFC 2018
	tcpTimestamps              = 8    // RFC 7323
	lenMSS, lenScale, lenStamp = 4, 3, 10
	lenPermitted, lenBlock     = 2, 8
)

// tcpOptions prints the option list; sack is what the numbers of selective acknowledgments are relative to.
func (p *printer) tcpOptions(o []byte, sack uint32) {
	if len(o) == 0 {
		return
	}
	p.text(", options [")
	for i := 0; len(o) > 0; i++ {
		if i > 0 {
			p.text(",")
		}
		if o = p.tcpOption(o, sack); o == nil {
			break
		}
	}
	p.text("]")
}

// tcpOption prints the first option of o and returns those behind it: nil at the end of the list, or of what can be read.
func (p *printer) tcpOption(o []byte, sack uint32) []byte {
	switch o[0] {
	case tcpEnd:
		p.text("eol")
		return nil
	case tcpNop:
		p.text("nop")
		return o[1:]
	}
	if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
		p.text("[bad opt]")
		return nil
	}
	n := int(o[1])
	data := o[2:n]
	switch {
	case o[0] == tcpMSS && n == lenMSS:
		p.text("mss ")
		p.dec(int(binary.BigEndian.Uint16(data)))
	case o[0] == tcpWindowScale && n == lenScale:
		p.text("wscale ")
		p.dec(int(data[0]))
	case o[0] == tcpSACKPermitted && n == lenPermitted:
		p.text("sackOK")
	case o[0] == tcpSACK && len(data)%lenBlock == 0:
		p.sack(data, sack)
	case o[0] == tcpTimestamps && n == lenStamp:
		p.text("TS val ")
		p.dec32(binary.BigEndian.Uint32(data))
		p.text(" ecr ")
		p.dec32(binary.BigEndian.Uint32(data[4:]))
	default:
		p.text("unknown-")
		p.dec(int(o[0]))
		for i, v := range data {
			if i == 0 {
				p.text(" 0x")
			}
			p.hexPadded(uint32(v), 2)
		}
	}
	return o[n:]
}

func (p *printer) sack(blocks []byte, base uint32) {
	p.text("sack ")
	p.dec(len(blocks) / lenBlock)
	p.text(" ")
	for ; len(blocks) >= lenBlock; blocks = blocks[lenBlock:] {
		p.text("{")
		p.dec32(binary.BigEndian.Uint32(blocks) - base)
		p.text(":")
		p.dec32(binary.BigEndian.Uint32(blocks[4:]) - base)
		p.text("}")
	}
}

// icmp prints an ICMP message and, of an error, the packet that it quotes.
func (p *printer) icmp(l *dissect.Level) {
	p.endpoints(l.IPv4.Src(), l.IPv4.Dst())
	h := l.ICMP
	if !h.IsValid() {
		p.missing("", " [|icmp]")
		return
	}
	quoted, readable := quote(h, l.Payload)
	p.text("ICMP ")
	p.icmpType(h, &quoted)
	p.text(", length ")
	p.dec(declared(l))
	if p.opt.Terse {
		return
	}
	if whole(l) && l.WrongTransportChecksum() != nil {
		sum := checksum.Add(checksum.Sum(h.Bytes()), checksum.Sum(l.Payload))
		p.text(" (wrong icmp cksum ")
		p.hex(h.Checksum())
		p.text(" (->")
		p.hex(right(sum, h.Checksum()))
		p.text(")!)")
	}
	if readable && !p.quoting {
		p.newline()
		p.text("\t")
		p.quoted(&quoted)
	}
}

// quote reads the packet that an error quotes as far as it goes: IPv4 and what it carries, but no tunnel.
func quote(h icmp.Header, body []byte) (l dissect.Level, ok bool) {
	packet := h.Quote(body)
	if packet == nil {
		return l, false
	}
	return parse(packet)
}

// parse reads one level of a packet that may be cut.
func parse(packet []byte) (l dissect.Level, ok bool) {
	ip, payload, err := ipv4.Parse(packet)
	if !ip.IsValid() {
		return l, false
	}
	l.IPv4, l.Payload, l.Cut = ip, payload, err != nil
	if ip.FragmentOffset() != 0 {
		return l, true
	}
	switch ip.Protocol() {
	case ipv4.ProtocolUDP:
		u, data, err := udp.Parse(payload)
		if u.IsValid() {
			l.UDP, l.Payload = u, data
		}
		l.Cut = l.Cut || err != nil
	case ipv4.ProtocolTCP:
		t, data, err := tcp.Parse(payload)
		if err == nil {
			l.TCP, l.Payload = t, data
		}
		l.Cut = l.Cut || err != nil
	case ipv4.ProtocolICMP:
		m, data, err := icmp.Parse(payload)
		if err == nil {
			l.ICMP, l.Payload = m, data
		}
		l.Cut = l.Cut || err != nil
	}
	return l, true
}

// quoted prints a quoted packet, and the packets inside it where it is IPIP. Quotes in it are not printed: nobody honest
// sends an error about an error (RFC 1122 section 3.2.2), and they could nest without end.
func (p *printer) quoted(l *dissect.Level) {
	cut := p.cut
	p.quoting, p.cut = true, true // quotes end where they end
	defer func() { p.quoting, p.cut = false, cut }()
	level := *l
	for range dissect.MaxLevels {
		if p.opt.NoLink {
			p.text("IP ")
		}
		p.packet(&level)
		if level.IPv4.Protocol() != ipv4.ProtocolIPIP || level.IPv4.IsFragment() {
			return
		}
		next, ok := parse(level.Payload)
		if !ok {
			p.text(" [|ip]")
			return
		}
		level = next
	}
}

// icmpType prints type and code in words; those of errors name parts of the quoted packet.
func (p *printer) icmpType(h icmp.Header, quoted *dissect.Level) {
	switch h.Type() {
	case icmp.TypeEcho, icmp.TypeEchoReply:
		p.text([...]string{icmp.TypeEchoReply: "echo reply", icmp.TypeEcho: "echo request"}[h.Type()], ", id ")
		p.dec(int(h.ID()))
		p.text(", seq ")
		p.dec(int(h.Seq()))
	case icmp.TypeUnreachable:
		p.unreachable(h, quoted)
	case icmp.TypeSourceQuench:
		p.text("source quench")
	case icmp.TypeRedirect:
		p.redirect(h, quoted)
	case icmp.TypeTimeExceeded:
		switch h.Code() {
		case icmp.CodeTTLExceeded:
			p.text("time exceeded in-transit")
		case icmp.CodeReassemblyExceeded:
			p.text("ip reassembly time exceeded")
		default:
			p.text("time exceeded-#")
			p.dec(int(h.Code()))
		}
	case icmp.TypeParameterProblem:
		if h.Code() == 0 {
			p.text("parameter problem - octet ")
			p.dec(int(h.Rest()[0]))
			return
		}
		p.text("parameter problem - code ")
		p.dec(int(h.Code()))
	default:
		p.text("type-#")
		p.dec(int(h.Type()))
	}
}

// unreachableWords are put around the quoted destination, by code (RFC 792, RFC 1812 section 5.2.7.1).
var unreachableWords = [...]struct{ before, after string }{
	0:  {"net ", " unreachable"},
	1:  {"host ", " unreachable"},
	4:  {"", " unreachable - need to frag"},
	5:  {"", " unreachable - source route failed"},
	6:  {"net ", " unreachable - unknown"},
	7:  {"host ", " unreachable - unknown"},
	8:  {"", " unreachable - source host isolated"},
	9:  {"net ", " unreachable - admin prohibited"},
	10: {"host ", " unreachable - admin prohibited"},
	11: {"net ", " unreachable - tos prohibited"},
	12: {"host ", " unreachable - tos prohibited"},
	13: {"host ", " unreachable - admin prohibited filter"},
	14: {"host ", " unreachable - host precedence violation"},
	15: {"host ", " unreachable - precedence cutoff"},
}

func (p *printer) unreachable(h icmp.Header, quoted *dissect.Level) {
	if !quoted.IPv4.IsValid() {
		p.text("unreachable - #")
		p.dec(int(h.Code()))
		return
	}
	code, dst := h.Code(), quoted.IPv4.Dst()
	switch {
	case code == icmp.CodeProtocolUnreachable || code == icmp.CodePortUnreachable:
		p.ip(dst)
		p.unreachablePort(code, quoted)
	case int(code) < len(unreachableWords):
		p.text(unreachableWords[code].before)
		p.ip(dst)
		p.text(unreachableWords[code].after)
		if mtu := h.NextHopMTU(); mtu != 0 {
			p.text(" (mtu ")
			p.dec(int(mtu))
			p.text(")")
		}
	default:
		p.ip(dst)
		p.text(" unreachable - #")
		p.dec(int(code))
	}
}

// unreachablePort names the protocol, or the protocol's port, that nobody listens on.
func (p *printer) unreachablePort(code uint8, quoted *dissect.Level) {
	switch {
	case code == icmp.CodePortUnreachable && quoted.UDP.IsValid():
		p.text(" udp port ")
		p.dec(int(quoted.UDP.DstPort()))
	case code == icmp.CodePortUnreachable && quoted.IPv4.Protocol() == tcp.Protocol:
		p.text(" tcp port ")
		p.dec(int(quoted.Flow().DstPort))
	default:
		p.text(" protocol ")
		p.dec(int(quoted.IPv4.Protocol()))
	}
	p.text(" unreachable")
}

func (p *printer) redirect(h icmp.Header, quoted *dissect.Level) {
	words := [...]struct{ before, after string }{
		{"redirect ", " to net "}, {"redirect ", " to host "}, {"redirect-tos ", " to net "}, {"redirect-tos ", " to host "},
	}
	after := " to "
	if int(h.Code()) < len(words) {
		p.text(words[h.Code()].before)
		after = words[h.Code()].after
	} else {
		p.text("redirect-#")
		p.dec(int(h.Code()))
		p.text(" ")
	}
	if quoted.IPv4.IsValid() {
		p.ip(quoted.IPv4.Dst())
	}
	p.text(after)
	p.ip(h.Rest())
}
