package arpingcmd

// The command line.

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/lab/internal/getopt"
)

// display is how answers are shown.
type display uint8

const (
	displayNormal  display = iota
	displayQuiet           // -q
	displayDot             // -D
	displayRaw             // -r: the answer alone
	displayReverse         // -R: the question alone
	displayBoth            // -r -R
)

// options are what the command line says.
type options struct {
	device      string
	target      string
	count       int           // -c; negative: no end
	replies     int           // -C
	wait        time.Duration // -W
	deadline    time.Duration // -w; negative: none
	display     display
	beep        bool // -a
	beepTimeout bool // -e
	duplicates  bool // -d
	ownIP       bool // -d without an address
	unsolicited bool // -U
	reply       bool // -P
	promisc     bool // -p
	sameIP      bool // -A
	total       bool // -u
	verbose     bool
	pingMAC     bool // the target is a MAC address
}

const usage = `ARPing 2.23, by Thomas Habets <thomas@habets.se>
usage: arping [ -0aAbdDeFpPqrRuUvzZ ] [ -w <sec> ] [ -W <sec> ] [ -S <host/ip> ]
              [ -T <host/ip ] [ -s <MAC> ] [ -t <MAC> ] [ -c <count> ]
              [ -C <count> ] [ -i <interface> ] [ -m <type> ] [ -g <group> ]
              [ -V <vlan> ] [ -Q <priority> ] <host/ip/MAC | -B>
For complete usage info, use --help or check the manpage.`

// Options of arping, those of them that are refused, and how long it waits for an answer.
const (
	shortOptions = "0aAbBC:c:dDeFg:hi:I:m:pPqQ:rRs:S:t:T:uUvV:w:W:zZ"
	notSupported = "mQV"
	defaultWait  = time.Second
)

var (
	broadcastIP = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	defaultDups = 3 // -c, where duplicates are looked for
)

// options reads the command line; false: the command has ended with that status.
func (a *arping) options(args []string) (status int, ok bool) {
	a.o = options{count: -1, replies: math.MaxInt, wait: defaultWait, deadline: -1}
	found, operands, err := getopt.Parse(args, shortOptions, nil)
	if err != nil {
		a.p.Errorf("arping: %v", err)
		a.p.Printf("%s\n", usage)
		return 1, false
	}
	var last seen
	for _, f := range found {
		switch {
		case f.Name == "h":
			a.p.Printf("%s\n", usage)
			return 0, false
		case strings.Contains(notSupported, f.Name):
			return a.p.Fail(1, "arping: option -%s is not supported in the lab", f.Name), false
		}
		if err := a.option(f.Name, f.Value, &last); err != nil {
			return a.p.Fail(1, "%v", err), false
		}
	}
	if a.o.duplicates && a.o.count < 0 {
		a.o.count = defaultDups
	}
	if len(operands) > 1 {
		return a.p.Fail(1, "arping: Too many args on command line. Expected at most one."), false
	}
	return a.target(operands, last)
}

// seen are options that do not go together.
type seen struct{ dstIP, broadcast, dstMAC bool }

// option takes one option. The errors are whole.
func (a *arping) option(name, value string, last *seen) (err error) {
	o := &a.o
	switches := map[string]*bool{
		"a": &o.beep, "A": &o.sameIP, "d": &o.duplicates, "e": &o.beepTimeout, "p": &o.promisc, "P": &o.reply, "u": &o.total,
		"U": &o.unsolicited, "v": &o.verbose,
	}
	switch name {
	case "0":
		a.srcIP = netip.IPv4Unspecified()
	case "b":
		a.srcIP = broadcastIP
	case "B":
		a.dstIP, last.broadcast = broadcastIP, true
	case "c":
		o.count = atoi(value)
	case "C":
		o.replies = atoi(value)
	case "D":
		o.display = displayDot
	case "q":
		o.display = displayQuiet
	case "r", "R":
		a.raw(name)
	case "i", "I":
		o.device = value
	case "s":
		if a.srcMAC, err = ethernet.ParseMAC(value); err != nil {
			return fmt.Errorf("arping: Weird MAC addr %s", value)
		}
	case "S":
		if a.srcIP, err = netip.ParseAddr(value); err != nil {
			return fmt.Errorf("arping: Can't resolve %s, or %s is broadcast. If it is, use -b instead of -S", value, value)
		}
	case "t":
		last.dstMAC = true
		if a.dstMAC, err = ethernet.ParseMAC(value); err != nil {
			return fmt.Errorf("Illegal MAC addr %s", value) //nolint:staticcheck // arping's words
		}
	case "T":
		last.dstIP = true
		if a.dstIP, err = netip.ParseAddr(value); err != nil {
			return fmt.Errorf("arping: Can't resolve %s, or %s is broadcast. If it is, use -B instead of -T", value, value)
		}
	case "w":
		o.deadline = seconds(value)
	case "W":
		o.wait = seconds(value)
	default:
		if s := switches[name]; s != nil {
			*s = true
		}
	}
	return nil
}

// raw takes -r and -R, which together show both addresses.
func (a *arping) raw(name string) {
	one, other := displayRaw, displayReverse
	if name == "R" {
		one, other = other, one
	}
	if a.o.display == other {
		one = displayBoth
	}
	a.o.display = one
}

// atoi is C's: what is no number is 0.
func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

func seconds(s string) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return time.Duration(f * float64(time.Second))
}

// target reads what is to be pinged: an IP address, a MAC address, or with -B or -d nothing.
func (a *arping) target(operands []string, last seen) (status int, ok bool) {
	pingIP := last.dstMAC || a.o.unsolicited || last.broadcast
	switch {
	case last.dstIP && pingIP:
		return a.p.Fail(1, "arping: -T can only be used to ping MAC and -BtU only to ping IPs"), false
	case len(operands) == 0 && last.broadcast:
		a.o.target = broadcastIP.String()
		return 0, true
	case len(operands) == 0 && a.o.duplicates:
		a.o.ownIP = true
		return 0, true
	case len(operands) == 0:
		a.p.Printf("%s\n", usage)
		return 1, false
	}
	a.o.target = operands[0]
	if mac, err := ethernet.ParseMAC(operands[0]); err == nil {
		if pingIP {
			return a.p.Fail(1, "arping: Options given only apply to IP ping, but MAC address given as argument"), false
		}
		a.dstMAC, a.o.pingMAC = mac, true
		return 0, true
	}
	if last.dstIP {
		return a.p.Fail(1, "arping: Options given only apply to MAC ping, but no MAC address given as argument"), false
	}
	ip, err := netip.ParseAddr(operands[0])
	if err != nil || !ip.Is4() {
		return a.p.Fail(1, "arping: Can't resolve %s", operands[0]), false
	}
	a.dstIP = ip
	return 0, true
}
