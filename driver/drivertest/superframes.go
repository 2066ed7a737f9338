package drivertest

// The superframes of the suite, of each kind that an offload names, and what their segments look like.

import (
	"bytes"
	"encoding/binary"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

const (
	checksumAtUDP = 6  // RFC 768
	checksumAtTCP = 16 // RFC 9293 section 3.1

	segment  = 1000                                 // bytes of payload
	stream   = 8*segment + 333                      // the last segment is short
	firstSeq = uint32(0xfffff000)                   // wraps around
	inner    = vxlan.HeaderLen + ethernet.HeaderLen // bytes between the UDP header of VXLAN and the inner network header
	vni      = 7
)

// superframe is one, with its transport checksum partial.
type superframe struct {
	bytes     []byte
	at, field int // of the partial checksum
	gso       packet.GSOType
	payload   []byte

	// parse returns the payload of a segment, given from its network header on; false if it is none.
	parse func(p []byte) (piece, bool)
}

// piece is the payload of a segment.
type piece struct {
	seq   uint32 // where in the stream; 0 for datagrams
	data  []byte
	sumOK bool
}

func (f superframe) buffer() *packet.Buffer {
	b := packet.Of(f.bytes)
	_ = b.SetChecksumPartial(f.at, f.field) // lies within the packet
	b.SetGSO(f.gso, segment)
	return b
}

// superframeKind is a kind of superframes that an offload names.
type superframeKind struct {
	needs         packet.Offloads
	needsEthernet bool
	make          func(l driver.Link, d Direction, payload []byte) (superframe, error)
}

var (
	tcp4       = superframeKind{needs: packet.OffloadTCP4, make: makeTCP4}
	udp4       = superframeKind{needs: packet.OffloadUDP4, make: makeUDP4}
	tcp6       = superframeKind{needs: packet.OffloadTCP6, needsEthernet: true, make: makeTCP6}
	tunnelTCP4 = superframeKind{needs: packet.OffloadTunnelTCP4, make: makeTunnelTCP4}
)

// makeTCP4 returns TCP over IPv4.
func makeTCP4(l driver.Link, d Direction, payload []byte) (superframe, error) {
	src, dst := addresses(d)
	segment, err := tcpSegment(payload)
	p := headers(l, d, ipv4.ProtocolTCP, len(segment))
	f := superframe{at: len(p), field: checksumAtTCP, gso: packet.GSOTCP4, payload: payload, parse: parseTCP4}
	f.bytes = append(p, segment...)
	f.partial(checksum.PseudoHeader(src, dst, ipv4.ProtocolTCP, uint16(len(segment))))
	return f, err
}

func tcpSegment(payload []byte) ([]byte, error) {
	fields := tcp.Fields{SrcPort: flowPort, DstPort: discardPort, Seq: firstSeq, Flags: tcp.ACK, Window: 1000}
	p, err := fields.Append(nil, nearIP, farIP, payload) // its checksum is replaced
	return append(p, payload...), err
}

// partial writes the sum of the pseudo-header to where the transport checksum belongs.
func (f superframe) partial(sum uint16) {
	binary.BigEndian.PutUint16(f.bytes[f.at+f.field:], sum)
}

// makeUDP4 returns UDP over IPv4.
func makeUDP4(l driver.Link, d Direction, payload []byte) (superframe, error) {
	src, dst := addresses(d)
	p := defaultPacket(l, d, 0, payload)
	f := superframe{at: len(p) - len(payload) - udp.HeaderLen, field: checksumAtUDP, gso: packet.GSOUDP4, payload: payload, parse: parseUDP4}
	f.bytes = p
	f.partial(checksum.PseudoHeader(src, dst, ipv4.ProtocolUDP, uint16(udp.HeaderLen+len(payload))))
	return f, nil
}

const (
	ipv6HeaderLen = 40 // RFC 8200 section 3
	ipv6Version   = 6
	hopLimit      = 64
)

var (
	nearIPv6 = [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1} // RFC 3849
	farIPv6  = [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 2}
)

// makeTCP6 returns TCP over IPv6.
func makeTCP6(l driver.Link, d Direction, payload []byte) (superframe, error) {
	src, dst := nearIPv6, farIPv6
	if d == Inward {
		src, dst = dst, src
	}
	segment, err := tcpSegment(payload)
	p := headers(l, d, ipv4.ProtocolTCP, 0)[:ethernet.HeaderLen]
	binary.BigEndian.PutUint16(p[ethernet.HeaderLen-2:], ethernet.TypeIPv6)
	p = append(p, ipv6Version<<4, 0, 0, 0)
	p = binary.BigEndian.AppendUint16(p, uint16(len(segment)))
	p = append(p, ipv4.ProtocolTCP, hopLimit)
	p = append(append(p, src[:]...), dst[:]...)
	f := superframe{at: len(p), field: checksumAtTCP, gso: packet.GSOTCP6, payload: payload, parse: parseTCP6}
	f.bytes = append(p, segment...)
	f.partial(pseudoHeader6(src[:], dst[:], len(segment)))
	return f, err
}

// pseudoHeader6 is the sum of the pseudo-header of TCP over IPv6 (RFC 8200 section 8.1).
func pseudoHeader6(src, dst []byte, length int) uint16 {
	return checksum.Add(checksum.Add(checksum.Sum(src), checksum.Sum(dst)), checksum.Add(uint16(length), uint16(ipv4.ProtocolTCP)))
}

// makeTunnelTCP4 returns TCP over IPv4 in VXLAN without an outer checksum.
func makeTunnelTCP4(l driver.Link, d Direction, payload []byte) (superframe, error) {
	f, err := makeTCP4(driver.Link{}, d, payload) // the inner frame
	body := vxlan.HeaderLen + len(f.bytes)
	p := headers(l, d, ipv4.ProtocolUDP, udp.HeaderLen+body)
	p, _ = udp.Fields{SrcPort: flowPort, DstPort: vxlan.Port}.Append(p, body)
	p = append(p, 8, 0, 0, 0, 0, 0, vni, 0) // RFC 7348 section 5: the I flag, and the VNI
	f.at += len(p)
	f.bytes = append(p, f.bytes...)
	f.parse = parseTunnel
	return f, err
}

func parseTCP4(p []byte) (piece, bool) {
	h, body, err := ipv4.Parse(p)
	if err != nil || h.Protocol() != ipv4.ProtocolTCP {
		return piece{}, false
	}
	return parseTCP(body, checksum.PseudoHeader(h.Src(), h.Dst(), ipv4.ProtocolTCP, uint16(len(body))))
}

func parseTCP(p []byte, pseudo uint16) (piece, bool) {
	h, data, err := tcp.Parse(p)
	if err != nil || h.DstPort() != discardPort || len(data) == 0 {
		return piece{}, false
	}
	sumOK := checksum.Add(pseudo, checksum.Sum(p)) == 0xffff // RFC 1071: over a right checksum
	return piece{h.Seq() - firstSeq, bytes.Clone(data), sumOK}, true
}

func parseUDP4(p []byte) (piece, bool) {
	h, body, err := ipv4.Parse(p)
	if err != nil || h.Protocol() != ipv4.ProtocolUDP {
		return piece{}, false
	}
	u, data, err := udp.Parse(body)
	if err != nil || u.DstPort() != discardPort {
		return piece{}, false
	}
	return piece{0, bytes.Clone(data), u.ChecksumOK(h.Src(), h.Dst(), data)}, true
}

func parseTCP6(p []byte) (piece, bool) {
	if len(p) < ipv6HeaderLen || p[0]>>4 != ipv6Version || p[6] != ipv4.ProtocolTCP {
		return piece{}, false
	}
	body := p[ipv6HeaderLen:]
	if n := int(binary.BigEndian.Uint16(p[4:])); n <= len(body) {
		body = body[:n]
	}
	return parseTCP(body, pseudoHeader6(p[8:24], p[24:40], len(body)))
}

func parseTunnel(p []byte) (piece, bool) {
	h, body, err := ipv4.Parse(p)
	if err != nil || h.Protocol() != ipv4.ProtocolUDP {
		return piece{}, false
	}
	u, data, err := udp.Parse(body)
	if err != nil || u.DstPort() != vxlan.Port || len(data) < inner {
		return piece{}, false
	}
	in, ok := parseTCP4(data[inner:])
	in.sumOK = in.sumOK && u.ChecksumOK(h.Src(), h.Dst(), data)
	return in, ok
}
