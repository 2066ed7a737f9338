package differ

// Captured packets as text, from the transport header on.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// ICMP types (IANA) that have more than a type and a code.
const (
	echoReply       = 0
	unreachable     = 3
	redirect        = 5
	echoRequest     = 8
	timeExceeded    = 11
	parameterFault  = 12
	timestamp       = 13
	timestampReply  = 14
	codeNeedToSplit = 4 // of unreachable: fragmentation needed, RFC 1191
)

// transport prints what an IP packet carries.
type transport struct {
	p         *printer
	src, dst  netip.Addr
	addresses []byte // src and dst as the header has them
	whole     bool   // the packet is there to its end, so that checksums can be checked
}

func (t transport) icmp(b []byte) {
	if len(b) < icmpLen {
		t.p.data("short-icmp", b)
		return
	}
	fields := []any{"type", b[0], "code", b[1]}
	if t.whole {
		fields = append(fields, "sum", rightOrWrong(sum(b, 0) == 0))
	}
	rest, body := b[4:icmpLen], b[icmpLen:]
	half := func(i int) uint16 { return binary.BigEndian.Uint16(rest[i:]) }
	switch b[0] {
	case echoRequest, echoReply, timestamp, timestampReply:
		asker := t.src
		if b[0] == echoReply || b[0] == timestampReply {
			asker = t.dst
		}
		t.p.layer("icmp", append(fields, "id", t.p.ids.name(fmt.Sprint(asker, half(0))), "seq", half(2))...)
		t.p.echoed(body)
	case unreachable, timeExceeded, parameterFault, redirect:
		switch {
		case b[0] == unreachable && b[1] == codeNeedToSplit:
			fields = append(fields, "unused", half(0), "mtu", half(2))
		case b[0] == parameterFault:
			fields = append(fields, "pointer", rest[0], "unused", fmt.Sprintf("%x", rest[1:]))
		case b[0] == redirect:
			fields = append(fields, "gateway", addr(rest))
		default:
			fields = append(fields, "unused", fmt.Sprintf("%x", rest))
		}
		t.p.layer("icmp", fields...)
		t.p.quote(body)
	default:
		t.p.layer("icmp", append(fields, "rest", fmt.Sprintf("%x", rest))...)
		t.p.data("data", body)
	}
}

// echoed prints the payload of an echo without the time that ping begins it with, of 16 bytes where there is room.
func (p *printer) echoed(b []byte) {
	const timeLen = 16
	if len(b) < timeLen {
		p.data("data", b)
		return
	}
	p.layer("time", "len", timeLen)
	p.data("data", b[timeLen:])
}

// quote prints the packet in an ICMP error. Its checksum may be partial too, and is summed over as it is by the error's.
func (p *printer) quote(b []byte) {
	b = bytes.Clone(b)
	completeIP(b)
	p.layer("quote", "len", len(b))
	defer func(before bool) { p.quoted = before }(p.quoted)
	p.quoted = true
	p.ip(b)
}

func (t transport) udp(b []byte) {
	if len(b) < udpLen {
		t.p.data("short-udp", b)
		return
	}
	src, dst := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	length := binary.BigEndian.Uint16(b[4:])
	isVXLAN := vxlanPorts[dst]
	fields := []any{"src", t.source(src, isVXLAN), "dst", t.destination(dst), "len", length}
	switch check := binary.BigEndian.Uint16(b[6:]); {
	case check == 0:
		fields = append(fields, "sum", "absent")
	case t.whole:
		fields = append(fields, "sum", rightOrWrong(sum(b, uint32(pseudoHeader(t.addresses, length))) == 0))
	default:
		fields = append(fields, "sum", "present")
	}
	t.p.layer("udp", fields...)
	body := b[udpLen:]
	if isVXLAN && len(body) >= vxlanLen {
		t.p.layer("vxlan", "flags", fmt.Sprintf("%x", body[:4]), "vni", binary.BigEndian.Uint32(body[4:])>>8,
			"reserved", fmt.Sprintf("%02x", body[7]))
		t.p.ethernet(body[vxlanLen:])
		return
	}
	t.p.data("data", body)
}

// source prints a source port: masked if it is ephemeral, that is in their range and no server's, see destination.
func (t transport) source(port uint16, isVXLAN bool) string {
	switch {
	case port < firstEphemeral || port > lastEphemeral || t.p.served[netip.AddrPortFrom(t.src, port)]:
		return fmt.Sprint(port)
	case isVXLAN:
		return "*"
	}
	return t.p.ports.name(fmt.Sprint(t.src, port))
}

// destination prints a destination port. One that was no source before was chosen by the script, as traceroute's are.
func (t transport) destination(port uint16) string {
	if name, ok := t.p.ports.known(fmt.Sprint(t.dst, port)); ok {
		return name
	}
	if !t.p.quoted {
		t.p.served[netip.AddrPortFrom(t.dst, port)] = true
	}
	return fmt.Sprint(port)
}
