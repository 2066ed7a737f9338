// Package counters is the commands that show what was counted: nstat, as in iproute2 6.1, and the lab's own stats.
package counters

import (
	"path"
	"slices"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"nstat": nstat, "stats": stats} }

// historyKey is where the values that nstat has shown are kept with a node.
type historyKey struct{}

// history is what nstat has shown last; on Linux that is a file of the user's.
type history map[string]uint64

// order is that of the kernel's files /proc/net/snmp and netstat (net/ipv4/proc.c). ARP is in neither.
var order = []engine.Counter{
	engine.IPInReceives, engine.IPInHdrErrors, engine.IPInAddrErrors, engine.IPForwDatagrams, engine.IPInUnknownProtos,
	engine.IPInDiscards, engine.IPInDelivers, engine.IPOutRequests, engine.IPOutDiscards, engine.IPOutNoRoutes, engine.IPReasmTimeout,
	engine.IPReasmReqds, engine.IPReasmOKs, engine.IPReasmFails, engine.IPFragOKs, engine.IPFragFails, engine.IPFragCreates,
	engine.ICMPInMsgs, engine.ICMPInErrors, engine.ICMPInCsumErrors, engine.ICMPInDestUnreachs, engine.ICMPInTimeExcds,
	engine.ICMPInParmProbs, engine.ICMPInRedirects, engine.ICMPInEchos, engine.ICMPInEchoReps, engine.ICMPOutMsgs,
	engine.ICMPOutErrors, engine.ICMPOutRateLimitGlobal, engine.ICMPOutRateLimitHost, engine.ICMPOutDestUnreachs,
	engine.ICMPOutTimeExcds, engine.ICMPOutParmProbs, engine.ICMPOutRedirects, engine.ICMPOutEchoReps,
	engine.UDPNoPorts, engine.UDPInErrors, engine.UDPInCsumErrors,
	engine.IPReversePathFilter, engine.IPInNoRoutes, engine.IPInTruncated, engine.IPInCsumErrors,
}

// nstatOptions are the options of nstat.
type nstatOptions struct {
	absolute, zeros, silent, reset, keep bool
	patterns                             []string
}

// nstat prints what was counted since it was last asked, or with -a from the beginning: 'nstat [-aznrs] [PATTERN]…'.
func nstat(p *proc.Proc, args []string) int {
	var o nstatOptions
	for _, arg := range args {
		if len(arg) < 2 || arg[0] != '-' {
			o.patterns = append(o.patterns, arg)
			continue
		}
		if !o.set(arg) {
			return p.Fail(255, "nstat: invalid option -- '%s'\nUsage: nstat [OPTION] [ PATTERN [ PATTERN ] ]", arg[1:])
		}
	}
	old, _ := p.Node.Value(historyKey{}).(history)
	if o.reset {
		old = nil
	}
	now := p.Node.E.Counters()
	if !o.silent {
		o.print(p, now, old)
	}
	if !o.keep {
		shown := history{}
		for _, c := range order {
			shown[c.String()] = now[c]
		}
		p.Node.SetValue(historyKey{}, shown)
	}
	return 0
}

// set sets the options that a word has letters of.
func (o *nstatOptions) set(arg string) bool {
	letters, ok := map[string]string{"--zeros": "z", "--reset": "r", "--nooutput": "n", "--noupdate": "s", "--ignore": "a"}[arg]
	if !ok {
		letters = arg[1:]
	}
	for _, letter := range letters {
		switch letter {
		case 'a':
			o.absolute = true
		case 'z':
			o.zeros = true
		case 'n':
			o.silent = true
		case 'r':
			o.reset = true
		case 's':
			o.keep = true
		default:
			return false
		}
	}
	return true
}

func (o *nstatOptions) print(p *proc.Proc, now engine.Counters, old history) {
	p.Printf("#kernel\n")
	for _, c := range order {
		v := now[c]
		if !o.absolute {
			v -= old[c.String()]
		}
		if v == 0 && !o.zeros || !o.wants(c.String()) {
			continue
		}
		p.Printf("%-32s%-16d%6.1f\n", c, v, 0.0)
	}
}

func (o *nstatOptions) wants(name string) bool {
	return len(o.patterns) == 0 || slices.ContainsFunc(o.patterns, func(pattern string) bool {
		fits, err := path.Match(pattern, name)
		return fits && err == nil
	})
}
