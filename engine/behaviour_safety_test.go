// What keeps a node alive that was configured in a circle: tunnels in tunnels up to a bound, tunnels routed into themselves,
// loops of pairs and bridges.
package engine_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// newRussianDoll is a router with n IPIP tunnels, each routed into the one before: tun1 in eth1, tun2 in tun1 …
// 10.50.n.0/24 lies behind tunnel n.
func newRussianDoll(t testing.TB, n int, change ...func(*engine.Config)) *rig {
	t.Helper()
	r := newRouter(t, change...)
	outside := far
	for i := range n {
		name := fmt.Sprintf("tun%d", i+1)
		r.ipip(name, engine.IPIP{Local: addr4("10.1.0.1"), Remote: addr4(outside), TTL: 64})
		inside := fmt.Sprintf("10.50.%d", i+1)
		r.route(inside+".0/24", "", name)
		outside = inside + ".1"
	}
	return r
}

func TestBehaviourTunnelInTunnel(t *testing.T) {
	for _, c := range []struct{ max, depth int }{{0, 4}, {1, 1}, {2, 2}, {8, 8}} {
		r := newRussianDoll(t, 9, func(config *engine.Config) {
			config.MaxEncap = c.max
			pool, err := packet.NewPool(packet.PoolConfig{Buffers: 64, Headroom: 9 * 20})
			require.NoError(t, err)
			config.Pool = pool
		})
		for depth := 1; depth <= 9; depth++ {
			frame := toFar(datagram{dst: fmt.Sprintf("10.50.%d.1", depth), size: 60})
			if depth > c.depth {
				r.drops()
				assert.Empty(t, on(r.in("eth0", frame), "eth1"), "MaxEncap %d, %d tunnels", c.max, depth)
				assert.Equal(t, map[engine.Reason]uint64{engine.DropTunnelDepth: 1}, r.drops(), "MaxEncap %d, %d tunnels", c.max, depth)
				continue
			}
			s := r.single("eth0", frame) // Explain gives packets the usual headroom
			assert.Len(t, s.raw, 14+60+20*depth, "MaxEncap %d, %d tunnels", c.max, depth)
			for range depth {
				s = s.inner
				require.NotNil(t, s)
			}
			assert.Equal(t, near, s.src())
			assert.Equal(t, uint8(63), s.ip.TTL)
		}
	}
}

func TestBehaviourTunnelInTunnelMTU(t *testing.T) {
	r := newRussianDoll(t, 3)
	for depth := 1; depth <= 3; depth++ {
		// Devices say 1480 each; what does not fit the way outside is learned with the first packets.
		frame := toFar(datagram{dst: fmt.Sprintf("10.50.%d.1", depth), df: true, size: 1500 - 20*depth})
		s := r.one("eth0", frame)
		assert.Len(t, s.raw, 1514, "%d tunnels", depth)
	}
}

// TestBehaviourTunnelIntoItself either refuses the route that leads a tunnel's outer packets back into it, or drops them.
func TestBehaviourTunnelIntoItself(t *testing.T) {
	t.Run("IPIP", func(t *testing.T) {
		r := newRouter(t)
		r.ipip("tun", engine.IPIP{Remote: addr4("10.60.0.1")})
		err := r.AddRoute(engine.Route{Prefix: prefix("10.60.0.0/16"), Dev: "tun"})
		if err != nil {
			assert.ErrorIs(t, err, engine.ErrLoop)
			return
		}
		assert.Empty(t, on(r.in("eth0", toFar(datagram{dst: "10.60.0.9"})), "eth1"))
		assert.Equal(t, map[engine.Reason]uint64{engine.DropTunnelLoop: 1}, r.drops())
	})
	t.Run("VXLAN", func(t *testing.T) {
		r := newRouter(t)
		r.vxlan("vx", mac6(0xe1), engine.VXLAN{VNI: 7, NoLearning: true})
		r.addr("vx", "10.60.0.1/16")
		r.neigh("10.60.0.2", mac6(0xf1), "vx")
		r.fdb(mac6(0xf1), "vx", "10.60.0.2")
		assert.Empty(t, r.in("eth0", toFar(datagram{dst: "10.60.0.2"})))
		assert.Equal(t, map[engine.Reason]uint64{engine.DropTunnelLoop: 1}, r.drops())
	})
	t.Run("two into each other", func(t *testing.T) {
		r := newRouter(t)
		r.ipip("a", engine.IPIP{Remote: addr4("10.61.0.1")})
		r.ipip("b", engine.IPIP{Remote: addr4("10.62.0.1")})
		err := errors.Join(
			r.AddRoute(engine.Route{Prefix: prefix("10.62.0.0/16"), Dev: "a"}),
			r.AddRoute(engine.Route{Prefix: prefix("10.61.0.0/16"), Dev: "b"}))
		if err != nil {
			assert.ErrorIs(t, err, engine.ErrLoop)
			return
		}
		assert.Empty(t, on(r.in("eth0", toFar(datagram{dst: "10.62.0.9"})), "eth1"))
		drops := r.drops()
		assert.Equal(t, uint64(1), drops[engine.DropTunnelLoop]+drops[engine.DropTunnelDepth], "%v", drops)
	})
	t.Run("the way outside is mended", func(t *testing.T) {
		r := newRouter(t)
		r.ipip("tun", engine.IPIP{Remote: addr4("10.60.0.1")})
		if r.AddRoute(engine.Route{Prefix: prefix("10.60.0.0/16"), Dev: "tun"}) != nil {
			return
		}
		r.in("eth0", toFar(datagram{dst: "10.60.0.9"}))
		r.drops()
		r.route("10.60.0.1/32", far, "eth1")
		assert.NotNil(t, r.one("eth0", toFar(datagram{dst: "10.60.0.9"})).inner)
	})
}

// TestBehaviourLoopOfPairs joins two bridges by two pairs: what is flooded runs in circles until it is stopped.
func TestBehaviourLoopOfPairs(t *testing.T) {
	r := newRig(t)
	for i, pair := range [][2]string{{"a1", "b1"}, {"a2", "b2"}} {
		_, _, err := r.AddPair(engine.Pair{
			Link: engine.Link{Name: pair[0], MAC: mac6(0x70 + byte(i)), Up: true}, Peer: engine.Link{Name: pair[1], MAC: mac6(0x78 + byte(i)), Up: true},
		})
		r.must(err)
	}
	r.port("p0", mac6(0x50))
	r.port("p1", mac6(0x51))
	r.bridge("a", mac6(0xb0), "p0", "a1", "a2")
	r.bridge("b", mac6(0xb1), "p1", "b1", "b2")
	assert.NotEmpty(t, on(r.in("p0", stationFrame(ethernet.Broadcast, sta0)), "p1"))
	drops := r.drops()
	assert.NotZero(t, drops[engine.DropLoop]+drops[engine.DropNoBuffer], "by the bound on crossings, or because copies used up the pool")

	// Without copies for the ports, nothing but the bound ends it.
	r.must(r.SetBridgePort("p0", engine.BridgePort{NoBroadcast: true}))
	r.must(r.SetBridgePort("p1", engine.BridgePort{NoBroadcast: true}))
	assert.Empty(t, r.in("p0", stationFrame(ethernet.Broadcast, sta0)))
	assert.NotZero(t, r.drops()[engine.DropLoop])

	// The node lives on.
	r.must(r.SetMaster("a2", ""))
	r.in("p1", stationFrame(sta0, sta1))
	r.in("p0", stationFrame(sta1, sta0))
	assert.Equal(t, []string{"p0"}, r.sentOut("p1", stationFrame(sta0, sta1)))
}

// TestBehaviourLoopOfRoutes is a packet that two ends of a pair route to each other: its TTL ends it.
func TestBehaviourLoopOfRoutes(t *testing.T) {
	r := newRouter(t)
	_, _, err := r.AddPair(engine.Pair{
		Link: engine.Link{Name: "x", MAC: mac6(0x70), Up: true}, Peer: engine.Link{Name: "y", MAC: mac6(0x71), Up: true},
	})
	r.must(err)
	r.addr("x", "10.70.0.1/24")
	r.addr("y", "10.71.0.1/24")
	r.neigh("10.70.0.9", mac6(0x71), "x") // the other end's address, so the node gets back what it sends
	r.route("10.72.0.0/16", "10.70.0.9", "x")
	out := r.in("eth0", toFar(datagram{dst: "10.72.0.1", ttl: 64}))
	require.Len(t, out, 1)
	out[0].wantICMP(t, 11, 0, eth0Addr, near)
	assert.Equal(t, uint64(63), r.stats("x").TxPackets)
	assert.Equal(t, uint64(63), r.stats("y").RxPackets)
	assert.Equal(t, map[engine.Reason]uint64{engine.DropTTL: 1}, r.drops())
}

func TestBehaviourPair(t *testing.T) {
	r := newRouter(t)
	a, b, err := r.AddPair(engine.Pair{
		Link: engine.Link{Name: "x", MAC: mac6(0x70), Up: true}, Peer: engine.Link{Name: "y", MAC: mac6(0x71), Up: true},
	})
	r.must(err)
	assert.Equal(t, []uint32{r.Index("x"), r.Index("y")}, []uint32{a, b})
	x, _ := r.Link("x")
	assert.Equal(t, "y", x.Peer)
	r.bridge("br", mac6(0xb0), "y")
	r.port("p0", mac6(0x50))
	r.must(r.SetMaster("p0", "br"))
	r.addr("x", "10.70.0.1/24")
	r.neigh("10.70.0.9", sta0, "x")
	s := r.one("eth0", toFar(datagram{dst: "10.70.0.9"}))
	assert.Equal(t, "p0", s.dev, "out of the bridge that the other end is a port of")
	assert.Equal(t, sta0.String()+" < "+mac6(0x70).String(), s.dstMAC()+" < "+s.srcMAC())

	r.must(r.SetLink("y", engine.LinkChange{Up: engine.Set(false)}))
	assert.Empty(t, on(r.in("eth0", toFar(datagram{dst: "10.70.0.9"})), "p0"))
	r.must(r.DeleteLink("x"))
	_, ok := r.Link("y")
	assert.False(t, ok, "both ends go")
}
