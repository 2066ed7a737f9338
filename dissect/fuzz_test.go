// Any bytes at all: nothing panics, nothing that is handed out lies outside the frame, and every header that was read says
// again, written anew from its fields, what the frame says.
package dissect_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

func FuzzEthernet(f *testing.F) {
	f.Fuzz(func(t *testing.T, frame []byte, partial bool, levels uint8) {
		fuzz(t, frame, partial, levels, (*dissect.Walker).Ethernet)
	})
}

func FuzzIPv4(f *testing.F) {
	f.Fuzz(func(t *testing.T, packet []byte, partial bool, levels uint8) {
		fuzz(t, packet, partial, levels, (*dissect.Walker).IPv4)
	})
}

func fuzz(t *testing.T, frame []byte, partial bool, levels uint8, walk func(*dissect.Walker, *dissect.Stack, []byte) error) {
	c := dissect.Config{Partial: partial, Levels: int(levels % (dissect.MaxLevels + 1))}
	w := newWalker(t, c)
	frame = exact(frame)
	before := exact(frame)
	var s dissect.Stack
	err := walk(w, &s, frame)
	if !bytes.Equal(before, frame) {
		t.Fatal("the walk wrote into the frame")
	}
	inspect(t, frame, &s)
	most := dissect.MaxLevels
	if c.Levels != 0 {
		most = c.Levels
	}
	if n := len(s.Levels()); n < 1 || n > most {
		t.Fatalf("%d levels of %d", n, most)
	}
	inspectError(t, frame, &s, err)
	if partial {
		return
	}
	// Whoever reads on finds at least as much, and the same where nothing is missing.
	c.Partial = true
	var more dissect.Stack
	if moreErr := walk(newWalker(t, c), &more, frame); err == nil && moreErr != nil {
		t.Fatalf("reading on fails where not reading on does not: %v", moreErr)
	}
	if len(more.Levels()) < len(s.Levels()) || len(read(&more)) < len(read(&s)) || err == nil && read(&more) != read(&s) {
		t.Fatalf("reading on found %q, not reading on %q", read(&more), read(&s))
	}
}

func inspectError(t *testing.T, frame []byte, s *dissect.Stack, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var at *dissect.Error
	if !errors.As(err, &at) {
		t.Fatalf("%T is no *dissect.Error", err)
	}
	if at.Level != len(s.Levels())-1 || at.Offset < 0 || at.Offset > len(frame) || at.Err == nil || at.Error() == "" {
		t.Fatalf("error %+v of a walk with %d levels over %d bytes", at, len(s.Levels()), len(frame))
	}
}

// inspect calls every accessor of every level and checks that all its parts lie within the frame, one behind the other.
func inspect(t *testing.T, frame []byte, s *dissect.Stack) {
	t.Helper()
	at := 0 // where the next header may start at the earliest
	for i := range s.Levels() {
		l := &s.Levels()[i]
		within := func(name string, part []byte) {
			t.Helper()
			if len(part) == 0 {
				return
			}
			start, inside := offset(frame, part)
			if !inside || start < at {
				t.Fatalf("level %d: %s is %d bytes at %d: want within %d to %d", i, name, len(part), start, at, len(frame))
			}
			at = start + len(part)
		}
		checkHeaders(t, l, within)
		if l.Payload != nil {
			payload := at
			within("payload", l.Payload)
			at = payload // the next level lies in it
		}
		_ = l.Flow().String()
		_, _ = l.WrongChecksum(), l.WrongTransportChecksum()
		if l.IsFragment() && (l.VXLAN.IsValid() || i+1 < len(s.Levels())) {
			t.Fatalf("level %d: a tunnel in a fragment was entered", i)
		}
	}
}

// checkHeaders checks each header of a level: where it lies, its accessors, and that it can be written anew.
func checkHeaders(t *testing.T, l *dissect.Level, within func(string, []byte)) {
	t.Helper()
	if h := l.Ethernet; h.IsValid() {
		within("ethernet", h.Bytes())
		b, err := ethernet.FieldsOf(h, nil).Append(nil)
		same(t, "ethernet", h.Bytes(), b, err)
	}
	if p := l.ARP; p.IsValid() {
		within("arp", p.Bytes())
		same(t, "arp", p.Bytes(), arp.FieldsOf(p).Append(nil), nil)
		_, _ = p.IsProbe(), p.IsAnnouncement()
	}
	if h := l.IPv4; h.IsValid() {
		within("ipv4", h.Bytes())
		_, _, _ = h.Options().Check(), h.DSCP(), h.ECN()
		// 0xffff is as right as 0 and never written; a total length of 0 cannot be.
		if h.ChecksumOK() && h.Checksum() != 0xffff && h.TotalLen() != 0 {
			b, err := ipv4.FieldsOf(h).Append(nil, int(h.TotalLen())-h.Len())
			same(t, "ipv4", h.Bytes(), b, err)
		}
	}
	if h := l.TCP; h.IsValid() {
		within("tcp", h.Bytes())
		_, _, _, _, _, _ = h.SrcPort(), h.DstPort(), h.Seq(), h.Ack(), h.Flags(), h.Options()
		_, _, _ = h.Window(), h.Checksum(), h.Urgent()
	}
	if h := l.UDP; h.IsValid() {
		within("udp", h.Bytes())
		if h.Length() != 0 {
			b, err := udp.FieldsOf(h).Append(nil, int(h.Length())-udp.HeaderLen)
			same(t, "udp", h.Bytes(), b, err)
		}
	}
	if h := l.ICMP; h.IsValid() {
		within("icmp", h.Bytes())
		_, _, _, _, _ = h.Quote(l.Payload), h.Extensions(l.Payload), h.NextHopMTU(), h.ID(), h.Seq()
		if h.ChecksumOK(l.Payload) && h.Checksum() != 0xffff {
			b := icmp.FieldsOf(h).Append(nil, l.Payload)
			same(t, "icmp", h.Bytes(), b[:icmp.HeaderLen], nil)
		}
	}
	if h := l.VXLAN; h.IsValid() {
		within("vxlan", h.Bytes())
		b, err := vxlan.FieldsOf(h).Append(nil)
		same(t, "vxlan", h.Bytes(), b, err)
	}
}

func same(t *testing.T, name string, want, got []byte, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s header % x cannot be written anew: %v", name, want, err)
	}
	if !bytes.Equal(want, got) {
		t.Fatalf("%s header % x, written anew: % x", name, want, got)
	}
}
