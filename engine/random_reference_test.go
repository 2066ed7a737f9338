package engine_test

// Random single nodes, given to the engine and to the reference forwarder alike: what comes out must be the same, packet by packet.

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/internal/reference"
	"github.com/culvert-net/culvert/internal/testnet"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/tunnel"
)

// forHours keeps reachable neighbours reachable, because how long they are otherwise is random.
const forHours = 1000 * time.Hour

// twin is one node twice. Every change goes to both.
type twin struct {
	t    testing.TB
	r    *rand.Rand
	e    *engine.Engine
	pool *packet.Pool
	ref  *reference.Node
	cmp  reference.Comparer
	now  time.Duration

	profile tunnel.Profile

	out       []reference.Output // of the engine, since the last comparison
	delivered [][]byte
	before    engine.Stats
	history   []string // what was done, in the order of doing

	ports []string // that frames come in by
	port  string   // of the last frame
	frame []byte

	lost bool // the reference did not know what to expect, so that from there on nothing can be compared
}

func newTwin(t testing.TB, r *rand.Rand, profile tunnel.Profile, deliver bool, change ...func(*twin, *engine.Config)) *twin {
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 1024, Size: 4096})
	require.NoError(t, err)
	w := &twin{t: t, r: r, pool: pool, ref: reference.New(), profile: profile}
	w.cmp.Node = w.ref
	w.ref.Deliver = deliver
	config := engine.Config{
		Pool: pool, Profile: profile, Seed: r.Uint64(), Output: w.take,
		Neighbours: arp.TableConfig{Params: arp.Params{BaseReachable: forHours}},
	}
	if deliver {
		config.Local = func(_ *engine.Worker, d engine.Delivery) bool {
			w.delivered = append(w.delivered, bytesOf(d.Buffer))
			d.Buffer.Free()
			return true
		}
	}
	for _, f := range change {
		f(w, &config)
	}
	w.e, err = engine.New(config)
	require.NoError(t, err)
	return w
}

func bytesOf(b *packet.Buffer) []byte { return append([]byte(nil), b.Bytes()...) }

func (w *twin) take(port uint32, batch []*packet.Buffer) {
	for _, b := range batch {
		w.out = append(w.out, reference.Output{Port: w.e.Name(port), Bytes: bytesOf(b)})
	}
	packet.FreeBatch(batch)
}

func (w *twin) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%v: ", w.now)+fmt.Sprintf(format, args...))
}

// compare holds what the engine did since the last time against what the reference expects.
func (w *twin) compare(want reference.Result) {
	w.t.Helper()
	if want.Unknown || w.lost {
		w.lost = true
		return
	}
	stats := w.e.Stats()
	got := reference.Got{Out: w.out, Delivered: w.delivered, Drops: map[string]int{}, Held: int(stats.Held)}
	for reason := range engine.Reasons() {
		if n := stats.Drops[reason] - w.before.Drops[reason]; n != 0 {
			got.Drops[reason.Name()] = int(n)
		}
	}
	w.before, w.out, w.delivered = stats, nil, nil
	if err := stats.Check(); err != nil {
		w.fail(err.Error())
	}
	if inUse := w.pool.InUse(); inUse != int(stats.Held) {
		w.fail(fmt.Sprintf("%d buffers are out, %d packets wait", inUse, stats.Held))
	}
	if difference := w.cmp.Differs(want, got); difference != "" {
		w.fail(difference)
	}
	w.compareTables()
}

// compareTables holds what the two have learned against each other.
func (w *twin) compareTables() {
	w.t.Helper()
	neighbours := map[string]string{}
	for n, entry := range w.e.Neighs() {
		text := entry.State.String()
		if entry.MAC != (ethernet.MAC{}) && entry.State != arp.StateFailed {
			text = entry.MAC.String() + " " + text
		}
		neighbours[n.Addr.String()+" dev "+n.Dev] = text
	}
	w.compareTable("neighbours", w.ref.Neighbours(), neighbours)
	if w.ref.Ambiguous(w.now) {
		return
	}
	for _, d := range w.ref.Devices {
		if d.Kind != reference.Bridge && d.Kind != reference.VXLAN {
			continue
		}
		stations := map[string]string{}
		remotes := map[ethernet.MAC][]netip.Addr{}
		for entry := range w.e.FDB(d.Name) {
			switch {
			case entry.Dst.IsValid():
				remotes[entry.MAC] = append(remotes[entry.MAC], entry.Dst)
				stations[entry.MAC.String()] = fmt.Sprint(remotes[entry.MAC])
			case entry.Flags&fdb.Local != 0:
				stations[entry.MAC.String()] = "local"
			default:
				stations[entry.MAC.String()] = entry.Dev
			}
		}
		w.compareTable("stations of "+d.Name, d.Table(), stations)
	}
}

func (w *twin) compareTable(what string, want, got map[string]string) {
	w.t.Helper()
	for key, value := range want {
		if got[key] != value {
			w.fail(fmt.Sprintf("%s: %s: want %q, got %q", what, key, value, got[key]))
		}
	}
	for key, value := range got {
		if _, ok := want[key]; !ok {
			w.fail(fmt.Sprintf("%s: %s: want none, got %q", what, key, value))
		}
	}
}

// fail ends the test. With -v it says all that was done before, and what the engine says of the last frame.
func (w *twin) fail(what string) {
	w.t.Helper()
	last := ""
	if w.frame != nil {
		last = w.port + ": " + testnet.Brief(w.frame, w.ref.Device(w.port).Raw)
		if x, err := w.e.Explain(w.port, w.frame, w.now); err == nil {
			last += "\nwhich goes now:\n" + x.String()
		}
	}
	if testing.Verbose() {
		last = strings.Join(w.history, "\n") + "\n" + last
	}
	w.t.Fatalf("%s\nat %v after %d steps, the last frame %s", what, w.now, len(w.history), last)
}

func (w *twin) do(err error) {
	w.t.Helper()
	if err != nil {
		w.fail(err.Error())
	}
}

// receive gives both a frame.
func (w *twin) receive(port string, frame []byte) {
	w.t.Helper()
	w.note("receive by %s: %s", port, hex.EncodeToString(frame))
	w.port, w.frame = port, frame
	b := w.pool.Get()
	w.do(b.SetBytes(frame))
	w.e.Process(w.e.Index(port), []*packet.Buffer{b}, w.now)
	w.compare(w.ref.Receive(port, frame, w.now))
}

// advance lets time pass, from deadline to deadline.
func (w *twin) advance(d time.Duration) {
	w.t.Helper()
	end := w.now + d
	for {
		at := max(min(w.e.Next(), end), w.now)
		if due, any := w.ref.Next(); any {
			at = max(min(at, due), w.now)
		}
		w.now = at
		w.tick()
		if due, any := w.ref.Next(); at == end && w.e.Next() > end && (!any || due > end) {
			return
		}
	}
}

// tick does what is due now.
func (w *twin) tick() {
	w.t.Helper()
	w.note("tick")
	for range 1000 {
		if w.e.Tick(w.now) > w.now {
			w.compare(w.ref.Tick(w.now))
			return
		}
	}
	w.fail("Tick has something to do for ever")
}

// link is what all devices share.
func (w *twin) link(d *reference.Device) engine.Link {
	w.note("add %s: %+v", d.Name, *d)
	return engine.Link{Name: d.Name, MAC: d.MAC, MTU: d.MTU, Up: d.Up}
}

func (w *twin) addPort(d reference.Device) *reference.Device {
	w.t.Helper()
	d.Kind, d.Up = reference.Port, true
	_, err := w.e.AddPort(engine.Port{Link: w.link(&d), Raw: d.Raw})
	w.do(err)
	w.ports = append(w.ports, d.Name)
	return w.ref.Add(d)
}

func (w *twin) addPair(a, b reference.Device) (*reference.Device, *reference.Device) {
	w.t.Helper()
	a.Kind, a.Up, b.Kind, b.Up = reference.Pair, true, reference.Pair, true
	_, _, err := w.e.AddPair(engine.Pair{Link: w.link(&a), Peer: w.link(&b)})
	w.do(err)
	pa, pb := w.ref.Add(a), w.ref.Add(b)
	pa.Peer, pb.Peer = pb, pa
	return pa, pb
}

func (w *twin) addBridge(d reference.Device) *reference.Device {
	w.t.Helper()
	d.Kind, d.Up = reference.Bridge, true
	_, err := w.e.AddBridge(engine.Bridge{Link: w.link(&d), MaxLearned: d.Limit})
	w.do(err)
	return w.ref.Add(d)
}

func (w *twin) addVXLAN(d reference.Device) *reference.Device {
	w.t.Helper()
	d.Kind, d.Up = reference.VXLAN, true
	t := d.Tunnel
	df := tunnel.DFUnset
	if t.DF {
		df = tunnel.DFSet
	} else if t.InheritDF {
		df = tunnel.DFInherit
	}
	config := engine.VXLAN{
		Link: w.link(&d), VNI: t.VNI, Local: t.Local, DstPort: t.Port, TTL: t.TTL, InheritTTL: t.TTL == 0, TOS: t.TOS,
		InheritTOS: t.InheritTOS, DF: df, NoLearning: !t.Learning, MaxAddress: d.Limit, UDPChecksum: t.Checksum,
	}
	if !t.AnyPeer {
		config.VTEPs = t.Peers
	}
	_, err := w.e.AddVXLAN(config)
	w.do(err)
	return w.ref.Add(d)
}

func (w *twin) addIPIP(d reference.Device) *reference.Device {
	w.t.Helper()
	d.Kind, d.Up = reference.IPIP, true
	t := d.Tunnel
	_, err := w.e.AddIPIP(engine.IPIP{
		Link: w.link(&d), Local: t.Local, Remote: t.Remote, TTL: t.TTL, TOS: t.TOS, InheritTOS: t.InheritTOS, NoPMTUDisc: !t.DF,
		Peers: t.Peers, AnyPeer: t.AnyPeer,
	})
	w.do(err)
	return w.ref.Add(d)
}

func (w *twin) setMaster(port, bridge *reference.Device) {
	w.t.Helper()
	w.note("master of %s: %s", port.Name, bridge.Name)
	w.do(w.e.SetMaster(port.Name, bridge.Name))
	port.Master = bridge
	bridge.Stations[port.MAC] = &reference.Station{Local: true}
}

// setSwitches sets those of a bridge's port to what the reference's device has.
func (w *twin) setSwitches(d *reference.Device) {
	w.t.Helper()
	s := engine.BridgePort{
		NoLearning: d.NoLearning, NoFlood: d.NoFlood, NoMulticast: d.NoMulticast, NoBroadcast: d.NoBroadcast,
		Hairpin: d.Hairpin, Isolated: d.Isolated, Locked: d.Locked,
	}
	w.note("switches of %s: %+v", d.Name, s)
	w.do(w.e.SetBridgePort(d.Name, s))
}

// setConf sets the sysctls of a device to what the reference's device has.
func (w *twin) setConf(d *reference.Device) {
	w.t.Helper()
	c, err := w.e.Conf(d.Name)
	w.do(err)
	c.Forwarding, c.ProxyARP, c.AcceptLocal, c.RPFilter, c.ProxyDelay = d.Forwarding, d.ProxyARP, d.AcceptLocal, d.RPFilter, 0
	w.note("conf of %s: %+v", d.Name, c)
	w.do(w.e.SetConf(d.Name, c))
}

func (w *twin) addAddress(d *reference.Device, p netip.Prefix) {
	w.t.Helper()
	w.note("address of %s: %v", d.Name, p)
	w.do(w.e.AddAddr(d.Name, engine.Addr{Prefix: p}))
	w.ref.AddAddress(d, p)
}

var routeTypes = map[reference.RouteType]route.Type{
	reference.Unicast: route.Unicast, reference.Blackhole: route.Blackhole, reference.Unreachable: route.Unreachable,
	reference.Prohibit: route.Prohibit,
}

func engineRoute(r reference.Route) engine.Route {
	c := engine.Route{Prefix: r.Prefix, Type: routeTypes[r.Type], Metric: r.Metric, Source: r.Source, MTU: uint32(r.MTU), Via: r.Via}
	if r.Device != nil {
		c.Dev = r.Device.Name
	}
	c.Onlink = r.Via.IsValid()
	return c
}

func (w *twin) addRoute(r reference.Route) {
	w.t.Helper()
	for _, o := range w.ref.Routes {
		if o.Prefix == r.Prefix && o.Metric == r.Metric {
			return
		}
	}
	c := engineRoute(r)
	w.note("route %+v", c)
	if r.Device != nil && !r.Device.Up {
		require.Error(w.t, w.e.AddRoute(c))
		return
	}
	w.do(w.e.AddRoute(c))
	w.ref.Routes = append(w.ref.Routes, r)
	w.tickAfterControl(reference.Result{Held: w.ref.Do(w.now, func() {}).Held})
}

func (w *twin) setNeighbour(d *reference.Device, addr netip.Addr, mac ethernet.MAC) {
	w.t.Helper()
	w.note("neighbour %v dev %s %v", addr, d.Name, mac)
	w.do(w.e.ReplaceNeigh(engine.Neigh{Addr: addr, Dev: d.Name, MAC: mac}))
	want := w.ref.Do(w.now, func() { w.ref.SetNeighbour(d, addr, mac) })
	w.tickAfterControl(want)
}

// tickAfterControl lets the engine send what a control call has released, and compares.
func (w *twin) tickAfterControl(want reference.Result) {
	w.t.Helper()
	for range 1000 {
		if w.e.Next() > w.now {
			break
		}
		w.e.Tick(w.now)
	}
	w.compare(want)
}

func (w *twin) addStation(br, port *reference.Device, mac ethernet.MAC, sticky bool) {
	w.t.Helper()
	flags := fdb.Static
	if sticky {
		flags |= fdb.Sticky
	}
	w.note("station %v at %s %v", mac, port.Name, flags)
	w.do(w.e.AddFDB(engine.FDBEntry{MAC: mac, Dev: port.Name, Master: true, Flags: flags}))
	br.Stations[mac] = &reference.Station{Port: port, Static: true, Sticky: sticky}
}

func (w *twin) addRemote(d *reference.Device, mac ethernet.MAC, vtep netip.Addr) {
	w.t.Helper()
	w.note("station %v of %s dst %v", mac, d.Name, vtep)
	entry := engine.FDBEntry{MAC: mac, Dev: d.Name, Flags: fdb.Static, Dst: vtep}
	if s := d.Stations[mac]; s != nil {
		w.do(w.e.AppendFDB(entry))
		s.VTEPs = append(s.VTEPs, vtep)
		return
	}
	w.do(w.e.AddFDB(entry))
	d.Stations[mac] = &reference.Station{VTEPs: []netip.Addr{vtep}, Static: true}
}

// Seeds of the nodes that are tried, and frames for each.
const (
	referenceSeeds  = 150
	referenceFrames = 150
)

func TestRandomNodesAgreeWithReference(t *testing.T) {
	for seed := range uint64(referenceSeeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			w := &world{twin: newTwin(t, r, oneOf(r, []tunnel.Profile{tunnel.Linux, tunnel.Linux, tunnel.RFC}), r.IntN(2) == 0)}
			w.build()
			for range referenceFrames {
				if w.chance(0.08) {
					w.change()
				}
				w.receive(w.randomFrame())
				w.pass()
				if w.lost {
					return
				}
			}
		})
	}
}

// pass lets some time pass: mostly little, now and then so much that tables forget.
func (w *twin) pass() {
	w.t.Helper()
	switch w.r.IntN(30) {
	case 0:
		w.advance(200 * time.Second)
	case 1:
		w.advance(time.Duration(w.r.IntN(8000)) * time.Millisecond)
	default:
		w.advance(time.Duration(w.r.IntN(40)) * time.Millisecond)
	}
}
