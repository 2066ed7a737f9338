// UDP headers: lengths that hold and that lie, and checksums that are absent, whole, partial or wrong.
package udp_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/udp"
)

// flannelHeader is the outer header of a ping that Flannel carried between nodes, captured on a node's interface: port
// 8472, 114 bytes, no checksum.
const flannelHeader = "\x9e\x90\x21\x18\x00\x72\x00\x00"

var (
	src = [4]byte{192, 0, 2, 1}
	dst = [4]byte{192, 0, 2, 2}
)

// slowSum is RFC 1071 section 4.1 over all parts, word by word: the oracle.
func slowSum(parts ...[]byte) uint16 {
	var sum uint32
	b := slices.Concat(parts...)
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
		sum = sum&0xffff + sum>>16
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// pseudoHeader is that of RFC 768 for a datagram of length bytes.
func pseudoHeader(src, dst [4]byte, length int) []byte {
	p := append(src[:], dst[:]...)
	return binary.BigEndian.AppendUint16(append(p, 0, 17), uint16(length))
}

// datagram returns one with the given fields and random payload, without a checksum.
func datagram(rng *rand.Rand, f udp.Fields, payloadLen int) (h udp.Header, payload []byte) {
	b := make([]byte, udp.HeaderLen+payloadLen)
	payload = b[udp.HeaderLen:]
	for i := range payload {
		payload[i] = byte(rng.Uint32())
	}
	h, err := f.Put(b, payloadLen)
	if err != nil {
		panic(err)
	}
	return h, payload
}

func TestParseCapturedHeader(t *testing.T) {
	h, payload, err := udp.Parse(append([]byte(flannelHeader), make([]byte, 106)...))
	require.NoError(t, err)
	assert.Len(t, payload, 106)
	assert.Equal(t, uint16(40592), h.SrcPort())
	assert.Equal(t, uint16(8472), h.DstPort())
	assert.Equal(t, uint16(114), h.Length())
	assert.Zero(t, h.Checksum())
	assert.True(t, h.ChecksumOK(src, dst, payload))
	rebuilt, err := udp.FieldsOf(h).Append(nil, len(payload))
	require.NoError(t, err)
	assert.Equal(t, flannelHeader, string(rebuilt))
}

// TestParseLengths tries lengths around each limit over datagrams of every size around each limit: what is returned with
// a length that lies is as important as what is not.
func TestParseLengths(t *testing.T) {
	for _, size := range []int{0, 1, 7, 8, 9, 12, 1480, 65535, 70000} {
		for _, length := range []int{0, 1, 7, 8, 9, 11, 12, 13, 1479, 1480, 1481, 65534, 65535} {
			d := make([]byte, max(size, 8))
			for i := range d {
				d[i] = byte(i)
			}
			binary.BigEndian.PutUint16(d[4:], uint16(length))
			d = d[:size]
			h, payload, err := udp.Parse(d)
			at := fmt.Sprintf("length %d, %d bytes there", length, size)
			if size < 8 || length > 0 && length < 8 {
				want := udp.ErrLength
				if size < 8 {
					want = udp.ErrShort
				}
				require.ErrorIs(t, err, want, at)
				require.False(t, h.IsValid(), at)
				require.Nil(t, payload, at)
				continue
			}
			want := size - 8
			switch {
			case length == 0:
				require.ErrorIs(t, err, udp.ErrNoLength, at)
			case length > size:
				require.ErrorIs(t, err, udp.ErrTruncated, at)
			default:
				require.NoError(t, err, at)
				want = length - 8
				require.Equal(t, want, cap(payload), "an append to the payload must not write behind it: %s", at)
			}
			require.True(t, h.IsValid(), at)
			require.Equal(t, uint16(length), h.Length(), at)
			require.Equal(t, uint16(0x0001), h.SrcPort(), at)
			require.Equal(t, uint16(0x0203), h.DstPort(), at)
			require.Equal(t, uint16(0x0607), h.Checksum(), at)
			require.Equal(t, d[8:8+want], payload, at)
			require.Equal(t, d[:8], h.Bytes(), at)
			require.Equal(t, 8, cap(h.Bytes()), "an append to the header must not write into the payload: %s", at)
		}
	}
}

// TestChecksum holds a computed checksum against the slow sum, over payloads of every kind of tail, and flips each bit.
func TestChecksum(t *testing.T) {
	const seed = 1
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, size := range []int{0, 1, 2, 3, 7, 8, 9, 31, 63, 64, 65, 1471, 1472} {
		h, payload := datagram(rng, udp.Fields{SrcPort: 40000, DstPort: 7}, size)
		h.FixChecksum(src, dst, payload)
		pseudo := pseudoHeader(src, dst, 8+size)
		require.Equal(t, uint16(0xffff), slowSum(pseudo, h.Bytes(), payload), "%d bytes", size)
		require.True(t, h.ChecksumOK(src, dst, payload), "%d bytes", size)
		require.False(t, h.ChecksumOK(src, [4]byte{192, 0, 2, 3}, payload), "addressed to another, %d bytes", size)

		for bit := range 8 * min(size, 64) {
			payload[bit/8] ^= 1 << (bit % 8)
			require.False(t, h.ChecksumOK(src, dst, payload), "bit %d of %d bytes", bit, size)
			payload[bit/8] ^= 1 << (bit % 8)
		}
		for bit := range 8 * udp.HeaderLen {
			h.Bytes()[bit/8] ^= 1 << (bit % 8)
			// Without a bit of it there may be no checksum at all.
			require.Equal(t, h.Checksum() == 0, h.ChecksumOK(src, dst, payload), "bit %d of the header", bit)
			h.Bytes()[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// TestChecksumZero: a checksum that comes out as 0 is sent as 0xffff, and 0 means that there is none.
func TestChecksumZero(t *testing.T) {
	h, payload := datagram(rand.New(rand.NewPCG(1, 1)), udp.Fields{SrcPort: 40000, DstPort: 7}, 6)
	clear(payload[:2])
	h.FixChecksum(src, dst, payload)
	binary.BigEndian.PutUint16(payload, h.Checksum()) // now the sum without checksum is 0xffff
	h.FixChecksum(src, dst, payload)
	assert.Equal(t, uint16(0xffff), h.Checksum())
	assert.True(t, h.ChecksumOK(src, dst, payload))
	h.SetChecksum(0)
	assert.True(t, h.ChecksumOK(src, dst, payload))
	payload[0]++
	assert.True(t, h.ChecksumOK(src, dst, payload), "there is nothing that could be wrong")
	h.SetChecksum(0xffff)
	assert.False(t, h.ChecksumOK(src, dst, payload))

	assert.Equal(t, uint16(0xffff), udp.NotZero(0))
	for _, v := range []uint16{1, 0x8000, 0xfffe, 0xffff} {
		assert.Equal(t, v, udp.NotZero(v))
	}
}

// TestPartialChecksum: what an offload expects is the sum of the pseudo-header. Completed over the datagram as it stands
// it gives the whole checksum.
func TestPartialChecksum(t *testing.T) {
	const seed = 2
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for size := range 100 {
		h, payload := datagram(rng, udp.Fields{SrcPort: uint16(rng.Uint32()), DstPort: 53}, size)
		h.FixChecksum(src, dst, payload)
		whole := h.Checksum()
		h.SetPartialChecksum(src, dst)
		require.Equal(t, slowSum(pseudoHeader(src, dst, 8+size)), h.Checksum())
		require.Equal(t, whole, udp.NotZero(^slowSum(h.Bytes(), payload)), "%d bytes", size)
	}
}

// flow is what a checksum covers, but for length and payload.
type flow struct {
	src, dst [4]byte
	udp.Fields
}

// header builds the header of a datagram of f, whose checksum is right.
func (f flow) header(payload []byte) udp.Header {
	h, err := f.Put(make([]byte, udp.HeaderLen), len(payload))
	if err != nil {
		panic(err)
	}
	h.FixChecksum(f.src, f.dst, payload)
	return h
}

// setters are all that keep the checksum in step: pick changes one thing of a flow, set brings a header there.
var setters = []struct {
	name string
	pick func(f *flow, v uint16)
	set  func(h udp.Header, from, to flow)
}{
	{
		"SetSrcPort",
		func(f *flow, v uint16) { f.SrcPort = v },
		func(h udp.Header, _, to flow) { h.SetSrcPort(to.SrcPort) },
	},
	{
		"SetDstPort",
		func(f *flow, v uint16) { f.DstPort = v },
		func(h udp.Header, _, to flow) { h.SetDstPort(to.DstPort) },
	},
	{
		"UpdateAddr, source",
		func(f *flow, v uint16) { binary.BigEndian.PutUint16(f.src[:], v) },
		func(h udp.Header, from, to flow) { h.UpdateAddr(from.src, to.src) },
	},
	{
		"UpdateAddr, destination",
		func(f *flow, v uint16) { binary.BigEndian.PutUint16(f.dst[2:], v) },
		func(h udp.Header, from, to flow) { h.UpdateAddr(from.dst, to.dst) },
	},
}

// TestSetters changes one thing after the other and expects the checksum that is computed anew: a right one stays right,
// a wrong one wrong, an absent one absent. In half of the rounds the payload is such that the new one comes out as 0, and
// must be 0xffff.
func TestSetters(t *testing.T) {
	const seed = 3
	t.Logf("seed %d", seed)
	edges := []uint16{0, 1, 0x00ff, 0xff00, 0x7fff, 0x8000, 0xfffe, 0xffff}
	for _, c := range setters {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			for round := range 4000 {
				v := uint16(rng.Uint32())
				if round%4 < 2 {
					v = edges[rng.IntN(len(edges))]
				}
				from := flow{src, dst, udp.Fields{SrcPort: edges[rng.IntN(len(edges))], DstPort: uint16(rng.Uint32())}}
				to := from
				c.pick(&to, v)
				payload := []byte{0, 0, 'o', 'd', 'd'}
				if round%2 == 0 {
					binary.BigEndian.PutUint16(payload, to.header(payload).Checksum())
					require.Equal(t, uint16(0xffff), to.header(payload).Checksum())
				}

				h := from.header(payload)
				c.set(h, from, to)
				require.Equal(t, to.header(payload).Bytes(), h.Bytes(), "round %d", round)

				h = from.header(payload)
				h.SetChecksum(udp.NotZero(h.Checksum() + 2 + uint16(rng.IntN(0xfffb))))
				require.False(t, h.ChecksumOK(from.src, from.dst, payload))
				c.set(h, from, to)
				require.NotZero(t, h.Checksum(), "round %d: a wrong checksum became none", round)
				require.False(t, h.ChecksumOK(to.src, to.dst, payload), "round %d: a wrong checksum became right", round)

				h.SetChecksum(0)
				c.set(h, to, from)
				require.Zero(t, h.Checksum(), "round %d: none became one", round)
			}
		})
	}
}

func TestReuse(t *testing.T) {
	mem := make([]byte, 64)
	load := func(d string) (udp.Header, []byte, error) {
		clear(mem)
		return udp.Parse(mem[:copy(mem, d)])
	}
	h, payload, err := load("\x00\x35\xff\xff\x00\x0f\x12\x34payload")
	require.NoError(t, err)
	assert.Equal(t, "payload", string(payload))
	assert.Equal(t, udp.Fields{SrcPort: 53, DstPort: 65535, Checksum: 0x1234}, udp.FieldsOf(h))
	h, payload, err = load("\x00\x01\x00\x02\x00\x08\x00\x00")
	require.NoError(t, err)
	assert.Empty(t, payload)
	assert.Equal(t, udp.Fields{SrcPort: 1, DstPort: 2}, udp.FieldsOf(h))
	h, payload, err = load("\x00\x35\xff\xff\x00\x07\x12\x34payload")
	require.ErrorIs(t, err, udp.ErrLength)
	assert.Zero(t, h)
	assert.Nil(t, payload)
}

func TestZeroHeader(t *testing.T) {
	assert.False(t, udp.Header{}.IsValid())
}

func TestPut(t *testing.T) {
	for _, c := range []struct {
		name          string
		payload, room int
		want          string
		err           error
	}{
		{"no payload", 0, 8, "\x9c\x40\x00\x07\x00\x08\x12\x34", nil},
		{"room to spare", 1, 30, "\x9c\x40\x00\x07\x00\x09\x12\x34", nil},
		{"longest payload", 65527, 8, "\x9c\x40\x00\x07\xff\xff\x12\x34", nil},
		{"payload one byte too long", 65528, 30, "", udp.ErrTooLong},
		{"payload whose length would wrap", 65536, 30, "", udp.ErrTooLong},
		{"payload as long as can be", math.MaxInt, 30, "", udp.ErrTooLong},
		{"negative payload", -1, 30, "", udp.ErrTooLong},
		{"payload of minus a header", -8, 30, "", udp.ErrTooLong},
		{"payload as negative as can be", math.MinInt, 30, "", udp.ErrTooLong},
		{"one byte of room too few", 0, 7, "", udp.ErrSpace},
		{"no room", 0, 0, "", udp.ErrSpace},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := udp.Fields{SrcPort: 40000, DstPort: 7, Checksum: 0x1234}
			stale := slices.Repeat([]byte{0xee}, c.room)
			b := slices.Clone(stale)
			h, err := f.Put(b, c.payload)
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.err == nil, h.IsValid())
			assert.Equal(t, c.want+string(stale[len(c.want):]), string(b))
		})
	}
}

func TestAppend(t *testing.T) {
	f := udp.Fields{SrcPort: 40000, DstPort: 7, Checksum: 0x1234}
	for _, room := range []int{0, 6, 13, 14, 100} {
		b := append(make([]byte, 0, room), "before"...)
		got, err := f.Append(b, 1)
		require.NoError(t, err)
		assert.Equal(t, "before\x9c\x40\x00\x07\x00\x09\x12\x34", string(got))
		if room >= len(got) {
			assert.Same(t, &b[0], &got[0], "there was room, and yet the bytes moved")
		}
		for _, tooLong := range []int{65528, -1} {
			got, err = f.Append(b, tooLong)
			require.ErrorIs(t, err, udp.ErrTooLong)
			assert.Equal(t, "before", string(got))
		}
	}
}

func TestNoAllocs(t *testing.T) {
	h, payload := datagram(rand.New(rand.NewPCG(1, 1)), udp.Fields{SrcPort: 40000, DstPort: 7}, 1400)
	d := append(slices.Clone(h.Bytes()), payload...)
	lying := []byte("\x00\x01\x00\x02\x00\x0a\x00\x00x")
	long := []byte("\x00\x01\x00\x02\x00\x07\x00\x00x")
	none := []byte("\x00\x01\x00\x02\x00\x00\x00\x00x")
	b := make([]byte, 0, 64)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		h, payload, _ := udp.Parse(d)
		h.FixChecksum(src, dst, payload)
		h.SetSrcPort(h.DstPort())
		h.SetDstPort(h.SrcPort())
		h.UpdateAddr(src, dst)
		_ = h.ChecksumOK(src, dst, payload)
		h.SetPartialChecksum(src, dst)
		h.SetChecksum(0)
		f := udp.FieldsOf(h)
		_, _ = f.Append(b, len(payload))
		_, _ = f.Append(b, -1)
		_, _ = f.Put(b[:8], len(payload))
		_, _ = f.Put(b, len(payload))
		for _, d := range [][]byte{lying, long, none, d[:7]} {
			_, _, _ = udp.Parse(d)
		}
	}))
}
