package takeapart

// Link types: what stands in front of a packet in a capture.

import (
	"encoding/binary"
	"fmt"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/pcapfile"
)

// linkHeader is what precedes the first header that culvert reads.
type linkHeader struct {
	name     string // "" where there is none
	len      int    // bytes
	ethernet bool   // an Ethernet header follows, else an IPv4 header
	skip     string // why nothing follows that could be read; "" if it can
}

// Linux cooked headers (LINKTYPE_LINUX_SLL and LINKTYPE_LINUX_SLL2 at www.tcpdump.org/linktypes): their lengths, and where
// the EtherType is.
const (
	sllLen, sllType   = 16, 14
	sll2Len, sll2Type = 20, 0
)

// parseLink says what is in front of the packet in data.
func parseLink(t pcapfile.LinkType, data []byte) linkHeader {
	switch t {
	case pcapfile.LinkEthernet:
		return linkHeader{ethernet: true}
	case pcapfile.LinkRaw, pcapfile.LinkIPv4:
		if len(data) > 0 && data[0]>>4 == 6 {
			return linkHeader{skip: "IPv6"}
		}
		return linkHeader{}
	case pcapfile.LinkLinuxSLL:
		return cooked("SLL", data, sllLen, sllType)
	case pcapfile.LinkLinuxSLL2:
		return cooked("SLL2", data, sll2Len, sll2Type)
	}
	return linkHeader{skip: fmt.Sprintf("link type %v (%d) not supported", t, uint16(t))}
}

// cooked reads the Linux cooked header of n bytes, whose EtherType is at offset at, and VLAN tags behind it.
func cooked(name string, data []byte, n, at int) linkHeader {
	if len(data) < n {
		return linkHeader{skip: name + " header cut short"}
	}
	t := binary.BigEndian.Uint16(data[at:])
	for (t == ethernet.TypeVLAN || t == ethernet.TypeQinQ) && len(data) >= n+ethernet.TagLen {
		t = binary.BigEndian.Uint16(data[n+2:])
		n += ethernet.TagLen
	}
	h := linkHeader{name: name, len: n}
	if t != ethernet.TypeIPv4 {
		h.skip = payloadName(t)
	}
	return h
}

// payloadName names what culvert carries and does not read.
func payloadName(etherType uint16) string {
	switch etherType {
	case ethernet.TypeIPv6:
		return "IPv6"
	case ethernet.TypeARP:
		return "ARP without an Ethernet header"
	}
	return fmt.Sprintf("EtherType 0x%04x", etherType)
}
