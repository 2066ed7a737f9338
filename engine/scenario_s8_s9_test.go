package engine_test

// Scenarios S8, routed pods with proxy ARP on one host, and S9, the same across two hosts without a tunnel.
//
//	pod1 10.96.30.11 ── eth0-p1 ┐                                                     ┌ eth0-p3 ── pod3 10.96.30.13
//	                            host1 ens33 192.168.30.211 ─── 192.168.30.212 ens33 host2
//	pod2 10.96.30.12 ── eth0-p2 ┘                                                     └ eth0-p4 ── pod4 10.96.30.14
//
// The hosts' ports to the pods all have MAC address ee:ee:ee:ee:ee:ee, as Calico has it.

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/testnet"
)

const macCalico = "ee:ee:ee:ee:ee:ee"

// calicoHost adds a host whose other addresses are behind a gateway.
func calicoHost(net *testnet.Net, name, nicMAC, nic, gateway string) *testnet.Node {
	h := net.Router(name)
	h.Add(engine.Port{Link: testnet.Link("ens33", nicMAC)}, nic+"/24")
	h.Route("default via " + gateway + " dev ens33")
	return h
}

// calicoPod adds a pod with a link route to 169.254.1.1 and a default route by way of that, and its host's side.
func calicoPod(net *testnet.Net, host *testnet.Node, name, podMAC, addr, bits, port string) (*testnet.Node, *testnet.Wire) {
	p, w := pod(net, name, podMAC, addr+bits, "", host, engine.Port{Link: testnet.Link(port, macCalico)})
	p.Route("169.254.1.1 dev eth0 scope link")
	p.Route("default via 169.254.1.1 dev eth0")
	host.Route(addr + "/32 dev " + port)
	setProxyARP(host, port, 0)
	return p, w
}

type calicoNet struct {
	*testnet.Net
	host, pod1, pod2 *testnet.Node
	w1, w2, nic      *testnet.Wire
}

func newCalicoNet(t *testing.T, seed uint64, bits string) calicoNet {
	n := calicoNet{Net: testnet.New(t, seed)}
	n.Let("ee", macCalico)
	n.host = calicoHost(n.Net, "host", "00:0c:29:00:02:11", "192.168.30.211", "192.168.30.2")
	n.nic = n.Tap(n.host, "ens33")
	n.pod1, n.w1 = calicoPod(n.Net, n.host, "pod1", "02:00:00:00:00:11", "10.96.30.11", bits, "eth0-p1")
	n.pod2, n.w2 = calicoPod(n.Net, n.host, "pod2", "02:00:00:00:00:12", "10.96.30.12", bits, "eth0-p2")
	return n
}

// The pods believe that they are on one link: each asks for the other, and the host answers for it.
func TestScenarioS8Subnet(t *testing.T) {
	n := newCalicoNet(t, 1, "/24")
	expectRoutes(t, n.pod1, `
		0.0.0.0/0 via 169.254.1.1 dev eth0
		10.96.30.0/24 dev eth0 src 10.96.30.11
		169.254.1.1/32 dev eth0`)
	expectRoutes(t, n.host, `
		0.0.0.0/0 via 192.168.30.2 dev ens33
		10.96.30.11/32 dev eth0-p1
		10.96.30.12/32 dev eth0-p2
		192.168.30.0/24 dev ens33 src 192.168.30.211`)
	expectPing(t, n.pod1, "10.96.30.12", 63)
	n.w1.Expect(`
		@0s pod1/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.96.30.12 tell 10.96.30.11
		@0s ee > pod1/eth0 arp 42: 10.96.30.12 is-at ee
		@0s pod1/eth0 > ee ip 98: 10.96.30.11 > 10.96.30.12 ttl 64 DF echo request 1
		@0s ee > pod1/eth0 ip 98: 10.96.30.12 > 10.96.30.11 ttl 63 echo reply 1`)
	n.w2.Expect(`
		@0s ee > ff:ff:ff:ff:ff:ff arp 42: who-has 10.96.30.12 tell 192.168.30.211
		@0s pod2/eth0 > ee arp 42: 10.96.30.12 is-at pod2/eth0
		@0s ee > pod2/eth0 ip 98: 10.96.30.11 > 10.96.30.12 ttl 63 DF echo request 1
		@0s pod2/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.96.30.11 tell 10.96.30.12
		@0s ee > pod2/eth0 arp 42: 10.96.30.11 is-at ee
		@0s pod2/eth0 > ee ip 98: 10.96.30.12 > 10.96.30.11 ttl 64 echo reply 1`)
	expectNeighs(t, n.host, `
		10.96.30.11 dev eth0-p1 02:00:00:00:00:11 DELAY
		10.96.30.12 dev eth0-p2 02:00:00:00:00:12 REACHABLE`)
	expectNeighs(t, n.pod2, `
		10.96.30.11 dev eth0 ee:ee:ee:ee:ee:ee REACHABLE
		192.168.30.211 dev eth0 ee:ee:ee:ee:ee:ee STALE`)

	// The host learned of pod1 by its question, and confirms it later, from its own address and with a unicast request.
	n.Run(10 * time.Second)
	n.w1.Expect(`
		@5s ee > pod1/eth0 arp 42: who-has 10.96.30.11 tell 192.168.30.211
		@5s pod1/eth0 > ee arp 42: 10.96.30.11 is-at pod1/eth0`)
	n.w2.Expect("")
	n.nic.Expect("")
	expectNeighs(t, n.host, `
		10.96.30.11 dev eth0-p1 02:00:00:00:00:11 REACHABLE
		10.96.30.12 dev eth0-p2 02:00:00:00:00:12 REACHABLE`)
}

// The pods have no neighbours: all goes by way of 169.254.1.1, which nobody has and the host answers for.
func TestScenarioS8Gateway(t *testing.T) {
	n := newCalicoNet(t, 2, "/32")
	expectPing(t, n.pod1, "10.96.30.12", 63)
	n.w1.Expect(`
		pod1/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 169.254.1.1 tell 10.96.30.11
		ee > pod1/eth0 arp 42: 169.254.1.1 is-at ee
		pod1/eth0 > ee ip 98: 10.96.30.11 > 10.96.30.12 ttl 64 DF echo request 1
		ee > pod1/eth0 ip 98: 10.96.30.12 > 10.96.30.11 ttl 63 echo reply 1`)
	n.w2.Expect(`
		ee > ff:ff:ff:ff:ff:ff arp 42: who-has 10.96.30.12 tell 192.168.30.211
		pod2/eth0 > ee arp 42: 10.96.30.12 is-at pod2/eth0
		ee > pod2/eth0 ip 98: 10.96.30.11 > 10.96.30.12 ttl 63 DF echo request 1
		pod2/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 169.254.1.1 tell 10.96.30.12
		ee > pod2/eth0 arp 42: 169.254.1.1 is-at ee
		pod2/eth0 > ee ip 98: 10.96.30.12 > 10.96.30.11 ttl 64 echo reply 1`)
	n.nic.Expect("")

	// The host reaches its pods, and a pod its host.
	expectPing(t, n.host, "10.96.30.11", 64)
	expectPing(t, n.pod2, "192.168.30.211", 64)
}

// Whom the host answers for: for who is behind another port, with its own MAC address, and for nobody else.
func TestScenarioS8WhoIsAnsweredFor(t *testing.T) {
	n := newCalicoNet(t, 3, "/24")
	n.host.Route("blackhole 10.96.31.0/24")
	n.host.Route("unreachable 10.96.32.0/24")
	const self, other = "10.96.30.11", "10.96.30.12"
	for _, c := range []struct {
		name             string
		target, sender   string
		proxy, noDefault bool
		answered         bool
	}{
		{"behind another port", other, self, true, false, true},
		{"the gateway that nobody has", "169.254.1.1", self, true, false, true},
		{"somewhere else", "198.51.100.1", self, true, false, true},
		{"the host's own address, on another device", "192.168.30.211", self, true, false, true},
		{"behind the same port", "10.96.30.11", "10.96.30.99", true, false, false},
		{"the asker's own address: an announcement", self, self, true, false, false},
		{"a probe, which only who has the address answers", other, "0.0.0.0", true, false, false},
		{"a blackhole", "10.96.31.1", self, true, false, false},
		{"unreachable", "10.96.32.1", self, true, false, false},
		{"no route", "198.51.100.1", self, true, true, false},
		{"behind another port, without proxy_arp", other, self, false, false, false},
		{"the host's own address, without proxy_arp", "192.168.30.211", self, false, false, true},
	} {
		conf, err := n.host.E.Conf("eth0-p1")
		require.NoError(t, err)
		conf.ProxyARP = c.proxy
		n.host.Do(n.host.E.SetConf("eth0-p1", conf))
		if c.noDefault {
			n.host.Do(n.host.E.DeleteRoute(mustRoute(t, "default via 192.168.30.2 dev ens33")))
		}
		n.w1.Take()
		request := arp.WhoHas(ip(c.target).As4(), mac("02:00:00:00:00:11"), ip(c.sender).As4())
		n.w1.InjectTo(n.host, request.AppendFrame(nil, ethernet.Broadcast))
		n.Settle()
		got := n.w1.Take()[1:]
		if c.noDefault {
			n.host.Route("default via 192.168.30.2 dev ens33")
		}
		if assert.Len(t, got, map[bool]int{true: 1}[c.answered], c.name) && c.answered {
			assert.Equal(t, macCalico+" > 02:00:00:00:00:11 arp 42: "+c.target+" is-at "+macCalico, got[0].String(), c.name)
		}
	}
}

// With proxy_delay the answer comes after a random time of up to that long, so that an owner is heard first.
func TestScenarioS8ProxyDelay(t *testing.T) {
	var times []time.Duration
	for seed := range uint64(8) {
		n := newCalicoNet(t, 10+seed, "/24")
		setProxyARP(n.host, "eth0-p1", 800*time.Millisecond)
		expectPing(t, n.pod1, "10.96.30.12", 63)
		frames := n.w1.Take()
		require.Equal(t, macCalico+" > 02:00:00:00:00:11 arp 42: 10.96.30.12 is-at "+macCalico, frames[1].String())
		assert.Less(t, frames[1].At, 800*time.Millisecond)
		times = append(times, frames[1].At)
	}
	assert.Greater(t, slices.Max(times)-slices.Min(times), 100*time.Millisecond, "times %v", times)
}

func TestScenarioS9(t *testing.T) {
	net := testnet.New(t, 1)
	net.Let("ee", macCalico)
	host1 := calicoHost(net, "host1", "00:0c:29:00:02:11", "192.168.30.211", "192.168.30.2")
	host2 := calicoHost(net, "host2", "00:0c:29:00:02:12", "192.168.30.212", "192.168.30.2")
	nic := net.Wire(host1, "ens33", host2, "ens33")
	pod1, w1 := calicoPod(net, host1, "pod1", "02:00:00:00:00:11", "10.96.30.11", "/24", "eth0-p1")
	pod2, _ := calicoPod(net, host1, "pod2", "02:00:00:00:00:12", "10.96.30.12", "/24", "eth0-p2")
	_, w3 := calicoPod(net, host2, "pod3", "02:00:00:00:00:13", "10.96.30.13", "/24", "eth0-p3")
	pod4, _ := calicoPod(net, host2, "pod4", "02:00:00:00:00:14", "10.96.30.14", "/24", "eth0-p4")
	host1.Route("10.96.30.13 via 192.168.30.212 dev ens33")
	host1.Route("10.96.30.14 via 192.168.30.212 dev ens33")
	host2.Route("10.96.30.11 via 192.168.30.211 dev ens33")
	host2.Route("10.96.30.12 via 192.168.30.211 dev ens33")

	expectPing(t, pod1, "10.96.30.13", 62)
	w1.Expect(`
		pod1/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.96.30.13 tell 10.96.30.11
		ee > pod1/eth0 arp 42: 10.96.30.13 is-at ee
		pod1/eth0 > ee ip 98: 10.96.30.11 > 10.96.30.13 ttl 64 DF echo request 1
		ee > pod1/eth0 ip 98: 10.96.30.13 > 10.96.30.11 ttl 62 echo reply 1`)
	nic.Expect(`
		host1/ens33 > ff:ff:ff:ff:ff:ff arp 42: who-has 192.168.30.212 tell 192.168.30.211
		host2/ens33 > host1/ens33 arp 42: 192.168.30.212 is-at host2/ens33
		host1/ens33 > host2/ens33 ip 98: 10.96.30.11 > 10.96.30.13 ttl 63 DF echo request 1
		host2/ens33 > host1/ens33 ip 98: 10.96.30.13 > 10.96.30.11 ttl 63 echo reply 1`)
	w3.Expect(`
		ee > ff:ff:ff:ff:ff:ff arp 42: who-has 10.96.30.13 tell 192.168.30.212
		pod3/eth0 > ee arp 42: 10.96.30.13 is-at pod3/eth0
		ee > pod3/eth0 ip 98: 10.96.30.11 > 10.96.30.13 ttl 62 DF echo request 1
		pod3/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.96.30.11 tell 10.96.30.13
		ee > pod3/eth0 arp 42: 10.96.30.11 is-at ee
		pod3/eth0 > ee ip 98: 10.96.30.13 > 10.96.30.11 ttl 64 echo reply 1`)
	net.Run(10 * time.Second)
	nic.Expect(`
		@5s host2/ens33 > host1/ens33 arp 42: who-has 192.168.30.211 tell 192.168.30.212
		@5s host1/ens33 > host2/ens33 arp 42: 192.168.30.211 is-at host1/ens33`)

	expectPing(t, pod4, "10.96.30.12", 62)
	expectPing(t, pod2, "10.96.30.14", 62)
	expectPing(t, pod2, "10.96.30.11", 63)
	expectPing(t, host1, "10.96.30.14", 63)
}
