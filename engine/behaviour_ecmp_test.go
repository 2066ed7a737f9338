// Routes over several next hops: a flow stays on its way, its fragments stay together, and weights are shares of flows.
package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
)

// newFork is a router with two ways to 10.5.0.0/16.
func newFork(t testing.TB, weights [2]uint16, change ...func(*engine.Config)) *rig {
	t.Helper()
	r := newRouter(t, change...)
	r.port("eth2", mac6(0x03), "10.2.0.1/24")
	r.neigh("10.2.0.9", mac6(0x39), "eth2")
	r.must(r.AddRoute(engine.Route{Prefix: prefix("10.5.0.0/16"), NextHops: []engine.NextHop{
		{Via: addr4(far), Dev: "eth1", Weight: weights[0]}, {Via: addr4("10.2.0.9"), Dev: "eth2", Weight: weights[1]},
	}}))
	return r
}

func TestBehaviourECMPFlowsStick(t *testing.T) {
	for _, p := range profiles {
		r := newFork(t, [2]uint16{1, 1}, follow(p))
		count := map[string]int{}
		for flow := range 600 {
			d := datagram{dst: fmt.Sprintf("10.5.0.%d", flow%8), sport: uint16(1000 + flow)}
			way := r.one("eth0", toFar(d)).dev
			count[way]++
			for range 3 {
				assert.Equal(t, way, r.one("eth0", toFar(d)).dev, "flow %d", flow)
			}
		}
		assert.Greater(t, count["eth1"], 230, "%v", count)
		assert.Greater(t, count["eth2"], 230, "%v", count)
	}
}

func TestBehaviourECMPWeights(t *testing.T) {
	r := newFork(t, [2]uint16{3, 1})
	count := map[string]int{}
	for flow := range 800 {
		count[r.one("eth0", toFar(datagram{dst: "10.5.0.1", sport: uint16(1000 + flow)})).dev]++
	}
	assert.InDelta(t, 600, count["eth1"], 70)
}

func TestBehaviourECMPFragmentsStayTogether(t *testing.T) {
	r := newFork(t, [2]uint16{1, 1})
	ways := map[string]bool{}
	for flow := range 100 {
		whole := datagram{src: near, dst: "10.5.0.1", sport: uint16(2000 + flow), size: 20 + 1440}.packet()
		d := datagram{src: near, dst: fmt.Sprintf("10.5.1.%d", flow), proto: protoUDP, id: uint16(flow)}
		first, last := d, d
		first.mf, first.payload = true, whole[20:740]
		last.offset, last.payload = 720, whole[740:]
		out := r.in("eth0", toFar(last), toFar(first))
		require.Len(t, out, 2)
		assert.Equal(t, out[0].dev, out[1].dev)
		ways[out[0].dev] = true
	}
	assert.Len(t, ways, 2)
}

func TestBehaviourECMPDeadWay(t *testing.T) {
	r := newFork(t, [2]uint16{1, 1})
	r.must(r.SetLink("eth1", engine.LinkChange{Up: engine.Set(false)}))
	for flow := range 50 {
		assert.Equal(t, "eth2", r.one("eth0", toFar(datagram{dst: "10.5.0.1", sport: uint16(1000 + flow)})).dev)
	}
}

// TestBehaviourECMPInnerFlow chooses by the packet that is routed, so one tunnel's flows spread over the ways to its remote end
// by their outer source ports.
func TestBehaviourECMPOfATunnel(t *testing.T) {
	r := newFork(t, [2]uint16{1, 1})
	r.vxlan("vx", mac6(0xe1), engine.VXLAN{VNI: 7, Local: addr4("10.0.0.1"), NoLearning: true})
	r.addr("vx", "10.77.0.1/24")
	r.neigh("10.77.0.2", mac6(0xf1), "vx")
	r.fdb(mac6(0xf1), "vx", "10.5.0.1")
	r.route("10.78.0.0/16", "10.77.0.2", "vx")
	count := map[string]int{}
	for flow := range 200 {
		d := datagram{dst: "10.78.0.1", sport: uint16(1000 + flow)}
		s := r.one("eth0", toFar(d))
		count[s.dev]++
		assert.Equal(t, s.dev, r.one("eth0", toFar(d)).dev)
	}
	assert.Greater(t, count["eth1"], 50, "%v", count)
	assert.Greater(t, count["eth2"], 50, "%v", count)
}
