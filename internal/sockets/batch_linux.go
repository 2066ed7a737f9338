package sockets

// recvmmsg(2) and sendmmsg(2), which golang.org/x/sys has no calls for.

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Batch is the arguments of one recvmmsg or sendmmsg: messages with one piece of memory each, or several, and with an IPv4 address
// and control messages if they were asked for. It keeps what it points to alive. Calls allocate nothing.
type Batch struct {
	messages []message
	iovs     []unix.Iovec // pieces of each message
	pieces   int
	names    []unix.RawSockaddrInet4
	controls []byte
	control  int // bytes of each message
}

// message is struct mmsghdr of <sys/socket.h>.
type message struct {
	unix.Msghdr
	n uint32
}

// NewBatch returns a batch of size messages with room for control bytes of control messages each, and for addresses if names is
// set.
func NewBatch(size int, names bool, control int) *Batch { return NewGather(size, 1, names, control) }

// NewGather is [NewBatch] for messages of up to so many pieces of memory, see [Batch.Append].
func NewGather(size, pieces int, names bool, control int) *Batch {
	control = unix.CmsgSpace(0) * ((control + unix.CmsgSpace(0) - 1) / unix.CmsgSpace(0)) // aligned
	b := &Batch{
		messages: make([]message, size), iovs: make([]unix.Iovec, size*pieces), pieces: pieces,
		controls: make([]byte, size*control), control: control,
	}
	if names {
		b.names = make([]unix.RawSockaddrInet4, size)
	}
	for i := range b.messages {
		m := &b.messages[i]
		m.Iov = &b.iovs[i*pieces]
		m.SetIovlen(1)
		if names {
			m.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		}
		if control > 0 {
			m.Control = &b.controls[i*control]
		}
	}
	return b
}

// Len returns the number of messages.
func (b *Batch) Len() int { return len(b.messages) }

// Set sets the memory of message i: what is sent, or where to receive.
func (b *Batch) Set(i int, p []byte) {
	b.Clear(i)
	b.Append(i, p)
}

// Clear leaves message i without memory.
func (b *Batch) Clear(i int) { b.messages[i].SetIovlen(0) }

// Append adds a piece to the memory of message i, and reports whether there was room for it; see [NewGather].
func (b *Batch) Append(i int, p []byte) bool {
	m := &b.messages[i]
	n := int(m.Iovlen)
	if n == b.pieces {
		return false
	}
	v := &b.iovs[i*b.pieces+n]
	v.Base = unsafe.SliceData(p)
	v.SetLen(len(p))
	m.SetIovlen(n + 1)
	return true
}

// Pieces returns how many pieces of memory message i has.
func (b *Batch) Pieces(i int) int { return int(b.messages[i].Iovlen) }

// Received returns how many bytes of message i were received or sent, and flags such as unix.MSG_TRUNC.
func (b *Batch) Received(i int) (n, flags int) {
	return int(b.messages[i].n), int(b.messages[i].Flags)
}

// Name returns the address of message i; its port is in network byte order. See [NewBatch].
func (b *Batch) Name(i int) *unix.RawSockaddrInet4 { return &b.names[i] }

// Control returns the control messages that came with message i.
func (b *Batch) Control(i int) []byte {
	return b.controls[i*b.control:][:b.messages[i].Controllen]
}

// ControlRoom returns the memory for control messages of message i; SetControl says how many bytes of it are sent.
func (b *Batch) ControlRoom(i int) []byte { return b.controls[i*b.control:][:b.control] }

// SetControl says how many bytes of ControlRoom are sent with message i.
func (b *Batch) SetControl(i, n int) { b.messages[i].SetControllen(n) }

// Receive receives up to n messages without waiting, and returns how many there were.
func (b *Batch) Receive(fd uintptr, n int) (int, unix.Errno) { return b.receive(fd, n, 0) }

// ReceiveErrors is Receive for a socket's error queue (IP_RECVERR in ip(7)).
func (b *Batch) ReceiveErrors(fd uintptr, n int) (int, unix.Errno) {
	return b.receive(fd, n, unix.MSG_ERRQUEUE)
}

func (b *Batch) receive(fd uintptr, n int, flags uintptr) (int, unix.Errno) {
	for i := range b.messages[:n] {
		m := &b.messages[i]
		m.Flags = 0
		m.SetControllen(b.control)
		if b.names != nil {
			m.Namelen = unix.SizeofSockaddrInet4
		}
	}
	return b.call(unix.SYS_RECVMMSG, fd, b.messages[:n], unix.MSG_DONTWAIT|flags)
}

// Send sends the messages from to to without waiting, and returns how many were sent before one was not; the error is that one's,
// and none if at least one was sent.
func (b *Batch) Send(fd uintptr, from, to int) (int, unix.Errno) {
	if b.names != nil {
		for i := from; i < to; i++ {
			b.messages[i].Namelen = unix.SizeofSockaddrInet4
		}
	}
	return b.call(unix.SYS_SENDMMSG, fd, b.messages[from:to], unix.MSG_DONTWAIT)
}

func (b *Batch) call(trap, fd uintptr, m []message, flags uintptr) (int, unix.Errno) {
	if len(m) == 0 {
		return 0, 0
	}
	for {
		n, errno := b.syscall(trap, fd, m, flags)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// few is how many messages take so little time that the scheduler need not be told: it wakes its monitor if all was idle before (the first
// of a program's system calls after a sleep does so), which takes longer than the messages.
const few = 4

func (b *Batch) syscall(trap, fd uintptr, m []message, flags uintptr) (uintptr, unix.Errno) {
	at, n := uintptr(unsafe.Pointer(&m[0])), uintptr(len(m))
	if len(m) <= few || trap == unix.SYS_RECVMMSG {
		n, _, errno := unix.RawSyscall6(trap, fd, at, n, flags, 0, 0)
		return n, errno
	}
	n, _, errno := unix.Syscall6(trap, fd, at, n, flags, 0, 0)
	return n, errno
}
