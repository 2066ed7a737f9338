package tuntap_test

// Queues over a pair of sockets in place of a device, which needs no privileges, and whose other end can say and do what no kernel
// does.

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/internal/traffic"
	"github.com/culvert-net/culvert/internal/vnethdr"
	"github.com/culvert-net/culvert/packet"
)

const offloads = packet.OffloadVLAN | packet.OffloadChecksum | packet.OffloadTCP4 | packet.OffloadUDP4 | packet.OffloadTunnelTCP4

// over returns a driver over a socket, and the other end of it.
func over(tb testing.TB, c tuntap.Config) (*tuntap.Driver, int) {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(tb, err)
	d, err := tuntap.NewOver(fds[0], c, offloads)
	require.NoError(tb, err)
	tb.Cleanup(func() { assert.NoError(tb, d.Close()); _ = unix.Close(fds[1]) })
	return d, fds[1]
}

// pool returns a pool of buffers with a room behind the headroom.
func pool(tb testing.TB, buffers, room int) *packet.Pool {
	tb.Helper()
	p, err := packet.NewPool(packet.PoolConfig{Buffers: buffers, Size: packet.DefaultHeadroom + room})
	require.NoError(tb, err)
	return p
}

// message is a packet of a length, behind a header that says nothing.
func message(n int) []byte { return append(make([]byte, vnethdr.LenTunnel), traffic.Piece(0, n)...) }

// take receives one packet, which must be of a length, and frees it.
func take(t *testing.T, d driver.Driver, n int) {
	t.Helper()
	batch := make([]*packet.Buffer, 1)
	got, err := d.Queues()[0].Receive(batch, 10*time.Second)
	require.NoError(t, err)
	require.Equal(t, 1, got, "no packet of %d bytes", n)
	assert.Equal(t, packet.DefaultHeadroom, batch[0].Headroom())
	assert.True(t, bytes.Equal(traffic.Piece(0, n), batch[0].Bytes()), "%d bytes came for %d", batch[0].Len(), n)
	batch[0].Free()
}

// TestLengths: a packet is whole whichever pool its buffer is from, and none is used for what is too long.
func TestLengths(t *testing.T) {
	c := tuntap.Config{Pool: pool(t, 8, 1000), Superframes: pool(t, 8, 5000)}
	d, wire := over(t, c)
	for _, n := range []int{1, 999, 1000, 1001, 4999, 1} {
		_, err := unix.Write(wire, message(n))
		require.NoError(t, err)
		take(t, d, n)
	}
	for _, n := range []int{5000, 5001, 9000, 60_000} {
		_, err := unix.Write(wire, message(n))
		require.NoError(t, err)
	}
	_, err := unix.Write(wire, message(10))
	require.NoError(t, err)
	take(t, d, 10)
	assert.EqualValues(t, 4, d.Stats().RxErrors)
	assert.Zero(t, c.Pool.InUse()+c.Superframes.InUse())
}

// TestNoBuffers: without a buffer packets are lost, and the next one that there is a buffer for is not.
func TestNoBuffers(t *testing.T) {
	c := tuntap.Config{Pool: pool(t, 1, 1000), Superframes: pool(t, 1, 5000)}
	d, wire := over(t, c)
	write := func(n int) {
		_, err := unix.Write(wire, message(n))
		require.NoError(t, err)
	}
	small, big := c.Pool.Get(), c.Superframes.Get()
	write(100)
	write(2000)
	n, err := d.Queues()[0].Receive(make([]*packet.Buffer, 4), 0)
	require.NoError(t, err)
	require.Zero(t, n)
	assert.EqualValues(t, 2, d.Stats().RxDropped)
	small.Free()
	write(2000)
	write(100)
	take(t, d, 100)
	assert.EqualValues(t, 3, d.Stats().RxDropped)
	big.Free()
	write(2000)
	take(t, d, 2000)
}

// TestHostileHeaders: what a header says is checked before it is believed, and what is wrong is counted and skipped.
func TestHostileHeaders(t *testing.T) {
	d, wire := over(t, tuntap.Config{})
	bad := message(100)
	bad[0], bad[6], bad[7] = 1, 0xff, 0xff // a checksum that starts at 65535
	_, err := unix.Write(wire, bad)
	require.NoError(t, err)
	_, err = unix.Write(wire, message(0))
	require.NoError(t, err)
	_, err = unix.Write(wire, []byte{1, 2, 3})
	require.NoError(t, err)
	const seed = 1
	random := rand.New(rand.NewPCG(seed, 2))
	t.Log("seed", seed)
	batch := make([]*packet.Buffer, 1)
	for range 2000 {
		m := message(random.IntN(300) + 1)
		for i := range vnethdr.LenTunnel {
			m[i] = byte(random.Uint32())
		}
		m[1] &= 0x27
		m[7], m[9] = 0, 0
		_, err := unix.Write(wire, m)
		require.NoError(t, err)
		n, err := d.Queues()[0].Receive(batch, 0)
		require.NoError(t, err)
		packet.FreeBatch(batch[:n])
	}
	_, err = unix.Write(wire, message(50))
	require.NoError(t, err)
	take(t, d, 50)
	s := d.Stats()
	assert.EqualValues(t, 2004, s.RxPackets+s.RxErrors)
	assert.Greater(t, s.RxErrors, uint64(3))
}

// TestFull: Send waits a little for a device that is full, drops what does not fit all the same, and works again afterwards.
func TestFull(t *testing.T) {
	d, wire := over(t, tuntap.Config{})
	q := d.Queues()[0]
	batch := make([]*packet.Buffer, 4096)
	for i := range batch {
		batch[i] = packet.Of(traffic.Piece(0, 1000))
	}
	require.ErrorIs(t, q.Send(batch), driver.ErrFull)
	for _, b := range batch {
		require.Nil(t, b)
	}
	s := d.Stats()
	assert.EqualValues(t, len(batch), s.TxPackets+s.TxDropped)
	assert.NotZero(t, s.TxPackets)
	assert.Equal(t, s.TxPackets*1000, s.TxBytes)
	buf := make([]byte, 2000)
	for range s.TxPackets {
		n, err := unix.Read(wire, buf)
		require.NoError(t, err)
		require.Equal(t, 1000+vnethdr.LenTunnel, n)
	}
	require.NoError(t, q.Send([]*packet.Buffer{packet.Of(traffic.Piece(0, 1))}))
}

// TestRefused: packets that the system or the metadata rules out do not keep others from being sent.
func TestRefused(t *testing.T) {
	d, wire := over(t, tuntap.Config{})
	unknown, long, cut := packet.Of(traffic.Piece(0, 100)), packet.Of(make([]byte, 1<<20)), packet.Of(traffic.Piece(0, 100))
	unknown.SetGSO(packet.GSOTCP6, 1000)
	require.NoError(t, unknown.SetChecksumPartial(54, 16))
	require.NoError(t, cut.SetChecksumPartial(50, 16))
	require.NoError(t, cut.Truncate(60))
	batch := []*packet.Buffer{long, unknown, nil, cut, packet.Of(traffic.Piece(0, 100))}
	require.ErrorIs(t, d.Queues()[0].Send(batch), unix.EMSGSIZE, "the first error")
	assert.EqualValues(t, driver.Stats{TxPackets: 1, TxBytes: 100, TxErrors: 3}, d.Stats())
	n, err := unix.Read(wire, make([]byte, 2000))
	require.NoError(t, err)
	assert.Equal(t, 100+vnethdr.LenTunnel, n)
}

func TestNoAllocs(t *testing.T) {
	c := tuntap.Config{Pool: pool(t, 64, 1000), Superframes: pool(t, 8, 70_000)}
	d, wire := over(t, c)
	q, out, in := d.Queues()[0], make([]*packet.Buffer, 3), make([]*packet.Buffer, 4)
	small, big, bad := message(100), message(30_000), message(100)
	bad[0], bad[7] = 1, 0xff
	check := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		for _, m := range [][]byte{small, big, bad} {
			if _, err := unix.Write(wire, m); err != nil {
				t.Error(err)
			}
		}
		if n, err := q.Receive(in, 0); n != 2 || err != nil {
			t.Errorf("%d packets, %v", n, err)
		}
		packet.FreeBatch(in)
	}), "receiving")
	buf := make([]byte, 2000)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		for i := range out {
			out[i] = c.Pool.Get()
			check(out[i].SetBytes(small))
		}
		check(out[1].SetChecksumPartial(50, 6))
		out[2].SetGSO(packet.GSOTCP6, 1000)
		if q.Send(out) == nil {
			t.Error("a superframe that the device does not take was sent")
		}
		for range 2 {
			if _, err := unix.Read(wire, buf); err != nil {
				t.Error(err)
			}
		}
	}), "sending")
}
