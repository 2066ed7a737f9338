package icmplimit_test

// The limiter against one that does what the kernel's sources say, in their order and with their token buckets, forgets nothing for
// good, and searches everything in lists.

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/icmplimit"
)

type oracleBucket struct {
	dst    uint32
	tokens time.Duration // at last
	last   time.Duration
}

// tokensAt returns what the bucket would hold if it had no top.
func (b oracleBucket) tokensAt(now time.Duration) time.Duration { return b.tokens + now - b.last }

// take lets the bucket fill up to most, and takes cost if it can.
func (b *oracleBucket) take(now, cost, most time.Duration) bool {
	b.tokens, b.last = min(b.tokensAt(now), most), now
	if b.tokens < cost {
		return false
	}
	b.tokens -= cost
	return true
}

type oracle struct {
	config    icmplimit.Config
	credit    int
	stamp     time.Duration
	known     []oracleBucket // the least recently limited one first
	forgotten []oracleBucket
}

func (o *oracle) allow(dst uint32, now time.Duration, unroutable bool) icmplimit.Verdict {
	if !o.globalAllow(now) {
		return icmplimit.GlobalLimited
	}
	if !o.peerAllow(dst, now, unroutable) {
		return icmplimit.DestinationLimited
	}
	o.credit--
	return icmplimit.Allowed
}

func (o *oracle) globalAllow(now time.Duration) bool {
	if o.config.PerSecond == -1 {
		o.credit = 1
	}
	if o.credit > 0 {
		return true
	}
	delta := min(now-o.stamp, time.Second)
	if delta < time.Second/50 {
		return false
	}
	more := int(float64(o.config.PerSecond)*delta.Seconds() + 1e-12)
	if more == 0 {
		return false
	}
	o.credit, o.stamp = min(o.credit+more, o.config.Burst), now
	return true
}

func (o *oracle) peerAllow(dst uint32, now time.Duration, unroutable bool) bool {
	if o.config.Interval < 0 {
		return true
	}
	depth := time.Duration(o.config.Bucket) * o.config.Interval
	peer := oracleBucket{dst, depth + 5*time.Second, now}
	i := slices.IndexFunc(o.known, func(b oracleBucket) bool { return b.dst == dst })
	if i >= 0 {
		peer = o.known[i]
		o.known = slices.Delete(o.known, i, i+1)
	} else {
		o.forgotten = slices.DeleteFunc(o.forgotten, func(b oracleBucket) bool { return b.tokensAt(now) >= peer.tokens })
		for _, b := range o.forgotten {
			peer.tokens = min(peer.tokens, b.tokensAt(now))
		}
	}
	ok := !unroutable || peer.take(now, time.Second, 5*time.Second)
	ok = ok && peer.take(now, o.config.Interval, depth)
	switch {
	case i >= 0:
	case !ok:
		return false
	case len(o.known) == o.config.MaxDestinations:
		o.forgotten = append(o.forgotten, o.known[0])
		o.known = slices.Delete(o.known, 0, 1)
	}
	o.known = append(o.known, peer)
	return ok
}

// TestAgainstOracle makes a million random calls.
func TestAgainstOracle(t *testing.T) {
	const seed = 20270114
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var counts [3]int
	for name, config := range map[string]icmplimit.Config{
		"defaults":       {PerSecond: 1000, Burst: 50, Interval: time.Second, Bucket: 6, MaxDestinations: 4096},
		"few remembered": {PerSecond: 1000, Burst: 50, Interval: time.Second, Bucket: 6, MaxDestinations: 20},
		"none in all":    {PerSecond: -1, Burst: 50, Interval: time.Second, Bucket: 6, MaxDestinations: 16},
		"one remembered": {PerSecond: -1, Burst: 50, Interval: 333 * ms, Bucket: 3, MaxDestinations: 1},
		"slow":           {PerSecond: 7, Burst: 3, Interval: 10 * time.Second, Bucket: 1, MaxDestinations: 16},
		"fast":           {PerSecond: 10_000, Burst: 10_000, Interval: 7 * ms, Bucket: 2, MaxDestinations: 31},
		"none for one":   {PerSecond: 999, Burst: 7, Interval: -1, Bucket: 6, MaxDestinations: 3},
		"big bucket":     {PerSecond: 100, Burst: 1, Interval: time.Second, Bucket: 1000, MaxDestinations: 33},
	} {
		t.Run(name, func(t *testing.T) {
			l, o := newLimiter(t, config), &oracle{config: config, stamp: -time.Second}
			now := time.Duration(rnd.Int64N(1 << 50))
			pool, apart := uint32(1), time.Duration(1)
			for i := range 125_000 {
				if i%1000 == 0 { // now a trickle, now a flood; now to few, now to many
					pool = 1 + rnd.Uint32N(1<<rnd.UintN(7))
					apart = time.Duration(1) << rnd.UintN(31)
				}
				now += time.Duration(rnd.Int64N(int64(apart)))
				if rnd.IntN(100) == 0 {
					now = now.Truncate(10*ms) + 10*ms // boundaries
				}
				dst := rnd.Uint32N(pool) * 0x9e3779b1
				unroutable, ask := rnd.IntN(10) == 0, ask
				if unroutable {
					ask = askUnroutable
				}
				want := o.allow(dst, now, unroutable)
				if got := ask(t, l, dst, now); got != want {
					t.Fatalf("call %d, for %d at %v, unroutable %v: got %v, want %v", i, dst, now, unroutable, got, want)
				}
				counts[want]++
			}
			require.Equal(t, len(o.known), l.Stats().Destinations)
		})
	}
	t.Logf("allowed %d, limited in all %d, for a destination %d", counts[0], counts[1], counts[2])
	for v, n := range counts {
		require.Greater(t, n, 50_000, "%v", icmplimit.Verdict(v))
	}
}
