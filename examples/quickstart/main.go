// Command quickstart takes tunnels apart and puts them together again: it reads captured frames layer by layer, takes the
// inner frames out of VXLAN and IPIP, encapsulates them anew with the same identification and ports, and compares the
// result with the capture byte for byte.
//
//	go run ./examples/quickstart                      # two real Flannel captures that it carries with it
//	go run ./examples/quickstart -r trace.pcapng      # yours
//	tcpdump -i any -w - | go run ./examples/quickstart -r -
//
// It needs no privileges. Run it with -h for everything else.
//
// The files, in the order in which a frame meets them: options.go, input.go and link.go (where frames come from), frame.go
// and checksums.go (what is in them), rebuild.go and why.go (the tunnels), flows.go and notes.go (what is counted), text.go,
// tables.go, json.go, jsonfields.go and output.go (what is shown), write.go (the -w file), session.go (a whole run), demo.go
// (the run without arguments).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitOK    = 0
	exitFault = 1 // something could not be read or written, or -strict rejected a frame
	exitUsage = 2
)

func main() {
	// A closed standard output, as by `| head`, then shows as a write error, and a -w file is still finished.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second interrupt kills, should reading be stuck
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the command: args are without its name, the result is the exit code. When ctx ends, it stops between two frames
// and still prints the tables.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	opt, err := parseOptions(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, help)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "quickstart: %v\nRun with -h for the flags and examples.\n", err)
		return exitUsage
	}
	s, err := newSession(opt, stdin, stdout, stderr)
	var usage usageError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "quickstart: %v\n", err)
		return exitUsage
	case err != nil:
		fmt.Fprintf(stderr, "quickstart: %v\n", err)
		return exitFault
	}
	return s.run(ctx)
}
