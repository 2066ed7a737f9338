package shell

// Sessions: a script, and then what somebody types, a line at a time, by the same interpreter.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"

	"github.com/culvert-net/culvert/lab/proc"
)

// Session is a session that is to be.
type Session struct {
	Name   string // of the script
	Script string
	Params []string

	// Lines are read when the script has ended; the session ends with them. nil: it ends when ctx is done.
	Lines io.Reader

	// Prompt and More ask for a line, and for the rest of a command; "": silently.
	Prompt, More string

	// Interrupts is the user's ^C: it ends the command that runs, or the session if none does or nobody is prompted.
	Interrupts <-chan os.Signal
}

// session is a running one.
type session struct {
	shells *Shells
	proc   *proc.Proc
	Session

	r       *interp.Runner
	sh      *shell
	ctx     context.Context
	console bool     // the script has ended
	lines   []string // read, not yet run
	eof     bool
	came    proc.Event // a line, or the end of them
	atExit  string     // the script's trap

	mu          sync.Mutex
	running     bool // a list of commands
	interrupted bool // it is to end
	over        bool // the session is
}

// typed reports whether what runs was typed.
func (t *session) typed() bool {
	return t != nil && t.console && t.shells.sys.Sched.Current().PID == mainPID
}

// RunSession runs a session in p's place, which ends when ctx is done at the latest. It returns the exit status: the script's if that
// has called exit, else that of the last line.
func (s *Shells) RunSession(ctx context.Context, p *proc.Proc, c Session) int {
	sh, r, err := s.interpreter(p, c.Name, nil, c.Params)
	if err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", c.Name, err)
		return 2
	}
	t := &session{shells: s, proc: p, Session: c, r: r, sh: sh, ctx: ctx}
	sh.session = t
	over := make(chan struct{})
	defer close(over)
	go t.signals(over)
	status, ended := t.run(t.Script)
	if !ended {
		status = t.type_(status)
	}
	if t.atExit != "" {
		t.run(t.atExit)
	}
	return status
}

// signals passes on ^C, and the end of ctx.
func (t *session) signals(over <-chan struct{}) {
	done := t.ctx.Done()
	for {
		select {
		case <-over:
			return
		case <-done:
			done = nil
			t.interrupt(true)
		case <-t.Interrupts:
			t.interrupt(false)
		}
	}
}

// interrupt ends the list of commands that runs; if none does, or it is for good, or nobody could go on typing, the session too.
func (t *session) interrupt(forGood bool) {
	t.mu.Lock()
	t.interrupted = t.running
	t.over = t.over || forGood || !t.running || t.Prompt == ""
	t.mu.Unlock()
	t.shells.sys.Net.Later(func() {
		if t.isInterrupted() {
			t.shells.sys.Sched.Main().Kill(proc.SIGINT)
		}
		t.came.Notify()
	})
}

// isInterrupted reports whether the list of commands that runs is to end.
func (t *session) isInterrupted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.interrupted
}

// stopped reports whether a command is not to run any more. Background jobs are not the user's to interrupt.
func (t *session) stopped(word string) bool {
	return t != nil && !strings.HasPrefix(word, "__lab_") && t.isInterrupted() && t.shells.sys.Sched.Current().PID == mainPID
}

// isOver reports whether the session is to end.
func (t *session) isOver() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over
}

// begin and end are of a list of commands; end reports whether it was interrupted.
func (t *session) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running, t.interrupted = true, false
}

func (t *session) end() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.interrupted
	t.running, t.interrupted = false, false
	return was
}

// run runs a text, and reports whether it has called exit.
func (t *session) run(text string) (status int, exited bool) {
	file, err := t.shells.parse(t.Name, text)
	if err != nil {
		fmt.Fprintln(t.proc.Stderr, strings.TrimPrefix(err.Error(), t.where()))
		return 2, !t.console
	}
	t.begin()
	err = t.r.Run(context.Background(), file)
	if t.end() {
		t.shells.sys.Sched.Current().ClearSignal()
		return (&proc.Interrupted{Signal: proc.SIGINT}).Status(), !t.console
	}
	return t.shells.status(err), t.r.Exited()
}

// where is what an error of a line that was typed need not say.
func (t *session) where() string {
	if t.console {
		return t.Name + ": line 1: "
	}
	return ""
}

// console_ runs what is typed.
func (t *session) type_(status int) int {
	t.run("set +e") // the script's mistakes may end it, not those of who types
	t.console = true
	if t.Lines != nil {
		go t.read()
	}
	for {
		text, err := t.command()
		if err != nil {
			return status
		}
		var exited bool
		if status, exited = t.run(text); exited {
			return status
		}
	}
}

// trap keeps the EXIT trap, which the interpreter would run after each line, and returns what is left of the command.
func (t *session) trap(args []string) []string {
	exit := func(c string) bool { return c == "EXIT" || c == "0" }
	if slices.ContainsFunc(args[2:], exit) {
		if t.atExit = args[1]; t.atExit == "-" {
			t.atExit = ""
		}
	}
	return append(args[:2:2], slices.DeleteFunc(slices.Clone(args[2:]), exit)...)
}

// read reads lines, in a goroutine of its own: it may wait in a read when the session has ended.
func (t *session) read() {
	in := bufio.NewScanner(t.Lines)
	for in.Scan() {
		line := in.Text()
		t.shells.sys.Net.Later(func() {
			t.lines = append(t.lines, line)
			t.came.Notify()
		})
	}
	t.shells.sys.Net.Later(func() {
		t.eof = true
		t.came.Notify()
	})
}

// errOver is the end of a session.
var errOver = errors.New("shell: session is over")

// command returns the next command, which may have several lines.
func (t *session) command() (string, error) {
	text, prompt := "", t.Prompt
	for {
		line, err := t.line(prompt)
		if err != nil {
			return "", err
		}
		text += line + "\n"
		if _, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), ""); err == nil || !syntax.IsIncomplete(err) {
			return text, nil
		}
		prompt = t.More
	}
}

// line returns the next line.
func (t *session) line(prompt string) (string, error) {
	t.proc.Printf("%s", prompt)
	for t.isOver() || len(t.lines) == 0 {
		if t.isOver() || t.eof {
			if prompt != "" {
				t.proc.Printf("\n")
			}
			return "", errOver
		}
		if err := t.proc.Wait(proc.Forever, &t.came); err != nil {
			return "", err
		}
	}
	line := t.lines[0]
	t.lines = t.lines[1:]
	return line, nil
}
