package udp_test

// How fast the driver is over a veth pair between two namespaces, for packets of 64 bytes, which are what VXLAN makes of a frame with
// as little as can be:
//
//	go test -run '^$' -bench . ./driver/udp

import (
	"fmt"
	"testing"

	"github.com/culvert-net/culvert/driver/internal/nodes"
	"github.com/culvert-net/culvert/driver/udp"
	"github.com/culvert-net/culvert/ipv4"
	codec "github.com/culvert-net/culvert/udp"
)

var kinds = []struct {
	name string
	udp.Config
}{
	{"merged", udp.Config{}},
	{"unmerged", udp.Config{NoGSO: true, NoGRO: true}},
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
	left, right := nodes.New(b)
	c.Port, c.Local = discard, near
	one := nodes.Open(b, left, udp.New, c)
	c.Local = far
	two := nodes.Open(b, right, udp.New, c)
	packets := make([][]byte, flows)
	for i := range packets {
		packets[i] = datagram(i, 64-28)
	}
	nodes.Benchmark(b, one, two, packets, receive)
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
