package runner_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// patience bounds what must come; only a failing test waits so long.
const patience = 10 * time.Second

// station is a host at the far end of a wire that leads to a port.
type station struct {
	*memory.Driver
	port uint32
	mac  ethernet.MAC
}

// rig is an engine with a bridge, run on wires in memory.
//
//	station 0 ── p0 ─┐
//	station 1 ── p1 ─┼─ bridge
//	…                ┘
type rig struct {
	*runner.Runner
	t        *testing.T
	stations []*station
	cancel   context.CancelFunc
	ended    chan error
}

func newRig(t *testing.T, c runner.Config, stations, queues int) *rig {
	t.Helper()
	e, err := engine.New(engine.Config{})
	require.NoError(t, err)
	_, err = e.AddBridge(engine.Bridge{Link: engine.Link{Name: "bridge", Up: true}})
	require.NoError(t, err)
	r := &rig{Runner: runner.New(e, c), t: t}
	for range stations {
		r.attach(queues)
	}
	t.Cleanup(r.close)
	return r
}

// attach adds a station.
func (r *rig) attach(queues int) *station {
	near, far, err := memory.NewPair(memory.Config{A: memory.End{Queues: queues}, B: memory.End{Queues: 1}})
	require.NoError(r.t, err)
	return r.attachDriver(near, far)
}

// attachDriver adds a station at one end of a wire, with a driver for the engine at the other.
func (r *rig) attachDriver(near driver.Driver, far *memory.Driver) *station {
	n := len(r.stations)
	name := fmt.Sprintf("p%d", n)
	port, err := r.Attach(near, engine.Port{Link: engine.Link{Name: name, Up: true}})
	require.NoError(r.t, err)
	require.NoError(r.t, r.Engine().SetMaster(name, "bridge"))
	s := &station{Driver: far, port: port, mac: ethernet.MAC{2, 0, 0, 0, 0, byte(n + 1)}}
	require.NoError(r.t, r.Engine().AddFDB(engine.FDBEntry{MAC: s.mac, Dev: name, Master: true}))
	r.stations = append(r.stations, s)
	return s
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(r.t.Context())
	r.cancel, r.ended = cancel, make(chan error, 1)
	go func() { r.ended <- r.Run(ctx) }()
}

// stop ends Run, and checks that nothing is lost.
func (r *rig) stop() {
	r.t.Helper()
	r.cancel()
	require.NoError(r.t, <-r.ended)
	r.cancel = nil
	assert.NoError(r.t, r.Engine().Stats().Check())
}

func (r *rig) close() {
	if r.cancel != nil {
		r.stop()
	}
	for _, p := range r.Ports() {
		assert.NoError(r.t, p.Driver.Close())
	}
	for _, s := range r.stations {
		assert.NoError(r.t, s.Close())
	}
}

// say sends numbered frames to another station, of a flow each.
func (s *station) say(t *testing.T, to *station, flow uint16, from, n int) {
	t.Helper()
	batch := make([]*packet.Buffer, 0, n)
	for i := range n {
		f, err := ethernet.Fields{Dst: to.mac, Src: s.mac, EtherType: 0x88b5}.Append(nil)
		require.NoError(t, err)
		f = binary.BigEndian.AppendUint16(f, flow)
		f = binary.BigEndian.AppendUint32(f, uint32(from+i))
		batch = append(batch, packet.Of(append(f, make([]byte, 40)...)))
	}
	assert.NoError(t, s.Queues()[0].Send(batch))
}

// hear receives n frames, and returns the numbers of each flow in their order.
func (s *station) hear(t *testing.T, n int) map[uint16][]int {
	t.Helper()
	got := map[uint16][]int{}
	batch := make([]*packet.Buffer, driver.BatchSize)
	for deadline := time.Now().Add(patience); n > 0; {
		k, err := s.Queues()[0].Receive(batch[:min(n, len(batch))], time.Until(deadline))
		require.NoError(t, err)
		require.NotZero(t, k, "%d frames do not come: %+v", n, s.Stats())
		for _, b := range batch[:k] {
			if f := b.Bytes(); binary.BigEndian.Uint16(f[12:]) == 0x88b5 {
				flow := binary.BigEndian.Uint16(f[14:])
				got[flow] = append(got[flow], int(binary.BigEndian.Uint32(f[16:])))
				n--
			}
			b.Free()
		}
	}
	return got
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

func TestForwards(t *testing.T) {
	for name, c := range map[string]struct {
		config runner.Config
		queues int
	}{
		"default":          {queues: 1},
		"polling":          {runner.Config{Poll: runner.PollAlways}, 1},
		"polling a moment": {runner.Config{Poll: time.Millisecond}, 1},
		"polling on":       {runner.Config{Poll: time.Hour}, 2},
		"never polling":    {runner.Config{Poll: runner.PollNever}, 1},
		"several queues":   {queues: 3},
		"one by one":       {runner.Config{Batch: 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.config, 3, c.queues)
			r.run()
			const rounds, size = 50, 64
			var all sync.WaitGroup
			for i, s := range r.stations {
				to := r.stations[(i+1)%3]
				all.Go(func() {
					for k := range rounds {
						s.say(t, to, uint16(i), k*size, size)
						got := s.hear(t, size)
						assert.Len(t, got, 1)
					}
				})
			}
			all.Wait()
			r.stop()
			st := r.Engine().Stats()
			assert.Equal(t, uint64(3*rounds*size), st.In)
			assert.Equal(t, uint64(3*rounds*size), st.Out)
			assert.Zero(t, r.Unbound())
			for _, p := range r.Ports() {
				assert.Equal(t, uint64(rounds*size), p.Stats.TxPackets, p.Name)
				assert.NoError(t, p.RxError)
				assert.NoError(t, p.TxError)
			}
		})
	}
}

func TestKeepsOrder(t *testing.T) {
	r := newRig(t, runner.Config{}, 2, 1)
	r.run()
	const rounds, size = 100, 64
	for k := range rounds {
		r.stations[0].say(t, r.stations[1], 7, k*size, size)
		got := r.stations[1].hear(t, size)
		for i, n := range got[7] {
			require.Equal(t, k*size+i, n)
		}
	}
}

func TestRunAgain(t *testing.T) {
	r := newRig(t, runner.Config{}, 2, 2)
	for range 3 {
		r.run()
		r.stations[0].say(t, r.stations[1], 1, 0, 10)
		assert.Equal(t, upTo(10), r.stations[1].hear(t, 10)[1])
		r.stop()
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	for range 2 {
		go func() { ended <- r.Run(ctx) }()
	}
	assert.ErrorIs(t, <-ended, runner.ErrRunning)
	cancel()
	assert.NoError(t, <-ended)
}

func TestWhatHasComeIsForwardedBeforeTheEnd(t *testing.T) {
	r := newRig(t, runner.Config{}, 2, 1)
	const runs = 20
	for range runs {
		r.run()
		r.stations[0].say(t, r.stations[1], 1, 0, 20)
		r.stop()
		// Some may not have been received yet; those are on the wire, and come by the next run.
		st := r.Engine().Stats()
		assert.Equal(t, st.In, st.Out)
	}
	r.run()
	r.stations[1].hear(t, runs*20)
}

func TestAttachAndDetachBesideTraffic(t *testing.T) {
	r := newRig(t, runner.Config{}, 2, 2)
	r.run()
	a, b := r.stations[0], r.stations[1]
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				a.say(t, b, 1, i, 1)
				b.hear(t, 1)
			}
		}
	})
	for range 20 {
		s := r.attach(2)
		s.say(t, a, 2, 0, 5)
		assert.Equal(t, upTo(5), a.hear(t, 5)[2])
		a.say(t, s, 3, 0, 5)
		assert.Equal(t, upTo(5), s.hear(t, 5)[3])
		d, err := r.Detach(s.port)
		require.NoError(t, err)
		l, _ := r.Engine().Link(r.Engine().Name(s.port))
		assert.False(t, l.Carrier, "a port without a driver")
		require.NoError(t, d.Close())
		_, err = r.Detach(s.port)
		require.ErrorIs(t, err, runner.ErrDetached)
		require.NoError(t, r.Engine().DeleteLink(l.Name))
	}
	close(done)
	all.Wait()
	assert.Len(t, r.Ports(), 2)
}

func TestAnotherDriverForAPort(t *testing.T) {
	r := newRig(t, runner.Config{}, 2, 1)
	r.run()
	port := r.stations[1].port
	old, err := r.Detach(port)
	require.NoError(t, err)
	require.NoError(t, old.Close())
	near, far, err := memory.NewPair(memory.Config{})
	require.NoError(t, err)
	require.NoError(t, r.Bind(port, near))
	require.ErrorIs(t, r.Bind(port, near), runner.ErrAttached)
	require.NoError(t, r.stations[1].Close())
	r.stations[1].Driver = far
	r.stations[0].say(t, r.stations[1], 1, 0, 3)
	assert.Equal(t, upTo(3), r.stations[1].hear(t, 3)[1])
}

func TestRefused(t *testing.T) {
	r := newRig(t, runner.Config{}, 1, 1)
	raw, far, err := memory.NewPair(memory.Config{Raw: true})
	require.NoError(t, err)
	defer func() { assert.NoError(t, errors.Join(raw.Close(), far.Close())) }()
	assert.ErrorIs(t, r.Bind(99, raw), runner.ErrNoPort)
	assert.ErrorIs(t, r.Bind(r.Engine().Index("bridge"), raw), runner.ErrNoPort)
	port, err := r.Engine().AddPort(engine.Port{Link: engine.Link{Name: "frames"}})
	require.NoError(t, err)
	assert.ErrorIs(t, r.Bind(port, raw), runner.ErrRaw)
	_, err = r.Attach(raw, engine.Port{Link: engine.Link{Name: "frames"}})
	assert.ErrorIs(t, err, engine.ErrExists)
}

func TestPortFollowsLink(t *testing.T) {
	r := newRig(t, runner.Config{}, 2, 1)
	r.run()
	near := r.Ports()[0].Driver.(*memory.Driver)
	link := func() engine.LinkInfo {
		l, _ := r.Engine().Link("p0")
		return l
	}
	require.Equal(t, 1500, link().MTU)
	require.True(t, link().Carrier)
	near.SetUp(false)
	require.Eventually(t, func() bool { return !link().Carrier }, patience, time.Millisecond)
	near.SetUp(true)
	require.NoError(t, near.SetMTU(1400))
	require.Eventually(t, func() bool { return link().Carrier && link().MTU == 1400 }, patience, time.Millisecond)

	require.NoError(t, r.Engine().SetLink("p0", engine.LinkChange{MTU: engine.Set(1200)}))
	require.NoError(t, near.SetMTU(1300))
	near.SetUp(false)
	require.Eventually(t, func() bool { return !link().Carrier }, patience, time.Millisecond)
	assert.Equal(t, 1200, link().MTU, "an MTU that somebody has set stays")
}

func TestPortFollowsLinkThatChangedWhileDetached(t *testing.T) {
	r := newRig(t, runner.Config{}, 1, 1)
	d, err := r.Detach(r.stations[0].port)
	require.NoError(t, err)
	require.NoError(t, d.(*memory.Driver).SetMTU(1300))
	require.NoError(t, r.Bind(r.stations[0].port, d))
	l, _ := r.Engine().Link("p0")
	assert.Equal(t, 1300, l.MTU)
	assert.True(t, l.Carrier)
}

// router is an engine with an address on its only port, which can be sent by.
func router(t *testing.T, c engine.Config) (*runner.Runner, *memory.Driver) {
	t.Helper()
	e, err := engine.New(c)
	require.NoError(t, err)
	near, far, err := memory.NewPair(memory.Config{})
	require.NoError(t, err)
	r := runner.New(e, runner.Config{})
	_, err = r.Attach(near, engine.Port{Link: engine.Link{Name: "eth0", Up: true}})
	require.NoError(t, err)
	require.NoError(t, e.AddAddr("eth0", engine.Addr{Prefix: netip.MustParsePrefix("10.0.0.1/24")}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
		assert.NoError(t, e.Stats().Check())
		assert.NoError(t, errors.Join(near.Close(), far.Close()))
	})
	return r, far
}

// next returns the next frame of an EtherType.
func next(t *testing.T, d driver.Driver, etherType uint16) []byte {
	t.Helper()
	batch := make([]*packet.Buffer, 1)
	for deadline := time.Now().Add(patience); ; {
		n, err := d.Queues()[0].Receive(batch, time.Until(deadline))
		require.NoError(t, err)
		require.NotZero(t, n, "no frame comes")
		f := append([]byte(nil), batch[0].Bytes()...)
		batch[0].Free()
		if binary.BigEndian.Uint16(f[12:]) == etherType {
			return f
		}
	}
}

var peer = netip.MustParseAddr("10.0.0.2")

func ping() *packet.Buffer { return packet.Of([]byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}) }

func TestTickAsksAgain(t *testing.T) {
	r, far := router(t, engine.Config{})
	require.NoError(t, r.Engine().SetNeighParams("eth0", arp.Params{Retransmit: 20 * time.Millisecond}))
	require.NoError(t, r.Send(ping(), engine.Send{Dst: peer, Protocol: 1}))
	for range 3 {
		next(t, far, ethernet.TypeARP)
	}
}

func TestAnswerReleasesAtOnce(t *testing.T) {
	r, far := router(t, engine.Config{})
	require.NoError(t, r.Send(ping(), engine.Send{Dst: peer, Protocol: 1}))
	next(t, far, ethernet.TypeARP)
	mac := ethernet.MAC{2, 0, 0, 0, 0, 9}
	require.NoError(t, r.Engine().ReplaceNeigh(engine.Neigh{Addr: peer, Dev: "eth0", MAC: mac}))
	assert.Equal(t, mac[:], next(t, far, ethernet.TypeIPv4)[:6])
}

func TestSendReportsFaults(t *testing.T) {
	r, _ := router(t, engine.Config{})
	assert.ErrorIs(t, r.Send(ping(), engine.Send{Dst: netip.MustParseAddr("192.0.2.1"), Protocol: 1}), engine.ErrNoRoute)
}

// faulty is a driver whose Receive returns errors before it works.
type faulty struct {
	driver.Driver
	driver.Queue
	errs chan error
}

func (f *faulty) Queues() []driver.Queue { return []driver.Queue{f} }

func (f *faulty) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	select {
	case err := <-f.errs:
		return 0, err
	default:
		return f.Queue.Receive(batch, wait)
	}
}

func TestErrorsOfReceive(t *testing.T) {
	near, far, err := memory.NewPair(memory.Config{})
	require.NoError(t, err)
	defer func() { assert.NoError(t, errors.Join(near.Close(), far.Close())) }()
	down := errors.New("network is down")
	f := &faulty{near, near.Queues()[0], make(chan error, 10)}
	f.errs <- down
	f.errs <- down

	e, err := engine.New(engine.Config{})
	require.NoError(t, err)
	told := make(chan error, 10)
	r := runner.New(e, runner.Config{OnError: func(_ uint32, err error) { told <- err }})
	port, err := r.Attach(f, engine.Port{Link: engine.Link{Name: "eth0", Up: true}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	assert.Equal(t, down, <-told)
	assert.Equal(t, down, <-told)

	require.NoError(t, far.Queues()[0].Send([]*packet.Buffer{packet.Of(make([]byte, 60))}))
	require.Eventually(t, func() bool { return e.Stats().In == 1 }, patience, time.Millisecond, "it goes on")
	f.errs <- io.EOF
	f.Interrupt()
	assert.Equal(t, io.EOF, <-told)
	p := r.Ports()[0]
	assert.Equal(t, uint64(3), p.RxErrors)
	assert.Equal(t, io.EOF, p.RxError)

	cancel()
	assert.NoError(t, <-ended)
	_, err = r.Detach(port)
	assert.NoError(t, err)
}

func TestClosedDriver(t *testing.T) {
	r := newRig(t, runner.Config{}, 2, 2)
	r.run()
	require.NoError(t, r.Ports()[1].Driver.Close())
	require.Eventually(t, func() bool {
		p := r.Ports()[1]
		return p.RxErrors == 2 && errors.Is(p.RxError, net.ErrClosed)
	}, patience, time.Millisecond, "each queue once")
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := newRig(t, runner.Config{}, 2, 1)
	r.run()
	a, b := r.stations[0], r.stations[1]
	pool, err := packet.NewPool(packet.PoolConfig{})
	require.NoError(t, err)
	frame := make([]byte, 60)
	copy(frame, b.mac[:])
	copy(frame[6:], a.mac[:])
	batch := make([]*packet.Buffer, driver.BatchSize)
	round := func() {
		n := pool.GetBatch(batch)
		for _, x := range batch[:n] {
			_ = x.SetBytes(frame)
		}
		_ = a.Queues()[0].Send(batch[:n])
		for n > 0 {
			k, err := b.Queues()[0].Receive(batch, patience)
			if k == 0 || err != nil {
				t.Error("frames do not come")
				return
			}
			packet.FreeBatch(batch[:k])
			n -= k
		}
	}
	round()
	const few = 0.5 // Tick's timer, now and then
	assert.Less(t, testing.AllocsPerRun(200, round), few)
}
