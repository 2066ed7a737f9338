package rawip_test

// The conformance suite, between two nodes that are namespaces:
//
//	the driver 192.0.2.1 dev0 ──veth── dev1 192.0.2.2 the other one

import (
	"net/netip"
	"testing"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/drivertest"
	"github.com/culvert-net/culvert/driver/internal/nodes"
	"github.com/culvert-net/culvert/driver/rawip"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
)

var near, far = nodes.Near(), nodes.Far()

func TestConformance(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, c := range []struct {
			name string
			rawip.Config
		}{
			{"an address", rawip.Config{Local: near}},
			{"a device", rawip.Config{Device: "dev0"}},
			{"peers, three queues", rawip.Config{Local: near, Peers: []netip.Addr{near, far}, Queues: 3}},
		} {
			t.Run(c.name, func(t *testing.T) { conformance(t, c.Config) })
		}
	})
}

func conformance(t *testing.T, c rawip.Config) {
	drivertest.Run(t, drivertest.Harness{
		New: func(t *testing.T, want drivertest.Config) drivertest.Pair {
			one, two := nodes.New(t)
			c.Pool = want.Pool
			return drivertest.Pair{
				Driver: nodes.Open(t, one, rawip.New, c),
				Wire:   drivertest.Joined(nodes.Open(t, two, rawip.New, rawip.Config{Local: far})),
				SetUp:  nodes.SetUp(t, one),
				SetMTU: nodes.SetMTU(t, one),
			}
		},
		Packet: func(_ driver.Link, d drivertest.Direction, flow int, payload []byte) []byte {
			if d == drivertest.Inward {
				return ipip(far, near, flow, payload)
			}
			return ipip(near, far, flow, payload)
		},
	})
}

// ipip is a packet of the flow in IPIP.
func ipip(src, dst netip.Addr, flow int, payload []byte) []byte {
	const inner = ipv4.HeaderLen + udp.HeaderLen
	p, err := ipv4.Fields{
		TTL: 64, TOS: 0x28, ID: uint16(flow) + 1, Protocol: ipv4.ProtocolIPIP, Src: src.As4(), Dst: dst.As4(),
	}.Append(nil, inner+len(payload))
	if err != nil {
		panic(err)
	}
	p, err = ipv4.Fields{
		TTL: 63, ID: 7, Protocol: udp.Protocol, Src: [4]byte{10, 0, 0, byte(flow)}, Dst: [4]byte{10, 0, 1, 1},
	}.Append(p, udp.HeaderLen+len(payload))
	if err != nil {
		panic(err)
	}
	p, err = udp.Fields{SrcPort: uint16(40000 + flow), DstPort: 9}.Append(p, len(payload))
	if err != nil {
		panic(err)
	}
	return append(p, payload...)
}
