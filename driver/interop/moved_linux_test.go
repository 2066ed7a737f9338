package interop_test

// Addresses that change while a TCP connection each way is under way: a node's MAC or IP address, a pod's place or MAC address.

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/overlay"
)

// announce sends who has an address from a device of Linux's.
func announce(t *testing.T, ns *netnstest.Namespace, device string, addr netip.Addr, mac ethernet.MAC) {
	t.Helper()
	ns.Socket(t, device).Send(t, arp.Announcement(mac, addr.As4()).AppendFrame(nil, ethernet.Broadcast))
}

// TestPeerMACChanges: the wire of the other node gets another MAC address, and culvert, which asks by ARP, finds out.
func TestPeerMACChanges(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, c := range []struct {
			name   string
			params arp.Params
		}{
			{"announced", arp.Params{LockTime: -1}},
			{"found out by timers", arp.Params{
				BaseReachable: 100 * time.Millisecond, Delay: 50 * time.Millisecond, Retransmit: 20 * time.Millisecond,
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				s := overlay.New(t, overlay.Config{Learning: true})
				overlay.Linux{}.Start(t, &s.B)
				overlay.Culvert{Open: overlay.AFPacket}.Start(t, &s.A)
				e := s.A.Runner.Engine()
				require.NoError(t, e.SetNeighParams(s.A.Wire, c.params))
				all := transferBothWays(t, s)
				mac := ethernet.MAC{2, 0, 0, 0, 0x32, 2}
				// Linux forgets its neighbours then, and would ask for them, and thereby tell.
				s.B.Node.IP(t, fmt.Sprintf("ntable change name arp_cache dev %s mcast_probes 0 ucast_probes 0 app_probes 0", s.B.Wire))
				s.B.Node.IP(t, fmt.Sprintf("link set %s address %s", s.B.Wire, mac))
				s.B.AddressNode(t)
				if c.params.LockTime < 0 {
					announce(t, s.B.Node, s.B.Wire, s.B.NodeAddr, mac)
				}
				all.goOn(t, "another MAC address")
				n, ok := e.GetNeigh(s.B.NodeAddr, s.A.Wire)
				assert.True(t, ok)
				assert.Equal(t, mac, n.MAC)
				all.end(t)
			})
		}
	})
}

// TestPodMoves from one node to the other, as a virtual machine does, and gets another MAC address there.
func TestPodMoves(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		culvert := overlay.Culvert{Label: "culvert", Open: overlay.AFPacket}
		for _, b := range []overlay.Subject{overlay.Linux{}, culvert} {
			t.Run("from "+b.Name(), func(t *testing.T) {
				s := overlay.Join(t, overlay.Config{Learning: true}, culvert, b)
				all := transferBothWays(t, s)
				const port = "pod2"
				s.B.Node.IP(t, "link set "+overlay.PodPort+" down")
				s.B.Node.IP(t, "link set "+overlay.PodPort+" name "+port)
				s.B.Node.Move(t, port, s.A.Node)
				s.A.Node.Up(t, port)
				plug(t, &s.A, port)
				all.goOn(t, "moved")

				mac := ethernet.MAC{2, 0, 0, 0, 0x45, 2}
				s.B.Pod.IP(t, fmt.Sprintf("link set %s address %s", overlay.Eth0, mac))
				announce(t, s.B.Pod, overlay.Eth0, s.B.PodAddr, mac)
				all.goOn(t, "another MAC address")
				all.end(t)
			})
		}
	})
}

// plug makes a device a port of the bridge of a node that runs.
func plug(t *testing.T, e *overlay.End, device string) {
	t.Helper()
	require.NoError(t, e.Node.Do(func() error {
		d, err := afpacket.New(afpacket.Config{Device: device, Promiscuous: true})
		if err != nil {
			return err
		}
		_, err = e.Runner.Attach(d, engine.Port{Link: engine.Link{Name: device, Up: true}})
		return err
	}))
	require.NoError(t, e.Runner.Engine().SetMaster(device, "bridge1"))
}

// moved is another address of node B.
const moved = "172.31.0.3"

// toNowhere returns how many packets were dropped since there was no way for them.
func toNowhere(e *engine.Engine) uint64 {
	d := e.Stats().Drops
	return d[engine.DropFDBMiss] + d[engine.DropTunnelRemote] + d[engine.DropTunnelRoute] + d[engine.DropNoRoute] +
		d[engine.DropDeviceGone] + d[engine.DropNeighbour] + d[engine.DropNeighbourGone]
}

// TestNodeAddressChanges: an entry for a pod gets another VTEP in one step, so no packet goes nowhere; see [engine.Engine.ReplaceFDB].
func TestNodeAddressChanges(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, a := range overlay.Culverts() {
			t.Run(a.Name(), func(t *testing.T) {
				s := overlay.Join(t, overlay.Config{}, a, overlay.Linux{})
				s.B.Node.IP(t, fmt.Sprintf("address add %s/24 dev %s", moved, s.B.Wire))
				e := s.A.Runner.Engine()
				entry := engine.FDBEntry{MAC: s.B.PodMAC, Dev: "vxlan1"}
				if l, _ := e.Link(s.A.Wire); !l.Raw {
					require.NoError(t, e.AddNeigh(engine.Neigh{Addr: netip.MustParseAddr(moved), Dev: s.A.Wire, MAC: s.B.NodeMAC}))
				}
				all := transferBothWays(t, s)
				l, _ := e.Link("vxlan1")
				l.VXLAN.Remote = netip.Addr{} // so that there is nowhere to send what has no entry
				require.NoError(t, e.SetVXLAN("vxlan1", *l.VXLAN))
				for i, far := 0, all.farther(); !far(t); i++ {
					entry.Dst = s.B.NodeAddr
					if i%2 == 0 {
						entry.Dst = netip.MustParseAddr(moved)
					}
					require.NoError(t, e.ReplaceFDB(entry))
				}
				assert.Zero(t, toNowhere(e))

				s.B.Node.IP(t, "link delete vxlan1")
				s.B.Node.IP(t, fmt.Sprintf("address delete %s/24 dev %s", s.B.NodeAddr, s.B.Wire))
				s.B.NodeAddr = netip.MustParseAddr(moved)
				s.B.Node.IP(t, fmt.Sprintf("address replace %s/24 dev %s", s.B.NodeAddr, s.B.Wire))
				overlay.Linux{}.Tunnel(t, &s.B)
				entry.Dst = s.B.NodeAddr
				require.NoError(t, e.ReplaceFDB(entry))
				all.goOn(t, "for good")
				all.end(t)
			})
		}
	})
}

// TestPeerChanges: nodes that route as Flannel's do, and a peer that gets another address in one step; see [engine.Engine.SetPeer].
//
//	pod A 10.1.0.2 ── 10.1.0.1 node A ── VXLAN ── node B 10.2.0.1 ── 10.2.0.2 pod B
func TestPeerChanges(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		routed := overlay.Culvert{Open: overlay.AFPacket, Configure: routed}
		s := overlay.Join(t, overlay.Config{}, routed, routed)
		for _, x := range []*overlay.End{&s.A, &s.B} {
			number := x.PodMAC[5]
			x.Pod.IP(t, "address flush dev "+overlay.Eth0)
			x.PodAddr = netip.AddrFrom4([4]byte{10, number, 0, 2})
			x.Pod.IP(t, fmt.Sprintf("address add %s/24 dev %s", x.PodAddr, overlay.Eth0))
			x.Pod.IP(t, fmt.Sprintf("route add default via 10.%d.0.1", number))
		}
		a, b := s.A.Runner.Engine(), s.B.Runner.Engine()
		addr := netip.MustParseAddr(moved)
		require.NoError(t, a.AddNeigh(engine.Neigh{Addr: addr, Dev: s.A.Wire, MAC: s.B.NodeMAC}))
		require.NoError(t, b.AddAddr(s.B.Wire, engine.Addr{Prefix: netip.PrefixFrom(addr, 24)}))
		all := transferBothWays(t, s)
		for i, far := 0, all.farther(); !far(t); i++ {
			p := peerOf(&s.A)
			if i%2 == 0 {
				p.Node = addr
			}
			require.NoError(t, a.SetPeer(p))
		}
		assert.Zero(t, toNowhere(a))

		l, _ := b.Link("flannel.1")
		l.VXLAN.Local = addr
		require.NoError(t, b.SetVXLAN("flannel.1", *l.VXLAN))
		require.NoError(t, b.DeleteAddr(s.B.Wire, netip.PrefixFrom(s.B.NodeAddr, 24))) // and the other one, which was its secondary
		require.NoError(t, b.AddAddr(s.B.Wire, engine.Addr{Prefix: netip.PrefixFrom(addr, 24)}))
		s.B.NodeAddr = addr
		require.NoError(t, a.SetPeer(peerOf(&s.A)))
		all.goOn(t, "for good")
		all.end(t)
	})
}

// routed makes the engine a node of Flannel's.
func routed(tb testing.TB, e *overlay.End, n *engine.Engine) {
	number := e.PodMAC[5]
	n.SetForwarding(true)
	_, err := n.AddVXLAN(engine.VXLAN{
		Link: engine.Link{Name: "flannel.1", MTU: overlay.PodMTU, MAC: ethernet.MAC{2, 0, 0, 0, 0xf1, number}, Up: true},
		VNI:  overlay.VNI, Local: e.NodeAddr, Device: e.Wire, DstPort: e.Port, NoLearning: true,
	})
	require.NoError(tb, err)
	for dev, prefix := range map[string]netip.Prefix{
		overlay.PodPort: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, number, 0, 1}), 24),
		"flannel.1":     netip.PrefixFrom(netip.AddrFrom4([4]byte{10, number, 0, 0}), 32),
		e.Wire:          netip.PrefixFrom(e.NodeAddr, 24),
	} {
		require.NoError(tb, n.AddAddr(dev, engine.Addr{Prefix: prefix}))
	}
	require.NoError(tb, n.AddNeigh(engine.Neigh{Addr: e.Far.NodeAddr, Dev: e.Wire, MAC: e.Far.NodeMAC}))
	require.NoError(tb, n.SetPeer(peerOf(e)))
}

// peerOf returns the other node as a node sees it.
func peerOf(e *overlay.End) engine.Peer {
	far := e.Far.PodMAC[5]
	gateway := netip.AddrFrom4([4]byte{10, far, 0, 0})
	return engine.Peer{
		Name: "far", Node: e.Far.NodeAddr, Subnets: []netip.Prefix{netip.PrefixFrom(gateway, 24)},
		Dev: "flannel.1", Gateway: gateway, MAC: ethernet.MAC{2, 0, 0, 0, 0xf1, far},
	}
}
