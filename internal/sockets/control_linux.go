package sockets

// Control messages (cmsg(3)): headers and data in the machine's byte order, aligned.

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// NextControl returns the first control message in b and what is behind it; nil if there is none, or none that is whole.
func NextControl(b []byte) (h *unix.Cmsghdr, data, rest []byte) {
	if len(b) < unix.SizeofCmsghdr {
		return nil, nil, nil
	}
	h = (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
	n, start := int(h.Len), unix.CmsgLen(0)
	if n < start || n > len(b) {
		return nil, nil, nil
	}
	return h, b[start:n:n], b[min(unix.CmsgSpace(n-start), len(b)):]
}

// PutControl writes the header of a control message with size bytes of data to the front of b, whose memory is aligned as that of
// [Batch.ControlRoom] is. It returns the data, which is zero, and the room that is left. There must be room for it: unix.CmsgSpace(size).
func PutControl(b []byte, level, kind int32, size int) (data, rest []byte) {
	space := unix.CmsgSpace(size)
	clear(b[:space])
	h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	return b[unix.CmsgLen(0):unix.CmsgLen(size)], b[space:]
}
