package traceroutecmd

// Probes without an answer.

import "time"

// precision is added to times that answers took, before they are multiplied.
const precision = time.Millisecond

// timeout returns how long to wait for a probe: some times as long as another of its hop took, or as one of a later hop, but no
// longer than -w says.
func (t *trace) timeout(n int) time.Duration {
	hop := n - n%t.o.queries
	if t.o.here > 0 {
		for _, b := range t.probes[hop : hop+t.o.queries] {
			if b.done && b.answered {
				return t.scaled(b, t.o.here)
			}
		}
	}
	if t.o.near > 0 {
		for _, b := range t.probes[n+1:] {
			if !b.sent {
				break
			}
			if b.done && b.answered {
				return t.scaled(b, t.o.near)
			}
		}
	}
	return t.o.wait
}

func (t *trace) scaled(b probe, factor float64) time.Duration {
	return min(t.o.wait, time.Duration(float64(b.at-b.sentAt+precision)*factor))
}

// expire gives a probe up. Where the end of the way has answered a later one with an error, and it must be guessed which of its
// hop's probes that should have been, the answer may take this one's place.
func (t *trace) expire(n int) {
	b := &t.probes[n]
	b.release()
	b.done = true
	first := n - n%t.o.queries
	ended := false // an earlier probe of the hop was answered by the end
	for _, before := range t.probes[first:n] {
		if !before.done || !before.final {
			return
		}
		ended = true
	}
	later := t.laterEnd(n)
	if later < 0 || t.probes[later].note == "" {
		return // what is no error comes in its order
	}
	if ended || later < first+t.o.queries || t.seen(n, later) || t.near(n, later) {
		*b = t.probes[later]
		t.probes[later] = probe{sent: true, sentAt: time.Second} // so that it is not sent again
	}
}

// laterEnd returns the first answered probe behind n, if that was answered by the end of the way; else -1.
func (t *trace) laterEnd(n int) int {
	for i := n + 1; i < len(t.probes) && t.probes[i].sent; i++ {
		if t.probes[i].done {
			if t.probes[i].final {
				return i
			}
			return -1
		}
	}
	return -1
}

// seen reports whether an earlier probe was answered by the same host.
func (t *trace) seen(n, later int) bool {
	for _, before := range t.probes[:n] {
		if before.from.IsValid() && before.from == t.probes[later].from {
			return true
		}
	}
	return false
}

// near guesses from the TTL of an answer whether its sender is as far away as probe n could have come.
func (t *trace) near(n, later int) bool {
	hop := n/t.o.queries + 1
	back := hopsBack(t.probes[later].ttl)
	for i := n - 1; i >= 0; i-- {
		b := t.probes[i]
		if b.done && !b.final && b.ttl != 0 {
			if hops := hopsBack(b.ttl); hops < back {
				back = back - hops + i/t.o.queries + 1
				break
			}
		}
	}
	return t.probes[later].ttl != 0 && back <= hop
}

// hopsBack is how many hops a packet has come that was sent with a TTL of 64, 128 or 255.
func hopsBack(ttl uint8) int {
	switch {
	case ttl <= 64:
		return 65 - int(ttl)
	case ttl <= 128:
		return 129 - int(ttl)
	}
	return 256 - int(ttl)
}
