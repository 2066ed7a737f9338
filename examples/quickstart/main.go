// Command quickstart takes tunnels apart and puts them together again: it reads captured frames layer by layer, takes the
// inner frames out of VXLAN and IPIP, encapsulates them anew with the same identification and ports, and compares the
// result with the capture byte for byte. internal/takeapart is the whole of it. Run it with -h for everything else.
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
	}
	return takeapart.Run(ctx, opt, stdin, stdout, stderr)
}
