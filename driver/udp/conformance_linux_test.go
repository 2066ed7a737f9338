package udp_test

// The conformance suite, between two nodes that are namespaces:
//
//	the driver 192.0.2.1 dev0 ──veth── dev1 192.0.2.2 the other one

import (
	"testing"

	"github.com/culvert-net/culvert/driver/drivertest"
	"github.com/culvert-net/culvert/driver/internal/nodes"
	"github.com/culvert-net/culvert/driver/udp"
	"github.com/culvert-net/culvert/internal/netnstest"
)

// The suite's packets are between these two, and for the discard port.
var near, far = nodes.Near(), nodes.Far()

const discard = 9

func TestConformance(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, c := range []struct {
			name string
			udp.Config
		}{
			{"defaults", udp.Config{Local: near}},
			{"any address, a device", udp.Config{Device: "dev0"}},
			{"unmerged", udp.Config{Local: near, NoGSO: true, NoGRO: true}},
			{"one source port", udp.Config{Local: near, SourcePorts: 1}},
			{"three queues", udp.Config{Local: near, Queues: 3}},
		} {
			t.Run(c.name, func(t *testing.T) { conformance(t, c.Config) })
		}
	})
}

func conformance(t *testing.T, c udp.Config) {
	drivertest.Run(t, drivertest.Harness{
		New: func(t *testing.T, want drivertest.Config) drivertest.Pair {
			one, two := nodes.New(t)
			c.Port, c.Pool = discard, want.Pool
			return drivertest.Pair{
				Driver: nodes.Open(t, one, udp.New, c),
				Wire:   drivertest.Joined(nodes.Open(t, two, udp.New, udp.Config{Local: far, Port: discard})),
				SetUp:  nodes.SetUp(t, one),
				SetMTU: nodes.SetMTU(t, one),
			}
		},
		Rewrites: true,
		LongOK:   true, // the kernel cuts
	})
}
