package engine_test

// Scenarios S4, a point-to-point IPIP tunnel, and S5, Flannel's IPIP backend.
//
//	S4   ns1 eth0 ───────────── r1 router r2 ───────────── eth0 ns2
//	     10.10.10.2/24   10.10.10.1/24  10.10.20.1/24   10.10.20.2/24
//	     tunl1 10.10.100.10 ═══════════════════════ tunl1 10.10.200.10
//
//	S5   pod1 ── veth1 cni0 k8s-1 ens33 ──────────── ens33 k8s-2 cni0 veth2 ── pod2
//	     10.244.0.3  10.244.0.1/24  172.12.1.11/24   172.12.1.12/24  10.244.1.1/24  10.244.1.7
//	                 flannel.ipip 10.244.0.0/32 ════ flannel.ipip 10.244.1.0/32

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/testnet"
	"github.com/culvert-net/culvert/ipv4"
)

type tunnelNet struct {
	*testnet.Net
	ns1, router, ns2 *testnet.Node
	v1, v2           *testnet.Wire
}

func newTunnelNet(t *testing.T, seed uint64) tunnelNet {
	n := tunnelNet{Net: testnet.New(t, seed)}
	n.router = n.Router("router")
	n.ns1, n.v1 = pod(n.Net, "ns1", "0a:00:00:00:10:02", "10.10.10.2/24", "", n.router, engine.Port{Link: testnet.Link("r1", "0a:00:00:00:10:01")})
	n.ns2, n.v2 = pod(n.Net, "ns2", "0a:00:00:00:20:02", "10.10.20.2/24", "", n.router, engine.Port{Link: testnet.Link("r2", "0a:00:00:00:20:01")})
	n.router.Addr("r1", "10.10.10.1/24")
	n.router.Addr("r2", "10.10.20.1/24")
	n.ns1.Route("10.10.20.0/24 via 10.10.10.1 dev eth0")
	n.ns2.Route("10.10.10.0/24 via 10.10.20.1 dev eth0")
	n.ns1.Add(engine.IPIP{Link: testnet.Link("tunl1", ""), Local: ip("10.10.10.2"), Remote: ip("10.10.20.2")}, "10.10.100.10 peer 10.10.200.10/32")
	n.ns2.Add(engine.IPIP{Link: testnet.Link("tunl1", ""), Local: ip("10.10.20.2"), Remote: ip("10.10.10.2")}, "10.10.200.10 peer 10.10.100.10/32")
	return n
}

func TestScenarioS4(t *testing.T) {
	n := newTunnelNet(t, 1)
	expectRoutes(t, n.ns1, `
		10.10.10.0/24 dev eth0 src 10.10.10.2
		10.10.20.0/24 via 10.10.10.1 dev eth0
		10.10.200.10/32 dev tunl1 src 10.10.100.10`)
	tunl, ok := n.ns1.E.Link("tunl1")
	require.True(t, ok)
	assert.Equal(t, 1480, tunl.MTU)

	// Tunnel and host agree on the source address; the outer frame is for the gateway, not for the far end.
	tunl1 := n.ns1.Capture("tunl1")
	expectPing(t, n.ns1, "10.10.200.10", 64)
	n.v1.Expect(`
		@0s ns1/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.10.10.1 tell 10.10.10.2
		@0s router/r1 > ns1/eth0 arp 42: 10.10.10.1 is-at router/r1
		@0s ns1/eth0 > router/r1 ip 118: 10.10.10.2 > 10.10.20.2 ttl 64 DF ipip | 84: 10.10.100.10 > 10.10.200.10 ttl 64 DF echo request 1
		@0s router/r1 > ns1/eth0 ip 118: 10.10.20.2 > 10.10.10.2 ttl 63 DF ipip | 84: 10.10.200.10 > 10.10.100.10 ttl 64 echo reply 1`)
	n.v2.Expect(`
		@0s router/r2 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.10.20.2 tell 10.10.20.1
		@0s ns2/eth0 > router/r2 arp 42: 10.10.20.2 is-at ns2/eth0
		@0s router/r2 > ns2/eth0 ip 118: 10.10.10.2 > 10.10.20.2 ttl 63 DF ipip | 84: 10.10.100.10 > 10.10.200.10 ttl 64 DF echo request 1
		@0s ns2/eth0 > router/r2 ip 118: 10.10.20.2 > 10.10.10.2 ttl 64 DF ipip | 84: 10.10.200.10 > 10.10.100.10 ttl 64 echo reply 1`)
	tunl1.Expect(`
		@0s 84: 10.10.100.10 > 10.10.200.10 ttl 64 DF echo request 1
		@0s 84: 10.10.200.10 > 10.10.100.10 ttl 64 echo reply 1`)
	for _, ns := range []*testnet.Node{n.ns1, n.ns2} {
		s := linkStats(t, ns, "tunl1")
		assert.Equal(t, [4]uint64{1, 84, 1, 84}, [4]uint64{s.RxPackets, s.RxBytes, s.TxPackets, s.TxBytes}, "raw IP on tunl1 of %s", ns.Name)
	}

	n.Run(8 * time.Second)
	n.v1.Expect(`
		@5s router/r1 > ns1/eth0 arp 42: who-has 10.10.10.2 tell 10.10.10.1
		@5s ns1/eth0 > router/r1 arp 42: 10.10.10.2 is-at ns1/eth0`)
	n.v2.Expect(`
		@5s ns2/eth0 > router/r2 arp 42: who-has 10.10.20.1 tell 10.10.20.2
		@5s router/r2 > ns2/eth0 arp 42: 10.10.20.1 is-at router/r2`)
	expectNeighs(t, n.ns1, `10.10.10.1 dev eth0 0a:00:00:00:10:01 REACHABLE`)
}

// 1480 bytes fit the tunnel; one more is refused with DF, and goes in two inner fragments without.
func TestScenarioS4MTU(t *testing.T) {
	n := newTunnelNet(t, 2)
	expectPing(t, n.ns1, "10.10.200.10", 64)
	n.v1.Take()
	require.True(t, n.ns1.PingWith("10.10.200.10", testnet.Echo{Size: 1452}).OK)
	n.v1.Expect(`
		ns1/eth0 > router/r1 ip 1514: 10.10.10.2 > 10.10.20.2 ttl 64 DF ipip | 1480: 10.10.100.10 > 10.10.200.10 ttl 64 DF echo request 2
		router/r1 > ns1/eth0 ip 1514: 10.10.20.2 > 10.10.10.2 ttl 63 DF ipip | 1480: 10.10.200.10 > 10.10.100.10 ttl 64 echo reply 2`)
	assert.ErrorIs(t, n.ns1.PingWith("10.10.200.10", testnet.Echo{Size: 1453}).Err, engine.ErrMessageSize)
	n.v1.Expect("")
	require.True(t, n.ns1.PingWith("10.10.200.10", testnet.Echo{Size: 1453, Fragment: true}).OK)
	n.v1.Expect(`
		ns1/eth0 > router/r1 ip 1510: 10.10.10.2 > 10.10.20.2 ttl 64 DF ipip | 1476: 10.10.100.10 > 10.10.200.10 ttl 64 frag 0+ echo request 4
		ns1/eth0 > router/r1 ip 59: 10.10.10.2 > 10.10.20.2 ttl 64 DF ipip | 25: 10.10.100.10 > 10.10.200.10 ttl 64 frag 1456 protocol 1 len 5
		router/r1 > ns1/eth0 ip 1510: 10.10.20.2 > 10.10.10.2 ttl 63 DF ipip | 1476: 10.10.200.10 > 10.10.100.10 ttl 64 frag 0+ echo reply 4
		router/r1 > ns1/eth0 ip 59: 10.10.20.2 > 10.10.10.2 ttl 63 DF ipip | 25: 10.10.200.10 > 10.10.100.10 ttl 64 frag 1456 protocol 1 len 5`)
}

// The way out of the tunnel is closed: what comes back from the router about the outer packet reaches who sent the inner one.
func TestScenarioS4OuterUnreachable(t *testing.T) {
	n := newTunnelNet(t, 3)
	expectPing(t, n.ns1, "10.10.200.10", 64)
	n.router.Do(n.router.E.DeleteRoute(mustRoute(t, "10.10.20.0/24 dev r2")))
	n.v1.Take()
	require.NoError(t, n.ns1.PingStart("10.10.200.10", testnet.Echo{}))
	n.Settle()
	n.v1.Expect(`
		ns1/eth0 > router/r1 ip 118: 10.10.10.2 > 10.10.20.2 ttl 64 DF ipip | 84: 10.10.100.10 > 10.10.200.10 ttl 64 DF echo request 2
		router/r1 > ns1/eth0 ip 146: 10.10.10.1 > 10.10.10.2 ttl 64 tos 0xc0 unreachable net (10.10.10.2 > 10.10.20.2 ttl 64)`)

	// That is remembered: the sender of the next packet is told, and the packet sent all the same.
	expectError(t, n.ns1.Ping("10.10.200.10"), icmp.TypeUnreachable, icmp.CodeHostUnreachable, "10.10.100.10")
	assert.Len(t, n.v1.Take(), 2)
}

func mustRoute(t *testing.T, text string) engine.Route {
	t.Helper()
	r, err := testnet.ParseRoute(text)
	require.NoError(t, err)
	return r
}

// Nobody but the remote end gets packets into the tunnel (CVE-2020-10136).
func TestScenarioS4Spoofed(t *testing.T) {
	n := newTunnelNet(t, 4)
	expectPing(t, n.ns1, "10.10.200.10", 64)
	before := n.ns1.E.Counters()[engine.IPInDelivers]
	inner, err := ipv4.Fields{TTL: 64, Protocol: 200, Src: ip("10.10.200.10").As4(), Dst: ip("10.10.100.10").As4()}.Append(nil, 0)
	require.NoError(t, err)
	n.v1.InjectTo(n.ns1, ipFrame(t, "0a:00:00:00:10:01", "0a:00:00:00:10:02",
		ipv4.Fields{TTL: 64, Protocol: ipv4.ProtocolIPIP, Src: ip("10.10.66.6").As4(), Dst: ip("10.10.10.2").As4()}, inner))
	n.Settle()
	assert.EqualValues(t, 1, linkStats(t, n.ns1, "tunl1").RxPackets)
	assert.EqualValues(t, 1, drops(n.ns1, engine.DropTunnelNone)+drops(n.ns1, engine.DropTunnelPeer))
	assert.LessOrEqual(t, n.ns1.E.Counters()[engine.IPInDelivers], before+1, "the outer packet at most")
}

// flannelIPIP adds a node of S5.
func flannelIPIP(net *testnet.Net, name, nicMAC, nic, bridgeMAC, subnet, bridge, far, farSubnet string) *testnet.Node {
	k := net.Router(name)
	k.Add(engine.Port{Link: testnet.Link("ens33", nicMAC)}, nic+"/24")
	cni0 := testnet.Link("cni0", bridgeMAC)
	cni0.MTU = 1480
	k.Add(engine.Bridge{Link: cni0}, bridge+"/24")
	k.Add(engine.IPIP{Link: testnet.Link("flannel.ipip", ""), Local: ip(nic), NoPMTUDisc: true, Peers: []netip.Addr{ip(far)}}, subnet+"/32")
	k.Route(farSubnet + "/24 via " + far + " dev flannel.ipip onlink")
	return k
}

func TestScenarioS5(t *testing.T) {
	net := testnet.New(t, 1)
	k1 := flannelIPIP(net, "k8s-1", "00:0c:29:bd:fb:4a", "172.12.1.11", "0a:58:0a:f4:00:01", "10.244.0.0", "10.244.0.1", "172.12.1.12", "10.244.1.0")
	k2 := flannelIPIP(net, "k8s-2", "00:0c:29:e2:bf:86", "172.12.1.12", "0a:58:0a:f4:01:01", "10.244.1.0", "10.244.1.1", "172.12.1.11", "10.244.0.0")
	nic := net.Wire(k1, "ens33", k2, "ens33")
	pod1, veth1 := bridged(net, "pod1", "26:32:89:a6:66:6e", "10.244.0.3/24", "10.244.0.1", k1, "veth1", "", "cni0")
	_, veth2 := bridged(net, "pod2", "f2:22:7c:58:d4:db", "10.244.1.7/24", "10.244.1.1", k2, "veth2", "", "cni0")

	expectRoutes(t, k1, `
		10.244.0.0/24 dev cni0 src 10.244.0.1
		10.244.1.0/24 via 172.12.1.12 dev flannel.ipip onlink
		172.12.1.0/24 dev ens33 src 172.12.1.11`)
	tunnel, ok := k1.E.Link("flannel.ipip")
	require.True(t, ok)
	assert.Equal(t, 1480, tunnel.MTU)

	ipip1, ipip2 := k1.Capture("flannel.ipip"), k2.Capture("flannel.ipip")
	expectPing(t, pod1, "10.244.1.7", 62)
	for _, c := range []*testnet.Capture{ipip1, ipip2} {
		c.Expect(`
			84: 10.244.0.3 > 10.244.1.7 ttl 63 DF echo request 1
			84: 10.244.1.7 > 10.244.0.3 ttl 63 echo reply 1`)
	}
	veth1.Expect(`
		pod1/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.244.0.1 tell 10.244.0.3
		k8s-1/cni0 > pod1/eth0 arp 42: 10.244.0.1 is-at k8s-1/cni0
		pod1/eth0 > k8s-1/cni0 ip 98: 10.244.0.3 > 10.244.1.7 ttl 64 DF echo request 1
		k8s-1/cni0 > pod1/eth0 ip 98: 10.244.1.7 > 10.244.0.3 ttl 62 echo reply 1`)
	nic.Expect(`
		k8s-1/ens33 > ff:ff:ff:ff:ff:ff arp 42: who-has 172.12.1.12 tell 172.12.1.11
		k8s-2/ens33 > k8s-1/ens33 arp 42: 172.12.1.12 is-at k8s-2/ens33
		k8s-1/ens33 > k8s-2/ens33 ip 118: 172.12.1.11 > 172.12.1.12 ttl 63 DF ipip | 84: 10.244.0.3 > 10.244.1.7 ttl 63 DF echo request 1
		k8s-2/ens33 > k8s-1/ens33 ip 118: 172.12.1.12 > 172.12.1.11 ttl 63 ipip | 84: 10.244.1.7 > 10.244.0.3 ttl 63 echo reply 1`)
	veth2.Expect(`
		k8s-2/cni0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.244.1.7 tell 10.244.1.1
		pod2/eth0 > k8s-2/cni0 arp 42: 10.244.1.7 is-at pod2/eth0
		k8s-2/cni0 > pod2/eth0 ip 98: 10.244.0.3 > 10.244.1.7 ttl 62 DF echo request 1
		pod2/eth0 > k8s-2/cni0 ip 98: 10.244.1.7 > 10.244.0.3 ttl 64 echo reply 1`)
	for _, k := range []*testnet.Node{k1, k2} {
		s := linkStats(t, k, "flannel.ipip")
		assert.Equal(t, [4]uint64{1, 84, 1, 84}, [4]uint64{s.RxPackets, s.RxBytes, s.TxPackets, s.TxBytes}, "raw IP on flannel.ipip of %s", k.Name)
	}
	expectNeighs(t, k1, `
		10.244.0.3 dev cni0 26:32:89:a6:66:6e DELAY
		172.12.1.12 dev ens33 00:0c:29:e2:bf:86 REACHABLE`)

	// The node itself talks to the far pod from its tunnel's address.
	expectPing(t, k1, "10.244.1.7", 63)
	nic.Expect(`
		k8s-1/ens33 > k8s-2/ens33 ip 118: 172.12.1.11 > 172.12.1.12 ttl 64 DF ipip | 84: 10.244.0.0 > 10.244.1.7 ttl 64 DF echo request 1
		k8s-2/ens33 > k8s-1/ens33 ip 118: 172.12.1.12 > 172.12.1.11 ttl 63 ipip | 84: 10.244.1.7 > 10.244.0.0 ttl 63 echo reply 1`)

	net.Run(8 * time.Second)
	nic.Expect(`
		@5s k8s-2/ens33 > k8s-1/ens33 arp 42: who-has 172.12.1.11 tell 172.12.1.12
		@5s k8s-1/ens33 > k8s-2/ens33 arp 42: 172.12.1.11 is-at k8s-1/ens33`)
}

// Fragments go both ways: a pod that sends 1481 bytes without DF through a bridge of 1480.
func TestScenarioS5Fragments(t *testing.T) {
	net := testnet.New(t, 2)
	k1 := flannelIPIP(net, "k8s-1", "00:0c:29:bd:fb:4a", "172.12.1.11", "0a:58:0a:f4:00:01", "10.244.0.0", "10.244.0.1", "172.12.1.12", "10.244.1.0")
	k2 := flannelIPIP(net, "k8s-2", "00:0c:29:e2:bf:86", "172.12.1.12", "0a:58:0a:f4:01:01", "10.244.1.0", "10.244.1.1", "172.12.1.11", "10.244.0.0")
	nic := net.Wire(k1, "ens33", k2, "ens33")
	pod1, _ := bridged(net, "pod1", "26:32:89:a6:66:6e", "10.244.0.3/24", "10.244.0.1", k1, "veth1", "", "cni0")
	pod2, _ := bridged(net, "pod2", "f2:22:7c:58:d4:db", "10.244.1.7/24", "10.244.1.1", k2, "veth2", "", "cni0")
	for _, p := range []*testnet.Node{pod1, pod2} {
		p.Do(p.E.SetLink("eth0", engine.LinkChange{MTU: engine.Set(1480)}))
	}
	expectPing(t, pod1, "10.244.1.7", 62)
	nic.Take()
	require.True(t, pod1.PingWith("10.244.1.7", testnet.Echo{Size: 1453, Fragment: true}).OK)
	nic.Expect(`
		k8s-1/ens33 > k8s-2/ens33 ip 1510: 172.12.1.11 > 172.12.1.12 ttl 63 ipip | 1476: 10.244.0.3 > 10.244.1.7 ttl 63 frag 0+ echo request 2
		k8s-1/ens33 > k8s-2/ens33 ip 59: 172.12.1.11 > 172.12.1.12 ttl 63 ipip | 25: 10.244.0.3 > 10.244.1.7 ttl 63 frag 1456 protocol 1 len 5
		k8s-2/ens33 > k8s-1/ens33 ip 1510: 172.12.1.12 > 172.12.1.11 ttl 63 ipip | 1476: 10.244.1.7 > 10.244.0.3 ttl 63 frag 0+ echo reply 2
		k8s-2/ens33 > k8s-1/ens33 ip 59: 172.12.1.12 > 172.12.1.11 ttl 63 ipip | 25: 10.244.1.7 > 10.244.0.3 ttl 63 frag 1456 protocol 1 len 5`)
}
