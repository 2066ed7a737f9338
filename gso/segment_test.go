package gso_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/gso"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
)

// pools are one for segments and one for superframes, which must both be full again at the end.
func pools(t testing.TB, n int) gso.Segmenter {
	t.Helper()
	small, err := packet.NewPool(packet.PoolConfig{Buffers: n})
	require.NoError(t, err)
	large, err := packet.NewPool(packet.PoolConfig{Buffers: 8, Size: gso.LargeSize + packet.DefaultHeadroom})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.Zero(t, small.InUse(), "small buffers")
		assert.Zero(t, large.InUse(), "large buffers")
	})
	return gso.Segmenter{Pool: small, Large: large}
}

// contents returns what is in buffers, and frees them.
func contents(batch []*packet.Buffer) (all [][]byte) {
	for _, b := range batch {
		all = append(all, bytes.Clone(b.Bytes()))
	}
	packet.FreeBatch(batch)
	return all
}

// frames are superframes of many kinds.
func frames() (all []frame) {
	ack := tcp.Fields{Seq: 0xfffff000, Ack: 77, Flags: tcp.ACK | tcp.PSH | tcp.FIN | tcp.CWR | tcp.ECE, Window: 501}
	stamps := ack
	stamps.Options = []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	for _, f := range []frame{
		{kind: packet.GSOTCP4, size: 1460, tcp: ack},
		{kind: packet.GSOTCP4, size: 1448, tcp: stamps, df: true, id: 0xfffe},
		{kind: packet.GSOTCP4, size: 536, tcp: stamps, options: []byte{7, 7, 4, 0, 0, 0, 0, 0}},
		{kind: packet.GSOUDP4, size: 1472, id: 5},
		{kind: packet.GSOUDP4, size: 1001, options: []byte{1, 1, 1, 1}},
		{kind: packet.GSOUDP4, size: 1001, noSum: true},
		{kind: packet.GSOTCP6, size: 1440, tcp: ack},
		{kind: packet.GSOTCP4, size: 333, tcp: ack, complete: true},
		{kind: packet.GSOUDP4, size: 333, complete: true},
	} {
		for _, n := range []int{f.size + 1, 2 * f.size, 3*f.size + 17, f.size, 1, 9 * f.size} {
			for _, tunnels := range [][]string{
				nil,
				{"vxlan"},
				{"vxlan-sum"},
				{"ipip"},
				{"vxlan-sum", "vxlan"},
				{"vxlan", "ipip"},
				{"ipip", "vxlan-sum"},
				{"vxlan-sum", "vxlan-sum", "vxlan"},
			} {
				f := f
				f.payload, f.tunnels = n, tunnels
				if f.kind == packet.GSOTCP6 && len(tunnels) > 0 && tunnels[len(tunnels)-1] == "ipip" {
					continue
				}
				if f.kind == packet.GSOUDP4 && (f.complete || f.noSum) && len(tunnels) > 0 {
					continue // whose header the type means, only a partial checksum tells
				}
				all = append(all, f)
				f.raw = true
				if f.kind != packet.GSOTCP6 || len(tunnels) > 0 {
					all = append(all, f)
				}
				f.raw, f.tags = false, 1+n%2
				all = append(all, f)
			}
		}
	}
	return all
}

// TestCut holds segments against those that are built one by one.
func TestCut(t *testing.T) {
	s := pools(t, 64)
	n := 0
	for _, f := range frames() {
		b := f.buffer(t)
		b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 3})
		want := f.cutSlowly(t)
		segs, err := s.Cut(b, gso.Options{Raw: f.raw}, nil)
		require.NoError(t, err, "%v", f)
		require.Len(t, segs, len(want), "%v", f)
		for i, q := range segs {
			require.Equal(t, want[i], q.Bytes(), "segment %d of %v", i, f)
			require.False(t, q.IsSuperframe())
			require.Equal(t, packet.ChecksumVerified, q.Checksum())
			require.Equal(t, uint32(0x1234), q.Hash())
			require.True(t, q.HasVLAN())
			n++
		}
		packet.FreeBatch(segs)
	}
	t.Logf("%d segments", n)
}

// TestCutPartial: checksums that are left to a device are the same when it has computed them.
func TestCutPartial(t *testing.T) {
	s := pools(t, 64)
	for _, f := range frames() {
		segs, err := s.Cut(f.buffer(t), gso.Options{Raw: f.raw, Partial: true}, nil)
		require.NoError(t, err)
		_, l4 := f.build(t)
		for i, q := range segs {
			if !f.noSum {
				start, _, ok := q.PartialChecksum()
				require.True(t, ok, "%v", f)
				require.Equal(t, l4, start)
			}
			require.NoError(t, q.CompleteChecksum())
			got := q.Bytes()
			if f.kind != packet.GSOUDP4 && binary.BigEndian.Uint16(got[l4+16:]) == 0xffff {
				clear(got[l4+16 : l4+18]) // the other form of zero
			}
			require.Equal(t, f.cutSlowly(t)[i], got, "segment %d of %v", i, f)
		}
		packet.FreeBatch(segs)
	}
}

// TestCutBehindTheEnd: what is behind the declared length, such as padding, is in no segment.
func TestCutBehindTheEnd(t *testing.T) {
	s := pools(t, 8)
	f := frame{kind: packet.GSOTCP4, size: 100, payload: 250, tunnels: []string{"vxlan"}}
	p, l4 := f.build(t)
	b := packet.Of(append(p, 1, 2, 3))
	b.SetGSO(f.kind, 100)
	require.NoError(t, b.SetChecksumPartial(l4, 16))
	segs, err := s.Cut(b, gso.Options{}, nil)
	require.NoError(t, err)
	assert.Equal(t, f.cutSlowly(t), contents(segs))
}

// TestCutNoSuperframe: other packets come out as they are.
func TestCutNoSuperframe(t *testing.T) {
	b := packet.Of([]byte("no packet at all"))
	segs, err := gso.Segmenter{}.Cut(b, gso.Options{}, nil)
	require.NoError(t, err)
	assert.Equal(t, []*packet.Buffer{b}, segs)
	assert.Equal(t, len("no packet at all"), gso.SegmentLen(b, false))
}

// TestCutFaults leave the packet as it was, and no buffer lost.
func TestCutFaults(t *testing.T) {
	good := frame{kind: packet.GSOTCP4, size: 500, payload: 5000}
	inTunnel := good
	inTunnel.tunnels = []string{"vxlan"}
	six := good
	six.kind = packet.GSOTCP6
	byOne := func(f frame, at int, v byte) *packet.Buffer {
		b := f.buffer(t)
		b.Bytes()[at] = v
		return b
	}
	gsoOf := func(f frame, kind packet.GSOType, size uint16) *packet.Buffer {
		b := f.buffer(t)
		b.SetGSO(kind, size)
		return b
	}
	for _, c := range []struct {
		name string
		b    *packet.Buffer
		raw  bool
		err  error
	}{
		{"segment size 0", gsoOf(good, packet.GSOTCP4, 0), false, gso.ErrSize},
		{"TCP said to be UDP", gsoOf(good, packet.GSOUDP4, 500), false, gso.ErrHeaders},
		{"IPv4 said to be IPv6", gsoOf(good, packet.GSOTCP6, 500), false, gso.ErrHeaders},
		{"IPv6 said to be IPv4", gsoOf(six, packet.GSOTCP4, 500), false, gso.ErrHeaders},
		{"type that nobody knows", gsoOf(good, 99, 500), false, gso.ErrHeaders},
		{"frame said to be raw", good.buffer(t), true, gso.ErrHeaders},
		{"neither IPv4 nor IPv6", byOne(good, 13, 6), false, gso.ErrHeaders},
		{"wrong version", byOne(good, 14, 0x55), false, gso.ErrHeaders},
		{"total length beyond the end", byOne(good, 16, 0xff), false, gso.ErrHeaders},
		{"fragment", byOne(good, 20, 0x20), false, gso.ErrHeaders},
		{"ICMP", byOne(good, 23, 1), false, gso.ErrHeaders},
		{"TCP header shorter than 20 bytes", byOne(good, 46, 0x40), false, gso.ErrHeaders},
		{"UDP that is no tunnel", byOne(inTunnel, 42, 0), false, gso.ErrHeaders},
		{"IPv6 with an extension header", byOne(six, 20, 0), false, gso.ErrHeaders},
		{"IPv6 beyond the end", byOne(six, 18, 0xff), false, gso.ErrHeaders},
		{"IPv6 of length 0", func() *packet.Buffer { b := byOne(six, 18, 0); b.Bytes()[19] = 0; return b }(), false, gso.ErrHeaders},
		{"IPv6 of another version", byOne(six, 14, 0x40), false, gso.ErrHeaders},
		{"checksum elsewhere", func() *packet.Buffer { b := good.buffer(t); _ = b.SetChecksumPartial(30, 16); return b }(), false, gso.ErrHeaders},
		{"checksum field of UDP", func() *packet.Buffer { b := good.buffer(t); _ = b.SetChecksumPartial(34, 6); return b }(), false, gso.ErrHeaders},
		{"header cut off", func() *packet.Buffer { b := good.buffer(t); _ = b.TrimFront(40); return b }(), true, gso.ErrHeaders},
		{"nothing left", func() *packet.Buffer { b := good.buffer(t); _ = b.Truncate(0); return b }(), true, gso.ErrHeaders},
		{"ends in the IPv4 header", func() *packet.Buffer { b := good.buffer(t); _ = b.Truncate(30); return b }(), false, gso.ErrHeaders},
		{"more segments than buffers", gsoOf(good, packet.GSOTCP4, 10), false, gso.ErrNoBuffer},
		{"buffers taken by others", gsoOf(good, packet.GSOTCP4, 300), false, gso.ErrNoBuffer},
		{"segments longer than any buffers", gsoOf(good, packet.GSOTCP4, 2000), false, packet.ErrTailroom},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := pools(t, 32)
			s.Large = s.Pool
			var taken [20]*packet.Buffer
			defer packet.FreeBatch(taken[:])
			s.Pool.GetBatch(taken[:])
			was := bytes.Clone(c.b.Bytes())
			kind, size := c.b.GSO()
			before := []*packet.Buffer{nil}
			segs, err := s.Cut(c.b, gso.Options{Raw: c.raw}, before)
			require.ErrorIs(t, err, c.err)
			assert.Len(t, segs, 1)
			assert.Equal(t, was, c.b.Bytes())
			nowKind, nowSize := c.b.GSO()
			assert.Equal(t, []any{kind, size}, []any{nowKind, nowSize})
		})
	}
}

// TestCutJumbo: segments that are too long for Pool's buffers are in those of Large.
func TestCutJumbo(t *testing.T) {
	s := pools(t, 8)
	f := frame{kind: packet.GSOTCP4, size: 8000, payload: 30000}
	segs, err := s.Cut(f.buffer(t), gso.Options{}, nil)
	require.NoError(t, err)
	assert.Equal(t, 3, s.Large.InUse())
	assert.Equal(t, f.cutSlowly(t), contents(segs))
}

// TestNested: as deep as tunnels go, and no deeper.
func TestNested(t *testing.T) {
	s := pools(t, 8)
	f := frame{kind: packet.GSOTCP4, size: 500, payload: 1400}
	for range 15 {
		f.tunnels = append(f.tunnels, "ipip")
	}
	segs, err := s.Cut(f.buffer(t), gso.Options{}, nil)
	require.NoError(t, err)
	assert.Equal(t, f.cutSlowly(t), contents(segs))
	f.tunnels = append(f.tunnels, "ipip")
	b := f.buffer(t)
	_, err = s.Cut(b, gso.Options{}, nil)
	require.ErrorIs(t, err, gso.ErrHeaders)
}

// TestSegmentLen is what the longest segment is, wherever the buffer starts.
func TestSegmentLen(t *testing.T) {
	for _, f := range frames() {
		longest := 0
		for _, s := range f.cutSlowly(t) {
			longest = max(longest, len(s))
		}
		b := f.buffer(t)
		require.Equal(t, longest, gso.SegmentLen(b, f.raw), "%v", f)
		if !f.raw && f.kind != packet.GSOTCP6 {
			at := ethernet.HeaderLen + f.tags*ethernet.TagLen
			require.NoError(t, b.TrimFront(at))
			require.Equal(t, longest-at, gso.SegmentLen(b, true), "%v without its Ethernet header", f)
		}
	}
	b := frame{kind: packet.GSOTCP4, size: 500, payload: 1400}.buffer(t)
	for n := range 34 {
		require.NoError(t, b.Truncate(b.Len()-1))
		_ = gso.SegmentLen(b, false)
		c := packet.New(2000)
		require.NoError(t, c.CopyFrom(b))
		require.NoError(t, c.TrimFront(n+1))
		assert.LessOrEqual(t, gso.SegmentLen(c, false), c.Len(), "%d bytes cut off: its own length", n+1)
	}
}

// TestFit gives devices what they can take.
func TestFit(t *testing.T) {
	const (
		sum = packet.OffloadChecksum
		all = packet.OffloadVLAN | sum | packet.OffloadTCP4 | packet.OffloadUDP4 | packet.OffloadTunnelTCP4 | packet.OffloadTCP6
	)
	tcp4 := frame{kind: packet.GSOTCP4, size: 1000, payload: 3500, df: true, id: 9}
	udp4 := frame{kind: packet.GSOUDP4, size: 1000, payload: 3500}
	zero := frame{kind: packet.GSOUDP4, size: 1000, payload: 3500, noSum: true}
	tcp6 := frame{kind: packet.GSOTCP6, size: 1000, payload: 3500}
	in := func(f frame, tunnels ...string) frame { f.tunnels = tunnels; return f }
	for _, c := range []struct {
		name  string
		f     frame
		takes packet.Offloads
		kind  packet.GSOType // of what comes out, if it is one
		n     int
	}{
		{"TCP for a device that can do nothing", tcp4, 0, packet.GSONone, 4},
		{"TCP for one that can but checksums", tcp4, sum, packet.GSONone, 4},
		{"TCP for one that can", tcp4, sum | packet.OffloadTCP4, packet.GSOTCP4, 1},
		{"TCP for one that can only UDP", tcp4, sum | packet.OffloadUDP4, packet.GSONone, 4},
		{"TCP offload without checksums is none", tcp4, packet.OffloadTCP4, packet.GSONone, 4},
		{"UDP", udp4, sum | packet.OffloadUDP4, packet.GSOUDP4, 1},
		{"UDP without a checksum", zero, sum | packet.OffloadUDP4, packet.GSOUDP4, 1},
		{"UDP for one that can only TCP", udp4, sum | packet.OffloadTCP4, packet.GSONone, 4},
		{"IPv6", tcp6, sum | packet.OffloadTCP6, packet.GSOTCP6, 1},
		{"IPv6 for one that can IPv4", tcp6, sum | packet.OffloadTCP4, packet.GSONone, 4},
		{"VXLAN", in(tcp4, "vxlan"), all, packet.GSOTCP4, 1},
		{"VXLAN for one that knows no tunnels", in(tcp4, "vxlan"), sum | packet.OffloadTCP4, packet.GSONone, 4},
		{"VXLAN as UDP superframe", in(tcp4, "vxlan"), sum | packet.OffloadTCP4 | packet.OffloadUDP4, packet.GSOUDP4, 1},
		{"VXLAN with IPv6 as UDP superframe", in(tcp6, "vxlan-sum"), all, packet.GSOUDP4, 1},
		{"VXLAN in VXLAN as UDP superframe", in(tcp4, "vxlan-sum", "vxlan"), all, packet.GSOUDP4, 1},
		{"IPIP", in(tcp4, "ipip"), all, packet.GSONone, 4},
		{"IPIP in VXLAN", in(tcp4, "vxlan", "ipip"), all, packet.GSOUDP4, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := pools(t, 16)
			b := c.f.buffer(t)
			b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 3})
			out, err := s.Fit(b, false, c.takes, nil)
			require.NoError(t, err)
			require.Len(t, out, c.n)
			kind, _ := out[0].GSO()
			assert.Equal(t, c.kind, kind)
			assert.Equal(t, c.takes.Has(packet.OffloadVLAN), out[0].HasVLAN())
			partial := out[0].Checksum() == packet.ChecksumPartial
			assert.Equal(t, c.takes.Has(sum), partial)
			packet.FreeBatch(out[1:])
			out, err = s.Fit(out[0], false, 0, nil)
			require.NoError(t, err, "what comes out can be cut")
			first := c.f
			first.tags = 1
			want := first.cutSlowly(t)[0]
			want[13], want[15] = 0, 3 // 802.1Q, VLAN 3
			want[12] = 0x81
			got := bytes.Clone(out[0].Bytes())
			if kind == packet.GSOUDP4 {
				clear(got[18+26 : 18+28]) // the outer checksum, which there may not have been
				clear(want[18+26 : 18+28])
			}
			assert.Equal(t, want, got)
			packet.FreeBatch(out)
		})
	}
}

// TestFitOthers are packets that are no superframes.
func TestFitOthers(t *testing.T) {
	var s gso.Segmenter
	f := frame{kind: packet.GSOTCP4, size: 1000, payload: 900, tunnels: []string{"vxlan"}}
	plain := func() *packet.Buffer { b := f.buffer(t); b.SetGSO(packet.GSONone, 0); return b }
	out, err := s.Fit(plain(), false, packet.OffloadChecksum, nil)
	require.NoError(t, err)
	require.Len(t, out, 1)
	assert.Equal(t, packet.ChecksumPartial, out[0].Checksum())
	out, err = s.Fit(plain(), false, 0, nil)
	require.NoError(t, err)
	assert.Equal(t, f.cutSlowly(t)[0], out[0].Bytes())

	b := plain()
	b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 3})
	require.NoError(t, b.TrimFront(14))
	out, err = s.Fit(b, true, 0, nil)
	require.NoError(t, err)
	assert.False(t, out[0].HasVLAN(), "a raw packet has none")
	assert.Equal(t, f.cutSlowly(t)[0][14:], out[0].Bytes())

	b = plain()
	require.NoError(t, b.Truncate(20))
	out, err = s.Fit(b, false, 0, nil)
	require.ErrorIs(t, err, packet.ErrShort, "the checksum's field is gone")
	assert.Empty(t, out)
	b = packet.Of(make([]byte, 60))
	_, err = b.Prepend(b.Headroom())
	require.NoError(t, err)
	b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 3})
	_, err = s.Fit(b, false, 0, nil)
	require.ErrorIs(t, err, packet.ErrHeadroom)
	b = f.buffer(t)
	b.Bytes()[14] = 0
	_, err = s.Fit(b, false, packet.OffloadChecksum, nil)
	require.ErrorIs(t, err, gso.ErrHeaders)
}

// TestCutZero: a UDP checksum that comes to 0 is 0xffff, of the transport and of a tunnel's.
func TestCutZero(t *testing.T) {
	s := pools(t, 8)
	for _, f := range []frame{
		{kind: packet.GSOUDP4, size: 1000, payload: 1500},
		{kind: packet.GSOTCP4, size: 1000, payload: 1500, tunnels: []string{"vxlan-sum"}},
	} {
		first := f.cutSlowly(t)[0]
		b := f.buffer(t)
		port := b.Bytes()[34:] // of the source: it takes what the checksum loses
		binary.BigEndian.PutUint16(port, checksum.Add(binary.BigEndian.Uint16(port), binary.BigEndian.Uint16(first[40:])))
		segs, err := s.Cut(b, gso.Options{}, nil)
		require.NoError(t, err)
		assert.Equal(t, []byte{0xff, 0xff}, segs[0].Bytes()[40:42], "%v", f)
		packet.FreeBatch(segs)
	}
}

// TestWholeBehindTheEnd: what is behind the declared length would be the last segment's to a device.
func TestWholeBehindTheEnd(t *testing.T) {
	var s gso.Segmenter
	f := frame{kind: packet.GSOTCP4, size: 1000, payload: 3500}
	p, l4 := f.build(t)
	b := packet.Of(append(bytes.Clone(p), 1, 2, 3))
	b.SetGSO(f.kind, 1000)
	require.NoError(t, b.SetChecksumPartial(l4, 16))
	out, err := s.Fit(b, false, packet.OffloadChecksum|packet.OffloadTCP4, nil)
	require.NoError(t, err)
	assert.Equal(t, p, out[0].Bytes())
}

// TestWholeTunnel: the outer UDP checksum of a superframe that a device cuts is the pseudo-header's, as Linux has it.
func TestWholeTunnel(t *testing.T) {
	var s gso.Segmenter
	f := frame{kind: packet.GSOTCP4, size: 1000, payload: 3500, tunnels: []string{"vxlan-sum"}}
	out, err := s.Fit(f.buffer(t), false, packet.OffloadChecksum|packet.OffloadTunnelTCP4, nil)
	require.NoError(t, err)
	p := out[0].Bytes()
	assert.Equal(t, pseudo(p[14:], 20), binary.BigEndian.Uint16(p[40:]))
}

// TestBundle: UDP superframes, when they are cut, make the same datagrams as cutting the TCP superframe does.
func TestBundle(t *testing.T) {
	s := pools(t, 256)
	for _, f := range frames() {
		if len(f.tunnels) == 0 || f.tunnels[0] == "ipip" {
			continue
		}
		f.tunnels[0] = "vxlan-sum" // a device computes it
		want := f.cutSlowly(t)
		b := s.Large.Get()
		f.into(t, b)
		out, err := s.Bundle(b, f.raw, nil)
		if len(want) == 1 {
			require.ErrorIs(t, err, gso.ErrFew)
			b.Free()
			continue
		}
		require.NoError(t, err, "%v", f)
		require.Len(t, out, 1)
		kind, _ := out[0].GSO()
		require.Equal(t, packet.GSOUDP4, kind)
		segs, err := s.Cut(out[0], gso.Options{Raw: f.raw}, nil)
		require.NoError(t, err)
		require.Equal(t, want, contents(segs), "%v", f)
	}
}

// TestBundleLong is more than goes into one packet, or into one superframe of Linux's.
func TestBundleLong(t *testing.T) {
	s := pools(t, 512)
	for _, c := range []struct {
		size, payload, superframes int
		single                     bool // the last is one datagram
	}{
		{1400, 65000, 2, false},
		{100, 100 * 65, 2, true}, // 64 and one
		{100, 100 * 64, 1, false},
		{536, 64000, 2, false},
		{9000, 64000, 2, true},
	} {
		f := frame{kind: packet.GSOTCP4, size: c.size, payload: c.payload, tunnels: []string{"vxlan-sum"}}
		var all [][]byte
		b := s.Large.Get()
		f.into(t, b)
		out, err := s.Bundle(b, false, nil)
		require.NoError(t, err)
		require.Len(t, out, c.superframes)
		last := out[len(out)-1]
		assert.Equal(t, c.single, !last.IsSuperframe(), "one datagram is none")
		for _, q := range out {
			require.LessOrEqual(t, q.Len(), 14+65535)
			if c.size > 1800 {
				q.Free()
				continue
			}
			segs, err := s.Fit(q, false, 0, nil)
			require.NoError(t, err)
			all = append(all, contents(segs)...)
		}
		if c.size <= 1800 {
			require.Equal(t, f.cutSlowly(t), all)
		}
	}
}

func TestBundleFaults(t *testing.T) {
	f := frame{kind: packet.GSOTCP4, size: 1000, payload: 3500, tunnels: []string{"vxlan"}}
	s := pools(t, 1)
	fails := func(s gso.Segmenter, f frame, want error) {
		t.Helper()
		b := f.buffer(t)
		out, err := s.Bundle(b, false, nil)
		require.ErrorIs(t, err, want)
		require.Empty(t, out)
		p, _ := f.build(t)
		assert.Equal(t, p, b.Bytes())
	}
	fails(gso.Segmenter{Pool: s.Pool}, f, gso.ErrNoBuffer)
	fails(gso.Segmenter{Large: s.Pool}, f, packet.ErrTailroom)
	f.size = 40000
	f.payload = 60000
	fails(s, f, gso.ErrFew)
	f.tunnels = []string{"ipip"}
	fails(s, f, gso.ErrHeaders)
	f.tunnels = nil
	fails(s, f, gso.ErrHeaders)
	f.kind = packet.GSOTCP6
	f.size = 0
	fails(s, f, gso.ErrSize)
}

// TestCutAllocates nothing, nor do faults and bundles.
func TestCutAllocates(t *testing.T) {
	s := pools(t, 64)
	f := frame{kind: packet.GSOTCP4, size: 1400, payload: 60000, tunnels: []string{"vxlan-sum"}}
	p, l4 := f.build(t)
	segs := make([]*packet.Buffer, 0, 64)
	for _, c := range []struct {
		name  string
		takes packet.Offloads
		size  uint16
	}{
		{"cut", 0, 1400},
		{"bundle", packet.OffloadChecksum | packet.OffloadUDP4, 1400},
		{"whole", packet.OffloadChecksum | packet.OffloadTunnelTCP4, 1400},
		{"too many", 0, 100},
		{"size 0", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if raceEnabled {
				t.Skip("instrumentation for -race allocates")
			}
			assert.Zero(t, testing.AllocsPerRun(100, func() {
				b := s.Large.Get()
				_ = b.SetBytes(p)
				b.SetGSO(f.kind, c.size)
				_ = b.SetChecksumPartial(l4, 16)
				out, err := s.Fit(b, false, c.takes, segs)
				if err != nil {
					b.Free()
				}
				packet.FreeBatch(out)
			}))
		})
	}
}

// FuzzFit lets any bytes and metadata be a superframe: no buffer is lost, and what comes out is no longer than segments may be.
func FuzzFit(f *testing.F) {
	for i, c := range frames() {
		if i%37 == 0 && c.payload < 3000 {
			p, l4 := c.build(f)
			f.Add(p, uint8(c.kind), uint16(c.size), uint16(l4), uint8(i), c.raw)
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, kind uint8, size, start uint16, takes uint8, raw bool) {
		s := pools(t, 80)
		b := s.Large.Get()
		if b.SetBytes(p) != nil {
			b.Free()
			return
		}
		b.SetGSO(packet.GSOType(kind%5), size)
		field := 16
		if packet.GSOType(kind) == packet.GSOUDP4 {
			field = 6
		}
		_ = b.SetChecksumPartial(int(start), field)
		longest := gso.SegmentLen(b, raw)
		out, err := s.Fit(b, raw, packet.Offloads(takes), nil)
		if err != nil {
			require.Empty(t, out)
			b.Free()
			return
		}
		for _, q := range out {
			if !q.IsSuperframe() {
				assert.LessOrEqual(t, q.Len(), longest)
			}
		}
		packet.FreeBatch(out)
	})
}

// BenchmarkCut is 64 KiB of TCP.
func BenchmarkCut(b *testing.B) {
	for _, c := range []struct {
		name    string
		tunnels []string
		takes   packet.Offloads
	}{
		{"tcp", nil, 0},
		{"tcp-partial", nil, packet.OffloadChecksum},
		{"vxlan", []string{"vxlan"}, 0},
		{"vxlan-udpcsum", []string{"vxlan-sum"}, 0},
		{"vxlan-to-udp", []string{"vxlan"}, packet.OffloadChecksum | packet.OffloadUDP4},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := pools(b, 64)
			f := frame{kind: packet.GSOTCP4, size: 1400, payload: 64000, tunnels: c.tunnels}
			p, l4 := f.build(b)
			segs := make([]*packet.Buffer, 0, 64)
			b.SetBytes(int64(f.payload))
			for b.Loop() {
				q := s.Large.Get()
				room, _ := q.Extend(len(p)) // a device has put it there
				copy(room, p[:l4+20])
				q.SetGSO(f.kind, uint16(f.size))
				_ = q.SetChecksumPartial(l4, 16)
				out, err := s.Fit(q, false, c.takes, segs)
				if err != nil || len(out) == 0 {
					b.Fatal(err)
				}
				packet.FreeBatch(out)
			}
		})
	}
}

func ExampleSegmenter_Fit() {
	pool, _ := packet.NewPool(packet.PoolConfig{Buffers: 64})
	s := gso.Segmenter{Pool: pool}
	b := frame{kind: packet.GSOTCP4, size: 1460, payload: 4000}.buffer(&testing.T{}) // as a driver hands it in
	fmt.Println(b.Len(), "bytes, segments of", gso.SegmentLen(b, false))
	out, err := s.Fit(b, false, packet.OffloadsNone, nil)
	if err != nil {
		fmt.Println(err)
	}
	for _, segment := range out {
		fmt.Println(segment.Len(), "bytes")
	}
	packet.FreeBatch(out)
	// Output:
	// 4054 bytes, segments of 1514
	// 1514 bytes
	// 1514 bytes
	// 1134 bytes
}
