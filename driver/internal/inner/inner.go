// Package inner finds what the kernel does not tell of a tunnelled packet that a socket received: that it is not as it would be on a
// wire. A tunnel of the same machine's, in another namespace behind a veth or a bridge, leaves checksums and the cutting of superframes
// to a network card that is never reached, and network cards' receive offload makes superframes of IPIP; the socket hands over the bytes
// as they are. A checksum field then holds the sum of the pseudo-header, and a packet is longer than its tunnel's MTU.
package inner

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

// Packet is what there is to know of an IP packet in a tunnel. Offsets are from where the tunnel's payload starts, the VXLAN header or
// the packet itself.
type Packet struct {
	Start, Length int // of the IP packet; Length is 0 if there is none

	transport int // where TCP or UDP starts; 0 if there is none, or only a fragment of it
	field     int // where in that the checksum is
	pseudo    uint16
	v6        bool
}

// IPIP looks at a packet that was in IPIP, of which as much as the headers must be in p.
func IPIP(p []byte) (in Packet) {
	in.ipv4(p)
	in.check(p)
	return in
}

// VXLAN looks into a datagram, of which as much as the headers must be in p.
func VXLAN(p []byte) (in Packet) {
	if len(p) < vxlan.HeaderLen+ethernet.HeaderLen {
		return in
	}
	at, etherType := flow.Network(p[vxlan.HeaderLen:])
	if at == 0 {
		return in
	}
	in.Start = vxlan.HeaderLen + at
	switch etherType {
	case ethernet.TypeIPv4:
		in.ipv4(p[in.Start:])
	case ethernet.TypeIPv6:
		in.ipv6(p[in.Start:])
	}
	in.check(p)
	return in
}

// check forgets a transport header that is not there.
func (in *Packet) check(p []byte) {
	if len(p) < in.transport+in.field+2 {
		in.transport = 0
	}
}

func (in *Packet) ipv4(p []byte) {
	if len(p) < ipv4.HeaderLen {
		return
	}
	const fragment = 0x3fff // more fragments, or an offset
	in.Length = int(binary.BigEndian.Uint16(p[2:]))
	in.field = checksumField(p[9])
	header := int(p[0]&0xf) * 4
	if n := in.Length - header; in.field != 0 && n >= 0 && binary.BigEndian.Uint16(p[6:])&fragment == 0 {
		in.transport = in.Start + header
		in.pseudo = checksum.PseudoHeader([4]byte(p[12:]), [4]byte(p[16:]), p[9], uint16(n))
	}
}

// ipv6 is for packets without extension headers.
func (in *Packet) ipv6(p []byte) {
	if len(p) < ipv6HeaderLen {
		return
	}
	length := binary.BigEndian.Uint16(p[4:])
	in.Length, in.v6 = ipv6HeaderLen+int(length), true
	in.field = checksumField(p[6])
	if in.field != 0 {
		in.transport = in.Start + ipv6HeaderLen
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
func (in *Packet) partial(p []byte) bool {
	return in.transport != 0 && binary.BigEndian.Uint16(p[in.transport+in.field:]) == in.pseudo
}

// Mark puts what is known into the metadata of the whole packet, in which the tunnel's payload starts at byte at, and reports whether
// there is a way to say it. mtu is that of the tunnel; segment is how long the datagrams of a superframe of UDP are, if the kernel has
// said so, else 0.
func (in *Packet) Mark(b *packet.Buffer, at, mtu, segment int) bool {
	p := b.Bytes()[at:]
	if !in.partial(p) && (segment == 0 || in.transport == 0) {
		return segment == 0
	}
	_ = b.SetChecksumPartial(at+in.transport, in.field) // it is there
	switch {
	case segment != 0 && (in.v6 || in.field != udpField):
		return false
	case segment != 0:
		b.SetGSO(packet.GSOUDP4, uint16(segment))
	case in.field == tcpField && in.Length > mtu:
		header := in.transport - in.Start + int(p[in.transport+tcpOffset]>>4)*4
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
