package drivertest

// Rules of driver.Driver: queues, link, counters, and the end.

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

var driverRules = []rule{
	{name: "Queues are at least one and the same at each call", check: queuesStay},
	{name: "Link is sensible", check: linkSensible},
	{name: "Changed tells that the link went down and up", check: changedUp, setup: setup{needs: needsSetUp}},
	{name: "Changed tells that the MTU changed", check: changedMTU, setup: setup{needs: needsSetMTU}},
	{name: "traffic resumes when the link is up again", check: resumes, setup: setup{needs: needsSetUp}},
	{name: "Stats count what is handed over", check: statsHandedOver},
	{name: "methods may be called at any time by any goroutine", check: concurrent},
	{name: "Close does nothing the second time", check: closeTwice},
	{name: "Close ends the Receive that waits", check: closeEndsReceive},
	{name: "Close ends calls under way", check: closeUnderWay},
	{name: "calls after Close return net.ErrClosed", check: afterClose},
	{name: "Close gives back packets that nobody fetched", check: closeGivesBack},
	{name: "received buffers outlive Close", check: outlive},
}

func queuesStay(s *suite) {
	first, second := s.d.Queues(), s.d.Queues()
	if len(first) == 0 {
		s.Fatal("the driver has no queue")
	}
	if len(first) != len(second) {
		s.Fatalf("%d queues at the first call, %d at the second", len(first), len(second))
	}
	for i := range first {
		if first[i] == nil || first[i] != second[i] {
			s.Errorf("queue %d is %v at the first call, %v at the second", i, first[i], second[i])
		}
	}
}

func linkSensible(s *suite) {
	l := s.link
	if !l.Up {
		s.Errorf("the link is not up: %+v", l)
	}
	if l.MTU < 0 {
		s.Errorf("the MTU is %d: want bytes, or 0 for no limit", l.MTU)
	}
	if l.Raw && l.MAC != (ethernet.MAC{}) {
		s.Errorf("packets have no Ethernet header, but the driver has MAC %v", l.MAC)
	}
	if l.Raw && l.Offloads.Has(packet.OffloadVLAN) {
		s.Error("packets have no Ethernet header, but the driver takes VLAN tags")
	}
	if l.Offloads&^packet.OffloadVLAN != 0 && !l.Offloads.Has(packet.OffloadChecksum) {
		s.Errorf("Offloads are %v: all but vlan need checksum", l.Offloads)
	}
	if l.MAC[0]&1 != 0 {
		s.Errorf("MAC %v is a group address", l.MAC)
	}
	if again := s.d.Link(); again != l {
		s.Errorf("Link returned %+v, then %+v", l, again)
	}
}

// changes waits until Changed has an element and Link is as wanted: a device may tell of a change in steps.
func (s *suite) changes(what string, want func(driver.Link) bool) {
	s.Helper()
	changed := s.d.Changed()
	if changed == nil {
		s.Fatal("Changed is nil, but the link changes")
	}
	timer := time.NewTimer(s.h.Patience)
	defer timer.Stop()
	for {
		select {
		case <-changed:
			if want(s.d.Link()) {
				return
			}
		case <-timer.C:
			s.Fatalf("Changed has not told that %s; the link is %+v", what, s.d.Link())
		}
	}
}

func (s *suite) setUp(up bool) {
	s.Helper()
	if err := s.pair.SetUp(up); err != nil {
		s.Fatalf("Pair.SetUp(%v): %v", up, err)
	}
	s.changes("the link changed", func(l driver.Link) bool { return l.Up == up })
}

func changedUp(s *suite) {
	s.setUp(false)
	s.setUp(true)
}

func changedMTU(s *suite) {
	const smaller = 1300
	if err := s.pair.SetMTU(smaller); err != nil {
		s.Fatal(err)
	}
	s.changes("the MTU is smaller", func(l driver.Link) bool { return l.MTU == smaller })
	if s.link.MTU == 0 {
		return
	}
	if err := s.pair.SetMTU(s.link.MTU); err != nil {
		s.Fatal(err)
	}
	s.changes("the MTU is as before", func(l driver.Link) bool { return l.MTU == s.link.MTU })
}

func resumes(s *suite) {
	s.setUp(false)
	before := s.d.Stats()
	batch, _ := s.batch(0, 100, 100)
	if err := s.send(batch); err == nil {
		s.Error("Send on a link that is down returned no error")
	}
	after := s.d.Stats()
	if lost := after.TxDropped + after.TxErrors - before.TxDropped - before.TxErrors; lost != 2 {
		s.Errorf("2 packets were not sent, since the link is down: TxDropped and TxErrors counted %d", lost)
	}
	s.within("Receive on a link that is down", func() {
		_, _ = s.d.Queues()[0].Receive(make([]*packet.Buffer, 1), slice) // its error may tell that the link is down
	})
	s.setUp(true)
	s.eventually("after the link was down", Inward)
	s.eventually("after the link was down", Outward)
}

// eventually sends packets until one arrives: a device that is just up may lose the first.
func (s *suite) eventually(when string, d Direction) {
	s.Helper()
	for end := time.Now().Add(s.h.Patience); !s.Failed() && time.Now().Before(end); {
		if d == Inward {
			p, _ := s.packet(Inward, 0, 100)
			if s.wire.Inject(s.buffer(p)) != nil {
				continue
			}
			if g := s.receiveFor(1, moment); len(g) != 0 {
				free(g)
				return
			}
			continue
		}
		batch, _ := s.batch(0, 100)
		if s.send(batch) != nil {
			continue
		}
		if g := s.collectFor(1, moment); len(g) != 0 {
			free(g)
			return
		}
	}
	s.Errorf("%s, no packet arrives %s", when, d)
}

func statsHandedOver(s *suite) {
	n := min(s.h.Depth, 40)
	want := s.inject(1, repeat(n, 200)...)
	s.same(want, s.receive(n))
	batch, out := s.batch(1, repeat(n, 300)...)
	s.mustSend(batch)
	s.same(out, s.collect(n))
	s.books()
}

// books checks the counters against what the suite has seen; nothing may be under way.
func (s *suite) books() {
	s.Helper()
	st := s.d.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.RxPackets != s.received.packets || st.RxBytes != s.received.bytes {
		s.Errorf("Receive returned %d packets, %d bytes, and counted %d, %d", s.received.packets, s.received.bytes, st.RxPackets, st.RxBytes)
	}
	if all := st.TxPackets + st.TxDropped + st.TxErrors; all != s.sent.packets {
		s.Errorf("Send was given %d packets: TxPackets %d + TxDropped %d + TxErrors %d are %d",
			s.sent.packets, st.TxPackets, st.TxDropped, st.TxErrors, all)
	}
	if lost := st.TxDropped + st.TxErrors; lost == 0 && st.TxBytes != s.sent.bytes || st.TxBytes > s.sent.bytes {
		s.Errorf("Send was given %d bytes, and counted %d, with %d packets not sent", s.sent.bytes, st.TxBytes, lost)
	}
}

// concurrent lets everything run at once, for the race detector and for what deadlocks.
func concurrent(s *suite) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	loop := func(f func()) {
		wg.Go(func() {
			for !stop.Load() && !s.Failed() {
				f()
				runtime.Gosched()
			}
		})
	}
	loop(func() { _ = s.d.Link() })
	loop(func() { _ = s.d.Stats() })
	loop(func() { _, _ = s.d.Queues(), s.d.Changed() })
	for _, q := range s.d.Queues() {
		loop(func() {
			q.Interrupt()
			time.Sleep(time.Millisecond) // a pace, not a wait: at none, every Receive would be interrupted
		})
	}
	for range 4 {
		n := min(s.h.Depth, 32)
		want := s.inject(2, repeat(n, 100)...)
		s.same(want, s.receive(n))
		batch, out := s.batch(2, repeat(n, 100)...)
		s.mustSend(batch)
		s.same(out, s.collect(n))
	}
	stop.Store(true)
	s.within("a method that was called together with others", wg.Wait)
	s.books()
}

func closeTwice(s *suite) {
	s.within("Close", func() {
		for i := range 3 {
			if err := s.d.Close(); err != nil {
				s.Errorf("call %d of Close: %v", i+1, err)
			}
		}
	})
}

func closeEndsReceive(s *suite) {
	var ends []<-chan struct{}
	for _, q := range s.d.Queues() {
		ends = append(ends, s.run(func() {
			for batch := make([]*packet.Buffer, driver.BatchSize); ; {
				n, err := q.Receive(batch, driver.Forever)
				packet.FreeBatch(batch[:n])
				if err != nil {
					s.closed("Receive that waited", err)
					return
				}
				if n == 0 {
					s.Error("Receive returned without a packet, an error or Interrupt")
					return
				}
			}
		}))
	}
	time.Sleep(moment) // to have them wait; it must hold if they do not yet, too
	s.within("Close", func() { _ = s.d.Close() })
	for _, end := range ends {
		s.await("Receive that waits, after Close", end)
	}
}

func closeUnderWay(s *suite) {
	var wg sync.WaitGroup
	for i, q := range s.d.Queues() {
		wg.Go(func() {
			for batch := make([]*packet.Buffer, driver.BatchSize); ; {
				n, err := q.Receive(batch, slice)
				packet.FreeBatch(batch[:n])
				if err != nil {
					s.closed("Receive", err)
					return
				}
			}
		})
		wg.Go(func() {
			for n := 0; ; n++ {
				err := q.Send([]*packet.Buffer{packet.Of(s.h.Packet(s.link, Outward, i, record(id{i, uint32(n)}, 100)))})
				if err != nil && s.d.Stats().TxDropped == 0 {
					s.closed("Send", err)
					return
				}
				if n >= s.h.Depth && err != nil {
					return
				}
			}
		})
	}
	for range s.h.Depth / 4 {
		p, _ := s.packet(Inward, 0, 100)
		if err := s.wire.Inject(s.buffer(p)); err != nil {
			s.Errorf("the wire does not take a packet: %v", err)
		}
	}
	s.within("Close", func() { _ = s.d.Close() })
	s.within("calls under way, after Close", wg.Wait)
}

func afterClose(s *suite) {
	batch, _ := s.batch(0, 100, 100)
	batch = append(batch, nil)
	s.within("Close", func() { _ = s.d.Close() })
	for i, q := range s.d.Queues() {
		s.within("Receive after Close", func() {
			n, err := q.Receive(make([]*packet.Buffer, 1), driver.Forever)
			s.closed("Receive", err)
			if n != 0 {
				s.Errorf("Receive after Close returned %d packets", n)
			}
			_, err = q.Receive(make([]*packet.Buffer, 1), 0)
			s.closed("Receive that does not wait", err)
		})
		s.within("Send after Close", func() {
			if i == 0 {
				s.closed("Send", s.send(batch))
			}
		})
		s.within("Interrupt after Close", q.Interrupt)
	}
	s.within("Link, Stats, Queues and Changed after Close", func() { _, _, _, _ = s.d.Link(), s.d.Stats(), s.d.Queues(), s.d.Changed() })
	if n := s.tx.InUse(); n != 0 {
		s.Errorf("%d of 2 buffers that were given to Send after Close are missing", n)
	}
}

func closeGivesBack(s *suite) {
	s.inject(0, repeat(s.h.Depth/2, 100)...)
	batch, _ := s.batch(0, repeat(s.h.Depth/2, 100)...)
	_ = s.send(batch) // what becomes of them is not the matter here
	// finish closes, and looks for the buffers
}

func outlive(s *suite) {
	const n = 8
	want := s.inject(0, repeat(n, 500)...)
	have := s.receive(n)
	s.within("Close", func() { _ = s.d.Close() })
	for _, g := range have {
		if _, _, whole := parse(g.b.Bytes()); !whole {
			s.Errorf("packet %d of flow %d changed when the driver was closed", g.number, g.flow)
		}
	}
	s.same(want, have)
}

const leaksName = "Close leaves no goroutine and no file behind"

// leaks counts goroutines and files around a driver's life; the first life is for what the runtime keeps.
func leaks(t *testing.T, h Harness) {
	life := func(t *testing.T) {
		s := newSuite(t, h, setup{})
		defer s.finish()
		s.same(s.inject(0, 100), s.receive(1))
		batch, want := s.batch(0, 100)
		s.mustSend(batch)
		s.same(want, s.collect(1))
	}
	if !t.Run("first", life) {
		return
	}
	goroutines, files := runtime.NumGoroutine(), openFiles()
	for range 3 {
		t.Run("again", life)
	}
	for end := time.Now().Add(h.Patience); runtime.NumGoroutine() > goroutines || openFiles() > files; runtime.Gosched() {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<16)
			t.Errorf("%d goroutines, %d open files: before there were %d, %d\n%s", runtime.NumGoroutine(), openFiles(), goroutines, files,
				stacks[:runtime.Stack(stacks, true)])
			return
		}
	}
}

// openFiles returns how many descriptors the process has, 0 where nobody says.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
