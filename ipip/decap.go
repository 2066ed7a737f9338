package ipip

// Decapsulation: one look at the words that have but one right value, and only if that fails a second, slower look that says
// what is wrong or accepts what is merely unusual.

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/outer"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
)

// DecapConfig says which packets a tunnel end accepts. Peers, or AnyPeer, must be set: an open decapsulator lets anybody
// inject packets with any source address (CVE-2020-10136).
type DecapConfig struct {
	Raw     bool         // packets start with the outer IPv4 header, not with an Ethernet header
	Local   netip.Addr   // the outer destination; zero is any
	Peers   []netip.Addr // the remote ends to accept from
	AnyPeer bool         // accept from everybody, as a Linux tunnel with 'remote any' does
}

// Decapsulator takes IPv4 packets out of IPv4 packets. It does not change after [NewDecapsulator] and is safe for concurrent
// use.
type Decapsulator struct {
	frame int // where the outer IPv4 header starts: 0 if raw
	local netip.Addr

	wantDst, maskDst uint64 // outer destination, in the upper half

	peers map[uint32]struct{} // nil for any
	peer  uint64              // the only one, if there is one; else anyPeer
}

// anyPeer is no address: the peer is looked up, or any.
const anyPeer = 1 << 32

// Info is what the outer header of a decapsulated packet said.
type Info struct {
	src, dst uint32 // numbers, because arrays would not travel in registers
}

// Src returns the outer source address: the remote end.
func (i Info) Src() [4]byte { return outer.Bytes(i.src) }

// Dst returns the outer destination address: the local end.
func (i Info) Dst() [4]byte { return outer.Bytes(i.dst) }

// NewDecapsulator returns a decapsulator. It reports every field of c that is wrong.
func NewDecapsulator(c DecapConfig) (*Decapsulator, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	d := &Decapsulator{frame: ethernet.HeaderLen, local: c.Local, peer: anyPeer}
	if c.Raw {
		d.frame = 0
	}
	if c.Local.IsValid() {
		d.wantDst, d.maskDst = uint64(outer.Number(c.Local.As4()))<<32, 0xffffffff<<32
	}
	if c.AnyPeer {
		return d, nil
	}
	d.peers = outer.Numbers(c.Peers)
	if len(d.peers) == 1 {
		d.peer = uint64(outer.Number(c.Peers[0].As4()))
	}
	return d, nil
}

// check reports every field that is wrong.
func (c *DecapConfig) check() error {
	errs := []error{outer.CheckDecap("ipip", c.Local, c.Peers)}
	switch {
	case len(c.Peers) == 0 && !c.AnyPeer:
		errs = append(errs, errors.New("ipip: DecapConfig.Peers is empty: name the remote ends, or set AnyPeer"))
	case len(c.Peers) > 0 && c.AnyPeer:
		errs = append(errs, errors.New("ipip: DecapConfig.AnyPeer makes Peers meaningless: clear one of them"))
	}
	return errors.Join(errs...)
}

// Decapsulate checks the outer header of the packet in b, which stays the caller's, and strips it: b then holds the inner
// IPv4 packet, cut to its total length, its congestion mark set from the outer one (RFC 6040).
//
// It leaves b as it was and returns an error of this package, of ipv4 or ethernet, or [tunnel.ErrECN], for a packet that is no
// IPIP for this tunnel or that must be dropped: broken lengths in either header, a wrong outer checksum, another address or
// peer than configured. Fragments are refused with [ErrFragment]. Outer options, VLAN tags and bytes behind the declared
// length are accepted. The inner checksum is the next hop's to verify. It allocates nothing.
func (d *Decapsulator) Decapsulate(b *packet.Buffer) (Info, error) {
	whole := b.Bytes()
	p := d.outer(whole)
	if p == nil {
		return d.general(b)
	}
	w0, w1, w2 := binary.BigEndian.Uint64(p[0:]), binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint64(p[16:])
	if d.odd(w0, w1, w2) != 0 || !lengthsOK(w0, w2, len(whole)-d.frame) || !checksum.OK20(w0, w1, uint32(w2>>32)) {
		return d.general(b)
	}
	info := Info{src: uint32(w1), dst: uint32(w2 >> 32)}
	end := d.frame + ipv4.HeaderLen + int(uint16(w2))
	if uint64(info.src) != d.peer && d.peers != nil {
		return d.stripIfKnown(b, info, end)
	}
	return info, b.Strip(d.frame+OverheadIP, end)
}

// Inner returns where the inner packet of a usual packet ends, which starts [Overhead] bytes from its front, or [OverheadIP] if
// the packets are raw: all that [Decapsulator.Decapsulate] checks is in order, but for the peers, and there is no VLAN tag, no outer
// option and no congestion mark to see to. It reports false for others, good or bad.
func (d *Decapsulator) Inner(packet []byte) (end int, usual bool) {
	p := d.outer(packet)
	if p == nil {
		return 0, false
	}
	w0, w1, w2 := binary.BigEndian.Uint64(p[0:]), binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint64(p[16:])
	usual = d.odd(w0, w1, w2) == 0 && lengthsOK(w0, w2, len(packet)-d.frame) && checksum.OK20(w0, w1, uint32(w2>>32))
	return d.frame + ipv4.HeaderLen + int(uint16(w2)), usual
}

// need is the length of the headers of a usual packet: both IPv4 headers. Looked at are the first three words of eight bytes: the outer
// header, and version, type of service and total length of the inner one.
const need = OverheadIP + ipv4.HeaderLen

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
func (d *Decapsulator) odd(w0, w1, w2 uint64) uint64 {
	const (
		mask0 = 0xff03_0000_0000_3fff // version, IHL, congestion mark, MF and fragment offset
		want0 = 0x4500_0000_0000_0000
		mask1 = 0x00ff_0000_0000_0000 // protocol
		want1 = uint64(Protocol) << 48
		mask2 = 0xff00_0000 // inner version and IHL
		want2 = 0x4500_0000
	)
	return (w0&mask0 ^ want0) | (w1&mask1 ^ want1) | (w2&mask2 ^ want2) | (w2^d.wantDst)&d.maskDst
}

// lengthsOK reports whether the lengths that the headers say fit into each other, and into the bytes that there are.
func lengthsOK(w0, w2 uint64, have int) bool {
	total, inner := int(uint16(w0>>32)), int(uint16(w2))
	return total <= have && inner <= total-ipv4.HeaderLen && inner >= ipv4.HeaderLen
}

// stripIfKnown is the end of Decapsulate where there are several peers.
func (d *Decapsulator) stripIfKnown(b *packet.Buffer, info Info, end int) (Info, error) {
	if !d.known(info) {
		return Info{}, ErrPeer
	}
	return info, b.Strip(d.frame+OverheadIP, end)
}

// known reports whether the packet comes from a peer.
func (d *Decapsulator) known(info Info) bool {
	if d.peers == nil {
		return true
	}
	_, ok := d.peers[info.src]
	return ok
}

// general is [Decapsulator.Decapsulate] for every packet, step by step; it names what is wrong. The latter does the usual ones by
// itself: no VLAN tag, no options in either header, no congestion mark.
func (d *Decapsulator) general(b *packet.Buffer) (Info, error) {
	ip, payload, at, err := outer.Parse(b.Bytes(), d.frame == 0, ErrNotIPIP)
	if err != nil {
		return Info{}, err
	}
	inner, _, err := Parse(ip, payload)
	if err != nil {
		return Info{}, err
	}
	info := Info{src: outer.Number(ip.Src()), dst: outer.Number(ip.Dst())}
	switch {
	case d.local.IsValid() && d.local.As4() != ip.Dst():
		return Info{}, ErrLocal
	case !d.known(info):
		return Info{}, ErrPeer
	}
	if err := tunnel.MarkIPv4((*[ipv4.HeaderLen]byte)(inner.Bytes()), ip.ECN()); err != nil {
		return Info{}, err
	}
	start := at + ip.Len()
	return info, b.Strip(start, start+int(inner.TotalLen()))
}
