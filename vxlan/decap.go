package vxlan

// Decapsulation: one look at all the words that have but one right value, and only if that fails a second, slower look that
// says what is wrong or accepts what is merely unusual.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/internal/outer"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
)

// DecapConfig says which packets a tunnel end accepts. The zero value accepts every VNI from everybody on port 4789.
type DecapConfig struct {
	Raw     bool         // packets start with the outer IPv4 header, not with an Ethernet header
	DstPort uint16       // UDP destination port; 0 is Port, 4789
	Local   netip.Addr   // the outer destination; zero is any
	Peers   []netip.Addr // the remote VTEPs to accept from; empty is any, as on Linux
	VNIs    []uint32     // the VNIs to accept; empty is any, the caller then looks at Info.VNI

	// LocalMAC is the tunnel device's own address: a frame that claims to come from it is a loop. Zero is not checked.
	LocalMAC ethernet.MAC

	GBP     bool           // group policy bits are expected, not reserved
	Profile tunnel.Profile // Linux drops packets with reserved bits, RFC ignores the bits
}

// Decapsulator takes frames out of VXLAN. It does not change after [NewDecapsulator] and is safe for concurrent use.
type Decapsulator struct {
	frame   int // where the outer IPv4 header starts: 0 if raw
	dstPort uint16
	local   netip.Addr

	wantPort, maskPort uint64 // outer destination address and UDP ports, as they lie in the packet

	localMAC  uint64              // as a number; noMAC if not to be checked
	selective bool                // there are peers or vnis
	peers     map[uint32]struct{} // nil for any
	vnis      map[uint32]struct{} // nil for any

	ignored uint64 // header bits that may be set: I, the VNI, and what configuration adds
}

// noMAC is a number that no MAC address has.
const noMAC = 1 << 48

// Info is what the outer headers of a decapsulated frame said.
type Info struct {
	header   uint64 // the VXLAN header
	src, dst uint32 // numbers, because arrays would not travel in registers
}

// VNI returns the network identifier.
func (i Info) VNI() uint32 { return uint32(i.header>>8) & MaxVNI }

// GBP returns the group policy.
func (i Info) GBP() GBP { return gbpOf(i.header) }

// Src returns the outer source address: the remote VTEP.
func (i Info) Src() [4]byte { return outer.Bytes(i.src) }

// Dst returns the outer destination address: the local VTEP.
func (i Info) Dst() [4]byte { return outer.Bytes(i.dst) }

// NewDecapsulator returns a decapsulator. It reports every field of c that is wrong.
func NewDecapsulator(c DecapConfig) (*Decapsulator, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	d := &Decapsulator{
		frame: ethernet.HeaderLen, dstPort: c.DstPort, local: c.Local, localMAC: noMAC, ignored: bitI | maskVNI,
	}
	if c.Raw {
		d.frame = 0
	}
	if d.dstPort == 0 {
		d.dstPort = Port
	}
	d.wantPort, d.maskPort = uint64(d.dstPort), 0xffff
	if c.Local.IsValid() {
		d.wantPort |= uint64(outer.Number(c.Local.As4())) << 32
		d.maskPort |= 0xffffffff << 32
	}
	if !c.LocalMAC.IsZero() {
		d.localMAC = binary.BigEndian.Uint64(append(make([]byte, 2), c.LocalMAC[:]...))
	}
	if c.GBP {
		d.ignored |= maskGBP | 0xff<<48 // Linux lets the whole second byte pass (VXLAN_GBP_USED_BITS)
	}
	if c.Profile == tunnel.RFC { // RFC 7348 section 5: reserved fields are ignored on receipt
		d.ignored = ^uint64(0)
	}
	d.selective = len(c.Peers) > 0 || len(c.VNIs) > 0
	d.peers = outer.Numbers(c.Peers)
	if len(c.VNIs) > 0 {
		d.vnis = make(map[uint32]struct{}, len(c.VNIs))
		for _, v := range c.VNIs {
			d.vnis[v] = struct{}{}
		}
	}
	return d, nil
}

// check reports every field that is wrong.
func (c *DecapConfig) check() error {
	errs := []error{outer.CheckDecap("vxlan", c.Local, c.Peers)}
	if c.Profile > tunnel.RFC {
		errs = append(errs, fmt.Errorf("vxlan: DecapConfig.Profile is %d: want tunnel.Linux or tunnel.RFC", c.Profile))
	}
	for i, v := range c.VNIs {
		if v > MaxVNI {
			errs = append(errs, fmt.Errorf("vxlan: DecapConfig.VNIs[%d] is %d: want at most %d", i, v, MaxVNI))
		}
	}
	return errors.Join(errs...)
}

// Decapsulate checks the outer headers of the packet in b, which stays the caller's, and strips them: b then holds the
// inner Ethernet frame, cut to the declared length, its congestion mark set from the outer one (RFC 6040).
//
// It leaves b as it was and returns an error of this package, of ipv4, udp or ethernet, or [tunnel.ErrECN], for a packet
// that is no VXLAN for this tunnel or that must be dropped: broken lengths, a wrong IPv4 or (non-zero) UDP checksum,
// the I flag clear, reserved bits as the profile has it, another port, address, peer or VNI than configured, an inner
// frame shorter than the header it announces. Fragments are refused with [ErrFragment]. IPv4 options, VLAN tags, bytes
// behind the declared length and any source port are accepted, and inner frames of every kind. It allocates nothing.
func (d *Decapsulator) Decapsulate(b *packet.Buffer) (Info, error) {
	whole := b.Bytes()
	p := d.outer(whole)
	if p == nil {
		return d.general(b)
	}
	w0, w1, w2 := binary.BigEndian.Uint64(p[0:]), binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint64(p[16:])
	w3, w4, w5 := binary.BigEndian.Uint64(p[24:]), binary.BigEndian.Uint64(p[32:]), binary.BigEndian.Uint64(p[42:])
	if d.odd(w0, w1, w2, w3, w4, w5) != 0 || !lengthsOK(w0, w3, len(whole)-d.frame) || !checksum.OK20(w0, w1, uint32(w2>>32)) {
		return d.general(b)
	}
	info := Info{header: bitI | w4>>32, src: uint32(w1), dst: uint32(w2 >> 32)}
	end := d.frame + ipv4.HeaderLen + int(w3>>48)
	if d.selective {
		return d.stripIfKnown(b, info, end)
	}
	return info, b.Strip(d.frame+OverheadIP, end)
}

// Inner returns where the inner frame of a usual packet ends, which starts [Overhead] bytes from its front, or [OverheadIP] if the
// packets are raw: all that [Decapsulator.Decapsulate] checks is in order, but for peers and VNIs, and there is no VLAN tag, no
// option, no UDP checksum, no reserved bit and no congestion mark to see to. It reports false for others, good or bad.
func (d *Decapsulator) Inner(packet []byte) (end int, usual bool) {
	p := d.outer(packet)
	if p == nil {
		return 0, false
	}
	w0, w1, w2 := binary.BigEndian.Uint64(p[0:]), binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint64(p[16:])
	w3, w4, w5 := binary.BigEndian.Uint64(p[24:]), binary.BigEndian.Uint64(p[32:]), binary.BigEndian.Uint64(p[42:])
	usual = d.odd(w0, w1, w2, w3, w4, w5) == 0 && lengthsOK(w0, w3, len(packet)-d.frame) && checksum.OK20(w0, w1, uint32(w2>>32))
	return d.frame + ipv4.HeaderLen + int(w3>>48), usual
}

// need is the length of the headers of a usual packet, from the outer IPv4 header to the inner one. Looked at are the words at these
// bytes of it, each of eight bytes:
//
//	0, 8  the outer IPv4 header, but for
//	16    its destination; UDP ports
//	24    UDP length and checksum; first half of the VXLAN header
//	32    VNI; first half of the inner destination address
//	42    inner source address and EtherType
const need = OverheadIP + ethernet.HeaderLen + ipv4.HeaderLen

// outer returns a packet's headers, nil if they are shorter than usual, or not IPv4.
func (d *Decapsulator) outer(packet []byte) *[need]byte {
	if len(packet) < d.frame+need {
		return nil
	}
	if d.frame == 0 {
		return (*[need]byte)(packet)
	}
	q := (*[ethernet.HeaderLen + need]byte)(packet)
	if binary.BigEndian.Uint16(q[ethernet.HeaderLen-2:]) != ethernet.TypeIPv4 {
		return nil
	}
	return (*[need]byte)(q[ethernet.HeaderLen:])
}

// odd returns bits of the words that differ from what they are in a usual packet, 0 if none does.
func (d *Decapsulator) odd(w0, w1, w2, w3, w4, w5 uint64) uint64 {
	const (
		mask0 = 0xff03_0000_0000_3fff // version, IHL, congestion mark, MF and fragment offset
		want0 = 0x4500_0000_0000_0000
		mask1 = 0x00ff_0000_0000_0000 // protocol
		want1 = uint64(ipv4.ProtocolUDP) << 48
		mask3 = 0x0000_ffff_ffff_ffff // UDP checksum, VXLAN flags
		want3 = bitI >> 32
		mask4 = 0x0000_00ff_0000_0000 // last reserved byte
	)
	if w5>>16 == d.localMAC {
		return 1
	}
	return (w0&mask0 ^ want0) | (w1&mask1 ^ want1) | (w2^d.wantPort)&d.maskPort | (w3&mask3 ^ want3) |
		w4&mask4 | uint64(uint16(w5)^ethernet.TypeIPv4)
}

// lengthsOK reports whether the lengths that the headers say fit into each other, and into the bytes that there are.
func lengthsOK(w0, w3 uint64, have int) bool {
	total, udpLen := int(uint16(w0>>32)), int(w3>>48)
	return total <= have && udpLen <= total-ipv4.HeaderLen && udpLen >= need-ipv4.HeaderLen
}

// stripIfKnown is the end of Decapsulate where peers or VNIs are configured.
func (d *Decapsulator) stripIfKnown(b *packet.Buffer, info Info, end int) (Info, error) {
	if err := d.known(info); err != nil {
		return Info{}, err
	}
	return info, b.Strip(d.frame+OverheadIP, end)
}

// general is [Decapsulator.Decapsulate] for every packet, step by step; it names what is wrong. The latter does the usual ones by
// itself: no VLAN tag, no options, no UDP checksum, no reserved bits, no congestion mark, an IPv4 packet inside.
func (d *Decapsulator) general(b *packet.Buffer) (Info, error) {
	ip, datagram, at, err := outer.Parse(b.Bytes(), d.frame == 0, ErrNotUDP)
	if err != nil {
		return Info{}, err
	}
	switch {
	case ip.Protocol() != udp.Protocol:
		return Info{}, ErrNotUDP
	case ip.IsFragment():
		return Info{}, ErrFragment
	case d.local.IsValid() && d.local.As4() != ip.Dst():
		return Info{}, ErrLocal
	}
	u, payload, err := udp.Parse(datagram)
	if err != nil {
		return Info{}, err
	}
	if u.DstPort() != d.dstPort {
		return Info{}, ErrPort
	}
	// A partial checksum is not there yet, a verified one needs no second look.
	if b.Checksum() == packet.ChecksumUnknown && !u.ChecksumOK(ip.Src(), ip.Dst(), payload) {
		return Info{}, udp.ErrChecksum
	}
	h, frame, err := Parse(payload)
	if err != nil {
		return Info{}, err
	}
	info := Info{header: h.word(), src: outer.Number(ip.Src()), dst: outer.Number(ip.Dst())}
	if err := d.known(info); err != nil {
		return Info{}, err
	}
	if h.word()&^d.ignored != 0 {
		return Info{}, ErrReserved
	}
	if err := d.checkInner(frame, ip.ECN()); err != nil {
		return Info{}, err
	}
	start := at + ip.Len() + udp.HeaderLen + HeaderLen
	return info, b.Strip(start, start+len(frame))
}

// known checks peer and VNI against the configured ones.
func (d *Decapsulator) known(info Info) error {
	if d.peers != nil {
		if _, ok := d.peers[info.src]; !ok {
			return ErrPeer
		}
	}
	if d.vnis != nil {
		if _, ok := d.vnis[info.VNI()]; !ok {
			return ErrUnknownVNI
		}
	}
	return nil
}

// checkInner checks that an inner frame has the headers that it announces and does not come from the tunnel device itself,
// and sets its congestion mark from the outer one. On error nothing is changed.
func (d *Decapsulator) checkInner(frame []byte, mark ipv4.ECN) error {
	if len(frame) < ethernet.HeaderLen {
		return ErrInnerShort
	}
	if binary.BigEndian.Uint64(frame[6:])>>16 == d.localMAC {
		return ErrOwnMAC
	}
	at, etherType := flow.Network(frame)
	if at == 0 {
		return ErrInnerShort // ends inside a VLAN tag
	}
	p := frame[at:]
	switch etherType {
	case ethernet.TypeIPv4:
		if len(p) < ipv4.HeaderLen {
			return ErrInnerShort
		}
		return tunnel.MarkIPv4((*[ipv4.HeaderLen]byte)(p), mark)
	case ethernet.TypeIPv6:
		if len(p) < tunnel.IPv6HeaderLen {
			return ErrInnerShort
		}
		return tunnel.MarkIPv6((*[tunnel.IPv6HeaderLen]byte)(p), mark)
	}
	return nil
}
