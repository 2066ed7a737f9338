package shell

// Jobs, and the words that texts are rewritten to.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"mvdan.cc/sh/v3/interp"

	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/proc"
)

// job is a background job of a shell.
type job struct {
	number int // %1
	task   *proc.Task
	text   string
}

// internal is one of our own words.
type internal func(sh *shell, ctx context.Context, hc interp.HandlerContext, args []string) error

// internals are our own words; see the comment at the top of rewrite.go.
var internals = map[string]internal{
	exitWord:        (*shell).jobEnds,
	"__lab_spawn":   (*shell).spawn,
	"__lab_enter":   (*shell).enter,
	"__lab_failed":  (*shell).stageFailed,
	"__lab_piped":   (*shell).piped,
	"__lab_file":    (*shell).file,
	"__lab_checked": (*shell).checked,
	"__lab_printf":  (*shell).printf,
	"__lab_random":  (*shell).randomNumber,
	"__lab_number":  (*shell).number,
	"__lab_srandom": (*shell).randomNumber,
	"__lab_seconds": (*shell).seconds,
	"__lab_now":     (*shell).now,
	"__lab_time":    (*shell).timeBegins,
	"__lab_timed":   (*shell).timeEnds,
	"__lab_return":  (*shell).returns,
	"__lab_wait":    (*shell).wait,
	"__lab_kill":    (*shell).kill,
	"__lab_jobs":    (*shell).listJobs,
	"__lab_disown":  (*shell).disown,
	"__lab_fg":      (*shell).wait,
	"__lab_bg":      (*shell).disown,
}

// jobWord is the first word of a job; it is not among the others because its goroutine is not a task yet.
const jobWord = "__lab_job"

// exitWord is the last word of a job, which comes also to those that were killed.
const exitWord = "__lab_exit"

// mainPID is the process number of the script itself.
const mainPID = 1000

// set gives the interpreter's shell a variable.
func set(ctx context.Context, hc interp.HandlerContext, name, value string) error {
	return hc.Builtin(ctx, []string{"eval", name + "=" + value})
}

// id returns the id of the shell that a word runs in.
func id(hc interp.HandlerContext) string { return hc.Env.Get("__lab_shell").String() }

func exitStatus(status int) error {
	if status == 0 {
		return nil
	}
	return interp.ExitStatus(uint8(status))
}

// jobBegins is the first word of a job's goroutine: it tells who has started it, and waits for its turn. Until then it must not
// touch anything.
func (sh *shell) jobBegins(ctx context.Context, hc interp.HandlerContext) error {
	begin := make(chan *proc.Task)
	sh.hello <- begin
	task := <-begin
	task.Begin()
	return set(ctx, hc, "__lab_shell", sh.newID())
}

// jobEnds is the last word of a job's goroutine. The interpreter's shell must do nothing any more, hence the error.
func (sh *shell) jobEnds(_ context.Context, _ interp.HandlerContext, args []string) error {
	status, _ := strconv.Atoi(args[0])
	task := sh.sys.Sched.Current()
	if task.Signal() != 0 {
		status = task.Death()
	}
	task.End(status)
	return errKilled
}

// spawn waits for the goroutine of the job that was just started, makes it a task, and lets it run until it waits.
func (sh *shell) spawn(ctx context.Context, hc interp.HandlerContext, args []string) error {
	begin := <-sh.hello
	task := sh.sys.Sched.Adopt(args[0])
	begin <- task
	jobs := sh.jobs[id(hc)]
	number := 1
	for _, j := range jobs {
		number = max(number, j.number+1)
	}
	sh.jobs[id(hc)] = append(jobs, &job{number: number, task: task, text: args[0]})
	err := set(ctx, hc, "__lab_bang", strconv.Itoa(task.PID))
	sh.sys.Sched.Yield()
	return err
}

// enter gives a subshell an id of its own: it has no jobs yet, and no trap.
func (sh *shell) enter(ctx context.Context, hc interp.HandlerContext, _ []string) error {
	if hc.Env.Get(trapVariable).String() != "" {
		if err := set(ctx, hc, trapVariable, ""); err != nil {
			return err
		}
	}
	return set(ctx, hc, "__lab_shell", sh.newID())
}

// wait is the builtin: without arguments for all jobs, else for some, with the status of the last.
func (sh *shell) wait(_ context.Context, hc interp.HandlerContext, args []string) error {
	if len(args) == 1 && args[0] == "-n" {
		return sh.waitAny(hc)
	}
	if len(args) == 0 {
		for _, j := range slices.Clone(sh.jobs[id(hc)]) {
			if _, err := sh.join(hc, j); err != nil {
				return sh.waitFailed(err)
			}
		}
		return nil
	}
	status := 0
	for _, arg := range args {
		j := sh.find(hc, arg)
		if j == nil {
			fmt.Fprintf(hc.Stderr, "%s: line %d: wait: %s\n", sh.name, hc.Pos.Line(), noJob(arg))
			status = 127
			continue
		}
		var err error
		if status, err = sh.join(hc, j); err != nil {
			return sh.waitFailed(err)
		}
	}
	return exitStatus(status)
}

// waitAny is wait -n: for whichever job ends first.
func (sh *shell) waitAny(hc interp.HandlerContext) error {
	jobs := sh.jobs[id(hc)]
	if len(jobs) == 0 {
		return interp.ExitStatus(127)
	}
	tasks := make([]*proc.Task, len(jobs))
	for i, j := range jobs {
		tasks[i] = j.task
	}
	ended, err := sh.sys.Sched.JoinAny(tasks...)
	if err != nil {
		return sh.waitFailed(err)
	}
	sh.jobs[id(hc)] = slices.DeleteFunc(jobs, func(j *job) bool { return j.task == ended })
	return exitStatus(ended.Status())
}

func noJob(arg string) string {
	if strings.HasPrefix(arg, "%") {
		return arg + ": no such job"
	}
	return "pid " + arg + " is not a child of this shell"
}

// join waits for a job's end and takes it off the list.
func (sh *shell) join(hc interp.HandlerContext, j *job) (int, error) {
	status, err := sh.sys.Sched.Join(j.task)
	if err == nil {
		sh.jobs[id(hc)] = slices.DeleteFunc(sh.jobs[id(hc)], func(other *job) bool { return other == j })
	}
	return status, err
}

// waitFailed is what becomes of a wait that a signal ended.
func (sh *shell) waitFailed(err error) error {
	task := sh.sys.Sched.Current()
	if task.PID != mainPID || sh.sys.Sched.Err() != nil {
		return errKilled
	}
	task.ClearSignal()
	var i *proc.Interrupted
	if errors.As(err, &i) {
		return interp.ExitStatus(uint8(i.Status()))
	}
	return err
}

// find returns the job that %1, %%, %+, %text or a process number means. A job that has ended and was waited for is gone.
func (sh *shell) find(hc interp.HandlerContext, arg string) *job {
	jobs := sh.jobs[id(hc)]
	name, isJob := strings.CutPrefix(arg, "%")
	switch {
	case !isJob:
		return sh.byPID(arg)
	case name == "" || name == "%" || name == "+":
		if len(jobs) > 0 {
			return jobs[len(jobs)-1]
		}
		return nil
	}
	for _, j := range jobs {
		if strconv.Itoa(j.number) == name || strings.HasPrefix(j.text, name) && name[0] > '9' {
			return j
		}
	}
	return nil
}

// byPID returns the job with a process number, of whatever shell.
func (sh *shell) byPID(arg string) *job {
	for _, jobs := range sh.jobs {
		for _, j := range jobs {
			if strconv.Itoa(j.task.PID) == arg {
				return j
			}
		}
	}
	return nil
}

// kill is the builtin.
func (sh *shell) kill(_ context.Context, hc interp.HandlerContext, args []string) error {
	sig := proc.SIGTERM
	fail := func(format string, a ...any) error {
		fmt.Fprintf(hc.Stderr, "%s: line %d: kill: %s\n", sh.name, hc.Pos.Line(), fmt.Sprintf(format, a...))
		return interp.ExitStatus(1)
	}
	if len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "--" {
		name := args[0][1:]
		args = args[1:]
		if (name == "s" || name == "n") && len(args) > 0 {
			name, args = args[0], args[1:]
		}
		var ok bool
		if sig, ok = proc.ParseSignal(name); !ok {
			return fail("%s: invalid signal specification", name)
		}
	}
	if len(args) == 0 {
		_ = fail("usage: kill [-s SIGNAL | -SIGNAL] PID | %%JOB …")
		return interp.ExitStatus(2)
	}
	var failed error
	for _, arg := range args {
		j := sh.find(hc, arg)
		switch {
		case j == nil && strings.HasPrefix(arg, "%"):
			failed = fail("%s: no such job", arg)
		case j == nil || j.task.Done():
			failed = fail("(%s) - No such process", arg)
		case sig != 0:
			j.task.Kill(sig)
		}
	}
	sh.sys.Sched.Yield() // whoever was killed has its last words now
	return failed
}

// listJobs is the builtin jobs. Those that have ended it shows once.
func (sh *shell) listJobs(_ context.Context, hc interp.HandlerContext, args []string) error {
	jobs := sh.jobs[id(hc)]
	for i, j := range jobs {
		mark := ' '
		switch i {
		case len(jobs) - 1:
			mark = '+'
		case len(jobs) - 2:
			mark = '-'
		}
		switch {
		case slices.Contains(args, "-p"):
			fmt.Fprintln(hc.Stdout, j.task.PID)
		case !j.task.Done():
			fmt.Fprintf(hc.Stdout, "[%d]%c  Running                 %s &\n", j.number, mark, j.text)
		default:
			fmt.Fprintf(hc.Stdout, "[%d]%c  Done                    %s\n", j.number, mark, j.text)
		}
	}
	if !slices.Contains(args, "-p") {
		sh.jobs[id(hc)] = slices.DeleteFunc(slices.Clone(jobs), func(j *job) bool { return j.task.Done() })
	}
	return nil
}

// disown forgets jobs; they live on.
func (sh *shell) disown(_ context.Context, hc interp.HandlerContext, _ []string) error {
	sh.jobs[id(hc)] = nil
	return nil
}

// ---- pipelines and substitutions

// pipeKey is a pipeline that a task is in.
type pipeKey struct {
	task int
	id   string
}

// pipe is what is between two stages: a file that the first writes and the second reads. The last of a list is the innermost.
type pipe struct {
	file   *os.File
	status int // of the stages so far
	last   int
}

// newPipe begins a pipeline. The limit is what its reader will read, see readerLimit.
func (sh *shell) newPipe(number, limit string, at proc.Position) (io.ReadWriteCloser, error) {
	f, err := os.CreateTemp(sh.sys.TempDir, "pipe")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	key := pipeKey{sh.sys.Sched.Current().PID, number}
	sh.open[key] = append(sh.open[key], &pipe{file: f})
	e := &pipeEnd{file: f, sys: sh.sys, at: at, lines: math.MaxInt, bytes: math.MaxInt}
	if n, ok := strings.CutPrefix(limit, linesLimit); ok {
		e.lines, err = strconv.Atoi(n)
	} else if n, ok := strings.CutPrefix(limit, bytesLimit); ok {
		e.bytes, err = strconv.Atoi(n)
	}
	return e, err
}

// maxPipe is how much a pipe holds, in bytes. As the stage that reads comes after the one that writes, nothing else ends a stage
// that writes for ever.
const maxPipe = 64 << 20

// brokenPipe is the status of who dies of SIGPIPE.
const brokenPipe = 128 + int(proc.SIGPIPE)

// pipeEnd is a pipe's file for the stage that writes. Once that has written as much as the reader will read, it gets a SIGPIPE for
// whatever it writes more.
type pipeEnd struct {
	file         *os.File
	sys          *proc.System
	at           proc.Position
	lines, bytes int // that the reader will still read
	size         int // written so far
	broken       bool
}

func (e *pipeEnd) Read([]byte) (int, error) { return 0, os.ErrPermission }

func (e *pipeEnd) Write(b []byte) (int, error) {
	full := e.size > maxPipe
	if full && !e.broken {
		fmt.Fprintf(e.sys.Stderr, "%s: more than %d MiB in a pipe, whose reader begins when the writer has ended\n", e.at, maxPipe>>20)
	}
	if e.broken = full || e.lines <= 0 || e.bytes <= 0; e.broken {
		if task := e.sys.Sched.Current(); task.Signal() == 0 {
			task.Kill(proc.SIGPIPE)
		}
		return 0, syscall.EPIPE
	}
	e.lines -= bytes.Count(b, newline)
	e.bytes -= len(b)
	e.size += len(b)
	return e.file.Write(b)
}

var newline = []byte("\n")

// Close leaves the file open for the stage that reads.
func (e *pipeEnd) Close() error { return nil }

// pipe returns the innermost pipeline of a number that the task is in.
func (sh *shell) pipe(number string) *pipe {
	all := sh.open[pipeKey{sh.sys.Sched.Current().PID, number}]
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// readPipe gives what the first stage wrote to the second, which closes it.
func (sh *shell) readPipe(number string) (io.ReadWriteCloser, error) {
	p := sh.pipe(number)
	if p == nil {
		return nil, &os.PathError{Op: "open", Path: pipeDir + number, Err: os.ErrNotExist}
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return p.file, err
}

// stageFailed remembers the status of a stage.
func (sh *shell) stageFailed(_ context.Context, _ interp.HandlerContext, args []string) error {
	p := sh.pipe(args[0])
	if p == nil {
		return nil
	}
	status, _ := strconv.Atoi(args[1])
	if len(args) > 2 {
		p.last = status
	} else {
		p.status = status
	}
	return nil
}

// piped ends a pipeline with its status.
func (sh *shell) piped(_ context.Context, hc interp.HandlerContext, args []string) error {
	p := sh.pipe(args[0])
	if p == nil {
		return nil
	}
	key := pipeKey{sh.sys.Sched.Current().PID, args[0]}
	sh.open[key] = sh.open[key][:len(sh.open[key])-1]
	if len(sh.open[key]) == 0 {
		delete(sh.open, key)
	}
	if p.last == 0 && hc.Env.Get("__lab_pipefail").String() != "" {
		return exitStatus(p.status)
	}
	return exitStatus(p.last)
}

// file keeps what comes in in a file, and prints its name.
func (sh *shell) file(_ context.Context, hc interp.HandlerContext, _ []string) error {
	sh.files++
	name := filepath.Join(sh.sys.TempDir, fmt.Sprintf("subst%d", sh.files))
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, hc.Stdin)
	fmt.Fprintln(hc.Stdout, name)
	return errors.Join(err, f.Close())
}

// ---- other words

// checked runs a builtin whose output may be refused.
func (sh *shell) checked(ctx context.Context, hc interp.HandlerContext, args []string) error {
	if err := hc.Builtin(ctx, args); err != nil {
		return err
	}
	if err := flushed(hc.Stdout); err != nil {
		fmt.Fprintf(hc.Stderr, "%s: line %d: %s: write error: %s\n", sh.name, hc.Pos.Line(), args[0], words.Strerror(err))
		return interp.ExitStatus(1)
	}
	return nil
}

// printf is the machine's command, which knows formats that the interpreter's builtin does not.
func (sh *shell) printf(_ context.Context, hc interp.HandlerContext, args []string) error {
	p := sh.process(hc, "printf")
	status := sh.tool(p, append([]string{"printf"}, args...))
	if err := flushed(hc.Stdout); err != nil {
		status = p.Fail(1, "printf: write error: %s", words.Strerror(err))
	}
	return exitStatus(status)
}

// number prints its argument, a number of arithmetic, in decimal.
func (sh *shell) number(_ context.Context, hc interp.HandlerContext, args []string) error {
	n, err := parseNumber(args[0])
	if err != nil {
		sh.process(hc, "").Errorf("%s: invalid number", args[0])
		return interp.ExitStatus(1)
	}
	fmt.Fprintln(hc.Stdout, n)
	return nil
}

// randomNumber is $RANDOM: 0 to 32767, by the seed (SplitMix64, https://prng.di.unimi.it/splitmix64.c).
func (sh *shell) randomNumber(_ context.Context, hc interp.HandlerContext, _ []string) error {
	sh.random += 0x9e3779b97f4a7c15
	z := sh.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	fmt.Fprintln(hc.Stdout, (z^z>>31)>>49)
	return nil
}

// seconds is $SECONDS.
func (sh *shell) seconds(_ context.Context, hc interp.HandlerContext, _ []string) error {
	began, _ := strconv.Atoi(hc.Env.Get(epoch).String()) // 0 until SECONDS is set
	fmt.Fprintln(hc.Stdout, int(sh.sys.Net.Now().Seconds())-began)
	return nil
}

// now prints the seconds of virtual time.
func (sh *shell) now(_ context.Context, hc interp.HandlerContext, _ []string) error {
	fmt.Fprintln(hc.Stdout, int(sh.sys.Net.Now().Seconds()))
	return nil
}

// timeBegins and timeEnds are the keyword time, of virtual time.
func (sh *shell) timeBegins(ctx context.Context, hc interp.HandlerContext, _ []string) error {
	return set(ctx, hc, "__lab_started", strconv.FormatInt(int64(sh.sys.Net.Now()), 10))
}

func (sh *shell) timeEnds(_ context.Context, hc interp.HandlerContext, args []string) error {
	began, _ := strconv.ParseInt(hc.Env.Get("__lab_started").String(), 10, 64)
	s := float64(int64(sh.sys.Net.Now())-began) / 1e9
	fmt.Fprintf(hc.Stderr, "\nreal\t%dm%.3fs\nuser\t0m0.000s\nsys\t0m0.000s\n", int(s)/60, s-float64(int(s)/60*60))
	return sh.returns(context.Background(), hc, args)
}

// returns is a status.
func (sh *shell) returns(_ context.Context, _ interp.HandlerContext, args []string) error {
	status, _ := strconv.Atoi(args[0])
	return exitStatus(status)
}
