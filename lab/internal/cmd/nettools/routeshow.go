package nettools

// route without a verb: the main table.

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/proc"
	routes "github.com/culvert-net/culvert/route"
)

// Widths of what -e shows (net-tools, lib/inet_gr.c).
const (
	withMetric = 1 // without -e
	withMSS    = 2 // -e
)

// showRoutes prints the main table as /proc/net/route has it: by address, the longest prefix first, then by metric; of several next
// hops the first.
func showRoutes(p *proc.Proc, numeric bool, extend int) {
	p.Printf("Kernel IP routing table\n")
	switch extend {
	case withMetric:
		p.Printf("Destination     Gateway         Genmask         Flags Metric Ref    Use Iface\n")
	case withMSS:
		p.Printf("Destination     Gateway         Genmask         Flags   MSS Window  irtt Iface\n")
	default:
		p.Printf("Destination     Gateway         Genmask         Flags Metric Ref    Use Iface    MSS   Window irtt\n")
	}
	for _, r := range mainTable(p.Node.E) {
		printRoute(p, r, numeric, extend)
	}
}

// mainTable returns the routes that /proc/net/route has.
func mainTable(e *engine.Engine) []engine.Route {
	var table []engine.Route
	for r := range e.Routes() {
		if r.Table == routes.TableMain && r.Type != routes.Broadcast {
			table = append(table, r)
		}
	}
	slices.SortStableFunc(table, func(a, b engine.Route) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()), cmp.Compare(a.Metric, b.Metric))
	})
	return table
}

func printRoute(p *proc.Proc, r engine.Route, numeric bool, extend int) {
	if len(r.NextHops) > 0 {
		r.Via, r.Dev = r.NextHops[0].Via, r.NextHops[0].Dev
	}
	reject := r.Type == routes.Unreachable || r.Type == routes.Prohibit
	gateway, flags := "0.0.0.0", "U"
	if r.Via.IsValid() {
		gateway, flags = r.Via.String(), "UG"
	}
	if reject {
		gateway, flags = "-", "!"
	}
	if r.Prefix.Bits() == 32 {
		flags += "H"
	}
	destination := r.Prefix.Addr().String()
	if !numeric && r.Prefix.Bits() == 0 {
		destination = "default"
	}
	dev := r.Dev
	if dev == "" {
		dev = "*"
	}
	p.Printf("%-15s %-15s %-15s %-6s", destination, gateway, mask(r.Prefix.Bits()), flags)
	switch {
	case reject && extend == withMSS:
		p.Printf("    - -          - -\n")
		return
	case extend == withMSS:
		p.Printf("%5d %-5d %6d %s\n", 0, 0, 0, dev)
		return
	case reject:
		p.Printf("%-6d -      %3d -", r.Metric, 0)
	default:
		p.Printf("%-6d %-2d %7d %s", r.Metric, 0, 0, dev)
	}
	switch {
	case extend == withMetric:
		p.Printf("\n")
	case reject:
		p.Printf("        -     -      -\n")
	default:
		p.Printf("%s\n", fmt.Sprintf("%*s%-5d %-6d %d", 9-len(dev), "", 0, 0, 0))
	}
}
