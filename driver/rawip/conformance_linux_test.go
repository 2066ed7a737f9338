package rawip_test

// The conformance suite, between two nodes that are namespaces:
//
//	the driver 192.0.2.1 dev0 ──veth── dev1 192.0.2.2 the other one

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/drivertest"
	"github.com/culvert-net/culvert/driver/rawip"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
)

var (
	near = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	far  = netip.AddrFrom4([4]byte{192, 0, 2, 2})
)

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
			one, two := nodes(t)
			c.Pool = want.Pool
			return drivertest.Pair{
				Driver: open(t, one, c),
				Wire:   drivertest.Joined(open(t, two, rawip.Config{Local: far})),
				SetUp: func(up bool) error {
					state := "down"
					if up {
						state = "up"
					}
					one.IP(t, "link set dev0 "+state)
					return nil
				},
				SetMTU: func(mtu int) error {
					one.IP(t, "link set dev0 mtu "+strconv.Itoa(mtu))
					return nil
				},
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

// nodes returns two namespaces with a veth pair between them.
func nodes(tb testing.TB) (one, two *netnstest.Namespace) {
	tb.Helper()
	one, two = netnstest.New(tb), netnstest.New(tb)
	netnstest.Veth(tb,
		netnstest.End{Namespace: one, Device: "dev0", MAC: "02:00:00:00:00:01"},
		netnstest.End{Namespace: two, Device: "dev1", MAC: "02:00:00:00:00:02"})
	one.IP(tb, "address add 192.0.2.1/24 dev dev0")
	two.IP(tb, "address add 192.0.2.2/24 dev dev1")
	return one, two
}

// open opens a driver in a namespace. Who opened it closes it.
func open(tb testing.TB, ns *netnstest.Namespace, c rawip.Config) *rawip.Driver {
	tb.Helper()
	var d *rawip.Driver
	require.NoError(tb, ns.Do(func() (err error) {
		d, err = rawip.New(c)
		return err
	}))
	return d
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
