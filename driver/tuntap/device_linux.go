package tuntap

// The device: made and set up by ioctls on /dev/net/tun, whose descriptors are its queues.

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/vnethdr"
	"github.com/culvert-net/culvert/packet"
)

const devicePath = "/dev/net/tun"

// Offloads that golang.org/x/sys does not know yet, of Linux 6.17: include/uapi/linux/if_tun.h.
const (
	tunFUDPTunnelGSO     = 0x80
	tunFUDPTunnelGSOCsum = 0x100
)

// features are what a device does with metadata, in both directions.
type features struct {
	offloads  packet.Offloads // taken by Send
	headerLen int             // of the vnet header; 0 if there is none
	flags     uintptr         // for TUNSETOFFLOAD: what may be received
}

// candidates returns the features that a kernel may have, the best first. The last one all kernels have.
//
// What TUNSETOFFLOAD allows is what the kernel may send here; what it takes it need not be told, but for tunnels. UDP superframes
// are only received from TUN devices, as allowing them means those over IPv6, too, for which a buffer has no word.
func candidates(kind Kind, without packet.Offloads) []features {
	var f features
	if kind == TAP && !without.Has(packet.OffloadVLAN) {
		f.offloads = packet.OffloadVLAN // by software: the tag is put into the frame before it is written
	}
	if without.Has(packet.OffloadChecksum) {
		return []features{f}
	}
	f.offloads |= packet.OffloadChecksum
	f.headerLen, f.flags = vnethdr.Len, unix.TUN_F_CSUM
	list := []features{f}
	if !without.Has(packet.OffloadTCP4) {
		f.offloads |= packet.OffloadTCP4
		f.flags |= unix.TUN_F_TSO4 | unix.TUN_F_TSO_ECN
	}
	if kind == TAP && !without.Has(packet.OffloadTCP6) {
		f.offloads |= packet.OffloadTCP6
		f.flags |= unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	}
	list = append(list, f)
	if !without.Has(packet.OffloadUDP4) {
		f.offloads |= packet.OffloadUDP4
		f.flags |= unix.TUN_F_USO4 | unix.TUN_F_USO6
		list = append(list, f)
	}
	// Where the tunnel's headers are, the kernel checks as if there were an Ethernet header (virtio_net_hdr_tnl_to_skb in
	// include/linux/virtio_net.h): EINVAL from a TUN device.
	if kind == TAP && f.offloads.Has(packet.OffloadTCP4) && !without.Has(packet.OffloadTunnelTCP4) {
		f.offloads |= packet.OffloadTunnelTCP4
		f.flags |= tunFUDPTunnelGSO | tunFUDPTunnelGSOCsum
		f.headerLen = vnethdr.LenTunnel
		list = append(list, f)
	}
	for i := range len(list) / 2 {
		list[i], list[len(list)-1-i] = list[len(list)-1-i], list[i]
	}
	return list
}

// checkFlags checks that a descriptor's device works as it was told to. A device of several queues does not listen as long as somebody
// else has one of them.
func checkFlags(fd int, header bool) error {
	r, err := unix.NewIfreq("")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, r); err != nil {
		return os.NewSyscallError("ioctl TUNGETIFF", err)
	}
	want := uint16(unix.IFF_NO_PI)
	if header {
		want |= unix.IFF_VNET_HDR
	}
	if r.Uint16()&(unix.IFF_NO_PI|unix.IFF_VNET_HDR) != want {
		return fmt.Errorf("%w: another program uses it", unix.EBUSY)
	}
	return nil
}

// openQueue opens one more queue of the device with a name, which is made if there is none. It returns the name that the device has.
func openQueue(kind Kind, name string, multi, header bool) (int, string, error) {
	fd, err := unix.Open(devicePath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, "", openFault(err)
	}
	name, err = attach(fd, kind, name, multi, header)
	if err != nil {
		_ = unix.Close(fd)
		return -1, "", err
	}
	return fd, name, nil
}

// attach makes a descriptor a queue of the device.
func attach(fd int, kind Kind, name string, multi, header bool) (string, error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return "", fmt.Errorf("tuntap: Name: %q: %w", name, err)
	}
	flags := uint16(unix.IFF_NO_PI)
	if kind == TUN {
		flags |= unix.IFF_TUN
	} else {
		flags |= unix.IFF_TAP
	}
	if multi {
		flags |= unix.IFF_MULTI_QUEUE
	}
	if header {
		flags |= unix.IFF_VNET_HDR
	}
	r.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		return "", attachFault(err, kind, name, multi)
	}
	return r.Name(), nil
}

// openFault says how to get what opening the device file lacks.
func openFault(err error) error {
	err = os.NewSyscallError("open "+devicePath, err)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("tuntap: %w: %w: the kernel's module is not loaded (modprobe tun), or this container has not been "+
			"given the device (--device %s)", err, errors.ErrUnsupported, devicePath)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("tuntap: %w: not allowed for this user or container (--device %s)", err, devicePath)
	}
	return fmt.Errorf("tuntap: %w", err)
}

// attachFault says what is in the way of a device.
func attachFault(err error, kind Kind, name string, multi bool) error {
	ioctl := os.NewSyscallError("ioctl TUNSETIFF", err)
	prefix := fmt.Sprintf("tuntap: %s device %s", kind, name)
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w: needs CAP_NET_ADMIN, or a device that was made for this user: "+
			"ip tuntap add dev %s mode %s user USER", prefix, ioctl, strings.ReplaceAll(name, "%d", "0"), kind)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s: %w: another program uses it", prefix, ioctl)
	case errors.Is(err, unix.EINVAL) && multi:
		return fmt.Errorf("%s: %w: there is a device of this name, of another kind or made without multi_queue", prefix, ioctl)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%s: %w: there is a device of this name and of another kind", prefix, ioctl)
	case errors.Is(err, unix.E2BIG):
		return fmt.Errorf("%s: %w: it has as many queues as it can have, %d", prefix, ioctl, MaxQueues)
	}
	return fmt.Errorf("%s: %w", prefix, ioctl)
}

// negotiate sets the best features that the kernel takes.
func negotiate(fd int, kind Kind, without packet.Offloads) (features, error) {
	list := candidates(kind, without)
	for i, f := range list {
		err := f.set(fd, kind)
		if err == nil || i == len(list)-1 || !errors.Is(err, unix.EINVAL) {
			return f, err
		}
	}
	return features{}, nil
}

// set sets features of a device.
func (f features) set(fd int, kind Kind) error {
	if f.headerLen == 0 { // then nothing may be left to us, as one who had the device before may have allowed
		return ioctl(fd, unix.TUNSETOFFLOAD, "TUNSETOFFLOAD", 0)
	}
	if err := ioctlInt(fd, unix.TUNSETVNETHDRSZ, "TUNSETVNETHDRSZ", f.headerLen); err != nil {
		return err
	}
	if err := ioctlInt(fd, unix.TUNSETVNETLE, "TUNSETVNETLE", 1); err != nil {
		return err
	}
	// A kernel that knows a flag takes it from a TAP device, too; then it is told what is meant.
	if err := ioctl(fd, unix.TUNSETOFFLOAD, "TUNSETOFFLOAD", f.flags); err != nil || kind == TUN {
		return err
	}
	return ioctl(fd, unix.TUNSETOFFLOAD, "TUNSETOFFLOAD", f.flags&^(unix.TUN_F_USO4|unix.TUN_F_USO6))
}

// reset makes a device that stays what it is when it is new, for whoever has it next and expects that.
func reset(fd int) error {
	return errors.Join(
		ioctl(fd, unix.TUNSETOFFLOAD, "TUNSETOFFLOAD", 0),
		ioctlInt(fd, unix.TUNSETVNETLE, "TUNSETVNETLE", 0),
		ioctlInt(fd, unix.TUNSETVNETHDRSZ, "TUNSETVNETHDRSZ", vnethdr.Len),
	)
}

// persist makes the device stay when its last queue is closed.
func persist(fd int) error { return ioctl(fd, unix.TUNSETPERSIST, "TUNSETPERSIST", 1) }

// nameOf returns the name of the device that a queue belongs to.
func nameOf(fd int) (string, error) {
	r, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, r); err != nil {
		return "", os.NewSyscallError("ioctl TUNGETIFF", err)
	}
	return r.Name(), nil
}

// setUp gives the device its attributes.
func setUp(name string, c Config) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(s) }()
	if c.MTU != 0 {
		if err := setMTU(s, name, c.MTU); err != nil {
			return fmt.Errorf("tuntap: MTU: %d for device %s: %w", c.MTU, name, err)
		}
	}
	if c.MAC != (ethernet.MAC{}) {
		if err := setMAC(s, name, c.MAC); err != nil {
			return fmt.Errorf("tuntap: MAC: %v for device %s: %w", c.MAC, name, err)
		}
	}
	if c.Up {
		if err := raise(s, name); err != nil {
			return fmt.Errorf("tuntap: Up: device %s: %w", name, err)
		}
	}
	return nil
}

func setMTU(s int, name string, mtu int) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint32(uint32(mtu))
	return os.NewSyscallError("ioctl SIOCSIFMTU", unix.IoctlIfreq(s, unix.SIOCSIFMTU, r))
}

// ifreqAddress is struct ifreq of <net/if.h> with an address in it, at least as long as on any architecture.
type ifreqAddress struct {
	name   [unix.IFNAMSIZ]byte
	family uint16
	mac    ethernet.MAC
	_      [16]byte
}

func setMAC(s int, name string, mac ethernet.MAC) error {
	r := ifreqAddress{family: unix.ARPHRD_ETHER, mac: mac}
	copy(r.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCSIFHWADDR, uintptr(unsafe.Pointer(&r)))
	return fault("ioctl SIOCSIFHWADDR", errno)
}

func raise(s int, name string) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, r); err != nil {
		return os.NewSyscallError("ioctl SIOCGIFFLAGS", err)
	}
	if r.Uint16()&unix.IFF_UP != 0 {
		return nil
	}
	r.SetUint16(r.Uint16() | unix.IFF_UP)
	return os.NewSyscallError("ioctl SIOCSIFFLAGS", unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r))
}

// ioctl calls ioctl(2) with a number.
func ioctl(fd int, request uintptr, name string, arg uintptr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, arg)
	return fault("ioctl "+name, errno)
}

// ioctlInt calls ioctl(2) with a pointer to a number.
func ioctlInt(fd int, request uintptr, name string, arg int) error {
	v := int32(arg)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&v)))
	return fault("ioctl "+name, errno)
}

func fault(call string, errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return os.NewSyscallError(call, errno)
}
