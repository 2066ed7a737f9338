package main

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
)

// TestScript runs namespaces.sh as its head says, without root.
func TestScript(t *testing.T) {
	if err := exec.Command("unshare", "-Urnm", "true").Run(); err != nil {
		netnstest.Missing(t, "user namespaces (unshare -Urnm): "+err.Error())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "unshare", "-Urnm", "./namespaces.sh", "-n", "4").CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), " 0% packet loss")
	assert.Contains(t, string(out), "vni 9  ICMP 10.9.0.1 > 10.9.0.2")
	assert.Contains(t, string(out), "vni 9  ICMP 10.9.0.2 > 10.9.0.1")
}
