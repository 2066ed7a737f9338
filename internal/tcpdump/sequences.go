package tcpdump

// Relative TCP sequence numbers, for which packets before must be remembered.

import (
	"slices"

	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/tcp"
)

// maxConversations is how many a Sequences remembers; numbers of others are printed as they are.
const maxConversations = 1 << 16

// Sequences remembers where TCP conversations began, so that numbers in them can be printed as tcpdump prints them without -S. The
// zero value is ready. It must not be used by two goroutines at once.
type Sequences struct{ first map[flow.Key]numbers }

// numbers are the first that were seen of a conversation: of the side with the lower address, or port, and of the other, as tcpdump
// keeps them.
type numbers struct{ seq, ack uint32 }

// relative returns sequence and acknowledgment number of a segment, relative unless it begins the conversation or acknowledges
// nothing, and what the numbers of selective acknowledgments are relative to.
func (s *Sequences) relative(k flow.Key, h tcp.Header) (seq, ack, sack uint32) {
	seq, ack = h.Seq(), h.Ack()
	if h.Flags()&tcp.ACK == 0 {
		return seq, ack, 0
	}
	order := slices.Compare(k.Src[:], k.Dst[:])
	reverse := order > 0 || order == 0 && k.SrcPort > k.DstPort
	if reverse {
		k.Src, k.Dst, k.SrcPort, k.DstPort = k.Dst, k.Src, k.DstPort, k.SrcPort
	}
	first, ok := s.first[k]
	if !ok || h.Flags()&tcp.SYN != 0 {
		first = numbers{seq: seq, ack: ack - 1}
		if reverse {
			first = numbers{seq: ack - 1, ack: seq}
		}
		s.remember(k, first)
	} else if reverse {
		seq, ack = seq-first.ack, ack-first.seq
	} else {
		seq, ack = seq-first.seq, ack-first.ack
	}
	if reverse {
		return seq, ack, first.seq
	}
	return seq, ack, first.ack
}

func (s *Sequences) remember(k flow.Key, first numbers) {
	if s.first == nil {
		s.first = map[flow.Key]numbers{}
	}
	if len(s.first) < maxConversations {
		s.first[k] = first
	}
}
