package ipcmd

// ip route: add, change, replace, append, prepend, del (iproute_modify in ip/iproute.c).

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/route"
)

func (i *ip) route() error {
	return i.do("route", verbs{
		{Name: "add", Value: func(i *ip) error { return i.routePut(i.node.E.AddRoute) }},
		{Name: "change", Value: func(i *ip) error { return i.routePut(i.node.E.ChangeRoute) }},
		{Name: "chg", Value: func(i *ip) error { return i.routePut(i.node.E.ChangeRoute) }},
		{Name: "replace", Value: func(i *ip) error { return i.routePut(i.node.E.ReplaceRoute) }},
		{Name: "prepend", Value: func(i *ip) error { return i.routePut(i.node.E.PrependRoute) }},
		{Name: "append", Value: func(i *ip) error { return i.routePut(i.node.E.AppendRoute) }},
		{Name: "test"},
		{Name: "delete", Value: (*ip).routeDelete},
		{Name: "list", Value: (*ip).routeShow},
		{Name: "show", Value: (*ip).routeShow},
		{Name: "lst", Value: (*ip).routeShow},
		{Name: "get", Value: (*ip).routeGet},
		{Name: "flush", Value: (*ip).routeFlush},
		{Name: "save"},
		{Name: "restore"},
		{Name: "showdump"},
		{Name: "help", Value: func(*ip) error { return help(usageRoute) }},
	}, (*ip).routeShow)
}

// routeWords are what was said of a route.
type routeWords struct {
	engine.Route
	to       *prefix
	dev      string // as it was given
	typed    bool
	gateway  bool
	scoped   bool
	protocol *uint8
	nexthops bool
}

var routeTable = []keyword[*routeWords]{
	{"src", func(i *ip, r *routeWords) (err error) { r.Source, err = i.addressValue(i.family); return err }},
	{"as", nil},
	{"via", routeVia},
	{"from", nil},
	{"tos|dsfield*", nil},
	{"expires", nil}, // of IPv6
	{"metric*|priority*|preference", func(i *ip, r *routeWords) error {
		n, err := i.number(32, "\"metric\" value is invalid\n")
		r.Metric = uint32(n)
		return err
	}},
	{"scope", func(i *ip, r *routeWords) (err error) {
		r.Scope, err = i.scope()
		r.scoped = true
		return err
	}},
	{"mtu", routeMTU},
	{"hoplimit|advmss|reordering*|rtt|rto_min|window*|cwnd*|initcwnd*|initrwnd*|features*|quickack*|congctl*|rttvar*|ssthresh*", nil},
	{"realms*", nil},
	{"onlink", func(_ *ip, r *routeWords) error { r.Onlink = true; return nil }},
	{"nexthop", func(i *ip, r *routeWords) error {
		i.args.Back("nexthop")
		r.nexthops = true
		return i.readNextHops(r)
	}},
	{"nhid", nil},
	{"protocol*", func(i *ip, r *routeWords) error {
		v, err := i.value()
		if err != nil {
			return err
		}
		n, ok := protocolNames.parse(v)
		r.protocol = &n
		return orWrong(ok, v, "\"protocol\" value is invalid\n")
	}},
	{"table*", func(i *ip, r *routeWords) (err error) {
		r.Table, err = i.table("\"table\" value is invalid\n")
		return err
	}},
	{"vrf*", nil},
	{"dev|oif", text(func(r *routeWords, v string) { r.dev = v })},
	{"pref*", nil},
	{"encap|ttl-propagate|fastopen_no_cookie*", nil},
}

func routeVia(i *ip, r *routeWords) (err error) {
	if r.gateway {
		return wrong("via", "use nexthop syntax to specify multiple via\n")
	}
	r.gateway = true
	r.Via, err = i.via()
	return err
}

// via takes a gateway, with or without a family in front.
func (i *ip) via() (netip.Addr, error) {
	v, err := i.value()
	if err != nil {
		return netip.Addr{}, err
	}
	if f, ok := parseFamily(v); ok {
		if f != inet {
			return netip.Addr{}, unsupported("via " + v)
		}
		return i.addressValue(inet)
	}
	family := i.family
	if family == unspec {
		family = inet // that of the destination, which was read before; else it makes no difference
	}
	return address(v, family)
}

func (i *ip) scope() (route.Scope, error) {
	v, err := i.value()
	if err != nil {
		return 0, err
	}
	n, ok := scopeNames.parse(v)
	return route.Scope(n), orWrong(ok, v, "invalid \"scope\" value\n")
}

// table takes a table's name: those that there are without rules.
func (i *ip) table(what string) (uint32, error) {
	v, err := i.value()
	if err != nil {
		return 0, err
	}
	n, ok := tableNumber(v)
	switch {
	case !ok:
		return 0, wrong(v, what)
	case n != route.TableMain && n != route.TableLocal:
		return 0, unsupported("table " + v)
	}
	return n, nil
}

func tableNumber(s string) (uint32, bool) {
	for n, name := range tableNames {
		if name == s {
			return uint32(n), true
		}
	}
	n, ok := number(s, 32)
	return uint32(n), ok
}

func routeMTU(i *ip, r *routeWords) error {
	if i.args.Peek() == "lock" {
		return unsupported("mtu lock")
	}
	n, err := i.number(32, "\"mtu\" value is invalid\n")
	r.MTU = uint32(n)
	return err
}

// readNextHops reads 'nexthop …' up to the end.
func (i *ip) readNextHops(r *routeWords) error {
	for i.args.More() {
		if word := i.args.Next(); word != "nexthop" {
			return words.Errorf(255, `Error: "nexthop" or end of line is expected instead of "%s"`, word)
		}
		if !i.args.More() {
			return words.Errorf(255, `Error: unexpected end of line after "nexthop"`)
		}
		h, err := i.readNextHop()
		if err != nil {
			return err
		}
		r.NextHops = append(r.NextHops, h)
	}
	return nil
}

var nextHopTable = []keyword[*engine.NextHop]{
	{"via", func(i *ip, h *engine.NextHop) (err error) { h.Via, err = i.via(); return err }},
	{"dev", func(i *ip, h *engine.NextHop) error {
		v, err := i.value()
		if h.Dev = i.find(v); err == nil && i.node.E.Index(h.Dev) == 0 {
			i.p.Errorf("Cannot find device \"%s\"", v)
			return words.Errorf(255, "Error: cannot parse nexthop")
		}
		return err
	}},
	{"weight", func(i *ip, h *engine.NextHop) error {
		const most = 256
		v, err := i.value()
		if err != nil {
			return err
		}
		n, ok := number(v, 32)
		h.Weight = uint16(min(n, most))
		return orWrong(ok && n > 0 && n <= most, v, "\"weight\" is invalid\n")
	}},
	{"onlink", func(_ *ip, h *engine.NextHop) error { h.Onlink = true; return nil }},
	{"realms*|encap|as", nil},
}

func (i *ip) readNextHop() (h engine.NextHop, err error) {
	for i.args.More() {
		do, ok := lookup(nextHopTable, i.args.Peek())
		if !ok {
			break
		}
		i.args.Next()
		if err := do(i, &h); err != nil {
			return h, err
		}
	}
	return h, nil
}

// readRoute reads a route.
func (i *ip) readRoute(r *routeWords) error {
	err := each(i, routeTable, r, func(word string) error { return i.routeTo(r, word) })
	switch {
	case err != nil:
		return err
	case r.to == nil:
		return help(usageRoute)
	}
	r.Prefix = r.to.Prefix
	if r.dev == "" {
		return nil
	}
	if r.Dev = i.find(r.dev); i.node.E.Index(r.Dev) == 0 {
		return words.NoDevice(r.dev)
	}
	return nil
}

// routeTo reads '[to] [TYPE] PREFIX'.
func (i *ip) routeTo(r *routeWords, word string) (err error) {
	if word == "to" {
		if word, err = i.value(); err != nil {
			return err
		}
	}
	if t, ok, err := routeType(word); err != nil {
		return err
	} else if ok {
		r.Type, r.typed = t, true
		i.args.Last = word
		if word, err = i.value(); err != nil {
			return err
		}
	}
	if short(word, "help") {
		return help(usageRoute)
	}
	if r.to != nil {
		return garbage("to", word)
	}
	p, err := parsePrefix(word, i.family)
	r.to = &p
	return err
}

// routeType reads a route's type, and refuses those that the lab does not have.
func routeType(word string) (t route.Type, ok bool, err error) {
	switch word {
	case "throw", "nat", "multicast", "anycast", "xresolve":
		return 0, false, unsupported("type " + word)
	case "brd":
		word = "broadcast"
	}
	t, parse := route.ParseType(word)
	return t, parse == nil, nil
}

// complete fills in what follows from the words, as iproute2 and the kernel do.
func (r *routeWords) complete() error {
	local := r.Type == route.Local || r.Type == route.Broadcast
	if r.protocol != nil {
		r.Protocol = *r.protocol
	}
	if r.Prefix != r.Prefix.Masked() {
		return extack("Invalid prefix for given prefix length.")
	}
	if r.Table == 0 && local {
		r.Table = route.TableLocal
	}
	if r.Source.IsValid() && r.Source.IsUnspecified() {
		r.Source = netip.Addr{}
	}
	return nil
}

// hasGateway reports whether packets go to another router.
func (r *routeWords) hasGateway() bool {
	return r.Via.IsValid() || slices.ContainsFunc(r.NextHops, func(h engine.NextHop) bool { return h.Via.IsValid() })
}

// check refuses what the kernel refuses before it looks at the next hops (fib_create_info).
func (r *routeWords) check() error {
	drops := r.Type == route.Blackhole || r.Type == route.Unreachable || r.Type == route.Prohibit
	switch {
	case drops && (r.gateway || r.nexthops || r.Dev != ""):
		return extack("Gateway, device and multipath can not be specified for this route type.")
	case drops:
		return nil
	case r.Dev == "" && !r.gateway && !r.nexthops:
		return answers("No such device")
	case r.scoped && r.Scope >= route.ScopeLink && r.hasGateway():
		return extack("Nexthop has invalid gateway.")
	case r.scoped && r.Scope == route.ScopeGlobal && !r.hasGateway():
		return unsupported("scope global of a route without a gateway")
	case r.Onlink && r.Dev == "":
		return extack("Nexthop device required for onlink.")
	}
	return nil
}

// routePut reads a route and gives it to the engine's call.
func (i *ip) routePut(put func(engine.Route) error) error {
	r := &routeWords{}
	if err := i.readRoute(r); err != nil {
		return err
	}
	if err := r.complete(); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	return routeError(put(r.Route))
}

// routeError is the kernel's refusal of a route.
func routeError(err error) error {
	switch {
	case errors.Is(err, engine.ErrGateway):
		return extack("Nexthop has invalid gateway.")
	case errors.Is(err, engine.ErrSource):
		return extack("Invalid prefsrc address.")
	case errors.Is(err, engine.ErrDown):
		return extack("Device for nexthop is not up.")
	}
	return err
}

// routeDelete deletes the first route that has all that was said (fib_table_delete).
func (i *ip) routeDelete() error {
	r := &routeWords{}
	if err := i.readRoute(r); err != nil {
		return err
	}
	if err := r.complete(); err != nil {
		return err
	}
	if r.Table == 0 {
		r.Table = route.TableMain
	}
	for old := range i.node.E.Routes() {
		if r.means(&old) {
			return i.deleteRoute(old)
		}
	}
	return answers("No such process")
}

// deleteRoute deletes a route that the engine has shown. The engine takes the first that fits; routes that differ only in what it
// does not look at are put back behind it.
func (i *ip) deleteRoute(r engine.Route) error {
	var before []engine.Route
	for old := range i.node.E.Routes() {
		if old.Prefix != r.Prefix || old.Table != r.Table {
			continue
		}
		if sameRoute(&old, &r) {
			break
		}
		if old.Metric == r.Metric {
			before = append(before, old)
		}
	}
	if len(before) == 0 {
		return i.node.E.DeleteRoute(engine.Route{Prefix: r.Prefix, Table: r.Table, Type: r.Type, Metric: r.Metric})
	}
	return i.deleteBehind(r, len(before))
}

// deleteBehind deletes a route that has others with its prefix, table and metric before it.
func (i *ip) deleteBehind(r engine.Route, before int) error {
	var all []engine.Route
	for old := range i.node.E.Routes() {
		if old.Prefix == r.Prefix && old.Table == r.Table && old.Metric == r.Metric {
			all = append(all, old)
		}
	}
	for range all {
		if err := i.node.E.DeleteRoute(engine.Route{Prefix: r.Prefix, Table: r.Table, Metric: r.Metric}); err != nil {
			return err
		}
	}
	for n, old := range all {
		if n == before {
			continue
		}
		if err := i.node.E.AppendRoute(old); err != nil {
			return err
		}
	}
	return nil
}

func sameRoute(a, b *engine.Route) bool {
	return a.String() == b.String() && a.Type == b.Type && a.Metric == b.Metric && a.Table == b.Table
}

// means reports whether a route has what was said.
func (r *routeWords) means(old *engine.Route) bool {
	if old.Prefix != r.Prefix || old.Table != r.Table ||
		r.Type != 0 && old.Type != r.Type ||
		r.Metric != 0 && old.Metric != r.Metric ||
		r.scoped && old.Scope != r.Scope ||
		r.protocol != nil && old.Protocol != *r.protocol ||
		r.Source.IsValid() && old.Source != r.Source ||
		r.MTU != 0 && old.MTU != r.MTU {
		return false
	}
	if r.nexthops {
		return sameHops(r.NextHops, old.NextHops)
	}
	return (r.Dev == "" || leavesBy(old, r.Dev)) && (!r.Via.IsValid() || goesVia(old, r.Via))
}

func sameHops(asked, has []engine.NextHop) bool {
	if len(asked) != len(has) {
		return false
	}
	for n, h := range asked {
		if h.Dev != "" && h.Dev != has[n].Dev || h.Via.IsValid() && h.Via != has[n].Via {
			return false
		}
	}
	return true
}

func leavesBy(r *engine.Route, dev string) bool {
	for _, h := range r.NextHops {
		if h.Dev == dev {
			return true
		}
	}
	return r.Dev == dev
}

func goesVia(r *engine.Route, via netip.Addr) bool {
	for _, h := range r.NextHops {
		if h.Via == via {
			return true
		}
	}
	return r.Via == via
}
