package nettools

import (
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/proc"
)

// hostname prints the addresses of the node (-I), or the name of the machine that the lab is.
func hostname(p *proc.Proc, args []string) int {
	switch {
	case len(args) == 0 || args[0] == "-s" || args[0] == "--short" || args[0] == "-f" || args[0] == "--fqdn":
		p.Printf("lab\n")
	case args[0] == "-I" || args[0] == "--all-ip-addresses":
		for _, l := range p.Node.E.Links() {
			if l.Kind == engine.KindLoopback || !l.Up {
				continue
			}
			for _, a := range p.Node.E.Addrs(l.Name) {
				p.Printf("%s ", a.Prefix.Addr())
			}
		}
		p.Printf("\n")
	case args[0][0] == '-':
		return p.Fail(255, "hostname: invalid option -- '%s'", args[0][1:])
	default:
		return p.Fail(1, "hostname: you must be root to change the host name")
	}
	return 0
}
