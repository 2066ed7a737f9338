// The rules that tunnels share, number by number as Linux 6.18 was observed to follow them and as RFC 6040 has them.
package tunnel_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tunnel"
)

const (
	notECT = ipv4.NotECT
	ect1   = ipv4.ECT1
	ect0   = ipv4.ECT0
	ce     = ipv4.CE
)

// TestEncapECN: RFC 6040 section 4.1 in normal mode copies the mark; Linux sends ECT(0) for CE (INET_ECN_encapsulate).
func TestEncapECN(t *testing.T) {
	for _, c := range []struct{ inner, linux, rfc ipv4.ECN }{
		{notECT, notECT, notECT},
		{ect1, ect1, ect1},
		{ect0, ect0, ect0},
		{ce, ect0, ce},
	} {
		assert.Equal(t, c.linux, tunnel.Linux.EncapECN(c.inner), "Linux, inner %02b", c.inner)
		assert.Equal(t, c.rfc, tunnel.RFC.EncapECN(c.inner), "RFC, inner %02b", c.inner)
	}
}

// decapECN is RFC 6040 section 4.2, figure 4: what arrives for each pair of marks.
var decapECN = []struct {
	outer, inner, want ipv4.ECN
	drop               bool
}{
	{outer: notECT, inner: notECT, want: notECT},
	{outer: notECT, inner: ect1, want: ect1},
	{outer: notECT, inner: ect0, want: ect0},
	{outer: notECT, inner: ce, want: ce},
	{outer: ect1, inner: notECT, want: notECT},
	{outer: ect1, inner: ect1, want: ect1},
	{outer: ect1, inner: ect0, want: ect1},
	{outer: ect1, inner: ce, want: ce},
	{outer: ect0, inner: notECT, want: notECT},
	{outer: ect0, inner: ect1, want: ect1},
	{outer: ect0, inner: ect0, want: ect0},
	{outer: ect0, inner: ce, want: ce},
	{outer: ce, inner: notECT, want: notECT, drop: true},
	{outer: ce, inner: ect1, want: ce},
	{outer: ce, inner: ect0, want: ce},
	{outer: ce, inner: ce, want: ce},
}

func TestDecapECN(t *testing.T) {
	require.Len(t, decapECN, 16)
	for _, c := range decapECN {
		name := fmt.Sprintf("outer %02b, inner %02b", c.outer, c.inner)
		got, err := tunnel.DecapECN(c.outer, c.inner)
		assert.Equal(t, c.want, got, name)
		if c.drop {
			assert.ErrorIs(t, err, tunnel.ErrECN, name)
		} else {
			assert.NoError(t, err, name)
		}
	}
}

// slowSum is RFC 1071 section 4.1, word by word: the oracle.
func slowSum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// TestMarkIPv4 marks headers with every TOS byte and each kind of checksum: the ECN bits and the checksum may change, and
// nothing else.
func TestMarkIPv4(t *testing.T) {
	const seed = 7
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, c := range decapECN {
		for dscp := range 64 {
			var h [ipv4.HeaderLen]byte
			for i := range h {
				h[i] = byte(rng.Uint32())
			}
			h[1] = byte(dscp)<<2 | byte(c.inner)
			binary.BigEndian.PutUint16(h[10:], 0)
			binary.BigEndian.PutUint16(h[10:], ^slowSum(h[:]))

			want := h
			want[1] = byte(dscp)<<2 | byte(c.want)
			if c.want != c.inner {
				binary.BigEndian.PutUint16(want[10:], 0)
				binary.BigEndian.PutUint16(want[10:], ^slowSum(want[:]))
			}
			name := fmt.Sprintf("outer %02b, inner %02b, DSCP %d", c.outer, c.inner, dscp)
			err := tunnel.MarkIPv4(&h, c.outer)
			if c.drop {
				require.ErrorIs(t, err, tunnel.ErrECN, name)
			} else {
				require.NoError(t, err, name)
			}
			require.Equal(t, uint16(0xffff), slowSum(h[:]), "%s: wrong checksum", name)
			require.Equal(t, want, h, name)
		}
	}
}

// TestMarkIPv4KeepsWrongChecksumWrong: an update must not hide that a header was broken.
func TestMarkIPv4KeepsWrongChecksumWrong(t *testing.T) {
	h := [ipv4.HeaderLen]byte{0: 0x45, 1: byte(ect0), 3: 20, 8: 64, 9: 17}
	right := ^slowSum(h[:])
	for wrong := range 1 << 16 {
		if uint16(wrong) == right {
			continue
		}
		marked := h
		binary.BigEndian.PutUint16(marked[10:], uint16(wrong))
		require.NoError(t, tunnel.MarkIPv4(&marked, ce))
		require.NotEqual(t, uint16(0xffff), slowSum(marked[:]), "%#04x", wrong)
	}
}

// TestMarkIPv4LeavesTheRestAlone: where the mark stays, so does a checksum that is right and unusual: 0xffff for 0.
func TestMarkIPv4LeavesTheRestAlone(t *testing.T) {
	h := [ipv4.HeaderLen]byte{0: 0x45, 1: byte(ect0), 3: 20, 8: 64, 9: 17, 10: 0xff, 11: 0xff}
	binary.BigEndian.PutUint16(h[4:], ^slowSum(h[:])) // an id that makes all words sum up to 0xffff
	require.Equal(t, uint16(0xffff), slowSum(h[:]))
	want := h
	require.NoError(t, tunnel.MarkIPv4(&h, ect0))
	assert.Equal(t, want, h)
}

// TestMarkIPv6 looks at the whole traffic class with all its neighbours set and clear: version above, flow label below.
func TestMarkIPv6(t *testing.T) {
	require.Equal(t, 40, tunnel.IPv6HeaderLen)
	for _, c := range decapECN {
		for dscp := range 64 {
			for _, others := range []byte{0x00, 0xff} {
				var h [tunnel.IPv6HeaderLen]byte
				for i := range h {
					h[i] = others
				}
				// Version, traffic class and flow label (RFC 8200 section 3): the class straddles the first two bytes.
				class := func(ecn ipv4.ECN) [2]byte {
					tc := byte(dscp)<<2 | byte(ecn)
					return [2]byte{0x60 | tc>>4, tc<<4 | others&0xf}
				}
				in, out := class(c.inner), class(c.want)
				copy(h[:], in[:])
				want := h
				copy(want[:], out[:])
				name := fmt.Sprintf("outer %02b, inner %02b, DSCP %d, others %#x", c.outer, c.inner, dscp, others)
				err := tunnel.MarkIPv6(&h, c.outer)
				if c.drop {
					require.ErrorIs(t, err, tunnel.ErrECN, name)
				} else {
					require.NoError(t, err, name)
				}
				require.Equal(t, want, h, name)
			}
		}
	}
}

func TestPortsOrDefault(t *testing.T) {
	for _, c := range []struct {
		name     string
		in, want tunnel.Ports
		err      error
	}{
		{"zero is the default", tunnel.Ports{}, tunnel.Ports{Min: 32768, Max: 60999}, nil},
		{"another range", tunnel.Ports{Min: 1024, Max: 2048}, tunnel.Ports{Min: 1024, Max: 2048}, nil},
		{"one port", tunnel.Ports{Min: 5000, Max: 5001}, tunnel.Ports{Min: 5000, Max: 5001}, nil},
		{"from 0", tunnel.Ports{Max: 1}, tunnel.Ports{Max: 1}, nil},
		{"everything there is", tunnel.Ports{Max: 65535}, tunnel.Ports{Max: 65535}, nil},
		{"nothing between the ends", tunnel.Ports{Min: 5000, Max: 5000}, tunnel.Ports{Min: 5000, Max: 5000}, tunnel.ErrPorts},
		{"upside down", tunnel.Ports{Min: 5001, Max: 5000}, tunnel.Ports{Min: 5001, Max: 5000}, tunnel.ErrPorts},
		{"without an upper end", tunnel.Ports{Min: 1}, tunnel.Ports{Min: 1}, tunnel.ErrPorts},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.in.OrDefault()
			assert.ErrorIs(t, err, c.err)
			assert.Equal(t, c.want, got)
		})
	}
}

// TestPort holds the ports against Linux's formula, worked out with numbers that cannot overflow: udp_flow_src_port of
// include/net/udp.h says hash ^= hash << 16, port = min + (hash * (max - min) >> 32).
func TestPort(t *testing.T) {
	const seed = 9
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	hashes := []uint32{0, 1, 2, 1<<16 - 1, 1 << 16, 1<<31 - 1, 1 << 31, 1<<32 - 1, 0xffff0000, 0xffff0001, 0x12345678}
	for range 10_000 {
		hashes = append(hashes, rng.Uint32())
	}
	for _, r := range []tunnel.Ports{tunnel.DefaultPorts, {Min: 1024, Max: 1025}, {Max: 65535}, {Min: 65534, Max: 65535}, {Min: 49152, Max: 65535}} {
		for _, hash := range hashes {
			lower := uint64(hash) & 0xffff
			mixed := uint64(hash) ^ lower<<16
			want := uint64(r.Min) + mixed*uint64(r.Max-r.Min)/(1<<32)
			got := r.Port(hash)
			require.Equal(t, want, uint64(got), "%v: hash %#x", r, hash)
			require.GreaterOrEqual(t, got, r.Min)
			require.Less(t, got, r.Max, "%v: the upper end is excluded", r)
		}
	}
}

// TestPortReachesAll: no port of the range is left out, the lowest and the highest included, and none is preferred.
func TestPortReachesAll(t *testing.T) {
	const hashes, step = 1 << 20, 1 << 12
	r := tunnel.DefaultPorts
	counts := make([]int, 1<<16)
	for i := range uint32(hashes) {
		mixed := i * step
		counts[r.Port(mixed^mixed<<16)]++ // the mixing undoes itself
	}
	each := hashes / int(r.Max-r.Min)
	for port, n := range counts {
		if port < int(r.Min) || port >= int(r.Max) {
			require.Zero(t, n, "port %d is outside the range", port)
			continue
		}
		require.Contains(t, []int{each, each + 1}, n, "port %d", port)
	}
}

func TestProfileString(t *testing.T) {
	assert.Equal(t, "Linux", tunnel.Linux.String())
	assert.Equal(t, "RFC", tunnel.RFC.String())
	assert.Equal(t, "unknown", tunnel.Profile(2).String())
	var zero tunnel.Profile
	assert.Equal(t, tunnel.Linux, zero)
}

func TestAllocatesNothing(t *testing.T) {
	var h4 [ipv4.HeaderLen]byte
	var h6 [tunnel.IPv6HeaderLen]byte
	var port uint16
	var errs int
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		for _, c := range decapECN {
			h4[1], h6[1] = byte(c.inner), byte(c.inner)<<4
			for _, err := range []error{tunnel.MarkIPv4(&h4, c.outer), tunnel.MarkIPv6(&h6, c.outer)} {
				if err != nil {
					errs++
				}
			}
			port ^= tunnel.DefaultPorts.Port(uint32(c.outer))
			_, _ = tunnel.Ports{Min: 1}.OrDefault()
		}
	}))
	assert.Positive(t, errs)
}
