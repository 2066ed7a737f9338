// What happens in the midst of a burst: callbacks that send packets or change the node, and what packets before have changed.
package engine_test

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/packet"
)

// toNode is a datagram that Config.Local is given.
func toNode() []byte { return toFar(datagram{dst: eth0Addr, dport: 4000}) }

// TestBehaviourOutputSends lets Output send more by the port that it is called for: what it was given stays as it is meanwhile.
func TestBehaviourOutputSends(t *testing.T) {
	var r *rig
	answers := 0
	r = newRouter(t, func(c *engine.Config) {
		c.Output = func(port uint32, batch []*packet.Buffer) {
			for _, b := range batch {
				s := parse(r.Name(port), b.Bytes(), true)
				r.out = append(r.out, s)
				b.Free()
				if s.src() != near {
					continue
				}
				for range 2 {
					answers++
					assert.NoError(r.t, r.Send(r.buffers([]byte("answer"))[0], engine.Send{Dst: addr4(far), Protocol: 200}, r.now))
				}
			}
		}
	})
	for range 3 {
		var ids []uint16
		for _, s := range r.in("eth0", toFar(datagram{id: 1}), toFar(datagram{id: 2}), toFar(datagram{id: 3})) {
			if s.src() == near {
				ids = append(ids, s.ip.Id)
			}
		}
		assert.Equal(t, []uint16{1, 2, 3}, ids)
		assert.Len(t, r.out, 9)
	}
	assert.Equal(t, 18, answers)
}

// TestBehaviourChangesWithinABurst makes control calls from Config.Local and from a tap, between packets of a burst that went
// the same way before: those behind find the tables changed. What concerns devices holds from the next burst on, and is not
// forgotten over what this one finds out.
func TestBehaviourChangesWithinABurst(t *testing.T) {
	var r *rig
	var change func()
	do := func() {
		if change != nil {
			change()
			change = nil
		}
	}
	callbacks := map[string]struct {
		frame func() []byte
		tap   string
	}{
		"Local": {frame: toNode},
		"Tap":   {frame: func() []byte { return toFar(datagram{dst: "10.3.0.9"}) }, tap: "eth3"},
	}
	other := mac6(0x77)
	for name, callback := range callbacks {
		for _, c := range []struct {
			name   string
			change func()
			now    bool // within the burst
			want   func(s *seen) bool
		}{
			{
				"neighbour", func() { r.must(r.ReplaceNeigh(engine.Neigh{Addr: addr4(far), Dev: "eth1", MAC: other})) }, true,
				func(s *seen) bool { return s.dstMAC() == other.String() },
			},
			{"route", func() {
				r.must(r.AddRoute(engine.Route{Prefix: prefix(far + "/32"), Via: addr4("10.2.0.9"), Dev: "eth2"}))
			}, true, func(s *seen) bool { return s.dev == "eth2" }},
			{"MTU", func() { r.setMTU("eth1", 1000) }, false, func(s *seen) bool { return s.mf() || s.ip.FragOffset > 0 }},
		} {
			t.Run(name+" "+c.name, func(t *testing.T) {
				r = newRouter(t, func(config *engine.Config) {
					config.Local = func(_ *engine.Worker, d engine.Delivery) bool {
						do()
						d.Buffer.Free()
						return true
					}
				})
				r.port("eth2", mac6(0x03), "10.2.0.1/24")
				r.neigh("10.2.0.9", mac6(0x39), "eth2")
				r.port("eth3", mac6(0x04), "10.3.0.1/24")
				r.neigh("10.3.0.9", mac6(0x49), "eth3")
				if callback.tap != "" {
					r.must(r.Tap(callback.tap, func(uint32, bool, []byte, time.Duration) { do() }))
				}
				frame := toFar(datagram{size: 1200})
				r.in("eth0", frame) // whatever is resolved once
				change = c.change
				var got []bool
				for _, s := range r.in("eth0", frame, callback.frame(), frame, frame) {
					if s.dst() == far {
						got = append(got, c.want(s))
					}
				}
				assert.Equal(t, []bool{false, c.now, c.now}, got, "changed")
				assert.True(t, c.want(r.in("eth0", frame)[0]), "changed in the next burst")
			})
		}
	}
}

// TestBehaviourDeviceChangeDuringABurst changes the MTU of a tunnel's underlay device in a burst in which the way by it is looked up after
// the change, as it was before: that is forgotten.
func TestBehaviourDeviceChangeDuringABurst(t *testing.T) {
	for name, frame := range map[string]func(datagram) []byte{
		"routed": fromPodA,
		"bridged": func(d datagram) []byte {
			d.src, d.dst = podA, podB
			return d.frame(mac6(0xf7), podAMAC)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var r *rig
			change := false
			r = newFlannel(t, func(c *engine.Config) {
				c.Local = func(_ *engine.Worker, d engine.Delivery) bool {
					if change {
						r.setMTU("ens192", 1300)
					}
					change = false
					d.Buffer.Free()
					return true
				}
			})
			r.vxlan("vx", mac6(0x51), engine.VXLAN{VNI: 7, Local: addr4("172.16.100.101"), Device: "ens192"})
			r.must(r.SetMaster("vx", "cni0"))
			r.fdb(mac6(0xf7), "vx", "172.16.100.102")
			r.must(r.AddFDB(engine.FDBEntry{MAC: mac6(0xf7), Dev: "vx", Master: true}))
			change = true
			local := datagram{src: podA, dst: "10.244.1.1", dport: 4000}.frame(cni0MAC, podAMAC)
			for _, s := range r.in("veth0", local, frame(datagram{size: 1300}), frame(datagram{size: 1300})) {
				assert.False(t, s.mf(), "fragments in the burst")
			}
			assert.False(t, change)
			assert.Len(t, r.in("veth0", frame(datagram{size: 1300})), 2, "fragments in the next burst")
		})
	}
}

// TestBehaviourPaddingHasNoPorts routes a packet without ports, in a frame that is padded, over several ways: what is behind the
// packet does not count.
func TestBehaviourPaddingHasNoPorts(t *testing.T) {
	r := newFork(t, [2]uint16{1, 1})
	ways := map[string]bool{}
	for n := range byte(64) {
		frame := ether(eth0MAC, nearMAC, etherIPv4, datagram{src: near, dst: "10.5.0.1", proto: protoTCP}.packet())
		padding := make([]byte, 26)
		padding[0], padding[3] = n, n
		ways[r.single("eth0", append(frame, padding...)).dev] = true
	}
	assert.Len(t, ways, 1)
}

// TestBehaviourManyRemoteEnds sends to more remote ends than are kept: it works, and no memory stays behind.
func TestBehaviourManyRemoteEnds(t *testing.T) {
	frames := 0
	r := newFlannel(t, func(c *engine.Config) {
		c.MaxAdjacencies = 4
		c.Output = func(_ uint32, batch []*packet.Buffer) {
			frames += len(batch)
			packet.FreeBatch(batch)
		}
	})
	for i := range byte(8) {
		gateway, node := netip.AddrFrom4([4]byte{10, 9, i, 0}), netip.AddrFrom4([4]byte{172, 16, 100, 110 + i})
		r.neigh(node.String(), mac6(0x80+i), "ens192")
		r.neigh(gateway.String(), mac6(0x90+i), "flannel.1")
		r.fdb(mac6(0x90+i), "flannel.1", node.String())
		r.must(r.AddRoute(engine.Route{Prefix: netip.PrefixFrom(gateway, 24), Via: gateway, Dev: "flannel.1", Onlink: true}))
	}
	scan := func(n int) {
		for i := range n {
			dst := netip.AddrFrom4([4]byte{10, 9, byte(i % 8), 1}).String()
			r.in("veth0", datagram{src: podA, dst: dst}.frame(cni0MAC, podAMAC))
		}
	}
	scan(100)
	before := heap()
	const packets = 10000
	scan(packets)
	assert.Less(t, int(heap())-int(before), packets*16, "bytes that stay allocated")
	assert.Equal(t, 100+packets, frames)
}

// heap returns how many bytes are in use.
func heap() uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// TestBehaviourPathMTUInsideATunnel lowers the path MTU of the outer one of two tunnels: the inner one hears of it, and tells whoever
// sends what is too large now.
func TestBehaviourPathMTUInsideATunnel(t *testing.T) {
	r := newRussianDoll(t, 2)
	frame := toFar(datagram{dst: "10.50.2.1", size: 1400, df: true})
	s := r.single("eth0", frame)
	r.in("eth1", datagram{
		src: far, dst: "10.1.0.1", proto: protoICMP, payload: icmpError(3, 4, 1300, s.packet()[:28]),
	}.frame(eth1MAC, farMAC))
	r.in("eth0", frame) // finds out how little gets through tun1
	r.single("eth0", frame).wantICMP(t, 3, 4, eth0Addr, near)
	assert.Equal(t, uint16(1300-20-20), r.out[0].icmp.Seq, "MTU")
}

// TestBehaviourHeaderInOptions hides an IPv4 header in the options of an outer packet, where that of the inner one is in others.
func TestBehaviourHeaderInOptions(t *testing.T) {
	r := newIPIP(t, engine.IPIP{})
	r.neigh("10.244.0.4", mac6(0x99), "pods")
	for _, pod := range []string{podHere, "10.244.0.4"} {
		r.single("ens33", inIPIP(ipipThere, datagram{src: podThere, dst: pod}.packet()))
	}
	inner := datagram{src: podThere, dst: podHere}.packet()
	fake := datagram{src: podThere, dst: "10.244.0.4", tos: 20, proto: 200}.packet() // an option 69 of 20 bytes
	f := inIPIP(ipipThere, inner)
	f = append(f[:34:34], append(fake, inner...)...)
	f[14], f[16], f[17] = 0x4a, byte((len(f)-14)>>8), byte(len(f)-14)
	s := r.single("ens33", resummed(f))
	assert.Equal(t, podHere+" at "+podHereMAC.String(), s.dst()+" at "+s.dstMAC())
}

// TestBehaviourStationMovesAndIsAnswered lets stations turn up elsewhere with packets that are routed back to them: they follow
// their station.
func TestBehaviourStationMovesAndIsAnswered(t *testing.T) {
	t.Run("behind a VTEP", func(t *testing.T) {
		r := newRouter(t)
		r.vxlan("vx", mac6(0xe1), engine.VXLAN{VNI: 7, Local: addr4(eth0Addr)})
		r.addr("vx", "10.77.0.1/24")
		r.neigh("10.77.0.2", mac6(0xf1), "vx")
		r.route("10.78.0.0/16", "10.77.0.2", "vx")
		for i := range byte(8) {
			vtep := netip.AddrFrom4([4]byte{10, 0, 0, 100 + i%3}).String()
			if i < 3 {
				r.neigh(vtep, mac6(0x60+i), "eth0")
			}
			inner := datagram{src: "10.77.0.2", dst: "10.78.0.1"}.frame(mac6(0xe1), mac6(0xf1))
			outer := datagram{src: vtep, dst: eth0Addr, dport: portLinux, noSum: true, payload: vxlanHeader(7, inner)}.frame(eth0MAC, mac6(0x60+i%3))
			for _, s := range r.in("eth0", outer, outer) {
				assert.Equal(t, vtep, s.dst())
			}
			assert.Len(t, r.out, 2)
		}
	})
	t.Run("at a port", func(t *testing.T) {
		r := newBridge(t)
		r.SetForwarding(true)
		r.addr("br0", "10.77.0.1/24")
		r.neigh("10.77.0.2", sta0, "br0")
		r.route("10.78.0.0/16", "10.77.0.2", "br0")
		l, _ := r.Link("br0")
		for i := range 8 {
			port := []string{"p0", "p1"}[i%2]
			f := datagram{src: "10.77.0.2", dst: "10.78.0.1"}.frame(l.MAC, sta0)
			r.in(port, f, f)
			assert.Equal(t, map[engine.Reason]uint64{}, r.drops())
			assert.Equal(t, []string{port, port}, devices(r.out))
		}
	})
}
