package reference

// IPv4: what is accepted, where it goes, and how it leaves (RFC 791, RFC 1812 section 5; net/ipv4/ip_input.c, route.c,
// fib_frontend.c, ip_forward.c, ip_output.c).

import (
	"net/netip"
	"slices"

	"github.com/culvert-net/culvert/ethernet"
)

var (
	everybody   = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	allHosts    = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	unspecified = netip.AddrFrom4([4]byte{})
	thisNetwork = netip.PrefixFrom(unspecified, 8)
)

// AddAddress gives a device an address, with the routes that come with it (fib_add_ifaddr).
func (n *Node) AddAddress(d *Device, p netip.Prefix) {
	n.Addresses = append(n.Addresses, Address{Device: d, Prefix: p})
	n.addressRoutes(d, p)
}

func (n *Node) addressRoutes(d *Device, p netip.Prefix) {
	self := netip.PrefixFrom(p.Addr(), 32)
	if !slices.ContainsFunc(n.Routes, func(r Route) bool { return r.address && r.Type == Local && r.Prefix == self && r.Device == d }) {
		n.Routes = append(n.Routes, Route{Prefix: self, Type: Local, Device: d, Source: p.Addr(), address: true})
	}
	if !d.Up {
		return
	}
	switch {
	case d.Kind == Loopback:
		n.Routes = append(n.Routes, Route{Prefix: p.Masked(), Type: Local, Device: d, Source: p.Addr(), address: true})
	case p.Bits() < 32:
		n.Routes = append(n.Routes, Route{Prefix: p.Masked(), Type: Unicast, Device: d, Source: p.Addr(), address: true})
	}
	if p.Bits() < 31 {
		last := netip.PrefixFrom(lastOf(p), 32)
		n.Routes = append(n.Routes, Route{Prefix: last, Type: Broadcast, Device: d, Source: p.Addr(), address: true})
	}
}

// lastOf returns the last address of a network, that of all its hosts.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}

// SetUp sets a device up or down. With a device that goes down go the routes by way of it and its neighbours; back up, those
// of its addresses return (fib_netdev_event).
func (n *Node) SetUp(d *Device, up bool) {
	if d.Up == up {
		return
	}
	d.Up = up
	if up {
		for _, a := range n.Addresses {
			if a.Device == d {
				n.addressRoutes(d, a.Prefix)
			}
		}
		return
	}
	n.Routes = slices.DeleteFunc(n.Routes, func(r Route) bool { return r.Device == d && r.Type != Local })
	for _, k := range n.neighbourKeys() {
		if k.device == d {
			n.dropNeighbour(k)
		}
	}
	n.forgetStations(d)
}

// SetCarrier says whether there is a wire. Routes stay; neighbours but the permanent ones do not (neigh_carrier_down).
func (n *Node) SetCarrier(d *Device, carrier bool) {
	if d.Carrier && !carrier && d.Up {
		for _, k := range n.neighbourKeys() {
			if k.device == d && n.neighbours[k].state != permanent {
				n.dropNeighbour(k)
			}
		}
		n.forgetStations(d)
	}
	d.Carrier = carrier
}

// forgetStations forgets what was learned behind a device that does not run any more (br_stp_disable_port, vxlan_stop,
// br_stp_disable_bridge).
func (n *Node) forgetStations(d *Device) {
	for _, table := range n.Devices {
		for m, s := range table.Stations {
			if (s.Port == d || table == d) && !s.Static && !s.Local {
				delete(table.Stations, m)
			}
		}
	}
}

// RemoveAddress takes an address from a device: 'ip addr del'.
func (n *Node) RemoveAddress(d *Device, p netip.Prefix) {
	n.Addresses = slices.DeleteFunc(n.Addresses, func(a Address) bool { return a.Device == d && a.Prefix == p })
	n.Routes = slices.DeleteFunc(n.Routes, func(r Route) bool { return r.Source == p.Addr() })
}

// lookup is the longest prefix match, over all routes one after the other.
func (n *Node) lookup(dst netip.Addr) (best *Route) {
	for i := range n.Routes {
		r := &n.Routes[i]
		if r.Prefix.Contains(dst) && (best == nil || r.before(best)) {
			best = r
		}
	}
	return best
}

// before reports whether r counts rather than o, which came first. Of one prefix the local table's count, then the least metric.
func (r *Route) before(o *Route) bool {
	if r.Prefix.Bits() != o.Prefix.Bits() {
		return r.Prefix.Bits() > o.Prefix.Bits()
	}
	if r.inLocalTable() != o.inLocalTable() {
		return r.inLocalTable()
	}
	return r.Metric < o.Metric
}

func (r *Route) inLocalTable() bool { return r.Type == Local || r.Type == Broadcast }

// isLocal reports whether addr is one of the node's.
func (n *Node) isLocal(addr netip.Addr) bool {
	r := n.lookup(addr)
	return r != nil && r.Type == Local
}

// addressFor chooses the address to bear towards dst on a device (inet_select_addr): that of dst's network, else the device's
// first, else any device's first. 127.0.0.1 is of this host only.
func (n *Node) addressFor(d *Device, dst netip.Addr) netip.Addr {
	var first netip.Addr
	for _, a := range n.Addresses {
		if a.Device != d || a.Prefix.Addr().IsLoopback() {
			continue
		}
		if !dst.IsValid() || a.Prefix.Contains(dst) {
			return a.Prefix.Addr()
		}
		if !first.IsValid() {
			first = a.Prefix.Addr()
		}
	}
	if first.IsValid() {
		return first
	}
	for _, other := range n.Devices {
		for _, a := range n.Addresses {
			if a.Device == other && !a.Prefix.Addr().IsLoopback() {
				return a.Prefix.Addr()
			}
		}
	}
	return unspecified
}

// sourceOf returns the address that the node's own packets by way of a route bear (fib_result_prefsrc).
func (n *Node) sourceOf(r *Route) netip.Addr {
	if r.Source.IsValid() {
		return r.Source
	}
	return n.addressFor(r.Device, r.Via)
}

// What a verdict may say beside the types of routes.
const (
	notForwarding RouteType = "not forwarding"
	noRoute       RouteType = "no route"
)

// verdict is where a received packet goes.
type verdict struct {
	faults []string // why it does not
	kind   RouteType
	route  *Route // of Unicast and of those that drop
}

// routeInput is ip_route_input_slow: first what nobody may be, then the way there, then the way back.
func (n *Node) routeInput(d *Device, src, dst netip.Addr) verdict {
	var faults []string
	if src.IsMulticast() || src == everybody {
		faults = append(faults, "MartianSource")
	}
	toAll := dst == everybody || src.IsUnspecified() && dst.IsUnspecified()
	if !toAll {
		if thisNetwork.Contains(src) {
			faults = append(faults, "MartianSource")
		}
		if thisNetwork.Contains(dst) {
			faults = append(faults, "MartianDestination")
		}
		if dst.IsLoopback() && !d.RouteLocalnet && d.Kind != Loopback {
			faults = append(faults, "MartianDestination")
		}
	}
	if src.IsLoopback() && !d.RouteLocalnet && d.Kind != Loopback {
		faults = append(faults, "MartianSource")
	}
	if faults != nil {
		return verdict{faults: faults}
	}
	switch {
	case dst == allHosts: // the one group that every host is in (RFC 1112 section 7.2)
		return n.checkSource(d, src, verdict{kind: Broadcast})
	case dst.IsMulticast():
		return verdict{faults: []string{"Multicast"}}
	case toAll:
		return n.checkSource(d, src, verdict{kind: Broadcast})
	}
	r := n.lookup(dst)
	switch {
	case r != nil && (r.Type == Local || r.Type == Broadcast):
		return n.checkSource(d, src, verdict{kind: r.Type, route: r})
	case !d.Forwarding:
		return verdict{kind: notForwarding}
	case r == nil:
		return verdict{kind: noRoute}
	case r.Type != Unicast:
		return verdict{kind: r.Type, route: r}
	}
	return n.checkSource(d, src, verdict{kind: Unicast, route: r})
}

// checkSource refuses a source that is the node's own, and with rp_filter one that is reached by another way
// (fib_validate_source; RFC 3704).
func (n *Node) checkSource(d *Device, src netip.Addr, v verdict) verdict {
	if src.IsUnspecified() {
		return v
	}
	back := n.lookup(src)
	if back != nil && back.Type == Local && !d.AcceptLocal && d.Kind != Loopback {
		return verdict{faults: []string{"MartianSource"}}
	}
	if !n.comesBack(d, src) {
		return verdict{faults: []string{"ReversePath", "MartianSource"}}
	}
	return v
}

// comesBack reports whether rp_filter lets a source pass: 1 wants the way back to leave by the device, 2 by any.
func (n *Node) comesBack(d *Device, src netip.Addr) bool {
	back := n.lookup(src)
	switch d.RPFilter {
	case 1:
		return back != nil && back.Type == Unicast && back.Device == d
	case 2:
		return back != nil && back.Type == Unicast
	}
	return true
}

// inputIP takes a packet that a device received (ip_rcv).
func (n *Node) inputIP(d *Device, b []byte, to kindOfDestination) {
	p, faults := parseIP(b)
	if faults != nil {
		n.drop(faults...)
		return
	}
	v := n.routeInput(d, p.src, p.dst)
	pointer, sourceRoute := n.through(d, &p)
	switch {
	case v.faults != nil:
		if pointer != 0 {
			v.faults = append(v.faults, "IPOptions")
		}
		if sourceRoute {
			v.faults = append(v.faults, "SourceRoute")
		}
		if to != toHost {
			v.faults = append(v.faults, "NotUnicast")
		}
		n.drop(v.faults...)
	case pointer != 0:
		n.drop("IPOptions")
		n.sendError(p, to, icmpError{kind: icmpParameterProblem, pointer: uint8(pointer)})
	case sourceRoute:
		n.drop("SourceRoute")
	case v.kind == Local, v.kind == Broadcast:
		n.deliver(p, to, v.kind)
	case v.kind == notForwarding:
		n.drop("NotForwarding")
	case to != toHost:
		n.drop("NotUnicast")
	case v.kind == noRoute:
		n.refuse(p, "NoRoute", codeNet)
	case v.kind == Blackhole:
		n.drop("Blackhole")
	case v.kind == Unreachable:
		n.refuse(p, "Unreachable", codeHost)
	case v.kind == Prohibit:
		n.refuse(p, "Prohibited", codeProhibited)
	default:
		n.forward(p, v.route)
	}
}

func (n *Node) refuse(p ipPacket, reason string, code uint8) {
	n.drop(reason)
	n.sendError(p, toHost, icmpError{kind: icmpUnreachable, code: code, unroutable: true})
}

// forward is ip_forward: time to live first, then the size, then the change of the header (RFC 1812 section 5.3.1, 4.3.3.4).
func (n *Node) forward(p ipPacket, r *Route) {
	if p.ttl <= 1 {
		n.drop("TTL")
		n.sendError(p, toHost, icmpError{kind: icmpTimeExceeded})
		return
	}
	if mtu := r.mtu(); p.len() > mtu && p.df {
		n.drop("TooBig")
		n.sendError(p, toHost, icmpError{kind: icmpUnreachable, code: codeTooBig, mtu: mtu})
		return
	}
	p.ttl--
	n.recordOutput(p, r)
	n.output(p, r)
}

func (r *Route) mtu() int {
	if r.MTU != 0 {
		return r.MTU
	}
	return r.Device.MTU
}

// send sends a packet of the node's own; a zero source is chosen (ip_route_output_key).
func (n *Node) send(p ipPacket) {
	r := n.lookup(p.dst)
	switch {
	case r == nil:
		n.drop("NoRoute")
	case r.Type == Blackhole:
		n.drop("Blackhole")
	case r.Type == Unreachable:
		n.drop("Unreachable")
	case r.Type == Prohibit:
		n.drop("Prohibited")
	case r.Type == Local:
		if !p.src.IsValid() {
			p.src = p.dst
		}
		n.sign(p)
		n.looped(p)
	case r.Type == Broadcast:
		n.drop("NotUnicast") // nobody here has asked for SO_BROADCAST; Linux answers even so
	default:
		if !p.src.IsValid() {
			p.src = n.sourceOf(r)
		}
		n.sign(p)
		n.output(p, r)
	}
}

// looped takes a packet of the node's own to itself, which crosses lo.
func (n *Node) looped(p ipPacket) {
	if pointer, _ := n.through(n.Devices[0], &p); pointer != 0 {
		n.drop("IPOptions")
		n.sendError(p, toHost, icmpError{kind: icmpParameterProblem, pointer: uint8(pointer)})
		return
	}
	n.deliver(p, toHost, Local)
}

// output sends a packet by way of a route, in pieces if it has to (ip_finish_output).
func (n *Node) output(p ipPacket, r *Route) {
	if p.len() <= r.mtu() {
		n.toDevice(p, r)
		return
	}
	if p.df {
		n.drop("TooBig")
		return
	}
	for _, piece := range fragment(p, r.mtu()) {
		n.toDevice(piece, r)
	}
}

// fragment cuts a packet. Options without the copy bit are in the first piece only (RFC 791 section 3.1, 3.2); Linux writes
// no-operations in their place.
func fragment(p ipPacket, mtu int) (pieces []ipPacket) {
	for at := 0; at < len(p.payload); {
		piece := p
		if at > 0 {
			piece.options = copiedOptions(p.options)
		}
		end := len(p.payload)
		if room := mtu - piece.headerLen(); end-at > room {
			end = at + room&^7
		}
		piece.payload = p.payload[at:end]
		piece.offset = p.offset + at
		piece.mf = p.mf || end < len(p.payload)
		pieces = append(pieces, piece)
		at = end
	}
	return pieces
}

func copiedOptions(options []byte) (copied []byte) {
	for len(options) > 0 && options[0] != optionEnd {
		if options[0] == optionNop {
			options = options[1:]
			continue
		}
		if options[0]&0x80 != 0 {
			copied = append(copied, options[:options[1]]...)
		}
		options = options[options[1]:]
	}
	for len(copied)%4 != 0 {
		copied = append(copied, optionEnd)
	}
	return copied
}

// toDevice gives a packet that fits to the device of a route.
func (n *Node) toDevice(p ipPacket, r *Route) {
	d, next := r.Device, n.gateway(r, p.dst)
	switch {
	case !d.Up || !d.Carrier:
		n.drop("Down", "DeviceGone")
	case d.Kind == Loopback:
		n.deliver(p, toHost, Local)
	case d.Kind == IPIP:
		n.encapIPIP(d, p, next)
	case d.Raw:
		n.result.Out = append(n.result.Out, Output{Port: d.Name, Bytes: p.bytes()})
	case r.Type == Broadcast || next == everybody:
		n.transmit(d, frame{dst: ethernet.Broadcast, src: d.MAC, kind: typeIPv4, payload: p.bytes()})
	default:
		n.toNeighbour(d, next, p)
	}
}

// gateway returns the address that a packet by way of a route is sent to.
func (n *Node) gateway(r *Route, dst netip.Addr) netip.Addr {
	if r.Via.IsValid() {
		return r.Via
	}
	return dst
}
