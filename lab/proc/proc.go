// Package proc is what a word of the lab's language is made of: a Command is a function that is given a Proc, and gives an exit
// status.
//
//	func sleep(p *proc.Proc, args []string) int { … p.Sleep(time.Second) … }
//
// A Proc has the node that the command runs in (the network namespace), its files, and virtual time: Sleep, Wait and Recv let
// other processes and the network go on, and return an error when the process was killed. Everything between two of these calls
// happens at one moment, with nobody else running: commands need no locks.
package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
)

// Command is a word of the language. args are those behind the command's name; the result is the exit status.
type Command func(p *Proc, args []string) int

// Table is commands by name.
type Table map[string]Command

// OpenDriver makes a device of the machine for 'ip link add NAME type KIND WORD…': words are those behind KIND. Its error's text is
// for people: it names the device and what would help.
type OpenDriver func(link engine.Link, words []string) (driver.Driver, error)

// System is what all processes of a run share.
type System struct {
	Net   *network.Network
	Sched *Scheduler
	Table Table

	// Shell runs a shell on p: with -c a text, else the script of that name, as sh(1).
	Shell func(p *Proc, args []string) int

	// External runs a command that is in no table: one of the machine's text tools, or it says that there is no such command.
	External func(p *Proc, args []string) int

	// Known reports whether External has a command; nil: it has none.
	Known func(name string) bool

	// Files open the files that are the lab's own, such as those in /proc/sys. Each returns false for those that are not.
	Files []FileFunc

	// Paths name the files that Files open, for those who look for them: test, and the shell's *.
	Paths []func(p *Proc) []string

	// Drivers are the kinds of devices that are outside, see [OpenDriver].
	Drivers map[string]OpenDriver

	// TempDir is the run's own directory for temporary files.
	TempDir string

	// Stderr is the run's own standard error. Errors that go there bear the script's name and line.
	Stderr io.Writer

	// Verbose are remarks of the lab itself (-v); nil: nobody reads them.
	Verbose io.Writer
}

// Position is where in a script a command stands.
type Position struct {
	File string
	Line int
}

// String returns the position as bash has it in messages.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s: line %d", p.File, p.Line)
}

// Proc is a running command.
type Proc struct {
	Name   string // as which it was called
	Node   *network.Node
	Pos    Position
	Dir    string // working directory; see Path
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Env    func(name string) string // environment variables
	Envs   func() []string          // all of them, NAME=VALUE
	Sys    *System
}

// Date returns the date and time of day of a moment.
func (p *Proc) Date(at time.Duration) time.Time { return p.Sys.Net.Date(at) }

// Now returns the network's time.
func (p *Proc) Now() time.Duration { return p.Sys.Net.Now() }

// Sleep lets virtual time go by. The error is [Interrupted].
func (p *Proc) Sleep(d time.Duration) error {
	err := p.Wait(p.Now() + min(max(d, 0), Forever-p.Now()))
	if errors.Is(err, ErrDeadline) {
		return nil
	}
	return err
}

// Wait waits until one of the events happens, the deadline has come (ErrDeadline; [Forever] is none), or the process is killed
// ([Interrupted]).
func (p *Proc) Wait(deadline time.Duration, events ...*Event) error {
	return p.Sys.Sched.wait(deadline, events...)
}

// Recv returns the next message of a socket, and waits for one until the deadline. The errors are those of Wait.
func (p *Proc) Recv(s *network.Socket, deadline time.Duration) (network.Message, error) {
	var arrived Event
	for {
		if m, ok := s.Read(); ok {
			return m, nil
		}
		s.OnReceive = arrived.Notify
		if err := p.Wait(deadline, &arrived); err != nil {
			return network.Message{}, err
		}
	}
}

// At calls f when the time has come; f must not wait.
func (p *Proc) At(at time.Duration, f func()) { p.Sys.Net.At(at, f) }

// Alarm runs f, and sends the process's own task a signal if f has not ended at a time: so timeout(1) ends what it runs.
func (p *Proc) Alarm(at time.Duration, sig Signal, f func() int) (status int, fired bool) {
	task, over := p.Sys.Sched.Current(), false
	p.At(at, func() {
		if !over && task.signal == 0 {
			fired = true
			task.Kill(sig)
		}
	})
	status = f()
	over = true
	if fired && task.signal == sig {
		task.ClearSignal()
	}
	return status, fired
}

// Printf writes to standard output.
func (p *Proc) Printf(format string, args ...any) { fmt.Fprintf(p.Stdout, format, args...) }

// Errorf writes a line to standard error, as the real command would have it, without the newline. Where nobody has redirected it,
// the script's name and line go in front.
func (p *Proc) Errorf(format string, args ...any) {
	text := strings.TrimSuffix(fmt.Sprintf(format, args...), "\n")
	if p.Stderr == p.Sys.Stderr && p.Pos != (Position{}) {
		text = p.Pos.String() + ": " + text
	}
	fmt.Fprintln(p.Stderr, text)
}

// Fail is Errorf, and returns the exit status, for 'return p.Fail(2, …)'.
func (p *Proc) Fail(status int, format string, args ...any) int {
	p.Errorf(format, args...)
	return status
}

// Killed returns the exit status for an error of Wait, Sleep or Recv: that of who dies of the signal.
func (p *Proc) Killed(err error) int {
	if i, ok := interrupted(err); ok {
		return i.Status()
	}
	return p.Fail(1, "%v", err)
}

// Catch returns the signal that an error of Wait, Sleep or Recv is about, and forgets it: so does a process that has a handler for
// the signal, and whose exit status is its own. Nobody catches SIGKILL and SIGPIPE, and false is the result for every other error too.
func (p *Proc) Catch(err error) (Signal, bool) {
	i, ok := interrupted(err)
	if !ok || i.Signal == SIGKILL || i.Signal == SIGPIPE {
		return 0, false
	}
	p.Sys.Sched.Current().ClearSignal()
	return i.Signal, true
}

// On returns a process like this one in another node.
func (p *Proc) On(node *network.Node) *Proc {
	child := *p
	child.Node = node
	return &child
}

// With returns a process like this one with other files; nil ones stay.
func (p *Proc) With(stdin io.Reader, stdout, stderr io.Writer) *Proc {
	child := *p
	if stdin != nil {
		child.Stdin = stdin
	}
	if stdout != nil {
		child.Stdout = stdout
	}
	if stderr != nil {
		child.Stderr = stderr
	}
	return &child
}

// Exec runs another command, args[0], in this process's place: with its node, files and position. So do 'ip netns exec' and
// 'timeout'. When it has ended, the network has settled.
func (p *Proc) Exec(args []string) int {
	child := *p
	child.Name = args[0]
	if command := p.Sys.Table[filepath.Base(args[0])]; command != nil {
		status := command(&child, args[1:])
		p.Settle()
		return status
	}
	return p.Sys.External(&child, args)
}

// Knows reports whether there is a command of that name.
func (p *Proc) Knows(name string) bool {
	return p.Sys.Table[filepath.Base(name)] != nil || p.Sys.Known != nil && p.Sys.Known(name)
}

// Settle lets all happen in the network that is due now.
func (p *Proc) Settle() {
	if err := p.Sys.Net.Settle(); err != nil {
		p.Sys.Sched.fail(err)
	}
}

// Path returns a file's name as the process means it, beneath its working directory.
func (p *Proc) Path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(p.Dir, name)
}

// Open opens a file to read, one of the lab's own too; "-" is standard input.
func (p *Proc) Open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(p.Stdin), nil
	}
	if f, ok, err := p.Sys.OpenVirtual(p, p.Path(name), os.O_RDONLY); ok {
		return f, err
	}
	return os.Open(p.Path(name))
}

// Create opens a file to write, one of the lab's own too. flag is os.OpenFile's.
func (p *Proc) Create(name string, flag int) (io.WriteCloser, error) {
	if f, ok, err := p.Sys.OpenVirtual(p, p.Path(name), flag); ok {
		return f, err
	}
	return os.OpenFile(p.Path(name), flag, 0o666)
}
