package inner_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/driver/internal/inner"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
)

const (
	mtu   = 1450
	front = 28 // outer headers, whatever they are
)

// segment is TCP or UDP over IPv4 with so many bytes of payload, and its checksum left open, or done.
func segment(protocol uint8, size int, open bool) []byte {
	header, field := tcp.HeaderLen+12, 16
	if protocol == udp.Protocol {
		header, field = udp.HeaderLen, 6
	}
	src, dst := [4]byte{10, 0, 0, 1}, [4]byte{10, 0, 0, 2}
	p, err := ipv4.Fields{TTL: 64, Protocol: protocol, Src: src, Dst: dst}.Append(nil, header+size)
	if err != nil {
		panic(err)
	}
	t := make([]byte, header+size)
	for i := range t {
		t[i] = byte(i)
	}
	if protocol == tcp.Protocol {
		t[12] = byte(header / 4 << 4)
	}
	pseudo := checksum.PseudoHeader(src, dst, protocol, uint16(len(t)))
	binary.BigEndian.PutUint16(t[field:], 0)
	if sum := checksum.Add(pseudo, checksum.Sum(t)); open {
		binary.BigEndian.PutUint16(t[field:], pseudo)
	} else {
		binary.BigEndian.PutUint16(t[field:], ^sum)
	}
	return append(p, t...)
}

// vxlan is a datagram's payload with a packet in a frame, behind tags.
func vxlan(ip []byte, etherType uint16, tags int) []byte {
	p := []byte{8, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for range tags {
		p = append(p, 0x81, 0, 0, 5)
	}
	return append(binary.BigEndian.AppendUint16(p, etherType), ip...)
}

// ipv6 is the packet with another network header.
func ipv6(ip []byte) []byte {
	t := append([]byte(nil), ip[ipv4.HeaderLen:]...)
	p := make([]byte, 40, 40+len(t))
	p[0], p[6], p[7], p[8], p[24] = 0x60, ip[9], 64, 0xfd, 0xfd
	binary.BigEndian.PutUint16(p[4:], uint16(len(t)))
	pseudo := checksum.Add(checksum.Sum(p[8:40]), checksum.Add(uint16(len(t)), uint16(ip[9])))
	binary.BigEndian.PutUint16(t[16:], pseudo)
	return append(p, t...)
}

func TestMark(t *testing.T) {
	const tcpSize = mtu - ipv4.HeaderLen - tcp.HeaderLen - 12
	fragment := segment(tcp.Protocol, 100, true)
	fragment[6] = 0x20
	for name, c := range map[string]struct {
		ip        []byte
		etherType uint16
		tags      int
		segment   int // that the kernel tells

		start int // of a partial checksum; 0: none
		gso   packet.GSOType
		size  int
		no    bool // it cannot be said
	}{
		"nothing":                             {},
		"TCP, done":                           {ip: segment(tcp.Protocol, 100, false)},
		"TCP, open":                           {ip: segment(tcp.Protocol, 100, true), start: 42},
		"TCP, full, open":                     {ip: segment(tcp.Protocol, tcpSize, true), start: 42},
		"TCP, one byte more, open":            {ip: segment(tcp.Protocol, tcpSize+1, true), start: 42, gso: packet.GSOTCP4, size: tcpSize},
		"TCP, 64,000 bytes, open":             {ip: segment(tcp.Protocol, 64000, true), start: 42, gso: packet.GSOTCP4, size: tcpSize},
		"TCP, 4,000 bytes, done":              {ip: segment(tcp.Protocol, 4000, false)},
		"TCP, open, two tags":                 {ip: segment(tcp.Protocol, 100, true), tags: 2, start: 50},
		"TCP, a fragment":                     {ip: fragment},
		"UDP, open":                           {ip: segment(udp.Protocol, 100, true), start: 42},
		"UDP, 4,000 bytes, open":              {ip: segment(udp.Protocol, 4000, true), start: 42},
		"UDP, done":                           {ip: segment(udp.Protocol, 100, false)},
		"UDP superframe":                      {ip: segment(udp.Protocol, 4000, true), segment: 1000, start: 42, gso: packet.GSOUDP4, size: 1000},
		"superframe of the kernel's, of TCP":  {ip: segment(tcp.Protocol, 4000, true), segment: 1000, start: 42, no: true},
		"superframe of the kernel's, of what": {ip: segment(1, 4000, true), segment: 1000, no: true},
		"TCP over IPv6, open":                 {ip: ipv6(segment(tcp.Protocol, 100, true)), etherType: ethernet.TypeIPv6, start: 62},
		"TCP over IPv6, 4,000 bytes, open": {
			ip: ipv6(segment(tcp.Protocol, 4000, true)), etherType: ethernet.TypeIPv6, start: 62, gso: packet.GSOTCP6, size: tcpSize - 20,
		},
		"ARP": {ip: make([]byte, 28), etherType: ethernet.TypeARP},
	} {
		if c.etherType == 0 {
			c.etherType = ethernet.TypeIPv4
		}
		payload := vxlan(c.ip, c.etherType, c.tags)
		b := packet.Of(append(make([]byte, front), payload...))
		b.SetChecksumVerified()
		in := inner.VXLAN(payload[:min(len(payload), 120)]) // as much as there is in the first piece
		ok := in.Mark(b, front, mtu, c.segment)
		assert.Equal(t, !c.no, ok, name)
		start, _, partial := b.PartialChecksum()
		assert.Equal(t, c.start != 0, partial, name)
		if partial {
			assert.Equal(t, front+c.start, start, name)
		}
		gso, size := b.GSO()
		assert.Equal(t, c.gso, gso, name)
		assert.EqualValues(t, c.size, size, name)
	}
}

func TestIPIP(t *testing.T) {
	p := segment(tcp.Protocol, 100, true)
	b := packet.Of(append(make([]byte, ipv4.HeaderLen), p...))
	in := inner.IPIP(p)
	assert.True(t, in.Mark(b, ipv4.HeaderLen, mtu, 0))
	require.Equal(t, packet.ChecksumPartial, b.Checksum())
	require.NoError(t, b.CompleteChecksum())
	assert.Equal(t, segment(tcp.Protocol, 100, false), b.Bytes()[ipv4.HeaderLen:])
}

// FuzzMark: no bytes make it panic or point outside of the packet, and what it says can be done.
func FuzzMark(f *testing.F) {
	for _, p := range [][]byte{
		{},
		vxlan(segment(tcp.Protocol, 10, true), ethernet.TypeIPv4, 0),
		vxlan(segment(tcp.Protocol, 1500, true), ethernet.TypeIPv4, 1),
		vxlan(segment(udp.Protocol, 0, true), ethernet.TypeIPv4, 0),
		vxlan(ipv6(segment(tcp.Protocol, 10, true)), ethernet.TypeIPv6, 0),
	} {
		f.Add(p, uint16(mtu), uint16(0))
		f.Add(p, uint16(0), uint16(100))
	}
	f.Fuzz(func(t *testing.T, p []byte, mtu, segment uint16) {
		for _, in := range []inner.Packet{inner.VXLAN(p), inner.IPIP(p)} {
			b := packet.Of(p)
			in.Mark(b, 0, int(mtu), int(segment))
			start, field, ok := b.PartialChecksum()
			if ok && (start < 0 || start+field+2 > len(p)) {
				t.Fatalf("the checksum of %d bytes starts at %d, at %d there", len(p), start, field)
			}
			if gso, size := b.GSO(); gso != packet.GSONone && size == 0 {
				t.Fatal("segments of 0 bytes")
			}
			if err := b.CompleteChecksum(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
