// Decapsulation: a named case for each check, and a readable twin that must agree on every mutation of a packet. Numbers in test names
// are those of the behaviours that the project reproduces: 6 congestion marks, 7 what is dropped, 8 what is accepted.
package vxlan_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// Offsets in an untagged packet.
const (
	atIP    = ethernet.HeaderLen
	atUDP   = atIP + ipv4.HeaderLen
	atVXLAN = atUDP + udp.HeaderLen
	atInner = atVXLAN + vxlan.HeaderLen
)

// outerOf returns inner in a tunnel as Flannel makes it.
func outerOf(tb testing.TB, inner []byte) []byte {
	tb.Helper()
	b := packet.Of(inner)
	require.NoError(tb, encapsulator(tb, config()).EncapsulateFrom(b, 7, 40000))
	return append([]byte(nil), b.Bytes()...)
}

func plainInner(tb testing.TB) []byte {
	tb.Helper()
	return innerIPv4(tb, ipv4.Fields{TTL: 63, Protocol: udp.Protocol}, datagram(tb, 4000, []byte("hello")))
}

// fixIP brings length and checksum of the outer IPv4 header in step with the bytes behind it.
func fixIP(tb testing.TB, p []byte) []byte {
	tb.Helper()
	binary.BigEndian.PutUint16(p[atIP+2:], uint16(len(p)-atIP))
	h, _, err := ipv4.Parse(p[atIP:])
	require.NoError(tb, err)
	h.FixChecksum()
	return p
}

func flannel() vxlan.DecapConfig { return vxlan.DecapConfig{DstPort: vxlan.PortLinux} }

// change returns a packet with the given change made to it.
func change(tb testing.TB, f func(p []byte) []byte) []byte {
	tb.Helper()
	return f(outerOf(tb, plainInner(tb)))
}

func set(at int, v ...byte) func([]byte) []byte {
	return func(p []byte) []byte { copy(p[at:], v); return p }
}

func TestDropped_7(t *testing.T) {
	strict := flannel()
	strict.Local, strict.Peers, strict.VNIs = nodeB, []netip.Addr{nodeA}, []uint32{1, 5}
	strict.LocalMAC = vtepBMAC
	fixed := func(f func([]byte) []byte) func([]byte) []byte {
		return func(p []byte) []byte { return fixIP(t, f(p)) }
	}
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		err    error
	}{
		{"no Ethernet header", func(p []byte) []byte { return p[:13] }, ethernet.ErrShort},
		{"IPv6 outside", set(12, 0x86, 0xdd), vxlan.ErrNotUDP},
		{"outer IPv4 header cut", func(p []byte) []byte { return p[:atIP+19] }, ipv4.ErrShort},
		{"outer version 6", set(atIP, 0x65), ipv4.ErrVersion},
		{"outer header length 16", set(atIP, 0x44), ipv4.ErrHeaderLen},
		{"total length below the header", set(atIP+2, 0, 19), ipv4.ErrTotalLen},
		{"total length 0", set(atIP+2, 0, 0), ipv4.ErrNoLength},
		{"total length beyond the frame", set(atIP+2, 0xff), ipv4.ErrTruncated},
		{"bad outer header checksum", set(atIP+10, 0, 0), ipv4.ErrChecksum},
		{"TCP outside", fixed(set(atIP+9, 6)), vxlan.ErrNotUDP},
		{"first fragment", fixed(set(atIP+6, 0x20, 0)), vxlan.ErrFragment},
		{"later fragment", fixed(set(atIP+6, 0, 3)), vxlan.ErrFragment},
		{"other destination", fixed(set(atIP+16, 9)), vxlan.ErrLocal},
		{"unknown peer", fixed(set(atIP+12, 9)), vxlan.ErrPeer},
		{"UDP header cut", func(p []byte) []byte { return fixIP(t, p[:atUDP+7]) }, udp.ErrShort},
		{"UDP length 7", set(atUDP+4, 0, 7), udp.ErrLength},
		{"UDP length 0", set(atUDP+4, 0, 0), udp.ErrNoLength},
		{"UDP length beyond the IPv4 payload", set(atUDP+4, 0xff), udp.ErrTruncated},
		{"other port", set(atUDP+2, 0x12, 0xb5), vxlan.ErrPort},
		{"wrong UDP checksum", set(atUDP+6, 0x12, 0x34), udp.ErrChecksum},
		{"header under 8 bytes", set(atUDP+4, 0, 15), vxlan.ErrShort},
		{"I flag clear", set(atVXLAN, 0), vxlan.ErrNoVNI},
		{"unknown VNI", set(atVXLAN+4, 0, 0, 2), vxlan.ErrUnknownVNI},
		{"last byte reserved", set(atVXLAN+7, 1), vxlan.ErrReserved},
		{"group policy not expected", set(atVXLAN, 0x88), vxlan.ErrReserved},
		{"inner frame under 14 bytes", set(atUDP+4, 0, 16+13), vxlan.ErrInnerShort},
		{"no inner frame", set(atUDP+4, 0, 16), vxlan.ErrInnerShort},
		{"inner source is our own", set(atInner+6, vtepBMAC[:]...), vxlan.ErrOwnMAC},
		{"inner IPv4 header cut", set(atUDP+4, 0, 16+14+19), vxlan.ErrInnerShort},
		{"inner IPv6 header cut", func(p []byte) []byte {
			p[atInner+12], p[atInner+13] = 0x86, 0xdd
			return set(atUDP+4, 0, 16+14+32)(p)
		}, vxlan.ErrInnerShort},
		{"inner tag cut", func(p []byte) []byte {
			p[atInner+12], p[atInner+13] = 0x81, 0x00
			return set(atUDP+4, 0, 16+14+2)(p)
		}, vxlan.ErrInnerShort},
		{"congestion experienced, inner not capable", fixed(set(atIP+1, 3)), tunnel.ErrECN},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := packet.Of(change(t, c.change))
			b.SetHash(5)
			before := stateOf(b)
			d := decapsulator(t, strict)
			_, err := d.Decapsulate(b)
			require.ErrorIs(t, err, c.err)
			assert.Equal(t, before, stateOf(b), "an error leaves the buffer as it was")
			assert.Zero(t, testing.AllocsPerRun(10, func() { _, _ = d.Decapsulate(b) }))
		})
	}
	b := packet.Of(change(t, set(0)))
	info, err := decapsulator(t, strict).Decapsulate(b)
	require.NoError(t, err, "without any change")
	assert.Equal(t, nodeA.As4(), info.Src())
	assert.Equal(t, nodeB.As4(), info.Dst())
}

// Linux drops a packet with any reserved bit; RFC 7348 says to ignore them.
func TestReservedBits_7(t *testing.T) {
	rfc, gbp := flannel(), flannel()
	rfc.Profile, gbp.GBP = tunnel.RFC, true
	const bitI, vni, group = uint64(1) << 59, uint64(vxlan.MaxVNI) << 8, uint64(0x80ff_ffff) << 32
	for bit := range 64 {
		word := uint64(1) << bit
		p := change(t, func(p []byte) []byte {
			binary.BigEndian.PutUint64(p[atVXLAN:], binary.BigEndian.Uint64(p[atVXLAN:])|word)
			return p
		})
		for _, c := range []struct {
			config vxlan.DecapConfig
			ok     bool
		}{
			{flannel(), word&(bitI|vni) != 0},
			{gbp, word&(bitI|vni|group) != 0},
			{rfc, true},
		} {
			_, err := decapsulator(t, c.config).Decapsulate(packet.Of(p))
			if c.ok {
				require.NoError(t, err, "bit %d, %+v", bit, c.config)
			} else {
				require.ErrorIs(t, err, vxlan.ErrReserved, "bit %d, %+v", bit, c.config)
			}
		}
	}
}

func TestAccepted_8(t *testing.T) {
	same := func(p []byte) []byte { return p }
	for _, c := range []struct {
		name   string
		inner  []byte
		change func([]byte) []byte
	}{
		{"UDP checksum 0", plainInner(t), same},
		{"right UDP checksum", plainInner(t), func(p []byte) []byte {
			u, payload, err := udp.Parse(p[atUDP:])
			require.NoError(t, err)
			u.FixChecksum(nodeA.As4(), nodeB.As4(), payload)
			return p
		}},
		{"any source port", plainInner(t), set(atUDP, 0, 1)},
		{"outer options", plainInner(t), func(p []byte) []byte {
			p = bytes.Join([][]byte{p[:atUDP], {7, 7, 4, 0, 0, 0, 0, 0}, p[atUDP:]}, nil)
			p[atIP] = 0x47
			return fixIP(t, p)
		}},
		{"outer VLAN tag", plainInner(t), func(p []byte) []byte {
			return bytes.Join([][]byte{p[:12], {0x81, 0, 0, 9}, p[12:]}, nil)
		}},
		{"bytes behind the IPv4 length", plainInner(t), func(p []byte) []byte { return append(p, 1, 2, 3) }},
		{"bytes behind the UDP length", plainInner(t), func(p []byte) []byte { return fixIP(t, append(p, 1, 2, 3)) }},
		{"inner 802.1Q", bytes.Join([][]byte{plainInner(t)[:12], {0x81, 0, 0, 9}, plainInner(t)[12:]}, nil), same},
		{"inner ARP", arp.Probe(vtepAMAC, [4]byte{10, 0, 0, 1}).AppendFrame(nil, ethernet.Broadcast), same},
		{"inner header only", plainInner(t)[:14:14], set(atInner+12, 0x12, 0x34)},
		{"inner multicast source", plainInner(t), set(atInner+6, 0xff)},
		{"inner zero source", plainInner(t), set(atInner+6, 0, 0, 0, 0, 0, 0)},
		{"inner IPv4 broken behind its first 20 bytes", plainInner(t), set(atInner+14, 0x4f, 0, 0xff, 0xff)},
		{"VXLAN in VXLAN", outerOf(t, plainInner(t)), same},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := c.change(outerOf(t, c.inner))
			at := bytes.Index(p, []byte{8, 0, 0, 0, 0, 0, 1, 0}) + vxlan.HeaderLen
			want := append([]byte(nil), p[at:at+len(c.inner)]...)
			b := packet.Of(p)
			d := decapsulator(t, flannel())
			info, err := d.Decapsulate(b)
			require.NoError(t, err)
			assert.Equal(t, uint32(1), info.VNI())
			assert.Equal(t, want, b.Bytes())

			again := packet.Of(p)
			assert.Zero(t, testing.AllocsPerRun(10, func() {
				if again.SetBytes(p) != nil {
					t.Error("does not fit")
				}
				if _, err := d.Decapsulate(again); err != nil {
					t.Error(err)
				}
			}))
		})
	}
}

// The whole table of RFC 6040 section 4.2, which is also Linux's.
func TestCongestionMarks_6(t *testing.T) {
	const drop = 9
	want := [4][4]uint8{ // [outer][inner]
		0: {0, 1, 2, 3},
		1: {0, 1, 1, 3},
		2: {0, 1, 2, 3},
		3: {drop, 3, 3, 3},
	}
	for outerMark := range uint8(4) {
		for innerMark := range uint8(4) {
			inner := innerIPv4(t, ipv4.Fields{TOS: 0xb8 | innerMark, TTL: 3, Protocol: udp.Protocol}, datagram(t, 1, nil))
			p := outerOf(t, inner)
			p[atIP+1] = outerMark
			b := packet.Of(fixIP(t, p))
			_, err := decapsulator(t, flannel()).Decapsulate(b)
			if want[outerMark][innerMark] == drop {
				require.ErrorIs(t, err, tunnel.ErrECN)
				continue
			}
			require.NoError(t, err)
			ip, _, err := ipv4.Parse(b.Bytes()[ethernet.HeaderLen:])
			require.NoError(t, err)
			assert.Equal(t, 0xb8|want[outerMark][innerMark], ip.TOS(), "outer %d, inner %d", outerMark, innerMark)
			assert.True(t, ip.ChecksumOK(), "outer %d, inner %d", outerMark, innerMark)
		}
	}
}

// What is known of a packet after decapsulation: nothing of the outer headers, a partial checksum of the inner ones still.
func TestMetadata(t *testing.T) {
	p := outerOf(t, plainInner(t))
	d := decapsulator(t, flannel())

	b := packet.Of(p)
	b.SetHash(1)
	b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 1})
	b.SetChecksumVerified()
	_, err := d.Decapsulate(b)
	require.NoError(t, err)
	assert.Zero(t, b.Hash())
	assert.False(t, b.HasVLAN())
	assert.Equal(t, packet.ChecksumUnknown, b.Checksum())

	b = packet.Of(p)
	require.NoError(t, b.SetChecksumPartial(atUDP, 6))
	_, err = d.Decapsulate(b)
	require.NoError(t, err)
	assert.Equal(t, packet.ChecksumUnknown, b.Checksum(), "the outer transport's partial checksum went with it")

	b = packet.Of(p)
	require.NoError(t, b.SetChecksumPartial(atInner+34, 6))
	_, err = d.Decapsulate(b)
	require.NoError(t, err)
	start, field, ok := b.PartialChecksum()
	assert.True(t, ok)
	assert.Equal(t, [2]int{34, 6}, [2]int{start, field})

	// A checksum that is not there yet, or was verified by the device, is not looked at.
	wrong := change(t, set(atUDP+6, 0x12, 0x34))
	for _, state := range []func(*packet.Buffer){
		func(b *packet.Buffer) { b.SetChecksumVerified() },
		func(b *packet.Buffer) { require.NoError(t, b.SetChecksumPartial(atUDP, 6)) },
	} {
		b = packet.Of(wrong)
		state(b)
		_, err = d.Decapsulate(b)
		require.NoError(t, err)
	}
}

func TestDecapConfigFaults(t *testing.T) {
	_, err := vxlan.NewDecapsulator(vxlan.DecapConfig{
		Local: netip.MustParseAddr("::1"), Peers: []netip.Addr{nodeA, {}}, VNIs: []uint32{1, 1 << 24}, Profile: 3,
	})
	for _, field := range []string{"Local", "Peers[1]", "VNIs[1]", "Profile"} {
		require.ErrorContains(t, err, "DecapConfig."+field)
	}
}

// decapTwin is the decapsulation step by step, for packets without metadata.
func decapTwin(p []byte, c vxlan.DecapConfig) (inner []byte, vni uint32, err error) {
	if !c.Raw {
		eth, payload, err := ethernet.Parse(p)
		if err != nil {
			return nil, 0, err
		}
		if eth.EtherType() != ethernet.TypeIPv4 {
			return nil, 0, vxlan.ErrNotUDP
		}
		p = payload
	}
	ip, p, err := ipv4.Parse(p)
	switch {
	case err != nil:
		return nil, 0, err
	case !ip.ChecksumOK():
		return nil, 0, ipv4.ErrChecksum
	case ip.Protocol() != udp.Protocol:
		return nil, 0, vxlan.ErrNotUDP
	case ip.IsFragment():
		return nil, 0, vxlan.ErrFragment
	case c.Local.IsValid() && c.Local.As4() != ip.Dst():
		return nil, 0, vxlan.ErrLocal
	}
	u, p, err := udp.Parse(p)
	switch {
	case err != nil:
		return nil, 0, err
	case u.DstPort() != c.DstPort:
		return nil, 0, vxlan.ErrPort
	case !u.ChecksumOK(ip.Src(), ip.Dst(), p):
		return nil, 0, udp.ErrChecksum
	}
	h, p, err := vxlan.Parse(p)
	if err != nil {
		return nil, 0, err
	}
	if len(c.Peers) > 0 && c.Peers[0].As4() != ip.Src() {
		return nil, 0, vxlan.ErrPeer
	}
	if len(c.VNIs) > 0 && c.VNIs[0] != h.VNI() {
		return nil, 0, vxlan.ErrUnknownVNI
	}
	if c.Profile == tunnel.Linux {
		reserved := h.Reserved()
		switch {
		case c.GBP:
			reserved &^= 0x00ff_ffff << 32 // as Linux has it, the byte of D and A whole, with and without G
		case h.GBP().Set:
			reserved |= 1 << 63
		}
		if reserved != 0 {
			return nil, 0, vxlan.ErrReserved
		}
	}
	inner = append([]byte{}, p...)
	return inner, h.VNI(), markTwin(inner, ip.ECN(), c.LocalMAC)
}

// markTwin checks the inner frame and sets its congestion mark.
func markTwin(inner []byte, outer ipv4.ECN, own ethernet.MAC) error {
	if len(inner) < ethernet.HeaderLen {
		return vxlan.ErrInnerShort
	}
	if !own.IsZero() && ethernet.MAC(inner[6:12]) == own {
		return vxlan.ErrOwnMAC
	}
	at, etherType := flow.Network(inner)
	switch {
	case at == 0,
		etherType == ethernet.TypeIPv4 && len(inner) < at+20,
		etherType == ethernet.TypeIPv6 && len(inner) < at+40:
		return vxlan.ErrInnerShort
	case etherType == ethernet.TypeIPv4:
		return tunnel.MarkIPv4((*[20]byte)(inner[at:]), outer)
	case etherType == ethernet.TypeIPv6:
		return tunnel.MarkIPv6((*[40]byte)(inner[at:]), outer)
	}
	return nil
}

// agree holds the decapsulator against its twin.
func agree(tb testing.TB, p []byte, c vxlan.DecapConfig) {
	tb.Helper()
	want, vni, wantErr := decapTwin(p, c)
	b := packet.Of(p)
	before := stateOf(b)
	info, err := decapsulator(tb, c).Decapsulate(b)
	switch {
	case !errors.Is(err, wantErr):
		tb.Fatalf("%x with %+v: %v, the twin says %v", p, c, err, wantErr)
	case err != nil && !assert.ObjectsAreEqual(before, stateOf(b)):
		tb.Fatalf("%x with %+v: changed although %v", p, c, err)
	case err == nil && (!bytes.Equal(want, b.Bytes()) || vni != info.VNI()):
		tb.Fatalf("%x with %+v:\n%x of VNI %d, the twin says\n%x of VNI %d", p, c, b.Bytes(), info.VNI(), want, vni)
	}
}

// variant returns one of several configurations.
func variant(n uint8) vxlan.DecapConfig {
	c := flannel()
	if n&1 != 0 {
		c.Profile = tunnel.RFC
	}
	if n&2 != 0 {
		c.GBP = true
	}
	if n&4 != 0 {
		c.Local, c.Peers, c.VNIs = nodeB, []netip.Addr{nodeA}, []uint32{1}
	}
	if n&8 != 0 {
		c.LocalMAC = vtepBMAC
	}
	c.Raw = n&16 != 0
	return c
}

func TestMutationsAgreeWithTwin(t *testing.T) {
	const seed, rounds = 4, 300_000
	t.Logf("seed %d, %d packets", seed, rounds)
	rng := rand.New(rand.NewPCG(seed, 0))
	frames := inners(t)
	var packets [][]byte
	for _, name := range slices.Sorted(maps.Keys(frames)) { // in the same order every time, for the seed's sake
		packets = append(packets, outerOf(t, frames[name]))
	}
	for range rounds {
		p := append([]byte(nil), packets[rng.IntN(len(packets))]...)
		for range rng.IntN(3) {
			p[rng.IntN(min(len(p), 90))] ^= 1 << rng.IntN(8)
		}
		if rng.IntN(4) == 0 {
			p = p[:rng.IntN(len(p)+1)]
		}
		if rng.IntN(2) == 0 && len(p) >= atUDP && p[atIP]>>4 == 4 && p[atIP]&0xf >= 5 { // so that most get past the checksum
			if h, _, err := ipv4.Parse(p[atIP:]); err == nil {
				h.FixChecksum()
			}
		}
		c := variant(uint8(rng.Uint32()))
		if c.Raw {
			p = p[min(len(p), atIP):]
		}
		agree(t, p, c)
	}
}

func FuzzDecapsulate(f *testing.F) {
	p := outerOf(f, plainInner(f))
	f.Add(p, uint8(0))
	f.Add(p[atIP:], uint8(16))
	f.Fuzz(func(t *testing.T, p []byte, n uint8) { agree(t, p, variant(n)) })
}

// What goes in comes out, but for the congestion mark's way over CE.
func FuzzThroughTheTunnel(f *testing.F) {
	f.Add(plainInner(f), uint8(0))
	f.Fuzz(func(t *testing.T, inner []byte, n uint8) {
		c := config()
		c.InheritTOS, c.InheritTTL, c.UDPChecksum = n&1 != 0, n&2 != 0, n&4 != 0
		c.DF = tunnel.DF(n >> 3 % 3)
		e, d := encapsulator(t, c), decapsulator(t, flannel())
		b := packet.Of(inner)
		if err := e.Encapsulate(b, 1); err != nil {
			return
		}
		_, err := d.Decapsulate(b)
		if errors.Is(err, vxlan.ErrInnerShort) {
			return
		}
		if err != nil || !bytes.Equal(b.Bytes(), inner) {
			t.Fatalf("%x came out as %x, error %v", inner, b.Bytes(), err)
		}
	})
}
