// Encapsulation held against captured frames and against a slow twin that builds the same packet header by header. Numbers in test
// names are those of the behaviours that the project reproduces: 1 outer header, 2 TOS, ECN, TTL and DF, 3 source port.
package vxlan_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// Captured frames come out of the tunnel and, with the same id and source port, go back in to the same bytes.
func TestGoldenFrames(t *testing.T) {
	frames := captured(t)
	require.Len(t, frames, 1+12)
	d := decapsulator(t, vxlan.DecapConfig{DstPort: vxlan.PortLinux})
	for i, frame := range frames {
		eth, p, err := ethernet.Parse(frame)
		require.NoError(t, err)
		ip, p, err := ipv4.Parse(p)
		require.NoError(t, err)
		u, _, err := udp.Parse(p)
		require.NoError(t, err)

		b := packet.Of(frame)
		info, err := d.Decapsulate(b)
		require.NoError(t, err, "frame %d", i+1)
		assert.Equal(t, uint32(1), info.VNI())
		assert.Equal(t, ip.Src(), info.Src())
		assert.Equal(t, ip.Dst(), info.Dst())
		assert.Equal(t, frame[vxlan.Overhead:], b.Bytes(), "frame %d", i+1)

		e := encapsulator(t, vxlan.EncapConfig{
			VNI: info.VNI(), Src: netip.AddrFrom4(info.Src()), Dst: netip.AddrFrom4(info.Dst()),
			SrcMAC: eth.Src(), DstMAC: eth.Dst(), DstPort: vxlan.PortLinux,
		})
		require.NoError(t, e.EncapsulateFrom(b, ip.ID(), u.SrcPort()))
		assert.Equal(t, frame, b.Bytes(), "frame %d", i+1)
	}
}

func TestEncapConfigFaults(t *testing.T) {
	_, err := vxlan.NewEncapsulator(vxlan.EncapConfig{
		VNI: vxlan.MaxVNI + 1, Src: netip.MustParseAddr("fd00::1"), DstMAC: ethernet.MAC{}, SrcMAC: ethernet.Broadcast,
		SrcPorts: tunnel.Ports{Min: 5, Max: 5}, DF: 9, Profile: 7,
	})
	for _, field := range []string{"VNI", "Src ", "Dst ", "SrcMAC", "DstMAC", "DF", "Profile"} {
		require.ErrorContains(t, err, "EncapConfig."+field, "all faults at once")
	}
	require.ErrorIs(t, err, tunnel.ErrPorts)

	c := config()
	c.Raw = true
	_, err = vxlan.NewEncapsulator(c)
	require.ErrorContains(t, err, "EncapConfig.Raw leaves no place for SrcMAC and DstMAC")
}

// inners are frames of every kind that a tunnel carries.
func inners(t *testing.T) map[string][]byte {
	t.Helper()
	m := map[string][]byte{}
	for ecn := range uint8(4) {
		for _, df := range []ipv4.Flags{0, ipv4.DontFragment} {
			m[fmt.Sprintf("IPv4 ecn %d flags %d", ecn, df)] = innerIPv4(t,
				ipv4.Fields{TOS: 0xb8 | ecn, TTL: 63, Flags: df, Protocol: udp.Protocol}, datagram(t, 4000, []byte("hello")))
		}
		tclass := 0xb8 | ecn
		v6 := append(make([]byte, 0, 54), innerIPv4(t, ipv4.Fields{}, nil)[:12]...)
		v6 = append(v6, 0x86, 0xdd, 0x60|tclass>>4, tclass<<4, 0, 0, 0, 0, 59, 33)
		m[fmt.Sprintf("IPv6 ecn %d", ecn)] = append(v6, make([]byte, 32)...)
	}
	m["IPv4 ttl 0"] = innerIPv4(t, ipv4.Fields{TOS: 4, Protocol: tcp.Protocol}, make([]byte, 20))
	m["IPv4 with options"] = innerIPv4(t, ipv4.Fields{TOS: 9, TTL: 2, Options: []byte{7, 7, 4, 0, 0, 0, 0, 0}}, []byte("x"))
	m["IPv4 header only"] = innerIPv4(t, ipv4.Fields{TOS: 1, TTL: 9}, nil)
	m["ARP"] = arp.WhoHas([4]byte{10, 244, 1, 1}, vtepAMAC, [4]byte{10, 244, 1, 12}).AppendFrame(nil, ethernet.Broadcast)
	v4 := m["IPv4 ecn 1 flags 0"]
	m["tagged IPv4"] = append(append(append([]byte{}, v4[:12]...), 0x81, 0x00, 0x20, 0x05), v4[12:]...)
	m["header only"] = v4[:14]
	m["cut IPv4"] = v4[:33]
	m["cut tag"] = append(append([]byte{}, v4[:12]...), 0x81, 0x00)
	return m
}

// twin is the encapsulation header by header, after BEHAVIOUR 1 and 2.
func twin(t *testing.T, c vxlan.EncapConfig, inner []byte, id, srcPort uint16) []byte {
	t.Helper()
	outer := ipv4.Fields{
		ID: id, TTL: c.TTL, TOS: c.TOS &^ 3, Protocol: udp.Protocol, Src: c.Src.As4(), Dst: c.Dst.As4(),
	}
	var tos, ttl uint8
	df := false
	if at, etherType := flow.Network(inner); etherType == ethernet.TypeIPv4 && len(inner) >= at+20 {
		tos, ttl, df = inner[at+1], inner[at+8], inner[at+6]&0x40 != 0
	} else if etherType == ethernet.TypeIPv6 && len(inner) >= at+40 {
		tos, ttl, df = inner[at]<<4|inner[at+1]>>4, inner[at+7], true
	}
	if c.InheritTTL {
		outer.TTL = ttl
	}
	if outer.TTL == 0 {
		outer.TTL = c.TTL
	}
	if outer.TTL == 0 {
		outer.TTL = 64
	}
	if c.InheritTOS {
		outer.TOS = tos &^ 3
	}
	mark := tos & 3
	if mark == 3 && c.Profile == tunnel.Linux {
		mark = 2
	}
	outer.TOS |= mark
	if c.DF == tunnel.DFSet || c.DF == tunnel.DFInherit && df {
		outer.Flags = ipv4.DontFragment
	}

	payload, err := vxlan.Fields{VNI: c.VNI, GBP: c.GBP}.Append(nil)
	require.NoError(t, err)
	payload = append(payload, inner...)
	dgram, err := udp.Fields{SrcPort: srcPort, DstPort: c.DstPort}.Append(nil, len(payload))
	require.NoError(t, err)
	dgram = append(dgram, payload...)
	if c.UDPChecksum {
		u, p, err := udp.Parse(dgram)
		require.NoError(t, err)
		u.FixChecksum(outer.Src, outer.Dst, p)
	}
	var b []byte
	if !c.Raw {
		b, err = ethernet.Fields{Dst: c.DstMAC, Src: c.SrcMAC, EtherType: ethernet.TypeIPv4}.Append(nil)
		require.NoError(t, err)
	}
	b, err = outer.Append(b, len(dgram))
	require.NoError(t, err)
	return append(b, dgram...)
}

func TestTwin_1_2_5(t *testing.T) {
	frames := inners(t)
	n := 0
	for _, profile := range []tunnel.Profile{tunnel.Linux, tunnel.RFC} {
		for _, df := range []tunnel.DF{tunnel.DFUnset, tunnel.DFSet, tunnel.DFInherit} {
			for bits := range 128 {
				c := config()
				c.Profile, c.DF = profile, df
				c.InheritTTL, c.InheritTOS, c.UDPChecksum = bits&1 != 0, bits&2 != 0, bits&4 != 0
				if bits&8 != 0 {
					c.Raw, c.SrcMAC, c.DstMAC = true, ethernet.MAC{}, ethernet.MAC{}
				}
				if bits&16 != 0 {
					c.TOS = 0x2f // its ECN bits must not be sent
				}
				if bits&32 != 0 {
					c.TTL = 7
				}
				if bits&64 != 0 {
					c.GBP = vxlan.GBP{Set: true, Group: 0x7fff, Applied: true}
				}
				e := encapsulator(t, c)
				for name, inner := range frames {
					b := packet.Of(inner)
					id := uint16(n * 257)
					port := e.SourcePort(b)
					require.NoError(t, e.Encapsulate(b, id))
					require.Equal(t, twin(t, c, inner, id, port), b.Bytes(), "%s, %+v", name, c)
					n++
				}
			}
		}
	}
	t.Logf("%d packets", n)
}

// The outer checksum from headers alone is the one over everything.
func TestChecksumFromHeaders_1(t *testing.T) {
	const seed = 3
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := config()
	c.UDPChecksum = true
	e := encapsulator(t, c)
	for range 3000 {
		body := make([]byte, rng.IntN(200))
		for i := range body {
			body[i] = byte(rng.Uint32())
		}
		f := ipv4.Fields{TTL: 9, Protocol: udp.Protocol, Options: make([]byte, 4*rng.IntN(3))}
		inner := innerIPv4(t, f, datagram(t, uint16(rng.Uint32()), body))
		want := twin(t, c, inner, 1, 40000)

		verified := packet.Of(inner)
		verified.SetChecksumVerified()
		require.NoError(t, e.EncapsulateFrom(verified, 1, 40000))
		require.Equal(t, want, verified.Bytes(), "transport checksum verified")

		start := ethernet.HeaderLen + f.Len()
		partial := packet.Of(inner)
		u, _, err := udp.Parse(partial.Bytes()[start:])
		require.NoError(t, err)
		u.SetPartialChecksum([4]byte{10, 244, 1, 12}, [4]byte{10, 244, 2, 14})
		require.NoError(t, partial.SetChecksumPartial(start, 6))
		require.NoError(t, e.EncapsulateFrom(partial, 1, 40000))
		require.NoError(t, partial.CompleteChecksum())
		require.Equal(t, want, partial.Bytes(), "transport checksum partial, then completed")
	}
}

// Where 'verified' says nothing about a sum over the inner frame, everything is summed.
func TestChecksumFallsBack_1(t *testing.T) {
	absent := datagram(t, 1, []byte("abc"))
	absent[6], absent[7] = 0, 0
	for name, inner := range map[string][]byte{
		"UDP without checksum": innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, absent),
		"fragment":             innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol, Flags: ipv4.MoreFragments}, datagram(t, 1, []byte("abc"))),
		"padding behind":       append(innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, datagram(t, 1, []byte("abc"))), 1, 2, 3),
		"other protocol":       innerIPv4(t, ipv4.Fields{Protocol: 47}, []byte("abcdefgh")),
		"ARP":                  arp.Probe(vtepAMAC, [4]byte{1, 2, 3, 4}).AppendFrame(nil, ethernet.Broadcast),
	} {
		t.Run(name, func(t *testing.T) {
			c := config()
			c.UDPChecksum = true
			b := packet.Of(inner)
			b.SetChecksumVerified()
			require.NoError(t, encapsulator(t, c).EncapsulateFrom(b, 1, 40000))
			assert.Equal(t, twin(t, c, inner, 1, 40000), b.Bytes())
		})
	}
}

// A computed checksum of 0 is sent as 0xffff, because 0 would mean 'none'.
func TestChecksumZero_1(t *testing.T) {
	c := config()
	c.UDPChecksum = true
	e := encapsulator(t, c)
	inner := innerIPv4(t, ipv4.Fields{Protocol: 200}, make([]byte, 10))
	b := packet.Of(inner)
	require.NoError(t, e.EncapsulateFrom(b, 1, 40000))
	at := ethernet.HeaderLen + ipv4.HeaderLen + 6
	// The inner payload is made to bring the sum to 0xffff: add what is missing to a zero word.
	got := uint16(b.Bytes()[at])<<8 | uint16(b.Bytes()[at+1])
	inner[len(inner)-2], inner[len(inner)-1] = byte(got>>8), byte(got)
	b = packet.Of(inner)
	require.NoError(t, e.EncapsulateFrom(b, 1, 40000))
	assert.Equal(t, []byte{0xff, 0xff}, b.Bytes()[at:at+2])
}

func TestSourcePort_3(t *testing.T) {
	c := config()
	c.SrcPorts = tunnel.Ports{Min: 1000, Max: 1010}
	e := encapsulator(t, c)
	seen := map[uint16]bool{}
	for i := range uint16(1000) {
		b := packet.Of(innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, datagram(t, i, nil)))
		port := e.SourcePort(b)
		seen[port] = true
		require.GreaterOrEqual(t, port, uint16(1000))
		require.Less(t, port, uint16(1010))
		require.NoError(t, e.Encapsulate(b, 1))
		u, _, err := udp.Parse(b.Bytes()[ethernet.HeaderLen+ipv4.HeaderLen:])
		require.NoError(t, err)
		require.Equal(t, port, u.SrcPort())
	}
	assert.Len(t, seen, 10, "every port of the range is used")
}

// All fragments of a datagram get one source port, also the last one with a byte or two; the flow's whole packets may get
// another, but all the same.
func TestSourcePortOfFragments_3(t *testing.T) {
	e := encapsulator(t, config())
	ports := map[uint16]bool{}
	body := datagram(t, 4242, bytes.Repeat([]byte("x"), 50))
	for _, cut := range []struct{ from, to int }{{0, 24}, {24, 48}, {48, 56}, {56, 57}, {56, 58}} {
		f := ipv4.Fields{Protocol: udp.Protocol, FragmentOffset: uint16(cut.from), ID: 9}
		if cut.to < len(body) {
			f.Flags = ipv4.MoreFragments
		}
		ports[e.SourcePort(packet.Of(innerIPv4(t, f, body[cut.from:cut.to])))] = true
	}
	assert.Len(t, ports, 1)
}

// A hash that travels with the packet is used, and one that is computed travels on.
func TestHashTravels_3(t *testing.T) {
	e := encapsulator(t, config())
	inner := innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, datagram(t, 1, nil))
	b := packet.Of(inner)
	require.NoError(t, e.Encapsulate(b, 1))
	assert.Equal(t, flow.NewHasher(1).Frame(inner), b.Hash())

	b = packet.Of(inner)
	b.SetHash(0xdeadbeef)
	require.NoError(t, e.Encapsulate(b, 1))
	u, _, err := udp.Parse(b.Bytes()[ethernet.HeaderLen+ipv4.HeaderLen:])
	require.NoError(t, err)
	assert.Equal(t, tunnel.DefaultPorts.Port(0xdeadbeef), u.SrcPort())
	assert.Equal(t, uint32(0xdeadbeef), b.Hash())
}

// A tag that a device stripped belongs to the inner frame and is back in it.
func TestStrippedTagIsInserted(t *testing.T) {
	c := config()
	e := encapsulator(t, c)
	inner := innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol, TTL: 5}, datagram(t, 1, nil))
	tci, err := ethernet.NewTCI(5, 1, false)
	require.NoError(t, err)
	b := packet.Of(inner)
	b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: tci})
	port := e.SourcePort(b)
	require.NoError(t, e.Encapsulate(b, 77))
	tagged := append(append(append([]byte{}, inner[:12]...), 0x81, 0x00, 0x20, 0x05), inner[12:]...)
	assert.Equal(t, twin(t, c, tagged, 77, port), b.Bytes())
	assert.False(t, b.HasVLAN())
}

// An error leaves the packet as it was.
func TestEncapFaults(t *testing.T) {
	inner := innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, datagram(t, 1, nil))
	tag := ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 5}
	for _, c := range []struct {
		name  string
		inner []byte
		room  int
		tag   ethernet.Tag
		err   error
	}{
		{"13 bytes", inner[:13], 128, ethernet.Tag{}, vxlan.ErrInnerShort},
		{"empty", nil, 128, ethernet.Tag{}, vxlan.ErrInnerShort},
		{"13 bytes and a tag", inner[:13], 128, tag, vxlan.ErrInnerShort},
		{"one byte of headroom missing", inner, 49, ethernet.Tag{}, packet.ErrHeadroom},
		{"no headroom", inner, 0, ethernet.Tag{}, packet.ErrHeadroom},
		{"headroom for all but the tag", inner, 53, tag, packet.ErrHeadroom},
		{"one byte too long", make([]byte, 65500), 128, ethernet.Tag{}, vxlan.ErrTooLong},
		{"too long by its tag", make([]byte, 65496), 128, tag, vxlan.ErrTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := packet.NewPool(packet.PoolConfig{Buffers: 1, Size: 1 << 17, Headroom: max(c.room, 1)})
			require.NoError(t, err)
			b := p.Get()
			require.NoError(t, b.SetBytes(c.inner))
			for b.Headroom() > c.room {
				_, err := b.Prepend(1)
				require.NoError(t, err)
				copy(b.Bytes(), c.inner)
				require.NoError(t, b.Truncate(len(c.inner)))
			}
			b.SetVLAN(c.tag)
			b.SetHash(1)
			before := stateOf(b)
			e := encapsulator(t, config())
			require.ErrorIs(t, e.Encapsulate(b, 1), c.err)
			assert.Equal(t, before, stateOf(b))
			assert.Zero(t, testing.AllocsPerRun(10, func() { _ = e.Encapsulate(b, 1) }))
		})
	}
	b := packet.New(1 << 17)
	require.NoError(t, b.SetBytes(make([]byte, 65499)))
	require.NoError(t, encapsulator(t, config()).Encapsulate(b, 1), "the longest frame that fits")
}

func TestEncapDoesNotAllocate(t *testing.T) {
	for name, inner := range inners(t) {
		for _, sum := range []bool{false, true} {
			c := config()
			c.UDPChecksum = sum
			e, b := encapsulator(t, c), packet.Of(inner)
			assert.Zero(t, testing.AllocsPerRun(10, func() {
				if e.Encapsulate(b, 1) != nil || b.TrimFront(vxlan.Overhead) != nil {
					t.Error("failed")
				}
			}), name)
		}
	}
}

// An encapsulator that is only copied is made where the copy is.
func TestNewEncapsulatorDoesNotAllocate(t *testing.T) {
	c := config()
	var kept vxlan.Encapsulator
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		e, err := vxlan.NewEncapsulator(c)
		if err != nil {
			t.Error(err)
			return
		}
		kept = *e
	}))
	b := packet.Of(innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, datagram(t, 1, nil)))
	require.NoError(t, kept.Encapsulate(b, 1))
}

// A header whose checksum field comes out at a carry is right too: ids that bring the sum to every value.
func TestHeaderChecksumForEveryID(t *testing.T) {
	e := encapsulator(t, config())
	inner := innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, datagram(t, 1, nil))
	b := packet.Of(inner)
	for id := range 1 << 16 {
		require.NoError(t, e.Encapsulate(b, uint16(id)))
		header := b.Bytes()[ethernet.HeaderLen : ethernet.HeaderLen+ipv4.HeaderLen]
		require.Equal(t, uint16(0xffff), checksum.Sum(header), "id %d", id)
		require.NoError(t, b.TrimFront(vxlan.Overhead))
	}
}
