package peers_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gaissmai/bart"
	"github.com/yl2chen/cidranger"
	"golang.zx2c4.com/wireguard/device"

	"github.com/culvert-net/culvert/benchmarks/internal/tables"
	"github.com/culvert-net/culvert/route"
)

func BenchmarkRoute(b *testing.B) {
	b.Run("lookup", func(b *testing.B) {
		tables.Each(b, []string{"10", "1k", "100k", "1M"}, func(b *testing.B, n int) {
			r := tables.NewRoutes(n)
			b.Run("culvert", func(b *testing.B) { r.Lookup(b, false) })
			b.Run("culvertflat", func(b *testing.B) { r.Lookup(b, true) })
			b.Run("bart", func(b *testing.B) {
				var t bart.Table[*route.NextHop]
				for i, p := range r.Prefixes {
					t.Insert(p, &tables.Route(p, r.Hops[i]).NextHops[0])
				}
				wrong := 0
				for i := 0; b.Loop(); i++ {
					if _, ok := t.Lookup(r.Addrs[i&tables.Mask]); !ok {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
			b.Run("bartfast", func(b *testing.B) {
				var t bart.Fast[*route.NextHop]
				for i, p := range r.Prefixes {
					t.Insert(p, &tables.Route(p, r.Hops[i]).NextHops[0])
				}
				wrong := 0
				for i := 0; b.Loop(); i++ {
					if _, ok := t.Lookup(r.Addrs[i&tables.Mask]); !ok {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
			b.Run("allowedips", func(b *testing.B) {
				var t device.AllowedIPs
				peers := make([]device.Peer, 256)
				for i, p := range r.Prefixes {
					t.Insert(p, &peers[r.Hops[i]])
				}
				wrong := 0
				for i := 0; b.Loop(); i++ {
					a := r.Addrs[i&tables.Mask].As4()
					if t.Lookup(a[:]) == nil {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
			if n > 100_000 {
				return // cidranger takes longer to fill than all else takes together
			}
			b.Run("cidranger", func(b *testing.B) {
				t := cidranger.NewPCTrieRanger()
				for _, p := range r.Prefixes {
					if err := t.Insert(cidranger.NewBasicRangerEntry(ipNet(p))); err != nil {
						b.Fatal(err)
					}
				}
				wrong := 0
				for i := 0; b.Loop(); i++ {
					found, err := t.ContainingNetworks(r.Addrs[i&tables.Mask].AsSlice())
					if err != nil || len(found) == 0 {
						wrong++
					}
				}
				tables.NoneWrong(b, wrong)
			})
		})
	})
	b.Run("update/100k", func(b *testing.B) {
		r := tables.NewRoutes(100_000)
		b.Run("culvert", func(b *testing.B) { r.Update(b, false) })
		b.Run("culvertflat", func(b *testing.B) { r.Update(b, true) })
		// A bart.Table that readers may use meanwhile is one that is copied for each change.
		b.Run("bartpersist", func(b *testing.B) {
			t := &bart.Table[int]{}
			for i, p := range r.Prefixes {
				t.Insert(p, r.Hops[i])
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p := r.Others[i%len(r.Others)]
				t = t.InsertPersist(p, 1)
				t = t.DeletePersist(p)
			}
		})
		b.Run("bartalone", func(b *testing.B) { // without readers
			t := &bart.Table[int]{}
			for i, p := range r.Prefixes {
				t.Insert(p, r.Hops[i])
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p := r.Others[i%len(r.Others)]
				t.Insert(p, 1)
				t.Delete(p)
			}
		})
	})
	b.Run("load/1M", func(b *testing.B) {
		r := tables.NewRoutes(1_000_000)
		b.Run("culvert", r.Load)
		b.Run("bart", func(b *testing.B) {
			for b.Loop() {
				var t bart.Table[int]
				for i, p := range r.Prefixes {
					t.Insert(p, r.Hops[i])
				}
			}
		})
	})
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
