//go:build linux && differential

package lab_test

// The scripts run by bash with the real tools on the kernel, and in the lab.
//
//	go test -tags differential -run TestDifferential .                the lab against the kernel (root)
//	go test -tags differential -run TestDifferential -repeat 5 .      the kernel five times; it must always give the same
//	go test -tags differential -run TestDifferential -update .        writes the golden files instead

import (
	"errors"
	"flag"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/lab/internal/differ"
)

var repeat = flag.Int("repeat", 1, "how often the kernel runs each script of the differential test; all must give the same")

func TestDifferential(t *testing.T) {
	scripts(t, func(t *testing.T, s differ.Script, path string) {
		if !needsSecond.MatchString(s.Text) {
			t.Parallel() // they mostly sleep
		}
		kernel := onLinux(t, s)
		for range *repeat - 1 {
			report := differ.Compare(differ.Sides{Want: "first", Got: "later"}, kernel, onLinux(t, s))
			require.Empty(t, report, "the kernel does not always give the same")
		}
		if *update {
			require.NoError(t, os.WriteFile(path+goldenExt, []byte(kernel.String()), 0o644))
			return
		}
		held(t, path, differ.Compare(kernelAndLab, kernel, onLab(t, s)))
	})
}

// needsSecond finds the scripts that need what many kernels have not got, IPIP tunnels and netem. They run on a second one, which
// is slow: one at a time and before all others, lest a script sleep less than its commands take.
var needsSecond = regexp.MustCompile(`\b(mode|type) ipip\b|\bnetem\b`)

// onLinux runs a script on the kernel. Where that cannot be done the test is skipped, or fails, see [netnstest.Missing]; where only
// the second kernel is missing it is skipped.
func onLinux(t *testing.T, s differ.Script) differ.Normal {
	t.Helper()
	if needsSecond.MatchString(s.Text) {
		r, err := differ.UML{}.Run(s)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		return normalise(t, s, r, err)
	}
	r, err := differ.Kernel{}.Run(s)
	if errors.Is(err, errors.ErrUnsupported) {
		netnstest.Missing(t, err.Error())
	}
	return normalise(t, s, r, err)
}
