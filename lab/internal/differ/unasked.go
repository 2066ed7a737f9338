package differ

// What is left out of captures: packets of IPv6 and IGMP, which Linux sends unasked and at random times, also inside tunnels.

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/internal/pcapfile"
)

// unasked reports whether a captured packet is of those.
func unasked(packet pcapfile.Packet) bool {
	switch packet.LinkType {
	case pcapfile.LinkEthernet:
		return unaskedFrame(packet.Data)
	case pcapfile.LinkRaw, pcapfile.LinkIPv4:
		return unaskedIP(packet.Data)
	case pcapfile.LinkLinuxSLL2:
		return len(packet.Data) >= cookedLen && unaskedPacket(binary.BigEndian.Uint16(packet.Data), packet.Data[cookedLen:])
	}
	return false
}

func unaskedFrame(b []byte) bool {
	kind, rest, ok := untag(b)
	return ok && unaskedPacket(kind, rest)
}

func unaskedPacket(kind uint16, b []byte) bool {
	return kind == etherIPv6 || kind == etherIPv4 && unaskedIP(b)
}

func unaskedIP(b []byte) bool {
	if len(b) < ipLen {
		return false
	}
	headerLen := int(b[0]&0xf) * 4
	switch {
	case b[0]>>4 == 6:
		return true
	case headerLen < ipLen || headerLen > len(b) || binary.BigEndian.Uint16(b[6:])&offset != 0:
		return false
	}
	switch rest := b[headerLen:]; b[9] {
	case protoIGMP:
		return true
	case protoIPIP:
		return unaskedIP(rest)
	case protoUDP:
		return len(rest) > udpLen+vxlanLen && vxlanPorts[binary.BigEndian.Uint16(rest[2:])] && unaskedFrame(rest[udpLen+vxlanLen:])
	}
	return false
}

// untag returns the protocol and the payload of an Ethernet frame, behind its VLAN tags, unless it is too short for one.
func untag(b []byte) (kind uint16, rest []byte, ok bool) {
	if len(b) < etherLen {
		return 0, nil, false
	}
	kind, rest = binary.BigEndian.Uint16(b[12:]), b[etherLen:]
	for kind == etherVLAN && len(rest) >= tagLen {
		kind, rest = binary.BigEndian.Uint16(rest[2:]), rest[tagLen:]
	}
	return kind, rest, true
}
