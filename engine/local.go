package engine

// Packets for the node itself: tunnels are opened, echo requests answered, errors heeded, and the rest is given to Config.Local
// (net/ipv4/ip_input.c, icmp.c).

import (
	"encoding/binary"
	"errors"

	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// ipLocal takes a packet for one of the node's addresses, or for everybody on a link.
func (w *Worker) ipLocal(d *device, b *packet.Buffer, toAll bool) {
	if w.trace != nil {
		w.noteLocal(d, b)
	}
	h := (*[ipv4.HeaderLen]byte)(b.Bytes())
	if binary.BigEndian.Uint16(h[6:])&0x3fff != 0 { // MF or an offset
		w.reassemble(d, b)
		return
	}
	if b.IsSuperframe() && !w.staysWhole(b) {
		w.localSegments(d, b, toAll)
		return
	}
	w.total.Counters[IPInDelivers]++
	switch h[9] {
	case ipv4.ProtocolUDP:
		w.udpReceive(d, b, toAll)
	case ipv4.ProtocolIPIP:
		w.ipipReceive(d, b)
	case ipv4.ProtocolICMP:
		w.icmpReceive(d, b, toAll)
	case ipv4.ProtocolTCP:
		if !w.deliver(d, b) {
			w.tcpRefuse(d, b, toAll)
		}
	default:
		if !w.deliver(d, b) {
			w.total.Counters[IPInDelivers]--
			w.total.Counters[IPInUnknownProtos]++
			w.icmpError(b, icmp.Unreachable(icmp.CodeProtocolUnreachable))
			w.drop(d, b, DropNoSocket)
		}
	}
}

// reassemble waits for the other fragments, and goes on with the whole datagram.
func (w *Worker) reassemble(d *device, b *packet.Buffer) {
	if w.dry != nil {
		w.dry.hold(w, d, b, "waits for the other fragments")
		return
	}
	results := w.e.reasm.Input(0, b, w.now, w.results[:0])
	w.results = nil // the datagram's way may lead here again
	for i := range results {
		w.reassembled(d, results[i])
		results[i] = ipfrag.Result{}
	}
	w.results = results[:0]
}

// reassembled takes what comes out of reassembly; d is the device that the last fragment came by, nil if time ran out.
func (w *Worker) reassembled(d *device, r ipfrag.Result) {
	switch r.Outcome {
	case ipfrag.Whole:
		if r.Made {
			w.total.Made++
		}
		if w.trace != nil {
			w.notePacket(StageReassemble, nil, r.Buffer)
		}
		dst := binary.BigEndian.Uint32(r.Buffer.Bytes()[16:])
		w.ipLocal(d, r.Buffer, isMulticast(dst) || dst == limitedBroadcast || w.isBroadcast(dst))
	case ipfrag.Merged:
		w.absorb(r.Buffer)
	case ipfrag.TimedOut, ipfrag.TimedOutFirst:
		if r.Outcome == ipfrag.TimedOutFirst {
			w.icmpError(r.Buffer, icmp.TimeExceeded(icmp.CodeReassemblyExceeded))
		}
		w.drop(d, r.Buffer, DropReassemblyTime)
	case ipfrag.Full, ipfrag.SourceFull:
		w.drop(d, r.Buffer, DropReassemblyFull)
	default:
		w.drop(d, r.Buffer, DropReassembly)
	}
}

// udpReceive takes a UDP datagram, which may be a tunnel's.
func (w *Worker) udpReceive(d *device, b *packet.Buffer, toAll bool) {
	p := b.Bytes()
	at := int(p[0]&0xf) * 4
	if len(p) >= at+udp.HeaderLen {
		port := binary.BigEndian.Uint16(p[at+2:])
		if w.st.vxlans.isPort(port) {
			w.vxlanReceive(d, b, at, port)
			return
		}
	}
	h, payload, err := ipv4.Parse(p)
	if err != nil {
		w.drop(d, b, DropUDP)
		return
	}
	u, data, err := udp.Parse(payload)
	if err != nil {
		w.total.Counters[UDPInErrors]++
		w.drop(d, b, DropUDP)
		return
	}
	if b.Checksum() == packet.ChecksumUnknown && !u.ChecksumOK(h.Src(), h.Dst(), data) {
		w.total.Counters[UDPInErrors]++
		w.total.Counters[UDPInCsumErrors]++
		w.drop(d, b, DropUDP)
		return
	}
	if w.deliver(d, b) {
		return
	}
	if toAll {
		w.total.Counters[UDPIgnoredMulti]++
	} else {
		w.total.Counters[UDPNoPorts]++
		w.icmpError(b, icmp.Unreachable(icmp.CodePortUnreachable))
	}
	w.drop(d, b, DropNoSocket)
}

// deliver offers a packet to the callback, and reports whether it took it.
func (w *Worker) deliver(d *device, b *packet.Buffer) bool {
	if w.dry != nil {
		return w.dry.deliver(w, d, b)
	}
	if w.e.config.Local == nil {
		return false
	}
	h, payload, err := ipv4.Parse(b.Bytes())
	if err != nil {
		return false
	}
	// What becomes of the packet is the callback's matter; what the worker knows of it must survive whatever it sends.
	trace, group := w.trace, w.group
	w.changed, w.heard = true, 0 // by whatever the callback does
	took := w.e.config.Local(w, Delivery{Device: d.index, Header: h, Payload: payload, Buffer: b})
	w.trace, w.group = trace, group
	if took {
		w.total.Delivered++
		if w.trace != nil {
			w.note(Step{Stage: StageDeliver, Device: d.name})
		}
	}
	return took
}

// icmpReceive takes an ICMP message.
func (w *Worker) icmpReceive(d *device, b *packet.Buffer, toAll bool) {
	w.total.Counters[ICMPInMsgs]++
	h, payload, err := ipv4.Parse(b.Bytes())
	if err != nil {
		w.drop(d, b, DropICMP)
		return
	}
	m, body, err := icmp.Parse(payload)
	if err != nil {
		w.total.Counters[ICMPInErrors]++
		w.drop(d, b, DropICMP)
		return
	}
	if b.Checksum() == packet.ChecksumUnknown && !m.ChecksumOK(body) {
		w.total.Counters[ICMPInErrors]++
		w.total.Counters[ICMPInCsumErrors]++
		w.drop(d, b, DropICMP)
		return
	}
	w.countICMP(m.Type())
	about := forAnybody
	switch {
	case m.Type() == icmp.TypeEcho:
		w.echo(d, b, h, m, toAll)
		return
	case m.Type() > lastICMPType, toAll && !isQuery(m.Type()):
		about = forNobody
	case m.IsError():
		about = w.heed(m, body)
	}
	if about == forNobody {
		w.total.Counters[ICMPInErrors]++
	}
	if about == forTunnel {
		w.absorb(b)
		return
	}
	if !w.deliver(d, b) {
		if about == forSockets {
			w.total.Counters[ICMPInErrors]++ // there is none
		}
		if w.trace != nil {
			w.note(Step{Stage: StageLocal, Device: d.name, Text: "nobody waits for this ICMP message"})
		}
		w.absorb(b)
	}
}

func (w *Worker) countICMP(t uint8) {
	c := &w.total.Counters
	switch t {
	case icmp.TypeEcho:
		c[ICMPInEchos]++
	case icmp.TypeEchoReply:
		c[ICMPInEchoReps]++
	case icmp.TypeUnreachable:
		c[ICMPInDestUnreachs]++
	case icmp.TypeTimeExceeded:
		c[ICMPInTimeExcds]++
	case icmp.TypeParameterProblem:
		c[ICMPInParmProbs]++
	case icmp.TypeRedirect:
		c[ICMPInRedirects]++
	}
}

// echo answers an echo request: the request's buffer becomes the answer.
func (w *Worker) echo(d *device, b *packet.Buffer, h ipv4.Header, m icmp.Header, toAll bool) {
	if toAll && !w.st.global.EchoAnswerBroadcasts {
		w.total.Counters[ICMPInErrors]++
		w.drop(d, b, DropICMP)
		return
	}
	if w.st.global.EchoIgnoreAll {
		w.drop(d, b, DropICMP)
		return
	}
	options, ok := w.answerTo(h.Bytes(), h.Len())
	if !ok {
		w.drop(d, b, DropIPOptions)
		return
	}
	src, dst, tos := be32(h.Src()), be32(h.Dst()), h.TOS()
	if b.Checksum() == packet.ChecksumPartial { // the device that sends the answer may not be able to
		_ = b.CompleteChecksum()
	}
	m.SetType(icmp.TypeEchoReply)
	b.ClearMetadata()
	_ = b.TrimFront(h.Len()) // as parsed
	w.total.Counters[ICMPOutMsgs]++
	w.total.Counters[ICMPOutEchoReps]++
	out := outgoing{dst: src, protocol: ipv4.ProtocolICMP, tos: tos, ttl: w.st.global.DefaultTTL, options: options}
	if !toAll {
		out.src = dst
	}
	if w.trace != nil {
		w.note(Step{Stage: StageEcho, Device: d.name})
	}
	_ = w.originate(out, b) // what fails is dropped and counted there
}

// concern is whose business an ICMP message is.
type concern uint8

const (
	forAnybody concern = iota
	forSockets         // that of a socket that Config.Local may have
	forTunnel          // that of one of the node's tunnels, and nobody else's
	forNobody          // it is malformed
)

const (
	lastICMPType = 18 // NR_ICMP_TYPES of include/uapi/linux/icmp.h
	leastQuoted  = 8  // bytes behind the header in an error's quote (RFC 792)
)

// heed takes an ICMP error (icmp_unreach and icmp_socket_deliver in net/ipv4/icmp.c): path MTUs of all that the node has sent, and
// what concerns its tunnels.
func (w *Worker) heed(m icmp.Header, body []byte) concern {
	q, data, _ := ipv4.Parse(m.Quote(body)) // the error would be that it is cut short
	switch {
	case !q.IsValid():
		return forNobody
	case m.Type() == icmp.TypeTimeExceeded && m.Code() == icmp.CodeReassemblyExceeded:
		return forAnybody
	case len(data) < leastQuoted:
		return forNobody
	}
	src, dst := be32(q.Src()), be32(q.Dst())
	switch own := w.st.own.has(src); {
	case own && q.Protocol() == ipv4.ProtocolIPIP:
		return w.heedIPIP(m, q, src, dst)
	case own && q.Protocol() == ipv4.ProtocolUDP && w.st.vxlans.isPort(binary.BigEndian.Uint16(data[2:])):
		return w.heedVXLAN(m, q, data)
	case own:
		w.heedMTU(m, q)
	}
	if q.Protocol() == ipv4.ProtocolUDP || q.Protocol() == ipv4.ProtocolTCP {
		return forSockets
	}
	return forAnybody
}

// heedIPIP takes an error about a packet of an IPIP tunnel's (ipip_err).
func (w *Worker) heedIPIP(m icmp.Header, q ipv4.Header, src, dst uint32) concern {
	t := w.st.ipips.between(w.st, src, dst)
	if t == nil {
		return forAnybody
	}
	w.heedMTU(m, q)
	if w.dry == nil && t.ipip.relays(m) {
		t.ipip.errors.note(w.now)
	}
	return forTunnel
}

// heedVXLAN takes an error about a datagram to a VXLAN port, whose VNI Linux wants to see
// (vxlan_err_lookup).
func (w *Worker) heedVXLAN(m icmp.Header, q ipv4.Header, data []byte) concern {
	header, _, err := vxlan.Parse(data[udp.HeaderLen:])
	if errors.Is(err, vxlan.ErrShort) && w.e.config.Profile == tunnel.RFC { // routers may quote as little as that (RFC 792)
		w.heedMTU(m, q)
		return forTunnel
	}
	if err == nil {
		port := binary.BigEndian.Uint16(data[2:])
		if d := w.st.vxlans.find(w.st, port, header.VNI()); d != nil && d.running {
			w.heedMTU(m, q)
			return forTunnel
		}
	}
	w.total.Counters[ICMPInErrors]++
	return forTunnel
}

// heedMTU notes the path MTU that an error reports.
func (w *Worker) heedMTU(m icmp.Header, q ipv4.Header) {
	if m.Type() == icmp.TypeUnreachable && m.Code() == icmp.CodeFragmentationNeeded && w.dry == nil {
		w.learnPMTU(be32(q.Dst()), int(m.NextHopMTU()), int(q.TotalLen()))
	}
}

// relays reports whether an ICMP error about an outer packet is passed on to the sender of the next inner one (ipip_err in
// net/ipv4/ipip.c): not if the tunnel has any remote end, or gave the outer packet the inner one's time to live.
func (t *ipipDevice) relays(m icmp.Header) bool {
	switch {
	case t.remote == 0:
		return false
	case m.Type() == icmp.TypeTimeExceeded:
		return m.Code() == icmp.CodeTTLExceeded && t.made.TTL != 0
	case m.Type() == icmp.TypeUnreachable:
		return m.Code() != icmp.CodeFragmentationNeeded && m.Code() != icmp.CodePortUnreachable && m.Code() != codeSourceRouteFailed
	}
	return false
}

const codeSourceRouteFailed = 5

// learnPMTU notes the path MTU that a router reports, 0 from one that does not know RFC 1191, about a packet of some length.
func (w *Worker) learnPMTU(dst uint32, mtu, length int) {
	if mtu == 0 {
		mtu = plateau(length)
	}
	w.notePMTU(dst, mtu)
	if w.trace != nil {
		w.note(Step{Stage: StagePMTU, Addr: AddrOf(dst), MTU: mtu})
	}
}

// notePMTU notes a path MTU, for tunnels to that address as well.
func (w *Worker) notePMTU(dst uint32, mtu int) {
	if _, changed := w.e.pmtus.Learn(dst, mtu, w.now); changed {
		w.e.ends.remoteChanged(dst)
		w.changed = true
	}
}

// plateau returns the next lower MTU that is in use (RFC 1191 section 7.1).
func plateau(length int) int {
	for _, mtu := range [...]int{32000, 17914, 8166, 4352, 2002, 1492, 576, 296, 216, 128} {
		if length > mtu {
			return mtu
		}
	}
	return 68
}
