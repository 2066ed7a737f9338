// Command healthcheck asks backends whether they answer, through the tunnel by which a load balancer sends to them: so it finds out
// about the tunnel's end and the virtual address there, too, and not only about the service.
//
//	healthcheck                                                      backend
//	probe: 192.168.99.9 > VIP ── ipip ── eth0 ═══ wire ═══ 192.168.99.2: takes the outer header off, and VIP is its own
//	                                      ▲                            │
//	                                      └── VIP > 192.168.99.9 ──────┘ answers past the tunnel (direct server return)
//
//	probe: 10.42.0.9 > 10.42.0.3 ── vx42 ─ eth0 ═ wire ═ 192.168.99.3 ── its VXLAN device, which has 10.42.0.3; so come answers
//
// It is a station of its own on the wire, with a MAC and an IP address that the machine has not got: an engine behind packet
// sockets. So the machine's own network stack does not see the answers, nor refuses them.
//
// This file is the command line and the verdicts; station.go is the engine and its tunnels; probe.go what is sent and what counts as
// an answer.
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
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-net/culvert/vxlan"
)

const usage = `healthcheck asks backends whether they answer, through IPIP and VXLAN tunnels:

    healthcheck -dev D -addr A/L [-overlay VNI=A/L] TARGET…

A TARGET is TUNNEL/CHECK. A tunnel is ipip:BACKEND or vxlan:BACKEND, with the backend's address on the wire; a check is icmp:ADDRESS
(an echo is answered), tcp:ADDRESS:PORT (SYN is answered by SYN and ACK, and then reset) or udp:ADDRESS:PORT (there is any answer).

    healthcheck -dev eth0 -addr 192.168.99.9/24 ipip:192.168.99.2/tcp:203.0.113.10:80
    healthcheck -dev eth0 -addr 192.168.99.9/24 -overlay 42=10.42.0.9/24 vxlan:192.168.99.3/icmp:10.42.0.3

A line says when a target has changed: UP after -rise answers in a row, DOWN after -fall failures. It needs CAP_NET_RAW, and ends
with ^C or after -n rounds; its exit status is 0 if all are up then. namespaces.sh, beside this file's source, shows it at work.

Options:
`

// options are the command line's.
type options struct {
	device            string
	addr              netip.Prefix
	gateway           netip.Addr
	overlay           overlay
	port              uint16 // of VXLAN
	interval, timeout time.Duration
	rise, fall        int
	rounds            int
	targets           []*target
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main, of any files.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "healthcheck:", err)
		return 2
	}
	s, err := newStation(o)
	if err != nil {
		fmt.Fprintln(stderr, "healthcheck:", err)
		return 2
	}
	up, err := watch(ctx, s, o, stdout)
	if err := errors.Join(err, s.close()); err != nil {
		fmt.Fprintln(stderr, "healthcheck:", err)
		return 2
	}
	if !up {
		return 1
	}
	return 0
}

// parse reads the command line.
func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("healthcheck", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.device, "dev", "", "the machine's `DEVICE` that leads to the backends")
	flags.TextVar(&o.addr, "addr", netip.Prefix{}, "`ADDRESS/LENGTH` to send from, which the machine itself must not have")
	flags.TextVar(&o.gateway, "gateway", netip.Addr{}, "`ADDRESS` of the router to backends on other subnets")
	flags.Var(&o.overlay, "overlay", "`VNI=ADDRESS/LENGTH` to send from in the VXLAN")
	port := flags.Uint("port", uint(vxlan.Port), "UDP `PORT` of VXLAN; Linux's own default is 8472")
	flags.DurationVar(&o.interval, "interval", time.Second, "time between probes of a target")
	flags.DurationVar(&o.timeout, "timeout", 500*time.Millisecond, "time to wait for an answer")
	flags.IntVar(&o.rise, "rise", 2, "answers in a row that bring a target up")
	flags.IntVar(&o.fall, "fall", 3, "failures in a row that bring it down")
	flags.IntVar(&o.rounds, "n", 0, "end after so many probes of each target; 0: never")
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.port = uint16(*port)
	var errs []error
	for _, text := range flags.Args() {
		t, err := parseTarget(text)
		if err == nil && t.tunnel == "vxlan" && o.overlay == (overlay{}) {
			err = fmt.Errorf("%s: needs -overlay", text)
		}
		errs = append(errs, err)
		o.targets = append(o.targets, t)
	}
	if o.device == "" || !o.addr.Addr().Is4() || len(o.targets) == 0 || o.overlay != (overlay{}) && !o.overlay.addr.Addr().Is4() {
		errs = append(errs, errors.New("want -dev, -addr and a target; -h tells more"))
	}
	return o, errors.Join(errs...)
}

// overlay is the value of -overlay.
type overlay struct {
	vni  uint32
	addr netip.Prefix
}

func (o *overlay) String() string { return "" }

func (o *overlay) Set(text string) error {
	vni, addr, _ := strings.Cut(text, "=")
	if _, err := fmt.Sscan(vni, &o.vni); err != nil {
		return err
	}
	p, err := netip.ParsePrefix(addr)
	o.addr = p
	return err
}

// watch probes the targets, each in its own time, and prints what has changed. It reports whether all are up in the end.
func watch(ctx context.Context, s *station, o options, out io.Writer) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var probing sync.WaitGroup
	changes := make(chan string)
	for _, t := range o.targets {
		probing.Go(func() { t.watch(ctx, s, o, changes) })
	}
	go func() {
		probing.Wait()
		close(changes)
	}()
	var err error
	for line := range changes {
		if _, failed := fmt.Fprintln(out, line); failed != nil && err == nil {
			err = failed
			cancel()
		}
	}
	up := true
	for _, t := range o.targets {
		up = up && t.up
	}
	return up, err
}

// watch probes one target until ctx is done or the rounds are over.
func (t *target) watch(ctx context.Context, s *station, o options, changes chan<- string) {
	ticker := time.NewTicker(o.interval)
	defer ticker.Stop()
	known, row := false, 0 // its state has been told; results in a row that say otherwise
	for round := 1; o.rounds == 0 || round <= o.rounds; round++ {
		took, err := s.probe(ctx, t, o.timeout)
		if ctx.Err() != nil {
			return
		}
		enough := o.rise
		if err != nil {
			enough = o.fall
		}
		if row++; known && (err == nil) == t.up {
			row = 0
		}
		if row >= enough {
			known, row, t.up = true, 0, err == nil
			changes <- t.line(took, err)
		}
		if round == o.rounds {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// line is what is printed of a target that has changed.
func (t *target) line(took time.Duration, err error) string {
	now := time.Now().Format("15:04:05.000")
	if err != nil {
		return fmt.Sprintf("%s DOWN %s: %v", now, t.text, err)
	}
	return fmt.Sprintf("%s UP   %s: answered within %v", now, t.text, took.Round(time.Microsecond))
}
