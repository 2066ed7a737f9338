// Package tables has the work that the benchmarks of culvert's tables and of their peers do: the keys, the routes, and culvert's
// own part.
package tables

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/internal/fulltable"
	"github.com/culvert-net/culvert/route"
)

// Mask takes a counter to an index of the lists that benchmarks work through, which are long enough for no branch
// predictor to know them by heart.
const Mask = 1<<20 - 1

// Burst is how many keys the benchmarks of bursts look up together. Their times are for one key, as others' are. Those others are at
// their best here: nothing depends on what a lookup finds, so that the processor begins the next meanwhile, as it does within
// a burst. On a packet path, where each result decides what comes next, it does so within bursts only.
const Burst = 64

const seed = 1

// Sizes are names of table sizes.
var Sizes = map[string]int{"10": 10, "256": 256, "1k": 1000, "10k": 10_000, "64k": 1 << 16, "100k": 100_000, "1M": 1_000_000}

// Stations are MAC addresses as keys of an FDB, and in which order to ask for them.
type Stations struct {
	Keys    []fdb.Key // those that have an entry
	Present []fdb.Key // of these, in random order
	Absent  []fdb.Key // others
}

// NewStations makes n stations.
func NewStations(n int) Stations {
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	const other = 1 << 41 // set in the addresses of those without an entry
	random := func() fdb.Key { return fdb.Key(rnd.Uint64()) &^ (1<<40 | other) & (1<<48 - 1) }
	s := Stations{Keys: make([]fdb.Key, n), Present: make([]fdb.Key, Mask+1), Absent: make([]fdb.Key, Mask+1)}
	for i := range s.Keys {
		s.Keys[i] = random()
	}
	order := rnd.Perm(n)
	for i := range s.Present {
		s.Present[i] = s.Keys[order[i%n]]
		if n <= Mask/16 {
			s.Present[i] = s.Keys[rnd.IntN(n)]
		}
		s.Absent[i] = random() | other
	}
	return s
}

// FDB returns a table with an entry for each station.
func (s Stations) FDB(b *testing.B) *fdb.Table {
	table, err := fdb.New(fdb.Config{MaxEntries: len(s.Keys) + 1})
	if err != nil {
		b.Fatal(err)
	}
	for _, k := range s.Keys {
		if o := table.Learn(k, fdb.ToPort(PortOf(k)), 0); o.Refused() {
			b.Fatal(o)
		}
	}
	for table.Deadline() <= 0 { // it grew lately
		table.Expire(0)
	}
	return table
}

// PortOf returns the port that a station is behind.
func PortOf(k fdb.Key) uint32 { return uint32(k % 64) }

// FDBHit looks up stations that have an entry.
func (s Stations) FDBHit(b *testing.B) {
	table := s.FDB(b)
	b.ReportAllocs()
	wrong := 0
	for i := 0; b.Loop(); i++ {
		k := s.Present[i&Mask]
		if port, ok := table.Lookup(k).Port(); !ok || port != PortOf(k) {
			wrong++
		}
	}
	NoneWrong(b, wrong)
}

// FDBMiss looks up stations that have none.
func (s Stations) FDBMiss(b *testing.B) {
	table := s.FDB(b)
	b.ReportAllocs()
	wrong := 0
	for i := 0; b.Loop(); i++ {
		if table.Lookup(s.Absent[i&Mask]).IsValid() {
			wrong++
		}
	}
	NoneWrong(b, wrong)
}

// FDBHitBurst is FDBHit by the burst.
func (s Stations) FDBHitBurst(b *testing.B) {
	table, places := s.FDB(b), make([]fdb.Place, Burst)
	b.ReportAllocs()
	wrong := 0
	for i := 0; b.Loop(); i++ {
		if i%Burst == 0 {
			table.LookupAll(s.Present[i&Mask:][:Burst], places)
		}
		if port, ok := places[i%Burst].Port(); !ok || port != PortOf(s.Present[i&Mask]) {
			wrong++
		}
	}
	NoneWrong(b, wrong)
}

// FDBMissBurst is FDBMiss by the burst.
func (s Stations) FDBMissBurst(b *testing.B) {
	table, places := s.FDB(b), make([]fdb.Place, Burst)
	b.ReportAllocs()
	wrong := 0
	for i := 0; b.Loop(); i++ {
		if i%Burst == 0 {
			table.LookupAll(s.Absent[i&Mask:][:Burst], places)
		}
		if places[i%Burst].IsValid() {
			wrong++
		}
	}
	NoneWrong(b, wrong)
}

// FDBLearn learns stations that are known and have not moved, as each frame does.
func (s Stations) FDBLearn(b *testing.B) {
	table := s.FDB(b)
	b.ReportAllocs()
	wrong := 0
	for i := 0; b.Loop(); i++ {
		k := s.Present[i&Mask]
		if table.Learn(k, fdb.ToPort(PortOf(k)), time.Duration(i)*FrameTime) != fdb.Known {
			wrong++
		}
	}
	NoneWrong(b, wrong)
}

// FrameTime is how fast time goes by for learning: ten million frames a second.
const FrameTime = 100 * time.Nanosecond

// FDBParallel looks up stations with all cores, beside a writer who moves ten thousand a second.
func (s Stations) FDBParallel(b *testing.B) {
	table := s.FDB(b)
	stop := WriteBeside(func(i int) {
		k := s.Keys[i%len(s.Keys)]
		table.Learn(k, fdb.ToPort(PortOf(k)+64*uint32(i/len(s.Keys)%2)), 0)
	})
	defer stop()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		wrong := 0
		for i := rand.IntN(Mask); pb.Next(); i++ {
			k := s.Present[i&Mask]
			if port, ok := table.Lookup(k).Port(); !ok || port%64 != PortOf(k) {
				wrong++
			}
		}
		NoneWrong(b, wrong)
	})
}

// WriteBeside calls write ten thousand times a second until the function it returns is called.
func WriteBeside(write func(i int)) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for i := 0; ; {
			select {
			case <-done:
				return
			case <-ticker.C:
				for range 10 {
					write(i)
					i++
				}
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

// NoneWrong fails the benchmark if results were wrong.
func NoneWrong(tb testing.TB, wrong int) {
	if wrong > 0 {
		tb.Errorf("%d wrong results", wrong)
	}
}

// Hosts are neighbours on one device: addresses in random order, and their MAC addresses as numbers.
type Hosts struct {
	Addrs []uint32
	Order []uint32 // addresses to look up
}

// NewHosts makes n neighbours.
func NewHosts(n int) Hosts {
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	h := Hosts{Addrs: make([]uint32, n), Order: make([]uint32, Mask+1)}
	for i, j := range rnd.Perm(n) {
		h.Addrs[i] = 10<<24 + 1 + uint32(j)
	}
	for i := range h.Order {
		h.Order[i] = h.Addrs[rnd.IntN(n)]
	}
	return h
}

// MACOf returns the MAC address of a neighbour as a number.
func MACOf(addr uint32) uint64 { return 0x0a58<<32 | uint64(addr) }

// Table returns a table with the neighbours.
func (h Hosts) Table(b *testing.B) *arp.Table {
	table, err := arp.NewTable(arp.TableConfig{MaxConfigured: len(h.Addrs)})
	if err != nil {
		b.Fatal(err)
	}
	for _, a := range h.Addrs {
		mac := fdb.Key(MACOf(a)).MAC()
		if _, err := table.Add(arp.Key{Device: 1, Addr: fulltable.Addr(a)}, mac, arp.StatePermanent, 0, nil); err != nil {
			b.Fatal(err)
		}
	}
	for table.Next() <= 0 { // it grew lately
		table.Tick(0, nil)
	}
	return table
}

// Lookup looks neighbours up.
func (h Hosts) Lookup(b *testing.B) {
	table := h.Table(b)
	b.ReportAllocs()
	wrong := 0
	for i := 0; b.Loop(); i++ {
		a := h.Order[i&Mask]
		if n := table.Lookup(1, a); n.MACBits() != MACOf(a) {
			wrong++
		}
	}
	NoneWrong(b, wrong)
}

// LookupBurst is Lookup by the burst.
func (h Hosts) LookupBurst(b *testing.B) {
	table, found := h.Table(b), make([]arp.Neighbour, Burst)
	b.ReportAllocs()
	wrong := 0
	for i := 0; b.Loop(); i++ {
		if i%Burst == 0 {
			table.LookupAll(1, h.Order[i&Mask:][:Burst], found)
		}
		if found[i%Burst].MACBits() != MACOf(h.Order[i&Mask]) {
			wrong++
		}
	}
	NoneWrong(b, wrong)
}

// Routes are routes like the Internet's, and addresses to look up, each of which has one.
type Routes struct {
	Prefixes []netip.Prefix
	Hops     []int // by place of the prefix
	Addrs    []netip.Addr
	Words    []uint32       // of Addrs
	Others   []netip.Prefix // that have no route
}

// NewRoutes makes n routes.
func NewRoutes(n int) Routes {
	prefixes := fulltable.Prefixes(n+1000, seed)
	r := Routes{Prefixes: prefixes[:n], Others: prefixes[n:], Hops: fulltable.ByHop(n, seed)}
	r.Words = fulltable.Addresses(Mask+1, r.Prefixes, seed)
	r.Addrs = make([]netip.Addr, len(r.Words))
	for i, w := range r.Words {
		r.Addrs[i] = fulltable.Addr(w)
	}
	return r
}

// Route returns the route to a prefix by way of a next hop.
func Route(prefix netip.Prefix, hop int) route.Route {
	var gateway [4]byte
	binary.BigEndian.PutUint32(gateway[:], 192<<24|2<<8|uint32(hop+1))
	return route.Route{
		Prefix:   prefix,
		NextHops: []route.NextHop{{Gateway: netip.AddrFrom4(gateway), Device: uint32(hop%8 + 1), Tag: uint32(hop)}},
	}
}

// All returns the routes.
func (r Routes) All() []route.Route {
	all := make([]route.Route, len(r.Prefixes))
	for i, p := range r.Prefixes {
		all[i] = Route(p, r.Hops[i])
	}
	return all
}

// Table returns a table with the routes.
func (r Routes) Table(b *testing.B, flat bool) *route.Table {
	table, err := route.New(route.Config{Flat: flat})
	if err == nil {
		err = table.Swap(slices.Values(r.All()))
	}
	if err != nil {
		b.Fatal(err)
	}
	return table
}

// Lookup looks addresses up.
func (r Routes) Lookup(b *testing.B, flat bool) {
	table := r.Table(b, flat)
	b.ReportAllocs()
	wrong := 0
	for i := 0; b.Loop(); i++ {
		if table.Lookup(r.Words[i&Mask]) == nil {
			wrong++
		}
	}
	NoneWrong(b, wrong)
}

// LookupBurst is Lookup by the burst.
func (r Routes) LookupBurst(b *testing.B, flat bool) {
	table, paths := r.Table(b, flat), make([]*route.Path, Burst)
	b.ReportAllocs()
	wrong := 0
	for i := 0; b.Loop(); i++ {
		if i%Burst == 0 {
			table.LookupAll(r.Words[i&Mask:][:Burst], paths)
		}
		if paths[i%Burst] == nil {
			wrong++
		}
	}
	NoneWrong(b, wrong)
}

// Load puts the routes into an empty table, one by one.
func (r Routes) Load(b *testing.B) {
	all := r.All()
	for b.Loop() {
		table, err := route.New(route.Config{})
		if err != nil {
			b.Fatal(err)
		}
		for _, one := range all {
			if err := table.Add(one); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(all)), "ns/route")
}

// Update adds a route and deletes it again, beside a reader.
func (r Routes) Update(b *testing.B, flat bool) {
	table := r.Table(b, flat)
	others := make([]route.Route, len(r.Others))
	for i, p := range r.Others {
		others[i] = Route(p, i%fulltable.NextHops)
	}
	stop := ReadBeside(func(i int) bool { return table.Lookup(r.Words[i&Mask]) != nil })
	defer func() { NoneWrong(b, stop()) }()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		one := others[i%len(others)]
		if err := table.Add(one); err != nil {
			b.Fatal(err)
		}
		if _, err := table.Delete(route.Match{Prefix: one.Prefix}); err != nil {
			b.Fatal(err)
		}
	}
}

// ReadBeside calls read over and over until the function it returns is called, which returns how often read was false.
func ReadBeside(read func(i int) bool) (stop func() int) {
	done, wrong := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for i := 0; ; i++ {
			if i%1024 == 0 {
				select {
				case <-done:
					wrong <- n
					return
				default:
				}
			}
			if !read(i) {
				n++
			}
		}
	}()
	return func() int {
		close(done)
		return <-wrong
	}
}

// Each runs a benchmark for table sizes by name.
func Each(b *testing.B, sizes []string, run func(b *testing.B, n int)) {
	for _, name := range sizes {
		b.Run(name, func(b *testing.B) { run(b, Sizes[name]) })
	}
}
