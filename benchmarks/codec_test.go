// Reading and writing beside google/gopacket: the walk through a whole stack, ARP, checksums.
package benchmarks_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/vxlan"
)

// BenchmarkWalk reads all seven headers of a TCP segment in VXLAN.
func BenchmarkWalk(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("%d/culvert", size), func(b *testing.B) { walkCulvert(b, size) })
		b.Run(fmt.Sprintf("%d/gopacket", size), func(b *testing.B) { walkGopacket(b, size) })
	}
}

func walkCulvert(b *testing.B, size int) {
	frame := outerFrame(b, "vxlan", size)
	w, err := dissect.New(dissect.Config{})
	if err != nil {
		b.Fatal(err)
	}
	var s dissect.Stack
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Ethernet(&s, frame); err != nil {
			b.Fatal(err)
		}
	}
	if s.Outer().VXLAN.VNI() != 1 || s.Inner().TCP.DstPort() != 80 || len(s.Levels()) != 2 {
		b.Fatal("wrong result")
	}
}

// walkGopacket uses two parsers, because one would read the inner headers into the structs of the outer ones.
func walkGopacket(b *testing.B, size int) {
	frame := outerFrame(b, "vxlan", size)
	// gopacket takes VXLAN on 4789 only.
	binary.BigEndian.PutUint16(frame[ethernet.HeaderLen+ipv4.HeaderLen+2:], vxlan.Port)
	var eth, innerEth layers.Ethernet
	var ip, innerIP layers.IPv4
	var u layers.UDP
	var v layers.VXLAN
	var t layers.TCP
	outer := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &ip, &u, lastVXLAN{&v})
	inner := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &innerEth, &innerIP, &t)
	outer.IgnoreUnsupported, inner.IgnoreUnsupported = true, true
	var decoded []gopacket.LayerType
	b.ReportAllocs()
	for b.Loop() {
		if err := outer.DecodeLayers(frame, &decoded); err != nil {
			b.Fatal(err)
		}
		if err := inner.DecodeLayers(v.Payload, &decoded); err != nil {
			b.Fatal(err)
		}
	}
	if v.VNI != 1 || t.DstPort != 80 || len(decoded) != 3 {
		b.Fatal("wrong result")
	}
}

// BenchmarkChecksum computes a TCP checksum, pseudo-header included: what gopacket exports.
func BenchmarkChecksum(b *testing.B) {
	for _, size := range []int{20, 1450, 65536} {
		segment := make([]byte, size)
		for i := range segment {
			segment[i] = byte(i * 7)
		}
		b.Run(fmt.Sprintf("%d/culvert", size), func(b *testing.B) { checksumCulvert(b, segment) })
		b.Run(fmt.Sprintf("%d/gopacket", size), func(b *testing.B) { checksumGopacket(b, segment) })
	}
}

func checksumCulvert(b *testing.B, segment []byte) {
	b.SetBytes(int64(len(segment)))
	b.ReportAllocs()
	var sum uint16
	for b.Loop() {
		sum = tcpChecksum(segment)
	}
	if want, err := gopacketTCP(b, segment).ComputeChecksum(); sum != want || err != nil {
		b.Fatalf("wrong result: %04x, want %04x, error %v", sum, want, err)
	}
}

// tcpChecksum takes segments of any length, because gopacket does.
func tcpChecksum(segment []byte) uint16 {
	sum := checksum.PseudoHeader(podIP, peerIP, tcp.Protocol, uint16(len(segment)))
	sum = checksum.Add(sum, uint16(len(segment)>>16))
	return ^checksum.Add(sum, checksum.Sum(segment))
}

func checksumGopacket(b *testing.B, segment []byte) {
	t := gopacketTCP(b, segment)
	b.SetBytes(int64(len(segment)))
	b.ReportAllocs()
	var sum uint16
	for b.Loop() {
		var err error
		if sum, err = t.ComputeChecksum(); err != nil {
			b.Fatal(err)
		}
	}
	if sum != tcpChecksum(segment) {
		b.Fatal("wrong result")
	}
}

// gopacketTCP returns a layer whose checksum covers segment.
func gopacketTCP(tb testing.TB, segment []byte) *layers.TCP {
	tb.Helper()
	t := &layers.TCP{BaseLayer: layers.BaseLayer{Contents: segment}}
	if err := t.SetNetworkLayerForChecksum(&layers.IPv4{SrcIP: podIP[:], DstIP: peerIP[:]}); err != nil {
		tb.Fatal(err)
	}
	return t
}

// BenchmarkARP writes and reads a request, without its Ethernet header.
func BenchmarkARP(b *testing.B) {
	b.Run("encode/culvert", arpEncodeCulvert)
	b.Run("encode/gopacket", arpEncodeGopacket)
	b.Run("decode/culvert", arpDecodeCulvert)
	b.Run("decode/gopacket", arpDecodeGopacket)
}

func arpRequest() arp.Fields { return arp.WhoHas(peerIP, vtepAMAC, podIP) }

func arpEncodeCulvert(b *testing.B) {
	request, buf := arpRequest(), make([]byte, arp.Len)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := request.Put(buf); err != nil {
			b.Fatal(err)
		}
	}
	if !bytes.Equal(buf, arpRequest().Append(nil)) {
		b.Fatal("wrong result")
	}
}

func arpEncodeGopacket(b *testing.B) {
	request := &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, Operation: layers.ARPRequest,
		SourceHwAddress: vtepAMAC[:], SourceProtAddress: podIP[:],
		DstHwAddress: make([]byte, ethernet.MACLen), DstProtAddress: peerIP[:],
	}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true}
	b.ReportAllocs()
	for b.Loop() {
		if err := gopacket.SerializeLayers(buf, options, request); err != nil {
			b.Fatal(err)
		}
	}
	if !bytes.Equal(buf.Bytes(), arpRequest().Append(nil)) {
		b.Fatal("wrong result")
	}
}

func arpDecodeCulvert(b *testing.B) {
	wire := arpRequest().Append(nil)
	var request arp.Packet
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if request, err = arp.Parse(wire); err != nil || request.Op() != arp.Request {
			b.Fatal(err)
		}
	}
	if arp.FieldsOf(request) != arpRequest() {
		b.Fatal("wrong result")
	}
}

func arpDecodeGopacket(b *testing.B) {
	wire := arpRequest().Append(nil)
	var request layers.ARP
	b.ReportAllocs()
	for b.Loop() {
		if err := request.DecodeFromBytes(wire, gopacket.NilDecodeFeedback); err != nil || request.Operation != layers.ARPRequest {
			b.Fatal(err)
		}
	}
	if !bytes.Equal(request.DstProtAddress, peerIP[:]) {
		b.Fatal("wrong result")
	}
}
