package engine

// Out of a tunnel: which device an outer packet is for, and what may come out of it.

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/wordmap"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// vxlanIndex finds VXLAN devices by UDP port and VNI.
type vxlanIndex struct {
	ports   []uint16
	devices *wordmap.Map
	only    uint64 // key of the only device; 0 if there are more
	device  uint32
}

func vxlanKey(port uint16, vni uint32) uint64 { return 1<<63 | uint64(port)<<24 | uint64(vni) }

// isPort reports whether a UDP port is some VXLAN device's.
func (x *vxlanIndex) isPort(port uint16) bool {
	return slices.Contains(x.ports, port)
}

// find returns the device, or nil.
func (x *vxlanIndex) find(s *state, port uint16, vni uint32) *device {
	if key := vxlanKey(port, vni); key == x.only {
		return s.device(x.device)
	}
	if x.devices == nil {
		return nil
	}
	return s.device(uint32(x.devices.Load(vxlanKey(port, vni))))
}

// vxlanReceive takes a UDP datagram to a VXLAN port; at is the length of the IPv4 header.
func (w *Worker) vxlanReceive(d *device, b *packet.Buffer, at int, port uint16) {
	p := b.Bytes()
	if len(p) < at+udp.HeaderLen+vxlan.HeaderLen {
		w.drop(d, b, DropTunnelHeader)
		return
	}
	vni := binary.BigEndian.Uint32(p[at+udp.HeaderLen+4:]) >> 8
	to := w.st.vxlans.find(w.st, port, vni)
	if to == nil {
		w.vxlanUnknown(d, b, p[at+udp.HeaderLen:])
		return
	}
	if !to.running {
		w.dropRx(to, b, DropDown)
		return
	}
	src, dst := binary.BigEndian.Uint32(p[12:]), binary.BigEndian.Uint32(p[16:])
	if !to.accepts(src) {
		w.dropRx(to, b, DropTunnelPeer)
		return
	}
	if _, err := to.vxlan.decap.Decapsulate(b); err != nil {
		w.decapFault(to, b, err)
		return
	}
	if w.trace != nil {
		w.noteDecap(to, src, dst)
	}
	if !to.vxlan.made.NoLearning && !w.vxlanLearn(to, b, src) {
		return
	}
	w.receive(to, b)
}

// vxlanUnknown drops a datagram for a VNI that no device has, or without a VNI.
func (w *Worker) vxlanUnknown(d *device, b *packet.Buffer, header []byte) {
	if _, _, err := vxlan.Parse(header); err != nil {
		w.drop(d, b, DropTunnelHeader)
		return
	}
	w.drop(d, b, DropTunnelVNI)
}

// accepts reports whether a VXLAN device takes packets from a VTEP.
func (d *device) accepts(src uint32) bool {
	return d.vxlan.vteps == nil || d.vxlan.vteps.has(src)
}

// vxlanLearn notes which VTEP a station is behind, and reports whether its frame goes on (vxlan_snoop): not if the station is
// configured to be elsewhere, or is none. A table that is full does not matter.
func (w *Worker) vxlanLearn(d *device, b *packet.Buffer, vtep uint32) bool {
	src := binary.BigEndian.Uint64(b.Bytes()[4:]) & macBroadcast
	out := w.teach(d.vxlan.table, fdb.Key(src), fdb.ToVTEP4(vtep))
	if w.trace != nil && out != fdb.Known {
		w.note(Step{Stage: StageLearn, Device: d.name, MAC: MACOf(src), Addr: AddrOf(vtep), Text: out.String()})
	}
	switch out {
	case fdb.Pinned, fdb.Own:
		w.count(d).RxErrors++
		w.drop(d, b, DropTunnelPinned)
		return false
	case fdb.NotStation:
		w.count(d).RxErrors++
		w.drop(d, b, DropSourceMAC)
		return false
	}
	return true
}

// decapFault drops an outer packet that a decapsulator refused.
func (w *Worker) decapFault(d *device, b *packet.Buffer, err error) {
	n := w.count(d)
	why := DropTunnelInner
	switch {
	case errors.Is(err, vxlan.ErrNoVNI), errors.Is(err, vxlan.ErrShort):
		why = DropTunnelHeader
	case errors.Is(err, vxlan.ErrReserved):
		why = DropTunnelReserved
	case errors.Is(err, vxlan.ErrOwnMAC):
		why = DropTunnelOwnMAC
	case errors.Is(err, tunnel.ErrECN):
		why = DropTunnelECN
	case errors.Is(err, udp.ErrChecksum):
		why = DropUDP
		w.total.Counters[UDPInCsumErrors]++
		w.total.Counters[UDPInErrors]++
	case errors.Is(err, udp.ErrShort), errors.Is(err, udp.ErrLength), errors.Is(err, udp.ErrTruncated):
		why = DropUDP
		w.total.Counters[UDPInErrors]++
	}
	if why != DropUDP {
		n.RxErrors++
	}
	w.drop(d, b, why)
}

// ipipIndex finds IPIP tunnels by their ends.
type ipipIndex struct {
	tunnels *wordmap.Map
	only    *device // if there are no others
	has     [4]bool // whether there is any tunnel with: both ends, a remote one, a local one, none
}

// ipipKey is the key of a tunnel with these ends, 0 for any.
func ipipKey(local, remote uint32) (key uint64, kind int) {
	switch {
	case local != 0 && remote != 0:
	case remote != 0:
		kind = 1
	case local != 0:
		kind = 2
	default:
		kind = 3
	}
	key = uint64(local)<<32 | uint64(remote)
	if key == 0 {
		key = 1
	}
	return key, kind
}

// between returns the tunnel for packets from remote to local: one with both ends, or the remote one, or the local one, or neither
// (ip_tunnel_lookup); nil if there is none.
func (x *ipipIndex) between(s *state, local, remote uint32) *device {
	if d := x.only; d != nil {
		if t := d.ipip; (t.local == 0 || t.local == local) && (t.remote == 0 || t.remote == remote) {
			return d
		}
		return nil
	}
	for kind, has := range x.has {
		if !has {
			continue
		}
		l, r := local, remote
		if kind&1 != 0 {
			l = 0
		}
		if kind&2 != 0 {
			r = 0
		}
		key, _ := ipipKey(l, r)
		if d := s.device(uint32(x.tunnels.Load(key))); d != nil {
			return d
		}
	}
	return nil
}

// ipipReceive takes a packet of protocol 4 for the node.
func (w *Worker) ipipReceive(d *device, b *packet.Buffer) {
	p := b.Bytes()
	src, dst := binary.BigEndian.Uint32(p[12:]), binary.BigEndian.Uint32(p[16:])
	to := w.st.ipips.between(w.st, dst, src)
	switch {
	case to == nil:
		w.icmpError(b, icmp.Unreachable(icmp.CodePortUnreachable)) // as tunnel4_rcv does
		w.drop(d, b, DropTunnelNone)
		return
	case !to.running:
		w.dropRx(to, b, DropDown)
		return
	case !to.ipip.accepts(src):
		w.dropRx(to, b, DropTunnelPeer)
		return
	}
	if _, err := w.e.ipips.Decapsulate(b); err != nil {
		w.ipipFault(to, b, err)
		return
	}
	if w.trace != nil {
		w.noteDecap(to, src, dst)
	}
	w.receive(to, b)
}

// accepts reports whether a tunnel takes packets from a remote end.
func (t *ipipDevice) accepts(src uint32) bool {
	return t.peers == nil || t.peers.has(src)
}

func (w *Worker) ipipFault(d *device, b *packet.Buffer, err error) {
	w.count(d).RxErrors++
	if errors.Is(err, tunnel.ErrECN) {
		w.drop(d, b, DropTunnelECN)
		return
	}
	w.drop(d, b, DropTunnelInner)
}
