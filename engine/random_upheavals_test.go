package engine_test

// What makes the random nodes of bursts hard: devices and routes that the reference does not know, callbacks that send and change
// things, and changes of everything between bursts and from callbacks. Faults of changes do not matter, but must be the same.

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/reference"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// embellish adds what a reference node does not have.
func (x *burstWorld) embellish() {
	for i := range 3 {
		x.try(x.e.ReplaceRoute(x.multipath(net4("10.70.%d.0/24", i))))
		x.addrs = append(x.addrs, quad("10.70.%d.7", i), quad("10.70.%d.8", i))
	}
	if x.chance(0.2) { // a VTEP with several ways to it
		x.try(x.e.ReplaceRoute(x.multipath(net4("10.0.0.12/32"))))
	}
	if x.chance(0.3) {
		x.try(x.e.SetAgeing("br0", 3*time.Second))
	}
	if x.chance(0.2) { // a VTEP behind a bridge
		x.try(x.e.ReplaceRoute(engine.Route{Prefix: net4("10.0.0.11/32"), Via: quad("10.20.0.10"), Dev: "br0"}))
	}
	x.try(x.e.SetGlobal(engine.Global{PMTUExpires: oneOf(x.r, []time.Duration{0, 3 * time.Second}), MinPMTU: 600}))
	for _, d := range []string{"br0", "br0", "flannel.1", "tunl0", "tunl1", "vx0"} {
		if x.chance(0.15) {
			x.changeTap(d)
		}
		if x.chance(0.15) {
			x.changeConf(d)
		}
		if x.chance(0.1) {
			x.try(x.e.SetLink(d, engine.LinkChange{Promisc: engine.Set(true)}))
		}
	}
	if x.chance(0.4) {
		x.extraVXLAN(9, "br0", engine.VXLAN{})
	}
	if x.chance(0.4) {
		x.extraVXLAN(10, "", engine.VXLAN{L2Miss: true, L3Miss: x.chance(0.5), Proxy: x.chance(0.5)})
	}
	if x.chance(0.3) {
		x.extraVXLAN(11, "br0", engine.VXLAN{Proxy: true, Device: "eth0"})
	}
}

// extraVXLAN adds a VXLAN device: a port of a bridge, or one with routes.
func (x *burstWorld) extraVXLAN(vni uint32, master string, v engine.VXLAN) {
	name, group := fmt.Sprintf("vx%d", vni), ethernet.MAC{1, 2, 3, 4, 5, 6}
	v.Link = engine.Link{Name: name, MAC: macAt(6, 1, int(vni)), MTU: 1400, Up: true}
	v.VNI, v.DstPort, v.UDPChecksum, v.NoLearning = vni, 8472, x.chance(0.3), x.chance(0.3)
	if _, err := x.e.AddVXLAN(v); err != nil {
		x.try(err)
		return
	}
	x.vnis, x.macs = append(x.vnis, vni), append(x.macs, v.MAC, v.MAC)
	x.try(x.e.AppendFDB(engine.FDBEntry{MAC: group, Dev: name, Dst: oneOf(x.r, x.vteps)}))
	for k := range 3 {
		mac := macAt(7, int(vni), k)
		x.inner, x.macs = append(x.inner, mac), append(x.macs, mac)
		x.try(x.e.ReplaceFDB(engine.FDBEntry{MAC: mac, Dev: name, Dst: x.vteps[k], Dynamic: x.chance(0.5)}))
		if master != "" {
			continue
		}
		gateway := quad("10.80.%d.%d", vni, 10+k)
		x.try(x.e.AddAddr(name, engine.Addr{Prefix: net4("10.80.%d.1/24", vni)}))
		x.try(x.e.ReplaceNeigh(engine.Neigh{Addr: gateway, Dev: name, MAC: mac, State: x.neighState()}))
		x.try(x.e.ReplaceRoute(engine.Route{Prefix: net4("10.8%d.%d.0/24", k+1, vni), Via: gateway, Dev: name}))
		x.addrs = append(x.addrs, gateway, quad("10.8%d.%d.9", k+1, vni))
	}
	if master != "" {
		x.try(x.e.SetMaster(name, master))
	}
}

func (x *burstWorld) neighState() arp.State {
	return oneOf(x.r, []arp.State{0, arp.StateReachable, arp.StateStale, arp.StateNoARP, arp.StateDelay, arp.StateProbe})
}

// try notes what came of a change.
func (x *burstWorld) try(err error) {
	if err != nil {
		x.sent = append(x.sent, err.Error())
	}
}

// etherHost returns a host that is not behind a raw device.
func (x *burstWorld) etherHost() neighbourHost {
	for {
		if h := oneOf(x.r, x.hosts); !h.device.Raw {
			return h
		}
	}
}

// multipath returns a route over several next hops.
func (x *burstWorld) multipath(p netip.Prefix) engine.Route {
	r := engine.Route{Prefix: p}
	for range 2 + x.r.IntN(2) {
		h := x.etherHost()
		r.NextHops = append(r.NextHops, engine.NextHop{Via: h.ip, Dev: h.device.Name, Weight: uint16(1 + x.r.IntN(3)), Onlink: true})
	}
	return r
}

// tooBig returns an ICMP error that says that a packet of a tunnel was too large.
func (x *burstWorld) tooBig() []byte {
	vtep, h := oneOf(x.r, x.vteps), x.hosts[0]
	body := make([]byte, 8)
	protocol := ipv4.ProtocolIPIP
	if x.chance(0.5) {
		protocol = ipv4.ProtocolUDP
		_, _ = udp.Fields{SrcPort: 40000, DstPort: 8472}.Put(body, 1400)
	}
	outer, err := ipv4.Fields{TTL: 60, Protocol: protocol, ID: 1, Src: x.local.As4(), Dst: vtep.As4()}.Append(nil, 1400)
	x.do(err)
	m := icmp.FragmentationNeeded(oneOf(x.r, []uint16{0, 700, 1000, 1300, 1450})).Append(nil, append(outer, body...))
	f := ethernet.Fields{Dst: h.device.MAC, Src: h.mac, EtherType: ethernet.TypeIPv4}
	b, err := f.Append(nil)
	x.do(err)
	return append(b, x.ipPacket(h.ip, x.local, icmp.Protocol, m)...)
}

// twist makes one field of a frame, or of what is tunnelled in it, what it should not be, with checksums that are right. Raw ports
// receive these too.
func (x *burstWorld) twist(b []byte) {
	const ip, inIPIP, inVXLAN = ethernet.HeaderLen, ethernet.HeaderLen + ipip.OverheadIP, ethernet.HeaderLen + vxlan.Overhead
	at := ip
	if len(b) > inVXLAN+ipv4.HeaderLen && x.chance(0.6) {
		switch b[ip+9] {
		case ipv4.ProtocolUDP:
			at = inVXLAN
		case ipv4.ProtocolIPIP:
			at = inIPIP
		}
	}
	if len(b) < at+ipv4.HeaderLen {
		return
	}
	h := b[at : at+ipv4.HeaderLen]
	special := oneOf(x.r, append([]netip.Addr{quad("127.0.0.9"), quad("224.0.0.9"), quad("0.0.0.9"), quad("240.0.0.9")}, x.addrs...)).As4()
	short := uint16(x.r.IntN(64))
	switch x.r.IntN(9) {
	case 0, 1:
		copy(h[12:], special[:])
	case 2:
		copy(h[16:], special[:])
	case 3:
		binary.BigEndian.PutUint16(h[2:], short)
	case 4:
		h[0] = oneOf(x.r, []uint8{0x05, 0x44, 0x46, 0x65})
	case 5:
		binary.BigEndian.PutUint16(b[at-2:], oneOf(x.r, []uint16{ethernet.TypeARP, 0x86dd, 0x88cc})) // of an Ethernet header in front
	case 6:
		copy(b[at-8:at-2], []byte{1, 2, 3, 4, 5, 6}) // likewise
	case 7:
		if at == inVXLAN {
			binary.BigEndian.PutUint16(b[ip+ipv4.HeaderLen+4:], short)
		}
	case 8:
		h[6] ^= 1 << x.r.IntN(8)
	}
	for _, at := range []int{at, ip} {
		binary.BigEndian.PutUint16(b[at+10:], 0)
		binary.BigEndian.PutUint16(b[at+10:], checksum.Of(b[at:at+ipv4.HeaderLen]))
	}
}

// Callbacks.

func (x *burstWorld) take(port uint32, batch []*packet.Buffer) {
	for _, b := range batch {
		x.record(x.e.Name(port), b)
		b.Free()
		x.maybeAct(nil, 0.01)
	}
}

func (x *burstWorld) listen(w *engine.Worker, d engine.Delivery) bool {
	x.record("to the node by "+x.e.Name(d.Device), d.Buffer)
	if x.maybeAct(w, 0.3); x.deeds.IntN(4) == 0 {
		return false
	}
	d.Buffer.Free()
	return true
}

func (x *burstWorld) miss(m engine.Miss) {
	x.sent = append(x.sent, fmt.Sprintf("%+v", m))
	switch x.deeds.IntN(4) {
	case 0:
	case 1:
		x.maybeAct(nil, 1)
	default:
		if m.Kind == engine.MissFDB {
			x.try(x.e.AddFDB(engine.FDBEntry{MAC: m.MAC, Dev: m.Device, Dst: oneOf(x.deeds, x.vteps)}))
		} else {
			x.try(x.e.ReplaceNeigh(engine.Neigh{Addr: m.Addr, Dev: m.Device, MAC: oneOf(x.deeds, x.macs)}))
		}
	}
}

func (x *burstWorld) tap(device uint32, out bool, p []byte, now time.Duration) {
	x.sent = append(x.sent, fmt.Sprintf("tap %s %v %v: %x", x.e.Name(device), out, now, p))
	x.maybeAct(nil, 0.1)
}

// maybeAct does something from a callback: it sends packets, lets a port receive some, or changes the node.
func (x *burstWorld) maybeAct(w *engine.Worker, share float64) {
	if x.busy == 0 || x.deeds.Float64() >= share {
		return
	}
	x.busy--
	drawn := x.r
	x.r = x.deeds
	defer func() { x.r = drawn }()
	switch x.r.IntN(3) {
	case 0:
		b := x.pool.Get()
		if b == nil {
			return
		}
		s := engine.Send{Dst: oneOf(x.r, x.addrs), Protocol: 200, DF: x.chance(0.3), Broadcast: x.chance(0.3)}
		_, _ = b.Extend(8 + x.r.IntN(1600))
		clear(b.Bytes())
		if w != nil {
			x.try(w.Send(b, s, x.now))
		} else {
			x.try(x.e.Send(b, s, x.now))
		}
	case 1:
		port, frame := x.frame()
		x.e.Process(x.e.Index(port), x.batch([]buffered{x.buffered(frame)}), x.now)
	default:
		x.upheaval()
	}
}

// Changes.

// upheavals changes the node, or not.
func (x *burstWorld) upheavals() {
	for n := x.r.IntN(8); n > 3; n-- {
		x.upheaval()
	}
}

func (x *burstWorld) upheaval() {
	links := x.e.Links()
	l := links[1+x.r.IntN(len(links)-1)]
	switch x.r.IntN(16) {
	case 0:
		x.changeLink(l)
	case 1:
		for _, o := range links { // what was set down comes back
			if !o.Up || !o.Carrier {
				x.try(x.e.SetLink(o.Name, engine.LinkChange{Up: engine.Set(true), Carrier: carrier(o)}))
			}
		}
	case 2, 3:
		x.changeRoute()
	case 4, 5:
		h := x.etherHost()
		x.try(x.e.ReplaceNeigh(engine.Neigh{Addr: h.ip, Dev: h.device.Name, MAC: oneOf(x.r, x.macs), State: x.neighState()}))
		x.try(x.e.ReplaceNeigh(engine.Neigh{Addr: h.ip, Dev: h.device.Name, MAC: h.mac, State: x.neighState()}))
	case 6:
		h := x.etherHost()
		x.try(x.e.DeleteNeigh(h.ip, h.device.Name))
	case 7:
		_, err := x.e.FlushNeigh(l.Name, arp.StateReachable, arp.StateStale, arp.StateFailed)
		x.try(err)
	case 8, 9:
		x.changeStation(l)
	case 10:
		_, err := x.e.FlushFDB(l.Name)
		x.try(err)
	case 11:
		x.changeConf(l.Name)
	case 12:
		x.changePort(l.Name)
	case 13:
		x.changeTap(l.Name)
	case 14:
		x.changePeer()
	case 15:
		x.changeTunnel(l)
	}
}

func carrier(l engine.LinkInfo) *bool {
	if l.Kind != engine.KindPort {
		return nil
	}
	return engine.Set(true)
}

func (x *burstWorld) changeLink(l engine.LinkInfo) {
	var c engine.LinkChange
	switch x.r.IntN(6) {
	case 0:
		c.Up = engine.Set(false)
	case 1:
		if l.Kind == engine.KindPort {
			c.Carrier = engine.Set(false)
		}
	case 2:
		c.MTU = engine.Set(oneOf(x.r, []int{600, 1280, 1300, 1400, 1500}))
	case 3:
		c.MAC = engine.Set(oneOf(x.r, []ethernet.MAC{l.MAC, oneOf(x.r, x.macs)}))
	case 4:
		c.Promisc = engine.Set(x.chance(0.5))
	case 5:
		c.Master = engine.Set(oneOf(x.r, []string{"br0", "br0", ""}))
	}
	x.try(x.e.SetLink(l.Name, c))
}

func (x *burstWorld) changeRoute() {
	p := net4("10.%d.%d.0/%d", 50+x.r.IntN(3), x.r.IntN(3), oneOf(x.r, []int{16, 22, 24})).Masked()
	if x.chance(0.3) {
		p = net4("10.0.0.%d/32", 10+x.r.IntN(3)) // a VTEP's
	}
	h := x.etherHost()
	own := engine.Route{Prefix: netip.PrefixFrom(x.local, 32), Type: route.Local, Dev: "eth0"}
	switch x.r.IntN(8) {
	case 0:
		x.try(x.e.DeleteRoute(engine.Route{Prefix: p}))
	case 3:
		x.try(x.e.DeleteRoute(own))
	case 4, 5:
		x.try(x.e.ReplaceRoute(own))
	case 1:
		x.try(x.e.ReplaceRoute(x.multipath(p)))
	case 2:
		x.try(x.e.ReplaceRoute(engine.Route{Prefix: p, Dev: h.device.Name}))
	default:
		r := engine.Route{Prefix: p, Via: h.ip, Dev: h.device.Name, Onlink: true, MTU: oneOf(x.r, []uint32{0, 0, 1000})}
		x.try(x.e.ReplaceRoute(r))
	}
}

func (x *burstWorld) changeStation(l engine.LinkInfo) {
	mac := oneOf(x.r, x.macs)
	f := engine.FDBEntry{MAC: mac, Dev: l.Name}
	switch {
	case l.Kind == engine.KindVXLAN && x.chance(0.7):
		f.Dst, f.Dynamic = oneOf(x.r, append([]netip.Addr{x.local}, x.vteps...)), x.chance(0.5)
		if x.chance(0.1) {
			f.VNI = oneOf(x.r, x.vnis)
		}
		if len(x.inner) > 0 && x.chance(0.6) {
			f.MAC = oneOf(x.r, x.inner)
		}
	default:
		f.Master, f.Flags = true, oneOf(x.r, []fdb.Flags{0, fdb.Static, fdb.Static | fdb.Sticky})
	}
	if x.chance(0.3) {
		x.try(x.e.DeleteFDB(f))
		return
	}
	x.try(x.e.ReplaceFDB(f))
}

func (x *burstWorld) changeConf(dev string) {
	c, err := x.e.Conf(dev)
	x.try(err)
	switch x.r.IntN(5) {
	case 0:
		c.Forwarding = !c.Forwarding
	case 1:
		c.SendRedirects = !c.SendRedirects
	case 2:
		c.AcceptLocal = !c.AcceptLocal
	default:
		c.RPFilter = x.r.IntN(3)
	}
	x.try(x.e.SetConf(dev, c))
}

func (x *burstWorld) changePort(dev string) {
	var p engine.BridgePort
	for _, s := range []*bool{&p.NoLearning, &p.NoFlood, &p.Hairpin, &p.Isolated, &p.Isolated, &p.Locked} {
		*s = x.chance(0.15)
	}
	if x.chance(0.2) {
		p.MaxLearned = 1 + x.r.IntN(2)
	}
	x.try(x.e.SetBridgePort(dev, p))
}

// changeTap lets somebody watch a device, or no longer. Ports that frames come in by are left alone: those of one world are watched.
func (x *burstWorld) changeTap(dev string) {
	if d := x.ref.Device(dev); d != nil && d.Kind == reference.Port {
		return
	}
	f := engine.Tap(x.tap)
	if x.tapped[dev] || x.chance(0.3) {
		f = nil
	}
	x.tapped[dev] = f != nil
	x.try(x.e.Tap(dev, f))
}

func (x *burstWorld) changePeer() {
	if x.chance(0.3) {
		x.try(x.e.DeletePeer("node"))
		return
	}
	p := engine.Peer{
		Name: "node", Node: oneOf(x.r, x.vteps), Subnets: []netip.Prefix{net4("10.90.%d.0/24", x.r.IntN(2))},
		Dev: oneOf(x.r, []string{"flannel.1", "tunl0", "eth0"}), Direct: x.chance(0.2),
	}
	if p.Dev == "flannel.1" {
		p.Gateway, p.MAC = quad("10.90.0.0"), macAt(7, 9, x.r.IntN(2))
	}
	x.addrs = append(slices.Clip(x.addrs), quad("10.90.%d.9", x.r.IntN(2)))
	x.try(x.e.SetPeer(p))
}

// changeTunnel removes a VXLAN device, and makes it again.
func (x *burstWorld) changeTunnel(l engine.LinkInfo) {
	if l.Kind != engine.KindVXLAN || l.Name == "flannel.1" {
		return
	}
	x.try(x.e.DeleteLink(l.Name))
	_, err := x.e.AddVXLAN(engine.VXLAN{
		Link: engine.Link{Name: l.Name, MAC: l.MAC, MTU: 1500 - vxlan.Overhead - x.r.IntN(100), Up: true}, VNI: oneOf(x.r, x.vnis),
	})
	x.try(err)
	x.try(x.e.SetMaster(l.Name, "br0"))
}
