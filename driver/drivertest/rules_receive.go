package drivertest

// Rules of Queue.Receive and Queue.Interrupt.

import (
	"slices"
	"testing"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/packet"
)

var receiveRules = []rule{
	{name: "Receive with no wait returns at once", check: polls},
	{name: "Receive waits no longer than told", check: waitsAsTold},
	{name: "Receive waits until a packet comes", check: waitsForPacket},
	{name: "Receive fills batches of any length in order", check: fills},
	{name: "Receive takes an empty batch", check: emptyBatch},
	{name: "Receive hands packets of all sizes over", check: receiveSizes},
	{name: "Receive leaves headroom", check: leavesHeadroom},
	{name: "received buffers are the caller's alone", check: receivedStay},
	{name: "packets of one flow come by one queue", check: oneQueue},
	{name: "packets longer than a buffer are counted and not delivered", check: tooLongForBuffer},
	{name: "packets without a buffer are lost and the next ones are not", check: exhausted, setup: setup{buffers: 2 * leastDepth}},
	{name: "Receive allocates nothing", check: receiveAllocates},
	{name: "Interrupt ends the Receive that waits", check: interruptWaiting},
	{name: "Interrupt ends the next Receive", check: interruptNext},
	{name: "Interrupt ends one Receive only", check: interruptOne},
	{name: "Interrupt loses no packet", check: interruptLosesNothing},
}

func polls(s *suite) {
	s.within("Receive with no wait", func() {
		batch := make([]*packet.Buffer, driver.BatchSize)
		for i, q := range s.d.Queues() {
			for range 3 {
				g, err := s.receiveOnce(i, q, batch, 0)
				if err != nil || len(g) != 0 {
					s.Errorf("Receive returned %d packets and error %v, with nothing sent", len(g), err)
				}
			}
		}
	})
	want := s.inject(0, 100)
	s.within("Receive with no wait", func() { // polling, too, comes to the packet
		batch := make([]*packet.Buffer, driver.BatchSize)
		for end := time.Now().Add(s.h.Patience / 2); time.Now().Before(end); {
			for i, q := range s.d.Queues() {
				if g, err := s.receiveOnce(i, q, batch, 0); len(g) != 0 || err != nil {
					s.same(want, g)
					return
				}
			}
		}
		s.Error("Receive with no wait never returned a packet")
	})
}

func waitsAsTold(s *suite) {
	batch := make([]*packet.Buffer, driver.BatchSize)
	s.within("Receive with a wait", func() {
		start := time.Now()
		n, err := s.d.Queues()[0].Receive(batch, moment)
		if took := time.Since(start); err != nil || n == 0 && took < moment {
			s.Errorf("Receive returned %d packets and error %v after %v: want to wait %v", n, err, took, moment)
		}
		packet.FreeBatch(batch[:n])
	})
}

func waitsForPacket(s *suite) {
	queues := s.d.Queues()
	found := make(chan got, len(queues))
	var ends []<-chan struct{}
	for i, q := range queues {
		ends = append(ends, s.run(func() {
			for batch := make([]*packet.Buffer, driver.BatchSize); ; {
				had := s.receivedPackets()
				g, err := s.receiveOnce(i, q, batch, driver.Forever)
				for _, p := range g {
					found <- p
				}
				if len(g) != 0 || err != nil {
					return
				}
				if s.receivedPackets() == had && len(found) == 0 {
					s.Error("Receive that waits forever returned without a packet or Interrupt")
					return
				}
			}
		}))
	}
	time.Sleep(moment) // to have them wait
	want := s.inject(0, 100)
	timer := time.NewTimer(s.h.Patience)
	defer timer.Stop()
	select {
	case g := <-found:
		s.same(want, []got{g})
	case <-timer.C:
		s.Error("Receive that waits did not return a packet that came")
	}
	s.within("Close", func() { _ = s.d.Close() })
	for _, end := range ends {
		s.await("Receive", end)
	}
}

func (s *suite) receivedPackets() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received.packets
}

func fills(s *suite) {
	for _, length := range []int{1, 2, 7, driver.BatchSize, 3*driver.BatchSize + 1} {
		want := s.inject(0, repeat(s.h.Depth, 64)...)
		var have []got
		batch := make([]*packet.Buffer, length)
		s.within("Receive", func() {
			for end := time.Now().Add(s.h.Patience / 2); len(have) < len(want) && time.Now().Before(end) && !s.Failed(); {
				for i, q := range s.d.Queues() {
					g, err := s.receiveOnce(i, q, batch, 0)
					if err != nil {
						s.Errorf("Receive: %v", err)
					}
					have = append(have, g...)
				}
			}
		})
		s.same(want, have)
	}
}

func emptyBatch(s *suite) {
	want := s.inject(0, 100)
	for _, q := range s.d.Queues() {
		s.within("Receive with an empty batch", func() {
			if n, err := q.Receive(nil, 0); n != 0 || err != nil {
				s.Errorf("Receive with an empty batch returned %d and error %v", n, err)
			}
		})
	}
	s.same(want, s.receive(1))
}

// sizes are payload lengths from the least to what fits the MTU and the buffers, those around powers of two among them.
func (s *suite) sizes(d Direction) []int {
	most := s.longest(d)
	out := []int{recordLen, recordLen + 1, most - 1, most}
	for n := 32; n < most-1; n *= 2 {
		out = append(out, n-1, n, n+1)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func receiveSizes(s *suite) {
	sizes := s.sizes(Inward)
	want := s.inject(0, sizes...)
	s.same(want, s.receive(len(sizes)))
	s.books()
}

func leavesHeadroom(s *suite) {
	s.inject(0, 22, 100, s.longest(Inward))
	all := s.receive(3)
	if len(all) != 3 {
		s.Errorf("%d packets arrived: want 3", len(all))
	}
	for _, g := range all {
		if g.b.Headroom() < packet.DefaultHeadroom {
			s.Errorf("a received packet of %d bytes has %d bytes of headroom: want those of the pool, %d", g.b.Len(), g.b.Headroom(),
				packet.DefaultHeadroom)
		}
	}
	free(all)
}

func receivedStay(s *suite) {
	const n = 16
	first := s.inject(0, repeat(n, 300)...)
	kept := s.receive(n)
	second := s.inject(0, repeat(n, 301)...)
	s.same(second, s.receive(n))
	s.same(first, slices.DeleteFunc(kept, func(g got) bool {
		_, _, whole := parse(g.b.Bytes())
		if !whole {
			s.Errorf("packet %d changed after it was received", g.number)
			g.b.Free()
		}
		return !whole
	}))
}

func oneQueue(s *suite) {
	const flows, rounds = 13, 3 // a prime, lest queues that take turns look right
	queue := map[int]int{}
	for range rounds {
		var want []expected
		for range s.h.Depth / flows {
			for flow := range flows {
				want = append(want, s.inject(flow, 80)...)
			}
		}
		have := s.receive(len(want))
		for _, g := range have {
			if q, ok := queue[g.flow]; ok && q != g.queue {
				s.Errorf("a packet of flow %d came by queue %d, another one by queue %d", g.flow, q, g.queue)
			}
			queue[g.flow] = g.queue
		}
		s.same(want, have)
	}
}

func tooLongForBuffer(s *suite) {
	if s.link.MTU > 0 && s.link.MTU <= s.h.Buffer {
		s.Skip("nothing that fits the MTU is longer than a buffer")
	}
	long, name := s.packet(Inward, 0, s.h.Buffer+1)
	before := s.d.Stats()
	want := s.inject(0, 100)
	if err := s.wire.Inject(packet.Of(long)); err != nil {
		s.Skipf("the wire takes no packet of %d bytes: %v", len(long), err)
	}
	want = append(want, s.inject(0, 100)...)
	have := s.receive(2)
	if slices.ContainsFunc(have, func(g got) bool { return g.id == name && g.whole }) {
		free(have)
		s.Skip("the driver hands over buffers that have room for it")
	}
	s.same(want, have)
	if after := s.d.Stats(); after.RxErrors == before.RxErrors {
		s.Errorf("a packet of %d bytes, in buffers of %d, is not in RxErrors", len(long), s.h.Buffer)
	}
	s.books()
}

// exhausted keeps all buffers of the pool while packets come. How many of those are lost is the driver's matter, whether it knows
// what it lost is not.
func exhausted(s *suite) {
	var kept []*packet.Buffer
	for b := s.rx.Get(); b != nil; b = s.rx.Get() {
		kept = append(kept, b)
	}
	n := s.h.Depth / 2
	s.inject(0, repeat(n, 100)...)
	early := s.receiveFor(n, moment) // from buffers that the driver took before
	packet.FreeBatch(kept)
	early = append(early, s.receiveFor(n, moment)...)
	counted := s.d.Stats().RxDropped + s.d.Stats().RxErrors
	if lost := uint64(n - len(early)); lost > counted {
		s.Errorf("of %d packets, %d arrived while there were no buffers: RxDropped and RxErrors say %d", n, len(early), counted)
	}
	free(early)
	s.same(s.inject(1, repeat(n, 100)...), s.receive(n))
	s.books()
}

func receiveAllocates(s *suite) {
	if raceEnabled {
		s.Skip("the race detector allocates")
	}
	queues := s.d.Queues()
	batch := make([]*packet.Buffer, 1)
	const runs = 40
	s.same(s.inject(0, 100), s.receive(1)) // what is made at the first call
	s.inject(0, repeat(runs+2, 100)...)
	var received int
	allocs := testing.AllocsPerRun(runs, func() {
		for _, q := range queues {
			n, _ := q.Receive(batch, time.Millisecond)
			packet.FreeBatch(batch[:n])
			received += n
		}
	})
	if allocs != 0 {
		s.Errorf("Receive allocates %v times", allocs)
	}
	if received == 0 {
		s.Error("Receive returned nothing")
	}
	free(s.receiveFor(runs, moment)) // what is left
	if allocs := testing.AllocsPerRun(10, func() {
		n, _ := queues[0].Receive(batch, time.Millisecond)
		packet.FreeBatch(batch[:n])
	}); allocs != 0 {
		s.Errorf("Receive that waits allocates %v times", allocs)
	}
}

// interrupted calls Receive until it returns without a packet.
func (s *suite) interrupted(q driver.Queue) {
	batch := make([]*packet.Buffer, driver.BatchSize)
	for {
		n, err := q.Receive(batch, driver.Forever)
		packet.FreeBatch(batch[:n])
		if err != nil {
			s.Errorf("Receive that was interrupted: %v", err)
		}
		if n == 0 || err != nil {
			return
		}
	}
}

func interruptWaiting(s *suite) {
	for _, q := range s.d.Queues() {
		end := s.run(func() { s.interrupted(q) })
		time.Sleep(moment) // to have it wait
		q.Interrupt()
		s.await("Receive that waits, after Interrupt", end)
	}
}

func interruptNext(s *suite) {
	for _, q := range s.d.Queues() {
		q.Interrupt()
		s.within("the first Receive after Interrupt", func() { s.interrupted(q) })
	}
}

func interruptOne(s *suite) {
	for _, q := range s.d.Queues() {
		q.Interrupt()
		s.within("the first Receive after Interrupt", func() { s.interrupted(q) })
		batch := make([]*packet.Buffer, driver.BatchSize)
		s.within("the second Receive after Interrupt", func() {
			start := time.Now()
			n, err := q.Receive(batch, moment)
			if took := time.Since(start); err != nil || n == 0 && took < moment {
				s.Errorf("the second Receive after Interrupt returned %d packets and error %v after %v: want to wait %v", n, err, took, moment)
			}
			packet.FreeBatch(batch[:n])
		})
	}
}

func interruptLosesNothing(s *suite) {
	want := s.inject(0, repeat(s.h.Depth/2, 100)...)
	for _, q := range s.d.Queues() {
		q.Interrupt()
	}
	s.same(want, s.receive(len(want)))
}
