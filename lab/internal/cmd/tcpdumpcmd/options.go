package tcpdumpcmd

// The command line.

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/lab/internal/getopt"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/proc"
)

// options are what the command line says.
type options struct {
	device    string // -i
	read      string // -r
	write     string // -w
	count     int    // -c; 0: no end
	snapLen   int    // -s
	direction string // -Q
	filter    string

	verbose  int // how many -v
	link     bool
	quick    bool
	absolute bool // -S
	noSums   bool // -K
	times    int  // how many -t
	number   bool // -#
	hex      int  // how many -x
	hexText  int  // how many -X
	text     int  // how many -A
	version  bool
}

// maxSnapLen is libpcap's MAXIMUM_SNAPLEN.
const maxSnapLen = 262144

const version = `tcpdump version 4.99.3
libpcap version 1.10.3 (with TPACKET_V3)
OpenSSL 3.0.15 3 Sep 2024`

const usage = `Usage: tcpdump [-AbdDefhHIJKlLnNOpqStuUvxX#] [ -B size ] [ -c count ] [--count]
		[ -C file_size ] [ -E algo:secret ] [ -F file ] [ -G seconds ]
		[ -i interface ] [ --immediate-mode ] [ -j tstamptype ]
		[ -M secret ] [ --number ] [ --print ] [ -Q in|out|inout ]
		[ -r file ] [ -s snaplen ] [ -T type ] [ --version ]
		[ -V file ] [ -w file ] [ -W filecount ] [ -y datalinktype ]
		[ --time-stamp-precision precision ] [ --micro ] [ --nano ]
		[ -z postrotate-command ] [ -Z user ] [ expression ]`

// Options with and without a value. Those of tcpdump that are missing here are refused: -C, -d, -D, -E, -G, -I, -j, -J, -L, -T, -V,
// -W, -y, -z, --count, --print, --nano.
const short = "AB:c:efF:hHi:KlnNOpqQ:r:s:StuUvw:xXZ:#"

var long = map[string]string{
	"absolute-tcp-sequence-numbers": "S", "buffer-size": "B:", "direction": "Q:", "dont-verify-checksums": "K", "help": "h",
	"immediate-mode": "U", "interface": "i:", "micro": "U", "no-optimize": "O", "no-promiscuous-mode": "p", "number": "#",
	"packet-buffered": "U", "relinquish-privileges": "Z:", "snapshot-length": "s:", "version": "version",
}

// parse reads the command line. The errors are whole.
func parse(p *proc.Proc, args []string) (options, error) {
	o := options{snapLen: maxSnapLen}
	found, operands, err := getopt.Parse(args, short, long)
	if err != nil {
		return o, fmt.Errorf("tcpdump: %w\n%s\n%s", err, version, usage)
	}
	o.filter = strings.Join(operands, " ")
	for _, f := range found {
		if err := o.set(p, f.Name, f.Value); err != nil {
			return o, err
		}
	}
	if o.direction != "" && o.direction != "in" && o.direction != "out" && o.direction != "inout" {
		return o, fmt.Errorf("tcpdump: unknown capture direction `%s'", o.direction)
	}
	return o, nil
}

// set takes one option.
func (o *options) set(p *proc.Proc, name, value string) (err error) {
	counters := map[string]*int{"v": &o.verbose, "t": &o.times, "x": &o.hex, "X": &o.hexText, "A": &o.text}
	switches := map[string]*bool{"e": &o.link, "q": &o.quick, "S": &o.absolute, "K": &o.noSums, "#": &o.number, "version": &o.version}
	texts := map[string]*string{"i": &o.device, "r": &o.read, "w": &o.write, "Q": &o.direction}
	switch {
	case counters[name] != nil:
		*counters[name]++
	case switches[name] != nil:
		*switches[name] = true
	case texts[name] != nil:
		*texts[name] = value
	case name == "c":
		if o.count, err = strconv.Atoi(value); err != nil || o.count <= 0 {
			return fmt.Errorf("tcpdump: invalid packet count %s", value)
		}
	case name == "s":
		n, err := strconv.ParseInt(value, 0, 32)
		if err != nil || n < 0 || n > maxSnapLen {
			return fmt.Errorf("tcpdump: invalid snaplen %s (must be >= 0 and <= %d)", value, maxSnapLen)
		}
		if n > 0 {
			o.snapLen = int(n)
		}
	case name == "F":
		return o.filterFile(p, value)
	case name == "h":
		return errors.New(version + "\n" + usage)
	}
	// -B, -f, -l, -n, -N, -O, -p, -u, -U and -Z have nothing to do here: names are never looked up, devices see all, and nothing
	// is buffered.
	return nil
}

// filterFile reads the expression from a file, whose words replace those of the command line.
func (o *options) filterFile(p *proc.Proc, name string) error {
	f, err := p.Open(name)
	if err != nil {
		return fmt.Errorf("tcpdump: can't open %s: %s", name, words.Strerror(err))
	}
	b, err := io.ReadAll(f)
	o.filter = string(b)
	return errors.Join(err, f.Close())
}
