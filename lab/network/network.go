// Package network is the network that a lab's scripts build: nodes, each an engine with a small host on top, the devices that
// need a network around the engine (the ends of veth pairs, dummies), and virtual time.
//
// What an engine can do by itself is done by its own methods: Node.E is the engine, and its API is what 'ip', 'bridge' and
// 'sysctl' are made of. The methods of Node are for what concerns more than one engine: AddVeth, AddDummy, SetLink, MoveLink,
// DeleteLink and Rename must be used instead of the engine's, for they keep wires and carriers right.
//
// All of it belongs to one goroutine at a time, and depends on nothing but the calls and the seed.
package network

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/internal/simnet"
	"github.com/culvert-net/culvert/packet"
)

// Default is the name of the default namespace's node.
const Default = "default"

// Buffers of the pool that all nodes share. One holds a jumbo frame in a tunnel; larger packets get memory of their own.
const (
	poolBuffers = 8192
	poolSize    = 10 << 10 // bytes
)

// maxWaiting is how many packets of a node may wait for neighbours, and for FDB entries. Linux has no such limit; a broadcast to
// the 999 remotes of a VXLAN device must be within it.
const maxWaiting = 2048

// Config is how a network is to be. The zero Config is ready.
type Config struct {
	// Seed decides everything that is random: MAC addresses that were not given, faults, identifications.
	Seed uint64

	// RealTime lets time go by as outside, so that nodes can have devices of the machine: see [Node.AddDriver].
	RealTime bool

	// OnDriver is told, in a network in real time, when a device's driver reports another error than before. nil: nobody is.
	OnDriver func(n *Node, dev string, err error)

	// Pool is where all nodes take buffers from; nil: one of its own.
	Pool *packet.Pool
}

// Network is nodes and the wires between them.
type Network struct {
	sim   *simnet.Net
	nodes []*Node
	names map[string]*Node
	watch TapFunc // sees every device of every node; nil: nobody looks

	start    time.Time // of real time; zero: time is virtual
	onDriver func(*Node, string, error)
	inbox    inbox

	echoID     uint16 // the last one given out
	thresholds NeighThresholds
	ipip       bool // the module ipip is loaded: see LoadIPIP
}

// New returns a network with one node, [Default].
func New(c Config) (*Network, error) {
	if c.Pool == nil {
		pool, err := packet.NewPool(packet.PoolConfig{Buffers: poolBuffers, Size: poolSize})
		if err != nil {
			return nil, err
		}
		c.Pool = pool
	}
	n := &Network{sim: simnet.New(c.Seed), names: map[string]*Node{}, onDriver: c.OnDriver, inbox: inbox{wake: make(chan struct{}, 1)}}
	n.sim.Pool = c.Pool
	if c.RealTime {
		n.start = time.Now()
		n.sim.Clock = func() time.Duration { return time.Since(n.start) }
	}
	_, err := n.AddNode(Default)
	if err != nil {
		return nil, err
	}
	return n, n.Default().SetLink("lo", engine.LinkChange{Up: engine.Set(true)})
}

// Now returns the time, which began at 0.
func (n *Network) Now() time.Duration { return n.sim.Now() }

// Seed returns the seed that the network was made with.
func (n *Network) Seed() uint64 { return n.sim.Seed() }

// Nodes returns all nodes, in the order of their creation.
func (n *Network) Nodes() []*Node { return n.nodes }

// Default returns the default namespace's node.
func (n *Network) Default() *Node { return n.nodes[0] }

// Node returns the node of that name, nil if there is none.
func (n *Network) Node(name string) *Node { return n.names[name] }

// AddNode adds a node as 'ip netns add' does: its lo is down. It returns an error that wraps engine.ErrExists if there is one of
// that name.
func (n *Network) AddNode(name string) (*Node, error) {
	if n.names[name] != nil {
		return nil, fmt.Errorf("network: node %q: %w", name, engine.ErrExists)
	}
	node := &Node{
		Name: name, net: n, devices: map[string]*Device{}, attrs: map[string]*Attrs{}, ids: map[*Node]int{}, taps: map[string]*deviceTap{},
		echoIDs: map[uint16]bool{},
	}
	sim, err := n.sim.Add(engine.Config{
		Local: node.local, OnMiss: node.onMiss, OnFDB: node.onFDB, Neighbours: arp.TableConfig{MaxWaiting: maxWaiting}, MaxMissing: maxWaiting,
	})
	if err != nil {
		return nil, err
	}
	node.sim, node.E = sim, sim.E
	if err := node.begin(); err != nil {
		return nil, err
	}
	if err := errors.Join(node.E.FlushAddrs("lo"), node.E.SetLink("lo", engine.LinkChange{Up: engine.Set(false)})); err != nil {
		return nil, err
	}
	n.nodes = append(n.nodes, node)
	n.names[name] = node
	if n.ipip {
		return node, node.addFallback()
	}
	return node, node.retap()
}

// DeleteNode removes a node, its devices and the other ends of its veth pairs: 'ip netns del'.
func (n *Network) DeleteNode(name string) error {
	node := n.names[name]
	if node == nil || node == n.Default() {
		return fmt.Errorf("network: node %q: %w", name, engine.ErrNotFound)
	}
	for _, l := range node.E.Links() {
		if node.devices[l.Name] != nil {
			if err := node.DeleteLink(l.Name); err != nil {
				return err
			}
		}
	}
	if err := node.unplug(); err != nil {
		return err
	}
	for _, other := range n.nodes {
		delete(other.ids, node)
	}
	n.sim.Remove(node.sim)
	delete(n.names, name)
	n.nodes = slices.DeleteFunc(n.nodes, func(other *Node) bool { return other == node })
	return nil
}

// Step does one thing that is due until a time, and reports whether there was one. The error is simnet.ErrCircles. In real time,
// what is due is what is due now.
func (n *Network) Step(until time.Duration) (bool, error) {
	if n.inbox.deliver() {
		return true, nil
	}
	return n.sim.Step(until)
}

// Run lets the network live until a time, what happens at that moment included.
func (n *Network) Run(until time.Duration) error {
	if n.RealTime() {
		return n.settleReal()
	}
	return n.sim.Run(until)
}

// Settle lets all happen that is due now, and that in consequence; a virtual clock does not move on.
func (n *Network) Settle() error {
	if n.RealTime() {
		return n.settleReal()
	}
	return n.sim.Settle()
}

// MoveTo sets the clock to a time at which nothing is due before.
func (n *Network) MoveTo(at time.Duration) { n.sim.MoveTo(at) }

// At calls f when the time has come.
func (n *Network) At(at time.Duration, f func()) { n.sim.At(at, f) }

// Watch lets f see all frames at all devices of all nodes from now on, those to come included; see [Tap] for one device.
func (n *Network) Watch(f TapFunc) error {
	n.watch = f
	var errs []error
	for _, node := range n.nodes {
		errs = append(errs, node.retap())
	}
	return errors.Join(errs...)
}

// Check returns what does not add up: packets or buffers that an engine has lost.
func (n *Network) Check() error {
	var errs []error
	var held uint64
	for _, node := range n.nodes {
		if err := node.sim.Check(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", node.Name, err))
		}
		held += node.sim.Held()
	}
	if got := uint64(n.sim.Pool.InUse()); got > held {
		errs = append(errs, fmt.Errorf("network: %d buffers of the pool are out, but engines hold %d packets", got, held))
	}
	return errors.Join(errs...)
}

// Stats writes a line for each node with packets: what it received, sent, delivered and dropped.
func (n *Network) Stats(w io.Writer) error {
	var errs []error
	for _, node := range n.nodes {
		s := node.E.Stats()
		_, err := fmt.Fprintf(w, "%s: in %d, made %d, out %d, delivered %d, absorbed %d, held %d, dropped %d\n",
			node.Name, s.In, s.Made, s.Out, s.Delivered, s.Absorbed, s.Held, s.Dropped())
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
