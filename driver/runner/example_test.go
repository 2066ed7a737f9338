package runner_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/packet"
)

// Two nodes on a wire: one pings the other.
func Example() {
	left, right, err := memory.NewPair(memory.Config{})
	if err != nil {
		log.Fatal(err)
	}
	answered := make(chan string)
	local := func(_ *engine.Worker, d engine.Delivery) bool {
		answered <- fmt.Sprintf("%v answers", netip.AddrFrom4(d.Header.Src()))
		d.Buffer.Free()
		return true
	}
	ctx, cancel := context.WithCancel(context.Background())
	nodes := []*runner.Runner{
		newNode(left, "192.0.2.1/24", engine.Config{Local: local}),
		newNode(right, "192.0.2.2/24", engine.Config{}),
	}
	ended := make(chan error)
	for _, r := range nodes {
		go func() { ended <- r.Run(ctx) }()
	}

	echo := packet.Of([]byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0})
	if err := nodes[0].Send(echo, engine.Send{Dst: netip.MustParseAddr("192.0.2.2"), Protocol: 1}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-answered)

	cancel()
	for range nodes {
		if err := <-ended; err != nil {
			log.Fatal(err)
		}
	}
	// Output: 192.0.2.2 answers
}

// newNode returns a node with one port.
func newNode(d *memory.Driver, addr string, c engine.Config) *runner.Runner {
	e, err := engine.New(c)
	if err != nil {
		log.Fatal(err)
	}
	r := runner.New(e, runner.Config{})
	if _, err := r.Attach(d, engine.Port{Link: engine.Link{Name: "eth0", Up: true}}); err != nil {
		log.Fatal(err)
	}
	if err := e.AddAddr("eth0", engine.Addr{Prefix: netip.MustParsePrefix(addr)}); err != nil {
		log.Fatal(err)
	}
	return r
}
