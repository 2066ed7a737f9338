// The engine: whole packets, in by one port and out by another. Package forwarding says what is measured, and what with.
package benchmarks_test

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/culvert-net/culvert/benchmarks/internal/forwarding"
	"github.com/culvert-net/culvert/vxlan"
)

func BenchmarkEngine(b *testing.B) {
	for _, kind := range forwarding.Kinds {
		b.Run(kind.Name, func(b *testing.B) {
			for _, scale := range forwarding.Scales() {
				b.Run(scale.Name, func(b *testing.B) {
					w, err := kind.New(scale)
					if err != nil {
						b.Fatal(err)
					}
					for _, size := range forwarding.Sizes {
						b.Run(strconv.Itoa(size), func(b *testing.B) {
							b.Run("culvert", func(b *testing.B) { w.Bench(b, size, 1) })
							b.Run("workers2", func(b *testing.B) { w.Bench(b, size, 2) })
							b.Run("refill", func(b *testing.B) { w.BenchRefill(b, size) })
							if kind.Name == "flannel-pod-to-wire" {
								// What takes the whole pass there is compared with what a tunnel's headers alone take here.
								b.Run("gopacket", func(b *testing.B) { encapGopacket(b, "vxlan", size) })
								b.Run("gopacketsum", func(b *testing.B) { encapGopacketSum(b, size) })
							}
						})
					}
				})
			}
		})
	}
}

// BenchmarkProcessors is what two workers can gain at most: arithmetic in registers, by one goroutine and by two that share it. On
// virtual processors that are the threads of one core, two take well more than half of the time of one.
func BenchmarkProcessors(b *testing.B) {
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers%d", workers), func(b *testing.B) {
			var all sync.WaitGroup
			for w := range workers {
				all.Go(func() { sums[w*cacheLine] += arithmetic(b.N / workers) })
			}
			all.Wait()
		})
	}
}

const cacheLine = 8 // words

var sums [2 * cacheLine]uint64 // so that nothing is left out

// arithmetic is instructions that a processor can do as many of at once as it is wide: no sum waits for another one.
func arithmetic(rounds int) uint64 {
	var s [8]uint64
	a, b, c, d, e, f, g, h := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	for i := range uint64(rounds) {
		a, b, c, d = a+i, b^i, c-i, d|i
		e, f, g, h = e+i, f^i, g-i, h|i
	}
	return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h
}

// encapGopacketSum is encapGopacket with the outer UDP checksum.
func encapGopacketSum(b *testing.B, size int) {
	inner := innerFrame(b, size)
	eth := &layers.Ethernet{SrcMAC: nodeAMAC[:], DstMAC: nodeBMAC[:], EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{
		Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: nodeA.AsSlice(), DstIP: nodeB.AsSlice(),
	}
	u := &layers.UDP{SrcPort: 40000, DstPort: layers.UDPPort(vxlan.PortLinux)}
	if err := u.SetNetworkLayerForChecksum(ip); err != nil {
		b.Fatal(err)
	}
	stack := []gopacket.SerializableLayer{eth, ip, u, &layers.VXLAN{ValidIDFlag: true, VNI: 1}, gopacket.Payload(inner)}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	b.ReportAllocs()
	for b.Loop() {
		ip.Id++
		if err := gopacket.SerializeLayers(buf, options, stack...); err != nil {
			b.Fatal(err)
		}
	}
	if out := buf.Bytes(); len(out) != vxlan.Overhead+size || !bytes.Equal(out[vxlan.Overhead:], inner) || u.Checksum == 0 {
		b.Fatalf("wrong result %x", out)
	}
}

// many is enough entries for some behind each of the most ports.
var many = forwarding.Scale{Name: "10k", Entries: 16384, Packets: 1 << 18}

// BenchmarkEnginePorts has frames come in by random ports and leave by random others: a burst's all by the same, or each by
// another, which costs a call of Output for nearly every frame.
func BenchmarkEnginePorts(b *testing.B) {
	for _, kind := range []struct {
		name  string
		build func(s forwarding.Scale, ports int) (*forwarding.Work, error)
	}{{"bridge", forwarding.NewBridgePorts}, {"route", forwarding.NewRoutePorts}} {
		b.Run(kind.name, func(b *testing.B) {
			for _, ports := range []int{2, 64, 4096} {
				b.Run(strconv.Itoa(ports), func(b *testing.B) {
					w, err := kind.build(many, ports)
					if err != nil {
						b.Fatal(err)
					}
					b.Run("together/culvert", func(b *testing.B) { w.Bench(b, 64, 1) })
					w.Spread(true)
					b.Run("apart/culvert", func(b *testing.B) { w.Bench(b, 64, 1) })
				})
			}
		})
	}
}

// BenchmarkEngineVTEPs has as many stations behind more and more VTEPs.
func BenchmarkEngineVTEPs(b *testing.B) {
	for _, name := range []string{"vxlan-encap", "vxlan-decap"} {
		for _, remotes := range []int{1, 64, 4096} {
			b.Run(fmt.Sprintf("%s/%d", name, remotes), func(b *testing.B) {
				w, err := forwarding.NewVXLAN(many, remotes, name == "vxlan-encap")
				if err != nil {
					b.Fatal(err)
				}
				b.Run("culvert", func(b *testing.B) { w.Bench(b, 64, 1) })
			})
		}
	}
}

// BenchmarkEngineSetUp adds a port to a bridge beside others, and removes it.
func BenchmarkEngineSetUp(b *testing.B) {
	for _, ports := range []int{64, 4096} {
		b.Run(fmt.Sprintf("%d/culvert", ports), func(b *testing.B) { forwarding.BenchSetUp(b, ports) })
	}
}

// BenchmarkEnginePeer programs one more node beside others.
func BenchmarkEnginePeer(b *testing.B) {
	for _, others := range []int{1, 1000} {
		b.Run(fmt.Sprintf("%d/culvert", others), func(b *testing.B) { forwarding.BenchPeer(b, others) })
	}
}

// TestEngineAllocs forwards and refuses bursts of all kinds without an allocation.
func TestEngineAllocs(t *testing.T) {
	for _, r := range forwarding.Refusals {
		t.Run(r.Name, func(t *testing.T) {
			w, err := r.New()
			if err != nil {
				t.Fatal(err)
			}
			if n, err := w.Allocs(64); err != nil || n != 0 {
				t.Errorf("%v allocations a burst, error %v", n, err)
			}
		})
	}
	for _, kind := range forwarding.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			w, err := kind.New(forwarding.Hot)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := w.Allocs(64); err != nil || n != 0 {
				t.Errorf("%v allocations a burst, error %v", n, err)
			}
		})
	}
}

// BenchmarkEngineDrop has packets that are refused: in silence, or with an ICMP error to their sender.
func BenchmarkEngineDrop(b *testing.B) {
	for _, r := range forwarding.Refusals {
		b.Run(r.Name, func(b *testing.B) {
			w, err := r.New()
			if err != nil {
				b.Fatal(err)
			}
			b.Run("culvert", func(b *testing.B) { r.Bench(b, w) })
		})
	}
}

// BenchmarkEngineFlood copies frames to seven ports.
func BenchmarkEngineFlood(b *testing.B) {
	w, err := forwarding.NewFlood()
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range forwarding.Sizes {
		b.Run(fmt.Sprintf("%d/culvert", size), func(b *testing.B) { w.BenchFlood(b, size) })
	}
}
