// What the tests of the walk share: frames, walkers, and where in a frame a view lies.
package dissect_test

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/internal/vectors"
)

// flannelPing is a ping between two pods on two nodes of a Flannel cluster, captured on the sending node's interface:
// Ethernet, IPv4, UDP to 8472, VXLAN with VNI 1, Ethernet, IPv4, ICMP echo request. The tests count on where each starts.
var flannelPing = unhex(`
	00505693633b 005056936a3a 0800
	4500 0086 7586 0000 40 11 e3f4 ac106465 ac106466
	9e90 2118 0072 0000
	08000000 000001 00
	b672ae367b6c fe90c41869a7 0800
	4500 0054 2305 4000 3f 01 ffa2 0af4010c 0af4020e
	08 00 847d 0c47 044e
	0d1e55cf` + strings.Repeat("00", 52))

// Where the headers of flannelPing start.
const (
	pingIPv4          = 14
	pingUDP           = 34
	pingVXLAN         = 42
	pingInnerEthernet = 50
	pingInnerIPv4     = 64
	pingInnerICMP     = 84
	pingInnerBody     = 92
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

func newWalker(t testing.TB, c dissect.Config) *dissect.Walker {
	t.Helper()
	w, err := dissect.New(c)
	require.NoError(t, err)
	return w
}

// walk walks a frame of the given link.
func walk(w *dissect.Walker, s *dissect.Stack, link vectors.Link, frame []byte) error {
	if link == vectors.LinkIPv4 {
		return w.IPv4(s, frame)
	}
	return w.Ethernet(s, frame)
}

// vector returns the frame of the vector with the given name, the caller's to change.
func vector(t testing.TB, name string) []byte {
	t.Helper()
	for _, v := range vectors.Load(t) {
		if v.Name == name {
			return v.Frame
		}
	}
	t.Fatalf("no vector %q", name)
	return nil
}

// exact returns a copy of b in memory that ends where it does, so that a read behind it panics.
func exact(b []byte) []byte { return append(make([]byte, 0, len(b)), b...)[:len(b):len(b)] }

// offset returns where part starts in frame; false if it is empty (and may point anywhere) or lies outside.
func offset(frame, part []byte) (int, bool) {
	if len(part) == 0 || len(frame) == 0 {
		return 0, false
	}
	at := int(uintptr(unsafe.Pointer(unsafe.SliceData(part))) - uintptr(unsafe.Pointer(unsafe.SliceData(frame))))
	return at, at >= 0 && at+len(part) <= len(frame)
}

// slowSum is RFC 1071 section 4.1, word by word: the oracle.
func slowSum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(b[0])<<8 | uint32(b[1])
			sum = sum&0xffff + sum>>16
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
			sum = sum&0xffff + sum>>16
		}
	}
	return uint16(sum)
}

// inIPv4 puts a payload behind an IPv4 header that is written here by hand.
func inIPv4(protocol byte, payload []byte) []byte {
	h := []byte{0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
	binary.BigEndian.PutUint16(h[10:], ^slowSum(h))
	return append(h, payload...)
}

// inEthernet puts an IPv4 packet into a frame.
func inEthernet(packet []byte) []byte {
	return append([]byte{2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa, 8, 0}, packet...)
}

// inVXLAN returns the IPv4 packet that carries a frame under the given VNI, without UDP checksum.
func inVXLAN(vni byte, frame []byte) []byte {
	h := []byte{0x9c, 0x40, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, vni, 0}
	binary.BigEndian.PutUint16(h[4:], uint16(len(h)+len(frame)))
	return inIPv4(17, append(h, frame...))
}
