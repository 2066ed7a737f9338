package rawip_test

// How fast the driver is over a veth pair between two namespaces, for packets of 64 bytes:
//
//	go test -run '^$' -bench . ./driver/rawip

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/rawip"
	"github.com/culvert-net/culvert/packet"
)

func BenchmarkSend(b *testing.B)        { benchmark(b, false) }
func BenchmarkSendReceive(b *testing.B) { benchmark(b, true) }

func benchmark(b *testing.B, receive bool) {
	left, right := nodes(b)
	one, two := open(b, left, rawip.Config{Local: near}), open(b, right, rawip.Config{Local: far})
	pool, err := packet.NewPool(packet.PoolConfig{})
	require.NoError(b, err)
	done := make(chan uint64)
	if receive {
		go func() {
			var n uint64
			for batch := make([]*packet.Buffer, driver.BatchSize); ; {
				m, err := two.Queues()[0].Receive(batch, time.Second)
				if errors.Is(err, net.ErrClosed) {
					done <- n
					return
				}
				n += uint64(m)
				packet.FreeBatch(batch[:m])
			}
		}()
	}
	p := ipip(near, far, 1, make([]byte, 64-48))
	batch := make([]*packet.Buffer, driver.BatchSize)
	b.ReportAllocs()
	before := processor(b)
	for b.Loop() {
		for j := range batch {
			batch[j] = pool.Get()
			_ = batch[j].SetBytes(p)
		}
		_ = one.Queues()[0].Send(batch)
	}
	seconds := b.Elapsed().Seconds()
	b.ReportMetric(float64(one.Stats().TxPackets)/seconds/1000, "kpps-sent")
	b.ReportMetric(float64(processor(b)-before)/float64(one.Stats().TxPackets), "cpu-ns/packet")
	require.NoError(b, one.Close())
	require.NoError(b, two.Close())
	if receive {
		b.ReportMetric(float64(<-done)/seconds/1000, "kpps-received")
	}
}

// processor returns the time that the process has had of processors, in nanoseconds: it says more than the clock where others are at work,
// too. What the kernel does in interrupts counts for whom they interrupt.
func processor(tb testing.TB) int64 {
	tb.Helper()
	var u unix.Rusage
	require.NoError(tb, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}
