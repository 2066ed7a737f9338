package lab_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBash runs the scripts of testdata/bash, which have nothing to do with networks, by bash and in a lab: what they print is the
// same, and so is the exit status. Error messages are left out: those of the two shells differ in words.
func TestBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	files, err := filepath.Glob("testdata/bash/*.sh")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			script, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, realBash(t, bash, file), runOut(t, file, string(script)))
		})
	}
}

// realBash returns what bash says.
func realBash(t *testing.T, bash, file string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), bash, file)
	cmd.Stdout, cmd.Env = &out, append(os.Environ(), "TMPDIR="+t.TempDir(), "LC_ALL=C")
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		fmt.Fprintf(&out, "exit %d\n", exit.ExitCode())
	} else {
		require.NoError(t, err)
	}
	return out.String()
}
