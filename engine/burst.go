package engine

// Bursts. What a driver hands in is mostly of a few kinds: frames between stations that a bridge knows, packets to be routed to
// known neighbours, and both of these into and out of tunnels. Three ways lead through the engine, with the same results:
//
//   - A run (runs.go): packets of one kind, from the front of a burst.
//   - By stages (here and in resolve.go): the usual packets behind it, of all kinds. The tables are asked for all packets of a burst
//     together, stage by stage, which keeps many lookups under way at once where one packet's would wait for each other; then each
//     packet in turn is rewritten and sent.
//   - The long way (receive.go, bridge.go, forward.go and so on), one packet after the other: whatever is out of the ordinary, and
//     every packet where somebody watches. It knows all cases, and is what the others are held against.
//
// The stages:
//
//	frames ─┬──────────────────────▶ bridge ─┬──────────────▶ port
//	        └▶ host ─┬▶ tunnel opened ┬▲     ├▶ VTEP ────────▶ port
//	                 │                │└─────┼▶ up ─┐
//	                 └────────────────┴──────┴──────┴▶ route ─┬▶ adjacency ─▶ port, or bridge ▶ port
//	                                                          └▶ neighbour ─▶ likewise

import (
	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
)

const (
	burstSize = 64 // packets that are resolved together
	// maxResolves is how often a burst is resolved, as packets change tables.
	maxResolves = 4
	maxFrame    = 1<<16 - 1 // bytes
)

// verdict is how a packet ends.
type verdict uint8

const (
	undecided   verdict = iota // its stages are gone through one by one
	toPort                     // it leaves as it is
	toNeighbour                // routed to a neighbour
	toStation                  // routed to a neighbour behind a bridge
	toVTEP                     // by a VXLAN device
	toTunnel                   // routed into a tunnel
)

// encloses reports whether the packet goes into a tunnel.
func (v verdict) encloses() bool { return v >= toVTEP }

// fate is what becomes of a packet, as far as it is known.
type fate struct {
	verdict   verdict
	tunnelled bool // it came out of a tunnel
	hears     bool // the VXLAN device is to learn its source
	teaches   bool // the bridge is to learn its source
	arrives   bool // it is tunnelled or teaches
	up        bool // it went to the bridge itself
	routed    bool
	odd       bool // the tunnel's decapsulator has to look at it again
}

// headers are those of a frame with an IPv4 packet.
type headers [ethernet.HeaderLen + ipv4.HeaderLen]byte

// flight is a packet of a burst, and what was found for it. Fields that its fate does not ask for have what an earlier packet left
// there.
type flight struct {
	fate
	frame *headers // where the frame is that is to be bridged or routed; if it is raw, with room for an Ethernet header
	start uint16   // bytes of the buffer in front of that
	size  uint16   // bytes of the frame
	total uint16   // of the IPv4 packet in it, if that is to be routed
	vtep  uint32   // that it came from
	addr  uint32   // next hop

	tunnel *device // that it came out of
	in     *device // bridge's port that teaches
	bridge *device // that it went up to
	out    *device // bridge or tunnel that it leaves by
	to     *device // port that it leaves by

	src, dst uint64 // MAC addresses of the frame to be bridged; dst is the next hop's once it is routed
	way      *way
	resolved *resolved
}

// burst is the packets of a burst, and lists of those that are at the same stage.
type burst struct {
	batch   []*packet.Buffer
	flights [burstSize]flight

	datagrams list // UDP for the node itself
	packets   list // packets in packets, likewise
	claimed   list // out of an IPIP tunnel
	heard     list // out of a VXLAN device that learns
	bridged   list
	routed    list
	next      list // to neighbours that are to be asked for
	remote    list // to VTEPs
	down      list // to neighbours behind a bridge

	keys    [burstSize]fdb.Key
	sources [burstSize]fdb.Key
	places  [burstSize]fdb.Place
	from    [burstSize]fdb.Place
	told    [burstSize]fdb.Place
	ways    [burstSize]*way
	addrs   [burstSize]uint32
	paths   [burstSize]*route.Path
	tags    [burstSize]uint32
	near    [burstSize]arp.Neighbour
	words   [burstSize]uint64
	numbers [burstSize]uint64

	recent recentWays

	touched uint32 // sum of what was loaded for no other reason than that it is needed soon

	own uint32 // address that was last found to be the node's
}

// list is flights by number, each with a device whose table is to be asked.
type list struct {
	n     int
	first *device
	mixed bool // the devices are not all the same
	of    [burstSize]uint8
}

func (l *list) add(i int, d *device) {
	if l.n == 0 {
		l.first, l.mixed = d, false
	} else if d != l.first {
		l.mixed = true
	}
	l.push(i)
}

// push is add for a list that is not taken from.
func (l *list) push(i int) {
	l.of[l.n&(burstSize-1)] = uint8(i)
	l.n++
}

// take removes the flights that have the device of the first one, and returns both; device tells which one a flight has.
func (l *list) take(x *burst, device func(f *flight) *device) (*device, []uint8) {
	d, n := l.first, l.n
	if !l.mixed {
		l.n = 0
		return d, l.of[:n]
	}
	same, others := list{}, list{}
	for _, i := range l.of[:n] {
		if at := device(&x.flights[i]); at == d {
			same.add(int(i), at)
		} else {
			others.add(int(i), at)
		}
	}
	*l = others
	copy(l.of[others.n:], same.of[:same.n]) // behind its end, where nobody adds before the caller is done
	return d, l.of[others.n:n]
}

func tunnelOf(f *flight) *device { return f.tunnel }
func outOf(f *flight) *device    { return f.out }

// plain reports whether frames that a port receives may go the short way: nobody watches.
func (w *Worker) plain(d *device) bool {
	return d != nil && d.kind == KindPort && d.plain && !d.raw && w.dry == nil && len(w.st.traces) == 0
}

// burst takes what a port has received.
func (w *Worker) burst(d *device, batch []*packet.Buffer) {
	if w.flights == nil {
		w.flights = new(burst)
	}
	for len(batch) > 0 {
		n := min(len(batch), burstSize)
		w.fly(w.flights, d, batch[:n])
		batch = batch[n:]
	}
	w.flights.batch = nil
}

// fly resolves and rewrites up to burstSize packets. After one that changed what others may have been resolved by, those left are
// resolved anew.
func (w *Worker) fly(x *burst, d *device, batch []*packet.Buffer) {
	if batch = batch[w.run(x, d, batch):]; len(batch) == 0 {
		return
	}
	for range maxResolves {
		w.resolveAll(x, d, batch)
		n := w.land(x, d, batch)
		clear(batch[:n])
		if batch = batch[n:]; len(batch) == 0 {
			return
		}
	}
	w.oneByOne(d, batch)
}

// land lets the packets of a burst go the way that they were resolved to have. It returns how many: not those that must not, as
// tables have changed; an undecided one looks at them itself.
func (w *Worker) land(x *burst, d *device, batch []*packet.Buffer) int {
	w.changed = false
	rx, tx := w.work(d), account{}
	for i, b := range batch {
		if len(w.inside) > 0 {
			w.drain()
		}
		f := &x.flights[i&(burstSize-1)]
		if w.changed && f.verdict != undecided {
			return i
		}
		bytes := uint64(b.Len())
		if f.odd && f.verdict != undecided && !w.openOdd(f, b) {
			f.verdict = undecided
		}
		if f.verdict == undecided {
			w.crossed = 0
			w.enter(d, b)
			continue
		}
		rx.RxPackets++
		rx.RxBytes += bytes
		if f.arrives && !w.arrive(f, b) {
			continue
		}
		if f.routed {
			w.route(f, b)
		}
		if f.verdict.encloses() && !w.enclose(f, b) {
			continue
		}
		if b.HasOffloads() {
			w.sendFit(f.to, b)
			continue
		}
		n := tx.of(w, f.to)
		if len(n.queue) == 0 {
			w.ready = append(w.ready, f.to.index)
		}
		n.queue = append(n.queue, b)
		n.TxPackets++
		n.TxBytes += uint64(b.Len())
	}
	if len(w.inside) > 0 {
		w.drain()
	}
	return len(batch)
}

// account is a worker's part of the device that was last asked for: what follows is mostly for the same.
type account struct {
	d *device
	n *devWork
}

func (a *account) of(w *Worker, d *device) *devWork {
	if a.d != d {
		a.d, a.n = d, w.work(d)
	}
	return a.n
}

// openOdd takes a packet out of its tunnel. It reports false, and has changed nothing, if that cannot be.
func (w *Worker) openOdd(f *flight, b *packet.Buffer) bool {
	_ = b.TrimFront(ethernet.HeaderLen) // resolvePackets found it
	var err error
	if f.tunnel.vxlan != nil {
		_, err = f.tunnel.vxlan.decap.Decapsulate(b)
	} else if _, err = w.e.ipips.Decapsulate(b); err == nil {
		_, _ = b.Prepend(ethernet.HeaderLen) // where the outer header was
	}
	if err != nil {
		_, _ = b.Prepend(ethernet.HeaderLen)
	}
	return err == nil
}

// arrive takes a packet out of its tunnel, and lets the tunnel's device and the bridge that it is a port of learn. It reports
// whether the packet goes on.
func (w *Worker) arrive(f *flight, b *packet.Buffer) bool {
	if f.tunnelled {
		if !f.odd {
			_ = b.Strip(int(f.start), int(f.start)+int(f.size)) // resolveVXLAN or resolveIPIP found it
		}
		w.total.Counters[IPInReceives]++
		w.total.Counters[IPInDelivers]++
		if f.hears && !w.vxlanLearn(f.tunnel, b, f.vtep) {
			return false
		}
		n := w.work(f.tunnel)
		n.RxPackets++
		n.RxBytes += uint64(f.size - ethernet.HeaderLen) // without the header, as Linux counts them
	}
	if f.teaches && w.learn(w.st.device(f.in.master), f.src, f.in) == fdb.Own {
		w.dropRx(f.in, b, DropSourceMAC)
		return false
	}
	return true
}

// route does what the IP stack does with a packet that it forwards: what is left has the Ethernet header that it leaves with, or
// room for it if it is for a tunnel that carries none.
func (w *Worker) route(f *flight, b *packet.Buffer) {
	if f.up {
		n := w.work(f.bridge)
		n.RxPackets++
		n.RxBytes += uint64(f.size - ethernet.HeaderLen)
	}
	w.total.Counters[IPInReceives]++
	w.total.Counters[IPForwDatagrams]++
	length := f.total + ethernet.HeaderLen
	if length != f.size {
		_ = b.Truncate(int(length)) // Ethernet's padding
	}
	decrementTTL((*[ipv4.HeaderLen]byte)(f.frame[ethernet.HeaderLen:]))
	putEthernet((*[ethernet.HeaderLen]byte)(f.frame[:]), f.dst, f.out.mac)
	if f.verdict == toStation {
		n := w.work(f.out)
		n.TxPackets++
		n.TxBytes += uint64(length)
	}
}

// enclose puts a packet into a tunnel, and reports whether that could be.
func (w *Worker) enclose(f *flight, b *packet.Buffer) bool {
	var err error
	bytes := uint64(b.Len() - ethernet.HeaderLen) // without the header, as Linux counts them
	switch {
	case f.verdict == toVTEP:
		err = f.way.vxlan.Encapsulate(b, w.nextID())
	case f.resolved.kind == byVXLAN:
		err = f.resolved.vxlan.encap.Encapsulate(b, w.nextID())
	default:
		_ = b.TrimFront(ethernet.HeaderLen) // route has put it there
		err = f.resolved.ipip.encap.Encapsulate(b, w.nextID())
	}
	if err != nil {
		w.tunnelFault(f.out, b, encapReason(err))
		return false
	}
	n := w.work(f.out)
	n.TxPackets++
	n.TxBytes += bytes
	w.total.Counters[IPOutRequests]++
	return true
}
