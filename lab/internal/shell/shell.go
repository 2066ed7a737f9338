// Package shell runs bash scripts for a lab: the language is mvdan.cc/sh's, jobs and pipelines are the lab's scheduler's, and
// commands come from the table of package proc.
package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"

	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/proc"
)

// Shells is what all shells of a run share.
type Shells struct {
	sys     *proc.System
	pipes   int                  // numbers given to pipelines
	ids     int                  // numbers given to subshells
	open    map[pipeKey][]*pipe  // written, not yet read
	jobs    map[string][]*job    // by the id of the shell whose children they are
	hello   chan chan *proc.Task // from a job's goroutine to who has started it
	sources map[string]string    // rewritten texts of files that were sourced
	random  uint64
	files   int // numbers given to files of the lab's own
	calls   int // of commands
}

// New returns the shells of a run, and makes them its system's.
func New(sys *proc.System) *Shells {
	s := &Shells{
		sys: sys, open: map[pipeKey][]*pipe{}, jobs: map[string][]*job{}, hello: make(chan chan *proc.Task), sources: map[string]string{},
		random: sys.Net.Seed(),
	}
	sys.Shell, sys.External, sys.Known = s.command, s.external, known
	return s
}

// shell is one running interpreter, with the process in whose place it runs.
type shell struct {
	*Shells
	proc *proc.Proc
	name string
	id   string // of the shell itself, not of its subshells

	session *session // nil: it runs a script to its end
}

// errKilled ends an interpreter whose task has died of a signal, or has ended.
var errKilled = errors.New("shell: killed")

// Run runs a text in p's place, under a name that messages bear, with the parameters $1 and so on. It returns the exit status.
func (s *Shells) Run(p *proc.Proc, name, text string, params []string) int {
	return s.run(p, name, text, nil, params)
}

// run is Run with options such as -e. $0 is the name.
func (s *Shells) run(p *proc.Proc, name, text string, options, params []string) int {
	file, err := s.parse(name, text)
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
		return 2
	}
	_, r, err := s.interpreter(p, name, options, params)
	if err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", name, err)
		return 2
	}
	err = r.Run(context.Background(), file)
	return s.status(err)
}

// interpreter returns one that runs in p's place.
func (s *Shells) interpreter(p *proc.Proc, name string, options, params []string) (*shell, *interp.Runner, error) {
	sh := &shell{Shells: s, proc: p, name: name, id: s.newID()}
	vars := append(slices.Clone(p.Envs()), "__lab_shell="+sh.id)
	r, err := interp.New(
		interp.Env(expand.ListEnviron(vars...)),
		interp.Dir(p.Dir),
		interp.StdIO(p.Stdin, p.Stdout, p.Stderr),
		interp.Params(slices.Concat(options, []string{"--"}, params)...),
		interp.CallHandler(sh.call),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return sh.exec }),
		interp.OpenHandler(sh.openFile),
		interp.StatHandler(sh.stat),
		interp.ReadDirHandler2(sh.readDir),
	)
	return sh, r, err
}

// status returns the exit status that an error of the interpreter stands for.
func (s *Shells) status(err error) int {
	var status interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, errKilled):
		return s.sys.Sched.Current().Death()
	}
	fmt.Fprintln(s.sys.Stderr, err)
	return 1
}

// parse parses a text and rewrites it.
func (s *Shells) parse(name, text string) (*syntax.File, error) {
	if depth(text) > maxDepth {
		return nil, fmt.Errorf("%s: syntax error: brackets are nested too deeply", name)
	}
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), name)
	if err != nil {
		var parse syntax.ParseError
		if errors.As(err, &parse) {
			return nil, fmt.Errorf("%s: line %d: syntax error: %s", name, parse.Pos.Line(), parse.Text)
		}
		return nil, err
	}
	return f, rewrite(f, &s.pipes)
}

// maxDepth is how many brackets may be open at once: the parser calls itself for each, and a machine's stack has an end.
const maxDepth = 50_000

// depth returns how many brackets are open at once in a text, at the most, those in quotes among them.
func depth(text string) (most int) {
	open := 0
	for i := range len(text) {
		switch text[i] {
		case '(', '{':
			open++
			most = max(most, open)
		case ')', '}':
			open = max(open-1, 0)
		}
	}
	return most
}

// reparse returns a text that is parsed when it runs, rewritten.
func (s *Shells) reparse(name, text string) (string, error) {
	f, err := s.parse(name, text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := syntax.NewPrinter().Print(&b, f); err != nil {
		return "", err
	}
	return b.String(), nil
}

func (s *Shells) newID() string {
	s.ids++
	return fmt.Sprint(s.ids)
}

// command is sh(1) and bash(1).
func (s *Shells) command(p *proc.Proc, args []string) int {
	var options []string
	for len(args) > 0 && len(args[0]) > 1 && (args[0][0] == '-' || args[0][0] == '+') && args[0] != "--" {
		flags := args[0]
		args = args[1:]
		if flags == "-c" || flags[0] == '-' && flags[1] != '-' && strings.ContainsRune(flags, 'c') {
			if flags = strings.ReplaceAll(flags, "c", ""); flags != "-" {
				options = append(options, flags)
			}
			return s.commandText(p, args, options)
		}
		options = append(options, flags)
		if flags == "-o" && len(args) > 0 {
			options, args = append(options, args[0]), args[1:]
		}
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	return s.commandFile(p, args, options)
}

// commandText runs sh -c TEXT [NAME [PARAMETER]…].
func (s *Shells) commandText(p *proc.Proc, args, options []string) int {
	if len(args) == 0 {
		return p.Fail(2, "%s: -c: option requires an argument", p.Name)
	}
	name, params := p.Pos.File, args[1:]
	if len(params) > 0 {
		name, params = params[0], params[1:]
	}
	return s.run(p, name, args[0], options, params)
}

// commandFile runs sh FILE [PARAMETER]…, or what comes from standard input.
func (s *Shells) commandFile(p *proc.Proc, args, options []string) int {
	name, in := p.Name, p.Stdin
	if len(args) > 0 && args[0] != "-" {
		f, err := os.Open(p.Path(args[0]))
		if err != nil {
			return p.Fail(127, "%s: %s: %s", p.Name, args[0], words.Strerror(err))
		}
		defer func() { _ = f.Close() }()
		name, in = args[0], f
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return p.Fail(1, "%s: %v", p.Name, err)
	}
	if len(args) > 0 {
		args = args[1:]
	}
	return s.run(p, name, string(text), options, args)
}

// exec is the interpreter's way to run what is neither a function nor a builtin.
func (sh *shell) exec(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	if args[0] == jobWord {
		return sh.jobBegins(ctx, hc)
	}
	task := sh.sys.Sched.Current()
	if task.Done() || args[0] != exitWord && (sh.sys.Sched.Err() != nil || task.Signal() != 0 && task.PID != mainPID) {
		return errKilled
	}
	if f := internals[args[0]]; f != nil {
		return f(sh, ctx, hc, args[1:])
	}
	p := sh.process(hc, args[0])
	status := p.Exec(args)
	if err := flushed(hc.Stdout); err != nil {
		status = p.Fail(1, "%s: write error: %s", args[0], words.Strerror(err))
	}
	if task.Signal() == proc.SIGPIPE {
		task.ClearSignal() // it was for the stage of a pipeline, which call ends
		return interp.ExitStatus(brokenPipe)
	}
	if task.Signal() != 0 {
		if task.PID == mainPID && sh.sys.Sched.Err() == nil {
			task.ClearSignal() // the user's ^C ends the command, and the script goes on
			if sh.sys.Verbose != nil && !sh.sys.Net.RealTime() {
				fmt.Fprintf(sh.sys.Verbose, "lab: %s: %s was interrupted, as by ^C: nothing more would have happened\n", p.Pos, args[0])
			}
		} else {
			task.Dies(status)
			return errKilled
		}
	}
	if status != 0 {
		return interp.ExitStatus(uint8(status))
	}
	return nil
}

// process returns the process that a command is to be.
func (sh *shell) process(hc interp.HandlerContext, name string) *proc.Proc {
	p := *sh.proc
	p.Name = name
	p.Pos = proc.Position{File: sh.name, Line: int(hc.Pos.Line())}
	if sh.session.typed() {
		p.Pos = proc.Position{} // who has typed it knows
	}
	p.Dir = hc.Dir
	p.Stdin, p.Stdout, p.Stderr = hc.Stdin, hc.Stdout, hc.Stderr
	if p.Stdin == nil {
		p.Stdin = strings.NewReader("")
	}
	p.Env = func(name string) string { return hc.Env.Get(name).String() }
	p.Envs = func() []string { return environment(hc.Env) }
	return &p
}

// environment returns the exported variables.
func environment(env expand.Environ) []string {
	var vars []string
	env.Each(func(name string, v expand.Variable) bool {
		if v.Exported && v.Kind == expand.String && !strings.HasPrefix(name, "__lab_") {
			vars = append(vars, name+"="+v.String())
		}
		return true
	})
	slices.Sort(vars)
	return slices.Compact(vars)
}

// call is the interpreter's way to ask what a simple command really is, builtins included.
func (sh *shell) call(ctx context.Context, args []string) ([]string, error) {
	if args[0] == jobWord || args[0] == exitWord { // who has no baton yet, and who must hand it on
		return args, nil
	}
	if sh.session.stopped(args[0]) {
		return nil, errKilled
	}
	if ended, err := sh.ends(interp.HandlerCtx(ctx)); err != nil || ended != nil {
		return ended, err
	}
	switch args[0] {
	case "printf":
		if len(args) > 1 && beyondPrintf.MatchString(args[1]) {
			return append([]string{"__lab_printf"}, args[1:]...), nil
		}
		fallthrough
	case "echo":
		if _, ok := interp.HandlerCtx(ctx).Stdout.(*checked); ok {
			return append([]string{"__lab_checked"}, args...), nil
		}
	case "wait", "kill", "jobs", "disown", "fg", "bg":
		return append([]string{"__lab_" + args[0]}, args[1:]...), nil
	case "eval":
		return sh.rewritten(ctx, []string{"eval"}, strings.Join(args[1:], " "))
	case "trap":
		if len(args) > 2 && (args[1] == "-" || !strings.HasPrefix(args[1], "-")) {
			return sh.trap(ctx, args)
		}
	case "exit":
		return sh.exit(ctx, args), nil
	case "set":
		return setBuiltin(args), nil
	case "source", ".":
		return sh.source(ctx, args), nil
	case "command":
		return sh.commandBuiltin(args), nil
	case "help":
		if sh.sys.Table["help"] != nil { // rather than the interpreter's
			return append([]string{"/usr/sbin/help"}, args[1:]...), nil
		}
	case "type":
		if len(args) == 2 && sh.sys.Table[args[1]] != nil {
			return []string{"echo", args[1], "is", "/usr/sbin/" + args[1]}, nil
		}
	}
	return args, nil
}

// beyondPrintf finds the formats that the interpreter's printf has not got: precisions, widths that are arguments, %e, %g and %q.
var beyondPrintf = regexp.MustCompile(`%[-+ #0]*(\*|[0-9]*\.|[0-9]*[eEgGaAq])`)

// ends returns an error that ends the script before its next command, or a command that ends the shell that it is for.
func (sh *shell) ends(hc interp.HandlerContext) ([]string, error) {
	if sh.sys.Sched.Err() != nil {
		return nil, errKilled
	}
	if sh.calls++; sh.calls%lookEvery == 0 && runtime.Callers(maxFrames, make([]uintptr, 1)) > 0 {
		return nil, fmt.Errorf("%s: line %d: functions, sourced files or subshells are nested too deeply", sh.name, hc.Pos.Line())
	}
	switch out := hc.Stdout.(type) {
	case *pipeEnd:
		if out.broken {
			return []string{"exit", strconv.Itoa(brokenPipe)}, nil
		}
	case *strings.Builder: // of $( )
		if out.Len() > maxPipe {
			return nil, fmt.Errorf("%s: line %d: a substitution of more than %d MiB", sh.name, hc.Pos.Line(), maxPipe>>20)
		}
	}
	return nil, nil
}

// Bounds of recursion: each call of a function takes about ten frames of the machine's stack.
const (
	maxFrames = 20_000
	lookEvery = 64 // commands; looking takes time
)

// rewritten returns a command with a text that it will parse.
func (sh *shell) rewritten(ctx context.Context, before []string, text string, after ...string) ([]string, error) {
	text, err := sh.reparse(sh.name, text)
	if err != nil {
		fmt.Fprintln(interp.HandlerCtx(ctx).Stderr, err)
		return []string{"__lab_return", "2"}, nil
	}
	return slices.Concat(before, []string{text}, after), nil
}

// trap keeps the traps that can happen, and drops those of signals that nobody sends to a script. The interpreter runs no EXIT trap
// of a subshell: there it is kept in a variable for exit, and as an ERR trap for set -e.
func (sh *shell) trap(ctx context.Context, args []string) ([]string, error) {
	if sh.session != nil && id(interp.HandlerCtx(ctx)) == sh.id {
		args = sh.session.trap(args)
	}
	conditions := slices.DeleteFunc(slices.Clone(args[2:]), func(c string) bool { return c != "EXIT" && c != "ERR" && c != "0" })
	action := args[1]
	switch {
	case len(conditions) == 0:
		return []string{":"}, nil
	case id(interp.HandlerCtx(ctx)) == sh.id || !slices.Contains(conditions, "EXIT") && !slices.Contains(conditions, "0"):
		if action == "-" {
			return slices.Concat([]string{"trap", "-"}, conditions), nil
		}
		return sh.rewritten(ctx, []string{"trap"}, action, conditions...)
	case action == "-" || action == "":
		return []string{"eval", trapVariable + "=; trap - ERR"}, nil
	}
	text, err := sh.reparse(sh.name, action)
	if err != nil {
		fmt.Fprintln(interp.HandlerCtx(ctx).Stderr, err)
		return []string{"__lab_return", "2"}, nil
	}
	quoted, err := syntax.Quote(text, syntax.LangBash)
	if err != nil {
		return nil, err
	}
	return []string{"eval", trapVariable + "=" + quoted + "; trap 'if [[ -o errexit ]]; then '" + quoted + "'\nfi' ERR"}, nil
}

// trapVariable has the EXIT trap of a subshell.
const trapVariable = "__lab_trap"

// exit runs the EXIT trap of a subshell before that ends.
func (sh *shell) exit(ctx context.Context, args []string) []string {
	action := interp.HandlerCtx(ctx).Env.Get(trapVariable).String()
	if action == "" {
		return args
	}
	status := "$?"
	if len(args) > 1 {
		quoted, err := syntax.Quote(args[1], syntax.LangBash)
		if err != nil {
			return args
		}
		status = quoted
	}
	return []string{
		"eval", "__lab_status=" + status + "; " + trapVariable + "=; trap - ERR; __lab_return $__lab_status\n" + action + "\nbuiltin exit $__lab_status",
	}
}

// source rewrites a file's text, and lets the builtin read that.
func (sh *shell) source(ctx context.Context, args []string) []string {
	if len(args) < 2 {
		return args
	}
	hc := interp.HandlerCtx(ctx)
	p := *sh.proc
	p.Dir = hc.Dir
	b, err := os.ReadFile(p.Path(args[1]))
	if err != nil {
		return args // the builtin has words for it
	}
	text, err := sh.reparse(args[1], string(b))
	if err != nil {
		fmt.Fprintln(hc.Stderr, err)
		return []string{"__lab_return", "1"}
	}
	path := sourceDir + args[1]
	sh.sources[path] = text
	return slices.Concat([]string{args[0], path}, args[2:])
}

// commandBuiltin answers 'command -v' for the lab's own commands, which are in no directory.
func (sh *shell) commandBuiltin(args []string) []string {
	if len(args) == 3 && (args[1] == "-v" || args[1] == "-V") && sh.sys.Table[args[2]] != nil {
		return []string{"echo", "/usr/sbin/" + args[2]}
	}
	return args
}

// setBuiltin remembers pipefail in a variable, where our pipelines can see it. Options that change nothing in a script are dropped.
func setBuiltin(args []string) []string {
	i := slices.Index(args, "pipefail")
	if i < 2 {
		return slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "-m" || a == "+m" })
	}
	value := ""
	if args[i-1][0] == '-' {
		value = "1"
	}
	var quoted []string
	for _, a := range args {
		q, err := syntax.Quote(a, syntax.LangBash)
		if err != nil {
			return args
		}
		quoted = append(quoted, q)
	}
	return []string{"eval", "builtin " + strings.Join(quoted, " ") + "; __lab_pipefail=" + value}
}
