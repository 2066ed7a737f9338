package simnet

// Wires, and what they do to frames.

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/culvert-net/culvert/engine"
)

// Faults is what happens to the frames that a port sends, beside being carried. The parts are probabilities, 0 to 1, and every
// frame meets each of them by the wire's own random numbers. The zero Faults are none.
type Faults struct {
	Latency time.Duration // of every frame
	Jitter  time.Duration // up to that much more, so that frames overtake each other

	Loss      float64 // frames that never arrive
	Duplicate float64 // frames that arrive twice
	Corrupt   float64 // frames with one bit flipped

	// Reorder are frames that arrive out of their order: by ReorderBy later than others, or if that is negative at once while
	// others wait for Latency, as netem has it. ReorderBy 0: 1 ms.
	Reorder   float64
	ReorderBy time.Duration

	Rate  int64 // bits in a second; 0: no limit
	Limit int   // frames that may be on their way at once; 0: no limit
}

// Port is where a wire is plugged into a node.
type Port struct {
	// Faults happen to what the port sends; nil: none.
	Faults *Faults

	// Sent is told of each frame when it leaves, before and beside what the faults do to it, with false if it is lost; may be
	// nil. The frame is shared: nobody may change it.
	Sent func(frame []byte, lost bool)

	// Takes is asked of each frame that the other end sends whether the port takes it, before the faults meet it; nil: all are
	// taken.
	Takes func(frame []byte) bool

	// Left is told of each frame when the faults let it go, behind latency and rate; may be nil. The frame is shared.
	Left func(frame []byte)

	wire  *Wire
	node  *Node
	index uint32
	free  time.Duration // when the frames sent so far have left, at Faults.Rate
	away  int           // frames on their way
}

// Wire joins two ports.
type Wire struct {
	net    *Net
	random *rand.Rand
	ends   [2]*Port // nil: nothing is plugged in
}

// NewWire returns a wire that is plugged in nowhere.
func (n *Net) NewWire() *Wire { return &Wire{net: n, random: n.random()} }

// Plug puts an end of the wire, 0 or 1, into a port of a node. The port must be free.
func (w *Wire) Plug(end int, node *Node, index uint32) *Port {
	p := &Port{wire: w, node: node, index: index}
	node.ports[index] = p
	w.ends[end] = p
	return p
}

// Unplug takes the port's end of the wire out of the node. Frames that are on the way to it are lost.
func (p *Port) Unplug() {
	if p.wire == nil {
		return
	}
	delete(p.node.ports, p.index)
	for i, end := range p.wire.ends {
		if end == p {
			p.wire.ends[i] = nil
		}
	}
	p.wire = nil
}

// Plugged reports whether a node has a wire in a port.
func (n *Node) Plugged(index uint32) bool { return n.ports[index] != nil }

// Peer returns the port at the other end, nil if there is none.
func (p *Port) Peer() *Port {
	if p.wire == nil {
		return nil
	}
	if p.wire.ends[0] == p {
		return p.wire.ends[1]
	}
	return p.wire.ends[0]
}

// Put puts a copy of a frame on the wire, as if the port had sent it.
func (p *Port) Put(frame []byte) {
	if p.wire != nil {
		p.send(p.Peer(), frame)
	}
}

// Inject puts a copy of a frame on the wire that leads to the port, with the port's faults: the other end may be missing.
func (p *Port) Inject(frame []byte, sent func(frame []byte, lost bool)) {
	from := &Port{Faults: p.Faults, Sent: sent, wire: p.wire}
	from.send(p, frame)
}

// send does to a frame what happens to those that p sends.
func (p *Port) send(to *Port, frame []byte) {
	w, f := p.wire, p.Faults
	if f == nil {
		f = &Faults{}
	}
	frame = bytes.Clone(frame)
	lost := w.hit(f.Loss) || f.Limit > 0 && p.away >= f.Limit
	if p.Sent != nil {
		p.Sent(frame, lost)
	}
	if lost || to == nil || to.Takes != nil && !to.Takes(frame) {
		return
	}
	if w.hit(f.Corrupt) && len(frame) > 0 {
		frame = bytes.Clone(frame)
		bit := w.random.IntN(8 * len(frame))
		frame[bit/8] ^= 1 << (bit % 8)
	}
	p.carry(to, frame, f)
	if w.hit(f.Duplicate) {
		p.carry(to, frame, f)
	}
}

// carry makes a frame arrive when it is to.
func (p *Port) carry(to *Port, frame []byte, f *Faults) {
	at := p.arrival(len(frame), f)
	if left := p.Left; left != nil { // who listened when the frame was sent
		p.wire.net.At(at, func() { left(frame) })
	}
	p.wire.net.push(arrival{at: at, to: to, frame: frame})
	if f.Limit > 0 {
		p.away++
		p.wire.net.At(at, func() { p.away-- })
	}
}

// arrival returns when a frame of so many bytes arrives that is sent now.
func (p *Port) arrival(size int, f *Faults) time.Duration {
	w := p.wire
	at := w.net.now
	late := f.Latency
	if f.Jitter > 0 {
		late += time.Duration(w.random.Int64N(int64(f.Jitter)))
	}
	if w.hit(f.Reorder) {
		switch {
		case f.ReorderBy < 0:
			late = 0
		case f.ReorderBy == 0:
			late += time.Millisecond
		default:
			late += f.ReorderBy
		}
	}
	if f.Rate > 0 {
		p.free = max(p.free, at) + time.Duration(int64(size)*8*int64(time.Second)/f.Rate)
		at = p.free
	}
	return min(at+late, engine.Never-1)
}

// hit decides whether something happens that has a probability. A wire without faults takes no random numbers.
func (w *Wire) hit(p float64) bool { return p > 0 && w.random.Float64() < p }

// Move plugs the port's end of the wire into another node, and returns the port that it is there. Frames on the way to the old
// one are lost.
func (p *Port) Move(to *Node, index uint32) *Port {
	w := p.wire
	end := 0
	if w.ends[1] == p {
		end = 1
	}
	p.Unplug()
	moved := w.Plug(end, to, index)
	moved.Faults, moved.Sent, moved.Takes, moved.Left = p.Faults, p.Sent, p.Takes, p.Left
	return moved
}
