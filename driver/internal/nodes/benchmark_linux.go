package nodes

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
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
	before := processor(b)
	for i := 0; b.Loop(); i++ {
		for j := range batch {
			batch[j] = pool.Get()
			_ = batch[j].SetBytes(packets[(i+j)%len(packets)])
		}
		_ = one.Queues()[0].Send(batch)
	}
	seconds, sent := b.Elapsed().Seconds(), float64(one.Stats().TxPackets)
	b.ReportMetric(sent/seconds/1000, "kpps-sent")
	b.ReportMetric(float64(processor(b)-before)/sent, "cpu-ns/packet")
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

// processor returns the time that the process has had of processors, in nanoseconds: it says more than the clock where others are at work,
// too. What the kernel does in interrupts counts for whom they interrupt.
func processor(tb testing.TB) int64 {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
