package engine

// More remote ends and gateways than there is room for, and such that come and go: packets go where they should, nothing grows, and
// what has no place is sent without an allocation.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
)

// The node has remote ends i at 10.128.0.0 + i, behind a router. Each is the VTEP of a gateway of vx1 with the networks
// 20.0.0.0/24 + i, the remote end of tun0 with 30.0.0.0/24 + i, and has a station of br0 behind it.
//
//	host ── eth1 10.1.0.1                       vx1  10.245.0.0 + i ══ VTEP i, 20.i.0/24
//	s0 ──── p0 ─ br0 ─ vx7 ══ VTEP i ── station i       tun0            ══ end i,  30.i.0/24
//	router 10.0.0.8 ── eth0 10.0.0.1
type crowd struct {
	*Engine
	t    testing.TB
	pool *packet.Pool
	now  time.Duration
	sent atomic.Int64

	astray map[ethernet.MAC]int // frames to others than the router, if that is asked for
}

const (
	firstEnd     = 0x0a800000
	firstGateway = 0x0af50000
	firstVX      = 0x14000000
	firstTun     = 0x1e000000
	firstStation = 0x0600_0000_0000
	farOfGateway = 0x0200_0a00_0000
)

// kinds are the ways to a remote end.
var crowdKinds = []string{"vxlan routed", "ipip", "vxlan bridged"}

func newCrowd(t testing.TB, room int) *crowd {
	t.Helper()
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 4096})
	require.NoError(t, err)
	c := &crowd{t: t, pool: pool, now: time.Hour}
	c.Engine, err = New(Config{
		Pool: pool, MaxAdjacencies: room, Output: c.take, Neighbours: arp.TableConfig{MaxConfigured: 1 << 17},
	})
	require.NoError(t, err)
	a, p := netip.MustParseAddr, netip.MustParsePrefix
	made := func(_ uint32, err error) error { return err }
	c.SetForwarding(true)
	c.ok(
		made(c.AddPort(Port{Link: Link{Name: "eth0", MAC: eth0MAC, Up: true}})), c.AddAddr("eth0", Addr{Prefix: p("10.0.0.1/24")}),
		made(c.AddPort(Port{Link: Link{Name: "eth1", MAC: eth1MAC, Up: true}})), c.AddAddr("eth1", Addr{Prefix: p("10.1.0.1/24")}),
		made(c.AddPort(Port{Link: Link{Name: "p0", Up: true}})),
		made(c.AddBridge(Bridge{Link: Link{Name: "br0", MAC: brMAC, Up: true}})), c.SetMaster("p0", "br0"),
		c.addVX1(),
		made(c.AddVXLAN(VXLAN{Link: Link{Name: "vx7", MTU: 1450, Up: true}, VNI: 7})), c.SetMaster("vx7", "br0"),
		made(c.AddIPIP(IPIP{Link: Link{Name: "tun0", MTU: 1480, Up: true}, AnyPeer: true})), c.AddAddr("tun0", Addr{Prefix: p("10.50.1.0/32")}),
		c.AddNeigh(Neigh{Addr: a("10.0.0.8"), Dev: "eth0", MAC: vtepMAC}),
		c.AddRoute(Route{Prefix: p("10.128.0.0/9"), Via: a("10.0.0.8")}),
	)
	return c
}

func (c *crowd) ok(errs ...error) {
	c.t.Helper()
	require.NoError(c.t, errors.Join(errs...))
}

func (c *crowd) addVX1() error {
	_, err := c.AddVXLAN(VXLAN{Link: Link{Name: "vx1", MAC: vx1MAC, MTU: 1450, Up: true}, VNI: 1, NoLearning: true})
	return errors.Join(err, c.AddAddr("vx1", Addr{Prefix: netip.MustParsePrefix("10.244.1.0/32")}))
}

// gateway adds what the gateway of vx1 before end i needs.
func (c *crowd) gateway(i int) error {
	mac := MACOf(farOfGateway + uint64(i))
	return errors.Join(
		c.ReplaceNeigh(Neigh{Addr: AddrOf(firstGateway + uint32(i)), Dev: "vx1", MAC: mac}),
		c.ReplaceFDB(FDBEntry{MAC: mac, Dev: "vx1", Dst: AddrOf(firstEnd + uint32(i))}),
	)
}

// vxRoute and tunRoute are the routes to end i.
func vxRoute(i int) Route {
	return Route{Prefix: netip.PrefixFrom(AddrOf(firstVX+uint32(i)<<8), 24), Via: AddrOf(firstGateway + uint32(i)), Dev: "vx1", Onlink: true}
}

func tunRoute(i int) Route {
	return Route{Prefix: netip.PrefixFrom(AddrOf(firstTun+uint32(i)<<8), 24), Via: AddrOf(firstEnd + uint32(i)), Dev: "tun0", Onlink: true}
}

// end adds all ways to end i.
func (c *crowd) end(i int) {
	c.t.Helper()
	c.ok(c.gateway(i), c.AddRoute(vxRoute(i)), c.AddRoute(tunRoute(i)), c.station(i))
}

// station adds the station behind end i.
func (c *crowd) station(i int) error {
	mac := MACOf(firstStation + uint64(i))
	return errors.Join(
		c.ReplaceFDB(FDBEntry{MAC: mac, Dev: "vx7", Master: true, Flags: fdb.Static}),
		c.ReplaceFDB(FDBEntry{MAC: mac, Dev: "vx7", Dst: AddrOf(firstEnd + uint32(i))}),
	)
}

// frame returns a frame of a kind to end i, and the port that it comes in by.
func crowdFrame(kind string, i int) (port string, frame []byte) {
	f := ipv4.Fields{TTL: 9, Protocol: 200, Src: [4]byte{10, 1, 0, 9}}
	at := uint32(firstTun)
	if kind == "vxlan routed" {
		at = firstVX
	}
	binary.BigEndian.PutUint32(f.Dst[:], at+uint32(i)<<8+1)
	b, _ := f.Append(nil, 80)
	b = append(b, make([]byte, 80)...)
	if kind == "vxlan bridged" {
		return "p0", burstFrame(MACOf(firstStation+uint64(i)), s0, b)
	}
	return "eth1", burstFrame(eth1MAC, hostMAC, b)
}

// take checks that each frame went where it should: the inner destination tells the end.
func (c *crowd) take(_ uint32, batch []*packet.Buffer) {
	for _, b := range batch {
		c.check(b.Bytes())
		b.Free()
	}
	c.sent.Add(int64(len(batch)))
}

func (c *crowd) check(p []byte) {
	const ip = ethernet.HeaderLen
	if c.astray != nil {
		c.astray[ethernet.MAC(p[:6])]++
		return
	}
	if len(p) < 100 || ethernet.MAC(p[:6]) != vtepMAC {
		return // flooded
	}
	end, inner := binary.BigEndian.Uint32(p[ip+16:]), p[ip+20:]
	want := uint32(0)
	switch {
	case p[ip+9] == ipv4.ProtocolIPIP:
		want = (binary.BigEndian.Uint32(inner[16:]) - firstTun) >> 8
	case inner[8+6] == 7: // VNI
		want = uint32(binary.BigEndian.Uint64(inner[16:])>>16) & 0xffffff
	default:
		mac := binary.BigEndian.Uint64(inner[16:]) >> 16
		want = (binary.BigEndian.Uint32(inner[16+ip+16:]) - firstVX) >> 8
		if mac != farOfGateway+uint64(want) {
			c.t.Errorf("packet for end %d has MAC address %v", want, MACOf(mac))
		}
	}
	if end != firstEnd+want {
		c.t.Errorf("packet for end %d went to %v", want, AddrOf(end))
	}
}

// traffic is frames of a kind to the ends from first on, as a burst.
type crowdTraffic struct {
	port   uint32
	frames [][]byte
	batch  []*packet.Buffer
}

func (c *crowd) traffic(kind string, ends ...int) *crowdTraffic {
	x := &crowdTraffic{batch: make([]*packet.Buffer, len(ends))}
	for _, i := range ends {
		port, frame := crowdFrame(kind, i)
		x.port, x.frames = c.Index(port), append(x.frames, frame)
	}
	return x
}

func (c *crowd) pass(w *Worker, x *crowdTraffic, now time.Duration) {
	for i, f := range x.frames {
		x.batch[i] = c.pool.Get()
		_ = x.batch[i].SetBytes(f)
	}
	w.Process(x.port, x.batch, now)
}

// settled requires that no packet is lost, and that what is remembered is what is there.
func (c *crowd) settled() {
	c.t.Helper()
	s := c.Stats()
	assert.NoError(c.t, s.Check())
	assert.Equal(c.t, int(s.Held), c.pool.InUse())
	t := &c.ends
	t.mu.Lock()
	defer t.mu.Unlock()
	room := c.config.MaxAdjacencies
	assert.LessOrEqual(c.t, len(t.live), room)
	assert.LessOrEqual(c.t, t.tags.Len(), room)
	assert.Equal(c.t, len(t.live), t.index.Len()+len(t.variants))
	assert.Equal(c.t, int64(len(t.live)+t.tags.Len()), t.count.Load())
	assert.Len(c.t, members(t.byDevice), len(t.live))
	assert.Len(c.t, members(t.byRemote), len(t.live))
	depends := 0
	for i, n := range t.live {
		assert.Equal(c.t, i, n.at)
		assert.Same(c.t, n, t.known(n.variant))
		assert.Same(c.t, n, t.ways.owner(uint64(n.number)))
		depends += len(n.depends)
	}
	assert.Len(c.t, members(t.byNeighbour), depends)
	assert.Empty(c.t, t.handed)
	owners := 0
	for i, a := range t.resolved.owners {
		if a == nil {
			assert.Nil(c.t, t.resolved.load(uint32(i+1)))
			continue
		}
		owners++
		assert.Equal(c.t, uint64(a.number), t.tags.Load(endKey(a.device, a.gateway)))
		assert.Equal(c.t, uint32(i+1), a.number)
		assert.Positive(c.t, a.routes)
	}
	assert.Equal(c.t, t.tags.Len(), owners)
	for _, n := range []int{len(members(t.adjacentTo)), len(members(t.byMAC)), len(members(t.byEnd))} {
		assert.LessOrEqual(c.t, n, owners)
	}
	used := max(room, 1)
	for what, n := range map[string]int{"ways": len(t.ways.owners), "adjacencies": len(t.resolved.owners)} {
		assert.LessOrEqual(c.t, n, 2*used+2*fewSpent+used/usedForASpent, "numbers of %s", what)
	}
	tags := map[uint32]int{}
	for r := range c.routes.All() {
		for _, h := range r.NextHops {
			if h.Tag != 0 {
				tags[h.Tag]++
			}
		}
	}
	for tag, n := range tags {
		if a := t.resolved.owner(uint64(tag)); assert.NotNil(c.t, a, "tag %d of a route", tag) {
			assert.Equal(c.t, n, a.routes)
		}
	}
	assert.Len(c.t, tags, owners)
}

// members returns who is in sets, and requires that none of them is empty.
func members[K comparable, T any](s sets[K, T]) (all []T) {
	for key := range s {
		all = slices.AppendSeq(all, s.all(key))
	}
	return all
}

func numbers(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// TestCrowdAllocations sends to three times as many remote ends as there is room for, at one moment and as time goes by: what changes
// hands meanwhile is limited by the time.
func TestCrowdAllocations(t *testing.T) {
	for _, kind := range crowdKinds {
		for _, room := range []int{4, 64} {
			t.Run(fmt.Sprintf("%s, room for %d", kind, room), func(t *testing.T) {
				c := newCrowd(t, room)
				for i := range 3 * room {
					c.end(i)
				}
				x := c.traffic(kind, numbers(3*room)...)
				single := c.traffic(kind, 0)
				for range 200 {
					c.now += time.Millisecond
					c.pass(c.first, x, c.now)
				}
				c.now += turnPeriod
				for range 100 {
					c.pass(c.first, x, c.now)
				}
				before := c.sent.Load()
				const rounds = 100
				allocs := testing.AllocsPerRun(rounds, func() { c.pass(c.first, x, c.now) })
				assert.Equal(t, int64(len(x.frames)*(rounds+1)), c.sent.Load()-before)
				slow := testing.AllocsPerRun(1000, func() {
					c.now += time.Microsecond
					c.pass(c.first, single, c.now)
				})
				if !raceEnabled {
					assert.Zero(t, allocs, "of a burst to all ends")
					assert.Zero(t, slow, "of a packet, a million of which there are in a second")
				}
				assert.Len(t, c.ends.live, room)
				c.settled()
			})
		}
	}
}

// TestCrowdMakesRoom fills all places with ends that packets go to all the time: one that is used as much as they are gets its place.
func TestCrowdMakesRoom(t *testing.T) {
	const room = 16
	c := newCrowd(t, room)
	others := numbers(20 * room)
	for _, i := range others {
		c.ok(c.station(i))
	}
	x := c.traffic("vxlan bridged", others...)
	for range 10 {
		c.now += time.Millisecond
		c.pass(c.first, x, c.now)
	}
	late := len(others)
	c.ok(c.station(late))
	mine := c.traffic("vxlan bridged", slices.Repeat([]int{late}, len(others)/10)...)
	has := 0
	const rounds = 600
	for range rounds {
		c.now += time.Millisecond
		c.pass(c.first, x, c.now)
		c.pass(c.first, mine, c.now)
		if c.ends.index.Load(endKey(c.Index("vx7"), firstEnd+uint32(late))) != 0 {
			has++
		}
	}
	// It asks for one packet in eleven, and there are sixteen places.
	assert.Greater(t, has, rounds/4, "how often it had a place")
	assert.Less(t, has, rounds, "it was never put out")
	c.settled()
}

// TestCrowdComesAndGoes lets very many remote ends and gateways come and go: nothing grows.
func TestCrowdComesAndGoes(t *testing.T) {
	count := 1000000
	if testing.Short() || raceEnabled {
		count = 20000
	}
	heap := func() int {
		var s runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int(s.HeapAlloc)
	}
	const room, most = 16, 256 << 10
	t.Run("ends", func(t *testing.T) {
		c := newCrowd(t, room)
		var before int
		for i := range count {
			c.first.begin(c.now)
			for _, dev := range []string{"vx1", "tun0"} {
				c.now += turnEvery
				y := c.first.to(c.first.st.device(c.names[dev]), firstEnd+uint32(i))
				if y.next != 0x0a000008 || y.own {
					t.Fatalf("the way to end %d leads to %v, kept: %v", i, AddrOf(y.next), !y.own)
				}
				c.first.giveBack(y)
			}
			v := variant{device: c.names["vx1"], remote: firstEnd + uint32(i), vni: 9}
			c.now += turnEvery
			c.first.giveBack(c.first.toVariant(v))
			c.first.end()
			if i == count/100 {
				before = heap()
			}
		}
		c.settled()
		assert.Less(t, heap()-before, most, "bytes that stay allocated")
		assert.Less(t, len(c.first.spareWays), 8)
	})
	t.Run("gateways", func(t *testing.T) {
		c := newCrowd(t, room)
		var before int
		for i := range count / 10 {
			c.ok(c.gateway(i), c.AddRoute(vxRoute(i)), c.AddRoute(tunRoute(i)))
			c.now += 2 * turnEvery
			for _, kind := range crowdKinds[:2] {
				c.pass(c.first, c.traffic(kind, i), c.now)
			}
			if old := i - room/2 + 1; old >= 0 {
				c.ok(c.DeleteRoute(vxRoute(old)), c.DeleteRoute(tunRoute(old)))
				c.ok(c.DeleteNeigh(vxRoute(old).Via, "vx1"), c.DeleteFDB(FDBEntry{MAC: MACOf(farOfGateway + uint64(old)), Dev: "vx1"}))
			}
			if i == count/1000 {
				before = heap()
			}
		}
		c.settled()
		assert.Equal(t, int64(2*(count/10)), c.sent.Load())
		assert.Less(t, heap()-before, most, "bytes that stay allocated")
		assert.NotZero(t, c.ends.tags.Len())
		for i := range room { // those that are left
			_, _ = c.DeleteRoute(vxRoute(count/10-1-i)), c.DeleteRoute(tunRoute(count/10-1-i))
		}
		assert.Equal(t, 1, c.ends.tags.Len(), "the router's")
		assert.Empty(t, c.ends.byMAC)
		c.settled()
	})
}

// TestCrowdOfADevice deletes a device: nothing of it is left.
func TestCrowdOfADevice(t *testing.T) {
	c := newCrowd(t, 100)
	for i := range 20 {
		c.end(i)
	}
	for _, kind := range crowdKinds {
		for range 3 {
			c.pass(c.first, c.traffic(kind, numbers(20)...), c.now)
		}
	}
	require.Len(t, c.ends.live, 60)
	require.Equal(t, 41, c.ends.tags.Len())
	for i, dev := range []string{"vx1", "tun0", "vx7"} {
		c.ok(c.DeleteLink(dev))
		assert.Len(t, c.ends.live, 40-20*i)
		c.settled()
	}
	assert.Equal(t, 1, c.ends.tags.Len(), "the router's")
	assert.Empty(t, c.ends.byEnd)
	c.ok(c.DeleteLink("eth0"))
	assert.Zero(t, c.ends.count.Load())
	c.settled()
}

// TestCrowdHearsOfChanges changes the router's MAC address after each way that remembered slots become another version's.
func TestCrowdHearsOfChanges(t *testing.T) {
	const room = 4
	for name, renew := range map[string]func(*crowd){
		"nothing": func(*crowd) {},
		"devices": func(c *crowd) { c.ok(c.SetLink("p0", LinkChange{MTU: Set(1400)})) },
		"numbers": func(c *crowd) {
			for i := range 4 * fewSpent {
				c.now += turnPeriod
				for _, kind := range crowdKinds[1:] {
					c.pass(c.first, c.traffic(kind, 1+i%(4*room)), c.now)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, room)
			for i := range 1 + 4*room {
				c.end(i)
			}
			for _, kind := range crowdKinds {
				to := MACOf(0x020000000777)
				x := c.traffic(kind, 0)
				for range 3 {
					c.now += turnPeriod
					c.pass(c.first, x, c.now)
				}
				renew(c)
				c.ok(c.ReplaceNeigh(Neigh{Addr: netip.MustParseAddr("10.0.0.8"), Dev: "eth0", MAC: to}))
				c.astray = map[ethernet.MAC]int{}
				const packets = 3
				for range packets {
					c.pass(c.first, x, c.now)
				}
				assert.Equal(t, map[ethernet.MAC]int{to: packets}, c.astray, kind)
				c.ok(c.ReplaceNeigh(Neigh{Addr: netip.MustParseAddr("10.0.0.8"), Dev: "eth0", MAC: vtepMAC}))
				c.astray = nil
			}
			c.settled()
		})
	}
}

// TestCrowdRoutesAndTags changes routes in all the ways that there are.
func TestCrowdRoutesAndTags(t *testing.T) {
	const room = 8
	c := newCrowd(t, room)
	tags := func() int { c.settled(); return c.ends.tags.Len() }
	has := func(r Route) bool {
		at := c.routes.Exact(r.Prefix)
		return len(at) > 0 && !slices.ContainsFunc(at[0].NextHops, func(h route.NextHop) bool { return h.Tag == 0 })
	}
	require.Equal(t, 1, tags(), "the router's")

	c.ok(c.AddRoute(vxRoute(1)))
	assert.Equal(t, 2, tags())
	assert.Error(t, c.AddRoute(vxRoute(1)))
	again := vxRoute(1)
	again.Via = vxRoute(2).Via
	assert.Error(t, c.AddRoute(again), "there is one")
	assert.Equal(t, 2, tags(), "a route that is refused takes nothing")
	c.ok(c.ReplaceRoute(again))
	assert.Equal(t, 2, tags())
	further := vxRoute(1)
	further.Metric = 5
	c.ok(c.AppendRoute(further), c.AppendRoute(tunRoute(3)))
	assert.Equal(t, 4, tags())
	c.ok(c.DeleteRoute(again), c.DeleteRoute(further), c.DeleteRoute(tunRoute(3)))
	assert.Equal(t, 1, tags())

	peer := Peer{
		Name: "node", Node: AddrOf(firstEnd + 4), Subnets: []netip.Prefix{vxRoute(4).Prefix, vxRoute(5).Prefix},
		Dev: "vx1", Gateway: vxRoute(4).Via, MAC: MACOf(farOfGateway + 4),
	}
	c.ok(c.SetPeer(peer))
	assert.Equal(t, 2, tags())
	assert.True(t, has(vxRoute(4)) && has(vxRoute(5)))
	peer.Gateway = vxRoute(6).Via
	c.ok(c.SetPeer(peer))
	assert.Equal(t, 2, tags())
	peer.Node, peer.Name = netip.Addr{}, "other"
	assert.Error(t, c.SetPeer(peer))
	assert.Equal(t, 2, tags())
	c.ok(c.DeletePeer("node"))
	assert.Equal(t, 1, tags())

	for i := range 3 * room {
		c.ok(c.AddRoute(tunRoute(i)))
	}
	assert.Equal(t, room, tags(), "full")
	assert.True(t, has(tunRoute(room-2)) && !has(tunRoute(room-1)))
	for i := range room {
		c.ok(c.DeleteRoute(tunRoute(i)))
	}
	assert.Equal(t, 1, tags())
	c.ok(c.AddRoute(tunRoute(0)))
	assert.True(t, has(tunRoute(0)), "there is room again")

	swap := func(first, n int) error {
		return c.SwapRoutes(func(yield func(Route) bool) {
			for i := first; i < first+n && yield(tunRoute(i)); i++ {
			}
		})
	}
	c.ok(c.AddRoute(Route{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Via: netip.MustParseAddr("10.0.0.8")}))
	for _, first := range []int{100, 200, 204} {
		c.ok(swap(first, room))
		assert.Equal(t, room, tags())
		assert.True(t, has(tunRoute(first)) && has(tunRoute(first+room-1)), "all are new, and there is room for all")
	}
	c.ok(swap(300, 2*room))
	assert.Equal(t, room, tags())
	assert.Error(t, c.SwapRoutes(slices.Values([]Route{tunRoute(400), {Prefix: tunRoute(401).Prefix, Dev: "none"}})))
	assert.Equal(t, room, tags())
	c.ok(swap(0, 0))
	assert.Zero(t, tags())
}

// TestCrowdAsleep lets a next hop sleep while its adjacency's number is used for others: it wakes with its own.
func TestCrowdAsleep(t *testing.T) {
	c := newCrowd(t, 8)
	c.ok(c.AddRoute(Route{
		Prefix:   netip.MustParsePrefix("40.0.0.0/24"),
		NextHops: []NextHop{{Via: tunRoute(1).Via, Dev: "tun0", Onlink: true}, {Via: vxRoute(1).Via, Dev: "vx1", Onlink: true}},
	}))
	c.ok(c.SetLink("vx1", LinkChange{Up: Set(false)}))
	require.Equal(t, 2, c.ends.tags.Len())
	for i := range 10 * fewSpent {
		c.ok(c.AddRoute(tunRoute(10+i)), c.DeleteRoute(tunRoute(10+i)))
	}
	c.ok(c.AddRoute(tunRoute(2)))
	c.ok(c.SetLink("vx1", LinkChange{Up: Set(true)}))
	for _, h := range c.routes.Lookup(0x28000001).NextHops() {
		a := c.ends.resolved.owner(uint64(h.Tag))
		require.NotNil(t, a)
		assert.Equal(t, [2]uint32{h.Device, number(h.Gateway)}, [2]uint32{a.device, a.gateway})
	}
	c.settled()
}

// TestCrowdBesideControl lets workers send while routes and devices come and go and all numbers are used again and again: no packet
// goes where it should not.
func TestCrowdBesideControl(t *testing.T) {
	const room, ends, burst = 4, 24, 16
	c := newCrowd(t, room)
	for i := range ends {
		c.ok(c.gateway(i), c.station(i))
	}
	var done atomic.Bool
	var all sync.WaitGroup
	var bursts atomic.Int64
	start := c.now
	for n := range 3 {
		w, r := c.NewWorker(c.take), rand.New(rand.NewPCG(1, uint64(n)))
		var traffic []*crowdTraffic
		for _, kind := range crowdKinds {
			for range 20 {
				var to []int
				for range burst {
					to = append(to, r.IntN(ends))
				}
				traffic = append(traffic, c.traffic(kind, to...))
			}
		}
		all.Go(func() {
			for i := 0; !done.Load(); i++ {
				c.pass(w, traffic[r.IntN(len(traffic))], start+time.Duration(i)*turnEvery)
				bursts.Add(1)
			}
		})
	}
	r, has := rand.New(rand.NewPCG(2, 2)), [2 * ends]bool{}
	rounds, wanted := 20000, int64(20000)
	if testing.Short() || raceEnabled {
		rounds, wanted = 2000, 2000
	}
	for i := 0; i < rounds || bursts.Load() < wanted; i++ {
		k := r.IntN(len(has))
		one := tunRoute(k / 2)
		if k%2 == 0 {
			one = vxRoute(k / 2)
		}
		if has[k] {
			c.ok(c.DeleteRoute(one))
		} else {
			c.ok(c.AddRoute(one))
		}
		has[k] = !has[k]
		switch r.IntN(200) {
		case 0: // with its routes, gateways and ends; the next device has its number
			c.ok(c.DeleteLink("vx1"), c.addVX1())
			for i := range ends {
				c.ok(c.gateway(i))
				has[2*i] = false
			}
		case 1:
			c.ok(c.SetLink("eth0", LinkChange{MTU: Set(1400 + r.IntN(100))}))
		case 2:
			c.ok(c.DeleteNeigh(netip.MustParseAddr("10.0.0.8"), "eth0"), c.ReplaceNeigh(Neigh{Addr: netip.MustParseAddr("10.0.0.8"), Dev: "eth0", MAC: vtepMAC}))
		}
	}
	done.Store(true)
	all.Wait()
	assert.NotZero(t, c.sent.Load())
	c.Tick(start + 1000*time.Hour)
	c.settled()
}

// BenchmarkControlBesideEnds is a control call that changes a device while there are many ends with kept ways.
func BenchmarkControlBesideEnds(b *testing.B) {
	for _, ends := range []int{0, 1000, 65536} {
		b.Run(fmt.Sprint(ends), func(b *testing.B) {
			c := newCrowd(b, 1<<16)
			fill := func() {
				c.first.begin(c.now)
				for i := range ends {
					c.first.giveBack(c.first.to(c.first.st.device(c.names["tun0"]), firstEnd+uint32(i)))
				}
				c.first.end()
			}
			for b.Loop() {
				b.StopTimer()
				fill()
				b.StartTimer()
				c.ok(c.SetLink("p0", LinkChange{MTU: Set(1000 + b.N%2)}))
			}
		})
	}
}
