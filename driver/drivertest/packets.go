package drivertest

// The packets of the suite: a record in the payload names each, and proves that it arrived whole, whatever the way did to the
// headers and whatever else is on the wire.

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
)

// A record is
//
//	magic (8) | flow (2) | number (4) | length of all (4) | CRC-32 of all with this field 0 (4) | filling that follows from the number
const (
	recordMagic = "\xc7cvdrvt\x01"
	recordLen   = 22
	crcAt       = 18
)

// id names a packet of a subtest.
type id struct {
	flow   int
	number uint32
}

// record returns a payload of size bytes, at least recordLen.
func record(name id, size int) []byte {
	p := make([]byte, max(size, recordLen))
	copy(p, recordMagic)
	binary.BigEndian.PutUint16(p[8:], uint16(name.flow))
	binary.BigEndian.PutUint32(p[10:], name.number)
	binary.BigEndian.PutUint32(p[14:], uint32(len(p)))
	fill := name.number*2654435761 + 1 // Knuth's multiplier; any would do
	for i := recordLen; i < len(p); i++ {
		fill = fill*1664525 + 1013904223 // Numerical Recipes' generator
		p[i] = byte(fill >> 24)
	}
	binary.BigEndian.PutUint32(p[crcAt:], crc32.ChecksumIEEE(p))
	return p
}

// parse finds the record in a packet; ours says that there is one, whole that nothing of it is missing or changed.
func parse(p []byte) (name id, ours, whole bool) {
	at := bytes.Index(p, []byte(recordMagic))
	if at < 0 || len(p) < at+recordLen {
		return id{}, at >= 0, false
	}
	p = p[at:]
	name = id{int(binary.BigEndian.Uint16(p[8:])), binary.BigEndian.Uint32(p[10:])}
	size := binary.BigEndian.Uint32(p[14:])
	if uint64(size) > uint64(len(p)) || size < recordLen {
		return name, true, false
	}
	p = bytes.Clone(p[:size])
	want := binary.BigEndian.Uint32(p[crcAt:])
	clear(p[crcAt : crcAt+4])
	return name, true, crc32.ChecksumIEEE(p) == want
}

var (
	nearMAC = ethernet.MAC{0x02, 0xc7, 0, 0, 0, 1} // of the driver under test if it has none
	farMAC  = ethernet.MAC{0x02, 0xc7, 0, 0, 0, 2}
	nearIP  = [4]byte{192, 0, 2, 1} // TEST-NET-1, RFC 5737
	farIP   = [4]byte{192, 0, 2, 2}
)

const (
	discardPort = 9 // RFC 863
	flowPort    = 40000
)

// defaultPacket is a Harness's Packet unless it has its own.
func defaultPacket(l driver.Link, d Direction, flow int, payload []byte) []byte {
	src, dst := addresses(d)
	p := headers(l, d, ipv4.ProtocolUDP, udp.HeaderLen+len(payload))
	at := len(p)
	p, _ = udp.Fields{SrcPort: uint16(flowPort + flow), DstPort: discardPort}.Append(p, len(payload))
	p = append(p, payload...)
	if h, data, err := udp.Parse(p[at:]); err == nil {
		h.FixChecksum(src, dst, data)
	}
	return p
}

// headers returns the headers of an IPv4 packet with a payload of this many bytes, Ethernet's in front unless the link is
// raw. A payload that is too long for IPv4, which no test sends on purpose, makes a packet without its headers.
func headers(l driver.Link, d Direction, protocol uint8, payloadLen int) []byte {
	var p []byte
	if !l.Raw {
		near := nearMAC
		if l.MAC != (ethernet.MAC{}) {
			near = l.MAC
		}
		f := ethernet.Fields{Src: near, Dst: farMAC, EtherType: ethernet.TypeIPv4}
		if d == Inward {
			f.Src, f.Dst = f.Dst, f.Src
		}
		p, _ = f.Append(p)
	}
	src, dst := addresses(d)
	p, _ = ipv4.Fields{TTL: ipv4.DefaultTTL, Flags: ipv4.DontFragment, Protocol: protocol, Src: src, Dst: dst}.Append(p, payloadLen)
	return p
}

func addresses(d Direction) (src, dst [4]byte) {
	if d == Inward {
		return farIP, nearIP
	}
	return nearIP, farIP
}
