package engine

// The engine, its workers, and the course of a burst: begin, each packet in turn until it has come to rest, flush.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/gso"
	"github.com/culvert-net/culvert/internal/icmplimit"
	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/internal/pmtu"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
)

// Engine is a node: devices, tables, and the workers that forward between them. Use [New].
//
// Control calls may come from any goroutine at any time; they take turns, and a worker sees each of them whole: not yet, or
// done. What they release, such as packets that waited for a neighbour, is sent by the next Process or Tick.
type Engine struct {
	config Config
	pool   *packet.Pool
	hasher flow.Hasher

	routes *route.Table
	neighs *arp.Table
	reasm  *ipfrag.Reassembler
	limits *icmplimit.Limiter
	ipips  *ipip.Decapsulator // for tunnels of all kinds: who may send is asked before
	pmtus  *pmtu.Table
	ends   tunnelEnds
	waits  fdbWaits
	back   backlog

	large   atomic.Pointer[packet.Pool] // nil until a port needs it
	state   atomic.Pointer[state]
	workers atomic.Pointer[[]*Worker]
	first   *Worker
	clock   atomic.Int64 // the latest time seen

	mu    sync.Mutex // of control calls; guards writing state, and what follows
	names map[string]uint32
	freed []uint32 // indexes of removed devices, in the order of their removal
	last  uint32   // index that was chosen last
	made  uint64   // random MAC addresses
	confs confs
	peers map[string]Peer

	asleep     map[asleepKey]route.Route // whole routes, of which some next hops are out of use
	explaining sync.Mutex
	dry        *Worker // guarded by explaining
}

// New returns an engine with one device, lo. It reports every field of the configuration that is wrong.
func New(c Config) (*Engine, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	for c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	e := &Engine{
		config: c, pool: c.Pool, hasher: flow.NewHasher(mix(c.Seed)),
		names: map[string]uint32{}, peers: map[string]Peer{}, confs: newConfs(),
		asleep: map[asleepKey]route.Route{},
	}
	e.ends.init(e)
	if err := e.makeTables(); err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	e.state.Store(&state{devices: make([]*device, 1), global: e.confs.global})
	e.workers.Store(&[]*Worker{})
	e.first = e.NewWorker(c.Output)
	e.dry = e.newWorker(nil, 0)
	return e, e.addLoopback()
}

// makeTables makes what stays as long as the engine.
func (e *Engine) makeTables() error {
	var errs [7]error
	if e.pool == nil {
		e.pool, errs[0] = packet.NewPool(packet.PoolConfig{Buffers: DefaultBuffers})
	}
	e.config.share(e.pool)
	e.waits.init(e.config.MaxMissing)
	routes, neighs, global := e.config.Routes, e.config.Neighbours, e.confs.global
	onRoute, onNeighbour := routes.OnChange, neighs.OnChange
	routes.OnChange = func(c route.Change) {
		e.ends.routeChanged(c)
		if onRoute != nil {
			onRoute(c)
		}
	}
	neighs.OnChange = func(c arp.Change) {
		e.ends.neighbourChanged(c)
		if onNeighbour != nil {
			onNeighbour(c)
		}
	}
	if neighs.Seed == 0 {
		neighs.Seed = e.config.Seed
	}
	e.routes, errs[1] = route.New(routes)
	e.neighs, errs[2] = arp.NewTable(neighs)
	e.reasm, errs[3] = ipfrag.New(e.reassembly(global))
	e.limits, errs[4] = icmplimit.New(global.limits())
	e.pmtus, errs[5] = pmtu.New(global.pathMTU())
	e.ipips, errs[6] = ipip.NewDecapsulator(ipip.DecapConfig{Raw: true, AnyPeer: true})
	return errors.Join(errs[:]...)
}

// Worker forwards packets. One goroutine at a time may call its methods; several workers may be called at the same time. What
// it sends goes to the Output that it was made with.
type Worker struct {
	e   *Engine
	out Output

	// Of the burst in hand.
	st      *state
	now     time.Duration
	busy    bool
	ready   []uint32   // ports that have packets for Output
	traced  []traced   // in this burst, for who waits for the end of their ways
	inside  []crossing // on their way over pairs, lo and calls from callbacks: first in, first out
	misses  []Miss
	heard   uint64 // the last station that was learned, of whom nothing new is to be learned
	heardBy uint32 // by this port
	flights *burst
	changed bool    // tables have changed by what a packet did, so that what was resolved may be wrong
	dry     *dryRun // not nil if nothing may be changed, see Explain

	// Of the packet in hand, and of what came of it.
	crossed int           // how often it has crossed from device to device, copies included
	encaps  int           // tunnels that it is being put into
	group   bool          // came in a frame to a group
	trace   *TracedPacket // nil if it is not traced

	options optionState

	ids        uint32             // IPv4 identifications
	lists      [][]arp.Action     // empty ones, see actionList
	spareLists [][]*packet.Buffer // empty ones, see list
	spareWays  []*way             // see giveBack
	drawn      uint64             // the last random number
	merger     gso.Coalescer
	spareQueue []*packet.Buffer // for a port to send by, while Output has its own
	results    []ipfrag.Result

	total   tally
	dev     []devWork // by index
	touched []uint32

	mu    sync.Mutex // guards what follows: what others see
	shown tally
	seen  []shownStats
}

// crossing is a packet that arrives at a device from inside the engine.
type crossing struct {
	b      *packet.Buffer
	device uint32
	fresh  bool // given to Process by a callback
	trace  *TracedPacket
}

// minCrossings bounds what a packet and its copies may cross, so that a loop of pairs and bridges ends; a node with many devices
// gets four crossings for each, more than honest flooding needs.
const minCrossings = 1 << 10

func (s *state) maxCrossings() int { return max(minCrossings, 4*len(s.devices)) }

// NewWorker returns another worker, for another goroutine. Workers stay as long as the engine; one that is not called costs
// nothing.
func (e *Engine) NewWorker(out Output) *Worker {
	e.mu.Lock()
	defer e.mu.Unlock()
	workers := *e.workers.Load()
	w := e.newWorker(out, uint64(len(workers)))
	workers = append(slices.Clone(workers), w)
	e.workers.Store(&workers)
	return w
}

func (e *Engine) newWorker(out Output, n uint64) *Worker {
	drawn := mix(e.config.Seed + n)
	return &Worker{e: e, out: out, st: e.state.Load(), ids: uint32(drawn >> 32), drawn: drawn}
}

// mix makes every bit of the result depend on all of x (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// nextID returns an IPv4 identification: rising, and never 0.
func (w *Worker) nextID() uint16 {
	w.ids++
	if uint16(w.ids) == 0 {
		w.ids++
	}
	return uint16(w.ids)
}

// Process takes what a port has received: Ethernet frames, or IPv4 packets if it is raw. The buffers are the engine's from
// then on, and the batch's entries nil afterwards. What is to be sent in consequence is given to Output before Process returns,
// once for each port. now is the time since any moment of the caller's choice; it is the same for all calls and does not go back.
//
// A callback may call Process of the worker that called it: the packets then take their turn after those in hand.
func (e *Engine) Process(port uint32, batch []*packet.Buffer, now time.Duration) {
	e.first.Process(port, batch, now)
}

// Process is [Engine.Process] for what this worker's goroutine has received.
func (w *Worker) Process(port uint32, batch []*packet.Buffer, now time.Duration) {
	w.total.In += uint64(len(batch))
	if w.busy {
		for i, b := range batch {
			batch[i] = nil
			w.inside = append(w.inside, crossing{b: b, device: port, fresh: true})
		}
		return
	}
	w.begin(now)
	d := w.st.device(port)
	if w.plain(d) {
		w.burst(d, batch)
	} else {
		w.oneByOne(d, batch)
	}
	w.end()
}

// oneByOne lets packets go through one stage after another.
func (w *Worker) oneByOne(d *device, batch []*packet.Buffer) {
	for i, b := range batch {
		batch[i] = nil
		w.crossed = 0
		w.enter(d, b)
		if len(w.inside) > 0 {
			w.drain()
		}
	}
}

// begin starts a burst: it looks at the engine's state once, and does what control calls have left to do.
func (w *Worker) begin(now time.Duration) {
	w.busy, w.st, w.now, w.heard = true, w.e.state.Load(), now, 0
	if c := &w.e.clock; int64(now) > c.Load() {
		c.Store(int64(now)) // workers may overtake each other here by what their clocks differ
	}
	if n := len(w.st.devices); n > len(w.dev) {
		w.dev = append(w.dev, make([]devWork, n-len(w.dev))...)
	}
	if w.e.back.any() && w.dry == nil {
		w.release()
		w.drain() // before what comes now
	}
}

// enter takes a packet from outside.
func (w *Worker) enter(d *device, b *packet.Buffer) {
	if d == nil || d.kind != KindPort {
		w.drop(nil, b, DropNoDevice)
		return
	}
	if len(w.st.traces) > 0 && w.dry == nil {
		w.trace = w.startTrace(d, b)
	}
	w.receive(d, b)
	w.trace = nil
}

// drain lets packets arrive that are on their way inside.
func (w *Worker) drain() {
	for i := 0; i < len(w.inside); i++ {
		c := w.inside[i]
		w.inside[i] = crossing{}
		d := w.st.device(c.device)
		if c.fresh {
			w.crossed = 0
			w.enter(d, c.b)
			continue
		}
		w.crossed++
		w.trace = c.trace
		switch {
		case d == nil:
			w.drop(nil, c.b, DropDeviceGone)
		case w.crossed > w.st.maxCrossings():
			w.drop(d, c.b, DropLoop)
		default:
			w.receive(d, c.b)
		}
		w.trace = nil
	}
	w.inside = w.inside[:0]
}

// end finishes a burst: outputs, questions to the agent, counters.
func (w *Worker) end() {
	for len(w.inside) > 0 || len(w.ready) > 0 || len(w.misses) > 0 || w.e.back.any() && w.dry == nil {
		if w.e.back.any() && w.dry == nil {
			w.release()
		}
		w.drain()
		w.flush()
		w.ask()
		w.heard = 0 // callbacks may have made the tables forget it
	}
	w.publish()
	if w.busy = false; len(w.traced) > 0 {
		w.endTraces()
	}
}

// flush gives each port's frames to Output.
func (w *Worker) flush() {
	for i := 0; i < len(w.ready); i++ { // callbacks may add to it
		port := w.ready[i]
		n := &w.dev[port]
		q := n.queue
		n.queue = w.spareQueue
		switch {
		case w.dry != nil:
			w.dry.take(port, q)
		case w.out == nil:
			for _, b := range q {
				w.drop(w.st.device(port), b, DropNoOutput)
			}
		default:
			if d := w.st.device(port); d != nil && (d.offloads.tcp || d.offloads.udp) {
				q = w.coalesce(d, q)
			}
			w.total.Out += uint64(len(q))
			w.out(port, q)
		}
		clear(q)
		if w.spareQueue = q[:0]; len(n.queue) == 0 {
			n.queue, w.spareQueue = w.spareQueue, n.queue
		}
	}
	w.ready = w.ready[:0]
}

// ask passes questions on to the agent.
func (w *Worker) ask() {
	for i := 0; i < len(w.misses); i++ {
		if f := w.e.config.OnMiss; f != nil {
			f(w.misses[i])
		}
	}
	w.misses = w.misses[:0]
}

// drop ends a packet's way; d is the device where it happened, or nil.
func (w *Worker) drop(d *device, b *packet.Buffer, why Reason) {
	w.total.Drops[why]++
	if w.trace != nil {
		w.note(Step{Stage: StageDrop, Device: d.label(), Reason: why})
	}
	b.Free()
}

// dropRx is drop of what d has received, which counts it there.
func (w *Worker) dropRx(d *device, b *packet.Buffer, why Reason) {
	w.count(d).RxDropped++
	w.drop(d, b, why)
}

// dropTx is drop of what was to leave by d.
func (w *Worker) dropTx(d *device, b *packet.Buffer, why Reason) {
	w.count(d).TxDropped++
	w.drop(d, b, why)
}

// absorb ends the way of a packet that has served its purpose.
func (w *Worker) absorb(b *packet.Buffer) {
	w.total.Absorbed++
	b.Free()
}

// alloc returns an empty buffer for a packet that the engine makes, or nil.
func (w *Worker) alloc() *packet.Buffer {
	if w.dry != nil {
		w.total.Made++
		return w.e.pool.Outside()
	}
	b := w.e.pool.Get()
	if b != nil {
		w.total.Made++
	}
	return b
}

// unmake gives back a buffer of alloc that no packet was made in.
func (w *Worker) unmake(b *packet.Buffer) {
	w.total.Made--
	b.Free()
}

// enqueue counts what a port sends, and queues it for Output.
func (w *Worker) enqueue(d *device, b *packet.Buffer) {
	n := w.work(d)
	n.TxPackets++
	n.TxBytes += uint64(b.Len())
	if len(n.queue) == 0 {
		w.ready = append(w.ready, d.index)
	}
	n.queue = append(n.queue, b)
}
