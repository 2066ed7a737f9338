package drivertest_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/drivertest"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/packet"
)

// around returns faults around one end of a wire in memory, and the other end.
func around(t *testing.T, c drivertest.FaultsConfig) (*drivertest.Faults, *memory.Driver) {
	t.Helper()
	pool, err := packet.NewPool(packet.PoolConfig{})
	require.NoError(t, err)
	a, b, err := memory.NewPair(memory.Config{A: memory.End{Pool: pool}, B: memory.End{Pool: pool}})
	require.NoError(t, err)
	c.Driver, c.Pool = a, pool
	f, err := drivertest.NewFaults(c)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, f.Close())
		assert.NoError(t, b.Close())
		assert.Zero(t, pool.InUse())
	})
	return f, b
}

// numbered returns frames whose last byte is their number.
func numbered(n int) []*packet.Buffer {
	var batch []*packet.Buffer
	for i := range n {
		frame := make([]byte, 100)
		frame[99] = byte(i)
		batch = append(batch, packet.Of(frame))
	}
	return batch
}

// drain receives what there is, in batches of 16, and returns the numbers.
func drain(t *testing.T, d driver.Driver) []int {
	t.Helper()
	var got []int
	batch := make([]*packet.Buffer, 16)
	for {
		n, err := d.Queues()[0].Receive(batch, 0)
		for _, b := range batch[:n] {
			got = append(got, int(b.Bytes()[99]))
		}
		packet.FreeBatch(batch[:n])
		if n == 0 && err == nil {
			return got
		}
	}
}

func TestFaultsReceive(t *testing.T) {
	const n = 200
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	for _, c := range []struct {
		name    string
		chances drivertest.Chances
		check   func(t *testing.T, got []int, counts drivertest.FaultCounts)
	}{
		{"none", drivertest.Chances{}, func(t *testing.T, got []int, counts drivertest.FaultCounts) {
			assert.Equal(t, all, got)
			assert.Zero(t, counts)
		}},
		{"drop", drivertest.Chances{Drop: 0.3}, func(t *testing.T, got []int, counts drivertest.FaultCounts) {
			assert.Len(t, got, n-int(counts.RxDropped))
			assert.NotZero(t, counts.RxDropped)
			assert.IsIncreasing(t, got)
		}},
		{"drop all", drivertest.Chances{Drop: 1}, func(t *testing.T, got []int, _ drivertest.FaultCounts) { assert.Empty(t, got) }},
		{"duplicate", drivertest.Chances{Duplicate: 0.3}, func(t *testing.T, got []int, counts drivertest.FaultCounts) {
			assert.Len(t, got, n+int(counts.RxDuplicated))
			assert.NotZero(t, counts.RxDuplicated)
			assert.Subset(t, got, all)
		}},
		{"delay", drivertest.Chances{Delay: 0.3}, func(t *testing.T, got []int, counts drivertest.FaultCounts) {
			assert.ElementsMatch(t, all, got)
			assert.NotEqual(t, all, got)
			assert.NotZero(t, counts.RxDelayed)
		}},
		{"delay all", drivertest.Chances{Delay: 1}, func(t *testing.T, got []int, _ drivertest.FaultCounts) { assert.ElementsMatch(t, all, got) }},
		{"errors", drivertest.Chances{Error: 0.5}, func(t *testing.T, got []int, counts drivertest.FaultCounts) {
			assert.Equal(t, all, got)
			assert.NotZero(t, counts.RxErrors)
		}},
		{"short batches", drivertest.Chances{Short: 0.5}, func(t *testing.T, got []int, counts drivertest.FaultCounts) {
			assert.Equal(t, all, got)
			assert.NotZero(t, counts.RxShort)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := func() ([]int, drivertest.FaultCounts) {
				f, far := around(t, drivertest.FaultsConfig{Seed: 7, Receive: c.chances})
				require.NoError(t, far.Queues()[0].Send(numbered(n)))
				got := drain(t, f)
				assert.EqualValues(t, len(got), f.Stats().RxPackets)
				assert.EqualValues(t, 100*len(got), f.Stats().RxBytes)
				return got, f.Counts()
			}
			got, counts := run()
			c.check(t, got, counts)
			again, _ := run()
			assert.Equal(t, got, again, "equal seeds, equal faults")
		})
	}
}

func TestFaultsSend(t *testing.T) {
	const n, rounds = 20, 20
	for _, c := range []struct {
		name    string
		chances drivertest.Chances
		err     error
		check   func(t *testing.T, got int, counts drivertest.FaultCounts, st driver.Stats)
	}{
		{"drop", drivertest.Chances{Drop: 0.3}, nil, func(t *testing.T, got int, counts drivertest.FaultCounts, st driver.Stats) {
			assert.Equal(t, n*rounds-int(counts.TxDropped), got)
			assert.EqualValues(t, n*rounds, st.TxPackets, "it is lost on the wire, where nobody counts")
		}},
		{"duplicate", drivertest.Chances{Duplicate: 0.3}, nil, func(t *testing.T, got int, counts drivertest.FaultCounts, st driver.Stats) {
			assert.InDelta(t, n*rounds+int(counts.TxDuplicated), got, n, "copies of the last batch may be left")
			assert.NotZero(t, counts.TxDuplicated)
			assert.EqualValues(t, n*rounds, st.TxPackets)
		}},
		{"delay", drivertest.Chances{Delay: 0.3}, nil, func(t *testing.T, got int, counts drivertest.FaultCounts, st driver.Stats) {
			assert.InDelta(t, n*rounds, got, 4*n, "those of the last batches may be left")
			assert.NotZero(t, counts.TxDelayed)
			assert.EqualValues(t, n*rounds, st.TxPackets)
		}},
		{"errors", drivertest.Chances{Error: 0.3}, drivertest.ErrFault, func(t *testing.T, got int, counts drivertest.FaultCounts, st driver.Stats) {
			assert.Equal(t, n*(rounds-int(counts.TxErrors)), got)
			assert.EqualValues(t, n*counts.TxErrors, st.TxDropped)
		}},
		{"part of a batch", drivertest.Chances{Short: 0.3}, driver.ErrFull, func(t *testing.T, got int, counts drivertest.FaultCounts, st driver.Stats) {
			assert.NotZero(t, counts.TxShort)
			assert.EqualValues(t, got, st.TxPackets)
			assert.EqualValues(t, n*rounds-got, st.TxDropped)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, far := around(t, drivertest.FaultsConfig{Seed: 7, Send: c.chances})
			got := 0
			for range rounds {
				if err := f.Queues()[0].Send(numbered(n)); err != nil {
					assert.ErrorIs(t, err, c.err)
				}
				got += len(drain(t, far))
			}
			st := f.Stats()
			c.check(t, got, f.Counts(), st)
			assert.EqualValues(t, n*rounds, st.TxPackets+st.TxDropped+st.TxErrors)
			assert.EqualValues(t, 100*st.TxPackets, st.TxBytes)
		})
	}
}

func TestFaultsLink(t *testing.T) {
	f, far := around(t, drivertest.FaultsConfig{})
	told := func() bool {
		select {
		case <-f.Changed():
			return true
		default:
			return false
		}
	}
	f.SetUp(true)
	assert.False(t, told(), "it was up")

	f.SetUp(false)
	assert.True(t, told())
	assert.False(t, f.Link().Up)
	assert.ErrorIs(t, f.Queues()[0].Send(numbered(3)), driver.ErrDown)
	assert.EqualValues(t, 3, f.Stats().TxDropped)
	require.NoError(t, far.Queues()[0].Send(numbered(2)))
	assert.Empty(t, drain(t, f))
	assert.EqualValues(t, 2, f.Stats().RxDropped)

	f.SetUp(true)
	assert.True(t, told())
	require.NoError(t, f.Queues()[0].Send(numbered(2)))
	assert.Equal(t, []int{0, 1}, drain(t, far))

	f.SetMTU(80)
	assert.True(t, told())
	assert.Equal(t, 80, f.Link().MTU)
	assert.ErrorIs(t, f.Queues()[0].Send(numbered(1)), driver.ErrTooLong)
	require.NoError(t, far.Queues()[0].Send(numbered(1)))
	assert.Empty(t, drain(t, f))
	assert.EqualValues(t, 1, f.Stats().TxErrors)
	assert.EqualValues(t, 1, f.Stats().RxErrors)

	far.SetUp(false) // the inner driver's own changes are told, too
	select {
	case <-f.Changed():
	case <-time.After(10 * time.Second):
		t.Error("Changed has not told")
	}
	assert.False(t, f.Link().Up)
}

func TestFaultsSetChances(t *testing.T) {
	errMine := errors.New("mine")
	f, _ := around(t, drivertest.FaultsConfig{Err: errMine})
	require.NoError(t, f.Queues()[0].Send(numbered(1)))
	f.SetChances(drivertest.Chances{Error: 1}, drivertest.Chances{Error: 1})
	assert.ErrorIs(t, f.Queues()[0].Send(numbered(1)), errMine)
	_, err := f.Queues()[0].Receive(make([]*packet.Buffer, 1), driver.Forever)
	assert.ErrorIs(t, err, errMine)
	require.NoError(t, f.Close())
	_, err = f.Queues()[0].Receive(make([]*packet.Buffer, 1), driver.Forever)
	assert.ErrorIs(t, err, net.ErrClosed)
}

func TestFaultsErrors(t *testing.T) {
	_, err := drivertest.NewFaults(drivertest.FaultsConfig{Receive: drivertest.Chances{Drop: 1.5}, Send: drivertest.Chances{Error: -1}})
	for _, field := range []string{"FaultsConfig.Driver", "FaultsConfig.Receive.Drop", "FaultsConfig.Send.Error"} {
		assert.ErrorContains(t, err, field)
	}
}

// TestFaultsConformance runs the suite on drivers with those faults that the contract allows.
func TestFaultsConformance(t *testing.T) {
	for _, c := range []struct {
		name    string
		receive drivertest.Chances
	}{
		{"no faults", drivertest.Chances{}},
		{"short batches", drivertest.Chances{Short: 0.5}},
		{"delays", drivertest.Chances{Delay: 0.2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			drivertest.Run(t, drivertest.Harness{
				Unordered: c.receive.Delay > 0,
				New: func(t *testing.T, want drivertest.Config) drivertest.Pair {
					a, b, err := memory.NewPair(memory.Config{A: memory.End{Pool: want.Pool}})
					require.NoError(t, err)
					f, err := drivertest.NewFaults(drivertest.FaultsConfig{Driver: a, Seed: 1, Receive: c.receive})
					require.NoError(t, err)
					return drivertest.Pair{
						Driver: f, Wire: drivertest.Joined(b),
						SetUp:  func(up bool) error { f.SetUp(up); return nil },
						SetMTU: func(mtu int) error { f.SetMTU(mtu); return nil },
					}
				},
			})
		})
	}
}
