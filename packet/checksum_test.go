// The checksum that is left for later: kept in its place while headers come and go in front, and completed to what an
// independent sum over the bytes says.
package packet_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/packet"
)

// slowSum is RFC 1071 section 4.1, word by word: the oracle.
func slowSum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(b[0])<<8 | uint32(b[1])
			sum = sum&0xffff + sum>>16
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
			sum = sum&0xffff + sum>>16
		}
	}
	return uint16(sum)
}

// pseudoHeader is the IPv4 pseudo-header of RFC 768.
func pseudoHeader(src, dst [4]byte, protocol byte, length int) []byte {
	p := append(src[:], dst[:]...)
	return binary.BigEndian.AppendUint16(append(p, 0, protocol), uint16(length))
}

// TestCompleteChecksum leaves the sum of the pseudo-header in the checksum field, as a sender with offload does, and holds
// the completed datagram against the oracle: pseudo-header and datagram sum up to 0xffff.
func TestCompleteChecksum(t *testing.T) {
	const seed = 3
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, kind := range []struct {
		name          string
		protocol      byte
		header, field int
	}{{"UDP", 17, 8, 6}, {"TCP", 6, 20, 16}} {
		for _, payload := range []int{0, 1, 2, 3, 7, 8, 31, 63, 64, 65, 1000, 1459, 1460} {
			for _, in := range []int{0, 20, 34, 35} { // headers in front, an odd number of bytes included
				t.Run(fmt.Sprintf("%s/%d bytes behind %d", kind.name, payload, in), func(t *testing.T) {
					segment := make([]byte, kind.header+payload)
					for i := range segment {
						segment[i] = byte(rng.Uint32())
					}
					pseudo := pseudoHeader([4]byte{10, 244, 1, 12}, [4]byte{10, 244, 2, 14}, kind.protocol, len(segment))
					binary.BigEndian.PutUint16(segment[kind.field:], slowSum(pseudo))

					b := packet.Of(append(make([]byte, in), segment...))
					require.NoError(t, b.SetChecksumPartial(in, kind.field))
					require.NoError(t, b.CompleteChecksum())

					got := b.Bytes()[in:]
					assert.Equal(t, uint16(0xffff), slowSum(pseudo, got), "the checksum is wrong")
					assert.Equal(t, packet.ChecksumVerified, b.Checksum())
					binary.BigEndian.PutUint16(got[kind.field:], slowSum(pseudo))
					assert.Equal(t, segment, got, "more than the checksum was changed")
				})
			}
		}
	}
}

// TestCompleteChecksumOfRealPacket completes the ICMP message of a ping that Flannel carried, captured on a node's
// interface: its checksum was 0x847d.
func TestCompleteChecksumOfRealPacket(t *testing.T) {
	message := make([]byte, 64) // an echo request: id 0x0c47, sequence 0x044e, a time, zeros
	copy(message, "\x08\x00\x00\x00\x0c\x47\x04\x4e\x0d\x1e\x55\xcf")
	b := packet.Of(message)
	require.NoError(t, b.SetChecksumPartial(0, 2))
	require.NoError(t, b.CompleteChecksum())
	assert.Equal(t, "\x84\x7d", string(b.Bytes()[2:4]))
}

// TestCompleteChecksumNeverZero: a UDP checksum that comes out as 0 is sent as 0xffff (RFC 768), because 0 means none.
func TestCompleteChecksumNeverZero(t *testing.T) {
	datagram := make([]byte, 10)
	binary.BigEndian.PutUint16(datagram[8:], 0xffff) // all words sum up to 0xffff, the complement is 0
	b := packet.Of(datagram)
	require.NoError(t, b.SetChecksumPartial(0, 6))
	require.NoError(t, b.CompleteChecksum())
	assert.Equal(t, uint16(0xffff), binary.BigEndian.Uint16(b.Bytes()[6:]))
}

func TestCompleteChecksumInOtherStates(t *testing.T) {
	for _, set := range []func(*packet.Buffer){(*packet.Buffer).SetChecksumUnknown, (*packet.Buffer).SetChecksumVerified} {
		b := packet.Of([]byte("not to be touched"))
		set(b)
		before := stateOf(b)
		assert.NoError(t, b.CompleteChecksum())
		assert.Equal(t, before, stateOf(b))
	}
}

func TestChecksumStates(t *testing.T) {
	b := packet.Of(make([]byte, 20))
	assert.Equal(t, packet.ChecksumUnknown, b.Checksum())
	b.SetChecksumVerified()
	assert.Equal(t, packet.ChecksumVerified, b.Checksum())
	_, _, ok := b.PartialChecksum()
	assert.False(t, ok)
	require.NoError(t, b.SetChecksumPartial(3, 5))
	start, field, ok := b.PartialChecksum()
	assert.Equal(t, []any{packet.ChecksumPartial, 3, 5, true}, []any{b.Checksum(), start, field, ok})
	b.SetChecksumUnknown()
	assert.Equal(t, packet.ChecksumUnknown, b.Checksum())
	start, field, ok = b.PartialChecksum()
	assert.Equal(t, []any{0, 0, false}, []any{start, field, ok}, "nothing stale")
}

func TestSetChecksumPartialBoundaries(t *testing.T) {
	const length = 20
	for _, c := range []struct {
		name         string
		start, field int
		ok           bool
	}{
		{"at the front", 0, 0, true},
		{"field at the end", 0, length - 2, true},
		{"start at the end but for the field", length - 2, 0, true},
		{"field one byte over the end", 0, length - 1, false},
		{"start one byte too far", length - 1, 0, false},
		{"start at the end", length, 0, false},
		{"start beyond the end", length + 1, 0, false},
		{"both together beyond the end", 10, 9, false},
		{"start negative", -1, 4, false},
		{"field negative", 4, -1, false},
		{"both negative", -1, -1, false},
		{"start as far down as can be", math.MinInt, 0, false},
		{"field as far down as can be", 0, math.MinInt, false},
		{"start as far up as can be", math.MaxInt, 0, false},
		{"field as far up as can be", 0, math.MaxInt, false},
		{"sum overflows", math.MaxInt, math.MaxInt, false},
		{"differs from a right one by 65536", 1 << 16, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := withPacket(t, 40, make([]byte, length), 100)
			b.SetChecksumVerified()
			before := stateOf(b)
			err := b.SetChecksumPartial(c.start, c.field)
			if !c.ok {
				require.ErrorIs(t, err, packet.ErrShort)
				assert.Equal(t, before, stateOf(b))
				return
			}
			require.NoError(t, err)
			start, field, ok := b.PartialChecksum()
			assert.Equal(t, []any{c.start, c.field, true}, []any{start, field, ok})
			assert.NoError(t, b.CompleteChecksum())
		})
	}
}

// TestSetChecksumPartialFarBack: metadata holds offsets of 16 bits from the start of the memory, and refuses what they
// cannot hold instead of wrapping around.
func TestSetChecksumPartialFarBack(t *testing.T) {
	const headroom = 1000
	b := withPacket(t, headroom, make([]byte, 1<<17), 0)
	require.NoError(t, b.SetChecksumPartial(1<<16-1-headroom, 0))
	start, _, _ := b.PartialChecksum()
	assert.Equal(t, 1<<16-1-headroom, start)
	assert.ErrorIs(t, b.SetChecksumPartial(1<<16-headroom, 0), packet.ErrShort)
	require.NoError(t, b.SetChecksumPartial(0, 1<<16-1))
	assert.ErrorIs(t, b.SetChecksumPartial(0, 1<<16), packet.ErrShort)
	_, field, _ := b.PartialChecksum()
	assert.Equal(t, 1<<16-1, field, "a refused place must not replace the last one")
}

// TestPartialChecksumMoves: the place is counted from the front of the packet, wherever that goes.
func TestPartialChecksumMoves(t *testing.T) {
	b := withPacket(t, 100, make([]byte, 60), 0)
	require.NoError(t, b.SetChecksumPartial(34, 6))
	for _, step := range []struct {
		name string
		move int // of the front, in bytes; negative is Prepend
		want int
	}{
		{"a tunnel's headers in front", -50, 84},
		{"another's", -50, 134},
		{"off again", 50, 84},
		{"and off", 50, 34},
		{"up to the transport header", 34, 0},
		{"into it", 1, -1},
		{"and the rest", 25, -26},
		{"all back again", -60, 34},
	} {
		if step.move < 0 {
			_, err := b.Prepend(-step.move)
			require.NoError(t, err, step.name)
		} else {
			require.NoError(t, b.TrimFront(step.move), step.name)
		}
		start, field, ok := b.PartialChecksum()
		assert.Equal(t, []any{step.want, 6, true}, []any{start, field, ok}, step.name)
	}
}

func TestCompleteChecksumOfCutPacket(t *testing.T) {
	for _, c := range []struct {
		name string
		cut  func(*packet.Buffer) error
		ok   bool
	}{
		{"front cut up to the header", func(b *packet.Buffer) error { return b.TrimFront(4) }, true},
		{"front cut into the header", func(b *packet.Buffer) error { return b.TrimFront(5) }, false},
		{"end cut behind the field", func(b *packet.Buffer) error { return b.Truncate(12) }, true},
		{"end cut into the field", func(b *packet.Buffer) error { return b.Truncate(11) }, false},
		{"end cut before the header", func(b *packet.Buffer) error { return b.Truncate(3) }, false},
		{"nothing left", func(b *packet.Buffer) error { return b.Truncate(0) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := packet.Of([]byte("\x00\x00\x00\x00 twenty-odd bytes"))
			require.NoError(t, b.SetChecksumPartial(4, 6))
			require.NoError(t, c.cut(b))
			before := stateOf(b)
			err := b.CompleteChecksum()
			if c.ok {
				require.NoError(t, err)
				assert.Equal(t, packet.ChecksumVerified, b.Checksum())
				return
			}
			require.ErrorIs(t, err, packet.ErrShort)
			assert.Equal(t, before, stateOf(b))
		})
	}
}

// TestCompleteChecksumAfterPrepend: the sum covers what it covered before, without the headers put in front.
func TestCompleteChecksumAfterPrepend(t *testing.T) {
	datagram := []byte("\x9c\x40\x00\x07\x00\x0c\x00\x00data")
	alone, wrapped := packet.Of(datagram), packet.Of(datagram)
	for _, b := range []*packet.Buffer{alone, wrapped} {
		require.NoError(t, b.SetChecksumPartial(0, 6))
	}
	p, err := wrapped.Prepend(50)
	require.NoError(t, err)
	for i := range 50 {
		p[i] = 0xa5
	}
	require.NoError(t, alone.CompleteChecksum())
	require.NoError(t, wrapped.CompleteChecksum())
	assert.Equal(t, alone.Bytes(), wrapped.Bytes()[50:])
}

// TestCompleteChecksumOfVectors takes the checksums of an independent encoder out of its frames, as a sender with offload
// would have sent them, and must get the same back.
func TestCompleteChecksumOfVectors(t *testing.T) {
	completed := 0
	for _, v := range vectors.Load(t) {
		ip := vectors.Of[vectors.IPv4](v)
		if len(ip) != 1 || ip[0].Fragment() {
			continue
		}
		for _, u := range vectors.Of[vectors.UDP](v) {
			if u.Checksum != 0 && *u.ChecksumOK {
				restoreChecksum(t, v, ip[0], u.Offset, u.Offset+u.Length, 6, u.Checksum)
				completed++
			}
		}
		for _, s := range vectors.Of[vectors.TCP](v) {
			if s.Checksum != 0 && *s.ChecksumOK { // 0xffff for 0 is as good to TCP, and what is written
				restoreChecksum(t, v, ip[0], s.Offset, s.End, 16, s.Checksum)
				completed++
			}
		}
	}
	assert.Greater(t, completed, 50)
}

func restoreChecksum(t *testing.T, v vectors.Vector, ip vectors.IPv4, start, end, field int, want uint16) {
	t.Helper()
	b := packet.Of(v.Frame[:end])
	sum := slowSum(pseudoHeader(ip.Src.As4(), ip.Dst.As4(), ip.Protocol, end-start))
	binary.BigEndian.PutUint16(b.Bytes()[start+field:], sum)
	require.NoError(t, b.SetChecksumPartial(start, field), v.Name)
	require.NoError(t, b.CompleteChecksum(), v.Name)
	assert.Equal(t, want, binary.BigEndian.Uint16(b.Bytes()[start+field:]), v.Name)
}
