// Package ethernet reads and writes Ethernet II and IEEE 802.3 frame headers with any number of VLAN tags, and MAC
// addresses.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                        Destination MAC                        |
//	+                               +-------------------------------+
//	|                               |          Source MAC           |
//	+-------------------------------+                               +
//	|                                                               |
//	+-------------------------------+-------------------------------+
//	| TPID 0x8100, 0x88a8           | PCP |D|       VLAN id         |  none, one or more tags
//	+-------------------------------+-------------------------------+
//	| EtherType, or length          | payload …
//	+-------------------------------+
//
// The frame check sequence is not part of what operating systems hand out, and not read here. All fields are in
// network byte order on the wire and plain integers in Go. Sources: IEEE Std 802.3-2018 section 3, IEEE Std
// 802.1Q-2018 section 9 (customer and service tags).
//
// A [Header] is a view of the caller's bytes: it is valid as long as they are, and not safe for concurrent use with
// their writers.
package ethernet

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Sizes in bytes.
const (
	HeaderLen = 14 // of a header without tags
	TagLen    = 4  // of one VLAN tag
)

// EtherType values (IEEE registration authority). A value below 0x0600 is an 802.3 length.
const (
	TypeIPv4 uint16 = 0x0800
	TypeARP  uint16 = 0x0806
	TypeIPv6 uint16 = 0x86dd
	TypeVLAN uint16 = 0x8100 // TPID of an 802.1Q customer tag
	TypeQinQ uint16 = 0x88a8 // TPID of an 802.1ad service tag

	maxLength uint16 = 1500 // largest 802.3 length; 1501 to 1535 are undefined (802.3 section 3.2.6)
)

// Faults of a frame.
var (
	ErrShort  = errors.New("ethernet: frame shorter than its header")
	ErrLength = errors.New("ethernet: 802.3 length beyond the end of the frame")
	ErrVLAN   = errors.New("ethernet: VLAN id above 4095 or priority above 7")
	ErrTPID   = errors.New("ethernet: tag protocol id is neither 0x8100 nor 0x88a8")
	ErrType   = errors.New("ethernet: EtherType is that of a VLAN tag: put it into Tags")
	ErrSpace  = errors.New("ethernet: buffer too small for the header")
)

// Header is a validated view of a frame's header, all its VLAN tags included. The zero Header is not valid, see
// [Header.IsValid]; only [Parse] makes others.
type Header struct {
	b []byte // the header's bytes, exactly; at least HeaderLen
}

// Parse checks frame and returns its header and payload. Tags of both kinds are read to any depth. The payload of an
// 802.3 frame is cut to its length field; that of an Ethernet II frame may include padding, which only the payload's
// own length tells.
//
// It returns [ErrShort] if the frame ends inside the header or a tag. With [ErrLength] header and payload are
// returned all the same, the payload being what there is.
func Parse(frame []byte) (Header, []byte, error) {
	if len(frame) < HeaderLen {
		return Header{}, nil, ErrShort
	}
	n := HeaderLen
	t := binary.BigEndian.Uint16(frame[n-2:])
	if t == TypeIPv4 { // nearly every frame
		return Header{frame[:HeaderLen:HeaderLen]}, frame[HeaderLen:], nil
	}
	for isTPID(t) {
		n += TagLen
		if len(frame) < n {
			return Header{}, nil, ErrShort
		}
		t = binary.BigEndian.Uint16(frame[n-2:])
	}
	h, payload := Header{frame[:n:n]}, frame[n:]
	if t <= maxLength {
		if int(t) > len(payload) {
			return h, payload, ErrLength
		}
		payload = payload[:t:t]
	}
	return h, payload, nil
}

func isTPID(t uint16) bool { return t == TypeVLAN || t == TypeQinQ }

// IsValid reports whether h comes from a successful [Parse].
func (h Header) IsValid() bool { return len(h.b) != 0 }

// Len returns the length of the header in bytes, tags included.
func (h Header) Len() int { return len(h.b) }

// Bytes returns the header's bytes, which alias the frame.
func (h Header) Bytes() []byte { return h.b }

// Dst returns the destination address.
func (h Header) Dst() MAC { return MAC(h.b[0:6]) }

// Src returns the source address.
func (h Header) Src() MAC { return MAC(h.b[6:12]) }

// SetDst overwrites the destination address.
func (h Header) SetDst(m MAC) { copy(h.b[0:6], m[:]) }

// SetSrc overwrites the source address.
func (h Header) SetSrc(m MAC) { copy(h.b[6:12], m[:]) }

// EtherType returns the protocol of the payload, behind all tags; for an 802.3 frame it is the payload's length, and
// [Header.Is8023] reports true.
func (h Header) EtherType() uint16 { return binary.BigEndian.Uint16(h.b[len(h.b)-2:]) }

// Is8023 reports whether the type field holds a length (0 to 1500), the payload then starting with an LLC header.
func (h Header) Is8023() bool { return h.EtherType() <= maxLength }

// Tags returns the number of VLAN tags.
func (h Header) Tags() int { return (len(h.b) - HeaderLen) / TagLen }

// Tag returns tag i, counted from the outermost, 0; it panics if there is none.
func (h Header) Tag(i int) Tag {
	b := h.tags()[i*TagLen:]
	return Tag{TPID: binary.BigEndian.Uint16(b), TCI: TCI(binary.BigEndian.Uint16(b[2:]))}
}

// SetTag overwrites tag i, counted from the outermost, 0; it panics if there is none. A TPID that is none would hide
// the rest of the header, so it returns [ErrTPID].
func (h Header) SetTag(i int, t Tag) error {
	if !isTPID(t.TPID) {
		return ErrTPID
	}
	b := h.tags()[i*TagLen:]
	binary.BigEndian.PutUint16(b, t.TPID)
	binary.BigEndian.PutUint16(b[2:], uint16(t.TCI))
	return nil
}

// tags returns the bytes of all tags, between the addresses and the EtherType.
func (h Header) tags() []byte { return h.b[2*MACLen : len(h.b)-2] }

// TCI is a tag's control information: 3 bits of priority (PCP), the drop-eligible bit (DEI), 12 bits of VLAN id.
type TCI uint16

// NewTCI packs a VLAN id (0 to 4095; 0 is a priority tag), a priority (0 to 7) and the drop-eligible bit. It returns
// [ErrVLAN] for larger values.
func NewTCI(vlan uint16, priority uint8, dropEligible bool) (TCI, error) {
	if vlan > 0xfff || priority > 7 {
		return 0, ErrVLAN
	}
	t := TCI(priority)<<13 | TCI(vlan)
	if dropEligible {
		t |= 1 << 12
	}
	return t, nil
}

// VLAN returns the VLAN id, 0 to 4095.
func (t TCI) VLAN() uint16 { return uint16(t & 0xfff) }

// Priority returns the priority code point, 0 to 7.
func (t TCI) Priority() uint8 { return uint8(t >> 13) }

// DropEligible reports whether the drop-eligible bit is set.
func (t TCI) DropEligible() bool { return t&(1<<12) != 0 }

// Tag is one VLAN tag. The zero Tag stands for 'none'.
type Tag struct {
	TPID uint16 // TypeVLAN or TypeQinQ
	TCI  TCI
}

// Fields are the values of a header to be built.
type Fields struct {
	Dst, Src  MAC
	Tags      []Tag // outermost first; only read
	EtherType uint16
}

// FieldsOf returns the values of h. Its tags are appended to tags[:0], so that a caller can reuse the memory.
func FieldsOf(h Header, tags []Tag) Fields {
	tags = tags[:0]
	for i := range h.Tags() {
		tags = append(tags, h.Tag(i))
	}
	return Fields{Dst: h.Dst(), Src: h.Src(), Tags: tags, EtherType: h.EtherType()}
}

// Len returns the length in bytes of the header that f describes.
func (f Fields) Len() int { return HeaderLen + len(f.Tags)*TagLen }

// Put writes the header at the start of b and returns the view of it. It returns [ErrSpace], [ErrTPID] or [ErrType], and writes
// nothing, if b is too small, a tag is no tag, or the EtherType is one.
func (f Fields) Put(b []byte) (Header, error) {
	n := f.Len()
	if len(b) < n {
		return Header{}, ErrSpace
	}
	for _, t := range f.Tags {
		if !isTPID(t.TPID) {
			return Header{}, ErrTPID
		}
	}
	if isTPID(f.EtherType) {
		return Header{}, ErrType
	}
	copy(b[0:6], f.Dst[:])
	copy(b[6:12], f.Src[:])
	at := HeaderLen - 2
	for _, t := range f.Tags {
		binary.BigEndian.PutUint16(b[at:], t.TPID)
		binary.BigEndian.PutUint16(b[at+2:], uint16(t.TCI))
		at += TagLen
	}
	binary.BigEndian.PutUint16(b[at:], f.EtherType)
	return Header{b[:n:n]}, nil
}

// Append appends the header to b, which grows only if its capacity is too small. On error it returns b as it was, and what
// [Fields.Put] returns.
func (f Fields) Append(b []byte) ([]byte, error) {
	grown := slices.Grow(b, f.Len())[:len(b)+f.Len()]
	if _, err := f.Put(grown[len(b):]); err != nil {
		return b, err
	}
	return grown, nil
}
