// Verdicts about checksums: wrong ones found, absent and unknowable ones not held against a packet. The vectors are
// judged in TestVectorChecksums; here is what each single change to a right frame must do.
package dissect_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
)

// flipped returns a copy of a frame with the lowest bit of one byte flipped.
func flipped(frame []byte, at int) []byte {
	b := exact(frame)
	b[at] ^= 1
	return b
}

// checksummedPing is flannelPing with an outer UDP checksum over everything inside.
func checksummedPing() []byte {
	b := exact(flannelPing)
	pseudo := append(append([]byte{}, b[26:34]...), 0, 17, b[38], b[39])
	binary.BigEndian.PutUint16(b[40:], ^slowSum(pseudo, b[34:]))
	return b
}

func TestWrongChecksum(t *testing.T) {
	ping, tcpSYN, ipip := checksummedPing(), vector(t, "tcp/syn"), vector(t, "ipip/plain")
	for _, c := range []struct {
		name         string
		frame        []byte
		outer, inner error // of the outermost and of the innermost level
	}{
		{"Flannel ping, without outer UDP checksum", flannelPing, nil, nil},
		{"with an outer UDP checksum", ping, nil, nil},
		{"outer TTL", flipped(flannelPing, 22), ipv4.ErrChecksum, nil},
		{"outer destination, which the UDP checksum covers too", flipped(ping, 33), ipv4.ErrChecksum, nil},
		{"outer source port", flipped(ping, 35), udp.ErrChecksum, nil},
		{"outer source port, no checksum", flipped(flannelPing, 35), nil, nil},
		{"outer UDP checksum", flipped(ping, 41), udp.ErrChecksum, nil},
		{"VNI, under the outer UDP checksum", flipped(ping, 48), udp.ErrChecksum, nil},
		{"VNI, no checksum", flipped(flannelPing, 48), nil, nil},
		{"inner MAC address", flipped(ping, 55), udp.ErrChecksum, nil},
		{"inner TTL", flipped(ping, 72), udp.ErrChecksum, ipv4.ErrChecksum},
		{"inner TTL, no outer checksum", flipped(flannelPing, 72), nil, ipv4.ErrChecksum},
		{"inner ICMP sequence", flipped(flannelPing, 91), nil, icmp.ErrChecksum},
		{"last byte of the ping", flipped(ping, len(ping)-1), udp.ErrChecksum, icmp.ErrChecksum},
		{"TCP", tcpSYN, nil, nil},
		{"TCP sequence number", flipped(tcpSYN, 41), tcp.ErrChecksum, tcp.ErrChecksum},
		{"TCP option", flipped(tcpSYN, len(tcpSYN)-1), tcp.ErrChecksum, tcp.ErrChecksum},
		{"IPIP outer", flipped(ipip, 22), ipv4.ErrChecksum, nil},
		{"IPIP inner TTL", flipped(ipip, 42), nil, ipv4.ErrChecksum},
		{"IPIP inner UDP", flipped(ipip, 55), nil, udp.ErrChecksum},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s dissect.Stack
			require.NoError(t, newWalker(t, dissect.Config{}).Ethernet(&s, c.frame))
			assert.Equal(t, c.outer, s.Outer().WrongChecksum())
			assert.Equal(t, c.inner, s.Inner().WrongChecksum())
		})
	}
}

// TestWrongTransportChecksum leaves the IPv4 header out.
func TestWrongTransportChecksum(t *testing.T) {
	frame := flipped(flipped(vector(t, "tcp/syn"), 22), 41) // TTL and sequence number
	var s dissect.Stack
	require.NoError(t, newWalker(t, dissect.Config{}).Ethernet(&s, frame))
	assert.Equal(t, ipv4.ErrChecksum, s.Outer().WrongChecksum())
	assert.Equal(t, tcp.ErrChecksum, s.Outer().WrongTransportChecksum())
	require.NoError(t, newWalker(t, dissect.Config{}).Ethernet(&s, flipped(vector(t, "tcp/syn"), 22)))
	assert.NoError(t, s.Outer().WrongTransportChecksum())
}

// TestChecksumsThatNobodyCanJudge: a transport checksum covers bytes that are not there.
func TestChecksumsThatNobodyCanJudge(t *testing.T) {
	wrong := flipped(checksummedPing(), 41)
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"cut", wrong[:120]},
		{"without a length", patched(wrong, 38, "\x00\x00")},
		{"first fragment", patched(wrong, 20, "\x20\x00")},
		{"later fragment", patched(wrong, 20, "\x00\x01")},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s dissect.Stack
			require.NoError(t, newWalker(t, dissect.Config{Partial: true}).Ethernet(&s, exact(c.frame)))
			assert.NoError(t, s.Outer().WrongTransportChecksum())

			h := s.Outer().IPv4
			h.FixChecksum()
			assert.NoError(t, s.Outer().WrongChecksum())
			h.SetTTL(h.TTL() - 1) // keeps a right checksum right
			assert.NoError(t, s.Outer().WrongChecksum())
			h.Bytes()[8]++
			assert.Equal(t, ipv4.ErrChecksum, s.Outer().WrongChecksum(), "the IPv4 header is there, and wrong")
		})
	}
}

func TestNoChecksumWithoutIPv4(t *testing.T) {
	w := newWalker(t, dissect.Config{})
	for _, name := range []string{"arp/request", "ethernet/llc/stp-bpdu", "ethernet/ethertype/ipv6"} {
		var s dissect.Stack
		require.NoError(t, w.Ethernet(&s, vector(t, name)))
		assert.NoError(t, s.Outer().WrongChecksum())
		assert.NoError(t, s.Outer().WrongTransportChecksum())
	}
}
