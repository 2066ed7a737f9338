package memory_test

import (
	"errors"
	"fmt"
	"net"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/packet"
)

// A wire with somebody who answers at the other end.
func Example() {
	near, far, err := memory.NewPair(memory.Config{Raw: true})
	if err != nil {
		panic(err)
	}

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		echo(far)
	}()

	q := near.Queues()[0]
	if err := q.Send([]*packet.Buffer{packet.Of([]byte("a packet"))}); err != nil {
		panic(err)
	}
	batch := make([]*packet.Buffer, driver.BatchSize)
	n, err := q.Receive(batch, driver.Forever)
	if err != nil {
		panic(err)
	}
	for _, b := range batch[:n] {
		fmt.Printf("%s\n", b.Bytes())
		b.Free()
	}

	if err := far.Close(); err != nil {
		panic(err)
	}
	<-ended
	fmt.Println("up:", near.Link().Up)
	fmt.Printf("%+v\n", near.Stats())
	if err := near.Close(); err != nil {
		panic(err)
	}
	// Output:
	// a packet
	// up: false
	// {RxPackets:1 RxBytes:8 RxDropped:0 RxErrors:0 TxPackets:1 TxBytes:8 TxDropped:0 TxErrors:0}
}

// echo sends back whatever comes.
func echo(d driver.Driver) {
	q := d.Queues()[0]
	for batch := make([]*packet.Buffer, driver.BatchSize); ; {
		n, err := q.Receive(batch, driver.Forever)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err := q.Send(batch[:n]); err != nil {
			fmt.Println(err)
		}
	}
}
