package ipcmd

// ip link show, ip address show: what they print of a device (iproute2's print_linkinfo in ip/ipaddress.c).

import (
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
)

func itoa(n int) string { return strconv.Itoa(n) }

func (i *ip) linkShow() error {
	links, err := i.selected()
	if err != nil {
		return err
	}
	for _, l := range links {
		i.printLink(l)
	}
	return nil
}

// selected reads '[dev] NAME', or nothing for all devices.
func (i *ip) selected() ([]engine.LinkInfo, error) {
	i.args.Is("dev")
	if !i.args.More() {
		return i.node.E.Links(), nil
	}
	name := i.args.Next()
	l, ok := i.node.E.Link(name)
	if !ok {
		return nil, words.Errorf(1, `Device "%s" does not exist.`, name)
	}
	return []engine.LinkInfo{l}, nil
}

// printLink prints the two lines of a device.
func (i *ip) printLink(l engine.LinkInfo) {
	i.p.Printf("%d: %s: <%s> mtu %d qdisc %s ", l.Index, i.title(l), strings.Join(flags(l), ","), l.MTU, qdisc(l))
	if l.Master != "" {
		i.p.Printf("master %s ", l.Master)
	}
	i.p.Printf("state %s mode DEFAULT group default qlen 1000\n", state(l))
	i.p.Printf("    link/%s %s brd %s", linkType(l), l.MAC, broadcast(l))
	if d := i.node.Device(l.Name); d != nil && d.Peer != nil && d.Peer.Node != i.node {
		i.p.Printf(" %s", i.peerNamespace(d.Peer.Node))
	}
	i.p.Printf("\n")
}

// peerNamespace is where a veth end's other end is: by name, or for the default namespace, which has none, by a number.
func (i *ip) peerNamespace(n *network.Node) string {
	if n.Name == network.Default {
		return "link-netnsid 0"
	}
	return "link-netns " + n.Name
}

// title is a device's name, and for a veth end the other's: NAME@PEER, or @ifN if that is in another namespace.
func (i *ip) title(l engine.LinkInfo) string {
	d := i.node.Device(l.Name)
	switch {
	case d == nil || d.Peer == nil:
		return l.Name
	case d.Peer.Node == i.node:
		return l.Name + "@" + d.Peer.Name
	}
	return l.Name + "@if" + strconv.FormatUint(uint64(d.Peer.Node.E.Index(d.Peer.Name)), 10)
}

// flags are the device's (print_link_flags).
func flags(l engine.LinkInfo) []string {
	var f []string
	if l.Up && !l.Carrier {
		f = append(f, "NO-CARRIER")
	}
	if l.Kind == engine.KindLoopback {
		f = append(f, "LOOPBACK")
	} else {
		f = append(f, "BROADCAST", "MULTICAST")
	}
	if l.Promisc {
		f = append(f, "PROMISC")
	}
	if l.Up {
		f = append(f, "UP")
	}
	if l.Up && l.Carrier {
		f = append(f, "LOWER_UP")
	}
	return f
}

func state(l engine.LinkInfo) string {
	switch {
	case l.Kind == engine.KindLoopback && l.Up:
		return "UNKNOWN"
	case l.Up && l.Carrier:
		return "UP"
	}
	return "DOWN"
}

func qdisc(l engine.LinkInfo) string {
	if l.Up {
		return "noqueue"
	}
	return "noop"
}

func linkType(l engine.LinkInfo) string {
	if l.Kind == engine.KindLoopback {
		return "loopback"
	}
	return "ether"
}

func broadcast(l engine.LinkInfo) ethernet.MAC {
	if l.Kind == engine.KindLoopback {
		return ethernet.MAC{}
	}
	return ethernet.Broadcast
}
