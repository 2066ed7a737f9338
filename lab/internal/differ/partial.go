package differ

// Partial checksums: over veth Linux leaves the UDP checksum to a card that never comes, so that captures hold the sum of the
// pseudo header alone (CHECKSUM_PARTIAL). They are completed before anything is compared, the innermost ones first: the
// outer checksum of a tunnel is computed as if the inner one were complete (local checksum offload, lco_csum in Linux).

import "encoding/binary"

// completeFrame completes the partial checksums of an Ethernet frame in place.
func completeFrame(b []byte) {
	kind, rest, _ := untag(b)
	if kind == etherIPv4 {
		completeIP(rest)
	}
}

// completeIP is completeFrame for an IPv4 packet. Only whole ones can be completed.
func completeIP(b []byte) {
	if len(b) < ipLen || b[0]>>4 != 4 || binary.BigEndian.Uint16(b[6:])&(offset|flagMF) != 0 {
		return
	}
	headerLen, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if headerLen < ipLen || total < headerLen || total > len(b) {
		return
	}
	switch payload := b[headerLen:total]; b[9] {
	case protoIPIP:
		completeIP(payload)
	case protoUDP:
		completeUDP(payload, b[12:ipLen])
	}
}

func completeUDP(b, addresses []byte) {
	if len(b) < udpLen {
		return
	}
	if vxlanPorts[binary.BigEndian.Uint16(b[2:])] && len(b) > udpLen+vxlanLen {
		completeFrame(b[udpLen+vxlanLen:])
	}
	field := b[6:udpLen]
	pseudo := pseudoHeader(addresses, binary.BigEndian.Uint16(b[4:]))
	if binary.BigEndian.Uint16(field) != pseudo {
		return
	}
	check := sum(b, 0) // the field holds what the pseudo header adds
	if check == 0 {
		check = 0xffff // 0 would mean that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(field, check)
}

// pseudoHeader returns the sum of UDP's pseudo header; addresses are source and destination, as the IPv4 header has them.
func pseudoHeader(addresses []byte, length uint16) uint16 {
	return ^sum(addresses, protoUDP+uint32(length))
}
