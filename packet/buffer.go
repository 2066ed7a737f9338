// Package packet holds packets on their way: a buffer with headroom, so that tunnel headers go in front without moving
// the bytes, batches of buffers, and the pool that they come from.
//
//	 mem
//	┌──────────┬──────────────────────────┬──────────┐
//	│ headroom │ Bytes()                  │ tailroom │
//	└──────────┴──────────────────────────┴──────────┘
//	           off                        end
//	  ◀ Prepend  TrimFront ▶    ◀ Truncate  Extend ▶
//
// A buffer has one owner at a time. Who is given a buffer, or a batch ([]*Buffer), owns it and frees it or hands it on;
// functions of culvert that only work on a buffer, such as an encapsulator, say so and leave it with the caller. A
// buffer is not safe for concurrent use; a [Pool] is.
//
// Beside the bytes travels what a network device knows about them: a VLAN tag that it stripped, the state of the
// transport checksum, the segment size of a superframe, a flow hash.
package packet

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/udp"
)

// DefaultHeadroom is the room in bytes left in front of a packet unless configured otherwise: enough for two VXLAN
// headers over tagged Ethernet.
const DefaultHeadroom = 128

// Faults of an operation on a buffer, which is then unchanged.
var (
	ErrHeadroom = errors.New("packet: not enough headroom in front of the packet")
	ErrTailroom = errors.New("packet: not enough room behind the packet")
	ErrShort    = errors.New("packet: packet is shorter than what is to be cut or written")
)

// ChecksumState says what is known of the packet's transport checksum: of the outermost one, if a tunnel header follows it. A
// partial one may lie further in; [Buffer.PartialChecksum] says where.
type ChecksumState uint8

// The states.
const (
	ChecksumUnknown  ChecksumState = iota // nothing: verify it if it matters
	ChecksumVerified                      // somebody, such as a NIC, found it right, or absent where that is allowed
	ChecksumPartial                       // not yet computed: the field holds the sum of the pseudo-header
)

// GSOType says how a superframe is to be cut into segments. Tunnel headers may be in front of what it names: where that starts, a
// partial checksum says.
type GSOType uint8

// The types of superframes.
const (
	GSONone GSOType = iota
	GSOTCP4         // TCP over IPv4
	GSOUDP4         // UDP over IPv4, each segment a datagram
	GSOTCP6         // TCP over IPv6, as bridges carry it
)

// Buffer is one packet in memory with room around it. Buffers come from [New] or a [Pool]; the zero Buffer has no
// memory and takes no bytes.
type Buffer struct {
	mem      []byte
	off, end uint32 // the packet is mem[off:end]

	hash  uint32
	tag   ethernet.Tag
	csum  ChecksumState
	gso   GSOType
	freed bool

	gsoSize   uint16
	csumStart uint16 // from the start of mem, so that Prepend and TrimFront need not touch it
	csumField uint16 // from csumStart

	headroom uint16 // where Reset puts the packet
	pool     *Pool
}

// New returns a buffer outside any pool, with room for size bytes behind [DefaultHeadroom] bytes; a negative size counts as 0.
func New(size int) *Buffer {
	b := &Buffer{mem: make([]byte, DefaultHeadroom+max(size, 0)), headroom: DefaultHeadroom}
	b.Reset()
	return b
}

// Of returns a buffer outside any pool that holds a copy of packet behind [DefaultHeadroom] bytes.
func Of(packet []byte) *Buffer {
	b := New(len(packet))
	copy(b.mem[b.off:], packet)
	b.end += uint32(len(packet))
	return b
}

// Reset empties the buffer: no bytes, the headroom it was made with, no metadata.
func (b *Buffer) Reset() {
	b.off, b.end = uint32(b.headroom), uint32(b.headroom)
	b.ClearMetadata()
}

// ClearMetadata forgets VLAN tag, checksum state, segmentation and hash.
func (b *Buffer) ClearMetadata() {
	b.hash, b.tag, b.csum, b.gso, b.gsoSize, b.csumStart, b.csumField = 0, ethernet.Tag{}, 0, 0, 0, 0, 0
}

// Bytes returns the packet, which stays valid until the buffer is freed, and stays in place until [Buffer.InsertVLAN]
// or [Buffer.SetBytes].
func (b *Buffer) Bytes() []byte { return b.mem[b.off:b.end:b.end] }

// Len returns the length of the packet in bytes.
func (b *Buffer) Len() int { return int(b.end - b.off) }

// Headroom returns how many bytes [Buffer.Prepend] can take.
func (b *Buffer) Headroom() int { return int(b.off) }

// Tailroom returns how many bytes [Buffer.Extend] can take.
func (b *Buffer) Tailroom() int { return len(b.mem) - int(b.end) }

// Prepend takes n bytes of headroom into the packet and returns the whole packet; its first n bytes are stale, for a header
// to be written. It returns [ErrHeadroom] if there are fewer.
func (b *Buffer) Prepend(n int) ([]byte, error) {
	if uint(n) > uint(b.off) {
		return nil, ErrHeadroom
	}
	b.off -= uint32(n)
	return b.mem[b.off:b.end:b.end], nil
}

// TrimFront cuts n bytes off the front, which become headroom. It returns [ErrShort] if there are fewer.
func (b *Buffer) TrimFront(n int) error {
	if uint(n) > uint(b.end-b.off) {
		return ErrShort
	}
	b.off += uint32(n)
	return nil
}

// Truncate cuts the packet to n bytes. It returns [ErrShort] if it has fewer.
func (b *Buffer) Truncate(n int) error {
	if uint(n) > uint(b.end-b.off) {
		return ErrShort
	}
	b.end = b.off + uint32(n)
	return nil
}

// Strip cuts the packet to its bytes start to end, and forgets what was known of the headers that are gone: VLAN tag, flow hash,
// checksum state, but for a partial checksum of what is left. It returns [ErrShort] if there are no such bytes.
func (b *Buffer) Strip(start, end int) error {
	if uint(end) > uint(b.end-b.off) || uint(start) > uint(end) {
		return ErrShort
	}
	b.end = b.off + uint32(end)
	b.off += uint32(start)
	b.hash, b.tag = 0, ethernet.Tag{}
	if b.csum != ChecksumPartial || uint32(b.csumStart) < b.off {
		b.csum = ChecksumUnknown
	}
	return nil
}

// Extend adds n bytes at the end and returns them; they hold stale bytes. It returns [ErrTailroom] if the memory ends
// before.
func (b *Buffer) Extend(n int) ([]byte, error) {
	if n < 0 || n > b.Tailroom() {
		return nil, ErrTailroom
	}
	at := b.end
	b.end += uint32(n)
	return b.mem[at:b.end:b.end], nil
}

// SetBytes resets the buffer and copies packet into it. It returns [ErrTailroom], leaving the buffer empty, if the
// memory is too small.
func (b *Buffer) SetBytes(packet []byte) error {
	b.Reset()
	room, err := b.Extend(len(packet))
	if err != nil {
		return err
	}
	copy(room, packet)
	return nil
}

// CopyFrom makes b a copy of src, metadata included, as flooding needs it. It leaves b empty and returns [ErrTailroom] if b's
// memory is too small, or [ErrShort] if src has a partial checksum that starts where metadata of b cannot say, as far outside
// the packet.
func (b *Buffer) CopyFrom(src *Buffer) error {
	if err := b.SetBytes(src.Bytes()); err != nil {
		return err
	}
	if start, field, ok := src.PartialChecksum(); ok {
		start += int(b.off)
		if start < 0 || start > math.MaxUint16 {
			b.Reset()
			return ErrShort
		}
		b.csumStart, b.csumField = uint16(start), uint16(field)
	}
	b.hash, b.tag, b.csum, b.gso, b.gsoSize = src.hash, src.tag, src.csum, src.gso, src.gsoSize
	return nil
}

// Hash returns the flow hash that travels with the packet, 0 if none was computed; a flow whose hash happens to be 0 is hashed
// again by whoever asks.
func (b *Buffer) Hash() uint32 { return b.hash }

// SetHash stores the packet's flow hash: equal for all packets of a flow, fragments or not as the hasher has it.
func (b *Buffer) SetHash(h uint32) { b.hash = h }

// VLAN returns the VLAN tag that a device stripped off the frame, the zero Tag if there is none.
func (b *Buffer) VLAN() ethernet.Tag { return b.tag }

// HasVLAN reports whether a VLAN tag travels beside the frame.
func (b *Buffer) HasVLAN() bool { return b.tag.TPID != 0 }

// SetVLAN stores a VLAN tag beside the frame; the zero Tag removes it.
func (b *Buffer) SetVLAN(t ethernet.Tag) { b.tag = t }

// InsertVLAN puts the VLAN tag that travels beside the frame back into it, for a device that cannot. It returns
// [ErrHeadroom] or [ErrShort] if it cannot, and does nothing if there is no tag.
func (b *Buffer) InsertVLAN() error {
	if !b.HasVLAN() {
		return nil
	}
	if b.Len() < ethernet.HeaderLen {
		return ErrShort
	}
	p, err := b.Prepend(ethernet.TagLen)
	if err != nil {
		return err
	}
	const macs = 2 * ethernet.MACLen
	copy(p[:macs], p[ethernet.TagLen:])
	binary.BigEndian.PutUint16(p[macs:], b.tag.TPID)
	binary.BigEndian.PutUint16(p[macs+2:], uint16(b.tag.TCI))
	b.tag = ethernet.Tag{}
	return nil
}

// Checksum returns what is known of the transport checksum.
func (b *Buffer) Checksum() ChecksumState { return b.csum }

// SetChecksumUnknown forgets what was known of the transport checksum.
func (b *Buffer) SetChecksumUnknown() { b.csum = ChecksumUnknown }

// SetChecksumVerified records that the transport checksum is right.
func (b *Buffer) SetChecksumVerified() { b.csum = ChecksumVerified }

// SetChecksumPartial records that the transport checksum is yet to be computed: over all bytes from start to the end
// of the packet, to be stored field bytes behind start. Both are in bytes, start from the front of the packet. It
// returns [ErrShort] if the field does not lie within the packet or start beyond what metadata can hold.
func (b *Buffer) SetChecksumPartial(start, field int) error {
	n := b.Len()
	if start < 0 || field < 0 || start > n || field > n-start-2 || int(b.off)+start > math.MaxUint16 || field > math.MaxUint16 {
		return ErrShort
	}
	b.csum, b.csumStart, b.csumField = ChecksumPartial, uint16(int(b.off)+start), uint16(field)
	return nil
}

// PartialChecksum returns where a partial checksum starts and how far behind that its field is, in bytes, start from
// the front of the packet: negative if the header that it belongs to was cut off. It reports false in any other state.
func (b *Buffer) PartialChecksum() (start, field int, ok bool) {
	if b.csum != ChecksumPartial {
		return 0, 0, false
	}
	return int(b.csumStart) - int(b.off), int(b.csumField), true
}

// CompleteChecksum computes a partial checksum in software, for a device that cannot; in any other state it does
// nothing. It returns [ErrShort] if the packet was cut so that it no longer has the field.
func (b *Buffer) CompleteChecksum() error {
	start, field, ok := b.PartialChecksum()
	if !ok {
		return nil
	}
	p := b.Bytes()
	if start < 0 || start+field+2 > len(p) {
		return ErrShort
	}
	// 0xffff for 0 is what UDP requires (RFC 768), and as good to TCP.
	binary.BigEndian.PutUint16(p[start+field:], udp.NotZero(checksum.Of(p[start:])))
	b.csum = ChecksumVerified
	return nil
}

// GSO returns how the packet is to be cut into segments, each with size bytes of transport payload; [GSONone] and 0
// if it is no superframe.
func (b *Buffer) GSO() (t GSOType, size uint16) { return b.gso, b.gsoSize }

// IsSuperframe reports whether the packet is to be cut into segments.
func (b *Buffer) IsSuperframe() bool { return b.gso != GSONone }

// HasOffloads reports whether there is metadata that a device without offloads cannot take, so that it has to be put into the
// packet: a VLAN tag beside it, a partial checksum, segments to be cut.
func (b *Buffer) HasOffloads() bool {
	return b.tag.TPID != 0 || b.csum == ChecksumPartial || b.gso != GSONone
}

// SetGSO records that the packet is a superframe, to be cut into segments with size bytes of transport payload each.
func (b *Buffer) SetGSO(t GSOType, size uint16) { b.gso, b.gsoSize = t, size }

// Free gives the buffer back to its pool; without a pool it does nothing. The caller must not use it afterwards;
// freeing it twice panics.
func (b *Buffer) Free() {
	if b.pool != nil {
		b.pool.put(b)
	}
}
