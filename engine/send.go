package engine

// Packets of the node's own: from Send, and those that the engine makes (net/ipv4/ip_output.c, fib_semantics.c for sources).

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
)

// Send says how a packet of the node's own is to be sent. Dst and Protocol must be set.
type Send struct {
	Dst       netip.Addr
	Src       netip.Addr // zero: as the route says, else an address of the device that it leaves by
	Protocol  uint8
	TTL       uint8 // 0: Global.DefaultTTL
	TOS       uint8
	DF        bool
	ID        uint16 // 0: the next one
	Device    string // send by this device only (SO_BINDTODEVICE)
	Broadcast bool   // Dst may be a broadcast address (SO_BROADCAST)
}

// Send sends a packet of the node's own, by the engine's first worker: see [Worker.Send].
func (e *Engine) Send(b *packet.Buffer, s Send, now time.Duration) error {
	return e.first.Send(b, s, now)
}

// Send sends a packet of the node's own: b holds what follows the IPv4 header. b is the engine's from then on, even if there is an
// error: what the sender of such a packet would be told at once, [ErrNoRoute] and its like, or a fault of s. What becomes of
// the packet later, as when a neighbour does not answer, comes as an ICMP error to Config.Local.
//
// Callbacks may call Send of the worker that called them.
func (w *Worker) Send(b *packet.Buffer, s Send, now time.Duration) error {
	w.total.In++
	if !w.busy {
		w.begin(now)
		defer w.end()
	}
	w.crossed, w.group = 0, false
	out := outgoing{
		dst: number(s.Dst), src: number(s.Src), protocol: s.Protocol, ttl: s.TTL, tos: s.TOS, df: s.DF, id: s.ID,
		broadcast: s.Broadcast,
	}
	if out.ttl == 0 {
		out.ttl = w.st.global.DefaultTTL
	}
	if err := w.checkSend(&out, s); err != nil {
		w.drop(nil, b, DropMartianSource)
		return err
	}
	err := w.originate(out, b)
	if err == nil && s.Protocol == icmp.Protocol {
		w.total.Counters[ICMPOutMsgs]++ // __ip_make_skb
	}
	if len(w.inside) > 0 && len(w.ready) == 0 && !w.busy {
		w.drain()
	}
	return err
}

// checkSend reports a fault of what Send was given.
func (w *Worker) checkSend(out *outgoing, s Send) error {
	if !s.Dst.Is4() {
		return fmt.Errorf("engine: Send.Dst is %v: want an IPv4 address: %w", s.Dst, ErrInvalid)
	}
	if s.Src.IsValid() && !w.st.own.has(out.src) {
		return fmt.Errorf("engine: Send.Src is %v: %w", s.Src, ErrSource)
	}
	if s.Device == "" {
		return nil
	}
	for _, d := range w.st.devices {
		if d != nil && d.name == s.Device {
			out.device = d.index
			return nil
		}
	}
	return fmt.Errorf("engine: Send.Device is %q: %w", s.Device, ErrNotFound)
}

// SendPacket sends a whole IPv4 packet of the node's own, as a raw socket with IP_HDRINCL does: its header is checked and kept,
// its checksum computed. The rest is as for [Worker.Send].
func (w *Worker) SendPacket(b *packet.Buffer, now time.Duration) error {
	w.total.In++
	if !w.busy {
		w.begin(now)
		defer w.end()
	}
	w.crossed, w.group = 0, false
	h, payload, err := ipv4.Parse(b.Bytes())
	if err != nil {
		w.drop(nil, b, DropIPHeader)
		return err
	}
	_ = b.Truncate(h.Len() + len(payload))
	h.FixChecksum()
	out := outgoing{dst: be32(h.Dst()), src: be32(h.Src()), df: h.DF(), broadcast: true}
	path, hop, od, err := w.wayOut(&out)
	if err != nil {
		return w.cannotSend(b, err)
	}
	return w.sendOut(path, hop, od, out, b)
}

// SendPacket is [Worker.SendPacket] by the engine's first worker.
func (e *Engine) SendPacket(b *packet.Buffer, now time.Duration) error {
	return e.first.SendPacket(b, now)
}

// SendFrame sends a whole Ethernet frame by a device, past routes and neighbours, as a packet socket does: a bridge forwards it, a
// VXLAN device encapsulates it. b is the engine's from then on, even if there is an error: [ErrDown], [ErrMessageSize], or
// [ErrInvalid] if the frame is shorter than its header, or the device does not exist or carries no Ethernet (packet_snd in
// net/packet/af_packet.c).
func (w *Worker) SendFrame(device uint32, b *packet.Buffer, now time.Duration) error {
	w.total.In++
	if !w.busy {
		w.begin(now)
		defer w.end()
	}
	w.crossed, w.group = 0, false
	d := w.st.device(device)
	switch {
	case d == nil:
		w.drop(nil, b, DropNoDevice)
		return ErrInvalid
	case !d.up:
		w.drop(d, b, DropDown)
		return ErrDown
	case d.raw || d.kind == KindIPIP || d.kind == KindLoopback:
		w.drop(d, b, DropProtocol)
		return ErrInvalid
	case b.Len() < ethernet.HeaderLen:
		w.drop(d, b, DropShortFrame)
		return ErrInvalid
	case !fits(d, b):
		w.drop(d, b, DropFrameTooBig)
		return ErrMessageSize
	}
	w.transmit(d, b)
	return nil
}

// SendFrame is [Worker.SendFrame] by the engine's first worker.
func (e *Engine) SendFrame(device uint32, b *packet.Buffer, now time.Duration) error {
	return e.first.SendFrame(device, b, now)
}

// outgoing is what the header of a packet of the node's own says.
type outgoing struct {
	src, dst  uint32 // src 0: to be chosen
	device    uint32 // 0: any
	id        uint16
	protocol  uint8
	ttl, tos  uint8
	df        bool
	broadcast bool
	options   *answerOptions // nil: none
}

// originate puts an IPv4 header in front of b and sends it.
func (w *Worker) originate(out outgoing, b *packet.Buffer) error {
	path, hop, od, err := w.wayOut(&out)
	if err != nil {
		return w.cannotSend(b, err)
	}
	f := ipv4.Fields{
		TOS: out.tos, ID: out.id, TTL: out.ttl, Protocol: out.protocol, Src: quad(out.src), Dst: quad(out.dst),
		Options: out.options.from(out.src, w),
	}
	p, err := b.Prepend(f.Len())
	if err != nil {
		w.dropTx(od, b, DropNoHeadroom)
		return ErrNoRoom
	}
	if f.ID == 0 {
		f.ID = w.nextID()
	}
	if out.df {
		f.Flags = ipv4.DontFragment
	}
	if _, err := f.Put(p, len(p)-f.Len()); err != nil {
		w.dropTx(od, b, DropTunnelLong)
		return ErrMessageSize
	}
	return w.sendOut(path, hop, od, out, b)
}

// wayOut finds the way of a packet of the node's own, and the source if it has none (ip_route_output_key).
func (w *Worker) wayOut(out *outgoing) (*route.Path, route.NextHop, *device, error) {
	if out.dst == 0 {
		out.dst = 0x7f000001 // the node itself
	}
	path, hop, err := w.st.route(w.e, out.dst, out.device, w.flowHash(out))
	if err != nil {
		return nil, hop, nil, err
	}
	od := w.st.device(hop.Device)
	if path != nil && path.Type() == route.Local {
		od = w.st.device(loopback)
	}
	if path != nil && path.Type() == route.Broadcast && !out.broadcast {
		return nil, hop, nil, ErrBroadcast
	}
	if od == nil {
		return nil, hop, nil, ErrNoRoute
	}
	if out.src == 0 {
		out.src = w.st.sourceOf(path, hop, od, out.dst)
	}
	if w.trace != nil {
		w.noteOut(out, path, hop)
	}
	return path, hop, od, nil
}

// flowHash chooses among several next hops for a packet of the node's own.
func (w *Worker) flowHash(out *outgoing) uint32 {
	return w.e.hasher.Words(uint64(out.protocol)<<48, uint64(out.src), uint64(out.dst)<<32)
}

// route finds the path and the next hop to dst, by a given device if that is not 0. A device that no route leads by is taken to be
// on the link of dst. The path is nil then.
func (s *state) route(e *Engine, dst, dev, hash uint32) (*route.Path, route.NextHop, error) {
	path := e.routes.Lookup(dst)
	if dev != 0 && (path == nil || path.Type() != route.Local) {
		if path != nil {
			for _, hop := range path.NextHops() {
				if hop.Device == dev {
					return path, hop, nil
				}
			}
		}
		return nil, route.NextHop{Device: dev}, nil
	}
	if path == nil && (dst == limitedBroadcast || isMulticast(dst)) {
		return nil, route.NextHop{}, ErrNoRoute
	}
	switch {
	case path == nil:
		return nil, route.NextHop{}, ErrNoRoute
	case path.Type() == route.Blackhole:
		return nil, route.NextHop{}, ErrBlackhole
	case path.Type() == route.Unreachable:
		return nil, route.NextHop{}, ErrUnreachable
	case path.Type() == route.Prohibit:
		return nil, route.NextHop{}, ErrProhibited
	}
	hop := path.Hop(hash)
	if hop == nil {
		return nil, route.NextHop{}, ErrNoRoute
	}
	return path, *hop, nil
}

// cannotSend drops a packet that finds no way.
func (w *Worker) cannotSend(b *packet.Buffer, err error) error {
	why := DropNoRoute
	switch {
	case errors.Is(err, ErrBlackhole):
		why = DropBlackhole
	case errors.Is(err, ErrUnreachable):
		why = DropUnreachable
	case errors.Is(err, ErrProhibited):
		why = DropProhibited
	case errors.Is(err, ErrBroadcast):
		why = DropNotUnicast
	}
	w.total.Counters[IPOutNoRoutes]++
	w.drop(nil, b, why)
	return err
}

// sendOut sends a packet with its header: to the node itself, or cut to the path MTU if need be.
func (w *Worker) sendOut(path *route.Path, hop route.NextHop, od *device, out outgoing, b *packet.Buffer) error {
	w.total.Counters[IPOutRequests]++
	if od.kind == KindLoopback {
		w.transmit(od, b)
		return nil
	}
	mtu := od.mtu
	if path != nil && path.MTU() != 0 {
		mtu = int(path.MTU())
	}
	if !w.e.pmtus.Empty() {
		if m := w.e.pmtus.Lookup(out.dst, w.now); m != 0 {
			mtu = min(mtu, m)
		}
	}
	next := nextHop(&hop, out.dst)
	if segmentLen(b, true) <= mtu {
		w.output(od, next, b)
		return nil
	}
	if out.df {
		w.total.Counters[IPFragFails]++
		w.drop(od, b, DropTooBig) // the device never sees it
		return ErrMessageSize
	}
	w.fragment(od, b, mtu, func(f *packet.Buffer) { w.output(od, next, f) })
	return nil
}

// cut cuts a packet into fragments.
func (w *Worker) cut(b *packet.Buffer, mtu int) ([]*packet.Buffer, error) {
	get := w.e.pool.Get
	if w.dry != nil {
		get = w.e.pool.Outside
	}
	frags, err := ipfrag.Fragment(b, mtu, get, w.list())
	if err != nil {
		w.unlist(frags)
		return nil, err
	}
	w.total.Made += uint64(len(frags) - 1)
	w.total.Counters[IPFragOKs]++
	w.total.Counters[IPFragCreates] += uint64(len(frags))
	if w.trace != nil {
		w.note(Step{Stage: StageFragment, MTU: mtu, Text: fmt.Sprintf("%d fragments", len(frags))})
	}
	return frags, nil
}

// sourceOf chooses the source of a packet of the node's own.
func (s *state) sourceOf(path *route.Path, hop route.NextHop, od *device, dst uint32) uint32 {
	if path != nil {
		if src := path.Source(); src.IsValid() {
			return number(src)
		}
		if path.Type() == route.Local {
			return dst
		}
		return s.sourceFor(od, nextHop(&hop, dst), path.Scope())
	}
	return s.sourceFor(od, dst, route.ScopeLink)
}

// sourceFor chooses an address of a device to talk to target from, or of another if it has none (inet_select_addr in
// net/ipv4/devinet.c); 0 if the node has no address.
func (s *state) sourceFor(d *device, target uint32, scope route.Scope) uint32 {
	var first uint32
	for i := range d.addrs {
		a := &d.addrs[i]
		if a.Secondary || a.Scope > scope {
			continue
		}
		if target == 0 || a.subnet().Contains(AddrOf(target)) {
			return number(a.Prefix.Addr())
		}
		if first == 0 {
			first = number(a.Prefix.Addr())
		}
	}
	if first != 0 {
		return first
	}
	for _, o := range s.devices {
		if o == nil || o == d {
			continue
		}
		for i := range o.addrs {
			if a := &o.addrs[i]; !a.Secondary && a.Scope <= scope && a.Scope != route.ScopeLink {
				return number(a.Prefix.Addr())
			}
		}
	}
	return 0
}

// subnet is what is on the link of an address: its own prefix, or the other end of a point-to-point link.
func (a *Addr) subnet() netip.Prefix {
	if a.Peer.IsValid() {
		return a.Peer.Masked()
	}
	return a.Prefix.Masked()
}
