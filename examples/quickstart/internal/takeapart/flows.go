package takeapart

// The table of tunnels and inner flows.

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tunnel"
)

// maxFlows bounds the table; the packets of flows beyond it are summed.
const maxFlows = 100_000

// flowKey is one flow in one tunnel, in one direction.
type flowKey struct {
	kind     tunnelKind
	vni      uint32  // of VXLAN
	src, dst [4]byte // the tunnel's ends
	inner    innerFlow
}

// innerFlow is what a tunnel carries: an IPv4 five-tuple, IPv6 addresses, or an EtherType.
type innerFlow struct {
	ipv4      flow.Key
	src6      netip.Addr // IPv6 only
	dst6      netip.Addr
	etherType uint16 // 0 behind IPIP, and for 802.3 frames
	llc       bool   // an 802.3 frame
}

// flowRow is a flow's count.
type flowRow struct {
	flowKey
	packets int
	bytes   int64 // of the inner frames, or packets, as long as they were on the wire
	order   int   // of its first packet, among the flows
}

// flowTable counts flows.
type flowTable struct {
	rows  map[flowKey]*flowRow
	other flowRow // of flows that came when the table was full
}

func newFlowTable() *flowTable { return &flowTable{rows: map[flowKey]*flowRow{}} }

// add counts the tunnels of a frame: where they are nested, each with what it carries.
func (t *flowTable) add(f *frame) {
	for i := range f.tunnels {
		tun := &f.tunnels[i]
		key := keyOf(f, tun)
		row := t.rows[key]
		switch {
		case row != nil:
		case len(t.rows) < maxFlows:
			row = &flowRow{flowKey: key, order: len(t.rows)}
			t.rows[key] = row
		default:
			row = &t.other
		}
		row.packets++
		row.bytes += int64(f.wireLen(tun.level + 1))
	}
}

func keyOf(f *frame, t *tunnelResult) flowKey {
	l := &f.levels()[t.level]
	key := flowKey{kind: t.kind, src: l.IPv4.Src(), dst: l.IPv4.Dst()}
	if t.kind == tunnelVXLAN {
		key.vni = l.VXLAN.VNI()
	}
	if next := t.level + 1; next < len(f.levels()) {
		key.inner = innerOf(&f.levels()[next])
	}
	return key
}

func innerOf(l *dissect.Level) innerFlow {
	inner := innerFlow{ipv4: l.Flow()}
	switch {
	case !l.Ethernet.IsValid():
	case l.Ethernet.Is8023():
		inner.llc = true
	default:
		inner.etherType = l.Ethernet.EtherType()
	}
	if inner.etherType == ethernet.TypeIPv6 && len(l.Payload) >= tunnel.IPv6HeaderLen {
		inner.src6 = netip.AddrFrom16([16]byte(l.Payload[8:24]))
		inner.dst6 = netip.AddrFrom16([16]byte(l.Payload[24:40]))
	}
	return inner
}

// sorted returns the flows, those with the most bytes first and others as they came.
func (t *flowTable) sorted() []*flowRow {
	rows := make([]*flowRow, 0, len(t.rows))
	for _, r := range t.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *flowRow) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.order, b.order))
	})
	return rows
}

// ends returns the tunnel's ends as text.
func (k flowKey) ends() string {
	return netip.AddrFrom4(k.src).String() + " > " + netip.AddrFrom4(k.dst).String()
}

// String returns the flow as "10.244.1.12:40000 > 10.244.2.14:80 tcp".
func (f innerFlow) String() string {
	switch {
	case f.ipv4 != flow.Key{}:
		k := f.ipv4
		src, dst := netip.AddrFrom4(k.Src), netip.AddrFrom4(k.Dst)
		if k.SrcPort|k.DstPort == 0 {
			return fmt.Sprintf("%v > %v %s", src, dst, protocolName(k.Protocol))
		}
		return fmt.Sprintf("%v > %v %s", netip.AddrPortFrom(src, k.SrcPort), netip.AddrPortFrom(dst, k.DstPort),
			protocolName(k.Protocol))
	case f.src6.IsValid():
		return fmt.Sprintf("%v > %v ipv6", f.src6, f.dst6)
	case f.etherType == ethernet.TypeARP:
		return "arp"
	case f.llc:
		return "802.3"
	case f.etherType != 0 && f.etherType != ethernet.TypeIPv4:
		return fmt.Sprintf("EtherType 0x%04x", f.etherType)
	}
	return "not read"
}

func protocolName(p uint8) string {
	switch p {
	case ipv4.ProtocolTCP:
		return "tcp"
	case ipv4.ProtocolUDP:
		return "udp"
	case ipv4.ProtocolICMP:
		return "icmp"
	case ipv4.ProtocolIPIP:
		return "ipip"
	}
	return fmt.Sprintf("protocol %d", p)
}
