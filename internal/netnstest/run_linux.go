package netnstest

// Getting the right to make namespaces: it is there, or the test is started again in a user namespace, where it is root.

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// again is set in the environment of a test that was started again.
const again = "CULVERT_NETNS_AGAIN"

// Run calls body where [New] works: at once if the process may make network namespaces, else in a process of its own, see
// [Rootless].
func Run(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if os.Getenv(again) != "" || onNewThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }) == nil {
		body(t)
		return
	}
	Rootless(t, body)
}

// Rootless calls body in a user namespace, whoever the user is: it starts the test binary again for the test t alone, and
// takes over the result. t must be a top-level test; it runs from its start in both processes.
func Rootless(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if os.Getenv(again) != "" {
		body(t)
		return
	}
	cmd := exec.Command("/proc/self/exe", arguments(t)...)
	cmd.Env = append(os.Environ(), again+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Fatalf("in a user namespace: %v\n%s", err, out)
	case err != nil:
		Missing(t, fmt.Sprintf("user namespaces (user.max_user_namespaces, kernel.unprivileged_userns_clone or "+
			"kernel.apparmor_restrict_unprivileged_userns forbids them): %v", err))
	}
	takeOver(t, string(out))
}

// arguments makes a test binary run t and what of its subtests was asked for.
func arguments(t *testing.T) []string {
	pattern := "^" + regexp.QuoteMeta(t.Name()) + "$"
	if f := flag.Lookup("test.run"); f != nil {
		if _, subtests, ok := strings.Cut(f.Value.String(), "/"); ok {
			pattern += "/" + subtests
		}
	}
	args := []string{"-test.v", "-test.count=1", "-test.run=" + pattern}
	if deadline, ok := t.Deadline(); ok {
		const toReport = time.Second
		args = append(args, "-test.timeout="+(time.Until(deadline)-toReport).String())
	}
	return args
}

// takeOver gives t the result that its other process printed: the process succeeded, so t passed there or was skipped.
func takeOver(t *testing.T, out string) {
	t.Helper()
	t.Logf("in a user namespace:\n%s", out)
	switch {
	case strings.Contains(out, "--- SKIP: "+t.Name()+" "):
		t.Skip("skipped in the user namespace too; the output above says what is missing")
	case !strings.Contains(out, "--- PASS: "+t.Name()+" "):
		t.Fatal("it did not run there")
	}
}
