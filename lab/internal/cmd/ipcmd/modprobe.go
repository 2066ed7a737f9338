package ipcmd

// modprobe, which like the first tunnel loads the kernel's module ipip: with it comes tunl0. All else is there without it.

import (
	"slices"

	"github.com/culvert-net/culvert/lab/proc"
)

func modprobe(p *proc.Proc, args []string) int {
	if slices.Contains(args, "ipip") && !slices.Contains(args, "-r") {
		if err := p.Sys.Net.LoadIPIP(); err != nil {
			return p.Fail(1, "modprobe: %v", err)
		}
	}
	return 0
}
