// Behaviours 21 and 22: what Flannel and Calico program, step by step as they do on Linux and as one peer.
package engine_test

import (
	"crypto/sha1" //nolint:gosec // what Calico makes MAC addresses of
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/route"
)

// node3 is another node of the Flannel cluster, at an address that node1 has a neighbour for.
const node3Addr, node3VTEP, pod3 = "172.16.100.103", "10.244.3.0", "10.244.3.7"

var flannel3MAC, node3MAC = ethernet.MustParseMAC("6e:f8:85:d7:09:17"), mac6(0x33)

func newNode3(t testing.TB) *rig {
	t.Helper()
	r := newFlannel(t)
	r.neigh(node3Addr, node3MAC, "ens192")
	return r
}

func node3() engine.Peer {
	return engine.Peer{
		Name: "node3", Subnets: []netip.Prefix{prefix("10.244.3.0/24")}, Node: addr4(node3Addr),
		Dev: "flannel.1", Gateway: addr4(node3VTEP), MAC: flannel3MAC,
	}
}

func toPod3() []byte { return datagram{src: podA, dst: pod3, size: 84}.frame(cni0MAC, podAMAC) }

// reaches returns the outer and inner destinations that a packet of pod A gets.
func reaches(s *seen) string {
	if s.inner == nil {
		return s.String()
	}
	return fmt.Sprintf("%s > %s vni %d to %s", s.dst(), s.inner.dst(), s.vxlan.VNI, s.inner.dstMAC())
}

const reachesPod3 = node3Addr + " > " + pod3 + " vni 1 to 6e:f8:85:d7:09:17"

// TestBehaviour21StepByStep is the order of Flannel's vxlan backend (handleSubnetEvents): neighbour, FDB entry, route; undone in
// reverse. In between, packets find no route: none is ever sent to where it does not belong.
func TestBehaviour21StepByStep(t *testing.T) {
	r := newNode3(t)
	noRoute := func(when string) {
		r.drops()
		assert.Empty(t, on(r.in("veth0", toPod3()), "ens192"), when)
		assert.Equal(t, map[engine.Reason]uint64{engine.DropNoRoute: 1}, r.drops(), when)
	}
	neigh := engine.Neigh{Addr: addr4(node3VTEP), Dev: "flannel.1", MAC: flannel3MAC, State: arp.StatePermanent}
	entry := engine.FDBEntry{MAC: flannel3MAC, Dev: "flannel.1", Dst: addr4(node3Addr)}
	way := engine.Route{Prefix: prefix("10.244.3.0/24"), Via: addr4(node3VTEP), Dev: "flannel.1", Onlink: true}

	noRoute("before")
	r.must(r.ReplaceNeigh(neigh))
	noRoute("with a neighbour")
	r.must(r.ReplaceFDB(entry))
	noRoute("with an FDB entry")
	r.must(r.ReplaceRoute(way))
	assert.Equal(t, reachesPod3, reaches(r.one("veth0", toPod3())))
	r.must(r.ReplaceRoute(way)) // Flannel does all of it again when it starts anew
	r.must(r.ReplaceNeigh(neigh))
	r.must(r.ReplaceFDB(entry))
	assert.Equal(t, reachesPod3, reaches(r.one("veth0", toPod3())))

	r.must(r.DeleteRoute(way))
	noRoute("without a route")
	r.must(r.DeleteFDB(entry))
	r.must(r.DeleteNeigh(addr4(node3VTEP), "flannel.1"))
	noRoute("afterwards")
	assert.Equal(t, podB, r.one("veth0", fromPodA(datagram{})).inner.dst(), "node2 is not disturbed")
}

func TestBehaviour21RouteNeedsOnlink(t *testing.T) {
	r := newNode3(t)
	way := engine.Route{Prefix: prefix("10.244.3.0/24"), Via: addr4(node3VTEP), Dev: "flannel.1"}
	assert.ErrorIs(t, r.AddRoute(way), engine.ErrInvalid, "the gateway is on no subnet of flannel.1's /32")
}

// TestBehaviour21PeerIsTheSame as the three steps.
func TestBehaviour21PeerIsTheSame(t *testing.T) {
	r := newNode3(t)
	before := r.everything()
	r.must(r.SetPeer(node3()))
	assert.Equal(t, reachesPod3, reaches(r.one("veth0", toPod3())))

	e, ok := r.GetNeigh(addr4(node3VTEP), "flannel.1")
	require.True(t, ok)
	assert.Equal(t, arp.StatePermanent, e.State)
	assert.Equal(t, flannel3MAC, e.MAC)
	found := false
	for f := range r.FDB("flannel.1") {
		found = found || f.MAC == flannel3MAC && f.Dst == addr4(node3Addr)
	}
	assert.True(t, found, "FDB entry")
	a, err := r.GetRoute(addr4(pod3), engine.RouteQuery{})
	require.NoError(t, err)
	assert.Equal(t, "flannel.1", a.Dev)
	assert.Equal(t, addr4(node3VTEP), a.Via)
	assert.Equal(t, addr4("10.244.1.0"), a.Source)
	assert.Equal(t, []engine.Peer{node3()}, r.Peers())

	r.must(r.DeletePeer("node3"))
	assert.Equal(t, before, r.everything(), "nothing is left of it")
	assert.Equal(t, podB, r.one("veth0", fromPodA(datagram{})).inner.dst())
}

// TestBehaviour21PeerComesBack with another MAC and underlay address: exactly its own entries change.
func TestBehaviour21PeerComesBack(t *testing.T) {
	r := newNode3(t)
	r.must(r.SetPeer(node3()))
	r.neigh("172.16.100.104", mac6(0x34), "ens192")
	back := node3()
	back.Node, back.MAC = addr4("172.16.100.104"), mac6(0xf4)
	r.must(r.SetPeer(back))
	assert.Equal(t, "172.16.100.104 > "+pod3+" vni 1 to "+mac6(0xf4).String(), reaches(r.one("veth0", toPod3())))
	for f := range r.FDB("flannel.1") {
		assert.NotEqual(t, flannel3MAC, f.MAC, "the old entry is gone")
	}

	back.Subnets = []netip.Prefix{prefix("10.244.9.0/24")}
	r.must(r.SetPeer(back))
	r.in("veth0", toPod3())
	assert.Equal(t, uint64(1), r.drops()[engine.DropNoRoute], "the old subnet's route is gone")
	assert.NotNil(t, r.one("veth0", datagram{src: podA, dst: "10.244.9.9"}.frame(cni0MAC, podAMAC)).inner)
}

func TestBehaviour21RandomMAC(t *testing.T) {
	made := func(seed uint64) (macs []ethernet.MAC) {
		r := newRig(t, func(c *engine.Config) { c.Seed = seed })
		for i := range uint32(20) {
			r.vxlan(fmt.Sprintf("vx%d", i), ethernet.MAC{}, engine.VXLAN{VNI: i})
			l, _ := r.Link(fmt.Sprintf("vx%d", i))
			assert.Equal(t, byte(2), l.MAC[0]&3, "(b & 0xfe) | 0x02: local, of one station")
			macs = append(macs, l.MAC)
		}
		return macs
	}
	one := made(1)
	assert.Equal(t, one, made(1), "decided by the seed")
	assert.NotEqual(t, one, made(2))
	distinct := map[ethernet.MAC]bool{}
	for _, m := range one {
		distinct[m] = true
	}
	assert.Len(t, distinct, len(one))
}

// TestBehaviour21DirectRouting makes a plain route to a node on the same link, and the tunnel's to one behind a router.
func TestBehaviour21DirectRouting(t *testing.T) {
	r := newNode3(t)
	p := node3()
	p.Direct = true
	r.must(r.SetPeer(p))
	s := r.one("veth0", toPod3())
	assert.Nil(t, s.vxlan)
	assert.Equal(t, "ens192", s.dev)
	assert.Equal(t, node3MAC.String(), s.dstMAC())
	assert.Equal(t, uint8(63), s.ip.TTL)
	assert.Equal(t, podA+" > "+pod3, s.src()+" > "+s.dst())

	r.must(r.AddRoute(engine.Route{Prefix: prefix("192.0.2.0/24"), Via: addr4(node3Addr), Dev: "ens192"}))
	p.Node = addr4("192.0.2.3")
	r.must(r.SetPeer(p))
	assert.Equal(t, "192.0.2.3 > "+pod3+" vni 1 to 6e:f8:85:d7:09:17", reaches(r.one("veth0", toPod3())), "behind a gateway: the tunnel")
	r.must(r.DeletePeer("node3"))
	r.in("veth0", toPod3())
	assert.Equal(t, uint64(1), r.drops()[engine.DropNoRoute])
}

// TestBehaviour21IPIPBackend has the route by way of the public IP, onlink, and opens the tunnel to that node alone.
func TestBehaviour21IPIPBackend(t *testing.T) {
	const node, pod = "172.12.1.13", "10.244.7.7"
	r := newIPIP(t, engine.IPIP{})
	r.neigh(node, mac6(0x13), "ens33")
	inner := datagram{src: pod, dst: podHere, size: 84}.packet()
	r.refused(engine.DropTunnelPeer, "ens33", inIPIP(node, inner))
	r.must(r.SetPeer(engine.Peer{Name: "k8s-3", Subnets: []netip.Prefix{prefix("10.244.7.0/24")}, Node: addr4(node), Dev: "tun"}))
	s := r.one("pods", datagram{src: podHere, dst: pod}.frame(podsMAC, podHereMAC))
	assert.Equal(t, node, s.dst())
	assert.Equal(t, pod, s.inner.dst())
	assert.Equal(t, "pods", r.one("ens33", inIPIP(node, inner)).dev)
	assert.Equal(t, ipipThere, r.one("pods", fromPod(datagram{})).dst(), "the other peer is not disturbed")
	r.must(r.DeletePeer("k8s-3"))
	r.refused(engine.DropTunnelPeer, "ens33", inIPIP(node, inner))
}

// A node of a Calico cluster: pods on routed ports, blocks of other nodes through a tunnel.
const blocksHost, blocksPeer, blocksPod, blocksFar = "192.168.30.211", "192.168.30.212", "10.96.30.11", "10.96.40.9"

func newCalicoBlocks(t testing.TB) *rig {
	t.Helper()
	r := newCalico(t)
	r.neigh(blocksPeer, mac6(0x32), "ens33")
	r.neigh("192.168.30.1", mac6(0x3f), "ens33")
	r.neigh(blocksPod, pod11, "eth0-p1")
	return r
}

func fromCalicoPod(d datagram) []byte {
	d.src, d.dst = blocksPod, blocksFar
	return d.frame(calicoMAC, pod11)
}

func TestBehaviour22IPIP(t *testing.T) {
	r := newCalicoBlocks(t)
	r.ipip("tunl0", engine.IPIP{}, "10.96.30.0/32")
	l, _ := r.Link("tunl0")
	assert.Equal(t, 1480, l.MTU)
	inner := datagram{src: blocksFar, dst: blocksPod, size: 84}.packet()
	outer := func(from string) []byte {
		return datagram{src: from, dst: blocksHost, proto: protoIPIP, payload: inner}.frame(hostMAC, mac6(0x32))
	}
	r.refused(engine.DropTunnelPeer, "ens33", outer(blocksPeer))
	r.must(r.SetPeer(engine.Peer{Name: "b", Subnets: []netip.Prefix{prefix("10.96.40.0/26")}, Node: addr4(blocksPeer), Dev: "tunl0"}))
	s := r.one("eth0-p1", fromCalicoPod(datagram{size: 84}))
	assert.Equal(t, blocksHost+" > "+blocksPeer, s.src()+" > "+s.dst())
	assert.Len(t, s.raw, 118)
	assert.Equal(t, uint8(63), s.inner.ip.TTL)

	s = r.one("ens33", outer(blocksPeer))
	assert.Equal(t, "eth0-p1", s.dev)
	assert.Equal(t, pod11.String()+" < "+calicoMAC.String(), s.dstMAC()+" < "+s.srcMAC())
	r.refused(engine.DropTunnelPeer, "ens33", outer("192.168.30.213"))
}

func TestBehaviour22VXLAN(t *testing.T) {
	sum := sha1.Sum([]byte("node-a")) //nolint:gosec // as above
	own := ethernet.MAC{0x66, sum[0], sum[1], sum[2], sum[3], sum[4]}
	r := newCalicoBlocks(t)
	r.vxlan("vxlan.calico", own, engine.VXLAN{
		VNI: 4096, DstPort: portIANA, Local: addr4(blocksHost), Device: "ens33", NoLearning: true, VTEPs: []netip.Addr{},
	})
	r.addr("vxlan.calico", "10.96.30.0/32")
	l, _ := r.Link("vxlan.calico")
	assert.Equal(t, 1450, l.MTU)
	assert.Equal(t, own, l.MAC)
	far := ethernet.MAC{0x66, 1, 2, 3, 4, 5}
	outer := func(from string) []byte {
		inner := datagram{src: blocksFar, dst: blocksPod, size: 84}.frame(own, far)
		return datagram{src: from, dst: blocksHost, dport: portIANA, noSum: true, payload: vxlanHeader(4096, inner)}.frame(hostMAC, mac6(0x32))
	}
	r.refused(engine.DropTunnelPeer, "ens33", outer(blocksPeer))
	r.must(r.SetPeer(engine.Peer{
		Name: "b", Subnets: []netip.Prefix{prefix("10.96.40.0/26")}, Node: addr4(blocksPeer), Dev: "vxlan.calico", Gateway: addr4("10.96.40.0"), MAC: far,
	}))
	s := r.one("eth0-p1", fromCalicoPod(datagram{size: 84}))
	assert.Equal(t, uint16(portIANA), uint16(s.udp.DstPort))
	assert.Equal(t, []byte{8, 0, 0, 0, 0, 0x10, 0, 0}, s.raw[atVXLAN:atInner])
	assert.Equal(t, far.String()+" < "+own.String(), s.inner.dstMAC()+" < "+s.inner.srcMAC())
	assert.Equal(t, "eth0-p1", r.one("ens33", outer(blocksPeer)).dev)
	r.refused(engine.DropTunnelPeer, "ens33", outer("192.168.30.213"))
}

// TestBehaviour22Block is a node's own block: its pods have routes, the rest is a blackhole that answers nobody.
func TestBehaviour22Block(t *testing.T) {
	r := newCalicoBlocks(t)
	to := func(dst string) []byte {
		return datagram{src: "192.168.30.9", dst: dst}.frame(hostMAC, mac6(0x3f))
	}
	assert.Equal(t, "eth0-p1", r.one("ens33", to(blocksPod)).dev)
	r.refused(engine.DropBlackhole, "ens33", to("10.96.30.33"))
	r.refused(engine.DropBlackhole, "ens33", to("10.96.30.63"))
	assert.Equal(t, "ens33", r.one("eth0-p1", datagram{src: blocksPod, dst: "10.96.30.64"}.frame(calicoMAC, pod11)).dev, "beyond the block")
	a, err := r.GetRoute(addr4("10.96.30.33"), engine.RouteQuery{})
	if err == nil {
		assert.Equal(t, route.Blackhole, a.Route.Type)
	} else {
		assert.ErrorIs(t, err, engine.ErrBlackhole)
	}
}

func TestBehaviour22CrossSubnet(t *testing.T) {
	r := newCalicoBlocks(t)
	r.ipip("tunl0", engine.IPIP{}, "10.96.30.0/32")
	for _, c := range []struct {
		node   string
		tunnel bool
	}{{blocksPeer, false}, {"192.168.77.5", true}} {
		r.must(r.SetPeer(engine.Peer{
			Name: "b", Subnets: []netip.Prefix{prefix("10.96.40.0/26")}, Node: addr4(c.node), Dev: "tunl0", Direct: true,
		}))
		s := r.one("eth0-p1", fromCalicoPod(datagram{}))
		assert.Equal(t, "ens33", s.dev)
		assert.Equal(t, c.tunnel, s.inner != nil, "node %s", c.node)
	}
}
