package afpacket_test

// Bad surroundings: the device gone and back, rings and queues that are full, frames that do not fit, privileges that are missing.

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/packet"
)

// testFrame is one that the filters of these tests take, and the kernel does not.
func testFrame(size int) []byte {
	p := make([]byte, size)
	copy(p, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x02\x88\xb5")
	return p
}

var testFrames = &afpacket.Filter{EtherTypes: []uint16{testType}}

// sendN sends n frames of a size from the far end.
func sendN(t *testing.T, d *afpacket.Driver, n, size int) error {
	t.Helper()
	for range n {
		if err := d.Queues()[0].Send([]*packet.Buffer{packet.Of(testFrame(size))}); err != nil {
			return err
		}
	}
	return nil
}

// receiveAll receives from all queues until nothing comes for a moment, and returns the lengths.
func receiveAll(t *testing.T, d *afpacket.Driver) (lengths []int) {
	t.Helper()
	batch := make([]*packet.Buffer, driver.BatchSize)
	for quiet := false; !quiet; {
		quiet = true
		for _, q := range d.Queues() {
			n, err := q.Receive(batch, 20*time.Millisecond)
			require.NoError(t, err)
			for _, b := range batch[:n] {
				lengths = append(lengths, b.Len())
				quiet = false
			}
			packet.FreeBatch(batch[:n])
		}
	}
	return lengths
}

// untilLink waits until the link is as wanted.
func untilLink(t *testing.T, d *afpacket.Driver, what string, is func(driver.Link) bool) {
	t.Helper()
	timeout := time.After(patience)
	for !is(d.Link()) {
		select {
		case <-d.Changed():
		case <-timeout:
			t.Fatalf("%s: the link is %+v", what, d.Link())
		}
	}
}

func TestDeviceGoneAndBack(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, queues := range []int{1, 3} {
			t.Run(fmt.Sprintf("%d queues", queues), func(t *testing.T) {
				p := addressed(t)
				d := open(t, p.near, afpacket.Config{
					Device: "port0", Queues: queues, Filter: testFrames, Steal: &afpacket.Filter{UDPPorts: []uint16{1001}},
				})
				for range 2 {
					p.near.IP(t, "link delete port0")
					untilLink(t, d, "gone", func(l driver.Link) bool { return !l.Up })
					assert.Equal(t, "port0", d.Link().Name)
					err := sendN(t, d, 1, 100)
					assert.True(t, errors.Is(err, driver.ErrDown) || errors.Is(err, unix.ENODEV), "%v", err)
					for _, q := range d.Queues() { // says once that it is down, or waits
						_, _ = q.Receive(make([]*packet.Buffer, 1), time.Millisecond)
						n, err := q.Receive(make([]*packet.Buffer, 1), time.Millisecond)
						assert.Zero(t, n)
						assert.NoError(t, err)
					}

					p.join(t)
					p.near.IP(t, "address add 10.0.0.1/24 dev port0")
					p.far.IP(t, "address add 10.0.0.2/24 dev wire0")
					untilLink(t, d, "back", func(l driver.Link) bool { return l.Up })
					far := open(t, p.far, afpacket.Config{Device: "wire0", Filter: testFrames})
					require.NoError(t, sendN(t, far, 10, 100))
					assert.Len(t, receiveAll(t, d), 10)
					require.NoError(t, sendN(t, d, 10, 100))
					assert.Len(t, receiveAll(t, far), 10)
					assert.False(t, knock(t, p.far, 1001), "it steals from the new one, too")
				}
			})
		}
	})
}

func TestRingOverflow(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		d := open(t, p.near, afpacket.Config{Device: "port0", Slots: 64, Filter: testFrames})
		far := open(t, p.far, afpacket.Config{Device: "wire0", Filter: testFrames})
		const sent = 500
		require.NoError(t, sendN(t, far, sent, 100))
		got := len(receiveAll(t, d))
		s := d.Stats()
		assert.Equal(t, 64, got)
		assert.Equal(t, uint64(sent-got), s.RxDropped)
		assert.Equal(t, s, d.Stats(), "they are counted once")
		require.NoError(t, sendN(t, far, 10, 100))
		assert.Len(t, receiveAll(t, d), 10)
	})
}

// TestMTUGrows beyond the slots of the ring, and beyond the buffers.
func TestMTUGrows(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		small, err := packet.NewPool(packet.PoolConfig{Size: packet.DefaultHeadroom + 3000})
		require.NoError(t, err)
		any := open(t, p.near, afpacket.Config{Device: "port0", Filter: testFrames})
		some := open(t, p.near, afpacket.Config{Device: "port0", Filter: testFrames, Pool: small})
		far := open(t, p.far, afpacket.Config{Device: "wire0", Filter: testFrames})
		assert.ErrorIs(t, sendN(t, far, 1, 2000), driver.ErrTooLong)
		p.near.IP(t, "link set port0 mtu 9000")
		p.far.IP(t, "link set wire0 mtu 9000")
		untilLink(t, far, "MTU", func(l driver.Link) bool { return l.MTU == 9000 })
		sizes := []int{100, 1900, 2048, 3000, 3001, 100, 9014, 1500}
		for _, size := range sizes {
			require.NoError(t, sendN(t, far, 1, size))
		}
		assert.Equal(t, sizes, receiveAll(t, any))
		assert.Equal(t, []int{100, 1900, 2048, 3000, 100, 1500}, receiveAll(t, some))
		assert.Equal(t, uint64(2), some.Stats().RxErrors)
		assert.Zero(t, small.InUse())
	})
}

// TestSlowDevice sends more than a device takes: a token bucket that drops what its queue does not hold, or has it wait so long
// that the socket is full.
func TestSlowDevice(t *testing.T) {
	tc, err := exec.LookPath("tc")
	if err != nil {
		tc = "/sbin/tc"
	}
	netnstest.Run(t, func(t *testing.T) {
		for name, limit := range map[string]string{"that drops": "20000", "that keeps": "100000000"} {
			t.Run(name, func(t *testing.T) {
				p := newPair(t)
				args := "qdisc add dev port0 root tbf rate 8mbit burst 4kb limit " + limit
				if out, err := runIn(p.near, tc, args); err != nil {
					netnstest.Missing(t, fmt.Sprintf("tc %s: %v %s", args, err, out))
				}
				d := open(t, p.near, afpacket.Config{Device: "port0", Filter: testFrames})
				const batches = 400
				var first error
				for range batches {
					batch := make([]*packet.Buffer, driver.BatchSize)
					for i := range batch {
						batch[i] = packet.Of(testFrame(1000))
					}
					start := time.Now()
					if err := d.Queues()[0].Send(batch); first == nil {
						first = err
					}
					assert.Less(t, time.Since(start), time.Second)
				}
				assert.ErrorIs(t, first, driver.ErrFull)
				s := d.Stats()
				assert.NotZero(t, s.TxDropped)
				assert.NotZero(t, s.TxPackets)
				assert.Zero(t, s.TxErrors)
				assert.Equal(t, uint64(batches*driver.BatchSize), s.TxPackets+s.TxDropped)
			})
		}
	})
}

// runIn runs a tool in a namespace.
func runIn(ns *netnstest.Namespace, tool, args string) (out []byte, err error) {
	err = ns.Do(func() error {
		out, err = exec.Command(tool, strings.Fields(args)...).CombinedOutput()
		return err
	})
	return out, err
}

// TestMissingCapability: errors say what is missing, and how to get it.
func TestMissingCapability(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		for _, c := range []struct {
			lacks int
			text  string
		}{
			{unix.CAP_NET_RAW, "setcap cap_net_raw"},
			{unix.CAP_NET_ADMIN, "setcap cap_net_raw,cap_net_admin"},
		} {
			err := p.near.Do(func() error { // on a thread of its own
				if err := dropCapability(c.lacks); err != nil {
					return err
				}
				_, err := afpacket.New(afpacket.Config{Device: "port0", Steal: &afpacket.Filter{UDPPorts: []uint16{1001}}})
				return err
			})
			assert.ErrorIs(t, err, unix.EPERM)
			assert.ErrorContains(t, err, c.text)
		}
	})
}

// dropCapability takes a capability from the thread.
func dropCapability(number int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[number/32].Effective &^= 1 << (number % 32)
	return unix.Capset(&header, &data[0])
}

func TestNoSuchDevice(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		ns := netnstest.New(t)
		err := ns.Do(func() error {
			_, err := afpacket.New(afpacket.Config{Device: "nowhere"})
			return err
		})
		assert.ErrorIs(t, err, unix.ENODEV)
		assert.ErrorContains(t, err, `Config.Device "nowhere"`)
	})
}

// TestFailedNewLeavesNothing counts what an error of New leaves behind.
func TestFailedNewLeavesNothing(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		before := runtime.NumGoroutine()
		for range 20 {
			require.Error(t, p.near.Do(func() error {
				if err := dropCapability(unix.CAP_NET_ADMIN); err != nil {
					return err
				}
				_, err := afpacket.New(afpacket.Config{Device: "port0", Steal: &afpacket.Filter{UDPPorts: []uint16{1001}}})
				return err
			}))
		}
		for end := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
			require.True(t, time.Now().Before(end), "%d goroutines, before there were %d", runtime.NumGoroutine(), before)
		}
	})
}

// TestRootless does in a user namespace what an ordinary user can do there: everything.
func TestRootless(t *testing.T) {
	netnstest.Rootless(t, func(t *testing.T) {
		p := addressed(t)
		steal := &afpacket.Filter{UDPPorts: []uint16{1001}}
		d := open(t, p.near, afpacket.Config{Device: "port0", Queues: 2, Promiscuous: true, Filter: testFrames, Steal: steal})
		far := open(t, p.far, afpacket.Config{Device: "wire0", Filter: testFrames})
		require.NoError(t, sendN(t, far, 10, 100))
		assert.Len(t, receiveAll(t, d), 10)
		require.NoError(t, sendN(t, d, 10, 1000))
		assert.Len(t, receiveAll(t, far), 10)
		assert.False(t, knock(t, p.far, 1001))
	})
}
