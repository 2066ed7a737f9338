// Package vectors holds frames that another encoder made, with what stands in
// them, for the tests of every codec.
//
// scapy builds the bytes and reads the fields back (generate.py, run by `make
// vectors`), so a fault that a codec's parser and builder share does not hide
// here. The head of generate.py says how far a frame is read: where a fragment,
// a wrong checksum or a clear I flag ends it.
//
// A test walks the layers of a vector, or asks for the ones it is about:
//
//	for _, v := range vectors.Load(t) {
//		for _, want := range vectors.Of[vectors.IPv4](v) {
//			got, err := ipv4.Parse(v.Bytes(want))
//
// Numbers are in host order, addresses and raw bytes in wire order.
package vectors

import (
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"testing"
)

//go:embed vectors.json
var file string

// Vector is one frame and its layers, outermost first; the last is always a
// [Payload]. The memory is the caller's: every load decodes the file anew.
type Vector struct {
	Name   string `json:"name"` // family/corner, unique
	Note   string `json:"note"` // why it is here
	Link   Link   `json:"link"`
	Frame  Hex    `json:"hex"`
	Layers Layers `json:"layers"`
}

// Bytes returns the part of the frame that the enclosing layer hands to l:
// from l's header to the enclosing layer's declared end. l may declare less.
func (v Vector) Bytes(l Layer) []byte {
	p := l.At()
	return v.Frame[p.Offset:p.End]
}

// Link is what a frame begins with.
type Link string

// The links a vector can have come over.
const (
	LinkEthernet Link = "ethernet"
	LinkIPv4     Link = "ipv4" // raw IP, without an Ethernet header
)

// Kind names the type of a layer, as the file spells it.
type Kind string

// The kinds of layers.
const (
	KindEthernet Kind = "ethernet"
	KindARP      Kind = "arp"
	KindIPv4     Kind = "ipv4"
	KindUDP      Kind = "udp"
	KindTCP      Kind = "tcp"
	KindICMP     Kind = "icmp"
	KindVXLAN    Kind = "vxlan"
	KindPayload  Kind = "payload"
)

// Layer is one of [Ethernet], [ARP], [IPv4], [UDP], [TCP], [ICMP], [VXLAN] and
// [Payload], as a value.
type Layer interface {
	At() Place
}

// Place is where a layer lies, in bytes from the start of the frame.
type Place struct {
	Kind      Kind `json:"layer"`
	Offset    int  `json:"offset"`
	HeaderLen int  `json:"header_len"` // options and tags included; 0 for a payload
	End       int  `json:"end"`        // the end of what the enclosing layer hands over
}

// At returns p; it makes every struct that embeds a Place a [Layer].
func (p Place) At() Place { return p }

// Ethernet is an Ethernet II or 802.3 header with its tags.
type Ethernet struct {
	Place
	Dst       MAC    `json:"dst"`
	Src       MAC    `json:"src"`
	Tags      []Tag  `json:"tags"`      // outermost first
	EtherType uint16 `json:"ethertype"` // behind the last tag; up to 1500 an 802.3 length
}

// Tag is an 802.1Q or 802.1ad tag.
type Tag struct {
	TPID uint16 `json:"tpid"` // 0x8100 or 0x88a8
	PCP  uint8  `json:"pcp"`
	DEI  bool   `json:"dei"`
	VID  uint16 `json:"vid"`
}

// ARP is an ARP packet for IPv4 over Ethernet.
type ARP struct {
	Place
	Op        uint16     `json:"op"`
	SenderMAC MAC        `json:"sender_mac"`
	SenderIP  netip.Addr `json:"sender_ip"`
	TargetMAC MAC        `json:"target_mac"`
	TargetIP  netip.Addr `json:"target_ip"`
}

// IPv4 is an IPv4 header. Lengths and the fragment offset are in bytes.
type IPv4 struct {
	Place
	IHL          int        `json:"ihl"`
	TOS          uint8      `json:"tos"`
	TotalLength  int        `json:"total_length"`
	ID           uint16     `json:"id"`
	ReservedFlag bool       `json:"reserved_flag"`
	DF           bool       `json:"df"`
	MF           bool       `json:"mf"`
	FragOffset   int        `json:"frag_offset"`
	TTL          uint8      `json:"ttl"`
	Protocol     uint8      `json:"protocol"`
	Checksum     uint16     `json:"checksum"`
	ChecksumOK   bool       `json:"checksum_ok"`
	Src          netip.Addr `json:"src"`
	Dst          netip.Addr `json:"dst"`
	Options      Hex        `json:"options"`
}

// Fragment reports whether the packet is a part of a datagram.
func (h IPv4) Fragment() bool { return h.MF || h.FragOffset != 0 }

// UDP is a UDP header. Length is in bytes, the header included; in the first
// fragment of a datagram it is more than what is there.
type UDP struct {
	Place
	SrcPort    uint16 `json:"src_port"`
	DstPort    uint16 `json:"dst_port"`
	Length     int    `json:"length"`
	Checksum   uint16 `json:"checksum"`
	ChecksumOK *bool  `json:"checksum_ok"` // true for checksum 0 too; nil in a fragment
}

// TCP is a TCP header. DataOffset is in bytes, Flags are the eight from FIN
// (0x01) to CWR (0x80).
type TCP struct {
	Place
	SrcPort    uint16 `json:"src_port"`
	DstPort    uint16 `json:"dst_port"`
	Seq        uint32 `json:"seq"`
	Ack        uint32 `json:"ack"`
	DataOffset int    `json:"data_offset"`
	Flags      uint8  `json:"flags"`
	Window     uint16 `json:"window"`
	Checksum   uint16 `json:"checksum"`
	ChecksumOK *bool  `json:"checksum_ok"` // nil in a fragment
	Urgent     uint16 `json:"urgent"`
	Options    Hex    `json:"options"`
}

// ICMP is an ICMPv4 header of eight bytes. The payload of an error begins with
// the quote; an RFC 4884 extension may follow it.
type ICMP struct {
	Place
	Type        uint8   `json:"type"`
	Code        uint8   `json:"code"`
	Checksum    uint16  `json:"checksum"`
	ChecksumOK  *bool   `json:"checksum_ok"`            // nil in a fragment
	Rest        Hex     `json:"rest"`                   // bytes 4 to 7
	QuoteOffset *int    `json:"quote_offset,omitempty"` // in the frame; only for errors
	QuoteLen    *int    `json:"quote_len,omitempty"`    // as RFC 4884 declares it, else all there is
	NextHopMTU  *uint16 `json:"next_hop_mtu,omitempty"` // only for type 3 code 4
}

// VXLAN is a VXLAN header with every bit of it.
type VXLAN struct {
	Place
	Flags     uint8  `json:"flags"`     // I is 0x08, GBP's G 0x80
	Reserved1 uint8  `json:"reserved1"` // the second byte; GBP's D is 0x40, A 0x08
	GBPGroup  uint16 `json:"gbp_group"` // the third and fourth byte, whatever G says
	VNI       uint32 `json:"vni"`
	Reserved2 uint8  `json:"reserved2"`
}

// Payload is what the innermost header carries, without padding. Its Place
// ends where it does: End is Offset + Length.
type Payload struct {
	Place
	Length int `json:"length"`
}

// Layers are the layers of a frame, outermost first.
type Layers []Layer

// UnmarshalJSON picks each layer's type by its "layer" and refuses an unknown
// one.
func (ls *Layers) UnmarshalJSON(data []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	*ls = make(Layers, 0, len(parts))
	for i, part := range parts {
		l, err := decodeLayer(part)
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		*ls = append(*ls, l)
	}
	return nil
}

func decodeLayer(data []byte) (Layer, error) {
	var p Place
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	switch p.Kind {
	case KindEthernet:
		return decode[Ethernet](data)
	case KindARP:
		return decode[ARP](data)
	case KindIPv4:
		return decode[IPv4](data)
	case KindUDP:
		return decode[UDP](data)
	case KindTCP:
		return decode[TCP](data)
	case KindICMP:
		return decode[ICMP](data)
	case KindVXLAN:
		return decode[VXLAN](data)
	case KindPayload:
		return decode[Payload](data)
	}
	return nil, fmt.Errorf("unknown layer %q", p.Kind)
}

func decode[L Layer](data []byte) (Layer, error) {
	var l L
	err := json.Unmarshal(data, &l)
	return l, err
}

// Hex is bytes that the file spells in hexadecimal.
type Hex []byte

// MarshalText implements [encoding.TextMarshaler].
func (h Hex) MarshalText() ([]byte, error) {
	return hex.AppendEncode(nil, h), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hex) UnmarshalText(text []byte) error {
	b, err := hex.AppendDecode(nil, text)
	*h = b
	return err
}

// MAC is an Ethernet address, which the file spells with colons.
type MAC [6]byte

// MarshalText implements [encoding.TextMarshaler].
func (m MAC) MarshalText() ([]byte, error) {
	return []byte(net.HardwareAddr(m[:]).String()), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *MAC) UnmarshalText(text []byte) error {
	hw, err := net.ParseMAC(string(text))
	if err != nil {
		return err
	}
	if len(hw) != len(m) {
		return fmt.Errorf("MAC %q has %d bytes, want %d", text, len(hw), len(m))
	}
	*m = MAC(hw)
	return nil
}

// All returns every vector, in the order of the file.
func All() ([]Vector, error) {
	var f struct {
		Vectors []Vector `json:"vectors"`
	}
	if err := json.Unmarshal([]byte(file), &f); err != nil {
		return nil, fmt.Errorf("vectors.json (run make vectors): %w", err)
	}
	return f.Vectors, nil
}

// Load is [All] for tests and fuzz targets: it fails tb where All fails.
func Load(tb testing.TB) []Vector {
	tb.Helper()
	vs, err := All()
	if err != nil {
		tb.Fatal(err)
	}
	return vs
}

// Of returns v's layers of the type L, outermost first.
func Of[L Layer](v Vector) []L {
	var found []L
	for _, l := range v.Layers {
		if l, ok := l.(L); ok {
			found = append(found, l)
		}
	}
	return found
}
