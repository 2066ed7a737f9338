package arp_test

// The table beside the slow one: the same random calls to both, which must do and show the same.

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// twins are a table and a slow one that lead the same life.
type twins struct {
	t    testing.TB
	pick func(n int) int // the next choice, less than n

	fast    *arp.Table
	slow    *slowTable
	now     time.Duration
	pace    time.Duration // how much slower time goes by than in steps
	actions []arp.Action
	did     []string // by the fast one
	buffers []*packet.Buffer
	free    []int            // of buffers
	out     map[int]struct{} // those that the table has
	calls   []call           // the latest
}

// call is one of what was done, for the story.
type call struct {
	at           time.Duration
	what         int
	device, addr uint32
	mac          ethernet.MAC
}

// tightConfig makes every limit matter to a few neighbours. All fields are set.
func tightConfig(seed uint64) arp.TableConfig {
	return arp.TableConfig{
		Seed: seed, GCThresh1: 3, GCThresh2: 5, GCThresh3: 7, GCInterval: 15 * time.Second,
		MaxConfigured: 4, MaxWaiting: 6, MaxProxies: 1, Params: somewhatDifferent(0),
	}
}

// somewhatDifferent returns parameters, all set; 0 are the kernel's, with short queues.
func somewhatDifferent(n int) arp.Params {
	p := arp.Params{
		BaseReachable: 30 * time.Second, Delay: 5 * time.Second, Retransmit: time.Second, StaleTime: 60 * time.Second,
		LockTime: time.Second, UnicastProbes: 3, AppProbes: -1, BroadcastProbes: 3, BroadcastReprobes: -1,
		QueueBytes: 400, QueuePackets: 3,
	}
	switch n {
	case 1:
		p.BaseReachable, p.Delay, p.AppProbes, p.AcceptUnsolicited = 2*time.Second, 3*time.Second, 1, true
	case 2:
		p.BaseReachable, p.Delay, p.LockTime, p.UnicastProbes, p.BroadcastReprobes = -1, -1, -1, 1, 2
	case 3:
		p.AppProbes, p.BroadcastProbes, p.StaleTime, p.QueuePackets, p.QueueBytes = -1, -1, 5*time.Second, -1, -1
	case 4:
		p.Retransmit, p.BroadcastProbes, p.UnicastProbes = -1, 1, -1
	}
	return p
}

func newTwins(t testing.TB, seed uint64, pick func(n int) int) *twins {
	w := &twins{t: t, pick: pick, pace: 1, out: map[int]struct{}{}, slow: newSlowTable(tightConfig(seed))}
	config := tightConfig(seed)
	config.OnChange = func(c arp.Change) {
		switch c.New.State() {
		case arp.StateNone:
			w.did = append(w.did, addressText(c.Device, c.Addr)+" is gone")
		case arp.StateIncomplete, arp.StateFailed:
			w.did = append(w.did, fmt.Sprintf("%v is %v ", addressText(c.Device, c.Addr), c.New.State()))
		default:
			w.did = append(w.did, fmt.Sprintf("%v is %v %v", addressText(c.Device, c.Addr), c.New.State(), c.New.MAC()))
		}
	}
	w.fast = newNeighbours(t, config)
	return w
}

// take hands packets back and tells what the table did.
func (w *twins) take() {
	// The slow table tells actions and changes in their order, the fast one in two streams: compared as such.
	for _, a := range w.actions {
		id := -1
		if a.Buffer != nil {
			id = int(a.Buffer.Hash())
			if _, out := w.out[id]; !out {
				w.t.Fatalf("packet %d comes back, but was not given%s", id, w.story())
			}
			delete(w.out, id)
			w.free = append(w.free, id)
		}
		switch a.Kind {
		case arp.ActionRequest:
			w.did = append(w.did, fmt.Sprintf("ask everybody for %v from %d", addressText(a.Device, a.Addr), a.Source))
		case arp.ActionProbe:
			w.did = append(w.did, fmt.Sprintf("ask %v for %v from %d", a.MAC, addressText(a.Device, a.Addr), a.Source))
		case arp.ActionMiss:
			w.did = append(w.did, fmt.Sprintf("ask agent for %v from %d", addressText(a.Device, a.Addr), a.Source))
		case arp.ActionDeliver:
			w.did = append(w.did, fmt.Sprintf("send %d to %v", id, a.MAC))
		case arp.ActionUnreachable:
			w.did = append(w.did, fmt.Sprintf("unreachable %d", id))
		case arp.ActionDrop:
			w.did = append(w.did, fmt.Sprintf("drop %d: %v", id, a.Reason))
		}
	}
	w.actions = w.actions[:0]
}

// isChange tells the two streams apart.
func isChange(s string) bool { return strings.Contains(s, " is ") }

// split returns what s tells of each stream.
func split(s []string) (changes, actions []string) {
	for _, what := range s {
		if isChange(what) {
			changes = append(changes, what)
		} else {
			actions = append(actions, what)
		}
	}
	return changes, actions
}

// story returns the latest calls.
func (w *twins) story() string {
	story := "\nat the end of"
	for _, c := range w.calls {
		story += fmt.Sprintf("\n%v: %d device %d %v %v", c.at, c.what, c.device, netipOf(c.addr), c.mac)
	}
	return story
}

// same compares what both did in one call.
func (w *twins) same() {
	w.take()
	if len(w.did) == 0 && len(w.slow.did) == 0 {
		return
	}
	fastChanges, fastActions := split(w.did)
	slowChanges, slowActions := split(w.slow.did)
	if strings.Join(fastChanges, "\n") != strings.Join(slowChanges, "\n") ||
		strings.Join(fastActions, "\n") != strings.Join(slowActions, "\n") {
		w.t.Fatalf("the table did\n%s\nthe slow one\n%s%s",
			strings.Join(w.did, "\n"), strings.Join(w.slow.did, "\n"), w.story())
	}
	w.did, w.slow.did = w.did[:0], w.slow.did[:0]
}

// compare looks at everything there is to be seen.
func (w *twins) compare() {
	waiting, configured, n := 0, 0, 0 // of the fast one
	for k, e := range w.fast.All() {
		if n >= len(w.slow.entries) {
			w.t.Fatalf("%v should not be there%s", k, w.story())
		}
		want := w.slow.entries[n].shown()
		if got := (shownEntry{k.Device, uintOf(k.Addr), e}); got != want {
			w.t.Fatalf("the table has\n%+v\nthe slow one\n%+v%s", got, want, w.story())
		}
		if found := w.fast.Lookup(k.Device, uintOf(k.Addr)); found.State() != e.State || found.MAC() != e.MAC {
			w.t.Fatalf("%v is %+v, but Lookup finds %v%s", k, e, found, w.story())
		}
		waiting += e.Waiting
		if isConfigured(e.State) {
			configured++
		}
		n++
	}
	stats := w.fast.Stats()
	if n != len(w.slow.entries) || n != stats.Entries || n != w.fast.Len() || configured != stats.Configured {
		w.t.Fatalf("%d entries, the slow one has %d: %+v%s", n, len(w.slow.entries), stats, w.story())
	}
	if waiting != stats.Waiting || waiting != len(w.out) {
		w.t.Fatalf("%d packets wait, %d are with the table: %+v%s", waiting, len(w.out), stats, w.story())
	}
	if n-configured > 7 && n > 7+4 || configured > 4 || waiting > 6 {
		w.t.Fatalf("beyond the limits: %+v%s", stats, w.story())
	}
	if w.fast.Next() != w.slow.next() {
		w.t.Fatalf("the table waits for %v, the slow one for %v%s", w.fast.Next(), w.slow.next(), w.story())
	}
}

// steps are by how much time goes on.
var steps = []time.Duration{
	0, 0, 0, time.Millisecond, 10 * time.Millisecond, 300 * time.Millisecond, time.Second, time.Second, 5 * time.Second, 20 * time.Second, 70 * time.Second,
}

// call does one random thing to both.
func (w *twins) call() {
	w.now += steps[w.pick(len(steps))] / w.pace
	w.slow.now = w.now
	device, addr := uint32(1+w.pick(2)), 10<<24|uint32(2+w.pick(7))
	mac := ethernet.MAC{0x0a, 0, 0, byte(device), byte(w.pick(2)), byte(addr)}
	what := w.pick(100)
	if len(w.calls) == 30 {
		w.calls = w.calls[1:]
	}
	w.calls = append(w.calls, call{w.now, what, device, addr, mac})
	switch {
	case what < 25:
		w.send(device, addr)
	case what < 50:
		w.hear(device, addr, mac)
	case what < 55:
		w.fast.Confirm(device, addr, w.now)
		if e := w.slow.find(device, addr); e != nil {
			e.confirmed = w.now
		}
		if w.fast.Lookup(device, addr).State() == arp.StateNone {
			w.advance() // Confirm of nobody does not look at the time
		}
	case what < 85:
		w.advance()
	case what < 97:
		w.configure(device, addr, mac)
	case what < 98:
		state := arp.State(w.pick(int(arp.StatePermanent) + 1))
		f := arp.Filter{Device: uint32(w.pick(3))}
		if state != arp.StateNone {
			f.States = []arp.State{state}
		}
		w.actions, _ = w.fast.Flush(f, w.now, w.actions)
		w.slow.flush(f.Device, state)
	case what < 99:
		event := arp.DeviceEvent(w.pick(3))
		w.actions = w.fast.FlushDevice(device, event, w.now, w.actions)
		w.slow.flushDevice(device, event)
	default:
		n := w.pick(5)
		require.NoError(w.t, w.fast.SetParams(device, somewhatDifferent(n)))
		w.slow.params[device] = somewhatDifferent(n)
	}
	w.same()
}

// advance lets both do what is due.
func (w *twins) advance() {
	for {
		actions, next := w.fast.Tick(w.now, w.actions)
		w.actions = actions
		if next > w.now {
			break
		}
	}
	w.slow.tick()
}

func (w *twins) send(device, addr uint32) {
	switch w.pick(50) {
	case 0:
		device = 0
	case 1:
		addr = []uint32{0, 127<<24 | 1, 224 << 24, 0xffffffff}[w.pick(4)]
	}
	size, source := []int{0, 60, 60, 60, 150, 500}[w.pick(6)], uint32(w.pick(3))
	id := -1
	var b *packet.Buffer
	if size > 0 {
		if len(w.free) == 0 {
			w.free = append(w.free, len(w.buffers))
			w.buffers = append(w.buffers, packet.New(500))
		}
		id = w.free[len(w.free)-1]
		w.free = w.free[:len(w.free)-1]
		b = w.buffers[id]
		b.Reset()
		_, err := b.Extend(size)
		require.NoError(w.t, err)
		b.SetHash(uint32(id))
		w.out[id] = struct{}{}
	}
	w.actions = w.fast.Output(device, addr, b, source, w.now, w.actions)
	w.slow.output(device, addr, id, size, source)
}

func (w *twins) hear(device, addr uint32, mac ethernet.MAC) {
	f := arp.Fields{Op: arp.Op(1 + w.pick(2)), SenderMAC: mac, TargetIP: [4]byte{10, 0, 0, 1}}
	binary.BigEndian.PutUint32(f.SenderIP[:], addr)
	if w.pick(3) == 0 {
		f.TargetIP = f.SenderIP
	}
	if w.pick(2) == 0 {
		f.TargetMAC = mac
	}
	how := arp.Reception(w.pick(4))
	p, err := arp.Parse(f.Append(nil))
	require.NoError(w.t, err)
	w.actions = w.fast.Input(device, p, how, w.now, w.actions)
	w.slow.input(device, addr, binary.BigEndian.Uint32(f.TargetIP[:]), mac, f.TargetMAC, f.Op, how)
}

func (w *twins) configure(device, addr uint32, mac ethernet.MAC) {
	k := arp.Key{Device: device, Addr: netipOf(addr)}
	state := arp.State(int(arp.StateFailed) + w.pick(int(arp.StatePermanent-arp.StateFailed)+1))
	if w.pick(5) == 0 {
		mac = ethernet.MAC{}
	}
	var err error
	var did bool
	switch w.pick(4) {
	case 0:
		w.actions, err = w.fast.Add(k, mac, state, w.now, w.actions)
		did = w.slow.set(device, addr, mac, state, true, false)
	case 1:
		w.actions, err = w.fast.Change(k, mac, state, w.now, w.actions)
		did = w.slow.set(device, addr, mac, state, false, true)
	case 2:
		w.actions, err = w.fast.Replace(k, mac, state, w.now, w.actions)
		did = w.slow.set(device, addr, mac, state, true, true)
	case 3:
		w.actions, err = w.fast.Delete(k, w.now, w.actions)
		if e := w.slow.find(device, addr); e != nil {
			w.slow.erase(e)
			did = true
		}
	}
	if did != (err == nil) {
		w.t.Fatalf("%v: the slow one did: %v%s", err, did, w.story())
	}
}

// TestAgainstTheSlowTable makes a million random calls, to a few tables.
func TestAgainstTheSlowTable(t *testing.T) {
	const seed = 20261122
	t.Logf("seed %d", seed)
	calls := 1_000_000
	if raceEnabled { // one goroutine
		calls /= 10
	}
	for run := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, run))
		w := newTwins(t, run, rnd.IntN)
		w.pace = []time.Duration{1, 1, 5, 25, 125}[run%5]
		for i := range calls / 10 {
			w.call()
			if i%2 == 0 {
				w.compare()
			}
		}
		t.Logf("%+v", w.fast.Stats())
	}
}

// FuzzTableCalls makes calls that the input chooses.
func FuzzTableCalls(f *testing.F) {
	f.Fuzz(func(t *testing.T, choices []byte) {
		w := newTwins(t, 1, func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0])
			choices = choices[1:]
			return c % n
		})
		for len(choices) > 0 {
			w.call()
			w.compare()
		}
		w.now += time.Hour
		w.slow.now = w.now
		w.advance()
		w.same()
		w.compare()
	})
}
