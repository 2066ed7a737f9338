// IPv4 headers: lengths that hold and that lie, fragments, checksums, and setters that must leave what building from
// scratch gives.
package ipv4_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
)

// The two headers of a ping that Flannel carried between nodes, captured on a node's interface.
const (
	flannelOuter = "\x45\x00\x00\x86\x75\x86\x00\x00\x40\x11\xe3\xf4\xac\x10\x64\x65\xac\x10\x64\x66"
	flannelInner = "\x45\x00\x00\x54\x23\x05\x40\x00\x3f\x01\xff\xa2\x0a\xf4\x01\x0c\x0a\xf4\x02\x0e"
)

// packet returns a packet of which everything but the given fields is plain: a header of ihl bytes, total length as
// given, and size bytes in all. Its checksum is not computed.
func packet(ihl, total, size int) []byte {
	p := make([]byte, max(size, 20))
	copy(p, flannelInner)
	p[0] = 0x40 | byte(ihl/4)
	binary.BigEndian.PutUint16(p[2:], uint16(total))
	return p[:size]
}

// parsed returns the view of p, whose lengths must be right.
func parsed(t testing.TB, p []byte) ipv4.Header {
	t.Helper()
	h, _, err := ipv4.Parse(p)
	require.NoError(t, err)
	return h
}

func TestParseCapturedHeaders(t *testing.T) {
	for _, c := range []struct {
		name, bytes string
		want        ipv4.Fields
		totalLen    uint16
		checksum    uint16
	}{
		{
			"outer", flannelOuter,
			ipv4.Fields{
				ID: 0x7586, TTL: 64, Protocol: ipv4.ProtocolUDP,
				Src: [4]byte{172, 16, 100, 101}, Dst: [4]byte{172, 16, 100, 102}, Options: []byte{},
			},
			134, 0xe3f4,
		},
		{
			"inner", flannelInner,
			ipv4.Fields{
				ID: 0x2305, Flags: ipv4.DontFragment, TTL: 63, Protocol: ipv4.ProtocolICMP,
				Src: [4]byte{10, 244, 1, 12}, Dst: [4]byte{10, 244, 2, 14}, Options: []byte{},
			},
			84, 0xffa2,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload := make([]byte, c.totalLen-20)
			h, got, err := ipv4.Parse(append([]byte(c.bytes), payload...))
			require.NoError(t, err)
			assert.Equal(t, payload, got)
			assert.Equal(t, c.totalLen, h.TotalLen())
			assert.Equal(t, c.checksum, h.Checksum())
			assert.True(t, h.ChecksumOK())

			f := ipv4.FieldsOf(h)
			f.Options = append([]byte{}, f.Options...) // the type differs
			assert.Equal(t, c.want, f)
			built, err := c.want.Append(nil, len(payload))
			require.NoError(t, err)
			assert.Equal(t, c.bytes, string(built))
		})
	}
}

// TestProtocols holds the names, here and in the packages behind them, against IANA's list of protocol numbers.
func TestProtocols(t *testing.T) {
	assert.Equal(t, []uint8{1, 4, 6, 17, 41}, []uint8{
		ipv4.ProtocolICMP, ipv4.ProtocolIPIP, ipv4.ProtocolTCP, ipv4.ProtocolUDP, ipv4.ProtocolIPv6,
	})
	assert.Equal(t, []uint8{1, 6, 17}, []uint8{icmp.Protocol, tcp.Protocol, udp.Protocol})
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		packet []byte
		err    error
	}{
		{"nothing", nil, ipv4.ErrShort},
		{"one byte", []byte{0x45}, ipv4.ErrShort},
		{"one byte short", packet(20, 20, 19), ipv4.ErrShort},
		{"short, and of another version", []byte{0x60}, ipv4.ErrShort},
		{"version 0", append([]byte{0x05}, make([]byte, 39)...), ipv4.ErrVersion},
		{"version 5", append([]byte{0x55}, make([]byte, 39)...), ipv4.ErrVersion},
		{"version 6", append([]byte{0x60}, make([]byte, 39)...), ipv4.ErrVersion},
		{"version 6 with 5 where IHL would be", append([]byte{0x65}, make([]byte, 39)...), ipv4.ErrVersion},
		{"version 12, bit 4 of it set", append([]byte{0xc5}, make([]byte, 39)...), ipv4.ErrVersion},
		{"all zeros", make([]byte, 40), ipv4.ErrVersion},
		{"IHL 0", packet(0, 40, 40), ipv4.ErrHeaderLen},
		{"IHL 1", packet(4, 40, 40), ipv4.ErrHeaderLen},
		{"IHL 4", packet(16, 40, 40), ipv4.ErrHeaderLen},
		{"IHL 4 and no length", packet(16, 0, 40), ipv4.ErrHeaderLen},
		{"options beyond the end", packet(24, 24, 20), ipv4.ErrShort},
		{"options beyond the end by one byte", packet(24, 24, 23), ipv4.ErrShort},
		{"options beyond the end and no length", packet(24, 0, 23), ipv4.ErrShort},
		{"most options beyond the end by one byte", packet(60, 60, 59), ipv4.ErrShort},
		{"total length 1", packet(20, 1, 40), ipv4.ErrTotalLen},
		{"total length within the header", packet(20, 19, 40), ipv4.ErrTotalLen},
		{"total length within the options", packet(24, 20, 40), ipv4.ErrTotalLen},
		{"total length one less than the header", packet(60, 59, 60), ipv4.ErrTotalLen},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, payload, err := ipv4.Parse(c.packet)
			require.ErrorIs(t, err, c.err)
			assert.False(t, h.IsValid())
			assert.Nil(t, payload)
		})
	}
}

// TestParseLengths tries every header length with total lengths around each limit, over packets with and without
// payload: what is returned with a length that lies is as important as what is not.
func TestParseLengths(t *testing.T) {
	for n := 20; n <= 60; n += 4 {
		for _, behind := range []int{0, 1, 8, 1440} {
			p := packet(n, 0, n+behind)
			for _, total := range []int{0, 1, n - 1, n, n + 1, n + behind - 1, n + behind, n + behind + 1, 65535} {
				binary.BigEndian.PutUint16(p[2:], uint16(total))
				h, payload, err := ipv4.Parse(p)
				at := fmt.Sprintf("total length %d, header %d, %d bytes behind it", total, n, behind)
				if total > 0 && total < n {
					require.ErrorIs(t, err, ipv4.ErrTotalLen, at)
					continue
				}
				want := behind
				switch {
				case total == 0:
					require.ErrorIs(t, err, ipv4.ErrNoLength, at)
				case total > n+behind:
					require.ErrorIs(t, err, ipv4.ErrTruncated, at)
				default:
					require.NoError(t, err, at)
					want = total - n
					require.Equal(t, want, cap(payload), "an append to the payload must not write into the padding: %s", at)
				}
				require.True(t, h.IsValid(), at)
				require.Equal(t, n, h.Len(), at)
				require.Equal(t, n-20, len(h.Options()), at)
				require.Equal(t, p[:n], h.Bytes(), at)
				require.Equal(t, n, cap(h.Bytes()), "an append to the header must not write into the payload: %s", at)
				require.Equal(t, uint16(total), h.TotalLen(), at)
				require.Equal(t, p[n:n+want], payload, at)
			}
		}
	}
}

// TestFragmentField reads the flags and the offset of everything that they can say.
func TestFragmentField(t *testing.T) {
	for _, c := range []struct {
		name     string
		word     uint16
		flags    ipv4.Flags
		offset   uint16
		df, mf   bool
		fragment bool
	}{
		{"whole", 0x0000, 0, 0, false, false, false},
		{"whole, DF", 0x4000, ipv4.DontFragment, 0, true, false, false},
		{"whole, reserved bit", 0x8000, ipv4.ReservedFlag, 0, false, false, false},
		{"whole, reserved bit and DF", 0xc000, ipv4.ReservedFlag | ipv4.DontFragment, 0, true, false, false},
		{"first", 0x2000, ipv4.MoreFragments, 0, false, true, true},
		{"first, DF", 0x6000, ipv4.MoreFragments | ipv4.DontFragment, 0, true, true, true},
		{"middle", 0x2001, ipv4.MoreFragments, 8, false, true, true},
		{"middle, of an Ethernet's size", 0x20b9, ipv4.MoreFragments, 1480, false, true, true},
		{"last", 0x0001, 0, 8, false, false, true},
		{"last, DF", 0x4003, ipv4.DontFragment, 24, true, false, true},
		{"last, at the highest offset", 0x1fff, 0, 65528, false, false, true},
		{"last, at the offset's highest bit", 0x1000, 0, 32768, false, false, true},
		{"all bits", 0xffff, 7, 65528, true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := packet(20, 28, 28)
			binary.BigEndian.PutUint16(p[6:], c.word)
			h := parsed(t, p)
			assert.Equal(t, c.flags, h.Flags())
			assert.Equal(t, c.offset, h.FragmentOffset())
			assert.Equal(t, c.df, h.DF())
			assert.Equal(t, c.mf, h.MF())
			assert.Equal(t, c.fragment, h.IsFragment())

			h = parsed(t, packet(20, 28, 28))
			h.FixChecksum()
			require.NoError(t, h.SetFragment(c.flags, c.offset))
			assert.Equal(t, p[6:8], h.Bytes()[6:8])
			assert.True(t, h.ChecksumOK())
		})
	}
}

func TestTOS(t *testing.T) {
	for tos := range 256 {
		p := packet(20, 20, 20)
		p[1] = byte(tos)
		h := parsed(t, p)
		require.Equal(t, uint8(tos), h.TOS())
		require.Equal(t, uint8(tos/4), h.DSCP())
		require.Equal(t, ipv4.ECN(tos%4), h.ECN())
	}
	names := []ipv4.ECN{0: ipv4.NotECT, 1: ipv4.ECT1, 2: ipv4.ECT0, 3: ipv4.CE}
	for i, e := range names {
		assert.Equal(t, ipv4.ECN(i), e, "RFC 3168 section 5")
	}
}

// TestChecksumEveryBit flips each bit of headers without, with some and with all options.
func TestChecksumEveryBit(t *testing.T) {
	for _, n := range []int{20, 24, 60} {
		h := parsed(t, packet(n, n, n))
		h.FixChecksum()
		require.True(t, h.ChecksumOK())
		good := slices.Clone(h.Bytes())
		for bit := range 8 * n {
			h.Bytes()[bit/8] ^= 1 << (bit % 8)
			assert.False(t, h.ChecksumOK(), "bit %d of %d bytes", bit, n)
			if at := bit / 8; at == 10 || at == 11 {
				h.FixChecksum()
				assert.Equal(t, good, h.Bytes())
			}
			copy(h.Bytes(), good)
		}
	}
}

// TestChecksumZero builds the header whose checksum is 0, which some write as 0xffff: both sum up to the same.
func TestChecksumZero(t *testing.T) {
	h := parsed(t, packet(20, 20, 20))
	h.SetID(0)
	h.FixChecksum()
	h.SetID(h.Checksum())
	require.Zero(t, h.Checksum())
	assert.True(t, h.ChecksumOK())
	zero := slices.Clone(h.Bytes())

	h.Bytes()[10], h.Bytes()[11] = 0xff, 0xff
	assert.True(t, h.ChecksumOK())
	h.FixChecksum()
	assert.Equal(t, zero, h.Bytes())

	h.SetTTL(h.TTL() - 1)
	require.Equal(t, uint16(0x0100), h.Checksum())
	h.Bytes()[10] = 0
	assert.False(t, h.ChecksumOK(), "0 does not mean 'none' here")
}

func TestReuse(t *testing.T) {
	mem := make([]byte, 128)
	load := func(p []byte) (ipv4.Header, []byte, error) {
		clear(mem)
		return ipv4.Parse(mem[:copy(mem, p)])
	}
	long := packet(60, 100, 100)
	copy(long[20:], "\x94\x04\x00\x00")
	h, payload, err := load(long)
	require.NoError(t, err)
	assert.Len(t, h.Options(), 40)
	assert.Len(t, payload, 40)
	h, payload, err = load(packet(20, 21, 60))
	require.NoError(t, err)
	assert.Empty(t, h.Options())
	assert.Empty(t, ipv4.FieldsOf(h).Options)
	assert.Len(t, payload, 1)
	h, payload, err = load(long[:59])
	require.ErrorIs(t, err, ipv4.ErrShort)
	assert.Zero(t, h)
	assert.Nil(t, payload)
}

func TestZeroHeader(t *testing.T) {
	var h ipv4.Header
	assert.False(t, h.IsValid())
	assert.Zero(t, h.Len())
	assert.Empty(t, h.Bytes())
}

// source makes random fields, the values where carries and complements go wrong more often than others.
type source struct{ *rand.Rand }

func (s source) word() uint16 {
	edges := []uint16{0, 1, 0x00ff, 0x0100, 0xff00, 0x7fff, 0x8000, 0xfffe, 0xffff}
	if i := s.IntN(2 * len(edges)); i < len(edges) {
		return edges[i]
	}
	return uint16(s.Uint32())
}

func (s source) octet() uint8 { return uint8(s.word()) }

func (s source) addr() (a [4]byte) {
	binary.BigEndian.PutUint16(a[0:], s.word())
	binary.BigEndian.PutUint16(a[2:], s.word())
	return a
}

func (s source) fields() ipv4.Fields {
	f := ipv4.Fields{
		TOS: s.octet(), ID: s.word(), Flags: ipv4.Flags(s.IntN(8)), FragmentOffset: s.word() &^ 7,
		TTL: s.octet(), Protocol: s.octet(), Src: s.addr(), Dst: s.addr(), Options: make([]byte, 4*s.IntN(11)),
	}
	for i := range f.Options {
		f.Options[i] = s.octet()
	}
	return f
}

// setters are all of them: pick changes one of the values that a header is built from, set brings the header there.
var setters = []struct {
	name string
	pick func(s source, f *ipv4.Fields, payload *int)
	set  func(h ipv4.Header, f ipv4.Fields, payload int) error
}{
	{
		"SetTOS",
		func(s source, f *ipv4.Fields, _ *int) { f.TOS = s.octet() },
		func(h ipv4.Header, f ipv4.Fields, _ int) error { h.SetTOS(f.TOS); return nil },
	},
	{
		"SetECN", // of which two bits count
		func(s source, f *ipv4.Fields, _ *int) { f.TOS = f.TOS&^3 | s.octet()&3 },
		func(h ipv4.Header, f ipv4.Fields, _ int) error { h.SetECN(ipv4.ECN(f.TOS)); return nil },
	},
	{
		"SetID",
		func(s source, f *ipv4.Fields, _ *int) { f.ID = s.word() },
		func(h ipv4.Header, f ipv4.Fields, _ int) error { h.SetID(f.ID); return nil },
	},
	{
		"SetTTL",
		func(s source, f *ipv4.Fields, _ *int) { f.TTL = s.octet() },
		func(h ipv4.Header, f ipv4.Fields, _ int) error { h.SetTTL(f.TTL); return nil },
	},
	{
		"SetFragment", // of whose flags three bits count
		func(s source, f *ipv4.Fields, _ *int) { f.Flags, f.FragmentOffset = ipv4.Flags(s.octet()), s.word()&^7 },
		func(h ipv4.Header, f ipv4.Fields, _ int) error { return h.SetFragment(f.Flags, f.FragmentOffset) },
	},
	{
		"SetTotalLen",
		func(s source, f *ipv4.Fields, payload *int) { *payload = s.IntN(ipv4.MaxLen - f.Len() + 1) },
		func(h ipv4.Header, f ipv4.Fields, payload int) error { return h.SetTotalLen(uint16(f.Len() + payload)) },
	},
	{
		"SetSrc",
		func(s source, f *ipv4.Fields, _ *int) { f.Src = s.addr() },
		func(h ipv4.Header, f ipv4.Fields, _ int) error { h.SetSrc(f.Src); return nil },
	},
	{
		"SetDst",
		func(s source, f *ipv4.Fields, _ *int) { f.Dst = s.addr() },
		func(h ipv4.Header, f ipv4.Fields, _ int) error { h.SetDst(f.Dst); return nil },
	},
}

// TestSetters sets one field after the other and expects the header that is built from scratch with that value. A header
// whose checksum is wrong must stay wrong, and one with 0xffff for 0, which is right too, must stay right.
func TestSetters(t *testing.T) {
	const seed = 1
	t.Logf("seed %d", seed)
	for _, c := range setters {
		t.Run(c.name, func(t *testing.T) {
			s := source{rand.New(rand.NewPCG(seed, 0))}
			for round := range 2000 {
				f, payload := s.fields(), s.IntN(1000)
				var mem, want [ipv4.MaxHeaderLen]byte
				h, err := f.Put(mem[:], payload)
				require.NoError(t, err)
				right := h.Checksum()
				other := mem
				binary.BigEndian.PutUint16(other[10:], right+1+uint16(s.IntN(0xfffd)))
				if twin := s.IntN(2) == 0; twin && right == 0 {
					binary.BigEndian.PutUint16(other[10:], 0xffff)
				}

				c.pick(s, &f, &payload)
				require.NoError(t, c.set(h, f, payload))
				_, err = f.Put(want[:], payload)
				require.NoError(t, err)
				require.Equal(t, want[:], mem[:], "round %d", round)

				h, _, _ = ipv4.Parse(other[:]) // most of the payload is not there
				ok := h.ChecksumOK()
				require.NoError(t, c.set(h, f, payload))
				require.Equal(t, ok, h.ChecksumOK(), "round %d", round)
				h.FixChecksum()
				require.Equal(t, want[:], other[:], "round %d", round)
			}
		})
	}
}

// TestSettersRefuse: what a header cannot say is refused and changes nothing.
func TestSettersRefuse(t *testing.T) {
	for _, n := range []int{20, 24, 60} {
		p := packet(n, n+1, n+1)
		h := parsed(t, p)
		before := slices.Clone(p)
		for _, offset := range []uint16{1, 2, 4, 7, 9, 1481, 65529, 65535} {
			require.ErrorIs(t, h.SetFragment(ipv4.MoreFragments, offset), ipv4.ErrFragment, "offset %d", offset)
		}
		for _, total := range []int{0, 1, 19, n - 1} {
			require.ErrorIs(t, h.SetTotalLen(uint16(total)), ipv4.ErrTotalLen, "total length %d", total)
		}
		require.Equal(t, before, p)
		require.NoError(t, h.SetTotalLen(uint16(n)))
		require.Equal(t, uint16(n), h.TotalLen())
		require.NoError(t, h.SetTotalLen(65535))
		require.Equal(t, uint16(65535), h.TotalLen())
	}
}

func TestPut(t *testing.T) {
	for _, c := range []struct {
		name          string
		fields        ipv4.Fields
		payload, room int
		err           error
	}{
		{"nothing wrong", ipv4.Fields{}, 0, 20, nil},
		{"nothing wrong, room to spare", ipv4.Fields{}, 65515, 100, nil},
		{"most of everything", ipv4.Fields{Options: make([]byte, 40), FragmentOffset: 65528}, 65475, 60, nil},
		{"options of 1 byte", ipv4.Fields{Options: make([]byte, 1)}, 0, 100, ipv4.ErrOptions},
		{"options of 3 bytes", ipv4.Fields{Options: make([]byte, 3)}, 0, 100, ipv4.ErrOptions},
		{"options of 39 bytes", ipv4.Fields{Options: make([]byte, 39)}, 0, 100, ipv4.ErrOptions},
		{"options of 41 bytes", ipv4.Fields{Options: make([]byte, 41)}, 0, 100, ipv4.ErrOptions},
		{"options of 44 bytes", ipv4.Fields{Options: make([]byte, 44)}, 0, 100, ipv4.ErrOptions},
		{"options of 64 bytes, whose IHL would wrap", ipv4.Fields{Options: make([]byte, 64)}, 0, 100, ipv4.ErrOptions},
		{"fragment offset 4", ipv4.Fields{FragmentOffset: 4}, 0, 100, ipv4.ErrFragment},
		{"fragment offset 65535", ipv4.Fields{FragmentOffset: 65535}, 0, 100, ipv4.ErrFragment},
		{"payload one byte too long", ipv4.Fields{}, 65516, 100, ipv4.ErrTooLong},
		{"payload one byte too long behind options", ipv4.Fields{Options: make([]byte, 4)}, 65512, 100, ipv4.ErrTooLong},
		{"payload of 65536, whose length would wrap", ipv4.Fields{}, 65536, 100, ipv4.ErrTooLong},
		{"payload as long as can be", ipv4.Fields{}, math.MaxInt, 100, ipv4.ErrTooLong},
		{"negative payload", ipv4.Fields{}, -1, 100, ipv4.ErrTooLong},
		{"payload as negative as can be", ipv4.Fields{}, math.MinInt, 100, ipv4.ErrTooLong},
		{"no room", ipv4.Fields{}, 0, 0, ipv4.ErrSpace},
		{"one byte of room too few", ipv4.Fields{}, 0, 19, ipv4.ErrSpace},
		{"room without options", ipv4.Fields{Options: make([]byte, 4)}, 0, 20, ipv4.ErrSpace},
		{"one byte of room too few for options", ipv4.Fields{Options: make([]byte, 40)}, 0, 59, ipv4.ErrSpace},
	} {
		t.Run(c.name, func(t *testing.T) {
			stale := slices.Repeat([]byte{0xee}, c.room)
			b := slices.Clone(stale)
			h, err := c.fields.Put(b, c.payload)
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.err == nil, h.IsValid())
			assert.Equal(t, stale[h.Len():], b[h.Len():], "wrote more than the header")
			assert.Equal(t, h.Len(), cap(h.Bytes()), "an append to the header must not write behind it")
		})
	}
}

// TestPutOverStaleBytes: a header built over another must not depend on what stood there, its checksum least of all.
func TestPutOverStaleBytes(t *testing.T) {
	f := ipv4.Fields{TTL: 64, Protocol: ipv4.ProtocolTCP, Options: []byte{1, 1, 1, 0}}
	clean, err := f.Append(nil, 5)
	require.NoError(t, err)
	b := slices.Repeat([]byte{0xee}, 24)
	h, err := f.Put(b, 5)
	require.NoError(t, err)
	assert.Equal(t, clean, b)
	assert.Equal(t, clean, h.Bytes())
}

func TestAppend(t *testing.T) {
	f := ipv4.Fields{TTL: 1, Options: []byte{1, 1, 1, 0}}
	alone, err := f.Append(nil, 0)
	require.NoError(t, err)
	for _, room := range []int{0, 6, 29, 30, 100} {
		b := append(make([]byte, 0, room), "before"...)
		got, err := f.Append(b, 0)
		require.NoError(t, err)
		assert.Equal(t, "before"+string(alone), string(got))
		if room >= len(got) {
			assert.Same(t, &b[0], &got[0], "there was room, and yet the bytes moved")
		}
	}
	for name, wrong := range map[string]struct {
		fields  ipv4.Fields
		payload int
		err     error
	}{
		"options":  {ipv4.Fields{Options: []byte{1}}, 0, ipv4.ErrOptions},
		"fragment": {ipv4.Fields{FragmentOffset: 1}, 0, ipv4.ErrFragment},
		"length":   {ipv4.Fields{}, 65516, ipv4.ErrTooLong},
	} {
		got, err := wrong.fields.Append([]byte("before"), wrong.payload)
		require.ErrorIs(t, err, wrong.err, name)
		assert.Equal(t, "before", string(got), name)
	}
}

func TestNoAllocs(t *testing.T) {
	good, lying := packet(24, 30, 40), packet(20, 41, 40)
	long, none := packet(20, 10, 40), packet(20, 0, 40)
	other := packet(20, 40, 40)
	other[0] = 0x60
	copy(good[20:], "\x94\x04\x00\x00")
	b := make([]byte, 0, 64)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		h, _, _ := ipv4.Parse(good)
		h.FixChecksum()
		h.SetTTL(h.TTL() - 1)
		h.SetTOS(h.TOS())
		h.SetECN(ipv4.CE)
		h.SetID(h.ID() + 1)
		h.SetSrc(h.Dst())
		h.SetDst(h.Src())
		_ = h.SetFragment(h.Flags(), h.FragmentOffset())
		_ = h.SetFragment(0, 1)
		_ = h.SetTotalLen(h.TotalLen())
		_ = h.SetTotalLen(0)
		_ = h.ChecksumOK() && h.IsFragment() && h.DF() && h.MF()
		_ = h.Options().Check()
		_ = h.Options()[:3].Check()
		f := ipv4.FieldsOf(h)
		_, _ = f.Append(b, 16)
		_, _ = f.Append(b, -1)
		_, _ = f.Put(b[:24], 16)
		_, _ = f.Put(b, 16)
		for _, p := range [][]byte{lying, long, none, other, good[:19]} {
			_, _, _ = ipv4.Parse(p)
		}
	}))
}

// Fields whose options lie in the memory that is written, as those of FieldsOf do, are not lost.
func TestBuildOverItself(t *testing.T) {
	const options = "\x94\x04\x00\x07"
	for shift := range 25 {
		mem := make([]byte, 100)
		h, err := ipv4.Fields{TTL: 64, Options: []byte(options)}.Put(mem, 5)
		require.NoError(t, err)
		want := bytes.Clone(h.Bytes())
		again, err := ipv4.FieldsOf(h).Put(mem[shift:], 5)
		require.NoError(t, err)
		require.Equal(t, want, again.Bytes(), "shift %d", shift)
	}
	mem := make([]byte, 100)
	h, err := ipv4.Fields{TTL: 64, Options: []byte(options)}.Put(mem, 5)
	require.NoError(t, err)
	want := bytes.Clone(h.Bytes())
	b, err := ipv4.FieldsOf(h).Append(mem[:0], 5)
	require.NoError(t, err)
	require.Equal(t, want, b)
}
