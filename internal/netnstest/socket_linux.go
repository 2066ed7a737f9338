package netnstest

// Packet sockets (packet(7)): what goes over a device, and a way to put frames onto it.

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Socket sends frames over one device and receives what comes in by it, with the Ethernet header. It is not safe for
// concurrent use.
type Socket struct {
	fd      int
	control []byte
	buf     []byte
}

// Frame is a received frame. Its memory is the caller's.
type Frame struct {
	// Bytes is the frame. A VLAN tag that the kernel had taken out is in its place.
	Bytes []byte

	// Partial says that the transport checksum is not computed yet: the field holds the sum of the pseudo-header, as it
	// does for most of what the kernel itself sends over a veth device.
	Partial bool
}

// Socket returns a socket on a device of the namespace, which must be up. It is closed at the end of the test.
func (ns *Namespace) Socket(tb testing.TB, device string) *Socket {
	tb.Helper()
	s := &Socket{fd: -1, control: make([]byte, 256), buf: make([]byte, 1<<16)}
	if err := ns.Do(func() error { return s.open(device) }); err != nil {
		tb.Fatalf("packet socket on %s: %v", device, err)
	}
	tb.Cleanup(func() { _ = unix.Close(s.fd) })
	return s
}

// open opens the socket and binds it to a device.
func (s *Socket) open(device string) error {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	// With protocol 0 it receives nothing before it is bound to the device.
	if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return os.NewSyscallError("socket", err)
	}
	for _, option := range []int{unix.PACKET_AUXDATA, unix.PACKET_IGNORE_OUTGOING} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, option, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience}); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	return os.NewSyscallError("bind", unix.Bind(s.fd, &unix.SockaddrLinklayer{
		Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: dev.Index,
	}))
}

// networkOrder returns the number whose bytes in memory are those of v in network order.
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// SetMark gives the frames that are sent from now on a firewall mark.
func (s *Socket) SetMark(tb testing.TB, mark uint32) {
	tb.Helper()
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		tb.Fatalf("SO_MARK: %v", err)
	}
}

// Send sends frames. Those of one call arrive in their order: the kernel queues them where they are sent, processor by
// processor, and they are all sent by one.
func (s *Socket) Send(tb testing.TB, frames ...[]byte) {
	tb.Helper()
	if err := onOneProcessor(func() error {
		for _, f := range frames {
			if _, err := unix.Write(s.fd, f); err != nil {
				return os.NewSyscallError("write", err)
			}
		}
		return nil
	}); err != nil {
		tb.Fatalf("sending: %v", err)
	}
}

// onOneProcessor calls f on a thread that stays where it is.
func onOneProcessor(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if before.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	return errors.Join(f(), os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &before)))
}

// Receive returns the next frame, and fails the test if none comes.
func (s *Socket) Receive(tb testing.TB) Frame {
	tb.Helper()
	n, oobn, flags, err := s.recvmsg()
	switch {
	case errors.Is(err, unix.EAGAIN):
		tb.Fatalf("no frame came in %d seconds", patience)
	case err != nil:
		tb.Fatalf("receiving: %v", err)
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		tb.Fatalf("a frame of more than %d bytes", len(s.buf))
	}
	messages, err := unix.ParseSocketControlMessage(s.control[:oobn])
	if err != nil {
		tb.Fatalf("control messages: %v", err)
	}
	frame := Frame{Bytes: append([]byte(nil), s.buf[:n]...)}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA {
			var aux unix.TpacketAuxdata
			if _, err := binary.Decode(m.Data, binary.NativeEndian, &aux); err != nil {
				tb.Fatalf("auxiliary data: %v", err)
			}
			frame.add(aux)
		}
	}
	return frame
}

// recvmsg receives, as often as signals interrupt it.
func (s *Socket) recvmsg() (n, oobn, flags int, err error) {
	for {
		n, oobn, flags, _, err = unix.Recvmsg(s.fd, s.buf, s.control, 0)
		if !errors.Is(err, unix.EINTR) {
			return n, oobn, flags, err
		}
	}
}

// add adds to a frame what the kernel says of it beside its bytes.
func (f *Frame) add(aux unix.TpacketAuxdata) {
	const macs = 12
	f.Partial = aux.Status&unix.TP_STATUS_CSUMNOTREADY != 0
	if aux.Status&unix.TP_STATUS_VLAN_VALID == 0 || len(f.Bytes) < macs {
		return
	}
	tagged := append([]byte(nil), f.Bytes[:macs]...)
	tagged = binary.BigEndian.AppendUint16(tagged, aux.Vlan_tpid)
	tagged = binary.BigEndian.AppendUint16(tagged, aux.Vlan_tci)
	f.Bytes = append(tagged, f.Bytes[macs:]...)
}
