package ipip

// Encapsulation by template: the outer headers are laid down once, and each packet gets a copy with TOS, length, id, flags,
// TTL and checksum patched in.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/outer"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
)

// EncapConfig describes the outer headers of a tunnel to one remote end. Src, Dst and, unless Raw, the MAC addresses must
// be set; the zero value of every other field is Linux's default.
type EncapConfig struct {
	Src, Dst       netip.Addr   // outer IPv4 addresses: the local and the remote end
	SrcMAC, DstMAC ethernet.MAC // outer Ethernet addresses: the local port's, and the next hop's
	Raw            bool         // no outer Ethernet header

	TTL        uint8 // outer time to live; 0 takes the inner one
	TOS        uint8 // outer type of service; its ECN bits are ignored, they follow from the inner packet
	InheritTOS bool  // take the inner one instead

	// NoPMTUDisc copies the inner don't-fragment flag; otherwise it is set, and routers on the way report packets that
	// are too large ('pmtudisc', the default).
	NoPMTUDisc bool

	Profile tunnel.Profile // RFC refuses packets whose source is the tunnel's own entry or exit; Linux carries them
}

// Encapsulator puts IPv4 packets into IPv4 packets towards one remote end. It does not change after [NewEncapsulator] and
// is safe for concurrent use.
type Encapsulator struct { // 32 bytes: many fit a cache
	addrs    uint64 // outer source and destination
	ethernet [ethernet.HeaderLen]byte
	frame    uint8  // where the outer IPv4 header starts: 0 if raw
	ttl      uint8  // 0 inherits
	sum      uint16 // of the IPv4 header's words with TOS, length, id, flags and TTL zero

	ecn          uint8 // inner to outer congestion mark: two bits for each
	tos, tosMask uint8 // outer TOS, and the bits of the inner one to add
	df, dfMask   uint8 // upper byte of the outer flags, and the bits of the inner ones to add
	refuse       bool  // sources that are the tunnel's own ends
}

const wordDF = uint8(ipv4.DontFragment) << 5 // in the first byte of flags and fragment offset

// NewEncapsulator prepares the outer headers. It reports every field of c that is wrong. It is inlined, and a caller who only copies
// what it returns allocates nothing.
func NewEncapsulator(c EncapConfig) (*Encapsulator, error) {
	e := new(Encapsulator)
	if err := e.init(&c); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Encapsulator) init(c *EncapConfig) error {
	if err := c.check(); err != nil {
		return err
	}
	*e = Encapsulator{
		frame: ethernet.HeaderLen, tos: c.TOS &^ 3, ttl: c.TTL, df: wordDF,
		refuse: c.Profile == tunnel.RFC,
		addrs:  uint64(outer.Number(c.Src.As4()))<<32 | uint64(outer.Number(c.Dst.As4())),
	}
	if c.Raw {
		e.frame = 0
	}
	if c.InheritTOS {
		e.tos, e.tosMask = 0, 0xfc
	}
	if c.NoPMTUDisc {
		e.df, e.dfMask = 0, wordDF
	}
	for mark := range uint8(4) {
		e.ecn |= uint8(c.Profile.EncapECN(ipv4.ECN(mark))) << (2 * mark)
	}
	fields := ipv4.Fields{Protocol: Protocol, Src: c.Src.As4(), Dst: c.Dst.As4()}
	_, err1 := ethernet.Fields{Dst: c.DstMAC, Src: c.SrcMAC, EtherType: ethernet.TypeIPv4}.Put(e.ethernet[:])
	ip, err2 := fields.Put(make([]byte, OverheadIP), 0)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	e.sum = checksum.Add(^ip.Checksum(), ^ip.TotalLen())
	return nil
}

// check reports every field that is wrong.
func (c *EncapConfig) check() error {
	var ttl error
	if c.TTL != 0 && c.NoPMTUDisc {
		ttl = fmt.Errorf("ipip: EncapConfig.TTL is %d: NoPMTUDisc needs the inner one, 0, "+
			"or a packet that loops through the tunnel never dies", c.TTL)
	}
	ends := outer.Encap{Src: c.Src, Dst: c.Dst, SrcMAC: c.SrcMAC, DstMAC: c.DstMAC, Raw: c.Raw, Profile: c.Profile}
	return errors.Join(ends.Check("ipip"), ttl)
}

// Encapsulate puts the outer headers in front of the IPv4 packet in b, which stays the caller's. id is the outer
// identification: the caller's to choose, rising and not 0 (Linux does so even with DF).
//
// It returns [ErrInner], [ErrTTL], [ErrLoop], [ErrTooLong] or [packet.ErrHeadroom], and leaves b as it was, for a packet
// that must not or cannot be encapsulated. It allocates nothing.
func (e *Encapsulator) Encapsulate(b *packet.Buffer, id uint16) error {
	if e.refuse && e.isOwn(b.Bytes()) {
		return ErrLoop
	}
	n := b.Len()
	if n < ipv4.HeaderLen {
		return ErrInner
	}
	if n > ipv4.MaxLen-OverheadIP {
		return ErrTooLong
	}
	whole, err := b.Prepend(int(e.frame) + OverheadIP)
	if err != nil {
		return err
	}
	var p *[OverheadIP + ipv4.HeaderLen]byte // from the outer IPv4 header on
	if e.frame == 0 {
		p = (*[OverheadIP + ipv4.HeaderLen]byte)(whole)
	} else {
		q := (*[Overhead + ipv4.HeaderLen]byte)(whole)
		*(*[ethernet.HeaderLen]byte)(q[:]) = e.ethernet
		p = (*[OverheadIP + ipv4.HeaderLen]byte)(q[ethernet.HeaderLen:])
	}
	w0 := binary.BigEndian.Uint64(p[OverheadIP:])
	ttl := p[OverheadIP+8]
	if w0>>60 != 4 || ttl == 0 {
		_ = b.TrimFront(int(e.frame) + OverheadIP)
		if w0>>60 != 4 {
			return ErrInner
		}
		return ErrTTL
	}
	if e.ttl != 0 {
		ttl = e.ttl
	}
	total := uint64(OverheadIP + n)
	tos := uint64(e.tos | uint8(w0>>48)&e.tosMask | e.ecn>>(w0>>47&6)&3)
	flags := uint64(e.df|uint8(w0>>8)&e.dfMask) << 8
	sum := uint32(e.sum) + uint32(tos+total+flags) + uint32(id) + uint32(ttl)<<8
	sum += bits.RotateLeft32(sum, 16) // the upper half is now the folded sum
	binary.BigEndian.PutUint64(p[0:], 0x45<<56|tos<<48|total<<32|uint64(id)<<16|flags)
	binary.BigEndian.PutUint32(p[8:], uint32(ttl)<<24|Protocol<<16|^sum>>16)
	binary.BigEndian.PutUint64(p[12:], e.addrs)
	return nil
}

// isOwn reports whether an inner packet's source is the tunnel's own entry or exit.
func (e *Encapsulator) isOwn(inner []byte) bool {
	if len(inner) < ipv4.HeaderLen {
		return false
	}
	src := uint64(binary.BigEndian.Uint32(inner[12:]))
	return src == e.addrs>>32 || src == e.addrs&0xffffffff
}
