package vxlan

// Encapsulation by template: everything about the outer headers that no packet changes is laid down once, and each
// packet gets a copy with lengths, id, TOS, TTL, flags, checksum and source port patched in.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/internal/outer"
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
	// What each packet needs is in 64 bytes, a cache line; of the template, lengths, id, checksums and source port are zero.
	template   [Overhead]byte
	frame      uint8  // where the outer IPv4 header starts: 0 if raw
	ttl        uint8  // where there is none to inherit
	sum        uint32 // of the IPv4 header's words with length and id zero, and TOS, TTL and flags zero if inherited
	ports      tunnel.Ports
	plain      bool // nothing is inherited but the congestion mark, and the like: see general
	checksum   bool
	inheritTTL bool
	tosMask    uint8 // bits of the inner TOS to take

	hasher flow.Hasher // asked if the buffer carries no hash
	ecn    [4]uint8    // inner to outer congestion mark
	dfMask uint16      // flags to take
	pseudo uint16      // sum of the UDP pseudo-header without the length
}

const (
	wordDF     uint16 = uint16(ipv4.DontFragment) << 13 // in the word of flags and fragment offset
	defaultTTL        = 64                              // of Linux's VXLAN device, as Flannel and Calico make it
)

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
	ports, err := c.SrcPorts.OrDefault()
	if err != nil {
		err = fmt.Errorf("vxlan: EncapConfig.SrcPorts is %d to %d: %w", c.SrcPorts.Min, c.SrcPorts.Max, err)
	}
	if err := errors.Join(c.check(), err); err != nil {
		return err
	}
	*e = Encapsulator{
		ports: ports, hasher: c.Hasher, checksum: c.UDPChecksum, ttl: c.TTL, inheritTTL: c.InheritTTL,
		frame: ethernet.HeaderLen,
	}
	if c.Raw {
		e.frame = 0
	}
	if e.hasher.IsZero() {
		e.hasher = flow.RandomHasher()
	}
	if e.ttl == 0 {
		e.ttl = defaultTTL
	}
	if c.InheritTOS {
		e.tosMask = 0xfc
	}
	for i := range e.ecn {
		e.ecn[i] = uint8(c.Profile.EncapECN(ipv4.ECN(i)))
	}
	if c.DF == tunnel.DFInherit {
		e.dfMask = wordDF
	}
	e.plain = !c.Raw && !c.InheritTOS && !c.InheritTTL && c.DF != tunnel.DFInherit && !c.UDPChecksum
	return e.lay(c)
}

// check reports every field that is wrong by itself.
func (c *EncapConfig) check() error {
	var vni, df error
	if c.VNI > MaxVNI {
		vni = fmt.Errorf("vxlan: EncapConfig.VNI is %d: want at most %d", c.VNI, MaxVNI)
	}
	if c.DF > tunnel.DFInherit {
		df = fmt.Errorf("vxlan: EncapConfig.DF is %d: want DFUnset, DFSet or DFInherit", c.DF)
	}
	ends := outer.Encap{Src: c.Src, Dst: c.Dst, SrcMAC: c.SrcMAC, DstMAC: c.DstMAC, Raw: c.Raw, Profile: c.Profile}
	return errors.Join(ends.Check("vxlan"), vni, df)
}

// lay writes the template and sums what no packet changes.
func (e *Encapsulator) lay(c *EncapConfig) error {
	fields := ipv4.Fields{Protocol: ipv4.ProtocolUDP, Src: c.Src.As4(), Dst: c.Dst.As4()}
	if !c.InheritTOS {
		fields.TOS = c.TOS &^ 3
	}
	if !c.InheritTTL {
		fields.TTL = e.ttl
	}
	if c.DF == tunnel.DFSet {
		fields.Flags = ipv4.DontFragment
	}
	ports := udp.Fields{DstPort: c.DstPort}
	if ports.DstPort == 0 {
		ports.DstPort = Port
	}
	const ipAt, udpAt, vxlanAt = ethernet.HeaderLen, ethernet.HeaderLen + ipv4.HeaderLen, Overhead - HeaderLen
	t := e.template[:]
	_, err1 := ethernet.Fields{Dst: c.DstMAC, Src: c.SrcMAC, EtherType: ethernet.TypeIPv4}.Put(t)
	ip, err2 := fields.Put(t[ipAt:], 0)
	_, err3 := ports.Put(t[udpAt:], 0)
	_, err4 := Fields{VNI: c.VNI, GBP: c.GBP}.Put(t[vxlanAt:])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	e.sum = uint32(checksum.Add(^ip.Checksum(), ^ip.TotalLen()))
	e.pseudo = checksum.PseudoHeader(fields.Src, fields.Dst, udp.Protocol, 0)
	clear(t[ipAt+2 : ipAt+4])   // total length
	clear(t[ipAt+10 : ipAt+12]) // checksum
	clear(t[udpAt+4 : udpAt+6]) // length
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
// It returns [ErrInnerShort], [ErrTooLong] or [packet.ErrHeadroom], and leaves the packet as it was, if it has no
// Ethernet header, is too long for one packet, or has too little room in front. It allocates nothing.
func (e *Encapsulator) Encapsulate(b *packet.Buffer, id uint16) error {
	const (
		ip   = ethernet.HeaderLen            // outer IPv4 header
		in   = Overhead + ethernet.HeaderLen // inner IPv4 header
		need = in + 24                       // with the word behind it
	)
	n := b.Len()
	if !e.plain || n < need-Overhead || n > ipv4.MaxLen-OverheadIP || b.Headroom() < Overhead || b.HasVLAN() {
		return e.general(b, id)
	}
	packet, err := b.Prepend(Overhead)
	if err != nil {
		return err
	}
	p := (*[need]byte)(packet)
	w0 := binary.BigEndian.Uint64(p[in:])
	if binary.BigEndian.Uint16(p[in-2:]) != ethernet.TypeIPv4 || w0>>56 != 0x45 {
		_ = b.TrimFront(Overhead)
		return e.general(b, id)
	}
	hash := b.Hash()
	if hash == 0 {
		hash = e.hasher.Words(w0, binary.BigEndian.Uint64(p[in+8:]), binary.BigEndian.Uint64(p[in+16:]))
		b.SetHash(hash)
	}
	total := uint64(OverheadIP + n)
	word0, sum := binary.BigEndian.Uint64(e.template[ip:])|total<<32|uint64(id)<<16, e.sum+uint32(total)+uint32(id)
	if mark := p[in+1] & 3; mark != 0 {
		mark = e.ecn[mark]
		word0 |= uint64(mark) << 48
		sum += uint32(mark)
	}
	sum += bits.RotateLeft32(sum, 16) // the upper half is now the folded sum
	*(*[Overhead]byte)(p[:]) = e.template
	binary.BigEndian.PutUint64(p[ip:], word0)
	binary.BigEndian.PutUint16(p[ip+10:], ^uint16(sum>>16))
	binary.BigEndian.PutUint16(p[ip+20:], e.ports.Port(hash))
	binary.BigEndian.PutUint16(p[ip+24:], uint16(total-ipv4.HeaderLen))
	return nil
}

// general is [Encapsulator.Encapsulate] for every configuration and every frame. The latter does the usual work by itself: an
// IPv4 packet without options in an untagged frame, an outer Ethernet frame, nothing inherited but the congestion mark, no UDP
// checksum.
func (e *Encapsulator) general(b *packet.Buffer, id uint16) error {
	return e.EncapsulateFrom(b, id, e.SourcePort(b))
}

// EncapsulateFrom is [Encapsulator.Encapsulate] with a given UDP source port.
func (e *Encapsulator) EncapsulateFrom(b *packet.Buffer, id, srcPort uint16) error {
	if b.HasVLAN() {
		if err := e.insertTag(b); err != nil {
			return err
		}
	}
	n := b.Len()
	if n < ethernet.HeaderLen {
		return ErrInnerShort
	}
	total := OverheadIP + n
	if total > ipv4.MaxLen {
		return ErrTooLong
	}
	frame := int(e.frame)
	p, err := b.Prepend(frame + OverheadIP)
	if err != nil {
		return err
	}
	copy(p[:frame+OverheadIP], e.template[ethernet.HeaderLen-frame:])

	p = p[frame:]
	tos, ttl, flags := e.inherit(p[OverheadIP:])
	sum := e.sum + uint32(tos) + uint32(total) + uint32(id) + uint32(ttl)<<8 + uint32(flags)
	sum += bits.RotateLeft32(sum, 16) // the upper half is now the folded sum
	p[1] |= tos
	binary.BigEndian.PutUint16(p[2:], uint16(total))
	binary.BigEndian.PutUint16(p[4:], id)
	p[6] |= uint8(flags >> 8)
	p[8] |= ttl
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum>>16))
	binary.BigEndian.PutUint16(p[20:], srcPort)
	binary.BigEndian.PutUint16(p[24:], uint16(total-ipv4.HeaderLen))
	if e.checksum {
		e.putChecksum(b, p)
	}
	return nil
}

// inherit returns what the inner frame adds to TOS, TTL and flags of the outer header.
func (e *Encapsulator) inherit(frame []byte) (tos, ttl uint8, flags uint16) {
	innerTOS, innerTTL, innerFlags := innerFields(frame)
	tos, flags = innerTOS&e.tosMask|e.ecn[innerTOS&3], innerFlags&e.dfMask
	if e.inheritTTL {
		if ttl = innerTTL; ttl == 0 {
			ttl = e.ttl
		}
	}
	return tos, ttl, flags
}

// insertTag puts the VLAN tag that travels beside the inner frame into it: beside the outer one it would be the
// outer one's. It checks what encapsulation needs first, so that on error b is as it was.
func (e *Encapsulator) insertTag(b *packet.Buffer) error {
	switch {
	case b.Len() < ethernet.HeaderLen:
		return ErrInnerShort
	case b.Len() > ipv4.MaxLen-OverheadIP-ethernet.TagLen:
		return ErrTooLong
	case b.Headroom() < ethernet.TagLen+int(e.frame)+OverheadIP:
		return packet.ErrHeadroom
	}
	return b.InsertVLAN()
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

// putChecksum fills in the outer UDP checksum of ip, the packet in b without its Ethernet header; of a superframe, the sum of the
// pseudo-header.
func (e *Encapsulator) putChecksum(b *packet.Buffer, ip []byte) {
	frame := ip[OverheadIP:]
	header := ip[ipv4.HeaderLen:OverheadIP]
	pseudo := checksum.Add(e.pseudo, binary.BigEndian.Uint16(header[4:])) // with the length

	// For a superframe whoever cuts it computes one for each segment (udp_set_csum in net/ipv4/udp.c).
	if b.IsSuperframe() {
		binary.BigEndian.PutUint16(header[6:], pseudo)
		return
	}
	inner, ok := sumFromHeaders(b, frame)
	if !ok {
		inner = checksum.Sum(frame)
	}
	sum := checksum.Add(checksum.Add(pseudo, checksum.Sum(header)), inner)
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
