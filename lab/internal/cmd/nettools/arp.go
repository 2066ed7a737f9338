package nettools

// arp.

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	neighbours "github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/proc"
)

// Exit statuses of arp.
const (
	arpUsage  = 3
	arpFailed = 255
)

const arpHelp = `Usage:
  arp [-vn]  [<HW>] [-i <if>] [-a] [<hostname>]             <-Display ARP cache
  arp [-v]          [-i <if>] -d  <host> [pub]               <-Delete ARP entry
  arp [-vnD] [<HW>] [-i <if>] -f  [<filename>]            <-Add entry from file
  arp [-v]   [<HW>] [-i <if>] -s  <host> <hwaddr> [temp]            <-Add entry
  arp [-v]   [<HW>] [-i <if>] -Ds <host> <if> [netmask <nm>] pub          <-''-

        -a                       display (all) hosts in alternative (BSD) style
        -e                       display (all) hosts in default (Linux) style
        -s, --set                set a new ARP entry
        -d, --delete             delete a specified entry
        -v, --verbose            be verbose
        -n, --numeric            don't resolve names
        -i, --device             specify network interface (e.g. eth0)
        -D, --use-device         read <hwaddr> from given device
        -A, -p, --protocol       specify protocol family
        -f, --file               read new entries from file or from /etc/ethers

  <HW>=Use '-H <hw>' to specify hardware address type. Default: ether
  List of possible hardware types (which support ARP):
    ash (Ash) ether (Ethernet) ax25 (AMPR AX.25) 
    netrom (AMPR NET/ROM) rose (AMPR ROSE) arcnet (ARCnet) 
    dlci (Frame Relay DLCI) fddi (Fiber Distributed Data Interface) hippi (HIPPI) 
    irda (IrLAP) x25 (generic X.25) eui64 (Generic EUI-64) 
`

// arpCall is one call of the command.
type arpCall struct {
	p       *proc.Proc
	do      byte // a, s, d or f; 0: show as Linux does
	dev     string
	useDev  bool // -D: the hardware address is that of a device
	verbose bool
}

// arp is the command.
func arp(p *proc.Proc, args []string) int {
	c := &arpCall{p: p}
	rest, err := c.options(args)
	if err == nil {
		err = c.run(rest)
	}
	var wrong *refusal
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		return p.Fail(wrong.status, "%s", wrong.text)
	}
	return p.Fail(arpFailed, "SIOCSARP: %s", words.Errno(err))
}

func arpError(format string, args ...any) error {
	return &refusal{arpFailed, fmt.Sprintf(format, args...)}
}

// longArp are the long options.
var longArp = map[string]byte{
	"--set": 's', "--delete": 'd', "--verbose": 'v', "--numeric": 'n', "--device": 'i', "--use-device": 'D', "--protocol": 'p',
	"--file": 'f', "--hw-type": 'H', "--version": 'V', "--help": 'h',
}

// options reads the options, wherever they stand.
func (c *arpCall) options(args []string) (rest []string, err error) {
	for len(args) > 0 && err == nil {
		arg := args[0]
		args = args[1:]
		switch {
		case strings.HasPrefix(arg, "--"):
			letter, ok := longArp[arg]
			if !ok {
				return nil, &refusal{arpUsage, "arp: unrecognized option '" + arg + "'\n" + arpHelp}
			}
			args, err = c.option(letter, args)
		case len(arg) > 1 && arg[0] == '-':
			for i := 1; i < len(arg) && err == nil; i++ {
				args, err = c.option(arg[i], args)
			}
		default:
			rest = append(rest, arg)
		}
	}
	return rest, err
}

// option sets one option; args are what follows, of which it may take its value.
func (c *arpCall) option(letter byte, args []string) ([]string, error) {
	value := func() (string, error) {
		if len(args) == 0 {
			return "", &refusal{arpUsage, fmt.Sprintf("arp: option requires an argument -- '%c'\n%s", letter, arpHelp)}
		}
		v := args[0]
		args = args[1:]
		return v, nil
	}
	switch letter {
	case 'a', 's', 'd', 'f':
		c.do = letter
	case 'n', 'e':
	case 'v':
		c.verbose = true
	case 'D':
		c.useDev = true
	case 'i':
		dev, err := value()
		c.dev = dev
		return args, err
	case 'H', 't':
		hw, err := value()
		if err == nil && hw != "ether" {
			err = arpError("arp: %s: unknown hardware type.", hw)
		}
		return args, err
	case 'A', 'p':
		_, err := value()
		return args, err
	case 'V':
		c.p.Printf(version)
		c.do = 'V'
	default:
		return args, &refusal{arpUsage, fmt.Sprintf("arp: invalid option -- '%c'\n%s", letter, arpHelp)}
	}
	return args, nil
}

func (c *arpCall) run(args []string) error {
	switch c.do {
	case 'V':
		return nil
	case 's':
		return c.set(args)
	case 'd':
		return c.delete(args)
	case 'f':
		return c.file(args)
	}
	return c.show(args)
}

// host reads an address.
func host(s string) (netip.Addr, error) {
	a, ok := parseAddr(s)
	if !ok {
		return a, arpError("%s: Host name lookup failure", s)
	}
	return a, nil
}

// entry is what is to be set.
type entry struct {
	addr netip.Addr
	hw   string
	temp bool
	pub  bool
	dev  string
}

// words reads what follows host and hardware address.
func (e *entry) words(args []string) error {
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch word {
		case "temp":
			e.temp = true
		case "pub":
			e.pub = true
		case "priv", "trail":
		case "dev":
			if len(args) == 0 {
				return &refusal{arpUsage, arpHelp}
			}
			e.dev, args = args[0], args[1:]
		case "netmask":
			return arpError("SIOCSARP: Invalid argument") // networks are not published any more
		default:
			return &refusal{arpUsage, arpHelp}
		}
	}
	return nil
}

// set makes an entry: 'arp -s HOST HWADDR [temp] [pub]', 'arp -Ds HOST DEV pub'.
func (c *arpCall) set(args []string) error {
	if len(args) == 0 {
		return arpError("arp: need host name")
	}
	addr, err := host(args[0])
	if err != nil {
		return err
	}
	if len(args) == 1 {
		return arpError("arp: need hardware address")
	}
	e := &entry{addr: addr, hw: args[1], dev: c.dev}
	if err := e.words(args[2:]); err != nil {
		return err
	}
	mac, err := c.hardware(e.hw)
	if err != nil {
		return err
	}
	if e.pub {
		return c.publish(e, mac)
	}
	dev, err := c.way(e.addr, e.dev)
	if err != nil {
		return err
	}
	state := neighbours.StatePermanent
	if e.temp {
		state = neighbours.StateStale
	}
	return c.p.Node.E.ReplaceNeigh(engine.Neigh{Addr: e.addr, Dev: dev, MAC: mac, State: state})
}

// hardware returns a hardware address, or with -D that of a device.
func (c *arpCall) hardware(s string) (ethernet.MAC, error) {
	if c.useDev {
		l, ok := c.p.Node.E.Link(s)
		if !ok {
			return l.MAC, arpError("arp: cant get HW-Address for `%s': No such device.", s)
		}
		return l.MAC, nil
	}
	mac, err := ethernet.ParseMAC(s)
	if err != nil {
		return mac, arpError("arp: invalid hardware address")
	}
	return mac, nil
}

// publish answers for an address on the device with that hardware address (arp_req_set_public).
func (c *arpCall) publish(e *entry, mac ethernet.MAC) error {
	dev := e.dev
	for _, l := range c.p.Node.E.Links() {
		if dev == "" && l.MAC == mac {
			dev = l.Name
		}
	}
	if dev == "" || c.p.Node.E.Index(dev) == 0 {
		return arpError("SIOCSARP: No such device")
	}
	return c.p.Node.E.AddProxyNeigh(e.addr, dev)
}

// way returns the device by which an address is reached, if none is told.
func (c *arpCall) way(addr netip.Addr, dev string) (string, error) {
	if dev != "" {
		if c.p.Node.E.Index(dev) == 0 {
			return "", arpError("SIOCSARP: No such device")
		}
		return dev, nil
	}
	a, err := c.p.Node.E.GetRoute(addr, engine.RouteQuery{})
	if err == nil && (a.Local || a.Dev == "lo") {
		err = engine.ErrInvalid
	}
	return a.Dev, err
}

// delete removes an entry: 'arp -d HOST [pub]'.
func (c *arpCall) delete(args []string) error {
	if len(args) == 0 {
		return arpError("arp: need host name")
	}
	addr, err := host(args[0])
	if err != nil {
		return err
	}
	e := &entry{addr: addr, dev: c.dev}
	if err := e.words(args[1:]); err != nil {
		return err
	}
	if e.pub {
		if e.dev == "" || c.p.Node.E.DeleteProxyNeigh(addr, e.dev) != nil {
			return arpError("No ARP entry for %s", args[0])
		}
		return nil
	}
	dev, err := c.way(addr, e.dev)
	var wrong *refusal
	switch {
	case errors.As(err, &wrong):
		return err
	case err != nil:
		return arpError("SIOCDARP(dontpub): %s", words.Errno(err))
	}
	if c.p.Node.E.DeleteNeigh(addr, dev) != nil {
		return arpError("No ARP entry for %s", args[0])
	}
	return nil
}

// file sets the entries of a file: HOST HWADDR …, a line each.
func (c *arpCall) file(args []string) error {
	name := "/etc/ethers"
	if len(args) > 0 {
		name = args[0]
	}
	f, err := c.p.Open(name)
	if err != nil {
		return arpError("arp: cannot open etherfile %s !", name)
	}
	defer func() { _ = f.Close() }() // was read only
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		switch {
		case len(fields) == 0:
			continue
		case len(fields) == 1:
			c.p.Errorf("arp: format error on line %d of etherfile %s !", n, name)
			continue
		}
		if err := c.set(fields); err != nil {
			return err
		}
	}
	return nil
}
