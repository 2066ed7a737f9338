package engine_test

// Scenario S10: Calico's IPIP and VXLAN, each for all nodes ('Always') and only across subnets ('CrossSubnet').
//
//	podA 10.65.0.2 ── A 192.168.30.211 ──┐
//	     10.65.0.0/26                    br0 192.168.30.1 router 192.168.40.1 ── C 192.168.40.213 ── podC 10.65.0.130
//	podB 10.65.0.66 ─ B 192.168.30.212 ──┘                                      10.65.0.128/26
//	     10.65.0.64/26

import (
	"crypto/sha1"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/testnet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/vxlan"
)

// calicoNode is what Calico knows of a node.
type calicoNode struct {
	name, nicMAC string
	nic          netip.Prefix
	gateway      string
	block        string // of pods, /26
	tunnel       string // address of tunl0 or vxlan.calico, from the block
	pod          string
}

var calicoNodes = [3]calicoNode{
	{"A", "00:0c:29:00:02:11", netip.MustParsePrefix("192.168.30.211/24"), "192.168.30.1", "10.65.0.0/26", "10.65.0.1", "10.65.0.2"},
	{"B", "00:0c:29:00:02:12", netip.MustParsePrefix("192.168.30.212/24"), "192.168.30.1", "10.65.0.64/26", "10.65.0.65", "10.65.0.66"},
	{"C", "00:0c:29:00:02:13", netip.MustParsePrefix("192.168.40.213/24"), "192.168.40.1", "10.65.0.128/26", "10.65.0.129", "10.65.0.130"},
}

// vtepMAC returns the MAC address of a node's vxlan.calico: 0x66 and five bytes of the name's SHA-1 (felix/calc, vxlan_resolver.go).
func vtepMAC(node string) ethernet.MAC {
	sum := sha1.Sum([]byte(node))
	m := ethernet.MAC{0x66}
	copy(m[1:], sum[:5])
	return m
}

type calicoCluster struct {
	*testnet.Net
	router *testnet.Node
	nodes  [3]*testnet.Node
	pods   [3]*testnet.Node
	nics   [3]*testnet.Wire
}

// newCalicoCluster returns a cluster with a warm underlay: addresses are resolved and confirmed.
func newCalicoCluster(t *testing.T, seed uint64, tunnel string, crossSubnet bool) calicoCluster {
	n := calicoCluster{Net: testnet.New(t, seed)}
	n.router = n.Router("router")
	n.router.Add(engine.Bridge{Link: testnet.Link("br0", "02:00:00:00:30:01")}, "192.168.30.1/24")
	for i, c := range calicoNodes {
		h := calicoHost(n.Net, c.name, c.nicMAC, c.nic.Addr().String(), c.gateway)
		port := fmt.Sprintf("p%d", i)
		n.router.Add(engine.Port{Link: testnet.Link(port, "")})
		n.nodes[i], n.nics[i] = h, n.Wire(h, "ens33", n.router, port)
	}
	n.router.Do(n.router.E.SetMaster("p0", "br0"), n.router.E.SetMaster("p1", "br0"))
	n.router.Addr("p2", "192.168.40.1/24")
	for i, c := range calicoNodes {
		n.calico(i, tunnel, crossSubnet)
		n.pods[i], _ = calicoPod(n.Net, n.nodes[i], "pod"+c.name, fmt.Sprintf("02:00:00:00:00:%02x", i+1), c.pod, "/32", "cali"+c.name)
	}
	expectPing(t, n.nodes[0], "192.168.30.212", 64)
	expectPing(t, n.nodes[0], "192.168.40.213", 63)
	expectPing(t, n.nodes[1], "192.168.40.213", 63)
	n.Run(10 * time.Second)
	n.clear()
	return n
}

// calico programs a node as Calico does.
func (n calicoCluster) calico(i int, tunnel string, crossSubnet bool) {
	self, node := calicoNodes[i], n.nodes[i]
	var peers []netip.Addr
	for j, c := range calicoNodes {
		if j != i {
			peers = append(peers, c.nic.Addr())
		}
	}
	node.Route("blackhole " + self.block)
	dev := "tunl0"
	if tunnel == "ipip" {
		node.Add(engine.IPIP{Link: testnet.Link(dev, ""), NoPMTUDisc: true, Peers: peers}, self.tunnel+"/32")
	} else {
		dev = "vxlan.calico"
		node.Add(engine.VXLAN{
			Link: testnet.Link(dev, vtepMAC(self.name).String()), VNI: 4096, DstPort: vxlan.Port, Local: self.nic.Addr(), Device: "ens33",
			NoLearning: true, VTEPs: peers,
		}, self.tunnel+"/32")
	}
	for j, c := range calicoNodes {
		switch {
		case j == i:
		case crossSubnet && self.nic.Masked() == c.nic.Masked():
			node.Route(c.block + " via " + c.nic.Addr().String() + " dev ens33")
		case tunnel == "ipip":
			node.Route(c.block + " via " + c.nic.Addr().String() + " dev tunl0 onlink")
		default:
			node.Do(
				node.E.AddNeigh(engine.Neigh{Addr: ip(c.tunnel), Dev: dev, MAC: vtepMAC(c.name)}),
				node.E.AddFDB(engine.FDBEntry{MAC: vtepMAC(c.name), Dev: dev, Dst: c.nic.Addr(), Flags: fdb.Static}),
			)
			node.Route(c.block + " via " + c.tunnel + " dev " + dev + " onlink")
		}
	}
}

func (n calicoCluster) clear() {
	for _, w := range n.Wires() {
		w.Take()
	}
}

func TestScenarioS10IPIPAlways(t *testing.T) {
	n := newCalicoCluster(t, 1, "ipip", false)
	expectRoutes(t, n.nodes[0], `
		0.0.0.0/0 via 192.168.30.1 dev ens33
		blackhole 10.65.0.0/26
		10.65.0.2/32 dev caliA
		10.65.0.64/26 via 192.168.30.212 dev tunl0 onlink
		10.65.0.128/26 via 192.168.40.213 dev tunl0 onlink
		192.168.30.0/24 dev ens33 src 192.168.30.211`)
	tunl, _ := n.nodes[0].E.Link("tunl0")
	assert.Equal(t, 1480, tunl.MTU)

	expectPing(t, n.pods[0], "10.65.0.66", 62)
	n.nics[0].Expect(`
		A/ens33 > B/ens33 ip 118: 192.168.30.211 > 192.168.30.212 ttl 63 DF ipip | 84: 10.65.0.2 > 10.65.0.66 ttl 63 DF echo request 1
		B/ens33 > A/ens33 ip 118: 192.168.30.212 > 192.168.30.211 ttl 63 ipip | 84: 10.65.0.66 > 10.65.0.2 ttl 63 echo reply 1`)
	expectPing(t, n.pods[0], "10.65.0.130", 62)
	n.nics[0].Expect(`
		A/ens33 > router/br0 ip 118: 192.168.30.211 > 192.168.40.213 ttl 63 DF ipip | 84: 10.65.0.2 > 10.65.0.130 ttl 63 DF echo request 2
		router/br0 > A/ens33 ip 118: 192.168.40.213 > 192.168.30.211 ttl 62 ipip | 84: 10.65.0.130 > 10.65.0.2 ttl 63 echo reply 2`)
	n.nics[2].Expect(`
		router/p2 > C/ens33 ip 118: 192.168.30.211 > 192.168.40.213 ttl 62 DF ipip | 84: 10.65.0.2 > 10.65.0.130 ttl 63 DF echo request 2
		C/ens33 > router/p2 ip 118: 192.168.40.213 > 192.168.30.211 ttl 63 ipip | 84: 10.65.0.130 > 10.65.0.2 ttl 63 echo reply 2`)

	// The node itself talks to a far pod from the tunnel's address.
	before := len(n.nodes[0].Received)
	expectPing(t, n.nodes[0], "10.65.0.66", 63)
	assert.Equal(t, ip("10.65.0.1"), n.nodes[0].Received[before].Dst)
}

func TestScenarioS10IPIPCrossSubnet(t *testing.T) {
	n := newCalicoCluster(t, 2, "ipip", true)
	expectRoutes(t, n.nodes[0], `
		0.0.0.0/0 via 192.168.30.1 dev ens33
		blackhole 10.65.0.0/26
		10.65.0.2/32 dev caliA
		10.65.0.64/26 via 192.168.30.212 dev ens33
		10.65.0.128/26 via 192.168.40.213 dev tunl0 onlink
		192.168.30.0/24 dev ens33 src 192.168.30.211`)
	expectPing(t, n.pods[0], "10.65.0.66", 62)
	expectPing(t, n.pods[0], "10.65.0.130", 62)
	n.nics[0].Expect(`
		A/ens33 > B/ens33 ip 98: 10.65.0.2 > 10.65.0.66 ttl 63 DF echo request 1
		B/ens33 > A/ens33 ip 98: 10.65.0.66 > 10.65.0.2 ttl 63 echo reply 1
		A/ens33 > router/br0 ip 118: 192.168.30.211 > 192.168.40.213 ttl 63 DF ipip | 84: 10.65.0.2 > 10.65.0.130 ttl 63 DF echo request 2
		router/br0 > A/ens33 ip 118: 192.168.40.213 > 192.168.30.211 ttl 62 ipip | 84: 10.65.0.130 > 10.65.0.2 ttl 63 echo reply 2`)
}

func TestScenarioS10VXLANAlways(t *testing.T) {
	n := newCalicoCluster(t, 3, "vxlan", false)
	expectRoutes(t, n.nodes[0], `
		0.0.0.0/0 via 192.168.30.1 dev ens33
		blackhole 10.65.0.0/26
		10.65.0.2/32 dev caliA
		10.65.0.64/26 via 10.65.0.65 dev vxlan.calico onlink
		10.65.0.128/26 via 10.65.0.129 dev vxlan.calico onlink
		192.168.30.0/24 dev ens33 src 192.168.30.211`)
	link, _ := n.nodes[0].E.Link("vxlan.calico")
	assert.Equal(t, 1450, link.MTU)
	assert.Equal(t, mac("66:6d:cd:4c:e2:3d"), link.MAC, "SHA-1 of A is 6dcd4ce23d…")

	expectPing(t, n.pods[0], "10.65.0.66", 62)
	expectPing(t, n.pods[0], "10.65.0.130", 62)
	n.nics[0].Expect(`
		A/ens33 > B/ens33 ip 148: 192.168.30.211 > 192.168.30.212 ttl 64 udp * > 4789 nocsum vxlan 4096 | A/vxlan.calico > B/vxlan.calico ip 98: 10.65.0.2 > 10.65.0.66 ttl 63 DF echo request 1
		B/ens33 > A/ens33 ip 148: 192.168.30.212 > 192.168.30.211 ttl 64 udp * > 4789 nocsum vxlan 4096 | B/vxlan.calico > A/vxlan.calico ip 98: 10.65.0.66 > 10.65.0.2 ttl 63 echo reply 1
		A/ens33 > router/br0 ip 148: 192.168.30.211 > 192.168.40.213 ttl 64 udp * > 4789 nocsum vxlan 4096 | A/vxlan.calico > C/vxlan.calico ip 98: 10.65.0.2 > 10.65.0.130 ttl 63 DF echo request 2
		router/br0 > A/ens33 ip 148: 192.168.40.213 > 192.168.30.211 ttl 63 udp * > 4789 nocsum vxlan 4096 | C/vxlan.calico > A/vxlan.calico ip 98: 10.65.0.130 > 10.65.0.2 ttl 63 echo reply 2`)
	expectPing(t, n.nodes[0], "10.65.0.66", 63)
}

func TestScenarioS10VXLANCrossSubnet(t *testing.T) {
	n := newCalicoCluster(t, 4, "vxlan", true)
	expectPing(t, n.pods[0], "10.65.0.66", 62)
	expectPing(t, n.pods[0], "10.65.0.130", 62)
	n.nics[0].Expect(`
		A/ens33 > B/ens33 ip 98: 10.65.0.2 > 10.65.0.66 ttl 63 DF echo request 1
		B/ens33 > A/ens33 ip 98: 10.65.0.66 > 10.65.0.2 ttl 63 echo reply 1
		A/ens33 > router/br0 ip 148: 192.168.30.211 > 192.168.40.213 ttl 64 udp * > 4789 nocsum vxlan 4096 | A/vxlan.calico > C/vxlan.calico ip 98: 10.65.0.2 > 10.65.0.130 ttl 63 DF echo request 2
		router/br0 > A/ens33 ip 148: 192.168.40.213 > 192.168.30.211 ttl 63 udp * > 4789 nocsum vxlan 4096 | C/vxlan.calico > A/vxlan.calico ip 98: 10.65.0.130 > 10.65.0.2 ttl 63 echo reply 2`)
}

// An address of the block that no pod has goes nowhere: silently for pods here and elsewhere, with an error at once for the node.
func TestScenarioS10Blackhole(t *testing.T) {
	for _, tunnel := range []string{"ipip", "vxlan"} {
		n := newCalicoCluster(t, 5, tunnel, false)
		shortly := testnet.Echo{Wait: 100 * time.Millisecond}
		assert.ErrorIs(t, n.pods[0].PingWith("10.65.0.9", shortly).Err, testnet.ErrNoAnswer)
		n.nics[0].Expect("")
		assert.EqualValues(t, 1, drops(n.nodes[0], engine.DropBlackhole))

		assert.ErrorIs(t, n.pods[1].PingWith("10.65.0.9", shortly).Err, testnet.ErrNoAnswer)
		assert.Len(t, n.nics[0].Take(), 1, "there and not back")
		assert.EqualValues(t, 2, drops(n.nodes[0], engine.DropBlackhole))
		assert.Zero(t, drops(n.nodes[1], engine.DropBlackhole))

		assert.ErrorIs(t, n.nodes[0].Ping("10.65.0.9").Err, engine.ErrBlackhole)
	}
}

// Tunnelled packets of a host that is no node of the cluster are dropped and counted.
func TestScenarioS10UnknownHost(t *testing.T) {
	inner := echoFrame(t, vtepMAC("B").String(), vtepMAC("A").String(), "10.65.0.66", "10.65.0.2", 63)
	const nicA, router = "00:0c:29:00:02:11", "02:00:00:00:30:01"
	for _, c := range []struct {
		tunnel string
		frame  func(src string) []byte
	}{
		{"ipip", func(src string) []byte {
			return ipFrame(t, router, nicA, ipv4.Fields{
				TTL: 64, Protocol: ipv4.ProtocolIPIP, Src: ip(src).As4(), Dst: ip("192.168.30.211").As4(),
			}, inner[ethernet.HeaderLen:])
		}},
		{"vxlan", func(src string) []byte {
			return vxlanFrame(t, router, nicA, src, "192.168.30.211", vxlan.Port, 4096, inner)
		}},
	} {
		n := newCalicoCluster(t, 6, c.tunnel, false)
		expectPing(t, n.pods[0], "10.65.0.66", 62)
		forwarded := n.nodes[0].E.Counters()[engine.IPForwDatagrams]
		n.nics[0].InjectTo(n.nodes[0], c.frame("192.168.30.66"))
		n.Settle()
		assert.EqualValues(t, 1, drops(n.nodes[0], engine.DropTunnelPeer)+drops(n.nodes[0], engine.DropTunnelNone), c.tunnel)
		assert.Equal(t, forwarded, n.nodes[0].E.Counters()[engine.IPForwDatagrams], c.tunnel)

		n.nics[0].InjectTo(n.nodes[0], c.frame("192.168.30.212"))
		n.Settle()
		assert.Equal(t, forwarded+2, n.nodes[0].E.Counters()[engine.IPForwDatagrams], "%s: request and reply", c.tunnel)
	}
}

// A pod that is gone: its block's node says that the host is unreachable, by way of the tunnel.
func TestScenarioS10PodGone(t *testing.T) {
	n := newCalicoCluster(t, 7, "ipip", false)
	expectPing(t, n.pods[0], "10.65.0.66", 62)
	n.nodes[1].Do(n.nodes[1].E.SetLink("caliB", engine.LinkChange{Up: engine.Set(false)}))
	// Its /32 route went with the port, so the block's blackhole has it now.
	assert.ErrorIs(t, n.pods[0].PingWith("10.65.0.66", testnet.Echo{Wait: time.Second}).Err, testnet.ErrNoAnswer)
	assert.EqualValues(t, 1, drops(n.nodes[1], engine.DropBlackhole))

	n.nodes[1].Do(n.nodes[1].E.SetUp("caliB"))
	n.nodes[1].Route("10.65.0.66 dev caliB")
	n.Wires()[len(n.Wires())-2].Unplug() // nobody answers there any more
	a := n.pods[0].PingWith("10.65.0.66", testnet.Echo{Wait: 10 * time.Second})
	expectError(t, a, icmp.TypeUnreachable, icmp.CodeHostUnreachable, "10.65.0.65")
}

// frames returns what was on a wire, in words.
func frames(w *testnet.Wire) (words []string) {
	for _, f := range w.Take() {
		words = append(words, f.String())
	}
	return words
}

// Peers as objects make the same tables and the same packets, with Direct for CrossSubnet; and when they are gone nothing is left.
func TestScenarioS10Peers(t *testing.T) {
	for _, c := range []struct {
		tunnel string
		cross  bool
	}{{"ipip", false}, {"ipip", true}, {"vxlan", false}, {"vxlan", true}} {
		name := fmt.Sprintf("%s, cross-subnet %v", c.tunnel, c.cross)
		byHand, byPeers := newCalicoCluster(t, 8, c.tunnel, c.cross), newCalicoCluster(t, 8, c.tunnel, c.cross)
		empty := tablesOf(byPeers.removeByHand(t, c.tunnel, c.cross)[0])
		for i := range calicoNodes {
			for j, far := range calicoNodes {
				if j == i {
					continue
				}
				dev, peer := "tunl0", engine.Peer{Name: far.name, Node: far.nic.Addr(), Subnets: []netip.Prefix{netip.MustParsePrefix(far.block)}}
				if c.tunnel == "vxlan" {
					dev, peer.Gateway, peer.MAC = "vxlan.calico", ip(far.tunnel), vtepMAC(far.name)
				}
				peer.Dev, peer.Direct = dev, c.cross
				byPeers.nodes[i].Do(byPeers.nodes[i].E.SetPeer(peer))
			}
		}
		assert.Equal(t, tablesOf(byHand.nodes[0]), tablesOf(byPeers.nodes[0]), name)
		for _, n := range []calicoCluster{byHand, byPeers} {
			expectPing(t, n.pods[0], "10.65.0.66", 62)
			expectPing(t, n.pods[0], "10.65.0.130", 62)
		}
		assert.Equal(t, frames(byHand.nics[0]), frames(byPeers.nics[0]), name)

		// A host route inside of a peer's block is not the peer's.
		byPeers.nodes[0].Route("10.65.0.64/32 via 192.168.30.1 dev ens33")
		byPeers.nodes[0].Do(byPeers.nodes[0].E.DeletePeer("B"), byPeers.nodes[0].E.DeletePeer("C"))
		byPeers.nodes[0].Do(byPeers.nodes[0].E.DeleteRoute(mustRoute(t, "10.65.0.64/32 via 192.168.30.1 dev ens33")))
		assert.Equal(t, empty, tablesOf(byPeers.nodes[0]), name)
		expectError(t, byPeers.pods[0].PingWith("10.65.0.66", testnet.Echo{TTL: 1}), icmp.TypeTimeExceeded, 0, "192.168.30.211")
	}
}

// removeByHand takes back what calico has programmed for peers, and returns the nodes.
func (n calicoCluster) removeByHand(t *testing.T, tunnel string, crossSubnet bool) []*testnet.Node {
	t.Helper()
	for i, self := range calicoNodes {
		node := n.nodes[i]
		for j, c := range calicoNodes {
			if j == i {
				continue
			}
			node.Do(node.E.DeleteRoute(engine.Route{Prefix: netip.MustParsePrefix(c.block)}))
			if tunnel == "vxlan" && (!crossSubnet || self.nic.Masked() != c.nic.Masked()) {
				node.Do(
					node.E.DeleteNeigh(ip(c.tunnel), "vxlan.calico"),
					node.E.DeleteFDB(engine.FDBEntry{MAC: vtepMAC(c.name), Dev: "vxlan.calico"}),
				)
			}
		}
	}
	return n.nodes[:]
}

// tablesOf returns a node's routes, configured neighbours and VTEPs as lines.
func tablesOf(n *testnet.Node) (out []string) {
	for r := range n.E.Routes() {
		if r.Table == route.TableMain {
			out = append(out, routeLine(r))
		}
	}
	var rest []string
	for k, e := range n.E.Neighs() {
		if e.State == arp.StatePermanent {
			rest = append(rest, fmt.Sprintf("%v dev %s %v", k.Addr, k.Dev, e.MAC))
		}
	}
	if n.E.Index("vxlan.calico") != 0 {
		for e := range n.E.FDB("vxlan.calico") {
			rest = append(rest, fmt.Sprintf("%v dst %v", e.MAC, e.Dst))
		}
	}
	slices.Sort(rest)
	return append(out, rest...)
}

// What is configured by hand for a peer's block is in the peer's way, also if there is a longer prefix inside of it.
func TestScenarioS10PeerInTheWay(t *testing.T) {
	n := newCalicoCluster(t, 9, "ipip", false)
	node, peer := n.nodes[0], engine.Peer{
		Name: "B", Node: calicoNodes[1].nic.Addr(), Subnets: []netip.Prefix{netip.MustParsePrefix(calicoNodes[1].block)}, Dev: "tunl0",
	}
	before := tablesOf(node)
	assert.ErrorIs(t, node.E.SetPeer(peer), engine.ErrExists)
	assert.Equal(t, before, tablesOf(node))
	node.Route("10.65.0.64/32 via 192.168.30.1 dev ens33")
	before = tablesOf(node)
	assert.ErrorIs(t, node.E.SetPeer(peer), engine.ErrExists)
	assert.Equal(t, before, tablesOf(node))
}
