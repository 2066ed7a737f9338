package ipip

// Decapsulation: one look at the words that have but one right value, and only if that fails a second, slow look that says
// what is wrong or accepts what is merely unusual.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
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
func (i Info) Src() [4]byte { return bytes4(i.src) }

// Dst returns the outer destination address: the local end.
func (i Info) Dst() [4]byte { return bytes4(i.dst) }

func bytes4(a uint32) [4]byte { return [4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)} }

// number returns an IPv4 address as the number that its bytes make.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

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
		d.wantDst, d.maskDst = uint64(number(c.Local))<<32, 0xffffffff<<32
	}
	if c.AnyPeer {
		return d, nil
	}
	d.peers = make(map[uint32]struct{}, len(c.Peers))
	for _, p := range c.Peers {
		d.peers[number(p)] = struct{}{}
	}
	if len(d.peers) == 1 {
		d.peer = uint64(number(c.Peers[0]))
	}
	return d, nil
}

// check reports every field that is wrong.
func (c *DecapConfig) check() error {
	var errs []error
	if c.Local.IsValid() && !c.Local.Is4() {
		errs = append(errs, fmt.Errorf("ipip: DecapConfig.Local is %v: want an IPv4 address", c.Local))
	}
	for i, p := range c.Peers {
		if !p.Is4() {
			errs = append(errs, fmt.Errorf("ipip: DecapConfig.Peers[%d] is %v: want an IPv4 address", i, p))
		}
	}
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
	p := b.Bytes()
	ip, start, end := d.frame, d.frame+OverheadIP, d.fast(p)
	if end == 0 {
		var err error
		if ip, start, end, err = d.slow(p); err != nil {
			return Info{}, err
		}
	}
	info := Info{src: binary.BigEndian.Uint32(p[ip+12:]), dst: binary.BigEndian.Uint32(p[ip+16:])}
	if d.peers != nil && uint64(info.src) != d.peer {
		if _, ok := d.peers[info.src]; !ok {
			return Info{}, ErrPeer
		}
	}
	if mark := ipv4.ECN(p[ip+1] & 3); mark != ipv4.NotECT {
		if err := tunnel.MarkIPv4((*[ipv4.HeaderLen]byte)(p[start:end]), mark); err != nil {
			return Info{}, err
		}
	}
	tunnel.Strip(b, start, end)
	return info, nil
}

// fast looks at a packet of the usual kind: no VLAN tag, no options in either header. It returns where the inner packet ends;
// 0 for any other packet, right or wrong.
func (d *Decapsulator) fast(packet []byte) (end int) {
	const (
		inner = ipv4.HeaderLen
		need  = inner + ipv4.HeaderLen
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
	w2 := binary.BigEndian.Uint64(p[16:]) // outer destination, first half of the inner length word
	const (
		mask0 = 0xff00_0000_0000_3fff // version, IHL, MF and fragment offset
		want0 = 0x4500_0000_0000_0000
		mask1 = 0x00ff_0000_0000_0000 // protocol
		want1 = uint64(Protocol) << 48
		mask2 = 0xff00_0000 // inner version and IHL
		want2 = 0x4500_0000
	)
	odd := (w0&mask0 ^ want0) | (w1&mask1 ^ want1) | (w2&mask2 ^ want2) | (w2^d.wantDst)&d.maskDst
	total, innerTotal := int(uint16(w0>>32)), int(uint16(w2))
	if odd != 0 || total > len(packet)-d.frame || innerTotal > total-inner || innerTotal < ipv4.HeaderLen {
		return 0
	}
	if checksum.Sum20((*[ipv4.HeaderLen]byte)(p[:])) != 0xffff {
		return 0
	}
	return d.frame + inner + innerTotal
}

// slow looks at a packet step by step, and names what is wrong with it.
func (d *Decapsulator) slow(b []byte) (ipAt, start, end int, err error) {
	if d.frame != 0 {
		eth, _, err := ethernet.Parse(b)
		if err != nil {
			return 0, 0, 0, err
		}
		if eth.EtherType() != ethernet.TypeIPv4 {
			return 0, 0, 0, ErrNotIPIP
		}
		ipAt = eth.Len()
	}
	outer, payload, err := ipv4.Parse(b[ipAt:])
	if err != nil {
		return 0, 0, 0, err
	}
	if !outer.ChecksumOK() {
		return 0, 0, 0, ipv4.ErrChecksum
	}
	inner, _, err := Parse(outer, payload)
	if err != nil {
		return 0, 0, 0, err
	}
	if d.local.IsValid() && d.local.As4() != outer.Dst() {
		return 0, 0, 0, ErrLocal
	}
	start = ipAt + outer.Len()
	return ipAt, start, start + int(inner.TotalLen()), nil
}
