package arp

// The state machine of an entry: what sending, hearing and waiting do to it.

import (
	"time"

	"github.com/culvert-net/culvert/packet"
)

// record is what the packet path does not read of a neighbour.
type record struct {
	key   uint64
	mac   uint64 // as Neighbour has it; means nothing unless the state is a valid one
	state State

	// cached: a packet has gone. From then on Linux sends with a ready-made header while the entry is connected, and notes
	// nothing (neigh_output, neigh_hh_init).
	cached bool
	// noted: in DELAY or PROBE, a packet has gone since the last timer.
	noted bool

	published uint64 // the word that readers see; 0: none yet
	probes    int    // requests since the resolution or check began, which begins at UnicastProbes or 0

	used, confirmed, updated time.Duration

	deadline time.Duration // of its timer
	timer    int           // its place in the heap, 0: not running

	queue   queue
	created uint64 // a number that rises
	links   [2]links
	filed   *list // failed, stale or neither
}

// create returns a new record; the caller gives it a state at once.
func (t *Table) create(key uint64) *record {
	r := t.spare
	if r == nil {
		r = &record{}
	} else {
		t.spare = r.links[byCreation].next
		t.spares--
	}
	t.created++
	*r = record{
		key: key, used: t.now, updated: t.now, confirmed: t.never(key), created: t.created,
	}
	t.records[key] = r
	t.all.push(r)
	t.stats.Allocs++
	if len(t.records) == max(t.config.GCThresh1, 1) {
		t.collection.resume(t)
	}
	return r
}

// never returns a confirmation time that counts as none (___neigh_create).
func (t *Table) never(key uint64) time.Duration {
	return t.now - 2*t.params(deviceOf(key)).BaseReachable
}

// output is neigh_output() and __neigh_event_send().
func (t *Table) output(r *record, b *packet.Buffer, source uint32, actions []Action) []Action {
	switch {
	case r.state.in(valid):
		t.noteUse(r)
		return t.deliver(r, b, actions)
	case r.state == StateIncomplete:
		r.used = t.now
		if b != nil {
			actions = t.hold(r, b, source, actions)
		}
		return actions
	}
	r.used = t.now
	return t.solicit(r, b, source, actions)
}

// solicit begins to ask for a neighbour that is not known.
func (t *Table) solicit(r *record, b *packet.Buffer, source uint32, actions []Action) []Action {
	p := t.params(deviceOf(r.key))
	r.updated = t.now
	if p.BroadcastProbes+p.AppProbes == 0 {
		r.state = StateFailed
		t.publish(r)
		return t.refuse(r.key, b, DropNoProbes, actions)
	}
	r.probes = p.UnicastProbes
	r.state = StateIncomplete
	t.start(r, max(p.Retransmit, minTimer))
	t.publish(r)
	if b != nil {
		actions = t.hold(r, b, source, actions)
	}
	return t.ask(r, actions)
}

// noteUse is what a packet to a known neighbour does to its entry.
func (t *Table) noteUse(r *record) {
	if r.state.in(connected) && r.cached {
		return
	}
	r.used = t.now
	r.cached = true
	if r.state == StateStale {
		r.state = StateDelay
		r.updated = t.now
		t.start(r, t.params(deviceOf(r.key)).Delay)
	}
	r.noted = true
	t.publish(r)
}

// deliver appends the sending of a packet, if there is one.
func (t *Table) deliver(r *record, b *packet.Buffer, actions []Action) []Action {
	if b == nil {
		return actions
	}
	t.stats.Delivered++
	return append(actions, Action{
		Kind: ActionDeliver, Device: deviceOf(r.key), Addr: addrOf(r.key), MAC: macOf(r.mac), Buffer: b,
	})
}

// start is neigh_add_timer(): a timer begins to run.
func (t *Table) start(r *record, in time.Duration) {
	r.used = max(r.used, r.confirmed)
	t.timers.set(r, t.now+in)
}

// ask is neigh_probe() and arp_solicit(): one more request.
func (t *Table) ask(r *record, actions []Action) []Action {
	p := t.params(deviceOf(r.key))
	a := Action{Kind: ActionRequest, Device: deviceOf(r.key), Addr: addrOf(r.key)}
	if r.queue.tail != nil {
		a.Source = r.queue.tail.source
	}
	switch {
	case r.probes < p.UnicastProbes && r.state.in(valid):
		a.Kind, a.MAC = ActionProbe, macOf(r.mac)
	case r.probes >= p.UnicastProbes && r.probes < p.UnicastProbes+p.AppProbes:
		a.Kind = ActionMiss
	}
	r.probes++
	t.stats.Solicits++
	return append(actions, a)
}

// maxProbes returns how many requests r may use up in its state.
func (t *Table) maxProbes(r *record) int {
	p := t.params(deviceOf(r.key))
	if r.state == StateProbe {
		return p.UnicastProbes + p.AppProbes + p.BroadcastReprobes
	}
	return p.UnicastProbes + p.AppProbes + p.BroadcastProbes
}

// expire is neigh_timer_handler(): r's timer has run out.
func (t *Table) expire(r *record, actions []Action) []Action {
	p := t.params(deviceOf(r.key))
	r.noted = false
	next := t.now + max(p.Retransmit, minTimer)
	switch r.state {
	case StateReachable:
		next = t.reachableExpired(r, p)
	case StateDelay:
		if t.now <= r.confirmed+p.Delay {
			t.enter(r, StateReachable)
			next = r.confirmed + t.reachableTime(deviceOf(r.key), r.confirmed)
		} else {
			r.probes = 0
			t.enter(r, StateProbe)
		}
	}
	if r.state.in(asking) && r.probes >= t.maxProbes(r) {
		t.timers.stop(r)
		r.state = StateFailed
		return t.invalidate(r, actions)
	}
	if !r.state.in(timed) {
		t.timers.stop(r)
		return actions
	}
	t.timers.set(r, max(next, t.now+minTimer))
	if r.state.in(asking) {
		actions = t.ask(r, actions)
	}
	t.publish(r)
	return actions
}

// asking are the states in which requests go out.
const asking states = 1<<StateIncomplete | 1<<StateProbe

// reachableExpired decides what a reachable entry becomes, and returns when to look again.
func (t *Table) reachableExpired(r *record, p *Params) time.Duration {
	until := r.confirmed + t.reachableTime(deviceOf(r.key), r.confirmed)
	switch {
	case t.now < until:
		return until
	case t.now <= r.used+p.Delay:
		t.enter(r, StateDelay)
		return t.now + p.Delay
	}
	t.enter(r, StateStale)
	return 0
}

// enter changes the state, by a timer.
func (t *Table) enter(r *record, s State) {
	r.state = s
	r.updated = t.now
	t.publish(r)
}

// invalidate is neigh_invalidate(): nobody answered, and those who wait are told.
func (t *Table) invalidate(r *record, actions []Action) []Action {
	t.stats.ResFailed++
	r.updated = t.now
	t.publish(r)
	for r.queue.packets > 0 {
		t.stats.Unreachable++
		actions = append(actions, Action{
			Kind: ActionUnreachable, Device: deviceOf(r.key), Addr: addrOf(r.key), Buffer: t.room.pop(r),
		})
	}
	return actions
}

// authority is who wants an entry to change.
type authority struct {
	override bool // NEIGH_UPDATE_F_OVERRIDE: another MAC address is believed
	admin    bool // NEIGH_UPDATE_F_ADMIN: configured entries can be changed
}

// update is neigh_update(): r is said to be at mac, in a state that is a valid one.
func (t *Table) update(r *record, mac uint64, to State, who authority, actions []Action) []Action {
	old := r.state
	if old.in(configured) && !who.admin {
		return actions
	}
	known := old.in(valid)
	moves := !known || mac != r.mac
	if to.in(connected) {
		r.confirmed = t.now // even if the address is not believed
	}
	if known && moves && !who.override {
		t.stats.RefusedLocked++
		return actions
	}
	if known && !moves && to == StateStale && !who.admin {
		to = old
	}
	if to == old && !moves {
		return actions
	}
	r.updated = t.now
	if moves {
		r.mac = mac
		if known {
			t.stats.Moved++
		}
	}
	if to != old {
		t.change(r, to)
	}
	if moves && !to.in(connected) {
		r.confirmed = t.never(r.key)
	}
	t.publish(r)
	return t.release(r, actions)
}

// change puts r into a state, with the timer that belongs to it.
func (t *Table) change(r *record, to State) {
	t.timers.stop(r)
	r.state = to
	r.noted = false
	switch to {
	case StateProbe:
		r.probes = 0
		t.start(r, 0)
	case StateDelay:
		t.start(r, 0)
	case StateReachable:
		t.start(r, max(t.reachableTime(deviceOf(r.key), t.now), minTimer))
	}
}

// release is neigh_update_process_arp_queue(): what waited goes, each packet as if it were sent now.
func (t *Table) release(r *record, actions []Action) []Action {
	for r.queue.packets > 0 {
		b := t.room.pop(r)
		r.used = t.now
		t.noteUse(r)
		actions = t.deliver(r, b, actions)
	}
	return actions
}

// fail takes what is known away from an entry: neigh_update() to a state that is not valid.
func (t *Table) fail(r *record, actions []Action) []Action {
	old := r.state
	t.timers.stop(r)
	r.state = StateFailed
	if old.in(asking) {
		return t.invalidate(r, actions)
	}
	t.publish(r)
	return actions
}

// publish lets readers see r as it is now, and files it where garbage collection looks for it.
func (t *Table) publish(r *record) {
	ready := r.state.in(connected) && r.cached || r.noted && (r.state == StateDelay || r.state == StateProbe)
	mac := r.mac
	if !r.state.in(valid) {
		mac = 0
	}
	word := wordOf(mac, r.state, ready)
	old := Neighbour(r.published).shown()
	if word == r.published {
		return
	}
	r.published = word
	t.words.Store(r.key, word)
	if now := Neighbour(word).shown(); now != old {
		t.file(r, old.State())
		t.tell(r.key, old, now)
	}
}

// file puts r into the list of its state, and counts configured entries; old is the state before.
func (t *Table) file(r *record, old State) {
	if r.filed != nil {
		r.filed.remove(r)
		r.filed = nil
	}
	switch r.state {
	case StateFailed:
		r.filed = &t.failed
	case StateStale:
		r.filed = &t.stale
	}
	if r.filed != nil {
		r.filed.push(r)
	}
	if old.in(configured) {
		t.configured--
	}
	if r.state.in(configured) {
		t.configured++
	}
}

func (t *Table) tell(key uint64, old, now Neighbour) {
	t.stats.Changes++
	if t.config.OnChange != nil {
		t.config.OnChange(Change{Device: deviceOf(key), Addr: addrOf(key), Old: old, New: now})
	}
}
