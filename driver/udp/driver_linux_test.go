package udp_test

// What the suite does not know of: headers that are taken off and made, source ports, fragments, path MTUs, and faults. The driver is in
// one namespace, the test's own sockets in another:
//
//	192.0.2.1 dev0 ──veth── dev1 192.0.2.2

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/nodes"
	"github.com/culvert-net/culvert/driver/udp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/traffic"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	codec "github.com/culvert-net/culvert/udp"
)

func TestConfigFaults(t *testing.T) {
	small, err := packet.NewPool(packet.PoolConfig{Size: 600})
	require.NoError(t, err)
	_, err = udp.New(udp.Config{
		Local: netip.MustParseAddr("2001:db8::1"), Device: "a name that is too long", Queues: -1, SourcePorts: 257, Pool: small, InnerMTU: -1,
		ReceiveBuffer: -1, SendBuffer: -1,
	})
	for _, field := range []string{"Local", "Device", "Queues", "SourcePorts", "Pool", "InnerMTU", "ReceiveBuffer", "SendBuffer"} {
		assert.ErrorContains(t, err, "udp: Config."+field)
	}
	_, err = udp.New(udp.Config{Local: netip.MustParseAddr("224.0.0.1")})
	assert.ErrorContains(t, err, "group")
}

func TestWhatCannotBeOpened(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, _ := nodes.New(t)
		nodes.Opened(t, one, udp.New, udp.Config{Local: near, Port: discard})
		for _, c := range []struct {
			name string
			udp.Config
			is   error
			says string
		}{
			{"the port is in use", udp.Config{Local: near, Port: discard}, unix.EADDRINUSE, "Config.Port 9 of 192.0.2.1 is in use"},
			{"another machine's address", udp.Config{Local: far}, unix.EADDRNOTAVAIL, "Config.Local 192.0.2.2 is no address of this machine"},
			{"no such device", udp.Config{Device: "dev9"}, nil, `there is no network device "dev9"`},
		} {
			err := one.Do(func() error {
				_, err := udp.New(c.Config)
				return err
			})
			require.Error(t, err, c.name)
			assert.ErrorContains(t, err, c.says)
			if c.is != nil {
				assert.ErrorIs(t, err, c.is)
			}
		}
	})
}

// fields of a packet that is sent.
type fields struct {
	source   uint16
	ttl, tos uint8
	df, sum  bool
	size     int
}

func (f fields) packet(t *testing.T) *packet.Buffer {
	t.Helper()
	flags := ipv4.Flags(0)
	if f.df {
		flags = ipv4.DontFragment
	}
	p, err := ipv4.Fields{
		TTL: f.ttl, TOS: f.tos, Flags: flags, ID: 1, Protocol: codec.Protocol, Src: near.As4(), Dst: far.As4(),
	}.Append(nil, codec.HeaderLen+f.size)
	require.NoError(t, err)
	p, err = codec.Fields{SrcPort: f.source, DstPort: discard}.Append(p, f.size)
	require.NoError(t, err)
	for i := range f.size {
		p = append(p, byte(i))
	}
	if f.sum {
		h, data, err := codec.Parse(p[ipv4.HeaderLen:])
		require.NoError(t, err)
		h.FixChecksum(near.As4(), far.As4(), data)
	}
	return packet.Of(p)
}

// seen returns the next datagram that a packet socket receives.
func seen(t *testing.T, s *netnstest.Socket) (ipv4.Header, codec.Header, []byte) {
	t.Helper()
	for {
		frame := s.Receive(t).Bytes
		if binary.BigEndian.Uint16(frame[12:]) != ethernet.TypeIPv4 {
			continue // ARP
		}
		h, payload, err := ipv4.Parse(frame[ethernet.HeaderLen:])
		require.NoError(t, err)
		if h.Protocol() != codec.Protocol {
			continue
		}
		u, data, err := codec.Parse(payload)
		require.NoError(t, err)
		return h, u, data
	}
}

func TestHeadersThatAreSent(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, local := range []netip.Addr{{}, near} {
			one, two := nodes.New(t)
			d := nodes.Opened(t, one, udp.New, udp.Config{Local: local, Port: discard})
			traffic.ListenUDP(t, two, "192.0.2.2:9") // nobody is to refuse them
			wire := two.Socket(t, "dev1")
			ports := map[uint16]uint16{}
			for _, f := range []fields{
				{source: 40000, ttl: 64},
				{source: 40000, ttl: 1, size: 1},
				{source: 40001, ttl: 255, tos: 0xff, size: 100},
				{source: 40000, ttl: 64, tos: 0x02, df: true, size: 1472},
				{source: 40001, ttl: 9, sum: true, size: 17},
				{source: 40001, ttl: 9, df: true, sum: true, size: 18},
				{source: 40002, ttl: 64, size: 19},
			} {
				require.NoError(t, d.Queues()[0].Send([]*packet.Buffer{f.packet(t)}))
				h, u, data := seen(t, wire)
				assert.Equal(t, near.As4(), h.Src())
				assert.Equal(t, far.As4(), h.Dst())
				assert.Equal(t, [4]any{f.ttl, f.tos, f.df, f.size}, [4]any{h.TTL(), h.TOS(), h.DF(), len(data)}, "%+v", f)
				assert.Equal(t, f.sum, u.Checksum() != 0, "%+v", f)
				assert.EqualValues(t, discard, u.DstPort())
				if port, ok := ports[f.source]; ok {
					assert.Equal(t, port, u.SrcPort(), "a flow keeps its port")
				}
				ports[f.source] = u.SrcPort()
			}
			assert.NotEqual(t, ports[40000], ports[40001], "flows have ports of their own")
		}
	})
}

func TestHeadersThatAreMade(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, two := nodes.New(t)
		d := nodes.Opened(t, one, udp.New, udp.Config{Port: discard})
		c := traffic.ListenUDP(t, two, "192.0.2.2:4711")
		raw, err := c.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) {
			assert.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 7))
			assert.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, 0xb9)) // expedited forwarding, ECT(1)
		}))
		for _, text := range []string{"", "payload"} {
			_, err = c.WriteTo([]byte(text), net.UDPAddrFromAddrPort(netip.AddrPortFrom(near, discard)))
			require.NoError(t, err)
			b := nodes.Receive(t, d)
			h, payload, err := ipv4.Parse(b.Bytes())
			require.NoError(t, err)
			assert.True(t, h.ChecksumOK())
			assert.Equal(t, [2]uint8{7, 0xb9}, [2]uint8{h.TTL(), h.TOS()})
			assert.Equal(t, [2][4]byte{far.As4(), near.As4()}, [2][4]byte{h.Src(), h.Dst()})
			u, data, err := codec.Parse(payload)
			require.NoError(t, err)
			assert.Equal(t, [2]uint16{4711, discard}, [2]uint16{u.SrcPort(), u.DstPort()})
			assert.Equal(t, text, string(data))
			assert.Equal(t, packet.ChecksumVerified, b.Checksum())
			assert.Equal(t, packet.DefaultHeadroom, b.Headroom(), "what the pool leaves")
			b.Free()
		}
	})
}

// fragments cuts a packet without DF.
func fragments(t *testing.T, p []byte, mtu int) []*packet.Buffer {
	t.Helper()
	h, payload, err := ipv4.Parse(p)
	require.NoError(t, err)
	var out []*packet.Buffer
	each := (mtu - ipv4.HeaderLen) &^ 7
	for at := 0; at < len(payload); at += each {
		part := payload[at:min(at+each, len(payload))]
		f := ipv4.FieldsOf(h)
		f.FragmentOffset = uint16(at)
		if at+len(part) < len(payload) {
			f.Flags = ipv4.MoreFragments
		}
		q, err := f.Append(nil, len(part))
		require.NoError(t, err)
		out = append(out, packet.Of(append(q, part...)))
	}
	return out
}

func TestFragmentsAreJoined(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, two := nodes.New(t)
		d := nodes.Opened(t, one, udp.New, udp.Config{Local: near, Port: discard})
		c := traffic.ListenUDP(t, two, "192.0.2.2:9")
		require.NoError(t, c.SetReadBuffer(4<<20))
		whole := fields{source: 40000, ttl: 64, size: 3000}.packet(t).Bytes()
		parts := func() []*packet.Buffer { return fragments(t, whole, 576) }
		arrives := func(name string) {
			t.Helper()
			got := make([]byte, 1<<16)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(nodes.Patience)))
			n, _, err := c.ReadFrom(got)
			require.NoError(t, err, name)
			assert.Equal(t, whole[28:], got[:n:n], name)
		}
		send := d.Queues()[0].Send

		require.NoError(t, send(parts()))
		arrives("fragments of one datagram")

		var many []*packet.Buffer
		const datagrams = 45 // of six fragments
		for range datagrams {
			many = append(many, parts()...)
		}
		before := d.Stats()
		require.NoError(t, send(many))
		for range datagrams {
			arrives("more than are sent at a time")
		}
		assert.EqualValues(t, datagrams*len(parts()), d.Stats().TxPackets-before.TxPackets)

		for _, broken := range []struct {
			name  string
			parts []*packet.Buffer
			lost  int
		}{
			{"the last is missing", parts()[:5], 5},
			{"the first is missing", parts()[1:], len(parts()) - 1},
			{"one is missing", slices.Delete(parts(), 3, 4), len(parts()) - 1},
			{"out of order", append(parts()[1:], parts()[0]), len(parts())},
		} {
			before := d.Stats()
			batch := append(broken.parts, parts()...)
			err := send(batch)
			assert.ErrorIs(t, err, udp.ErrFragment, broken.name)
			arrives(broken.name + ", and what is behind it")
			assert.EqualValues(t, broken.lost, d.Stats().TxErrors-before.TxErrors, broken.name)
		}
	})
}

func TestRefusedPackets(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, _ := nodes.New(t)
		d := nodes.Opened(t, one, udp.New, udp.Config{Local: near, Port: discard})
		good := fields{source: 40000, ttl: 64, size: 100}.packet(t).Bytes()
		change := func(at int, v byte) []byte {
			p := slices.Clone(good)
			p[at] = v
			return p
		}
		for name, p := range map[string][]byte{
			"empty":                           {},
			"shorter than headers":            good[:27],
			"another version":                 change(0, 0x65),
			"options":                         change(0, 0x46),
			"another protocol":                change(9, 6),
			"longer than the buffer":          change(2, 1),
			"the datagram longer than packet": change(24, 1),
			"the datagram shorter than its header": func() []byte {
				p := change(24, 0)
				p[25] = 7
				return p
			}(),
		} {
			before := d.Stats()
			assert.ErrorIs(t, d.Queues()[0].Send([]*packet.Buffer{packet.Of(p)}), udp.ErrNotUDP, name)
			assert.EqualValues(t, 1, d.Stats().TxErrors-before.TxErrors, name)
		}
		b := packet.Of(good)
		b.SetGSO(packet.GSOTCP4, 100)
		assert.ErrorIs(t, d.Queues()[0].Send([]*packet.Buffer{b}), driver.ErrMetadata)
	})
}

func TestFaultsOfTheNetwork(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, two := nodes.New(t)
		d := nodes.Opened(t, one, udp.New, udp.Config{Local: near, Port: discard})
		send := func(f fields) error { return d.Queues()[0].Send([]*packet.Buffer{f.packet(t)}) }
		small := fields{source: 40000, ttl: 64, size: 10}

		one.IP(t, "route add prohibit 192.0.2.2/32")
		assert.ErrorIs(t, send(small), unix.EACCES)
		assert.EqualValues(t, 1, d.Faults().Forbidden)
		one.IP(t, "route del prohibit 192.0.2.2/32")
		one.IP(t, "route add unreachable 192.0.2.2/32")
		assert.ErrorIs(t, send(small), unix.EHOSTUNREACH)
		assert.EqualValues(t, 1, d.Faults().Unreachable)
		one.IP(t, "route del unreachable 192.0.2.2/32")
		assert.ErrorIs(t, send(fields{source: 40000, ttl: 64, df: true, size: 1473}), unix.EMSGSIZE)
		assert.EqualValues(t, 1, d.Faults().TooLong)
		stats := d.Stats()
		assert.Equal(t, [3]uint64{0, 1, 2}, [3]uint64{stats.TxPackets, stats.TxDropped, stats.TxErrors})

		// An ICMP error is about what was sent before; what is sent next goes out all the same.
		wire := two.Socket(t, "dev1")
		for i := range 3 {
			require.NoError(t, send(fields{source: 40000, ttl: 64, size: i}))
			_, _, data := seen(t, wire)
			require.Len(t, data, i)
		}
		for end := time.Now().Add(nodes.Patience); d.Faults().ICMP == 0; {
			require.NoError(t, send(small))
			require.True(t, time.Now().Before(end), "nobody refuses what nobody receives")
		}
	})
}

// TestPathMTU: a router in the middle has a link with a smaller MTU, and its error comes to the engine.
func TestPathMTU(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, local := range []netip.Addr{{}, near} {
			one, two := nodes.New(t)
			nodes.Route(t, one, two, 1300)
			d := nodes.Opened(t, one, udp.New, udp.Config{Local: local, Port: discard})

			far := nodes.Beyond().As4()
			b := fields{source: 40000, ttl: 64, df: true, size: 1400}.packet(t)
			h, _, err := ipv4.Parse(b.Bytes())
			require.NoError(t, err)
			h.SetDst(far)
			long := slices.Clone(b.Bytes())
			batch := make([]*packet.Buffer, 1)
			for end := time.Now().Add(nodes.Patience); ; {
				_ = d.Queues()[0].Send([]*packet.Buffer{packet.Of(long)}) // the first goes out, later ones are known to be too long
				n, err := d.Queues()[0].Receive(batch, time.Millisecond)
				require.NoError(t, err)
				if n == 1 {
					break
				}
				require.True(t, time.Now().Before(end), "no error came: %+v", d.Faults())
			}
			outer, payload, err := ipv4.Parse(batch[0].Bytes())
			require.NoError(t, err)
			assert.Equal(t, icmp.Protocol, int(outer.Protocol()))
			assert.Equal(t, near.As4(), outer.Dst())
			m, body, err := icmp.Parse(payload)
			require.NoError(t, err)
			assert.True(t, m.ChecksumOK(body))
			assert.Equal(t, [3]int{3, 4, 1300}, [3]int{int(m.Type()), int(m.Code()), int(m.NextHopMTU())})
			q, data, _ := ipv4.Parse(m.Quote(body)) // cut short, it says
			assert.Equal(t, [2][4]byte{near.As4(), far}, [2][4]byte{q.Src(), q.Dst()})
			assert.EqualValues(t, discard, binary.BigEndian.Uint16(data[2:]))
			assert.Equal(t, long[28:36], data[8:16], "the VXLAN header")
			batch[0].Free()
		}
	})
}

// allArrive sends a batch of long datagrams, which can be merged, from a new driver to a socket.
func allArrive(t *testing.T, d *udp.Driver, c *net.UDPConn) {
	t.Helper()
	const packets, size = 40, 1200
	var batch []*packet.Buffer
	for range packets {
		batch = append(batch, fields{source: 40000, ttl: 64, size: size}.packet(t))
	}
	require.NoError(t, d.Queues()[0].Send(batch))
	got := make([]byte, 1<<16)
	for range packets {
		n, err := c.Read(got)
		require.NoError(t, err)
		require.Equal(t, size, n)
	}
	assert.EqualValues(t, packets, d.Stats().TxPackets)
}

// TestMergedIsRefused: what the kernel refuses merged, since the route takes no more, goes out unmerged, and in fragments.
func TestMergedIsRefused(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, two := nodes.New(t)
		one.IP(t, "route add 192.0.2.2/32 dev dev0 mtu lock 1000")
		d := nodes.Opened(t, one, udp.New, udp.Config{Local: near, Port: discard})
		if !d.GSO() {
			netnstest.Missing(t, "UDP_SEGMENT (Linux 4.18)")
		}
		c := traffic.ListenUDP(t, two, "192.0.2.2:9")
		allArrive(t, d, c)
		assert.True(t, d.GSO(), "smaller ones can be merged")
	})
}

// TestWithoutChecksumOffload: whether the kernel refuses to cut datagrams for a device that computes no checksums depends on its version
// (EIO); all arrive in any case.
func TestWithoutChecksumOffload(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, two := nodes.New(t)
		one.Tool(t, "ethtool", "-K", "dev0", "tx", "off")
		d := nodes.Opened(t, one, udp.New, udp.Config{Local: near, Port: discard})
		c := traffic.ListenUDP(t, two, "192.0.2.2:9")
		allArrive(t, d, c)
		assert.Equal(t, d.GSO(), d.Faults().GSO == 0)
		t.Logf("merged: %t", d.GSO())
	})
}

// TestDeviceGoneAndBack: the driver goes on when its device, or the address, is there again.
func TestDeviceGoneAndBack(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, config := range []udp.Config{{Local: near}, {Device: "dev0"}, {}} {
			config.Port = discard
			one, two := nodes.New(t)
			d := nodes.Opened(t, one, udp.New, config)
			batch := make([]*packet.Buffer, 1)
			both := func(when string) {
				t.Helper()
				c := traffic.ListenUDP(t, two, "192.0.2.2:9")
				defer func() { _ = c.Close() }()
				buf := make([]byte, 100)
				for end := time.Now().Add(nodes.Patience); ; {
					require.True(t, time.Now().Before(end), "%s: no packet comes out; %+v", when, d.Faults())
					_ = d.Queues()[0].Send([]*packet.Buffer{fields{source: 40000, ttl: 64, size: 10}.packet(t)})
					require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
					if _, _, err := c.ReadFrom(buf); err == nil {
						break
					}
				}
				for end := time.Now().Add(nodes.Patience); ; {
					require.True(t, time.Now().Before(end), "%s: no packet comes in", when)
					_, _ = c.WriteTo([]byte("back"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(near, discard)))
					if n, err := d.Queues()[0].Receive(batch, 10*time.Millisecond); err == nil && n == 1 {
						batch[0].Free()
						break
					}
				}
			}
			both("at first")
			one.IP(t, "link delete dev0")
			_ = d.Queues()[0].Send([]*packet.Buffer{fields{source: 40000, ttl: 64, size: 10}.packet(t)})
			nodes.Connect(t, one, two)
			both("when the device is back")
		}
	})
}

// TestRandomPackets sends packets with random changes to their headers, fragments among them: none is to stop the driver, all are to be
// counted, and all buffers to come back.
func TestRandomPackets(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, _ := nodes.New(t)
		d := nodes.Opened(t, one, udp.New, udp.Config{Local: near, Port: discard})
		pool, err := packet.NewPool(packet.PoolConfig{})
		require.NoError(t, err)
		const seed, rounds = 1, 300
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		whole := fields{source: 40000, ttl: 64, size: 3000, sum: true}.packet(t).Bytes()
		var sent uint64
		for range rounds {
			var batch []*packet.Buffer
			for range 1 + random.IntN(300) {
				p := fields{source: uint16(random.IntN(4)), ttl: 64, size: random.IntN(200)}.packet(t).Bytes()
				if random.IntN(3) == 0 {
					parts := fragments(t, whole, 576)
					p = parts[random.IntN(len(parts))].Bytes()
				}
				for range random.IntN(3) {
					if at := random.IntN(28); at < 12 || at >= 20 { // addresses stay
						p[at] = byte(random.Uint32())
					}
				}
				b := pool.Get()
				require.NotNil(t, b)
				require.NoError(t, b.SetBytes(p[:len(p)-random.IntN(2)*random.IntN(len(p))]))
				if random.IntN(4) == 0 {
					b.SetGSO(packet.GSOType(random.IntN(4)), uint16(random.IntN(300)))
				}
				if random.IntN(8) == 0 && b.Len() > 0 {
					_ = b.SetChecksumPartial(random.IntN(b.Len()), 6)
				}
				batch = append(batch, b)
			}
			sent += uint64(len(batch))
			_ = d.Queues()[0].Send(batch)
			require.Zero(t, pool.InUse())
			s := d.Stats()
			require.Equal(t, sent, s.TxPackets+s.TxDropped+s.TxErrors, "%+v", s)
		}
		assert.NotZero(t, d.Stats().TxPackets)
		assert.NotZero(t, d.Stats().TxErrors)
	})
}
