// Package simnet is a network of engines in one process, in virtual time: a loop, ports and the wires between them. What the
// nodes do beside forwarding, and how they are looked at, is for the packages above: testnet for the tests of the core, lab for
// scripts.
//
// One goroutine at a time may use a Net and all that belongs to it. Nothing depends on anything but the calls and the seed.
package simnet

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/packet"
)

// DefaultMaxInstant is MaxInstant of a new Net. A broadcast of each of 1,000 nodes to all others is a tenth of it.
const DefaultMaxInstant = 10_000_000

// ErrCircles is the end of a network that never comes to rest at one moment: frames in a loop of bridges, say.
var ErrCircles = errors.New("simnet: frames run in circles, or an engine's Next does not move on")

// Net is a network.
type Net struct {
	// Pool is what nodes without a pool of their own take buffers from.
	Pool *packet.Pool

	// Burst is how many frames that arrive at once are given to an engine together; 0: one after the other. Larger ones need
	// larger pools, for whatever floods.
	Burst int

	// Clock makes the network one of real time, and says what time it is; nil: time is virtual, and moves on when nothing more is to
	// be done. Set it before the network is used.
	Clock func() time.Duration

	// MaxInstant is after how many steps without the clock moving on the network is taken to run in circles.
	MaxInstant int

	seed    uint64
	now     time.Duration
	nodes   []*Node
	due     fifo     // arrivals of this moment
	queue   arrivals // later ones
	serial  uint64   // of the next arrival
	added   uint64   // nodes so far
	wires   uint64   // made so far
	instant int      // steps since the clock moved
	burst   [][]byte // arrive's
}

// New returns an empty network. Equal seeds and calls have equal results.
func New(seed uint64) *Net { return &Net{seed: seed, MaxInstant: DefaultMaxInstant} }

// Now returns the virtual time, which began at 0, or what the clock says.
func (n *Net) Now() time.Duration {
	if n.Clock != nil {
		return n.Clock()
	}
	return n.now
}

// Seed returns the seed.
func (n *Net) Seed() uint64 { return n.seed }

// Nodes returns all nodes, in the order of their creation.
func (n *Net) Nodes() []*Node { return n.nodes }

// Add adds a node whose engine is made with c. Pool and Seed are filled in if they are zero; Output is the network's.
func (n *Net) Add(c engine.Config) (*Node, error) {
	if c.Pool == nil {
		c.Pool = n.Pool
	}
	n.added++
	if c.Seed == 0 {
		c.Seed = n.seed<<16 + n.added
	}
	node := &Node{Pool: c.Pool, net: n, ports: map[uint32]*Port{}}
	c.Output = node.output
	e, err := engine.New(c)
	if err != nil {
		return nil, err
	}
	node.E = e
	e.Tick(n.Now())
	n.nodes = append(n.nodes, node)
	return node, nil
}

// Remove takes a node out of the network. Frames on their way to it are lost.
func (n *Net) Remove(node *Node) {
	for i, other := range n.nodes {
		if other == node {
			n.nodes = append(n.nodes[:i:i], n.nodes[i+1:]...)
			break
		}
	}
	node.gone = true
}

// At calls f when the time has come, among the arrivals of that moment.
func (n *Net) At(at time.Duration, f func()) { n.push(arrival{at: at, call: f}) }

// Run lets the network live until the given time, what happens at that moment included. A time in the past stands for now. In the
// end every engine ticks, which has nothing to do then but learns what time it is, so that ages in its tables are as of now.
func (n *Net) Run(until time.Duration) error {
	for {
		more, err := n.Step(until)
		if err != nil {
			return err
		}
		if !more {
			n.MoveTo(until)
			return nil
		}
	}
}

// Settle lets all happen that is due now, and that in consequence, without the clock moving on.
func (n *Net) Settle() error { return n.Run(n.now) }

// MoveTo sets the clock, of all engines too, to a time at which nothing is due before. A time in the past stands for now.
func (n *Net) MoveTo(at time.Duration) {
	n.clock(at)
	for _, node := range n.nodes {
		node.tick()
	}
}

// Step does one thing that is due until a time, and reports whether there was one to do: an arrival, ticks, or the clock moves on
// to the next of those. With a clock the time is what that says, and until means nothing.
func (n *Net) Step(until time.Duration) (bool, error) { return n.step(until, true) }

// StepFrames is Step, but the clock does not move on for a tick alone.
func (n *Net) StepFrames() (bool, error) { return n.step(engine.Never, false) }

func (n *Net) step(until time.Duration, timers bool) (bool, error) {
	if n.Clock != nil {
		n.clock(n.Clock())
		until = n.now
	}
	if n.instant++; n.instant > n.MaxInstant {
		return false, fmt.Errorf("%w: no rest at %v after %d steps", ErrCircles, n.now, n.MaxInstant)
	}
	if n.due.len() > 0 {
		n.arrive()
		return true, nil
	}
	next, ticked := engine.Never, false
	for _, node := range n.nodes {
		due := node.next()
		if due <= n.now {
			node.tick()
			ticked = true
		}
		next = min(next, due)
	}
	if ticked {
		return true, nil
	}
	if len(n.queue) > 0 {
		next = min(next, n.queue[0].at)
	} else if !timers {
		return false, nil
	}
	if next > until || next == engine.Never {
		return false, nil
	}
	n.clock(next)
	return true, nil
}

// Next returns when something is to be done, engine.Never if nothing is.
func (n *Net) Next() time.Duration {
	if n.due.len() > 0 {
		return n.now
	}
	next := engine.Never
	for _, node := range n.nodes {
		next = min(next, node.next())
	}
	if len(n.queue) > 0 {
		next = min(next, n.queue[0].at)
	}
	return next
}

// clock moves the clock on, and makes due what arrives until then.
func (n *Net) clock(to time.Duration) {
	if to > n.now {
		n.now, n.instant = to, 0
	}
	for len(n.queue) > 0 && n.queue[0].at <= n.now {
		n.due.push(heap.Pop(&n.queue).(arrival))
	}
}

// arrive hands over the next arrival, and with it those that come to the same port next and at the same moment.
func (n *Net) arrive() {
	first := n.due.pop()
	if first.call != nil {
		first.call()
		return
	}
	burst := append(n.burst[:0], first.frame)
	for n.due.len() > 0 && len(burst) < n.Burst && n.due.first().to == first.to {
		burst = append(burst, n.due.pop().frame)
	}
	n.burst = burst
	if first.to.wire != nil { // else unplugged meanwhile
		first.to.node.receive(first.to.index, burst)
	}
}

func (n *Net) push(a arrival) {
	if a.at <= n.now {
		n.due.push(a)
		return
	}
	a.serial = n.serial
	n.serial++
	heap.Push(&n.queue, a)
}

// random returns a source of random numbers of its own for a wire.
func (n *Net) random() *rand.Rand {
	n.wires++
	return rand.New(rand.NewPCG(n.seed, n.wires-1))
}

// arrival is a frame that is to arrive, or a call that is to be made.
type arrival struct {
	at     time.Duration
	serial uint64 // arrivals of one moment keep their order
	to     *Port
	frame  []byte
	call   func()
}

// arrivals is a heap (container/heap) by time and serial number.
type arrivals []arrival

func (a arrivals) Len() int { return len(a) }

func (a arrivals) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].serial < a[j].serial
}

func (a arrivals) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

func (a *arrivals) Push(x any) { *a = append(*a, x.(arrival)) }

func (a *arrivals) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	(*a)[last] = arrival{}
	*a = (*a)[:last]
	return x
}

// fifo is a queue of arrivals in their order.
type fifo struct {
	all  []arrival
	head int
}

func (f *fifo) len() int { return len(f.all) - f.head }

func (f *fifo) first() *arrival { return &f.all[f.head] }

func (f *fifo) push(a arrival) {
	if f.head > len(f.all)/2 && len(f.all) == cap(f.all) { // rather than growing, use the room of those that are gone
		n := copy(f.all, f.all[f.head:])
		clear(f.all[n:])
		f.all, f.head = f.all[:n], 0
	}
	f.all = append(f.all, a)
}

func (f *fifo) pop() arrival {
	a := f.all[f.head]
	f.all[f.head] = arrival{}
	f.head++
	if f.head == len(f.all) {
		f.all, f.head = f.all[:0], 0
	}
	return a
}
