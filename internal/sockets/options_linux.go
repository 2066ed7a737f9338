package sockets

// Socket options, and what a socket had to drop.

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Option is a socket option with a number.
type Option struct {
	Level, Name, Value int
	Text               string // for errors
	Optional           bool   // do without it if the kernel refuses
}

// SetOptions sets options, in their order.
func SetOptions(fd int, options []Option) error {
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.Level, o.Name, o.Value); err != nil && !o.Optional {
			return fmt.Errorf("%s: %w", o.Text, os.NewSyscallError("setsockopt", err))
		}
	}
	return nil
}

// ReceiveBuffer sizes a socket's buffer in bytes: beyond the machine's limit (net.core.rmem_max) if that is allowed (CAP_NET_ADMIN),
// else up to it.
func ReceiveBuffer(size int) []Option { return buffer(unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, size) }

// SendBuffer is the same for what is sent (net.core.wmem_max).
func SendBuffer(size int) []Option { return buffer(unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, size) }

func buffer(plain, force, size int) []Option {
	return []Option{
		{Level: unix.SOL_SOCKET, Name: plain, Value: size, Optional: true},
		{Level: unix.SOL_SOCKET, Name: force, Value: size, Optional: true},
	}
}

// Drops counts what a socket had no room for: the kernel's number has 32 bits. It is safe for concurrent use.
type Drops struct {
	mu    sync.Mutex
	last  uint32
	total uint64
}

// Count returns how many messages the socket of c has dropped since it was made. When c is closed, the number stays.
func (d *Drops) Count(c *Conn) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = c.Control(func(fd int) error {
		now, err := socketDrops(fd)
		if err == nil {
			d.total += uint64(now - d.last)
			d.last = now
		}
		return err
	})
	return d.total
}

// socketDrops returns how many messages a socket had to drop, modulo 2³² (SO_MEMINFO, Linux 4.12).
func socketDrops(fd int) (uint32, error) {
	const (
		words = 9 // SK_MEMINFO_VARS of include/uapi/linux/sock_diag.h
		drops = 8 // SK_MEMINFO_DROPS
	)
	var info [words * 4]byte
	size := uint32(len(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return binary.NativeEndian.Uint32(info[drops*4:]), nil
}
