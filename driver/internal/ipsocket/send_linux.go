package ipsocket

// Sending: how long one Send waits and what it returns, and what became of the messages.

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/count"
	"github.com/culvert-net/culvert/internal/sockets"
)

// patience is how long a Send waits in all for sockets that are full.
const patience = 2 * time.Millisecond

// Sender is what a Send keeps account of. One goroutine at a time may use it; Counts any.
type Sender struct {
	Counts count.Packets

	patience time.Duration
	first    error
}

// Begin starts a Send.
func (s *Sender) Begin() { s.patience, s.first = patience, nil }

// Fail keeps the first error for Send to return.
func (s *Sender) Fail(err error) {
	if s.first == nil {
		s.first = err
	}
}

// Err returns the first error of the Send.
func (s *Sender) Err() error { return s.first }

// Write calls the connection's Write with what is left of the patience of this Send. When that is over, it reports false, now and for the
// rest of the Send, which fails with [driver.ErrFull]; the caller counts what did not go out. The error is net.ErrClosed.
func (s *Sender) Write(c *sockets.Conn) (ok bool, err error) {
	ok, err = c.Write(s.patience)
	if err == nil && !ok {
		s.patience = 0
		s.Fail(driver.ErrFull)
	}
	return ok, err
}

// Lose counts n packets as not sent: dropped for lack of room or of a way, else as errors, as there is something wrong with them.
func (s *Sender) Lose(n int, errno unix.Errno) {
	switch errno {
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENODEV, unix.ENXIO:
		s.Counts.Dropped.Add(uint64(n))
	default:
		s.Counts.Errors.Add(uint64(n))
	}
}

// Outgoing is the messages of a batch that are to go out of one socket.
type Outgoing struct {
	From, To int
	Errno    unix.Errno // why message From was refused; 0 if it was not
}

// Send sends messages until all are gone, with From behind the last, or one is refused. It reports false if the socket is full.
func (o *Outgoing) Send(batch *sockets.Batch, fd uintptr) bool {
	for o.From < o.To {
		n, errno := batch.Send(fd, o.From, o.To)
		if errno == unix.EAGAIN {
			return false
		}
		if errno != 0 {
			o.Errno = errno
			return true
		}
		o.From += n
	}
	return true
}
