package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/culvert-net/culvert/lab/internal/draw"
	"github.com/culvert-net/culvert/lab/internal/shell"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// Config is how a lab is to be. The zero Config runs scripts whose output nobody reads.
type Config struct {
	// Seed decides everything that is random. Equal scripts and seeds have equal results.
	Seed uint64

	Stdin          io.Reader // nil: empty
	Stdout, Stderr io.Writer // nil: discarded

	// Dir is the working directory; "": the process's.
	Dir string

	// Env are environment variables, NAME=VALUE, beside PATH, HOME, TMPDIR and LC_ALL=C, which every script has.
	Env []string

	// Commands are further words of the language, or other meanings of those there are.
	Commands proc.Table

	// RealTime lets time go by as outside, so that nodes can have devices of the machine.
	RealTime bool

	// Drivers are such devices: 'ip link add NAME type KIND WORD…', by KIND. They need RealTime.
	Drivers map[string]proc.OpenDriver

	// Capture takes a pcapng file of every packet at every device that it crosses; interfaces are called node/device. It is
	// complete when the lab is closed. nil: none is made.
	Capture io.Writer

	// Verbose are remarks of the lab itself; nil: none.
	Verbose io.Writer
}

// Lab runs scripts on one network.
type Lab struct {
	sys    *proc.System
	shells *shell.Shells
	root   proc.Proc
	hops   *capture // nil: none
}

// New returns a lab with an empty network: the default namespace alone. Close it in the end. It reports what is wrong with c.
func New(c Config) (*Lab, error) {
	stderr := &stderr{orDiscard(c.Stderr)}
	net, err := network.New(network.Config{Seed: c.Seed, RealTime: c.RealTime, OnDriver: func(n *network.Node, dev string, err error) {
		fmt.Fprintf(stderr, "%s: %s: %v\n", n.Name, dev, err)
	}})
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("lab: Config.Dir: %w", err)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("lab: Config.Dir: %s is no directory", dir)
	}
	temp, err := os.MkdirTemp("", "lab")
	if err != nil {
		return nil, err
	}
	table := commands()
	maps.Copy(table, c.Commands)
	sys := &proc.System{
		Net: net, Sched: proc.NewScheduler(net), Table: table, Files: files(), Paths: paths(), TempDir: temp,
		Stderr: stderr, Verbose: c.Verbose, Drivers: c.Drivers,
	}
	l := &Lab{sys: sys, shells: shell.New(sys)}
	if c.Capture != nil {
		if l.hops, err = newCapture(net, c.Capture); err != nil {
			return nil, errors.Join(err, os.RemoveAll(temp))
		}
	}
	env := append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + temp, "TMPDIR=" + temp, "LC_ALL=C"}, c.Env...)
	l.root = proc.Proc{
		Node: net.Default(), Dir: dir, Stdin: c.Stdin, Stdout: orDiscard(c.Stdout), Stderr: sys.Stderr, Sys: sys,
		Env: func(name string) string { return lookup(env, name) }, Envs: func() []string { return env },
	}
	return l, nil
}

// process returns what a script runs in.
func (l *Lab) process(name string) *proc.Proc {
	p := l.root
	p.Pos = proc.Position{File: name}
	if p.Stdin == nil {
		p.Stdin = strings.NewReader("") // its own: the interpreter reads it in a goroutine
	}
	return &p
}

// stderr makes the run's standard error a writer that is equal to no other, so that a redirection can be told. What set -x shows
// of words of our own is left out.
type stderr struct{ io.Writer }

func (w *stderr) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, []byte("+")) && bytes.Contains(b, []byte("__lab_")) {
		return len(b), nil
	}
	return w.Writer.Write(b)
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

func lookup(env []string, name string) string {
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// Draw writes a picture of the network as SVG: nodes, devices, addresses, wires, tunnels, and the way of the packets that trace has
// shown.
func (l *Lab) Draw(w io.Writer) error { return draw.SVG(w, l.sys.Net) }

// Network returns the network that the scripts build.
func (l *Lab) Network() *network.Network { return l.sys.Net }

// Run runs a bash script; name stands for it in messages, and params are its $1, $2 … It returns the exit status. Background jobs
// that the script leaves behind are ended. The error is the network's, if that never comes to rest, or one of the machine.
//
// Several scripts may be run one after the other, on the same network.
func (l *Lab) Run(name, script string, params ...string) (int, error) {
	return l.RunContext(context.Background(), name, script, params...)
}

// RunContext is [Lab.Run], and ends the script when ctx is done: for those that run in circles. The error wraps the context's cause then,
// and the lab can only be closed.
func (l *Lab) RunContext(ctx context.Context, name, script string, params ...string) (int, error) {
	defer context.AfterFunc(ctx, func() { l.sys.Sched.Stop(context.Cause(ctx)) })()
	status := l.shells.Run(l.process(name), name, script, params)
	l.sys.Sched.Finish()
	if err := l.sys.Sched.Err(); err != nil {
		return status, fmt.Errorf("lab: %s: %w", name, err)
	}
	return status, nil
}

// Console is what a session has beside its script.
type Console struct {
	// Lines are what is typed when the script has ended, bash too; the session ends with them. nil: it ends when its context is done.
	Lines io.Reader

	// Prompt and More ask for a line, and for the rest of a command that is not complete. "": silently.
	Prompt, More string

	// Interrupts are the user's ^C: each ends the command that runs, or the session if none does or there is no Prompt.
	Interrupts <-chan os.Signal
}

// Session runs a bash script, and then what is typed, with the script's variables, functions and background jobs, until exit, the
// end of the lines or of ctx. It returns the exit status: 128 and SIGINT's number if the script was interrupted. It is for labs in
// real time.
func (l *Lab) Session(ctx context.Context, name, script string, c Console) (int, error) {
	status := l.shells.RunSession(ctx, l.process(name), shell.Session{
		Name: name, Script: script, Lines: c.Lines, Prompt: c.Prompt, More: c.More, Interrupts: c.Interrupts,
	})
	l.sys.Sched.Finish()
	if err := l.sys.Sched.Err(); err != nil {
		return status, fmt.Errorf("lab: %s: %w", name, err)
	}
	return status, nil
}

// Close ends what runs in real time and closes drivers, completes the capture, removes the lab's temporary files, and returns what
// does not add up: packets or buffers that an engine has lost.
func (l *Lab) Close() error {
	return errors.Join(l.sys.Net.Close(), l.hops.close(), l.sys.Net.Check(), os.RemoveAll(l.sys.TempDir))
}
