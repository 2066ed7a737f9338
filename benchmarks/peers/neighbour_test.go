package peers_test

import (
	"sync"
	"testing"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/culvert-net/culvert/benchmarks/internal/tables"
)

// BenchmarkNeighbour looks up MAC address and state by device and address; what a map has for it is one word, as the table has.
func BenchmarkNeighbour(b *testing.B) {
	const device = 1 << 32
	b.Run("lookup", func(b *testing.B) {
		tables.Each(b, []string{"256", "64k"}, func(b *testing.B, n int) {
			h := tables.NewHosts(n)
			b.Run("culvert", h.Lookup)
			b.Run("gomap", func(b *testing.B) {
				m := map[uint64]uint64{}
				for _, a := range h.Addrs {
					m[device|uint64(a)] = tables.MACOf(a)
				}
				wrong := 0
				for i := 0; b.Loop(); i++ {
					a := h.Order[i&tables.Mask]
					if m[device|uint64(a)] != tables.MACOf(a) {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
			b.Run("rwmutex", func(b *testing.B) {
				var mu sync.RWMutex
				m := map[uint64]uint64{}
				for _, a := range h.Addrs {
					m[device|uint64(a)] = tables.MACOf(a)
				}
				wrong := 0
				for i := 0; b.Loop(); i++ {
					a := h.Order[i&tables.Mask]
					mu.RLock()
					mac := m[device|uint64(a)]
					mu.RUnlock()
					if mac != tables.MACOf(a) {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
			b.Run("xsync", func(b *testing.B) {
				m := xsync.NewMap[uint64, uint64]()
				for _, a := range h.Addrs {
					m.Store(device|uint64(a), tables.MACOf(a))
				}
				wrong := 0
				for i := 0; b.Loop(); i++ {
					a := h.Order[i&tables.Mask]
					if mac, ok := m.Load(device | uint64(a)); !ok || mac != tables.MACOf(a) {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
			b.Run("syncmap", func(b *testing.B) {
				var m sync.Map
				for _, a := range h.Addrs {
					m.Store(device|uint64(a), tables.MACOf(a))
				}
				wrong := 0
				for i := 0; b.Loop(); i++ {
					a := h.Order[i&tables.Mask]
					if mac, ok := m.Load(device | uint64(a)); !ok || mac.(uint64) != tables.MACOf(a) {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
		})
	})
}
