package afpacket

// Filters: what an engine wants, as a program of the classic Berkeley packet filter that the kernel runs on each frame. There is no
// other way in: what the program does not take is never copied.

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
)

// Filter says which frames are wanted: those to its MAC addresses, in its VLANs, that are of one of the kinds named, or of any kind if none
// is named. A node that is in a VXLAN and takes IPIP at the host's own address has
//
//	&afpacket.Filter{
//		ARP:       []netip.Addr{host}, // for the answers to its own questions; not to be stolen
//		Hosts:     []netip.Addr{host},
//		UDPPorts:  []uint16{8472},
//		Protocols: []uint8{ipv4.ProtocolIPIP},
//	}
//
// and one with an address of its own
//
//	&afpacket.Filter{
//		MACs: []ethernet.MAC{mac},
//		ARP:  []netip.Addr{own},
//		IPv4: []netip.Prefix{netip.PrefixFrom(own, 32)},
//	}
//
// ICMP errors about packets that the engine sent, which it needs for path MTUs, come to its own address as IPv4 says; at an
// address shared with the host, add ICMP to Protocols to receive the host's, too (but not to what is to be stolen).
type Filter struct {
	MACs  []ethernet.MAC // destinations, beside broadcast and multicast; default: any
	VLANs []uint16       // IDs of VLANs; 0 stands for frames in none; default: those alone

	// Kinds of frames. Those of IPv4 are without VLAN tags but the one that the kernel takes out.
	ARP        []netip.Addr   // ARP that asks for, or answers to, one of these addresses; announcements of all
	IPv4       []netip.Prefix // IPv4 packets to addresses in these
	Hosts      []netip.Addr   // destinations of what follows; default: any
	UDPPorts   []uint16       // UDP to these ports; and fragments of UDP but first ones, which do not say their port
	Protocols  []uint8        // other protocols over IPv4
	EtherTypes []uint16       // all frames of these types
}

// purpose is what a program is for.
type purpose int

const (
	receive purpose = iota // for a packet socket
	steal                  // for the tc hook. Announcements by ARP and fragments that do not say their port may be for the host
)

// What programs return. One that reads behind a frame's end is ended by the kernel with 0: not to be received, not to be stolen.
const (
	whole        = 1 << 18    // bytes to keep, more than any frame has
	actShot      = 2          // TC_ACT_SHOT of <linux/pkt_cls.h>: drop it
	actGoOn      = 0xffffffff // TC_ACT_UNSPEC: let others decide
	instructions = 4096       // BPF_MAXINSNS of <linux/bpf_common.h>
)

// Positions in a frame whose VLAN tag was taken out.
const (
	atType     = 12
	atNetwork  = ethernet.HeaderLen
	atSenderIP = atNetwork + 14 // of ARP over Ethernet, RFC 826
	atTargetIP = atNetwork + 24
	atOffset   = atNetwork + 6 // flags and fragment offset, RFC 791
	atProtocol = atNetwork + 9
	atDst      = atNetwork + 16
	atDstPort  = 2 // in the header of UDP

	offsetBits = 0x1fff
)

// check reports every field that is out of range.
func (f *Filter) check() error {
	var errs []error
	for _, v := range f.VLANs {
		if v > 4094 { // IEEE 802.1Q, table 9-2
			errs = append(errs, fmt.Errorf("VLANs has %d: want 0 to 4094", v))
		}
	}
	for field, list := range map[string][]netip.Addr{"ARP": f.ARP, "Hosts": f.Hosts} {
		for _, a := range list {
			if !a.Is4() {
				errs = append(errs, fmt.Errorf("%s has %v: want IPv4 addresses", field, a))
			}
		}
	}
	for _, p := range f.IPv4 {
		if !p.IsValid() || !p.Addr().Is4() {
			errs = append(errs, fmt.Errorf("IPv4 has %v: want IPv4 prefixes", p))
		}
	}
	if len(f.Hosts) > 0 && len(f.UDPPorts) == 0 && len(f.Protocols) == 0 {
		errs = append(errs, fmt.Errorf("%d Hosts are for no UDPPorts and no Protocols: name some, or use IPv4", len(f.Hosts)))
	}
	return errors.Join(errs...)
}

// program returns the filter as a program. A nil filter wants everything.
func (f *Filter) program(p purpose) ([]bpf.RawInstruction, error) {
	code, err := f.code(p)
	if err != nil {
		return nil, err
	}
	if len(code) > instructions {
		return nil, fmt.Errorf("%d instructions: the kernel takes %d; name prefixes instead of addresses, or fewer of them",
			len(code), instructions)
	}
	return bpf.Assemble(code)
}

func (f *Filter) code(p purpose) ([]bpf.Instruction, error) {
	c := compiler{p: p}
	if p == receive {
		c.incoming()
	}
	if f != nil {
		if err := f.check(); err != nil {
			return nil, err
		}
		c.filter(f)
	}
	return c.link(), nil
}

// label is a place in a program that is jumped to.
type label int

const (
	accept label = iota
	reject
	firstLabel
)

// compiler puts a program together. Jumps go forward only, by label; where the labels are is known in the end.
type compiler struct {
	p      purpose
	code   []bpf.Instruction
	jumps  map[int]label // by the index of a bpf.Jump
	places []int         // of labels from firstLabel on
}

func (c *compiler) emit(in ...bpf.Instruction) { c.code = append(c.code, in...) }

func (c *compiler) load(at uint32, size int) { c.emit(bpf.LoadAbsolute{Off: at, Size: size}) }

// label returns a label that is not placed yet.
func (c *compiler) label() label {
	c.places = append(c.places, 0)
	return firstLabel + label(len(c.places)-1)
}

func (c *compiler) place(l label) { c.places[l-firstLabel] = len(c.code) }

func (c *compiler) jump(to label) {
	if c.jumps == nil {
		c.jumps = map[int]label{}
	}
	c.jumps[len(c.code)] = to
	c.emit(bpf.Jump{})
}

// jumpIf jumps if the register compares so with v. The jump itself is a second instruction: conditional ones reach no further than
// 255.
func (c *compiler) jumpIf(is bpf.JumpTest, v uint32, to label) {
	c.emit(bpf.JumpIf{Cond: is, Val: v, SkipFalse: 1})
	c.jump(to)
}

// link ends the program, and resolves its labels. Where no label is jumped to, it accepts.
func (c *compiler) link() []bpf.Instruction {
	ends := [firstLabel]int{accept: len(c.code), reject: len(c.code) + 1}
	if c.p == receive {
		c.emit(bpf.RetConstant{Val: whole}, bpf.RetConstant{Val: 0})
	} else {
		c.emit(bpf.RetConstant{Val: actShot}, bpf.RetConstant{Val: actGoOn})
	}
	for at, to := range c.jumps {
		place := ends[min(to, reject)]
		if to >= firstLabel {
			place = c.places[to-firstLabel]
		}
		c.code[at] = bpf.Jump{Skip: uint32(place - at - 1)}
	}
	return c.code
}

// incoming goes on with frames that are not sent by this machine. The socket ignores those by itself, but not in a group of sockets
// before Linux 6.2.
func (c *compiler) incoming() {
	const outgoing = 4 // PACKET_OUTGOING of <linux/if_packet.h>
	c.emit(bpf.LoadExtension{Num: bpf.ExtType})
	c.jumpIf(bpf.JumpEqual, outgoing, reject)
}

// filter is the rest: addresses, then kinds.
func (c *compiler) filter(f *Filter) {
	c.macs(f.MACs)
	c.vlans(f.VLANs)
	isARP, isIP := c.label(), c.label()
	kinds := false
	c.load(atType, 2)
	for _, t := range f.EtherTypes {
		c.jumpIf(bpf.JumpEqual, uint32(t), accept)
		kinds = true
	}
	if len(f.ARP) > 0 {
		c.jumpIf(bpf.JumpEqual, uint32(ethernet.TypeARP), isARP)
		kinds = true
	}
	if len(f.IPv4)+len(f.UDPPorts)+len(f.Protocols) > 0 {
		c.jumpIf(bpf.JumpEqual, uint32(ethernet.TypeIPv4), isIP)
		kinds = true
	}
	if !kinds {
		return // what is next is accept
	}
	c.jump(reject)
	c.place(isARP)
	if len(f.ARP) > 0 {
		c.arp(f.ARP)
	}
	c.place(isIP)
	if len(f.IPv4)+len(f.UDPPorts)+len(f.Protocols) > 0 {
		c.ip(f)
	}
}

// macs goes on with frames to one of the addresses, or a group.
func (c *compiler) macs(list []ethernet.MAC) {
	if len(list) == 0 {
		return
	}
	good := c.label()
	const group = 1 // bit of the first byte
	c.load(0, 1)
	c.jumpIf(bpf.JumpBitsSet, group, good)
	for _, m := range list {
		next := c.label()
		c.load(0, 4)
		c.jumpIf(bpf.JumpNotEqual, binary.BigEndian.Uint32(m[:4]), next)
		c.load(4, 2)
		c.jumpIf(bpf.JumpEqual, uint32(binary.BigEndian.Uint16(m[4:])), good)
		c.place(next)
	}
	c.jump(reject)
	c.place(good)
}

// vlans goes on with frames in one of the VLANs. Where the kernel took no tag out, the register is 0, as it is for tags with nothing but
// a priority.
func (c *compiler) vlans(list []uint16) {
	if len(list) == 0 {
		list = []uint16{0}
	}
	good, untagged := c.label(), c.label()
	const vlanBits = 0xfff
	c.emit(bpf.LoadExtension{Num: bpf.ExtVLANTagPresent})
	c.jumpIf(bpf.JumpEqual, 0, untagged)
	c.emit(bpf.LoadExtension{Num: bpf.ExtVLANTag}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: vlanBits})
	c.place(untagged)
	for _, v := range list {
		c.jumpIf(bpf.JumpEqual, uint32(v), good)
	}
	c.jump(reject)
	c.place(good)
}

// anyAddr jumps if the register has one of the addresses.
func (c *compiler) anyAddr(list []netip.Addr, to label) {
	for _, a := range list {
		c.jumpIf(bpf.JumpEqual, number(a), to)
	}
}

// number returns an IPv4 address as BPF loads it.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// arp accepts ARP for the addresses. Announcements have the sender's address as the target, too.
func (c *compiler) arp(list []netip.Addr) {
	c.load(atTargetIP, 4)
	c.anyAddr(list, accept)
	if c.p == receive {
		c.emit(bpf.TAX{})
		c.load(atSenderIP, 4)
		c.emit(bpf.JumpIfX{Cond: bpf.JumpEqual, SkipFalse: 1})
		c.jump(accept)
	}
	c.jump(reject)
}

// ip accepts what is wanted of IPv4.
func (c *compiler) ip(f *Filter) {
	const version, four = 0xf0, 0x40
	c.load(atDst, 4) // which ends here if the header is not whole
	c.load(atNetwork, 1)
	c.emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: version})
	c.jumpIf(bpf.JumpNotEqual, four, reject)
	c.prefixes(f.IPv4)
	if len(f.Hosts) > 0 {
		ours := c.label()
		c.load(atDst, 4)
		c.anyAddr(f.Hosts, ours)
		c.jump(reject)
		c.place(ours)
	}
	c.load(atProtocol, 1)
	for _, p := range f.Protocols {
		c.jumpIf(bpf.JumpEqual, uint32(p), accept)
	}
	if len(f.UDPPorts) > 0 {
		c.jumpIf(bpf.JumpNotEqual, uint32(ipv4.ProtocolUDP), reject)
		c.ports(f.UDPPorts)
	}
	c.jump(reject)
}

// prefixes accepts packets to the prefixes, which it sorts by their length.
func (c *compiler) prefixes(list []netip.Prefix) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b netip.Prefix) int { return cmp.Compare(b.Bits(), a.Bits()) })
	bits := -1
	for _, p := range list {
		if p.Bits() != bits {
			bits = p.Bits()
			c.load(atDst, 4)
			c.emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^uint32(0) << (32 - bits)})
		}
		c.jumpIf(bpf.JumpEqual, number(p.Masked().Addr()), accept)
	}
}

// ports accepts UDP to the ports.
func (c *compiler) ports(list []uint16) {
	later := accept
	if c.p == steal {
		later = reject
	}
	c.load(atOffset, 2)
	c.jumpIf(bpf.JumpBitsSet, offsetBits, later)
	c.emit(bpf.LoadMemShift{Off: atNetwork}, bpf.LoadIndirect{Off: atNetwork + atDstPort, Size: 2})
	for _, p := range list {
		c.jumpIf(bpf.JumpEqual, uint32(p), accept)
	}
}
