package engine_test

// Random networks: several nodes, tunnels between them, faulty wires, and a configuration that changes beside the traffic. What
// holds for all of them is checked, and that the same seed gives the same frames.

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/internal/testnet"
	"github.com/culvert-net/culvert/ipv4"
)

const (
	networkSeeds = 12
	tenants      = 2
	tenantLimit  = 12 // stations that a tenant's tables learn
	neighLimit   = 24 // neighbours that a node learns
)

// Tenants have the same addresses; their frames differ in these words, which no single bit makes of each other.
var tenantMarks = [tenants][]byte{[]byte("\xaa\xaa\xaa\xaatenant"), []byte("\x55\x55\x55\x55TENANT")}

// cloud is a network: nodes around a switch, each with a bridge for every tenant, joined by VXLAN, and pods behind routes.
type cloud struct {
	t     *testing.T
	r     *rand.Rand
	net   *testnet.Net
	nodes []*testnet.Node
	taps  [tenants][]tap
	wires []*testnet.Wire // between nodes and switch
	pods  []*testnet.Node
	sent  uint64
}

// tap is a port of a tenant's bridge.
type tap struct {
	node *testnet.Node
	wire *testnet.Wire
}

func TestRandomNetworks(t *testing.T) {
	for seed := range uint64(networkSeeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			first := runCloud(t, seed)
			require.Equal(t, first, runCloud(t, seed), "the same seed, other frames")
		})
	}
}

// runCloud builds a network, lets it live, and returns a digest of every frame, every table and every counter.
func runCloud(t *testing.T, seed uint64) string {
	c := &cloud{t: t, r: rand.New(rand.NewPCG(seed, 2)), net: testnet.New(t, seed)}
	c.build(2 + c.r.IntN(3))
	for range 60 {
		for range c.r.IntN(12) {
			c.send()
		}
		if c.r.IntN(4) == 0 {
			c.reconfigure()
		}
		if c.r.IntN(10) == 0 {
			c.faults()
		}
		c.net.RunFor(time.Duration(c.r.IntN(50)) * time.Millisecond)
		if c.r.IntN(10) == 0 {
			c.net.RunFor(time.Duration(c.r.IntN(400)) * time.Second)
		}
		c.check()
	}
	c.net.RunFor(2 * time.Minute)
	c.check()
	return c.digest()
}

func (c *cloud) build(count int) {
	lan := c.net.Node("lan")
	lan.Add(engine.Bridge{Link: testnet.Link("sw", "02:ff:00:00:00:01")})
	for i := range count {
		c.addNode(lan, i, count)
	}
}

// addNode makes a node with an underlay address, tenants, and a pod that Flannel's routes lead to.
func (c *cloud) addNode(lan *testnet.Node, i, count int) {
	n := c.net.NodeWith(fmt.Sprintf("n%d", i), engine.Config{
		Neighbours: arp.TableConfig{GCThresh1: 2, GCThresh2: neighLimit - 4, GCThresh3: neighLimit},
	})
	n.E.SetForwarding(true)
	n.Add(engine.Port{Link: engine.Link{Name: "eth0", MAC: macAt(1, i, 0), Up: true}}, fmt.Sprintf("172.16.0.%d/24", i+1))
	port := fmt.Sprintf("port%d", i)
	lan.Add(engine.Port{Link: engine.Link{Name: port, MAC: macAt(0xfe, i, 0), Up: true}})
	lan.Do(lan.E.SetMaster(port, "sw"))
	c.wires = append(c.wires, c.net.Wire(n, "eth0", lan, port))
	for k := range tenants {
		c.addTenant(n, i, k, count)
	}
	c.addPod(n, i, count)
	c.nodes = append(c.nodes, n)
}

func (c *cloud) addTenant(n *testnet.Node, i, k, count int) {
	br := fmt.Sprintf("br%d", k)
	n.Add(engine.Bridge{Link: engine.Link{Name: br, MAC: macAt(2, i, k), Up: true}, MaxLearned: tenantLimit})
	n.Do(c.addOverlay(n, i, k, count))
	for j := range 2 {
		port := fmt.Sprintf("t%d-%d", k, j)
		n.Add(engine.Port{Link: engine.Link{Name: port, MAC: macAt(3, i, 2*k+j), Up: true}})
		n.Do(n.E.SetMaster(port, br))
		c.taps[k] = append(c.taps[k], tap{node: n, wire: c.net.Tap(n, port)})
	}
	n.Do(n.E.AddFDB(engine.FDBEntry{MAC: pinned(i, k), Dev: fmt.Sprintf("t%d-0", k), Master: true, Flags: fdb.Static | fdb.Sticky}))
}

// pinned is a station of a tenant that a node has a sticky entry for.
func pinned(i, k int) ethernet.MAC { return macAt(9, i, k) }

// addOverlay makes a tenant's VXLAN device, with all other nodes to replicate to and one station that is configured there.
func (c *cloud) addOverlay(n *testnet.Node, i, k, count int) error {
	vx := fmt.Sprintf("vx%d", k)
	_, err := n.E.AddVXLAN(engine.VXLAN{
		Link: engine.Link{Name: vx, MAC: macAt(4, i, k), MTU: 1450, Up: true}, VNI: uint32(100 * (k + 1)), Local: underlay(i),
		MaxAddress: tenantLimit + count + 1, UDPChecksum: true,
	})
	if err != nil {
		return err
	}
	for j := range count {
		if j == i {
			continue
		}
		if err := n.E.AppendFDB(engine.FDBEntry{Dev: vx, Dst: underlay(j)}); err != nil {
			return err
		}
	}
	err = n.E.AddFDB(engine.FDBEntry{MAC: pinned((i+1)%count, k), Dev: vx, Flags: fdb.Static, Dst: underlay((i + 1) % count)})
	if err != nil {
		return err
	}
	return n.E.SetMaster(vx, fmt.Sprintf("br%d", k))
}

func underlay(i int) netip.Addr { return quad("172.16.0.%d", i+1) }

// addPod joins a pod by a wire, and routes to the pods of the others through tunl0 or a Flannel device.
func (c *cloud) addPod(n *testnet.Node, i, count int) {
	pod := c.net.Node(fmt.Sprintf("pod%d", i))
	pod.Add(engine.Port{Link: engine.Link{Name: "eth0", MAC: macAt(5, i, 0), Up: true}}, fmt.Sprintf("10.244.%d.2/24", i))
	n.Add(engine.Port{Link: engine.Link{Name: "veth0", MAC: macAt(5, i, 1), Up: true}}, fmt.Sprintf("10.244.%d.1/24", i))
	c.net.Wire(pod, "eth0", n, "veth0")
	pod.Route(fmt.Sprintf("default via 10.244.%d.1 dev eth0", i))
	c.pods = append(c.pods, pod)
	_, err := n.E.AddVXLAN(engine.VXLAN{
		Link: engine.Link{Name: "flannel.1", MAC: macAt(6, i, 0), MTU: 1450, Up: true}, VNI: 1, Local: underlay(i), NoLearning: true, UDPChecksum: true,
	})
	n.Do(err)
	n.Do(n.E.AddAddr("flannel.1", engine.Addr{Prefix: net4("10.244.%d.0/32", i)}))
	_, err = n.E.AddIPIP(engine.IPIP{Link: engine.Link{Name: "tunl0", MTU: 1480, Up: true}, Local: underlay(i), AnyPeer: true})
	n.Do(err)
	for j := range count {
		if j != i {
			n.Do(c.route(n, j, c.r.IntN(2) == 0))
		}
	}
}

// route sets how a node reaches the pod of another one.
func (c *cloud) route(n *testnet.Node, j int, flannel bool) error {
	subnet, gateway := net4("10.244.%d.0/24", j), quad("10.244.%d.0", j)
	if !flannel {
		return n.E.ReplaceRoute(engine.Route{Prefix: subnet, Via: underlay(j), Dev: "tunl0", Onlink: true})
	}
	if err := n.E.ReplaceNeigh(engine.Neigh{Addr: gateway, Dev: "flannel.1", MAC: macAt(6, j, 0)}); err != nil {
		return err
	}
	if err := n.E.ReplaceFDB(engine.FDBEntry{MAC: macAt(6, j, 0), Dev: "flannel.1", Flags: fdb.Static, Dst: underlay(j)}); err != nil {
		return err
	}
	return n.E.ReplaceRoute(engine.Route{Prefix: subnet, Via: gateway, Dev: "flannel.1", Onlink: true})
}

// send makes somebody send something.
func (c *cloud) send() {
	c.sent++
	switch c.r.IntN(4) {
	case 0:
		from, to := oneOf(c.r, c.pods), c.r.IntN(len(c.pods))
		_ = from.PingStart(fmt.Sprintf("10.244.%d.2", to), testnet.Echo{}) // may be refused where links are down
	case 1:
		i := c.r.IntN(len(c.nodes))
		c.wires[i].InjectTo(c.nodes[i], c.noise())
	default:
		c.sendTenant(c.r.IntN(tenants))
	}
}

// sendTenant makes a station of a tenant send: one of a few, which may be anywhere and move, some of which claim configured
// addresses.
func (c *cloud) sendTenant(k int) {
	station := func() ethernet.MAC {
		if c.r.IntN(8) == 0 {
			return pinned(c.r.IntN(len(c.nodes)), k)
		}
		return macAt(8, 0, c.r.IntN(2*tenantLimit))
	}
	f := ethernet.Fields{Dst: station(), Src: station(), EtherType: ethernet.TypeIPv4}
	if c.r.IntN(5) == 0 {
		f.Dst = ethernet.Broadcast
	}
	b, err := f.Append(nil)
	require.NoError(c.t, err)
	data := append(bytes.Clone(tenantMarks[k]), make([]byte, c.r.IntN(1380))...)
	b, err = ipv4.Fields{TTL: 64, Protocol: 253, Src: [4]byte{10, 0, 0, 1}, Dst: [4]byte{10, 0, 0, 2}}.Append(b, len(data))
	require.NoError(c.t, err)
	oneOf(c.r, c.taps[k]).wire.Inject(append(b, data...))
}

// noise is a frame of random bytes, some with the start of a real one.
func (c *cloud) noise() []byte {
	b := make([]byte, c.r.IntN(200))
	for i := range b {
		b[i] = byte(c.r.IntN(256))
	}
	if len(b) >= 34 && c.r.IntN(2) == 0 {
		mac := macAt(1, 0, 0)
		copy(b, mac[:])
		binary.BigEndian.PutUint16(b[12:], oneOf(c.r, []uint16{ethernet.TypeIPv4, ethernet.TypeARP}))
	}
	return b
}

// reconfigure changes something. What is refused because of an earlier change stays as it is.
func (c *cloud) reconfigure() {
	i := c.r.IntN(len(c.nodes))
	n, count := c.nodes[i], len(c.nodes)
	k := c.r.IntN(tenants)
	vx := fmt.Sprintf("vx%d", k)
	switch c.r.IntN(9) {
	case 0:
		n.Do(n.E.SetLink("eth0", engine.LinkChange{Up: engine.Set(c.r.IntN(3) > 0)}))
	case 1:
		n.Do(n.E.SetLink(vx, engine.LinkChange{Up: engine.Set(c.r.IntN(3) > 0)}))
	case 2:
		n.Do(n.E.DeleteLink(vx), c.addOverlay(n, i, k, count))
	case 3:
		_, err := n.E.FlushFDB(vx)
		n.Do(err)
	case 4:
		_, err := n.E.FlushNeigh("")
		n.Do(err)
	case 5:
		_, err := n.E.FlushFDB(fmt.Sprintf("br%d", k))
		n.Do(err)
	case 6:
		if j := c.r.IntN(count); j != i {
			n.Do(c.route(n, j, c.r.IntN(2) == 0))
		}
	case 7:
		n.Do(n.E.SetLink("eth0", engine.LinkChange{Carrier: engine.Set(c.r.IntN(3) > 0)}))
	case 8:
		n.Do(n.E.SetBridgePort(vx, engine.BridgePort{NoFlood: c.r.IntN(4) == 0, NoLearning: c.r.IntN(4) == 0}))
	}
}

// faults gives a wire new ones.
func (c *cloud) faults() {
	oneOf(c.r, c.wires).Faults = testnet.Faults{
		Latency: time.Duration(c.r.IntN(20)) * time.Millisecond, Jitter: time.Duration(c.r.IntN(5)) * time.Millisecond,
		Loss: c.r.Float64() / 4, Duplicate: c.r.Float64() / 4, Corrupt: c.r.Float64() / 4, Reorder: c.r.Float64() / 4,
	}
}

// check holds what must hold at any time.
func (c *cloud) check() {
	c.t.Helper()
	c.net.Check()
	for k := range tenants {
		for _, tap := range c.taps[k] {
			for _, f := range tap.wire.Take() {
				if f.From != "" {
					require.False(c.t, bytes.Contains(f.Bytes, tenantMarks[1-k]), "%v got a frame of the other tenant: %v", tap.wire, f)
				}
			}
		}
	}
	for i, n := range c.nodes {
		c.checkTables(n, i)
	}
}

// checkTables holds that tables keep their limits, and that nobody has talked a node out of what it was told.
func (c *cloud) checkTables(n *testnet.Node, i int) {
	c.t.Helper()
	for k := range tenants {
		var learned [2]int
		var sticky, static string
		for entry := range n.E.FDB(fmt.Sprintf("br%d", k)) {
			switch {
			case entry.Flags == 0:
				learned[0]++
			case entry.MAC == pinned(i, k):
				sticky = entry.Dev
			}
		}
		far := (i + 1) % len(c.nodes)
		for entry := range n.E.FDB(fmt.Sprintf("vx%d", k)) {
			switch {
			case entry.Flags == 0:
				learned[1]++
			case entry.MAC == pinned(far, k):
				static = entry.Dst.String()
			}
		}
		require.LessOrEqual(c.t, learned[0], tenantLimit)
		require.LessOrEqual(c.t, learned[1], tenantLimit+len(c.nodes))
		require.Equal(c.t, fmt.Sprintf("t%d-0", k), sticky, "sticky station of %s", n.Name)
		require.Equal(c.t, underlay(far).String(), static, "configured remote station of %s", n.Name)
	}
	neighbours := 0
	for neigh, entry := range n.E.Neighs() {
		if entry.State != arp.StatePermanent {
			neighbours++
			continue
		}
		var j int
		_, err := fmt.Sscanf(neigh.Addr.String(), "10.244.%d.0", &j)
		require.NoError(c.t, err)
		require.Equal(c.t, macAt(6, j, 0), entry.MAC, "permanent neighbour %v of %s", neigh.Addr, n.Name)
	}
	require.LessOrEqual(c.t, neighbours, neighLimit)
}

// digest is a hash over all that was on any wire, and all that the nodes count.
func (c *cloud) digest() string {
	h := sha256.New()
	for _, w := range c.net.Wires() {
		for _, f := range w.Frames() {
			fmt.Fprintln(h, w, f.At, f.From, f.Lost)
			h.Write(f.Bytes)
		}
	}
	for _, n := range c.net.Nodes() {
		digestNode(h, n)
	}
	return fmt.Sprintf("%x after %d", h.Sum(nil), c.sent)
}

func digestNode(h hash.Hash, n *testnet.Node) {
	fmt.Fprintln(h, n.Name, n.E.Stats(), n.E.Counters())
	for neigh, entry := range n.E.Neighs() {
		fmt.Fprintln(h, neigh, entry)
	}
}

// TestRandomRoutesNeverLoopBeyondTTL lets routers in a ring point at each other as it comes: every packet is on as many wires as its
// time to live allows, and not on one more.
func TestRandomRoutesNeverLoopBeyondTTL(t *testing.T) {
	for seed := range uint64(networkSeeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			net := testnet.New(t, seed)
			const size = 5
			var routers []*testnet.Node
			for i := range size {
				n := net.Router(fmt.Sprintf("r%d", i))
				n.Do(n.E.SetConf(engine.ConfAll, engine.Conf{AcceptLocal: true})) // the sender forwards it again, too
				routers = append(routers, n)
			}
			for i, n := range routers {
				next := (i + 1) % size
				n.Add(engine.Port{Link: engine.Link{Name: "right", MAC: macAt(1, i, 1), Up: true}}, fmt.Sprintf("10.0.%d.1/24", i))
				routers[next].Add(engine.Port{Link: engine.Link{Name: "left", MAC: macAt(1, next, 0), Up: true}}, fmt.Sprintf("10.0.%d.2/24", i))
			}
			var wires []*testnet.Wire
			for i, n := range routers {
				wires = append(wires, net.Wire(n, "right", routers[(i+1)%size], "left"))
			}
			for i, n := range routers {
				for dst := range 4 {
					right := engine.Route{Prefix: net4("192.168.%d.0/24", dst), Via: quad("10.0.%d.2", i), Dev: "right"}
					left := engine.Route{Prefix: right.Prefix, Via: quad("10.0.%d.1", (i+size-1)%size), Dev: "left"}
					n.Do(n.E.AddRoute(oneOf(r, []engine.Route{right, left})))
				}
			}
			for number := range 40 {
				ttl := uint8(1 + r.IntN(40))
				mark := fmt.Appendf(nil, "number %04d", number)
				from := oneOf(r, routers)
				from.Do(from.Send(engine.Send{Dst: quad("192.168.%d.9", r.IntN(4)), Protocol: 253, TTL: ttl}, mark))
				net.RunFor(5 * time.Second)
				require.Equal(t, int(ttl), count(wires, mark), "wires that a packet with TTL %d was on", ttl)
			}
		})
	}
}

// count returns how many frames carry mark, but for ICMP errors, which quote it.
func count(wires []*testnet.Wire, mark []byte) (n int) {
	for _, w := range wires {
		for _, f := range w.Frames() {
			if len(f.Bytes) > 23 && f.Bytes[23] == 253 && bytes.Contains(f.Bytes, mark) {
				n++
			}
		}
	}
	return n
}
