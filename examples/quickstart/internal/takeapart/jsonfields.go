package takeapart

// The objects of the JSON report. Their field names are stable; fields that do not apply are left out. Lengths are in bytes,
// checksums and reserved bits are numbers, addresses are text.

import (
	"net/netip"

	"github.com/culvert-net/culvert/ethernet"
)

// jsonFrame is the object of a frame.
type jsonFrame struct {
	Frame     int          `json:"frame"`          // number, from 1
	Time      string       `json:"time,omitempty"` // RFC 3339, UTC
	LinkType  string       `json:"link_type"`
	Length    int          `json:"length"`            // on the wire
	Captured  int          `json:"captured"`          // of it, in the capture
	Skipped   string       `json:"skipped,omitempty"` // why it was not read at all
	Levels    []jsonLevel  `json:"levels,omitempty"`  // outermost first
	Error     *jsonError   `json:"error,omitempty"`   // where a header is wrong
	Checksums []jsonSum    `json:"bad_checksums,omitempty"`
	Rejected  bool         `json:"rejected,omitempty"` // by -strict
	Tunnels   []jsonTunnel `json:"tunnels,omitempty"`
	Rebuilt   *bool        `json:"rebuilt,omitempty"` // all tunnels, byte for byte; left out if there is none
}

// jsonLevel is one packet: the frame itself, or what a tunnel carries.
type jsonLevel struct {
	Ethernet *jsonEthernet `json:"ethernet,omitempty"`
	ARP      *jsonARP      `json:"arp,omitempty"`
	IPv4     *jsonIPv4     `json:"ipv4,omitempty"`
	UDP      *jsonUDP      `json:"udp,omitempty"`
	TCP      *jsonTCP      `json:"tcp,omitempty"`
	ICMP     *jsonICMP     `json:"icmp,omitempty"`
	VXLAN    *jsonVXLAN    `json:"vxlan,omitempty"`
	Payload  int           `json:"payload_length"` // behind the last header; of a tunnel, the next level
	Cut      bool          `json:"cut,omitempty"`  // a length field promises more bytes than there are
}

type jsonEthernet struct {
	Src  ethernet.MAC `json:"src"`
	Dst  ethernet.MAC `json:"dst"`
	VLAN []jsonVLAN   `json:"vlan,omitempty"` // outermost first
	Type uint16       `json:"type"`           // EtherType, or an 802.3 length
}

type jsonVLAN struct {
	TPID         uint16 `json:"tpid"`
	ID           uint16 `json:"id"`
	Priority     uint8  `json:"priority"`
	DropEligible bool   `json:"drop_eligible"`
}

type jsonARP struct {
	Op        uint16       `json:"op"`
	SenderMAC ethernet.MAC `json:"sender_mac"`
	SenderIP  netip.Addr   `json:"sender_ip"`
	TargetMAC ethernet.MAC `json:"target_mac"`
	TargetIP  netip.Addr   `json:"target_ip"`
}

type jsonIPv4 struct {
	Src            netip.Addr `json:"src"`
	Dst            netip.Addr `json:"dst"`
	TOS            uint8      `json:"tos"`
	Length         uint16     `json:"length"` // total length, as the header has it
	ID             uint16     `json:"id"`
	DF             bool       `json:"df"`
	MF             bool       `json:"mf"`
	FragmentOffset uint16     `json:"fragment_offset"`
	TTL            uint8      `json:"ttl"`
	Protocol       uint8      `json:"protocol"`
	Checksum       uint16     `json:"checksum"`
	Options        string     `json:"options,omitempty"` // hexadecimal
}

type jsonUDP struct {
	SrcPort  uint16 `json:"src_port"`
	DstPort  uint16 `json:"dst_port"`
	Length   uint16 `json:"length"`
	Checksum uint16 `json:"checksum"` // 0 is none
}

type jsonTCP struct {
	SrcPort  uint16 `json:"src_port"`
	DstPort  uint16 `json:"dst_port"`
	Seq      uint32 `json:"seq"`
	Ack      uint32 `json:"ack"`
	Flags    uint8  `json:"flags"` // FIN is 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128
	Window   uint16 `json:"window"`
	Checksum uint16 `json:"checksum"`
	Options  string `json:"options,omitempty"` // hexadecimal
}

type jsonICMP struct {
	Type     uint8  `json:"type"`
	Code     uint8  `json:"code"`
	Checksum uint16 `json:"checksum"`
	Rest     string `json:"rest"`                   // second word of the header, hexadecimal
	MTU      uint16 `json:"next_hop_mtu,omitempty"` // of 'fragmentation needed'
}

type jsonVXLAN struct {
	VNI      uint32   `json:"vni"`
	Flags    uint8    `json:"flags"`              // first byte
	Reserved uint64   `json:"reserved,omitempty"` // reserved bits that are set, at their place in the 64-bit header
	GBP      *jsonGBP `json:"group_policy,omitempty"`
}

type jsonGBP struct {
	Group     uint16 `json:"group"`
	DontLearn bool   `json:"dont_learn"`
	Applied   bool   `json:"applied"`
}

// jsonError says where reading stopped, or that it went on although a length is wrong.
type jsonError struct {
	Level  int    `json:"level"`
	Layer  string `json:"layer"`
	Offset int    `json:"offset"` // of the header that is wrong, in the captured bytes
	Text   string `json:"text"`
}

type jsonSum struct {
	Level   int    `json:"level"`
	Layer   string `json:"layer"`
	Field   uint16 `json:"field"`
	Want    uint16 `json:"want"`
	Partial bool   `json:"partial"` // not wrong, but left to an offload
}

type jsonTunnel struct {
	Level   int    `json:"level"`
	Kind    string `json:"kind"` // VXLAN or IPIP
	Rebuilt bool   `json:"rebuilt"`
	Dropped bool   `json:"dropped"`          // a Linux tunnel end would drop it
	Reason  string `json:"reason,omitempty"` // why it was dropped, or is not the same when rebuilt
	Detail  string `json:"detail,omitempty"`
}

// jsonSummary is the last object.
type jsonSummary struct {
	Frames   int         `json:"frames"`
	Bytes    int64       `json:"bytes"`
	Tunneled int         `json:"tunneled"` // frames with a tunnel
	Rebuilt  int         `json:"rebuilt"`
	Rejected int         `json:"rejected"`
	Written  int         `json:"written"` // to the -w file
	Flows    []jsonFlow  `json:"flows"`   // with the most bytes first
	More     *jsonCount  `json:"flows_not_shown,omitempty"`
	Other    *jsonCount  `json:"flows_not_tracked,omitempty"`
	Remarks  []jsonNotes `json:"remarks"`
}

type jsonFlow struct {
	Kind      string      `json:"kind"`
	VNI       *uint32     `json:"vni,omitempty"`
	TunnelSrc netip.Addr  `json:"tunnel_src"`
	TunnelDst netip.Addr  `json:"tunnel_dst"`
	EtherType uint16      `json:"ether_type,omitempty"` // of the inner frame
	Src       *netip.Addr `json:"src,omitempty"`
	Dst       *netip.Addr `json:"dst,omitempty"`
	Protocol  *uint8      `json:"protocol,omitempty"`
	SrcPort   uint16      `json:"src_port,omitempty"`
	DstPort   uint16      `json:"dst_port,omitempty"`
	Packets   int         `json:"packets"`
	Bytes     int64       `json:"bytes"` // of the inner frames
}

type jsonCount struct {
	Packets int   `json:"packets"`
	Bytes   int64 `json:"bytes"`
}

type jsonNotes struct {
	What   string `json:"what"`
	Why    string `json:"why"`
	Frames int    `json:"frames"`
	First  int    `json:"first"` // number of the first frame
}
