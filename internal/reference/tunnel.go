package reference

// Tunnels: VXLAN (RFC 7348; drivers/net/vxlan/vxlan_core.c) and IPIP (RFC 2003; net/ipv4/ip_tunnel.c, ipip.c), with the congestion
// marks of RFC 6040 (include/net/inet_ecn.h).

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-net/culvert/ethernet"
)

// How many tunnels a packet is put into on its way out. Where the way to a remote end leads into the tunnel again there would be no
// end to it: what becomes of such packets depends on limits that are the implementation's.
const maxEncap = 4

// encapVXLAN sends a frame to the remote ends that the FDB has for it, to the first of them last (vxlan_xmit).
func (n *Node) encapVXLAN(d *Device, f frame) {
	if n.inTunnel() {
		return
	}
	defer n.outOfTunnel()
	s := d.Stations[f.dst]
	if s == nil {
		s = d.Stations[ethernet.MAC{}]
	}
	if s == nil {
		n.drop("FDBMiss")
		return
	}
	for _, remote := range s.VTEPs[1:] {
		n.encapVXLANTo(d, f, remote)
	}
	n.encapVXLANTo(d, f, s.VTEPs[0])
}

func (n *Node) inTunnel() (tooDeep bool) {
	if n.encaps >= maxEncap {
		n.result.Unknown = true
	}
	if n.result.Unknown {
		return true
	}
	n.encaps++
	return false
}

func (n *Node) outOfTunnel() { n.encaps-- }

func (n *Node) encapVXLANTo(d *Device, f frame, remote netip.Addr) {
	t := d.Tunnel
	inner := innerHeader(f)
	p := ipPacket{id: AnyID, ttl: t.ttl(inner), tos: t.tos(inner), df: t.DF || t.InheritDF && inner.df, protocol: protocolUDP, dst: remote}
	r := n.underlay(d, remote)
	if r == nil {
		return
	}
	p.src = t.Local
	if !p.src.IsValid() {
		p.src = n.sourceOf(r)
	}
	header := []byte{0x08, 0, 0, 0, byte(t.VNI >> 16), byte(t.VNI >> 8), byte(t.VNI), 0}
	p.payload = udpPacket(p.src, p.dst, AnyPort, t.Port, append(header, f.bytes()...), t.Checksum)
	if p.len() > r.mtu() { // the start of path MTU discovery, which is not modelled
		n.result.Unknown = true
		return
	}
	n.output(p, r)
}

// underlay returns the way to a tunnel's remote end, nil if there is none; the packet is then dropped.
func (n *Node) underlay(d *Device, remote netip.Addr) *Route {
	r := n.lookup(remote)
	switch {
	case r == nil || r.Type != Unicast:
		n.drop("TunnelRoute")
		return nil
	case r.Device == d:
		n.drop("TunnelLoop")
		return nil
	}
	return r
}

// innerFields is what an outer header may inherit; zero if there is no IPv4 packet inside.
type innerFields struct {
	present bool
	tos     uint8
	ttl     uint8
	df      bool
}

func innerHeader(f frame) innerFields {
	for f.kind == typeVLAN || f.kind == typeQinQ {
		if len(f.payload) < 4 {
			return innerFields{}
		}
		f.kind = binary.BigEndian.Uint16(f.payload[2:])
		f.payload = f.payload[4:]
	}
	if f.kind != typeIPv4 || len(f.payload) < ipLen {
		return innerFields{}
	}
	return innerFields{present: true, tos: f.payload[1], ttl: f.payload[8], df: f.payload[6]&0x40 != 0}
}

const defaultOuterTTL = 64

func (t Tunnel) ttl(inner innerFields) uint8 {
	switch {
	case t.TTL != 0:
		return t.TTL
	case inner.present && inner.ttl != 0:
		return inner.ttl
	}
	return defaultOuterTTL // ip4_dst_hoplimit
}

// Congestion marks (RFC 3168 section 5).
const (
	notECT = 0
	ect1   = 1
	ect0   = 2
	ce     = 3
)

// tos is INET_ECN_encapsulate: the mark is copied, but Linux marks ECT(0) what has experienced congestion before the tunnel.
func (t Tunnel) tos(inner innerFields) uint8 {
	tos := t.TOS &^ 3
	if t.InheritTOS {
		tos = inner.tos &^ 3
	}
	mark := inner.tos & 3
	if mark == ce && !t.RFC {
		mark = ect0
	}
	return tos | mark
}

// decapMark is the table of RFC 6040 figure 4 (INET_ECN_decapsulate).
func decapMark(outer, inner uint8) (mark uint8, ok bool) {
	switch {
	case outer == ce && inner == notECT:
		return 0, false
	case outer == ce:
		return ce, true
	case outer == ect1 && inner == ect0:
		return ect1, true
	}
	return inner, true
}

// decapVXLAN is vxlan_rcv for a datagram whose lengths are right, and that may be dropped for other faults already.
func (n *Node) decapVXLAN(p ipPacket, datagram []byte, faults []string) {
	b := datagram[udpLen:]
	if len(b) < vxlanLen || b[0]&0x08 == 0 {
		n.drop(append(faults, "TunnelHeader")...)
		return
	}
	vni := uint32(b[4])<<16 | uint32(b[5])<<8 | uint32(b[6])
	d := n.vni(vni, binary.BigEndian.Uint16(datagram[2:]))
	if d == nil || d.Tunnel.Local.IsValid() && d.Tunnel.Local != p.dst {
		faults = append(faults, "TunnelVNI", "TunnelNone")
	}
	if (d == nil || !d.Tunnel.RFC) && (b[0] != 0x08 || b[1]|b[2]|b[3]|b[7] != 0) {
		faults = append(faults, "TunnelReserved")
	}
	if d != nil && !d.Tunnel.AnyPeer && !slices.Contains(d.Tunnel.Peers, p.src) {
		faults = append(faults, "TunnelPeer")
	}
	f, ok := parseFrame(b[vxlanLen:])
	if !ok || !innerWhole(f) {
		faults = append(faults, "TunnelInner")
	}
	if ok && d != nil && f.src == d.MAC {
		faults = append(faults, "TunnelOwnMAC")
	}
	if d != nil && !d.Up {
		faults = append(faults, "Down", "TunnelVNI")
	}
	if ok && len(faults) == 0 {
		if f, ok = markFrame(f, p.tos&3); !ok { // teaches nothing either; Linux learns first
			faults = append(faults, "TunnelECN", "TunnelPinned", "SourceMAC")
		}
	}
	if faults != nil {
		n.drop(faults...)
		return
	}
	if reason := n.snoop(d, f.src, p.src); reason != "" {
		n.drop(reason)
		return
	}
	n.receive(d, f.bytes())
}

func (n *Node) vni(vni uint32, port uint16) *Device {
	for _, d := range n.Devices {
		if d.Kind == VXLAN && d.Tunnel.VNI == vni && d.Tunnel.Port == port {
			return d
		}
	}
	return nil
}

// snoop is vxlan_snoop: where the station is, unless the configuration says so. It returns why the frame is dropped.
func (n *Node) snoop(d *Device, m ethernet.MAC, from netip.Addr) (reason string) {
	if !d.Tunnel.Learning {
		return ""
	}
	if isGroup(m) || m == (ethernet.MAC{}) {
		return "SourceMAC"
	}
	s := d.Stations[m]
	switch {
	case s == nil:
		if d.Limit == 0 || learned(d) < d.Limit {
			d.Stations[m] = &Station{VTEPs: []netip.Addr{from}, Heard: n.now, Learned: true}
		}
	case slices.Equal(s.VTEPs, []netip.Addr{from}):
		s.Heard = n.now
	case s.Static:
		return "TunnelPinned"
	default:
		s.VTEPs, s.Heard = []netip.Addr{from}, n.now
	}
	return ""
}

// innerIP returns where in a frame's payload an IP header starts, behind tags, and its EtherType.
func innerIP(f frame) (at int, kind uint16) {
	kind = f.kind
	for kind == typeVLAN || kind == typeQinQ {
		if len(f.payload) < at+4 {
			return at, 0
		}
		kind = binary.BigEndian.Uint16(f.payload[at+2:])
		at += 4
	}
	return at, kind
}

const (
	typeIPv6 uint16 = 0x86dd
	ip6Len   int    = 40
)

// innerWhole reports whether a frame has the header that it announces.
func innerWhole(f frame) bool {
	at, kind := innerIP(f)
	switch kind {
	case typeIPv4:
		return len(f.payload) >= at+ipLen
	case typeIPv6:
		return len(f.payload) >= at+ip6Len
	}
	return true
}

// markFrame sets the inner mark from the outer one.
func markFrame(f frame, outer uint8) (frame, bool) {
	at, kind := innerIP(f)
	if kind != typeIPv4 {
		return f, true // IPv6 is not modelled; such frames come with outer mark 0
	}
	b := slices.Clone(f.payload)
	f.payload = b
	mark, ok := decapMark(outer, b[at+1]&3)
	if !ok {
		return f, false
	}
	setMark(b[at:], mark)
	return f, true
}

// setMark changes the mark and keeps the checksum as right or as wrong as it was (RFC 1624 equation 3).
func setMark(b []byte, mark uint8) {
	old := binary.BigEndian.Uint16(b)
	b[1] = b[1]&^3 | mark
	sum := uint32(^binary.BigEndian.Uint16(b[10:])) + uint32(^old) + uint32(binary.BigEndian.Uint16(b))
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	if b[1] != byte(old) {
		binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	}
}

// encapIPIP is ip_tunnel_xmit: next is the route's gateway, the other end of a tunnel without one of its own.
func (n *Node) encapIPIP(d *Device, p ipPacket, next netip.Addr) {
	if n.inTunnel() {
		return
	}
	defer n.outOfTunnel()
	if !d.Up {
		n.drop("Down")
		return
	}
	t := d.Tunnel
	remote := t.Remote
	if !remote.IsValid() {
		remote = next
	}
	r := n.underlay(d, remote)
	if r == nil {
		return
	}
	inner := innerFields{present: true, tos: p.tos, ttl: p.ttl, df: p.df}
	outer := ipPacket{
		id: AnyID, tos: t.tos(inner), ttl: t.ttl(inner), df: t.DF || p.df, protocol: protocolIPIP,
		src: t.Local, dst: remote, payload: p.bytes(),
	}
	if !outer.src.IsValid() {
		outer.src = n.sourceOf(r)
	}
	if t.RFC && (p.src == outer.src || p.src == outer.dst) {
		n.drop("TunnelLoop")
		if nb := n.neighbours[neighbourKey{r.Device, n.gateway(r, outer.dst)}]; nb != nil && nb.state == stale {
			n.result.Unknown = true // whether the neighbour was made use of before the loop was seen
		}
		return
	}
	if mtu := r.mtu() - ipLen; p.df && p.len() > mtu {
		n.drop("TooBig")
		n.sendError(p, toHost, icmpError{kind: icmpUnreachable, code: codeTooBig, mtu: mtu})
		return
	}
	if outer.len() > r.mtu() {
		n.result.Unknown = true
		return
	}
	if d.errors > 0 && n.now < d.erred+errorTimeout {
		d.errors--
		n.sendError(p, toHost, icmpError{kind: icmpUnreachable, code: codeHost})
	}
	n.output(outer, r)
}

// How long an error from inside the tunnel counts (IPTUNNEL_ERR_TIMEO of include/net/ip_tunnels.h).
const errorTimeout = 30 * time.Second

// heed takes an ICMP error, and reports whether it was about a packet of one of the node's tunnels, which is nobody else's
// business. For IPIP it is soft state (ipip_err; RFC 2003 section 5). That the next hop does not answer comes here, too. Path MTUs
// are not modelled.
func (n *Node) heed(message []byte) bool {
	quote := message[icmpLen:]
	if len(quote) < ipLen || quote[0]>>4 != 4 || message[0] != icmpUnreachable && message[0] != icmpTimeExceeded {
		return false
	}
	src, dst := netip.AddrFrom4([4]byte(quote[12:16])), netip.AddrFrom4([4]byte(quote[16:20]))
	header := int(quote[0]&15) * 4
	switch {
	case !n.isLocal(src):
		return false
	case len(quote) < header+udpLen: // too little to see what it is about
		return false
	case quote[9] == protocolUDP:
		return n.isTunnelPort(binary.BigEndian.Uint16(quote[header+2:]))
	case quote[9] != protocolIPIP:
		return false
	}
	d := n.tunnelFor(src, dst)
	if d != nil && d.Tunnel.Remote.IsValid() && (message[0] == icmpUnreachable || d.Tunnel.TTL != 0) {
		if n.now >= d.erred+errorTimeout {
			d.errors = 0
		}
		d.errors++
		d.erred = n.now
	}
	return d != nil
}

// decapIPIP is ipip_rcv: the tunnel with the closest addresses, then whether its remote end may be trusted.
func (n *Node) decapIPIP(p ipPacket, to kindOfDestination, kind RouteType) {
	t := n.tunnelFor(p.dst, p.src)
	if t == nil {
		n.drop("TunnelNone")
		if kind == Local {
			n.sendError(p, to, icmpError{kind: icmpUnreachable, code: codePort}) // tunnel4_rcv
		}
		return
	}
	if t.Tunnel.Remote != p.src && !t.Tunnel.AnyPeer && !slices.Contains(t.Tunnel.Peers, p.src) {
		n.drop("TunnelPeer")
		return
	}
	inner, faults := parseIP(p.payload)
	if len(p.payload) >= ipLen { // the mark may be set before the header is looked at
		if _, ok := decapMark(p.tos&3, p.payload[1]&3); !ok {
			faults = append(faults, "TunnelECN")
		}
	}
	if faults != nil {
		n.drop(append(faults, "TunnelInner")...)
		return
	}
	mark, _ := decapMark(p.tos&3, inner.tos&3)
	inner.tos = inner.tos&^3 | mark
	n.inputIP(t, inner.bytes(), toHost)
}

// tunnelFor is ip_tunnel_lookup: (local, remote), (any, remote), (local, any), (any, any), of those that are up.
func (n *Node) tunnelFor(local, remote netip.Addr) (best *Device) {
	rank := func(d *Device) int {
		t := d.Tunnel
		switch {
		case t.Local == local && t.Remote == remote:
			return 4
		case !t.Local.IsValid() && t.Remote == remote:
			return 3
		case t.Local == local && !t.Remote.IsValid():
			return 2
		case !t.Local.IsValid() && !t.Remote.IsValid():
			return 1
		}
		return 0
	}
	for _, d := range n.Devices {
		if d.Kind != IPIP || !d.Up || rank(d) == 0 {
			continue
		}
		if best == nil || rank(d) > rank(best) {
			best = d
		}
	}
	return best
}
