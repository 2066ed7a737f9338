// The walk over frames that an independent encoder made: exactly the layers that it says are there, where it says they
// are, with its fields.
package dissect_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// level is what a vector has at one level of tunnels: those that it does not have are nil.
type level struct {
	ethernet *vectors.Ethernet
	arp      *vectors.ARP
	ipv4     *vectors.IPv4
	tcp      *vectors.TCP
	udp      *vectors.UDP
	icmp     *vectors.ICMP
	vxlan    *vectors.VXLAN
	payload  vectors.Place // of a tunnel, where the next level lies
}

// levelsOf splits the layers of a vector where a tunnel starts.
func levelsOf(v vectors.Vector) []level {
	levels := []level{{}}
	for _, layer := range v.Layers {
		l := &levels[len(levels)-1]
		_, isEthernet := layer.(vectors.Ethernet)
		_, isIPv4 := layer.(vectors.IPv4)
		if isEthernet && l.vxlan != nil || isIPv4 && l.ipv4 != nil {
			l.payload = layer.At()
			levels = append(levels, level{})
			l = &levels[len(levels)-1]
		}
		switch layer := layer.(type) {
		case vectors.Ethernet:
			l.ethernet = &layer
		case vectors.ARP:
			l.arp = &layer
		case vectors.IPv4:
			l.ipv4 = &layer
		case vectors.TCP:
			l.tcp = &layer
		case vectors.UDP:
			l.udp = &layer
		case vectors.ICMP:
			l.icmp = &layer
		case vectors.VXLAN:
			l.vxlan = &layer
		case vectors.Payload:
			l.payload = layer.At()
		}
	}
	return levels
}

// refusal is the error that a vector must give: none, but for a datagram on a VXLAN port that is no VXLAN, which the
// vectors show as payload.
func refusal(levels []level) *dissect.Error {
	n := len(levels) - 1
	l := levels[n]
	if l.udp == nil || l.vxlan != nil || l.ipv4.Fragment() || l.udp.DstPort != vxlan.Port && l.udp.DstPort != vxlan.PortLinux {
		return nil
	}
	err := vxlan.ErrNoVNI
	if l.payload.End-l.payload.Offset < vxlan.HeaderLen {
		err = vxlan.ErrShort
	}
	return &dissect.Error{Level: n, Layer: dissect.VXLAN, Offset: l.payload.Offset, Err: err}
}

func TestVectors(t *testing.T) {
	for name, config := range map[string]dissect.Config{
		"default": {},
		"partial": {Partial: true}, // where nothing is missing, it must make no difference
	} {
		w := newWalker(t, config)
		seen := map[string]int{}
		for _, v := range vectors.Load(t) {
			t.Run(name+"/"+v.Name, func(t *testing.T) {
				want := levelsOf(v)
				var s dissect.Stack
				err := walk(w, &s, v.Link, v.Frame)
				if refused := refusal(want); refused != nil {
					require.Equal(t, refused, err, v.Note)
				} else {
					require.NoError(t, err, v.Note)
				}
				require.Len(t, s.Levels(), len(want), v.Note)
				for i := range want {
					checkLevel(t, v, &want[i], &s.Levels()[i], seen)
				}
				assert.Same(t, &s.Levels()[0], s.Outer())
				assert.Same(t, &s.Levels()[len(want)-1], s.Inner())
			})
		}
		for _, layer := range []string{"ethernet", "arp", "ipv4", "tcp", "udp", "icmp", "vxlan"} {
			assert.Positive(t, seen[layer], "no vector has %s", layer)
		}
	}
}

func checkLevel(t *testing.T, v vectors.Vector, want *level, got *dissect.Level, seen map[string]int) {
	t.Helper()
	// place checks that a layer is there if and only if it should be, and that its header lies where it should.
	place := func(name string, want vectors.Layer, has bool, valid bool, header func() []byte) bool {
		t.Helper()
		require.Equal(t, has, valid, "%s is there", name)
		if !has {
			return false
		}
		seen[name]++
		at, inside := offset(v.Frame, header())
		require.True(t, inside, "%s lies outside the frame", name)
		assert.Equal(t, want.At().Offset, at, "start of %s", name)
		assert.Len(t, header(), want.At().HeaderLen, "length of %s", name)
		return true
	}
	if place("ethernet", want.ethernet, want.ethernet != nil, got.Ethernet.IsValid(), got.Ethernet.Bytes) {
		checkEthernet(t, want.ethernet, got.Ethernet)
	}
	if place("arp", want.arp, want.arp != nil, got.ARP.IsValid(), got.ARP.Bytes) {
		p := got.ARP
		assert.Equal(t,
			fmt.Sprint(want.arp.Op, ethernet.MAC(want.arp.SenderMAC), want.arp.SenderIP.As4(), ethernet.MAC(want.arp.TargetMAC), want.arp.TargetIP.As4()),
			fmt.Sprint(p.Op(), p.SenderMAC(), p.SenderIP(), p.TargetMAC(), p.TargetIP()))
	}
	if place("ipv4", want.ipv4, want.ipv4 != nil, got.IPv4.IsValid(), got.IPv4.Bytes) {
		checkIPv4(t, want.ipv4, got.IPv4)
		assert.Equal(t, want.ipv4.Fragment(), got.IsFragment())
	} else {
		assert.False(t, got.IsFragment())
	}
	if place("tcp", want.tcp, want.tcp != nil, got.TCP.IsValid(), got.TCP.Bytes) {
		assert.Equal(t,
			fmt.Sprint(want.tcp.SrcPort, want.tcp.DstPort, want.tcp.Seq, want.tcp.Ack, want.tcp.Flags, want.tcp.Window, want.tcp.Checksum),
			fmt.Sprint(got.TCP.SrcPort(), got.TCP.DstPort(), got.TCP.Seq(), got.TCP.Ack(), got.TCP.Flags(), got.TCP.Window(), got.TCP.Checksum()))
	}
	if place("udp", want.udp, want.udp != nil, got.UDP.IsValid(), got.UDP.Bytes) {
		assert.Equal(t,
			fmt.Sprint(want.udp.SrcPort, want.udp.DstPort, want.udp.Length, want.udp.Checksum),
			fmt.Sprint(got.UDP.SrcPort(), got.UDP.DstPort(), got.UDP.Length(), got.UDP.Checksum()))
	}
	if place("icmp", want.icmp, want.icmp != nil, got.ICMP.IsValid(), got.ICMP.Bytes) {
		assert.Equal(t,
			fmt.Sprint(want.icmp.Type, want.icmp.Code, want.icmp.Checksum, [4]byte(want.icmp.Rest)),
			fmt.Sprint(got.ICMP.Type(), got.ICMP.Code(), got.ICMP.Checksum(), got.ICMP.Rest()))
	}
	if place("vxlan", want.vxlan, want.vxlan != nil, got.VXLAN.IsValid(), got.VXLAN.Bytes) {
		assert.Equal(t, fmt.Sprint(want.vxlan.VNI, want.vxlan.Flags), fmt.Sprint(got.VXLAN.VNI(), got.VXLAN.Flags()))
	}
	assert.Len(t, got.Payload, want.payload.End-want.payload.Offset, "length of the payload")
	if len(got.Payload) > 0 {
		at, inside := offset(v.Frame, got.Payload)
		assert.True(t, inside)
		assert.Equal(t, want.payload.Offset, at, "start of the payload")
	}
	assert.Equal(t, wantCut(want), got.Cut, "cut")
	checkFlow(t, want, got)
}

// wantCut: a vector lacks bytes only where it is the first fragment.
func wantCut(l *level) bool {
	if l.ipv4 == nil || !l.ipv4.MF || l.ipv4.FragOffset != 0 {
		return false
	}
	switch l.ipv4.Protocol {
	case udp.Protocol:
		return l.udp == nil || l.udp.Length > l.udp.End-l.udp.Offset
	case tcp.Protocol:
		return l.tcp == nil
	case icmp.Protocol:
		return l.icmp == nil
	}
	return false
}

func checkEthernet(t *testing.T, want *vectors.Ethernet, got ethernet.Header) {
	t.Helper()
	assert.Equal(t,
		fmt.Sprint(ethernet.MAC(want.Dst), ethernet.MAC(want.Src), want.EtherType),
		fmt.Sprint(got.Dst(), got.Src(), got.EtherType()))
	require.Equal(t, len(want.Tags), got.Tags())
	for i, tag := range want.Tags {
		tci, err := ethernet.NewTCI(tag.VID, tag.PCP, tag.DEI)
		require.NoError(t, err)
		assert.Equal(t, ethernet.Tag{TPID: tag.TPID, TCI: tci}, got.Tag(i))
	}
}

func checkIPv4(t *testing.T, want *vectors.IPv4, got ipv4.Header) {
	t.Helper()
	assert.Equal(t,
		fmt.Sprint(want.Src.As4(), want.Dst.As4(), want.Protocol, want.TotalLength, want.ID, want.TTL, want.TOS,
			want.FragOffset, want.MF, want.DF),
		fmt.Sprint(got.Src(), got.Dst(), got.Protocol(), got.TotalLen(), got.ID(), got.TTL(), got.TOS(),
			got.FragmentOffset(), got.MF(), got.DF()))
	assert.Equal(t, append([]byte{}, want.Options...), append([]byte{}, got.Options()...))
}

func checkFlow(t *testing.T, want *level, got *dissect.Level) {
	t.Helper()
	k := got.Flow()
	if want.ipv4 == nil {
		assert.Zero(t, k)
		return
	}
	assert.Equal(t,
		fmt.Sprint(want.ipv4.Src.As4(), want.ipv4.Dst.As4(), want.ipv4.Protocol),
		fmt.Sprint(k.Src, k.Dst, k.Protocol))
	switch {
	case want.udp != nil:
		assert.Equal(t, fmt.Sprint(want.udp.SrcPort, want.udp.DstPort), fmt.Sprint(k.SrcPort, k.DstPort))
	case want.tcp != nil:
		assert.Equal(t, fmt.Sprint(want.tcp.SrcPort, want.tcp.DstPort), fmt.Sprint(k.SrcPort, k.DstPort))
	case want.icmp != nil || want.ipv4.FragOffset != 0:
		assert.Zero(t, k.SrcPort)
		assert.Zero(t, k.DstPort)
	}
}

// TestVectorChecksums holds the verdicts about checksums against those of the encoder, level by level.
func TestVectorChecksums(t *testing.T) {
	w := newWalker(t, dissect.Config{})
	wrong := map[error]int{}
	for _, v := range vectors.Load(t) {
		var s dissect.Stack
		_ = walk(w, &s, v.Link, v.Frame) // that it refuses what it must is another test's
		for i, want := range levelsOf(v) {
			got := &s.Levels()[i]
			transport := wrongTransport(&want)
			all := transport
			if want.ipv4 != nil && !want.ipv4.ChecksumOK {
				all = ipv4.ErrChecksum
			}
			assert.Equal(t, all, got.WrongChecksum(), "%s, level %d: %s", v.Name, i, v.Note)
			assert.Equal(t, transport, got.WrongTransportChecksum(), "%s, level %d: %s", v.Name, i, v.Note)
			wrong[all]++
		}
	}
	for _, err := range []error{ipv4.ErrChecksum, udp.ErrChecksum, tcp.ErrChecksum, icmp.ErrChecksum} {
		assert.Positive(t, wrong[err], "no vector has a %v", err)
	}
}

func wrongTransport(l *level) error {
	is := func(ok *bool) bool { return ok != nil && !*ok } // nil: a fragment, where nobody can tell
	switch {
	case l.udp != nil && is(l.udp.ChecksumOK):
		return udp.ErrChecksum
	case l.tcp != nil && is(l.tcp.ChecksumOK):
		return tcp.ErrChecksum
	case l.icmp != nil && is(l.icmp.ChecksumOK):
		return icmp.ErrChecksum
	}
	return nil
}
