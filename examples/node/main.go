// Command node is a network node on real devices, configured as Linux is: by a bash script of ip, bridge, brctl, route, arp and
// sysctl commands. What the kernel would do with these, culvert does, in this process.
//
//	the machine                                  │ this process
//	  v0 ◀── packet socket ──── afpacket dev v0 ─┼─▶ eth0 ─┐
//	  tap0, a device made here ──────────── tap ─┼─▶ tap0 ─┤  bridges, routes, neighbours,
//	  tun0 ──────────────────────────────── tun ─┼─▶ tun0 ─┤  VXLAN and IPIP devices: the engine
//	  UDP sockets on port 8472 ──── udp local A ─┼─▶ wire ─┤
//	  raw sockets of protocol 4 ─ rawip local A ─┼─▶ ipip ─┘
//
// This file is the command line; devices.go has the devices; show.go what can be asked. All else is package lab, which runs the
// same scripts in memory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/culvert-net/culvert/lab"
	"github.com/culvert-net/culvert/lab/proc"
)

const usage = `node is a network node on real devices, configured as Linux is:

    node SCRIPT     runs a bash script of ip, bridge, brctl, route, arp and sysctl commands, then what you type
    node -          runs what you type

Commands are those of Linux, beside these, which make a device of the machine one of the node's:

    ip link add NAME [address MAC] [mtu N] [up] type
        afpacket dev D [promisc] [steal] [filter KIND VALUE…]   a device of the machine, by packet sockets
        tap | tun [dev D]                                       a new device of the machine, D or NAME
        udp local A [port P]                                    VXLAN by UDP sockets, without any privilege
        rawip local A                                           IPIP by raw sockets

    show            devices, addresses, and how the drivers do
    stats           what became of all packets, and why some were dropped
    trace [FILTER]  the way of the next packet through the tables, in words

tcpdump, ping, arping, traceroute, nc -u and nstat work, too, and more: what the lab has (go doc ./lab). Try, as root:

    ip link add v0 type veth peer name v1               # a wire; its other end stays with the machine
    ip addr add 10.9.9.1/24 dev v1
    ip link set v0 up; ip link set v1 up
    cat >node.sh <<'END'
    set -e
    ip link add eth0 address 02:00:00:00:00:09 up type afpacket dev v0
    ip addr add 10.9.9.9/24 dev eth0
    ping -c 1 10.9.9.1
    END
    go run ./examples/node node.sh                      # then, in another terminal: ping 10.9.9.9

It ends with exit, the end of its input (other than /dev/null), ^C at the prompt or of what is no terminal, or SIGTERM.

Options:
`

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is main, of any files.
func run(args []string, stdin *os.File, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("node", flag.ContinueOnError)
	flags.SetOutput(stderr)
	verbose := flags.Bool("v", false, "show all at the end, not only what became of the packets")
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() != 1:
		flags.Usage()
		return 2
	}
	name, script := flags.Arg(0), []byte(nil)
	if name != "-" {
		var err error
		if script, err = os.ReadFile(name); err != nil {
			fmt.Fprintln(stderr, "node:", err)
			return 2
		}
	}
	status, err := node(name, string(script), console(stdin), *verbose, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "node:", err)
		return 1
	}
	return status
}

// node runs a script, and then what comes from a console, and returns the exit status.
func node(name, script string, c lab.Console, verbose bool, stdout, stderr io.Writer) (int, error) {
	l, err := lab.New(lab.Config{
		RealTime: true, Drivers: drivers(), Commands: proc.Table{"show": show, "help": help}, Stdout: stdout, Stderr: stderr,
		Seed: rand.Uint64(), // so that no two nodes give their devices the same MAC addresses
	})
	if err != nil {
		return 1, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	c.Interrupts = interrupts

	status, err := l.Session(ctx, name, script, c)
	if ctx.Err() != nil {
		status = 0 // as it was told to
	}

	summary := "stats -a"
	if verbose {
		summary = "show; " + summary
	}
	_, failed := l.Run("summary", summary)
	return status, errors.Join(err, failed, l.Close())
}

// help is a command for who has not read the usage.
func help(p *proc.Proc, _ []string) int {
	p.Printf("%s", strings.TrimSuffix(usage, "\nOptions:\n"))
	return 0
}

// console is standard input, with a prompt if somebody sits there.
func console(stdin *os.File) lab.Console {
	is, err := stdin.Stat()
	null, errNull := os.Stat(os.DevNull)
	switch {
	case err != nil, errNull == nil && os.SameFile(is, null):
		return lab.Console{} // a service: only a signal ends it
	case is.Mode()&os.ModeCharDevice != 0:
		return lab.Console{Lines: stdin, Prompt: "node> ", More: "    > "}
	}
	return lab.Console{Lines: stdin}
}
