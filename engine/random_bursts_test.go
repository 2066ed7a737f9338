package engine_test

// Random nodes twice: one is given bursts, which go the short way where they can, the other the same bursts while somebody watches
// its ports, so that each packet goes through all stages by itself. What comes out must be the same to the byte and in the same
// order, with the same metadata, and so must all counters and tables; whatever callbacks do meanwhile, and however the nodes are
// changed between bursts (random_upheavals_test.go).

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
)

const (
	burstSeeds = 200
	burstCount = 12
	mostFrames = 150 // more than are resolved together
	hashes     = 8   // that drivers give
)

func TestRandomBursts(t *testing.T) {
	watched, seeds := 0, uint64(burstSeeds)
	if underRace {
		seeds /= 4 // there is one goroutine
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			short, long := newBurstWorld(t, seed), newBurstWorld(t, seed)
			for range burstCount {
				bursts := short.draw()
				long.draw() // the same
				for _, b := range bursts {
					require.NoError(t, long.e.Tap(b.port, func(uint32, bool, []byte, time.Duration) { watched++ }))
				}
				for _, b := range bursts {
					short.process(b)
					long.process(b)
					short.sameAs(long)
				}
				short.upheavals()
				long.upheavals()
				short.later()
				long.later()
				short.sameAs(long)
			}
		})
	}
	require.Positive(t, watched, "nobody watched")
}

// arrival is frames that come in by a port together.
type arrival struct {
	port   string
	frames []buffered
}

// buffered is a frame, and what a driver tells of it.
type buffered struct {
	bytes    []byte
	headroom int
	hash     uint32
	tag      ethernet.Tag
	sum      packet.ChecksumState
	start    int // of a partial checksum
	gso      packet.GSOType
}

// burstWorld is a node whose callbacks do what callbacks may.
type burstWorld struct {
	*world
	deeds  *rand.Rand // decides what callbacks do
	plain  bool       // drivers have little to tell
	busy   int        // how much they may do until the burst is over
	sent   []string   // packets that left, were delivered, or seen by a tap, with their metadata; and what control calls said
	tapped map[string]bool
}

func newBurstWorld(t *testing.T, seed uint64) *burstWorld {
	r := rand.New(rand.NewPCG(seed, 7))
	x := &burstWorld{deeds: rand.New(rand.NewPCG(seed, 8)), tapped: map[string]bool{}}
	profile, deliver := oneOf(r, []tunnel.Profile{tunnel.Linux, tunnel.RFC}), r.IntN(2) == 0
	limit, reachable := oneOf(r, []int{0, 0, 1, 2, 4, 9}), oneOf(r, []time.Duration{forHours, 0, time.Second})
	x.world = &world{twin: newTwin(t, r, profile, deliver, func(_ *twin, c *engine.Config) {
		c.MaxAdjacencies, c.Output, c.OnMiss = limit, x.take, x.miss
		c.Neighbours.Params = arp.Params{BaseReachable: reachable}
		if c.Local != nil {
			c.Local = x.listen
		}
	})}
	x.lost = true // nothing is held against the reference
	x.build()
	x.embellish()
	x.sent = nil
	return x
}

// draw returns bursts by several ports; those of a kind follow each other in some of them.
func (x *burstWorld) draw() []arrival {
	x.plain = x.chance(0.5)
	bursts := x.mixed()
	for i := range bursts {
		if x.plain {
			bursts[i].frames = x.inRuns(bursts[i].frames)
		}
	}
	return bursts
}

// inRuns puts frames of a kind together, and has many of some.
func (x *burstWorld) inRuns(frames []buffered) (runs []buffered) {
	exactly := x.chance(0.5)
	kind := func(b buffered) string {
		if len(b.bytes) < ethernet.HeaderLen+ipv4.HeaderLen {
			return ""
		}
		protocol := b.bytes[ethernet.HeaderLen+9]
		if exactly {
			return fmt.Sprintf("%x %d", b.bytes[:6], protocol)
		}
		return fmt.Sprintf("%d %d", b.bytes[12], protocol)
	}
	slices.SortStableFunc(frames, func(a, b buffered) int { return strings.Compare(kind(a), kind(b)) })
	for len(frames) > 0 {
		n := 1
		for n < len(frames) && kind(frames[n]) == kind(frames[0]) {
			n++
		}
		runs = append(runs, frames[:n]...)
		if x.chance(0.4) && len(runs) < mostFrames {
			some := frames[x.r.IntN(n):n]
			some = some[:1+x.r.IntN(len(some))]
			for range x.r.IntN(40) {
				runs = append(runs, some[x.r.IntN(len(some))])
			}
		}
		frames = frames[n:]
	}
	return runs
}

// mixed returns frames of all kinds. They come again and again in a burst, and some of them often.
func (x *burstWorld) mixed() (bursts []arrival) {
	at := map[string]int{}
	for range 1 + x.r.IntN(mostFrames) {
		port, frame := x.frame()
		i, ok := at[port]
		if !ok {
			i = len(bursts)
			at[port] = i
			bursts = append(bursts, arrival{port: port})
		}
		bursts[i].frames = append(bursts[i].frames, x.buffered(frame))
		for n := x.r.IntN(6); n > 3; n-- {
			again := bursts[i].frames[x.r.IntN(len(bursts[i].frames))]
			bursts[i].frames = append(bursts[i].frames, again)
		}
	}
	return bursts
}

// frame is a random one, or an ICMP error about a tunnel's packet.
func (x *burstWorld) frame() (port string, b []byte) {
	if x.chance(0.02) {
		return "eth0", x.tooBig()
	}
	port, b = x.randomFrame()
	if x.chance(0.08) {
		x.twist(b)
	}
	return port, b
}

// buffered adds what a driver may tell of a frame: mostly nothing.
func (x *burstWorld) buffered(frame []byte) buffered {
	b := buffered{bytes: frame, headroom: packet.DefaultHeadroom}
	if x.plain && !x.chance(0.05) {
		return b
	}
	switch x.r.IntN(25) {
	case 0:
		b.headroom = oneOf(x.r, []int{0, 13, 14, 33, 34, 49, 50, 63, 64, 65})
	case 1:
		b.hash = x.r.Uint32N(hashes)
	case 2:
		b.tag = ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: ethernet.TCI(x.r.IntN(2))}
	case 3:
		b.sum = packet.ChecksumVerified
	case 4:
		b.sum, b.start = packet.ChecksumPartial, oneOf(x.r, []int{0, 14, 34, 64, 84, 98})
	case 5:
		b.gso = oneOf(x.r, []packet.GSOType{packet.GSOTCP4, packet.GSOUDP4})
	}
	return b
}

// put fills a buffer; a partial checksum that does not fit is none.
func (b *buffered) put(p *packet.Buffer) error {
	p.Reset()
	if _, err := p.Prepend(p.Headroom() - b.headroom); err != nil {
		return err
	}
	if err := p.Truncate(0); err != nil {
		return err
	}
	room, err := p.Extend(len(b.bytes))
	if err != nil {
		return err
	}
	copy(room, b.bytes)
	p.SetHash(b.hash)
	p.SetVLAN(b.tag)
	switch b.sum {
	case packet.ChecksumVerified:
		p.SetChecksumVerified()
	case packet.ChecksumPartial:
		_ = p.SetChecksumPartial(b.start, 6)
	}
	if b.gso != packet.GSONone {
		p.SetGSO(b.gso, 500)
	}
	return nil
}

// process gives a burst to the engine.
func (x *burstWorld) process(b arrival) {
	x.busy = 30
	batch := x.batch(b.frames)
	x.e.Process(x.e.Index(b.port), batch, x.now)
	for _, p := range batch {
		require.Nil(x.t, p, "the batch is the engine's")
	}
	x.busy = 0
}

func (x *burstWorld) batch(frames []buffered) (batch []*packet.Buffer) {
	for _, f := range frames {
		p := x.pool.Get()
		if p == nil {
			break // too much waits; both nodes have the same
		}
		require.NoError(x.t, f.put(p))
		batch = append(batch, p)
	}
	return batch
}

// later lets time go by: mostly little, now and then so much that tables forget.
func (x *burstWorld) later() {
	switch x.r.IntN(12) {
	case 0:
		x.now += time.Duration(x.r.IntN(400)) * time.Second
	case 1, 2:
		x.now += time.Duration(x.r.IntN(10000)) * time.Millisecond
	default:
		x.now += time.Duration(x.r.IntN(400)) * time.Millisecond
	}
	for range 1000 {
		if x.e.Tick(x.now) > x.now {
			break
		}
	}
}

// record notes a packet with its metadata.
func (x *burstWorld) record(what string, b *packet.Buffer) {
	start, field, _ := b.PartialChecksum()
	gso, size := b.GSO()
	hash := b.Hash()
	if hash >= hashes {
		hash = 0 // not the driver's; whether one was computed on the way does not matter
	}
	x.sent = append(x.sent, fmt.Sprintf("%s hash %x vlan %v sum %d %d %d gso %d %d: %s", what, hash, b.VLAN(), b.Checksum(), start, field,
		gso, size, hex.EncodeToString(b.Bytes())))
}

// sameAs holds what both worlds did since the last time against each other, and where that left them.
func (x *burstWorld) sameAs(long *burstWorld) {
	x.t.Helper()
	for i := range min(len(long.sent), len(x.sent)) {
		if want, got := long.sent[i], x.sent[i]; want != got {
			require.FailNow(x.t, "packets differ", "number %d of %d is\n%.400s, wanted\n%.400s", i, len(long.sent), got, want)
		}
	}
	require.Equal(x.t, len(long.sent), len(x.sent), "packets out")
	if want, got := long.state(), x.state(); !slices.Equal(want, got) {
		require.FailNow(x.t, "counters or tables differ", "%s", difference(want, got))
	}
	x.sent, long.sent = nil, nil
}

// state is all counters and tables.
func (x *burstWorld) state() (lines []string) {
	stats := x.e.Stats()
	require.NoError(x.t, stats.Check())
	require.Equal(x.t, int(stats.Held), x.pool.InUse())
	lines = append(lines, fmt.Sprintf("in %d out %d made %d held %d", stats.In, stats.Out, stats.Made, stats.Held))
	for reason := range engine.Reasons() {
		if n := stats.Drops[reason]; n > 0 {
			lines = append(lines, fmt.Sprintf("%s %d", reason.Name(), n))
		}
	}
	counters := x.e.Counters()
	for name, n := range counters.All() {
		if n > 0 {
			lines = append(lines, fmt.Sprintf("%s %d", name, n))
		}
	}
	for _, d := range x.e.Links() {
		s, err := x.e.DeviceStats(d.Name)
		require.NoError(x.t, err)
		lines = append(lines, fmt.Sprintf("%s %+v", d.Name, s))
		for entry, age := range x.e.FDB(d.Name) {
			lines = append(lines, fmt.Sprintf("%s %+v %v", d.Name, entry, age))
		}
	}
	for n, entry := range x.e.Neighs() {
		lines = append(lines, fmt.Sprintf("%v %v %v %v", n.Addr, n.Dev, entry.MAC, entry.State))
	}
	slices.Sort(lines) // an FDB has no order
	return lines
}

// difference returns the lines that only one has.
func difference(want, got []string) (text string) {
	for _, line := range want {
		if !slices.Contains(got, line) {
			text += "- " + line + "\n"
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			text += "+ " + line + "\n"
		}
	}
	return text
}
