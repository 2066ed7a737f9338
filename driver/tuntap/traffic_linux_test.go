package tuntap_test

// Traffic of the kernel's own stack between two namespaces, which a loop of Receive and Send joins:
//
//	┌─────── a ───────┐                          ┌─────── b ───────┐
//	│ TCP, UDP, ICMP  │        relay, twice      │ TCP, UDP, ICMP  │
//	│ tap0 or tun0    │──▶ Receive ───▶ Send ──▶ │ tap0 or tun0    │
//	│ 10.9.0.1/24     │◀── Send ◀─── Receive ◀── │ 10.9.0.2/24     │
//	└─────────────────┘                          └─────────────────┘

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/traffic"
	"github.com/culvert-net/culvert/packet"
)

const (
	addressA = "10.9.0.1"
	addressB = "10.9.0.2"
)

// relay hands packets from one driver to another, queue by queue, and counts what it sees.
type relay struct {
	packets, superframes, tunnelled, longest atomic.Int64
	faults                                   atomic.Int64
	fault                                    atomic.Value // one of them
}

// run relays until the drivers are closed.
func (r *relay) run(from, to driver.Driver) {
	var group sync.WaitGroup
	for i := range from.Queues() {
		group.Go(func() { r.queue(from.Queues()[i], to.Queues()[i]) })
	}
	group.Wait()
}

func (r *relay) queue(from, to driver.Queue) {
	for batch := make([]*packet.Buffer, driver.BatchSize); ; {
		n, err := from.Receive(batch, driver.Forever)
		if err != nil {
			return
		}
		for _, b := range batch[:n] {
			r.look(b)
		}
		if err := to.Send(batch[:n]); err != nil && !errors.Is(err, net.ErrClosed) {
			r.faults.Add(1)
			r.fault.Store(err.Error())
		}
	}
}

// look counts a packet. Transport headers of plain packets start at 54 at most, those within VXLAN at 84 at least.
func (r *relay) look(b *packet.Buffer) {
	r.packets.Add(1)
	if !b.IsSuperframe() {
		return
	}
	r.superframes.Add(1)
	r.longest.Store(max(r.longest.Load(), int64(b.Len())))
	if start, _, _ := b.PartialChecksum(); start > 54 {
		r.tunnelled.Add(1)
	}
}

// topology is two namespaces with their devices and what relays between them.
type topology struct {
	nsA, nsB   *netnstest.Namespace
	a, b       *tuntap.Driver
	aToB, bToA relay
}

func newTopology(tb testing.TB, c tuntap.Config) *topology {
	tb.Helper()
	t := &topology{nsA: netnstest.New(tb), nsB: netnstest.New(tb)}
	t.a, t.b = openUp(tb, t.nsA, c), openUp(tb, t.nsB, c)
	t.nsA.IP(tb, "address add "+addressA+"/24 dev "+t.a.Link().Name)
	t.nsB.IP(tb, "address add "+addressB+"/24 dev "+t.b.Link().Name)
	var group sync.WaitGroup
	group.Go(func() { t.aToB.run(t.a, t.b) })
	group.Go(func() { t.bToA.run(t.b, t.a) })
	tb.Cleanup(func() {
		assert.NoError(tb, errors.Join(t.a.Close(), t.b.Close()))
		group.Wait()
		for _, r := range []*relay{&t.aToB, &t.bToA} {
			assert.Zero(tb, r.faults.Load(), "relayed with faults such as: %v", r.fault.Load())
		}
	})
	return t
}

// stream sends a number of bytes over TCP from a to an address of b's, and returns how long it took.
func (t *topology) stream(tb testing.TB, total int, to string) time.Duration {
	tb.Helper()
	took, err := traffic.Stream(t.nsA, t.nsB, to, total)
	require.NoError(tb, err)
	return took
}

// volume is how much to send over TCP, in bytes: the more the faster it is.
func volume(superframes bool) int {
	if superframes {
		return 64 << 20
	}
	return 8 << 20
}

// combinations are devices with and without their offloads.
func combinations() []combination {
	const tcp = packet.OffloadTCP4 | packet.OffloadTCP6
	return []combination{
		{"tap", tuntap.Config{}, true},
		{"tap of two queues", tuntap.Config{Queues: 2}, true},
		{"tap without tunnels", tuntap.Config{Without: packet.OffloadTunnelTCP4}, true},
		{"tap without UDP", tuntap.Config{Without: packet.OffloadUDP4}, true},
		{"tap without TCP", tuntap.Config{Without: tcp}, false},
		{"tap with checksums only", tuntap.Config{Without: tcp | packet.OffloadUDP4}, false},
		{"tap without offloads", tuntap.Config{Without: packet.OffloadChecksum}, false},
		{"tun", tuntap.Config{Kind: tuntap.TUN}, true},
		{"tun of two queues", tuntap.Config{Kind: tuntap.TUN, Queues: 2}, true},
		{"tun with checksums only", tuntap.Config{Kind: tuntap.TUN, Without: tcp | packet.OffloadUDP4}, false},
		{"tun without offloads", tuntap.Config{Kind: tuntap.TUN, Without: packet.OffloadChecksum}, false},
		{"tap with jumbo frames", tuntap.Config{MTU: 9000, Without: packet.OffloadChecksum}, false},
	}
}

type combination struct {
	name        string
	config      tuntap.Config
	superframes bool // of TCP
}

func TestTCP(t *testing.T) { run(t, testTCP) }

func testTCP(t *testing.T) {
	for _, c := range combinations() {
		t.Run(c.name, func(t *testing.T) {
			top := newTopology(t, c.config)
			total := volume(c.superframes)
			took := top.stream(t, total, addressB)
			t.Logf("%v: %s, %d packets, %d superframes, the longest %d bytes", top.a.Link().Offloads, traffic.Rate(total, took),
				top.aToB.packets.Load(), top.aToB.superframes.Load(), top.aToB.longest.Load())
			if !c.superframes {
				assert.Zero(t, top.aToB.superframes.Load())
				return
			}
			assert.Greater(t, top.aToB.longest.Load(), int64(60_000), "no superframe of about 64 KiB")
		})
	}
}

func TestDatagrams(t *testing.T) { run(t, testDatagrams) }

func testDatagrams(t *testing.T) {
	for _, c := range combinations() {
		t.Run(c.name, func(t *testing.T) {
			top := newTopology(t, c.config)
			mtu := top.a.Link().MTU
			for _, size := range []int{1, mtu - 28, mtu - 27, 4000, 65507} { // one byte, full, two fragments, more, all that IP can
				top.udp(t, size)
			}
			for _, size := range []int{1, mtu - 28} {
				top.ping(t, size)
			}
		})
	}
}

// udp sends a datagram from a to b and back.
func (t *topology) udp(tb testing.TB, size int) {
	tb.Helper()
	a, b := traffic.ListenUDP(tb, t.nsA, addressA+":0"), traffic.ListenUDP(tb, t.nsB, addressB+":0")
	buf := make([]byte, 1<<16)
	for _, pair := range [][2]*net.UDPConn{{a, b}, {b, a}} {
		_, err := pair[0].WriteToUDP(traffic.Piece(0, size), pair[1].LocalAddr().(*net.UDPAddr))
		require.NoError(tb, err)
		n, err := pair[1].Read(buf)
		require.NoError(tb, err)
		require.True(tb, bytes.Equal(traffic.Piece(0, size), buf[:n]), "a datagram of %d bytes", size)
	}
}

// ping sends an echo request of b's, which must not be fragmented, and waits for the reply of a's kernel.
func (t *topology) ping(tb testing.TB, size int) {
	tb.Helper()
	var conn *net.IPConn
	require.NoError(tb, t.nsB.Do(func() (err error) {
		conn, err = net.DialIP("ip4:icmp", nil, &net.IPAddr{IP: net.ParseIP(addressA)})
		return err
	}))
	defer func() { _ = conn.Close() }()
	require.NoError(tb, conn.SetDeadline(time.Now().Add(20*time.Second)))
	raw, err := conn.SyscallConn()
	require.NoError(tb, err)
	require.NoError(tb, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	}))
	require.NoError(tb, err)
	request := append([]byte{8, 0, 0, 0, 0x12, 0x34, 0, 1}, traffic.Piece(0, size)...)
	binary.BigEndian.PutUint16(request[2:], checksum.Of(request))
	_, err = conn.Write(request)
	require.NoError(tb, err)
	reply := make([]byte, 1<<16)
	n, _, err := conn.ReadFromIP(reply)
	require.NoError(tb, err)
	require.Zero(tb, reply[0], "an echo reply")
	require.True(tb, bytes.Equal(request[4:], reply[4:n]))
}

// TestUDPSegments: one write with UDP_SEGMENT is many datagrams. From a TUN device they come as one superframe; from a TAP device
// cut, as superframes of UDP over IPv6 would come with them.
func TestUDPSegments(t *testing.T) { run(t, testUDPSegments) }

func testUDPSegments(t *testing.T) {
	for _, c := range []struct {
		kind        tuntap.Kind
		superframes bool
	}{{tuntap.TAP, false}, {tuntap.TUN, true}} {
		t.Run(c.kind.String(), func(t *testing.T) {
			top := newTopology(t, tuntap.Config{Kind: c.kind})
			a, b := traffic.ListenUDP(t, top.nsA, addressA+":0"), traffic.ListenUDP(t, top.nsB, addressB+":0")
			const segment, count = 1400, 40
			raw, err := a.SyscallConn()
			require.NoError(t, err)
			require.NoError(t, raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment)
			}))
			if errors.Is(err, unix.ENOPROTOOPT) {
				netnstest.Missing(t, "UDP_SEGMENT (Linux 4.18)")
			}
			require.NoError(t, err)
			_, err = a.WriteToUDP(traffic.Piece(0, segment*count-7), b.LocalAddr().(*net.UDPAddr))
			require.NoError(t, err)
			buf := make([]byte, 1<<16)
			for i := range count {
				n, err := b.Read(buf)
				require.NoError(t, err)
				want := traffic.Piece(i*segment, segment)
				if i == count-1 {
					want = want[:segment-7]
				}
				require.True(t, bytes.Equal(want, buf[:n]), "datagram %d of %d bytes", i, n)
			}
			can := top.a.Link().Offloads.Has(packet.OffloadUDP4) // since Linux 6.2
			assert.Equal(t, c.superframes && can, top.aToB.superframes.Load() > 0)
		})
	}
}

// TestVXLAN: the kernel's VXLAN device on top of a TAP device, at both ends. Where the kernel can (Linux 6.17), superframes within
// VXLAN pass whole; elsewhere they are cut before.
func TestVXLAN(t *testing.T) { run(t, testVXLAN) }

func testVXLAN(t *testing.T) {
	for _, c := range []struct {
		name    string
		options string
		without packet.Offloads
	}{
		{"no outer checksum", "noudpcsum", 0},
		{"outer checksum", "udpcsum", 0},
		{"without tunnels", "noudpcsum", packet.OffloadTunnelTCP4},
		{"without offloads", "udpcsum", packet.OffloadChecksum},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := newTopology(t, tuntap.Config{Without: c.without})
			tunnel := func(ns *netnstest.Namespace, d *tuntap.Driver, local, remote, inner string) {
				ns.IP(t, "link add vxlan1 mtu 1450 type vxlan id 1 local "+local+" remote "+remote+" dstport 4789 "+c.options+
					" dev "+d.Link().Name)
				ns.IP(t, "address add "+inner+"/24 dev vxlan1")
				ns.Up(t, "vxlan1")
			}
			tunnel(top.nsA, top.a, addressA, addressB, "10.8.0.1")
			tunnel(top.nsB, top.b, addressB, addressA, "10.8.0.2")
			total := volume(c.without == 0)
			took := top.stream(t, total, "10.8.0.2")
			t.Logf("%v: %s, %d packets, %d superframes in tunnels, the longest %d bytes", top.a.Link().Offloads, traffic.Rate(total, took),
				top.aToB.packets.Load(), top.aToB.tunnelled.Load(), top.aToB.longest.Load())
			assert.Equal(t, top.a.Link().Offloads.Has(packet.OffloadTunnelTCP4), top.aToB.tunnelled.Load() > 0)
		})
	}
}
