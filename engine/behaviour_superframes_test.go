// Superframes, partial checksums and tags beside the frame: they go through a node as they are, and leave in a form that the port
// takes. What is cut is held against segments, built by gopacket, that go through a like node one by one.
package engine_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
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
	"github.com/culvert-net/culvert/gso"
	"github.com/culvert-net/culvert/packet"
)

// stream is what a superframe stands for.
type stream struct {
	src, dst string
	udp      bool
	size     int // of a segment's payload
	payload  int
	noDF     bool
	id       uint16
}

func (s stream) kind() packet.GSOType {
	if s.udp {
		return packet.GSOUDP4
	}
	return packet.GSOTCP4
}

// piece returns an IPv4 packet with payload bytes from to to, checksums included.
func (s stream) piece(id uint16, from, to int) []byte {
	l := &layers.IPv4{
		Version: 4, TTL: 64, Id: s.id + id, Flags: layers.IPv4DontFragment, Protocol: protoTCP,
		SrcIP: net.ParseIP(s.src).To4(), DstIP: net.ParseIP(s.dst).To4(),
	}
	if s.noDF {
		l.Flags = 0
	}
	data := make([]byte, to-from)
	for i := range data {
		data[i] = byte((from + i) * 7 / 5)
	}
	if s.udp {
		l.Protocol = protoUDP
		u := &layers.UDP{SrcPort: 4000, DstPort: 5000}
		mustBuild(u.SetNetworkLayerForChecksum(l))
		return serialize(l, u, gopacket.Payload(data))
	}
	seg := &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1000 + uint32(from), Ack: 7, DataOffset: 5, ACK: true, PSH: to == s.payload, Window: 500}
	mustBuild(seg.SetNetworkLayerForChecksum(l))
	return serialize(l, seg, gopacket.Payload(data))
}

// segments are the packets that are meant.
func (s stream) segments() (all [][]byte) {
	for i := range (s.payload + s.size - 1) / s.size {
		all = append(all, s.piece(uint16(i), i*s.size, min((i+1)*s.size, s.payload)))
	}
	return all
}

// superframe is the packet behind other headers, in a buffer as a driver hands it in.
func (s stream) superframe(t testing.TB, front []byte) *packet.Buffer {
	t.Helper()
	p := s.piece(0, 0, s.payload)
	field := 16
	if s.udp {
		field = 6
	}
	sum := sum16(uint32(p[9])+uint32(len(p)-20), p[12:20])
	binary.BigEndian.PutUint16(p[20+field:], sum)
	b := packet.New(70000)
	require.NoError(t, b.SetBytes(slices.Concat(front, p)))
	require.NoError(t, b.SetChecksumPartial(len(front)+20, field))
	b.SetGSO(s.kind(), uint16(s.size))
	return b
}

// left is a packet that left, with what was said about it.
type left struct {
	dev   string
	bytes []byte
	tag   bool
	sum   packet.ChecksumState
	start int
	gso   packet.GSOType
	size  uint16
}

// supers is a rig that keeps what leaves as it is.
type supers struct {
	*rig
	left  []left
	large *packet.Pool
}

// newSupers makes a rig by one of its makers.
func newSupers(t testing.TB, maker func(testing.TB, ...func(*engine.Config)) *rig) *supers {
	t.Helper()
	x := &supers{}
	var err error
	x.large, err = packet.NewPool(packet.PoolConfig{Buffers: 16, Size: packet.DefaultHeadroom + gso.LargeSize})
	require.NoError(t, err)
	x.rig = maker(t, func(c *engine.Config) {
		c.LargePool = x.large
		c.Output = x.keep
	})
	x.left = nil
	t.Cleanup(func() { assert.Zero(t, x.large.InUse(), "large buffers") })
	return x
}

func (x *supers) keep(port uint32, batch []*packet.Buffer) {
	for _, b := range batch {
		start, _, _ := b.PartialChecksum()
		kind, size := b.GSO()
		x.left = append(x.left, left{x.Name(port), bytes.Clone(b.Bytes()), b.HasVLAN(), b.Checksum(), start, kind, size})
		b.Free()
	}
}

// give lets a port receive buffers, and returns what left.
func (x *supers) give(dev string, batch ...*packet.Buffer) []left {
	x.t.Helper()
	x.left = nil
	x.Process(x.Index(dev), batch, x.now)
	x.check()
	return x.left
}

func (x *supers) offload(dev string, o packet.Offloads) {
	x.t.Helper()
	x.must(x.SetLink(dev, engine.LinkChange{Offloads: &o}))
}

// texted returns what left as text, port by port: device, length, headers, and a hash of all but what a node is free to choose.
func texted(all []left) (out []string) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b left) int { return strings.Compare(a.dev, b.dev) })
	for _, l := range all {
		p := anonymous(l.bytes, false)
		out = append(out, fmt.Sprintf("%s %d %x %x", l.dev, len(p), p[:min(len(p), 110)], crc32.ChecksumIEEE(p)))
	}
	return out
}

func eth(dst, src ethernet.MAC) []byte { return ether(dst, src, etherIPv4, nil) }

// ways are nodes with the way that a stream takes through each.
func ways(t testing.TB) []way {
	t.Helper()
	tenant := func(t testing.TB, change ...func(*engine.Config)) *rig {
		r := newTenant(t, engine.VXLAN{UDPChecksum: true}, change...)
		r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
		r.fdb(mac6(0xb1), "vx100", tunnelEnd2)
		return r
	}
	toAll := func(t testing.TB, change ...func(*engine.Config)) *rig {
		r := newTenant(t, engine.VXLAN{}, change...)
		for _, end := range []string{tunnelEnd2, tunnelEnd3, tunnelEnd4} {
			r.fdb(ethernet.MAC{}, "vx100", end)
		}
		r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true})) // so that the tunnel gets the superframe whole
		return r
	}
	ipip := func(t testing.TB, change ...func(*engine.Config)) *rig { return newIPIP(t, engine.IPIP{}, change...) }
	flannel := func(t testing.TB, change ...func(*engine.Config)) *rig {
		return newFlannelWith(t, engine.VXLAN{}, change...)
	}
	return []way{
		{"route", newRouter, "eth0", "eth1", near, far, eth(eth0MAC, nearMAC), 1460, 0},
		{"bridge", newBridge, "p0", "", near, far, eth(mac6(0x99), sta0), 1460, 0},
		{"VXLAN", flannel, "veth0", "ens192", podA, podB, eth(cni0MAC, podAMAC), 1410, packet.OffloadTunnelTCP4},
		{"VXLAN from a bridge, udpcsum", tenant, "p0", "eth0", near, far, eth(mac6(0xb1), mac6(0xa1)), 1410, packet.OffloadTunnelTCP4},
		{"VXLAN to everybody", toAll, "p0", "eth0", near, far, eth(mac6(0xb9), mac6(0xa1)), 1410, packet.OffloadTunnelTCP4},
		{"IPIP", ipip, "pods", "ens33", podHere, podThere, eth(podsMAC, podHereMAC), 1440, packet.OffloadsNone},
	}
}

type way struct {
	name     string
	maker    func(testing.TB, ...func(*engine.Config)) *rig
	in, out  string
	src, dst string
	front    []byte
	size     int // of the greatest segment
	tunnel   packet.Offloads
}

func (w way) stream(payload int, udp bool) stream {
	s := stream{src: w.src, dst: w.dst, size: w.size, payload: payload, udp: udp}
	if udp {
		s.size += 12
	}
	return s
}

// TestBehaviourSuperframesCut: a superframe leaves as what its segments would have left as.
func TestBehaviourSuperframesCut(t *testing.T) {
	for _, w := range ways(t) {
		for _, udp := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s udp %v", w.name, udp), func(t *testing.T) {
				whole, single := newSupers(t, w.maker), newSupers(t, w.maker)
				for _, payload := range []int{2 * w.size, 20000, 64000, w.size + 1, 1} {
					s := w.stream(payload, udp)
					got := whole.give(w.in, s.superframe(t, w.front))
					var want []left
					for _, p := range s.segments() {
						want = append(want, single.give(w.in, single.buffers(slices.Concat(w.front, p))...)...)
					}
					require.Equal(t, texted(want), texted(got), "%d bytes", payload)
					for _, l := range got {
						assert.Equal(t, packet.GSONone, l.gso)
						assert.NotEqual(t, packet.ChecksumPartial, l.sum)
						parse(l.dev, l.bytes, true).sound(t)
					}
				}
			})
		}
	}
}

// TestBehaviourSuperframesOffloads: a port is given what it takes.
func TestBehaviourSuperframesOffloads(t *testing.T) {
	const sum = packet.OffloadChecksum
	for _, w := range ways(t) {
		if w.out == "" || w.name == "VXLAN to everybody" {
			continue
		}
		for _, c := range []struct {
			takes packet.Offloads
			udp   bool
			whole bool // it leaves as it came
			kind  packet.GSOType
			n     int
		}{
			{sum, false, false, packet.GSONone, 8},
			{sum | packet.OffloadTCP4, false, w.name == "route", packet.GSONone, 8},
			{sum | packet.OffloadTunnelTCP4, false, w.tunnel != 0, packet.GSONone, 8},
			{sum | packet.OffloadUDP4, false, false, packet.GSOUDP4, 1},
			{sum | packet.OffloadUDP4, true, w.name == "route", packet.GSOUDP4, 1},
			{sum | packet.OffloadTCP4, true, false, packet.GSONone, 8},
		} {
			t.Run(fmt.Sprintf("%s %v udp %v", w.name, c.takes, c.udp), func(t *testing.T) {
				x := newSupers(t, w.maker)
				x.offload(w.out, c.takes)
				s := w.stream(11000, c.udp)
				got := x.give(w.in, s.superframe(t, w.front))
				require.NotEmpty(t, got)
				for _, l := range got {
					assert.Equal(t, packet.ChecksumPartial, l.sum)
				}
				if c.whole {
					require.Len(t, got, 1)
					assert.Equal(t, []any{s.kind(), uint16(s.size)}, []any{got[0].gso, got[0].size})
					return
				}
				kind, n := c.kind, c.n
				if kind == packet.GSOUDP4 && w.tunnel == 0 {
					kind, n = packet.GSONone, 8 // neither is in a UDP tunnel
				}
				assert.Len(t, got, n)
				assert.Equal(t, kind, got[0].gso)
			})
		}
	}
}

// TestBehaviourSuperframesUDPBundle: what a port gets as a UDP superframe is the same datagrams.
func TestBehaviourSuperframesUDPBundle(t *testing.T) {
	for _, w := range ways(t) {
		if w.tunnel == 0 || w.name == "VXLAN to everybody" {
			continue
		}
		x, single := newSupers(t, w.maker), newSupers(t, w.maker)
		x.offload(w.out, packet.OffloadChecksum|packet.OffloadUDP4)
		s := w.stream(64000, false)
		got := x.give(w.in, s.superframe(t, w.front))
		require.Len(t, got, 2, "46 segments and their inner headers are more than 64 KiB")
		var cut []left
		pool, err := packet.NewPool(packet.PoolConfig{})
		require.NoError(t, err)
		for _, l := range got {
			b := packet.Of(l.bytes)
			b.SetGSO(l.gso, l.size)
			require.NoError(t, b.SetChecksumPartial(l.start, 6))
			segs, err := gso.Segmenter{Pool: pool}.Fit(b, false, 0, nil)
			require.NoError(t, err)
			for _, q := range segs {
				parse(l.dev, q.Bytes(), true).sound(t)
				cut = append(cut, left{dev: l.dev, bytes: q.Bytes()})
			}
		}
		var want []left
		for _, p := range s.segments() {
			want = append(want, single.give(w.in, single.buffers(slices.Concat(w.front, p))...)...)
		}
		require.Equal(t, texted(want), texted(cut), w.name)
	}
}

// TestBehaviourSuperframesMetadata: tags and checksums of ordinary packets, for ports that take them and that do not, on the short
// and the long way.
func TestBehaviourSuperframesMetadata(t *testing.T) {
	partial := func() *packet.Buffer {
		b := stream{src: near, dst: far, payload: 100, size: 100}.superframe(t, eth(eth0MAC, nearMAC))
		b.SetGSO(packet.GSONone, 0)
		return b
	}
	for _, watched := range []bool{false, true} {
		x := newSupers(t, newRouter)
		if watched {
			x.must(x.Tap("eth1", func(uint32, bool, []byte, time.Duration) {}))
		}
		got := x.give("eth0", partial())
		require.Len(t, got, 1)
		assert.NotEqual(t, packet.ChecksumPartial, got[0].sum)
		parse("eth1", got[0].bytes, true).sound(t)
		complete := got[0].bytes
		x.offload("eth1", packet.OffloadChecksum)
		got = x.give("eth0", partial())
		require.Len(t, got, 1)
		assert.Equal(t, packet.ChecksumPartial, got[0].sum)
		assert.Equal(t, 34, got[0].start)
		assert.NotEqual(t, complete, got[0].bytes)
	}

	x := newSupers(t, newBridge)
	x.offload("p1", packet.OffloadVLAN)
	b := x.buffers(stationFrame(mac6(0x99), sta0))
	b[0].SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 5})
	got := x.give("p0", b...)
	require.Len(t, got, 3)
	for _, l := range got {
		assert.Equal(t, l.dev == "p1", l.tag, l.dev)
		assert.Equal(t, l.dev != "p1", binary.BigEndian.Uint16(l.bytes[12:]) == 0x8100, l.dev)
	}
}

// TestBehaviourSuperframesMTU: it is the segments that an MTU limits.
func TestBehaviourSuperframesMTU(t *testing.T) {
	t.Run("forwarded, DF", func(t *testing.T) {
		x := newSupers(t, newRouter)
		s := stream{src: near, dst: far, size: 1460, payload: 14600}
		assert.Len(t, x.give("eth0", s.superframe(t, eth(eth0MAC, nearMAC))), 10)
		x.setMTU("eth1", 1499)
		got := x.give("eth0", s.superframe(t, eth(eth0MAC, nearMAC)))
		require.Len(t, got, 1)
		e := parse("eth0", got[0].bytes, true)
		e.wantICMP(t, 3, 4, eth0Addr, near)
		assert.Equal(t, uint16(1499), e.icmp.Seq)
		quoted := parse("", e.icmp.Payload, false)
		assert.Equal(t, uint16(1500), binary.BigEndian.Uint16(e.icmp.Payload[2:]), "one of its segments is quoted")
		assert.Equal(t, uint16(0xffff), sum16(0, e.icmp.Payload[:20]), "header checksum of the quote: %v", quoted.faults)
		assert.Equal(t, map[engine.Reason]uint64{engine.DropTooBig: 1}, x.drops())
	})
	t.Run("forwarded in fragments", func(t *testing.T) {
		x, single := newSupers(t, newRouter), newSupers(t, newRouter)
		x.setMTU("eth1", 1000)
		single.setMTU("eth1", 1000)
		s := stream{src: near, dst: far, size: 1460, payload: 5000, noDF: true, id: 77}
		got := x.give("eth0", s.superframe(t, eth(eth0MAC, nearMAC)))
		var want []left
		for _, p := range s.segments() {
			want = append(want, single.give("eth0", single.buffers(slices.Concat(eth(eth0MAC, nearMAC), p))...)...)
		}
		assert.Len(t, got, 7, "three segments in two fragments each, and one that fits")
		for i := range min(len(want), len(got)) {
			assert.Equal(t, want[i].bytes, got[i].bytes, "with their identifications")
		}
	})
	t.Run("bridge port", func(t *testing.T) {
		x := newSupers(t, newBridge)
		x.give("p1", x.buffers(stationFrame(sta0, sta1))...)
		x.setMTU("p1", 1400)
		x.drops()
		s := stream{src: near, dst: far, size: 1460 - 100, payload: 9000}
		assert.Len(t, x.give("p0", s.superframe(t, eth(sta1, sta0))), 7)
		s.size = 1460 - 95 // is_skb_forwardable leaves room for a tag
		assert.Empty(t, x.give("p0", s.superframe(t, eth(sta1, sta0))))
		assert.Equal(t, map[engine.Reason]uint64{engine.DropFrameTooBig: 1}, x.drops())
	})
	t.Run("VXLAN without DF, in outer fragments", func(t *testing.T) {
		x := newSupers(t, func(t testing.TB, change ...func(*engine.Config)) *rig {
			return newFlannelWith(t, engine.VXLAN{Link: engine.Link{MTU: 1500}}, change...)
		})
		s := stream{src: podA, dst: podB, size: 1460, payload: 2920}
		got := x.give("veth0", s.superframe(t, eth(cni0MAC, podAMAC)))
		require.Len(t, got, 4)
		for _, l := range got {
			assert.LessOrEqual(t, len(l.bytes), 1514)
			assert.NotZero(t, binary.BigEndian.Uint16(l.bytes[20:])&0x3fff, "fragment")
		}
	})
	t.Run("VXLAN from a bridge", func(t *testing.T) {
		x := newSupers(t, func(t testing.TB, change ...func(*engine.Config)) *rig {
			return newTenant(t, engine.VXLAN{Link: engine.Link{MTU: 1500}}, change...)
		})
		x.must(x.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
		x.fdb(mac6(0xb1), "vx100", tunnelEnd2)
		s := stream{src: near, dst: far, size: 1460, payload: 14600}
		got := x.give("p0", s.superframe(t, eth(mac6(0xb1), mac6(0xa1))))
		require.Len(t, got, 1)
		e := parse("p0", got[0].bytes, true)
		e.wantICMP(t, 3, 4, far, near)
		assert.Equal(t, uint16(1450), e.icmp.Seq)
		assert.Equal(t, uint16(1500), binary.BigEndian.Uint16(e.icmp.Payload[2:]), "one of its segments is quoted")
	})
	t.Run("IPIP, DF", func(t *testing.T) {
		x := newSupers(t, func(t testing.TB, change ...func(*engine.Config)) *rig { return newIPIP(t, engine.IPIP{}, change...) })
		s := stream{src: podHere, dst: podThere, size: 1441, payload: 14600}
		got := x.give("pods", s.superframe(t, eth(podsMAC, podHereMAC)))
		require.Len(t, got, 1)
		parse("pods", got[0].bytes, true).wantICMP(t, 3, 4, "10.244.0.1", podHere)
	})
	t.Run("the node's own", func(t *testing.T) {
		x := newSupers(t, newRouter)
		own := func(size int) *packet.Buffer {
			b := stream{src: "10.1.0.1", dst: far, size: size, payload: 7000}.superframe(t, nil)
			require.NoError(t, b.TrimFront(20))
			return b
		}
		x.left = nil
		require.NoError(t, x.Send(own(1460), engine.Send{Dst: addr4(far), Protocol: protoTCP, DF: true}, x.now))
		require.Len(t, x.left, 5)
		for _, l := range x.left {
			assert.LessOrEqual(t, len(l.bytes), 1514)
		}
		require.ErrorIs(t, x.Send(own(1461), engine.Send{Dst: addr4(far), Protocol: protoTCP, DF: true}, x.now), engine.ErrMessageSize)
		x.left = nil
		require.NoError(t, x.Send(own(1461), engine.Send{Dst: addr4(far), Protocol: protoTCP}, x.now))
		assert.Len(t, x.left, 9, "four segments in two fragments each, and one that fits")
		x.check()
	})
}

// TestBehaviourSuperframesDecap: superframes in a tunnel come out of it as superframes, of datagrams of a tunnel as its datagrams.
func TestBehaviourSuperframesDecap(t *testing.T) {
	toPod := stream{src: podB, dst: podA, size: 1410, payload: 14000}
	inner := eth(flannelMAC, flannel2MAC)
	t.Run("VXLAN", func(t *testing.T) {
		for _, check := range []uint16{0, 0x1234} { // absent, or the pseudo-header's sum as Linux has it
			x := newSupers(t, newFlannel)
			x.offload("veth0", packet.OffloadChecksum|packet.OffloadTCP4)
			frame := fromNode2(slices.Concat(inner, toPod.piece(0, 0, 14000)))
			binary.BigEndian.PutUint16(frame[40:], check)
			front := frame[:64]
			got := x.give("ens192", toPod.superframe(t, front))
			require.Len(t, got, 1)
			assert.Equal(t, "veth0", got[0].dev)
			assert.Equal(t, []any{packet.GSOTCP4, uint16(1410), packet.ChecksumPartial, 34},
				[]any{got[0].gso, got[0].size, got[0].sum, got[0].start})
			assert.Len(t, got[0].bytes, 14+40+14000)
		}
	})
	t.Run("IPIP", func(t *testing.T) {
		x := newSupers(t, func(t testing.TB, change ...func(*engine.Config)) *rig { return newIPIP(t, engine.IPIP{}, change...) })
		x.offload("pods", packet.OffloadChecksum|packet.OffloadTCP4)
		s := stream{src: podThere, dst: podHere, size: 1440, payload: 14000}
		got := x.give("ens33", s.superframe(t, inIPIP(ipipThere, s.piece(0, 0, 14000))[:34]))
		require.Len(t, got, 1)
		assert.Equal(t, []any{packet.GSOTCP4, uint16(1440)}, []any{got[0].gso, got[0].size})
	})
	t.Run("UDP superframe of VXLAN", func(t *testing.T) {
		x := newSupers(t, newFlannel)
		from := newSupers(t, newFlannel)
		from.offload("ens192", packet.OffloadChecksum|packet.OffloadUDP4)
		s := stream{src: podA, dst: podB, size: 1410, payload: 14000}
		sent := from.give("veth0", s.superframe(t, eth(cni0MAC, podAMAC)))
		require.Len(t, sent, 1)
		// The same way back: this node's addresses where the other's were.
		b := packet.New(70000)
		require.NoError(t, b.SetBytes(sent[0].bytes))
		b.SetGSO(sent[0].gso, sent[0].size)
		require.NoError(t, b.SetChecksumPartial(34, 6))
		turn(b.Bytes(), int(sent[0].size))
		got := x.give("ens192", b)
		require.Len(t, got, 10, "%v", x.drops())
		for _, l := range got {
			assert.Equal(t, "veth0", l.dev)
			parse(l.dev, l.bytes, true).sound(t)
		}
		x.must(x.SetLink("veth0", engine.LinkChange{Offloads: engine.Set(packet.OffloadChecksum | packet.OffloadTCP4), Coalesce: engine.Set(true)}))
		require.NoError(t, b.SetBytes(sent[0].bytes))
		b.SetGSO(sent[0].gso, sent[0].size)
		require.NoError(t, b.SetChecksumPartial(34, 6))
		turn(b.Bytes(), int(sent[0].size))
		got = x.give("ens192", b)
		require.Len(t, got, 1, "and put together again")
		assert.Len(t, got[0].bytes, 14+40+14000)
	})
}

// turn makes a UDP superframe of pod A's to pod B one of pod B's to pod A: Ethernet and IPv4 addresses swapped in all headers.
func turn(p []byte, size int) {
	swap := func(a, b []byte) {
		for i := range a {
			a[i], b[i] = b[i], a[i]
		}
	}
	swap(p[0:6], p[6:12])
	swap(p[26:30], p[30:34])
	for at := 42; at < len(p); at += size {
		swap(p[at+8:at+14], p[at+14:at+20])
		swap(p[at+34:at+38], p[at+38:at+42])
	}
}

// TestBehaviourSuperframesLocal: the node itself gets segments.
func TestBehaviourSuperframesLocal(t *testing.T) {
	for _, udp := range []bool{false, true} {
		x := newSupers(t, newRouter)
		s := stream{src: near, dst: eth0Addr, size: 1000, payload: 4500, udp: udp}
		assert.Empty(t, x.give("eth0", s.superframe(t, eth(eth0MAC, nearMAC))))
		got := x.deliveries()
		require.Len(t, got, 5)
		for i, p := range s.segments() {
			for _, b := range [][]byte{p, got[i].raw} {
				if udp {
					clear(b[26:28]) // checksum, which is partial
				} else {
					clear(b[36:38])
				}
			}
			assert.Equal(t, p, got[i].raw)
		}
	}
	t.Run("nobody listens", func(t *testing.T) {
		x := newSupers(t, func(t testing.TB, change ...func(*engine.Config)) *rig {
			return newRouter(t, append(change, func(c *engine.Config) { c.Local = nil })...)
		})
		s := stream{src: near, dst: eth0Addr, size: 1000, payload: 4500}
		got := x.give("eth0", s.superframe(t, eth(eth0MAC, nearMAC)))
		require.Len(t, got, 1, "one reset for all")
		assert.Equal(t, byte(4), got[0].bytes[47], "%x", got[0].bytes)
	})
	t.Run("of a tunnel that does not end here", func(t *testing.T) {
		x := newSupers(t, newRouter)
		s := stream{src: podA, dst: podB, size: 1000, payload: 4500}
		inner := s.piece(0, 0, s.payload)
		outer := datagram{src: near, dst: eth0Addr, dport: portLinux, noSum: true, payload: vxlanHeader(9, ether(mac6(1), mac6(2), etherIPv4, inner))}
		frame := outer.frame(eth0MAC, nearMAC)
		assert.Empty(t, x.give("eth0", s.superframe(t, frame[:len(frame)-len(inner)])))
		got := x.deliveries()
		require.Len(t, got, 5)
		for _, d := range got {
			assert.LessOrEqual(t, len(d.raw), 20+8+8+14+40+1000)
		}
	})
	t.Run("neither TCP nor UDP", func(t *testing.T) {
		for _, protocol := range []uint8{protoICMP, 47} {
			x := newSupers(t, newRouter)
			b := x.buffers(datagram{src: near, dst: eth0Addr, proto: protocol, payload: echo(1, 1, 600)}.frame(eth0MAC, nearMAC))
			b[0].SetGSO(packet.GSOTCP4, 100)
			assert.Empty(t, x.give("eth0", b...))
			assert.Empty(t, x.deliveries())
			assert.Equal(t, map[engine.Reason]uint64{engine.DropMetadata: 1}, x.drops())
		}
	})
	t.Run("loopback", func(t *testing.T) {
		x := newSupers(t, newRouter)
		b := stream{src: eth0Addr, dst: eth0Addr, size: 1000, payload: 4500}.superframe(t, nil)
		require.NoError(t, b.TrimFront(20))
		require.NoError(t, x.Send(b, engine.Send{Dst: addr4(eth0Addr), Protocol: protoTCP}, x.now))
		assert.Len(t, x.deliveries(), 5)
	})
}

// TestBehaviourSuperframesCoalesce: TCP segments leave by a port that wants superframes as one.
func TestBehaviourSuperframesCoalesce(t *testing.T) {
	x := newSupers(t, newRouter)
	s := stream{src: near, dst: far, size: 1460, payload: 14600}
	give := func() []left {
		var frames [][]byte
		for _, p := range s.segments() {
			frames = append(frames, slices.Concat(eth(eth0MAC, nearMAC), p))
		}
		return x.give("eth0", x.buffers(frames...)...)
	}
	require.Len(t, give(), 10)
	set := func(c engine.LinkChange) { x.must(x.SetLink("eth1", c)) }
	set(engine.LinkChange{Offloads: engine.Set(packet.OffloadChecksum | packet.OffloadTCP4)})
	require.Len(t, give(), 10)
	set(engine.LinkChange{Coalesce: engine.Set(true)})
	before, absorbed := x.stats("eth1"), x.Stats().Absorbed
	got := give()
	require.Len(t, got, 1)
	assert.Equal(t, []any{packet.GSOTCP4, uint16(1460), packet.ChecksumPartial, 34}, []any{got[0].gso, got[0].size, got[0].sum, got[0].start})
	want := s.piece(0, 0, s.payload)
	assert.Equal(t, want[44:], got[0].bytes[14+44:], "payload")
	assert.Equal(t, uint16(len(want)), binary.BigEndian.Uint16(got[0].bytes[16:]))
	after := x.stats("eth1")
	assert.Equal(t, uint64(10), after.TxPackets-before.TxPackets, "the device counts what it was given")
	assert.Equal(t, uint64(9), x.Stats().Absorbed-absorbed)
	l, _ := x.Link("eth1")
	assert.True(t, l.Coalesce)
	assert.Equal(t, packet.OffloadChecksum|packet.OffloadTCP4, l.Offloads)
	set(engine.LinkChange{Coalesce: engine.Set(false)})
	require.Len(t, give(), 10)
	set(engine.LinkChange{Coalesce: engine.Set(true), MTU: engine.Set(1500)})
	require.Len(t, give(), 1)
}

// TestBehaviourSuperframesCoalesceUDP: datagrams too, those of tunnels among them, with whatever is in them.
func TestBehaviourSuperframesCoalesceUDP(t *testing.T) {
	for _, udp := range []bool{false, true} {
		x, single := newSupers(t, newFlannel), newSupers(t, newFlannel)
		x.must(x.SetLink("ens192", engine.LinkChange{
			Offloads: engine.Set(packet.OffloadChecksum | packet.OffloadUDP4), CoalesceUDP: engine.Set(true),
		}))
		s := stream{src: podA, dst: podB, size: 1000, payload: 9500, udp: udp}
		give := func(x *supers) []left {
			var batch []*packet.Buffer
			for _, p := range s.segments() {
				b := x.buffers(slices.Concat(eth(cni0MAC, podAMAC), p))[0]
				field := 16
				if udp {
					field = 6
				}
				sum := sum16(uint32(p[9])+uint32(len(p)-20), p[12:20]) // partial, as it comes from a veth device
				binary.BigEndian.PutUint16(b.Bytes()[34+field:], sum)
				require.NoError(t, b.SetChecksumPartial(34, field))
				batch = append(batch, b)
			}
			return x.give("veth0", batch...)
		}
		got, want := give(x), give(single)
		require.Len(t, got, 1)
		require.Len(t, want, 10)
		assert.Equal(t, []any{packet.GSOUDP4, packet.ChecksumPartial, 34}, []any{got[0].gso, got[0].sum, got[0].start})
		pool, err := packet.NewPool(packet.PoolConfig{})
		require.NoError(t, err)
		b := packet.Of(got[0].bytes)
		b.SetGSO(got[0].gso, got[0].size)
		require.NoError(t, b.SetChecksumPartial(34, 6))
		segs, err := gso.Segmenter{Pool: pool}.Fit(b, false, 0, nil)
		require.NoError(t, err)
		var cut []left
		for _, q := range segs {
			parse("ens192", q.Bytes(), true).sound(t)
			cut = append(cut, left{dev: "ens192", bytes: q.Bytes()})
		}
		assert.Equal(t, texted(want), texted(cut))
	}
}

// TestBehaviourSuperframesFaultyConfig names the field.
func TestBehaviourSuperframesFaultyConfig(t *testing.T) {
	r := newRouter(t)
	_, err := r.AddPort(engine.Port{Link: engine.Link{Name: "raw"}, Raw: true})
	r.must(err)
	for _, c := range []struct {
		port engine.Port
		text string
	}{
		{engine.Port{Offloads: packet.OffloadTCP4}, "superframes need checksum too"},
		{engine.Port{Offloads: 1 << 7}, "Offloads are unknown"},
		{engine.Port{Raw: true, Offloads: packet.OffloadVLAN}, "raw ports have no vlan"},
		{engine.Port{Coalesce: true}, "Coalesce needs Offloads to have tcp4"},
		{engine.Port{CoalesceUDP: true}, "CoalesceUDP needs Offloads to have udp4"},
	} {
		c.port.Name = "p"
		_, err := r.AddPort(c.port)
		require.ErrorIs(t, err, engine.ErrInvalid)
		require.ErrorContains(t, err, c.text)
		change := engine.LinkChange{Offloads: &c.port.Offloads, Coalesce: &c.port.Coalesce, CoalesceUDP: &c.port.CoalesceUDP}
		err = r.SetLink(map[bool]string{true: "raw", false: "eth0"}[c.port.Raw], change)
		require.ErrorIs(t, err, engine.ErrInvalid)
		require.ErrorContains(t, err, c.text)
		require.ErrorContains(t, r.SetLink("lo", change), "for ports")
	}
	_, err = r.AddPort(engine.Port{Offloads: packet.OffloadTCP4})
	require.ErrorContains(t, err, "device name", "all faults at once")
	require.ErrorContains(t, err, "superframes need checksum too")
}

// TestBehaviourSuperframesNoBuffers: what cannot be cut is dropped whole, and counted.
func TestBehaviourSuperframesNoBuffers(t *testing.T) {
	x := newSupers(t, func(t testing.TB, change ...func(*engine.Config)) *rig {
		return newRouter(t, append(change, func(c *engine.Config) {
			pool, err := packet.NewPool(packet.PoolConfig{Buffers: 8})
			require.NoError(t, err)
			c.Pool = pool
		})...)
	})
	s := stream{src: near, dst: far, size: 1000, payload: 9000}
	assert.Len(t, x.give("eth0", s.superframe(t, eth(eth0MAC, nearMAC))), 9)
	s.payload = 9001
	assert.Empty(t, x.give("eth0", s.superframe(t, eth(eth0MAC, nearMAC))))
	assert.Equal(t, map[engine.Reason]uint64{engine.DropNoBuffer: 1}, x.drops())
	s.size, s.noDF = 1460, true
	x.setMTU("eth1", 1000)
	s.payload = 14 * 1460
	assert.Empty(t, x.give("eth0", s.superframe(t, eth(eth0MAC, nearMAC))))
	assert.Equal(t, map[engine.Reason]uint64{engine.DropNoBuffer: 1}, x.drops())
	s.dst = eth0Addr
	assert.Empty(t, x.give("eth0", s.superframe(t, eth(eth0MAC, nearMAC))))
	assert.Equal(t, map[engine.Reason]uint64{engine.DropNoBuffer: 1}, x.drops())
	s = stream{src: podA, dst: podB, size: 1410, payload: 20000}
	y := newSupers(t, newFlannel)
	y.offload("ens192", packet.OffloadChecksum|packet.OffloadUDP4)
	var taken [16]*packet.Buffer
	y.large.GetBatch(taken[:])
	assert.Len(t, y.give("veth0", s.superframe(t, eth(cni0MAC, podAMAC))), 15, "no large buffer for a UDP superframe: cut")
	packet.FreeBatch(taken[:])
}

// TestBehaviourSuperframesJumbo: segments may be longer than the pool's buffers.
func TestBehaviourSuperframesJumbo(t *testing.T) {
	x := newSupers(t, newRouter)
	x.setMTU("eth1", 9000)
	s := stream{src: near, dst: far, size: 8960, payload: 60000}
	got := x.give("eth0", s.superframe(t, eth(eth0MAC, nearMAC)))
	require.Len(t, got, 7)
	assert.Len(t, got[0].bytes, 9014)
}

// TestBehaviourSuperframesMalformed: what a driver says of a packet may be wrong.
func TestBehaviourSuperframesMalformed(t *testing.T) {
	for _, c := range []struct {
		name string
		lie  func(*packet.Buffer)
	}{
		{"segments of 0 bytes", func(b *packet.Buffer) { b.SetGSO(packet.GSOTCP4, 0) }},
		{"UDP", func(b *packet.Buffer) { b.SetGSO(packet.GSOUDP4, 1000) }},
		{"a type of the future", func(b *packet.Buffer) { b.SetGSO(77, 1000) }},
		{"checksum elsewhere", func(b *packet.Buffer) { _ = b.SetChecksumPartial(70, 16) }},
		{"no superframe, checksum beyond the end", func(b *packet.Buffer) {
			_ = b.SetChecksumPartial(b.Len()-18, 16)
			b.SetGSO(packet.GSONone, 0)
			_ = b.Truncate(1014)
			p := b.Bytes()
			binary.BigEndian.PutUint16(p[16:], 1000)
			copy(p, resummed(p))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newSupers(t, newRouter)
			b := stream{src: near, dst: far, size: 1000, payload: 1400}.superframe(t, eth(eth0MAC, nearMAC))
			c.lie(b)
			assert.Empty(t, x.give("eth0", b))
			assert.Equal(t, map[engine.Reason]uint64{engine.DropMetadata: 1}, x.drops())
			assert.Equal(t, uint64(1), x.stats("eth1").TxDropped)
		})
	}
}

// TestBehaviourSuperframesTooLong: one that leaves no room for outer headers goes into the tunnel in segments.
func TestBehaviourSuperframesTooLong(t *testing.T) {
	for _, w := range ways(t) {
		if w.tunnel == 0 && w.name != "IPIP" {
			continue
		}
		x, single := newSupers(t, w.maker), newSupers(t, w.maker)
		s := w.stream(65535-40, false)
		got := x.give(w.in, s.superframe(t, w.front))
		var want []left
		for _, p := range s.segments() {
			want = append(want, single.give(w.in, single.buffers(slices.Concat(w.front, p))...)...)
		}
		require.Equal(t, texted(want), texted(got), w.name)
	}
}

// TestBehaviourSuperframesSeen: taps of ports see what leaves, those of devices inside what passes there; a trace says that a
// superframe was cut.
func TestBehaviourSuperframesSeen(t *testing.T) {
	x := newSupers(t, newFlannel)
	lens := map[string][]int{}
	for _, dev := range []string{"veth0", "cni0", "flannel.1", "ens192"} {
		x.must(x.Tap(dev, func(_ uint32, _ bool, p []byte, _ time.Duration) { lens[dev] = append(lens[dev], len(p)) }))
	}
	trace, err := x.Trace(engine.TraceConfig{})
	x.must(err)
	s := stream{src: podA, dst: podB, size: 1000, payload: 2500}
	require.Len(t, x.give("veth0", s.superframe(t, eth(cni0MAC, podAMAC))), 3)
	assert.Equal(t, map[string][]int{
		"veth0": {2554}, "cni0": {2554}, "flannel.1": {2554}, "ens192": {1104, 1104, 604},
	}, lens)
	var cut []string
	for step := range trace.All() {
		if step.Stage == engine.StageSegment {
			cut = append(cut, step.String())
		}
	}
	assert.Equal(t, []string{"segment    ens192: 3 packets"}, cut)
}

// TestBehaviourSuperframesAllocations: nothing is allocated.
func TestBehaviourSuperframesAllocations(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	for _, w := range ways(t) {
		for _, c := range []struct {
			name     string
			takes    packet.Offloads
			coalesce bool
			mtu      int
		}{
			{"cut", 0, false, 1500},
			{"bundled", packet.OffloadChecksum | packet.OffloadUDP4, false, 1500},
			{"whole", packet.OffloadChecksum | packet.OffloadTCP4 | packet.OffloadTunnelTCP4, false, 1500},
			{"too big", 0, false, 1000},
			{"coalesced", packet.OffloadChecksum | packet.OffloadTCP4, true, 1500},
		} {
			if w.out == "" {
				continue
			}
			t.Run(w.name+" "+c.name, func(t *testing.T) {
				r := w.maker(t, still)
				r.must(r.SetLink(w.out, engine.LinkChange{Offloads: &c.takes, Coalesce: &c.coalesce, MTU: &c.mtu}))
				s := w.stream(60000, false)
				b := s.superframe(t, w.front)
				p := bytes.Clone(b.Bytes())
				batch := make([]*packet.Buffer, 1)
				assert.Zero(t, testing.AllocsPerRun(50, func() {
					_ = b.SetBytes(p)
					_ = b.SetChecksumPartial(34, 16)
					b.SetGSO(packet.GSOTCP4, uint16(s.size))
					batch[0] = b
					r.Process(r.Index(w.in), batch, r.now)
				}))
				r.check()
			})
		}
	}
}
