package reference

// ARP and neighbours (RFC 826, RFC 1122 section 2.3.2; net/ipv4/arp.c, net/core/neighbour.c): who is asked when, what is
// believed, and which packets wait. The timers are Linux's.

import (
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-net/culvert/ethernet"
)

// The timers and limits of /proc/sys/net/ipv4/neigh/default.
const (
	retransmit  = time.Second     // retrans_time_ms
	delayProbe  = 5 * time.Second // delay_first_probe_time
	lockTime    = time.Second     // locktime
	maxRequests = 3               // mcast_solicit and ucast_solicit
	maxWaiting  = 101             // unres_qlen
)

type neighbourState int

const (
	failed neighbourState = iota
	incomplete
	reachable
	stale
	delay
	probe
	permanent
)

type neighbourKey struct {
	device *Device
	addr   netip.Addr
}

type neighbour struct {
	state    neighbourState
	mac      ethernet.MAC
	updated  time.Duration
	heard    time.Duration // when a reply to us confirmed it last
	sure     bool          // heard means something
	timer    time.Duration
	running  bool
	requests int
	waiting  []ipPacket
}

func (nb *neighbour) valid() bool { return nb.state >= reachable }

// SetNeighbour makes a permanent entry: 'ip neigh replace'.
func (n *Node) SetNeighbour(d *Device, addr netip.Addr, mac ethernet.MAC) {
	k := neighbourKey{d, addr}
	nb := n.neighbours[k]
	if nb == nil {
		nb = &neighbour{}
		n.neighbours[k] = nb
	}
	nb.state, nb.mac, nb.updated, nb.running = permanent, mac, n.now, false
	n.release(k, nb)
}

// DeleteNeighbour is 'ip neigh del'. To what waits it is as if the neighbour did not answer (neigh_delete).
func (n *Node) DeleteNeighbour(d *Device, addr netip.Addr) (found bool) {
	k := neighbourKey{d, addr}
	nb := n.neighbours[k]
	if nb == nil {
		return false
	}
	n.fail(k.device, nb)
	if len(nb.waiting) == 0 { // else an error for one of those who waited has woken it again
		delete(n.neighbours, k)
	}
	return true
}

// Neighbours returns the states and addresses of all neighbours in the words of 'ip neigh', by address and device.
func (n *Node) Neighbours() map[string]string {
	words := map[neighbourState]string{
		failed: "FAILED", incomplete: "INCOMPLETE", reachable: "REACHABLE", stale: "STALE", delay: "DELAY", probe: "PROBE",
		permanent: "PERMANENT",
	}
	all := map[string]string{}
	for k, nb := range n.neighbours {
		text := words[nb.state]
		if nb.valid() {
			text = nb.mac.String() + " " + text
		}
		all[k.addr.String()+" dev "+k.device.Name] = text
	}
	return all
}

// dropNeighbour removes an entry with its device (neigh_flush_dev). What waits is dropped silently.
func (n *Node) dropNeighbour(k neighbourKey) {
	for range n.neighbours[k].waiting {
		n.drop("NeighbourGone")
	}
	delete(n.neighbours, k)
}

// FlushNeighbours is 'ip neigh flush dev'. In which order they go may matter where packets wait for several.
func (n *Node) FlushNeighbours(d *Device) {
	gone, waiting := 0, 0
	for _, k := range n.neighbourKeys() {
		if nb := n.neighbours[k]; k.device == d && nb.state != permanent {
			gone++
			waiting += len(nb.waiting)
			n.DeleteNeighbour(d, k.addr)
		}
	}
	n.result.Unknown = n.result.Unknown || gone > 1 && waiting > 0
}

// neighbourKeys returns the keys in an order that is always the same.
func (n *Node) neighbourKeys() (keys []neighbourKey) {
	for k := range n.neighbours {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b neighbourKey) int {
		if a.device != b.device {
			return slices.Index(n.Devices, a.device) - slices.Index(n.Devices, b.device)
		}
		return a.addr.Compare(b.addr)
	})
	return keys
}

// toNeighbour sends a packet to addr on an Ethernet device (neigh_resolve_output, __neigh_event_send).
func (n *Node) toNeighbour(d *Device, addr netip.Addr, p ipPacket) {
	k := neighbourKey{d, addr}
	nb := n.neighbours[k]
	if nb == nil {
		nb = &neighbour{state: failed}
		n.neighbours[k] = nb
	}
	switch nb.state {
	case failed:
		nb.state, nb.requests, nb.updated = incomplete, 0, n.now
		n.wait(nb, p)
		n.start(nb, retransmit)
		n.solicit(k, nb)
		return
	case incomplete:
		n.wait(nb, p)
		return
	case stale:
		nb.state, nb.updated = delay, n.now
		n.start(nb, delayProbe)
	}
	n.transmit(d, frame{dst: nb.mac, src: d.MAC, kind: typeIPv4, payload: p.bytes()})
}

func (n *Node) wait(nb *neighbour, p ipPacket) {
	nb.waiting = append(nb.waiting, p)
	if len(nb.waiting) > maxWaiting {
		nb.waiting = nb.waiting[1:]
		n.drop("NeighbourQueue")
	}
}

func (n *Node) start(nb *neighbour, in time.Duration) { nb.timer, nb.running = n.now+in, true }

// release sends what waited.
func (n *Node) release(k neighbourKey, nb *neighbour) {
	waiting := nb.waiting
	nb.waiting = nil
	for _, p := range waiting {
		n.toNeighbour(k.device, k.addr, p)
	}
}

// solicit asks (arp_solicit): everybody who has the address, or its last known owner alone.
func (n *Node) solicit(k neighbourKey, nb *neighbour) {
	nb.requests++
	source := n.addressFor(k.device, k.addr)
	if len(nb.waiting) > 0 {
		if newest := nb.waiting[len(nb.waiting)-1]; n.isLocal(newest.src) {
			source = newest.src
		}
	}
	to := ethernet.Broadcast
	if nb.state == probe {
		to = nb.mac
	}
	ask := arpPacket{op: arpRequest, senderMAC: k.device.MAC, senderIP: source, targetIP: k.addr}
	n.transmit(k.device, frame{dst: to, src: k.device.MAC, kind: typeARP, payload: ask.bytes()})
}

// Next returns when Tick has something to do for neighbours.
func (n *Node) Next() (at time.Duration, any bool) {
	for _, nb := range n.neighbours {
		if nb.running && (!any || nb.timer < at) {
			at, any = nb.timer, true
		}
	}
	return at, any
}

// tickNeighbours is neigh_timer_handler for all whose time has come. Of several that fail at one moment, those first may make
// packets wait for those next: whose turn is first nobody says.
func (n *Node) tickNeighbours() {
	gaveUp := false
	for _, k := range n.neighbourKeys() {
		nb := n.neighbours[k]
		if nb == nil || !nb.running || nb.timer > n.now {
			continue
		}
		if nb.state == delay && nb.sure && n.now <= nb.heard+delayProbe {
			nb.state, nb.updated, nb.running = reachable, n.now, false
			continue
		}
		if nb.state == delay {
			nb.state, nb.requests, nb.updated = probe, 0, n.now
		}
		if nb.requests >= maxRequests {
			n.result.Unknown = n.result.Unknown || gaveUp && len(nb.waiting) > 0
			gaveUp = gaveUp || len(nb.waiting) > 0
			n.fail(k.device, nb)
			continue
		}
		n.start(nb, retransmit)
		n.solicit(k, nb)
	}
}

// fail gives up: the senders of what waits are told (ipv4_link_failure).
func (n *Node) fail(d *Device, nb *neighbour) {
	nb.state, nb.running, nb.updated = failed, false, n.now
	waiting := nb.waiting
	nb.waiting = nil
	for _, p := range waiting {
		n.drop("Neighbour")
		if pointer, _ := n.through(d, &p); pointer == 0 { // once more: ipv4_send_dest_unreach
			n.sendError(p, toHost, icmpError{kind: icmpUnreachable, code: codeHost})
		}
	}
}

// inputARP is arp_rcv and arp_process.
func (n *Node) inputARP(d *Device, f frame, to kindOfDestination) {
	p, ok := parseARP(f.payload)
	if !ok {
		n.drop("ARPMalformed")
		return
	}
	switch {
	case thisNetwork.Contains(p.senderIP) && !p.senderIP.IsUnspecified():
		n.drop("MartianSource")
		return
	case p.op == arpRequest && !p.senderIP.IsUnspecified() && !n.comesBack(d, p.senderIP):
		n.drop("ReversePath") // Linux does not answer either, but may learn
		return
	case p.op != arpRequest && p.op != arpReply:
		return
	}
	if p.targetIP.IsMulticast() || p.targetIP.IsLoopback() {
		return
	}
	if p.op == arpRequest && p.senderIP.IsUnspecified() { // a probe, RFC 5227: only a local address answers
		if n.isLocal(p.targetIP) {
			n.answer(d, p)
		}
		return
	}
	if p.op == arpRequest {
		switch n.answerable(d, p) {
		case answerOwn, answerProxy:
			if isStation(p.senderMAC) {
				n.answer(d, p)
				n.hear(d, p)
			}
			return
		}
	}
	n.update(d, p, to)
}

type answerable int

const (
	answerNone answerable = iota
	answerOwn
	answerProxy
)

// answerable says what a request is to us. The question is routed like a packet from the sender to the address asked for: where
// that packet were refused, nobody answers.
func (n *Node) answerable(d *Device, p arpPacket) answerable {
	v := n.routeInput(d, p.senderIP, p.targetIP)
	switch {
	case v.faults != nil, n.isLocal(p.senderIP): // who claims our address gets no answer, whatever accept_local says
		return answerNone
	case v.kind == Local:
		return answerOwn
	case v.kind == Unicast && d.Forwarding && d.ProxyARP && v.route.Device != d && p.senderIP != p.targetIP:
		return answerProxy
	}
	return answerNone
}

func (n *Node) answer(d *Device, p arpPacket) {
	reply := arpPacket{
		op: arpReply, senderMAC: d.MAC, senderIP: p.targetIP, targetMAC: p.senderMAC, targetIP: p.senderIP,
	}
	n.transmit(d, frame{dst: p.senderMAC, src: d.MAC, kind: typeARP, payload: reply.bytes()})
}

// hear makes or corrects the entry of who asked us, for he will want to talk (neigh_event_ns).
func (n *Node) hear(d *Device, p arpPacket) {
	k := neighbourKey{d, p.senderIP}
	if n.neighbours[k] == nil {
		n.neighbours[k] = &neighbour{state: failed, updated: n.now}
	}
	n.learnNeighbour(k, p.senderMAC, stale, true)
}

func isStation(m ethernet.MAC) bool { return !isGroup(m) && m != ethernet.MAC{} }

// update believes what is said of an address that is known already.
func (n *Node) update(d *Device, p arpPacket, to kindOfDestination) {
	k := neighbourKey{d, p.senderIP}
	nb := n.neighbours[k]
	if nb == nil || !isStation(p.senderMAC) || n.isLocal(p.senderIP) {
		return
	}
	state := reachable
	if p.op != arpReply || to != toHost {
		state = stale
	}
	announcement := p.senderIP == p.targetIP && (p.op == arpRequest || p.senderMAC == p.targetMAC)
	n.learnNeighbour(k, p.senderMAC, state, announcement || n.now > nb.updated+lockTime)
}

// learnNeighbour is neigh_update.
func (n *Node) learnNeighbour(k neighbourKey, mac ethernet.MAC, state neighbourState, override bool) {
	nb := n.neighbours[k]
	if nb.state == permanent {
		return
	}
	if state == reachable { // even if its address is not believed
		nb.heard, nb.sure = n.now, true
	}
	wasValid := nb.valid()
	if wasValid {
		if mac != nb.mac && !override {
			return
		}
		if mac == nb.mac && state == stale {
			state = nb.state
		}
	}
	if state != nb.state || mac != nb.mac {
		nb.updated = n.now
	}
	if state != nb.state {
		nb.running = false // a reachable entry stays so for hours here
	}
	if mac != nb.mac && state != reachable {
		nb.sure = false
	}
	nb.state, nb.mac = state, mac
	if !wasValid {
		n.release(k, nb)
	}
}
