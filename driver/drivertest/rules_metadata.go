package drivertest

// Rules of metadata: what Link's Offloads name is done, by the driver or by who is at the other end; what they do not name is refused.

import (
	"bytes"
	"slices"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/udp"
)

var metadataRules = []rule{
	{name: "VLAN tags beside the packet are sent or refused", check: sendVLAN},
	{name: "partial checksums are completed or refused", check: sendPartial},
	{name: "superframes of TCP are cut or refused", check: sendSuperframe(tcp4)},
	{name: "superframes of UDP are cut or refused", check: sendSuperframe(udp4)},
	{name: "superframes of TCP over IPv6 are cut or refused", check: sendSuperframe(tcp6)},
	{name: "superframes of TCP in VXLAN are cut or refused", check: sendSuperframe(tunnelTCP4)},
	{name: "superframes of no known type are refused", check: sendUnknownGSO},
	{name: "VLAN tags arrive", check: receiveVLAN},
	{name: "partial checksums arrive", check: receivePartial},
	{name: "superframes arrive", check: receiveSuperframe, setup: setup{room: 4 * stream}},
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
	name := s.name()
	p := defaultPacket(s.link, Outward, 0, record(name, 200))
	b := s.partialUDP(p, Outward)
	if !s.link.Offloads.Has(packet.OffloadChecksum) {
		s.refused(b, "a partial checksum")
		return
	}
	s.mustSend([]*packet.Buffer{b})
	s.same([]expected{{name, p}}, s.collect(1))
	s.books()
}

// partialUDP returns a UDP packet of the suite with its checksum undone.
func (s *suite) partialUDP(p []byte, d Direction) *packet.Buffer {
	s.Helper()
	b := packet.Of(p)
	src, dst := addresses(d)
	at := s.network() + ipv4.HeaderLen
	h, _, err := udp.Parse(b.Bytes()[at:])
	if err != nil {
		s.Fatal(err)
	}
	h.SetPartialChecksum(src, dst)
	if err := b.SetChecksumPartial(at, checksumAtUDP); err != nil {
		s.Fatal(err)
	}
	return b
}

func (s *suite) name() id {
	s.number++
	return id{0, s.number}
}

// sendSuperframe sends a superframe of a kind, and puts together what arrives.
func sendSuperframe(kind superframeKind) func(*suite) {
	return func(s *suite) {
		if s.link.Raw && kind.needsEthernet {
			s.Skip("packets have no Ethernet header, and are IPv4")
		}
		f, err := kind.make(s.link, Outward, record(s.name(), stream))
		if err != nil {
			s.Fatal(err)
		}
		if !s.link.Offloads.Has(kind.needs) {
			s.refused(f.buffer(), "a superframe")
			return
		}
		s.mustSend([]*packet.Buffer{f.buffer()})
		s.whole(f, s.takePieces(f, s.wire.Collect))
		s.books()
	}
}

// takePieces takes what a superframe has become from one end of the wire, until there is as much payload as it had.
func (s *suite) takePieces(f superframe, take func(time.Duration) (*packet.Buffer, error)) []piece {
	var all []piece
	for total := 0; total < len(f.payload); {
		b, err := take(s.h.Patience)
		if err != nil || b == nil {
			s.Errorf("of a superframe with %d bytes of payload %d arrived, error %v", len(f.payload), total, err)
			break
		}
		if err := b.CompleteChecksum(); err != nil {
			s.Errorf("a packet has metadata that does not fit it: %v", err)
		}
		if p, ok := f.parse(b.Bytes()[min(s.network(), b.Len()):]); ok {
			if !p.sumOK && !b.IsSuperframe() { // the checksum of a whole is that of no segment
				s.Errorf("a segment of a superframe has a wrong checksum:\n%x", b.Bytes())
			}
			all = append(all, p)
			total += len(p.data)
		}
		b.Free()
	}
	return all
}

// whole checks that pieces make up the superframe.
func (s *suite) whole(f superframe, all []piece) {
	s.Helper()
	slices.SortStableFunc(all, func(a, b piece) int { return int(int32(a.seq - b.seq)) }) // those of UDP are all 0, and stay as they came
	var have []byte
	for _, p := range all {
		have = append(have, p.data...)
	}
	if !bytes.Equal(have, f.payload) {
		s.Errorf("a superframe with %d bytes of payload arrived damaged: %d pieces with %d bytes", len(f.payload), len(all), len(have))
	}
}

// wireOffloads are the metadata that may be put on the wire.
func (s *suite) wireOffloads() packet.Offloads {
	l, ok := s.wire.(interface{ Link() driver.Link })
	if !ok {
		return 0
	}
	return l.Link().Offloads
}

func receivePartial(s *suite) {
	if !s.wireOffloads().Has(packet.OffloadChecksum) {
		s.Skip("the wire takes no partial checksums")
	}
	name := s.name()
	p := defaultPacket(s.link, Inward, 0, record(name, 200))
	if err := s.wire.Inject(s.partialUDP(p, Inward)); err != nil {
		s.Fatal(err)
	}
	s.same([]expected{{name, p}}, s.receive(1))
	s.books()
}

func receiveSuperframe(s *suite) {
	if !s.wireOffloads().Has(packet.OffloadTCP4) {
		s.Skip("the wire takes no superframes")
	}
	f, err := tcp4.make(s.link, Inward, record(s.name(), stream))
	if err != nil {
		s.Fatal(err)
	}
	if err := s.wire.Inject(f.buffer()); err != nil {
		s.Fatal(err)
	}
	turn, batch := 0, make([]*packet.Buffer, 1)
	var all []piece
	s.within("Receive", func() {
		all = s.takePieces(f, func(wait time.Duration) (*packet.Buffer, error) {
			for end := time.Now().Add(wait / 2); time.Now().Before(end); turn++ {
				q := s.d.Queues()[turn%len(s.d.Queues())]
				n, err := q.Receive(batch, time.Millisecond)
				if n == 0 && err == nil {
					continue
				}
				s.count(batch[:n])
				return batch[0], err
			}
			return nil, nil
		})
	})
	s.whole(f, all)
	s.books()
}

// count counts what Receive returned.
func (s *suite) count(batch []*packet.Buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range batch {
		s.received.add(b)
	}
}

func sendUnknownGSO(s *suite) {
	batch, _ := s.batch(0, 100)
	batch[0].SetGSO(unknownGSO, 10)
	s.refused(batch[0], "a superframe of an unknown type")
}
