package peers_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/culvert-net/culvert/benchmarks/internal/tables"
	"github.com/culvert-net/culvert/fdb"
)

// station is what a map has to keep of a station: where it is, and when it was heard, in nanoseconds.
type station struct {
	port  uint32
	heard int64
}

// database is an FDB made of a map. Learning looks the station up, and stores it if it moved or was heard long ago.
type database interface {
	load(k fdb.Key) (station, bool)
	store(k fdb.Key, s station)
}

// learn is learning by means of a map; it reports whether the station was known.
func learn[D database](d D, k fdb.Key, port uint32, now int64) bool {
	s, ok := d.load(k)
	if !ok || s.port != port || now-s.heard >= int64(time.Second) {
		d.store(k, station{port, now})
	}
	return ok && s.port == port
}

type (
	goMap   map[fdb.Key]station // for one goroutine only
	rwMutex struct {
		mu sync.RWMutex
		m  map[fdb.Key]station
	}
	syncMap  struct{ m sync.Map }
	xsyncMap struct {
		m *xsync.Map[fdb.Key, station]
	}
)

func (d goMap) load(k fdb.Key) (station, bool) { s, ok := d[k]; return s, ok }
func (d goMap) store(k fdb.Key, s station)     { d[k] = s }

func (d *rwMutex) load(k fdb.Key) (station, bool) {
	d.mu.RLock()
	s, ok := d.m[k]
	d.mu.RUnlock()
	return s, ok
}

func (d *rwMutex) store(k fdb.Key, s station) {
	d.mu.Lock()
	d.m[k] = s
	d.mu.Unlock()
}

func (d *syncMap) load(k fdb.Key) (station, bool) {
	v, ok := d.m.Load(k)
	if !ok {
		return station{}, false
	}
	return v.(station), true
}

func (d *syncMap) store(k fdb.Key, s station) { d.m.Store(k, s) }

func (d xsyncMap) load(k fdb.Key) (station, bool) { return d.m.Load(k) }
func (d xsyncMap) store(k fdb.Key, s station)     { d.m.Store(k, s) }

func filled[D database](d D, s tables.Stations) D {
	for _, k := range s.Keys {
		d.store(k, station{port: tables.PortOf(k)})
	}
	return d
}

func newXsync() xsyncMap { return xsyncMap{xsync.NewMap[fdb.Key, station]()} }

// The loops are written out for each map, so that its methods are inlined as they are in a program made for it.

func BenchmarkFDB(b *testing.B) {
	sizes := []string{"256", "10k", "1M"}
	b.Run("hit", func(b *testing.B) {
		tables.Each(b, sizes, func(b *testing.B, n int) {
			s := tables.NewStations(n)
			b.Run("culvert", s.FDBHit)
			b.Run("gomap", func(b *testing.B) {
				d := filled(goMap{}, s)
				wrong := 0
				for i := 0; b.Loop(); i++ {
					k := s.Present[i&tables.Mask]
					if e, ok := d.load(k); !ok || e.port != tables.PortOf(k) {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
			b.Run("xsync", func(b *testing.B) {
				d := filled(newXsync(), s)
				wrong := 0
				for i := 0; b.Loop(); i++ {
					k := s.Present[i&tables.Mask]
					if e, ok := d.load(k); !ok || e.port != tables.PortOf(k) {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
			b.Run("rwmutex", func(b *testing.B) {
				d := filled(&rwMutex{m: map[fdb.Key]station{}}, s)
				wrong := 0
				for i := 0; b.Loop(); i++ {
					k := s.Present[i&tables.Mask]
					if e, ok := d.load(k); !ok || e.port != tables.PortOf(k) {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
			b.Run("syncmap", func(b *testing.B) {
				d := filled(&syncMap{}, s)
				wrong := 0
				for i := 0; b.Loop(); i++ {
					k := s.Present[i&tables.Mask]
					if e, ok := d.load(k); !ok || e.port != tables.PortOf(k) {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
		})
	})
	b.Run("miss", func(b *testing.B) {
		tables.Each(b, sizes, func(b *testing.B, n int) {
			s := tables.NewStations(n)
			b.Run("culvert", s.FDBMiss)
			b.Run("gomap", func(b *testing.B) {
				d := filled(goMap{}, s)
				wrong := 0
				for i := 0; b.Loop(); i++ {
					if _, ok := d.load(s.Absent[i&tables.Mask]); ok {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
			b.Run("xsync", func(b *testing.B) {
				d := filled(newXsync(), s)
				wrong := 0
				for i := 0; b.Loop(); i++ {
					if _, ok := d.load(s.Absent[i&tables.Mask]); ok {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
		})
	})
	b.Run("learn", func(b *testing.B) {
		tables.Each(b, sizes, func(b *testing.B, n int) {
			s := tables.NewStations(n)
			b.Run("culvert", s.FDBLearn)
			b.Run("gomap", func(b *testing.B) { benchmarkLearn(b, filled(goMap{}, s), s) })
			b.Run("xsync", func(b *testing.B) { benchmarkLearn(b, filled(newXsync(), s), s) })
			b.Run("rwmutex", func(b *testing.B) { benchmarkLearn(b, filled(&rwMutex{m: map[fdb.Key]station{}}, s), s) })
		})
	})
	b.Run("parallel/10k", func(b *testing.B) {
		s := tables.NewStations(10_000)
		b.Run("culvert", s.FDBParallel)
		b.Run("xsync", func(b *testing.B) { benchmarkParallel(b, filled(newXsync(), s), s) })
		b.Run("rwmutex", func(b *testing.B) { benchmarkParallel(b, filled(&rwMutex{m: map[fdb.Key]station{}}, s), s) })
		b.Run("syncmap", func(b *testing.B) { benchmarkParallel(b, filled(&syncMap{}, s), s) })
	})
}

func benchmarkLearn[D database](b *testing.B, d D, s tables.Stations) {
	b.ReportAllocs()
	wrong := 0
	for i := 0; b.Loop(); i++ {
		k := s.Present[i&tables.Mask]
		if !learn(d, k, tables.PortOf(k), int64(i)*int64(tables.FrameTime)) {
			wrong++
		}
	}
	tables.NoneWrong(b, wrong)
}

func benchmarkParallel[D database](b *testing.B, d D, s tables.Stations) {
	stop := tables.WriteBeside(func(i int) {
		k := s.Keys[i%len(s.Keys)]
		d.store(k, station{port: tables.PortOf(k) + 64*uint32(i/len(s.Keys)%2)})
	})
	defer stop()
	b.RunParallel(func(pb *testing.PB) {
		wrong := 0
		for i := rand.IntN(tables.Mask); pb.Next(); i++ {
			k := s.Present[i&tables.Mask]
			if e, ok := d.load(k); !ok || e.port%64 != tables.PortOf(k) {
				wrong++
			}
		}
		tables.NoneWrong(b, wrong)
	})
}
