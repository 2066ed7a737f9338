package ipcmd

// ip link show, ip address show: which devices, and what they print of each (print_linkinfo in ip/ipaddress.c).

import (
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/lab/network"
)

func (i *ip) linkShow() error {
	i.family = link
	f := &filter{isLink: true}
	if err := i.readFilter(f); err != nil {
		return err
	}
	return i.show(f)
}

// selectLink reports whether a device is to be shown.
func (i *ip) selectLink(f *filter, l *engine.LinkInfo) bool {
	switch {
	case f.dev != "" && l.Name != f.dev,
		f.up && !l.Up,
		f.group != nil && *f.group != i.node.Attrs(l.Name).Group,
		f.master != "" && l.Master != f.master,
		f.kind != "" && !i.isOfKind(f.kind, l),
		f.slave != "" && (f.slave != "bridge" || l.Master == ""):
		return false
	}
	return true
}

func (i *ip) isOfKind(name string, l *engine.LinkInfo) bool {
	k := findKind(name)
	return k != nil && k.is(i, l)
}

// printLink prints what ip says of a device itself, all but the newline at its end.
func (i *ip) printLink(f *filter, l engine.LinkInfo) {
	if i.brief {
		i.printBrief(l)
		return
	}
	a := i.node.Attrs(l.Name)
	i.p.Printf("%d: %s: <%s> mtu %d qdisc %s ", l.Index, i.title(l), strings.Join(i.linkFlags(l), ","), shownMTU(l), i.qdisc(l))
	if l.Master != "" {
		i.p.Printf("master %s ", l.Master)
	}
	i.p.Printf("state %s ", i.state(l))
	if f.isLink {
		i.p.Printf("mode DEFAULT ")
	}
	i.p.Printf("group %s ", groupNames.name(a.Group))
	if queue := txQueue(a); queue != 0 {
		i.p.Printf("qlen %d", queue)
	}
	if i.family == unspec || i.family == link || i.details > 0 {
		i.printAddress(l)
	}
	i.printPeerNamespace(l)
	if i.details > 0 {
		i.printDetails(f, l)
	}
	if a.Alias != "" && (f.isLink || i.details > 0) {
		i.p.Printf("%s    alias %s", i.newline(), a.Alias)
	}
	if f.isLink && i.stats > 0 {
		i.p.Printf("%s", i.newline())
		i.printStats(l.Name)
	}
	i.p.Printf("\n")
}

// shownMTU is a device's MTU. lo takes one byte more on Linux than a packet can have.
func shownMTU(l engine.LinkInfo) int {
	if l.Kind == engine.KindLoopback && l.MTU == maxMTU {
		return maxMTU + 1
	}
	return l.MTU
}

func txQueue(a *network.Attrs) int {
	const preset = 1000 // DEFAULT_TX_QUEUE_LEN
	if a.TxQueue != nil {
		return *a.TxQueue
	}
	return preset
}

// printBrief prints a device as -br has it; with addresses, they follow.
func (i *ip) printBrief(l engine.LinkInfo) {
	i.p.Printf("%-16s %-14s ", i.title(l), i.state(l))
	if i.family != link {
		return
	}
	address, _ := i.linkAddress(l)
	i.p.Printf("%s <%s> \n", address, strings.Join(i.linkFlags(l), ","))
}

// linkAddress returns a device's link-layer address and its broadcast address: those of tunnels are their ends.
func (i *ip) linkAddress(l engine.LinkInfo) (address, broadcast string) {
	switch {
	case l.IPIP != nil:
		zero := "0.0.0.0"
		return strings.Replace(orAny(l.IPIP.Local), "any", zero, 1), strings.Replace(orAny(l.IPIP.Remote), "any", zero, 1)
	case l.Kind == engine.KindLoopback:
		return l.MAC.String(), ethernet.MAC{}.String()
	case i.isNameless(&l):
		return ethernet.MAC{}.String(), ethernet.Broadcast.String()
	}
	return l.MAC.String(), ethernet.Broadcast.String()
}

// isNameless reports whether a bridge has lost its last port, and with it the MAC address that was that port's.
func (i *ip) isNameless(l *engine.LinkInfo) bool {
	return l.Bridge != nil && !l.Unknown && !l.GivenMAC &&
		!slices.ContainsFunc(i.node.E.Links(), func(p engine.LinkInfo) bool { return p.Master == l.Name })
}

func (i *ip) printAddress(l engine.LinkInfo) {
	address, broadcast := i.linkAddress(l)
	kind, word := "ether", "brd"
	switch {
	case l.IPIP != nil:
		kind = "ipip"
		if l.IPIP.Remote.IsValid() {
			word = "peer"
		}
	case l.Kind == engine.KindLoopback:
		kind = "loopback"
	}
	i.p.Printf("%s    link/%s %s %s %s", i.newline(), kind, address, word, broadcast)
}

// printPeerNamespace tells where a veth end's other end is, if not here: by name, or by a number if the namespace has none.
func (i *ip) printPeerNamespace(l engine.LinkInfo) {
	peer := i.peerOf(l.Name)
	if peer == nil || peer.Node == i.node {
		return
	}
	if peer.Node.Name != network.Default {
		i.p.Printf(" link-netns %s", peer.Node.Name)
		return
	}
	id, _ := i.node.ID(peer.Node)
	i.p.Printf(" link-netnsid %d", id)
}

// title is a device's name, and behind @ what it is on: the other end of a veth pair, @ifN if that is in another namespace, and the
// underlay device of a tunnel.
func (i *ip) title(l engine.LinkInfo) string {
	peer := i.peerOf(l.Name)
	switch {
	case l.IPIP != nil && l.IPIP.Device == "":
		return l.Name + "@NONE"
	case l.IPIP != nil:
		return l.Name + "@" + l.IPIP.Device
	case peer == nil:
		return l.Name
	case peer.Node == i.node:
		return l.Name + "@" + peer.Name
	}
	return l.Name + "@if" + strconv.FormatUint(uint64(peer.Node.E.Index(peer.Name)), 10)
}

// linkFlags are a device's flags, in the order of print_link_flags.
func (i *ip) linkFlags(l engine.LinkInfo) []string {
	a := i.node.Attrs(l.Name)
	dummy := i.isOfKind("dummy", &l)
	ethernet := l.Kind != engine.KindLoopback && l.IPIP == nil
	var flags []string
	for _, m := range []mark{
		{"NO-CARRIER", l.Up && !l.Carrier},
		{"LOOPBACK", l.Kind == engine.KindLoopback},
		{"BROADCAST", ethernet},
		{"POINTOPOINT", l.IPIP != nil && l.IPIP.Remote.IsValid()},
		{"MULTICAST", ethernet && !dummy && !a.NoMulticast},
		{"NOARP", dummy || l.IPIP != nil},
		{"ALLMULTI", a.AllMulticast},
		{"PROMISC", l.Promisc},
		{"UP", l.Up},
		{"LOWER_UP", l.Up && l.Carrier},
		{"M-DOWN", i.lowerIsDown(l)},
	} {
		if m.on {
			flags = append(flags, m.word)
		}
	}
	return flags
}

// lowerIsDown reports whether what a device is on is down, as far as it is here.
func (i *ip) lowerIsDown(l engine.LinkInfo) bool {
	lower := ""
	if peer := i.peerOf(l.Name); peer != nil && peer.Node == i.node {
		lower = peer.Name
	}
	if l.IPIP != nil {
		lower = l.IPIP.Device
	}
	info, ok := i.node.E.Link(lower)
	return ok && !info.Up
}

// state is a device's operational state (default_operstate in net/core/link_watch.c).
func (i *ip) state(l engine.LinkInfo) string {
	switch {
	case !l.Up:
		return "DOWN"
	case l.Unknown || i.isOfKind("dummy", &l):
		return "UNKNOWN"
	case l.Carrier:
		return "UP"
	}
	peer := i.peerOf(l.Name)
	if peer == nil {
		return "DOWN"
	}
	// The kernel looks for the index of the other end here, wherever that is.
	lower, ok := i.node.E.Link(i.node.E.Name(peer.Node.E.Index(peer.Name)))
	if ok && lower.Index != l.Index && !lower.Carrier {
		return "LOWERLAYERDOWN"
	}
	return "DOWN"
}

// qdisc is a device's queueing discipline: virtual devices have none once they are up.
func (i *ip) qdisc(l engine.LinkInfo) string {
	if d := i.node.Device(l.Name); d != nil && d.Faults() != nil {
		return "netem"
	}
	if l.Up || i.node.Attrs(l.Name).Opened {
		return "noqueue"
	}
	return "noop"
}
