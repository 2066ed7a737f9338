package takeapart

// Why a rebuilt tunnel is not what was captured: what in the outer headers is not the tunnel's own doing, or not what Linux
// does.

import (
	"fmt"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ipv4"
)

// why names the first thing by which rebuilt differs from original, the bytes of level l.
func why(l *dissect.Level, kind tunnelKind, original, rebuilt []byte) reason {
	if r, ok := behind(l, kind, original); ok {
		return r
	}
	ip := l.IPv4
	if n := len(ip.Options()); n > 0 {
		return reason{"outer IPv4 options", fmt.Sprintf("%d bytes, a tunnel adds none", n)}
	}
	again, _, err := ipv4.Parse(rebuilt[min(l.Ethernet.Len(), len(rebuilt)):])
	if err != nil {
		return reason{"rebuilt packet is broken", err.Error()}
	}
	switch {
	case ip.ECN() != again.ECN():
		return reason{"congestion mark", fmt.Sprintf("outer %s, where Linux sends %s", ecnName(ip.ECN()), ecnName(again.ECN()))}
	case ip.Flags() != again.Flags():
		return reason{"outer fragment flags", fmt.Sprintf("%03b, where Linux sends %03b", ip.Flags(), again.Flags())}
	case ip.TTL() != again.TTL():
		return reason{"outer time to live", fmt.Sprintf("%d, where Linux sends %d", ip.TTL(), again.TTL())}
	}
	return firstDifference(original, rebuilt)
}

// behind looks for bytes that no header's length covers: a tunnel adds none, and its far end cuts them off.
func behind(l *dissect.Level, kind tunnelKind, original []byte) (reason, bool) {
	ip := l.IPv4
	if n := len(original) - l.Ethernet.Len() - int(ip.TotalLen()); n > 0 {
		return reason{"padding behind the outer packet", fmt.Sprintf("%d bytes", n)}, true
	}
	if kind == tunnelVXLAN {
		if n := int(ip.TotalLen()) - ip.Len() - int(l.UDP.Length()); n > 0 {
			return reason{"bytes behind the UDP datagram", fmt.Sprintf("%d of them", n)}, true
		}
		return reason{}, false
	}
	inner, payload, err := ipv4.Parse(l.Payload)
	if err != nil {
		return reason{}, false
	}
	if n := len(l.Payload) - inner.Len() - len(payload); n > 0 {
		return reason{"bytes behind the inner packet", fmt.Sprintf("%d of them", n)}, true
	}
	return reason{}, false
}

func firstDifference(a, b []byte) reason {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return reason{"bytes differ", fmt.Sprintf("the first is byte %d, captured %#02x, rebuilt %#02x", i, a[i], b[i])}
		}
	}
	return reason{"lengths differ", fmt.Sprintf("captured %d bytes, rebuilt %d", len(a), len(b))}
}

func ecnName(e ipv4.ECN) string {
	return [...]string{ipv4.NotECT: "none", ipv4.ECT0: "ECT(0)", ipv4.ECT1: "ECT(1)", ipv4.CE: "CE"}[e&3]
}
