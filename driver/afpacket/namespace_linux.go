package afpacket

// Network namespaces: sockets that replace others must be of the same one.

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const ownNamespace = "/proc/thread-self/ns/net"

// namespace is a network namespace, kept open.
type namespace struct{ file *os.File }

// currentNamespace returns that of the thread.
func currentNamespace() (*namespace, error) {
	f, err := os.Open(ownNamespace)
	if err != nil {
		return nil, err
	}
	return &namespace{f}, nil
}

// do calls f in the namespace. That takes CAP_SYS_ADMIN unless the threads of the process are in it anyway.
func (n *namespace) do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if n.current() {
			defer runtime.UnlockOSThread()
			done <- f()
			return
		}
		// The thread ends with the goroutine, since nobody else is to run on it.
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("setns", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// current reports whether the thread is in the namespace.
func (n *namespace) current() bool {
	here, err := os.Stat(ownNamespace)
	if err != nil {
		return false
	}
	there, err := n.file.Stat()
	return err == nil && os.SameFile(here, there)
}

// close lets go of it; a nil one was never open.
func (n *namespace) close() {
	if n != nil {
		_ = n.file.Close()
	}
}
