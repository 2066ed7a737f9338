package takeapart

// The report as text.

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/tcpdump"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// report is how a run is shown. Write errors stick to the output, which the session asks.
type report interface {
	heading(text string) // in front of the frames of a file
	frame(f *frame)
	summary(t *tables)
}

// tables are what a run ends with.
type tables struct {
	totals totals
	flows  *flowTable
	notes  *noteTable
	limit  int // of flows to show; 0 is none
}

// textReport prints for people.
type textReport struct {
	out   io.Writer
	buf   []byte
	quiet bool
	below bool // something was printed already
}

const margin = "    "

func (r *textReport) heading(text string) {
	if !r.quiet {
		r.title(text)
	}
}

// title prints a heading, with a line left free above.
func (r *textReport) title(text string) {
	if r.below {
		fmt.Fprintln(r.out)
	}
	r.below = true
	fmt.Fprintln(r.out, "== "+text)
}

func (r *textReport) frame(f *frame) {
	if r.quiet {
		return
	}
	b := append(r.buf[:0], '#')
	b = strconv.AppendInt(b, int64(f.number), 10)
	b = append(b, "  "...)
	if !f.packet.Time.IsZero() {
		b = f.packet.Time.AppendFormat(b, "2006-01-02 15:04:05.000000  ")
	}
	b = appendSizes(b, f)
	b = append(b, '\n')
	if f.link.skip != "" {
		b = fmt.Appendf(b, margin+"! not read: %s\n", f.link.skip)
	} else {
		var err error
		if f.fault != nil && !f.readOn {
			err = f.fault
		}
		opt := tcpdump.Options{Prefix: margin, Indent: "  | "}
		b = tcpdump.AppendFrame(b, &f.stack, err, f.packet.WireLen-f.link.len, opt)
	}
	r.buf = appendVerdicts(b, f)
	_, _ = r.out.Write(r.buf) // errors stick to the output
}

// appendSizes appends how the bytes of a frame divide into headers: the sum is what was captured.
func appendSizes(b []byte, f *frame) []byte {
	total := len(f.packet.Data)
	b = strconv.AppendInt(b, int64(total), 10)
	if f.cut {
		b = fmt.Appendf(b, " of %d", f.packet.WireLen)
	}
	b = append(b, " bytes"...)
	if f.link.skip != "" || len(f.levels()) == 0 {
		return b
	}
	separator, rest := " = ", total
	part := func(there bool, name string, n int) {
		if there && n > 0 {
			b = append(append(append(b, separator...), name...), ' ')
			b = strconv.AppendInt(b, int64(n), 10)
			separator = " + "
			rest -= n
		}
	}
	part(f.link.len > 0, f.link.name, f.link.len)
	levels := f.levels()
	for i := range levels {
		l := &levels[i]
		if i > 0 {
			separator = " | "
		}
		part(l.Ethernet.Tags() == 0, "Ethernet", l.Ethernet.Len())
		part(l.Ethernet.Tags() > 0, "Ethernet with VLAN", l.Ethernet.Len())
		part(l.ARP.IsValid(), "ARP", arp.Len)
		part(l.IPv4.IsValid(), "IPv4", l.IPv4.Len())
		part(l.UDP.IsValid(), "UDP", udp.HeaderLen)
		part(l.TCP.IsValid(), "TCP", l.TCP.Len())
		part(l.ICMP.IsValid(), "ICMP", icmp.HeaderLen)
		part(l.VXLAN.IsValid(), "VXLAN", vxlan.HeaderLen)
	}
	last := &levels[len(levels)-1]
	stopped := f.short || f.fault != nil && !f.readOn
	part(!stopped, "payload", len(last.Payload))
	part(!stopped && !f.cut, "padding", rest)
	part(stopped || f.cut, "not read", rest)
	return b
}

// appendVerdicts appends a line for everything that was found out about a frame.
func appendVerdicts(b []byte, f *frame) []byte {
	if f.short {
		b = append(b, margin+"~ the capture's snap length cut the rest off\n"...)
	}
	if f.fault != nil && f.readOn {
		b = fmt.Appendf(b, margin+"! %v; read on\n", f.fault)
	}
	for _, s := range f.sums {
		mark := "!"
		if s.partial {
			mark = "~"
		}
		b = fmt.Appendf(b, margin+"%s %s%v\n", mark, levelName(f, s.level), s)
	}
	if f.rejected {
		return append(b, margin+"! rejected: wrong checksum (-strict)\n"...)
	}
	for i := range f.tunnels {
		b = appendTunnel(b, f, &f.tunnels[i])
	}
	return b
}

// levelName names a level where there is more than one.
func levelName(f *frame, level int) string {
	switch n := len(f.levels()); {
	case n == 1:
		return ""
	case level == 0:
		return "outer "
	case level == n-1:
		return "inner "
	}
	return fmt.Sprintf("level %d ", level)
}

func appendTunnel(b []byte, f *frame, t *tunnelResult) []byte {
	l := &f.levels()[t.level]
	name := t.kind.String()
	if t.kind == tunnelVXLAN {
		name = fmt.Sprintf("VXLAN VNI %d", l.VXLAN.VNI())
		if g := l.VXLAN.GBP(); g.Set {
			name += fmt.Sprintf(", group policy %d", g.Group)
		}
	}
	switch {
	case t.dropped != nil:
		return fmt.Appendf(b, margin+"! %s: a Linux tunnel end drops this: %v\n", name, t.dropped)
	case !t.rebuilt && t.decapsulated == nil:
		return fmt.Appendf(b, margin+"! %s: not rebuilt: %v\n", name, t.why)
	}
	with := fmt.Sprintf("id %d", l.IPv4.ID())
	if t.kind == tunnelVXLAN {
		with += fmt.Sprintf(", source port %d", l.UDP.SrcPort())
	}
	if t.again == 0 {
		return fmt.Appendf(b, margin+"! %s: decapsulated, %d bytes; not encapsulated again: %v\n", name, t.inner, t.why)
	}
	mark, verdict := "=", "identical"
	if !t.rebuilt {
		mark, verdict = "!", "differs: "+t.why.String()
	}
	return fmt.Appendf(b, margin+"%s %s: decapsulated, %d bytes; encapsulated again (%s), %d bytes: %s\n",
		mark, name, t.inner, with, t.again, verdict)
}

// timeText is a time as in RFC 3339, empty if there is none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
