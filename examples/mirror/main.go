// Command mirror collects traffic that a cloud or a switch mirrors in VXLAN, and says who talks most.
//
//	instances ──▶ traffic mirror ══ VXLAN, UDP port 4789 ══▶ mirror ─┬─▶ each second: packets, Mbit/s, top talkers
//	              (AWS, Azure, tc mirred)                            └─▶ -w: what was mirrored, as pcapng
//
// It needs no privilege: the driver is an ordinary UDP socket. The same code takes a capture file (-r) apart.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/pcap"
	"github.com/culvert-net/culvert/driver/udp"
)

const usage = `Usage: mirror [-listen ADDR:PORT | -r FILE] [-w FILE] [-n FLOWS] [-every TIME]

Sums up traffic that is mirrored in VXLAN, flow by flow.

  go run ./examples/mirror                        listens on UDP port 4789 of all addresses
  go run ./examples/mirror -listen 10.0.0.5:8472  on one address, with Linux's port
  go run ./examples/mirror -r capture.pcapng      reads a capture of the outer packets instead
  tcpdump -r inner.pcapng                         shows what -w inner.pcapng has written

`

// options are those of the command line.
type options struct {
	listen      netip.AddrPort
	read, write string
	top         int
	every       time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mirror:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := options{listen: netip.AddrPortFrom(netip.IPv4Unspecified(), 4789)}
	f := flag.NewFlagSet("mirror", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, usage); f.PrintDefaults() }
	f.TextVar(&o.listen, "listen", o.listen, "`address:port` of the mirror's target")
	f.StringVar(&o.read, "r", "", "read a capture `file`; its UDP port is -listen's")
	f.StringVar(&o.write, "w", "", "write the mirrored packets to a pcapng `file`")
	f.IntVar(&o.top, "n", 10, "how many flows to show")
	f.DurationVar(&o.every, "every", time.Second, "how often to report")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected %q; -h tells what there is", f.Arg(0))
	}
	if o.every <= 0 || o.top < 0 {
		return errors.New("-every must be more than 0, -n not less")
	}
	return mirror(ctx, o, stdout)
}

// mirror collects until ctx is done or the capture ends.
func mirror(ctx context.Context, o options, stdout io.Writer) (err error) {
	in, err := source(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := target(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	c, err := newCollector(o.listen.Port(), in.Link().Raw)
	if err != nil {
		return err
	}
	return c.collect(ctx, in, out, o, stdout)
}

// source is where packets come from.
func source(o options) (driver.Driver, error) {
	if o.read == "" {
		c := udp.Config{Port: o.listen.Port()}
		if a := o.listen.Addr(); !a.IsUnspecified() {
			c.Local = a
		}
		return udp.New(c)
	}
	f, err := os.Open(o.read)
	if err != nil {
		return nil, err
	}
	d, err := pcap.New(pcap.Config{Reader: f})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.read, err)
	}
	return d, nil
}

// target is where mirrored packets go.
func target(o options) (driver.Driver, error) {
	if o.write == "" {
		return pcap.New(pcap.Config{Writer: io.Discard})
	}
	f, err := os.Create(o.write)
	if err != nil {
		return nil, err
	}
	return pcap.New(pcap.Config{Writer: f, Name: "mirror"})
}
