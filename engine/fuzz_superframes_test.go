package engine_test

// Frames with whatever a driver may say of them, through the node of FuzzEngine.

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/packet"
)

// said is what is said of a frame, and how ports are.
type said struct {
	kind     uint8
	size     uint16
	start    uint16 // of a partial checksum; 0: none
	tag      uint16 // 0: none
	offloads uint8
	coalesce uint8
}

// ports sets all ports up; what cannot be is left out.
func (s said) ports(n *fuzzNode) {
	o := packet.Offloads(s.offloads & 0x3f)
	if o&^packet.OffloadVLAN != 0 {
		o |= packet.OffloadChecksum
	}
	tcp, udp := s.coalesce&1 != 0 && o.Has(packet.OffloadTCP4), s.coalesce&2 != 0 && o.Has(packet.OffloadUDP4)
	for _, port := range fuzzPorts {
		o := o
		if port == "raw0" {
			o &^= packet.OffloadVLAN
		}
		require.NoError(n.t, n.e.SetLink(port, engine.LinkChange{Offloads: &o, Coalesce: &tcp, CoalesceUDP: &udp}))
	}
}

// buffer returns a frame with what is said of it, or nil.
func (s said) buffer(n *fuzzNode, p []byte) *packet.Buffer {
	b := n.pool.Get()
	if b == nil {
		return nil
	}
	if b.SetBytes(p) != nil {
		b.Free()
		return nil
	}
	b.SetGSO(packet.GSOType(s.kind%5), s.size)
	if s.tag != 0 {
		b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: ethernet.TCI(s.tag)})
	}
	field := 16
	if packet.GSOType(s.kind%5) == packet.GSOUDP4 {
		field = 6
	}
	if s.start != 0 {
		_ = b.SetChecksumPartial(int(s.start), field) // what does not fit is not said
	}
	return b
}

// conforms requires that a port takes what it is given.
func (n *fuzzNode) conforms(port uint32, b *packet.Buffer) {
	l, _ := n.e.Link(n.e.Name(port))
	var need packet.Offloads
	if b.HasVLAN() {
		need |= packet.OffloadVLAN
	}
	if b.Checksum() == packet.ChecksumPartial {
		need |= packet.OffloadChecksum
	}
	require.True(n.t, l.Offloads.Has(need), "%s takes %v, not %v", l.Name, l.Offloads, need)
	switch kind, size := b.GSO(); kind {
	case packet.GSONone:
	case packet.GSOTCP4:
		require.NotZero(n.t, l.Offloads&(packet.OffloadTCP4|packet.OffloadTunnelTCP4))
	case packet.GSOUDP4:
		require.NotZero(n.t, l.Offloads&packet.OffloadUDP4)
	default:
		require.Equal(n.t, packet.GSOTCP6, kind)
		require.NotZero(n.t, l.Offloads&packet.OffloadTCP6)
		require.NotZero(n.t, size)
	}
	if b.IsSuperframe() {
		require.Equal(n.t, packet.ChecksumPartial, b.Checksum())
	}
}

func FuzzSuperframes(f *testing.F) {
	for i, v := range vectors.Load(f) {
		port := uint8(i % 4)
		if v.Link == vectors.LinkIPv4 {
			port = 4
		}
		f.Add(port, []byte(v.Frame), uint8(i), uint16(100), uint16(34), uint16(i%2), uint8(i*7), uint8(i))
	}
	for i, w := range ways(f) {
		for _, udp := range []bool{false, true} {
			s := stream{src: w.src, dst: w.dst, size: 500, payload: 1900, udp: udp}
			f.Add(uint8(i%4), slices.Concat(w.front, s.piece(0, 0, 1900)), uint8(s.kind()), uint16(500), uint16(34), uint16(0), uint8(0x3f), uint8(3))
		}
	}
	f.Fuzz(func(t *testing.T, port uint8, p []byte, kind uint8, size, start, tag uint16, offloads, coalesce uint8) {
		s := said{kind: kind, size: size, start: start, tag: tag, offloads: offloads, coalesce: coalesce}
		n := newFuzzNode(t)
		s.ports(n)
		for range 3 { // known after the first
			var batch []*packet.Buffer
			for range 2 {
				if b := s.buffer(n, p); b != nil {
					batch = append(batch, b)
				}
			}
			n.e.Process(n.e.Index(fuzzPorts[int(port)%len(fuzzPorts)]), batch, n.now)
			n.check()
		}
		n.finish()
	})
}
