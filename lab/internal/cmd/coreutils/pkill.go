package coreutils

import (
	"path"
	"slices"
	"strings"

	"github.com/culvert-net/culvert/lab/proc"
)

// pkill sends a signal to the background jobs that run a command: 'pkill [-SIG] [-f] NAME', 'killall [-SIG] [-q] NAME'.
func pkill(p *proc.Proc, args []string) int {
	sig, whole := proc.SIGTERM, false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch option := args[0][1:]; option {
		case "f":
			whole = true
		case "q", "w", "x":
		default:
			var ok bool
			if sig, ok = proc.ParseSignal(option); !ok {
				return p.Fail(2, "%s: invalid option -- '%s'", p.Name, option)
			}
		}
		args = args[1:]
	}
	if len(args) != 1 {
		return p.Fail(2, "%s: one pattern is required", p.Name)
	}
	found := false
	for _, t := range p.Sys.Sched.Jobs() {
		if runs(t.Name, args[0], whole) {
			found = true
			t.Kill(sig)
		}
	}
	p.Sys.Sched.Yield() // whoever was killed has its last words now
	switch {
	case found:
		return 0
	case p.Name == "killall":
		return p.Fail(1, "%s: no process found", args[0])
	}
	return 1
}

// runs reports whether a job's text runs a command: as one of its words, or if the whole text counts, anywhere in it.
func runs(text, name string, whole bool) bool {
	if whole {
		return strings.Contains(text, name)
	}
	return slices.ContainsFunc(strings.Fields(text), func(word string) bool { return path.Base(word) == name })
}
