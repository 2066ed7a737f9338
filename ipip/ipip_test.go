// Both directions held against slow twins that work header by header. Numbers in test names are those of the behaviours that the project
// reproduces: 6 congestion marks, 11 and 12 the IPIP tunnel.
package ipip_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
)

// The nodes of a Flannel cluster with the ipip backend, and a pod on each.
var (
	node1    = netip.MustParseAddr("172.12.1.11")
	node2    = netip.MustParseAddr("172.12.1.12")
	node1MAC = ethernet.MustParseMAC("00:0c:29:bd:fb:4a")
	node2MAC = ethernet.MustParseMAC("00:0c:29:e2:bf:86")
	pod1     = [4]byte{10, 244, 0, 3}
	pod2     = [4]byte{10, 244, 1, 7}
)

const atIP, atInner = ethernet.HeaderLen, ethernet.HeaderLen + ipv4.HeaderLen

func config() ipip.EncapConfig {
	return ipip.EncapConfig{Src: node1, Dst: node2, SrcMAC: node1MAC, DstMAC: node2MAC}
}

func peerOnly() ipip.DecapConfig { return ipip.DecapConfig{Peers: []netip.Addr{node1}} }

func encapsulator(tb testing.TB, c ipip.EncapConfig) *ipip.Encapsulator {
	tb.Helper()
	e, err := ipip.NewEncapsulator(c)
	require.NoError(tb, err)
	return e
}

func decapsulator(tb testing.TB, c ipip.DecapConfig) *ipip.Decapsulator {
	tb.Helper()
	d, err := ipip.NewDecapsulator(c)
	require.NoError(tb, err)
	return d
}

// echo returns the 84 bytes of a ping from pod to pod, given the rest of its header.
func echo(tb testing.TB, f ipv4.Fields) []byte {
	tb.Helper()
	message := icmp.Echo(1, 1).Append(nil, make([]byte, 56))
	f.Protocol = icmp.Protocol
	if f.Src == ([4]byte{}) {
		f.Src, f.Dst = pod1, pod2
	}
	b, err := f.Append(nil, len(message))
	require.NoError(tb, err)
	return append(b, message...)
}

func outerOf(tb testing.TB, inner []byte) []byte {
	tb.Helper()
	b := packet.Of(inner)
	require.NoError(tb, encapsulator(tb, config()).Encapsulate(b, 7))
	return append([]byte(nil), b.Bytes()...)
}

// twin is the encapsulation header by header.
func twin(tb testing.TB, c ipip.EncapConfig, inner []byte, id uint16) []byte {
	tb.Helper()
	in, _, err := ipv4.Parse(inner)
	require.NoError(tb, err)
	f := ipv4.Fields{
		ID: id, TTL: c.TTL, TOS: c.TOS &^ 3, Protocol: ipip.Protocol, Src: c.Src.As4(), Dst: c.Dst.As4(),
		Flags: ipv4.DontFragment,
	}
	if c.TTL == 0 {
		f.TTL = in.TTL()
	}
	if c.InheritTOS {
		f.TOS = in.TOS() &^ 3
	}
	f.TOS |= uint8(c.Profile.EncapECN(in.ECN()))
	if c.NoPMTUDisc {
		f.Flags = in.Flags() & ipv4.DontFragment
	}
	var b []byte
	if !c.Raw {
		b, err = ethernet.Fields{Dst: c.DstMAC, Src: c.SrcMAC, EtherType: ethernet.TypeIPv4}.Append(nil)
		require.NoError(tb, err)
	}
	b, err = f.Append(b, len(inner))
	require.NoError(tb, err)
	return append(b, inner...)
}

func TestTwin_11(t *testing.T) {
	for bits := range 64 {
		c := config()
		c.InheritTOS, c.NoPMTUDisc = bits&1 != 0, bits&2 != 0
		if bits&4 != 0 {
			c.Raw, c.SrcMAC, c.DstMAC = true, ethernet.MAC{}, ethernet.MAC{}
		}
		if bits&8 != 0 {
			c.TOS = 0x2f // its ECN bits must not be sent
		}
		if bits&16 != 0 && !c.NoPMTUDisc {
			c.TTL = 9
		}
		if bits&32 != 0 {
			c.Profile = tunnel.RFC
		}
		e := encapsulator(t, c)
		for tos := range 256 {
			for _, flags := range []ipv4.Flags{0, ipv4.DontFragment, ipv4.MoreFragments} {
				inner := echo(t, ipv4.Fields{TOS: uint8(tos), TTL: uint8(tos) | 1, Flags: flags, Options: make([]byte, tos%3*4)})
				b := packet.Of(inner)
				id := uint16(tos * 257)
				require.NoError(t, e.Encapsulate(b, id))
				require.Equal(t, twin(t, c, inner, id), b.Bytes(), "%+v", c)
			}
		}
	}
}

// Scenario S5: a ping of 98 bytes on the pod's veth is 84 bytes on the tunnel device and 118 on the node's NIC.
func TestFlannelSizes(t *testing.T) {
	inner := echo(t, ipv4.Fields{TTL: 63, Flags: ipv4.DontFragment})
	require.Len(t, inner, 84)
	outer := outerOf(t, inner)
	require.Len(t, outer, 118)
	ip, payload, err := ipv4.Parse(outer[atIP:])
	require.NoError(t, err)
	assert.Equal(t, node1.As4(), ip.Src())
	assert.Equal(t, node2.As4(), ip.Dst())
	assert.Equal(t, uint8(63), ip.TTL())
	again, _, err := ipip.Parse(ip, payload)
	require.NoError(t, err)
	assert.Equal(t, pod2, again.Dst())
}

func TestEncapFaults_11(t *testing.T) {
	good := echo(t, ipv4.Fields{TTL: 5})
	rfc := config()
	rfc.Profile = tunnel.RFC
	for _, c := range []struct {
		name   string
		config ipip.EncapConfig
		inner  []byte
		err    error
	}{
		{"empty", config(), nil, ipip.ErrInner},
		{"19 bytes", config(), good[:19], ipip.ErrInner},
		{"IPv6", config(), append([]byte{0x60}, good[1:]...), ipip.ErrInner},
		{"TTL 0", config(), echo(t, ipv4.Fields{}), ipip.ErrTTL},
		{"source is the exit", rfc, echo(t, ipv4.Fields{TTL: 5, Src: node2.As4(), Dst: pod2}), ipip.ErrLoop},
		{"source is the entry", rfc, echo(t, ipv4.Fields{TTL: 5, Src: node1.As4(), Dst: pod2}), ipip.ErrLoop},
		{"cut, by a tunnel that checks sources", rfc, good[:12], ipip.ErrInner},
		{"too long", config(), append(append([]byte{}, good...), make([]byte, 65536-20-84)...), ipip.ErrTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, b := encapsulator(t, c.config), packet.Of(c.inner)
			require.ErrorIs(t, e.Encapsulate(b, 1), c.err)
			assert.Equal(t, c.inner, append([]byte(nil), b.Bytes()...), "an error leaves the packet as it was")
			assert.Equal(t, packet.DefaultHeadroom, b.Headroom())
			assert.Zero(t, testing.AllocsPerRun(10, func() { _ = e.Encapsulate(b, 1) }))
		})
	}
	require.NoError(t, encapsulator(t, config()).Encapsulate(
		packet.Of(echo(t, ipv4.Fields{TTL: 5, Src: node1.As4(), Dst: pod2})), 1), "Linux carries its own packets")

	b := packet.Of(good)
	for b.Headroom() > ipip.Overhead-1 {
		_, err := b.Prepend(1)
		require.NoError(t, err)
	}
	copy(b.Bytes(), good)
	before := append([]byte(nil), b.Bytes()...)
	require.ErrorIs(t, encapsulator(t, config()).Encapsulate(b, 1), packet.ErrHeadroom)
	assert.Equal(t, before, b.Bytes())
}

func TestConfigFaults(t *testing.T) {
	_, err := ipip.NewEncapsulator(ipip.EncapConfig{Src: netip.MustParseAddr("::1"), TTL: 3, NoPMTUDisc: true, Profile: 9})
	for _, field := range []string{"Src ", "Dst ", "SrcMAC", "DstMAC", "TTL", "Profile"} {
		require.ErrorContains(t, err, "EncapConfig."+field, "all faults at once")
	}
	_, err = ipip.NewDecapsulator(ipip.DecapConfig{Local: netip.MustParseAddr("::1")})
	require.ErrorContains(t, err, "DecapConfig.Local")
	require.ErrorContains(t, err, "DecapConfig.Peers is empty", "nobody decapsulates from everybody by accident")
	_, err = ipip.NewDecapsulator(ipip.DecapConfig{AnyPeer: true, Peers: []netip.Addr{node1, {}}})
	require.ErrorContains(t, err, "DecapConfig.AnyPeer")
	require.ErrorContains(t, err, "DecapConfig.Peers[1]")
}

// fixIP computes the outer header checksum anew.
func fixIP(tb testing.TB, p []byte) []byte {
	tb.Helper()
	h, _, err := ipv4.Parse(p[atIP:])
	require.NoError(tb, err)
	h.FixChecksum()
	return p
}

func TestDropped_11(t *testing.T) {
	set := func(at int, v ...byte) func([]byte) []byte {
		return func(p []byte) []byte { copy(p[at:], v); return p }
	}
	fixed := func(f func([]byte) []byte) func([]byte) []byte {
		return func(p []byte) []byte { return fixIP(t, f(p)) }
	}
	local := peerOnly()
	local.Local = node2
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		err    error
	}{
		{"no Ethernet header", func(p []byte) []byte { return p[:13] }, ethernet.ErrShort},
		{"ARP outside", set(12, 8, 6), ipip.ErrNotIPIP},
		{"outer header cut", func(p []byte) []byte { return p[:atIP+19] }, ipv4.ErrShort},
		{"outer total length beyond the frame", set(atIP+2, 0xff), ipv4.ErrTruncated},
		{"bad outer checksum", set(atIP+10, 0, 0), ipv4.ErrChecksum},
		{"protocol 41", fixed(set(atIP+9, 41)), ipip.ErrNotIPIP},
		{"first fragment", fixed(set(atIP+6, 0x20, 0)), ipip.ErrFragment},
		{"later fragment", fixed(set(atIP+6, 0, 1)), ipip.ErrFragment},
		{"other destination", fixed(set(atIP+16, 9)), ipip.ErrLocal},
		{"unknown peer: CVE-2020-10136", fixed(set(atIP+12, 9)), ipip.ErrPeer},
		{"inner version 6", set(atInner, 0x65), ipv4.ErrVersion},
		{"inner header length 16", set(atInner, 0x44), ipv4.ErrHeaderLen},
		{"inner total length beyond the outer", set(atInner+2, 0, 85), ipv4.ErrTruncated},
		{"inner total length below its header", set(atInner+2, 0, 19), ipv4.ErrTotalLen},
		{"inner header cut", func(p []byte) []byte {
			binary.BigEndian.PutUint16(p[atIP+2:], 39)
			return fixIP(t, p)
		}, ipv4.ErrShort},
		{"congestion experienced, inner not capable", fixed(set(atIP+1, 3)), tunnel.ErrECN},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := c.change(outerOf(t, echo(t, ipv4.Fields{TTL: 9})))
			b, d := packet.Of(p), decapsulator(t, local)
			b.SetHash(3)
			_, err := d.Decapsulate(b)
			require.ErrorIs(t, err, c.err)
			assert.Equal(t, p, b.Bytes(), "an error leaves the packet as it was")
			assert.Equal(t, uint32(3), b.Hash())
			assert.Zero(t, testing.AllocsPerRun(10, func() { _, _ = d.Decapsulate(b) }))
		})
	}
	for _, peers := range [][]netip.Addr{{node1}, {node2, node1}} { // one, and several, are looked up differently
		d := decapsulator(t, ipip.DecapConfig{Peers: peers})
		info, err := d.Decapsulate(packet.Of(outerOf(t, echo(t, ipv4.Fields{TTL: 9}))))
		require.NoError(t, err)
		assert.Equal(t, node1.As4(), info.Src())
		assert.Equal(t, node2.As4(), info.Dst())
		foreign := outerOf(t, echo(t, ipv4.Fields{TTL: 9}))
		foreign[atIP+12] = 9
		_, err = d.Decapsulate(packet.Of(fixIP(t, foreign)))
		require.ErrorIs(t, err, ipip.ErrPeer)
	}
}

func TestCongestionMarks_6(t *testing.T) {
	d := decapsulator(t, ipip.DecapConfig{AnyPeer: true})
	for outer := range ipv4.ECN(4) {
		for inner := range ipv4.ECN(4) {
			p := outerOf(t, echo(t, ipv4.Fields{TTL: 9, TOS: uint8(inner)}))
			p[atIP+1] = uint8(outer)
			b := packet.Of(fixIP(t, p))
			_, err := d.Decapsulate(b)
			want, wantErr := tunnel.DecapECN(outer, inner)
			require.ErrorIs(t, err, wantErr)
			if err != nil {
				continue
			}
			h, _, err := ipv4.Parse(b.Bytes())
			require.NoError(t, err)
			assert.Equal(t, want, h.ECN(), "outer %d, inner %d", outer, inner)
			assert.True(t, h.ChecksumOK())
		}
	}
}

// decapTwin is the decapsulation step by step.
func decapTwin(p []byte, c ipip.DecapConfig) ([]byte, error) {
	if !c.Raw {
		eth, payload, err := ethernet.Parse(p)
		if err != nil {
			return nil, err
		}
		if eth.EtherType() != ethernet.TypeIPv4 {
			return nil, ipip.ErrNotIPIP
		}
		p = payload
	}
	ip, payload, err := ipv4.Parse(p)
	switch {
	case err != nil:
		return nil, err
	case !ip.ChecksumOK():
		return nil, ipv4.ErrChecksum
	}
	inner, _, err := ipip.Parse(ip, payload)
	switch {
	case err != nil:
		return nil, err
	case c.Local.IsValid() && c.Local.As4() != ip.Dst():
		return nil, ipip.ErrLocal
	case !c.AnyPeer && c.Peers[0].As4() != ip.Src():
		return nil, ipip.ErrPeer
	}
	mark, err := tunnel.DecapECN(ip.ECN(), inner.ECN())
	if err != nil {
		return nil, err
	}
	out := append([]byte{}, payload[:inner.TotalLen()]...)
	h, _, err := ipv4.Parse(out)
	if err == nil && mark != h.ECN() {
		h.SetECN(mark)
	}
	return out, err
}

func agree(tb testing.TB, p []byte, c ipip.DecapConfig) {
	tb.Helper()
	want, wantErr := decapTwin(p, c)
	b := packet.Of(p)
	_, err := decapsulator(tb, c).Decapsulate(b)
	switch {
	case !errors.Is(err, wantErr):
		tb.Fatalf("%x with %+v: %v, the twin says %v", p, c, err, wantErr)
	case err != nil && !bytes.Equal(b.Bytes(), p):
		tb.Fatalf("%x with %+v: changed although %v", p, c, err)
	case err == nil && !bytes.Equal(b.Bytes(), want):
		tb.Fatalf("%x with %+v:\n%x, the twin says\n%x", p, c, b.Bytes(), want)
	}
}

func variant(n uint8) ipip.DecapConfig {
	c := ipip.DecapConfig{AnyPeer: n&1 != 0, Raw: n&2 != 0}
	if !c.AnyPeer {
		c.Peers = []netip.Addr{node1}
	}
	if n&4 != 0 {
		c.Local = node2
	}
	return c
}

func TestMutationsAgreeWithTwin(t *testing.T) {
	const seed, rounds = 5, 300_000
	t.Logf("seed %d, %d packets", seed, rounds)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range rounds {
		f := ipv4.Fields{TTL: 9, TOS: uint8(rng.Uint32()), Options: make([]byte, 4*rng.IntN(2))}
		p := outerOf(t, echo(t, f))
		for range rng.IntN(3) {
			p[rng.IntN(atInner+24)] ^= 1 << rng.IntN(8)
		}
		if rng.IntN(4) == 0 {
			p = p[:rng.IntN(len(p)+1)]
		}
		if h, _, err := ipv4.Parse(p[min(len(p), atIP):]); err == nil && rng.IntN(2) == 0 {
			h.FixChecksum()
		}
		c := variant(uint8(rng.Uint32()))
		if c.Raw {
			p = p[min(len(p), atIP):]
		}
		agree(t, p, c)
	}
}

// Frames of another encoder: what it calls IPIP, we take apart at the same bytes.
func TestVectors(t *testing.T) {
	n := 0
	for _, v := range vectors.Load(t) {
		layers := vectors.Of[vectors.IPv4](v)
		for i := range len(layers) - 1 {
			outer := layers[i]
			if outer.Protocol != ipip.Protocol || outer.Fragment() {
				continue
			}
			n++
			h, payload, err := ipv4.Parse(v.Bytes(outer))
			require.NoError(t, err, v.Name)
			inner, _, err := ipip.Parse(h, payload)
			require.NoError(t, err, v.Name)
			assert.Equal(t, layers[i+1].ID, inner.ID(), v.Name)
			assert.Equal(t, layers[i+1].Dst.As4(), inner.Dst(), v.Name)
		}
	}
	assert.Greater(t, n, 15, "vectors with IPIP")
}

func TestAcceptDoesNotAllocate(t *testing.T) {
	inner := echo(t, ipv4.Fields{TTL: 9, TOS: 1})
	e, d := encapsulator(t, config()), decapsulator(t, peerOnly())
	b := packet.Of(inner)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if err := e.Encapsulate(b, 1); err != nil {
			t.Error(err)
		}
		if _, err := d.Decapsulate(b); err != nil {
			t.Error(err)
		}
	}))
	assert.Equal(t, inner, b.Bytes())
}

// TestNewEncapsulatorDoesNotAllocate: one that is only copied is made where the copy is.
func TestNewEncapsulatorDoesNotAllocate(t *testing.T) {
	c := config()
	var kept ipip.Encapsulator
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		e, err := ipip.NewEncapsulator(c)
		if err != nil {
			t.Error(err)
			return
		}
		kept = *e
	}))
	require.NoError(t, kept.Encapsulate(packet.Of(echo(t, ipv4.Fields{TTL: 9})), 1))
}

func FuzzDecapsulate(f *testing.F) {
	p := outerOf(f, echo(f, ipv4.Fields{TTL: 9}))
	f.Add(p, uint8(0))
	f.Add(p[atIP:], uint8(3))
	f.Fuzz(func(t *testing.T, p []byte, n uint8) { agree(t, p, variant(n)) })
}

// What goes in comes out, cut to its total length.
func FuzzThroughTheTunnel(f *testing.F) {
	f.Add(echo(f, ipv4.Fields{TTL: 9}), uint8(0))
	f.Fuzz(func(t *testing.T, inner []byte, n uint8) {
		c := config()
		c.InheritTOS, c.NoPMTUDisc = n&1 != 0, n&2 != 0
		b := packet.Of(inner)
		if encapsulator(t, c).Encapsulate(b, 1) != nil {
			return
		}
		h, _, parseErr := ipv4.Parse(inner)
		_, err := decapsulator(t, peerOnly()).Decapsulate(b)
		switch {
		case !errors.Is(err, parseErr):
			t.Fatalf("%x: %v, want %v", inner, err, parseErr)
		case err == nil && !bytes.Equal(b.Bytes(), inner[:h.TotalLen()]):
			t.Fatalf("%x came out as %x", inner, b.Bytes())
		}
	})
}
