// How well the hash spreads: the patterns that addresses and ports make in real clusters over tunnel source ports and
// over a few links, and how far a change of one input bit spreads.
package flow_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/tunnel"
)

// patterns are ways in which 2^16 flows differ, numbered from 0.
var patterns = []struct {
	name string
	flow func(i uint32) tuple
}{
	{"source ports", func(i uint32) tuple { return tuple{0x0af4010c, 0x0af4020e, uint16(i), 80, 6} }},
	{"destination ports", func(i uint32) tuple { return tuple{0x0af4010c, 0x0af4020e, 40000, uint16(i), 17} }},
	{"both ports in step", func(i uint32) tuple { return tuple{0x0af4010c, 0x0af4020e, uint16(i), uint16(i), 17} }},
	{"sources", func(i uint32) tuple { return tuple{0x0af40000 + i, 0x0af5020e, 40000, 80, 6} }},
	{"destinations", func(i uint32) tuple { return tuple{0x0af5010c, 0x0af40000 + i, 40000, 80, 6} }},
	{"both addresses in step", func(i uint32) tuple { return tuple{0x0af40000 + i, 0x0af50000 + i, 40000, 80, 6} }},
	{"256 sources to 256 destinations", func(i uint32) tuple { return tuple{0x0af40000 + i>>8, 0x0af50000 + i&255, 40000, 80, 6} }},
	{"a source in each /24", func(i uint32) tuple { return tuple{0x0a000001 + i<<8, 0x0bf5020e, 40000, 80, 6} }},
	{"256 sources with 256 ports", func(i uint32) tuple { return tuple{0x0af40000 + i>>8, 0x0af5020e, uint16(32768 + i&255), 80, 6} }},
	{"addresses and ports in step", func(i uint32) tuple { return tuple{0x0af40000 + i, 0x0af5020e, uint16(i), 80, 6} }},
	{"sources without ports", func(i uint32) tuple { return tuple{0x0af40000 + i, 0x0af5020e, 0, 0, 1} }},
}

// uses are what a hash is cut down to.
var uses = []struct {
	name    string
	buckets int
	bucket  func(hash uint32) int
}{
	{"default source ports", 28231, func(h uint32) int { return int(tunnel.DefaultPorts.Port(h) - tunnel.DefaultPorts.Min) }},
	{"64 links by the upper bits", 64, func(h uint32) int { return int(h >> 26) }},
	{"64 links by the lower bits", 64, func(h uint32) int { return int(h % 64) }},
	{"7 links by the remainder", 7, func(h uint32) int { return int(h % 7) }},
}

const qualitySeeds = 12 // the zero Hasher and eleven others

func qualityHasher(i int) flow.Hasher {
	if i == 0 {
		return flow.Hasher{}
	}
	return flow.NewHasher(uint64(i) * 0x9e3779b97f4a7c15)
}

// TestDistribution holds the chi-square statistic of each use against that of chance, in standard deviations. A spread
// that is more even than chance is no fault.
func TestDistribution(t *testing.T) {
	const (
		flows = 1 << 16
		limit = 5
	)
	hashes := make([]uint32, flows)
	for _, p := range patterns {
		worst := make([]float64, len(uses))
		for seed := range qualitySeeds {
			h := qualityHasher(seed)
			for i := range hashes {
				hashes[i] = h.IPv4(p.flow(uint32(i)).packet())
			}
			for i, u := range uses {
				counts := make([]int, u.buckets)
				for _, hash := range hashes {
					counts[u.bucket(hash)]++
				}
				deviation := chiSquare(counts, flows)
				worst[i] = max(worst[i], deviation)
				assert.Less(t, deviation, float64(limit), "%s over %s: seed %d: fullest bucket %.2f times the mean",
					p.name, u.name, seed, float64(slices.Max(counts)*u.buckets)/flows)
			}
		}
		t.Logf("%s: chi-square off by at most %.1f standard deviations", p.name, worst)
	}
}

// chiSquare returns by how many standard deviations the chi-square statistic of counts exceeds its expectation.
func chiSquare(counts []int, n int) float64 {
	mean := float64(n) / float64(len(counts))
	var sum float64
	for _, c := range counts {
		sum += (float64(c) - mean) * (float64(c) - mean) / mean
	}
	freedom := float64(len(counts) - 1)
	return (sum - freedom) / math.Sqrt(2*freedom)
}

// avalancheBits are the input bits that matter: addresses and ports.
const avalancheBits = 96

// TestAvalanche flips each input bit of flows as they occur in a cluster and of random ones: each output bit must flip
// about every second time.
func TestAvalanche(t *testing.T) {
	const samples = 3000
	for _, kind := range []struct {
		name string
		flow func(*rand.Rand) tuple
	}{
		{"random flows", func(r *rand.Rand) tuple {
			return tuple{r.Uint32(), r.Uint32(), uint16(r.Uint32()), uint16(r.Uint32()), 17}
		}},
		{"flows of a cluster", func(r *rand.Rand) tuple {
			return tuple{0x0af40000 | r.Uint32()&0xffff, 0x0af40000 | r.Uint32()&0xffff, uint16(32768 + r.IntN(28232)), 80, 6}
		}},
	} {
		for seed := range qualitySeeds {
			rng := rand.New(rand.NewPCG(uint64(seed), 1))
			h := qualityHasher(seed)
			var flips [avalancheBits][32]int
			for range samples {
				p := kind.flow(rng).packet()
				plain := h.IPv4(p)
				for in := range avalancheBits {
					at, bit := 12+in/8, byte(1)<<(in%8)
					p[at] ^= bit
					changed := plain ^ h.IPv4(p)
					p[at] ^= bit
					for out := range 32 {
						flips[in][out] += int(changed >> out & 1)
					}
				}
			}
			judgeAvalanche(t, kind.name, seed, &flips, samples)
		}
	}
}

func judgeAvalanche(t *testing.T, name string, seed int, flips *[avalancheBits][32]int, samples int) {
	t.Helper()
	least, most := 1.0, 0.0
	var perOut [32]float64
	for in := range avalancheBits {
		sum := 0.0
		for out := range 32 {
			rate := float64(flips[in][out]) / float64(samples)
			least, most = min(least, rate), max(most, rate)
			perOut[out] += rate / avalancheBits
			sum += rate / 32
		}
		assert.InDelta(t, 0.5, sum, 0.02, "%s, seed %d: input bit %d", name, seed, in)
	}
	for out, rate := range perOut {
		assert.InDelta(t, 0.5, rate, 0.02, "%s, seed %d: output bit %d", name, seed, out)
	}
	t.Logf("%s, seed %d: a single output bit flips for a single input bit in %.1f to %.1f %%", name, seed, 100*least, 100*most)
	assert.Greater(t, least, 0.4, "%s, seed %d", name, seed)
	assert.Less(t, most, 0.6, "%s, seed %d", name, seed)
}

// TestIPv6Spreads: the longer path has its own mixing, so it gets its own look at the usual pattern.
func TestIPv6Spreads(t *testing.T) {
	const flows = 1 << 16
	for _, kind := range []struct {
		name   string
		packet func(i uint64) []byte
	}{
		{"source ports", func(i uint64) []byte {
			return ipv6Packet(0, 17, 1, 2, string(binary.BigEndian.AppendUint32(nil, uint32(i)<<16|53)))
		}},
		{"flow labels", func(i uint64) []byte { return ipv6Packet(uint32(i)+1, 17, 1, 2, ports) }},
		{"sources", func(i uint64) []byte { return ipv6Packet(0, 17, i, 2, ports) }},
		{"destinations", func(i uint64) []byte { return ipv6Packet(0, 17, 1, i, ports) }},
		{"both addresses in step", func(i uint64) []byte { return ipv6Packet(0, 17, i, 1<<32|i, ports) }},
	} {
		for _, u := range uses {
			for seed := range 4 {
				h := qualityHasher(seed)
				counts := make([]int, u.buckets)
				for i := range uint64(flows) {
					counts[u.bucket(h.IPv6(kind.packet(i)))]++
				}
				assert.Less(t, chiSquare(counts, flows), 5.0, "%s over %s: seed %d", kind.name, u.name, seed)
			}
		}
	}
}
