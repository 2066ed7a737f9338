package runner_test

// A runner whose drivers lose, double, delay and refuse packets, report errors, and have links that go down and up and change their
// MTU: nothing may be lost from the count, nothing kept, and in the end all works again.

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/drivertest"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

func TestFaults(t *testing.T) {
	var faults drivertest.FaultCounts
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			before := runtime.NumGoroutine()
			t.Run("trouble", func(t *testing.T) { newTrouble(t, seed).run(&faults) })
			for end := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
				require.True(t, time.Now().Before(end), "%d goroutines, before there were %d", runtime.NumGoroutine(), before)
			}
		})
	}
	for _, n := range []uint64{
		faults.RxDropped, faults.RxDuplicated, faults.RxDelayed, faults.RxErrors, faults.RxShort,
		faults.TxDropped, faults.TxDuplicated, faults.TxDelayed, faults.TxErrors, faults.TxShort,
	} {
		assert.NotZero(t, n, "too little trouble: %+v", faults)
	}
}

// trouble is a rig whose drivers are faulty.
type trouble struct {
	*rig
	random *rand.Rand
	pool   *packet.Pool // of the drivers at the ports
	own    *packet.Pool // the engine's
	faulty []*drivertest.Faults
	said   atomic.Int64 // frames that stations have sent
	heard  atomic.Int64
}

func newTrouble(t *testing.T, seed uint64) *trouble {
	t.Helper()
	x := &trouble{random: rand.New(rand.NewPCG(seed, 1))}
	var err error
	x.pool, err = packet.NewPool(packet.PoolConfig{Buffers: 2048})
	require.NoError(t, err)
	x.own, err = packet.NewPool(packet.PoolConfig{})
	require.NoError(t, err)
	e, err := engine.New(engine.Config{Seed: seed, Pool: x.own})
	require.NoError(t, err)
	_, err = e.AddBridge(engine.Bridge{Link: engine.Link{Name: "bridge", Up: true}})
	require.NoError(t, err)
	polls := []time.Duration{0, runner.PollNever, time.Hour, runner.PollAlways}
	x.rig = &rig{Runner: runner.New(e, runner.Config{Poll: polls[seed%uint64(len(polls))]}), t: t}
	t.Cleanup(x.close)
	const stations = 3
	for i := range stations {
		x.attachFaulty(i, seed)
	}
	return x
}

// attachFaulty adds a station behind a faulty driver of two queues.
func (x *trouble) attachFaulty(i int, seed uint64) {
	near, far, err := memory.NewPair(memory.Config{A: memory.End{Queues: 2, Pool: x.pool}})
	require.NoError(x.t, err)
	f, err := drivertest.NewFaults(drivertest.FaultsConfig{Driver: near, Seed: seed<<8 | uint64(i), Pool: x.pool})
	require.NoError(x.t, err)
	x.faulty = append(x.faulty, f)
	name := fmt.Sprintf("p%d", i)
	port, err := x.Attach(f, engine.Port{Link: engine.Link{Name: name, Up: true}})
	require.NoError(x.t, err)
	require.NoError(x.t, x.Engine().SetMaster(name, "bridge"))
	x.stations = append(x.stations, &station{Driver: far, port: port, mac: ethernet.MAC{2, 0, 0, 0, 0, byte(i + 1)}})
}

// run has stations talk in trouble, and then without, and adds up what went wrong.
func (x *trouble) run(sum *drivertest.FaultCounts) {
	x.rig.run()
	done := make(chan struct{})
	var all sync.WaitGroup
	for i, s := range x.stations {
		all.Go(func() { x.talk(i, done) })
		all.Go(func() { x.listen(s, done) })
	}
	events := 300
	if raceEnabled {
		events = 60
	}
	for range events {
		x.happen()
		for enough := x.said.Load() + 300; x.said.Load() < enough; {
			runtime.Gosched()
		}
	}
	x.calm()
	heard := x.heard.Load()
	goesOn := func() bool { return x.heard.Load() > heard+1000 }
	if !assert.Eventually(x.t, goesOn, patience, time.Millisecond, "it does not go on") {
		x.t.Logf("%d heard of %d, %+v, %+v", x.heard.Load()-heard, x.said.Load(), x.Ports(), x.Engine().Stats())
	}
	close(done)
	for _, s := range x.stations {
		s.Queues()[0].Interrupt()
	}
	all.Wait()
	x.check()
	for _, f := range x.faulty {
		c := f.Counts()
		sum.RxDropped, sum.TxDropped = sum.RxDropped+c.RxDropped, sum.TxDropped+c.TxDropped
		sum.RxDuplicated, sum.TxDuplicated = sum.RxDuplicated+c.RxDuplicated, sum.TxDuplicated+c.TxDuplicated
		sum.RxDelayed, sum.TxDelayed = sum.RxDelayed+c.RxDelayed, sum.TxDelayed+c.TxDelayed
		sum.RxErrors, sum.TxErrors = sum.RxErrors+c.RxErrors, sum.TxErrors+c.TxErrors
		sum.RxShort, sum.TxShort = sum.RxShort+c.RxShort, sum.TxShort+c.TxShort
	}
}

// talk sends frames to other stations, to all, and to nobody.
func (x *trouble) talk(i int, done chan struct{}) {
	random := rand.New(rand.NewPCG(uint64(i), 2))
	s := x.stations[i]
	for {
		select {
		case <-done:
			return
		default:
		}
		n := 1 + random.IntN(20)
		to := *x.stations[random.IntN(len(x.stations))]
		switch random.IntN(20) {
		case 0:
			to.mac = ethernet.Broadcast
		case 1:
			to.mac[1] = 9
		}
		s.say(x.t, &to, 1, 0, n)
		x.said.Add(int64(n))
		runtime.Gosched()
	}
}

func (x *trouble) listen(s *station, done chan struct{}) {
	batch := make([]*packet.Buffer, driver.BatchSize)
	for {
		select {
		case <-done:
			return
		default:
		}
		n, err := s.Queues()[0].Receive(batch, driver.Forever)
		assert.NoError(x.t, err)
		packet.FreeBatch(batch[:n])
		x.heard.Add(int64(n))
	}
}

// happen does one thing that happens to drivers.
func (x *trouble) happen() {
	i := x.random.IntN(len(x.faulty))
	f, port := x.faulty[i], x.stations[i].port
	switch x.random.IntN(5) {
	case 0:
		f.SetUp(x.random.IntN(2) == 0)
	case 1:
		f.SetMTU([]int{68, 600, 1400, 1500, 9000}[x.random.IntN(5)])
	case 2:
		d, err := x.Detach(port)
		require.NoError(x.t, err)
		require.NoError(x.t, x.Bind(port, d))
	default:
		f.SetChances(x.chances(), x.chances())
	}
}

func (x *trouble) chances() drivertest.Chances {
	chance := func() float64 { return []float64{0, 0.01, 0.1, 0.5}[x.random.IntN(4)] }
	return drivertest.Chances{Drop: chance(), Duplicate: chance(), Delay: chance(), Error: chance(), Short: chance()}
}

// calm ends all trouble.
func (x *trouble) calm() {
	for _, f := range x.faulty {
		f.SetChances(drivertest.Chances{}, drivertest.Chances{})
		f.SetMTU(1500)
		f.SetUp(true)
	}
	require.Eventually(x.t, func() bool {
		for _, p := range x.Ports() {
			if l, _ := x.Engine().Link(p.Name); !l.Carrier || l.MTU != 1500 {
				return false
			}
		}
		return true
	}, patience, time.Millisecond, "ports follow their links")
}

// check ends all and counts.
func (x *trouble) check() {
	x.stop()
	st := x.Engine().Stats()
	var rx, tx uint64
	for _, p := range x.Ports() {
		rx += p.Stats.RxPackets
		tx += p.Stats.TxPackets + p.Stats.TxDropped + p.Stats.TxErrors
	}
	assert.Equal(x.t, st.In, rx, "what drivers received went in")
	assert.Equal(x.t, st.Out, tx+x.Unbound(), "what went out was sent")
	x.close()
	assert.Zero(x.t, x.pool.InUse())
	assert.Zero(x.t, x.own.InUse())
}
