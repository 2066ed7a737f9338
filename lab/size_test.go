package lab_test

import (
	"bytes"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/lab"
)

// TestMesh runs testdata/size/mesh.sh: with a thousand nodes if CULVERT_LAB_SIZE is set, which takes some time and memory, else with
// twenty. Time and memory are those of README.
func TestMesh(t *testing.T) {
	nodes := "20"
	if os.Getenv("CULVERT_LAB_SIZE") != "" {
		nodes = "1000"
	}
	script, err := os.ReadFile("testdata/size/mesh.sh")
	require.NoError(t, err)
	var out bytes.Buffer
	l, err := lab.New(lab.Config{Seed: seed, Stdout: &out, Stderr: &out})
	require.NoError(t, err)
	began := time.Now()
	status, err := l.Run("mesh.sh", string(script), nodes, "100")
	require.NoError(t, err)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%s nodes: %v, %d MiB from the system", nodes, time.Since(began).Round(time.Second), m.Sys>>20)
	assert.Zero(t, status)
	assert.Equal(t, "built: "+nodes+" nodes\nanswered: 100 of 100\n", out.String())
	require.NoError(t, l.Close())
}
