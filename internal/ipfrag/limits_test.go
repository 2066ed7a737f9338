package ipfrag_test

// Limits, time, and what they let through: nothing here depends on the content of datagrams.

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// strictRules hold with Config.Strict, where TestRules has something else.
var strictRules = []rule{
	{"the same fragment again", []string{
		"0-16+  ->",
		"0-16+  -> duplicate fragment 0-16",
		"16-20  -> merged 16-20, whole 20",
	}},
	{"within one fragment", []string{
		"0-24+  ->",
		"8-16+  -> overlapping fragments 0-24, overlapping fragments 8-16",
	}},
	{"within two that came in order", []string{
		"0-16+  ->",
		"16-32+ ->",
		"8-24+  -> overlapping fragments 0-16, overlapping fragments 16-32, overlapping fragments 8-24",
	}},
	{"starting with another one", []string{
		"0-16+  ->",
		"0-8+   -> overlapping fragments 0-16, overlapping fragments 0-8",
	}},
	{"ending with another one", []string{
		"0-16+  ->",
		"8-16+  -> overlapping fragments 0-16, overlapping fragments 8-16",
	}},
	{"the same bytes, but the last", []string{
		"8-16+  ->",
		"8-16   -> overlapping fragments 8-16, overlapping fragments 8-16",
	}},
	{"the same bytes, but not the last", []string{
		"8-16   ->",
		"8-16+  -> overlapping fragments 8-16, overlapping fragments 8-16",
	}},
	{"no multiple of 8 in the first", []string{
		"0-13+  -> bad length of a fragment 0-13",
	}},
	{"no multiple of 8 in a later one", []string{
		"0-8+   ->",
		"8-17+  -> bad length of a fragment 0-8, bad length of a fragment 8-17",
	}},
	{"any length of the last", []string{
		"0-8+   ->",
		"8-17   -> merged 8-17, whole 17",
	}},
}

func TestStrict(t *testing.T) {
	for _, c := range strictRules {
		t.Run(c.name, func(t *testing.T) {
			k := newKit(t, ipfrag.Config{Strict: true})
			play(t, k, c.lines)
			k.close()
		})
	}
}

// buffersFor returns the bytes that n fragments in buffers of the kit count.
func buffersFor(n int) int { return n * bufferSize }

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		config ipfrag.Config
		rule
	}{
		{ipfrag.Config{MaxBytes: buffersFor(3), MaxPerSource: buffersFor(3)}, rule{"MaxBytes", []string{
			"0-8+ id=1   ->",
			"0-8+ id=2   ->",
			"0-8+ id=3   ->",
			"0-8+ id=4   -> too many fragments 0-8",
			"16-24 id=1  -> too many fragments 16-24",
			"0-8+ id=3   -> duplicate fragment 0-8",
			"0-16+ id=2  -> overlapping fragments 0-8, overlapping fragments 0-16",
			"16-24 id=1  ->",
		}}},
		{ipfrag.Config{MaxBytes: buffersFor(3) + 1, MaxPerSource: buffersFor(4)}, rule{"MaxBytes counts buffers, not what is in them", []string{
			"0-1600+     ->",
			"1600-1608+  ->",
			"1608-1616+  ->",
			"1616-1624+  -> too many fragments 1616-1624",
		}}},
		{ipfrag.Config{MaxBytes: buffersFor(2), MaxPerSource: buffersFor(2)}, rule{"what completes a datagram frees memory", []string{
			"0-8+ id=1   ->",
			"8-16 id=2   ->",
			"8-16+ id=1  -> too many fragments 8-16",
			"8-16 id=1   -> merged 8-16, whole 16",
			"0-8+ id=2   -> merged 8-16, whole 16",
		}}},
		{ipfrag.Config{MaxBytes: -1}, rule{"MaxBytes none", []string{
			"0-8+        -> too many fragments 0-8",
		}}},
		{ipfrag.Config{MaxPerSource: buffersFor(2)}, rule{"MaxPerSource", []string{
			"0-8+ src=2        ->",
			"0-8+ src=2 id=2   ->",
			"0-8+ src=2 id=3   -> too many fragments from one source 0-8",
			"16-24+ src=2      -> too many fragments from one source 16-24",
			"0-8+ src=3        ->",
			"0-8+ src=2 domain=1 id=3 ->", // is somebody else
			"8-16 src=2        -> merged 8-16, whole 16",
			"0-8+ src=2 id=3   ->",
			"0-8+ src=2 id=4   -> too many fragments from one source 0-8",
		}}},
		{ipfrag.Config{MaxPerSource: buffersFor(1)}, rule{"MaxPerSource of one fragment", []string{
			"0-8+        ->",
			"8-16+       -> too many fragments from one source 8-16",
			"0-8+ src=3  ->",
			"8-16        -> merged 8-16, whole 16",
		}}},
		{ipfrag.Config{MaxPerSource: buffersFor(1)}, rule{"MaxPerSource, when sources come and go", []string{
			"0-8+ src=2  ->",
			"0-8+ src=3  ->",
			"8-16 src=2  -> merged 8-16, whole 16",
			"8-16 src=3  -> merged 8-16, whole 16",
			"0-8+ src=4  ->",
			"0-8+ src=5  ->",
			"0-8+ src=2  ->",
			"0-8+ src=3  ->",
		}}},
		{ipfrag.Config{MaxPerSource: buffersFor(2)}, rule{"MaxPerSource, each source for itself", []string{
			"0-8+ src=2   ->",
			"8-16 src=2   -> merged 8-16, whole 16",
			"0-8+ src=4   ->",
			"0-8+ src=5   ->",
			"8-16+ src=4  ->",
			"8-16+ src=5  ->",
			"16-24+ src=4 -> too many fragments from one source 16-24",
			"16-24+ src=5 -> too many fragments from one source 16-24",
		}}},
		{ipfrag.Config{MaxDatagrams: 2}, rule{"MaxDatagrams", []string{
			"0-8+ id=1   ->",
			"0-8+ id=2   ->",
			"0-8+ id=3   -> too many fragments 0-8",
			"16-24+ id=1 ->",
			"8-16 id=2   -> merged 8-16, whole 16",
			"0-8+ id=3   ->",
		}}},
		{ipfrag.Config{MaxDistance: 2}, rule{"MaxDistance", []string{
			"0-8+ id=1   ->",
			"0-8+ id=2   ->",
			"8-16+ id=1  ->", // the second after its last
			"0-8+ id=3   ->",
			"8-16+ id=3  ->",
			"16-24 id=1  -> fragments too far apart 0-8, fragments too far apart 8-16",
			"0-8+ id=1   ->", // of a new datagram
			"8-16+ id=1  -> merged 8-16, merged 16-24, whole 24",
			"8-16 id=2   -> fragments too far apart 0-8",
		}}},
		{ipfrag.Config{MaxDistance: 2}, rule{"MaxDistance is one of each source", []string{
			"0-8+ id=1       ->",
			"0-8+ id=1 src=3 ->",
			"8-16+ id=1 src=3 ->",
			"16-24+ id=1 src=3 ->",
			"8-16+ id=1      ->",
		}}},
		{ipfrag.Config{MaxDistance: -1}, rule{"MaxDistance none", far(100)}},
		{ipfrag.Config{}, rule{"MaxDistance by default: one less", far(63)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKit(t, c.config)
			play(t, k, c.lines)
			k.close()
		})
	}
}

// far returns a datagram with n fragments of others between its own.
func far(n int) []string {
	lines := []string{"0-8+ id=1000 ->"}
	for i := range n {
		lines = append(lines, fmt.Sprintf("0-8+ id=%d ->", i))
	}
	return append(lines, "8-16 id=1000 -> merged 8-16, whole 16")
}

func TestMaxDistanceByDefault(t *testing.T) {
	k := newKit(t, ipfrag.Config{})
	lines := far(64)
	play(t, k, lines[:len(lines)-1])
	assert.Equal(t, "fragments too far apart 0-8", k.send(parsePart("8-16 id=1000")))
	assert.EqualValues(t, 1, k.r.Stats().ReasmFails)
	k.close()
}

// TestDefaultPerSource has one sender take what one may: a quarter of all.
func TestDefaultPerSource(t *testing.T) {
	for _, c := range []struct{ maxBytes, want int }{
		{0, 1 << 20},
		{8 << 20, 2 << 20},
		{256 << 10, 128 << 10}, // a quarter would not take the largest datagram
		{64 << 10, 64 << 10},
	} {
		k := newKitOf(t, ipfrag.Config{MaxBytes: c.maxBytes, MaxDistance: -1}, 2048, bufferSize)
		for i := 0; k.send(parsePart(fmt.Sprintf("8-16+ id=%d", i))) == ""; i++ {
			if i > 4096 {
				t.Fatal("no limit")
			}
		}
		_, _, bytes := k.r.Len()
		assert.Equal(t, c.want, bytes, "of %d", c.maxBytes)
		k.close()
	}
}

func TestTimes(t *testing.T) {
	k := newKit(t, ipfrag.Config{Timeout: 10 * time.Second})
	assert.Equal(t, ipfrag.Never, k.r.Next())
	assert.Empty(t, k.tick(time.Hour))
	at := time.Hour
	send := func(after time.Duration, text string) string {
		p := parsePart(text)
		p.at = at + after
		return k.send(p)
	}
	require.Empty(t, send(0, "8-16+ id=1"))
	require.Empty(t, send(1*time.Second, "0-8+ id=2"))
	require.Empty(t, send(2*time.Second, "8-16+ id=3"))
	require.Empty(t, send(9*time.Second, "24-32 id=1")) // extends nothing
	assert.Equal(t, at+10*time.Second, k.r.Next())
	assert.Empty(t, k.tick(at+10*time.Second-1))
	assert.Equal(t, "reassembly timed out 8-16, reassembly timed out 24-32", k.tick(at+10*time.Second))
	assert.Equal(t, at+11*time.Second, k.r.Next())
	assert.Equal(t, "reassembly timed out, first fragment 0-8, reassembly timed out 8-16", k.tick(at+12*time.Second))
	assert.Equal(t, ipfrag.Never, k.r.Next())
	s := k.r.Stats()
	assert.EqualValues(t, 3, s.ReasmTimeout)
	assert.EqualValues(t, 3, s.ReasmFails)
	k.close()
}

func TestTimesAtTheEndOfTime(t *testing.T) {
	k := newKit(t, ipfrag.Config{})
	p := parsePart("0-8+")
	p.at = math.MinInt64
	require.Empty(t, k.send(p))
	assert.Equal(t, 30*time.Second, k.r.Next(), "no time is before 0")
	p.at, p.fields.ID = math.MaxInt64, 2
	require.Empty(t, k.send(p))
	assert.Equal(t, 30*time.Second, k.r.Next())
	assert.NotEmpty(t, k.tick(0), "the time that it was is what it is")
	assert.Equal(t, ipfrag.Never, k.r.Next())
	k.close()
}

func TestSetConfig(t *testing.T) {
	k := newKit(t, ipfrag.Config{})
	play(t, k, []string{"0-8+ id=1 ->", "0-8+ id=2 ->", "0-8+ id=3 ->"})
	require.NoError(t, k.r.SetConfig(ipfrag.Config{Timeout: time.Second, MaxDatagrams: 1, MaxBytes: 1}))
	assert.Equal(t, time.Second, k.r.Next())
	play(t, k, []string{
		"8-16+ id=1 -> too many fragments 8-16",
		"0-8+ id=4 -> too many fragments 0-8",
		"8-16 id=2 -> merged 8-16, whole 16",
	})
	require.Error(t, k.r.SetConfig(ipfrag.Config{Timeout: -1}))
	assert.Equal(t, time.Second, k.r.Next(), "a refused configuration changed something")
	assert.NotEmpty(t, k.tick(time.Second))
	k.close()
}

func TestConfigFaults(t *testing.T) {
	_, err := ipfrag.New(ipfrag.Config{Timeout: -1, MaxBytes: -2, MaxPerSource: -1, MaxDatagrams: -1, MaxDistance: -2})
	require.Error(t, err)
	for _, field := range []string{"Timeout", "MaxBytes", "MaxPerSource", "MaxDatagrams", "MaxDistance"} {
		assert.ErrorContains(t, err, "Config."+field+" is -")
	}
	assert.Equal(t, 5, strings.Count(err.Error(), "ipfrag: "))
}

func TestStats(t *testing.T) {
	k := newKit(t, ipfrag.Config{MaxDatagrams: 1})
	for _, line := range []string{
		"0-8+", "0-8+", "8-12", // OK
		"0-16+", "8-24+", // overlap
		"0-8+", "0-8+ id=2", // full
		"8-8",                // bad length
		"0-8+", "8-12 tos=1", // ECN
	} {
		k.send(parsePart(line))
	}
	want := ipfrag.Stats{ReasmReqds: 10, ReasmOKs: 1, ReasmFails: 4, ReasmOverlaps: 1}
	for outcome, n := range map[ipfrag.Outcome]uint64{
		ipfrag.Whole: 1, ipfrag.Merged: 1, ipfrag.Duplicate: 1, ipfrag.Overlap: 2, ipfrag.Full: 1, ipfrag.BadLength: 2, ipfrag.BadECN: 2,
	} {
		want.Out[outcome] = n
	}
	assert.Equal(t, want, k.r.Stats())
	k.close()
}

func TestOutcomeString(t *testing.T) {
	seen := make(map[string]bool)
	for o := range ipfrag.Outcome(ipfrag.NumOutcomes) {
		assert.NotEmpty(t, o.String())
		assert.False(t, seen[o.String()], "%d is called like another", o)
		seen[o.String()] = true
	}
	assert.Equal(t, "outcome 200", ipfrag.Outcome(200).String())
}

func TestNoFragment(t *testing.T) {
	k := newKit(t, ipfrag.Config{})
	p, err := ipv4.Fields{TTL: 1, Flags: ipv4.DontFragment}.Append(nil, 3)
	require.NoError(t, err)
	assert.Equal(t, "no fragment", k.input(0, append(p, 1, 2, 3), 0))
	assert.Zero(t, k.r.Stats())
	for _, p := range [][]byte{nil, p, p[:19], {0x60}} {
		assert.Equal(t, "not an IPv4 packet", k.input(0, p, 0))
	}
	k.close()
}

// TestLargest puts together the largest datagram there is, and one that is larger by the options of its first fragment.
func TestLargest(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []byte
		payload int
		whole   bool
	}{
		{"largest", nil, ipv4.MaxLen - ipv4.HeaderLen, true},
		{"largest with options", options, ipv4.MaxLen - ipv4.HeaderLen - len(options), true},
		{"a byte beyond with options", options, ipv4.MaxLen - ipv4.HeaderLen - len(options) + 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKit(t, ipfrag.Config{})
			var got string
			for at := 0; at < c.payload; at += 1480 {
				require.Empty(t, got)
				p := parsePart(fmt.Sprintf("%d-%d", at, min(at+1480, c.payload)))
				if p.end < c.payload {
					p.fields.Flags = ipv4.MoreFragments
				}
				if at == 0 {
					p.fields.Options = c.options
				}
				got = k.send(p)
			}
			s := k.r.Stats()
			if c.whole {
				require.Len(t, k.wholes, 1)
				assert.Len(t, k.wholes[0], ipv4.MaxLen)
				assert.EqualValues(t, 1, s.Made)
				assert.EqualValues(t, 45, s.Out[ipfrag.Merged])
			} else {
				assert.Equal(t, 45, strings.Count(got, "fragments exceed 65535 bytes"))
				assert.EqualValues(t, 1, s.ReasmFails)
			}
			k.close()
		})
	}
}

// TestInPlaceOrNew has the room for the datagram in the first fragment's buffer, to the byte, and a byte less.
func TestInPlaceOrNew(t *testing.T) {
	for _, c := range []struct {
		room int
		made bool
	}{{60, false}, {59, true}} {
		k := newKitOf(t, ipfrag.Config{}, 4, packet.DefaultHeadroom+c.room)
		k.send(parsePart("24-40"))
		k.send(parsePart("16-24+"))
		b := k.buffer(parsePart("0-16+").packet())
		k.sent[b] = parsePart("0-16+").packet()
		out := k.r.Input(0, b, 0, nil)
		last := out[len(out)-1]
		assert.Equal(t, ipfrag.Whole, last.Outcome)
		assert.Equal(t, c.made, last.Made)
		assert.Equal(t, !c.made, last.Buffer == b)
		assert.Equal(t, packet.DefaultHeadroom, last.Buffer.Headroom())
		if c.made {
			assert.Equal(t, "merged 0-16, merged 16-24, merged 24-40, whole 40", k.took(out))
		} else {
			assert.Equal(t, "merged 16-24, merged 24-40, whole 40", k.took(out))
		}
		assert.Equal(t, content(0, 40), k.wholes[0][20:])
		k.close()
	}
}

// TestManyFragments has a datagram of the smallest fragments there are, backwards.
func TestManyFragments(t *testing.T) {
	const n = 3000
	k := newKitOf(t, ipfrag.Config{MaxBytes: 1 << 30}, n, 256)
	var got string
	for i := range n {
		at := (n - 1 - i) * 8
		p := parsePart(fmt.Sprintf("%d-%d", at, at+8))
		if i > 0 {
			p.fields.Flags = ipv4.MoreFragments
		}
		b := k.buffer(p.packet())
		out := k.r.Input(0, b, 0, nil)
		require.Equal(t, i == n-1, len(out) > 0)
		for _, r := range out {
			got = r.Outcome.String()
			if r.Outcome == ipfrag.Whole {
				assert.Equal(t, content(0, n*8), r.Buffer.Bytes()[20:])
			}
			r.Buffer.Free()
		}
	}
	assert.Equal(t, "whole", got)
	k.close()
}

// TestConcurrent lets several goroutines in at the same time, for the race detector, and counts.
func TestConcurrent(t *testing.T) {
	r, err := ipfrag.New(ipfrag.Config{MaxDistance: -1, MaxBytes: 1 << 30})
	require.NoError(t, err)
	pool := newPool(t, 4096, 256)
	const goroutines, datagrams = 4, 500
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			var out []ipfrag.Result
			for i := range datagrams {
				for _, text := range []string{"0-16+", "16-20"} { // two goroutines fill one datagram
					p := parsePart(text)
					p.fields.ID, p.domain = uint16(i), uint32(g/2)
					b := pool.Get()
					if b == nil || b.SetBytes(p.packet()) != nil {
						t.Error("no buffer, or a small one")
						return
					}
					out = r.Input(p.domain, b, time.Duration(i), out[:0])
					for _, o := range out {
						o.Buffer.Free()
					}
				}
				r.Next()
				r.Stats()
				if err := r.SetConfig(ipfrag.Config{MaxDistance: -1, MaxBytes: 1 << 30}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, o := range r.Flush(r.Tick(0, nil)) {
		o.Buffer.Free()
	}
	assert.Zero(t, pool.InUse())
	assert.EqualValues(t, goroutines*datagrams*2, r.Stats().ReasmReqds)
	assert.NotZero(t, r.Stats().ReasmOKs)
}

// TestReassemblerDoesNotAllocate has fates of fragments that were met before.
func TestReassemblerDoesNotAllocate(t *testing.T) {
	for _, c := range []struct {
		name   string
		config ipfrag.Config
		parts  []string
		want   ipfrag.Outcome // of the last
	}{
		{"held and flushed", ipfrag.Config{}, []string{"0-8+", "16-24+", "8-16+ id=2"}, ipfrag.Held},
		{"whole, in place", ipfrag.Config{}, []string{"1400-1480", "0-800+", "800-1400+"}, ipfrag.Whole},
		{"whole, last first", ipfrag.Config{}, []string{"24-25", "16-24+", "8-16+", "0-8+"}, ipfrag.Whole},
		{"duplicate", ipfrag.Config{}, []string{"0-8+", "0-8+"}, ipfrag.Duplicate},
		{"overlap", ipfrag.Config{}, []string{"0-16+", "8-24+"}, ipfrag.Overlap},
		{"bad end", ipfrag.Config{}, []string{"0-16+", "8-12"}, ipfrag.BadEnd},
		{"bad length", ipfrag.Config{}, []string{"0-0+"}, ipfrag.BadLength},
		{"bad ECN", ipfrag.Config{}, []string{"0-8+", "8-12 tos=3"}, ipfrag.BadECN},
		{"too big", ipfrag.Config{}, []string{"0-8+", "65528-65540"}, ipfrag.TooBig},
		{"full", ipfrag.Config{MaxDatagrams: 1}, []string{"0-8+", "0-8+ id=2"}, ipfrag.Full},
		{"source full", ipfrag.Config{MaxPerSource: 2048}, []string{"0-8+", "0-8+ id=2"}, ipfrag.SourceFull},
		{"too far", ipfrag.Config{MaxDistance: 1}, []string{"0-8+", "0-8+ id=2", "8-16 id=1"}, ipfrag.TooFar},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKit(t, c.config)
			var packets [][]byte
			for _, text := range c.parts {
				packets = append(packets, parsePart(text).packet())
			}
			free := func(out []ipfrag.Result) {
				for _, o := range out {
					o.Buffer.Free()
				}
			}
			out := make([]ipfrag.Result, 0, 16)
			outcome := ipfrag.Held
			allocs := testing.AllocsPerRun(200, func() {
				for _, p := range packets {
					b := k.pool.Get()
					_ = b.SetBytes(p)
					out = k.r.Input(0, b, 0, out[:0])
					outcome = ipfrag.Held
					if len(out) > 0 {
						outcome = out[len(out)-1].Outcome
					}
					free(out)
				}
				out = k.r.Tick(0, out[:0])
				k.r.Next()
				out = k.r.Flush(out)
				free(out)
			})
			assert.Zero(t, allocs)
			assert.Equal(t, c.want, outcome)
			k.close()
		})
	}
}

// TestEndedSourcesAreForgotten has every datagram come from another address: what is kept of one must be used again.
func TestEndedSourcesAreForgotten(t *testing.T) {
	k := newKit(t, ipfrag.Config{})
	first, last := parsePart("0-8+").packet(), parsePart("8-16").packet()
	out := make([]ipfrag.Result, 0, 4)
	domain := uint32(0)
	allocs := testing.AllocsPerRun(5000, func() {
		domain++
		for _, p := range [][]byte{first, last} {
			b := k.pool.Get()
			_ = b.SetBytes(p)
			out = k.r.Input(domain, b, 0, out[:0])
		}
		for _, o := range out {
			o.Buffer.Free()
		}
	})
	assert.Zero(t, allocs)
	assert.EqualValues(t, 5001, k.r.Stats().ReasmOKs)
	k.close()
}
