package takeapart

// The report as JSON: one object a frame, and a last one with the tables. jsonfields.go says what is in them.

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/netip"

	"github.com/culvert-net/culvert/dissect"
)

// jsonReport prints for machines.
type jsonReport struct {
	encoder *json.Encoder
	quiet   bool
}

func newJSONReport(out io.Writer, quiet bool) *jsonReport {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return &jsonReport{encoder: e, quiet: quiet}
}

func (r *jsonReport) heading(string) {}

// encode prints v. Encoding cannot fail, and write errors stick to the output.
func (r *jsonReport) encode(v any) { _ = r.encoder.Encode(v) }

func (r *jsonReport) frame(f *frame) {
	if r.quiet {
		return
	}
	o := jsonFrame{
		Frame: f.number, Time: timeText(f.packet.Time), LinkType: f.packet.LinkType.String(),
		Length: f.packet.WireLen, Captured: len(f.packet.Data), Skipped: f.link.skip, Rejected: f.rejected,
	}
	for i := range f.levels() {
		o.Levels = append(o.Levels, levelJSON(&f.levels()[i]))
	}
	if e := f.fault; e != nil {
		o.Error = &jsonError{Level: e.Level, Layer: e.Layer.String(), Offset: e.Offset, Text: e.Err.Error()}
	}
	for _, s := range f.sums {
		o.Checksums = append(o.Checksums, jsonSum{s.level, s.layer.String(), s.field, s.want, s.partial})
	}
	for i := range f.tunnels {
		t := &f.tunnels[i]
		o.Tunnels = append(o.Tunnels, jsonTunnel{
			t.level, t.kind.String(), t.rebuilt, t.dropped != nil, t.why.what, t.why.detail,
		})
	}
	if len(f.tunnels) > 0 {
		rebuilt := f.rebuilt()
		o.Rebuilt = &rebuilt
	}
	r.encode(o)
}

func levelJSON(l *dissect.Level) jsonLevel {
	o := jsonLevel{Payload: len(l.Payload), Cut: l.Cut}
	if h := l.Ethernet; h.IsValid() {
		o.Ethernet = &jsonEthernet{Src: h.Src(), Dst: h.Dst(), Type: h.EtherType()}
		for i := range h.Tags() {
			t := h.Tag(i)
			o.Ethernet.VLAN = append(o.Ethernet.VLAN,
				jsonVLAN{t.TPID, t.TCI.VLAN(), t.TCI.Priority(), t.TCI.DropEligible()})
		}
	}
	if p := l.ARP; p.IsValid() {
		o.ARP = &jsonARP{
			uint16(p.Op()), p.SenderMAC(), netip.AddrFrom4(p.SenderIP()), p.TargetMAC(), netip.AddrFrom4(p.TargetIP()),
		}
	}
	if h := l.IPv4; h.IsValid() {
		o.IPv4 = &jsonIPv4{
			Src: netip.AddrFrom4(h.Src()), Dst: netip.AddrFrom4(h.Dst()), TOS: h.TOS(), Length: h.TotalLen(), ID: h.ID(),
			DF: h.DF(), MF: h.MF(), FragmentOffset: h.FragmentOffset(), TTL: h.TTL(), Protocol: h.Protocol(),
			Checksum: h.Checksum(), Options: hex.EncodeToString(h.Options()),
		}
	}
	transportJSON(&o, l)
	return o
}

func transportJSON(o *jsonLevel, l *dissect.Level) {
	if h := l.UDP; h.IsValid() {
		o.UDP = &jsonUDP{h.SrcPort(), h.DstPort(), h.Length(), h.Checksum()}
	}
	if h := l.TCP; h.IsValid() {
		o.TCP = &jsonTCP{
			h.SrcPort(), h.DstPort(), h.Seq(), h.Ack(), uint8(h.Flags()), h.Window(), h.Checksum(),
			hex.EncodeToString(h.Options()),
		}
	}
	if h := l.ICMP; h.IsValid() {
		rest := h.Rest()
		o.ICMP = &jsonICMP{h.Type(), h.Code(), h.Checksum(), hex.EncodeToString(rest[:]), h.NextHopMTU()}
	}
	if h := l.VXLAN; h.IsValid() {
		o.VXLAN = &jsonVXLAN{VNI: h.VNI(), Flags: h.Flags(), Reserved: h.Reserved()}
		if g := h.GBP(); g.Set {
			o.VXLAN.GBP = &jsonGBP{g.Group, g.DontLearn, g.Applied}
		}
	}
}

func (r *jsonReport) summary(t *tables) {
	o := jsonSummary{
		Frames: t.totals.frames, Bytes: t.totals.bytes, Tunneled: t.totals.tunneled, Rebuilt: t.totals.rebuilt,
		Rejected: t.totals.rejected, Written: t.totals.written, Flows: []jsonFlow{}, Remarks: []jsonNotes{},
	}
	for i, row := range t.flows.sorted() {
		if t.limit > 0 && i >= t.limit {
			if o.More == nil {
				o.More = &jsonCount{}
			}
			o.More.Packets += row.packets
			o.More.Bytes += row.bytes
			continue
		}
		o.Flows = append(o.Flows, flowJSON(row))
	}
	if other := t.flows.other; other.packets > 0 {
		o.Other = &jsonCount{other.packets, other.bytes}
	}
	for _, n := range t.notes.sorted() {
		o.Remarks = append(o.Remarks, jsonNotes{n.what, n.why, n.frames, n.first})
	}
	r.encode(struct {
		Summary jsonSummary `json:"summary"`
	}{o})
}

func flowJSON(row *flowRow) jsonFlow {
	o := jsonFlow{
		Kind: row.kind.String(), TunnelSrc: netip.AddrFrom4(row.src), TunnelDst: netip.AddrFrom4(row.dst),
		EtherType: row.inner.etherType, Packets: row.packets, Bytes: row.bytes,
	}
	if row.kind == tunnelVXLAN {
		o.VNI = &row.vni
	}
	switch k := row.inner.ipv4; {
	case row.inner.src6.IsValid():
		o.Src, o.Dst = &row.inner.src6, &row.inner.dst6
	case k.Protocol != 0 || k.Src != k.Dst:
		src, dst := netip.AddrFrom4(k.Src), netip.AddrFrom4(k.Dst)
		o.Src, o.Dst, o.Protocol, o.SrcPort, o.DstPort = &src, &dst, &k.Protocol, k.SrcPort, k.DstPort
	}
	return o
}
