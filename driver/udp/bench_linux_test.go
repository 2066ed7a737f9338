package udp_test

// How fast the driver is over a veth pair between two namespaces, for packets of 64 bytes, which are what VXLAN makes of a frame with
// as little as can be:
//
//	go test -run '^$' -bench . ./driver/udp

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/udp"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	codec "github.com/culvert-net/culvert/udp"
)

var kinds = []struct {
	name string
	udp.Config
}{
	{"merged", udp.Config{}},
	{"unmerged", udp.Config{NoGSO: true, NoGRO: true}},
}

// pair returns two drivers with a veth between them.
func pair(tb testing.TB, a, b udp.Config) (one, two *udp.Driver) {
	tb.Helper()
	left, right := netnstest.New(tb), netnstest.New(tb)
	netnstest.Veth(tb,
		netnstest.End{Namespace: left, Device: "dev0", MAC: "02:00:00:00:00:01"},
		netnstest.End{Namespace: right, Device: "dev1", MAC: "02:00:00:00:00:02"})
	left.IP(tb, "address add 192.0.2.1/24 dev dev0")
	right.IP(tb, "address add 192.0.2.2/24 dev dev1")
	a.Local, a.Port = near, discard
	b.Local, b.Port = far, discard
	return open(tb, left, a), open(tb, right, b)
}

func BenchmarkSend(b *testing.B) {
	for _, k := range kinds {
		for _, flows := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/flows=%d", k.name, flows), func(b *testing.B) { benchmark(b, k.Config, flows, false) })
		}
	}
}

func BenchmarkSendReceive(b *testing.B) {
	for _, k := range kinds {
		for _, flows := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/flows=%d", k.name, flows), func(b *testing.B) { benchmark(b, k.Config, flows, true) })
		}
	}
}

func benchmark(b *testing.B, c udp.Config, flows int, receive bool) {
	one, two := pair(b, c, c)
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
	template := make([][]byte, flows)
	for i := range template {
		template[i] = datagram(i, 64-28)
	}
	batch := make([]*packet.Buffer, driver.BatchSize)
	b.ReportAllocs()
	before := processor(b)
	for i := 0; b.Loop(); i++ {
		for j := range batch {
			batch[j] = pool.Get()
			_ = batch[j].SetBytes(template[(i+j)%flows])
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

// datagram is a packet of the flow with size bytes of payload.
func datagram(flow, size int) []byte {
	p, err := ipv4.Fields{TTL: 64, Protocol: codec.Protocol, Src: near.As4(), Dst: far.As4()}.Append(nil, codec.HeaderLen+size)
	if err != nil {
		panic(err)
	}
	p, err = codec.Fields{SrcPort: uint16(32768 + flow), DstPort: discard}.Append(p, size)
	if err != nil {
		panic(err)
	}
	return append(p, make([]byte, size)...)
}

// processor returns the time that the process has had of processors, in nanoseconds: it says more than the clock where others are at work,
// too. What the kernel does in interrupts counts for whom they interrupt.
func processor(tb testing.TB) int64 {
	tb.Helper()
	var u unix.Rusage
	require.NoError(tb, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}
