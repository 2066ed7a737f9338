package counters

import (
	"cmp"
	"slices"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// stats is the lab's own command: it prints what became of all packets of this namespace, or of those that are named: packets in
// and out, why some were dropped, and the counters of devices that have any.
//
//	red: in 3, made 1, out 3, delivered 1, absorbed 2, held 0, dropped 0
//	  eth0: rx 2 packets 140 bytes, tx 2 packets 140 bytes
//	  drop NoRoute: 1 (no route)
func stats(p *proc.Proc, args []string) int {
	nodes := []*network.Node{p.Node}
	if len(args) > 0 {
		nodes = nil
	}
	for _, name := range args {
		n := p.Sys.Net.Node(name)
		switch {
		case name == "-a" || name == "all":
			nodes = slices.Clone(p.Sys.Net.Nodes())
		case n == nil:
			return p.Fail(1, "stats: there is no namespace %q\nusage: stats [NODE… | -a]", name)
		default:
			nodes = append(nodes, n)
		}
	}
	for _, n := range nodes {
		printStats(p, n)
	}
	return 0
}

func printStats(p *proc.Proc, n *network.Node) {
	s := n.E.Stats()
	p.Printf("%s: in %d, made %d, out %d, delivered %d, absorbed %d, held %d, dropped %d\n",
		n.Name, s.In, s.Made, s.Out, s.Delivered, s.Absorbed, s.Held, s.Dropped())
	for _, l := range n.E.Links() {
		d, err := n.Stats(l.Name)
		if err != nil || d == (engine.LinkStats{}) {
			continue
		}
		p.Printf("  %s: rx %d packets %d bytes, tx %d packets %d bytes", l.Name, d.RxPackets, d.RxBytes, d.TxPackets, d.TxBytes)
		for _, c := range []struct {
			name  string
			count uint64
		}{
			{"rx errors", d.RxErrors},
			{"rx dropped", d.RxDropped},
			{"tx errors", d.TxErrors},
			{"tx dropped", d.TxDropped},
			{"tx carrier", d.TxCarrier},
		} {
			if c.count > 0 {
				p.Printf(", %s %d", c.name, c.count)
			}
		}
		p.Printf("\n")
	}
	reasons := slices.Collect(engine.Reasons())
	slices.SortStableFunc(reasons, func(a, b engine.Reason) int { return cmp.Compare(s.Drops[b], s.Drops[a]) })
	for _, r := range reasons {
		if s.Drops[r] > 0 {
			p.Printf("  drop %s: %d (%s)\n", r.Name(), s.Drops[r], r)
		}
	}
}
