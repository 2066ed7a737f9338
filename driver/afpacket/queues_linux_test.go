package afpacket_test

// Several queues, and offloads that the kernel turns out not to have.

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/udp"
)

// datagram is a frame with UDP from a port, or a fragment of such.
func datagram(t *testing.T, port uint16, f ipv4.Fields) []byte {
	t.Helper()
	f.Src, f.Dst, f.TTL, f.Protocol = [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 0, 1}, 64, ipv4.ProtocolUDP
	frame := []byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00")
	const body = 32
	frame, err := f.Append(frame, udp.HeaderLen+body)
	require.NoError(t, err)
	frame, err = udp.Fields{SrcPort: port, DstPort: 8472}.Append(frame, body)
	require.NoError(t, err)
	return append(frame, make([]byte, body)...)
}

// TestFlowsSpread over queues, and all fragments of a datagram come by one.
func TestFlowsSpread(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		d := open(t, p.near, afpacket.Config{Device: "port0", Queues: 4, Filter: &afpacket.Filter{UDPPorts: []uint16{8472}}})
		far := open(t, p.far, afpacket.Config{Device: "wire0", Filter: testFrames})
		const flows = 200
		for port := range uint16(flows) {
			send(t, far, []frame{{bytes: datagram(t, 40000+port, ipv4.Fields{})}})
		}
		batch := make([]*packet.Buffer, flows)
		total := 0
		for i, q := range d.Queues() {
			n, err := q.Receive(batch, 0)
			require.NoError(t, err)
			packet.FreeBatch(batch[:n])
			assert.Greater(t, n, flows/16, "queue %d", i)
			total += n
		}
		assert.Equal(t, flows, total)

		send(t, far, []frame{
			{bytes: datagram(t, 40000, ipv4.Fields{ID: 7, Flags: ipv4.MoreFragments})},
			{bytes: datagram(t, 1, ipv4.Fields{ID: 7, Flags: ipv4.MoreFragments, FragmentOffset: 40})},
			{bytes: datagram(t, 2, ipv4.Fields{ID: 7, FragmentOffset: 80})},
		})
		var by []int
		for _, q := range d.Queues() {
			n, err := q.Receive(batch, 0)
			require.NoError(t, err)
			packet.FreeBatch(batch[:n])
			if n > 0 {
				by = append(by, n)
			}
		}
		assert.Equal(t, []int{3}, by)
	})
}

// TestOffloadsFallBack: a kind of superframe that the kernel refuses before it ever took one is not offered any more.
func TestOffloadsFallBack(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		d := open(t, p.near, afpacket.Config{Device: "port0", NoOffloads: packet.OffloadTCP6})
		assert.False(t, d.Link().Offloads.Has(packet.OffloadTCP6))
		require.True(t, d.Link().Offloads.Has(packet.OffloadUDP4|packet.OffloadTCP4))
		super := packet.Of(datagram(t, 40000, ipv4.Fields{}))
		require.NoError(t, super.SetChecksumPartial(14+20, 6))
		super.SetGSO(packet.GSOUDP4, 10)

		afpacket.Distrust(d, packet.Of(testFrame(100)))
		assert.Empty(t, d.Changed(), "that was no superframe")
		afpacket.Distrust(d, super)
		assert.Len(t, d.Changed(), 1)
		assert.False(t, d.Link().Offloads.Has(packet.OffloadUDP4))
		assert.True(t, d.Link().Offloads.Has(packet.OffloadTCP4))
		copied := packet.New(2048)
		require.NoError(t, copied.CopyFrom(super))
		assert.ErrorIs(t, d.Queues()[0].Send([]*packet.Buffer{copied}), driver.ErrMetadata)

		d = open(t, p.near, afpacket.Config{Device: "port0"})
		require.NoError(t, copied.CopyFrom(super))
		require.NoError(t, d.Queues()[0].Send([]*packet.Buffer{copied}))
		afpacket.Distrust(d, super)
		assert.True(t, d.Link().Offloads.Has(packet.OffloadUDP4), "it took one before, so this one was to blame")
	})
}
