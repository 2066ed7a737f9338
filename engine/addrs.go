package engine

// Addresses, and the routes that follow from them (net/ipv4/devinet.c, fib_frontend.c).

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/culvert-net/culvert/route"
)

// protoKernel is who makes the routes of addresses (RTPROT_KERNEL).
const protoKernel = 2

// AddAddr gives a device an address: 'ip addr add'. The address itself becomes a local route, and while the device is up its
// subnet a connected one, and the broadcast address another.
func (e *Engine) AddAddr(dev string, a Addr) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.find("add address", dev)
	if err != nil {
		return err
	}
	if err := a.check(d); err != nil {
		return err
	}
	a.Secondary = false
	for i := range d.addrs {
		switch o := &d.addrs[i]; {
		case o.subnet() != a.subnet():
		case o.Prefix.Addr() == a.Prefix.Addr():
			return fmt.Errorf("engine: add address %v to %s: %w", a.Prefix, dev, ErrExists)
		case o.Scope != a.Scope:
			return fmt.Errorf("engine: add address to %s: Addr.Scope is %v, but that of %v in the same subnet is %v: %w: %w",
				dev, a.Scope, o.Prefix, o.Scope, ErrScope, ErrInvalid)
		default:
			a.Secondary = true
		}
	}
	_ = e.change(d, func(d *device) { d.addrs = slices.Insert(slices.Clone(d.addrs), a.place(d.addrs), a) })
	for _, r := range a.routes(d) {
		if r.Type == route.Local || d.up {
			_ = e.routes.Append(r) // may be there by another address
		}
	}
	return nil
}

// place returns where among others the address belongs: primary ones by falling scope, then the others (__inet_insert_ifa).
func (a *Addr) place(others []Addr) int {
	if a.Secondary {
		return len(others)
	}
	at := 0
	for i := range others {
		if o := &others[i]; !o.Secondary && o.Scope >= a.Scope {
			at = i + 1
		}
	}
	return at
}

func (a *Addr) check(d *device) error {
	switch {
	case !a.Prefix.IsValid() || !a.Prefix.Addr().Is4():
		return fmt.Errorf("engine: add address to %s: Addr.Prefix is %v: want an IPv4 address with its length: %w", d.name, a.Prefix, ErrInvalid)
	case a.Prefix.Addr().IsMulticast() || a.Prefix.Addr().IsUnspecified() || number(a.Prefix.Addr()) == limitedBroadcast:
		return fmt.Errorf("engine: add address to %s: Addr.Prefix is %v: want the address of one host: %w", d.name, a.Prefix, ErrInvalid)
	case a.Peer.IsValid() && !a.Peer.Addr().Is4():
		return fmt.Errorf("engine: add address to %s: Addr.Peer is %v: want IPv4: %w", d.name, a.Peer, ErrInvalid)
	case a.Broadcast.IsValid() && !a.Broadcast.Is4():
		return fmt.Errorf("engine: add address to %s: Addr.Broadcast is %v: want IPv4: %w", d.name, a.Broadcast, ErrInvalid)
	}
	return nil
}

// routes returns the routes that follow from an address (fib_add_ifaddr).
func (a *Addr) routes(d *device) []route.Route {
	host := a.Prefix.Addr()
	base := route.Route{Protocol: protoKernel, Source: d.primary(a)}
	local := base
	local.Prefix, local.Type, local.Table, local.Scope = netip.PrefixFrom(host, 32), route.Local, route.TableLocal, route.ScopeHost
	local.NextHops = []route.NextHop{{Device: d.index}}
	all := []route.Route{local}
	toAll := func(addr netip.Addr) {
		if addr.IsValid() && addr != host {
			r := local
			r.Prefix, r.Type, r.Scope = netip.PrefixFrom(addr, 32), route.Broadcast, route.ScopeLink
			all = append(all, r)
		}
	}
	toAll(a.Broadcast)
	subnet := a.subnet()
	if a.Secondary || isZeroNet(number(subnet.Addr())) || subnet.Bits() == 32 && subnet.Addr() == host {
		return all
	}
	if subnet.Bits() < 31 {
		toAll(lastAddr(subnet))
	}
	if !a.NoPrefixRoute {
		r := base
		r.Prefix, r.Scope, r.NextHops, r.Metric = subnet, route.ScopeLink, local.NextHops, a.Metric
		if d.kind == KindLoopback {
			r.Type, r.Table, r.Scope = route.Local, route.TableLocal, route.ScopeHost
		}
		all = append(all, r)
	}
	return all
}

// primary returns the primary address of an address's subnet.
func (d *device) primary(a *Addr) netip.Addr {
	for i := range d.addrs {
		if o := &d.addrs[i]; a.Secondary && !o.Secondary && o.subnet() == a.subnet() {
			return o.Prefix.Addr()
		}
	}
	return a.Prefix.Addr()
}

// lastAddr returns the last address of a subnet: its broadcast address.
func lastAddr(p netip.Prefix) netip.Addr { return AddrOf(number(p.Addr()) | (1<<(32-p.Bits()) - 1)) }

// DeleteAddr takes an address from a device, and with the first of a subnet its secondary ones: 'ip addr del'.
func (e *Engine) DeleteAddr(dev string, p netip.Prefix) error {
	if err := e.DeleteAddrFunc(dev, func(a Addr) bool { return a.Prefix == p }); err != nil {
		return fmt.Errorf("%w: %v", err, p)
	}
	return nil
}

// DeleteAddrFunc is DeleteAddr of the first address for which match is true.
func (e *Engine) DeleteAddrFunc(dev string, match func(Addr) bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.find("delete address", dev)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(d.addrs, match)
	if i < 0 {
		return fmt.Errorf("engine: delete address from %s: %w", dev, ErrNotFound)
	}
	gone := []Addr{d.addrs[i]}
	if !gone[0].Secondary {
		for _, a := range d.addrs {
			if a.Secondary && a.subnet() == gone[0].subnet() {
				gone = append(gone, a)
			}
		}
	}
	e.removeAddrs(d, gone)
	return nil
}

// FlushAddrs takes all addresses from a device.
func (e *Engine) FlushAddrs(dev string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.find("flush addresses", dev)
	if err != nil {
		return err
	}
	e.removeAddrs(d, slices.Clone(d.addrs))
	return nil
}

// removeAddrs removes addresses, their routes, and those that named them as source (fib_sync_down_addr).
func (e *Engine) removeAddrs(d *device, gone []Addr) {
	_ = e.change(d, func(d *device) {
		d.addrs = slices.DeleteFunc(slices.Clone(d.addrs), func(a Addr) bool { return slices.Contains(gone, a) })
	})
	kept := map[netip.Prefix]bool{}
	for _, o := range e.state.Load().devices {
		if o == nil {
			continue
		}
		for _, a := range o.addrs {
			for _, r := range a.routes(o) {
				kept[r.Prefix] = kept[r.Prefix] || o.index == d.index || r.Type == route.Local
			}
		}
	}
	for _, a := range gone {
		for _, r := range a.routes(d) {
			if !kept[r.Prefix] {
				_, _ = e.routes.Delete(route.Match{Prefix: r.Prefix, Type: r.Type, Table: r.Table, Device: d.index})
			}
		}
		if host := a.Prefix.Addr(); !e.state.Load().own.has(number(host)) {
			e.routes.Remove(func(_ netip.Prefix, p *route.Path) bool { return p.Source() == host && p.Type() != route.Local })
		}
	}
}

// Addrs returns the addresses of a device, nil if there is none of that name.
func (e *Engine) Addrs(dev string) []Addr {
	d, err := e.named("addresses", dev)
	if err != nil {
		return nil
	}
	return slices.Clone(d.addrs)
}

// routesUp makes the routes of a device's addresses, which is up now (fib_add_ifaddr), and wakes next hops of routes that have
// others (fib_sync_up); e.mu is held.
func (e *Engine) routesUp(d *device) {
	for i := range d.addrs {
		for _, r := range d.addrs[i].routes(d) {
			_ = e.routes.Append(r)
		}
	}
	for key, r := range e.asleep {
		if slices.ContainsFunc(r.NextHops, func(h route.NextHop) bool { return h.Device == d.index }) {
			e.wake(key, r)
		}
	}
}

// routesDown removes the routes by a device that went down: all but its addresses themselves. Of routes with several next hops
// those by the device sleep until it is up again, if others are left (fib_sync_down_dev).
func (e *Engine) routesDown(d *device) {
	var several []route.Route
	e.routes.Remove(func(prefix netip.Prefix, p *route.Path) bool {
		switch {
		case p.Type() == route.Local || !leadsBy(p, d.index):
			return false
		case len(p.NextHops()) > 1:
			several = append(several, p.Route(prefix))
			return false
		}
		return true
	})
	for _, r := range several {
		key := asleepKey{r.Prefix, r.Metric, r.Table}
		whole, ok := e.asleep[key]
		if !ok {
			whole = r
		}
		e.asleep[key] = whole
		e.wake(key, whole)
	}
}

// asleepKey names a route of which some next hops sleep.
type asleepKey struct {
	prefix        netip.Prefix
	metric, table uint32
}

// wake leaves a route those of its next hops whose device is up, and removes it if there are none.
func (e *Engine) wake(key asleepKey, r route.Route) {
	whole := r
	r.NextHops = slices.DeleteFunc(slices.Clone(r.NextHops), func(h route.NextHop) bool {
		d := e.state.Load().device(h.Device)
		return d == nil || !d.up
	})
	m := route.Match{Prefix: r.Prefix, Metric: r.Metric, Table: r.Table}
	switch {
	case len(r.NextHops) == 0:
		delete(e.asleep, key)
		_, _ = e.routes.Delete(m)
	case len(r.NextHops) == len(whole.NextHops):
		delete(e.asleep, key)
		e.rouse(r)
	default:
		e.rouse(r)
	}
}

// rouse replaces a route by one with some of its next hops, whose adjacencies may have gone meanwhile.
func (e *Engine) rouse(r route.Route) {
	e.tagged(&r, false)
	defer e.ends.settle()
	_ = e.routes.Replace(r)
}

// sleepless forgets the sleeping next hops of routes to a prefix, which is changed by hand now.
func (e *Engine) sleepless(prefix netip.Prefix) {
	for key := range e.asleep {
		if key.prefix == prefix {
			delete(e.asleep, key)
		}
	}
}
