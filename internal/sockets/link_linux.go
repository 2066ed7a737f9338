package sockets

// What the kernel says of a network device (rtnetlink(7)), and being told when that changes. Everything happens in the network
// namespace of the thread that calls NewWatch, wherever the goroutines run later: sockets belong to a namespace for good.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Device is what the kernel says of a network device.
type Device struct {
	Index int    // 0: there is none
	Name  string // at most 15 bytes
	Type  uint16 // unix.ARPHRD_ETHER and so on
	MAC   [6]byte
	MTU   int  // bytes of the IP packet
	Up    bool // and has a carrier
}

// Watch follows the device with a name, or with an address.
type Watch struct {
	name    string
	local   netip.Addr
	events  *Conn
	scratch []byte
	notify  func(old, now Device)
	changed chan struct{}
	done    sync.WaitGroup

	mu     sync.Mutex
	ask    int // a socket for questions; -1 when closed
	buf    []byte
	device atomic.Pointer[Device]
}

const netlinkBuffer = 1 << 16 // as much as a dump fills at a time

// NewWatch follows the device with the name, or if that is empty, the one that has the address. There may be none. notify, if not
// nil, is called when Device has changed, by a goroutine that Close waits for.
func NewWatch(name string, local netip.Addr, notify func(old, now Device)) (*Watch, error) {
	w := &Watch{
		name: name, local: local, ask: -1, notify: notify, changed: make(chan struct{}, 1),
		scratch: make([]byte, netlinkBuffer), buf: make([]byte, netlinkBuffer),
	}
	fd, err := netlinkSocket(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR)
	if err != nil {
		return nil, err
	}
	if w.events, err = New(fd, "rtnetlink", w.drain, nil); err != nil {
		return nil, err
	}
	if w.ask, err = netlinkSocket(0); err != nil {
		_ = w.events.Close()
		return nil, err
	}
	if err := w.refresh(); err != nil {
		_ = w.events.Close()
		_ = unix.Close(w.ask)
		return nil, err
	}
	w.done.Go(w.follow)
	return w, nil
}

func netlinkSocket(groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, os.NewSyscallError("socket (AF_NETLINK)", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("bind (AF_NETLINK)", err)
	}
	return fd, nil
}

// Device returns what the device is; the zero Device if there is none.
func (w *Watch) Device() Device { return *w.device.Load() }

// Changed returns a channel that has an element when Device has changed since the last one was taken.
func (w *Watch) Changed() <-chan struct{} { return w.changed }

// Close ends it.
func (w *Watch) Close() error {
	err := w.events.Close()
	w.done.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ask >= 0 {
		err = errors.Join(err, unix.Close(w.ask))
		w.ask = -1
	}
	return err
}

// follow looks again whenever something has changed.
func (w *Watch) follow() {
	for {
		if _, err := w.events.Read(-1); err != nil {
			return
		}
		_ = w.refresh() // the next event tries again
	}
}

// drain takes all events, however many there are; that some were lost (ENOBUFS) is one, too.
func (w *Watch) drain(fd uintptr) bool {
	some := false
	for {
		_, err := unix.Read(int(fd), w.scratch)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS), err == nil:
			some = true
			continue
		}
		return some || !errors.Is(err, unix.EAGAIN)
	}
}

// refresh asks the kernel.
func (w *Watch) refresh() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, err := w.find()
	if err != nil {
		return err
	}
	old := w.device.Swap(&d)
	if old == nil || *old == d {
		return nil
	}
	if w.notify != nil {
		w.notify(*old, d)
	}
	select {
	case w.changed <- struct{}{}:
	default:
	}
	return nil
}

func (w *Watch) find() (Device, error) {
	index := 0
	if w.name == "" {
		if !w.local.IsValid() || w.local.IsUnspecified() {
			return Device{}, nil
		}
		if err := w.dump(unix.RTM_GETADDR, unix.SizeofIfAddrmsg, func(m *syscall.NetlinkMessage) {
			if index == 0 {
				index = w.hasLocal(m)
			}
		}); err != nil || index == 0 {
			return Device{}, err
		}
	}
	var d Device
	err := w.dump(unix.RTM_GETLINK, unix.SizeofIfInfomsg, func(m *syscall.NetlinkMessage) {
		if x := deviceOf(m); x.Index != 0 && (x.Index == index || index == 0 && x.Name == w.name) {
			d = x
		}
	})
	return d, err
}

// hasLocal returns the index of the device that a message is about if its address is the one looked for, 0 otherwise.
func (w *Watch) hasLocal(m *syscall.NetlinkMessage) int {
	if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
		return 0
	}
	attributes, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return 0
	}
	for _, a := range attributes {
		if addr, ok := netip.AddrFromSlice(a.Value); ok && a.Attr.Type == unix.IFA_LOCAL && addr == w.local {
			return int((*unix.IfAddrmsg)(unsafe.Pointer(unsafe.SliceData(m.Data))).Index)
		}
	}
	return 0
}

// deviceOf returns the device that a message is about.
func deviceOf(m *syscall.NetlinkMessage) Device {
	if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
		return Device{}
	}
	attributes, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return Device{}
	}
	info := (*unix.IfInfomsg)(unsafe.Pointer(unsafe.SliceData(m.Data)))
	const running = unix.IFF_UP | unix.IFF_RUNNING
	d := Device{Index: int(info.Index), Type: info.Type, Up: info.Flags&running == running}
	for _, a := range attributes {
		switch a.Attr.Type {
		case unix.IFLA_IFNAME:
			d.Name = unix.ByteSliceToString(a.Value)
		case unix.IFLA_ADDRESS:
			if len(a.Value) == len(d.MAC) {
				d.MAC = [6]byte(a.Value)
			}
		case unix.IFLA_MTU:
			if len(a.Value) == 4 {
				d.MTU = int(binary.NativeEndian.Uint32(a.Value))
			}
		}
	}
	return d
}

// dump asks for all objects of a kind, whose messages begin with a header of size bytes, and calls f for each message.
func (w *Watch) dump(kind uint16, size int, f func(*syscall.NetlinkMessage)) error {
	if w.ask < 0 {
		return os.ErrClosed
	}
	request := make([]byte, unix.SizeofNlMsghdr+size)
	h := (*unix.NlMsghdr)(unsafe.Pointer(unsafe.SliceData(request)))
	h.Len, h.Type, h.Flags = uint32(len(request)), kind, unix.NLM_F_REQUEST|unix.NLM_F_DUMP
	if kind == unix.RTM_GETADDR {
		request[unix.SizeofNlMsghdr] = unix.AF_INET // ifa_family
	}
	if err := unix.Sendto(w.ask, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto (AF_NETLINK)", err)
	}
	for {
		n, err := unix.Read(w.ask, w.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("read (AF_NETLINK)", err)
		}
		messages, err := syscall.ParseNetlinkMessage(w.buf[:n])
		if err != nil {
			return fmt.Errorf("rtnetlink: %w", err)
		}
		for i := range messages {
			switch m := &messages[i]; m.Header.Type {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				if len(m.Data) >= 4 {
					return os.NewSyscallError("rtnetlink", unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data))))
				}
				return os.NewSyscallError("rtnetlink", unix.EPROTO)
			default:
				f(m)
			}
		}
	}
}
