package afpacket

// Keeping frames from the kernel's stack: a classifier (cls_bpf, with a classic program that decides by itself) at the ingress hook of
// a clsact queueing discipline, told to the kernel by rtnetlink (rtnetlink(7), net/sched/cls_bpf.c). A packet socket gets its copy
// before that hook.
//
// Classifiers of several drivers are side by side. One's handle is the port of the netlink socket that put it up, which no other socket has
// as long as that is open: so who finds a classifier can tell whether it is still somebody's.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Numbers of <linux/pkt_sched.h>, <linux/pkt_cls.h> and ours.
const (
	clsactHandle = 0xffff0000
	clsactParent = 0xfffffff1 // TC_H_CLSACT
	ingress      = 0xfffffff2 // TC_H_CLSACT's major, TC_H_MIN_INGRESS
	egress       = 0xfffffff3

	bpfOpsLen  = 4 // TCA_BPF_OPS_LEN
	bpfOps     = 5
	bpfFlags   = 8
	directFlag = 1 // TCA_BPF_FLAG_ACT_DIRECT: what the program returns is what becomes of the frame

	preference = 0xcafe // 51966: where our classifiers are, and no one else's

	atHandle, atInfo, tcLen = 8, 16, 20 // struct tcmsg

	answerSize = 1 << 15 // bytes; what a dump of classifiers says at a time
)

// classifier is the one at a device. The driver's lock is held by its methods' callers.
type classifier struct {
	space   *namespace
	fd      int
	handle  uint32 // the socket's port
	index   int    // of the device
	program []bpf.RawInstruction
	made    bool // the discipline is ours
}

// setSteal puts a classifier up at a device, or another one, or takes it down. With index 0 there is no device for now.
func (d *Driver) setSteal(f *Filter, index int) error {
	if f == nil {
		if d.stolen == nil {
			return nil
		}
		err := d.stolen.close()
		d.stolen = nil
		return err
	}
	program, err := f.program(steal)
	if err != nil {
		return fmt.Errorf("afpacket: Steal: %w", err)
	}
	c := d.stolen
	if c == nil {
		c = &classifier{space: d.space}
		if err := c.space.do(c.open); err != nil {
			return err
		}
	}
	c.program = program
	if index != 0 {
		err = c.install(index)
	}
	if err != nil && d.stolen == nil {
		_ = unix.Close(c.fd)
		return err
	}
	d.stolen = c
	return err
}

// open opens a socket to tell the kernel by.
func (c *classifier) open() (err error) {
	if c.fd, err = openPort(0); err != nil {
		return err
	}
	var name unix.Sockaddr
	if name, err = unix.Getsockname(c.fd); err == nil {
		c.handle = name.(*unix.SockaddrNetlink).Pid
		return nil
	}
	_ = unix.Close(c.fd)
	return os.NewSyscallError("getsockname (AF_NETLINK)", err)
}

// openPort opens a netlink socket with a port, or any port that is free if it is 0.
func openPort(port uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, os.NewSyscallError("socket (AF_NETLINK)", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: port}); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("bind (AF_NETLINK)", err)
	}
	return fd, nil
}

// install puts the classifier up at a device, in the place of the one that it has there, and takes those down that nobody has any more.
func (c *classifier) install(index int) error {
	if index != c.index {
		c.index, c.made = index, false
	}
	r := c.request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, clsactHandle, clsactParent, 0)
	r.attribute(unix.TCA_KIND, []byte("clsact\x00"))
	switch err := r.do(c.fd, nil); {
	case err == nil:
		c.made = true
	case !errors.Is(err, unix.EEXIST):
		return explain(err)
	}
	for _, h := range c.abandoned() {
		if err := c.remove(h); err != nil && !gone(err) {
			return explain(err)
		}
	}
	r = c.request(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE, c.handle, ingress, info())
	r.attribute(unix.TCA_KIND, []byte("bpf\x00"))
	options := request{}
	options.attribute(bpfOpsLen, binary.NativeEndian.AppendUint16(nil, uint16(len(c.program))))
	options.attribute(bpfOps, operations(c.program))
	options.attribute(bpfFlags, binary.NativeEndian.AppendUint32(nil, directFlag))
	r.attribute(unix.TCA_OPTIONS, options)
	return explain(r.do(c.fd, nil))
}

// explain says what is missing.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("afpacket: Steal needs CAP_NET_ADMIN: run as root, or give it to the program "+
			"(setcap cap_net_raw,cap_net_admin+ep FILE): %w", err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("afpacket: Steal needs the kernel's CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF: %w",
			errors.Join(err, errors.ErrUnsupported))
	}
	return fmt.Errorf("afpacket: Steal: %w", err)
}

// info is where the classifier is: its preference, and the protocol that it is for.
func info() uint32 { return preference<<16 | uint32(networkOrder(unix.ETH_P_ALL)) }

// operations returns a program as the kernel has it (struct sock_filter).
func operations(program []bpf.RawInstruction) []byte {
	var b []byte
	for _, in := range program {
		b = binary.NativeEndian.AppendUint16(b, in.Op)
		b = append(b, in.Jt, in.Jf)
		b = binary.NativeEndian.AppendUint32(b, in.K)
	}
	return b
}

// close takes the classifier down, and the discipline if it is ours and nobody else's by now.
func (c *classifier) close() error {
	defer func() { _ = unix.Close(c.fd) }()
	if c.index == 0 {
		return nil
	}
	err := c.remove(c.handle)
	if gone(err) {
		return nil
	}
	if !c.made || len(c.others(egress)) > 0 || len(c.others(ingress)) > 0 {
		return err
	}
	r := c.request(unix.RTM_DELQDISC, 0, clsactHandle, clsactParent, 0)
	if e := r.do(c.fd, nil); !gone(e) {
		err = errors.Join(err, e)
	}
	return err
}

// gone reports whether an error says that the device, or what was at it, is no more: somebody else removed it.
func gone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL)
}

// remove takes the classifier with a handle down.
func (c *classifier) remove(handle uint32) error {
	r := c.request(unix.RTM_DELTFILTER, 0, handle, ingress, info())
	r.attribute(unix.TCA_KIND, []byte("bpf\x00"))
	return r.do(c.fd, nil)
}

// place is where a classifier is.
type place struct{ info, handle uint32 }

// others returns what classifiers there are at a hook of the device. If the kernel does not say, there may be some.
func (c *classifier) others(hook uint32) (all []place) {
	r := c.request(unix.RTM_GETTFILTER, unix.NLM_F_DUMP, 0, hook, 0)
	err := r.do(c.fd, func(m *syscall.NetlinkMessage) {
		if m.Header.Type == unix.RTM_NEWTFILTER && len(m.Data) >= tcLen {
			e := binary.NativeEndian
			all = append(all, place{e.Uint32(m.Data[atInfo:]), e.Uint32(m.Data[atHandle:])})
		}
	})
	if err != nil {
		all = append(all, place{})
	}
	return all
}

// abandoned returns the handles of classifiers whose sockets are closed: their processes were killed. Ports are a namespace's own.
func (c *classifier) abandoned() (handles []uint32) {
	for _, p := range c.others(ingress) {
		if p.info>>16 != preference || p.handle == 0 || p.handle == c.handle {
			continue
		}
		if err := c.space.do(func() error {
			fd, err := openPort(p.handle)
			if err == nil {
				_ = unix.Close(fd)
			}
			return err
		}); err == nil {
			handles = append(handles, p.handle)
		}
	}
	return handles
}

// request is a message to the kernel, or attributes.
type request []byte

// request returns a message with struct tcmsg.
func (c *classifier) request(kind uint16, flags int, handle, parent, info uint32) request {
	if flags&unix.NLM_F_DUMP != unix.NLM_F_DUMP { // which shares a bit with NLM_F_EXCL
		flags |= unix.NLM_F_ACK
	}
	e := binary.NativeEndian
	r := e.AppendUint32(nil, 0) // the length, known in the end
	r = e.AppendUint16(r, kind)
	r = e.AppendUint16(r, uint16(unix.NLM_F_REQUEST|flags))
	r = append(r, make([]byte, 8)...) // number, sender
	r = append(r, make([]byte, 4)...) // tcm_family
	for _, v := range []uint32{uint32(c.index), handle, parent, info} {
		r = e.AppendUint32(r, v)
	}
	return r
}

// attribute adds an attribute.
func (r *request) attribute(kind uint16, value []byte) {
	b := binary.NativeEndian.AppendUint16(*r, uint16(unix.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	for len(b)%unix.NLA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	*r = b
}

// do sends a request and takes its answers: each is for f, up to the last or the error.
func (r request) do(fd int, f func(*syscall.NetlinkMessage)) error {
	binary.NativeEndian.PutUint32(r, uint32(len(r)))
	if err := unix.Sendto(fd, r, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto (AF_NETLINK)", err)
	}
	buf := make([]byte, answerSize)
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("read (AF_NETLINK)", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return fmt.Errorf("rtnetlink: %w", err)
		}
		for i := range messages {
			if done, err := last(&messages[i]); done {
				return err
			}
			f(&messages[i])
		}
	}
}

// last reports whether an answer is the last one, and what error it tells.
func last(m *syscall.NetlinkMessage) (bool, error) {
	if m.Header.Type == unix.NLMSG_DONE {
		return true, nil
	}
	if m.Header.Type != unix.NLMSG_ERROR {
		return false, nil
	}
	if len(m.Data) < 4 {
		return true, os.NewSyscallError("rtnetlink", unix.EPROTO)
	}
	if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data))); errno != 0 {
		return true, os.NewSyscallError("rtnetlink", errno)
	}
	return true, nil
}
