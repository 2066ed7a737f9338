package differ

// Captured packets as text: a line a packet, every field of every header by name. It reads the bytes itself and uses none of
// culvert's codecs, whose faults would else be the same on both sides and so not be seen.
//
// Masked are what a kernel chooses freely: IP identification (fragments keep theirs, as a letter that says which belong
// together), the identifiers of ping, ephemeral ports, VXLAN's source port, random MAC addresses, and the time that ping
// writes into its payload. A UDP checksum is right, wrong or absent; a partial one, which is what a capture at a sender
// sees, counts as right. Packets of IPv6 and of IGMP are left out: the lab has neither, and Linux sends them unasked, at
// random times.

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"strings"

	"github.com/culvert-net/culvert/internal/pcapfile"
)

// Numbers of the headers.
const (
	etherLen  = 14
	tagLen    = 4
	cookedLen = 20
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd
	firstType = 0x0600 // smaller values are lengths (IEEE 802.3)

	ipLen     = 20
	protoICMP = 1
	protoIGMP = 2
	protoIPIP = 4
	protoUDP  = 17
	flagMF    = 0x2000
	flagDF    = 0x4000
	flagEvil  = 0x8000
	offset    = 0x1fff // in units of 8 bytes

	icmpLen  = 8
	udpLen   = 8
	vxlanLen = 8

	arpLen      = 28
	arpEthernet = 1
)

// Ephemeral ports: the default of net.ipv4.ip_local_port_range, of VXLAN too.
const (
	firstEphemeral = 32768
	lastEphemeral  = 60999
)

// vxlanPorts are the ports of RFC 7348 and of Linux's default, which Flannel uses.
var vxlanPorts = map[uint16]bool{4789: true, 8472: true}

// printer prints the packets of one capture, and remembers what it masked in them.
type printer struct {
	macs  *masker // random MAC addresses
	ids   names   // of echoes
	frags names   // identification of fragments
	ports names   // ephemeral ports

	served map[netip.AddrPort]bool // where an ephemeral-looking port was a packet's destination first
	b      strings.Builder
	quoted bool // inside an ICMP error
}

// packets returns the packets of a capture file as text.
func packets(file []byte, macs *masker) ([]string, error) {
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &printer{macs: macs, served: make(map[netip.AddrPort]bool)}
	var lines []string
	for {
		packet, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		if unasked(packet) {
			continue
		}
		p.b.Reset()
		p.first(packet)
		lines = append(lines, p.b.String())
	}
}

// first prints a whole captured packet.
func (p *printer) first(packet pcapfile.Packet) {
	if packet.WireLen > len(packet.Data) {
		p.layer("cut", "len", packet.WireLen)
	}
	b := bytes.Clone(packet.Data)
	switch packet.LinkType {
	case pcapfile.LinkEthernet:
		completeFrame(b)
		p.ethernet(b)
	case pcapfile.LinkRaw, pcapfile.LinkIPv4:
		completeIP(b)
		p.ip(b)
	case pcapfile.LinkLinuxSLL2:
		p.cooked(b)
	default:
		p.layer("link", "type", packet.LinkType)
		p.data("data", b)
	}
}

// layer prints a header: its name, then names and values of its fields.
func (p *printer) layer(name string, fields ...any) {
	if p.b.Len() > 0 {
		p.b.WriteString(" / ")
	}
	p.b.WriteString(name)
	for i := 0; i+1 < len(fields); i += 2 {
		fmt.Fprintf(&p.b, " %s=%v", fields[i], fields[i+1])
	}
}

// data prints bytes without structure: whole if they are few.
func (p *printer) data(name string, b []byte) {
	const few = 24
	switch {
	case len(b) == 0:
	case len(b) <= few:
		p.layer(name, "len", len(b), "hex", hex.EncodeToString(b))
	default:
		p.layer(name, "len", len(b), "crc", fmt.Sprintf("%08x", crc32.ChecksumIEEE(b)))
	}
}

func (p *printer) ethernet(b []byte) {
	if len(b) < etherLen {
		p.data("short-frame", b)
		return
	}
	kind := binary.BigEndian.Uint16(b[12:])
	p.layer("eth", "src", p.macs.mac(b[6:12]), "dst", p.macs.mac(b[:6]), "len", len(b))
	rest := b[etherLen:]
	for kind == etherVLAN && len(rest) >= tagLen {
		p.layer("vlan", "tci", fmt.Sprintf("%#04x", rest[:2]))
		kind, rest = binary.BigEndian.Uint16(rest[2:]), rest[tagLen:]
	}
	p.network(kind, rest)
}

// cooked prints what 'tcpdump -i any' writes: LINKTYPE_LINUX_SLL2.
func (p *printer) cooked(b []byte) {
	if len(b) < cookedLen {
		p.data("short-frame", b)
		return
	}
	kind := binary.BigEndian.Uint16(b)
	way := [...]string{"to-us", "broadcast", "multicast", "to-other", "from-us"}
	direction := fmt.Sprint(b[10])
	if int(b[10]) < len(way) {
		direction = way[b[10]]
	}
	src := "none"
	if b[11] == 6 {
		src = p.macs.mac(b[12:18])
	}
	p.layer("any", "src", src, "way", direction)
	if kind == etherIPv4 {
		completeIP(b[cookedLen:])
	}
	p.network(kind, b[cookedLen:])
}

func (p *printer) network(kind uint16, b []byte) {
	switch {
	case kind == etherIPv4:
		p.ip(b)
	case kind == etherARP:
		p.arp(b)
	case kind < firstType:
		p.layer("llc", "length", kind)
		p.data("data", b)
	default:
		p.layer("other", "type", fmt.Sprintf("%#04x", kind))
		p.data("data", b)
	}
}

func (p *printer) arp(b []byte) {
	ethernetIPv4 := []byte{0, arpEthernet, etherIPv4 >> 8, 0, 6, 4}
	if len(b) < arpLen || !bytes.Equal(b[:6], ethernetIPv4) {
		p.layer("arp")
		p.data("data", b)
		return
	}
	p.layer("arp", "op", binary.BigEndian.Uint16(b[6:]),
		"sha", p.macs.mac(b[8:14]), "spa", addr(b[14:]), "tha", p.macs.mac(b[18:24]), "tpa", addr(b[24:]))
	p.padding(b[arpLen:])
}

// padding prints what follows a packet in its frame.
func (p *printer) padding(b []byte) {
	if bytes.Equal(b, make([]byte, len(b))) {
		if len(b) > 0 {
			p.layer("padding", "len", len(b))
		}
		return
	}
	p.data("padding", b)
}

func (p *printer) ip(b []byte) {
	if len(b) < ipLen {
		p.data("short-ip", b)
		return
	}
	headerLen, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || headerLen < ipLen || headerLen > len(b) {
		p.data("bad-ip", b)
		return
	}
	frag := binary.BigEndian.Uint16(b[6:])
	src, dst := addr(b[12:]), addr(b[16:])
	id, isFragment := "*", frag&(offset|flagMF) != 0
	if isFragment {
		id = p.frags.name(fmt.Sprint(src, dst, b[9], binary.BigEndian.Uint16(b[4:])))
	}
	p.layer("ip", "src", src, "dst", dst, "tos", fmt.Sprintf("%#02x", b[1:2]), "len", total, "id", id, "flags", flags(frag),
		"off", int(frag&offset)*8, "ttl", b[8], "proto", b[9], "sum", rightOrWrong(sum(b[:headerLen], 0) == 0))
	if headerLen > ipLen {
		fmt.Fprintf(&p.b, " options=%x", b[ipLen:headerLen])
	}
	var rest []byte
	if total >= headerLen && total < len(b) {
		b, rest = b[:total], b[total:]
	}
	t := transport{p: p, src: src, dst: dst, addresses: b[12:ipLen], whole: !isFragment && total == len(b)}
	switch payload := b[headerLen:]; {
	case frag&offset != 0:
		p.data("fragment", payload)
	case b[9] == protoICMP:
		t.icmp(payload)
	case b[9] == protoUDP:
		t.udp(payload)
	case b[9] == protoIPIP:
		p.ip(payload)
	default:
		p.data("data", payload)
	}
	p.padding(rest)
}

func flags(frag uint16) string {
	var set []string
	for _, f := range []struct {
		bit  uint16
		name string
	}{{flagEvil, "evil"}, {flagDF, "DF"}, {flagMF, "MF"}} {
		if frag&f.bit != 0 {
			set = append(set, f.name)
		}
	}
	if set == nil {
		return "none"
	}
	return strings.Join(set, "+")
}

func addr(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

func rightOrWrong(right bool) string {
	if right {
		return "right"
	}
	return "wrong"
}

// sum returns the Internet checksum of b (RFC 1071), to which the number is added: 0 over bytes with the right checksum.
func sum(b []byte, number uint32) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		number += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		number += uint32(b[0]) << 8
	}
	for number > 0xffff {
		number = number>>16 + number&0xffff
	}
	return ^uint16(number)
}
