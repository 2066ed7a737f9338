package route_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/route"
)

// TestSwapFromTheTableItself filters a table through its own iterator and asks it meanwhile; with one lock for all this
// would wait for itself.
func TestSwapFromTheTableItself(t *testing.T) {
	table := newTable(t, route.Config{})
	for _, r := range []route.Route{to("10.0.0.0/8", dev(1)), to("10.1.0.0/16", dev(2)), to("192.0.2.0/24", dev(1))} {
		require.NoError(t, table.Add(r))
	}
	require.NoError(t, table.Swap(func(yield func(route.Route) bool) {
		for r := range table.All() {
			assert.Equal(t, 3, table.Len())
			if r.NextHops[0].Device == 1 && !yield(r) {
				return
			}
		}
	}))
	assert.Equal(t, 2, table.Len())
	assert.Equal(t, uint32(1), table.Lookup(10<<24|1<<16).Hop(0).Device)
}
