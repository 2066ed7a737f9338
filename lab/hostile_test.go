package lab_test

// Scripts that nobody means well with, or that have gone wrong: they end, with an error that names the line.

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/lab"
	"github.com/culvert-net/culvert/lab/proc"
)

// TestRunContext ends scripts that would never end.
func TestRunContext(t *testing.T) {
	enough := errors.New("enough")
	for _, script := range []string{
		"while true; do sleep 1; done",
		"while [[ 1 ]]; do x=1; done",
		"for ((;;)); do x=1; done",
		"while ((1)); do ((i++)); done & wait",
		"x=$(while :; do :; done)",
		"(while :; do :; done) | cat",
		"ip link set lo up; ping 127.0.0.1",
		"sleep infinity & cat /dev/zero > /dev/null",
		"tail -f /dev/null",
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			l, err := lab.New(lab.Config{Dir: t.TempDir()})
			require.NoError(t, err)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Millisecond, func() { cancel(enough) })
			_, err = l.RunContext(ctx, "x.sh", script)
			require.ErrorIs(t, err, enough)
			require.NoError(t, l.Close())
		})
	}
}

// TestBounds are scripts that want more than there is.
func TestBounds(t *testing.T) {
	const long = "b=aaaaaaaaaaaaaaaa; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do b=$b$b; done; " // 64 KiB
	for _, c := range []struct{ name, script, want string }{
		{"recursion", "\nf() { f; }; f", "x.sh: line 2: functions, sourced files or subshells are nested too deeply"},
		{"recursion by eval", "x='eval \"$x\"'; eval \"$x\"", "nested too deeply"},
		{"recursion of a shell", "echo 'sh y.sh' > y.sh; sh y.sh", "y.sh: line 1: functions, sourced files or subshells are nested too deeply"},
		{"recursion of a file", "echo '. ./y.sh' > y.sh; . ./y.sh", "nested too deeply"},
		{"brackets", strings.Repeat("(", 200_000), "x.sh: syntax error: brackets are nested too deeply"},
		{"an endless substitution", long + "x=$(while :; do echo $b; done)", "x.sh: line 1: a substitution of more than 64 MiB"},
		{"an endless pipe", long + "while :; do echo $b; done | wc -l", "more than 64 MiB in a pipe"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			l, err := lab.New(lab.Config{Dir: t.TempDir(), Stderr: &stderr})
			require.NoError(t, err)
			_, err = l.Run("x.sh", c.script)
			require.NoError(t, err)
			require.NoError(t, l.Close())
			assert.Contains(t, stderr.String(), c.want)
		})
	}
}

// TestForkBomb: the run ends, and with it all that wait.
func TestForkBomb(t *testing.T) {
	l, err := lab.New(lab.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	_, err = l.Run("x.sh", "while :; do sleep 1000 & done")
	require.ErrorIs(t, err, proc.ErrTooManyJobs)
	require.NoError(t, l.Close())
}

// FuzzRun runs anything as a script, without the machine's tools: it ends, nothing panics, and no packet is lost.
func FuzzRun(f *testing.F) {
	for _, pattern := range []string{"testdata/scripts/*.txt", "testdata/bash/*.sh", "samples/*.sh"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		require.NotEmpty(f, files)
		for _, file := range files {
			b, err := os.ReadFile(file)
			require.NoError(f, err)
			script, _, _ := strings.Cut(string(b), "-- want --\n")
			f.Add(script)
		}
	}
	f.Setenv("PATH", "")
	f.Fuzz(func(t *testing.T, script string) {
		if writes.MatchString(strings.ReplaceAll(script, ">/dev/null", "")) {
			return
		}
		l, err := lab.New(lab.Config{Seed: seed, Dir: t.TempDir(), Stdout: io.Discard, Stderr: io.Discard})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = l.RunContext(ctx, "fuzz", script)
		if errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
		require.NoError(t, err)
		require.NoError(t, l.Close())
	})
}

// writes finds scripts that may write to files outside of their directory.
var writes = regexp.MustCompile(`(>|tee|-[a-zA-Z]*w)\W*.?[/~$.` + "`" + `]`)
