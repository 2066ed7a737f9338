// RFC 5227 by its sections: what a claim sends and when, what is a conflict and what is none, and what each defence does.
package arp_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
)

// The host is macA and claims ipA; macB is another one.
var claimed = netip.AddrFrom4(ipA)

func newClaim(t *testing.T, c arp.ClaimConfig) *arp.Claim {
	t.Helper()
	c.MAC = macA
	claim, err := arp.NewClaim(c)
	require.NoError(t, err)
	return claim
}

// packetOf returns f as a packet.
func packetOf(f arp.Fields) arp.Packet {
	p, err := f.Put(make([]byte, arp.Len))
	if err != nil {
		panic(err) // there is room
	}
	return p
}

// sent is a packet and when it was sent.
type sent struct {
	at     time.Duration
	fields arp.Fields
}

// run calls Advance at every deadline up to a time, and returns what is sent.
func run(c *arp.Claim, until time.Duration) (all []sent) {
	for {
		at, waits := c.Deadline()
		if !waits || at > until {
			return all
		}
		if f, send := c.Advance(at); send {
			all = append(all, sent{at, f})
		}
	}
}

// hold brings a claim to where the address is held, and returns the time.
func hold(t *testing.T, c *arp.Claim) time.Duration {
	t.Helper()
	require.NoError(t, c.Announce(0, claimed))
	all := run(c, time.Hour)
	require.Equal(t, arp.ClaimHeld, c.State())
	return all[len(all)-1].at
}

// TestClaimUncontested holds the packets and their times against sections 2.1.1 and 2.3, for many seeds, and checks that the
// delays are spread over the whole of their ranges.
func TestClaimUncontested(t *testing.T) {
	var first, between []time.Duration
	for seed := range uint64(1000) {
		c := newClaim(t, arp.ClaimConfig{Seed: seed})
		assert.Equal(t, arp.ClaimIdle, c.State())
		assert.False(t, c.Addr().IsValid())
		const start = 5 * time.Second
		require.NoError(t, c.Start(start, claimed))
		require.Equal(t, arp.ClaimProbing, c.State())
		require.False(t, c.Usable())
		all := run(c, time.Hour)
		require.Len(t, all, arp.ProbeNum+arp.AnnounceNum)

		for i, s := range all {
			want := arp.Probe(macA, ipA)
			if i >= arp.ProbeNum {
				want = arp.Announcement(macA, ipA)
			}
			require.Equal(t, want, s.fields, "packet %d", i)
		}
		first = append(first, all[0].at-start)
		between = append(between, all[1].at-all[0].at, all[2].at-all[1].at)
		require.Equal(t, arp.AnnounceWait, all[3].at-all[2].at)
		require.Equal(t, arp.AnnounceInterval, all[4].at-all[3].at)
		require.Equal(t, arp.ClaimHeld, c.State())
		require.True(t, c.Usable())
		require.Equal(t, claimed, c.Addr())
	}
	spread(t, first, 0, arp.ProbeWait)
	spread(t, between, arp.ProbeMin, arp.ProbeMax)
}

// spread checks that times fill a range, and nothing but the range.
func spread(t *testing.T, times []time.Duration, from, to time.Duration) {
	t.Helper()
	assert.GreaterOrEqual(t, slices.Min(times), from)
	assert.LessOrEqual(t, slices.Max(times), to)
	var tenths [10]int
	for _, at := range times {
		tenths[min(int((at-from)*10/(to-from)), 9)]++
	}
	for i, n := range tenths {
		assert.Greater(t, n, len(times)/20, "tenth %d of the range", i)
	}
}

// TestClaimSeeds: the same seed and MAC give the same times; another one of the two gives others, so that hosts which a power
// failure started together do not probe together.
func TestClaimSeeds(t *testing.T) {
	times := func(mac ethernet.MAC, seed uint64) []sent {
		c, err := arp.NewClaim(arp.ClaimConfig{MAC: mac, Seed: seed})
		require.NoError(t, err)
		require.NoError(t, c.Start(0, claimed))
		return run(c, time.Hour)
	}
	assert.Equal(t, times(macA, 7), times(macA, 7))
	assert.NotEqual(t, times(macA, 7)[0].at, times(macA, 8)[0].at)
	assert.NotEqual(t, times(macA, 7)[0].at, times(macB, 7)[0].at)
}

// TestClaimLate: who comes late gets one packet a call, and the usual pauses after it.
func TestClaimLate(t *testing.T) {
	c := newClaim(t, arp.ClaimConfig{})
	require.NoError(t, c.Start(0, claimed))
	_, send := c.Advance(time.Minute)
	require.True(t, send)
	_, send = c.Advance(time.Minute)
	require.False(t, send, "a second probe at once")
	next, waits := c.Deadline()
	require.True(t, waits)
	require.GreaterOrEqual(t, next, time.Minute+arp.ProbeMin)
	require.LessOrEqual(t, next, time.Minute+arp.ProbeMax)
	_, send = c.Advance(next - 1)
	require.False(t, send, "sent before its time")
}

// TestClaimAnnounce: announcements without probing, as after a failover.
func TestClaimAnnounce(t *testing.T) {
	request, reply := arp.Announcement(macA, ipA), arp.Fields{
		Op: arp.Reply, SenderMAC: macA, SenderIP: ipA, TargetMAC: macA, TargetIP: ipA,
	}
	for _, c := range []struct {
		name   string
		config arp.ClaimConfig
		want   []sent
	}{
		{"as RFC 5227 has it", arp.ClaimConfig{}, []sent{{3, request}, {3 + 2*time.Second, request}}},
		{
			"three, often",
			arp.ClaimConfig{Announcements: 3, Interval: 10},
			[]sent{{3, request}, {13, request}, {23, request}},
		},
		{
			"in both forms",
			arp.ClaimConfig{Announcements: 2, Interval: 10, Replies: true},
			[]sent{{3, request}, {3, reply}, {13, request}, {13, reply}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			claim := newClaim(t, c.config)
			require.NoError(t, claim.Announce(3, claimed))
			require.True(t, claim.Usable())
			require.Equal(t, c.want, run(claim, time.Hour))
			require.Equal(t, arp.ClaimHeld, claim.State())
			for _, s := range c.want {
				require.True(t, packetOf(s.fields).IsAnnouncement())
			}
		})
	}
}

// TestClaimConflicts: which packets say, while the address is probed for and when it is in use, that somebody else has it.
func TestClaimConflicts(t *testing.T) {
	const inUse, probing = 1, 2
	own2 := ethernet.MAC{0x02, 0, 0, 0, 0, 0x0c}
	for _, c := range []struct {
		name     string
		fields   arp.Fields
		conflict int // when it is one
	}{
		{"reply from the address", arp.Fields{Op: arp.Reply, SenderMAC: macB, SenderIP: ipA, TargetMAC: macA}, inUse | probing},
		{"request from the address", arp.WhoHas(ipB, macB, ipA), inUse | probing},
		{"announcement of the address", arp.Announcement(macB, ipA), inUse | probing},
		{"gratuitous reply", arp.GratuitousReply(macB, ipA), inUse | probing},
		{"another's probe for it", arp.Probe(macB, ipA), probing},
		{"question for it", arp.WhoHas(ipA, macB, ipB), 0},
		{"announcement of another address", arp.Announcement(macB, ipB), 0},
		{"probe for another address", arp.Probe(macB, ipB), 0},
		{"our own probe, looped back", arp.Probe(macA, ipA), 0},
		{"our own announcement, looped back", arp.Announcement(macA, ipA), 0},
		{"our other interface's probe", arp.Probe(own2, ipA), 0},
		{"our other interface's request", arp.WhoHas(ipB, own2, ipA), 0},
		{"RARP", arp.Fields{Op: arp.ReverseReply, SenderMAC: macB, SenderIP: ipA}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := packetOf(c.fields)
			claim := newClaim(t, arp.ClaimConfig{Defence: arp.DefendNever, OwnMACs: []ethernet.MAC{own2}})
			claim.Receive(0, p)
			require.Equal(t, arp.ClaimIdle, claim.State(), "not even started")

			for _, phase := range []struct {
				flag     int
				until    time.Duration
				conflict arp.ClaimState
			}{
				{probing, 0, arp.ClaimTaken},
				{probing, 5 * time.Second, arp.ClaimTaken}, // three probes and ANNOUNCE_WAIT take 4 to 7 s
				{inUse, 7 * time.Second, arp.ClaimLost},    // announcing
				{inUse, time.Hour, arp.ClaimLost},
			} {
				claim := newClaim(t, arp.ClaimConfig{Defence: arp.DefendNever, OwnMACs: []ethernet.MAC{own2}, Seed: 3})
				require.NoError(t, claim.Start(0, claimed))
				run(claim, phase.until)
				before := claim.State()
				require.Equal(t, phase.flag == inUse, claim.Usable(), "%v after %v", before, phase.until)
				_, send := claim.Receive(phase.until, p)
				require.False(t, send)
				if c.conflict&phase.flag == 0 {
					require.Equal(t, before, claim.State())
					require.Zero(t, claim.Conflicts())
					continue
				}
				require.Equal(t, phase.conflict, claim.State())
				require.Equal(t, 1, claim.Conflicts())
				require.Equal(t, macB, claim.ConflictWith())
				require.False(t, claim.Usable())
				require.Empty(t, run(claim, time.Hour), "it goes on")
				claim.Receive(time.Hour, p)
				require.Equal(t, 1, claim.Conflicts(), "counted twice")
			}
		})
	}
}

// TestClaimDefence: section 2.4, what each defence does at conflicts at the given times.
func TestClaimDefence(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		name    string
		defence arp.Defence
		at      []time.Duration
		want    string // of each conflict: defended, kept without a word, lost, or after that
	}{
		{"never", arp.DefendNever, []time.Duration{0, 1 * s}, "L."},
		{"once", arp.DefendOnce, []time.Duration{0, 10*s - 1, 11 * s}, "DL."},
		{"once, then again after the interval", arp.DefendOnce, []time.Duration{0, 10 * s, 20 * s, 29 * s}, "DDDL"},
		{"always", arp.DefendAlways, []time.Duration{0, 1, 9 * s, 10*s - 1, 10 * s, 19 * s, 20 * s}, "DkkkDkD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			claim := newClaim(t, arp.ClaimConfig{Defence: c.defence})
			start := hold(t, claim)
			got := ""
			for _, at := range c.at {
				f, send := claim.Receive(start+at, packetOf(arp.WhoHas(ipB, macB, ipA)))
				switch {
				case send:
					require.Equal(t, arp.Announcement(macA, ipA), f)
					require.True(t, claim.Usable())
					got += "D"
				case claim.Usable():
					got += "k"
				case len(got) > 0 && (got[len(got)-1] == 'L' || got[len(got)-1] == '.'):
					got += "."
				default:
					require.Equal(t, arp.ClaimLost, claim.State())
					got += "L"
				}
			}
			require.Equal(t, c.want, got)
		})
	}
}

// TestClaimTwoHosts: hosts that probe for one address at the same time. At most one gets it.
func TestClaimTwoHosts(t *testing.T) {
	const seed = 52
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 1000 {
		a, err := arp.NewClaim(arp.ClaimConfig{MAC: macA, Seed: random.Uint64()})
		require.NoError(t, err)
		b, err := arp.NewClaim(arp.ClaimConfig{MAC: macB, Seed: random.Uint64()})
		require.NoError(t, err)
		require.NoError(t, a.Start(0, claimed))
		require.NoError(t, b.Start(time.Duration(random.Int64N(int64(3*time.Second))), claimed))
		hosts := [2]*arp.Claim{a, b}
		for now := time.Duration(0); now < 20*time.Second; now += 10 * time.Millisecond {
			for i, h := range hosts {
				if f, send := h.Advance(now); send {
					hosts[0].Receive(now, packetOf(f)) // a hub: what is sent comes back
					hosts[1-i].Receive(now, packetOf(f))
					hosts[i].Receive(now, packetOf(f))
				}
			}
		}
		require.False(t, a.Usable() && b.Usable())
		require.True(t, a.State() == arp.ClaimTaken || b.State() == arp.ClaimTaken)
	}
}

// TestClaimRateLimit: section 2.1.1. The tenth conflict is the first after which attempts begin a minute apart, not before.
func TestClaimRateLimit(t *testing.T) {
	c := newClaim(t, arp.ClaimConfig{})
	var now, before time.Duration
	for i := range arp.MaxConflicts + 5 {
		require.NoError(t, c.Start(now, claimed.Next()))
		require.NoError(t, c.Start(now, claimed), "another address, before anything is sent") // no further attempt
		turn := now
		if i >= arp.MaxConflicts {
			turn = before + arp.RateLimitInterval
		}
		before = turn
		at, waits := c.Deadline()
		require.True(t, waits)
		require.GreaterOrEqual(t, at, turn, "after %d conflicts", i)
		require.LessOrEqual(t, at, turn+arp.ProbeWait, "after %d conflicts", i)
		_, send := c.Advance(at)
		require.True(t, send)
		now = at + time.Millisecond
		c.Receive(now, packetOf(arp.Probe(macB, ipA)))
		require.Equal(t, arp.ClaimTaken, c.State())
		require.Equal(t, i+1, c.Conflicts())
	}
	later := now + time.Hour
	require.NoError(t, c.Start(later, claimed))
	at, _ := c.Deadline()
	require.LessOrEqual(t, at, later+arp.ProbeWait, "an hour is more than a minute")
}

// TestClaimAgain: a claim can be about one address after another, and be let go.
func TestClaimAgain(t *testing.T) {
	c := newClaim(t, arp.ClaimConfig{})
	hold(t, c)
	c.Release()
	require.Equal(t, arp.ClaimIdle, c.State())
	require.Empty(t, run(c, time.Hour))
	require.NoError(t, c.Start(0, netip.AddrFrom4(ipB)))
	require.Zero(t, c.ConflictWith())
	c.Receive(0, packetOf(arp.Announcement(macB, ipA)))
	require.Equal(t, arp.ClaimProbing, c.State(), "that was the old address")
	for _, wrong := range []string{"::1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "127.0.0.1", "::ffff:192.0.2.1"} {
		require.ErrorIs(t, c.Start(0, netip.MustParseAddr(wrong)), arp.ErrAddress, wrong)
		require.ErrorIs(t, c.Announce(0, netip.MustParseAddr(wrong)), arp.ErrAddress, wrong)
	}
	require.ErrorIs(t, c.Start(0, netip.Addr{}), arp.ErrAddress)
	require.Equal(t, netip.AddrFrom4(ipB), c.Addr())
	require.Equal(t, arp.ClaimProbing, c.State())
}

func TestClaimConfigFaults(t *testing.T) {
	_, err := arp.NewClaim(arp.ClaimConfig{Defence: 3, Announcements: -1, Interval: -1})
	for _, field := range []string{"MAC", "Defence", "Announcements", "Interval"} {
		assert.ErrorContains(t, err, "ClaimConfig."+field+" ")
	}
	_, err = arp.NewClaim(arp.ClaimConfig{MAC: macA, Announcements: 1 << 30})
	assert.ErrorContains(t, err, "Announcements")
	_, err = arp.NewClaim(arp.ClaimConfig{MAC: ethernet.Broadcast})
	assert.ErrorContains(t, err, "MAC")
}

func TestClaimStateStrings(t *testing.T) {
	for s := arp.ClaimIdle; s <= arp.ClaimLost; s++ {
		assert.NotContains(t, s.String(), "(")
	}
	assert.Equal(t, "ClaimState(6)", (arp.ClaimLost + 1).String())
}

func TestClaimNoAllocs(t *testing.T) {
	c := newClaim(t, arp.ClaimConfig{Defence: arp.DefendAlways})
	now := hold(t, c)
	conflict, other := packetOf(arp.Announcement(macB, ipA)), packetOf(arp.WhoHas(ipA, macB, ipB))
	mem := make([]byte, 0, arp.FrameLen)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		now += arp.DefendInterval
		f, send := c.Receive(now, conflict)
		if !send {
			t.Fatal("not defended")
		}
		mem = f.AppendFrame(mem[:0], ethernet.Broadcast)
		c.Receive(now, conflict)
		c.Receive(now, other)
	}))
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		if c.Start(now, claimed) != nil {
			t.Fatal("refused")
		}
		for {
			at, waits := c.Deadline()
			if !waits {
				break
			}
			now = at
			c.Advance(at)
		}
	}))
}
