// Package arpingcmd is arping 2.23 by Thomas Habets, the Debian package of that name. The files: this one has the loop, options.go
// the command line, frames.go what is sent and received.
package arpingcmd

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"arping": run} }

// arping is one call of the command.
type arping struct {
	p *proc.Proc
	o options

	srcMAC, dstMAC ethernet.MAC
	srcIP, dstIP   netip.Addr

	tap     *network.Tap
	arrived proc.Event
	queue   []received

	sent, received int
	lastSent       time.Duration
	lastMAC        ethernet.MAC // of the last answer
	duplicate      bool         // answers came from different stations

	shortest, longest, sum time.Duration
	squares                float64
}

// received is an answer.
type received struct {
	at     time.Duration
	length int
	mac    ethernet.MAC
	ip     netip.Addr
	seq    uint16 // of ICMP
}

func run(p *proc.Proc, args []string) int {
	a := &arping{p: p, dstIP: broadcastIP, dstMAC: ethernet.Broadcast}
	if status, ok := a.options(args); !ok {
		return status
	}
	if status, ok := a.device(); !ok {
		return status
	}
	tap, err := p.Node.Tap(a.o.device, a.see)
	if err != nil {
		return p.Fail(1, "arping: pcap_open_live(): %v", err)
	}
	a.tap = tap
	err = a.loop()
	if closed := tap.Close(); closed != nil {
		return p.Fail(1, "arping: %v", closed)
	}
	if err != nil {
		if sig, caught := p.Catch(err); !caught || sig != proc.SIGINT {
			return p.Killed(err)
		}
	}
	a.statistics()
	if a.o.duplicates && a.duplicate || !a.o.duplicates && a.received == 0 {
		return 1
	}
	return 0
}

// device chooses the device, and the addresses to send from.
func (a *arping) device() (status int, ok bool) {
	n := a.p.Node
	if a.o.device == "" {
		a.o.device = deviceOf(n, a.dstIP)
		if a.o.device == "" {
			fmt.Fprintln(a.p.Stderr, "arping: lookup dev: No matching interface found using getifaddrs().")
			if a.o.device = firstDevice(n); a.o.device == "" {
				return a.p.Fail(1, "arping: Gave up looking for interface to use: no suitable device found"), false
			}
			fmt.Fprintf(a.p.Stderr, "arping: Unable to automatically find interface to use. Is it on the local LAN?\n"+
				"arping: Use -i to manually specify interface. Guessing interface %s.\n", a.o.device)
		}
	}
	name := a.o.device
	info, found := n.E.Link(name)
	switch {
	case !found:
		return a.p.Fail(1, "arping: libnet_init(LIBNET_LINK, %s): libnet_check_iface() ioctl: No such device", name), false
	case !info.Up:
		return a.p.Fail(1, "arping: libnet_init(LIBNET_LINK, %s): libnet_check_iface(): %s is down", name, name), false
	}
	if a.srcMAC.IsZero() {
		a.srcMAC = info.MAC
	}
	addrs := n.E.Addrs(name)
	if a.o.ownIP && len(addrs) > 0 {
		a.dstIP = addrs[0].Prefix.Addr()
		a.o.target = a.dstIP.String()
	}
	if !a.srcIP.IsValid() {
		if len(addrs) == 0 {
			return a.p.Fail(1, "arping: Unable to get the IPv4 address of interface %s:\n"+
				"arping: libnet_get_ipaddr4(): ioctl(): Cannot assign requested address\n"+
				"arping: Use -S to specify address manually.", name), false
		}
		a.srcIP = addrs[0].Prefix.Addr()
	}
	if a.o.verbose {
		own := broadcastIP
		if len(addrs) > 0 {
			own = addrs[0].Prefix.Addr()
		}
		a.p.Printf("This box:   Interface: %s  IP: %s   MAC address: %s\n", name, own, a.srcMAC)
	}
	if a.o.display == displayNormal {
		a.p.Printf("ARPING %s\n", a.o.target)
	}
	return 0, true
}

// deviceOf returns the device on whose subnet an address is, "" if there is none.
func deviceOf(n *network.Node, a netip.Addr) string {
	for _, l := range n.E.Links() {
		for _, own := range n.E.Addrs(l.Name) {
			if l.Up && own.Prefix.Contains(a) {
				return l.Name
			}
		}
	}
	return ""
}

func firstDevice(n *network.Node) string {
	for _, l := range n.E.Links() {
		if l.Up && l.Kind != engine.KindLoopback {
			return l.Name
		}
	}
	return ""
}

// errEnough says that -C answers have come.
var errEnough = errors.New("arping: enough answers")

// loop sends and receives until the end.
func (a *arping) loop() error {
	end := proc.Forever
	if a.o.deadline >= 0 {
		end = a.p.Now() + a.o.deadline
	}
	for i := 0; a.o.count < 0 || i < a.o.count; i++ {
		if err := a.send(uint16(i)); err != nil {
			a.p.Errorf("arping: libnet_write(): %s", words.Errno(err))
			return nil
		}
		wait := min(a.o.wait, end-a.p.Now())
		if wait <= 0 {
			return nil
		}
		if err := a.receive(a.p.Now() + wait); err != nil {
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		}
	}
	return nil
}

// receive takes answers until a time.
func (a *arping) receive(until time.Duration) error {
	before := a.received
	for {
		for _, r := range a.queue {
			if a.take(r); a.received >= a.o.replies {
				return errEnough
			}
		}
		a.queue = nil
		err := a.p.Wait(until, &a.arrived)
		if errors.Is(err, proc.ErrDeadline) {
			a.timeout(before)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// timeout says that no answer came since there were so many.
func (a *arping) timeout(before int) {
	if a.received > before {
		return
	}
	if a.o.beepTimeout {
		a.p.Printf("\a")
	}
	switch a.o.display {
	case displayNormal:
		a.p.Printf("Timeout\n")
	case displayDot:
		a.p.Printf(".")
	}
}

// take counts and prints an answer.
func (a *arping) take(r received) {
	took := r.at - a.lastSent
	if a.received == 0 {
		a.shortest = took
	}
	a.shortest, a.longest, a.sum = min(a.shortest, took), max(a.longest, took), a.sum+took
	a.squares += took.Seconds() * took.Seconds()
	if a.o.beep {
		a.p.Printf("\a")
	}
	a.print(r, took)
	a.duplicate = a.duplicate || a.received > 0 && r.mac != a.lastMAC
	a.lastMAC = r.mac
	a.received++
}

func (a *arping) print(r received, took time.Duration) {
	first, second := r.mac.String(), r.ip.String()
	if a.o.pingMAC {
		first, second = second, first
	}
	switch a.o.display {
	case displayDot:
		a.p.Printf("!")
	case displayRaw:
		a.p.Printf("%s\n", first)
	case displayReverse:
		a.p.Printf("%s\n", second)
	case displayBoth:
		a.p.Printf("%s %s\n", r.mac, r.ip)
	case displayNormal:
		a.p.Printf("%d bytes from %s (%s): ", r.length, first, second)
		switch {
		case a.o.pingMAC:
			a.p.Printf("icmp_seq=%d", r.seq)
		case a.o.total:
			a.p.Printf("index=%d/%d", a.received, a.sent-1)
		default:
			a.p.Printf("index=%d", a.received)
		}
		a.p.Printf(" time=%s\n", short(took))
	}
}

// short is a time with a unit that fits.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.3f usec", float64(d)/float64(time.Microsecond))
	case d < time.Second:
		return fmt.Sprintf("%.3f msec", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.3f sec", d.Seconds())
}

// statistics prints the summary.
func (a *arping) statistics() {
	lost := 100 - 100*float64(a.received)/float64(a.sent)
	text, extra := fmt.Sprintf("%3.0f", max(0, lost)), 0
	if a.sent == 0 {
		text = "-nan"
	} else if lost < 0 {
		extra = a.received - a.sent
	}
	switch a.o.display {
	case displayDot:
		a.p.Printf("\t%s%% packet loss (%d extra)\n", text, extra)
	case displayNormal:
		a.p.Printf("\n--- %s statistics ---\n%d packets transmitted, %d packets received, %s%% unanswered (%d extra)\n",
			a.o.target, a.sent, a.received, text, extra)
		if a.received > 0 {
			const ms = 1000
			mean := a.sum.Seconds() / float64(a.received)
			deviation := math.Sqrt(max(0, a.squares/float64(a.received)-mean*mean))
			a.p.Printf("rtt min/avg/max/std-dev = %.3f/%.3f/%.3f/%.3f ms",
				ms*a.shortest.Seconds(), ms*mean, ms*a.longest.Seconds(), ms*deviation)
		}
		a.p.Printf("\n")
	}
}
