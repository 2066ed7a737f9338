package runner

// A driver at a port: its goroutines, and how the port follows the driver's link.

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/packet"
)

// binding is a driver at a port.
type binding struct {
	r      *Runner
	port   uint32
	driver driver.Driver
	queues []driver.Queue

	sending sync.RWMutex // held by who sends; leave waits for them
	gone    bool

	lanes   []*lane   // the queues, while it runs
	workers []*worker // of each
	stopped atomic.Bool
	stop    chan struct{}
	all     sync.WaitGroup

	following  sync.Mutex
	last       driver.Link // that the port has followed
	rxErrors   atomic.Uint64
	txErrors   atomic.Uint64
	lastErrors [2]atomic.Pointer[error] // of Receive, of Send
}

func newBinding(r *Runner, port uint32, d driver.Driver) *binding {
	return &binding{r: r, port: port, driver: d, queues: d.Queues()}
}

// startPort starts a binding's goroutines; r.mu is held.
func (r *Runner) startPort(b *binding) {
	if b == nil {
		return
	}
	b.stopped.Store(false)
	b.stop = make(chan struct{})
	for _, q := range b.queues {
		w := r.newWorker()
		b.workers = append(b.workers, w)
		b.lanes = append(b.lanes, &lane{b: b, queue: q, number: w.number, last: -idle})
	}
	lanes := slices.Concat(*r.lanes.Load(), b.lanes)
	r.lanes.Store(&lanes)
	for i, l := range b.lanes {
		b.all.Go(func() { l.run(b.workers[i]) })
	}
	if changed := b.driver.Changed(); changed != nil {
		b.all.Go(func() { b.watch(changed, b.stop) })
	}
}

// stopPort ends a binding's goroutines, after the burst that they have in hand, and waits for that of others which poll its queues;
// r.mu is held.
func (r *Runner) stopPort(b *binding) {
	if b == nil || b.stop == nil {
		return
	}
	b.stopped.Store(true)
	close(b.stop)
	lanes := slices.DeleteFunc(slices.Clone(*r.lanes.Load()), func(l *lane) bool { return l.b == b })
	r.lanes.Store(&lanes)
	for _, q := range b.queues {
		q.Interrupt()
	}
	b.all.Wait()
	for _, l := range b.lanes {
		l.end()
	}
	b.stop = nil
	r.idle = append(r.idle, b.workers...)
	b.workers, b.lanes = nil, nil
}

// tickAfter asks for Tick after packets: when none has come for tickEvery, or they have been coming for so long. To wake the goroutine
// that ticks for each packet would take longer than the packet.
type tickAfter struct {
	r     *Runner
	due   bool
	since time.Duration // of the first packet since Tick was asked for
}

// wait returns how long to wait for packets.
func (t *tickAfter) wait() time.Duration {
	if t.due {
		return tickEvery
	}
	return driver.Forever
}

// received is told whether packets have come.
func (t *tickAfter) received(any bool) {
	switch {
	case any && !t.due:
		t.due, t.since = true, t.r.Now()
	case t.due && t.r.Now()-t.since >= tickEvery:
		t.ask()
	}
}

// ask asks for Tick, if packets have come.
func (t *tickAfter) ask() {
	if t.due {
		t.due = false
		t.r.wakeAt(t.r.Now())
	}
}

// pause waits, or until the binding is stopped.
func (b *binding) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.stop:
	}
}

// failed counts an error of Receive and passes it on.
func (b *binding) failed(err error) {
	b.rxErrors.Add(1)
	b.lastErrors[0].Store(&err)
	b.tell(err)
}

func (b *binding) tell(err error) {
	if f := b.r.config.OnError; f != nil {
		f(b.port, err)
	}
}

// send sends a batch by one of the queues, the same one for each worker. It reports false, and leaves the batch alone, if the
// driver is not the port's any more.
func (b *binding) send(worker int, batch []*packet.Buffer) bool {
	b.sending.RLock()
	defer b.sending.RUnlock()
	if b.gone {
		return false
	}
	if err := b.queues[worker%len(b.queues)].Send(batch); err != nil {
		b.notSent(err)
	}
	return true
}

// notSent counts an error of Send.
func (b *binding) notSent(err error) {
	b.txErrors.Add(1)
	b.lastErrors[1].Store(&err)
}

// leave ends sending, and returns when nobody is at it.
func (b *binding) leave() {
	b.sending.Lock()
	defer b.sending.Unlock()
	b.gone = true
}

// watch lets the port follow the driver's link.
func (b *binding) watch(changed <-chan struct{}, stop <-chan struct{}) {
	for {
		select {
		case <-changed:
			b.follow()
		case <-stop:
			return
		}
	}
}

// follow gives the port the carrier of the driver's link, and its MTU, MAC address and offloads as long as the port's are those
// that the link had before.
func (b *binding) follow() {
	b.following.Lock()
	defer b.following.Unlock()
	l := b.driver.Link()
	name := b.r.e.Name(b.port)
	is, ok := b.r.e.Link(name)
	if !ok {
		return
	}
	c := engine.LinkChange{Carrier: &l.Up}
	if l.MTU != 0 && is.MTU == b.last.MTU && l.MTU != is.MTU {
		c.MTU = &l.MTU
	}
	if !l.MAC.IsZero() && is.MAC == b.last.MAC && l.MAC != is.MAC {
		c.MAC = &l.MAC
	}
	if is.Offloads == b.last.Offloads && l.Offloads != is.Offloads {
		c.Offloads = &l.Offloads
		if !l.Offloads.Has(packet.OffloadTCP4) {
			c.Coalesce = engine.Set(false)
		}
		if !l.Offloads.Has(packet.OffloadUDP4) {
			c.CoalesceUDP = engine.Set(false)
		}
	}
	if err := b.r.e.SetLink(name, c); err != nil {
		b.tell(err)
		return
	}
	b.last = l
}
