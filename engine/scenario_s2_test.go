package engine_test

// Scenario S2: pods on one node through a learning bridge.
//
//	pod1 10.244.1.7  ── veth3 ┐
//	pod2 10.244.1.10 ── veth4 ┼ cni0 10.244.1.1/24, MAC 0a:58:0a:f4:01:01
//	pod3 10.244.1.11 ── veth5 ┘

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/internal/testnet"
)

const (
	macPod1 = "9a:16:45:30:3a:c6"
	macPod2 = "ee:6f:75:01:ed:bb"
	macPod3 = "02:00:00:00:00:11"
)

// The bridge's own addresses: its port's, and those of the ports under it.
const localFDB = `
	0a:58:0a:f4:01:01 dev cni0 local
	02:00:00:00:03:03 dev veth3 local
	02:00:00:00:03:04 dev veth4 local
	02:00:00:00:03:05 dev veth5 local`

type bridgeNet struct {
	*testnet.Net
	node  *testnet.Node
	pods  [3]*testnet.Node
	wires [3]*testnet.Wire
}

func newBridgeNet(t *testing.T, seed uint64) bridgeNet {
	n := bridgeNet{Net: testnet.New(t, seed)}
	n.node = n.Router("node")
	n.node.Add(engine.Bridge{Link: testnet.Link("cni0", "0a:58:0a:f4:01:01")}, "10.244.1.1/24")
	n.pods[0], n.wires[0] = bridged(n.Net, "pod1", macPod1, "10.244.1.7/24", "10.244.1.1", n.node, "veth3", "02:00:00:00:03:03", "cni0")
	n.pods[1], n.wires[1] = bridged(n.Net, "pod2", macPod2, "10.244.1.10/24", "10.244.1.1", n.node, "veth4", "02:00:00:00:03:04", "cni0")
	n.pods[2], n.wires[2] = bridged(n.Net, "pod3", macPod3, "10.244.1.11/24", "10.244.1.1", n.node, "veth5", "02:00:00:00:03:05", "cni0")
	return n
}

func (n bridgeNet) clear() {
	for _, w := range n.wires {
		w.Take()
	}
}

func TestScenarioS2(t *testing.T) {
	n := newBridgeNet(t, 1)
	expectFDB(t, n.node, "cni0", localFDB)
	cni0 := n.node.Capture("cni0")
	expectPing(t, n.pods[0], "10.244.1.10", 64)

	// The question goes to everybody, the bridge's own port included; all else only to whom it is for.
	both := `
		@0s pod1/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.244.1.10 tell 10.244.1.7
		@0s pod2/eth0 > pod1/eth0 arp 42: 10.244.1.10 is-at pod2/eth0
		@0s pod1/eth0 > pod2/eth0 ip 98: 10.244.1.7 > 10.244.1.10 ttl 64 DF echo request 1
		@0s pod2/eth0 > pod1/eth0 ip 98: 10.244.1.10 > 10.244.1.7 ttl 64 echo reply 1`
	n.wires[0].Expect(both)
	n.wires[1].Expect(both)
	n.wires[2].Expect(`
		@0s pod1/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.244.1.10 tell 10.244.1.7`)
	cni0.Expect(`
		@0s pod1/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.244.1.10 tell 10.244.1.7`)
	assert.EqualValues(t, 1, linkStats(t, n.node, "cni0").RxPackets, "the question came up")
	assert.Zero(t, linkStats(t, n.node, "cni0").TxPackets)
	expectNeighs(t, n.node, "")
	expectFDB(t, n.node, "cni0", localFDB+`
		9a:16:45:30:3a:c6 dev veth3 0s
		ee:6f:75:01:ed:bb dev veth4 0s`)

	// pod2 confirms what it learned of pod1.
	n.Run(10 * time.Second)
	check := `
		@5s pod2/eth0 > pod1/eth0 arp 42: who-has 10.244.1.7 tell 10.244.1.10
		@5s pod1/eth0 > pod2/eth0 arp 42: 10.244.1.7 is-at pod1/eth0`
	n.wires[0].Expect(check)
	n.wires[1].Expect(check)
	n.wires[2].Expect("")

	n.Run(105 * time.Second)
	expectFDB(t, n.node, "cni0", localFDB+`
		9a:16:45:30:3a:c6 dev veth3 1m40s
		ee:6f:75:01:ed:bb dev veth4 1m40s`)
	n.Run(303 * time.Second) // 5 + 300 s, less what stamps are coarse
	expectFDB(t, n.node, "cni0", localFDB+`
		9a:16:45:30:3a:c6 dev veth3 4m58s
		ee:6f:75:01:ed:bb dev veth4 4m58s`)
	n.Run(306 * time.Second)
	expectFDB(t, n.node, "cni0", localFDB)
}

// The pod talks to its node: the bridge's own MAC address is a local entry, so nothing is flooded but the question.
func TestScenarioS2Gateway(t *testing.T) {
	n := newBridgeNet(t, 2)
	expectPing(t, n.pods[0], "10.244.1.1", 64)
	n.wires[0].Expect(`
		pod1/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.244.1.1 tell 10.244.1.7
		node/cni0 > pod1/eth0 arp 42: 10.244.1.1 is-at node/cni0
		pod1/eth0 > node/cni0 ip 98: 10.244.1.7 > 10.244.1.1 ttl 64 DF echo request 1
		node/cni0 > pod1/eth0 ip 98: 10.244.1.1 > 10.244.1.7 ttl 64 echo reply 1`)
	n.wires[1].Expect(`pod1/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.244.1.1 tell 10.244.1.7`)
	expectNeighs(t, n.node, `10.244.1.7 dev cni0 9a:16:45:30:3a:c6 DELAY`)
	expectFDB(t, n.node, "cni0", localFDB+`
		9a:16:45:30:3a:c6 dev veth3 0s`)

	// The node asks for a pod that it does not know: the bridge's own frames are flooded as well.
	expectPing(t, n.node, "10.244.1.11", 64)
	n.wires[1].Expect(`node/cni0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.244.1.11 tell 10.244.1.1`)
	n.wires[2].Expect(`
		pod1/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.244.1.1 tell 10.244.1.7
		node/cni0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.244.1.11 tell 10.244.1.1
		pod3/eth0 > node/cni0 arp 42: 10.244.1.11 is-at pod3/eth0
		node/cni0 > pod3/eth0 ip 98: 10.244.1.1 > 10.244.1.11 ttl 64 DF echo request 1
		pod3/eth0 > node/cni0 ip 98: 10.244.1.11 > 10.244.1.1 ttl 64 echo reply 1`)
}

// A station that turns up elsewhere moves with its first frame from there, and frames for it follow.
func TestScenarioS2StationMove(t *testing.T) {
	n := newBridgeNet(t, 3)
	expectPing(t, n.pods[0], "10.244.1.10", 64)
	n.Run(time.Minute)
	n.clear()
	moved := echoFrame(t, macPod1, macPod2, "10.244.1.7", "10.244.1.10", 64)
	n.wires[2].InjectTo(n.node, moved)
	n.Settle()
	expectFDB(t, n.node, "cni0", localFDB+`
		9a:16:45:30:3a:c6 dev veth5 0s
		ee:6f:75:01:ed:bb dev veth4 0s`)
	n.wires[0].Expect("")
	n.wires[1].Expect(`
		pod1/eth0 > pod2/eth0 ip 98: 10.244.1.7 > 10.244.1.10 ttl 64 echo request 1
		pod2/eth0 > pod1/eth0 ip 98: 10.244.1.10 > 10.244.1.7 ttl 64 echo reply 1`)
	n.wires[2].Expect(`
		pod1/eth0 > pod2/eth0 ip 98: 10.244.1.7 > 10.244.1.10 ttl 64 echo request 1
		pod2/eth0 > pod1/eth0 ip 98: 10.244.1.10 > 10.244.1.7 ttl 64 echo reply 1`)

	n.wires[0].InjectTo(n.node, moved) // and back
	n.Settle()
	expectFDB(t, n.node, "cni0", localFDB+`
		9a:16:45:30:3a:c6 dev veth3 0s
		ee:6f:75:01:ed:bb dev veth4 0s`)
}

// Unknown unicast goes to every port but the one that it came in by, unless that is a hairpin.
func TestScenarioS2Flood(t *testing.T) {
	n := newBridgeNet(t, 4)
	const unknown = "02:00:00:00:00:99"
	frame := echoFrame(t, macPod1, unknown, "10.244.1.7", "10.244.1.99", 64)
	line := "pod1/eth0 > " + unknown + " ip 98: 10.244.1.7 > 10.244.1.99 ttl 64 echo request 1"

	n.wires[0].InjectTo(n.node, frame)
	n.Settle()
	n.wires[0].Expect(line) // only what came in
	n.wires[1].Expect(line)
	n.wires[2].Expect(line)
	assert.Zero(t, linkStats(t, n.node, "cni0").RxPackets, "unknown unicast does not go up")

	// Known to be behind the port that it comes in by: nobody else gets it, and neither does that port.
	n.wires[0].InjectTo(n.node, echoFrame(t, unknown, macPod1, "10.244.1.99", "10.244.1.7", 64))
	n.Settle()
	n.wires[0].Take()
	n.wires[0].InjectTo(n.node, frame)
	n.Settle()
	n.wires[0].Expect(line)
	n.wires[1].Expect("")
	assert.EqualValues(t, 2, drops(n.node, engine.DropSamePort))

	n.node.Do(n.node.E.SetBridgePort("veth3", engine.BridgePort{Hairpin: true})) // as Flannel does
	n.wires[0].InjectTo(n.node, frame)
	n.Settle()
	n.wires[0].Expect(line + "\n" + line)
	n.wires[1].Expect("")
}

// Ageing is the bridge's to configure, and counts from when a station was last heard, not from when it was last talked to.
func TestScenarioS2Ageing(t *testing.T) {
	n := newBridgeNet(t, 5)
	n.node.Do(n.node.E.SetAgeing("cni0", 10*time.Second))
	from := func(wire int, src, dst string) {
		n.wires[wire].InjectTo(n.node, echoFrame(t, src, dst, "10.9.9.1", "10.9.9.2", 64))
		n.Settle()
	}
	from(0, macPod1, bcast)
	from(1, macPod2, bcast)
	for s := range 5 {
		n.Run(time.Duration(3*(s+1)) * time.Second)
		from(1, macPod2, macPod1)
	}
	expectFDB(t, n.node, "cni0", localFDB+`
		ee:6f:75:01:ed:bb dev veth4 0s`)
	n.Run(26 * time.Second)
	expectFDB(t, n.node, "cni0", localFDB)
}
