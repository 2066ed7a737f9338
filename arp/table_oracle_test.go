package arp_test

// A neighbour table that is too simple to be wrong in the same way: a slice of entries, searched from end to end for everything,
// rules as sentences, no lists, no heap, no words. It tells what it does as text.

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
)

type slowEntry struct {
	device, addr             uint32
	mac                      ethernet.MAC
	state                    arp.State
	hasSent                  bool // a packet has gone, ever
	probes                   int
	used, confirmed, updated time.Duration
	alarm                    time.Duration // -1: none
	queue                    []slowPacket
	change                   int // a number that rises with every change of state or MAC address of any entry
}

// shownEntry is what there is to be seen of an entry.
type shownEntry struct {
	device, addr uint32
	arp.Entry
}

func (e *slowEntry) shown() shownEntry {
	s := shownEntry{e.device, e.addr, arp.Entry{
		State: e.state, Used: e.used, Confirmed: e.confirmed, Updated: e.updated, Probes: e.probes, Waiting: len(e.queue),
	}}
	if isKnown(e.state) {
		s.MAC = e.mac
	}
	return s
}

type slowPacket struct {
	id, size int
	source   uint32
	order    int
}

// slowTable does all that a Table does but counting, and that in one go.
type slowTable struct {
	config     arp.TableConfig // every field set
	params     map[uint32]arp.Params
	entries    []*slowEntry // in the order of their creation
	now        time.Duration
	lastForced time.Duration
	gcDue      time.Duration
	packets    int // ever
	changes    int // ever
	did        []string
}

func newSlowTable(c arp.TableConfig) *slowTable {
	return &slowTable{config: c, params: map[uint32]arp.Params{}, gcDue: c.GCInterval}
}

func (t *slowTable) param(device uint32) arp.Params {
	p, own := t.params[device]
	if !own {
		p = t.config.Params
	}
	for _, d := range []*time.Duration{&p.BaseReachable, &p.Delay, &p.Retransmit, &p.StaleTime, &p.LockTime} {
		*d = max(*d, 0) // -1 is none
	}
	for _, n := range []*int{
		&p.UnicastProbes, &p.AppProbes, &p.BroadcastProbes, &p.BroadcastReprobes, &p.QueueBytes, &p.QueuePackets,
	} {
		*n = max(*n, 0)
	}
	return p
}

func (t *slowTable) find(device, addr uint32) *slowEntry {
	for _, e := range t.entries {
		if e.device == device && e.addr == addr {
			return e
		}
	}
	return nil
}

func isConfigured(s arp.State) bool { return s == arp.StatePermanent || s == arp.StateNoARP }
func isConnected(s arp.State) bool  { return isConfigured(s) || s == arp.StateReachable }

func isKnown(s arp.State) bool {
	return isConnected(s) || s == arp.StateStale || s == arp.StateDelay || s == arp.StateProbe
}

func (t *slowTable) learned() (n int) {
	for _, e := range t.entries {
		if !isConfigured(e.state) {
			n++
		}
	}
	return n
}

func (t *slowTable) say(format string, args ...any) {
	t.did = append(t.did, fmt.Sprintf(format, args...))
}

// reachable is how long a confirmation holds: the generator is part of the contract that a run is a function of the seed.
func (t *slowTable) reachable(e *slowEntry) time.Duration {
	base := t.param(e.device).BaseReachable
	if base == 0 {
		return 0
	}
	pcg := rand.NewPCG(t.config.Seed, uint64(e.device)<<32|uint64(uint32(e.confirmed/(300*time.Second))))
	return base/2 + time.Duration(pcg.Uint64()%uint64(base))
}

func (t *slowTable) retransmit(e *slowEntry) time.Duration {
	return max(t.param(e.device).Retransmit, 10*time.Millisecond)
}

func (t *slowTable) room() bool {
	n := t.learned()
	if n < t.config.GCThresh2 || n < t.config.GCThresh3 && t.now <= t.lastForced+5*time.Second {
		return true
	}
	t.lastForced = t.now
	removed := 0
	for _, state := range []arp.State{arp.StateFailed, arp.StateStale} {
		for removed < n+1-t.config.GCThresh2 {
			victim := t.oldest(state)
			if victim == nil || state == arp.StateStale && t.now <= victim.updated+5*time.Second {
				break
			}
			t.remove(victim)
			removed++
		}
	}
	return removed > 0 || n < t.config.GCThresh3
}

// oldest returns the entry in a state whose state or MAC address changed first.
func (t *slowTable) oldest(state arp.State) (found *slowEntry) {
	for _, e := range t.entries {
		if e.state == state && (found == nil || e.change < found.change) {
			found = e
		}
	}
	return found
}

func (t *slowTable) remove(e *slowEntry) {
	t.entries = slices.DeleteFunc(t.entries, func(other *slowEntry) bool { return other == e })
	t.say("%v is gone", e.name())
}

func (e *slowEntry) name() string { return addressText(e.device, e.addr) }

func (t *slowTable) add(device, addr uint32) *slowEntry {
	e := &slowEntry{device: device, addr: addr, used: t.now, updated: t.now, alarm: -1}
	e.confirmed = t.now - 2*t.param(device).BaseReachable
	t.entries = append(t.entries, e)
	if len(t.entries) == max(t.config.GCThresh1, 1) {
		t.skipGC()
	}
	return e
}

// skipGC leaves out the collections that would have been due.
func (t *slowTable) skipGC() {
	for t.gcDue <= t.now {
		t.gcDue += t.config.GCInterval
	}
}

// become gives e a state, and an alarm after some time, -1 for none.
func (t *slowTable) become(e *slowEntry, s arp.State, alarm time.Duration) {
	if e.alarm = -1; alarm >= 0 {
		e.alarm = t.now + alarm
		e.used = max(e.used, e.confirmed)
	}
	t.enter(e, s)
}

func (t *slowTable) enter(e *slowEntry, s arp.State) {
	if e.state != s {
		e.state = s
		t.changed(e)
	}
}

func (t *slowTable) changed(e *slowEntry) {
	t.changes++
	e.change = t.changes
	mac := ""
	if isKnown(e.state) {
		mac = e.mac.String()
	}
	t.say("%v is %v %v", e.name(), e.state, mac)
}

// output takes packet id, or none if size is 0.
func (t *slowTable) output(device, addr uint32, id, size int, source uint32) {
	e := t.find(device, addr)
	if e == nil {
		switch {
		case device == 0 || addr == 0 || addr == 0xffffffff || addr>>24 == 127 || addr>>28 == 14:
			t.drop(size, id, arp.DropAddress)
			return
		case !t.room():
			t.drop(size, id, arp.DropTableFull)
			return
		}
		e = t.add(device, addr)
	}
	p := t.param(device)
	switch {
	case isKnown(e.state):
		t.use(e)
		if size > 0 {
			t.say("send %d to %v", id, e.mac)
		}
	case e.state == arp.StateIncomplete:
		e.used = t.now
		t.wait(e, id, size, source)
	case p.AppProbes == 0 && p.BroadcastProbes == 0:
		e.used, e.updated = t.now, t.now
		t.become(e, arp.StateFailed, -1)
		t.drop(size, id, arp.DropNoProbes)
	default:
		e.used, e.updated, e.probes = t.now, t.now, p.UnicastProbes
		t.become(e, arp.StateIncomplete, t.retransmit(e))
		t.wait(e, id, size, source)
		t.ask(e)
	}
}

func (t *slowTable) drop(size, id int, why arp.Reason) {
	if size > 0 {
		t.say("drop %d: %v", id, why)
	}
}

// use is a packet to somebody known.
func (t *slowTable) use(e *slowEntry) {
	if isConnected(e.state) && e.hasSent {
		return
	}
	e.used, e.hasSent = t.now, true
	if e.state == arp.StateStale {
		e.updated = t.now
		t.become(e, arp.StateDelay, t.param(e.device).Delay)
	}
}

func (t *slowTable) wait(e *slowEntry, id, size int, source uint32) {
	if size == 0 {
		return
	}
	p := t.param(e.device)
	for len(e.queue) > 0 && (len(e.queue) >= p.QueuePackets || e.bytes()+size > p.QueueBytes) {
		t.drop(1, e.queue[0].id, arp.DropQueueFull)
		e.queue = e.queue[1:]
	}
	waiting, oldest := 0, e
	for _, other := range t.entries {
		waiting += len(other.queue)
		if len(other.queue) > 0 && (len(oldest.queue) == 0 || other.queue[0].order < oldest.queue[0].order) {
			oldest = other
		}
	}
	if waiting >= t.config.MaxWaiting {
		t.drop(1, oldest.queue[0].id, arp.DropWaitingFull)
		oldest.queue = oldest.queue[1:]
	}
	t.packets++
	e.queue = append(e.queue, slowPacket{id, size, source, t.packets})
}

func (e *slowEntry) bytes() (n int) {
	for _, p := range e.queue {
		n += p.size
	}
	return n
}

func (t *slowTable) ask(e *slowEntry) {
	p := t.param(e.device)
	to := "everybody"
	switch n := e.probes; {
	case n < p.UnicastProbes && isKnown(e.state):
		to = e.mac.String()
	case n >= p.UnicastProbes && n < p.UnicastProbes+p.AppProbes:
		to = "agent"
	}
	e.probes++
	source := uint32(0)
	if len(e.queue) > 0 {
		source = e.queue[len(e.queue)-1].source
	}
	t.say("ask %v for %v from %d", to, e.name(), source)
}

func (t *slowTable) giveUp(e *slowEntry) {
	e.updated = t.now
	t.become(e, arp.StateFailed, -1)
	for _, p := range e.queue {
		t.say("unreachable %d", p.id)
	}
	e.queue = nil
}

// ring is e's alarm.
func (t *slowTable) ring(e *slowEntry) {
	p := t.param(e.device)
	again := t.retransmit(e)
	switch e.state {
	case arp.StateReachable:
		until := e.confirmed + t.reachable(e)
		again = until - t.now
		if t.now >= until {
			e.updated = t.now
			if t.now > e.used+p.Delay {
				t.enter(e, arp.StateStale)
				e.alarm = -1
				return
			}
			t.enter(e, arp.StateDelay)
			again = p.Delay
		}
	case arp.StateDelay:
		e.updated = t.now
		if t.now > e.confirmed+p.Delay {
			e.probes = 0
			t.enter(e, arp.StateProbe)
		} else {
			t.enter(e, arp.StateReachable)
			again = e.confirmed + t.reachable(e) - t.now
		}
	}
	limit := -1
	switch e.state {
	case arp.StateIncomplete:
		limit = p.UnicastProbes + p.AppProbes + p.BroadcastProbes
	case arp.StateProbe:
		limit = p.UnicastProbes + p.AppProbes + p.BroadcastReprobes
	}
	if limit >= 0 && e.probes >= limit {
		t.giveUp(e)
		return
	}
	e.alarm = t.now + max(again, 10*time.Millisecond)
	if limit >= 0 {
		t.ask(e)
	}
}

// next returns when something is due.
func (t *slowTable) next() time.Duration {
	due := arp.Never
	for _, e := range t.entries {
		if e.alarm >= 0 {
			due = min(due, e.alarm)
		}
	}
	if len(t.entries) > 0 && len(t.entries) >= t.config.GCThresh1 {
		due = min(due, t.gcDue)
	}
	return due
}

func (t *slowTable) tick() {
	for {
		var first *slowEntry
		for _, e := range t.entries {
			if e.alarm >= 0 && e.alarm <= t.now && (first == nil || e.alarm < first.alarm ||
				e.alarm == first.alarm && (e.device < first.device || e.device == first.device && e.addr < first.addr)) {
				first = e
			}
		}
		if first == nil {
			break
		}
		t.ring(first)
	}
	if t.now < t.gcDue || len(t.entries) == 0 || len(t.entries) < t.config.GCThresh1 {
		return
	}
	t.skipGC()
	for _, e := range slices.Clone(t.entries) {
		switch e.state {
		case arp.StateStale, arp.StateFailed:
			e.used = max(e.used, e.confirmed)
			if e.state == arp.StateFailed || t.now >= e.used+t.param(e.device).StaleTime {
				t.remove(e)
			}
		}
	}
}

// learn is what the table is told of a neighbour, by a packet or by hand.
func (t *slowTable) learn(e *slowEntry, mac ethernet.MAC, s arp.State, believed, byHand bool) {
	known, same := isKnown(e.state), isKnown(e.state) && mac == e.mac
	if isConfigured(e.state) && !byHand {
		return
	}
	if isConnected(s) {
		e.confirmed = t.now
	}
	switch {
	case known && !same && !believed:
		return
	case same && s == arp.StateStale && !byHand:
		return // we knew as much
	case same && s == e.state:
		return
	}
	e.updated, e.mac = t.now, mac
	was := e.state
	if s != was {
		alarm := map[arp.State]time.Duration{
			arp.StateProbe: 0, arp.StateDelay: 0, arp.StateReachable: max(t.reachable(e), 10*time.Millisecond),
		}
		after, timed := alarm[s]
		if !timed {
			after = -1
		}
		if s == arp.StateProbe {
			e.probes = 0
		}
		t.become(e, s, after)
	} else {
		t.changed(e)
	}
	if !same && !isConnected(s) {
		e.confirmed = t.now - 2*t.param(e.device).BaseReachable
	}
	for _, p := range e.queue {
		e.used = t.now
		t.use(e)
		t.say("send %d to %v", p.id, e.mac)
	}
	e.queue = nil
}

// input is a well-formed packet from a host's address and a station's MAC address.
func (t *slowTable) input(device, sender, target uint32, mac, targetMAC ethernet.MAC, op arp.Op, how arp.Reception) {
	e, p := t.find(device, sender), t.param(device)
	announcement := sender == target && (op == arp.Request || targetMAC == mac)
	wanted := op == arp.Request && how&arp.ForUs != 0
	if e == nil {
		if !wanted && (!p.AcceptUnsolicited || !announcement && op != arp.Reply) || !t.room() {
			return
		}
		e = t.add(device, sender)
	}
	s := arp.StateStale
	if op == arp.Reply && how&arp.ToHost != 0 {
		s = arp.StateReachable
	}
	t.learn(e, mac, s, wanted || announcement || t.now > e.updated+p.LockTime, false)
}

// set is 'ip neigh add', change and replace; it reports whether that is possible.
func (t *slowTable) set(device, addr uint32, mac ethernet.MAC, s arp.State, makes, changes bool) bool {
	e := t.find(device, addr)
	if e == nil && !makes || e != nil && !changes {
		return false
	}
	was := arp.StateNone
	if e != nil {
		was = e.state
	}
	if mac.IsZero() && s != arp.StateFailed {
		if !isKnown(was) {
			return false
		}
		mac = e.mac
	}
	switch {
	case isConfigured(s):
		if !isConfigured(was) && len(t.entries)-t.learned() >= t.config.MaxConfigured {
			return false
		}
	case e == nil || isConfigured(was):
		if !t.room() {
			return false
		}
	}
	if e == nil {
		e = t.add(device, addr)
	}
	if s == arp.StateFailed {
		t.fail(e)
	} else {
		t.learn(e, mac, s, true, true)
	}
	return true
}

func (t *slowTable) fail(e *slowEntry) {
	if e.state == arp.StateIncomplete || e.state == arp.StateProbe {
		t.giveUp(e)
		return
	}
	t.become(e, arp.StateFailed, -1)
}

func (t *slowTable) erase(e *slowEntry) {
	if e.state != arp.StateFailed {
		t.fail(e)
	}
	t.remove(e)
}

func (t *slowTable) flush(device uint32, s arp.State) {
	for _, e := range slices.Clone(t.entries) {
		if (device == 0 || e.device == device) && (e.state == s || s == arp.StateNone && !isConfigured(e.state)) {
			t.erase(e)
		}
	}
}

func (t *slowTable) flushDevice(device uint32, event arp.DeviceEvent) {
	for _, e := range slices.Clone(t.entries) {
		if e.device != device || event == arp.DeviceCarrier && e.state == arp.StatePermanent {
			continue
		}
		for _, p := range e.queue {
			t.drop(1, p.id, arp.DropFlushed)
		}
		t.remove(e)
	}
}
