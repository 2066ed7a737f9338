// What a walk says about broken frames: which header, at which byte, what is wrong with it, and what was read before.
package dissect_test

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// patched returns a copy of a frame with the bytes at some offset replaced.
func patched(frame []byte, at int, with string) []byte {
	b := slices.Clone(frame)
	copy(b[at:], with)
	return b
}

// shortened returns the first n bytes of flannelPing with all four length fields in step, so that only the header that
// the frame ends in is wrong.
func shortened(n int) []byte {
	b := exact(flannelPing[:n])
	binary.BigEndian.PutUint16(b[pingIPv4+2:], uint16(n-pingIPv4))
	if n >= pingVXLAN {
		binary.BigEndian.PutUint16(b[pingUDP+4:], uint16(n-pingUDP))
	}
	if n >= pingInnerICMP {
		binary.BigEndian.PutUint16(b[pingInnerIPv4+2:], uint16(n-pingInnerIPv4))
	}
	return b
}

// headers names the headers of a level that were read.
func headers(l *dissect.Level) string {
	var names []string
	for _, h := range []struct {
		valid bool
		name  string
	}{
		{l.Ethernet.IsValid(), "ethernet"},
		{l.ARP.IsValid(), "arp"},
		{l.IPv4.IsValid(), "ipv4"},
		{l.TCP.IsValid(), "tcp"},
		{l.UDP.IsValid(), "udp"},
		{l.ICMP.IsValid(), "icmp"},
		{l.VXLAN.IsValid(), "vxlan"},
	} {
		if h.valid {
			names = append(names, h.name)
		}
	}
	return strings.Join(names, " ")
}

// read lists the headers of all levels, as "ethernet ipv4 udp vxlan | ethernet ipv4 icmp".
func read(s *dissect.Stack) string {
	var levels []string
	for i := range s.Levels() {
		levels = append(levels, headers(&s.Levels()[i]))
	}
	return strings.Join(levels, " | ")
}

func TestErrors(t *testing.T) {
	tcpSYN := vector(t, "tcp/syn")
	arpRequest := vector(t, "arp/vlan") // behind one tag, so it starts at 18
	bpdu := vector(t, "ethernet/llc/stp-bpdu")
	ipip := vector(t, "ipip/plain")
	const outer, inner = "ethernet ipv4 udp vxlan", " | ethernet ipv4"
	for _, c := range []struct {
		name   string
		frame  []byte
		level  int
		layer  dissect.Layer
		offset int
		err    error
		read   string
	}{
		{"no byte at all", nil, 0, dissect.Ethernet, 0, ethernet.ErrShort, ""},
		{"frame ends in the addresses", flannelPing[:13], 0, dissect.Ethernet, 0, ethernet.ErrShort, ""},
		{"frame ends in a tag", arpRequest[:17], 0, dissect.Ethernet, 0, ethernet.ErrShort, ""},
		{"802.3 length beyond the end", bpdu[:20], 0, dissect.Ethernet, 0, ethernet.ErrLength, ""},
		{"no byte of ARP", arpRequest[:18], 0, dissect.ARP, 18, arp.ErrShort, "ethernet"},
		{"ARP ends in the last address", arpRequest[:45], 0, dissect.ARP, 18, arp.ErrShort, "ethernet"},
		{"ARP for another hardware", patched(arpRequest, 18, "\x00\x06"), 0, dissect.ARP, 18, arp.ErrHardware, "ethernet"},
		{"ARP with 8-byte addresses", patched(arpRequest, 22, "\x08"), 0, dissect.ARP, 18, arp.ErrHardware, "ethernet"},
		{"ARP for another protocol", patched(arpRequest, 20, "\x86\xdd"), 0, dissect.ARP, 18, arp.ErrProtocol, "ethernet"},
		{"no byte of IPv4", flannelPing[:14], 0, dissect.IPv4, 14, ipv4.ErrShort, "ethernet"},
		{"IPv4 ends in its addresses", flannelPing[:33], 0, dissect.IPv4, 14, ipv4.ErrShort, "ethernet"},
		{"IPv4 options beyond the end", patched(flannelPing[:40], 14, "\x4f"), 0, dissect.IPv4, 14, ipv4.ErrShort, "ethernet"},
		{"IPv4 of version 6", patched(flannelPing, 14, "\x65"), 0, dissect.IPv4, 14, ipv4.ErrVersion, "ethernet"},
		{"IPv4 header length 16", patched(flannelPing, 14, "\x44"), 0, dissect.IPv4, 14, ipv4.ErrHeaderLen, "ethernet"},
		{"IPv4 total length 19", patched(flannelPing, 16, "\x00\x13"), 0, dissect.IPv4, 14, ipv4.ErrTotalLen, "ethernet"},
		{"IPv4 total length 0", patched(flannelPing, 16, "\x00\x00"), 0, dissect.IPv4, 14, ipv4.ErrNoLength, "ethernet"},
		{"IPv4 total length one too many", patched(flannelPing, 16, "\x00\x87"), 0, dissect.IPv4, 14, ipv4.ErrTruncated, "ethernet"},
		{"no byte of UDP", shortened(34), 0, dissect.UDP, 34, udp.ErrShort, "ethernet ipv4"},
		{"UDP of seven bytes", shortened(41), 0, dissect.UDP, 34, udp.ErrShort, "ethernet ipv4"},
		{"UDP length 7", patched(flannelPing, 38, "\x00\x07"), 0, dissect.UDP, 34, udp.ErrLength, "ethernet ipv4"},
		{"UDP length 0", patched(flannelPing, 38, "\x00\x00"), 0, dissect.UDP, 34, udp.ErrNoLength, "ethernet ipv4"},
		{"UDP length one too many", patched(flannelPing, 38, "\x00\x73"), 0, dissect.UDP, 34, udp.ErrTruncated, "ethernet ipv4"},
		{"TCP of 19 bytes", patched(tcpSYN[:34+19], 16, "\x00\x27"), 0, dissect.TCP, 34, tcp.ErrShort, "ethernet ipv4"},
		{"TCP options beyond the end", patched(tcpSYN, 46, "\xf0"), 0, dissect.TCP, 34, tcp.ErrShort, "ethernet ipv4"},
		{"TCP data offset 16", patched(tcpSYN, 46, "\x40"), 0, dissect.TCP, 34, tcp.ErrDataOffset, "ethernet ipv4"},
		{"no byte of VXLAN", shortened(42), 0, dissect.VXLAN, 42, vxlan.ErrShort, "ethernet ipv4 udp"},
		{"VXLAN of seven bytes", shortened(49), 0, dissect.VXLAN, 42, vxlan.ErrShort, "ethernet ipv4 udp"},
		{"VXLAN without I", patched(flannelPing, 42, "\xf7"), 0, dissect.VXLAN, 42, vxlan.ErrNoVNI, "ethernet ipv4 udp"},
		{"no byte of the inner frame", shortened(50), 1, dissect.Ethernet, 50, ethernet.ErrShort, outer + " | "},
		{"inner frame of 13 bytes", shortened(63), 1, dissect.Ethernet, 50, ethernet.ErrShort, outer + " | "},
		{"inner 802.3 length beyond the end", patched(flannelPing, 62, "\x00\x55"), 1, dissect.Ethernet, 50, ethernet.ErrLength, outer + " | "},
		{"inner frame ends in a tag", patched(shortened(65), 62, "\x81\x00"), 1, dissect.Ethernet, 50, ethernet.ErrShort, outer + " | "},
		{"inner ARP too short", patched(shortened(91), 62, "\x08\x06"), 1, dissect.ARP, 64, arp.ErrShort, outer + " | ethernet"},
		{"inner IPv4 of 19 bytes", shortened(83), 1, dissect.IPv4, 64, ipv4.ErrShort, outer + " | ethernet"},
		{"inner IPv4 of version 5", patched(flannelPing, 64, "\x55"), 1, dissect.IPv4, 64, ipv4.ErrVersion, outer + " | ethernet"},
		{"inner IPv4 total length one too many", patched(flannelPing, 66, "\x00\x55"), 1, dissect.IPv4, 64, ipv4.ErrTruncated, outer + " | ethernet"},
		{"inner ICMP of seven bytes", shortened(91), 1, dissect.ICMP, 84, icmp.ErrShort, outer + inner},
		{"IPIP without an inner byte", patched(ipip[:34], 16, "\x00\x14"), 1, dissect.IPv4, 34, ipv4.ErrShort, "ethernet ipv4 | "},
		{"IPIP with IPv6 inside", patched(ipip, 34, "\x60"), 1, dissect.IPv4, 34, ipv4.ErrVersion, "ethernet ipv4 | "},
		{"IPIP with a broken UDP inside", patched(ipip, 58, "\x00\x07"), 1, dissect.UDP, 54, udp.ErrLength, "ethernet ipv4 | ipv4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWalker(t, dissect.Config{})
			var s dissect.Stack
			err := w.Ethernet(&s, exact(c.frame))
			require.Error(t, err)
			require.ErrorIs(t, err, c.err)
			var at *dissect.Error
			require.True(t, errors.As(err, &at))
			assert.Equal(t, dissect.Error{Level: c.level, Layer: c.layer, Offset: c.offset, Err: c.err}, *at)
			assert.Equal(t, c.read, read(&s))
		})
	}
}

// TestRawErrors: offsets count from the start of the packet where there is no Ethernet header.
func TestRawErrors(t *testing.T) {
	w := newWalker(t, dissect.Config{})
	for _, c := range []struct {
		name   string
		packet []byte
		level  int
		layer  dissect.Layer
		offset int
		err    error
	}{
		{"no byte at all", nil, 0, dissect.IPv4, 0, ipv4.ErrShort},
		{"an IPv6 packet", []byte("\x60" + strings.Repeat("\x00", 39)), 0, dissect.IPv4, 0, ipv4.ErrVersion},
		{"outer UDP", patched(flannelPing, 38, "\x00\x07")[pingIPv4:], 0, dissect.UDP, 20, udp.ErrLength},
		{"inner IPv4", patched(flannelPing, 64, "\x55")[pingIPv4:], 1, dissect.IPv4, 50, ipv4.ErrVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s dissect.Stack
			err := w.IPv4(&s, exact(c.packet))
			assert.Equal(t, &dissect.Error{Level: c.level, Layer: c.layer, Offset: c.offset, Err: c.err}, err)
		})
	}
}

func TestErrorText(t *testing.T) {
	var s dissect.Stack
	err := newWalker(t, dissect.Config{}).Ethernet(&s, patched(flannelPing, 66, "\x00\x55"))
	assert.EqualError(t, err, "ipv4: total length beyond the end of the packet (ipv4 header at byte 64)")
	for layer, name := range map[dissect.Layer]string{
		dissect.Ethernet: "ethernet", dissect.ARP: "arp", dissect.IPv4: "ipv4", dissect.TCP: "tcp",
		dissect.UDP: "udp", dissect.ICMP: "icmp", dissect.VXLAN: "vxlan", 7: "unknown", 255: "unknown",
	} {
		assert.Equal(t, name, layer.String())
	}
}

// TestErrorLivesInTheStack: an error is the stack's until the next walk; a copy is the caller's for good.
func TestErrorLivesInTheStack(t *testing.T) {
	w := newWalker(t, dissect.Config{})
	var s dissect.Stack
	var kept dissect.Error
	err := w.Ethernet(&s, flannelPing[:20])
	var at *dissect.Error
	require.True(t, errors.As(err, &at))
	kept = *at
	require.Error(t, w.Ethernet(&s, nil))
	assert.Equal(t, dissect.IPv4, kept.Layer)
	assert.Equal(t, dissect.Ethernet, at.Layer, "the same memory")
	assert.NoError(t, w.Ethernet(&s, flannelPing), "after an error, a good frame is good")
}

// nested returns a frame with n levels, and where the level beyond the last one would start.
func nested(n int, tunnel func(inner []byte) []byte, innermost []byte) []byte {
	for range n - 1 {
		innermost = tunnel(innermost)
	}
	return innermost
}

func TestDepth(t *testing.T) {
	for _, c := range []struct {
		name   string
		tunnel func([]byte) []byte
		layer  dissect.Layer // that starts the level too many
		start  func(level int) int
	}{
		{
			"IPIP", func(frame []byte) []byte { return inEthernet(inIPv4(4, frame[14:])) },
			dissect.IPv4, func(level int) int { return 14 + 20*level },
		},
		{
			"VXLAN", func(frame []byte) []byte { return inEthernet(inVXLAN(1, frame)) },
			dissect.Ethernet, func(level int) int { return 50 * level },
		},
	} {
		innermost := inEthernet(inIPv4(253, []byte("data")))
		for _, limit := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8} {
			w := newWalker(t, dissect.Config{Levels: limit})
			most := limit
			if limit == 0 {
				most = dissect.MaxLevels
			}
			for n := 1; n <= dissect.MaxLevels+2; n++ {
				frame := nested(n, c.tunnel, innermost)
				var s dissect.Stack
				err := w.Ethernet(&s, frame)
				if n <= most {
					require.NoError(t, err, "%s: %d levels of %d", c.name, n, most)
					require.Len(t, s.Levels(), n)
					require.Equal(t, "data", string(s.Inner().Payload))
					continue
				}
				want := &dissect.Error{Level: most - 1, Layer: c.layer, Offset: c.start(most), Err: dissect.ErrDepth}
				require.Equal(t, want, err, "%s: %d levels of %d", c.name, n, most)
				require.Len(t, s.Levels(), most, "what was read before is kept")
				at, inside := offset(frame, s.Inner().Payload)
				require.True(t, inside)
				require.Equal(t, c.start(most), at, "the payload of the last level is the tunnel that was not entered")
			}
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for _, levels := range []int{-1, 9, math.MaxInt, math.MinInt} {
		w, err := dissect.New(dissect.Config{Levels: levels})
		assert.Nil(t, w)
		assert.ErrorContains(t, err, "dissect: Config.Levels is")
		assert.ErrorContains(t, err, "want 1 to 8, or 0 for 8")
	}
}

func TestVXLANPorts(t *testing.T) {
	many := make([]uint16, 0, 1<<15)
	for p := 1; p < 1<<16; p += 2 {
		many = append(many, uint16(p))
	}
	isDefault := func(p int) bool { return p == 4789 || p == 8472 }
	for _, c := range []struct {
		name  string
		ports []uint16
		vxlan func(port int) bool
	}{
		{"default", nil, isDefault},
		{"none", []uint16{}, func(int) bool { return false }},
		{"one", []uint16{4790}, func(p int) bool { return p == 4790 }},
		{"the ends", []uint16{0, 65535}, func(p int) bool { return p == 0 || p == 65535 }},
		{"the same twice", []uint16{4789, 8472, 4789}, isDefault},
		{"every odd one", many, func(p int) bool { return p%2 == 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWalker(t, dissect.Config{VXLANPorts: c.ports})
			frame := slices.Clone(flannelPing)
			var s dissect.Stack
			for port := range 1 << 16 {
				binary.BigEndian.PutUint16(frame[pingUDP+2:], uint16(port))
				require.NoError(t, w.Ethernet(&s, frame))
				require.Equal(t, c.vxlan(port), s.Outer().VXLAN.IsValid(), "port %d", port)
				require.Equal(t, c.vxlan(port), len(s.Levels()) == 2, "port %d", port)
			}
		})
	}
	// The list belongs to the caller: a walker does not change with it.
	ports := []uint16{8472}
	w := newWalker(t, dissect.Config{VXLANPorts: ports})
	ports[0] = 1
	var s dissect.Stack
	require.NoError(t, w.Ethernet(&s, flannelPing))
	assert.Len(t, s.Levels(), 2)
}

func TestZeroStack(t *testing.T) {
	var s dissect.Stack
	assert.Empty(t, s.Levels())
	assert.Same(t, s.Outer(), s.Inner())
	assert.Equal(t, dissect.Level{}, *s.Outer())
	assert.Zero(t, s.Outer().Flow())
	assert.False(t, s.Outer().IsFragment())
	assert.NoError(t, s.Outer().WrongChecksum())
	assert.NoError(t, s.Outer().WrongTransportChecksum())
}
