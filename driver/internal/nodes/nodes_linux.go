// Package nodes is what tests of drivers on IPv4 sockets need: two nodes, which are network namespaces, with a wire between them,
//
//	one 192.0.2.1 dev0 ──veth── dev1 192.0.2.2 two
//
// drivers there, and how fast those are.
package nodes

import (
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/packet"
)

// Patience bounds what must happen; only a failing test waits so long.
const Patience = 10 * time.Second

// Near returns the address of the first node.
func Near() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }

// Far returns the address of the second node.
func Far() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 2}) }

// Beyond returns an address that [Route] leads to, where nobody is.
func Beyond() netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, 2}) }

// New returns two nodes and connects them.
func New(tb testing.TB) (one, two *netnstest.Namespace) {
	tb.Helper()
	one, two = netnstest.New(tb), netnstest.New(tb)
	Connect(tb, one, two)
	return one, two
}

// Connect puts the wire between two nodes that have none, or whose wire has been deleted.
func Connect(tb testing.TB, one, two *netnstest.Namespace) {
	tb.Helper()
	netnstest.Veth(tb,
		netnstest.End{Namespace: one, Device: "dev0", MAC: "02:00:00:00:00:01"},
		netnstest.End{Namespace: two, Device: "dev1", MAC: "02:00:00:00:00:02"})
	one.IP(tb, "address add "+Near().String()+"/24 dev dev0")
	two.IP(tb, "address add "+Far().String()+"/24 dev dev1")
}

// Route makes the second node a router, by which the first one reaches the network of [Beyond] over a link of the MTU.
func Route(tb testing.TB, one, two *netnstest.Namespace, mtu int) {
	tb.Helper()
	netnstest.Veth(tb,
		netnstest.End{Namespace: two, Device: "dev2", MAC: "02:00:00:00:00:03"},
		netnstest.End{Namespace: netnstest.New(tb), Device: "dev3", MAC: "02:00:00:00:00:04"})
	two.IP(tb, "address add 198.51.100.1/24 dev dev2")
	two.IP(tb, "link set dev2 mtu "+strconv.Itoa(mtu))
	if err := two.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }); err != nil {
		tb.Fatal(err)
	}
	one.IP(tb, "route add 198.51.100.0/24 via "+Far().String())
}

// SetUp returns a function that sets dev0 of a node up or down.
func SetUp(tb testing.TB, one *netnstest.Namespace) func(up bool) error {
	return func(up bool) error {
		state := "down"
		if up {
			state = "up"
		}
		one.IP(tb, "link set dev0 "+state)
		return nil
	}
}

// SetMTU returns a function that sets the MTU of dev0 of a node.
func SetMTU(tb testing.TB, one *netnstest.Namespace) func(mtu int) error {
	return func(mtu int) error {
		one.IP(tb, "link set dev0 mtu "+strconv.Itoa(mtu))
		return nil
	}
}

// Open opens a driver in a node. Who opened it closes it.
func Open[C any, D driver.Driver](tb testing.TB, ns *netnstest.Namespace, open func(C) (D, error), c C) D {
	tb.Helper()
	var d D
	if err := ns.Do(func() (err error) {
		d, err = open(c)
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	return d
}

// Opened is Open of a driver that is closed when the test is over.
func Opened[C any, D driver.Driver](tb testing.TB, ns *netnstest.Namespace, open func(C) (D, error), c C) D {
	tb.Helper()
	d := Open(tb, ns, open, c)
	tb.Cleanup(func() {
		if err := d.Close(); err != nil {
			tb.Error(err)
		}
	})
	return d
}

// Receive returns the next packet from the first queue, which is the caller's to free.
func Receive(tb testing.TB, d driver.Driver) *packet.Buffer {
	tb.Helper()
	batch := make([]*packet.Buffer, 1)
	for end := time.Now().Add(Patience); time.Now().Before(end); {
		n, err := d.Queues()[0].Receive(batch, time.Second)
		if err != nil {
			tb.Fatal(err)
		}
		if n == 1 {
			return batch[0]
		}
	}
	tb.Fatalf("no packet came: %+v", d.Stats())
	return nil
}
