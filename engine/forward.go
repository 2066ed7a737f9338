package engine

// IPv4: input checks, the routing decision, forwarding (net/ipv4/ip_input.c, route.c, ip_forward.c). Packets start with their
// IPv4 header here.

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
)

// ipReceive takes an IPv4 packet that a device has received.
func (w *Worker) ipReceive(d *device, b *packet.Buffer) {
	w.total.Counters[IPInReceives]++
	p := b.Bytes()
	if len(p) < ipv4.HeaderLen {
		w.ipRefuse(d, b, IPInHdrErrors, DropIPShort)
		return
	}
	h := (*[ipv4.HeaderLen]byte)(p)
	w0, w1, dst := binary.BigEndian.Uint64(h[0:]), binary.BigEndian.Uint64(h[8:]), binary.BigEndian.Uint32(h[16:])
	total := int(uint16(w0 >> 32))
	if w0>>56 != 0x45 || total < ipv4.HeaderLen || total > len(p) || !checksum.OK20(w0, w1, dst) {
		if !w.ipUnusual(d, b) {
			return
		}
	}
	if total < len(p) {
		_ = b.Truncate(total) // Ethernet's padding
	}
	src := uint32(w1)
	path := w.e.routes.Lookup(dst)
	if isSpecial(src) || isSpecial(dst) || w.st.own.has(src) || path == nil || path.Type() != route.Unicast ||
		d.conf.RPFilter != 0 || w.group || !d.conf.Forwarding {
		w.ipNotForwarded(d, b, src, dst, path)
		return
	}
	w.forward(d, b, dst, path)
}

// ipNotForwarded takes packets that are not simply to be forwarded. What comes out of a tunnel is the usual one of these, and
// needs no more checks than it gets here.
func (w *Worker) ipNotForwarded(d *device, b *packet.Buffer, src, dst uint32, path *route.Path) {
	h := (*[ipv4.HeaderLen]byte)(b.Bytes())
	if path == nil || path.Type() != route.Local || isSpecial(src) || isSpecial(dst) || w.st.own.has(src) || d.conf.RPFilter != 0 ||
		w.group || b.IsSuperframe() || binary.BigEndian.Uint16(h[6:])&0x3fff != 0 || w.trace != nil {
		w.ipDecide(d, b, src, dst, path)
		return
	}
	switch h[9] {
	case ipv4.ProtocolUDP:
		w.total.Counters[IPInDelivers]++
		w.udpReceive(d, b, false)
	case ipv4.ProtocolIPIP:
		w.total.Counters[IPInDelivers]++
		w.ipipReceive(d, b)
	default:
		w.ipLocal(d, b, false)
	}
}

// ipRefuse drops a packet that is not IPv4.
func (w *Worker) ipRefuse(d *device, b *packet.Buffer, c Counter, why Reason) {
	w.total.Counters[c]++
	w.drop(d, b, why)
}

// ipUnusual checks a packet with options, step by step, and those that ipReceive's one look found fault with. It reports
// whether the packet goes on; it is dropped otherwise.
func (w *Worker) ipUnusual(d *device, b *packet.Buffer) bool {
	h, _, err := ipv4.Parse(b.Bytes())
	switch {
	case errors.Is(err, ipv4.ErrTruncated):
		if !h.ChecksumOK() {
			w.total.Counters[IPInCsumErrors]++
			w.ipRefuse(d, b, IPInHdrErrors, DropIPChecksum)
			return false
		}
		w.ipRefuse(d, b, IPInTruncated, DropIPTruncated)
		return false
	case err != nil:
		w.ipRefuse(d, b, IPInHdrErrors, DropIPHeader)
		return false
	case !h.ChecksumOK():
		w.total.Counters[IPInCsumErrors]++
		w.ipRefuse(d, b, IPInHdrErrors, DropIPChecksum)
		return false
	}
	_ = b.Truncate(int(h.TotalLen())) // Ethernet's padding, before an error quotes it
	return len(h.Options()) == 0 || w.optionsMatter(d, b, be32(h.Src()), be32(h.Dst())) && w.ipOptions(d, b)
}

// isSpecial reports whether an address is one that forwarding has to think about: of 0/8, 127/8, a group, or reserved.
func isSpecial(a uint32) bool { return (a>>24)-1 >= 223 || a>>24 == 127 }

// ipDecide is the routing decision where ipReceive cannot say at once that the packet is to be forwarded
// (ip_route_input_slow).
func (w *Worker) ipDecide(d *device, b *packet.Buffer, src, dst uint32, path *route.Path) {
	switch {
	case w.martian(d, b, src, dst):
	case dst == limitedBroadcast || src == 0 && dst == 0:
		w.ipLocal(d, b, true)
	case isMulticast(dst):
		w.ipGroup(d, b, dst)
	case path != nil && (path.Type() == route.Local || path.Type() == route.Broadcast):
		if !w.sourceOK(d, b, src) {
			return
		}
		w.ipLocal(d, b, path.Type() == route.Broadcast)
	case !d.conf.Forwarding:
		w.ipRefuse(d, b, IPInAddrErrors, DropNotForwarding)
	case w.group:
		w.drop(d, b, DropNotUnicast)
	case path != nil && path.Type() == route.Blackhole:
		w.drop(d, b, DropBlackhole)
	case path == nil:
		w.total.Counters[IPInNoRoutes]++
		w.unreachable(d, b, icmp.CodeNetUnreachable, DropNoRoute)
	case path.Type() == route.Unreachable:
		w.unreachable(d, b, icmp.CodeHostUnreachable, DropUnreachable)
	case path.Type() == route.Prohibit:
		w.unreachable(d, b, icmp.CodeAdminProhibited, DropProhibited)
	case !w.sourceOK(d, b, src):
	default:
		w.forward(d, b, dst, path)
	}
}

// optionsMatter reports whether a packet's options are to be looked at: routing comes first, and drops silently what comes from
// where it cannot. It drops the packet if not.
func (w *Worker) optionsMatter(d *device, b *packet.Buffer, src, dst uint32) bool {
	if w.martian(d, b, src, dst) {
		return false
	}
	path := w.e.routes.Lookup(dst)
	switch {
	case dst == limitedBroadcast || src == 0 && dst == 0 || isMulticast(dst):
		return true
	case path == nil || path.Type() == route.Blackhole || path.Type() == route.Unreachable || path.Type() == route.Prohibit:
		return true
	case path.Type() == route.Unicast && (!d.conf.Forwarding || w.group):
		return true
	}
	return w.sourceOK(d, b, src)
}

// martian drops a packet between addresses that it cannot be between, and reports whether it did.
func (w *Worker) martian(d *device, b *packet.Buffer, src, dst uint32) bool {
	toAll := dst == limitedBroadcast || src == 0 && dst == 0
	switch {
	case isMulticast(src) || src == limitedBroadcast, isLoopback(src) && d.kind != KindLoopback, isZeroNet(src) && !toAll:
		w.ipRefuse(d, b, IPInAddrErrors, DropMartianSource)
	case isZeroNet(dst) && !toAll, isLoopback(dst) && d.kind != KindLoopback:
		w.ipRefuse(d, b, IPInAddrErrors, DropMartianDst)
	case dst == limitedBroadcast && !isZeroNet(src):
		return !w.sourceOK(d, b, src)
	default:
		return false
	}
	return true
}

// unreachable drops a packet and tells its sender.
func (w *Worker) unreachable(d *device, b *packet.Buffer, code uint8, why Reason) {
	w.noteRoute(b, nil, route.Next{})
	w.icmpUnroutable(b, icmp.Unreachable(code))
	w.drop(d, b, why)
}

// sourceOK checks where a packet comes from (fib_validate_source): nobody else may have the node's addresses, and with
// rp_filter the way back must exist: by the same device if 1, by any if 2. It drops the packet if not.
func (w *Worker) sourceOK(d *device, b *packet.Buffer, src uint32) bool {
	if d.kind == KindLoopback {
		return true
	}
	if w.st.own.has(src) && !d.conf.AcceptLocal {
		w.ipRefuse(d, b, IPInAddrErrors, DropMartianSource)
		return false
	}
	if w.comesBack(d, src) {
		return true
	}
	w.ipRefuse(d, b, IPReversePathFilter, DropReversePath)
	return false
}

// comesBack reports whether rp_filter lets packets from src come in by a device.
func (w *Worker) comesBack(d *device, src uint32) bool {
	if d.conf.RPFilter == 0 || src == 0 {
		return true
	}
	path := w.e.routes.Lookup(src)
	if path == nil || path.Type() != route.Unicast {
		return false
	}
	return d.conf.RPFilter == 2 || leadsBy(path, d.index)
}

// allHosts is the group that every host is in (RFC 1112 section 7.2).
const allHosts = 0xe0000001

// ipGroup takes a packet for a multicast group: those that tunnels have joined are for the node.
func (w *Worker) ipGroup(d *device, b *packet.Buffer, dst uint32) {
	if dst != allHosts && !slices.Contains(w.st.groups, dst) {
		w.drop(d, b, DropMulticast)
		return
	}
	if w.sourceOK(d, b, binary.BigEndian.Uint32(b.Bytes()[12:])) { // ip_mc_validate_source
		w.ipLocal(d, b, true)
	}
}

// hopOf returns the next hop of a packet. Several are chosen from by its flow.
func (w *Worker) hopOf(path *route.Path, b *packet.Buffer) route.Next {
	if hop, ok := path.Only(); ok {
		return hop
	}
	return path.Hop(w.packetHash(b)).Next()
}

// forward sends a packet on its way (ip_forward): checks that can fail come first, so that errors quote it as it came.
func (w *Worker) forward(d *device, b *packet.Buffer, dst uint32, path *route.Path) {
	h := (*[ipv4.HeaderLen]byte)(b.Bytes())
	hop := w.hopOf(path, b)
	if w.trace != nil {
		w.noteRoute(b, path, hop)
	}
	if hop.Gateway == 0 {
		hop.Gateway = dst
	}
	od := w.st.device(hop.Device)
	if od == nil {
		w.drop(d, b, DropDeviceGone)
		return
	}
	if h[8] <= 1 {
		w.icmpError(b, icmp.TimeExceeded(icmp.CodeTTLExceeded))
		w.ipRefuse(d, b, IPInHdrErrors, DropTTL)
		return
	}
	mtu := int(path.MTU())
	if mtu == 0 {
		mtu = od.mtu
	}
	if b.Len() > mtu {
		w.forwardBig(d, od, b, hop, mtu)
		return
	}
	w.total.Counters[IPForwDatagrams]++
	decrementTTL(h)
	if od == d && d.conf.SendRedirects {
		w.redirect(d, b, hop) // it quotes the packet with the TTL that it goes on with: ip_forward in Linux
	}
	if h[0] != 0x45 {
		w.recordWay(od, hop.Gateway, b.Bytes())
	}
	if hop.Tag != 0 && w.shortcut(od, cmp.Or(hop.Gateway, binary.BigEndian.Uint32(h[16:])), b) {
		return
	}
	w.output(od, hop.Gateway, b)
}

// decrementTTL counts a hop, and brings the checksum in step (RFC 1141); of the two forms of zero it makes 0, as Linux does.
func decrementTTL(h *[ipv4.HeaderLen]byte) {
	// The eight bytes from TTL to source address as one word: whoever reads them next need not wait for two short stores.
	w := binary.BigEndian.Uint64(h[8:])
	sum := uint32(w>>32&0xffff) + 0x0100
	sum += (sum + 1) >> 16
	binary.BigEndian.PutUint64(h[8:], (w-1<<56)&^(0xffff<<32)|uint64(uint16(sum))<<32)
}

// nextHop returns the address that a packet for dst is sent to: the gateway's, or its own.
func nextHop(hop *route.NextHop, dst uint32) uint32 {
	if hop.Gateway.IsValid() {
		return number(hop.Gateway)
	}
	return dst
}

// forwardBig forwards a packet that is larger than the MTU: in fragments, unless it must not be cut.
func (w *Worker) forwardBig(d, od *device, b *packet.Buffer, hop route.Next, mtu int) {
	h := (*[ipv4.HeaderLen]byte)(b.Bytes())
	fitsCut := segmentLen(b, true) <= mtu
	if !fitsCut && h[6]&0x40 != 0 {
		w.total.Counters[IPFragFails]++
		w.icmpError(b, icmp.FragmentationNeeded(uint16(mtu)))
		w.drop(d, b, DropTooBig)
		return
	}
	w.total.Counters[IPForwDatagrams]++
	decrementTTL(h)
	if h[0] != 0x45 {
		w.recordWay(od, hop.Gateway, b.Bytes())
	}
	if fitsCut {
		w.output(od, hop.Gateway, b)
		return
	}
	w.fragment(od, b, mtu, func(f *packet.Buffer) { w.output(od, hop.Gateway, f) })
}

// redirect tells a sender that it has a shorter way, as both it and the next hop are on the link that the packet came from
// (RFC 1812 section 5.2.7.2).
func (w *Worker) redirect(d *device, b *packet.Buffer, hop route.Next) {
	h := (*[ipv4.HeaderLen]byte)(b.Bytes())
	gateway := hop.Gateway
	src := binary.BigEndian.Uint32(h[12:])
	for _, a := range d.addrs {
		if a.Prefix.Contains(AddrOf(src)) && a.Prefix.Contains(AddrOf(gateway)) {
			w.icmpError(b, icmp.Redirect(quad(gateway)))
			return
		}
	}
}

// output sends a packet to the next hop on a device; its size has been seen to.
func (w *Worker) output(od *device, next uint32, b *packet.Buffer) {
	switch {
	case od.kind == KindIPIP:
		w.ipipSend(od, next, b)
		return
	case od.noARP:
		w.transmit(od, b)
		return
	}
	n := w.e.neighs.Lookup(od.index, next)
	if w.trace != nil {
		w.noteNeighbour(od, next, n)
	}
	if !n.Ready() {
		w.resolve(od, next, b)
		return
	}
	p, err := b.Prepend(14)
	if err != nil {
		w.dropTx(od, b, DropNoHeadroom)
		return
	}
	putEthernet((*[14]byte)(p), n.MACBits(), od.mac)
	w.transmit(od, b)
}

// resolve sends a packet to a neighbour that has to be asked for first, or to a group.
func (w *Worker) resolve(od *device, next uint32, b *packet.Buffer) {
	switch {
	case !od.running:
		w.count(od).TxCarrier++
		w.dropTx(od, b, DropDown)
	case isMulticast(next): // RFC 1112 section 6.4
		w.frameTo(od, 0x01005e000000|uint64(next&0x7fffff), b)
	case next == limitedBroadcast || w.isBroadcast(next):
		w.frameTo(od, macBroadcast, b)
	case w.dry != nil:
		w.explainNeighbour(od, next, b)
	default:
		source := binary.BigEndian.Uint32(b.Bytes()[12:])
		if w.trace != nil {
			w.note(Step{Stage: StageHold, Device: od.name, Addr: AddrOf(next)})
		}
		w.act(w.e.neighs.Output(od.index, next, b, source, w.now, w.actionList()))
	}
}

// isBroadcast reports whether an address is the broadcast address of a link.
func (w *Worker) isBroadcast(a uint32) bool {
	path := w.e.routes.Lookup(a)
	return path != nil && path.Type() == route.Broadcast
}

// fragment cuts a packet to fragments of at most mtu bytes, which are given to send: a superframe into segments first
// (ip_finish_output_gso).
func (w *Worker) fragment(od *device, b *packet.Buffer, mtu int, send func(*packet.Buffer)) {
	if b.IsSuperframe() {
		segments := w.apart(od, b, true)
		for _, s := range segments {
			if s.Len() <= mtu {
				send(s)
			} else {
				w.fragment(od, s, mtu, send)
			}
		}
		w.unlist(segments)
		return
	}
	frags, err := w.cut(b, mtu)
	if err != nil {
		w.total.Counters[IPFragFails]++
		w.dropTx(od, b, DropFragment)
		return
	}
	for _, f := range frags {
		send(f)
	}
	w.unlist(frags)
}
