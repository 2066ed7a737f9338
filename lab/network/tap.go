package network

// Taps: what tcpdump sees. An engine has one tap a device; a node hands what it sees to as many as want it.

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
)

// Any stands for all devices of a node, where a tap is asked for.
const Any = "any"

// Frame is what a tap sees: a frame that crosses a device.
type Frame struct {
	At    time.Duration
	Node  *Node
	Dev   string
	Index uint32
	Out   bool   // the device sends it
	Raw   bool   // an IPv4 packet without Ethernet header; not those of lo, which have one of zeros, as on Linux
	Bytes []byte // the tap's during the call only
}

// TapFunc is told of frames. It must not change the network; it may wake who does.
type TapFunc func(Frame)

// Tap is somebody who looks at a device. Close ends that.
type Tap struct {
	node  *Node
	dev   string // or Any
	f     TapFunc
	match func(Frame) bool // nil: all
}

// deviceTap is a device that an engine's tap is on.
type deviceTap struct {
	node     *Node
	name     string
	raw      bool
	loopback []byte // lo's: the header that its packets are shown with

	lookers atomic.Pointer[[]*Tap] // who looks at it, for whoever runs the engine
}

// Tap lets f see what crosses a device from now on, in both directions; [Any] is all devices, those to come included.
func (n *Node) Tap(dev string, f TapFunc) (*Tap, error) { return n.TapMatching(dev, nil, f) }

// TapMatching is Tap for those frames alone that match takes. In real time match is asked by whoever runs the engine, at any time:
// so that what nobody wants does not fill the queue to the network's goroutine. f may get others, too.
func (n *Node) TapMatching(dev string, match func(Frame) bool, f TapFunc) (*Tap, error) {
	if dev != Any {
		if _, ok := n.E.Link(dev); !ok {
			return nil, engine.ErrNotFound
		}
	}
	t := &Tap{node: n, dev: dev, f: f, match: match}
	n.listeners = append(n.listeners, t)
	return t, n.retap()
}

// Close ends the tap.
func (t *Tap) Close() error {
	t.node.listeners = slices.DeleteFunc(t.node.listeners, func(other *Tap) bool { return other == t })
	return t.node.retap()
}

// retap puts the engine's taps on the devices that somebody wants to see, and takes them from others. To be called when devices
// or listeners have come or gone; a node that nobody looks at costs nothing.
func (n *Node) retap() error {
	if n.net.watch == nil && len(n.listeners) == 0 && len(n.taps) == 0 {
		return nil
	}
	for _, t := range n.taps {
		t.update()
	}
	for _, l := range n.E.Links() {
		wanted := n.net.watch != nil || slices.ContainsFunc(n.listeners, func(t *Tap) bool { return t.dev == Any || t.dev == l.Name })
		switch tapped := n.taps[l.Name]; {
		case wanted && tapped == nil:
			t := &deviceTap{node: n, name: l.Name, raw: l.Raw || l.Kind == engine.KindIPIP}
			if l.Kind == engine.KindLoopback {
				t.raw, t.loopback = false, make([]byte, ethernet.HeaderLen)
				binary.BigEndian.PutUint16(t.loopback[ethernet.HeaderLen-2:], ethernet.TypeIPv4)
			}
			n.taps[l.Name] = t
			t.update()
			if err := n.E.Tap(l.Name, t.see); err != nil {
				return err
			}
		case !wanted && tapped != nil:
			delete(n.taps, l.Name)
			if err := n.E.Tap(l.Name, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// update takes note of who looks at the device.
func (t *deviceTap) update() {
	var lookers []*Tap
	for _, l := range t.node.listeners {
		if l.dev == Any || l.dev == t.name {
			lookers = append(lookers, l)
		}
	}
	t.lookers.Store(&lookers)
}

// wanted reports whether somebody looks at a frame.
func (t *deviceTap) wanted(f Frame) bool {
	return t.node.net.watch != nil || slices.ContainsFunc(*t.lookers.Load(), func(l *Tap) bool { return l.match == nil || l.match(f) })
}

// Retap must be called when a device was added or removed by the engine's own methods.
func (n *Node) Retap() error {
	for name := range n.taps {
		if n.E.Index(name) == 0 {
			n.dropTaps(name)
		}
	}
	return n.retap()
}

// dropTaps forgets the taps of a device that is gone.
func (n *Node) dropTaps(name string) {
	delete(n.taps, name)
	n.listeners = slices.DeleteFunc(n.listeners, func(t *Tap) bool { return t.dev == name })
}

// see is the engine's tap.
func (t *deviceTap) see(index uint32, out bool, packet []byte, now time.Duration) {
	switch {
	case t.node.live == nil:
		t.seen(index, out, packet, now)
	case t.wanted(t.frame(index, out, packet, now)) && t.node.room():
		packet = bytes.Clone(packet)
		t.node.later(func() { t.seen(index, out, packet, now) })
	}
}

// frame returns what those who look are shown of a packet.
func (t *deviceTap) frame(index uint32, out bool, packet []byte, now time.Duration) Frame {
	if t.loopback != nil {
		packet = slices.Concat(t.loopback, packet)
	}
	return Frame{At: now, Node: t.node, Dev: t.node.E.Name(index), Index: index, Out: out, Raw: t.raw, Bytes: packet}
}

// seen shows a packet. What a device with faults sends is shown when it leaves: see Device.left.
func (t *deviceTap) seen(index uint32, out bool, packet []byte, now time.Duration) {
	if d := t.node.devices[t.name]; out && d != nil && d.Faults() != nil {
		return
	}
	t.show(index, out, packet, now)
}

// show tells all who look at the device.
func (t *deviceTap) show(index uint32, out bool, packet []byte, now time.Duration) {
	if t.loopback != nil {
		if out { // of lo's packets libpcap shows those that it receives (pcap-linux.c, linux_check_direction)
			return
		}
	}
	f := t.frame(index, out, packet, now)
	if t.node.net.watch != nil {
		t.node.net.watch(f)
	}
	for _, l := range t.node.listeners {
		if l.dev == Any || l.dev == t.name {
			l.f(f)
		}
	}
}
