package ipfrag

// Incomplete datagrams: where a fragment belongs in one, and what is held for whom.

import (
	"slices"
	"time"

	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// key is what the fragments of a datagram have in common.
type key struct {
	domain, src, dst uint32
	id               uint16
	protocol         uint8
}

func (k key) source() sourceKey { return sourceKey{k.domain, k.src} }

// sourceKey is a sender, as far as its address can be believed.
type sourceKey struct{ domain, address uint32 }

// source is a sender of which fragments are held.
type source struct {
	datagrams int
	bytes     int
	seen      uint32 // fragments since the first that is held, in all its datagrams
	next      *source
}

// fragment is a held fragment: its payload is that of the datagram from start to end.
type fragment struct {
	buffer     *packet.Buffer
	start, end int32 // in bytes; end may be less than what the buffer has
	header     uint8 // length in bytes
	more       bool  // MF
	joins      bool  // it came right behind the one before it, and in order: Linux has them in one run
}

func newFragment(b *packet.Buffer, h ipv4.Header, payload int) fragment {
	start := int32(h.FragmentOffset())
	return fragment{buffer: b, start: start, end: start + int32(payload), header: uint8(h.Len()), more: h.MF()}
}

// size returns the bytes of the fragment's buffer.
func (f *fragment) size() int { return f.buffer.Headroom() + f.buffer.Len() + f.buffer.Tailroom() }

func (f *fragment) len() int { return int(f.end - f.start) }

// datagram is an incomplete datagram.
type datagram struct {
	key       key
	source    *source
	since     time.Duration
	fragments []fragment // by start; they do not overlap
	size      int        // bytes of their buffers
	have      int        // bytes of payload that arrived
	total     int        // bytes of payload as far as known
	seen      uint32     // of the source, with the last fragment
	largest   int        // bytes of the largest fragment, header included
	largestDF int        // the same of those with DF
	ecn       uint8      // a bit for each codepoint that a fragment had
	last      bool       // total is known

	prev, next *datagram
}

// keptFragments is how many fragments the list of an ended datagram keeps room for: those of the largest one over an MTU of 1500.
const keptFragments = 64

// first returns the fragment with offset 0, nil if it has not arrived.
func (d *datagram) first() *fragment {
	if len(d.fragments) > 0 && d.fragments[0].start == 0 {
		return &d.fragments[0]
	}
	return nil
}

// complete reports whether all bytes have arrived: as fragments do not overlap, it is enough to count them.
func (d *datagram) complete() bool { return d.last && d.have == d.total }

// completedBy reports whether f, which was placed, is all that is missing; d may be nil.
func (d *datagram) completedBy(f *fragment) bool {
	return d != nil && (d.last || !f.more) && d.have+f.len() == max(d.total, int(f.end))
}

// place cuts f to a multiple of 8 bytes, unless it is the last one, and returns its place among the fragments and Held, or what is
// wrong with it, Duplicate or an outcome of all the datagram (ip_frag_queue). d is nil if it is the first one to arrive.
func (d *datagram) place(f *fragment, strict bool) (at int, o Outcome) {
	if int(f.end)+ipv4.HeaderLen > ipv4.MaxLen {
		return 0, TooBig
	}
	if f.more && f.end%unit != 0 {
		if strict {
			return 0, BadLength
		}
		f.end &^= unit - 1
	}
	var total int
	var last bool
	if d != nil {
		total, last = d.total, d.last
	}
	switch {
	case last && int(f.end) > total, !f.more && int(f.end) < total, last && !f.more && int(f.end) != total:
		return 0, BadEnd
	case f.start == f.end:
		return 0, BadLength
	case d == nil:
		return 0, Held
	}
	return d.fit(f, strict)
}

// fit returns the place of f and Held, or Duplicate or Overlap (inet_frag_queue_insert).
func (d *datagram) fit(f *fragment, strict bool) (int, Outcome) {
	all := d.fragments
	// The first one that ends behind its start.
	at, _ := slices.BinarySearchFunc(all, f.start, func(g fragment, start int32) int { return int(g.end-start) - 1 })
	if at == len(all) { // all end at or before its start, and there is one
		f.joins = all[at-1].end == f.start
		return at, Held
	}
	switch g := &all[at]; {
	case f.end <= g.start:
		return at, Held
	case strict:
		if g.start == f.start && g.end == f.end && g.more == f.more {
			return 0, Duplicate
		}
	case g.start <= f.start && d.runEnd(at) >= f.end:
		return 0, Duplicate
	}
	return 0, Overlap
}

// runEnd returns where the run ends that fragment at is in.
func (d *datagram) runEnd(at int) int32 {
	for at++; at < len(d.fragments) && d.fragments[at].joins; at++ {
	}
	return d.fragments[at-1].end
}

// join returns a buffer with the payload of all fragments behind room for a header: the first fragment's buffer, or a new one.
func (d *datagram) join(header int) (b *packet.Buffer, made bool) {
	b = d.fragments[0].buffer
	if b.Tailroom()+b.Len() < header+d.total {
		b, made = packet.New(header+d.total), true
	}
	rest := d.fragments
	if !made {
		rest = rest[1:]
	}
	if missing := header + d.total - b.Len(); missing > 0 {
		_, _ = b.Extend(missing) // there is room
	} else {
		_ = b.Truncate(header + d.total)
	}
	payload := b.Bytes()[header:]
	for i := range rest {
		f := &rest[i]
		copy(payload[f.start:f.end], f.buffer.Bytes()[f.header:])
	}
	b.ClearMetadata()
	return b, made
}

// begin returns a new datagram without fragments.
func (r *Reassembler) begin(k key) *datagram {
	d := r.spare
	if d == nil {
		d = &datagram{}
	} else {
		r.spare = d.next
	}
	s := r.sources[k.source()]
	if s == nil {
		s = r.beginSource(k.source())
	}
	s.datagrams++
	*d = datagram{key: k, source: s, since: r.now, seen: s.seen, fragments: d.fragments[:0], prev: r.newest}
	if d.prev != nil {
		d.prev.next = d
	} else {
		r.oldest = d
	}
	r.newest = d
	r.datagrams[k] = d
	return d
}

func (r *Reassembler) beginSource(k sourceKey) *source {
	s := r.spareSource
	if s == nil {
		s = &source{}
	} else {
		r.spareSource = s.next
	}
	*s = source{}
	r.sources[k] = s
	return s
}

// hold adds a fragment with header h to d at its place.
func (r *Reassembler) hold(d *datagram, at int, f *fragment, h ipv4.Header) {
	d.fragments = slices.Insert(d.fragments, at, *f)
	d.have += f.len()
	d.total = max(d.total, int(f.end))
	d.last = d.last || !f.more
	d.ecn |= 1 << h.ECN()
	length := h.Len() + f.len()
	d.largest = max(d.largest, length)
	if h.DF() {
		d.largestDF = max(d.largestDF, length)
	}
	size := f.size()
	d.size += size
	d.source.bytes += size
	r.bytes += size
	r.fragments++
}

// end takes d, whose buffers went elsewhere or are about to, out of all lists.
func (r *Reassembler) end(d *datagram) {
	r.bytes -= d.size
	r.fragments -= len(d.fragments)
	delete(r.datagrams, d.key)
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		r.oldest = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	} else {
		r.newest = d.prev
	}
	r.endSource(d)
	clear(d.fragments) // buffers are the caller's now
	if cap(d.fragments) > keptFragments {
		d.fragments = nil
	}
	*d = datagram{fragments: d.fragments[:0], next: r.spare}
	r.spare = d
}

func (r *Reassembler) endSource(d *datagram) {
	s := d.source
	s.bytes -= d.size
	s.datagrams--
	if s.datagrams > 0 {
		return
	}
	delete(r.sources, d.key.source())
	s.next = r.spareSource
	r.spareSource = s
}
