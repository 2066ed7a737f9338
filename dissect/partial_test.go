// Frames of which bytes are missing: cut by a snap length, left without lengths by segmentation offload, or in fragments.
package dissect_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
)

// step says what a walk finds in a frame cut to length at bytes, up to the next step's length.
type step struct {
	at   int
	read string
	err  *dissect.Error // of the walk that reads on; nil for none
}

// TestCutEverywhere cuts frames at every length. Reading on, what is found grows with the length, and only headers that no
// length field announces are missed with an error; not reading on, the error names the outermost length that lies.
func TestCutEverywhere(t *testing.T) {
	short := func(layer dissect.Layer, offset int, err error) *dissect.Error {
		return &dissect.Error{Layer: layer, Offset: offset, Err: err}
	}
	for _, c := range []struct {
		name   string
		frame  []byte
		strict dissect.Error // once the outermost length is there
		from   int           // the length from which strict holds
		steps  []step
	}{
		{
			"Flannel ping", flannelPing,
			dissect.Error{Layer: dissect.IPv4, Offset: 14, Err: ipv4.ErrTruncated},
			34,
			[]step{
				{0, "", short(dissect.Ethernet, 0, ethernet.ErrShort)},
				{14, "ethernet", short(dissect.IPv4, 14, ipv4.ErrShort)},
				{34, "ethernet ipv4", nil},
				{42, "ethernet ipv4 udp", nil},
				{50, "ethernet ipv4 udp vxlan | ", nil},
				{64, "ethernet ipv4 udp vxlan | ethernet", nil},
				{84, "ethernet ipv4 udp vxlan | ethernet ipv4", nil},
				{92, "ethernet ipv4 udp vxlan | ethernet ipv4 icmp", nil},
			},
		},
		{
			"TCP in IPIP", vector(t, "ipip/inner/tcp"),
			dissect.Error{Layer: dissect.IPv4, Offset: 14, Err: ipv4.ErrTruncated},
			34,
			[]step{
				{0, "", short(dissect.Ethernet, 0, ethernet.ErrShort)},
				{14, "ethernet", short(dissect.IPv4, 14, ipv4.ErrShort)},
				{34, "ethernet ipv4 | ", nil},
				{54, "ethernet ipv4 | ipv4", nil},
				{82, "ethernet ipv4 | ipv4 tcp", nil}, // MSS and SACK permitted behind 20 bytes, padded
			},
		},
		{
			"a tag on every level", vector(t, "vxlan/nested/inner-tagged"),
			dissect.Error{Layer: dissect.IPv4, Offset: 18, Err: ipv4.ErrTruncated},
			38,
			[]step{
				{0, "", short(dissect.Ethernet, 0, ethernet.ErrShort)},
				{18, "ethernet", short(dissect.IPv4, 18, ipv4.ErrShort)},
				{38, "ethernet ipv4", nil},
				{46, "ethernet ipv4 udp", nil},
				{54, "ethernet ipv4 udp vxlan | ", nil},
				{72, "ethernet ipv4 udp vxlan | ethernet", nil},
				{92, "ethernet ipv4 udp vxlan | ethernet ipv4", nil},
				{100, "ethernet ipv4 udp vxlan | ethernet ipv4 udp", nil},
				{108, "ethernet ipv4 udp vxlan | ethernet ipv4 udp vxlan | ", nil},
				{126, "ethernet ipv4 udp vxlan | ethernet ipv4 udp vxlan | ethernet", nil},
				{146, "ethernet ipv4 udp vxlan | ethernet ipv4 udp vxlan | ethernet ipv4", nil},
				{154, "ethernet ipv4 udp vxlan | ethernet ipv4 udp vxlan | ethernet ipv4 udp", nil},
			},
		},
		{
			"a BPDU of 802.3", vector(t, "ethernet/llc/stp-bpdu")[:14+38],
			dissect.Error{Layer: dissect.Ethernet, Err: ethernet.ErrLength},
			14,
			[]step{
				{0, "", short(dissect.Ethernet, 0, ethernet.ErrShort)},
				{14, "ethernet", nil},
			},
		},
		{
			"ARP", vector(t, "arp/request"),
			dissect.Error{Layer: dissect.ARP, Offset: 14, Err: arp.ErrShort},
			14,
			[]step{
				{0, "", short(dissect.Ethernet, 0, ethernet.ErrShort)},
				{14, "ethernet", short(dissect.ARP, 14, arp.ErrShort)},
				{42, "ethernet arp", nil},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			strict, partial := newWalker(t, dissect.Config{}), newWalker(t, dissect.Config{Partial: true})
			var s dissect.Stack
			now, flows := 0, make([]flow.Key, dissect.MaxLevels)
			for n := range len(c.frame) {
				frame := exact(c.frame[:n])
				if now+1 < len(c.steps) && n >= c.steps[now+1].at {
					now++
				}
				checkStep(t, partial, &s, frame, c.steps[now])
				growing(t, &s, flows, n)

				err := strict.Ethernet(&s, frame)
				if n >= c.from {
					require.Equal(t, &c.strict, err, "%d bytes", n)
				} else {
					require.Equal(t, c.steps[now].err, err, "%d bytes", n)
				}
			}
			require.NoError(t, strict.Ethernet(&s, c.frame))
			require.Equal(t, c.steps[len(c.steps)-1].read, read(&s))
			for i := range s.Levels() {
				require.False(t, s.Levels()[i].Cut)
			}
		})
	}
}

// checkStep walks a cut frame reading on, and checks that each level that lacks bytes says so.
func checkStep(t *testing.T, w *dissect.Walker, s *dissect.Stack, frame []byte, want step) {
	t.Helper()
	err := w.Ethernet(s, frame)
	if want.err != nil {
		require.Equal(t, want.err, err, "%d bytes", len(frame))
	} else {
		require.NoError(t, err, "%d bytes", len(frame))
	}
	require.Equal(t, want.read, read(s), "%d bytes", len(frame))
	if err != nil || s.Outer().ARP.IsValid() {
		return
	}
	for i := range s.Levels() {
		require.True(t, s.Levels()[i].Cut, "%d bytes: level %d is cut and does not say so", len(frame), i)
		require.NoError(t, s.Levels()[i].WrongTransportChecksum(), "nobody can tell")
		require.NoError(t, s.Levels()[i].WrongChecksum(), "nobody can tell")
	}
}

// growing checks that what a level's flow is does not change once it is known.
func growing(t *testing.T, s *dissect.Stack, flows []flow.Key, n int) {
	t.Helper()
	for i := range s.Levels() {
		k := s.Levels()[i].Flow()
		if flows[i] != (flow.Key{}) && flows[i].SrcPort != 0 || flows[i].Protocol == 1 {
			require.Equal(t, flows[i], k, "%d bytes: level %d", n, i)
		}
		flows[i] = k
	}
}

// TestCutInsideTCP: the flow needs only the ports, which may be there when the header is not.
func TestCutInsideTCP(t *testing.T) {
	frame := vector(t, "tcp/syn")
	w := newWalker(t, dissect.Config{Partial: true})
	var s dissect.Stack
	for n := 38; n < 54; n++ {
		require.NoError(t, w.Ethernet(&s, exact(frame[:n])))
		require.False(t, s.Outer().TCP.IsValid())
		require.Equal(t, "192.0.2.1:40000 > 192.0.2.2:80 proto 6", s.Outer().Flow().String())
	}
	require.NoError(t, w.Ethernet(&s, frame[:37]))
	assert.Equal(t, "192.0.2.1:0 > 192.0.2.2:0 proto 6", s.Outer().Flow().String())
}

// TestVectorsCutEverywhere: no vector panics at any length, and reading on never finds less in more bytes.
func TestVectorsCutEverywhere(t *testing.T) {
	strict, partial := newWalker(t, dissect.Config{}), newWalker(t, dissect.Config{Partial: true})
	var s dissect.Stack
	for _, v := range vectors.Load(t) {
		found := 0
		for n := range min(len(v.Frame), 300) {
			frame := exact(v.Frame[:n])
			_ = walk(strict, &s, v.Link, frame)
			inspect(t, frame, &s)
			_ = walk(partial, &s, v.Link, frame)
			inspect(t, frame, &s)
			more := len(read(&s))
			require.GreaterOrEqual(t, more, found, "%s: %d bytes: %s", v.Name, n, read(&s))
			found = more
		}
	}
}

// TestNoLengths: segmentation offload leaves length fields at zero in what a sender's capture sees.
func TestNoLengths(t *testing.T) {
	const whole = "ethernet ipv4 udp vxlan | ethernet ipv4 icmp"
	noIP, noUDP := patched(flannelPing, pingIPv4+2, "\x00\x00"), patched(flannelPing, pingUDP+4, "\x00\x00")
	for _, c := range []struct {
		name         string
		frame        []byte
		strict       dissect.Error
		outer, inner bool // cut
	}{
		{"outer IPv4", noIP, dissect.Error{Layer: dissect.IPv4, Offset: pingIPv4, Err: ipv4.ErrNoLength}, true, false},
		{"UDP", noUDP, dissect.Error{Layer: dissect.UDP, Offset: pingUDP, Err: udp.ErrNoLength}, true, false},
		{
			"outer IPv4 and UDP", patched(noIP, pingUDP+4, "\x00\x00"),
			dissect.Error{Layer: dissect.IPv4, Offset: pingIPv4, Err: ipv4.ErrNoLength},
			true, false,
		},
		{
			"inner IPv4", patched(flannelPing, pingInnerIPv4+2, "\x00\x00"),
			dissect.Error{Level: 1, Layer: dissect.IPv4, Offset: pingInnerIPv4, Err: ipv4.ErrNoLength},
			false, true,
		},
		{
			"all, as BIG TCP has it", patched(patched(noIP, pingUDP+4, "\x00\x00"), pingInnerIPv4+2, "\x00\x00"),
			dissect.Error{Layer: dissect.IPv4, Offset: pingIPv4, Err: ipv4.ErrNoLength},
			true, true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s dissect.Stack
			err := newWalker(t, dissect.Config{}).Ethernet(&s, c.frame)
			assert.Equal(t, &c.strict, err)

			require.NoError(t, newWalker(t, dissect.Config{Partial: true}).Ethernet(&s, c.frame))
			require.Equal(t, whole, read(&s))
			assert.Equal(t, []bool{c.outer, c.inner}, []bool{s.Outer().Cut, s.Inner().Cut})
			assert.Equal(t, flannelPing[pingInnerBody:], s.Inner().Payload)
			assert.Equal(t, c.frame[pingInnerEthernet:], s.Outer().Payload)
		})
	}
}

// TestPartialStillRefuses: reading on is for missing bytes, not for broken headers.
func TestPartialStillRefuses(t *testing.T) {
	w := newWalker(t, dissect.Config{Partial: true})
	for _, c := range []struct {
		name  string
		frame []byte
		err   error
	}{
		{"version", patched(flannelPing[:100], 64, "\x55"), ipv4.ErrVersion},
		{"header length", patched(flannelPing[:100], 64, "\x44"), ipv4.ErrHeaderLen},
		{"total length below the header", patched(flannelPing[:100], 66, "\x00\x13"), ipv4.ErrTotalLen},
		{"UDP length below the header", patched(flannelPing[:100], 38, "\x00\x07"), udp.ErrLength},
		{"too short, and not because bytes are missing", shortened(70), ipv4.ErrShort},
	} {
		var s dissect.Stack
		assert.ErrorIs(t, w.Ethernet(&s, exact(c.frame)), c.err, c.name)
	}
}

// TestFragments: a first fragment shows its ports and ends there, a later one shows nothing behind its IPv4 header, and
// no tunnel is entered before it is reassembled.
func TestFragments(t *testing.T) {
	const more, last = "\x20\x00", "\x00\x01"
	ipip, tcpSYN := vector(t, "ipip/plain"), vector(t, "tcp/syn")
	for _, c := range []struct {
		name  string
		frame []byte
		read  string
		flow  string
		cut   bool
		data  int // where the payload starts
	}{
		{"VXLAN, first, whole", patched(flannelPing, 20, more), "ethernet ipv4 udp", "172.16.100.101:40592 > 172.16.100.102:8472 proto 17", false, 42},
		{
			"VXLAN, first, a part", patched(shortened(122), 20, more), "ethernet ipv4 udp",
			"172.16.100.101:40592 > 172.16.100.102:8472 proto 17", false, 42,
		},
		{
			"VXLAN, first, UDP length as it was", patched(patched(shortened(122), 20, more), 38, "\x00\x72"), "ethernet ipv4 udp",
			"172.16.100.101:40592 > 172.16.100.102:8472 proto 17", true, 42,
		},
		{
			"VXLAN, first, just the ports", patched(shortened(38), 20, more), "ethernet ipv4",
			"172.16.100.101:40592 > 172.16.100.102:8472 proto 17", true, 34,
		},
		{"VXLAN, later", patched(flannelPing, 20, last), "ethernet ipv4", "172.16.100.101:0 > 172.16.100.102:0 proto 17", false, 34},
		{"IPIP, first", patched(ipip, 20, more), "ethernet ipv4", "192.0.2.1 > 192.0.2.2 proto 4", false, 34},
		{"IPIP, later", patched(ipip, 20, last), "ethernet ipv4", "192.0.2.1 > 192.0.2.2 proto 4", false, 34},
		{"TCP, first", patched(tcpSYN, 20, more), "ethernet ipv4 tcp", "192.0.2.1:40000 > 192.0.2.2:80 proto 6", false, len(tcpSYN)},
		{"TCP, later", patched(tcpSYN, 20, last), "ethernet ipv4", "192.0.2.1:0 > 192.0.2.2:0 proto 6", false, 34},
		{"a broken header in a later one", patched(patched(tcpSYN, 20, last), 46, "\x00"), "ethernet ipv4", "192.0.2.1:0 > 192.0.2.2:0 proto 6", false, 34},
	} {
		for _, partial := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, partial %v", c.name, partial), func(t *testing.T) {
				var s dissect.Stack
				require.NoError(t, newWalker(t, dissect.Config{Partial: partial}).Ethernet(&s, c.frame))
				assert.Equal(t, c.read, read(&s))
				l := s.Outer()
				assert.True(t, l.IsFragment())
				assert.Equal(t, c.flow, l.Flow().String())
				assert.Equal(t, c.cut, l.Cut)
				assert.Equal(t, c.frame[c.data:], append([]byte{}, l.Payload...))
				assert.NoError(t, l.WrongTransportChecksum(), "the rest of the datagram is not there")
			})
		}
	}
}
