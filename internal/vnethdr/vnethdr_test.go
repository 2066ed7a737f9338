package vnethdr_test

// Headers as Linux writes them are put down here as bytes, by include/uapi/linux/virtio_net.h; numbers are little-endian, as on
// a device with TUNSETVNETLE.

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/vnethdr"
	"github.com/culvert-net/culvert/packet"
)

var (
	tap = vnethdr.Format{LittleEndian: true}
	tun = vnethdr.Format{LittleEndian: true, Raw: true}
)

const allOffloads = packet.OffloadChecksum | packet.OffloadTCP4 | packet.OffloadTCP6 | packet.OffloadUDP4 | packet.OffloadTunnelTCP4

// unhex reads bytes that are written with spaces between them.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// Headers of packets, from the inside out. Checksums are not filled in, as they are of no interest here.

func tcpSegment(flags byte) []byte {
	h := unhex("8235 1451 00000001 00000002 50 10 ffff 0000 0000")
	h[13] |= flags
	return append(h, make([]byte, 3000)...)
}

func udpDatagram(payload []byte) []byte {
	h := unhex("c350 12b5 0000 0000")
	binary.BigEndian.PutUint16(h[4:], uint16(len(h)+len(payload)))
	return append(h, payload...)
}

func ip4(protocol byte, payload []byte) []byte {
	h := unhex("4500 0000 0001 4000 40 00 0000 0a000001 0a000002")
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
	h[9] = protocol
	return append(h, payload...)
}

func ip4options(protocol byte, payload []byte) []byte {
	h := append(unhex("4600 0000 0001 4000 40 00 0000 0a000001 0a000002"), 1, 1, 1, 1)
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
	h[9] = protocol
	return append(h, payload...)
}

func ip6(next byte, payload []byte) []byte {
	h := append(unhex("60000000 0000 00 40"), make([]byte, 32)...)
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	h[6], h[23], h[39] = next, 1, 2
	return append(h, payload...)
}

func frame(etherType uint16, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16(unhex("020000000002 020000000001"), etherType), payload...)
}

func tagged(etherType uint16, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16(unhex("020000000002 020000000001 8100 0007"), etherType), payload...)
}

func vxlan(inner []byte) []byte { return udpDatagram(append(unhex("08000000 00000100"), inner...)) }

const (
	tcpProtocol = 6
	udpProtocol = 17
)

var (
	plainTCP4  = frame(ethernet.TypeIPv4, ip4(tcpProtocol, tcpSegment(0)))
	plainCWR   = frame(ethernet.TypeIPv4, ip4(tcpProtocol, tcpSegment(0x80)))
	plainTCP6  = frame(ethernet.TypeIPv6, ip6(tcpProtocol, tcpSegment(0)))
	plainUDP4  = frame(ethernet.TypeIPv4, ip4(udpProtocol, udpDatagram(make([]byte, 3000))))
	plainUDP6  = frame(ethernet.TypeIPv6, ip6(udpProtocol, udpDatagram(make([]byte, 3000))))
	vlanTCP4   = tagged(ethernet.TypeIPv4, ip4(tcpProtocol, tcpSegment(0)))
	rawTCP4    = ip4(tcpProtocol, tcpSegment(0))
	optionTCP4 = frame(ethernet.TypeIPv4, ip4options(tcpProtocol, tcpSegment(0)))
	inVXLAN    = frame(ethernet.TypeIPv4, ip4(udpProtocol, vxlan(plainTCP4)))
	inVXLAN6   = frame(ethernet.TypeIPv6, ip6(udpProtocol, vxlan(plainTCP4)))
	inVXLANopt = frame(ethernet.TypeIPv4, ip4(udpProtocol, vxlan(optionTCP4)))
	inIPIP     = frame(ethernet.TypeIPv4, ip4(4, rawTCP4))
	tcp6in     = frame(ethernet.TypeIPv4, ip4(udpProtocol, vxlan(plainTCP6)))
	udp4in     = frame(ethernet.TypeIPv4, ip4(udpProtocol, vxlan(plainUDP4)))
	withOuter  = withOuterChecksum(inVXLAN)
)

// withOuterChecksum returns a copy of a VXLAN packet with some checksum in its outer UDP header.
func withOuterChecksum(p []byte) []byte {
	p = bytes.Clone(p)
	p[14+20+6] = 0xab
	return p
}

// TestBothWays has headers that are read and, from what was read, written again.
func TestBothWays(t *testing.T) {
	for _, c := range []struct {
		name         string
		format       vnethdr.Format
		header       string
		packet       []byte
		start, field int // of the checksum; field 0: there is none
		gso          packet.GSOType
		size         uint16
	}{
		{"nothing to say", tap, "00 00 0000 0000 0000 0000", plainTCP4, 0, 0, 0, 0},
		{"checksum of TCP", tap, "01 00 0000 0000 2200 1000", plainTCP4, 34, 16, 0, 0},
		{"checksum without Ethernet", tun, "01 00 0000 0000 1400 1000", rawTCP4, 20, 16, 0, 0},
		{"checksum within a tunnel", tap, "01 00 0000 0000 5400 1000", inVXLAN, 84, 16, 0, 0},
		{"TCP", tap, "01 01 3600 b405 2200 1000", plainTCP4, 34, 16, packet.GSOTCP4, 1460},
		{"TCP, header of 12 bytes", tap, "01 01 3600 b405 2200 1000 0000", plainTCP4, 34, 16, packet.GSOTCP4, 1460},
		{"TCP, header of 24 bytes", tap, "01 01 3600 b405 2200 1000" + strings.Repeat("00", 14), plainTCP4, 34, 16, packet.GSOTCP4, 1460},
		{"TCP without Ethernet", tun, "01 01 2800 b405 1400 1000", rawTCP4, 20, 16, packet.GSOTCP4, 1460},
		{"TCP behind a VLAN tag", tap, "01 01 3a00 b405 2600 1000", vlanTCP4, 38, 16, packet.GSOTCP4, 1460},
		{"TCP behind IPv4 options", tap, "01 01 3a00 b405 2600 1000", optionTCP4, 38, 16, packet.GSOTCP4, 1460},
		{"TCP with CWR", tap, "01 81 3600 b405 2200 1000", plainCWR, 34, 16, packet.GSOTCP4, 1460},
		{"TCP over IPv6", tap, "01 04 4a00 b405 3600 1000", plainTCP6, 54, 16, packet.GSOTCP6, 1460},
		{"UDP", tap, "01 05 2a00 e803 2200 0600", plainUDP4, 34, 6, packet.GSOUDP4, 1000},
		{
			"TCP in VXLAN", tap, "01 21 6800 8205 5400 1000 0000 0000 0000 0000 0000 2200 4000", inVXLAN, 84, 16,
			packet.GSOTCP4, 1410,
		},
		{
			"TCP behind options in VXLAN", tap, "01 21 6c00 8205 5800 1000 0000 0000 0000 0000 0000 2200 4000", inVXLANopt, 88, 16,
			packet.GSOTCP4, 1410,
		},
		{
			"TCP in VXLAN over IPv6", tap, "01 41 7c00 8205 6800 1000 0000 0000 0000 0000 0000 3600 5400", inVXLAN6, 104, 16,
			packet.GSOTCP4, 1410,
		},
		{
			"TCP in VXLAN with a checksum", tap, "09 21 6800 8205 5400 1000 0000 0000 0000 0000 0000 2200 4000", withOuter, 84, 16,
			packet.GSOTCP4, 1410,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := unhex(c.header)
			b := packet.Of(c.packet)
			require.NoError(t, c.format.Read(header, b))
			start, field, partial := b.PartialChecksum()
			assert.Equal(t, c.field != 0, partial)
			assert.Equal(t, [2]int{c.start, c.field}, [2]int{start, field})
			gso, size := b.GSO()
			assert.Equal(t, c.gso, gso)
			assert.Equal(t, c.size, size)

			written := bytes.Repeat([]byte{0xee}, len(header))
			require.NoError(t, c.format.Put(written, b, allOffloads))
			assert.Equal(t, hex.EncodeToString(header), hex.EncodeToString(written))
		})
	}
}

// TestReadOnly has headers that are read, but never written.
func TestReadOnly(t *testing.T) {
	b := packet.Of(plainTCP4)
	require.NoError(t, tap.Read(unhex("02 00 0000 0000 0000 0000"), b))
	assert.Equal(t, packet.ChecksumVerified, b.Checksum())

	b = packet.Of(inVXLAN)
	require.NoError(t, tap.Read(unhex("01 01 0000 8205 5400 1000"), b), "a packet socket does not speak of tunnels")
	gso, size := b.GSO()
	assert.Equal(t, packet.GSOTCP4, gso)
	assert.EqualValues(t, 1410, size)

	b = packet.Of(tcp6in)
	require.NoError(t, tap.Read(unhex("01 24 0000 8205 6800 1000 0000 00000000 0000 0000 2200 4000"), b))
	gso, _ = b.GSO()
	assert.Equal(t, packet.GSOTCP6, gso)

	b = packet.Of(udp4in)
	require.NoError(t, tap.Read(unhex("01 25 0000 8205 5400 0600 0000 00000000 0000 0000 2200 4000"), b))
	gso, _ = b.GSO()
	assert.Equal(t, packet.GSOUDP4, gso)
}

func TestReadErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		header string
		packet []byte
		err    error
	}{
		{"header too short", "01 00 0000 0000 2200 10", plainTCP4, vnethdr.ErrShort},
		{"no header", "", plainTCP4, vnethdr.ErrShort},
		{"checksum starts behind the packet", "01 00 0000 0000 ff7f 1000", plainTCP4, vnethdr.ErrChecksum},
		{"checksum starts as far as can be said", "01 00 0000 0000 ffff ffff", plainTCP4, vnethdr.ErrChecksum},
		{"field behind the packet", "01 00 0000 0000 2200 ff7f", plainTCP4, vnethdr.ErrChecksum},
		{"field half in the packet", "01 00 0000 0000 0000 0100", []byte{1, 2}, vnethdr.ErrChecksum},
		{"checksum of no packet", "01 00 0000 0000 0000 0000", nil, vnethdr.ErrChecksum},
		{"superframe without a checksum", "00 01 3600 b405 2200 1000", plainTCP4, vnethdr.ErrChecksum},
		{"superframe with a verified checksum", "02 01 3600 b405 2200 1000", plainTCP4, vnethdr.ErrChecksum},
		{"segments of 0 bytes", "01 01 3600 0000 2200 1000", plainTCP4, vnethdr.ErrSize},
		{"segments of GSO_BY_FRAGS", "01 01 3600 ffff 2200 1000", plainTCP4, vnethdr.ErrSize},
		{"unknown type", "01 02 3600 b405 2200 1000", plainTCP4, vnethdr.ErrType},
		{"UDP fragments", "01 03 3600 b405 2200 0600", plainUDP4, vnethdr.ErrType},
		{"UDP over IPv6", "01 05 3600 b405 3600 0600", plainUDP6, vnethdr.ErrType},
		{"bit of accurate ECN", "01 11 3600 b405 2200 1000", plainTCP4, vnethdr.ErrType},
		{"ECN of nothing", "01 80 3600 b405 2200 1000", plainTCP4, vnethdr.ErrType},
		{"ECN of UDP", "01 85 3600 b405 2200 0600", plainUDP4, vnethdr.ErrType},
		{"TCP with UDP's field", "01 01 3600 b405 2200 0600", plainTCP4, vnethdr.ErrHeaders},
		{"TCP with a header cut off", "01 01 3600 b405 2200 1000", plainTCP4[:53], vnethdr.ErrHeaders},
		{"TCP with too long a header", "01 01 3600 b405 2000 1000", frame(ethernet.TypeIPv4, ip4(6, unhex("0000 0000 00000000 00000000 f010 ffff 0000 0000"))), vnethdr.ErrHeaders},
		{"TCP without an IP header in front", "01 01 3600 b405 0e00 1000", plainTCP4, vnethdr.ErrHeaders},
		{"UDP whose IP header says TCP", "01 05 3600 b405 2200 0600", plainTCP4, vnethdr.ErrType},
		{"tunnel in a short header", "01 21 6800 8205 5400 1000 0000", inVXLAN, vnethdr.ErrTunnel},
		{"tunnel over both IPs", "01 61 6800 8205 5400 1000 0000 00000000 0000 0000 2200 4000", inVXLAN, vnethdr.ErrTunnel},
		{"tunnel's UDP in its IP", "01 21 6800 8205 5400 1000 0000 00000000 0000 0000 2100 4000", inVXLAN, vnethdr.ErrTunnel},
		{"tunnel's UDP in its IPv6", "01 41 6800 8205 5400 1000 0000 00000000 0000 0000 2200 4000", inVXLAN, vnethdr.ErrTunnel},
		{"inner IP in the outer UDP", "01 21 6800 8205 5400 1000 0000 00000000 0000 0000 2200 2900", inVXLAN, vnethdr.ErrTunnel},
		{"inner IP overlaps TCP", "01 21 6800 8205 5400 1000 0000 00000000 0000 0000 2200 4100", inVXLAN, vnethdr.ErrTunnel},
		{"tunnel with nothing in it", "01 20 6800 8205 5400 1000 0000 00000000 0000 0000 2200 4000", inVXLAN, vnethdr.ErrType},
		{"tunnel with ECN of nothing", "01 a0 6800 8205 5400 1000 0000 00000000 0000 0000 2200 4000", inVXLAN, vnethdr.ErrType},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := packet.Of(c.packet)
			require.ErrorIs(t, tap.Read(unhex(c.header), b), c.err)
			assert.Equal(t, c.packet, append([]byte(nil), b.Bytes()...), "the packet itself stays")
		})
	}
}

// superframe returns a buffer with metadata.
func superframe(p []byte, start, field int, t packet.GSOType, size uint16) *packet.Buffer {
	b := packet.Of(p)
	if b.SetChecksumPartial(start, field) != nil {
		panic("checksum outside the packet")
	}
	b.SetGSO(t, size)
	return b
}

func TestPutErrors(t *testing.T) {
	vlan := packet.Of(plainTCP4)
	vlan.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 7})
	unsummed := packet.Of(plainTCP4)
	unsummed.SetGSO(packet.GSOTCP4, 1460)
	cut := superframe(plainTCP4, 34, 16, packet.GSOTCP4, 1460)
	require.NoError(t, cut.TrimFront(40))
	shortened := superframe(plainTCP4, 34, 16, packet.GSOTCP4, 1460)
	require.NoError(t, shortened.Truncate(51))
	const long, all = vnethdr.LenTunnel, allOffloads

	for _, c := range []struct {
		name     string
		len      int
		b        *packet.Buffer
		offloads packet.Offloads
		err      error
	}{
		{"header too short", 9, packet.Of(plainTCP4), all, vnethdr.ErrShort},
		{"VLAN tag beside", long, vlan, all | packet.OffloadVLAN, vnethdr.ErrOffload},
		{"checksum without the offload", long, superframe(plainTCP4, 34, 16, 0, 0), 0, vnethdr.ErrOffload},
		{"checksum cut off", long, cut, all, vnethdr.ErrChecksum},
		{"field cut off", long, shortened, all, vnethdr.ErrChecksum},
		{"superframe without a checksum", long, unsummed, all, vnethdr.ErrHeaders},
		{"segments of 0 bytes", long, superframe(plainTCP4, 34, 16, packet.GSOTCP4, 0), all, vnethdr.ErrSize},
		{"unknown type", long, superframe(plainTCP4, 34, 16, 99, 1460), all, vnethdr.ErrHeaders},
		{"TCP with UDP's field", long, superframe(plainTCP4, 34, 6, packet.GSOTCP4, 1460), all, vnethdr.ErrHeaders},
		{"TCP over the other IP", long, superframe(plainTCP6, 54, 16, packet.GSOTCP4, 1460), all, vnethdr.ErrOffload},
		{"TCP6 over IPv4", long, superframe(plainTCP4, 34, 16, packet.GSOTCP6, 1460), all, vnethdr.ErrOffload},
		{"TCP without the offload", long, superframe(plainTCP4, 34, 16, packet.GSOTCP4, 1460), all &^ packet.OffloadTCP4, vnethdr.ErrOffload},
		{"TCP6 without the offload", long, superframe(plainTCP6, 54, 16, packet.GSOTCP6, 1460), all &^ packet.OffloadTCP6, vnethdr.ErrOffload},
		{"UDP without the offload", long, superframe(plainUDP4, 34, 6, packet.GSOUDP4, 1460), all &^ packet.OffloadUDP4, vnethdr.ErrOffload},
		{"tunnel without the offload", long, superframe(inVXLAN, 84, 16, packet.GSOTCP4, 1410), all &^ packet.OffloadTunnelTCP4, vnethdr.ErrOffload},
		{"tunnel in a short header", vnethdr.LenV1, superframe(inVXLAN, 84, 16, packet.GSOTCP4, 1410), all, vnethdr.ErrOffload},
		{"tunnel of IP in IP", long, superframe(inIPIP, 54, 16, packet.GSOTCP4, 1410), all, vnethdr.ErrOffload},
		{"TCP over IPv6 in a tunnel", long, superframe(tcp6in, 104, 16, packet.GSOTCP6, 1410), all, vnethdr.ErrOffload},
		{"UDP in a tunnel", long, superframe(udp4in, 84, 6, packet.GSOUDP4, 1410), all, vnethdr.ErrOffload},
		{"inner IPv4 header not where it should be", long, superframe(inVXLAN, 80, 16, packet.GSOTCP4, 1410), all, vnethdr.ErrHeaders},
		{"no Ethernet frame", long, superframe(rawTCP4, 20, 16, packet.GSOTCP4, 1460), all, vnethdr.ErrOffload},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.ErrorIs(t, tap.Put(make([]byte, c.len), c.b, c.offloads), c.err)
		})
	}
}

// TestOuterChecksum: Linux computes the outer checksums of segments from the pseudo-header's sum in the superframe.
func TestOuterChecksum(t *testing.T) {
	b := superframe(withOuter, 84, 16, packet.GSOTCP4, 1410)
	require.NoError(t, tap.Put(make([]byte, vnethdr.LenTunnel), b, allOffloads))
	length := uint16(len(withOuter) - 34)
	assert.Equal(t, checksum.PseudoHeader([4]byte{10, 0, 0, 1}, [4]byte{10, 0, 0, 2}, udpProtocol, length),
		binary.BigEndian.Uint16(b.Bytes()[40:]))
}

// TestByteOrder: without TUNSETVNETLE numbers are the machine's, those of tunnels little-endian all the same.
func TestByteOrder(t *testing.T) {
	h := make([]byte, vnethdr.LenTunnel)
	require.NoError(t, vnethdr.Format{}.Put(h, superframe(inVXLAN, 84, 16, packet.GSOTCP4, 1410), allOffloads))
	assert.EqualValues(t, 1410, binary.NativeEndian.Uint16(h[4:]))
	assert.EqualValues(t, 84, binary.NativeEndian.Uint16(h[6:]))
	assert.EqualValues(t, 34, binary.LittleEndian.Uint16(h[20:]))
	assert.EqualValues(t, 64, binary.LittleEndian.Uint16(h[22:]))
	b := packet.Of(inVXLAN)
	require.NoError(t, vnethdr.Format{}.Read(h, b))
	_, size := b.GSO()
	assert.EqualValues(t, 1410, size)
}

func TestNoAllocs(t *testing.T) {
	h, b := make([]byte, vnethdr.LenTunnel), superframe(inVXLAN, 84, 16, packet.GSOTCP4, 1410)
	bad, other := make([]byte, vnethdr.LenTunnel), packet.Of(plainTCP4)
	bad[0], bad[1] = 1, 0x7f
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if tap.Put(h, b, allOffloads) != nil || tap.Read(h, b) != nil || tap.Put(h, b, 0) == nil || tap.Read(bad, other) == nil {
			t.Error("other answers than those that are meant")
		}
	}))
}

func BenchmarkRead(b *testing.B) {
	h, p := unhex("01 01 3600 b405 2200 1000"), packet.Of(plainTCP4)
	for b.Loop() {
		_ = tap.Read(h, p)
	}
}

func BenchmarkPut(b *testing.B) {
	h, p := make([]byte, vnethdr.LenTunnel), superframe(inVXLAN, 84, 16, packet.GSOTCP4, 1410)
	for b.Loop() {
		_ = tap.Put(h, p, allOffloads)
	}
}
