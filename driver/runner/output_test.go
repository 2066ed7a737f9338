package runner_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// TestOutput is what becomes of packets that leave by a port without a driver.
func TestOutput(t *testing.T) {
	var port atomic.Uint32
	left := make(chan int, 1)
	r := newRig(t, runner.Config{Output: func(p uint32, batch []*packet.Buffer) {
		port.Store(p)
		n := len(batch)
		packet.FreeBatch(batch)
		left <- n
	}}, 1, 1)
	own, err := r.Engine().AddPort(engine.Port{Link: engine.Link{Name: "own", Up: true}})
	require.NoError(t, err)
	require.NoError(t, r.Engine().SetMaster("own", "bridge"))
	to := &station{mac: ethernet.MAC{2, 0, 0, 0, 0, 0x77}}
	require.NoError(t, r.Engine().AddFDB(engine.FDBEntry{MAC: to.mac, Dev: "own", Master: true}))
	r.run()
	r.stations[0].say(t, to, 0, 0, 7)
	assert.Equal(t, 7, <-left)
	assert.Equal(t, own, port.Load())
	assert.Zero(t, r.Unbound())
	r.stop()
}
