package vxlan_test

// Decapsulation beside the kernel: every packet goes to both. A marker is sent behind it: what has not come out of the
// kernel's device before the marker was dropped.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// outerPacket is a VXLAN packet from node A to node B that can be wrong in every way.
type outerPacket struct {
	eth      ethernet.Fields
	ip       ipv4.Fields
	udp      udp.Fields
	header   uint64 // the VXLAN header
	inner    []byte
	checksum bool   // compute the UDP checksum
	behind   [2]int // bytes behind the UDP datagram, and behind the IPv4 packet
}

// outerPlain returns a packet with nothing unusual about it.
func outerPlain(inner []byte, port uint16, vni uint32) outerPacket {
	return outerPacket{
		eth:    ethernet.Fields{Dst: nodeBMAC, Src: nodeAMAC, EtherType: ethernet.TypeIPv4},
		ip:     ipv4.Fields{ID: 7, TTL: 64, Protocol: udp.Protocol, Src: nodeA.As4(), Dst: nodeB.As4()},
		udp:    udp.Fields{SrcPort: 40000, DstPort: port},
		header: headerI | uint64(vni)<<8,
		inner:  inner,
	}
}

// headerI is the I flag in the VXLAN header as a number.
const headerI uint64 = 1 << 59

func (o outerPacket) bytes(t testing.TB) []byte {
	t.Helper()
	datagram, err := o.udp.Append(nil, vxlan.HeaderLen+len(o.inner))
	require.NoError(t, err)
	datagram = append(binary.BigEndian.AppendUint64(datagram, o.header), o.inner...)
	if o.checksum {
		u, payload, err := udp.Parse(datagram)
		require.NoError(t, err)
		u.FixChecksum(o.ip.Src, o.ip.Dst, payload)
	}
	b := o.around(t, append(datagram, bytes.Repeat([]byte{0xbb}, o.behind[0])...))
	return append(b, bytes.Repeat([]byte{0xee}, o.behind[1])...)
}

// around returns the frame with the packet's Ethernet and IPv4 header and a payload.
func (o outerPacket) around(t testing.TB, payload []byte) []byte {
	t.Helper()
	b, err := o.eth.Append(nil)
	require.NoError(t, err)
	b, err = o.ip.Append(b, len(payload))
	require.NoError(t, err)
	return append(b, payload...)
}

// accepts sends packets to the device, and returns the frame that comes out of it, nil if none does.
func (k kernel) accepts(t *testing.T, d device, packets ...[]byte) []byte {
	t.Helper()
	f := ethernet.Fields{Dst: vtepBMAC, Src: vtepAMAC, EtherType: typeMarker}
	marker, err := f.Append(nil)
	require.NoError(t, err)
	marker = append(marker, t.Name()...) // so that it is this one
	k.underlay.Send(t, append(packets, outerPlain(marker, d.port, d.vni).bytes(t))...)
	frames := until(t, d.Socket, string(marker))
	if len(frames) == 0 {
		return nil
	}
	require.Len(t, frames, 1, "one packet, two frames")
	return frames[0].Bytes
}

// decapCase is a packet for the kernel and for us.
type decapCase struct {
	name   string
	change func(o *outerPacket)       // of a plain packet
	patch  func(packet []byte) []byte // of its bytes, which no length and no checksum is brought in step with

	// differs is why the kernel does something else than we do, and empty if it does not.
	differs string
}

// TestKernelDecapsulates sends to the kernel and to us what behaviours 6, 7 and 8 are about.
func TestKernelDecapsulates(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		k := newKernel(t)
		flannel1 := k.tunnel(t, "flannel.1", 1, vxlan.PortLinux, "")
		ours := decapsulator(t, vxlan.DecapConfig{
			DstPort: vxlan.PortLinux, Local: nodeB, VNIs: []uint32{1}, LocalMAC: vtepBMAC,
		})
		for _, group := range []struct {
			name              string
			cases             []decapCase
			accepted, dropped int // at least, by us
		}{
			{"6 congestion marks", congestionCases(t), 80, 4},
			{"7 dropped", droppedCases(t), 0, 130},
			{"8 accepted", acceptedCases(t), 30, 0},
			{"outside of the tunnel", outsideCases(), 9, 2},
		} {
			t.Run(group.name, func(t *testing.T) {
				accepted, dropped := 0, 0
				for _, c := range group.cases {
					if k.compare(t, flannel1, ours, c) {
						accepted++
					} else {
						dropped++
					}
				}
				assert.GreaterOrEqual(t, accepted, group.accepted, "accepted")
				assert.GreaterOrEqual(t, dropped, group.dropped, "dropped")
			})
		}
	})
}

// compare holds the kernel's verdict and frame against ours, and reports whether we accept the packet.
func (k kernel) compare(t *testing.T, d device, ours *vxlan.Decapsulator, c decapCase) (accepted bool) {
	t.Helper()
	t.Run(c.name, func(t *testing.T) {
		o := outerPlain(plainInner(t), d.port, d.vni)
		if c.change != nil {
			c.change(&o)
		}
		p := o.bytes(t)
		if c.patch != nil {
			p = c.patch(p)
		}
		b := packet.Of(p)
		_, err := ours.Decapsulate(b)
		accepted = err == nil

		kernel := k.accepts(t, d, p)
		same := accepted == (kernel != nil) && (!accepted || bytes.Equal(kernel, b.Bytes()))
		switch {
		case c.differs != "" && same:
			t.Errorf("the kernel does as we do, though %s", c.differs)
		case c.differs == "" && !same:
			t.Errorf("packet %x\nkernel %x\nwe     %x, error %v", p, kernel, b.Bytes(), err)
		}
	})
	return accepted
}

// TestKernelGroupPolicy sets every bit of the header of a device with group policy, and of one without.
func TestKernelGroupPolicy(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		k := newKernel(t)
		for _, gbp := range []bool{false, true} {
			name, port, options := "plain", vxlan.PortLinux, ""
			if gbp {
				name, port, options = "policy", vxlan.Port, "gbp" // a port has one kind of devices
			}
			d := k.tunnel(t, name, 1, port, options)
			ours := decapsulator(t, vxlan.DecapConfig{DstPort: port, VNIs: []uint32{1}, GBP: gbp})
			accepted := 0
			for bit := range 64 {
				for _, g := range []uint64{0, 1 << 63} {
					c := decapCase{
						name:   fmt.Sprintf("%s, bit %d, %016x", name, bit, g),
						change: func(o *outerPacket) { o.header |= g | 1<<bit },
					}
					if k.compare(t, d, ours, c) {
						accepted++
					}
				}
			}
			// Without group policy I and the VNI's lowest bit, which are set anyway; with it, those, G, the whole second byte
			// and the group, each with G and without.
			assert.Equal(t, map[bool]int{false: 2, true: 2 * (2 + 1 + 8 + 16)}[gbp], accepted)
		}
	})
}

// TestKernelReassembles: the kernel's fragments, in any order, are a packet to its device. We refuse each with
// [vxlan.ErrFragment]: whoever decapsulates has reassembled before.
func TestKernelReassembles(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		k := newKernel(t)
		flannel1 := k.tunnel(t, "flannel.1", 1, vxlan.PortLinux, "")
		ours := decapsulator(t, vxlan.DecapConfig{DstPort: vxlan.PortLinux, Local: nodeB})
		for id, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {0, 2, 1}} {
			t.Run(fmt.Sprint(order), func(t *testing.T) {
				o := outerPlain(plainInner(t), vxlan.PortLinux, 1)
				o.checksum, o.ip.ID = true, uint16(100+id)
				whole := o.bytes(t)
				fragments := make([][]byte, len(order))
				for i, n := range order {
					f := o
					f.ip.FragmentOffset = uint16(24 * n)
					end := atUDP + 24*(n+1)
					if n < len(order)-1 {
						f.ip.Flags = ipv4.MoreFragments
					} else {
						end = len(whole)
					}
					fragments[i] = f.around(t, whole[atUDP+24*n:end])
					_, err := ours.Decapsulate(packet.Of(fragments[i]))
					require.ErrorIs(t, err, vxlan.ErrFragment)
				}
				b := packet.Of(whole)
				_, err := ours.Decapsulate(b)
				require.NoError(t, err)
				assert.Equal(t, b.Bytes(), k.accepts(t, flannel1, fragments...))
			})
		}
	})
}

// congestionCases are all pairs of marks, for each kind of inner packet.
func congestionCases(t *testing.T) []decapCase {
	const behindTag = "the kernel does not look behind a VLAN tag for the mark: RFC 6040 knows no tags"
	const zero = "the kernel steps the inner checksum from 1 past 0 to 0xffff, which is as right"
	var cases []decapCase
	for outer := range uint8(4) {
		for inner := range uint8(4) {
			v4 := innerIPv4(t, ipv4.Fields{TOS: 0xb8 | inner, TTL: 3, Protocol: udp.Protocol}, datagram(t, 1, []byte("x")))
			changes := inner != 0 && outer == 3 && inner != 3 || outer == 3 && inner == 0 || outer == 1 && inner == 2
			for _, kind := range []struct {
				name    string
				inner   []byte
				differs string
			}{
				{"IPv4", v4, ""},
				{"IPv6", innerIPv6(0xb8|inner, 61), ""},
				{"IPv4 behind a tag", insertTag(v4, 0x8100, 0x2005), behindTag},
				{"IPv6 behind two tags", insertTag(insertTag(innerIPv6(inner, 1), 0x8100, 5), 0x88a8, 0x2006), behindTag},
				{"ARP", arp.Probe(vtepAMAC, [4]byte{10, 0, 0, 1}).AppendFrame(nil, ethernet.Broadcast), ""},
			} {
				c := decapCase{
					name:   fmt.Sprintf("%s, outer %02b, inner %02b", kind.name, outer, inner),
					change: func(o *outerPacket) { o.ip.TOS, o.inner = 0xb8|outer, kind.inner },
				}
				if changes {
					c.differs = kind.differs
				}
				cases = append(cases, c)
			}
		}
	}
	for _, marks := range [][2]uint8{{1, 2}, {3, 2}, {3, 1}} { // outer, inner: those that change the inner header
		wrong := innerIPv4(t, ipv4.Fields{TOS: marks[1], Protocol: udp.Protocol}, datagram(t, 1, nil))
		wrong[ethernet.HeaderLen+10] ^= 0x40
		cases = append(cases, decapCase{
			name:   fmt.Sprintf("wrong inner checksum, outer %02b, inner %02b", marks[0], marks[1]),
			change: func(o *outerPacket) { o.ip.TOS, o.inner = marks[0], wrong },
		}, decapCase{
			name:    fmt.Sprintf("inner checksum becomes 0, outer %02b, inner %02b", marks[0], marks[1]),
			change:  func(o *outerPacket) { o.ip.TOS, o.inner = marks[0], checksumBecomesZero(t, marks[0], marks[1]) },
			differs: zero,
		})
	}
	return cases
}

// checksumBecomesZero returns an inner frame whose IPv4 checksum is 0 after decapsulation.
func checksumBecomesZero(t *testing.T, outer, inner uint8) []byte {
	t.Helper()
	body := datagram(t, 1, nil)
	after := ipv4.Fields{TOS: 3, TTL: 3, Protocol: udp.Protocol}
	if outer == 1 {
		after.TOS = 1
	}
	h, _, err := ipv4.Parse(innerIPv4(t, after, body)[ethernet.HeaderLen:])
	require.NoError(t, err)
	before := after
	before.TOS, before.ID = inner, h.Checksum() // the id takes up what is missing
	return innerIPv4(t, before, body)
}

// insertTag returns the frame with a VLAN tag in front of its EtherType.
func insertTag(frame []byte, tpid, tci uint16) []byte {
	const macs = 2 * ethernet.MACLen
	tagged := append([]byte(nil), frame[:macs]...)
	tagged = binary.BigEndian.AppendUint16(tagged, tpid)
	tagged = binary.BigEndian.AppendUint16(tagged, tci)
	return append(tagged, frame[macs:]...)
}

// innerIPv6 returns a frame with an IPv6 packet that has nothing inside.
func innerIPv6(class, hopLimit uint8) []byte {
	const noNextHeader = 59
	f := append([]byte(nil), vtepBMAC[:]...)
	f = binary.BigEndian.AppendUint16(append(f, vtepAMAC[:]...), ethernet.TypeIPv6)
	f = binary.BigEndian.AppendUint32(f, 6<<28|uint32(class)<<20|0x12345)
	f = append(f, 0, 0, noNextHeader, hopLimit)
	return append(f, "\xfd the source addr\xfd the destination"[:32]...)
}

// withEtherType returns n bytes of a frame with the EtherType.
func withEtherType(t *testing.T, etherType uint16, n int) []byte {
	t.Helper()
	f := plainInner(t)
	binary.BigEndian.PutUint16(f[ethernet.HeaderLen-2:], etherType)
	return f[:n]
}

func droppedCases(t *testing.T) []decapCase {
	cases := []decapCase{
		{name: "other port", change: func(o *outerPacket) { o.udp.DstPort = 8473 }},
		{name: "TCP's protocol number", change: func(o *outerPacket) { o.ip.Protocol = 6 }},
		{name: "other destination", change: func(o *outerPacket) { o.ip.Dst[3]++ }},
		{name: "ARP's EtherType", change: func(o *outerPacket) { o.eth.EtherType = ethernet.TypeARP }},
		{name: "first fragment alone", change: func(o *outerPacket) { o.ip.Flags = ipv4.MoreFragments }},
		{name: "later fragment alone", change: func(o *outerPacket) { o.ip.FragmentOffset = 1024 }},
		{name: "bad IPv4 checksum", patch: set(atIP+10, 0, 0)},
		{name: "IPv4 version 5", patch: refreshed(set(atIP, 0x55))},
		{name: "IPv4 header length 16", patch: refreshed(set(atIP, 0x44))},
		{name: "IPv4 header length 60, not options", patch: refreshed(set(atIP, 0x4f))},
		{name: "total length 19", patch: refreshed(set(atIP+2, 0, 19))},
		{name: "total length 0", patch: refreshed(set(atIP+2, 0, 0))},
		{name: "total length beyond the frame", patch: refreshed(set(atIP+2, 1, 0))},
		{name: "UDP length 0", patch: set(atUDP+4, 0, 0)},
		{name: "UDP length 7", patch: set(atUDP+4, 0, 7)},
		{name: "UDP length over the IPv4 payload by 1", patch: func(p []byte) []byte { p[atUDP+5]++; return p }},
		{name: "UDP length over the IPv4 payload, within the frame", patch: func(p []byte) []byte {
			p[atUDP+5]++
			return append(p, 0)
		}},
		{name: "wrong UDP checksum", change: func(o *outerPacket) { o.udp.Checksum = 0x1234 }},
		{name: "UDP checksum 1 too large", change: func(o *outerPacket) { o.checksum = true }, patch: func(p []byte) []byte {
			p[atUDP+7]++
			return p
		}},
		{name: "damaged in the last byte", change: func(o *outerPacket) { o.checksum = true }, patch: func(p []byte) []byte {
			p[len(p)-1]++
			return p
		}},
		{name: "own source MAC", change: func(o *outerPacket) { copy(o.inner[6:], vtepBMAC[:]) }},
		{name: "own source MAC, own destination", change: func(o *outerPacket) { copy(o.inner, append(vtepBMAC[:], vtepBMAC[:]...)) }},
	}
	for _, header := range []uint64{0, 1 << 8, ^headerI, headerI<<1 | 1<<8, headerI>>1 | 1<<8} {
		cases = append(cases, decapCase{
			name: fmt.Sprintf("I flag clear: %016x", header), change: func(o *outerPacket) { o.header = header },
		})
	}
	for _, vni := range []uint64{0, 2, 0x100, 0x10000, vxlan.MaxVNI} {
		cases = append(cases, decapCase{
			name: fmt.Sprintf("unknown VNI %d", vni), change: func(o *outerPacket) { o.header = headerI | vni<<8 },
		})
	}
	for bit := range 64 {
		if bit == 59 || 8 <= bit && bit < 32 { // I and the VNI
			continue
		}
		cases = append(cases, decapCase{
			name: fmt.Sprintf("reserved bit %d", bit), change: func(o *outerPacket) { o.header |= 1 << bit },
		})
	}
	for n := range vxlan.HeaderLen {
		cases = append(cases, decapCase{
			name: fmt.Sprintf("VXLAN header of %d bytes", n), patch: set(atUDP+4, 0, byte(udp.HeaderLen+n)),
		})
	}
	return append(cases, shortInnerCases(t)...)
}

// refreshed computes the IPv4 checksum over 20 bytes anew after a change, so that it is not the checksum that is wrong.
func refreshed(change func([]byte) []byte) func([]byte) []byte {
	return func(p []byte) []byte {
		p = change(p)
		header := (*[ipv4.HeaderLen]byte)(p[atIP:])
		header[10], header[11] = 0, 0
		var sum uint32
		for i := 0; i < len(header); i += 2 {
			sum += uint32(header[i])<<8 | uint32(header[i+1])
		}
		sum = sum&0xffff + sum>>16
		binary.BigEndian.PutUint16(header[10:], ^uint16(sum&0xffff+sum>>16))
		return p
	}
}

// shortInnerCases are inner frames that end within a header.
func shortInnerCases(t *testing.T) []decapCase {
	var cases []decapCase
	add := func(kind string, inner []byte) {
		cases = append(cases, decapCase{
			name: fmt.Sprintf("%s of %d bytes", kind, len(inner)), change: func(o *outerPacket) { o.inner = inner },
		})
	}
	v6 := innerIPv6(0, 1)
	for n := range ethernet.HeaderLen {
		add("inner frame", plainInner(t)[:n])
	}
	for n := ethernet.HeaderLen; n < ethernet.HeaderLen+ipv4.HeaderLen; n++ {
		add("inner frame with IPv4", plainInner(t)[:n])
	}
	for n := ethernet.HeaderLen; n < len(v6); n++ {
		add("inner frame with IPv6", v6[:n])
	}
	for n := ethernet.HeaderLen; n < ethernet.HeaderLen+ethernet.TagLen; n++ {
		add("inner frame with a tag", insertTag(plainInner(t), 0x8100, 5)[:n])
	}
	return cases
}

func acceptedCases(t *testing.T) []decapCase {
	cases := []decapCase{
		{name: "UDP checksum 0"},
		{name: "right UDP checksum", change: func(o *outerPacket) { o.checksum = true }},
		{name: "right UDP checksum, odd length", change: func(o *outerPacket) { o.checksum, o.inner = true, append(o.inner, 1) }},
		{name: "outer options: no operation", change: func(o *outerPacket) { o.ip.Options = []byte{1, 1, 1, 1} }},
		{name: "outer options: router alert, checksum", change: func(o *outerPacket) {
			o.ip.Options, o.checksum = []byte{148, 4, 0, 0}, true
		}},
		{name: "outer options: all 40 bytes", change: func(o *outerPacket) { o.ip.Options = make([]byte, 40) }},
		{name: "bytes behind the IPv4 packet", change: func(o *outerPacket) { o.behind[1] = 7 }},
		{name: "bytes behind the UDP datagram", change: func(o *outerPacket) { o.behind[0] = 7 }},
		{name: "bytes behind both, and a checksum", change: func(o *outerPacket) { o.behind, o.checksum = [2]int{6, 7}, true }},
		{name: "don't fragment, reserved flag", change: func(o *outerPacket) {
			o.ip.Flags = ipv4.DontFragment | ipv4.ReservedFlag
		}},
		{name: "TTL 0", change: func(o *outerPacket) { o.ip.TTL = 0 }},
		{name: "inner 802.1Q", change: func(o *outerPacket) { o.inner = insertTag(o.inner, 0x8100, 0x6005) }},
		{name: "inner 802.1ad", change: func(o *outerPacket) { o.inner = insertTag(o.inner, 0x88a8, 0x6005) }},
		{name: "inner QinQ", change: func(o *outerPacket) { o.inner = insertTag(insertTag(o.inner, 0x8100, 5), 0x88a8, 6) }},
		{name: "inner IPv6", change: func(o *outerPacket) { o.inner = innerIPv6(0, 64) }},
		{name: "inner ARP", change: func(o *outerPacket) {
			o.inner = arp.Probe(vtepAMAC, [4]byte{10, 0, 0, 1}).AppendFrame(nil, ethernet.Broadcast)
		}},
		{name: "inner LLC of length 3", change: func(o *outerPacket) { o.inner = withEtherType(t, 3, 17) }},
		{name: "inner 802.3 length beyond the end", change: func(o *outerPacket) { o.inner = withEtherType(t, 1500, 20) }},
		{name: "inner 802.3 length 0", change: func(o *outerPacket) { o.inner = withEtherType(t, 0, 14) }},
		{name: "inner frame of 14 bytes", change: func(o *outerPacket) { o.inner = withEtherType(t, 0x1234, 14) }},
		{name: "inner IPv4 header alone", change: func(o *outerPacket) { o.inner = o.inner[:34] }},
		{name: "inner IPv6 header alone", change: func(o *outerPacket) { o.inner = innerIPv6(0, 0)[:54] }},
		{name: "inner IPv4 with a bad checksum", change: func(o *outerPacket) { o.inner[24] ^= 1 }},
		{name: "inner IPv4 of version 6", change: func(o *outerPacket) { o.inner[14] = 0x65 }},
		{name: "inner IPv4 with options beyond the end", change: func(o *outerPacket) { o.inner[14] = 0x4f }},
		{name: "inner IPv4 longer than its frame", change: func(o *outerPacket) { o.inner[16] = 0xff }},
		{name: "inner padding", change: func(o *outerPacket) { o.inner = append(o.inner, make([]byte, 20)...) }},
		{name: "inner multicast source", change: func(o *outerPacket) { o.inner[6] |= 1 }},
		{name: "inner broadcast source", change: func(o *outerPacket) { copy(o.inner[6:], ethernet.Broadcast[:]) }},
		{name: "inner zero source", change: func(o *outerPacket) { copy(o.inner[6:12], make([]byte, 6)) }},
		{name: "9 inner destination not ours", change: func(o *outerPacket) { o.inner[5]++ }},
		{name: "9 inner broadcast", change: func(o *outerPacket) { copy(o.inner, ethernet.Broadcast[:]) }},
		{name: "VXLAN in VXLAN", change: func(o *outerPacket) { o.inner = outerOf(t, o.inner) }},
		{
			name: "IPv4 behind a tag cut", change: func(o *outerPacket) { o.inner = insertTag(o.inner, 0x8100, 5)[:30] },
			differs: "the kernel does not look behind a VLAN tag for a header that is too short",
		},
	}
	for _, port := range []uint16{0, 1, 1023, vxlan.PortLinux, 65535} {
		cases = append(cases, decapCase{
			name: fmt.Sprintf("source port %d", port), change: func(o *outerPacket) { o.udp.SrcPort = port },
		})
	}
	return cases
}

// outsideCases are about what the kernel's Ethernet and IPv4 layers do before its VXLAN device sees a packet, and what is
// not a decapsulator's to do.
func outsideCases() []decapCase {
	const (
		port   = "that is the port's to refuse"
		host   = "that is the receiving host's to refuse"
		socket = "the kernel's socket is bound to no address: 'local' only chooses the device's source"
	)
	cases := []decapCase{
		{name: "destination MAC not ours", change: func(o *outerPacket) { o.eth.Dst[5]++ }, differs: port},
		{name: "broadcast MAC", change: func(o *outerPacket) { o.eth.Dst = ethernet.Broadcast }},
		{name: "source MAC our own", change: func(o *outerPacket) { o.eth.Src = nodeBMAC }},
		{name: "priority tag", change: func(o *outerPacket) {
			o.eth.Tags = []ethernet.Tag{{TPID: ethernet.TypeVLAN, TCI: 0x6000}}
		}},
		{name: "tag of a VLAN", change: func(o *outerPacket) {
			o.eth.Tags = []ethernet.Tag{{TPID: ethernet.TypeVLAN, TCI: 5}}
		}, differs: port},
		{name: "subnet broadcast", change: func(o *outerPacket) { o.ip.Dst[3] = 255 }, differs: socket},
		{name: "limited broadcast", change: func(o *outerPacket) { o.ip.Dst = [4]byte{255, 255, 255, 255} }, differs: socket},
		{name: "source route", change: func(o *outerPacket) { o.ip.Options = []byte{131, 7, 4, 172, 16, 100, 101, 0} }, differs: host},
		{name: "option of length 1", change: func(o *outerPacket) { o.ip.Options = []byte{7, 1, 0, 0} }, differs: host},
		{name: "source without a route back", change: func(o *outerPacket) { o.ip.Src = [4]byte{172, 16, 101, 1} }},
		{name: "neighbour that is no VTEP", change: func(o *outerPacket) { o.ip.Src[3] = 99 }},
	}
	for _, src := range [][4]byte{{0, 0, 0, 0}, {127, 0, 0, 1}, {224, 0, 0, 1}, {255, 255, 255, 255}, nodeB.As4()} {
		cases = append(cases, decapCase{
			name: fmt.Sprintf("source %v", src), change: func(o *outerPacket) { o.ip.Src = src }, differs: host,
		})
	}
	return cases
}
