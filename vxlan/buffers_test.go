// What both directions do with a buffer beside its bytes: headroom, metadata, the memory around the packet; and with many
// buffers at once.
package vxlan_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

var vlanTag = ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 0x2005}

// inMemory returns a buffer that holds frame with the given headroom, and the memory that it lies in.
func inMemory(t testing.TB, headroom int, frame []byte) (*packet.Buffer, []byte) {
	t.Helper()
	memory := bytes.Repeat([]byte{0xa5}, headroom+len(frame)+8)
	c := packet.PoolConfig{Buffers: 1, Size: len(memory), Headroom: headroom, Memory: memory}
	if headroom == 0 {
		c.Headroom = -1 // 0 stands for the default
	}
	pool, err := packet.NewPool(c)
	require.NoError(t, err)
	b := pool.Get()
	require.NoError(t, b.SetBytes(frame))
	return b, memory
}

// TestEveryHeadroom: one byte too little is an error that touches nothing, and just enough is enough.
func TestEveryHeadroom(t *testing.T) {
	raw := config()
	raw.Raw, raw.SrcMAC, raw.DstMAC = true, ethernet.MAC{}, ethernet.MAC{}
	inherit := config()
	inherit.InheritTOS, inherit.UDPChecksum = true, true
	for _, c := range []struct {
		name   string
		config vxlan.EncapConfig
		inner  []byte
		tag    ethernet.Tag
		need   int
	}{
		{"plain", config(), plainInner(t), ethernet.Tag{}, 50},
		{"no IPv4 inside", config(), plainInner(t)[:14], ethernet.Tag{}, 50},
		{"everything inherited", inherit, plainInner(t), ethernet.Tag{}, 50},
		{"raw", raw, plainInner(t), ethernet.Tag{}, 36},
		{"tag beside the frame", config(), plainInner(t), vlanTag, 54},
		{"tag beside the frame, raw", raw, plainInner(t), vlanTag, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := encapsulator(t, c.config)
			for headroom := range c.need + 2 {
				b, memory := inMemory(t, headroom, c.inner)
				b.SetVLAN(c.tag)
				b.SetHash(0xfeedbeef)
				b.SetGSO(packet.GSOTCP4, 1410)
				b.SetChecksumVerified()
				before, memoryBefore := stateOf(b), bytes.Clone(memory)
				err := e.Encapsulate(b, 1)
				if headroom >= c.need {
					require.NoError(t, err, "headroom %d", headroom)
					require.Equal(t, headroom-c.need, b.Headroom())
					continue
				}
				require.ErrorIs(t, err, packet.ErrHeadroom, "headroom %d", headroom)
				require.Equal(t, before, stateOf(b), "headroom %d", headroom)
				require.Equal(t, memoryBefore, memory, "headroom %d", headroom)
			}
		})
	}
}

// TestEncapsulateKeepsMetadata: what is known of the inner packet stays known, the tag goes into the frame.
func TestEncapsulateKeepsMetadata(t *testing.T) {
	for _, inner := range [][]byte{plainInner(t), plainInner(t)[:14]} {
		b := packet.Of(inner)
		b.SetVLAN(vlanTag)
		b.SetGSO(packet.GSOUDP4, 1400)
		require.NoError(t, b.SetChecksumPartial(10, 2))
		require.NoError(t, encapsulator(t, config()).Encapsulate(b, 1))
		assert.False(t, b.HasVLAN())
		gso, size := b.GSO()
		assert.Equal(t, packet.GSOUDP4, gso)
		assert.Equal(t, uint16(1400), size)
		start, field, ok := b.PartialChecksum()
		assert.Equal(t, []any{10 + ethernet.TagLen + vxlan.Overhead, 2, true}, []any{start, field, ok}, "it moved with the frame")
		assert.NotZero(t, b.Hash())
	}
}

// TestDecapsulateSuperframe: how to cut it is still to be known.
func TestDecapsulateSuperframe(t *testing.T) {
	b := packet.Of(outerOf(t, plainInner(t)))
	b.SetGSO(packet.GSOTCP4, 1410)
	_, err := decapsulator(t, flannel()).Decapsulate(b)
	require.NoError(t, err)
	gso, size := b.GSO()
	assert.Equal(t, packet.GSOTCP4, gso)
	assert.Equal(t, uint16(1410), size)
}

// TestReuse: a long packet leaves nothing behind in the buffer that a short one could show.
func TestReuse(t *testing.T) {
	long := innerIPv4(t, ipv4.Fields{TTL: 9, Protocol: udp.Protocol}, datagram(t, 1, bytes.Repeat([]byte("long"), 300)))
	short := plainInner(t)
	e, d := encapsulator(t, config()), decapsulator(t, flannel())
	b := packet.New(2048)
	for _, inner := range [][]byte{long, short, short[:14], long} {
		require.NoError(t, b.SetBytes(inner))
		require.NoError(t, e.EncapsulateFrom(b, 3, 40000))
		require.Equal(t, twin(t, config(), inner, 3, 40000), b.Bytes())
		if len(inner) == ethernet.HeaderLen {
			continue // announces an IPv4 packet that it has not got
		}
		_, err := d.Decapsulate(b)
		require.NoError(t, err)
		require.Equal(t, inner, b.Bytes())
	}
}

// TestChecksumFromHeadersOfEveryKind_1 computes the outer UDP checksum of random inner packets three times: over everything,
// and from the headers of packets whose transport checksum was verified, or is yet to be computed.
func TestChecksumFromHeadersOfEveryKind_1(t *testing.T) {
	const seed, rounds = 9, 5000
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := config()
	c.UDPChecksum = true
	rawConfig := c
	rawConfig.Raw, rawConfig.SrcMAC, rawConfig.DstMAC = true, ethernet.MAC{}, ethernet.MAC{}
	for i := range rounds {
		f := ipv4.Fields{
			TOS: uint8(rng.Uint32()), ID: uint16(rng.Uint32()), TTL: uint8(rng.Uint32()),
			Options: make([]byte, 4*rng.IntN(11)), Src: pod1, Dst: pod2,
		}
		data := make([]byte, rng.IntN(100)*rng.IntN(15))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		segment, field := datagram(t, uint16(rng.Uint32()), data), 6
		f.Protocol = udp.Protocol
		if rng.IntN(2) == 0 {
			segment, field = tcpSegment(data), 16
			f.Protocol = tcp.Protocol
		}
		inner := innerIPv4(t, f, segment)
		var tags []ethernet.Tag
		for range rng.IntN(3) {
			tags = append(tags, vlanTag)
		}
		config := []vxlan.EncapConfig{c, rawConfig}[i%2]
		e := encapsulator(t, config)
		want := twin(t, config, withTags(t, inner, tags), 7, 40000)

		for _, state := range []packet.ChecksumState{packet.ChecksumUnknown, packet.ChecksumVerified, packet.ChecksumPartial} {
			b := packet.Of(withTags(t, inner, tags[min(len(tags), 1):]))
			if len(tags) > 0 { // the outermost travels beside the frame
				b.SetVLAN(tags[0])
			}
			start := b.Len() - len(segment)
			switch state {
			case packet.ChecksumVerified:
				b.SetChecksumVerified()
			case packet.ChecksumPartial:
				binary.BigEndian.PutUint16(b.Bytes()[start+field:], checksum.Sum(pseudoHeader(f.Protocol, len(segment))))
				require.NoError(t, b.SetChecksumPartial(start, field))
			}
			require.NoError(t, e.EncapsulateFrom(b, 7, 40000))
			require.Equal(t, state, b.Checksum())
			require.NoError(t, b.CompleteChecksum())
			require.Equal(t, want, b.Bytes(), "round %d, state %d, protocol %d, %d tags", i, state, f.Protocol, len(tags))
		}
	}
}

// The pods that innerIPv4 and datagram have as their ends.
var pod1, pod2 = [4]byte{10, 244, 1, 12}, [4]byte{10, 244, 2, 14}

// pseudoHeader returns what a transport checksum between the pods covers beside the segment.
func pseudoHeader(protocol uint8, length int) []byte {
	p := append(append([]byte(nil), pod1[:]...), pod2[:]...)
	return append(p, 0, protocol, byte(length>>8), byte(length))
}

// tcpSegment returns a segment between the pods with a right checksum.
func tcpSegment(data []byte) []byte {
	s := append([]byte{0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, tcp.HeaderLen / 4 << 4, byte(tcp.ACK), 1, 0, 0, 0, 0, 0}, data...)
	binary.BigEndian.PutUint16(s[16:], checksum.Of(append(pseudoHeader(tcp.Protocol, len(s)), s...)))
	return s
}

// withTags returns the frame with tags in it, outermost first.
func withTags(t testing.TB, frame []byte, tags []ethernet.Tag) []byte {
	t.Helper()
	eth, payload, err := ethernet.Parse(frame)
	require.NoError(t, err)
	f := ethernet.FieldsOf(eth, nil)
	f.Tags = tags
	b, err := f.Append(nil)
	require.NoError(t, err)
	return append(b, payload...)
}

// TestMarksOfEveryKind_6: the mark of IPv6 packets, and of packets behind tags, follows the same rule as that of plain IPv4.
func TestMarksOfEveryKind_6(t *testing.T) {
	for outer := range ipv4.ECN(4) {
		for inner := range ipv4.ECN(4) {
			v4 := innerIPv4(t, ipv4.Fields{TOS: 0xb8 | uint8(inner), TTL: 3}, nil)
			v6 := bytes.Clone(v4)
			v6 = append(v6[:12], 0x86, 0xdd, 0x6b, 0x80|uint8(inner)<<4, 0xab, 0xcd)
			v6 = append(v6, make([]byte, 36)...)
			want, wantErr := tunnel.DecapECN(outer, inner)
			for _, c := range []struct {
				name string
				in   []byte
				at   int // of the first byte of the IP header
			}{
				{"IPv4", v4, 14},
				{"IPv6", v6, 14},
				{"tagged IPv4", withTags(t, v4, []ethernet.Tag{vlanTag}), 18},
				{"tagged IPv6", withTags(t, v6, []ethernet.Tag{vlanTag}), 18},
				{"IPv4 behind three tags", withTags(t, v4, []ethernet.Tag{vlanTag, vlanTag, vlanTag}), 26},
			} {
				name := fmt.Sprintf("%s, outer %02b, inner %02b", c.name, outer, inner)
				p := outerOf(t, c.in)
				p[atIP+1] = uint8(outer)
				b := packet.Of(fixIP(t, p))
				info, err := decapsulator(t, flannel()).Decapsulate(b)
				require.ErrorIs(t, err, wantErr, name)
				if err != nil {
					require.Equal(t, p, b.Bytes(), name)
					require.Zero(t, info, name)
					continue
				}
				marked := bytes.Clone(c.in)
				if c.at == len(c.in)-ipv4.HeaderLen {
					ip, _, err := ipv4.Parse(marked[c.at:])
					require.NoError(t, err)
					ip.SetECN(want)
				} else {
					marked[c.at+1] = marked[c.at+1]&^0x30 | uint8(want)<<4
				}
				require.Equal(t, marked, b.Bytes(), name)
			}
		}
	}
}

// TestPeersAndVNIs_7: each list by itself, and both.
func TestPeersAndVNIs_7(t *testing.T) {
	const vni = 1
	other := netip.MustParseAddr("172.16.100.103")
	usual := outerOf(t, plainInner(t))
	unusual := bytes.Join([][]byte{usual[:12], {0x81, 0, 0, 5}, usual[12:]}, nil) // takes the slower way
	for _, c := range []struct {
		name  string
		peers []netip.Addr
		vnis  []uint32
		err   error
	}{
		{"anybody, anything", nil, nil, nil},
		{"the peer", []netip.Addr{nodeA}, nil, nil},
		{"one of the peers", []netip.Addr{other, nodeA}, nil, nil},
		{"another peer", []netip.Addr{other}, nil, vxlan.ErrPeer},
		{"the VNI", nil, []uint32{vni}, nil},
		{"one of the VNIs", nil, []uint32{0, vni, vxlan.MaxVNI}, nil},
		{"another VNI", nil, []uint32{vxlan.MaxVNI}, vxlan.ErrUnknownVNI},
		{"VNI 0 alone", nil, []uint32{0}, vxlan.ErrUnknownVNI},
		{"the peer, another VNI", []netip.Addr{nodeA}, []uint32{2}, vxlan.ErrUnknownVNI},
		{"another peer, the VNI", []netip.Addr{other}, []uint32{vni}, vxlan.ErrPeer},
		{"the peer and the VNI", []netip.Addr{nodeA}, []uint32{vni}, nil},
	} {
		for way, p := range map[string][]byte{"usual": usual, "unusual": unusual} {
			d := decapsulator(t, vxlan.DecapConfig{DstPort: vxlan.PortLinux, Peers: c.peers, VNIs: c.vnis})
			b := packet.Of(p)
			info, err := d.Decapsulate(b)
			require.ErrorIs(t, err, c.err, "%s, %s", c.name, way)
			if c.err != nil {
				require.Equal(t, p, b.Bytes(), "%s, %s", c.name, way)
				require.Zero(t, info, "%s, %s", c.name, way)
			}
		}
	}
}

// TestDefaultPort: without a port it is IANA's, in both directions.
func TestDefaultPort(t *testing.T) {
	c := config()
	c.DstPort = 0
	b := packet.Of(plainInner(t))
	require.NoError(t, encapsulator(t, c).Encapsulate(b, 1))
	p := bytes.Clone(b.Bytes())
	u, _, err := udp.Parse(p[atUDP:])
	require.NoError(t, err)
	assert.Equal(t, vxlan.Port, u.DstPort())
	_, err = decapsulator(t, vxlan.DecapConfig{}).Decapsulate(b)
	require.NoError(t, err)
	_, err = decapsulator(t, flannel()).Decapsulate(packet.Of(p))
	require.ErrorIs(t, err, vxlan.ErrPort)
}

// TestRandomHasher_3: without a hasher in the configuration nobody can tell which flow gets which port.
func TestRandomHasher_3(t *testing.T) {
	c := config()
	c.Hasher = flow.Hasher{}
	one, two := encapsulator(t, c), encapsulator(t, c)
	same := 0
	for i := range uint16(64) {
		inner := innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, datagram(t, i, nil))
		port := one.SourcePort(packet.Of(inner))
		assert.Equal(t, port, one.SourcePort(packet.Of(inner)), "a flow keeps its port")
		if port == two.SourcePort(packet.Of(inner)) {
			same++
		}
	}
	assert.Less(t, same, 8, "of 64 flows through two tunnels, of about 28000 ports")
}

// TestConcurrentUse shares a tunnel between goroutines, each with a buffer of its own; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	c := config()
	c.UDPChecksum = true
	e, d := encapsulator(t, c), decapsulator(t, vxlan.DecapConfig{
		DstPort: vxlan.PortLinux, Local: nodeB, Peers: []netip.Addr{nodeA}, VNIs: []uint32{1}, LocalMAC: vtepBMAC,
	})
	var wg sync.WaitGroup
	for i := range uint16(4) {
		inner := innerIPv4(t, ipv4.Fields{TTL: 9, Protocol: udp.Protocol}, datagram(t, i, nil))
		wg.Go(func() {
			b := packet.Of(inner)
			for id := range uint16(500) {
				if err := e.Encapsulate(b, id); err != nil {
					t.Error(err)
					return
				}
				if _, err := d.Decapsulate(b); err != nil || !bytes.Equal(inner, b.Bytes()) {
					t.Errorf("%x came out as %x, error %v", inner, b.Bytes(), err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestHeadersDoNotTell_1: where a checksum found right says nothing about the sum of the frame's bytes, they are summed. All
// of these frames have bytes that the headers do not account for.
func TestHeadersDoNotTell_1(t *testing.T) {
	withChecksum := config()
	withChecksum.UDPChecksum = true
	e := encapsulator(t, withChecksum)
	body := datagram(t, 1, []byte("a datagram"))
	garbage := append(bytes.Clone(body[:8]), "not what the checksum says"...)
	binary.BigEndian.PutUint16(garbage[4:], uint16(len(garbage)))
	noChecksum := bytes.Clone(garbage)
	clear(noChecksum[6:8])
	short := append(bytes.Clone(body), "and bytes behind the length that it declares"...)
	for _, c := range []struct {
		name  string
		inner []byte
	}{
		{"UDP without a checksum", innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, noChecksum)},
		{"UDP shorter than its packet", innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, short)},
		{"UDP header cut", innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, garbage[:7])},
		{"first fragment", innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol, Flags: ipv4.MoreFragments}, garbage)},
		{"later fragment", innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol, FragmentOffset: 8}, garbage)},
		{"padded", append(innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, body), "padding"...)},
		{"another protocol", innerIPv4(t, ipv4.Fields{Protocol: 132}, garbage)},
		{"IPv4 packet cut", innerIPv4(t, ipv4.Fields{Protocol: udp.Protocol}, body)[:40]},
		{"no IPv4", append(bytes.Clone(plainInner(t)[:12]), "\x86\xdd and whatever this may be, it is long enough"...)},
	} {
		b := packet.Of(c.inner)
		b.SetChecksumVerified()
		require.NoError(t, e.EncapsulateFrom(b, 1, 40000))
		assert.Equal(t, twin(t, withChecksum, c.inner, 1, 40000), b.Bytes(), c.name)
	}

	// A partial checksum that does not lie within the frame is not the inner packet's.
	inner := append(plainInner(t), "more"...)
	for _, c := range []struct {
		name         string
		start, field int // from the front of the inner frame
		cut          int // bytes cut off its end afterwards
	}{
		{"starts in front", -2, 4, 0},
		{"field behind the end", 30, 8, 12},
		{"half a field", 42, 6, 2},
		{"starts at an odd byte", 33, 2, 0},
	} {
		front := append(make([]byte, 2), inner...)
		b := packet.Of(front)
		require.NoError(t, b.SetChecksumPartial(c.start+2, c.field))
		require.NoError(t, b.TrimFront(2))
		require.NoError(t, b.Truncate(len(inner)-c.cut))
		want := twin(t, withChecksum, bytes.Clone(b.Bytes()), 1, 40000)
		require.NoError(t, e.EncapsulateFrom(b, 1, 40000))
		assert.Equal(t, want, b.Bytes(), c.name)
	}
}

// TestOddFrames_2: frames that are not what their EtherType says, or say nothing, are carried with the default headers.
func TestOddFrames_2(t *testing.T) {
	c := config()
	c.InheritTOS, c.InheritTTL, c.DF, c.TTL = true, true, tunnel.DFInherit, 9
	full := bytes.Repeat([]byte{0xff}, 60)
	for _, etherType := range []uint16{0, 3, 0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x88b5, 0xffff} {
		for n := range len(full) {
			inner := append(bytes.Clone(plainInner(t)[:12]), byte(etherType>>8), byte(etherType))
			inner = append(inner, full[:n]...)
			b := packet.Of(inner)
			e := encapsulator(t, c)
			port := e.SourcePort(b)
			require.NoError(t, e.Encapsulate(b, 1))
			require.Equal(t, twin(t, c, inner, 1, port), b.Bytes(), "EtherType %04x, %d bytes", etherType, n)
		}
	}
}

// TestLongestFrame: 65499 bytes are a packet of 65535, a tag included that is still to go into the frame.
func TestLongestFrame(t *testing.T) {
	const longest = ipv4.MaxLen - vxlan.OverheadIP
	e := encapsulator(t, config())
	for _, tag := range []ethernet.Tag{{}, vlanTag} {
		n := longest
		if tag.TPID != 0 {
			n -= ethernet.TagLen
		}
		for excess := range 3 {
			b := packet.Of(append(plainInner(t)[:34:34], make([]byte, n+excess-34)...))
			b.SetVLAN(tag)
			before := stateOf(b)
			err := e.Encapsulate(b, 1)
			if excess == 0 {
				require.NoError(t, err)
				require.Equal(t, ipv4.MaxLen+ethernet.HeaderLen, b.Len())
				_, err = decapsulator(t, flannel()).Decapsulate(b)
				require.NoError(t, err)
				require.Equal(t, longest, b.Len())
				continue
			}
			require.ErrorIs(t, err, vxlan.ErrTooLong)
			require.Equal(t, before.Headroom, b.Headroom())
			require.Equal(t, before.VLAN, b.VLAN())
			require.Equal(t, before.Bytes, b.Bytes())
		}
	}
}

// TestLargestVNI can be sent and accepted, one more cannot be configured.
func TestLargestVNI(t *testing.T) {
	c := config()
	c.VNI = vxlan.MaxVNI
	b := packet.Of(plainInner(t))
	require.NoError(t, encapsulator(t, c).Encapsulate(b, 1))
	info, err := decapsulator(t, vxlan.DecapConfig{DstPort: c.DstPort, VNIs: []uint32{vxlan.MaxVNI}}).Decapsulate(b)
	require.NoError(t, err)
	assert.Equal(t, uint32(vxlan.MaxVNI), info.VNI())
}
