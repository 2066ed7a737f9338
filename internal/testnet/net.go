// Package testnet is a network of engines in one process, for tests: nodes, wires between their ports, and virtual time.
//
//	net := testnet.New(t, 1)
//	a, b := net.Node("a"), net.Node("b")
//	a.Add(engine.Port{Link: testnet.Link("eth0", "02:00:00:00:00:0a")}, "10.0.0.1/24")
//	b.Add(engine.Port{Link: testnet.Link("eth0", "02:00:00:00:00:0b")}, "10.0.0.2/24")
//	wire := net.Wire(a, "eth0", b, "eth0")
//	require.True(t, a.Ping("10.0.0.2").OK)
//	wire.Expect(`
//		a/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.0.0.2 tell 10.0.0.1
//		b/eth0 > a/eth0 arp 42: 10.0.0.2 is-at b/eth0
//		…`)
//
// Nothing in it takes real time or depends on anything but the calls and the seed. One goroutine, the test's, does everything:
// the loop of [Net.Run] hands frames over in the order in which they arrive, lets engines tick when they want to, and moves the
// clock on when neither is left to do. What a test sends goes out at once; what follows from it happens in Run, RunFor, Settle
// or Ping.
//
// After each test the network checks that no engine lost a packet or a buffer, see [Net.Check].
package testnet

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/packet"
)

// Limits of the loop.
const (
	maxBurst   = 32      // frames given to Process at once
	maxInstant = 100_000 // steps without the clock moving on, after which the network is taken to run in circles
)

// Net is a network.
type Net struct {
	tb    testing.TB
	seed  uint64
	now   time.Duration
	nodes []*Node
	wires []*Wire

	queue   arrivals
	serial  uint64 // of the next arrival
	instant int    // steps since the clock moved

	names map[string]string // what Expect writes as another word
}

// New returns an empty network that is checked at the end of the test. Equal seeds and calls have equal results.
func New(tb testing.TB, seed uint64) *Net {
	tb.Helper()
	n := &Net{tb: tb, seed: seed, names: map[string]string{}}
	tb.Cleanup(n.Check)
	return n
}

// Now returns the virtual time, which began at 0.
func (n *Net) Now() time.Duration { return n.now }

// Nodes returns all nodes, in the order of their creation.
func (n *Net) Nodes() []*Node { return n.nodes }

// Wires returns all wires, in the order of their creation.
func (n *Net) Wires() []*Wire { return n.wires }

// Node adds a node with forwarding off, as a host has it.
func (n *Net) Node(name string) *Node {
	n.tb.Helper()
	return n.NodeWith(name, engine.Config{})
}

// Router adds a node with forwarding on.
func (n *Net) Router(name string) *Node {
	n.tb.Helper()
	node := n.Node(name)
	node.E.SetForwarding(true)
	return node
}

// NodeWith adds a node whose engine is made with c. Pool and Seed are filled in if they are zero; Output is the network's, and so
// is Local if it is nil.
func (n *Net) NodeWith(name string, c engine.Config) *Node {
	n.tb.Helper()
	node := &Node{Name: name, net: n, ports: map[uint32]*side{}, listening: map[socket]bool{}}
	if c.Pool == nil {
		c.Pool = n.pool(packet.PoolConfig{})
	}
	if c.Seed == 0 {
		c.Seed = n.seed<<16 + uint64(len(n.nodes)) + 1
	}
	if c.Local == nil {
		c.Local = node.local
	}
	node.Pool = c.Pool
	c.Output = node.output
	e, err := engine.New(c)
	n.must(err)
	node.E = e
	n.nodes = append(n.nodes, node)
	return node
}

func (n *Net) pool(c packet.PoolConfig) *packet.Pool {
	n.tb.Helper()
	p, err := packet.NewPool(c)
	n.must(err)
	return p
}

func (n *Net) must(errs ...error) {
	n.tb.Helper()
	if err := errors.Join(errs...); err != nil {
		n.tb.Fatal(err)
	}
}

// Wire joins two ports by a wire without latency and faults; see Wire.Faults for others. Each port has one wire at most.
func (n *Net) Wire(a *Node, aDev string, b *Node, bDev string) *Wire {
	n.tb.Helper()
	w := n.newWire()
	w.plug(0, a, aDev)
	w.plug(1, b, bDev)
	return w
}

// Tap is a wire whose other end the test holds itself: what the port sends is captured, and Wire.Inject makes it receive.
func (n *Net) Tap(a *Node, dev string) *Wire {
	n.tb.Helper()
	w := n.newWire()
	w.plug(0, a, dev)
	return w
}

func (n *Net) newWire() *Wire {
	w := &Wire{Capture: Capture{net: n}, random: rand.New(rand.NewPCG(n.seed, uint64(len(n.wires))))}
	n.wires = append(n.wires, w)
	return w
}

// At calls f when the time has come, among the arrivals of that moment.
func (n *Net) At(at time.Duration, f func()) { n.push(arrival{at: at, call: f}) }

// Run lets the network live until the given time, what happens at that moment included. A time in the past stands for now. In the
// end every engine ticks, which has nothing to do then but learns what time it is, so that ages in its tables are as of now.
func (n *Net) Run(until time.Duration) {
	n.tb.Helper()
	for n.step(until, false) {
	}
	n.now = max(n.now, until)
	for _, node := range n.nodes {
		node.E.Tick(n.now)
	}
}

// RunFor is Run for some time from now on.
func (n *Net) RunFor(d time.Duration) {
	n.tb.Helper()
	n.Run(n.now + d)
}

// Settle lets all frames arrive that are on wires, and those that are sent in answer, and so on. Timers run meanwhile, but
// nothing waits for one.
func (n *Net) Settle() {
	n.tb.Helper()
	for n.step(engine.Never, true) {
	}
}

// step does one thing, and reports whether there was one to do: an arrival, ticks, or the clock moves on to the next of those. To
// settle, it does not move on for a tick alone.
func (n *Net) step(until time.Duration, settle bool) bool {
	n.tb.Helper()
	if n.instant++; n.instant > maxInstant {
		n.tb.Fatalf("testnet: no rest at %v after %d steps: frames run in circles, or an engine's Next does not move on", n.now, maxInstant)
	}
	if len(n.queue) > 0 && n.queue[0].at <= n.now {
		n.arrive()
		return true
	}
	next, ticked := engine.Never, false
	for _, node := range n.nodes {
		due := node.E.Next()
		if due <= n.now {
			node.E.Tick(n.now)
			ticked = true
		}
		next = min(next, due)
	}
	if ticked {
		return true
	}
	if len(n.queue) > 0 {
		next = min(next, n.queue[0].at)
	} else if settle {
		return false
	}
	if next > until || next == engine.Never {
		return false
	}
	n.now, n.instant = next, 0
	return true
}

// arrive hands over the next arrival, and with it those that come to the same port next and at the same moment.
func (n *Net) arrive() {
	first := heap.Pop(&n.queue).(arrival)
	if first.call != nil {
		first.call()
		return
	}
	burst := [][]byte{first.frame}
	for len(n.queue) > 0 && len(burst) < maxBurst {
		if next := n.queue[0]; next.to != first.to || next.at != first.at {
			break
		}
		burst = append(burst, heap.Pop(&n.queue).(arrival).frame)
	}
	first.to.node.receive(first.to.port, burst)
}

func (n *Net) push(a arrival) {
	a.serial = n.serial
	n.serial++
	heap.Push(&n.queue, a)
}

// Check reports it as an error of the test if packets or buffers of an engine are lost. It runs by itself at the end of the test,
// and may be called at any time between steps.
func (n *Net) Check() {
	n.tb.Helper()
	for _, node := range n.nodes {
		if err := node.check(); err != nil {
			n.tb.Errorf("testnet: seed %d, at %v: %s: %v", n.seed, n.now, node.Name, err)
		}
	}
}

// arrival is a frame that is to arrive, or a call that is to be made.
type arrival struct {
	at     time.Duration
	serial uint64 // arrivals of one moment keep their order
	to     *side
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
	*a = (*a)[:last]
	return x
}

// check returns what does not add up in a node.
func (n *Node) check() error {
	s := n.E.Stats()
	errs := []error{s.Check()}
	for _, c := range []struct {
		what      string
		got, want uint64
	}{
		{"packets given to the engine", s.In, n.given},
		{"frames that left the engine", s.Out, n.left},
		{"buffers of the pool that are out, and packets held", uint64(n.Pool.InUse()), s.Held + uint64(n.Lent)},
	} {
		if c.got != c.want {
			errs = append(errs, fmt.Errorf("%s: %d and %d should be equal", c.what, c.got, c.want))
		}
	}
	return errors.Join(errs...)
}
