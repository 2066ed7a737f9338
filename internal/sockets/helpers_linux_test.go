package sockets_test

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// putHeader writes a control message's header, in the machine's byte order.
func putHeader(b []byte, h *unix.Cmsghdr) {
	copy(b, unsafe.Slice((*byte)(unsafe.Pointer(h)), unix.SizeofCmsghdr))
}
