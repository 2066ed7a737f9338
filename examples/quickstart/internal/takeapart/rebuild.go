package takeapart

// Rebuilding: each tunnel of a frame is taken off by a decapsulator and put on again by an encapsulator.

import (
	"bytes"
	"net/netip"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// tunnelResult says how one tunnel of a frame fared.
type tunnelResult struct {
	level        int // whose payload the tunnel's is
	kind         tunnelKind
	inner, again int // bytes: decapsulated, and encapsulated again; 0 if it did not come to that

	dropped error // why a decapsulator refuses it
	rebuilt bool  // encapsulated again it is the same, byte for byte
	why     reason

	// decapsulated is the inner frame, its congestion mark set from the outer header; nil if it was dropped. It is valid
	// until the next tunnel is rebuilt.
	decapsulated []byte
}

// reason says why a tunnel could not be rebuilt: what, for the table, without numbers, and the numbers.
type reason struct{ what, detail string }

func (r reason) String() string {
	if r.detail == "" {
		return r.what
	}
	return r.what + ": " + r.detail
}

// rebuilder keeps the tunnel ends that it has met, as many as maxTunnelEnds of a kind.
type rebuilder struct {
	buf  *packet.Buffer
	tags []ethernet.Tag

	vxlanIn  map[vxlanInKey]*vxlan.Decapsulator // one for each port, at most
	vxlanOut map[vxlan.EncapConfig]*vxlan.Encapsulator
	ipipIn   map[bool]*ipip.Decapsulator // by whether there is no Ethernet header
	ipipOut  map[ipip.EncapConfig]*ipip.Encapsulator
}

// vxlanInKey is what a decapsulator here is configured with.
type vxlanInKey struct {
	raw, gbp bool
	port     uint16
}

// maxTunnelEnds bounds memory: an encapsulator is made anew when it was forgotten.
const maxTunnelEnds = 4096

func newRebuilder() (*rebuilder, error) {
	r := &rebuilder{
		buf:      packet.New(pcapfile.MaxPacketBytes),
		vxlanIn:  map[vxlanInKey]*vxlan.Decapsulator{},
		vxlanOut: map[vxlan.EncapConfig]*vxlan.Encapsulator{},
		ipipIn:   map[bool]*ipip.Decapsulator{},
		ipipOut:  map[ipip.EncapConfig]*ipip.Encapsulator{},
	}
	for _, raw := range []bool{false, true} {
		d, err := ipip.NewDecapsulator(ipip.DecapConfig{Raw: raw, AnyPeer: true}) // a capture has no peers to be named
		if err != nil {
			return nil, err
		}
		r.ipipIn[raw] = d
	}
	return r, nil
}

// tunnel takes the tunnel of level i off and puts it on again.
func (r *rebuilder) tunnel(f *frame, i int, kind tunnelKind) tunnelResult {
	l := &f.levels()[i]
	original := f.levelBytes(i)
	t := tunnelResult{level: i, kind: kind}
	if l.Cut {
		t.why = reason{what: "cut by the capture's snap length"}
		if !f.cut {
			t.why = reason{what: "a length field is wrong, or left to segmentation offload"}
		}
		return t
	}
	if err := r.load(f, i); err != nil {
		t.why = reason{what: err.Error()}
		return t
	}
	if t.dropped = r.decapsulate(l, kind); t.dropped != nil {
		t.why = reason{what: "a tunnel end drops it", detail: t.dropped.Error()}
		return t
	}
	t.decapsulated = r.buf.Bytes()
	t.inner = len(t.decapsulated)
	own, _ := f.partialOf(i)
	if err := r.encapsulate(l, kind, own != nil); err != nil {
		t.why = reason{what: "no tunnel end is configured so", detail: err.Error()}
		return t
	}
	t.again = r.buf.Len()
	if t.rebuilt = bytes.Equal(r.buf.Bytes(), original); !t.rebuilt {
		t.why = why(l, kind, original, r.buf.Bytes())
	}
	return t
}

// load copies level i into the buffer, with what a network driver would know of its checksums.
func (r *rebuilder) load(f *frame, i int) error {
	if err := r.buf.SetBytes(f.levelBytes(i)); err != nil {
		return err
	}
	own, inner := f.partialOf(i)
	s := own // a buffer can tell of one; the tunnel's own is what a decapsulator asks about
	if s == nil {
		s = inner
	}
	if s == nil {
		return nil
	}
	const udpField, tcpField = 6, 16 // of the checksum in the header: RFC 768, RFC 9293 section 3.1
	field := udpField
	if s.layer == dissect.TCP {
		field = tcpField
	}
	l := &f.levels()[s.level]
	return r.buf.SetChecksumPartial(f.starts[s.level]-f.starts[i]+l.Ethernet.Len()+l.IPv4.Len(), field)
}

func (r *rebuilder) decapsulate(l *dissect.Level, kind tunnelKind) error {
	raw := !l.Ethernet.IsValid()
	if kind == tunnelIPIP {
		_, err := r.ipipIn[raw].Decapsulate(r.buf)
		return err
	}
	key := vxlanInKey{raw: raw, gbp: l.VXLAN.GBP().Set, port: l.UDP.DstPort()}
	d := r.vxlanIn[key]
	if d == nil {
		var err error
		if d, err = vxlan.NewDecapsulator(vxlan.DecapConfig{Raw: key.raw, GBP: key.gbp, DstPort: key.port}); err != nil {
			return err
		}
		r.vxlanIn[key] = d
	}
	_, err := d.Decapsulate(r.buf)
	return err
}

// encapsulate puts the tunnel of level l around the inner frame in the buffer; partial says that its UDP checksum was left
// for a network card to complete.
//
// An encapsulator's template has an untagged Ethernet header between stations. In front of any other, which is the
// port's business and not the tunnel's, the tunnel is built without, and the header put on afterwards.
func (r *rebuilder) encapsulate(l *dissect.Level, kind tunnelKind, partial bool) error {
	eth := l.Ethernet
	raw := !eth.IsValid() || eth.Tags() > 0 || !eth.Src().IsStation() || eth.Dst().IsZero()
	var err error
	if kind == tunnelVXLAN {
		err = r.encapsulateVXLAN(l, raw, partial)
	} else {
		err = r.encapsulateIPIP(l, raw)
	}
	if err != nil || !raw || !eth.IsValid() {
		return err
	}
	fields := ethernet.FieldsOf(eth, r.tags)
	r.tags = fields.Tags
	room, err := r.buf.Prepend(fields.Len())
	if err != nil {
		return err
	}
	_, err = fields.Put(room)
	return err
}

func (r *rebuilder) encapsulateVXLAN(l *dissect.Level, raw, partial bool) error {
	ip := l.IPv4
	c := vxlan.EncapConfig{
		VNI: l.VXLAN.VNI(), GBP: l.VXLAN.GBP(), Src: netip.AddrFrom4(ip.Src()), Dst: netip.AddrFrom4(ip.Dst()),
		Raw: raw, DstPort: l.UDP.DstPort(), TTL: ip.TTL(), TOS: ip.TOS(), UDPChecksum: l.UDP.Checksum() != 0 && !partial,
	}
	if !raw {
		c.SrcMAC, c.DstMAC = l.Ethernet.Src(), l.Ethernet.Dst()
	}
	if ip.DF() {
		c.DF = tunnel.DFSet
	}
	e := r.vxlanOut[c]
	if e == nil {
		var err error
		if e, err = vxlan.NewEncapsulator(c); err != nil {
			return err
		}
		remember(r.vxlanOut, c, e)
	}
	if err := e.EncapsulateFrom(r.buf, ip.ID(), l.UDP.SrcPort()); err != nil || !partial {
		return err
	}
	at := ipv4.HeaderLen
	if !raw {
		at += ethernet.HeaderLen
	}
	u, _, err := udp.Parse(r.buf.Bytes()[at:])
	if err == nil {
		u.SetPartialChecksum(ip.Src(), ip.Dst())
	}
	return err
}

func (r *rebuilder) encapsulateIPIP(l *dissect.Level, raw bool) error {
	ip := l.IPv4
	c := ipip.EncapConfig{
		Src: netip.AddrFrom4(ip.Src()), Dst: netip.AddrFrom4(ip.Dst()), Raw: raw, TTL: ip.TTL(), TOS: ip.TOS(),
	}
	if !raw {
		c.SrcMAC, c.DstMAC = l.Ethernet.Src(), l.Ethernet.Dst()
	}
	if !ip.DF() { // only a tunnel without path MTU discovery leaves it clear, and that one inherits the inner time to live
		c.NoPMTUDisc, c.TTL = true, 0
	}
	e := r.ipipOut[c]
	if e == nil {
		var err error
		if e, err = ipip.NewEncapsulator(c); err != nil {
			return err
		}
		remember(r.ipipOut, c, e)
	}
	return e.Encapsulate(r.buf, ip.ID())
}

// remember adds to a map of bounded size, which starts anew when it is full.
func remember[K comparable, V any](m map[K]V, k K, v V) {
	if len(m) >= maxTunnelEnds {
		clear(m)
	}
	m[k] = v
}
