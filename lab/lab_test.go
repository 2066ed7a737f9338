package lab_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/lab"
)

var update = flag.Bool("update", false, "write what scripts print into testdata/scripts, instead of comparing")

// seed of all scripts in testdata.
const seed = 1

// run runs a script in a lab of its own and returns what it printed, both outputs in their order, and the exit status if that is
// not 0. Nothing may be lost in its network.
func run(t *testing.T, name, script string, params ...string) string {
	t.Helper()
	var out bytes.Buffer
	runTo(t, &out, &out, name, script, params...)
	return out.String()
}

// runOut is run without standard error.
func runOut(t *testing.T, name, script string, params ...string) string {
	t.Helper()
	var out bytes.Buffer
	runTo(t, &out, io.Discard, name, script, params...)
	return out.String()
}

func runTo(t *testing.T, stdout, stderr io.Writer, name, script string, params ...string) {
	t.Helper()
	l, err := lab.New(lab.Config{Seed: seed, Stdout: stdout, Stderr: stderr, Dir: t.TempDir()})
	require.NoError(t, err)
	status, err := l.Run(name, script, params...)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	if status != 0 {
		fmt.Fprintf(stdout, "exit %d\n", status)
	}
}

// TestScripts runs testdata/scripts: each file is a script, a line "-- want --", and what it prints. -update writes the latter.
func TestScripts(t *testing.T) {
	const mark = "-- want --\n"
	files, err := filepath.Glob("testdata/scripts/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			script, want, ok := strings.Cut(string(text), mark)
			require.True(t, ok || *update, "%s has no line %q", file, mark)
			got := run(t, name+".sh", script)
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(script+mark+got), 0o600))
				return
			}
			assert.Equal(t, want, got)
		})
	}
}

// TestSamples runs the samples: they end well.
func TestSamples(t *testing.T) {
	for _, s := range lab.Samples() {
		t.Run(s.Name, func(t *testing.T) {
			out := run(t, s.Name, s.Script)
			assert.NotContains(t, out, s.Name+": line", "errors")
			assert.NotContains(t, out, "exit ")
			assert.NotEmpty(t, s.Title)
		})
	}
}
