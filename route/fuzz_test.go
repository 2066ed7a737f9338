package route_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/route"
)

// FuzzTable does what the bytes say to a table and to the linear oracle: any prefixes, valid or not, crowded around one address.
func FuzzTable(f *testing.F) {
	f.Add(false, []byte("add, append, replace, change, delete, swap: 0123456789abcdefghijklmnop"))
	f.Add(true, []byte{0, 24, 0, 1, 0, 16, 0, 2, 4, 24, 0, 0, 0, 0, 0, 3})
	f.Fuzz(func(t *testing.T, v6 bool, ops []byte) {
		table, err := route.New(route.Config{MaxRoutes: 20})
		require.NoError(t, err)
		want := &oracle{}
		first := netip.MustParseAddr("10.1.2.3")
		if v6 {
			first = netip.MustParseAddr("2001:db8:0:0:1::1")
		}
		for len(ops) >= 4 {
			addr := first.AsSlice()
			addr[ops[2]%uint8(len(addr))] ^= ops[2] >> 4
			a, _ := netip.AddrFromSlice(addr)
			r := route.Route{
				Prefix: netip.PrefixFrom(a, int(ops[1])%(a.BitLen()+2)), Type: route.Unicast, Table: route.TableMain, Metric: uint32(ops[3] & 1),
				NextHops: []route.NextHop{{Device: uint32(ops[3]), Tag: uint32(ops[0])}},
			}
			if ops[3]&2 != 0 {
				r.NextHops = append(r.NextHops, route.NextHop{Device: uint32(ops[3]) + 1, Weight: uint16(ops[2])})
			}
			if ops[3]&4 == 0 {
				r.Prefix = r.Prefix.Masked()
			}
			valid := r.Prefix.IsValid() && r.Prefix == r.Prefix.Masked()
			i := want.index(r)
			switch ops[0] % 6 {
			case 0:
				if table.Add(r) == nil {
					require.True(t, valid && i < 0)
					want.routes = append(want.routes, r)
				}
			case 1:
				if table.Append(r) == nil {
					require.True(t, valid)
					want.routes = append(want.routes, r)
				}
			case 2:
				if table.Replace(r) == nil && i >= 0 {
					want.routes[i] = r
				} else if i < 0 && valid && len(want.routes) < 20 {
					want.routes = append(want.routes, r)
				}
			case 3:
				if table.Change(r) == nil {
					require.GreaterOrEqual(t, i, 0)
					want.routes[i] = r
				}
			case 4:
				if gone, err := table.Delete(route.Match{Prefix: r.Prefix}); err == nil {
					j := slices.IndexFunc(want.routes, func(x route.Route) bool { return text(x) == text(gone) })
					require.GreaterOrEqual(t, j, 0, "%v\n%v", text(gone), texts(want.routes))
					want.routes = slices.Delete(want.routes, j, j+1)
				}
			case 5:
				require.NoError(t, table.Swap(table.All()))
				want.routes = want.all()
			}
			ops = ops[4:]
			for _, a := range []netip.Addr{a, a.Next(), first} {
				best, p := want.lookup(a), table.LookupAddr(a)
				require.Equal(t, len(best) > 0, p != nil, "%v", a)
				if p != nil {
					require.Equal(t, text(best[0]), text(p.Route(best[0].Prefix)))
				}
			}
		}
		require.Equal(t, texts(want.all()), texts(slices.Collect(table.All())))
	})
}
