package drivertest

// What the rules are written with: one driver under test with its wire and pools, packets that are sent and waited for, and what is
// checked in the end whatever the rule was.

import (
	"bytes"
	"errors"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

const (
	poolBuffers = 1024
	txRoom      = 4096 // bytes of a buffer that is sent; longer packets come from outside the pool
	slice       = 5 * time.Millisecond
	moment      = 30 * time.Millisecond // long enough for a goroutine to come to wait; a rule holds if it has not, too
)

// setup is what a rule wants of its surroundings.
type setup struct {
	buffers int  // in the pool to receive into; default poolBuffers
	room    int  // bytes of each, behind its headroom; default, and at least, Harness.Buffer
	needs   need // what the pair must be able to do
}

type need int

const (
	needsNothing need = iota
	needsSetUp
	needsSetMTU
)

type suite struct {
	*testing.T
	h    Harness
	pair Pair
	d    driver.Driver
	wire Wire
	link driver.Link
	rx   *packet.Pool // of the driver under test
	tx   *packet.Pool // of what it is told to send, and of what is put on the wire

	reporting sync.Mutex
	over      bool // a goroutine that a broken driver still holds has nothing to say any more

	mu       sync.Mutex
	received counts // what Receive returned, packets of others included
	sent     counts // what Send was given
	number   uint32
}

type counts struct{ packets, bytes uint64 }

func (c *counts) add(b *packet.Buffer) {
	c.packets++
	c.bytes += uint64(b.Len())
}

// newSuite makes a pair for one test. What is not the driver's or the wire's is checked at the very end, behind the harness's own
// cleaning up.
func newSuite(t *testing.T, h Harness, want setup) *suite {
	t.Helper()
	s := &suite{T: t, h: h}
	if want.buffers == 0 {
		want.buffers = poolBuffers
	}
	s.rx = newPool(t, want.buffers, max(h.Buffer, want.room))
	s.tx = newPool(t, poolBuffers, txRoom)
	s.pair = h.New(t, Config{Pool: s.rx})
	s.d, s.wire = s.pair.Driver, s.pair.Wire
	if s.d == nil || s.wire == nil {
		t.Fatal("drivertest: Harness.New returned a Pair without Driver or Wire")
	}
	s.link = s.d.Link()
	switch {
	case want.needs == needsSetUp && s.pair.SetUp == nil:
		s.finish()
		t.Skip("the harness has no Pair.SetUp")
	case want.needs == needsSetMTU && s.pair.SetMTU == nil:
		s.finish()
		t.Skip("the harness has no Pair.SetMTU")
	}
	return s
}

func newPool(t *testing.T, buffers, room int) *packet.Pool {
	t.Helper()
	p, err := packet.NewPool(packet.PoolConfig{Buffers: buffers, Size: packet.DefaultHeadroom + room})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// finish closes the pair, and checks that all buffers are back.
func (s *suite) finish() {
	s.Helper()
	defer s.silence()
	s.within("Driver.Close", func() {
		if err := s.d.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
	})
	if err := s.wire.Close(); err != nil {
		s.Errorf("Wire.Close: %v", err)
	}
	if n := s.rx.InUse(); n != 0 && !s.Failed() {
		s.Errorf("%d buffers of the receive pool are missing after Close", n)
	}
	if n := s.tx.InUse(); n != 0 && !s.Failed() {
		s.Errorf("%d buffers that were sent are missing after Close", n)
	}
}

// Errorf reports an error, for any goroutine, until the test is over.
func (s *suite) Errorf(format string, args ...any) {
	s.Helper()
	s.reporting.Lock()
	defer s.reporting.Unlock()
	if !s.over {
		s.T.Errorf(format, args...)
	}
}

// Error is Errorf for a text.
func (s *suite) Error(text string) {
	s.Helper()
	s.Errorf("%s", text)
}

func (s *suite) silence() {
	s.reporting.Lock()
	defer s.reporting.Unlock()
	s.over = true
}

// within fails the test if f does not return in time. f may use Errorf, but no Fatal.
func (s *suite) within(what string, f func()) {
	s.Helper()
	s.await(what, s.run(f))
}

// run starts f and returns a channel that is closed when it returns. A panic is an error of the test, so that it has the name of the
// rule.
func (s *suite) run(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				s.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		f()
	}()
	return done
}

// await waits for a channel of run.
func (s *suite) await(what string, done <-chan struct{}) {
	s.Helper()
	s.awaitFor(what, done, s.h.Patience)
}

func (s *suite) awaitFor(what string, done <-chan struct{}, patience time.Duration) {
	s.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		stacks := make([]byte, 1<<16)
		s.Fatalf("%s has not returned within %v\n%s", what, patience, stacks[:runtime.Stack(stacks, true)])
	}
}

// packet returns a packet of the flow, with the next number, as long as this many bytes of payload make it.
func (s *suite) packet(d Direction, flow, payload int) ([]byte, id) {
	s.mu.Lock()
	s.number++
	name := id{flow, s.number}
	s.mu.Unlock()
	return s.h.Packet(s.link, d, flow, record(name, payload)), name
}

// expected is a packet under way, and how it looked at its start.
type expected struct {
	id
	bytes []byte
}

// overhead is how many bytes of a packet are headers; below the network header on Ethernet.
func (s *suite) overhead(d Direction) int {
	return len(s.h.Packet(s.link, d, 0, record(id{}, recordLen))) - recordLen
}

// longest is the largest payload that fits the MTU, and the buffers.
func (s *suite) longest(d Direction) int {
	below := 0
	if !s.link.Raw {
		below = ethernet.HeaderLen
	}
	most := min(s.h.Buffer, txRoom)
	if s.link.MTU > 0 {
		most = min(most, s.link.MTU+below)
	}
	return most - s.overhead(d)
}

// buffer returns a buffer with the packet: one of the tx pool, or if it is too long for those, one outside any.
func (s *suite) buffer(p []byte) *packet.Buffer {
	s.Helper()
	if len(p) > txRoom {
		return packet.Of(p)
	}
	b := s.tx.Get()
	if b == nil {
		s.Fatal("all buffers that are to be sent are out: the driver has not given them back")
	}
	if err := b.SetBytes(p); err != nil {
		s.Fatal(err)
	}
	return b
}

// inject puts packets of these payload lengths on the wire.
func (s *suite) inject(flow int, payloads ...int) []expected {
	s.Helper()
	var out []expected
	for _, n := range payloads {
		p, name := s.packet(Inward, flow, n)
		if err := s.wire.Inject(s.buffer(p)); err != nil {
			s.Fatalf("the wire does not take a packet of %d bytes: %v", len(p), err)
		}
		out = append(out, expected{name, p})
	}
	return out
}

// batch returns packets of these payload lengths that are to be sent.
func (s *suite) batch(flow int, payloads ...int) ([]*packet.Buffer, []expected) {
	s.Helper()
	var batch []*packet.Buffer
	var out []expected
	for _, n := range payloads {
		p, name := s.packet(Outward, flow, n)
		batch = append(batch, s.buffer(p))
		out = append(out, expected{name, p})
	}
	return batch, out
}

// send calls Send of the first queue, and checks what must hold however it ends.
func (s *suite) send(batch []*packet.Buffer) error { return s.sendBy(s.d.Queues()[0], batch) }

func (s *suite) sendBy(q driver.Queue, batch []*packet.Buffer) error {
	s.mu.Lock()
	for _, b := range batch {
		if b != nil {
			s.sent.add(b)
		}
	}
	s.mu.Unlock()
	err := q.Send(batch)
	for i, b := range batch {
		if b != nil {
			s.Errorf("entry %d of %d of the batch is not nil after Send", i, len(batch))
			break
		}
	}
	return err
}

// mustSend sends packets that nothing is wrong with.
func (s *suite) mustSend(batch []*packet.Buffer) {
	s.Helper()
	if err := s.send(batch); err != nil {
		s.Errorf("Send of %d packets: %v", len(batch), err)
	}
}

// got is a packet of the suite that arrived.
type got struct {
	id
	queue int
	whole bool
	b     *packet.Buffer
}

// receive receives n packets of the suite, or less if they do not come in time. The buffers are the caller's.
func (s *suite) receive(n int) []got {
	s.Helper()
	return s.receiveFor(n, s.h.Patience)
}

// receiveFor is receive with a time of its own: all queues at once, a goroutine each.
func (s *suite) receiveFor(n int, wait time.Duration) []got {
	s.Helper()
	var (
		mu  sync.Mutex
		all []got
		wg  sync.WaitGroup
	)
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(all) >= n
	}
	end := time.Now().Add(wait)
	for i, q := range s.d.Queues() {
		wg.Go(func() {
			batch := make([]*packet.Buffer, driver.BatchSize)
			for !enough() && !s.Failed() {
				g, err := s.receiveOnce(i, q, batch, slice)
				if err != nil {
					s.Errorf("Receive of queue %d: %v", i, err)
					return
				}
				mu.Lock()
				all = append(all, g...)
				mu.Unlock()
				if len(g) == 0 && time.Now().After(end) {
					return
				}
			}
		})
	}
	s.awaitFor("Receive", s.run(wg.Wait), wait+s.h.Patience)
	mu.Lock()
	defer mu.Unlock()
	return all
}

// receiveOnce calls Receive once, and returns those packets that are the suite's.
func (s *suite) receiveOnce(i int, q driver.Queue, batch []*packet.Buffer, wait time.Duration) ([]got, error) {
	n, err := q.Receive(batch, wait)
	if n < 0 || n > len(batch) {
		s.Errorf("Receive returned %d packets in a batch of %d", n, len(batch))
		return nil, err
	}
	var all []got
	for j, b := range batch[:n] {
		if b == nil {
			s.Errorf("Receive returned %d packets, but entry %d of the batch is nil", n, j)
			continue
		}
		s.mu.Lock()
		s.received.add(b)
		s.mu.Unlock()
		if g, ok := s.own(i, b); ok {
			all = append(all, g)
		}
	}
	return all, err
}

// own tells a packet of the suite from one that the device sent by itself, which it frees.
func (s *suite) own(queue int, b *packet.Buffer) (got, bool) {
	name, ours, whole := parse(b.Bytes())
	if !ours {
		b.Free()
		return got{}, false
	}
	return got{name, queue, whole, b}, true
}

// collect takes n packets of the suite from the wire, or less if they do not come in time.
func (s *suite) collect(n int) []got {
	s.Helper()
	return s.collectFor(n, s.h.Patience)
}

func (s *suite) collectFor(n int, wait time.Duration) []got {
	s.Helper()
	var all []got
	for end := time.Now().Add(wait); len(all) < n; {
		b, err := s.wire.Collect(max(0, time.Until(end)))
		if err != nil {
			s.Errorf("Wire.Collect: %v", err)
			return all
		}
		if b == nil {
			if time.Now().After(end) {
				return all
			}
			continue
		}
		if g, ok := s.own(0, b); ok {
			all = append(all, g)
		}
	}
	return all
}

// same checks that what arrived is what was expected, in the order of each flow, and frees it.
func (s *suite) same(want []expected, have []got) {
	s.Helper()
	s.compare(want, have, !s.h.Unordered)
}

// compare is same, that can do without the order of a flow's packets.
func (s *suite) compare(want []expected, have []got, ordered bool) {
	s.Helper()
	defer free(have)
	if s.Failed() {
		return
	}
	if len(have) != len(want) {
		s.Errorf("%d packets arrived: want %d; the driver's counters are %+v", len(have), len(want), s.d.Stats())
	}
	pending := map[id]expected{}
	for _, w := range want {
		pending[w.id] = w
	}
	last := map[int]uint32{}
	for _, g := range have {
		w, ok := pending[g.id]
		switch {
		case !ok:
			s.Errorf("packet %d of flow %d arrived twice, or was to be refused", g.number, g.flow)
		case g.number < last[g.flow] && ordered:
			s.Errorf("packet %d of flow %d arrived behind %d", g.number, g.flow, last[g.flow])
		case !g.whole:
			s.Errorf("packet %d of flow %d was %d bytes, and arrived cut or damaged with %d", g.number, g.flow, len(w.bytes), g.b.Len())
		case !s.h.Rewrites:
			s.exact(w, g.b)
		}
		delete(pending, g.id)
		last[g.flow] = max(last[g.flow], g.number)
	}
}

const minFrame = 60 // bytes of an Ethernet frame without FCS; shorter ones are padded on some wires

// exact checks a packet byte for byte, with what metadata says put into it.
func (s *suite) exact(w expected, b *packet.Buffer) {
	s.Helper()
	if err := errors.Join(b.InsertVLAN(), b.CompleteChecksum()); err != nil {
		s.Errorf("packet %d of flow %d has metadata that does not fit it: %v", w.number, w.flow, err)
		return
	}
	p := b.Bytes()
	padded := len(p) > len(w.bytes) && len(p) <= minFrame
	if !bytes.HasPrefix(p, w.bytes) || len(p) != len(w.bytes) && !padded {
		s.Errorf("packet %d of flow %d arrived as\n%x\nwant\n%x", w.number, w.flow, p, w.bytes)
	}
}

func free(all []got) {
	for _, g := range all {
		g.b.Free()
	}
}

// repeat returns n times v.
func repeat(n, v int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// closed checks an error after Close.
func (s *suite) closed(what string, err error) {
	s.Helper()
	if !errors.Is(err, net.ErrClosed) {
		s.Errorf("%s after Close returned %v: want net.ErrClosed", what, err)
	}
}
