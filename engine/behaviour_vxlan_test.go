// Behaviours 1 to 5: what a VXLAN device makes of the packets and frames that it is given.
package engine_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
)

// A node of a Flannel cluster, with the addresses of a real one.
//
//	pod A 10.244.1.12 ── veth0 │ cni0 10.244.1.1/24 ─ flannel.1 10.244.1.0/32 │ ens192 172.16.100.101 ══ node 2 .102, pod B 10.244.2.14
const podA, podB = "10.244.1.12", "10.244.2.14"

var (
	podAMAC     = ethernet.MustParseMAC("d6:10:b7:91:f0:ac")
	cni0MAC     = ethernet.MustParseMAC("0a:58:0a:f4:01:01")
	flannelMAC  = ethernet.MustParseMAC("fe:90:c4:18:69:a7")
	flannel2MAC = ethernet.MustParseMAC("b6:72:ae:36:7b:6c")
	ens192MAC   = ethernet.MustParseMAC("00:50:56:93:6a:3a")
	node2MAC    = ethernet.MustParseMAC("00:50:56:93:63:3b")
)

func newFlannel(t testing.TB, change ...func(*engine.Config)) *rig {
	t.Helper()
	return newFlannelWith(t, engine.VXLAN{}, change...)
}

// newFlannelWith makes flannel.1 with other settings than Flannel's.
func newFlannelWith(t testing.TB, v engine.VXLAN, change ...func(*engine.Config)) *rig {
	t.Helper()
	r := newRig(t, change...)
	r.SetForwarding(true)
	r.port("ens192", ens192MAC, "172.16.100.101/24")
	r.neigh("172.16.100.102", node2MAC, "ens192")
	r.port("veth0", mac6(0x50))
	r.bridge("cni0", cni0MAC, "veth0")
	r.addr("cni0", "10.244.1.1/24")
	r.neigh(podA, podAMAC, "cni0")
	v.VNI, v.Local, v.NoLearning = 1, addr4("172.16.100.101"), true
	if v.MTU == 0 {
		v.Device = "ens192"
	}
	r.vxlan("flannel.1", flannelMAC, v)
	r.addr("flannel.1", "10.244.1.0/32")
	r.neigh("10.244.2.0", flannel2MAC, "flannel.1")
	r.fdb(flannel2MAC, "flannel.1", "172.16.100.102")
	r.must(r.AddRoute(engine.Route{Prefix: prefix("10.244.2.0/24"), Via: addr4("10.244.2.0"), Dev: "flannel.1", Onlink: true}))
	// The bridge learns where pod A is, as it does from the pod's first ARP request.
	r.in("veth0", isAt(cni0MAC, podAMAC, podA, "10.244.1.1"))
	r.out = nil
	r.rises()
	return r
}

// fromPodA is a packet of pod A to pod B in its frame to cni0.
func fromPodA(d datagram) []byte {
	d.src, d.dst = podA, podB
	return d.frame(cni0MAC, podAMAC)
}

// node2Outer is the outer packet that node 2 sends.
func node2Outer() datagram {
	return datagram{src: "172.16.100.102", dst: "172.16.100.101", sport: 50000, dport: portLinux, noSum: true}
}

// fromNode2 is a frame that node 2 sends through the tunnel, as it arrives on ens192.
func fromNode2(inner []byte) []byte {
	o := node2Outer()
	o.payload = vxlanHeader(1, inner)
	return o.frame(ens192MAC, node2MAC)
}

// TestBehaviour01FlannelDevice looks at every byte of the outer headers, and finds the inner frame as a router left it.
func TestBehaviour01FlannelDevice(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			r := newFlannel(t, follow(p))
			var lastID uint16
			for i := range uint16(5) {
				frame := fromPodA(datagram{proto: protoICMP, df: true, id: 0x2305 + i, payload: echo(7, i, 56)})
				s := r.one("veth0", frame)

				require.Len(t, s.raw, 148)
				assert.Equal(t, "ens192", s.dev)
				assert.Equal(t, node2MAC.String()+" < "+ens192MAC.String(), s.dstMAC()+" < "+s.srcMAC())
				id := s.ip.Id
				assert.NotZero(t, id)
				assert.True(t, i == 0 || int16(id-lastID) > 0, "id %d after %d", id, lastID)
				lastID = id
				sport := uint16(s.udp.SrcPort)
				want := []byte{
					0x45, 0, 0, 134, byte(id >> 8), byte(id), 0, 0, 64, 17, 0, 0, 172, 16, 100, 101, 172, 16, 100, 102,
					byte(sport >> 8), byte(sport), 0x21, 0x18, 0, 114, 0, 0,
					8, 0, 0, 0, 0, 0, 1, 0,
				}
				got := slices.Clone(s.raw[14:50])
				got[10], got[11] = 0, 0 // found right by one
				assert.Equal(t, want, got, "outer IPv4, UDP and VXLAN headers")

				inner := slices.Concat(flannel2MAC[:], flannelMAC[:], frame[12:])
				inner[22] = 63
				assert.Equal(t, resummed(inner), s.raw[50:], "inner frame")
			}
			// Bytes as Linux counts them, from the inner network header on (iptunnel_xmit; measured on 6.18).
			assert.Equal(t, engine.LinkStats{TxPackets: 5, TxBytes: 5 * 84}, r.stats("flannel.1"))
			assert.Equal(t, uint64(5*148), r.stats("ens192").TxBytes)
		})
	}
}

func TestBehaviour01UDPChecksum(t *testing.T) {
	for _, size := range []int{28, 61, 84, 1450} {
		frame := fromPodA(datagram{size: size})
		r := newFlannelWith(t, engine.VXLAN{UDPChecksum: true})
		assert.NotZero(t, r.one("veth0", frame).udp.Checksum, "udpcsum, %d bytes", size)
		assert.Zero(t, newFlannel(t).one("veth0", frame).udp.Checksum, "noudpcsum, %d bytes", size)
	}
}

// TestBehaviour01ChecksumFromHeadersAlone is local checksum offload: the inner checksum is yet to be computed when the outer one
// already is right.
func TestBehaviour01ChecksumFromHeadersAlone(t *testing.T) {
	r := newFlannelWith(t, engine.VXLAN{UDPChecksum: true})
	frame := fromPodA(datagram{size: 200})
	b := r.buffers(frame)[0]
	// The field holds the sum of the pseudo-header, as a sender with offload leaves it; r.take completes it.
	pseudo := sum16(protoUDP+180, frame[26:34])
	binary.BigEndian.PutUint16(b.Bytes()[40:], pseudo)
	r.must(b.SetChecksumPartial(34, 6))
	r.out = nil
	r.Process(r.Index("veth0"), []*packet.Buffer{b}, r.now)
	require.Len(t, r.out, 1)
	r.out[0].sound(t)
	assert.NotZero(t, r.out[0].udp.Checksum)
	assert.Equal(t, frame[42:], r.out[0].raw[92:], "inner payload")
}

func TestBehaviour02EncapsulationECN(t *testing.T) {
	marks := map[tunnel.Profile][4]uint8{
		tunnel.Linux: {ectNone, ect1, ect0, ect0},
		tunnel.RFC:   {ectNone, ect1, ect0, ectCE},
	}
	for _, p := range profiles {
		for _, c := range []struct {
			name    string
			v       engine.VXLAN
			dscp    uint8 // of the inner packet, with two zero bits
			outside uint8 // the outer one's
		}{
			{"tos 0", engine.VXLAN{}, 0xb8, 0},
			{"tos inherit", engine.VXLAN{InheritTOS: true}, 0xb8, 0xb8},
			{"tos inherit, best effort", engine.VXLAN{InheritTOS: true}, 0, 0},
			{"tos 0x28", engine.VXLAN{TOS: 0x28}, 0xb8, 0x28},
		} {
			r := newFlannelWith(t, c.v, follow(p))
			for ecn, mark := range marks[p] {
				name := fmt.Sprintf("%s, %s, inner ECN %02b", p, c.name, ecn)
				s := r.one("veth0", fromPodA(datagram{tos: c.dscp | uint8(ecn)}))
				assert.Equal(t, c.outside|mark, s.ip.TOS, name)
				assert.Equal(t, c.dscp|uint8(ecn), s.inner.ip.TOS, "%s: inner TOS", name)
			}
		}
	}
}

func TestBehaviour02TimeToLive(t *testing.T) {
	for _, c := range []struct {
		name  string
		v     engine.VXLAN
		inner uint8
		want  uint8
	}{
		{"default", engine.VXLAN{}, 5, 64},
		{"fixed", engine.VXLAN{TTL: 10}, 64, 10},
		{"inherit, behind the forwarding decrement", engine.VXLAN{InheritTTL: true}, 33, 32},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newFlannelWith(t, c.v).one("veth0", fromPodA(datagram{ttl: c.inner}))
			assert.Equal(t, c.want, s.ip.TTL)
			assert.Equal(t, c.inner-1, s.inner.ip.TTL)
		})
	}
	t.Run("inherit of a bridged frame", func(t *testing.T) {
		r := newTenant(t, engine.VXLAN{InheritTTL: true})
		r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
		r.fdb(mac6(0xb1), "vx100", tunnelEnd2)
		frame := datagram{src: "10.9.0.1", dst: "10.9.0.2", ttl: 7}.frame(mac6(0xb1), mac6(0xa1))
		assert.Equal(t, uint8(7), r.one("p0", frame).ip.TTL)
		// Without an IP header inside there is nothing to inherit, and the default holds (vxlan_xmit_one).
		assert.Equal(t, uint8(64), r.one("p0", isAt(mac6(0xb1), mac6(0xa1), "10.9.0.1", "10.9.0.2")).ip.TTL)
	})
}

func TestBehaviour02DontFragment(t *testing.T) {
	for _, c := range []struct {
		df    tunnel.DF
		inner bool
		want  bool
	}{
		{tunnel.DFUnset, false, false},
		{tunnel.DFUnset, true, false},
		{tunnel.DFSet, false, true},
		{tunnel.DFSet, true, true},
		{tunnel.DFInherit, false, false},
		{tunnel.DFInherit, true, true},
	} {
		s := newFlannelWith(t, engine.VXLAN{DF: c.df}).one("veth0", fromPodA(datagram{df: c.inner}))
		assert.Equal(t, c.want, s.df(), "df %v, inner DF %t", c.df, c.inner)
		assert.Equal(t, c.inner, s.inner.df())
	}
}

// sourcePorts returns the UDP source ports that n flows of pod A get, all of them within [from, to).
func sourcePorts(t *testing.T, r *rig, n, from, to int) (ports []uint16) {
	t.Helper()
	for i := range n {
		port := r.one("veth0", fromPodA(datagram{sport: uint16(1000 + i)})).udp.SrcPort
		assert.GreaterOrEqual(t, int(port), from)
		assert.Less(t, int(port), to)
		ports = append(ports, uint16(port))
	}
	return ports
}

func TestBehaviour03SourcePort(t *testing.T) {
	distinct := func(ports []uint16) int {
		slices.Sort(ports)
		return len(slices.Compact(ports))
	}
	t.Run("of a flow stays, of many flows spreads", func(t *testing.T) {
		r := newFlannel(t)
		first := sourcePorts(t, r, 300, 32768, 60999)
		assert.Equal(t, first, sourcePorts(t, r, 300, 32768, 60999))
		assert.Greater(t, distinct(first), 290)
	})
	t.Run("upper bound is exclusive", func(t *testing.T) {
		r := newFlannelWith(t, engine.VXLAN{Ports: tunnel.Ports{Min: 1000, Max: 1001}})
		assert.Equal(t, 1, distinct(sourcePorts(t, r, 50, 1000, 1001)))
		r = newFlannelWith(t, engine.VXLAN{Ports: tunnel.Ports{Min: 1000, Max: 1003}})
		assert.Equal(t, 3, distinct(sourcePorts(t, r, 200, 1000, 1003)))
	})
	t.Run("is keyed by the seed", func(t *testing.T) {
		seeded := func(seed uint64) []uint16 {
			return sourcePorts(t, newFlannel(t, func(c *engine.Config) { c.Seed = seed }), 20, 32768, 60999)
		}
		assert.Equal(t, seeded(1), seeded(1))
		assert.NotEqual(t, seeded(1), seeded(2))
	})
	t.Run("of all fragments is the same", func(t *testing.T) {
		r := newFlannel(t)
		for id := range uint16(20) {
			whole := datagram{src: podA, dst: podB, sport: 5353 + id, size: 20 + 1440}.packet()
			first := datagram{proto: protoUDP, id: id, mf: true, payload: whole[20 : 20+720]}
			second := datagram{proto: protoUDP, id: id, mf: true, offset: 720, payload: whole[740 : 740+400]}
			last := datagram{proto: protoUDP, id: id, offset: 1120, payload: whole[1140:]}
			out := r.in("veth0", fromPodA(last), fromPodA(first), fromPodA(second))
			require.Len(t, out, 3)
			assert.Equal(t, out[0].udp.SrcPort, out[1].udp.SrcPort)
			assert.Equal(t, out[0].udp.SrcPort, out[2].udp.SrcPort)
		}
	})
	t.Run("of fragments made on the way in is the same", func(t *testing.T) {
		out := newFlannel(t).in("veth0", fromPodA(datagram{size: 1500, id: 4}))
		require.Len(t, out, 2)
		assert.Equal(t, out[0].udp.SrcPort, out[1].udp.SrcPort)
	})
}

// A tenant's network on a node: bridge br100 with two ports and a learning VXLAN device, and an underlay with four VTEPs.
//
//	p0, p1 │ br100 ─ vx100 (VNI 100) │ eth0 172.16.0.1 ══ .2, .3, .4
const tunnelEnd1, tunnelEnd2, tunnelEnd3, tunnelEnd4 = "172.16.0.1", "172.16.0.2", "172.16.0.3", "172.16.0.4"

var underMAC, vx100MAC = mac6(0x01), mac6(0xe1)

func newTenant(t testing.TB, v engine.VXLAN, change ...func(*engine.Config)) *rig {
	t.Helper()
	r := newRig(t, change...)
	r.port("eth0", underMAC, "172.16.0.1/24")
	for i := byte(2); i <= 4; i++ {
		r.neigh(fmt.Sprintf("172.16.0.%d", i), mac6(i), "eth0")
	}
	r.port("p0", mac6(0x50))
	r.port("p1", mac6(0x51))
	v.VNI = 100
	if !v.Local.IsValid() {
		v.Local = addr4(tunnelEnd1)
	}
	if v.Device == "" && v.MTU == 0 {
		v.Device = "eth0"
	}
	r.vxlan("vx100", vx100MAC, v)
	r.bridge("br100", mac6(0xb0), "p0", "p1", "vx100")
	return r
}

// tunnelled is a frame of VNI 100 as it arrives on eth0 from a VTEP.
func tunnelled(from string, inner []byte) []byte { return tunnelledIn(100, from, inner) }

func tunnelledIn(vni uint32, from string, inner []byte) []byte {
	o := datagram{src: from, dst: tunnelEnd1, sport: 50000, dport: portLinux, noSum: true, payload: vxlanHeader(vni, inner)}
	return o.frame(underMAC, mac6(addr4(from).As4()[3]))
}

// stationFrame is a frame between two stations of the tenant's network.
func stationFrame(dst, src ethernet.MAC) []byte {
	return datagram{src: "10.9.0.1", dst: "10.9.0.2", size: 60}.frame(dst, src)
}

// on returns the frames that left by a device.
func on(out []*seen, dev string) (some []*seen) {
	for _, s := range out {
		if s.dev == dev {
			some = append(some, s)
		}
	}
	return some
}

// remotes returns the outer destinations of frames that left by eth0, sorted.
func remotes(out []*seen) (dsts []string) {
	for _, s := range on(out, "eth0") {
		dsts = append(dsts, s.dst())
	}
	slices.Sort(dsts)
	return dsts
}

func TestBehaviour04DestinationChoice(t *testing.T) {
	a, b := mac6(0xa1), mac6(0xb1)
	t.Run("an entry for the station", func(t *testing.T) {
		r := newTenant(t, engine.VXLAN{})
		r.fdb(ethernet.MAC{}, "vx100", tunnelEnd3)
		r.fdb(b, "vx100", tunnelEnd2)
		r.in("p1", stationFrame(mac6(0x99), mac6(0x98))) // teaches the bridge nothing about b
		out := r.in("p0", stationFrame(b, a))
		assert.Equal(t, []string{tunnelEnd2}, remotes(out))
		assert.Equal(t, stationFrame(b, a), on(out, "eth0")[0].inner.raw, "the frame is carried as it is")
	})
	t.Run("the all-zero entry, a copy per remote", func(t *testing.T) {
		r := newTenant(t, engine.VXLAN{})
		r.fdb(ethernet.MAC{}, "vx100", tunnelEnd2)
		r.fdb(ethernet.MAC{}, "vx100", tunnelEnd3)
		r.fdb(ethernet.MAC{}, "vx100", tunnelEnd4)
		for _, dst := range []ethernet.MAC{b, ethernet.Broadcast, {1, 0, 0x5e, 0, 0, 9}} {
			out := r.in("p0", stationFrame(dst, a))
			assert.Equal(t, []string{tunnelEnd2, tunnelEnd3, tunnelEnd4}, remotes(out), "to %s", dst)
			ids := map[uint16]bool{}
			for _, s := range on(out, "eth0") {
				s.sound(t)
				ids[s.ip.Id] = true
				assert.Equal(t, stationFrame(dst, a), s.inner.raw)
			}
			assert.Len(t, ids, 3, "outer ids")
			assert.Len(t, out, 4, "and one for p1")
		}
	})
	t.Run("Remote is an all-zero entry", func(t *testing.T) {
		r := newTenant(t, engine.VXLAN{Remote: addr4(tunnelEnd4)})
		assert.Equal(t, []string{tunnelEnd4}, remotes(r.in("p0", stationFrame(b, a))))
		r.fdb(ethernet.MAC{}, "vx100", tunnelEnd2)
		assert.Equal(t, []string{tunnelEnd2, tunnelEnd4}, remotes(r.in("p0", stationFrame(b, a))))
	})
	t.Run("neither", func(t *testing.T) {
		r := newTenant(t, engine.VXLAN{})
		r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
		r.refused(engine.DropFDBMiss, "p0", stationFrame(b, a))
		assert.Empty(t, r.misses, "nobody is asked without L2Miss")
		assert.Equal(t, uint64(1), r.stats("vx100").TxDropped)
	})
	t.Run("an entry with its own port and VNI", func(t *testing.T) {
		r := newTenant(t, engine.VXLAN{})
		r.must(r.AddFDB(engine.FDBEntry{MAC: b, Dev: "vx100", Dst: addr4(tunnelEnd2), UDP: portIANA, VNI: 0xabcdef}))
		out := on(r.in("p0", stationFrame(b, a)), "eth0")
		require.Len(t, out, 1)
		out[0].sound(t)
		assert.Equal(t, uint16(portIANA), uint16(out[0].udp.DstPort))
		assert.Equal(t, uint32(0xabcdef), out[0].vxlan.VNI)
	})
	t.Run("a multicast group", func(t *testing.T) {
		r := newTenant(t, engine.VXLAN{Remote: addr4("239.1.1.1"), Device: "eth0"})
		out := on(r.in("p0", stationFrame(ethernet.Broadcast, a)), "eth0")
		require.Equal(t, []string{"239.1.1.1"}, remotes(out))
		assert.Equal(t, "01:00:5e:01:01:01", out[0].dstMAC(), "RFC 1112 section 6.4")
		// The node is in the group itself.
		in := tunnelled(tunnelEnd2, stationFrame(a, b))
		in = slices.Concat([]byte{1, 0, 0x5e, 1, 1, 1}, in[6:30], []byte{239, 1, 1, 1}, in[34:])
		assert.Equal(t, []string{"p0"}, devices(r.in("eth0", resummed(in))))
	})
}

func TestBehaviour04SplitHorizon(t *testing.T) {
	r := newTenant(t, engine.VXLAN{})
	r.fdb(ethernet.MAC{}, "vx100", tunnelEnd2)
	r.fdb(ethernet.MAC{}, "vx100", tunnelEnd3)
	for _, dst := range []ethernet.MAC{ethernet.Broadcast, mac6(0x77), {1, 0, 0x5e, 0, 0, 9}} {
		out := r.in("eth0", tunnelled(tunnelEnd2, stationFrame(dst, mac6(0xb1))))
		assert.ElementsMatch(t, []string{"p0", "p1"}, devices(out), "to %s", dst)
	}
	r.drops()
	out := r.in("eth0", tunnelled(tunnelEnd3, stationFrame(mac6(0xb1), mac6(0xb3))))
	assert.Empty(t, out, "between stations behind VTEPs")
	assert.Equal(t, map[engine.Reason]uint64{engine.DropSamePort: 1}, r.drops())
}

// TestBehaviour04TwoVXLANsOfOneBridge is a bridge that joins two VNIs. The horizon is each device's own: Linux 6.18 floods from one
// to the other, unless both ports are isolated.
func TestBehaviour04TwoVXLANsOfOneBridge(t *testing.T) {
	r := newTenant(t, engine.VXLAN{})
	r.vxlan("vx200", mac6(0xe2), engine.VXLAN{VNI: 200, Local: addr4(tunnelEnd1), Device: "eth0"})
	r.must(r.SetMaster("vx200", "br100"))
	for _, dev := range []string{"vx100", "vx200"} {
		r.fdb(ethernet.MAC{}, dev, tunnelEnd2)
	}
	vnis := func(out []*seen) (n []uint32) {
		for _, s := range on(out, "eth0") {
			n = append(n, s.vxlan.VNI)
		}
		return n
	}
	for _, dst := range []ethernet.MAC{ethernet.Broadcast, mac6(0x77)} {
		assert.Equal(t, []uint32{200}, vnis(r.in("eth0", tunnelledIn(100, tunnelEnd2, stationFrame(dst, mac6(0xb1))))), "to %s", dst)
		assert.Equal(t, []uint32{100}, vnis(r.in("eth0", tunnelledIn(200, tunnelEnd2, stationFrame(dst, mac6(0xb2))))), "to %s", dst)
	}
	for _, dev := range []string{"vx100", "vx200"} {
		r.must(r.SetBridgePort(dev, engine.BridgePort{Isolated: true}))
	}
	for _, dst := range []ethernet.MAC{ethernet.Broadcast, mac6(0x77), mac6(0xb2)} {
		out := r.in("eth0", tunnelledIn(100, tunnelEnd2, stationFrame(dst, mac6(0xb1))))
		assert.Empty(t, vnis(out), "isolated, to %s", dst)
		assert.Equal(t, dst != mac6(0xb2), len(out) == 2, "p0 and p1 get what is flooded: %v", out)
	}
}

func TestBehaviour04OwnNodeShortCircuits(t *testing.T) {
	r := newTenant(t, engine.VXLAN{})
	r.port("q0", mac6(0x60))
	r.vxlan("vx200", mac6(0xe2), engine.VXLAN{VNI: 200, Local: addr4(tunnelEnd1), Device: "eth0"})
	r.bridge("br200", mac6(0xb9), "q0", "vx200")
	dst := mac6(0x61)
	r.must(r.AddFDB(engine.FDBEntry{MAC: dst, Dev: "vx100", Dst: addr4(tunnelEnd1), VNI: 200}))
	r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
	frame := stationFrame(dst, mac6(0xa1))
	s := r.one("p0", frame)
	assert.Equal(t, "q0", s.dev, "nothing leaves the node")
	assert.Equal(t, frame, s.raw)
	assert.Equal(t, uint64(1), r.stats("vx100").TxPackets)
	assert.Equal(t, uint64(1), r.stats("vx200").RxPackets)
	assert.Zero(t, r.stats("eth0").TxPackets)

	r.must(r.AddFDB(engine.FDBEntry{MAC: mac6(0x62), Dev: "vx100", Dst: addr4(tunnelEnd1), VNI: 300}))
	r.refused(engine.DropTunnelVNI, "p0", stationFrame(mac6(0x62), mac6(0xa1)))
}

func TestBehaviour04L2Miss(t *testing.T) {
	r := newTenant(t, engine.VXLAN{L2Miss: true})
	r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
	b := mac6(0xb1)
	for range 3 {
		assert.Empty(t, r.in("p0", stationFrame(b, mac6(0xa1))))
	}
	require.NotEmpty(t, r.misses)
	m := r.misses[0]
	assert.Equal(t, engine.MissFDB, m.Kind)
	assert.Equal(t, "vx100", m.Device)
	assert.Equal(t, r.Index("vx100"), m.Index)
	assert.Equal(t, b, m.MAC)
	assert.Equal(t, uint64(3), r.Stats().Held)

	r.must(r.AddFDB(engine.FDBEntry{MAC: b, Dev: "vx100", Dst: addr4(tunnelEnd2)}))
	assert.LessOrEqual(t, r.Next(), r.now, "released packets want a tick")
	assert.Equal(t, []string{tunnelEnd2, tunnelEnd2, tunnelEnd2}, remotes(r.wait(0)))
	assert.Zero(t, r.Stats().Held)
	assert.Empty(t, r.drops())

	assert.Empty(t, r.in("p0", stationFrame(mac6(0xb2), mac6(0xa1))))
	r.wait(time.Hour)
	assert.Equal(t, map[engine.Reason]uint64{engine.DropFDBWait: 1}, r.drops(), "the agent never told")
}

func TestBehaviour04L2MissIsBounded(t *testing.T) {
	r := newTenant(t, engine.VXLAN{L2Miss: true}, func(c *engine.Config) { c.MaxMissing = 4 })
	r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
	for i := range byte(100) {
		r.in("p0", stationFrame(ethernet.MAC{2, 9, 0, 0, 0, i}, mac6(0xa1)))
	}
	assert.LessOrEqual(t, r.Stats().Held, uint64(4))
	assert.Equal(t, uint64(96), r.drops()[engine.DropFDBWaitFull])
}

func TestBehaviour04L3Miss(t *testing.T) {
	r := newFlannelWith(t, engine.VXLAN{L3Miss: true})
	r.must(r.AddRoute(engine.Route{Prefix: prefix("10.244.3.0/24"), Via: addr4("10.244.3.0"), Dev: "flannel.1", Onlink: true}))
	third := datagram{src: podA, dst: "10.244.3.9"}.frame(cni0MAC, podAMAC)
	assert.Empty(t, r.in("veth0", third), "no ARP request goes into the tunnel")
	require.Len(t, r.misses, 1)
	assert.Equal(t, engine.Miss{
		Kind: engine.MissNeighbour, Device: "flannel.1", Index: r.Index("flannel.1"), Addr: addr4("10.244.3.0"),
	}, r.misses[0])
	r.fdb(mac6(0xf3), "flannel.1", "172.16.100.102")
	r.must(r.ReplaceNeigh(engine.Neigh{Addr: addr4("10.244.3.0"), Dev: "flannel.1", MAC: mac6(0xf3)}))
	out := r.wait(0)
	require.Len(t, out, 1, "what waited goes")
	assert.Equal(t, mac6(0xf3).String(), out[0].inner.dstMAC())
}

func TestBehaviour05MTU(t *testing.T) {
	for _, c := range []struct {
		under, vxlan, ipip int
	}{{1500, 1450, 1480}, {9000, 8950, 8980}, {1400, 1350, 1380}} {
		r := newRig(t)
		r.port("eth0", underMAC, "172.16.0.1/24")
		r.setMTU("eth0", c.under)
		r.vxlan("vx", mac6(1), engine.VXLAN{VNI: 1, Device: "eth0"})
		r.ipip("ip0", engine.IPIP{Device: "eth0", Local: addr4(tunnelEnd1), Remote: addr4(tunnelEnd2)})
		vx, _ := r.Link("vx")
		tun, _ := r.Link("ip0")
		assert.Equal(t, c.vxlan, vx.MTU, "VXLAN over %d", c.under)
		assert.Equal(t, c.ipip, tun.MTU, "IPIP over %d", c.under)
	}
	t.Run("without dev", func(t *testing.T) {
		r := newRig(t)
		r.vxlan("vx", mac6(1), engine.VXLAN{VNI: 1})
		r.ipip("ip0", engine.IPIP{AnyPeer: true})
		vx, _ := r.Link("vx")
		tun, _ := r.Link("ip0")
		assert.Equal(t, 1500, vx.MTU)
		assert.Equal(t, 1480, tun.MTU)
	})
	t.Run("not above what dev leaves", func(t *testing.T) {
		r := newTenant(t, engine.VXLAN{})
		err := r.SetLink("vx100", engine.LinkChange{MTU: engine.Set(1451)})
		assert.ErrorIs(t, err, engine.ErrInvalid)
		l, _ := r.Link("vx100")
		assert.Equal(t, 1450, l.MTU, "unchanged")
		r.setMTU("vx100", 1450)
		r.setMTU("vx100", 1000)
	})
}

// TestBehaviour05LearnedOnTheFirstTooBig is a device made without 'dev', whose MTU of 1500 the underlay cannot carry. What is
// learned holds for the node's own packets; forwarded ones go on in outer fragments, or are lost if those are forbidden, as long
// as net.ipv4.ip_forward_use_pmtu is off (measured on Linux 6.18).
func TestBehaviour05LearnedOnTheFirstTooBig(t *testing.T) {
	own := engine.Send{Dst: addr4(podB), Protocol: protoUDP, DF: true}
	ownPacket := func(size int) []byte { return udpDatagram(1, 2, make([]byte, size-28)) }
	learned := func(t *testing.T, r *rig, mtu int) {
		t.Helper()
		a, err := r.GetRoute(addr4(podB), engine.RouteQuery{})
		require.NoError(t, err)
		assert.Equal(t, mtu, a.MTU)
		assert.True(t, a.Cached)
		out, err := r.send(ownPacket(mtu+1), own)
		assert.ErrorIs(t, err, engine.ErrMessageSize, "refused at home")
		assert.Empty(t, out)
		out, err = r.send(ownPacket(mtu), own)
		require.NoError(t, err)
		assert.Len(t, out, 1)
	}
	t.Run("df unset", func(t *testing.T) {
		r := newFlannelWith(t, engine.VXLAN{Link: engine.Link{MTU: 1500}})
		out, err := r.send(ownPacket(1500), own)
		require.NoError(t, err)
		require.Len(t, out, 2, "outer fragments")
		assert.Equal(t, []string{"ens192", "ens192"}, devices(out))
		assert.Equal(t, out[0].ip.Id, out[1].ip.Id)
		whole := append(slices.Clone(out[0].ip.Payload), out[1].ip.Payload...)
		s := parse("", serialize(&layers.IPv4{
			Version: 4, TTL: 64, Protocol: protoUDP, SrcIP: out[0].ip.SrcIP, DstIP: out[0].ip.DstIP,
		}, gopacket.Payload(whole)), false)
		s.sound(t)
		assert.Equal(t, uint16(1500), s.inner.ip.Length)
		learned(t, r, 1450)
	})
	t.Run("df set", func(t *testing.T) {
		r := newFlannelWith(t, engine.VXLAN{Link: engine.Link{MTU: 1500}, DF: tunnel.DFSet})
		out, _ := r.send(ownPacket(1500), own)
		assert.Empty(t, out, "the first is lost")
		assert.Equal(t, map[engine.Reason]uint64{engine.DropTooBig: 1}, r.drops())
		learned(t, r, 1450)
	})
	t.Run("forwarded", func(t *testing.T) {
		big := fromPodA(datagram{df: true, size: 1500})
		r := newFlannelWith(t, engine.VXLAN{Link: engine.Link{MTU: 1500}})
		for range 3 {
			assert.Equal(t, []string{"ens192", "ens192"}, devices(r.in("veth0", big)))
		}
		learned(t, r, 1450)
		r = newFlannelWith(t, engine.VXLAN{Link: engine.Link{MTU: 1500}, DF: tunnel.DFSet})
		for range 3 {
			r.refused(engine.DropTooBig, "veth0", big)
		}
		learned(t, r, 1450)
	})
	t.Run("is forgotten in time", func(t *testing.T) {
		r := newFlannelWith(t, engine.VXLAN{Link: engine.Link{MTU: 1500}})
		_, err := r.send(ownPacket(1500), own)
		require.NoError(t, err)
		r.wait(10*time.Minute + time.Second) // net.ipv4.route.mtu_expires is 600 s
		r.Tick(r.now)
		out, err := r.send(ownPacket(1500), own)
		require.NoError(t, err)
		assert.Len(t, out, 2, "outer fragments again")
	})
	for _, c := range []struct {
		name   string
		p      tunnel.Profile
		change func(outer []byte) []byte
		heeded bool
	}{ // on Linux 6.18
		{"from a router on the underlay", tunnel.Linux, func(o []byte) []byte { return o }, true},
		{"quoted as far as the VNI", tunnel.Linux, func(o []byte) []byte { return o[:36] }, true},
		{"quoted too little", tunnel.Linux, func(o []byte) []byte { return o[:35] }, false},
		{"quoted as RFC 792 has it", tunnel.Linux, func(o []byte) []byte { return o[:28] }, false},
		{"quoted as RFC 792 has it, by the RFC", tunnel.RFC, func(o []byte) []byte { return o[:28] }, true},
		{"quoted too little for any", tunnel.RFC, func(o []byte) []byte { return o[:27] }, false},
		{"of another VNI", tunnel.Linux, func(o []byte) []byte { return patched(o, 34, 9) }, false},
		{"without a VNI", tunnel.Linux, func(o []byte) []byte { return patched(o, 28, 0) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newFlannelWith(t, engine.VXLAN{DF: tunnel.DFSet}, follow(c.p))
			out, err := r.send(ownPacket(1450), own)
			require.NoError(t, err)
			require.Len(t, out, 1)
			report := datagram{
				src: "172.16.100.254", dst: "172.16.100.101", proto: protoICMP, payload: icmpError(3, 4, 1400, c.change(out[0].packet())),
			}
			r.rises()
			assert.Empty(t, r.in("ens192", report.frame(ens192MAC, mac6(0xfe))))
			if !c.heeded {
				assert.Equal(t, uint64(1), r.rises()[engine.ICMPInErrors])
				out, err = r.send(ownPacket(1450), own)
				assert.NoError(t, err)
				assert.Len(t, out, 1)
				return
			}
			assert.Zero(t, r.rises()[engine.ICMPInErrors])
			_, _ = r.send(ownPacket(1450), own) // the tunnel's end learns with the next packet, the flow with that
			learned(t, r, 1350)
		})
	}
}
