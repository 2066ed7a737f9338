package traceroutecmd

// The command line.

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/lab/proc"
)

// options are what the command line says.
type options struct {
	name         string // as it was given
	dst, source  netip.Addr
	device       string
	echo         bool // -I
	onePort      bool // -U
	dontFragment bool // -F
	numeric      bool // -n
	first        int  // -f
	hops         int  // -m
	queries      int  // -q
	atOnce       int  // -N
	port         int  // -p, or the first sequence number
	length       int  // of packets
	tos          uint8
	wait         time.Duration // -w
	here, near   float64       // -w
	pause        time.Duration // -z
}

const version = `Modern traceroute for Linux, version 2.1.2
Copyright (c) 2016  Dmitry Butskoy,   License: GPL v2 or any later`

const usage = `Usage:
  traceroute [ -4dFInUeV ] [ -f first_ttl ] [ -i device ] [ -m max_ttl ] [ -N squeries ] [ -p port ] [ -t tos ] [ -w MAX,HERE,NEAR ] ` +
	`[ -q nqueries ] [ -s src_addr ] [ -z sendwait ] host [ packetlen ]`

// Defaults and limits.
const (
	defaultHops, maxHops      = 30, 255
	defaultQueries, maxProbes = 3, 10
	defaultAtOnce             = 16
	defaultWait               = 5 * time.Second
	defaultHere, defaultNear  = 3, 10
	defaultLength             = ipv4.HeaderLen + 40
	maxLength                 = 65000
	firstPort, onlyPort       = 33434, 53
	shortest                  = ipv4.HeaderLen + icmp.HeaderLen
)

// long are the names of options that have a letter, and of those without the letters they are refused by.
var long = map[string]string{
	"debug": "d", "dont-fragment": "F", "first": "f", "icmp": "I", "tcp": "T", "interface": "i", "max-hops": "m", "sim-queries": "N",
	"port": "p", "tos": "t", "wait": "w", "queries": "q", "source": "s", "sendwait": "z", "extensions": "e", "udp": "U", "version": "V",
	"gateway": "g", "as-path-lookups": "A", "module": "M", "options": "O", "dccp": "D", "protocol": "P", "flowlabel": "l", "fwmark": "fwmark",
	"mtu": "mtu", "back": "back", "sport": "sport", "help": "help",
}

// valued are the options with a value.
const valued = "figmNptlwqszMOP"

// parse reads the command line; false: the command has ended with that status.
func parse(p *proc.Proc, args []string) (o options, status int, ok bool) {
	o = options{
		first: 1, hops: defaultHops, queries: defaultQueries, atOnce: defaultAtOnce, port: -1, length: -1,
		wait: defaultWait, here: defaultHere, near: defaultNear,
	}
	if len(args) == 0 {
		fmt.Fprintln(p.Stderr, usage)
		return o, 0, false
	}
	fail := func(text string) (options, int, bool) { return o, p.Fail(2, "%s", text), false }
	var operands []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if len(arg) < 2 || arg[0] != '-' {
			operands = append(operands, arg)
			if complaint := o.operand(arg, len(operands), i+1); complaint != "" {
				return fail(complaint)
			}
			continue
		}
		letters, value, hasValue, complaint := split(arg, i+1)
		if complaint != "" {
			return fail(complaint)
		}
		for j, name := range letters {
			takes := len(name) == 1 && strings.Contains(valued, name)
			if takes && !hasValue {
				if j+1 < len(letters) || i+1 == len(args) {
					return fail(fmt.Sprintf("Option `-%s' (argc %d) requires an argument: `-%s %s'", name, i+1, name, valueNames[name]))
				}
				i++
				value = args[i]
			}
			switch name {
			case "V":
				p.Printf("%s\n", version)
				return o, 0, false
			case "help":
				fmt.Fprintln(p.Stderr, usage)
				return o, 0, false
			}
			if complaint := o.set(name, value, i+1); complaint != "" {
				return fail(complaint)
			}
		}
	}
	if len(operands) == 0 {
		return fail(`Specify "host" missing argument.`)
	}
	if complaint := o.check(); complaint != "" {
		return fail(complaint)
	}
	return o, 0, true
}

// valueNames are how the usage text calls the values.
var valueNames = map[string]string{
	"f": "first_ttl", "i": "device", "m": "max_ttl", "N": "squeries", "p": "port", "t": "tos", "w": "MAX,HERE,NEAR", "q": "nqueries",
	"s": "src_addr", "z": "sendwait", "g": "gate,...", "l": "flow_label", "M": "name", "O": "OPTS,...", "P": "prot",
}

// split divides a word of options: letters without a value together, or one with its value behind it, or a long one.
func split(arg string, at int) (names []string, value string, hasValue bool, complaint string) {
	if strings.HasPrefix(arg, "--") {
		name, value, hasValue := strings.Cut(arg[2:], "=")
		if letter := long[name]; letter != "" {
			return []string{letter}, value, hasValue, ""
		}
		return nil, "", false, fmt.Sprintf("Bad option `--%s' (argc %d)", name, at)
	}
	const known = "46dFITnreAUDV" + valued
	for i := 1; i < len(arg); i++ {
		name := arg[i : i+1]
		if !strings.Contains(known, name) {
			return nil, "", false, fmt.Sprintf("Bad option `%s' (argc %d)", arg, at)
		}
		if i == 1 && strings.Contains(valued, name) && len(arg) > 2 {
			return []string{name}, arg[2:], true, ""
		}
		names = append(names, name)
		if strings.Contains(valued, name) && i+1 < len(arg) {
			return append(names, arg[i+1:]), "", false, "" // which then lacks its value
		}
	}
	return names, "", false, ""
}

// set takes an option, and returns a complaint.
func (o *options) set(name, value string, at int) string {
	switches := map[string]*bool{"I": &o.echo, "U": &o.onePort, "F": &o.dontFragment, "n": &o.numeric}
	numbers := map[string]*int{"f": &o.first, "m": &o.hops, "q": &o.queries, "N": &o.atOnce, "p": &o.port}
	cannot := fmt.Sprintf("Cannot handle `-%s' option with arg `%s' (argc %d)", name, value, at)
	switch {
	case switches[name] != nil:
		*switches[name] = true
	case numbers[name] != nil:
		n, err := strconv.ParseUint(value, 0, 31)
		if err != nil {
			return cannot
		}
		*numbers[name] = int(n)
	case name == "t":
		n, err := strconv.ParseUint(value, 0, 32)
		if err != nil {
			return cannot
		}
		o.tos = uint8(n)
	case name == "i":
		o.device = value
	case name == "s":
		a, err := netip.ParseAddr(value)
		if err != nil || !a.Is4() {
			return value + ": Temporary failure in name resolution\n" + cannot
		}
		o.source = a
	case name == "w":
		if !o.waits(value) {
			return cannot
		}
	case name == "z":
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return cannot
		}
		if o.pause = time.Duration(f * float64(time.Second)); f >= 10 {
			o.pause = time.Duration(f * float64(time.Millisecond))
		}
	case slices.Contains([]string{"4", "d", "e", "fwmark"}, name): // nothing to do here
	case len(name) > 1:
		return fmt.Sprintf("Option `--%s' is not supported in the lab", name)
	default:
		return fmt.Sprintf("Option `-%s' is not supported in the lab", name)
	}
	return ""
}

// waits reads -w MAX[,HERE[,NEAR]].
func (o *options) waits(value string) bool {
	var wait float64
	o.here, o.near = 0, 0
	targets := []*float64{&wait, &o.here, &o.near}
	parts := strings.Split(value, ",")
	if len(parts) > len(targets) {
		return false
	}
	for i, part := range parts {
		f, err := strconv.ParseFloat(part, 64)
		if err != nil {
			return false
		}
		*targets[i] = f
	}
	o.wait = time.Duration(wait * float64(time.Second))
	return true
}

// operand takes the host or the length.
func (o *options) operand(arg string, position, at int) string {
	switch position {
	case 1:
		o.name = arg
		a, err := netip.ParseAddr(arg)
		if arg == "localhost" {
			a, err = netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
		}
		if err != nil || !a.Is4() {
			return fmt.Sprintf("%s: Temporary failure in name resolution\nCannot handle \"host\" cmdline arg `%s' on position 1 (argc %d)", arg, arg, at)
		}
		o.dst = a
	case 2:
		n, err := strconv.Atoi(arg)
		if err != nil || n < 0 {
			return fmt.Sprintf("Cannot handle \"packetlen\" cmdline arg `%s' on position 2 (argc %d)", arg, at)
		}
		o.length = n
	default:
		return fmt.Sprintf("Extra arg `%s' (position %d, argc %d)", arg, position, at)
	}
	return ""
}

// check complains about values, and fills in what depends on the method.
func (o *options) check() string {
	switch {
	case o.first < 1 || o.first > o.hops:
		return "first hop out of range"
	case o.hops > maxHops:
		return fmt.Sprintf("max hops cannot be more than %d", maxHops)
	case o.queries < 1 || o.queries > maxProbes:
		return fmt.Sprintf("no more than %d probes per hop", maxProbes)
	case o.wait < 0 || o.here < 0 || o.near < 0:
		return fmt.Sprintf("bad wait specifications `%g,%g,%g' used", o.wait.Seconds(), o.here, o.near)
	case o.length > maxLength:
		return fmt.Sprintf("too big packetlen %d specified", o.length)
	case o.pause < 0:
		return fmt.Sprintf("bad sendtime `%g' specified", o.pause.Seconds())
	}
	if o.length < 0 {
		o.length = defaultLength
	}
	o.length = max(o.length, shortest)
	if o.port <= 0 {
		switch {
		case o.echo:
			o.port = 1
		case o.onePort:
			o.port = onlyPort
		default:
			o.port = firstPort
		}
	}
	return ""
}
