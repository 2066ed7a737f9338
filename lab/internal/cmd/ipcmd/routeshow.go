package ipcmd

// ip route show and flush (print_route, filter_nlmsg in ip/iproute.c).

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/route"
)

// routeFilter says which routes are to be shown. What it selects by is not printed.
type routeFilter struct {
	table       uint32 // 0: all
	cloned      bool   // those of the cache, which is gone since Linux 3.6
	protocol    *uint8
	scope       *route.Scope
	kind        route.Type
	metric      *uint32
	dev         string
	none        bool    // by something that no route has
	root, match *prefix // at least, at most as long
	via, src    *prefix
}

var routeFilterTable = []keyword[*routeFilter]{
	{"table*", func(i *ip, f *routeFilter) error {
		v, err := i.value()
		if err != nil {
			return err
		}
		n, ok := tableNumber(v)
		switch {
		case ok:
			f.table = n
		case v == "all":
			f.table = 0
		case v == "cache":
			f.cloned = true
		default:
			return wrong(v, "table id value is invalid\n")
		}
		return nil
	}},
	{"vrf*", nil},
	{"cached*|cloned*", func(_ *ip, f *routeFilter) error { f.cloned = true; return nil }},
	{"tos|dsfield*", nil},
	{"protocol*", func(i *ip, f *routeFilter) error {
		v, err := i.value()
		if err != nil || v == "all" {
			return err
		}
		n, ok := protocolNames.parse(v)
		f.protocol = &n
		return orWrong(ok, v, "invalid \"protocol\"\n")
	}},
	{"scope*", func(i *ip, f *routeFilter) error {
		v, err := i.value()
		if err != nil || v == "all" {
			return err
		}
		n, ok := scopeNames.parse(v)
		scope := route.Scope(n)
		f.scope = &scope
		return orWrong(ok, v, "invalid \"scope\"\n")
	}},
	{"type*", func(i *ip, f *routeFilter) error {
		v, err := i.value()
		if err != nil {
			return err
		}
		t, ok, err := routeType(v)
		if err != nil {
			f.none = true
			return nil
		}
		f.kind = t
		return orWrong(ok, v, "node type value is invalid\n")
	}},
	{"dev|oif", text(func(f *routeFilter, v string) { f.dev = v })},
	{"iif", func(i *ip, f *routeFilter) error {
		f.none = true
		return skipValue(i, f)
	}},
	{"mark", nil},
	{"metric*|priority*|preference", func(i *ip, f *routeFilter) error {
		n, err := i.number(32, "\"metric\" value is invalid\n")
		metric := uint32(n)
		f.metric = &metric
		return err
	}},
	{"via", func(i *ip, f *routeFilter) error { return i.filterPrefix(&f.via) }},
	{"src", func(i *ip, f *routeFilter) error { return i.filterPrefix(&f.src) }},
	{"realms*", nil},
	{"from*", nil},
}

func (i *ip) filterPrefix(to **prefix) error {
	p, err := i.prefixValue(i.family)
	*to = &p
	return err
}

func (i *ip) readRouteFilter(f *routeFilter) error {
	f.table = route.TableMain
	err := each(i, routeFilterTable, f, func(word string) (err error) { return i.filterTo(f, word) })
	if err != nil || f.dev == "" {
		return err
	}
	dev := i.find(f.dev)
	if i.node.E.Index(dev) == 0 {
		return words.NoDevice(f.dev)
	}
	f.dev = dev
	return nil
}

// filterTo reads '[to] [root|match|exact] PREFIX'.
func (i *ip) filterTo(f *routeFilter, word string) (err error) {
	next := func() error {
		word, err = i.value()
		return err
	}
	if short(word, "to") {
		if next() != nil {
			return err
		}
	}
	how := ""
	for _, name := range []string{"root", "match", "exact"} {
		if short(word, name) {
			if how = name; next() != nil {
				return err
			}
			break
		}
	}
	p, err := parsePrefix(word, i.family)
	if how != "match" {
		f.root = &p
	}
	if how != "root" {
		f.match = &p
	}
	return err
}

// fits reports whether a route is to be shown.
func (f *routeFilter) fits(r *engine.Route) bool {
	switch {
	case f.none || f.cloned,
		f.table != 0 && f.table != r.Table,
		f.protocol != nil && *f.protocol != r.Protocol,
		f.scope != nil && *f.scope != r.Scope,
		f.kind != 0 && f.kind != r.Type,
		f.metric != nil && *f.metric != r.Metric,
		f.dev != "" && r.Dev != f.dev,
		f.root != nil && !f.root.everything() && !within(r.Prefix, f.root.Prefix),
		f.match != nil && !f.match.everything() && !within(f.match.Prefix, r.Prefix),
		f.via != nil && f.via.Bits() > 0 && !f.via.Masked().Contains(r.Via),
		f.src != nil && f.src.Bits() > 0 && !f.src.Masked().Contains(r.Source):
		return false
	}
	return true
}

// everything reports whether a prefix selects nothing in particular: 'any' and 'all', but not 'default'.
func (p *prefix) everything() bool { return p.any && !p.specified }

// routes returns those that a filter selects, in the order of the kernel: the main table before the local one, by address, the
// longer prefix first.
func (i *ip) routes(f *routeFilter) []engine.Route {
	var all []engine.Route
	if i.family == inet6 || i.family == link {
		return nil
	}
	for r := range i.node.E.Routes() {
		if f.fits(&r) {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b engine.Route) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()))
	})
	return all
}

func (i *ip) routeShow() error {
	f := &routeFilter{}
	if err := i.readRouteFilter(f); err != nil {
		return err
	}
	if f.table != 0 && f.table != route.TableMain && f.table != route.TableLocal {
		return words.Errorf(2, "Error: ipv4: FIB table does not exist.\nDump terminated")
	}
	for _, r := range i.routes(f) {
		i.printRoute(f, &r)
	}
	return nil
}

// printRoute prints a route.
func (i *ip) printRoute(f *routeFilter, r *engine.Route) {
	if r.Type != route.Unicast || i.details > 0 {
		i.p.Printf("%s ", r.Type)
	}
	i.p.Printf("%s ", destination(r.Prefix))
	if r.Via.IsValid() && (f.via == nil || f.via.Bits() != f.via.Addr().BitLen()) {
		i.p.Printf("via %s ", r.Via)
	}
	if r.Dev != "" && f.dev == "" {
		i.p.Printf("dev %s ", r.Dev)
	}
	if f.table == 0 && (r.Table != route.TableMain || i.details > 0) {
		i.p.Printf("table %s ", tableNames.name(r.Table))
	}
	const boot = 3
	if f.protocol == nil && (r.Protocol != boot || i.details > 0) {
		i.p.Printf("proto %s ", protocolNames.name(uint32(r.Protocol)))
	}
	if f.scope == nil && (r.Scope != route.ScopeGlobal || i.details > 0) {
		i.p.Printf("scope %s ", scopeNames.name(uint32(r.Scope)))
	}
	if r.Source.IsValid() && (f.src == nil || f.src.Bits() != f.src.Addr().BitLen()) {
		i.p.Printf("src %s ", r.Source)
	}
	if r.Metric != 0 && f.metric == nil {
		i.p.Printf("metric %d ", r.Metric)
	}
	i.marks(mark{"onlink", r.Onlink}, mark{"linkdown", i.allDown(r)})
	if r.MTU != 0 {
		i.p.Printf("mtu %d ", r.MTU)
	}
	for _, h := range r.NextHops {
		i.printNextHop(h)
	}
	i.p.Printf("\n")
}

func (i *ip) printNextHop(h engine.NextHop) {
	i.p.Printf("%s\tnexthop ", i.newline())
	if h.Via.IsValid() {
		i.p.Printf("via %s ", h.Via)
	}
	i.p.Printf("dev %s weight %d ", h.Dev, max(h.Weight, 1))
	i.marks(mark{"dead", h.Dead}, mark{"onlink", h.Onlink}, mark{"linkdown", h.Dead || i.linkDown(h.Dev)})
}

// allDown reports whether no next hop of a route has a carrier.
func (i *ip) allDown(r *engine.Route) bool {
	if len(r.NextHops) == 0 {
		return r.Type != route.Local && i.linkDown(r.Dev)
	}
	return !slices.ContainsFunc(r.NextHops, func(h engine.NextHop) bool { return !h.Dead && !i.linkDown(h.Dev) })
}

// linkDown reports whether a device is up without a carrier.
func (i *ip) linkDown(dev string) bool {
	l, ok := i.node.E.Link(dev)
	return ok && l.Up && !l.Carrier
}

// destination returns a prefix as text: 'default', an address alone, or with its length.
func destination(p netip.Prefix) string {
	switch {
	case p.Bits() == 0:
		return "default"
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.String()
}

func (i *ip) routeFlush() error {
	if !i.args.More() {
		return words.Errorf(1, `"ip route flush" requires arguments.`)
	}
	f := &routeFilter{}
	if err := i.readRouteFilter(f); err != nil {
		return err
	}
	if f.cloned {
		return i.flushCache()
	}
	round := 0
	for {
		all := i.routes(f)
		if len(all) == 0 {
			break
		}
		for _, r := range all {
			if i.stats > 1 {
				i.printRoute(f, &r)
			}
		}
		for _, r := range all {
			if err := i.deleteRoute(r); err != nil {
				return err
			}
		}
		if round++; i.stats > 0 {
			i.p.Printf("\n*** Round %d, deleting %d entries ***\n", round, len(all))
		}
	}
	i.flushed(round)
	return nil
}

// flushCache forgets what the node has learned of paths: their MTUs.
func (i *ip) flushCache() error {
	i.node.E.FlushPathMTUs()
	if i.stats > 0 {
		i.p.Printf("*** IPv4 routing cache is flushed.\n")
	}
	return nil
}
