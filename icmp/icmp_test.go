// ICMP messages: echo turned around in place, errors and how much they quote, and length fields that lie.
package icmp_test

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
)

// flannelEcho is the echo request of a ping that Flannel carried between nodes, captured on a node's interface.
var flannelEcho = "\x08\x00\x84\x7d\x0c\x47\x04\x4e\x0d\x1e\x55\xcf" + strings.Repeat("\x00", 52)

// slowSum is RFC 1071 section 4.1, word by word: the oracle.
func slowSum(b []byte) uint16 {
	var sum uint32
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

// pattern returns n bytes, no two in a row alike.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(7*i + 1)
	}
	return b
}

func parsed(t testing.TB, message []byte) (icmp.Header, []byte) {
	t.Helper()
	h, body, err := icmp.Parse(message)
	require.NoError(t, err)
	return h, body
}

func TestParseCapturedEcho(t *testing.T) {
	h, body := parsed(t, []byte(flannelEcho))
	assert.Equal(t, icmp.TypeEcho, h.Type())
	assert.Zero(t, h.Code())
	assert.Equal(t, uint16(0x847d), h.Checksum())
	assert.Equal(t, uint16(0x0c47), h.ID())
	assert.Equal(t, uint16(0x044e), h.Seq())
	assert.Equal(t, [4]byte{0x0c, 0x47, 0x04, 0x4e}, h.Rest())
	assert.True(t, h.IsEcho())
	assert.False(t, h.IsError())
	assert.Zero(t, h.NextHopMTU())
	assert.Len(t, body, 56)
	assert.True(t, h.ChecksumOK(body))
	assert.Equal(t, flannelEcho, string(icmp.Echo(0x0c47, 0x044e).Append(nil, body)))
}

func TestParseShort(t *testing.T) {
	for n := range icmp.HeaderLen + 3 {
		message := pattern(n)
		h, body, err := icmp.Parse(message)
		if n < icmp.HeaderLen {
			require.ErrorIs(t, err, icmp.ErrShort, "%d bytes", n)
			require.False(t, h.IsValid())
			require.Nil(t, body)
			continue
		}
		require.NoError(t, err, "%d bytes", n)
		require.True(t, h.IsValid())
		require.Equal(t, message[:8], h.Bytes())
		require.Equal(t, 8, cap(h.Bytes()), "an append to the header must not write into the body")
		require.Equal(t, message[8:], body)
	}
}

// TestTypes asks every type what it is.
func TestTypes(t *testing.T) {
	echo := []uint8{icmp.TypeEchoReply, icmp.TypeEcho}
	errors := []uint8{
		icmp.TypeUnreachable, icmp.TypeSourceQuench, icmp.TypeRedirect, icmp.TypeTimeExceeded, icmp.TypeParameterProblem,
	}
	require.Equal(t, []uint8{0, 8}, echo)
	require.Equal(t, []uint8{3, 4, 5, 11, 12}, errors)
	for typ := range 256 {
		for code := range 16 {
			h, body := parsed(t, []byte{byte(typ), byte(code), 0, 0, 1, 2, 3, 4, 'q'})
			require.Equal(t, slices.Contains(echo, h.Type()), h.IsEcho(), "type %d", typ)
			require.Equal(t, slices.Contains(errors, h.Type()), h.IsError(), "type %d", typ)
			mtu := uint16(0)
			if typ == 3 && code == 4 {
				mtu = 0x0304
			}
			require.Equal(t, mtu, h.NextHopMTU(), "type %d code %d", typ, code)
			if h.IsError() {
				require.Equal(t, "q", string(h.Quote(body)), "type %d", typ)
			} else {
				require.Nil(t, h.Quote(body), "type %d quotes nothing", typ)
			}
			require.Nil(t, h.Extensions(body), "type %d", typ)
		}
	}
}

// TestQuoteLength gives the length field of RFC 4884, in words of 4 bytes, everything that it can say of a body that is
// shorter, as long and longer than that. A length that lies is none: all of the body is the quote.
func TestQuoteLength(t *testing.T) {
	withLength := []uint8{icmp.TypeUnreachable, icmp.TypeTimeExceeded, icmp.TypeParameterProblem}
	without := []uint8{icmp.TypeSourceQuench, icmp.TypeRedirect}
	for _, size := range []int{0, 28, 127, 128, 129, 132, 140, 500, 548, 1020, 1021, 1480} {
		body := pattern(size)
		for words := range 256 {
			for _, typ := range slices.Concat(withLength, without) {
				h, _ := parsed(t, []byte{typ, 0, 0, 0, 0, byte(words), 0, 0})
				quote, extensions := h.Quote(body), h.Extensions(body)
				end := size
				if n := 4 * words; slices.Contains(withLength, typ) && n >= 128 && n < size {
					end = n
				}
				require.Equal(t, body[:end], quote, "type %d says %d words, and there are %d bytes", typ, words, size)
				require.Equal(t, end, cap(quote), "an append to the quote must not write into what is behind it")
				if end == size {
					require.Nil(t, extensions)
				} else {
					require.Equal(t, body[end:], extensions)
				}
			}
		}
	}
}

// TestQuoteCases are the same, one by one, by what is wrong with them.
func TestQuoteCases(t *testing.T) {
	for _, c := range []struct {
		name              string
		typ, words        uint8
		body              int
		quote, extensions int
	}{
		{"no length, no more than the shortest quote", icmp.TypeUnreachable, 0, 28, 28, 0},
		{"no length, as old senders with extensions", icmp.TypeTimeExceeded, 0, 140, 140, 0},
		{"length and extensions", icmp.TypeTimeExceeded, 32, 140, 128, 12},
		{"longest length and extensions", icmp.TypeUnreachable, 255, 1028, 1020, 8},
		{"length below 128 bytes", icmp.TypeTimeExceeded, 31, 140, 140, 0},
		{"length 4", icmp.TypeTimeExceeded, 1, 140, 140, 0},
		{"length to the end, so that there are no extensions", icmp.TypeParameterProblem, 32, 128, 128, 0},
		{"length beyond the end", icmp.TypeParameterProblem, 33, 128, 128, 0},
		{"length beyond the end by one byte", icmp.TypeUnreachable, 33, 131, 131, 0},
		{"longest length, far beyond the end", icmp.TypeUnreachable, 255, 28, 28, 0},
		{"a redirect's gateway, which is no length", icmp.TypeRedirect, 168, 800, 800, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, _ := parsed(t, []byte{c.typ, 0, 0, 0, 192, c.words, 2, 1})
			body := pattern(c.body)
			assert.Len(t, h.Quote(body), c.quote)
			assert.Len(t, h.Extensions(body), c.extensions)
		})
	}
}

// TestQuotedPacket parses what an error quotes: an IPv4 header, and that the rest of its packet is missing.
func TestQuotedPacket(t *testing.T) {
	payload := pattern(1400)
	datagram, err := udp.Fields{SrcPort: 40000, DstPort: 8472}.Append(nil, len(payload))
	require.NoError(t, err)
	datagram = append(datagram, payload...)
	sent, err := ipv4.Fields{
		TTL: 64, Protocol: ipv4.ProtocolUDP, Flags: ipv4.DontFragment,
		Src: [4]byte{172, 16, 100, 101}, Dst: [4]byte{172, 16, 100, 102},
	}.Append(nil, len(datagram))
	require.NoError(t, err)
	sent = append(sent, datagram...)

	message := icmp.FragmentationNeeded(1400).AppendError(nil, sent)
	h, body := parsed(t, message)
	require.True(t, h.ChecksumOK(body))
	assert.Equal(t, uint16(1400), h.NextHopMTU())

	ip, rest, err := ipv4.Parse(h.Quote(body))
	require.ErrorIs(t, err, ipv4.ErrTruncated)
	assert.True(t, ip.ChecksumOK())
	assert.Equal(t, [4]byte{172, 16, 100, 102}, ip.Dst())
	assert.Equal(t, len(sent), int(ip.TotalLen()))

	u, rest, err := udp.Parse(rest)
	require.ErrorIs(t, err, udp.ErrTruncated)
	assert.Equal(t, uint16(8472), u.DstPort())
	assert.Equal(t, payload[:len(rest)], rest)
	assert.Equal(t, 576-20-8-20-8, len(rest))
}

// TestAppendError quotes packets around the limit: with an IPv4 header of 20 bytes an error has 576 bytes at most.
func TestAppendError(t *testing.T) {
	for _, size := range []int{0, 1, 20, 28, 547, 548, 549, 576, 1500, 65535} {
		packet := pattern(size)
		for _, f := range []icmp.Fields{
			icmp.Unreachable(icmp.CodePortUnreachable), icmp.TimeExceeded(icmp.CodeTTLExceeded), icmp.FragmentationNeeded(68),
		} {
			message := f.AppendError([]byte("before"), packet)
			require.Equal(t, "before", string(message[:6]))
			h, body := parsed(t, message[6:])
			require.Equal(t, f, icmp.FieldsOf(h))
			require.Equal(t, packet[:min(size, 548)], body, "%d bytes", size)
			require.LessOrEqual(t, 20+len(message)-6, 576)
			require.True(t, h.ChecksumOK(body))
			require.Equal(t, body, h.Quote(body))
		}
	}
}

func TestFields(t *testing.T) {
	for _, c := range []struct {
		name  string
		f     icmp.Fields
		bytes string // without checksum
	}{
		{"echo request", icmp.Echo(0x1234, 0xabcd), "\x08\x00\x12\x34\xab\xcd"},
		{"echo reply", icmp.EchoReply(0x1234, 0xabcd), "\x00\x00\x12\x34\xab\xcd"},
		{"network unreachable", icmp.Unreachable(icmp.CodeNetUnreachable), "\x03\x00\x00\x00\x00\x00"},
		{"host unreachable", icmp.Unreachable(icmp.CodeHostUnreachable), "\x03\x01\x00\x00\x00\x00"},
		{"protocol unreachable", icmp.Unreachable(icmp.CodeProtocolUnreachable), "\x03\x02\x00\x00\x00\x00"},
		{"port unreachable", icmp.Unreachable(icmp.CodePortUnreachable), "\x03\x03\x00\x00\x00\x00"},
		{"prohibited", icmp.Unreachable(icmp.CodeAdminProhibited), "\x03\x0d\x00\x00\x00\x00"},
		{"fragmentation needed", icmp.FragmentationNeeded(1450), "\x03\x04\x00\x00\x05\xaa"},
		{"fragmentation needed, the largest MTU", icmp.FragmentationNeeded(65535), "\x03\x04\x00\x00\xff\xff"},
		{"fragmentation needed without MTU", icmp.FragmentationNeeded(0), "\x03\x04\x00\x00\x00\x00"},
		{"TTL exceeded", icmp.TimeExceeded(icmp.CodeTTLExceeded), "\x0b\x00\x00\x00\x00\x00"},
		{"reassembly time exceeded", icmp.TimeExceeded(icmp.CodeReassemblyExceeded), "\x0b\x01\x00\x00\x00\x00"},
		{"parameter problem", icmp.ParameterProblem(20), "\x0c\x00\x14\x00\x00\x00"},
		{"redirect", icmp.Redirect([4]byte{192, 0, 2, 254}), "\x05\x01\xc0\x00\x02\xfe"},
	} {
		t.Run(c.name, func(t *testing.T) {
			message := c.f.Append(nil, []byte("odd"))
			h, body := parsed(t, message)
			assert.Equal(t, c.bytes, string(message[:2])+string(message[4:8]))
			assert.Equal(t, "odd", string(body))
			assert.Equal(t, uint16(0xffff), slowSum(message))
			assert.Equal(t, c.f, icmp.FieldsOf(h))
		})
	}
}

// TestChecksum holds it against the slow sum, over bodies of every kind of tail, and flips each bit.
func TestChecksum(t *testing.T) {
	for _, size := range []int{0, 1, 2, 3, 7, 8, 31, 55, 56, 57, 548, 1472} {
		message := icmp.Echo(1, 2).Append(nil, pattern(size))
		require.Equal(t, uint16(0xffff), slowSum(message), "%d bytes", size)
		h, body := parsed(t, message)
		require.True(t, h.ChecksumOK(body))
		good := slices.Clone(message)
		for bit := range 8 * min(len(message), 100) {
			message[bit/8] ^= 1 << (bit % 8)
			require.False(t, h.ChecksumOK(body), "bit %d of %d bytes", bit, size)
			if at := bit / 8; at == 2 || at == 3 {
				h.FixChecksum(body)
				require.Equal(t, good, message)
			}
			copy(message, good)
		}
	}
}

// TestChecksumZero: 0 is a checksum like any other, and 0xffff its twin.
func TestChecksumZero(t *testing.T) {
	message := icmp.Echo(0, 1).Append(nil, nil)
	h, body := parsed(t, message)
	binary.BigEndian.PutUint16(message[4:], h.Checksum())
	h.FixChecksum(body)
	assert.Zero(t, h.Checksum())
	assert.True(t, h.ChecksumOK(body))
	message[2], message[3] = 0xff, 0xff
	assert.True(t, h.ChecksumOK(body))
	message[2] = 0
	assert.False(t, h.ChecksumOK(body))
}

// TestSetType changes types and expects a right checksum and otherwise the message that is built from scratch with the new
// type; a wrong checksum stays wrong, and 0xffff for 0, which is right too, stays right.
func TestSetType(t *testing.T) {
	const seed = 1
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 10_000 {
		f := icmp.Fields{Type: uint8(rng.Uint32()), Code: uint8(rng.Uint32())}
		binary.BigEndian.PutUint32(f.Rest[:], rng.Uint32())
		body := make([]byte, rng.IntN(4))
		if round%3 == 0 { // make the checksum 0
			f.Rest = [4]byte{}
			sum := slowSum(f.Append(nil, body)[:2])
			binary.BigEndian.PutUint16(f.Rest[:], ^sum)
		}
		message := f.Append(nil, body)
		other := slices.Clone(message)
		right := binary.BigEndian.Uint16(message[2:])
		binary.BigEndian.PutUint16(other[2:], right+1+uint16(rng.IntN(0xfffd)))
		if right == 0 && rng.IntN(2) == 0 {
			binary.BigEndian.PutUint16(other[2:], 0xffff)
		}

		f.Type = uint8(rng.Uint32())
		h, _ := parsed(t, message)
		h.SetType(f.Type)
		require.True(t, h.ChecksumOK(body), "round %d", round)
		h.FixChecksum(body) // of a right one it changes at most one zero into the other
		require.Equal(t, f.Append(nil, body), message, "round %d", round)

		h, body = parsed(t, other)
		ok := h.ChecksumOK(body)
		h.SetType(f.Type)
		require.Equal(t, ok, h.ChecksumOK(body), "round %d", round)
	}
}

func TestEchoBecomesReply(t *testing.T) {
	message := []byte(flannelEcho)
	h, body := parsed(t, message)
	h.SetType(icmp.TypeEchoReply)
	assert.Equal(t, string(icmp.EchoReply(0x0c47, 0x044e).Append(nil, body)), string(message))
	h.SetType(icmp.TypeEcho)
	assert.Equal(t, flannelEcho, string(message))
}

func TestReuse(t *testing.T) {
	mem := make([]byte, 1024)
	load := func(message []byte) (icmp.Header, []byte, error) {
		clear(mem)
		return icmp.Parse(mem[:copy(mem, message)])
	}
	long := icmp.Fields{Type: icmp.TypeUnreachable, Code: 4, Rest: [4]byte{0, 32, 5, 170}}.Append(nil, pattern(140))
	h, body, err := load(long)
	require.NoError(t, err)
	assert.Len(t, h.Extensions(body), 12)
	h, body, err = load([]byte(flannelEcho[:9]))
	require.NoError(t, err)
	assert.Nil(t, h.Quote(body))
	assert.Nil(t, h.Extensions(body))
	assert.Zero(t, h.NextHopMTU())
	assert.Len(t, body, 1)
	h, body, err = load(long[:7])
	require.ErrorIs(t, err, icmp.ErrShort)
	assert.Zero(t, h)
	assert.Nil(t, body)
}

func TestZeroHeader(t *testing.T) {
	assert.False(t, icmp.Header{}.IsValid())
}

func TestPut(t *testing.T) {
	body := pattern(57)
	want := icmp.Echo(1, 2).Append(nil, body)[:8]
	for room := range 12 {
		stale := slices.Repeat([]byte{0xee}, room)
		b := slices.Clone(stale)
		h, err := icmp.Echo(1, 2).Put(b, body)
		if room < 8 {
			require.ErrorIs(t, err, icmp.ErrSpace, "%d bytes of room", room)
			require.False(t, h.IsValid())
			require.Equal(t, stale, b)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, h.Bytes())
		require.Equal(t, append(slices.Clone(want), stale[8:]...), b)
		require.True(t, h.ChecksumOK(body))
	}
}

func TestAppend(t *testing.T) {
	body := pattern(5)
	want := icmp.Echo(1, 2).Append(nil, body)
	for _, room := range []int{0, 6, 14, 18, 19, 100} {
		b := append(make([]byte, 0, room), "before"...)
		stale := b[len(b):cap(b)]
		for i := range stale {
			stale[i] = 0xee
		}
		got := icmp.Echo(1, 2).Append(b, body)
		assert.Equal(t, "before"+string(want), string(got))
		if room >= len(got) {
			assert.Same(t, &b[0], &got[0], "there was room, and yet the bytes moved")
		}
	}
}

func TestNoAllocs(t *testing.T) {
	echo := []byte(flannelEcho)
	failure := icmp.FragmentationNeeded(1450).AppendError(nil, pattern(1500))
	b := make([]byte, 0, 600)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		h, body, _ := icmp.Parse(echo)
		if h.IsEcho() && h.ChecksumOK(body) {
			h.SetType(icmp.TypeEchoReply)
		}
		h.SetType(icmp.TypeEcho)
		h.FixChecksum(body)
		_ = icmp.Echo(h.ID(), h.Seq()).Append(b, body)
		_, _ = icmp.FieldsOf(h).Put(b[:8], body)
		_, _ = icmp.FieldsOf(h).Put(b, body)

		h, body, _ = icmp.Parse(failure)
		_, _ = h.Quote(body), h.Extensions(body)
		_ = h.NextHopMTU()
		_ = icmp.TimeExceeded(icmp.CodeTTLExceeded).AppendError(b, failure)
		_, _, _ = icmp.Parse(echo[:7])
	}))
}

// A reply that is all zeros has the checksum 0xffff; 0 would be wrong (RFC 1071: only +0 sums to +0).
func TestSetTypeOfZeros(t *testing.T) {
	for _, size := range []int{0, 1, 8} {
		message := icmp.Echo(0, 0).Append(nil, make([]byte, size))
		h, body := parsed(t, message)
		h.SetType(icmp.TypeEchoReply)
		assert.True(t, h.ChecksumOK(body), "%d bytes", size)
	}
}

// An error may be written over the packet that it is about.
func TestAppendErrorOverItsPacket(t *testing.T) {
	packet := make([]byte, 60, 100)
	for i := range packet {
		packet[i] = byte(i)
	}
	want := icmp.TimeExceeded(icmp.CodeTTLExceeded).AppendError(nil, packet)
	assert.Equal(t, want, icmp.TimeExceeded(icmp.CodeTTLExceeded).AppendError(packet[:0], packet))
}
