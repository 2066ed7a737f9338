package lab_test

// The lab held against what the Linux kernel gave for the same scripts: the samples, and the scripts of testdata/diff, each a
// small network with one topic. What they print, their exit codes and the packets that they capture must be the same. The
// golden files in testdata/diff are the kernel's, made by TestDifferential. Where the lab does not give the same, and is not going
// to, NAME.differs is the report of the differences, and DIFFERENCES.md says why.
//
//	go test -run TestGolden .                      the lab against the golden files
//	go test -run TestGolden/NAME -accept .         writes NAME.differs

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/lab"
	"github.com/culvert-net/culvert/lab/internal/differ"
)

var accept = flag.Bool("accept", false, "write the differences that TestGolden finds as those that stay; explain them in DIFFERENCES.md")

const (
	diffDir      = "testdata/diff"
	differences  = "DIFFERENCES.md"
	scriptExt    = ".sh"
	goldenExt    = ".golden"
	differsExt   = ".differs"
	samplePrefix = "sample-" // of a sample's files
)

// scripts calls test for each script, with the path of its files without their extension.
func scripts(t *testing.T, test func(t *testing.T, s differ.Script, path string)) {
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
			test(t, s, filepath.Join(diffDir, name))
		})
	}
}

func TestGolden(t *testing.T) {
	scripts(t, func(t *testing.T, s differ.Script, path string) {
		t.Parallel()
		text, err := os.ReadFile(path + goldenExt)
		require.NoError(t, err, "go test -tags differential -run TestDifferential -update makes it")
		want, err := differ.Parse(string(text))
		require.NoError(t, err, path)
		got := differ.Compare(kernelAndLab, want, onLab(t, s))
		if *accept {
			require.NoError(t, writeDiffers(path+differsExt, got))
		}
		held(t, path, got)
	})
}

var kernelAndLab = differ.Sides{Want: "kernel", Got: "lab"}

// held fails the test if the differences are not those that are known to stay.
func held(t *testing.T, path, report string) {
	t.Helper()
	accepted, err := os.ReadFile(path + differsExt)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	switch {
	case report == string(accepted):
	case len(accepted) == 0:
		t.Fatalf("kernel and lab differ:\n%s", report)
	default:
		t.Fatalf("kernel and lab differ, and not as %s says:\n%s", path+differsExt, report)
	}
}

func writeDiffers(path, report string) error {
	if report != "" {
		return os.WriteFile(path, []byte(report), 0o644)
	}
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// TestDifferencesAreExplained: DIFFERENCES.md has a word about each script with differences that stay, and about no other.
func TestDifferencesAreExplained(t *testing.T) {
	text, err := os.ReadFile(differences)
	require.NoError(t, err)
	paths, err := filepath.Glob(filepath.Join(diffDir, "*"+differsExt))
	require.NoError(t, err)
	var differing []string
	for _, path := range paths {
		differing = append(differing, strings.TrimSuffix(filepath.Base(path), differsExt))
	}
	var explained []string
	_, text, found := bytes.Cut(text, []byte("\n## Scripts with differences that stay\n"))
	require.True(t, found, "%s has no such section", differences)
	text, _, _ = bytes.Cut(text, []byte("\n## "))
	for _, row := range regexp.MustCompile("(?m)^- `([a-z0-9-]+)`: ").FindAllSubmatch(text, -1) {
		explained = append(explained, string(row[1]))
	}
	require.ElementsMatch(t, differing, explained, "the scripts with a file *%s, and those that %s lists as '- `NAME`: why'", differsExt, differences)
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
