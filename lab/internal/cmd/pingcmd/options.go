package pingcmd

// The command line.

import (
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-net/culvert/lab/internal/getopt"
	"github.com/culvert-net/culvert/lab/internal/words"
)

// options are what the command line says.
type options struct {
	host   string // as it was given
	dst    netip.Addr
	bind   netip.Addr // -I ADDRESS
	source netip.Addr // that packets have
	device string     // -I DEVICE
	strict bool       // -I ADDRESS or -B: the source is shown, and stays

	count       int           // -c; 0: no end
	interval    time.Duration // -i
	deadline    time.Duration // -w; 0: none
	wait        time.Duration // -W
	size        int           // -s
	preload     int           // -l
	id          uint16        // -e; 0: any
	pattern     []byte        // -p
	ttl, tos    uint8         // -t, -Q
	discovery   string        // -M
	broadcast   bool          // -b
	flood       bool
	adaptive    bool
	quiet       bool
	verbose     bool
	outstanding bool // -O
	stamped     bool // -D
	audible     bool
	names       bool // the target was given by name, and -n was not
}

const version = `ping from iputils 20221126
libcap: yes, IDN: yes, NLS: no, error.h: yes, getrandom(): yes, __fpending(): yes`

const usage = `
Usage
  ping [options] <destination>

Options:
  <destination>      dns name or ip address
  -a                 use audible ping
  -A                 use adaptive ping
  -B                 sticky source address
  -c <count>         stop after <count> replies
  -C                 call connect() syscall on socket creation
  -D                 print timestamps
  -d                 use SO_DEBUG socket option
  -e <identifier>    define identifier for ping session, default is random for
                     SOCK_RAW and kernel defined for SOCK_DGRAM
                     Imply using SOCK_RAW (for IPv4 only for identifier 0)
  -f                 flood ping
  -h                 print help and exit
  -I <interface>     either interface name or address
  -i <interval>      seconds between sending each packet
  -L                 suppress loopback of multicast packets
  -l <preload>       send <preload> number of packages while waiting replies
  -m <mark>          tag the packets going out
  -M <pmtud opt>     define mtu discovery, can be one of <do|dont|want>
  -n                 no dns name resolution
  -O                 report outstanding replies
  -p <pattern>       contents of padding byte
  -q                 quiet output
  -Q <tclass>        use quality of service <tclass> bits
  -s <size>          use <size> as number of data bytes to be sent
  -S <size>          use <size> as SO_SNDBUF socket option value
  -t <ttl>           define time to live
  -U                 print user-to-user latency
  -v                 verbose output
  -V                 print version and exit
  -w <deadline>      reply wait <deadline> in seconds
  -W <timeout>       time to wait for response

IPv4 options:
  -4                 use IPv4
  -b                 allow pinging broadcast
  -R                 record route
  -T <timestamp>     define timestamp, can be one of <tsonly|tsandaddr|tsprespec>

IPv6 options:
  -6                 use IPv6
  -F <flowlabel>     define flow label, default is random
  -N <nodeinfo opt>  use icmp6 node info query, try <help> as argument

For more details see ping(8).`

// Options of ping, and those of them that are refused: what they do is not in the lab.
const (
	short         = "46aABbCc:DdE:e:F:fhI:i:Ll:M:m:N:nOp:qQ:RrS:s:T:t:UVvW:w:"
	notSupported  = "6FNRrT"
	defaultSize   = 56
	defaultWait   = 10 * time.Second // MAXWAIT
	maxPatternLen = 16
)

// options reads the command line; false: the command has ended with that status.
func (g *ping) options(args []string) (status int, ok bool) {
	g.o = options{interval: time.Second, wait: defaultWait, size: defaultSize, preload: 1, names: true}
	found, operands, err := getopt.Parse(args, short, nil)
	if err != nil {
		return g.p.Fail(2, "ping: %v\n%s", err, usage), false
	}
	intervalSet := false
	for _, f := range found {
		switch {
		case f.Name == "V":
			g.p.Printf("%s\n", version)
			return 0, false
		case f.Name == "h":
			return g.p.Fail(2, "%s", usage), false
		case strings.Contains(notSupported, f.Name):
			return g.p.Fail(2, "ping: option -%s is not supported in the lab", f.Name), false
		}
		intervalSet = intervalSet || f.Name == "i"
		if err := g.option(f.Name, f.Value); err != nil {
			return g.p.Fail(err.(*words.Error).Status, "ping: %v", err), false //nolint:errorlint,forcetypeassert // option returns no other
		}
	}
	if g.o.flood && !intervalSet {
		g.o.interval = 0
	}
	switch len(operands) {
	case 0:
		return g.p.Fail(1, "ping: usage error: Destination address required"), false
	case 1:
	default:
		return g.p.Fail(2, "ping: a route of several hosts is not supported in the lab"), false
	}
	return g.target(operands[0])
}

// target reads the destination.
func (g *ping) target(host string) (status int, ok bool) {
	g.o.host = host
	if host == "localhost" {
		g.o.dst = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		return 0, true
	}
	g.o.names = false
	if g.o.dst, ok = aton(host); !ok {
		return g.p.Fail(2, "ping: %s: Temporary failure in name resolution", host), false
	}
	if g.o.dst.IsUnspecified() {
		g.o.dst = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return 0, true
}

// aton reads an IPv4 address as inet_aton(3) does: 10.1 is 10.0.0.1.
func aton(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 0, 32)
		rest := 1
		if i == len(parts)-1 {
			rest = 4 - i
		}
		if err != nil || n >= 1<<(8*rest) {
			return netip.Addr{}, false
		}
		value = value<<(8*rest) | n
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

// option takes one option.
func (g *ping) option(name, value string) (err error) {
	o := &g.o
	switches := map[string]*bool{
		"b": &o.broadcast, "f": &o.flood, "A": &o.adaptive, "q": &o.quiet, "v": &o.verbose, "O": &o.outstanding, "D": &o.stamped,
		"a": &o.audible, "B": &o.strict,
	}
	switch {
	case switches[name] != nil:
		*switches[name] = true
	case name == "n":
		o.names = false
	case name == "I":
		return g.from(value)
	case name == "i":
		o.interval, err = g.seconds(value, "bad timing interval: %s")
	case name == "W":
		o.wait, err = g.seconds(value, "bad linger time: %s")
	case name == "M":
		if o.discovery = value; value != "do" && value != "dont" && value != "want" && value != "probe" {
			return words.Errorf(2, "invalid -M argument: %s", value)
		}
	case name == "p":
		return g.fill(value)
	default:
		return g.number(name, value)
	}
	return err
}

// number takes the options that have a number.
func (g *ping) number(name, value string) error {
	o := &g.o
	ranges := map[string]struct{ lowest, highest int64 }{
		"c": {1, math.MaxInt64}, "w": {0, math.MaxInt32}, "s": {0, math.MaxInt32}, "l": {1, 65536}, "t": {0, 255}, "Q": {0, 255},
		"e": {0, math.MaxUint16},
	}
	r, ok := ranges[name]
	if !ok {
		return nil // -4, -C, -d, -L, -m, -S and -U have nothing to do here
	}
	base := 10
	if name == "Q" {
		base = 0
	}
	n, err := strconv.ParseInt(value, base, 64)
	if err != nil {
		return words.Errorf(1, "invalid argument: '%s'", value)
	}
	if n < r.lowest || n > r.highest {
		return words.Errorf(1, "invalid argument: '%s': out of range: %d <= value <= %d", value, r.lowest, r.highest)
	}
	switch name {
	case "c":
		o.count = int(n)
	case "w":
		o.deadline = time.Duration(n) * time.Second
	case "s":
		o.size = int(n)
	case "l":
		o.preload = int(n)
	case "e":
		o.id = uint16(n)
	case "t":
		if n == 0 {
			return words.Errorf(2, "cannot set unicast time-to-live: Invalid argument")
		}
		o.ttl = uint8(n)
	case "Q":
		o.tos = uint8(n)
	}
	return nil
}

// seconds reads a time. What is behind a number is complained about and ignored.
func (g *ping) seconds(value, complaint string) (time.Duration, error) {
	end := len(value)
	f, err := strconv.ParseFloat(value, 64)
	for err != nil && end > 0 {
		end--
		f, err = strconv.ParseFloat(value[:end], 64)
	}
	if end < len(value) || value == "" {
		g.p.Errorf("ping: option argument contains garbage: %s", value[end:])
		g.p.Errorf("ping: this will become fatal error in the future")
	}
	if f < 0 || f > math.MaxInt32/1000 {
		return 0, words.Errorf(2, complaint, value)
	}
	return time.Duration(f * float64(time.Second)).Truncate(time.Millisecond), nil
}

// from takes -I: an address or a device.
func (g *ping) from(value string) error {
	if a, err := netip.ParseAddr(value); err == nil && a.Is4() {
		g.o.bind, g.o.strict = a, true
		return nil
	}
	if g.p.Node.E.Index(value) == 0 {
		return words.Errorf(2, "SO_BINDTODEVICE %s: No such device", value)
	}
	g.o.device = value
	return nil
}

// fill takes -p: up to sixteen bytes in hex digits.
func (g *ping) fill(value string) error {
	digits := value[:min(len(value), 2*maxPatternLen)]
	if len(digits)%2 == 1 { // the last byte has one digit
		digits = digits[:len(digits)-1] + "0" + digits[len(digits)-1:]
	}
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) == 0 {
		return words.Errorf(2, "patterns must be specified as hex digits: %s", value)
	}
	g.o.pattern = b
	return nil
}

// name is an address as it is printed.
func (g *ping) name(a netip.Addr) string {
	if g.o.names && a == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		return fmt.Sprintf("localhost (%s)", a)
	}
	return a.String()
}
