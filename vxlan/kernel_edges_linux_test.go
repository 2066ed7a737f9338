package vxlan_test

// Beside the kernel, where lengths, states and sums meet: packets of the kernel's own sockets, whose inner checksum is yet to
// be computed; an outer checksum that comes out as 0; and declared lengths that end early with bytes behind them.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/tunnel"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// checksumAt says where a transport header has its checksum.
var checksumAt = map[uint8]int{tcp.Protocol: 16, udp.Protocol: 6, icmp.Protocol: 2}

const (
	atTransport = ethernet.HeaderLen + ipv4.HeaderLen // in the inner frame
	onePort     = 2000
)

// encapConfig is the configuration of 'srcport 2000 2001 udpcsum' on the kernel's side.
func encapConfig() vxlan.EncapConfig {
	return vxlan.EncapConfig{
		VNI: 1, Src: nodeB, Dst: nodeA, SrcMAC: nodeBMAC, DstMAC: nodeAMAC, DstPort: vxlan.PortLinux,
		SrcPorts: tunnel.Ports{Min: onePort, Max: onePort + 1}, UDPChecksum: true,
	}
}

// routePods gives the node the network behind the peer, as Flannel routes to it: 10.244.0.0/16 via 10.244.2.0.
func (k kernel) routePods(t *testing.T, device string) {
	t.Helper()
	k.node.IP(t, "address add 10.244.1.0/32 dev "+device)
	k.node.IP(t, fmt.Sprintf("neighbour add 10.244.2.0 lladdr %v dev %s nud permanent", vtepAMAC, device))
	k.node.IP(t, "route add 10.244.0.0/16 via 10.244.2.0 onlink dev "+device)
}

// talk makes a socket of the node send to an address of a pod, and returns the outer packet: n bytes by UDP, or a SYN. Its
// inner checksum must be partial.
func (k kernel) talk(t *testing.T, protocol uint8, dst netip.Addr, n int) []byte {
	t.Helper()
	require.NoError(t, k.node.Do(func() error {
		kind := map[uint8]int{tcp.Protocol: unix.SOCK_STREAM, udp.Protocol: unix.SOCK_DGRAM}[protocol]
		fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		to := &unix.SockaddrInet4{Port: 53, Addr: dst.As4()}
		if protocol == udp.Protocol {
			return unix.Sendto(fd, make([]byte, n), 0, to)
		}
		if err := unix.Connect(fd, to); !errors.Is(err, unix.EINPROGRESS) {
			return fmt.Errorf("connect: %w", err)
		}
		return nil
	}))
	f := k.underlay.Receive(t)
	require.True(t, f.Partial, "the kernel computed the inner checksum, though a veth device need not have it")
	require.Greater(t, len(f.Bytes), atInner+atTransport)
	require.Equal(t, protocol, f.Bytes[atInner+ethernet.HeaderLen+9])
	return f.Bytes
}

// TestKernelLeavesChecksumPartial: behaviour 1, local checksum offload. The outer checksum is right although the inner one
// is not there yet, and both are once it is.
func TestKernelLeavesChecksumPartial(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		k := newKernel(t)
		k.tunnel(t, "flannel.1", 1, vxlan.PortLinux, "udpcsum srcport 2000 2001")
		k.routePods(t, "flannel.1")
		pod := netip.MustParseAddr("10.244.2.14")
		for _, n := range []int{0, 1, 2, 17, 1421, 1422} { // to the full MTU of 1450
			t.Run(fmt.Sprintf("UDP, %d bytes", n), func(t *testing.T) {
				comparePartial(t, k.talk(t, udp.Protocol, pod, n))
			})
		}
		t.Run("TCP", func(t *testing.T) { comparePartial(t, k.talk(t, tcp.Protocol, pod, 0)) })

		// All in the outer checksum is known but the inner addresses, so one can be chosen for which the checksum is 0.
		// That stands for 'none', so the kernel sends 0xffff.
		t.Run("outer checksum 0", func(t *testing.T) {
			outer := k.talk(t, udp.Protocol, pod, 4)
			sum := ^binary.BigEndian.Uint16(outer[atUDP+6:])
			a := pod.As4()
			binary.BigEndian.PutUint16(a[2:], checksum.Add(sum, binary.BigEndian.Uint16(a[2:])))
			outer = k.talk(t, udp.Protocol, netip.AddrFrom4(a), 4)
			assert.Equal(t, uint16(0xffff), binary.BigEndian.Uint16(outer[atUDP+6:]))
			comparePartial(t, outer)
		})
	})
}

// comparePartial holds an outer packet of the kernel, whose inner checksum is partial, against ours, in both directions.
func comparePartial(t *testing.T, outer []byte) {
	t.Helper()
	inner := append([]byte(nil), outer[atInner:]...)
	field := checksumAt[inner[ethernet.HeaderLen+9]]

	b := packet.Of(inner)
	require.NoError(t, b.SetChecksumPartial(atTransport, field))
	require.NoError(t, encapsulator(t, encapConfig()).Encapsulate(b, binary.BigEndian.Uint16(outer[atIP+4:])))
	require.Equal(t, outer, b.Bytes())

	d := decapsulator(t, vxlan.DecapConfig{DstPort: vxlan.PortLinux, Local: nodeA})
	back := packet.New(b.Len())
	require.NoError(t, back.CopyFrom(b))
	_, err := d.Decapsulate(back)
	require.NoError(t, err)
	assert.Equal(t, inner, back.Bytes())
	start, at, ok := back.PartialChecksum()
	assert.Equal(t, []any{atTransport, field, true}, []any{start, at, ok}, "it is still to be computed, at its new place")

	require.NoError(t, b.CompleteChecksum())
	_, err = d.Decapsulate(packet.Of(b.Bytes()))
	require.NoError(t, err, "with the inner checksum in its place the outer one is right: nothing but the bytes tells")
}

// TestKernelChecksumStates: however much is known of the inner checksum, the packet is the one that the kernel sends.
func TestKernelChecksumStates(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		k := newKernel(t)
		flannel1 := k.tunnel(t, "flannel.1", 1, vxlan.PortLinux, "udpcsum srcport 2000 2001")
		e := encapsulator(t, encapConfig())
		for protocol, at := range checksumAt {
			for n := range 5 {
				t.Run(fmt.Sprintf("protocol %d, %d bytes", protocol, n), func(t *testing.T) {
					whole, pseudo := transport(t, protocol, n)
					kernel, sent := k.sends(t, flannel1, whole)
					require.True(t, sent)
					require.NoError(t, kernel.CompleteChecksum())
					for name, b := range map[string]*packet.Buffer{
						"unknown": packet.Of(whole), "verified": packet.Of(whole), "partial": packet.Of(whole),
					} {
						switch name {
						case "verified":
							b.SetChecksumVerified()
						case "partial":
							binary.BigEndian.PutUint16(b.Bytes()[atTransport+at:], pseudo)
							require.NoError(t, b.SetChecksumPartial(atTransport, at))
						}
						require.NoError(t, e.Encapsulate(b, binary.BigEndian.Uint16(kernel.Bytes()[atIP+4:])))
						require.NoError(t, b.CompleteChecksum())
						assert.Equal(t, kernel.Bytes(), b.Bytes(), name)
					}
				})
			}
		}
	})
}

// transport returns a frame from the kernel's VTEP to ours with n bytes of a transport protocol and the right checksum, and
// what is in its place while the checksum is partial.
func transport(t *testing.T, protocol uint8, n int) (frame []byte, pseudo uint16) {
	t.Helper()
	const dataOffset = 5 << 4 // of TCP, in 32-bit words
	body := make([]byte, map[uint8]int{tcp.Protocol: 20, udp.Protocol: 8, icmp.Protocol: 8}[protocol], 64)
	switch protocol {
	case tcp.Protocol:
		body[12] = dataOffset
	case udp.Protocol:
		body[5] = byte(len(body) + n)
	case icmp.Protocol:
		body[0] = icmp.TypeEcho
	}
	body = append(body, "data"[:n]...)
	frame = innerIPv4(t, ipv4.Fields{TTL: 9, TOS: 1, Protocol: protocol}, body)
	copy(frame, append(vtepAMAC[:], vtepBMAC[:]...))
	ip, segment, err := ipv4.Parse(frame[ethernet.HeaderLen:])
	require.NoError(t, err)
	if protocol != icmp.Protocol {
		pseudo = checksum.PseudoHeader(ip.Src(), ip.Dst(), protocol, uint16(len(segment)))
	}
	at := checksumAt[protocol]
	binary.BigEndian.PutUint16(segment[at:], pseudo)
	binary.BigEndian.PutUint16(segment[at:], udp.NotZero(checksum.Of(segment)))
	return frame, pseudo
}

// TestKernelEndsWhereDeclared: behaviours 7 and 8. Bytes behind a declared length neither lengthen a frame nor make up for
// what is missing of one. The second decapsulator asks for no VNI, so that it takes its shortest way.
func TestKernelEndsWhereDeclared(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		k := newKernel(t)
		flannel1 := k.tunnel(t, "flannel.1", 1, vxlan.PortLinux, "")
		for name, c := range map[string]vxlan.DecapConfig{
			"one VNI": {DstPort: vxlan.PortLinux, Local: nodeB, LocalMAC: vtepBMAC, VNIs: []uint32{1}},
			"any VNI": {DstPort: vxlan.PortLinux, Local: nodeB, LocalMAC: vtepBMAC},
		} {
			t.Run(name, func(t *testing.T) {
				accepted, cases := 0, declaredCases(t)
				for _, dc := range cases {
					if k.compare(t, flannel1, decapsulator(t, c), dc) {
						accepted++
					}
				}
				assert.Greater(t, accepted, 20)
				assert.Greater(t, len(cases)-accepted, 180)
			})
		}
	})
}

// declaredCases are packets whose lengths and bytes do not match.
func declaredCases(t *testing.T) []decapCase {
	t.Helper()
	var cases []decapCase
	for _, more := range []byte{1, 13, 14, 15, 40} { // an Ethernet header is 14
		cases = append(cases, decapCase{
			name:  fmt.Sprintf("total length %d beyond the frame, UDP length right", more),
			patch: refreshed(func(p []byte) []byte { p[atIP+3] += more; return p }),
		})
	}
	for kind, inner := range map[string][]byte{"IPv4": plainInner(t), "IPv6": innerIPv6(2, 1)} {
		for n := range len(inner) + 1 {
			for where, behind := range map[string][2]int{"IPv4 payload": {64, 0}, "frame": {0, 64}} {
				cases = append(cases, decapCase{
					name:   fmt.Sprintf("%d bytes of a frame with %s, then others in the %s", n, kind, where),
					change: func(o *outerPacket) { o.inner, o.behind = inner[:n], behind },
				})
			}
		}
	}
	for bit := range 14 { // the offset's bits and More Fragments; an id each, or they would become one datagram
		cases = append(cases, decapCase{
			name:   fmt.Sprintf("a fragment, bit %d", bit),
			change: func(o *outerPacket) { o.ip.ID = uint16(200 + bit) },
			patch: refreshed(func(p []byte) []byte {
				binary.BigEndian.PutUint16(p[atIP+6:], 1<<bit)
				return p
			}),
		})
	}
	return cases
}
