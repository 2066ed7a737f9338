package engine

// Runs: packets of one kind that follow each other in a burst, as most do. Where resolve.go finds out for each packet what kind it
// is, and makes lists of those that are at the same stage, a run needs neither: its packets go through the same few loops, each of
// which cuts it off in front of the first packet that differs. What is behind it goes by stages.
//
//   - Heads: are the headers those of the kind, and what are the tables to be asked?
//   - Tables: each is asked for all packets together. Nothing has changed up to here, so a run that turns out to be short is none.
//   - The last loop takes the packets in order: tables learn, the packet is rewritten and queued. A run that stays in the bridge ends
//     behind a packet from a station that has moved, as those behind it were looked up before.
//
// No runs are frames in VXLAN for a bridge's own address, and what goes up through a bridge and down again through one; else:
//
//	frames ──┬─▶ bridge ─┬▶ port
//	         │           ├▶ VTEP
//	VXLAN  ──┤           └▶ up ─┐
//	         └────────────┐     │
//	packets ──────────────┴─────┴▶ route ─┬▶ adjacency
//	IPIP  ────────────────┘               └▶ neighbour behind a bridge

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// leastRun is how many packets a run has at least: to begin one costs as much as a packet or two.
const leastRun = 8

// run is packets of one kind, and what they have in common.
type run struct {
	batch  []*packet.Buffer
	port   *device // that received them
	tunnel *device // that they came out of, nil if none
	in     *device // bridge's port that they are received by: one of the two
	up     *device // bridge that hands them to the IP stack, nil if none does
	own    uint32  // the node's address that they were sent to, if they were tunnelled
	start  int     // where in what was received the frame to be forwarded is; of a packet in IPIP, with room for an Ethernet header
}

// run lets packets from the front of a burst go their way, as long as they are of one kind, and returns how many: these were sent or
// dropped, the others are as they were. No packet is on its way inside then, nor can one get there by what a run does.
func (w *Worker) run(x *burst, d *device, batch []*packet.Buffer) int {
	if len(batch) < leastRun || batch[0].Len() < len(headers{}) {
		return 0
	}
	w.changed = false
	r := run{batch: batch, port: d, in: d}
	h := (*headers)(batch[0].Bytes())
	if d.master != 0 {
		br := w.st.device(d.master)
		if !r.learnsFor(br) {
			return 0
		}
		if dst, _ := h.macs(); dst == br.mac {
			r.up = br
			return w.runRouted(x, &r, w.headPackets(x, &r, br))
		}
		return w.runBridged(x, &r, headFrames(x, &r))
	}
	if r.own = h.dst(); !w.st.own.has(r.own) {
		return w.runRouted(x, &r, w.headPackets(x, &r, d))
	}
	if d.conf.RPFilter != 0 || !w.delivers(r.own) {
		return 0
	}
	switch h[ethernet.HeaderLen+9] {
	case ipv4.ProtocolIPIP:
		return w.runRouted(x, &r, w.headIPIP(x, &r))
	case ipv4.ProtocolUDP:
		return w.runOpened(x, &r, w.headVXLAN(x, &r))
	}
	return 0
}

// runOpened lets frames go their way that a VXLAN device has received.
func (w *Worker) runOpened(x *burst, r *run, n int) int {
	if n < leastRun {
		return 0
	}
	if r.tunnel.master == 0 {
		return w.runRouted(x, r, w.headInner(x, r, n))
	}
	if !r.learnsFor(w.st.device(r.tunnel.master)) {
		return 0
	}
	return w.runBridged(x, r, headStations(x, r, n))
}

// size returns the length of the frame to be forwarded in what was received, p, which is not IPIP.
func (r *run) size(p []byte) int {
	if r.tunnel == nil {
		return len(p)
	}
	const at = ethernet.HeaderLen + ipv4.HeaderLen + 4 // UDP length
	return int(binary.BigEndian.Uint16(p[at:])) - udp.HeaderLen - vxlan.HeaderLen
}

// inside returns how many bytes the device has received that handed a packet of total bytes to the IP stack, without Ethernet headers,
// as Linux counts them; p is all that came in.
func (r *run) inside(p []byte, total int) int {
	if r.tunnel != nil && r.tunnel.ipip != nil {
		return total
	}
	return r.size(p) - ethernet.HeaderLen
}

// sums are of the packets of a run.
type sums struct {
	received int // bytes, as the port received them
	inside   int // bytes that the tunnel received, or the bridge's own port
	refused  int // packets that neither received
}

// arrived counts what the packets of a run were received by.
func (w *Worker) arrived(r *run, n int, s sums) {
	rx := w.work(r.port)
	rx.RxPackets += uint64(n)
	rx.RxBytes += uint64(s.received)
	clear(r.batch[:n])
	by := r.up
	if r.tunnel != nil {
		by = r.tunnel
		w.total.Counters[IPInReceives] += uint64(n)
		w.total.Counters[IPInDelivers] += uint64(n)
	}
	if by != nil {
		rx = w.work(by)
		rx.RxPackets += uint64(n - s.refused)
		rx.RxBytes += uint64(s.inside)
	}
}

// exit is a device that packets leave by, and the worker's part of it: what follows is mostly for the same.
type exit struct {
	d *device
	n *devWork
}

func (e *exit) is(index uint32) bool { return e.d != nil && e.d.index == index }

// turn makes it another device, and reports whether packets may leave by that without more ado.
func (e *exit) turn(w *Worker, index uint32) bool {
	e.d = w.st.device(index)
	if e.d == nil || !e.d.plain {
		return false
	}
	e.n = w.work(e.d)
	return true
}

// send queues a packet of a port for Output.
func (n *devWork) send(w *Worker, to *device, b *packet.Buffer) {
	if len(n.queue) == 0 {
		w.ready = append(w.ready, to.index)
	}
	n.queue = append(n.queue, b)
	n.TxPackets++
	n.TxBytes += uint64(b.Len())
}
