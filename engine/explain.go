package engine

// What would happen to a frame, without anything happening: the same code as for real packets, by a worker that changes nothing.

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/packet"
)

// Explanation is what would happen to a frame.
type Explanation struct {
	Steps   []Step
	Outputs []Outgoing // what would be given to Output
	Held    []string   // what would wait, and for what
	Local   bool       // it would be offered to Config.Local
	Drops   []Reason   // why it, or what came of it, would be dropped
}

// Outgoing is a packet that would leave by a port.
type Outgoing struct {
	Device string
	Packet []byte
}

// String returns the steps, a line each.
func (x *Explanation) String() string {
	var b strings.Builder
	for _, s := range x.Steps {
		fmt.Fprintln(&b, s)
	}
	for _, h := range x.Held {
		fmt.Fprintf(&b, "%-10s %s\n", "held", h)
	}
	return b.String()
}

// dryRun is what a worker that changes nothing keeps instead.
type dryRun struct {
	x      *Explanation
	names  func(uint32) string
	taught map[*fdb.Table]*fdb.Table // what tables would have learned, in tables of their own
}

// Explain returns what would happen to a frame, or a packet of a raw port, that a port received at a time. What frames teach
// bridges and VXLAN devices on the way counts, but for this explanation only. It changes no table,
// counter or limit, and sends nothing; it may be called beside workers. IPv4 identifications are those of a worker that has not
// sent anything yet. Questions to an agent are not asked, and packets that would wait are not followed further.
func (e *Engine) Explain(port string, frame []byte, now time.Duration) (*Explanation, error) {
	e.explaining.Lock()
	defer e.explaining.Unlock()
	d, err := e.named("explain", port)
	if err != nil {
		return nil, err
	}
	if d.kind != KindPort {
		return nil, fmt.Errorf("engine: explain: %s is no port, and receives nothing from outside: %w", port, ErrInvalid)
	}
	return e.dryReceive(d, now, func(w *Worker, d *device) { w.receive(d, e.bufferOf(frame)) }), nil
}

// ExplainPacket is Explain for an IPv4 packet that the node itself has received by a device of any kind, its own bridge's port or a
// tunnel, with the Ethernet header already taken off: 'ip route get … from … iif'.
func (e *Engine) ExplainPacket(dev string, ip []byte, now time.Duration) (*Explanation, error) {
	e.explaining.Lock()
	defer e.explaining.Unlock()
	d, err := e.named("explain", dev)
	if err != nil {
		return nil, err
	}
	return e.dryReceive(d, now, func(w *Worker, d *device) {
		w.group = false
		w.ipReceive(d, e.bufferOf(ip))
	}), nil
}

// dryReceive lets the worker that changes nothing receive something, and returns what would come of it.
func (e *Engine) dryReceive(d *device, now time.Duration, receive func(*Worker, *device)) *Explanation {
	w, x := e.dry, &Explanation{}
	w.dry = &dryRun{x: x, names: w.deviceName, taught: map[*fdb.Table]*fdb.Table{}}
	trace := &TracedPacket{Time: now}
	w.begin(now)
	w.crossed, w.trace = 0, trace
	receive(w, w.st.device(d.index))
	w.trace = trace
	w.end()
	w.trace = nil
	x.Steps = trace.Steps
	for _, s := range x.Steps {
		if s.Stage == StageDrop {
			x.Drops = append(x.Drops, s.Reason)
		}
	}
	return x
}

// bufferOf returns a frame in a buffer like those of the pool, as from a driver that receives into them.
func (e *Engine) bufferOf(frame []byte) *packet.Buffer {
	if b := e.pool.Outside(); b.SetBytes(frame) == nil {
		return b
	}
	return packet.Of(frame)
}

// take takes what would be given to Output.
func (y *dryRun) take(port uint32, batch []*packet.Buffer) {
	for _, b := range batch {
		y.x.Outputs = append(y.x.Outputs, Outgoing{Device: y.names(port), Packet: slices.Clone(b.Bytes())})
	}
}

// hold takes a packet that would wait.
func (y *dryRun) hold(_ *Worker, d *device, _ *packet.Buffer, why string) {
	y.x.Held = append(y.x.Held, d.label()+": "+why)
}

// deliver takes a packet that would be offered to Config.Local; nobody knows if it would be taken.
func (y *dryRun) deliver(w *Worker, d *device, _ *packet.Buffer) bool {
	y.x.Local = true
	if w.e.config.Local == nil {
		return false
	}
	w.note(Step{Stage: StageDeliver, Device: d.name, Text: "offered to the callback"})
	return true
}

// teach notes where a station is, in the table or, if nothing may be changed, beside it.
func (w *Worker) teach(t *fdb.Table, key fdb.Key, from fdb.Dest) fdb.Outcome {
	if w.dry != nil {
		return w.dry.learn(t, key, from, w.now)
	}
	out := t.Learn(key, from, w.now)
	w.changed = w.changed || out == fdb.Moved
	return out
}

// place returns where a station is, as far as the table and this explanation know.
func (w *Worker) place(t *fdb.Table, key fdb.Key) fdb.Place {
	if w.dry != nil {
		if seen := w.dry.taught[t]; seen != nil && seen.Lookup(key).IsValid() {
			return seen.Lookup(key)
		}
	}
	return t.Lookup(key)
}

// learn says what learning would come to, and remembers it. That many stations of one explanation could find a table full is left
// out of account.
func (y *dryRun) learn(t *fdb.Table, key fdb.Key, from fdb.Dest, now time.Duration) fdb.Outcome {
	would := t
	entry := t.Get(key)
	if seen := y.taught[t]; seen != nil && seen.Get(key).IsValid() {
		would, entry = seen, seen.Get(key)
	}
	out := would.WouldLearn(key, from)
	if out != fdb.Learned && out != fdb.Moved {
		return out
	}
	if y.taught[t] == nil {
		y.taught[t], _ = fdb.New(fdb.Config{}) // the defaults are without fault
	}
	_ = y.taught[t].Replace(key, from, entry.Flags(), now) // as WouldLearn has found it valid
	return out
}

// explainNeighbour says what becomes of a packet for a neighbour that is not known, or to be checked.
func (w *Worker) explainNeighbour(od *device, next uint32, b *packet.Buffer) {
	n := w.e.neighs.Lookup(od.index, next)
	if n.IsValid() {
		w.frameTo(od, n.MACBits(), b)
		return
	}
	w.note(Step{Stage: StageHold, Device: od.name, Addr: AddrOf(next)})
	w.dry.hold(w, od, b, fmt.Sprintf("waits for %v to answer", AddrOf(next)))
}

// arpExplain says what becomes of an ARP packet. The device's own answers are shown, delayed ones too; what the neighbour table
// would do with packets that wait is not.
func (w *Worker) arpExplain(d *device, p arp.Packet, _ *packet.Buffer) {
	d.answer.mu.Lock()
	r, err := arp.NewResponder(d.answer.made) // one with an empty queue
	d.answer.mu.Unlock()
	if err != nil {
		return
	}
	v := r.Decide(p, !w.group, w.now)
	w.note(Step{Stage: StageARP, Device: d.name, Text: v.String()})
	if v == arp.Answered {
		w.arpSend(d, arp.ReplyTo(p, d.hw), p.SenderMAC())
	}
}
