package engine_test

// Random nodes with devices of every kind, and the traffic of what might be around them: valid, odd and broken.

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/reference"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// host is somebody around the node.
type neighbourHost struct {
	port   string            // that his frames come in by
	device *reference.Device // of the node that has his subnet
	ip     netip.Addr
	mac    ethernet.MAC
}

// world is a node and its surroundings.
type world struct {
	*twin
	hosts  []neighbourHost
	macs   []ethernet.MAC // that frames may be for
	addrs  []netip.Addr   // that packets may be for
	vteps  []netip.Addr   // who sends tunnelled packets
	local  netip.Addr     // to where
	vnis   []uint32
	inner  []ethernet.MAC // of stations in tunnels
	pieces float64        // share of packets that are fragments
}

func oneOf[E any](r *rand.Rand, s []E) E { return s[r.IntN(len(s))] }

func (w *world) chance(p float64) bool { return w.r.Float64() < p }

func macAt(a, b, c int) ethernet.MAC { return ethernet.MAC{0x02, 0, 0, byte(a), byte(b), byte(c)} }

func quad(format string, args ...any) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf(format, args...))
}

func net4(format string, args ...any) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf(format, args...))
}

// build makes the node, all of it random.
func (w *world) build() {
	w.do(nil)
	w.e.SetForwarding(true)
	for i := range 1 + w.r.IntN(3) {
		w.nic(i)
	}
	if w.chance(0.3) {
		d := w.addPort(reference.Device{Name: "raw0", MTU: 1500, Raw: true})
		w.finish(d)
		w.addAddress(d, net4("10.9.0.1/24"))
		w.hosts = append(w.hosts, neighbourHost{port: "raw0", device: d, ip: quad("10.9.0.10")})
	}
	if w.chance(0.7) {
		w.bridges()
	}
	w.local = quad("10.0.0.1")
	w.vteps = []netip.Addr{quad("10.0.0.10"), quad("10.0.0.11"), quad("10.0.0.12")}
	if w.chance(0.7) {
		w.flannel()
	}
	if w.chance(0.6) {
		w.ipipAny()
	}
	if w.chance(0.4) {
		w.ipipTo()
		if w.chance(0.5) {
			w.nested()
		}
	}
	w.routes()
	w.addrs = append(w.addrs, quad("8.8.8.8"), quad("255.255.255.255"), quad("224.0.0.1"), quad("239.1.2.3"), quad("127.0.0.1"), quad("0.0.0.0"))
	for _, a := range w.ref.Addresses {
		w.addrs = append(w.addrs, a.Prefix.Addr())
	}
	w.tick()
}

// finish gives a device its switches.
func (w *world) finish(d *reference.Device) {
	d.Forwarding = w.chance(0.95)
	d.ProxyARP = w.chance(0.3)
	d.AcceptLocal = w.chance(0.05)
	if w.chance(0.1) {
		d.RPFilter = 1 + w.r.IntN(2)
	}
	w.setConf(d)
	w.macs = append(w.macs, d.MAC)
}

func (w *world) nic(i int) {
	d := w.addPort(reference.Device{Name: fmt.Sprintf("eth%d", i), MAC: macAt(1, 0, i), MTU: oneOf(w.r, []int{1500, 1500, 1400, 2000})})
	w.finish(d)
	w.addAddress(d, net4("10.%d.0.1/24", i))
	for k := range 4 {
		w.host(d, d.Name, quad("10.%d.0.%d", i, 10+k), macAt(2, i, k))
	}
	w.addrs = append(w.addrs, quad("10.%d.0.255", i), quad("10.%d.0.99", i))
}

// host puts a host behind a port; some the node knows already.
func (w *world) host(d *reference.Device, port string, addr netip.Addr, mac ethernet.MAC) {
	w.hosts = append(w.hosts, neighbourHost{port: port, device: d, ip: addr, mac: mac})
	w.macs = append(w.macs, mac)
	w.addrs = append(w.addrs, addr)
	if w.chance(0.6) {
		w.setNeighbour(d, addr, mac)
	}
}

func (w *world) bridges() {
	limit := 0
	if w.chance(0.2) {
		limit = 4
	}
	br := w.addBridge(reference.Device{Name: "br0", MAC: macAt(3, 0, 0), MTU: 1500, Limit: limit})
	w.finish(br)
	w.addAddress(br, net4("10.20.0.1/24"))
	for i := range 2 + w.r.IntN(3) {
		w.bridgePort(br, i)
	}
	if w.chance(0.3) {
		a, b := w.addPair(reference.Device{Name: "ve0", MAC: macAt(4, 0, 0), MTU: 1500}, reference.Device{Name: "ve1", MAC: macAt(4, 0, 1), MTU: 1500})
		w.finish(b)
		w.setMaster(a, br)
		w.addAddress(b, net4("10.21.0.1/24"))
		w.host(b, "p0", quad("10.21.0.10"), macAt(5, 1, 0))
		w.host(b, "p1", quad("10.21.0.11"), macAt(5, 1, 1))
		w.cmp.AnyOrder = true
	}
	if w.chance(0.4) {
		w.overlay(br)
	}
}

func (w *world) bridgePort(br *reference.Device, i int) {
	p := w.addPort(reference.Device{Name: fmt.Sprintf("p%d", i), MAC: macAt(3, 1, i), MTU: oneOf(w.r, []int{1500, 1500, 1400})})
	w.setMaster(p, br)
	for _, s := range []*bool{&p.NoLearning, &p.NoFlood, &p.NoMulticast, &p.NoBroadcast, &p.Hairpin, &p.Isolated, &p.Locked} {
		*s = w.chance(0.1)
	}
	w.setSwitches(p)
	for k := range 2 {
		w.host(br, p.Name, quad("10.20.0.%d", 10*(i+1)+k), macAt(5, 0, 2*i+k))
	}
	if w.chance(0.3) {
		w.addStation(br, p, macAt(5, 0, 2*i), w.chance(0.5))
	}
	w.macs = append(w.macs, p.MAC)
}

// tunnel returns random settings that VXLAN and IPIP share.
func (w *world) tunnel() reference.Tunnel {
	t := reference.Tunnel{TTL: 64, AnyPeer: true, RFC: w.profile == tunnel.RFC}
	if w.chance(0.3) {
		t.TTL = 0
	}
	if w.chance(0.3) {
		t.InheritTOS = true
	} else if w.chance(0.2) {
		t.TOS = 0x48
	}
	if w.chance(0.3) {
		t.Local = quad("10.0.0.1")
	}
	if w.chance(0.2) {
		t.AnyPeer, t.Peers = false, []netip.Addr{quad("10.0.0.10"), quad("10.0.0.11")}
	}
	return t
}

// overlay makes a learning VXLAN device a port of the bridge.
func (w *world) overlay(br *reference.Device) {
	t := w.tunnel()
	t.VNI, t.Port, t.Learning, t.Checksum = 7, 8472, w.chance(0.8), w.chance(0.3)
	t.DF = w.chance(0.2)
	d := w.addVXLAN(reference.Device{Name: "vx0", MAC: macAt(6, 0, 0), MTU: w.ref.Device("eth0").MTU - vxlan.Overhead, Tunnel: t})
	w.setMaster(d, br)
	w.vnis = append(w.vnis, 7)
	for i := range w.r.IntN(3) {
		w.addRemote(d, ethernet.MAC{}, quad("10.0.0.%d", 10+i))
	}
	if w.chance(0.5) {
		w.addRemote(d, macAt(7, 0, 1), quad("10.0.0.11"))
	}
	for k := range 3 {
		w.inner = append(w.inner, macAt(7, 0, k))
		w.macs = append(w.macs, macAt(7, 0, k))
	}
}

// flannel makes a VXLAN device of its own, with two peers.
func (w *world) flannel() {
	t := w.tunnel()
	t.VNI, t.Port, t.Learning, t.Checksum = 1, 8472, w.chance(0.3), w.chance(0.3)
	t.InheritDF = w.chance(0.3)
	d := w.addVXLAN(reference.Device{Name: "flannel.1", MAC: macAt(6, 0, 1), MTU: w.ref.Device("eth0").MTU - vxlan.Overhead, Tunnel: t})
	w.finish(d)
	w.addAddress(d, net4("10.30.0.0/32"))
	w.vnis = append(w.vnis, 1)
	for i := range 2 {
		mac, gateway := macAt(7, 1, i), quad("10.30.%d.0", i+1)
		w.setNeighbour(d, gateway, mac)
		if i == 0 || w.chance(0.7) {
			w.addRemote(d, mac, quad("10.0.0.%d", 10+i))
		}
		w.addRoute(reference.Route{Prefix: net4("10.30.%d.0/24", i+1), Type: reference.Unicast, Via: gateway, Device: d})
		w.addrs = append(w.addrs, quad("10.30.%d.7", i+1), gateway)
		w.inner = append(w.inner, mac)
	}
}

func (w *world) ipipAny() {
	t := w.tunnel()
	t.DF = t.TTL != 0 || w.chance(0.5)
	d := w.addIPIP(reference.Device{Name: "tunl0", MTU: w.ref.Device("eth0").MTU - ipip.OverheadIP, Tunnel: t})
	w.finish(d)
	w.addAddress(d, net4("10.40.0.0/32"))
	for i := range 2 {
		w.addRoute(reference.Route{Prefix: net4("10.40.%d.0/24", i+1), Type: reference.Unicast, Via: quad("10.0.0.%d", 10+i), Device: d})
		w.addrs = append(w.addrs, quad("10.40.%d.7", i+1))
	}
}

func (w *world) ipipTo() {
	t := w.tunnel()
	t.Local, t.Remote, t.AnyPeer, t.Peers = quad("10.0.0.1"), quad("10.0.0.12"), false, nil
	t.DF = t.TTL != 0 || w.chance(0.5)
	d := w.addIPIP(reference.Device{Name: "tunl1", MTU: w.ref.Device("eth0").MTU - ipip.OverheadIP, Tunnel: t})
	w.finish(d)
	w.addAddress(d, net4("10.41.0.1/32"))
	w.addRoute(reference.Route{Prefix: net4("10.41.1.0/24"), Type: reference.Unicast, Device: d})
	w.addrs = append(w.addrs, quad("10.41.1.7"))
}

// nested makes a VXLAN device whose remote end is behind tunl1.
func (w *world) nested() {
	t := w.tunnel()
	t.Local, t.VNI, t.Port, t.Checksum = netip.Addr{}, 8, 8472, w.chance(0.3)
	d := w.addVXLAN(reference.Device{Name: "vx8", MAC: macAt(6, 0, 8), MTU: w.ref.Device("tunl1").MTU - vxlan.Overhead, Tunnel: t})
	w.finish(d)
	w.addAddress(d, net4("10.31.0.0/32"))
	mac, gateway := macAt(7, 8, 0), quad("10.31.1.0")
	w.setNeighbour(d, gateway, mac)
	w.addRemote(d, mac, quad("10.41.1.7"))
	w.addRoute(reference.Route{Prefix: net4("10.31.1.0/24"), Type: reference.Unicast, Via: gateway, Device: d})
	w.addrs = append(w.addrs, quad("10.31.1.7"))
	w.vnis = append(w.vnis, 8)
	w.inner = append(w.inner, mac)
}

// routes adds routes of every type, gateways that answer and gateways that do not.
func (w *world) routes() {
	for i := range 2 + w.r.IntN(8) {
		r := reference.Route{Prefix: net4("10.%d.%d.0/%d", 50+w.r.IntN(3), w.r.IntN(3), oneOf(w.r, []int{16, 22, 24})).Masked(), Type: reference.Unicast}
		r.Metric = uint32(w.r.IntN(3))
		h := oneOf(w.r, w.hosts)
		r.Device, r.Via = h.device, h.ip
		switch w.r.IntN(8) {
		case 0:
			r = reference.Route{Prefix: r.Prefix, Metric: r.Metric, Type: oneOf(w.r, []reference.RouteType{
				reference.Blackhole, reference.Unreachable, reference.Prohibit,
			})}
		case 1:
			r.MTU = 1000
		case 2:
			r.Via = netip.Addr{}
		}
		if r.Device != nil && r.Device.Raw {
			r.Via = netip.Addr{}
		}
		w.addRoute(r)
		w.addrs = append(w.addrs, quad("10.%d.%d.%d", 50+i%3, i%3, 1+w.r.IntN(200)))
	}
	if h := oneOf(w.r, w.hosts); w.chance(0.5) && !h.device.Raw {
		w.addRoute(reference.Route{Prefix: net4("0.0.0.0/0"), Type: reference.Unicast, Via: h.ip, Device: h.device})
	}
}

// randomFrame returns a frame and the port that it comes in by.
func (w *world) randomFrame() (port string, b []byte) {
	h := oneOf(w.r, w.hosts)
	if w.ref.Device(h.port) == nil { // the bridge has fewer ports than hosts were meant for
		h = w.hosts[0]
	}
	if h.device.Raw {
		return h.port, w.damage(w.packet(h.ip), 0)
	}
	f := ethernet.Fields{Dst: h.device.MAC, Src: h.mac, EtherType: ethernet.TypeIPv4}
	switch x := w.r.IntN(20); {
	case x < 6:
		f.Dst = oneOf(w.r, w.macs)
	case x == 6:
		f.Dst = ethernet.Broadcast
	case x == 7:
		f.Dst = oneOf(w.r, []ethernet.MAC{{1, 0, 0x5e, 0, 0, 1}, {1, 0x80, 0xc2, 0, 0, byte(w.r.IntN(17))}, macAt(9, 9, w.r.IntN(3))})
	}
	if w.chance(0.05) {
		f.Src = oneOf(w.r, append([]ethernet.MAC{{}, {1, 2, 3, 4, 5, 6}}, w.macs...))
	}
	var payload []byte
	switch x := w.r.IntN(20); {
	case x < 4:
		f.EtherType = ethernet.TypeARP
		payload = w.arp(h)
		if w.chance(0.7) {
			f.Dst = ethernet.Broadcast
		}
	case x == 4:
		f.EtherType = oneOf(w.r, []uint16{0x86dd, 0x88cc, 0x0064, 0x8137})
		payload = make([]byte, 40+w.r.IntN(20))
	default:
		payload = w.packet(h.ip)
	}
	if w.chance(0.03) {
		f.Tags = []ethernet.Tag{{TPID: ethernet.TypeVLAN, TCI: 5}}
	}
	b, err := f.Append(nil)
	w.do(err)
	return h.port, w.damage(append(b, payload...), f.Len())
}

func (w *world) arp(h neighbourHost) []byte {
	target := oneOf(w.r, w.addrs)
	if w.chance(0.4) {
		target = h.device0Address(w)
	}
	f := arp.WhoHas(target.As4(), h.mac, h.ip.As4())
	switch w.r.IntN(10) {
	case 0:
		f = arp.Probe(h.mac, target.As4())
	case 1:
		f = arp.Announcement(h.mac, h.ip.As4())
	case 2, 3:
		f.Op, f.TargetMAC = arp.Reply, h.device.MAC
	case 4:
		f.SenderMAC = oneOf(w.r, w.hosts).mac
	case 5:
		f.SenderIP = oneOf(w.r, w.addrs).As4()
	}
	return f.Append(nil)
}

func (h neighbourHost) device0Address(w *world) netip.Addr {
	for _, a := range w.ref.Addresses {
		if a.Device == h.device {
			return a.Prefix.Addr()
		}
	}
	return h.ip
}

// packet returns an IPv4 packet of a host.
func (w *world) packet(from netip.Addr) []byte {
	to := oneOf(w.r, w.addrs)
	if w.chance(0.05) {
		from = oneOf(w.r, w.addrs)
	}
	if w.chance(0.25) && len(w.vnis) > 0 {
		return w.vxlanPacket()
	}
	if w.chance(0.15) {
		return w.ipPacket(oneOf(w.r, w.vteps), w.local, ipip.Protocol, w.plain(from, to))
	}
	return w.plain(from, to)
}

func (w *world) plain(from, to netip.Addr) []byte {
	data := make([]byte, w.r.IntN(oneOf(w.r, []int{20, 100, 1480, 1490, 2400})))
	for i := range data {
		data[i] = byte(i)
	}
	switch w.r.IntN(4) {
	case 0:
		m := icmp.Echo(1, 2)
		if w.chance(0.2) {
			m = icmp.Unreachable(1)
		}
		return w.ipPacket(from, to, icmp.Protocol, m.Append(nil, data))
	case 1:
		if w.chance(0.4) {
			return w.ipPacket(from, to, tcp.Protocol, w.segment(from, to, data))
		}
		return w.ipPacket(from, to, oneOf(w.r, []uint8{6, 47, 89}), append(make([]byte, 20), data...))
	}
	return w.ipPacket(from, to, ipv4.ProtocolUDP, w.datagram(from, to, uint16(1000+w.r.IntN(8)), data))
}

func (w *world) segment(from, to netip.Addr, data []byte) []byte {
	f := tcp.Fields{
		SrcPort: uint16(2000 + w.r.IntN(4)), DstPort: 80, Seq: w.r.Uint32(), Ack: w.r.Uint32(),
		Flags:   oneOf(w.r, []tcp.Flags{tcp.SYN, tcp.ACK, tcp.FIN, tcp.RST}) | oneOf(w.r, []tcp.Flags{0, 0, tcp.ACK, tcp.FIN}),
		Options: make([]byte, 4*w.r.IntN(3)),
	}
	b, err := f.Append(nil, from.As4(), to.As4(), data)
	w.do(err)
	if w.chance(0.1) {
		b[0]++
	}
	return append(b, data...)
}

func (w *world) datagram(from, to netip.Addr, dstPort uint16, data []byte) []byte {
	b, err := udp.Fields{SrcPort: uint16(2000 + w.r.IntN(4)), DstPort: dstPort}.Append(nil, len(data))
	w.do(err)
	b = append(b, data...)
	if w.chance(0.5) {
		h, _, err := udp.Parse(b)
		w.do(err)
		h.FixChecksum(from.As4(), to.As4(), data)
	}
	return b
}

func (w *world) vxlanPacket() []byte {
	f := ethernet.Fields{Dst: oneOf(w.r, w.macs), Src: oneOf(w.r, w.inner), EtherType: ethernet.TypeIPv4}
	if w.chance(0.1) {
		f.Dst = ethernet.Broadcast
	}
	if w.chance(0.05) {
		f.Src = oneOf(w.r, append([]ethernet.MAC{{}, {1, 2, 3, 4, 5, 6}}, w.macs...))
	}
	inner, err := f.Append(nil)
	w.do(err)
	inner = append(inner, w.plain(oneOf(w.r, w.addrs), oneOf(w.r, w.addrs))...)
	vni := oneOf(w.r, w.vnis)
	if w.chance(0.05) {
		vni = 99
	}
	var reserved uint64
	if w.chance(0.05) {
		reserved = 1
	}
	b, err := vxlan.Fields{VNI: vni, Reserved: reserved}.Append(nil)
	w.do(err)
	from := oneOf(w.r, w.vteps)
	return w.ipPacket(from, w.local, ipv4.ProtocolUDP, w.datagram(from, w.local, 8472, append(b, inner...)))
}

func (w *world) ipPacket(from, to netip.Addr, protocol uint8, payload []byte) []byte {
	f := ipv4.Fields{TTL: 64, Protocol: protocol, ID: uint16(1 + w.r.IntN(1000)), Src: from.As4(), Dst: to.As4()}
	if w.chance(0.15) {
		f.TTL = uint8(w.r.IntN(4))
	}
	if w.chance(0.3) {
		f.Flags = ipv4.DontFragment
	}
	if w.chance(0.3) {
		f.TOS = uint8(w.r.IntN(4))
	}
	if w.chance(0.05) {
		f.TOS |= 0x28
	}
	if w.chance(0.05) {
		f.Options = oneOf(w.r, [][]byte{{1, 1, 1, 0}, {0x94, 4, 0, 0}, {0x5e, 4, 9, 9, 0x9e, 3, 7, 1}, {131, 3, 4, 0}, {7, 1, 1, 1}})
	}
	if w.chance(0.1) {
		f.Options = w.options(to)
	}
	if w.chance(w.pieces) {
		payload = w.piece(&f, payload)
	}
	b, err := f.Append(nil, len(payload))
	w.do(err)
	return append(b, payload...)
}

// options returns some that nodes on the way and to fill in, with a byte changed now and then.
func (w *world) options(to netip.Addr) (o []byte) {
	for range 1 + w.r.IntN(2) {
		if slots := w.r.IntN(4); w.chance(0.5) {
			o = append(o, ipv4.OptionRecordRoute, uint8(3+4*slots), uint8(4+4*w.r.IntN(slots+1)))
			o = append(o, make([]byte, 4*slots)...)
			continue
		}
		slots, kind := w.r.IntN(3), oneOf(w.r, []uint8{0, 1, 3})
		o = append(o, ipv4.OptionTimestamp, uint8(4+8*slots), 5, uint8(w.r.IntN(16))<<4|kind)
		for range slots {
			listed := oneOf(w.r, append([]netip.Addr{to}, w.addrs...)).As4()
			o = append(append(o, listed[:]...), 0, 0, 0, 0)
		}
	}
	if w.chance(0.2) {
		o[w.r.IntN(len(o))] = uint8(w.r.IntN(40))
	}
	for len(o)%4 != 0 {
		o = append(o, oneOf(w.r, []uint8{ipv4.OptionEnd, ipv4.OptionNop}))
	}
	return o[:min(len(o), ipv4.MaxHeaderLen-ipv4.HeaderLen)]
}

// piece makes a packet one of a few fragments of a few datagrams, which fit together or overlap, and returns its payload.
func (w *world) piece(f *ipv4.Fields, payload []byte) []byte {
	const size = 64
	f.ID = uint16(1 + w.r.IntN(3))
	f.FragmentOffset = uint16(size * w.r.IntN(4))
	if w.chance(0.1) {
		f.FragmentOffset += 8
	}
	if w.chance(0.7) {
		f.Flags = ipv4.MoreFragments
		return payload[:min(len(payload), size)]
	}
	f.Flags = 0
	return payload[:min(len(payload), 2*size)]
}

// damage changes a frame now and then: bytes are flipped, cut off, or added. Behind at starts the network header, whose fragment
// fields stay.
func (w *world) damage(b []byte, at int) []byte {
	switch w.r.IntN(15) {
	case 0:
		i := w.r.IntN(len(b))
		if i != at+6 && i != at+7 {
			b[i] ^= 1 << w.r.IntN(8)
		}
	case 1:
		b = b[:w.r.IntN(len(b)+1)]
	case 2, 3:
		b = append(b, make([]byte, w.r.IntN(46))...)
	}
	return slices.Clip(b)
}
