package forwarding

// The networks: a node for each kind of work, its tables filled as control calls and traffic fill them.

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"testing"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/fulltable"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/route"
)

// Kinds are the kinds of work by name, in the order in which to show them.
var Kinds = []struct {
	Name string
	New  func(s Scale) (*Work, error)
}{
	{"bridge", NewBridge},
	{"route", NewRoute},
	{"vxlan-encap", func(s Scale) (*Work, error) { return NewVXLAN(s, DefaultVTEPs, true) }},
	{"vxlan-decap", func(s Scale) (*Work, error) { return NewVXLAN(s, DefaultVTEPs, false) }},
	{"ipip-encap", NewIPIPEncap},
	{"ipip-decap", NewIPIPDecap},
	{"flannel-pod-to-wire", NewPodToWire},
	{"flannel-wire-to-pod", NewWireToPod},
}

const (
	fewLocals  = 256 // stations or pods on a lane's own port
	fewGates   = 16  // gateways of plain routes
	maxDevices = 8192
)

// builder makes a node call by call and remembers the first fault.
type builder struct {
	*Work
	err error
}

func build(c engine.Config) *builder {
	w, err := newWork(c)
	return &builder{w, err}
}

// done returns the node if nothing went wrong.
func (n *builder) done() (*Work, error) {
	if n.err != nil {
		return nil, n.err
	}
	n.settle()
	return n.Work, nil
}

func (n *builder) do(call func(e *engine.Engine) error) {
	if n.err == nil {
		n.err = call(n.Engine)
	}
}

// port adds a port, up.
func (n *builder) port(name string, h host) (index uint32) {
	n.do(func(e *engine.Engine) (err error) {
		index, err = e.AddPort(engine.Port{Link: engine.Link{Name: name, MAC: h.mac, Up: true}})
		n.Ports = append(n.Ports, Port{Index: index, Name: name, MAC: h.mac})
		return err
	})
	return index
}

// bridge adds a bridge over ports.
func (n *builder) bridge(b engine.Bridge, ports ...string) {
	b.Up = true
	n.do(func(e *engine.Engine) error {
		_, err := e.AddBridge(b)
		for _, p := range ports {
			err = errors.Join(err, e.SetMaster(p, b.Name))
		}
		return err
	})
}

func (n *builder) addr(dev string, ip uint32, bits int) {
	n.do(func(e *engine.Engine) error {
		return e.AddAddr(dev, engine.Addr{Prefix: netip.PrefixFrom(addr(ip), bits)})
	})
}

// neighbours makes count hosts known on a device for good.
func (n *builder) neighbours(dev string, of hosts, count int) {
	for i := range uint32(count) {
		n.neighbour(dev, of.at(i))
	}
}

func (n *builder) neighbour(dev string, h host) {
	neigh := engine.Neigh{Addr: addr(h.ip), Dev: dev, MAC: h.mac, State: arp.StatePermanent}
	n.Neighbours = append(n.Neighbours, neigh)
	n.do(func(e *engine.Engine) error { return e.AddNeigh(neigh) })
}

func (n *builder) routes(of iter.Seq[engine.Route]) {
	n.Routes = slices.Collect(of)
	n.do(func(e *engine.Engine) error { return e.SwapRoutes(slices.Values(n.Routes)) })
}

// teach has a node hear packets, which it may do with as it likes.
func (n *builder) teach(port uint32, count int, packetOf func(b []byte, i uint32) []byte) {
	n.Lessons = append(n.Lessons, Lesson{port, count, packetOf})
	l := n.lanes[0]
	var p []byte
	for at := 0; n.err == nil && at < count; at += Burst {
		batch := l.batch[:min(Burst, count-at)]
		for i := range batch {
			p = packetOf(p[:0], uint32(at+i))
			n.do(func(*engine.Engine) error { return l.bufs[i].SetBytes(p) })
			batch[i] = l.bufs[i]
		}
		n.now += FrameTime
		l.process(port, batch, n.now)
		n.tick()
	}
}

// stationsTo returns frames that stations send to a host, which make them known where they come in.
func stationsTo(dst host, stations hosts, first, step uint32) func(b []byte, i uint32) []byte {
	return func(b []byte, i uint32) []byte {
		src := stations.at(first + i*step)
		f := inner{dst: dst.mac, src: src.mac, dstIP: dst.ip, srcIP: src.ip, ttl: innerTTL, size: 64}
		return f.append(b)
	}
}

var everybody = host{mac: ethernet.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, ip: 0xffffffff}

// limits returns a configuration for a node with count entries in its tables.
func limits(count int) engine.Config {
	return engine.Config{
		MaxDevices: maxDevices, MaxAdjacencies: max(2*count, engine.DefaultMaxAdjacencies),
		Routes: route.Config{MaxRoutes: 2*count + 1000}, Neighbours: arp.TableConfig{MaxConfigured: 2*count + 2*maxDevices},
	}
}

// NewBridge returns a bridge with two ports and half of the stations behind each. Frames go from random stations of one to random
// stations of the other.
func NewBridge(s Scale) (*Work, error) { return NewBridgePorts(s, 2) }

// NewBridgePorts is NewBridge with more ports; see [Work.Spread].
func NewBridgePorts(s Scale, ports int) (*Work, error) {
	n := build(limits(s.Entries))
	net := &stations{ports: make([]uint32, ports), each: uint32(s.Entries / ports), packets: s.Packets}
	names := make([]string, ports)
	for p := range ports {
		names[p] = fmt.Sprintf("p%d", p)
		net.ports[p] = n.port(names[p], routers.at(uint32(p)))
	}
	n.bridge(engine.Bridge{Link: engine.Link{Name: "br0"}, MaxLearned: s.Entries + 1}, names...)
	// The first station of the first port makes itself known by a frame to itself, the others by a frame to it.
	for p := range uint32(ports) {
		n.teach(net.ports[p], int(net.each), stationsTo(farOnes.at(0), farOnes, p, uint32(ports)))
	}
	n.offered = func(lane, size int) (*Traffic, error) { return net.traffic(lane, size) }
	n.spread = net.draw
	net.draw(false)
	n.in = net.in
	return n.done()
}

// stations are those of a bridge: number i is behind port i modulo their number.
type stations struct {
	ports   []uint32
	each    uint32 // behind a port
	packets int
	in      [2][]uint32 // ports that bursts come in by
	from    [2][]uint32 // number of the port that a burst comes in by
	to      [2][]uint32 // and of the one that a packet leaves by
}

// draw chooses ports. With two, the first lane uses one direction, the second the other.
func (n *stations) draw(spread bool) {
	count := uint32(len(n.ports))
	for lane := range n.in {
		n.to[lane], n.in[lane], n.from[lane] = make([]uint32, n.packets), nil, nil
		for _, from := range draws(n.packets/Burst, int(count), uint64(10+lane)) {
			if count == 2 {
				from = uint32(lane)
			}
			n.in[lane], n.from[lane] = append(n.in[lane], n.ports[from]), append(n.from[lane], from)
		}
		others := draws(n.packets, int(count)-1, uint64(20+lane))
		for i := range n.to[lane] {
			other := others[i]
			if !spread {
				other = others[i/Burst*Burst]
			}
			n.to[lane][i] = (n.from[lane][i/Burst] + 1 + other) % count
		}
	}
}

func (n *stations) traffic(lane, size int) (*Traffic, error) {
	count := uint32(len(n.ports))
	src, dst := draws(n.packets, int(n.each), uint64(30+lane)), draws(n.packets, int(n.each), uint64(40+lane))
	frame := func(b []byte, i int) []byte {
		s, d := farOnes.at(src[i]*count+n.from[lane][i/Burst]), farOnes.at(dst[i]*count+n.to[lane][i])
		f := inner{dst: d.mac, src: s.mac, dstIP: locals.base, srcIP: locals.base + 1, ttl: innerTTL, size: size}
		return f.append(b)
	}
	t, err := newTraffic(n.packets, frame, 0)
	if err == nil {
		t.want = func(i int) (uint32, []byte) { return n.ports[n.to[lane][i]], frame(nil, i) }
	}
	return t, err
}

// The ports of a node that routes or tunnels: a lane's own one each, and the one that leads to other nodes.
type ends struct {
	in   [2]uint32 // in0 and in1, with networks of fewLocals hosts
	wire uint32
}

const wireBits = 12 // 172.16.0.0/12: 1,048,576 addresses

// wireAddr is the node's own address on the wire.
var wireAddr = host{routers.at(9).mac, ip("172.16.0.1")}

// localOf is a host of a lane's own network.
func localOf(lane int, i uint32) host { return locals.at(uint32(lane)<<16 + i) }

// inMAC is the MAC address of the node's port for a lane.
func inMAC(lane int) ethernet.MAC { return routers.at(uint32(lane)).mac }

// ends adds the ports.
func (n *builder) ends() ends {
	var e ends
	for lane := range e.in {
		e.in[lane] = n.port(fmt.Sprintf("in%d", lane), routers.at(uint32(lane)))
	}
	e.wire = n.port("wire", wireAddr)
	n.addr("wire", wireAddr.ip, wireBits)
	return e
}

// routed gives the lanes' ports addresses, and switches forwarding on.
func (n *builder) routed() {
	for lane := range 2 {
		n.addr(fmt.Sprintf("in%d", lane), localOf(lane, 0).ip-1, 16)
	}
	n.do(func(e *engine.Engine) error { e.SetForwarding(true); return nil })
}

// farIP returns the address that packet i goes to in a node's network.
func farIP(subnet uint32, i int) uint32 { return vteps.base + subnet<<8 + 1 + uint32(i)%200 }

// subnet is the network of node k.
func subnet(k uint32) netip.Prefix { return netip.PrefixFrom(addr(vteps.base+k<<8), 24) }

// Where the parts of a frame that differ are: the MAC addresses; from the TTL over checksum and addresses to the ports.
const (
	patchMAC = 0
	patchIP  = ethernet.HeaderLen + 8
)

// NewRoute returns a router with routes to networks of all lengths by 16 gateways. Packets go to random addresses in random
// networks.
func NewRoute(s Scale) (*Work, error) {
	n := build(limits(s.Entries))
	ports := n.ends()
	n.routed()
	n.addr("wire", gates.base-1, 16)
	n.neighbours("wire", gates, fewGates)
	net := newInternet(s.Entries)
	n.routes(net.routes(func(gate uint32) engine.Route { return engine.Route{Via: addr(gates.at(gate).ip), Dev: "wire"} }))
	n.in = [2][]uint32{{ports.in[0]}, {ports.in[1]}}
	n.offered = func(lane, size int) (*Traffic, error) {
		to := net.draw(s.Packets, lane)
		frame := func(b []byte, i int) []byte {
			src := localOf(lane, uint32(i)%fewLocals)
			f := inner{dst: inMAC(lane), src: src.mac, dstIP: to[i], srcIP: src.ip, ttl: innerTTL, flow: uint16(i), size: size}
			return f.append(b)
		}
		t, err := newTraffic(s.Packets, frame, 0, patchIP)
		if err == nil {
			t.want = func(i int) (uint32, []byte) {
				return ports.wire, routedFrame(frame(nil, i), net.gateway(to[i]).mac, wireAddr.mac)
			}
		}
		return t, err
	}
	return n.done()
}

// routedFrame changes a frame as a router does.
func routedFrame(b []byte, dst, src ethernet.MAC) []byte {
	h, _, err := ipv4.Parse(b[ethernet.HeaderLen:])
	if err != nil {
		panic(err)
	}
	h.SetTTL(h.TTL() - 1)
	must(ethernet.Fields{Dst: dst, Src: src, EtherType: ethernet.TypeIPv4}.Put(b))
	return b
}

// internet is networks of all lengths, and the gateways to them.
type internet struct {
	prefixes []netip.Prefix
	gates    map[netip.Prefix]uint32
}

func newInternet(count int) *internet {
	net := &internet{prefixes: fulltable.Prefixes(count, seed), gates: make(map[netip.Prefix]uint32, count)}
	for i, hop := range fulltable.ByHop(count, seed) {
		net.gates[net.prefixes[i]] = uint32(hop % fewGates)
	}
	return net
}

// routes returns a route to each network; via says where a gateway is.
func (n *internet) routes(via func(gate uint32) engine.Route) iter.Seq[engine.Route] {
	return func(yield func(engine.Route) bool) {
		for _, p := range n.prefixes {
			r := via(n.gates[p])
			r.Prefix = p
			if !yield(r) {
				return
			}
		}
	}
}

// draw returns what a lane sends to: random addresses in random networks.
func (n *internet) draw(count, lane int) []uint32 {
	return fulltable.Addresses(count, n.prefixes, seed+uint64(lane))
}

// gateway returns the gateway to an address: that of the longest prefix, the slow way.
func (n *internet) gateway(ip uint32) host {
	for bits := 32; bits > 0; bits-- {
		if gate, ok := n.gates[must(addr(ip).Prefix(bits))]; ok {
			return gates.at(gate)
		}
	}
	return host{}
}

// NewRoutePorts returns a router with a gateway on each port and routes by all of them.
func NewRoutePorts(s Scale, ports int) (*Work, error) {
	n := build(limits(s.Entries + ports))
	indexes := make([]uint32, ports)
	for p := range uint32(ports) {
		name := fmt.Sprintf("p%d", p)
		indexes[p] = n.port(name, routers.at(p))
		n.addr(name, portNet(p)+1, 24)
		n.neighbour(name, host{gates.at(p).mac, portNet(p) + 2})
	}
	n.do(func(e *engine.Engine) error { e.SetForwarding(true); return nil })
	// Route k goes by port k modulo their number.
	n.routes(perNode(s.Entries, func(k uint32) engine.Route {
		p := k % uint32(ports)
		return engine.Route{Via: addr(portNet(p) + 2), Dev: fmt.Sprintf("p%d", p)}
	}))
	net := &stations{ports: indexes, each: uint32(s.Entries / ports), packets: s.Packets}
	n.spread = net.draw
	net.draw(false)
	n.in = net.in
	n.offered = func(lane, size int) (*Traffic, error) {
		to := draws(s.Packets, int(net.each), uint64(120+lane))
		frame := func(b []byte, i int) []byte {
			from := net.from[lane][i/Burst]
			f := inner{
				dst: routers.at(from).mac, src: gates.at(from).mac, dstIP: farIP(to[i]*uint32(ports)+net.to[lane][i], i),
				srcIP: portNet(from) + 2, ttl: innerTTL, size: size,
			}
			return f.append(b)
		}
		t, err := newTraffic(s.Packets, frame, patchMAC, patchIP)
		if err == nil {
			t.want = func(i int) (uint32, []byte) {
				p := net.to[lane][i]
				return indexes[p], routedFrame(frame(nil, i), gates.at(p).mac, routers.at(p).mac)
			}
		}
		return t, err
	}
	return n.done()
}

// portNet is the network of a port: 32.0.0.0/24 and those behind it.
func portNet(port uint32) uint32 { return ip("32.0.0.0") + port<<8 }

// BenchSetUp adds and removes one more port of a bridge that has as many others.
func BenchSetUp(b *testing.B, others int) {
	e, err := engine.New(engine.Config{MaxDevices: others + 3})
	if err != nil {
		b.Fatal(err)
	}
	add := func(name string) {
		if _, err := e.AddPort(engine.Port{Link: engine.Link{Name: name, Up: true}}); err != nil {
			b.Fatal(err)
		}
		if err := e.SetMaster(name, "br0"); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := e.AddBridge(engine.Bridge{Link: engine.Link{Name: "br0", Up: true}}); err != nil {
		b.Fatal(err)
	}
	for i := range others {
		add(fmt.Sprintf("p%d", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		add("more")
		if err := e.DeleteLink("more"); err != nil {
			b.Fatal(err)
		}
	}
}
