package lab_test

// The lab held against the Linux kernel: the samples, and the scripts of testdata/diff, each a small network with one topic,
// run by bash with the real tools in namespaces of their own and by the lab in virtual time. What they print, their exit codes
// and the packets that they capture must be the same. The golden files in testdata/diff are what the kernel gave, so the lab
// is tested without root too.
//
//	go test -run TestGolden .                      the lab against the golden files
//	go test -run TestDifferential .                the lab against the kernel (root)
//	go test -run TestDifferential -repeat 5 .      the kernel five times; it must always give the same
//	go test -run TestDifferential -update .        and writes the golden files

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/lab"
	"github.com/culvert-net/culvert/lab/internal/differ"
)

var repeat = flag.Int("repeat", 1, "how often the kernel runs each script of the differential test; all must give the same")

const (
	diffDir      = "testdata/diff"
	scriptExt    = ".sh"
	goldenExt    = ".golden"
	samplePrefix = "sample-" // of a sample's golden file
)

// scripts calls test for each script, with the path of its golden file, in parallel: on the kernel they mostly sleep.
func scripts(t *testing.T, test func(t *testing.T, s differ.Script, golden string)) {
	t.Helper()
	all := make(map[string]differ.Script)
	for _, s := range lab.Samples() {
		all[samplePrefix+s.Name] = differ.Script{Name: s.Name + scriptExt, Text: s.Script}
	}
	paths, err := filepath.Glob(filepath.Join(diffDir, "*"+scriptExt))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		name := filepath.Base(path)
		all[strings.TrimSuffix(name, scriptExt)] = differ.Script{Name: name, Text: string(text)}
	}
	for name, s := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s, filepath.Join(diffDir, name+goldenExt))
		})
	}
}

func TestGolden(t *testing.T) {
	scripts(t, func(t *testing.T, s differ.Script, golden string) {
		text, err := os.ReadFile(golden)
		require.NoError(t, err, "go test -run TestDifferential -update makes it")
		want, err := differ.Parse(string(text))
		require.NoError(t, err, golden)
		report(t, differ.Sides{Want: "kernel", Got: "lab"}, want, outcome(t, inLab{t}, s))
	})
}

func TestDifferential(t *testing.T) {
	scripts(t, func(t *testing.T, s differ.Script, golden string) {
		kernel := outcome(t, differ.Kernel{}, s)
		for range *repeat - 1 {
			report(t, differ.Sides{Want: "first", Got: "later"}, kernel, outcome(t, differ.Kernel{}, s))
		}
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(kernel.String()), 0o644))
			return
		}
		report(t, differ.Sides{Want: "kernel", Got: "lab"}, kernel, outcome(t, inLab{t}, s))
	})
}

// report fails the test with the differences, if there are any.
func report(t *testing.T, names differ.Sides, want, got differ.Normal) {
	t.Helper()
	if differences := differ.Compare(names, want, got); differences != "" {
		t.Fatalf("%s and %s differ:\n%s", names.Want, names.Got, differences)
	}
}

// outcome runs a script. Where the machine cannot do that the test is skipped, or fails, see [netnstest.Missing].
func outcome(t *testing.T, r differ.Runner, s differ.Script) differ.Normal {
	t.Helper()
	result, err := r.Run(s)
	if errors.Is(err, errors.ErrUnsupported) {
		netnstest.Missing(t, err.Error())
	}
	require.NoError(t, err)
	if result.Errors != "" {
		t.Logf("standard error of %T:\n%s", r, result.Errors)
	}
	normal, err := differ.Normalise(s, result)
	require.NoError(t, err)
	return normal
}

// inLab runs scripts in a lab of their own.
type inLab struct{ t *testing.T }

func (r inLab) Run(s differ.Script) (differ.Result, error) {
	dir := r.t.TempDir()
	var stdout, stderr bytes.Buffer
	l, err := lab.New(lab.Config{Seed: 1, Dir: dir, Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		return differ.Result{}, err
	}
	status, err := l.Run(s.Name, s.Text)
	if err = errors.Join(err, l.Close()); err != nil {
		return differ.Result{}, err
	}
	captures, err := differ.Captures(dir)
	return differ.Result{Output: stdout.String(), Errors: stderr.String(), Exit: status, Captures: captures}, err
}
