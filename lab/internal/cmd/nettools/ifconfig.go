package nettools

// ifconfig: what changes devices. What shows them is in ifconfigshow.go.

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/proc"
	routes "github.com/culvert-net/culvert/route"
)

const ifconfigHelp = `Usage:
  ifconfig [-a] [-v] [-s] <interface> [[<AF>] <address>]
  [[-]broadcast [<address>]]  [[-]pointopoint [<address>]]
  [netmask <address>]  [dstaddr <address>]
  [hw <HW> <address>]  [mtu <NN>]
  [[-]promisc]
  [txqueuelen <NN>]
  [up|down] ...
`

// interfaceCall is one call of ifconfig for one device. Faults of the kernel are printed as they come; the rest is done all the
// same, as the command does.
type interfaceCall struct {
	p      *proc.Proc
	dev    string // without what follows a colon
	label  string // with it
	status int
}

// ifconfig is the command.
func ifconfig(p *proc.Proc, args []string) int {
	var all, short bool
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-a":
			all = true
		case "-s":
			short = true
		case "-v":
		case "-V", "--version", "-version":
			p.Printf(version)
			return 0
		case "-h", "--help", "-?":
			return p.Fail(routeUsage, "%s", ifconfigHelp)
		default:
			return p.Fail(1, "ifconfig: option `%s' not recognised.\nifconfig: `--help' gives usage information.", args[0])
		}
		args = args[1:]
	}
	if len(args) == 0 {
		return showInterfaces(p, all, short)
	}
	name, _, _ := strings.Cut(args[0], ":")
	if len(args) == 1 {
		return showInterface(p, args[0], short)
	}
	c := &interfaceCall{p: p, dev: name, label: args[0]}
	return c.run(args[1:])
}

// failed is the sum of what a call could not do: -1, or 1 where the kernel refused what was not about flags.
const failed = 255

// kernel notes what the kernel said to a call.
func (c *interfaceCall) kernel(call string, err error, status int) {
	if err == nil {
		return
	}
	text := words.Errno(err)
	if c.p.Node.E.Index(c.dev) == 0 {
		text = "No such device"
	}
	c.p.Errorf("%s: %s", call, text)
	c.status = max(c.status, status)
}

// flags sets the device up or down, and says what stands in its way.
func (c *interfaceCall) flags(up bool) {
	if c.p.Node.E.Index(c.dev) == 0 {
		c.status = c.p.Fail(failed, "%s: ERROR while getting interface flags: No such device", c.dev)
		return
	}
	if c.label != c.dev {
		c.alias(up)
		return
	}
	c.kernel("SIOCSIFFLAGS", c.p.Node.SetLink(c.dev, engine.LinkChange{Up: &up}), failed)
}

// alias does what is done to a label that is not the device's: 'down' takes its address away, 'up' nothing.
func (c *interfaceCall) alias(up bool) {
	a, ok := c.addr()
	switch {
	case !ok:
		c.status = c.p.Fail(failed, "SIOCSIFFLAGS: Cannot assign requested address")
	case !up:
		c.kernel("SIOCSIFFLAGS", c.p.Node.E.DeleteAddr(c.dev, a.Prefix), failed)
	}
}

// addr returns the first address with the call's label.
func (c *interfaceCall) addr() (engine.Addr, bool) {
	for _, a := range c.p.Node.E.Addrs(c.dev) {
		if labelOf(a, c.dev) == c.label {
			return a, true
		}
	}
	return engine.Addr{}, false
}

func labelOf(a engine.Addr, dev string) string {
	if a.Label == "" {
		return dev
	}
	return a.Label
}

// errHelp says that words were used wrongly.
var errHelp = errors.New("usage")

func (c *interfaceCall) run(args []string) int {
	for len(args) > 0 {
		word := args[0]
		rest, err := c.word(word, args[1:])
		var wrong *refusal
		switch {
		case errors.Is(err, errHelp):
			return c.p.Fail(routeUsage, "%s", ifconfigHelp)
		case errors.As(err, &wrong):
			return c.p.Fail(wrong.status, "%s", wrong.text)
		}
		args = rest
	}
	return c.status
}

// word does one word, with the values that it takes from args, and returns what is left.
func (c *interfaceCall) word(word string, args []string) ([]string, error) {
	switch word {
	case "up", "down":
		c.flags(word == "up")
	case "promisc", "-promisc":
		c.kernel("SIOCSIFFLAGS", c.p.Node.SetLink(c.dev, engine.LinkChange{Promisc: engine.Set(word == "promisc")}), failed)
	case "arp", "multicast", "inet", "-trailers", "-dynamic", "-allmulti", "-pointopoint": // as it is
	case "hw":
		if len(args) < 2 || args[0] != "ether" {
			return nil, errHelp
		}
		mac, err := ethernet.ParseMAC(args[1])
		if err != nil {
			return nil, &refusal{1, args[1] + ": invalid ether address."}
		}
		c.kernel("SIOCSIFHWADDR", c.p.Node.SetLink(c.dev, engine.LinkChange{MAC: &mac}), 1)
		return args[2:], nil
	case "mtu", "txqueuelen", "netmask", "broadcast", "dstaddr", "pointopoint":
		if len(args) == 0 {
			return nil, errHelp
		}
		return args[1:], c.value(word, args[0])
	default:
		return c.address(word, args)
	}
	return args, nil
}

// value does a word that has one value.
func (c *interfaceCall) value(word, value string) error {
	switch word {
	case "txqueuelen":
		return nil
	case "mtu":
		n, err := strconv.Atoi(value)
		if err != nil || n == 0 { // which an engine takes for the default
			n = -1
		}
		c.kernel("SIOCSIFMTU", c.p.Node.SetLink(c.dev, engine.LinkChange{MTU: &n}), 1)
		return nil
	}
	addr, ok := parseAddr(value)
	if !ok {
		return &refusal{1, value + ": Host name lookup failure"}
	}
	switch word {
	case "netmask":
		c.setMask(addr)
	case "broadcast":
		c.change("SIOCSIFBRDADDR", func(a *engine.Addr) error { a.Broadcast = addr; return nil })
	default:
		c.change("SIOCSIFDSTADDR", func(a *engine.Addr) error {
			a.Peer = netip.PrefixFrom(addr, a.Prefix.Bits())
			a.Prefix = netip.PrefixFrom(a.Prefix.Addr(), 32)
			return nil
		})
	}
	return nil
}

// change changes an address: the kernel takes it away and gives it again.
func (c *interfaceCall) change(call string, f func(*engine.Addr) error) {
	a, ok := c.addr()
	if !ok {
		c.missing(call)
		return
	}
	old := a.Prefix
	if err := f(&a); err != nil {
		c.kernel(call, err, 1)
		return
	}
	c.kernel(call, errors.Join(c.p.Node.E.DeleteAddr(c.dev, old), c.p.Node.E.AddAddr(c.dev, a)), 1)
}

// missing says that there is no address, or no device, to be changed.
func (c *interfaceCall) missing(call string) {
	if c.p.Node.E.Index(c.dev) == 0 {
		c.status = max(c.status, c.p.Fail(1, "%s: No such device", call))
		return
	}
	c.status = max(c.status, c.p.Fail(1, "%s: Cannot assign requested address", call))
}

func (c *interfaceCall) setMask(m netip.Addr) {
	bits, ok := length(m)
	c.change("SIOCSIFNETMASK", func(a *engine.Addr) error {
		if !ok {
			return engine.ErrInvalid
		}
		if a.Broadcast == lastOf(a.Prefix) { // it follows
			a.Broadcast = lastOf(netip.PrefixFrom(a.Prefix.Addr(), bits))
		}
		a.Prefix = netip.PrefixFrom(a.Prefix.Addr(), bits)
		return nil
	})
}

// lastOf returns the broadcast address of a subnet; none if that is too small for one.
func lastOf(p netip.Prefix) netip.Addr {
	if p.Bits() > 30 {
		return netip.Addr{}
	}
	return addrOf(numberOf(p.Addr()) | ^numberOf(mask(p.Bits())))
}

// address gives the device an address in place of the one with its label: A, or A/L. 0.0.0.0 only takes that away
// (net/ipv4/devinet.c, devinet_ioctl).
func (c *interfaceCall) address(word string, args []string) ([]string, error) {
	text, bits, cut := strings.Cut(word, "/")
	addr, ok := parseAddr(text)
	n, err := strconv.ParseUint(bits, 10, 6)
	if !ok || cut && (err != nil || n > 32) {
		return nil, &refusal{1, text + ": Host name lookup failure\nifconfig: `--help' gives usage information."}
	}
	l, exists := c.p.Node.E.Link(c.dev)
	if !exists {
		c.missing("SIOCSIFADDR")
		c.flags(true)
		return args, nil
	}
	if old, ok := c.addr(); ok {
		c.kernel("SIOCSIFADDR", c.p.Node.E.DeleteAddr(c.dev, old.Prefix), 1)
	}
	if !addr.IsUnspecified() {
		c.kernel("SIOCSIFADDR", c.p.Node.E.AddAddr(c.dev, c.newAddr(addr, l)), 1)
		c.flags(true)
	}
	if cut {
		c.setMask(mask(int(n)))
	}
	return args, nil
}

// newAddr is an address with the length of its class (inet_abc_len).
func (c *interfaceCall) newAddr(addr netip.Addr, l engine.LinkInfo) engine.Addr {
	bits := 24
	switch first := addr.As4()[0]; {
	case l.Kind == engine.KindIPIP || first >= 224:
		bits = 32
	case first < 128:
		bits = 8
	case first < 192:
		bits = 16
	}
	a := engine.Addr{Prefix: netip.PrefixFrom(addr, bits)}
	if l.Kind == engine.KindLoopback {
		a.Scope = routes.ScopeHost
	} else {
		a.Broadcast = lastOf(a.Prefix)
	}
	if c.label != c.dev {
		a.Label = c.label
	}
	return a
}
