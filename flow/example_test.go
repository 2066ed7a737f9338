package flow_test

import (
	"fmt"
	"log"

	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/ipv4"
)

// The start of a TCP segment that a pod sent: IPv4 header and ports.
var segment = []byte{
	0x45, 0x00, 0x00, 0x28, 0x23, 0x05, 0x40, 0x00, 0x3f, 0x06, 0x00, 0x00,
	10, 244, 1, 12, 10, 244, 2, 14,
	0x9c, 0x40, 0x00, 0x50, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0,
}

// A key names a flow: in a table, in a report.
func ExampleKeyOf() {
	header, payload, err := ipv4.Parse(segment)
	if err != nil {
		log.Fatal(err)
	}
	k := flow.KeyOf(header, payload)
	fmt.Println(k)
	fmt.Println(k.Reverse())
	// Output:
	// 10.244.1.12:40000 > 10.244.2.14:80 proto 6
	// 10.244.2.14:80 > 10.244.1.12:40000 proto 6
}

// A hasher spreads flows: here over four links, of which every packet of a flow takes the same one.
func ExampleHasher() {
	h := flow.NewHasher(2026)
	const links = 4
	link := func(packet []byte) uint64 { return uint64(h.IPv4(packet)) * links >> 32 }

	first := link(segment)
	segment[8]-- // TTL: the next packet of the flow came another way
	fmt.Println("same link:", link(segment) == first)
	// Output:
	// same link: true
}
