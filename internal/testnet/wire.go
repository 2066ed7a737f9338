package testnet

// Wires, and what they do to frames.

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"time"
)

// Wire joins two ports, or one port and the test. What it captures is in the order in which it was put on the wire, in both
// directions.
type Wire struct {
	// Faults is what happens to the frames that are sent from now on.
	Faults Faults

	Capture
	random *rand.Rand
	ends   [2]*side // the second is nil if the test holds it
}

// Faults is what a wire does to frames beside carrying them. The parts are probabilities, 0 to 1, and every frame meets each of
// them by the wire's own random numbers. The zero Faults are none.
type Faults struct {
	Latency time.Duration // of every frame
	Jitter  time.Duration // up to that much more, so that frames overtake each other

	Loss      float64 // frames that never arrive
	Duplicate float64 // frames that arrive twice
	Corrupt   float64 // frames with one bit flipped

	// Reorder are frames that arrive late, behind others: Latency and then ReorderBy, 0: 1 ms.
	Reorder   float64
	ReorderBy time.Duration
}

// side is a port that a wire is plugged into.
type side struct {
	wire *Wire
	node *Node
	port uint32
	name string
	raw  bool
}

// plug puts an end of the wire into a port.
func (w *Wire) plug(end int, node *Node, dev string) {
	w.net.tb.Helper()
	port := node.E.Index(dev)
	if port == 0 {
		w.net.tb.Fatalf("testnet: %s has no device %q", node.Name, dev)
	}
	if node.ports[port] != nil {
		w.net.tb.Fatalf("testnet: %s/%s has a wire already", node.Name, dev)
	}
	link, _ := node.E.Link(dev)
	s := &side{wire: w, node: node, port: port, name: node.Name + "/" + dev, raw: link.Raw}
	node.ports[port] = s
	w.ends[end] = s
	w.name = "the wire " + w.String()
}

// Unplug takes the wire out of its ports, which may then have others. Frames that are on it still arrive.
func (w *Wire) Unplug() {
	for i, s := range w.ends {
		if s != nil {
			delete(s.node.ports, s.port)
		}
		w.ends[i] = nil
	}
}

// other returns the end that is not s.
func (w *Wire) other(s *side) *side {
	if w.ends[0] == s {
		return w.ends[1]
	}
	return w.ends[0]
}

// Inject makes the port of a tap receive a frame, of which the wire makes a copy.
func (w *Wire) Inject(frame []byte) {
	w.net.tb.Helper()
	if w.ends[0] == nil || w.ends[1] != nil {
		w.net.tb.Fatal("testnet: Inject is for taps; InjectTo says to which end")
	}
	w.put(w.ends[0], "", frame)
}

// InjectTo makes node, which the wire leads to, receive a frame.
func (w *Wire) InjectTo(node *Node, frame []byte) {
	w.net.tb.Helper()
	for _, s := range w.ends {
		if s != nil && s.node == node {
			w.put(s, "", frame)
			return
		}
	}
	w.net.tb.Fatalf("testnet: the wire does not lead to %s", node.Name)
}

// put puts a copy of a frame on the wire to an end, nil for the test's.
func (w *Wire) put(to *side, from string, frame []byte) {
	raw := to != nil && to.raw || to == nil && w.ends[0] != nil && w.ends[0].raw
	f := Frame{At: w.net.now, From: from, Bytes: bytes.Clone(frame), Raw: raw}
	f.Lost = w.hit(w.Faults.Loss)
	w.frames = append(w.frames, f)
	if f.Lost || to == nil {
		return
	}
	arriving := f.Bytes
	if w.hit(w.Faults.Corrupt) && len(frame) > 0 {
		arriving = bytes.Clone(frame)
		bit := w.random.IntN(8 * len(arriving))
		arriving[bit/8] ^= 1 << (bit % 8)
	}
	w.net.push(arrival{at: w.arrival(), to: to, frame: arriving})
	if w.hit(w.Faults.Duplicate) {
		w.net.push(arrival{at: w.arrival(), to: to, frame: arriving})
	}
}

// arrival returns when a frame arrives that is sent now.
func (w *Wire) arrival() time.Duration {
	at := w.net.now + w.Faults.Latency
	if w.Faults.Jitter > 0 {
		at += time.Duration(w.random.Int64N(int64(w.Faults.Jitter)))
	}
	if w.hit(w.Faults.Reorder) {
		late := w.Faults.ReorderBy
		if late == 0 {
			late = time.Millisecond
		}
		at += late
	}
	return at
}

// hit decides whether something happens that has a probability. A wire without faults takes no random numbers.
func (w *Wire) hit(p float64) bool { return p > 0 && w.random.Float64() < p }

// String names the wire by its ends.
func (w *Wire) String() string {
	var names []string
	for _, s := range w.ends {
		name := "test"
		if s != nil {
			name = s.name
		}
		names = append(names, name)
	}
	return strings.Join(names, " - ")
}
