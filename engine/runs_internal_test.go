package engine

// Runs: that usual packets are one, where it is cut off, and that what comes out is what comes out when each packet takes the long
// way, whatever is in between.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// runLen is long enough for a run in front of what spoils it, and one behind.
const runLen = leastRun + 3

// r9 is a station behind another tunnel of the bridge, vx2 a tunnel of no bridge, which does not learn.
var (
	r9     = MACOf(0x020000000909)
	vx2MAC = MACOf(0x020000000007)
)

// runKind is packets that come in by a port. They differ in what does not matter to their kind.
type runKind struct {
	name string
	want int // how many of them are a run
	made []runPacket
}

// runPacket is a frame, and what a driver tells of it.
type runPacket struct {
	frame []byte
	told  func(b *packet.Buffer) // nil: nothing
}

// packets are the first n of a kind, 2 runLen at most.
func (k *runKind) packets(n int) []runPacket { return slices.Clone(k.made[:n]) }

// put fills a buffer: packet i of a burst.
func (p *runPacket) put(t testing.TB, b *packet.Buffer, i int) {
	t.Helper()
	require.NoError(t, b.SetBytes(p.frame))
	if i%5 == 4 { // a driver that leaves little room: not enough for a tunnel
		room, err := b.Prepend(b.Headroom() - ethernet.HeaderLen)
		require.NoError(t, err)
		copy(room, p.frame)
		require.NoError(t, b.Truncate(len(p.frame)))
	}
	if i%3 == 2 {
		b.SetHash(uint32(i) << 24)
	}
	if p.told != nil {
		p.told(b)
	}
}

// tidings are what drivers tell of packets, and whether these are then of no run.
var tidings = map[string]struct {
	told func(b *packet.Buffer)
	odd  bool
}{
	"tagged":     {func(b *packet.Buffer) { b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN}) }, true},
	"unsummed":   {func(b *packet.Buffer) { _ = b.SetChecksumPartial(b.Len()/2, 2) }, true},
	"superframe": {func(b *packet.Buffer) { b.SetGSO(packet.GSOUDP4, 500) }, true},
	"verified":   {func(b *packet.Buffer) { b.SetChecksumVerified() }, false},
}

// runKinds are kinds of packets by the port of newRunNode that receives them.
func runKinds() map[string][]*runKind {
	type row struct {
		name  string
		frame func(i int) []byte
		want  int
	}
	host := func(n int) string { return fmt.Sprintf("10.1.0.%d", 10+n%200) }
	from := func(m ethernet.MAC, i int) ethernet.MAC { return MACOf(word(m) + uint64(i%3)<<16) } // unknown, but for the first
	sized := func(i int) int { return ipv4.HeaderLen + 40*i%400 }
	up := func(dst string) func(int) []byte {
		return func(i int) []byte { return burstFrame(brMAC, s0, burstPacket("10.2.0.9", dst, sized(i))) }
	}
	routed := func(dst string) func(int) []byte {
		return func(i int) []byte { return burstFrame(eth1MAC, hostMAC, burstPacket(host(i), dst, sized(i))) }
	}
	station := func(dst, src ethernet.MAC) func(int) []byte {
		return func(i int) []byte { return burstFrame(dst, src, burstPacket(host(i), "10.2.0.8", sized(i))) }
	}
	strangers := func(dst, src ethernet.MAC) func(int) []byte {
		return func(i int) []byte { return station(dst, from(src, i))(i) }
	}
	overlay := func(frame func(i int) []byte) func(int) []byte {
		return func(i int) []byte { return inVXLAN(7, frame(i)) }
	}
	pods := func(dst string) func(int) []byte {
		return func(i int) []byte {
			return inVXLAN(2, burstFrame(vx2MAC, farMAC, burstPacket("10.244.2.9", dst, sized(i))))
		}
	}
	behind := func(dst string) func(int) []byte {
		return func(i int) []byte { return inIPIP(burstPacket("10.50.0.9", dst, sized(i))) }
	}
	changed := func(frame func(int) []byte, at int, v ...byte) func(int) []byte {
		return func(i int) []byte {
			b := frame(i)
			copy(b[at:], v)
			return b
		}
	}
	second := func(frame func(int) []byte) func(int) []byte { return changed(frame, 5, 6) } // to eth2
	padded := func(frame func(int) []byte) func(int) []byte {
		return func(i int) []byte { return append(frame(i), make([]byte, 5)...) }
	}
	// summed is changed with a right checksum of the IPv4 header that starts at ip.
	summed := func(ip int, frame func(int) []byte, at int, v ...byte) func(int) []byte {
		return func(i int) []byte {
			b := changed(frame, at, v...)(i)
			h := b[ip:][:ipv4.HeaderLen]
			binary.BigEndian.PutUint16(h[10:], 0)
			binary.BigEndian.PutUint16(h[10:], checksum.Of(h))
			return b
		}
	}
	outer := func(frame func(int) []byte, at int, v ...byte) func(int) []byte {
		return summed(ethernet.HeaderLen, frame, at, v...)
	}
	inner := func(frame func(int) []byte, at int, v ...byte) func(int) []byte { // in VXLAN
		return summed(vxlan.Overhead+ethernet.HeaderLen, frame, vxlan.Overhead+at, v...)
	}
	within := func(frame func(int) []byte, at int, v ...byte) func(int) []byte { // in IPIP
		return summed(ethernet.HeaderLen+ipv4.HeaderLen, frame, ipv4.HeaderLen+at, v...)
	}
	long := func(frame func(int) []byte) func(int) []byte { return func(i int) []byte { return frame(i%9 + 1) } }
	short := func(frame func(int) []byte, n int) func(int) []byte {
		return func(i int) []byte { return frame(i)[:n] }
	}
	const (
		tos, src   = ethernet.HeaderLen + 1, ethernet.HeaderLen + 12
		fragment   = ethernet.HeaderLen + 6
		ttl, sum   = ethernet.HeaderLen + 8, ethernet.HeaderLen + 10
		outerPort  = ethernet.HeaderLen + ipv4.HeaderLen + 2
		outerUDP   = ethernet.HeaderLen + ipv4.HeaderLen + 4
		flags      = ethernet.HeaderLen + ipv4.HeaderLen + udp.HeaderLen
		innerFrame = vxlan.Overhead
		innerIPIP  = ethernet.HeaderLen + ipv4.HeaderLen - ethernet.HeaderLen
	)
	kinds := map[string][]*runKind{}
	for port, rows := range map[string][]row{
		"p0": {
			{"to a station", station(s1, s0), runLen},
			{"to a station, padded", padded(station(s1, s0)), runLen},
			{"to a station, of strangers", strangers(s1, MACOf(0x020000000300)), runLen},
			{"to the overlay", station(r0, s0), runLen},
			{"to another overlay", station(r9, s0), runLen},
			{"to the overlay, of strangers", strangers(r0, MACOf(0x020000000300)), runLen},
			{"to the overlay, of the bridge's own address", station(r0, brMAC), runLen},
			{"empty", short(station(s1, s0), 0), 0},
			{"shorter than an Ethernet header", short(station(s1, s0), 13), 0},
			{"shorter than an IPv4 header", short(station(s1, s0), 33), 0},
			{"to the overlay, shorter than an IPv4 header", short(station(r0, s0), 33), 0},
			{"to nobody known", station(MACOf(0x020000000777), s0), 0},
			{"to all", station(ethernet.Broadcast, s0), 0},
			{"of a group", station(s1, MACOf(0x010000000777)), 0},
			{"of the bridge's own address", station(s1, brMAC), runLen},
			{"of a station that is pinned elsewhere", station(s1, p1MAC), runLen},
			{"to its own port", station(s0, s1), 0},
			{"up, by an Ethernet neighbour's gateway", up("10.60.0.9"), runLen},
			{"up, as long as the port takes", func(int) []byte { return burstFrame(brMAC, s0, burstPacket("10.2.0.9", "10.60.0.9", 1500)) }, runLen},
			{"up, too long for the port", func(int) []byte { return burstFrame(brMAC, s0, burstPacket("10.2.0.9", "10.60.0.9", 1501)) }, 0},
			{"up, as long as VXLAN takes", func(int) []byte { return burstFrame(brMAC, s0, burstPacket("10.2.0.9", "10.244.2.9", 1450)) }, runLen},
			{"up, too long for VXLAN", func(int) []byte { return burstFrame(brMAC, s0, burstPacket("10.2.0.9", "10.244.2.9", 1451)) }, 0},
			{"up, as long as IPIP takes", func(int) []byte { return burstFrame(brMAC, s0, burstPacket("10.2.0.9", "10.50.0.9", 1480)) }, runLen},
			{"to a station, as long as the port takes", func(int) []byte { return burstFrame(s1, s0, burstPacket("10.2.0.9", "10.2.0.8", 1504)) }, runLen},
			{"to a station, too long for the port", func(int) []byte { return burstFrame(s1, s0, burstPacket("10.2.0.9", "10.2.0.8", 1505)) }, 0},
			{"to the overlay, as long as the path takes", func(int) []byte { return burstFrame(r0, s0, burstPacket("10.2.0.9", "10.2.0.8", 1450)) }, runLen},
			{"to the overlay, too long", func(int) []byte { return burstFrame(r0, s0, burstPacket("10.2.0.9", "10.2.0.8", 1451)) }, 0},
			{"up, padded", padded(up("10.60.0.9")), runLen},
			{"up, into VXLAN", up("10.244.2.9"), runLen},
			{"up, into IPIP", up("10.50.0.9"), runLen},
			{"up, of the bridge's own address", func(i int) []byte {
				return burstFrame(brMAC, MACOf(0x020000000205), burstPacket("10.2.0.9", "10.60.0.9", sized(i)))
			}, runLen},
			{"up, on link", up("10.1.0.9"), 0},
			{"up, to a station", up("10.2.0.9"), 0},
			{"up, to a station, of strangers", func(i int) []byte {
				return burstFrame(brMAC, from(MACOf(0x020000000500), i), burstPacket("10.2.0.9", "10.2.0.9", sized(i)))
			}, 0},
			{"up, of strangers", func(i int) []byte {
				return burstFrame(brMAC, from(MACOf(0x020000000600), i), burstPacket("10.2.0.9", "10.60.0.9", sized(i)))
			}, runLen},
			{"up, several ways", up("10.62.0.9"), 0},
			{"up, to the node", up("10.2.0.1"), 0},
			{"up, nowhere", up("10.99.0.9"), 0},
			{"up, TTL 1", outer(up("10.60.0.9"), ttl, 1), 0},
			{"up, shorter than an IPv4 header", short(up("10.60.0.9"), 33), 0},
			{"up, no IPv4", changed(up("10.60.0.9"), 12, 0x86, 0xdd), 0},
			{"up, with options", outer(long(up("10.60.0.9")), ethernet.HeaderLen, 0x46), 0},
			{"up, of a group", changed(up("10.60.0.9"), 6, 1), 0},
			{"up, of loopback", outer(up("10.60.0.9"), src, 127), 0},
			{"up, of the node's own address", outer(up("10.60.0.9"), src, 10, 0, 0, 1), 0},
			{"up, wrong checksum", changed(up("10.60.0.9"), sum, 1, 1), 0},
		},
		"eth1": { // checks where packets come from
			{"routed", routed("10.244.2.9"), 0},
			{"overlay from where it cannot be", changed(overlay(station(s1, r0)), 5, 2), 0},
			{"tunnelled from where it cannot be", changed(behind("10.60.0.9"), 5, 2), 0},
		},
		"eth2": {
			{"by a gateway", func(i int) []byte { return second(routed("10.60.0.9"))(i) }, runLen},
			{"by a gateway, padded", second(padded(routed("10.60.0.9"))), runLen},
			{"by a gateway on a bridge", second(routed("10.61.0.9")), 0},
			{"into VXLAN", second(routed("10.244.2.9")), runLen},
			{"into IPIP", second(routed("10.50.0.9")), runLen},
			{"to a station", second(routed("10.2.0.9")), runLen},
			{"to a station, padded", second(padded(routed("10.2.0.9"))), runLen},
			{"to the bridge's own address", second(routed("10.2.0.4")), 0},
			{"to the address of a port", second(routed("10.2.0.5")), 0},
			{"to a station that nobody heard", second(routed("10.2.0.3")), 0},
			{"to a neighbour that is not known", second(routed("10.2.0.77")), 0},
			{"to a station, as long as its bridge takes", func(int) []byte {
				return second(func(int) []byte { return burstFrame(eth1MAC, hostMAC, burstPacket("10.1.0.9", "10.2.0.9", 1450)) })(0)
			}, runLen},
			{"to a station, too long", func(int) []byte {
				return second(func(int) []byte { return burstFrame(eth1MAC, hostMAC, burstPacket("10.1.0.9", "10.2.0.9", 1451)) })(0)
			}, 0},
			{"to a host with a route of its own", second(routed("10.70.0.9")), runLen},
			{"over several ways", second(routed("10.62.0.9")), 0},
			{"too long for the route", func(int) []byte {
				return second(func(int) []byte { return burstFrame(eth1MAC, hostMAC, burstPacket("10.1.0.9", "10.63.0.9", 1001)) })(0)
			}, 0},
			{"too long for the tunnel", func(int) []byte {
				return second(func(int) []byte { return burstFrame(eth1MAC, hostMAC, burstPacket("10.1.0.9", "10.50.0.9", 1481)) })(0)
			}, 0},
			{"empty", short(routed("10.60.0.9"), 0), 0},
			{"shorter than an IPv4 header", short(second(routed("10.60.0.9")), 33), 0},
			{"with options", outer(second(long(routed("10.60.0.9"))), ethernet.HeaderLen, 0x46), 0},
			{"shorter by itself than its header", outer(second(routed("10.60.0.9")), 16, 0, 19), 0},
			{"no longer than its header", func(int) []byte {
				return second(func(int) []byte { return burstFrame(eth1MAC, hostMAC, burstPacket("10.1.0.9", "10.60.0.9", 20)) })(0)
			}, runLen},
			{"TTL 1", outer(second(routed("10.60.0.9")), ttl, 1), 0},
			{"wrong checksum", changed(second(routed("10.60.0.9")), sum, 1, 1), 0},
			{"to the node", second(routed("10.2.0.1")), 0},
			{"to another host", routed("10.60.0.9"), 0},
			{"no IPv4", changed(second(routed("10.60.0.9")), 12, 0x86, 0xdd), 0},
			{"longer than the frame", outer(second(routed("10.60.0.9")), 16, 9, 9), 0},
			{"longer than the frame by a byte", func(int) []byte { return outer(second(routed("10.60.0.9")), 16, 0, 21)(0) }, 0},
			{"TTL 2", second(routed("10.60.0.9")), runLen},
			{"of the node's own address", second(func(i int) []byte {
				return burstFrame(eth1MAC, hostMAC, burstPacket("10.2.0.1", "10.60.0.9", sized(i)))
			}), 0},
			{"of loopback", second(func(i int) []byte {
				return burstFrame(eth1MAC, hostMAC, burstPacket("127.0.0.1", "10.60.0.9", sized(i)))
			}), 0},
			{"to a group", second(routed("224.0.0.9")), 0},
		},
		"eth0": {
			{"overlay to a station", overlay(station(s1, r0)), runLen},
			{"overlay to a station, padded", padded(overlay(station(s1, r0))), runLen},
			{"overlay of strangers", overlay(strangers(s1, MACOf(0x020000000400))), runLen},
			{"overlay of a station that was behind a port", overlay(station(s1, s0)), 1},
			{"overlay of the bridge's own address", overlay(station(s1, brMAC)), runLen},
			{"overlay back", overlay(station(r0, MACOf(0x020000000401))), 0},
			{"overlay to nobody known", overlay(station(MACOf(0x020000000777), r0)), 0},
			{"overlay to the bridge", overlay(station(brMAC, r0)), 0},
			{"overlay to another overlay", overlay(station(r9, r0)), runLen},
			{"overlay of a station that is pinned elsewhere", func(i int) []byte {
				b := overlay(station(s1, r0))(i)
				b[ethernet.HeaderLen+15] ^= 1 // source address and checksum
				b[ethernet.HeaderLen+11]--
				return b
			}, runLen},
			{"overlay of another VNI", func(i int) []byte { return inVXLAN(10, station(s1, r0)(i)) }, 0},
			{"overlay of another device", func(i int) []byte { return inVXLAN(9, station(s1, r9)(i)) }, runLen},
			{"overlay to another port", changed(overlay(station(s1, r0)), outerPort, 1, 1), 0},
			{"overlay longer by UDP than it is", changed(overlay(station(s1, r0)), outerUDP, 9, 9), 0},
			{"overlay with reserved bits", changed(overlay(station(s1, r0)), flags, 0xff), 0},
			{"overlay, no IPv4 inside", changed(overlay(station(s1, r0)), innerFrame+12, 0x86, 0xdd), 0},
			{"empty", short(overlay(station(s1, r0)), 0), 0},
			{"overlay, cut short", short(overlay(station(s1, r0)), innerFrame+33), 0},
			{"overlay, cut short in its headers", short(overlay(station(s1, r0)), 49), 0},
			{"overlay, cut short behind its addresses", short(overlay(station(s1, r0)), 34), 0},
			{"overlay of little", func(i int) []byte { return inVXLAN(7, station(s1, r0)(i)[:33]) }, 0},
			{"overlay of little, padded", func(i int) []byte { return append(inVXLAN(7, station(s1, r0)(i)[:33]), 0, 0, 0) }, 0},
			{"overlay to another host", changed(overlay(station(s1, r0)), 5, 9), 0},
			{"overlay to another address of the node", outer(overlay(station(s1, r0)), src+4, 10, 2, 0, 1), runLen},
			{"overlay of the node's own address", outer(overlay(station(s1, r0)), src, 10, 2, 0, 1), 0},
			{"overlay of loopback", outer(overlay(station(s1, r0)), src, 127), 0},
			{"overlay in fragments", outer(overlay(station(s1, r0)), fragment, 0x20), 0},
			{"overlay over congestion", outer(overlay(station(s1, r0)), tos, 3), 0},
			{"overlay with a reserved byte", changed(overlay(station(s1, r0)), innerFrame-1, 1), 0},
			{"overlay of another tunnel's end", outer(overlay(station(s1, MACOf(0x020000000402))), src, 10, 0, 0, 77), runLen},
			{"pods of another tunnel's end", outer(pods("10.2.0.9"), src, 10, 0, 0, 77), runLen},
			{"tunnelled, cut short", short(behind("10.60.0.9"), innerIPIP+33), 0},
			{"tunnelled to another host", changed(behind("10.60.0.9"), 5, 9), 0},
			{"tunnelled for another node", outer(behind("10.60.0.9"), src+4, 10, 60, 0, 9), 0},
			{"overlay for another node", outer(overlay(station(s1, r0)), src+4, 10, 60, 0, 9), 0},
			{"tunnelled to another address of the node", outer(behind("10.60.0.9"), src+4, 10, 2, 0, 1), runLen},
			{"tunnelled of a stranger", outer(behind("10.60.0.9"), src, 10, 0, 0, 77), runLen},
			{"tunnelled of the node's own address", outer(behind("10.60.0.9"), src, 10, 2, 0, 1), 0},
			{"tunnelled of loopback", outer(behind("10.60.0.9"), src, 127), 0},
			{"tunnelled in fragments", outer(behind("10.60.0.9"), fragment, 0x20), 0},
			{"tunnelled over congestion", outer(behind("10.60.0.9"), tos, 3), 0},
			{"tunnelled, of loopback", func(i int) []byte { return inIPIP(burstPacket("127.0.0.1", "10.60.0.9", sized(i))) }, 0},
			{"tunnelled, to a group", behind("224.0.0.9"), 0},
			{"pods, no IPv4", changed(pods("10.2.0.9"), innerFrame+12, 0x86, 0xdd), 0},
			{"pods, with options", inner(long(pods("10.2.0.9")), ethernet.HeaderLen, 0x46), 0},
			{"pods, shorter by itself than its header", inner(pods("10.2.0.9"), 16, 0, 19), 0},
			{"pods of loopback", func(i int) []byte {
				return inVXLAN(2, burstFrame(vx2MAC, farMAC, burstPacket("127.0.0.9", "10.2.0.9", sized(i))))
			}, 0},
			{"pods to a group", pods("224.0.0.9"), 0},
			{"echo to the node", func(int) []byte {
				f := ipv4.Fields{TTL: 9, Protocol: ipv4.ProtocolICMP, Src: [4]byte{10, 0, 0, 8}, Dst: [4]byte{10, 0, 0, 1}}
				b, _ := f.Append(nil, 40)
				return burstFrame(eth0MAC, vtepMAC, append(b, make([]byte, 40)...))
			}, 0},
			{"pods to a station", pods("10.2.0.9"), runLen},
			{"pods to a station, padded", padded(pods("10.2.0.9")), runLen},
			{"pods, padded inside", func(i int) []byte {
				return inVXLAN(2, append(burstFrame(vx2MAC, farMAC, burstPacket("10.244.2.9", "10.2.0.9", sized(i))), 1, 2, 3))
			}, runLen},
			{"pods by a gateway", pods("10.60.0.9"), runLen},
			{"pods into IPIP", pods("10.50.0.9"), runLen},
			{"pods to the node", pods("10.2.0.1"), 0},
			{"pods of the node's own address", func(i int) []byte {
				return inVXLAN(2, burstFrame(vx2MAC, farMAC, burstPacket("10.2.0.1", "10.2.0.9", sized(i))))
			}, 0},
			{"pods, to another MAC address", func(i int) []byte {
				return inVXLAN(2, burstFrame(farMAC, farMAC, burstPacket("10.244.2.9", "10.2.0.9", sized(i))))
			}, 0},
			{"pods, TTL 1", inner(pods("10.2.0.9"), ttl, 1), 0},
			{"pods, wrong checksum", changed(pods("10.2.0.9"), innerFrame+sum, 1, 1), 0},
			{"pods, longer than it is", inner(pods("10.2.0.9"), 16, 9, 9), 0},
			{"pods, longer by a byte than it is", func(int) []byte { return inner(pods("10.2.0.9"), 16, 0, 21)(0) }, 0},
			{"pods, longer by a byte than it is, padded", func(int) []byte { return append(inner(pods("10.2.0.9"), 16, 0, 21)(0), 1) }, 0},
			{"pods of a device that learns", func(i int) []byte {
				return inVXLAN(1, burstFrame(vx1MAC, farMAC, burstPacket("10.244.2.9", "10.2.0.9", sized(i))))
			}, 0},
			{"tunnelled to a station", behind("10.2.0.9"), runLen},
			{"tunnelled", behind("10.60.0.9"), runLen},
			{"tunnelled, padded", padded(behind("10.60.0.9")), runLen},
			{"tunnelled into VXLAN", behind("10.244.2.9"), runLen},
			{"tunnelled, on link", behind("10.1.0.9"), 0},
			{"tunnelled, to the node", behind("10.2.0.1"), 0},
			{"tunnelled, of the node's own address", func(i int) []byte { return inIPIP(burstPacket("10.2.0.1", "10.60.0.9", sized(i))) }, 0},
			{"tunnelled, TTL 1", within(behind("10.60.0.9"), ttl, 1), 0},
			{"tunnelled, wrong checksum", changed(behind("10.60.0.9"), innerIPIP+sum, 1, 1), 0},
			{"tunnelled, longer than it is", within(behind("10.60.0.9"), 16, 9, 9), 0},
			{"tunnelled, with options", within(long(behind("10.60.0.9")), ethernet.HeaderLen, 0x46), 0},
			{"tunnelled, of multicast", within(behind("10.60.0.9"), src, 224), 0},
		},
	} {
		for _, r := range rows {
			k := &runKind{name: r.name, want: r.want}
			for i := range 2 * runLen {
				k.made = append(k.made, runPacket{frame: r.frame(i)})
			}
			kinds[port] = append(kinds[port], k)
		}
	}
	return kinds
}

// runNode is a node of newBurstNode that notes what it sends.
type runNode struct {
	*Engine
	sent []string
}

func newRunNode(t *testing.T, anyPeer bool, with ...func(*Config)) *runNode {
	t.Helper()
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 256}) // less work than the engine's own: there are many nodes
	require.NoError(t, err)
	with = append([]func(*Config){func(c *Config) { c.Pool = pool }}, with...)
	n := &runNode{Engine: newBurstNode(t, anyPeer, with...)}
	n.first.out = func(port uint32, batch []*packet.Buffer) {
		for _, b := range batch {
			n.sent = append(n.sent, fmt.Sprintf("%d %x hash %x sum %d", port, b.Bytes(), b.Hash(), b.Checksum()))
		}
		packet.FreeBatch(batch)
	}
	_, err = n.AddPort(Port{Link: Link{Name: "eth2", MAC: MACOf(0x020000000006), Up: true}}) // does not ask where packets come from
	require.NoError(t, err)
	_, err = n.AddVXLAN(VXLAN{Link: Link{Name: "vx9", MTU: 1450, Up: true}, VNI: 9})
	require.NoError(t, errors.Join(err, n.SetMaster("vx9", "br0"), n.AddFDB(FDBEntry{MAC: r9, Dev: "vx9", Master: true, Flags: fdb.Static}),
		n.AddFDB(FDBEntry{MAC: r9, Dev: "vx9", Dst: netip.MustParseAddr("10.0.0.8")}),
		n.AddFDB(FDBEntry{MAC: r9, Dev: "vx7", Dst: netip.MustParseAddr("10.0.0.8")}))) // which its bridge does not ask
	_, err = n.AddVXLAN(VXLAN{Link: Link{Name: "vx2", MAC: vx2MAC, MTU: 1450, Up: true}, VNI: 2, NoLearning: true})
	// Groups have a route, so that it is not for want of one that packets to them are not forwarded.
	host, groups := netip.MustParseAddr("10.70.0.9"), netip.MustParsePrefix("224.0.0.0/4")
	require.NoError(t, n.AddRoute(Route{Prefix: groups, Via: netip.MustParseAddr("10.1.0.9")}))
	require.NoError(t, errors.Join(err, n.AddRoute(Route{Prefix: netip.PrefixFrom(host, 32), Dev: "eth1"}),
		n.AddNeigh(Neigh{Addr: host, Dev: "eth1", MAC: hostMAC})))
	for _, addr := range []string{"10.2.0.1", "10.60.0.9", "10.61.0.9"} { // neighbours whom no packet is for
		a := netip.MustParseAddr(addr)
		require.NoError(t, n.AddNeigh(Neigh{Addr: a, Dev: "br0", MAC: s1}))
		_ = n.neighs.Output(n.Index("br0"), number(a), nil, 0, burstTime, nil) // ready, as after a packet
	}
	for _, name := range []string{"eth0", "eth2", "tun0", "br0", "vx2"} {
		require.NoError(t, n.SetConf(name, Conf{Forwarding: true}))
	}
	return n
}

// take has a port receive packets.
func (n *runNode) take(t testing.TB, port string, now time.Duration, packets ...runPacket) {
	t.Helper()
	batch := make([]*packet.Buffer, len(packets))
	for i := range packets {
		batch[i] = n.pool.Get()
		packets[i].put(t, batch[i], i)
	}
	n.Process(n.Index(port), batch, now)
	for _, b := range batch {
		require.Nil(t, b, "the batch is the engine's")
	}
}

// known is what the node has counted and learned.
func (n *runNode) known(t *testing.T) (lines []string) {
	t.Helper()
	s := n.Stats()
	require.NoError(t, s.Check())
	lines = append(lines, fmt.Sprintf("%+v", s))
	counters := n.Counters()
	for name, count := range counters.All() {
		lines = append(lines, fmt.Sprint(name, count))
	}
	for _, d := range n.Links() {
		ds, err := n.DeviceStats(d.Name)
		require.NoError(t, err)
		lines = append(lines, fmt.Sprintf("%s %+v", d.Name, ds))
		for entry, age := range n.FDB(d.Name) {
			lines = append(lines, fmt.Sprintf("%s %+v %v", d.Name, entry, age))
		}
	}
	slices.Sort(lines)
	return lines
}

// sameAs compares what both have counted and learned.
func (n *runNode) sameAs(t *testing.T, long *runNode, what string) {
	t.Helper()
	want, got := long.known(t), n.known(t)
	for _, line := range want {
		require.True(t, slices.Contains(got, line), "%s: not so: %s", what, line)
	}
	require.Len(t, got, len(want), what)
}

func watch(uint32, bool, []byte, time.Duration) {}

// runTwins are a node whose packets go in runs, and one where each goes through all stages, as its ports are watched.
type runTwins struct{ short, long *runNode }

func newRunTwins(t *testing.T, anyPeer bool, with ...func(*Config)) *runTwins {
	t.Helper()
	x := &runTwins{newRunNode(t, anyPeer, with...), newRunNode(t, anyPeer, with...)}
	for _, port := range []string{"p0", "eth0", "eth1", "eth2"} {
		require.NoError(t, x.long.Tap(port, watch))
	}
	return x
}

func (x *runTwins) take(t *testing.T, what, port string, now time.Duration, packets ...runPacket) {
	t.Helper()
	x.short.take(t, port, now, packets...)
	x.long.take(t, port, now, packets...)
	require.Equal(t, x.long.sent, x.short.sent, what)
	x.short.sent, x.long.sent = nil, nil
}

// TestRunsAreWhatTheLongWayIs has each kind of packets as a run, with one of each other kind in its midst and one behind it.
func TestRunsAreWhatTheLongWayIs(t *testing.T) {
	for port, kinds := range runKinds() {
		for i, watched := range []string{port, "eth0", "eth1", "br0", "vx1", "vx7", "vx9", "vx2", "tun0", "p1"} {
			t.Run(port+" with watched "+watched, func(t *testing.T) {
				x := newRunTwins(t, i%2 == 0)
				if watched != port {
					require.NoError(t, x.long.Tap(watched, watch))
					require.NoError(t, x.short.Tap(watched, watch))
				}
				now := burstTime
				for k, kind := range kinds {
					for o, other := range kinds {
						if (watched != port || raceEnabled) && (k+o)%16 != 0 {
							continue // it takes long
						}
						packets := append(slices.Insert(kind.packets(2*runLen), runLen, other.packets(1)...), other.packets(1)...)
						x.take(t, kind.name+" and "+other.name, port, now, packets...)
						now += 40 * time.Millisecond // within seconds, stations are to be heard again
					}
					x.short.sameAs(t, x.long, kind.name)
				}
			})
		}
	}
}

// TestRunsOfWhatDriversTellOf has a packet that a driver tells something of in the midst of each kind.
func TestRunsOfWhatDriversTellOf(t *testing.T) {
	all := runKinds()
	for name, tiding := range tidings {
		x := newRunTwins(t, true)
		for port, kinds := range all {
			for _, kind := range kinds {
				packets := kind.packets(2 * runLen)
				packets[runLen].told = tiding.told
				what := port + " " + kind.name + ", " + name
				x.take(t, what, port, burstTime, packets...)
			}
			x.short.sameAs(t, x.long, port+", "+name)
		}
	}
}

// warm has the node find the ways that packets to be runs take, and hear who sends them.
func (n *runNode) warm(t *testing.T, port string, k *runKind) {
	t.Helper()
	n.take(t, port, burstTime, k.packets(1)...)
	for _, dst := range []string{"10.60.0.9", "10.244.2.9", "10.50.0.9", "10.70.0.9"} {
		n.take(t, "p0", burstTime, runPacket{frame: burstFrame(brMAC, s0, burstPacket("10.2.0.9", dst, 100))})
	}
	n.take(t, "p0", burstTime, runPacket{frame: burstFrame(r0, s0, burstPacket("10.2.0.9", "10.2.0.8", 100))})
}

// run returns how many packets of a burst are a run.
func (n *runNode) run(t *testing.T, port string, packets ...runPacket) int {
	t.Helper()
	batch := make([]*packet.Buffer, len(packets))
	for i := range packets {
		batch[i] = packet.New(len(packets[i].frame))
		packets[i].put(t, batch[i], 0)
	}
	w := n.first
	w.begin(burstTime)
	defer w.end()
	w.changed = true // by an earlier packet
	took := w.run(new(burst), w.st.device(n.Index(port)), batch)
	for i, b := range batch {
		require.Equal(t, i < took, b == nil, "the batch is the engine's so far")
	}
	return took
}

// TestUsualPacketsAreRuns looks at how many packets from the front a run has.
func TestUsualPacketsAreRuns(t *testing.T) {
	for port, kinds := range runKinds() {
		for _, k := range kinds {
			t.Run(port+" "+k.name, func(t *testing.T) {
				n := newRunNode(t, true)
				n.warm(t, port, k)
				assert.Equal(t, k.want, n.run(t, port, k.packets(runLen)...))
				if k.want < runLen {
					return
				}
				assert.Equal(t, leastRun, n.run(t, port, k.packets(leastRun)...))
				assert.Zero(t, n.run(t, port, k.packets(leastRun-1)...))
				for name, tiding := range tidings {
					packets, want := k.packets(runLen), runLen
					packets[leastRun-1].told = tiding.told
					if tiding.odd {
						assert.Zero(t, n.run(t, port, packets...), name)
					}
					packets = k.packets(runLen)
					packets[leastRun].told = tiding.told
					if tiding.odd {
						want = leastRun
					}
					assert.Equal(t, want, n.run(t, port, packets...), name)
				}
			})
		}
	}
}

// TestRunsAreCutOff has a run's tables change by what one of its packets teaches.
func TestRunsAreCutOff(t *testing.T) {
	x := newRunTwins(t, true)
	wanderer := MACOf(0x020000000900)
	x.take(t, "", "p1", burstTime, runPacket{frame: burstFrame(s0, wanderer, burstPacket("10.2.0.9", "10.2.0.8", 100))})
	_, ok := x.short.state.Load().device(x.short.Index("br0")).bridge.table.Lookup(fdb.Key(word(wanderer))).Port()
	require.True(t, ok)
	// It moves in the midst of a run whose packets are for it, some before and some after.
	to := runPacket{frame: burstFrame(wanderer, s0, burstPacket("10.2.0.9", "10.2.0.8", 100))}
	moves := runPacket{frame: burstFrame(s1, wanderer, burstPacket("10.2.0.9", "10.2.0.8", 100))}
	for _, n := range []*runNode{x.short, x.long} {
		n.take(t, "p0", burstTime, slices.Insert(slices.Repeat([]runPacket{to}, runLen), leastRun, moves)...)
	}
	require.Equal(t, x.long.sent, x.short.sent)
	require.Len(t, x.short.sent, leastRun+1, "those behind are for the port that they came in by")
	x.short.sameAs(t, x.long, "")
}
