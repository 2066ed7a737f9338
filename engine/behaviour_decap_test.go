// Behaviours 6 to 10: which tunnelled frames a VXLAN device takes, what it makes of them, and what it learns.
package engine_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/tunnel"
)

// decapECN is figure 4 of RFC 6040 as Linux 6.18 does it: inner mark by outer and inner one, -1 for a drop.
var decapECN = map[[2]uint8]int{
	{ectNone, ectNone}: ectNone, {ectNone, ect0}: ect0, {ectNone, ect1}: ect1, {ectNone, ectCE}: ectCE,
	{ect0, ectNone}: ectNone, {ect0, ect0}: ect0, {ect0, ect1}: ect1, {ect0, ectCE}: ectCE,
	{ect1, ectNone}: ectNone, {ect1, ect0}: ect1, {ect1, ect1}: ect1, {ect1, ectCE}: ectCE,
	{ectCE, ectNone}: -1, {ectCE, ect0}: ectCE, {ectCE, ect1}: ectCE, {ectCE, ectCE}: ectCE,
}

func TestBehaviour06DecapECN(t *testing.T) {
	require.Len(t, decapECN, 16)
	for _, p := range profiles {
		for marks, want := range decapECN {
			t.Run(fmt.Sprintf("%s, outer %02b inner %02b", p, marks[0], marks[1]), func(t *testing.T) {
				r := newTenant(t, engine.VXLAN{}, follow(p))
				r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
				inner := datagram{src: "10.9.0.2", dst: "10.9.0.1", tos: 0xb8 | marks[1], size: 90}.frame(mac6(0xa1), mac6(0xb1))
				frame := resummed(patched(tunnelled(tunnelEnd2, inner), 15, marks[0]))
				if want < 0 {
					r.refused(engine.DropTunnelECN, "eth0", frame)
					assert.Equal(t, uint64(1), r.stats("vx100").RxErrors)
					return
				}
				s := r.one("eth0", frame)
				expect := resummed(patched(inner, 15, 0xb8|uint8(want)))
				assert.Equal(t, expect, s.raw)
			})
		}
	}
}

// TestBehaviour06DecapECNNotIP leaves what has no congestion mark alone.
func TestBehaviour06DecapECNNotIP(t *testing.T) {
	r := newTenant(t, engine.VXLAN{})
	r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
	inner := isAt(mac6(0xa1), mac6(0xb1), "10.9.0.2", "10.9.0.1")
	assert.Equal(t, inner, r.one("eth0", resummed(patched(tunnelled(tunnelEnd2, inner), 15, ectCE))).raw)
}

// Where fields of a tunnelled frame lie.
const (
	atUDPLength = 38
	atVXLAN     = 42
	atInner     = 50
)

func TestBehaviour07Dropped(t *testing.T) {
	inner := stationFrame(mac6(0xa1), mac6(0xb1))
	good := tunnelled(tunnelEnd2, inner)
	cut := func(n int) []byte { // the VXLAN payload cut to n bytes, header included
		o := datagram{src: tunnelEnd2, dst: tunnelEnd1, sport: 50000, dport: portLinux, noSum: true, payload: vxlanHeader(100, inner)[:n]}
		return o.frame(underMAC, mac6(2))
	}
	summed := datagram{src: tunnelEnd2, dst: tunnelEnd1, sport: 50000, dport: portLinux, payload: vxlanHeader(100, inner)}.frame(underMAC, mac6(2))
	for _, c := range []struct {
		name  string
		frame []byte
		why   engine.Reason
		rfc   bool // taken all the same under the RFC profile
	}{
		{"I flag clear", patched(good, atVXLAN, 0), engine.DropTunnelHeader, false},
		{"I flag clear, others set", patched(good, atVXLAN, 0xf7), engine.DropTunnelHeader, false},
		{"VNI of nobody", tunnelledIn(101, tunnelEnd2, inner), engine.DropTunnelVNI, false},
		{"VNI differs in the highest byte", tunnelledIn(100|1<<23, tunnelEnd2, inner), engine.DropTunnelVNI, false},
		{"header of seven bytes", cut(7), engine.DropTunnelHeader, false},
		{"header of no bytes", cut(0), engine.DropTunnelHeader, false},
		{"no inner frame", cut(8), engine.DropTunnelInner, false},
		{"inner frame of 13 bytes", cut(8 + 13), engine.DropTunnelInner, false},
		{"inner IPv4 header of 19 bytes", cut(8 + 14 + 19), engine.DropTunnelInner, false},
		{"inner source is the VTEP's own", tunnelled(tunnelEnd2, stationFrame(mac6(0xa1), vx100MAC)), engine.DropTunnelOwnMAC, false},
		{"reserved flag set", patched(good, atVXLAN, 0x48), engine.DropTunnelReserved, true},
		{"lowest reserved flag set", patched(good, atVXLAN, 0x09), engine.DropTunnelReserved, true},
		{"reserved byte behind the flags", patched(good, atVXLAN+1, 0x01), engine.DropTunnelReserved, true},
		{"reserved bytes before the VNI", patched(good, atVXLAN+3, 0x80), engine.DropTunnelReserved, true},
		{"reserved byte behind the VNI", patched(good, atVXLAN+7, 0x01), engine.DropTunnelReserved, true},
		{"GBP", patched(patched(good, atVXLAN, 0x88), atVXLAN+3, 7), engine.DropTunnelReserved, true},
		{"outer UDP checksum wrong", patched(summed, -1, ^summed[len(summed)-1]), engine.DropUDP, false},
		{"outer UDP length over the packet's", patched(good, atUDPLength+1, good[atUDPLength+1]+1), engine.DropUDP, false},
		{"outer UDP length below its header's", patched(patched(good, atUDPLength, 0), atUDPLength+1, 7), engine.DropUDP, false},
		{"outer header checksum wrong", patched(good, 24, ^good[24]), engine.DropIPChecksum, false},
	} {
		for _, p := range profiles {
			t.Run(p.String()+", "+c.name, func(t *testing.T) {
				r := newTenant(t, engine.VXLAN{}, follow(p))
				r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
				if c.rfc && p == tunnel.RFC {
					assert.Equal(t, inner, r.one("eth0", c.frame).raw, "RFC 7348 section 5: ignored on receipt")
					return
				}
				r.refused(c.why, "eth0", c.frame)
				assert.Empty(t, maps.Collect(r.learned()), "nothing is learned from it")
				r.one("eth0", good)
			})
		}
	}
}

// learned returns the dynamic entries of vx100, and where they are.
func (r *rig) learned() func(func(ethernet.MAC, engine.FDBEntry) bool) {
	return func(yield func(ethernet.MAC, engine.FDBEntry) bool) {
		for e := range r.FDB("vx100") {
			if e.Flags == 0 && !e.MAC.IsZero() && !yield(e.MAC, e) {
				return
			}
		}
	}
}

func TestBehaviour07Counters(t *testing.T) {
	inner := stationFrame(mac6(0xa1), mac6(0xb1))
	good := tunnelled(tunnelEnd2, inner)
	summed := datagram{src: tunnelEnd2, dst: tunnelEnd1, sport: 50000, dport: portLinux, payload: vxlanHeader(100, inner)}.frame(underMAC, mac6(2))
	for _, c := range []struct {
		name  string
		frame []byte
		count engine.Counter
	}{
		{"outer UDP checksum wrong", patched(summed, -1, ^summed[len(summed)-1]), engine.UDPInCsumErrors},
		{"outer UDP checksum wrong, in all", patched(summed, -1, ^summed[len(summed)-1]), engine.UDPInErrors},
		{"outer UDP length over the packet's", patched(good, atUDPLength+1, good[atUDPLength+1]+1), engine.UDPInErrors},
		{"outer header checksum wrong", patched(good, 24, ^good[24]), engine.IPInHdrErrors},
	} {
		r := newTenant(t, engine.VXLAN{})
		r.in("eth0", c.frame)
		assert.Equal(t, uint64(1), r.rises()[c.count], "%s: %s", c.name, c.count)
	}
	// include/uapi/linux/if_link.h: rx_errors counts what the device could not make sense of (vxlan_rcv).
	r := newTenant(t, engine.VXLAN{})
	r.in("eth0", patched(good, atVXLAN+7, 1))
	assert.Equal(t, uint64(1), r.stats("vx100").RxErrors, "reserved bits")
	assert.Zero(t, r.stats("vx100").RxPackets)
}

// received is what a VXLAN device has counted after one frame: bytes without the Ethernet header, as Linux does (vxlan_rcv behind
// eth_type_trans; measured on 6.18).
func received(frame []byte) engine.LinkStats {
	return engine.LinkStats{RxPackets: 1, RxBytes: uint64(len(frame) - 14)}
}

func TestBehaviour08Accepted(t *testing.T) {
	inner := stationFrame(mac6(0xa1), mac6(0xb1))
	outer := func(d datagram) []byte {
		d.src, d.dst, d.dport, d.payload = tunnelEnd2, tunnelEnd1, portLinux, vxlanHeader(100, inner)
		return d.frame(underMAC, mac6(2))
	}
	vlan := tagged(mac6(0xa1), mac6(0xb1), 42, etherIPv4, inner[14:])
	for _, c := range []struct {
		name  string
		frame []byte
		want  []byte
	}{
		{"UDP checksum zero", outer(datagram{noSum: true}), inner},
		{"UDP checksum right", outer(datagram{}), inner},
		{"UDP source port 1", outer(datagram{sport: 1}), inner},
		{"UDP source port 65535", outer(datagram{sport: 65535}), inner},
		{"outer options", outer(datagram{options: []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}}), inner},
		{"bytes behind the outer packet", append(outer(datagram{}), 1, 2, 3, 4, 5), inner},
		{"TTL 1", outer(datagram{ttl: 1}), inner},
		{"DF set", outer(datagram{df: true}), inner},
		{"inner 802.1Q", tunnelled(tunnelEnd2, vlan), vlan},
		{"inner IPv6", tunnelled(tunnelEnd2, ether(mac6(0xa1), mac6(0xb1), etherIPv6, slices.Concat([]byte{0x60, 0, 0, 0, 0, 0, 59, 64}, make([]byte, 32)))), nil},
		{"inner ARP", tunnelled(tunnelEnd2, isAt(mac6(0xa1), mac6(0xb1), "10.9.0.2", "10.9.0.1")), isAt(mac6(0xa1), mac6(0xb1), "10.9.0.2", "10.9.0.1")},
		{"any outer source", tunnelled("192.0.2.9", inner), inner},
	} {
		for _, p := range profiles {
			t.Run(p.String()+", "+c.name, func(t *testing.T) {
				r := newTenant(t, engine.VXLAN{}, follow(p))
				r.route("192.0.2.0/24", tunnelEnd2, "eth0")
				r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
				s := r.one("eth0", c.frame)
				if c.want != nil {
					assert.Equal(t, c.want, s.raw)
				}
				assert.Equal(t, received(s.raw), r.stats("vx100"))
			})
		}
	}
}

// TestBehaviour08BytesBehindTheUDPLength are not part of the inner frame.
func TestBehaviour08BytesBehindTheUDPLength(t *testing.T) {
	inner := stationFrame(mac6(0xa1), mac6(0xb1))
	body := append(udpDatagram(50000, portLinux, vxlanHeader(100, inner)), 1, 2, 3)
	frame := datagram{src: tunnelEnd2, dst: tunnelEnd1, proto: protoUDP, mf: true, payload: body}.frame(underMAC, mac6(2)) // mf: no UDP header of gopacket's
	r := newTenant(t, engine.VXLAN{})
	r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
	assert.Equal(t, inner, r.one("eth0", resummed(patched(frame, 20, 0))).raw)
}

func TestBehaviour08OuterFragments(t *testing.T) {
	inner := datagram{src: "10.9.0.2", dst: "10.9.0.1", size: 1400}.frame(mac6(0xa1), mac6(0xb1))
	whole := datagram{src: tunnelEnd2, dst: tunnelEnd1, sport: 50000, dport: portLinux, payload: vxlanHeader(100, inner)}.packet()[20:]
	cuts := []int{0, 480, 960, len(whole)}
	part := func(i int) []byte {
		d := datagram{src: tunnelEnd2, dst: tunnelEnd1, proto: protoUDP, id: 77, offset: cuts[i], mf: i < 2, payload: whole[cuts[i]:cuts[i+1]]}
		return d.frame(underMAC, mac6(2))
	}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {1, 2, 0}, {0, 2, 1}, {2, 0, 1}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			r := newTenant(t, engine.VXLAN{})
			r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
			assert.Empty(t, r.in("eth0", part(order[0])))
			assert.Empty(t, r.in("eth0", part(order[1])))
			assert.Equal(t, uint64(2), r.Stats().Held)
			assert.Equal(t, inner, r.one("eth0", part(order[2])).raw)
			assert.Zero(t, r.Stats().Held)
			assert.Equal(t, uint64(1), r.stats("vx100").RxPackets)
		})
	}
}

// TestBehaviour08OddInnerSource is taken from a VTEP that does not learn; a bridge would refuse it, a router does not look.
func TestBehaviour08OddInnerSource(t *testing.T) {
	for name, src := range map[string]ethernet.MAC{"zero": {}, "group": {1, 0, 0, 0, 0, 9}} {
		t.Run(name, func(t *testing.T) {
			inner := datagram{src: podB, dst: podA, size: 84}
			s := newFlannel(t).one("ens192", fromNode2(inner.frame(flannelMAC, src)))
			assert.Equal(t, "veth0", s.dev)
			assert.Equal(t, uint8(63), s.ip.TTL)

			// A learning one drops it (vxlan_snoop).
			r := newTenant(t, engine.VXLAN{})
			r.refused(engine.DropSourceMAC, "eth0", tunnelled(tunnelEnd2, stationFrame(mac6(0xa1), src)))
		})
	}
}

func TestBehaviour08NestedVXLAN(t *testing.T) {
	r := newRig(t)
	r.port("eth0", underMAC, "172.16.0.1/24")
	r.neigh(tunnelEnd2, mac6(2), "eth0")
	r.vxlan("outer", mac6(0xe1), engine.VXLAN{VNI: 100, Local: addr4(tunnelEnd1), Device: "eth0", NoLearning: true})
	r.addr("outer", "10.99.0.1/24")
	r.vxlan("inner", mac6(0xe2), engine.VXLAN{VNI: 200, DstPort: portIANA, Local: addr4("10.99.0.1"), NoLearning: true})
	r.port("p0", mac6(0x50))
	r.bridge("br", mac6(0xb0), "p0", "inner")

	core := stationFrame(mac6(0xa1), mac6(0xb1))
	middle := datagram{src: "10.99.0.2", dst: "10.99.0.1", dport: portIANA, payload: vxlanHeader(200, core)}.frame(mac6(0xe1), mac6(0xf1))
	s := r.one("eth0", tunnelled(tunnelEnd2, middle))
	assert.Equal(t, "p0", s.dev)
	assert.Equal(t, core, s.raw)
	assert.Equal(t, received(middle), r.stats("outer"))
	assert.Equal(t, received(core), r.stats("inner"))
}

// TestBehaviour08VTEPList is ours: only the remote ends on the list are listened to.
func TestBehaviour08VTEPList(t *testing.T) {
	r := newTenant(t, engine.VXLAN{VTEPs: []netip.Addr{addr4(tunnelEnd2), addr4(tunnelEnd3)}})
	r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
	inner := stationFrame(mac6(0xa1), mac6(0xb1))
	r.one("eth0", tunnelled(tunnelEnd2, inner))
	r.one("eth0", tunnelled(tunnelEnd3, inner))
	r.refused(engine.DropTunnelPeer, "eth0", tunnelled(tunnelEnd4, stationFrame(mac6(0xa1), mac6(0xb4))))
	for m := range r.learned() {
		assert.NotEqual(t, mac6(0xb4), m, "learned from a stranger")
	}
	l, _ := r.Link("vx100")
	require.NotNil(t, l.VXLAN)
	assert.Equal(t, []netip.Addr{addr4(tunnelEnd2), addr4(tunnelEnd3)}, l.VXLAN.VTEPs)
}

func TestBehaviour09InnerDestinationNotOurs(t *testing.T) {
	r := newFlannel(t)
	packet := datagram{src: podB, dst: podA, size: 84}
	r.refused(engine.DropOtherHost, "ens192", fromNode2(packet.frame(mac6(0x99), flannel2MAC)))
	assert.Equal(t, uint64(1), r.stats("flannel.1").RxPackets, "counted as received")
	assert.Zero(t, r.stats("cni0").TxPackets)

	for _, dst := range []ethernet.MAC{ethernet.Broadcast, {1, 0, 0x5e, 0, 0, 9}} {
		r.refused(engine.DropNotUnicast, "ens192", fromNode2(packet.frame(dst, flannel2MAC)))
	}
	assert.Equal(t, uint64(3), r.stats("flannel.1").RxPackets)
	assert.Equal(t, "veth0", r.one("ens192", fromNode2(packet.frame(flannelMAC, flannel2MAC))).dev)
}

func TestBehaviour10Learning(t *testing.T) {
	a, b := mac6(0xa1), mac6(0xb1)
	newQuiet := func(t *testing.T, v engine.VXLAN) *rig {
		r := newTenant(t, v)
		r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
		return r
	}
	t.Run("the outer address, never the port", func(t *testing.T) {
		r := newQuiet(t, engine.VXLAN{})
		r.one("eth0", tunnelled(tunnelEnd2, stationFrame(a, b))) // from port 50000
		entries := maps.Collect(r.learned())
		require.Contains(t, entries, b)
		assert.Equal(t, addr4(tunnelEnd2), entries[b].Dst)
		assert.Zero(t, entries[b].UDP)
		s := r.one("p0", stationFrame(b, a))
		assert.Equal(t, tunnelEnd2, s.dst())
		assert.Equal(t, uint16(portLinux), uint16(s.udp.DstPort))
	})
	t.Run("a station that moves", func(t *testing.T) {
		r := newQuiet(t, engine.VXLAN{})
		r.one("eth0", tunnelled(tunnelEnd2, stationFrame(a, b)))
		r.one("eth0", tunnelled(tunnelEnd3, stationFrame(a, b)))
		assert.Equal(t, tunnelEnd3, r.one("p0", stationFrame(b, a)).dst())
	})
	t.Run("nothing under nolearning", func(t *testing.T) {
		r := newQuiet(t, engine.VXLAN{NoLearning: true})
		r.one("eth0", tunnelled(tunnelEnd2, stationFrame(a, b)))
		assert.Empty(t, maps.Collect(r.learned()))
	})
	t.Run("a configured station at another VTEP", func(t *testing.T) {
		r := newQuiet(t, engine.VXLAN{})
		r.fdb(b, "vx100", tunnelEnd2)
		r.refused(engine.DropTunnelPinned, "eth0", tunnelled(tunnelEnd3, stationFrame(a, b)))
		r.one("eth0", tunnelled(tunnelEnd2, stationFrame(a, b)))
		assert.Equal(t, tunnelEnd2, r.one("p0", stationFrame(b, a)).dst())
	})
	t.Run("ages", func(t *testing.T) {
		r := newQuiet(t, engine.VXLAN{Ageing: 100 * time.Second})
		r.one("eth0", tunnelled(tunnelEnd2, stationFrame(a, b)))
		r.wait(98 * time.Second)
		assert.Contains(t, maps.Collect(r.learned()), b)
		r.wait(4 * time.Second)
		assert.Empty(t, maps.Collect(r.learned()))
	})
	t.Run("no more than MaxAddress", func(t *testing.T) {
		r := newQuiet(t, engine.VXLAN{MaxAddress: 10})
		for i := range byte(50) {
			r.in("eth0", tunnelled(tunnelEnd2, stationFrame(a, mac6(100+i))))
		}
		assert.LessOrEqual(t, len(maps.Collect(r.learned())), 10)
	})
}

func TestBehaviour10AppendToAUnicastEntry(t *testing.T) {
	r := newTenant(t, engine.VXLAN{})
	b := mac6(0xb1)
	entry := func(dst string) engine.FDBEntry {
		return engine.FDBEntry{MAC: b, Dev: "vx100", Dst: addr4(dst)}
	}
	r.must(r.AppendFDB(entry(tunnelEnd2)))
	assert.NoError(t, r.AppendFDB(entry(tunnelEnd3)), "as 'bridge fdb append' says")
	var dsts []netip.Addr
	for e := range r.FDB("vx100") {
		if e.MAC == b {
			dsts = append(dsts, e.Dst)
		}
	}
	assert.Equal(t, []netip.Addr{addr4(tunnelEnd2)}, dsts, "nothing has changed")
	assert.ErrorIs(t, r.AddFDB(entry(tunnelEnd4)), engine.ErrExists)
	r.must(r.ReplaceFDB(entry(tunnelEnd4)))
	assert.Equal(t, []string{tunnelEnd4}, remotes(r.in("p0", stationFrame(b, mac6(0xa1)))))
}
