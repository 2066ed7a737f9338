package engine_test

// Random nodes twice: one is given bursts, which go the short way where they can, the other the same bursts while somebody watches
// its ports, so that each packet goes through all stages by itself. What comes out must be the same to the byte and in the same
// order, and so must all counters and tables.

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
)

const (
	burstSeeds = 120
	burstCount = 12
	mostFrames = 150 // more than are resolved together
)

func TestRandomBursts(t *testing.T) {
	quick := 0
	for seed := range uint64(burstSeeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			short, long := newBurstWorld(t, seed), newBurstWorld(t, seed)
			for range burstCount {
				bursts, ports := short.draw(), []string(nil)
				long.draw() // the same
				for _, b := range bursts {
					ports = append(ports, b.port)
				}
				seen := 0
				for _, port := range ports { // those of bridges and tunnels are what is watched besides
					require.NoError(t, long.e.Tap(port, func(uint32, bool, []byte, time.Duration) { seen++ }))
				}
				for _, b := range bursts {
					short.process(b)
					long.process(b)
					require.Equal(t, len(long.out), len(short.out), "packets out")
					for i := range long.out {
						want, got := long.out[i], short.out[i]
						if want.Port != got.Port || !bytes.Equal(want.Bytes, got.Bytes) {
							require.FailNow(t, "packets differ", "number %d of %d is\n%s %s, wanted\n%s %s", i, len(long.out),
								got.Port, brief(got.Bytes), want.Port, brief(want.Bytes))
						}
					}
					require.Equal(t, long.delivered, short.delivered)
					if want, got := long.state(), short.state(); !slices.Equal(want, got) {
						require.FailNow(t, "counters or tables differ", "%s", difference(want, got))
					}
					short.out, long.out, short.delivered, long.delivered = nil, nil, nil, nil
				}
				if seen > 0 {
					quick++
				}
				short.later()
				long.later()
			}
		})
	}
	require.Positive(t, quick, "nobody watched")
}

// arrival is frames that come in by a port together.
type arrival struct {
	port   string
	frames [][]byte
}

func newBurstWorld(t *testing.T, seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 7))
	w := &world{twin: newTwin(t, r, oneOf(r, []tunnel.Profile{tunnel.Linux, tunnel.RFC}), r.IntN(2) == 0)}
	w.build()
	w.out, w.delivered = nil, nil
	return w
}

// draw returns bursts by several ports. Frames come again and again in a burst, and some of them often.
func (w *world) draw() (bursts []arrival) {
	at := map[string]int{}
	for range 1 + w.r.IntN(mostFrames) {
		port, frame := w.randomFrame()
		i, ok := at[port]
		if !ok {
			i = len(bursts)
			at[port] = i
			bursts = append(bursts, arrival{port: port})
		}
		bursts[i].frames = append(bursts[i].frames, frame)
		for n := w.r.IntN(6); n > 3; n-- {
			again := bursts[i].frames[w.r.IntN(len(bursts[i].frames))]
			bursts[i].frames = append(bursts[i].frames, again)
		}
	}
	return bursts
}

func (w *world) process(b arrival) {
	var batch []*packet.Buffer
	for _, f := range b.frames {
		p := w.pool.Get()
		require.NotNil(w.t, p)
		require.NoError(w.t, p.SetBytes(f))
		batch = append(batch, p)
	}
	w.e.Process(w.e.Index(b.port), batch, w.now)
	for _, p := range batch {
		require.Nil(w.t, p, "the batch is the engine's")
	}
}

// later lets time go by.
func (w *world) later() {
	w.now += time.Duration(w.r.IntN(400)) * time.Millisecond
	for range 1000 {
		if w.e.Tick(w.now) > w.now {
			break
		}
	}
	w.out, w.delivered = nil, nil
}

// state is all counters and tables.
func (w *world) state() (lines []string) {
	stats := w.e.Stats()
	require.NoError(w.t, stats.Check())
	require.Equal(w.t, int(stats.Held), w.pool.InUse())
	lines = append(lines, fmt.Sprintf("in %d out %d made %d held %d", stats.In, stats.Out, stats.Made, stats.Held))
	for reason := range engine.Reasons() {
		if n := stats.Drops[reason]; n > 0 {
			lines = append(lines, fmt.Sprintf("%s %d", reason.Name(), n))
		}
	}
	counters := w.e.Counters()
	for name, n := range counters.All() {
		if n > 0 {
			lines = append(lines, fmt.Sprintf("%s %d", name, n))
		}
	}
	for _, d := range w.ref.Devices {
		s, err := w.e.DeviceStats(d.Name)
		require.NoError(w.t, err)
		lines = append(lines, fmt.Sprintf("%s %+v", d.Name, s))
		for entry := range w.e.FDB(d.Name) {
			lines = append(lines, fmt.Sprintf("%s %+v", d.Name, entry))
		}
	}
	for n, entry := range w.e.Neighs() {
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

// brief returns the beginning of a packet.
func brief(p []byte) string { return hex.EncodeToString(p[:min(len(p), 128)]) }
