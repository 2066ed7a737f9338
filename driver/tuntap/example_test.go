package tuntap_test

import (
	"log"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/packet"
)

// A TAP device whose frames all go back to where they came from. It needs CAP_NET_ADMIN.
func ExampleNew() {
	d, err := tuntap.New(tuntap.Config{Name: "tap%d", MTU: 1450, Up: true})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	log.Printf("%s takes %v", d.Link().Name, d.Link().Offloads)

	q := d.Queues()[0]
	for batch := make([]*packet.Buffer, driver.BatchSize); ; {
		n, err := q.Receive(batch, driver.Forever)
		if err != nil {
			return
		}
		if err := q.Send(batch[:n]); err != nil {
			log.Print(err) // of the first packet that was not sent
		}
	}
}
