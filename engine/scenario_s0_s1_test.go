package engine_test

// Scenarios S0, two containers of one pod, and S1, two hosts on one wire.
//
//	S0   container ─┐                      S1   a eth0 ─────────────── eth0 b
//	                ├ lo, eth0 ── (tap)         10.1.1.2/24      10.1.1.3/24
//	     container ─┘ 10.244.1.7/24

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/testnet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
)

func TestScenarioS0(t *testing.T) {
	net := testnet.New(t, 1)
	p := net.Node("pod")
	p.Add(engine.Port{Link: testnet.Link("eth0", "9a:16:45:30:3a:c6")}, "10.244.1.7/24")
	wire, lo := net.Tap(p, "eth0"), p.Capture("lo")

	for addr, source := range map[string]string{"127.0.0.1": "127.0.0.1", "10.244.1.7": "10.244.1.7", "127.5.5.5": "127.0.0.1"} {
		lo.Take()
		expectPing(t, p, addr, 64)
		assert.Len(t, lo.Take(), 2*2, "request and reply, out and in again")
		reply := p.Received[len(p.Received)-1]
		assert.Equal(t, [2]netip.Addr{ip(addr), ip(source)}, [2]netip.Addr{reply.Src, reply.Dst}, "who answers whom")
		a, err := p.E.GetRoute(ip(addr), engine.RouteQuery{})
		require.NoError(t, err)
		assert.True(t, a.Local, addr)
		assert.Equal(t, "lo", a.Dev, addr)
		assert.Equal(t, ip(source), a.Source, addr)
	}
	assert.EqualValues(t, 2*3, linkStats(t, p, "lo").RxPackets, "requests and replies")
	assert.Equal(t, linkStats(t, p, "lo").RxPackets, linkStats(t, p, "lo").TxPackets)

	// One container asks the other over UDP, by the pod's own address; nobody listens to the next port.
	p.Listen(udp.Protocol, 53)
	p.Received = nil
	from, to := netip.MustParseAddrPort("10.244.1.7:40000"), netip.MustParseAddrPort("10.244.1.7:53")
	require.NoError(t, p.UDP(from, to, []byte("question")))
	require.NoError(t, p.UDP(from, netip.AddrPortFrom(to.Addr(), 54), []byte("question")))
	net.Settle()
	require.Len(t, p.Received, 2)
	assert.Equal(t, "36: 10.244.1.7 > 10.244.1.7 ttl 64 DF udp 40000 > 53 len 8", p.Received[0].String())
	assert.Equal(t, "64: 10.244.1.7 > 10.244.1.7 ttl 64 tos 0xc0 unreachable port (10.244.1.7 > 10.244.1.7 ttl 64)",
		p.Received[1].String())

	net.RunFor(time.Minute)
	wire.Expect("")
	assert.Zero(t, linkStats(t, p, "eth0").TxPackets)
	expectNeighs(t, p, "")
}

// What is the node's own never comes from outside: not with its address as source, nor with 127.0.0.1 as either.
func TestScenarioS0Martians(t *testing.T) {
	net := testnet.New(t, 2)
	p := net.Node("pod")
	p.Add(engine.Port{Link: testnet.Link("eth0", "9a:16:45:30:3a:c6")}, "10.244.1.7/24")
	wire := net.Tap(p, "eth0")
	for _, c := range []struct {
		name, src, dst string
		reason         engine.Reason
	}{
		{"the pod's own address as source", "10.244.1.7", "10.244.1.7", engine.DropMartianSource},
		{"loopback as source", "127.0.0.1", "10.244.1.7", engine.DropMartianSource},
		{"loopback as destination", "10.244.1.8", "127.0.0.1", engine.DropMartianDst},
	} {
		before := drops(p, c.reason)
		wire.Inject(echoFrame(t, "02:00:00:00:00:01", "9a:16:45:30:3a:c6", c.src, c.dst, 64))
		net.Settle()
		assert.Equal(t, before+1, drops(p, c.reason), c.name)
	}
	assert.Len(t, wire.Frames(), 3, "no answers")
}

// echoFrame returns an echo request of ping's size in an Ethernet frame.
func echoFrame(t *testing.T, src, dst, srcIP, dstIP string, ttl uint8) []byte {
	t.Helper()
	return ipFrame(t, src, dst, ipv4.Fields{
		TTL: ttl, Protocol: icmp.Protocol, Src: ip(srcIP).As4(), Dst: ip(dstIP).As4(),
	}, icmp.Echo(1, 1).Append(nil, make([]byte, 56)))
}

// ipFrame returns an IPv4 packet in an Ethernet frame.
func ipFrame(t *testing.T, src, dst string, f ipv4.Fields, payload []byte) []byte {
	t.Helper()
	b, err := ethernet.Fields{Dst: mac(dst), Src: mac(src), EtherType: ethernet.TypeIPv4}.Append(nil)
	require.NoError(t, err)
	b, err = f.Append(b, len(payload))
	require.NoError(t, err)
	return append(b, payload...)
}

func twoHosts(t *testing.T, seed uint64) (*testnet.Net, *testnet.Node, *testnet.Node, *testnet.Wire) {
	net := testnet.New(t, seed)
	a, b := net.Node("a"), net.Node("b")
	a.Add(engine.Port{Link: testnet.Link("eth0", "0a:00:00:00:00:02")}, "10.1.1.2/24")
	b.Add(engine.Port{Link: testnet.Link("eth0", "0a:00:00:00:00:03")}, "10.1.1.3/24")
	return net, a, b, net.Wire(a, "eth0", b, "eth0")
}

func TestScenarioS1(t *testing.T) {
	net, a, b, wire := twoHosts(t, 1)
	expectRoutes(t, a, `10.1.1.0/24 dev eth0 src 10.1.1.2`)
	expectPing(t, a, "10.1.1.3", 64)
	wire.Expect(`
		@0s a/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.1.1.3 tell 10.1.1.2
		@0s b/eth0 > a/eth0 arp 42: 10.1.1.3 is-at b/eth0
		@0s a/eth0 > b/eth0 ip 98: 10.1.1.2 > 10.1.1.3 ttl 64 DF echo request 1
		@0s b/eth0 > a/eth0 ip 98: 10.1.1.3 > 10.1.1.2 ttl 64 echo reply 1`)
	expectNeighs(t, a, `10.1.1.3 dev eth0 0a:00:00:00:00:03 REACHABLE`)
	expectNeighs(t, b, `10.1.1.2 dev eth0 0a:00:00:00:00:02 DELAY`)

	// b learned of a by a's question and has used that since: after five seconds it asks a, and only a.
	net.Run(10 * time.Second)
	wire.Expect(`
		@5s b/eth0 > a/eth0 arp 42: who-has 10.1.1.2 tell 10.1.1.3
		@5s a/eth0 > b/eth0 arp 42: 10.1.1.2 is-at a/eth0`)
	expectNeighs(t, b, `10.1.1.2 dev eth0 0a:00:00:00:00:02 REACHABLE`)

	// A confirmation lasts 15 to 45 s. The next packet goes at once, and is followed by a check.
	net.Run(60 * time.Second)
	expectNeighs(t, a, `10.1.1.3 dev eth0 0a:00:00:00:00:03 STALE`)
	expectNeighs(t, b, `10.1.1.2 dev eth0 0a:00:00:00:00:02 STALE`)
	expectPing(t, a, "10.1.1.3", 64)
	wire.Expect(`
		@1m0s a/eth0 > b/eth0 ip 98: 10.1.1.2 > 10.1.1.3 ttl 64 DF echo request 2
		@1m0s b/eth0 > a/eth0 ip 98: 10.1.1.3 > 10.1.1.2 ttl 64 echo reply 2`)
	expectNeighs(t, a, `10.1.1.3 dev eth0 0a:00:00:00:00:03 DELAY`)
}

// The reply of Linux to an echo request does not set DF, and has the request's TOS.
func TestScenarioS1EchoReply(t *testing.T) {
	_, a, _, wire := twoHosts(t, 2)
	require.True(t, a.PingWith("10.1.1.3", testnet.Echo{TOS: 0x10, Fragment: true, Size: 8}).OK)
	wire.Take()
	require.True(t, a.PingWith("10.1.1.3", testnet.Echo{TOS: 0x10, Size: 1472}).OK)
	wire.Expect(`
		a/eth0 > b/eth0 ip 1514: 10.1.1.2 > 10.1.1.3 ttl 64 tos 0x10 DF echo request 2
		b/eth0 > a/eth0 ip 1514: 10.1.1.3 > 10.1.1.2 ttl 64 tos 0x10 echo reply 2`)
	assert.ErrorIs(t, a.PingWith("10.1.1.3", testnet.Echo{Size: 1473}).Err, engine.ErrMessageSize)
	require.True(t, a.PingWith("10.1.1.3", testnet.Echo{Size: 1473, Fragment: true}).OK)
	wire.Expect(`
		a/eth0 > b/eth0 ip 1514: 10.1.1.2 > 10.1.1.3 ttl 64 frag 0+ echo request 4
		a/eth0 > b/eth0 ip 35: 10.1.1.2 > 10.1.1.3 ttl 64 frag 1480 protocol 1 len 1
		b/eth0 > a/eth0 ip 1514: 10.1.1.3 > 10.1.1.2 ttl 64 frag 0+ echo reply 4
		b/eth0 > a/eth0 ip 35: 10.1.1.3 > 10.1.1.2 ttl 64 frag 1480 protocol 1 len 1`)
}

// Nobody answers: three questions a second apart, then the sender is told, for each of its packets.
func TestScenarioS1Unanswered(t *testing.T) {
	net, a, _, wire := twoHosts(t, 3)
	require.NoError(t, a.PingStart("10.1.1.9", testnet.Echo{}))
	net.RunFor(500 * time.Millisecond)
	expectNeighs(t, a, `10.1.1.9 dev eth0 INCOMPLETE`)
	answer := a.PingWith("10.1.1.9", testnet.Echo{Wait: 10 * time.Second})
	expectError(t, answer, icmp.TypeUnreachable, icmp.CodeHostUnreachable, "10.1.1.2")
	assert.Equal(t, 3*time.Second, net.Now(), "a second after the third question")
	wire.Expect(`
		@0s a/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.1.1.9 tell 10.1.1.2
		@1s a/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.1.1.9 tell 10.1.1.2
		@2s a/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.1.1.9 tell 10.1.1.2`)
	require.Len(t, a.Received, 2, "both packets are reported")
	assert.EqualValues(t, 2, drops(a, engine.DropNeighbour))
	expectNeighs(t, a, `10.1.1.9 dev eth0 FAILED`)
	e, ok := a.E.GetNeigh(ip("10.1.1.9"), "eth0")
	require.True(t, ok)
	assert.Equal(t, arp.StateFailed, e.State)
}

// The two ends of an internal pair know each other: one in a bridge, the other with the node's address.
//
//	host eth0 ── p0 br0 veth0 ══ veth1 node
//	10.1.1.2/24                  10.1.1.1/24
func TestScenarioS1Pair(t *testing.T) {
	net := testnet.New(t, 4)
	node := net.Node("node")
	node.Add(engine.Bridge{Link: testnet.Link("br0", "0a:00:00:00:00:b0")})
	node.Add(engine.Pair{Link: testnet.Link("veth0", "0a:00:00:00:00:10"), Peer: testnet.Link("veth1", "0a:00:00:00:00:11")})
	node.Do(node.E.SetMaster("veth0", "br0"))
	node.Addr("veth1", "10.1.1.1/24")
	conf, err := node.E.Conf("br0")
	require.NoError(t, err)
	conf.ARPIgnore = arp.IgnoreOthers // or the bridge would answer for veth1's address too, as Linux does
	node.Do(node.E.SetConf("br0", conf))
	host, wire := bridged(net, "host", "0a:00:00:00:00:02", "10.1.1.2/24", "", node, "p0", "0a:00:00:00:00:12", "br0")
	for end, peer := range map[string]string{"veth0": "veth1", "veth1": "veth0"} {
		info, ok := node.E.Link(end)
		require.True(t, ok)
		assert.Equal(t, peer, info.Peer)
	}
	expectPing(t, host, "10.1.1.1", 64)
	wire.Expect(`
		host/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.1.1.1 tell 10.1.1.2
		node/veth1 > host/eth0 arp 42: 10.1.1.1 is-at node/veth1
		host/eth0 > node/veth1 ip 98: 10.1.1.2 > 10.1.1.1 ttl 64 DF echo request 1
		node/veth1 > host/eth0 ip 98: 10.1.1.1 > 10.1.1.2 ttl 64 echo reply 1`)
	for _, end := range []string{"veth0", "veth1"} {
		s := linkStats(t, node, end)
		assert.Equal(t, [2]uint64{2, 2}, [2]uint64{s.RxPackets, s.TxPackets}, end)
	}
	expectFDB(t, node, "br0", `
		0a:00:00:00:00:b0 dev br0 local
		0a:00:00:00:00:10 dev veth0 local
		0a:00:00:00:00:12 dev p0 local
		0a:00:00:00:00:11 dev veth0 0s
		0a:00:00:00:00:02 dev p0 0s`)
}
