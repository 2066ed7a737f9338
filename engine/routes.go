package engine

// Routes: 'ip route', with devices by name and the checks of fib_semantics.c.

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/culvert-net/culvert/route"
)

// Route is a route; see [route.Route] for the fields with the same names. Via, Dev and Onlink are the only next hop; NextHops, if
// there are several, instead. Dev may be left out if a connected route tells where Via is.
type Route struct {
	Prefix   netip.Prefix
	Type     route.Type // 0: route.Unicast
	Table    uint32     // 0: route.TableMain
	Metric   uint32
	Source   netip.Addr  // an address of the node
	Scope    route.Scope // 0: host for local routes, link for those without Via, else global, as iproute2 chooses
	Protocol uint8
	MTU      uint32
	Via      netip.Addr
	Dev      string
	Onlink   bool
	NextHops []NextHop
}

// NextHop is one of several next hops.
type NextHop struct {
	Via    netip.Addr
	Dev    string
	Weight uint16 // 1 to 256; 0: 1
	Onlink bool
	Dead   bool // out of use, since its device is down; set by Engine.Routes
}

// String returns r as 'ip route show' does.
func (r Route) String() string {
	t, names := r.plain(), map[uint32]string{}
	hops := r.hops()
	for i, h := range hops {
		index := uint32(i + 1)
		names[index] = h.Dev
		t.NextHops = append(t.NextHops, route.NextHop{Gateway: h.Via, Device: index, Weight: h.Weight, Onlink: h.Onlink})
	}
	return t.Format(func(i uint32) string { return names[i] })
}

// plain returns what does not depend on devices.
func (r *Route) plain() route.Route {
	return route.Route{
		Prefix: r.Prefix, Type: r.Type, Table: r.Table, Metric: r.Metric, Source: r.Source, Scope: r.Scope, Protocol: r.Protocol, MTU: r.MTU,
	}
}

// hops returns the next hops, however they were given.
func (r *Route) hops() []NextHop {
	if len(r.NextHops) > 0 {
		return r.NextHops
	}
	if r.Dev == "" && !r.Via.IsValid() {
		return nil
	}
	return []NextHop{{Via: r.Via, Dev: r.Dev, Onlink: r.Onlink}}
}

// protoBoot is who makes routes by hand (RTPROT_BOOT).
const protoBoot = 3

// AddRoute adds a route: 'ip route add'.
func (e *Engine) AddRoute(r Route) error { return e.putRoute("add", r, (*route.Table).Add) }

// ReplaceRoute adds a route, or replaces that with the same prefix, table and metric.
func (e *Engine) ReplaceRoute(r Route) error { return e.putRoute("replace", r, (*route.Table).Replace) }

// ChangeRoute changes a route.
func (e *Engine) ChangeRoute(r Route) error { return e.putRoute("change", r, (*route.Table).Change) }

// AppendRoute adds a route behind others with the same prefix, table and metric.
func (e *Engine) AppendRoute(r Route) error { return e.putRoute("append", r, (*route.Table).Append) }

// PrependRoute adds a route before others with the same prefix, table and metric.
func (e *Engine) PrependRoute(r Route) error { return e.putRoute("prepend", r, (*route.Table).Prepend) }

func (e *Engine) putRoute(what string, r Route, put func(*route.Table, route.Route) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, err := e.checkRoute(&r)
	if err != nil {
		return fmt.Errorf("engine: %s route %v: %w", what, r.Prefix, err)
	}
	e.tagged(&t, false)
	defer e.ends.settle()
	if err := put(e.routes, t); err != nil {
		return fmt.Errorf("engine: %w: %w", kindOf(err), err)
	}
	if len(e.asleep) > 0 && what != "append" {
		e.sleepless(t.Prefix.Masked())
	}
	return nil
}

// kindOf returns the engine's sentinel for a table's.
func kindOf(err error) error {
	for from, to := range map[error]error{
		route.ErrExists: ErrExists, route.ErrNotFound: ErrNotFound, route.ErrFull: ErrFull, route.ErrRoute: ErrInvalid,
	} {
		if errors.Is(err, from) {
			return to
		}
	}
	return ErrInvalid
}

// checkRoute returns the route as the table takes it, or everything that is wrong with it.
func (e *Engine) checkRoute(r *Route) (route.Route, error) {
	t := r.plain()
	if t.Type == 0 {
		t.Type = route.Unicast
	}
	if t.Protocol == 0 {
		t.Protocol = protoBoot
	}
	if len(r.NextHops) > 0 && (r.Dev != "" || r.Via.IsValid()) {
		return t, fmt.Errorf("field NextHops and Via or Dev exclude each other: %w", ErrInvalid)
	}
	var errs []error
	if r.Source.IsValid() && !e.state.Load().own.has(number(r.Source)) {
		errs = append(errs, fmt.Errorf("field Source is %v: want an address of the node: %w: %w", r.Source, ErrSource, ErrInvalid))
	}
	for _, h := range r.hops() {
		hop, err := e.checkHop(t.Type, &h)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.NextHops = append(t.NextHops, hop)
	}
	if len(errs) == 0 && len(t.NextHops) == 0 && (t.Type == route.Unicast || t.Type == route.Broadcast) {
		errs = append(errs, fmt.Errorf("field Dev is not set, nor Via: %w", ErrInvalid))
	}
	if t.Type == route.Local && len(t.NextHops) == 0 {
		t.NextHops = []route.NextHop{{Device: loopback}}
	}
	switch {
	case t.Scope != 0:
	case t.Type == route.Local:
		t.Scope = route.ScopeHost
	case t.Type == route.Broadcast, len(t.NextHops) > 0 && !t.NextHops[0].Gateway.IsValid() && t.Type == route.Unicast:
		t.Scope = route.ScopeLink
	}
	if t.Type == route.Local || t.Type == route.Broadcast {
		if t.Table == 0 {
			t.Table = route.TableLocal
		}
	}
	return t, errors.Join(errs...)
}

// checkHop checks a next hop: its device exists and is up, its gateway is on the device's link (fib_check_nh).
func (e *Engine) checkHop(kind route.Type, h *NextHop) (route.NextHop, error) {
	hop := route.NextHop{Gateway: h.Via, Weight: h.Weight, Onlink: h.Onlink}
	if h.Via.IsValid() && !h.Via.Is4() {
		return hop, fmt.Errorf("field Via is %v: want an IPv4 address: %w", h.Via, ErrInvalid)
	}
	var d *device
	if h.Dev != "" {
		i, ok := e.names[h.Dev]
		if !ok {
			return hop, fmt.Errorf("device of field Dev, %q: %w", h.Dev, ErrNotFound)
		}
		d = e.state.Load().devices[i]
	}
	if h.Via.IsValid() {
		path := e.routes.LookupAddr(h.Via)
		switch {
		case h.Onlink && d == nil:
			return hop, fmt.Errorf("field Onlink needs Dev: %w", ErrInvalid)
		case path != nil && path.Type() != route.Unicast:
			return hop, fmt.Errorf("field Via: %v is %v, and no next hop: %w: %w", h.Via, path.Type(), ErrGateway, ErrInvalid)
		case h.Onlink:
		case path == nil || path.Scope() != route.ScopeLink || d != nil && !leadsBy(path, d.index):
			return hop, fmt.Errorf("field Via: %v is not on a link: add an address in its subnet, or set Onlink: %w: %w", h.Via, ErrGateway, ErrInvalid)
		case d == nil:
			d = e.state.Load().device(path.NextHops()[0].Device)
		}
	}
	switch {
	case d == nil:
		return hop, fmt.Errorf("field Dev is not set: %w", ErrInvalid)
	case !d.up && kind == route.Unicast:
		return hop, fmt.Errorf("device %s of field Dev: %w (Network is down)", d.name, ErrDown)
	}
	hop.Device = d.index
	return hop, nil
}

func leadsBy(path *route.Path, device uint32) bool {
	return slices.ContainsFunc(path.NextHops(), func(hop route.NextHop) bool { return hop.Device == device })
}

// DeleteRoute removes the first route that fits what is set in r: 'ip route del'.
func (e *Engine) DeleteRoute(r Route) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := route.Match{Prefix: r.Prefix, Type: r.Type, Table: r.Table, Metric: r.Metric, Gateway: r.Via}
	if m.Table == 0 && (r.Type == route.Local || r.Type == route.Broadcast) {
		m.Table = route.TableLocal
	}
	if r.Dev != "" {
		d, err := e.find("delete route "+r.Prefix.String(), r.Dev)
		if err != nil {
			return err
		}
		m.Device = d.index
	}
	if _, err := e.routes.Delete(m); err != nil {
		return fmt.Errorf("engine: %w: %w", kindOf(err), err)
	}
	e.sleepless(r.Prefix.Masked())
	return nil
}

// Routes returns all routes, of the main and the local table, by prefix.
func (e *Engine) Routes() iter.Seq[Route] {
	return func(yield func(Route) bool) {
		e.mu.Lock()
		asleep := maps.Clone(e.asleep)
		e.mu.Unlock()
		s := e.state.Load()
		for r := range e.routes.All() {
			whole, sleeps := asleep[asleepKey{r.Prefix, r.Metric, r.Table}]
			if sleeps {
				r = whole
			}
			p := s.public(r)
			for i := range p.NextHops {
				d := s.device(r.NextHops[i].Device)
				p.NextHops[i].Dead = sleeps && (d == nil || !d.up)
			}
			if !yield(p) {
				return
			}
		}
	}
}

// public returns a route with names of devices.
func (s *state) public(r route.Route) Route {
	p := Route{
		Prefix: r.Prefix, Type: r.Type, Table: r.Table, Metric: r.Metric, Source: r.Source, Scope: r.Scope, Protocol: r.Protocol, MTU: r.MTU,
	}
	if len(r.NextHops) == 1 {
		h := r.NextHops[0]
		p.Via, p.Dev, p.Onlink = h.Gateway, s.device(h.Device).label(), h.Onlink
		return p
	}
	for _, h := range r.NextHops {
		p.NextHops = append(p.NextHops, NextHop{Via: h.Gateway, Dev: s.device(h.Device).label(), Weight: h.Weight, Onlink: h.Onlink})
	}
	return p
}

// SwapRoutes replaces all routes of the main table at one moment, but for those of addresses. If one is at fault, nothing changes.
func (e *Engine) SwapRoutes(routes iter.Seq[Route]) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer e.ends.settle()
	clear(e.asleep)
	var all []route.Route
	for r := range e.routes.All() {
		if r.Table == route.TableLocal || r.Protocol == protoKernel {
			e.tagged(&r, true)
			all = append(all, r)
		}
	}
	var errs []error
	for r := range routes {
		t, err := e.checkRoute(&r)
		if err != nil {
			if errs = append(errs, fmt.Errorf("engine: swap routes: %v: %w", r.Prefix, err)); len(errs) > 10 {
				break
			}
			continue
		}
		e.tagged(&t, true)
		all = append(all, t)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	err := e.routes.Swap(func(yield func(route.Route) bool) {
		for _, r := range all {
			if !yield(r) {
				return
			}
		}
	})
	if err != nil {
		return fmt.Errorf("engine: %w: %w", kindOf(err), err)
	}
	e.ends.swapped(all)
	return nil
}

// RouteQuery is what else matters to where a packet goes.
type RouteQuery struct {
	Device string // send by this device only
	Hash   uint32 // of the flow, to choose among several next hops
}

// RouteAnswer is where packets for an address go.
type RouteAnswer struct {
	Dst    netip.Addr
	Route  Route
	Via    netip.Addr // the next hop; zero: Dst itself
	Dev    string
	Source netip.Addr
	Local  bool
	MTU    int // of the path: a learned one, the route's, or the device's
	Cached bool
}

// String returns the answer as 'ip route get' does.
func (a RouteAnswer) String() string {
	var b strings.Builder
	if a.Local {
		b.WriteString("local ")
	}
	b.WriteString(a.Dst.String())
	if a.Via.IsValid() {
		fmt.Fprintf(&b, " via %v", a.Via)
	}
	fmt.Fprintf(&b, " dev %s", a.Dev)
	if a.Source.IsValid() {
		fmt.Fprintf(&b, " src %v", a.Source)
	}
	if a.Cached {
		fmt.Fprintf(&b, " mtu %d", a.MTU)
	}
	return b.String()
}

// GetRoute returns where packets of the node's own for dst go: 'ip route get'. It returns [ErrNoRoute] and its like where they
// cannot go.
func (e *Engine) GetRoute(dst netip.Addr, q RouteQuery) (RouteAnswer, error) {
	a := RouteAnswer{Dst: dst}
	if !dst.Is4() {
		return a, fmt.Errorf("engine: get route to %v: want an IPv4 address: %w", dst, ErrInvalid)
	}
	via := uint32(0)
	if q.Device != "" {
		d, err := e.named("get route to "+dst.String(), q.Device)
		if err != nil {
			return a, err
		}
		via = d.index
	}
	s := e.state.Load()
	path, hop, err := s.route(e, number(dst), via, q.Hash)
	if err != nil {
		return a, err
	}
	od := s.device(hop.Device)
	if a.Local = path != nil && path.Type() == route.Local; a.Local {
		od = s.device(loopback)
	}
	if od == nil {
		return a, ErrNoRoute
	}
	if x, err := e.routes.Get(dst, q.Hash); err == nil {
		a.Route = s.public(x.Route)
	}
	a.Via, a.Dev, a.Source, a.MTU = hop.Gateway, od.name, optional(s.sourceOf(path, hop, od, number(dst))), od.mtu
	if path != nil && path.MTU() != 0 {
		a.MTU = int(path.MTU())
	}
	if m := e.pmtus.Lookup(number(dst), e.now()); m != 0 && m < a.MTU {
		a.MTU, a.Cached = m, true
	}
	return a, nil
}

// FlushPathMTUs forgets all path MTUs that were learned from ICMP errors: 'ip route flush cache'.
func (e *Engine) FlushPathMTUs() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pmtus.Flush()
	e.publishState(e.edit())
}

// PathMTUExpires returns how long a learned path MTU to an address still holds, 0 if there is none.
func (e *Engine) PathMTUExpires(dst netip.Addr) time.Duration {
	for addr, entry := range e.pmtus.All() {
		if addr == number(dst) {
			return max(entry.Expires-e.now(), 0)
		}
	}
	return 0
}
