package memory_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver/drivertest"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

const everything = packet.OffloadVLAN | packet.OffloadChecksum | packet.OffloadTCP4 | packet.OffloadUDP4 | packet.OffloadTCP6 |
	packet.OffloadTunnelTCP4

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name string
		memory.Config
	}{
		{name: "Ethernet"},
		{name: "shared buffers", Config: memory.Config{Share: true}},
		{name: "raw", Config: memory.Config{Raw: true}},
		{name: "several queues", Config: memory.Config{A: memory.End{Queues: 3}, B: memory.End{Queues: 2}}},
		{name: "no MTU", Config: memory.Config{MTU: -1}},
		{name: "MTU 9000", Config: memory.Config{MTU: 9000}},
		{name: "offloads", Config: memory.Config{A: memory.End{Offloads: everything, MAC: ethernet.MAC{2, 1}, Name: "a"}, B: memory.End{Offloads: everything}}},
		{name: "raw with offloads", Config: memory.Config{Raw: true, A: memory.End{Offloads: everything &^ packet.OffloadVLAN}}},
		{name: "everything", Config: memory.Config{Share: true, MTU: -1, A: memory.End{Offloads: everything, Queues: 2}, B: memory.End{Offloads: everything}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			drivertest.Run(t, drivertest.Harness{New: func(t *testing.T, want drivertest.Config) drivertest.Pair {
				far, err := packet.NewPool(packet.PoolConfig{Buffers: 256, Size: 16384})
				require.NoError(t, err)
				c.A.Pool, c.B.Pool = want.Pool, far
				a, b, err := memory.NewPair(c.Config)
				require.NoError(t, err)
				t.Cleanup(func() { require.Zero(t, far.InUse()) })
				return drivertest.Pair{
					Driver: a, Wire: drivertest.Joined(b), SetMTU: a.SetMTU,
					SetUp: func(up bool) error { b.SetUp(up); return nil },
				}
			}})
		})
	}
}
