package takeapart

// One frame: walked, its checksums verified, its tunnels rebuilt.

import (
	"errors"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// frame is a captured frame and what was found out about it. It is overwritten by the next one.
type frame struct {
	number int // over all files of the run
	packet pcapfile.Packet
	link   linkHeader
	stack  dissect.Stack
	starts [dissect.MaxLevels]int // where each level starts, in bytes from the end of the link header

	fault    *dissect.Error // what is wrong; nil if all is well
	readOn   bool           // reading did not stop there: a length is wrong, and the bytes that there are were read
	cut      bool           // the capture's snap length cut it
	short    bool           // reading ended in front of a header that was cut
	sums     []badSum
	tunnels  []tunnelResult
	rejected bool // by -strict

	faultValue dissect.Error // what fault points to
}

// inspector finds out all about one frame after the other.
type inspector struct {
	whole, partial *dissect.Walker // the latter reads on where bytes are missing
	rebuild        *rebuilder
	strict         bool
	frame          frame
}

func newInspector(opt Options) (*inspector, error) {
	whole, err1 := dissect.New(dissect.Config{VXLANPorts: opt.Ports})
	partial, err2 := dissect.New(dissect.Config{VXLANPorts: opt.Ports, Partial: true})
	rebuild, err3 := newRebuilder()
	return &inspector{whole: whole, partial: partial, rebuild: rebuild, strict: opt.Strict}, errors.Join(err1, err2, err3)
}

// inspect returns what is in p, valid until the next call.
func (in *inspector) inspect(number int, p pcapfile.Packet) *frame {
	f := &in.frame
	f.number, f.packet, f.link = number, p, parseLink(p.LinkType, p.Data)
	f.fault, f.readOn, f.cut, f.short, f.rejected = nil, false, len(p.Data) < p.WireLen, false, false
	f.sums, f.tunnels = f.sums[:0], f.tunnels[:0]
	if f.link.skip != "" {
		return f
	}
	in.walk(f)
	f.locate()
	f.sums = appendBadSums(f.sums, f.levels())
	if in.strict && anyWrong(f.sums) {
		f.rejected = true
		return f
	}
	for i := range f.levels() {
		if kind := tunnelOf(&f.levels()[i]); kind != notTunnel {
			f.tunnels = append(f.tunnels, in.rebuild.tunnel(f, i, kind))
		}
	}
	return f
}

// walk walks the frame; again, if its end is missing, to read as far as it goes.
func (in *inspector) walk(f *frame) {
	err := f.walk(in.whole)
	if err == nil {
		return
	}
	f.fail(err)
	if !missing(err) {
		return
	}
	err = f.walk(in.partial)
	switch {
	case f.cut && (err == nil || missing(err)): // no fault of the frame's
		f.fault, f.short = nil, err != nil
	case f.cut:
		f.fail(err)
	case err == nil:
		f.readOn = true
	}
}

// walk is one walk.
func (f *frame) walk(w *dissect.Walker) error {
	if f.link.ethernet {
		return w.Ethernet(&f.stack, f.bytes())
	}
	return w.IPv4(&f.stack, f.bytes())
}

// fail keeps the error of a walk, which the next walk overwrites.
func (f *frame) fail(err error) {
	var e *dissect.Error
	if errors.As(err, &e) {
		f.faultValue = *e
		f.faultValue.Offset += f.link.len
		f.fault = &f.faultValue
	}
}

// missing reports whether an error may come from bytes that are not there.
func missing(err error) bool {
	for _, e := range []error{
		ethernet.ErrLength, ipv4.ErrTruncated, ipv4.ErrNoLength, udp.ErrTruncated, udp.ErrNoLength,
		ethernet.ErrShort, arp.ErrShort, ipv4.ErrShort, udp.ErrShort, tcp.ErrShort, icmp.ErrShort, vxlan.ErrShort,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// bytes returns the frame behind the link header.
func (f *frame) bytes() []byte { return f.packet.Data[f.link.len:] }

// levels returns what the walk found; nothing if the frame was not walked.
func (f *frame) levels() []dissect.Level {
	if f.link.skip != "" {
		return nil
	}
	return f.stack.Levels()
}

// locate computes where the levels start.
func (f *frame) locate() {
	at := 0
	for i := range f.levels() {
		f.starts[i] = at
		at += headersLen(&f.levels()[i])
	}
}

// headersLen returns the length in bytes of all headers of a level.
func headersLen(l *dissect.Level) int {
	n := l.Ethernet.Len() + l.IPv4.Len() + l.TCP.Len()
	for _, h := range []struct {
		there bool
		len   int
	}{
		{l.ARP.IsValid(), arp.Len},
		{l.UDP.IsValid(), udp.HeaderLen},
		{l.ICMP.IsValid(), icmp.HeaderLen},
		{l.VXLAN.IsValid(), vxlan.HeaderLen},
	} {
		if h.there {
			n += h.len
		}
	}
	return n
}

// levelBytes returns the frame, or packet, of level i: for an inner one, as its tunnel delimits it.
func (f *frame) levelBytes(i int) []byte {
	if i == 0 {
		return f.bytes()
	}
	return f.stack.Levels()[i-1].Payload
}

// wireLen returns how long level i was on the wire in bytes, as its tunnel has it; what is there if the tunnel says nothing.
func (f *frame) wireLen(i int) int {
	if i == 0 {
		return f.packet.WireLen - f.link.len
	}
	l := &f.stack.Levels()[i-1]
	n := int(l.IPv4.TotalLen()) - l.IPv4.Len()
	if l.VXLAN.IsValid() {
		n = int(l.UDP.Length()) - udp.HeaderLen - vxlan.HeaderLen
	}
	return max(n, len(f.levelBytes(i)))
}

// rebuilt reports whether all tunnels of the frame could be rebuilt, and there is one.
func (f *frame) rebuilt() bool {
	for i := range f.tunnels {
		if !f.tunnels[i].rebuilt {
			return false
		}
	}
	return len(f.tunnels) > 0
}

// tunnelKind says what a level carries.
type tunnelKind uint8

const (
	notTunnel tunnelKind = iota
	tunnelVXLAN
	tunnelIPIP
)

func (k tunnelKind) String() string { return [...]string{"no tunnel", "VXLAN", "IPIP"}[k] }

func tunnelOf(l *dissect.Level) tunnelKind {
	switch {
	case l.VXLAN.IsValid():
		return tunnelVXLAN
	case l.IPv4.IsValid() && l.IPv4.Protocol() == ipip.Protocol && !l.IPv4.IsFragment():
		return tunnelIPIP
	}
	return notTunnel
}
