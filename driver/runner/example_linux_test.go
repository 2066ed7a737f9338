package runner_test

import (
	"context"
	"log"
	"net/netip"
	"os"
	"os/signal"

	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/engine"
)

// A host of its own on the wire of eth1, beside what the kernel does there.
func ExampleRunner_Attach() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	e, err := engine.New(engine.Config{})
	if err != nil {
		log.Fatal(err)
	}

	d, err := afpacket.New(afpacket.Config{Device: "eth1"}) // CAP_NET_RAW
	if err != nil {
		log.Fatal(err)
	}
	r := runner.New(e, runner.Config{}) // e is the engine; all its calls can be made while it runs
	if _, err := r.Attach(d, engine.Port{Link: engine.Link{Up: true}}); err != nil {
		log.Fatal(err)
	}
	if err := e.AddAddr("eth1", engine.Addr{Prefix: netip.MustParsePrefix("192.0.2.1/24")}); err != nil {
		log.Fatal(err)
	}
	err = r.Run(ctx) // answers ARP and ping, and forwards, until ctx is done
	if err != nil {
		log.Fatal(err)
	}
}
