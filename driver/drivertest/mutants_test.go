package drivertest_test

// What proves the suite: a driver that is right passes it, and each of these that breaks one rule fails the subtest of that rule, for
// the reason that it was broken for. A failing test cannot be run within a passing one, so each runs in a process of its own.

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/drivertest"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// mutant is a driver with one fault, made of one that is right.
type mutant struct {
	name string
	rule string // the subtest that must fail
	says string // why
	wire memory.Config
	harm func(f *fake)
}

const (
	everything = packet.OffloadVLAN | packet.OffloadChecksum | packet.OffloadTCP4 | packet.OffloadUDP4 | packet.OffloadTCP6 |
		packet.OffloadTunnelTCP4

	mutantEnv   = "CULVERT_DRIVERTEST_MUTANT" // tells the process which one it is
	patienceEnv = "CULVERT_DRIVERTEST_PATIENCE"
)

var errHarm = errors.New("broken on purpose")

// offloads is a wire on which everything is claimed.
var offloads = memory.Config{A: memory.End{Offloads: everything}, B: memory.End{Offloads: everything}}

func mutants() []mutant {
	return slices.Concat(driverMutants, receiveMutants, waitMutants, sendMutants, metadataMutants)
}

var driverMutants = []mutant{
	{name: "no queues", rule: "Queues are at least one and the same at each call", says: "no queue", harm: func(f *fake) {
		f.queues = func() []driver.Queue { return nil }
	}},
	{name: "new queues", rule: "Queues are at least one and the same at each call", says: "at the second", harm: func(f *fake) {
		f.queues = func() []driver.Queue { return []driver.Queue{&fakeQueue{Queue: f.Driver.Queues()[0], fake: f}} }
	}},
	{name: "down", rule: "Link is sensible", says: "not up", harm: linkOf(func(l *driver.Link) { l.Up = false })},
	{name: "negative MTU", rule: "Link is sensible", says: "MTU is -1", harm: linkOf(func(l *driver.Link) { l.MTU = -1 })},
	{name: "raw with a MAC", rule: "Link is sensible", says: "has MAC", harm: linkOf(func(l *driver.Link) { l.Raw, l.MAC[0] = true, 2 })},
	{name: "raw with VLANs", rule: "Link is sensible", says: "takes VLAN", harm: linkOf(func(l *driver.Link) {
		l.Raw, l.Offloads = true, packet.OffloadVLAN
	})},
	{name: "GSO without checksums", rule: "Link is sensible", says: "need checksum", harm: linkOf(func(l *driver.Link) {
		l.Offloads = packet.OffloadTCP4
	})},
	{name: "group MAC", rule: "Link is sensible", says: "group address", harm: linkOf(func(l *driver.Link) { l.MAC[0] = 1 })},
	{name: "Changed is nil", rule: "Changed tells that the link went down and up", says: "Changed is nil", harm: func(f *fake) {
		f.changed = func() <-chan struct{} { return nil }
	}},
	{name: "Changed never tells", rule: "Changed tells that the link went down and up", says: "has not told", harm: func(f *fake) {
		f.changed = func() <-chan struct{} { return make(chan struct{}) }
	}},
	{name: "old MTU", rule: "Changed tells that the MTU changed", says: "has not told", harm: linkOf(func(l *driver.Link) { l.MTU = 1500 })},
	{name: "down unsaid", rule: "traffic resumes when the link is up again", says: "returned no error", harm: sendOf(func(q driver.Queue, b []*packet.Buffer) error {
		_ = q.Send(b)
		return nil
	})},
	{name: "down uncounted", rule: "traffic resumes when the link is up again", says: "counted 0", harm: statsOf(func(st *driver.Stats) { st.TxDropped = 0 })},
	{name: "down for good", rule: "traffic resumes when the link is up again", says: "no packet arrives", harm: func(f *fake) {
		var down atomic.Bool
		f.send = func(q driver.Queue, b []*packet.Buffer) error {
			err := q.Send(b)
			if down.Load() {
				err = errHarm
			}
			down.Store(down.Load() || err != nil)
			return err
		}
		f.stats = func() driver.Stats { return f.Driver.Stats() }
	}},
	{name: "RxPackets doubled", rule: "Stats count what is handed over", says: "Receive returned", harm: statsOf(func(st *driver.Stats) { st.RxPackets *= 2 })},
	{name: "RxBytes with an FCS", rule: "Stats count what is handed over", says: "Receive returned", harm: statsOf(func(st *driver.Stats) {
		st.RxBytes += 4 * st.RxPackets
	})},
	{name: "TxPackets forgotten", rule: "Stats count what is handed over", says: "Send was given", harm: statsOf(func(st *driver.Stats) { st.TxPackets = 0 })},
	{name: "TxBytes without headers", rule: "Stats count what is handed over", says: "Send was given", harm: statsOf(func(st *driver.Stats) {
		st.TxBytes -= 14 * st.TxPackets
	})},
	{name: "Stats waits for Receive", rule: "methods may be called at any time by any goroutine", says: "has not returned", harm: func(f *fake) {
		var mu sync.Mutex
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			mu.Lock() // and never again
			return q.Receive(b, wait)
		}
	}},
	{name: "second Close fails", rule: "Close does nothing the second time", says: "call 2 of Close", harm: func(f *fake) {
		var n atomic.Int32
		f.close = func() error {
			if n.Add(1) > 1 {
				return errHarm
			}
			return f.Driver.Close()
		}
	}},
	{name: "Close leaves Receive waiting", rule: "Close ends the Receive that waits", says: "has not returned", harm: func(f *fake) {
		f.close = func() error { return nil }
	}},
	{name: "Receive ends with EOF", rule: "Close ends calls under way", says: "want net.ErrClosed", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			n, err := q.Receive(b, wait)
			if err != nil {
				err = io.EOF
			}
			return n, err
		}
	}},
	{name: "Send after Close succeeds", rule: "calls after Close return net.ErrClosed", says: "Send after Close returned", harm: sendOf(func(q driver.Queue, b []*packet.Buffer) error {
		_ = q.Send(b)
		return nil
	})},
	{name: "Send after Close keeps buffers", rule: "calls after Close return net.ErrClosed", says: "are missing", harm: func(f *fake) {
		f.send = func(q driver.Queue, b []*packet.Buffer) error {
			clear(b)
			return q.Send(nil)
		}
		var closed atomic.Bool
		f.close = func() error { closed.Store(true); return f.Driver.Close() }
	}},
	{name: "buffers fetched ahead are lost", rule: "Close gives back packets that nobody fetched", says: "receive pool are missing", harm: func(f *fake) {
		f.pool.Get()
	}},
	{name: "sent buffers are lost", rule: "Close gives back packets that nobody fetched", says: "that were sent are missing", harm: func(f *fake) {
		f.send = func(q driver.Queue, b []*packet.Buffer) error {
			b[0] = nil
			return q.Send(b)
		}
	}},
	{name: "Close takes buffers back", rule: "received buffers outlive Close", says: "changed when the driver was closed", harm: func(f *fake) {
		var out []*packet.Buffer
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			n, err := q.Receive(b, wait)
			out = append(out, b[:n]...)
			return n, err
		}
		f.close = func() error {
			for _, b := range out {
				clear(b.Bytes())
			}
			return f.Driver.Close()
		}
	}},
	{name: "a goroutine stays", rule: "Close leaves no goroutine and no file behind", says: "goroutines", harm: func(*fake) {
		go func() { select {} }()
	}},
	{name: "a file stays", rule: "Close leaves no goroutine and no file behind", says: "open files", harm: func(f *fake) {
		file, _ := os.Open(os.DevNull)
		f.link = func() driver.Link { _ = file.Name(); return f.Driver.Link() } // keeps it from being collected
		kept = append(kept, file)
	}},
}

var kept []*os.File

var receiveMutants = []mutant{
	{name: "polling waits", rule: "Receive with no wait returns at once", says: "has not returned", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, _ time.Duration) (int, error) {
			return q.Receive(b, driver.Forever)
		}
	}},
	{name: "polling fails", rule: "Receive with no wait returns at once", says: "with nothing sent", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			n, err := q.Receive(b, wait)
			if n == 0 && err == nil {
				err = os.ErrDeadlineExceeded
			}
			return n, err
		}
	}},
	{name: "never waits", rule: "Receive waits no longer than told", says: "want to wait", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, _ time.Duration) (int, error) { return q.Receive(b, 0) }
	}},
	{name: "always waits", rule: "Receive waits no longer than told", says: "has not returned", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, _ time.Duration) (int, error) {
			return q.Receive(b, driver.Forever)
		}
	}},
	{name: "forever ends", rule: "Receive waits until a packet comes", says: "without a packet or Interrupt", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, _ time.Duration) (int, error) {
			return q.Receive(b, time.Millisecond)
		}
	}},
	{name: "sleeps through", rule: "Receive waits until a packet comes", says: "did not return a packet", harm: func(f *fake) {
		forever := make(chan struct{})
		f.receive = func(driver.Queue, []*packet.Buffer, time.Duration) (int, error) { <-forever; return 0, nil }
	}},
	{name: "last in, first out", rule: "Receive fills batches of any length in order", says: "arrived behind", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			n, err := q.Receive(b, wait)
			slices.Reverse(b[:n])
			return n, err
		}
	}},
	{name: "from the back", rule: "Receive fills batches of any length in order", says: "is nil", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			n, err := q.Receive(b, wait)
			if n > 0 && n < len(b) {
				b[len(b)-1], b[0] = b[0], nil
			}
			return n, err
		}
	}},
	{name: "counts too many", rule: "Receive fills batches of any length in order", says: "in a batch of", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			n, err := q.Receive(b, wait)
			if n == len(b) {
				n++
			}
			return n, err
		}
	}},
	{name: "doubles", rule: "Receive fills batches of any length in order", says: "arrived twice", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			n, err := q.Receive(b[:(len(b)+1)/2], wait)
			if n > 0 && n < len(b) {
				b[n] = f.pool.Get()
				_ = b[n].CopyFrom(b[0])
				n++
			}
			return n, err
		}
	}},
	{name: "empty batch fails", rule: "Receive takes an empty batch", says: "panic", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			b[0] = nil
			return q.Receive(b, wait)
		}
	}},
	{name: "cuts at 1000 bytes", rule: "Receive hands packets of all sizes over", says: "cut or damaged", harm: perReceived(func(b *packet.Buffer) {
		if b.Len() > 1000 {
			_ = b.Truncate(1000)
		}
	})},
	{name: "changes a header", rule: "Receive hands packets of all sizes over", says: "want\n", harm: perReceived(func(b *packet.Buffer) { b.Bytes()[0] ^= 4 })},
	{name: "no headroom", rule: "Receive leaves headroom", says: "bytes of headroom", harm: perReceived(func(b *packet.Buffer) {
		p := append([]byte(nil), b.Bytes()...)
		_, _ = b.Prepend(b.Headroom())
		copy(b.Bytes(), p)
		_ = b.Truncate(len(p))
	})},
	{name: "writes to buffers it handed over", rule: "received buffers are the caller's alone", says: "changed after it was received", harm: func(f *fake) {
		var last *packet.Buffer
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			n, err := q.Receive(b, wait)
			if n > 0 {
				if last != nil {
					clear(last.Bytes())
				}
				last = b[0]
			}
			return n, err
		}
	}},
	{name: "round robin", rule: "packets of one flow come by one queue", says: "another one by queue", wire: memory.Config{A: memory.End{Queues: 2}}, harm: func(f *fake) {
		f.receive = roundRobin(f)
	}},
	{name: "too long uncounted", rule: "packets longer than a buffer are counted and not delivered", says: "not in RxErrors", wire: memory.Config{MTU: -1}, harm: statsOf(func(st *driver.Stats) {
		st.RxErrors = 0
	})},
	{name: "exhaustion uncounted", rule: "packets without a buffer are lost and the next ones are not", says: "while there were no buffers", harm: statsOf(func(st *driver.Stats) {
		st.RxDropped = 0
	})},
	{name: "exhaustion is for good", rule: "packets without a buffer are lost and the next ones are not", says: "broken on purpose", harm: func(f *fake) {
		var over atomic.Bool
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			if f.pool.InUse() == f.pool.Len() {
				over.Store(true)
			}
			n, err := q.Receive(b, wait)
			if over.Load() && n == 0 {
				err = errHarm
			}
			return n, err
		}
	}},
	{name: "Receive allocates", rule: "Receive allocates nothing", says: "Receive allocates", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			f.sink.Store(new(int64))
			return q.Receive(b, wait)
		}
	}},
	{name: "waiting allocates", rule: "Receive allocates nothing", says: "Receive that waits allocates", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			if wait != 0 {
				f.sink.Store(new(int64))
			}
			return q.Receive(b, wait)
		}
	}},
	{name: "Interrupt comes too early", rule: "Interrupt ends the next Receive", says: "has not returned", harm: func(f *fake) {
		var waiting atomic.Bool
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			waiting.Store(true)
			defer waiting.Store(false)
			return q.Receive(b, wait)
		}
		f.interrupt = func(q driver.Queue) {
			if waiting.Load() {
				q.Interrupt()
			}
		}
	}},
	{name: "Interrupt comes too late", rule: "Interrupt ends the Receive that waits", says: "has not returned", harm: func(f *fake) {
		f.interrupt = func(driver.Queue) {}
	}},
	{name: "Interrupt is for good", rule: "Interrupt ends one Receive only", says: "want to wait", harm: func(f *fake) {
		var on atomic.Bool
		f.interrupt = func(q driver.Queue) { on.Store(true); q.Interrupt() }
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			if on.Load() {
				wait = 0
			}
			return q.Receive(b, wait)
		}
	}},
	{name: "Interrupt is an error", rule: "Interrupt ends one Receive only", says: "broken on purpose", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			n, err := q.Receive(b, wait)
			if n == 0 && wait < 0 {
				err = errHarm
			}
			return n, err
		}
	}},
	{name: "Interrupt throws packets away", rule: "Interrupt loses no packet", says: "packets arrived", harm: func(f *fake) {
		f.interrupt = func(q driver.Queue) {
			b := make([]*packet.Buffer, driver.BatchSize)
			n, _ := q.Receive(b, 0)
			packet.FreeBatch(b[:n])
		}
	}},
}

var waitMutants = []mutant{
	{name: "sleeps through", rule: "Wait ends when a packet comes and leaves it to Receive", says: "has not returned for a packet", harm: func(f *fake) {
		forever := make(chan struct{})
		f.wait = func(driver.Queue, time.Duration) error { <-forever; return nil }
	}},
	{name: "takes the packet", rule: "Wait ends when a packet comes and leaves it to Receive", says: "or there was none behind it", harm: func(f *fake) {
		f.wait = func(q driver.Queue, d time.Duration) error {
			b := make([]*packet.Buffer, 1)
			n, err := q.Receive(b, d)
			packet.FreeBatch(b[:n])
			return err
		}
	}},
	{name: "sees only what comes", rule: "Wait ends at once while there are packets", says: "has not returned for a packet", harm: func(f *fake) {
		forever := make(chan struct{})
		f.wait = func(q driver.Queue, d time.Duration) error {
			const instant = 10 * time.Millisecond
			start := time.Now()
			err := q.Wait(instant)
			if err == nil && time.Since(start) < instant {
				<-forever
			}
			return q.Wait(d)
		}
	}},
	{name: "knows no end", rule: "Wait waits no longer than told", says: "has not returned", harm: func(f *fake) {
		f.wait = func(q driver.Queue, _ time.Duration) error { return q.Wait(driver.Forever) }
	}},
	{name: "the end is an error", rule: "Wait waits no longer than told", says: "i/o timeout", harm: func(f *fake) {
		f.wait = func(q driver.Queue, d time.Duration) error {
			start := time.Now()
			err := q.Wait(d)
			if err == nil && time.Since(start) >= d {
				err = os.ErrDeadlineExceeded
			}
			return err
		}
	}},
	{name: "does not wait", rule: "Wait does wait", says: "though there are no packets", harm: func(f *fake) {
		f.wait = func(driver.Queue, time.Duration) error { return nil }
	}},
	{name: "keeps others out", rule: "Wait lets another goroutine receive", says: "has not returned", harm: func(f *fake) {
		var mu sync.Mutex
		f.wait = func(q driver.Queue, d time.Duration) error {
			mu.Lock()
			defer mu.Unlock()
			return q.Wait(d)
		}
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return q.Receive(b, wait)
		}
	}},
	{name: "allocates", rule: "Wait allocates nothing", says: "Wait allocates", harm: func(f *fake) {
		f.wait = func(q driver.Queue, d time.Duration) error {
			f.sink.Store(new(int64))
			return q.Wait(d)
		}
	}},
	{name: "cannot be interrupted", rule: "Interrupt ends the Wait", says: "has not returned", harm: func(f *fake) {
		f.interrupt = func(driver.Queue) {}
	}},
	{name: "Interrupt is an error", rule: "Interrupt ends the Wait", says: "broken on purpose", harm: func(f *fake) {
		f.wait = func(q driver.Queue, d time.Duration) error {
			if err := q.Wait(d); err != nil {
				return err
			}
			return errHarm
		}
	}},
	{name: "polling takes the Interrupt", rule: "Interrupt ends the next Wait, whatever was received before", says: "has not returned", harm: func(f *fake) {
		f.receive = func(q driver.Queue, b []*packet.Buffer, wait time.Duration) (int, error) {
			return q.Receive(b, max(wait, time.Nanosecond))
		}
	}},
	{name: "waits on", rule: "Close ends the Wait", says: "has not returned", harm: func(f *fake) {
		forever := make(chan struct{})
		f.wait = func(q driver.Queue, d time.Duration) error {
			if q.Wait(d) != nil {
				<-forever
			}
			return nil
		}
	}},
	{name: "ends with EOF", rule: "Close ends the Wait", says: "want net.ErrClosed", harm: func(f *fake) {
		f.wait = func(q driver.Queue, d time.Duration) error {
			if q.Wait(d) != nil {
				return io.EOF
			}
			return nil
		}
	}},
	{name: "forgets that it was closed", rule: "Close ends the Wait", says: "Wait that does not wait", harm: func(f *fake) {
		f.wait = func(q driver.Queue, d time.Duration) error {
			if d == 0 {
				return nil
			}
			return q.Wait(d)
		}
	}},
}

var sendMutants = []mutant{
	{name: "Send turns the order round", rule: "Send takes batches of any length in order", says: "arrived behind", harm: sendOf(func(q driver.Queue, b []*packet.Buffer) error {
		slices.Reverse(b)
		return q.Send(b)
	})},
	{name: "entries stay", rule: "Send takes batches of any length in order", says: "is not nil after Send", harm: sendOf(func(q driver.Queue, b []*packet.Buffer) error {
		return q.Send(slices.Clone(b))
	})},
	{name: "64 are enough", rule: "Send takes batches of any length in order", says: "Send was given", harm: sendOf(func(q driver.Queue, b []*packet.Buffer) error {
		n := min(len(b), driver.BatchSize)
		packet.FreeBatch(b[n:])
		return q.Send(b[:n])
	})},
	{name: "nil panics", rule: "Send skips nil entries", says: "panic", harm: perSent(func(b *packet.Buffer) error { return nothingButLength(b.Len()) })},
	{name: "nil ends the batch", rule: "Send skips nil entries", says: "packets arrived", harm: sendOf(func(q driver.Queue, b []*packet.Buffer) error {
		end := max(slices.Index(b, nil), 0)
		err := q.Send(b[:end])
		packet.FreeBatch(b)
		return err
	})},
	{name: "last byte lost", rule: "Send sends packets of all sizes", says: "cut or damaged", harm: perSent(func(b *packet.Buffer) error {
		if b.Len()%2 == 1 {
			_ = b.Truncate(b.Len() - 1)
		}
		return nil
	})},
	{name: "needs headroom", rule: "Send needs no headroom", says: "headroom", harm: perSent(func(b *packet.Buffer) error {
		_, err := b.Prepend(10)
		if err == nil {
			err = b.TrimFront(10)
		}
		return err
	})},
	{name: "sends what is too long", rule: "Send refuses packets longer than the MTU and sends those behind", says: "returned no error", harm: perSent(func(b *packet.Buffer) error {
		if b.Len() > 1600 {
			_ = b.Truncate(500)
		}
		return nil
	})},
	{name: "stops at the first error", rule: "Send refuses packets longer than the MTU and sends those behind", says: "packets arrived", harm: sendOf(func(q driver.Queue, b []*packet.Buffer) error {
		defer packet.FreeBatch(b)
		for i := range b {
			if err := q.Send(b[i : i+1]); err != nil {
				return err
			}
		}
		return nil
	})},
	{name: "too long uncounted", rule: "Send refuses packets longer than the MTU and sends those behind", says: "TxErrors counted 0", harm: statsOf(func(st *driver.Stats) {
		st.TxErrors = 0
	})},
	{name: "nonsense is no error", rule: "Send accounts for packets that are no packets", says: "counted as not sent", harm: sendOf(func(q driver.Queue, b []*packet.Buffer) error {
		_ = q.Send(b)
		return nil
	})},
	{name: "nonsense uncounted", rule: "Send accounts for packets that are no packets", says: "counted as not sent", harm: statsOf(func(st *driver.Stats) {
		st.TxErrors = 0
	})},
	{name: "reads late", rule: "buffers that Send gave back are not read any more", says: "packets arrived", harm: sendOf(func(q driver.Queue, b []*packet.Buffer) error {
		for i := range b {
			p := b[i].Bytes()
			time.AfterFunc(5*time.Millisecond, func() { _ = q.Send([]*packet.Buffer{packet.Of(p)}) })
		}
		packet.FreeBatch(b)
		return nil
	})},
	{name: "one sender only", rule: "Send by several at once", says: "Send: broken on purpose", harm: func(f *fake) {
		var mu sync.Mutex
		f.send = func(q driver.Queue, b []*packet.Buffer) error {
			if !mu.TryLock() {
				packet.FreeBatch(b)
				return errHarm
			}
			defer mu.Unlock()
			time.Sleep(time.Millisecond) // for them to meet
			return q.Send(b)
		}
	}},
	{name: "waits while full", rule: "Send drops what a full device does not take", says: "has not returned", harm: func(f *fake) {
		var n atomic.Int64
		f.send = func(q driver.Queue, b []*packet.Buffer) error {
			if n.Add(int64(len(b))) > memory.DefaultDepth {
				select {}
			}
			return q.Send(b)
		}
	}},
	{name: "loses buffers while full", rule: "Send drops what a full device does not take", says: "Send was given", harm: func(f *fake) {
		var n atomic.Int64
		f.send = func(q driver.Queue, b []*packet.Buffer) error {
			if n.Add(int64(len(b))) > memory.DefaultDepth {
				clear(b)
				return errHarm
			}
			return q.Send(b)
		}
	}},
	{name: "Send allocates", rule: "Send allocates nothing", says: "Send allocates", harm: func(f *fake) {
		f.send = func(q driver.Queue, b []*packet.Buffer) error {
			f.sink.Store(new(int64))
			return q.Send(b)
		}
	}},
	{name: "refusing allocates", rule: "Send allocates nothing", says: "that it refuses allocates", harm: func(f *fake) {
		f.send = func(q driver.Queue, b []*packet.Buffer) error {
			err := q.Send(b)
			if err != nil {
				f.sink.Store(new(int64))
			}
			return err
		}
	}},
}

var metadataMutants = []mutant{
	{name: "tag forgotten", rule: "VLAN tags beside the packet are sent or refused", says: "arrived as", wire: offloads, harm: perSent(forget)},
	{name: "tag not refused", rule: "VLAN tags beside the packet are sent or refused", says: "returned no error", harm: perSent(forget)},
	{name: "checksum forgotten", rule: "partial checksums are completed or refused", says: "arrived as", wire: offloads, harm: perSent(forget)},
	{name: "checksum not refused", rule: "partial checksums are completed or refused", says: "returned no error", harm: perSent(forget)},
	{name: "TCP not cut", rule: "superframes of TCP are cut or refused", says: "wrong checksum", wire: uncut, harm: perSent(forget)},
	{name: "TCP cut off", rule: "superframes of TCP are cut or refused", says: "of payload", wire: offloads, harm: perSent(func(b *packet.Buffer) error {
		return b.Truncate(min(b.Len(), 1500))
	})},
	{name: "TCP not refused", rule: "superframes of TCP are cut or refused", says: "returned no error", wire: memory.Config{MTU: -1}, harm: perSent(forget)},
	{name: "UDP not cut", rule: "superframes of UDP are cut or refused", says: "wrong checksum", wire: uncut, harm: perSent(forget)},
	{name: "UDP not refused", rule: "superframes of UDP are cut or refused", says: "returned no error", wire: memory.Config{MTU: -1}, harm: perSent(forget)},
	{name: "TCP over IPv6 not cut", rule: "superframes of TCP over IPv6 are cut or refused", says: "wrong checksum", wire: uncut, harm: perSent(forget)},
	{name: "TCP in VXLAN not cut", rule: "superframes of TCP in VXLAN are cut or refused", says: "wrong checksum", wire: uncut, harm: perSent(forget)},
	{name: "TCP in VXLAN not refused", rule: "superframes of TCP in VXLAN are cut or refused", says: "returned no error", wire: memory.Config{MTU: -1}, harm: perSent(forget)},
	{name: "partial checksum taken for a whole one", rule: "partial checksums arrive", says: "arrived as", wire: offloads, harm: perReceived((*packet.Buffer).ClearMetadata)},
	{name: "checksum of a superframe taken for a segment's", rule: "superframes arrive", says: "wrong checksum", wire: offloads, harm: perReceived((*packet.Buffer).ClearMetadata)},
	{name: "superframe cut off", rule: "superframes arrive", says: "of a superframe", wire: offloads, harm: perReceived(func(b *packet.Buffer) {
		_ = b.Truncate(min(b.Len(), 1500))
	})},
	{name: "any type will do", rule: "superframes of no known type are refused", says: "returned no error", harm: perSent(forget)},
	{name: "tag stripped", rule: "VLAN tags arrive", says: "arrived as", harm: perReceived(func(b *packet.Buffer) {
		p := slices.Delete(slices.Clone(b.Bytes()), 12, 12+ethernet.TagLen)
		copy(b.Bytes(), p)
		_ = b.Truncate(len(p))
	})},
}

// uncut is a wire that takes superframes even without metadata.
var uncut = memory.Config{MTU: -1, A: memory.End{Offloads: everything}}

func forget(b *packet.Buffer) error {
	b.ClearMetadata()
	return nil
}

func nothingButLength(n int) error {
	if n < 0 {
		return errHarm
	}
	return nil
}

func linkOf(change func(*driver.Link)) func(*fake) {
	return func(f *fake) {
		f.link = func() driver.Link {
			l := f.Driver.Link()
			change(&l)
			return l
		}
	}
}

func statsOf(change func(*driver.Stats)) func(*fake) {
	return func(f *fake) {
		f.stats = func() driver.Stats {
			st := f.Driver.Stats()
			change(&st)
			return st
		}
	}
}

func sendOf(send func(driver.Queue, []*packet.Buffer) error) func(*fake) {
	return func(f *fake) { f.send = send }
}

// perSent does something to each packet before it is sent; one that it fails for is lost.
func perSent(change func(*packet.Buffer) error) func(*fake) {
	return sendOf(func(q driver.Queue, batch []*packet.Buffer) error {
		var first error
		for i, b := range batch {
			if err := change(b); err != nil {
				first = err
				b.Free()
				batch[i] = nil
			}
		}
		return errors.Join(first, q.Send(batch))
	})
}

func perReceived(change func(*packet.Buffer)) func(*fake) {
	return func(f *fake) {
		f.receive = func(q driver.Queue, batch []*packet.Buffer, wait time.Duration) (int, error) {
			n, err := q.Receive(batch, wait)
			for _, b := range batch[:n] {
				change(b)
			}
			return n, err
		}
	}
}

// roundRobin hands packets to the queues in turn, whatever their flows are.
func roundRobin(f *fake) func(driver.Queue, []*packet.Buffer, time.Duration) (int, error) {
	var mu sync.Mutex
	var turn int
	return func(q driver.Queue, batch []*packet.Buffer, _ time.Duration) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		queues := f.Driver.Queues()
		if len(batch) == 0 || queues[turn%len(queues)] != q {
			return 0, nil
		}
		for _, from := range queues {
			if n, err := from.Receive(batch[:1], 0); n > 0 || err != nil {
				turn++
				return n, err
			}
		}
		return 0, nil
	}
}

// fake is a driver whose methods can be replaced.
type fake struct {
	driver.Driver
	pool  *packet.Pool
	faces []driver.Queue
	sink  atomic.Pointer[int64]

	queues    func() []driver.Queue
	link      func() driver.Link
	changed   func() <-chan struct{}
	stats     func() driver.Stats
	close     func() error
	receive   func(q driver.Queue, batch []*packet.Buffer, wait time.Duration) (int, error)
	send      func(q driver.Queue, batch []*packet.Buffer) error
	wait      func(q driver.Queue, d time.Duration) error
	interrupt func(q driver.Queue)
}

func newFake(d driver.Driver, pool *packet.Pool, harm func(*fake)) *fake {
	f := &fake{
		Driver: d, pool: pool, link: d.Link, changed: d.Changed, stats: d.Stats, close: d.Close,
		receive:   driver.Queue.Receive,
		send:      driver.Queue.Send,
		wait:      driver.Queue.Wait,
		interrupt: driver.Queue.Interrupt,
	}
	for _, q := range d.Queues() {
		f.faces = append(f.faces, &fakeQueue{q, f})
	}
	f.queues = func() []driver.Queue { return f.faces }
	if harm != nil {
		harm(f)
	}
	return f
}

func (f *fake) Queues() []driver.Queue   { return f.queues() }
func (f *fake) Link() driver.Link        { return f.link() }
func (f *fake) Changed() <-chan struct{} { return f.changed() }
func (f *fake) Stats() driver.Stats      { return f.stats() }
func (f *fake) Close() error             { return f.close() }

type fakeQueue struct {
	driver.Queue
	fake *fake
}

func (q *fakeQueue) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	return q.fake.receive(q.Queue, batch, wait)
}

func (q *fakeQueue) Send(batch []*packet.Buffer) error { return q.fake.send(q.Queue, batch) }
func (q *fakeQueue) Wait(d time.Duration) error        { return q.fake.wait(q.Queue, d) }
func (q *fakeQueue) Interrupt()                        { q.fake.interrupt(q.Queue) }

// harness makes pairs of a mutant.
func harness(m mutant) drivertest.Harness {
	return drivertest.Harness{
		New: func(t *testing.T, c drivertest.Config) drivertest.Pair {
			wire := m.wire
			wire.A.Pool = c.Pool
			var err error
			wire.B.Pool, err = packet.NewPool(packet.PoolConfig{Size: 16384})
			require.NoError(t, err)
			a, b, err := memory.NewPair(wire)
			require.NoError(t, err)
			return drivertest.Pair{
				Driver: newFake(a, c.Pool, m.harm), Wire: drivertest.Joined(b), SetMTU: a.SetMTU,
				SetUp: func(up bool) error { b.SetUp(up); return nil },
			}
		},
	}
}

func TestRightDriver(t *testing.T) {
	for _, wire := range []memory.Config{{}, offloads, uncut, {A: memory.End{Queues: 2}}} {
		drivertest.Run(t, harness(mutant{wire: wire}))
	}
}

// TestMutant is what the processes of TestMutants run.
func TestMutant(t *testing.T) {
	name := os.Getenv(mutantEnv)
	if name == "" {
		t.Skip("runs only in processes that TestMutants starts")
	}
	all := mutants()
	i := slices.IndexFunc(all, func(m mutant) bool { return m.id() == name })
	require.GreaterOrEqual(t, i, 0, name)
	h := harness(all[i])
	var err error
	h.Patience, err = time.ParseDuration(os.Getenv(patienceEnv))
	require.NoError(t, err)
	drivertest.Run(t, h)
}

func (m mutant) id() string { return m.rule + "/" + m.name }

func TestMutants(t *testing.T) {
	for _, m := range mutants() {
		t.Run(m.id(), func(t *testing.T) {
			if raceEnabled && strings.HasSuffix(m.rule, "allocates nothing") {
				t.Skip("the race detector allocates, so the rule is off")
			}
			t.Parallel()
			for _, patience := range patiences {
				out := runMutant(t, m, patience)
				if strings.Contains(out, m.says) {
					return
				}
				t.Logf("with %s of patience:\n%s", patience, out)
			}
			t.Errorf("the suite has noticed, but says nothing of %q", m.says)
		})
	}
}

// patiences are tried in turn: most faults need little, but on a slow machine what is right is late by then, too.
var patiences = []string{"300ms", "5s"}

// runMutant returns what the process of a mutant says when its test fails.
func runMutant(t *testing.T, m mutant, patience string) string {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	rule := strings.ReplaceAll(m.rule, " ", "_")
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestMutant$/^"+regexp.QuoteMeta(rule)+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), mutantEnv+"="+m.id(), patienceEnv+"="+patience)
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "the suite has not noticed")
	require.Contains(t, string(out), "--- FAIL: TestMutant/"+rule)
	return string(out)
}

// TestEveryRuleHasAMutant finds rules that nothing breaks: those prove nothing.
func TestEveryRuleHasAMutant(t *testing.T) {
	broken := map[string]bool{}
	for _, m := range mutants() {
		broken[m.rule] = true
	}
	for _, rule := range drivertest.Rules() {
		assert.True(t, broken[rule], "no mutant breaks the rule %q", rule)
	}
}
