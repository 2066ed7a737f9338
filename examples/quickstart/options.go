package main

// The command line.

import (
	"flag"
	"fmt"
	"io"

	"github.com/culvert-net/culvert/examples/quickstart/internal/cli"
	"github.com/culvert-net/culvert/examples/quickstart/internal/takeapart"
)

const help = `quickstart runs two small clusters in memory: a pod pings a pod on another node, first through Flannel's VXLAN tunnel,
then through its IPIP tunnel. Every hop is printed in tcpdump's words, then why each node did what it did.

With -r it does another job: it reads captured frames layer by layer, takes the inner frames out of VXLAN and IPIP
tunnels, encapsulates them again with the same identification and ports, and compares byte for byte.

Usage: go run ./examples/quickstart [-w FILE]
       go run ./examples/quickstart -r FILE [flags]

  -w FILE      write the hops to FILE as pcapng, an interface for each; - is standard output, the text then goes
               to standard error. With -r: write what was in the tunnels
  -r FILE      read FILE: pcap or pcapng, gzip too; - is standard input. Link types: Ethernet, raw IP,
               Linux cooked (what tcpdump -i any writes)
  -r demo      read two captures of real Flannel clusters that the program carries with it; a file of
               that name is ./demo
  -h           print this

Only with -r:
  -port N,...  UDP destination ports of VXLAN (default 4789,8472)
  -q           print only the tables
  -flows N     print at most N flows (default 50), 0 for all
  -json        print one JSON object a frame and one with the tables, instead of text; the fields are in
               internal/takeapart/jsonfields.go
  -strict      reject frames with wrong checksums; partial ones, as offloads leave them at a sender, are not wrong

Examples:
  go run ./examples/quickstart                                  see a ping cross two nodes
  go run ./examples/quickstart -w hops.pcapng                   the same for Wireshark; tshark shows it in a terminal:
    tshark -r hops.pcapng -d udp.port==8472,vxlan -T fields -e frame.interface_name -e _ws.col.Info
  go run ./examples/quickstart -r trace.pcapng.gz -q            which flows are in which tunnels?
  go run ./examples/quickstart -r trace.pcap -w inner.pcapng    the traffic without its tunnels
  sudo tcpdump -i any -U -w - udp port 8472 | go run ./examples/quickstart -r - -json | jq .levels

Exit status: 0 if all went well, 1 if a ping was not answered, something could not be read or written, or -strict
rejected a frame, 2 for a wrong command line.
`

// parseOptions reads the command line. Its errors are for the user; flag.ErrHelp asks for help. Without Read, only Write
// means anything.
func parseOptions(args []string) (takeapart.Options, error) {
	opt := takeapart.Options{Captures: captures}
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
	var err error
	flags.Visit(func(f *flag.Flag) {
		if err == nil && opt.Read == "" && f.Name != "w" {
			err = fmt.Errorf("-%s says how captured frames are read: name a capture with -r, such as -r demo", f.Name)
		}
	})
	return opt, err
}
