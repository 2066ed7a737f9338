package runner

// A queue and its worker. Others may take the queue's packets as well, while they poll; its lock keeps them in order.

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/culvert-net/culvert/driver"
)

// lane is a queue of a driver at a port.
type lane struct {
	b      *binding
	queue  driver.Queue
	number int // of its worker, which says by which queues its packets leave, whoever forwards them

	mu      sync.Mutex    // of whoever receives, until the packets have gone their way
	last    time.Duration // when packets came
	gap     time.Duration // how long none had come before
	ended   bool          // it is not to be asked again
	trouble bool          // the last call returned an error; it is for its own worker to ask again
	backoff time.Duration // before that
}

// run is the worker's: it forwards what the queue receives, until the binding is stopped or the queue has ended.
func (l *lane) run(w *worker) {
	tick := tickAfter{r: l.b.r}
	defer tick.ask()
	vain := 0 // looks
	for !l.b.stopped.Load() {
		n, gap, ended, pause := l.look(w)
		tick.received(n > 0)
		switch {
		case ended:
			return
		case pause > 0:
			l.b.pause(pause)
		case n > 0:
			w.poll(l.b, &tick, gap)
		case l.b.r.config.Poll == PollAlways:
			if vain++; vain%turnsAlways == 0 {
				runtime.Gosched()
			}
		default:
			if err := l.queue.Wait(tick.wait()); err != nil {
				l.b.pause(l.failed(err))
			}
		}
	}
}

// look takes a burst, which came after a gap. It reports whether that was the end, or how long to pause after an error.
func (l *lane) look(w *worker) (n int, gap time.Duration, ended bool, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = l.take(w)
	if l.trouble {
		pause = l.backoff
	}
	return n, l.gap, l.ended, pause
}

// take forwards a burst with a worker, and returns how many packets it was. l.mu is held.
func (l *lane) take(w *worker) int {
	if l.ended {
		return 0
	}
	n, err := l.queue.Receive(w.batch, 0)
	if n > 0 {
		now := l.b.r.Now()
		l.gap, l.last = now-l.last, now
		w.sendBy = l.number
		w.Process(l.b.port, w.batch[:n], now)
		l.backoff = 0
	}
	l.trouble = err != nil
	if err != nil {
		l.fault(err)
	}
	return n
}

// failed is told of an error of Wait, and returns how long to pause.
func (l *lane) failed(err error) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return 0
	}
	l.fault(err)
	if l.ended {
		return 0
	}
	return l.backoff
}

// fault is told of an error. l.mu is held.
func (l *lane) fault(err error) {
	l.b.failed(err)
	l.ended = errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF)
	l.backoff = min(max(2*l.backoff, time.Millisecond), maxBackoff)
}

// end returns when nobody has a burst in hand, and nobody will.
func (l *lane) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}
