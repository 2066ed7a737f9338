package testnet

// Wires: what they do to frames, and what they remember of them.

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/internal/tcpdump"
)

// Wire joins two ports, or one port and the test.
type Wire struct {
	// Faults is what happens to the frames that are sent from now on.
	Faults Faults

	net    *Net
	random *rand.Rand
	ends   [2]*side // the second is nil if the test holds it
	frames []Frame
	read   int // frames that Take has returned
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

// Frame is a frame as it was put on a wire, before what the wire did to it.
type Frame struct {
	At    time.Duration
	From  string // node and device, as in "pod1/eth0"; "" is the test
	Bytes []byte // an Ethernet frame, or an IPv4 packet if Raw is set
	Raw   bool
	Lost  bool // did not arrive
}

// String describes the frame in a line: see [Brief].
func (f Frame) String() string { return Brief(f.Bytes, f.Raw) }

// Dump returns the frame in the words of tcpdump -e -n -vv, several lines.
func (f Frame) Dump() string {
	walker, err := dissect.New(dissect.Config{})
	if err != nil {
		return err.Error()
	}
	var s dissect.Stack
	walk := walker.Ethernet
	if f.Raw {
		walk = walker.IPv4
	}
	err = walk(&s, f.Bytes)
	return string(tcpdump.AppendFrame(nil, &s, err, len(f.Bytes), tcpdump.Options{Indent: "    "}))
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

// Frames returns all frames that were put on the wire, in both directions and in their order.
func (w *Wire) Frames() []Frame { return w.frames }

// Take returns the frames since the last Take or Expect.
func (w *Wire) Take() []Frame {
	f := w.frames[w.read:]
	w.read = len(w.frames)
	return f
}

// Expect compares the frames since the last Take or Expect with lines in the words of [Brief]. A line may begin with the time of
// the frame: "@5.1s ". Words that Net.Let knows stand for others; node/device is the MAC address that the device had when Node.Add
// made it. Empty lines and white space around lines do not count.
func (w *Wire) Expect(want string) {
	w.net.tb.Helper()
	var wants, gots []string
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			wants = append(wants, w.net.expand(line))
		}
	}
	for i, f := range w.Take() {
		line := f.String()
		if i < len(wants) && strings.HasPrefix(wants[i], "@") {
			line = "@" + f.At.String() + " " + line
		}
		gots = append(gots, line)
	}
	if got, want := strings.Join(gots, "\n"), strings.Join(wants, "\n"); got != want {
		w.net.tb.Errorf("on the wire %s, at %v:\n%s\nwant:\n%s", w, w.net.now, w.net.diff(gots, wants), want)
	}
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

// Let makes name stand for another word in what Expect is given.
func (n *Net) Let(name, word string) { n.names[name] = word }

// expand replaces the words of a line that stand for others.
func (n *Net) expand(line string) string {
	words := strings.Split(line, " ")
	for i, word := range words {
		if to, ok := n.names[word]; ok {
			words[i] = to
		}
	}
	return strings.Join(words, " ")
}

// diff returns the lines that there were, those that were not wanted marked.
func (n *Net) diff(gots, wants []string) string {
	var b strings.Builder
	for i, got := range gots {
		mark := "  "
		if i >= len(wants) || wants[i] != got {
			mark = "! "
		}
		b.WriteString(mark + got + "\n")
	}
	if len(gots) == 0 {
		b.WriteString("  (nothing)\n")
	}
	return b.String()
}
