// Command proxyarp answers ARP requests on a device for addresses that are behind other devices of the machine, like the kernel's
// proxy_arp, but for the addresses that it is told. It is what Calico's host needs on a pod's device, in a program of your own.
//
//	┌ pod ──────────────────────────┐      ┌ host ─────────────────────────────┐
//	│ 10.96.30.11/32                │      │ proxyarp -dev cali0 169.254.1.1   │
//	│ default via 169.254.1.1 eth0 ─┼──────┼─ cali0        forwards to ────────┼─▶ everybody else
//	└───────────────────────────────┘      └───────────────────────────────────┘
//
// A packet socket whose filter in the kernel passes ARP about these addresses alone, and an arp.Responder: that is all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

const usage = `Usage: proxyarp -dev DEVICE [-mac MAC] [-delay TIME] [-v] ADDRESS|PREFIX ...

Answers ARP requests on DEVICE for the addresses, until it is interrupted. It needs CAP_NET_RAW.

  proxyarp -dev cali0 169.254.1.1              the pods' gateway, as Calico has it
  proxyarp -dev eth1 -delay 800ms 10.9.0.0/24  a subnet elsewhere; its owners may answer first
  examples/proxyarp/namespaces.sh              builds a pod and its host, and tries it

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "proxyarp:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c arp.ResponderConfig
	f := flag.NewFlagSet("proxyarp", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, usage); f.PrintDefaults() }
	dev := f.String("dev", "", "answer on this `device`")
	f.TextVar(&c.MAC, "mac", ethernet.MAC{}, "answer with this `MAC` address; the device's if all zero")
	f.DurationVar(&c.ProxyDelay, "delay", 0, "answer after a random time below this")
	verbose := f.Bool("v", false, "say what becomes of each request")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *dev == "" || f.NArg() == 0 {
		return errors.New("-dev and at least one address are needed; -h tells more")
	}
	for _, a := range f.Args() {
		p, err := prefix(a)
		if err != nil {
			return err
		}
		c.ProxyFor = append(c.ProxyFor, p)
	}
	if !*verbose {
		stdout = io.Discard
	}

	d, err := afpacket.New(afpacket.Config{Device: *dev, Filter: filter(c.ProxyFor)})
	if err != nil {
		return err
	}
	if c.MAC.IsZero() {
		c.MAC = d.Link().MAC
	}
	r, err := arp.NewResponder(c)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	fmt.Fprintf(stderr, "proxyarp: %v answers on %s for %v\n", c.MAC, *dev, c.ProxyFor)
	return errors.Join(answer(ctx, d, r, stdout), d.Close())
}

// prefix reads an address or a prefix.
func prefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(s); err == nil {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	if err != nil || !p.Addr().Is4() {
		return p, fmt.Errorf("%q is no IPv4 address or prefix", s)
	}
	return p, nil
}

// filter lets the kernel pass what the responder may answer: ARP about single addresses, or all of ARP.
func filter(prefixes []netip.Prefix) *afpacket.Filter {
	f := &afpacket.Filter{}
	for _, p := range prefixes {
		if !p.IsSingleIP() {
			return &afpacket.Filter{EtherTypes: []uint16{ethernet.TypeARP}}
		}
		f.ARP = append(f.ARP, p.Addr())
	}
	return f
}

// answer answers what d receives until ctx is done.
func answer(ctx context.Context, d driver.Driver, r *arp.Responder, log io.Writer) error {
	q, start := d.Queues()[0], time.Now()
	defer context.AfterFunc(ctx, q.Interrupt)()
	batch := make([]*packet.Buffer, driver.BatchSize)
	reply := make([]byte, 0, arp.FrameLen)
	for ctx.Err() == nil {
		wait := driver.Forever
		if at, ok := r.Deadline(); ok {
			wait = max(0, at-time.Since(start))
		}
		n, err := q.Receive(batch, wait)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // the device is down, or gone: it may come back
			fmt.Fprintln(log, err)
		}
		now, k := time.Since(start), 0
		for _, b := range batch[:n] {
			var verdict arp.Verdict
			reply, verdict = r.Respond(reply[:0], b.Bytes(), now)
			note(log, b.Bytes(), verdict)
			if verdict != arp.Answered || b.SetBytes(reply) != nil {
				b.Free()
				continue
			}
			batch[k] = b // goes back as its own answer
			k++
		}
		for {
			due, ok := r.Due(reply[:0], now)
			if !ok {
				break
			}
			batch = append(batch[:k], packet.Of(due))
			k++
		}
		if err := q.Send(batch[:k]); err != nil {
			fmt.Fprintln(log, err)
		}
		batch = batch[:cap(batch)]
	}
	return nil
}

// note says what becomes of a request.
func note(log io.Writer, frame []byte, verdict arp.Verdict) {
	if log == io.Discard {
		return
	}
	_, payload, err := ethernet.Parse(frame)
	if err != nil {
		return
	}
	if p, err := arp.Parse(payload); err == nil {
		fmt.Fprintf(log, "%v (%v) asks for %v: %v\n",
			netip.AddrFrom4(p.SenderIP()), p.SenderMAC(), netip.AddrFrom4(p.TargetIP()), verdict)
	}
}
