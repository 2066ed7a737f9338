package tuntap

// Network namespaces. A device and the sockets to ask about it belong to one, which is that of the thread that makes them; what the
// driver does later, it does from any thread.

import (
	"errors"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/internal/sockets"
)

// netns is a network namespace; nil stands for that of whatever thread it is.
type netns struct{ file *os.File }

// currentNetns returns the namespace of the calling thread, nil if the system does not tell.
func currentNetns() *netns {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil
	}
	return &netns{f}
}

// netnsOf returns the namespace that the device of a queue is in now.
func netnsOf(fd int) (*netns, error) {
	ns, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNGETDEVNETNS, 0)
	if errno != 0 {
		return nil, fault("ioctl TUNGETDEVNETNS", errno)
	}
	return &netns{os.NewFile(ns, "netns")}, nil
}

// close gives the namespace back.
func (n *netns) close() {
	if n != nil {
		_ = n.file.Close()
	}
}

// do calls f in the namespace. To enter one needs CAP_SYS_ADMIN; not so if it is the thread's own.
func (n *netns) do(f func() error) error {
	if n == nil {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if n.isCurrent() {
			defer runtime.UnlockOSThread()
		} else if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- os.NewSyscallError("setns", err)
			return
		}
		done <- f() // a thread that was changed ends with its goroutine
	}()
	return <-done
}

// isCurrent reports whether the namespace is that of the calling thread.
func (n *netns) isCurrent() bool {
	current, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return false
	}
	mine, err := n.file.Stat()
	return err == nil && os.SameFile(current, mine)
}

// watch watches the device with a name in the namespace, where there must be one.
func (n *netns) watch(name string) (*sockets.Watch, error) {
	var w *sockets.Watch
	err := n.do(func() (err error) {
		if w, err = sockets.NewWatch(name, netip.Addr{}, nil); err != nil {
			return err
		}
		if w.Device().Index == 0 {
			return errors.Join(os.ErrNotExist, w.Close())
		}
		return nil
	})
	return w, err
}
