package overlay

// Culvert as a subject: a bridge and a VXLAN device of an engine, on drivers.

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/driver/rawip"
	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/driver/udp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/packet"
)

// Culvert is an engine on drivers.
type Culvert struct {
	Label string
	// Open opens the drivers to the pod and to the other node.
	Open func(tb testing.TB, e *End) (pod, wire driver.Driver)

	Run   runner.Config
	Plain bool // superframes are cut, and none made
	IPIP  bool // pods are routed through an IPIP tunnel; there is no Ethernet on either side
}

// Culverts are the usual combinations of drivers.
func Culverts() []Culvert {
	return []Culvert{{Label: "culvert afpacket", Open: AFPacket}, {Label: "culvert tap+udp", Open: TAPAndUDP}}
}

// IPIP is culvert's IPIP on raw sockets, which only another one of it can be at the other end of.
func IPIP() Culvert { return Culvert{Label: "culvert tun+rawip", Open: TUNAndRawIP, IPIP: true} }

// Name is Subject's.
func (c Culvert) Name() string { return c.Label }

// AFPacket opens packet sockets on the node's ends of both cables.
func AFPacket(tb testing.TB, e *End) (pod, wire driver.Driver) {
	e.CablePod(tb)
	pod = open(tb, e.Node, func() (driver.Driver, error) {
		return afpacket.New(afpacket.Config{Device: PodPort, Promiscuous: true})
	})
	return pod, open(tb, e.Node, func() (driver.Driver, error) { return afpacket.New(afpacket.Config{Device: e.Wire}) })
}

// TAPAndUDP makes the pod's eth0 a TAP device, and opens a UDP socket in the node's namespace.
func TAPAndUDP(tb testing.TB, e *End) (pod, wire driver.Driver) {
	pod = open(tb, e.Pod, func() (driver.Driver, error) {
		return tuntap.New(tuntap.Config{Name: Eth0, Kind: tuntap.TAP, MAC: e.PodMAC, Up: true})
	})
	e.AddressPod(tb)
	e.AddressNode(tb)
	return pod, open(tb, e.Node, func() (driver.Driver, error) { return udp.New(udp.Config{Local: e.NodeAddr, Port: e.Port}) })
}

// TUNAndRawIP makes the pod's eth0 a TUN device, and opens a raw socket in the node's namespace.
func TUNAndRawIP(tb testing.TB, e *End) (pod, wire driver.Driver) {
	pod = open(tb, e.Pod, func() (driver.Driver, error) {
		return tuntap.New(tuntap.Config{Name: Eth0, Kind: tuntap.TUN, Up: true})
	})
	e.AddressPod(tb)
	e.AddressNode(tb)
	return pod, open(tb, e.Node, func() (driver.Driver, error) { return rawip.New(rawip.Config{Local: e.NodeAddr}) })
}

func open(tb testing.TB, ns *netnstest.Namespace, f func() (driver.Driver, error)) (d driver.Driver) {
	tb.Helper()
	require.NoError(tb, ns.Do(func() (err error) {
		d, err = f()
		return err
	}))
	return d
}

// Start is Subject's.
func (c Culvert) Start(tb testing.TB, e *End) {
	pod, wire := c.Open(tb, e)
	eng, err := engine.New(engine.Config{Seed: uint64(e.PodMAC[5])})
	require.NoError(tb, err)
	r := runner.New(eng, c.Run)
	for name, d := range map[string]driver.Driver{PodPort: pod, e.Wire: wire} {
		p := engine.Port{Link: engine.Link{Name: name, Up: true}}
		if p.Offloads = d.Link().Offloads; c.Plain {
			p.Offloads &= packet.OffloadChecksum
		}
		p.Coalesce = p.Offloads.Has(packet.OffloadTCP4)
		_, err := r.Attach(d, p)
		require.NoError(tb, err)
	}
	if c.IPIP {
		e.configureIPIP(tb, eng)
	} else {
		e.configure(tb, eng)
	}

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		assert.NoError(tb, <-ended)
		assert.NoError(tb, eng.Stats().Check())
		for _, p := range r.Ports() {
			assert.NoError(tb, p.Driver.Close())
		}
	})
}

// configure makes the engine the node.
func (e *End) configure(tb testing.TB, n *engine.Engine) {
	_, err := n.AddBridge(engine.Bridge{Link: engine.Link{Name: "bridge1", Up: true}})
	require.NoError(tb, err)
	require.NoError(tb, n.AddAddr(e.Wire, engine.Addr{Prefix: netip.PrefixFrom(e.NodeAddr, 24)}))
	v := engine.VXLAN{
		Link: engine.Link{Name: "vxlan1", MTU: PodMTU, Up: true}, VNI: VNI, Local: e.NodeAddr, Device: e.Wire, DstPort: e.Port,
		NoLearning: !e.Learning, UDPChecksum: e.UDPChecksum, Remote: e.Far.NodeAddr,
	}
	_, err = n.AddVXLAN(v)
	require.NoError(tb, err)
	for _, port := range []string{PodPort, "vxlan1"} {
		require.NoError(tb, n.SetMaster(port, "bridge1"), "port %s", port)
	}
	if !e.Learning {
		if l, ok := n.Link(e.Wire); ok && !l.Raw {
			require.NoError(tb, n.AddNeigh(engine.Neigh{Addr: e.Far.NodeAddr, Dev: e.Wire, MAC: e.Far.NodeMAC}))
		}
		for _, f := range []engine.FDBEntry{
			{MAC: e.PodMAC, Dev: PodPort, Master: true},
			{MAC: e.Far.PodMAC, Dev: "vxlan1", Master: true},
			{MAC: e.Far.PodMAC, Dev: "vxlan1", Dst: e.Far.NodeAddr},
		} {
			require.NoError(tb, n.AddFDB(f), "%+v", f)
		}
	}
}

// configureIPIP makes the engine the node, a router with an IPIP tunnel.
func (e *End) configureIPIP(tb testing.TB, n *engine.Engine) {
	n.SetForwarding(true)
	require.NoError(tb, n.AddAddr(e.Wire, engine.Addr{Prefix: netip.PrefixFrom(e.NodeAddr, 24)}))
	_, err := n.AddIPIP(engine.IPIP{
		Link: engine.Link{Name: "ipip1", MTU: PodMTU, Up: true}, Local: e.NodeAddr, Remote: e.Far.NodeAddr, Device: e.Wire,
	})
	require.NoError(tb, err)
	for dev, pod := range map[string]*End{PodPort: e, "ipip1": e.Far} {
		for _, p := range []netip.Prefix{netip.PrefixFrom(pod.PodAddr, 32), netip.PrefixFrom(pod.Nobody(), 32)} {
			require.NoError(tb, n.AddRoute(engine.Route{Prefix: p, Dev: dev}))
		}
	}
}
