package lab_test

// The lab held against the Linux kernel: the scripts of testdata/diff, each a small network with one topic, run by bash with
// the real tools in namespaces of their own and by the lab in virtual time. What they print, their exit codes and the
// packets that they capture must be the same. The golden files beside the scripts are what the kernel gave, so the lab is
// tested without root too.
//
//	go test -run TestDifferential .              the kernel against the lab (root)
//	go test -run TestDifferential -runs 5 .      five times; all must be the same
//	go test -run TestDifferential -update .      and writes the golden files

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/lab/internal/differ"
)

var (
	update = flag.Bool("update", false, "write the golden files of testdata/diff from what the kernel gives")
	runs   = flag.Int("runs", 1, "how often the kernel runs each script; all must give the same")
)

const (
	diffScripts = "testdata/diff/*.sh"
	scriptExt   = ".sh"
	goldenExt   = ".golden"
)

// scripts calls test for every script of testdata/diff, in parallel: they mostly sleep.
func scripts(t *testing.T, test func(t *testing.T, s differ.Script, golden string)) {
	t.Helper()
	paths, err := filepath.Glob(diffScripts)
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), scriptExt)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			test(t, differ.Script{Name: name + scriptExt, Text: string(text)}, strings.TrimSuffix(path, scriptExt)+goldenExt)
		})
	}
}

func TestDifferential(t *testing.T) {
	scripts(t, func(t *testing.T, s differ.Script, golden string) {
		kernel := onKernel(t, s)
		for range *runs - 1 {
			report := differ.Compare(differ.Sides{Want: "first", Got: "later"}, kernel, onKernel(t, s))
			require.Empty(t, report, "the kernel does not always give the same")
		}
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(kernel.String()), 0o644))
		}
		report := differ.Compare(differ.Sides{Want: "kernel", Got: "golden"}, kernel, readGolden(t, golden))
		require.Empty(t, report)
	})
}

// onKernel runs a script on the kernel. Where that cannot be done the test is skipped, or fails, see [netnstest.Missing].
func onKernel(t *testing.T, s differ.Script) differ.Normal {
	t.Helper()
	result, err := differ.Kernel{}.Run(s)
	if errors.Is(err, errors.ErrUnsupported) {
		netnstest.Missing(t, err.Error())
	}
	require.NoError(t, err)
	if result.Errors != "" {
		t.Logf("standard error:\n%s", result.Errors)
	}
	normal, err := differ.Normalise(s, result)
	require.NoError(t, err)
	return normal
}

func readGolden(t *testing.T, path string) differ.Normal {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err, "go test -run TestDifferential -update makes it")
	normal, err := differ.Parse(string(text))
	require.NoError(t, err, path)
	return normal
}
