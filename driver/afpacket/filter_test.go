package afpacket_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/ipv4"
)

// What filters and frames are about. Few values, so that they meet often.
var (
	filterMACs  = []ethernet.MAC{{2, 0, 0, 0, 0, 0x11}, {2, 0, 0, 0, 0, 0x12}, {2, 0, 0, 0, 1, 0x11}, {2, 0, 0, 1, 0, 0x11}}
	filterAddrs = []netip.Addr{
		netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("192.0.2.1"),
	}
	filterPorts     = []uint16{8472, 4789, 53}
	filterProtocols = []uint8{ipv4.ProtocolICMP, ipv4.ProtocolIPIP, ipv4.ProtocolTCP, ipv4.ProtocolUDP}
)

const testType = 0x88b5 // IEEE Std 802: for experiments

// filters are those that the tests try, each with something of the frames in it.
var filters = map[string]*afpacket.Filter{
	"everything":       nil,
	"untagged":         {},
	"two MACs":         {MACs: filterMACs[:2]},
	"two VLANs":        {VLANs: []uint16{7, 4094}},
	"untagged and one": {VLANs: []uint16{0, 7}},
	"ARP":              {ARP: filterAddrs[:2]},
	"an address":       {MACs: filterMACs[1:2], ARP: filterAddrs[:1], IPv4: []netip.Prefix{netip.PrefixFrom(filterAddrs[0], 32)}},
	"prefixes": {IPv4: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.2/31"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.1.0.1/32"),
	}},
	"all of IPv4":       {IPv4: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
	"VXLAN":             {UDPPorts: filterPorts[:2]},
	"VXLAN at a host":   {Hosts: filterAddrs[:1], UDPPorts: filterPorts[:1]},
	"IPIP at two hosts": {Hosts: filterAddrs[1:3], Protocols: []uint8{ipv4.ProtocolIPIP}},
	"a node": {
		MACs: filterMACs[:1], VLANs: []uint16{0, 7}, ARP: filterAddrs[:1], IPv4: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		Hosts: filterAddrs[:1], UDPPorts: filterPorts[:2], Protocols: []uint8{ipv4.ProtocolIPIP, ipv4.ProtocolICMP},
		EtherTypes: []uint16{testType},
	},
	"many": manyAddresses(),
}

// manyAddresses is a filter whose jumps are longer than a conditional one reaches.
func manyAddresses() *afpacket.Filter {
	f := &afpacket.Filter{}
	for i := range 300 {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		f.ARP = append(f.ARP, a)
		f.IPv4 = append(f.IPv4, netip.PrefixFrom(a, 32-i%9))
	}
	return f
}

// frame is one as the kernel has it: without the outermost VLAN tag.
type frame struct {
	tag   ethernet.Tag
	bytes []byte
}

// onWire returns the frame with its tag.
func (f frame) onWire() []byte {
	if f.tag.TPID == 0 {
		return f.bytes
	}
	b := slices.Clone(f.bytes[:12])
	b = binary.BigEndian.AppendUint16(b, f.tag.TPID)
	b = binary.BigEndian.AppendUint16(b, uint16(f.tag.TCI))
	return append(b, f.bytes[12:]...)
}

// wants is the filter in plain words.
func wants(f *afpacket.Filter, fr frame, stealing bool) bool {
	if f == nil {
		return true
	}
	b := fr.bytes
	if len(f.MACs) > 0 && b[0]&1 == 0 && !slices.Contains(f.MACs, ethernet.MAC(b[:6])) {
		return false
	}
	if id := fr.tag.TCI.VLAN(); !slices.Contains(f.VLANs, id) && (len(f.VLANs) > 0 || id != 0) {
		return false
	}
	if len(f.ARP)+len(f.IPv4)+len(f.UDPPorts)+len(f.Protocols)+len(f.EtherTypes) == 0 {
		return true
	}
	kind := binary.BigEndian.Uint16(b[12:])
	p := b[14:]
	switch {
	case slices.Contains(f.EtherTypes, kind):
		return true
	case kind == ethernet.TypeARP && len(p) >= 28:
		target, sender := netip.AddrFrom4([4]byte(p[24:])), netip.AddrFrom4([4]byte(p[14:]))
		return slices.Contains(f.ARP, target) || len(f.ARP) > 0 && target == sender && !stealing
	case kind == ethernet.TypeIPv4 && len(p) >= 20 && p[0]>>4 == 4:
		return wantsIPv4(f, p, stealing)
	}
	return false
}

func wantsIPv4(f *afpacket.Filter, p []byte, stealing bool) bool {
	dst := netip.AddrFrom4([4]byte(p[16:]))
	for _, prefix := range f.IPv4 {
		if prefix.Contains(dst) {
			return true
		}
	}
	if len(f.Hosts) > 0 && !slices.Contains(f.Hosts, dst) {
		return false
	}
	if slices.Contains(f.Protocols, p[9]) {
		return true
	}
	if len(f.UDPPorts) == 0 || p[9] != ipv4.ProtocolUDP {
		return false
	}
	if binary.BigEndian.Uint16(p[6:])&0x1fff != 0 {
		return !stealing
	}
	ports := int(p[0]&0xf) * 4
	return len(p) >= ports+4 && slices.Contains(f.UDPPorts, binary.BigEndian.Uint16(p[ports+2:]))
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// randomFrame returns a frame that is nearly something, and names number in its source address.
func randomFrame(r *rand.Rand, number int) frame {
	dst := pick(r, append(slices.Clone(filterMACs), ethernet.Broadcast, ethernet.MAC{1, 0, 0x5e, 0, 0, 1}))
	b := append(dst[:], 2, 1, 0, 0, byte(number>>8), byte(number))
	var p []byte
	kind := pick(r, []uint16{ethernet.TypeIPv4, ethernet.TypeIPv4, ethernet.TypeIPv4, ethernet.TypeARP, ethernet.TypeIPv6, testType})
	if kind == ethernet.TypeARP {
		p = randomARP(r)
	} else {
		p = randomIPv4(r)
	}
	b = append(binary.BigEndian.AppendUint16(b, kind), p...)
	const least = 14 + 6 // with less, the kernel drops a frame with a tag
	if r.IntN(4) == 0 {
		b = b[:least+r.IntN(len(b)-least)]
	}
	f := frame{bytes: b}
	if r.IntN(3) == 0 {
		f.tag = ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: ethernet.TCI(pick(r, []uint16{0xe000, 7, 0x6007, 8, 4094}))}
	}
	return f
}

func randomARP(r *rand.Rand) []byte {
	p := make([]byte, arp.Len)
	copy(p, []byte{0, 1, 8, 0, 6, 4, 0, byte(1 + r.IntN(2))})
	copy(p[14:], pick(r, filterAddrs).AsSlice())
	copy(p[24:], pick(r, filterAddrs).AsSlice())
	return p
}

func randomIPv4(r *rand.Rand) []byte {
	words := 5 + r.IntN(3)
	p := make([]byte, words*4+12)
	p[0] = pick(r, []byte{0x40, 0x40, 0x40, 0x60, 0x50}) | byte(words)
	binary.BigEndian.PutUint16(p[6:], pick(r, []uint16{0, 0x4000, 0x2000, 0x2010, 0x0020, 0x1fff}))
	p[9] = pick(r, filterProtocols)
	copy(p[16:], pick(r, filterAddrs).AsSlice())
	binary.BigEndian.PutUint16(p[words*4:], pick(r, filterPorts))
	binary.BigEndian.PutUint16(p[words*4+2:], pick(r, filterPorts))
	return p
}

const otherHost = 3 // PACKET_OTHERHOST of <linux/if_packet.h>, as good as any but PACKET_OUTGOING

// withTag replaces what a program asks the kernel for, which the machine of golang.org/x/net has not got, with the answers.
func withTag(code []bpf.Instruction, tag ethernet.Tag) []bpf.Instruction {
	out := slices.Clone(code)
	for i, in := range out {
		switch in {
		case bpf.LoadExtension{Num: bpf.ExtType}:
			out[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: otherHost}
		case bpf.LoadExtension{Num: bpf.ExtVLANTagPresent}:
			out[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: uint32(min(tag.TPID, 1))}
		case bpf.LoadExtension{Num: bpf.ExtVLANTag}:
			out[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: uint32(tag.TCI)}
		}
	}
	return out
}

// run runs a program on a frame.
func run(t *testing.T, code []bpf.Instruction, fr frame) int {
	t.Helper()
	vm, err := bpf.NewVM(withTag(code, fr.tag))
	require.NoError(t, err)
	n, err := vm.Run(fr.bytes)
	require.NoError(t, err)
	return n
}

// drop is TC_ACT_SHOT of <linux/pkt_cls.h>.
const drop = 2

// both runs both programs, and compares them with the plain words.
func both(t *testing.T, f *afpacket.Filter, frames []frame) (wanted int) {
	t.Helper()
	receiving, stealing, err := afpacket.Code(f)
	require.NoError(t, err)
	for _, fr := range frames {
		want := wants(f, fr, false)
		assert.Equal(t, want, run(t, receiving, fr) >= len(fr.bytes), "receiving %x %+v", fr.bytes, fr.tag)
		assert.Equal(t, wants(f, fr, true), run(t, stealing, fr) == drop, "stealing %x %+v", fr.bytes, fr.tag)
		if want {
			wanted++
		}
	}
	return wanted
}

const filterSeed = 20261121

func TestFilterIsWhatItSays(t *testing.T) {
	for name, f := range filters {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(filterSeed, 0))
			var frames []frame
			for i := range 2000 {
				frames = append(frames, randomFrame(r, i))
			}
			n := both(t, f, frames)
			assert.NotZero(t, n, "of seed %d", filterSeed)
			assert.True(t, f == nil || n < len(frames))
		})
	}
}

// TestFilterOnFramesOfOthers: those of another encoder.
func TestFilterOnFramesOfOthers(t *testing.T) {
	var frames []frame
	for _, v := range vectors.Load(t) {
		e := vectors.Of[vectors.Ethernet](v)
		if len(e) == 0 || len(v.Frame) < 20 {
			continue
		}
		fr := frame{bytes: v.Frame}
		if kind := binary.BigEndian.Uint16(v.Frame[12:]); kind == ethernet.TypeVLAN || kind == ethernet.TypeQinQ {
			fr.tag = ethernet.Tag{TPID: kind, TCI: ethernet.TCI(binary.BigEndian.Uint16(v.Frame[14:]))}
			fr.bytes = append(slices.Clone(v.Frame[:12]), v.Frame[16:]...)
		}
		frames = append(frames, fr)
	}
	require.NotEmpty(t, frames)
	for name, f := range filters {
		t.Run(name, func(t *testing.T) { both(t, f, frames) })
	}
}

func TestFilterReportsAllFaults(t *testing.T) {
	six := netip.MustParseAddr("2001:db8::1")
	_, err := afpacket.New(afpacket.Config{Device: "a name that is too long", Queues: -1, Slots: 3, Filter: &afpacket.Filter{
		VLANs: []uint16{4095}, ARP: []netip.Addr{six}, Hosts: []netip.Addr{{}}, IPv4: []netip.Prefix{netip.PrefixFrom(six, 64)},
	}, Steal: &afpacket.Filter{IPv4: slices.Repeat([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, 3000)}})
	for _, text := range []string{
		"Config.Device", "Config.Queues", "Config.Slots", "Config.Filter", "VLANs has 4095", "ARP has 2001:db8::1", "Hosts has invalid IP",
		"IPv4 has 2001:db8::1/64", "1 Hosts are for no UDPPorts", "Config.Steal", "the kernel takes 4096",
	} {
		assert.ErrorContains(t, err, text)
	}
}
