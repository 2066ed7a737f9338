package afpacket

// Packet sockets (packet(7), Documentation/networking/packet_mmap.rst): one to receive by a ring, one to send.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/sockets"
)

// Numbers of <linux/if_packet.h> that golang.org/x/sys has not got.
const (
	tpacketV2    = 1
	promiscuous  = 1 // PACKET_MR_PROMISC
	copyThresh   = 1 // any number: frames longer than a slot come by the socket
	fanoutUnique = unix.PACKET_FANOUT_FLAG_UNIQUEID
)

const (
	minSlot = 2048            // bytes
	maxSlot = 16384           // for the MTUs of jumbo frames; what is longer is copied by the socket
	block   = 1 << 16         // bytes of the ring that the kernel allocates at once; a power of two, at least a slot and a page
	memory  = 4 << 20         // bytes of packets that wait in a socket, if the kernel allows that much
	before  = 128             // bytes in front of the frame in a slot, at most: headers, address, alignment
	around  = ethernet.TagLen // bytes that a frame may have beyond the MTU and the Ethernet header
	anyType = unix.ETH_P_ALL  // protocol of a socket that receives all frames
	nothing = 0               // protocol of a socket that receives none
)

// rx is a socket with a ring to receive by.
type rx struct {
	fd   int
	ring []byte
	slot int // bytes of each
	mask int // slots less one
	at   int // the next slot
}

// openRX returns a socket that is set up, and receives nothing before it is bound.
func openRX(slots, mtu int, filter []bpf.RawInstruction) (_ *rx, err error) {
	r := &rx{slot: slotLen(mtu), mask: slots - 1}
	if r.fd, err = openSocket(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if err := attach(r.fd, filter); err != nil {
		return nil, err
	}
	options := append(sockets.ReceiveBuffer(memory),
		sockets.Option{Level: unix.SOL_PACKET, Name: unix.PACKET_IGNORE_OUTGOING, Value: 1, Text: "afpacket: PACKET_IGNORE_OUTGOING"},
		sockets.Option{Level: unix.SOL_PACKET, Name: unix.PACKET_VERSION, Value: tpacketV2, Text: "afpacket: PACKET_VERSION"},
		sockets.Option{Level: unix.SOL_PACKET, Name: unix.PACKET_COPY_THRESH, Value: copyThresh, Text: "afpacket: PACKET_COPY_THRESH"})
	if err := sockets.SetOptions(r.fd, options); err != nil {
		return nil, err
	}
	return r, r.mapRing(slots)
}

// mapRing makes the ring and maps it.
func (r *rx) mapRing(slots int) error {
	size := max(slots*r.slot, block)
	req := unix.TpacketReq{Block_size: block, Block_nr: uint32(size / block), Frame_size: uint32(r.slot), Frame_nr: uint32(size / r.slot)}
	r.mask = int(req.Frame_nr) - 1
	if err := setsockopt(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, unsafe.Pointer(&req), unsafe.Sizeof(req)); err != nil {
		return fmt.Errorf("afpacket: a ring of %d slots of %d bytes (Config.Slots): %w", req.Frame_nr, r.slot, err)
	}
	var err error
	if r.ring, err = unix.Mmap(r.fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	return nil
}

// slotLen returns the length of a slot that takes frames of the MTU.
func slotLen(mtu int) int {
	need := before + ethernet.HeaderLen + around + mtu
	return max(minSlot, min(1<<bits.Len(uint(need-1)), maxSlot))
}

// close closes the socket and unmaps the ring. It must not be in use.
func (r *rx) close() {
	if r.ring != nil {
		_ = unix.Munmap(r.ring)
	}
	_ = unix.Close(r.fd)
}

// drops returns how many frames were dropped since the last call: the kernel forgets them when it is asked.
func (r *rx) drops() uint64 {
	s, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return uint64(s.Drops)
}

// bind binds the socket to a device, from when on it receives.
func (r *rx) bind(index int, promisc bool) error {
	if err := bind(r.fd, index, anyType); err != nil {
		return err
	}
	if !promisc {
		return nil
	}
	m := unix.PacketMreq{Ifindex: int32(index), Type: promiscuous}
	return os.NewSyscallError("setsockopt PACKET_ADD_MEMBERSHIP",
		unix.SetsockoptPacketMreq(r.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m))
}

// join adds the bound socket to a group that shares the frames by their flows; the first one, with group 0, makes it.
func (r *rx) join(group int) (int, error) {
	const kind = unix.PACKET_FANOUT_HASH | unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING
	arg := kind<<16 | group
	if group == 0 {
		arg = (kind | fanoutUnique) << 16
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, arg); err != nil {
		return 0, fmt.Errorf("afpacket: PACKET_FANOUT for Config.Queues: %w", err)
	}
	got, err := unix.GetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	return got & 0xffff, os.NewSyscallError("getsockopt PACKET_FANOUT", err)
}

// openTX returns a socket to send by. It receives nothing, ever.
func openTX() (int, error) {
	fd, err := openSocket()
	if err != nil {
		return -1, err
	}
	return fd, sockets.SetOptions(fd, sockets.SendBuffer(memory)) // as much as there is: that cannot fail
}

// openSocket opens a packet socket whose packets have virtio-net headers. With protocol 0 it receives nothing.
func openSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, nothing)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return -1, fmt.Errorf("afpacket: a packet socket needs CAP_NET_RAW: run as root, or give it to the program "+
			"(setcap cap_net_raw+ep FILE), or run in a user namespace of its own (unshare -rn): %w", err)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return -1, fmt.Errorf("afpacket: the kernel has no packet sockets (CONFIG_PACKET): %w", errors.Join(err, errors.ErrUnsupported))
	case err != nil:
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt PACKET_VNET_HDR", err)
	}
	return fd, nil
}

// bind binds a packet socket to a device.
func bind(fd, index int, protocol uint16) error {
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(protocol), Ifindex: index}))
}

// networkOrder returns the number whose bytes in memory are those of v in network order.
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// attach sets the filter of a packet socket, atomically if it has one.
func attach(fd int, program []bpf.RawInstruction) error {
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog))
}

func setsockopt(fd, level, option int, value unsafe.Pointer, size uintptr) error {
	if _, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(value), size, 0); errno != 0 {
		return errno
	}
	return nil
}
