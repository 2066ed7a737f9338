package main

// What can be asked of a node, beside what Linux has words for.

import (
	"fmt"
	"strings"

	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// show prints each device, where it leads, and its addresses; of devices of the machine also how the driver does.
//
//	eth0     up    02:00:00:00:00:09  10.9.9.9/24        afpacket v0
//	         received 4 (0 lost, 0 errors), sent 3 (0 lost, 0 errors)
func show(p *proc.Proc, args []string) int {
	if len(args) > 0 {
		return p.Fail(1, "usage: show")
	}
	for _, n := range p.Sys.Net.Nodes() {
		p.Printf("%s:\n", n.Name)
		drivers := map[string]runner.PortStats{}
		for _, d := range n.Drivers() {
			drivers[d.Name] = d
		}
		for _, l := range n.E.Links() {
			showLink(p, n, l)
			if d, ok := drivers[l.Name]; ok {
				showDriver(p, d)
			}
		}
	}
	if lost := p.Sys.Net.Lost(); lost > 0 {
		p.Printf("%d packets for commands such as tcpdump came too fast to be shown\n", lost)
	}
	return 0
}

func showLink(p *proc.Proc, n *network.Node, l engine.LinkInfo) {
	state := "down"
	switch {
	case l.Up && !l.Carrier:
		state = "no wire"
	case l.Up:
		state = "up"
	}
	var addrs []string
	for _, a := range n.E.Addrs(l.Name) {
		addrs = append(addrs, a.Prefix.String())
	}
	mac := ""
	if (l.MAC != ethernet.MAC{}) {
		mac = l.MAC.String()
	}
	p.Printf("  %-10s %-7s %-17s  %-18s %s\n", l.Name, state, mac, strings.Join(addrs, " "), what(n, l))
}

// what says in words what a device is.
func what(n *network.Node, l engine.LinkInfo) string {
	var s string
	switch d := n.Device(l.Name); {
	case d != nil && d.Driver != nil:
		s = d.Kind + " " + d.Driver.Link().Name
	case d != nil && d.Peer != nil:
		s = fmt.Sprintf("veth to %s in %s", d.Peer.Name, d.Peer.Node.Name)
	case d != nil:
		s = d.Kind
	case l.VXLAN != nil:
		s = fmt.Sprintf("vxlan %d", l.VXLAN.VNI)
	case l.IPIP != nil:
		s = "ipip"
	case l.Bridge != nil:
		s = "bridge"
	case l.Kind == engine.KindLoopback:
		s = "loopback"
	}
	if l.Master != "" {
		s += ", port of " + l.Master
	}
	return s
}

func showDriver(p *proc.Proc, d runner.PortStats) {
	p.Printf("  %-10s received %d (%d lost, %d errors), sent %d (%d lost, %d errors)\n", "",
		d.Stats.RxPackets, d.Stats.RxDropped, d.Stats.RxErrors, d.Stats.TxPackets, d.Stats.TxDropped, d.Stats.TxErrors)
	for _, e := range []struct {
		what  string
		count uint64
		last  error
	}{{"receiving", d.RxErrors, d.RxError}, {"sending", d.TxErrors, d.TxError}} {
		if e.count > 0 {
			p.Printf("  %-10s %s failed %d times, the last time: %v\n", "", e.what, e.count, e.last)
		}
	}
}
