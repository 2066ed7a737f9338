// Package tcpdump prints walked packets in tcpdump's words, so that whoever reads captures for a living reads ours too:
//
//	00:50:56:93:6a:3a > 00:50:56:93:63:3b, ethertype IPv4 (0x0800), length 148: (tos 0x0, ttl 64, id 30086, …
//	    172.16.100.101.40592 > 172.16.100.102.8472: [no cksum] VXLAN, flags [I] (0x08), vni 1
//	fe:90:c4:18:69:a7 > b6:72:ae:36:7b:6c, ethertype IPv4 (0x0800), length 98: (tos 0x0, ttl 63, id 8965, …
//	    10.244.1.12 > 10.244.2.14: ICMP echo request, id 3143, seq 1102, length 64
//
// The words are those of `tcpdump -e -n -vv -S -t`, version 4.99: two v, because UDP checksums need them; S, because
// relative TCP sequence numbers need state between packets, see Sequences. They were taken from tcpdump's
// output, never from its source; the package's tests hold them against recorded output and against the tcpdump
// installed, and list every difference that stays. The main ones: VXLAN is called so on any port (tcpdump takes
// Linux's 8472 for OTV, and so does Options.OTV), what culvert does not read is named and not dumped, and an error of
// the walk is printed where it stopped.
package tcpdump

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/tunnel"
)

// Options choose what is printed. The zero value prints everything.
type Options struct {
	Terse  bool // only what tcpdump prints without -v
	Brief  bool // what tcpdump prints with one -v: no UDP checksums, and no sequence numbers of empty TCP segments
	Quick  bool // -q: short words, no tunnels in UDP
	NoLink bool // no Ethernet headers, as tcpdump without -e
	OTV    bool // call VXLAN at Linux's port OTV, as tcpdump does

	TCP *Sequences // of relative sequence numbers; nil: they are absolute

	Prefix string // put in front of every line
	Indent string // put in front of every line behind Prefix, once for each tunnel around it
}

// AppendFrame appends the lines of a walked frame or packet to b, each with a newline. s and err are what the walk left
// and returned, wireLen is the length on the wire in bytes, which a capture may have cut. A header that is missing is an
// error's fault, or where err is nil the capture's: it is then printed as "[|udp]". Stacks without an Ethernet header in
// their first level are printed as raw IP.
//
// It keeps nothing of s and allocates only to grow b and for the text of err.
func AppendFrame(b []byte, s *dissect.Stack, err error, wireLen int, opt Options) []byte {
	p := printer{b: b, opt: opt, cut: err == nil}
	levels := s.Levels()
	p.line()
	start := len(p.b)
	for i := range levels {
		l := &levels[i]
		p.level(l, wireLen, i == 0)
		if i == len(levels)-1 || opt.Quick && l.UDP.IsValid() {
			break
		}
		p.depth++
		if l.VXLAN.IsValid() {
			p.line()
		}
		wireLen = innerLen(l)
	}
	if err != nil {
		if len(p.b) > start && p.b[len(p.b)-1] != ' ' {
			p.b = append(p.b, ' ')
		}
		p.text("[", err.Error(), "]")
	}
	return append(p.b, '\n')
}

// innerLen returns how long the outer headers say the level inside l is: in a cut capture more than is there.
func innerLen(l *dissect.Level) int {
	n := int(l.IPv4.TotalLen()) - l.IPv4.Len()
	if l.VXLAN.IsValid() {
		n = int(l.UDP.Length()) - len(l.UDP.Bytes()) - len(l.VXLAN.Bytes())
	}
	if n < 0 { // a length of 0, as segmentation offload leaves it
		return len(l.Payload)
	}
	return n
}

// printer is one call's state.
type printer struct {
	b     []byte
	opt   Options
	depth int  // tunnels around the level being printed
	cut   bool // what is missing was cut off, there is no error

	quoting bool // in the quote of an ICMP error
}

// newline starts a new line of the level.
func (p *printer) newline() {
	p.b = append(p.b, '\n')
	p.margin()
}

// line starts a level's first line, which is a new line unless it is the first of all.
func (p *printer) line() {
	if p.depth > 0 {
		p.b = append(p.b, '\n')
	}
	p.margin()
}

func (p *printer) margin() {
	p.b = append(p.b, p.opt.Prefix...)
	for range p.depth {
		p.b = append(p.b, p.opt.Indent...)
	}
}

func (p *printer) text(parts ...string) {
	for _, s := range parts {
		p.b = append(p.b, s...)
	}
}

func (p *printer) dec(v int) { p.b = strconv.AppendInt(p.b, int64(v), 10) }

func (p *printer) dec32(v uint32) { p.b = strconv.AppendUint(p.b, uint64(v), 10) }

func (p *printer) hex(v uint16) { p.b = strconv.AppendUint(p.b, uint64(v), 16) }

// hexPadded prints v with leading zeros.
func (p *printer) hexPadded(v uint32, digits int) {
	const hexDigits = "0123456789abcdef"
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		p.b = append(p.b, hexDigits[v>>shift&0xf])
	}
}

func (p *printer) ip(a [4]byte) { p.b = netip.AddrFrom4(a).AppendTo(p.b) }

func (p *printer) mac(m ethernet.MAC) { p.b = m.AppendTo(p.b) }

// level prints one level; length is that of its frame, or packet, on the wire.
func (p *printer) level(l *dissect.Level, length int, first bool) {
	if !l.Ethernet.IsValid() {
		if first && !p.opt.NoLink && l.IPv4.IsValid() {
			p.text("ip: ")
		}
		if l.IPv4.IsValid() {
			p.ipv4(l, length)
		}
		return
	}
	etherType := l.Ethernet.EtherType()
	known := etherType == ethernet.TypeIPv4 || etherType == ethernet.TypeARP || etherType == ethernet.TypeIPv6
	if !p.opt.NoLink || !known { // of what nobody reads, the header is all there is to print
		p.ethernet(l.Ethernet, length)
	}
	length -= l.Ethernet.Len()
	switch {
	case l.ARP.IsValid():
		p.arp(l.ARP, length)
	case l.IPv4.IsValid():
		p.ipv4(l, length)
	case etherType == ethernet.TypeIPv6:
		p.ipv6(l.Payload)
	case etherType == ethernet.TypeIPv4:
		p.missing("IP ", " [|ip]")
	case etherType == ethernet.TypeARP:
		p.missing("ARP, ", " [|arp]")
	case !known && !l.Ethernet.Is8023():
		p.dec(length)
		p.text(" bytes not read")
	}
}

// missing prints the word for a header that was cut off, after what replaces the Ethernet header.
func (p *printer) missing(link, word string) {
	if !p.cut {
		return
	}
	if p.opt.NoLink {
		p.text(link)
	}
	p.text(word)
}

// ethernet prints addresses, VLAN tags, EtherType and length.
func (p *printer) ethernet(h ethernet.Header, length int) {
	p.mac(h.Src())
	p.text(" > ")
	p.mac(h.Dst())
	p.text(", ")
	if h.Tags() == 0 {
		if h.Is8023() {
			p.llc(h)
			return
		}
		p.outerType(h.EtherType())
		p.text(", length ")
		p.dec(length)
		p.text(": ")
		return
	}
	p.outerType(h.Tag(0).TPID)
	p.text(", length ")
	p.dec(length)
	p.text(": ")
	for i := range h.Tags() {
		p.tag(h.Tag(i).TCI)
		switch {
		case i+1 < h.Tags():
			p.etherType(h.Tag(i + 1).TPID)
		case h.Is8023():
			p.llc(h)
			return
		default:
			p.etherType(h.EtherType())
		}
		p.text(", ")
	}
}

// llc names an IEEE 802.3 frame, whose LLC payload nobody here reads.
func (p *printer) llc(h ethernet.Header) {
	p.text("802.3, length ")
	p.dec(int(h.EtherType()))
	p.text(": LLC")
}

func (p *printer) tag(t ethernet.TCI) {
	p.text("vlan ")
	p.dec(int(t.VLAN()))
	p.text(", p ")
	p.dec(int(t.Priority()))
	if t.DropEligible() {
		p.text(", DEI")
	}
	p.text(", ")
}

// outerType prints the EtherType behind the addresses, which -q has words of its own for.
func (p *printer) outerType(t uint16) {
	if name := etherTypeName(t); p.opt.Quick && name == "Unknown" {
		p.text("Unknown Ethertype (0x")
		p.hexPadded(uint32(t), 4)
		p.text(")")
		return
	}
	p.etherType(t)
}

func (p *printer) etherType(t uint16) {
	if p.opt.Quick {
		p.text(etherTypeName(t))
		return
	}
	p.text("ethertype ", etherTypeName(t), " (0x")
	p.hexPadded(uint32(t), 4)
	p.text(")")
}

// ipv6 prints the fixed header of a packet that a tunnel carries without reading it (RFC 8200 section 3).
func (p *printer) ipv6(packet []byte) {
	if p.opt.NoLink {
		p.text("IP6 ")
	}
	if len(packet) < tunnel.IPv6HeaderLen || packet[0]>>4 != 6 {
		p.text(" [|ip6]")
		return
	}
	word, next := binary.BigEndian.Uint32(packet), packet[6]
	length := int(binary.BigEndian.Uint16(packet[4:]))
	if !p.opt.Terse {
		p.text("(")
		if class := word >> 20 & 0xff; class != 0 {
			p.text("class 0x")
			p.hexPadded(class, 2)
			p.text(", ")
		}
		if label := word & 0xfffff; label != 0 {
			p.text("flowlabel 0x")
			p.hexPadded(label, 5)
			p.text(", ")
		}
		p.text("hlim ")
		p.dec(int(packet[7]))
		p.text(", next-header ", protocolName(next), " (")
		p.dec(int(next))
		p.text(") payload length: ")
		p.dec(length)
		p.text(") ")
	}
	p.b = netip.AddrFrom16([16]byte(packet[8:24])).AppendTo(p.b)
	p.text(" > ")
	p.b = netip.AddrFrom16([16]byte(packet[24:40])).AppendTo(p.b)
	if p.opt.Terse {
		p.text(": next-header ", protocolName(next), ", length ")
		p.dec(length)
	}
}
