package nccmd

// The command line.

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-net/culvert/lab/internal/getopt"
	"github.com/culvert-net/culvert/lab/proc"
)

// options are what the command line says.
type options struct {
	host        netip.Addr
	name        string // as it was given
	first, last int    // ports
	source      netip.Addr
	sourcePort  uint16
	timeout     time.Duration // -w; negative: none
	quit        time.Duration // -q; negative: never
	receive     int           // -W; 0: no limit
	ttl, tos    uint8
	listen      bool
	keep        bool // -k
	scan        bool // -z
	numeric     bool // -n
	noInput     bool // -d
	broadcast   bool // -b
	verbose     bool
}

const usage = `usage: nc [-46CDdFhklNnrStUuvZz] [-I length] [-i interval] [-M ttl]
	  [-m minttl] [-O length] [-P proxy_username] [-p source_port]
	  [-q seconds] [-s sourceaddr] [-T keyword] [-V rtable] [-W recvlimit]
	  [-w timeout] [-X proxy_protocol] [-x proxy_address[:port]]
	  [destination] [port]`

// Options of nc, and those of them that are refused.
const (
	short        = "46bCDdFhI:i:klM:m:NnO:P:p:q:rSs:T:tUuV:vW:w:X:x:Zz"
	notSupported = "6CFIimOPrStUVXxZ"
)

// services have names in /etc/services.
var services = map[uint16]string{
	7: "echo", 9: "discard", 53: "domain", 67: "bootps", 68: "bootpc", 69: "tftp", 123: "ntp", 161: "snmp", 162: "snmp-trap", 500: "isakmp",
	514: "syslog", 1194: "openvpn",
}

func (o *options) service(port uint16) string {
	if name := services[port]; name != "" && !o.numeric {
		return name
	}
	return "*"
}

// keywords of -T.
var keywords = map[string]uint8{
	"lowdelay": 0x10, "throughput": 0x08, "reliability": 0x04, "ef": 0xb8, "af11": 0x28, "af21": 0x48, "af31": 0x68, "af41": 0x88,
	"cs0": 0x00, "cs1": 0x20, "cs2": 0x40, "cs3": 0x60, "cs4": 0x80, "cs5": 0xa0, "cs6": 0xc0, "cs7": 0xe0,
}

// parse reads the command line; false: the command has ended with that status.
func parse(p *proc.Proc, args []string) (o options, status int, ok bool) {
	o = options{timeout: -1, quit: -1}
	found, operands, err := getopt.Parse(args, short, nil)
	if err != nil {
		return o, p.Fail(1, "nc: %v\n%s", err, usage), false
	}
	isUDP, sourcePort := false, ""
	for _, f := range found {
		switch {
		case f.Name == "u":
			isUDP = true
		case f.Name == "p":
			sourcePort = f.Value
		case f.Name == "h":
			return o, p.Fail(1, "%s", usage), false
		case strings.Contains(notSupported, f.Name):
			return o, p.Fail(1, "nc: option -%s is not supported in the lab", f.Name), false
		default:
			if complaint := o.set(f.Name, f.Value); complaint != "" {
				return o, p.Fail(1, "nc: %s", complaint), false
			}
		}
	}
	complaint := o.check()
	switch {
	case complaint != "":
	case !isUDP:
		complaint = "only UDP is supported in the lab: nc -u"
	default:
		complaint = o.ends(operands, sourcePort)
	}
	switch complaint {
	case "":
		return o, 0, true
	case usage:
		return o, p.Fail(1, "%s", usage), false
	}
	return o, p.Fail(1, "nc: %s", complaint), false
}

// set takes one option, and returns a complaint.
func (o *options) set(name, value string) string {
	switches := map[string]*bool{
		"l": &o.listen, "k": &o.keep, "z": &o.scan, "n": &o.numeric, "d": &o.noInput, "b": &o.broadcast, "v": &o.verbose,
	}
	if s := switches[name]; s != nil {
		*s = true
		return ""
	}
	n, err := strconv.Atoi(value)
	bad := err != nil || n < 0
	switch name {
	case "w":
		o.timeout = time.Duration(n) * time.Second
		return complain(bad, "timeout invalid: "+value)
	case "q":
		o.quit = time.Duration(n) * time.Second
		return complain(err != nil, "quit timer invalid: "+value)
	case "W":
		o.receive = n
		return complain(bad || n == 0, "receive limit invalid: "+value)
	case "M":
		o.ttl = uint8(n)
		return complain(bad || n > 255, "ttl is invalid")
	case "s":
		o.source, err = netip.ParseAddr(value)
		return complain(err != nil || !o.source.Is4(), "getaddrinfo: Temporary failure in name resolution")
	case "T":
		tos, known := keywords[value]
		if u, err := strconv.ParseUint(value, 0, 8); err == nil {
			tos, known = uint8(u), true
		}
		o.tos = tos
		return complain(!known, "illegal tos value "+value)
	}
	return ""
}

func complain(wrong bool, text string) string {
	if wrong {
		return text
	}
	return ""
}

// check complains about what does not go together.
func (o *options) check() string {
	switch {
	case o.listen && o.scan:
		return "cannot use -z and -l"
	case !o.listen && o.keep:
		return "must use -l with -k"
	}
	return ""
}

// ends reads the operands: where to, or where to listen.
func (o *options) ends(operands []string, sourcePort string) string {
	if o.listen {
		return o.listenAt(operands, sourcePort)
	}
	switch len(operands) {
	case 2:
	case 1:
		return "missing port number"
	default:
		return usage
	}
	if sourcePort != "" {
		port, _, complaint := ports(sourcePort)
		if complaint != "" {
			return complaint
		}
		o.sourcePort = uint16(port)
	}
	var complaint string
	if o.first, o.last, complaint = ports(operands[1]); complaint != "" {
		return complaint
	}
	return o.resolve(operands[0], operands[1])
}

// listenAt reads '[ADDRESS] PORT', or '-p PORT' with nothing else.
func (o *options) listenAt(operands []string, sourcePort string) (complaint string) {
	switch {
	case o.source.IsValid(), len(operands) > 2, sourcePort != "" && len(operands) > 0:
		return usage
	case len(operands) == 0 && sourcePort == "":
		return "missing port number"
	case sourcePort != "":
		operands = []string{sourcePort}
	}
	if o.first, o.last, complaint = ports(operands[len(operands)-1]); complaint != "" || len(operands) == 1 {
		return complaint
	}
	return o.resolve(operands[0], operands[1])
}

func (o *options) resolve(host, port string) string {
	o.name = host
	if host == "localhost" && !o.numeric {
		o.host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		return ""
	}
	var err error
	if o.host, err = netip.ParseAddr(host); err != nil || !o.host.Is4() {
		why := "Temporary failure in name resolution"
		if o.numeric {
			why = "Name or service not known"
		}
		return `getaddrinfo for host "` + host + `" port ` + port + ": " + why
	}
	return ""
}

// ports reads a port, or FIRST-LAST.
func ports(s string) (first, last int, complaint string) {
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	if first, complaint = port(a); complaint != "" {
		return 0, 0, complaint
	}
	last, complaint = port(b)
	return min(first, last), max(first, last), complaint
}

func port(s string) (int, string) {
	const highest = 1<<16 - 1
	for number, name := range services {
		if name == s {
			return int(number), ""
		}
	}
	n, err := strconv.Atoi(s)
	switch {
	case err != nil:
		return 0, "port number invalid: " + s
	case n < 1:
		return 0, "port number too small: " + s
	case n > highest:
		return 0, "port number too large: " + s
	}
	return n, ""
}
