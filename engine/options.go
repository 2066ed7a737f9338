package engine

// IPv4 options, as net/ipv4/ip_options.c has them: the route is recorded and the time stamped by every node that a packet passes
// or reaches (RFC 791 section 3.1, RFC 1122 section 3.2.1.8), and what answers a packet takes both back to its sender. Source
// routes are not followed; other options stay as they are.
//
// A packet's options are worked on when routing has decided about it, once. Both kinds have a pointer, counted in bytes from the
// option's type as 1, to where the next node writes.

import (
	"encoding/binary"
	"time"

	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
)

// Places in an option, from its type byte.
const (
	optionLen      = 1
	optionPointer  = 2
	timestampFlags = 3 // overflow in the upper half, kind in the lower

	minRoute    = 3 // bytes of a record route without room for an address; its pointer is larger
	minStamps   = 4 // of a timestamp option likewise
	alertLength = 4 // of router alert (RFC 2113)
)

// The kinds of timestamp options.
const (
	stampsAlone       = 0
	stampsAndSenders  = 1
	stampsOfTheListed = 3
)

const (
	addressLen   = 4
	stampLen     = 4
	overflowUnit = 0x10
	overflowFull = 0xf

	// notUniversal marks a timestamp that does not count from midnight UT (RFC 791 section 3.1).
	notUniversal = 1 << 31

	day = 24 * time.Hour
)

// sound is what the check of an option returns if there is nothing wrong with it; else it returns at which of its bytes.
const sound = -1

// optionState is what a worker keeps about the options of the packet in hand.
type optionState struct {
	slot   int // where in its header record route has got an address; 0: nowhere
	answer answerOptions
}

// ipOptions works on the options of a packet that a device has received (ip_options_compile), and reports whether it goes on. It
// is dropped otherwise, and its sender told what is wrong. What errors quote has the options as they are by then; the checksum
// with them, unlike Linux's, is right.
func (w *Worker) ipOptions(d *device, b *packet.Buffer) bool {
	p := b.Bytes()
	x := passage{w: w, d: d, header: p[:int(p[0]&0xf)*4]}
	fault := x.walk()
	w.options.slot = x.slot
	x.sum()
	switch {
	case fault != 0:
		w.icmpError(b, icmp.ParameterProblem(uint8(fault)))
		w.ipRefuse(d, b, IPInHdrErrors, DropIPOptions)
		return false
	case x.sourced:
		w.ipRefuse(d, b, IPInAddrErrors, DropSourceRoute)
		return false
	}
	return true
}

// passage is a packet's way through the node, as far as its options say it.
type passage struct {
	w       *Worker
	d       *device // that the packet came by
	header  []byte
	slot    int // see optionState
	changed bool

	routed, stamped, sourced bool // there was an option of that kind
}

// walk works on one option after the other. It returns where in the header the first fault is, 0 if there is none.
func (x *passage) walk() (fault int) {
	for at := ipv4.HeaderLen; at < len(x.header); {
		o := x.header[at:]
		switch o[0] {
		case ipv4.OptionEnd:
			x.wipe(o)
			return 0
		case ipv4.OptionNop:
			at++
			continue
		}
		if len(o) <= optionLen || o[optionLen] < 2 || int(o[optionLen]) > len(o) {
			return at
		}
		o = o[:o[optionLen]]
		if wrong := x.option(o, at); wrong != sound {
			return at + wrong
		}
		at += len(o)
	}
	return 0
}

// wipe zeroes what follows the end of the list.
func (x *passage) wipe(o []byte) {
	for i := range o {
		x.changed = x.changed || o[i] != ipv4.OptionEnd
		o[i] = ipv4.OptionEnd
	}
}

// sum makes the checksum right again.
func (x *passage) sum() {
	if !x.changed {
		return
	}
	if h, _, _ := ipv4.Parse(x.header); h.IsValid() { // with ipv4.ErrTruncated: the payload is left out
		h.FixChecksum()
	}
}

func (x *passage) option(o []byte, at int) (wrong int) {
	switch o[0] {
	case ipv4.OptionRecordRoute:
		return x.recordRoute(o, at)
	case ipv4.OptionTimestamp:
		return x.timestamp(o)
	case ipv4.OptionLooseRoute, ipv4.OptionStrictRoute:
		wrong = pointerFault(o, minRoute)
		if wrong == sound && x.sourced {
			return 0
		}
		x.sourced = true
		return wrong
	case ipv4.OptionRouterAlert:
		if len(o) < alertLength {
			return optionLen
		}
	}
	return sound
}

// pointerFault returns what is wrong with an option of at least so many bytes, whose pointer is to be larger.
func pointerFault(o []byte, least int) (wrong int) {
	switch {
	case len(o) < least:
		return optionLen
	case int(o[optionPointer]) <= least:
		return optionPointer
	}
	return sound
}

// recordRoute writes down by which address the sender knows the node; forward replaces it by that of the device it leaves by.
func (x *passage) recordRoute(o []byte, at int) (wrong int) {
	if x.routed {
		return 0
	}
	if wrong = pointerFault(o, minRoute); wrong != sound {
		return wrong
	}
	x.routed = true
	next := int(o[optionPointer]) - 1
	switch {
	case next >= len(o): // full
		return sound
	case next+addressLen > len(o):
		return optionPointer
	}
	binary.BigEndian.PutUint32(o[next:], x.address())
	o[optionPointer] += addressLen
	x.slot, x.changed = at+next, true
	return sound
}

// timestamp writes down the time, with an address if wanted, or only if the address that is there is the node's.
func (x *passage) timestamp(o []byte) (wrong int) {
	if x.stamped {
		return 0
	}
	if wrong = pointerFault(o, minStamps); wrong != sound {
		return wrong
	}
	x.stamped = true
	next, kind := int(o[optionPointer])-1, o[timestampFlags]&0xf
	if next >= len(o) {
		return x.overflow(o, kind)
	}
	length := entryLen(kind)
	if next+length > len(o) {
		return optionPointer
	}
	switch kind {
	case stampsAlone:
	case stampsAndSenders:
		binary.BigEndian.PutUint32(o[next:], x.address())
	case stampsOfTheListed:
		if !x.w.isLocal(binary.BigEndian.Uint32(o[next:])) {
			return sound
		}
	default:
		return sound
	}
	binary.BigEndian.PutUint32(o[next+length-stampLen:], x.w.timestamp())
	o[optionPointer] += uint8(length)
	x.changed = true
	return sound
}

// entryLen returns how many bytes a node fills in a timestamp option.
func entryLen(kind uint8) int {
	if kind == stampsAndSenders || kind == stampsOfTheListed {
		return addressLen + stampLen
	}
	return stampLen
}

// overflow counts a node that has found no room for its timestamp.
func (x *passage) overflow(o []byte, kind uint8) (wrong int) {
	switch {
	case kind == stampsOfTheListed:
		return sound
	case o[timestampFlags]>>4 == overflowFull:
		return timestampFlags
	}
	o[timestampFlags] += overflowUnit
	x.changed = true
	return sound
}

// address returns the node's address as the sender sees it (fib_compute_spec_dst): the packet's destination if that is the node's,
// else what an answer would come from.
func (x *passage) address() uint32 {
	src, dst := binary.BigEndian.Uint32(x.header[12:]), binary.BigEndian.Uint32(x.header[16:])
	s := x.w.st
	if path := x.w.e.routes.Lookup(dst); path != nil && path.Type() == route.Local {
		return dst
	}
	if isZeroNet(src) {
		return s.sourceFor(x.d, src, route.ScopeLink)
	}
	path, hop, err := s.route(x.w.e, src, 0, 0)
	if od := s.device(hop.Device); err == nil && od != nil {
		return s.sourceOf(path, hop, od, src)
	}
	return s.sourceFor(x.d, src, route.ScopeGlobal)
}

// isLocal reports whether the node answers to an address: its own, a broadcast address, a group's (inet_addr_type).
func (w *Worker) isLocal(a uint32) bool {
	if isZeroNet(a) || isMulticast(a) || a == limitedBroadcast {
		return true
	}
	path := w.e.routes.Lookup(a)
	return path != nil && (path.Type() == route.Local || path.Type() == route.Broadcast)
}

// timestamp returns the time in milliseconds, see Config.TimeOfDay.
func (w *Worker) timestamp() uint32 {
	at := w.e.config.TimeOfDay
	ms := uint32(((w.now+at)%day + day) % day / time.Millisecond)
	if at == 0 {
		ms |= notUniversal
	}
	return ms
}

// recordWay puts the address of the device that a packet leaves by where ipOptions has recorded another (ip_forward_options). h is
// the packet in hand.
func (w *Worker) recordWay(od *device, next uint32, p []byte) {
	if w.options.slot == 0 {
		return
	}
	h, _, _ := ipv4.Parse(p)
	slot := w.options.slot
	w.options.slot = 0
	if slot+addressLen > h.Len() {
		return
	}
	dst := be32(h.Dst())
	address := w.st.sourceFor(od, next, route.ScopeGlobal)
	if path := w.e.routes.Lookup(dst); path != nil {
		address = w.st.sourceOf(path, route.NextHop{Gateway: AddrOf(next), Device: od.index}, od, dst)
	}
	binary.BigEndian.PutUint32(p[slot:], address)
	h.FixChecksum()
}

// recordFailure works on the options of a packet once more whose next hop has not answered, before its sender is told
// (ipv4_send_dest_unreach). It reports whether the sender is to be told.
func (w *Worker) recordFailure(d *device, p []byte) bool {
	if d == nil {
		d = w.st.device(loopback) // it was removed meanwhile
	}
	x := passage{w: w, d: d, header: p[:int(p[0]&0xf)*4]}
	fault := x.walk()
	x.sum()
	return fault == 0
}

// answerOptions are the options of a packet that answers another: its record route and its timestamps, with room taken for the
// answer's own entries.
type answerOptions struct {
	list [ipv4.MaxHeaderLen - ipv4.HeaderLen]byte
	n    int

	// Where the answer's source belongs, and the time; 0: nowhere.
	route, sender, stamp int
}

// answerTo prepares the options of an answer to the packet p (__ip_options_echo); those behind the first limit bytes do not count.
// It reports whether p may be answered: Linux does not if there is room for some of an entry but not for all of it.
func (w *Worker) answerTo(p []byte, limit int) (*answerOptions, bool) {
	if p[0] == 4<<4|ipv4.HeaderLen/4 {
		return nil, true
	}
	a := &w.options.answer
	*a = answerOptions{}
	routes, stamps := answered(p[ipv4.HeaderLen:min(int(p[0]&0xf)*4, limit, len(p))])
	if !a.takeRoute(routes) || !a.takeStamps(w, stamps) {
		return nil, false
	}
	a.n = (a.n + 3) &^ 3
	return a, true
}

// answered returns the options of a list that go back to the sender.
func answered(list ipv4.Options) (routes, stamps []byte) {
	for len(list) > 0 {
		option, rest, err := list.Next()
		whole := list[:len(list)-len(rest)]
		switch {
		case err != nil:
			return routes, stamps
		case option.Type == ipv4.OptionRecordRoute && routes == nil && pointerFault(whole, minRoute) == sound:
			routes = whole
		case option.Type == ipv4.OptionTimestamp && stamps == nil && pointerFault(whole, minStamps) == sound:
			stamps = whole
		}
		list = rest
	}
	return routes, stamps
}

// take adds an option, and returns where it is.
func (a *answerOptions) take(o []byte) (at int) {
	at = a.n
	a.n += copy(a.list[at:], o)
	return at
}

func (a *answerOptions) takeRoute(o []byte) bool {
	at := a.take(o)
	if o == nil || int(o[optionPointer]) > len(o) {
		return true
	}
	next := int(o[optionPointer]) - 1
	if next+addressLen > len(o) {
		return false
	}
	a.route = at + next
	a.list[at+optionPointer] += addressLen
	return true
}

func (a *answerOptions) takeStamps(w *Worker, o []byte) bool {
	at := a.take(o)
	if o == nil || int(o[optionPointer]) > len(o) {
		return true
	}
	next, kind := int(o[optionPointer])-1, o[timestampFlags]&0xf
	length := entryLen(kind)
	fits := next+length <= len(o)
	switch kind {
	case stampsAlone:
	case stampsAndSenders:
		a.sender = at + next
	case stampsOfTheListed:
		if !fits || !w.isLocal(binary.BigEndian.Uint32(o[next:])) {
			return next+stampLen <= len(o)
		}
	default:
		return true
	}
	a.stamp = at + next + length - stampLen
	a.list[at+optionPointer] += uint8(length)
	return fits
}

// from completes the options with the answer's source and the time (ip_options_build); there may be none.
func (a *answerOptions) from(src uint32, w *Worker) []byte {
	if a == nil {
		return nil
	}
	for _, at := range [...]int{a.route, a.sender} {
		if at != 0 {
			binary.BigEndian.PutUint32(a.list[at:], src)
		}
	}
	if a.stamp != 0 {
		binary.BigEndian.PutUint32(a.list[a.stamp:], w.timestamp())
	}
	return a.list[:a.n]
}

// len returns how many bytes the options are.
func (a *answerOptions) len() int {
	if a == nil {
		return 0
	}
	return a.n
}
