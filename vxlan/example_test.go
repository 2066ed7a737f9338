package vxlan_test

import (
	"fmt"
	"log"
	"net/netip"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/vxlan"
)

// A frame goes into the tunnel on one node and comes out on the other.
func Example() {
	toNode2, err := vxlan.NewEncapsulator(vxlan.EncapConfig{
		VNI:    1,
		Src:    netip.MustParseAddr("172.16.100.101"),
		Dst:    netip.MustParseAddr("172.16.100.102"),
		SrcMAC: ethernet.MustParseMAC("00:50:56:93:6a:3a"),
		DstMAC: ethernet.MustParseMAC("00:50:56:93:63:3b"),
	})
	if err != nil {
		log.Fatal(err)
	}
	onNode2, err := vxlan.NewDecapsulator(vxlan.DecapConfig{Local: netip.MustParseAddr("172.16.100.102")})
	if err != nil {
		log.Fatal(err)
	}

	mac := ethernet.MustParseMAC("fe:90:c4:18:69:a7")
	request := arp.WhoHas([4]byte{10, 0, 0, 2}, mac, [4]byte{10, 0, 0, 1})
	b := packet.Of(request.AppendFrame(nil, ethernet.Broadcast))

	if err := toNode2.Encapsulate(b, 1); err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Len(), "bytes on the wire")

	info, err := onNode2.Decapsulate(b)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Len(), "bytes of VNI", info.VNI(), "from VTEP", netip.AddrFrom4(info.Src()))
	// Output:
	// 92 bytes on the wire
	// 42 bytes of VNI 1 from VTEP 172.16.100.101
}

func ExampleParse() {
	h, frame, err := vxlan.Parse([]byte{0x88, 0, 0, 7, 0, 0x10, 0, 0, 0xca, 0xfe})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("VNI %d, group %d, frame %x\n", h.VNI(), h.GBP().Group, frame)
	// Output: VNI 4096, group 7, frame cafe
}
