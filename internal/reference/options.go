package reference

// IPv4 options: who was passed, and when (RFC 791 section 3.1; net/ipv4/ip_options.c, measured on Linux 6.18).

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// Types of options (IANA), the copy bit included where RFC 791 has it.
const (
	optionEnd         = 0
	optionNop         = 1
	optionRecordRoute = 7
	optionTimestamp   = 68
	optionLooseRoute  = 131
	optionStrictRoute = 137
	optionRouterAlert = 148
)

// Kinds of timestamp options.
const (
	timeOnly      = 0
	timeAndSender = 1
	timeOfListed  = 3
)

// option is one of a list, but for no-operations and the end.
type option struct {
	at   int    // in the list
	data []byte // of the list, from the type on
}

func (o option) kind() byte { return o.data[0] }

// next is where the next node writes, from the option's type; RFC 791 counts from 1.
func (o option) next() int { return int(o.data[2]) - 1 }

// options returns those of a list, and where one is malformed; -1 if none is.
func options(list []byte) (all []option, fault int) {
	for at := 0; at < len(list); {
		switch {
		case list[at] == optionEnd:
			return all, -1
		case list[at] == optionNop:
			at++
		case at+1 >= len(list), list[at+1] < 2, at+int(list[at+1]) > len(list):
			return all, at
		default:
			n := int(list[at+1])
			all = append(all, option{at, list[at : at+n]})
			at += n
		}
	}
	return all, -1
}

// wipe zeroes what is behind the end of a list.
func wipe(list []byte) {
	all, fault := options(list)
	if fault >= 0 {
		return
	}
	end := 0
	for _, o := range all {
		end = o.at + len(o.data)
	}
	if i := slices.Index(list[end:], optionEnd); i >= 0 {
		clear(list[end+i:])
	}
}

// through is what a node does with the options of a packet that it has received (ip_options_compile). It returns where in the
// header something is wrong, 0 if nowhere, and whether there is a source route, which nobody follows by default.
func (n *Node) through(d *Device, p *ipPacket) (pointer int, sourceRoute bool) {
	p.options = slices.Clone(p.options)
	p.recorded = nil
	all, fault := options(p.options)
	had := map[byte]bool{}
	for _, o := range all {
		kind := o.kind()
		if kind == optionStrictRoute {
			kind = optionLooseRoute
		}
		wrong := -1
		switch kind {
		case optionRecordRoute, optionTimestamp, optionLooseRoute:
			if wrong = 0; !had[kind] {
				wrong = n.throughOne(d, p, o)
			}
		case optionRouterAlert:
			if len(o.data) < 4 {
				wrong = 1
			}
		}
		if wrong >= 0 {
			return ipLen + o.at + wrong, had[optionLooseRoute]
		}
		had[kind] = true
	}
	if fault >= 0 {
		return ipLen + fault, had[optionLooseRoute]
	}
	wipe(p.options)
	return 0, had[optionLooseRoute]
}

// throughOne is through for an option with a pointer; wrong is -1 if nothing is.
func (n *Node) throughOne(d *Device, p *ipPacket, o option) (wrong int) {
	least := map[byte]int{optionRecordRoute: 3, optionTimestamp: 4, optionLooseRoute: 3, optionStrictRoute: 3}[o.kind()]
	switch {
	case len(o.data) < least:
		return 1
	case o.next() < least:
		return 2
	case o.kind() == optionRecordRoute && o.next() < len(o.data):
		return n.throughRoute(d, p, o)
	case o.kind() == optionTimestamp && o.next() < len(o.data):
		return n.throughTime(d, p, o)
	case o.kind() == optionTimestamp && o.data[3]&15 != timeOfListed: // full
		if o.data[3]>>4 == 15 {
			return 3
		}
		o.data[3] += 16
	}
	return -1
}

func (n *Node) throughRoute(d *Device, p *ipPacket, o option) (wrong int) {
	room := o.data[o.next():]
	if len(room) < 4 {
		return 2
	}
	p.recorded = room[:4]
	copy(p.recorded, n.knownAs(d, *p).AsSlice())
	o.data[2] += 4
	return -1
}

func (n *Node) throughTime(d *Device, p *ipPacket, o option) (wrong int) {
	room, kind := o.data[o.next():], o.data[3]&15
	withAddress := kind == timeAndSender || kind == timeOfListed
	switch {
	case len(room) < 4, withAddress && len(room) < 8:
		return 2
	case kind == timeOnly:
		n.stamp(room)
		o.data[2] += 4
	case kind == timeAndSender:
		copy(room, n.knownAs(d, *p).AsSlice())
		n.stamp(room[4:])
		o.data[2] += 8
	case kind == timeOfListed && n.answersTo(room):
		n.stamp(room[4:])
		o.data[2] += 8
	}
	return -1
}

// stamp writes the time, which nobody knows to be that since midnight UT.
func (n *Node) stamp(room []byte) {
	binary.BigEndian.PutUint32(room, uint32((n.now%(24*time.Hour)).Milliseconds())|1<<31)
}

// answersTo is inet_addr_type of the address that b starts with: not another host's.
func (n *Node) answersTo(b []byte) bool {
	addr := netip.AddrFrom4([4]byte(b))
	r := n.lookup(addr)
	return thisNetwork.Contains(addr) || addr.IsMulticast() || addr == everybody || r != nil && (r.Type == Local || r.Type == Broadcast)
}

// knownAs returns by which address the sender of a packet knows the node (fib_compute_spec_dst).
func (n *Node) knownAs(d *Device, p ipPacket) netip.Addr {
	if n.isLocal(p.dst) {
		return p.dst
	}
	back := n.lookup(p.src)
	switch {
	case thisNetwork.Contains(p.src), back == nil, back.Type == Blackhole, back.Type == Unreachable, back.Type == Prohibit:
		return n.addressFor(d, p.src)
	case back.Type == Local && !back.Source.IsValid():
		return p.src
	}
	return n.sourceOf(back)
}

// recordOutput puts the address of the way out in the place of the other (ip_forward_options).
func (n *Node) recordOutput(p ipPacket, r *Route) {
	if p.recorded != nil {
		copy(p.recorded, n.sourceOf(r).AsSlice())
	}
}

// takeBack gives an answer to p the options of p, with room for its own entries (ip_options_echo), which sign fills. Those behind
// limit do not count. It reports whether there may be an answer.
func (n *Node) takeBack(answer *ipPacket, p ipPacket, limit int) bool {
	all, _ := options(p.options[:min(limit, len(p.options))])
	for _, kind := range []byte{optionRecordRoute, optionTimestamp} {
		i := slices.IndexFunc(all, func(o option) bool { return o.kind() == kind })
		if i < 0 {
			continue
		}
		least := map[byte]int{optionRecordRoute: 3, optionTimestamp: 4}[kind]
		o := option{at: len(answer.options), data: slices.Clone(all[i].data)}
		if len(o.data) < least || o.next() < least {
			continue
		}
		if o.next() < len(o.data) && !n.makeRoom(answer, o) {
			return false
		}
		answer.options = append(answer.options, o.data...)
	}
	for len(answer.options)%4 != 0 {
		answer.options = append(answer.options, optionEnd)
	}
	return true
}

// makeRoom moves an option's pointer behind the entry that an answer will have, and notes where that is.
func (n *Node) makeRoom(answer *ipPacket, o option) bool {
	at, room, kind := o.at+o.next(), len(o.data)-o.next(), byte(0)
	if o.kind() == optionTimestamp {
		kind = o.data[3] & 15
	}
	switch {
	case kind == timeOfListed && (room < 8 || !n.answersTo(o.data[o.next():])):
		return room >= 4
	case kind == timeOfListed:
		answer.stampAt = at + 4
		o.data[2] += 8
	case kind == timeAndSender:
		answer.senderAt = append(answer.senderAt, at)
		answer.stampAt = at + 4
		o.data[2] += 8
		return room >= 8
	case o.kind() == optionRecordRoute:
		answer.senderAt = append(answer.senderAt, at)
		o.data[2] += 4
		return room >= 4
	case kind == timeOnly:
		answer.stampAt = at
		o.data[2] += 4
		return room >= 4
	}
	return true
}

// sign writes what takeBack has left open, as the source is known (ip_options_build).
func (n *Node) sign(p ipPacket) {
	for _, at := range p.senderAt {
		copy(p.options[at:], p.src.AsSlice())
	}
	if p.stampAt != 0 {
		n.stamp(p.options[p.stampAt:])
	}
}
