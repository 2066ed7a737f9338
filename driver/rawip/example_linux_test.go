package rawip_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/signal"
	"syscall"

	"github.com/culvert-net/culvert/driver/rawip"
	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/engine"
)

// The end of an IPIP tunnel, which answers pings to 10.0.1.1 from behind 192.0.2.2.
func Example() {
	local, remote := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	d, err := rawip.New(rawip.Config{Local: local, Peers: []netip.Addr{remote}})
	if err != nil {
		fmt.Println(err) // such as that CAP_NET_RAW is missing
		return
	}
	defer d.Close() //nolint:errcheck // at the end of the program
	e, err := engine.New(engine.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := runner.New(e, runner.Config{})
	if _, err := r.Attach(d, engine.Port{Link: engine.Link{Name: "wire", Up: true}}); err != nil {
		fmt.Println(err)
		return
	}
	_ = e.AddAddr("wire", engine.Addr{Prefix: netip.PrefixFrom(local, 24)})
	_, _ = e.AddIPIP(engine.IPIP{Link: engine.Link{Name: "tunnel1", Up: true}, Local: local, Remote: remote})
	_ = e.AddAddr("tunnel1", engine.Addr{Prefix: netip.MustParsePrefix("10.0.1.1/24")})

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println(r.Run(ctx))
}
