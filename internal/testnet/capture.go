package testnet

// Captures, of wires and of devices, and how tests compare them with what they expect.

import (
	"bytes"
	"strings"
	"time"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/internal/tcpdump"
)

// Capture is what crossed a wire or a device.
type Capture struct {
	net    *Net
	name   string
	frames []Frame
	read   int // frames that Take has returned
}

// Frame is a captured frame; on a wire, as it was before what the wire did to it.
type Frame struct {
	At    time.Duration
	From  string // node and device that sent it, as in "pod1/eth0"; "" is the test, or for a device what it received
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

// Capture lets the test see what crosses a device from now on, as tcpdump on the node would; also of devices that no wire is
// plugged into, such as bridges and tunnels. Packets of IPIP tunnels have no Ethernet header.
func (n *Node) Capture(dev string) *Capture {
	n.net.tb.Helper()
	info, _ := n.E.Link(dev)
	c := &Capture{net: n.net, name: n.Name + "/" + dev}
	raw := info.Raw || info.Kind == engine.KindIPIP
	n.Do(n.E.Tap(dev, func(_ uint32, out bool, packet []byte, now time.Duration) {
		f := Frame{At: now, Bytes: bytes.Clone(packet), Raw: raw}
		if out {
			f.From = c.name
		}
		c.frames = append(c.frames, f)
	}))
	return c
}

// Frames returns all that was captured.
func (c *Capture) Frames() []Frame { return c.frames }

// Take returns the frames since the last Take or Expect.
func (c *Capture) Take() []Frame {
	f := c.frames[c.read:]
	c.read = len(c.frames)
	return f
}

// Expect compares the frames since the last Take or Expect with lines in the words of [Brief]. A line may begin with the time of
// the frame: "@5.1s ". Words that Net.Let knows stand for others; node/device is the MAC address that the device had when Node.Add
// made it. Empty lines and white space around lines do not count.
func (c *Capture) Expect(want string) {
	c.net.tb.Helper()
	var wants, gots []string
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			wants = append(wants, c.net.expand(line))
		}
	}
	for i, f := range c.Take() {
		line := f.String()
		if i < len(wants) && strings.HasPrefix(wants[i], "@") {
			line = "@" + f.At.String() + " " + line
		}
		gots = append(gots, line)
	}
	if got, want := strings.Join(gots, "\n"), strings.Join(wants, "\n"); got != want {
		c.net.tb.Errorf("on %s, at %v:\n%s\nwant:\n%s", c.name, c.net.Now(), c.net.diff(gots, wants), want)
	}
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
