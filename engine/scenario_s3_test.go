package engine_test

// Scenario S3: IP forwarding between two subnets.
//
//	h1 eth0 ──────────── v1_r node v2_r ──────────── eth0 h2
//	10.1.1.2/24   10.1.1.1/24      10.1.2.1/24   10.1.2.2/24

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/testnet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
)

type routedNet struct {
	*testnet.Net
	h1, node, h2 *testnet.Node
	v1, v2       *testnet.Wire
}

func newRoutedNet(t *testing.T, seed uint64) routedNet {
	n := routedNet{Net: testnet.New(t, seed)}
	n.node = n.Router("node")
	n.h1, n.v1 = pod(n.Net, "h1", "0a:00:00:00:01:02", "10.1.1.2/24", "10.1.1.1", n.node,
		engine.Port{Link: testnet.Link("v1_r", "0a:00:00:00:01:01")})
	n.h2, n.v2 = pod(n.Net, "h2", "0a:00:00:00:02:02", "10.1.2.2/24", "10.1.2.1", n.node,
		engine.Port{Link: testnet.Link("v2_r", "0a:00:00:00:02:01")})
	n.node.Addr("v1_r", "10.1.1.1/24")
	n.node.Addr("v2_r", "10.1.2.1/24")
	return n
}

func TestScenarioS3(t *testing.T) {
	n := newRoutedNet(t, 1)
	expectRoutes(t, n.node, `
		10.1.1.0/24 dev v1_r src 10.1.1.1
		10.1.2.0/24 dev v2_r src 10.1.2.1`)
	expectPing(t, n.h1, "10.1.2.2", 63)
	n.v1.Expect(`
		@0s h1/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.1.1.1 tell 10.1.1.2
		@0s node/v1_r > h1/eth0 arp 42: 10.1.1.1 is-at node/v1_r
		@0s h1/eth0 > node/v1_r ip 98: 10.1.1.2 > 10.1.2.2 ttl 64 DF echo request 1
		@0s node/v1_r > h1/eth0 ip 98: 10.1.2.2 > 10.1.1.2 ttl 63 echo reply 1`)
	n.v2.Expect(`
		@0s node/v2_r > ff:ff:ff:ff:ff:ff arp 42: who-has 10.1.2.2 tell 10.1.2.1
		@0s h2/eth0 > node/v2_r arp 42: 10.1.2.2 is-at h2/eth0
		@0s node/v2_r > h2/eth0 ip 98: 10.1.1.2 > 10.1.2.2 ttl 63 DF echo request 1
		@0s h2/eth0 > node/v2_r ip 98: 10.1.2.2 > 10.1.1.2 ttl 64 echo reply 1`)
	expectNeighs(t, n.node, `
		10.1.1.2 dev v1_r 0a:00:00:00:01:02 DELAY
		10.1.2.2 dev v2_r 0a:00:00:00:02:02 REACHABLE`)

	// Who learned of a neighbour by its question confirms it five seconds after the first use.
	n.Run(8 * time.Second)
	n.v1.Expect(`
		@5s node/v1_r > h1/eth0 arp 42: who-has 10.1.1.2 tell 10.1.1.1
		@5s h1/eth0 > node/v1_r arp 42: 10.1.1.2 is-at h1/eth0`)
	n.v2.Expect(`
		@5s h2/eth0 > node/v2_r arp 42: who-has 10.1.2.1 tell 10.1.2.2
		@5s node/v2_r > h2/eth0 arp 42: 10.1.2.1 is-at node/v2_r`)
	expectNeighs(t, n.node, `
		10.1.1.2 dev v1_r 0a:00:00:00:01:02 REACHABLE
		10.1.2.2 dev v2_r 0a:00:00:00:02:02 REACHABLE`)

	c := n.node.E.Counters()
	assert.EqualValues(t, 2, c[engine.IPForwDatagrams])
	assert.EqualValues(t, 2, c[engine.IPInReceives])
}

func TestScenarioS3Errors(t *testing.T) {
	n := newRoutedNet(t, 2)
	expectPing(t, n.h1, "10.1.2.2", 63)
	n.node.Route("unreachable 10.9.1.0/24")
	n.node.Route("prohibit 10.9.2.0/24")
	n.node.Route("blackhole 10.9.3.0/24")
	for _, c := range []struct {
		to    string
		ttl   uint8
		words string // of the error; "" for silence
		drop  engine.Reason
		err   error // for the node's own packets
	}{
		{"10.1.2.2", 1, "time exceeded", engine.DropTTL, nil},
		{"10.9.9.9", 64, "unreachable net", engine.DropNoRoute, engine.ErrNoRoute},
		{"10.9.1.1", 64, "unreachable host", engine.DropUnreachable, engine.ErrUnreachable},
		{"10.9.2.1", 64, "unreachable prohibited", engine.DropProhibited, engine.ErrProhibited},
		{"10.9.3.1", 64, "", engine.DropBlackhole, engine.ErrBlackhole},
	} {
		n.RunFor(20 * time.Second) // so that no limit on errors comes in between
		n.v1.Take()
		n.v2.Take()
		seq := len(n.h1.Received) + 1
		require.NoError(t, n.h1.PingStart(c.to, testnet.Echo{TTL: c.ttl}))
		n.Settle()
		want := fmt.Sprintf("h1/eth0 > node/v1_r ip 98: 10.1.1.2 > %s ttl %d DF echo request %d\n", c.to, c.ttl, seq)
		if c.words != "" {
			want += fmt.Sprintf("node/v1_r > h1/eth0 ip 126: 10.1.1.1 > 10.1.1.2 ttl 64 tos 0xc0 %s (10.1.1.2 > %s ttl %d)", c.words, c.to, c.ttl)
		}
		n.v1.Expect(want)
		n.v2.Expect("")
		assert.EqualValues(t, 1, drops(n.node, c.drop), c.drop)
		if c.err != nil { // the node itself is told at once, without a packet
			assert.ErrorIs(t, n.node.Ping(c.to).Err, c.err)
			n.v1.Expect("")
		}
	}
}

// TTL 2 reaches the far host, which gets it with TTL 1.
func TestScenarioS3LastHop(t *testing.T) {
	n := newRoutedNet(t, 3)
	a := n.h1.PingWith("10.1.2.2", testnet.Echo{TTL: 2})
	require.True(t, a.OK)
	frames := n.v2.Frames()
	assert.Equal(t, "10.1.1.2 > 10.1.2.2 ttl 1 DF echo request 1", frames[2].String()[len("0a:00:00:00:02:01 > 0a:00:00:00:02:02 ip 98: "):])
}

// The far host does not answer ARP: after three questions the sender is told by the node.
func TestScenarioS3HostUnreachable(t *testing.T) {
	n := newRoutedNet(t, 4)
	a := n.h1.PingWith("10.1.2.9", testnet.Echo{Wait: 10 * time.Second})
	expectError(t, a, icmp.TypeUnreachable, icmp.CodeHostUnreachable, "10.1.1.1")
	assert.Equal(t, 3*time.Second, a.After)
	n.v2.Expect(`
		@0s node/v2_r > ff:ff:ff:ff:ff:ff arp 42: who-has 10.1.2.9 tell 10.1.2.1
		@1s node/v2_r > ff:ff:ff:ff:ff:ff arp 42: who-has 10.1.2.9 tell 10.1.2.1
		@2s node/v2_r > ff:ff:ff:ff:ff:ff arp 42: who-has 10.1.2.9 tell 10.1.2.1`)
}

// Errors to one host: six at once, then one a second; ten pings 0.2 s apart get seven.
func TestScenarioS3RateOfHost(t *testing.T) {
	n := newRoutedNet(t, 5)
	expectPing(t, n.h1, "10.1.1.1", 64)
	told := func(to string, ttl uint8) (times []int) {
		for i := range 10 {
			before := len(n.h1.Received)
			require.NoError(t, n.h1.PingStart(to, testnet.Echo{TTL: ttl}))
			n.RunFor(200 * time.Millisecond)
			if len(n.h1.Received) > before {
				times = append(times, i)
			}
		}
		return times
	}
	assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 6}, told("10.1.2.2", 1))
	assert.EqualValues(t, 3, n.node.E.Counters()[engine.ICMPOutRateLimitHost])
	assert.EqualValues(t, 10, drops(n.node, engine.DropTTL), "limits change nothing about the packets themselves")

	// An error for want of a route takes from the same bucket twice (ip_error in net/ipv4/route.c).
	n.RunFor(60 * time.Second)
	assert.Equal(t, []int{0, 1}, told("10.9.9.9", 64))
	n.RunFor(60 * time.Second)
	expectError(t, n.h1.Ping("10.9.9.9"), icmp.TypeUnreachable, icmp.CodeNetUnreachable, "10.1.1.1")
}

// Errors in all: 50 at once, then 1000 a second. Each source is within its own limit.
func TestScenarioS3RateOfAll(t *testing.T) {
	n := newRoutedNet(t, 6)
	n.node.Route("10.100.0.0/16 via 10.1.1.2 dev v1_r")
	expectPing(t, n.h1, "10.1.1.1", 64)
	burst := func() int {
		n.v1.Take()
		for i := range 200 {
			src := netip.AddrFrom4([4]byte{10, 100, byte(n.Now() / time.Second), byte(i)})
			n.v1.InjectTo(n.node, echoFrame(t, "0a:00:00:00:01:02", "0a:00:00:00:01:01", src.String(), "10.9.9.9", 64))
		}
		n.Settle()
		errors := 0
		for _, f := range n.v1.Take() {
			if f.From == "node/v1_r" {
				errors++
			}
		}
		return errors
	}
	n.RunFor(time.Second)
	assert.Equal(t, 50, burst())
	assert.EqualValues(t, 150, n.node.E.Counters()[engine.ICMPOutRateLimitGlobal])
	assert.Zero(t, burst())
	n.RunFor(time.Second)
	assert.Equal(t, 50, burst())
}

// No error is sent about an error, a later fragment, or a source that is nobody's.
func TestScenarioS3NoErrorAbout(t *testing.T) {
	n := newRoutedNet(t, 7)
	expectPing(t, n.h1, "10.1.1.1", 64)
	n.v1.Take()
	base := ipv4.Fields{TTL: 64, Protocol: udp.Protocol, Src: ip("10.1.1.2").As4(), Dst: ip("10.9.9.9").As4()}
	datagram := []byte{0, 1, 0, 2, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}
	for _, c := range []struct {
		name    string
		change  func(*ipv4.Fields)
		payload []byte
		errors  int
	}{
		{"a datagram", func(*ipv4.Fields) {}, datagram, 1},
		{"its first fragment", func(f *ipv4.Fields) { f.Flags = ipv4.MoreFragments }, datagram, 1},
		{"a later fragment", func(f *ipv4.Fields) { f.FragmentOffset = 16 }, datagram, 0},
		{"an ICMP error", func(f *ipv4.Fields) { f.Protocol = icmp.Protocol }, icmp.TimeExceeded(0).Append(nil, make([]byte, 28)), 0},
		{"an echo reply", func(f *ipv4.Fields) { f.Protocol = icmp.Protocol }, icmp.EchoReply(1, 1).Append(nil, nil), 1},
		{"source 0.0.0.0", func(f *ipv4.Fields) { f.Src = [4]byte{} }, datagram, 0},
		{"a loopback source", func(f *ipv4.Fields) { f.Src = [4]byte{127, 0, 0, 9} }, datagram, 0},
		{"a multicast source", func(f *ipv4.Fields) { f.Src = [4]byte{224, 0, 0, 9} }, datagram, 0},
	} {
		f := base
		c.change(&f)
		n.RunFor(10 * time.Second)
		n.v1.Take()
		n.v1.InjectTo(n.node, ipFrame(t, "0a:00:00:00:01:02", "0a:00:00:00:01:01", f, c.payload))
		n.Settle()
		got := 0
		for _, f := range n.v1.Take() {
			if f.From == "node/v1_r" {
				got++
			}
		}
		assert.Equal(t, c.errors, got, c.name)
	}
}

// A host that does not forward drops what is not for it.
func TestScenarioS3ForwardingOff(t *testing.T) {
	n := newRoutedNet(t, 8)
	n.node.E.SetForwarding(false)
	assert.ErrorIs(t, n.h1.Ping("10.1.2.2").Err, testnet.ErrNoAnswer)
	assert.EqualValues(t, 1, drops(n.node, engine.DropNotForwarding))
	n.v2.Expect("")
	n.node.E.SetForwarding(true)
	expectPing(t, n.h1, "10.1.2.2", 63)
}
