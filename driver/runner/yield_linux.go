package runner

import "golang.org/x/sys/unix"

// yield lets others have the processor that polling keeps awake: a scheduler that protects a running thread's slice, as Linux's does since
// 6.6, would let them wait for its end, some milliseconds.
func yield() { _, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
