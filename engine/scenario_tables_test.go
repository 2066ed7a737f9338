package engine_test

// What the scenario tests share: tables as lines of text, and short ways to write values.
//
// Each scenario_*_test.go builds a deployment as people have it, draws it at its top, and wants the exact packets on every wire
// and the exact tables afterwards, in virtual time. Expectations are Linux's. Lines of packets are in the words of
// testnet.Brief; a/b in them is the MAC address of device b of node a.

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/internal/testnet"
	"github.com/culvert-net/culvert/route"
)

const bcast = "ff:ff:ff:ff:ff:ff"

func mac(s string) ethernet.MAC { return ethernet.MustParseMAC(s) }

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// lines splits a block of text, without white space around lines and without empty ones.
func lines(text string) []string {
	var out []string
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return out
}

// expectFDB compares a forwarding database with lines like those of 'bridge -s fdb', in any order: "MAC dev PORT 3s" for what was
// learned and how long ago it was heard, "MAC dev PORT local", "MAC dst VTEP static".
func expectFDB(t *testing.T, n *testnet.Node, dev, want string) {
	t.Helper()
	got := []string{}
	for e, age := range n.E.FDB(dev) {
		line := e.MAC.String()
		switch {
		case e.Dst.IsValid():
			line += " dst " + e.Dst.String()
		default:
			line += " dev " + e.Dev
		}
		switch {
		case e.Flags&fdb.Local != 0:
			line += " local"
		case e.Flags&fdb.Static != 0:
			line += " static"
		default:
			line += " " + age.Round(time.Second).String()
		}
		got = append(got, line)
	}
	slices.Sort(got)
	wants := lines(want)
	slices.Sort(wants)
	assert.Equal(t, strings.Join(wants, "\n"), strings.Join(got, "\n"), "FDB of %s/%s", n.Name, dev)
}

// expectNeighs compares all neighbours with lines like those of 'ip neigh', in any order: "ADDR dev DEV MAC STATE".
func expectNeighs(t *testing.T, n *testnet.Node, want string) {
	t.Helper()
	got := []string{}
	for k, e := range n.E.Neighs() {
		line := fmt.Sprintf("%v dev %s", k.Addr, k.Dev)
		if !e.MAC.IsZero() {
			line += " " + e.MAC.String()
		}
		got = append(got, line+" "+e.State.String())
	}
	slices.Sort(got)
	wants := lines(want)
	slices.Sort(wants)
	assert.Equal(t, strings.Join(wants, "\n"), strings.Join(got, "\n"), "neighbours of %s", n.Name)
}

// expectRoutes compares the main table with lines like those of 'ip route', in order of prefixes.
func expectRoutes(t *testing.T, n *testnet.Node, want string) {
	t.Helper()
	var got []string
	for r := range n.E.Routes() {
		if r.Table == 0 || r.Table == route.TableMain {
			got = append(got, routeLine(r))
		}
	}
	assert.Equal(t, strings.Join(lines(want), "\n"), strings.Join(got, "\n"), "routes of %s", n.Name)
}

func routeLine(r engine.Route) string {
	words := []string{r.Prefix.String()}
	if r.Type != 0 && r.Type != route.Unicast {
		words = slices.Insert(words, 0, r.Type.String())
	}
	if r.Via.IsValid() {
		words = append(words, "via", r.Via.String())
	}
	if r.Dev != "" {
		words = append(words, "dev", r.Dev)
	}
	if r.Source.IsValid() {
		words = append(words, "src", r.Source.String())
	}
	if r.Onlink {
		words = append(words, "onlink")
	}
	return strings.Join(words, " ")
}

// expectPing wants a reply that arrives with a certain TTL.
func expectPing(t *testing.T, from *testnet.Node, to string, ttl uint8) {
	t.Helper()
	a := from.Ping(to)
	require.NoError(t, a.Err, "ping of %s from %s", to, from.Name)
	require.True(t, a.OK, "ping of %s from %s: ICMP %d/%d from %v", to, from.Name, a.Type, a.Code, a.From)
	assert.Equal(t, ttl, a.TTL, "TTL of the reply")
}

// expectError wants an ICMP error instead of a reply.
func expectError(t *testing.T, a testnet.Answer, typ, code uint8, from string) {
	t.Helper()
	require.NoError(t, a.Err)
	assert.Equal(t, [2]uint8{typ, code}, [2]uint8{a.Type, a.Code}, "ICMP type and code")
	assert.Equal(t, ip(from), a.From, "who says so")
}

// linkStats returns the counters of a device.
func linkStats(t *testing.T, n *testnet.Node, dev string) engine.LinkStats {
	t.Helper()
	s, err := n.E.DeviceStats(dev)
	require.NoError(t, err)
	return s
}

// drops returns how many packets were dropped for a reason.
func drops(n *testnet.Node, r engine.Reason) uint64 { return n.E.Stats().Drops[r] }

// pod adds a host with eth0 on a wire to a port of node, which is made too, and gives it a default route.
func pod(net *testnet.Net, name, podMAC, addr, via string, node *testnet.Node, port engine.Port) (*testnet.Node, *testnet.Wire) {
	p := net.Node(name)
	p.Add(engine.Port{Link: testnet.Link("eth0", podMAC)}, addr)
	if via != "" {
		p.Route("default via " + via + " dev eth0")
	}
	node.Add(port)
	return p, net.Wire(p, "eth0", node, port.Name)
}

// bridged is pod on a port of a bridge.
func bridged(net *testnet.Net, name, podMAC, addr, via string, node *testnet.Node, veth, vethMAC, bridge string) (*testnet.Node, *testnet.Wire) {
	p, w := pod(net, name, podMAC, addr, via, node, engine.Port{Link: testnet.Link(veth, vethMAC)})
	node.Do(node.E.SetMaster(veth, bridge))
	return p, w
}

// setProxyARP switches proxy_arp on and sets proxy_delay.
func setProxyARP(n *testnet.Node, dev string, delay time.Duration) {
	c, err := n.E.Conf(dev)
	n.Do(err)
	c.ProxyARP, c.ProxyDelay = true, delay
	n.Do(n.E.SetConf(dev, c))
}
