package arp_test

import (
	"fmt"
	"log"
	"net/netip"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
)

// Answering a request: proxy ARP, as a router does it for the pods behind it.
func Example() {
	own := ethernet.MustParseMAC("ee:ee:ee:ee:ee:ee")
	request := arp.WhoHas([4]byte{169, 254, 1, 1}, ethernet.MustParseMAC("0a:58:0a:f4:01:0c"), [4]byte{10, 244, 1, 12})
	frame := request.AppendFrame(nil, ethernet.Broadcast)

	h, payload, err := ethernet.Parse(frame)
	if err != nil {
		log.Fatal(err)
	}
	p, err := arp.Parse(payload)
	if err != nil {
		log.Fatal(err)
	}
	if p.Op() != arp.Request || p.IsProbe() {
		return
	}
	fmt.Println(h.Dst(), "is asked: who has", netip.AddrFrom4(p.TargetIP()))

	answer := arp.ReplyTo(p, own).AppendFrame(nil, p.SenderMAC())
	fmt.Printf("% x\n% x\n", answer[:ethernet.HeaderLen], answer[ethernet.HeaderLen:])
	// Output:
	// ff:ff:ff:ff:ff:ff is asked: who has 169.254.1.1
	// 0a 58 0a f4 01 0c ee ee ee ee ee ee 08 06
	// 00 01 08 00 06 04 00 02 ee ee ee ee ee ee a9 fe 01 01 0a 58 0a f4 01 0c 0a f4 01 0c
}

// A host that got an address tells its neighbours, so that they forget who had it before.
func ExampleAnnouncement() {
	mac := ethernet.MustParseMAC("0a:58:0a:f4:01:0c")
	frame := arp.Announcement(mac, [4]byte{10, 244, 1, 12}).AppendFrame(nil, ethernet.Broadcast)
	p, err := arp.Parse(frame[ethernet.HeaderLen:])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.IsAnnouncement(), netip.AddrFrom4(p.SenderIP()), "is at", p.SenderMAC())
	// Output: true 10.244.1.12 is at 0a:58:0a:f4:01:0c
}
