package vxlan

// Decapsulation: one look at all the words that have but one right value, and only if that fails a second, slow look that
// says what is wrong or accepts what is merely unusual.

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

	localMAC uint64              // as srcMAC returns it; noMAC if not to be checked
	peers    map[uint32]struct{} // nil for any
	vnis     map[uint32]struct{} // nil for any

	ignored uint64 // header bits that may be set: I, the VNI, and what configuration adds
}

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
func (i Info) Src() [4]byte { return bytes4(i.src) }

// Dst returns the outer destination address: the local VTEP.
func (i Info) Dst() [4]byte { return bytes4(i.dst) }

func bytes4(a uint32) [4]byte { return [4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)} }

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
		d.wantPort |= uint64(number(c.Local)) << 32
		d.maskPort |= 0xffffffff << 32
	}
	if !c.LocalMAC.IsZero() {
		d.localMAC = srcMAC(append(make([]byte, 6), c.LocalMAC[:]...))
	}
	if c.GBP {
		d.ignored |= maskGBP
	}
	if c.Profile == tunnel.RFC { // RFC 7348 section 5: reserved fields are ignored on receipt
		d.ignored = ^uint64(0)
	}
	if len(c.Peers) > 0 {
		d.peers = make(map[uint32]struct{}, len(c.Peers))
		for _, p := range c.Peers {
			d.peers[number(p)] = struct{}{}
		}
	}
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
	var errs []error
	if c.Profile > tunnel.RFC {
		errs = append(errs, fmt.Errorf("vxlan: DecapConfig.Profile is %d: want tunnel.Linux or tunnel.RFC", c.Profile))
	}
	if c.Local.IsValid() && !c.Local.Is4() {
		errs = append(errs, fmt.Errorf("vxlan: DecapConfig.Local is %v: want an IPv4 address", c.Local))
	}
	for i, p := range c.Peers {
		if !p.Is4() {
			errs = append(errs, fmt.Errorf("vxlan: DecapConfig.Peers[%d] is %v: want an IPv4 address", i, p))
		}
	}
	for i, v := range c.VNIs {
		if v > MaxVNI {
			errs = append(errs, fmt.Errorf("vxlan: DecapConfig.VNIs[%d] is %d: want at most %d", i, v, MaxVNI))
		}
	}
	return errors.Join(errs...)
}

// number returns an IPv4 address as the number that its bytes make.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
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
	p := b.Bytes()
	ip, start, end := d.frame, d.frame+OverheadIP, d.fast(p)
	plain := end != 0
	if !plain {
		var err error
		if ip, start, end, err = d.slow(p, b); err != nil {
			return Info{}, err
		}
	}
	frame := p[start:end]
	info := Info{
		header: binary.BigEndian.Uint64(p[start-HeaderLen:]),
		src:    binary.BigEndian.Uint32(p[ip+12:]),
		dst:    binary.BigEndian.Uint32(p[ip+16:]),
	}
	if d.peers != nil || d.vnis != nil {
		if err := d.known(info); err != nil {
			return Info{}, err
		}
	}
	if srcMAC(frame) == d.localMAC {
		return Info{}, ErrOwnMAC
	}
	if !plain {
		if err := checkInner(frame, ipv4.ECN(p[ip+1]&3)); err != nil {
			return Info{}, err
		}
	}
	tunnel.Strip(b, start, end)
	return info, nil
}

// srcMAC returns the source address of a frame in the upper 48 bits.
func srcMAC(frame []byte) uint64 { return binary.BigEndian.Uint64(frame[4:]) << 16 }

// noMAC is no address as srcMAC returns them.
const noMAC = 1

// fast looks at a packet of the usual kind: no VLAN tag, no options, no UDP checksum, no reserved bits, no congestion
// mark, an IPv4 packet inside. It returns where the inner frame ends; 0 for any other packet, right or wrong.
func (d *Decapsulator) fast(packet []byte) (end int) {
	const (
		u     = ipv4.HeaderLen    // UDP header
		v     = u + udp.HeaderLen // VXLAN header
		inner = v + HeaderLen     // inner frame
		need  = inner + ethernet.HeaderLen + ipv4.HeaderLen
	)
	if len(packet) < d.frame+need {
		return 0
	}
	if d.frame != 0 && binary.BigEndian.Uint16(packet[ethernet.HeaderLen-2:]) != ethernet.TypeIPv4 {
		return 0
	}
	p := (*[need]byte)(packet[d.frame:])
	w0 := binary.BigEndian.Uint64(p[0:])
	w1 := binary.BigEndian.Uint64(p[8:])
	w2 := binary.BigEndian.Uint64(p[u-4:]) // outer destination, UDP ports
	w3 := binary.BigEndian.Uint64(p[u+4:]) // UDP length and checksum, first half of the VXLAN header
	const (
		mask0 = 0xff03_0000_0000_3fff // version, IHL, congestion mark, MF and fragment offset
		want0 = 0x4500_0000_0000_0000
		mask1 = 0x00ff_0000_0000_0000 // protocol
		want1 = uint64(ipv4.ProtocolUDP) << 48
		mask3 = 0x0000_ffff_ffff_ffff // UDP checksum, VXLAN flags
		want3 = bitI >> 32
	)
	odd := (w0&mask0 ^ want0) | (w1&mask1 ^ want1) | (w3&mask3 ^ want3) |
		(w2^d.wantPort)&d.maskPort |
		uint64(p[inner-1]) | // last reserved byte
		uint64(binary.BigEndian.Uint16(p[inner+ethernet.HeaderLen-2:])^ethernet.TypeIPv4)
	total, udpLen := int(uint16(w0>>32)), int(w3>>48)
	if odd != 0 || total > len(packet)-d.frame || udpLen > total-ipv4.HeaderLen || udpLen < need-ipv4.HeaderLen {
		return 0
	}
	if checksum.Sum20((*[ipv4.HeaderLen]byte)(p[:])) != 0xffff {
		return 0
	}
	return d.frame + ipv4.HeaderLen + udpLen
}

// slow looks at a packet step by step, and names what is wrong with it.
func (d *Decapsulator) slow(b []byte, meta *packet.Buffer) (ipAt, start, end int, err error) {
	if d.frame != 0 {
		eth, _, err := ethernet.Parse(b)
		if err != nil {
			return 0, 0, 0, err
		}
		if eth.EtherType() != ethernet.TypeIPv4 {
			return 0, 0, 0, ErrNotUDP
		}
		ipAt = eth.Len()
	}
	ip, datagram, err := ipv4.Parse(b[ipAt:])
	if err != nil {
		return 0, 0, 0, err
	}
	switch {
	case !ip.ChecksumOK():
		return 0, 0, 0, ipv4.ErrChecksum
	case ip.Protocol() != udp.Protocol:
		return 0, 0, 0, ErrNotUDP
	case ip.IsFragment():
		return 0, 0, 0, ErrFragment
	}
	if d.local.IsValid() && d.local.As4() != ip.Dst() {
		return 0, 0, 0, ErrLocal
	}
	u, payload, err := udp.Parse(datagram)
	if err != nil {
		return 0, 0, 0, err
	}
	if u.DstPort() != d.dstPort {
		return 0, 0, 0, ErrPort
	}
	// A partial checksum is not there yet, a verified one needs no second look.
	if meta.Checksum() == packet.ChecksumUnknown && !u.ChecksumOK(ip.Src(), ip.Dst(), payload) {
		return 0, 0, 0, udp.ErrChecksum
	}
	h, frame, err := Parse(payload)
	if err != nil {
		return 0, 0, 0, err
	}
	if h.word()&^d.ignored != 0 {
		return 0, 0, 0, ErrReserved
	}
	if len(frame) < ethernet.HeaderLen {
		return 0, 0, 0, ErrInnerShort
	}
	start = ipAt + ip.Len() + udp.HeaderLen + HeaderLen
	return ipAt, start, start + len(frame), nil
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

// checkInner checks that an inner frame has the IP header that it announces, and sets its congestion mark from the outer
// one. On error nothing is changed.
func checkInner(frame []byte, outer ipv4.ECN) error {
	at, etherType := flow.Network(frame)
	p := frame[at:]
	switch etherType {
	case 0:
		return ErrInnerShort // ends inside a VLAN tag
	case ethernet.TypeIPv4:
		if len(p) < ipv4.HeaderLen {
			return ErrInnerShort
		}
		return tunnel.MarkIPv4((*[ipv4.HeaderLen]byte)(p), outer)
	case ethernet.TypeIPv6:
		if len(p) < tunnel.IPv6HeaderLen {
			return ErrInnerShort
		}
		return tunnel.MarkIPv6((*[tunnel.IPv6HeaderLen]byte)(p), outer)
	}
	return nil
}
