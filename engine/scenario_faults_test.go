package engine_test

// Scenarios S6 and S7 over wires that lose, delay, repeat, reorder and break frames: packets are lost, none is counted twice or
// not at all (every network checks that), and the same seed gives the same frames.

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/internal/testnet"
)

var badWire = testnet.Faults{
	Latency: 2 * time.Millisecond, Jitter: time.Millisecond, Loss: 0.05, Duplicate: 0.05, Corrupt: 0.05, Reorder: 0.1,
}

// onWires returns all that was on the wires, to the bit.
func onWires(net *testnet.Net) string {
	var b strings.Builder
	for _, w := range net.Wires() {
		for _, f := range w.Frames() {
			b.WriteString(f.At.String() + " " + f.From + " " + string(f.Bytes) + "\n")
		}
	}
	return b.String()
}

func TestScenarioS6Faults(t *testing.T) {
	const pings = 200
	run := func(seed uint64) (string, int) {
		n := newFlannelNet(t, seed, engine.Config{}, "/32", nil)
		n.peers()
		n.nic.Faults, n.vethA.Faults = badWire, badWire
		for range pings {
			require.NoError(t, n.podA.PingStart("10.244.2.14", testnet.Echo{Size: 1000}))
			n.RunFor(50 * time.Millisecond)
		}
		n.RunFor(time.Minute)
		return onWires(n.Net), len(n.podA.Received)
	}
	first, answers := run(11)
	again, _ := run(11)
	other, _ := run(12)
	assert.True(t, first == again, "equal seeds, other frames")
	assert.False(t, first == other, "other seeds, the same frames")
	assert.Greater(t, answers, pings/3)
	assert.Less(t, answers, pings)
}

func TestScenarioS7Faults(t *testing.T) {
	run := func(seed uint64) string {
		n := newTenantNet(t, seed, nil)
		n.replicate()
		for _, w := range n.Wires() {
			w.Faults = badWire
		}
		for i := range 100 {
			require.NoError(t, n.ra.PingStart("10.0.0.2", testnet.Echo{}))
			require.NoError(t, n.rc.PingStart("10.0.0.1", testnet.Echo{}))
			require.NoError(t, n.ba.PingStart([]string{"10.0.0.2", "10.0.0.200"}[i%2], testnet.Echo{}))
			n.RunFor(20 * time.Millisecond)
		}
		n.RunFor(time.Minute)
		for _, f := range n.wires["rc"].Frames() {
			assert.NotContains(t, f.String(), "10.0.0.200", "what only blue asks for, at red")
		}
		return onWires(n.Net)
	}
	first, again := run(21), run(21)
	assert.True(t, first == again, "equal seeds, other frames")
}
