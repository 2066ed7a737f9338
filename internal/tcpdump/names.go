package tcpdump

// Numbers that tcpdump has names for (IEEE and IANA registries), as far as a node's network shows them.

import (
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
)

// etherTypeName returns tcpdump's name of an EtherType; of those that it knows, what a node's network shows.
func etherTypeName(t uint16) string {
	switch t {
	case ethernet.TypeIPv4:
		return "IPv4"
	case ethernet.TypeARP:
		return "ARP"
	case ethernet.TypeIPv6:
		return "IPv6"
	case ethernet.TypeVLAN:
		return "802.1Q"
	case ethernet.TypeQinQ:
		return "802.1Q-QinQ"
	case 0x6558:
		return "TEB"
	case 0x8035:
		return "Reverse ARP"
	case 0x8809:
		return "Slow Protocols"
	case 0x8847:
		return "MPLS unicast"
	case 0x8848:
		return "MPLS multicast"
	case 0x8863:
		return "PPPoE D"
	case 0x8864:
		return "PPPoE S"
	case 0x888e:
		return "EAPOL"
	case 0x88cc:
		return "LLDP"
	case 0x88e5:
		return "802.1AE MACsec"
	case 0x88f7:
		return "PTP"
	case 0x894f:
		return "NSH"
	case 0x9000:
		return "Loopback"
	}
	return "Unknown"
}

// protocolName returns tcpdump's name of an IP protocol, as far as culvert has met it.
func protocolName(protocol uint8) string {
	switch protocol {
	case 0:
		return "Options"
	case ipv4.ProtocolICMP:
		return "ICMP"
	case 2:
		return "IGMP"
	case ipv4.ProtocolIPIP:
		return "IPIP"
	case ipv4.ProtocolTCP:
		return "TCP"
	case ipv4.ProtocolUDP:
		return "UDP"
	case 33:
		return "DCCP"
	case ipv4.ProtocolIPv6:
		return "IPv6"
	case 47:
		return "GRE"
	case 50:
		return "ESP"
	case 51:
		return "AH"
	case 58:
		return "ICMPv6"
	case 88:
		return "EIGRP"
	case 89:
		return "OSPF"
	case 103:
		return "PIM"
	case 112:
		return "VRRP"
	case 132:
		return "SCTP"
	}
	return "unknown"
}
