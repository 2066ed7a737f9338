package interop_test

// What must pass between two pods, whoever joins them: pings of all sizes, UDP, and TCP with default offloads, both directions, every
// byte compared.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/traffic"
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
		const attempts = 3 // a peer on a busy machine may lose a fragment
		var out string
		for range attempts {
			if out = from.ns.Tool(t, "ping", args...); strings.Contains(out, " 0% packet loss") {
				break
			}
		}
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
	echo := traffic.ListenUDP(t, to.ns, netip.AddrPortFrom(to.addr, 0).String())
	traffic.Echo(echo)
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

// stream sends bytes over a TCP connection, both ways at once, and returns the rate of one.
func stream(t *testing.T, from, to host, size int) string {
	t.Helper()
	took, err := traffic.Exchange(from.ns, to.ns, to.addr.String(), size)
	require.NoError(t, err)
	return traffic.Rate(size, took)
}

// fill fills b, whose length is a multiple of 8 or which ends with zeros, with random bytes.
func fill(random *rand.Rand, b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, random.Uint64())
	}
}
