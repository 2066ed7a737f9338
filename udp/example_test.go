package udp_test

import (
	"fmt"
	"log"

	"github.com/culvert-net/culvert/udp"
)

// A datagram is parsed in place. Its checksum covers the addresses of the IPv4 header around it.
func Example() {
	src, dst := [4]byte{10, 244, 1, 12}, [4]byte{10, 96, 0, 10}
	datagram, err := udp.Fields{SrcPort: 40000, DstPort: 53}.Append(nil, len("a query"))
	if err != nil {
		log.Fatal(err)
	}
	datagram = append(datagram, "a query"...)

	h, payload, err := udp.Parse(datagram)
	if err != nil {
		log.Fatal(err)
	}
	h.FixChecksum(src, dst, payload)
	fmt.Printf("%d to %d: %q, checksum right: %v\n", h.SrcPort(), h.DstPort(), payload, h.ChecksumOK(src, dst, payload))
	// Output: 40000 to 53: "a query", checksum right: true
}

// Destination NAT, as a service does it: the checksum follows the address and the port without being computed anew.
func ExampleHeader_UpdateAddr() {
	client := [4]byte{10, 244, 1, 12}
	service, backend := [4]byte{10, 96, 0, 10}, [4]byte{10, 244, 2, 14}
	datagram := []byte{0x9c, 0x40, 0, 53, 0, 9, 0, 0, '?'}
	h, payload, err := udp.Parse(datagram)
	if err != nil {
		log.Fatal(err)
	}
	h.FixChecksum(client, service, payload)

	h.UpdateAddr(service, backend)
	h.SetDstPort(5353)
	fmt.Println(h.DstPort(), h.ChecksumOK(client, backend, payload))

	h.SetChecksum(0) // a sender may leave it out, and nothing puts it back in
	h.SetDstPort(53)
	fmt.Println(h.DstPort(), h.Checksum(), h.ChecksumOK(client, backend, payload))
	// Output:
	// 5353 true
	// 53 0 true
}
