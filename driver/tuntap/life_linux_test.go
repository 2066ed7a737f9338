package tuntap_test

// What becomes of a device while it is in use, and what is in the way of one.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/vnethdr"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
)

// arp is a request that is sent to all, so that any kernel takes it; with other hardware than Ethernet, so that none answers.
var arp = append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6}, make([]byte, 46)...)

// datagram returns a UDP datagram of a flow, to nobody.
func datagram(flow int) []byte {
	p, _ := ethernet.Fields{Dst: ethernet.MAC{2, 1}, Src: ethernet.MAC{2, 2}, EtherType: ethernet.TypeIPv4}.Append(nil)
	p, _ = ipv4.Fields{TTL: 64, Protocol: ipv4.ProtocolUDP, Src: [4]byte{192, 0, 2, 1}, Dst: [4]byte{192, 0, 2, 2}}.Append(p, udp.HeaderLen)
	p, _ = udp.Fields{SrcPort: uint16(1000 + flow), DstPort: 9}.Append(p, 0)
	return p
}

// send sends a frame and returns the error.
func send(d driver.Driver) error {
	return d.Queues()[0].Send([]*packet.Buffer{packet.Of(arp)})
}

// receive receives until a frame like arp comes.
func receive(tb testing.TB, d driver.Driver) {
	tb.Helper()
	batch := make([]*packet.Buffer, driver.BatchSize)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		n, err := d.Queues()[0].Receive(batch, time.Second)
		require.NoError(tb, err)
		found := false
		for _, b := range batch[:n] {
			found = found || string(b.Bytes()) == string(arp)
			b.Free()
		}
		if found {
			return
		}
	}
	tb.Fatal("no frame came in 10 seconds")
}

// passes checks that frames pass in both directions.
func passes(tb testing.TB, ns *netnstest.Namespace, d *tuntap.Driver) {
	tb.Helper()
	w := newWire(tb, ns, d.Link())
	defer func() { assert.NoError(tb, w.Close()) }()
	require.NoError(tb, w.Inject(packet.Of(arp)))
	receive(tb, d)
	require.NoError(tb, send(d))
	for {
		b, err := w.Collect(10 * time.Second)
		require.NoError(tb, err)
		require.NotNil(tb, b, "no frame came in 10 seconds")
		if string(b.Bytes()) == string(arp) {
			return
		}
	}
}

func TestAttributes(t *testing.T) {
	run(t, func(t *testing.T) {
		ns := netnstest.New(t)
		mac := ethernet.MAC{2, 0, 0, 0, 0, 7}
		d := open(t, ns, tuntap.Config{Name: "pod%d", MTU: 1400, MAC: mac, Up: true})
		l := d.Link()
		assert.Equal(t, "pod0", l.Name)
		assert.Equal(t, 1400, l.MTU)
		assert.Zero(t, l.MAC, "that is the kernel's end")
		assert.False(t, l.Raw)
		await(t, d, true)
		text := ns.IP(t, "link show dev pod0")
		assert.Contains(t, text, mac.String())
		assert.Contains(t, text, "mtu 1400")
		passes(t, ns, d)

		tun := open(t, ns, tuntap.Config{Kind: tuntap.TUN})
		assert.Equal(t, "tun0", tun.Link().Name)
		assert.True(t, tun.Link().Raw)
		assert.False(t, tun.Link().Up)
		assert.Equal(t, 1500, tun.Link().MTU)
	})
}

func TestLinkChanges(t *testing.T) {
	run(t, func(t *testing.T) {
		ns, other := netnstest.New(t), netnstest.New(t)
		d := openUp(t, ns, tuntap.Config{})
		passes(t, ns, d)

		ns.IP(t, "link set tap0 mtu 9000")
		awaitThat(t, "MTU is 9000", d, func() bool { return d.Link().MTU == 9000 })

		ns.IP(t, "link set tap0 down")
		await(t, d, false)
		require.ErrorIs(t, send(d), driver.ErrDown)
		require.ErrorIs(t, send(d), unix.EIO)
		assert.EqualValues(t, 2, d.Stats().TxDropped)
		n, err := d.Queues()[0].Receive(make([]*packet.Buffer, 1), 0)
		assert.NoError(t, err)
		assert.Zero(t, n)
		ns.Up(t, "tap0")
		await(t, d, true)
		passes(t, ns, d)

		t.Log("renamed")
		ns.IP(t, "link set tap0 down")
		ns.IP(t, "link set tap0 name pod7")
		awaitThat(t, "Name is pod7", d, func() bool { return d.Link().Name == "pod7" })
		ns.Up(t, "pod7")
		await(t, d, true)
		passes(t, ns, d)

		t.Log("moved to another namespace, as for a container")
		move(t, ns, other, "pod7")
		await(t, d, false) // Linux sets it down
		other.Up(t, "pod7")
		await(t, d, true)
		other.IP(t, "link set pod7 mtu 1300")
		awaitThat(t, "MTU is 1300", d, func() bool { return d.Link().MTU == 1300 })
		passes(t, other, d)
	})
}

// move moves a device from one namespace to another.
func move(tb testing.TB, from, to *netnstest.Namespace, device string) {
	tb.Helper()
	sleep := exec.Command("sleep", "60") // a process in the namespace, which ip finds it by
	require.NoError(tb, to.Do(sleep.Start))
	defer func() { _, _ = sleep.Process.Kill(), sleep.Wait() }()
	from.IP(tb, "link set "+device+" netns "+strconv.Itoa(sleep.Process.Pid))
}

func TestDeletedAndMadeAgain(t *testing.T) {
	run(t, func(t *testing.T) {
		for _, queues := range []int{1, 2} {
			ns := netnstest.New(t)
			d := openUp(t, ns, tuntap.Config{Name: "pod0", Queues: queues})
			q, batch := d.Queues()[0], make([]*packet.Buffer, 1)

			waiting := make(chan error)
			go func() {
				for {
					if n, err := q.Receive(batch, driver.Forever); n == 0 {
						waiting <- err
						return
					}
					batch[0].Free()
				}
			}()
			ns.IP(t, "link delete pod0")
			err := <-waiting
			require.ErrorIs(t, err, tuntap.ErrGone, "who waits hears of it")
			require.ErrorIs(t, err, unix.EBADFD)
			await(t, d, false)
			require.ErrorIs(t, send(d), tuntap.ErrGone)
			assert.NotZero(t, d.Stats().TxDropped)

			n, err := q.Receive(batch, time.Millisecond)
			require.NoError(t, err, "and hears it once")
			require.Zero(t, n)
			q.Interrupt()
			n, err = q.Receive(batch, driver.Forever)
			require.NoError(t, err)
			require.Zero(t, n)

			go func() {
				_, err := q.Receive(batch, driver.Forever)
				waiting <- err
			}()
			multi := ""
			if queues > 1 {
				multi = " multi_queue"
			}
			ns.IP(t, "tuntap add dev pod0 mode tap"+multi)
			ns.Up(t, "pod0")
			await(t, d, true)
			ns.IP(t, "link set pod0 up") // waits for the lock under which Linux begins to send, once it has seen the carrier
			w := newWire(t, ns, d.Link())
			for flow := range 64 { // one of which comes by the queue that is waited for
				require.NoError(t, w.Inject(packet.Of(datagram(flow))))
			}
			select {
			case err := <-waiting:
				require.NoError(t, err)
				batch[0].Free()
			case <-time.After(10 * time.Second):
				t.Fatal("nothing is received from the device that was made again")
			}
			require.NoError(t, w.Close())
			require.NoError(t, send(d))
			require.NoError(t, d.Close())
		}
	})
}

func TestClosedWhileGone(t *testing.T) {
	run(t, func(t *testing.T) {
		ns := netnstest.New(t)
		d := openUp(t, ns, tuntap.Config{Name: "pod0"})
		ns.IP(t, "link delete pod0")
		await(t, d, false)
		waiting := make(chan error)
		go func() {
			for {
				n, err := d.Queues()[0].Receive(make([]*packet.Buffer, 1), driver.Forever)
				if n == 0 && !errors.Is(err, tuntap.ErrGone) {
					waiting <- err
					return
				}
			}
		}()
		require.NoError(t, d.Close())
		require.ErrorIs(t, <-waiting, net.ErrClosed)
		require.ErrorIs(t, send(d), net.ErrClosed)
	})
}

func TestPersist(t *testing.T) {
	run(t, func(t *testing.T) {
		ns := netnstest.New(t)
		d := open(t, ns, tuntap.Config{Name: "keep0", Persist: true, Up: true})
		require.NoError(t, d.Close())
		assert.Contains(t, ns.IP(t, "link show dev keep0"), "keep0")
		again := open(t, ns, tuntap.Config{Name: "keep0", Without: packet.OffloadChecksum})
		await(t, again, true)
		passes(t, ns, again)
		require.NoError(t, again.Close())
		assert.Contains(t, ns.IP(t, "link show dev keep0"), "keep0")
		ns.IP(t, "tuntap add dev many0 mode tap multi_queue")
		one := open(t, ns, tuntap.Config{Name: "many0", Up: true})
		await(t, one, true)
		passes(t, ns, one)
	})
}

// TestLeftBehind: a device that stays is for its next user as if it were new, whatever the one before was allowed to send it.
func TestLeftBehind(t *testing.T) {
	run(t, func(t *testing.T) {
		ns := netnstest.New(t)
		ns.IP(t, "tuntap add dev keep0 mode tap")
		require.NoError(t, openUp(t, ns, tuntap.Config{Name: "keep0"}).Close())
		size := -1
		require.NoError(t, ns.Do(func() (err error) {
			size, err = headerSize("keep0")
			return err
		}))
		assert.Equal(t, vnethdr.Len, size)

		require.NoError(t, ns.Do(func() error { return allowAll("keep0") }))
		d := openUp(t, ns, tuntap.Config{Name: "keep0", Without: packet.OffloadChecksum})
		ns.IP(t, "link set keep0 up") // waits until Linux sends by it
		w := newWire(t, ns, d.Link())
		defer func() { assert.NoError(t, w.Close()) }()
		b := packet.Of(segmentOf3000)
		require.NoError(t, b.SetChecksumPartial(34, 16))
		b.SetGSO(packet.GSOTCP4, 1000)
		require.NoError(t, w.Inject(b))
		batch := make([]*packet.Buffer, 3)
		for n := 0; n < 3; {
			got, err := d.Queues()[0].Receive(batch, 10*time.Second)
			require.NoError(t, err)
			require.NotZero(t, got, "no packet came in 10 seconds")
			for _, b := range batch[:got] {
				if len(b.Bytes()) > 34 && b.Bytes()[23] == ipv4.ProtocolTCP {
					assert.Equal(t, 54+1000, b.Len(), "a segment, not the whole")
					n++
				}
				b.Free()
			}
		}
	})
}

// segmentOf3000 is a frame with 3000 bytes of TCP, whose checksum is that of the pseudo-header.
var segmentOf3000 = func() []byte {
	src, dst := [4]byte{192, 0, 2, 1}, [4]byte{192, 0, 2, 2}
	p, _ := ethernet.Fields{Dst: ethernet.MAC{2, 1}, Src: ethernet.MAC{2, 2}, EtherType: ethernet.TypeIPv4}.Append(nil)
	p, _ = ipv4.Fields{TTL: 64, Protocol: ipv4.ProtocolTCP, Src: src, Dst: dst}.Append(p, tcp.HeaderLen+3000)
	at := len(p)
	p, _ = tcp.Fields{SrcPort: 1, DstPort: 2, Flags: tcp.ACK}.Append(p, src, dst, make([]byte, 3000))
	p = append(p, make([]byte, 3000)...)
	binary.BigEndian.PutUint16(p[at+16:], checksum.PseudoHeader(src, dst, ipv4.ProtocolTCP, uint16(len(p)-at)))
	return p
}()

// TestTagged: a VLAN tag in front of a superframe stays there, in both directions.
func TestTagged(t *testing.T) {
	run(t, func(t *testing.T) {
		ns := netnstest.New(t)
		d := openUp(t, ns, tuntap.Config{})
		w := newWire(t, ns, d.Link())
		defer func() { assert.NoError(t, w.Close()) }()
		b := packet.Of(segmentOf3000)
		require.NoError(t, b.SetChecksumPartial(34, 16))
		b.SetGSO(packet.GSOTCP4, 1000)
		b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 7})
		require.NoError(t, b.InsertVLAN())
		whole := packet.New(b.Len())
		require.NoError(t, whole.CopyFrom(b))

		require.NoError(t, w.Inject(b))
		batch := make([]*packet.Buffer, 1)
		n, err := d.Queues()[0].Receive(batch, 10*time.Second)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		same(t, whole, batch[0])

		require.NoError(t, d.Queues()[0].Send(batch))
		back, err := w.Collect(10 * time.Second)
		require.NoError(t, err)
		require.NotNil(t, back, "no packet came in 10 seconds")
		same(t, whole, back)
	})
}

// same checks that two packets are the same, metadata included.
func same(tb testing.TB, want, have *packet.Buffer) {
	tb.Helper()
	about := func(b *packet.Buffer) []any {
		start, field, partial := b.PartialChecksum()
		kind, size := b.GSO()
		return []any{b.Len(), start, field, partial, kind, size}
	}
	assert.Equal(tb, about(want), about(have))
	assert.True(tb, bytes.Equal(want.Bytes(), have.Bytes()), "other bytes")
}

// plain opens a device as a program does that knows nothing of this package.
func plain(name string, flags uint16) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	r, err := unix.NewIfreq(name)
	if err != nil {
		return fd, err
	}
	r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | flags)
	return fd, unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
}

// headerSize returns how long the vnet header of a device is.
func headerSize(name string) (int, error) {
	fd, err := plain(name, unix.IFF_VNET_HDR)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.IoctlGetInt(fd, unix.TUNGETVNETHDRSZ)
}

// allowAll allows a device superframes, and leaves it.
func allowAll(name string) error {
	fd, err := plain(name, unix.IFF_VNET_HDR)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4), unix.Close(fd))
}

// TestInTheWay has devices that cannot be had, and what is said then.
func TestInTheWay(t *testing.T) {
	run(t, func(t *testing.T) {
		ns := netnstest.New(t)
		open(t, ns, tuntap.Config{Name: "busy0"})
		open(t, ns, tuntap.Config{Name: "many0", Queues: 2})
		ns.IP(t, "tuntap add dev tun7 mode tun")
		ns.IP(t, "tuntap add dev single0 mode tap")
		for _, c := range []struct {
			name   string
			config tuntap.Config
			errno  unix.Errno
			text   string
		}{
			{"in use", tuntap.Config{Name: "busy0"}, unix.EBUSY, "another program uses it"},
			{"of another kind", tuntap.Config{Name: "tun7"}, unix.EINVAL, "of another kind"},
			{"one queue only", tuntap.Config{Name: "single0", Queues: 2}, unix.EINVAL, "multi_queue"},
			{"one queue in use", tuntap.Config{Name: "many0", Queues: 2, Without: packet.OffloadChecksum}, unix.EBUSY, "another program uses it"},
			{"no such thing at all", tuntap.Config{Name: "lo"}, unix.EINVAL, "of another kind"},
		} {
			t.Run(c.name, func(t *testing.T) {
				err := ns.Do(func() error {
					_, err := tuntap.New(c.config)
					return err
				})
				require.ErrorIs(t, err, c.errno)
				assert.Contains(t, err.Error(), c.text)
			})
		}
		t.Run("without CAP_NET_ADMIN", func(t *testing.T) {
			err := ns.Do(func() error {
				if err := dropNetAdmin(); err != nil {
					return err
				}
				_, err := tuntap.New(tuntap.Config{Name: "mine0"})
				return err
			})
			require.ErrorIs(t, err, unix.EPERM)
			assert.Contains(t, err.Error(), "needs CAP_NET_ADMIN")
			assert.Contains(t, err.Error(), "ip tuntap add dev mine0 mode tap user USER")
			assert.NotErrorIs(t, err, errors.ErrUnsupported)
		})
	})
}

// dropNetAdmin takes CAP_NET_ADMIN from the calling thread, which must be one that is not used any more.
func dropNetAdmin() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	_, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0)
	if errno != 0 {
		return os.NewSyscallError("capset", errno)
	}
	return nil
}
