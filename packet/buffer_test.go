// What a buffer does with its bytes: every operation at its boundaries, and long random runs of them beside a model that
// is too simple to be wrong.
package packet_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// state is all that can be seen of a buffer.
type state struct {
	bytes              string
	headroom, tailroom int
	metadata
}

type metadata struct {
	hash         uint32
	tag          ethernet.Tag
	checksum     packet.ChecksumState
	start, field int
	gso          packet.GSOType
	gsoSize      uint16
}

func stateOf(b *packet.Buffer) state {
	return state{string(b.Bytes()), b.Headroom(), b.Tailroom(), metadataOf(b)}
}

func metadataOf(b *packet.Buffer) metadata {
	m := metadata{hash: b.Hash(), tag: b.VLAN(), checksum: b.Checksum()}
	m.gso, m.gsoSize = b.GSO()
	m.start, m.field, _ = b.PartialChecksum()
	return m
}

// pooled returns an empty buffer of a pool with the given sizes in bytes; headroom 0 is none.
func pooled(t testing.TB, size, headroom int) *packet.Buffer {
	t.Helper()
	if headroom == 0 {
		headroom = -1
	}
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 1, Size: size, Headroom: headroom})
	require.NoError(t, err)
	return pool.Get()
}

// withPacket returns a buffer that holds p, with the given room around it.
func withPacket(t testing.TB, headroom int, p []byte, tailroom int) *packet.Buffer {
	t.Helper()
	b := pooled(t, max(headroom+len(p)+tailroom, 1), headroom)
	require.NoError(t, b.SetBytes(p))
	require.Equal(t, headroom, b.Headroom())
	return b
}

// decorate gives b metadata of every kind: b must hold 12 bytes.
func decorate(t testing.TB, b *packet.Buffer) {
	t.Helper()
	b.SetHash(0xfeedbeef)
	b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeQinQ, TCI: 0x6123})
	b.SetGSO(packet.GSOTCP4, 1410)
	require.NoError(t, b.SetChecksumPartial(4, 6))
}

func TestBufferSize(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(packet.Buffer{}), uintptr(64), "a buffer must not take more than a cache line")
}

func TestNew(t *testing.T) {
	for _, size := range []int{0, 1, 60, 1514, 1 << 16} {
		b := packet.New(size)
		assert.Equal(t, packet.DefaultHeadroom, b.Headroom())
		assert.Equal(t, size, b.Tailroom())
		assert.Zero(t, b.Len())
		assert.Empty(t, b.Bytes())
		assert.Equal(t, metadata{}, metadataOf(b))
	}
}

func TestOf(t *testing.T) {
	given := []byte("a packet")
	b := packet.Of(given)
	assert.Equal(t, given, b.Bytes())
	assert.Equal(t, packet.DefaultHeadroom, b.Headroom())
	assert.Zero(t, b.Tailroom())
	given[0] = 'X'
	assert.Equal(t, "a packet", string(b.Bytes()), "a copy must not change with the original")
	assert.Zero(t, packet.Of(nil).Len())
}

func TestZeroBufferHasNoMemory(t *testing.T) {
	var b packet.Buffer
	assert.Empty(t, b.Bytes())
	_, err := b.Prepend(1)
	assert.ErrorIs(t, err, packet.ErrHeadroom)
	_, err = b.Extend(1)
	assert.ErrorIs(t, err, packet.ErrTailroom)
	assert.ErrorIs(t, b.SetBytes([]byte{1}), packet.ErrTailroom)
	assert.ErrorIs(t, b.TrimFront(1), packet.ErrShort)
	assert.ErrorIs(t, b.Truncate(1), packet.ErrShort)
	assert.NoError(t, b.SetBytes(nil))
	assert.NoError(t, b.InsertVLAN())
	assert.NoError(t, b.CompleteChecksum())
	b.Reset()
	b.Free()
}

// TestBytesCannotGrow holds the capacity of every slice that is handed out for bytes at the packet's end: an append must
// not write into the memory behind it.
func TestBytesCannotGrow(t *testing.T) {
	b := withPacket(t, 16, []byte("packet"), 16)
	assert.Equal(t, b.Len(), cap(b.Bytes()))
	tail, err := b.Extend(4)
	require.NoError(t, err)
	assert.Equal(t, 4, cap(tail))
	assert.Equal(t, b.Len(), cap(b.Bytes()))
}

// TestBoundaries runs each operation with the numbers around each of its limits: what is allowed must do what it says,
// and what is not must change nothing.
func TestBoundaries(t *testing.T) {
	const (
		head, tail = 5, 7
		bytes      = "0123456789abcdefghij"
	)
	for _, op := range []struct {
		name string
		do   func(*packet.Buffer, int) error
		max  int
		err  error
		want func(n int) state // bytes and room after n was allowed; metadata is filled in below
	}{
		{
			name: "Prepend", max: head, err: packet.ErrHeadroom,
			do: func(b *packet.Buffer, n int) error {
				p, err := b.Prepend(n)
				if err == nil && (len(p) != b.Len() || &p[0] != &b.Bytes()[0]) {
					return errors.New("not the packet with its new front")
				}
				return err
			},
			want: func(n int) state {
				return state{bytes: string(make([]byte, n)) + bytes, headroom: head - n, tailroom: tail}
			},
		},
		{
			name: "TrimFront", max: len(bytes), err: packet.ErrShort,
			do:   (*packet.Buffer).TrimFront,
			want: func(n int) state { return state{bytes: bytes[n:], headroom: head + n, tailroom: tail} },
		},
		{
			name: "Truncate", max: len(bytes), err: packet.ErrShort,
			do: (*packet.Buffer).Truncate,
			want: func(n int) state {
				return state{bytes: bytes[:n], headroom: head, tailroom: tail + len(bytes) - n}
			},
		},
		{
			name: "Extend", max: tail, err: packet.ErrTailroom,
			do: func(b *packet.Buffer, n int) error {
				p, err := b.Extend(n)
				if err == nil && (len(p) != n || n > 0 && &p[0] != &b.Bytes()[b.Len()-n]) {
					return errors.New("not the bytes at the end")
				}
				return err
			},
			want: func(n int) state {
				return state{bytes: bytes + string(make([]byte, n)), headroom: head, tailroom: tail - n}
			},
		},
	} {
		wrap := uint32(math.MaxUint32) // a variable, because as a constant it is no int on 32-bit platforms
		wrong := []int{-1, -op.max, math.MinInt, math.MinInt32, op.max + 1, math.MaxInt32, int(wrap), math.MaxInt}
		for _, n := range wrong {
			t.Run(fmt.Sprintf("%s/beyond/%d", op.name, n), func(t *testing.T) {
				b := withPacket(t, head, []byte(bytes), tail)
				decorate(t, b)
				before := stateOf(b)
				require.ErrorIs(t, op.do(b, n), op.err)
				assert.Equal(t, before, stateOf(b), "a refused operation changed the buffer")
			})
		}
		for n := range op.max + 1 {
			t.Run(fmt.Sprintf("%s/within/%d", op.name, n), func(t *testing.T) {
				b := withPacket(t, head, []byte(bytes), tail)
				decorate(t, b)
				meta := metadataOf(b)
				meta.start += op.want(0).headroom - op.want(n).headroom // the checksum's place stays where it was in memory
				require.NoError(t, op.do(b, n))
				want := op.want(n)
				want.metadata = meta
				assert.Equal(t, want, stateOf(b))
			})
		}
	}
}

// model is a buffer as a string of bytes with a packet marked in it.
type model struct {
	mem      []byte
	off, end int
}

func (m *model) op(which, n int) bool {
	switch which {
	case 0:
		if n < 0 || n > m.off {
			return false
		}
		m.off -= n
	case 1:
		if n < 0 || n > m.end-m.off {
			return false
		}
		m.off += n
	case 2:
		if n < 0 || n > m.end-m.off {
			return false
		}
		m.end = m.off + n
	case 3:
		if n < 0 || n > len(m.mem)-m.end {
			return false
		}
		m.end += n
	}
	return true
}

func TestOperationsAgainstModel(t *testing.T) {
	const seed, size, headroom = 2, 96, 24
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	b := pooled(t, size, headroom)
	m := model{mem: make([]byte, size), off: headroom, end: headroom}
	ops := []struct {
		name string
		do   func(int) error
	}{
		{"Prepend", func(n int) error { _, err := b.Prepend(n); return err }},
		{"TrimFront", b.TrimFront},
		{"Truncate", b.Truncate},
		{"Extend", func(n int) error { _, err := b.Extend(n); return err }},
	}
	done := map[string]int{}
	for step := range 200_000 {
		if step%1000 == 999 { // start over: random cuts and growth drift towards a full buffer
			b.Reset()
			m.off, m.end = headroom, headroom
		}
		which, n := rng.IntN(len(ops)), rng.IntN(size/2)-2
		ok := m.op(which, n)
		err := ops[which].do(n)
		require.Equal(t, ok, err == nil, "step %d: %s(%d): %v", step, ops[which].name, n, err)
		if ok {
			done[ops[which].name]++
		}
		require.Equal(t, m.off, b.Headroom(), "step %d", step)
		require.Equal(t, m.end-m.off, b.Len(), "step %d", step)
		require.Equal(t, size-m.end, b.Tailroom(), "step %d", step)
		require.True(t, bytes.Equal(m.mem[m.off:m.end], b.Bytes()), "step %d: the bytes differ", step)
		if p := b.Bytes(); len(p) > 0 { // the same write to both, so that a shifted packet shows
			at, v := rng.IntN(len(p)), byte(rng.Uint32())
			p[at], m.mem[m.off+at] = v, v
		}
	}
	for _, op := range ops {
		assert.Greater(t, done[op.name], 10_000, "%s hardly ever succeeded", op.name)
	}
}

func TestSetBytes(t *testing.T) {
	const size, headroom = 64, 16
	b := pooled(t, size, headroom)
	for n := range size - headroom + 1 {
		_, _ = b.Prepend(headroom / 2) // it must start over, wherever the last packet was
		if b.Len() >= 12 {
			decorate(t, b)
		}
		p := bytes.Repeat([]byte{byte(n)}, n)
		require.NoError(t, b.SetBytes(p))
		require.Equal(t, state{bytes: string(p), headroom: headroom, tailroom: size - headroom - n}, stateOf(b))
	}
	assert.ErrorIs(t, b.SetBytes(make([]byte, size-headroom+1)), packet.ErrTailroom)
	assert.Equal(t, state{headroom: headroom, tailroom: size - headroom}, stateOf(b), "must be empty after an error")
}

func TestReset(t *testing.T) {
	b := withPacket(t, 32, make([]byte, 40), 8)
	decorate(t, b)
	_, err := b.Prepend(20)
	require.NoError(t, err)
	b.Reset()
	assert.Equal(t, state{headroom: 32, tailroom: 48}, stateOf(b))
}

func TestClearMetadataKeepsTheBytes(t *testing.T) {
	b := withPacket(t, 32, []byte("some twenty-odd bytes"), 8)
	want := stateOf(b)
	decorate(t, b)
	assert.NotEqual(t, want, stateOf(b))
	b.ClearMetadata()
	assert.Equal(t, want, stateOf(b))
}

// TestHasOffloads: whatever a device without offloads cannot take, and nothing else.
func TestHasOffloads(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*packet.Buffer)
		want bool
	}{
		{"nothing", func(*packet.Buffer) {}, false},
		{"hash", func(b *packet.Buffer) { b.SetHash(1) }, false},
		{"checksum verified", func(b *packet.Buffer) { b.SetChecksumVerified() }, false},
		{"checksum partial", func(b *packet.Buffer) { _ = b.SetChecksumPartial(0, 6) }, true},
		{"superframe", func(b *packet.Buffer) { b.SetGSO(packet.GSOUDP4, 1) }, true},
		{"VLAN", func(b *packet.Buffer) { b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN}) }, true},
	} {
		b := packet.Of(make([]byte, 60))
		c.set(b)
		assert.Equal(t, c.want, b.HasOffloads(), c.name)
	}
}

// TestIsSuperframe: it says so as long as GSO names a way to cut the packet, whatever else happens to it.
func TestIsSuperframe(t *testing.T) {
	b := withPacket(t, 64, make([]byte, 80), 0)
	assert.False(t, b.IsSuperframe())
	for _, c := range []struct {
		name string
		gso  packet.GSOType
		size uint16
		want bool
	}{
		{"TCP", packet.GSOTCP4, 1410, true},
		{"UDP", packet.GSOUDP4, 1400, true},
		{"none, and no size", packet.GSONone, 0, false},
		{"no size", packet.GSOTCP4, 0, true},
		{"none, with a size", packet.GSONone, 1410, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.SetGSO(c.gso, c.size)
			assert.Equal(t, c.want, b.IsSuperframe())
			other := packet.New(100)
			require.NoError(t, other.CopyFrom(b))
			assert.Equal(t, c.want, other.IsSuperframe(), "a copy")
			_, err := b.Prepend(8)
			require.NoError(t, err)
			require.NoError(t, b.Strip(8, b.Len()))
			assert.Equal(t, c.want, b.IsSuperframe(), "with a header that came and went")
		})
	}
	for name, forget := range map[string]func(){"ClearMetadata": b.ClearMetadata, "Reset": b.Reset} {
		b.SetGSO(packet.GSOTCP4, 1410)
		forget()
		assert.False(t, b.IsSuperframe(), name)
	}
}

// TestCopyFrom copies between buffers whose packets start at different places: the checksum's place must move along.
func TestCopyFrom(t *testing.T) {
	p := []byte("a packet with a header and some payload")
	for _, from := range []int{0, 1, 16, 128, 300, 1 << 15} {
		for _, to := range []int{0, 1, 16, 128, 300, 1 << 15} {
			t.Run(fmt.Sprintf("%d to %d", from, to), func(t *testing.T) {
				src := withPacket(t, from, p, 0)
				decorate(t, src)
				before := stateOf(src)
				dst := withPacket(t, to, []byte("something else, and longer than what is copied over it"), 0)
				dst.SetChecksumVerified()
				require.NoError(t, dst.CopyFrom(src))
				assert.Equal(t, p, dst.Bytes())
				assert.Equal(t, to, dst.Headroom())
				assert.Equal(t, metadataOf(src), metadataOf(dst))
				assert.Equal(t, before, stateOf(src), "the original changed")
				if len(p) > 0 {
					dst.Bytes()[0] ^= 0xff
					assert.Equal(t, p, src.Bytes(), "the copy shares memory with the original")
				}
			})
		}
	}
}

func TestCopyFromMovedPacket(t *testing.T) {
	src := withPacket(t, 64, make([]byte, 80), 0)
	decorate(t, src)
	require.NoError(t, src.TrimFront(3))
	_, err := src.Prepend(50)
	require.NoError(t, err)
	dst := pooled(t, 512, 7)
	require.NoError(t, dst.CopyFrom(src))
	assert.Equal(t, metadataOf(src), metadataOf(dst))
	assert.Equal(t, 4-3+50, metadataOf(dst).start)
}

func TestCopyFromTooLarge(t *testing.T) {
	src := packet.Of(make([]byte, 100))
	decorate(t, src)
	dst := withPacket(t, 10, make([]byte, 50), 49)
	decorate(t, dst)
	assert.ErrorIs(t, dst.CopyFrom(src), packet.ErrTailroom)
	assert.Equal(t, state{headroom: 10, tailroom: 99}, stateOf(dst), "must be empty after an error")
}

// TestStrip cuts a packet to every part of it there is, and to parts there are not.
func TestStrip(t *testing.T) {
	const head, tail = 8, 6
	outer := []byte("outer header, inner packet, the end")
	for _, start := range []int{math.MinInt, -1, 0, 1, 14, len(outer) - 1, len(outer), len(outer) + 1, math.MaxInt} {
		for _, end := range []int{math.MinInt, -1, 0, 1, 14, len(outer) - 1, len(outer), len(outer) + 1, math.MaxInt} {
			b := withPacket(t, head, outer, tail)
			b.SetHash(0xfeedbeef)
			b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 7})
			b.SetChecksumVerified()
			before := stateOf(b)
			err := b.Strip(start, end)
			if start < 0 || end > len(outer) || start > end {
				require.ErrorIs(t, err, packet.ErrShort, "%d to %d", start, end)
				require.Equal(t, before, stateOf(b), "%d to %d", start, end)
				continue
			}
			require.NoError(t, err, "%d to %d", start, end)
			want := state{bytes: string(outer[start:end]), headroom: head + start, tailroom: tail + len(outer) - end}
			require.Equal(t, want, stateOf(b), "%d to %d: what was known of the outer packet must be forgotten", start, end)
		}
	}
}

func TestStripKeepsWhatIsInside(t *testing.T) {
	for _, c := range []struct {
		name            string
		checksum, strip int
		ok              bool
	}{
		{"inner checksum", 84, 50, true},
		{"inner checksum right at the new front", 50, 50, true},
		{"outer checksum, of a header that is gone", 34, 50, false},
		{"outer checksum, one byte of its header gone", 49, 50, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := packet.Of(make([]byte, 120))
			b.SetGSO(packet.GSOTCP4, 1410)
			require.NoError(t, b.SetChecksumPartial(c.checksum, 6))
			require.NoError(t, b.Strip(c.strip, 118))
			start, field, ok := b.PartialChecksum()
			assert.Equal(t, c.ok, ok)
			if c.ok {
				assert.Equal(t, c.checksum-c.strip, start)
				assert.Equal(t, 6, field)
			} else {
				assert.Equal(t, packet.ChecksumUnknown, b.Checksum())
			}
			gso, size := b.GSO()
			assert.Equal(t, []any{packet.GSOTCP4, uint16(1410)}, []any{gso, size}, "the segments are those of the inner packet")
		})
	}
}

// TestInsertVLAN: the frame is the head of an untagged one (destination, source, EtherType IPv4, payload), and what must
// come out has the tag's four bytes behind the addresses (IEEE Std 802.1Q-2018 section 9.3).
func TestInsertVLAN(t *testing.T) {
	frame := []byte("DDDDDDSSSSSS\x08\x00payload")
	for _, c := range []struct {
		name string
		tag  ethernet.Tag
		want string
	}{
		{"customer tag", ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 0x6064}, "DDDDDDSSSSSS\x81\x00\x60\x64\x08\x00payload"},
		{"service tag", ethernet.Tag{TPID: ethernet.TypeQinQ, TCI: 0xffff}, "DDDDDDSSSSSS\x88\xa8\xff\xff\x08\x00payload"},
		{"priority tag of all zeros", ethernet.Tag{TPID: ethernet.TypeVLAN}, "DDDDDDSSSSSS\x81\x00\x00\x00\x08\x00payload"},
		{"no tag", ethernet.Tag{}, "DDDDDDSSSSSS\x08\x00payload"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := withPacket(t, 4, frame, 0)
			b.SetVLAN(c.tag)
			assert.Equal(t, c.tag != ethernet.Tag{}, b.HasVLAN())
			require.NoError(t, b.SetChecksumPartial(14, 5))
			require.NoError(t, b.InsertVLAN())
			assert.Equal(t, c.want, string(b.Bytes()))
			assert.Zero(t, b.VLAN(), "the tag is in the frame now")
			assert.False(t, b.HasVLAN())
			start, field, ok := b.PartialChecksum()
			assert.True(t, ok)
			assert.Equal(t, len(c.want)-len("payload"), start, "the checksum still covers the same bytes")
			assert.Equal(t, 5, field)

			before := stateOf(b)
			require.NoError(t, b.InsertVLAN(), "a second time")
			assert.Equal(t, before, stateOf(b))
		})
	}
}

func TestInsertVLANWithoutRoom(t *testing.T) {
	for headroom := range ethernet.TagLen {
		b := withPacket(t, headroom, make([]byte, 20), 16)
		decorate(t, b)
		before := stateOf(b)
		assert.ErrorIs(t, b.InsertVLAN(), packet.ErrHeadroom, "headroom %d", headroom)
		assert.Equal(t, before, stateOf(b))
	}
	for length := range ethernet.HeaderLen {
		b := withPacket(t, 16, make([]byte, length), 16)
		b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 7})
		before := stateOf(b)
		assert.ErrorIs(t, b.InsertVLAN(), packet.ErrShort, "length %d", length)
		assert.Equal(t, before, stateOf(b))
	}
	b := withPacket(t, 4, make([]byte, ethernet.HeaderLen), 0)
	b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 7})
	assert.NoError(t, b.InsertVLAN(), "the shortest frame, with just enough room")
}

func TestBufferAllocatesNothing(t *testing.T) {
	b, other := packet.New(200), packet.New(200)
	p := make([]byte, 60)
	run := func() {
		_ = b.SetBytes(p)
		b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 7})
		_ = b.SetChecksumPartial(14, 6)
		_ = b.InsertVLAN()
		_, _ = b.Prepend(50)
		_, _ = b.Extend(10)
		_ = b.TrimFront(50)
		_ = b.Truncate(64)
		_ = other.CopyFrom(b)
		_ = other.Strip(10, 40)
		_ = b.CompleteChecksum()
		b.Reset()
		// And all that is refused.
		_, _ = b.Prepend(1 << 20)
		_, _ = b.Extend(1 << 20)
		_ = b.TrimFront(1)
		_ = b.Truncate(1)
		_ = b.Strip(1, 0)
		_ = b.SetChecksumPartial(0, 0)
		_ = b.CopyFrom(other)
	}
	assert.Zero(t, testing.AllocsPerRun(100, run))
}

func TestNewOfNegativeSize(t *testing.T) {
	assert.NotPanics(t, func() {
		b := packet.New(-1)
		assert.Empty(t, b.Bytes())
		assert.Zero(t, b.Tailroom())
		packet.New(-1000)
	})
}

// TestCopyFromKeepsTheChecksumsPlace, or says that it cannot.
func TestCopyFromKeepsTheChecksumsPlace(t *testing.T) {
	for _, c := range []struct {
		name               string
		from, to           int // headroom
		length, start, cut int // bytes in src, where the checksum starts, then cut off the front
	}{
		{"header cut off, no headroom to count back from", 1 << 15, 0, 100, 0, 8},
		{"far back, into a large headroom", 0, 1 << 15, 70_000, 40_000, 0},
		{"front beyond 16 bits", 0, 1 << 15, 70_000, 100, 1 << 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := withPacket(t, c.from, make([]byte, c.length), 0)
			require.NoError(t, src.SetChecksumPartial(c.start, 2))
			require.NoError(t, src.TrimFront(c.cut))
			dst := pooled(t, 1<<18, c.to)
			if err := dst.CopyFrom(src); err == nil {
				assert.Equal(t, metadataOf(src), metadataOf(dst))
			}
		})
	}
}
