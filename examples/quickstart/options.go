package main

// The command line.

import (
	"flag"
	"fmt"
	"io"

	"github.com/culvert-net/culvert/examples/quickstart/internal/cli"
	"github.com/culvert-net/culvert/examples/quickstart/internal/takeapart"
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

// parseOptions reads the command line. Its errors are for the user; flag.ErrHelp asks for help.
func parseOptions(args []string) (takeapart.Options, error) {
	opt := takeapart.Options{Read: takeapart.Demo, Captures: captures}
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run prints the error, once
	flags.Func("r", "", cli.Named(&opt.Read))
	flags.Func("w", "", cli.Named(&opt.Write))
	opt.Register(flags)
	if err := flags.Parse(args); err != nil {
		return opt, err
	}
	if flags.NArg() > 0 {
		return opt, fmt.Errorf("unexpected argument %q: to read a file say -r %[1]s", flags.Arg(0))
	}
	return opt, nil
}
