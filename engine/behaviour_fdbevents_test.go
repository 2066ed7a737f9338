package engine_test

// What Config.OnFDB is told.

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
)

func TestOnFDB(t *testing.T) {
	var told []string
	e, err := engine.New(engine.Config{OnFDB: func(device uint32, c fdb.Change) {
		told = append(told, fmt.Sprintf("%d %v", device, c))
	}})
	require.NoError(t, err)
	mac := func(last byte) ethernet.MAC { return ethernet.MAC{2, 0, 0, 0, 0, last} }
	br, err := e.AddBridge(engine.Bridge{Link: engine.Link{Name: "br0", MAC: mac(0xb0)}})
	require.NoError(t, err)
	port, err := e.AddPort(engine.Port{Link: engine.Link{Name: "p", MAC: mac(1)}})
	require.NoError(t, err)
	require.NoError(t, e.SetMaster("p", "br0"))
	require.NoError(t, e.AddFDB(engine.FDBEntry{MAC: mac(7), Dev: "p", Master: true, Flags: fdb.Static}))
	require.NoError(t, e.DeleteFDB(engine.FDBEntry{MAC: mac(7), Dev: "p", Master: true}))
	vx, err := e.AddVXLAN(engine.VXLAN{Link: engine.Link{Name: "vx"}, VNI: 7, Remote: netip.MustParseAddr("10.0.0.2")})
	require.NoError(t, err)
	require.NoError(t, e.AddFDB(engine.FDBEntry{MAC: mac(9), Dev: "vx", Dst: netip.MustParseAddr("10.0.0.2")}))
	assert.Equal(t, []string{
		fmt.Sprintf("%d 02:00:00:00:00:b0: no entry -> port %d permanent (control)", br, br),
		fmt.Sprintf("%d 02:00:00:00:00:01: no entry -> port %d permanent (control)", br, port),
		fmt.Sprintf("%d 02:00:00:00:00:07: no entry -> port %d static (control)", br, port),
		fmt.Sprintf("%d 02:00:00:00:00:07: port %d static -> no entry (control)", br, port),
		fmt.Sprintf("%d 00:00:00:00:00:00: no entry -> dst 10.0.0.2 static (control)", vx),
		fmt.Sprintf("%d 02:00:00:00:00:09: no entry -> dst 10.0.0.2 static sticky (control)", vx),
	}, told)
}
