package drivertest

// Rules of Queue.Wait, and of what may run beside it.

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/packet"
)

var waitRules = []rule{
	{name: "Wait ends when a packet comes and leaves it to Receive", check: waitEnds},
	{name: "Wait ends at once while there are packets", check: waitFindsPackets},
	{name: "Wait waits no longer than told", check: waitNoLonger},
	{name: "Wait does wait", check: waitDoes},
	{name: "Wait lets another goroutine receive", check: waitBeside},
	{name: "Wait allocates nothing", check: waitAllocates},
	{name: "Interrupt ends the Wait", check: interruptWait},
	{name: "Interrupt ends the next Wait, whatever was received before", check: interruptNextWait},
	{name: "Close ends the Wait", check: closeEndsWait},
}

// mostSpurious is how often Wait may return for no reason within a moment: packets of others come, too.
const mostSpurious = 20

// firstOf waits at all queues, and returns what is there behind the first Wait that has found something of the suite's. The function that
// it returns waits for the result.
func (s *suite) firstOf() func() []got {
	queues := s.d.Queues()
	found := make(chan []got, len(queues))
	var done atomic.Bool
	var ends []<-chan struct{}
	for i, q := range queues {
		ends = append(ends, s.run(func() {
			for batch := make([]*packet.Buffer, driver.BatchSize); !done.Load(); {
				if err := q.Wait(driver.Forever); err != nil {
					s.Errorf("Wait: %v", err)
					return
				}
				if g, err := s.receiveOnce(i, q, batch, 0); len(g) != 0 || err != nil {
					found <- g
					return
				}
			}
		}))
	}
	return func() (g []got) {
		timer := time.NewTimer(s.h.Patience)
		defer timer.Stop()
		select {
		case g = <-found:
		case <-timer.C:
			s.Error("Wait has not returned for a packet, or there was none behind it")
			return nil
		}
		done.Store(true)
		for i, q := range queues {
			q.Interrupt()
			s.await("Wait, after Interrupt", ends[i])
		}
		return g
	}
}

func waitEnds(s *suite) {
	result := s.firstOf()
	time.Sleep(moment) // to have them wait
	want := s.inject(0, 100)
	s.same(want, result())
}

func waitFindsPackets(s *suite) {
	want := s.inject(0, 100)
	s.same(want, s.firstOf()())
}

func waitNoLonger(s *suite) {
	for _, q := range s.d.Queues() {
		for _, d := range []time.Duration{0, 1, slice, moment} {
			s.within("Wait", func() {
				if err := q.Wait(d); err != nil {
					s.Errorf("Wait: %v", err)
				}
			})
		}
	}
}

func waitDoes(s *suite) {
	batch := make([]*packet.Buffer, driver.BatchSize)
	for i, q := range s.d.Queues() {
		n := 0
		s.within("Wait", func() {
			for end := time.Now().Add(moment); time.Now().Before(end) && n <= mostSpurious; n++ {
				_, _ = s.receiveOnce(i, q, batch, 0)
				_ = q.Wait(moment)
			}
		})
		if n > mostSpurious {
			s.Errorf("Wait(%v) has returned %d times within that, though there are no packets", moment, n)
		}
	}
}

func waitBeside(s *suite) {
	queues := s.d.Queues()
	var waiting sync.WaitGroup
	for _, q := range queues {
		waiting.Go(func() {
			for q.Wait(driver.Forever) == nil {
			}
		})
	}
	time.Sleep(moment) // to have them wait; it must hold if they do not, too
	batch := make([]*packet.Buffer, driver.BatchSize)
	for round := range 4 {
		n := 0 // at first nothing comes that could end the Wait
		if round > 0 {
			n = s.h.Depth / 2
		}
		want := s.inject(0, repeat(n, 100)...)
		var have []got
		s.within("Receive beside Wait", func() {
			for end := time.Now().Add(s.h.Patience / 2); ; {
				for i, q := range queues {
					g, err := s.receiveOnce(i, q, batch, 0)
					if err != nil {
						s.Errorf("Receive beside Wait: %v", err)
					}
					have = append(have, g...)
				}
				if len(have) >= len(want) || time.Now().After(end) || s.Failed() {
					return
				}
			}
		})
		s.same(want, have)
	}
	s.within("Close", func() { _ = s.d.Close() })
	s.within("Wait, after Close", waiting.Wait)
}

func waitAllocates(s *suite) {
	if raceEnabled {
		s.Skip("the race detector allocates")
	}
	q := s.d.Queues()[0]
	_ = q.Wait(time.Millisecond) // what is made at the first call
	if allocs := testing.AllocsPerRun(10, func() { _ = q.Wait(time.Millisecond) }); allocs != 0 {
		s.Errorf("Wait allocates %v times", allocs)
	}
}

func interruptWait(s *suite) {
	for _, q := range s.d.Queues() {
		var said atomic.Bool
		end := s.run(func() {
			for !said.Load() {
				if err := q.Wait(driver.Forever); err != nil {
					s.Errorf("Wait that was interrupted: %v", err)
				}
			}
		})
		time.Sleep(moment) // to have it wait
		said.Store(true)
		q.Interrupt()
		s.await("Wait, after Interrupt", end)
	}
}

func interruptNextWait(s *suite) {
	batch := make([]*packet.Buffer, driver.BatchSize)
	for _, q := range s.d.Queues() {
		q.Interrupt()
		n, err := q.Receive(batch, 0)
		if err != nil {
			s.Errorf("Receive with no wait, after Interrupt: %v", err)
		}
		packet.FreeBatch(batch[:n])
		s.within("the first Wait after Interrupt", func() {
			if err := q.Wait(driver.Forever); err != nil {
				s.Errorf("Wait that was interrupted: %v", err)
			}
		})
	}
}

func closeEndsWait(s *suite) {
	queues := s.d.Queues()
	var ends []<-chan struct{}
	for _, q := range queues {
		ends = append(ends, s.run(func() {
			for {
				if err := q.Wait(driver.Forever); err != nil {
					s.closed("Wait that waited", err)
					return
				}
			}
		}))
	}
	time.Sleep(moment) // to have them wait; it must hold if they do not yet, too
	s.within("Close", func() { _ = s.d.Close() })
	for i, q := range queues {
		s.await("Wait that waits, after Close", ends[i])
		s.within("Wait after Close", func() {
			s.closed("Wait", q.Wait(driver.Forever))
			s.closed("Wait that does not wait", q.Wait(0))
		})
	}
}
