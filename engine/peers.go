package engine

// Peers: what Flannel and Calico program for a remote node, as one object. On Linux it is a neighbour, an FDB entry and a route
// for each subnet, set one by one by an agent that may die in between; here they are set, replaced and removed together, in an
// order in which packets see the old peer whole, or the new one.

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/route"
)

// Peer is a remote node.
type Peer struct {
	Name    string         // the caller's name for it, such as the node's
	Node    netip.Addr     // underlay address
	Subnets []netip.Prefix // that are behind it

	// Dev leads there: a VXLAN device, an IPIP tunnel with any remote end, or another device for plain routes by way of Node.
	Dev     string
	Gateway netip.Addr   // of VXLAN: the inner address of the far VTEP's device, as 10.244.2.0
	MAC     ethernet.MAC // of VXLAN: that device's MAC address

	// Direct makes plain routes instead of those by the tunnel if Node is on the link of one of the node's devices: Flannel's
	// DirectRouting, Calico's CrossSubnet.
	Direct bool
}

// protoPeer is who makes the routes of peers (RTPROT_STATIC).
const protoPeer = 4

// peerParts are what a peer consists of.
type peerParts struct {
	routes []route.Route
	neigh  arp.Key
	mac    ethernet.MAC
	table  *fdb.Table
	node   netip.Addr
}

// SetPeer adds a peer, or replaces the one with its name, as a whole. If anything is wrong with it, nothing changes. Entries and
// routes that are already there and not of a peer are in its way: [ErrExists].
func (e *Engine) SetPeer(p Peer) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p.Subnets = slices.Clone(p.Subnets)
	next, err := e.partsOf(&p)
	if err != nil {
		return err
	}
	var last peerParts
	old, replaced := e.peers[p.Name]
	if replaced {
		last, _ = e.partsOf(&old)
		last.routes = e.routesOf(&old)
	}
	if err := e.inTheWay(&p, &next, &last); err != nil {
		return err
	}
	e.peers[p.Name] = p
	e.allowPeer(p)
	if err := e.join(&next); err != nil { // limits: there was no room
		return errors.Join(fmt.Errorf("engine: peer %s: %w", p.Name, err), e.leave(&next, &peerParts{}))
	}
	if replaced {
		e.disallow(old)
	}
	return e.leave(&last, &next)
}

// DeletePeer removes a peer.
func (e *Engine) DeletePeer(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, ok := e.peers[name]
	if !ok {
		return fmt.Errorf("engine: peer %s: %w", name, ErrNotFound)
	}
	parts, _ := e.partsOf(&p)
	parts.routes = e.routesOf(&p)
	delete(e.peers, name)
	err := e.leave(&parts, &peerParts{})
	e.disallow(p)
	return err
}

// Peers returns the peers by name.
func (e *Engine) Peers() []Peer {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]Peer, 0, len(e.peers))
	for _, p := range e.peers {
		p.Subnets = slices.Clone(p.Subnets)
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Peer) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// partsOf works out what a peer consists of, and reports every field that is wrong.
func (e *Engine) partsOf(p *Peer) (parts peerParts, err error) {
	var errs []error
	fault := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("engine: peer %s: Peer.%s %s: %w", p.Name, field, fmt.Sprintf(format, args...), ErrInvalid))
	}
	if p.Name == "" {
		fault("Name", "is empty")
	}
	if !isHost(p.Node) || e.state.Load().own.has(number(p.Node)) {
		fault("Node", "is %v: want another node's IPv4 address", p.Node)
	}
	for i, s := range p.Subnets {
		if !s.IsValid() || !s.Addr().Is4() || s != s.Masked() || slices.Contains(p.Subnets[:i], s) {
			fault("Subnets", "has %v at %d: want different IPv4 prefixes", s, i)
		}
	}
	d, err := e.find("peer "+p.Name, p.Dev)
	if err != nil {
		return parts, errors.Join(append(errs, err)...)
	}
	if !d.up {
		errs = append(errs, fmt.Errorf("engine: peer %s: Peer.Dev %s: %w", p.Name, p.Dev, ErrDown))
	}
	hop := route.NextHop{Gateway: p.Node, Device: d.index, Onlink: true}
	if d.vxlan != nil {
		if !isHost(p.Gateway) {
			fault("Gateway", "is %v: want the inner address of the far VTEP", p.Gateway)
		}
		if !p.MAC.IsStation() || p.MAC == d.hw {
			fault("MAC", "is %v: want the far VTEP's address", p.MAC)
		}
		parts.neigh, parts.mac, parts.table, parts.node = arp.Key{Device: d.index, Addr: p.Gateway}, p.MAC, d.vxlan.table, p.Node
		hop.Gateway = p.Gateway
	} else if p.Gateway.IsValid() || !p.MAC.IsZero() {
		fault("Gateway and MAC", "are set, but %s is no VXLAN device", p.Dev)
	}
	if d.ipip != nil && d.ipip.remote != 0 {
		fault("Dev", "is %s, which has a remote end of its own", p.Dev)
	}
	if p.Direct {
		if path := e.routes.LookupAddr(p.Node); path != nil && path.Type() == route.Unicast && path.Scope() == route.ScopeLink {
			parts = peerParts{}
			hop = route.NextHop{Gateway: p.Node, Device: path.NextHops()[0].Device}
		}
	}
	for _, s := range p.Subnets {
		parts.routes = append(parts.routes, route.Route{Prefix: s, Type: route.Unicast, Protocol: protoPeer, NextHops: []route.NextHop{hop}})
	}
	return parts, errors.Join(errs...)
}

// routesOf returns the routes that a peer has now; how it was reached may have changed since.
func (e *Engine) routesOf(p *Peer) (routes []route.Route) {
	for _, s := range p.Subnets {
		for _, r := range e.routes.Exact(s) {
			if r.Protocol == protoPeer {
				routes = append(routes, r)
			}
		}
	}
	return routes
}

// inTheWay reports what is configured already for what a peer needs, and is not its own.
func (e *Engine) inTheWay(p *Peer, next, last *peerParts) error {
	var errs []error
	for _, r := range next.routes {
		if slices.ContainsFunc(last.routes, func(o route.Route) bool { return o.Prefix == r.Prefix }) {
			continue
		}
		for _, o := range e.routes.Exact(r.Prefix) {
			if o.Table == route.TableMain && o.Metric == 0 {
				errs = append(errs, fmt.Errorf("engine: peer %s: route to %v: %w", p.Name, r.Prefix, ErrExists))
				break
			}
		}
	}
	if next.table == nil {
		return errors.Join(errs...)
	}
	if n, ok := e.neighs.Get(next.neigh); ok && n.State == arp.StatePermanent && next.neigh != last.neigh {
		errs = append(errs, fmt.Errorf("engine: peer %s: neighbour %v: %w", p.Name, next.neigh, ErrExists))
	}
	if place := next.table.Lookup(fdb.KeyOf(0, next.mac)); place.IsValid() && place.Flags() != 0 && (last.table != next.table || next.mac != last.mac) {
		errs = append(errs, fmt.Errorf("engine: peer %s: FDB entry %v: %w", p.Name, next.mac, ErrExists))
	}
	return errors.Join(errs...)
}

// join enters what a peer needs: last the routes, which lead packets to the rest.
func (e *Engine) join(p *peerParts) error {
	if p.table != nil {
		to := fdb.ToRemotes(fdb.Remote{Addr: p.node})
		if err := p.table.Replace(fdb.KeyOf(0, p.mac), to, fdb.Static|fdb.Sticky, e.now()); err != nil {
			return err
		}
		actions, err := e.neighs.Replace(p.neigh, p.mac, arp.StatePermanent, e.now(), nil)
		e.back.push(actions)
		if err != nil {
			return err
		}
	}
	defer e.ends.settle()
	for _, r := range p.routes {
		e.tagged(&r, false)
		if err := e.routes.Replace(r); err != nil {
			return err
		}
	}
	return nil
}

// leave removes what a peer had and, after a change, needs no more: routes first.
func (e *Engine) leave(last, next *peerParts) error {
	var errs []error
	for _, r := range last.routes {
		if !slices.ContainsFunc(next.routes, func(o route.Route) bool { return o.Prefix == r.Prefix }) {
			m := route.Match{Prefix: r.Prefix}
			if len(r.NextHops) > 0 {
				m.Gateway, m.Device = r.NextHops[0].Gateway, r.NextHops[0].Device
			}
			if _, err := e.routes.Delete(m); err != nil && !errors.Is(err, route.ErrNotFound) {
				errs = append(errs, err)
			}
		}
	}
	if last.table == nil {
		return errors.Join(errs...)
	}
	if last.neigh != next.neigh {
		actions, err := e.neighs.Delete(last.neigh, e.now(), nil)
		e.back.push(actions)
		if err != nil && !errors.Is(err, arp.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	if last.mac != next.mac || last.table != next.table {
		if err := last.table.Delete(fdb.KeyOf(0, last.mac)); err != nil && !errors.Is(err, fdb.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// allowPeer lets a peer's tunnel accept packets from its node; workers share the set.
func (e *Engine) allowPeer(p Peer) {
	if set := e.allowedBy(p.Dev); set != nil {
		set.add(number(p.Node))
	}
}

// disallow undoes allowPeer, unless another peer has the same node or it was configured with the tunnel.
func (e *Engine) disallow(gone Peer) {
	set := e.allowedBy(gone.Dev)
	if set == nil {
		return
	}
	for _, p := range e.peers {
		if p.Dev == gone.Dev && p.Node == gone.Node {
			return
		}
	}
	d := e.state.Load().device(e.names[gone.Dev])
	switch {
	case d.ipip != nil && (slices.Contains(d.ipip.made.Peers, gone.Node) || d.ipip.made.Remote == gone.Node):
	case d.vxlan != nil && slices.Contains(d.vxlan.made.VTEPs, gone.Node):
	default:
		set.remove(number(gone.Node))
	}
}

// allowedBy returns the set of those whom a tunnel accepts packets from, nil if that is anybody.
func (e *Engine) allowedBy(dev string) *addrSet {
	d := e.state.Load().device(e.names[dev])
	switch {
	case d == nil:
	case d.ipip != nil:
		return d.ipip.peers
	case d.vxlan != nil:
		return d.vxlan.vteps
	}
	return nil
}
