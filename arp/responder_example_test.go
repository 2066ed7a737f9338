package arp_test

import (
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
)

// A proxy-ARP agent for the pods behind a host, who all believe to be on one wire. A packet socket bound to
// the pod's port (AF_PACKET, ETH_P_ARP) takes the place of the slice of frames: receive with the time until Deadline as the
// limit, and send what comes out.
func ExampleResponder() {
	port, err := arp.NewResponder(arp.ResponderConfig{
		MAC:      ethernet.MustParseMAC("ee:ee:ee:ee:ee:ee"),
		ProxyFor: []netip.Prefix{netip.MustParsePrefix("169.254.1.1/32"), netip.MustParsePrefix("10.96.30.0/24")},
		Route: func(target, _ uint32) arp.Way { // a real agent asks its routes
			if pod := uint32(10<<24 | 96<<16 | 30<<8 | 11); target == pod {
				return arp.WayBack
			}
			return arp.WayOn
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	pod, addr := ethernet.MustParseMAC("0a:58:0a:60:1e:0b"), [4]byte{10, 96, 30, 11}
	var answer []byte // reused: nothing is allocated for a frame
	for i, received := range [][]byte{
		arp.WhoHas([4]byte{169, 254, 1, 1}, pod, addr).AppendFrame(nil, ethernet.Broadcast),
		arp.WhoHas([4]byte{10, 96, 30, 12}, pod, addr).AppendFrame(nil, ethernet.Broadcast),
		arp.Probe(pod, addr).AppendFrame(nil, ethernet.Broadcast),
		arp.WhoHas([4]byte{8, 8, 8, 8}, pod, addr).AppendFrame(nil, ethernet.Broadcast),
	} {
		now := time.Duration(i) * time.Millisecond // a real agent reads its clock
		var verdict arp.Verdict
		if answer, verdict = port.Respond(answer[:0], received, now); verdict == arp.Answered {
			fmt.Printf("send % x\n", answer)
		} else {
			fmt.Println("silent:", verdict)
		}
	}
	// Output:
	// send 0a 58 0a 60 1e 0b ee ee ee ee ee ee 08 06 00 01 08 00 06 04 00 02 ee ee ee ee ee ee a9 fe 01 01 0a 58 0a 60 1e 0b 0a 60 1e 0b
	// send 0a 58 0a 60 1e 0b ee ee ee ee ee ee 08 06 00 01 08 00 06 04 00 02 ee ee ee ee ee ee 0a 60 1e 0c 0a 58 0a 60 1e 0b 0a 60 1e 0b
	// silent: probe for another's address
	// silent: no proxy for the address
}
