package interop_test

// VXLAN between two pods, culvert on one node or both; see package overlay for the network.

import (
	"fmt"
	"testing"

	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/overlay"
)

func TestVXLAN(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, a := range overlay.Culverts() {
			peers := []overlay.Subject{overlay.Linux{}, overlay.OpenVSwitch{}, a}
			if raceEnabled { // Open vSwitch takes half of the time, and says nothing about culvert's races that Linux does not
				peers = []overlay.Subject{overlay.Linux{}, a}
			}
			for _, b := range peers {
				for _, c := range []overlay.Config{
					{},
					{Learning: true, UDPChecksum: true, Port: 4789},
				} {
					t.Run(fmt.Sprintf("%s/%s/learning=%t", a.Name(), b.Name(), c.Learning), func(t *testing.T) {
						everything(t, overlay.Join(t, c, a, b))
					})
				}
			}
		}
	})
}

// everything tries everything in both directions.
func everything(t *testing.T, s *overlay.Site) {
	a, b := host{s.A.Pod, s.A.PodAddr}, host{s.B.Pod, s.B.PodAddr}
	a.ns.Tool(t, "ping", "-q", "-c", "1", "-w", "20", b.addr.String()) // until all have found each other
	for _, way := range [][2]host{{a, b}, {b, a}} {
		from, to := way[0], way[1]
		pings(t, from, to, overlay.PodMTU)
		resolves(t, from, to)
		datagrams(t, from, to, 4000)
		t.Logf("TCP: %s", stream(t, from, to, 32<<20))
	}
}
