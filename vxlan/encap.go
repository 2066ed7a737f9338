package vxlan

// Encapsulation by template: everything about the outer headers that no packet changes is laid down once, and each
// packet gets a copy with lengths, id, TOS, TTL, flags, checksum and source port patched in.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
)

// EncapConfig describes the outer headers of a tunnel to one remote VTEP. VNI, Src, Dst and, unless Raw, the MAC
// addresses must be set; the zero value of every other field is Linux's default, but for UDPChecksum.
type EncapConfig struct {
	VNI uint32
	GBP GBP // group policy to send; the zero GBP sends none

	Src, Dst       netip.Addr   // outer IPv4 addresses: the local and the remote VTEP
	SrcMAC, DstMAC ethernet.MAC // outer Ethernet addresses: the local port's, and the next hop's
	Raw            bool         // no outer Ethernet header

	DstPort  uint16       // UDP destination port; 0 is Port, 4789
	SrcPorts tunnel.Ports // UDP source ports, one for each inner flow
	Hasher   flow.Hasher  // maps inner flows to source ports; zero is a random one

	TTL        uint8     // outer time to live; 0 is 64
	InheritTTL bool      // take the inner one instead, where there is one
	TOS        uint8     // outer type of service; its ECN bits are ignored, they follow from the inner packet
	InheritTOS bool      // take the inner one instead
	DF         tunnel.DF // outer don't-fragment flag

	// UDPChecksum computes the outer UDP checksum instead of sending 0: over everything, or from the headers alone if
	// the buffer says that the inner transport checksum is right or yet to be computed. RFC 7348 section 5 says that
	// it SHOULD be 0, as Flannel and Calico have it; 'ip link add … type vxlan' computes it (udpcsum).
	UDPChecksum bool

	Profile tunnel.Profile
}

// Encapsulator puts frames into VXLAN towards one remote VTEP. It does not change after [NewEncapsulator] and is safe
// for concurrent use.
type Encapsulator struct {
	template [Overhead]byte
	sum      uint32 // of the IPv4 header's words with TOS, length, id, flags and TTL zero
	pseudo   uint16 // sum of the UDP pseudo-header without the length

	frame    int // where the outer IPv4 header starts: 0 if raw
	ports    tunnel.Ports
	hasher   flow.Hasher
	dstPort  uint16
	checksum bool

	tos, tosMask uint8    // outer TOS, and the bits of the inner one to add
	ecn          [4]uint8 // inner to outer congestion mark
	ttl          uint8
	inheritTTL   bool
	df, dfMask   uint16 // outer flags, and the bits of the inner ones to add
}

const (
	wordDF     uint16 = uint16(ipv4.DontFragment) << 13 // in the word of flags and fragment offset
	defaultTTL        = 64                              // of Linux's VXLAN device, as Flannel and Calico make it
)

// NewEncapsulator prepares the outer headers. It reports every field of c that is wrong.
func NewEncapsulator(c EncapConfig) (*Encapsulator, error) {
	ports, err := c.SrcPorts.OrDefault()
	if err := errors.Join(c.check(), err); err != nil {
		return nil, err
	}
	e := &Encapsulator{
		ports: ports, hasher: c.Hasher, dstPort: c.DstPort, checksum: c.UDPChecksum,
		tos: c.TOS &^ 3, ttl: c.TTL, inheritTTL: c.InheritTTL, frame: ethernet.HeaderLen,
	}
	if c.Raw {
		e.frame = 0
	}
	if e.hasher.IsZero() {
		e.hasher = flow.RandomHasher()
	}
	if e.dstPort == 0 {
		e.dstPort = Port
	}
	if e.ttl == 0 {
		e.ttl = defaultTTL
	}
	if c.InheritTOS {
		e.tos, e.tosMask = 0, 0xfc
	}
	for i := range e.ecn {
		e.ecn[i] = uint8(c.Profile.EncapECN(ipv4.ECN(i)))
	}
	switch c.DF {
	case tunnel.DFSet:
		e.df = wordDF
	case tunnel.DFInherit:
		e.dfMask = wordDF
	}
	return e, e.lay(c)
}

// check reports every field that is wrong by itself.
func (c *EncapConfig) check() error {
	var errs []error
	if c.VNI > MaxVNI {
		errs = append(errs, fmt.Errorf("vxlan: EncapConfig.VNI is %d: want at most %d", c.VNI, MaxVNI))
	}
	for _, a := range []struct {
		field string
		addr  netip.Addr
	}{{"Src", c.Src}, {"Dst", c.Dst}} {
		if !a.addr.Is4() || a.addr.IsUnspecified() {
			errs = append(errs, fmt.Errorf("vxlan: EncapConfig.%s is %v: want an IPv4 address", a.field, a.addr))
		}
	}
	if c.Raw && (!c.SrcMAC.IsZero() || !c.DstMAC.IsZero()) {
		errs = append(errs, errors.New("vxlan: EncapConfig.Raw leaves no place for SrcMAC and DstMAC: clear one or the others"))
	}
	if !c.Raw && !c.SrcMAC.IsStation() {
		errs = append(errs, fmt.Errorf("vxlan: EncapConfig.SrcMAC is %v: want a unicast address, or Raw set", c.SrcMAC))
	}
	if !c.Raw && c.DstMAC.IsZero() {
		errs = append(errs, errors.New("vxlan: EncapConfig.DstMAC is zero: want the next hop's address, or Raw set"))
	}
	if c.DF > tunnel.DFInherit {
		errs = append(errs, fmt.Errorf("vxlan: EncapConfig.DF is %d: want DFUnset, DFSet or DFInherit", c.DF))
	}
	return errors.Join(errs...)
}

// lay writes the template and sums what no packet changes.
func (e *Encapsulator) lay(c EncapConfig) error {
	t := e.template[:]
	outer := ipv4.Fields{Protocol: ipv4.ProtocolUDP, Src: c.Src.As4(), Dst: c.Dst.As4()}
	_, err1 := ethernet.Fields{Dst: c.DstMAC, Src: c.SrcMAC, EtherType: ethernet.TypeIPv4}.Put(t)
	ip, err2 := outer.Put(t[ethernet.HeaderLen:], udp.HeaderLen+HeaderLen)
	_, err3 := udp.Fields{DstPort: e.dstPort}.Put(t[ethernet.HeaderLen+ipv4.HeaderLen:], HeaderLen)
	_, err4 := Fields{VNI: c.VNI, GBP: c.GBP}.Put(t[Overhead-HeaderLen:])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	e.sum = uint32(checksum.Add(^ip.Checksum(), ^ip.TotalLen()))
	e.pseudo = checksum.PseudoHeader(outer.Src, outer.Dst, udp.Protocol, 0)
	return nil
}

// SourcePort returns the UDP source port for the frame in b. It computes the flow hash unless the buffer carries one,
// and leaves it there.
func (e *Encapsulator) SourcePort(b *packet.Buffer) uint16 {
	h := b.Hash()
	if h == 0 {
		h = e.hasher.Frame(b.Bytes())
		b.SetHash(h)
	}
	return e.ports.Port(h)
}

// Encapsulate puts the outer headers in front of the Ethernet frame in b, which stays the caller's. id is the outer
// IPv4 identification: the caller's to choose, rising and not 0 (Linux does so even though most packets never are
// fragmented).
//
// It returns [ErrInnerShort], [ErrTooLong] or [packet.ErrHeadroom], and leaves b as it was, if the frame has no
// Ethernet header, is too long for one packet, or leaves too little room in front. It allocates nothing.
func (e *Encapsulator) Encapsulate(b *packet.Buffer, id uint16) error {
	return e.EncapsulateFrom(b, id, e.SourcePort(b))
}

// EncapsulateFrom is [Encapsulator.Encapsulate] with a given UDP source port.
func (e *Encapsulator) EncapsulateFrom(b *packet.Buffer, id, srcPort uint16) error {
	if b.VLAN() != (ethernet.Tag{}) {
		if err := e.insertTag(b); err != nil {
			return err
		}
	}
	frame := b.Bytes()
	if len(frame) < ethernet.HeaderLen {
		return ErrInnerShort
	}
	total := OverheadIP + len(frame)
	if total > ipv4.MaxLen {
		return ErrTooLong
	}
	tos, ttl, flags := e.inherit(frame)

	room, err := b.Prepend(e.frame + OverheadIP)
	if err != nil {
		return err
	}
	var ip *[OverheadIP]byte
	if e.frame == 0 {
		ip = (*[OverheadIP]byte)(room)
		copy(ip[:], e.template[ethernet.HeaderLen:])
	} else {
		whole := (*[Overhead]byte)(room)
		*whole = e.template
		ip = (*[OverheadIP]byte)(whole[ethernet.HeaderLen:])
	}
	// The sum of the words that differ is below 2^20: two folds are enough.
	sum := e.sum + uint32(tos) + uint32(total) + uint32(id) + uint32(flags) + uint32(ttl)<<8
	sum = sum&0xffff + sum>>16
	sum += sum >> 16
	binary.BigEndian.PutUint64(ip[0:], 0x45<<56|uint64(tos)<<48|uint64(total)<<32|uint64(id)<<16|uint64(flags))
	binary.BigEndian.PutUint32(ip[8:], uint32(ttl)<<24|uint32(ipv4.ProtocolUDP)<<16|uint32(^uint16(sum)))
	udpLen := total - ipv4.HeaderLen
	binary.BigEndian.PutUint64(ip[20:], uint64(srcPort)<<48|uint64(e.dstPort)<<32|uint64(udpLen)<<16)

	if e.checksum {
		e.putChecksum(b, ip, frame)
	}
	if b.Checksum() != packet.ChecksumPartial {
		b.SetChecksumVerified()
	}
	return nil
}

// insertTag puts the VLAN tag that travels beside the inner frame into it: beside the outer one it would be the
// outer one's. It checks what encapsulation needs first, so that on error b is as it was.
func (e *Encapsulator) insertTag(b *packet.Buffer) error {
	switch {
	case b.Len() < ethernet.HeaderLen:
		return ErrInnerShort
	case b.Len() > ipv4.MaxLen-OverheadIP-ethernet.TagLen:
		return ErrTooLong
	case b.Headroom() < ethernet.TagLen+e.frame+OverheadIP:
		return packet.ErrHeadroom
	}
	return b.InsertVLAN()
}

// inherit returns TOS, TTL and flags of the outer header for the given inner frame.
func (e *Encapsulator) inherit(frame []byte) (tos, ttl uint8, flags uint16) {
	const ipAt = ethernet.HeaderLen
	var innerTTL uint8
	if len(frame) >= ipAt+ipv4.HeaderLen && binary.BigEndian.Uint16(frame[ipAt-2:]) == ethernet.TypeIPv4 {
		p := (*[ipAt + ipv4.HeaderLen]byte)(frame)
		tos, innerTTL, flags = p[ipAt+1], p[ipAt+8], binary.BigEndian.Uint16(p[ipAt+6:])
	} else {
		tos, innerTTL, flags = innerFields(frame)
	}
	ttl = e.ttl
	if e.inheritTTL && innerTTL != 0 {
		ttl = innerTTL
	}
	return e.tos | tos&e.tosMask | e.ecn[tos&3], ttl, e.df | flags&e.dfMask
}

// innerFields returns TOS, TTL and flags of the IP packet in a frame, behind VLAN tags: zero if there is none.
func innerFields(frame []byte) (tos, ttl uint8, flags uint16) {
	at, etherType := flow.Network(frame)
	p := frame[at:]
	switch {
	case etherType == ethernet.TypeIPv4 && len(p) >= ipv4.HeaderLen:
		return p[1], p[8], binary.BigEndian.Uint16(p[6:])
	case etherType == ethernet.TypeIPv6 && len(p) >= tunnel.IPv6HeaderLen:
		return uint8(binary.BigEndian.Uint16(p) >> 4), p[7], wordDF
	}
	return 0, 0, 0
}

// putChecksum fills in the outer UDP checksum for the inner frame.
func (e *Encapsulator) putChecksum(b *packet.Buffer, ip *[OverheadIP]byte, frame []byte) {
	inner, ok := sumFromHeaders(b, frame)
	if !ok {
		inner = checksum.Sum(frame)
	}
	header := ip[ipv4.HeaderLen:]
	sum := checksum.Add(e.pseudo, binary.BigEndian.Uint16(header[4:])) // the length, of the pseudo-header
	sum = checksum.Add(checksum.Add(sum, checksum.Sum(header)), inner)
	binary.BigEndian.PutUint16(header[6:], udp.NotZero(^sum))
}

// sumFromHeaders returns the sum of an inner frame without reading its payload, if the transport checksum is known to be
// right: pseudo-header, transport header and payload then sum up to 0xffff, so the latter two do to the complement of
// the former (Linux's 'local checksum offload', lco_csum).
func sumFromHeaders(b *packet.Buffer, frame []byte) (sum uint16, ok bool) {
	switch b.Checksum() {
	case packet.ChecksumPartial: // the field holds the sum of the pseudo-header
		start, field, _ := b.PartialChecksum()
		if start -= b.Len() - len(frame); start < 0 || start+field+2 > len(frame) || start%2 == 1 {
			return 0, false
		}
		return checksum.Add(checksum.Sum(frame[:start]), ^binary.BigEndian.Uint16(frame[start+field:])), true
	case packet.ChecksumVerified:
		return sumVerified(frame)
	}
	return 0, false
}

// sumVerified is [sumFromHeaders] for a frame whose transport checksum was verified.
func sumVerified(frame []byte) (sum uint16, ok bool) {
	at, etherType := flow.Network(frame)
	if etherType != ethernet.TypeIPv4 {
		return 0, false
	}
	ip, payload, err := ipv4.Parse(frame[at:])
	if err != nil || ip.IsFragment() || at+ip.Len()+len(payload) != len(frame) { // bytes behind count too
		return 0, false
	}
	switch ip.Protocol() {
	case tcp.Protocol:
	case udp.Protocol:
		if u, _, err := udp.Parse(payload); err != nil || u.Checksum() == 0 || int(u.Length()) != len(payload) {
			return 0, false
		}
	default:
		return 0, false
	}
	pseudo := checksum.PseudoHeader(ip.Src(), ip.Dst(), ip.Protocol(), uint16(len(payload)))
	return checksum.Add(checksum.Sum(frame[:at+ip.Len()]), ^pseudo), true
}
