// Command lab runs network scripts in memory: lab -h tells how.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/culvert-net/culvert/lab"
)

const usage = `lab runs a bash script of ip, bridge, ping and tcpdump commands in memory: no root, no network, no waiting.

    lab SCRIPT [ARGUMENT]…     runs a file
    lab NAME                   runs one of the samples; lab -list names them
    lab -                      runs what comes from standard input

A network namespace is a node of its own, with what the kernel would do done by culvert. Time is virtual: sleep 300 is over at
once, and everything that happens in 300 seconds has happened. The same script and seed have the same output, every time; and the
same script run by bash as root on Linux has the same result.

Try this, as a file or after lab - (then Ctrl-D):

    ip netns add a
    ip netns add b
    ip link add eth0 netns a type veth peer name eth0 netns b
    ip -n a addr add 10.0.0.1/24 dev eth0
    ip -n b addr add 10.0.0.2/24 dev eth0
    ip -n a link set eth0 up
    ip -n b link set eth0 up
    ip netns exec a ping -c 3 10.0.0.2

Options:
`

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// options are the command line's.
type options struct {
	list, verbose bool
	seed          uint64
	pcapng, draw  string
}

// run is main, of any files.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.list, "list", false, "list the samples")
	flags.BoolVar(&o.verbose, "v", false, "tell what bash would not, and at the end what became of all packets")
	flags.Uint64Var(&o.seed, "seed", 1, "what decides everything random: MAC addresses, losses, ports")
	flags.StringVar(&o.pcapng, "pcapng", "", "write every packet at every device that it crosses to `FILE`, for Wireshark")
	flags.StringVar(&o.draw, "draw", "", "draw the network as it is in the end, and the way of traced packets, to `FILE.svg`")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case o.list:
		return list(stdout)
	case flags.NArg() == 0:
		flags.Usage()
		return 2
	}
	script, err := load(flags.Arg(0), stdin)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	return o.run(flags.Arg(0), script, flags.Args()[1:], stdin, stdout, stderr)
}

// list prints the samples' names.
func list(w io.Writer) int {
	for _, s := range lab.Samples() {
		fmt.Fprintf(w, "%-22s %s\n", s.Name, s.Title)
	}
	return 0
}

// load returns the script: a file, a sample, or standard input.
func load(name string, stdin io.Reader) (string, error) {
	if name == "-" {
		b, err := io.ReadAll(stdin)
		return string(b), err
	}
	b, err := os.ReadFile(name)
	if !errors.Is(err, os.ErrNotExist) {
		return string(bytes.ToValidUTF8(b, []byte("?"))), err
	}
	s, notSample := lab.FindSample(name)
	if notSample != nil {
		return "", fmt.Errorf("lab: %s is neither a file nor a sample; lab -list names the samples", name)
	}
	return s.Script, nil
}

// run runs a script and returns its exit status.
func (o options) run(name, script string, params []string, stdin io.Reader, stdout, stderr io.Writer) int {
	config := lab.Config{Seed: o.seed, Stdin: stdin, Stdout: stdout, Stderr: stderr}
	if o.verbose {
		config.Verbose = stderr
	}
	if name == "-" {
		config.Stdin = nil // it was the script
	}
	closeCapture := func() error { return nil }
	if o.pcapng != "" {
		f, err := os.Create(o.pcapng)
		if err != nil {
			fmt.Fprintln(stderr, err)
			return 2
		}
		config.Capture, closeCapture = f, f.Close
	}
	status, err := o.lab(config, name, script, params)
	if err := errors.Join(err, closeCapture()); err != nil {
		fmt.Fprintln(stderr, err)
		return max(status, 1)
	}
	return status
}

// lab runs a script in a lab of its own.
func (o options) lab(config lab.Config, name, script string, params []string) (int, error) {
	l, err := lab.New(config)
	if err != nil {
		return 2, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second ^C ends the process, whatever it does
	status, err := l.RunContext(ctx, name, script, params...)
	if ctx.Err() != nil {
		return interrupted, errors.Join(errInterrupted, l.Close())
	}
	stop()
	if o.verbose {
		fmt.Fprintf(config.Stderr, "lab: %v of virtual time went by, seed %d\n", l.Network().Now(), o.seed)
		err = errors.Join(err, l.Network().Stats(config.Stderr))
	}
	if o.draw != "" {
		err = errors.Join(err, drawTo(l, o.draw))
	}
	return status, errors.Join(err, l.Close())
}

// interrupted is the exit status of who was ended by ^C, as in bash.
const interrupted = 130

var errInterrupted = errors.New("lab: interrupted")

// drawTo writes the network's picture to a file.
func drawTo(l *lab.Lab, name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(l.Draw(f), f.Close())
}
