package udp

// What the kernel does not tell of a datagram: that the packet inside is not as it would be on a wire. A VXLAN device of the same
// machine's, in another namespace behind a veth or a bridge, leaves checksums and the cutting of superframes to a network card that is
// never reached, and the socket hands over the bytes as they are. A checksum field then holds the sum of the pseudo-header, and a
// packet is longer than its tunnel's MTU.

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
	tcpOffset     = 12 // of the header's length in 32-bit words, in the upper half of a byte
	udpField      = 6
)

// inner is what there is to know of the packet in a VXLAN datagram.
type inner struct {
	start, length int // of the IP packet, in the datagram and in bytes; length is 0 if there is none
	transport     int // where TCP or UDP starts in the datagram; 0 if there is none, or only a fragment of it
	field         int // where in that the checksum is
	pseudo        uint16
	v6            bool
}

// innerOf looks into a datagram, of which as much as the headers must be in p.
func innerOf(p []byte) (in inner) {
	if len(p) < vxlan.HeaderLen+ethernet.HeaderLen {
		return in
	}
	at, etherType := flow.Network(p[vxlan.HeaderLen:])
	if at == 0 {
		return in
	}
	in.start = vxlan.HeaderLen + at
	switch etherType {
	case ethernet.TypeIPv4:
		in.ipv4(p[in.start:])
	case ethernet.TypeIPv6:
		in.ipv6(p[in.start:])
	}
	if len(p) < in.transport+in.field+2 {
		in.transport = 0
	}
	return in
}

func (in *inner) ipv4(p []byte) {
	if len(p) < ipv4.HeaderLen {
		return
	}
	const fragment = 0x3fff // more fragments, or an offset
	in.length = int(binary.BigEndian.Uint16(p[2:]))
	in.field = checksumField(p[9])
	header := int(p[0]&0xf) * 4
	if n := in.length - header; in.field != 0 && n >= 0 && binary.BigEndian.Uint16(p[6:])&fragment == 0 {
		in.transport = in.start + header
		in.pseudo = checksum.PseudoHeader([4]byte(p[12:]), [4]byte(p[16:]), p[9], uint16(n))
	}
}

// ipv6 is for packets without extension headers.
func (in *inner) ipv6(p []byte) {
	if len(p) < ipv6HeaderLen {
		return
	}
	length := binary.BigEndian.Uint16(p[4:])
	in.length, in.v6 = ipv6HeaderLen+int(length), true
	in.field = checksumField(p[6])
	if in.field != 0 {
		in.transport = in.start + ipv6HeaderLen
		in.pseudo = checksum.Add(checksum.Sum(p[8:ipv6HeaderLen]), checksum.Add(length, uint16(p[6])))
	}
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

// partial reports whether the checksum is not computed yet. One packet of 65,536 has what looks so as its right checksum; computing it
// again does no harm.
func (in *inner) partial(p []byte) bool {
	return in.transport != 0 && binary.BigEndian.Uint16(p[in.transport+in.field:]) == in.pseudo
}

// mark puts what is known of the packet inside into the metadata of a whole packet, and reports whether there is a way to say it. mtu
// is that of the tunnel; segment is how long the datagrams of a superframe of UDP are, if the kernel has said so.
func mark(b *packet.Buffer, in inner, mtu, segment int) bool {
	p := b.Bytes()[headers:]
	if !in.partial(p) && (segment == 0 || in.transport == 0) {
		return segment == 0
	}
	_ = b.SetChecksumPartial(headers+in.transport, in.field) // innerOf has seen it
	switch {
	case segment != 0 && (in.v6 || in.field != udpField):
		return false
	case segment != 0:
		b.SetGSO(packet.GSOUDP4, uint16(segment))
	case in.field == tcpField && in.length > mtu:
		header := in.transport - in.start + int(p[in.transport+tcpOffset]>>4)*4
		if mtu <= header {
			return false
		}
		kind := packet.GSOTCP4
		if in.v6 {
			kind = packet.GSOTCP6
		}
		b.SetGSO(kind, uint16(mtu-header))
	}
	return true
}
