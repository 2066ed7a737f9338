// Nothing is allocated on any way that a packet takes: forwarding, dropping, answering, waiting, telling its sender.
package engine_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
)

// still makes an engine's callbacks allocate nothing.
func still(c *engine.Config) {
	c.Output = func(_ uint32, batch []*packet.Buffer) { packet.FreeBatch(batch) }
	c.Local = func(_ *engine.Worker, d engine.Delivery) bool {
		d.Buffer.Free()
		return true
	}
	c.OnMiss = func(engine.Miss) {}
}

func stillAndDeaf(c *engine.Config) {
	still(c)
	c.Local = nil
}

func TestBehaviourAllocations(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	router := func(t *testing.T) *rig {
		r := newRouter(t, still)
		r.setMTU("eth1", 1000)
		for _, x := range []struct {
			prefix string
			typ    route.Type
		}{{"192.0.2.0/26", route.Blackhole}, {"192.0.2.64/26", route.Unreachable}, {"192.0.2.128/26", route.Prohibit}} {
			r.must(r.AddRoute(engine.Route{Prefix: prefix(x.prefix), Type: x.typ}))
		}
		return r
	}
	deaf := func(t *testing.T) *rig { return newRouter(t, stillAndDeaf) }
	flannel := func(t *testing.T) *rig { return newFlannel(t, still) }
	summed := func(t *testing.T) *rig { return newFlannelWith(t, engine.VXLAN{UDPChecksum: true}, still) }
	tenant := func(t *testing.T) *rig {
		r := newTenant(t, engine.VXLAN{VTEPs: []netip.Addr{addr4(tunnelEnd2)}}, still)
		r.must(r.SetBridgePort("p1", engine.BridgePort{NoFlood: true}))
		r.fdb(mac6(0xb1), "vx100", tunnelEnd2)
		return r
	}
	everybody := func(t *testing.T) *rig {
		r := tenant(t)
		for _, end := range []string{tunnelEnd2, tunnelEnd3, tunnelEnd4} {
			r.fdb(ethernet.MAC{}, "vx100", end)
		}
		return r
	}
	ipip := func(t *testing.T) *rig { return newIPIP(t, engine.IPIP{}, still) }
	bridge := func(t *testing.T) *rig { return newBridge(t, still) }
	calico := func(t *testing.T) *rig { return newCalico(t, still) }

	inner := stationFrame(mac6(0xa1), mac6(0xb1))
	whole := wholeUDP(2000)
	for _, c := range []struct {
		name   string
		make   func(*testing.T) *rig
		dev    string
		frames [][]byte
		out    uint64        // frames that leave for each round
		why    engine.Reason // of one drop a round, 0: none
	}{
		{"route", router, "eth0", [][]byte{toFar(datagram{size: 100})}, 1, 0},
		{"cut into fragments", router, "eth0", [][]byte{toFar(datagram{size: 1500})}, 2, 0},
		{"no route, told", router, "eth0", [][]byte{toFar(datagram{dst: "203.0.113.1"})}, 1, engine.DropNoRoute},
		{"blackhole", router, "eth0", [][]byte{toFar(datagram{dst: "192.0.2.1"})}, 0, engine.DropBlackhole},
		{"unreachable, told", router, "eth0", [][]byte{toFar(datagram{dst: "192.0.2.65"})}, 1, engine.DropUnreachable},
		{"prohibited, told", router, "eth0", [][]byte{toFar(datagram{dst: "192.0.2.129"})}, 1, engine.DropProhibited},
		{"time exceeded, told", router, "eth0", [][]byte{toFar(datagram{ttl: 1})}, 1, engine.DropTTL},
		{"too big, told", router, "eth0", [][]byte{toFar(datagram{df: true, size: 1001})}, 1, engine.DropTooBig},
		{"wrong checksum", router, "eth0", [][]byte{patched(toFar(datagram{}), 24, 1)}, 0, engine.DropIPChecksum},
		{"wrong version", router, "eth0", [][]byte{patched(toFar(datagram{}), 14, 0x65)}, 0, engine.DropIPHeader},
		{"cut short", router, "eth0", [][]byte{toFar(datagram{size: 100})[:60]}, 0, engine.DropIPTruncated},
		{"martian", router, "eth0", [][]byte{toFar(datagram{src: "127.0.0.1"})}, 0, engine.DropMartianSource},
		{"other host's", router, "eth0", [][]byte{patched(toFar(datagram{}), 5, 9)}, 0, engine.DropOtherHost},
		{"short frame", router, "eth0", [][]byte{{1, 2, 3}}, 0, engine.DropShortFrame},
		{"IPv6", router, "eth0", [][]byte{ether(eth0MAC, nearMAC, etherIPv6, make([]byte, 40))}, 0, engine.DropProtocol},
		{"ARP answered", router, "eth0", [][]byte{whoHas(eth0Addr, nearMAC, near)}, 1, 0},
		{"ARP for another", router, "eth0", [][]byte{whoHas("10.0.0.99", nearMAC, near)}, 0, 0},
		{"ARP malformed", router, "eth0", [][]byte{whoHas(eth0Addr, nearMAC, near)[:40]}, 0, engine.DropARPMalformed},
		{"ARP by proxy", calico, "eth0-p1", [][]byte{whoHas(calicoGateway, pod11, "10.96.30.11")}, 1, 0},
		{"echo answered", router, "eth0", [][]byte{toFar(datagram{dst: eth0Addr, proto: protoICMP, payload: echo(1, 1, 56)})}, 1, 0},
		{"delivered", router, "eth0", [][]byte{toFar(datagram{dst: eth0Addr})}, 0, 0},
		{"put together", router, "eth0", [][]byte{piece(7, whole, 1000, 2000), piece(7, whole, 0, 1000)}, 0, 0},
		{"port closed, told", deaf, "eth0", [][]byte{toFar(datagram{dst: eth0Addr})}, 1, engine.DropNoSocket},

		{"bridge", bridge, "p0", [][]byte{stationFrame(sta1, sta0), stationFrame(sta0, sta2)}, 3, engine.DropSamePort},
		{"bridge floods", bridge, "p0", [][]byte{stationFrame(mac6(0x99), sta0)}, 3, 0},
		{"bridge: wrong source", bridge, "p0", [][]byte{stationFrame(sta1, ethernet.MAC{})}, 0, engine.DropSourceMAC},
		{"bridge: reserved group", bridge, "p0", [][]byte{stationFrame(ethernet.MAC{1, 0x80, 0xc2, 0, 0, 2}, sta0)}, 0, engine.DropLinkLocal},

		{"VXLAN encap", tenant, "p0", [][]byte{stationFrame(mac6(0xb1), mac6(0xa1))}, 1, 0},
		{"VXLAN to everybody", everybody, "p0", [][]byte{stationFrame(mac6(0xb9), mac6(0xa1))}, 3, 0},
		{"VXLAN miss", tenant, "p0", [][]byte{stationFrame(mac6(0xb9), mac6(0xa1))}, 0, engine.DropFDBMiss},
		{"VXLAN decap", tenant, "eth0", [][]byte{tunnelled(tunnelEnd2, inner)}, 1, 0},
		{"VXLAN VNI", tenant, "eth0", [][]byte{tunnelledIn(9, tunnelEnd2, inner)}, 0, engine.DropTunnelVNI},
		{"VXLAN reserved", tenant, "eth0", [][]byte{patched(tunnelled(tunnelEnd2, inner), atVXLAN+7, 1)}, 0, engine.DropTunnelReserved},
		{"VXLAN header", tenant, "eth0", [][]byte{patched(tunnelled(tunnelEnd2, inner), atVXLAN, 0)}, 0, engine.DropTunnelHeader},
		{"VXLAN stranger", tenant, "eth0", [][]byte{tunnelled(tunnelEnd3, inner)}, 0, engine.DropTunnelPeer},
		{"VXLAN ECN", tenant, "eth0", [][]byte{resummed(patched(tunnelled(tunnelEnd2, inner), 15, ectCE))}, 0, engine.DropTunnelECN},
		{"VXLAN pinned", tenant, "eth0", [][]byte{tunnelled(tunnelEnd2, stationFrame(mac6(0xa1), vx100MAC))}, 0, engine.DropTunnelOwnMAC},

		{"Flannel pod to wire", flannel, "veth0", [][]byte{fromPodA(datagram{size: 100})}, 1, 0},
		{"Flannel pod to wire, udpcsum", summed, "veth0", [][]byte{fromPodA(datagram{size: 100})}, 1, 0},
		{"Flannel pod too big, told", flannel, "veth0", [][]byte{fromPodA(datagram{df: true, size: 1451})}, 1, engine.DropTooBig},
		{"Flannel wire to pod", flannel, "ens192", [][]byte{fromNode2(datagram{src: podB, dst: podA}.frame(flannelMAC, flannel2MAC))}, 1, 0},
		{
			"Flannel wire to pod, time exceeded, told", flannel, "ens192",
			[][]byte{fromNode2(datagram{src: podB, dst: podA, ttl: 1}.frame(flannelMAC, flannel2MAC))},
			1, engine.DropTTL,
		},

		{"IPIP encap", ipip, "pods", [][]byte{fromPod(datagram{})}, 1, 0},
		{"IPIP decap", ipip, "ens33", [][]byte{inIPIP(ipipThere, datagram{src: podThere, dst: podHere}.packet())}, 1, 0},
		{"IPIP stranger", ipip, "ens33", [][]byte{inIPIP("172.12.1.66", datagram{src: podThere, dst: podHere}.packet())}, 0, engine.DropTunnelPeer},
		{"IPIP too big, told", ipip, "pods", [][]byte{fromPod(datagram{df: true, size: 1481})}, 1, engine.DropTooBig},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.make(t)
			port, batch := r.Index(c.dev), make([]*packet.Buffer, len(c.frames))
			round := func() {
				for i, f := range c.frames {
					batch[i] = r.pool.Get()
					_ = batch[i].SetBytes(f)
				}
				r.Process(port, batch, r.now)
				r.now += time.Minute / 10 // so that no limit of rates keeps errors back
			}
			for range 100 {
				round()
			}
			before := r.Stats()
			const rounds = 100
			allocs := testing.AllocsPerRun(rounds, round)
			after := r.Stats()
			assert.Zero(t, allocs)
			const all = rounds + 1 // AllocsPerRun warms up with one
			assert.Equal(t, c.out*all, after.Out-before.Out, "frames out")
			if c.why != 0 {
				assert.Equal(t, uint64(all), after.Drops[c.why]-before.Drops[c.why], "drops as %s", c.why.Name())
			}
			if c.why == 0 {
				assert.Equal(t, before.Dropped(), after.Dropped())
			}
			r.check()
		})
	}
}

// TestBehaviourAllocationsSendFrame are frames of the node's own, whole ones and one cut short.
func TestBehaviourAllocationsSendFrame(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	r := newBridge(t, still)
	bridge, frame := r.Index("br0"), stationFrame(mac6(0x99), sta0)
	allocs := testing.AllocsPerRun(100, func() {
		for _, f := range [][]byte{frame, frame[:10]} {
			b := r.pool.Get()
			_ = b.SetBytes(f)
			_ = r.SendFrame(bridge, b, r.now)
		}
	})
	assert.Zero(t, allocs)
	assert.Equal(t, map[engine.Reason]uint64{engine.DropShortFrame: 101}, r.drops())
}

// TestBehaviourAllocationsWhileWaiting are packets that wait for a neighbour, push others out, and go at last.
func TestBehaviourAllocationsWhileWaiting(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	r := newRouter(t, still)
	port, batch := r.Index("eth0"), make([]*packet.Buffer, 1)
	frame := toGuest(1)
	in := func() {
		batch[0] = r.pool.Get()
		_ = batch[0].SetBytes(frame)
		r.Process(port, batch, r.now)
	}
	for range 300 {
		in()
	}
	assert.Zero(t, testing.AllocsPerRun(100, in))
	require.NotZero(t, r.drops()[engine.DropNeighbourQueue])
	r.wait(time.Minute)

	for range 50 { // given up and asked anew
		in()
		r.now += 10 * time.Second
		r.Tick(r.now)
	}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		in()
		r.now += 10 * time.Second
		r.Tick(r.now)
	}))
}

// TestBehaviourAllocationsWithoutBuffers are floods, answers and errors for which the pool has nothing left.
func TestBehaviourAllocationsWithoutBuffers(t *testing.T) {
	r := newBridge(t, func(c *engine.Config) {
		still(c)
		pool, err := packet.NewPool(packet.PoolConfig{Buffers: 1})
		require.NoError(t, err)
		c.Pool = pool
	})
	port, batch := r.Index("p0"), make([]*packet.Buffer, 1)
	frame := stationFrame(mac6(0x99), sta0)
	round := func() {
		batch[0] = r.pool.Get()
		_ = batch[0].SetBytes(frame)
		r.Process(port, batch, r.now)
	}
	for range 10 {
		round()
	}
	if !underRace {
		assert.Zero(t, testing.AllocsPerRun(100, round))
	}
	assert.NotZero(t, r.drops()[engine.DropNoBuffer])
	assert.NotZero(t, r.Stats().Out, "one copy at least is the frame itself")
}
