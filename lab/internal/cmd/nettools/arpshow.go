package nettools

// arp without a verb: the neighbours.

import (
	"net/netip"

	neighbours "github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
)

// neighbour is a line of /proc/net/arp.
type neighbour struct {
	addr     netip.Addr
	dev      string
	mac      ethernet.MAC
	complete bool
	perm     bool
	pub      bool
}

// table returns the lines of /proc/net/arp: all neighbours but those that need no ARP, then the addresses that others are answered
// for.
func (c *arpCall) table() []neighbour {
	var all []neighbour
	for n, e := range c.p.Node.E.Neighs() {
		if e.State == neighbours.StateNoARP {
			continue
		}
		all = append(all, neighbour{
			addr: n.Addr, dev: n.Dev, mac: e.MAC, complete: e.State >= neighbours.StateReachable, perm: e.State == neighbours.StatePermanent,
		})
	}
	for addr, dev := range c.p.Node.E.ProxyNeighs() {
		all = append(all, neighbour{addr: addr, dev: dev, perm: true, pub: true})
	}
	return all
}

// show prints neighbours: all, those of a device, or one.
func (c *arpCall) show(args []string) error {
	var only netip.Addr
	if len(args) > 0 {
		var err error
		if only, err = host(args[0]); err != nil {
			return err
		}
	}
	table, shown := c.table(), 0
	for _, n := range table {
		if only.IsValid() && n.addr != only || c.dev != "" && n.dev != c.dev {
			continue
		}
		if c.do == 'a' {
			c.printBSD(n)
		} else {
			c.printLinux(n, shown == 0)
		}
		shown++
	}
	switch {
	case c.verbose:
		c.p.Printf("Entries: %d\tSkipped: %d\tFound: %d\n", len(table), len(table)-shown, shown)
	case shown == 0 && only.IsValid() && c.do != 'a':
		c.p.Printf("%s (%s) -- no entry\n", args[0], only)
	case shown == 0 && (c.dev != "" || only.IsValid()):
		c.p.Printf("arp: in %d entries no match found.\n", len(table))
	}
	return nil
}

// printLinux prints a line in columns.
func (c *arpCall) printLinux(n neighbour, first bool) {
	if first {
		c.p.Printf("Address                  HWtype  HWaddress           Flags Mask            Iface\n")
	}
	hw, address, flags := "ether", n.mac.String(), ""
	if n.complete {
		flags = "C"
	}
	if n.perm {
		flags += "M"
	}
	switch {
	case n.pub:
		hw, address, flags = "*", "<from_interface>", flags+"P"
	case !n.complete:
		hw, address = "", "(incomplete)"
	}
	c.p.Printf("%-24s %-7s %-19s %-6s%-16s%s\n", n.addr, hw, address, flags, "", n.dev)
}

// printBSD prints a line as a sentence.
func (c *arpCall) printBSD(n neighbour) {
	c.p.Printf("? (%s) at ", n.addr)
	switch {
	case n.pub:
		c.p.Printf("<from_interface> ")
	case !n.complete:
		c.p.Printf("<incomplete> ")
	default:
		c.p.Printf("%s [ether] ", n.mac)
	}
	if n.perm {
		c.p.Printf("PERM ")
	}
	if n.pub {
		c.p.Printf("PUB ")
	}
	c.p.Printf("on %s\n", n.dev)
}
