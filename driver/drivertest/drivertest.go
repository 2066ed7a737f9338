// Package drivertest tests drivers, and tests their users.
//
// [Run] is the conformance suite that every driver passes: a subtest for each sentence of the contract in package driver. A driver
// comes to it with a [Harness], which makes the driver together with the other end of its wire:
//
//	func TestConformance(t *testing.T) {
//		drivertest.Run(t, drivertest.Harness{
//			New: func(t *testing.T, c drivertest.Config) drivertest.Pair {
//				a, b, err := memory.NewPair(memory.Config{A: memory.End{Pool: c.Pool}})
//				if err != nil {
//					t.Fatal(err)
//				}
//				return drivertest.Pair{Driver: a, Wire: drivertest.Joined(b)}
//			},
//		})
//	}
//
// [Faults] is a driver around another one that loses, doubles, delays and refuses packets by a seed, for those who use drivers.
package drivertest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/packet"
)

// Harness is a kind of driver for [Run]. Zero fields describe an ideal way.
type Harness struct {
	// New returns a new driver and the other end of its wire, with the link up, for each subtest. It ends the test by
	// t.Fatal, or by t.Skip naming what the machine lacks. Run closes Driver and then Wire; what else there is to end goes to
	// t.Cleanup.
	New func(t *testing.T, c Config) Pair

	// Packet returns a packet that the way takes in this direction, with the payload in one piece somewhere in it, and headers
	// that depend on the flow alone. By default it is UDP over IPv4, in Ethernet unless Link says Raw. A driver that carries only
	// some packets, such as those of one protocol, needs its own.
	Packet func(l driver.Link, d Direction, flow int, payload []byte) []byte

	Depth    int           // packets that may be under way at once with none lost; default 64, which is also the least
	Buffer   int           // bytes that a buffer needs behind its headroom; default 2048
	Patience time.Duration // how long to wait for what must happen; default 10 s

	Rewrites  bool // headers may arrive changed: only payloads are compared
	Unordered bool // packets of one flow may overtake each other
	LongOK    bool // packets longer than the MTU can be sent
}

// Config is what a subtest wants of the driver.
type Config struct {
	Pool *packet.Pool // to receive into
}

// Pair is a driver under test, and the other end of its wire.
type Pair struct {
	Driver driver.Driver
	Wire   Wire

	// SetUp and SetMTU change the link, by whatever means; nil skips the tests of that.
	SetUp  func(up bool) error
	SetMTU func(mtu int) error
}

// Wire is the end of a wire that is opposite to the driver under test. One goroutine injects, and one, maybe another, collects. If it
// also has a method Link, as what Joined returns, Inject is given packets with the metadata that Link's Offloads name.
type Wire interface {
	// Inject sends a packet to the driver, and owns the buffer from then on.
	Inject(b *packet.Buffer) error

	// Collect returns the next packet that the driver sent, in a buffer that is the caller's, and waits for it at most as long as
	// wait says; nil without an error if none came. Packets that are not of the suite may be among them.
	Collect(wait time.Duration) (*packet.Buffer, error)

	// Close ends the wire, and gives back what is on it.
	Close() error
}

// Direction says which way a packet goes.
type Direction int

// The directions.
const (
	Outward Direction = iota // sent by the driver under test
	Inward                   // received by it
)

// Joined returns the wire whose other end is a driver, too, which it closes in the end.
func Joined(far driver.Driver) Wire { return &joined{far: far, batch: make([]*packet.Buffer, 1)} }

type joined struct {
	far   driver.Driver
	batch []*packet.Buffer
	turn  int
}

const joinedPoll = time.Millisecond // how long a wire of several queues waits at each

// Inject implements Wire.
func (j *joined) Inject(b *packet.Buffer) error {
	return j.far.Queues()[0].Send([]*packet.Buffer{b})
}

// Collect implements Wire.
func (j *joined) Collect(wait time.Duration) (*packet.Buffer, error) {
	queues := j.far.Queues()
	if len(queues) == 1 {
		return j.receive(queues[0], wait)
	}
	for end := time.Now().Add(wait); ; {
		for range queues {
			j.turn = (j.turn + 1) % len(queues)
			if b, err := j.receive(queues[j.turn], 0); b != nil || err != nil {
				return b, err
			}
		}
		if time.Now().After(end) {
			return nil, nil
		}
		if b, err := j.receive(queues[j.turn], min(wait, joinedPoll)); b != nil || err != nil {
			return b, err
		}
	}
}

func (j *joined) receive(q driver.Queue, wait time.Duration) (*packet.Buffer, error) {
	n, err := q.Receive(j.batch, wait)
	if err != nil || n == 0 {
		return nil, err
	}
	return j.batch[0], nil
}

// Link returns that of the other end.
func (j *joined) Link() driver.Link { return j.far.Link() }

// Close implements Wire.
func (j *joined) Close() error { return j.far.Close() }

// rule is a sentence of the contract, and what checks it.
type rule struct {
	name  string
	check func(*suite)
	setup setup
}

// Run checks that the driver that h makes keeps the contract of package driver, each rule of it in a subtest of its own. Where a
// rule does not apply to the driver, its subtest skips and says why. Run is not for tests that run in parallel with others, since
// it counts goroutines and files.
func Run(t *testing.T, h Harness) {
	if h.New == nil {
		t.Fatal("drivertest: Harness.New is missing")
	}
	if h.Depth != 0 && h.Depth < leastDepth {
		t.Fatalf("drivertest: Harness.Depth is %d: want at least %d, or 0 for that", h.Depth, leastDepth)
	}
	h.Depth = max(h.Depth, leastDepth)
	if h.Buffer == 0 {
		h.Buffer = defaultBuffer
	}
	if h.Patience == 0 {
		h.Patience = defaultPatience
	}
	if h.Packet == nil {
		h.Packet = defaultPacket
	}
	for _, r := range allRules() {
		t.Run(r.name, func(t *testing.T) { check(t, h, r) })
	}
	t.Run(leaksName, func(t *testing.T) { leaks(t, h) })
}

func allRules() []rule {
	return slices.Concat(driverRules, receiveRules, waitRules, sendRules, metadataRules)
}

// check checks one rule on a driver of its own.
func check(t *testing.T, h Harness, r rule) {
	s := newSuite(t, h, r.setup)
	defer s.finish()
	r.check(s)
}

const (
	leastDepth      = 64
	defaultBuffer   = 2048 // bytes
	defaultPatience = 10 * time.Second
)

// String returns the direction in a word.
func (d Direction) String() string {
	switch d {
	case Outward:
		return "outward"
	case Inward:
		return "inward"
	}
	return fmt.Sprintf("Direction(%d)", int(d))
}
