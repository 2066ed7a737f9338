package engine_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/packet"
)

// BenchmarkSuperframes is 60,000 bytes of TCP from a pod into VXLAN, as one superframe for ports that take much or little, and as
// segments that are put together.
func BenchmarkSuperframes(b *testing.B) {
	const sum = packet.OffloadChecksum
	for _, c := range []struct {
		name   string
		change engine.LinkChange
		apart  bool
	}{
		{"whole", engine.LinkChange{Offloads: engine.Set(sum | packet.OffloadTunnelTCP4)}, false},
		{"to-udp", engine.LinkChange{Offloads: engine.Set(sum | packet.OffloadUDP4)}, false},
		{"cut-partial", engine.LinkChange{Offloads: engine.Set(sum)}, false},
		{"cut", engine.LinkChange{}, false},
		{"segments", engine.LinkChange{}, true},
		{"segments-to-udp", engine.LinkChange{Offloads: engine.Set(sum | packet.OffloadUDP4), CoalesceUDP: engine.Set(true)}, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newFlannel(b, still)
			r.must(r.SetLink("ens192", c.change))
			s := stream{src: podA, dst: podB, size: 1410, payload: 60000}
			front := eth(cni0MAC, podAMAC)
			whole := s.superframe(b, front)
			headers, pieces := bytes.Clone(whole.Bytes()[:60]), s.segments()
			for i, p := range pieces {
				pieces[i] = slices.Concat(front, p)
			}
			batch := make([]*packet.Buffer, len(pieces))
			port := r.Index("veth0")
			b.SetBytes(int64(s.payload))
			b.ReportAllocs()
			for b.Loop() {
				if c.apart {
					r.pool.GetBatch(batch)
					for i, p := range pieces {
						_ = batch[i].SetBytes(p)
						batch[i].SetChecksumVerified()
					}
					r.Process(port, batch, r.now)
					continue
				}
				whole.Reset()
				room, _ := whole.Extend(14 + 40 + s.payload)
				copy(room, headers)
				_ = whole.SetChecksumPartial(34, 16)
				whole.SetGSO(packet.GSOTCP4, uint16(s.size))
				r.Process(port, append(batch[:0], whole), r.now)
			}
			if got := r.Stats(); got.Dropped() > 0 || got.Out == 0 {
				b.Fatal(got)
			}
		})
	}
}
