package afpacket_test

import (
	"fmt"
	"log"
	"net/netip"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/packet"
)

// A program that takes VXLAN off the host's own address: the kernel neither decapsulates it nor answers that nobody listens.
func Example() {
	vxlan := &afpacket.Filter{
		Hosts:    []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		UDPPorts: []uint16{8472},
	}
	d, err := afpacket.New(afpacket.Config{Device: "eth0", Filter: vxlan, Steal: vxlan})
	if err != nil {
		log.Fatal(err) // such as: afpacket: a packet socket needs CAP_NET_RAW: run as root, or …
	}
	defer func() { _ = d.Close() }()
	batch := make([]*packet.Buffer, driver.BatchSize)
	for {
		n, err := d.Queues()[0].Receive(batch, driver.Forever)
		if err != nil {
			log.Print(err) // of the moment, such as: the device is down
			continue
		}
		for _, b := range batch[:n] {
			fmt.Printf("%d bytes, to be cut: %v\n", b.Len(), b.IsSuperframe())
			b.Free()
		}
	}
}

// All faults of a configuration are reported at once.
func ExampleNew() {
	_, err := afpacket.New(afpacket.Config{
		Queues: 1000,
		Filter: &afpacket.Filter{VLANs: []uint16{4095}},
	})
	fmt.Println(err)
	// Output:
	// afpacket: Config.Device is "": want the name of a network device, 1 to 15 bytes
	// afpacket: Config.Queues is 1000: want 1 to 64, or 0 for 1
	// afpacket: Config.Filter: VLANs has 4095: want 0 to 4094
}
