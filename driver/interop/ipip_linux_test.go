package interop_test

// IPIP between two pods, culvert on raw sockets on one node, and on the other culvert too, or the ipip device of a second
// kernel:
//
//	┌ pod A ┐   ┌── node A ──┐           ┌── node B ──┐   ┌ pod B ┐
//	│  tun0 ┼───┼engine wire1┼───veth────┼ wire2      ┼───┼       │
//	└───────┘   └────────────┘           └────────────┘   └───────┘
//	10.0.1.1      192.0.2.1      IPIP      192.0.2.2      10.0.2.1

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/rawip"
	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/umlpeer"
	"github.com/culvert-net/culvert/packet"
)

const ipipMTU = 1480 // of Ethernet, less one more header

// ipipNode is one of the two.
type ipipNode struct {
	number int
	node   *netnstest.Namespace
	pod    host
	any    bool // the tunnel has any remote end
}

func (n ipipNode) addr() string { return fmt.Sprintf("192.0.2.%d", n.number) }

func (n ipipNode) wire() string { return fmt.Sprintf("wire%d", n.number) }

func (n ipipNode) far() string { return fmt.Sprintf("192.0.2.%d", 3-n.number) }

func (n ipipNode) farPods() string { return fmt.Sprintf("10.0.%d.0/24", 3-n.number) }

func TestIPIP(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, remote := range []bool{false, true} {
			for name, start := range map[string]func(*testing.T, ipipNode){"culvert": culvertIPIP, "Linux": linuxIPIP} {
				t.Run(fmt.Sprintf("%s/any remote=%t", name, remote), func(t *testing.T) { ipipTraffic(t, remote, start) })
			}
		}
	})
}

func ipipTraffic(t *testing.T, remote bool, start func(*testing.T, ipipNode)) {
	var nodes [2]ipipNode
	for i := range nodes {
		nodes[i] = ipipNode{
			number: i + 1, any: remote, node: netnstest.New(t),
			pod: host{netnstest.New(t), netip.AddrFrom4([4]byte{10, 0, byte(i + 1), 1})},
		}
	}
	netnstest.Veth(t,
		netnstest.End{Namespace: nodes[0].node, Device: "wire1", MAC: "02:00:00:00:00:01"},
		netnstest.End{Namespace: nodes[1].node, Device: "wire2", MAC: "02:00:00:00:00:02"})
	culvertIPIP(t, nodes[0])
	start(t, nodes[1])
	a, b := nodes[0].pod, nodes[1].pod
	a.ns.Tool(t, "ping", "-q", "-c", "1", "-w", "20", b.addr.String()) // until all have found each other
	for _, way := range [][2]host{{a, b}, {b, a}} {
		from, to := way[0], way[1]
		pings(t, from, to, ipipMTU)
		datagrams(t, from, to, 4000)
		t.Logf("TCP: %s", stream(t, from, to, 8<<20))
	}
}

// culvertIPIP makes an engine the node, on a raw socket and a TUN device.
func culvertIPIP(t *testing.T, n ipipNode) {
	t.Helper()
	n.node.IP(t, "address add "+n.addr()+"/24 dev "+n.wire())
	wire := openIn(t, n.node, func() (driver.Driver, error) { return rawip.New(rawip.Config{Local: netip.MustParseAddr(n.addr())}) })
	tun := openIn(t, n.pod.ns, func() (driver.Driver, error) {
		return tuntap.New(tuntap.Config{Name: "tun0", Kind: tuntap.TUN, MTU: ipipMTU, Up: true})
	})
	n.pod.ns.IP(t, "address add "+n.pod.addr.String()+"/24 dev tun0")
	n.pod.ns.IP(t, "route add default dev tun0")

	e, err := engine.New(engine.Config{Seed: uint64(n.number)})
	require.NoError(t, err)
	r := runner.New(e, runner.Config{})
	for name, d := range map[string]driver.Driver{"wire": wire, "pod": tun} {
		p := engine.Port{Link: engine.Link{Name: name, Up: true}, Offloads: d.Link().Offloads}
		p.Coalesce = p.Offloads.Has(packet.OffloadTCP4)
		_, err := r.Attach(d, p)
		require.NoError(t, err)
	}
	configureIPIP(t, e, n)

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
		assert.NoError(t, e.Stats().Check())
		stats := wire.Stats()
		assert.Zero(t, stats.RxErrors+stats.TxErrors, "%+v", stats)
		for _, d := range []driver.Driver{wire, tun} {
			assert.NoError(t, d.Close())
		}
	})
}

func configureIPIP(t *testing.T, e *engine.Engine, n ipipNode) {
	t.Helper()
	far := netip.MustParseAddr(n.far())
	tunnel := engine.IPIP{Link: engine.Link{Name: "tunnel1", Up: true}, Local: netip.MustParseAddr(n.addr()), Remote: far}
	route := engine.Route{Prefix: netip.MustParsePrefix(n.farPods()), Dev: "tunnel1"}
	if n.any {
		tunnel.Remote, tunnel.Peers = netip.Addr{}, []netip.Addr{far}
		route.Via, route.Onlink = far, true
	}
	require.NoError(t, e.AddAddr("wire", engine.Addr{Prefix: netip.PrefixFrom(tunnel.Local, 24)}))
	_, err := e.AddIPIP(tunnel)
	require.NoError(t, err)
	require.NoError(t, e.AddRoute(engine.Route{Prefix: netip.PrefixFrom(n.pod.addr, 32), Dev: "pod"}))
	require.NoError(t, e.AddRoute(route))
	e.SetForwarding(true)
}

// linuxIPIP makes a second kernel the node, which routes between its ipip device and a cable to the pod.
func linuxIPIP(t *testing.T, n ipipNode) {
	t.Helper()
	netnstest.Veth(t,
		netnstest.End{Namespace: n.node, Device: "cable", MAC: "02:00:00:00:00:03"},
		netnstest.End{Namespace: n.pod.ns, Device: "eth0", MAC: "02:00:00:00:00:04"})
	n.pod.ns.Tool(t, "ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off", "gro", "off") // the second kernel takes what is on a wire
	pod := netip.PrefixFrom(n.pod.addr, 24)
	n.pod.ns.IP(t, "address add "+pod.String()+" dev eth0")
	gateway := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n.number), 254}), 24)
	n.pod.ns.IP(t, "route add default via "+gateway.Addr().String())

	tunnel, via := "remote "+n.far(), "dev tunnel1"
	if n.any {
		tunnel, via = "", "via "+n.far()+" dev tunnel1 onlink"
	}
	umlpeer.Start(t, n.node, fmt.Sprintf(`
		ip link set vec0 up
		ip address add %s/24 dev vec0
		ip link set vec1 up
		ip address add %s dev vec1
		ip link add tunnel1 type ipip local %s %s
		ip link set tunnel1 up
		ip route add %s %s
		echo 1 >/proc/sys/net/ipv4/ip_forward`, n.addr(), gateway, n.addr(), tunnel, n.farPods(), via), n.wire(), "cable")
}

func openIn(t *testing.T, ns *netnstest.Namespace, open func() (driver.Driver, error)) (d driver.Driver) {
	t.Helper()
	require.NoError(t, ns.Do(func() (err error) {
		d, err = open()
		return err
	}))
	return d
}
