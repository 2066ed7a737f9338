package engine_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
)

// TestProxyNeighs lists the addresses that are answered for.
func TestProxyNeighs(t *testing.T) {
	e, err := engine.New(engine.Config{})
	require.NoError(t, err)
	_, err = e.AddPort(engine.Port{Link: engine.Link{Name: "eth0"}})
	require.NoError(t, err)
	require.NoError(t, e.AddProxyNeigh(netip.MustParseAddr("10.0.0.7"), "eth0"))
	require.NoError(t, e.AddProxyNeigh(netip.MustParseAddr("10.0.0.5"), "eth0"))
	require.NoError(t, e.AddProxyNeigh(netip.MustParseAddr("10.0.0.9"), ""))
	var got []string
	for addr, dev := range e.ProxyNeighs() {
		got = append(got, fmt.Sprintf("%v %q", addr, dev))
	}
	assert.Equal(t, []string{`10.0.0.9 ""`, `10.0.0.5 "eth0"`, `10.0.0.7 "eth0"`}, got)
}
