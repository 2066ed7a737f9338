package udp_test

// An engine with the driver against the kernel's VXLAN devices, one on either side, which it routes between:
//
//	left                            node                               right
//	vx0 10.244.1.1 (VNI 1)          engine: vxlan1 10.244.1.254         vx0 10.244.2.1 (VNI 2)
//	                                        vxlan2 10.244.2.254
//	eth0 10.0.1.1 ────veth──── left0 10.0.1.2, right0 10.0.2.2 ────veth──── eth0 10.0.2.1
//
// The node's namespace only has the addresses; what the engine sends and receives goes through the driver's sockets.

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/nodes"
	"github.com/culvert-net/culvert/driver/udp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/traffic"
	"github.com/culvert-net/culvert/packet"
)

const mss = 1450 // MTU of a VXLAN device over Ethernet

// variant is how the tunnels are made.
type variant struct {
	name   string
	port   uint16
	static bool // no learning: neighbours and stations are configured
	sum    bool // outer UDP checksums
	config udp.Config
}

var variants = []variant{
	{name: "learning", port: 8472, sum: true},
	{name: "learning, no UDP checksum", port: 8472},
	{name: "static, IANA's port", port: 4789, static: true, sum: true},
	{name: "static, IANA's port, no UDP checksum", port: 4789, static: true},
	{name: "unmerged", port: 8472, sum: true, config: udp.Config{NoGSO: true, NoGRO: true}},
	{name: "two queues, one source port", port: 8472, config: udp.Config{Queues: 2, SourcePorts: 1}},
}

// network is the topology above.
type network struct {
	left, node, right *netnstest.Namespace
	driver            *udp.Driver
	engine            *engine.Engine
}

func TestVXLAN(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, v := range variants {
			t.Run(v.name, func(t *testing.T) {
				n := newNetwork(t, v)
				n.pings(t)
				n.datagrams(t)
				n.streams(t)
				stats, faults := n.driver.Stats(), n.driver.Faults()
				assert.Zero(t, stats.RxErrors, "%+v", stats)
				assert.Zero(t, stats.TxErrors, "%+v", faults)
			})
		}
	})
}

func newNetwork(t *testing.T, v variant) *network {
	t.Helper()
	n := &network{left: netnstest.New(t), node: netnstest.New(t), right: netnstest.New(t)}
	for i, side := range []*netnstest.Namespace{n.left, n.right} {
		name := [...]string{"left0", "right0"}[i]
		netnstest.Veth(t,
			netnstest.End{Namespace: side, Device: "eth0", MAC: fmt.Sprintf("02:00:00:00:%02x:11", i)},
			netnstest.End{Namespace: n.node, Device: name, MAC: fmt.Sprintf("02:00:00:00:%02x:12", i)})
		net := fmt.Sprintf("10.0.%d", i+1)
		side.IP(t, "address add "+net+".1/24 dev eth0")
		n.node.IP(t, "address add "+net+".2/24 dev "+name)
		n.vxlan(t, side, i+1, v)
	}
	v.config.Port = v.port
	n.driver = nodes.Open(t, n.node, udp.New, v.config)
	n.engine = newEngine(t, n.driver, v)
	return n
}

// vxlan makes the kernel's device of a side.
func (n *network) vxlan(t *testing.T, side *netnstest.Namespace, i int, v variant) {
	t.Helper()
	args := fmt.Sprintf("link add vx0 mtu %d address 02:00:00:00:%02x:01 type vxlan id %d dstport %d local 10.0.%d.1 dev eth0",
		mss, i, i, v.port, i)
	if !v.sum {
		args += " noudpcsum"
	}
	remote := fmt.Sprintf("10.0.%d.2", i)
	if v.static {
		side.IP(t, args+" nolearning")
		side.Bridge(t, fmt.Sprintf("fdb append 02:00:00:00:%02x:fe dev vx0 dst %s", i, remote))
	} else {
		side.IP(t, args+" remote "+remote)
	}
	side.Up(t, "vx0")
	side.IP(t, fmt.Sprintf("address add 10.244.%d.1/24 dev vx0", i))
	if v.static {
		side.IP(t, fmt.Sprintf("neigh add 10.244.%d.254 lladdr 02:00:00:00:%02x:fe dev vx0 nud permanent", i, i))
	}
	side.IP(t, fmt.Sprintf("route add 10.244.%d.0/24 via 10.244.%d.254", 3-i, i))
}

// newEngine returns the engine of the node, at work on the driver until the test ends.
func newEngine(t *testing.T, d *udp.Driver, v variant) *engine.Engine {
	t.Helper()
	var e *engine.Engine
	e, err := engine.New(engine.Config{Seed: 1, Output: func(_ uint32, batch []*packet.Buffer) {
		_ = d.Queues()[0].Send(batch) // counted
	}})
	require.NoError(t, err)
	_, err = e.AddPort(engine.Port{Raw: true, Link: engine.Link{Name: "udp0", Up: true}, Offloads: d.Link().Offloads})
	require.NoError(t, err)
	for i := 1; i <= 2; i++ {
		name := fmt.Sprintf("vxlan%d", i)
		require.NoError(t, e.AddAddr("udp0", engine.Addr{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.0.%d.2/24", i))}))
		mac := ethernet.MAC{2, 0, 0, 0, byte(i), 0xfe}
		_, err := e.AddVXLAN(engine.VXLAN{
			Link: engine.Link{Name: name, MAC: mac, Up: true}, VNI: uint32(i), DstPort: v.port, UDPChecksum: v.sum,
			Device: "udp0", Remote: netip.MustParseAddr(fmt.Sprintf("10.0.%d.1", i)), NoLearning: v.static,
		})
		require.NoError(t, err)
		require.NoError(t, e.AddAddr(name, engine.Addr{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.244.%d.254/24", i))}))
		if v.static {
			require.NoError(t, e.AddNeigh(engine.Neigh{
				Addr: netip.MustParseAddr(fmt.Sprintf("10.244.%d.1", i)), Dev: name, MAC: ethernet.MAC{2, 0, 0, 0, byte(i), 1},
			}))
		}
	}
	e.SetForwarding(true)
	serve(t, e, d)
	return e
}

// serve moves packets from the driver into the engine until the test ends, by one goroutine for each queue.
func serve(t *testing.T, e *engine.Engine, d *udp.Driver) {
	t.Helper()
	start := time.Now()
	port := e.Index("udp0")
	done := make(chan struct{})
	for _, q := range d.Queues() {
		w := e.NewWorker(func(_ uint32, batch []*packet.Buffer) { _ = q.Send(batch) })
		go func() {
			defer func() { done <- struct{}{} }()
			for batch := make([]*packet.Buffer, driver.BatchSize); ; {
				n, err := q.Receive(batch, 10*time.Millisecond)
				if err != nil {
					assert.ErrorIs(t, err, net.ErrClosed)
					return
				}
				now := time.Since(start)
				w.Process(port, batch[:n], now)
				w.Tick(now)
			}
		}()
	}
	t.Cleanup(func() {
		assert.NoError(t, d.Close())
		for range d.Queues() {
			<-done
		}
		assert.NoError(t, e.Stats().Check())
	})
}

// pings pings the engine and the other side from the left: least, full and fragmented.
func (n *network) pings(t *testing.T) {
	t.Helper()
	for _, to := range []string{"10.244.1.254", "10.244.2.1"} {
		for _, size := range []int{1, mss - 28, 4000} {
			ping(t, n.left, to, size, size < mss)
		}
	}
	ping(t, n.right, "10.244.1.1", 4000, false)
}

// ping sends an echo request with size bytes of data and waits for the answer; it tries again, since the first packets between
// hosts may be lost.
func ping(t *testing.T, ns *netnstest.Namespace, to string, size int, df bool) {
	t.Helper()
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		if df {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO); err != nil {
				return err
			}
		}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300_000}); err != nil {
			return err
		}
		message := make([]byte, icmp.HeaderLen+size)
		for i := range size {
			message[icmp.HeaderLen+i] = byte(i*7 + size)
		}
		if _, err := icmp.Echo(uint16(size), 1).Put(message, message[icmp.HeaderLen:]); err != nil {
			return err
		}
		for end := time.Now().Add(nodes.Patience); time.Now().Before(end); {
			addr := &unix.SockaddrInet4{Addr: netip.MustParseAddr(to).As4()}
			if err := unix.Sendto(fd, message, 0, addr); err != nil && !strings.Contains(err.Error(), "unreachable") {
				return err
			}
			if answered(fd, message[icmp.HeaderLen:]) {
				return nil
			}
		}
		return fmt.Errorf("%s does not answer an echo request with %d bytes", to, size)
	})
	require.NoError(t, err)
}

// answered reports whether an echo reply with the data comes in.
func answered(fd int, data []byte) bool {
	const header = 20
	for buf := make([]byte, 1<<16); ; {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return false
		}
		if n > header && buf[header] == icmp.TypeEchoReply && bytes.Equal(buf[header+icmp.HeaderLen:n], data) {
			return true
		}
	}
}

// datagrams sends UDP datagrams of all sizes, fragments included, from left to right, where they are sent back.
func (n *network) datagrams(t *testing.T) {
	t.Helper()
	server := traffic.ListenUDP(t, n.right, "10.244.2.1:7")
	traffic.Echo(server)
	client := traffic.ListenUDP(t, n.left, "10.244.1.1:0")
	buf := make([]byte, 1<<16)
	for i, size := range []int{0, 1, 17, 64, 512, mss - 28, mss - 27, 4000, 9000, 20000} {
		want := make([]byte, size)
		r := rand.NewChaCha8([32]byte{byte(i)})
		_, _ = r.Read(want)
		require.NoError(t, client.SetReadDeadline(time.Now().Add(nodes.Patience)))
		_, err := client.WriteTo(want, server.LocalAddr())
		require.NoError(t, err)
		m, _, err := client.ReadFrom(buf)
		require.NoError(t, err, "%d bytes; %+v", size, n.driver.Stats())
		require.Equal(t, want, buf[:m:m], "%d bytes", size)
	}
}

// streams sends over TCP in both directions at once.
func (n *network) streams(t *testing.T) {
	t.Helper()
	const size = 8 << 20
	_, err := traffic.Exchange(n.left, n.right, "10.244.2.1", size)
	require.NoError(t, err, "%+v", n.driver.Stats())
}
