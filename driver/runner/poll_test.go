package runner_test

// Workers that take packets from each other's queues while they poll.

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/packet"
)

// deaf is a driver whose worker sleeps, whatever comes, until it is interrupted: only others find its packets.
type deaf struct {
	driver.Driver
	driver.Queue
	interrupts chan struct{}
	asleep     chan struct{}                                 // has an element when its worker has come to sleep
	received   func(batch []*packet.Buffer, err error) error // called in Receive; what it returns, Receive does; nil: nobody
}

func (d *deaf) Queues() []driver.Queue { return []driver.Queue{d} }

func (d *deaf) Wait(time.Duration) error {
	select {
	case d.asleep <- struct{}{}:
	default:
	}
	<-d.interrupts
	return nil
}

func (d *deaf) Interrupt() {
	select {
	case d.interrupts <- struct{}{}:
	default:
	}
}

func (d *deaf) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	n, err := d.Queue.Receive(batch, wait)
	if d.received != nil {
		err = d.received(batch[:n], err)
	}
	return n, err
}

// attachDeaf adds a station behind a deaf driver.
func (r *rig) attachDeaf() (*station, *deaf) {
	near, far, err := memory.NewPair(memory.Config{})
	require.NoError(r.t, err)
	d := &deaf{Driver: near, Queue: near.Queues()[0], interrupts: make(chan struct{}, 1), asleep: make(chan struct{}, 1)}
	return r.attachDriver(d, far), d
}

// manyTurns is how often others are let come before they are taken to have done what they can.
const manyTurns = 100_000

// rouse has a rig's first worker poll.
func (r *rig) rouse() {
	r.t.Helper()
	other := r.attach(1)
	r.stations[0].say(r.t, other, 1, 0, 1)
	other.hear(r.t, 1)
}

func TestPollsQueuesOfOthers(t *testing.T) {
	r := newRig(t, runner.Config{Poll: time.Hour}, 1, 1)
	b, d := r.attachDeaf()
	r.run()
	<-d.asleep
	a := r.stations[0]
	for i := range 10 {
		a.say(t, b, 1, i, 1)
		b.hear(t, 1)
		b.say(t, a, 2, i, 1)
		assert.Equal(t, []int{i}, a.hear(t, 1)[2], "the worker of a's queue is awake")
	}
}

func TestKeepsOrderWhileOthersPoll(t *testing.T) {
	r := newRig(t, runner.Config{Poll: time.Hour, Batch: 4}, 0, 1)
	for range 3 { // whose workers are awake, too
		near, far, err := memory.NewPair(memory.Config{})
		require.NoError(t, err)
		d := &hesitant{near, near.Queues()[0]}
		r.attachDriver(d, far)
	}
	r.run()
	const rounds, size = 200, 32
	var all sync.WaitGroup
	for i, s := range r.stations {
		to := r.stations[(i+1)%len(r.stations)]
		all.Go(func() {
			for k := range rounds {
				s.say(t, to, uint16(i), k*size, size)
				for flow, numbers := range s.hear(t, size) {
					for j, n := range numbers {
						if k*size+j != n {
							t.Errorf("flow %d: packet %d came as %d", flow, n, k*size+j)
							return
						}
					}
				}
			}
		})
	}
	all.Wait()
}

// hesitant is a driver whose Receive lets others come before it returns.
type hesitant struct {
	driver.Driver
	driver.Queue
}

func (h *hesitant) Queues() []driver.Queue { return []driver.Queue{h} }

func (h *hesitant) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	n, err := h.Queue.Receive(batch, wait)
	if n > 0 {
		runtime.Gosched()
	}
	return n, err
}

// TestDetachWhileAnotherPolls detaches a driver when another port's worker has received a packet of it.
func TestDetachWhileAnotherPolls(t *testing.T) {
	r := newRig(t, runner.Config{Poll: time.Hour}, 1, 1)
	b, d := r.attachDeaf()
	inHand, goOn := make(chan struct{}), make(chan struct{})
	d.received = func(batch []*packet.Buffer, err error) error {
		if len(batch) > 0 {
			close(inHand)
			<-goOn
		}
		return err
	}
	r.run()
	<-d.asleep
	r.rouse()
	b.say(t, r.stations[0], 2, 0, 1)
	<-inHand
	before := r.Engine().Stats().In
	detached := make(chan struct{})
	go func() {
		defer close(detached)
		_, err := r.Detach(b.port)
		assert.NoError(t, err)
	}()
	for range manyTurns { // Detach comes to wait; it must hold if it has not, too
		runtime.Gosched()
	}
	select {
	case <-detached:
		t.Error("Detach has not waited for the packet")
	default:
	}
	close(goOn)
	<-detached
	assert.Equal(t, before+1, r.Engine().Stats().In)
	assert.Equal(t, []int{0}, r.stations[0].hear(t, 1)[2])
	assert.NoError(t, d.Close())
}

// TestDetachOfWhoPolls detaches the driver whose worker polls, when that has taken one of several packets of another one.
func TestDetachOfWhoPolls(t *testing.T) {
	r := newRig(t, runner.Config{Poll: time.Hour, Batch: 1}, 2, 1)
	a, to := r.stations[0], r.stations[1]
	b, d := r.attachDeaf()
	first := make(chan struct{}, 1)
	goOn := make(chan struct{})
	d.received = func(batch []*packet.Buffer, err error) error {
		if len(batch) > 0 {
			select {
			case first <- struct{}{}:
				<-goOn
			default:
			}
		}
		return err
	}
	r.run()
	<-d.asleep
	a.say(t, to, 1, 0, 1)
	to.hear(t, 1)
	const n = 10
	b.say(t, to, 2, 0, n)
	<-first
	first <- struct{}{} // full from now on
	detached := make(chan driver.Driver)
	go func() {
		x, err := r.Detach(a.port)
		assert.NoError(t, err)
		detached <- x
	}()
	for range manyTurns { // until a's worker is told; it must hold if it is not yet, too
		runtime.Gosched()
	}
	close(goOn)
	assert.Equal(t, upTo(n), to.hear(t, n)[2], "b's worker goes on")
	assert.NoError(t, (<-detached).Close())
}

func TestErrorsOfPolledQueues(t *testing.T) {
	type told struct {
		port uint32
		err  error
	}
	all := make(chan told, 10)
	r := newRig(t, runner.Config{Poll: time.Hour, OnError: func(port uint32, err error) { all <- told{port, err} }}, 1, 1)
	b, d := r.attachDeaf()
	down := errors.New("network is down")
	errs := make(chan error, 2)
	var calls atomic.Int64
	d.received = func(_ []*packet.Buffer, err error) error {
		calls.Add(1)
		select {
		case err := <-errs:
			return err
		default:
			return err
		}
	}
	r.run()
	<-d.asleep
	r.rouse()
	errs <- down
	assert.Equal(t, told{b.port, down}, <-all)
	asked := calls.Load()
	r.rouse()
	assert.Equal(t, asked, calls.Load(), "after an error its own worker asks")
	errs <- io.EOF
	d.Interrupt()
	assert.Equal(t, told{b.port, io.EOF}, <-all)
	for _, p := range r.Ports() {
		if p.Port == b.port {
			assert.Equal(t, uint64(2), p.RxErrors)
			assert.Equal(t, io.EOF, p.RxError)
		} else {
			assert.Zero(t, p.RxErrors, p.Name)
		}
	}
	r.rouse()
	assert.Empty(t, all, "it is not asked again")
}

func TestErrorsOfWait(t *testing.T) {
	near, far, err := memory.NewPair(memory.Config{})
	require.NoError(t, err)
	defer func() { assert.NoError(t, errors.Join(near.Close(), far.Close())) }()
	down := errors.New("network is down")
	w := &waitFails{near, near.Queues()[0], make(chan error, 1)}
	w.errs <- down
	told := make(chan error, 10)
	e, err := engine.New(engine.Config{})
	require.NoError(t, err)
	r := &rig{Runner: runner.New(e, runner.Config{OnError: func(_ uint32, err error) { told <- err }}), t: t}
	_, err = r.Attach(w, engine.Port{Link: engine.Link{Name: "eth0", Up: true}})
	require.NoError(t, err)
	r.run()
	assert.Equal(t, down, <-told)
	require.NoError(t, far.Queues()[0].Send([]*packet.Buffer{packet.Of(make([]byte, 60))}))
	require.Eventually(t, func() bool { return e.Stats().In == 1 }, patience, time.Millisecond, "it goes on")
	r.stop()
	assert.Equal(t, uint64(1), r.Ports()[0].RxErrors)
}

// waitFails is a driver whose Wait returns errors before it works.
type waitFails struct {
	driver.Driver
	driver.Queue
	errs chan error
}

func (w *waitFails) Queues() []driver.Queue { return []driver.Queue{w} }

func (w *waitFails) Wait(d time.Duration) error {
	select {
	case err := <-w.errs:
		return err
	default:
		return w.Queue.Wait(d)
	}
}

// TestVirtualTime runs a runner where time passes only when all goroutines sleep, so that nobody may poll until it has.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, runner.Config{}, 2, 2)
		r.run()
		a, b := r.stations[0], r.stations[1]
		for i := range 10 {
			a.say(t, b, 1, i, 1)
			assert.Equal(t, []int{i}, b.hear(t, 1)[1])
			b.say(t, a, 2, i, 1)
			assert.Equal(t, []int{i}, a.hear(t, 1)[2])
			time.Sleep(time.Second)
		}
		r.stop()
	})
}

func TestPollingTakesAShare(t *testing.T) {
	const limit = 200 * time.Microsecond
	t.Run("default", func(t *testing.T) {
		b := runner.NewBudget(runner.Config{})
		var now, spent time.Duration
		for now < time.Second { // packets come as fast as it polls
			now += 5 * time.Microsecond
			d := b.Allows(now, limit)
			b.Spend(d)
			now += d
			spent += d
		}
		assert.InDelta(t, float64(now/10), float64(spent), float64(now/100))
	})
	t.Run("after a second of rest", func(t *testing.T) {
		b := runner.NewBudget(runner.Config{})
		now := time.Second
		n := 0
		for b.Allows(now, limit) == limit {
			b.Spend(limit)
			now += limit
			n++
		}
		most := 30 * time.Millisecond // as much as is ever saved, and what comes meanwhile
		assert.Less(t, time.Duration(n)*limit, most)
		assert.NotZero(t, n)
	})
	t.Run("overdrawn", func(t *testing.T) {
		b := runner.NewBudget(runner.Config{})
		require.Equal(t, limit, b.Allows(time.Second, limit))
		b.Spend(50 * time.Millisecond) // others had the processor
		assert.Zero(t, b.Allows(time.Second+100*time.Millisecond, limit))
		assert.Equal(t, limit, b.Allows(time.Second+400*time.Millisecond, limit))
	})
	t.Run("as long as told", func(t *testing.T) {
		b := runner.NewBudget(runner.Config{Poll: time.Second})
		for range 100 {
			assert.Equal(t, time.Second, b.Allows(0, time.Second))
			b.Spend(time.Second)
		}
	})
}
