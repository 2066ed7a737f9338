package engine_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
)

// TestBehaviourTraceDone is when a trace tells that a packet's way is complete: behind its last copy, for each packet once.
func TestBehaviourTraceDone(t *testing.T) {
	r := newBridge(t)
	var done []*engine.TracedPacket
	var steps []int
	trace, err := r.Trace(engine.TraceConfig{Device: "p0", Count: 2, Done: func(p *engine.TracedPacket) {
		done, steps = append(done, p), append(steps, len(p.Steps))
	}})
	require.NoError(t, err)
	assert.Len(t, r.in("p1", stationFrame(sta0, sta1)), 3)
	assert.Empty(t, done, "it came in by another port")
	for range 3 {
		r.in("p0", stationFrame(sta2, sta0))
	}
	assert.Equal(t, trace.Packets(), done)
	require.Len(t, done, 2)
	for i, p := range done {
		assert.Len(t, p.Steps, steps[i], "nothing is added afterwards")
		assert.Equal(t, engine.StageTransmit, p.Steps[len(p.Steps)-1].Stage)
	}
}
