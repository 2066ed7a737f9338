package ipfrag_test

// A slow reassembler that keeps every byte on its own, beside the fast one.

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/ipv4"
)

// slow is one incomplete datagram.
type slow struct {
	strict bool
	bytes  map[int]slowByte
	parts  []part
	ends   map[int]bool // said by last fragments
}

type slowByte struct {
	value byte
	run   int // of fragments that came in order, one behind the other
}

func newSlow(strict bool) *slow {
	return &slow{strict: strict, bytes: make(map[int]slowByte), ends: make(map[int]bool)}
}

// add returns what becomes of a fragment, and of the datagram the bytes if it is whole.
func (s *slow) add(p part) (ipfrag.Outcome, []byte) {
	more := p.fields.Flags&ipv4.MoreFragments != 0
	if more && p.end%8 != 0 {
		if s.strict {
			return ipfrag.BadLength, nil
		}
		p.end -= p.end % 8
	}
	if s.contradicts(p.end, more) {
		return ipfrag.BadEnd, nil
	}
	if p.start == p.end {
		return ipfrag.BadLength, nil
	}
	if o := s.overlap(p, more); o != ipfrag.Held {
		if o == ipfrag.Duplicate && !more {
			s.ends[p.end] = true
		}
		return o, nil
	}
	s.store(p)
	if !more {
		s.ends[p.end] = true
	}
	for end := range s.ends {
		if len(s.bytes) == end {
			return s.whole(end)
		}
	}
	return ipfrag.Held, nil
}

func (s *slow) contradicts(end int, more bool) bool {
	for e := range s.ends {
		if end > e || !more && end != e {
			return true
		}
	}
	for at := range s.bytes {
		if !more && at >= end {
			return true
		}
	}
	return false
}

func (s *slow) overlap(p part, more bool) ipfrag.Outcome {
	there, runs := 0, make(map[int]bool)
	for at := p.start; at < p.end; at++ {
		if b, ok := s.bytes[at]; ok {
			there++
			runs[b.run] = true
		}
	}
	switch {
	case there == 0:
		return ipfrag.Held
	case s.strict:
		same := func(q part) bool {
			return q.start == p.start && q.end == p.end && (q.fields.Flags&ipv4.MoreFragments != 0) == more
		}
		if slices.ContainsFunc(s.parts, same) {
			return ipfrag.Duplicate
		}
	case there == p.end-p.start && len(runs) == 1:
		return ipfrag.Duplicate
	}
	return ipfrag.Overlap
}

func (s *slow) store(p part) {
	run := len(s.parts) + 1
	last := -1
	for at := range s.bytes {
		last = max(last, at)
	}
	if last == p.start-1 && last >= 0 {
		run = s.bytes[last].run
	}
	payload := p.packet()[ipv4.HeaderLen+len(p.fields.Options):]
	for i := range p.end - p.start {
		s.bytes[p.start+i] = slowByte{payload[i], run}
	}
	s.parts = append(s.parts, p)
}

func (s *slow) whole(end int) (ipfrag.Outcome, []byte) {
	capable := make(map[bool]bool)
	for _, p := range s.parts {
		capable[p.fields.TOS&3 != 0] = true
	}
	if len(capable) == 2 {
		return ipfrag.BadECN, nil
	}
	var b []byte
	for at := range end {
		b = append(b, s.bytes[at].value)
	}
	return ipfrag.Whole, b
}

func TestOracle(t *testing.T) {
	for _, strict := range []bool{false, true} {
		t.Run(fmt.Sprintf("strict=%v", strict), func(t *testing.T) {
			const seed, sequences = 15, 10_000
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			k := newKit(t, ipfrag.Config{Strict: strict})
			met := make(map[ipfrag.Outcome]int)
			for range sequences {
				compareWithSlow(t, k, randomParts(rng), strict, met)
			}
			for _, o := range []ipfrag.Outcome{
				ipfrag.Held, ipfrag.Whole, ipfrag.Duplicate, ipfrag.Overlap, ipfrag.BadEnd, ipfrag.BadLength, ipfrag.BadECN,
			} {
				require.Greater(t, met[o], sequences/300, "hardly met: %v", o)
			}
			k.close()
		})
	}
}

// compareWithSlow plays fragments of one datagram to both, and forgets what is left of them.
func compareWithSlow(t *testing.T, k *kit, parts []part, strict bool, met map[ipfrag.Outcome]int) {
	t.Helper()
	s := newSlow(strict)
	before := k.r.Stats().Out
	for i, p := range parts {
		held := len(s.parts)
		want, bytes := s.add(p)
		met[want]++
		k.wholes = nil
		k.send(p)
		after := k.r.Stats().Out
		got := make(map[ipfrag.Outcome]int)
		for o := range after {
			if n := int(after[o] - before[o]); n > 0 {
				got[ipfrag.Outcome(o)] = n
			}
		}
		before = after
		require.Equal(t, expected(want, held), got, "fragment %d of %+v", i, parts)
		switch want {
		case ipfrag.Whole:
			require.Len(t, k.wholes, 1)
			h, payload, err := ipv4.Parse(k.wholes[0])
			require.NoError(t, err)
			require.Equal(t, bytes, payload)
			first := slices.IndexFunc(s.parts, func(p part) bool { return p.start == 0 })
			require.Equal(t, string(s.parts[first].fields.Options), string(h.Options()))
		case ipfrag.Held, ipfrag.Duplicate:
			continue
		}
		s = newSlow(strict)
	}
	k.took(k.r.Flush(k.out[:0]))
}

// expected returns which buffers come out if the fragment's fate is o, and as many were held.
func expected(o ipfrag.Outcome, held int) map[ipfrag.Outcome]int {
	out := map[ipfrag.Outcome]int{o: 1}
	switch o {
	case ipfrag.Held:
		clear(out)
	case ipfrag.Whole:
		out[ipfrag.Merged] = held
	case ipfrag.Duplicate:
	default:
		out[o] += held
	}
	maps.DeleteFunc(out, func(_ ipfrag.Outcome, n int) bool { return n == 0 })
	return out
}

// randomParts returns a few fragments of one small datagram: some of them fit, most of the time.
func randomParts(rng *rand.Rand) []part {
	const units = 5
	total := 1 + rng.IntN(units*8)
	tos := uint8(rng.IntN(4))
	var parts []part
	add := func(start, end int, more bool) {
		p := part{start: start, end: end, fields: ipv4.Fields{
			TOS: tos, ID: 1, TTL: defaultTTL, Protocol: experiment, Src: source, Dst: target, FragmentOffset: uint16(start),
		}}
		if more {
			p.fields.Flags = ipv4.MoreFragments
		}
		if rng.IntN(3) == 0 {
			p.fields.Flags |= ipv4.DontFragment
		}
		if rng.IntN(40) == 0 {
			p.fields.TOS = uint8(rng.IntN(256))
		}
		if rng.IntN(20) == 0 {
			p.fields.Options = options
		}
		p.other = rng.IntN(8) == 0
		parts = append(parts, p)
	}
	for at := 0; at < total; { // the datagram
		end := min(at+8*(1+rng.IntN(3)), total)
		add(at, end, end < total)
		at = end
	}
	for range rng.IntN(3) { // repeated ones
		again := parts[rng.IntN(len(parts))]
		parts = append(parts, again)
	}
	for range rng.IntN(3) * rng.IntN(2) { // strange ones
		start := 8 * rng.IntN(units)
		add(start, start+rng.IntN(25), rng.IntN(3) > 0)
	}
	rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	parts = parts[:1+rng.IntN(len(parts))]
	for i := range parts { // one piece only: no fragment, and none of our business
		if p := &parts[i]; p.start == 0 && p.fields.Flags&ipv4.MoreFragments == 0 {
			p.fields.Flags |= ipv4.MoreFragments
		}
	}
	return parts
}
