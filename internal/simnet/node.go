package simnet

// Nodes: an engine, and the ports that wires are plugged into.

import (
	"errors"
	"fmt"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/packet"
)

// Node is an engine in a network.
type Node struct {
	E    *engine.Engine
	Pool *packet.Pool

	// Do lends the worker that the network is to use for the node, if others run its engine too; they also tick. nil: the engine is
	// the network's alone.
	Do func(f func(w *engine.Worker, now time.Duration))

	// Overruns are frames that the pool had no buffer for; Unplugged those that left by a port without a wire.
	Overruns, Unplugged int

	net   *Net
	ports map[uint32]*Port
	given uint64 // packets given to the engine
	left  uint64 // frames that it gave to Output
	gone  bool
}

// sender is what an engine and a worker of it have in common.
type sender interface {
	Process(port uint32, batch []*packet.Buffer, now time.Duration)
	Send(b *packet.Buffer, s engine.Send, now time.Duration) error
	SendPacket(b *packet.Buffer, now time.Duration) error
	SendFrame(device uint32, b *packet.Buffer, now time.Duration) error
}

// do calls f with whoever the network may send by.
func (n *Node) do(f func(s sender, now time.Duration)) {
	if n.Do != nil {
		n.Do(func(w *engine.Worker, now time.Duration) { f(w, now) })
		return
	}
	f(n.E, n.net.now)
}

// tick lets the engine do what is due, if that is for the network to do.
func (n *Node) tick() {
	if n.Do == nil {
		n.E.Tick(n.net.now)
	}
}

// next returns when tick has something to do.
func (n *Node) next() time.Duration {
	if n.Do != nil {
		return engine.Never
	}
	return n.E.Next()
}

// Leave puts a frame on a port's wire, for an engine that others run too.
func (n *Node) Leave(port uint32, frame []byte) {
	if p := n.ports[port]; p != nil {
		p.Put(frame)
	} else {
		n.Unplugged++
	}
}

// output puts frames on the port's wire.
func (n *Node) output(index uint32, batch []*packet.Buffer) {
	for _, b := range batch {
		n.left++
		n.Leave(index, b.Bytes())
		b.Free()
	}
}

// receive gives frames to the engine.
func (n *Node) receive(port uint32, frames [][]byte) {
	if n.gone {
		return
	}
	batch := make([]*packet.Buffer, 0, len(frames))
	for _, frame := range frames {
		b := n.buffer(frame)
		if b == nil {
			n.Overruns++
			continue
		}
		batch = append(batch, b)
	}
	n.given += uint64(len(batch))
	n.do(func(s sender, now time.Duration) { s.Process(port, batch, now) })
}

// buffer returns a buffer that holds a copy of b, or nil if the pool is empty. What does not fit a buffer of the pool gets one of
// its own.
func (n *Node) buffer(b []byte) *packet.Buffer {
	buf := n.Pool.Get()
	if buf == nil {
		return nil
	}
	if err := buf.SetBytes(b); err != nil {
		buf.Free()
		return packet.Of(b)
	}
	return buf
}

// Send sends a packet of the node's own with this payload: engine.Send.
func (n *Node) Send(s engine.Send, payload []byte) (err error) {
	b := n.buffer(payload)
	if b == nil {
		return engine.ErrNoRoom
	}
	n.given++
	n.do(func(w sender, now time.Duration) { err = w.Send(b, s, now) })
	return err
}

// SendPacket sends a whole IPv4 packet of the node's own.
func (n *Node) SendPacket(p []byte) (err error) {
	b := n.buffer(p)
	if b == nil {
		return engine.ErrNoRoom
	}
	n.given++
	n.do(func(w sender, now time.Duration) { err = w.SendPacket(b, now) })
	return err
}

// SendFrame sends a whole frame by a device: engine.SendFrame.
func (n *Node) SendFrame(device uint32, frame []byte) (err error) {
	b := n.buffer(frame)
	if b == nil {
		return engine.ErrNoRoom
	}
	n.given++
	n.do(func(w sender, now time.Duration) { err = w.SendFrame(device, b, now) })
	return err
}

// Receive makes a port receive a frame at once.
func (n *Node) Receive(port uint32, frame []byte) { n.receive(port, [][]byte{frame}) }

// Check returns what does not add up in the node's count of packets.
func (n *Node) Check() error {
	s := n.E.Stats()
	errs := []error{s.Check()}
	if n.Do != nil {
		return errors.Join(errs...)
	}
	for _, c := range []struct {
		what      string
		got, want uint64
	}{
		{"packets given to the engine", s.In, n.given},
		{"frames that left the engine", s.Out, n.left},
	} {
		if c.got != c.want {
			errs = append(errs, fmt.Errorf("%s: %d and %d should be equal", c.what, c.got, c.want))
		}
	}
	return errors.Join(errs...)
}

// Held returns how many buffers the node's engine holds.
func (n *Node) Held() uint64 { return n.E.Stats().Held }

// Now returns the network's time.
func (n *Node) Now() time.Duration { return n.net.Now() }
