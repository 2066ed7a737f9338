package ipfrag_test

import (
	"fmt"
	"log"

	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// A packet is cut for a link with a small MTU, and put together again from fragments in another order.
func Example() {
	pool, err := packet.NewPool(packet.PoolConfig{})
	if err != nil {
		log.Fatal(err)
	}
	p, err := ipv4.Fields{TTL: 64, Protocol: ipv4.ProtocolUDP, Src: [4]byte{192, 0, 2, 1}, Dst: [4]byte{192, 0, 2, 2}}.Append(nil, 1000)
	if err != nil {
		log.Fatal(err)
	}
	b := pool.Get()
	if err := b.SetBytes(append(p, make([]byte, 1000)...)); err != nil {
		log.Fatal(err)
	}
	fragments, err := ipfrag.Fragment(b, 576, pool.Get, nil)
	if err != nil {
		log.Fatal(err)
	}
	r, err := ipfrag.New(ipfrag.Config{})
	if err != nil {
		log.Fatal(err)
	}
	for _, i := range []int{1, 0} {
		fmt.Println("fragment of", fragments[i].Len(), "bytes")
		for _, result := range r.Input(0, fragments[i], 0, nil) {
			fmt.Printf("%v: %d bytes\n", result.Outcome, result.Buffer.Len())
			result.Buffer.Free()
		}
	}
	// Output:
	// fragment of 468 bytes
	// fragment of 572 bytes
	// merged: 468 bytes
	// whole: 1020 bytes
}
