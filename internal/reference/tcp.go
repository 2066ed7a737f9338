package reference

// TCP without connections: who sends a segment is told that there is none (RFC 9293 section 3.5.2; tcp_v4_rcv,
// tcp_v4_send_reset).

import "encoding/binary"

// The control bits, and where a header has what.
const (
	tcpFIN = 1
	tcpSYN = 2
	tcpRST = 4
	tcpACK = 16

	tcpLen = 20
)

// refuseTCP drops a segment that nobody takes, and resets.
func (n *Node) refuseTCP(p ipPacket, to kindOfDestination, kind RouteType) {
	if to != toHost {
		n.drop("NoSocket")
		return
	}
	s := p.payload
	if len(s) < tcpLen || int(s[12]>>4)*4 < tcpLen || int(s[12]>>4)*4 > len(s) || transportChecksum(p.src, p.dst, protocolTCP, s) != 0 {
		n.drop("TCP")
		return
	}
	n.drop("NoSocket")
	if kind != Local || s[13]&tcpRST != 0 {
		return
	}
	answer := ipPacket{
		tos: p.tos &^ 3, id: AnyID, df: true, ttl: n.DefaultTTL, protocol: protocolTCP, src: p.dst, dst: p.src, payload: make([]byte, tcpLen),
	}
	r := answer.payload
	copy(r[0:2], s[2:4])
	copy(r[2:4], s[0:2])
	r[12], r[13] = tcpLen/4<<4, tcpRST
	if s[13]&tcpACK != 0 {
		copy(r[4:8], s[8:12])
	} else {
		taken := uint32(len(s) - int(s[12]>>4)*4)
		for _, bit := range []byte{tcpSYN, tcpFIN} {
			if s[13]&bit != 0 {
				taken++
			}
		}
		r[13] |= tcpACK
		binary.BigEndian.PutUint32(r[8:], binary.BigEndian.Uint32(s[4:])+taken)
	}
	binary.BigEndian.PutUint16(r[16:], transportChecksum(answer.src, answer.dst, protocolTCP, r))
	if n.takeBack(&answer, p, len(p.options)) {
		n.send(answer)
	}
}
