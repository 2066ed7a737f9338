// What both directions do with a buffer beside its bytes, what is accepted although it is unusual, and the longest and
// shortest packets.
package ipip_test

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
)

// rawConfig is config without Ethernet headers.
func rawConfig() ipip.EncapConfig { return ipip.EncapConfig{Src: node1, Dst: node2, Raw: true} }

// TestEveryHeadroom: one byte too little is an error that touches nothing, and just enough is enough.
func TestEveryHeadroom(t *testing.T) {
	inner := echo(t, ipv4.Fields{TTL: 9})
	for _, c := range []struct {
		name   string
		config ipip.EncapConfig
		need   int
	}{{"Ethernet", config(), ipip.Overhead}, {"raw", rawConfig(), ipip.OverheadIP}} {
		e := encapsulator(t, c.config)
		for headroom := 1; headroom < c.need+2; headroom++ {
			memory := bytes.Repeat([]byte{0xa5}, headroom+len(inner)+8)
			pool, err := packet.NewPool(packet.PoolConfig{
				Buffers: 1, Size: len(memory), Headroom: headroom, Memory: memory,
			})
			require.NoError(t, err)
			b := pool.Get()
			require.NoError(t, b.SetBytes(inner))
			b.SetHash(7)
			before := bytes.Clone(memory)
			err = e.Encapsulate(b, 1)
			if headroom >= c.need {
				require.NoError(t, err, "%s, headroom %d", c.name, headroom)
				require.Equal(t, headroom-c.need, b.Headroom())
				continue
			}
			require.ErrorIs(t, err, packet.ErrHeadroom, "%s, headroom %d", c.name, headroom)
			require.Equal(t, before, memory, "%s, headroom %d", c.name, headroom)
			require.Equal(t, inner, b.Bytes())
			require.Equal(t, uint32(7), b.Hash())
		}
	}
}

// TestMetadata: what is known of the inner packet stays known on the way in; on the way out the outer headers' goes.
func TestMetadata(t *testing.T) {
	inner := echo(t, ipv4.Fields{TTL: 9})
	b := packet.Of(inner)
	b.SetHash(7)
	b.SetGSO(packet.GSOUDP4, 1400)
	require.NoError(t, b.SetChecksumPartial(ipv4.HeaderLen, 2))
	require.NoError(t, encapsulator(t, config()).Encapsulate(b, 1))
	start, field, ok := b.PartialChecksum()
	assert.Equal(t, []any{ipip.Overhead + ipv4.HeaderLen, 2, true}, []any{start, field, ok}, "it moved with the packet")
	assert.Equal(t, uint32(7), b.Hash())

	b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 5})
	_, err := decapsulator(t, peerOnly()).Decapsulate(b)
	require.NoError(t, err)
	start, field, ok = b.PartialChecksum()
	assert.Equal(t, []any{ipv4.HeaderLen, 2, true}, []any{start, field, ok}, "a partial checksum of what is left")
	assert.Zero(t, b.Hash())
	assert.False(t, b.HasVLAN())
	gso, size := b.GSO()
	assert.Equal(t, packet.GSOUDP4, gso)
	assert.Equal(t, uint16(1400), size)

	require.NoError(t, encapsulator(t, config()).Encapsulate(b, 1))
	b.SetChecksumVerified()
	_, err = decapsulator(t, peerOnly()).Decapsulate(b)
	require.NoError(t, err)
	assert.Equal(t, packet.ChecksumUnknown, b.Checksum())
}

// TestAccepted_11: what is unusual outside or inside, and no fault.
func TestAccepted_11(t *testing.T) {
	usual := echo(t, ipv4.Fields{TTL: 9})
	tag := ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 5}
	for _, c := range []struct {
		name          string
		ip            ipv4.Fields
		tags          []ethernet.Tag
		inner         []byte
		inside, after int // bytes behind the inner packet, and behind the outer one
	}{
		{name: "nothing unusual", inner: usual},
		{name: "outer options", ip: ipv4.Fields{Options: []byte{1, 1, 1, 1}}, inner: usual},
		{name: "all outer options", ip: ipv4.Fields{Options: make([]byte, 40)}, inner: usual},
		{name: "outer tag", tags: []ethernet.Tag{tag}, inner: usual},
		{name: "two outer tags, and options", tags: []ethernet.Tag{tag, tag}, ip: ipv4.Fields{Options: make([]byte, 8)}, inner: usual},
		{name: "don't fragment, reserved flag", ip: ipv4.Fields{Flags: ipv4.DontFragment | ipv4.ReservedFlag}, inner: usual},
		{name: "outer TTL 255", ip: ipv4.Fields{TTL: 255}, inner: usual},
		{name: "padding behind the outer packet", inner: usual, after: 7},
		{name: "bytes behind the inner packet", inner: usual, inside: 7},
		{name: "both", inner: usual, inside: 7, after: 7},
		{name: "inner options", inner: echo(t, ipv4.Fields{TTL: 9, Options: make([]byte, 12)})},
		{name: "inner fragment", inner: echo(t, ipv4.Fields{TTL: 9, Flags: ipv4.MoreFragments})},
		{name: "inner TTL 0", inner: echo(t, ipv4.Fields{})},
		{name: "wrong inner checksum", inner: append([]byte{0x45, 0, 0, 84, 0, 0, 0, 0, 9, 1, 0xba, 0xad}, usual[12:]...)},
		{name: "inner header alone", inner: []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 9, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}},
		{name: "IPIP in IPIP", inner: outerOf(t, usual)[atIP:]},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.ip.Protocol, c.ip.Src, c.ip.Dst = ipip.Protocol, node1.As4(), node2.As4()
			payload := append(bytes.Clone(c.inner), make([]byte, c.inside)...)
			p, err := ethernet.Fields{Dst: node2MAC, Src: node1MAC, Tags: c.tags, EtherType: ethernet.TypeIPv4}.Append(nil)
			require.NoError(t, err)
			start := len(p)
			p, err = c.ip.Append(p, len(payload))
			require.NoError(t, err)
			p = append(append(p, payload...), make([]byte, c.after)...)
			for _, raw := range []bool{false, true} {
				if raw {
					p = p[start:]
				}
				b := packet.Of(p)
				d := decapsulator(t, ipip.DecapConfig{Raw: raw, Local: node2, Peers: []netip.Addr{node1}})
				info, err := d.Decapsulate(b)
				require.NoError(t, err)
				assert.Equal(t, c.inner, b.Bytes())
				assert.Equal(t, node1.As4(), info.Src())
				assert.Equal(t, node2.As4(), info.Dst())
			}
		})
	}
}

// TestVectorsDecapsulate takes the inner packet out of every vector that is IPIP outside.
func TestVectorsDecapsulate(t *testing.T) {
	accepted, dropped := 0, 0
	for _, v := range vectors.Load(t) {
		layers := v.Layers
		if v.Link == vectors.LinkEthernet {
			layers = layers[1:]
		}
		if len(layers) < 2 {
			continue
		}
		outer, ok1 := layers[0].(vectors.IPv4)
		inner, ok2 := layers[1].(vectors.IPv4)
		if !ok1 || !ok2 {
			continue
		}
		b := packet.Of(v.Frame)
		_, err := decapsulator(t, ipip.DecapConfig{Raw: v.Link == vectors.LinkIPv4, AnyPeer: true}).Decapsulate(b)
		switch {
		case !outer.ChecksumOK:
			require.ErrorIs(t, err, ipv4.ErrChecksum, v.Name)
			dropped++
		case outer.TOS&3 == uint8(ipv4.CE) && inner.TOS&3 == 0:
			require.ErrorIs(t, err, tunnel.ErrECN, v.Name)
			dropped++
		default:
			require.NoError(t, err, v.Name)
			require.Zero(t, outer.TOS&3, "%s: the mark may change the inner packet", v.Name)
			require.Equal(t, v.Bytes(inner)[:inner.TotalLength], b.Bytes(), v.Name)
			accepted++
		}
	}
	assert.Greater(t, accepted, 20)
	assert.Equal(t, 2, dropped)
}

// TestLengths: from a header alone to an outer packet of 65535 bytes.
func TestLengths(t *testing.T) {
	header := echo(t, ipv4.Fields{TTL: 9})[:ipv4.HeaderLen]
	const longest = ipv4.MaxLen - ipip.OverheadIP
	refusing := config()
	refusing.Profile = tunnel.RFC
	for _, c := range []ipip.EncapConfig{config(), refusing} {
		for n, want := range map[int]error{
			ipv4.HeaderLen - 1: ipip.ErrInner, ipv4.HeaderLen: nil, longest: nil, longest + 1: ipip.ErrTooLong, longest + 2: ipip.ErrTooLong,
		} {
			inner := append(bytes.Clone(header), make([]byte, longest)...)[:n]
			b := packet.Of(inner)
			require.ErrorIs(t, encapsulator(t, c).Encapsulate(b, 1), want, "%d bytes", n)
			if want != nil {
				require.Equal(t, inner, b.Bytes())
				continue
			}
			ip, payload, err := ipv4.Parse(b.Bytes()[atIP:])
			require.NoError(t, err)
			assert.True(t, ip.ChecksumOK())
			assert.Len(t, payload, n)
		}
	}
	own := echo(t, ipv4.Fields{TTL: 9, Src: node1.As4()})[:ipv4.HeaderLen]
	require.ErrorIs(t, encapsulator(t, refusing).Encapsulate(packet.Of(own), 1), ipip.ErrLoop)
}

// TestOnePeerAndAnyPeer is a contradiction with one peer, too.
func TestOnePeerAndAnyPeer(t *testing.T) {
	_, err := ipip.NewDecapsulator(ipip.DecapConfig{AnyPeer: true, Peers: []netip.Addr{node1}})
	require.ErrorContains(t, err, "DecapConfig.AnyPeer")
}

// TestReuse: a long packet leaves nothing behind in the buffer that a short one could show.
func TestReuse(t *testing.T) {
	e, d := encapsulator(t, config()), decapsulator(t, peerOnly())
	short := echo(t, ipv4.Fields{TTL: 9})
	long := echo(t, ipv4.Fields{TTL: 200, TOS: 0xb9, Options: make([]byte, 40)})
	b := packet.New(2048)
	for _, inner := range [][]byte{long, short, long} {
		require.NoError(t, b.SetBytes(inner))
		require.NoError(t, e.Encapsulate(b, 3))
		require.Equal(t, twin(t, config(), inner, 3), b.Bytes())
		_, err := d.Decapsulate(b)
		require.NoError(t, err)
		require.Equal(t, inner, b.Bytes())
	}
}

// TestConcurrentUse shares a tunnel between goroutines, each with a buffer of its own; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	e := encapsulator(t, config())
	d := decapsulator(t, ipip.DecapConfig{Local: node2, Peers: []netip.Addr{node2, node1}})
	var wg sync.WaitGroup
	for i := range uint8(4) {
		inner := echo(t, ipv4.Fields{TTL: 9 + i})
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
