package ipip_test

import (
	"fmt"
	"log"
	"net/netip"

	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// A health check's ping goes to a backend through a tunnel, over a raw socket: no Ethernet header.
func Example() {
	balancer, backend := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.80")
	e, err := ipip.NewEncapsulator(ipip.EncapConfig{Src: balancer, Dst: backend, Raw: true})
	if err != nil {
		log.Fatal(err)
	}
	d, err := ipip.NewDecapsulator(ipip.DecapConfig{Peers: []netip.Addr{balancer}, Raw: true})
	if err != nil {
		log.Fatal(err)
	}

	echo := icmp.Echo(1, 1).Append(nil, []byte("healthy?"))
	inner := ipv4.Fields{TTL: ipv4.DefaultTTL, Protocol: icmp.Protocol, Src: balancer.As4(), Dst: [4]byte{203, 0, 113, 9}}
	ping, err := inner.Append(nil, len(echo))
	if err != nil {
		log.Fatal(err)
	}
	b := packet.Of(append(ping, echo...))

	if err := e.Encapsulate(b, 1); err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Len(), "bytes on the wire")
	info, err := d.Decapsulate(b)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Len(), "bytes from", netip.AddrFrom4(info.Src()))
	// Output:
	// 56 bytes on the wire
	// 36 bytes from 192.0.2.1
}
