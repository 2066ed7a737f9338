package route_test

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gaissmai/bart"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/route"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func via(s string, device uint32) route.NextHop {
	return route.NextHop{Gateway: netip.MustParseAddr(s), Device: device}
}

func dev(device uint32) route.NextHop { return route.NextHop{Device: device} }

func to(s string, hops ...route.NextHop) route.Route {
	return route.Route{Prefix: prefix(s), NextHops: hops}
}

func TestFaultsOfARouteAreAllNamed(t *testing.T) {
	table := newTable(t, route.Config{})
	many := make([]route.NextHop, route.MaxNextHops+1)
	for i := range many {
		many[i] = dev(uint32(i + 1))
	}
	for _, c := range []struct {
		name  string
		route route.Route
		says  []string
	}{
		{"nothing at all", route.Route{}, []string{"Prefix is missing", "NextHops: a unicast route needs one"}},
		{"host bits", to("10.1.2.3/8", dev(1)), []string{"use 10.0.0.0/8"}},
		{"IPv4 in IPv6", to("::ffff:10.0.0.0/104", dev(1)), []string{"use 10.0.0.0"}},
		{"unknown type", route.Route{Prefix: prefix("10.0.0.0/8"), Type: 99}, []string{"Type 99"}},
		{"another table", route.Route{Prefix: prefix("10.0.0.0/8"), Table: 100, NextHops: many[:1]}, []string{"Table 100"}},
		{"blackhole with next hop", route.Route{Prefix: prefix("10.0.0.0/8"), Type: route.Blackhole, NextHops: many[:1]}, []string{"a blackhole route has none"}},
		{"too many", to("10.0.0.0/8", many...), []string{"257 are more than 256"}},
		{"gateway of the other family", to("10.0.0.0/8", via("2001:db8::1", 1)), []string{"NextHops[0].Gateway 2001:db8::1"}},
		{"unspecified gateway", to("10.0.0.0/8", via("0.0.0.0", 1)), []string{"no router's address"}},
		{"gateway with zone", to("2001:db8::/32", via("fe80::1%eth0", 1)), []string{"zone"}},
		{"onlink what", to("10.0.0.0/8", route.NextHop{Device: 1, Onlink: true}), []string{"NextHops[0].Onlink"}},
		{"weight", to("10.0.0.0/8", route.NextHop{Device: 1, Weight: 257}), []string{"Weight 257"}},
		{"the same way twice", to("10.0.0.0/8", dev(1), dev(2), dev(1)), []string{"NextHops[2] is the same way as NextHops[0]"}},
		{"source of the other family", route.Route{Prefix: prefix("10.0.0.0/8"), Source: netip.MustParseAddr("::1"), NextHops: many[:1]}, []string{"Source ::1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, do := range []func(route.Route) error{
				table.Add, table.Append, table.Replace, table.Change,
				func(r route.Route) error {
					return table.Swap(slices.Values([]route.Route{to("192.0.2.0/24", dev(1)), r}))
				},
			} {
				err := do(c.route)
				require.ErrorIs(t, err, route.ErrRoute)
				for _, says := range c.says {
					require.ErrorContains(t, err, says)
				}
			}
			assert.Zero(t, table.Len())
		})
	}
	_, err := table.Delete(route.Match{Prefix: prefix("10.1.2.3/8")})
	require.ErrorIs(t, err, route.ErrNotFound)
	assert.ErrorContains(t, err, "is 10.0.0.0/8 meant?")
	_, err = table.Delete(route.Match{})
	require.ErrorIs(t, err, route.ErrNotFound)
	_, err = route.New(route.Config{MaxRoutes: -1})
	assert.ErrorContains(t, err, "MaxRoutes is -1")
}

func TestSwapNamesTheFirstFaultsAndChangesNothing(t *testing.T) {
	table := newTable(t, route.Config{MaxRoutes: 20})
	require.NoError(t, table.Add(to("192.0.2.0/24", dev(1))))
	twice := slices.Repeat([]route.Route{to("10.0.0.0/8", dev(1))}, 15)
	err := table.Swap(slices.Values(twice))
	require.ErrorIs(t, err, route.ErrExists)
	assert.ErrorContains(t, err, "there may be more")
	assert.Equal(t, 1, table.Len())
	assert.NotNil(t, table.LookupAddr(netip.MustParseAddr("192.0.2.1")))

	var tooMany []route.Route
	for i := range 21 {
		tooMany = append(tooMany, route.Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16), Type: route.Blackhole})
	}
	require.ErrorIs(t, table.Swap(slices.Values(tooMany)), route.ErrFull)
	require.NoError(t, table.Swap(slices.Values(tooMany[:20])))
	assert.Equal(t, 20, table.Len())
	assert.Nil(t, table.LookupAddr(netip.MustParseAddr("192.0.2.1")))
	require.ErrorIs(t, table.Add(to("192.0.2.0/24", dev(1))), route.ErrFull)
	require.NoError(t, table.Replace(to("10.5.0.0/16", dev(1))), "in place of another")
}

func TestDeleteSelects(t *testing.T) {
	for _, c := range []struct {
		name  string
		match route.Match
		want  string
	}{
		{"prefix alone: the first that counts", route.Match{}, "10.0.0.0/8 via 192.0.2.1 dev 1"},
		{"metric", route.Match{Metric: 20}, "unreachable 10.0.0.0/8 metric 20"},
		{"type", route.Match{Type: route.Unreachable}, "unreachable 10.0.0.0/8 metric 20"},
		{"gateway", route.Match{Gateway: netip.MustParseAddr("192.0.2.2")}, "10.0.0.0/8 via 192.0.2.2 dev 2 metric 10"},
		{"device", route.Match{Device: 2}, "10.0.0.0/8 via 192.0.2.2 dev 2 metric 10"},
		{"gateway by another device", route.Match{Gateway: netip.MustParseAddr("192.0.2.2"), Device: 1}, ""},
		{"table", route.Match{Table: route.TableLocal}, "local 10.0.0.0/8 dev 3 "},
		{"another table", route.Match{Table: 7}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := newTable(t, route.Config{})
			local := to("10.0.0.0/8", dev(3))
			local.Type, local.Table = route.Local, route.TableLocal
			second := to("10.0.0.0/8", via("192.0.2.2", 2))
			second.Metric = 10
			for _, r := range []route.Route{
				to("10.0.0.0/8", via("192.0.2.1", 1)), second, local, {Prefix: prefix("10.0.0.0/8"), Type: route.Unreachable, Metric: 20},
			} {
				require.NoError(t, table.Add(r))
			}
			c.match.Prefix = prefix("10.0.0.0/8")
			gone, err := table.Delete(c.match)
			if c.want == "" {
				require.ErrorIs(t, err, route.ErrNotFound)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, gone.String()+map[bool]string{true: " ", false: ""}[gone.Type == route.Local])
			assert.Equal(t, 3, table.Len())
		})
	}
}

// TestText holds routes to the words of 'ip route'.
func TestText(t *testing.T) {
	names := func(i uint32) string { return []string{"lo", "eth0", "flannel.1"}[i] }
	onlink := via("10.244.1.0", 2)
	onlink.Onlink = true
	flannel := to("10.244.1.0/24", onlink)
	weighted := via("192.0.2.2", 1)
	weighted.Weight = 3
	link := to("192.0.2.0/24", dev(1))
	link.Scope, link.Source = route.ScopeLink, netip.MustParseAddr("192.0.2.9")
	source := netip.MustParseAddr("192.0.2.9")
	onlink.Gateway, onlink.Device = netip.MustParseAddr("192.0.2.1"), 1
	full := route.Route{
		Prefix: prefix("10.1.0.0/16"), Protocol: 4, Source: source, Metric: 5, MTU: 1400, NextHops: []route.NextHop{onlink},
	}
	several := route.Route{
		Prefix: prefix("10.2.0.0/16"), Protocol: 186, Source: source, Metric: 20, MTU: 1400, NextHops: []route.NextHop{onlink, weighted},
	}
	local := route.Route{
		Prefix: prefix("192.0.2.9/32"), Type: route.Local, Table: route.TableLocal, Protocol: 2, Scope: route.ScopeHost, Source: source,
		NextHops: []route.NextHop{dev(1)},
	}
	cast := local
	cast.Prefix, cast.Type, cast.Scope = prefix("192.0.2.255/32"), route.Broadcast, route.ScopeLink
	odd := to("10.3.0.0/16", via("192.0.2.1", 1))
	odd.Protocol = 77
	for want, r := range map[string]route.Route{
		"default via 192.0.2.1 dev eth0":                    to("0.0.0.0/0", via("192.0.2.1", 1)),
		"10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink": flannel,
		"192.0.2.0/24 dev eth0 scope link src 192.0.2.9":    link,
		"blackhole 10.96.30.0/26":                           {Prefix: prefix("10.96.30.0/26"), Type: route.Blackhole},
		"prohibit 10.8.0.0/16 metric 7":                     {Prefix: prefix("10.8.0.0/16"), Type: route.Prohibit, Metric: 7},
		"2001:db8::/32 via fe80::1 dev eth0":                to("2001:db8::/32", via("fe80::1", 1)),
		// The rest as iproute2 6.1 shows them on Linux 6.18, less the spaces at the ends of lines.
		"10.1.0.0/16 via 192.0.2.1 dev eth0 proto static src 192.0.2.9 metric 5 onlink mtu 1400":                                                              full,
		"10.2.0.0/16 proto bgp src 192.0.2.9 metric 20 mtu 1400\n\tnexthop via 192.0.2.1 dev eth0 weight 1 onlink\n\tnexthop via 192.0.2.2 dev eth0 weight 3": several,
		"10.3.0.0/16 via 192.0.2.1 dev eth0 proto 77":                          odd,
		"local 192.0.2.9 dev eth0 proto kernel scope host src 192.0.2.9":       local,
		"broadcast 192.0.2.255 dev eth0 proto kernel scope link src 192.0.2.9": cast,
	} {
		assert.Equal(t, want, r.Format(names))
	}
	for _, typ := range []route.Type{route.Unicast, route.Local, route.Broadcast, route.Blackhole, route.Unreachable, route.Prohibit} {
		back, err := route.ParseType(typ.String())
		require.NoError(t, err)
		assert.Equal(t, typ, back)
	}
	_, err := route.ParseType("reject")
	require.ErrorIs(t, err, route.ErrRoute)
}

// shares counts the hash space that each next hop has, in 1/1024.
func shares(p *route.Path) map[netip.Addr]int {
	n := map[netip.Addr]int{}
	for b := range uint32(1024) {
		n[p.Hop(b<<22|0x12345).Gateway]++
	}
	return n
}

// TestFlowsStayWithTheirNextHop takes next hops out and puts them in, with weights, and holds the table to: shares right to within
// one slice, a flow moves only from a next hop that left, or to one that came.
func TestFlowsStayWithTheirNextHop(t *testing.T) {
	const seed = 9
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	addr := netip.MustParseAddr("10.0.0.1")
	for round := range 60 {
		table := newTable(t, route.Config{})
		all := make([]route.NextHop, 2+rnd.IntN(7))
		if round == 0 {
			all = make([]route.NextHop, route.MaxNextHops)
		}
		for i := range all {
			all[i] = route.NextHop{Gateway: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Device: 1, Weight: uint16(rnd.IntN(5))}
		}
		var before *route.Path
		in := slices.Clone(all)
		for range 30 {
			r := to("10.0.0.0/8", in...)
			if rnd.IntN(4) == 0 {
				require.NoError(t, table.Swap(slices.Values([]route.Route{r})))
			} else {
				require.NoError(t, table.Replace(r))
			}
			now := table.LookupAddr(addr)
			total := 0
			for _, h := range in {
				total += max(1, int(h.Weight))
			}
			got := shares(now)
			for _, h := range in {
				exact := 1024 * max(1, int(h.Weight)) / total
				require.Contains(t, []int{exact, exact + 1}, got[h.Gateway], "share of %v", h)
			}
			if before != nil {
				checkMoves(t, before, now)
			}
			before = now
			if out := rnd.IntN(len(all)); rnd.IntN(2) == 0 {
				in = slices.DeleteFunc(slices.Clone(in), func(h route.NextHop) bool { return h.Gateway == all[out].Gateway })
			} else if !slices.ContainsFunc(in, func(h route.NextHop) bool { return h.Gateway == all[out].Gateway }) {
				in = slices.Insert(slices.Clone(in), rnd.IntN(len(in)+1), all[out])
			}
			if len(in) == 0 {
				in = slices.Clone(all)
				before = nil
			}
		}
	}
}

func checkMoves(t *testing.T, before, now *route.Path) {
	has := func(p *route.Path, gateway netip.Addr) bool {
		return slices.ContainsFunc(p.NextHops(), func(h route.NextHop) bool { return h.Gateway == gateway })
	}
	left := slices.ContainsFunc(before.NextHops(), func(h route.NextHop) bool { return !has(now, h.Gateway) })
	for b := range uint32(1024) {
		was, is := before.Hop(b<<22).Gateway, now.Hop(b<<22).Gateway
		if was == is {
			continue
		}
		if left {
			require.False(t, has(now, was), "a flow moved from %v, which is still there, to %v", was, is)
		} else {
			require.False(t, has(before, is), "a flow moved from %v to %v, which was there before", was, is)
		}
	}
}

// TestFlowsAreShared sends flows with real hashes over two next hops (BEHAVIOUR 23: 600 flows, 290 to 310).
func TestFlowsAreShared(t *testing.T) {
	table := newTable(t, route.Config{})
	require.NoError(t, table.Add(to("10.0.0.0/8", via("192.0.2.1", 1), via("192.0.2.2", 1))))
	p := table.LookupAddr(netip.MustParseAddr("10.0.0.1"))
	n := 0
	for port := range uint16(10_000) {
		// The first three words of a UDP packet from 192.0.2.9 to 10.0.0.1.
		hash := flow.NewHasher(1).Words(0x4500_0028_0000_0000, 0x4011_0000_c000_0209, 0x0a00_0001_0000_0035|uint64(1024+port)<<16)
		if p.Hop(hash) == p.Hop(1<<31) {
			n++
		}
	}
	assert.InDelta(t, 5000, n, 200) // four times the standard deviation
}

// TestReadersBesideAWriter lets readers look up addresses while routes around them come and go, and others elsewhere use the nodes
// and path numbers that these leave. Next hops are tagged by region: no reader may come out in another, nor in a hole.
func TestReadersBesideAWriter(t *testing.T) {
	for name, flat := range map[string]bool{"trie": false, "flat": true} {
		t.Run(name, func(t *testing.T) { readersBesideAWriter(t, flat) })
	}
}

func readersBesideAWriter(t *testing.T, flat bool) {
	const regions = 2
	// With more threads than cores, the system stops readers in the midst of a lookup, for as long as a writer needs to use
	// what they are on their way to for something else.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4 * runtime.NumCPU()))
	table := newTable(t, route.Config{Flat: flat})
	base := func(region uint32) uint32 { return (20 + region) << 24 }
	addr := func(a uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
	}
	routeTo := func(region, length, version uint32) route.Route {
		p, err := addr(base(region) | 0x010203).Prefix(int(length))
		require.NoError(t, err)
		return route.Route{Prefix: p, NextHops: []route.NextHop{{Device: version + 1, Tag: region<<8 | length}}}
	}
	for r := range uint32(regions) {
		require.NoError(t, table.Add(routeTo(r, 8, 0)))
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	for w := range uint32(4 * runtime.NumCPU()) {
		readers.Go(func() {
			for i := w; !stop.Load(); i++ {
				region := i % regions
				a := base(region) | 0x010203
				most := uint32(32)
				if i%4 == 0 { // a neighbour, which the longer ones do not have
					a ^= 0x100
					most = 16
				}
				p := table.Lookup(a)
				if p == nil {
					t.Errorf("%v has no route", addr(a))
					return
				}
				if tag := p.Hop(0).Tag; tag>>8 != region || tag&0xff > most {
					t.Errorf("%v: region %d, length %d", addr(a), tag>>8, tag&0xff)
					return
				}
			}
		})
	}
	rnd := rand.New(rand.NewPCG(2, 0))
	rounds, covering := 200_000, 16
	if flat { // where a /8 is in 65,536 slots
		covering = 4096
	}
	if raceEnabled {
		rounds /= 8
	}
	for i := range rounds {
		region, length := rnd.Uint32N(regions), []uint32{16, 24, 26, 32}[rnd.IntN(4)]
		r := routeTo(region, length, rnd.Uint32N(50))
		switch {
		case i%20_000 == 0 && !flat:
			require.NoError(t, table.Swap(slices.Values(slices.Collect(table.All()))))
		case rnd.IntN(2) == 0:
			require.NoError(t, table.Replace(r))
		default:
			_, _ = table.Delete(route.Match{Prefix: r.Prefix}) // or it is not there
		}
		if i%covering == 0 {
			require.NoError(t, table.Replace(routeTo(region, 8, rnd.Uint32N(50))))
		}
	}
	stop.Store(true)
	readers.Wait()
	t.Logf("%+v", table.Stats())
	assert.NotZero(t, table.Stats().Reused)
}

// TestEndlessFlapping lets routes come and go in places and with attributes that were never there before.
func TestEndlessFlapping(t *testing.T) {
	table := newTable(t, route.Config{})
	before := heap()
	n := 1_000_000
	if raceEnabled {
		n = 100_000
	}
	for i := range uint32(n) {
		a := i * 2654435761
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), 25+int(i%8)).Masked()
		require.NoError(t, table.Add(route.Route{Prefix: p, NextHops: []route.NextHop{{Device: 1, Tag: i}}}))
		_, err := table.Delete(route.Match{Prefix: p})
		require.NoError(t, err)
	}
	assert.Less(t, heap()-before, int64(64<<10), "bytes")
	s := table.Stats()
	assert.LessOrEqual(t, s.Nodes, 8)
	assert.Zero(t, s.Paths)
	runtime.KeepAlive(table)
}

// TestFlappingOfSeveral lets prefixes have one, two and no routes by turns.
func TestFlappingOfSeveral(t *testing.T) {
	table := newTable(t, route.Config{})
	before := heap()
	for i := range uint32(100_000) {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i)}), 24)
		require.NoError(t, table.Add(route.Route{Prefix: p, NextHops: []route.NextHop{dev(1)}}))
		require.NoError(t, table.Add(route.Route{Prefix: p, Metric: 1, NextHops: []route.NextHop{dev(2), dev(3 + i%5)}}))
		require.Equal(t, 2, table.Remove(nil))
	}
	assert.Less(t, heap()-before, int64(512<<10), "bytes")
	runtime.KeepAlive(table)
}

// TestNothingIsShared changes what was given to the table, and what it gave.
func TestNothingIsShared(t *testing.T) {
	table := newTable(t, route.Config{})
	r := to("10.0.0.0/8", dev(1), dev(2))
	require.NoError(t, table.Add(r))
	r.NextHops[0].Device = 9
	for given := range table.All() {
		given.NextHops[1].Device = 9
	}
	for given := range table.All() {
		assert.Equal(t, []route.NextHop{dev(1), dev(2)}, given.NextHops)
	}
}

func TestLookupAddr(t *testing.T) {
	table := newTable(t, route.Config{})
	require.NoError(t, table.Add(to("10.0.0.0/8", dev(1))))
	require.NoError(t, table.Add(to("fe80::/10", dev(2))))
	for addr, device := range map[string]uint32{"10.1.2.3": 1, "::ffff:10.1.2.3": 1, "fe80::1": 2, "fe80::1%eth0": 2} {
		assert.Equal(t, device, table.LookupAddr(netip.MustParseAddr(addr)).Hop(0).Device, addr)
	}
	assert.Nil(t, table.LookupAddr(netip.MustParseAddr("::10.1.2.3")))
	assert.Nil(t, table.LookupAddr(netip.Addr{}))
}

// TestManyPaths has a path of its own for each of many routes.
func TestManyPaths(t *testing.T) {
	const n = 5000
	table := newTable(t, route.Config{})
	for round := range uint32(3) {
		for i := range uint32(n) {
			require.NoError(t, table.Replace(route.Route{
				Prefix:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i)}), 24),
				NextHops: []route.NextHop{{Device: 1, Tag: i + round*n}},
			}))
		}
		require.NoError(t, table.Replace(route.Route{Prefix: prefix("0.0.0.0/0"), NextHops: []route.NextHop{{Device: 1, Tag: 1<<31 + round}}}))
		for i := range uint32(n) {
			require.Equal(t, i+round*n, table.Lookup(10<<24|i<<8|7).Hop(0).Tag)
		}
		require.Equal(t, 1<<31+round, table.Lookup(11<<24).Hop(0).Tag)
		require.Equal(t, n+1, table.Stats().Paths)
	}
	_, err := table.Delete(route.Match{Prefix: prefix("0.0.0.0/0")})
	require.NoError(t, err)
	require.Nil(t, table.Lookup(11<<24))
}

// TestAgainstBart does millions of lookups between a hundred thousand changes, with bart as the oracle.
func TestAgainstBart(t *testing.T) {
	const seed = 21
	t.Logf("seed %d", seed)
	for name, flat := range map[string]bool{"trie": false, "flat": true} {
		t.Run(name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			table := newTable(t, route.Config{Flat: flat})
			var want bart.Table[uint32]
			var have []netip.Prefix
			changes := 100_000
			if raceEnabled {
				changes /= 20
			}
			random := func() netip.Prefix {
				// Crowded into 64 blocks of /14, so that prefixes are within others.
				a := rnd.Uint32N(64)<<26 | rnd.Uint32N(1<<18)
				length := 8 + int(rnd.Uint32N(25))
				return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), length).Masked()
			}
			for i := range changes {
				switch {
				case len(have) > 0 && rnd.IntN(100) < min(90, len(have)/50):
					j := rnd.IntN(len(have))
					p := have[j]
					have[j] = have[len(have)-1]
					have = have[:len(have)-1]
					want.Delete(p)
					_, err := table.Delete(route.Match{Prefix: p})
					require.NoError(t, err)
				default:
					p := random()
					if _, ok := want.Get(p); !ok {
						have = append(have, p)
					}
					want.Insert(p, uint32(i))
					require.NoError(t, table.Replace(route.Route{Prefix: p, NextHops: []route.NextHop{{Device: uint32(i % 50), Tag: uint32(i)}}}))
				}
				for range 20 {
					a := rnd.Uint32N(64)<<26 | rnd.Uint32N(1<<18)
					p := table.Lookup(a)
					tag, ok := want.Lookup(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}))
					if (p != nil) != ok || ok && p.Hop(0).Tag != tag {
						t.Fatalf("%x: %v, want tag %d, %v", a, p, tag, ok)
					}
				}
			}
			t.Logf("%+v", table.Stats())
		})
	}
}

func TestNothingAllocated(t *testing.T) {
	for name, flat := range map[string]bool{"trie": false, "flat": true} {
		table := newTable(t, route.Config{Flat: flat})
		require.NoError(t, table.Add(to("10.0.0.0/8", dev(1))))
		require.NoError(t, table.Add(to("10.1.2.3/32", via("192.0.2.1", 1), via("192.0.2.2", 1))))
		require.NoError(t, table.Add(to("2001:db8::/32", dev(1))))
		burst, tags, paths := make([]uint32, 100), make([]uint32, 100), make([]*route.Path, 100)
		for i := range burst {
			burst[i] = 0x0a010203 + uint32(i%3)<<24
		}
		assert.Zero(t, testing.AllocsPerRun(500, func() {
			if table.LookupAll(burst, paths); paths[99].Hop(7).Device != 1 || paths[98] != nil {
				t.Error("wrong result")
			}
			table.LookupTags(burst, tags)
		}), name)
		in4, in6, out := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("11.0.0.0")
		assert.Zero(t, testing.AllocsPerRun(500, func() {
			if table.Lookup(0x0a010203).Hop(7).Device != 1 || table.Lookup(0x0a010204).Hop(7).Device != 1 || table.Lookup(0x0b000000) != nil ||
				table.LookupAddr(in4).Hop(1<<31) == nil || table.LookupAddr(in6) == nil || table.LookupAddr(out) != nil {
				t.Error("wrong result")
			}
		}), name)
	}
}
