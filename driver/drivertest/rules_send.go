package drivertest

// Rules of Queue.Send.

import (
	"sync"
	"testing"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/packet"
)

var sendRules = []rule{
	{name: "Send takes batches of any length in order", check: sendBatches},
	{name: "Send skips nil entries", check: sendNil},
	{name: "Send sends packets of all sizes", check: sendSizes},
	{name: "Send needs no headroom", check: sendNoHeadroom},
	{name: "Send refuses packets longer than the MTU and sends those behind", check: sendTooLong},
	{name: "Send accounts for packets that are no packets", check: sendTiny},
	{name: "buffers that Send gave back are not read any more", check: sendScribble},
	{name: "Send by several at once", check: sendSeveral},
	{name: "Send drops what a full device does not take", check: sendFlood},
	{name: "Send allocates nothing", check: sendAllocates},
}

func sendBatches(s *suite) {
	for _, length := range []int{0, 1, 2, driver.BatchSize, driver.BatchSize + 1, 3 * driver.BatchSize} {
		var have []got
		batch, want := s.batch(0, repeat(length, 100)...)
		switch {
		case length > s.h.Depth: // more than the way holds: take from the wire meanwhile
			end := s.run(func() { s.mustSend(batch) })
			have = s.collect(length)
			s.await("Send", end)
			if s.d.Stats().TxDropped > 0 || len(have) < length {
				free(have) // such a batch may overrun the way; that it ends is all
				continue
			}
		default:
			s.mustSend(batch)
			have = s.collect(length)
		}
		s.same(want, have)
	}
	if err := s.send(nil); err != nil {
		s.Errorf("Send of a nil batch: %v", err)
	}
	s.books()
}

func sendNil(s *suite) {
	batch, want := s.batch(0, 100, 100)
	s.within("Send", func() {
		if err := s.send([]*packet.Buffer{nil, batch[0], nil, nil, batch[1], nil}); err != nil {
			s.Errorf("Send: %v", err)
		}
		if err := s.send([]*packet.Buffer{nil}); err != nil {
			s.Errorf("Send of a batch with nothing in it: %v", err)
		}
	})
	s.same(want, s.collect(2))
	s.books()
}

func sendSizes(s *suite) {
	batch, want := s.batch(0, s.sizes(Outward)...)
	s.mustSend(batch)
	s.same(want, s.collect(len(want)))
	s.books()
}

func sendNoHeadroom(s *suite) {
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 8, Headroom: -1})
	if err != nil {
		s.Fatal(err)
	}
	var batch []*packet.Buffer
	var want []expected
	for range 2 {
		p, name := s.packet(Outward, 0, 100)
		b := pool.Get()
		if err := b.SetBytes(p); err != nil {
			s.Fatal(err)
		}
		batch, want = append(batch, b), append(want, expected{name, p})
	}
	s.mustSend(batch)
	s.same(want, s.collect(2))
}

const wellBeyond = 300 // bytes beyond the MTU: more than tags and what a device allows

func sendTooLong(s *suite) {
	if s.link.MTU == 0 {
		s.Skip("the driver has no MTU")
	}
	if s.h.LongOK {
		s.Skip("the harness says that packets longer than the MTU can be sent")
	}
	before := s.d.Stats()
	batch, want := s.batch(0, 100, 100)
	over, _ := s.batch(0, s.link.MTU+wellBeyond)
	if err := s.send([]*packet.Buffer{batch[0], over[0], batch[1]}); err == nil {
		s.Errorf("Send of a packet %d bytes longer than the MTU returned no error", wellBeyond)
	}
	s.same(want, s.collect(2))
	if n := s.d.Stats().TxErrors - before.TxErrors; n != 1 {
		s.Errorf("1 packet was longer than the MTU: TxErrors counted %d", n)
	}
	s.books()
}

// sendTiny sends what is shorter than a header, and nonsense. It may pass or be refused, with an error then; it must be counted, and
// not disturb others.
func sendTiny(s *suite) {
	for _, p := range [][]byte{{}, {0}, {0x45}, make([]byte, 13), make([]byte, 14), make([]byte, 20)} {
		before := s.d.Stats()
		batch, want := s.batch(0, 100, 100)
		err := s.send([]*packet.Buffer{batch[0], s.buffer(p), batch[1]})
		after := s.d.Stats()
		if refused := after.TxErrors + after.TxDropped - before.TxErrors - before.TxDropped; (refused != 0) != (err != nil) || refused > 1 {
			s.Errorf("Send of %d bytes %x: error %v, but %d packets counted as not sent", len(p), p, err, refused)
		}
		s.same(want, s.collect(2))
	}
	s.books()
}

// sendScribble writes over every buffer that is back as soon as Send returned.
func sendScribble(s *suite) {
	batch, want := s.batch(0, repeat(s.h.Depth/2, 400)...)
	s.mustSend(batch)
	var all []*packet.Buffer
	for b := s.tx.Get(); b != nil; b = s.tx.Get() {
		if p, err := b.Extend(txRoom); err == nil {
			for i := range p {
				p[i] = 0xee
			}
		}
		all = append(all, b)
	}
	s.same(want, s.collect(len(want)))
	packet.FreeBatch(all)
}

func sendSeveral(s *suite) {
	const senders = 4
	queues := s.d.Queues()
	n := s.h.Depth / senders
	for range 4 {
		batches := make([][]*packet.Buffer, senders)
		var want []expected
		for i := range batches {
			var w []expected
			batches[i], w = s.batch(i, repeat(n, 120)...)
			want = append(want, w...)
		}
		var wg sync.WaitGroup
		for i, b := range batches {
			wg.Go(func() {
				for at := range b { // singly, to have them meet
					if err := s.sendBy(queues[i%len(queues)], b[at:at+1]); err != nil {
						s.Errorf("Send: %v", err)
					}
				}
			})
		}
		s.within("Send by several at once", wg.Wait)
		// Senders that push each other from one processor to the next may overtake themselves on a wire that has a queue for each
		// processor, as veth pairs have.
		s.compare(want, s.collect(len(want)), false)
	}
	s.books()
}

// sendFlood sends more than any way holds while nobody takes it. Send must return, and everything be counted and given back.
func sendFlood(s *suite) {
	const rounds = 200
	s.within("Send on a way that is full", func() {
		for range rounds {
			var batch []*packet.Buffer
			for range driver.BatchSize {
				p, _ := s.packet(Outward, 0, 100)
				b := s.tx.Get()
				if b == nil {
					b = packet.New(len(p))
				}
				if b.SetBytes(p) != nil {
					b.Reset()
				}
				batch = append(batch, b)
			}
			_ = s.send(batch) // full, or not
		}
	})
	s.books()
	for end := time.Now().Add(s.h.Patience); time.Now().Before(end); { // empty it
		g := s.collectFor(s.h.Depth, moment)
		free(g)
		if len(g) == 0 {
			break
		}
	}
	s.eventually("after the way was full", Outward)
}

func sendAllocates(s *suite) {
	if raceEnabled {
		s.Skip("the race detector allocates")
	}
	const runs = 40
	batch, want := s.batch(0, 100)
	s.mustSend(batch)
	s.same(want, s.collect(1)) // what is made at the first call
	all, _ := s.batch(0, repeat(runs+2, 100)...)
	q := s.d.Queues()[0]
	at := 0
	if allocs := testing.AllocsPerRun(runs, func() {
		_ = q.Send(all[at : at+1])
		at++
	}); allocs != 0 {
		s.Errorf("Send allocates %v times", allocs)
	}
	packet.FreeBatch(all)
	s.drain(runs + 1)
	s.refusalAllocates(q)
}

// drain takes up to n packets from the wire.
func (s *suite) drain(n int) {
	free(s.collectFor(n, moment))
}

// refusalAllocates is about packets with metadata that no way takes: a superframe of no known type.
func (s *suite) refusalAllocates(q driver.Queue) {
	s.Helper()
	const runs = 20
	all, _ := s.batch(0, repeat(runs+2, 100)...)
	for _, b := range all {
		b.SetGSO(unknownGSO, 10)
	}
	at := 0
	if allocs := testing.AllocsPerRun(runs, func() {
		_ = q.Send(all[at : at+1])
		at++
	}); allocs != 0 {
		s.Errorf("Send of a packet that it refuses allocates %v times", allocs)
	}
	packet.FreeBatch(all)
}
