// What a responder answers and what not, each case named for what is wrong with it; the answers that wait; and the bytes.
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

// The responder's port has macA, 192.0.2.1/24 and 198.51.100.1/32, and macB is a host there. The node has 192.0.2.99 on another
// port.
var (
	ipBeyond  = [4]byte{10, 1, 0, 7}     // behind another port
	ipNode    = [4]byte{192, 0, 2, 99}   // the node's own, on another port
	ipSame    = [4]byte{192, 0, 2, 50}   // another host of the same port
	ipNowhere = [4]byte{10, 200, 0, 1}   // blackhole
	ipSecond  = [4]byte{198, 51, 100, 1} // the port's own too
)

func num(ip [4]byte) uint32 {
	return uint32(ip[0])<<24 | uint32(ip[1])<<16 | uint32(ip[2])<<8 | uint32(ip[3])
}

// wayTo is the node's routing.
func wayTo(target, _ uint32) arp.Way {
	switch {
	case target == num(ipNode):
		return arp.WayLocal
	case target>>8 == num(ipA)>>8:
		return arp.WayBack
	case target>>16 == num(ipNowhere)>>16:
		return arp.WayNone
	}
	return arp.WayOn
}

func portAddrs() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(ipA), 24), netip.PrefixFrom(netip.AddrFrom4(ipSecond), 32)}
}

// proxyAll is the configuration of a port with proxy_arp.
func proxyAll() arp.ResponderConfig {
	return arp.ResponderConfig{MAC: macA, Addrs: portAddrs(), Route: wayTo, ProxyAll: true}
}

func newResponder(t testing.TB, c arp.ResponderConfig) *arp.Responder {
	t.Helper()
	r, err := arp.NewResponder(c)
	require.NoError(t, err)
	return r
}

// broadcast returns f in a frame to everybody.
func broadcast(f arp.Fields) []byte { return f.AppendFrame(nil, ethernet.Broadcast) }

// asks is the question of macB at ipB.
func asks(target [4]byte) arp.Fields { return arp.WhoHas(target, macB, ipB) }

// with returns f after a change.
func with(f arp.Fields, change func(*arp.Fields)) arp.Fields {
	change(&f)
	return f
}

func TestRespond(t *testing.T) {
	own := []byte(bytesB + bytesA + "\x08\x06" + head + "\x00\x02" + bytesA + addrA + bytesB + addrB)
	frame, prefix := broadcast(asks(ipA)), []byte("before")
	given := slices.Clone(frame)
	got, v := newResponder(t, proxyAll()).Respond(slices.Clone(prefix), frame, 0)
	require.Equal(t, arp.Answered, v)
	assert.Equal(t, append(prefix, own...), got)
	assert.Equal(t, given, frame)

	padded := append(frame, make([]byte, 18)...)
	got, _ = newResponder(t, proxyAll()).Respond(nil, padded, 0)
	assert.Equal(t, own, got, "60 bytes as they come from a wire")
}

func TestVerdicts(t *testing.T) {
	sender := func(mac ethernet.MAC, ip [4]byte, target [4]byte) []byte {
		return arp.WhoHas(target, mac, ip).AppendFrame(nil, ethernet.Broadcast)
	}
	tag := func(tci string) []byte {
		return slices.Concat(ethernet.Broadcast[:], macB[:], []byte("\x81\x00"+tci+"\x08\x06"), asks(ipA).Append(nil))
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  arp.Verdict
	}{
		{"for the port's address", broadcast(asks(ipA)), arp.Answered},
		{"for its second address", broadcast(asks(ipSecond)), arp.Answered},
		{"for the node's address elsewhere", broadcast(asks(ipNode)), arp.Answered},
		{"to the port alone", asks(ipA).AppendFrame(nil, macA), arp.Answered},
		{"to a group", asks(ipA).AppendFrame(nil, ethernet.MAC{1, 0, 0x5e, 0, 0, 1}), arp.Answered},
		{"by a sender of another subnet", sender(macB, [4]byte{169, 254, 9, 9}, ipA), arp.Answered},
		{"with a target MAC", broadcast(with(asks(ipA), func(f *arp.Fields) { f.TargetMAC = ethernet.Broadcast })), arp.Answered},
		{"probe for the port's address", broadcast(arp.Probe(macB, ipA)), arp.Answered},
		{"probe for the node's address", broadcast(arp.Probe(macB, ipNode)), arp.Answered},
		{"by proxy", broadcast(asks(ipBeyond)), arp.Answered},
		{"by a sender in network 0", sender(macB, [4]byte{0, 0, 0, 1}, ipA), arp.Answered},
		{"by proxy, in network 0", broadcast(asks([4]byte{0, 1, 2, 3})), arp.Answered},
		{"by proxy, in class E", broadcast(asks([4]byte{250, 1, 2, 3})), arp.Answered},
		{"priority tag", tag("\xe0\x00"), arp.Answered},

		{"empty", nil, arp.SilentNotARP},
		{"cut in the header", broadcast(asks(ipA))[:13], arp.SilentNotARP},
		{"IPv4", append(slices.Concat(macA[:], macB[:]), "\x08\x00\x45"...), arp.SilentNotARP},
		{"802.3 length", append(slices.Concat(macA[:], macB[:]), "\x00\x1c0123456789012345678901234567"...), arp.SilentNotARP},
		{"VLAN tag", tag("\x00\x05"), arp.SilentTagged},
		{"to another station", asks(ipA).AppendFrame(nil, macB), arp.SilentNotToUs},
		{"the port's own, looped back", sender(macA, ipA, ipB), arp.SilentOwn},
		{"cut", broadcast(asks(ipA))[:arp.FrameLen-1], arp.SilentMalformed},
		{"IPv6 as protocol", func() []byte { f := broadcast(asks(ipA)); f[16], f[17] = 0x86, 0xdd; return f }(), arp.SilentMalformed},
		{"reply", broadcast(arp.Fields{Op: arp.Reply, SenderMAC: macB, SenderIP: ipB, TargetIP: ipA}), arp.SilentNotRequest},
		{"RARP request", broadcast(arp.Fields{Op: arp.ReverseRequest, SenderMAC: macB, SenderIP: ipB, TargetIP: ipA}), arp.SilentNotRequest},
		{"operation 0", broadcast(arp.Fields{SenderMAC: macB, SenderIP: ipB, TargetIP: ipA}), arp.SilentNotRequest},
		{"broadcast sender MAC", sender(ethernet.Broadcast, ipB, ipA), arp.SilentSenderMAC},
		{"multicast sender MAC", sender(ethernet.MAC{1, 0, 0x5e, 0, 0, 1}, ipB, ipA), arp.SilentSenderMAC},
		{"zero sender MAC", sender(ethernet.MAC{}, ipB, ipA), arp.SilentSenderMAC},
		{"multicast sender MAC, probe", sender(ethernet.MAC{1, 0, 0x5e, 0, 0, 1}, [4]byte{}, ipA), arp.SilentSenderMAC},
		{"broadcast sender", sender(macB, [4]byte{255, 255, 255, 255}, ipA), arp.SilentSenderIP},
		{"multicast sender", sender(macB, [4]byte{224, 0, 0, 1}, ipA), arp.SilentSenderIP},
		{"loopback sender", sender(macB, [4]byte{127, 0, 0, 1}, ipA), arp.SilentSenderIP},
		{"for 0.0.0.0", broadcast(asks([4]byte{})), arp.SilentTargetIP},
		{"for loopback", broadcast(asks([4]byte{127, 0, 0, 1})), arp.SilentTargetIP},
		{"for multicast", broadcast(asks([4]byte{239, 1, 1, 1})), arp.SilentTargetIP},
		{"for broadcast", broadcast(asks([4]byte{255, 255, 255, 255})), arp.SilentTargetIP},
		{"announcement of the port's address", broadcast(arp.Announcement(macB, ipA)), arp.SilentConflict},
		{"asking as the port", sender(macB, ipA, ipBeyond), arp.SilentConflict},
		{"announcement of the node's address", broadcast(arp.Announcement(macB, ipNode)), arp.SilentConflict},
		{"asking as the node", sender(macB, ipNode, ipA), arp.SilentConflict},
		{"probe by proxy", broadcast(arp.Probe(macB, ipBeyond)), arp.SilentProbe},
		{"probe for a neighbour", broadcast(arp.Probe(macB, ipSame)), arp.SilentProbe},
		{"announcement of an address behind", broadcast(arp.Announcement(macB, ipBeyond)), arp.SilentAnnouncement},
		{"announcement", broadcast(arp.Announcement(macB, ipB)), arp.SilentAnnouncement},
		{"same port", broadcast(asks(ipSame)), arp.SilentSamePort},
		{"blackhole", broadcast(asks(ipNowhere)), arp.SilentNoWay},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newResponder(t, proxyAll())
			got, v := r.Respond(nil, c.frame, 0)
			require.Equal(t, c.want, v, "%v", v)
			require.Equal(t, v == arp.Answered, len(got) == arp.FrameLen)
			if v == arp.Answered {
				checkAnswer(t, c.frame, got)
			}
			_, waits := r.Deadline()
			require.False(t, waits)
			require.Equal(t, uint64(1), counted(r.Stats())[v], "the counter of the verdict")
		})
	}
}

// checkAnswer checks that answer answers the question in frame.
func checkAnswer(t *testing.T, frame, answer []byte) {
	t.Helper()
	_, payload, err := ethernet.Parse(frame)
	require.NoError(t, err)
	question, err := arp.Parse(payload)
	require.NoError(t, err)
	require.Equal(t, arp.ReplyTo(question, macA).AppendFrame(nil, question.SenderMAC()), answer)
}

// counted returns the counters by verdict.
func counted(s arp.ResponderStats) map[arp.Verdict]uint64 {
	return map[arp.Verdict]uint64{
		arp.Answered: s.Answered, arp.Delayed: s.Delayed, arp.SilentNotARP: s.NotARP, arp.SilentTagged: s.Tagged,
		arp.SilentNotToUs: s.NotToUs, arp.SilentOwn: s.Own, arp.SilentMalformed: s.Malformed, arp.SilentNotRequest: s.NotRequest,
		arp.SilentSenderMAC: s.SenderMAC, arp.SilentSenderIP: s.SenderIP, arp.SilentTargetIP: s.TargetIP,
		arp.SilentConflict: s.Conflict, arp.SilentProbe: s.Probe, arp.SilentIgnored: s.Ignored,
		arp.SilentAnnouncement: s.Announcement, arp.SilentNoWay: s.NoWay, arp.SilentSamePort: s.SamePort,
		arp.SilentNoProxy: s.NoProxy, arp.SilentQueueFull: s.QueueFull,
	}
}

// TestIgnore: the levels of arp_ignore that the packet and the port's addresses decide.
func TestIgnore(t *testing.T) {
	far := arp.WhoHas(ipA, macB, [4]byte{10, 9, 9, 9})
	for _, c := range []struct {
		name   string
		fields arp.Fields
		want   map[int]bool // answered at each level
	}{
		{"own address, sender in its subnet", asks(ipA), map[int]bool{0: true, 1: true, 2: true, 8: false}},
		{"own address, sender elsewhere", far, map[int]bool{0: true, 1: true, 2: false, 8: false}},
		{"own address with /32", asks(ipSecond), map[int]bool{0: true, 1: true, 2: false, 8: false}},
		{"another port's address", asks(ipNode), map[int]bool{0: true, 1: false, 2: false, 8: false}},
		{"probe for own address", arp.Probe(macB, ipA), map[int]bool{0: true, 1: true, 2: true, 8: false}},
		{"probe for another port's address", arp.Probe(macB, ipNode), map[int]bool{0: true, 1: false, 2: false, 8: false}},
		{"by proxy", asks(ipBeyond), map[int]bool{0: true, 1: true, 2: true, 8: true}},
	} {
		for level, answered := range c.want {
			config := proxyAll()
			config.Ignore = level
			want := arp.SilentIgnored
			if answered {
				want = arp.Answered
			}
			_, v := newResponder(t, config).Respond(nil, broadcast(c.fields), 0)
			assert.Equal(t, want, v, "%s, level %d: %v", c.name, level, v)
		}
	}
}

// TestProxyFor holds the set of prefixes against a search one by one.
func TestProxyFor(t *testing.T) {
	const seed = 3
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		var set []netip.Prefix
		for range random.IntN(20) {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.Uint32())})
			set = append(set, netip.PrefixFrom(a, 24+random.IntN(9)))
		}
		r := newResponder(t, arp.ResponderConfig{MAC: macA, ProxyFor: set})
		for last := range 256 {
			target := [4]byte{10, 0, 0, byte(last)}
			want := arp.SilentNoProxy
			if slices.ContainsFunc(set, func(p netip.Prefix) bool { return p.Contains(netip.AddrFrom4(target)) }) {
				want = arp.Answered
			}
			_, v := r.Respond(nil, broadcast(asks(target)), 0)
			require.Equal(t, want, v, "%v of %v", netip.AddrFrom4(target), set)
		}
	}
	everybody := newResponder(t, arp.ResponderConfig{MAC: macA, ProxyFor: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
	_, v := everybody.Respond(nil, broadcast(asks([4]byte{223, 255, 255, 255})), 0)
	assert.Equal(t, arp.Answered, v)
}

// TestProxyForRouted: the set does not answer for what is on the same port, nowhere or the node's own.
func TestProxyForRouted(t *testing.T) {
	c := proxyAll()
	c.ProxyAll = false
	c.ProxyFor = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/30"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.200.0.0/16")}
	for target, want := range map[[4]byte]arp.Verdict{
		{10, 1, 0, 1}: arp.Answered,
		ipBeyond:      arp.SilentNoProxy,
		ipSame:        arp.SilentSamePort,
		ipNowhere:     arp.SilentNoWay,
		ipNode:        arp.Answered,
	} {
		_, v := newResponder(t, c).Respond(nil, broadcast(asks(target)), 0)
		assert.Equal(t, want, v, "%v: %v", netip.AddrFrom4(target), v)
	}
}

// delaying is proxyAll with proxy_delay.
func delaying(seed uint64) arp.ResponderConfig {
	c := proxyAll()
	c.ProxyDelay, c.Seed = 800*time.Millisecond, seed
	return c
}

// TestDelay: answers by proxy wait for a random time below proxy_delay; those for own addresses, and those to who asked the
// port alone, do not.
func TestDelay(t *testing.T) {
	var waited []time.Duration
	for seed := range uint64(1000) {
		const now = time.Minute
		r := newResponder(t, delaying(seed))
		_, v := r.Respond(nil, broadcast(asks(ipA)), now)
		require.Equal(t, arp.Answered, v)
		answer, v := r.Respond(nil, asks(ipBeyond).AppendFrame(nil, macA), now)
		require.Equal(t, arp.Answered, v)
		_, waits := r.Deadline()
		require.False(t, waits)

		frame := broadcast(asks(ipBeyond))
		none, v := r.Respond(nil, frame, now)
		require.Equal(t, arp.Delayed, v)
		require.Empty(t, none)
		clear(frame) // the caller's again
		at, waits := r.Deadline()
		require.True(t, waits)
		_, due := r.Due(nil, at-1)
		require.False(t, due)
		late, due := r.Due([]byte("x"), at)
		require.True(t, due)
		require.Equal(t, append([]byte("x"), answer...), late)
		_, due = r.Due(nil, at)
		require.False(t, due)
		waited = append(waited, at-now)
		require.Equal(t, arp.ResponderStats{Answered: 3, Delayed: 1}, r.Stats())
	}
	spread(t, waited, 0, 800*time.Millisecond-1)
}

// TestDelayQueue: as many wait as may, newer ones are dropped, and all come out in the order of their times.
func TestDelayQueue(t *testing.T) {
	for _, limit := range []int{0, 1, 5, 300} {
		c := delaying(9)
		c.ProxyQueue = limit
		r := newResponder(t, c)
		room := limit
		if limit == 0 {
			room = 65
		}
		times := map[byte]time.Duration{}
		for i := range room + 10 {
			target := [4]byte{10, 1, byte(i >> 8), byte(i)}
			_, v := r.Respond(nil, broadcast(asks(target)), time.Duration(i))
			if i >= room {
				require.Equal(t, arp.SilentQueueFull, v, "%d of %d", i, room)
				continue
			}
			require.Equal(t, arp.Delayed, v, "%d of %d", i, room)
			times[byte(i)] = 0
		}
		require.Equal(t, arp.ResponderStats{Delayed: uint64(room), Waiting: room, QueueFull: 10}, r.Stats())
		var last time.Duration
		seen := map[[4]byte]bool{}
		for {
			at, waits := r.Deadline()
			if !waits {
				break
			}
			require.GreaterOrEqual(t, at, last)
			last = at
			answer, due := r.Due(nil, at)
			require.True(t, due)
			p, err := arp.Parse(answer[ethernet.HeaderLen:])
			require.NoError(t, err)
			seen[p.SenderIP()] = true
		}
		require.Len(t, seen, room)
		require.Less(t, last, time.Second)
		_, v := r.Respond(nil, broadcast(asks(ipBeyond)), time.Minute)
		require.Equal(t, arp.Delayed, v, "there is room again")
		r.Purge()
		_, waits := r.Deadline()
		require.False(t, waits)
	}
}

// TestDelayedRouteGone: whether to answer is decided anew when the answer is due.
func TestDelayedRouteGone(t *testing.T) {
	gone := false
	c := delaying(1)
	c.Route = func(target, sender uint32) arp.Way {
		if gone && target == num(ipBeyond) {
			return arp.WayNone
		}
		return wayTo(target, sender)
	}
	r := newResponder(t, c)
	for _, target := range [][4]byte{ipBeyond, {10, 1, 0, 8}, ipBeyond} {
		_, v := r.Respond(nil, broadcast(asks(target)), 0)
		require.Equal(t, arp.Delayed, v)
	}
	gone = true
	answer, due := r.Due(nil, time.Second)
	require.True(t, due)
	p, err := arp.Parse(answer[ethernet.HeaderLen:])
	require.NoError(t, err)
	require.Equal(t, [4]byte{10, 1, 0, 8}, p.SenderIP())
	_, due = r.Due(nil, time.Second)
	require.False(t, due)
	require.Equal(t, arp.ResponderStats{Delayed: 3, Answered: 1, NoWay: 2}, r.Stats())
}

// TestDecide: the packet alone, for who has taken the frame apart.
func TestDecide(t *testing.T) {
	r := newResponder(t, delaying(1))
	assert.Equal(t, arp.Answered, r.Decide(packetOf(asks(ipA)), false, 0))
	assert.Equal(t, arp.Delayed, r.Decide(packetOf(asks(ipBeyond)), false, 0))
	assert.Equal(t, arp.Answered, r.Decide(packetOf(asks(ipBeyond)), true, 0))
	assert.Equal(t, arp.SilentProbe, r.Decide(packetOf(arp.Probe(macB, ipBeyond)), true, 0))
	assert.Equal(t, arp.SilentOwn, r.Decide(packetOf(arp.Probe(macA, ipBeyond)), false, 0))
}

func TestResponderConfigFaults(t *testing.T) {
	_, err := arp.NewResponder(arp.ResponderConfig{
		Addrs:  []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("127.0.0.1/8"), {}},
		Ignore: 3, ProxyAll: true, ProxyFor: []netip.Prefix{{}, netip.MustParsePrefix("2001:db8::/64")},
		ProxyDelay: -1, ProxyQueue: -1,
	})
	for _, field := range []string{
		"MAC ", "Addrs[0]", "Addrs[1]", "Addrs[2]", "Ignore 3", "ProxyAll", "ProxyFor[0]", "ProxyFor[1]", "ProxyDelay", "ProxyQueue",
	} {
		assert.ErrorContains(t, err, "ResponderConfig."+field)
	}
	require.ErrorIs(t, err, arp.ErrAddress)
	_, err = arp.NewResponder(arp.ResponderConfig{MAC: macA, ProxyDelay: 2 * time.Hour, ProxyQueue: 1 << 20})
	assert.ErrorContains(t, err, "ResponderConfig.ProxyDelay")
	assert.ErrorContains(t, err, "ResponderConfig.ProxyQueue")
}

func TestVerdictStrings(t *testing.T) {
	seen := map[string]bool{}
	for v := range arp.SilentQueueFull + 1 {
		assert.NotEmpty(t, v.String())
		assert.False(t, seen[v.String()], v)
		seen[v.String()] = true
	}
	assert.Equal(t, "Verdict(19)", (arp.SilentQueueFull + 1).String())
}

// TestResponderNoAllocs: nothing is allocated for answers, delayed ones, nor silence of any kind.
func TestResponderNoAllocs(t *testing.T) {
	r := newResponder(t, delaying(1))
	mem := make([]byte, 0, arp.FrameLen)
	now := time.Duration(0)
	for name, frame := range map[string][]byte{
		"answer":     broadcast(asks(ipA)),
		"delay":      broadcast(asks(ipBeyond)),
		"probe":      broadcast(arp.Probe(macB, ipBeyond)),
		"same port":  broadcast(asks(ipSame)),
		"no way":     broadcast(asks(ipNowhere)),
		"reply":      broadcast(arp.Fields{Op: arp.Reply, SenderMAC: macB, SenderIP: ipB, TargetIP: ipA}),
		"cut":        broadcast(asks(ipA))[:20],
		"not to us":  asks(ipA).AppendFrame(nil, macB),
		"bad sender": broadcast(arp.WhoHas(ipA, ethernet.Broadcast, ipB)),
		"empty":      nil,
	} {
		assert.Zero(t, testing.AllocsPerRun(1000, func() {
			mem, _ = r.Respond(mem[:0], frame, now)
		}), name)
	}
	require.NotZero(t, r.Stats().QueueFull)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		now += time.Second
		mem, _ = r.Due(mem[:0], now)
		mem, _ = r.Respond(mem[:0], broadcastBeyond, now)
	}), "due")
}

// broadcastBeyond is made once, so that its making is not counted.
var broadcastBeyond = broadcast(asks(ipBeyond))
