// The walk beside google/gopacket, over every vector and every captured frame that the walk takes: where both read a
// header, they read the same, and where they differ, the reason is written down.
package dissect_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/vxlan"
)

// gopacket knows only 4789 as a port of VXLAN; its table is global.
var registerFlannelPort = sync.OnceFunc(func() {
	layers.RegisterUDPPortLayerType(layers.UDPPort(vxlan.PortLinux), layers.LayerTypeVXLAN)
})

// gopacketReads lists the headers that gopacket finds, up to the first of a kind that culvert does not read.
func gopacketReads(link vectors.Link, frame []byte) string {
	registerFlannelPort()
	first := layers.LayerTypeEthernet
	if link == vectors.LinkIPv4 {
		first = layers.LayerTypeIPv4
	}
	var all []string
	for _, layer := range gopacket.NewPacket(frame, first, gopacket.NoCopy).Layers() {
		text := describe(layer)
		if text == "" {
			break
		}
		all = append(all, text)
	}
	return strings.Join(all, "\n")
}

func describe(layer gopacket.Layer) string {
	addr := func(b []byte) netip.Addr { a, _ := netip.AddrFromSlice(b); return a }
	switch l := layer.(type) {
	case *layers.Ethernet:
		return fmt.Sprintf("ethernet %v > %v", l.SrcMAC, l.DstMAC)
	case *layers.Dot1Q:
		return fmt.Sprintf("tag %d priority %d drop %v", l.VLANIdentifier, l.Priority, l.DropEligible)
	case *layers.ARP:
		return fmt.Sprintf("arp %d %x %v > %x %v", l.Operation, l.SourceHwAddress, addr(l.SourceProtAddress), l.DstHwAddress, addr(l.DstProtAddress))
	case *layers.IPv4:
		return fmt.Sprintf("ipv4 %v > %v proto %d tos %d ttl %d id %d flags %d offset %d checksum %#x",
			addr(l.SrcIP), addr(l.DstIP), l.Protocol, l.TOS, l.TTL, l.Id, l.Flags, l.FragOffset, l.Checksum)
	case *layers.TCP:
		return fmt.Sprintf("tcp %d > %d seq %d ack %d window %d checksum %#x", l.SrcPort, l.DstPort, l.Seq, l.Ack, l.Window, l.Checksum)
	case *layers.UDP:
		return fmt.Sprintf("udp %d > %d length %d checksum %#x", l.SrcPort, l.DstPort, l.Length, l.Checksum)
	case *layers.ICMPv4:
		return fmt.Sprintf("icmp %d/%d id %d seq %d checksum %#x", l.TypeCode.Type(), l.TypeCode.Code(), l.Id, l.Seq, l.Checksum)
	case *layers.VXLAN:
		// The A flag is left out: gopacket takes it for bit 8 of the header, the draft (and Linux) have it as bit 12.
		return fmt.Sprintf("vxlan %d gbp %v %v group %d", l.VNI, l.GBPExtension, l.GBPExtension && l.GBPDontLearn, gopacketGroup(l))
	}
	return ""
}

// gopacketGroup: gopacket gives the group policy id whether the G flag says that there is one or not.
func gopacketGroup(l *layers.VXLAN) uint16 {
	if !l.GBPExtension {
		return 0
	}
	return l.GBPGroupPolicyID
}

// culvertReads lists what the walk found in the same words, without the transport header of first fragments, at which
// gopacket does not look.
func culvertReads(s *dissect.Stack) string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for i := range s.Levels() {
		l := &s.Levels()[i]
		if h := l.Ethernet; h.IsValid() {
			add("ethernet %v > %v", h.Src(), h.Dst())
			for i := range h.Tags() {
				tci := h.Tag(i).TCI
				add("tag %d priority %d drop %v", tci.VLAN(), tci.Priority(), tci.DropEligible())
			}
		}
		if p := l.ARP; p.IsValid() {
			add("arp %d %x %v > %x %v", p.Op(), hw(p.SenderMAC()), netip.AddrFrom4(p.SenderIP()), hw(p.TargetMAC()), netip.AddrFrom4(p.TargetIP()))
		}
		if h := l.IPv4; h.IsValid() {
			add("ipv4 %v > %v proto %d tos %d ttl %d id %d flags %d offset %d checksum %#x",
				netip.AddrFrom4(h.Src()), netip.AddrFrom4(h.Dst()), h.Protocol(), h.TOS(), h.TTL(), h.ID(), h.Flags(), h.FragmentOffset()/8, h.Checksum())
		}
		if l.IsFragment() {
			continue
		}
		if h := l.TCP; h.IsValid() {
			add("tcp %d > %d seq %d ack %d window %d checksum %#x", h.SrcPort(), h.DstPort(), h.Seq(), h.Ack(), h.Window(), h.Checksum())
		}
		if h := l.UDP; h.IsValid() {
			add("udp %d > %d length %d checksum %#x", h.SrcPort(), h.DstPort(), h.Length(), h.Checksum())
		}
		if h := l.ICMP; h.IsValid() {
			add("icmp %d/%d id %d seq %d checksum %#x", h.Type(), h.Code(), h.ID(), h.Seq(), h.Checksum())
		}
		if h := l.VXLAN; h.IsValid() {
			add("vxlan %d gbp %v %v group %d", h.VNI(), h.GBP().Set, h.GBP().DontLearn, h.GBP().Group)
		}
	}
	return strings.Join(all, "\n")
}

func hw(m ethernet.MAC) []byte { return m[:] }

// gopacketDiffers are the inputs in which gopacket v1.1.19 reads something else, and why.
var gopacketDiffers = map[string]string{
	"vxlan/source-port-only": "gopacket reads VXLAN from port 4789 as well as to it, and finds a tunnel in an answer to its port",
	"sv__bug-7414-decoder-event-01-ip-secopt.pcap frame 3": "an IP option longer than what is left of the header: " +
		"gopacket reads options at once and stops, the walk leaves them to whoever wants them",
}

func TestAgainstGopacket(t *testing.T) {
	w := newWalker(t, dissect.Config{})
	compared := 0
	for _, v := range vectors.Load(t) {
		var s dissect.Stack
		if walk(w, &s, v.Link, v.Frame) != nil {
			continue
		}
		compared++
		compareWithGopacket(t, v.Name, &s, gopacketReads(v.Link, v.Frame))
	}
	assert.Greater(t, compared, 300)
}

func TestCapturesAgainstGopacket(t *testing.T) {
	w := newWalker(t, dissect.Config{})
	for name, frames := range captures(t) {
		for _, f := range frames {
			var s dissect.Stack
			if walk(w, &s, f.link, f.frame) == nil {
				compareWithGopacket(t, fmt.Sprintf("%s frame %d", name, f.number), &s, gopacketReads(f.link, f.frame))
			}
		}
	}
}

func compareWithGopacket(t *testing.T, name string, s *dissect.Stack, theirs string) {
	t.Helper()
	ours := culvertReads(s)
	if why, ok := gopacketDiffers[name]; ok {
		require.NotEqual(t, theirs, ours, "%s: said to differ: %s", name, why)
		return
	}
	assert.Equal(t, theirs, ours, name)
}
