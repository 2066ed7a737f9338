// Package traceroutecmd is traceroute 2.1.2 by Dmitry Butskoy. The files: this one has the loop, options.go the command line,
// probe.go what is sent and received, expire.go what becomes of probes without an answer.
package traceroutecmd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"traceroute": run} }

// probe is one packet, and what came of it.
type probe struct {
	sent     bool
	sentAt   time.Duration
	seq      uint16 // of ICMP, or the destination port
	sock     *network.Socket
	done     bool
	final    bool // the way ends here
	answered bool
	at       time.Duration // of the answer
	from     netip.Addr
	ttl      uint8 // that the answer came with
	note     string
}

// trace is one call of the command.
type trace struct {
	p      *proc.Proc
	o      options
	probes []probe
	source netip.Addr
	icmp   *network.Socket
	port   uint16
	seq    uint16

	arrived  proc.Event
	lastSend time.Duration
}

func run(p *proc.Proc, args []string) int {
	o, status, ok := parse(p, args)
	if !ok {
		return status
	}
	t := &trace{p: p, o: o, probes: make([]probe, o.hops*o.queries), port: uint16(o.port), seq: uint16(o.port)}
	defer t.close()
	p.Printf("traceroute to %s (%s), %d hops max, %d byte packets", o.name, o.dst, o.hops, o.length)
	if err := t.open(); err != nil {
		fmt.Fprintln(p.Stderr)
		return p.Fail(1, "%v", err)
	}
	err := t.loop()
	var fatal *sendError
	switch {
	case errors.As(err, &fatal):
		fmt.Fprintln(p.Stderr)
		return p.Fail(1, "%v", fatal)
	case err != nil:
		return p.Killed(err)
	}
	p.Printf("\n")
	return 0
}

// sendError is what ends a trace.
type sendError struct {
	call string
	err  error
}

func (e *sendError) Error() string { return e.call + ": " + words.Errno(e.err) }

// open finds the way to the first hop.
func (t *trace) open() error {
	if t.o.device != "" && t.p.Node.E.Index(t.o.device) == 0 {
		return errors.New("setsockopt SO_BINDTODEVICE: No such device")
	}
	if t.o.source.IsValid() && !local(t.p.Node, t.o.source) {
		return errors.New("bind: Cannot assign requested address")
	}
	answer, err := t.p.Node.E.GetRoute(t.o.dst, engine.RouteQuery{Device: t.o.device})
	if err != nil {
		return &sendError{"connect", err}
	}
	t.source = answer.Source
	if t.o.source.IsValid() {
		t.source = t.o.source
	}
	if t.o.echo {
		t.icmp = t.p.Node.ListenEcho()
		t.icmp.OnReceive = t.arrived.Notify
	}
	return nil
}

func local(node *network.Node, a netip.Addr) bool {
	for _, l := range node.E.Links() {
		for _, own := range node.E.Addrs(l.Name) {
			if own.Prefix.Addr() == a || a.IsLoopback() && own.Prefix.Contains(a) {
				return true
			}
		}
	}
	return false
}

func (t *trace) close() {
	if t.icmp != nil {
		t.icmp.Close()
	}
	for i := range t.probes {
		t.probes[i].release()
	}
}

// loop sends probes, as many at a time as -N says, and prints them in their order.
func (t *trace) loop() error {
	start, end := (t.o.first-1)*t.o.queries, len(t.probes)
	for start < end {
		t.collect()
		next, err := t.pass(&start, &end)
		if err != nil {
			return err
		}
		if next < 0 {
			continue
		}
		if err := t.wait(next); err != nil {
			return err
		}
	}
	return nil
}

// wait waits for an answer, until a time.
func (t *trace) wait(until time.Duration) error {
	if t.collect() {
		return nil
	}
	err := t.p.Wait(max(until, t.p.Now()), &t.arrived)
	if errors.Is(err, proc.ErrDeadline) {
		return nil
	}
	return err
}

// pass looks at the probes from the first that is not printed yet, and returns when to look again; negative: at once.
func (t *trace) pass(start, end *int) (time.Duration, error) {
	next, inFlight := time.Duration(-1), 0
	for n := *start; n < *end; n++ {
		b := &t.probes[n]
		if n == *start && !b.done && b.sent {
			if expires := b.sentAt + t.timeout(n); expires > t.p.Now() {
				next = expires
			} else {
				t.expire(n)
			}
		}
		if b.done {
			if n == *start {
				t.print(n)
				*start++
			}
			if b.final {
				*end = (n/t.o.queries + 1) * t.o.queries
			}
			continue
		}
		if !b.sent {
			if due := t.lastSend + t.o.pause; t.o.pause > 0 && n > (t.o.first-1)*t.o.queries && due > t.p.Now() {
				return due, nil
			}
			if err := t.send(n); err != nil {
				return 0, err
			}
			t.lastSend = b.sentAt
		}
		if next < 0 {
			next = b.sentAt + t.timeout(n)
		}
		inFlight++
		if inFlight >= t.o.atOnce {
			break
		}
	}
	return next, nil
}

// print prints a probe, the hop's number in front of its first.
func (t *trace) print(n int) {
	b := &t.probes[n]
	hop, index := n/t.o.queries+1, n%t.o.queries
	if index == 0 {
		t.p.Printf("\n%2d ", hop)
	}
	if !b.from.IsValid() {
		t.p.Printf(" *")
	} else if t.another(n, index) {
		t.p.Printf(" %s", b.from)
		if !t.o.numeric {
			t.p.Printf(" (%s)", b.from)
		}
	}
	if b.answered {
		t.p.Printf("  %.3f ms", float64(b.at-b.sentAt)/float64(time.Millisecond))
	}
	if b.note != "" {
		t.p.Printf(" %s", b.note)
	}
}

// another reports whether a probe was answered by another host than the one before, of the same hop.
func (t *trace) another(n, index int) bool {
	for _, before := range slices.Backward(t.probes[n-index : n]) {
		if before.from.IsValid() {
			return before.from != t.probes[n].from
		}
	}
	return true
}
