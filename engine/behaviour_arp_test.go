// Behaviours 17 to 19: neighbours that come and go, proxy ARP, and what is answered at all. The tables and timers themselves are
// tested in package arp; here are the frames that the engine sends because of them.
package engine_test

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/route"
)

// state returns what the engine knows of a neighbour.
func (r *rig) state(addr, dev string) arp.State {
	e, ok := r.GetNeigh(addr4(addr), dev)
	if !ok {
		return arp.StateNone
	}
	return e.State
}

var guestMAC = mac6(0x77)

const guest = "10.1.0.77" // a host on eth1 that the router does not know beforehand

// toGuest is a datagram from near to the guest.
func toGuest(id uint16) []byte { return toFar(datagram{dst: guest, id: id}) }

func TestBehaviour17LearnedFromARequest(t *testing.T) {
	r := newRouter(t)
	s := r.one("eth1", whoHas("10.1.0.1", guestMAC, guest))
	assert.Equal(t, isAt(guestMAC, eth1MAC, "10.1.0.1", guest), s.raw, "the reply, byte by byte")
	assert.Equal(t, arp.StateStale, r.state(guest, "eth1"))

	assert.Equal(t, guestMAC.String(), r.one("eth0", toGuest(1)).dstMAC(), "believed")
	assert.Equal(t, arp.StateDelay, r.state(guest, "eth1"))
	assert.Empty(t, r.wait(4900*time.Millisecond))
	out := r.wait(200 * time.Millisecond)
	require.Len(t, out, 1, "about five seconds later it is checked")
	assert.Equal(t, arpPacket(guestMAC, 1, eth1MAC, "10.1.0.1", ethernet.MAC{}, guest), out[0].raw, "by a unicast request")
	assert.Equal(t, arp.StateProbe, r.state(guest, "eth1"))

	assert.Empty(t, r.in("eth1", isAt(eth1MAC, guestMAC, guest, "10.1.0.1")))
	assert.Equal(t, arp.StateReachable, r.state(guest, "eth1"))
	r.wait(14 * time.Second)
	assert.Equal(t, arp.StateReachable, r.state(guest, "eth1"), "for 15 to 45 s")
	r.wait(32 * time.Second)
	assert.Equal(t, arp.StateStale, r.state(guest, "eth1"))
}

func TestBehaviour17CheckWithoutAnswer(t *testing.T) {
	r := newRouter(t)
	r.in("eth1", whoHas("10.1.0.1", guestMAC, guest))
	r.in("eth0", toGuest(1))
	probe := arpPacket(guestMAC, 1, eth1MAC, "10.1.0.1", ethernet.MAC{}, guest)
	for i, quiet := range []time.Duration{4900, 900, 900} {
		assert.Empty(t, r.wait(quiet*time.Millisecond), "before probe %d", i+1)
		out := r.wait(100 * time.Millisecond)
		require.Len(t, out, 1, "probe %d", i+1)
		assert.Equal(t, probe, out[0].raw)
	}
	r.wait(2 * time.Second)
	assert.Equal(t, arp.StateFailed, r.state(guest, "eth1"))
	assert.Equal(t, []string{"eth1: who-has " + guest + " tell 10.1.0.1"}, texts(r.in("eth0", toGuest(2))), "asked anew, of everybody")
	assert.Equal(t, ethernet.Broadcast.String(), r.out[0].dstMAC())
	r.wait(time.Minute)
}

// TestBehaviour17AnswerKeepsTrafficFlowing for a minute, whatever state the neighbour is in.
func TestBehaviour17AnswerKeepsTrafficFlowing(t *testing.T) {
	r := newRouter(t)
	r.in("eth1", whoHas("10.1.0.1", guestMAC, guest))
	for i := range uint16(60) {
		assert.Len(t, on(r.in("eth0", toGuest(i)), "eth1"), 1, "second %d", i)
		for _, s := range r.wait(time.Second) {
			require.NotNil(t, s.arp)
			require.Equal(t, guestMAC.String(), s.dstMAC(), "checks are unicast")
			r.in("eth1", isAt(eth1MAC, guestMAC, guest, "10.1.0.1"))
		}
	}
	assert.Empty(t, r.drops())
}

func TestBehaviour17WhatIsBelieved(t *testing.T) {
	other := mac6(0x78)
	known := func(t *testing.T) *rig { // the guest is known, for two seconds
		r := newRouter(t)
		r.in("eth1", whoHas("10.1.0.1", guestMAC, guest))
		r.wait(2 * time.Second)
		return r
	}
	knows := func(r *rig) string {
		e, ok := r.GetNeigh(addr4(guest), "eth1")
		if !ok {
			return "nobody"
		}
		return e.MAC.String()
	}
	for _, c := range []struct {
		name     string
		frame    []byte
		stranger string // what a router knows afterwards that did not know the guest
		known    string // what one knows that did
	}{
		{"request for our address", whoHas("10.1.0.1", other, guest), other.String(), other.String()},
		{"request for another address", whoHas("10.1.0.50", other, guest), "nobody", other.String()},
		{"unsolicited reply", isAt(eth1MAC, other, guest, "10.1.0.1"), "nobody", other.String()},
		{"announcement, request", arpPacket(ethernet.Broadcast, 1, other, guest, ethernet.MAC{}, guest), "nobody", other.String()},
		{"announcement, reply", arpPacket(ethernet.Broadcast, 2, other, guest, other, guest), "nobody", other.String()},
		{"from a group", whoHas("10.1.0.1", ethernet.MAC{1, 0, 0, 0, 0, 1}, guest), "nobody", guestMAC.String()},
		{"from the zero MAC address", whoHas("10.1.0.1", ethernet.MAC{}, guest), "nobody", guestMAC.String()},
		{"to another station", arpPacket(mac6(0x99), 2, other, guest, mac6(0x99), "10.1.0.1"), "nobody", guestMAC.String()},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t)
			r.in("eth1", c.frame)
			assert.Equal(t, c.stranger, knows(r), "by who knew nothing")
			r = known(t)
			r.in("eth1", c.frame)
			assert.Equal(t, c.known, knows(r), "by who knew the guest")
		})
	}
	t.Run("within locktime", func(t *testing.T) {
		r := newRouter(t)
		r.in("eth1", whoHas("10.1.0.1", guestMAC, guest))
		r.wait(500 * time.Millisecond)
		r.in("eth1", isAt(eth1MAC, other, guest, "10.1.0.1"))
		assert.Equal(t, guestMAC.String(), knows(r), "a reply half a second after the change")
		r.in("eth1", arpPacket(ethernet.Broadcast, 1, other, guest, ethernet.MAC{}, guest))
		assert.Equal(t, other.String(), knows(r), "an announcement overrides it")
	})
	t.Run("configured", func(t *testing.T) {
		r := newRouter(t)
		r.wait(2 * time.Second)
		r.in("eth1", arpPacket(ethernet.Broadcast, 1, other, far, ethernet.MAC{}, far))
		r.in("eth1", whoHas("10.1.0.1", other, far))
		assert.Equal(t, farMAC.String(), r.one("eth0", toFar(datagram{})).dstMAC())
	})
	t.Run("our own address, claimed by another", func(t *testing.T) {
		r := newRouter(t)
		r.in("eth1", isAt(eth1MAC, other, "10.1.0.1", guest))
		r.in("eth1", whoHas("10.1.0.50", other, "10.1.0.1"))
		assert.Empty(t, r.in("eth1", whoHas("10.1.0.1", other, "10.1.0.1")), "an announcement of it is not answered")
		_, ok := r.GetNeigh(addr4("10.1.0.1"), "eth1")
		assert.False(t, ok)
	})
	t.Run("by who may not ask", func(t *testing.T) {
		r := newRouter(t)
		c, err := r.Conf("eth1")
		r.must(err)
		c.ARPIgnore = 8
		r.must(r.SetConf("eth1", c))
		r.in("eth1", whoHas("10.1.0.1", other, guest))
		assert.Equal(t, "nobody", knows(r), "arp_ignore")
	})
	t.Run("arp_accept", func(t *testing.T) {
		r := newRouter(t)
		c, err := r.Conf("eth1")
		r.must(err)
		c.ARPAccept = true
		r.must(r.SetConf("eth1", c))
		r.in("eth1", arpPacket(ethernet.Broadcast, 1, other, guest, ethernet.MAC{}, guest))
		assert.Equal(t, other.String(), knows(r))
	})
}

func TestBehaviour17WaitingIsBounded(t *testing.T) {
	t.Run("for one neighbour, the oldest goes", func(t *testing.T) {
		r := newRouter(t)
		for id := range uint16(150) {
			r.in("eth0", toGuest(id))
		}
		assert.Equal(t, uint64(101), r.Stats().Held)
		assert.Equal(t, map[engine.Reason]uint64{engine.DropNeighbourQueue: 49}, r.drops())
		out := r.in("eth1", isAt(eth1MAC, guestMAC, guest, "10.1.0.1"))
		require.Len(t, out, 101)
		assert.Equal(t, uint16(49), out[0].ip.Id)
		assert.Equal(t, uint16(149), out[100].ip.Id)
	})
	t.Run("in all", func(t *testing.T) {
		r := newRouter(t)
		r.addr("eth1", "10.2.0.1/16")
		for i := range 900 {
			r.in("eth0", toFar(datagram{dst: fmt.Sprintf("10.2.%d.%d", 1+i/200, 1+i%200)}))
		}
		assert.LessOrEqual(t, r.Stats().Held, uint64(512))
		assert.NotZero(t, r.drops()[engine.DropNeighbourQueue])
		r.wait(time.Minute)
		assert.Zero(t, r.Stats().Held)
	})
}

func TestBehaviour17TableIsBounded(t *testing.T) {
	r := newRouter(t)
	r.must(r.SetNeighThresholds(2, 4, 8))
	for i := range byte(100) {
		r.in("eth1", whoHas("10.1.0.1", mac6(100+i), fmt.Sprintf("10.1.0.%d", 100+int(i))))
	}
	n := 0
	for range r.Neighs() {
		n++
	}
	assert.LessOrEqual(t, n, 8+2, "two are configured")
	assert.Equal(t, farMAC.String(), r.one("eth0", toFar(datagram{})).dstMAC(), "configured ones are not displaced")
}

// TestBehaviour17Malformed are frames that are no ARP for IPv4 over Ethernet.
func TestBehaviour17Malformed(t *testing.T) {
	good := whoHas("10.1.0.1", guestMAC, guest)
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"hardware type", patched(good, 15, 6)},
		{"protocol type", patched(good, 17, 1)},
		{"hardware length", patched(good, 18, 8)},
		{"protocol length", patched(good, 19, 16)},
		{"cut short", good[:41]},
	} {
		t.Run(c.name, func(t *testing.T) { newRouter(t).refused(engine.DropARPMalformed, "eth1", c.frame) })
	}
	t.Run("operation of RARP", func(t *testing.T) {
		r := newRouter(t)
		assert.Empty(t, r.in("eth1", patched(good, 21, 3)))
		assert.Equal(t, arp.StateNone, r.state(guest, "eth1"))
	})
}

// A host with two pods that it answers for, as Calico makes it.
//
//	pod 10.96.30.11 ── eth0-p1 │ host 192.168.30.211 on ens33 │ eth0-p2 ── pod 10.96.30.12
var (
	calicoMAC     = ethernet.MustParseMAC("ee:ee:ee:ee:ee:ee")
	pod11, pod12  = mac6(0x11), mac6(0x12)
	hostMAC       = mac6(0x30)
	calicoGateway = "169.254.1.1"
)

func newCalico(t testing.TB, change ...func(*engine.Config)) *rig {
	t.Helper()
	r := newRig(t, change...)
	r.SetForwarding(true)
	r.port("ens33", hostMAC, "192.168.30.211/24")
	r.route("0.0.0.0/0", "192.168.30.1", "ens33")
	for i, dev := range []string{"eth0-p1", "eth0-p2"} {
		r.port(dev, calicoMAC)
		r.setProxy(dev, 0)
		r.must(r.AddRoute(engine.Route{Prefix: prefix(fmt.Sprintf("10.96.30.%d/32", 11+i)), Dev: dev, Scope: route.ScopeLink}))
	}
	r.must(r.AddRoute(engine.Route{Prefix: prefix("10.96.30.0/26"), Type: route.Blackhole}))
	return r
}

func (r *rig) setProxy(dev string, delay time.Duration) {
	r.t.Helper()
	c, err := r.Conf(dev)
	r.must(err)
	c.ProxyARP, c.ProxyDelay = true, delay
	r.must(r.SetConf(dev, c))
}

func TestBehaviour18ProxyARP(t *testing.T) {
	const asker = "10.96.30.11"
	for _, c := range []struct {
		name     string
		target   string
		sender   string
		answered bool
	}{
		{"route by another port", "10.96.30.12", asker, true},
		{"default route by another port", calicoGateway, asker, true},
		{"route by the asker's port", "10.96.31.1", asker, false},
		{"the asker's own address", asker, asker, false},
		{"blackholed", "10.96.30.40", asker, false},
		{"unreachable", "10.97.0.1", asker, false},
		{"prohibited", "10.98.0.1", asker, false},
		{"a probe", "10.96.30.12", "0.0.0.0", false},
		{"a probe for the node's own address", "192.168.30.211", "0.0.0.0", true},
		{"the node's own address on another port", "192.168.30.211", asker, true},
		{"loopback", "127.0.0.1", asker, false},
		{"a group", "224.0.0.1", asker, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newCalico(t)
			r.must(r.AddRoute(engine.Route{Prefix: prefix("10.96.31.0/24"), Dev: "eth0-p1", Scope: route.ScopeLink}))
			r.must(r.AddRoute(engine.Route{Prefix: prefix("10.97.0.0/16"), Type: route.Unreachable}))
			r.must(r.AddRoute(engine.Route{Prefix: prefix("10.98.0.0/16"), Type: route.Prohibit}))
			out := r.in("eth0-p1", whoHas(c.target, pod11, c.sender))
			if !c.answered {
				assert.Empty(t, out)
				assert.Empty(t, r.wait(2*time.Second), "later")
				return
			}
			require.Len(t, out, 1, "at once: proxy_delay is 0")
			assert.Equal(t, isAt(pod11, calicoMAC, c.target, c.sender), out[0].raw, "the port's own MAC address")
		})
	}
	t.Run("no route at all", func(t *testing.T) {
		r := newCalico(t)
		r.must(r.DeleteRoute(engine.Route{Prefix: prefix("0.0.0.0/0")}))
		assert.Empty(t, r.in("eth0-p1", whoHas(calicoGateway, pod11, asker)))
	})
	t.Run("proxy_arp off", func(t *testing.T) {
		r := newCalico(t)
		c, err := r.Conf("eth0-p1")
		r.must(err)
		c.ProxyARP = false
		r.must(r.SetConf("eth0-p1", c))
		assert.Empty(t, r.in("eth0-p1", whoHas(calicoGateway, pod11, asker)))
	})
	t.Run("forwarding off", func(t *testing.T) {
		r := newCalico(t)
		r.SetForwarding(false)
		assert.Empty(t, r.in("eth0-p1", whoHas(calicoGateway, pod11, asker)))
	})
	t.Run("the sender is learned from what is answered", func(t *testing.T) {
		r := newCalico(t)
		r.in("eth0-p1", whoHas(calicoGateway, pod11, asker))
		assert.Equal(t, arp.StateStale, r.state(asker, "eth0-p1"))
	})
	t.Run("a proxy entry for one address", func(t *testing.T) {
		r := newRouter(t)
		p, err := r.Conf("eth0")
		r.must(err)
		p.ProxyDelay = 0
		r.must(r.SetConf("eth0", p))
		r.must(r.AddProxyNeigh(addr4(far), "eth0"))
		out := r.in("eth0", whoHas(far, nearMAC, near))
		require.Len(t, out, 1)
		assert.Equal(t, isAt(nearMAC, eth0MAC, far, near), out[0].raw)
		assert.Empty(t, r.in("eth0", whoHas("10.1.0.10", nearMAC, near)))
		r.must(r.DeleteProxyNeigh(addr4(far), "eth0"))
		assert.Empty(t, r.in("eth0", whoHas(far, nearMAC, near)))
	})
}

func TestBehaviour18ProxyDelay(t *testing.T) {
	r := newCalico(t)
	r.setProxy("eth0-p1", 800*time.Millisecond)
	assert.Empty(t, r.in("eth0-p1", whoHas(calicoGateway, pod11, "10.96.30.11")), "not at once")
	assert.Len(t, r.wait(800*time.Millisecond), 1, "within the delay")

	var when []time.Duration
	for range 20 {
		r.in("eth0-p1", whoHas(calicoGateway, pod11, "10.96.30.11"))
		asked := r.now
		for len(r.wait(10*time.Millisecond)) == 0 {
			require.Less(t, r.now-asked, time.Second)
		}
		when = append(when, r.now-asked)
	}
	slices.Sort(when)
	assert.Greater(t, len(slices.Compact(when)), 5, "the delay is random")

	for i := range byte(100) {
		r.in("eth0-p1", whoHas(calicoGateway, mac6(100+i), fmt.Sprintf("10.96.30.%d", 100+int(i))))
	}
	assert.Len(t, r.wait(time.Second), 65, "no more wait than proxy_qlen, 64, and one (pneigh_enqueue)")

	assert.Len(t, r.in("eth0-p1", arpPacket(calicoMAC, 1, pod11, "10.96.30.11", calicoMAC, calicoGateway)), 1,
		"a unicast request is answered at once (arp_process: PACKET_HOST)")
}

func TestBehaviour18OwnAddress(t *testing.T) {
	r := newRouter(t)
	s := r.one("eth0", whoHas(eth0Addr, mac6(0x44), "10.0.0.44"))
	assert.Equal(t, isAt(mac6(0x44), eth0MAC, eth0Addr, "10.0.0.44"), s.raw)
	assert.Equal(t, arp.StateStale, r.state("10.0.0.44", "eth0"), "RFC 826: the sender is learned")

	r.must(r.DeleteNeigh(addr4("10.0.0.44"), "eth0"))
	assert.Empty(t, r.in("eth0", whoHas("10.0.0.50", mac6(0x44), "10.0.0.44")), "for another host")
	assert.Equal(t, arp.StateNone, r.state("10.0.0.44", "eth0"))

	out := r.in("eth0", whoHas(eth0Addr, mac6(0x44), "0.0.0.0"))
	require.Len(t, out, 1, "a probe is answered: the address is taken")
	assert.Equal(t, eth0Addr, net.IP(out[0].arp.SourceProtAddress).String())
	assert.Equal(t, uint16(layers.ARPReply), out[0].arp.Operation)
	assert.Equal(t, mac6(0x44).String(), out[0].dstMAC())
}

func TestBehaviour18Ignore(t *testing.T) {
	for _, c := range []struct {
		ignore int
		target string
		sender string
		want   bool
	}{
		{0, "10.0.0.1", "10.0.0.9", true},
		{0, "10.1.0.1", "10.0.0.9", true}, // any of the node's addresses
		{1, "10.0.0.1", "10.0.0.9", true},
		{1, "10.1.0.1", "10.0.0.9", false}, // the port's own alone
		{2, "10.0.0.1", "10.0.0.9", true},
		{2, "10.0.0.1", "10.77.0.9", false}, // and of the sender's subnet
		{8, "10.0.0.1", "10.0.0.9", false},
	} {
		t.Run(fmt.Sprintf("%d, %s asks for %s", c.ignore, c.sender, c.target), func(t *testing.T) {
			r := newRouter(t)
			conf, err := r.Conf("eth0")
			r.must(err)
			conf.ARPIgnore = c.ignore
			r.must(r.SetConf("eth0", conf))
			r.route("10.77.0.0/16", near, "eth0")
			assert.Equal(t, c.want, len(r.in("eth0", whoHas(c.target, nearMAC, c.sender))) == 1)
		})
	}
}

func TestBehaviour18Announce(t *testing.T) {
	// A packet of the node's own, with the address of another port as its source.
	for _, c := range []struct {
		announce int
		want     string
	}{{0, "10.0.0.1"}, {1, "10.1.0.1"}, {2, "10.1.0.1"}} {
		r := newRouter(t)
		conf, err := r.Conf("eth1")
		r.must(err)
		conf.ARPAnnounce = c.announce
		r.must(r.SetConf("eth1", conf))
		out, err := r.send(udpDatagram(1, 2, nil), engine.Send{Dst: addr4(guest), Src: addr4(eth0Addr), Protocol: protoUDP})
		require.NoError(t, err)
		assert.Equal(t, []string{"eth1: who-has " + guest + " tell " + c.want}, texts(out), "arp_announce %d", c.announce)
		r.wait(10 * time.Second)
	}
}

// TestBehaviour18HostAsksForThePod uses the host's own address, which is on another device (scenario S8).
func TestBehaviour18HostAsksForThePod(t *testing.T) {
	r := newCalico(t)
	frame := datagram{src: "10.96.30.11", dst: "10.96.30.12", ttl: 64}.frame(calicoMAC, pod11)
	r.in("eth0-p1", whoHas("10.96.30.12", pod11, "10.96.30.11"))
	assert.Equal(t, []string{"eth0-p2: who-has 10.96.30.12 tell 192.168.30.211"}, texts(r.in("eth0-p1", frame)))
	s := r.one("eth0-p2", isAt(calicoMAC, pod12, "10.96.30.12", "192.168.30.211"))
	assert.Equal(t, uint8(63), s.ip.TTL)
	assert.Equal(t, pod12.String()+" < "+calicoMAC.String(), s.dstMAC()+" < "+s.srcMAC())
}

// TestBehaviour19ClaimThroughAnEngine lets an address be claimed (RFC 5227) on a wire where the engine has it: the claim's
// three probes are answered, and it is given up; where nobody has it, two announcements follow.
func TestBehaviour19ClaimThroughAnEngine(t *testing.T) {
	claim := func(t *testing.T, addr string) (arp.ClaimState, []*arp.Fields, *rig) {
		r := newRouter(t)
		c, err := arp.NewClaim(arp.ClaimConfig{MAC: mac6(0x44), Seed: rigSeed})
		require.NoError(t, err)
		require.NoError(t, c.Start(r.now, addr4(addr)))
		var sent []*arp.Fields
		for range 20 {
			next, ok := c.Deadline()
			if !ok {
				break
			}
			r.wait(next - r.now)
			f, send := c.Advance(r.now)
			if !send {
				continue
			}
			sent = append(sent, &f)
			for _, s := range r.in("eth0", f.AppendFrame(nil, ethernet.Broadcast)) {
				p, err := arp.Parse(s.eth.Payload)
				require.NoError(t, err)
				c.Receive(r.now, p)
			}
		}
		return c.State(), sent, r
	}
	state, sent, _ := claim(t, eth0Addr)
	assert.Equal(t, arp.ClaimTaken, state)
	assert.Len(t, sent, 1, "the first probe is answered")

	state, sent, r := claim(t, "10.0.0.44")
	assert.Equal(t, arp.ClaimHeld, state)
	require.Len(t, sent, 5, "three probes, two announcements")
	for i, f := range sent {
		assert.Equal(t, i < 3, f.SenderIP == [4]byte{}, "packet %d is a probe", i)
	}
	assert.Equal(t, arp.StateNone, r.state("10.0.0.44", "eth0"), "neither makes an entry")
}
