package ipsocket

// The error queue of a socket (IP_RECVERR in ip(7)): what the network, or the kernel, says of what was sent.

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/internal/sockets"
)

// Who says that something went wrong: SO_EE_ORIGIN_* of include/uapi/linux/errqueue.h.
const (
	OriginLocal = 1 // the kernel, which quotes nothing
	OriginICMP  = 2
)

// SendError is an entry of an error queue.
type SendError struct {
	unix.SockExtendedErr
	Offender [4]byte                // who sent the ICMP message
	Local    [4]byte                // where the packet came from, if the socket has IP_PKTINFO
	To       *unix.RawSockaddrInet4 // where it was to go; the port is in network byte order
	Quote    []byte                 // what is known of it
}

// ErrorQueue reads the error queue of a socket. One goroutine at a time may use it.
type ErrorQueue struct {
	batch *sockets.Batch
	quote []byte
	entry SendError
	take  func(*SendError)
	read  func(fd int) error
}

// Init sets how many bytes to take at most of what an error is about, and who takes the entries, each until it returns.
func (e *ErrorQueue) Init(quote int, take func(*SendError)) {
	const control = 160 // bytes: the error with who sent it, and addresses, 16+16+16 and 16+12 with padding
	e.batch, e.quote, e.take = sockets.NewBatch(1, true, control), make([]byte, quote), take
	e.batch.Set(0, e.quote)
	e.read = e.readAll
}

// Drain reads all that is there.
func (e *ErrorQueue) Drain(c *sockets.Conn) {
	_ = c.Control(e.read) // closed: nothing to read
}

func (e *ErrorQueue) readAll(fd int) error {
	for {
		if _, errno := e.batch.ReceiveErrors(uintptr(fd), 1); errno != 0 {
			return nil
		}
		if e.parse() {
			e.take(&e.entry)
		}
	}
}

// parse makes the entry of the message that was read, and reports whether it is an error.
func (e *ErrorQueue) parse() (ok bool) {
	const (
		errorLen   = int(unsafe.Sizeof(unix.SockExtendedErr{}))
		offenderAt = errorLen + 4 // sin_addr of the struct sockaddr_in behind it (SO_EE_OFFENDER)
	)
	n, _ := e.batch.Received(0)
	e.entry = SendError{To: e.batch.Name(0), Quote: e.quote[:min(n, len(e.quote))]}
	for control := e.batch.Control(0); ; {
		h, data, rest := sockets.NextControl(control)
		if h == nil {
			return ok
		}
		control = rest
		switch {
		case h.Level != unix.IPPROTO_IP:
		case h.Type == unix.IP_RECVERR && len(data) >= offenderAt+4:
			e.entry.SockExtendedErr = *(*unix.SockExtendedErr)(unsafe.Pointer(unsafe.SliceData(data)))
			e.entry.Offender = [4]byte(data[offenderAt:])
			ok = true
		case h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			e.entry.Local = [4]byte(data[8:12]) // ipi_addr
		}
	}
}
