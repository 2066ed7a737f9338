package traceroutecmd

// What is sent and received.

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/udp"
)

// send sends a probe.
func (t *trace) send(n int) error {
	b := &t.probes[n]
	b.sent, b.sentAt = true, t.p.Now()
	how := engine.Send{
		Dst: t.o.dst, Src: t.source, TTL: uint8(n/t.o.queries + 1), TOS: t.o.tos, DF: t.o.dontFragment, Device: t.o.device,
	}
	data := make([]byte, t.o.length-ipv4.HeaderLen-udp.HeaderLen) // an ICMP header has the same length
	for i := range data {
		data[i] = filler(i, t.o.echo)
	}
	err := t.transmit(b, how, data)
	switch {
	case errors.Is(err, engine.ErrMessageSize), errors.Is(err, engine.ErrUnreachable): // nobody will answer
		return nil
	case err != nil:
		return &sendError{"send", err}
	}
	return nil
}

// filler is a byte of a probe's data: letters, from where the message begins.
func filler(i int, echo bool) byte {
	if echo {
		i += icmp.HeaderLen
	}
	return byte(0x40 + i&0x3f)
}

func (t *trace) transmit(b *probe, how engine.Send, data []byte) error {
	if t.o.echo {
		b.seq = t.seq
		t.seq++
		how.Protocol = icmp.Protocol
		return t.p.Node.Send(how, icmp.Echo(t.icmp.EchoID(), b.seq).Append(nil, data))
	}
	sock, err := t.p.Node.ListenUDP(netip.AddrPortFrom(t.source, 0))
	if err != nil {
		return err
	}
	peer := netip.AddrPortFrom(t.o.dst, t.port)
	sock.Connect(peer)
	sock.OnReceive = t.arrived.Notify
	b.sock, b.seq = sock, t.port
	if !t.o.onePort {
		t.port++
	}
	return sock.SendUDP(peer, how, data)
}

// release closes a probe's socket.
func (b *probe) release() {
	if b.sock != nil {
		b.sock.Close()
		b.sock = nil
	}
}

// collect takes what has arrived, and reports whether there was something.
func (t *trace) collect() bool {
	found := false
	if t.icmp != nil {
		for {
			m, ok := t.icmp.Read()
			if !ok {
				return found
			}
			if b := t.bySeq(m); b != nil {
				b.take(m)
				found = true
			}
		}
	}
	for i := range t.probes {
		b := &t.probes[i]
		for b.sock != nil {
			m, ok := b.sock.Read()
			if !ok {
				break
			}
			b.take(m)
			found = true
		}
	}
	return found
}

// bySeq returns the probe that an ICMP message answers, nil if there is none.
func (t *trace) bySeq(m network.Message) *probe {
	var seq uint16
	if m.Error != nil {
		seq = m.Error.EchoSeq
	} else if h, _, err := icmp.Parse(m.Data); err == nil {
		seq = h.Seq()
	}
	for i := range t.probes {
		if b := &t.probes[i]; b.sent && !b.done && b.seq == seq {
			return b
		}
	}
	return nil
}

// take is a probe's answer.
func (b *probe) take(m network.Message) {
	if m.Error != nil && (m.Error.Type == icmp.TypeRedirect || m.Error.Type == icmp.TypeSourceQuench) {
		return
	}
	b.done, b.answered, b.at, b.from, b.ttl = true, true, m.At, m.Src, m.TTL
	b.final = true
	if m.Error != nil {
		b.note, b.final = note(m.Error)
	}
	b.release()
}

// notes are what stands behind the time, by the code of 'destination unreachable'.
var notes = [...]string{
	"!N", "!H", "!P", "", "!F-%d", "!S", "!N", "!H", "!N", "!X", "!X", "!N", "!H", "!X", "!V", "!C",
}

// note says what an ICMP error means, and whether it comes from the end of the way.
func note(e *network.ICMPError) (string, bool) {
	switch code := int(e.Code); {
	case e.Type == icmp.TypeTimeExceeded && e.Code == icmp.CodeTTLExceeded:
		return "", false
	case e.Type != icmp.TypeUnreachable:
		return fmt.Sprintf("!<%d-%d>", e.Type, code), true
	case code >= len(notes):
		return fmt.Sprintf("!<%d>", code), true
	case e.Code == icmp.CodeFragmentationNeeded:
		return fmt.Sprintf(notes[code], e.MTU), true
	default:
		return notes[code], true
	}
}
