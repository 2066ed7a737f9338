package tuntap_test

// What the tests need: devices in network namespaces, and packet sockets as the other end of their wire.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/vnethdr"
	"github.com/culvert-net/culvert/packet"
)

// run is [netnstest.Run] where devices can be made.
func run(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	netnstest.Run(t, func(t *testing.T) {
		open(t, netnstest.New(t), tuntap.Config{})
		body(t)
	})
}

// open makes a device in a namespace, without an IPv6 address whose announcements would be on the wire.
func open(tb testing.TB, ns *netnstest.Namespace, c tuntap.Config) *tuntap.Driver {
	tb.Helper()
	var d *tuntap.Driver
	err := ns.Do(func() (err error) {
		d, err = tuntap.New(c)
		return err
	})
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, errors.ErrUnsupported):
		netnstest.Missing(tb, err.Error())
	case err != nil:
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.Close(); err != nil {
			tb.Error(err)
		}
	})
	return d
}

// openUp is open for a device that is up.
func openUp(tb testing.TB, ns *netnstest.Namespace, c tuntap.Config) *tuntap.Driver {
	tb.Helper()
	d := open(tb, ns, c)
	ns.Up(tb, d.Link().Name)
	await(tb, d, true)
	return d
}

// await waits until the link is up or down.
func await(tb testing.TB, d *tuntap.Driver, up bool) {
	tb.Helper()
	awaitThat(tb, fmt.Sprintf("Link.Up is %t", up), d, func() bool { return d.Link().Up == up })
}

// awaitThat waits until something is so, which a change of the link brings about.
func awaitThat(tb testing.TB, what string, d *tuntap.Driver, is func() bool) {
	tb.Helper()
	for deadline := time.After(10 * time.Second); !is(); {
		select {
		case <-d.Changed():
		case <-deadline:
			tb.Fatalf("not so after 10 seconds: %s; the link is %+v", what, d.Link())
		}
	}
}

// wire is a packet socket on the device: the kernel's end of the wire. What is sent and received has metadata, as between two
// network cards with all offloads.
type wire struct {
	fd      int
	format  vnethdr.Format
	buf     []byte
	control []byte
}

func newWire(tb testing.TB, ns *netnstest.Namespace, l driver.Link) *wire {
	tb.Helper()
	w := &wire{fd: -1, format: vnethdr.Format{Raw: l.Raw}, buf: make([]byte, 1<<17), control: make([]byte, 256)}
	if err := ns.Do(func() error { return w.open(l.Name) }); err != nil {
		tb.Fatalf("packet socket on %s: %v", l.Name, err)
	}
	return w
}

func (w *wire) open(device string) error {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return os.NewSyscallError("socket", err)
	}
	for _, option := range []int{unix.PACKET_IGNORE_OUTGOING, unix.PACKET_VNET_HDR, unix.PACKET_AUXDATA} {
		if err := unix.SetsockoptInt(w.fd, unix.SOL_PACKET, option, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return os.NewSyscallError("bind", unix.Bind(w.fd, &unix.SockaddrLinklayer{
		Protocol: binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)), Ifindex: dev.Index,
	}))
}

// Inject sends a packet to the driver.
func (w *wire) Inject(b *packet.Buffer) error {
	defer b.Free()
	const all = packet.OffloadChecksum | packet.OffloadTCP4 | packet.OffloadTCP6 | packet.OffloadUDP4
	header := make([]byte, vnethdr.Len)
	if err := w.format.Put(header, b, all); err != nil {
		return err
	}
	_, err := unix.Writev(w.fd, [][]byte{header, b.Bytes()})
	return os.NewSyscallError("writev", err)
}

// Collect receives what the driver sent.
func (w *wire) Collect(wait time.Duration) (*packet.Buffer, error) {
	fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(wait.Milliseconds()))
	if n == 0 || errors.Is(err, unix.EINTR) {
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("poll", err)
	}
	n, control, _, _, err := unix.Recvmsg(w.fd, w.buf, w.control, 0)
	if errors.Is(err, unix.ENETDOWN) { // said once, when the device goes down
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	b := packet.Of(w.buf[vnethdr.Len:n])
	if err := w.format.Read(w.buf[:vnethdr.Len], b); err != nil {
		return nil, err
	}
	return b, w.tag(b, w.control[:control])
}

// tag puts a VLAN tag back that the kernel has taken out of a frame.
func (w *wire) tag(b *packet.Buffer, control []byte) error {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return err
	}
	for _, m := range messages {
		var aux unix.TpacketAuxdata
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA {
			continue
		}
		if _, err := binary.Decode(m.Data, binary.NativeEndian, &aux); err != nil {
			return err
		}
		if aux.Status&unix.TP_STATUS_VLAN_VALID != 0 {
			b.SetVLAN(ethernet.Tag{TPID: aux.Vlan_tpid, TCI: ethernet.TCI(aux.Vlan_tci)})
		}
	}
	return b.InsertVLAN()
}

// Close ends the wire.
func (w *wire) Close() error { return unix.Close(w.fd) }
