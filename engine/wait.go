package engine

// What waits, and for what: packets for an FDB entry that the agent was asked for, and what control calls have left for a worker
// to send. Tick looks after both, after neighbours, fragments and ages.

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/packet"
)

// backlog is work for the next worker that comes by.
type backlog struct {
	count atomic.Int32
	wake  atomic.Pointer[func()]

	mu      sync.Mutex
	actions []arp.Action
	frames  []waiting // whose FDB entry has come, or whose time is up
}

// waiting is a frame for a VXLAN device that has no entry for it.
type waiting struct {
	b      *packet.Buffer
	device uint32
	mac    uint64
	until  time.Duration
	why    Reason // not 0: drop it
}

func (k *backlog) any() bool { return k.count.Load() != 0 }

// push leaves actions; the caller may use their slice again.
func (k *backlog) push(actions []arp.Action) {
	if len(actions) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.actions = append(k.actions, actions...)
	k.noted()
}

func (k *backlog) pushFrames(frames []waiting) {
	if len(frames) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frames = append(k.frames, frames...)
	k.noted()
}

// noted counts what is there, and says so; k.mu is held.
func (k *backlog) noted() {
	k.count.Store(int32(len(k.actions) + len(k.frames)))
	if wake := k.wake.Load(); wake != nil {
		(*wake)()
	}
}

// held returns how many packets are in the backlog.
func (k *backlog) held() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.frames)
	for _, a := range k.actions {
		if a.Buffer != nil {
			n++
		}
	}
	return n
}

// release does what was left to do.
func (w *Worker) release() {
	k := &w.e.back
	k.mu.Lock()
	actions, frames := k.actions, k.frames
	k.actions, k.frames = nil, nil
	k.count.Store(0)
	k.mu.Unlock()
	w.crossed = 0
	w.act(actions)
	for _, f := range frames {
		d := w.st.device(f.device)
		switch {
		case d == nil || d.vxlan == nil:
			w.drop(nil, f.b, DropDeviceGone)
		case f.why != 0:
			w.dropTx(d, f.b, f.why)
		default:
			w.transmit(d, f.b)
		}
	}
}

// Limits of frames that wait for an FDB entry. As long as neighbours are asked for; as many for one station as IPv4 neighbours
// once had in Linux.
const (
	fdbWaitTime   = 3 * time.Second
	fdbWaitPerMAC = 3
)

// fdbWaits are the frames that wait for FDB entries of VXLAN devices.
type fdbWaits struct {
	limit int
	count atomic.Int32
	next  atomic.Int64

	mu     sync.Mutex
	frames []waiting // in the order in which their time is up
}

func (q *fdbWaits) init(limit int) {
	q.limit = limit
	q.next.Store(int64(Never))
}

// vxlanWait keeps a frame until the agent has told where its station is.
func (w *Worker) vxlanWait(d *device, mac uint64, b *packet.Buffer) {
	if w.dry != nil {
		w.dry.hold(w, d, b, "waits for the agent to tell where the MAC address is")
		return
	}
	w.misses = append(w.misses, Miss{Kind: MissFDB, Device: d.name, Index: d.index, MAC: MACOf(mac)})
	if w.trace != nil {
		w.note(Step{Stage: StageHold, Device: d.name, MAC: MACOf(mac)})
	}
	old := w.e.waits.add(waiting{b: b, device: d.index, mac: mac, until: w.now + fdbWaitTime})
	if old != nil {
		w.dropTx(d, old, DropFDBWaitFull)
	}
}

// add keeps a frame. It returns one that has to make room, if there is too much.
func (q *fdbWaits) add(f waiting) (old *packet.Buffer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.limit < 0 {
		return f.b
	}
	n, first := 0, -1
	for i, o := range q.frames {
		if o.device == f.device && o.mac == f.mac {
			n++
			if first < 0 {
				first = i
			}
		}
	}
	switch {
	case n >= fdbWaitPerMAC:
		old = q.remove(first)
	case len(q.frames) >= q.limit:
		old = q.remove(0)
	}
	q.frames = append(q.frames, f)
	q.note()
	return old
}

func (q *fdbWaits) remove(i int) *packet.Buffer {
	b := q.frames[i].b
	q.frames = append(q.frames[:i], q.frames[i+1:]...)
	return b
}

// note publishes count and deadline; mu is held.
func (q *fdbWaits) note() {
	q.count.Store(int32(len(q.frames)))
	q.next.Store(int64(Never))
	if len(q.frames) > 0 {
		q.next.Store(int64(q.frames[0].until))
	}
}

// take removes the frames that match, for the backlog.
func (q *fdbWaits) take(match func(*waiting) bool) (out []waiting) {
	if q.count.Load() == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := q.frames[:0]
	for i := range q.frames {
		if f := q.frames[i]; match(&f) {
			out = append(out, f)
		} else {
			kept = append(kept, f)
		}
	}
	clear(q.frames[len(kept):])
	q.frames = kept
	q.note()
	return out
}

// fdbChanged is told by the table of a VXLAN device.
func (e *Engine) fdbChanged(device uint32, c fdb.Change) {
	mac := uint64(c.Key) & macBroadcast
	e.ends.fdbEntryChanged(device, mac)
	if f := e.config.OnFDB; f != nil {
		f(device, c)
	}
	if !c.New.IsValid() {
		return
	}
	e.back.pushFrames(e.waits.take(func(f *waiting) bool { return f.device == device && (f.mac == mac || mac == 0) }))
}

// Tick does what is due at a time, and sends what control calls have released. It returns when it is wanted next: [Never] if there
// is nothing to wait for, a time not after now if there is more to do at once. Packets and control calls may bring that forward;
// see [Engine.Next].
func (e *Engine) Tick(now time.Duration) time.Duration { return e.first.Tick(now) }

// Tick is [Engine.Tick]; what is sent goes to this worker's Output. One worker's calls are enough for all.
func (w *Worker) Tick(now time.Duration) time.Duration {
	if w.busy {
		return now
	}
	w.begin(now)
	e := w.e
	if e.neighs.Next() <= now {
		actions, _ := e.neighs.Tick(now, w.actionList())
		w.act(actions)
	}
	if e.reasm.Next() <= now {
		results := e.reasm.Tick(now, w.results[:0])
		w.results = nil
		for i := range results {
			w.group = false
			w.reassembled(nil, results[i])
			results[i] = ipfrag.Result{}
		}
		w.results = results[:0]
	}
	if time.Duration(e.waits.next.Load()) <= now {
		for _, f := range e.waits.take(func(f *waiting) bool { return f.until <= now }) {
			w.dropTx2(f.device, f.b, DropFDBWait)
		}
	}
	if e.pmtus.Next() <= now {
		e.pmtus.Tick(now)
	}
	w.tickDevices()
	w.end()
	return e.Next()
}

// dropTx2 is dropTx by a device's index.
func (w *Worker) dropTx2(device uint32, b *packet.Buffer, why Reason) {
	if d := w.st.device(device); d != nil {
		w.dropTx(d, b, why)
		return
	}
	w.drop(nil, b, why)
}

// tickDevices expires FDB entries, and sends ARP answers that were delayed.
func (w *Worker) tickDevices() {
	for _, d := range w.st.devices {
		if d == nil {
			continue
		}
		if t := d.table(); t != nil && t.Deadline() <= w.now {
			t.Expire(w.now)
		}
		if d.answer != nil {
			w.answerLate(d)
		}
	}
}

// table returns a device's FDB, or nil.
func (d *device) table() *fdb.Table {
	switch {
	case d.bridge != nil:
		return d.bridge.table
	case d.vxlan != nil:
		return d.vxlan.table
	}
	return nil
}

// answerLate sends the proxied ARP answers whose time has come.
func (w *Worker) answerLate(d *device) {
	for {
		var frame [arp.FrameLen]byte
		d.answer.mu.Lock()
		answer, ok := d.answer.r.Due(frame[:0], w.now)
		d.answer.mu.Unlock()
		if !ok {
			return
		}
		b := w.alloc()
		if b == nil {
			w.lack()
			return
		}
		if p, err := b.Extend(len(answer)); err == nil {
			copy(p, answer)
		}
		w.total.Counters[ARPOutReplies]++
		w.transmit(d, b)
	}
}

// Next returns when Tick is wanted: see there.
func (e *Engine) Next() time.Duration {
	if e.back.any() {
		return time.Duration(e.clock.Load())
	}
	next := min(e.neighs.Next(), e.reasm.Next(), e.pmtus.Next(), time.Duration(e.waits.next.Load()))
	for _, d := range e.state.Load().devices {
		if d == nil {
			continue
		}
		if t := d.table(); t != nil {
			next = min(next, t.Deadline())
		}
		if d.answer != nil {
			d.answer.mu.Lock()
			if at, ok := d.answer.r.Deadline(); ok {
				next = min(next, at)
			}
			d.answer.mu.Unlock()
		}
	}
	return next
}

// OnRelease lets f know that a call has left something to be sent, and that Tick is wanted for it at once; nil ends that. f must
// not call the engine.
func (e *Engine) OnRelease(f func()) {
	if f == nil {
		e.back.wake.Store(nil)
		return
	}
	e.back.wake.Store(&f)
}

// held returns how many packets wait for something.
func (e *Engine) held() int {
	_, fragments, _ := e.reasm.Len()
	return e.neighs.Stats().Waiting + fragments + int(e.waits.count.Load()) + e.back.held()
}

// arpReduce answers an ARP request for a VXLAN device from the neighbour table (arp_reduce); the request goes on if the answer is
// not known there, and the agent is asked.
func (w *Worker) arpReduce(d *device, b *packet.Buffer) bool {
	p, err := arp.Parse(b.Bytes()[ethernet.HeaderLen:])
	if err != nil || p.Op() != arp.Request {
		return false
	}
	target := be32(p.TargetIP())
	n := w.e.neighs.Lookup(d.index, target)
	if !n.IsValid() {
		if d.vxlan.made.L3Miss {
			w.misses = append(w.misses, Miss{Kind: MissNeighbour, Device: d.name, Index: d.index, Addr: AddrOf(target)})
		}
		return false
	}
	answer := w.alloc()
	if answer == nil {
		w.lack()
		return false
	}
	frame, err := answer.Extend(arp.FrameLen)
	if err != nil {
		w.drop(d, answer, DropNoBuffer)
		return false
	}
	arp.ReplyTo(p, n.MAC()).AppendFrame(frame[:0], p.SenderMAC())
	if w.trace != nil {
		w.note(Step{Stage: StageARP, Device: d.name, Addr: AddrOf(target), MAC: n.MAC(), Text: "answered from the neighbour table"})
	}
	w.inside = append(w.inside, crossing{b: answer, device: d.index, trace: w.trace})
	w.absorb(b)
	return true
}
