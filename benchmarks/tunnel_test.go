// Tunnels beside google/gopacket: encapsulation and decapsulation.
//
// The same work means: lengths and the IPv4 checksum are computed and checked where the other side does so, UDP checksums
// are left out; gopacket gets its fastest interface (reused SerializeBuffer, DecodingLayerParser).
package benchmarks_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/vxlan"
)

// The ends of the tunnel: the nodes of a Flannel cluster, and a pod on each.
var (
	nodeA    = netip.MustParseAddr("172.16.100.101")
	nodeB    = netip.MustParseAddr("172.16.100.102")
	nodeAMAC = ethernet.MustParseMAC("00:50:56:93:6a:3a")
	nodeBMAC = ethernet.MustParseMAC("00:50:56:93:63:3b")
	podIP    = [4]byte{10, 244, 1, 12}
	peerIP   = [4]byte{10, 244, 2, 14}
	vtepAMAC = ethernet.MustParseMAC("fe:90:c4:18:69:a7")
	vtepBMAC = ethernet.MustParseMAC("b6:72:ae:36:7b:6c")
)

var sizes = []int{64, 1450}

// innerFrame returns a TCP segment from pod to pod in an Ethernet frame of size bytes.
func innerFrame(tb testing.TB, size int) []byte {
	tb.Helper()
	b, err := ethernet.Fields{Dst: vtepBMAC, Src: vtepAMAC, EtherType: ethernet.TypeIPv4}.Append(nil)
	if err != nil {
		tb.Fatal(err)
	}
	f := ipv4.Fields{TTL: 63, Protocol: tcp.Protocol, Flags: ipv4.DontFragment, ID: 77, Src: podIP, Dst: peerIP}
	if b, err = f.Append(b, size-len(b)-ipv4.HeaderLen); err != nil {
		tb.Fatal(err)
	}
	segment := make([]byte, size-len(b))
	binary.BigEndian.PutUint16(segment[0:], 40000)
	binary.BigEndian.PutUint16(segment[2:], 80)
	segment[12], segment[13] = tcp.HeaderLen/4<<4, uint8(tcp.ACK)
	return append(b, segment...)
}

func vxlanEncapsulator(tb testing.TB) *vxlan.Encapsulator {
	tb.Helper()
	e, err := vxlan.NewEncapsulator(vxlan.EncapConfig{
		VNI: 1, Src: nodeA, Dst: nodeB, SrcMAC: nodeAMAC, DstMAC: nodeBMAC, DstPort: vxlan.PortLinux,
		Hasher: flow.NewHasher(1),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func ipipEncapsulator(tb testing.TB) *ipip.Encapsulator {
	tb.Helper()
	e, err := ipip.NewEncapsulator(ipip.EncapConfig{Src: nodeA, Dst: nodeB, SrcMAC: nodeAMAC, DstMAC: nodeBMAC})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// buffer returns a buffer that holds frame.
func buffer(tb testing.TB, frame []byte) *packet.Buffer {
	tb.Helper()
	b := packet.New(2048)
	if err := b.SetBytes(frame); err != nil {
		tb.Fatal(err)
	}
	return b
}

// outerFrame returns the inner frame, encapsulated.
func outerFrame(tb testing.TB, kind string, size int) []byte {
	tb.Helper()
	inner := innerFrame(tb, size)
	var b *packet.Buffer
	var err error
	if kind == "vxlan" {
		b = buffer(tb, inner)
		err = vxlanEncapsulator(tb).Encapsulate(b, 1)
	} else {
		b = buffer(tb, inner[ethernet.HeaderLen:])
		err = ipipEncapsulator(tb).Encapsulate(b, 1)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

func BenchmarkEncap(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("vxlan/%d/culvert", size), func(b *testing.B) { encapVXLAN(b, size) })
		b.Run(fmt.Sprintf("vxlan/%d/gopacket", size), func(b *testing.B) { encapGopacket(b, "vxlan", size) })
	}
	for _, size := range sizes {
		b.Run(fmt.Sprintf("ipip/%d/culvert", size), func(b *testing.B) { encapIPIP(b, size) })
		b.Run(fmt.Sprintf("ipip/%d/gopacket", size), func(b *testing.B) { encapGopacket(b, "ipip", size) })
	}
}

func encapVXLAN(b *testing.B, size int) {
	e, buf := vxlanEncapsulator(b), buffer(b, innerFrame(b, size))
	b.ReportAllocs()
	var id uint16
	for b.Loop() {
		id++
		buf.SetHash(0) // the flow hash is part of the work
		if err := e.Encapsulate(buf, id); err != nil {
			b.Fatal(err)
		}
		if err := buf.TrimFront(vxlan.Overhead); err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Encapsulate(buf, 1); err != nil || !bytes.Equal(buf.Bytes(), outerFrame(b, "vxlan", size)) {
		b.Fatalf("wrong result, error %v", err)
	}
}

func encapIPIP(b *testing.B, size int) {
	e, buf := ipipEncapsulator(b), buffer(b, innerFrame(b, size)[ethernet.HeaderLen:])
	b.ReportAllocs()
	var id uint16
	for b.Loop() {
		id++
		if err := e.Encapsulate(buf, id); err != nil {
			b.Fatal(err)
		}
		if err := buf.TrimFront(ipip.Overhead); err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Encapsulate(buf, 1); err != nil || !bytes.Equal(buf.Bytes(), outerFrame(b, "ipip", size)) {
		b.Fatalf("wrong result, error %v", err)
	}
}

// encapGopacket serializes the outer headers in front of the inner frame: lengths and the IPv4 checksum, no UDP checksum.
func encapGopacket(b *testing.B, kind string, size int) {
	inner := innerFrame(b, size)
	eth := &layers.Ethernet{
		SrcMAC: nodeAMAC[:], DstMAC: nodeBMAC[:], EthernetType: layers.EthernetTypeIPv4,
	}
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, SrcIP: nodeA.AsSlice(), DstIP: nodeB.AsSlice()}
	stack := []gopacket.SerializableLayer{eth, ip}
	if kind == "vxlan" {
		port := vxlanEncapsulator(b).SourcePort(buffer(b, inner))
		u := &layers.UDP{SrcPort: layers.UDPPort(port), DstPort: layers.UDPPort(vxlan.PortLinux)}
		ip.Protocol = layers.IPProtocolUDP
		stack = append(stack, withoutChecksum{u}, &layers.VXLAN{ValidIDFlag: true, VNI: 1}, gopacket.Payload(inner))
	} else {
		inner = inner[ethernet.HeaderLen:]
		ip.Protocol, ip.TTL, ip.Flags = layers.IPProtocolIPv4, 63, layers.IPv4DontFragment
		stack = append(stack, gopacket.Payload(inner))
	}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	b.ReportAllocs()
	for b.Loop() {
		ip.Id++
		if err := gopacket.SerializeLayers(buf, options, stack...); err != nil {
			b.Fatal(err)
		}
	}
	ip.Id = 1
	err := gopacket.SerializeLayers(buf, options, stack...)
	if want := outerFrame(b, kind, size); err != nil || !bytes.Equal(buf.Bytes(), want) {
		b.Fatalf("wrong result, error %v:\n%x\n%x", err, buf.Bytes(), want)
	}
}

// withoutChecksum is a UDP layer that sends checksum 0, which gopacket has no option for.
type withoutChecksum struct{ *layers.UDP }

func (u withoutChecksum) SerializeTo(b gopacket.SerializeBuffer, options gopacket.SerializeOptions) error {
	options.ComputeChecksums = false
	return u.UDP.SerializeTo(b, options)
}

func BenchmarkDecap(b *testing.B) {
	for _, kind := range []string{"vxlan", "ipip"} {
		for _, size := range sizes {
			b.Run(fmt.Sprintf("%s/%d/culvert", kind, size), func(b *testing.B) { decapCulvert(b, kind, size) })
			b.Run(fmt.Sprintf("%s/%d/gopacket", kind, size), func(b *testing.B) { decapGopacket(b, kind, size) })
		}
	}
}

func decapCulvert(b *testing.B, kind string, size int) {
	outer, want := outerFrame(b, kind, size), innerFrame(b, size)
	buf := buffer(b, outer)
	overhead := vxlan.Overhead
	var decap func() error
	if kind == "vxlan" {
		d, err := vxlan.NewDecapsulator(vxlan.DecapConfig{DstPort: vxlan.PortLinux, Local: nodeB})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if info, err := d.Decapsulate(buf); err != nil || info.VNI() != 1 {
				b.Fatal(err)
			}
			if _, err := buf.Prepend(vxlan.Overhead); err != nil {
				b.Fatal(err)
			}
		}
		decap = func() error { _, err := d.Decapsulate(buf); return err }
	} else {
		overhead, want = ipip.Overhead, want[ethernet.HeaderLen:]
		d, err := ipip.NewDecapsulator(ipip.DecapConfig{Local: nodeB, Peers: []netip.Addr{nodeA}})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.Decapsulate(buf); err != nil {
				b.Fatal(err)
			}
			if _, err := buf.Prepend(ipip.Overhead); err != nil {
				b.Fatal(err)
			}
		}
		decap = func() error { _, err := d.Decapsulate(buf); return err }
	}
	if err := decap(); err != nil || !bytes.Equal(buf.Bytes(), want) || len(outer) != len(want)+overhead {
		b.Fatalf("wrong result, error %v", err)
	}
}

// decapGopacket parses down to the tunnel header; the inner packet is then its payload.
func decapGopacket(b *testing.B, kind string, size int) {
	outer, want := outerFrame(b, kind, size), innerFrame(b, size)
	var eth layers.Ethernet
	var ip layers.IPv4
	var u layers.UDP
	var v layers.VXLAN
	var parser *gopacket.DecodingLayerParser
	inner := &v.Payload
	if kind == "vxlan" {
		// gopacket takes VXLAN on 4789 only.
		binary.BigEndian.PutUint16(outer[ethernet.HeaderLen+ipv4.HeaderLen+2:], vxlan.Port)
		parser = gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &ip, &u, lastVXLAN{&v})
	} else {
		want, inner = want[ethernet.HeaderLen:], &ip.Payload
		parser = gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, lastIPv4{&ip})
	}
	parser.IgnoreUnsupported = true
	var decoded []gopacket.LayerType
	b.ReportAllocs()
	for b.Loop() {
		if err := parser.DecodeLayers(outer, &decoded); err != nil {
			b.Fatal(err)
		}
	}
	if !bytes.Equal(*inner, want) {
		b.Fatalf("wrong result %x", *inner)
	}
}

// lastVXLAN and lastIPv4 are layers behind which the parser stops, instead of reading the inner headers into the structs
// of the outer ones.
type (
	lastVXLAN struct{ *layers.VXLAN }
	lastIPv4  struct{ *layers.IPv4 }
)

func (lastVXLAN) NextLayerType() gopacket.LayerType { return gopacket.LayerTypePayload }
func (lastIPv4) NextLayerType() gopacket.LayerType  { return gopacket.LayerTypePayload }
