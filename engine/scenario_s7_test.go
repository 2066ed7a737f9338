package engine_test

// Scenario S7: VXLAN as a learning multi-tenant L2 network (RFC 7348), two tenants on three VTEPs. The tenants' hosts have the same
// addresses: red ra and blue ba both are 10.0.0.1 with MAC address 02:00:00:00:00:01, and so on.
//
//	ra ─ br10 ─ vx10 ┐                                 ┌ vx10 ─ br10 ─ rb
//	                 A 192.0.2.1 ── (switch) ── 192.0.2.2 B
//	ba ─ br20 ─ vx20 ┘                 │               └ vx20 ─ br20 ─ bb
//	                               192.0.2.3
//	                                   C ─ vx10 ─ br10 ─ rc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/testnet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

const (
	mac1 = "02:00:00:00:00:01"
	mac2 = "02:00:00:00:00:02"
	mac3 = "02:00:00:00:00:03"
)

type tenantNet struct {
	*testnet.Net
	a, b, c            *testnet.Node
	under              [3]*testnet.Wire // of A, B and C
	ra, rb, rc, ba, bb *testnet.Node
	wires              map[string]*testnet.Wire // of the hosts
}

// newTenantNet returns the network with a warm underlay: addresses are resolved, and the switch knows its stations.
func newTenantNet(t *testing.T, seed uint64, tune func(*engine.VXLAN)) tenantNet {
	n := tenantNet{Net: testnet.New(t, seed), wires: map[string]*testnet.Wire{}}
	sw := n.Node("switch")
	sw.Add(engine.Bridge{Link: testnet.Link("br0", "")})
	vtep := func(i int) *testnet.Node {
		v := n.Node(string(rune('A' + i)))
		v.Add(engine.Port{Link: testnet.Link("eth0", fmt.Sprintf("02:00:00:00:ff:%02x", i+1))}, fmt.Sprintf("192.0.2.%d/24", i+1))
		port := fmt.Sprintf("p%d", i+1)
		sw.Add(engine.Port{Link: testnet.Link(port, "")})
		sw.Do(sw.E.SetMaster(port, "br0"))
		n.under[i] = n.Wire(v, "eth0", sw, port)
		return v
	}
	n.a, n.b, n.c = vtep(0), vtep(1), vtep(2)
	for _, v := range []*testnet.Node{n.a, n.b, n.c} {
		tenant(n.Net, v, 10, tune)
	}
	tenant(n.Net, n.a, 20, tune)
	tenant(n.Net, n.b, 20, tune)
	host := func(name string, v *testnet.Node, vni, number int) *testnet.Node {
		h, w := bridged(n.Net, name, fmt.Sprintf("02:00:00:00:00:%02x", number), fmt.Sprintf("10.0.0.%d/24", number), "", v,
			name, "", fmt.Sprintf("br%d", vni))
		n.wires[name] = w
		return h
	}
	n.ra, n.rb, n.rc = host("ra", n.a, 10, 1), host("rb", n.b, 10, 2), host("rc", n.c, 10, 3)
	n.ba, n.bb = host("ba", n.a, 20, 1), host("bb", n.b, 20, 2)

	expectPing(t, n.a, "192.0.2.2", 64)
	expectPing(t, n.a, "192.0.2.3", 64)
	expectPing(t, n.b, "192.0.2.3", 64)
	n.Run(10 * time.Second) // until all of that is confirmed
	n.clear()
	return n
}

// tenant adds a bridge with a VXLAN port.
func tenant(net *testnet.Net, v *testnet.Node, vni int, tune func(*engine.VXLAN)) {
	bridge, port := fmt.Sprintf("br%d", vni), fmt.Sprintf("vx%d", vni)
	info, _ := v.E.Link("eth0")
	mac := info.MAC
	mac[3] = byte(vni)
	link := testnet.Link(port, mac.String())
	x := engine.VXLAN{Link: link, VNI: uint32(vni), Device: "eth0", DstPort: vxlan.Port, Local: v.E.Addrs("eth0")[0].Prefix.Addr()}
	if tune != nil {
		tune(&x)
	}
	v.Add(engine.Bridge{Link: testnet.Link(bridge, "")})
	v.Add(x)
	v.Do(v.E.SetMaster(port, bridge))
	net.Settle()
}

// replicate makes a VTEP send to others what is for everybody.
func replicate(v *testnet.Node, dev string, remotes ...string) {
	for _, r := range remotes {
		v.Do(v.E.AppendFDB(engine.FDBEntry{Dev: dev, Dst: ip(r)}))
	}
}

func (n tenantNet) replicate() {
	replicate(n.a, "vx10", "192.0.2.2", "192.0.2.3")
	replicate(n.b, "vx10", "192.0.2.1", "192.0.2.3")
	replicate(n.c, "vx10", "192.0.2.1", "192.0.2.2")
	replicate(n.a, "vx20", "192.0.2.2")
	replicate(n.b, "vx20", "192.0.2.1")
}

func (n tenantNet) clear() {
	for _, w := range n.Wires() {
		w.Take()
	}
}

func TestScenarioS7(t *testing.T) {
	n := newTenantNet(t, 1, nil)
	n.replicate()
	expectPing(t, n.ra, "10.0.0.2", 64)
	const (
		toB = `A/eth0 > B/eth0 ip 92: 192.0.2.1 > 192.0.2.2 ttl 64 udp * > 4789 nocsum vxlan 10 | ra/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.0.0.2 tell 10.0.0.1
			`
		toC = `A/eth0 > C/eth0 ip 92: 192.0.2.1 > 192.0.2.3 ttl 64 udp * > 4789 nocsum vxlan 10 | ra/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.0.0.2 tell 10.0.0.1
			`
		rest = `B/eth0 > A/eth0 ip 92: 192.0.2.2 > 192.0.2.1 ttl 64 udp * > 4789 nocsum vxlan 10 | rb/eth0 > ra/eth0 arp 42: 10.0.0.2 is-at rb/eth0
			A/eth0 > B/eth0 ip 148: 192.0.2.1 > 192.0.2.2 ttl 64 udp * > 4789 nocsum vxlan 10 | ra/eth0 > rb/eth0 ip 98: 10.0.0.1 > 10.0.0.2 ttl 64 DF echo request 1
			B/eth0 > A/eth0 ip 148: 192.0.2.2 > 192.0.2.1 ttl 64 udp * > 4789 nocsum vxlan 10 | rb/eth0 > ra/eth0 ip 98: 10.0.0.2 > 10.0.0.1 ttl 64 echo reply 1`
	)
	n.under[0].Expect(toC + toB + rest) // the first remote's copy goes last
	n.under[1].Expect(toB + rest)       // B does not pass on to C what came from A: split horizon
	n.under[2].Expect(toC)
	n.wires["rc"].Expect(`ra/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.0.0.2 tell 10.0.0.1`)
	n.wires["ba"].Expect("")
	n.wires["bb"].Expect("")

	const everybody = `
		00:00:00:00:00:00 dst 192.0.2.2 static
		00:00:00:00:00:00 dst 192.0.2.3 static`
	expectFDB(t, n.a, "vx10", everybody+`
		02:00:00:00:00:02 dst 192.0.2.2 0s`)
	expectFDB(t, n.b, "vx10", `
		00:00:00:00:00:00 dst 192.0.2.1 static
		00:00:00:00:00:00 dst 192.0.2.3 static
		02:00:00:00:00:01 dst 192.0.2.1 0s`)
	expectFDB(t, n.c, "vx10", `
		00:00:00:00:00:00 dst 192.0.2.1 static
		00:00:00:00:00:00 dst 192.0.2.2 static
		02:00:00:00:00:01 dst 192.0.2.1 0s`)
	expectFDB(t, n.a, "vx20", `
		00:00:00:00:00:00 dst 192.0.2.2 static`)

	n.RunFor(306 * time.Second) // the last heard were the ARP checks after 5 s
	expectFDB(t, n.a, "vx10", everybody)
}

// Two tenants with the same addresses never see each other's frames.
func TestScenarioS7Tenants(t *testing.T) {
	n := newTenantNet(t, 2, nil)
	n.replicate()
	expectPing(t, n.ra, "10.0.0.2", 64)
	expectPing(t, n.ba, "10.0.0.2", 64)
	expectPing(t, n.bb, "10.0.0.1", 64)
	expectPing(t, n.rc, "10.0.0.1", 64)
	assert.ErrorIs(t, n.ba.PingWith("10.0.0.3", testnet.Echo{Wait: time.Second / 2}).Err, testnet.ErrNoAnswer, "there is no blue third host")

	answers := func(h *testnet.Node, want int) { assert.Len(t, h.Received, want, "answers at %s", h.Name) }
	answers(n.ra, 1)
	answers(n.ba, 1)
	answers(n.bb, 1)
	answers(n.rc, 1)
	answers(n.rb, 0)
	count := map[string]int{}
	for _, f := range n.under[0].Take() {
		for _, vni := range []string{"vxlan 10", "vxlan 20"} {
			if strings.Contains(f.String(), vni) {
				count[vni]++
			}
		}
	}
	assert.Equal(t, map[string]int{
		"vxlan 10": 5 + 4,     // ARP to two and its answer, echo and reply; then ARP from rc and its answer, echo and reply
		"vxlan 20": 4 + 2 + 1, // ARP to one, its answer, echo and reply; echo and reply; one question for the third host
	}, count)
	assert.Len(t, n.wires["rc"].Take(), 1+4, "rc saw ra's question, then its own and what came of it")
}

// A station that moves to another VTEP moves in everybody's FDB with its first frame.
func TestScenarioS7Move(t *testing.T) {
	n := newTenantNet(t, 3, nil)
	n.replicate()
	expectPing(t, n.ra, "10.0.0.2", 64)
	n.clear()

	n.wires["rc"].InjectTo(n.c, arp.Announcement(mac(mac2), ip("10.0.0.2").As4()).AppendFrame(nil, ethernet.Broadcast))
	n.Settle()
	for _, v := range []*testnet.Node{n.a, n.b} {
		found := false
		for e := range v.E.FDB("vx10") {
			if e.MAC == mac(mac2) {
				found = true
				assert.Equal(t, ip("192.0.2.3"), e.Dst, v.Name)
			}
		}
		assert.True(t, found, v.Name)
	}
	n.clear()
	require.NoError(t, n.ra.PingStart("10.0.0.2", testnet.Echo{}))
	n.Settle()
	n.under[0].Expect(`
		A/eth0 > C/eth0 ip 148: 192.0.2.1 > 192.0.2.3 ttl 64 udp * > 4789 nocsum vxlan 10 | ra/eth0 > rb/eth0 ip 98: 10.0.0.1 > 10.0.0.2 ttl 64 DF echo request 2`)
	n.under[1].Expect("")
	n.wires["rc"].Expect(`ra/eth0 > rb/eth0 ip 98: 10.0.0.1 > 10.0.0.2 ttl 64 DF echo request 2`)
}

// Unknown unicast goes to every VTEP, and there to every port.
func TestScenarioS7UnknownUnicast(t *testing.T) {
	n := newTenantNet(t, 4, nil)
	n.replicate()
	n.wires["ra"].InjectTo(n.a, echoFrame(t, mac1, "02:00:00:00:00:99", "10.0.0.1", "10.0.0.99", 64))
	n.Settle()
	const inner = `ra/eth0 > 02:00:00:00:00:99 ip 98: 10.0.0.1 > 10.0.0.99 ttl 64 echo request 1`
	n.under[0].Expect(`
		A/eth0 > C/eth0 ip 148: 192.0.2.1 > 192.0.2.3 ttl 64 udp * > 4789 nocsum vxlan 10 | ` + inner + `
		A/eth0 > B/eth0 ip 148: 192.0.2.1 > 192.0.2.2 ttl 64 udp * > 4789 nocsum vxlan 10 | ` + inner)
	n.wires["rb"].Expect(inner)
	n.wires["rc"].Expect(inner)
	n.wires["bb"].Expect("")
}

// Without a remote for everybody, what is for everybody stays here and is counted.
func TestScenarioS7NoRemotes(t *testing.T) {
	n := newTenantNet(t, 5, nil)
	assert.ErrorIs(t, n.ra.PingWith("10.0.0.2", testnet.Echo{Wait: time.Second / 2}).Err, testnet.ErrNoAnswer)
	n.under[0].Expect("")
	assert.EqualValues(t, 1, drops(n.a, engine.DropFDBMiss))
}

// vxlanFrame returns a tunnelled frame.
func vxlanFrame(t *testing.T, srcMAC, dstMAC, src, dst string, port uint16, vni uint32, inner []byte) []byte {
	t.Helper()
	b, err := udp.Fields{SrcPort: 40000, DstPort: port}.Append(nil, vxlan.HeaderLen+len(inner))
	require.NoError(t, err)
	b, err = vxlan.Fields{VNI: vni}.Append(b)
	require.NoError(t, err)
	b = append(b, inner...)
	return ipFrame(t, srcMAC, dstMAC, ipv4.Fields{TTL: 64, Protocol: udp.Protocol, Src: ip(src).As4(), Dst: ip(dst).As4()}, b)
}

// A VNI that nobody here has is dropped and counted, and learned from by nobody.
func TestScenarioS7UnknownVNI(t *testing.T) {
	n := newTenantNet(t, 6, nil)
	n.replicate()
	inner := echoFrame(t, mac2, mac1, "10.0.0.2", "10.0.0.1", 64)
	for i, vni := range []uint32{99, 0, 11, 1<<24 - 1} {
		n.under[0].InjectTo(n.a, vxlanFrame(t, "02:00:00:00:ff:02", "02:00:00:00:ff:01", "192.0.2.2", "192.0.2.1", vxlan.Port, vni, inner))
		n.Settle()
		assert.EqualValues(t, i+1, drops(n.a, engine.DropTunnelVNI), vni)
	}
	n.wires["ra"].Expect("")
	n.wires["ba"].Expect("")
	for e := range n.a.E.FDB("vx10") {
		assert.True(t, e.MAC.IsZero(), e.MAC)
	}

	// The same frame with the tenant's VNI arrives.
	n.under[0].InjectTo(n.a, vxlanFrame(t, "02:00:00:00:ff:02", "02:00:00:00:ff:01", "192.0.2.2", "192.0.2.1", vxlan.Port, 10, inner))
	n.Settle()
	n.wires["ra"].Expect(`
		rb/eth0 > ra/eth0 ip 98: 10.0.0.2 > 10.0.0.1 ttl 64 echo request 1
		ra/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.0.0.2 tell 10.0.0.1
		rb/eth0 > ra/eth0 arp 42: 10.0.0.2 is-at rb/eth0
		ra/eth0 > rb/eth0 ip 98: 10.0.0.1 > 10.0.0.2 ttl 64 echo reply 1`)
	n.wires["ba"].Expect("")
	expectFDB(t, n.a, "vx10", `
		00:00:00:00:00:00 dst 192.0.2.2 static
		00:00:00:00:00:00 dst 192.0.2.3 static
		02:00:00:00:00:02 dst 192.0.2.2 0s`)
}

// With a multicast group as remote, one copy goes to the group, whose TTL is 1 unless set, and learning does the rest.
func TestScenarioS7Group(t *testing.T) {
	n := newTenantNet(t, 7, func(v *engine.VXLAN) { v.Remote = ip(fmt.Sprintf("239.1.1.%d", v.VNI)) })
	expectPing(t, n.ra, "10.0.0.2", 64)
	n.under[0].Expect(`
		A/eth0 > 01:00:5e:01:01:0a ip 92: 192.0.2.1 > 239.1.1.10 ttl 1 udp * > 4789 nocsum vxlan 10 | ra/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.0.0.2 tell 10.0.0.1
		B/eth0 > A/eth0 ip 92: 192.0.2.2 > 192.0.2.1 ttl 64 udp * > 4789 nocsum vxlan 10 | rb/eth0 > ra/eth0 arp 42: 10.0.0.2 is-at rb/eth0
		A/eth0 > B/eth0 ip 148: 192.0.2.1 > 192.0.2.2 ttl 64 udp * > 4789 nocsum vxlan 10 | ra/eth0 > rb/eth0 ip 98: 10.0.0.1 > 10.0.0.2 ttl 64 DF echo request 1
		B/eth0 > A/eth0 ip 148: 192.0.2.2 > 192.0.2.1 ttl 64 udp * > 4789 nocsum vxlan 10 | rb/eth0 > ra/eth0 ip 98: 10.0.0.2 > 10.0.0.1 ttl 64 echo reply 1`)
	n.wires["rc"].Expect(`ra/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.0.0.2 tell 10.0.0.1`)
	expectPing(t, n.ba, "10.0.0.2", 64)
	assert.True(t, slices.ContainsFunc(n.under[0].Take(), func(f testnet.Frame) bool {
		return strings.Contains(f.String(), "192.0.2.1 > 239.1.1.20 ttl 1 udp * > 4789 nocsum vxlan 20 ")
	}), "each tenant has its group")
	assert.Zero(t, drops(n.c, engine.DropTunnelVNI), "C has not joined blue's group")
}
