package engine

// ICMP errors (icmp_send in net/ipv4/icmp.c; RFC 1122 section 3.2.2, RFC 1812 section 4.3.2).

import (
	"encoding/binary"
	"time"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/icmplimit"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// internetControl is the precedence of errors, beside the TOS bits of the packet that they are about (IPTOS_PREC_INTERNETCONTROL,
// RFC 1812 section 4.3.2.5).
const internetControl = 0xc0

// icmpError tells the sender of the packet in b, which stays the caller's, what is wrong.
func (w *Worker) icmpError(b *packet.Buffer, f icmp.Fields) {
	w.reportWithin(b, f, w.e.limits.Allow, w.e.limits.WouldAllow)
}

// icmpUnroutable is icmpError for packets that routes lead nowhere, whose errors cost twice (ip_error in net/ipv4/route.c).
func (w *Worker) icmpUnroutable(b *packet.Buffer, f icmp.Fields) {
	w.reportWithin(b, f, w.e.limits.AllowUnroutable, w.e.limits.WouldAllowUnroutable)
}

// reportWithin sends an error if it may be sent.
func (w *Worker) reportWithin(b *packet.Buffer, f icmp.Fields, allow, would func(uint32, time.Duration) icmplimit.Verdict) {
	p := b.Bytes()
	if !w.mayReport(p) {
		return
	}
	limit := len(p)
	if f.Type == icmp.TypeParameterProblem {
		limit = int(f.Rest[0]) // what is before the fault
	}
	if options, ok := w.answerTo(p, limit); ok && w.withinLimits(b, f, allow, would) {
		w.report(b, f, options)
	}
}

// report sends an error.
func (w *Worker) report(b *packet.Buffer, f icmp.Fields, options *answerOptions) {
	p := b.Bytes()
	dst := binary.BigEndian.Uint32(p[12:])
	m := w.alloc()
	if m == nil {
		w.lack()
		return
	}
	quote := p[:min(len(p), icmp.MaxQuote-options.len())]
	at, err := m.Extend(icmp.HeaderLen + len(quote))
	if err != nil {
		w.drop(nil, m, DropNoBuffer)
		return
	}
	was := asSegment(b, p)
	f.AppendError(at[:0], quote)
	was.restore(p)
	w.total.Counters[ICMPOutMsgs]++
	w.countError(f.Type)
	out := outgoing{dst: dst, protocol: ipv4.ProtocolICMP, tos: p[1]&0x1e | internetControl, ttl: w.st.global.DefaultTTL, options: options}
	if to := binary.BigEndian.Uint32(p[16:]); w.st.own.has(to) {
		out.src = to // it was for the node
	}
	if w.trace != nil {
		w.note(Step{Stage: StageICMP, Addr: AddrOf(dst), Type: f.Type, Code: f.Code, MTU: int(binary.BigEndian.Uint16(f.Rest[2:]))})
	}
	group := w.group
	_ = w.originate(out, m) // what fails is dropped and counted there
	w.group = group
}

// wholeLen is what the header of a superframe says of its length, while it says that of a segment.
type wholeLen struct {
	total, sum uint16
	changed    bool
}

// asSegment makes the IPv4 header of p, which is in b, that of the first segment if b is a superframe: its sender may have sent
// segments, and is told about one of these.
func asSegment(b *packet.Buffer, p []byte) wholeLen {
	if !b.IsSuperframe() {
		return wholeLen{}
	}
	was := wholeLen{binary.BigEndian.Uint16(p[2:]), binary.BigEndian.Uint16(p[10:]), true}
	n := segmentLen(b, len(p) == b.Len()) - (b.Len() - len(p))
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	binary.BigEndian.PutUint16(p[10:], checksum.Update(was.sum, was.total, uint16(n)))
	return was
}

func (w wholeLen) restore(p []byte) {
	if w.changed {
		binary.BigEndian.PutUint16(p[2:], w.total)
		binary.BigEndian.PutUint16(p[10:], w.sum)
	}
}

// mayReport reports whether there may be an error about a packet: not about errors, fragments but the first, what was sent to
// more than one host, or by none.
func (w *Worker) mayReport(p []byte) bool {
	src, dst := binary.BigEndian.Uint32(p[12:]), binary.BigEndian.Uint32(p[16:])
	at := int(p[0]&0xf) * 4
	switch {
	case w.group, binary.BigEndian.Uint16(p[6:])&0x1fff != 0:
		return false
	case isMulticast(dst) || dst == limitedBroadcast || w.isBroadcast(dst):
		return false
	case isZeroNet(src) || isLoopback(src) && !w.st.own.has(src) || isMulticast(src) || src == limitedBroadcast || w.isBroadcast(src):
		return false
	case p[9] == ipv4.ProtocolICMP:
		return len(p) > at && isQuery(p[at])
	}
	return true
}

// isQuery reports whether an ICMP type is not an error, and known not to be one.
func isQuery(t uint8) bool {
	switch t {
	case icmp.TypeEcho, icmp.TypeEchoReply, 13, 14, 15, 16, 17, 18: // timestamp, information, address mask
		return true
	}
	return false
}

// withinLimits asks the limits, which hold for all errors but those that path MTU discovery and redirects need
// (icmpv4_mask_allow).
func (w *Worker) withinLimits(b *packet.Buffer, f icmp.Fields, allow, would func(uint32, time.Duration) icmplimit.Verdict) bool {
	if f.Type == icmp.TypeRedirect || f.Type == icmp.TypeUnreachable && f.Code == icmp.CodeFragmentationNeeded {
		return true
	}
	if w.dry != nil {
		allow = would
	}
	dst := binary.BigEndian.Uint32(b.Bytes()[12:])
	if w.st.own.has(dst) { // the node itself
		return true
	}
	v := allow(dst, w.now)
	switch v {
	case icmplimit.Allowed:
		return true
	case icmplimit.GlobalLimited:
		w.total.Counters[ICMPOutRateLimitGlobal]++
	default:
		w.total.Counters[ICMPOutRateLimitHost]++
	}
	if w.trace != nil {
		w.note(Step{Stage: StageICMP, Addr: AddrOf(dst), Type: f.Type, Code: f.Code, Text: "not sent: " + v.String()})
	}
	return false
}

func (w *Worker) countError(t uint8) {
	c := &w.total.Counters
	switch t {
	case icmp.TypeUnreachable:
		c[ICMPOutDestUnreachs]++
	case icmp.TypeTimeExceeded:
		c[ICMPOutTimeExcds]++
	case icmp.TypeParameterProblem:
		c[ICMPOutParmProbs]++
	case icmp.TypeRedirect:
		c[ICMPOutRedirects]++
	}
}

// linkFailure drops a packet whose neighbour does not answer, and tells its sender.
func (w *Worker) linkFailure(d *device, b *packet.Buffer) {
	group := w.group
	w.group = false // such packets were routed
	if p := b.Bytes(); p[0] == 0x45 || w.recordFailure(d, p) {
		w.icmpError(b, icmp.Unreachable(icmp.CodeHostUnreachable))
	}
	w.group = group
	w.drop(d, b, DropNeighbour)
}
