package engine

// Out by a tunnel: VXLAN (drivers/net/vxlan/vxlan_core.c) and IPIP (net/ipv4/ip_tunnel.c).

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/vxlan"
)

// vxlanSend sends a frame by a VXLAN device: to the VTEP that its FDB has for the MAC address, else to those for everybody else.
func (w *Worker) vxlanSend(d *device, b *packet.Buffer) {
	p := (*[ethernet.HeaderLen]byte)(b.Bytes())
	dst := binary.BigEndian.Uint64(p[0:]) >> 16
	if d.vxlan.made.Proxy && binary.BigEndian.Uint16(p[12:]) == ethernet.TypeARP && w.arpReduce(d, b) {
		return
	}
	place := w.place(d.vxlan.table, fdb.Key(dst))
	if w.trace != nil {
		w.noteVXLAN(d, dst, place)
	}
	if vtep, ok := place.VTEP4(); ok {
		y := w.to(d, vtep)
		w.vxlanTo(d, y, b)
		w.giveBack(y)
		return
	}
	if place.IsList() {
		w.replicate(d, d.vxlan.table.Get(fdb.Key(dst)).Dest().Remotes(), b)
		return
	}
	if remotes := d.vxlan.table.Remotes(0); len(remotes) > 0 {
		w.replicate(d, remotes, b)
		return
	}
	if d.vxlan.made.L2Miss && dst&macGroup == 0 {
		w.vxlanWait(d, dst, b)
		return
	}
	w.dropTx(d, b, DropFDBMiss)
}

// replicate sends a copy to each remote, to the first at the end, as Linux does: its frame is the original.
func (w *Worker) replicate(d *device, remotes []fdb.Remote, b *packet.Buffer) {
	if b.IsSuperframe() && len(remotes) > 1 { // copies would be too large for the pool's buffers
		segments := w.apart(d, b, false)
		for _, s := range segments {
			w.replicate(d, remotes, s)
		}
		w.unlist(segments)
		return
	}
	for _, r := range remotes[1:] {
		if c := w.copy(b); c != nil {
			w.vxlanRemote(d, r, c)
			continue
		}
		w.count(d).TxDropped++
	}
	w.vxlanRemote(d, remotes[0], b)
}

func (w *Worker) vxlanRemote(d *device, r fdb.Remote, b *packet.Buffer) {
	v := variantOf(d, r)
	var y *way
	if v.plain() {
		y = w.to(d, v.remote)
	} else {
		y = w.toVariant(v)
	}
	w.vxlanTo(d, y, b)
	w.giveBack(y)
}

// vxlanTo encapsulates a frame and sends it on its way.
func (w *Worker) vxlanTo(d *device, y *way, b *packet.Buffer) {
	if y.path != nil {
		y = y.by(w.frameHash(b))
	}
	switch {
	case y.why != 0:
		w.tunnelFault(d, b, y.why)
		return
	case w.encaps >= w.e.config.MaxEncap:
		w.tunnelFault(d, b, DropTunnelDepth)
		return
	case y.local:
		w.vxlanBypass(d, y, b)
		return
	}
	if segmentLen(b, false)+vxlan.OverheadIP > y.mtu && !w.vxlanBig(d, y, b) {
		return
	}
	if b.Len()+vxlan.OverheadIP > ipv4.MaxLen && b.IsSuperframe() {
		segments := w.apart(d, b, false)
		for _, s := range segments {
			w.vxlanTo(d, y, s)
		}
		w.unlist(segments)
		return
	}
	n, bytes := w.count(d), uint64(b.Len()-ethernet.HeaderLen)
	if err := y.vxlan.Encapsulate(b, w.nextID()); err != nil {
		w.tunnelFault(d, b, encapReason(err))
		return
	}
	n.TxPackets++
	n.TxBytes += bytes
	w.outer(d, y, b)
}

// frameHash returns the flow hash of a frame.
func (w *Worker) frameHash(b *packet.Buffer) uint32 {
	if b.Hash() == 0 {
		b.SetHash(w.e.hasher.Frame(b.Bytes()))
	}
	return b.Hash()
}

// tunnelFault drops what a tunnel cannot send.
func (w *Worker) tunnelFault(d *device, b *packet.Buffer, why Reason) {
	n := w.count(d)
	n.TxErrors++
	switch why {
	case DropTunnelRoute:
		n.TxCarrier++
	case DropTunnelLoop:
		n.Collisions++
	}
	w.drop(d, b, why)
}

// encapReason is the reason for an error of an encapsulator.
func encapReason(err error) Reason {
	switch {
	case errors.Is(err, packet.ErrHeadroom):
		return DropNoHeadroom
	case errors.Is(err, vxlan.ErrTooLong), errors.Is(err, ipip.ErrTooLong):
		return DropTunnelLong
	case errors.Is(err, ipip.ErrTTL):
		return DropTTL
	case errors.Is(err, ipip.ErrLoop):
		return DropTunnelLoop
	}
	return DropTunnelInner
}

// vxlanBypass gives a frame for a VTEP that is the node itself to that VTEP's device, if there is one (vxlan_encap_bypass).
func (w *Worker) vxlanBypass(d *device, y *way, b *packet.Buffer) {
	to := w.st.vxlans.find(w.st, y.port, y.vni)
	if to == nil {
		w.tunnelFault(d, b, DropTunnelVNI)
		return
	}
	n := w.count(d)
	n.TxPackets++
	n.TxBytes += uint64(b.Len() - ethernet.HeaderLen)
	b.SetHash(0)
	if src := binary.BigEndian.Uint64(b.Bytes()[4:]) & macBroadcast; !to.vxlan.made.NoLearning {
		w.teach(to.vxlan.table, fdb.Key(src), fdb.ToVTEP4(y.src))
	}
	w.inside = append(w.inside, crossing{b: b, device: to.index, trace: w.trace})
}

// vxlanBig decides about a frame that makes the outer packet larger than the path allows (skb_tunnel_check_pmtu): a bridge's
// station is told the path MTU if it set DF; for routed packets the path MTU is noted. It reports whether the frame goes on, as an
// outer packet in fragments.
func (w *Worker) vxlanBig(d *device, y *way, b *packet.Buffer) bool {
	frame := b.Bytes()
	mtu := y.mtu - vxlan.Overhead
	if binary.BigEndian.Uint16(frame[12:]) != ethernet.TypeIPv4 || len(frame) < ethernet.HeaderLen+ipv4.HeaderLen {
		return true
	}
	h := frame[ethernet.HeaderLen:]
	if w.dry == nil && d.master == 0 && mtu > 0 {
		w.notePMTU(binary.BigEndian.Uint32(h[16:]), mtu)
	}
	if d.master == 0 || mtu <= 576 || binary.BigEndian.Uint16(h[6:]) != uint16(ipv4.DontFragment)<<13 {
		return true
	}
	w.bridgeTooBig(d, b, mtu)
	return false
}

// bridgeTooBig answers a station of a bridge whose frame is too large for the tunnel, in the name of whom it was for
// (iptunnel_pmtud_build_icmp), and drops the frame.
func (w *Worker) bridgeTooBig(d *device, b *packet.Buffer, mtu int) {
	frame := b.Bytes()
	ip := frame[ethernet.HeaderLen:]
	group := w.group
	w.group = binary.BigEndian.Uint64(frame)>>16&macGroup != 0
	ok := w.mayReport(ip)
	w.group = group
	if m := w.alloc(); m != nil && ok {
		was := asSegment(b, ip)
		w.replyTooBig(d, frame, m, mtu)
		was.restore(ip)
	} else if m != nil {
		w.unmake(m)
	}
	w.count(d).TxErrors++
	w.drop(d, b, DropTooBig)
}

func (w *Worker) replyTooBig(d *device, frame []byte, m *packet.Buffer, mtu int) {
	ip := frame[ethernet.HeaderLen:]
	quote := ip[:min(len(ip), icmp.MaxQuote)]
	p, err := m.Extend(ethernet.HeaderLen + ipv4.HeaderLen + icmp.HeaderLen + len(quote))
	if err != nil {
		w.drop(d, m, DropNoBuffer)
		return
	}
	putEthernet((*[ethernet.HeaderLen]byte)(p), binary.BigEndian.Uint64(frame[4:])&macBroadcast, binary.BigEndian.Uint64(frame)>>16)
	f := ipv4.Fields{
		TOS: ip[1]&0x1e | internetControl, TTL: w.st.global.DefaultTTL, ID: w.nextID(), Protocol: ipv4.ProtocolICMP,
		Src: [4]byte(ip[16:20]), Dst: [4]byte(ip[12:16]), Flags: ipv4.DontFragment,
	}
	_, _ = f.Put(p[ethernet.HeaderLen:], icmp.HeaderLen+len(quote)) // sized for it
	icmp.FragmentationNeeded(uint16(mtu)).AppendError(p[:ethernet.HeaderLen+ipv4.HeaderLen], quote)
	w.total.Counters[ICMPOutMsgs]++
	w.total.Counters[ICMPOutDestUnreachs]++
	w.inside = append(w.inside, crossing{b: m, device: d.index, trace: w.trace})
}

// outer sends an outer packet by the way that it was made for: as it is, or in fragments.
func (w *Worker) outer(d *device, y *way, b *packet.Buffer) {
	w.total.Counters[IPOutRequests]++
	od := w.st.device(y.out)
	if od == nil {
		w.drop(d, b, DropDeviceGone)
		return
	}
	if w.trace != nil {
		w.noteOuter(d, y, od, b)
	}
	w.encaps++
	n := segmentLen(b, !y.whole)
	switch {
	case y.whole && n-ethernet.HeaderLen <= y.mtu:
		w.transmit(od, b)
	case y.whole:
		_ = b.TrimFront(ethernet.HeaderLen) // the encapsulator has put it there
		w.outerBig(d, od, y, b)
	case n <= y.mtu || y.local:
		w.output(od, y.next, b)
	default:
		w.outerBig(d, od, y, b)
	}
	w.encaps--
}

// outerBig sends an outer packet that is larger than the path allows.
func (w *Worker) outerBig(d, od *device, y *way, b *packet.Buffer) {
	if outerDF(b.Bytes()) {
		w.total.Counters[IPFragFails]++
		w.count(d).TxErrors++
		w.drop(d, b, DropTooBig)
		return
	}
	w.fragment(od, b, y.mtu, func(f *packet.Buffer) { w.output(od, y.next, f) })
}

// ipipSend sends an IPv4 packet by an IPIP tunnel; next is the route's gateway, or the packet's destination if it has none.
func (w *Worker) ipipSend(d *device, next uint32, b *packet.Buffer) {
	if !d.running {
		w.count(d).TxCarrier++
		w.dropTx(d, b, DropDown)
		return
	}
	w.watch(d, b)
	w.ipipTo(d, next, b)
}

// ipipTo encapsulates a packet and sends it on its way.
func (w *Worker) ipipTo(d *device, next uint32, b *packet.Buffer) {
	remote := d.ipip.remote
	if remote == 0 {
		remote = next
	}
	y := w.to(d, remote)
	w.ipipBy(d, y, next, b)
	w.giveBack(y)
}

// ipipBy is ipipTo by a way.
func (w *Worker) ipipBy(d *device, y *way, next uint32, b *packet.Buffer) {
	if y.path != nil {
		y = y.by(w.packetHash(b))
	}
	switch {
	case y.why != 0:
		w.tunnelFault(d, b, y.why)
		return
	case w.encaps >= w.e.config.MaxEncap:
		w.tunnelFault(d, b, DropTunnelDepth)
		return
	case !w.ipipFits(d, y, b):
		return
	}
	if b.Len()+ipip.OverheadIP > ipv4.MaxLen && b.IsSuperframe() {
		segments := w.apart(d, b, true)
		for _, s := range segments {
			w.ipipTo(d, next, s)
		}
		w.unlist(segments)
		return
	}
	if d.ipip.errors.pending(w) {
		w.group = false
		w.icmpError(b, icmp.Unreachable(icmp.CodeHostUnreachable))
	}
	n, bytes := w.count(d), uint64(b.Len())
	if err := y.ipip.Encapsulate(b, w.nextID()); err != nil {
		w.tunnelFault(d, b, encapReason(err))
		return
	}
	n.TxPackets++
	n.TxBytes += bytes
	w.outer(d, y, b)
}

// packetHash returns the flow hash of an IPv4 packet.
func (w *Worker) packetHash(b *packet.Buffer) uint32 {
	if b.Hash() == 0 {
		b.SetHash(w.e.hasher.IPv4(b.Bytes()))
	}
	return b.Hash()
}

// ipipFits decides about a packet that is too large for the tunnel (tnl_update_pmtu): its sender is told if it set DF. What the
// path of the outer packet allows counts if that will bear DF, as it always does with PMTU discovery.
func (w *Worker) ipipFits(d *device, y *way, b *packet.Buffer) bool {
	p := b.Bytes()
	discover := !d.ipip.made.NoPMTUDisc || outerDF(p)
	mtu := d.mtu
	if discover {
		mtu = y.mtu - ipip.OverheadIP
	}
	if segmentLen(b, true) <= mtu {
		return true
	}
	if w.dry == nil && discover && mtu > 0 {
		w.notePMTU(binary.BigEndian.Uint32(p[16:]), mtu)
	}
	if !outerDF(p) {
		return true
	}
	group := w.group
	w.group = false
	w.icmpError(b, icmp.FragmentationNeeded(uint16(max(mtu, 68))))
	w.group = group
	w.tunnelFault(d, b, DropTooBig)
	return false
}

// tunnelErrors is the soft state of errors from inside a tunnel (RFC 2003 section 4; IPTUNNEL_ERR_TIMEO is 30 s): as many packets
// as there were errors are answered, and still sent.
type tunnelErrors struct {
	state *tunnelErrorState // shared by the device's versions
}

type tunnelErrorState struct {
	count atomic.Int32
	at    atomic.Int64
}

const tunnelErrorTime = 30 * time.Second

func (t tunnelErrors) note(now time.Duration) {
	if now-time.Duration(t.state.at.Load()) > tunnelErrorTime {
		t.state.count.Store(0)
	}
	t.state.at.Store(int64(now))
	if t.state.count.Load() < 1<<16 {
		t.state.count.Add(1)
	}
}

// pending takes one error, if there is one.
func (t tunnelErrors) pending(w *Worker) bool {
	n := t.state.count.Load()
	if n == 0 {
		return false
	}
	if w.now-time.Duration(t.state.at.Load()) > tunnelErrorTime {
		if w.dry == nil {
			t.state.count.Store(0)
		}
		return false
	}
	return w.dry != nil || t.state.count.CompareAndSwap(n, n-1)
}
