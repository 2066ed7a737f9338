package traffic_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/traffic"
)

// TestInOneNamespace has everything pass over a loopback device.
func TestInOneNamespace(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		ns := netnstest.New(t)
		ns.Up(t, "lo")
		for _, size := range []int{0, 1, 3 << 20} {
			for _, addr := range []string{"127.0.0.1", "::1"} {
				_, err := traffic.Stream(ns, ns, addr, size)
				assert.NoError(t, err, "%d bytes to %s", size, addr)
				_, err = traffic.Exchange(ns, ns, addr, size)
				assert.NoError(t, err, "%d bytes to %s", size, addr)
			}
		}
		_, err := traffic.Stream(ns, netnstest.New(t), "127.0.0.1", 1)
		assert.Error(t, err, "nobody listens there")

		server, client := traffic.ListenUDP(t, ns, "127.0.0.1:0"), traffic.ListenUDP(t, ns, "127.0.0.1:0")
		traffic.Echo(server)
		want := traffic.Piece(7, 1000)
		_, err = client.WriteTo(want, server.LocalAddr())
		require.NoError(t, err)
		got := make([]byte, 2000)
		n, err := client.Read(got)
		require.NoError(t, err)
		assert.Equal(t, want, got[:n:n])
	})
}
