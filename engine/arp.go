package engine

// ARP: answers, and what the neighbour table learns and asks for.

import (
	"sync"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
)

// responder answers requests that a device receives. ARP is rare, so workers take turns.
type responder struct {
	mu   sync.Mutex
	r    *arp.Responder
	made arp.ResponderConfig // what it was made for, to see if it is still right
}

// arpReceive takes an ARP frame to the device or to a group; b starts with the Ethernet header.
func (w *Worker) arpReceive(d *device, b *packet.Buffer) {
	_, payload, err := ethernet.Parse(b.Bytes())
	if err != nil {
		w.dropRx(d, b, DropARPMalformed)
		return
	}
	p, err := arp.Parse(payload)
	if err != nil || d.answer == nil {
		w.dropRx(d, b, DropARPMalformed)
		return
	}
	switch p.Op() {
	case arp.Request:
		w.total.Counters[ARPInRequests]++
	case arp.Reply:
		w.total.Counters[ARPInReplies]++
	}
	sender := be32(p.SenderIP())
	if sender != 0 && isZeroNet(sender) {
		w.drop(d, b, DropMartianSource)
		return
	}
	if d.conf.RPFilter != 0 && p.Op() == arp.Request && !w.comesBack(d, sender) {
		w.total.Counters[IPReversePathFilter]++
		w.drop(d, b, DropReversePath)
		return
	}
	if w.dry != nil {
		w.arpExplain(d, p, b)
		return
	}
	w.changed = true
	d.answer.mu.Lock()
	v := d.answer.r.Decide(p, !w.group, w.now)
	d.answer.mu.Unlock()
	if w.trace != nil {
		w.note(Step{Stage: StageARP, Device: d.name, Text: v.String()})
	}
	if v == arp.Answered {
		w.arpSend(d, arp.ReplyTo(p, d.hw), p.SenderMAC())
	}
	w.arpLearn(d, p, v)
	w.absorb(b)
}

// arpLearn lets the neighbour table see a packet, unless it claims an address of the node, or asks for one that is not to be
// answered (arp_process in net/ipv4/arp.c).
func (w *Worker) arpLearn(d *device, p arp.Packet, v arp.Verdict) {
	switch v {
	case arp.SilentConflict, arp.SilentIgnored, arp.SilentOwn:
		return
	}
	sender := p.SenderIP()
	if p.Op() == arp.Reply && w.st.own.has(be32(sender)) {
		return
	}
	var how arp.Reception
	if !w.group {
		how |= arp.ToHost
	}
	if v == arp.Answered || v == arp.Delayed {
		how |= arp.ForUs
	}
	w.act(w.e.neighs.Input(d.index, p, how, w.now, w.actionList()))
}

// arpSend sends an ARP packet.
func (w *Worker) arpSend(d *device, f arp.Fields, dst ethernet.MAC) {
	b := w.alloc()
	if b == nil {
		w.lack()
		return
	}
	frame, err := b.Extend(arp.FrameLen)
	if err != nil {
		w.drop(d, b, DropNoBuffer)
		return
	}
	f.AppendFrame(frame[:0], dst)
	if f.Op == arp.Request {
		w.total.Counters[ARPOutRequests]++
	} else {
		w.total.Counters[ARPOutReplies]++
	}
	w.transmit(d, b)
}

// actionList returns an empty list for the neighbour table to append to. What is done about one action may lead to others, so
// there are several lists.
func (w *Worker) actionList() []arp.Action {
	n := len(w.lists)
	if n == 0 {
		return nil
	}
	list := w.lists[n-1]
	w.lists = w.lists[:n-1]
	return list
}

// act does what the neighbour table asks for.
func (w *Worker) act(actions []arp.Action) {
	for i := range actions {
		w.actOn(&actions[i])
	}
	clear(actions)
	w.lists = append(w.lists, actions[:0])
}

func (w *Worker) actOn(a *arp.Action) {
	d := w.st.device(a.Device)
	switch a.Kind {
	case arp.ActionRequest, arp.ActionProbe:
		if d != nil && d.running {
			w.solicit(d, a)
		}
	case arp.ActionMiss:
		if d != nil {
			w.misses = append(w.misses, Miss{Kind: MissNeighbour, Device: d.name, Index: d.index, Addr: AddrOf(a.Addr)})
		}
	case arp.ActionDeliver:
		if d == nil {
			w.drop(nil, a.Buffer, DropDeviceGone)
			return
		}
		w.frameTo(d, word(a.MAC), a.Buffer)
	case arp.ActionUnreachable:
		w.linkFailure(d, a.Buffer)
	case arp.ActionDrop:
		w.drop(d, a.Buffer, neighbourReason(a.Reason))
	}
}

// solicit asks for a neighbour, from the address that arp_announce allows (arp_solicit in net/ipv4/arp.c).
func (w *Worker) solicit(d *device, a *arp.Action) {
	if d.vxlan != nil && d.vxlan.made.L3Miss {
		w.misses = append(w.misses, Miss{Kind: MissNeighbour, Device: d.name, Index: d.index, Addr: AddrOf(a.Addr)})
		return
	}
	source := a.Source
	if !w.st.own.has(source) || !d.mayAnnounce(source, a.Addr) {
		source = w.st.sourceFor(d, a.Addr, route.ScopeLink)
	}
	f, dst := a.Query(d.hw, quad(source))
	w.arpSend(d, f, dst)
}

// mayAnnounce reports whether arp_announce lets a request for target say that it comes from source.
func (d *device) mayAnnounce(source, target uint32) bool {
	switch d.conf.ARPAnnounce {
	case 0:
		return true
	case 1:
		for _, a := range d.addrs {
			if number(a.Prefix.Addr()) == source && a.Prefix.Contains(AddrOf(target)) {
				return true
			}
		}
	}
	return false
}

// neighbourReason is the reason for a drop of the neighbour table.
func neighbourReason(r arp.Reason) Reason {
	switch r {
	case arp.DropQueueFull, arp.DropWaitingFull:
		return DropNeighbourQueue
	case arp.DropTableFull:
		return DropNeighbourFull
	case arp.DropFlushed:
		return DropNeighbourGone
	default:
		return DropNeighbourNone
	}
}

// frameTo puts an Ethernet header in front of an IPv4 packet and sends it.
func (w *Worker) frameTo(d *device, mac uint64, b *packet.Buffer) {
	p, err := b.Prepend(ethernet.HeaderLen)
	if err != nil {
		w.dropTx(d, b, DropNoHeadroom)
		return
	}
	putEthernet((*[ethernet.HeaderLen]byte)(p), mac, d.mac)
	w.transmit(d, b)
}
