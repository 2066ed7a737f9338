package pcapfilter

// What the primitives mean (libpcap's gencode.c), on Ethernet, raw IP and cooked packets.

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/ethernet"
)

// EtherTypes and IP protocols that have names.
var (
	etherTypes = map[string]uint32{
		"ip": 0x0800, "arp": 0x0806, "rarp": 0x8035, "ip6": 0x86dd, "vlan": 0x8100, "loopback": 0x9000, "mopdl": 0x6001,
		"moprc": 0x6002, "decnet": 0x6003, "lat": 0x6004, "sca": 0x6007, "atalk": 0x809b, "aarp": 0x80f3,
	}
	ipProtocols = map[string]uint32{
		"icmp": 1, "igmp": 2, "igrp": 9, "pim": 103, "vrrp": 112, "carp": 112, "tcp": 6, "udp": 17, "sctp": 132, "ah": 51, "esp": 50,
		"icmp6": 58, "ipip": 4, "ipencap": 4, "gre": 47, "ipv6": 41, "ipv6-icmp": 58, "egp": 8, "igp": 9, "ospf": 89,
	}
	services = map[string]uint32{
		"echo": 7, "discard": 9, "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "bootps": 67, "bootpc": 68,
		"tftp": 69, "http": 80, "kerberos": 88, "pop3": 110, "sunrpc": 111, "ntp": 123, "snmp": 161, "bgp": 179, "https": 443, "syslog": 514,
	}
)

const (
	typeIPv4, typeARP, typeRARP, typeIPv6 = 0x0800, 0x0806, 0x8035, 0x86dd
	protocolTCP, protocolUDP              = 6, 17
	protocolSCTP, protocolFragment        = 132, 44
)

// Offsets in headers.
const (
	ipFragment, ipProtocol, ipSrc, ipDst = 6, 9, 12, 16
	ip6Next, ip6HeaderLen, ip6Dst        = 6, 40, 24
	arpSrc, arpDst                       = 14, 24
)

// network layer: where it begins.
func (p *parser) networkAt() uint32 {
	switch p.config.Link {
	case RawIP:
		return 0
	case Cooked:
		return cookedLen
	}
	return ethernetLen + p.shift
}

// etherType tests the link header's protocol.
func (p *parser) etherType(want uint32) test {
	switch p.config.Link {
	case RawIP:
		version := map[uint32]uint32{typeIPv4: 0x40, typeIPv6: 0x60}[want]
		if version == 0 {
			return always(false)
		}
		return equal(0, 1, 0xf0, version)
	case Cooked:
		return equal(cookedProtocol, 2, allBits, want)
	}
	return equal(ethernetProtocol+p.shift, 2, allBits, want)
}

// protocol makes a primitive of a protocol's name alone.
func (p *parser) protocol(name string) (test, error) {
	switch name {
	case "ether":
		return nil, ErrSyntax
	case "ip", "ip6", "arp", "rarp":
		return p.etherType(etherTypes[name]), nil
	}
	number := ipProtocols[name]
	switch name {
	case "icmp", "igmp", "igrp", "vrrp", "carp":
		return p.ip4Protocol(number), nil
	case "icmp6":
		return p.ip6Protocol(number), nil
	}
	return or(p.ip4Protocol(number), p.ip6Protocol(number)), nil
}

func (p *parser) ip4Protocol(number uint32) test {
	return and(p.etherType(typeIPv4), equal(p.networkAt()+ipProtocol, 1, allBits, number))
}

// ip6Protocol tests the next header, also that behind a fragment header.
func (p *parser) ip6Protocol(number uint32) test {
	at := p.networkAt()
	return and(p.etherType(typeIPv6), or(
		equal(at+ip6Next, 1, allBits, number),
		and(equal(at+ip6Next, 1, allBits, protocolFragment), equal(at+ip6HeaderLen, 1, allBits, number)),
	))
}

// protocolNumber is '[ether|ip|ip6] proto N'.
func (p *parser) protocolNumber(q qualifiers, t token) (test, error) {
	names := ipProtocols
	if q.proto == "ether" {
		names = etherTypes
	}
	number, ok := names[t.text]
	switch {
	case t.kind == kindNumber:
		number = t.number
	case !ok:
		return nil, fault("unknown " + q.proto + " proto '" + t.text + "'")
	case !t.escaped && slices.Contains(protocols, t.text):
		return nil, ErrSyntax // a keyword
	}
	switch q.proto {
	case "ether":
		if number <= 0xff && p.config.Link == Ethernet {
			return nil, unsupported("LLC")
		}
		return p.etherType(number), nil
	case "ip":
		return p.ip4Protocol(number), nil
	case "ip6":
		return p.ip6Protocol(number), nil
	case "":
		return or(p.ip4Protocol(number), p.ip6Protocol(number)), nil
	}
	return nil, &qualifierError{q.proto, "proto"}
}

// qualifierError is libpcap's complaint about 'tcp host 10.0.0.1'.
type qualifierError struct{ proto, kind string }

func (e *qualifierError) Error() string { return "'" + e.proto + "' modifier applied to " + e.kind }

// directed tests source and destination as the direction says.
func directed(dir string, src, dst test) test {
	switch dir {
	case "src":
		return src
	case "dst":
		return dst
	case "src and dst":
		return and(src, dst)
	}
	return or(src, dst)
}

// host is '[PROTO] [DIR] [host|net] ADDR'.
func (p *parser) host(q qualifiers, addr, mask uint32) (test, error) {
	at := p.networkAt()
	pair := func(etherType, src, dst uint32) test {
		return and(p.etherType(etherType), directed(q.dir, equal(at+src, 4, mask, addr), equal(at+dst, 4, mask, addr)))
	}
	switch q.proto {
	case "ip":
		return pair(typeIPv4, ipSrc, ipDst), nil
	case "arp":
		return pair(typeARP, arpSrc, arpDst), nil
	case "rarp":
		return pair(typeRARP, arpSrc, arpDst), nil
	case "":
		return or(pair(typeIPv4, ipSrc, ipDst), pair(typeARP, arpSrc, arpDst), pair(typeRARP, arpSrc, arpDst)), nil
	case "ether":
		return nil, &qualifierError{q.proto, "ip host"}
	}
	return nil, &qualifierError{q.proto, kindName(q.kind)}
}

func kindName(kind string) string {
	if kind == "" {
		return "host"
	}
	return kind
}

// mac is 'ether [DIR] host MAC'.
func (p *parser) mac(q qualifiers, text string) (test, error) {
	if q.proto != "ether" {
		return nil, errEther
	}
	if p.config.Link != Ethernet {
		return nil, errEtherLink
	}
	m, err := parseMAC(text)
	if err != nil {
		return nil, ErrSyntax
	}
	return directed(q.dir, macAt(6, m), macAt(0, m)), nil
}

type fault string

func (f fault) Error() string { return string(f) }

const (
	errEther     fault = "ethernet address used in non-ether expression"
	errEtherLink fault = "ethernet addresses supported only on ethernet/FDDI/token ring/802.11/ATM LANE/Fibre Channel"
	errDirection fault = "inbound/outbound not supported on Ethernet when reading savefiles"
	errBroadcast fault = "only link-layer/IP broadcast filters supported"
	errNotALink  fault = "not a broadcast link"
	errMulticast fault = "link-layer multicast filters supported only on ethernet/FDDI/token ring/ARCNET/802.11/ATM LANE/Fibre Channel"
)

// parseMAC reads a MAC address whose bytes may have one digit, and other separators than colons.
func parseMAC(text string) (m ethernet.MAC, err error) {
	parts := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(":.-", r) })
	for i := range m {
		n, err := strconv.ParseUint(parts[i], 16, 8)
		if err != nil {
			return m, err
		}
		m[i] = byte(n)
	}
	return m, nil
}

// macAt tests a MAC address, the last four bytes first, as libpcap does.
func macAt(offset uint32, m ethernet.MAC) test {
	low, high := binary.BigEndian.Uint32(m[2:]), uint32(binary.BigEndian.Uint16(m[:]))
	return and(equal(offset+2, 4, allBits, low), equal(offset, 2, allBits, high))
}

// broadcast is '[ether|ip] broadcast'.
func (p *parser) broadcast(proto string) (test, error) {
	switch proto {
	case "", "ether":
		if p.config.Link != Ethernet {
			return nil, errNotALink
		}
		return macAt(0, ethernet.Broadcast), nil
	case "ip":
		host := ^uint32(uint64(allBits) << (32 - max(0, p.config.Net.Bits())))
		dst := p.networkAt() + ipDst
		return and(p.etherType(typeIPv4), or(equal(dst, 4, host, 0), equal(dst, 4, host, host))), nil
	}
	return nil, errBroadcast
}

// multicast is '[ether|ip|ip6] multicast'.
func (p *parser) multicast(proto string) (test, error) {
	switch proto {
	case "", "ether":
		if p.config.Link != Ethernet {
			return nil, errMulticast
		}
		return equal(0, 1, 1, 1), nil
	case "ip":
		const firstGroup = 224 // 224.0.0.0/4 and above
		dst := p.networkAt() + ipDst
		return and(p.etherType(typeIPv4), func(s *state) bool { return s.load(dst, 1) >= firstGroup }), nil
	case "ip6":
		return and(p.etherType(typeIPv6), equal(p.networkAt()+ip6Dst, 1, allBits, 0xff)), nil
	}
	return nil, errMulticast
}

// vlan is 'vlan [ID]'. What follows in the expression is about the packet behind the tag.
func (p *parser) vlan() (test, error) {
	if p.config.Link != Ethernet {
		return nil, fault("no VLAN support for this link-layer type")
	}
	at := ethernetProtocol + p.shift
	tagged := or(equal(at, 2, allBits, 0x8100), equal(at, 2, allBits, 0x88a8), equal(at, 2, allBits, 0x9100))
	p.shift += 4
	if p.peek(0).kind != kindNumber || p.relationAhead() {
		return tagged, nil
	}
	const idBits = 0xfff
	id := p.take().number
	if id > idBits {
		return nil, fault("VLAN tag " + strconv.Itoa(int(id)) + " greater than maximum 4095")
	}
	return and(tagged, equal(at+2, 2, idBits, id)), nil
}

// port is '[tcp|udp|sctp] [DIR] port|portrange N'.
func (p *parser) port(q qualifiers, t token) (test, error) {
	low, high, err := ports(q.kind, t)
	if err != nil {
		return nil, err
	}
	transports := []uint32{protocolTCP, protocolUDP, protocolSCTP}
	switch q.proto {
	case "":
	case "tcp", "udp", "sctp":
		transports = []uint32{ipProtocols[q.proto]}
	case "ip", "ip6", "arp", "rarp", "ether":
		return nil, &qualifierError{q.proto, kindName(q.kind)}
	default:
		return nil, fault("illegal qualifier of 'port'")
	}
	at := p.networkAt()
	in := func(s *state, offset uint32) bool {
		n := s.load(offset, 2)
		return n >= low && n <= high
	}
	ip4 := and(p.etherType(typeIPv4), transport(at+ipProtocol, transports), notFragment(at), func(s *state) bool {
		l4 := at + headerLen(s, at)
		return directed(q.dir, func(s *state) bool { return in(s, l4) }, func(s *state) bool { return in(s, l4+2) })(s)
	})
	l4 := at + ip6HeaderLen
	ip6 := and(p.etherType(typeIPv6), transport(at+ip6Next, transports),
		directed(q.dir, func(s *state) bool { return in(s, l4) }, func(s *state) bool { return in(s, l4+2) }))
	return or(ip6, ip4), nil
}

// ports reads a port, or a range of them.
func ports(kind string, t token) (low, high uint32, err error) {
	const highest = 1<<16 - 1
	first, last, isRange := strings.Cut(t.text, "-")
	if kind != "portrange" || !isRange {
		first, last = t.text, t.text
	}
	low, ok := port(first)
	high, ok2 := port(last)
	switch {
	case !ok || !ok2:
		return 0, 0, fault("unknown port '" + t.text + "'")
	case low > highest || high > highest:
		return 0, 0, fault("illegal port number " + t.text + " > 65535")
	}
	return min(low, high), max(low, high), nil
}

func port(s string) (uint32, bool) {
	if n, ok := services[s]; ok {
		return n, true
	}
	n, err := strconv.ParseUint(s, 0, 32)
	return uint32(n), err == nil
}

func transport(offset uint32, numbers []uint32) test {
	return func(s *state) bool { return slices.Contains(numbers, s.load(offset, 1)) }
}

// notFragment tests that a packet is whole, or the first fragment.
func notFragment(network uint32) test {
	const offsetBits = 0x1fff
	return equal(network+ipFragment, 2, offsetBits, 0)
}

// headerLen returns an IPv4 header's length.
func headerLen(s *state, network uint32) uint32 { return s.load(network, 1) & 0xf * 4 }
