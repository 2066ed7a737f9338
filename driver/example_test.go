package driver_test

import (
	"errors"
	"fmt"
	"net"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/packet"
)

// A program that only wants packets uses a driver by itself, without an engine.
func Example() {
	near, far, err := memory.NewPair(memory.Config{}) // any other driver will do
	if err != nil {
		panic(err)
	}
	frames := []*packet.Buffer{packet.Of(make([]byte, 60)), packet.Of(make([]byte, 1514))}
	if err := far.Queues()[0].Send(frames); err != nil {
		panic(err)
	}

	collect(near, func(b *packet.Buffer) {
		fmt.Println(b.Len(), "bytes")
		if near.Stats().RxPackets == 2 { // or on a signal, from another goroutine
			_ = near.Close()
		}
	})
	fmt.Println(near.Stats().RxBytes, "bytes in all; link up:", far.Link().Up)
	_ = far.Close()
	// Output:
	// 60 bytes
	// 1514 bytes
	// 1574 bytes in all; link up: false
}

// collect hands packets to a function until the driver is closed.
func collect(d driver.Driver, each func(*packet.Buffer)) {
	q := d.Queues()[0]
	for batch := make([]*packet.Buffer, driver.BatchSize); ; {
		n, err := q.Receive(batch, driver.Forever)
		for _, b := range batch[:n] {
			each(b)
			b.Free()
		}
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			fmt.Println(err) // of the moment, such as a device that is down
		}
	}
}
