package brctl

// show, showmacs and showstp.

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/lab/internal/bridges"
)

// show lists bridges and their ports, both by name, as in /sys/class/net.
func (c *call) show(args []string) int {
	if len(args) == 0 {
		var names []string
		for _, l := range c.node.E.Links() {
			if l.Kind == engine.KindBridge {
				names = append(names, l.Name)
			}
		}
		slices.Sort(names)
		args = names
	}
	status, header := 0, "bridge name\tbridge id\t\tSTP enabled\tinterfaces\n"
	for _, name := range args {
		l, ok := c.node.E.Link(name)
		switch {
		case !ok:
			status = c.p.Fail(1, "bridge %s does not exist!", name)
		case l.Kind != engine.KindBridge:
			status = c.p.Fail(1, "device %s is not a bridge!", name)
		default:
			c.p.Printf("%s", header)
			header = ""
			c.showBridge(l)
		}
	}
	return status
}

func (c *call) showBridge(l engine.LinkInfo) {
	c.p.Printf("%s\t\t%s\tno\t\t", l.Name, c.id(l))
	var names []string
	for _, port := range bridges.Ports(c.node, l.Name) {
		names = append(names, port.Name)
	}
	slices.Sort(names)
	c.p.Printf("%s\n", strings.Join(names, "\n\t\t\t\t\t\t\t"))
}

// id is a bridge's: its priority, and the lowest MAC address of its ports or the one that it was given. Without ports and address
// it is zero (br_stp_recalculate_bridge_id).
func (c *call) id(l engine.LinkInfo) string {
	mac := l.MAC
	if len(bridges.Ports(c.node, l.Name)) == 0 && !l.GivenMAC {
		clear(mac[:])
	}
	return fmt.Sprintf("%.4x.%x", bridges.Of(c.node, l.Name).Priority, mac[:])
}

// showMACs lists the stations that a bridge knows, by MAC address. Those of the bridge itself are not among them.
func (c *call) showMACs(args []string) int {
	name := args[0]
	if fault := c.isBridge(name); fault != "" {
		return c.p.Fail(1, "read of forward table failed: %s", fault)
	}
	c.p.Printf("port no\tmac addr\t\tis local?\tageing timer\n")
	entries := bridges.Entries(c.node, name)
	slices.SortStableFunc(entries, func(a, b bridges.Entry) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
	br := bridges.Of(c.node, name)
	for _, e := range entries {
		if e.Dev == name {
			continue
		}
		local, age := "no", e.Age
		if e.Flags&fdb.Local != 0 {
			local = "yes"
		}
		if e.Flags&(fdb.Local|fdb.Static) != 0 {
			age = 0
		}
		number := 0
		if p := br.Port(c.node.E.Index(e.Dev)); p != nil {
			number = p.Number
		}
		c.p.Printf("%3d\t%s\t%s\t\t%s\n", number, e.MAC, local, timer(age))
	}
	return 0
}

// timer is a time in seconds, as brctl has it.
func timer(d time.Duration) string {
	const hundredth = 10 * time.Millisecond
	return fmt.Sprintf("%4d.%.2d", d/time.Second, d%time.Second/hundredth)
}

// showSTP prints a bridge and its ports as the protocol sees them while it is off: everybody is the root. No timer runs.
func (c *call) showSTP(args []string) int {
	l, ok := c.node.E.Link(args[0])
	switch {
	case !ok:
		return c.p.Fail(1, "bridge %s does not exist!", args[0])
	case l.Kind != engine.KindBridge:
		return c.p.Fail(1, "device %s is not a bridge!", args[0])
	}
	b, id := bridges.Of(c.node, l.Name), c.id(l)
	ageing := cmp.Or(l.Bridge.Ageing, fdb.DefaultAgeing)
	c.p.Printf("%s\n bridge id\t\t%s\n designated root\t%s\n root port\t\t%4d\t\t\tpath cost\t\t%4d\n", l.Name, id, id, 0, 0)
	c.p.Printf(" max age\t\t%s\t\t\tbridge max age\t\t%s\n", timer(b.MaxAge), timer(b.MaxAge))
	c.p.Printf(" hello time\t\t%s\t\t\tbridge hello time\t%s\n", timer(b.Hello), timer(b.Hello))
	c.p.Printf(" forward delay\t\t%s\t\t\tbridge forward delay\t%s\n", timer(b.ForwardDelay), timer(b.ForwardDelay))
	c.p.Printf(" ageing time\t\t%s\n hello timer\t\t%s\t\t\ttcn timer\t\t%s\n", timer(ageing), timer(0), timer(0))
	c.p.Printf(" topology change timer\t%s\t\t\tgc timer\t\t%s\n flags\t\t\t\n\n\n", timer(0), timer(0))
	for _, port := range bridges.Ports(c.node, l.Name) {
		c.showPort(port, b.Port(port.Index), id)
	}
	return 0
}

// numberBits is how far a port's priority is shifted in its id.
const numberBits = 10

func (c *call) showPort(l engine.LinkInfo, p *bridges.Port, id string) {
	state := "disabled"
	if bridges.Forwards(c.node, l) {
		state = "forwarding"
	}
	portID := p.Priority<<numberBits | uint32(p.Number)
	c.p.Printf("%s (%d)\n port id\t\t%.4x\t\t\tstate\t\t%15s\n", l.Name, p.Number, portID, state)
	c.p.Printf(" designated root\t%s\tpath cost\t\t%4d\n", id, p.Cost)
	c.p.Printf(" designated bridge\t%s\tmessage age timer\t%s\n", id, timer(0))
	c.p.Printf(" designated port\t%.4x\t\t\tforward delay timer\t%s\n", portID, timer(0))
	c.p.Printf(" designated cost\t%4d\t\t\thold timer\t\t%s\n flags\t\t\t", 0, timer(0))
	if l.Port.Hairpin {
		c.p.Printf("\n hairpin mode\t\t%4d", 1)
	}
	c.p.Printf("\n\n")
}
