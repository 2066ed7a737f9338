package icmplimit_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/icmplimit"
)

const (
	ms = time.Millisecond

	allowed = icmplimit.Allowed
	inAll   = icmplimit.GlobalLimited
	forOne  = icmplimit.DestinationLimited
)

func newLimiter(t testing.TB, c icmplimit.Config) *icmplimit.Limiter {
	l, err := icmplimit.New(c)
	require.NoError(t, err)
	return l
}

// ask asks for an error, and whether there would be one before, which must be the same.
func ask(t testing.TB, l *icmplimit.Limiter, dst uint32, now time.Duration) icmplimit.Verdict {
	would := l.WouldAllow(dst, now)
	if got := l.Allow(dst, now); got != would {
		t.Helper()
		t.Fatalf("at %v for %d: WouldAllow said %v, Allow says %v", now, dst, would, got)
	}
	return would
}

// askUnroutable is ask for the error about a packet without a route.
func askUnroutable(t testing.TB, l *icmplimit.Limiter, dst uint32, now time.Duration) icmplimit.Verdict {
	would := l.WouldAllowUnroutable(dst, now)
	if got := l.AllowUnroutable(dst, now); got != would {
		t.Helper()
		t.Fatalf("at %v for %d: WouldAllowUnroutable said %v, AllowUnroutable says %v", now, dst, would, got)
	}
	return would
}

// step asks n times for an error, and expects a verdict; each time for another destination if that is others.
type step struct {
	at   time.Duration
	dst  uint32
	n    int
	want icmplimit.Verdict
}

const others = math.MaxUint32

// pings are steps of one error each, this far apart.
func pings(apart time.Duration, dst uint32, verdicts ...icmplimit.Verdict) (steps []step) {
	for i, v := range verdicts {
		steps = append(steps, step{time.Duration(i) * apart, dst, 1, v})
	}
	return steps
}

func TestTranscripts(t *testing.T) {
	for name, c := range map[string]struct {
		config icmplimit.Config
		steps  []step
	}{
		"ten pings 0.2 s apart, seven errors, as measured on Linux 6.18": {
			steps: pings(200*ms, 1, allowed, allowed, allowed, allowed, allowed, allowed, allowed, forOne, forOne, forOne),
		},
		"six at once to one destination, then one a second": {steps: []step{
			{0, 1, 6, allowed},
			{0, 1, 9, forOne},
			{999 * ms, 1, 3, forOne},
			{1000 * ms, 1, 1, allowed},
			{1000 * ms, 1, 1, forOne},
			{2500 * ms, 1, 1, allowed},
			{2999 * ms, 1, 1, forOne},
			{3000 * ms, 1, 1, allowed},
			{3000 * ms, 1, 1, forOne},
		}},
		"refused errors do not put the next one off": {
			config: icmplimit.Config{Bucket: 1},
			steps:  pings(250*ms, 1, allowed, forOne, forOne, forOne, allowed, forOne, forOne, forOne, allowed),
		},
		"a bucket holds six however long nothing is sent": {steps: []step{
			{0, 1, 6, allowed},
			{time.Hour, 1, 6, allowed},
			{time.Hour, 1, 1, forOne},
		}},
		"each destination has its own bucket": {steps: []step{
			{0, 1, 6, allowed},
			{0, 1, 1, forOne},
			{0, 2, 6, allowed},
			{0, 2, 1, forOne},
			{0, 0, 6, allowed},
			{0, 0, 1, forOne},
			{0, math.MaxUint32 - 1, 6, allowed},
		}},
		"an interval longer than a minute, with a new bucket full nevertheless": {
			config: icmplimit.Config{Interval: time.Hour, Bucket: 2},
			steps:  []step{{0, 1, 2, allowed}, {59 * time.Minute, 1, 1, forOne}, {time.Hour, 1, 1, allowed}},
		},
		"no limit per destination": {
			config: icmplimit.Config{Interval: -1},
			steps:  []step{{0, 1, 50, allowed}, {0, 1, 1, inAll}},
		},
		"fifty at once in all": {steps: []step{
			{0, others, 50, allowed},
			{0, others, 9, inAll},
		}},
		"twenty more after 20 ms, not before": {steps: []step{
			{0, others, 50, allowed},
			{20*ms - 1, others, 5, inAll},
			{20 * ms, others, 20, allowed},
			{20 * ms, others, 1, inAll},
			{39 * ms, others, 1, inAll},
			{45 * ms, others, 25, allowed},
			{45 * ms, others, 1, inAll},
			{64 * ms, others, 1, inAll},
			{65 * ms, others, 20, allowed},
		}},
		"the 20 ms count from the last filling, not from the last error": {steps: []step{
			{0, others, 49, allowed},
			{19 * ms, others, 1, allowed},
			{19 * ms, others, 1, inAll},
			{20 * ms, others, 20, allowed},
		}},
		"the epoch does not matter": {steps: []step{
			{1e6 * time.Hour, others, 50, allowed},
			{1e6 * time.Hour, others, 1, inAll},
		}},
		"fifty at most after a pause": {steps: []step{
			{0, others, 50, allowed},
			{time.Hour, others, 50, allowed},
			{time.Hour, others, 1, inAll},
		}},
		"what is left over and a burst after a pause: filling waits for the credit to be used up": {steps: []step{
			{0, others, 10, allowed},
			{time.Hour, others, 40 + 50, allowed},
			{time.Hour, others, 1, inAll},
		}},
		"a filling is worth a second at most": {
			config: icmplimit.Config{PerSecond: 10},
			steps: []step{
				{0, others, 10, allowed},
				{0, others, 1, inAll},
				{time.Hour, others, 10, allowed},
				{time.Hour, others, 1, inAll},
			},
		},
		"three a second: no filling before it is worth one error": {
			config: icmplimit.Config{PerSecond: 3},
			steps: []step{
				{0, others, 3, allowed},
				{333333333, others, 1, inAll},
				{333333334, others, 1, allowed},
				{600 * ms, others, 1, inAll},
			},
		},
		"one a second": {
			config: icmplimit.Config{PerSecond: 1},
			steps:  []step{{0, others, 1, allowed}, {1000*ms - 1, others, 1, inAll}, {1000 * ms, others, 1, allowed}},
		},
		"no limit in all": {
			config: icmplimit.Config{PerSecond: -1},
			steps:  []step{{0, others, 3000, allowed}, {0, 1, 6, allowed}, {0, 1, 1, forOne}},
		},
		"errors refused to a destination cost nothing of the credit for all": {steps: []step{
			{0, 1, 6, allowed},
			{0, 1, 1000, forOne},
			{0, others, 44, allowed},
			{0, others, 1, inAll},
		}},
		"errors refused in all cost nothing of the destination's bucket": {steps: []step{
			{0, others, 50, allowed},
			{0, 1, 1000, inAll},
			{20 * ms, 1, 6, allowed},
			{20 * ms, 1, 1, forOne},
		}},
		"the limit in all is looked at first": {
			config: icmplimit.Config{Burst: 6},
			steps:  []step{{0, 1, 6, allowed}, {0, 1, 1, inAll}, {20 * ms, 1, 1, forOne}},
		},
		"a refusal for the destination has filled the credit for all": {
			config: icmplimit.Config{Burst: 6},
			steps: []step{
				{0, 1, 6, allowed},
				{20 * ms, 1, 1, forOne},
				{21 * ms, others, 6, allowed},
				{39 * ms, others, 1, inAll},
				{40 * ms, others, 1, allowed}, // filled at 20 ms
			},
		},
		"a clock that is behind earns nothing": {steps: []step{
			{time.Second, 1, 6, allowed},
			{0, 1, 1, forOne},
			{-time.Second, 1, 1, forOne},
			{2*time.Second - 1, 1, 1, forOne},
			{2 * time.Second, 1, 1, allowed},
		}},
		"a clock that is behind counts as the latest one heard": {steps: []step{
			{0, 1, 6, allowed},
			{time.Second, 2, 1, allowed},
			{0, 1, 1, allowed},
			{0, 3, 6, allowed},
			{time.Second, 3, 1, forOne},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLimiter(t, c.config)
			next := uint32(1 << 24)
			var want icmplimit.Stats
			for _, s := range c.steps {
				for i := range s.n {
					dst := s.dst
					if dst == others {
						next++
						dst = next
					}
					require.Equal(t, s.want, ask(t, l, dst, s.at), "%d of %d at %v", i+1, s.n, s.at)
				}
				switch s.want {
				case allowed:
					want.Allowed += uint64(s.n)
				case inAll:
					want.GlobalLimited += uint64(s.n)
				case forOne:
					want.DestinationLimited += uint64(s.n)
				}
			}
			got := l.Stats()
			want.Destinations = got.Destinations
			assert.Equal(t, want, got)
		})
	}
}

func TestUnroutable(t *testing.T) {
	ask := func(t *testing.T, l *icmplimit.Limiter, at time.Duration, n int) (verdicts []icmplimit.Verdict) {
		for range n {
			verdicts = append(verdicts, askUnroutable(t, l, 1, at))
		}
		return verdicts
	}
	t.Run("ten pings 0.2 s apart, two errors, as measured on Linux 6.18 for 3/0, 3/1 and 3/13", func(t *testing.T) {
		l := newLimiter(t, icmplimit.Config{})
		for i := range 10 {
			want := forOne
			if i < 2 {
				want = allowed
			}
			require.Equal(t, want, askUnroutable(t, l, 1, time.Duration(i)*200*ms), "ping %d", i)
		}
		assert.Equal(t, icmplimit.Stats{Allowed: 2, DestinationLimited: 8, Destinations: 1}, l.Stats())
	})
	t.Run("two at once of five, since each costs two", func(t *testing.T) {
		l := newLimiter(t, icmplimit.Config{})
		// The third passes the first of the two limits, and takes what the second would need.
		assert.Equal(t, []icmplimit.Verdict{allowed, allowed, forOne, forOne}, ask(t, l, 0, 4))
		assert.Equal(t, []icmplimit.Verdict{forOne}, ask(t, l, 1*time.Second, 1))
		assert.Equal(t, []icmplimit.Verdict{allowed, forOne}, ask(t, l, 3*time.Second, 2))
		assert.Equal(t, []icmplimit.Verdict{allowed, allowed, forOne}, ask(t, l, time.Hour, 3))
	})
	t.Run("the bucket is that of all errors", func(t *testing.T) {
		l := newLimiter(t, icmplimit.Config{})
		require.Equal(t, []icmplimit.Verdict{allowed, allowed}, ask(t, l, 0, 2))
		require.Equal(t, allowed, l.Allow(1, 0)) // the last one of five
		require.Equal(t, forOne, l.Allow(1, 0))
		for range 6 {
			require.Equal(t, allowed, l.Allow(2, 0))
		}
		require.Equal(t, forOne, l.AllowUnroutable(2, 0))
	})
	t.Run("a shallow bucket is deeper for the first limit", func(t *testing.T) {
		l := newLimiter(t, icmplimit.Config{Interval: 100 * ms, Bucket: 2})
		require.Equal(t, []icmplimit.Verdict{allowed, forOne}, ask(t, l, 0, 2)) // the second limit has left 0.1 s of 4
		require.Equal(t, []icmplimit.Verdict{forOne}, ask(t, l, 900*ms-1, 1))
		require.Equal(t, []icmplimit.Verdict{forOne}, ask(t, l, 900*ms, 1)) // takes all
		require.Equal(t, []icmplimit.Verdict{allowed}, ask(t, l, 2000*ms, 1))
	})
	t.Run("no limit per destination", func(t *testing.T) {
		l := newLimiter(t, icmplimit.Config{Interval: -1})
		require.NotContains(t, ask(t, l, 0, 50), forOne)
		require.Equal(t, []icmplimit.Verdict{inAll}, ask(t, l, 0, 1))
	})
}

// TestForgottenDestinations holds the limiter to what it says of bounded memory.
func TestForgottenDestinations(t *testing.T) {
	// A limiter that remembers two, without a limit in all.
	two := func(t *testing.T) *icmplimit.Limiter {
		return newLimiter(t, icmplimit.Config{PerSecond: -1, MaxDestinations: 2})
	}
	expect := func(t *testing.T, l *icmplimit.Limiter, steps ...step) {
		t.Helper()
		for _, s := range steps {
			for i := range s.n {
				require.Equal(t, s.want, ask(t, l, s.dst, s.at), "%d of %d for %d at %v", i+1, s.n, s.dst, s.at)
			}
		}
	}
	t.Run("one that comes back has no more than it had", func(t *testing.T) {
		l := two(t)
		expect(t, l,
			step{0, 1, 6, allowed},
			step{1 * ms, 2, 1, allowed},
			step{2 * ms, 3, 1, allowed}, // 1 goes
			step{2 * ms, 1, 1, forOne},
			step{999 * ms, 1, 1, forOne},
			step{1000 * ms, 1, 1, allowed},
			step{1000 * ms, 1, 1, forOne},
		)
		assert.Equal(t, 2, l.Stats().Destinations)
	})
	t.Run("a newcomer pays for one that was forgotten, for as long as that one would", func(t *testing.T) {
		l := two(t)
		expect(t, l,
			step{0, 1, 4, allowed},
			step{0, 2, 1, allowed},
			step{0, 3, 6, allowed}, // 1 goes, and lacked 4 s
			step{0, 4, 2, allowed}, // 2 goes
			step{0, 4, 1, forOne},
			step{6 * time.Second, 5, 6, allowed}, // 3 goes, and lacks nothing any more
			step{6 * time.Second, 6, 6, allowed},
		)
	})
	t.Run("a full bucket is forgotten at no cost", func(t *testing.T) {
		l := two(t)
		for n := range uint32(100) {
			expect(t, l, step{time.Duration(n) * time.Second, n, 2, allowed})
		}
	})
	t.Run("the least recently limited one goes, a refusal counts", func(t *testing.T) {
		l := two(t)
		expect(t, l,
			step{0, 1, 6, allowed},
			step{0, 2, 1, allowed},
			step{1 * ms, 1, 1, forOne},
			step{2 * ms, 3, 1, allowed}, // 2 goes
			step{3 * ms, 1, 1, forOne},  // still known: as a newcomer it would have five
		)
	})
	t.Run("a refused newcomer pushes nobody out", func(t *testing.T) {
		l := newLimiter(t, icmplimit.Config{PerSecond: -1, MaxDestinations: 1})
		expect(t, l,
			step{0, 1, 6, allowed},
			step{0, 2, 6, allowed}, // 1 goes
			step{0, 3, 100, forOne},
			step{0, 2, 1, forOne},
			step{1 * time.Second, 2, 1, allowed},
		)
	})
	t.Run("rotation gets nobody more than its share", func(t *testing.T) {
		// The worst the default limits allow: the victim's bucket is emptied, then others push it out as fast as the limit in
		// all lets them, over and over. No window of time may hold more errors than a bucket and one an Interval.
		l := newLimiter(t, icmplimit.Config{})
		const victim, seconds = 1, 60
		var sent []time.Duration
		other := uint32(1 << 16)
		for now := time.Duration(0); now < seconds*time.Second; now += ms {
			for l.Allow(victim, now) == allowed {
				sent = append(sent, now)
			}
			for l.Allow(other, now) == allowed {
				other++
			}
		}
		for i, from := range sent {
			for j, to := range sent[i:] {
				require.LessOrEqual(t, j+1, 6+int((to-from)/time.Second), "from %v to %v", from, to)
			}
		}
		assert.GreaterOrEqual(t, len(sent), seconds)
		assert.Equal(t, icmplimit.DefaultMaxDestinations, l.Stats().Destinations)
		assert.Greater(t, other, uint32(50_000))
	})
	t.Run("rotation with the default limits leaves newcomers four at once", func(t *testing.T) {
		l := newLimiter(t, icmplimit.Config{})
		attacker, least := uint32(1<<16), 6
		for now := time.Duration(0); now < 30*time.Second; now += ms {
			for l.Allow(attacker>>3, now) == allowed { // each address eight times: it takes six
				attacker++
			}
			if l.Allow(attacker>>3, now) == forOne {
				attacker++
			}
		}
		for newcomer := range uint32(5) {
			n, now := 0, 30*time.Second+time.Duration(newcomer)*100*ms
			for l.WouldAllow(newcomer, now) == allowed && l.Allow(newcomer, now) == allowed {
				n++
			}
			least = min(least, n)
		}
		assert.GreaterOrEqual(t, least, 4)
	})
}

func TestSetConfig(t *testing.T) {
	t.Run("credit used up stays used up", func(t *testing.T) {
		l := newLimiter(t, icmplimit.Config{})
		for n := range uint32(50) {
			require.Equal(t, allowed, ask(t, l, n, 0))
		}
		require.NoError(t, l.SetConfig(icmplimit.Config{Burst: 500}))
		assert.Equal(t, inAll, ask(t, l, 99, 19*ms))
		assert.Equal(t, allowed, ask(t, l, 99, 20*ms))
	})
	t.Run("no limit in all holds at once, and so does its return", func(t *testing.T) {
		l := newLimiter(t, icmplimit.Config{Burst: 1})
		require.Equal(t, allowed, ask(t, l, 1, 0))
		require.Equal(t, inAll, ask(t, l, 2, 0))
		require.NoError(t, l.SetConfig(icmplimit.Config{Burst: 1, PerSecond: -1}))
		require.Equal(t, allowed, ask(t, l, 2, 0))
		require.NoError(t, l.SetConfig(icmplimit.Config{Burst: 1, PerSecond: 1}))
		require.Equal(t, inAll, ask(t, l, 3, 999*ms))
		require.Equal(t, allowed, ask(t, l, 3, 1000*ms))
	})
	t.Run("a bucket that was emptied lacks as much of a bigger one", func(t *testing.T) {
		l := newLimiter(t, icmplimit.Config{Bucket: 2})
		require.Equal(t, allowed, ask(t, l, 1, 0))
		require.Equal(t, allowed, ask(t, l, 1, 0))
		require.Equal(t, forOne, ask(t, l, 1, 0))
		require.NoError(t, l.SetConfig(icmplimit.Config{Bucket: 3}))
		require.Equal(t, allowed, ask(t, l, 1, 0))
		require.Equal(t, forOne, ask(t, l, 1, 0))
		require.NoError(t, l.SetConfig(icmplimit.Config{Bucket: 1}))
		require.Equal(t, forOne, ask(t, l, 1, 3*time.Second-1))
		require.Equal(t, allowed, ask(t, l, 1, 3*time.Second))
	})
	t.Run("memory follows, and keeps the most recently limited", func(t *testing.T) {
		config := icmplimit.Config{PerSecond: -1, Bucket: 1}
		l := newLimiter(t, config)
		for n := range uint32(100) {
			require.Equal(t, allowed, ask(t, l, n, time.Duration(n)*ms))
		}
		require.Equal(t, 100, l.Stats().Destinations)
		config.MaxDestinations = 10
		require.NoError(t, l.SetConfig(config))
		require.Equal(t, 10, l.Stats().Destinations)
		config.MaxDestinations = 1000
		require.NoError(t, l.SetConfig(config))
		require.Equal(t, 10, l.Stats().Destinations)
		at := time.Second + 89*ms // when the last of the forgotten has an error again, and none of the others
		for n := range uint32(100) {
			want := allowed
			if n >= 90 {
				want = forOne
			}
			require.Equal(t, forOne, ask(t, l, n, at-1), "destination %d", n)
			require.Equal(t, want, l.WouldAllow(n, at), "destination %d", n)
		}
	})
	t.Run("a faulty one changes nothing", func(t *testing.T) {
		l := newLimiter(t, icmplimit.Config{Bucket: 1})
		require.Error(t, l.SetConfig(icmplimit.Config{Bucket: 9, Burst: -1}))
		require.Equal(t, allowed, ask(t, l, 1, 0))
		require.Equal(t, forOne, ask(t, l, 1, 0))
	})
}

func TestConfigFaults(t *testing.T) {
	_, err := icmplimit.New(icmplimit.Config{PerSecond: -2, Burst: -1, Bucket: -6, MaxDestinations: icmplimit.LimitMaxDestinations + 1})
	assert.EqualError(t, err, "icmplimit: Config.PerSecond is -2, want 1 to 2147483647, or 0 for 1000\n"+
		"icmplimit: Config.Burst is -1, want 1 to 2147483647, or 0 for 50\n"+
		"icmplimit: Config.Bucket is -6, want 1 to 2147483647, or 0 for 6\n"+
		"icmplimit: Config.MaxDestinations is 1048577, want 1 to 1048576, or 0 for 4096")
	_, err = icmplimit.New(icmplimit.Config{Bucket: math.MaxInt32, Interval: 1000 * time.Hour})
	assert.ErrorContains(t, err, "icmplimit: Config.Interval is 1000h0m0s, and 2147483647 of them, Config.Bucket, are more than 640511h56m49.213693952s")
	l := newLimiter(t, icmplimit.Config{Bucket: math.MaxInt32, Interval: 1 << 30, PerSecond: math.MaxInt32, Burst: math.MaxInt32})
	assert.Equal(t, allowed, ask(t, l, 1, 0))
	assert.Equal(t, allowed, ask(t, l, 1, math.MaxInt64))
}

// TestRandomCosts: an error costs 0, 1 or 2 of the credit, 1 on average, and which is a function of the seed.
func TestRandomCosts(t *testing.T) {
	bursts := func(seed uint64) (lengths []int) {
		l := newLimiter(t, icmplimit.Config{Seed: seed})
		next := uint32(0)
		for second := range time.Duration(1000) {
			n := 0
			for ask(t, l, next, second*time.Second) == allowed {
				next++
				n++
			}
			lengths = append(lengths, n)
		}
		return lengths
	}
	first := bursts(7)
	sum := 0
	for _, n := range first {
		require.Positive(t, n)
		sum += n
	}
	// In a third of the bursts the last error costs one more than there is. The standard deviation of the sum is 180.
	assert.InDelta(t, len(first)*50+len(first)/3, sum, 900)
	assert.NotEqual(t, first[:10], []int{50, 50, 50, 50, 50, 50, 50, 50, 50, 50})
	assert.Equal(t, first, bursts(7))
	assert.NotEqual(t, first, bursts(8))
}

func TestVerdictString(t *testing.T) {
	for v, want := range map[icmplimit.Verdict]string{
		allowed: "allowed",
		inAll:   "too many errors in all",
		forOne:  "too many errors to this destination",
		99:      "unknown verdict",
	} {
		assert.Equal(t, want, v.String())
	}
}

func TestNoAllocations(t *testing.T) {
	l := newLimiter(t, icmplimit.Config{PerSecond: -1, MaxDestinations: 64, Seed: 1})
	now, dst := time.Duration(0), uint32(0)
	assert.Zero(t, testing.AllocsPerRun(10_000, func() {
		now += 200 * ms // enough for evictions to be followed by allowed newcomers
		dst++
		l.Allow(dst, now)
		l.Allow(1, now)
		l.WouldAllow(dst+1, now)
		l.AllowUnroutable(dst, now)
	}))
	assert.Equal(t, 64, l.Stats().Destinations)
	require.NoError(t, l.SetConfig(icmplimit.Config{Burst: 1}))
	assert.Zero(t, testing.AllocsPerRun(1000, func() { l.Allow(dst, now) }))
	s := l.Stats()
	assert.True(t, s.Allowed > 0 && s.DestinationLimited > 0 && s.GlobalLimited > 0, "%+v", s)
}

// TestManyWorkers: whatever the interleaving, no more is allowed than by one worker, and every call is counted.
func TestManyWorkers(t *testing.T) {
	const workers, calls = 8, 20_000
	l := newLimiter(t, icmplimit.Config{MaxDestinations: 16})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range calls {
				now := time.Duration(i) * 50 * time.Microsecond
				if rnd.IntN(4) == 0 {
					l.WouldAllow(rnd.Uint32N(64), now)
				}
				l.Allow(rnd.Uint32N(64), now)
				if i%1000 == 0 {
					if err := l.SetConfig(icmplimit.Config{MaxDestinations: 8 + rnd.IntN(16)}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	s := l.Stats()
	assert.EqualValues(t, workers*calls, s.Allowed+s.GlobalLimited+s.DestinationLimited)
	assert.LessOrEqual(t, s.Allowed, uint64(1050), "a burst and a second's worth")
	assert.LessOrEqual(t, s.Destinations, 24)
	t.Logf("%+v", s)
}

func BenchmarkAllow(b *testing.B) {
	for name, apart := range map[string]time.Duration{"flood": 0, "allowed": time.Second} {
		b.Run(name, func(b *testing.B) {
			l := newLimiter(b, icmplimit.Config{})
			b.ReportAllocs()
			for i := range b.N {
				l.Allow(uint32(i), time.Duration(i)*apart)
			}
		})
	}
}

func Example() {
	l, err := icmplimit.New(icmplimit.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	const host = 10<<24 | 1<<16 | 1<<8 | 2 // 10.1.1.2
	for i := range 10 {
		now := time.Duration(i) * 200 * time.Millisecond
		if v := l.Allow(host, now); v != icmplimit.Allowed {
			fmt.Println(now, v)
		}
	}
	fmt.Printf("%+v\n", l.Stats())
	// Output:
	// 1.4s too many errors to this destination
	// 1.6s too many errors to this destination
	// 1.8s too many errors to this destination
	// {Allowed:7 GlobalLimited:0 DestinationLimited:3 Destinations:1}
}
