package ipv4_test

import (
	"fmt"
	"log"
	"net/netip"

	"github.com/culvert-net/culvert/ipv4"
)

// The header of a ping between two pods, as Flannel carried it, and padding behind it.
var ping = append([]byte{
	0x45, 0x00, 0x00, 0x54, 0x23, 0x05, 0x40, 0x00, 0x3f, 0x01, 0xff, 0xa2,
	10, 244, 1, 12,
	10, 244, 2, 14,
}, make([]byte, 100)...)

// Parsing checks all lengths once, and cuts the payload to what the header says.
func Example() {
	h, payload, err := ipv4.Parse(ping)
	if err != nil {
		log.Fatal(err)
	}
	if !h.ChecksumOK() {
		log.Fatal(ipv4.ErrChecksum)
	}
	fmt.Println(netip.AddrFrom4(h.Src()), "to", netip.AddrFrom4(h.Dst()))
	fmt.Println("ICMP:", h.Protocol() == ipv4.ProtocolICMP, "- DF:", h.DF(), "- TTL:", h.TTL())
	fmt.Println(len(payload), "bytes of payload in", len(ping))
	// Output:
	// 10.244.1.12 to 10.244.2.14
	// ICMP: true - DF: true - TTL: 63
	// 64 bytes of payload in 120
}

// A router takes one off the time to live; the checksum follows without being computed anew.
func ExampleHeader_SetTTL() {
	packet := append([]byte{}, ping...)
	h, _, err := ipv4.Parse(packet)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("TTL %d, checksum %#04x, right: %v\n", h.TTL(), h.Checksum(), h.ChecksumOK())
	h.SetTTL(h.TTL() - 1)
	fmt.Printf("TTL %d, checksum %#04x, right: %v\n", h.TTL(), h.Checksum(), h.ChecksumOK())
	// Output:
	// TTL 63, checksum 0xffa2, right: true
	// TTL 62, checksum 0x00a3, right: true
}

// Lengths and checksum follow from the fields and the length of the payload.
func ExampleFields_Append() {
	payload := []byte("payload")
	packet, err := ipv4.Fields{
		TTL:      ipv4.DefaultTTL,
		Protocol: ipv4.ProtocolUDP,
		Flags:    ipv4.DontFragment,
		Src:      netip.MustParseAddr("10.244.1.12").As4(),
		Dst:      netip.MustParseAddr("10.244.2.14").As4(),
	}.Append(nil, len(payload))
	if err != nil {
		log.Fatal(err)
	}
	packet = append(packet, payload...)
	fmt.Printf("% x\n", packet[:ipv4.HeaderLen])
	// Output: 45 00 00 1b 00 00 40 00 40 11 21 d1 0a f4 01 0c 0a f4 02 0e
}

// Options are walked one at a time; a malformed one ends the walk.
func ExampleOptions_Next() {
	options := ipv4.Options{
		0x94, 4, 0, 0, // router alert
		1,    // no operation
		7, 9, // record route, which says that it has 9 bytes
		4,
	}
	for o := options; len(o) > 0; {
		var opt ipv4.Option
		var err error
		if opt, o, err = o.Next(); err != nil {
			fmt.Printf("%d, %v\n", opt.Type, err)
			break
		}
		fmt.Printf("%d, %d bytes of data\n", opt.Type, len(opt.Data))
	}
	// Output:
	// 148, 2 bytes of data
	// 1, 0 bytes of data
	// 7, ipv4: option length below 2 or beyond the header
}
