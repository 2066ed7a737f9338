package ipfrag

// Putting together: the way of a fragment. The bookkeeping is in datagram.go.

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// Reassembler puts fragments together to datagrams as Linux does (6.18, net/ipv4/ip_fragment.c and inet_fragment.c). Fragments
// belong together that have source, destination, protocol, id and domain in common. The time is what the caller says it is, as
// time since any moment; a time before one that was seen counts as that one.
//
// A fragment whose bytes have all arrived is dropped alone; any other overlap, and any other contradiction between fragments,
// ends the whole datagram. The time of a datagram runs from the fragment that came first. Above [Config].MaxBytes nothing
// makes room for new fragments: they are refused until held ones complete or time out, as in Linux since 4.17.
//
// The datagram gets the header and options of its first fragment, and DF if the largest of its fragments had it: Linux does so
// to let fragments that probe the path MTU remain what they are, and who sends such a datagram on is to cut it again.
// Congestion experienced by one fragment holds for the datagram (RFC 3168 section 5.3).
//
// # Ownership
//
// Every buffer given to [Reassembler.Input] comes out once, in a [Result] of this or of a later call, its packet as it came in
// but for the one that a datagram made whole lies in: that of its first fragment if it has the room, else a new one of
// [packet.New].
//
// # Differences from Linux
//
//   - A fragment that completes its datagram is taken whatever the limits, as it frees memory. The others are refused if they
//     would exceed a limit; Linux takes the one that crosses it.
//   - There are limits by source and on the number of datagrams.
//   - A fragment beyond 65535 bytes ends its datagram at once, in Linux when it would be complete.
//   - A timeout changed by SetConfig holds for datagrams that are held already.
//
// All methods may be called by any goroutine at any time; they take turns.
type Reassembler struct {
	mu     sync.Mutex
	config Config
	now    time.Duration // the latest time seen
	stats  Stats

	datagrams      map[key]*datagram
	sources        map[sourceKey]*source
	oldest, newest *datagram // in the order of their first fragments
	fragments      int       // held
	bytes          int       // of their buffers

	spare       *datagram // ended ones, to be used again, linked by next
	spareSource *source
}

// New returns a reassembler that holds nothing. It reports every field of c that is out of range.
func New(c Config) (*Reassembler, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Reassembler{config: c, datagrams: make(map[key]*datagram), sources: make(map[sourceKey]*source)}, nil
}

// SetConfig replaces the configuration. Lower limits end nothing that is held. It reports every field of c that is out of
// range, and then changes nothing.
func (r *Reassembler) SetConfig(c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.config = c
	return nil
}

// Input takes a fragment, which b holds from its IPv4 header on, and appends what comes out to out: nothing if it is held; the
// fragment, if it is refused; all fragments of its datagram, if that is given up; and if that is complete, the merged fragments
// and behind them the datagram, with its checksum state unknown and without hash and VLAN tag. domain keeps apart what has
// nothing to do with each other, such as the fragments inside of two tunnels. What is no fragment comes out Whole, uncounted.
//
// It allocates nothing in the long run, but for a datagram that does not fit the first fragment's buffer, or comes in more than
// 64 fragments.
func (r *Reassembler) Input(domain uint32, b *packet.Buffer, now time.Duration, out []Result) []Result {
	h, payload, err := ipv4.Parse(b.Bytes())
	if err == nil && !h.IsFragment() {
		return append(out, Result{Buffer: b, Outcome: Whole})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = max(r.now, now)
	r.stats.ReasmReqds++
	if err != nil {
		return r.give(b, Malformed, out)
	}
	k := keyOf(domain, h)
	d, out := r.find(k, out)
	f := newFragment(b, h, len(payload))
	at, outcome := d.place(&f, r.config.Strict)
	switch {
	case outcome == Duplicate:
		d.last = d.last || !f.more // Linux believes it that far
		return r.give(b, Duplicate, out)
	case outcome != Held:
		return r.giveUp(d, b, outcome, out)
	case !d.completedBy(&f):
		if outcome := r.refusal(k, d, f.size()); outcome != Held {
			r.stats.ReasmFails++
			return r.give(b, outcome, out)
		}
	}
	if d == nil {
		d = r.begin(k)
	}
	r.hold(d, at, &f, h)
	if d.complete() {
		return r.finish(d, out)
	}
	return out
}

// find returns the datagram of a further fragment, nil if none is held: it may have had its time just now, or be too far back.
func (r *Reassembler) find(k key, out []Result) (*datagram, []Result) {
	d := r.datagrams[k]
	s := r.sources[k.source()]
	if s != nil {
		s.seen++
	}
	if d == nil {
		return nil, out
	}
	if r.due(d) {
		return nil, r.expire(d, out)
	}
	// The difference is right beyond the overflow of seen. It counts the fragment itself (ip_frag_too_far).
	if far := s.seen - d.seen; r.config.MaxDistance >= 0 && far > uint32(r.config.MaxDistance) {
		return nil, r.giveUp(d, nil, TooFar, out)
	}
	d.seen = s.seen
	return d, out
}

// refusal returns the limit that one more fragment of size bytes would exceed, Held if none; d is its datagram, or nil.
func (r *Reassembler) refusal(k key, d *datagram, size int) Outcome {
	bySource := 0
	if s := r.sources[k.source()]; s != nil {
		bySource = s.bytes
	}
	switch {
	case r.bytes+size > r.config.MaxBytes, d == nil && len(r.datagrams) >= r.config.MaxDatagrams:
		return Full
	case bySource+size > r.config.MaxPerSource:
		return SourceFull
	}
	return Held
}

// give returns one buffer to the caller.
func (r *Reassembler) give(b *packet.Buffer, o Outcome, out []Result) []Result {
	r.stats.Out[o]++
	return append(out, Result{Buffer: b, Outcome: o})
}

// giveUp ends a datagram and returns all its buffers, and b, which is not in it; each may be nil.
func (r *Reassembler) giveUp(d *datagram, b *packet.Buffer, o Outcome, out []Result) []Result {
	r.stats.ReasmFails++
	if o == Overlap {
		r.stats.ReasmOverlaps++
	}
	if d != nil {
		for i := range d.fragments {
			out = r.give(d.fragments[i].buffer, o, out)
		}
		r.end(d)
	}
	if b != nil {
		out = r.give(b, o, out)
	}
	return out
}

// expire gives up a datagram that had its time. Its first fragment comes last.
func (r *Reassembler) expire(d *datagram, out []Result) []Result {
	r.stats.ReasmFails++
	r.stats.ReasmTimeout++
	rest, first := d.fragments, d.first()
	if first != nil {
		rest = rest[1:]
	}
	for i := range rest {
		out = r.give(rest[i].buffer, TimedOut, out)
	}
	if first != nil {
		out = r.give(first.buffer, TimedOutFirst, out)
	}
	r.end(d)
	return out
}

// due reports whether a datagram had its time.
func (r *Reassembler) due(d *datagram) bool { return r.now-d.since >= r.config.Timeout }

// Tick gives up the datagrams that had their time, and appends their fragments to out.
func (r *Reassembler) Tick(now time.Duration, out []Result) []Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = max(r.now, now)
	for d := r.oldest; d != nil && r.due(d); d = r.oldest {
		out = r.expire(d, out)
	}
	return out
}

// Next returns when [Reassembler.Tick] has something to do, [Never] if nothing is held.
func (r *Reassembler) Next() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.oldest == nil || r.oldest.since > Never-r.config.Timeout {
		return Never
	}
	return r.oldest.since + r.config.Timeout
}

// Flush gives up all datagrams and appends their fragments to out. It counts no failures, as nothing is wrong with them.
func (r *Reassembler) Flush(out []Result) []Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	for d := r.oldest; d != nil; d = r.oldest {
		for i := range d.fragments {
			out = r.give(d.fragments[i].buffer, Flushed, out)
		}
		r.end(d)
	}
	return out
}

// Len returns how many datagrams and fragments are held, and the bytes of their buffers as [Config] counts them.
func (r *Reassembler) Len() (datagrams, fragments, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.datagrams), r.fragments, r.bytes
}

// Stats returns the counters.
func (r *Reassembler) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// finish makes a complete datagram of its fragments and appends all that comes of it to out.
func (r *Reassembler) finish(d *datagram, out []Result) []Result {
	first := d.first()
	h, _, _ := ipv4.Parse(first.buffer.Bytes()) // as in Input, where it was right
	ecn, ok := combinedECN(d.ecn, h.ECN())
	if !ok {
		return r.giveUp(d, nil, BadECN, out)
	}
	if h.Len()+d.total > ipv4.MaxLen {
		return r.giveUp(d, nil, TooBig, out)
	}
	fields := ipv4.FieldsOf(h)
	fields.TOS = fields.TOS&^3 | uint8(ecn)
	fields.FragmentOffset, fields.Flags = 0, 0
	if d.largestDF == d.largest {
		fields.Flags = ipv4.DontFragment
	}
	b, made := d.join(h.Len())
	_, _ = fields.Put(b.Bytes(), d.total) // they are those of a valid header, and the length was checked
	for i := range d.fragments {
		if f := d.fragments[i].buffer; f != b {
			out = r.give(f, Merged, out)
		}
	}
	r.end(d)
	r.stats.ReasmOKs++
	r.stats.Out[Whole]++
	if made {
		r.stats.Made++
	}
	return append(out, Result{Buffer: b, Outcome: Whole, Made: made})
}

// combinedECN returns the codepoint of a datagram whose fragments had those in set, a bit for each, and the first one had first.
// It reports false for a mixture that no sender makes (Linux ip_frag_ecn_table).
func combinedECN(set uint8, first ipv4.ECN) (ipv4.ECN, bool) {
	const notECT, ce = 1 << ipv4.NotECT, 1 << ipv4.CE
	switch {
	case set&notECT != 0 && set != notECT:
		return 0, false
	case set&ce != 0:
		return ipv4.CE, true
	}
	return first, true
}

// keyOf returns the key of a fragment's datagram.
func keyOf(domain uint32, h ipv4.Header) key {
	src, dst := h.Src(), h.Dst()
	return key{
		domain: domain, src: binary.BigEndian.Uint32(src[:]), dst: binary.BigEndian.Uint32(dst[:]),
		id: h.ID(), protocol: h.Protocol(),
	}
}
