package sockets

// A descriptor that the runtime's poller waits for, so that a waiting goroutine takes no thread.

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a non-blocking descriptor. One goroutine at a time may read, one wait, and one write; but who waits must not be beside a Read
// that waits as well.
type Conn struct {
	file        *os.File
	raw         syscall.RawConn
	read, write half
	wait        waiter
	interrupted atomic.Bool
	closed      atomic.Bool
}

// waiter is of the one who waits: ready is called with the descriptor when he begins, and reports true if he need not; woken when he
// has been woken.
type waiter struct {
	ready func(fd uintptr) bool
	woken bool
	polls [1]unix.PollFd
}

// half is one direction: try is called with the descriptor, and reports false if it would have to wait.
type half struct {
	try  func(fd uintptr) bool
	once func(fd uintptr)
	done bool
}

func newHalf(try func(fd uintptr) bool) half {
	return half{try: try}
}

// New makes a Conn of a descriptor, and owns it from then on: it is closed if there is an error, too. read is what Read calls, write
// what Write calls; both report false for EAGAIN and nothing else, and keep what they found for themselves. They may be nil. The
// name is for errors.
func New(fd int, name string, read, write func(fd uintptr) bool) (*Conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	c := &Conn{file: os.NewFile(uintptr(fd), name), read: newHalf(read), write: newHalf(write)}
	c.wait.ready = c.ready
	var err error
	if c.raw, err = c.file.SyscallConn(); err != nil {
		_ = c.file.Close()
		return nil, err
	}
	c.read.once = func(fd uintptr) { c.read.done = c.read.try(fd) }
	c.write.once = func(fd uintptr) { c.write.done = c.write.try(fd) }
	if err := c.file.SetDeadline(time.Time{}); err != nil { // os.ErrNoDeadline: the runtime cannot wait for it
		_ = c.file.Close()
		return nil, err
	}
	return c, nil
}

// Read calls the read function, and again whenever there may be more to read, until it reports true or wait is over: 0 calls it
// once, a negative wait knows no end. Read reports false if it never did, or was interrupted. The error is net.ErrClosed.
func (c *Conn) Read(wait time.Duration) (bool, error) {
	if err := c.raw.Control(c.read.once); err != nil {
		return false, c.fault(err)
	}
	if c.read.done || wait == 0 {
		return c.read.done, nil
	}
	if err := c.file.SetReadDeadline(deadline(wait)); err != nil {
		return false, c.fault(err)
	}
	if c.interrupted.Swap(false) {
		return false, nil
	}
	err := c.raw.Read(c.read.try)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.interrupted.Store(false)
		return false, nil
	}
	return err == nil, c.fault(err)
}

// Wait waits until there may be something to read, for a negative time without end. It reports false if the time is over or it was
// interrupted. The error is net.ErrClosed, or says that there is no waiting for what the descriptor is of, and Read may say why.
func (c *Conn) Wait(wait time.Duration) (bool, error) {
	if err := c.file.SetReadDeadline(deadline(wait)); err != nil {
		return false, c.fault(err)
	}
	if c.interrupted.Swap(false) {
		return false, nil
	}
	c.wait.woken = false
	err := c.raw.Read(c.wait.ready)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.interrupted.Store(false)
		return false, nil
	}
	return err == nil, c.fault(err)
}

// ready is called at the start of a wait, and when that is over.
func (c *Conn) ready(fd uintptr) bool {
	if c.wait.woken {
		return true
	}
	c.wait.woken = true
	c.wait.polls[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	n, err := unix.Poll(c.wait.polls[:], 0)
	return n != 0 || err != nil // EINTR: who reads will see
}

// Interrupt ends the Read or Wait that waits, or the next one that would.
func (c *Conn) Interrupt() {
	c.interrupted.Store(true)
	_ = c.file.SetReadDeadline(time.Unix(1, 0)) // fails if it is closed, which ends reads anyhow
}

// Write is Read for the write function.
func (c *Conn) Write(wait time.Duration) (bool, error) {
	if err := c.raw.Control(c.write.once); err != nil {
		return false, c.fault(err)
	}
	if c.write.done || wait == 0 {
		return c.write.done, nil
	}
	if err := c.file.SetWriteDeadline(deadline(wait)); err != nil {
		return false, c.fault(err)
	}
	err := c.raw.Write(c.write.try)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil
	}
	return err == nil, c.fault(err)
}

// Control calls f with the descriptor, for socket options.
func (c *Conn) Control(f func(fd int) error) error {
	var err error
	if e := c.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return c.fault(e)
	}
	return err
}

// Close closes the descriptor and ends what waits for it.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	return c.file.Close()
}

// fault returns net.ErrClosed for whatever error a closed descriptor has; that of the runtime's poller has no name.
func (c *Conn) fault(err error) error {
	if err != nil && c.closed.Load() {
		return net.ErrClosed
	}
	return err
}

// deadline returns when a wait is over.
func deadline(wait time.Duration) time.Time {
	if wait < 0 {
		return time.Time{}
	}
	return time.Now().Add(wait)
}
