package interop_test

// What must pass between two pods, whoever joins them: pings of all sizes, UDP, and TCP with default offloads, both directions, every
// byte compared.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
)

// patience bounds what must come; only a failing test waits so long.
const patience = 20 * time.Second

// host is somebody who talks: a namespace and its address.
type host struct {
	ns   *netnstest.Namespace
	addr netip.Addr
}

// pings sends requests of one byte, of the path's MTU without fragmentation, and of several fragments. What is longer than the MTU
// must not pass without fragmentation.
func pings(t *testing.T, from, to host, mtu int) {
	t.Helper()
	const headers = 28 // IPv4, ICMP
	for _, args := range [][]string{
		{"-s", "1"},
		{"-M", "do", "-s", fmt.Sprint(mtu - headers)},
		{"-s", "4000"},
	} {
		args = append(args, "-c", "3", "-i", "0.05", "-W", "5", "-q", to.addr.String())
		out := from.ns.Tool(t, "ping", args...)
		assert.Contains(t, out, " 0% packet loss", "ping %v", args)
	}
}

// resolves checks that a host has found another's MAC address by ARP.
func resolves(t *testing.T, from, to host) {
	t.Helper()
	out := from.ns.IP(t, "neigh show to "+to.addr.String())
	assert.Regexp(t, "lladdr .*(REACHABLE|DELAY|STALE|PROBE)", out)
}

// datagrams sends datagrams of many sizes to a host that sends them back. Few may be lost, none changed.
func datagrams(t *testing.T, from, to host, longest int) {
	t.Helper()
	var echo net.PacketConn
	require.NoError(t, to.ns.Do(func() (err error) {
		echo, err = net.ListenPacket("udp4", netip.AddrPortFrom(to.addr, 0).String())
		return err
	}))
	defer echo.Close() //nolint:errcheck // a socket of the test's own
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, peer, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(b[:n], peer)
		}
	}()
	var c net.Conn
	require.NoError(t, from.ns.Do(func() (err error) {
		c, err = net.Dial("udp4", echo.LocalAddr().String())
		return err
	}))
	defer c.Close() //nolint:errcheck // a socket of the test's own
	random := rand.New(rand.NewPCG(1, 2))
	const attempts = 5
	got := make([]byte, 1<<16)
	for i := range 100 {
		want := make([]byte, 1+random.IntN(longest))
		fill(random, want)
		ok := false
		for range attempts {
			_, err := c.Write(want)
			require.NoError(t, err)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(patience/attempts/4)))
			n, err := c.Read(got)
			if ok = err == nil && bytes.Equal(got[:n], want); ok {
				break
			}
			require.True(t, err != nil || n != len(want), "datagram %d comes back changed", i)
		}
		require.True(t, ok, "datagram %d, %d bytes, does not come back", i, len(want))
	}
}

// stream sends bytes over a TCP connection, both ways one after the other, and compares all of them. It returns Gbit/s of the way
// there.
func stream(t *testing.T, from, to host, size int) float64 {
	t.Helper()
	var l net.Listener
	require.NoError(t, to.ns.Do(func() (err error) {
		l, err = net.Listen("tcp4", netip.AddrPortFrom(to.addr, 0).String())
		return err
	}))
	defer l.Close() //nolint:errcheck // a socket of the test's own
	server := make(chan error, 1)
	go func() { server <- serve(l, size) }()
	var c net.Conn
	require.NoError(t, from.ns.Do(func() (err error) {
		c, err = net.DialTimeout("tcp4", l.Addr().String(), patience)
		return err
	}))
	defer c.Close() //nolint:errcheck // a socket of the test's own
	require.NoError(t, c.SetDeadline(time.Now().Add(2*patience)))
	start := time.Now()
	require.NoError(t, talk(c, size, 1, 2))
	took := time.Since(start)
	require.NoError(t, <-server)
	return float64(2*size) * 8 / took.Seconds() / 1e9
}

func serve(l net.Listener, size int) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // a socket of the test's own
	if err := c.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		return err
	}
	if err := hear(c, size, 1); err != nil {
		return fmt.Errorf("there: %w", err)
	}
	return say(c, size, 2)
}

// talk says the bytes of one seed and hears those of another.
func talk(c net.Conn, size int, says, hears uint64) error {
	if err := say(c, size, says); err != nil {
		return err
	}
	if err := hear(c, size, hears); err != nil {
		return fmt.Errorf("back: %w", err)
	}
	return nil
}

const chunk = 256 << 10

func say(w io.Writer, size int, seed uint64) error {
	random, b := rand.New(rand.NewPCG(seed, 0)), make([]byte, chunk)
	for ; size > 0; size -= len(b) {
		fill(random, b)
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func hear(r io.Reader, size int, seed uint64) error {
	random, want, got := rand.New(rand.NewPCG(seed, 0)), make([]byte, chunk), make([]byte, chunk)
	for ; size > 0; size -= len(got) {
		if _, err := io.ReadFull(r, got); err != nil {
			return fmt.Errorf("%d bytes before the end: %w", size, err)
		}
		if fill(random, want); !bytes.Equal(want, got) {
			return errors.New("bytes have changed on the way")
		}
	}
	return nil
}

// fill fills b, whose length is a multiple of 8 or which ends with zeros, with random bytes.
func fill(random *rand.Rand, b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, random.Uint64())
	}
}
