package simnet_test

// Time, and what wires do that internal/testnet, which stands on this package, does not show.

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/internal/simnet"
	"github.com/culvert-net/culvert/packet"
)

// wired returns two nodes with a wire between their ports, and a list of the lengths of the frames that b receives and when.
func wired(t *testing.T) (net *simnet.Net, a, b *simnet.Port, got *[]string) {
	t.Helper()
	net = simnet.New(1)
	pool, err := packet.NewPool(packet.PoolConfig{})
	require.NoError(t, err)
	net.Pool = pool
	w := net.NewWire()
	got = &[]string{}
	var ports [2]*simnet.Port
	for end := range ports {
		node, err := net.Add(engine.Config{})
		require.NoError(t, err)
		index, err := node.E.AddPort(engine.Port{Link: engine.Link{Name: "eth0", Up: true}})
		require.NoError(t, err)
		ports[end] = w.Plug(end, node, index)
		if end == 1 {
			require.NoError(t, node.E.Tap("eth0", func(_ uint32, _ bool, frame []byte, now time.Duration) {
				*got = append(*got, fmt.Sprintf("%d@%v", len(frame), now))
			}))
		}
	}
	return net, ports[0], ports[1], got
}

func TestOrder(t *testing.T) {
	net, a, _, got := wired(t)
	var calls []int
	for i := range 3 {
		net.At(time.Second, func() {
			calls = append(calls, i)
			net.At(time.Second, func() { calls = append(calls, 10+i) })
		})
	}
	for size := 60; size < 70; size++ {
		a.Put(make([]byte, size))
	}
	require.NoError(t, net.Run(time.Second))
	assert.Equal(t, []int{0, 1, 2, 10, 11, 12}, calls, "what is due at once keeps its order")
	require.Len(t, *got, 10)
	assert.Equal(t, "60@0s", (*got)[0])
	assert.Equal(t, "69@0s", (*got)[9])
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults simnet.Faults
		want   []string
	}{
		{"latency", simnet.Faults{Latency: time.Second}, []string{"100@1s", "200@1s", "300@1s"}},
		{"rate: 8,000 bit/s are a millisecond a byte", simnet.Faults{Rate: 8000}, []string{"100@100ms", "200@300ms", "300@600ms"}},
		{"limit", simnet.Faults{Latency: time.Second, Limit: 2}, []string{"100@1s", "200@1s"}},
		{"loss", simnet.Faults{Loss: 1}, nil},
		{"duplicate", simnet.Faults{Duplicate: 1}, []string{"100@0s", "100@0s", "200@0s", "200@0s", "300@0s", "300@0s"}},
		{"reordered frames do not wait", simnet.Faults{Latency: time.Second, Reorder: 1, ReorderBy: -1}, []string{"100@0s", "200@0s", "300@0s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			net, a, _, got := wired(t)
			a.Faults = &c.faults
			left := 0
			a.Left = func([]byte) { left++ }
			for _, size := range []int{100, 200, 300} {
				a.Put(make([]byte, size))
			}
			require.NoError(t, net.Run(time.Minute))
			assert.Equal(t, c.want, append([]string(nil), *got...))
			assert.Len(t, c.want, left)
		})
	}
}

func TestMove(t *testing.T) {
	net, a, b, got := wired(t)
	other, err := net.Add(engine.Config{})
	require.NoError(t, err)
	index, err := other.E.AddPort(engine.Port{Link: engine.Link{Name: "eth0", Up: true}})
	require.NoError(t, err)
	a.Put(make([]byte, 60))
	moved := b.Move(other, index)
	a.Put(make([]byte, 61))
	require.NoError(t, net.Run(0))
	assert.Empty(t, *got, "what was on the way is lost")
	stats, err := other.E.DeviceStats("eth0")
	require.NoError(t, err)
	assert.EqualValues(t, 1, stats.RxPackets)
	assert.Same(t, a, moved.Peer())
	assert.Nil(t, b.Peer())
	b.Unplug()
}

func TestCircles(t *testing.T) {
	net, _, _, _ := wired(t)
	net.MaxInstant = 100
	var again func()
	again = func() { net.At(net.Now(), again) }
	again()
	require.ErrorIs(t, net.Run(time.Second), simnet.ErrCircles)
}

func TestRemove(t *testing.T) {
	net, a, _, got := wired(t)
	a.Put(make([]byte, 60))
	net.Remove(net.Nodes()[1])
	require.NoError(t, net.Run(time.Second))
	assert.Empty(t, *got)
	assert.Len(t, net.Nodes(), 1)
}
