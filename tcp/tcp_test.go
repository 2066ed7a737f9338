// TCP headers: every data offset against every length around it, and checksums held against a slow sum.
package tcp_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/tcp"
)

// flannelSynAck went from server to client, in VXLAN.
const flannelSynAck = "\x00\x50\xf6\x32\x61\x84\x4d\xcd\xc3\x21\xa1\xd2\xa0\x12\x6d\x38\x70\xbe\x00\x00" +
	"\x02\x04\x05\x82\x04\x02\x08\x0a\x08\xfa\x66\x39\x08\xf2\xd0\x11\x01\x03\x03\x07"

var client, server = [4]byte{10, 21, 0, 0}, [4]byte{10, 21, 3, 2}

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

// segment returns one of size bytes, no two in a row alike, that says it has a header of n bytes.
func segment(n, size int) []byte {
	s := make([]byte, max(size, tcp.HeaderLen))
	for i := range s {
		s[i] = byte(7*i + 1)
	}
	s[12] = byte(n/4)<<4 | s[12]&0xf
	return s[:size]
}

func TestParseFields(t *testing.T) {
	s := []byte("\x9c\x40\x00\x50\x01\x02\x03\x04\xfa\xfb\xfc\xfd\x60\x18\xfa\xf0\xbe\xef\x00\x05\x01\x01\x01\x00data")
	h, data, err := tcp.Parse(s)
	require.NoError(t, err)
	assert.True(t, h.IsValid())
	assert.Equal(t, uint16(40000), h.SrcPort())
	assert.Equal(t, uint16(80), h.DstPort())
	assert.Equal(t, uint32(0x01020304), h.Seq())
	assert.Equal(t, uint32(0xfafbfcfd), h.Ack())
	assert.Equal(t, tcp.PSH|tcp.ACK, h.Flags())
	assert.Equal(t, uint16(64240), h.Window())
	assert.Equal(t, uint16(0xbeef), h.Checksum())
	assert.Equal(t, uint16(5), h.Urgent())
	assert.Equal(t, "\x01\x01\x01\x00", string(h.Options()))
	assert.Equal(t, "data", string(data))
}

// TestParseCapturedSynAck reads the answer of a web server in a pod to a node, which Flannel carried: its segment size is
// that of an MTU of 1450.
func TestParseCapturedSynAck(t *testing.T) {
	h, data, err := tcp.Parse([]byte(flannelSynAck))
	require.NoError(t, err)
	assert.Equal(t, uint16(80), h.SrcPort())
	assert.Equal(t, uint16(63026), h.DstPort())
	assert.Equal(t, tcp.SYN|tcp.ACK, h.Flags())
	assert.Equal(t, uint32(0xc321a1d2), h.Ack())
	assert.Equal(t, 40, h.Len())
	assert.Equal(t, uint16(1410), binary.BigEndian.Uint16(h.Options()[2:]))
	assert.Empty(t, data)
	assert.True(t, h.ChecksumOK(server, client, data))
}

// TestFlags gives each bit of the two bytes around the flags, of which the upper one has the data offset and bits that
// nobody uses.
func TestFlags(t *testing.T) {
	names := []tcp.Flags{tcp.FIN, tcp.SYN, tcp.RST, tcp.PSH, tcp.ACK, tcp.URG, tcp.ECE, tcp.CWR}
	for bit, flag := range names {
		s := segment(20, 20)
		s[12], s[13] = 0x50, 1<<bit
		h, _, err := tcp.Parse(s)
		require.NoError(t, err)
		assert.Equal(t, flag, h.Flags(), "bit %d", bit)
	}
	for reserved := range byte(16) {
		s := segment(20, 20)
		s[12], s[13] = 0x50|reserved, 0
		h, _, err := tcp.Parse(s)
		require.NoError(t, err)
		assert.Zero(t, h.Flags(), "reserved bits %x", reserved)
		assert.Equal(t, 20, h.Len())
	}
}

// TestParseLengths tries every data offset over segments of every length around it.
func TestParseLengths(t *testing.T) {
	for n := 0; n <= 60; n += 4 {
		for _, size := range []int{0, 1, 12, 13, 19, 20, 21, n - 1, n, n + 1, n + 1000} {
			if size < 0 {
				continue
			}
			s := segment(n, size)
			h, data, err := tcp.Parse(s)
			at := fmt.Sprintf("data offset %d, %d bytes there", n, size)
			if size < 20 || n < 20 || size < n {
				want := tcp.ErrShort
				if size >= 20 && n < 20 {
					want = tcp.ErrDataOffset
				}
				require.ErrorIs(t, err, want, at)
				require.False(t, h.IsValid(), at)
				require.Nil(t, data, at)
				continue
			}
			require.NoError(t, err, at)
			require.Equal(t, n, h.Len(), at)
			require.Equal(t, s[:n], h.Bytes(), at)
			require.Equal(t, n, cap(h.Bytes()), "an append to the header must not write into the data: %s", at)
			require.Equal(t, s[20:n], h.Options(), at)
			require.Equal(t, s[n:], data, at)
		}
	}
}

// TestChecksum builds segments whose checksum the slow sum made, of every kind of tail, and flips each bit.
func TestChecksum(t *testing.T) {
	const seed = 1
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, n := range []int{20, 24, 40, 60} {
		for _, size := range []int{0, 1, 2, 3, 31, 64, 615, 1409, 1410} {
			s := segment(n, n+size)
			for i := range s[n:] {
				s[n+i] = byte(rng.Uint32())
			}
			binary.BigEndian.PutUint16(s[16:], 0)
			pseudo := binary.BigEndian.AppendUint16(slices.Concat(client[:], server[:], []byte{0, 6}), uint16(len(s)))
			binary.BigEndian.PutUint16(s[16:], ^slowSum(pseudo, s))
			h, data, err := tcp.Parse(s)
			require.NoError(t, err)
			at := fmt.Sprintf("data offset %d, %d bytes of data", n, size)
			require.True(t, h.ChecksumOK(client, server, data), at)
			require.False(t, h.ChecksumOK(client, [4]byte{10, 21, 3, 3}, data), "other addresses: %s", at)
			for bit := range 8 * min(len(s), 100) {
				s[bit/8] ^= 1 << (bit % 8)
				require.False(t, h.ChecksumOK(client, server, data), "bit %d: %s", bit, at)
				s[bit/8] ^= 1 << (bit % 8)
			}
			if size > 0 && data[size-1] != 0 {
				require.False(t, h.ChecksumOK(client, server, data[:size-1]), "the last byte missing: %s", at)
			}
		}
	}
}

func TestReuse(t *testing.T) {
	mem := make([]byte, 128)
	load := func(s []byte) (tcp.Header, []byte, error) {
		clear(mem)
		return tcp.Parse(mem[:copy(mem, s)])
	}
	h, data, err := load(segment(60, 100))
	require.NoError(t, err)
	assert.Len(t, h.Options(), 40)
	assert.Len(t, data, 40)
	h, data, err = load(segment(20, 21))
	require.NoError(t, err)
	assert.Empty(t, h.Options())
	assert.Len(t, data, 1)
	h, data, err = load(segment(60, 59))
	require.ErrorIs(t, err, tcp.ErrShort)
	assert.Zero(t, h)
	assert.Nil(t, data)
}

func TestZeroHeader(t *testing.T) {
	var h tcp.Header
	assert.False(t, h.IsValid())
	assert.Zero(t, h.Len())
	assert.Empty(t, h.Bytes())
}

func TestNoAllocs(t *testing.T) {
	good, short, low := segment(32, 1400), segment(60, 59), segment(16, 40)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		h, data, _ := tcp.Parse(good)
		_ = h.SrcPort() + h.DstPort() + h.Window() + h.Checksum() + h.Urgent()
		_ = h.Seq() + h.Ack()
		_ = h.Flags()&tcp.SYN != 0 && len(h.Options()) > 0
		_ = h.ChecksumOK([4]byte{}, [4]byte{}, data)
		for _, s := range [][]byte{short, low, good[:19]} {
			_, _, _ = tcp.Parse(s)
		}
	}))
}

// TestPut writes a captured header anew.
func TestPut(t *testing.T) {
	h, _, err := tcp.Parse([]byte(flannelSynAck))
	require.NoError(t, err)
	again, err := tcp.FieldsOf(h).Append([]byte("kept"), server, client, nil)
	require.NoError(t, err)
	assert.Equal(t, "kept"+flannelSynAck, string(again))
}

// TestPutChecksum holds checksums against the slow sum, for data of all small lengths.
func TestPutChecksum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 70 {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f := tcp.Fields{SrcPort: uint16(r.Uint32()), Seq: r.Uint32(), Ack: r.Uint32(), Flags: tcp.Flags(r.Uint32()), Window: 9, Urgent: 8}
		f.Options = make([]byte, n/8*4)
		room := make([]byte, f.Len())
		for i := range room {
			room[i] = 0xff // stale
		}
		h, err := f.Put(room, client, server, data)
		require.NoError(t, err)
		pseudo := []byte{0, tcp.Protocol, 0, byte(f.Len() + n)}
		assert.Equal(t, uint16(0xffff), slowSum(client[:], server[:], pseudo, room, data))
		assert.True(t, h.ChecksumOK(client, server, data))
		assert.Equal(t, f, tcp.FieldsOf(h))
	}
}

func TestPutFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		f    tcp.Fields
		room int
		data int
		want error
	}{
		{"options of 3 bytes", tcp.Fields{Options: make([]byte, 3)}, 60, 0, tcp.ErrOptions},
		{"options of 44 bytes", tcp.Fields{Options: make([]byte, 44)}, 99, 0, tcp.ErrOptions},
		{"too much data", tcp.Fields{}, 60, 65496, tcp.ErrTooLong},
		{"too much data behind options", tcp.Fields{Options: make([]byte, 40)}, 60, 65456, tcp.ErrTooLong},
		{"no room", tcp.Fields{}, 19, 0, tcp.ErrSpace},
		{"no room for options", tcp.Fields{Options: make([]byte, 4)}, 23, 0, tcp.ErrSpace},
	} {
		t.Run(c.name, func(t *testing.T) {
			room := make([]byte, c.room)
			h, err := c.f.Put(room, client, server, make([]byte, c.data))
			assert.ErrorIs(t, err, c.want)
			assert.False(t, h.IsValid())
			assert.Equal(t, make([]byte, c.room), room)
			if !errors.Is(c.want, tcp.ErrSpace) {
				b, err := c.f.Append([]byte("kept"), client, server, make([]byte, c.data))
				assert.ErrorIs(t, err, c.want)
				assert.Equal(t, "kept", string(b))
			}
		})
	}
	_, err := tcp.Fields{}.Append(nil, client, server, make([]byte, 65495))
	assert.NoError(t, err, "the longest segment")
}

// TestPutInPlace writes a header over itself, as an answer in the same buffer would.
func TestPutInPlace(t *testing.T) {
	s := []byte(flannelSynAck)
	h, _, err := tcp.Parse(s)
	require.NoError(t, err)
	f := tcp.FieldsOf(h)
	f.Options = f.Options[4:8]
	h, err = f.Put(s, server, client, nil)
	require.NoError(t, err)
	assert.Equal(t, flannelSynAck[24:28], string(h.Options()))
}

// TestReset has the sequence numbers that Linux 6.18 answers with.
func TestReset(t *testing.T) {
	const seq, ack = 0xffffffff, 2000
	for _, c := range []struct {
		name  string
		flags tcp.Flags
		data  int
		want  tcp.Fields
		none  bool
	}{
		{"SYN", tcp.SYN, 0, tcp.Fields{Flags: tcp.RST | tcp.ACK, Ack: 0}, false},
		{"SYN with data", tcp.SYN, 5, tcp.Fields{Flags: tcp.RST | tcp.ACK, Ack: 5}, false},
		{"FIN", tcp.FIN, 0, tcp.Fields{Flags: tcp.RST | tcp.ACK, Ack: 0}, false},
		{"SYN and FIN", tcp.SYN | tcp.FIN, 0, tcp.Fields{Flags: tcp.RST | tcp.ACK, Ack: 1}, false},
		{"data alone", 0, 3, tcp.Fields{Flags: tcp.RST | tcp.ACK, Ack: 2}, false},
		{"ACK", tcp.ACK, 9, tcp.Fields{Flags: tcp.RST, Seq: ack}, false},
		{"SYN and ACK", tcp.SYN | tcp.ACK, 0, tcp.Fields{Flags: tcp.RST, Seq: ack}, false},
		{"RST", tcp.RST, 0, tcp.Fields{}, true},
		{"RST and ACK", tcp.RST | tcp.ACK, 0, tcp.Fields{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := tcp.Fields{SrcPort: 4321, DstPort: 99, Seq: seq, Ack: ack, Flags: c.flags, Window: 7, Urgent: 7}.Append(nil, client, server, nil)
			require.NoError(t, err)
			h, _, err := tcp.Parse(s)
			require.NoError(t, err)
			f, ok := tcp.Reset(h, c.data)
			assert.Equal(t, !c.none, ok)
			if ok {
				c.want.SrcPort, c.want.DstPort = 99, 4321
			}
			assert.Equal(t, c.want, f)
		})
	}
}

func TestPutAllocatesNothing(t *testing.T) {
	room, data := make([]byte, tcp.MaxHeaderLen), make([]byte, 100)
	f := tcp.Fields{Options: make([]byte, 8)}
	bad := tcp.Fields{Options: make([]byte, 7)}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = f.Put(room, client, server, data)
		_, _ = bad.Put(room, client, server, data)
	}))
}
