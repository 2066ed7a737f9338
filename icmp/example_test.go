package icmp_test

import (
	"errors"
	"fmt"
	"log"
	"net/netip"

	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
)

// Answering an echo request where it lies: the addresses change places, the type changes, and both checksums follow.
func Example() {
	packet := append([]byte{
		0x45, 0x00, 0x00, 0x54, 0x23, 0x05, 0x40, 0x00, 0x3f, 0x01, 0xff, 0xa2,
		10, 244, 1, 12,
		10, 244, 2, 14,
		0x08, 0x00, 0x84, 0x7d, 0x0c, 0x47, 0x04, 0x4e, 0x0d, 0x1e, 0x55, 0xcf,
	}, make([]byte, 52)...)

	ip, message, err := ipv4.Parse(packet)
	if err != nil {
		log.Fatal(err)
	}
	echo, body, err := icmp.Parse(message)
	if err != nil {
		log.Fatal(err)
	}
	if echo.Type() != icmp.TypeEcho || !echo.ChecksumOK(body) {
		return
	}

	src, dst := ip.Src(), ip.Dst()
	ip.SetSrc(dst)
	ip.SetDst(src)
	ip.SetTTL(ipv4.DefaultTTL)
	echo.SetType(icmp.TypeEchoReply)

	fmt.Println(netip.AddrFrom4(ip.Src()), "answers", netip.AddrFrom4(ip.Dst()), "id", echo.ID(), "seq", echo.Seq())
	fmt.Println("checksums right:", ip.ChecksumOK(), echo.ChecksumOK(body))
	// Output:
	// 10.244.2.14 answers 10.244.1.12 id 3143 seq 1102
	// checksums right: true true
}

// A router tells a sender that its packet does not fit, and the sender finds out which packet that was.
func ExampleFragmentationNeeded() {
	tooBig, err := ipv4.Fields{
		Flags: ipv4.DontFragment, TTL: 64, Protocol: ipv4.ProtocolTCP,
		Src: [4]byte{10, 244, 1, 12}, Dst: [4]byte{10, 244, 2, 14},
	}.Append(nil, 1480)
	if err != nil {
		log.Fatal(err)
	}
	tooBig = append(tooBig, make([]byte, 1480)...)
	message := icmp.FragmentationNeeded(1450).AppendError(nil, tooBig)

	h, body, err := icmp.Parse(message)
	if err != nil {
		log.Fatal(err)
	}
	quoted, _, err := ipv4.Parse(h.Quote(body))
	if err != nil && !errors.Is(err, ipv4.ErrTruncated) { // a quote is cut short
		log.Fatal(err)
	}
	fmt.Println("packets to", netip.AddrFrom4(quoted.Dst()), "may have", h.NextHopMTU(), "bytes")
	fmt.Println(len(body), "bytes of", quoted.TotalLen(), "are quoted")
	// Output:
	// packets to 10.244.2.14 may have 1450 bytes
	// 548 bytes of 1500 are quoted
}
