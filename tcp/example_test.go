package tcp_test

import (
	"fmt"
	"log"

	"github.com/culvert-net/culvert/tcp"
)

// The SYN of a connection through a tunnel, with the segment size that fits into it for an option.
func Example() {
	segment := []byte{
		0x9c, 0x40, 0x00, 0x50,
		0x01, 0x02, 0x03, 0x04,
		0x00, 0x00, 0x00, 0x00,
		0x60, 0x02, 0xfa, 0xf0,
		0x78, 0xcd, 0x00, 0x00,
		0x02, 0x04, 0x05, 0x82,
	}
	h, data, err := tcp.Parse(segment)
	if err != nil {
		log.Fatal(err)
	}
	src, dst := [4]byte{192, 0, 2, 1}, [4]byte{192, 0, 2, 2}
	fmt.Println(h.SrcPort(), "to", h.DstPort(), "seq", h.Seq(), "window", h.Window())
	fmt.Println("opens a connection:", h.Flags()&(tcp.SYN|tcp.ACK) == tcp.SYN)
	fmt.Printf("options % x, %d bytes of data\n", h.Options(), len(data))
	fmt.Println("checksum right:", h.ChecksumOK(src, dst, data))
	// Output:
	// 40000 to 80 seq 16909060 window 64240
	// opens a connection: true
	// options 02 04 05 82, 0 bytes of data
	// checksum right: true
}
