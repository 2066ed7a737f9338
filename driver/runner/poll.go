package runner

// Polling: after a packet a worker does not sleep at once, but looks for the next one for a while, at all queues of the runner. To wake a
// sleeping thread takes 5 µs, and 50 µs or more where its processor sleeps, too; and what is forwarded is often answered, by another
// queue than the one it came by.

import (
	"runtime"
	"sync"
	"time"
)

// Values of Config.Poll.
const (
	// PollAlways has each worker ask its own queue all the time. Each takes a processor: where there are fewer than queues, and none for
	// others, nothing is slower. A long Poll takes one, for all queues.
	PollAlways time.Duration = -1
	PollNever  time.Duration = -2
)

const (
	defaultPoll = 200 * time.Microsecond // as KVM's halt_poll_ns on x86
	// pollShare is one to how much of the time goes into polling at most, when Config.Poll is 0.
	pollShare = 10
	// pollSavings is how much of it can be saved up.
	pollSavings = 20 * time.Millisecond
	// turns is how often other goroutines get their turn. It may wake a thread each time.
	turns = time.Millisecond
	// turnsAlways is the same for PollAlways, in looks at a queue.
	turnsAlways = 1000
	// quickest is less than any round takes. It bounds how many there are where time stands still meanwhile, as in package synctest.
	quickest = 50 * time.Nanosecond
)

// poller is what the workers of a runner have in common that poll: one at a time does.
type poller struct {
	mu     sync.Mutex
	limit  time.Duration // after a packet; 0 is not to poll
	rest   time.Duration // that a queue must have had before: under load those who sleep are awake often enough, and bursts are better
	budget budget
}

func newPoller(c Config) *poller {
	p := &poller{limit: c.Poll}
	if c.Poll == 0 {
		p.limit, p.rest = defaultPoll, defaultPoll
		p.budget = budget{share: pollShare, savings: pollSavings}
	}
	p.limit = max(p.limit, 0)
	return p
}

// budget is time that may be spent: one part of so many of the time that passes. The zero budget knows no bounds.
type budget struct {
	share   int64
	savings time.Duration
	left    time.Duration
	since   time.Duration // when left was right
}

// allows returns how much of a time there is.
func (b *budget) allows(now, want time.Duration) time.Duration {
	if b.share == 0 {
		return want
	}
	b.left = min(b.left+(now-b.since)/time.Duration(b.share), b.savings)
	b.since = now
	return max(min(want, b.left), 0)
}

// spend is told what was spent.
func (b *budget) spend(d time.Duration) { b.left -= d }

// poll looks for packets at all queues until none has come for so long, after a packet that came after a gap. It returns at once if another
// worker does that already.
func (w *worker) poll(own *binding, t *tickAfter, gap time.Duration) {
	p := w.r.poller
	if p.limit == 0 || gap < p.rest || !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	begin := w.r.Now()
	now, turn := begin, begin+turns
	end := begin + p.budget.allows(begin, p.limit)
	if end > begin {
		runtime.Gosched() // a thread that waits for the runtime's poller is woken, as this one does not
	}
	some, lanes := false, *w.r.lanes.Load()
	for rounds := p.limit / quickest; now < end && rounds > 0 && !own.stopped.Load(); rounds-- {
		lanes = *w.r.lanes.Load()
		some = w.round(lanes)
		t.received(some)
		if now = w.r.Now(); some {
			p.budget.spend(now - begin)
			begin = now
			end = now + p.budget.allows(now, p.limit)
			rounds = p.limit / quickest
		}
		switch {
		case now >= turn:
			turn = now + turns
			runtime.Gosched()
			yield(true)
		case !some:
			yield(false)
		}
	}
	p.budget.spend(now - begin)
	if some { // and there may be more, which their own workers do not know of
		rouse(lanes)
	}
}

// rouse has the workers of queues look at them.
func rouse(lanes []*lane) {
	for _, l := range lanes {
		l.queue.Interrupt()
	}
}

// round takes one burst of each queue that nobody else is at, and reports whether there was one.
func (w *worker) round(lanes []*lane) (some bool) {
	for _, l := range lanes {
		if !l.mu.TryLock() {
			continue
		}
		if !l.trouble {
			some = l.take(w) > 0 || some
		}
		l.mu.Unlock()
	}
	return some
}
