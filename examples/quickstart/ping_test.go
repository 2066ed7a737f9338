package main

// The clusters: every hop of the pings, byte for byte where a real one was captured, and pings that fail.

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
)

// vxlanCluster and ipipCluster are the clusters of the run.
func vxlanCluster(t *testing.T) *cluster { t.Helper(); return clusterAt(t, 0) }
func ipipCluster(t *testing.T) *cluster  { t.Helper(); return clusterAt(t, 1) }

func clusterAt(t *testing.T, i int) *cluster {
	t.Helper()
	all, err := clusters()
	require.NoError(t, err)
	return all[i]
}

// seen is a hop of a ping, as much as is to be held against a scenario.
type seen struct {
	where        string
	length       int
	dst, src     string // MAC addresses of the outermost header
	outerTTL     uint8  // 0 without a tunnel
	ttl          uint8
	outer, inner string // who to whom
}

// seenOf reads the hops of the ping, leaving ARP out.
func seenOf(t *testing.T, hops []hop) []seen {
	t.Helper()
	w, err := dissect.New(dissect.Config{})
	require.NoError(t, err)
	var out []seen
	for _, h := range hops {
		var s dissect.Stack
		require.NoError(t, h.walk(w, &s))
		outer, inner := s.Outer(), s.Inner()
		if inner.ARP.IsValid() {
			continue
		}
		got := seen{where: h.where, length: len(h.data), ttl: inner.IPv4.TTL(), inner: ends(inner)}
		if outer.Ethernet.IsValid() {
			got.dst, got.src = outer.Ethernet.Dst().String(), outer.Ethernet.Src().String()
		}
		if len(s.Levels()) > 1 {
			got.outerTTL, got.outer = outer.IPv4.TTL(), ends(outer)
		}
		for i := range s.Levels() {
			assert.NoError(t, s.Levels()[i].WrongChecksum(), h.where)
		}
		out = append(out, got)
	}
	return out
}

// ends returns who sends a packet to whom.
func ends(l *dissect.Level) string {
	return netip.AddrFrom4(l.IPv4.Src()).String() + " > " + netip.AddrFrom4(l.IPv4.Dst()).String()
}

func TestHopsOfVXLAN(t *testing.T) {
	c := vxlanCluster(t)
	require.NoError(t, c.ping())
	const (
		podA, podB = "d6:10:b7:91:f0:ac", "0a:58:0a:f4:02:0e"
		cni1, cni2 = "0a:58:0a:f4:01:01", "0a:58:0a:f4:02:01"
		fl1, fl2   = "fe:90:c4:18:69:a7", "b6:72:ae:36:7b:6c"
		nic1, nic2 = "00:50:56:93:6a:3a", "00:50:56:93:63:3b"

		there, back           = "10.244.1.12 > 10.244.2.14", "10.244.2.14 > 10.244.1.12"
		outerThere, outerBack = "172.16.100.101 > 172.16.100.102", "172.16.100.102 > 172.16.100.101"
	)
	assert.Equal(t, []seen{
		{"node1/veth-a", 98, cni1, podA, 0, 64, "", there},
		{"node1/flannel.1", 98, fl2, fl1, 0, 63, "", there},
		{"node1/ens192", 148, nic2, nic1, 64, 63, outerThere, there},
		{"node2/ens192", 148, nic2, nic1, 64, 63, outerThere, there},
		{"node2/flannel.1", 98, fl2, fl1, 0, 63, "", there},
		{"node2/veth-b", 98, podB, cni2, 0, 62, "", there},

		{"node2/veth-b", 98, cni2, podB, 0, 64, "", back},
		{"node2/flannel.1", 98, fl1, fl2, 0, 63, "", back},
		{"node2/ens192", 148, nic1, nic2, 64, 63, outerBack, back},
		{"node1/ens192", 148, nic1, nic2, 64, 63, outerBack, back},
		{"node1/flannel.1", 98, fl1, fl2, 0, 63, "", back},
		{"node1/veth-a", 98, podA, cni1, 0, 62, "", back},
	}, seenOf(t, c.hops))
	assert.Equal(t, &reply{c.plan[1].pod.addr.Addr(), 64, echoSeq, 62}, c.reply)
}

func TestHopsOfIPIP(t *testing.T) {
	c := ipipCluster(t)
	require.NoError(t, c.ping())
	const (
		podA, podB = "26:32:89:a6:66:6e", "f2:22:7c:58:d4:db"
		cni1, cni2 = "0a:58:0a:f4:00:01", "0a:58:0a:f4:01:01"
		nic1, nic2 = "00:0c:29:bd:fb:4a", "00:0c:29:e2:bf:86"

		there, back           = "10.244.0.3 > 10.244.1.7", "10.244.1.7 > 10.244.0.3"
		outerThere, outerBack = "172.12.1.11 > 172.12.1.12", "172.12.1.12 > 172.12.1.11"
	)
	assert.Equal(t, []seen{
		{"k8s-1/veth-a", 98, cni1, podA, 0, 64, "", there},
		{"k8s-1/flannel.ipip", 84, "", "", 0, 63, "", there},
		{"k8s-1/ens33", 118, nic2, nic1, 63, 63, outerThere, there},
		{"k8s-2/ens33", 118, nic2, nic1, 63, 63, outerThere, there},
		{"k8s-2/flannel.ipip", 84, "", "", 0, 63, "", there},
		{"k8s-2/veth-b", 98, podB, cni2, 0, 62, "", there},

		{"k8s-2/veth-b", 98, cni2, podB, 0, 64, "", back},
		{"k8s-2/flannel.ipip", 84, "", "", 0, 63, "", back},
		{"k8s-2/ens33", 118, nic1, nic2, 63, 63, outerBack, back},
		{"k8s-1/ens33", 118, nic1, nic2, 63, 63, outerBack, back},
		{"k8s-1/flannel.ipip", 84, "", "", 0, 63, "", back},
		{"k8s-1/veth-a", 98, podA, cni1, 0, 62, "", back},
	}, seenOf(t, c.hops))
}

// The frame between the nodes is the one that the real cluster's node1 sent, but for what is a matter of chance: outer
// identification, with it the outer checksum, and UDP source port.
func TestVXLANFrameIsTheRealOne(t *testing.T) {
	capture, err := captures.ReadFile("testdata/flannel_vxlan_echo_request.pcap")
	require.NoError(t, err)
	want := framesOf(t, capture)[0].Data
	c := vxlanCluster(t)
	require.NoError(t, c.ping())
	i := indexOf(c.hops, "node1/ens192", len(want))
	require.GreaterOrEqual(t, i, 0)
	got := c.hops[i].data
	const id, sum, port = ethernet.HeaderLen + 4, ethernet.HeaderLen + 10, ethernet.HeaderLen + 20
	for _, at := range []int{id, sum, port} {
		copy(got[at:], want[at:at+2])
	}
	assert.Equal(t, want, got)
}

// indexOf returns the first hop at a place whose packet is that long, or -1.
func indexOf(hops []hop, where string, length int) int {
	for i, h := range hops {
		if h.where == where && len(h.data) == length {
			return i
		}
	}
	return -1
}

func TestRunsAreTheSame(t *testing.T) {
	first, second := vxlanCluster(t), vxlanCluster(t)
	require.NoError(t, first.ping())
	require.NoError(t, second.ping())
	assert.Equal(t, first.hops, second.hops)
}

// What is missing on the way is named.
func TestUnansweredPings(t *testing.T) {
	for name, c := range map[string]struct {
		fail func(*cluster) error
		want string
	}{
		"no route to the other node's pods": {func(c *cluster) error {
			return c.nodes[0].DeleteRoute(engine.Route{Prefix: c.plan[1].subnet()})
		}, "node1: 1 dropped: no route to the destination"},
		"no FDB entry for the other node": {func(c *cluster) error {
			return c.nodes[0].DeleteFDB(engine.FDBEntry{MAC: c.plan[1].tunnelMAC, Dev: c.device, Dst: c.plan[1].addr.Addr()})
		}, "node1: 1 dropped: no FDB entry for the MAC address"},
		"forwarding switched off": {func(c *cluster) error {
			c.nodes[1].SetForwarding(false)
			return nil
		}, "node2: 1 dropped: forwarding is off"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := vxlanCluster(t)
			require.NoError(t, c.fail(cluster))
			err := cluster.ping()
			require.ErrorIs(t, err, errQuiet)
			require.ErrorContains(t, err, "pod B does not answer")
			require.ErrorContains(t, err, c.want)

			var out bytes.Buffer
			require.NoError(t, show(&out, cluster), "what was seen is shown all the same")
			assert.Contains(t, out.String(), "\nnode1/veth-a ")
			assert.NotContains(t, out.String(), "Why?", "of what did not happen there is nothing to explain")
		})
	}
}
