// The vectors themselves are tested here: that the file says everything it is
// meant to say, that its offsets point at the headers they name, and that no
// corner got lost. The codecs are held against them in their own packages.
package vectors_test

import (
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/vectors"
)

//go:embed vectors.json
var file string

func TestEveryFieldOfTheFileIsTyped(t *testing.T) {
	var f struct {
		Vectors []json.RawMessage `json:"vectors"`
	}
	require.NoError(t, json.Unmarshal([]byte(file), &f))
	typed := vectors.Load(t)
	require.Len(t, typed, len(f.Vectors))
	for i, v := range typed {
		back, err := json.Marshal(v)
		require.NoError(t, err, v.Name)
		require.JSONEq(t, string(f.Vectors[i]), string(back), v.Name)
	}
}

func TestNamesAndNotes(t *testing.T) {
	name := regexp.MustCompile(`^[a-z0-9]+(/[a-z0-9][a-z0-9.-]*)+$`)
	seen := map[string]bool{}
	for _, v := range vectors.Load(t) {
		assert.Regexp(t, name, v.Name)
		assert.False(t, seen[v.Name], "%s comes twice", v.Name)
		assert.NotEmpty(t, v.Note, v.Name)
		seen[v.Name] = true
	}
}

// TestLayersNest checks that every layer begins where the header around it ends
// and stays inside it, and that only a payload comes last.
func TestLayersNest(t *testing.T) {
	for _, v := range vectors.Load(t) {
		require.NotEmpty(t, v.Layers, v.Name)
		offset, end := 0, len(v.Frame)
		for i, l := range v.Layers {
			p := l.At()
			require.Equal(t, offset, p.Offset, "%s: layer %d", v.Name, i)
			require.LessOrEqual(t, p.Offset+p.HeaderLen, p.End, "%s: layer %d", v.Name, i)
			require.LessOrEqual(t, p.End, end, "%s: layer %d", v.Name, i)
			require.Equal(t, i == len(v.Layers)-1, p.Kind == vectors.KindPayload, "%s: layer %d", v.Name, i)
			offset, end = p.Offset+p.HeaderLen, p.End
		}
		require.Equal(t, string(v.Link), string(v.Layers[0].At().Kind), v.Name)
		last := vectors.Of[vectors.Payload](v)[0]
		require.Equal(t, last.End, last.Offset+last.Length, v.Name)
	}
}

// TestOffsetsPointAtHeaders reads one or two fields of each header at the place
// the vector gives: enough to see an offset that is off.
func TestOffsetsPointAtHeaders(t *testing.T) {
	be := binary.BigEndian
	for _, v := range vectors.Load(t) {
		for i, l := range v.Layers {
			b := v.Bytes(l)
			where := func() string { return v.Name + ": " + string(l.At().Kind) }
			switch l := l.(type) {
			case vectors.Ethernet:
				require.Equal(t, l.Dst[:], b[:6], where())
				require.Equal(t, l.Src[:], b[6:12], where())
				require.Equal(t, l.EtherType, be.Uint16(b[l.HeaderLen-2:]), where())
				require.Equal(t, 14+4*len(l.Tags), l.HeaderLen, where())
				for n, tag := range l.Tags {
					require.Equal(t, tag.TPID, be.Uint16(b[12+4*n:]), where())
					require.Less(t, tag.PCP, uint8(8), where())
					require.Less(t, tag.VID, uint16(4096), where())
				}
			case vectors.ARP:
				require.Equal(t, []byte{0, 1, 8, 0, 6, 4}, b[:6], where())
				require.Equal(t, l.TargetIP.AsSlice(), b[24:28], where())
			case vectors.IPv4:
				require.Equal(t, byte(0x40|l.IHL/4), b[0], where())
				require.Equal(t, l.IHL, l.HeaderLen, where())
				require.Len(t, l.Options, l.IHL-20, where())
				require.LessOrEqual(t, l.TotalLength, len(b), where())
				require.Equal(t, l.Dst.AsSlice(), b[16:20], where())
				require.Equal(t, l.Offset+l.TotalLength, v.Layers[i+1].At().End, where())
			case vectors.UDP:
				require.Equal(t, l.SrcPort, be.Uint16(b), where())
				require.Equal(t, l.Length, int(be.Uint16(b[4:])), where())
				require.Equal(t, min(l.Offset+l.Length, l.End), v.Layers[i+1].At().End, where())
			case vectors.TCP:
				require.Equal(t, l.DstPort, be.Uint16(b[2:]), where())
				require.Equal(t, l.DataOffset, int(b[12]>>4)*4, where())
				require.Equal(t, l.DataOffset, l.HeaderLen, where())
				require.Len(t, l.Options, l.DataOffset-20, where())
			case vectors.ICMP:
				require.Equal(t, []byte{l.Type, l.Code}, b[:2], where())
				require.Equal(t, []byte(l.Rest), b[4:8], where())
				if l.QuoteOffset != nil {
					require.Equal(t, l.Offset+8, *l.QuoteOffset, where())
					require.LessOrEqual(t, *l.QuoteOffset+*l.QuoteLen, l.End, where())
				}
			case vectors.VXLAN:
				require.Equal(t, []byte{l.Flags, l.Reserved1}, b[:2], where())
				require.Equal(t, l.VNI<<8|uint32(l.Reserved2), be.Uint32(b[4:]), where())
			case vectors.Payload:
				require.Len(t, b, l.Length, where())
			default:
				require.Failf(t, "layer without a check", "%s: %T", v.Name, l)
			}
		}
	}
}

// TestChecksumIsOpenOnlyInFragments holds a nil ChecksumOK to its one meaning.
func TestChecksumIsOpenOnlyInFragments(t *testing.T) {
	for _, v := range vectors.Load(t) {
		fragment := false
		for _, l := range v.Layers {
			var ok *bool
			switch l := l.(type) {
			case vectors.IPv4:
				fragment = l.Fragment()
				continue
			case vectors.UDP:
				ok = l.ChecksumOK
			case vectors.TCP:
				ok = l.ChecksumOK
			case vectors.ICMP:
				ok = l.ChecksumOK
			default:
				continue
			}
			assert.Equal(t, fragment, ok == nil, "%s: %s", v.Name, l.At().Kind)
		}
	}
}

func TestNoCornerIsMissing(t *testing.T) {
	vs := vectors.Load(t)
	for prefix, least := range map[string]int{
		"ethernet/llc/": 6, "ethernet/ethertype/": 5, "ethernet/vlan/": 30, "ethernet/vlan/pcp-": 16,
		"ethernet/padded-": 2, "ethernet/multicast-": 2, "ethernet/broadcast": 1,
		"arp/request": 4, "arp/reply": 2, "arp/gratuitous/": 2, "arp/probe": 1, "arp/announcement": 1,
		"arp/vlan": 2, "arp/rarp/": 3,
		"ipv4/options/": 16, "ipv4/fragment/": 20, "ipv4/flags/": 3, "ipv4/tos/": 9, "ipv4/ttl/": 3,
		"ipv4/id/": 2, "ipv4/length/": 7, "ipv4/checksum/": 11, "ipv4/checksum/wrong/": 5, "ipv4/raw-link": 2,
		"udp/payload-": 15, "udp/checksum/": 8, "udp/length/": 5, "udp/ports/": 2, "udp/raw-link": 1,
		"tcp/syn": 4, "tcp/data": 3, "tcp/fin": 1, "tcp/rst": 1, "tcp/options-full": 1, "tcp/checksum/": 3,
		"icmp/echo-": 9, "icmp/unreachable/": 12, "icmp/time-exceeded/": 4, "icmp/redirect/": 1,
		"icmp/parameter-problem": 2, "icmp/checksum/": 4,
		"vxlan/port-": 3, "vxlan/vni/": 5, "vxlan/flags/": 7, "vxlan/reserved/": 9, "vxlan/gbp/": 5,
		"vxlan/i-flag/": 2, "vxlan/inner/": 16, "vxlan/outer/": 11, "vxlan/nested/": 5, "vxlan/udp-checksum-": 2,
		"ipip/plain": 1, "ipip/two-deep": 1, "ipip/three-deep": 1, "ipip/inner/": 10, "ipip/outer/": 6,
		"ipip/raw-link/": 5, "ipip/inside-vxlan": 1, "ipip/around-vxlan": 3,
	} {
		n := 0
		for _, v := range vs {
			if strings.HasPrefix(v.Name, prefix) {
				n++
			}
		}
		assert.GreaterOrEqual(t, n, least, prefix)
	}
}

// TestReservedBitsAreAllSetSomewhere covers the 64 bits of a VXLAN header, and
// that each is also clear somewhere.
func TestReservedBitsAreAllSetSomewhere(t *testing.T) {
	var set, unset uint64
	for _, v := range vectors.Load(t) {
		for _, l := range vectors.Of[vectors.VXLAN](v) {
			word := binary.BigEndian.Uint64(v.Bytes(l))
			set |= word
			unset |= ^word
		}
	}
	const iFlag = uint64(0x08) << 56 // never clear: without it there is no VXLAN layer
	assert.Equal(t, ^uint64(0), set)
	assert.Equal(t, ^iFlag, unset)
}

// TestTunnelOverhead pins the sizes that Flannel and Calico are known by: what
// an 84-byte ping grows to on the wire.
func TestTunnelOverhead(t *testing.T) {
	sizes := map[string]int{}
	for _, v := range vectors.Load(t) {
		sizes[v.Name] = len(v.Frame)
	}
	assert.Equal(t, 14+20+84, sizes["ipip/calico-ping"])
	assert.Equal(t, 20+84, sizes["ipip/raw-link/ping"])
	assert.Equal(t, 14+20+8+8+14+84, sizes["vxlan/flannel-ping"])
	assert.Equal(t, 14+20+8+8+14+84, sizes["vxlan/calico-ping"])
	assert.Equal(t, 14+1500, sizes["vxlan/full-size"])
	assert.Equal(t, 14+1500, sizes["ipip/full-size"])
}

func TestLoadsShareNoMemory(t *testing.T) {
	first, second := vectors.Load(t), vectors.Load(t)
	for i := range first {
		clear(first[i].Frame)
	}
	assert.NotEqual(t, first[0].Frame, second[0].Frame)
}

func TestFileFaultsAreRefused(t *testing.T) {
	for name, in := range map[string]string{
		"unknown layer":       `{"layers":[{"layer":"gre"}]}`,
		"layer without name":  `{"layers":[{"offset":0}]}`,
		"layers not a list":   `{"layers":{}}`,
		"half a byte":         `{"hex":"abc"}`,
		"MAC of eight bytes":  `{"layers":[{"layer":"ethernet","dst":"02:00:00:00:00:00:00:01"}]}`,
		"MAC that is none":    `{"layers":[{"layer":"ethernet","dst":"nonsense"}]}`,
		"field out of range":  `{"layers":[{"layer":"ipv4","ttl":256}]}`,
		"address of nonsense": `{"layers":[{"layer":"ipv4","src":"10.0.0.256"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			var v vectors.Vector
			assert.Error(t, json.Unmarshal([]byte(in), &v))
		})
	}
}
