package engine_test

// Scenario S6: Flannel's VXLAN backend, with the addresses of testdata/scenario/flannel_vxlan_echo_request.pcap.
//
//	podA ───── vethA cni0 node1 ens192 ───────────── ens192 node2 cni0 vethB ───── podB
//	10.244.1.12  10.244.1.1/24  172.16.100.101/24   172.16.100.102/24  10.244.2.1/24  10.244.2.14
//	             flannel.1 10.244.1.0/32 ══════════ flannel.1 10.244.2.0/32
//	             fe:90:c4:18:69:a7                  b6:72:ae:36:7b:6c

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/testnet"
)

const (
	vtep1 = "fe:90:c4:18:69:a7"
	vtep2 = "b6:72:ae:36:7b:6c"
)

type flannelNet struct {
	*testnet.Net
	podA, node1, node2, podB *testnet.Node
	vethA, nic, vethB        *testnet.Wire
}

// newFlannelNet returns two nodes with all but what Flannel programs for a peer; tune changes flannel.1 of both.
func newFlannelNet(t *testing.T, seed uint64, c engine.Config, addrBits string, tune func(*engine.VXLAN)) flannelNet {
	n := flannelNet{Net: testnet.New(t, seed)}
	n.node1 = n.NodeWith("node1", c)
	n.node2 = n.Node("node2")
	for _, k := range []struct {
		node                                          *testnet.Node
		nicMAC, nic, cniMAC, cni, vtepMAC, vtep, name string
	}{
		{n.node1, "00:50:56:93:6a:3a", "172.16.100.101/24", "0a:58:0a:f4:01:01", "10.244.1.1/24", vtep1, "10.244.1.0", "vethA"},
		{n.node2, "00:50:56:93:63:3b", "172.16.100.102/24", "0a:58:0a:f4:02:01", "10.244.2.1/24", vtep2, "10.244.2.0", "vethB"},
	} {
		k.node.E.SetForwarding(true)
		k.node.Add(engine.Port{Link: testnet.Link("ens192", k.nicMAC)}, k.nic)
		cni0 := testnet.Link("cni0", k.cniMAC)
		cni0.MTU = 1450
		k.node.Add(engine.Bridge{Link: cni0}, k.cni)
		v := engine.VXLAN{
			Link: testnet.Link("flannel.1", k.vtepMAC), VNI: 1, Local: netip.MustParsePrefix(k.nic).Addr(), Device: "ens192", NoLearning: true,
		}
		if tune != nil {
			tune(&v)
		}
		k.node.Add(v, k.vtep+addrBits)
	}
	n.nic = n.Wire(n.node1, "ens192", n.node2, "ens192")
	n.podA, n.vethA = bridged(n.Net, "podA", "d6:10:b7:91:f0:ac", "10.244.1.12/24", "10.244.1.1", n.node1, "vethA", "", "cni0")
	n.podB, n.vethB = bridged(n.Net, "podB", "d6:10:b7:91:f0:ad", "10.244.2.14/24", "10.244.2.1", n.node2, "vethB", "", "cni0")
	for _, p := range []*testnet.Node{n.podA, n.podB} {
		p.Do(p.E.SetLink("eth0", engine.LinkChange{MTU: engine.Set(1450)}))
	}
	return n
}

// flannelPeer programs a remote node as Flannel does, in its order.
func flannelPeer(n *testnet.Node, vtepMAC, vtep, public string) {
	n.Do(
		n.E.AddNeigh(engine.Neigh{Addr: ip(vtep), Dev: "flannel.1", MAC: mac(vtepMAC)}),
		n.E.AddFDB(engine.FDBEntry{MAC: mac(vtepMAC), Dev: "flannel.1", Dst: ip(public), Flags: fdb.Static}),
	)
	n.Route(vtep + "/24 via " + vtep + " dev flannel.1 onlink")
}

func (n flannelNet) peers() {
	flannelPeer(n.node1, vtep2, "10.244.2.0", "172.16.100.102")
	flannelPeer(n.node2, vtep1, "10.244.1.0", "172.16.100.101")
}

// expectFlannelPing wants the packets of the first echo request and its reply on all three wires.
func (n flannelNet) expectFlannelPing(t *testing.T) {
	t.Helper()
	expectPing(t, n.podA, "10.244.2.14", 62)
	n.vethA.Expect(`
		podA/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.244.1.1 tell 10.244.1.12
		node1/cni0 > podA/eth0 arp 42: 10.244.1.1 is-at node1/cni0
		podA/eth0 > node1/cni0 ip 98: 10.244.1.12 > 10.244.2.14 ttl 64 DF echo request 1
		node1/cni0 > podA/eth0 ip 98: 10.244.2.14 > 10.244.1.12 ttl 62 echo reply 1`)
	n.nic.Expect(`
		node1/ens192 > ff:ff:ff:ff:ff:ff arp 42: who-has 172.16.100.102 tell 172.16.100.101
		node2/ens192 > node1/ens192 arp 42: 172.16.100.102 is-at node2/ens192
		node1/ens192 > node2/ens192 ip 148: 172.16.100.101 > 172.16.100.102 ttl 64 udp * > 8472 nocsum vxlan 1 | node1/flannel.1 > node2/flannel.1 ip 98: 10.244.1.12 > 10.244.2.14 ttl 63 DF echo request 1
		node2/ens192 > node1/ens192 ip 148: 172.16.100.102 > 172.16.100.101 ttl 64 udp * > 8472 nocsum vxlan 1 | node2/flannel.1 > node1/flannel.1 ip 98: 10.244.2.14 > 10.244.1.12 ttl 63 echo reply 1`)
	n.vethB.Expect(`
		node2/cni0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.244.2.14 tell 10.244.2.1
		podB/eth0 > node2/cni0 arp 42: 10.244.2.14 is-at podB/eth0
		node2/cni0 > podB/eth0 ip 98: 10.244.1.12 > 10.244.2.14 ttl 62 DF echo request 1
		podB/eth0 > node2/cni0 ip 98: 10.244.2.14 > 10.244.1.12 ttl 64 echo reply 1`)
}

func TestScenarioS6(t *testing.T) {
	n := newFlannelNet(t, 1, engine.Config{}, "/32", nil)
	n.peers()
	expectRoutes(t, n.node1, `
		10.244.1.0/24 dev cni0 src 10.244.1.1
		10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink
		172.16.100.0/24 dev ens192 src 172.16.100.101`)
	vxlan, ok := n.node1.E.Link("flannel.1")
	require.True(t, ok)
	assert.Equal(t, 1450, vxlan.MTU)

	flannel1, flannel2 := n.node1.Capture("flannel.1"), n.node2.Capture("flannel.1")
	n.expectFlannelPing(t)
	for _, c := range []*testnet.Capture{flannel1, flannel2} {
		c.Expect(`
			node1/flannel.1 > node2/flannel.1 ip 98: 10.244.1.12 > 10.244.2.14 ttl 63 DF echo request 1
			node2/flannel.1 > node1/flannel.1 ip 98: 10.244.2.14 > 10.244.1.12 ttl 63 echo reply 1`)
	}
	expectNeighs(t, n.node1, `
		10.244.2.0 dev flannel.1 b6:72:ae:36:7b:6c PERMANENT
		10.244.1.12 dev cni0 d6:10:b7:91:f0:ac DELAY
		172.16.100.102 dev ens192 00:50:56:93:63:3b REACHABLE`)
	expectFDB(t, n.node1, "flannel.1", `b6:72:ae:36:7b:6c dst 172.16.100.102 static`) // nothing is learned from the wire
	expectFDB(t, n.node2, "flannel.1", `fe:90:c4:18:69:a7 dst 172.16.100.101 static`)
	for _, k := range []*testnet.Node{n.node1, n.node2} {
		s := linkStats(t, k, "flannel.1")
		assert.Equal(t, [2]uint64{1, 1}, [2]uint64{s.RxPackets, s.TxPackets}, k.Name)
	}

	// Five seconds later who learned by a question asks: on the underlay node2, at podA its node, at podB the pod.
	n.Run(8 * time.Second)
	n.vethA.Expect(`
		@5s node1/cni0 > podA/eth0 arp 42: who-has 10.244.1.12 tell 10.244.1.1
		@5s podA/eth0 > node1/cni0 arp 42: 10.244.1.12 is-at podA/eth0`)
	n.nic.Expect(`
		@5s node2/ens192 > node1/ens192 arp 42: who-has 172.16.100.101 tell 172.16.100.102
		@5s node1/ens192 > node2/ens192 arp 42: 172.16.100.101 is-at node1/ens192`)
	n.vethB.Expect(`
		@5s podB/eth0 > node2/cni0 arp 42: who-has 10.244.2.1 tell 10.244.2.14
		@5s node2/cni0 > podB/eth0 arp 42: 10.244.2.1 is-at node2/cni0`)
}

// The same with peers as objects.
func TestScenarioS6Peers(t *testing.T) {
	n := newFlannelNet(t, 2, engine.Config{}, "/32", nil)
	for _, p := range []struct {
		node *testnet.Node
		peer engine.Peer
	}{
		{n.node1, engine.Peer{
			Name: "node2", Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24")}, Node: ip("172.16.100.102"), Dev: "flannel.1",
			Gateway: ip("10.244.2.0"), MAC: mac(vtep2),
		}},
		{n.node2, engine.Peer{
			Name: "node1", Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}, Node: ip("172.16.100.101"), Dev: "flannel.1",
			Gateway: ip("10.244.1.0"), MAC: mac(vtep1),
		}},
	} {
		p.node.Do(p.node.E.SetPeer(p.peer))
	}
	n.expectFlannelPing(t)
	expectRoutes(t, n.node1, `
		10.244.1.0/24 dev cni0 src 10.244.1.1
		10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink
		172.16.100.0/24 dev ens192 src 172.16.100.101`)
	expectFDB(t, n.node1, "flannel.1", `b6:72:ae:36:7b:6c dst 172.16.100.102 static`)

	n.node1.Do(n.node1.E.DeletePeer("node2"))
	expectRoutes(t, n.node1, `
		10.244.1.0/24 dev cni0 src 10.244.1.1
		172.16.100.0/24 dev ens192 src 172.16.100.101`)
	expectFDB(t, n.node1, "flannel.1", "")
	_, ok := n.node1.E.GetNeigh(ip("10.244.2.0"), "flannel.1")
	assert.False(t, ok)
	expectError(t, n.podA.Ping("10.244.2.14"), icmp.TypeUnreachable, icmp.CodeNetUnreachable, "10.244.1.1")
}

// Errors on the way: too big for the tunnel is said by cni0, TTL exceeded at the far node by its flannel.1, through the tunnel, whose
// header takes only the ECN bits of the error's TOS 0xc0.
func TestScenarioS6Errors(t *testing.T) {
	n := newFlannelNet(t, 3, engine.Config{}, "/32", nil)
	n.peers()
	n.expectFlannelPing(t)
	n.podA.Do(n.podA.E.SetLink("eth0", engine.LinkChange{MTU: engine.Set(1500)}))
	n.node1.Do(n.node1.E.SetLink("cni0", engine.LinkChange{MTU: engine.Set(1500)}))

	a := n.podA.PingWith("10.244.2.14", testnet.Echo{Size: 1423})
	expectError(t, a, icmp.TypeUnreachable, icmp.CodeFragmentationNeeded, "10.244.1.1")
	assert.EqualValues(t, 1450, a.MTU)
	n.vethA.Expect(`
		podA/eth0 > node1/cni0 ip 1465: 10.244.1.12 > 10.244.2.14 ttl 64 DF echo request 2
		node1/cni0 > podA/eth0 ip 590: 10.244.1.1 > 10.244.1.12 ttl 64 tos 0xc0 unreachable too big mtu 1450 (10.244.1.12 > 10.244.2.14 ttl 64)`)
	n.nic.Expect("")

	a = n.podA.PingWith("10.244.2.14", testnet.Echo{TTL: 2})
	expectError(t, a, icmp.TypeTimeExceeded, icmp.CodeTTLExceeded, "10.244.2.0")
	assert.EqualValues(t, 63, a.TTL)
	n.nic.Expect(`
		node1/ens192 > node2/ens192 ip 148: 172.16.100.101 > 172.16.100.102 ttl 64 udp * > 8472 nocsum vxlan 1 | node1/flannel.1 > node2/flannel.1 ip 98: 10.244.1.12 > 10.244.2.14 ttl 1 DF echo request 3
		node2/ens192 > node1/ens192 ip 176: 172.16.100.102 > 172.16.100.101 ttl 64 udp * > 8472 nocsum vxlan 1 | node2/flannel.1 > node1/flannel.1 ip 126: 10.244.2.0 > 10.244.1.12 ttl 64 tos 0xc0 time exceeded (10.244.1.12 > 10.244.2.14 ttl 1)`)

	a = n.podA.PingWith("10.244.2.14", testnet.Echo{TTL: 1})
	expectError(t, a, icmp.TypeTimeExceeded, icmp.CodeTTLExceeded, "10.244.1.1")
}

// agent answers the engine's questions as Flannel's first VXLAN backend did: one route for the whole cluster, and a neighbour for
// each pod, whose MAC address is that of its node's VTEP.
type agent struct {
	node   *testnet.Node
	asked  []engine.Miss
	answer bool // at once
}

func (a *agent) miss(m engine.Miss) {
	a.asked = append(a.asked, m)
	if a.answer {
		a.reply(m)
	}
}

func (a *agent) reply(m engine.Miss) {
	switch m.Kind {
	case engine.MissNeighbour:
		a.node.Do(a.node.E.ReplaceNeigh(engine.Neigh{Addr: m.Addr, Dev: m.Device, MAC: mac(vtep2)}))
	case engine.MissFDB:
		a.node.Do(a.node.E.AddFDB(engine.FDBEntry{MAC: mac(vtep2), Dev: m.Device, Dst: ip("172.16.100.102"), Flags: fdb.Static}))
	}
}

// newMissNet returns a network in which node1 asks its agent.
func newMissNet(t *testing.T, seed uint64, a *agent) flannelNet {
	n := newFlannelNet(t, seed, engine.Config{OnMiss: a.miss}, "/16", func(v *engine.VXLAN) { v.L2Miss, v.L3Miss = true, true })
	a.node = n.node1
	n.node2.Do(
		n.node2.E.AddNeigh(engine.Neigh{Addr: ip("10.244.1.12"), Dev: "flannel.1", MAC: mac(vtep1)}),
		n.node2.E.AddFDB(engine.FDBEntry{MAC: mac(vtep1), Dev: "flannel.1", Dst: ip("172.16.100.101"), Flags: fdb.Static}),
	)
	return n
}

// The old way: the address is asked for first, then the MAC address; the packet waits for both, and then goes.
func TestScenarioS6Misses(t *testing.T) {
	for _, atOnce := range []bool{true, false} {
		a := &agent{answer: atOnce}
		n := newMissNet(t, 4, a)
		expectRoutes(t, n.node1, `
			10.244.0.0/16 dev flannel.1 src 10.244.1.0
			10.244.1.0/24 dev cni0 src 10.244.1.1
			172.16.100.0/24 dev ens192 src 172.16.100.101`)
		if !atOnce {
			n.At(300*time.Millisecond, func() { // before the first question is repeated
				require.Len(t, a.asked, 1)
				assert.EqualValues(t, 1, n.node1.E.Stats().Held, "the packet waits for the neighbour")
				a.reply(a.asked[0])
			})
			n.At(600*time.Millisecond, func() {
				require.Len(t, a.asked, 2)
				assert.EqualValues(t, 1, n.node1.E.Stats().Held, "the packet waits for the FDB entry")
				a.reply(a.asked[1])
			})
		}
		n.expectFlannelPing(t)
		require.Len(t, a.asked, 2)
		assert.Equal(t, engine.MissNeighbour, a.asked[0].Kind)
		assert.Equal(t, "flannel.1", a.asked[0].Device)
		assert.Equal(t, ip("10.244.2.14"), a.asked[0].Addr)
		assert.Equal(t, engine.MissFDB, a.asked[1].Kind)
		assert.Equal(t, mac(vtep2), a.asked[1].MAC)
		assert.Zero(t, n.node1.E.Stats().Held)
		if !atOnce {
			assert.Equal(t, 600*time.Millisecond, n.Now())
		}
		expectPing(t, n.podA, "10.244.2.14", 62)
		assert.Len(t, a.asked, 2, "once asked, it is known")
	}
}

// An agent that never answers: what waits is bounded and ends with an error to the sender, and nothing goes on the wire.
func TestScenarioS6MissUnanswered(t *testing.T) {
	a := &agent{}
	n := newMissNet(t, 5, a)
	answer := n.podA.PingWith("10.244.2.14", testnet.Echo{Wait: 30 * time.Second})
	expectError(t, answer, icmp.TypeUnreachable, icmp.CodeHostUnreachable, "10.244.1.1")
	n.nic.Expect("")
	for _, m := range a.asked {
		assert.Equal(t, engine.MissNeighbour, m.Kind)
	}
	assert.EqualValues(t, 1, drops(n.node1, engine.DropNeighbour))

	// The address is known, the MAC address is not: the packet waits, and is dropped in the end.
	asked := len(a.asked)
	n.node1.Do(n.node1.E.ReplaceNeigh(engine.Neigh{Addr: ip("10.244.2.14"), Dev: "flannel.1", MAC: mac(vtep2)}))
	const many = 1000
	for range many {
		require.NoError(t, n.podA.PingStart("10.244.2.14", testnet.Echo{}))
	}
	n.Settle()
	held := n.node1.E.Stats().Held
	assert.Positive(t, held)
	assert.LessOrEqual(t, held, uint64(256), "Config.MaxMissing")
	assert.Greater(t, len(a.asked), asked)
	assert.Equal(t, engine.MissFDB, a.asked[asked].Kind)
	n.RunFor(30 * time.Second)
	assert.Zero(t, n.node1.E.Stats().Held)
	assert.EqualValues(t, many, drops(n.node1, engine.DropFDBWait)+drops(n.node1, engine.DropFDBWaitFull))
	n.nic.Expect("")
}
