package engine_test

// What 'ip link' changes of devices that are there, and what it shows of them.

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/route"
)

func newEngine(t *testing.T) *engine.Engine {
	t.Helper()
	e, err := engine.New(engine.Config{Seed: 1})
	require.NoError(t, err)
	return e
}

func TestIndexOfChoice(t *testing.T) {
	e := newEngine(t)
	i, err := e.AddPort(engine.Port{Link: engine.Link{Name: "a", Index: 7}})
	require.NoError(t, err)
	assert.EqualValues(t, 7, i)
	for _, want := range []uint32{2, 3, 4, 5, 6, 8} {
		got, err := e.AddPort(engine.Port{Link: engine.Link{Name: "p" + string(rune('0'+want))}})
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	_, err = e.AddPort(engine.Port{Link: engine.Link{Name: "b", Index: 7}})
	require.ErrorIs(t, err, engine.ErrExists)
	_, err = e.AddPort(engine.Port{Link: engine.Link{Name: "b", Index: engine.LimitMaxDevices + 1}})
	require.ErrorIs(t, err, engine.ErrInvalid)
	require.NoError(t, e.DeleteLink("a"))
	i, err = e.AddPort(engine.Port{Link: engine.Link{Name: "b", Index: 7}})
	require.NoError(t, err)
	assert.EqualValues(t, 7, i)
}

func TestBridgeCarrierIsItsPorts(t *testing.T) {
	e := newEngine(t)
	_, err := e.AddBridge(engine.Bridge{Link: engine.Link{Name: "br0", Up: true}})
	require.NoError(t, err)
	_, err = e.AddPort(engine.Port{Link: engine.Link{Name: "p"}})
	require.NoError(t, err)
	state := func() [2]bool {
		l, _ := e.Link("br0")
		return [2]bool{l.Carrier, l.Unknown}
	}
	assert.Equal(t, [2]bool{true, true}, state(), "without ports")
	require.NoError(t, e.SetMaster("p", "br0"))
	assert.Equal(t, [2]bool{false, false}, state(), "port is down")
	require.NoError(t, e.SetUp("p"))
	assert.Equal(t, [2]bool{true, false}, state(), "port is up")
	require.NoError(t, e.SetMaster("p", ""))
	assert.Equal(t, [2]bool{false, false}, state(), "port is gone")
}

func TestAddressesInLinuxOrder(t *testing.T) {
	e := newEngine(t)
	_, err := e.AddPort(engine.Port{Link: engine.Link{Name: "p", Up: true}})
	require.NoError(t, err)
	add := func(prefix string, scope route.Scope) error {
		return e.AddAddr("p", engine.Addr{Prefix: netip.MustParsePrefix(prefix), Scope: scope, Metric: 5})
	}
	require.NoError(t, add("10.0.0.1/24", route.ScopeGlobal))
	require.NoError(t, add("10.0.0.2/24", route.ScopeGlobal))
	require.NoError(t, add("10.1.0.1/24", route.ScopeGlobal))
	require.NoError(t, add("10.2.0.1/24", route.ScopeLink))
	require.ErrorIs(t, add("10.0.0.1/24", route.ScopeGlobal), engine.ErrExists)
	require.ErrorIs(t, add("10.0.0.3/24", route.ScopeLink), engine.ErrScope)
	var got []string
	for _, a := range e.Addrs("p") {
		got = append(got, a.Prefix.String())
	}
	assert.Equal(t, []string{"10.2.0.1/24", "10.0.0.1/24", "10.1.0.1/24", "10.0.0.2/24"}, got)
	for r := range e.Routes() {
		if r.Prefix == netip.MustParsePrefix("10.1.0.0/24") {
			assert.EqualValues(t, 5, r.Metric)
		}
	}
}

func TestSetVXLAN(t *testing.T) {
	e := newEngine(t)
	_, err := e.AddVXLAN(engine.VXLAN{Link: engine.Link{Name: "vx"}, VNI: 5, Remote: netip.MustParseAddr("10.0.0.1")})
	require.NoError(t, err)
	made := func() engine.VXLAN {
		l, _ := e.Link("vx")
		return *l.VXLAN
	}
	v := made()
	v.Remote, v.TTL, v.Ageing, v.NoLearning = netip.MustParseAddr("10.0.0.2"), 9, time.Minute, true
	require.NoError(t, e.SetVXLAN("vx", v))
	assert.Equal(t, v.Remote, made().Remote)
	assert.Equal(t, time.Minute, made().Ageing)
	var remotes []netip.Addr
	for f := range e.FDB("vx") {
		assert.Equal(t, ethernet.MAC{}, f.MAC)
		remotes = append(remotes, f.Dst)
	}
	assert.Equal(t, []netip.Addr{v.Remote}, remotes, "everybody else")
	v.VNI = 6
	require.ErrorIs(t, e.SetVXLAN("vx", v), engine.ErrInvalid)
	require.ErrorContains(t, e.SetVXLAN("vx", v), "VNI cannot change")
	assert.EqualValues(t, 5, made().VNI)
	require.ErrorIs(t, e.SetVXLAN("lo", v), engine.ErrInvalid)
}

func TestSetIPIP(t *testing.T) {
	e := newEngine(t)
	_, err := e.AddIPIP(engine.IPIP{Link: engine.Link{Name: "t"}, Remote: netip.MustParseAddr("10.0.0.1")})
	require.NoError(t, err)
	l, _ := e.Link("t")
	c := *l.IPIP
	c.Remote, c.TTL = netip.MustParseAddr("10.0.0.2"), 7
	require.NoError(t, e.SetIPIP("t", c))
	l, _ = e.Link("t")
	assert.Equal(t, c.Remote, l.IPIP.Remote)
	assert.EqualValues(t, 7, l.IPIP.TTL)
	c.NoPMTUDisc = true
	require.ErrorIs(t, e.SetIPIP("t", c), engine.ErrInvalid)
	require.ErrorIs(t, e.SetIPIP("lo", c), engine.ErrInvalid)
}

func TestRoutesShowDeadNextHops(t *testing.T) {
	e := newEngine(t)
	for i, name := range []string{"p", "q"} {
		_, err := e.AddPort(engine.Port{Link: engine.Link{Name: name, Up: true}})
		require.NoError(t, err)
		require.NoError(t, e.AddAddr(name, engine.Addr{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), 24)}))
	}
	prefix := netip.MustParsePrefix("10.9.0.0/16")
	require.NoError(t, e.AddRoute(engine.Route{Prefix: prefix, NextHops: []engine.NextHop{{Dev: "p", Weight: 1}, {Dev: "q", Weight: 2}}}))
	require.NoError(t, e.SetLink("p", engine.LinkChange{Up: engine.Set(false)}))
	var got []engine.NextHop
	for r := range e.Routes() {
		if r.Prefix == prefix {
			got = r.NextHops
		}
	}
	assert.Equal(t, []engine.NextHop{{Dev: "p", Weight: 1, Dead: true}, {Dev: "q", Weight: 2}}, got)
}

func TestExplainPacketByAnyDevice(t *testing.T) {
	e := newEngine(t)
	_, err := e.AddBridge(engine.Bridge{Link: engine.Link{Name: "br0", Up: true}})
	require.NoError(t, err)
	require.NoError(t, e.AddAddr("br0", engine.Addr{Prefix: netip.MustParsePrefix("10.0.0.1/24")}))
	ip, err := ipv4.Fields{TTL: 64, Protocol: 253, Src: [4]byte{10, 0, 0, 2}, Dst: [4]byte{10, 0, 0, 1}}.Append(nil, 0)
	require.NoError(t, err)
	x, err := e.ExplainPacket("br0", ip, 0)
	require.NoError(t, err)
	assert.Contains(t, x.String(), "local")
	ip, err = ipv4.Fields{TTL: 64, Protocol: 253, Src: [4]byte{10, 0, 0, 2}, Dst: [4]byte{8, 8, 8, 8}}.Append(nil, 0)
	require.NoError(t, err)
	x, err = e.ExplainPacket("br0", ip, 0)
	require.NoError(t, err)
	assert.Equal(t, []engine.Reason{engine.DropNotForwarding}, x.Drops)
	_, err = e.ExplainPacket("nosuch", ip, 0)
	require.ErrorIs(t, err, engine.ErrNotFound)
}
