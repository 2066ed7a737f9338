// Package vnethdr translates between the header that Linux puts in front of packets on TUN and TAP devices and on packet sockets
// (struct virtio_net_hdr) and a buffer's metadata: where a checksum is yet to be computed, and how a superframe is to be cut.
//
//	 0       1       2       4       6       8       10       12      16      18      20       22       24
//	┌───────┬───────┬───────┬───────┬───────┬───────┬────────┬───────┬───────┬───────┬────────┬────────┐
//	│ flags │ type  │ hdr   │ gso   │ csum  │ csum  │ number │ hash  │ hash  │       │ outer  │ inner  │
//	│       │       │ len   │ size  │ start │offset │buffers │       │report │       │L4 start│L3 start│
//	└───────┴───────┴───────┴───────┴───────┴───────┴────────┴───────┴───────┴───────┴────────┴────────┘
//	 ◀──────────────── Len ────────────────────────▶◀ LenV1 ▶◀──────────── LenTunnel ─────────────────▶
//
// Numbers are in the machine's byte order, or in little-endian order if the device was told so; the last two are always
// little-endian. Positions count from the front of the packet behind the header. Sources: include/uapi/linux/virtio_net.h and
// include/linux/virtio_net.h of Linux 6.17; OASIS virtio 1.3, section 5.1.6.
//
// What Linux sends is checked as if it were hostile: on a TAP it may come from a guest, and on a packet socket from any process
// that sends with such headers.
package vnethdr

import (
	"encoding/binary"
	"errors"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
)

// Lengths of the header in bytes.
const (
	Len       = 10 // struct virtio_net_hdr
	LenV1     = 12 // struct virtio_net_hdr_v1
	LenTunnel = 24 // struct virtio_net_hdr_v1_hash_tunnel, since Linux 6.17
)

// Faults of a header, or of a buffer that none can be written for.
var (
	ErrShort    = errors.New("vnethdr: header shorter than 10 bytes")
	ErrChecksum = errors.New("vnethdr: checksum outside the packet")
	ErrType     = errors.New("vnethdr: segmentation of an unknown kind")
	ErrSize     = errors.New("vnethdr: segments of no size")
	ErrTunnel   = errors.New("vnethdr: tunnel headers that are not where they are said to be")
	ErrHeaders  = errors.New("vnethdr: headers in the packet are not those of the superframe that it is said to be")
	ErrOffload  = errors.New("vnethdr: metadata that the device does not take")
)

// Flags, and types of superframes (VIRTIO_NET_HDR_F_… and VIRTIO_NET_HDR_GSO_…).
const (
	flagNeedsChecksum  = 1
	flagDataValid      = 2
	flagTunnelChecksum = 8

	gsoNone       = 0
	gsoTCP4       = 1
	gsoTCP6       = 4
	gsoUDP        = 5 // UDP_L4, over either IP; 3 is UFO: IP fragments, which no device does any more
	gsoTunnel4    = 0x20
	gsoTunnel6    = 0x40
	gsoTunnel     = gsoTunnel4 | gsoTunnel6
	gsoECN        = 0x80   // the first segment has CWR set, the others must not have it
	gsoByFrags    = 0xffff // GSO_BY_FRAGS: a size with a meaning inside of Linux
	tcpFieldAt    = 16     // of the checksum in TCP's header
	udpFieldAt    = 6      // and in UDP's
	ipv6HeaderLen = 40
)

// Positions in the header.
const (
	atFlags, atType, atHeaderLen, atSize, atStart, atField = 0, 1, 2, 4, 6, 8
	atOuterTransport, atInnerNetwork                       = 20, 22
)

// Format says how a device or socket has its headers. The zero Format is that of packet sockets and TAP devices.
type Format struct {
	LittleEndian bool // numbers are little-endian (TUNSETVNETLE), not in the machine's byte order
	Raw          bool // packets have no Ethernet header
}

// Read sets what hdr says about the packet in b, which has no metadata yet and does not include hdr. A header shorter than LenTunnel must not speak of tunnels;
// bytes between the known lengths are ignored. On error b's metadata must not be used.
func (f Format) Read(hdr []byte, b *packet.Buffer) error {
	if len(hdr) < Len {
		return ErrShort
	}
	if hdr[atFlags] == 0 && hdr[atType] == gsoNone {
		return nil
	}
	if hdr[atFlags]&flagNeedsChecksum != 0 {
		if b.SetChecksumPartial(f.get(hdr, atStart), f.get(hdr, atField)) != nil {
			return ErrChecksum
		}
	} else if hdr[atFlags]&flagDataValid != 0 {
		b.SetChecksumVerified()
	}
	if hdr[atType] == gsoNone {
		return nil
	}
	return f.readGSO(hdr, b)
}

// readGSO reads what hdr says about a superframe.
func (f Format) readGSO(hdr []byte, b *packet.Buffer) error {
	start, field, partial := b.PartialChecksum()
	if !partial { // which the standard asks for, and without which nobody knows where the header to be repeated is
		return ErrChecksum
	}
	if err := f.checkTunnel(hdr, start); err != nil {
		return err
	}
	size := f.get(hdr, atSize)
	if size == 0 || size == gsoByFrags {
		return ErrSize
	}
	p := b.Bytes()
	t, ok := f.kind(hdr[atType], p, start)
	if !ok {
		return ErrType
	}
	if field != fieldOf(t) || headersLen(t, p, start) < 0 {
		return ErrHeaders
	}
	b.SetGSO(t, uint16(size))
	return nil
}

// checkTunnel checks the positions of tunnel headers, as Linux does with those that it is given. They are of no use beyond that:
// whoever sends the packet on finds them by itself, and Linux does not count a VLAN tag in them.
func (f Format) checkTunnel(hdr []byte, start int) error {
	var outer int
	switch hdr[atType] & gsoTunnel {
	case 0:
		return nil
	case gsoTunnel4:
		outer = ipv4.HeaderLen
	case gsoTunnel6:
		outer = ipv6HeaderLen
	default:
		return ErrTunnel
	}
	if len(hdr) < LenTunnel {
		return ErrTunnel
	}
	if !f.Raw {
		outer += ethernet.HeaderLen
	}
	th := int(binary.LittleEndian.Uint16(hdr[atOuterTransport:]))
	nh := int(binary.LittleEndian.Uint16(hdr[atInnerNetwork:]))
	if th < outer || nh < th+udp.HeaderLen || start < nh+ipv4.HeaderLen {
		return ErrTunnel
	}
	return nil
}

// kind returns the buffer's word for a header's type.
func (f Format) kind(gsoType byte, p []byte, start int) (packet.GSOType, bool) {
	switch gsoType &^ gsoTunnel {
	case gsoTCP4, gsoTCP4 | gsoECN:
		return packet.GSOTCP4, true
	case gsoTCP6, gsoTCP6 | gsoECN:
		return packet.GSOTCP6, true
	case gsoUDP:
		// Over IPv6, which no buffer has a word for, there is no such header in front.
		_, ok := ipv4Before(p, start, ipv4.ProtocolUDP)
		return packet.GSOUDP4, ok
	}
	return packet.GSONone, false
}

// Put writes what is known about the packet in b to hdr, all of it: its length says which header it is, and only LenTunnel takes
// superframes in UDP tunnels. The packet will be behind hdr, but is not yet. offloads is what the device takes; a VLAN tag beside
// the packet none does. A packet that is in a UDP tunnel with an outer checksum gets the sum of the pseudo-header there, from which
// the device computes those of the segments.
func (f Format) Put(hdr []byte, b *packet.Buffer, offloads packet.Offloads) error {
	if len(hdr) < Len {
		return ErrShort
	}
	clear(hdr)
	if b.HasVLAN() {
		return ErrOffload
	}
	start, field, partial := b.PartialChecksum()
	if !partial {
		if b.IsSuperframe() {
			return ErrHeaders
		}
		return nil
	}
	if !offloads.Has(packet.OffloadChecksum) {
		return ErrOffload
	}
	if start < 0 || start+field+2 > b.Len() {
		return ErrChecksum
	}
	hdr[atFlags] = flagNeedsChecksum
	f.put(hdr, atStart, start)
	f.put(hdr, atField, field)
	if b.IsSuperframe() {
		return f.putGSO(hdr, b, offloads)
	}
	return nil
}

// putGSO writes what is to be known about a superframe.
func (f Format) putGSO(hdr []byte, b *packet.Buffer, offloads packet.Offloads) error {
	start, field, _ := b.PartialChecksum()
	t, size := b.GSO()
	p := b.Bytes()
	headers := headersLen(t, p, start)
	switch {
	case size == 0 || size == gsoByFrags:
		return ErrSize
	case headers < 0 || field != fieldOf(t):
		return ErrHeaders
	}
	f.put(hdr, atHeaderLen, headers)
	f.put(hdr, atSize, int(size))
	hdr[atType] = typeOf(t, p[start:])

	o := f.outermost(p)
	if o.transport == start && o.ipv6 == (t == packet.GSOTCP6) {
		return need(offloads, offloadOf(t))
	}
	if t != packet.GSOTCP4 || !o.isUDP || len(hdr) < LenTunnel {
		return ErrOffload
	}
	return putTunnel(hdr, p, o, start, offloads)
}

// putTunnel writes where the headers of the tunnel are that a superframe is in.
func putTunnel(hdr, p []byte, o outer, start int, offloads packet.Offloads) error {
	inner, ok := ipv4Before(p, start, ipv4.ProtocolTCP)
	if !ok || inner < o.transport+udp.HeaderLen {
		return ErrTunnel
	}
	hdr[atType] |= gsoTunnel4
	if o.ipv6 {
		hdr[atType] ^= gsoTunnel
	}
	if o.completeChecksum(p) {
		hdr[atFlags] |= flagTunnelChecksum
	}
	binary.LittleEndian.PutUint16(hdr[atOuterTransport:], uint16(o.transport))
	binary.LittleEndian.PutUint16(hdr[atInnerNetwork:], uint16(inner))
	return need(offloads, packet.OffloadTunnelTCP4)
}

// get returns the number at a position.
func (f Format) get(hdr []byte, at int) int {
	if f.LittleEndian {
		return int(binary.LittleEndian.Uint16(hdr[at:]))
	}
	return int(binary.NativeEndian.Uint16(hdr[at:]))
}

// put writes the number at a position.
func (f Format) put(hdr []byte, at, v int) {
	if f.LittleEndian {
		binary.LittleEndian.PutUint16(hdr[at:], uint16(v))
		return
	}
	binary.NativeEndian.PutUint16(hdr[at:], uint16(v))
}

// need returns an error if the offloads lack one.
func need(offloads, one packet.Offloads) error {
	if !offloads.Has(one) {
		return ErrOffload
	}
	return nil
}

// offloadOf returns what a device must do with superframes of a type that are in no tunnel.
func offloadOf(t packet.GSOType) packet.Offloads {
	switch t {
	case packet.GSOTCP4:
		return packet.OffloadTCP4
	case packet.GSOTCP6:
		return packet.OffloadTCP6
	}
	return packet.OffloadUDP4
}

// fieldOf returns how far behind its start the checksum field is that superframes of a type have.
func fieldOf(t packet.GSOType) int {
	if t == packet.GSOUDP4 {
		return udpFieldAt
	}
	return tcpFieldAt
}

// typeOf returns the header's word for the type of a superframe, whose transport header is the start of segment.
func typeOf(t packet.GSOType, segment []byte) byte {
	var v byte
	switch t {
	case packet.GSOTCP4:
		v = gsoTCP4
	case packet.GSOTCP6:
		v = gsoTCP6
	default:
		return gsoUDP
	}
	if tcp.Flags(segment[13])&tcp.CWR != 0 {
		v |= gsoECN
	}
	return v
}
