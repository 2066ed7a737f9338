package pcapfile

// This file: the block reader of pcapng. A file is a sequence of sections, each a sequence of blocks
//
//	| type 4 | total length 4 | body, padded to a multiple of 4 | total length 4 |
//
// in the byte order its section header gives (draft-ietf-opsawg-pcapng section 3.1). Blocks the reader has no use for
// are passed over by their length.

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"
)

const (
	// Block types, draft-ietf-opsawg-pcapng section 10.1.
	blockSection        = 0x0a0d0d0a // reads the same in both byte orders
	blockInterface      = 1
	blockObsoletePacket = 2
	blockSimplePacket   = 3
	blockEnhancedPacket = 6

	byteOrderMagic = 0x1a2b3c4d
	lengthBytes    = 4

	// Option codes, sections 3.5, 4.1 and 4.2.
	optEnd         = 0
	optComment     = 1
	optIfName      = 2
	optIfDescr     = 3
	optApplication = 4 // shb_userappl
	optTSResol     = 9
	optTSOffset    = 14

	maxOptionsBytes = 256 << 10       // of a block that is read, not passed over
	maxUnixSeconds  = 253_402_300_799 // 9999-12-31T23:59:59Z; also keeps sums of seconds far from overflow
)

// nextBlock reads blocks up to and including the next packet block.
func (r *Reader) nextBlock() (Packet, error) {
	for {
		kind, body, err := r.readBlock()
		if err != nil {
			return Packet{}, err
		}
		switch kind {
		case blockSection:
			err = r.sectionHeader(body)
		case blockInterface:
			err = r.interfaceDescription(body)
		case blockEnhancedPacket:
			return r.timedPacket(r.order.Uint32(body), body)
		case blockObsoletePacket:
			return r.timedPacket(uint32(r.order.Uint16(body)), body)
		case blockSimplePacket:
			return r.simplePacket(body)
		}
		if err != nil {
			return Packet{}, err
		}
	}
}

// readBlock reads one block and returns its body: at least the fixed fields, in the reader's buffer. The body of a block
// of no use is passed over and nil; that of a section header begins after the byte-order magic.
func (r *Reader) readBlock() (kind uint32, body []byte, err error) {
	r.start = r.offset
	kind, length, err := r.blockHeader()
	if err != nil {
		return 0, nil, err
	}
	fixed, skip := fixedBytes(kind), 0
	rest := int(length) - int(r.offset-r.start)
	switch {
	case length > MaxBlockBytes, fixed > 0 && length > MaxPacketBytes+maxOptionsBytes:
		return 0, nil, fmt.Errorf("block type %#x, length %d: %w", kind, length, ErrLimit)
	case length%4 != 0:
		return 0, nil, fmt.Errorf("block type %#x, length %d is not a multiple of 4: %w", kind, length, ErrFormat)
	case rest < fixed+lengthBytes:
		return 0, nil, fmt.Errorf("block type %#x, length %d is too short: %w", kind, length, ErrFormat)
	case fixed == 0:
		skip = rest - lengthBytes
	}
	if err := r.skip(skip); err != nil {
		return 0, nil, err
	}
	b, err := r.fill(rest - skip)
	if err != nil {
		return 0, nil, err
	}
	body, trailer := b[:len(b)-lengthBytes], b[len(b)-lengthBytes:]
	if again := r.order.Uint32(trailer); again != length {
		return 0, nil, fmt.Errorf("block type %#x, length %d at its start, %d at its end: %w", kind, length, again, ErrFormat)
	}
	return kind, body, nil
}

// blockHeader reads a block's type and total length. A section header's byte order is known only after the magic number
// that follows, which is read here too.
func (r *Reader) blockHeader() (kind, length uint32, err error) {
	h := r.head[:8]
	if err := r.read(h); err != nil {
		return 0, 0, err
	}
	if binary.BigEndian.Uint32(h) == blockSection {
		magic := r.head[8:12]
		if err := r.read(magic); err != nil {
			return 0, 0, err
		}
		switch uint32(byteOrderMagic) {
		case binary.LittleEndian.Uint32(magic):
			r.order = binary.LittleEndian
		case binary.BigEndian.Uint32(magic):
			r.order = binary.BigEndian
		default:
			return 0, 0, fmt.Errorf("byte-order magic %x, want 1a2b3c4d in either order: %w", magic, ErrFormat)
		}
	}
	return r.order.Uint32(h), r.order.Uint32(h[4:]), nil
}

// fixedBytes returns the size of a block's fields before packet data and options, 0 for a block of no use.
func fixedBytes(kind uint32) int {
	switch kind {
	case blockSection:
		return 12 // version and section length
	case blockInterface:
		return 8
	case blockEnhancedPacket, blockObsoletePacket:
		return 20
	case blockSimplePacket:
		return 4
	}
	return 0
}

// sectionHeader starts a section, section 4.1. The section length is of no use to a reader that does not seek.
func (r *Reader) sectionHeader(body []byte) error {
	// Some tools wrote minor version 2 for the same format; the draft says to take it as 0.
	major, minor := r.order.Uint16(body), r.order.Uint16(body[2:])
	if major != 1 || (minor != 0 && minor != 2) {
		return fmt.Errorf("pcapng version %d.%d, want 1.0: %w", major, minor, ErrVersion)
	}
	r.section = len(r.ifaces)
	return nil
}

// interfaceDescription adds an interface to the section, section 4.2, with its options, section 3.5.
func (r *Reader) interfaceDescription(body []byte) error {
	if len(r.ifaces) == MaxInterfaces {
		return fmt.Errorf("interface description after %d others: %w", MaxInterfaces, ErrLimit)
	}
	i := iface{
		Interface: Interface{LinkType: LinkType(r.order.Uint16(body)), SnapLen: r.order.Uint32(body[4:])},
		clock:     clock{perSecond: 1e6}, // what a missing if_tsresol means
	}
	for opts := body[8:]; len(opts) > 0; { // always a multiple of 4
		code, length := r.order.Uint16(opts), int(r.order.Uint16(opts[2:]))
		if code == optEnd {
			break
		}
		opts = opts[4:]
		if length > len(opts) {
			return fmt.Errorf("option %d of length %d, %d bytes left in the block: %w", code, length, len(opts), ErrFormat)
		}
		if err := i.set(code, opts[:length], r.order); err != nil {
			return err
		}
		opts = opts[length+padding(length):]
	}
	r.ifaces = append(r.ifaces, i)
	return nil
}

// set takes over one option of an interface description.
func (i *iface) set(code uint16, value []byte, order binary.ByteOrder) error {
	switch code {
	case optIfName:
		i.Name = string(value[:min(len(value), MaxNameBytes)])
	case optIfDescr:
		i.Description = string(value[:min(len(value), MaxNameBytes)])
	case optTSResol:
		if len(value) != 1 {
			return fmt.Errorf("if_tsresol of %d bytes, want 1: %w", len(value), ErrFormat)
		}
		return i.setResolution(value[0])
	case optTSOffset:
		if len(value) != 8 {
			return fmt.Errorf("if_tsoffset of %d bytes, want 8: %w", len(value), ErrFormat)
		}
		i.offset = int64(order.Uint64(value))
		if i.offset > maxUnixSeconds || i.offset < -maxUnixSeconds {
			return fmt.Errorf("if_tsoffset of %d s: %w", i.offset, ErrLimit)
		}
	}
	return nil
}

// timedPacket reads an enhanced packet block, section 4.3, or the packet block it replaced, appendix A. They differ in
// the first four bytes: an interface number, of which the old block uses half to count drops.
func (r *Reader) timedPacket(id uint32, body []byte) (Packet, error) {
	p, err := r.packet(id, r.order.Uint32(body[12:]), r.order.Uint32(body[16:]), body[20:])
	if err != nil {
		return Packet{}, err
	}
	ts := uint64(r.order.Uint32(body[4:]))<<32 | uint64(r.order.Uint32(body[8:]))
	p.Time = r.ifaces[p.Interface].time(ts)
	return p, nil
}

// simplePacket reads a packet without time and captured length, section 4.4: it belongs to the section's first interface
// and is cut at that interface's snaplen.
func (r *Reader) simplePacket(body []byte) (Packet, error) {
	wire := r.order.Uint32(body)
	captured := wire
	if r.section < len(r.ifaces) && r.ifaces[r.section].SnapLen != 0 {
		captured = min(wire, r.ifaces[r.section].SnapLen)
	}
	return r.packet(0, captured, wire, body[4:])
}

// packet checks what the packet blocks have in common. rest is the block's body from the packet data on.
func (r *Reader) packet(id, captured, wire uint32, rest []byte) (Packet, error) {
	described := len(r.ifaces) - r.section
	switch {
	case int64(id) >= int64(described):
		return Packet{}, fmt.Errorf("interface %d, section has %d: %w", id, described, ErrInterface)
	case int64(captured) > int64(len(rest)):
		return Packet{}, fmt.Errorf("captured length %d, %d bytes left in the block: %w", captured, len(rest), ErrFormat)
	case captured > MaxPacketBytes:
		return Packet{}, fmt.Errorf("captured length %d: %w", captured, ErrPacketTooLarge)
	}
	data, i := rest[:captured:captured], r.section+int(id)
	return Packet{Data: data, WireLen: wireLen(wire, data), LinkType: r.ifaces[i].LinkType, Interface: i}, nil
}

// clock turns an interface's timestamps into times.
type clock struct {
	perSecond uint64 // units a second, if_tsresol
	offset    int64  // seconds, if_tsoffset
}

// setResolution takes an if_tsresol: a negative power of 10, or of 2 when the top bit is set. Finer ones than a 64-bit
// counter can hold a second of have no use.
func (c *clock) setResolution(v byte) error {
	base, exponent, finest := uint64(10), v&0x7f, byte(19)
	if v > 0x7f {
		base, finest = 2, 63
	}
	if exponent > finest {
		return fmt.Errorf("if_tsresol of %d^-%d s, finest is %d^-%d: %w", base, exponent, base, finest, ErrLimit)
	}
	c.perSecond = 1
	for range exponent {
		c.perSecond *= base
	}
	return nil
}

func (c *clock) time(ts uint64) time.Time {
	seconds, fraction := ts/c.perSecond, ts%c.perSecond
	if seconds > maxUnixSeconds || int64(seconds)+c.offset > maxUnixSeconds {
		return time.Time{}
	}
	// The product needs 128 bits; the quotient fits, since fraction < perSecond.
	hi, lo := bits.Mul64(fraction, uint64(time.Second))
	nanos, _ := bits.Div64(hi, lo, c.perSecond)
	return time.Unix(int64(seconds)+c.offset, int64(nanos)).UTC()
}

// padding returns the bytes that bring n to a multiple of 4.
func padding(n int) int { return -n & 3 }
