package drivertest

// Rules of metadata: what Link's Offloads name is done, by the driver or by who is at the other end; what they do not name is refused.

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
)

var metadataRules = []rule{
	{name: "VLAN tags beside the packet are sent or refused", check: sendVLAN},
	{name: "partial checksums are completed or refused", check: sendPartial},
	{name: "superframes of TCP are cut or refused", check: sendTCP4},
	{name: "superframes of UDP are cut or refused", check: sendUDP4},
	{name: "superframes of no known type are refused", check: sendUnknownGSO},
	{name: "VLAN tags arrive", check: receiveVLAN},
}

const unknownGSO packet.GSOType = 255

var tag = ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 0x6007} // priority 3, VLAN 7

// refused checks that a packet is refused for its metadata, and its neighbours are not.
func (s *suite) refused(b *packet.Buffer, what string) {
	s.Helper()
	before := s.d.Stats()
	batch, want := s.batch(0, 100, 100)
	if err := s.send([]*packet.Buffer{batch[0], b, batch[1]}); err == nil {
		s.Errorf("Send of %s, which Offloads (%v) do not name, returned no error", what, s.link.Offloads)
	}
	s.same(want, s.collect(2))
	if n := s.d.Stats().TxErrors - before.TxErrors; n != 1 {
		s.Errorf("1 packet was refused for its metadata: TxErrors counted %d", n)
	}
	s.books()
}

func sendVLAN(s *suite) {
	batch, want := s.batch(0, 100)
	b := batch[0]
	b.SetVLAN(tag)
	if !s.link.Offloads.Has(packet.OffloadVLAN) {
		s.refused(b, "a VLAN tag")
		return
	}
	want[0].bytes = tagged(want[0].bytes)
	s.mustSend(batch)
	s.same(want, s.collect(1))
}

// tagged returns the frame with the tag in it.
func tagged(frame []byte) []byte {
	b := packet.Of(frame)
	b.SetVLAN(tag)
	if b.InsertVLAN() != nil {
		return frame
	}
	return b.Bytes()
}

func receiveVLAN(s *suite) {
	if s.link.Raw {
		s.Skip("packets have no Ethernet header")
	}
	p, name := s.packet(Inward, 0, 100)
	p = tagged(p)
	if err := s.wire.Inject(s.buffer(p)); err != nil {
		s.Fatal(err)
	}
	s.same([]expected{{name, p}}, s.receive(1))
}

// network is where a packet's network header starts.
func (s *suite) network() int {
	if s.link.Raw {
		return 0
	}
	return ethernet.HeaderLen
}

func sendPartial(s *suite) {
	p := s.udp(record(s.name(), 200))
	b := packet.Of(p)
	at := s.network() + ipv4.HeaderLen
	h, _, _ := udp.Parse(b.Bytes()[at:])
	h.SetPartialChecksum(nearIP, farIP)
	if err := b.SetChecksumPartial(at, checksumAtUDP); err != nil {
		s.Fatal(err)
	}
	if !s.link.Offloads.Has(packet.OffloadChecksum) {
		s.refused(b, "a partial checksum")
		return
	}
	s.mustSend([]*packet.Buffer{b})
	for _, g := range s.collect(1) {
		if err := g.b.CompleteChecksum(); err != nil || !g.whole || !s.h.Rewrites && !bytes.HasPrefix(g.b.Bytes(), p) {
			s.Errorf("a packet with a partial checksum arrived as\n%x, whole %v, error %v: want\n%x", g.b.Bytes(), g.whole, err, p)
		}
		g.b.Free()
	}
	s.books()
}

// udp returns a UDP packet of the suite's own making, whatever the harness's packets are.
func (s *suite) udp(payload []byte) []byte { return defaultPacket(s.link, Outward, 0, payload) }

func (s *suite) name() id {
	s.number++
	return id{0, s.number}
}

const (
	checksumAtUDP = 6 // RFC 768
	checksumAtTCP = 16
	segment       = 1000 // bytes of payload
	segments      = 9    // the last is short
	lastSegment   = 333
	stream        = (segments-1)*segment + lastSegment
	firstSeq      = 0xfffff000 // wraps around
)

func sendTCP4(s *suite) {
	payload := record(s.name(), stream)
	p := appendHeaders(nil, s.link, Outward, ipv4.ProtocolTCP, tcp.HeaderLen+stream)
	at := len(p)
	p, err := tcp.Fields{SrcPort: flowPort, DstPort: discardPort, Seq: firstSeq, Flags: tcp.ACK, Window: 1000}.Append(p, nearIP, farIP, payload)
	if err != nil {
		s.Fatal(err)
	}
	s.superframe(append(p, payload...), at, checksumAtTCP, ipv4.ProtocolTCP, packet.GSOTCP4, packet.OffloadTCP4, payload)
}

func sendUDP4(s *suite) {
	payload := record(s.name(), stream)
	s.superframe(s.udp(payload), s.network()+ipv4.HeaderLen, checksumAtUDP, ipv4.ProtocolUDP, packet.GSOUDP4, packet.OffloadUDP4, payload)
}

// superframe sends a superframe whose transport header is at a place, and puts together what arrives.
func (s *suite) superframe(p []byte, at, field int, protocol uint8, kind packet.GSOType, needs packet.Offloads, payload []byte) {
	s.Helper()
	b := packet.Of(p)
	partial(b.Bytes()[at:], field, protocol)
	if err := b.SetChecksumPartial(at, field); err != nil {
		s.Fatal(err)
	}
	b.SetGSO(kind, segment)
	if !s.link.Offloads.Has(needs) {
		s.refused(b, "a superframe")
		return
	}
	s.mustSend([]*packet.Buffer{b})
	pieces := s.pieces(protocol, len(payload))
	var have []byte
	for _, piece := range pieces {
		have = append(have, piece...)
	}
	if !bytes.Equal(have, payload) {
		s.Errorf("a superframe with %d bytes of payload arrived as %d pieces with %d bytes, or damaged", len(payload), len(pieces), len(have))
	}
	s.books()
}

// partial writes the sum of the pseudo-header into a transport header's checksum field.
func partial(transport []byte, field int, protocol uint8) {
	sum := pseudoSum(nearIP, farIP, protocol, len(transport))
	binary.BigEndian.PutUint16(transport[field:], sum)
}

// pieces takes packets of the protocol from the wire until they have this much payload, and returns those of UDP as they came, those
// of TCP in the order of their sequence numbers.
func (s *suite) pieces(protocol uint8, want int) [][]byte {
	type piece struct {
		seq  uint32
		data []byte
	}
	var all []piece
	for total := 0; total < want; {
		b, err := s.wire.Collect(s.h.Patience)
		if err != nil || b == nil {
			s.Errorf("the wire has %d of %d bytes of payload, error %v", total, want, err)
			break
		}
		if err := b.CompleteChecksum(); err != nil {
			s.Errorf("metadata does not fit: %v", err)
		}
		seq, data, ok := s.transport(b, protocol)
		if ok {
			all = append(all, piece{seq, bytes.Clone(data)})
			total += len(data)
		}
		b.Free()
	}
	slices.SortStableFunc(all, func(a, b piece) int { return int(int32(a.seq - b.seq)) })
	var out [][]byte
	for _, p := range all {
		out = append(out, p.data)
	}
	return out
}

// transport returns the payload of a packet of the suite, and where in the stream it is; false for packets of others.
func (s *suite) transport(b *packet.Buffer, protocol uint8) (seq uint32, data []byte, ok bool) {
	h, body, err := ipv4.Parse(b.Bytes()[min(s.network(), b.Len()):])
	if err != nil || h.Protocol() != protocol || h.Dst() != farIP {
		return 0, nil, false
	}
	whole := b.IsSuperframe() // its checksum is that of the whole, which no segment has
	if protocol == ipv4.ProtocolUDP {
		u, data, err := udp.Parse(body)
		if err != nil || u.DstPort() != discardPort {
			return 0, nil, false
		}
		if !whole && !u.ChecksumOK(h.Src(), h.Dst(), data) {
			s.Error("a segment has a wrong checksum")
		}
		return 0, data, true
	}
	t, data, err := tcp.Parse(body)
	if err != nil || t.DstPort() != discardPort {
		return 0, nil, false
	}
	if !whole && !t.ChecksumOK(h.Src(), h.Dst(), data) {
		s.Error("a segment has a wrong checksum")
	}
	return t.Seq() - firstSeq, data, len(data) > 0
}

func sendUnknownGSO(s *suite) {
	batch, _ := s.batch(0, 100)
	batch[0].SetGSO(unknownGSO, 10)
	s.refused(batch[0], "a superframe of an unknown type")
}
