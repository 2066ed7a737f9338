package testnet

// Wires, and what they do to frames.

import (
	"strings"

	"github.com/culvert-net/culvert/internal/simnet"
)

// Faults is what a wire does to frames beside carrying them.
type Faults = simnet.Faults

// Wire joins two ports, or one port and the test. What it captures is in the order in which it was put on the wire, in both
// directions, as it was before what the wire did to it.
type Wire struct {
	// Faults is what happens to the frames that are sent from now on.
	Faults Faults

	Capture
	sim  *simnet.Wire
	ends [2]*side // the second is nil if the test holds it
	raw  bool     // carries IPv4 packets without an Ethernet header
}

// side is a port that a wire is plugged into.
type side struct {
	port *simnet.Port
	node *Node
	name string
}

// plug puts an end of the wire into a port.
func (w *Wire) plug(end int, node *Node, dev string) {
	w.net.tb.Helper()
	index := node.E.Index(dev)
	if index == 0 {
		w.net.tb.Fatalf("testnet: %s has no device %q", node.Name, dev)
	}
	if node.Plugged(index) {
		w.net.tb.Fatalf("testnet: %s/%s has a wire already", node.Name, dev)
	}
	link, _ := node.E.Link(dev)
	w.raw = link.Raw
	s := &side{port: w.sim.Plug(end, node.Node, index), node: node, name: node.Name + "/" + dev}
	s.port.Faults, s.port.Sent = &w.Faults, w.captureFrom(s.name)
	w.ends[end] = s
	w.name = "the wire " + w.String()
}

// captureFrom keeps what an end sends; "" is the test.
func (w *Wire) captureFrom(name string) func(frame []byte, lost bool) {
	return func(frame []byte, lost bool) {
		w.frames = append(w.frames, Frame{At: w.net.Now(), From: name, Bytes: frame, Raw: w.raw, Lost: lost})
	}
}

// Unplug takes the wire out of its ports, which may then have others. Frames that are on it are lost.
func (w *Wire) Unplug() {
	for i, s := range w.ends {
		if s != nil {
			s.port.Unplug()
		}
		w.ends[i] = nil
	}
}

// Inject makes the port of a tap receive a frame, of which the wire makes a copy.
func (w *Wire) Inject(frame []byte) {
	w.net.tb.Helper()
	if w.ends[0] == nil || w.ends[1] != nil {
		w.net.tb.Fatal("testnet: Inject is for taps; InjectTo says to which end")
	}
	w.ends[0].port.Inject(frame, w.captureFrom(""))
}

// InjectTo makes node, which the wire leads to, receive a frame.
func (w *Wire) InjectTo(node *Node, frame []byte) {
	w.net.tb.Helper()
	for _, s := range w.ends {
		if s != nil && s.node == node {
			s.port.Inject(frame, w.captureFrom(""))
			return
		}
	}
	w.net.tb.Fatalf("testnet: the wire does not lead to %s", node.Name)
}

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
