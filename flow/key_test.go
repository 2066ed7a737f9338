// Keys: which packets have ports, and how a flow is named.
package flow_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/ipv4"
)

// The addresses are those of two pods of a Flannel cluster.
var (
	podA = [4]byte{10, 244, 1, 12}
	podB = [4]byte{10, 244, 2, 14}
)

// ports is the start of a transport header: source port 40000, destination port 80.
const ports = "\x9c\x40\x00\x50"

func TestKeyOf(t *testing.T) {
	const (
		tcp    = 6
		first  = ipv4.MoreFragments
		ported = "10.244.1.12:40000 > 10.244.2.14:80 proto %d"
		none   = "10.244.1.12:0 > 10.244.2.14:0 proto %d"
		bare   = "10.244.1.12 > 10.244.2.14 proto %d"
	)
	for _, c := range []struct {
		name     string
		protocol uint8
		flags    ipv4.Flags
		offset   uint16
		payload  string
		want     string
	}{
		{"TCP", tcp, 0, 0, ports + "more", ported},
		{"UDP", 17, 0, 0, ports + "more", ported},
		{"DCCP", 33, 0, 0, ports + "more", ported},
		{"SCTP", 132, 0, 0, ports + "more", ported},
		{"UDP-Lite", 136, 0, 0, ports + "more", ported},
		{"ESP, whose SPI serves as well", 50, 0, 0, ports + "more", ported},
		{"ICMP", 1, 0, 0, ports + "more", bare},
		{"IPIP", 4, 0, 0, ports + "more", bare},
		{"GRE", 47, 0, 0, ports + "more", bare},
		{"AH", 51, 0, 0, ports + "more", bare},
		{"protocol 0", 0, 0, 0, ports + "more", bare},
		{"protocol 255", 255, 0, 0, ports + "more", bare},
		{"protocol 70, 6 modulo 64", 70, 0, 0, ports + "more", bare},
		{"protocol 145, 17 modulo 128", 145, 0, 0, ports + "more", bare},
		{"just the ports", tcp, 0, 0, ports, ported},
		{"a byte too few for the ports", tcp, 0, 0, ports[:3], none},
		{"no payload", tcp, 0, 0, "", none},
		{"don't fragment", tcp, ipv4.DontFragment, 0, ports, ported},
		{"reserved flag", tcp, ipv4.ReservedFlag, 0, ports, ported},
		{"first fragment, which has the ports", tcp, first, 0, ports, ported},
		{"middle fragment", tcp, first, 8, ports, none},
		{"last fragment", tcp, 0, 8, ports, none},
		{"last fragment at the highest offset", tcp, 0, 65528, ports, none},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := ipv4.Fields{Protocol: c.protocol, Flags: c.flags, FragmentOffset: c.offset, Src: podA, Dst: podB}
			h, err := f.Put(make([]byte, 20), len(c.payload))
			require.NoError(t, err)
			k := flow.KeyOf(h, []byte(c.payload))
			assert.Equal(t, fmt.Sprintf(c.want, c.protocol), k.String())
			assert.Equal(t, podA, k.Src)
			assert.Equal(t, podB, k.Dst)
			assert.Equal(t, c.protocol, k.Protocol)
		})
	}
}

func TestKeyReverse(t *testing.T) {
	k := flow.Key{Src: podA, Dst: podB, SrcPort: 40000, DstPort: 80, Protocol: 6}
	assert.Equal(t, "10.244.2.14:80 > 10.244.1.12:40000 proto 6", k.Reverse().String())
	assert.Equal(t, k, k.Reverse().Reverse())
}

func TestKeyString(t *testing.T) {
	assert.Equal(t, "0.0.0.0 > 0.0.0.0 proto 0", flow.Key{}.String())
	all := [4]byte{255, 255, 255, 255}
	k := flow.Key{Src: all, Dst: all, SrcPort: 65535, DstPort: 65535, Protocol: 136}
	assert.Equal(t, "255.255.255.255:65535 > 255.255.255.255:65535 proto 136", k.String())
	k.Protocol = 255
	assert.Equal(t, "255.255.255.255 > 255.255.255.255 proto 255", k.String(), "no ports where the protocol has none")
}

func TestKeyIsMapKey(t *testing.T) {
	k := flow.Key{Src: podA, Dst: podB, SrcPort: 40000, DstPort: 80, Protocol: 6}
	seen := map[flow.Key]int{k: 1}
	seen[k.Reverse().Reverse()]++
	assert.Equal(t, map[flow.Key]int{k: 2}, seen)
}

func TestKeyAllocatesNothing(t *testing.T) {
	h, err := ipv4.Fields{Protocol: 6, Src: podA, Dst: podB}.Put(make([]byte, 20), len(ports))
	require.NoError(t, err)
	payload := []byte(ports)
	var k flow.Key
	assert.Zero(t, testing.AllocsPerRun(100, func() { k = flow.KeyOf(h, payload).Reverse() }))
	assert.Equal(t, uint16(40000), k.DstPort)
}
