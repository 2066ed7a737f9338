package route

// All routes, as the control side has them: by prefix those in the order in which they count, each as the index of
// its path. The best of each prefix is in the trie, or, for IPv6, in a table for readers.

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// several marks a prefix with more than one route: the other bits are the index of their list. One route is kept as the index
// of its path itself, so that a million prefixes take little more than the tree that they are in.
const several = 1 << 31

// fib is what readers need.
type fib struct {
	trie
	v6 atomic.Pointer[bart.Table[*Path]] // replaced with each change, once there are readers
}

// rib is everything.
type rib struct {
	fib       *fib
	published bool // readers have fib
	prefixes  bart.Table[uint32]
	lists     [][]uint32
	freeLists []uint32
	routes    int

	ids     map[string]uint32 // of paths, by appendKey
	refs    []uint32          // of each path: how many routes have it
	buckets map[flows]*[bucketCount]byte
	key     []byte // scratch
	scratch [1]uint32
	edit    []uint32 // scratch, too
}

// flows says what [fillBuckets] has to go by. Most routes of a table share few sets of next hops, and they are
// replaced one after the other when one of these leaves.
type flows struct {
	attributes string // by appendKey
	old        *Path
}

// maxBuckets is how many results of fillBuckets are kept, of a KiB each.
const maxBuckets = 128

func newRIB(flat bool) *rib {
	r := &rib{fib: &fib{}, ids: map[string]uint32{}, buckets: map[flows]*[bucketCount]byte{}}
	r.fib.init(flat)
	r.fib.v6.Store(&bart.Table[*Path]{})
	return r
}

// known is what there is to a prefix.
type known struct {
	prefix netip.Prefix
	ref    uint32 // see several; 0 if there is no route
	list   []uint32
}

// at returns the routes of prefix. The list is good until the next call, and must not be changed.
func (r *rib) at(prefix netip.Prefix) known {
	ref, ok := r.prefixes.Get(prefix)
	if !ok {
		return known{prefix: prefix}
	}
	return known{prefix, ref, r.list(ref)}
}

func (r *rib) list(ref uint32) []uint32 {
	if ref&several != 0 {
		return r.lists[ref&^several]
	}
	r.scratch[0] = ref
	return r.scratch[:]
}

// set replaces the routes that there are to a prefix and gives readers the best of them. The paths in list have their
// references.
func (r *rib) set(old known, list []uint32) {
	r.routes += len(list) - len(old.list)
	existed, before := old.ref != 0, uint32(0)
	if existed {
		before = old.list[0]
	}
	switch {
	case len(list) == 0:
		r.prefixes.Delete(old.prefix)
	case len(list) == 1:
		r.prefixes.Insert(old.prefix, list[0])
	default:
		r.prefixes.Insert(old.prefix, r.keepList(list)|several)
	}
	if old.ref&several != 0 {
		r.lists[old.ref&^several] = nil
		r.freeLists = append(r.freeLists, old.ref&^several)
	}
	switch {
	case len(list) == 0:
		r.forget(old.prefix)
	case !existed || list[0] != before:
		r.install(old.prefix, list[0], !existed)
	}
}

func (r *rib) keepList(list []uint32) uint32 {
	list = slices.Clone(list)
	if n := len(r.freeLists); n > 0 {
		i := r.freeLists[n-1]
		r.freeLists = r.freeLists[:n-1]
		r.lists[i] = list
		return i
	}
	r.lists = append(r.lists, list)
	return uint32(len(r.lists) - 1)
}

func (r *rib) install(prefix netip.Prefix, path uint32, isNew bool) {
	if !prefix.Addr().Is4() {
		if r.published {
			r.fib.v6.Store(r.fib.v6.Load().InsertPersist(prefix, r.fib.path(path)))
		} else {
			r.fib.v6.Load().Insert(prefix, r.fib.path(path))
		}
		return
	}
	r.fib.insert(word(prefix.Addr()), prefix.Bits(), path, isNew)
}

func (r *rib) forget(prefix netip.Prefix) {
	if !prefix.Addr().Is4() {
		r.fib.v6.Store(r.fib.v6.Load().DeletePersist(prefix))
		return
	}
	length, path := 0, uint32(0)
	if covering, ref, ok := r.prefixes.LookupPrefixLPM(prefix); ok && covering.Bits() > 0 {
		length, path = covering.Bits(), r.list(ref)[0]
	}
	r.fib.remove(word(prefix.Addr()), prefix.Bits(), length, path)
}

// word returns an IPv4 address as the number that its bytes make in network byte order.
func word(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// has reports whether the table can take a new prefix.
func (r *rib) has(room int, prefix netip.Prefix) error {
	if r.routes >= room {
		return fmt.Errorf("%w: it has %d routes, Config.MaxRoutes", ErrFull, r.routes)
	}
	if prefix.Addr().Is4() && prefix.Bits() > 0 && !r.fib.hasNodesFor(word(prefix.Addr()), prefix.Bits()) {
		return fmt.Errorf("%w: its prefixes are spread over %d blocks of 256 addresses or of 256 such blocks", ErrFull, maxNodes)
	}
	return nil
}

// intern returns the index of the path that a route has, with a reference to it. Flows that old sent to next hops of the
// route stay there; old may be nil.
func (r *rib) intern(route *Route, old *Path) (uint32, error) {
	var buckets *[bucketCount]byte
	if len(route.NextHops) > 1 {
		buckets = r.bucketsOf(route, old)
	}
	r.key = appendKey(r.key[:0], route, buckets)
	if id, ok := r.ids[string(r.key)]; ok {
		r.refs[id]++
		return id, nil
	}
	id := r.fib.addPath(newPath(*route, buckets))
	if id == 0 {
		return 0, fmt.Errorf("%w: it has %d different paths", ErrFull, maxPaths)
	}
	for len(r.refs) <= int(id) {
		r.refs = append(r.refs, 0)
	}
	r.refs[id] = 1
	r.ids[string(r.key)] = id
	return id, nil
}

// bucketsOf is [fillBuckets], done once for routes that are alike.
func (r *rib) bucketsOf(route *Route, old *Path) *[bucketCount]byte {
	r.key = appendKey(r.key[:0], route, nil)
	if b := r.buckets[flows{string(r.key), old}]; b != nil {
		return b
	}
	if len(r.buckets) >= maxBuckets {
		clear(r.buckets)
	}
	b := fillBuckets(route.NextHops, old)
	r.buckets[flows{string(r.key), old}] = b
	return b
}

// release gives back a reference to a path.
func (r *rib) release(id uint32) {
	if r.refs[id]--; r.refs[id] > 0 {
		return
	}
	p := r.fib.path(id)
	r.key = appendKey(r.key[:0], p.route, p.buckets)
	delete(r.ids, string(r.key))
	r.fib.freePath(id)
}

// before reports whether route a of a prefix counts before route b.
func before(a, b *Route) bool {
	if a.Table != b.Table {
		return a.Table > b.Table
	}
	return a.Metric < b.Metric
}

// same reports whether two routes of a prefix exclude each other.
func same(a, b *Route) bool { return a.Table == b.Table && a.Metric == b.Metric }

// alike reports whether a and b, both normal and of one prefix, say the same.
func alike(a, b *Route) bool {
	return same(a, b) && a.Type == b.Type && a.Scope == b.Scope && a.Protocol == b.Protocol && a.MTU == b.MTU &&
		a.Source == b.Source && slices.Equal(a.NextHops, b.NextHops)
}

// twin returns the place of the route of list that is like route, -1 if there is none.
func (r *rib) twin(list []uint32, route *Route) int {
	return slices.IndexFunc(list, func(id uint32) bool { return alike(r.fib.path(id).route, route) })
}

// find returns the place of the first route of list that is the same as route, -1 if there is none, and the place
// where a new one belongs: behind those that count before it or are the same.
func (r *rib) find(list []uint32, route *Route) (found, place int) {
	found = -1
	for i, id := range list {
		other := r.fib.path(id).route
		if found < 0 && same(other, route) {
			found = i
		}
		if before(route, other) {
			return found, i
		}
	}
	return found, len(list)
}

// mode is which of the ways to put a route into the table is meant.
type mode uint8

const (
	modeAdd     mode = iota // there is none with its table and metric
	modeAppend              // behind those with its table and metric
	modePrepend             // in front of them
	modeReplace             // instead of the first of them, if there is one
	modeChange              // instead of the first of them
)

// put puts a valid route into the table and returns the path that it replaced, if any.
func (r *rib) put(route *Route, how mode, maxRoutes int, flowsOf *Path) (replaced *Path, err error) {
	there := r.at(route.Prefix)
	list := there.list
	found, place := r.find(list, route)
	switch {
	case how == modeAdd && found >= 0:
		return nil, fmt.Errorf("%w: %v; Replace overwrites it", ErrExists, r.fib.path(list[found]).Route(route.Prefix))
	case how == modeChange && found < 0:
		return nil, ErrNotFound
	}
	further := how == modeAppend || how == modePrepend
	if i := r.twin(list, route); i >= 0 && (further || i != found) {
		return nil, fmt.Errorf("%w: %v is there as a further route", ErrExists, r.fib.path(list[i]).Route(route.Prefix))
	}
	switch {
	case found >= 0 && !further:
		replaced = r.fib.path(list[found])
	default:
		if found >= 0 && how == modePrepend {
			place = found
		}
		if err := r.has(maxRoutes, route.Prefix); err != nil {
			return nil, err
		}
	}
	if flowsOf == nil {
		flowsOf = replaced
	}
	id, err := r.intern(route, flowsOf)
	if err != nil {
		return nil, err
	}
	if replaced == nil {
		r.set(there, r.edited(list, place, place, id))
		return nil, nil
	}
	old := list[found]
	r.set(there, r.edited(list, found, found+1, id))
	r.release(old)
	return replaced, nil
}

// edited returns list with id instead of what is between two places, good until the next call.
func (r *rib) edited(list []uint32, from, to int, id uint32) []uint32 {
	r.edit = append(append(append(r.edit[:0], list[:from]...), id), list[to:]...)
	return r.edit
}

// cut removes the routes of prefix for which is holds, one only if one is set, and returns them.
func (r *rib) cut(prefix netip.Prefix, one bool, is func(*Path) bool) (gone []*Path) {
	var rest, ids []uint32
	there := r.at(prefix)
	for _, id := range there.list {
		p := r.fib.path(id)
		if (!one || len(gone) == 0) && is(p) {
			gone, ids = append(gone, p), append(ids, id)
			continue
		}
		rest = append(rest, id)
	}
	if len(gone) == 0 {
		return nil
	}
	r.set(there, rest)
	for _, id := range ids {
		r.release(id)
	}
	return gone
}
