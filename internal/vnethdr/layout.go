package vnethdr

// Where the headers of a packet are, as far as segmentation needs them.

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
)

// outer is the outermost IP packet in a frame.
type outer struct {
	network   int // where its header starts
	transport int // where the header behind it starts, 0 if that is not known
	ipv6      bool
	isUDP     bool // followed by a whole UDP header
}

// outermost finds the outermost IP packet in p. With IPv6 extension headers, which segmentation offloads do not go with, there is
// no transport.
func (f Format) outermost(p []byte) outer {
	var o outer
	etherType := ethernet.TypeIPv4
	if f.Raw {
		if len(p) > 0 && p[0]>>4 == 6 {
			etherType = ethernet.TypeIPv6
		}
	} else {
		h, _, err := ethernet.Parse(p)
		if err != nil {
			return o
		}
		o.network, etherType = len(h.Bytes()), h.EtherType()
	}
	ip := p[o.network:]
	var protocol byte
	switch {
	case etherType == ethernet.TypeIPv4 && len(ip) >= ipv4.HeaderLen && ip[0]>>4 == 4:
		o.transport, protocol = o.network+int(ip[0]&0xf)*4, ip[9]
	case etherType == ethernet.TypeIPv6 && len(ip) >= ipv6HeaderLen && ip[0]>>4 == 6:
		o.transport, protocol, o.ipv6 = o.network+ipv6HeaderLen, ip[6], true
		if protocol != tcp.Protocol && protocol != ipv4.ProtocolUDP {
			o.transport = 0
		}
	}
	o.isUDP = protocol == ipv4.ProtocolUDP && o.transport >= o.network+ipv4.HeaderLen && o.transport+udp.HeaderLen <= len(p)
	return o
}

// completeChecksum reports whether o's UDP header has a checksum, and if so sets it to the sum of the pseudo-header: what the
// kernel has there, see udp_set_csum in net/ipv4/udp.c.
func (o outer) completeChecksum(p []byte) bool {
	field := p[o.transport+udpFieldAt : o.transport+udp.HeaderLen]
	if field[0] == 0 && field[1] == 0 {
		return false
	}
	addresses := p[o.network+12 : o.network+20]
	if o.ipv6 {
		addresses = p[o.network+8 : o.network+ipv6HeaderLen]
	}
	sum := checksum.Sum(addresses)
	sum = checksum.Add(sum, uint16(ipv4.ProtocolUDP))
	sum = checksum.Add(sum, uint16(len(p)-o.transport))
	binary.BigEndian.PutUint16(field, sum)
	return true
}

// ipv4Before returns where the IPv4 header starts that ends at start, its options included, and says that protocol and all that
// follows are its payload.
func ipv4Before(p []byte, start int, protocol byte) (int, bool) {
	for n := ipv4.HeaderLen; n <= ipv4.MaxHeaderLen && n <= start; n += 4 {
		h := p[start-n:]
		if h[0] == 4<<4|byte(n/4) && h[9] == protocol && int(binary.BigEndian.Uint16(h[2:])) == len(h) {
			return start - n, true
		}
	}
	return 0, false
}

// headersLen returns the length of all headers of a superframe of a type, whose transport header is at start: negative if it is
// none, or not all there.
func headersLen(t packet.GSOType, p []byte, start int) int {
	if start < ipv4.HeaderLen || start > len(p) {
		return -1
	}
	segment := p[start:]
	switch t {
	case packet.GSOTCP4, packet.GSOTCP6:
		if len(segment) < tcp.HeaderLen {
			return -1
		}
		n := int(segment[12]>>4) * 4
		if n < tcp.HeaderLen || n > len(segment) {
			return -1
		}
		return start + n
	case packet.GSOUDP4:
		if len(segment) >= udp.HeaderLen {
			return start + udp.HeaderLen
		}
	}
	return -1
}
