package vxlan_test

// Encapsulation beside the kernel: what its device puts onto the wire for a frame, and what we make of the same frame with
// the same outer id and source port, must be the same bytes.

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// sends puts an inner frame into the kernel's device and returns the outer packet that it sends, false if it sends none. A
// UDP checksum that the kernel leaves to the device to compute is recorded as partial.
func (k kernel) sends(t *testing.T, d device, inner []byte) (*packet.Buffer, bool) {
	t.Helper()
	marker, err := ethernet.Fields{Dst: vtepAMAC, Src: vtepBMAC, EtherType: typeMarker}.Append(nil)
	require.NoError(t, err)
	marker = append(marker, t.Name()...)
	d.Send(t, inner, marker)
	frames := until(t, k.underlay, string(marker))
	if len(frames) == 0 {
		return nil, false
	}
	require.Len(t, frames, 1, "one frame, two packets")
	b := packet.Of(frames[0].Bytes)
	if frames[0].Partial {
		require.NoError(t, b.SetChecksumPartial(atUDP, 6))
	}
	return b, true
}

// option is how the same is said to 'ip link add … type vxlan' and to us.
type option struct {
	words string
	set   func(c *vxlan.EncapConfig)
}

// Each list of options is about one thing; the first of each is the default.
var (
	ttlOptions = []option{
		{"", func(*vxlan.EncapConfig) {}},
		{"ttl 7", func(c *vxlan.EncapConfig) { c.TTL = 7 }},
		{"ttl inherit", func(c *vxlan.EncapConfig) { c.InheritTTL = true }},
	}
	tosOptions = []option{
		{"", func(*vxlan.EncapConfig) {}},
		{"tos 0x2f", func(c *vxlan.EncapConfig) { c.TOS = 0x2f }}, // its ECN bits must not be sent
		{"tos inherit", func(c *vxlan.EncapConfig) { c.InheritTOS = true }},
	}
	dfOptions = []option{
		{"", func(*vxlan.EncapConfig) {}},
		{"df set", func(c *vxlan.EncapConfig) { c.DF = tunnel.DFSet }},
		{"df inherit", func(c *vxlan.EncapConfig) { c.DF = tunnel.DFInherit }},
	}
	checksumOptions = []option{
		{"udpcsum", func(c *vxlan.EncapConfig) { c.UDPChecksum = true }},
		{"noudpcsum", func(*vxlan.EncapConfig) {}},
	}
)

// TestKernelEncapsulates sends every kind of frame into devices with every combination of options: behaviours 1 and 2.
func TestKernelEncapsulates(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		k := newKernel(t)
		frames := innerFrames(t)
		vni := uint32(0)
		for _, ttl := range ttlOptions {
			for _, tos := range tosOptions {
				for _, df := range dfOptions {
					for _, sum := range checksumOptions {
						vni++
						c := vxlan.EncapConfig{
							VNI: vni, Src: nodeB, Dst: nodeA, SrcMAC: nodeBMAC, DstMAC: nodeAMAC, DstPort: vxlan.PortLinux,
						}
						words := ""
						for _, o := range []option{ttl, tos, df, sum} {
							o.set(&c)
							words += " " + o.words
						}
						d := k.tunnel(t, fmt.Sprintf("vxlan%d", vni), vni, vxlan.PortLinux, words)
						for _, f := range frames {
							t.Run(words+"/"+f.name, func(t *testing.T) { k.compareEncap(t, d, c, f) })
						}
					}
				}
			}
		}
	})
}

// innerFrame is a frame for the kernel and for us to encapsulate.
type innerFrame struct {
	name   string
	frame  []byte
	broken bool // it ends within the header that it announces
	tagged bool // the IP header is behind a tag
	df     bool // don't fragment, or IPv6
}

// tagCut is the frame that ends within its VLAN tag: nobody looks before it is decapsulated.
const tagCut = "tag cut"

// compareEncap holds the packet that the kernel sends against ours, and takes it apart again.
func (k kernel) compareEncap(t *testing.T, d device, c vxlan.EncapConfig, f innerFrame) {
	t.Helper()
	kernel, sent := k.sends(t, d, f.frame)
	if f.broken {
		require.False(t, sent, "the kernel no longer drops what ends within a header; we carry it as it is")
		return
	}
	require.True(t, sent, "the kernel dropped it")
	outer := kernel.Bytes()
	id, port := binary.BigEndian.Uint16(outer[atIP+4:]), binary.BigEndian.Uint16(outer[atUDP:])

	back := packet.New(len(outer))
	require.NoError(t, back.CopyFrom(kernel))
	info, err := decapsulator(t, vxlan.DecapConfig{DstPort: d.port, Local: nodeA, GBP: c.GBP.Set}).Decapsulate(back)
	if f.name == tagCut {
		require.ErrorIs(t, err, vxlan.ErrInnerShort, "it is sent, and dropped by whoever receives it")
	} else {
		require.NoError(t, err)
		assert.Equal(t, c.VNI, info.VNI())
		assert.Equal(t, c.GBP, info.GBP())
		assert.Equal(t, f.frame, back.Bytes())
	}

	require.NoError(t, kernel.CompleteChecksum())
	ours := packet.Of(f.frame)
	c.SrcPorts = tunnel.Ports{Min: port, Max: port + 1} // this one, in the fast path too
	require.NoError(t, encapsulator(t, c).Encapsulate(ours, id))
	if c.DF == tunnel.DFInherit && f.tagged && f.df {
		require.NotEqual(t, outer, ours.Bytes(), "the kernel does as we do, though it did not look behind a tag for DF")
		ip, _, err := ipv4.Parse(ours.Bytes()[atIP:])
		require.NoError(t, err)
		require.NoError(t, ip.SetFragment(0, 0))
	}
	require.Equal(t, outer, ours.Bytes())
}

// innerFrames are frames of every kind, from the kernel's VTEP to ours.
func innerFrames(t *testing.T) []innerFrame {
	t.Helper()
	var frames []innerFrame
	add := func(f innerFrame) {
		f.frame = append([]byte(nil), f.frame...)
		copy(f.frame, append(vtepAMAC[:], vtepBMAC[:]...))
		frames = append(frames, f)
	}
	for mark := range uint8(4) {
		v6 := innerIPv6(0xb8|mark, 44)
		add(innerFrame{name: fmt.Sprintf("IPv6, mark %02b", mark), frame: v6, df: true})
		add(innerFrame{name: fmt.Sprintf("tagged IPv6, mark %02b", mark), frame: insertTag(v6, 0x8100, 5), df: true, tagged: true})
		for _, flags := range []ipv4.Flags{0, ipv4.DontFragment} {
			v4 := innerIPv4(t, ipv4.Fields{TOS: 0xb8 | mark, TTL: 33, Flags: flags, Protocol: udp.Protocol}, datagram(t, 1, []byte("x")))
			name := fmt.Sprintf("IPv4, mark %02b, flags %d", mark, flags)
			df := flags != 0
			add(innerFrame{name: name, frame: v4, df: df})
			add(innerFrame{name: "tagged " + name, frame: insertTag(v4, 0x8100, 0x2005), df: df, tagged: true})
			add(innerFrame{name: "QinQ " + name, frame: insertTag(insertTag(v4, 0x8100, 5), 0x88a8, 0x6007), df: df, tagged: true})
		}
	}
	for _, ttl := range []uint8{0, 1, 255} {
		add(innerFrame{name: fmt.Sprintf("IPv4, TTL %d", ttl), frame: innerIPv4(t, ipv4.Fields{TTL: ttl}, nil)})
		add(innerFrame{name: fmt.Sprintf("IPv6, hop limit %d", ttl), frame: innerIPv6(0, ttl), df: true})
	}
	add(innerFrame{name: "IPv4 with options", frame: innerIPv4(t, ipv4.Fields{TTL: 9, TOS: 1, Options: make([]byte, 40)}, nil)})
	add(innerFrame{name: "IPv4, full size", frame: innerIPv4(t, ipv4.Fields{TTL: 9}, make([]byte, 1430))})
	add(innerFrame{name: "first fragment", frame: innerIPv4(t, ipv4.Fields{TTL: 9, Flags: ipv4.MoreFragments}, make([]byte, 8))})
	add(innerFrame{name: "later fragment", frame: innerIPv4(t, ipv4.Fields{TTL: 9, FragmentOffset: 8}, make([]byte, 1))})
	add(innerFrame{name: "ARP", frame: arp.Probe(vtepBMAC, [4]byte{10, 0, 0, 1}).AppendFrame(nil, vtepAMAC)})
	add(innerFrame{name: "header alone", frame: withEtherType(t, 0x1234, 14)})
	add(innerFrame{name: "LLC", frame: withEtherType(t, 3, 17)})
	add(innerFrame{name: tagCut, frame: withEtherType(t, 0x8100, 16)})
	versionless, long := plainInner(t), plainInner(t)
	versionless[ethernet.HeaderLen], long[ethernet.HeaderLen] = 0x05, 0x4f
	add(innerFrame{name: "IPv4 of version 0", frame: versionless})
	add(innerFrame{name: "IPv4 with options beyond the end", frame: long})
	add(innerFrame{name: "IPv4 cut", frame: withEtherType(t, ethernet.TypeIPv4, 33), broken: true})
	add(innerFrame{name: "IPv6 cut", frame: innerIPv6(0, 9)[:53], broken: true})
	add(innerFrame{name: "tagged IPv4 cut", frame: insertTag(plainInner(t), 0x8100, 5)[:37], broken: true})
	return frames
}

// TestKernelSourcePort: behaviour 3. The range is the default one or the device's, without its upper end; all fragments of
// a datagram get one port, and so do all packets of a flow.
func TestKernelSourcePort(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		k := newKernel(t)
		for name, c := range map[string]struct {
			words    string
			vni      uint32
			min, max uint16
		}{
			"default":  {"", 1, 32768, 60999},
			"narrow":   {"srcport 1000 1004", 2, 1000, 1004},
			"one port": {"srcport 2000 2001", 3, 2000, 2001},
		} {
			d := k.tunnel(t, fmt.Sprintf("vxlan%d", c.vni), c.vni, vxlan.PortLinux, c.words)
			seen := map[uint16]bool{}
			for flow := range uint16(64) {
				t.Run(fmt.Sprintf("%s/flow %d", name, flow), func(t *testing.T) {
					whole := k.sourcePort(t, d, ipv4.Fields{}, flow, []byte("first"))
					assert.Equal(t, whole, k.sourcePort(t, d, ipv4.Fields{ID: 9, TOS: 4}, flow, []byte("another")))
					first := k.sourcePort(t, d, ipv4.Fields{ID: 9, Flags: ipv4.MoreFragments}, flow, make([]byte, 16))
					for _, offset := range []uint16{24, 1024} {
						later := ipv4.Fields{ID: 9, FragmentOffset: offset}
						assert.Equal(t, first, k.sourcePort(t, d, later, flow+offset, nil), "a fragment's first bytes are no ports")
					}
					for _, port := range []uint16{whole, first} {
						assert.GreaterOrEqual(t, port, c.min)
						assert.Less(t, port, c.max)
						seen[port] = true
					}
				})
			}
			assert.LessOrEqual(t, len(seen), int(c.max-c.min))
			assert.Greater(t, len(seen), min(int(c.max-c.min), 8)-1, "flows are spread over the range")
		}
	})
}

// sourcePort returns the port from which the kernel sends an inner UDP packet of a flow.
func (k kernel) sourcePort(t *testing.T, d device, f ipv4.Fields, flow uint16, data []byte) uint16 {
	t.Helper()
	f.TTL, f.Protocol = 9, udp.Protocol
	inner := innerIPv4(t, f, datagram(t, 5000+flow, data))
	copy(inner, append(vtepAMAC[:], vtepBMAC[:]...))
	b, sent := k.sends(t, d, inner)
	require.True(t, sent)
	return binary.BigEndian.Uint16(b.Bytes()[atUDP:])
}

// TestKernelSendsGroupPolicy: the kernel takes the policy of a packet from its firewall mark: the group in the lower half,
// and the flags at their place in the header above it (VXLAN_GBP_* in include/net/vxlan.h).
func TestKernelSendsGroupPolicy(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		k := newKernel(t)
		d := k.tunnel(t, "policy", 5, vxlan.Port, "gbp udpcsum")
		for _, c := range []struct {
			mark uint32
			gbp  vxlan.GBP
		}{
			{0, vxlan.GBP{}},
			{1, vxlan.GBP{Set: true, Group: 1}},
			{0xffff, vxlan.GBP{Set: true, Group: 0xffff}},
			{1 << 22, vxlan.GBP{Set: true, DontLearn: true}},
			{1<<19 | 7, vxlan.GBP{Set: true, Applied: true, Group: 7}},
			{1<<22 | 1<<19 | 0x1234, vxlan.GBP{Set: true, DontLearn: true, Applied: true, Group: 0x1234}},
		} {
			t.Run(fmt.Sprintf("mark %x", c.mark), func(t *testing.T) {
				d.SetMark(t, c.mark)
				k.compareEncap(t, d, vxlan.EncapConfig{
					VNI: 5, GBP: c.gbp, Src: nodeB, Dst: nodeA, SrcMAC: nodeBMAC, DstMAC: nodeAMAC, UDPChecksum: true,
				}, innerFrame{frame: plainInner(t)})
			})
		}
	})
}
