package lab

// The words of the language: one package for each topic, each with a Commands function.

import (
	"maps"

	"github.com/culvert-net/culvert/lab/internal/cmd/arpingcmd"
	"github.com/culvert-net/culvert/lab/internal/cmd/brctl"
	"github.com/culvert-net/culvert/lab/internal/cmd/bridgecmd"
	"github.com/culvert-net/culvert/lab/internal/cmd/coreutils"
	"github.com/culvert-net/culvert/lab/internal/cmd/counters"
	"github.com/culvert-net/culvert/lab/internal/cmd/ipcmd"
	"github.com/culvert-net/culvert/lab/internal/cmd/nccmd"
	"github.com/culvert-net/culvert/lab/internal/cmd/nettools"
	"github.com/culvert-net/culvert/lab/internal/cmd/pingcmd"
	"github.com/culvert-net/culvert/lab/internal/cmd/procps"
	"github.com/culvert-net/culvert/lab/internal/cmd/tccmd"
	"github.com/culvert-net/culvert/lab/internal/cmd/tcpdumpcmd"
	"github.com/culvert-net/culvert/lab/internal/cmd/tcpreplaycmd"
	"github.com/culvert-net/culvert/lab/internal/cmd/tracecmd"
	"github.com/culvert-net/culvert/lab/internal/cmd/traceroutecmd"
	"github.com/culvert-net/culvert/lab/internal/sysctl"
	"github.com/culvert-net/culvert/lab/internal/sysfs"
	"github.com/culvert-net/culvert/lab/proc"
)

// commands returns the lab's own commands.
func commands() proc.Table {
	all := proc.Table{}
	for _, topic := range []func() proc.Table{
		arpingcmd.Commands,
		brctl.Commands,
		bridgecmd.Commands,
		coreutils.Commands,
		counters.Commands,
		ipcmd.Commands,
		nccmd.Commands,
		nettools.Commands,
		pingcmd.Commands,
		procps.Commands,
		tccmd.Commands,
		tcpdumpcmd.Commands,
		tcpreplaycmd.Commands,
		tracecmd.Commands,
		traceroutecmd.Commands,
	} {
		maps.Copy(all, topic())
	}
	return all
}

// files are the lab's own files, and paths their names.
func files() []proc.FileFunc { return []proc.FileFunc{sysctl.Open, sysfs.Open} }

func paths() []func(*proc.Proc) []string {
	return []func(*proc.Proc) []string{sysctl.Paths, sysfs.Paths}
}
