// What a node sends and receives for itself, what a driver tells of frames beside their bytes, and switches that no numbered
// behaviour has: reverse path filter, redirects, raw ports.
package engine_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

func TestBehaviourSendSource(t *testing.T) {
	r := newRouter(t)
	r.addr("eth1", "10.1.0.2/24", "10.8.0.1/24")
	r.route("10.20.0.0/16", far, "eth1")
	r.must(r.AddRoute(engine.Route{Prefix: prefix("10.21.0.0/16"), Via: addr4(far), Dev: "eth1", Source: addr4(eth0Addr)}))
	r.neigh("10.8.0.9", mac6(0x89), "eth1")
	for _, c := range []struct{ dst, src, want string }{
		{far, "", "10.1.0.1"},             // the subnet's first address
		{"10.8.0.9", "", "10.8.0.1"},      // the other subnet's
		{"10.20.0.1", "", "10.1.0.1"},     // by way of a gateway: that on its subnet
		{"10.21.0.1", "", eth0Addr},       // as the route says
		{"10.20.0.1", eth0Addr, eth0Addr}, // as the caller says
	} {
		out, err := r.send(udpDatagram(1, 2, []byte("x")), engine.Send{Dst: addr4(c.dst), Src: optionalAddr(c.src), Protocol: protoUDP})
		require.NoError(t, err)
		require.Len(t, out, 1, "to %s", c.dst)
		out[0].sound(t)
		assert.Equal(t, c.want, out[0].src(), "to %s", c.dst)
		assert.Equal(t, uint8(64), out[0].ip.TTL)
	}
}

// optionalAddr is addr4 with the zero address for "".
func optionalAddr(s string) (a netip.Addr) {
	if s == "" {
		return a
	}
	return addr4(s)
}

func TestBehaviourSendFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		s    engine.Send
		size int
		want error
	}{
		{"source of somebody else", engine.Send{Dst: addr4(far), Src: addr4("203.0.113.1")}, 8, engine.ErrSource},
		{"broadcast without leave", engine.Send{Dst: addr4("10.1.0.255")}, 8, engine.ErrBroadcast},
		{"too long for DF", engine.Send{Dst: addr4(far), DF: true}, 1481, engine.ErrMessageSize},
		{"device missing", engine.Send{Dst: addr4(far), Device: "nope"}, 8, engine.ErrNotFound},
		{"no destination", engine.Send{}, 8, engine.ErrInvalid},
		{"IPv6", engine.Send{Dst: addr4("::1")}, 8, engine.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t)
			c.s.Protocol = protoUDP
			out, err := r.send(make([]byte, c.size), c.s)
			assert.ErrorIs(t, err, c.want)
			assert.Empty(t, out)
			assert.Equal(t, uint64(1), r.dropCount(), "freed and counted")
		})
	}
}

func TestBehaviourSend(t *testing.T) {
	t.Run("every field", func(t *testing.T) {
		r := newRouter(t)
		out, err := r.send(udpDatagram(5, 6, []byte("data")), engine.Send{
			Dst: addr4(far), Src: addr4("10.1.0.1"), Protocol: protoUDP, TTL: 7, TOS: 0x88, DF: true, ID: 0x4242,
		})
		require.NoError(t, err)
		require.Len(t, out, 1)
		want := datagram{
			src: "10.1.0.1", dst: far, ttl: 7, tos: 0x88, df: true, id: 0x4242, sport: 5, dport: 6, noSum: true, payload: []byte("data"),
		}
		assert.Equal(t, want.frame(farMAC, eth1MAC), out[0].raw)
	})
	t.Run("broadcast", func(t *testing.T) {
		r := newRouter(t)
		out, err := r.send(udpDatagram(5, 6, nil), engine.Send{Dst: addr4("10.1.0.255"), Protocol: protoUDP, Broadcast: true})
		require.NoError(t, err)
		require.Len(t, out, 1)
		assert.Equal(t, "ff:ff:ff:ff:ff:ff", out[0].dstMAC())
	})
	t.Run("too long without DF", func(t *testing.T) {
		r := newRouter(t)
		out, err := r.send(make([]byte, 3000), engine.Send{Dst: addr4(far), Protocol: 253})
		require.NoError(t, err)
		require.Len(t, out, 3)
	})
	t.Run("to the node itself", func(t *testing.T) { // scenario S0: nothing appears on a wire
		r := newRouter(t)
		for _, dst := range []string{"127.0.0.1", "127.1.2.3", eth0Addr, "10.1.0.1"} {
			out, err := r.send(udpDatagram(5, 6, nil), engine.Send{Dst: addr4(dst), Protocol: protoUDP})
			require.NoError(t, err)
			assert.Empty(t, out)
			got := r.deliveries()
			require.Len(t, got, 1, "to %s", dst)
			assert.Equal(t, "lo", got[0].dev)
			assert.Equal(t, dst, got[0].dst())
		}
	})
	t.Run("through a tunnel", func(t *testing.T) {
		r := newFlannel(t)
		out, err := r.send(udpDatagram(5, 6, nil), engine.Send{Dst: addr4(podB), Protocol: protoUDP})
		require.NoError(t, err)
		require.Len(t, out, 1)
		assert.Equal(t, "10.244.1.0 > "+podB, out[0].inner.src()+" > "+out[0].inner.dst())
		assert.Equal(t, uint8(64), out[0].inner.ip.TTL)
	})
}

// TestBehaviourSendFrame sends whole frames by devices of each kind.
func TestBehaviourSendFrame(t *testing.T) {
	frame := stationFrame(mac6(0xb9), mac6(0xa1))
	long := append(slices.Clone(frame), make([]byte, 1500)...)
	for _, c := range []struct {
		name, dev string
		frame     []byte
		want      error
		why       engine.Reason // of the drop, which there may be without an error too; 0: none
		out       string
	}{
		{name: "by a port", dev: "p0", frame: frame, out: "p0"},
		{name: "by a bridge, which floods it", dev: "br100", frame: frame, out: "eth0 p1 p0"},
		{name: "by a VXLAN device", dev: "vx100", frame: frame, out: "eth0"},
		{name: "longer than the device's MTU", dev: "p0", frame: long, want: engine.ErrMessageSize, why: engine.DropFrameTooBig},
		{name: "shorter than a header", dev: "p0", frame: frame[:13], want: engine.ErrInvalid, why: engine.DropShortFrame},
		{name: "by a device that is down", dev: "off", frame: frame, want: engine.ErrDown, why: engine.DropDown},
		{name: "by a device without carrier, which nobody is told of", dev: "unplugged", frame: frame, why: engine.DropDown},
		{name: "by lo", dev: "lo", frame: frame, want: engine.ErrInvalid, why: engine.DropProtocol},
		{name: "by no device", dev: "none", frame: frame, want: engine.ErrInvalid, why: engine.DropNoDevice},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newTenant(t, engine.VXLAN{})
			r.fdb(ethernet.MAC{}, "vx100", tunnelEnd2)
			r.port("off", mac6(0x71))
			r.must(r.SetLink("off", engine.LinkChange{Up: engine.Set(false)}))
			r.port("unplugged", mac6(0x72))
			r.must(r.SetLink("unplugged", engine.LinkChange{Carrier: engine.Set(false)}))
			r.out = nil
			require.ErrorIs(t, r.SendFrame(r.Index(c.dev), r.buffers(c.frame)[0], r.now), c.want)
			assert.Equal(t, c.out, strings.Join(devices(r.out), " "))
			if c.why != 0 {
				assert.Equal(t, map[engine.Reason]uint64{c.why: 1}, r.drops())
			}
		})
	}
}

func TestBehaviourEcho(t *testing.T) {
	request := func(dst string, tos uint8) datagram {
		return datagram{dst: dst, tos: tos, ttl: 3, id: 9, proto: protoICMP, payload: echo(0x1234, 7, 56)}
	}
	for _, dst := range []string{eth0Addr, "10.1.0.1"} {
		r := newRouter(t)
		s := r.one("eth0", toFar(request(dst, 0x28)))
		s.wantICMP(t, 0, 0, dst, near)
		assert.Equal(t, uint16(0x1234), s.icmp.Id)
		assert.Equal(t, uint16(7), s.icmp.Seq)
		assert.Equal(t, echo(0, 0, 56)[8:], s.icmp.Payload)
		assert.Equal(t, uint8(64), s.ip.TTL, "a TTL of its own")
		assert.Equal(t, uint8(0x28), s.ip.TOS, "icmp_reply keeps it")
		assert.Equal(t, uint64(1), r.rises()[engine.ICMPOutEchoReps])
	}
	t.Run("to a broadcast address is not answered", func(t *testing.T) {
		r := newRouter(t)
		assert.Empty(t, r.in("eth0", slices.Concat(ethernet.Broadcast[:], toFar(request("10.0.0.255", 0))[6:])))
	})
	t.Run("with a wrong checksum is not answered", func(t *testing.T) {
		r := newRouter(t)
		r.refused(engine.DropICMP, "eth0", patched(toFar(request(eth0Addr, 0)), -1, 0))
		assert.Equal(t, uint64(1), r.rises()[engine.ICMPInCsumErrors])
	})
	t.Run("ignored on request", func(t *testing.T) {
		r := newRouter(t)
		g := r.Global()
		g.EchoIgnoreAll = true
		r.must(r.SetGlobal(g))
		assert.Empty(t, r.in("eth0", toFar(request(eth0Addr, 0))))
	})
	t.Run("larger than the MTU comes back in fragments", func(t *testing.T) {
		r := newRouter(t)
		r.setMTU("eth0", 576)
		d := request(eth0Addr, 0)
		d.payload = echo(1, 1, 1400)
		assert.Len(t, r.in("eth0", toFar(d)), 3)
	})
}

func TestBehaviourReversePath(t *testing.T) {
	for _, c := range []struct {
		filter int
		src    string
		pass   bool
	}{
		{0, near, true},
		{0, "10.1.0.50", true},   // of the other port's subnet
		{0, "203.0.113.9", true}, // of nobody's
		{1, near, true},
		{1, "10.1.0.50", false},
		{1, "203.0.113.9", false},
		{2, near, true},
		{2, "10.1.0.50", true},
		{2, "203.0.113.9", false},
	} {
		r := newRouter(t)
		conf, err := r.Conf("eth0")
		r.must(err)
		conf.RPFilter = c.filter
		r.must(r.SetConf("eth0", conf))
		frame := toFar(datagram{src: c.src})
		if c.pass {
			assert.Equal(t, "eth1", r.one("eth0", frame).dev, "rp_filter %d, from %s", c.filter, c.src)
			continue
		}
		r.refused(engine.DropReversePath, "eth0", frame)
		assert.Equal(t, uint64(1), r.rises()[engine.IPReversePathFilter])
	}
	t.Run("the greater of all's and the device's", func(t *testing.T) {
		r := newRouter(t)
		conf, err := r.Conf(engine.ConfAll)
		r.must(err)
		conf.RPFilter = 1
		r.must(r.SetConf(engine.ConfAll, conf))
		r.refused(engine.DropReversePath, "eth0", toFar(datagram{src: "10.1.0.50"}))
	})
	t.Run("accept_local", func(t *testing.T) {
		r := newRouter(t)
		frame := toFar(datagram{src: "10.1.0.1"})
		r.refused(engine.DropMartianSource, "eth0", frame)
		conf, err := r.Conf("eth0")
		r.must(err)
		conf.AcceptLocal = true
		r.must(r.SetConf("eth0", conf))
		assert.Equal(t, "eth1", r.one("eth0", frame).dev)
	})
}

func TestBehaviourRedirects(t *testing.T) {
	make := func(t *testing.T, on bool) *rig {
		r := newRouter(t)
		r.neigh("10.0.0.8", mac6(0x18), "eth0")
		r.route("10.30.0.0/16", "10.0.0.8", "eth0")
		conf, err := r.Conf("eth0")
		r.must(err)
		assert.False(t, conf.SendRedirects, "off by default")
		conf.SendRedirects = on
		r.must(r.SetConf("eth0", conf))
		return r
	}
	back := toFar(datagram{dst: "10.30.0.1"})
	s := make(t, false).one("eth0", back)
	assert.Equal(t, mac6(0x18).String(), s.dstMAC(), "forwarded, nobody is told")

	out := make(t, true).in("eth0", back)
	require.Len(t, out, 2)
	for _, s := range out {
		if s.icmp == nil {
			assert.Equal(t, mac6(0x18).String(), s.dstMAC())
			continue
		}
		s.wantICMP(t, 5, 1, eth0Addr, near)
		assert.Equal(t, []byte{10, 0, 0, 8}, s.icmp.Contents[4:8], "the shorter way")
		assert.Equal(t, uint8(63), s.icmp.Payload[8], "TTL of the quoted packet, as it went on")
	}
}

func TestBehaviourRawPort(t *testing.T) {
	r := newRouter(t)
	_, err := r.AddPort(engine.Port{Link: engine.Link{Name: "raw", Up: true, MTU: 1400}, Raw: true})
	r.must(err)
	r.addr("raw", "10.60.0.1/24")
	r.route("10.61.0.0/16", "10.60.0.2", "raw")
	d := datagram{src: near, dst: "10.61.0.1", size: 84}
	s := r.one("eth0", d.frame(eth0MAC, nearMAC))
	assert.Equal(t, "raw", s.dev)
	require.Nil(t, s.eth)
	d.ttl = 63
	assert.Equal(t, d.packet(), s.raw)

	s = r.one("raw", datagram{src: "10.61.0.1", dst: near, size: 84}.packet())
	assert.Equal(t, "eth0", s.dev)
	assert.Equal(t, uint8(63), s.ip.TTL)
	r.one("raw", datagram{src: "10.61.0.1", dst: near, ttl: 1}.packet()).wantICMP(t, 11, 0, "10.60.0.1", "10.61.0.1")
	r.refused(engine.DropIPShort, "raw", make([]byte, 19))
	r.refused(engine.DropIPHeader, "raw", patched(datagram{src: "10.61.0.1", dst: near}.packet(), 0, 0x65))
}

// with lets a port receive a frame whose buffer says more than its bytes.
func (r *rig) with(dev string, frame []byte, say func(*packet.Buffer)) []*seen {
	r.t.Helper()
	b := r.buffers(frame)
	say(b[0])
	r.out = nil
	r.Process(r.Index(dev), b, r.now)
	r.check()
	return r.out
}

// TestBehaviourMetadataVLAN is a tag that a NIC took out of the frame: it is part of the frame all the same.
func TestBehaviourMetadataVLAN(t *testing.T) {
	strip := func(b *packet.Buffer) { b.SetVLAN(ethernet.Tag{TPID: 0x8100, TCI: 42}) }
	frame := stationFrame(mac6(0xb1), mac6(0xa1))
	whole := tagged(mac6(0xb1), mac6(0xa1), 42, etherIPv4, frame[14:])
	t.Run("is bridged along", func(t *testing.T) {
		r := newBridge(t)
		for _, s := range r.with("p0", frame, strip) {
			assert.Equal(t, whole, s.raw)
		}
		assert.Len(t, r.out, 3)
	})
	t.Run("goes into the tunnel", func(t *testing.T) {
		r := newTenant(t, engine.VXLAN{})
		r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
		r.fdb(mac6(0xb1), "vx100", tunnelEnd2)
		for range 2 {
			out := r.with("p0", frame, strip)
			require.Len(t, out, 1)
			assert.Nil(t, out[0].vlan, "the outer frame has none")
			assert.Equal(t, whole, out[0].inner.raw)
		}
	})
	t.Run("is not routed", func(t *testing.T) {
		r := newRouter(t)
		assert.Empty(t, r.with("eth0", toFar(datagram{}), strip))
		assert.Equal(t, map[engine.Reason]uint64{engine.DropTagged: 1}, r.drops())
	})
	t.Run("of priority alone is routed", func(t *testing.T) {
		r := newRouter(t)
		out := r.with("eth0", toFar(datagram{}), func(b *packet.Buffer) { b.SetVLAN(ethernet.Tag{TPID: 0x8100, TCI: 5 << 13}) })
		require.Len(t, out, 1)
		assert.Nil(t, out[0].vlan)
	})
}

// TestBehaviourMetadataChecksum is a transport checksum that the sender left to a NIC: it is right wherever the packet comes out.
func TestBehaviourMetadataChecksum(t *testing.T) {
	partial := func(b *packet.Buffer) {
		p := b.Bytes()
		binary.BigEndian.PutUint16(p[40:], sum16(protoUDP+uint32(len(p)-34), p[26:34]))
		_ = b.SetChecksumPartial(34, 6)
	}
	for _, c := range []struct {
		name  string
		r     *rig
		dev   string
		frame []byte
	}{
		{"route", newRouter(t), "eth0", toFar(datagram{size: 100})},
		{"route in fragments", newRouter(t), "eth0", toFar(datagram{size: 1500, id: 4})},
		{"VXLAN, udpcsum", newFlannelWith(t, engine.VXLAN{UDPChecksum: true}), "veth0", fromPodA(datagram{size: 100})},
		{"VXLAN, noudpcsum", newFlannel(t), "veth0", fromPodA(datagram{size: 100})},
		{"IPIP", newIPIP(t, engine.IPIP{}), "pods", fromPod(datagram{size: 100})},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "route in fragments" {
				c.r.setMTU("eth1", 1000)
			}
			want := c.frame[40:42]
			out := c.r.with(c.dev, slices.Clone(c.frame), partial)
			require.NotEmpty(t, out)
			inner := out[0]
			for _, s := range out {
				s.sound(t)
			}
			if inner.inner != nil {
				inner = inner.inner
			}
			assert.Equal(t, want, inner.ip.Payload[6:8], "the checksum that the sender would have computed")
		})
	}
	t.Run("delivered", func(t *testing.T) {
		r := newRouter(t)
		assert.Empty(t, r.with("eth0", toFar(datagram{dst: eth0Addr, size: 60}), partial), "no ICMP error")
		assert.Len(t, r.deliveries(), 1)
	})
}

// TestBehaviourMetadataGSO are superframes: what counts is how long their segments will be.
func TestBehaviourMetadataGSO(t *testing.T) {
	super := func(dst, src ethernet.MAC, from, to string) []byte {
		l := &layers.IPv4{
			Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP,
			SrcIP: addr4(from).AsSlice(), DstIP: addr4(to).AsSlice(),
		}
		seg := &layers.TCP{SrcPort: 4000, DstPort: 80, DataOffset: 5, ACK: true, Window: 1000}
		mustBuild(seg.SetNetworkLayerForChecksum(l))
		return ether(dst, src, etherIPv4, serialize(l, seg, gopacket.Payload(make([]byte, 3000))))
	}
	segments := func(n uint16) func(*packet.Buffer) { return func(b *packet.Buffer) { b.SetGSO(packet.GSOTCP4, n) } }

	r := newRouter(t)
	out := r.with("eth0", super(eth0MAC, nearMAC, near, far), segments(1460))
	require.Len(t, out, 3, "segments of 1500 bytes pass, and a port without offloads gets them")
	assert.Equal(t, "eth1", out[0].dev)
	assert.Equal(t, []uint16{1500, 1500, 120}, []uint16{out[0].ip.Length, out[1].ip.Length, out[2].ip.Length})
	r.setMTU("eth1", 1400)
	out = r.with("eth0", super(eth0MAC, nearMAC, near, far), segments(1460))
	require.Len(t, out, 1)
	out[0].wantICMP(t, 3, 4, eth0Addr, near)
	assert.Equal(t, uint16(1400), out[0].icmp.Seq)

	r = newFlannel(t)
	out = r.with("veth0", super(cni0MAC, podAMAC, podA, podB), segments(1410))
	require.Len(t, out, 3, "segments of 1450 bytes fit the tunnel")
	assert.Equal(t, uint16(1450), out[0].inner.ip.Length)
	out = r.with("veth0", super(cni0MAC, podAMAC, podA, podB), segments(1411))
	require.Len(t, out, 1)
	out[0].wantICMP(t, 3, 4, "10.244.1.1", podA)
}

// TestBehaviour07GBP is taken where group policies are expected.
func TestBehaviour07GBP(t *testing.T) {
	inner := stationFrame(mac6(0xa1), mac6(0xb1))
	frame := patched(patched(tunnelled(tunnelEnd2, inner), atVXLAN, 0x88), atVXLAN+3, 7)
	r := newTenant(t, engine.VXLAN{GBP: true})
	r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
	assert.Equal(t, inner, r.one("eth0", frame).raw)
	r.refused(engine.DropTunnelReserved, "eth0", patched(frame, atVXLAN+7, 1))
}

// TestBehaviourUnknownPort is a port that Process is given a wrong number of.
func TestBehaviourUnknownPort(t *testing.T) {
	r := newRouter(t)
	for _, port := range []uint32{0, 1, 99, 1 << 31, r.Index("lo")} {
		batch := r.buffers(toFar(datagram{}))
		r.Process(port, batch, r.now)
		assert.Nil(t, batch[0], "taken all the same")
		r.check()
	}
	assert.Equal(t, map[engine.Reason]uint64{engine.DropNoDevice: 5}, r.drops())
	r.Process(r.Index("eth0"), nil, r.now)
	r.check()
}

// TestBehaviourNever is an engine at rest.
func TestBehaviourNever(t *testing.T) {
	r := newRig(t)
	assert.GreaterOrEqual(t, r.Next(), r.now+time.Second)
	r.port("eth0", eth0MAC, "10.0.0.1/24")
	r.in("eth0", whoHas(eth0Addr, nearMAC, near))
	r.wait(time.Hour)
	assert.Zero(t, r.Stats().Held)
}
