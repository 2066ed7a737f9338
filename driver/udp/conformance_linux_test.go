package udp_test

// The conformance suite, between two nodes that are namespaces:
//
//	the driver 192.0.2.1 dev0 ──veth── dev1 192.0.2.2 the other one

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver/drivertest"
	"github.com/culvert-net/culvert/driver/udp"
	"github.com/culvert-net/culvert/internal/netnstest"
)

// The suite's packets are between these two, and for the discard port.
var (
	near = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	far  = netip.AddrFrom4([4]byte{192, 0, 2, 2})
)

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
			one, two := netnstest.New(t), netnstest.New(t)
			netnstest.Veth(t,
				netnstest.End{Namespace: one, Device: "dev0", MAC: "02:00:00:00:00:01"},
				netnstest.End{Namespace: two, Device: "dev1", MAC: "02:00:00:00:00:02"})
			one.IP(t, "address add 192.0.2.1/24 dev dev0")
			two.IP(t, "address add 192.0.2.2/24 dev dev1")
			c.Port, c.Pool = discard, want.Pool
			return drivertest.Pair{
				Driver: open(t, one, c),
				Wire:   drivertest.Joined(open(t, two, udp.Config{Local: far, Port: discard})),
				SetUp: func(up bool) error {
					state := "down"
					if up {
						state = "up"
					}
					return ip(one, t, "link set dev0 "+state)
				},
				SetMTU: func(mtu int) error { return ip(one, t, "link set dev0 mtu "+strconv.Itoa(mtu)) },
			}
		},
		Rewrites: true,
		LongOK:   true, // the kernel cuts
	})
}

// ip runs the ip tool, which fails the test by itself.
func ip(ns *netnstest.Namespace, t *testing.T, args string) error {
	t.Helper()
	ns.IP(t, args)
	return nil
}

// open opens a driver in a namespace. Who opened it closes it.
func open(tb testing.TB, ns *netnstest.Namespace, c udp.Config) *udp.Driver {
	tb.Helper()
	var d *udp.Driver
	require.NoError(tb, ns.Do(func() (err error) {
		d, err = udp.New(c)
		return err
	}))
	return d
}
