// The fast sums held against the text-book one, over every size, offset and carry pattern that matters.
package checksum_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/checksum"
)

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

func TestRFC1071Example(t *testing.T) {
	// RFC 1071 section 3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2.
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	assert.Equal(t, uint16(0xddf2), checksum.Sum(b))
	assert.Equal(t, ^uint16(0xddf2), checksum.Of(b))
}

func TestSumAgainstOracle(t *testing.T) {
	const seed = 1
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	random := make([]byte, 2100)
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	ones := make([]byte, len(random)) // every carry chain overflows at every step
	for i := range ones {
		ones[i] = 0xff
	}
	for name, mem := range map[string][]byte{"random": random, "ones": ones, "zeros": make([]byte, len(random))} {
		for size := range 2049 {
			for _, offset := range []int{0, 1, 2, 3, 7, 13} {
				b := mem[offset : offset+size : offset+size]
				require.Equal(t, slowSum(b), checksum.Sum(b), "%s, %d bytes at %d", name, size, offset)
			}
		}
	}
	big := make([]byte, 1<<17+3)
	for i := range big {
		big[i] = 0xff - byte(i%7)
	}
	assert.Equal(t, slowSum(big), checksum.Sum(big))
}

func TestSumCarryPatterns(t *testing.T) {
	// Words of all ones and of one: the sums that sit on the edge of a carry out of 64 bits.
	edges := []uint64{0, 1, 1 << 32, 1<<64 - 1, 1<<63 - 1, 1 << 63, 0xffff, 0xffff0000, 1<<64 - 2}
	b := make([]byte, 16*9)
	for _, x := range edges {
		for _, y := range edges {
			for i := 0; i < len(b); i += 16 {
				binary.LittleEndian.PutUint64(b[i:], x)
				binary.LittleEndian.PutUint64(b[i+8:], y)
			}
			for n := range len(b) + 1 {
				require.Equal(t, slowSum(b[:n]), checksum.Sum(b[:n]), "%x %x %d", x, y, n)
			}
			require.Equal(t, slowSum(b[:20]), checksum.Sum20((*[20]byte)(b)), "%x %x", x, y)
		}
	}
}

func TestSumDoesNotWrite(t *testing.T) {
	b := []byte{1, 2, 3, 4, 5}
	checksum.Sum(b)
	assert.Equal(t, []byte{1, 2, 3, 4, 5}, b)
}

func TestAddJoinsParts(t *testing.T) {
	b := make([]byte, 64)
	for i := range b {
		b[i] = byte(i * 37)
	}
	for cut := 0; cut <= len(b); cut += 2 {
		assert.Equal(t, slowSum(b), checksum.Add(checksum.Sum(b[:cut]), checksum.Sum(b[cut:])), "cut at %d", cut)
	}
}

// A header whose checksum is right stays right after an update, for every old and new word at a grid of values,
// the corner of RFC 1624 section 3 (0x0000 against 0xffff) included.
func TestUpdateKeepsHeadersRight(t *testing.T) {
	words := []uint16{0, 1, 0x00ff, 0x7fff, 0x8000, 0xfffe, 0xffff, 0x5555, 0xaaaa}
	for _, a := range words {
		for _, old := range words {
			for _, now := range words {
				h := make([]byte, 8)
				binary.BigEndian.PutUint16(h[0:], a)
				binary.BigEndian.PutUint16(h[2:], old)
				binary.BigEndian.PutUint16(h[4:], 0x4500) // a header is never all zeros
				binary.BigEndian.PutUint16(h[6:], checksum.Of(h))
				check := checksum.Update(binary.BigEndian.Uint16(h[6:]), old, now)
				binary.BigEndian.PutUint16(h[2:], now)
				binary.BigEndian.PutUint16(h[6:], 0)
				require.Equal(t, checksum.Of(h), check, "%04x: %04x -> %04x", a, old, now)
			}
		}
	}
}

func TestUpdate32(t *testing.T) {
	const seed = 2
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 100_000 {
		h := make([]byte, 20)
		for i := range h {
			h[i] = byte(rng.Uint32())
		}
		h[0] = 0x45
		binary.BigEndian.PutUint16(h[10:], 0)
		check := checksum.Of(h)
		old, now := binary.BigEndian.Uint32(h[12:]), rng.Uint32()
		binary.BigEndian.PutUint32(h[12:], now)
		require.Equal(t, checksum.Of(h), checksum.Update32(check, old, now))
	}
}

// RFC 1624 section 4's example: header sum that ends in 0xffff must not become 0x0000's twin.
func TestUpdateRFC1624Example(t *testing.T) {
	assert.Equal(t, uint16(0x0000), checksum.Update(0xdd2f, 0x5555, 0x3285))
}

func TestPseudoHeader(t *testing.T) {
	src, dst := [4]byte{10, 244, 1, 12}, [4]byte{255, 255, 255, 255}
	for _, length := range []uint16{0, 8, 1480, 65535} {
		b := append(append([]byte{}, src[:]...), dst[:]...)
		b = append(b, 0, 17, byte(length>>8), byte(length))
		assert.Equal(t, slowSum(b), checksum.PseudoHeader(src, dst, 17, length))
	}
	all := [4]byte{255, 255, 255, 255}
	assert.Equal(t, slowSum([]byte{255, 255, 255, 255, 255, 255, 255, 255, 0, 255, 255, 255}),
		checksum.PseudoHeader(all, all, 255, 65535))
}

func TestNoAllocs(t *testing.T) {
	b := make([]byte, 1500)
	var sink uint16
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		sink += checksum.Of(b) + checksum.Sum20((*[20]byte)(b)) + checksum.Update(1, 2, 3)
		sink += checksum.PseudoHeader([4]byte{}, [4]byte{}, 17, 8)
	}))
}

func FuzzSum(f *testing.F) {
	f.Add([]byte{}, 0)
	f.Add([]byte{0xff, 0xff, 0xff}, 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		if want, got := slowSum(b), checksum.Sum(b); want != got {
			t.Fatalf("%x: %04x, want %04x", b, got, want)
		}
		if cut < 0 || cut > len(b) || cut%2 == 1 {
			return
		}
		if want, got := slowSum(b), checksum.Add(checksum.Sum(b[:cut]), checksum.Sum(b[cut:])); want != got {
			t.Fatalf("%x cut at %d: %04x, want %04x", b, cut, got, want)
		}
	})
}

func ExampleOf() {
	// The IPv4 header of a Flannel VXLAN packet, its checksum field still zero.
	header := []byte{
		0x45, 0x00, 0x00, 0x86, 0x75, 0x86, 0x00, 0x00, 0x40, 0x11, 0, 0,
		172, 16, 100, 101, 172, 16, 100, 102,
	}
	fmt.Printf("%#04x\n", checksum.Of(header))
	// Output: 0xe3f4
}
