package rawip_test

// What the suite does not know of: who is received from, errors of the network, and what the kernel would do by itself. The driver is in
// one namespace, the test's own sockets in another, or another driver:
//
//	192.0.2.1 dev0 ──veth── dev1 192.0.2.2

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/nodes"
	"github.com/culvert-net/culvert/driver/rawip"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

func TestConfigFaults(t *testing.T) {
	small, err := packet.NewPool(packet.PoolConfig{Size: 600})
	require.NoError(t, err)
	_, err = rawip.New(rawip.Config{
		Local: netip.MustParseAddr("2001:db8::1"), Device: "a name that is too long", Queues: -1, Pool: small, InnerMTU: -1,
		ReceiveBuffer: -1, SendBuffer: -1, Peers: []netip.Addr{near, {}},
	})
	for _, field := range []string{"Local", "Device", "Queues", "Pool", "InnerMTU", "ReceiveBuffer", "SendBuffer", "Peers[1]"} {
		assert.ErrorContains(t, err, "rawip: Config."+field)
	}
	_, err = rawip.New(rawip.Config{Peers: make([]netip.Addr, rawip.LimitPeers+1)})
	assert.ErrorContains(t, err, "Config.Peers has")
}

func TestWhatCannotBeOpened(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, _ := nodes.New(t)
		for _, c := range []struct {
			name string
			rawip.Config
			is   error
			says string
		}{
			{"another machine's address", rawip.Config{Local: far}, unix.EADDRNOTAVAIL, "Config.Local 192.0.2.2"},
			{"no such device", rawip.Config{Device: "dev9"}, nil, `there is no network device "dev9"`},
		} {
			err := one.Do(func() error {
				_, err := rawip.New(c.Config)
				return err
			})
			require.Error(t, err, c.name)
			assert.ErrorContains(t, err, c.says)
			if c.is != nil {
				assert.ErrorIs(t, err, c.is)
			}
		}
		// A thread without the capability, which ends with the call.
		err := one.Do(func() error {
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var nothing [2]unix.CapUserData
			if err := unix.Capset(&header, &nothing[0]); err != nil {
				return err
			}
			_, err := rawip.New(rawip.Config{})
			return err
		})
		assert.ErrorIs(t, err, unix.EPERM)
		assert.ErrorContains(t, err, "CAP_NET_RAW")
	})
}

func send(t *testing.T, d driver.Driver, packets ...[]byte) {
	t.Helper()
	var batch []*packet.Buffer
	for _, p := range packets {
		batch = append(batch, packet.Of(p))
	}
	require.NoError(t, d.Queues()[0].Send(batch))
}

// TestPeers: only peers are received from, whichever queue's they are.
func TestPeers(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, queues := range []int{1, 2} {
			one, two := nodes.New(t)
			two.IP(t, "address add 192.0.2.3/24 dev dev1")
			two.IP(t, "address add 192.0.2.4/24 dev dev1")
			other := netip.MustParseAddr("192.0.2.4")
			d := nodes.Opened(t, one, rawip.New, rawip.Config{Local: near, Peers: []netip.Addr{far, other}, Queues: queues})
			sender := nodes.Opened(t, two, rawip.New, rawip.Config{})
			var want []string
			for i := range 8 {
				for _, src := range []netip.Addr{far, netip.MustParseAddr("192.0.2.3"), other} {
					text := src.String() + string(rune('a'+i))
					send(t, sender, ipip(src, near, i, []byte(text)))
					if src != netip.MustParseAddr("192.0.2.3") {
						want = append(want, text)
					}
				}
			}
			var got []string
			batch := make([]*packet.Buffer, driver.BatchSize)
			for end := time.Now().Add(nodes.Patience); len(got) < len(want) && time.Now().Before(end); {
				for _, q := range d.Queues() {
					n, err := q.Receive(batch, time.Millisecond)
					require.NoError(t, err)
					for _, b := range batch[:n] {
						got = append(got, string(b.Bytes()[48:]))
						b.Free()
					}
				}
			}
			slices.Sort(want)
			slices.Sort(got)
			assert.Equal(t, want, got)
		}
	})
}

// TestFragmentsAreReassembled: what comes in fragments is received whole, in a large buffer if need be.
func TestFragmentsAreReassembled(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, two := nodes.New(t)
		d := nodes.Opened(t, one, rawip.New, rawip.Config{Local: near})
		sender := nodes.Opened(t, two, rawip.New, rawip.Config{Local: far})
		whole := ipip(far, near, 1, make([]byte, 4000))
		h, payload, err := ipv4.Parse(whole)
		require.NoError(t, err)
		for at := 0; at < len(payload); at += 1480 {
			part := payload[at:min(at+1480, len(payload))]
			f := ipv4.FieldsOf(h)
			f.FragmentOffset = uint16(at)
			if at+len(part) < len(payload) {
				f.Flags = ipv4.MoreFragments
			}
			p, err := f.Append(nil, len(part))
			require.NoError(t, err)
			send(t, sender, append(p, part...))
		}
		b := nodes.Receive(t, d)
		assert.Equal(t, whole, b.Bytes())
		assert.Equal(t, packet.ChecksumUnknown, b.Checksum())
		b.Free()
	})
}

// TestErrorsComeAsICMP: the far node's kernel, without a driver, refuses the protocol; a router's link is too small; the time runs out.
func TestErrorsComeAsICMP(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, two := nodes.New(t)
		nodes.Route(t, one, two, 1300)
		beyond := nodes.Beyond()
		d := nodes.Opened(t, one, rawip.New, rawip.Config{Local: near})
		for _, c := range []struct {
			name             string
			packet           []byte
			kind, code, info int
		}{
			{"protocol unreachable", ipip(near, far, 1, make([]byte, 10)), 3, 2, 0},
			{"fragmentation needed", withDF(t, ipip(near, beyond, 1, make([]byte, 1400))), 3, 4, 1300},
			{"time exceeded", withTTL(t, ipip(near, beyond, 1, nil), 1), 11, 0, 0},
		} {
			send(t, d, c.packet)
			b := nodes.Receive(t, d)
			outer, payload, err := ipv4.Parse(b.Bytes())
			require.NoError(t, err, c.name)
			assert.Equal(t, [3]any{ipv4.ProtocolICMP, far.As4(), near.As4()}, [3]any{outer.Protocol(), outer.Src(), outer.Dst()}, c.name)
			m, body, err := icmp.Parse(payload)
			require.NoError(t, err, c.name)
			assert.True(t, m.ChecksumOK(body), c.name)
			assert.Equal(t, [3]int{c.kind, c.code, c.info}, [3]int{int(m.Type()), int(m.Code()), int(m.NextHopMTU())}, c.name)
			quote := m.Quote(body)
			require.GreaterOrEqual(t, len(quote), 28, c.name)
			assert.Equal(t, c.packet[12:28], quote[12:28], "%s: addresses, and what is behind the header", c.name)
			b.Free()
		}
		// With a driver of its own, the far node does not refuse, and what is sent after errors goes out.
		other := nodes.Opened(t, two, rawip.New, rawip.Config{Local: far})
		want := ipip(near, far, 2, []byte("accepted"))
		send(t, d, want)
		b := nodes.Receive(t, other)
		assert.Equal(t, want, b.Bytes())
		b.Free()
		n, err := d.Queues()[0].Receive(make([]*packet.Buffer, 1), 20*time.Millisecond)
		assert.NoError(t, err)
		assert.Zero(t, n, "no ICMP error")
	})
}

func withDF(t *testing.T, p []byte) []byte {
	t.Helper()
	h, _, err := ipv4.Parse(p)
	require.NoError(t, err)
	require.NoError(t, h.SetFragment(ipv4.DontFragment, 0))
	return p
}

func withTTL(t *testing.T, p []byte, ttl uint8) []byte {
	t.Helper()
	h, _, err := ipv4.Parse(p)
	require.NoError(t, err)
	h.SetTTL(ttl)
	return p
}

// TestHeaderIsKept: what is on the wire is what was sent, whatever the protocol; an identification of 0 is the kernel's to choose.
func TestHeaderIsKept(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, two := nodes.New(t)
		d := nodes.Opened(t, one, rawip.New, rawip.Config{Local: near})
		wire := two.Socket(t, "dev1")
		full := withDF(t, ipip(near, far, 3, make([]byte, 1500-48)))
		for name, want := range map[string][]byte{
			"least": ipip(near, far, 1, nil),
			"full":  full,
			"ICMP": func() []byte {
				p, err := ipv4.Fields{TTL: 1, TOS: 0xc0, ID: 9, Protocol: ipv4.ProtocolICMP, Src: near.As4(), Dst: far.As4()}.Append(nil, 8)
				require.NoError(t, err)
				return append(p, 3, 1, 0xfc, 0xfe, 0, 0, 0, 0)
			}(),
		} {
			send(t, d, want)
			for {
				frame := wire.Receive(t).Bytes
				if binary.BigEndian.Uint16(frame[12:]) == ethernet.TypeIPv4 {
					assert.Equal(t, want, frame[ethernet.HeaderLen:][:len(want)], name)
					break
				}
			}
		}
		for name, b := range map[string]*packet.Buffer{
			"empty":         packet.New(10),
			"cut short":     packet.Of(full[:100]),
			"no version 4":  packet.Of(append([]byte{0x65}, full[1:]...)),
			"a bad length":  packet.Of(append([]byte{0x44}, full[1:]...)),
			"a superframe?": superframe(full),
		} {
			before := d.Stats()
			assert.Error(t, d.Queues()[0].Send([]*packet.Buffer{b}), name)
			assert.EqualValues(t, 1, d.Stats().TxErrors-before.TxErrors, name)
		}
	})
}

func superframe(p []byte) *packet.Buffer {
	b := packet.Of(p)
	b.SetGSO(packet.GSOTCP4, 100)
	return b
}

// TestDeviceGoneAndBack: the driver goes on when its device, or the address, is there again.
func TestDeviceGoneAndBack(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, config := range []rawip.Config{{Local: near}, {Device: "dev0"}, {}} {
			one, two := nodes.New(t)
			d := nodes.Opened(t, one, rawip.New, config)
			other := nodes.Opened(t, two, rawip.New, rawip.Config{Local: far})
			pass := func(from, to driver.Driver, p []byte) {
				t.Helper()
				batch := make([]*packet.Buffer, 1)
				for end := time.Now().Add(nodes.Patience); ; {
					require.True(t, time.Now().Before(end), "no packet arrives; %+v, %+v", from.Stats(), to.Stats())
					_ = from.Queues()[0].Send([]*packet.Buffer{packet.Of(p)})
					n, err := to.Queues()[0].Receive(batch, 10*time.Millisecond)
					if err == nil && n == 1 {
						batch[0].Free()
						return
					}
				}
			}
			both := func() {
				t.Helper()
				pass(d, other, ipip(near, far, 1, nil))
				pass(other, d, ipip(far, near, 1, nil))
			}
			both()
			one.IP(t, "link delete dev0")
			_ = d.Queues()[0].Send([]*packet.Buffer{packet.Of(ipip(near, far, 1, nil))})
			nodes.Connect(t, one, two)
			both()
		}
	})
}
