package pingcmd

// What is received.

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// receive waits until a time, and takes what is there then, or what comes first and all that has come with it.
func (g *ping) receive(until time.Duration) error {
	if g.o.interval == 0 || g.o.adaptive {
		if err := g.p.Sleep(min(floodCost, g.exitAt-g.p.Now())); err != nil {
			return g.interrupted(err)
		}
	}
	m, err := g.p.Recv(g.sock, min(until, g.exitAt))
	for err == nil {
		g.take(m)
		if g.inFlight() == 0 {
			return nil
		}
		var ok bool
		if m, ok = g.sock.Read(); !ok {
			return nil
		}
	}
	return g.interrupted(err)
}

// interrupted turns the end of a wait into that of the command, if it is. ^\ asks for an account in between.
func (g *ping) interrupted(err error) error {
	if errors.Is(err, proc.ErrDeadline) {
		return nil
	}
	var i *proc.Interrupted
	if errors.As(err, &i) && i.Signal == proc.SIGQUIT {
		g.p.Catch(err)
		g.snapshot()
		return nil
	}
	return err
}

// take counts and prints a message.
func (g *ping) take(m network.Message) {
	if m.Error == nil {
		g.reply(m)
		return
	}
	if m.Error.Dst != g.o.dst {
		return
	}
	if m.Error.Type == icmp.TypeRedirect || m.Error.Type == icmp.TypeSourceQuench {
		if !g.o.quiet && !g.o.flood {
			g.stamp()
			g.p.Printf("From %s: icmp_seq=%d %s\n", g.name(m.Src), m.Error.EchoSeq, what(m))
		}
		return
	}
	g.acknowledge(m.Error.EchoSeq)
	g.errors++
	switch {
	case g.o.quiet:
	case g.o.flood:
		g.p.Printf("\bE")
	default:
		g.stamp()
		g.p.Printf("From %s icmp_seq=%d %s\n", g.name(m.Src), m.Error.EchoSeq, what(m))
	}
}

// reply takes an echo reply.
func (g *ping) reply(m network.Message) {
	h, body, err := icmp.Parse(m.Data)
	if err != nil {
		return
	}
	seq := h.Seq()
	g.acknowledge(seq)
	timed := g.o.size >= timeSize && len(body) >= timeSize
	rtt := (m.At - g.sentTimes[seq]).Truncate(time.Microsecond)
	if timed {
		g.gather(rtt)
	}
	duplicate := g.seen[seq]
	if duplicate {
		g.repeats++
	} else {
		g.received++
		g.seen[seq] = true
	}
	switch {
	case g.o.quiet:
		return
	case g.o.flood:
		g.p.Printf("\b \b")
		return
	}
	g.stamp()
	g.p.Printf("%d bytes from %s: icmp_seq=%d", len(body)+icmp.HeaderLen, g.name(m.Src), seq)
	if g.o.verbose {
		g.p.Printf(" ident=%d", h.ID())
	}
	g.p.Printf(" ttl=%d", m.TTL)
	switch {
	case len(body) < g.o.size:
		g.p.Printf(" (truncated)")
	default:
		if timed {
			g.p.Printf(" time=%s ms", short3(rtt))
		}
		if duplicate && (!g.o.dst.IsMulticast() || g.o.verbose) {
			g.p.Printf(" (DUP!)")
		}
	}
	if g.o.audible {
		g.p.Printf("\a")
	}
	g.p.Printf("\n")
}

// gather adds a time to the statistics.
func (g *ping) gather(rtt time.Duration) {
	us := rtt.Microseconds()
	if g.received+g.repeats == 0 {
		g.shortest = rtt
	}
	g.shortest, g.longest, g.sum = min(g.shortest, rtt), max(g.longest, rtt), g.sum+rtt
	g.squares += float64(us) * float64(us)
	if g.average == 0 {
		g.average = 8 * us
	} else {
		g.average += us - g.average/8
	}
	if g.o.adaptive {
		g.o.interval = time.Duration((g.average/8+500)/1000) * time.Millisecond
	}
}

// stamp prints the time, with -D.
func (g *ping) stamp() {
	if g.o.stamped {
		at := g.p.Date(g.p.Now())
		g.p.Printf("[%d.%06d] ", at.Unix(), at.Nanosecond()/1000)
	}
}

// short3 is a time in milliseconds with three digits or more.
func short3(d time.Duration) string {
	us := d.Microseconds()
	switch {
	case us >= 100000-50:
		return strconv.FormatInt((us+500)/1000, 10)
	case us >= 10000-5:
		return fmt.Sprintf("%d.%01d", (us+50)/1000, (us+50)%1000/100)
	case us >= 1000:
		return fmt.Sprintf("%d.%02d", (us+5)/1000, (us+5)%1000/10)
	}
	return ms(us)
}

// ms is a time in microseconds as milliseconds.
func ms(us int64) string { return fmt.Sprintf("%d.%03d", us/1000, us%1000) }

// unreachable are the words for the codes of 'destination unreachable' (RFC 792, RFC 1812).
var unreachable = [...]string{
	"Destination Net Unreachable",
	"Destination Host Unreachable",
	"Destination Protocol Unreachable",
	"Destination Port Unreachable",
	"Frag needed and DF set (mtu = %d)",
	"Source Route Failed",
	"Destination Net Unknown",
	"Destination Host Unknown",
	"Source Host Isolated",
	"Destination Net Prohibited",
	"Destination Host Prohibited",
	"Destination Net Unreachable for Type of Service",
	"Destination Host Unreachable for Type of Service",
	"Packet filtered",
	"Precedence Violation",
	"Precedence Cutoff",
}

var redirects = [...]string{
	"Redirect Network", "Redirect Host", "Redirect Type of Service and Network", "Redirect Type of Service and Host",
}

// what is an ICMP error in ping's words.
func what(m network.Message) string {
	e := m.Error
	code := int(e.Code)
	switch e.Type {
	case icmp.TypeUnreachable:
		switch {
		case code >= len(unreachable):
			return fmt.Sprintf("Dest Unreachable, Bad Code: %d", code)
		case e.Code == icmp.CodeFragmentationNeeded:
			return fmt.Sprintf(unreachable[code], e.MTU)
		}
		return unreachable[code]
	case icmp.TypeTimeExceeded:
		switch e.Code {
		case icmp.CodeTTLExceeded:
			return "Time to live exceeded"
		case icmp.CodeReassemblyExceeded:
			return "Frag reassembly time exceeded"
		}
		return fmt.Sprintf("Time exceeded, Bad Code: %d", code)
	case icmp.TypeSourceQuench:
		return "Source Quench"
	case icmp.TypeRedirect:
		text := fmt.Sprintf("Redirect, Bad Code: %d", code)
		if code < len(redirects) {
			text = redirects[code]
		}
		return fmt.Sprintf("%s(New nexthop: %d.%d.%d.%d)", text, m.Data[4], m.Data[5], m.Data[6], m.Data[7])
	case icmp.TypeParameterProblem:
		return fmt.Sprintf("Parameter problem: pointer = %d", m.Data[4])
	}
	return fmt.Sprintf("Bad ICMP type: %d", e.Type)
}
