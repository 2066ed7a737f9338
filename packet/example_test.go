package packet_test

import (
	"fmt"
	"log"

	"github.com/culvert-net/culvert/packet"
)

// Headers go in front of a packet without moving it, and come off again.
func Example() {
	b := packet.Of([]byte("payload"))
	p, err := b.Prepend(7)
	if err != nil {
		log.Fatal(err)
	}
	copy(p, "header ")
	fmt.Printf("%s, %d bytes of headroom left\n", p, b.Headroom())

	if err := b.TrimFront(7); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", b.Bytes())
	// Output:
	// header payload, 121 bytes of headroom left
	// payload
}

// A pool never grows. Buffers are taken and given back by the batch; whoever holds one frees it.
func ExamplePool() {
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 3})
	if err != nil {
		log.Fatal(err)
	}
	batch := make([]*packet.Buffer, 8)
	n := pool.GetBatch(batch)
	fmt.Println("got", n, "of", len(batch), "- in use:", pool.InUse())

	for _, b := range batch[:n] {
		if err := b.SetBytes([]byte("a frame")); err != nil {
			log.Fatal(err)
		}
	}
	packet.FreeBatch(batch[:n])
	fmt.Println("in use:", pool.InUse())
	// Output:
	// got 3 of 8 - in use: 3
	// in use: 0
}
