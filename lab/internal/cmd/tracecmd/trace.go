// Package tracecmd is the lab's own command trace: the way of packets through a node's tables, in words.
package tracecmd

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/pcapfilter"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"trace": run} }

const usage = `usage: trace [-i DEVICE] [-c COUNT] [-w SECONDS] [FILTER]
Waits for the next COUNT packets (1 if not told) that come in by a device of this namespace and that the filter takes
(as tcpdump's), and prints what happens to each: what was learned, which route, neighbour and FDB entry were used, what
was put into a tunnel or taken out of it, and why it was dropped. Run it in the background:
	trace -i eth0 icmp & ping -c 1 10.0.0.2; wait`

// maxWait is the most that -w takes, in seconds.
const maxWait = 1e9

// options are what is on the command line.
type options struct {
	device string
	count  int
	wait   time.Duration // 0: for ever
	filter string
}

// run is the command.
func run(p *proc.Proc, args []string) int {
	o, err := readOptions(args)
	if err != nil {
		return p.Fail(1, "trace: %v\n%s", err, usage)
	}
	if o.device != "" && p.Node.E.Index(o.device) == 0 {
		return p.Fail(1, "trace: %s: No such device exists", o.device)
	}
	var came proc.Event
	match, err := matcher(p, o)
	if err != nil {
		return p.Fail(1, "trace: %v", err)
	}
	var done []*engine.TracedPacket
	t, err := p.Node.E.Trace(engine.TraceConfig{Device: o.device, Match: match, Count: o.count, Done: func(packet *engine.TracedPacket) {
		p.Sys.Net.Later(func() {
			done = append(done, packet)
			came.Notify()
		})
	}})
	if err != nil {
		return p.Fail(1, "trace: %v", err)
	}
	defer t.Stop()
	deadline := proc.Forever
	if o.wait > 0 {
		deadline = p.Now() + o.wait
	}
	for shown := 0; shown < o.count; shown++ {
		for len(done) == shown {
			if err := p.Wait(deadline, &came); err != nil {
				return ended(p, err)
			}
		}
		printPacket(p, done[shown])
		mark(p.Node, done[shown])
	}
	return 0
}

// ended returns the exit status if not all packets came.
func ended(p *proc.Proc, err error) int {
	if errors.Is(err, proc.ErrDeadline) {
		return 1
	}
	return p.Killed(err)
}

func readOptions(args []string) (o options, err error) {
	o.count = 1
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		option, value := args[0], ""
		if len(option) > 2 {
			option, value = option[:2], option[2:]
		} else if len(args) > 1 {
			value, args = args[1], args[1:]
		}
		args = args[1:]
		switch option {
		case "-i":
			o.device = value
		case "-c":
			if o.count, err = strconv.Atoi(value); err != nil || o.count < 1 {
				err = errors.New("COUNT is to be a number from 1")
			}
		case "-w":
			var seconds float64
			if seconds, err = strconv.ParseFloat(value, 64); err != nil || !(seconds > 0 && seconds <= maxWait) {
				err = errors.New("SECONDS is to be a number above 0, and at most a billion")
			}
			o.wait = time.Duration(seconds * float64(time.Second))
		default:
			err = errors.New("unknown option " + option)
		}
		if err != nil {
			return o, err
		}
	}
	if o.device == "any" {
		o.device = ""
	}
	o.filter = strings.Join(args, " ")
	return o, nil
}

// matcher returns what chooses the packets.
func matcher(p *proc.Proc, o options) (func([]byte) bool, error) {
	l, _ := p.Node.E.Link(o.device)
	c := pcapfilter.Config{Link: pcapfilter.Ethernet}
	if l.Raw || l.Kind == engine.KindIPIP {
		c.Link = pcapfilter.RawIP
	}
	filter, err := pcapfilter.Compile(o.filter, c)
	if err != nil {
		return nil, err
	}
	return func(packet []byte) bool { return filter.Match(pcapfilter.Packet{Bytes: packet}) }, nil
}

// printPacket prints a packet's way, a line for each step.
func printPacket(p *proc.Proc, t *engine.TracedPacket) {
	p.Printf("%s @%s\n", p.Node.Name, strconv.FormatFloat(t.Time.Seconds(), 'f', 6, 64))
	for line := range strings.Lines(t.String()) {
		p.Printf("  %s", line)
	}
}

// mark counts a packet at the devices that have sent it: the one that it came from, and those that it left by.
func mark(n *network.Node, packet *engine.TracedPacket) {
	for i, s := range packet.Steps {
		d := n.Device(s.Device)
		switch {
		case d == nil:
		case s.Stage == engine.StageTransmit:
			d.Traced++
		case i == 0 && s.Stage == engine.StageReceive && d.Peer != nil:
			d.Peer.Traced++
		}
	}
}
