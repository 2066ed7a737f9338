package route_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/route"
)

// TestAChangedDefaultRouteIsCounted looks from outside at what keeps slow readers right: each change of the default route makes
// them look once more.
func TestAChangedDefaultRouteIsCounted(t *testing.T) {
	table := newTable(t, route.Config{})
	counted := func(change string, do func() error) {
		before := table.Stats().Reused
		require.NoError(t, do(), change)
		assert.Greater(t, table.Stats().Reused, before, change)
	}
	counted("add", func() error { return table.Add(to("0.0.0.0/0", dev(1))) })
	counted("replace", func() error { return table.Replace(to("0.0.0.0/0", dev(2))) })
	counted("delete", func() error {
		_, err := table.Delete(route.Match{Prefix: prefix("0.0.0.0/0")})
		return err
	})
}

// TestTheDefaultRouteLeavesNoHole takes the default route away only while there is a longer prefix for the address. Other
// prefixes keep both paths in use, so that nothing is used again that readers would notice.
func TestTheDefaultRouteLeavesNoHole(t *testing.T) {
	for name, flat := range map[string]bool{"trie": false, "flat": true} {
		t.Run(name, func(t *testing.T) {
			// With more threads than cores, the system stops readers in the midst of a lookup.
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4 * runtime.NumCPU()))
			table := newTable(t, route.Config{Flat: flat})
			for _, r := range []route.Route{
				to("0.0.0.0/0", dev(1)), to("192.0.2.0/24", dev(1)), to("198.51.100.0/24", dev(2)),
			} {
				require.NoError(t, table.Add(r))
			}
			var stop atomic.Bool
			var holes atomic.Uint64
			var readers sync.WaitGroup
			for range 4*runtime.NumCPU() - 1 {
				readers.Go(func() {
					for !stop.Load() {
						if table.Lookup(10<<24) == nil {
							holes.Add(1)
						}
					}
				})
			}
			rounds := 80_000
			if raceEnabled {
				rounds /= 20
			}
			longer := to("10.0.0.0/16", dev(2))
			for range rounds {
				require.NoError(t, table.Add(longer))
				_, err := table.Delete(route.Match{Prefix: prefix("0.0.0.0/0")})
				require.NoError(t, err)
				require.NoError(t, table.Add(to("0.0.0.0/0", dev(1))))
				_, err = table.Delete(route.Match{Prefix: longer.Prefix})
				require.NoError(t, err)
			}
			stop.Store(true)
			readers.Wait()
			assert.Zero(t, holes.Load(), "lookups without a route")
		})
	}
}
