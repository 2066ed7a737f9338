package main

// The command line.

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/vxlan"
)

const help = `quickstart reads captured frames layer by layer, takes the inner frames out of VXLAN and IPIP tunnels,
encapsulates them again with the same identification and ports, and compares byte for byte.

Usage: go run ./examples/quickstart [flags]

Without flags it reads two captures of Flannel clusters that it carries with it, and builds an IPIP packet.

  -r FILE      read FILE: pcap or pcapng, gzip too; - is standard input. Link types: Ethernet, raw IP,
               Linux cooked (what tcpdump -i any writes)
  -w FILE      write what was in the tunnels to FILE as pcapng, for Wireshark; - is standard output, the
               text then goes to standard error
  -port N,...  UDP destination ports of VXLAN (default 4789,8472)
  -q           print only the tables
  -flows N     print at most N flows (default 50), 0 for all
  -json        print one JSON object a frame and one with the tables, instead of text; jsonfields.go names the fields
  -strict      reject frames with wrong checksums; partial ones, as offloads leave them at a sender, are not wrong
  -h           print this

Examples:
  go run ./examples/quickstart -r trace.pcapng.gz -q            which flows are in which tunnels?
  go run ./examples/quickstart -r trace.pcap -w inner.pcapng    the traffic without its tunnels
  sudo tcpdump -i any -U -w - udp port 8472 | go run ./examples/quickstart -r - -json | jq .levels

Exit status: 0 if all could be read, 1 if not, or if -strict rejected a frame, 2 for a wrong command line.
`

// options are the flags.
type options struct {
	read, write string // file names; "-" is standard input or output, "" none
	ports       []uint16
	flows       int
	quiet       bool
	json        bool
	strict      bool
}

// parseOptions reads the command line. Its errors are for the user; flag.ErrHelp asks for help.
func parseOptions(args []string) (options, error) {
	opt := options{ports: []uint16{vxlan.Port, vxlan.PortLinux}}
	fs := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // run prints the error, once
	fs.Func("r", "", named(&opt.read))
	fs.Func("w", "", named(&opt.write))
	fs.Func("port", "", func(s string) (err error) {
		opt.ports, err = parsePorts(s)
		return err
	})
	fs.IntVar(&opt.flows, "flows", 50, "")
	fs.BoolVar(&opt.quiet, "q", false, "")
	fs.BoolVar(&opt.json, "json", false, "")
	fs.BoolVar(&opt.strict, "strict", false, "")
	switch err := fs.Parse(args); {
	case err != nil:
		return opt, err
	case fs.NArg() > 0:
		return opt, fmt.Errorf("unexpected argument %q: to read a file say -r %[1]s", fs.Arg(0))
	case opt.flows < 0:
		return opt, fmt.Errorf("-flows is %d: want 0 (all) or more", opt.flows)
	}
	return opt, nil
}

// named stores a flag's file name, which must not be empty: an unset shell variable is not 'no file'.
func named(to *string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("want a file name, or - for standard input and output")
		}
		*to = s
		return nil
	}
}

func parsePorts(s string) ([]uint16, error) {
	var ports []uint16
	for field := range strings.SplitSeq(s, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(field), 10, 16)
		if err != nil || n == 0 {
			return nil, errors.New("want port numbers from 1 to 65535 with commas between them, such as 4789,8472")
		}
		ports = append(ports, uint16(n))
	}
	return ports, nil
}
