// What the tests of this package share: the nodes of a Flannel cluster, its captured frames, and buffers that can be compared.
package vxlan_test

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

var (
	nodeA    = netip.MustParseAddr("172.16.100.101")
	nodeB    = netip.MustParseAddr("172.16.100.102")
	nodeAMAC = ethernet.MustParseMAC("00:50:56:93:6a:3a")
	nodeBMAC = ethernet.MustParseMAC("00:50:56:93:63:3b")
	vtepAMAC = ethernet.MustParseMAC("fe:90:c4:18:69:a7")
	vtepBMAC = ethernet.MustParseMAC("b6:72:ae:36:7b:6c")
)

// config is a tunnel from node A to node B as Flannel makes it.
func config() vxlan.EncapConfig {
	return vxlan.EncapConfig{
		VNI: 1, Src: nodeA, Dst: nodeB, SrcMAC: nodeAMAC, DstMAC: nodeBMAC, DstPort: vxlan.PortLinux,
		Hasher: flow.NewHasher(1),
	}
}

func encapsulator(tb testing.TB, c vxlan.EncapConfig) *vxlan.Encapsulator {
	tb.Helper()
	e, err := vxlan.NewEncapsulator(c)
	require.NoError(tb, err)
	return e
}

func decapsulator(tb testing.TB, c vxlan.DecapConfig) *vxlan.Decapsulator {
	tb.Helper()
	d, err := vxlan.NewDecapsulator(c)
	require.NoError(tb, err)
	return d
}

// captured returns the frames of the captures that the quickstart embeds; its testdata/README.md says where they are from.
func captured(tb testing.TB) [][]byte {
	tb.Helper()
	var frames [][]byte
	for _, name := range []string{"flannel_vxlan_echo_request.pcap", "flannel_vxlan_http.pcap"} {
		file, err := os.ReadFile("../examples/quickstart/testdata/" + name)
		require.NoError(tb, err)
		r, err := pcapfile.NewReader(bytes.NewReader(file))
		require.NoError(tb, err)
		for {
			p, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(tb, err)
			frames = append(frames, append([]byte(nil), p.Data...))
		}
	}
	return frames
}

// state is all that can be seen of a buffer.
type state struct {
	Bytes        []byte
	Headroom     int
	Hash         uint32
	VLAN         ethernet.Tag
	Checksum     packet.ChecksumState
	Start, Field int
}

func stateOf(b *packet.Buffer) state {
	start, field, _ := b.PartialChecksum()
	return state{append([]byte{}, b.Bytes()...), b.Headroom(), b.Hash(), b.VLAN(), b.Checksum(), start, field}
}

// innerIPv4 returns an Ethernet frame with an IPv4 packet inside, whose transport payload is body.
func innerIPv4(tb testing.TB, f ipv4.Fields, body []byte) []byte {
	tb.Helper()
	if f.Src == ([4]byte{}) {
		f.Src, f.Dst = [4]byte{10, 244, 1, 12}, [4]byte{10, 244, 2, 14}
	}
	b, err := ethernet.Fields{Dst: vtepBMAC, Src: vtepAMAC, EtherType: ethernet.TypeIPv4}.Append(nil)
	require.NoError(tb, err)
	b, err = f.Append(b, len(body))
	require.NoError(tb, err)
	return append(b, body...)
}

// datagram returns a UDP datagram between the addresses that innerIPv4 uses, with a right checksum.
func datagram(tb testing.TB, srcPort uint16, payload []byte) []byte {
	tb.Helper()
	b, err := udp.Fields{SrcPort: srcPort, DstPort: 53}.Append(nil, len(payload))
	require.NoError(tb, err)
	b = append(b, payload...)
	u, p, err := udp.Parse(b)
	require.NoError(tb, err)
	u.FixChecksum([4]byte{10, 244, 1, 12}, [4]byte{10, 244, 2, 14}, p)
	return b
}
