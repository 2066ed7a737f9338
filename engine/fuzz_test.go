package engine_test

// Any bytes into any port of a node that has everything, with control calls and the passing of time in between.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/internal/reference"
	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
)

// Limits of the fuzzed node: low, so that inputs reach them.
const (
	fuzzBuffers  = 96
	fuzzStations = 8
	fuzzMissing  = 4
	fuzzWaiting  = 16
	fuzzEntries  = 12 // of the neighbour table, learned
	fuzzRecords  = 40 // of an input that are played
)

// fuzzPorts are the ports that frames come in by.
var fuzzPorts = []string{"eth0", "eth1", "p0", "p1", "raw0"}

// fuzzNode is the node and what came out of it.
type fuzzNode struct {
	t    testing.TB
	e    *engine.Engine
	pool *packet.Pool
	now  time.Duration
	out  []reference.Output
}

func newFuzzNode(t testing.TB) *fuzzNode {
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: fuzzBuffers, Size: 2304})
	require.NoError(t, err)
	n := &fuzzNode{t: t, pool: pool}
	n.e, err = engine.New(engine.Config{
		Pool: pool, Seed: 1, MaxMissing: fuzzMissing, MaxAdjacencies: 16,
		Output: func(port uint32, batch []*packet.Buffer) {
			for _, b := range batch {
				n.conforms(port, b)
				n.out = append(n.out, reference.Output{Port: n.e.Name(port), Bytes: bytesOf(b)})
			}
			packet.FreeBatch(batch)
		},
		OnMiss: func(engine.Miss) {},
		Local: func(_ *engine.Worker, d engine.Delivery) bool {
			if d.Header.Protocol()&1 == 0 {
				return false
			}
			d.Buffer.Free()
			return true
		},
		Neighbours: arp.TableConfig{GCThresh1: 2, GCThresh2: 4, GCThresh3: fuzzEntries, MaxWaiting: fuzzWaiting},
	})
	require.NoError(t, err)
	n.build()
	return n
}

// build makes a bridge with two ports, a pair and a learning VXLAN device; a Flannel one; IPIP with and without remote; a raw port;
// proxy ARP; and routes of every type.
func (n *fuzzNode) build() {
	must := func(err error) { require.NoError(n.t, err) }
	link := func(name string, last byte) engine.Link {
		return engine.Link{Name: name, MAC: macAt(1, 0, int(last)), Up: true}
	}
	for i, name := range fuzzPorts {
		p := engine.Port{Link: link(name, byte(i))}
		if name == "raw0" {
			p.Raw, p.MAC = true, ethernet.MAC{}
		}
		_, err := n.e.AddPort(p)
		must(err)
	}
	_, err := n.e.AddBridge(engine.Bridge{Link: link("br0", 16), MaxLearned: fuzzStations})
	must(err)
	_, _, err = n.e.AddPair(engine.Pair{Link: link("ve0", 17), Peer: link("ve1", 18)})
	must(err)
	must(n.e.AddAddr("eth0", engine.Addr{Prefix: net4("172.16.100.101/24")}))
	must(n.e.AddAddr("eth1", engine.Addr{Prefix: net4("192.168.30.211/24")}))
	must(n.e.AddAddr("br0", engine.Addr{Prefix: net4("10.244.1.1/24")}))
	must(n.e.AddAddr("ve1", engine.Addr{Prefix: net4("10.21.0.1/24")}))
	must(n.e.AddAddr("raw0", engine.Addr{Prefix: net4("10.9.0.1/24")}))
	_, err = n.e.AddVXLAN(engine.VXLAN{
		Link: engine.Link{Name: "vx0", MAC: macAt(1, 0, 19), Up: true, MTU: 1450}, VNI: 7, Remote: quad("172.16.100.102"), MaxAddress: fuzzStations,
	})
	must(err)
	_, err = n.e.AddVXLAN(engine.VXLAN{
		Link: engine.Link{Name: "flannel.1", MAC: ethernet.MustParseMAC("fe:90:c4:18:69:a7"), Up: true, MTU: 1450},
		VNI:  1, NoLearning: true, L2Miss: true, L3Miss: true,
	})
	must(err)
	must(n.e.AddAddr("flannel.1", engine.Addr{Prefix: net4("10.244.1.0/32")}))
	_, err = n.e.AddIPIP(engine.IPIP{Link: engine.Link{Name: "tunl0", Up: true}, AnyPeer: true})
	must(err)
	_, err = n.e.AddIPIP(engine.IPIP{Link: engine.Link{Name: "tunl1", Up: true}, Local: quad("172.16.100.101"), Remote: quad("172.16.100.103"), NoPMTUDisc: true})
	must(err)
	must(n.e.AddAddr("tunl0", engine.Addr{Prefix: net4("10.40.0.0/32")}))
	for _, port := range []string{"p0", "p1", "ve0", "vx0"} {
		must(n.e.SetMaster(port, "br0"))
	}
	n.e.SetForwarding(true)
	c, err := n.e.Conf("eth1")
	must(err)
	c.ProxyARP, c.ProxyDelay = true, 100*time.Millisecond
	must(n.e.SetConf("eth1", c))
	for _, r := range fuzzRoutes() {
		must(n.e.AddRoute(r))
	}
	far, remote := ethernet.MustParseMAC("b6:72:ae:36:7b:6c"), quad("172.16.100.102")
	must(n.e.AddNeigh(engine.Neigh{Addr: quad("10.244.2.0"), Dev: "flannel.1", MAC: far}))
	must(n.e.AddFDB(engine.FDBEntry{MAC: far, Dev: "flannel.1", Flags: fdb.Static, Dst: remote}))
	must(n.e.AddNeigh(engine.Neigh{Addr: remote, Dev: "eth0", MAC: ethernet.MustParseMAC("00:50:56:93:63:3b")}))
}

func fuzzRoutes() []engine.Route {
	return []engine.Route{
		{Prefix: net4("10.244.2.0/24"), Via: quad("10.244.2.0"), Dev: "flannel.1", Onlink: true},
		{Prefix: net4("10.244.3.0/24"), Via: quad("10.244.3.0"), Dev: "flannel.1", Onlink: true},
		{Prefix: net4("10.40.1.0/24"), Via: quad("172.16.100.102"), Dev: "tunl0", Onlink: true},
		{Prefix: net4("10.41.1.0/24"), Dev: "tunl1"},
		{Prefix: net4("10.50.0.0/24"), Type: route.Blackhole},
		{Prefix: net4("10.50.1.0/24"), Type: route.Unreachable},
		{Prefix: net4("10.50.2.0/24"), Type: route.Prohibit},
		{Prefix: net4("10.51.0.0/16"), Via: quad("192.168.30.1"), Dev: "eth1", MTU: 600},
		{Prefix: net4("10.52.0.0/16"), NextHops: []engine.NextHop{
			{Via: quad("192.168.30.1"), Dev: "eth1"}, {Via: quad("172.16.100.102"), Dev: "eth0"},
		}},
		{Prefix: net4("0.0.0.0/0"), Via: quad("172.16.100.254"), Dev: "eth0"},
	}
}

// An input is a sequence of records, each a byte that says what it is and its data. Below fuzzTime it is a frame for the port of
// that number, two bytes of length in front of it; from there on time passes, from fuzzControl on a control call is made.
const (
	fuzzTime    = 0xa0
	fuzzControl = 0xc0
)

// play runs an input.
func (n *fuzzNode) play(input []byte) {
	for range fuzzRecords {
		if len(input) == 0 {
			return
		}
		op := input[0]
		input = input[1:]
		switch {
		case op < fuzzTime:
			if len(input) < 2 {
				return
			}
			size := min(int(binary.BigEndian.Uint16(input)), len(input)-2, 2100)
			n.frame(fuzzPorts[int(op)%len(fuzzPorts)], input[2:2+size])
			input = input[2+size:]
		case op < fuzzControl:
			n.pass(op)
		default:
			if len(input) == 0 {
				return
			}
			n.control(op, input[0])
			input = input[1:]
		}
		n.check()
	}
}

// frame explains a frame, which must change nothing, and then gives it to the port; the explanation must have been right.
func (n *fuzzNode) frame(port string, b []byte) {
	before := n.describe()
	x, err := n.e.Explain(port, b, n.now)
	if err != nil {
		require.Zero(n.t, n.e.Index(port), "the port exists, so its frames can be explained: %v", err)
	}
	require.Equal(n.t, before, n.describe(), "Explain has changed something")
	buffer := n.pool.Get()
	if buffer == nil {
		return
	}
	if buffer.SetBytes(b) != nil {
		buffer.Free()
		return
	}
	stats := n.e.Stats()
	n.out = nil
	n.e.Process(n.e.Index(port), []*packet.Buffer{buffer}, n.now)
	if x == nil || !predictable(x) || n.pool.InUse() > fuzzBuffers/2 {
		return
	}
	n.requireAsExplained(x, stats)
}

// predictable reports whether Explain promises to know all that comes of a frame: it follows neither packets that wait nor what
// ARP packets set free.
func predictable(x *engine.Explanation) bool {
	if len(x.Held) > 0 || x.Local {
		return false
	}
	for _, s := range x.Steps {
		switch s.Stage {
		case engine.StageARP, engine.StageReassemble, engine.StageHold:
			return false
		}
	}
	return true
}

func (n *fuzzNode) requireAsExplained(x *engine.Explanation, before engine.Stats) {
	var want, got []string
	for _, o := range x.Outputs {
		want = append(want, fmt.Sprintf("%s %x", o.Device, withoutIDs(o.Packet, o.Device == "raw0")))
	}
	for _, o := range n.out {
		got = append(got, fmt.Sprintf("%s %x", o.Port, withoutIDs(o.Bytes, o.Port == "raw0")))
	}
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(n.t, want, got, "not what Explain said:\n%s", x)
	after := n.e.Stats()
	var drops, explained [256]int
	for reason := range engine.Reasons() {
		drops[reason] = int(after.Drops[reason] - before.Drops[reason])
	}
	for _, reason := range x.Drops {
		explained[reason]++
	}
	require.Equal(n.t, explained, drops, "not dropped as Explain said:\n%s", x)
}

// withoutIDs returns a packet with identification and checksum zero in its IPv4 headers: a packet that the node makes has whichever
// is next.
func withoutIDs(b []byte, raw bool) []byte {
	b = slices.Clone(b)
	at := 0
	if !raw {
		at = ethernet.HeaderLen
		if len(b) < at || binary.BigEndian.Uint16(b[12:]) != ethernet.TypeIPv4 {
			return b
		}
	}
	for len(b) >= at+20 && b[at]&15 >= 5 {
		p := b[at:]
		clear(p[4:6])
		clear(p[10:12])
		at += int(p[0]&15) * 4
		switch {
		case p[9] == 17 && len(b) >= at+8+8+14 && binary.BigEndian.Uint16(b[at+2:]) == 8472:
			at += 8 + 8 + 14
		case p[9] != 4:
			return b
		}
	}
	return b
}

// pass lets time pass: a millisecond to a hundred seconds.
func (n *fuzzNode) pass(op byte) {
	n.now += time.Millisecond * time.Duration([]int{1, 10, 100, 1000, 5000, 10000, 31000, 100000}[op%8])
	n.tick()
}

// tick runs until nothing is due. A deadline that does not move while nothing happens would keep a driver busy for ever.
func (n *fuzzNode) tick() {
	for range 10000 {
		if n.e.Tick(n.now) > n.now {
			return
		}
	}
	require.Fail(n.t, "Tick is never done")
}

// control makes one of the control calls; which objects it is about the argument says. It may be refused, but then it says why.
func (n *fuzzNode) control(op, arg byte) {
	devices := append([]string{"br0", "ve0", "ve1", "vx0", "flannel.1", "tunl0", "tunl1", "lo"}, fuzzPorts...)
	dev := devices[int(arg)%len(devices)]
	addr := netip.AddrFrom4([4]byte{172, 16, 100, 100 + arg%8})
	mac := macAt(2, 0, int(arg%4))
	var err error
	switch op % 18 {
	case 0:
		err = n.e.SetLink(dev, engine.LinkChange{Up: engine.Set(arg&0x80 == 0)})
	case 1:
		err = n.e.SetLink(dev, engine.LinkChange{Carrier: engine.Set(arg&0x80 == 0)})
	case 2:
		if arg < 0x40 {
			err = n.e.DeleteLink(dev)
		}
	case 3:
		if dev != "ve1" { // the other end is a port of the bridge: a loop, which ends, but only after 32,768 crossings
			err = n.e.SetMaster(dev, []string{"br0", ""}[arg>>7])
		}
	case 4:
		err = n.e.ReplaceNeigh(engine.Neigh{Addr: addr, Dev: "eth0", MAC: mac})
	case 5:
		err = n.e.DeleteNeigh(addr, "eth0")
	case 6:
		_, err = n.e.FlushNeigh(dev)
	case 7:
		err = n.e.AddFDB(engine.FDBEntry{MAC: mac, Dev: dev, Flags: fdb.Static, Dst: addr})
	case 8:
		err = n.e.DeleteFDB(engine.FDBEntry{MAC: mac, Dev: dev, Dst: addr})
	case 9:
		_, err = n.e.FlushFDB(dev)
	case 10:
		err = n.e.ReplaceRoute(engine.Route{Prefix: netip.PrefixFrom(addr, 32), Via: quad("192.168.30.1"), Dev: "eth1"})
	case 11:
		err = n.e.DeleteRoute(engine.Route{Prefix: netip.PrefixFrom(addr, 32)})
	case 12:
		err = n.e.AddRoute(engine.Route{Prefix: netip.PrefixFrom(addr, 32), Dev: dev}) // the way to a VTEP may lead into a tunnel
	case 13:
		err = n.e.SetBridgePort(dev, engine.BridgePort{
			Hairpin: arg&1 != 0, Isolated: arg&2 != 0, NoLearning: arg&4 != 0, NoFlood: arg&8 != 0, Locked: arg&16 != 0,
		})
	case 14:
		err = n.setConf(dev, arg)
	case 15:
		err = n.e.SetLink(dev, engine.LinkChange{MTU: engine.Set([]int{68, 576, 1400, 1500}[arg>>6])})
	case 16:
		err = n.e.FlushAddrs(dev)
	case 17:
		err = n.send(addr, arg)
	}
	if err != nil {
		require.NotEmpty(n.t, err.Error())
	}
	n.tick()
}

func (n *fuzzNode) setConf(dev string, arg byte) error {
	c, err := n.e.Conf(dev)
	if err != nil {
		return err
	}
	c.Forwarding, c.ProxyARP, c.RPFilter, c.AcceptLocal = arg&0x80 == 0, arg&0x40 != 0, int(arg>>4&3)%3, arg&1 != 0
	return n.e.SetConf(dev, c)
}

// send sends a packet of the node's own.
func (n *fuzzNode) send(to netip.Addr, arg byte) error {
	b := n.pool.Get()
	if b == nil {
		return nil
	}
	if _, err := b.Extend(int(arg) * 6); err != nil {
		b.Free()
		return err
	}
	clear(b.Bytes())
	return n.e.Send(b, engine.Send{Dst: to, Protocol: arg, TTL: arg, DF: arg&1 != 0, Broadcast: true}, n.now)
}

// check holds what must hold always: nothing is lost or counted twice, every buffer is somewhere, and nothing has grown.
func (n *fuzzNode) check() {
	stats := n.e.Stats()
	require.NoError(n.t, stats.Check())
	require.Equal(n.t, int(stats.Held), n.pool.InUse(), "buffers out and packets waiting")
	neighbours := 0
	for range n.e.Neighs() {
		neighbours++
	}
	require.LessOrEqual(n.t, neighbours, fuzzEntries+16)
	for _, l := range n.e.Links() {
		if l.Kind != engine.KindBridge && l.Kind != engine.KindVXLAN {
			continue
		}
		dynamic := 0
		for entry := range n.e.FDB(l.Name) {
			if entry.Flags == 0 {
				dynamic++
			}
		}
		require.LessOrEqual(n.t, dynamic, fuzzStations, "stations of %s", l.Name)
	}
}

// describe says all that can be seen of the node, for comparison.
func (n *fuzzNode) describe() string {
	var b bytes.Buffer
	stats, counters := n.e.Stats(), n.e.Counters()
	fmt.Fprintln(&b, stats, counters, n.pool.InUse(), n.e.Next())
	for _, l := range n.e.Links() {
		s, err := n.e.DeviceStats(l.Name)
		fmt.Fprintln(&b, l.Name, l.Up, l.Master, s, err)
		if l.Kind != engine.KindBridge && l.Kind != engine.KindVXLAN {
			continue
		}
		var lines []string
		for entry, age := range n.e.FDB(l.Name) {
			lines = append(lines, fmt.Sprintln(entry, age))
		}
		slices.Sort(lines)
		fmt.Fprintln(&b, lines)
	}
	for neigh, entry := range n.e.Neighs() {
		fmt.Fprintln(&b, neigh, entry)
	}
	return b.String()
}

// finish takes everything down: whatever waited must come back.
func (n *fuzzNode) finish() {
	for _, l := range n.e.Links() {
		if l.Name != "lo" && n.e.Index(l.Name) != 0 { // a pair's other end is gone with the first
			require.NoError(n.t, n.e.DeleteLink(l.Name))
		}
	}
	n.now += time.Hour
	n.tick()
	n.check()
	require.Zero(n.t, n.pool.InUse(), "a buffer is lost")
}

// fuzzRecord is a frame as an input has it.
func fuzzRecord(port byte, frame []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{port}, uint16(len(frame)))
	return append(b, frame...)
}

func FuzzEngine(f *testing.F) {
	for _, v := range vectors.Load(f) {
		port := byte(0)
		if v.Link == vectors.LinkIPv4 {
			port = 4
		}
		f.Add(fuzzRecord(port, v.Frame))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		n := newFuzzNode(t)
		n.play(input)
		n.finish()
	})
}
