// Tables: the forwarding database, the routing table and the neighbours. Package peers has the same work done by others.
package benchmarks_test

import (
	"testing"

	"github.com/culvert-net/culvert/benchmarks/internal/tables"
)

func BenchmarkFDB(b *testing.B) {
	for name, run := range map[string]struct {
		single, burst func(tables.Stations, *testing.B)
	}{
		"hit":   {tables.Stations.FDBHit, tables.Stations.FDBHitBurst},
		"miss":  {tables.Stations.FDBMiss, tables.Stations.FDBMissBurst},
		"learn": {single: tables.Stations.FDBLearn},
	} {
		b.Run(name, func(b *testing.B) {
			tables.Each(b, []string{"256", "10k", "1M"}, func(b *testing.B, n int) {
				s := tables.NewStations(n)
				b.Run("culvert", func(b *testing.B) { run.single(s, b) })
				if run.burst != nil {
					b.Run("culvertburst", func(b *testing.B) { run.burst(s, b) })
				}
			})
		})
	}
	b.Run("parallel/10k/culvert", tables.NewStations(10_000).FDBParallel)
}

func BenchmarkRoute(b *testing.B) {
	b.Run("lookup", func(b *testing.B) {
		tables.Each(b, []string{"10", "1k", "100k", "1M"}, func(b *testing.B, n int) {
			r := tables.NewRoutes(n)
			b.Run("culvert", func(b *testing.B) { r.Lookup(b, false) })
			b.Run("culvertburst", func(b *testing.B) { r.LookupBurst(b, false) })
			b.Run("culvertflat", func(b *testing.B) { r.Lookup(b, true) })
			b.Run("culvertflatburst", func(b *testing.B) { r.LookupBurst(b, true) })
		})
	})
	b.Run("update/100k", func(b *testing.B) {
		r := tables.NewRoutes(100_000)
		b.Run("culvert", func(b *testing.B) { r.Update(b, false) })
		b.Run("culvertflat", func(b *testing.B) { r.Update(b, true) })
	})
	b.Run("load/1M/culvert", tables.NewRoutes(1_000_000).Load)
}

func BenchmarkNeighbour(b *testing.B) {
	b.Run("lookup", func(b *testing.B) {
		tables.Each(b, []string{"256", "64k"}, func(b *testing.B, n int) {
			h := tables.NewHosts(n)
			b.Run("culvert", h.Lookup)
			b.Run("culvertburst", h.LookupBurst)
		})
	})
}
