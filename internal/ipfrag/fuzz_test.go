package ipfrag_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// FuzzFragment cuts any packet: the fragments are small enough, and make the same packet again.
func FuzzFragment(f *testing.F) {
	f.Fuzz(func(t *testing.T, p []byte, mtu uint16) {
		pool := newPool(t, 600, bufferSize)
		if h, payload, err := ipv4.Parse(p); err == nil { // as a receiver would have it
			h.FixChecksum()
			p = p[:h.Len()+len(payload)]
		}
		b := packet.Of(p)
		frags, err := ipfrag.Fragment(b, int(mtu), pool.Get, nil)
		if err != nil {
			require.Empty(t, frags)
			require.Equal(t, string(p), string(b.Bytes()))
			require.Zero(t, pool.InUse())
			return
		}
		require.Equal(t, len(frags)-1, pool.InUse())
		if len(frags) > 1 {
			checkFragments(t, p, int(mtu), frags)
		}
		packet.FreeBatch(frags)
	})
}

// checkFragments puts together what a packet was cut into.
func checkFragments(t *testing.T, p []byte, mtu int, frags []*packet.Buffer) {
	t.Helper()
	h, payload, err := ipv4.Parse(p)
	require.NoError(t, err)
	var joined []byte
	for i, b := range frags {
		fh, part, err := ipv4.Parse(b.Bytes())
		require.NoError(t, err)
		require.True(t, fh.ChecksumOK())
		require.LessOrEqual(t, b.Len(), mtu)
		require.Equal(t, int(h.FragmentOffset())+len(joined), int(fh.FragmentOffset()))
		require.Equal(t, h.MF() || i < len(frags)-1, fh.MF())
		require.Equal(t, h.Flags()|ipv4.MoreFragments, fh.Flags()|ipv4.MoreFragments)
		joined = append(joined, part...)
	}
	require.Equal(t, payload, joined)
	if h.IsFragment() {
		return
	}
	k := newKitOf(t, ipfrag.Config{MaxPerSource: 1 << 30, MaxBytes: 1 << 30, Strict: true}, 600, bufferSize)
	for _, b := range frags {
		k.input(0, b.Bytes(), 0)
	}
	_ = h.SetFragment(h.Flags()&^ipv4.ReservedFlag, 0)
	require.Equal(t, [][]byte{p}, k.wholes)
	k.close()
}

// FuzzInput gives a reassembler any packets: nothing gets lost, and no limit is exceeded. Each is preceded by a byte whose bits
// are its domain, whether it is Tick's turn, and how much time has passed, and by two of its length.
func FuzzInput(f *testing.F) {
	f.Fuzz(func(t *testing.T, script []byte, strict bool) {
		c := ipfrag.Config{MaxBytes: buffersFor(20), MaxPerSource: buffersFor(10), MaxDatagrams: 8, MaxDistance: 5, Strict: strict}
		k := newKitOf(t, c, 64, bufferSize)
		now := time.Duration(0)
		for len(script) >= 3 {
			what, n := script[0], int(binary.BigEndian.Uint16(script[1:]))
			script = script[3:]
			n = min(n, len(script), bufferSize-packet.DefaultHeadroom)
			now += time.Duration(what>>4) * time.Second
			if what&4 != 0 {
				k.tick(now)
				require.Greater(t, k.r.Next(), now)
			}
			k.input(uint32(what&3), script[:n], now)
			script = script[n:]
			datagrams, _, bytes := k.r.Len()
			require.LessOrEqual(t, datagrams, c.MaxDatagrams)
			require.LessOrEqual(t, bytes, c.MaxBytes)
		}
		k.close()
	})
}

// FuzzOracle gives fragments of one datagram to a reassembler and to the slow one: of each four bytes make offset, length, flags
// and TOS.
func FuzzOracle(f *testing.F) {
	f.Fuzz(func(t *testing.T, script []byte, strict bool) {
		var parts []part
		for ; len(script) >= 4 && len(parts) < 60; script = script[4:] {
			start := int(script[0]) % 32 * 8
			p := part{start: start, end: start + int(script[1]), other: script[2]&2 != 0}
			p.fields = ipv4.Fields{
				ID: 1, TTL: defaultTTL, Protocol: experiment, Src: source, Dst: target, FragmentOffset: uint16(start),
				Flags: ipv4.Flags(script[2]) &^ ipv4.MoreFragments, TOS: script[3],
			}
			if start == 0 || script[2]&1 != 0 { // else it would be no fragment
				p.fields.Flags |= ipv4.MoreFragments
			}
			parts = append(parts, p)
		}
		k := newKit(t, ipfrag.Config{Strict: strict, MaxDistance: -1})
		compareWithSlow(t, k, parts, strict, make(map[ipfrag.Outcome]int))
		k.close()
	})
}
