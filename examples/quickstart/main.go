// Command quickstart shows culvert at work, on two clusters of two nodes each that it sets up in memory: on one node a pod
// pings a pod on the other, and every hop is printed as a capture there would show it, with the reasons why the packet went
// that way. It needs no privileges and touches no network.
//
//	go run ./examples/quickstart                      # through Flannel's VXLAN, then through Flannel's IPIP tunnel
//	go run ./examples/quickstart -w hops.pcapng       # and all hops as a file for Wireshark
//	go run ./examples/quickstart -r trace.pcapng      # the other job: your capture, its tunnels taken apart and rebuilt
//
// Run it with -h for everything else.
//
// To read how a node is set up, start with flannel.go, flannel_vxlan.go and flannel_ipip.go: each call stands beside the
// command of iproute2 that does the same on Linux. pod.go pings, network.go is the wires between engines and the clock,
// capture.go the taps on devices, show.go and pcapng.go what becomes of what they saw, options.go the command line.
// internal/takeapart is the whole of -r.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/culvert-net/culvert/examples/quickstart/internal/cli"
	"github.com/culvert-net/culvert/examples/quickstart/internal/takeapart"
)

// captures are of two real clusters; testdata/README.md says which.
//
//go:embed testdata/flannel_vxlan_echo_request.pcap testdata/flannel_vxlan_http.pcap
var captures embed.FS

func main() {
	// A closed standard output, as by `| head`, then shows as a write error, and a -w file is still finished.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second interrupt kills, should reading be stuck
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the command: args are without its name, the result is the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	opt, err := parseOptions(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, help)
		return cli.OK
	case err != nil:
		fmt.Fprintf(stderr, "quickstart: %v\nRun with -h for the flags and examples.\n", err)
		return cli.Usage
	case opt.Read != "":
		return takeapart.Run(ctx, opt, stdin, stdout, stderr)
	}
	return ping(opt.Write, stdout, stderr)
}
