package arp

// Packets that wait for a MAC address: a queue for each neighbour, and all of them in the order of their arrival, so that the
// oldest can be found when there are too many in all.

import "github.com/culvert-net/culvert/packet"

// waiting is a packet in a queue.
type waiting struct {
	buffer *packet.Buffer
	bytes  int // counted; the buffer is not ours to keep an eye on
	source uint32
	owner  *record

	next         *waiting // of the same neighbour, younger
	older, newer *waiting // of all
}

// queue is what waits for one neighbour, oldest first.
type queue struct {
	head, tail     *waiting
	packets, bytes int
}

// waitingRoom is what waits in all.
type waitingRoom struct {
	oldest, newest *waiting
	packets        int
	limit          int
	free           *waiting // linked by next, at most limit of them
}

// push puts a packet at the end of r's queue.
func (w *waitingRoom) push(r *record, b *packet.Buffer, source uint32) {
	p := w.free
	if p == nil {
		p = &waiting{}
	} else {
		w.free = p.next
	}
	*p = waiting{buffer: b, bytes: b.Len(), source: source, owner: r, older: w.newest}
	if r.queue.tail == nil {
		r.queue.head = p
	} else {
		r.queue.tail.next = p
	}
	r.queue.tail = p
	r.queue.packets++
	r.queue.bytes += p.bytes
	if w.newest == nil {
		w.oldest = p
	} else {
		w.newest.newer = p
	}
	w.newest = p
	w.packets++
}

// pop takes the oldest packet out of r's queue, which is not empty.
func (w *waitingRoom) pop(r *record) *packet.Buffer {
	p := r.queue.head
	if r.queue.head = p.next; p.next == nil {
		r.queue.tail = nil
	}
	r.queue.packets--
	r.queue.bytes -= p.bytes
	if p.older == nil {
		w.oldest = p.newer
	} else {
		p.older.newer = p.newer
	}
	if p.newer == nil {
		w.newest = p.older
	} else {
		p.newer.older = p.older
	}
	w.packets--
	b := p.buffer
	*p = waiting{next: w.free}
	w.free = p
	return b
}

// hold lets a packet wait for r, and drops what there is no room for any more, the oldest first.
func (t *Table) hold(r *record, b *packet.Buffer, source uint32, actions []Action) []Action {
	params := t.params(deviceOf(r.key))
	for q := &r.queue; q.packets > 0 && (q.packets >= params.QueuePackets || q.bytes+b.Len() > params.QueueBytes); {
		t.stats.UnresolvedDiscards++
		actions = t.drop(actions, r.key, t.room.pop(r), DropQueueFull)
	}
	if t.room.packets >= t.room.limit {
		t.stats.WaitingFull++
		victim := t.room.oldest.owner
		actions = t.drop(actions, victim.key, t.room.pop(victim), DropWaitingFull)
	}
	t.stats.Held++
	t.room.push(r, b, source)
	return actions
}

// drop appends the end of a packet.
func (t *Table) drop(actions []Action, key uint64, b *packet.Buffer, why Reason) []Action {
	t.stats.Dropped++
	return append(actions, Action{
		Kind: ActionDrop, Reason: why, Device: deviceOf(key), Addr: addrOf(key), Buffer: b,
	})
}

// dropAll appends the end of all that waits for r.
func (t *Table) dropAll(r *record, why Reason, actions []Action) []Action {
	for r.queue.packets > 0 {
		actions = t.drop(actions, r.key, t.room.pop(r), why)
	}
	return actions
}
