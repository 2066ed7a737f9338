package lab_test

// The lab held against what the Linux kernel gave for the same scripts: the samples, and the scripts of testdata/diff, each a
// small network with one topic. What they print, their exit codes and the packets that they capture must be the same. The
// golden files in testdata/diff are the kernel's, made by TestDifferential.

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/lab"
	"github.com/culvert-net/culvert/lab/internal/differ"
)

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
		report(t, differ.Sides{Want: "kernel", Got: "lab"}, want, onLab(t, s))
	})
}

// report fails the test with the differences, if there are any.
func report(t *testing.T, names differ.Sides, want, got differ.Normal) {
	t.Helper()
	if differences := differ.Compare(names, want, got); differences != "" {
		t.Fatalf("%s and %s differ:\n%s", names.Want, names.Got, differences)
	}
}

// normalise brings a result into normal form, and shows what it has on standard error.
func normalise(t *testing.T, s differ.Script, r differ.Result, err error) differ.Normal {
	t.Helper()
	require.NoError(t, err)
	if r.Errors != "" {
		t.Logf("standard error:\n%s", r.Errors)
	}
	n, err := differ.Normalise(s, r)
	require.NoError(t, err)
	return n
}

func onLab(t *testing.T, s differ.Script) differ.Normal {
	t.Helper()
	r, err := inLab{t.TempDir()}.Run(s)
	return normalise(t, s, r, err)
}

// inLab runs scripts in a lab of their own.
type inLab struct{ dir string }

func (r inLab) Run(s differ.Script) (differ.Result, error) {
	var stdout, stderr bytes.Buffer
	l, err := lab.New(lab.Config{Seed: 1, Dir: r.dir, Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		return differ.Result{}, err
	}
	status, err := l.Run(s.Name, s.Text)
	if err = errors.Join(err, l.Close()); err != nil {
		return differ.Result{}, err
	}
	captures, err := differ.Captures(r.dir)
	return differ.Result{Output: stdout.String(), Errors: stderr.String(), Exit: status, Captures: captures}, err
}
