package afpacket_test

// What the kernel does with frames that the engine takes. The far end is a program that sends; the near kernel has the address
// 10.0.0.1, which it shares with the engine.

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/packet"
)

var host = netip.MustParseAddr("10.0.0.1")

// addressed returns a pair with addresses at both ends.
func addressed(t *testing.T) pair {
	p := newPair(t)
	p.near.IP(t, "address add 10.0.0.1/24 dev port0")
	p.far.IP(t, "address add 10.0.0.2/24 dev wire0")
	return p
}

// knock sends a datagram to a port where nobody listens, and reports whether the kernel said so.
func knock(t *testing.T, from *netnstest.Namespace, port int) (refused bool) {
	t.Helper()
	require.NoError(t, from.Do(func() error {
		c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: host.AsSlice(), Port: port})
		if err != nil {
			return err
		}
		defer end(c)
		if _, err := c.Write([]byte("is anybody there?")); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 10))
		refused = errors.Is(err, syscall.ECONNREFUSED)
		return nil
	}))
	return refused
}

func TestSteal(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		p := addressed(t)
		const vxlan, other = 8472, 8473
		wanted := &afpacket.Filter{Hosts: []netip.Addr{host}, UDPPorts: []uint16{vxlan}}
		assert.True(t, knock(t, p.far, vxlan), "without the driver, the kernel says that nobody listens")

		d := open(t, p.near, afpacket.Config{Device: "port0", Filter: wanted})
		assert.True(t, knock(t, p.far, vxlan), "a packet socket alone does not keep the kernel from it")
		assert.Equal(t, 1, count(t, d))

		require.NoError(t, d.SetSteal(wanted))
		assert.False(t, knock(t, p.far, vxlan), "stolen")
		assert.Equal(t, 1, count(t, d), "and received all the same")
		assert.True(t, knock(t, p.far, other), "what is not stolen is the kernel's as before")
		assert.Zero(t, count(t, d))
		connect(t, p)

		require.NoError(t, d.SetSteal(&afpacket.Filter{UDPPorts: []uint16{other}}))
		assert.True(t, knock(t, p.far, vxlan), "another filter is in its place")
		assert.False(t, knock(t, p.far, other))

		require.NoError(t, d.SetSteal(nil))
		assert.True(t, knock(t, p.far, other), "given back")

		require.NoError(t, d.SetSteal(wanted))
		require.NoError(t, d.Close())
		assert.True(t, knock(t, p.far, vxlan), "given back by Close")
	})
}

// TestStealOutlivesKilledProcess, as the documentation says.
func TestStealOutlivesKilledProcess(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		p := addressed(t)
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestStealAndDie$")
		cmd.Env = append(os.Environ(), stealAndDie+"=port0")
		var exit *exec.ExitError
		require.ErrorAs(t, p.near.Do(cmd.Run), &exit)
		require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
		assert.False(t, knock(t, p.far, 1001), "what it stole is still stolen")

		d := open(t, p.near, afpacket.Config{Device: "port0", Steal: &afpacket.Filter{UDPPorts: []uint16{1002}}})
		assert.True(t, knock(t, p.far, 1001), "until the next one comes")
		assert.False(t, knock(t, p.far, 1002))
		require.NoError(t, d.Close())
		assert.True(t, knock(t, p.far, 1002))
	})
}

// TestSeveralThieves each have their own.
func TestSeveralThieves(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		p := addressed(t)
		one := open(t, p.near, afpacket.Config{Device: "port0", Steal: &afpacket.Filter{UDPPorts: []uint16{1001}}})
		two := open(t, p.near, afpacket.Config{Device: "port0", Steal: &afpacket.Filter{UDPPorts: []uint16{1002}}})
		assert.False(t, knock(t, p.far, 1001))
		assert.False(t, knock(t, p.far, 1002))
		require.NoError(t, one.Close())
		assert.True(t, knock(t, p.far, 1001))
		assert.False(t, knock(t, p.far, 1002))
		require.NoError(t, two.Close())
		assert.True(t, knock(t, p.far, 1002))
	})
}

// stealAndDie is the device for TestStealAndDie.
const stealAndDie = "CULVERT_AFPACKET_STEAL_AND_DIE"

// TestStealAndDie does nothing unless [TestStealOutlivesKilledProcess] runs it.
func TestStealAndDie(t *testing.T) {
	device := os.Getenv(stealAndDie)
	if device == "" {
		return
	}
	_, err := afpacket.New(afpacket.Config{Device: device, Steal: &afpacket.Filter{UDPPorts: []uint16{1001}}})
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	select {}
}

// count receives what is there and returns how many frames there were.
func count(t *testing.T, d *afpacket.Driver) int {
	t.Helper()
	batch := make([]*packet.Buffer, driver.BatchSize)
	n, err := d.Queues()[0].Receive(batch, 0)
	require.NoError(t, err)
	packet.FreeBatch(batch[:n])
	return n
}

// connect sends something to the near kernel by TCP and back.
func connect(t *testing.T, p pair) {
	t.Helper()
	var l net.Listener
	require.NoError(t, p.near.Do(func() (err error) {
		l, err = net.Listen("tcp4", "10.0.0.1:2222")
		return err
	}))
	defer end(l)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	require.NoError(t, p.far.Do(func() error {
		c, err := net.DialTimeout("tcp4", "10.0.0.1:2222", 5*time.Second)
		if err != nil {
			return err
		}
		defer end(c)
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		_, err = io.ReadFull(c, make([]byte, 5))
		return err
	}))
}
