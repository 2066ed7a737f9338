// Package icmplimit decides how many ICMP errors a node sends, by Linux's two limits: one for all errors together, and one
// for each destination. It was written after Linux 6.18: icmp_global_allow and icmp_global_consume in net/ipv4/icmp.c,
// inet_peer_xrlim_allow in net/ipv4/inetpeer.c.
//
// An error is judged in the kernel's order, since its commit 8c2bd38b95f7 of 2024:
//
//  1. If the credit for all is used up, it is refused, and its destination's bucket is not even looked at.
//  2. If its destination's bucket is empty, it is refused, and costs nothing of the credit for all, which would tell one
//     destination what another one gets.
//  3. Else both pay.
//
// The credit for all is not a bucket that fills steadily: only when it is used up, and 20 ms after the last filling at the
// earliest, it is filled by what the time since then is worth, a second's worth at most, and never above the burst. After a pause
// there may so be the remainder and a burst at once. A destination's bucket does fill steadily, and a new one is full.
//
// Which errors are limited at all is the caller's business. Linux limits types 3, 4, 11 and 12 (icmp_ratemask), except 3/4,
// fragmentation needed ("Don't limit PMTU discovery"), and no error to the node itself. Errors about packets that are not
// forwarded because of their route, or for want of one, it limits twice, see [Limiter.AllowUnroutable].
//
// # Bounded memory
//
// The kernel's memory for destinations is bounded by their age. Here the least recently limited one is forgotten for a
// new one, and what it owed is not: a newcomer starts with no more than the emptiest of all forgotten buckets would have by
// then. So rotating through destinations, by forged sources for instance, gets nobody more errors than unlimited memory
// would allow. Its price is that newcomers may get fewer: with the default limits, which let it take four seconds to push 4,096
// destinations out, still four at once. Who lifts the limit for all should give room for more destinations.
package icmplimit

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// The defaults of [Config], those of Linux 6.18. Later kernels have 10,000 for the first two.
const (
	DefaultPerSecond       = 1000
	DefaultBurst           = 50
	DefaultInterval        = time.Second
	DefaultBucket          = 6 // XRLIM_BURST_FACTOR
	DefaultMaxDestinations = 4096
)

const (
	// LimitMaxDestinations is how many destinations may be asked for: they take 28 to 32 bytes each, at once.
	LimitMaxDestinations = 1 << 20

	limitRate  = math.MaxInt32 // of PerSecond and Burst, which are the kernel's ints
	limitDepth = 1 << 61       // ns, of a destination's bucket: twice that still is a time

	fillPause = time.Second / 50 // between two fillings of the credit for all, at least
	fillMost  = time.Second      // the time that one filling counts, at most
	costs     = 3                // what an error costs with Config.Seed: 0 up to 2, 1 on average

	unroutableCost  = time.Second     // the kernel's ip_rt_error_cost
	unroutableDepth = 5 * time.Second // ip_rt_error_burst
)

// Config says how many errors there may be. The zero Config is Linux's default.
type Config struct {
	// PerSecond is how many errors a second there may be in all (icmp_msgs_per_sec); 0: DefaultPerSecond, -1: no limit.
	PerSecond int
	// Burst is how many of these there may be at once (icmp_msgs_burst); 0: DefaultBurst.
	Burst int
	// Interval is the time between two errors to one destination (icmp_ratelimit); 0: DefaultInterval, negative: no
	// limit per destination.
	Interval time.Duration
	// Bucket is how many errors there may be at once to one destination (XRLIM_BURST_FACTOR); 0: DefaultBucket.
	Bucket int
	// MaxDestinations is how many destinations are remembered; 0: DefaultMaxDestinations. Memory for all is taken at once.
	MaxDestinations int
	// Seed, if not 0, makes an error cost 0, 1 or 2 of the credit for all at random, as in Linux: who can make the node send
	// errors then cannot count those that others made it send (CVE-2020-25705). With 0 each costs 1.
	Seed uint64
}

// complete puts defaults in place of zeros. The error names every field that is wrong.
func (c Config) complete() (Config, error) {
	var errs []error
	whole := func(field string, v *int, fallback, limit int) {
		if *v == 0 {
			*v = fallback
		}
		if *v < 1 || *v > limit {
			errs = append(errs, fmt.Errorf("icmplimit: Config.%s is %d, want 1 to %d, or 0 for %d", field, *v, limit, fallback))
		}
	}
	if c.PerSecond != -1 {
		whole("PerSecond", &c.PerSecond, DefaultPerSecond, limitRate)
	}
	whole("Burst", &c.Burst, DefaultBurst, limitRate)
	whole("Bucket", &c.Bucket, DefaultBucket, math.MaxInt32)
	whole("MaxDestinations", &c.MaxDestinations, DefaultMaxDestinations, LimitMaxDestinations)
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if c.Bucket > 0 && c.Interval > limitDepth/time.Duration(c.Bucket) {
		errs = append(errs, fmt.Errorf("icmplimit: Config.Interval is %v, and %d of them, Config.Bucket, are more than %v",
			c.Interval, c.Bucket, time.Duration(limitDepth)))
	}
	return c, errors.Join(errs...)
}

// Verdict says if an error may be sent, and what forbids it.
type Verdict uint8

// The verdicts.
const (
	Allowed            Verdict = iota
	GlobalLimited              // there are too many errors in all (Linux counts it as IcmpOutRateLimitGlobal)
	DestinationLimited         // there are too many errors to this destination (IcmpOutRateLimitHost)
)

// String returns v in words.
func (v Verdict) String() string {
	switch v {
	case Allowed:
		return "allowed"
	case GlobalLimited:
		return "too many errors in all"
	case DestinationLimited:
		return "too many errors to this destination"
	}
	return "unknown verdict"
}

// Stats counts verdicts of [Limiter.Allow], and destinations remembered now.
type Stats struct {
	Allowed            uint64
	GlobalLimited      uint64
	DestinationLimited uint64
	Destinations       int
}

// Limiter is the two limits. All methods may be called by several goroutines. Use [New].
type Limiter struct {
	opens  atomic.Int64  // ns: before, the credit for all is used up; a flood is refused without the lock
	closed atomic.Uint64 // Stats.GlobalLimited

	mu     sync.Mutex
	config Config
	stats  Stats
	now    time.Duration // the latest time heard: workers' clocks may differ a little

	credit int           // errors, in all; with Config.Seed it may get down to -1
	filled time.Duration // when the credit was
	random rand.PCG

	destinations destinations
}

// New returns a limiter with all buckets full. The error names every field of c that is wrong.
func New(c Config) (*Limiter, error) {
	l := &Limiter{filled: -fillMost} // the first error finds a second's worth
	l.destinations.forgotten = -unroutableDepth
	if err := l.SetConfig(c); err != nil {
		return nil, err
	}
	return l, nil
}

// SetConfig changes the limits at once; used up credit stays used up. If the error, which is as that of [New], is not nil,
// nothing has changed.
func (l *Limiter) SetConfig(c Config) error {
	c, err := c.complete()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.MaxDestinations != l.config.MaxDestinations {
		l.destinations = l.destinations.resized(c.MaxDestinations)
	}
	if c.Seed != l.config.Seed {
		l.random.Seed(c.Seed, 0)
	}
	l.config = c
	l.publish()
	return nil
}

// Allow decides about an error to dst, an IPv4 address as a number, at time now since the caller's epoch, and counts it. It
// does not allocate.
func (l *Limiter) Allow(dst uint32, now time.Duration) Verdict { return l.allow(dst, now, false) }

// AllowUnroutable is [Limiter.Allow] for an error about a packet that was to be forwarded, but has no route, or one that is
// unreachable or prohibited (3/0, 3/1, 3/13). Before the two limits, Linux applies another to these (ip_error in
// net/ipv4/route.c), one a second and five at once, and takes both this and the destination's from the same bucket: ten pings 0.2 s
// apart get two errors. Unlike here it counts no refusal by that limit.
func (l *Limiter) AllowUnroutable(dst uint32, now time.Duration) Verdict {
	return l.allow(dst, now, true)
}

// WouldAllow returns what [Limiter.Allow] would, and changes nothing.
func (l *Limiter) WouldAllow(dst uint32, now time.Duration) Verdict {
	return l.wouldAllow(dst, now, false)
}

// WouldAllowUnroutable returns what [Limiter.AllowUnroutable] would, and changes nothing.
func (l *Limiter) WouldAllowUnroutable(dst uint32, now time.Duration) Verdict {
	return l.wouldAllow(dst, now, true)
}

func (l *Limiter) allow(dst uint32, now time.Duration, unroutable bool) Verdict {
	if l.isClosed(now) {
		l.closed.Add(1)
		return GlobalLimited
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = max(l.now, now)
	verdict, slot, full := l.judge(dst, l.now, unroutable)
	if verdict == GlobalLimited { // another goroutine was faster
		l.closed.Add(1)
		return verdict
	}
	l.fill()
	if verdict == Allowed {
		l.stats.Allowed++
		l.pay()
	} else {
		l.stats.DestinationLimited++
	}
	l.publish()
	// A newcomer gets a slot with its first error: one that is refused has nothing to be remembered for.
	switch {
	case l.config.Interval < 0:
	case slot != none:
		l.destinations.touch(slot, full)
	case verdict == Allowed:
		l.destinations.add(dst, full)
	}
	return verdict
}

func (l *Limiter) wouldAllow(dst uint32, now time.Duration, unroutable bool) Verdict {
	if l.isClosed(now) {
		return GlobalLimited
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	verdict, _, _ := l.judge(dst, max(l.now, now), unroutable)
	return verdict
}

// Stats returns the counters.
func (l *Limiter) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.GlobalLimited, s.Destinations = l.closed.Load(), l.destinations.used
	return s
}

func (l *Limiter) isClosed(now time.Duration) bool { return int64(now) < l.opens.Load() }

// judge returns the verdict for dst, the slot of its bucket, if it has one, and when that will be full after the verdict.
func (l *Limiter) judge(dst uint32, now time.Duration, unroutable bool) (_ Verdict, slot int32, full time.Duration) {
	if l.isClosed(now) {
		return GlobalLimited, none, 0
	}
	if l.config.Interval < 0 {
		return Allowed, none, 0
	}
	slot, full = l.destinations.find(dst)
	ok := true
	if unroutable {
		full, ok = l.take(full, now, unroutableCost, unroutableDepth)
	}
	if ok {
		full, ok = l.take(full, now, l.config.Interval, l.depth())
	}
	if !ok {
		return DestinationLimited, slot, full
	}
	return Allowed, slot, full
}

// depth is what a destination's bucket holds, in the time that it takes to fill.
func (l *Limiter) depth() time.Duration { return time.Duration(l.config.Bucket) * l.config.Interval }

// take takes cost from the bucket that holds its depth at time full, more later, but most at most. It returns when the bucket
// holds its depth again, and reports whether there was enough.
func (l *Limiter) take(full, now, cost, most time.Duration) (time.Duration, bool) {
	holds := min(l.depth()+min(now-full, most), most)
	ok := holds >= cost
	if ok {
		holds -= cost
	}
	return now + l.depth() - holds, ok
}

// pay takes an error from the credit for all.
func (l *Limiter) pay() {
	switch {
	case l.config.PerSecond < 0:
	case l.config.Seed == 0:
		l.credit--
	default:
		l.credit -= int(l.random.Uint64() % costs)
	}
}

// fill fills the credit for all if it is used up.
func (l *Limiter) fill() {
	if l.config.PerSecond < 0 || l.credit > 0 {
		return
	}
	since := l.now - max(l.filled, l.now-fillMost)
	worth := time.Duration(l.config.PerSecond) * since / time.Second
	l.credit = min(l.credit+int(worth), l.config.Burst)
	l.filled = l.now
}

// publish tells those without the lock from when on there is credit for all.
func (l *Limiter) publish() {
	opens := time.Duration(math.MinInt64)
	if l.config.PerSecond > 0 && l.credit <= 0 {
		one := (time.Second + time.Duration(l.config.PerSecond) - 1) / time.Duration(l.config.PerSecond) // of a time worth one error
		opens = l.filled + max(fillPause, one)
	}
	l.opens.Store(int64(opens))
}
