package drivertest

// A driver that misbehaves as real ones do, for those who use drivers.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// ErrFault is the error of calls that fail by chance.
var ErrFault = errors.New("drivertest: a fault on purpose")

// Chances are how likely faults are, each from 0 for never to 1 for always.
type Chances struct {
	Drop      float64 // a packet is lost: silently when sent, counted as RxDropped when received
	Duplicate float64 // a packet comes twice, if FaultsConfig.Pool has a buffer for the copy
	Delay     float64 // a packet comes some calls later, behind others: of Send, or of Receive, which waits no more than a few ms for them
	Error     float64 // a call fails with FaultsConfig.Err; Send loses its batch then, counted as TxDropped
	Short     float64 // Receive returns less than there is; Send sends a part, and finds the device full for the rest
}

// FaultsConfig describes what goes wrong.
type FaultsConfig struct {
	Driver        driver.Driver // that the packets pass
	Seed          uint64        // equal seeds and equal calls, equal faults
	Receive, Send Chances
	Pool          *packet.Pool // of buffers for duplicates; nil for none
	Err           error        // of calls that fail; default ErrFault
}

// Faults is a driver around another one that loses, doubles, delays and refuses packets by chance, and whose link goes down and up
// when it is told to. It keeps the contract of package driver all the same, as far as a broken device can: counters add up, buffers
// come back. Close closes the driver in it.
type Faults struct {
	inner   driver.Driver
	pool    *packet.Pool
	err     error
	queues  []driver.Queue
	changed chan struct{}
	done    chan struct{}
	once    sync.Once

	mu            sync.Mutex // everything below
	receive, send Chances
	down          bool
	mtu           int
	closed        bool
	counts        FaultCounts
	adjust        driver.Stats // what Stats is more than the inner driver's; may be less than 0, modulo 2^64
}

// FaultCounts says how many faults of each kind there were.
type FaultCounts struct {
	RxDropped, RxDuplicated, RxDelayed, RxErrors, RxShort uint64
	TxDropped, TxDuplicated, TxDelayed, TxErrors, TxShort uint64
}

// NewFaults returns a driver around c.Driver. It reports every field of c that is out of range.
func NewFaults(c FaultsConfig) (*Faults, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Err == nil {
		c.Err = ErrFault
	}
	f := &Faults{
		inner: c.Driver, pool: c.Pool, err: c.Err, receive: c.Receive, send: c.Send,
		mtu: asBefore, changed: make(chan struct{}, 1), done: make(chan struct{}),
	}
	for i, q := range c.Driver.Queues() {
		f.queues = append(f.queues, &faultyQueue{
			faults: f, inner: q,
			rx: side{chance: rand.New(rand.NewPCG(c.Seed, uint64(2*i)))},
			tx: side{chance: rand.New(rand.NewPCG(c.Seed, uint64(2*i+1)))},
		})
	}
	if changed := c.Driver.Changed(); changed != nil {
		go f.forward(changed)
	}
	return f, nil
}

const asBefore = -1 // an MTU that is the inner driver's

func (c *FaultsConfig) check() error {
	var errs []error
	if c.Driver == nil {
		errs = append(errs, errors.New("drivertest: FaultsConfig.Driver is nil"))
	}
	for _, side := range []struct {
		name string
		Chances
	}{{"Receive", c.Receive}, {"Send", c.Send}} {
		for _, v := range []struct {
			name  string
			value float64
		}{{"Drop", side.Drop}, {"Duplicate", side.Duplicate}, {"Delay", side.Delay}, {"Error", side.Error}, {"Short", side.Short}} {
			if !(v.value >= 0 && v.value <= 1) {
				errs = append(errs, fmt.Errorf("drivertest: FaultsConfig.%s.%s is %v: want 0 to 1", side.name, v.name, v.value))
			}
		}
	}
	return errors.Join(errs...)
}

// forward tells of the inner driver's changes.
func (f *Faults) forward(changed <-chan struct{}) {
	for {
		select {
		case <-changed:
			f.tell()
		case <-f.done:
			return
		}
	}
}

func (f *Faults) tell() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// SetChances replaces what goes wrong from now on.
func (f *Faults) SetChances(receive, send Chances) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.receive, f.send = receive, send
}

// SetUp takes the link down, or up again if the inner driver's is. While it is down packets are lost, counted as RxDropped, and
// Send returns driver.ErrDown.
func (f *Faults) SetUp(up bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down == up {
		f.down = !up
		f.tell()
	}
}

// SetMTU changes the MTU, 0 for none; longer packets are then errors in both directions.
func (f *Faults) SetMTU(mtu int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mtu != mtu {
		f.mtu = mtu
		f.tell()
	}
}

// Counts returns how many faults there were.
func (f *Faults) Counts() FaultCounts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// Queues implements [driver.Driver].
func (f *Faults) Queues() []driver.Queue { return f.queues }

// Changed implements [driver.Driver].
func (f *Faults) Changed() <-chan struct{} { return f.changed }

// Link implements [driver.Driver].
func (f *Faults) Link() driver.Link {
	l := f.inner.Link()
	f.mu.Lock()
	defer f.mu.Unlock()
	l.Up = l.Up && !f.down && !f.closed
	if f.mtu != asBefore {
		l.MTU = f.mtu
	}
	return l
}

// Stats implements [driver.Driver].
func (f *Faults) Stats() driver.Stats {
	st := f.inner.Stats()
	f.mu.Lock()
	defer f.mu.Unlock()
	a := &f.adjust
	return driver.Stats{
		RxPackets: st.RxPackets + a.RxPackets, RxBytes: st.RxBytes + a.RxBytes,
		RxDropped: st.RxDropped + a.RxDropped, RxErrors: st.RxErrors + a.RxErrors,
		TxPackets: st.TxPackets + a.TxPackets, TxBytes: st.TxBytes + a.TxBytes,
		TxDropped: st.TxDropped + a.TxDropped, TxErrors: st.TxErrors + a.TxErrors,
	}
}

// Close implements [driver.Driver].
func (f *Faults) Close() error {
	f.once.Do(func() { close(f.done) })
	f.mu.Lock()
	f.closed = true
	for _, q := range f.queues {
		q.(*faultyQueue).free()
	}
	f.mu.Unlock()
	return f.inner.Close()
}

// tooLong reports whether a packet is longer than an MTU that was set. It is called with mu held.
func (f *Faults) tooLong(b *packet.Buffer, raw bool) bool {
	most := f.mtu
	if !raw {
		most += ethernet.HeaderLen + ethernet.TagLen
	}
	return f.mtu > 0 && b.Len() > most && !b.IsSuperframe()
}

type faultyQueue struct {
	faults *Faults
	inner  driver.Queue
	rx, tx side

	interrupted atomic.Bool // maybe by a call that the inner queue has answered already
}

// side is one direction of a queue. The faults' mu guards it.
type side struct {
	chance *rand.Rand
	late   []latePacket
	out    []*packet.Buffer
}

type latePacket struct {
	b     *packet.Buffer
	calls int // that it waits for
}

const (
	maxLate  = 256              // packets that are late at a time
	maxCalls = 4                // that one is late by
	latePoll = time.Millisecond // how long Receive waits for more while some are late
)

func (s *side) happens(chance float64) bool { return chance > 0 && s.chance.Float64() < chance }

// delay keeps a packet for later, and reports false if too many are.
func (s *side) delay(b *packet.Buffer, calls int) bool {
	if len(s.late) == maxLate {
		return false
	}
	s.late = append(s.late, latePacket{b, calls})
	return true
}

// due takes the packets whose time has come, all if everything is to come, but no more than there is room for.
func (s *side) due(batch []*packet.Buffer, everything bool) int {
	n, kept := 0, s.late[:0]
	for _, l := range s.late {
		l.calls--
		if n < len(batch) && (everything || l.calls <= 0) {
			batch[n] = l.b
			n++
			continue
		}
		kept = append(kept, l)
	}
	s.late = kept
	return n
}

func (q *faultyQueue) free() {
	for _, s := range []*side{&q.rx, &q.tx} {
		for _, l := range s.late {
			l.b.Free()
		}
		s.late = nil
	}
}

// Interrupt implements [driver.Queue].
func (q *faultyQueue) Interrupt() {
	q.interrupted.Store(true)
	q.inner.Interrupt()
}

// Wait implements [driver.Queue].
func (q *faultyQueue) Wait(d time.Duration) error {
	err := q.inner.Wait(shorter(d, q.anyLate()))
	q.interrupted.Store(false)
	return err
}

// Receive implements [driver.Queue].
func (q *faultyQueue) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	if len(batch) == 0 {
		return q.inner.Receive(batch, wait)
	}
	part, err := q.begin(batch)
	if err != nil {
		return 0, err
	}
	end := time.Now().Add(wait)
	for {
		late := q.anyLate()
		n, err := q.inner.Receive(part, shorter(wait, late))
		came := n
		if n = q.harm(part, n, late && n == 0); n > 0 || err != nil || came == 0 && !late {
			return n, err
		}
		if q.interrupted.Swap(false) { // there may always be more that is lost
			return 0, nil
		}
		if wait > 0 { // everything was lost: wait on
			wait = max(time.Until(end), 0)
		}
	}
}

// shorter returns how long the inner driver is to wait.
func shorter(wait time.Duration, late bool) time.Duration {
	if !late {
		return wait
	}
	if wait < 0 {
		return latePoll
	}
	return min(wait, latePoll)
}

// begin decides on what goes wrong with a whole call.
func (q *faultyQueue) begin(batch []*packet.Buffer) ([]*packet.Buffer, error) {
	f := q.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return batch, nil // the inner driver says so
	}
	if q.rx.happens(f.receive.Error) {
		f.counts.RxErrors++
		return nil, f.err
	}
	if len(batch) > 1 && q.rx.happens(f.receive.Short) {
		f.counts.RxShort++
		return batch[:1+q.rx.chance.IntN(len(batch)-1)], nil
	}
	return batch, nil
}

func (q *faultyQueue) anyLate() bool {
	q.faults.mu.Lock()
	defer q.faults.mu.Unlock()
	return len(q.rx.late) > 0
}

// harm does to received packets what chance says, and returns how many are left, with those that were late.
func (q *faultyQueue) harm(batch []*packet.Buffer, n int, everything bool) int {
	f := q.faults
	raw := f.inner.Link().Raw
	f.mu.Lock()
	defer f.mu.Unlock()
	f.adjust.RxPackets -= uint64(n)
	f.adjust.RxBytes -= length(batch[:n])
	left := 0
	for _, b := range batch[:n] {
		if q.passes(b, raw) {
			batch[left] = b
			left++
		}
	}
	left += q.rx.due(batch[left:], everything)
	f.adjust.RxPackets += uint64(left)
	f.adjust.RxBytes += length(batch[:left])
	return left
}

func length(batch []*packet.Buffer) uint64 {
	n := 0
	for _, b := range batch {
		n += b.Len()
	}
	return uint64(n)
}

// passes reports whether a packet that came goes on at once.
func (q *faultyQueue) passes(b *packet.Buffer, raw bool) bool {
	f, s, c := q.faults, &q.rx, &q.faults.receive
	switch {
	case f.closed:
		b.Free()
		return false
	case f.tooLong(b, raw):
		f.adjust.RxErrors++
		b.Free()
		return false
	case f.down || s.happens(c.Drop):
		if !f.down {
			f.counts.RxDropped++
		}
		f.adjust.RxDropped++
		b.Free()
		return false
	}
	if s.happens(c.Duplicate) && q.double(s, b) {
		f.counts.RxDuplicated++
	}
	if s.happens(c.Delay) && s.delay(b, 1+s.chance.IntN(maxCalls)) {
		f.counts.RxDelayed++
		return false
	}
	return true
}

// double keeps a copy of a packet for later.
func (q *faultyQueue) double(s *side, b *packet.Buffer) bool {
	if q.faults.pool == nil {
		return false
	}
	again := q.faults.pool.Get()
	if again == nil {
		return false
	}
	if again.CopyFrom(b) != nil || !s.delay(again, 1) {
		again.Free()
		return false
	}
	return true
}

// Send implements [driver.Queue].
func (q *faultyQueue) Send(batch []*packet.Buffer) error {
	f := q.faults
	raw := f.inner.Link().Raw
	f.mu.Lock()
	defer f.mu.Unlock() // also while the inner driver sends, so that packets keep their order
	defer packet.FreeBatch(batch)
	if f.closed {
		return q.inner.Send(batch)
	}
	rest, first := q.cut(batch)
	out := q.tx.out[:0]
	for i, b := range rest {
		if b == nil {
			continue
		}
		rest[i] = nil
		ok, err := q.sends(b, raw)
		if ok {
			out = append(out, b)
		}
		if err != nil && first == nil {
			first = err
		}
	}
	q.tx.out = out
	late := [maxLate]*packet.Buffer{}
	n := q.tx.due(late[:], false)
	f.adjust.TxPackets -= uint64(n) // counted when they were accepted; duplicates are never
	f.adjust.TxBytes -= length(late[:n])
	if err := q.inner.Send(append(out, late[:n]...)); err != nil && first == nil {
		first = err
	}
	return first
}

// cut decides on what goes wrong with a whole batch: what it returns is what is left to be sent, the rest stays to be freed.
func (q *faultyQueue) cut(batch []*packet.Buffer) ([]*packet.Buffer, error) {
	f, s := q.faults, &q.tx
	left, err := batch, error(nil)
	switch {
	case len(batch) == 0:
	case s.happens(f.send.Error):
		f.counts.TxErrors++
		left, err = nil, f.err
	case len(batch) > 1 && s.happens(f.send.Short):
		f.counts.TxShort++
		left, err = batch[:1+s.chance.IntN(len(batch)-1)], driver.ErrFull
	}
	for _, b := range batch[len(left):] {
		if b != nil {
			f.adjust.TxDropped++
		}
	}
	return left, err
}

// sends reports whether a packet goes to the inner driver now; if not, it is freed or kept.
func (q *faultyQueue) sends(b *packet.Buffer, raw bool) (bool, error) {
	f, s, c := q.faults, &q.tx, &q.faults.send
	switch {
	case f.down:
		f.adjust.TxDropped++
		b.Free()
		return false, driver.ErrDown
	case f.tooLong(b, raw):
		f.adjust.TxErrors++
		b.Free()
		return false, driver.ErrTooLong
	case s.happens(c.Drop):
		f.counts.TxDropped++
		f.accepted(b)
		b.Free()
		return false, nil
	}
	if s.happens(c.Duplicate) && q.double(s, b) {
		f.counts.TxDuplicated++
	}
	if s.happens(c.Delay) && s.delay(b, 1+s.chance.IntN(maxCalls)) {
		f.counts.TxDelayed++
		f.accepted(b)
		return false, nil
	}
	return true, nil
}

// accepted counts a packet as sent.
func (f *Faults) accepted(b *packet.Buffer) {
	f.adjust.TxPackets++
	f.adjust.TxBytes += uint64(b.Len())
}
