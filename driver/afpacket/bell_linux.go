package afpacket

// The bell: what rings when a frame has come and somebody waits for it, and only then.
//
// The runtime's poller, which lets a goroutine wait without a thread, could wait for the ring's socket itself. But that it would be told of
// each frame, awaited or not, which wakes a thread each time. So the socket is in an epoll of its own, which rings once when it is told
// to (EPOLLONESHOT), and that is what the poller waits for. To wait in ppoll(2) takes a thread, and keeps one of the processors that Go
// counts (GOMAXPROCS) from all other goroutines until the runtime notices: up to 10 ms.

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/internal/sockets"
)

// bell is an epoll with one socket in it, or two, one of which is not used. Add, arm, disarm and close are called by one at a time; not
// beside them wait, ring.
type bell struct {
	epoll  int
	conn   *sockets.Conn // of the epoll
	events [1]unix.EpollEvent
}

func (b *bell) open() (err error) {
	if b.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	b.conn, err = sockets.New(b.epoll, "epoll", nil, nil)
	return err
}

// add adds a socket, which leaves when it is closed.
func (b *bell) add(fd int) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(b.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLONESHOT}))
}

// arm has the bell ring once, when there is a frame or an error.
func (b *bell) arm(fd int) error { return b.change(fd, unix.EPOLLIN|unix.EPOLLONESHOT) }

// disarm keeps it from ringing, and reports whether it has rung for an error.
func (b *bell) disarm(fd int) (fault bool) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(b.epoll), uintptr(unsafe.Pointer(&b.events)), 1, 0, 0, 0)
	if n == 1 && errno == 0 {
		return b.events[0].Events&unix.EPOLLERR != 0
	}
	_ = b.change(fd, unix.EPOLLONESHOT)
	return false
}

func (b *bell) change(fd int, events uint32) error {
	b.events[0] = unix.EpollEvent{Events: events}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(b.epoll, unix.EPOLL_CTL_MOD, fd, &b.events[0]))
}

// wait waits until it rings, for a negative time without end.
func (b *bell) wait(d time.Duration) error {
	_, err := b.conn.Wait(d)
	return err
}

// ring rings for other reasons.
func (b *bell) ring() { b.conn.Interrupt() }

func (b *bell) close() { _ = b.conn.Close() }
