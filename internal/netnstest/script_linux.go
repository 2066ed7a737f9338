package netnstest

import (
	"context"
	"os/exec"
	"testing"
	"time"
)

// Script runs a script that makes namespaces of its own as root of a user namespace, as 'unshare -Urnm SCRIPT' does, and returns what
// it prints. A script that fails, or takes longer than two minutes, fails the test.
func Script(tb testing.TB, script string, args ...string) string {
	tb.Helper()
	if out, err := exec.Command("unshare", "-Urnm", "true").CombinedOutput(); err != nil {
		Missing(tb, "user namespaces (unshare -Urnm): "+err.Error()+": "+string(out))
	}
	const limit = 2 * time.Minute
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"-Urnm", "--kill-child", "--fork", "--pid", script}, args...)...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}
