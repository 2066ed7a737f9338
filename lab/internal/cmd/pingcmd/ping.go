// Package pingcmd is ping, as in iputils 20221126.
package pingcmd

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"ping": run} }

// Sizes of an echo request, in bytes.
const (
	defaultSize = 56
	headers     = 20 + icmp.HeaderLen
)

// ping is one call of the command.
type ping struct {
	p    *proc.Proc
	sock *network.Socket
	dst  netip.Addr

	count    int           // -c; 0: no end
	interval time.Duration // -i
	linger   time.Duration // -W
	size     int           // -s
	send     engine.Send
	quiet    bool

	began            time.Duration
	sent             map[uint16]time.Duration
	seq              uint16
	received, errors int
	rtts             []time.Duration
}

func run(p *proc.Proc, args []string) int {
	g := &ping{p: p, interval: time.Second, linger: time.Second, size: defaultSize, sent: map[uint16]time.Duration{}}
	g.send.DF = true
	if status := g.options(args); status != 0 {
		return status
	}
	g.sock = p.Node.ListenEcho()
	defer g.sock.Close()
	p.Printf("PING %s (%s) %d(%d) bytes of data.\n", g.dst, g.dst, g.size, g.size+headers)
	g.loop()
	return g.statistics()
}

// options reads the command line.
func (g *ping) options(args []string) int {
	var target string
	for len(args) > 0 {
		option := args[0]
		args = args[1:]
		if option == "" || option[0] != '-' {
			target = option
			continue
		}
		name, value := option[:2], option[2:]
		if takesValue(name) && value == "" {
			if len(args) == 0 {
				return g.p.Fail(2, "ping: option requires an argument -- '%s'", name[1:])
			}
			value, args = args[0], args[1:]
		}
		if err := g.option(name, value); err != nil {
			return g.p.Fail(2, "ping: %v", err)
		}
	}
	if target == "" {
		return g.p.Fail(1, "ping: usage error: Destination address required")
	}
	dst, err := netip.ParseAddr(target)
	if err != nil {
		return g.p.Fail(2, "ping: %s: Name or service not known", target)
	}
	g.dst = dst
	return 0
}

func takesValue(name string) bool {
	switch name {
	case "-c", "-i", "-W", "-s", "-t", "-I":
		return true
	}
	return false
}

func (g *ping) option(name, value string) (err error) {
	number := func(lowest, highest int) int {
		n, e := strconv.Atoi(value)
		if e != nil || n < lowest || n > highest {
			err = fmt.Errorf("invalid argument: '%s': out of range: %d <= value <= %d", value, lowest, highest)
		}
		return n
	}
	seconds := func() time.Duration {
		f, e := strconv.ParseFloat(value, 64)
		if e != nil || f < 0 {
			err = fmt.Errorf("bad timing interval: %s", value)
		}
		return time.Duration(f * float64(time.Second))
	}
	switch name {
	case "-c":
		g.count = number(1, 1<<31-1)
	case "-i":
		g.interval = seconds()
	case "-W":
		g.linger = seconds()
	case "-s":
		g.size = number(0, 65507)
	case "-t":
		g.send.TTL = uint8(number(1, 255))
	case "-q":
		g.quiet = true
	case "-n":
	case "-I":
		if g.send.Src, err = netip.ParseAddr(value); err != nil {
			g.send.Device, err = value, nil
			if g.p.Node.E.Index(value) == 0 {
				err = fmt.Errorf("unknown iface: %s", value)
			}
		}
	default:
		err = fmt.Errorf("invalid option -- '%s'", name[1:])
	}
	return err
}

// loop sends and receives until the last answer has come, or the time for it is over.
func (g *ping) loop() {
	g.began = g.p.Now()
	next := g.began
	for g.count == 0 || int(g.seq) < g.count {
		if g.request() != nil || g.receive(next+g.interval) != nil {
			return
		}
		next += g.interval
		if g.count != 0 && int(g.seq) >= g.count && g.received+g.errors >= g.count {
			return
		}
	}
	_ = g.receive(g.p.Now() + g.linger - g.interval)
}

// request sends the next echo request.
func (g *ping) request() error {
	g.seq++
	data := make([]byte, g.size)
	for i := range data {
		data[i] = byte(i)
	}
	s := g.send
	s.Dst, s.Protocol = g.dst, icmp.Protocol
	g.sent[g.seq] = g.p.Now()
	if err := g.p.Node.Send(s, icmp.Echo(g.sock.EchoID(), g.seq).Append(nil, data)); err != nil {
		g.p.Errorf("ping: sendmsg: %s", words.Errno(err))
		g.errors++
	}
	return nil
}

// receive prints answers until a time, or until there is one to each of the requested.
func (g *ping) receive(until time.Duration) error {
	for {
		m, err := g.p.Recv(g.sock, until)
		if errors.Is(err, proc.ErrDeadline) {
			return nil
		}
		if err != nil {
			return err
		}
		g.answer(m)
		if g.count != 0 && g.received >= g.count {
			return nil
		}
	}
}

func (g *ping) answer(m network.Message) {
	if m.Error != nil {
		g.errors++
		g.p.Printf("From %s icmp_seq=%d %s\n", m.Src, m.Error.EchoSeq, what(m.Error))
		return
	}
	h, body, err := icmp.Parse(m.Data)
	if err != nil {
		return
	}
	rtt := m.At - g.sent[h.Seq()]
	g.received++
	g.rtts = append(g.rtts, rtt)
	if !g.quiet {
		g.p.Printf("%d bytes from %s: icmp_seq=%d ttl=%d time=%s ms\n", len(body)+icmp.HeaderLen, m.Src, h.Seq(), m.TTL, ms(rtt))
	}
}

// what is an ICMP error in ping's words (print_icmph).
func what(e *network.ICMPError) string {
	switch {
	case e.Type == icmp.TypeTimeExceeded:
		return "Time to live exceeded"
	case e.Type == icmp.TypeUnreachable && e.Code == icmp.CodeHostUnreachable:
		return "Destination Host Unreachable"
	case e.Type == icmp.TypeUnreachable && e.Code == icmp.CodeNetUnreachable:
		return "Destination Net Unreachable"
	}
	return fmt.Sprintf("type=%d code=%d", e.Type, e.Code)
}

func ms(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 3, 64)
}

// statistics prints the summary and returns the exit status.
func (g *ping) statistics() int {
	sent := int(g.seq)
	g.p.Printf("\n--- %s ping statistics ---\n%d packets transmitted, %d received, ", g.dst, sent, g.received)
	if g.errors > 0 {
		g.p.Printf("+%d errors, ", g.errors)
	}
	g.p.Printf("%d%% packet loss, time %dms\n", 100*(sent-g.received)/max(sent, 1), (g.p.Now() - g.began).Milliseconds())
	if len(g.rtts) > 0 {
		lowest, highest, sum := g.rtts[0], g.rtts[0], time.Duration(0)
		for _, r := range g.rtts {
			lowest, highest, sum = min(lowest, r), max(highest, r), sum+r
		}
		g.p.Printf("rtt min/avg/max/mdev = %s/%s/%s/%s ms\n", ms(lowest), ms(sum/time.Duration(len(g.rtts))), ms(highest), ms(0))
	} else {
		g.p.Printf("\n")
	}
	if g.received == 0 {
		return 1
	}
	return 0
}
