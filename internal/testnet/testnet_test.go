package testnet_test

// The network itself: what wires do to frames, how time passes, and that the same seed gives the same capture.

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/internal/testnet"
	"github.com/culvert-net/culvert/udp"
)

func pair(tb testing.TB, seed uint64) (net *testnet.Net, a, b *testnet.Node, w *testnet.Wire) {
	net = testnet.New(tb, seed)
	a, b = net.Node("a"), net.Node("b")
	a.Add(engine.Port{Link: testnet.Link("eth0", "02:00:00:00:00:0a")}, "10.0.0.1/24")
	b.Add(engine.Port{Link: testnet.Link("eth0", "02:00:00:00:00:0b")}, "10.0.0.2/24")
	return net, a, b, net.Wire(a, "eth0", b, "eth0")
}

func TestLatency(t *testing.T) {
	net, a, _, w := pair(t, 1)
	w.Faults.Latency = 10 * time.Millisecond
	answer := a.Ping("10.0.0.2")
	require.True(t, answer.OK)
	assert.Equal(t, 40*time.Millisecond, answer.After, "ARP and echo, there and back")
	assert.Equal(t, 40*time.Millisecond, net.Now())
	w.Expect(`
		@0s a/eth0 > ff:ff:ff:ff:ff:ff arp 42: who-has 10.0.0.2 tell 10.0.0.1
		@10ms b/eth0 > a/eth0 arp 42: 10.0.0.2 is-at b/eth0
		@20ms a/eth0 > b/eth0 ip 98: 10.0.0.1 > 10.0.0.2 ttl 64 DF echo request 1
		@30ms b/eth0 > a/eth0 ip 98: 10.0.0.2 > 10.0.0.1 ttl 64 echo reply 1`)
}

func TestTimeout(t *testing.T) {
	net, a, _, w := pair(t, 1)
	w.Faults.Loss = 1
	assert.ErrorIs(t, a.Ping("10.0.0.2").Err, testnet.ErrNoAnswer)
	assert.Equal(t, time.Second, net.Now())
	for _, f := range w.Frames() {
		assert.True(t, f.Lost)
	}
}

func TestRunAndAt(t *testing.T) {
	net, _, _, _ := pair(t, 1)
	var at []time.Duration
	for _, d := range []time.Duration{3 * time.Second, time.Second, 2 * time.Second} {
		net.At(d, func() { at = append(at, net.Now()) })
	}
	net.Run(2 * time.Second)
	assert.Equal(t, []time.Duration{time.Second, 2 * time.Second}, at)
	net.RunFor(time.Minute)
	assert.Len(t, at, 3)
	assert.Equal(t, 62*time.Second, net.Now())
}

// storm sends datagrams over a wire with all faults and returns what was on it, and how many arrived.
func storm(tb testing.TB, seed uint64) (capture string, received int) {
	net, a, b, w := pair(tb, seed)
	b.Listen(udp.Protocol, 7)
	require.True(tb, a.Ping("10.0.0.2").OK)
	w.Faults = testnet.Faults{
		Latency: time.Millisecond, Jitter: time.Millisecond, Loss: 0.1, Duplicate: 0.1, Corrupt: 0.1, Reorder: 0.1,
	}
	b.Received = nil
	from, to := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:7")
	for i := range 500 {
		require.NoError(tb, a.UDP(from, to, []byte(strings.Repeat("x", i))))
		net.RunFor(100 * time.Microsecond)
	}
	net.RunFor(time.Minute)
	var lines []string
	for _, f := range w.Frames() {
		lines = append(lines, f.At.String()+" "+f.From+" "+f.Dump())
	}
	return strings.Join(lines, "\n"), len(b.Received)
}

func TestFaultsRepeat(t *testing.T) {
	first, received := storm(t, 7)
	again, _ := storm(t, 7)
	other, _ := storm(t, 8)
	assert.Equal(t, first, again)
	assert.NotEqual(t, first, other)
	assert.InDelta(t, 450, received, 60, "a tenth lost, a tenth twice, a tenth broken")
}

func TestTapAndDump(t *testing.T) {
	net := testnet.New(t, 1)
	a := net.Node("a")
	a.Add(engine.Port{Link: testnet.Link("eth0", "02:00:00:00:00:0a")}, "10.0.0.1/24")
	w := net.Tap(a, "eth0")
	require.NoError(t, a.PingStart("10.0.0.9", testnet.Echo{}))
	frames := w.Take()
	require.Len(t, frames, 1)
	assert.Equal(t, "a/eth0", frames[0].From)
	assert.Equal(t, "02:00:00:00:00:0a > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: Ethernet (len 6), IPv4 (len 4), "+
		"Request who-has 10.0.0.9 tell 10.0.0.1, length 28\n", frames[0].Dump())
	w.Inject([]byte("no frame"))
	net.Settle()
	assert.True(t, slices.ContainsFunc(w.Frames(), func(f testnet.Frame) bool { return f.From == "" }))
}

func TestPoolRunsOut(t *testing.T) {
	net, a, b, w := pair(t, 1)
	require.True(t, a.Ping("10.0.0.2").OK)
	var held int
	for b.Pool.Get() != nil {
		held++
	}
	assert.Error(t, a.Ping("10.0.0.2").Err)
	assert.Positive(t, b.Overruns)
	_, _ = net, w
	b.Lent = held
}

func TestParse(t *testing.T) {
	r, err := testnet.ParseRoute("10.244.2.0/24 via 10.244.2.0 dev flannel.1 src 10.0.0.1 metric 5 mtu 1400 onlink")
	require.NoError(t, err)
	assert.Equal(t, engine.Route{
		Prefix: netip.MustParsePrefix("10.244.2.0/24"), Via: netip.MustParseAddr("10.244.2.0"), Dev: "flannel.1",
		Source: netip.MustParseAddr("10.0.0.1"), Metric: 5, MTU: 1400, Onlink: true,
	}, r)
	for _, bad := range []string{"", "blackhole", "10.0.0.0/33", "10.0.0.0/8 via", "10.0.0.0/8 via x", "10.0.0.0/8 weight 3", "10.0.0.0/8 metric -1"} {
		_, err := testnet.ParseRoute(bad)
		assert.Error(t, err, bad)
	}
	a, err := testnet.ParseAddr("10.10.100.10 peer 10.10.200.10/32")
	require.NoError(t, err)
	assert.Equal(t, engine.Addr{Prefix: netip.MustParsePrefix("10.10.100.10/32"), Peer: netip.MustParsePrefix("10.10.200.10/32")}, a)
	_, err = testnet.ParseAddr("10.0.0.1")
	assert.Error(t, err)
}
