package tuntap_test

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/traffic"
	"github.com/culvert-net/culvert/packet"
)

// benchNamespace returns a namespace; benchmarks do without those of users, as [netnstest.Run] is for tests.
func benchNamespace(b *testing.B) *netnstest.Namespace {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	return netnstest.New(b)
}

// BenchmarkSend is one frame of 64 bytes to a kernel that drops it, as it is not addressed to it.
func BenchmarkSend(b *testing.B) {
	ns := benchNamespace(b)
	d := openUp(b, ns, tuntap.Config{})
	p := pool(b, 2*driver.BatchSize, 2000)
	frame := make([]byte, 64)
	copy(frame, []byte{2, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0x88, 0xb5}) // EtherType for local experiments
	batch := make([]*packet.Buffer, driver.BatchSize)
	b.ReportAllocs()
	begin := traffic.Processor(b)
	for i := 0; i < b.N; i += len(batch) {
		p.GetBatch(batch)
		for _, x := range batch {
			_ = x.SetBytes(frame)
		}
		if err := d.Queues()[0].Send(batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(traffic.Processor(b)-begin)/float64(b.N), "cpu-ns/op")
}

// BenchmarkReceive is one frame of 64 bytes out of a device's queue, which a packet socket fills meanwhile without being timed.
func BenchmarkReceive(b *testing.B) {
	ns := benchNamespace(b)
	d := openUp(b, ns, tuntap.Config{})
	w := newWire(b, ns, d.Link())
	defer func() { _ = w.Close() }()
	batch, frame := make([]*packet.Buffer, driver.BatchSize), append(slices.Clip(arp), make([]byte, 4)...)
	const fill = 400 // of the 1000 that the queue holds
	b.ReportAllocs()
	var used time.Duration
	for done := 0; done < b.N; {
		b.StopTimer()
		for range fill {
			require.NoError(b, w.Inject(packet.Of(frame)))
		}
		b.StartTimer()
		begin := traffic.Processor(b)
		for {
			n, err := d.Queues()[0].Receive(batch, 0)
			if err != nil {
				b.Fatal(err)
			}
			if n == 0 {
				break
			}
			packet.FreeBatch(batch[:n])
			done += n
		}
		used += traffic.Processor(b) - begin
	}
	b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
}

// BenchmarkTCP is a stream of the kernel's TCP from one device to another, both in both directions through here.
func BenchmarkTCP(b *testing.B) {
	for _, c := range []combination{
		{name: "tap", config: tuntap.Config{}, superframes: true},
		{name: "tap without offloads", config: tuntap.Config{Without: packet.OffloadChecksum}},
		{name: "tun", config: tuntap.Config{Kind: tuntap.TUN}, superframes: true},
	} {
		b.Run(c.name, func(b *testing.B) {
			if os.Geteuid() != 0 {
				b.Skip("needs root")
			}
			top := newTopology(b, c.config)
			total := 16 * volume(c.superframes)
			b.SetBytes(int64(total))
			begin := traffic.Processor(b)
			for b.Loop() {
				top.stream(b, total, addressB)
			}
			b.ReportMetric(float64(b.N)*float64(total)*8/float64(traffic.Processor(b)-begin), "Gbit/cpu-s")
			require.NoError(b, errors.Join(top.a.Close(), top.b.Close()))
		})
	}
}
