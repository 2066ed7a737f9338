// Package runner runs an engine on drivers: one goroutine for each queue receives and forwards, one more does what is due.
//
//	driver A, queue 0 ──▶ worker ──┐                 ┌──▶ driver A, a queue's Send
//	          queue 1 ──▶ worker ──┼──▶ the engine ──┤
//	driver B, queue 0 ──▶ worker ──┘     ▲           └──▶ driver B
//	                          Tick ──────┘
//
// A packet stays with the goroutine that has received it until it is sent: there is no queue in between, and no hand-over.
//
//	r := runner.New(e, runner.Config{})
//	port, err := r.Attach(d, engine.Port{Link: engine.Link{Name: "eth0", Up: true}})
//	…
//	err = r.Run(ctx) // until ctx is done
//
// Drivers can be attached and detached, and all control calls of the engine made, while it runs.
//
// # Sleep
//
// To wake a worker takes some 5 µs, 50 µs or more where its processor sleeps, too, as on an idle virtual machine. A request and its
// answer, which come by different queues, would wake one worker each. So who has forwarded a packet stays awake for 200 µs, looks at all
// queues of the runner, and forwards what it finds; the queue's own worker sleeps on. One worker at a time does so, none under load, and
// for no more than a tenth of the time: traffic that is sparse but steady costs up to a tenth of one processor, no traffic none. Between
// two looks other goroutines and other processes get the processor if they want it. [Config.Poll] makes it longer, or switches it off.
package runner

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

const (
	// tickEvery is how soon after a packet Tick looks whether that has left something to do: a jiffy of a kernel with HZ=250.
	tickEvery = 4 * time.Millisecond
	// idle is how long Tick waits at most, for what a control call may have left to do later.
	idle = time.Second

	maxBackoff = 100 * time.Millisecond // between attempts to receive from a device that reports errors
)

// Faults of a runner's calls, wrapped with what they are about.
var (
	ErrRunning  = errors.New("runner: runs already")
	ErrNoPort   = errors.New("runner: no port of the engine")
	ErrAttached = errors.New("runner: port has a driver already")
	ErrDetached = errors.New("runner: port has no driver")
	ErrRaw      = errors.New("runner: one of port and driver has Ethernet frames, the other IP packets")
)

// Config is how a runner is to be; the zero Config is ready.
type Config struct {
	// Poll is how long a worker looks for more packets after one, at all queues, before it sleeps: what comes meanwhile is forwarded
	// without waking anybody, which takes longest on an idle machine, and the processor is taken meanwhile, though others who want it
	// get it. One worker at a time does so. 0: 200 µs, but no more than a tenth of the time in the long run. [PollAlways], [PollNever].
	Poll time.Duration

	// Batch is how many packets are received at once; 0: driver.BatchSize.
	Batch int

	// Start is the engine's time when the runner is made; later than any that the engine was told before.
	Start time.Duration

	// Output takes what leaves by ports that have no driver, and is called by several goroutines at once; nil: it is dropped, and
	// counted by [Runner.Unbound].
	Output engine.Output

	// OnError is told of errors of a port's driver: those of Receive, and of changes of its link that the port cannot follow.
	// When err is that of a driver that has ended (net.ErrClosed, io.EOF), its queue is not asked again. Errors of Send are
	// counted only, see [PortStats]. nil: nobody.
	OnError func(port uint32, err error)
}

// Runner runs an engine. Its methods may be called at any time by any goroutine, but, Now excepted, not by the engine's callbacks, nor
// by OnError.
type Runner struct {
	e      *engine.Engine
	config Config
	start  time.Time

	ports   atomic.Pointer[[]*binding] // by index; replaced, not changed
	unbound atomic.Uint64              // packets for ports without a driver

	lanes  atomic.Pointer[[]*lane] // of running ports; replaced, not changed
	poller *poller

	own    sync.Mutex // of the worker that ticks and sends
	ticker *worker
	tickAt atomic.Int64  // when Tick is going to be called, in the engine's time
	rearm  chan struct{} // tickAt is sooner than it was

	mu      sync.Mutex // of what follows, and of writing ports
	running bool
	idle    []*worker              // whose driver was detached
	last    map[uint32]driver.Link // that ports without a driver have followed
	workers int
}

// worker is an engine's worker.
type worker struct {
	*engine.Worker
	r      *Runner
	number int
	sendBy int              // the number of the worker whose packets it forwards
	batch  []*packet.Buffer // to receive
}

// New returns a runner of an engine. Its workers are the engine's for good, so there should be one runner for an engine.
func New(e *engine.Engine, c Config) *Runner {
	if c.Batch <= 0 {
		c.Batch = driver.BatchSize
	}
	r := &Runner{e: e, config: c, start: time.Now(), rearm: make(chan struct{}, 1), last: map[uint32]driver.Link{}}
	r.ports.Store(&[]*binding{})
	r.lanes.Store(&[]*lane{})
	r.poller = newPoller(c)
	r.ticker = r.newWorker()
	e.OnRelease(func() { r.wakeAt(0) })
	return r
}

// Engine returns the engine.
func (r *Runner) Engine() *engine.Engine { return r.e }

// Now returns the engine's time.
func (r *Runner) Now() time.Duration { return r.config.Start + time.Since(r.start) }

// Run forwards packets until ctx is done. When it returns, every packet that a driver has handed over has gone its way, and no
// goroutine is left. Drivers stay attached, and open: Run may be called again.
func (r *Runner) Run(ctx context.Context) error {
	r.mu.Lock()
	if r.running {
		r.mu.Unlock()
		return ErrRunning
	}
	r.running = true
	for _, b := range *r.ports.Load() {
		r.startPort(b)
	}
	r.mu.Unlock()

	r.tick(ctx)

	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = false
	for _, b := range *r.ports.Load() {
		r.stopPort(b)
	}
	return nil
}

// Do calls f with a worker of the engine, for packets of the node's own: [engine.Worker.Send] and its like. Calls take turns. f
// must not call the runner.
func (r *Runner) Do(f func(w *engine.Worker, now time.Duration)) {
	r.own.Lock()
	defer r.own.Unlock()
	f(r.ticker.Worker, r.Now())
	r.soon()
}

// Send sends a packet of the node's own; see [engine.Worker.Send].
func (r *Runner) Send(b *packet.Buffer, s engine.Send) (err error) {
	r.Do(func(w *engine.Worker, now time.Duration) { err = w.Send(b, s, now) })
	return err
}

// Attach adds a port to the engine and makes a driver its other side. What p leaves open follows the driver, also when that
// changes: name, MAC address, MTU, offloads; Raw always does. Without any MAC address it gets a random one. The driver stays the caller's to close, after Detach.
func (r *Runner) Attach(d driver.Driver, p engine.Port) (uint32, error) {
	l := d.Link()
	up := p.Up
	p.Raw, p.Up = l.Raw, false // up once the driver is there
	if p.Name == "" {
		p.Name = l.Name
	}
	if p.MTU == 0 {
		p.MTU = l.MTU
	}
	if p.MAC.IsZero() && !l.Raw {
		p.MAC = l.MAC
	}
	if p.MAC.IsZero() && !l.Raw {
		p.MAC = randomMAC()
	}
	if p.Offloads == 0 {
		p.Offloads = l.Offloads
	}
	port, err := r.e.AddPort(p)
	if err != nil {
		return 0, err
	}
	if err := r.Bind(port, d); err != nil {
		return 0, errors.Join(err, r.e.DeleteLink(p.Name))
	}
	if up {
		if err := r.e.SetUp(p.Name); err != nil {
			return port, err
		}
	}
	return port, nil
}

// randomMAC returns a MAC address of nobody's. The engine would make one of its seed, which other nodes may have as well.
func randomMAC() (m ethernet.MAC) {
	_, _ = rand.Read(m[:]) // never fails
	const group, local = 1, 2
	m[0] = m[0]&^group | local
	return m
}

// Bind is Attach for a port that the engine has already.
func (r *Runner) Bind(port uint32, d driver.Driver) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, ok := r.e.Link(r.e.Name(port))
	switch l := d.Link(); {
	case !ok || info.Kind != engine.KindPort:
		return fmt.Errorf("%w: %d", ErrNoPort, port)
	case info.Raw != l.Raw:
		return fmt.Errorf("%w: %s and %s", ErrRaw, info.Name, l.Name)
	case r.bound(port) != nil:
		return fmt.Errorf("%w: %s", ErrAttached, info.Name)
	}
	b := newBinding(r, port, d)
	b.last = r.last[port]
	ports := slices.Clone(*r.ports.Load())
	for uint32(len(ports)) <= port {
		ports = append(ports, nil)
	}
	ports[port] = b
	r.ports.Store(&ports)
	b.follow()
	if r.running {
		r.startPort(b)
	}
	return nil
}

// Detach takes the driver from a port, and returns it; what it has handed over goes its way before. The port stays, without a
// carrier.
func (r *Runner) Detach(port uint32) (driver.Driver, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bound(port)
	if b == nil {
		return nil, fmt.Errorf("%w: %d", ErrDetached, port)
	}
	r.stopPort(b)
	ports := slices.Clone(*r.ports.Load())
	ports[port] = nil
	r.ports.Store(&ports)
	b.leave()
	r.last[port] = b.last
	if name := r.e.Name(port); name != "" {
		return b.driver, r.e.SetLink(name, engine.LinkChange{Carrier: engine.Set(false)})
	}
	return b.driver, nil
}

// bound returns what is bound to a port, or nil.
func (r *Runner) bound(port uint32) *binding {
	if ports := *r.ports.Load(); port < uint32(len(ports)) {
		return ports[port]
	}
	return nil
}

// newWorker returns a worker, one that is not needed any more if there is one; r.mu is held, or nobody else knows r.
func (r *Runner) newWorker() *worker {
	if n := len(r.idle); n > 0 {
		w := r.idle[n-1]
		r.idle = r.idle[:n-1]
		return w
	}
	w := &worker{r: r, number: r.workers, sendBy: r.workers, batch: make([]*packet.Buffer, r.config.Batch)}
	r.workers++
	w.Worker = r.e.NewWorker(w.output)
	return w
}

// output is the worker's Output: it sends, or drops what has nowhere to go.
func (w *worker) output(port uint32, batch []*packet.Buffer) {
	if b := w.r.bound(port); b != nil && b.send(w.sendBy, batch) {
		return
	}
	if out := w.r.config.Output; out != nil {
		out(port, batch)
		return
	}
	w.r.unbound.Add(uint64(len(batch)))
	packet.FreeBatch(batch)
}

// tick calls Tick whenever it is wanted, until ctx is done.
func (r *Runner) tick(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.rearm:
			timer.Reset(time.Duration(r.tickAt.Load()) - r.Now())
			continue
		case <-timer.C:
		}
		r.own.Lock()
		now := r.Now()
		// Before Tick, so that what comes meanwhile can bring it forward.
		r.tickAt.Store(int64(now + idle))
		next := r.ticker.Tick(now)
		r.own.Unlock()
		r.wakeAt(max(next, now))
		timer.Reset(time.Duration(r.tickAt.Load()) - r.Now())
	}
}

// soon is called after packets, which may have left something to do later.
func (r *Runner) soon() { r.wakeAt(r.Now() + tickEvery) }

// wakeAt lets Tick be called at a time, or before.
func (r *Runner) wakeAt(at time.Duration) {
	for {
		was := r.tickAt.Load()
		if was <= int64(at) {
			return
		}
		if r.tickAt.CompareAndSwap(was, int64(at)) {
			break
		}
	}
	select {
	case r.rearm <- struct{}{}:
	default:
	}
}
