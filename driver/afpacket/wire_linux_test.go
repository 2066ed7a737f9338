package afpacket_test

// A bump in the wire: two kernels talk with all the offloads that virtual Ethernet has by default, through two drivers that hand each
// other what they receive, as it comes.
//
//	left eth0 10.0.0.1 ──── middle ─ port0 ═ program ═ port1 ──── right eth0 10.0.0.2

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/traffic"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/vxlan"
)

// bump is the three namespaces, and what the program in the middle has seen.
type bump struct {
	left, middle, right *netnstest.Namespace
	ports               [2]*afpacket.Driver // to the left and to the right
	seen                counters
}

type counters struct{ frames, superframes, partial, tagged, refused atomic.Int64 }

func newBump(t *testing.T, c afpacket.Config) *bump {
	t.Helper()
	b := &bump{left: netnstest.New(t), middle: netnstest.New(t), right: netnstest.New(t)}
	for i, outer := range []*netnstest.Namespace{b.left, b.right} {
		c.Device = fmt.Sprintf("port%d", i)
		netnstest.Veth(t,
			netnstest.End{Namespace: outer, Device: "eth0", MAC: fmt.Sprintf("02:00:00:00:00:0%d", i+1)},
			netnstest.End{Namespace: b.middle, Device: c.Device, MAC: fmt.Sprintf("02:00:00:00:00:1%d", i+1)})
		outer.IP(t, fmt.Sprintf("address add 10.0.0.%d/24 dev eth0", i+1))
		b.ports[i] = open(t, b.middle, c)
	}
	return b
}

// step changes a frame on its way, or reports false for one that goes no further.
type step func(*packet.Buffer) bool

// forward lets frames pass until the test ends, to the right through one step, to the left through the other one.
func (b *bump) forward(t *testing.T, toRight, toLeft step) { b.join(t, b.ports, toRight, toLeft) }

// join is forward for any two drivers.
func (b *bump) join(t *testing.T, ports [2]*afpacket.Driver, toRight, toLeft step) {
	var all sync.WaitGroup
	for i, in := range ports {
		out, through := ports[1-i], []step{toRight, toLeft}[i]
		for k, q := range in.Queues() {
			all.Go(func() { b.pass(t, q, out.Queues()[k], through) })
		}
	}
	t.Cleanup(func() {
		for _, d := range ports {
			assert.NoError(t, d.Close())
		}
		all.Wait()
	})
}

func (b *bump) pass(t *testing.T, in, out driver.Queue, through step) {
	batch := make([]*packet.Buffer, driver.BatchSize)
	for {
		n, err := in.Receive(batch, driver.Forever)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		assert.NoError(t, err)
		for i, f := range batch[:n] {
			b.note(f)
			if through != nil && !through(f) {
				f.Free()
				batch[i] = nil
			}
		}
		if err := out.Send(batch[:n]); err != nil && !errors.Is(err, net.ErrClosed) {
			b.seen.refused.Add(1)
			t.Logf("Send: %v", err)
		}
	}
}

func (b *bump) note(f *packet.Buffer) {
	b.seen.frames.Add(1)
	if f.IsSuperframe() {
		b.seen.superframes.Add(1)
	}
	if f.Checksum() == packet.ChecksumPartial {
		b.seen.partial.Add(1)
	}
	if f.HasVLAN() {
		b.seen.tagged.Add(1)
	}
}

// transfer sends size bytes over TCP from one namespace to an address of another one. It may be called beside the test.
func transfer(t *testing.T, from, to *netnstest.Namespace, addr string, size int) {
	t.Helper()
	took, err := traffic.Stream(from, to, addr, size)
	assert.NoError(t, err, "to %s", addr)
	t.Logf("%d bytes to %s: %s", size, addr, traffic.Rate(size, took))
}

// end closes what the test is done with.
func end(c io.Closer) { _ = c.Close() }

const some = 32 << 20 // bytes

func TestBumpInTheWire(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		b := newBump(t, afpacket.Config{Promiscuous: true})
		b.forward(t, nil, nil)
		for i, ns := range []*netnstest.Namespace{b.left, b.right} {
			ns.IP(t, fmt.Sprintf("address add 2001:db8::%d/64 dev eth0 nodad", i+1))
		}
		t.Run("TCP", func(t *testing.T) {
			transfer(t, b.left, b.right, "10.0.0.2", some)
			transfer(t, b.right, b.left, "10.0.0.1", some)
			assert.NotZero(t, b.seen.superframes.Load())
			assert.NotZero(t, b.seen.partial.Load())
		})
		t.Run("TCP over IPv6", func(t *testing.T) {
			before := b.seen.superframes.Load()
			transfer(t, b.left, b.right, "2001:db8::2", some)
			assert.Greater(t, b.seen.superframes.Load(), before)
		})
		t.Run("UDP", func(t *testing.T) {
			for _, size := range []int{1, 1000, 1472, 4000, 60000} { // the long ones in fragments
				echo(t, b.left, b.right, size, 0)
			}
		})
		t.Run("UDP in superframes", func(t *testing.T) {
			before := b.seen.superframes.Load()
			echo(t, b.left, b.right, 9500, 1000)
			assert.Greater(t, b.seen.superframes.Load(), before)
		})
		assert.Zero(t, b.seen.refused.Load())
	})
}

// TestVLANSuperframes gives all frames a tag on a wire in the middle, beside which they are superframes with partial checksums.
//
//	left ──── port0 ═ tags ═ mid0 ──── mid1 ═ takes the tags off ═ port1 ──── right
func TestVLANSuperframes(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		b := newBump(t, afpacket.Config{Promiscuous: true})
		netnstest.Veth(t,
			netnstest.End{Namespace: b.middle, Device: "mid0", MAC: "02:00:00:00:00:21"},
			netnstest.End{Namespace: b.middle, Device: "mid1", MAC: "02:00:00:00:00:22"})
		var mid [2]*afpacket.Driver
		for i := range mid {
			mid[i] = open(t, b.middle, afpacket.Config{
				Device: fmt.Sprintf("mid%d", i), Promiscuous: true, Filter: &afpacket.Filter{VLANs: []uint16{5}},
			})
		}
		tag := ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 0x6005}
		var tagged atomic.Int64
		put := func(f *packet.Buffer) bool {
			f.SetVLAN(tag)
			return true
		}
		take := func(f *packet.Buffer) bool {
			if f.VLAN() != tag {
				return false
			}
			if f.IsSuperframe() {
				tagged.Add(1)
			}
			f.SetVLAN(ethernet.Tag{})
			return true
		}
		b.join(t, [2]*afpacket.Driver{b.ports[0], mid[0]}, put, take)
		b.join(t, [2]*afpacket.Driver{mid[1], b.ports[1]}, take, put)
		transfer(t, b.left, b.right, "10.0.0.2", some)
		assert.NotZero(t, tagged.Load())
		assert.Zero(t, b.seen.refused.Load())
	})
}

func TestBumpOfSeveralQueues(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		b := newBump(t, afpacket.Config{Promiscuous: true, Queues: 2})
		b.forward(t, nil, nil)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { transfer(t, b.left, b.right, "10.0.0.2", some/4) })
		}
		all.Wait()
	})
}

// TestBumpWithoutOffloads takes its metadata from the left, and puts into the bytes what may not go out beside them.
func TestBumpWithoutOffloads(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		b := newBump(t, afpacket.Config{Promiscuous: true, NoOffloads: ^packet.OffloadsNone})
		require.Equal(t, packet.OffloadsNone, b.ports[0].Link().Offloads)
		complete := func(f *packet.Buffer) bool { return f.InsertVLAN() == nil && f.CompleteChecksum() == nil }
		b.forward(t, complete, complete)
		echo(t, b.left, b.right, 1000, 0)
		assert.NotZero(t, b.seen.partial.Load())
		assert.Zero(t, b.seen.refused.Load())
	})
}

// echo sends a datagram, or several of a length if that is not 0, and expects as many bytes back.
func echo(t *testing.T, from, to *netnstest.Namespace, size, segment int) {
	t.Helper()
	server := traffic.ListenUDP(t, to, "10.0.0.2:0")
	traffic.Echo(server)
	require.NoError(t, from.Do(func() error {
		c, err := net.DialUDP("udp4", nil, server.LocalAddr().(*net.UDPAddr))
		if err != nil {
			return err
		}
		defer end(c)
		if err := setSegment(c, segment); err != nil {
			return err
		}
		sent := make([]byte, size)
		rand.NewChaCha8([32]byte{2}).Read(sent) //nolint:errcheck // it never fails
		if _, err := c.Write(sent); err != nil {
			return err
		}
		var got []byte
		buf := make([]byte, 1<<16)
		for len(got) < size {
			if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
				return err
			}
			n, err := c.Read(buf)
			if err != nil {
				return err
			}
			got = append(got, buf[:n]...)
		}
		assert.Equal(t, sent, got)
		return nil
	}), "%d bytes", size)
}

// setSegment makes the kernel cut what is sent (UDP_SEGMENT).
func setSegment(c *net.UDPConn, size int) error {
	raw, err := c.SyscallConn()
	if err != nil || size == 0 {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size) }); e != nil {
		return e
	}
	return err
}

// TestVXLANSuperframes takes superframes out of the VXLAN of the left kernel, whose inner headers their metadata is about. The other
// direction is small.
//
//	left vxlan1 10.6.0.1 in eth0 ════ VTEP 10.0.0.9 ──── right eth0 10.6.0.2
func TestVXLANSuperframes(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		b := newBump(t, afpacket.Config{Promiscuous: true})
		b.left.IP(t, "neighbour add 10.0.0.9 lladdr 02:00:00:00:00:11 dev eth0 nud permanent")
		b.left.IP(t, "link add vxlan1 type vxlan id 7 remote 10.0.0.9 local 10.0.0.1 dev eth0 dstport 8472")
		b.left.Up(t, "vxlan1")
		b.left.IP(t, "address add 10.6.0.1/24 dev vxlan1")
		b.right.IP(t, "address add 10.6.0.2/24 dev eth0")
		b.right.IP(t, "link set eth0 mtu 1450")

		near, far := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.1")
		decap, err := vxlan.NewDecapsulator(vxlan.DecapConfig{VNIs: []uint32{7}, Local: near, DstPort: 8472})
		require.NoError(t, err)
		encap, err := vxlan.NewEncapsulator(vxlan.EncapConfig{
			VNI: 7, Src: near, Dst: far, DstPort: 8472,
			SrcMAC: ethernet.MAC{2, 0, 0, 0, 0, 0x11}, DstMAC: ethernet.MAC{2, 0, 0, 0, 0, 1},
		})
		require.NoError(t, err)
		var inner atomic.Int64
		b.forward(t, func(f *packet.Buffer) bool {
			if _, err := decap.Decapsulate(f); err != nil {
				return false
			}
			if kind, _ := f.GSO(); kind == packet.GSOTCP4 {
				inner.Add(1)
				start, field, ok := f.PartialChecksum()
				assert.Equal(t, []any{14 + 20, 16, true}, []any{start, field, ok})
			}
			return true
		}, func(f *packet.Buffer) bool {
			return encap.Encapsulate(f, 1) == nil
		})
		transfer(t, b.left, b.right, "10.6.0.2", some)
		assert.NotZero(t, inner.Load(), "superframes")
	})
}

// TestControlBesideTraffic changes what can be changed while frames pass. None is lost that no filter leaves out.
func TestControlBesideTraffic(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		b := newBump(t, afpacket.Config{Promiscuous: true, Queues: 2})
		b.forward(t, nil, nil)
		stop := make(chan struct{})
		var all sync.WaitGroup
		for _, d := range b.ports {
			all.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Millisecond):
					}
					filter := []*afpacket.Filter{nil, {}}[i%2]
					assert.NoError(t, errors.Join(d.SetFilter(filter), d.SetSteal([]*afpacket.Filter{nil, {VLANs: []uint16{9}}}[i%2])))
					_, _ = d.Link(), d.Stats()
				}
			})
		}
		transfer(t, b.left, b.right, "10.0.0.2", some/4)
		close(stop)
		all.Wait()
		assert.Zero(t, b.seen.refused.Load())
	})
}
