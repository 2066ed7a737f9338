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
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/internal/simnet"
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
	sim   *simnet.Net
	nodes []*Node
	wires []*Wire
	names map[string]string // what Expect writes as another word
}

// New returns an empty network that is checked at the end of the test. Equal seeds and calls have equal results.
func New(tb testing.TB, seed uint64) *Net {
	tb.Helper()
	n := &Net{tb: tb, seed: seed, sim: simnet.New(seed), names: map[string]string{}}
	n.sim.Burst, n.sim.MaxInstant = maxBurst, maxInstant
	tb.Cleanup(n.Check)
	return n
}

// Now returns the virtual time, which began at 0.
func (n *Net) Now() time.Duration { return n.sim.Now() }

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
	node := &Node{Name: name, net: n, listening: map[socket]bool{}}
	if c.Pool == nil {
		c.Pool = n.pool(packet.PoolConfig{})
	}
	if c.Local == nil {
		c.Local = node.local
	}
	sim, err := n.sim.Add(c)
	n.must(err)
	node.Node = sim
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
	w := &Wire{Capture: Capture{net: n}, sim: n.sim.NewWire()}
	n.wires = append(n.wires, w)
	return w
}

// At calls f when the time has come, among the arrivals of that moment.
func (n *Net) At(at time.Duration, f func()) { n.sim.At(at, f) }

// Run lets the network live until the given time, what happens at that moment included. A time in the past stands for now. In the
// end every engine ticks, which has nothing to do then but learns what time it is, so that ages in its tables are as of now.
func (n *Net) Run(until time.Duration) {
	n.tb.Helper()
	n.must(n.sim.Run(until))
}

// RunFor is Run for some time from now on.
func (n *Net) RunFor(d time.Duration) {
	n.tb.Helper()
	n.Run(n.Now() + d)
}

// Settle lets all frames arrive that are on wires, and those that are sent in answer, and so on. Timers run meanwhile, but
// nothing waits for one.
func (n *Net) Settle() {
	n.tb.Helper()
	for more := true; more; {
		var err error
		more, err = n.sim.StepFrames()
		n.must(err)
	}
}

// step does one thing that is due until a time, and reports whether there was one to do.
func (n *Net) step(until time.Duration) bool {
	n.tb.Helper()
	more, err := n.sim.Step(until)
	n.must(err)
	return more
}

// Check reports it as an error of the test if packets or buffers of an engine are lost. It runs by itself at the end of the test,
// and may be called at any time between steps.
func (n *Net) Check() {
	n.tb.Helper()
	for _, node := range n.nodes {
		if err := node.check(); err != nil {
			n.tb.Errorf("testnet: seed %d, at %v: %s: %v", n.seed, n.Now(), node.Name, err)
		}
	}
}

// check returns what does not add up in a node.
func (n *Node) check() error {
	err := n.Check()
	if got, want := uint64(n.Pool.InUse()), n.Held()+uint64(n.Lent); got != want {
		err = errors.Join(err, fmt.Errorf("buffers of the pool that are out, and packets held: %d and %d should be equal", got, want))
	}
	return err
}
