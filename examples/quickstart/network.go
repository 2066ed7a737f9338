package main

// Engines joined by wires, and their clock. An engine has no time, goroutine or socket of its own: whoever embeds it says what
// its ports have received and when, and takes what they send. Here that is one loop, in virtual time, so that every run is the
// same; an agent would read and write packet sockets or TAP devices instead.

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/packet"
)

const (
	wireDelay = 20 * time.Microsecond // how long a frame takes over any wire
	patience  = 10 * time.Second      // for what must have happened by then
)

// network is hosts, and what is on its way between them.
type network struct {
	now   time.Duration // since it began
	hosts []*host
	sent  []sent // in the order of their arrival: every wire takes equally long
	hops  []hop  // what the taps have seen
}

// host is a node or a pod: each has an engine of its own, as each has a network namespace of its own on Linux.
type host struct {
	*engine.Engine
	name  string
	wires map[uint32]end // by the index of the port
}

// end is one end of a wire.
type end struct {
	host *host
	port uint32
}

// sent is a frame on a wire.
type sent struct {
	to     end
	frame  []byte
	arrive time.Duration
}

// add starts a host. Local, which may be nil, is given the packets for the host itself.
func (n *network) add(name string, local func(*engine.Worker, engine.Delivery) bool) (*host, error) {
	h := &host{name: name, wires: map[uint32]end{}}
	n.hosts = append(n.hosts, h)
	var err error
	h.Engine, err = engine.New(engine.Config{
		Seed:   uint64(len(n.hosts)),
		Local:  local,
		Output: func(port uint32, batch []*packet.Buffer) { n.output(h, port, batch) },
	})
	return h, err
}

// wire joins two ports.
func (n *network) wire(a *host, portA string, b *host, portB string) {
	i, k := a.Index(portA), b.Index(portB)
	a.wires[i], b.wires[k] = end{b, k}, end{a, i}
}

// output takes what an engine sends by a port.
func (n *network) output(h *host, port uint32, batch []*packet.Buffer) {
	for _, b := range batch {
		if to, ok := h.wires[port]; ok {
			n.sent = append(n.sent, sent{to, bytes.Clone(b.Bytes()), n.now + wireDelay})
		}
		b.Free()
	}
}

var errQuiet = errors.New("nothing more happens")

// until lets frames arrive and timers run out until done says so.
func (n *network) until(done func() bool) error {
	for limit := n.now + patience; !done(); {
		next, act := n.next()
		if next > limit {
			return fmt.Errorf("%w by %v", errQuiet, n.now)
		}
		n.now = max(n.now, next)
		act()
	}
	return nil
}

// next returns what happens next, and when: a frame arrives, or a host's timer runs out.
func (n *network) next() (at time.Duration, act func()) {
	at = engine.Never
	if len(n.sent) > 0 {
		at, act = n.sent[0].arrive, n.arrive
	}
	for _, h := range n.hosts {
		if t := h.Next(); t < at {
			at, act = t, func() { h.Tick(n.now) }
		}
	}
	return at, act
}

// arrive takes the first frame off its wire.
func (n *network) arrive() {
	s := n.sent[0]
	n.sent = n.sent[1:]
	s.to.host.Process(s.to.port, []*packet.Buffer{packet.Of(s.frame)}, n.now)
}

// check reports packets that were dropped, or lost count of, anywhere.
func (n *network) check() error {
	var errs []error
	for _, h := range n.hosts {
		stats := h.Stats()
		if err := stats.Check(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", h.name, err))
		}
		for why, count := range stats.Drops {
			if count > 0 {
				errs = append(errs, fmt.Errorf("%s: %d dropped: %v", h.name, count, engine.Reason(why)))
			}
		}
	}
	return errors.Join(errs...)
}
