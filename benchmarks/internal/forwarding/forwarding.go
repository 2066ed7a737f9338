// Package forwarding has the work that the benchmarks of culvert's engine and of its peers do: the networks, the traffic, and
// culvert's own part.
//
// A benchmark plays the driver. For each burst it writes the next 64 packets into the same 64 buffers, hands them to a worker,
// and takes them back from Output. That is part of what is measured; the benchmarks named refill say how much it is: only the
// first 64 bytes and the keys are written, since nothing else is touched on a packet's way, and a network card would have
// written the rest. Keys are drawn uniformly at random from all that the tables hold, which is the worst case for a
// cache, and far more of them than a branch predictor can learn.
//
// Before and after the loop every byte of some thousand packets is compared with what the packets should have become, and over
// the loop each packet offered must have left, none dropped: forgetting packets is faster than forwarding them.
package forwarding

import (
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// Burst is how many packets a worker is given at once.
const Burst = 64

// FrameTime is how fast time goes by: ten million packets a second.
const FrameTime = 100 * time.Nanosecond

// Scale is how many entries the tables have, and how many packets are drawn until they repeat.
type Scale struct {
	Name    string
	Entries int
	Packets int
}

// The scales: tables that fit the processor's nearest cache, the next, and none.
var (
	Hot   = Scale{"hot", 256, 1 << 16}
	Large = Scale{"large", 100_000, 1 << 20}
	Huge  = Scale{"huge", 1_000_000, 1 << 20}
)

// Scales returns all scales; without the largest in short mode and for a single iteration (-benchtime 1x), which is to show that
// results are right and does not pay for filling a million entries.
func Scales() []Scale {
	if f := flag.Lookup("test.benchtime"); testing.Short() || f != nil && f.Value.String() == "1x" {
		return []Scale{Hot, Large}
	}
	return []Scale{Hot, Large, Huge}
}

// Sizes are lengths of frames in bytes: of the inner ones, where there is a tunnel.
var Sizes = []int{64, 1450}

// Work is a node, ready to forward.
type Work struct {
	Engine *engine.Engine
	// Ports, Routes, Neighbours and Lessons are what else makes a node of the same kind.
	Ports      []Port
	Routes     []engine.Route
	Neighbours []engine.Neigh
	Lessons    []Lesson

	// offered makes what is offered to a worker, in frames of size bytes.
	offered func(lane, size int) (*Traffic, error)
	made    map[[2]int]*Traffic
	// in are the ports where it comes in, a burst by the first, the next by the second, and so on.
	in     [2][]uint32
	spread func(on bool) // chooses the ports anew

	seen  bool // all packets have been, once
	lanes [2]*lane
	pool  *packet.Pool // of packets that the engine makes
	now   time.Duration
	next  time.Duration // when Tick is due
}

// Port is a port of a node.
type Port struct {
	Index uint32
	Name  string
	MAC   ethernet.MAC
}

// Lesson is packets that a node has heard before: Packet appends number i of Count.
type Lesson struct {
	Port   uint32
	Count  int
	Packet func(b []byte, i uint32) []byte
}

// newWork returns a Work with a node that has nothing yet.
func newWork(c engine.Config) (*Work, error) {
	w := &Work{made: map[[2]int]*Traffic{}}
	for i := range w.lanes {
		w.lanes[i] = newLane()
	}
	var err error
	if w.pool, err = packet.NewPool(packet.PoolConfig{Buffers: 16 * Burst}); err != nil {
		return nil, err
	}
	c.Pool, c.Output, c.Seed = w.pool, w.lanes[0].take, seed
	if w.Engine, err = engine.New(c); err != nil {
		return nil, err
	}
	w.lanes[0].process = w.Engine.Process
	w.lanes[1].process = w.Engine.NewWorker(w.lanes[1].take).Process
	return w, nil
}

// Traffic returns what is offered to a worker, in frames of size bytes.
func (w *Work) Traffic(lane, size int) (*Traffic, error) {
	key := [2]int{lane, size}
	if w.made[key] == nil {
		t, err := w.offered(lane, size)
		if err != nil {
			return nil, err
		}
		w.made[key] = t
	}
	t := w.made[key]
	if err := w.lanes[lane].load(t); err != nil || w.seen {
		return t, err
	}
	// Once through everything: ways that are found when they are first needed then are.
	w.seen = true
	return t, w.one(t, t.length)
}

// Spread says whether the packets of a burst each leave by another port, drawn at random, or all by the same; which is drawn, too,
// and how it is at first. It is for nodes with more than two ports.
func (w *Work) Spread(on bool) {
	w.spread(on)
	clear(w.made)
}

// In returns the port that a burst of a lane comes in by; bursts follow each other, first to last packet of the traffic.
func (w *Work) In(lane, burst int) uint32 { return w.in[lane][burst%len(w.in[lane])] }

// tick does what is due.
func (w *Work) tick() {
	for w.next <= w.now {
		w.next = w.Engine.Tick(w.now)
	}
}

// settle does what control calls have left to be done, such as the growth of tables.
func (w *Work) settle() {
	w.next = w.now
	w.tick()
}

// lane is a worker and its driver.
type lane struct {
	process func(port uint32, batch []*packet.Buffer, now time.Duration)
	bufs    [Burst]*packet.Buffer
	batch   [Burst]*packet.Buffer
	sent    int
	see     func(port uint32, frame []byte) // nil: nobody looks
	cursor  int                             // of the traffic
}

func newLane() *lane {
	l := &lane{}
	for i := range l.bufs {
		l.bufs[i] = packet.New(packet.DefaultSize)
	}
	return l
}

// take is the worker's Output. The buffers belong to the lane, which knows them, or to the engine's pool.
func (l *lane) take(port uint32, batch []*packet.Buffer) {
	l.sent += len(batch)
	if l.see != nil {
		for _, b := range batch {
			l.see(port, b.Bytes())
		}
	}
	for _, b := range batch {
		b.Free()
	}
}

// load makes the buffers ready for a kind of traffic.
func (l *lane) load(t *Traffic) error {
	for _, b := range l.bufs {
		if err := b.SetBytes(t.first); err != nil {
			return err
		}
	}
	return nil
}

// refill writes the next n packets into the buffers.
func (l *lane) refill(t *Traffic, n int) ([]*packet.Buffer, error) {
	for i, b := range l.bufs[:n] {
		b.Reset()
		p, err := b.Extend(t.size)
		if err != nil {
			return nil, err
		}
		t.Next(p, l.cursor+i)
		l.batch[i] = b
	}
	l.cursor += Burst
	return l.batch[:n], nil
}

// offer forwards n packets, a burst at a time, and returns the time at their end.
func (l *lane) offer(t *Traffic, ports []uint32, n int, now time.Duration, tick func(now time.Duration)) (time.Duration, error) {
	for n > 0 {
		port := ports[l.cursor/Burst%len(ports)]
		batch, err := l.refill(t, min(n, Burst))
		if err != nil {
			return now, err
		}
		now += time.Duration(len(batch)) * FrameTime
		l.process(port, batch, now)
		tick(now)
		n -= len(batch)
	}
	return now, nil
}

// Bench forwards frames of size bytes with one worker, or with two that share the load.
func (w *Work) Bench(b *testing.B, size, workers int) {
	var traffic [2]*Traffic
	for i := range workers {
		t, err := w.Traffic(i, size)
		if err != nil {
			b.Fatal(err)
		}
		traffic[i] = t
	}
	check := func() {
		for i := range workers {
			if err := w.verify(i, traffic[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
	check()
	before := w.sent()
	b.ReportAllocs()
	b.ResetTimer()
	var err error
	if workers == 1 {
		err = w.one(traffic[0], b.N)
	} else {
		err = w.two(traffic, b.N)
	}
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
	if err := w.none(w.sent() - before - b.N); err != nil {
		b.Fatalf("of %d packets: %v", b.N, err)
	}
	check()
}

func (w *Work) sent() int { return w.lanes[0].sent + w.lanes[1].sent }

// none returns an error if packets are missing, or if there are too many.
func (w *Work) none(surplus int) error {
	s := w.Engine.Stats()
	if surplus == 0 {
		return s.Check()
	}
	var why []string
	for r := range engine.Reasons() {
		if n := s.Drops[r]; n > 0 {
			why = append(why, fmt.Sprintf("%d: %v", n, r))
		}
	}
	return fmt.Errorf("%d more left than were offered; held: %d; dropped in all: %s", surplus, s.Held, strings.Join(why, ", "))
}

func (w *Work) one(t *Traffic, n int) error {
	now, err := w.lanes[0].offer(t, w.in[0], n, w.now, func(now time.Duration) {
		if w.next <= now {
			w.now = now
			w.tick()
		}
	})
	w.now = now
	return err
}

func (w *Work) two(traffic [2]*Traffic, n int) error {
	var wg sync.WaitGroup
	var other error
	share, start := n/2, w.now
	wg.Go(func() {
		_, other = w.lanes[1].offer(traffic[1], w.in[1], share, start, func(time.Duration) {})
	})
	err := w.one(traffic[0], n-share)
	wg.Wait()
	if err == nil {
		err = other
	}
	return err
}

// verify forwards some thousand packets, and compares every byte of what leaves with what should.
func (w *Work) verify(lane int, t *Traffic) error {
	l := w.lanes[lane]
	const bursts = 64
	var wrong error
	seen := map[int]bool{}
	l.see = func(port uint32, frame []byte) {
		i := marked(frame)
		seen[i] = true
		if err := t.Check(i, port, frame); err != nil && wrong == nil {
			wrong = err
		}
	}
	defer func() { l.see = nil }()
	before := w.sent()
	for range bursts {
		port := w.In(lane, l.cursor/Burst)
		batch, err := l.refill(t, Burst)
		if err != nil {
			return err
		}
		for i, b := range batch {
			mark(b.Bytes(), l.cursor-Burst+i)
		}
		w.now += Burst * FrameTime
		l.process(port, batch, w.now)
		w.tick()
		l.cursor += t.length / bursts &^ (Burst - 1) // spread over all of the traffic
	}
	if wrong != nil {
		return wrong
	}
	if len(seen) != bursts*Burst {
		return w.none(len(seen) - bursts*Burst)
	}
	return w.none(w.sent() - before - bursts*Burst)
}

// BenchRefill measures what all benchmarks include beside the engine: the next packets written into the buffers, and
// their counting.
func (w *Work) BenchRefill(b *testing.B, size int) {
	t, err := w.Traffic(0, size)
	if err != nil {
		b.Fatal(err)
	}
	l := w.lanes[0]
	l.process = func(port uint32, batch []*packet.Buffer, _ time.Duration) { l.take(port, batch) }
	defer func() { l.process = w.Engine.Process }()
	b.ReportAllocs()
	b.ResetTimer()
	before := l.sent
	if _, err := l.offer(t, w.in[0], b.N, w.now, func(time.Duration) {}); err != nil || l.sent-before != b.N {
		b.Fatalf("%d of %d left: %v", l.sent-before, b.N, err)
	}
}

// Allocs returns how many allocations a burst costs.
func (w *Work) Allocs(size int) (float64, error) {
	t, err := w.Traffic(0, size)
	if err != nil {
		return 0, err
	}
	return testing.AllocsPerRun(100, func() {
		if err == nil {
			err = w.one(t, Burst)
		}
	}), err
}
