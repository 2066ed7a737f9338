package pcap_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/pcap"
	"github.com/culvert-net/culvert/packet"
)

// What is sent goes to one capture, which is then received from again. Files would come from os.Create and os.Open.
func Example() {
	var file bytes.Buffer
	out, err := pcap.New(pcap.Config{Writer: &file, LinkType: pcap.Raw, Name: "tun0", Now: func() time.Time { return time.Unix(1700000000, 0) }})
	if err != nil {
		panic(err)
	}
	ping := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0xf6, 0xdc, 192, 0, 2, 1, 192, 0, 2, 2, 8, 0, 0xf7, 0xfe, 0, 1, 0, 0}
	if err := out.Queues()[0].Send([]*packet.Buffer{packet.Of(ping), packet.Of(ping)}); err != nil {
		panic(err)
	}
	if err := out.Close(); err != nil {
		panic(err)
	}

	in, err := pcap.New(pcap.Config{Reader: bytes.NewReader(file.Bytes()), Loops: 2})
	if err != nil {
		panic(err)
	}
	fmt.Println("raw:", in.Link().Raw)
	batch := make([]*packet.Buffer, driver.BatchSize)
	for {
		n, err := in.Queues()[0].Receive(batch, driver.Forever)
		packet.FreeBatch(batch[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			panic(err)
		}
	}
	fmt.Println(in.Stats().RxPackets, "packets,", in.Stats().RxBytes, "bytes")
	if err := in.Close(); err != nil {
		panic(err)
	}
	// Output:
	// raw: true
	// 4 packets, 112 bytes
}
