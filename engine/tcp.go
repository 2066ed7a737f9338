package engine

// TCP, as far as a node without connections has anything to do with it: a segment that nobody takes is refused
// (RFC 9293 section 3.5.2; tcp_v4_rcv and tcp_v4_send_reset in net/ipv4/tcp_ipv4.c).

import (
	"errors"

	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
)

// tosOfReset are the bits that a reset takes over from the segment: those that are not for ECN (INET_DSCP_MASK).
const tosOfReset = 0xfc

// tcpRefuse drops a segment that nobody takes, and resets the connection that its sender means; not if it came in a frame to
// everybody, or is for everybody. There is no limit to resets, as in Linux.
func (w *Worker) tcpRefuse(d *device, b *packet.Buffer, toAll bool) {
	h, segment, err := ipv4.Parse(b.Bytes())
	if err != nil || w.group {
		w.drop(d, b, DropNoSocket)
		return
	}
	t, data, err := tcp.Parse(segment)
	if err != nil {
		if errors.Is(err, tcp.ErrDataOffset) {
			w.total.Counters[TCPInErrs]++
		}
		w.drop(d, b, DropTCP)
		return
	}
	if b.Checksum() == packet.ChecksumUnknown && !t.ChecksumOK(h.Src(), h.Dst(), data) {
		w.total.Counters[TCPInCsumErrors]++
		w.total.Counters[TCPInErrs]++
		w.drop(d, b, DropTCP)
		return
	}
	if f, ok := tcp.Reset(t, len(data)); ok && !toAll {
		w.sendReset(h, f)
	}
	w.drop(d, b, DropNoSocket)
}

// sendReset answers a packet with a reset.
func (w *Worker) sendReset(h ipv4.Header, f tcp.Fields) {
	w.total.Counters[TCPOutRsts]++
	options, ok := w.answerTo(h.Bytes(), h.Len())
	if !ok {
		return
	}
	b := w.alloc()
	if b == nil {
		w.lack()
		return
	}
	room, err := b.Extend(tcp.HeaderLen)
	if err == nil {
		_, err = f.Put(room, h.Dst(), h.Src(), nil)
	}
	if err != nil {
		w.drop(nil, b, DropNoBuffer)
		return
	}
	out := outgoing{
		src: be32(h.Dst()), dst: be32(h.Src()), protocol: ipv4.ProtocolTCP, df: true, tos: h.TOS() & tosOfReset,
		ttl: w.st.global.DefaultTTL, options: options,
	}
	if w.trace != nil {
		w.note(Step{Stage: StageReset, Addr: AddrOf(out.dst)})
	}
	_ = w.originate(out, b) // what fails is dropped and counted there
}
