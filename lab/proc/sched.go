package proc

// The scheduler: processes take turns, and virtual time goes on only when all of them wait. Real time does as it likes, but the
// network's goroutine sees what has happened only then.

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/lab/network"
)

// Forever is the deadline of who waits without one.
const Forever time.Duration = math.MaxInt64

// maxIdle is how long the network lives on when everybody waits without a deadline. It is longer than any timer that could still
// make something happen: ARP, ageing, reassembly.
const maxIdle = 15 * time.Minute

// firstPID is the process number of a run's first background job.
const firstPID = 1001

// maxJobs is how many background jobs may live at once: less than what a fork bomb would need of the machine.
const maxJobs = 10_000

// ErrTooManyJobs is the end of a script with more background jobs than a shell could bear.
var ErrTooManyJobs = errors.New("proc: too many background jobs at once")

// ErrDeadline says that what was waited for did not happen in time.
var ErrDeadline = errors.New("proc: deadline passed")

// Signal is a signal's number.
type Signal int

// Signals that scripts send; the numbers are Linux's (asm-generic/signal.h).
const (
	SIGHUP  Signal = 1
	SIGINT  Signal = 2
	SIGQUIT Signal = 3
	SIGKILL Signal = 9
	SIGUSR1 Signal = 10
	SIGPIPE Signal = 13
	SIGTERM Signal = 15
)

// ParseSignal reads a signal's name or number.
func ParseSignal(s string) (Signal, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return Signal(n), n >= 0 && n < 65
	}
	switch strings.TrimPrefix(strings.ToUpper(s), "SIG") {
	case "HUP":
		return SIGHUP, true
	case "INT":
		return SIGINT, true
	case "QUIT":
		return SIGQUIT, true
	case "KILL":
		return SIGKILL, true
	case "USR1":
		return SIGUSR1, true
	case "PIPE":
		return SIGPIPE, true
	case "TERM":
		return SIGTERM, true
	}
	return 0, false
}

// Interrupted is the error of a wait that a signal has ended. Who gets it ends, and may first print what its real model prints
// then, but nothing if it is SIGKILL; every further wait fails in the same way.
type Interrupted struct{ Signal Signal }

func (e *Interrupted) Error() string { return fmt.Sprintf("proc: signal %d", int(e.Signal)) }

// Status returns the exit status of who dies of the signal, as the shell sees it.
func (e *Interrupted) Status() int { return 128 + int(e.Signal) }

// Scheduler lets tasks run, one at a time, in an order that depends on nothing but what they do: who becomes ready first runs
// first. Tasks are goroutines that hand a baton on; whoever has it may use the network.
type Scheduler struct {
	net     *network.Network
	first   *Task
	current *Task
	ready   []*Task
	waiting []*Task
	jobs    []*Task // all but the first that have not ended, in the order of their beginnings
	pids    int
	err     error // the network's, or Stop's, which ends the run

	stopped chan struct{}
	stop    atomic.Pointer[error]
}

// Task is a line of execution: the script itself, or a background job.
type Task struct {
	PID  int
	Name string

	sched    *Scheduler
	baton    chan struct{}
	deadline time.Duration
	events   []*Event
	timedOut bool
	signal   Signal // pending; 0: none
	died     int    // the status that it ends with because of the signal
	done     bool
	status   int
	ended    Event
}

// NewScheduler returns a scheduler for a network, whose first task is the calling goroutine.
func NewScheduler(net *network.Network) *Scheduler {
	s := &Scheduler{net: net, pids: firstPID - 2, stopped: make(chan struct{})}
	s.first = s.newTask("main")
	s.current = s.first
	return s
}

func (s *Scheduler) newTask(name string) *Task {
	s.pids++
	return &Task{PID: s.pids, Name: name, sched: s, baton: make(chan struct{}, 1)}
}

// Main returns the first task: the script itself.
func (s *Scheduler) Main() *Task { return s.first }

// Current returns the task that has the baton.
func (s *Scheduler) Current() *Task { return s.current }

// Stop ends the run with an error as soon as the task that has the baton notices, which is when it waits, or looks by
// [Scheduler.Err]. The first error counts. Any goroutine may call it.
func (s *Scheduler) Stop(err error) {
	if s.stop.CompareAndSwap(nil, &err) {
		close(s.stopped)
	}
}

// Stopped is closed by [Scheduler.Stop], for those who wait for what is not the network.
func (s *Scheduler) Stopped() <-chan struct{} { return s.stopped }

// Err returns the error that ended the run, if one did. Only the current task may call it.
func (s *Scheduler) Err() error {
	if err := s.stop.Load(); err != nil && s.err == nil {
		s.fail(*err)
	}
	return s.err
}

// Adopt returns a new task for a goroutine that is about to call [Task.Begin]. The task is next in turn, then the current one:
// [Scheduler.Yield] lets it run until it waits. More than 10,000 that have not ended are the end of the run.
func (s *Scheduler) Adopt(name string) *Task {
	if len(s.jobs) >= maxJobs {
		s.fail(ErrTooManyJobs)
	}
	t := s.newTask(name)
	s.ready = append(s.ready, t)
	s.jobs = append(s.jobs, t)
	return t
}

// Begin waits until it is the task's turn. It is called by the goroutine that is to be the task.
func (t *Task) Begin() { <-t.baton }

// Yield lets all tasks run that are ready, each until it waits.
func (s *Scheduler) Yield() {
	s.ready = append(s.ready, s.current)
	s.pass(s.current)
}

// pass gives the baton to the next task, and waits until it comes back. The task that calls it is ready, waiting, or has ended:
// then its goroutine may go.
func (s *Scheduler) pass(from *Task) {
	for len(s.ready) == 0 {
		s.advance()
	}
	next := s.ready[0]
	s.ready = s.ready[1:]
	s.current = next
	if next == from {
		return
	}
	next.baton <- struct{}{}
	if !from.done {
		<-from.baton
	}
}

// advance lets the network live until somebody is ready.
func (s *Scheduler) advance() {
	until := Forever
	for _, t := range s.waiting {
		until = min(until, t.deadline)
	}
	if s.net.RealTime() {
		s.advanceReal(until)
		return
	}
	idle := until == Forever
	if idle {
		until = s.net.Now() + maxIdle
	}
	for len(s.ready) == 0 {
		if s.Err() != nil && len(s.ready) > 0 {
			return
		}
		more, err := s.net.Step(until)
		switch {
		case err != nil:
			s.fail(err)
		case more:
		case idle:
			s.interruptAll()
		default:
			s.net.MoveTo(until)
			s.expire()
		}
	}
}

// advanceReal is advance where time goes by by itself.
func (s *Scheduler) advanceReal(until time.Duration) {
	for {
		if err := s.net.Settle(); err != nil {
			s.fail(err)
		}
		if s.expire(); len(s.ready) > 0 {
			return
		}
		s.net.Await(until)
	}
}

// expire wakes those whose deadline has come.
func (s *Scheduler) expire() {
	now := s.net.Now()
	for _, t := range slices.Clone(s.waiting) {
		if t.deadline <= now {
			t.timedOut = true
			t.wake()
		}
	}
}

// interruptAll is the user's ^C, when everybody waits for what will never come.
func (s *Scheduler) interruptAll() {
	for _, t := range slices.Clone(s.waiting) {
		t.Kill(SIGINT)
	}
}

// fail ends the run: all are killed, and so is who waits later.
func (s *Scheduler) fail(err error) {
	s.err = err
	s.current.signal = SIGKILL
	for _, t := range slices.Clone(s.waiting) {
		t.Kill(SIGKILL)
	}
}

// wait lets the current task wait for one of the events, and returns nil when there was one, [ErrDeadline], or [Interrupted].
func (s *Scheduler) wait(deadline time.Duration, events ...*Event) error {
	t := s.current
	_ = s.Err() // the run may have been stopped, which kills the task
	if t.signal != 0 {
		return &Interrupted{t.signal}
	}
	t.deadline, t.events, t.timedOut = deadline, events, false
	for _, e := range events {
		e.waiting = append(e.waiting, t)
	}
	s.waiting = append(s.waiting, t)
	s.pass(t)
	switch {
	case t.signal != 0:
		return &Interrupted{t.signal}
	case t.timedOut:
		return ErrDeadline
	}
	return nil
}

// wake makes a waiting task ready.
func (t *Task) wake() {
	i := slices.Index(t.sched.waiting, t)
	if i < 0 {
		return
	}
	t.sched.waiting = slices.Delete(t.sched.waiting, i, i+1)
	for _, e := range t.events {
		e.forget(t)
	}
	t.events = nil
	t.sched.ready = append(t.sched.ready, t)
}

// Kill sends the task a signal, which ends what it waits for.
func (t *Task) Kill(sig Signal) {
	if !t.done {
		t.signal = sig
		t.Dies((&Interrupted{sig}).Status())
		t.wake()
	}
}

// Dies sets the exit status of a task that a signal ends: a command that catches the signal has its own.
func (t *Task) Dies(status int) { t.died = status }

// Death returns the status that Dies was given, or else that of the signal.
func (t *Task) Death() int { return t.died }

// Signal returns the signal that is pending, 0 if there is none.
func (t *Task) Signal() Signal { return t.signal }

// ClearSignal forgets the pending signal: whoever was to die of it has.
func (t *Task) ClearSignal() { t.signal = 0 }

// Done reports whether the task has ended.
func (t *Task) Done() bool { return t.done }

// Status returns the exit status of a task that has ended.
func (t *Task) Status() int { return t.status }

// End ends the current task and hands the baton on; its goroutine must not use the network any more.
func (t *Task) End(status int) {
	t.done, t.status = true, status
	t.sched.jobs = slices.DeleteFunc(t.sched.jobs, func(other *Task) bool { return other == t })
	t.ended.Notify()
	t.sched.pass(t)
}

// Join waits for another task's end and returns its status.
func (s *Scheduler) Join(t *Task) (int, error) {
	for !t.done {
		if err := s.wait(Forever, &t.ended); err != nil {
			return 0, err
		}
	}
	return t.status, nil
}

// JoinAny waits until one of the tasks has ended, and returns it.
func (s *Scheduler) JoinAny(tasks ...*Task) (*Task, error) {
	events := make([]*Event, len(tasks))
	for i, t := range tasks {
		events[i] = &t.ended
	}
	for {
		for _, t := range tasks {
			if t.done {
				return t, nil
			}
		}
		if err := s.wait(Forever, events...); err != nil {
			return nil, err
		}
	}
}

// Jobs returns the tasks beside the first that have not ended, in the order of their beginnings.
func (s *Scheduler) Jobs() []*Task { return slices.Clone(s.jobs) }

// Finish kills all tasks but the current one and waits for their ends.
func (s *Scheduler) Finish() {
	for len(s.waiting)+len(s.ready) > 0 {
		for _, t := range slices.Clone(s.waiting) {
			t.Kill(SIGKILL)
		}
		s.Yield()
	}
}

// Event is something that tasks wait for. The zero Event is ready to be used.
type Event struct{ waiting []*Task }

// Notify wakes all who wait for the event. Who waits later waits for the next one: look first whether there is something to do.
func (e *Event) Notify() {
	for _, t := range slices.Clone(e.waiting) {
		t.wake()
	}
}

func (e *Event) forget(t *Task) {
	if i := slices.Index(e.waiting, t); i >= 0 {
		e.waiting = slices.Delete(e.waiting, i, i+1)
	}
}

// interrupted returns err as an [Interrupted].
func interrupted(err error) (*Interrupted, bool) {
	var i *Interrupted
	ok := errors.As(err, &i)
	return i, ok
}
