package arp_test

import (
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
)

// A host asks whether an address is free, takes it, and defends it once.
func ExampleClaim() {
	claim, err := arp.NewClaim(arp.ClaimConfig{MAC: ethernet.MustParseMAC("0a:58:0a:60:1e:0b")})
	if err != nil {
		log.Fatal(err)
	}
	if err := claim.Start(0, netip.MustParseAddr("10.96.30.11")); err != nil {
		log.Fatal(err)
	}
	var now time.Duration
	for {
		at, waits := claim.Deadline()
		if !waits {
			break
		}
		now = at // a real host sleeps, and gives what it receives meanwhile to Receive
		if f, send := claim.Advance(now); send {
			fmt.Printf("%.1f s: asks for %v as %v\n", now.Seconds(), netip.AddrFrom4(f.TargetIP), netip.AddrFrom4(f.SenderIP))
		}
	}
	fmt.Println(claim.State())

	mem := make([]byte, arp.Len)
	another, err := arp.Announcement(ethernet.MustParseMAC("0a:58:0a:60:1e:ff"), [4]byte{10, 96, 30, 11}).Put(mem)
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		now += time.Second
		_, defend := claim.Receive(now, another)
		fmt.Println("defend:", defend, "state:", claim.State(), "because of", claim.ConflictWith())
	}
	// Output:
	// 0.9 s: asks for 10.96.30.11 as 0.0.0.0
	// 2.7 s: asks for 10.96.30.11 as 0.0.0.0
	// 4.5 s: asks for 10.96.30.11 as 0.0.0.0
	// 6.5 s: asks for 10.96.30.11 as 10.96.30.11
	// 8.5 s: asks for 10.96.30.11 as 10.96.30.11
	// held
	// defend: true state: held because of 0a:58:0a:60:1e:ff
	// defend: false state: lost because of 0a:58:0a:60:1e:ff
}
