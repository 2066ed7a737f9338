// Linux as the oracle: a superframe that a packet socket sends over a device that can do nothing is cut by the kernel, and the
// segments that come out at the other end are those that Cut makes.
//
//	namespace one                                          namespace two
//	socket ─ vxlan42 ─┐
//	socket ───────────┴─ port1 (checksums off) ──veth── port2 ─ socket
package gso_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/gso"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
)

// superSender sends superframes over a device.
type superSender int

// newSuperSender opens a packet socket with virtio-net headers (packet(7), include/uapi/linux/virtio_net.h).
func newSuperSender(t *testing.T, ns *netnstest.Namespace, device string) superSender {
	t.Helper()
	fd := -1
	require.NoError(t, ns.Do(func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: dev.Index}))
	}))
	t.Cleanup(func() { _ = unix.Close(fd) })
	return superSender(fd)
}

// send sends the superframe in b.
func (s superSender) send(t *testing.T, b *packet.Buffer) {
	t.Helper()
	const needsChecksum = 1
	kind, size := b.GSO()
	start, field, ok := b.PartialChecksum()
	require.True(t, ok)
	h := []byte{needsChecksum, map[packet.GSOType]byte{packet.GSOTCP4: 1, packet.GSOTCP6: 4, packet.GSOUDP4: 5}[kind]}
	headers := start + 8
	if kind != packet.GSOUDP4 {
		headers = start + int(b.Bytes()[start+12]>>4)*4
	}
	for _, v := range []int{headers, int(size), start, field} {
		h = binary.NativeEndian.AppendUint16(h, uint16(v))
	}
	_, err := unix.Write(int(s), append(h, b.Bytes()...))
	require.NoError(t, err)
}

// checksumsOff takes a device's checksum offload, and with it all that builds on it (netdev_fix_features in net/core/dev.c).
func checksumsOff(t *testing.T, ns *netnstest.Namespace, device string) {
	t.Helper()
	const setTxChecksums = 0x17 // ETHTOOL_STXCSUM of include/uapi/linux/ethtool.h
	type value struct{ cmd, data uint32 }
	type request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is longer
	}
	require.NoError(t, ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		r := request{data: unsafe.Pointer(&value{cmd: setTxChecksums})}
		copy(r.name[:], device)
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r))); e != 0 {
			return os.NewSyscallError("ioctl", e)
		}
		return nil
	}))
}

func TestKernelCuts(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, two := netnstest.New(t), netnstest.New(t)
		netnstest.Veth(t,
			netnstest.End{Namespace: one, Device: "port1", MAC: macA.String()},
			netnstest.End{Namespace: two, Device: "port2", MAC: macB.String()})
		checksumsOff(t, one, "port1")
		one.IP(t, "address add 192.0.2.1/24 dev port1")
		one.IP(t, fmt.Sprintf("neighbour add 192.0.2.2 lladdr %v dev port1 nud permanent", macB))
		s := pools(t, 256)
		t.Run("plain", func(t *testing.T) { kernelCutsPlain(t, s, one, two) })
		t.Run("merged", func(t *testing.T) { kernelCutsMerged(t, s, one, two) })
		t.Run("bundle", func(t *testing.T) { kernelCutsBundle(t, s, one, two) })
		for _, sums := range []string{"noudpcsum", "udpcsum"} {
			t.Run("vxlan "+sums, func(t *testing.T) { kernelCutsVXLAN(t, s, one, two, sums) })
		}
	})
}

// received are the next n frames.
func received(t *testing.T, from *netnstest.Socket, n int) (all [][]byte) {
	t.Helper()
	for range n {
		f := from.Receive(t)
		require.False(t, f.Partial, "the kernel has computed the checksum")
		all = append(all, f.Bytes)
	}
	return all
}

func kernelCutsPlain(t *testing.T, s gso.Segmenter, one, two *netnstest.Namespace) {
	from, to := newSuperSender(t, one, "port1"), two.Socket(t, "port2")
	n := 0
	for _, f := range frames() {
		if f.raw || f.complete || f.noSum || len(f.tunnels) > 0 || f.tags > 1 || f.payload <= f.size || f.size > 1400+100 {
			continue // the kernel refuses what is no superframe
		}
		f.tcp.Flags &^= tcp.CWR // which its header has a type of its own for
		for _, id := range []uint16{0, 0xfffe} {
			f.id = id
			b := f.buffer(t)
			from.send(t, b)
			want, err := s.Cut(b, gso.Options{}, nil)
			require.NoError(t, err)
			for i, p := range contents(want) {
				require.Equal(t, received(t, to, 1)[0], p, "segment %d of %v", i, f)
				n++
			}
		}
	}
	require.NotZero(t, n)
	t.Logf("%d segments", n)
}

// kernelCutsMerged: the kernel takes what Merge makes, and makes of it what it was made of.
func kernelCutsMerged(t *testing.T, s gso.Segmenter, one, two *netnstest.Namespace) {
	from, to := newSuperSender(t, one, "port1"), two.Socket(t, "port2")
	c := gso.Coalescer{Large: s.Large}
	for _, f := range mergeable() {
		segments := f.cutSlowly(t)
		if f.raw || f.tags > 1 || len(segments) == 1 {
			continue
		}
		merged := c.Merge(fill(t, s.Pool, segments), false, anyTCP)
		require.Len(t, merged, 1, "%v", f)
		from.send(t, merged[0])
		packet.FreeBatch(merged)
		require.Equal(t, segments, received(t, to, len(segments)), "%v", f)
	}
}

// kernelCutsBundle: the kernel takes what Bundle makes, and makes of it what Cut would have.
func kernelCutsBundle(t *testing.T, s gso.Segmenter, one, two *netnstest.Namespace) {
	from, to := newSuperSender(t, one, "port1"), two.Socket(t, "port2")
	for _, payload := range []int{3000, 20000, 64000} {
		for _, tunnels := range [][]string{{"vxlan-sum"}, {"vxlan-sum", "vxlan"}, {"vxlan-sum", "ipip"}} {
			f := frame{kind: packet.GSOTCP4, size: 1300, payload: payload, tunnels: tunnels, tcp: tcp.Fields{Flags: tcp.ACK | tcp.PSH, Seq: 9}}
			b := s.Large.Get()
			f.into(t, b)
			bundles, err := s.Bundle(b, false, nil)
			require.NoError(t, err)
			want := f.cutSlowly(t)
			for _, q := range bundles {
				from.send(t, q)
			}
			packet.FreeBatch(bundles)
			for i, p := range received(t, to, len(want)) {
				require.Equal(t, want[i], p, "segment %d of %v", i, f)
			}
		}
	}
}

// kernelCutsVXLAN: superframes that the kernel encapsulates and cuts are as those that are encapsulated with its headers and cut here.
func kernelCutsVXLAN(t *testing.T, s gso.Segmenter, one, two *netnstest.Namespace, sums string) {
	one.IP(t, "link add vxlan42 type vxlan id 42 local 192.0.2.1 remote 192.0.2.2 dev port1 dstport 4789 "+sums)
	defer one.IP(t, "link delete vxlan42")
	one.Up(t, "vxlan42")
	from, to := newSuperSender(t, one, "vxlan42"), two.Socket(t, "port2")
	const outer = 50
	for _, f := range frames() {
		if f.raw || f.complete || f.noSum || len(f.tunnels) > 0 || f.tags > 0 || f.payload <= f.size || f.size > 1400 {
			continue
		}
		f.tcp.Flags &^= tcp.CWR
		inner := f.buffer(t)
		from.send(t, inner)
		got := received(t, to, (f.payload+f.size-1)/f.size)
		// The superframe in the first segment's outer headers, its lengths those of the whole.
		p := append(got[0][:outer:outer], inner.Bytes()...)
		binary.BigEndian.PutUint16(p[16:], uint16(len(p)-ethernet.HeaderLen))
		binary.BigEndian.PutUint16(p[38:], uint16(len(p)-34))
		start, field, _ := inner.PartialChecksum()
		b := packet.Of(p)
		b.SetGSO(f.kind, uint16(f.size))
		require.NoError(t, b.SetChecksumPartial(outer+start, field))
		segs, err := s.Cut(b, gso.Options{}, nil)
		require.NoError(t, err)
		for i, p := range contents(segs) {
			require.Equal(t, got[i], p, "segment %d of %v", i, f)
		}
	}
	assert.Contains(t, one.IP(t, "-d link show vxlan42"), sums)
}
