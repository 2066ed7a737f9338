package shell

// Sessions: a script, and then what somebody types, a line at a time, by the same interpreter.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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

	// Interrupts is the user's ^C: it ends the command that runs, or the session if none does.
	Interrupts <-chan struct{}
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

	mu     sync.Mutex
	cancel context.CancelFunc // ends the list of commands that runs
}

// typed reports whether what runs was typed.
func (s *session) typed() bool { return s != nil && s.console && s.shells.sys.Sched.Current().PID == mainPID }

// RunSession runs a session in p's place, which ends when ctx is done at the latest. It returns the exit status: the script's if that
// has called exit, else that of the last line.
func (s *Shells) RunSession(ctx context.Context, p *proc.Proc, c Session) int {
	sh, r, err := s.interpreter(p, c.Name, nil, c.Params)
	if err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", c.Name, err)
		return 2
	}
	t := &session{shells: s, proc: p, Session: c, r: r, sh: sh, ctx: ctx, cancel: func() {}}
	sh.session = t
	over := make(chan struct{})
	defer close(over)
	go t.signals(over)
	status, ended := t.script()
	if !ended {
		status = t.type_(status)
	}
	if t.atExit != "" {
		t.run(context.Background(), t.atExit)
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
			t.interrupt(proc.SIGTERM)
		case <-t.Interrupts:
			t.interrupt(proc.SIGINT)
		}
	}
}

// interrupt ends the list of commands that runs, and what the session's own task waits for.
func (t *session) interrupt(sig proc.Signal) {
	t.mu.Lock()
	t.cancel()
	t.mu.Unlock()
	t.shells.sys.Net.Later(func() { t.shells.sys.Sched.Main().Kill(sig) })
}

// script runs the script, and reports whether the session has ended with it.
func (t *session) script() (status int, ended bool) {
	status, exited := t.run(t.ctx, t.Script)
	return status, exited || t.ctx.Err() != nil
}

// run runs a text, and reports whether it has called exit or was interrupted.
func (t *session) run(ctx context.Context, text string) (status int, ended bool) {
	file, err := t.shells.parse(t.Name, text)
	if err != nil {
		fmt.Fprintln(t.proc.Stderr, strings.TrimPrefix(err.Error(), t.where()))
		return 2, !t.console
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.mu.Lock()
	t.cancel = cancel
	t.mu.Unlock()
	err = t.r.Run(ctx, file)
	task := t.shells.sys.Sched.Current()
	switch {
	case task.Signal() != 0, ctx.Err() != nil:
		status = (&proc.Interrupted{Signal: proc.SIGINT}).Status()
		task.ClearSignal()
		return status, true
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
	t.run(t.ctx, "set +e") // the script's mistakes may end it, not those of who types
	t.console = true
	if t.Lines != nil {
		go t.read()
	}
	for {
		text, err := t.command()
		if err != nil {
			return status
		}
		var ended bool
		if status, ended = t.run(t.ctx, text); ended && (t.r.Exited() || t.ctx.Err() != nil) {
			return status
		}
	}
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
	for len(t.lines) == 0 {
		if t.eof {
			return "", errOver
		}
		if err := t.proc.Wait(proc.Forever, &t.came); err != nil {
			t.shells.sys.Sched.Current().ClearSignal()
			return "", errOver
		}
	}
	line := t.lines[0]
	t.lines = t.lines[1:]
	return line, nil
}
