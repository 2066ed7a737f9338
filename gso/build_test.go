package gso_test

// Superframes to cut, built header by header from the inside out, and the slow cutter that the fast one is held against.

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

var (
	macA = ethernet.MustParseMAC("02:00:00:00:00:0a")
	macB = ethernet.MustParseMAC("02:00:00:00:00:0b")
)

// frame says what a packet is made of.
type frame struct {
	kind     packet.GSOType
	size     int      // of segments
	payload  int      // bytes
	tunnels  []string // from the outermost: vxlan, vxlan-sum, ipip
	raw      bool
	tags     int    // in the outermost Ethernet header
	options  []byte // of the innermost IPv4 header
	tcp      tcp.Fields
	port     uint16 // of the source; 0: 4000
	id       uint16
	df       bool
	noSum    bool // UDP without a checksum
	complete bool // the transport checksum is there, not partial
}

func (f frame) String() string {
	return fmt.Sprintf("type %d size %d payload %d tunnels %v raw %v tags %d options %d", f.kind, f.size, f.payload, f.tunnels, f.raw, f.tags, len(f.options))
}

// flags returns the IPv4 flags.
func (f frame) flags() ipv4.Flags {
	if f.df {
		return ipv4.DontFragment
	}
	return 0
}

// data is a payload that differs everywhere.
func data(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// build returns the packet and where its transport header is.
func (f frame) build(t testing.TB) (p []byte, l4 int) {
	t.Helper()
	src, dst := [4]byte{10, 244, 1, 12}, [4]byte{10, 244, 2, 14}
	port := cmp.Or(f.port, 4000)
	var err error
	switch f.kind {
	case packet.GSOUDP4:
		p, err = udp.Fields{SrcPort: port, DstPort: 5000}.Append(nil, f.payload)
		require.NoError(t, err)
		p = append(p, data(f.payload)...)
	default:
		c := f.tcp
		c.SrcPort, c.DstPort = port, 80
		p, err = c.Append(nil, src, dst, nil)
		require.NoError(t, err)
		p = append(p, data(f.payload)...)
	}
	etherType := ethernet.TypeIPv4
	if f.kind == packet.GSOTCP6 {
		etherType = ethernet.TypeIPv6
		h := make([]byte, 40)
		h[0], h[3], h[6], h[7], h[23], h[39] = 0x60, 7, 6, 63, 1, 2
		h[8], h[24] = 0xfd, 0xfd
		binary.BigEndian.PutUint16(h[4:], uint16(len(p)))
		p = append(h, p...)
		l4 = 40
	} else {
		protocol := uint8(tcp.Protocol)
		if f.kind == packet.GSOUDP4 {
			protocol = udp.Protocol
		}
		h := ipv4.Fields{TOS: 2, ID: f.id, TTL: 63, Protocol: protocol, Src: src, Dst: dst, Options: f.options, Flags: f.flags()}
		p = wrapIPv4(t, h, p)
		l4 = h.Len()
	}
	putCheck(p, l4, f)
	for i, kind := range slices.Backward(f.tunnels) {
		var n int
		p, n = wrapTunnel(t, kind, etherType, uint16(700+100*i), p)
		l4 += n
		etherType = ethernet.TypeIPv4
	}
	if f.raw {
		return p, l4
	}
	tags := []ethernet.Tag{{TPID: ethernet.TypeQinQ, TCI: 7}, {TPID: ethernet.TypeVLAN, TCI: 9}}[2-f.tags:]
	e := ethernet.Fields{Dst: macB, Src: macA, Tags: tags, EtherType: etherType}
	h, err := e.Append(nil)
	require.NoError(t, err)
	return append(h, p...), l4 + len(h)
}

// pseudo returns the sum of the pseudo-header of an IP packet whose transport header is at l4.
func pseudo(p []byte, l4 int) uint16 {
	if p[0]>>4 == 6 {
		return checksum.Add(checksum.Sum(p[8:40]), checksum.Add(uint16(p[6]), uint16(len(p)-l4)))
	}
	return checksum.PseudoHeader([4]byte(p[12:16]), [4]byte(p[16:20]), p[9], uint16(len(p)-l4))
}

// putCheck sets the transport checksum as f says.
func putCheck(p []byte, l4 int, f frame) {
	field := l4 + 16
	if f.kind == packet.GSOUDP4 {
		field = l4 + 6
	}
	sum := pseudo(p, l4)
	if f.noSum {
		sum = 0
	}
	binary.BigEndian.PutUint16(p[field:], sum)
	if f.complete && !f.noSum {
		sum = ^checksum.Sum(p[l4:])
		if f.kind == packet.GSOUDP4 {
			sum = udp.NotZero(sum)
		}
		binary.BigEndian.PutUint16(p[field:], sum)
	}
}

func wrapIPv4(t testing.TB, h ipv4.Fields, p []byte) []byte {
	t.Helper()
	b, err := h.Append(nil, len(p))
	require.NoError(t, err)
	return append(b, p...)
}

// wrapTunnel puts an IP packet into a tunnel, and returns how many bytes are now in front of it.
func wrapTunnel(t testing.TB, kind string, etherType, id uint16, p []byte) ([]byte, int) {
	t.Helper()
	was := len(p)
	outer := ipv4.Fields{ID: id, TTL: 64, Src: [4]byte{192, 0, 2, 1}, Dst: [4]byte{192, 0, 2, 2}, Protocol: ipv4.ProtocolIPIP, Flags: ipv4.DontFragment}
	if kind != "ipip" {
		e, err := ethernet.Fields{Dst: macA, Src: macB, EtherType: etherType}.Append(nil)
		require.NoError(t, err)
		v, err := vxlan.Fields{VNI: 42}.Append(nil)
		require.NoError(t, err)
		p = append(append(v, e...), p...)
		u, err := udp.Fields{SrcPort: 55555, DstPort: 4789}.Append(nil, len(p))
		require.NoError(t, err)
		if kind == "vxlan-sum" {
			u[6] = 1 // any but 0
		}
		p = append(u, p...)
		outer.Protocol = udp.Protocol
	}
	p = wrapIPv4(t, outer, p)
	return p, len(p) - was
}

// into puts the packet into a buffer, as a driver would.
func (f frame) into(t testing.TB, b *packet.Buffer) {
	t.Helper()
	p, l4 := f.build(t)
	require.NoError(t, b.SetBytes(p))
	b.SetGSO(f.kind, uint16(f.size))
	b.SetHash(0x1234)
	field := 16
	if f.kind == packet.GSOUDP4 {
		field = 6
	}
	if !f.complete && !f.noSum {
		require.NoError(t, b.SetChecksumPartial(l4, field))
	}
}

// buffer returns the packet in a buffer of its own.
func (f frame) buffer(t testing.TB) *packet.Buffer {
	t.Helper()
	p, _ := f.build(t)
	b := packet.New(len(p))
	f.into(t, b)
	return b
}

// cutSlowly builds each segment anew, from the inside out, with the fields that it should have.
func (f frame) cutSlowly(t testing.TB) (segments [][]byte) {
	t.Helper()
	whole := f
	all := data(f.payload)
	n := max(1, (f.payload+f.size-1)/f.size)
	for i := range n {
		from, to := i*f.size, min((i+1)*f.size, f.payload)
		s := whole
		s.payload, s.complete = to-from, true
		s.id += uint16(i)
		s.tcp.Seq += uint32(from)
		if i > 0 {
			s.tcp.Flags &^= tcp.CWR
		}
		if i < n-1 {
			s.tcp.Flags &^= tcp.FIN | tcp.PSH
		}
		p, l4 := s.build(t)
		copy(p[len(p)-(to-from):], all[from:to])
		at := 0
		if !f.raw {
			at = ethernet.HeaderLen + f.tags*ethernet.TagLen
		}
		fixLevels(p[at:], i, l4-at, s)
		segments = append(segments, p)
	}
	return segments
}

// fixLevels sets the identification of each outer IPv4 header of the i-th segment, and all checksums, the innermost first.
func fixLevels(p []byte, i, l4 int, f frame) {
	if l4 <= 40 && (p[0]>>4 == 6 || p[9] != ipv4.ProtocolIPIP && len(f.tunnels) == 0) {
		putCheck(p, l4, f)
		return
	}
	outer, _, _ := ipv4.Parse(p)
	outer.SetID(outer.ID() + uint16(i))
	inner := f
	inner.tunnels = f.tunnels[1:]
	if f.tunnels[0] == "ipip" {
		fixLevels(p[20:], i, l4-20, inner)
		return
	}
	fixLevels(p[50:], i, l4-50, inner)
	if f.tunnels[0] == "vxlan-sum" {
		u, payload, _ := udp.Parse(p[20:])
		u.FixChecksum(outer.Src(), outer.Dst(), payload)
	}
}
