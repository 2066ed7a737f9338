package network

// Real time, and nodes with devices of the machine: their engines are run by package runner, a goroutine for each queue of a driver,
// beside the goroutine that the network belongs to. What such a node has for its sockets and taps, and what it sends by the
// network's own wires, waits in the inbox until the network's goroutine comes by. The inbox is bounded: what nobody fetches in time
// is lost, as in the queue of a socket.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/packet"
)

// maxInbox is how many packets wait in the inbox.
const maxInbox = 4096

// maxSettle is how many things are done before a network in real time is left to itself for a moment: frames may run in circles.
const maxSettle = 10_000

// ErrVirtual says that time is virtual: devices of the machine live in real time.
var ErrVirtual = errors.New("network: time is virtual here, where no packet of the machine can come in")

// inbox is what other goroutines have for that of the network.
type inbox struct {
	mu      sync.Mutex
	calls   []func()
	packets int    // of calls
	lost    uint64 // packets that found it full
	wake    chan struct{}
}

// put adds a call. Those about packets are refused when the inbox is full.
func (i *inbox) put(f func(), packet bool) {
	i.mu.Lock()
	if packet {
		i.packets++
	}
	i.calls = append(i.calls, f)
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// room reports whether there is room for a packet, and counts one that is lost if there is none.
func (i *inbox) room() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.packets >= maxInbox {
		i.lost++
		return false
	}
	return true
}

// deliver makes the calls that wait, and reports whether there were any.
func (i *inbox) deliver() bool {
	i.mu.Lock()
	calls := i.calls
	i.calls, i.packets = nil, 0
	i.mu.Unlock()
	for _, f := range calls {
		f()
	}
	return len(calls) > 0
}

// RealTime reports whether time goes by as outside.
func (n *Network) RealTime() bool { return !n.start.IsZero() }

// Date returns the date and time of day of a moment. Virtual time begins with the year 2001.
func (n *Network) Date(at time.Duration) time.Time {
	if n.RealTime() {
		return n.start.Add(at)
	}
	return time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Add(at)
}

// Later calls f as soon as nobody else is at work in the network. It is for other goroutines, and for callbacks of engines; in
// virtual time that is at once.
func (n *Network) Later(f func()) {
	if !n.RealTime() {
		f()
		return
	}
	n.inbox.put(f, false)
}

// Lost returns how many packets that were for sockets, taps or wires have found the inbox full.
func (n *Network) Lost() uint64 {
	n.inbox.mu.Lock()
	defer n.inbox.mu.Unlock()
	return n.inbox.lost
}

// Await waits in real time until there may be something to do, at most until a time.
func (n *Network) Await(until time.Duration) {
	until = min(until, n.sim.Next())
	var timer <-chan time.Time
	if until < engine.Never {
		t := time.NewTimer(until - n.Now())
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-n.inbox.wake:
	case <-timer:
	}
}

// settleReal does what is due now.
func (n *Network) settleReal() error {
	for range maxSettle {
		if more, err := n.Step(0); err != nil || !more {
			return err
		}
	}
	return nil
}

// live is what runs a node's engine in real time.
type live struct {
	r    *runner.Runner
	stop context.CancelFunc
	done chan error

	mu     sync.Mutex
	errors map[uint32]string // of drivers, the last one told, by port
}

// AddDriver adds a device whose other side is a driver, which is the node's to close from then on, even if there is an error: 'ip
// link add NAME type KIND'. What l leaves open follows the driver. From its first driver on a node is run by as many goroutines as
// there are queues.
func (n *Node) AddDriver(l engine.Link, kind string, d driver.Driver) error {
	if !n.net.RealTime() {
		return errors.Join(ErrVirtual, d.Close())
	}
	n.goLive()
	port, err := n.live.r.Attach(d, engine.Port{Link: l})
	if err != nil {
		return errors.Join(err, d.Close())
	}
	n.devices[l.Name] = &Device{Name: l.Name, Node: n, Kind: kind, Driver: d, index: port}
	return n.retap()
}

// goLive starts the node's runner, unless it has one.
func (n *Node) goLive() {
	if n.live != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	n.live = &live{stop: stop, done: make(chan error, 1), errors: map[uint32]string{}}
	n.live.r = runner.New(n.E, runner.Config{Start: n.net.Now(), Output: n.handOver, OnError: n.driverFailed})
	n.sim.Do = n.live.r.Do
	go func() { n.live.done <- n.live.r.Run(ctx) }()
}

// handOver is the runner's Output for ports without a driver: the ends of the network's own wires.
func (n *Node) handOver(port uint32, batch []*packet.Buffer) {
	for _, b := range batch {
		if frame := b.Bytes(); n.net.inbox.room() {
			frame = bytes.Clone(frame)
			n.net.inbox.put(func() { n.sim.Leave(port, frame) }, true)
		}
	}
	packet.FreeBatch(batch)
}

// driverFailed tells of a driver's error, unless it is the same as before.
func (n *Node) driverFailed(port uint32, err error) {
	if n.net.onDriver == nil {
		return
	}
	n.live.mu.Lock()
	same := n.live.errors[port] == err.Error()
	n.live.errors[port] = err.Error()
	n.live.mu.Unlock()
	if !same {
		n.net.Later(func() { n.net.onDriver(n, n.E.Name(port), err) })
	}
}

// Drivers returns what can be said of the node's devices that have drivers, by index.
func (n *Node) Drivers() []runner.PortStats {
	if n.live == nil {
		return nil
	}
	return n.live.r.Ports()
}

// unplugDevice takes a device's driver away, when it has sent what it has taken.
func (n *Node) unplugDevice(d *Device) error {
	if d.Driver == nil {
		return nil
	}
	_, err := n.live.r.Detach(d.index)
	return errors.Join(err, d.Driver.Close())
}

// unplug ends the node's runner, and closes its drivers.
func (n *Node) unplug() error {
	if n.live == nil {
		return nil
	}
	n.live.stop()
	errs := []error{<-n.live.done}
	for _, s := range n.live.r.Ports() {
		if _, err := n.live.r.Detach(s.Port); err != nil {
			errs = append(errs, err)
		}
		if err := s.Driver.Close(); err != nil {
			errs = append(errs, fmt.Errorf("network: %s: %s: %w", n.Name, s.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Close ends what runs beside the network's goroutine, and closes all drivers. A network in virtual time has neither.
func (n *Network) Close() error {
	var errs []error
	for _, node := range n.nodes {
		errs = append(errs, node.unplug())
	}
	n.inbox.deliver()
	return errors.Join(errs...)
}

// later calls f, which is about a packet, when the network's goroutine comes by: at once if it is the only one that runs the node's
// engine.
func (n *Node) later(f func()) {
	if n.live == nil {
		f()
		return
	}
	n.net.inbox.put(f, true)
}

// room reports whether later takes something.
func (n *Node) room() bool { return n.live == nil || n.net.inbox.room() }
