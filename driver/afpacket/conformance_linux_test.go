// The conformance suite, and what is the driver's own, over virtual Ethernet:
//
//	namespace near               namespace far
//	port0 02:00:00:00:00:01 ──── wire0 02:00:00:00:00:02
package afpacket_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/driver/drivertest"
	"github.com/culvert-net/culvert/internal/netnstest"
)

// pair is two namespaces joined by a wire.
type pair struct{ near, far *netnstest.Namespace }

func newPair(t *testing.T) pair {
	t.Helper()
	p := pair{netnstest.New(t), netnstest.New(t)}
	p.join(t)
	return p
}

func (p pair) join(t *testing.T) {
	t.Helper()
	netnstest.Veth(t,
		netnstest.End{Namespace: p.near, Device: "port0", MAC: "02:00:00:00:00:01"},
		netnstest.End{Namespace: p.far, Device: "wire0", MAC: "02:00:00:00:00:02"})
}

// open opens a driver in a namespace. It is closed at the end of the test.
func open(t *testing.T, ns *netnstest.Namespace, c afpacket.Config) *afpacket.Driver {
	t.Helper()
	var d *afpacket.Driver
	require.NoError(t, ns.Do(func() (err error) {
		d, err = afpacket.New(c)
		return err
	}))
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func TestConformance(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) { conform(t, 1) })
}

func TestConformanceOfSeveralQueues(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) { conform(t, 3) })
}

func conform(t *testing.T, queues int) {
	p := newPair(t)
	drivertest.Run(t, drivertest.Harness{
		New: func(t *testing.T, c drivertest.Config) drivertest.Pair {
			return drivertest.Pair{
				Driver: open(t, p.near, afpacket.Config{Device: "port0", Pool: c.Pool, Queues: queues}),
				Wire:   drivertest.Joined(open(t, p.far, afpacket.Config{Device: "wire0"})),
				SetUp: func(up bool) error {
					p.near.IP(t, "link set port0 "+map[bool]string{true: "up", false: "down"}[up])
					return nil
				},
				SetMTU: func(mtu int) error {
					p.near.IP(t, "link set port0 mtu "+strconv.Itoa(mtu))
					return nil
				},
			}
		},
		Depth: 256,
	})
}
