// Package takeapart is what quickstart -r does: it reads captured frames layer by layer, takes the inner frames out of VXLAN
// and IPIP, encapsulates them anew with the same identification and ports, and compares the result with the capture byte for
// byte.
//
// The files, in the order in which a frame meets them: options.go, input.go and link.go (where frames come from), frame.go
// and checksums.go (what is in them), rebuild.go and why.go (the tunnels), flows.go and notes.go (what is counted), text.go,
// tables.go, json.go and jsonfields.go (what is shown), write.go (the -w file), session.go (a whole run), demo.go (the run
// with the captures that the program carries with it).
package takeapart

import (
	"context"
	"fmt"
	"io"

	"github.com/culvert-net/culvert/examples/quickstart/internal/cli"
)

// Run reads what the options name and returns the exit code. When ctx ends, it stops between two frames and still prints the
// tables.
func Run(ctx context.Context, opt Options, stdin io.Reader, stdout, stderr io.Writer) int {
	s, err := newSession(opt, stdin, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "quickstart: %v\n", err)
		return cli.ExitCode(err)
	}
	return s.run(ctx)
}
