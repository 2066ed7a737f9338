package tuntap_test

// Pods on two nodes, joined by VXLAN between two engines with a wire in memory:
//
//	┌─── a ───┐     ┌────────── engine ──────────┐   memory   ┌────────── engine ──────────┐     ┌─── b ───┐
//	│  tap0   │─────│ pod ── bridge1 ── vxlan1 ──│── uplink ──│── vxlan1 ── bridge1 ── pod │─────│  tap0   │
//	│10.9.0.1 │     │                 10.1.0.1   │            │   10.1.0.2                 │     │10.9.0.2 │
//	└─────────┘     └────────────────────────────┘            └────────────────────────────┘     └─────────┘

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/traffic"
	"github.com/culvert-net/culvert/packet"
)

func TestThroughEngines(t *testing.T) { run(t, testThroughEngines) }

func testThroughEngines(t *testing.T) {
	for _, c := range []struct {
		name        string
		without     packet.Offloads
		superframes bool
	}{
		{"superframes all the way", 0, true},
		{"without TCP superframes", packet.OffloadTCP4 | packet.OffloadTCP6, false},
		{"without offloads", packet.OffloadChecksum, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := &topology{nsA: netnstest.New(t), nsB: netnstest.New(t)}
			config := tuntap.Config{MTU: 1450, MAC: ethernet.MAC{2, 0, 0, 0, 0, 1}, Without: c.without}
			top.a = openUp(t, top.nsA, config)
			config.MAC[5] = 2
			top.b = openUp(t, top.nsB, config)
			top.nsA.IP(t, "address add "+addressA+"/24 dev tap0")
			top.nsB.IP(t, "address add "+addressB+"/24 dev tap0")
			end := func() memory.End { // of a wire that takes what comes out of the tunnel whole
				return memory.End{
					Pool:     pool(t, 256, 66<<10),
					Offloads: packet.OffloadChecksum | packet.OffloadTCP4 | packet.OffloadUDP4 | packet.OffloadTunnelTCP4,
				}
			}
			wireA, wireB, err := memory.NewPair(memory.Config{A: end(), B: end()})
			require.NoError(t, err)
			startNode(t, 1, top.a, wireA)
			startNode(t, 2, top.b, wireB)

			total := volume(c.superframes)
			took := top.stream(t, total, addressB)
			sent := wireA.Stats().TxPackets
			t.Logf("%v: %s, %d packets between the nodes", top.a.Link().Offloads, traffic.Rate(total, took), sent)
			if c.superframes {
				assert.Less(t, sent, uint64(total/10_000), "superframes were cut on the way")
			}
		})
	}
}

// startNode runs one of the two nodes, numbered from 1, until the test ends.
func startNode(t *testing.T, number byte, pod, wire driver.Driver) {
	t.Helper()
	e, err := engine.New(engine.Config{Seed: uint64(number)})
	require.NoError(t, err)
	r := runner.New(e, runner.Config{})
	for name, d := range map[string]driver.Driver{"pod": pod, "uplink": wire} {
		_, err := r.Attach(d, engine.Port{
			Link: engine.Link{Name: name, Up: true}, Offloads: d.Link().Offloads, Coalesce: d.Link().Offloads.Has(packet.OffloadTCP4),
		})
		require.NoError(t, err)
	}
	address := netip.AddrFrom4([4]byte{10, 1, 0, number})
	far := netip.AddrFrom4([4]byte{10, 1, 0, 3 - number})
	require.NoError(t, e.AddAddr("uplink", engine.Addr{Prefix: netip.PrefixFrom(address, 24)}))
	_, err = e.AddBridge(engine.Bridge{Link: engine.Link{Name: "bridge1", Up: true}})
	require.NoError(t, err)
	_, err = e.AddVXLAN(engine.VXLAN{
		Link: engine.Link{Name: "vxlan1", MTU: 1450, Up: true}, VNI: 1, Local: address, Device: "uplink", Remote: far,
	})
	require.NoError(t, err)
	require.NoError(t, e.SetMaster("pod", "bridge1"))
	require.NoError(t, e.SetMaster("vxlan1", "bridge1"))

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
		assert.NoError(t, e.Stats().Check())
		for _, p := range r.Ports() {
			assert.NoError(t, p.Driver.Close())
		}
	})
}
