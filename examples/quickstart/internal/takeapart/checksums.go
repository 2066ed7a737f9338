package takeapart

// Checksums: which are wrong, and which only look so because an offload had not filled them in when the frame was captured.

import (
	"fmt"
	"slices"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
)

// badSum is a checksum that is not right.
type badSum struct {
	level       int
	layer       dissect.Layer
	field, want uint16

	// partial says that the field holds the sum of the pseudo-header: the sender left the rest to its network card.
	partial bool
}

func (s badSum) String() string {
	if s.partial {
		return fmt.Sprintf("%v checksum 0x%04x is partial (offload): the sender left the rest to its network card", s.layer, s.field)
	}
	return fmt.Sprintf("%v checksum 0x%04x is wrong, right is 0x%04x", s.layer, s.field, s.want)
}

// anyWrong reports whether one of sums is wrong, not only partial.
func anyWrong(sums []badSum) bool {
	return slices.ContainsFunc(sums, func(s badSum) bool { return !s.partial })
}

// appendBadSums appends the bad checksums of a frame to sums, the outermost first.
//
// An outer checksum covers the inner ones. Linux computes it as if a partial inner one were complete ('local checksum
// offload'), so it is judged by what the frame will be on the wire: from the inside out, carrying along by how much
// the completed checksums will change the sum.
func appendBadSums(sums []badSum, levels []dissect.Level) []badSum {
	first := len(sums)
	var change uint16
	for i := len(levels) - 1; i >= 0; i-- {
		l := &levels[i]
		if s, bad := badTransport(l, change); bad {
			s.level = i
			if s.partial {
				change = checksum.Add(change, checksum.Add(^s.field, s.want))
			}
			sums = append(sums, s)
		}
		if ip := l.IPv4; ip.IsValid() && !ip.ChecksumOK() {
			want := right(checksum.Sum(ip.Bytes()), ip.Checksum())
			sums = append(sums, badSum{level: i, layer: dissect.IPv4, field: ip.Checksum(), want: want})
		}
	}
	slices.Reverse(sums[first:])
	return sums
}

// right returns the checksum that would be right where sum, which includes the field, is the sum of all bytes.
func right(sum, field uint16) uint16 { return ^checksum.Add(sum, ^field) }

// badTransport verifies the transport checksum of a level; change is added to the sum of its bytes.
func badTransport(l *dissect.Level, change uint16) (s badSum, bad bool) {
	if !l.IPv4.IsValid() || l.Cut || l.IPv4.IsFragment() {
		return s, false
	}
	sum, pseudo := checksum.Add(change, checksum.Sum(l.Payload)), uint16(0)
	switch {
	case l.UDP.IsValid():
		if l.UDP.Checksum() == 0 {
			return s, false
		}
		s.layer, s.field = dissect.UDP, l.UDP.Checksum()
		pseudo = checksum.PseudoHeader(l.IPv4.Src(), l.IPv4.Dst(), udp.Protocol, l.UDP.Length())
		sum = checksum.Add(sum, checksum.Sum(l.UDP.Bytes()))
		if l.VXLAN.IsValid() {
			sum = checksum.Add(sum, checksum.Sum(l.VXLAN.Bytes()))
		}
	case l.TCP.IsValid():
		s.layer, s.field = dissect.TCP, l.TCP.Checksum()
		pseudo = checksum.PseudoHeader(l.IPv4.Src(), l.IPv4.Dst(), tcp.Protocol, uint16(l.TCP.Len()+len(l.Payload)))
		sum = checksum.Add(sum, checksum.Sum(l.TCP.Bytes()))
	case l.ICMP.IsValid():
		s.layer, s.field = dissect.ICMP, l.ICMP.Checksum()
		sum = checksum.Add(sum, checksum.Sum(l.ICMP.Bytes()))
	default:
		return s, false
	}
	sum = checksum.Add(sum, pseudo)
	s.want = right(sum, s.field)
	if s.layer == dissect.UDP {
		s.want = udp.NotZero(s.want)
	}
	s.partial = s.layer != dissect.ICMP && s.field == pseudo
	return s, sum != 0xffff
}

// partialOf returns the partial checksum that level i itself has, and the one that a level inside it has; nil if there is none.
func (f *frame) partialOf(i int) (own, inner *badSum) {
	for k := range f.sums {
		s := &f.sums[k]
		switch {
		case !s.partial || s.level < i:
		case s.level == i:
			own = s
		default:
			inner = s
		}
	}
	return own, inner
}
