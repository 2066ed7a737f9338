package route

// The table: what the packet path asks of it, and what changes it.

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Defaults and limits of a Config.
const (
	DefaultMaxRoutes = 1 << 20
	LimitMaxRoutes   = 1 << 24
)

// Config is how a table is to be; the zero Config is good for a node, and for a full Internet table as well.
type Config struct {
	// MaxRoutes is how many routes there may be; 0: DefaultMaxRoutes.
	MaxRoutes int
	// Flat makes the first stride of the trie 24 bits instead of 16: 64 MiB instead of a quarter of one, for a lookup with one
	// memory access less. It pays with hundreds of thousands of routes.
	Flat bool
	// OnChange, if set, is told of each change, in their order, by whoever makes it and before he goes on. It must not call
	// methods of the table other than Lookup, LookupAll and LookupAddr.
	OnChange func(Change)
}

// Change is one change of the table. A route that is new has no valid Old.Prefix, one that is gone no valid New.Prefix. When
// Swap replaced them all, neither has.
type Change struct {
	Old, New Route
}

// Table is a routing table. Use [New]; see the package documentation for who may call what.
type Table struct {
	config Config
	fib    atomic.Pointer[fib]

	changes sync.Mutex // held through a change; taken before mu
	mu      sync.Mutex // held while rib is used; a Swap, which takes long, holds it for moments only
	rib     *rib
}

// publish makes rib the table.
func (t *Table) publish(rib *rib) {
	rib.published = true
	t.rib = rib
	t.fib.Store(rib.fib)
}

func (t *Table) lock() {
	t.changes.Lock()
	t.mu.Lock()
}

func (t *Table) unlock() {
	t.mu.Unlock()
	t.changes.Unlock()
}

// New returns an empty table, or says by its field what is wrong with the configuration.
func New(config Config) (*Table, error) {
	if config.MaxRoutes == 0 {
		config.MaxRoutes = DefaultMaxRoutes
	}
	if config.MaxRoutes < 0 || config.MaxRoutes > LimitMaxRoutes {
		return nil, fmt.Errorf("route: Config.MaxRoutes is %d, want 1 to %d, or 0 for %d",
			config.MaxRoutes, LimitMaxRoutes, DefaultMaxRoutes)
	}
	t := &Table{config: config}
	t.publish(newRIB(config.Flat))
	return t, nil
}

// Lookup returns the path for an IPv4 destination, given as the number that its four bytes make in network byte order; nil
// if there is no route.
func (t *Table) Lookup(dst uint32) *Path { return t.fib.Load().lookup(dst) }

// LookupAll sets paths[i] to what Lookup returns for dst[i], for all destinations. It is for bursts: what of the table is not in the
// processor's cache is waited for together. There are as many paths as destinations, or more. All come from the same table if
// [Table.Swap] replaces it meanwhile.
func (t *Table) LookupAll(dst []uint32, paths []*Path) {
	t.fib.Load().lookupAll(dst, paths[:len(dst):len(paths)])
}

// LookupTags is [Table.LookupAll] for those who need but the tags of the paths, see [Path.Tag]: tags[i] is 0 where there is no path,
// too. It asks less of the memory.
func (t *Table) LookupTags(dst, tags []uint32) {
	t.fib.Load().lookupTags(dst, tags[:len(dst):len(tags)])
}

// LookupAddr is [Table.Lookup] of an address of either family; IPv4 in IPv6 is looked up as IPv4. It returns nil for the
// zero Addr.
func (t *Table) LookupAddr(dst netip.Addr) *Path {
	dst = dst.Unmap()
	switch {
	case dst.Is4():
		return t.Lookup(word(dst))
	case dst.Is6():
		p, _ := t.fib.Load().v6.Load().Lookup(dst.WithZone(""))
		return p
	}
	return nil
}

// Add puts a route into the table. It returns [ErrExists] if there is one with the same prefix, table and metric,
// [ErrRoute] with all that is wrong with it, or [ErrFull].
func (t *Table) Add(r Route) error { return t.put("add", r, modeAdd) }

// Append is [Table.Add] of a further route: of those with the same prefix, table and metric the one that was there first counts,
// the next when it is gone. As on Linux, it returns [ErrExists] only if one of them says the same throughout.
func (t *Table) Append(r Route) error { return t.put("append", r, modeAppend) }

// Prepend is [Table.Append], but that the new route comes before the others with its prefix, table and metric: 'ip route prepend',
// and what route(8) adds.
func (t *Table) Prepend(r Route) error { return t.put("prepend", r, modePrepend) }

// Replace puts a route into the table, in place of the first with the same prefix, table and metric if there is one.
// Lookups give the old or the new one. It returns [ErrRoute], [ErrFull], or [ErrExists] if the same route was appended
// behind the first.
func (t *Table) Replace(r Route) error { return t.put("replace", r, modeReplace) }

// Change is [Table.Replace] of a route that exists. It returns [ErrNotFound] otherwise.
func (t *Table) Change(r Route) error { return t.put("change", r, modeChange) }

func (t *Table) put(what string, r Route, how mode) error {
	r, err := r.normal()
	if err != nil {
		return fmt.Errorf("route: %s %v: %w", what, r.Prefix, err)
	}
	t.lock()
	defer t.unlock()
	replaced, err := t.rib.put(&r, how, t.config.MaxRoutes, nil)
	if err != nil {
		return fmt.Errorf("route: %s %v: %w", what, r.Prefix, err)
	}
	if t.config.OnChange != nil {
		c := Change{New: r}
		if replaced != nil {
			c.Old = replaced.Route(r.Prefix)
		}
		t.config.OnChange(c)
	}
	return nil
}

// Match says which route is meant where there may be several with a prefix. Fields that are zero fit every route, but for
// Table, whose zero is TableMain.
type Match struct {
	Prefix  netip.Prefix
	Type    Type
	Table   uint32
	Metric  uint32
	Gateway netip.Addr // of any next hop
	Device  uint32     // of any next hop
}

func (m Match) fits(r *Route) bool {
	table := m.Table
	if table == 0 {
		table = TableMain
	}
	if r.Table != table || m.Type != 0 && r.Type != m.Type || m.Metric != 0 && r.Metric != m.Metric {
		return false
	}
	if !m.Gateway.IsValid() && m.Device == 0 {
		return true
	}
	for _, h := range r.NextHops {
		if (!m.Gateway.IsValid() || h.Gateway == m.Gateway) && (m.Device == 0 || h.Device == m.Device) {
			return true
		}
	}
	return false
}

// Delete removes the first route that fits, and returns it. It returns [ErrNotFound] if none does.
func (t *Table) Delete(m Match) (Route, error) {
	t.lock()
	defer t.unlock()
	var gone []*Path
	if m.Prefix.IsValid() && m.Prefix == m.Prefix.Masked() {
		gone = t.rib.cut(m.Prefix, true, func(p *Path) bool { return m.fits(p.route) })
	}
	if len(gone) == 0 {
		hint := ""
		if m.Prefix != m.Prefix.Masked() {
			hint = fmt.Sprintf(": it has bits behind its length, is %v meant?", m.Prefix.Masked())
		}
		return Route{}, fmt.Errorf("route: delete %v: %w%s", m.Prefix, ErrNotFound, hint)
	}
	r := gone[0].Route(m.Prefix)
	t.tellGone(m.Prefix, gone)
	return r, nil
}

func (t *Table) tellGone(prefix netip.Prefix, gone []*Path) {
	if t.config.OnChange == nil {
		return
	}
	for _, p := range gone {
		t.config.OnChange(Change{Old: p.Route(prefix)})
	}
}

// Remove removes all routes for which match is true, all there are if match is nil, and returns how many. Match is given the
// path to be asked by prefix, and must not call methods of the table.
func (t *Table) Remove(match func(netip.Prefix, *Path) bool) (n int) {
	t.lock()
	defer t.unlock()
	var hit []netip.Prefix
	is := func(prefix netip.Prefix) func(*Path) bool {
		return func(p *Path) bool { return match == nil || match(prefix, p) }
	}
	for prefix, ref := range t.rib.prefixes.All() {
		for _, id := range t.rib.list(ref) {
			if is(prefix)(t.rib.fib.path(id)) {
				hit = append(hit, prefix)
				break
			}
		}
	}
	for _, prefix := range hit {
		gone := t.rib.cut(prefix, false, is(prefix))
		n += len(gone)
		t.tellGone(prefix, gone)
	}
	return n
}

// ByDevice matches routes with a next hop by way of a device, for [Table.Remove] when the device goes away.
func ByDevice(device uint32) func(netip.Prefix, *Path) bool {
	return func(_ netip.Prefix, p *Path) bool {
		for i := range p.route.NextHops {
			if p.route.NextHops[i].Device == device {
				return true
			}
		}
		return false
	}
}

// swapFaults is how many faults Swap names before it gives up.
const swapFaults = 10

// Swap replaces all routes at one moment: a lookup sees all old ones or all new ones. Routes with the same prefix, table and
// metric are appended one behind the other, so that what [Table.All] gives can be put back; the same route twice is a fault. If any of them is at fault it returns
// what is wrong with the first few, and changes nothing. Flows over several next hops stay with those that a
// prefix keeps. Both tables are in memory until the old one's last reader is done. The sequence may ask the table, and
// come from its [Table.All], but must not change it.
func (t *Table) Swap(routes iter.Seq[Route]) error {
	t.changes.Lock()
	defer t.changes.Unlock()
	next := newRIB(t.config.Flat)
	var faults []error
	for r := range routes {
		r, err := r.normal()
		if err == nil {
			_, err = next.put(&r, modeAppend, t.config.MaxRoutes, t.flowsOf(&r))
		}
		if err == nil {
			continue
		}
		faults = append(faults, fmt.Errorf("route: swap: %v: %w", r.Prefix, err))
		if len(faults) == swapFaults {
			faults = append(faults, errors.New("route: swap: there may be more"))
			break
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.publish(next)
	if t.config.OnChange != nil {
		t.config.OnChange(Change{})
	}
	return nil
}

// flowsOf returns the path whose flows a route takes over.
func (t *Table) flowsOf(route *Route) *Path {
	if len(route.NextHops) < 2 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.rib.at(route.Prefix).list
	if found, _ := t.rib.find(list, route); found >= 0 {
		return t.rib.fib.path(list[found])
	}
	return nil
}

// All returns the routes as they are at the call, sorted by address and length, those of one prefix in the order in
// which they count. It takes 32 bytes of memory a route until it is done.
func (t *Table) All() iter.Seq[Route] {
	return func(yield func(Route) bool) {
		type one struct {
			prefix netip.Prefix
			path   *Path
		}
		t.mu.Lock()
		all := make([]one, 0, t.rib.routes)
		for prefix, ref := range t.rib.prefixes.AllSorted() {
			for _, id := range t.rib.list(ref) {
				all = append(all, one{prefix, t.rib.fib.path(id)})
			}
		}
		t.mu.Unlock()
		for _, r := range all {
			if !yield(r.path.Route(r.prefix)) {
				return
			}
		}
	}
}

// Len returns the number of routes.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rib.routes
}

// Stats are figures of a table.
type Stats struct {
	Routes    int
	Prefixes4 int
	Prefixes6 int
	Paths     int // different ones
	Nodes     int // of the trie, 768 bytes each and more with slots in full, those kept for later included
	Reused    uint64
}

// Stats returns the figures.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Stats{
		Routes:    t.rib.routes,
		Prefixes4: t.rib.prefixes.Size4(),
		Prefixes6: t.rib.prefixes.Size6(),
		Paths:     len(t.rib.ids),
		Nodes:     len(t.rib.fib.below),
		Reused:    t.rib.fib.reused.Load(),
	}
}
