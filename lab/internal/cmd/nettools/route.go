package nettools

// route: what changes routes. What shows them is in routeshow.go.

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/proc"
	routes "github.com/culvert-net/culvert/route"
)

// Exit statuses of route (net-tools, lib/net-support.h).
const (
	routeUsage  = 3
	routeLookup = 6
	routeKernel = 7
)

const routeHelp = `Usage: route [-nNvee] [-FC] [<AF>]           List kernel routing tables
       route [-v] [-FC] {add|del|flush} ...  Modify routing table for AF.

       route {-h|--help} [<AF>]              Detailed usage syntax for specified AF.
       route {-V|--version}                  Display version/author and exit.

        -v, --verbose            be verbose
        -n, --numeric            don't resolve names
        -e, --extend             display other/more information
        -F, --fib                display Forwarding Information Base (default)
        -C, --cache              display routing cache instead of FIB

  <AF>=Use -4, -6, '-A <af>' or '--<af>'; default: inet
  List of possible address families (which support routing):
    inet (DARPA Internet) inet6 (IPv6) ax25 (AMPR AX.25) 
    netrom (AMPR NET/ROM) rose (AMPR ROSE) ipx (Novell IPX) 
    ddp (Appletalk DDP) x25 (CCITT X.25) 
`

const inetHelp = `Usage: inet_route [-vF] del {-host|-net} Target[/prefix] [gw Gw] [metric M] [[dev] If]
       inet_route [-vF] add {-host|-net} Target[/prefix] [gw Gw] [metric M]
                              [netmask N] [mss Mss] [window W] [irtt I]
                              [mod] [dyn] [reinstate] [[dev] If]
       inet_route [-vF] add {-host|-net} Target[/prefix] [metric M] reject
       inet_route [-FC] flush      NOT supported
`

// route is the command.
func route(p *proc.Proc, args []string) int {
	var numeric bool
	extend := 1
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		option := args[0]
		args = args[1:]
		switch option {
		case "--numeric":
			option = "-n"
		case "--extend":
			option = "-e"
		case "--version":
			option = "-V"
		case "-A", "--inet", "-4", "--verbose", "--fib":
			if option == "-A" && len(args) > 0 && args[0] == "inet" {
				args = args[1:]
			} else if option == "-A" {
				return p.Fail(routeUsage, "%s", routeHelp)
			}
			continue
		}
		for _, letter := range option[1:] {
			switch letter {
			case 'n':
				numeric = true
			case 'e':
				extend++
			case 'v', 'F', '4':
			case 'V':
				p.Printf(version)
				return 0
			default:
				return p.Fail(routeUsage, "%s", routeHelp)
			}
		}
	}
	if len(args) == 0 {
		showRoutes(p, numeric, extend)
		return 0
	}
	switch args[0] {
	case "add", "new":
		return changeRoute(p, args[1:], "SIOCADDRT", addRoute)
	case "del", "delete":
		return changeRoute(p, args[1:], "SIOCDELRT", deleteRoute)
	}
	return p.Fail(routeUsage, "%s", routeHelp)
}

// request is a route as it stands on the command line (struct rtentry).
type request struct {
	target  netip.Addr
	mask    netip.Addr // invalid: not told
	host    bool
	gateway netip.Addr
	metric  uint32
	mtu     uint32
	dev     string
	reject  bool
}

// refusal is a text for standard error, and the exit status.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func badRoute(text string) error { return &refusal{routeUsage, text + inetHelp} }

// changeRoute reads a route and gives it to f.
func changeRoute(p *proc.Proc, args []string, call string, f func(*engine.Engine, *request) error) int {
	if len(args) == 0 {
		p.Errorf("%s", inetHelp)
		return 0
	}
	r, err := readRoute(args)
	if err == nil {
		err = r.check(call == "SIOCADDRT")
	}
	if err == nil {
		err = f(p.Node.E, r)
	}
	var wrong *refusal
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		return p.Fail(wrong.status, "%s", wrong.text)
	}
	return p.Fail(routeKernel, "%s: %s", call, words.Errno(err))
}

// Texts of the kernel that are none of the engine's faults.
var (
	errUnreachable = &refusal{routeKernel, "SIOCADDRT: Network is unreachable"}
	errProcess     = &refusal{routeKernel, "SIOCDELRT: No such process"}
)

// readRoute reads '[-net|-host] TARGET[/L] …' (net-tools, lib/inet_sr.c).
func readRoute(args []string) (*request, error) {
	kind := ""
	if args[0] == "-net" || args[0] == "-host" {
		kind, args = args[0], args[1:]
	}
	if len(args) == 0 {
		return nil, badRoute("")
	}
	r := &request{host: true}
	target := args[0]
	if err := r.setTarget(target); err != nil {
		return nil, err
	}
	if kind != "" {
		r.host = kind == "-host"
	}
	rest := args[1:]
	for len(rest) > 0 {
		n, err := r.word(rest)
		if err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	return r, nil
}

// setTarget reads the destination. An address is a host, 'default' and one with a length a network.
func (r *request) setTarget(target string) error {
	text, bits, cut := strings.Cut(target, "/")
	if cut {
		n, err := strconv.Atoi(bits)
		if err != nil || n < 0 {
			return badRoute("")
		}
		r.mask, r.host = mask(min(n, 32)), false
	}
	if text == "default" {
		r.target, r.host = netip.IPv4Unspecified(), false
		return nil
	}
	var ok bool
	if r.target, ok = parseAddr(text); !ok {
		return noLookup(text)
	}
	return nil
}

// noLookup says that a name was not found: there are no name servers.
func noLookup(name string) error { return &refusal{routeLookup, name + ": Host name lookup failure"} }

// word reads one word and its value, and returns how many that were.
func (r *request) word(args []string) (int, error) {
	value := ""
	if len(args) > 1 {
		value = args[1]
	}
	switch args[0] {
	case "reject":
		r.reject = true
		return 1, nil
	case "mod", "dyn", "reinstate":
		return 1, nil
	case "metric", "netmask", "gw", "gateway", "mss", "mtu", "window", "irtt", "dev", "device":
		if value == "" {
			return 0, badRoute("")
		}
		return 2, r.setWord(args[0], value)
	}
	if r.dev != "" || len(args) > 1 {
		return 0, badRoute("")
	}
	r.dev = args[0]
	return 1, nil
}

func (r *request) setWord(word, value string) error {
	var ok bool
	switch word {
	case "metric":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return badRoute("")
		}
		r.metric = uint32(n)
	case "netmask":
		if r.mask.IsValid() {
			return badRoute("")
		}
		if r.mask, ok = parseAddr(value); !ok {
			return noLookup(value)
		}
	case "gw", "gateway":
		if r.gateway.IsValid() {
			return badRoute("")
		}
		if r.gateway, ok = parseAddr(value); !ok {
			return &refusal{routeLookup, value + ": Unknown host"}
		}
	case "dev", "device":
		if r.dev != "" {
			return badRoute("")
		}
		r.dev = value
	default:
		return r.setLimit(word, value)
	}
	return nil
}

// Limits of what can be told about a route's connections.
const (
	minMSS, maxMSS       = 64, 65536
	minWindow, maxWindow = 128, 16384
	maxRTT               = 120 * 1000 // ms
)

// setLimit reads mss, which is the path's MTU less the headers here too, and what only concerns TCP.
func (r *request) setLimit(word, value string) error {
	n, err := strconv.Atoi(value)
	switch {
	case err != nil:
		return badRoute("")
	case (word == "mss" || word == "mtu") && (n < minMSS || n > maxMSS):
		return badRoute("route: Invalid MSS/MTU.\n")
	case word == "window" && (n < minWindow || n > maxWindow):
		return badRoute("route: Invalid window.\n")
	case word == "irtt" && (n < 1 || n > maxRTT):
		return badRoute("route: Invalid initial rtt.\n")
	}
	return nil
}

// check holds target and mask against each other.
func (r *request) check(add bool) error {
	if r.mask.IsValid() && numberOf(r.mask) != 0 {
		m := numberOf(r.mask)
		if r.host && m != ^uint32(0) {
			return badRoute("route: netmask " + hex(^m) + " doesn't make sense with host route\n")
		}
		if _, ok := length(r.mask); !ok {
			return badRoute("route: bogus netmask " + r.mask.String() + "\n")
		}
		if numberOf(r.target)&^m != 0 {
			return badRoute("route: netmask doesn't match route address\n")
		}
	}
	if !r.mask.IsValid() || r.host {
		r.mask = mask(0)
		if r.host {
			r.mask = mask(32)
		}
	}
	if numberOf(r.target)&^numberOf(r.mask) != 0 && add { // the kernel's check
		return &refusal{routeKernel, "SIOCADDRT: Invalid argument"}
	}
	return nil
}

func hex(n uint32) string {
	s := strconv.FormatUint(uint64(n), 16)
	return strings.Repeat("0", 8-len(s)) + s
}

// route returns what is requested for the engine.
func (r *request) route(e *engine.Engine) (engine.Route, error) {
	bits, _ := length(r.mask)
	out := engine.Route{
		Prefix: netip.PrefixFrom(r.target, bits), Type: routes.Unicast, Metric: r.metric, Via: r.gateway, Dev: r.dev, MTU: r.mtu,
		Protocol: protocolBoot,
	}
	if r.reject {
		out.Type, out.Scope, out.Dev = routes.Unreachable, routes.ScopeHost, ""
	}
	if out.Dev != "" && e.Index(out.Dev) == 0 {
		return out, &refusal{routeKernel, "No such device"}
	}
	return out, nil
}

// protocolBoot is who makes routes by hand (RTPROT_BOOT).
const protocolBoot = 3

// addRoute adds a route before others of its metric (ip_rt_ioctl, SIOCADDRT).
func addRoute(e *engine.Engine, r *request) error {
	out, err := r.route(e)
	if err != nil || !r.reject && r.dev == "" && !r.gateway.IsValid() {
		return &refusal{routeKernel, "SIOCADDRT: No such device"}
	}
	err = e.PrependRoute(out)
	l, _ := e.Link(out.Dev)
	switch {
	case errors.Is(err, engine.ErrGateway), err != nil && r.gateway.IsValid() && out.Dev != "" && !l.Up:
		return errUnreachable
	case err != nil && out.Dev != "" && !l.Up:
		return &refusal{routeKernel, "SIOCADDRT: Network is down"}
	}
	return err
}

// deleteRoute removes a route; the scope need not be told (ip_rt_ioctl, SIOCDELRT).
func deleteRoute(e *engine.Engine, r *request) error {
	out, err := r.route(e)
	if err != nil {
		return &refusal{routeKernel, "SIOCDELRT: No such device"}
	}
	out.Scope = 0
	if err := e.DeleteRoute(out); err != nil {
		return errProcess
	}
	return nil
}
