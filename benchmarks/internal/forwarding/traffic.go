package forwarding

// What is offered: a long run of packets that differ in their keys only, drawn and built beforehand.

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

const (
	headLen  = 64 // bytes in front that a buffer gets for each packet; a tunnel's headers take more, but stay as they are
	patchLen = 16
)

// Traffic is packets offered one after the other, and from the start again. All have the same bytes, but for one or two patches
// that hold what packets are looked up by, so that writing the next one into a used buffer takes a few stores.
type Traffic struct {
	size    int // bytes of a packet
	length  int // packets until they repeat, a power of two
	first   []byte
	head    [headLen]byte
	at      [3]int // where the patches are
	patches [3][][patchLen]byte

	// want returns what becomes of packet i: the frame, and the index of the port that it leaves by.
	want func(i int) (port uint32, frame []byte)
	free []int // places in it that the engine chooses: identification, checksum over it, UDP source port
}

// newTraffic builds the packets that packet appends to its argument; they may differ in the patches at the given places only.
func newTraffic(length int, packet func(b []byte, i int) []byte, places ...int) (*Traffic, error) {
	first := packet(nil, 0)
	t := &Traffic{size: len(first), length: length, first: first}
	copy(t.head[:], first)
	for n, at := range places {
		t.at[n], t.patches[n] = at, make([][patchLen]byte, length)
	}
	var b []byte
	for i := range length {
		b = packet(b[:0], i)
		for n, at := range places {
			t.patches[n][i] = [patchLen]byte(b[at:])
		}
		if i%1024 == 0 && string(b) != string(t.Packet(i)) {
			return nil, fmt.Errorf("packets 0 and %d differ elsewhere than in the patches at %d:\n%x\n%x", i, places, first, b)
		}
	}
	return t, nil
}

// Len returns how many packets there are until they repeat.
func (t *Traffic) Len() int { return t.length }

// Size returns the length of a packet in bytes.
func (t *Traffic) Size() int { return t.size }

// Packet returns packet i in new memory.
func (t *Traffic) Packet(i int) []byte {
	b := append([]byte(nil), t.first...)
	t.Next(b, i)
	return b
}

// Next makes b, which held another of the packets and may have been rewritten on its way, hold packet i.
func (t *Traffic) Next(b []byte, i int) {
	*(*[headLen]byte)(b) = t.head
	i &= t.length - 1
	*(*[patchLen]byte)(b[t.at[0]:]) = t.patches[0][i]
	if t.patches[1] != nil {
		*(*[patchLen]byte)(b[t.at[1]:]) = t.patches[1][i]
	}
	if t.patches[2] != nil {
		*(*[patchLen]byte)(b[t.at[2]:]) = t.patches[2][i]
	}
}

// Check compares a frame that left by a port with what should have become of packet i.
func (t *Traffic) Check(i int, port uint32, frame []byte) error {
	wantPort, want := t.want(i & (t.length - 1))
	if len(frame) == len(want) {
		for _, at := range t.free {
			want[at] = frame[at]
		}
	}
	// The last bytes may bear a mark that tells packets apart.
	if n := len(want) - markLen; port != wantPort || len(frame) != len(want) || string(frame[:n]) != string(want[:n]) {
		return fmt.Errorf("packet %d left by port %d as\n%x\nwant port %d and\n%x", i, port, frame, wantPort, want)
	}
	if _, _, err := ipv4.Parse(frame[ethernet.HeaderLen:]); err != nil {
		return fmt.Errorf("packet %d: %w", i, err)
	}
	return nil
}

const markLen = 4 // bytes at the end of a packet

func mark(b []byte, i int) { binary.BigEndian.PutUint32(b[len(b)-markLen:], uint32(i)) }

func marked(b []byte) int { return int(binary.BigEndian.Uint32(b[len(b)-markLen:])) }

// draws returns length uniformly random numbers below n. If there are not many more draws than numbers, each number comes up about
// as often as any other, so that all of a large table is used.
func draws(length, n int, stream uint64) []uint32 {
	rnd := rand.New(rand.NewPCG(seed, stream))
	out := make([]uint32, length)
	if n <= length/16 {
		for i := range out {
			out[i] = rnd.Uint32N(uint32(n))
		}
		return out
	}
	for i := range out {
		out[i] = uint32(i % n)
	}
	rnd.Shuffle(length, func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

const seed = 1

// host is a station: its addresses.
type host struct {
	mac ethernet.MAC
	ip  uint32
}

// hosts are the stations of a kind, which have consecutive addresses from base on.
type hosts struct {
	kind byte // in their MAC addresses
	base uint32
}

func (h hosts) at(i uint32) host {
	ip := h.base + i
	return host{ethernet.MAC{0x02, h.kind, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}, ip}
}

// The hosts of all networks here. Stations are in no subnet of a node that routes.
var (
	routers = hosts{0x01, ip("10.255.0.1")}  // the node's own devices; port p has subnet 10.255.4p.0/22 at most
	locals  = hosts{0x02, ip("10.128.0.16")} // at hand: pods of the node, senders
	farOnes = hosts{0x03, ip("10.0.0.16")}   // stations elsewhere, or as many pods as there are entries
	nodes   = hosts{0x04, ip("172.16.0.16")} // other nodes: VTEPs, IPIP peers
	vteps   = hosts{0x05, ip("16.0.0.0")}    // their inner ends; the /24 of each is the node's pod network, 16.0.0.0/4 in all
	gates   = hosts{0x06, ip("10.254.0.2")}  // gateways of plain routes
)

// ip returns an address as a number.
func ip(s string) uint32 {
	b := netip.MustParseAddr(s).As4()
	return binary.BigEndian.Uint32(b[:])
}

func addr(ip uint32) netip.Addr { return netip.AddrFrom4(octets(ip)) }

func octets(ip uint32) (b [4]byte) {
	binary.BigEndian.PutUint32(b[:], ip)
	return b
}

const (
	innerTTL  = 64
	tunnelTTL = 64 // of VXLAN devices that were not told otherwise
)

// inner is a UDP datagram from host to host, without a checksum; flow tells flows between the same hosts apart.
type inner struct {
	dst, src       ethernet.MAC
	dstIP, srcIP   uint32
	ttl            uint8
	flow           uint16
	size           int // of the Ethernet frame; of the packet, 14 bytes less
	withoutFraming bool
}

func (f inner) append(b []byte) []byte {
	start := len(b)
	if !f.withoutFraming {
		b = must(ethernet.Fields{Dst: f.dst, Src: f.src, EtherType: ethernet.TypeIPv4}.Append(b))
	} else {
		start -= ethernet.HeaderLen
	}
	ip := ipv4.Fields{TTL: f.ttl, Protocol: udp.Protocol, ID: 1, Src: octets(f.srcIP), Dst: octets(f.dstIP)}
	b = must(ip.Append(b, start+f.size-len(b)-ipv4.HeaderLen))
	b = must(udp.Fields{SrcPort: 1024 + f.flow%4096, DstPort: 9}.Append(b, start+f.size-len(b)-udp.HeaderLen))
	return append(b, make([]byte, start+f.size-len(b))...)
}

// outer is the headers that a tunnel puts in front of size bytes.
type outer struct {
	dst, src     ethernet.MAC
	dstIP, srcIP uint32
	ttl          uint8
	flags        ipv4.Flags
	id           uint16
	srcPort      uint16 // of VXLAN
}

// vxlan appends the headers in front of a frame.
func (o outer) vxlan(b []byte, frame int) []byte {
	b = must(ethernet.Fields{Dst: o.dst, Src: o.src, EtherType: ethernet.TypeIPv4}.Append(b))
	ip := ipv4.Fields{TTL: o.ttl, Flags: o.flags, Protocol: udp.Protocol, ID: o.id, Src: octets(o.srcIP), Dst: octets(o.dstIP)}
	b = must(ip.Append(b, udp.HeaderLen+vxlan.HeaderLen+frame))
	b = must(udp.Fields{SrcPort: o.srcPort, DstPort: vxlan.PortLinux}.Append(b, vxlan.HeaderLen+frame))
	return must(vxlan.Fields{VNI: vni}.Append(b))
}

const vni = 1

// freeVXLAN and freeIPIP are the bytes of the outer headers that the sender chooses.
var (
	freeVXLAN = []int{18, 19, 24, 25, 34, 35}
	freeIPIP  = []int{18, 19, 24, 25}
)

// ipip appends the headers in front of an IPv4 packet.
func (o outer) ipip(b []byte, packet int) []byte {
	b = must(ethernet.Fields{Dst: o.dst, Src: o.src, EtherType: ethernet.TypeIPv4}.Append(b))
	ip := ipv4.Fields{TTL: o.ttl, Flags: o.flags, Protocol: ipv4.ProtocolIPIP, ID: o.id, Src: octets(o.srcIP), Dst: octets(o.dstIP)}
	return must(ip.Append(b, packet))
}

// must is for headers that cannot be wrong, of which a benchmark builds millions.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
