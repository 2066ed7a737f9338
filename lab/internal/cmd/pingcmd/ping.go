// Package pingcmd is ping of iputils 20221126. The files: this one has the loop, options.go the command line, reply.go what is
// received, statistics.go the end.
package pingcmd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
	"github.com/culvert-net/culvert/route"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"ping": run} }

// Sizes in bytes, and times of iputils' ping.h.
const (
	headers     = ipv4.HeaderLen + icmp.HeaderLen
	timeSize    = 16 // struct timeval, in front of the data if there is room
	maxPacket   = 1<<16 - 1
	minInterval = 10 * time.Millisecond // between floods without an answer, or for which there is no room

	// floodCost is how long one more packet of a flood takes, so that virtual time goes on where answers take none.
	floodCost = 10 * time.Microsecond
)

// ping is one call of the command.
type ping struct {
	p    *proc.Proc
	o    options
	sock *network.Socket

	began, sentAt time.Duration // of the first and the last request
	tokens        time.Duration
	exitAt        time.Duration // -w, or when to stop to wait for the last answers
	lingering     bool
	outOfRoom     int // how often a device had no room

	sent                      int
	received, repeats, errors int
	acked                     uint16
	pipe                      int // the most requests in flight, as answers tell
	sentTimes                 map[uint16]time.Duration
	seen                      map[uint16]bool

	shortest, longest, sum time.Duration
	squares                float64 // sum of the times' squares, in microseconds
	average                int64   // moving average of the times, eightfold, in microseconds
}

func run(p *proc.Proc, args []string) int {
	g := &ping{p: p, exitAt: proc.Forever, sentTimes: map[uint16]time.Duration{}, seen: map[uint16]bool{}}
	if status, ok := g.options(args); !ok {
		return status
	}
	if status := g.connect(); status != 0 {
		return status
	}
	if g.sock = p.Node.ListenEcho(); g.o.id != 0 {
		g.sock.Close()
		g.sock = p.Node.ListenEchoID(g.o.id)
	}
	defer g.sock.Close()
	g.header()
	if err := g.loop(); err != nil {
		sig, caught := p.Catch(err)
		if !caught || sig != proc.SIGINT {
			return p.Killed(err)
		}
	}
	return g.statistics()
}

// connect finds the source, or says why there is no way to the destination.
func (g *ping) connect() int {
	o := &g.o
	n := g.p.Node
	if o.bind.IsValid() && !hasAddr(n, o.bind) {
		return g.p.Fail(2, "ping: bind: Cannot assign requested address")
	}
	answer, err := n.E.GetRoute(o.dst, engine.RouteQuery{Device: o.device})
	o.source = o.bind
	if !o.bind.IsValid() {
		if errors.Is(err, engine.ErrProhibited) {
			return g.p.Fail(2, broadcastText)
		}
		if err != nil {
			return g.p.Fail(2, "ping: connect: %s", words.Errno(err))
		}
		o.source = answer.Source
	}
	if err == nil && answer.Route.Type == route.Broadcast {
		if !o.broadcast {
			return g.p.Fail(2, broadcastText)
		}
		fmt.Fprintln(g.p.Stderr, "WARNING: pinging broadcast address")
		if o.discovery != "" && o.discovery != "do" {
			return g.p.Fail(2, "ping: broadcast ping does not fragment")
		}
		o.discovery = "do"
	}
	return 0
}

const broadcastText = "ping: Do you want to ping broadcast? Then -b. If not, check your local firewall rules"

func hasAddr(n *network.Node, a netip.Addr) bool {
	for _, l := range n.E.Links() {
		for _, own := range n.E.Addrs(l.Name) {
			if own.Prefix.Addr() == a || a.IsLoopback() && own.Prefix.Contains(a) {
				return true
			}
		}
	}
	return false
}

// header prints the first lines.
func (g *ping) header() {
	o := &g.o
	if o.verbose {
		fmt.Fprintf(g.p.Stderr, "ping: sock4.fd: 3 (socktype: SOCK_RAW), sock6.fd: 4 (socktype: SOCK_RAW), hints.ai_family: AF_UNSPEC\n\n")
		g.p.Printf("ai->ai_family: AF_INET, ai->ai_canonname: '%s'\n", o.host)
	}
	if o.pattern != nil {
		g.p.Printf("PATTERN: 0x%x\n", o.pattern)
	}
	g.p.Printf("PING %s (%s) ", o.host, o.dst)
	if o.device != "" || o.strict {
		g.p.Printf("from %s %s: ", o.source, o.device)
	}
	g.p.Printf("%d(%d) bytes of data.\n", o.size, o.size+headers)
}

// loop sends and receives until the end.
func (g *ping) loop() error {
	if g.o.deadline > 0 {
		g.exitAt = g.p.Now() + g.o.deadline
	}
	for !g.over() {
		next := time.Duration(0)
		for next <= 0 {
			next = g.linger(g.pinger())
		}
		if err := g.receive(g.p.Now() + next); err != nil {
			return err
		}
	}
	return nil
}

// over reports whether there is nothing more to do.
func (g *ping) over() bool {
	return g.o.count > 0 && g.received+g.errors >= g.o.count || g.o.deadline > 0 && g.errors > 0 || g.p.Now() >= g.exitAt
}

// enough reports whether all requests were sent.
func (g *ping) enough() bool {
	return g.o.count > 0 && g.sent >= g.o.count && g.o.deadline == 0
}

// linger decides, once all was sent, how long to wait for answers: twice the longest time that one took, at least the interval;
// -W if there was none. next is when to look again.
func (g *ping) linger(next time.Duration) time.Duration {
	if g.lingering || !g.enough() {
		return next
	}
	g.lingering = true
	wait := g.o.wait
	if g.received > 0 {
		wait = max(2*g.longest, g.o.interval)
	}
	g.exitAt = g.p.Now() + wait
	return max(next, wait)
}

// pinger sends a request if it is time to, and returns when that is for the next.
func (g *ping) pinger() time.Duration {
	if g.enough() {
		return time.Second
	}
	now, interval := g.p.Now(), g.o.interval
	if g.sent == 0 {
		g.began, g.sentAt = now, now
		g.tokens = interval * time.Duration(g.o.preload-1)
	} else {
		tokens := now - g.sentAt
		if interval == 0 && tokens < minInterval && g.inFlight() >= g.o.preload {
			return minInterval - tokens
		}
		tokens = min(tokens+g.tokens, interval*time.Duration(g.o.preload))
		if tokens < interval {
			return interval - tokens
		}
		g.sentAt, g.tokens = now, tokens-interval
	}
	if g.o.outstanding && g.sent > 0 && !g.seen[uint16(g.sent)] {
		g.stamp()
		g.p.Printf("no answer yet for icmp_seq=%d\n", uint16(g.sent))
	}
	return g.request()
}

// request sends an echo request, and returns when the next is due.
func (g *ping) request() time.Duration {
	err := g.transmit(uint16(g.sent + 1))
	if wait := min(max(g.o.interval/2, minInterval), maxOutOfRoom); errors.Is(err, network.ErrNoBuffers) {
		g.outOfRoom++
		if time.Duration(g.outOfRoom)*wait < g.o.wait {
			g.tokens = 0
			return wait // the same request again
		}
	}
	g.sent++
	if uint16(g.sent)-g.acked > 0x7fff {
		g.acked = uint16(g.sent + 1)
	}
	if err == nil {
		if g.o.flood && !g.o.quiet {
			g.p.Printf(".")
		}
		return g.o.interval - g.tokens
	}
	switch {
	case g.o.quiet:
	case g.o.flood:
		g.p.Printf("E")
	default:
		if !errors.Is(err, errSilent) {
			g.p.Errorf("ping: %v", err)
		}
	}
	g.tokens = 0
	return max(g.o.interval, floodCost)
}

// maxOutOfRoom is how long ping waits at most where the device has no room for a request.
const maxOutOfRoom = 500 * time.Millisecond

// sendError is what the node says to a request.
type sendError struct{ err error }

func (e sendError) Error() string { return "sendmsg: " + words.Errno(e.err) }
func (e sendError) Unwrap() error { return e.err }

// errSilent is an error that ping does not speak of.
var errSilent = errors.New("ping: packet too long")

// transmit sends the echo request of a number. The error is what is printed.
func (g *ping) transmit(seq uint16) error {
	o := &g.o
	g.sentTimes[seq] = g.p.Now()
	delete(g.seen, seq)
	s := engine.Send{
		Dst: o.dst, Src: o.bind, Protocol: icmp.Protocol, TTL: o.ttl, TOS: o.tos, Device: o.device, Broadcast: o.broadcast,
	}
	if o.size+headers > maxPacket {
		return errSilent
	}
	if o.strict {
		s.Src = o.source
	}
	mtu := maxPacket
	if a, err := g.p.Node.E.GetRoute(o.dst, engine.RouteQuery{Device: o.device}); err == nil {
		mtu = a.MTU
	}
	tooLong := o.size+headers > mtu
	if tooLong && (o.discovery == "do" || o.discovery == "probe") {
		g.errors++
		return fmt.Errorf("local error: message too long, mtu=%d", mtu)
	}
	s.DF = o.discovery != "dont" && !tooLong
	if err := g.p.Node.Send(s, icmp.Echo(g.sock.EchoID(), seq).Append(nil, g.data())); err != nil {
		return sendError{err}
	}
	return nil
}

// data returns what a request carries: the time, and bytes that count up, or the pattern.
func (g *ping) data() []byte {
	data := make([]byte, g.o.size)
	for i := range data {
		if g.o.pattern != nil {
			data[i] = g.o.pattern[i%len(g.o.pattern)]
		} else {
			data[i] = byte(i)
		}
	}
	if len(data) >= timeSize {
		at := g.p.Date(g.p.Now())
		binary.LittleEndian.PutUint64(data, uint64(at.Unix()))
		binary.LittleEndian.PutUint64(data[8:], uint64(at.Nanosecond()/1000))
	}
	return data
}

// inFlight returns how many requests wait for an answer.
func (g *ping) inFlight() int {
	if diff := uint16(g.sent) - g.acked; diff <= 0x7fff {
		return int(diff)
	}
	return g.sent - g.received - g.errors
}

// acknowledge notes that a request was answered.
func (g *ping) acknowledge(seq uint16) {
	diff := uint16(g.sent) - seq
	if diff > 0x7fff {
		return
	}
	g.pipe = max(g.pipe, int(diff)+1)
	if int16(seq-g.acked) > 0 || uint16(g.sent)-g.acked > 0x7fff {
		g.acked = seq
	}
}
