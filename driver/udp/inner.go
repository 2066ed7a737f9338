package udp

// What the kernel does not tell of a datagram: that the checksum inside is not computed yet. A VXLAN device of the same machine's, in
// another namespace behind a veth or a bridge, leaves that to a network card which is never reached, and the socket hands over the
// bytes as they are. The field then holds the sum of the pseudo-header.

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	udpheader "github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

const (
	ipv6HeaderLen = 40
	tcpField      = 16 // of the checksum in the header
	udpField      = 6
)

// markPartial says so in the metadata of a VXLAN packet whose inner checksum field holds what an uncomputed one does. One packet of
// 65,536 has that as its right checksum; computing it again does no harm.
func markPartial(b *packet.Buffer) {
	const at = headers + vxlan.HeaderLen
	p := b.Bytes()
	if len(p) < at+ethernet.HeaderLen {
		return
	}
	offset, etherType := flow.Network(p[at:])
	if offset == 0 {
		return
	}
	start, field, pseudo := 0, 0, uint16(0)
	switch etherType {
	case ethernet.TypeIPv4:
		start, field, pseudo = transport4(p[at+offset:])
	case ethernet.TypeIPv6:
		start, field, pseudo = transport6(p[at+offset:])
	}
	if start += at + offset; field != 0 && len(p) >= start+field+2 && binary.BigEndian.Uint16(p[start+field:]) == pseudo {
		_ = b.SetChecksumPartial(start, field) // the field is there
	}
}

// transport4 returns where in an IPv4 packet TCP or UDP begins, where in that the checksum is, and the sum of the pseudo-header. field
// is 0 if there is none.
func transport4(p []byte) (start, field int, pseudo uint16) {
	if len(p) < ipv4.HeaderLen {
		return 0, 0, 0
	}
	const fragment = 0x3fff // more fragments, or an offset
	start = int(p[0]&0xf) * 4
	n := int(binary.BigEndian.Uint16(p[2:])) - start
	field = checksumField(p[9])
	if n < 0 || field == 0 || binary.BigEndian.Uint16(p[6:])&fragment != 0 {
		return 0, 0, 0
	}
	return start, field, checksum.PseudoHeader([4]byte(p[12:]), [4]byte(p[16:]), p[9], uint16(n))
}

// transport6 is transport4 for IPv6 without extension headers.
func transport6(p []byte) (start, field int, pseudo uint16) {
	if len(p) < ipv6HeaderLen || checksumField(p[6]) == 0 {
		return 0, 0, 0
	}
	length := binary.BigEndian.Uint16(p[4:])
	return ipv6HeaderLen, checksumField(p[6]), checksum.Add(checksum.Sum(p[8:ipv6HeaderLen]), checksum.Add(length, uint16(p[6])))
}

func checksumField(protocol uint8) int {
	switch protocol {
	case tcp.Protocol:
		return tcpField
	case udpheader.Protocol:
		return udpField
	}
	return 0
}
