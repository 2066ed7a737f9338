package takeapart

// The run of -r demo: what it says around the captures that it carries with it, and the same ping through IPIP.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/packet"
)

const intro = `Real traffic of two Flannel clusters, as their nodes' network cards saw it (see examples/quickstart/testdata/README.md).
Every frame is read layer by layer and shown in tcpdump's words, what is inside a tunnel behind a bar. Then its inner frame
is decapsulated, as the node does that receives it, and encapsulated again, as the node did that sent it: with the same IPv4
identification and UDP source port, the result must be identical to what was captured.

`

func (s *session) intro() {
	if !s.opt.Quiet && !s.opt.JSON {
		fmt.Fprint(s.text, intro)
	}
}

// Two nodes with Flannel's ipip backend. Their tunnel inherits the inner time to live and does no path MTU discovery.
var (
	node1 = struct {
		addr netip.Addr
		mac  ethernet.MAC
	}{netip.AddrFrom4([4]byte{172, 12, 1, 11}), ethernet.MAC{0x00, 0x0c, 0x29, 0xbd, 0xfb, 0x4a}}
	node2 = struct {
		addr netip.Addr
		mac  ethernet.MAC
	}{netip.AddrFrom4([4]byte{172, 12, 1, 12}), ethernet.MAC{0x00, 0x0c, 0x29, 0xe2, 0xbf, 0x86}}
)

// demo sends the packet of the first capture through an IPIP tunnel and reads it as if it had been captured.
func (s *session) demo() {
	if s.opt.Quiet || s.opt.JSON {
		return
	}
	s.report.heading("The same ping through Flannel's other tunnel, IPIP, from node 172.12.1.11 to node 172.12.1.12")
	if err := s.ipip(); err != nil {
		s.fail("IPIP: %v", err)
	}
}

func (s *session) ipip() error {
	inner, err := innerPing(s.opt.Captures)
	if err != nil {
		return err
	}
	e, err := ipip.NewEncapsulator(ipip.EncapConfig{
		Src: node1.addr, Dst: node2.addr, SrcMAC: node1.mac, DstMAC: node2.mac, NoPMTUDisc: true,
	})
	if err != nil {
		return err
	}
	b := packet.Of(inner)
	if err := e.Encapsulate(b, 1); err != nil {
		return err
	}
	fmt.Fprintf(s.text, "Built here: the %d bytes of the packet in #1 go into another IPv4 header, "+
		"with no UDP, VXLAN or Ethernet in between.\n", len(inner))
	built := pcapfile.Packet{Data: b.Bytes(), WireLen: b.Len(), LinkType: pcapfile.LinkEthernet}
	f := s.inspector.inspect(s.tables.totals.frames+1, built)
	s.report.frame(f)
	if !f.rebuilt() || !bytes.Equal(f.tunnels[0].decapsulated, inner) {
		return errors.New("what was decapsulated is not what went in")
	}
	return nil
}

// innerPing returns the IPv4 packet inside the first embedded capture.
func innerPing(captures fs.FS) ([]byte, error) {
	inputs, err := embedded(captures)
	if err != nil {
		return nil, err
	}
	r, _, err := newReader(&inputs[0])
	if err != nil {
		return nil, err
	}
	p, err := r.Next()
	if err != nil {
		return nil, err
	}
	w, err := dissect.New(dissect.Config{})
	if err != nil {
		return nil, err
	}
	var s dissect.Stack
	if err := w.Ethernet(&s, p.Data); err != nil {
		return nil, err
	}
	frame := s.Outer().Payload
	return frame[s.Inner().Ethernet.Len():], nil
}
