package route_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/route"
)

// TestPrepend adds routes before and behind others, among those of another metric.
func TestPrepend(t *testing.T) {
	table, err := route.New(route.Config{})
	require.NoError(t, err)
	with := func(metric uint32, device uint32) route.Route {
		return route.Route{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Metric: metric, NextHops: []route.NextHop{{Device: device}}}
	}
	require.NoError(t, table.Prepend(with(5, 1)))
	require.NoError(t, table.Prepend(with(5, 2)))
	require.NoError(t, table.Append(with(5, 3)))
	require.NoError(t, table.Prepend(with(1, 4)))
	require.NoError(t, table.Prepend(with(9, 5)))
	require.ErrorIs(t, table.Prepend(with(5, 3)), route.ErrExists)
	var devices []uint32
	for r := range table.All() {
		devices = append(devices, r.NextHops[0].Device)
	}
	assert.Equal(t, []uint32{4, 2, 1, 3, 5}, devices)
}
