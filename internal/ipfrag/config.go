package ipfrag

// What a Reassembler can be told, and what it tells.

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/culvert-net/culvert/packet"
)

// Config limits a [Reassembler]. Zero fields take the default.
//
// Bytes are those of the buffers that are held, headroom and tailroom included: what they cost, however few of them a sender
// fills. Linux counts the same way (truesize).
type Config struct {
	// Timeout is how long a datagram may take from the fragment that arrived first, 30 s by default (net.ipv4.ipfrag_time).
	Timeout time.Duration

	// MaxBytes is the memory of all held fragments, 4 MiB by default (net.ipv4.ipfrag_high_thresh), -1 for none.
	MaxBytes int

	// MaxPerSource is the memory of held fragments from one source address. The default is a quarter of MaxBytes, but room
	// for the largest datagram, 128 KiB. Linux has no such limit: there, one sender shuts out all others.
	MaxPerSource int

	// MaxDatagrams is the number of incomplete datagrams, 4096 by default.
	MaxDatagrams int

	// MaxDistance is after how many other fragments from the same source a datagram's next fragment is taken for that of
	// another datagram with the same id, 64 by default (net.ipv4.ipfrag_max_dist), -1 for never.
	MaxDistance int

	// Strict refuses what Linux lets pass: a payload that is no multiple of 8 bytes, though more fragments follow (Linux cuts
	// it down to one), and a fragment that lies within what has arrived, but is not the same as one of it (Linux takes it for a
	// duplicate if what it lies in arrived in order).
	Strict bool
}

// Never is the deadline of a [Reassembler] that holds nothing.
const Never = time.Duration(math.MaxInt64)

const (
	defaultTimeout      = 30 * time.Second
	defaultMaxBytes     = 4 << 20
	defaultMaxDatagrams = 4096
	defaultMaxDistance  = 64
	leastPerSource      = 128 << 10 // 64 KiB come in 45 fragments over an MTU of 1500, in buffers of 2048 bytes

	maxLimit = 1 << 30 // of each
)

// check fills in defaults and reports every field that is out of range.
func (c *Config) check() error {
	orDefault(&c.Timeout, defaultTimeout)
	orDefault(&c.MaxBytes, defaultMaxBytes)
	orDefault(&c.MaxDatagrams, defaultMaxDatagrams)
	orDefault(&c.MaxDistance, defaultMaxDistance)
	if c.MaxBytes == -1 {
		c.MaxBytes = 0
	}
	orDefault(&c.MaxPerSource, max(c.MaxBytes/4, min(c.MaxBytes, leastPerSource)))
	var errs []error
	if c.Timeout < 0 {
		errs = append(errs, fmt.Errorf("ipfrag: Config.Timeout is %v: want a positive duration, or 0 for %v", c.Timeout, defaultTimeout))
	}
	limit := func(name string, v, least int, special string) {
		if v < least || v > maxLimit {
			errs = append(errs, fmt.Errorf("ipfrag: Config.%s is %d: want %d to %d, or 0 for the default%s", name, v, 1, maxLimit, special))
		}
	}
	limit("MaxBytes", c.MaxBytes, 0, ", or -1 for none")
	limit("MaxPerSource", c.MaxPerSource, 0, "")
	limit("MaxDatagrams", c.MaxDatagrams, 1, "")
	limit("MaxDistance", c.MaxDistance, -1, ", or -1 for no limit")
	return errors.Join(errs...)
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Outcome is what became of a buffer.
type Outcome uint8

// The outcomes. Those from Overlap on befall all fragments of a datagram.
const (
	Held   Outcome = iota // kept; never in a Result
	Whole                 // a datagram to be worked on
	Merged                // its payload is in a Whole datagram: free it

	Malformed  // not an IPv4 packet
	Duplicate  // its bytes had arrived
	Full       // refused for Config.MaxBytes or MaxDatagrams
	SourceFull // refused for Config.MaxPerSource

	Overlap   // with a fragment that had arrived: a forgery, or two datagrams with one id
	BadLength // no payload; with Config.Strict also no multiple of 8 bytes though more follow
	BadEnd    // bytes beyond the end, or a second end
	BadECN    // some of the datagram is ECN-capable and some is not (RFC 3168 section 5.3)
	TooBig    // the datagram would exceed 65535 bytes: the ping of death
	TooFar    // the datagram's next fragment came too late, see Config.MaxDistance
	Flushed   // by Reassembler.Flush
	TimedOut  // the datagram had its time

	// TimedOutFirst is TimedOut of the first fragment, with which to tell the sender (ICMP 11/1).
	TimedOutFirst

	NumOutcomes = iota
)

var outcomeNames = [NumOutcomes]string{
	Held:          "held",
	Whole:         "whole",
	Merged:        "merged",
	Malformed:     "not an IPv4 packet",
	BadLength:     "bad length of a fragment",
	Duplicate:     "duplicate fragment",
	Full:          "too many fragments",
	SourceFull:    "too many fragments from one source",
	Overlap:       "overlapping fragments",
	BadEnd:        "fragments disagree on the end",
	TooBig:        "fragments exceed 65535 bytes",
	BadECN:        "fragments disagree on ECN capability",
	TooFar:        "fragments too far apart",
	Flushed:       "fragments flushed",
	TimedOut:      "reassembly timed out",
	TimedOutFirst: "reassembly timed out, first fragment",
}

// String returns o as words.
func (o Outcome) String() string {
	if o < NumOutcomes {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// Result is a buffer that comes out of a [Reassembler], with its ownership.
type Result struct {
	Buffer  *packet.Buffer
	Outcome Outcome
	Made    bool // Buffer is a new one, because no fragment's had room for the datagram
}

// Stats counts what became of fragments and datagrams. The first five are the counters of Linux with these names (nstat).
// All buffers are accounted for: ReasmReqds + Made is the sum of Out and of the fragments held.
type Stats struct {
	ReasmReqds    uint64 // fragments received
	ReasmOKs      uint64 // datagrams made whole
	ReasmFails    uint64 // datagrams given up, and fragments refused for a limit
	ReasmTimeout  uint64 // datagrams given up for their time
	ReasmOverlaps uint64 // datagrams given up because fragments overlapped

	Made uint64              // datagrams in new buffers
	Out  [NumOutcomes]uint64 // buffers given back
}
