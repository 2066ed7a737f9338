package tcpdumpcmd

// The lines.

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/tcpdump"
	"github.com/culvert-net/culvert/lab/proc"
)

// printer prints packets to standard output.
type printer struct {
	p      *proc.Proc
	o      options
	link   linkType
	walker *dissect.Walker
	stack  dissect.Stack
	words  tcpdump.Options

	n           int
	first, last time.Time
}

func newPrinter(p *proc.Proc, o options, link linkType) *printer {
	walker, err := dissect.New(dissect.Config{Partial: true})
	if err != nil {
		panic(err) // the configuration is a constant
	}
	w := &printer{p: p, o: o, link: link, walker: walker}
	w.words = tcpdump.Options{Terse: o.verbose == 0, Brief: o.verbose == 1 || o.noSums, Quick: o.quick, NoLink: !o.link, OTV: true}
	if !o.absolute {
		w.words.TCP = &tcpdump.Sequences{}
	}
	return w
}

// packet prints a packet.
func (w *printer) packet(k packet) {
	w.n++
	var b []byte
	if w.o.number {
		b = fmt.Appendf(b, "%5d  ", w.n)
	}
	b = w.time(b, k.at)
	b = w.line(b, k)
	w.p.Printf("%s", w.bytes(b, k))
}

// time appends when the packet came, as -t, once to five times, wants it.
func (w *printer) time(b []byte, at time.Time) []byte {
	if w.n == 1 {
		w.first, w.last = at, at
	}
	since := w.first
	if w.o.times == 3 {
		since = w.last
	}
	w.last = at
	switch w.o.times {
	case 0:
		return at.UTC().AppendFormat(b, "15:04:05.000000 ")
	case 1:
		return b
	case 2:
		return fmt.Appendf(b, "%d.%06d ", at.Unix(), at.Nanosecond()/1000)
	case 4:
		return at.UTC().AppendFormat(b, "2006-01-02 15:04:05.000000 ")
	}
	sign := " "
	d := at.Sub(since)
	if d < 0 {
		sign, d = "-", -d
	}
	b = append(b, sign...)
	return time.Time{}.Add(d).AppendFormat(b, "15:04:05.000000 ")
}

// line appends the packet in words.
func (w *printer) line(b []byte, k packet) []byte {
	switch w.link {
	case linkCooked:
		return w.cooked(b, k)
	case linkRaw, linkIPv4:
		return w.walk(b, k.bytes, k.wireLen, w.walker.IPv4)
	}
	return w.walk(b, k.bytes, k.wireLen, w.walker.Ethernet)
}

func (w *printer) walk(b, packet []byte, wireLen int, walk func(*dissect.Stack, []byte) error) []byte {
	err := walk(&w.stack, packet)
	if len(packet) < wireLen { // the capture's fault, not the packet's
		err = nil
	}
	return tcpdump.AppendFrame(b, &w.stack, err, wireLen, w.words)
}

// packetTypes are the words for the packet types of a cooked header.
var packetTypes = [...]string{typeHost: "In", typeBroadcast: "B", typeMulticast: "M", typeOtherHost: "P", typeOutgoing: "Out"}

// cooked appends a packet of -i any: its device, and the rest as if it had an Ethernet header.
func (w *printer) cooked(b []byte, k packet) []byte {
	if len(k.bytes) < cookedLen {
		return append(b, "[|sll2]\n"...)
	}
	be := binary.BigEndian
	protocol, index := be.Uint16(k.bytes), be.Uint32(k.bytes[cookedIndex:])
	name := k.device
	if name == "" {
		name = w.p.Node.E.Name(index)
	}
	if name == "" {
		name = fmt.Sprint(index)
	}
	direction := "?"
	if t := int(k.bytes[cookedType]); t < len(packetTypes) {
		direction = packetTypes[t]
	}
	b = fmt.Appendf(b, "%-5s %-3s ", name, direction)
	frame := make([]byte, ethernet.HeaderLen, ethernet.HeaderLen+len(k.bytes))
	be.PutUint16(frame[ethernet.HeaderLen-2:], protocol)
	frame = append(frame, k.bytes[cookedLen:]...)
	wireLen := k.wireLen - cookedLen + ethernet.HeaderLen
	if !w.o.link {
		return w.walk(b, frame, wireLen, w.walker.Ethernet)
	}
	b = fmt.Appendf(b, "ifindex %d ", index)
	if n := int(k.bytes[cookedAddrLen]); n == len(ethernet.MAC{}) {
		b = fmt.Appendf(b, "%s ", ethernet.MAC(k.bytes[cookedAt:]))
	}
	text := string(w.walk(nil, frame, wireLen, w.walker.Ethernet))
	// AppendFrame begins with 'MAC > MAC, ethertype …, length N: ', of which the type is right.
	_, text, _ = strings.Cut(text, ", ")
	name, _, _ = strings.Cut(text, ", length ")
	_, text, _ = strings.Cut(text, ": ")
	if w.o.quick {
		name = "ethertype " + name
	}
	return fmt.Appendf(b, "%s, length %d: %s", name, k.wireLen, text)
}

// bytes appends the packet's bytes, as -x, -X and -A want them; given twice, with its link header.
func (w *printer) bytes(b []byte, k packet) []byte {
	with := func(times int) []byte {
		if times > 1 {
			return k.bytes
		}
		return k.bytes[min(len(k.bytes), w.link.headerLen(k.bytes)):]
	}
	switch {
	case w.o.hexText > 0:
		return appendHex(b, with(w.o.hexText), true)
	case w.o.hex > 0:
		return appendHex(b, with(w.o.hex), false)
	case w.o.text > 0:
		return append(appendText(b, with(w.o.text)), '\n')
	}
	return b
}

// appendHex appends lines of sixteen bytes.
func appendHex(b, data []byte, text bool) []byte {
	const perLine, width = 16, 40
	for at := 0; at < len(data); at += perLine {
		line := data[at:min(at+perLine, len(data))]
		b = fmt.Appendf(b, "\t0x%04x: ", at)
		start := len(b)
		for i, v := range line {
			if i%2 == 0 {
				b = append(b, ' ')
			}
			b = fmt.Appendf(b, "%02x", v)
		}
		if text {
			b = fmt.Appendf(b, "%*s  ", width-(len(b)-start), "")
			for _, v := range line {
				b = append(b, visible(v))
			}
		}
		b = append(b, '\n')
	}
	return b
}

func visible(v byte) byte {
	if v > ' ' && v <= '~' {
		return v
	}
	return '.'
}

// appendText appends what can be printed as it is, the white space of lines included, but no carriage return in front of a newline.
func appendText(b, data []byte) []byte {
	for i, v := range data {
		switch {
		case v == '\r' && i+1 < len(data) && data[i+1] == '\n':
		case v == '\t' || v == ' ' || v == '\n':
			b = append(b, v)
		default:
			b = append(b, visible(v))
		}
	}
	return b
}
