package vxlan_test

// Decapsulation beside the kernel, without a plan: packets that are right, nearly right, and damaged.

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// TestKernelAgreesOnRandomPackets sends the same packets to the kernel and to us, and expects the same verdict and the same
// bytes. Left out are tagged inner frames, and outer headers that a host refuses before its VXLAN device sees them: both
// have their cases in [TestKernelDecapsulates].
func TestKernelAgreesOnRandomPackets(t *testing.T) {
	const seed, rounds = 8, 20_000
	t.Logf("seed %d, %d packets", seed, rounds)
	netnstest.Run(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 0))
		k := newKernel(t)
		flannel1 := k.tunnel(t, "flannel.1", 1, vxlan.PortLinux, "")
		ours := decapsulator(t, vxlan.DecapConfig{
			DstPort: vxlan.PortLinux, Local: nodeB, VNIs: []uint32{1}, LocalMAC: vtepBMAC,
		})
		accepted, dropped := 0, map[error]int{}
		for range rounds {
			p := randomPacket(t, rng)
			kernel := k.accepts(t, flannel1, p)
			b := packet.Of(p)
			if _, err := ours.Decapsulate(b); err != nil {
				dropped[err]++
				if kernel != nil {
					t.Fatalf("packet %x\nkernel %x\nwe     %v", p, kernel, err)
				}
				continue
			}
			accepted++
			if !bytes.Equal(zeroAsOnes(kernel), zeroAsOnes(b.Bytes())) {
				t.Fatalf("packet %x\nkernel %x\nwe     %x", p, kernel, b.Bytes())
			}
		}
		t.Logf("accepted %d, dropped %v", accepted, dropped)
		assert.Greater(t, accepted, rounds/4)
		assert.GreaterOrEqual(t, len(dropped), 12, "kinds of faults")
	})
}

// randomPacket returns a packet to the kernel that is more often right than not.
func randomPacket(t *testing.T, rng *rand.Rand) []byte {
	t.Helper()
	for {
		o := outerPlain(randomInner(t, rng), vxlan.PortLinux, 1)
		o.ip.TOS, o.ip.ID, o.ip.TTL = uint8(rng.Uint32()), uint16(rng.Uint32()), uint8(rng.Uint32())
		o.ip.Flags = ipv4.Flags(2*rng.IntN(4)) | ipv4.Flags(rng.IntN(50)/49)
		o.ip.Options = make([]byte, 4*max(0, rng.IntN(20)-10))
		o.udp.SrcPort = uint16(rng.Uint32())
		o.checksum = rng.IntN(2) == 0
		o.behind = [2]int{max(0, rng.IntN(20)-15), max(0, rng.IntN(20)-10)}
		if rng.IntN(8) == 0 {
			o.header ^= 1 << rng.IntN(64)
		}
		p := o.bytes(t)
		udpAt := atIP + o.ip.Len()
		if rng.IntN(50) == 0 {
			p[atIP+10] ^= 1 << rng.IntN(8) // the header checksum
		}
		for range max(0, rng.IntN(8)-5) {
			p[udpAt+rng.IntN(len(p)-udpAt)] ^= 1 << rng.IntN(8)
		}
		if !taggedInside(p[udpAt:]) {
			return p
		}
	}
}

// taggedInside reports whether a datagram's inner frame has, at its usual place, a VLAN tag.
func taggedInside(datagram []byte) bool {
	const at = udp.HeaderLen + vxlan.HeaderLen + ethernet.HeaderLen - 2
	if len(datagram) < at+2 {
		return false
	}
	etherType := binary.BigEndian.Uint16(datagram[at:])
	return etherType == ethernet.TypeVLAN || etherType == ethernet.TypeQinQ
}

// randomInner returns an inner frame of any kind, one in eight cut somewhere.
func randomInner(t *testing.T, rng *rand.Rand) []byte {
	t.Helper()
	mark := uint8(rng.Uint32())
	var inner []byte
	switch rng.IntN(6) {
	case 0:
		inner = innerIPv6(mark, uint8(rng.Uint32()))
	case 1:
		inner = arp.Probe(vtepAMAC, [4]byte{10, 0, 0, 1}).AppendFrame(nil, ethernet.Broadcast)
	case 2:
		inner = withEtherType(t, uint16(rng.Uint32()), 14+rng.IntN(20))
	case 3: // TCP's number, but nothing that the kernel could join to a superframe
		inner = innerIPv4(t, ipv4.Fields{TOS: mark, ID: uint16(rng.Uint32()), Protocol: tcp.Protocol}, make([]byte, rng.IntN(30)))
	default:
		f := ipv4.Fields{TOS: mark, ID: uint16(rng.Uint32()), Protocol: udp.Protocol, Options: make([]byte, 4*rng.IntN(4))}
		inner = innerIPv4(t, f, datagram(t, uint16(rng.Uint32()), make([]byte, rng.IntN(40))))
	}
	if rng.IntN(10) == 0 {
		copy(inner[6:], vtepBMAC[:])
	}
	if rng.IntN(8) == 0 {
		inner = inner[:rng.IntN(len(inner)+1)]
	}
	return inner
}

// zeroAsOnes returns the frame with an IPv4 checksum of 0 as 0xffff, which is what the kernel may make of it.
func zeroAsOnes(frame []byte) []byte {
	const at = ethernet.HeaderLen + 10
	if len(frame) < at+2 || binary.BigEndian.Uint16(frame[ethernet.HeaderLen-2:]) != ethernet.TypeIPv4 ||
		binary.BigEndian.Uint16(frame[at:]) != 0 {
		return frame
	}
	frame = bytes.Clone(frame)
	binary.BigEndian.PutUint16(frame[at:], 0xffff)
	return frame
}
