package interop_test

// Nothing leaks: file descriptors, goroutines and buffers of drivers that come and go, memory of nodes that forward for long.
//
// TestPacketsAtRate takes a few million packets, or as long as CULVERT_SOAK says:
//
//	CULVERT_SOAK=1h go test -run TestPacketsAtRate -timeout 3h -v ./driver/interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/driver/pcap"
	"github.com/culvert-net/culvert/driver/rawip"
	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/driver/udp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/overlay"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	udpcodec "github.com/culvert-net/culvert/udp"
)

// holdings are what a process has that it must give back.
type holdings struct {
	files, goroutines int
	heap              uint64 // bytes
}

func held(t *testing.T) holdings {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	runtime.GC()
	runtime.GC() // what finalizers have let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return holdings{len(files), runtime.NumGoroutine(), m.HeapAlloc}
}

// noMoreThan waits until there is no more than there was: goroutines may be on their way out.
func (before holdings) noMoreThan(t *testing.T, heap uint64) {
	t.Helper()
	var now holdings
	for end := time.Now().Add(patience); time.Now().Before(end); runtime.Gosched() {
		if now = held(t); now.files <= before.files && now.goroutines <= before.goroutines && now.heap <= before.heap+heap {
			return
		}
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, now.goroutines > before.goroutines)]
	require.Fail(t, "a leak", "%+v before, %+v now\n%s", before, now, stacks)
}

// lodger is a driver that comes and goes.
type lodger struct {
	name string
	// open opens it in namespace near. What else it needs is opened with it, and closed by close.
	open func(p *packet.Pool) (driver.Driver, error)
	// knock has it receive something.
	knock func(t *testing.T)
	close func() error
}

// Of the network in TestDriversComeAndGo:
//
//	namespace near, 10.9.0.1           namespace far, 10.9.0.2
//	        port0 ────────────────────────── wire0
//	tap7, tun7: 10.9.1.2 ── the engine
var (
	nearAddr  = netip.MustParseAddr("10.9.0.1") // of the kernel, and of the engine where it gets what is for the kernel
	ownAddr   = netip.MustParseAddr("10.9.0.3") // of the engine alone
	tapAddr   = netip.MustParseAddr("10.9.1.1") // of the engine alone
	askForOwn = arp.WhoHas(ownAddr.As4(), ethernet.MAC{2, 0, 0, 0, 0, 9}, [4]byte{10, 9, 0, 9}).AppendFrame(nil, ethernet.Broadcast)
)

func TestDriversComeAndGo(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		near, far := netnstest.New(t), netnstest.New(t)
		netnstest.Veth(t,
			netnstest.End{Namespace: near, Device: "port0", MAC: "02:00:00:00:00:01"},
			netnstest.End{Namespace: far, Device: "wire0", MAC: "02:00:00:00:00:02"})
		near.IP(t, "address add 10.9.0.1/24 dev port0")
		far.IP(t, "address add 10.9.0.2/24 dev wire0")
		for _, l := range lodgers(near, far) {
			t.Run(l.name, func(t *testing.T) { comeAndGo(t, near, l) })
		}
	})
}

// comeAndGo has a driver come and go while the runner runs.
func comeAndGo(t *testing.T, ns *netnstest.Namespace, l lodger) {
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 256})
	require.NoError(t, err)
	e, err := engine.New(engine.Config{})
	require.NoError(t, err)
	r := runner.New(e, runner.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	const rounds = 10
	var before holdings
	for round := range rounds {
		if round == 2 { // after what is made once
			before = held(t)
		}
		stay(t, r, ns, l, pool)
		require.Zero(t, pool.InUse(), "buffers")
	}
	before.noMoreThan(t, 512<<10)
	cancel()
	require.NoError(t, <-ended)
	require.NoError(t, e.Stats().Check())
}

// stay is one stay of a driver.
func stay(t *testing.T, r *runner.Runner, ns *netnstest.Namespace, l lodger, pool *packet.Pool) {
	t.Helper()
	e := r.Engine()
	in := e.Stats().In
	var d driver.Driver
	err := ns.Do(func() (err error) {
		d, err = l.open(pool)
		return err
	})
	if errors.Is(err, fs.ErrPermission) {
		netnstest.Missing(t, err.Error())
	}
	require.NoError(t, err)
	port, err := r.Attach(d, engine.Port{Link: engine.Link{Name: "port", Up: true}})
	require.NoError(t, err)
	for _, addr := range []netip.Addr{nearAddr, ownAddr, tapAddr} {
		require.NoError(t, e.AddAddr("port", engine.Addr{Prefix: netip.PrefixFrom(addr, 24)}))
	}
	if l.knock != nil {
		l.knock(t)
	}
	require.Eventually(t, func() bool { return e.Stats().In > in }, patience, time.Millisecond, "nothing comes in")
	_, err = r.Detach(port)
	require.NoError(t, err)
	require.NoError(t, e.DeleteLink("port"))
	require.NoError(t, d.Close())
	if l.close != nil {
		require.NoError(t, l.close())
	}
}

// lodgers are drivers of each kind.
func lodgers(near, far *netnstest.Namespace) []lodger {
	var wire *memory.Driver
	ping := func(ns *netnstest.Namespace, to netip.Addr) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			ns.Tool(t, "ping", "-c", "1", "-W", "10", to.String())
		}
	}
	fromTap := func(device string) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			near.IP(t, "address add 10.9.1.2/24 dev "+device)
			ping(near, tapAddr)(t)
		}
	}
	dial := func(network, address string) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			require.NoError(t, far.Do(func() error {
				c, err := net.Dial(network, address)
				if err != nil {
					return err
				}
				defer c.Close() //nolint:errcheck // a socket of the test's own
				_, err = c.Write(make([]byte, 100))
				return err
			}))
		}
	}
	return []lodger{
		{name: "memory", open: func(p *packet.Pool) (_ driver.Driver, err error) {
			var d *memory.Driver
			d, wire, err = memory.NewPair(memory.Config{A: memory.End{Pool: p, Queues: 2}, B: memory.End{Pool: p}})
			return d, err
		}, knock: func(t *testing.T) {
			t.Helper()
			require.NoError(t, wire.Queues()[0].Send([]*packet.Buffer{packet.Of(askForOwn)}))
		}, close: func() error { return wire.Close() }},
		{name: "pcap", open: func(p *packet.Pool) (driver.Driver, error) {
			return pcap.New(pcap.Config{Reader: bytes.NewReader(captured()), Writer: io.Discard, Pool: p})
		}},
		{name: "afpacket", open: func(p *packet.Pool) (driver.Driver, error) {
			return afpacket.New(afpacket.Config{
				Device: "port0", Pool: p, Queues: 2, Promiscuous: true, Steal: &afpacket.Filter{UDPPorts: []uint16{8472}},
			})
		}, knock: ping(far, ownAddr)},
		{name: "tap", open: func(p *packet.Pool) (driver.Driver, error) {
			return tuntap.New(tuntap.Config{Name: "tap7", Queues: 2, Up: true, Pool: p, Superframes: p})
		}, knock: fromTap("tap7")},
		{name: "tun", open: func(p *packet.Pool) (driver.Driver, error) {
			return tuntap.New(tuntap.Config{Name: "tun7", Kind: tuntap.TUN, Up: true, Pool: p, Superframes: p})
		}, knock: fromTap("tun7")},
		{name: "udp", open: func(p *packet.Pool) (driver.Driver, error) {
			return udp.New(udp.Config{Local: nearAddr, Queues: 2, Pool: p, Superframes: p})
		}, knock: dial("udp4", "10.9.0.1:8472")},
		{name: "rawip", open: func(p *packet.Pool) (driver.Driver, error) {
			return rawip.New(rawip.Config{Local: nearAddr, Queues: 2, Pool: p})
		}, knock: dial("ip4:4", "10.9.0.1")},
	}
}

// captured is a capture file (pcap, little endian, Ethernet) of some requests.
func captured() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint32(b, 2|4<<16)   // version
	b = append(b, make([]byte, 8)...) // of the clock
	b = le.AppendUint32(b, 1<<16)     // longest packet
	b = le.AppendUint32(b, 1)         // LINKTYPE_ETHERNET
	for i := range uint32(10) {
		b = le.AppendUint32(b, i)
		b = le.AppendUint32(b, 0)
		b = le.AppendUint32(b, uint32(len(askForOwn)))
		b = le.AppendUint32(b, uint32(len(askForOwn)))
		b = append(b, askForOwn...)
	}
	return b
}

// TestPacketsAtRate sends packets of many flows, hosts and lengths from pod to pod, some of them to nobody, and has the nodes keep
// nothing of them.
func TestPacketsAtRate(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		t.Run("memory", func(t *testing.T) {
			var pods, wires [2]*memory.Driver
			var far [2]driver.Driver
			s := overlay.New(t, overlay.Config{Learning: true})
			var err error
			wires[0], wires[1], err = memory.NewPair(memory.Config{A: memory.End{MAC: s.A.NodeMAC}, B: memory.End{MAC: s.B.NodeMAC}})
			require.NoError(t, err)
			for i := range pods {
				var wire *memory.Driver
				pods[i], wire, err = memory.NewPair(memory.Config{MTU: overlay.PodMTU})
				require.NoError(t, err)
				t.Cleanup(func() { assert.NoError(t, wire.Close()) })
				far[i] = wire
			}
			culvert := overlay.Culvert{Open: func(_ testing.TB, e *overlay.End) (pod, wire driver.Driver) {
				return pods[e.PodMAC[5]-1], wires[e.PodMAC[5]-1]
			}}
			culvert.Start(t, &s.A)
			culvert.Start(t, &s.B)
			atRate(t, far[0], far[1], 2_000_000)
		})
		t.Run("afpacket", func(t *testing.T) {
			s := overlay.Join(t, overlay.Config{Learning: true}, overlay.Culverts()[0], overlay.Culverts()[0])
			var far [2]driver.Driver
			for i, e := range []*overlay.End{&s.A, &s.B} {
				require.NoError(t, e.Pod.Do(func() (err error) {
					far[i], err = afpacket.New(afpacket.Config{Device: overlay.Eth0})
					return err
				}))
				t.Cleanup(func() { assert.NoError(t, far[i].Close()) })
			}
			atRate(t, far[0], far[1], 100_000)
		})
	})
}

// atRate sends at least so many packets from a to b and back, and compares what is held with what was when all hosts were known.
func atRate(t *testing.T, a, b driver.Driver, packets int) {
	if raceEnabled {
		packets /= 10
	}
	var until time.Time
	if soak := os.Getenv("CULVERT_SOAK"); soak != "" {
		d, err := time.ParseDuration(soak)
		require.NoError(t, err, "CULVERT_SOAK")
		until = time.Now().Add(d)
	}
	x := newRush(t, a, b)
	for x.sent[1] < 2*hosts {
		x.round(t)
	}
	before := held(t)
	for x.arrived < packets || time.Now().Before(until) {
		x.round(t)
	}
	const some = 256 << 10 // bytes, for 2 for each packet would be more
	before.noMoreThan(t, some)
	require.Zero(t, x.pool.InUse())
	t.Logf("%d packets arrived, %d were sent to nobody; heap: %d KiB before", x.arrived, x.lost, before.heap>>10)
}

// rush is many packets, a batch at a time: the next is sent when this one has arrived.
type rush struct {
	ends          [2]driver.Driver
	pool          *packet.Pool
	random        *rand.Rand
	frame         []byte
	out, in       []*packet.Buffer
	sent          [2]int // each way
	arrived, lost int
}

// hosts is how many MAC addresses there are in each pod.
const hosts = 4096

func newRush(t *testing.T, a, b driver.Driver) *rush {
	t.Helper()
	pool, err := packet.NewPool(packet.PoolConfig{})
	require.NoError(t, err)
	return &rush{
		ends: [2]driver.Driver{a, b}, pool: pool, random: rand.New(rand.NewPCG(1, 0)), frame: make([]byte, 0, 2048),
		out: make([]*packet.Buffer, driver.BatchSize), in: make([]*packet.Buffer, driver.BatchSize),
	}
}

// round sends a batch each way.
func (x *rush) round(t *testing.T) {
	for way := range 2 {
		n := x.pool.GetBatch(x.out)
		require.Equal(t, len(x.out), n)
		want := 0
		for _, b := range x.out {
			toNobody := x.random.IntN(1000) == 0
			if !toNobody {
				want++
			}
			require.NoError(t, b.SetBytes(x.next(way, toNobody)))
		}
		require.NoError(t, x.ends[way].Queues()[0].Send(x.out))
		x.lost += n - want
		x.arrived += want
		x.await(t, x.ends[1-way], want)
	}
}

// await receives so many packets.
func (x *rush) await(t *testing.T, d driver.Driver, want int) {
	for end := time.Now().Add(endurance); want > 0; {
		n, err := d.Queues()[0].Receive(x.in, time.Until(end))
		require.NoError(t, err)
		require.NotZero(t, n, "%d packets do not arrive: %+v", want, d.Stats())
		for _, b := range x.in[:n] {
			if p := b.Bytes(); len(p) >= ethernet.HeaderLen && p[0] == toSomebody && p[6] == toSomebody {
				want--
			}
		}
		packet.FreeBatch(x.in[:n])
	}
}

// First bytes of MAC addresses.
const (
	toSomebody = 2
	toNobody   = 6
)

// next makes a frame to one of the far hosts. One that is to nobody is flooded.
func (x *rush) next(way int, nobody bool) []byte {
	dst := ethernet.MAC{toSomebody, 0, byte(1 - way), 0, byte(x.random.IntN(hosts / 256)), byte(x.random.IntN(256))}
	if nobody {
		dst[0] = toNobody
	}
	n := x.sent[way] % hosts // one after the other
	x.sent[way]++
	src := ethernet.MAC{toSomebody, 0, byte(way), 0, byte(n >> 8), byte(n)}
	payload := x.random.IntN(overlay.PodMTU - ipv4.HeaderLen - udpcodec.HeaderLen)
	f, _ := ethernet.Fields{Dst: dst, Src: src, EtherType: ethernet.TypeIPv4}.Append(x.frame[:0])
	f, _ = ipv4.Fields{
		TTL: 64, Protocol: ipv4.ProtocolUDP, ID: uint16(x.random.Uint32()),
		Src: [4]byte{198, 18, byte(way), src[5]}, Dst: [4]byte{198, 18, byte(1 - way), dst[5]},
	}.Append(f, udpcodec.HeaderLen+payload)
	f, _ = udpcodec.Fields{SrcPort: uint16(x.random.Uint32()), DstPort: uint16(x.random.Uint32())}.Append(f, payload)
	x.frame = f
	return f[:len(f)+payload]
}
