package tunnel_test

import (
	"fmt"

	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tunnel"
)

// A router on the way marked the outer header. The mark must reach the inner packet, or the packet must not.
func ExampleDecapECN() {
	for _, inner := range []ipv4.ECN{ipv4.ECT0, ipv4.NotECT} {
		mark, err := tunnel.DecapECN(ipv4.CE, inner)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("%02b becomes %02b\n", inner, mark)
	}
	// Output:
	// 10 becomes 11
	// tunnel: congestion experienced on the way, but the inner packet is not ECN-capable
}

// Equal hashes, equal source ports: all packets of a flow take one path through the network below.
func ExamplePorts_Port() {
	for _, hash := range []uint32{0x00000000, 0x80000000, 0xffff0000} {
		fmt.Println(tunnel.DefaultPorts.Port(hash))
	}
	// Output:
	// 32768
	// 46883
	// 60998
}
