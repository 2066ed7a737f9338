package nodes

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/internal/traffic"
	"github.com/culvert-net/culvert/packet"
)

// Benchmark sends the packets over and over, in full batches, from one driver to the other, where somebody receives them or nobody does.
// It closes both.
func Benchmark(b *testing.B, one, two driver.Driver, packets [][]byte, receive bool) {
	b.Helper()
	pool, err := packet.NewPool(packet.PoolConfig{})
	if err != nil {
		b.Fatal(err)
	}
	received := make(chan uint64, 1)
	if receive {
		go func() { received <- count(two) }()
	}
	batch := make([]*packet.Buffer, driver.BatchSize)
	b.ReportAllocs()
	before := traffic.Processor(b)
	for i := 0; b.Loop(); i++ {
		for j := range batch {
			batch[j] = pool.Get()
			_ = batch[j].SetBytes(packets[(i+j)%len(packets)])
		}
		_ = one.Queues()[0].Send(batch)
	}
	seconds, sent := b.Elapsed().Seconds(), float64(one.Stats().TxPackets)
	b.ReportMetric(sent/seconds/1000, "kpps-sent")
	b.ReportMetric(float64(traffic.Processor(b)-before)/sent, "cpu-ns/packet")
	if err := errors.Join(one.Close(), two.Close()); err != nil {
		b.Fatal(err)
	}
	if receive {
		b.ReportMetric(float64(<-received)/seconds/1000, "kpps-received")
	}
}

// count receives until the driver is closed, and returns how many packets came.
func count(d driver.Driver) (total uint64) {
	for batch := make([]*packet.Buffer, driver.BatchSize); ; {
		n, err := d.Queues()[0].Receive(batch, time.Second)
		if errors.Is(err, net.ErrClosed) {
			return total
		}
		total += uint64(n)
		packet.FreeBatch(batch[:n])
	}
}
