package culvert_test

import (
	"encoding/hex"
	"fmt"
	"log"
	"net/netip"

	"github.com/culvert-net/culvert/dissect"
)

// A frame from a Flannel cluster is read through its tunnel: the README's ten lines.
func Example() {
	frame, err := hex.DecodeString(flannelEcho)
	if err != nil {
		log.Fatal(err)
	}

	w, err := dissect.New(dissect.Config{}) // VXLAN on 4789 and 8472, IPIP, any number of VLAN tags
	if err != nil {
		log.Fatal(err)
	}
	var s dissect.Stack // reuse it: a walk allocates nothing
	if err := w.Ethernet(&s, frame); err != nil {
		log.Fatal(err) // names the layer and the byte
	}
	outer, inner := s.Outer(), s.Inner()
	fmt.Println("VNI", outer.VXLAN.VNI(), "of VTEP", netip.AddrFrom4(outer.IPv4.Src()))
	fmt.Println(inner.Flow())
	// Output:
	// VNI 1 of VTEP 172.16.100.101
	// 10.244.1.12 > 10.244.2.14 proto 1
}

// flannelEcho is a ping from pod to pod, captured on the sending node's NIC: 50 bytes of outer headers, 98 of inner frame.
const flannelEcho = "00505693633b005056936a3a08004500" +
	"0086758600004011e3f4ac106465ac10" +
	"64669e90211800720000080000000000" +
	"0100b672ae367b6cfe90c41869a70800" +
	"45000054230540003f01ffa20af4010c" +
	"0af4020e0800847d0c47044e0d1e55cf" +
	"00000000000000000000000000000000" +
	"00000000000000000000000000000000" +
	"00000000000000000000000000000000" +
	"00000000"
