package engine

// That the short way is taken. What comes out is the same either way, so this looks at what a burst is resolved to: usual packets of
// each kind, those at the limits of what may go that way among them.

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// The node, its neighbours, and the stations of its bridge: S0 and S1 at ports, R0 behind a VTEP, which is also the remote end of
// the tunnels that are routed.
//
//	eth0 10.0.0.1 ── VTEP .8      br0 10.2.0.1 ┬ p0 ── S0 10.2.0.9     vx1  10.244.1.0 ══ VTEP, 10.244.2.0/24
//	eth1 10.1.0.1 ── host .9                   ├ p1 ── S1              tun0            ══ VTEP, 10.50.0.0/24
//	                                           └ vx7 ══ VTEP ── R0
var (
	eth0MAC, eth1MAC, brMAC, vx1MAC = MACOf(0x020000000001), MACOf(0x020000000002), MACOf(0x020000000003), MACOf(0x020000000004)
	vtepMAC, hostMAC, farMAC        = MACOf(0x020000000108), MACOf(0x020000000109), MACOf(0x020000000110)
	s0, s1, r0, p1MAC               = MACOf(0x020000000200), MACOf(0x020000000201), MACOf(0x020000000202), MACOf(0x020000000205)
)

const burstTime = time.Hour

func newBurstNode(t *testing.T, anyPeer bool, with ...func(*Config)) *Engine {
	t.Helper()
	c := Config{Seed: 1, Output: func(_ uint32, batch []*packet.Buffer) { packet.FreeBatch(batch) }}
	for _, f := range with {
		f(&c)
	}
	e, err := New(c)
	require.NoError(t, err)
	ok := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			require.NoError(t, err)
		}
	}
	made := func(_ uint32, err error) error { return err }
	a := netip.MustParseAddr
	p := netip.MustParsePrefix
	vtep := a("10.0.0.8")
	tunnel := IPIP{Link: Link{Name: "tun0", MTU: 1480, Up: true}, AnyPeer: anyPeer}
	if !anyPeer {
		tunnel.Peers = []netip.Addr{vtep}
	}
	e.SetForwarding(true)
	ok(
		made(e.AddPort(Port{Link: Link{Name: "eth0", MAC: eth0MAC, Up: true}})), e.AddAddr("eth0", Addr{Prefix: p("10.0.0.1/24")}),
		made(e.AddPort(Port{Link: Link{Name: "eth1", MAC: eth1MAC, Up: true}})), e.AddAddr("eth1", Addr{Prefix: p("10.1.0.1/24")}),
		made(e.AddPort(Port{Link: Link{Name: "p0", Up: true}})), made(e.AddPort(Port{Link: Link{Name: "p1", MAC: p1MAC, Up: true}})),
		made(e.AddBridge(Bridge{Link: Link{Name: "br0", MAC: brMAC, Up: true}})), e.AddAddr("br0", Addr{Prefix: p("10.2.0.1/24")}),
		made(e.AddVXLAN(VXLAN{Link: Link{Name: "vx7", MTU: 1450, Up: true}, VNI: 7})),
		made(e.AddVXLAN(VXLAN{Link: Link{Name: "vx1", MAC: vx1MAC, MTU: 1450, Up: true}, VNI: 1})), e.AddAddr("vx1", Addr{Prefix: p("10.244.1.0/32")}),
		made(e.AddIPIP(tunnel)), e.AddAddr("tun0", Addr{Prefix: p("10.50.1.0/32")}),
		e.SetMaster("p0", "br0"), e.SetMaster("p1", "br0"), e.SetMaster("vx7", "br0"), e.SetBridgePort("vx7", BridgePort{Isolated: true}),
		e.AddNeigh(Neigh{Addr: vtep, Dev: "eth0", MAC: vtepMAC}), e.AddNeigh(Neigh{Addr: a("10.1.0.9"), Dev: "eth1", MAC: hostMAC}),
		e.AddNeigh(Neigh{Addr: a("10.2.0.9"), Dev: "br0", MAC: s0}),
		e.AddNeigh(Neigh{Addr: a("10.2.0.5"), Dev: "br0", MAC: p1MAC}), e.AddNeigh(Neigh{Addr: a("10.2.0.4"), Dev: "br0", MAC: brMAC}),
		e.AddNeigh(Neigh{Addr: a("10.2.0.3"), Dev: "br0", MAC: MACOf(0x020000000999)}), e.AddNeigh(Neigh{Addr: a("10.244.2.0"), Dev: "vx1", MAC: farMAC}),
		e.AddFDB(FDBEntry{MAC: s0, Dev: "p0", Master: true, Flags: fdb.Static}), e.AddFDB(FDBEntry{MAC: s1, Dev: "p1", Master: true, Flags: fdb.Static}),
		e.AddFDB(FDBEntry{MAC: r0, Dev: "vx7", Master: true, Flags: fdb.Static}), e.AddFDB(FDBEntry{MAC: r0, Dev: "vx7", Dst: vtep}),
		e.AddFDB(FDBEntry{MAC: farMAC, Dev: "vx1", Dst: vtep}),
		e.AddRoute(Route{Prefix: p("10.244.2.0/24"), Via: a("10.244.2.0"), Dev: "vx1", Onlink: true}),
		e.AddRoute(Route{Prefix: p("10.50.0.0/24"), Via: vtep, Dev: "tun0", Onlink: true}),
		e.AddRoute(Route{Prefix: p("10.60.0.0/24"), Via: a("10.1.0.9")}), e.AddRoute(Route{Prefix: p("10.61.0.0/24"), Via: a("10.2.0.9")}),
		e.AddRoute(Route{Prefix: p("10.62.0.0/24"), NextHops: []NextHop{{Via: a("10.1.0.9")}, {Via: a("10.0.0.8")}}}),
		e.AddRoute(Route{Prefix: p("10.63.0.0/24"), Via: a("10.1.0.9"), MTU: 1000}),
		e.SetConf("eth1", Conf{Forwarding: true, RPFilter: 1}), e.SetConf("tun0", Conf{Forwarding: true, RPFilter: 2}),
		e.SetConf("eth0", Conf{Forwarding: true, RPFilter: 1}),
	)
	return e
}

// burstPacket returns an IPv4 packet of size bytes with time to live 2.
func burstPacket(src, dst string, size int) []byte {
	from, to := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	f := ipv4.Fields{TTL: 2, Protocol: 200, Src: from.As4(), Dst: to.As4()}
	b, _ := f.Append(nil, size-ipv4.HeaderLen)
	return append(b, make([]byte, size-ipv4.HeaderLen)...)
}

func burstFrame(dst, src ethernet.MAC, payload []byte) []byte {
	b, _ := ethernet.Fields{Dst: dst, Src: src, EtherType: ethernet.TypeIPv4}.Append(nil)
	return append(b, payload...)
}

// inVXLAN returns a frame as the VTEP sends it.
func inVXLAN(vni uint32, frame []byte) []byte {
	v, _ := vxlan.Fields{VNI: vni}.Append(nil)
	u, _ := udp.Fields{SrcPort: 40000, DstPort: vxlan.PortLinux}.Append(nil, len(v)+len(frame))
	return fromVTEP(ipv4.ProtocolUDP, append(append(u, v...), frame...))
}

func fromVTEP(protocol uint8, payload []byte) []byte {
	f := ipv4.Fields{TTL: 1, Protocol: protocol, Src: [4]byte{10, 0, 0, 8}, Dst: [4]byte{10, 0, 0, 1}}
	b, _ := f.Append(nil, len(payload))
	return burstFrame(eth0MAC, vtepMAC, append(b, payload...))
}

func inIPIP(p []byte) []byte { return fromVTEP(ipip.Protocol, p) }

func TestUsualPacketsGoTheShortWay(t *testing.T) {
	for _, anyPeer := range []bool{false, true} {
		usualPackets(t, newBurstNode(t, anyPeer))
	}
}

func usualPackets(t *testing.T, e *Engine) {
	t.Helper()
	up := func(dst string, size int) []byte { return burstFrame(brMAC, s0, burstPacket("10.2.0.9", dst, size)) }
	host := func(dst string, size int) []byte {
		return burstFrame(eth1MAC, hostMAC, burstPacket("10.1.0.9", dst, size))
	}
	station := func(dst ethernet.MAC, size int) []byte {
		return burstFrame(dst, s0, burstPacket("10.2.0.9", "10.2.0.8", size-ethernet.HeaderLen))
	}
	overlay := func(dst ethernet.MAC, to string, size int) []byte {
		return inVXLAN(7, burstFrame(dst, r0, burstPacket("10.2.0.7", to, size)))
	}
	pod := func(to string, size int) []byte {
		return inVXLAN(1, burstFrame(vx1MAC, farMAC, burstPacket("10.244.2.9", to, size)))
	}
	behind := func(to string, size int) []byte { return inIPIP(burstPacket("10.50.0.9", to, size)) }
	changed := func(frame []byte, at int, v ...byte) []byte {
		copy(frame[at:], v)
		return frame
	}
	const outerUDPLen, outerEtherType, innerEtherType = 14 + 20 + 4, 12, vxlan.Overhead + 12
	type flow struct {
		name  string
		frame []byte
		want  verdict
	}
	const least = ipv4.HeaderLen
	for port, flows := range map[string][]flow{
		"p0": {
			{"to a station", station(s1, 34), toPort},
			{"to a station, with a tag's worth more than the MTU", station(s1, 1518), toPort},
			{"to a station, too long", station(s1, 1519), undecided},
			{"to a station in the overlay", station(r0, 34), toVTEP},
			{"to a station in the overlay, as long as the path takes", station(r0, 1464), toVTEP},
			{"to a station in the overlay, too long", station(r0, 1465), undecided},
			{"routed to a neighbour", up("10.1.0.9", least), toNeighbour},
			{"routed by a gateway", up("10.60.0.9", 1450), toNeighbour},
			{"routed by a tunnel of frames", up("10.244.2.9", 1450), toTunnel},
			{"routed by a tunnel of packets", up("10.50.0.9", 1450), toTunnel},
			{"routed by a tunnel of packets, as long as it takes", up("10.50.0.9", 1480), toTunnel},
			{"up, no IPv4", changed(up("10.1.0.9", 100), outerEtherType, 0x86, 0xdd), undecided},
			{"routed back", up("10.2.0.9", 100), toStation},
		},
		"eth1": {
			{"to a station", host("10.2.0.9", 1450), toStation},
			{"to a station, too long", host("10.2.0.9", 1451), undecided}, // br0 has vx7's MTU
			{"to the bridge's own address", host("10.2.0.4", 100), undecided},
			{"to the address of a port", host("10.2.0.5", 100), undecided},
			{"to a station that nobody heard", host("10.2.0.3", 100), undecided},
			{"by a station", host("10.61.0.9", 1450), toStation},
			{"to a neighbour", host("10.0.0.8", 1500), toNeighbour},
			{"to a neighbour, too long", host("10.0.0.8", 1501), undecided},
			{"over several ways", host("10.62.0.9", least), toNeighbour},
			{"by a tunnel of frames", host("10.244.2.9", 1450), toTunnel},
			{"by a tunnel of frames, too long", host("10.244.2.9", 1451), undecided},
			{"by a tunnel of packets", host("10.50.0.9", 1480), toTunnel},
			{"by a tunnel of packets, too long", host("10.50.0.9", 1481), undecided},
			{"back", host("10.60.0.9", 1500), toNeighbour},
			{"as long as the route takes", host("10.63.0.9", 1000), toNeighbour},
			{"too long for the route", host("10.63.0.9", 1001), undecided},
		},
		"eth0": {
			{"overlay to a station", overlay(s0, "10.2.0.9", least), toPort},
			{"overlay to another station", overlay(s1, "10.2.0.9", 1450), toPort},
			{"overlay to a neighbour", overlay(brMAC, "10.1.0.9", least), toNeighbour},
			{"overlay by a station", overlay(brMAC, "10.61.0.9", 1400), toStation},
			{"overlay, cut short by UDP", changed(overlay(brMAC, "10.1.0.9", 100), outerUDPLen, 0, 8+8+14+19), undecided},
			{"overlay, longer by UDP than it is", changed(overlay(s0, "10.1.0.9", 100), outerUDPLen, 1, 0), undecided},
			{"pods, no IPv4 inside", changed(pod("10.1.0.9", 100), innerEtherType, 0x86, 0xdd), undecided},
			{"pods, no IPv4 outside", changed(pod("10.1.0.9", 100), outerEtherType, 0x86, 0xdd), undecided},
			{"pods to a station", pod("10.2.0.9", least), toStation},
			{"pods to a neighbour", pod("10.1.0.9", 1450), toNeighbour},
			{"pods by a tunnel of packets", pod("10.50.0.9", 1400), toTunnel},
			{"pods, back", pod("10.244.2.9", 1400), toTunnel},
			{"packets to a neighbour", behind("10.1.0.9", least), toNeighbour},
			{"packets to a station", behind("10.2.0.9", 1400), toStation},
			{"packets by a tunnel of frames", behind("10.244.2.9", 1400), toTunnel},
			{"packets by a tunnel of packets, back", behind("10.50.0.9", 1480), toTunnel},
		},
	} {
		t.Run(port, func(t *testing.T) {
			batch := func() (b []*packet.Buffer) {
				for _, f := range flows {
					p := e.pool.Get()
					require.NoError(t, p.SetBytes(f.frame))
					b = append(b, p)
				}
				return b
			}
			e.Process(e.Index(port), batch(), burstTime) // which finds ways and learns
			w, x, again := e.first, new(burst), batch()
			w.begin(burstTime)
			w.resolveAll(x, w.st.device(e.Index(port)), again)
			for i, f := range flows {
				assert.Equal(t, f.want, x.flights[i].verdict, f.name)
				assert.False(t, x.flights[i].teaches || x.flights[i].hears, "%s: known already", f.name)
			}
			w.end()
			packet.FreeBatch(again)
		})
	}
}

// verdictOn returns what a frame's verdict is, after another one like it has gone its way.
func verdictOn(e *Engine, port string, frame []byte, now time.Duration) verdict {
	e.Process(e.Index(port), []*packet.Buffer{packet.Of(frame)}, now)
	w, x := e.first, new(burst)
	w.begin(now)
	defer w.end()
	w.resolveAll(x, w.st.device(e.Index(port)), []*packet.Buffer{packet.Of(frame)})
	return x.flights[0].verdict
}

// TestWhatTakesTheLongWay changes something so that packets that went the short way must not any more.
func TestWhatTakesTheLongWay(t *testing.T) {
	watch := func(uint32, bool, []byte, time.Duration) {}
	isolated := BridgePort{Isolated: true}
	station := burstFrame(s1, s0, burstPacket("10.2.0.9", "10.2.0.8", 100))
	remote := burstFrame(r0, s0, burstPacket("10.2.0.9", "10.2.0.8", 100))
	up := burstFrame(brMAC, s0, burstPacket("10.2.0.9", "10.1.0.9", 100))
	back := burstFrame(eth1MAC, hostMAC, burstPacket("10.1.0.9", "10.2.0.9", 100))
	tunnel := burstFrame(eth1MAC, hostMAC, burstPacket("10.1.0.9", "10.244.2.9", 100))
	for _, c := range []struct {
		name   string
		port   string
		frame  []byte
		want   verdict
		change func(e *Engine) error
	}{
		{"bridge down", "p0", station, toPort, func(e *Engine) error { return e.SetLink("br0", LinkChange{Up: Set(false)}) }},
		{"bridge listens to all", "p0", station, toPort, func(e *Engine) error { return e.SetLink("br0", LinkChange{Promisc: Set(true)}) }},
		{"no carrier", "p0", station, toPort, func(e *Engine) error { return e.SetLink("p1", LinkChange{Carrier: Set(false)}) }},
		{"port watched", "p0", station, toPort, func(e *Engine) error { return e.Tap("p1", watch) }},
		{"port watched, routed", "p0", up, toNeighbour, func(e *Engine) error { return e.Tap("eth1", watch) }},
		{"bridge watched, up", "p0", up, toNeighbour, func(e *Engine) error { return e.Tap("br0", watch) }},
		{"bridge watched, down", "eth1", back, toStation, func(e *Engine) error { return e.Tap("br0", watch) }},
		{"tunnel watched, bridged", "p0", remote, toVTEP, func(e *Engine) error { return e.Tap("vx7", watch) }},
		{"tunnel watched, routed", "eth1", tunnel, toTunnel, func(e *Engine) error { return e.Tap("vx1", watch) }},
		{"isolated from each other", "p0", station, toPort, func(e *Engine) error {
			return errors.Join(e.SetBridgePort("p0", isolated), e.SetBridgePort("p1", isolated))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newBurstNode(t, false)
			require.Equal(t, c.want, verdictOn(e, c.port, c.frame, burstTime))
			require.NoError(t, c.change(e))
			assert.Equal(t, undecided, verdictOn(e, c.port, c.frame, burstTime))
		})
	}
	t.Run("path MTU that no longer holds", func(t *testing.T) {
		e := newBurstNode(t, false)
		e.first.begin(burstTime)
		e.first.notePMTU(0x0a000008, 1400)
		e.first.end()
		require.Equal(t, toVTEP, verdictOn(e, "p0", remote, burstTime))
		until := e.ends.ways.load(1).expires
		w, x := e.first, new(burst)
		for now, want := range map[time.Duration]verdict{until - 1: toVTEP, until: undecided} {
			w.begin(now)
			w.resolveAll(x, w.st.device(e.Index("p0")), []*packet.Buffer{packet.Of(remote)})
			assert.Equal(t, want, x.flights[0].verdict)
			w.end()
		}
	})
	t.Run("tunnel that answers ARP", func(t *testing.T) {
		e := newBurstNode(t, false)
		_, err := e.AddVXLAN(VXLAN{Link: Link{Name: "vx8", MTU: 1450, Up: true}, VNI: 8, Proxy: true})
		mac := MACOf(0x020000000301)
		require.NoError(t, errors.Join(err, e.SetMaster("vx8", "br0"), e.AddFDB(FDBEntry{MAC: mac, Dev: "vx8", Master: true}),
			e.AddFDB(FDBEntry{MAC: mac, Dev: "vx8", Dst: netip.MustParseAddr("10.0.0.8")})))
		assert.Equal(t, undecided, verdictOn(e, "p0", burstFrame(mac, s0, burstPacket("10.2.0.9", "10.2.0.8", 100)), burstTime))
	})
}

// TestAdjacencyByAnOddWay lowers a path MTU: packets by that adjacency go the long way, which asks once why, until it is forgotten.
func TestAdjacencyByAnOddWay(t *testing.T) {
	e := newBurstNode(t, true)
	now := burstTime
	verdictOf := func() verdict {
		return verdictOn(e, "eth1", burstFrame(eth1MAC, hostMAC, burstPacket("10.1.0.9", "10.244.2.9", 100)), now)
	}
	const vtep = 0x0a000008
	tag := uint32(e.ends.tags.Load(endKey(e.Index("vx1"), 0x0af40200)))
	require.NotZero(t, tag)
	require.Equal(t, toTunnel, verdictOf())
	e.first.begin(now)
	e.first.notePMTU(vtep, 1400)
	e.first.end()
	assert.Nil(t, e.ends.resolved.load(tag))
	assert.Equal(t, undecided, verdictOf())
	assert.NotNil(t, e.ends.resolved.load(tag), "that it is out of the ordinary is to be known")
	now += time.Hour
	e.Tick(now)
	assert.Equal(t, undecided, verdictOf(), "the first packet finds that the path MTU is forgotten")
	assert.Equal(t, toTunnel, verdictOf())
}
