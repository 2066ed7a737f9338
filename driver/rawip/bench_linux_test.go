package rawip_test

// How fast the driver is over a veth pair between two namespaces, for packets of 64 bytes:
//
//	go test -run '^$' -bench . ./driver/rawip

import (
	"testing"

	"github.com/culvert-net/culvert/driver/internal/nodes"
	"github.com/culvert-net/culvert/driver/rawip"
)

func BenchmarkSend(b *testing.B)        { benchmark(b, false) }
func BenchmarkSendReceive(b *testing.B) { benchmark(b, true) }

func benchmark(b *testing.B, receive bool) {
	left, right := nodes.New(b)
	one := nodes.Open(b, left, rawip.New, rawip.Config{Local: near})
	two := nodes.Open(b, right, rawip.New, rawip.Config{Local: far})
	nodes.Benchmark(b, one, two, [][]byte{ipip(near, far, 1, make([]byte, 64-48))}, receive)
}
