package peers_test

// gVisor's network stack doing what package forwarding has culvert's engine do: frames with Ethernet headers in by one port and out
// by another, with the same routes, neighbours and stations, the same traffic, and every byte checked the same way.
//
// The ports are the leanest that gVisor's interfaces allow: a frame is copied into a buffer of gVisor's pool, which is what
// its own drivers do, and what leaves is counted. There are no firewall rules, and no transport protocols.

import (
	"strconv"
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/culvert-net/culvert/benchmarks/internal/forwarding"
	"github.com/culvert-net/culvert/ethernet"
)

// gvisor is a stack and its ports.
type gvisor struct {
	stack *stack.Stack
	ports map[uint32]*gvisorPort
	sent  int
	see   func(port uint32, frame []byte) // nil: nobody looks
}

// newGvisor returns a stack with the ports of a node, which have the same numbers.
func newGvisor(tb testing.TB, w *forwarding.Work, protocols ...stack.NetworkProtocolFactory) *gvisor {
	g := &gvisor{stack: stack.New(stack.Options{NetworkProtocols: protocols}), ports: map[uint32]*gvisorPort{}}
	tb.Cleanup(g.stack.Destroy)
	for _, p := range w.Ports {
		g.ports[p.Index] = &gvisorPort{g: g, index: p.Index, mac: tcpip.LinkAddress(p.MAC[:])}
		g.ok(tb, g.stack.CreateNIC(tcpip.NICID(p.Index), g.ports[p.Index]))
	}
	return g
}

func (g *gvisor) ok(tb testing.TB, err tcpip.Error) {
	if err != nil {
		tb.Helper()
		tb.Fatal(err)
	}
}

// newGvisorRouter returns a stack with the routes and neighbours of a router.
func newGvisorRouter(tb testing.TB, w *forwarding.Work) *gvisor {
	g := newGvisor(tb, w, ipv4.NewProtocol, arp.NewProtocol)
	byName := map[string]tcpip.NICID{}
	for _, p := range w.Ports {
		byName[p.Name] = tcpip.NICID(p.Index)
		addr := tcpip.ProtocolAddress{
			Protocol:          ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.AddrFrom4([4]byte{10, 250, 0, byte(p.Index)}).WithPrefix(),
		}
		g.ok(tb, g.stack.AddProtocolAddress(tcpip.NICID(p.Index), addr, stack.AddressProperties{}))
	}
	for _, n := range w.Neighbours {
		addr, mac := tcpip.AddrFrom4(n.Addr.As4()), tcpip.LinkAddress(n.MAC[:])
		g.ok(tb, g.stack.AddStaticNeighbor(byName[n.Dev], ipv4.ProtocolNumber, addr, mac))
	}
	for _, r := range w.Routes {
		prefix := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(r.Prefix.Addr().As4()), PrefixLen: r.Prefix.Bits()}
		g.stack.AddRoute(tcpip.Route{
			Destination: prefix.Subnet(), Gateway: tcpip.AddrFrom4(r.Via.As4()), NIC: byName[r.Dev],
		})
	}
	g.ok(tb, g.stack.SetForwardingDefaultAndAllNICs(ipv4.ProtocolNumber, true))
	return g
}

// newGvisorBridge returns a bridge that has heard what a node's bridge has.
func newGvisorBridge(tb testing.TB, w *forwarding.Work) *gvisor {
	g := newGvisor(tb, w)
	const bridge = 1 << 20 // its number
	g.ok(tb, g.stack.CreateNIC(bridge, stack.NewBridgeEndpoint(gvisorMTU)))
	for _, p := range w.Ports {
		g.ok(tb, g.stack.SetNICCoordinator(tcpip.NICID(p.Index), bridge))
	}
	var b []byte
	for _, l := range w.Lessons {
		for i := range uint32(l.Count) {
			b = l.Packet(b[:0], i)
			g.ports[l.Port].inject(b)
		}
	}
	return g
}

// bench forwards frames of size bytes.
func (g *gvisor) bench(b *testing.B, w *forwarding.Work, size int) {
	t, err := w.Traffic(0, size)
	if err != nil {
		b.Fatal(err)
	}
	g.verify(b, w, t)
	before, frame := g.sent, t.Packet(0)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		port := g.ports[w.In(0, n/forwarding.Burst)]
		for range min(forwarding.Burst, b.N-n) {
			t.Next(frame, n)
			port.inject(frame)
			n++
		}
	}
	b.StopTimer()
	if sent := g.sent - before; sent != b.N {
		b.Fatalf("%d of %d frames left", sent, b.N)
	}
	g.verify(b, w, t)
}

// verify compares what leaves with what should.
func (g *gvisor) verify(b *testing.B, w *forwarding.Work, t *forwarding.Traffic) {
	const frames = 1 << 12
	i, before := 0, g.sent
	g.see = func(port uint32, frame []byte) {
		if err := t.Check(i, port, frame); err != nil {
			b.Fatal(err)
		}
	}
	defer func() { g.see = nil }()
	for i = range frames {
		g.ports[w.In(0, i/forwarding.Burst)].inject(t.Packet(i))
	}
	if sent := g.sent - before; sent != frames {
		b.Fatalf("%d of %d frames left", sent, frames)
	}
}

// BenchmarkEngine has culvert and gVisor do the same, one after the other. gVisor goes through its routes from the first to the
// last, so it is spared the larger tables.
func BenchmarkEngine(b *testing.B) {
	for _, kind := range forwarding.Kinds {
		build := map[string]func(testing.TB, *forwarding.Work) *gvisor{
			"bridge": newGvisorBridge, "route": newGvisorRouter,
		}[kind.Name]
		if build == nil {
			continue
		}
		b.Run(kind.Name, func(b *testing.B) {
			for _, scale := range forwarding.Scales() {
				if kind.Name == "route" && scale != forwarding.Hot {
					continue
				}
				b.Run(scale.Name, func(b *testing.B) {
					w, err := kind.New(scale)
					if err != nil {
						b.Fatal(err)
					}
					g := build(b, w)
					for _, size := range forwarding.Sizes {
						b.Run(strconv.Itoa(size), func(b *testing.B) {
							b.Run("culvert", func(b *testing.B) { w.Bench(b, size, 1) })
							b.Run("gvisor", func(b *testing.B) { g.bench(b, w, size) })
						})
					}
				})
			}
		})
	}
}

const gvisorMTU = 1500

// gvisorPort is a stack.LinkEndpoint for Ethernet frames.
type gvisorPort struct {
	g     *gvisor
	index uint32
	mac   tcpip.LinkAddress
	to    stack.NetworkDispatcher
}

var _ stack.LinkEndpoint = (*gvisorPort)(nil)

// inject has the stack receive a frame, of which it takes a copy.
func (p *gvisorPort) inject(frame []byte) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	if p.ParseHeader(pkt) {
		pkt.PktType = tcpip.PacketHost
		p.to.DeliverNetworkPacket(header.Ethernet(pkt.LinkHeader().Slice()).Type(), pkt)
	}
	pkt.DecRef()
}

// WritePackets takes frames that leave.
func (p *gvisorPort) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	n := pkts.Len()
	p.g.sent += n
	if p.g.see != nil {
		for _, pkt := range pkts.AsSlice() {
			p.g.see(p.index, pkt.ToView().AsSlice())
		}
	}
	return n, nil
}

func (p *gvisorPort) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(ethernet.HeaderLen)
	return ok
}

func (p *gvisorPort) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(ethernet.HeaderLen)).Encode(&header.EthernetFields{
		SrcAddr: pkt.EgressRoute.LocalLinkAddress, DstAddr: pkt.EgressRoute.RemoteLinkAddress, Type: pkt.NetworkProtocolNumber,
	})
}

func (p *gvisorPort) Attach(to stack.NetworkDispatcher)       { p.to = to }
func (p *gvisorPort) IsAttached() bool                        { return p.to != nil }
func (p *gvisorPort) MTU() uint32                             { return gvisorMTU }
func (p *gvisorPort) MaxHeaderLength() uint16                 { return ethernet.HeaderLen }
func (p *gvisorPort) LinkAddress() tcpip.LinkAddress          { return p.mac }
func (p *gvisorPort) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (p *gvisorPort) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired
}
func (p *gvisorPort) SetMTU(uint32)                    {}
func (p *gvisorPort) SetLinkAddress(tcpip.LinkAddress) {}
func (p *gvisorPort) SetOnCloseAction(func())          {}
func (p *gvisorPort) Wait()                            {}
func (p *gvisorPort) Close()                           {}
