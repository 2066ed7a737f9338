package udp_test

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/udp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/vxlan"
)

// A collector of VXLAN traffic, which needs no privilege.
func Example() {
	d, err := udp.New(udp.Config{Local: netip.MustParseAddr("127.0.0.1"), Port: 47890})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close() //nolint:errcheck // at the end of the example
	sendFrame("127.0.0.1:47890")

	decapsulator, err := vxlan.NewDecapsulator(vxlan.DecapConfig{Raw: true, DstPort: 47890})
	if err != nil {
		fmt.Println(err)
		return
	}
	batch := make([]*packet.Buffer, driver.BatchSize)
	n, err := d.Queues()[0].Receive(batch, time.Minute)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, b := range batch[:n] {
		outer, _, err := ipv4.Parse(b.Bytes())
		if err != nil {
			fmt.Println(err)
			return
		}
		from := netip.AddrFrom4(outer.Src())
		info, err := decapsulator.Decapsulate(b)
		fmt.Println(from, info.VNI(), b.Len(), err)
		b.Free()
	}
	// Output: 127.0.0.1 42 60 <nil>
}

// sendFrame sends an empty frame of VNI 42.
func sendFrame(to string) {
	c, err := net.Dial("udp4", to)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close() //nolint:errcheck // nothing is lost with it
	const frame = 60
	p, _ := vxlan.Fields{VNI: 42}.Append(nil)
	if _, err := c.Write(append(p, make([]byte, frame)...)); err != nil {
		fmt.Println(err)
	}
}
