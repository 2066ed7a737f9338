// What the hash depends on, and what it must not: frames of one flow are made different in every way that a network makes
// them different, and must hash alike.
package flow_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/ipv4"
)

// hashers are a few that most properties are checked with; the zero Hasher is one of them.
func hashers() map[string]flow.Hasher {
	return map[string]flow.Hasher{
		"zero": {}, "seed 0": flow.NewHasher(0), "seed 1": flow.NewHasher(1), "seed 2^64-1": flow.NewHasher(1<<64 - 1),
	}
}

// tuple is what an IPv4 flow's hash is made of.
type tuple struct {
	src, dst         uint32
	srcPort, dstPort uint16
	protocol         uint8
}

// packet returns the plainest packet of the flow: no options, and ports as its only payload.
func (f tuple) packet() []byte {
	p := make([]byte, 24)
	p[0], p[9] = 0x45, f.protocol
	binary.BigEndian.PutUint32(p[12:], f.src)
	binary.BigEndian.PutUint32(p[16:], f.dst)
	binary.BigEndian.PutUint16(p[20:], f.srcPort)
	binary.BigEndian.PutUint16(p[22:], f.dstPort)
	return p
}

var (
	tcpFlow  = tuple{0x0af4010c, 0x0af4020e, 40000, 80, 6}
	udpFlow  = tuple{0x0af4010c, 0x0af4020e, 40000, 53, 17}
	icmpFlow = tuple{0x0af4010c, 0x0af4020e, 0, 0, 1}
)

// ipv4Packet returns a packet of the flow with the given header fields, and random data behind its ports.
func ipv4Packet(t testing.TB, f tuple, h ipv4.Fields, data []byte) []byte {
	t.Helper()
	plain := f.packet()
	h.Protocol, h.Src, h.Dst = f.protocol, [4]byte(plain[12:]), [4]byte(plain[16:])
	payload := append(plain[20:len(plain):len(plain)], data...)
	if h.FragmentOffset != 0 {
		payload = data
	}
	p, err := h.Append(nil, len(payload))
	require.NoError(t, err)
	return append(p, payload...)
}

// frame puts a packet behind an Ethernet header with the given tags.
func frame(t testing.TB, packet []byte, etherType uint16, tags ...ethernet.Tag) []byte {
	t.Helper()
	f := ethernet.Fields{
		Dst: ethernet.MustParseMAC("b6:72:ae:36:7b:6c"), Src: ethernet.MustParseMAC("fe:90:c4:18:69:a7"),
		Tags: tags, EtherType: etherType,
	}
	b, err := f.Append(nil)
	require.NoError(t, err)
	return append(b, packet...)
}

// everyTagging returns tag lists: none, each kind, and more than any device adds.
func everyTagging() [][]ethernet.Tag {
	c, s := ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 0x0064}, ethernet.Tag{TPID: ethernet.TypeQinQ, TCI: 0xe0c8}
	return [][]ethernet.Tag{nil, {c}, {s}, {s, c}, {c, c}, {c, s}, {s, s, c}, {s, s, c, c, c, c, c, c}}
}

// TestSameFlow: everything that differs between the packets of a flow.
func TestSameFlow(t *testing.T) {
	alert := []byte{148, 4, 0, 0}
	for name, h := range hashers() {
		for _, f := range []tuple{tcpFlow, udpFlow, icmpFlow} {
			want := h.IPv4(f.packet())
			for variant, fields := range map[string]ipv4.Fields{
				"plain":                  {},
				"TOS, TTL and id":        {TOS: 0xb9, TTL: 3, ID: 0xbeef},
				"don't fragment":         {Flags: ipv4.DontFragment},
				"reserved flag":          {Flags: ipv4.ReservedFlag},
				"router alert":           {Options: alert},
				"all options there are":  {Options: make([]byte, 40)},
				"a TOS of 0x45":          {TOS: 0x45, Options: alert},
				"options and everything": {TOS: 1, TTL: 255, ID: 7, Flags: ipv4.DontFragment, Options: make([]byte, 12)},
			} {
				for _, data := range [][]byte{nil, []byte("x"), []byte("GET / HTTP/1.1"), make([]byte, 1400)} {
					p := ipv4Packet(t, f, fields, data)
					require.Equal(t, want, h.IPv4(p), "%s: protocol %d: %s", name, f.protocol, variant)
					for _, tags := range everyTagging() {
						require.Equal(t, want, h.Frame(frame(t, p, ethernet.TypeIPv4, tags...)),
							"%s: protocol %d: %s behind %v", name, f.protocol, variant, tags)
					}
				}
			}
		}
	}
}

// TestMACsDoNotCount: a flow stays one behind every next hop.
func TestMACsDoNotCount(t *testing.T) {
	h := flow.NewHasher(1)
	b := frame(t, tcpFlow.packet(), ethernet.TypeIPv4)
	want := h.Frame(b)
	for i := range 12 {
		b[i] ^= 0xff
		require.Equal(t, want, h.Frame(b))
	}
}

// TestFragments: all fragments of a datagram hash alike, whatever they carry where the ports would be.
func TestFragments(t *testing.T) {
	const seed = 4
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for name, h := range hashers() {
		for _, f := range []tuple{tcpFlow, udpFlow, icmpFlow, {0, 0, 1, 2, 132}, {1, 2, 3, 4, 0}} {
			first := ipv4Packet(t, f, ipv4.Fields{ID: 9, Flags: ipv4.MoreFragments, Options: []byte{148, 4, 0, 0}}, make([]byte, 36))
			want := h.IPv4(first)
			for length := range 12 { // the last fragment may have fewer bytes than ports take
				for _, offset := range []uint16{8, 40, 1480, 65528} {
					for _, flags := range []ipv4.Flags{0, ipv4.MoreFragments, ipv4.DontFragment, ipv4.ReservedFlag} {
						data := make([]byte, length)
						for i := range data {
							data[i] = byte(rng.Uint32())
						}
						p := ipv4Packet(t, f, ipv4.Fields{ID: 9, Flags: flags, FragmentOffset: offset, TTL: 3}, data)
						require.Equal(t, want, h.IPv4(p), "%s: protocol %d: %d bytes at %d", name, f.protocol, length, offset)
						require.Equal(t, want, h.Frame(frame(t, p, ethernet.TypeIPv4)))
						require.Equal(t, want, h.Frame(frame(t, p, ethernet.TypeIPv4, everyTagging()[3]...)))
					}
				}
			}
			bare := ipv4Packet(t, f, ipv4.Fields{Flags: ipv4.MoreFragments}, nil)[:20]
			require.Equal(t, want, h.IPv4(bare), "a first fragment cut behind its header")
		}
	}
}

// TestFragmentsOfDifferentDatagrams: fragments still differ by addresses, so they spread over hosts.
func TestFragmentsOfDifferentDatagrams(t *testing.T) {
	h := flow.NewHasher(1)
	seen := map[uint32]string{}
	for _, f := range []tuple{{1, 2, 0, 0, 6}, {2, 1, 0, 0, 6}, {1, 3, 0, 0, 6}, {3, 2, 0, 0, 6}} {
		hash := h.IPv4(ipv4Packet(t, f, ipv4.Fields{FragmentOffset: 8}, []byte("data")))
		assert.Empty(t, seen[hash], "%v", f)
		seen[hash] = fmt.Sprint(f)
	}
}

// TestDifferentFlows changes each part of the tuple alone.
func TestDifferentFlows(t *testing.T) {
	for name, h := range hashers() {
		seen := map[uint32]tuple{}
		for _, f := range []tuple{
			tcpFlow, udpFlow, icmpFlow,
			{tcpFlow.dst, tcpFlow.src, 80, 40000, 6}, // the other direction
			{tcpFlow.dst, tcpFlow.src, 40000, 80, 6},
			{tcpFlow.src, tcpFlow.dst, 80, 40000, 6},
			{tcpFlow.src + 1, tcpFlow.dst, 40000, 80, 6},
			{tcpFlow.src, tcpFlow.dst + 1, 40000, 80, 6},
			{tcpFlow.src, tcpFlow.dst, 40001, 80, 6},
			{tcpFlow.src, tcpFlow.dst, 40000, 81, 6},
			{},
		} {
			hash := h.IPv4(f.packet())
			if other, ok := seen[hash]; ok {
				t.Errorf("%s: %v and %v hash alike", name, f, other)
			}
			seen[hash] = f
		}
	}
}

func TestPortsOnlyWhereThereAreSome(t *testing.T) {
	withPorts := map[uint8]bool{6: true, 17: true, 33: true, 50: true, 132: true, 136: true}
	h := flow.NewHasher(1)
	for protocol := range 256 {
		a, b := tcpFlow, tcpFlow
		a.protocol, b.protocol = uint8(protocol), uint8(protocol)
		b.srcPort++
		differ := h.IPv4(a.packet()) != h.IPv4(b.packet())
		assert.Equal(t, withPorts[uint8(protocol)], differ, "protocol %d", protocol)
	}
}

func TestSeeds(t *testing.T) {
	p := tcpFlow.packet()
	assert.Equal(t, flow.NewHasher(7), flow.NewHasher(7))
	assert.Equal(t, flow.NewHasher(7).IPv4(p), flow.NewHasher(7).IPv4(p))
	seen := map[uint32]bool{flow.Hasher{}.IPv4(p): true}
	const seeds = 4096
	for seed := range uint64(seeds) {
		seen[flow.NewHasher(seed).IPv4(p)] = true
		seen[flow.NewHasher(seed<<52).IPv4(p)] = true
	}
	assert.Greater(t, len(seen), 2*seeds-10, "seeds hardly matter")

	// Flows that share a hash under one seed must not do so under every other, or they would be easy to steer.
	const seed = 8
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	a, b := flow.NewHasher(1), flow.NewHasher(2)
	collisions := 0
	byHash := map[uint32]tuple{}
	for range 1 << 18 {
		f := tuple{rng.Uint32(), rng.Uint32(), uint16(rng.Uint32()), uint16(rng.Uint32()), 6}
		hash := a.IPv4(f.packet())
		if other, ok := byHash[hash]; ok {
			collisions++
			assert.NotEqual(t, b.IPv4(f.packet()), b.IPv4(other.packet()), "%v and %v", f, other)
		}
		byHash[hash] = f
	}
	t.Logf("%d collisions among 2^18 flows", collisions)
	assert.Positive(t, collisions, "the check above checked nothing")
}

func TestZeroHasher(t *testing.T) {
	assert.True(t, flow.Hasher{}.IsZero())
	assert.False(t, flow.NewHasher(0).IsZero(), "a seed of 0 is a seed")
	a, b := flow.RandomHasher(), flow.RandomHasher()
	assert.False(t, a.IsZero())
	assert.NotEqual(t, a, b, "128 random bits came out alike twice")
}

// TestPinned: equal seeds give equal hashes in every process and version, so that a capture and a replay, or two nodes
// that share a seed, agree.
func TestPinned(t *testing.T) {
	arp := frame(t, make([]byte, 28), ethernet.TypeARP)
	for _, c := range []struct {
		name           string
		hash           func(flow.Hasher) uint32
		zero, one, two uint32
	}{
		{"TCP", func(h flow.Hasher) uint32 { return h.IPv4(tcpFlow.packet()) }, 0x13f148be, 0xeaad27e6, 0xd35f2fb5},
		{"UDP", func(h flow.Hasher) uint32 { return h.IPv4(udpFlow.packet()) }, 0x342d0cf8, 0x39538380, 0xfd743a82},
		{"ICMP", func(h flow.Hasher) uint32 { return h.IPv4(icmpFlow.packet()) }, 0x16bd141d, 0x6fb77a72, 0x04a2a452},
		{"IPv6", func(h flow.Hasher) uint32 { return h.IPv6(ipv6Packet(0, 17, 1, 2, ports)) }, 0x4fd0545b, 0xd7abdb00, 0xce5522ab},
		{"ARP", func(h flow.Hasher) uint32 { return h.Frame(arp) }, 0x12dad7e5, 0x2bc4513f, 0xe3786e76},
		{"nothing", func(h flow.Hasher) uint32 { return h.Frame(nil) }, 0, 0xb556c9bd, 0xb8a19e33},
	} {
		got := []uint32{c.hash(flow.Hasher{}), c.hash(flow.NewHasher(1)), c.hash(flow.NewHasher(2))}
		assert.Equal(t, []uint32{c.zero, c.one, c.two}, got, "%s: %#08x", c.name, got)
	}
}

// TestWords: the three words of a packet without options hash like the packet.
func TestWords(t *testing.T) {
	const seed = 6
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for name, h := range hashers() {
		for range 100_000 {
			p := make([]byte, 24)
			for i := 0; i < len(p); i += 8 {
				binary.BigEndian.PutUint64(p[i:], rng.Uint64())
			}
			p[0] = 0x45
			if rng.IntN(2) == 0 {
				p[6], p[7] = p[6]&0xc0, 0 // no fragment
			}
			if rng.IntN(2) == 0 {
				p[9] = 17
			}
			w := [3]uint64{binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint64(p[16:])}
			require.Equal(t, h.IPv4(p), h.Words(w[0], w[1], w[2]), "%s: % x", name, p)
		}
	}
}

func ipv6Packet(label uint32, next byte, src, dst uint64, ports string) []byte {
	p := make([]byte, 40, 64)
	binary.BigEndian.PutUint32(p, 6<<28|label)
	p[4], p[5], p[6], p[7] = 0, byte(len(ports)), next, 64
	binary.BigEndian.PutUint64(p[8:], 0xfd00<<48)
	binary.BigEndian.PutUint64(p[16:], src)
	binary.BigEndian.PutUint64(p[24:], 0xfd00<<48)
	binary.BigEndian.PutUint64(p[32:], dst)
	return append(p, ports...)
}

func TestIPv6(t *testing.T) {
	const udp, icmp6, fragment = 17, 58, 44
	for name, h := range hashers() {
		base := h.IPv6(ipv6Packet(0, udp, 1, 2, ports+"data"))
		for what, p := range map[string][]byte{
			"traffic class, hop limit, length": func() []byte {
				p := ipv6Packet(0, udp, 1, 2, ports+"data")
				p[0], p[1], p[5], p[7] = 0x6b, 0xf0, 99, 1
				return p
			}(),
			"other data": ipv6Packet(0, udp, 1, 2, ports+"more"),
			"no data":    ipv6Packet(0, udp, 1, 2, ports),
		} {
			assert.Equal(t, base, h.IPv6(p), "%s: %s", name, what)
			for _, tags := range everyTagging() {
				assert.Equal(t, base, h.Frame(frame(t, p, ethernet.TypeIPv6, tags...)), "%s: %s behind %v", name, what, tags)
			}
		}
		for what, p := range map[string][]byte{
			"other source":         ipv6Packet(0, udp, 3, 2, ports),
			"other destination":    ipv6Packet(0, udp, 1, 3, ports),
			"the other direction":  ipv6Packet(0, udp, 2, 1, ports),
			"other ports":          ipv6Packet(0, udp, 1, 2, "\x9c\x40\x00\x51"),
			"other next header":    ipv6Packet(0, 6, 1, 2, ports),
			"a flow label":         ipv6Packet(1, udp, 1, 2, ports),
			"the last flow label":  ipv6Packet(0xfffff, udp, 1, 2, ports),
			"a byte too few ports": ipv6Packet(0, udp, 1, 2, ports[:3]),
		} {
			assert.NotEqual(t, base, h.IPv6(p), "%s: %s", name, what)
		}
		assert.Equal(t, h.IPv6(ipv6Packet(5, udp, 1, 2, ports)), h.IPv6(ipv6Packet(5, udp, 1, 2, "\x00\x01\x00\x02")),
			"%s: with a flow label, ports do not count (RFC 6438)", name)
		for _, next := range []byte{fragment, icmp6, 0, 59} {
			assert.Equal(t, h.IPv6(ipv6Packet(0, next, 1, 2, ports)), h.IPv6(ipv6Packet(0, next, 1, 2, "zzzzzz")),
				"%s: next header %d has no ports", name, next)
		}
		assert.NotEqual(t, h.IPv6(ipv6Packet(0, icmp6, 1, 2, "")), h.IPv6(ipv6Packet(0, icmp6, 1, 3, "")), "%s: nothing but a header", name)
		assert.NotEqual(t, h.IPv6(ipv6Packet(0, icmp6, 1, 2, "")), h.IPv6(ipv6Packet(0, fragment, 1, 2, "")), name)
	}
}

// TestOtherFrames: what is no IP packet is told apart by addresses and EtherType.
func TestOtherFrames(t *testing.T) {
	h := flow.NewHasher(1)
	b := frame(t, []byte("anything"), 0x88b5)
	want := h.Frame(b)
	for _, payload := range [][]byte{[]byte("something else"), tcpFlow.packet(), ipv6Packet(0, 17, 1, 2, ports), make([]byte, 64)} {
		assert.Equal(t, want, h.Frame(frame(t, payload, 0x88b5)), "the payload does not count: % x", payload)
	}
	for i := range ethernet.HeaderLen {
		b[i] ^= 1
		assert.NotEqual(t, want, h.Frame(b), "byte %d does not count", i)
		b[i] ^= 1
	}
}

// TestEveryLength cuts frames of every kind at every length: nothing may panic, nothing but the frame may be read, and
// from the ports on the hash is that of the flow.
func TestEveryLength(t *testing.T) {
	type cut struct {
		name  string
		frame []byte
		whole int // from this length on it hashes like the whole
	}
	var cuts []cut
	for i, tags := range everyTagging() {
		head := ethernet.HeaderLen + ethernet.TagLen*len(tags)
		cuts = append(
			cuts,
			cut{fmt.Sprintf("TCP, tags %d", i), frame(t, ipv4Packet(t, tcpFlow, ipv4.Fields{}, make([]byte, 20)), ethernet.TypeIPv4, tags...), head + 24},
			cut{
				fmt.Sprintf("UDP with options, tags %d", i),
				frame(t, ipv4Packet(t, udpFlow, ipv4.Fields{Options: make([]byte, 40)}, make([]byte, 20)), ethernet.TypeIPv4, tags...), head + 64,
			},
			cut{fmt.Sprintf("ICMP, tags %d", i), frame(t, ipv4Packet(t, icmpFlow, ipv4.Fields{}, make([]byte, 20)), ethernet.TypeIPv4, tags...), head + 20},
			cut{
				fmt.Sprintf("fragment, tags %d", i),
				frame(t, ipv4Packet(t, udpFlow, ipv4.Fields{FragmentOffset: 8}, make([]byte, 20)), ethernet.TypeIPv4, tags...), head + 20,
			},
			cut{fmt.Sprintf("IPv6, tags %d", i), frame(t, ipv6Packet(0, 17, 1, 2, ports+"data"), ethernet.TypeIPv6, tags...), head + 44},
			cut{fmt.Sprintf("ARP, tags %d", i), frame(t, make([]byte, 28), ethernet.TypeARP, tags...), head},
		)
	}
	for name, h := range hashers() {
		for _, c := range cuts {
			want := h.Frame(c.frame)
			for n := range len(c.frame) + 1 {
				exact := append(make([]byte, 0, n), c.frame[:n]...)
				got := h.Frame(exact)
				require.Equal(t, got, h.Frame(c.frame[:n]), "%s: %s: bytes behind %d of %d count", name, c.name, n, len(c.frame))
				if n >= c.whole {
					require.Equal(t, want, got, "%s: %s cut to %d of %d bytes", name, c.name, n, len(c.frame))
				}
				_, _ = h.IPv4(exact), h.IPv6(exact)
			}
		}
	}
}

// TestHeaderLengthLies: a header length below 20 bytes counts as 20, one beyond the packet finds no ports.
func TestHeaderLengthLies(t *testing.T) {
	h := flow.NewHasher(1)
	p := tcpFlow.packet()
	want := h.IPv4(p)
	for ihl := range byte(5) {
		p[0] = 0x40 | ihl
		assert.Equal(t, want, h.IPv4(p), "IHL %d", ihl)
	}
	none := h.IPv4(tuple{tcpFlow.src, tcpFlow.dst, 0, 0, 6}.packet())
	for ihl := byte(6); ihl < 16; ihl++ {
		p[0] = 0x40 | ihl
		assert.Equal(t, none, h.IPv4(p), "IHL %d", ihl)
	}
}

func TestNetwork(t *testing.T) {
	for i, tags := range everyTagging() {
		b := frame(t, []byte("network header"), 0x88b5, tags...)
		head := ethernet.HeaderLen + ethernet.TagLen*len(tags)
		at, etherType := flow.Network(b)
		assert.Equal(t, []any{head, uint16(0x88b5)}, []any{at, etherType}, "tags %d", i)
		at, etherType = flow.Network(b[:head])
		assert.Equal(t, []any{head, uint16(0x88b5)}, []any{at, etherType}, "tags %d, nothing behind", i)
		for n := range head {
			at, etherType = flow.Network(b[:n])
			assert.Equal(t, []any{0, uint16(0)}, []any{at, etherType}, "tags %d, cut to %d", i, n)
		}
	}
}

func TestHashAllocatesNothing(t *testing.T) {
	h := flow.NewHasher(1)
	frames := [][]byte{
		nil,
		{1, 2, 3},
		frame(t, tcpFlow.packet(), ethernet.TypeIPv4),
		frame(t, tcpFlow.packet()[:10], ethernet.TypeIPv4),
		frame(t, tcpFlow.packet(), ethernet.TypeIPv4, everyTagging()[3]...),
		frame(t, ipv4Packet(t, tcpFlow, ipv4.Fields{Options: make([]byte, 8)}, nil), ethernet.TypeIPv4),
		frame(t, ipv6Packet(0, 6, 1, 2, ports), ethernet.TypeIPv6),
		frame(t, ipv6Packet(0, 6, 1, 2, ports)[:20], ethernet.TypeIPv6),
		frame(t, nil, ethernet.TypeARP),
	}
	var sum uint32
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		for _, f := range frames {
			sum += h.Frame(f) + h.IPv4(f) + h.IPv6(f)
		}
		sum += flow.NewHasher(uint64(sum)).Frame(frames[2])
	}))
	assert.NotZero(t, sum)
}
