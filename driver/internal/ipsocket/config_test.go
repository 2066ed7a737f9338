package ipsocket_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver/internal/ipsocket"
	"github.com/culvert-net/culvert/packet"
)

func TestCheck(t *testing.T) {
	small, err := packet.NewPool(packet.PoolConfig{Size: 600})
	require.NoError(t, err)
	usual, err := packet.NewPool(packet.PoolConfig{})
	require.NoError(t, err)
	number := func(v int) func(*ipsocket.Check) {
		return func(c *ipsocket.Check) { c.Number("Queues", &v, 1, 64) }
	}
	for name, c := range map[string]struct {
		check func(c *ipsocket.Check)
		says  string // "": nothing is wrong
	}{
		"no address":              {func(c *ipsocket.Check) { c.Local(netip.Addr{}) }, ""},
		"an address":              {func(c *ipsocket.Check) { c.Local(netip.MustParseAddr("192.0.2.1")) }, ""},
		"IPv6":                    {func(c *ipsocket.Check) { c.Local(netip.MustParseAddr("2001:db8::1")) }, "test: Config.Local is 2001:db8::1"},
		"a group":                 {func(c *ipsocket.Check) { c.Local(netip.MustParseAddr("224.0.0.1")) }, "test: Config.Local is the group 224.0.0.1"},
		"no device":               {func(c *ipsocket.Check) { c.Device("") }, ""},
		"a name of 15 bytes":      {func(c *ipsocket.Check) { c.Device("fifteen-bytes-0") }, ""},
		"a name of 16 bytes":      {func(c *ipsocket.Check) { c.Device("sixteen-bytes-00") }, `test: Config.Device "sixteen-bytes-00"`},
		"a name with a slash":     {func(c *ipsocket.Check) { c.Device("a/b") }, "test: Config.Device"},
		"no pool":                 {func(c *ipsocket.Check) { c.Pool(nil) }, ""},
		"the usual pool":          {func(c *ipsocket.Check) { c.Pool(usual) }, ""},
		"too little room":         {func(c *ipsocket.Check) { c.Pool(small) }, "test: Config.Pool has buffers of"},
		"no MTU":                  {func(c *ipsocket.Check) { c.InnerMTU(0) }, ""},
		"the highest MTU":         {func(c *ipsocket.Check) { c.InnerMTU(65535) }, ""},
		"an MTU one too high":     {func(c *ipsocket.Check) { c.InnerMTU(65536) }, "test: Config.InnerMTU is 65536"},
		"a negative MTU":          {func(c *ipsocket.Check) { c.InnerMTU(-1) }, "test: Config.InnerMTU is -1"},
		"the least number":        {number(1), ""},
		"the highest number":      {number(64), ""},
		"a number one too high":   {number(65), "test: Config.Queues is 65: want 1 to 64, or 0 for 1"},
		"a negative number":       {number(-1), "test: Config.Queues is -1"},
		"a gibibyte and one more": {func(c *ipsocket.Check) { v := 1<<30 + 1; c.Bytes("SendBuffer", &v, 1) }, "test: Config.SendBuffer is"},
	} {
		check := ipsocket.NewCheck("test")
		c.check(check)
		if c.says == "" {
			assert.NoError(t, check.Err(), name)
			continue
		}
		assert.ErrorContains(t, check.Err(), c.says, name)
	}
}

func TestCheckSetsDefaultsAndKeepsAllFaults(t *testing.T) {
	check, v := ipsocket.NewCheck("test"), 0
	check.Number("Queues", &v, 7, 64)
	require.NoError(t, check.Err())
	assert.Equal(t, 7, v)
	check.Device("a b")
	check.Fault("Peers[%d] is wrong", 3)
	assert.ErrorContains(t, check.Err(), "Device")
	assert.ErrorContains(t, check.Err(), "test: Config.Peers[3] is wrong")
}
