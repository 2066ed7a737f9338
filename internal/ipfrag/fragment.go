// Package ipfrag cuts IPv4 packets into fragments and puts them together again (RFC 791 section 3.2), as Linux does.
//
// [Fragment] is a function of a packet. A [Reassembler] keeps fragments until their datagram is whole, has had its time, or
// turns out to be a forgery; it has no clock, sends nothing, and gives back every buffer that it was given.
package ipfrag

// Cutting.

import (
	"errors"

	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// Faults of a packet that is to be cut, beside those of [ipv4.Parse] and of [packet.Buffer].
var (
	ErrMTU      = errors.New("ipfrag: MTU leaves no room for 8 bytes of payload behind the header")
	ErrNoBuffer = errors.New("ipfrag: no buffer for another fragment")
	ErrTooBig   = errors.New("ipfrag: packet is a fragment that reaches beyond 65535 bytes")
)

// unit is what fragment offsets count in, in bytes: the payload of every fragment but the last is a multiple of it.
const unit = 8

// Fragment cuts the IPv4 packet in b into fragments of at most mtu bytes, header included, and appends them to frags in their
// order. b itself becomes the first one; the others are taken from get, which returns empty buffers, and nil when it has none.
// A packet that is small enough is appended as it is.
//
// The first fragment keeps all options, later ones those with the copied bit (RFC 791 section 3.1); options behind a malformed
// one are not copied. A packet that is a fragment is cut further. Id, TOS, TTL, protocol, DF and the reserved bit are the same
// in all fragments; so is the flow hash, so that they take one way. Whether DF allows any of this is the caller's to look at.
// A partial transport checksum is computed first. b holds the packet and nothing behind it, and is no superframe.
//
// It returns [ErrMTU], [ErrTooBig], [ErrNoBuffer], [packet.ErrTailroom] if a buffer from get is too small, [packet.ErrShort] if
// a partial checksum lies outside the packet, or what [ipv4.Parse] finds. Then b and frags are as they were, and what was taken
// from get is freed. It allocates nothing, unless frags has to grow.
func Fragment(b *packet.Buffer, mtu int, get func() *packet.Buffer, frags []*packet.Buffer) ([]*packet.Buffer, error) {
	h, payload, err := ipv4.Parse(b.Bytes())
	if err != nil {
		return frags, err
	}
	if h.Len()+len(payload) <= mtu {
		return append(frags, b), nil
	}
	if mtu < h.Len()+unit {
		return frags, ErrMTU
	}
	if int(h.FragmentOffset())+len(payload) > ipv4.MaxLen {
		return frags, ErrTooBig
	}
	var options [ipv4.MaxHeaderLen - ipv4.HeaderLen]byte
	c := cutter{fields: ipv4.FieldsOf(h), mtu: mtu}
	c.fields.Options = copied(options[:0], h.Options())

	was, first := len(frags), (mtu-h.Len())&^(unit-1)
	frags = append(frags, b)
	if frags, err = c.take(frags, len(payload)-first, get); err == nil {
		err = b.CompleteChecksum()
	}
	if err != nil {
		packet.FreeBatch(frags[was+1:])
		frags[was] = nil
		return frags[:was], err
	}
	for i, rest := was+1, payload[first:]; len(rest) > 0; i++ {
		rest = c.fill(frags[i], len(payload)-len(rest), rest)
		frags[i].SetHash(b.Hash())
	}
	return frags, shorten(b, h, first)
}

// shorten makes b the first fragment, with n bytes of payload. It cannot fail: the packet was longer.
func shorten(b *packet.Buffer, h ipv4.Header, n int) error {
	b.SetChecksumUnknown() // of all fragments together, if it was known
	return errors.Join(
		h.SetFragment(h.Flags()|ipv4.MoreFragments, h.FragmentOffset()),
		h.SetTotalLen(uint16(h.Len()+n)),
		b.Truncate(h.Len()+n))
}

// cutter makes the fragments behind the first.
type cutter struct {
	fields ipv4.Fields // of the packet that is cut, with the options of its later fragments
	mtu    int
}

// room returns how much of rest bytes goes into the next fragment.
func (c *cutter) room(rest int) int {
	n := c.mtu - c.fields.Len()
	if rest <= n {
		return rest
	}
	return n &^ (unit - 1)
}

// take appends an empty buffer for each of the fragments that rest bytes of payload make.
func (c *cutter) take(frags []*packet.Buffer, rest int, get func() *packet.Buffer) ([]*packet.Buffer, error) {
	for rest > 0 {
		b := get()
		if b == nil {
			return frags, ErrNoBuffer
		}
		b.Reset()
		frags = append(frags, b)
		n := c.room(rest)
		if b.Tailroom() < c.fields.Len()+n {
			return frags, packet.ErrTailroom
		}
		rest -= n
	}
	return frags, nil
}

// fill makes b the fragment that begins done bytes into the packet's payload, and returns what it leaves of rest.
func (c *cutter) fill(b *packet.Buffer, done int, rest []byte) []byte {
	n := c.room(len(rest))
	f := c.fields
	f.FragmentOffset += uint16(done)
	if n < len(rest) {
		f.Flags |= ipv4.MoreFragments
	}
	room, _ := b.Extend(f.Len() + n) // take has seen to that
	_, _ = f.Put(room, n)            // nor can this fail: all its values are those of a valid packet
	copy(room[f.Len():], rest[:n])
	return rest[n:]
}

// copied appends those options to dst that every fragment carries, padded to a multiple of 4 bytes.
func copied(dst []byte, o ipv4.Options) []byte {
	const copiedBit = 0x80 // of the type
	for len(o) > 0 {
		option, rest, err := o.Next()
		if err != nil {
			break
		}
		if option.Type&copiedBit != 0 {
			dst = append(dst, o[:len(o)-len(rest)]...)
		}
		o = rest
	}
	for len(dst)%4 != 0 {
		dst = append(dst, ipv4.OptionEnd)
	}
	return dst
}
