// What Explain knows that no table knows yet: what the frame itself teaches on its way, and how much room packets have.
package engine_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/packet"
)

// pinging is an echo request of a station to the bridge's address, and teaches a bridge where the station is.
func pinging(src ethernet.MAC) []byte {
	return datagram{src: "10.9.0.1", dst: "10.9.0.254", proto: protoICMP, payload: echo(1, 1, 20)}.frame(brMAC, src)
}

// TestBehaviourExplainStation has answers that go to the station whose frame they answer, wherever it is by then.
func TestBehaviourExplainStation(t *testing.T) {
	neighbour := func(t *testing.T) *rig {
		r := newBridge(t)
		r.neigh("10.9.0.1", sta0, "br0")
		return r
	}
	t.Run("new", func(t *testing.T) {
		r := neighbour(t)
		s := r.one("p1", pinging(sta0)) // explained, and sent
		assert.Equal(t, "p1", s.dev)
	})
	t.Run("moved", func(t *testing.T) {
		r := neighbour(t)
		assert.Equal(t, "p1", r.one("p1", pinging(sta0)).dev)
		assert.Equal(t, "p2", r.one("p2", pinging(sta0)).dev)
	})
	t.Run("static, moved", func(t *testing.T) {
		r := neighbour(t)
		r.must(r.AddFDB(engine.FDBEntry{MAC: sta0, Dev: "p1", Master: true, Flags: fdb.Static}))
		assert.Equal(t, "p2", r.one("p2", pinging(sta0)).dev)
	})
	t.Run("sticky, stays", func(t *testing.T) {
		r := neighbour(t)
		r.must(r.AddFDB(engine.FDBEntry{MAC: sta0, Dev: "p1", Master: true, Flags: fdb.Static | fdb.Sticky}))
		assert.Equal(t, "p1", r.one("p2", pinging(sta0)).dev)
	})
	t.Run("no room on the port", func(t *testing.T) {
		r := neighbour(t)
		r.must(r.SetBridgePort("p1", engine.BridgePort{MaxLearned: 1}))
		r.in("p1", stationFrame(brMAC, sta1))
		x := r.explain("p1", pinging(sta0))
		var explained []string
		for _, o := range x.Outputs {
			explained = append(explained, o.Device)
		}
		assert.ElementsMatch(t, explained, devices(r.in("p1", pinging(sta0))), "flooded")
		assert.Greater(t, len(explained), 1)
	})
	t.Run("to itself", func(t *testing.T) {
		r := neighbour(t)
		r.refused(engine.DropSamePort, "p1", stationFrame(sta0, sta0))
	})
	t.Run("nothing is kept", func(t *testing.T) {
		r := neighbour(t)
		for range 2 {
			x := r.explain("p1", pinging(sta0))
			require.Len(t, x.Outputs, 1)
			assert.Contains(t, x.String(), "is behind port p1 (learned)", "it says each time what would be learned")
		}
		for e := range r.FDB("br0") {
			assert.NotEqual(t, sta0, e.MAC)
		}
	})
}

// TestBehaviourExplainVTEP is the same of a station behind a VTEP: the answer goes back into the tunnel.
func TestBehaviourExplainVTEP(t *testing.T) {
	r := newTenant(t, engine.VXLAN{})
	r.addr("br100", "10.9.0.254/24")
	r.neigh("10.9.0.1", mac6(0xb7), "br100")
	ping := datagram{src: "10.9.0.1", dst: "10.9.0.254", proto: protoICMP, payload: echo(1, 1, 20)}.frame(mac6(0xb0), mac6(0xb7))
	for _, vtep := range []string{tunnelEnd2, tunnelEnd3} { // new, then moved
		s := r.one("eth0", tunnelled(vtep, ping))
		assert.Equal(t, "eth0", s.dev)
		assert.Equal(t, vtep, s.dst())
	}
}

// TestBehaviourExplainRoom has pools whose buffers are not of the usual measures.
func TestBehaviourExplainRoom(t *testing.T) {
	pool := func(c packet.PoolConfig) func(*engine.Config) {
		p, err := packet.NewPool(c)
		require.NoError(t, err)
		return func(c *engine.Config) { c.Pool = p }
	}
	t.Run("too little headroom for the tunnel", func(t *testing.T) {
		r := newFlannel(t, pool(packet.PoolConfig{Headroom: 40}))
		r.refused(engine.DropNoHeadroom, "veth0", fromPodA(datagram{size: 100}))
	})
	t.Run("just enough", func(t *testing.T) {
		r := newFlannel(t, pool(packet.PoolConfig{Headroom: 50}))
		assert.Equal(t, "ens192", r.one("veth0", fromPodA(datagram{size: 100})).dev)
	})
	t.Run("copies of large frames", func(t *testing.T) {
		r := newBridge(t, pool(packet.PoolConfig{Size: 9216}))
		for _, p := range bridgePorts {
			r.setMTU(p, 9000)
		}
		frame := datagram{src: "10.9.0.1", dst: "10.9.0.2", size: 8000}.frame(mac6(0x99), sta0)
		x := r.explain("p0", frame)
		assert.Len(t, x.Outputs, len(r.in("p0", frame)))
		assert.Empty(t, x.Drops)
	})
	t.Run("frame longer than the pool's buffers", func(t *testing.T) {
		r := newBridge(t, pool(packet.PoolConfig{Size: 512}))
		x, err := r.Explain("p0", datagram{src: "10.9.0.1", dst: "10.9.0.2", size: 1000}.frame(brMAC, sta0), r.now)
		require.NoError(t, err)
		assert.NotEmpty(t, x.Steps)
	})
}
