package ipcmd

// ip route get (iproute_get in ip/iproute.c; inet_rtm_getroute in net/ipv4/route.c).

import (
	"hash/fnv"
	"net/netip"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/route"
)

// routeQuestion is what was asked.
type routeQuestion struct {
	to        netip.Addr
	from      netip.Addr
	iif, oif  string
	fibMatch  bool
	connected bool
	uid       uint64
	mark      uint64
}

var routeGetTable = []keyword[*routeQuestion]{
	{"tos|dsfield*", nil},
	{"from*", func(i *ip, q *routeQuestion) error {
		p, err := i.prefixValue(i.family)
		q.from = p.Addr()
		return err
	}},
	{"iif*", text(func(q *routeQuestion, v string) { q.iif = v })},
	{"mark*", func(i *ip, q *routeQuestion) (err error) {
		q.mark, err = i.number(32, "invalid mark value")
		return err
	}},
	{"oif*|dev", text(func(q *routeQuestion, v string) { q.oif = v })},
	{"notify*", skip[*routeQuestion]},
	{"connected*", func(_ *ip, q *routeQuestion) error { q.connected = true; return nil }},
	{"vrf*", nil},
	{"uid*", func(i *ip, q *routeQuestion) (err error) { q.uid, err = i.number(32, "invalid UID\n"); return err }},
	{"fibmatch*", func(_ *ip, q *routeQuestion) error { q.fibMatch = true; return nil }},
	{"as", nil},
	{"sport*", func(i *ip, _ *routeQuestion) error { _, err := i.number(16, "invalid sport\n"); return err }},
	{"dport*", func(i *ip, _ *routeQuestion) error { _, err := i.number(16, "invalid dport\n"); return err }},
	{"ipproto*", skipValue[*routeQuestion]},
}

func (i *ip) routeGet() error {
	q := &routeQuestion{}
	if err := each(i, routeGetTable, q, func(word string) error { return i.routeGetTo(q, word) }); err != nil {
		return err
	}
	if !q.to.IsValid() {
		return words.Errorf(1, "need at least a destination address")
	}
	for _, dev := range []*string{&q.iif, &q.oif} {
		name := i.find(*dev)
		if *dev != "" && i.node.E.Index(name) == 0 {
			return words.NoDevice(*dev)
		}
		*dev = name
	}
	if q.iif != "" {
		return i.getInput(q)
	}
	times := 1
	if q.connected && !q.from.IsValid() {
		times = 2 // iproute2 asks again as a connected socket would
	}
	for range times {
		if err := i.getOutput(q); err != nil {
			return err
		}
	}
	return nil
}

func (i *ip) routeGetTo(q *routeQuestion, word string) error {
	if word == "to" {
		v, err := i.value()
		if err != nil {
			return err
		}
		word = v
	}
	if short(word, "help") {
		return help(usageRoute)
	}
	p, err := parsePrefix(word, i.family)
	if err != nil {
		return err
	}
	if q.to = p.Addr(); p.Bits() != q.to.BitLen() {
		i.p.Errorf("Warning: /%d as prefix is invalid, only /32 (or none) is supported.", p.Bits())
	}
	return nil
}

// limited is the address of everybody on the link.
var limited = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// hash decides between several next hops (fib_multipath_hash, by the addresses).
func (q *routeQuestion) hash() uint32 {
	h := fnv.New64a()
	_, _ = h.Write(q.from.AsSlice())
	_, _ = h.Write(q.to.AsSlice())
	sum := h.Sum64()
	return uint32(sum>>32) ^ uint32(sum)*0x9e3779b1 // the upper bits decide, in which neighbouring addresses hardly differ
}

// getOutput answers for packets of the node's own.
func (i *ip) getOutput(q *routeQuestion) error {
	if q.from.IsValid() && !q.from.IsUnspecified() && !i.isOwn(q.from) {
		return answers("Network is unreachable")
	}
	if q.to.IsUnspecified() {
		return i.printAnswer(q, &answer{kind: route.Local, dev: "lo", src: netip.AddrFrom4([4]byte{127, 0, 0, 1}), table: route.TableLocal})
	}
	a, err := i.node.E.GetRoute(q.to, engine.RouteQuery{Device: q.oif, Hash: q.hash()})
	if err != nil && groupKind(q.to) != 0 {
		return i.getGroup(q, err)
	}
	if err != nil {
		return err
	}
	if q.fibMatch {
		i.printRoute(&routeFilter{table: a.Route.Table}, &a.Route)
		return nil
	}
	out := &answer{kind: a.Route.Type, via: a.Via, dev: a.Dev, src: a.Source, table: a.Route.Table, mtu: int(a.Route.MTU)}
	switch {
	case a.Route.Type == 0 || q.oif != "" && a.Dev != "lo" && !leavesBy(&a.Route, a.Dev):
		out.kind, out.table, out.mtu = route.Unicast, 0, 0 // straight to the device
	case a.Cached:
		out.mtu, out.cached = a.MTU, true
	}
	if group := groupKind(q.to); group != 0 { // the route tells no more than the device
		out = &answer{kind: group, dev: a.Dev, src: a.Source, table: out.table}
	}
	return i.printAnswer(q, out)
}

// groupKind returns the kind of an answer for a group, or for everybody on the link; 0 for other destinations.
func groupKind(to netip.Addr) route.Type {
	switch {
	case to.IsMulticast():
		return multicast
	case to == limited:
		return route.Broadcast
	}
	return 0
}

// allHosts is the group that every device has joined (RFC 1112).
var allHosts = netip.AddrFrom4([4]byte{224, 0, 0, 1})

// multicast is RTN_MULTICAST, which only answers have.
const multicast route.Type = 5

// getGroup answers for destinations that need no route: they leave by the device that was given, or the first that can.
func (i *ip) getGroup(q *routeQuestion, err error) error {
	if q.oif == "" && (q.to.IsMulticast() || !q.from.IsValid()) {
		return err
	}
	return i.printAnswer(q, &answer{kind: groupKind(q.to), dev: q.oif})
}

func (i *ip) isOwn(a netip.Addr) bool {
	for _, l := range i.node.E.Links() {
		for _, own := range i.node.E.Addrs(l.Name) {
			if own.Prefix.Addr() == a {
				return true
			}
		}
	}
	return false
}

// answer is where packets go.
type answer struct {
	kind   route.Type
	via    netip.Addr
	dev    string
	src    netip.Addr
	table  uint32
	mtu    int
	cached bool // the MTU was learned
	flags  string
}

// printAnswer prints an answer, as print_route does one of the cache.
func (i *ip) printAnswer(q *routeQuestion, a *answer) error {
	switch {
	case a.kind == multicast:
		i.p.Printf("multicast ")
	case a.kind != route.Unicast || i.details > 0:
		i.p.Printf("%s ", a.kind)
	}
	i.p.Printf("%s ", q.to)
	if q.from.IsValid() {
		i.p.Printf("from %s ", q.from)
	}
	if a.via.IsValid() {
		i.p.Printf("via %s ", a.via)
	}
	i.p.Printf("dev %s ", a.dev)
	if i.details > 0 && a.table != 0 {
		i.p.Printf("table %s ", tableNames.name(a.table))
	}
	if a.src.IsValid() && !q.from.IsValid() {
		i.p.Printf("src %s ", a.src)
	}
	if a.kind == multicast {
		i.p.Printf("rt_offload_failed ") // what iproute2 calls the bit of RTCF_MULTICAST
	}
	if q.mark != 0 {
		i.p.Printf(map[bool]string{true: "mark %#x ", false: "mark %d "}[q.mark >= 16], q.mark)
	}
	if q.iif == "" {
		i.p.Printf("uid %d ", q.uid)
	}
	i.p.Printf("%s    cache ", i.newline())
	if flags := a.cacheFlags(q.to); flags != "" {
		i.p.Printf("<%s> ", flags)
	}
	if a.cached {
		if left := i.node.E.PathMTUExpires(q.to); left > 0 {
			i.p.Printf("expires %dsec ", int(left.Seconds()))
		}
	}
	if a.mtu != 0 {
		i.p.Printf("mtu %d ", a.mtu)
	}
	if q.iif != "" {
		i.p.Printf("iif %s ", q.iif)
	}
	i.p.Printf("\n")
	return nil
}

func (a *answer) cacheFlags(to netip.Addr) string {
	switch {
	case to == allHosts:
		return "local,mc"
	case a.flags != "":
		return a.flags
	case a.kind == route.Local:
		return "local"
	case a.kind == route.Broadcast:
		return "local,brd"
	case a.kind == multicast:
		return "mc"
	}
	return ""
}

// getInput answers for packets that the node receives by a device: it asks the engine what would become of one.
func (i *ip) getInput(q *routeQuestion) error {
	if !q.from.IsValid() {
		q.from = netip.IPv4Unspecified()
	}
	const ttl, experimental = 64, 253 // a protocol that nobody speaks (RFC 3692)
	fields := ipv4.Fields{TTL: ttl, Protocol: experimental, Src: q.from.As4(), Dst: q.to.As4()}
	packet, err := fields.Append(nil, 0)
	if err != nil {
		return err
	}
	x, err := i.node.E.ExplainPacket(q.iif, packet, i.p.Now())
	if err != nil {
		return err
	}
	for _, s := range x.Steps {
		switch s.Stage {
		case engine.StageDrop:
			return inputRefusal(s.Reason)
		case engine.StageLocal:
			a := &answer{kind: route.Local, dev: "lo", table: route.TableLocal}
			if r, err := i.node.E.GetRoute(q.to, engine.RouteQuery{}); err == nil && r.Route.Type == route.Broadcast || q.to == limited {
				a.kind = route.Broadcast
			}
			return i.printAnswer(q, a)
		case engine.StageRoute:
			if s.Via == "" || s.Addr != q.to {
				continue // a drop follows, and perhaps an ICMP error before it
			}
			return i.printAnswer(q, i.forwarded(q, &s))
		}
	}
	return answers("Invalid argument")
}

// forwarded is the answer for a packet that goes on. A redirect belongs to it if its sender is on the link by which it leaves again
// (__mkroute_input).
func (i *ip) forwarded(q *routeQuestion, s *engine.Step) *answer {
	a := &answer{kind: route.Unicast, via: s.Gateway, dev: s.Via, mtu: s.MTU, table: route.TableMain}
	if c, err := i.node.E.Conf(s.Via); err == nil && c.SendRedirects && s.Via == q.iif {
		if from, err := i.node.E.GetRoute(q.from, engine.RouteQuery{}); err == nil && from.Dev == q.iif && !leadsOn(from.Via) {
			a.flags = "redirect"
		}
	}
	return a
}

// leadsOn reports whether a next hop is a gateway.
func leadsOn(via netip.Addr) bool { return via.IsValid() && !via.IsUnspecified() }

// inputRefusal is what the kernel says of a packet that it would drop.
func inputRefusal(why engine.Reason) error {
	switch why {
	case engine.DropNotForwarding, engine.DropUnreachable:
		return answers("No route to host")
	case engine.DropNoRoute:
		return answers("Network is unreachable")
	case engine.DropProhibited:
		return answers("Permission denied")
	}
	return answers("Invalid argument")
}
