package gso_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/gso"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
)

const anyTCP = packet.OffloadTCP4 | packet.OffloadTCP6

// fill puts packets into buffers of a pool.
func fill(t testing.TB, pool *packet.Pool, packets [][]byte) (batch []*packet.Buffer) {
	t.Helper()
	for _, p := range packets {
		b := pool.Get()
		require.NotNil(t, b)
		require.NoError(t, b.SetBytes(p))
		batch = append(batch, b)
	}
	return batch
}

// apart cuts what is a superframe, and returns what is then there.
func apart(t testing.TB, s gso.Segmenter, batch []*packet.Buffer, raw bool) (all [][]byte) {
	t.Helper()
	for _, b := range batch {
		out, err := s.Fit(b, raw, 0, nil)
		require.NoError(t, err)
		all = append(all, contents(out)...)
	}
	return all
}

// mergeable are superframes whose segments, cut, are put together to the same ones.
func mergeable() (all []frame) {
	for _, f := range frames() {
		f.tcp.Flags &^= tcp.CWR
		if len(f.tunnels) == 0 && len(f.options) == 0 && f.kind != packet.GSOUDP4 && f.size > 500 {
			all = append(all, f)
		}
	}
	return all
}

// TestMerge: segments make the superframe that they were cut from, and that makes them again.
func TestMerge(t *testing.T) {
	s := pools(t, 64)
	c := gso.Coalescer{Large: s.Large}
	for _, f := range mergeable() {
		segments := f.cutSlowly(t)
		got := c.Merge(fill(t, s.Pool, segments), f.raw, anyTCP)
		require.Len(t, got, 1, "%v", f)
		if len(segments) > 1 {
			f.complete = false
			whole, l4 := f.build(t)
			kind, size := got[0].GSO()
			require.Equal(t, []any{f.kind, uint16(f.size)}, []any{kind, size}, "%v", f)
			start, field, ok := got[0].PartialChecksum()
			require.Equal(t, []any{l4, 16, true}, []any{start, field, ok})
			require.Equal(t, whole, got[0].Bytes(), "%v", f)
		}
		require.Equal(t, segments, apart(t, s, got, f.raw))
	}
}

// stream is a superframe's segments in buffers, to be spoiled.
func stream(t testing.TB, f frame, pool *packet.Pool) []*packet.Buffer {
	return fill(t, pool, f.cutSlowly(t))
}

// TestMergeRules: what is different about the second of three segments keeps it from being merged with the first.
func TestMergeRules(t *testing.T) {
	const ip, l4 = 14, 34
	fix := func(b *packet.Buffer) { // checksums
		p := b.Bytes()
		copy(p[ip+10:], []byte{0, 0})
		binary.BigEndian.PutUint16(p[ip+10:], checksum.Of(p[ip:l4]))
		copy(p[l4+16:], []byte{0, 0})
		sum := pseudo(p[ip:], 20)
		binary.BigEndian.PutUint16(p[l4+16:], ^checksum.Add(sum, checksum.Sum(p[l4:])))
	}
	xor := func(at int, v byte) func(*packet.Buffer) {
		return func(b *packet.Buffer) { b.Bytes()[at] ^= v; fix(b) }
	}
	broken := func(at int, v byte) func(*packet.Buffer) {
		return func(b *packet.Buffer) { b.Bytes()[at] ^= v }
	}
	for _, c := range []struct {
		name  string
		spoil func(*packet.Buffer)
		left  int // packets, of three
	}{
		{"nothing", func(*packet.Buffer) {}, 1},
		{"another MAC address", xor(5, 1), 3},
		{"another VLAN beside the frame", func(b *packet.Buffer) { b.SetVLAN(ethernet.Tag{TPID: 0x8100, TCI: 1}) }, 3},
		{"TOS", xor(ip+1, 2), 3},
		{"identification", xor(ip+5, 0x10), 3},
		{"DF", xor(ip+6, 0x40), 3},
		{"evil bit", xor(ip+6, 0x80), 3},
		{"fragment", xor(ip+6, 0x20), 3},
		{"TTL", xor(ip+8, 1), 3},
		{"another source", xor(ip+15, 1), 2}, // those beside it have become neighbours, and their identifications not
		{"wrong IPv4 checksum", broken(ip+10, 1), 3},
		{"another port", xor(l4+1, 1), 2},
		{"sequence number", xor(l4+7, 1), 3},
		{"acknowledgment", xor(l4+11, 1), 3},
		{"reserved bit", xor(l4+12, 1), 3},
		{"SYN", xor(l4+13, 2), 3},
		{"RST", xor(l4+13, 4), 3},
		{"no ACK", xor(l4+13, 16), 3},
		{"URG", xor(l4+13, 32), 3},
		{"ECE", xor(l4+13, 64), 3},
		{"CWR", xor(l4+13, 128), 3},
		{"PSH", xor(l4+13, 8), 2}, // it ends the first two
		{"FIN", xor(l4+13, 1), 2},
		{"window", xor(l4+15, 1), 3},
		{"wrong TCP checksum", broken(l4+16, 1), 3},
		{"urgent pointer", xor(l4+19, 1), 3},
		{"timestamp", xor(l4+31, 1), 3},
		{"payload, wrong checksum", broken(l4+40, 1), 3},
		{"data offset", broken(l4+12, 0xf0), 3},
		{"padding", func(b *packet.Buffer) { _, _ = b.Extend(1) }, 3},
		{"shorter", func(b *packet.Buffer) {
			_ = b.Truncate(b.Len() - 1)
			binary.BigEndian.PutUint16(b.Bytes()[ip+2:], uint16(b.Len()-ip))
			fix(b)
		}, 2}, // it ends the first two
		{"no payload", func(b *packet.Buffer) {
			_ = b.Truncate(l4 + 32)
			binary.BigEndian.PutUint16(b.Bytes()[ip+2:], 52)
			fix(b)
		}, 3},
		{"IPv4 options", xor(ip, 3), 3},
		{"superframe", func(b *packet.Buffer) { b.SetGSO(packet.GSOTCP4, 100) }, 3},
		{"checksum partial", func(b *packet.Buffer) { _ = b.SetChecksumPartial(l4, 16) }, 1},
		{"another checksum partial", func(b *packet.Buffer) { _ = b.SetChecksumPartial(l4, 6) }, 3},
		{"checksum verified", func(b *packet.Buffer) { b.SetChecksumVerified() }, 1},
		{"not TCP", xor(ip+9, 1), 2},
		{"not IP", xor(12, 1), 2},
		{"ends in the TCP header", func(b *packet.Buffer) { _ = b.Truncate(l4 + 19) }, 2},
		{"ends in the IPv4 header", func(b *packet.Buffer) { _ = b.Truncate(l4 - 1) }, 2},
		{"ends in the Ethernet header", func(b *packet.Buffer) { _ = b.Truncate(13) }, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := pools(t, 8)
			f := frame{kind: packet.GSOTCP4, size: 600, payload: 1800, id: 7}
			f.tcp = tcp.Fields{Flags: tcp.ACK, Window: 9, Options: []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}}
			if c.left == 2 && c.name != "PSH" && c.name != "FIN" && c.name != "shorter" {
				f.payload, f.df, f.id = 1800, true, 0 // the third follows the first if the second is not there
			}
			batch := stream(t, f, s.Pool)
			if f.df {
				third := batch[2].Bytes()
				binary.BigEndian.PutUint32(third[l4+4:], 600)
				for _, b := range batch {
					copy(b.Bytes()[ip+4:], []byte{0, 0})
					fix(b)
				}
			}
			c.spoil(batch[1])
			coalescer := gso.Coalescer{Large: s.Large}
			got := coalescer.Merge(batch, false, anyTCP)
			assert.Len(t, got, c.left)
			assert.Equal(t, []*packet.Buffer{nil, nil, nil}[:3-len(got)], batch[len(got):])
			packet.FreeBatch(got)
		})
	}
}

// TestMergeOvertaking: what comes between the first and the second of two segments that belong together keeps them apart if it is of
// their flow, or may be.
func TestMergeOvertaking(t *testing.T) {
	const ip, l4 = 14, 34
	for _, c := range []struct {
		name    string
		between func([]byte)
		left    int // packets, of three
	}{
		{"fragment", func(p []byte) { p[ip+6] |= 0x20 }, 3},
		{"IPv4 options", func(p []byte) { p[ip] = 0x46 }, 3},
		{"SYN", func(p []byte) { p[l4+13] |= 2 }, 3},
		{"RST", func(p []byte) { p[l4+13] |= 4 }, 3},
		{"wrong checksum", func(p []byte) { p[l4+16] ^= 1 }, 3},
		{"PSH", func(p []byte) { p[l4+13] |= 8 }, 3},
		{"another acknowledgment", func(p []byte) { p[l4+11]++ }, 3},
		{"another flow", func(p []byte) { p[l4+1]++ }, 2},
		{"UDP", func(p []byte) { p[ip+9] = 17 }, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := pools(t, 8)
			f := frame{kind: packet.GSOTCP4, size: 600, payload: 1200, df: true, tcp: tcp.Fields{Flags: tcp.ACK}}
			segments := f.cutSlowly(t)
			segments = [][]byte{segments[0], bytes.Clone(segments[1]), segments[1]}
			c.between(segments[1])
			coalescer := gso.Coalescer{Large: s.Large}
			got := coalescer.Merge(fill(t, s.Pool, segments), false, packet.OffloadTCP4)
			assert.Len(t, got, c.left)
			packet.FreeBatch(got)
		})
	}
}

// TestMergeEnds: what a superframe begins and ends with.
func TestMergeEnds(t *testing.T) {
	piece := func(from, to int, flags tcp.Flags) []byte {
		f := frame{kind: packet.GSOTCP4, size: 1000, payload: to - from, id: uint16(from / 100), tcp: tcp.Fields{Seq: uint32(from), Flags: tcp.ACK | flags}}
		return f.cutSlowly(t)[0]
	}
	next := func(p []byte, id byte) []byte { // with an identification
		p[19] = id
		clear(p[24:26])
		binary.BigEndian.PutUint16(p[24:], checksum.Of(p[14:34]))
		return p
	}
	long := frame{kind: packet.GSOTCP4, size: 1000, payload: 100, tcp: tcp.Fields{Flags: tcp.ACK, Options: make([]byte, 40)}}.cutSlowly(t)[0]
	tagged := piece(0, 100, 0)
	for range 20 {
		tagged = slices.Concat(tagged[:12], []byte{0x81, 0, 0, 1}, tagged[12:])
	}
	for _, c := range []struct {
		name     string
		segments [][]byte
		left     int
	}{
		{"the second shorter than the first's headers", [][]byte{long, piece(100, 101, 0)}, 2},
		{"the second shorter than the first's tags", [][]byte{tagged, piece(100, 101, 0)}, 2},
		{"two", [][]byte{next(piece(0, 500, 0), 1), next(piece(500, 1000, 0), 2)}, 1},
		{"the first with PSH", [][]byte{next(piece(0, 500, tcp.PSH), 1), next(piece(500, 1000, 0), 2)}, 2},
		{"the first with FIN", [][]byte{next(piece(0, 500, tcp.FIN), 1), next(piece(500, 1000, 0), 2)}, 2},
		{"the second with PSH", [][]byte{next(piece(0, 500, 0), 1), next(piece(500, 1000, tcp.PSH), 2), next(piece(1000, 1500, 0), 3)}, 2},
		{"the second longer", [][]byte{next(piece(0, 500, 0), 1), next(piece(500, 1001, 0), 2)}, 2},
		{"the second shorter", [][]byte{next(piece(0, 500, 0), 1), next(piece(500, 999, 0), 2), next(piece(999, 1499, 0), 3)}, 2},
	} {
		s := pools(t, 8)
		coalescer := gso.Coalescer{Large: s.Large}
		got := coalescer.Merge(fill(t, s.Pool, c.segments), false, packet.OffloadTCP4)
		assert.Len(t, got, c.left, c.name)
		packet.FreeBatch(got)
	}
}

// TestMergeIPv6Rules: likewise for IPv6, and for addresses that are alike to a hash.
func TestMergeIPv6Rules(t *testing.T) {
	const ip = 14
	for _, c := range []struct {
		name   string
		kind   packet.GSOType
		spoil  func([]byte)
		merged bool
	}{
		{"nothing", packet.GSOTCP6, func([]byte) {}, true},
		{"flow label", packet.GSOTCP6, func(p []byte) { p[ip+3]++ }, false},
		{"traffic class", packet.GSOTCP6, func(p []byte) { p[ip+1] ^= 0x10 }, false},
		{"hop limit", packet.GSOTCP6, func(p []byte) { p[ip+7]-- }, false},
		{"addresses, exclusive or the same", packet.GSOTCP6, func(p []byte) { p[ip+23] ^= 1; p[ip+39] ^= 1 }, false},
		{"addresses, but for the last word", packet.GSOTCP6, func(p []byte) { p[ip+12] ^= 1 }, false},
		{"extension header", packet.GSOTCP6, func(p []byte) { p[ip+6] = 60 }, false},
		{"IPv4: nothing", packet.GSOTCP4, func([]byte) {}, true},
		{"IPv4: addresses, exclusive or the same", packet.GSOTCP4, func(p []byte) { p[ip+15] ^= 1; p[ip+19] ^= 1 }, false},
	} {
		s := pools(t, 8)
		batch := stream(t, frame{kind: c.kind, size: 600, payload: 1200, tcp: tcp.Fields{Flags: tcp.ACK}}, s.Pool)
		p := batch[1].Bytes()
		c.spoil(p)
		if c.kind == packet.GSOTCP4 {
			clear(p[24:26])
			binary.BigEndian.PutUint16(p[24:], checksum.Of(p[14:34]))
		}
		batch[1].SetChecksumVerified()
		coalescer := gso.Coalescer{Large: s.Large}
		got := coalescer.Merge(batch, false, anyTCP)
		assert.Equal(t, c.merged, len(got) == 1, c.name)
		packet.FreeBatch(got)
	}
}

// TestMergeRest: the checksum 0xffff is as right as 0, but no sum comes to it, so that cutting would not bring it back.
func TestMergeRest(t *testing.T) {
	s := pools(t, 8)
	f := frame{kind: packet.GSOTCP4, size: 600, payload: 1200, tcp: tcp.Fields{Flags: tcp.ACK}}
	batch := stream(t, f, s.Pool)
	p := batch[1].Bytes()
	check := binary.BigEndian.Uint16(p[50:])
	last := p[len(p)-2:] // takes what the checksum loses
	binary.BigEndian.PutUint16(last, checksum.Add(binary.BigEndian.Uint16(last), check))
	for _, v := range []uint16{0, 0xffff} {
		binary.BigEndian.PutUint16(p[50:], v)
		require.Equal(t, uint16(0xffff), checksum.Add(pseudo(p[14:], 20), checksum.Sum(p[34:])), "right")
	}
	c := gso.Coalescer{Large: s.Large}
	got := c.Merge(batch, false, anyTCP)
	require.Len(t, got, 2)
	packet.FreeBatch(got)
}

// TestMergeOrder: each superframe is where its first segment was, and nothing overtakes what is of its flow.
func TestMergeOrder(t *testing.T) {
	s := pools(t, 64)
	flows := make([][]*packet.Buffer, 3)
	for i := range flows {
		f := frame{kind: packet.GSOTCP4, size: 100, payload: 400, raw: true, tcp: tcp.Fields{Flags: tcp.ACK, Window: uint16(i)}}
		flows[i] = stream(t, f, s.Pool)
		for _, b := range flows[i] {
			p := b.Bytes()
			p[20] = byte(i) // source port
			copy(p[36:], []byte{0, 0})
			binary.BigEndian.PutUint16(p[36:], ^checksum.Add(pseudo(p, 20), checksum.Sum(p[20:])))
		}
	}
	a, b, c := flows[0], flows[1], flows[2]
	other := fill(t, s.Pool, [][]byte{{0x45}})[0]
	ack := fill(t, s.Pool, [][]byte{b[1].Bytes()[:40]})[0]
	ack.Bytes()[3] = 40 // no payload
	batch := []*packet.Buffer{a[0], b[0], other, a[1], c[0], b[1], ack, a[2], b[2], c[1], a[3], b[3]}
	coalescer := gso.Coalescer{Large: s.Large}
	got := coalescer.Merge(batch, true, anyTCP)
	var seen []int
	for _, q := range got {
		seen = append(seen, (q.Len()-40)/100)
	}
	require.Equal(t, []int{4, 2, 0, 2, 0, 2}, seen, "a, b, other, c, ack, b")
	assert.Equal(t, byte(1), got[5].Bytes()[20])
	packet.FreeBatch(got)
	packet.FreeBatch(c[2:])
}

// TestMergeManyFlows: more flows than are put together at a time lose nothing.
func TestMergeManyFlows(t *testing.T) {
	s := pools(t, 128)
	var batch []*packet.Buffer
	want := map[byte]int{}
	for n := range 3 {
		for i := range byte(20) {
			f := frame{kind: packet.GSOTCP4, size: 100, payload: 300, raw: true, tcp: tcp.Fields{Flags: tcp.ACK}}
			p := f.cutSlowly(t)[n]
			p[20] = i
			copy(p[36:], []byte{0, 0})
			binary.BigEndian.PutUint16(p[36:], ^checksum.Add(pseudo(p, 20), checksum.Sum(p[20:])))
			batch = append(batch, fill(t, s.Pool, [][]byte{p})...)
			want[i]++
		}
	}
	c := gso.Coalescer{Large: s.Large}
	all := apart(t, s, c.Merge(batch, true, anyTCP), true)
	seq := map[byte]uint32{}
	for _, p := range all {
		want[p[20]]--
		assert.Equal(t, seq[p[20]], binary.BigEndian.Uint32(p[24:]), "in order")
		seq[p[20]] += 100
	}
	for i, n := range want {
		assert.Zero(t, n, "flow %d", i)
	}
}

// TestMergeRoom: where superframes are made.
func TestMergeRoom(t *testing.T) {
	s := pools(t, 64)
	f := frame{kind: packet.GSOTCP4, size: 1000, payload: 3000, tcp: tcp.Fields{Flags: tcp.ACK}}
	t.Run("no large buffers", func(t *testing.T) {
		var c gso.Coalescer
		got := c.Merge(stream(t, f, s.Pool), false, anyTCP)
		assert.Len(t, got, 3, "no room for 1,000 bytes behind 1,054")
		packet.FreeBatch(got)
	})
	t.Run("large buffers that are not", func(t *testing.T) {
		c := gso.Coalescer{Large: s.Pool}
		got := c.Merge(stream(t, f, s.Pool), false, anyTCP)
		assert.Len(t, got, 3)
		packet.FreeBatch(got)
	})
	t.Run("none left", func(t *testing.T) {
		c := gso.Coalescer{Large: s.Large}
		var taken [8]*packet.Buffer
		s.Large.GetBatch(taken[:])
		got := c.Merge(stream(t, f, s.Pool), false, anyTCP)
		assert.Len(t, got, 3)
		packet.FreeBatch(got)
		packet.FreeBatch(taken[:])
	})
	t.Run("the first has room", func(t *testing.T) {
		var c gso.Coalescer
		batch := stream(t, f, s.Large)
		first := batch[0]
		got := c.Merge(batch, false, anyTCP)
		require.Len(t, got, 1)
		assert.Same(t, first, got[0])
		packet.FreeBatch(got)
	})
	t.Run("the first has room for one", func(t *testing.T) {
		c := gso.Coalescer{Large: s.Large}
		small := f
		small.size, small.payload = 600, 2400
		got := c.Merge(stream(t, small, s.Pool), false, anyTCP)
		assert.Len(t, got, 1, "and is then moved")
		assert.Equal(t, small.cutSlowly(t), apart(t, s, got, false))
	})
	t.Run("longest", func(t *testing.T) {
		c := gso.Coalescer{Large: s.Large}
		var batch []*packet.Buffer
		pool, err := packet.NewPool(packet.PoolConfig{Buffers: 220})
		require.NoError(t, err)
		for i := range 220 { // its own total length would be too long to build
			one := f
			one.size, one.payload, one.id, one.tcp.Seq = 300, 300, uint16(i), uint32(i*300)
			batch = append(batch, stream(t, one, pool)...)
		}
		got := c.Merge(batch, false, anyTCP)
		require.Len(t, got, 2)
		assert.Equal(t, 54+217*300, got[0].Len(), "as much as fits with 320 bytes for tunnels")
		packet.FreeBatch(got)
	})
}

// TestMergeFixedID: with DF, the identification may stay the same; then it stays so for all.
func TestMergeFixedID(t *testing.T) {
	s := pools(t, 16)
	for _, c := range []struct {
		name string
		df   bool
		ids  []uint16
		left int
	}{
		{"rising", true, []uint16{5, 6, 7, 8}, 1},
		{"rising beyond the last", false, []uint16{0xfffe, 0xffff, 0, 1}, 1},
		{"the same", true, []uint16{0, 0, 0, 0}, 1},
		{"the same without DF", false, []uint16{0, 0, 0, 0}, 4},
		{"the same, then rising", true, []uint16{5, 5, 6, 7}, 2},
		{"rising, then the same", true, []uint16{5, 6, 6, 6}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := frame{kind: packet.GSOTCP4, size: 100, payload: 400, df: c.df, raw: true, tcp: tcp.Fields{Flags: tcp.ACK}}
			batch := stream(t, f, s.Pool)
			for i, b := range batch {
				h, _, err := ipv4.Parse(b.Bytes())
				require.NoError(t, err)
				h.SetID(c.ids[i])
			}
			coalescer := gso.Coalescer{Large: s.Large}
			got := coalescer.Merge(batch, true, anyTCP)
			assert.Len(t, got, c.left)
			packet.FreeBatch(got)
		})
	}
}

// datagrams are superframes of UDP whose datagrams are put together to the same ones.
func datagrams() (all []frame) {
	for _, f := range frames() {
		if len(f.tunnels) == 0 && len(f.options) == 0 && f.kind == packet.GSOUDP4 {
			all = append(all, f)
		}
	}
	return all
}

// TestMergeUDP: as TestMerge. What has no checksum gets one when it is cut.
func TestMergeUDP(t *testing.T) {
	s := pools(t, 64)
	c := gso.Coalescer{Large: s.Large}
	for _, f := range datagrams() {
		segments := f.cutSlowly(t)
		got := c.Merge(fill(t, s.Pool, segments), f.raw, packet.OffloadUDP4)
		require.Len(t, got, 1, "%v", f)
		if len(segments) > 1 {
			kind, size := got[0].GSO()
			require.Equal(t, []any{packet.GSOUDP4, uint16(f.size)}, []any{kind, size}, "%v", f)
			f.noSum, f.complete = false, false
			whole, l4 := f.build(t)
			start, field, ok := got[0].PartialChecksum()
			require.Equal(t, []any{l4, 6, true}, []any{start, field, ok})
			require.Equal(t, whole, got[0].Bytes(), "%v", f)
		}
		f.complete = true
		require.Equal(t, f.cutSlowly(t), apart(t, s, got, f.raw))
	}
}

// TestMergeTunnels: datagrams of a tunnel are datagrams. A partial checksum in them is completed.
func TestMergeTunnels(t *testing.T) {
	s := pools(t, 64)
	c := gso.Coalescer{Large: s.Large}
	for _, tunnel := range []string{"vxlan", "vxlan-sum"} {
		f := frame{kind: packet.GSOTCP4, size: 1000, payload: 9500, tunnels: []string{tunnel}, tcp: tcp.Fields{Flags: tcp.ACK}}
		batch, err := s.Cut(f.buffer(t), gso.Options{Partial: true}, nil)
		require.NoError(t, err)
		got := c.Merge(batch, false, packet.OffloadUDP4|anyTCP)
		require.Len(t, got, 1)
		f.tunnels[0] = "vxlan-sum"
		require.Equal(t, f.cutSlowly(t), apart(t, s, got, false))
	}
}

// TestMergeUDPRules: what is different about the second of three datagrams keeps it from being merged with the first.
func TestMergeUDPRules(t *testing.T) {
	const ip, l4 = 14, 34
	for _, c := range []struct {
		name  string
		spoil func(*packet.Buffer)
		left  int
	}{
		{"nothing", func(*packet.Buffer) {}, 1},
		{"checksum wrong", func(b *packet.Buffer) { b.Bytes()[l4+6] ^= 1 }, 3},
		{"checksum absent", func(b *packet.Buffer) { clear(b.Bytes()[l4+6 : l4+8]) }, 3},
		{"checksum verified", func(b *packet.Buffer) { b.SetChecksumVerified() }, 1},
		{"checksum partial", func(b *packet.Buffer) { _ = b.SetChecksumPartial(l4, 6) }, 1},
		{"another checksum partial", func(b *packet.Buffer) { _ = b.SetChecksumPartial(l4-4, 6) }, 3},
		{"length", func(b *packet.Buffer) { b.Bytes()[l4+5]--; b.SetChecksumVerified() }, 3},
		{"port", func(b *packet.Buffer) { b.Bytes()[l4+1]++; b.SetChecksumVerified() }, 3}, // the third's identification is not the next
		{"padding", func(b *packet.Buffer) { _, _ = b.Extend(2) }, 3},
		{"superframe", func(b *packet.Buffer) { b.SetGSO(packet.GSOUDP4, 100) }, 3},
		{"ends in the UDP header", func(b *packet.Buffer) { _ = b.Truncate(l4 + 7) }, 3},
		{"wrong IPv4 checksum", func(b *packet.Buffer) { b.Bytes()[ip+8]++ }, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := pools(t, 8)
			batch := stream(t, frame{kind: packet.GSOUDP4, size: 600, payload: 1800}, s.Pool)
			c.spoil(batch[1])
			coalescer := gso.Coalescer{Large: s.Large}
			got := coalescer.Merge(batch, false, packet.OffloadUDP4)
			assert.Len(t, got, c.left)
			packet.FreeBatch(got)
		})
	}
	t.Run("more than a superframe has", func(t *testing.T) {
		s := pools(t, 128)
		batch := stream(t, frame{kind: packet.GSOUDP4, size: 100, payload: 6500}, s.Pool)
		coalescer := gso.Coalescer{Large: s.Large}
		got := coalescer.Merge(batch, false, packet.OffloadUDP4)
		assert.Len(t, got, 2, "64 datagrams, and one")
		packet.FreeBatch(got)
	})
}

// TestMergeKinds: only what the device takes is put together.
func TestMergeKinds(t *testing.T) {
	s := pools(t, 64)
	for _, f := range []frame{
		{kind: packet.GSOTCP4, size: 1000, payload: 3000, tcp: tcp.Fields{Flags: tcp.ACK}},
		{kind: packet.GSOTCP6, size: 1000, payload: 3000, tcp: tcp.Fields{Flags: tcp.ACK}},
		{kind: packet.GSOUDP4, size: 1000, payload: 3000},
	} {
		for _, takes := range []packet.Offloads{0, packet.OffloadTCP4, packet.OffloadTCP6, packet.OffloadUDP4} {
			c := gso.Coalescer{Large: s.Large}
			got := c.Merge(stream(t, f, s.Pool), false, takes)
			want := 3
			if takes == map[packet.GSOType]packet.Offloads{
				packet.GSOTCP4: packet.OffloadTCP4, packet.GSOTCP6: packet.OffloadTCP6, packet.GSOUDP4: packet.OffloadUDP4,
			}[f.kind] {
				want = 1
			}
			assert.Len(t, got, want, "%v for %v", f, takes)
			packet.FreeBatch(got)
		}
	}
}

// TestMergeAllocates nothing.
func TestMergeAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("instrumentation for -race allocates")
	}
	s := pools(t, 64)
	packets := frame{kind: packet.GSOTCP4, size: 1400, payload: 56000, tcp: tcp.Fields{Flags: tcp.ACK}}.cutSlowly(t)
	c := gso.Coalescer{Large: s.Large}
	batch := make([]*packet.Buffer, len(packets))
	for _, large := range []*packet.Pool{s.Large, nil} {
		c.Large = large
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			s.Pool.GetBatch(batch)
			for i, p := range packets {
				_ = batch[i].SetBytes(p)
			}
			packet.FreeBatch(c.Merge(batch, false, anyTCP))
		}))
	}
}

// mix returns segments of several flows, some spoiled, in some order.
func mix(t testing.TB, r *rand.Rand) (packets [][]byte) {
	t.Helper()
	var flows [][][]byte
	for i := range 1 + r.IntN(4) {
		f := frame{
			kind: packet.GSOTCP4, port: uint16(1 + r.IntN(3)), size: 1 + r.IntN(700), payload: 1 + r.IntN(2000), id: uint16(r.Uint32()), df: r.IntN(2) == 0,
			tcp: tcp.Fields{Flags: tcp.ACK | tcp.Flags(r.Uint32N(256))&(tcp.PSH|tcp.FIN|tcp.ECE), Seq: r.Uint32(), Ack: uint32(i)},
		}
		f.size = max(f.size, f.payload/12)
		switch r.IntN(6) {
		case 0:
			f.kind = packet.GSOTCP6
		case 1, 2:
			f.kind = packet.GSOUDP4
		}
		segments := f.cutSlowly(t)
		for _, p := range segments {
			if r.IntN(12) == 0 {
				p[r.IntN(len(p))] ^= 1 << r.IntN(8)
			}
		}
		flows = append(flows, segments)
	}
	for len(flows) > 0 {
		i := r.IntN(len(flows))
		packets = append(packets, flows[i][0])
		if flows[i] = flows[i][1:]; len(flows[i]) == 0 {
			flows = slices.Delete(flows, i, i+1)
		}
	}
	return packets
}

// unchanged holds packets before against those after being merged and cut: the same ones, in the same order within a flow.
func unchanged(t testing.TB, before, after [][]byte) {
	t.Helper()
	require.Len(t, after, len(before))
	byFlow := func(all [][]byte) map[string][][]byte {
		m := map[string][][]byte{}
		for _, p := range all {
			key := "too short"
			switch { // EtherType, and what has protocol, addresses and ports
			case len(p) >= 58 && p[12] == 0x86:
				key = string(p[12:14]) + string(p[14]&0xf0) + string(p[20:58])
			case len(p) >= 38 && p[12] != 0x86:
				key = string(p[12:14]) + string(p[23:24]) + string(p[26:38])
			}
			m[key] = append(m[key], p)
		}
		return m
	}
	require.True(t, reflect.DeepEqual(byFlow(before), byFlow(after)), "packets are not what they were, or not in their order")
}

// FuzzMerge: whatever segments come in whatever order, cutting what was put together brings them back, in their order, as long as
// they are of one flow; identifications that stay the same aside.
func FuzzMerge(f *testing.F) {
	for i := range uint64(8) {
		f.Add(i, []byte{}, uint16(0))
	}
	f.Add(uint64(3), []byte{1, 2, 3}, uint16(60))
	f.Fuzz(func(t *testing.T, seed uint64, patch []byte, at uint16) {
		s := pools(t, 128)
		s.Large, _ = packet.NewPool(packet.PoolConfig{Buffers: 8, Size: 70000})
		packets := mix(t, rand.New(rand.NewPCG(seed, 5)))
		for i, v := range patch[:min(len(patch), 40)] {
			p := packets[(int(at)+i/4)%len(packets)]
			p[(int(at)+i)%len(p)] = v
		}
		before := make([][]byte, 0, len(packets))
		for _, p := range packets {
			before = append(before, bytes.Clone(p))
		}
		c := gso.Coalescer{Large: s.Large}
		after := apart(t, s, c.Merge(fill(t, s.Pool, packets), false, anyTCP|packet.OffloadUDP4), false)
		for _, all := range [][][]byte{before, after} {
			for _, p := range all {
				if len(p) >= 42 && p[12] == 8 && p[23] == udp.Protocol {
					clear(p[40:42]) // checksum, which may have been absent
				}
				if len(p) >= 34 && p[12] == 8 && p[20]&0x40 != 0 {
					clear(p[18:20]) // identification, with DF
					clear(p[24:26])
				}
			}
		}
		unchanged(t, before, after)
		assert.Zero(t, s.Large.InUse())
	})
}

// BenchmarkMerge is 64 KiB of TCP.
func BenchmarkMerge(b *testing.B) {
	for _, name := range []string{"verify", "verified"} {
		b.Run(name, func(b *testing.B) {
			s := pools(b, 64)
			packets := frame{kind: packet.GSOTCP4, size: 1400, payload: 64000, tcp: tcp.Fields{Flags: tcp.ACK}}.cutSlowly(b)
			c := gso.Coalescer{Large: s.Large}
			batch := make([]*packet.Buffer, len(packets))
			b.SetBytes(64000)
			for b.Loop() {
				s.Pool.GetBatch(batch)
				for i, p := range packets {
					_ = batch[i].SetBytes(p)
					if name == "verified" {
						batch[i].SetChecksumVerified()
					}
				}
				got := c.Merge(batch, false, anyTCP)
				if len(got) != 1 {
					b.Fatal(len(got))
				}
				packet.FreeBatch(got)
			}
		})
	}
}
