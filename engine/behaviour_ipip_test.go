// Behaviours 11 and 12: IPIP tunnels, and why they do not listen to everybody (CVE-2020-10136).
package engine_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/tunnel"
)

// A node of a Flannel cluster with the ipip backend, without its bridge.
//
//	pod 10.244.0.3 ── pods 10.244.0.1/24 │ tun (flannel.ipip) │ ens33 172.12.1.11 ══ .12, pod 10.244.1.7
const ipipHere, ipipThere, podHere, podThere = "172.12.1.11", "172.12.1.12", "10.244.0.3", "10.244.1.7"

var (
	ens33MAC   = ethernet.MustParseMAC("00:0c:29:bd:fb:4a")
	k8s2MAC    = ethernet.MustParseMAC("00:0c:29:e2:bf:86")
	podsMAC    = mac6(0x31)
	podHereMAC = ethernet.MustParseMAC("26:32:89:a6:66:6e")
)

// newIPIP makes the node with a tunnel as i says; without a remote end it accepts from the other node.
func newIPIP(t testing.TB, i engine.IPIP, change ...func(*engine.Config)) *rig {
	t.Helper()
	r := newRig(t, change...)
	r.SetForwarding(true)
	r.port("ens33", ens33MAC, ipipHere+"/24")
	r.neigh(ipipThere, k8s2MAC, "ens33")
	r.port("pods", podsMAC, "10.244.0.1/24")
	r.neigh(podHere, podHereMAC, "pods")
	i.Local = addr4(ipipHere)
	if !i.Remote.IsValid() && !i.AnyPeer {
		i.Peers = []netip.Addr{addr4(ipipThere)}
	}
	r.ipip("tun", i, "10.244.0.0/32")
	r.must(r.AddRoute(engine.Route{Prefix: prefix("10.244.1.0/24"), Via: addr4(ipipThere), Dev: "tun", Onlink: true}))
	return r
}

// fromPod is a packet of the pod here to the pod there.
func fromPod(d datagram) []byte {
	d.src, d.dst = podHere, podThere
	return d.frame(podsMAC, podHereMAC)
}

// inIPIP is an IPIP packet to this node, as it arrives on ens33.
func inIPIP(from string, inner []byte) []byte {
	return datagram{src: from, dst: ipipHere, proto: protoIPIP, payload: inner}.frame(ens33MAC, k8s2MAC)
}

func TestBehaviour11Encapsulation(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			r := newIPIP(t, engine.IPIP{NoPMTUDisc: true}, follow(p))
			frame := fromPod(datagram{proto: protoICMP, id: 9, df: true, payload: echo(1, 1, 56)})
			s := r.one("pods", frame)
			require.Len(t, s.raw, 118)
			assert.Equal(t, k8s2MAC.String()+" < "+ens33MAC.String(), s.dstMAC()+" < "+s.srcMAC())
			assert.Equal(t, ipipHere+" > "+ipipThere, s.src()+" > "+s.dst())
			inner := append([]byte{}, frame[14:]...)
			inner[8]--
			assert.Equal(t, resummed(ether(ethernet.MAC{}, ethernet.MAC{}, etherIPv4, inner))[14:], s.inner.raw)
			assert.Equal(t, engine.LinkStats{TxPackets: 1, TxBytes: 84}, r.stats("tun"))
		})
	}
}

func TestBehaviour11TimeToLive(t *testing.T) {
	for _, c := range []struct{ tunnel, inner, want uint8 }{{0, 64, 63}, {0, 2, 1}, {32, 64, 32}, {255, 2, 255}} {
		s := newIPIP(t, engine.IPIP{TTL: c.tunnel}).one("pods", fromPod(datagram{ttl: c.inner}))
		assert.Equal(t, c.want, s.ip.TTL, "ttl %d, inner TTL %d", c.tunnel, c.inner)
		assert.Equal(t, c.inner-1, s.inner.ip.TTL)
	}
}

func TestBehaviour11TypeOfService(t *testing.T) {
	marks := map[tunnel.Profile][4]uint8{
		tunnel.Linux: {ectNone, ect1, ect0, ect0},
		tunnel.RFC:   {ectNone, ect1, ect0, ectCE},
	}
	for _, p := range profiles {
		for _, c := range []struct {
			i    engine.IPIP
			want uint8
		}{{engine.IPIP{}, 0}, {engine.IPIP{InheritTOS: true}, 0xb8}, {engine.IPIP{TOS: 0x48}, 0x48}} {
			r := newIPIP(t, c.i, follow(p))
			for ecn, mark := range marks[p] {
				s := r.one("pods", fromPod(datagram{tos: 0xb8 | uint8(ecn)}))
				assert.Equal(t, c.want|mark, s.ip.TOS, "%s, %+v, inner ECN %02b", p, c.i, ecn)
				assert.Equal(t, 0xb8|uint8(ecn), s.inner.ip.TOS)
			}
		}
	}
}

func TestBehaviour11DontFragmentAndID(t *testing.T) {
	for _, c := range []struct{ nopmtudisc, inner, want bool }{
		{false, false, true},
		{false, true, true},
		{true, false, false},
		{true, true, true},
	} {
		r := newIPIP(t, engine.IPIP{NoPMTUDisc: c.nopmtudisc})
		last := uint16(0)
		for i := range 4 {
			s := r.one("pods", fromPod(datagram{df: c.inner}))
			assert.Equal(t, c.want, s.df(), "nopmtudisc %t, inner DF %t", c.nopmtudisc, c.inner)
			assert.NotZero(t, s.ip.Id)
			assert.True(t, i == 0 || int16(s.ip.Id-last) > 0, "id %d after %d", s.ip.Id, last)
			last = s.ip.Id
		}
	}
}

func TestBehaviour11PathMTU(t *testing.T) {
	narrow := func(r *rig) {
		r.must(r.AddRoute(engine.Route{Prefix: prefix(ipipThere + "/32"), Dev: "ens33", MTU: 1400}))
	}
	t.Run("of the device", func(t *testing.T) {
		r := newIPIP(t, engine.IPIP{})
		s := r.one("pods", fromPod(datagram{df: true, size: 1481}))
		s.wantICMP(t, 3, 4, "10.244.0.1", podHere)
		assert.Equal(t, uint16(1480), s.icmp.Seq)
		assert.Len(t, r.one("pods", fromPod(datagram{df: true, size: 1480})).raw, 1514)
	})
	t.Run("pmtudisc: less on the way outside", func(t *testing.T) {
		r := newIPIP(t, engine.IPIP{})
		narrow(r)
		s := r.one("pods", fromPod(datagram{df: true, size: 1381}))
		s.wantICMP(t, 3, 4, "10.244.0.1", podHere)
		assert.Equal(t, uint16(1380), s.icmp.Seq)
		assert.Len(t, r.one("pods", fromPod(datagram{df: true, size: 1380})).raw, 1414)
	})
	t.Run("nopmtudisc: the outer packet is cut", func(t *testing.T) {
		r := newIPIP(t, engine.IPIP{NoPMTUDisc: true})
		narrow(r)
		out := r.in("pods", fromPod(datagram{size: 1480, id: 5}))
		require.Len(t, out, 2)
		whole := append(append([]byte{}, out[0].ip.Payload...), out[1].ip.Payload...)
		assert.Equal(t, uint16(1396), out[0].ip.Length)
		assert.True(t, out[0].mf())
		inner := parse("", whole, false)
		inner.sound(t)
		assert.Equal(t, uint16(1480), inner.ip.Length)
		assert.Equal(t, uint8(63), inner.ip.TTL)
	})
	t.Run("nopmtudisc, but the inner packet's DF is the outer one's", func(t *testing.T) {
		r := newIPIP(t, engine.IPIP{NoPMTUDisc: true})
		narrow(r)
		s := r.one("pods", fromPod(datagram{df: true, size: 1381}))
		s.wantICMP(t, 3, 4, "10.244.0.1", podHere)
		assert.Equal(t, uint16(1380), s.icmp.Seq)
	})
}

func TestBehaviour12RemoteAny(t *testing.T) {
	r := newIPIP(t, engine.IPIP{})
	r.neigh("172.12.1.13", mac6(0x13), "ens33")
	r.must(r.AddRoute(engine.Route{Prefix: prefix("10.244.2.0/24"), Via: addr4("172.12.1.13"), Dev: "tun", Onlink: true}))
	assert.Equal(t, ipipThere, r.one("pods", fromPod(datagram{})).dst())
	s := r.one("pods", datagram{src: podHere, dst: "10.244.2.8"}.frame(podsMAC, podHereMAC))
	assert.Equal(t, "172.12.1.13", s.dst(), "the gateway is the outer destination")
	assert.Equal(t, mac6(0x13).String(), s.dstMAC())

	// Without a gateway, Linux takes the destination itself (ip_tunnel_xmit: rt_nexthop); it leads back into the tunnel here.
	r.route("10.244.9.0/24", "", "tun")
	out := r.in("pods", datagram{src: podHere, dst: "10.244.9.8"}.frame(podsMAC, podHereMAC))
	for _, s := range out {
		assert.NotEqual(t, "ens33", s.dev)
	}
	assert.Equal(t, uint64(1), r.dropCount())
}

func TestBehaviour12LookupOrder(t *testing.T) {
	r := newRig(t)
	r.SetForwarding(true)
	r.port("eth0", underMAC, "172.16.0.1/24", "172.16.0.11/24")
	r.port("pods", podsMAC, "10.244.0.1/24")
	r.neigh(podHere, podHereMAC, "pods")
	r.ipip("both", engine.IPIP{Local: addr4("172.16.0.1"), Remote: addr4("172.16.0.2")})
	r.ipip("remote", engine.IPIP{Remote: addr4("172.16.0.2")})
	r.ipip("local", engine.IPIP{Local: addr4("172.16.0.1"), AnyPeer: true})
	r.ipip("any", engine.IPIP{AnyPeer: true})
	packet := func(dst, src string) []byte {
		inner := datagram{src: podThere, dst: podHere, size: 40}.packet()
		return datagram{src: src, dst: dst, proto: protoIPIP, payload: inner}.frame(underMAC, mac6(2))
	}
	for _, dev := range []string{"both", "remote", "local", "any"} { // so that the way back to the inner source leaves somewhere
		r.must(r.AppendRoute(engine.Route{Prefix: prefix("10.244.1.0/24"), Dev: dev}))
	}
	took := func(dst, src string) (dev string) {
		before := map[string]uint64{}
		names := []string{"both", "remote", "local", "any"}
		for _, n := range names {
			if _, ok := r.Link(n); ok {
				before[n] = r.stats(n).RxPackets
			}
		}
		r.one("eth0", packet(dst, src))
		for n, old := range before {
			if r.stats(n).RxPackets > old {
				dev += n
			}
		}
		return dev
	}
	assert.Equal(t, "both", took("172.16.0.1", "172.16.0.2"))
	assert.Equal(t, "remote", took("172.16.0.11", "172.16.0.2"))
	assert.Equal(t, "local", took("172.16.0.1", "172.16.0.3"))
	assert.Equal(t, "any", took("172.16.0.11", "172.16.0.3"))
	for _, next := range []struct{ gone, then string }{{"both", "remote"}, {"remote", "local"}, {"local", "any"}} {
		r.must(r.DeleteLink(next.gone))
		assert.Equal(t, next.then, took("172.16.0.1", "172.16.0.2"), "without %s", next.gone)
	}
	r.must(r.DeleteLink("any"))
	r.in("eth0", packet("172.16.0.1", "172.16.0.2"))
	assert.Equal(t, map[engine.Reason]uint64{engine.DropTunnelNone: 1}, r.drops())
}

func TestBehaviour12NeverWithTTL0(t *testing.T) {
	for _, p := range profiles {
		r := newIPIP(t, engine.IPIP{}, follow(p))
		r.out = nil
		d := datagram{src: "10.244.0.1", dst: podThere, noTTL: true}
		_ = r.SendPacket(r.buffers(d.packet())[0], r.now)
		assert.Empty(t, r.out, "%s", p)
		assert.Equal(t, uint64(1), r.dropCount())
		r.check()
	}
}

// TestBehaviour12SourceIsAnEndOfTheTunnel is refused by RFC 2003 section 4 ("the source address of the datagram matches the
// router's own IP address on any of its network interfaces", or the tunnel's exit); Linux carries it.
func TestBehaviour12SourceIsAnEndOfTheTunnel(t *testing.T) {
	for _, src := range []string{ipipHere, ipipThere} {
		for _, p := range profiles {
			t.Run(p.String()+" "+src, func(t *testing.T) {
				r := newIPIP(t, engine.IPIP{}, follow(p))
				send := func() {
					r.out = nil
					if src == ipipHere {
						_ = r.SendPacket(r.buffers(datagram{src: src, dst: podThere}.packet())[0], r.now)
						return
					}
					r.in("pods", datagram{src: src, dst: podThere}.frame(podsMAC, podHereMAC))
				}
				send()
				r.check()
				if p == tunnel.Linux {
					require.Len(t, r.out, 1)
					assert.Equal(t, src, r.out[0].inner.src())
					return
				}
				assert.Empty(t, r.out)
				assert.Equal(t, map[engine.Reason]uint64{engine.DropTunnelLoop: 1}, r.drops())
			})
		}
	}
}

// outerError reports a packet that left by ens33 to this node, from a router on the underlay, with a quote of n bytes.
func outerError(typ, code uint8, rest uint16, sent *seen, n int) []byte {
	body := icmpError(typ, code, rest, sent.packet()[:n])
	return datagram{src: "172.12.1.254", dst: ipipHere, proto: protoICMP, payload: body}.frame(ens33MAC, mac6(0xfe))
}

func TestBehaviour12ErrorsFromInsideTheTunnel(t *testing.T) {
	there := engine.IPIP{Remote: addr4(ipipThere)}
	frame := fromPod(datagram{size: 100})
	for _, c := range []struct {
		name      string
		i         engine.IPIP
		typ, code uint8
		told      bool
	}{
		{"host unreachable", there, 3, 1, true},
		{"net unreachable", there, 3, 0, true},
		{"remote any: host unreachable", engine.IPIP{}, 3, 1, false},
		// The pod sees to its TTL itself if the tunnel inherits it (ipip_err).
		{"ttl inherit: time exceeded", there, 11, 0, false},
		{"ttl 32: time exceeded", engine.IPIP{Remote: addr4(ipipThere), TTL: 32}, 11, 0, true},
	} {
		for _, quote := range []int{28, 100} {
			t.Run(fmt.Sprintf("%s, quote of %d", c.name, quote), func(t *testing.T) {
				r := newIPIP(t, c.i)
				sent := r.one("pods", frame)
				assert.Empty(t, r.in("ens33", outerError(c.typ, c.code, 0, sent, quote)))

				out := r.in("pods", frame)
				require.Len(t, on(out, "ens33"), 1, "the next packet is still sent")
				errs := on(out, "pods")
				if !c.told {
					assert.Empty(t, errs)
					return
				}
				require.Len(t, errs, 1)
				errs[0].wantICMP(t, 3, 1, "10.244.0.1", podHere)
				assert.Equal(t, []string{"ens33"}, devices(r.in("pods", frame)), "once")

				r.in("ens33", outerError(c.typ, c.code, 0, sent, quote))
				r.wait(31 * time.Second) // IPTUNNEL_ERR_TIMEO
				assert.Equal(t, []string{"ens33"}, devices(r.in("pods", frame)), "forgotten")
			})
		}
	}
	t.Run("quotes a packet that this tunnel never sent", func(t *testing.T) {
		r := newIPIP(t, there)
		stray := datagram{src: ipipHere, dst: "172.12.1.77", proto: protoIPIP, payload: frame[14:]}.packet()
		report := datagram{src: "172.12.1.254", dst: ipipHere, proto: protoICMP, payload: icmpError(3, 1, 0, stray)}
		assert.Empty(t, r.in("ens33", report.frame(ens33MAC, mac6(0xfe))))
		assert.Equal(t, []string{"ens33"}, devices(r.in("pods", frame)))
	})
}

// TestBehaviour12LearnedPathMTU shows from the second packet at the latest.
func TestBehaviour12LearnedPathMTU(t *testing.T) {
	r := newIPIP(t, engine.IPIP{Remote: addr4(ipipThere)})
	big := fromPod(datagram{df: true, size: 1450})
	sent := r.one("pods", big)
	assert.Empty(t, r.in("ens33", outerError(3, 4, 1400, sent, 28)))
	r.in("pods", big)
	s := r.one("pods", big)
	s.wantICMP(t, 3, 4, "10.244.0.1", podHere)
	assert.Equal(t, uint16(1380), s.icmp.Seq)
	r.wait(10*time.Minute + time.Second) // net.ipv4.route.mtu_expires
	assert.Equal(t, "ens33", r.one("pods", big).dev, "forgotten")
}

func TestBehaviour12PathMTUBelowTheLeast(t *testing.T) {
	r := newIPIP(t, engine.IPIP{Remote: addr4(ipipThere)})
	sent := r.one("pods", fromPod(datagram{df: true, size: 800}))
	r.in("ens33", outerError(3, 4, 68, sent, 28)) // net.ipv4.route.min_pmtu is 552
	r.in("pods", fromPod(datagram{df: true, size: 800}))
	s := r.one("pods", fromPod(datagram{df: true, size: 800}))
	s.wantICMP(t, 3, 4, "10.244.0.1", podHere)
	assert.Equal(t, uint16(552-20), s.icmp.Seq, "nobody may make packets smaller than min_pmtu")
}

func TestBehaviour12Decapsulation(t *testing.T) {
	inner := datagram{src: podThere, dst: podHere, df: true, size: 84}.packet()
	t.Run("delivers", func(t *testing.T) {
		r := newIPIP(t, engine.IPIP{})
		s := r.one("ens33", inIPIP(ipipThere, inner))
		assert.Equal(t, "pods", s.dev)
		assert.Equal(t, podHereMAC.String(), s.dstMAC())
		assert.Equal(t, uint8(63), s.ip.TTL)
		assert.Equal(t, engine.LinkStats{RxPackets: 1, RxBytes: 84}, r.stats("tun"))
	})
	t.Run("from outer fragments", func(t *testing.T) {
		for _, order := range [][]int{{0, 1}, {1, 0}} {
			parts := [][]byte{
				datagram{src: ipipThere, dst: ipipHere, proto: protoIPIP, id: 6, mf: true, payload: inner[:48]}.frame(ens33MAC, k8s2MAC),
				datagram{src: ipipThere, dst: ipipHere, proto: protoIPIP, id: 6, offset: 48, payload: inner[48:]}.frame(ens33MAC, k8s2MAC),
			}
			r := newIPIP(t, engine.IPIP{})
			assert.Empty(t, r.in("ens33", parts[order[0]]))
			assert.Equal(t, inner[20:], r.one("ens33", parts[order[1]]).ip.Payload)
		}
	})
	t.Run("congestion marks", func(t *testing.T) {
		for marks, want := range decapECN {
			r := newIPIP(t, engine.IPIP{})
			in := datagram{src: podThere, dst: podHere, tos: 0x28 | marks[1]}.packet()
			frame := resummed(patched(inIPIP(ipipThere, in), 15, marks[0]))
			if want < 0 {
				r.refused(engine.DropTunnelECN, "ens33", frame)
				assert.Equal(t, uint64(1), r.stats("tun").RxErrors)
				continue
			}
			assert.Equal(t, 0x28|uint8(want), r.one("ens33", frame).ip.TOS, "outer %02b inner %02b", marks[0], marks[1])
		}
	})
	for _, c := range []struct {
		name  string
		inner []byte
		why   []engine.Reason
	}{
		{"nothing inside", nil, []engine.Reason{engine.DropTunnelInner, engine.DropIPShort}},
		{"19 bytes inside", inner[:19], []engine.Reason{engine.DropTunnelInner, engine.DropIPShort}},
		{"IPv6 inside", patched(inner, 0, 0x60), []engine.Reason{engine.DropTunnelInner, engine.DropIPHeader}},
		{"inner checksum wrong", patched(inner, 10, ^inner[10]), []engine.Reason{engine.DropIPChecksum}},
		{"inner packet cut short", inner[:80], []engine.Reason{engine.DropTunnelInner, engine.DropIPTruncated}},
		{"inner source is this node's", datagram{src: "10.244.0.1", dst: podHere}.packet(), []engine.Reason{engine.DropMartianSource}},
		{"inner source is loopback", datagram{src: "127.0.0.1", dst: podHere}.packet(), []engine.Reason{engine.DropMartianSource}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newIPIP(t, engine.IPIP{})
			assert.Empty(t, r.in("ens33", inIPIP(ipipThere, c.inner)))
			drops := r.drops()
			require.Len(t, drops, 1)
			for why := range drops {
				assert.Contains(t, c.why, why, "dropped as %s", why.Name())
			}
		})
	}
}

// TestBehaviour12UnknownSourcesAreNotHeard is CVE-2020-10136: a tunnel end that takes packets from everybody lets anybody inject
// packets with any source.
func TestBehaviour12UnknownSourcesAreNotHeard(t *testing.T) {
	inner := datagram{src: "192.0.2.66", dst: podHere, size: 60}.packet()
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			r := newIPIP(t, engine.IPIP{}, follow(p))
			r.route("192.0.2.0/24", ipipThere, "ens33")
			r.refused(engine.DropTunnelPeer, "ens33", inIPIP("172.12.1.66", inner))
			assert.Zero(t, r.stats("tun").RxPackets)
			r.one("ens33", inIPIP(ipipThere, inner))

			r = newIPIP(t, engine.IPIP{Remote: addr4(ipipThere)}, follow(p))
			assert.Empty(t, on(r.in("ens33", inIPIP("172.12.1.66", inner)), "pods"))
			assert.Equal(t, map[engine.Reason]uint64{engine.DropTunnelNone: 1}, r.drops())

			r = newIPIP(t, engine.IPIP{AnyPeer: true}, follow(p))
			r.one("ens33", inIPIP("172.12.1.66", inner))
		})
	}
	t.Run("to another address than the tunnel's", func(t *testing.T) {
		r := newIPIP(t, engine.IPIP{})
		r.addr("ens33", "172.12.1.15/24")
		outer := datagram{src: ipipThere, dst: "172.12.1.15", proto: protoIPIP, payload: inner}.frame(ens33MAC, k8s2MAC)
		assert.Empty(t, on(r.in("ens33", outer), "pods"))
		assert.Equal(t, map[engine.Reason]uint64{engine.DropTunnelNone: 1}, r.drops())
	})
	t.Run("remote any without peers takes nothing", func(t *testing.T) {
		r := newRig(t)
		r.port("ens33", ens33MAC, ipipHere+"/24")
		r.ipip("tunl0", engine.IPIP{})
		r.refused(engine.DropTunnelPeer, "ens33", inIPIP(ipipThere, inner))
	})
}

// TestBehaviour12OuterFragmentsOfStrangers are not kept for a tunnel that would not take the whole.
func TestBehaviour12OuterFragmentsOfStrangers(t *testing.T) {
	r := newIPIP(t, engine.IPIP{})
	inner := datagram{src: podThere, dst: podHere, size: 96}.packet()
	for i, part := range [][]byte{inner[:48], inner[48:]} {
		d := datagram{src: "172.12.1.66", dst: ipipHere, proto: protoIPIP, id: 6, mf: i == 0, offset: i * 48, payload: part}
		assert.Empty(t, r.in("ens33", d.frame(ens33MAC, mac6(0x66))))
	}
	assert.Equal(t, uint64(1), r.drops()[engine.DropTunnelPeer])
	assert.Zero(t, r.Stats().Held)
}
