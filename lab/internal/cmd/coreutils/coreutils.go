// Package coreutils are the commands that are no network tools, but must know of virtual time or of the lab's own files.
package coreutils

import (
	"errors"
	"io"
	"math"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/culvert-net/culvert/lab/internal/getopt"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table {
	return proc.Table{
		"sleep": sleep, "cat": cat, "tee": tee, "timeout": timeout, "date": date, "which": which, "xargs": xargs, "env": env,
		"pkill": pkill, "killall": pkill,
		"bash": shell, "sh": shell,
		"sudo": launcher, "nohup": launcher, "setsid": launcher, "nice": launcher, "stdbuf": launcher,
		"sync": nothing, "clear": nothing,
	}
}

// sleep lets virtual time go by.
func sleep(p *proc.Proc, args []string) int {
	if len(args) == 0 {
		return p.Fail(1, "sleep: missing operand\nTry 'sleep --help' for more information.")
	}
	var total time.Duration
	for _, arg := range args {
		d, ok := Interval(arg)
		if !ok {
			return p.Fail(1, "sleep: invalid time interval ‘%s’\nTry 'sleep --help' for more information.", arg)
		}
		total += min(d, proc.Forever-total)
	}
	if err := p.Sleep(total); err != nil {
		return p.Killed(err)
	}
	return 0
}

// Interval reads a time as sleep(1) does: seconds, which may have a fraction, or with a suffix s, m, h or d.
func Interval(s string) (time.Duration, bool) {
	unit := time.Second
	if s != "" {
		units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
		if u := units[s[len(s)-1]]; u != 0 {
			unit, s = u, s[:len(s)-1]
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if s == "infinity" || s == "inf" {
		return proc.Forever, true
	}
	if err != nil || math.IsNaN(f) || f < 0 {
		return 0, false
	}
	if f*float64(unit) >= float64(proc.Forever) {
		return proc.Forever, true
	}
	return time.Duration(f * float64(unit)), true
}

// cat prints files, the lab's own too.
func cat(p *proc.Proc, args []string) int {
	if len(args) == 0 {
		args = []string{"-"}
	}
	status := 0
	for _, name := range args {
		if err := catFile(p, name); err != nil {
			status = p.Fail(1, "cat: %s: %s", name, words.Strerror(err))
		}
	}
	return status
}

func catFile(p *proc.Proc, name string) error {
	f, err := p.Open(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(p.Stdout, stoppable{p, f})
	if errors.Is(err, syscall.EPIPE) { // the signal has told
		err = nil
	}
	return errors.Join(err, f.Close())
}

// stoppable reads a file until the run is stopped: some have no end.
type stoppable struct {
	p    *proc.Proc
	from io.Reader
}

func (s stoppable) Read(b []byte) (int, error) {
	if err := s.p.Sys.Sched.Err(); err != nil {
		return 0, err
	}
	return s.from.Read(b)
}

// tee copies standard input to files, the lab's own too, and to standard output: 'tee [-a] FILE…'.
func tee(p *proc.Proc, args []string) int {
	flag := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	options, names, err := getopt.Parse(args, "ai", map[string]string{"append": "a", "ignore-interrupts": "i"})
	if err != nil {
		return p.Fail(1, "tee: %v\nTry 'tee --help' for more information.", err)
	}
	for _, o := range options {
		if o.Name == "a" {
			flag = os.O_WRONLY | os.O_CREATE | os.O_APPEND
		}
	}
	status := 0
	to := []io.Writer{p.Stdout}
	for _, name := range names {
		f, err := p.Create(name, flag)
		if err != nil {
			status = p.Fail(1, "tee: %s: %s", name, words.Strerror(err))
			continue
		}
		defer func() { _ = f.Close() }() // each write has told its faults
		to = append(to, f)
	}
	if _, err := io.Copy(io.MultiWriter(to...), stoppable{p, p.Stdin}); err != nil && !errors.Is(err, syscall.EPIPE) {
		status = p.Fail(1, "tee: %s", words.Strerror(err))
	}
	return status
}

// timeoutStatus is what timeout(1) returns for a command that it has ended.
const timeoutStatus = 124

// timeout runs a command and ends it after some time: 'timeout [-s SIG] DURATION CMD…'.
func timeout(p *proc.Proc, args []string) int {
	sig := proc.SIGTERM
	if len(args) > 1 && args[0] == "-s" {
		var ok bool
		if sig, ok = proc.ParseSignal(args[1]); !ok {
			return p.Fail(125, "timeout: %s: invalid signal\nTry 'timeout --help' for more information.", args[1])
		}
		args = args[2:]
	}
	if len(args) < 2 {
		return p.Fail(125, "timeout: missing operand\nTry 'timeout --help' for more information.")
	}
	d, ok := Interval(args[0])
	if !ok {
		return p.Fail(125, "timeout: invalid time interval ‘%s’\nTry 'timeout --help' for more information.", args[0])
	}
	status, fired := p.Alarm(p.Now()+min(d, proc.Forever-p.Now()), sig, func() int { return p.Exec(args[1:]) })
	if fired {
		return timeoutStatus
	}
	return status
}

// shell is bash(1) or sh(1).
func shell(p *proc.Proc, args []string) int { return p.Sys.Shell(p, args) }
