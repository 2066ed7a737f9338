package nettools

// ifconfig without changes: devices and their counters.

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// Flags of a device (include/uapi/linux/if.h).
const (
	flagUp          = 1 << 0
	flagBroadcast   = 1 << 1
	flagLoopback    = 1 << 3
	flagPointopoint = 1 << 4
	flagRunning     = 1 << 6
	flagNoARP       = 1 << 7
	flagPromisc     = 1 << 8
	flagMulticast   = 1 << 12
)

// flagWords are the flags in the order of ifconfig, with their letters of -s.
var flagWords = []struct {
	bit  int
	name string
}{
	{flagUp, "UP"},
	{flagBroadcast, "BROADCAST"},
	{flagLoopback, "LOOPBACK"},
	{flagPointopoint, "POINTOPOINT"},
	{flagRunning, "RUNNING"},
	{flagNoARP, "NOARP"},
	{flagPromisc, "PROMISC"},
	{flagMulticast, "MULTICAST"},
}

func flagsOf(l engine.LinkInfo) int {
	f := flagBroadcast | flagMulticast
	switch l.Kind {
	case engine.KindLoopback:
		f = flagLoopback
	case engine.KindIPIP:
		if f = flagNoARP; l.IPIP.Remote.IsValid() {
			f |= flagPointopoint
		}
	}
	if l.Up {
		f |= flagUp
	}
	if l.Up && (l.Carrier || l.Kind == engine.KindLoopback) {
		f |= flagRunning
	}
	if l.Promisc {
		f |= flagPromisc
	}
	return f
}

// showInterfaces prints all devices that are up, or all, by name.
func showInterfaces(p *proc.Proc, all, short bool) int {
	links := p.Node.E.Links()
	slices.SortFunc(links, func(a, b engine.LinkInfo) int { return compareNames(a.Name, b.Name) })
	if short {
		p.Printf("Iface      MTU    RX-OK RX-ERR RX-DRP RX-OVR    TX-OK TX-ERR TX-DRP TX-OVR Flg\n")
	}
	for _, l := range links {
		if !l.Up && !all {
			continue
		}
		for _, label := range labels(p.Node, l.Name) {
			printInterface(p, l, label, short)
		}
	}
	return 0
}

// compareNames orders names as net-tools does: digits at the end count as a number.
func compareNames(a, b string) int {
	stem := func(s string) (string, int) {
		i := len(s)
		for i > 0 && s[i-1] >= '0' && s[i-1] <= '9' {
			i--
		}
		n := 0
		for _, digit := range s[i:] {
			n = n*10 + int(digit-'0')
		}
		return s[:i], n
	}
	as, an := stem(a)
	bs, bn := stem(b)
	if as == bs {
		return an - bn
	}
	return strings.Compare(a, b)
}

// labels returns a device's name, and the other labels of its addresses.
func labels(n *network.Node, dev string) []string {
	names := []string{dev}
	for _, a := range n.E.Addrs(dev) {
		if label := labelOf(a, dev); !slices.Contains(names, label) {
			names = append(names, label)
		}
	}
	return names
}

func showInterface(p *proc.Proc, label string, short bool) int {
	dev, _, _ := strings.Cut(label, ":")
	l, ok := p.Node.E.Link(dev)
	if !ok {
		return p.Fail(1, "%s: error fetching interface information: Device not found", label)
	}
	if short {
		p.Printf("Iface      MTU    RX-OK RX-ERR RX-DRP RX-OVR    TX-OK TX-ERR TX-DRP TX-OVR Flg\n")
	}
	printInterface(p, l, label, short)
	return 0
}

// printInterface prints a device under one of its labels.
func printInterface(p *proc.Proc, l engine.LinkInfo, label string, short bool) {
	s, _ := p.Node.Stats(l.Name) // the device exists
	if short {
		printShort(p, l, label, s)
		return
	}
	f := flagsOf(l)
	var names []string
	for _, w := range flagWords {
		if f&w.bit != 0 {
			names = append(names, w.name)
		}
	}
	p.Printf("%s: flags=%d<%s>  mtu %d\n", label, f, strings.Join(names, ","), network.MTU(l))
	for _, a := range p.Node.E.Addrs(l.Name) {
		if labelOf(a, l.Name) == label {
			printAddr(p, a, f)
			break
		}
	}
	switch l.Kind {
	case engine.KindLoopback:
		p.Printf("        loop  txqueuelen 1000  (Local Loopback)\n")
	case engine.KindIPIP:
		p.Printf("        tunnel   txqueuelen 1000  (IPIP Tunnel)\n")
	default:
		p.Printf("        ether %s  txqueuelen 1000  (Ethernet)\n", l.MAC)
	}
	if label == l.Name {
		p.Printf("        RX packets %d  bytes %d (%s)\n", s.RxPackets, s.RxBytes, scaled(s.RxBytes))
		p.Printf("        RX errors %d  dropped %d  overruns 0  frame 0\n", s.RxErrors, s.RxDropped)
		p.Printf("        TX packets %d  bytes %d (%s)\n", s.TxPackets, s.TxBytes, scaled(s.TxBytes))
		p.Printf("        TX errors %d  dropped %d overruns 0  carrier %d  collisions %d\n", s.TxErrors, s.TxDropped, s.TxCarrier, s.Collisions)
	}
	p.Printf("\n")
}

func printAddr(p *proc.Proc, a engine.Addr, flags int) {
	bits := a.Prefix.Bits()
	if a.Peer.IsValid() {
		bits = a.Peer.Bits()
	}
	p.Printf("        inet %s  netmask %s", a.Prefix.Addr(), mask(bits))
	if flags&flagBroadcast != 0 {
		broadcast := a.Broadcast
		if !broadcast.IsValid() {
			broadcast = netip.IPv4Unspecified()
		}
		p.Printf("  broadcast %s", broadcast)
	}
	if flags&flagPointopoint != 0 {
		destination := a.Prefix.Addr()
		if a.Peer.IsValid() {
			destination = a.Peer.Addr()
		}
		p.Printf("  destination %s", destination)
	}
	p.Printf("\n")
}

// scaled is a number of bytes in the greatest unit that it fills.
func scaled(bytes uint64) string {
	tenths, unit := bytes*10, "B"
	for _, bigger := range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		if tenths <= 10*1024 {
			break
		}
		tenths, unit = tenths/1024, bigger
	}
	return fmt.Sprintf("%d.%d %s", tenths/10, tenths%10, unit)
}

// printShort prints a device's counters in one line.
func printShort(p *proc.Proc, l engine.LinkInfo, label string, s engine.LinkStats) {
	f := flagsOf(l)
	var letters strings.Builder
	for _, w := range []struct {
		bit    int
		letter string
	}{
		{flagNoARP, "O"},
		{flagBroadcast, "B"},
		{flagLoopback, "L"},
		{flagMulticast, "M"},
		{flagPromisc, "P"},
		{flagPointopoint, "P"},
		{flagRunning, "R"},
		{flagUp, "U"},
	} {
		if f&w.bit != 0 {
			letters.WriteString(w.letter)
		}
	}
	p.Printf("%-15s %5d ", label, network.MTU(l))
	if label != l.Name {
		p.Printf("     - no statistics available -                        %s\n", letters.String())
		return
	}
	p.Printf("%8d %6d %6d %-6d %8d %6d %6d %6d %s\n", s.RxPackets, s.RxErrors, s.RxDropped, 0, s.TxPackets, s.TxErrors, s.TxDropped, 0, letters.String())
}
