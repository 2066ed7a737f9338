package ipfrag_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// Options: the copied bit is the uppermost of the first byte.
var (
	nop         = []byte{ipv4.OptionNop}
	recordRoute = []byte{ipv4.OptionRecordRoute, 7, 4, 1, 2, 3, 4}
	timestamp   = []byte{ipv4.OptionTimestamp, 8, 5, 0, 1, 2, 3, 4}
	security    = []byte{ipv4.OptionSecurity, 3, 0xab}
	looseRoute  = []byte{ipv4.OptionLooseRoute, 7, 4, 5, 6, 7, 8}
	alert       = []byte{ipv4.OptionRouterAlert, 4, 0, 0}
)

// list returns options in one list, padded.
func list(options ...[]byte) []byte {
	l := slices.Concat(options...)
	for len(l)%4 != 0 {
		l = append(l, ipv4.OptionEnd)
	}
	return l
}

var fragmentCases = []struct {
	name    string
	fields  ipv4.Fields
	payload int
	mtu     int
	want    []string // "0-24+", the length of the options if there are any, flags but MF
	later   []byte   // options of all but the first
}{
	{name: "as large as the MTU", payload: 1480, mtu: 1500, want: []string{"0-1480"}},
	{name: "a byte larger", payload: 1481, mtu: 1500, want: []string{"0-1480+", "1480-1481"}},
	{name: "MTU beyond what IPv4 can have", payload: 65515, mtu: math.MaxInt, want: []string{"0-65515"}},
	{name: "RFC 791 appendix A, example 2", payload: 452, mtu: 280, want: []string{"0-256+", "256-452"}},
	{name: "MTU of no multiple of 8: the last may fill it", payload: 100, mtu: 75, want: []string{"0-48+", "48-100"}},
	{name: "MTU of no multiple of 8: the last may not exceed it", payload: 104, mtu: 75, want: []string{"0-48+", "48-96+", "96-104"}},
	{name: "smallest MTU", payload: 20, mtu: 28, want: []string{"0-8+", "8-16+", "16-20"}},
	{name: "smallest MTU, and 7 bytes", payload: 20, mtu: 35, want: []string{"0-8+", "8-20"}},
	{name: "RFC 791's least MTU, 68", payload: 96, mtu: 68, want: []string{"0-48+", "48-96"}},
	{name: "exact multiples", payload: 48, mtu: 44, want: []string{"0-24+", "24-48"}},
	{name: "DF stays", fields: ipv4.Fields{Flags: ipv4.DontFragment}, payload: 40, mtu: 44, want: []string{"0-24+ df", "24-40 df"}},
	{name: "the reserved bit stays", fields: ipv4.Fields{Flags: ipv4.ReservedFlag}, payload: 40, mtu: 44, want: []string{"0-24+ evil", "24-40 evil"}},
	{
		name: "a first fragment", fields: ipv4.Fields{Flags: ipv4.MoreFragments},
		payload: 40, mtu: 44, want: []string{"0-24+", "24-40+"},
	},
	{
		name: "a fragment in the middle", fields: ipv4.Fields{Flags: ipv4.MoreFragments, FragmentOffset: 1480},
		payload: 64, mtu: 44, want: []string{"1480-1504+", "1504-1528+", "1528-1544+"},
	},
	{
		name: "a last fragment", fields: ipv4.Fields{FragmentOffset: 1480},
		payload: 41, mtu: 44, want: []string{"1480-1504+", "1504-1521"},
	},
	{
		name: "the last fragment of the largest datagram", fields: ipv4.Fields{FragmentOffset: 65480},
		payload: 55, mtu: 44, want: []string{"65480-65504+", "65504-65528+", "65528-65535"},
	},
	{
		name: "options that are copied", fields: ipv4.Fields{Options: list(alert)},
		payload: 32, mtu: 44, want: []string{"0-16+ options=4", "16-32 options=4"}, later: alert,
	},
	{
		name: "options that are not copied leave room", fields: ipv4.Fields{Options: list(recordRoute)},
		payload: 40, mtu: 44, want: []string{"0-16+ options=8", "16-40"}, later: []byte{},
	},
	{
		name: "some of each", fields: ipv4.Fields{Options: list(timestamp, nop, security, recordRoute, alert)},
		payload: 32, mtu: 60, want: []string{"0-16+ options=24", "16-32 options=8"}, later: list(security, alert),
	},
	{
		name: "padding between options is not copied", fields: ipv4.Fields{Options: list(nop, looseRoute, nop, nop, alert)},
		payload: 32, mtu: 60, want: []string{"0-24+ options=16", "24-32 options=12"}, later: list(looseRoute, alert),
	},
	{
		name: "nothing counts behind the end", fields: ipv4.Fields{Options: []byte{ipv4.OptionEnd, 0, 0, 0, 148, 4, 0, 0}},
		payload: 32, mtu: 44, want: []string{"0-16+ options=8", "16-32"}, later: []byte{},
	},
	{
		name: "nothing counts behind a malformed option", fields: ipv4.Fields{Options: list(alert, []byte{ipv4.OptionSecurity, 9, 0, 0})},
		payload: 32, mtu: 44, want: []string{"0-16+ options=8", "16-32 options=4"}, later: alert,
	},
	{
		name: "40 bytes of options", fields: ipv4.Fields{Options: slices.Repeat(alert, 10)},
		payload: 12, mtu: 68, want: []string{"0-8+ options=40", "8-12 options=40"}, later: slices.Repeat(alert, 10),
	},
}

// complete returns f with what no case is about.
func complete(f ipv4.Fields) ipv4.Fields {
	f.TOS, f.ID, f.TTL, f.Protocol, f.Src, f.Dst = 0xba, 0x4242, 17, experiment, source, target
	return f
}

func TestFragment(t *testing.T) {
	for _, c := range fragmentCases {
		t.Run(c.name, func(t *testing.T) {
			pool := newPool(t, 16, bufferSize)
			f := complete(c.fields)
			p := whole(t, f, c.payload)
			b := packet.Of(p)
			b.SetHash(0xfeedbeef)
			earlier := packet.New(0)
			frags, err := ipfrag.Fragment(b, c.mtu, pool.Get, []*packet.Buffer{earlier})
			require.NoError(t, err)
			require.Same(t, earlier, frags[0])
			require.Same(t, b, frags[1])
			frags = frags[1:]
			var got []string
			for i, b := range frags {
				got = append(got, describe(t, b, i == 0, c.fields, c.later))
				assert.Equal(t, uint32(0xfeedbeef), b.Hash())
				assert.LessOrEqual(t, b.Len(), c.mtu)
			}
			assert.Equal(t, c.want, got)
			assert.Equal(t, len(frags)-1, pool.InUse())
			packet.FreeBatch(frags)
			assert.Zero(t, pool.InUse())
		})
	}
}

// describe checks all of a fragment that is the same in each, and returns the rest as text.
func describe(t *testing.T, b *packet.Buffer, first bool, f ipv4.Fields, later []byte) string {
	t.Helper()
	h, payload, err := ipv4.Parse(b.Bytes())
	require.NoError(t, err)
	require.Len(t, b.Bytes(), h.Len()+len(payload))
	start := int(h.FragmentOffset())
	s := fmt.Sprintf("%d-%d", start, start+len(payload))
	if h.MF() {
		s += "+"
	}
	if n := len(h.Options()); n > 0 {
		s += fmt.Sprintf(" options=%d", n)
	}
	if h.DF() {
		s += " df"
	}
	if h.Flags()&ipv4.ReservedFlag != 0 {
		s += " evil"
	}
	want := complete(f)
	want.FragmentOffset, want.Flags = h.FragmentOffset(), h.Flags()
	if !first {
		want.Options = later
	}
	got := ipv4.FieldsOf(h)
	assert.Equal(t, string(want.Options), string(got.Options), "options of %s", s)
	want.Options, got.Options = nil, nil
	assert.Equal(t, want, got, "header of %s", s)
	assert.True(t, h.ChecksumOK(), "header checksum of %s", s)
	from := start - int(f.FragmentOffset)
	assert.Equal(t, content(from, from+len(payload)), payload, "payload of %s", s)
	return s
}

func newPool(t testing.TB, buffers, size int) *packet.Pool {
	t.Helper()
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: buffers, Size: size})
	require.NoError(t, err)
	return pool
}

// TestFragmentRefuses has one fault in each case. Nothing may have happened then.
func TestFragmentRefuses(t *testing.T) {
	plain := whole(t, complete(ipv4.Fields{}), 100)
	for _, c := range []struct {
		name   string
		packet []byte
		mtu    int
		spoil  func(*packet.Buffer)
		pool   *packet.Pool
		want   error
	}{
		{name: "MTU a byte too small", packet: plain, mtu: 27, want: ipfrag.ErrMTU},
		{name: "MTU 0", packet: plain, mtu: 0, want: ipfrag.ErrMTU},
		{name: "MTU negative", packet: plain, mtu: -1, want: ipfrag.ErrMTU},
		{name: "MTU most negative", packet: plain, mtu: math.MinInt, want: ipfrag.ErrMTU},
		{
			name: "MTU too small for the options", mtu: 35, want: ipfrag.ErrMTU,
			packet: whole(t, complete(ipv4.Fields{Options: list(recordRoute)}), 100),
		},
		{
			name: "beyond 65535", mtu: 44, want: ipfrag.ErrTooBig,
			packet: whole(t, complete(ipv4.Fields{FragmentOffset: 65480}), 56),
		},
		{name: "no packet", packet: nil, mtu: 44, want: ipv4.ErrShort},
		{name: "half a packet", packet: plain[:60], mtu: 44, want: ipv4.ErrTruncated},
		{name: "no buffer", packet: plain, mtu: 44, pool: newPool(t, 3, bufferSize), want: ipfrag.ErrNoBuffer},
		{name: "small buffers", packet: plain, mtu: 44, pool: newPool(t, 16, packet.DefaultHeadroom+43), want: packet.ErrTailroom},
		{
			name: "checksum field cut off", packet: plain, mtu: 44, want: packet.ErrShort,
			spoil: func(b *packet.Buffer) {
				_, _ = b.Extend(8)
				require.NoError(t, b.SetChecksumPartial(20, 100))
				_ = b.Truncate(120)
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.pool == nil {
				c.pool = newPool(t, 16, bufferSize)
			}
			b := packet.New(256)
			require.NoError(t, b.SetBytes(c.packet))
			b.SetHash(7)
			b.SetChecksumVerified()
			if c.spoil != nil {
				c.spoil(b)
			}
			state := b.Checksum()
			earlier := []*packet.Buffer{packet.New(0)}
			frags, err := ipfrag.Fragment(b, c.mtu, c.pool.Get, earlier)
			require.ErrorIs(t, err, c.want)
			assert.Equal(t, earlier, frags)
			assert.Equal(t, string(c.packet), string(b.Bytes()))
			assert.EqualValues(t, 7, b.Hash())
			assert.Equal(t, state, b.Checksum())
			assert.Zero(t, c.pool.InUse())
		})
	}
}

// TestFragmentCompletesChecksum has a packet whose transport checksum is to be computed by a device, which cannot do it on
// fragments.
func TestFragmentCompletesChecksum(t *testing.T) {
	pool := newPool(t, 16, bufferSize)
	b := packet.Of(whole(t, complete(ipv4.Fields{}), 101))
	partial(t, b)
	frags, err := ipfrag.Fragment(b, 60, pool.Get, nil)
	require.NoError(t, err)
	require.Len(t, frags, 3)
	var payload []byte
	for _, f := range frags {
		_, p, err := ipv4.Parse(f.Bytes())
		require.NoError(t, err)
		payload = append(payload, p...)
		assert.Equal(t, packet.ChecksumUnknown, f.Checksum(), "of a fragment it says nothing")
	}
	// What the field held counts as a part of the sum, so all sums up to 0xffff with it, as with a pseudo-header.
	assert.EqualValues(t, 0xffff, checksum.Add(checksum.Sum(payload), 0x1234))
	packet.FreeBatch(frags)
}

// TestFragmentFillsBuffers has buffers with just the room for a fragment.
func TestFragmentFillsBuffers(t *testing.T) {
	pool := newPool(t, 4, packet.DefaultHeadroom+44)
	frags, err := ipfrag.Fragment(packet.Of(whole(t, complete(ipv4.Fields{}), 100)), 44, pool.Get, nil)
	require.NoError(t, err)
	require.Len(t, frags, 5)
	packet.FreeBatch(frags)
}

// TestRoundTrip cuts random packets, some fragments again, and puts everything together in any order.
func TestRoundTrip(t *testing.T) {
	const seed, rounds = 4, 400
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	made, inPlace := 0, 0
	for round := range rounds {
		size := bufferSize
		if round%2 == 0 {
			size = packet.DefaultHeadroom + ipv4.MaxLen // room for the whole
		}
		k := newKitOf(t, ipfrag.Config{MaxBytes: 1 << 30}, 600, size)
		f := complete(ipv4.Fields{TOS: uint8(rng.Uint32()), Options: randomOptions(rng)})
		if rng.IntN(2) == 0 {
			f.Flags = ipv4.DontFragment
		}
		mtu := 576 + rng.IntN(1000)
		p := whole(t, f, mtu+rng.IntN(min(mtu*100, ipv4.MaxLen-ipv4.MaxHeaderLen-mtu)))
		b := k.pool.Get()
		if err := b.SetBytes(p); err != nil {
			b.Free()
			b = packet.Of(p)
		}
		frags := cut(t, rng, k.pool, b, mtu)
		rng.Shuffle(len(frags), func(i, j int) { frags[i], frags[j] = frags[j], frags[i] })
		var packets [][]byte
		for _, b := range frags {
			packets = append(packets, slices.Clone(b.Bytes()))
		}
		packet.FreeBatch(frags)
		for i, fragment := range packets {
			text := k.input(0, fragment, 0)
			require.Equal(t, i == len(frags)-1, strings.Contains(text, "whole"), "fragment %d of %d: %s", i, len(frags), text)
		}
		require.Equal(t, [][]byte{p}, k.wholes)
		if k.r.Stats().Made > 0 {
			made++
		} else {
			inPlace++
		}
		k.close()
	}
	assert.Greater(t, made, rounds/4)
	assert.Greater(t, inPlace, rounds/4)
}

// cut cuts b, and some of its fragments again.
func cut(t *testing.T, rng *rand.Rand, pool *packet.Pool, b *packet.Buffer, mtu int) []*packet.Buffer {
	t.Helper()
	first, err := ipfrag.Fragment(b, mtu, pool.Get, nil)
	require.NoError(t, err)
	var all []*packet.Buffer
	for _, b := range first {
		m := mtu
		if rng.IntN(4) == 0 && len(first) < 40 {
			m = 100 + rng.IntN(mtu-100)
		}
		all, err = ipfrag.Fragment(b, m, pool.Get, all)
		require.NoError(t, err)
	}
	return all
}

func randomOptions(rng *rand.Rand) []byte {
	var all []byte
	for range rng.IntN(6) {
		o := [][]byte{nop, recordRoute, timestamp, security, looseRoute, alert}[rng.IntN(6)]
		if len(all)+len(o) <= ipv4.MaxHeaderLen-ipv4.HeaderLen {
			all = append(all, o...)
		}
	}
	return list(all)
}

func TestFragmentDoesNotAllocate(t *testing.T) {
	pool := newPool(t, 16, bufferSize)
	p := whole(t, complete(ipv4.Fields{Options: list(alert, recordRoute)}), 1400)
	frags := make([]*packet.Buffer, 0, 16)
	get := pool.Get
	cutAll := func(mtu, want int) func() {
		return func() {
			b := pool.Get()
			_ = b.SetBytes(p)
			var err error
			if frags, err = ipfrag.Fragment(b, mtu, get, frags[:0]); (err == nil) != (want > 0) || len(frags) != want {
				t.Fatal("not cut as wanted", err, len(frags))
			}
			packet.FreeBatch(frags)
			if want == 0 {
				b.Free()
			}
		}
	}
	assert.Zero(t, testing.AllocsPerRun(100, cutAll(576, 3)), "cut")
	assert.Zero(t, testing.AllocsPerRun(100, cutAll(1500, 1)), "small enough")
	assert.Zero(t, testing.AllocsPerRun(100, cutAll(30, 0)), "refused")
	assert.Zero(t, testing.AllocsPerRun(100, cutAll(60, 0)), "not enough buffers")
}
