package runner

import "golang.org/x/sys/unix"

// yield lets others have the processor that polling keeps awake: a scheduler that protects a running thread's slice, as Linux's does since
// 6.6, would let them wait for its end, some milliseconds. Once in a while Go's scheduler is told, lest its monitor sleeps on.
func yield(tell bool) {
	if tell {
		_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		return
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
}
